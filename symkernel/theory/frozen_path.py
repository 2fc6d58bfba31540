r"""A linearised network on its way through a curriculum, and what is observed on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from symkernel.errors import (
    InvalidArgument,
    OutsideValidity,
    ShapeMismatch,
    as_positive,
    as_real_array,
    as_times,
    refuse_large,
)
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.problem import Problem
from symkernel.theory.frozen_solver import Solver, solver
from symkernel.theory.frozen_system import LinearSystem, batches
from symkernel.theory.kernel_movement import LOOKED_AT, TangentKernel
from symkernel.theory.phases import phases_at, within_phases
from symkernel.theory.tangent_pass import TangentPass, gates_of
from symkernel.trajectory import Field, Trajectory, Undetermined

_MOST_STEPS = 2**53
NO_SAMPLES = Undetermined(
    "the tasks of the curriculum have different numbers of samples; ask for inputs of your own "
    "with compiled.predict"
)


@dataclass(frozen=True, eq=False)
class Clock:
    """When the trajectory is looked at: by flow times, or by steps of gradient descent.

    Attributes
    ----------
    times : ndarray, shape (n_times,)
        Flow times.
    position : ndarray of int, shape (n_times,)
        The phase that runs at each.
    step : float
        Learning rate of gradient descent, 0 for the flow.
    steps : ndarray of int or None
        With a learning rate: the steps.
    starts : tuple of float
        With a learning rate: the step at which each phase starts.
    """

    times: np.ndarray
    position: np.ndarray
    step: float = 0.0
    steps: np.ndarray | None = None
    starts: tuple[float, ...] = ()

    @classmethod
    def of(cls, curriculum: Curriculum, times: object, learning_rate: object) -> Clock:
        """Return the clock; with a learning rate phases and times are rounded to whole steps."""
        if learning_rate is None:
            clock, position = phases_at(curriculum, times)
            return cls(clock, position)
        rate = as_positive(learning_rate, "learning_rate")
        counted = np.rint(as_times(times) / rate)
        if counted[-1] >= _MOST_STEPS:
            raise InvalidArgument(
                f"Argument 'times' must be reached in fewer than 2^53 steps, but takes "
                f"{counted[-1]:g} of {rate:g}; use a larger learning rate."
            )
        if counted[-1] > np.rint(curriculum.end / rate):
            raise OutsideValidity(
                f"The curriculum ends at flow time {curriculum.end:g}, but {counted[-1]:g} steps "
                f"of {rate:g} were asked for; give its last phase a longer duration, or None."
            )
        starts = np.rint(np.array(curriculum.starts) / rate)
        position = np.maximum(np.searchsorted(starts, counted, side="left") - 1, 0)
        return cls(counted * rate, position, rate, counted.astype(np.int64), tuple(starts))

    def phases(self, curriculum: Curriculum) -> Iterator[tuple[int, np.ndarray]]:
        """Yield each phase that is reached with the times, or steps, since its start.

        The end of a phase is the last of them, save in the last phase that is looked at.
        """
        if self.steps is None:
            yield from within_phases(curriculum, self.times, self.position)
            return
        for k, start in enumerate(self.starts):
            inside = self.steps[self.position == k] - start
            local = (
                inside
                if k + 1 == len(self.starts)
                else np.append(inside, self.starts[k + 1] - start)
            )
            if not local.size:
                break
            yield k, local


def probed(
    problem: Problem, at: object, gates: Mapping[str, Any] | None
) -> tuple[TangentPass, ...] | None:
    """Return the network at inputs `at`, once for each phase; None if no inputs are given.

    Raises
    ------
    ShapeMismatch, InvalidArgument
        If the inputs or their gates do not fit.
    """
    if at is None:
        if gates is not None:
            raise InvalidArgument("Argument 'gates' must come with inputs 'X', not alone.")
        return None
    X, net = as_real_array(at, "X", 2), problem.network
    if X.shape[1] != int(net.inputs):
        raise ShapeMismatch(
            f"Argument 'X' must be of shape (n_samples, {net.inputs}), not {X.shape}."
        )
    one = TangentPass(net, problem.weights.arrays, X, gates_of(net, gates or {}, len(X)))
    return (one,) * len(problem.curriculum.phases)


@dataclass(frozen=True, eq=False)
class FrozenPath:
    """Observables of a linearised network; each is computed when it is asked for.

    Attributes
    ----------
    problem : Problem
    clock : Clock
    systems : tuple of LinearSystem
        One for each phase.
    flats : ndarray, shape (n_times, count)
        Displacements of the trained parameters.
    passes : tuple of TangentPass
        Where activities are looked at, one for each phase: the network on its samples or on inputs
        of one's own, linearised where the displacements count from.
    notes : tuple of str
        How it was solved.
    is_probe : bool
        Whether they are of inputs of one's own.
    """

    problem: Problem
    clock: Clock
    systems: tuple[LinearSystem, ...]
    flats: np.ndarray
    passes: tuple[TangentPass, ...]
    notes: tuple[str, ...] = ()
    is_probe: bool = False

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """All weights by name."""
        return self.systems[0].layout.moved(self.problem.weights.arrays, self.flats)

    def node(self, name: str) -> np.ndarray:
        """Return the activity of a node, (n_times, n_samples, size)."""
        node, passes = self.problem.network.node(name), self.passes
        shape = (len(self.flats), len(passes[0].X), int(node.size))
        refuse_large(shape, name)
        out = np.empty(shape)
        for k in np.unique(self.clock.position):
            here = np.flatnonzero(self.clock.position == k)
            for part in batches(len(here), passes[k].numbers):
                rows = here[part]
                out[rows] = passes[k].values[node] + passes[k].forward(self.flats[rows], node)
        return out

    def hidden_gram(self) -> np.ndarray:
        """Return inner products of the linearised hidden activities."""
        hidden = self.node("hidden")
        refuse_large((len(hidden), hidden.shape[1], hidden.shape[1]), "hidden_gram")
        return hidden @ hidden.transpose(0, 2, 1)

    def task_losses(self) -> np.ndarray:
        """Return the loss on the task of every phase, (n_times, n_phases)."""
        columns: list[np.ndarray] = []
        for k, system in enumerate(self.systems):
            known = [j for j in range(k) if self.systems[j] is system]
            columns.append(columns[known[0]] if known else system.losses(self.flats))
        return np.stack(columns, axis=1)

    def loss(self) -> np.ndarray:
        """Return the loss on the task of the running phase."""
        return self.task_losses()[np.arange(len(self.flats)), self.clock.position]

    def ntk(self) -> np.ndarray:
        """Return the frozen tangent kernel of the running phase's samples, at every time."""
        samples, outputs = self.problem.curriculum.phases[0].task.Y.shape
        refuse_large((len(self.flats), samples, outputs, samples, outputs), "ntk")
        kernels = {s: TangentKernel(s.tangent).start for s in dict.fromkeys(self.systems)}
        return np.stack([kernels[self.systems[k]] for k in self.clock.position])

    def kernel_movement(self) -> np.ndarray:
        """Return the relative change of the tangent kernel at the predicted weights."""
        kernels = {s: TangentKernel.on_some(s.tangent) for s in dict.fromkeys(self.systems)}
        return np.array([
            kernels[self.systems[k]].moved({n: w[row] for n, w in self.weights.items()})
            for row, k in enumerate(self.clock.position)
        ])  # fmt: skip

    def _observed(self) -> dict[str, Field]:
        """Return fields on samples, or why there are none."""
        alike = self.is_probe or len({len(p.X) for p in self.passes}) == 1

        def of(name: str) -> Callable[[], np.ndarray]:
            return lambda: self.node(name)

        return {name: of(name) if alike else NO_SAMPLES for name in self.problem.network.nodes}

    def trajectory(self) -> Trajectory:
        """Return everything as fields of a trajectory."""
        nodes = self._observed()
        no_hidden = Undetermined("the network has no node 'hidden'")
        hidden = nodes.get("hidden", no_hidden)
        samples = {len(system.task.X) for system in self.systems}
        kernel: Field = self.ntk if len(samples) == 1 else nodes["output"]
        fields: dict[str, Field] = {
            "outputs": nodes["output"],
            "hidden": hidden,
            "hidden_gram": hidden if isinstance(hidden, Undetermined) else self.hidden_gram,
            "ntk": kernel,
            "weights": lambda: self.weights,
            "loss": self.loss,
            "task_losses": self.task_losses,
            "kernel_movement": self.kernel_movement,
        }
        labels = {} if self.is_probe else self.problem.curriculum.phases[0].task.labels
        return Trajectory(
            self.clock.times,
            fields,
            self.clock.steps,
            labels,
            "theory",
            nodes,
            (*self.problem.conventions, *self.notes),
        )


