"""One mode of a problem: its strength, variance and amplitudes, exact where the problem is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.errors import InvalidArgument
from symkernel.formula import Formula, Result
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
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
        # Not subs: on the written-out laws it takes minutes.
        return law.xreplace(self.entry)

    @property
    def are_numbers(self) -> bool:
        """Whether no symbol is among them."""
        return all(value.is_number for value in self.entry.values())

    def in_result(self, result: Result) -> Result:
        """Return a result with these values in place of the law's symbols."""
        return Result({name: self.in_law(law) for name, law in result.items()})

    def in_formula(self, formula: Formula) -> Formula:
        """Return a formula with these values in place of the law's symbols."""
        where = tuple((symbol, self.in_law(meaning)) for symbol, meaning in formula.where)
        return Formula(formula.name, formula.symbol, self.in_law(formula.expression), where)


def _aligned(s: sp.Expr, d: sp.Expr, a: sp.Expr, b: sp.Expr) -> ModeValues:
    return ModeValues({notation.s: s, notation.d: d, notation.a0: a, notation.b0: b})


def mode_values(problem: Problem, modes: ModeFlow, index: int, phase: int = 0) -> ModeValues:
    """Return the strength and variance of one mode in a phase, and its INITIAL amplitudes.

    Raises
    ------
    InvalidArgument
        If there is no such mode.
    """
    columns = _given(problem, phase) or _measured(problem, modes, phase)
    return columns[as_index(index, len(columns))]


def as_index(index: object, count: int) -> int:
    """Return the position of a mode, if it is one."""
    if isinstance(index, bool) or not isinstance(index, (int, np.integer)):
        raise InvalidArgument(f"Argument 'index' must be an integer, not {index!r}.")
    if not 0 <= index < count:
        raise InvalidArgument(
            f"Argument 'index' must be a mode between 0 and {count - 1}, not {index}."
        )
    return int(index)


def _given(problem: Problem, phase: int) -> list[ModeValues]:
    """Return the modes as the user gave them, or nothing if they must be measured.

    With numbers they are sorted by strength, as in every numerical result; where strengths are
    equal, or change with the phase, their order is a matter of the basis, and they must be
    measured. With symbols mode k of one task is mode k of the next.
    """
    phases, amplitudes = problem.curriculum.phases, problem.weights.amplitudes
    task = phases[0].task
    if task.modes is None or amplitudes is None or amplitudes.modes != task.modes:
        return []
    if len(phases) > 1 and (problem.is_numeric or not _same_places([p.task for p in phases])):
        return []
    running = phases[phase].task.modes
    count = len(task.modes)
    a, b = (side * count if len(side) == 1 else side for side in (amplitudes.a, amplitudes.b))
    if len(a) != count or len(b) != count:
        return []
    columns = [_aligned(m.s, m.d, a[k], b[k]) for k, m in enumerate(running or ())]
    hidden = sp.sympify(problem.network.node("hidden").size)
    if not problem.is_numeric:
        if hidden.is_Integer and hidden < count:
            raise InvalidArgument(
                f"With {hidden} hidden units for {count} modes it depends on the order of the "
                f"strengths which modes get one; give numbers, or as many hidden units as modes."
            )
        return columns
    strengths = [float(m.s) for m in task.modes]
    distinct = len(set(strengths)) == count and all(m.multiplicity == 1 for m in task.modes)
    if not distinct or hidden < count:
        return []
    return [columns[k] for k in np.argsort(strengths)[::-1]]


def _same_places(tasks: list[Task]) -> bool:
    """Whether mode k of each task lies in the same directions."""
    counts = [[m.multiplicity for m in task.modes] if task.modes else None for task in tasks]
    return counts[0] is not None and all(count == counts[0] for count in counts)


def _measured(problem: Problem, modes: ModeFlow, phase: int) -> list[ModeValues]:
    if not problem.is_numeric_but_for_durations:
        raise InvalidArgument(
            "A mode of a problem with symbols needs tasks from modes, the same number of each "
            "multiplicity in every phase, and weights aligned with the first task; give numbers "
            "for the symbols instead."
        )
    state = ModeState.of(problem, modes)
    r = state.basis.rank_bound
    rows = np.stack([state.basis.s[phase], state.basis.d[phase][:r], *state.amplitudes()])
    return [_aligned(*map(sp.Float, column)) for column in rows.T]
