"""Descent on mini-batches: samples of a task in an order drawn anew for each epoch, or fresh ones.

Batches are packed together for many steps, so that drawing and packing are rare.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from symkernel.problem.task import Task
from symkernel.problem.teacher import Teacher
from symkernel.simulation.engine import Stage
from symkernel.simulation.layout import Layout, Samples, aligned, is_tiny
from symkernel.simulation.program import compiled
from symkernel.simulation.reading import Pass

# Samples are packed together up to so many, or one batch,
_PACKED = 4096
# and fresh samples up to this many numbers of inputs: they still fit in the cache.
_DRAWN = 2**17
# What a program reads in place where it does; batches are packed.
_NONE = np.empty(0)
# Held-out samples on which the loss of fresh ones is taken, and their seed.
HELD_OUT, HELD_OUT_SEED = 4096, 0


class Streams(NamedTuple):
    """Streams of numbers of a phase.

    Attributes
    ----------
    order : numpy.random.Generator
        For the orders of samples, through all phases.
    drawn : numpy.random.Generator
        Of the phase alone, for the inputs of fresh samples, or for label noise.
    noise : numpy.random.Generator
        Likewise, for the noise of fresh samples.
    """

    order: np.random.Generator
    drawn: np.random.Generator
    noise: np.random.Generator


def streams_of(seed: int, count: int) -> tuple[Streams, ...]:
    """Return the streams of so many phases.

    What a phase draws is the same whatever the others do: keys are fixed, not counted.
    """
    order = np.random.default_rng(seed)
    own = [
        np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(key,)))
        for key in range(2 * count)
    ]
    return tuple(Streams(order, *own[2 * k : 2 * k + 2]) for k in range(count))


class Source(Protocol):
    """Where batches come from: so many samples of batches of a size, at a state that can be set."""

    size: int
    count: int
    state: Any

    def draw(self) -> Samples:
        """Return the samples of the next batches."""


class Epochs:
    """Every sample of a task once in an epoch.

    Samples that do not fill a batch at the end of an epoch are left out of that epoch: each
    sample is as likely in a batch as any other. Weighted samples keep their weights, so that the
    mean of a batch's gradient is the gradient on all samples.

    Parameters
    ----------
    stage : Stage
        Its task has samples.
    size : int
        Samples in a batch.
    streams : Streams
        Labels are redrawn from another than the orders, which are the same with noise and without.
    """

    def __init__(self, stage: Stage, size: int, streams: Streams) -> None:
        self.stage, self.size = stage, size
        self.streams = streams[: 1 if stage.noise is None else 2]
        self.in_epoch = len(stage.task.X) // size * size
        most = min(_PACKED, 4 * _DRAWN // int(stage.net.inputs))
        self.count = max(1, most // size) * size
        self.left = np.empty(0, dtype=np.int64)

    @property
    def state(self) -> Any:
        """States of the streams, and what is left of the orders drawn."""
        return [stream.bit_generator.state for stream in self.streams], self.left

    @state.setter
    def state(self, state: Any) -> None:
        states, self.left = state
        for stream, own in zip(self.streams, states, strict=True):
            stream.bit_generator.state = own

    def draw(self) -> Samples:
        """Return the samples of the next batches, through as many epochs as it takes."""
        while len(self.left) < self.count:
            order = self.streams[0].permutation(len(self.stage.task.X))[: self.in_epoch]
            self.left = np.concatenate([self.left, order])
        taken, self.left = self.left[: self.count], self.left[self.count :]
        drawn = self.stage.samples(taken)
        if self.stage.noise is None:
            return drawn
        return drawn._replace(Y=self.stage.noise.drawn(drawn.Y, self.streams[1]))


class Fresh:
    """Samples that nobody has seen, labelled by the teacher.

    Inputs and noise come from a stream each, so that sample k is the same whatever else is drawn
    together with it.

    Parameters
    ----------
    stage : Stage
        With a teacher.
    size : int
        Samples in a batch.
    streams : Streams
    """

    def __init__(self, stage: Stage, size: int, streams: Streams) -> None:
        assert stage.teacher is not None
        self.teacher, self.size = stage.teacher, size
        self.streams = streams[1:]
        self.count = max(1, _DRAWN // (int(stage.net.inputs) * size)) * size

    @property
    def state(self) -> Any:
        """States of the streams."""
        return [stream.bit_generator.state for stream in self.streams]

    @state.setter
    def state(self, states: Any) -> None:
        for stream, state in zip(self.streams, states, strict=True):
            stream.bit_generator.state = state

    def draw(self) -> Samples:
        """Return fresh samples."""
        inputs, noise = self.streams
        X, Y = labelled(self.teacher, inputs, self.count)
        if self.teacher.noise:
            Y = Y + self.teacher.noise * noise.standard_normal(Y.shape)
        return Samples(X, Y, {})


def labelled(
    teacher: Teacher, stream: np.random.Generator, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs drawn for a teacher and its outputs on them, without noise."""
    X = stream.standard_normal((count, int(teacher.network.inputs)))
    if teacher.root is not None:
        X = X @ teacher.root
    return X, Pass(teacher.network, teacher.weights, X, {}).values[teacher.network.output]