def movement(
    tangent: TangentPass, weights: Mapping[str, np.ndarray], most: int = LOOKED_AT
) -> float:
    r"""Return $|\Theta - \Theta_0|/|\Theta_0|$ at weights, on some of many samples."""
    return TangentKernel.on_some(tangent, most).moved(weights)


def systems_of(problem: Problem, weights: Mapping[str, np.ndarray]) -> tuple[LinearSystem, ...]:
    """Return the linearised system of each phase; phases of one task share theirs."""
    made: list[tuple[Any, LinearSystem]] = []
    for phase in problem.curriculum.phases:
        known = [system for task, system in made if task is phase.task]
        made.append(
            (phase.task, known[0] if known else LinearSystem.of(problem, phase.task, weights))
        )
    return tuple(system for _, system in made)


def refuse_unstable(found: Solver, step: float) -> None:
    """Refuse steps beyond which the descent of the linearised network diverges.

    Raises
    ------
    InvalidArgument
        With the stable limit.
    """
    if step and not step * found.largest < 2:
        raise InvalidArgument(
            f"Argument 'learning_rate' must be below the stable limit {2 / found.largest:.6g}, 2 / "
            f"(largest eigenvalue of the weighted tangent kernel), not {step:g}: the descent of "
            f"the linearised network diverges there."
        )


def through(
    problem: Problem, clock: Clock, systems: tuple[LinearSystem, ...], method: str | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return displacements at every time, and how they were found; see `solver` for methods."""
    count = systems[0].layout.count
    refuse_large((len(clock.times), count), "weights")
    flats, at, error = np.empty((len(clock.times), count)), np.zeros(count), 0.0
    solvers: dict[int, Solver] = {}
    notes: dict[str, None] = {}
    for k, local in clock.phases(problem.curriculum):
        system = systems[k]
        if id(system) not in solvers:
            solvers[id(system)] = solver(system, method=method)
        solved = solvers[id(system)]
        refuse_unstable(solved, clock.step)
        added = solved.followed(system.residual(at), local, clock.step)
        here = np.flatnonzero(clock.position == k)
        flats[here] = at + added.flats[: len(here)]
        at = at + added.flats[-1]
        # What a phase starts with wrong does not grow in it: all directions decay or stand still.
        error += float(added.error.max())
        notes[added.words] = None
    *before, last = notes
    last += f"; all weights together are wrong by {error:.1e} at most by flow time "
    return flats, (*before, f"{last}{clock.times[-1]:g}")
