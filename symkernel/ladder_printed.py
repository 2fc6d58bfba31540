r"""What is printed and returned, put beside the law's trajectory.

The steps of a derivation prove what they state, and the later rungs integrate the compiled law.
This rung takes the very expressions that the user reads, puts numbers into them, and compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import mpmath
import numpy as np
import sympy as sp
from sympy.core.function import AppliedUndef

from symkernel.codegen.algorithms import at_precision
from symkernel.errors import Unlowerable
from symkernel.formula import Derived, Evidence, Formula, Law, Result
from symkernel.ladder_structure import with_samples
from symkernel.notation import t
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.problem import Problem
from symkernel.problem.scalars import as_sympy
from symkernel.problem.task import Task
from symkernel.theory.gradient_flow import Rate, rate_of

_BOUND = 1e-9
# Of rates, which are differences of the trajectory.
_RATE_BOUND = 1e-6
_DIGITS = 30
# Flow times in units of the fastest motion, and where the trajectory is read around each.
_TIMES = (0.1, 1.5)
_STEP = 0.01
_OFFSETS = np.arange(-3, 4)
# The derivative of the polynomial through seven equally spaced points.
_DIFFERENCE = np.array([-1, 9, -45, 0, 45, -9, 1]) / 60

Numbers = dict[Any, Any]


@dataclass(frozen=True)
class _Printed:
    """What a law states; worked out once."""

    formulas: tuple[Formula, ...]
    result: Result
    equations: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, derived: Derived) -> _Printed:
        """Return formulas, result, and matrix equations with the titles of their steps."""
        equations = (
            (f"step '{step.title}'", equation)
            for step in derived.steps()
            for equation in step.equations
            if isinstance(equation, sp.Eq) and isinstance(equation.lhs, sp.MatrixExpr)
        )
        return cls(derived.formulas(), derived.result(), tuple(equations))

    @property
    def holds_rates(self) -> bool:
        """Whether it states the rate of anything that has values."""
        matrices = (*(f.symbol for f in self.formulas), *(eq for _, eq in self.equations))
        named = any(name.endswith("_rate") for name in self.result)
        return named or any(body.has(Rate) for body in matrices)


@dataclass
class _Comparison:
    """What was compared, the largest differences and the largest true values so far."""

    gaps: dict[str, float] = field(default_factory=dict)
    sizes: dict[str, float] = field(default_factory=dict)
    bounds: dict[str, float] = field(default_factory=dict)
    unknown: dict[str, None] = field(default_factory=dict)
    steps: dict[str, None] = field(default_factory=dict)

    def add(self, name: str, found: Any, true: Any, *, rate: bool) -> None:
        """Compare two arrays."""
        gap = float(np.abs(found - true).max()) if found.shape == true.shape else np.inf
        self.gaps[name] = max(self.gaps.get(name, 0.0), gap)
        # Over all times: late losses are rounding.
        self.sizes[name] = max(self.sizes.get(name, 0.0), float(np.abs(true).max()))
        self.bounds[name] = _RATE_BOUND if rate else _BOUND

    def errors(self) -> dict[str, float]:
        """Return the largest relative error of each name."""
        return {name: gap / (self.sizes[name] or 1.0) for name, gap in self.gaps.items()}


@dataclass
class _Findings:
    """What was found in all problems together."""

    worst: dict[str, float] = field(default_factory=dict)
    bounds: dict[str, float] = field(default_factory=dict)
    unknown: dict[str, None] = field(default_factory=dict)
    steps: dict[str, None] = field(default_factory=dict)
    problems: int = 0

    def add(self, comparison: _Comparison) -> None:
        """Take up what was found in one problem."""
        self.problems += bool(comparison.gaps)
        for name, error in comparison.errors().items():
            known = self.worst.get(name, 0.0)
            # What is no number stays.
            self.worst[name] = known if error <= known or not known <= np.inf else error
        self.bounds |= comparison.bounds
        self.unknown |= comparison.unknown
        self.steps |= comparison.steps

    def evidence(self) -> Evidence:
        """Say what was compared, what differs and what could not be compared."""
        worst = self.worst
        wrong = [
            f"{name} differs by {error:.1e}"
            for name, error in worst.items()
            if not error <= self.bounds[name]
        ]
        if wrong:
            return Evidence(False, "printed formulas: " + ", ".join(wrong))
        if not worst:
            return Evidence(True, "printed formulas not compared")
        named = [name for name in worst if name not in self.steps]
        left = [name for name in self.unknown if name not in worst and name not in self.steps]
        several = f" in {self.problems} problems" if self.problems > 1 else ""
        words = f"printed = computed to {max(worst.values()):.0e}{several}: {', '.join(named)}"
        if len(worst) > len(named):
            words += f", {len(worst) - len(named)} matrix equations of the steps"
        return Evidence(True, f"{words}; not compared: {', '.join(left)}" if left else words)


def printed_evidence(law: Law, *problems: Problem) -> Evidence:
    r"""Compare every formula, result and equation of a law with its trajectory.

    Parameters
    ----------
    law : Law
    *problems : Problem
        With numbers; their first phases are looked at, at two times.

    Returns
    -------
    Evidence
        Its figure names what was compared, and what was not because a symbol has no value.
    """
    findings = _Findings()
    for problem in problems:
        first = _mixed(with_samples(problem.curriculum.phases[0].task))
        one = replace(problem, curriculum=Curriculum([Phase(first)]))
        derived = law.derive(one)
        if derived.numbers is not None:
            findings.add(_compared(law, one, derived))
    return findings.evidence()


def _mixed(task: Task) -> Task:
    """Return a task of the same moments, no two of whose samples are orthogonal."""
    if task.gates or task.X is None or task.Y is None:
        return task
    count = len(task.X) + 1
    normal = np.arange(1.0, count + 1.0)
    turn = np.eye(count) - 2 * np.outer(normal, normal) / (normal @ normal)
    spread = turn[:, :-1] * np.sqrt(count / (count - 1))
    return Task(spread @ task.X, spread @ task.Y)


def _fastest(problem: Problem) -> float:
    """Return about the fastest rate at which anything moves."""
    task, layers = problem.curriculum.phases[0].task, problem.network.parameters
    pull = np.linalg.norm(task.Syx, 2)
    largest = max(
        float(np.linalg.norm(problem.weights.arrays[p.name])) for p in layers if p.trained
    )
    pull += np.linalg.norm(task.Sxx, 2) * largest**2
    rate = max(float(p.rate) * max(1.0, float(p.scale) ** 2) for p in layers if p.trained)
    found = 2 * float(problem.loss.factor) * pull + float(problem.loss.weight_decay)
    return float(rate * found) or 1.0


def _compared(law: Law, problem: Problem, derived: Derived) -> _Comparison:
    """Compare what a law states for one problem."""
    assert derived.numbers is not None
    comparison, printed = _Comparison(), _Printed.of(derived)
    offsets = _OFFSETS if printed.holds_rates else np.zeros(1)
    fastest = _fastest(problem)
    step = _STEP / fastest
    times = (np.array(_TIMES)[:, None] / fastest + step * offsets).ravel()
    seen = law.trajectory(problem, times)
    for k in range(len(_TIMES)):
        places = k * len(offsets) + np.arange(len(offsets))
        around = [derived.numbers(problem, seen, int(place)) for place in places]
        for rows in zip(*around, strict=True):
            full = [
                _with_abbreviations(printed, row, times[place])
                for row, place in zip(rows, places, strict=True)
            ]
            rates = _rates(full, step) if printed.holds_rates else {}
            middle = len(offsets) // 2
            _compare(printed, full[middle], rates, times[places[middle]], comparison)
    return comparison


def _compare(
    printed: _Printed, values: Numbers, rates: Numbers, time: float, comparison: _Comparison
) -> None:
    """Evaluate all that the law states at one time."""
    everything = {**values, **rates}
    for formula in printed.formulas:
        true, own = everything.get(formula.symbol), dict(everything)
        for symbol, meaning in formula.where if true is not None else ():
            own[symbol] = _value(meaning, own, time)
        pair = true, None if true is None else _value(formula.expression, own, time)
        _note(comparison, formula.name, pair, rate=formula.symbol in rates)
    for name, expression in printed.result.items():
        true = everything.get(name)
        pair = true, None if true is None else _value(expression, everything, time)
        _note(comparison, name, pair, rate=name in rates)
    for title, equation in printed.equations:
        left, right = (_value(side, everything, time) for side in equation.args)
        # A symbol that no formula explains is defined by the first equation that does.
        if left is None and right is not None and isinstance(equation.lhs, sp.MatrixSymbol):
            everything[equation.lhs] = right
            continue
        rate = any(equation.has(q) for q in rates if not isinstance(q, str))
        name = f"{title}: {equation.lhs}"
        comparison.steps[name] = None
        _note(comparison, name, (left, right), rate=rate)


def _note(comparison: _Comparison, name: str, pair: tuple[Any, Any], *, rate: bool) -> None:
    true, found = pair
    if true is None or found is None:
        comparison.unknown[name] = None
        return
    comparison.add(name, _array(found), _array(true), rate=rate)


def _with_abbreviations(printed: _Printed, row: Mapping[Any, Any], time: float) -> Numbers:
    """Return values of the law's symbols, and of all abbreviations of its formulas."""
    values = {name: _exact(value) for name, value in row.items()}
    values[t] = mpmath.mpf(time)
    for formula in printed.formulas:
        for symbol, meaning in formula.where:
            if symbol not in values:
                values[symbol] = _value(meaning, values, time)
    return {name: value for name, value in values.items() if value is not None}


