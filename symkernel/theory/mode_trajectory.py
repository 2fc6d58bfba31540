"""The modes' way through time and through a curriculum, and what is observed on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from symkernel.theory.mode_state import ModeState
from symkernel.theory.two_layer_path import TwoLayerPath, phases_at, refuse_faint, within_phases
from symkernel.trajectory import Field, Trajectory


@dataclass(frozen=True, eq=False)
class _Stretch:
    """One phase: the sides at its start, and the modes' angles at the times inside it."""

    p: np.ndarray
    q: np.ndarray
    plus: np.ndarray
    minus: np.ndarray
    overlap: np.ndarray
    growth: np.ndarray
    odd: np.ndarray

    def sides(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        r"""Return p and q at the k-th time.

        $p_0\cosh\varphi + q_0\sinh\varphi = p_0 e^{-\varphi} + (p_0 + q_0)\sinh\varphi$: with the
        sum in place of the two large terms nothing cancels when p is nearly opposite to q.
        """
        growth, odd = self.growth[k], self.odd[k]
        up = growth >= 1.0
        keep = np.where(up, 1.0 / growth, growth)
        p = self.p * keep + np.where(up, self.plus, -self.minus) * odd
        q = self.q * keep + np.where(up, self.plus, self.minus) * odd
        return p, q


def mode_trajectory(state: ModeState, times: object, routine: object) -> Trajectory:
    """Return the trajectory of all modes through the curriculum.

    Parameters
    ----------
    state : ModeState
        Its assumptions hold.
    times : array_like
        Flow times, increasing.
    routine : callable
        (times, s, d, w, m, P0, Q0) -> {"overlap", "growth", "odd"}.

    Raises
    ------
    OutsideValidity
        If a time is after the end of the curriculum, or a mode too small at the start of a phase.
    """
    curriculum = state.problem.curriculum
    clock, position = phases_at(curriculum, times)
    r = state.basis.rank_bound
    p, q = state.P[:, :r], state.Q[:, :r]
    plus, minus = p + q, p - q
    w = (p * q).sum(0)
    P0, Q0 = (plus**2).sum(0), (minus**2).sum(0)
    stretches: list[_Stretch] = []
    for k, local in within_phases(curriculum, clock, position):
        for part in (plus, minus):
            refuse_faint(np.abs(part).max(0), k)
        s, d = state.basis.s[k], state.basis.d[k][:r]
        out = routine(local, s, d, w, (P0 + Q0) / 4, P0, Q0)  # type: ignore[operator]
        stretch = _Stretch(p, q, plus, minus, out["overlap"], out["growth"], out["odd"])
        stretches.append(stretch)
        p, q = stretch.sides(-1)
        growth = stretch.growth[-1]
        plus, minus = plus * growth, minus / growth
        w, P0, Q0 = stretch.overlap[-1], P0 * growth**2, Q0 / growth**2
    return _ModePath(state.problem, clock, position, state, tuple(stretches)).trajectory()


@dataclass(frozen=True, eq=False)
class _ModePath(TwoLayerPath):
    """Weights and observables from the modes."""

    state: ModeState
    stretches: tuple[_Stretch, ...]

    @cached_property
    def within(self) -> np.ndarray:
        """Position of each time inside its phase."""
        starts = np.searchsorted(self.position, np.arange(self.position[-1] + 1))
        return np.arange(len(self.clock)) - starts[self.position]

    @cached_property
    def modes(self) -> np.ndarray:
        rows = [
            self.stretches[k].overlap[j] for k, j in zip(self.position, self.within, strict=True)
        ]
        return float(self.state.modes.scale) * np.array(rows)

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        state, r = self.state, self.state.basis.rank_bound
        first = np.empty((len(self.clock), *state.P.shape))
        second = np.empty((len(self.clock), *state.Q.shape))
        first[:], second[:] = state.P, state.Q
        for i, (k, j) in enumerate(zip(self.position, self.within, strict=True)):
            first[i, :, :r], second[i, :, :r] = self.stretches[k].sides(j)
        U, V = state.basis.U, state.basis.V
        return {
            state.modes.first: first @ V.T,
            state.modes.second: np.ascontiguousarray(
                (second / float(state.modes.ratio) @ U.T).transpose(0, 2, 1)
            ),
        }

    def own_fields(self) -> dict[str, Field]:
        """Return weights and modes."""
        return {**super().own_fields(), "modes": lambda: self.modes}

    @cached_property
    def moving(self) -> tuple[np.ndarray, np.ndarray]:
        """Both sides of all modes, (n_times, n_hidden, n_modes) each."""
        sides = [
            self.stretches[k].sides(j) for k, j in zip(self.position, self.within, strict=True)
        ]
        p, q = (np.array(side) for side in zip(*sides, strict=True))
        return p, q / float(self.state.modes.ratio)

    def _products(self, of: str, by: str) -> np.ndarray:
        """Return the products of the sides of two layers in the coordinates of the data.

        What moves has as many columns as there are modes, however wide the layers are.
        """
        state, r = self.state, self.state.basis.rank_bound
        frames = {"first": state.basis.V, "second": state.basis.U}
        rests = {"first": state.P[:, r:], "second": state.Q[:, r:] / float(state.modes.ratio)}
        moving = dict(zip(frames, self.moving, strict=True))
        left, right = frames[of], frames[by]
        turned = moving[of].transpose(0, 2, 1)
        top = (turned @ moving[by]) @ right[:, :r].T + (turned @ rests[by]) @ right[:, r:].T
        still = left[:, r:] @ rests[of].T
        return (
            left[:, :r] @ top
            + (still @ moving[by]) @ right[:, :r].T
            + still @ (rests[by] @ right[:, r:].T)
        )

    def end_to_end(self) -> np.ndarray:
        """Return the map from the sides of the modes: the hidden layer may be wide."""
        first, second = self.layers
        return float(first.scale * second.scale) * self._products("second", "first")

    def input_gram(self) -> np.ndarray:
        """Return W1^T W1 from the sides of the modes."""
        return self._products("first", "first")

    def readout_gram(self) -> np.ndarray:
        """Return W2 W2^T from the sides of the modes."""
        return self._products("second", "second")
