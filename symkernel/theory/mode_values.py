"""One mode of a problem: its strength, variance and amplitudes, exact where the problem is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.errors import InvalidArgument, OutsideValidity
from symkernel.formula import Formula, Result
from symkernel.problem.amplitudes import Amplitudes
from symkernel.problem.exact import ExactMoments
from symkernel.problem.problem import Problem
from symkernel.problem.scalars import as_sympy
from symkernel.problem.task import Task
from symkernel.theory.mode_state import TOLERANCE, ModeState


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
        """Whether all are rational or in floating point; radicals stay together as symbols do."""
        return all(value.is_Number for value in self.entry.values())

    def in_result(self, result: Result) -> Result:
        """Return a result with these values in place of the law's symbols."""
        return Result({name: self.in_law(law) for name, law in result.items()})

    def in_formula(self, formula: Formula) -> Formula:
        """Return a formula, written out, with these values in place of the law's symbols.

        Abbreviations go first: a value may be a symbol that is called like one of them.
        """
        law = formula.expression
        for symbol, meaning in reversed(formula.where):
            law = law.xreplace({symbol: meaning})
        return Formula(formula.name, formula.symbol, self.in_law(law))


def _aligned(s: sp.Expr, d: sp.Expr, a: sp.Expr, b: sp.Expr) -> ModeValues:
    return ModeValues({notation.s: s, notation.d: d, notation.a0: a, notation.b0: b})


def mode_values(problem: Problem, index: int, phase: int = 0) -> ModeValues:
    """Return the strength and variance of one mode in a phase, and its INITIAL amplitudes.

    Raises
    ------
    InvalidArgument
        If there is no such mode.
    """
    columns = _given(problem, phase)
    exact = problem.curriculum.phases[0].task.exact
    if problem.is_numeric_but_for_durations and (not columns or exact is not None):
        columns = _in_order(columns, _measured(problem, phase), exact)
    elif not columns:
        raise InvalidArgument(
            "A mode of a problem with symbols needs weights aligned with its first task, and tasks "
            "from modes (in a curriculum the same number of each multiplicity) or one task from "
            "exact matrices; give numbers for the symbols instead."
        )
    return columns[as_index(index, len(columns))]


def as_index(index: object, count: int) -> int:
    """Return the position of a mode, if it is one."""
    if isinstance(index, bool) or not isinstance(index, (int, np.integer)):
        raise InvalidArgument(f"The index of a mode must be an integer, not {index!r}.")
    if not 0 <= index < count:
        raise InvalidArgument(
            f"The index of a mode must lie between 0 and {count - 1}, not {index}."
        )
    return int(index)


def refuse_narrow(hidden: sp.Expr, count: int) -> None:
    """Refuse a hidden layer that is known to have fewer units than there are symbolic modes."""
    if hidden.is_Integer and hidden < count:
        raise InvalidArgument(
            f"With {hidden} hidden units for {count} modes it depends on the order of the "
            f"strengths which modes get one; give numbers, or as many hidden units as modes."
        )


def _given(problem: Problem, phase: int) -> list[ModeValues]:
    """Return the modes as the user gave them, or nothing if they must be measured.

    With numbers they are sorted by strength, as in every numerical result; where strengths are
    equal, or change with the phase, their order is a matter of the basis, and they must be
    measured. With symbols mode k of one task is mode k of the next.
    """
    phases, amplitudes = problem.curriculum.phases, problem.weights.amplitudes
    task = phases[0].task
    if amplitudes is None or not amplitudes.fit(task):
        return []
    if task.exact is not None:
        return _of_exact(problem, task.exact, amplitudes) if len(phases) == 1 else []
    if task.modes is None:
        return []
    if len(phases) > 1 and (problem.is_numeric or not _same_places([p.task for p in phases])):
        return []
    running = phases[phase].task.modes
    count = len(task.modes)
    a, b = (side * count if len(side) == 1 else side for side in (amplitudes.a, amplitudes.b))
    if len(a) != count or len(b) != count:
        return []
    columns = [_aligned(m.s, m.d, a[k], b[k]) for k, m in enumerate(running or ())]
    hidden = as_sympy(problem.network.node("hidden").size)
    if not problem.is_numeric:
        refuse_narrow(hidden, count)
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


def _of_exact(problem: Problem, exact: ExactMoments, amplitudes: Amplitudes) -> list[ModeValues]:
    """Return the modes of a task of exact matrices; the strongest ones have the hidden units."""
    try:
        given = exact.modes
    except OutsideValidity:
        if problem.is_numeric:
            return []
        raise
    hidden = as_sympy(problem.network.node("hidden").size)
    used = min(int(hidden), len(given)) if hidden.is_Integer else len(given)
    sides = (amplitudes.a, amplitudes.b)
    if exact.free_symbols and any(len(side) > 1 for side in (*sides, given[used - 1 :])):
        raise InvalidArgument(
            "It depends on the order of the strengths, which is open while the task has symbols, "
            "which mode has which amplitudes; give numbers, or one a and one b for all modes and "
            "as many hidden units as modes."
        )
    if any(len(side) not in (1, used) for side in sides):
        return []
    clash = problem.free_symbols & set(exact.named)
    if clash:
        raise InvalidArgument(
            f"The symbol '{clash.pop()}' stands for a strength or variance of the task (see "
            f"task.exact.named); give yours another name."
        )
    a, b = (
        (*(side * used if len(side) == 1 else side), *[sp.S.Zero] * (len(given) - used))
        for side in sides
    )
    return [_aligned(m.s, m.d, a[k], b[k]) for k, m in enumerate(given)]


def _in_order(
    columns: list[ModeValues], measured: list[ModeValues], exact: ExactMoments | None
) -> list[ModeValues]:
    """Return exact columns in the order of the measured ones, or these if they do not fit.

    Where strengths repeat the order is a matter of the basis.
    """
    if exact is None or not columns:
        return measured
    wanted, found = (
        np.array([[float(v.xreplace(dict(exact.named))) for v in c.entry.values()] for c in side])
        for side in (columns, measured)
    )
    # Both sides of a mode may change their sign together.
    flips = np.array([[1, 1, 1, 1], [1, 1, -1, -1]])
    scale = np.maximum(np.abs(wanted).max(0), np.finfo(float).tiny)
    gaps = np.abs(found[:, None, None] - wanted[:, None] * flips) / scale
    place = gaps.max(-1).min(-1)
    order: list[int] = []
    for row in place:
        row[order] = np.inf
        order.append(int(row.argmin()))
        if row[order[-1]] > TOLERANCE:
            return measured
    return [columns[k] for k in order]


def _measured(problem: Problem, phase: int) -> list[ModeValues]:
    state = ModeState.of(problem)
    r = state.basis.rank_bound
    rows = np.stack([state.basis.s[phase], state.basis.d[phase][:r], *state.amplitudes()])
    return [_aligned(*map(sp.Float, column)) for column in rows.T]