def _rates(around: list[Numbers], step: float) -> Numbers:
    """Return time derivatives of all values, under the names that the law has for them."""
    out: Numbers = {}
    for name in around[0]:
        rows = np.stack([_array(values[name]) for values in around])
        moved = np.tensordot(_DIFFERENCE, rows, axes=1) / step
        if isinstance(name, str):
            out[f"{name}_rate"] = moved
        elif isinstance(name, sp.MatrixSymbol):
            out[rate_of(name.name, {name.name: name.shape})] = _exact(moved)
    return out


def _value(expression: Any, values: Mapping[Any, Any], time: float) -> Any:
    """Return a value, or None if a symbol has none or the expression is none of numbers."""
    if expression in values:
        return values[expression]
    expression = as_sympy(expression)
    if expression.has(AppliedUndef) or not expression.free_symbols <= values.keys():
        return None
    try:
        return at_precision(expression, values, time, _DIGITS)
    except Unlowerable:
        return None


def _exact(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.ndim == 2:
        return mpmath.matrix(value.tolist())
    return mpmath.mpf(float(value))


def _array(value: Any) -> np.ndarray:
    if isinstance(value, mpmath.matrix):
        return np.array(value.tolist(), dtype=float).reshape(value.rows, value.cols)
    return np.asarray(value, dtype=float)
