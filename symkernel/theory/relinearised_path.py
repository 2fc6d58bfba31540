r"""The frozen law piece by piece: the way through all refreshes, and what is observed on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from symkernel.errors import refuse_large
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.network import Network
from symkernel.problem.nodes import Input, Node
from symkernel.problem.problem import Problem
from symkernel.problem.weights import Weights
from symkernel.theory.frozen_path import NO_SAMPLES, Clock, FrozenPath, movement, probed
from symkernel.theory.frozen_system import LinearSystem
from symkernel.theory.relinearised_look import Stretch
from symkernel.theory.tangent_pass import Displacements, TangentPass, gates_of
from symkernel.trajectory import Field, Trajectory, Undetermined

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Inputs:
    """Where activities are looked at: the samples of each phase, or inputs of one's own.

    Attributes
    ----------
    net : Network
    sets : tuple of (X, gates)
        One for each phase.
    probed : bool
        Whether they are inputs of one's own.
    """

    net: Network
    sets: tuple[tuple[np.ndarray, Arrays], ...]
    probed: bool

    @classmethod
    def of(cls, problem: Problem, at: Any, gates: Mapping[str, Any] | None) -> Inputs:
        """Return the inputs `at`, or the samples if none are given."""
        net, phases = problem.network, problem.curriculum.phases
        passes = probed(problem, at, gates)
        if passes is not None:
            return cls(net, tuple((one.X, one.gates) for one in passes), True)
        tasks = (phase.task for phase in phases)
        return cls(net, tuple((t.X, gates_of(net, t.gates, len(t.X))) for t in tasks), False)

    def values(self, phase: int, weights: Arrays) -> TangentPass:
        """Return the network at weights."""
        return TangentPass(self.net, weights, *self.sets[phase])


@dataclass(frozen=True, eq=False)
class Piece:
    """A stretch between two refreshes in which there are records.

    Only the weights at its start are kept: what is linearised there is made anew when it is asked
    for, so that memory holds one network at a time.

    Attributes
    ----------
    rows : ndarray of int
        Records that lie in it.
    phase : int
    start : float
        Flow time of its start.
    weights : Mapping
        Weights at its start.
    flats : ndarray, shape (rows, count)
        Displacements since its start.
    """

    rows: np.ndarray
    phase: int
    start: float
    weights: Arrays
    flats: np.ndarray

    def path(self, problem: Problem, times: np.ndarray, inputs: Inputs) -> FrozenPath:
        """Return the frozen law from its start, on its records."""
        task = problem.curriculum.phases[self.phase].task
        here = replace(
            problem,
            curriculum=Curriculum([Phase(task)]),
            weights=Weights(dict(self.weights), problem.weights.provenance),
        )
        system = LinearSystem.of(here, task, self.weights)
        seen = inputs.values(self.phase, self.weights) if inputs.probed else system.tangent
        clock = Clock(times[self.rows], np.zeros(len(self.rows), dtype=int))
        return FrozenPath(here, clock, (system,), self.flats, (seen,))


def through_pieces(problem: Problem, clock: Clock, refreshes: list[np.ndarray]) -> list[Piece]:
    """Go through all phases, each cut at its refreshes; return the pieces with records."""
    weights: Arrays = problem.weights.arrays
    pieces = []
    for k, cuts in enumerate(refreshes):
        task, start = problem.curriculum.phases[k].task, problem.curriculum.starts[k]
        records = np.flatnonzero(clock.position == k)
        local = np.clip(clock.times[records] - start, 0.0, cuts[-1])
        # A record on a cut is the end of a piece, as one on a switch is the end of a phase.
        place = np.clip(np.searchsorted(cuts, local, side="left") - 1, 0, len(cuts) - 2)
        for j in range(len(cuts) - 1):
            inside = place == j
            spans = np.append(local[inside] - cuts[j], cuts[j + 1] - cuts[j])
            system = LinearSystem.of(problem, task, weights)
            flats = Stretch(system).flats(spans)
            if inside.any():
                begin = float(start + cuts[j])
                pieces.append(Piece(records[inside], k, begin, weights, flats[:-1].copy()))
            weights = system.layout.moved(weights, flats[-1])
    return pieces


@dataclass(frozen=True, eq=False)
class RelinearisedPath:
    """What all pieces give together.

    Attributes
    ----------
    problem : Problem
    clock : Clock
        Of the records, those of the user first.
    pieces : list of Piece
    inputs : Inputs
    count : int
        How many of the records are the user's.
    """

    problem: Problem
    clock: Clock
    pieces: list[Piece]
    inputs: Inputs
    count: int

    @cached_property
    def _places(self) -> dict[int, tuple[Piece, int]]:
        """The piece of each record, and its place there."""
        return {int(r): (piece, k) for piece in self.pieces for k, r in enumerate(piece.rows)}

    @cached_property
    def moving_nodes(self) -> dict[Node, str]:
        """All nodes with a name that learning may move, each with one of its names."""
        named = {node: name for name, node in self.problem.network.nodes.items()}
        return {node: name for node, name in named.items() if not isinstance(node, Input)}

    def at_start(self, phase: int) -> dict[str, np.ndarray]:
        """Return nodes on the inputs of a phase before anything has moved."""
        values = self.inputs.values(phase, self.problem.weights.arrays).values
        seen = {name: values[node] for node, name in self.moving_nodes.items()}
        return {**seen, "weights": np.zeros(1)}

    def state(self, row: int) -> dict[str, np.ndarray]:
        """Return nodes at a record, and the displacement of the trained weights."""
        piece, k = self._places[row]
        tangent, flat = self.inputs.values(piece.phase, piece.weights), piece.flats[k]
        nodes = self.moving_nodes.items()
        seen = {name: tangent.values[node] + tangent.forward(flat, node) for node, name in nodes}
        return {**seen, "weights": self._displaced(row)}

    def network(self, row: int) -> dict[str, np.ndarray]:
        """Return the same of the network itself at the weights of the law."""
        piece, k = self._places[row]
        layout = Displacements.of(self.problem.network)
        values = self.inputs.values(piece.phase, layout.moved(piece.weights, piece.flats[k])).values
        seen = {name: values[node] for node, name in self.moving_nodes.items()}
        return {**seen, "weights": self._displaced(row)}

    def until_quarters(self, estimate: np.ndarray) -> np.ndarray:
        """Return estimates (records, ...) that hold until the end of their quarter of movement.

        All paths have the same first piece, and so no difference at all until its end.
        """
        times, position = self.clock.times, self.clock.position
        ends = np.arange(self.count, len(times))
        held = estimate.copy()
        for row in np.flatnonzero(times[: self.count] > 0):
            later = ends[(position[ends] == position[row]) & (times[ends] >= times[row])]
            if len(later):
                held[row] = np.maximum(held[row], estimate[later[0]])
        return held

    def _displaced(self, row: int) -> np.ndarray:
        piece, k = self._places[row]
        layout, start = Displacements.of(self.problem.network), self.problem.weights.arrays
        now = layout.moved(piece.weights, piece.flats[k])
        return np.concatenate([(now[p.name] - start[p.name]).ravel() for p in layout.parameters])

    def gathered(self, of: Callable[[FrozenPath, Piece], np.ndarray]) -> np.ndarray:
        """Return an observable at all records of the user."""
        out: np.ndarray | None = None
        for piece in self.pieces:
            mine = piece.rows < self.count
            if mine.any():
                seen = replace(piece, rows=piece.rows[mine], flats=piece.flats[mine])
                part = of(seen.path(self.problem, self.clock.times, self.inputs), seen)
                if out is None:
                    refuse_large((self.count, *part.shape[1:]), "of the trajectory")
                    out = np.empty((self.count, *part.shape[1:]))
                out[seen.rows] = part
        assert out is not None  # there is at least one record
        return out

    def weights(self) -> dict[str, np.ndarray]:
        """Return all weights by name."""

        def of(name: str) -> np.ndarray:
            return self.gathered(lambda path, _: path.weights[name])

        return {name: of(name) for name in self.problem.weights.arrays}

    def task_losses(self) -> np.ndarray:
        """Return the loss on the task of every phase, of the network linearised in each piece."""

        def of(path: FrozenPath, piece: Piece) -> np.ndarray:
            tasks = (phase.task for phase in self.problem.curriculum.phases)
            systems = (LinearSystem.of(path.problem, task, piece.weights) for task in tasks)
            return np.stack([system.losses(path.flats) for system in systems], axis=1)

        return self.gathered(of)

    def kernel_movement(self) -> np.ndarray:
        """Return the relative change of the tangent kernel since the start."""

        def of(path: FrozenPath, _: Piece) -> np.ndarray:
            known = path.systems[0].tangent
            start = TangentPass(known.net, self.problem.weights.arrays, known.X, known.gates)
            rows = range(len(path.flats))
            moved = ({n: w[k] for n, w in path.weights.items()} for k in rows)
            return np.array([movement(start, weights) for weights in moved])

        return self.gathered(of)

    def trajectory(
        self, estimate: np.ndarray, refreshes: int, notes: tuple[str, ...]
    ) -> Trajectory:
        """Return everything as fields of a trajectory."""
        probed = self.inputs.probed
        sizes = {len(phase.task.X) for phase in self.problem.curriculum.phases}

        def gathered(of: Callable[[FrozenPath], np.ndarray]) -> Field:
            return lambda: self.gathered(lambda path, _: of(path))

        def node(name: str) -> Field:
            if len(sizes) > 1 and not probed:
                return NO_SAMPLES
            return gathered(lambda path: path.node(name))

        nodes = {name: node(name) for name in self.problem.network.nodes}
        hidden = nodes.get("hidden", Undetermined("the network has no node 'hidden'"))
        alike = not isinstance(hidden, Undetermined)
        fields: dict[str, Field] = {
            "outputs": nodes["output"],
            "hidden": hidden,
            "hidden_gram": gathered(FrozenPath.hidden_gram) if alike else hidden,
            "ntk": NO_SAMPLES if len(sizes) > 1 else gathered(FrozenPath.ntk),
            "weights": self.weights,
            "loss": gathered(FrozenPath.loss),
            "task_losses": self.task_losses,
            "kernel_movement": self.kernel_movement,
            "error_estimate": lambda: estimate,
            "refreshes": lambda: refreshes,
        }
        labels = {} if probed else self.problem.curriculum.phases[0].task.labels
        conventions = (*self.problem.conventions, *notes)
        times = self.clock.times[: self.count]
        return Trajectory(times, fields, None, labels, "theory", nodes, conventions)
