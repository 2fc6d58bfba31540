"""The modes' way through time and through a curriculum, and what is observed on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from symkernel.problem.problem import Problem
from symkernel.theory.mode_state import HiddenSides, ModeState
from symkernel.theory.phases import phases_at, refuse_faint, through_phases, within_phases
from symkernel.theory.stable_modes import side_routine
from symkernel.theory.two_layer_path import TwoLayerPath
from symkernel.trajectory import Field, Trajectory


@dataclass(frozen=True, eq=False)
class _Stretch:
    """One phase: what the routine says of the modes at the times inside it."""

    overlap: np.ndarray
    growth: np.ndarray
    odd: np.ndarray

    def through(self, start: HiddenSides) -> tuple[np.ndarray, HiddenSides]:
        r"""Return p and q at all times, (n_times, 2, n, n_modes), and the sides at the last one.

        $p_0\cosh\varphi + q_0\sinh\varphi = p_0 e^{-\varphi} + (p_0 + q_0)\sinh\varphi$: with the
        sum in place of the two large terms nothing cancels when p is nearly opposite to q.
        """
        growth, odd = self.growth[:, None], self.odd[:, None]
        up = growth >= 1.0
        keep = np.where(up, 1.0 / growth, growth)
        p = start.p * keep + np.where(up, start.plus, -start.minus) * odd
        q = start.q * keep + np.where(up, start.plus, start.minus) * odd
        last = self.growth[-1]
        return np.stack([p, q], 1), HiddenSides(p[-1], q[-1], start.plus * last, start.minus / last)


def trajectory_of(problem: Problem, times: object) -> Trajectory:
    """Return the trajectory of a problem of the mode laws; see `mode_trajectory`."""
    state = ModeState.of(problem)
    return mode_trajectory(state, times, side_routine(state.modes))


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
    r, sides = state.basis.rank_bound, state.narrow.sides
    w = (sides.p * sides.q).sum(0)
    P0, Q0 = (sides.plus**2).sum(0), (sides.minus**2).sum(0)
    sizes = np.abs(sides.plus).max(0), np.abs(sides.minus).max(0)
    stretches: list[_Stretch] = []
    for k, local in within_phases(curriculum, clock, position):
        for size in sizes:
            refuse_faint(size, k)
        s, d = state.basis.s[k], state.basis.d[k][:r]
        out = routine(local, s, d, w, (P0 + Q0) / 4, P0, Q0)  # type: ignore[operator]
        stretches.append(_Stretch(out["overlap"], out["growth"], out["odd"]))
        growth = out["growth"][-1]
        sizes = sizes[0] * growth, sizes[1] / growth
        w, P0, Q0 = out["overlap"][-1], P0 * growth**2, Q0 / growth**2
    return _ModePath(state.problem, clock, position, state, tuple(stretches)).trajectory()


@dataclass(frozen=True, eq=False)
class _ModePath(TwoLayerPath):
    """Weights and observables from the modes.

    Only the weights themselves, and the hidden activity, are as wide as the hidden layer.
    """

    state: ModeState
    stretches: tuple[_Stretch, ...]

    @cached_property
    def modes(self) -> np.ndarray:
        """The end-to-end map in the singular basis, (n_times, n_modes)."""
        overlaps = through_phases(
            self.problem,
            self.clock,
            self.position,
            None,
            lambda k, nothing, local: (self.stretches[k].overlap, nothing),
        )
        return float(self.state.modes.scale) * overlaps

    def _layers(
        self, start: HiddenSides, still: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        r"""Return $W_1$ and $\rho W_2^T$ at all times in the hidden coordinates of the start."""
        moving = through_phases(
            self.problem,
            self.clock,
            self.position,
            start,
            lambda k, sides, local: self.stretches[k].through(sides),
        )
        r, layers = self.state.basis.rank_bound, []
        for side, basis in enumerate((self.state.basis.V, self.state.basis.U)):
            layer = np.tensordot(moving[:, side], basis[:, :r], (2, 1))
            # In place: a new array of this size costs more than what is added.
            layer += still[side]
            layers.append(layer)
        first, second = layers
        return first, second

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        modes, ratio = self.state.modes, float(self.state.modes.ratio)
        first, second = self._layers(self.state.sides, self.state.still(self.state.layers))
        return {
            modes.first: first,
            modes.second: np.ascontiguousarray(second.transpose(0, 2, 1)) / ratio,
        }

    @cached_property
    def narrow(self) -> tuple[np.ndarray, np.ndarray]:
        """The layers within the hidden directions of the moving sides."""
        return self._layers(self.state.narrow.sides, self.state.narrow.still)

    def own_fields(self) -> dict[str, Field]:
        """Return weights and modes."""
        return {**super().own_fields(), "modes": lambda: self.modes}

    def _products(self, of: int, by: int) -> np.ndarray:
        """Return the products of the columns of two layers, in the coordinates of the data."""
        found = self.narrow[of].transpose(0, 2, 1) @ self.narrow[by]
        found += self.state.narrow.products[of][by]
        return found

    def end_to_end(self) -> np.ndarray:
        """Return the map from inputs to outputs."""
        inner, outer = self.layers
        scale = float(inner.scale * outer.scale) / float(self.state.modes.ratio)
        return scale * self._products(1, 0)

    def input_gram(self) -> np.ndarray:
        """Return W1^T W1."""
        return self._products(0, 0)

    def readout_gram(self) -> np.ndarray:
        """Return W2 W2^T."""
        return self._products(1, 1) / float(self.state.modes.ratio) ** 2
