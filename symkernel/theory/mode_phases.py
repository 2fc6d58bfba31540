"""A mode law bound to one mode of a problem, and carried from phase to phase of a curriculum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import sympy as sp

from symkernel import notation
from symkernel.formula import Formula, Result
from symkernel.problem.problem import Problem
from symkernel.problem.scalars import as_sympy
from symkernel.theory.hyperbolic import ModeSolution
from symkernel.theory.mode_flow import Drive
from symkernel.theory.mode_values import ModeValues

D = TypeVar("D", bound=Drive)
_OPPOSITE = notation.symbol(
    "s_opposite", r"\bar s", "minus the strength of a reversed mode", positive=True
)


class ModeLaw(Protocol):
    """The derivation of a law for one choice of what its sides start from."""

    @property
    def solution(self) -> ModeSolution:
        """The solution in terms of its growth z."""

    def result(self) -> Result:
        """Return all mode-level laws as plain SymPy in time."""

    def at_end(self, values: ModeValues, duration: sp.Expr) -> dict[sp.Symbol, sp.Expr]:
        """Return what the law starts from in the phase after one of this duration."""


def per_mode(
    problem: Problem,
    modes: D,
    general: ModeLaw,
    values_of: Callable[[int, int], ModeValues],
    fitting: Callable[[D, ModeValues], ModeLaw],
) -> dict[str, Any]:
    """Return the parts of `Derived` that concern one mode in one phase.

    Parameters
    ----------
    general : ModeLaw
        The law in its own symbols.
    values_of : callable
        (mode, phase) -> strength and variance in the phase, and the initial sides.
    fitting : callable
        The law for given values; balanced, opposite and zero modes are derived as such, so that
        their limits are exact.
    """
    curriculum = problem.curriculum

    def at(index: int, phase: int) -> tuple[ModeLaw, ModeValues]:
        values = values_of(index, phase)
        if phase:
            law, before = at(index, phase - 1)
            duration = as_sympy(curriculum.phases[phase - 1].duration)
            values = ModeValues({**values.entry, **law.at_end(before, duration)})
        here = modes
        if values.are_numbers:
            here = modes.at(values[notation.s], values[notation.d])
            # Radicals beside decimals cost much and say nothing.
            if any(value.is_Float for value in values.entry.values()):
                here = here.in_decimals()
        elif values[notation.s] == 0:
            here = modes.at(sp.S.Zero)
        elif values[notation.s].is_negative:
            # The law's own s is positive, and roots were taken of it.
            here = modes.at(-_OPPOSITE)
            values = ModeValues({**values.entry, _OPPOSITE: -values[notation.s]})
        return fitting(here, values), values

    def mode(index: int, phase: int) -> Result:
        law, values = at(index, phase)
        since = {notation.t: notation.t - as_sympy(curriculum.starts[phase])} if phase else {}
        found = values.in_result(law.result())
        return Result({name: e.xreplace(since) for name, e in found.items()})

    def learning_time(index: int | None, phase: int, small_scale: bool = False) -> Formula:
        law, values = (general, None) if index is None else at(index, phase)
        solution = law.solution
        time = solution.small_scale_time if small_scale else solution.learning_time
        return time if values is None else values.in_formula(time)

    def equation(index: int) -> tuple[sp.Symbol, sp.Expr, sp.Expr]:
        law, values = at(index, 0)
        u, rate, start = law.solution.closed_equation()
        return u, values.in_law(rate), values.in_law(start)

    def strength(index: int, phase: int) -> tuple[sp.Expr, sp.Expr]:
        values = values_of(index, phase)
        return values[notation.s], values[notation.d]

    return {
        "mode": mode,
        "learning_time": learning_time,
        "equation": equation,
        "strength": strength,
    }
