r"""The frozen law piece by piece: when the kernel is refreshed, and what all pieces give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from symkernel.errors import InvalidArgument, refuse_large
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.problem import Problem
from symkernel.problem.weights import Weights
from symkernel.theory.frozen_domain import thinned
from symkernel.theory.frozen_path import Clock, FrozenPath, View, movement
from symkernel.theory.frozen_solver import Solver, solver
from symkernel.theory.frozen_system import LinearSystem
from symkernel.trajectory import Field, Trajectory, Undetermined

# Relative movement of the kernel in a stretch of the first look along the way; the shortest one,
# as a share of what is left, and how often the logarithm of its length is halved.
_LOOK, _SHORTEST, _HALVINGS = 0.2, 1e-6, 10
# Outputs of samples on which that movement is looked at: it only decides where to refresh.
_SEEN = 64
# Stretches of the first look, and times in each at which the displacement is noted.
_MOST_LOOKS, _WITHIN = 400, 16
# Refreshes of the coarsest of the two runs that are compared, and of the finest that is tried.
_FEWEST, _MOST = 4, 2048

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Way:
    """How far the kernel has moved along the way through a phase, by a first look.

    Attributes
    ----------
    times : ndarray, shape (n,)
        Since the start of the phase.
    moved : ndarray, shape (n,)
        Sum of the relative movements so far.
    end : Mapping
        Weights at the end.
    """

    times: np.ndarray
    moved: np.ndarray
    end: Arrays

    def refreshes(self, pieces: int) -> np.ndarray:
        """Return times that part the phase into pieces of equal movement, 0 and its end included.

        Where nothing moves, pieces are equally long.
        """
        if not self.moved[-1]:
            return np.linspace(0.0, self.times[-1], pieces + 1)
        wanted = np.linspace(0.0, self.moved[-1], pieces + 1)
        found = np.interp(wanted, self.moved, self.times)
        found[0], found[-1] = 0.0, self.times[-1]
        return found


@dataclass(frozen=True, eq=False)
class Stretch:
    """A network linearised at weights, to be followed from there.

    Attributes
    ----------
    system : LinearSystem
    """

    system: LinearSystem

    @cached_property
    def _solved(self) -> Solver:
        return solver(self.system, once=True)

    @cached_property
    def _residual(self) -> np.ndarray:
        return self.system.residual(np.zeros(self.system.layout.count))

    def flats(self, spans: np.ndarray) -> np.ndarray:
        """Return displacements after some times."""
        return self._solved.displaced(self._residual, spans, 0.0)

    def weights(self, span: float) -> Arrays:
        """Return the weights after a time."""
        flat = self.flats(np.array([span]))[0]
        return self.system.layout.moved(self.system.tangent.weights, flat)

    def movement(self, span: float) -> float:
        """Return how far the kernel has moved after a time."""
        return movement(self.system.tangent, self.weights(span), _SEEN)

    def reach(self, longest: float) -> float:
        """Return a time, `longest` at most, after which the kernel has moved by 0.2 or less."""
        if self.movement(longest) <= _LOOK:
            return longest
        low, high = longest * _SHORTEST, longest
        # What is halved is the logarithm: rates may differ by many orders.
        for _ in range(_HALVINGS):
            middle = float(np.sqrt(low * high))
            low, high = (middle, high) if self.movement(middle) <= _LOOK else (low, middle)
        return low


def look_along(problem: Problem, phase: int, weights: Arrays, end: float) -> Way:
    """Go through a phase in stretches in each of which the kernel moves by 0.2 of itself."""
    task = problem.curriculum.phases[phase].task
    at, times, moved = 0.0, [0.0], [0.0]
    for _ in range(_MOST_LOOKS):
        stretch = Stretch(LinearSystem.of(problem, task, weights))
        span = stretch.reach(end - at)
        inside = span * np.linspace(0.0, 1.0, _WITHIN + 1)[1:]
        lengths = np.maximum.accumulate(np.linalg.norm(stretch.flats(inside), axis=1))
        shares = lengths / (lengths[-1] or 1.0)
        times += list(at + inside)
        moved += list(moved[-1] + stretch.movement(span) * shares)
        weights, at = stretch.weights(span), at + span
        if at >= end * (1 - 1e-12):
            return Way(np.array(times), np.array(moved), weights)
    raise InvalidArgument(
        f"The kernel moves by {_LOOK} of itself {_MOST_LOOKS} times before flow time {at:.3g} of "
        f"phase {phase}, which is to be followed for {end:.3g}; ask for earlier times, or simulate."
    )


@dataclass(frozen=True, eq=False)
class Piece:
    """A stretch between two refreshes.

    Attributes
    ----------
    rows : ndarray of int
        Records that lie in it.
    path : FrozenPath
        The frozen law from the weights at its start.
    start : float
        Flow time of its start.
    """

    rows: np.ndarray
    path: FrozenPath
    start: float


def through_pieces(
    problem: Problem,
    clock: Clock,
    refreshes: list[np.ndarray],
    probe: Callable[[Problem], View | None],
) -> list[Piece]:
    """Go through all phases, each cut at its refreshes."""
    weights: Arrays = problem.weights.arrays
    pieces = []
    for k, cuts in enumerate(refreshes):
        phase, start = problem.curriculum.phases[k], problem.curriculum.starts[k]
        records = np.flatnonzero(clock.position == k)
        local = np.clip(clock.times[records] - start, 0.0, cuts[-1])
        place = np.clip(np.searchsorted(cuts, local, side="left") - 1, 0, len(cuts) - 2)
        for j in range(len(cuts) - 1):
            inside = place == j
            spans = np.append(local[inside] - cuts[j], cuts[j + 1] - cuts[j])
            here = replace(
                problem,
                curriculum=Curriculum([Phase(phase.task)]),
                weights=Weights(dict(weights), problem.weights.provenance),
            )
            system = LinearSystem.of(here, phase.task, weights)
            flats = Stretch(system).flats(spans)
            rows = records[inside]
            view = probe(here) or View((system.tangent,))
            own = Clock(clock.times[rows], np.zeros(len(rows), dtype=int))
            path = FrozenPath(here, own, (system,), flats[:-1], view)
            pieces.append(Piece(rows, path, float(start + cuts[j])))
            weights = system.layout.moved(weights, flats[-1])
    return pieces


@dataclass(frozen=True, eq=False)
class RelinearisedPath:
    """What all pieces give together.

    Attributes
    ----------
    problem : Problem
    clock : Clock
    pieces : list of Piece
    """

    problem: Problem
    clock: Clock
    pieces: list[Piece]

    def gathered(self, of: Callable[[FrozenPath], np.ndarray]) -> np.ndarray:
        """Return an observable at all records."""
        out: np.ndarray | None = None
        for piece in self.pieces:
            if len(piece.rows):
                part = of(piece.path)
                if out is None:
                    refuse_large((len(self.clock.times), *part.shape[1:]), "of the trajectory")
                    out = np.empty((len(self.clock.times), *part.shape[1:]))
                out[piece.rows] = part
        assert out is not None  # there is at least one record
        return out

    def weights(self) -> dict[str, np.ndarray]:
        """Return all weights by name."""
        names = self.problem.weights.arrays

        def of(name: str) -> np.ndarray:
            return self.gathered(lambda path: path.weights[name])

        return {name: of(name) for name in names}

    def flat_outputs(self) -> list[np.ndarray]:
        """Return outputs on the samples of the running phase, one array for each record."""
        rows: dict[int, np.ndarray] = {}
        for piece in self.pieces:
            path = piece.path
            for row, values in zip(piece.rows, path.training_outputs(), strict=True):
                rows[int(row)] = values
        return [rows[k] for k in range(len(self.clock.times))]

    def task_losses(self) -> np.ndarray:
        """Return the loss on the task of every phase, of the network linearised in each piece."""
        return self.gathered(self._losses)

    def _losses(self, path: FrozenPath) -> np.ndarray:
        columns = []
        for phase in self.problem.curriculum.phases:
            system = LinearSystem.of(path.problem, phase.task, path.systems[0].tangent.weights)
            columns.append((system.in_batches(path.flats) ** 2).sum(axis=1) / 2)
        return np.stack(columns, axis=1)

    def hidden_gram(self) -> np.ndarray:
        """Return inner products of hidden activities."""
        return self.gathered(FrozenPath.hidden_gram)

    def ntk(self) -> np.ndarray:
        """Return the tangent kernel of the last refresh before each record."""
        return self.gathered(FrozenPath.ntk)

    def kernel_movement(self) -> np.ndarray:
        """Return the relative change of the kernel since the last refresh."""
        return self.gathered(FrozenPath.kernel_movement)

    def loss(self) -> np.ndarray:
        """Return the loss on the running task."""
        return self.gathered(FrozenPath.loss)

    def trajectory(self, estimate: np.ndarray, notes: tuple[str, ...], probed: bool) -> Trajectory:
        """Return everything as fields of a trajectory."""
        net = self.problem.network
        sizes = {len(phase.task.X) for phase in self.problem.curriculum.phases}
        reason = Undetermined(
            "the tasks of the curriculum have different numbers of samples; ask for inputs of your "
            "own with compiled.predict"
        )

        def of(name: str) -> Field:
            if len(sizes) > 1 and not probed:
                return reason
            return lambda: self.gathered(lambda path: path.node(name))

        nodes: dict[str, Field] = {name: of(name) for name in net.nodes}
        hidden = nodes.get("hidden", Undetermined("the network has no node 'hidden'"))
        fields: dict[str, Field] = {
            "outputs": nodes["output"],
            "hidden": hidden,
            "hidden_gram": hidden if isinstance(hidden, Undetermined) else self.hidden_gram,
            "ntk": reason if len(sizes) > 1 else self.ntk,
            "weights": self.weights,
            "loss": self.loss,
            "task_losses": self.task_losses,
            "kernel_movement": self.kernel_movement,
            "error_estimate": lambda: estimate,
        }
        labels = {} if probed else self.problem.curriculum.phases[0].task.labels
        conventions = (*self.problem.conventions, *notes)
        return Trajectory(self.clock.times, fields, None, labels, "theory", nodes, conventions)


def difference(one: RelinearisedPath, two: RelinearisedPath) -> np.ndarray:
    """Return the largest difference of outputs at each record, relative to the largest output."""
    left, right = one.flat_outputs(), two.flat_outputs()
    size = max((float(np.abs(row).max()) for row in left), default=0.0) or 1.0
    gaps = [float(np.abs(a - b).max()) for a, b in zip(left, right, strict=True)]
    return np.array(gaps) / size


def ways_through(problem: Problem, clock: Clock) -> list[Way]:
    """Return the first look at every phase that is reached, on some samples of many."""
    ways, weights = [], problem.weights.arrays
    few, _ = thinned(problem)
    for k, local in clock.phases(problem.curriculum):
        way = look_along(few, k, weights, max(float(local.max()), 0.0))
        ways.append(way)
        weights = dict(way.end)
    return ways


def settled(
    run: Callable[[int], RelinearisedPath], rtol: float
) -> tuple[RelinearisedPath, np.ndarray, int]:
    """Double the refreshes until halving them changes no output by more than `rtol`.

    Raises
    ------
    InvalidArgument
        If they become too many.
    """
    pieces, coarse = _FEWEST, run(_FEWEST)
    while True:
        pieces *= 2
        fine = run(pieces)
        estimate = difference(fine, coarse)
        if estimate.max(initial=0.0) <= rtol:
            return fine, estimate, pieces
        if pieces >= _MOST:
            raise InvalidArgument(
                f"Argument 'rtol' must be reachable: {pieces} refreshes in each phase leave an "
                f"estimated error of {estimate.max():.1e} of the largest output, more than "
                f"{rtol:.1e}; ask for a larger one, for earlier times, or simulate."
            )
        coarse = fine
