"""One mode of a deep problem: its strength, variance and start, through the phases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.errors import InvalidArgument
from symkernel.formula import Formula, Result
from symkernel.problem.problem import Problem
from symkernel.problem.scalars import as_sympy
from symkernel.theory.chain_flow import ChainFlow
from symkernel.theory.chain_state import ChainState
from symkernel.theory.deep_mode import DeepMode
from symkernel.theory.hyperbolic import U0
from symkernel.theory.mode_values import ModeValues, as_index, refuse_narrow

_TIME, _U = notation.t, notation.u


@dataclass(frozen=True)
class DeepLaw:
    """The law of a chain in its own symbols, and bound to the modes of a problem.

    Attributes
    ----------
    problem : Problem
    flow : ChainFlow
    """

    problem: Problem
    flow: ChainFlow

    @cached_property
    def general(self) -> DeepMode:
        """The mode in the law's own symbols."""
        flow = self.flow
        return DeepMode(sp.Integer(flow.depth), flow.sigma, flow.delta, flow.scale)

    def result(self, mode: DeepMode | None = None, sign: int = 1) -> Result:
        """Return all mode-level laws in the law's own symbols."""
        mode = self.general if mode is None else mode
        return Result(observables(self.flow, mode.curve, sign))

    def mode(self, index: int, phase: int) -> Result:
        """Return the laws of one mode within one phase."""
        sign = self._sign(index)
        mode, entry = self._bound(self.values(index, phase), sign)
        found = ModeValues(entry).in_result(self.result(mode, sign))
        begin = as_sympy(self.problem.curriculum.starts[phase])
        since = {_TIME: _TIME - begin} if phase else {}
        return Result({name: e.xreplace(since) for name, e in found.items()})

    def learning_time(self, index: int | None, phase: int, small_scale: bool = False) -> Formula:
        """Return the flow time at which a mode reaches a fraction of its final value."""
        time = self.general.learning_time(small_scale=small_scale)
        if index is None:
            return time
        values = self.values(index, phase)
        if self._never(values):
            return Formula(time.name, time.symbol, sp.oo)
        mode, entry = self._bound(values, self._sign(index))
        return ModeValues(entry).in_formula(mode.learning_time(small_scale=small_scale))

    def equation(self, index: int) -> tuple[sp.Symbol, sp.Expr, sp.Expr]:
        """Return the closed equation of a mode in the first phase, and its start."""
        values, sign = self.values(index, 0), self._sign(index)
        mode, entry = self._bound(values, sign)
        rate = sign * mode.rate.subs(_U, sign * _U)
        return _U, rate.xreplace(entry), values[U0]

    def strength(self, index: int, phase: int) -> tuple[sp.Expr, sp.Expr]:
        """Return strength and input variance of a mode in the task of a phase."""
        values = self.values(index, phase)
        return values[notation.s], values[notation.d]

    def _never(self, values: ModeValues) -> bool:
        """Whether numbers tell that the mode never rises to its final value."""
        s, start = values[notation.s], values[U0]
        deep = self.flow.depth > 1
        still = s == 0 or (deep and (start == 0 or (start * s).is_negative is True))
        if still or not values.are_numbers:
            return still
        final = self.flow.scale * (self.flow.sigma / self.flow.delta).subs(values.entry)
        return not final.free_symbols and bool(start / final >= 1)

    def _sign(self, index: int) -> int:
        """Return the sign of a mode, which no phase changes; one layer has none that is kept."""
        return -1 if self.flow.depth > 1 and self.values(index, 0)[U0].is_negative else 1

    def _bound(self, values: ModeValues, sign: int) -> tuple[DeepMode, dict[sp.Symbol, sp.Expr]]:
        """Return the mode turned to a positive start, and the values to put in."""
        s, start = values[notation.s], values[U0]
        sigma = self.flow.sigma * sign
        if values.are_numbers or s == 0:
            entry = {notation.s: s, notation.d: values[notation.d]}
            mode = replace(self.general, sigma=sigma.subs(entry), delta=self.flow.delta.subs(entry))
        else:
            mode = replace(self.general, sigma=sigma)
        return mode, {**values.entry, U0: sign * start}

    def values(self, index: int, phase: int) -> ModeValues:
        """Return strength and variance of a mode in a phase, and what it starts from there."""
        numeric = self.problem.is_numeric_but_for_durations
        values = self._measured(index, phase) if numeric else self._given(index, phase)
        if not phase:
            return values
        sign = self._sign(index)
        mode, entry = self._bound(self.values(index, phase - 1), sign)
        duration = as_sympy(self.problem.curriculum.phases[phase - 1].duration)
        end = sign * mode.curve.xreplace(entry).subs(_TIME, duration)
        start = end if end.free_symbols else end.evalf()
        return ModeValues({**values.entry, U0: start})

    @cached_property
    def _state(self) -> ChainState:
        return ChainState.of(self.problem)

    def _measured(self, index: int, phase: int) -> ModeValues:
        state = self._state
        k = as_index(index, state.basis.rank_bound)
        start = float(self.flow.scale) * state.sign[k] * state.amplitude[k] ** self.flow.depth
        found = (state.basis.s[phase][k], state.basis.d[phase][k], start)
        return ModeValues(
            {q: _number(v) for q, v in zip((notation.s, notation.d, U0), found, strict=True)}
        )

    def _given(self, index: int, phase: int) -> ModeValues:
        """Return a mode of a problem with symbols as the user gave it."""
        tasks = [p.task for p in self.problem.curriculum.phases]
        counts = {len(task.modes or ()) for task in tasks}
        amplitudes = self.problem.weights.amplitudes
        if counts == {0} or len(counts) > 1 or amplitudes is None:
            raise InvalidArgument(
                "A mode of a problem with symbols needs tasks from modes, the same number in each "
                "phase, and weights aligned with the first one; give numbers instead."
            )
        k = as_index(index, counts.pop())
        for node in list(self.problem.network.order)[1:-1]:
            refuse_narrow(as_sympy(node.size), len(tasks[0].modes or ()))
        a, b = (side[0] if len(side) == 1 else side[k] for side in (amplitudes.a, amplitudes.b))
        mode = (tasks[phase].modes or ())[k]
        start = self.flow.scale * a ** (self.flow.depth - 1) * b
        return ModeValues({notation.s: mode.s, notation.d: mode.d, U0: start})


