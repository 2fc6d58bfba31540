"""One mode of a problem: its strength, variance and amplitudes, exact where the problem is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.errors import InvalidArgument
from symkernel.formula import Formula, Result
from symkernel.problem.problem import Problem
from symkernel.theory.mode_flow import ModeFlow
from symkernel.theory.mode_state import ModeState


@dataclass(frozen=True)
class ModeValues:
    """Numbers or symbols of a mode, in place of the law's own symbols."""

    entry: dict[sp.Symbol, sp.Expr]

    def __getitem__(self, symbol: sp.Symbol) -> sp.Expr:
        return self.entry[symbol]

    def in_law(self, law: sp.Expr) -> sp.Expr:
        """Return an expression in the law's symbols with these values in their place."""
        return law.subs(self.entry, simultaneous=True)

    def in_result(self, result: Result) -> Result:
        """Return a result with these values in place of the law's symbols."""
        return Result({name: self.in_law(law) for name, law in result.items()})

    def in_formula(self, formula: Formula) -> Formula:
        """Return a formula with these values in place of the law's symbols."""
        where = tuple((symbol, self.in_law(meaning)) for symbol, meaning in formula.where)
        return Formula(formula.name, formula.symbol, self.in_law(formula.expression), where)


def _aligned(s: sp.Expr, d: sp.Expr, a: sp.Expr, b: sp.Expr) -> ModeValues:
    return ModeValues({notation.s: s, notation.d: d, notation.a0: a, notation.b0: b})


def mode_values(problem: Problem, modes: ModeFlow, index: int) -> ModeValues:
    """Return the values of one mode of the first phase.

    Raises
    ------
    InvalidArgument
        If there is no such mode.
    """
    columns = _given(problem) or _measured(problem, modes)
    if not 0 <= index < len(columns):
        raise InvalidArgument(
            f"Argument 'index' must be a mode between 0 and {len(columns) - 1}, not {index}."
        )
    return columns[index]


def _given(problem: Problem) -> list[ModeValues]:
    """Return the modes as the user gave them, or nothing if they must be measured.

    With numbers they are sorted by strength, as in every numerical result; where strengths are
    equal their order is a matter of the basis, and they must be measured.
    """
    task, amplitudes = problem.curriculum.phases[0].task, problem.weights.amplitudes
    if task.modes is None or amplitudes is None or len(problem.curriculum.phases) > 1:
        return []
    count = len(task.modes)
    a, b = (side * count if len(side) == 1 else side for side in (amplitudes.a, amplitudes.b))
    if len(a) != count or len(b) != count:
        return []
    columns = [_aligned(m.s, m.d, a[k], b[k]) for k, m in enumerate(task.modes)]
    if not problem.is_numeric:
        return columns
    strengths = [float(m.s) for m in task.modes]
    hidden = int(problem.network.node("hidden").size)
    distinct = len(set(strengths)) == count and all(m.multiplicity == 1 for m in task.modes)
    if not distinct or hidden < count:
        return []
    return [columns[k] for k in np.argsort(strengths)[::-1]]


def _measured(problem: Problem, modes: ModeFlow) -> list[ModeValues]:
    if not problem.is_numeric:
        raise InvalidArgument(
            "A mode of a problem with symbols needs a task from modes and aligned weights; "
            "d.result holds for every mode."
        )
    state = ModeState.of(problem, modes)
    r = state.basis.rank_bound
    rows = np.stack([state.basis.s[0], state.basis.d[0][:r], *state.amplitudes()])
    return [_aligned(*map(sp.Float, column)) for column in rows.T]
