r"""Gradient flow of any network: the simulator's gradient as the right-hand side of an equation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from symkernel.errors import InvalidArgument
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.simulation.engine import Engine, Stage
from symkernel.simulation.layout import aligned
from symkernel.simulation.setup import checked_gates

# Length of the difference that gives a derivative along a direction, relative to the weights.
_DIFFERENCE = 1e-5


class Span(NamedTuple):
    """A phase, the rows of the times that lie in it, and these and its end from its start on."""

    phase: Phase
    rows: np.ndarray
    times: np.ndarray
    end: float


def spans_of(curriculum: Curriculum, clock: np.ndarray) -> Iterator[Span]:
    """Yield the phases of a curriculum with the times that lie in them, the last up to these."""
    position = np.array([curriculum.phase_at(time) for time in clock])
    for k, (phase, begin) in enumerate(zip(curriculum.phases, curriculum.starts, strict=True)):
        rows = np.flatnonzero(position == k)
        times = clock[rows] - begin
        last = k + 1 == len(curriculum.phases)
        end = float(times.max(initial=0.0) if last else phase.duration)
        yield Span(phase, rows, np.clip(times, 0.0, end), end)


class NetworkFlow:
    """The flow of all parameters of a network on the samples of a task, gates included.

    The gradient is that of the simulator's compiled program; rates of the parameters, scales and
    weight decay are in it.
    """

    def __init__(self, problem: Problem) -> None:
        net, tasks = problem.network, [phase.task for phase in problem.curriculum.phases]
        if any(task.X is None for task in tasks):
            raise InvalidArgument(
                "The flow of a network that is not a chain of dense layers is integrated on "
                "samples; give the task as samples, not as moments or by a teacher."
            )
        loss = problem.loss
        factors = loss.misfit_factor, False, float(loss.weight_decay)
        misfit = loss.misfit(int(net.outputs))
        self.engines = []
        for task, gates in zip(tasks, checked_gates(net, tasks, None), strict=True):
            thetas = aligned(1, sum(w.size for w in problem.weights.arrays.values()))
            stage = Stage(net, task, gates, 1.0, *factors, misfit=misfit)
            self.engines.append((task, Engine(stage, thetas)))
        self.parameters = net.parameters
        self.layout = self.engines[0][1].layout
        self.scales = self.layout.entries(self.layout.scales)
        self.pace = -self.layout.entries(self.layout.speeds) * self.scales

    def split(self, flat: np.ndarray) -> list[np.ndarray]:
        """Return a vector of all parameters as one array for each."""
        parts = np.split(flat, self.layout.starts[1:-1])
        return [part.reshape(p) for part, p in zip(parts, self.layout.shapes, strict=True)]

    def velocity(self, task: Task) -> Callable[[np.ndarray], np.ndarray]:
        """Return the velocity of the parameters on a task."""
        engine = next(engine for known, engine in self.engines if known is task)
        return lambda flat: self.pace * engine.gradient(self.scales * flat)

    def rate(self, task: Task) -> Callable[[float, np.ndarray], np.ndarray]:
        """Return the velocity on a task: of the parameters, a unit tangent and its log length."""
        velocity = self.velocity(task)

        def rate(_: float, state: np.ndarray) -> np.ndarray:
            half = len(state) // 2
            flat, along = state[:half], state[half:-1]
            length = float(np.linalg.norm(along))
            span = _DIFFERENCE * max(1.0, float(np.abs(flat).max(initial=0.0))) / length
            moved = (velocity(flat + span * along) - velocity(flat - span * along)) / (2 * span)
            growth = along @ moved / length**2
            return np.concatenate([velocity(flat), moved - growth * along, [growth]])

        return rate