def _number(value: float) -> sp.Expr:
    return sp.Float(float(np.float64(value))) if value else sp.S.Zero


def observables(flow: ChainFlow, curve: sp.Expr, sign: int = 1) -> dict[str, sp.Expr]:
    r"""Return the mode entries of all observables of aligned and balanced layers.

    "output"; "amplitude" (of each layer); "hidden1", ... (activity along the mode's direction for
    the input $v_i$); "hidden_gram" (square of the last one); "ntk" ($u_i^T K(v_i, v_i) u_i$, the
    sum over layers); "loss" (the mode's part of it).

    Parameters
    ----------
    curve : sympy.Expr
        The mode as it is, positive, before its sign.
    """
    D, output = flow.depth, sign * curve
    if D == 1:
        amplitude = output / flow.scale
    else:
        amplitude = (curve / flow.scale) ** sp.Rational(1, D)
    scales = {p.name: p.scale for p in flow.system.network.parameters}
    rate = flow.system.network.parameters[0].rate
    found = {"output": output, "amplitude": amplitude}
    factor = sp.S.One
    for k, name in enumerate(flow.layers[:-1], 1):
        factor *= scales[name]
        found[f"hidden{k}"] = factor * amplitude**k
    if D > 1:
        found["hidden_gram"] = found[f"hidden{D - 1}"] ** 2
    found["ntk"] = D * rate * flow.scale**2 * amplitude ** (2 * D - 2)
    missing = notation.s / notation.d - output
    found["loss"] = flow.system.loss.factor * notation.d * missing**2
    return found
