r"""A first look along the way: how far the kernel moves, and so when it is to be refreshed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from symkernel.errors import InvalidArgument
from symkernel.problem.problem import Problem
from symkernel.theory.frozen_domain import thinned
from symkernel.theory.frozen_path import Clock, movement
from symkernel.theory.frozen_solver import Solver, solver
from symkernel.theory.frozen_system import LinearSystem
from symkernel.theory.tangent_pass import TangentPass

# Relative movement of the kernel in a stretch, and how many stretches are followed.
_LOOK, _MOST_LOOKS = 0.1, 800
# Times in a stretch at which the kernel is looked at first: from a share of what is left on.
_SHORTEST, _GRID = 1e-6, 9
# The largest movement in a gap between two of these times, and the largest share of all movement
# there; gaps are halved so often at most.
_GAP, _SHARE, _HALVINGS = 0.02, 1 / 16, 48
# Outputs of samples on which the kernel is looked at: it only decides where to refresh.
_SEEN = 64

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Way:
    """How far the kernel has moved along the way through a phase.

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
        return self._solved.followed(self._residual, spans, 0.0).flats

    def weights(self, span: float) -> Arrays:
        """Return the weights after a time."""
        flat = self.flats(np.array([span]))[0]
        return self.system.layout.moved(self.system.tangent.weights, flat)

    def movements(self, times: list[float]) -> list[float]:
        """Return how far the kernel moves from each time to the next, all of one solution."""
        known, layout = self.system.tangent, self.system.layout
        reached = [layout.moved(known.weights, flat) for flat in self.flats(np.array(times))]
        return [
            movement(TangentPass(known.net, one, known.X, known.gates), other, _SEEN)
            for one, other in pairwise(reached)
        ]

    def course(self, longest: float) -> tuple[np.ndarray, np.ndarray]:
        """Return times, and how far the kernel has moved by each, until it has by 0.1.

        Rates may differ by many orders, so times are spaced by ratios; the gap in which the kernel
        moves most is parted until none holds much.
        """
        times = [0.0, *np.geomspace(_SHORTEST * longest, longest, _GRID)]
        gaps = self.movements(times)
        for _ in range(_HALVINGS):
            moved = np.cumsum(gaps)
            inside = int(np.searchsorted(moved, _LOOK)) + 1
            widest = int(np.argmax(gaps[:inside]))
            if gaps[widest] <= min(_GAP, _SHARE * float(moved[-1])):
                break
            one, two = times[widest : widest + 2]
            middle = float(np.sqrt(one * two)) if one else two / 10
            gaps[widest : widest + 1] = self.movements([one, middle, two])
            times.insert(widest + 1, middle)
        moved = np.cumsum([0.0, *gaps])
        kept = max(2, int(np.searchsorted(moved, _LOOK, side="right")))
        return np.array(times[:kept]), moved[:kept]


def look_along(problem: Problem, phase: int, weights: Arrays, end: float) -> Way:
    """Go through a phase in stretches in each of which the kernel moves by 0.1 of itself."""
    task = problem.curriculum.phases[phase].task
    at, times, moved = 0.0, [0.0], [0.0]
    if not end:
        return Way(np.zeros(2), np.zeros(2), weights)
    for _ in range(_MOST_LOOKS):
        stretch = Stretch(LinearSystem.of(problem, task, weights))
        spans, gone = stretch.course(end - at)
        times += list(at + spans[1:])
        moved += list(moved[-1] + gone[1:])
        weights, at = stretch.weights(float(spans[-1])), at + float(spans[-1])
        if at >= end * (1 - 1e-12):
            times[-1] = end
            return Way(np.array(times), np.array(moved), weights)
    raise InvalidArgument(
        f"The kernel moves by {_LOOK} of itself {_MOST_LOOKS} times before flow time {at:.3g} of "
        f"phase {phase}, which is to be followed for {end:.3g}; ask for earlier times, or simulate."
    )


def ways_through(problem: Problem, clock: Clock) -> list[Way]:
    """Return the first look at every phase that is reached, on some samples of many."""
    ways, weights = [], problem.weights.arrays
    few, _ = thinned(problem)
    for k, local in clock.phases(problem.curriculum):
        way = look_along(few, k, weights, max(float(local.max()), 0.0))
        ways.append(way)
        weights = dict(way.end)
    return ways