def held_out(teacher: Teacher) -> Task:
    """Return the samples on which the loss of fresh ones is taken, labelled without noise."""
    return Task(*labelled(teacher, np.random.default_rng(HELD_OUT_SEED), HELD_OUT))


def batches_of(stage: Stage, size: int | None, streams: Streams) -> Source | None:
    """Return batches of a task's samples, or of fresh ones if it has a teacher.

    Without a size there are none, but where labels are redrawn: then all samples, in each batch.
    """
    if stage.teacher is not None and size is not None:
        return Fresh(stage, size, streams)
    if size is None and stage.noise is not None:
        size = len(stage.task.X)
    return None if size is None else Epochs(stage, size, streams)


class Batches:
    """Descent of one network on mini-batches.

    Parameters
    ----------
    stage : Stage
        Network, task and rate.
    theta : ndarray, shape (1, n_parameters)
        Moved in place.
    source : Source
        Of the batches.
    """

    def __init__(self, stage: Stage, theta: np.ndarray, source: Source) -> None:
        self.theta, self.source = theta, source
        self.layout = Layout(
            stage.net,
            source.count,
            batch=source.size,
            **stage.form,
            is_written_out=is_tiny(stage.net, source.size),
        )
        self.module = compiled(self.layout, "batches")
        self.grads = aligned(2, self.layout.count)
        self.works = aligned(1, self.layout.sizes["length_work"])
        self.rates = self.layout.rates(stage.rate, stage.factor, stage.decay)
        self.first = list(self.layout.sizes).index("first")
        self.sizes = np.array(list(self.layout.sizes.values()), dtype=np.int64)
        self.data: np.ndarray | None = None
        self.done = self.layout.blocks

    def advance(self, steps: int) -> None:
        """Take steps, each on the next batch."""
        while steps > 0:
            if self.done == self.layout.blocks:
                self._pack()
            count = min(steps, self.layout.blocks - self.done)
            self.sizes[self.first] = self.done
            self.module.descend(
                self.theta, self.grads, self.works, _NONE, self.data, self.sizes, self.rates, count
            )
            self.done += count
            steps -= count

    def _pack(self) -> None:
        self.before = self.source.state
        self.data = self.layout.pack(self.source.draw(), self.data)
        self.done = 0

    def position(self) -> Any:
        """Return where the run is, for `go_to`."""
        exhausted = self.done == self.layout.blocks
        return self.source.state if exhausted else self.before, self.done

    def go_to(self, position: Any) -> None:
        """Return to an earlier position."""
        self.source.state, done = position
        if done < self.layout.blocks:
            self._pack()
        self.done = done
