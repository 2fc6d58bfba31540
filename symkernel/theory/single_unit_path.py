r"""Numbers of one hidden unit through a curriculum: its sides, their sums and their differences.

Modes are put together relative to the one that has most of the common factor, with
$\omega_i - \omega_j = (\sigma_i^2 - \sigma_j^2)/(\omega_i + \omega_j)$. A phase starts from $p$,
$q$, $p + q$ and $p - q$ of every mode, each with digits of its own: after a reversal the sides are
nearly opposite, and their small sum is what is learned next. What rounding may have done to each
goes along, and a phase in which it decides is refused. So does what has shrunk below the numbers
that are carried: it is uncertain by the smallest of them, and refused where that has grown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from symkernel.problem.modes import Basis, common_basis, singular_basis
from symkernel.problem.problem import Problem
from symkernel.theory.mode_flow import ModeFlow
from symkernel.theory.mode_state import TOLERANCE
from symkernel.theory.phases import (
    LEAST_DIGITS,
    SMALLEST,
    phases_at,
    refuse_faint,
    require_digits,
    within_phases,
)
from symkernel.theory.single_unit_flow import Part
from symkernel.theory.single_unit_stable import SIDES
from symkernel.theory.two_layer_path import TwoLayerPath
from symkernel.trajectory import Field

Routine = Callable[..., dict[str, np.ndarray]]
_EPS = float(np.finfo(float).eps)
# Roundings of a scalar product with a direction that is no axis.
_TURNING = 4.0 * _EPS
# Largest logarithm of a factor.
_LARGEST = 700.0


@dataclass(frozen=True, eq=False)
class UnitState:
    """The unit at the start of a phase, in the singular basis of the phase's task.

    Attributes
    ----------
    s : ndarray, shape (max(n_inputs, n_outputs),)
        Modes, completed by directions of strength 0.
    d : float
    sides : ndarray, shape (4, n_modes)
        p, q, p + q and p - q.
    noise : ndarray, shape (4, n_modes)
        What rounding may have done to them.
    """

    s: np.ndarray
    d: float
    sides: np.ndarray
    noise: np.ndarray

    @classmethod
    def of(
        cls, s: np.ndarray, d: float, p: np.ndarray, q: np.ndarray, *noise: np.ndarray
    ) -> UnitState:
        """Return the state of two sides, with noise on each where there is any."""
        sides = np.array([p, q, p + q, p - q])
        first, second = noise or (np.zeros(len(p)), np.zeros(len(q)))
        off = np.array([first, second, first + second, first + second])
        return cls(s, d, sides, off + _EPS * np.abs(sides))

    @property
    def lam(self) -> float:
        """The conserved quantity; equal sides leave nothing of their rounding."""
        return -math.fsum(self.sides[2] * self.sides[3])

    @property
    def uncertain(self) -> float:
        """What rounding may have done to the conserved quantity."""
        plus, minus = np.abs(self.sides[2:])
        return float(self.noise[2] @ minus + self.noise[3] @ plus)

    @property
    def parts(self) -> tuple[Part, ...]:
        """All modes as numbers of SymPy."""
        rows = zip(self.s, *self.sides[:2], strict=True)
        return tuple(Part(*(sp.Float(x) if x else sp.S.Zero for x in row)) for row in rows)

    def lost(self, lam: float) -> tuple[np.ndarray, np.ndarray]:
        """Return sizes of modes too small to be carried, and which of them grow in this phase.

        Without a task the two sides go their own ways, and one of them only decays.
        """
        sizes = np.abs(self.sides)
        faint = (sizes < SMALLEST) & (self.noise > 0) & (self.noise <= SMALLEST)
        alone = faint[1] if lam > 0 else faint[0]
        grows = np.where(self.s != 0, faint[2] | faint[3], alone)
        return np.where(faint, sizes, 0.0).max(0), grows

    def floored(self, lam: float, sides: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Return the noise at the end of the phase, with the smallest number that is carried."""
        there = (self.sides != 0) | (self.noise > 0)
        driven = self.s != 0
        still = np.full(len(self.s), lam != 0)
        there |= there[[1, 0, 3, 2]] & np.array([driven, driven, still, still])
        return np.where(there & (np.abs(sides) < SMALLEST), np.maximum(noise, SMALLEST), noise)

    def along(
        self, routine: Routine, times: np.ndarray, lam: float, uncertain: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the sides and their noise at all times, (4, n_times, n_modes) each.

        Parameters
        ----------
        lam, uncertain : float
            The conserved quantity, and what rounding may have done to it.
        """
        n = len(self.s)
        level = np.full(n, self.d)
        out = routine(times, self.s, level, np.full(n, lam), *self.sides)
        scale = _scales(out, times)
        found = np.array([out[name] for name in SIDES]) * scale
        # The linear flow with all signs positive carries bounds. p and q drive each other by |g|,
        # sum and difference by |h|; turning a sign changes the places of two of them.
        swaps = (np.full(n, lam >= 0), self.s < 0)
        pull = uncertain * out["pull"][0] * np.minimum(1.0 / out["omega"][0], times[-1])
        noise = self.noise + _swapped(pull * np.abs(self.sides))
        moved = routine(
            times, np.abs(self.s), level, np.full(n, -abs(lam)), *_exchanged(noise, swaps)
        )
        spread = _exchanged(np.array([moved[name] for name in SIDES]), swaps) * scale
        return found, spread + _swapped(pull * np.abs(found)) + _EPS * np.abs(found)


def _exchanged(rows: np.ndarray, swaps: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return four rows with the first two, and the last two, exchanged for some modes."""
    first, last = swaps
    return np.array(
        [
            np.where(first, rows[1], rows[0]),
            np.where(first, rows[0], rows[1]),
            np.where(last, rows[3], rows[2]),
            np.where(last, rows[2], rows[3]),
        ]
    )


def _swapped(rows: np.ndarray) -> np.ndarray:
    """Return what an error of h makes of each: of p and q themselves, of sum and difference."""
    return rows[[0, 1, 3, 2]]


def _scales(out: dict[str, np.ndarray], times: np.ndarray) -> np.ndarray:
    """Return what the decaying forms of all modes have to be multiplied with."""
    omega, sigma, root = out["omega"][0], out["sigma"][0], out["root"]
    with np.errstate(divide="ignore"):
        weight = np.log(root) + omega * times[:, None]
    leader = weight.argmax(1)
    leads = weight.max(1) > 0
    sums = omega[leader][:, None] + omega
    apart = (sigma - sigma[leader][:, None]) * (sigma + sigma[leader][:, None]) / sums
    shift = np.where(leads[:, None], apart, omega) * times[:, None]
    # Only modes that are not there, and sides on the saddle, come to the limit.
    factor = np.exp(np.minimum(shift, _LARGEST))
    start = np.where(leads, np.exp(-omega[leader] * times), 1.0)
    # Without squares, which underflow; what leads from next to nothing may overflow.
    with np.errstate(over="ignore"):
        rest = np.hypot.reduce(factor * root, axis=1)
        return factor / np.hypot(start, rest)[:, None]


@dataclass(frozen=True, eq=False)
class UnitPath(TwoLayerPath):
    """Weights of a network of one hidden unit, and what is observed on them."""

    flow: ModeFlow
    routine: Any

    @classmethod
    def of(cls, problem: Problem, flow: ModeFlow, routine: Any, times: object) -> UnitPath:
        """Return the path of a problem that the law covers."""
        return cls(problem, *phases_at(problem.curriculum, times), flow, routine)

    @cached_property
    def bases(self) -> tuple[Basis, ...]:
        """One basis for all phases where their tasks commute, else one for each."""
        tasks = [phase.task for phase in self.problem.curriculum.phases]
        shared = common_basis(tasks)
        r = shared.rank_bound
        for task, s in zip(tasks, shared.s, strict=True):
            turned = shared.U.T @ task.Syx @ shared.V
            turned[np.arange(r), np.arange(r)] -= s
            if np.abs(turned).max() > TOLERANCE**1.5 * max(np.linalg.norm(task.Syx, 2), 1e-300):
                return tuple(singular_basis(task) for task in tasks)
        return tuple(
            Basis(shared.U, shared.V, shared.s[k : k + 1], shared.d[k : k + 1], shared.rounding)
            for k in range(len(tasks))
        )

    def _modes(self, k: int) -> tuple[np.ndarray, float]:
        """Return the strengths of a phase, and the variance of its inputs."""
        first, second = self.problem.network.inputs, self.problem.network.outputs
        s = np.zeros(max(int(first), int(second)))
        s[: self.bases[k].rank_bound] = self.bases[k].s[0]
        return s, _variance(self.problem, k)

    def _first(self) -> UnitState:
        """Return the state at the start; what is mere rounding there is 0."""
        basis, arrays, flow = self.bases[0], self.problem.weights.arrays, self.flow
        s, d = self._modes(0)
        row, column = arrays[flow.first][0], float(flow.ratio) * arrays[flow.second][:, 0]
        pairs = [_projected(row, basis.V, len(s)), _projected(column, basis.U, len(s))]
        (p, rough), (q, coarse) = pairs
        share = basis.rounding / _TURNING
        gone = (np.abs(p) <= share * rough) & (np.abs(q) <= share * coarse)
        p[gone] = q[gone] = 0.0
        return UnitState.of(s, d, p, q, rough, coarse)

    def _next(self, k: int, sides: np.ndarray, noise: np.ndarray) -> UnitState:
        """Return the state at the start of phase k from that at the end of the phase before."""
        (s, d), old, new = self._modes(k), self.bases[k - 1], self.bases[k]
        if new.V is old.V:
            before, after = (self.problem.curriculum.phases[i].task.Syx for i in (k - 1, k))
            if np.array_equal(before, after) or np.array_equal(before, -after):
                return UnitState(s, d, sides, noise)
            # Tasks that commute up to rounding turn the sides by as much.
            lengths = np.linalg.norm(sides[:2], axis=1)
            turned = np.array(
                [_rough(x, one, len(s)) for x, one in zip(lengths, (old.V, old.U), strict=True)]
            )
            return UnitState(s, d, sides, noise + turned.sum(0))
        both, n = ((old.V, new.V), (old.U, new.U)), len(s)
        off = [
            _filled(x[: len(one)] @ np.abs(one.T @ two), n)
            for x, (one, two) in zip(noise[:2], both, strict=True)
        ]
        ended = sides[0, : len(old.V)] @ old.V.T, sides[1, : len(old.U)] @ old.U.T
        p, rough = _projected(ended[0], new.V, n)
        q, coarse = _projected(ended[1], new.U, n)
        return UnitState.of(s, d, p, q, off[0] + rough, off[1] + coarse)

    @cached_property
    def stretches(self) -> tuple[tuple[UnitState, np.ndarray], ...]:
        """The state at the start of each phase, and both sides at the times inside it."""
        found: list[tuple[UnitState, np.ndarray]] = []
        state, largest = self._first(), 0.0
        kept, ended, noise = (state.lam, state.uncertain), state.sides, state.noise
        start = float(np.linalg.norm(state.sides[:2]))
        for part in np.abs(state.sides[2:]):
            refuse_faint(part, 0)
        for k, local in within_phases(self.problem.curriculum, self.clock, self.position):
            if k:
                state = self._next(k, ended, noise)
            sides, spread = state.along(self.routine, local, *kept)
            largest = max(largest, float(np.linalg.norm(sides[:2], axis=(0, 2)).max()))
            found.append((state, sides[:2, : int((self.position == k).sum())]))
            # Where all has shrunk to nothing, what was there at the start.
            length = largest if largest >= SMALLEST else start
            if k and length:
                squares = _squares(spread)
                error = float(np.sqrt(squares.sum(-1).max())) / length
                if not error <= LEAST_DIGITS:
                    refuse_lost(found, kept[0], squares.max(0) == squares.max())
                require_digits(k, error, "start with sides of different lengths")
            ended, noise = sides[:, -1], state.floored(kept[0], sides[:, -1], spread[:, -1])
        return tuple(found)

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """Both weights at all times."""
        flow, rows, columns = self.flow, [], []
        bases = self.bases[: len(self.stretches)]
        for basis, (_, (p, q)) in zip(bases, self.stretches, strict=True):
            rows.append(p[:, : len(basis.V)] @ basis.V.T)
            columns.append(q[:, : len(basis.U)] @ basis.U.T / float(flow.ratio))
        first, second = np.concatenate(rows), np.concatenate(columns)
        return {flow.first: first[:, None, :], flow.second: second[:, :, None]}

    @cached_property
    def modes(self) -> np.ndarray:
        """The end-to-end map in the basis of the first task."""
        basis = self.bases[0]
        r = basis.rank_bound
        return np.einsum("or,toi,ir->tr", basis.U[:, :r], self.end_to_end(), basis.V[:, :r])

    def own_fields(self) -> dict[str, Field]:
        """Return weights and modes."""
        return {**super().own_fields(), "modes": lambda: self.modes}


def refuse_lost(
    stretches: Sequence[tuple[UnitState, np.ndarray]], lam: float, modes: np.ndarray | bool = True
) -> None:
    """Refuse modes that became too small to be carried, and then had to grow.

    Parameters
    ----------
    stretches : sequence of (UnitState, ndarray)
        As of a `UnitPath`.
    lam : float
    modes : ndarray of bool, optional
        The modes in question.

    Raises
    ------
    OutsideValidity
        If there is such a mode at the start of a phase.
    """
    for k, (state, _) in enumerate(stretches):
        sizes, grows = state.lost(lam)
        refuse_faint(sizes, k, grows & modes)


def _squares(noise: np.ndarray) -> np.ndarray:
    """Return the square of the noise of each mode in time, by sides or by sum and difference."""
    with np.errstate(over="ignore"):
        found = np.minimum((noise[:2] ** 2).sum(0), (noise[2:] ** 2).sum(0) / 2)
    return np.nan_to_num(found, nan=np.inf, posinf=np.inf)


def _rough(length: float, basis: np.ndarray, n: int) -> np.ndarray:
    """Return what rounding does to the products of a vector with directions, n in all.

    Products with an axis are exact.
    """
    return _filled(np.where(np.count_nonzero(basis, axis=0) > 1, _TURNING * length, 0.0), n)


def _projected(vector: np.ndarray, basis: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return components along the columns of a basis, n in all, and what rounding did to them."""
    rough = _rough(float(np.linalg.norm(vector)), basis, n)
    return _filled(vector @ basis, n), rough


def _filled(values: np.ndarray, n: int) -> np.ndarray:
    """Return values with zeros behind, n in all."""
    return np.concatenate([values, np.zeros(n - len(values), values.dtype)])


def _variance(problem: Problem, k: int) -> float:
    """Return the variance of all inputs of a phase."""
    return float(np.trace(problem.curriculum.phases[k].task.Sxx)) / int(problem.network.inputs)
