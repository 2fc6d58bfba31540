"""The face of the theory: `derive` finds the law that holds and binds it to the problem."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.compiled_law import CompiledLaw
from symkernel.errors import InvalidArgument, MissingValues, NoClosedForm, OutsideValidity
from symkernel.formula import CheckReport, Derived, Formula, Law, Result, Step, Verdict
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.loss import SquaredError
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.problem.values import by_symbol, is_time
from symkernel.problem.weights import Weights
from symkernel.theory import LAWS

if TYPE_CHECKING:
    from symkernel.report.display import Worked


@dataclass(frozen=True, eq=False, repr=False)
class Derivation:
    """A law bound to a problem.

    Attributes
    ----------
    law : Law
    problem : Problem
    assumptions : tuple of Verdict
        What was tested, with distances, for every law that was tried.
    steps : tuple of Step
        Each with its machine check.
    result : Result
        Plain SymPy: ``result.output``, ``result.hidden``, ... as functions of time, per mode.
    formulas : tuple of Formula
        The same with abbreviations.
    """

    law: Law
    problem: Problem
    derived: Derived
    assumptions: tuple[Verdict, ...]
    report: CheckReport | None = field(default=None)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps, each with its machine check."""
        return self.derived.steps()

    @property
    def _only_mode(self) -> int | None:
        """0 if the problem has symbols and one mode, whose symbols are then used throughout."""
        modes = self.problem.curriculum.phases[0].task.modes
        phases = len(self.problem.curriculum.phases)
        single = not self.problem.is_numeric and modes is not None and len(modes) == phases == 1
        return 0 if single and self.derived.mode is not None else None

    @cached_property
    def result(self) -> Result:
        """The laws as plain SymPy, functions of time."""
        if self._only_mode is not None and self.derived.mode is not None:
            return self.derived.mode(self._only_mode, 0)
        return self.derived.result()

    @cached_property
    def formulas(self) -> tuple[Formula, ...]:
        """The laws with abbreviations, as they are printed."""
        return self.derived.formulas()

    @property
    def conventions(self) -> tuple[str, ...]:
        """The block of conventions that is printed with the result."""
        named = self._named.items()
        values = (f"the task's {q} = {sp.N(value, 15)} ({value})" for q, value in named)
        return (*self.problem.conventions, *values)

    @property
    def _named(self) -> dict[sp.Symbol, sp.Expr]:
        """Values of the symbols that name strengths of an exact task."""
        exact = self.problem.curriculum.phases[0].task.exact
        return {} if exact is None else dict(exact.named)

    def mode(self, index: int, phase: int | None = None) -> Result:
        """Return the laws of one mode with the problem's own strengths and amplitudes.

        Parameters
        ----------
        index : int
            Position of the mode, from 0.
        phase : int, optional
            In a curriculum of several phases: the phase within which the laws are to hold, from
            0. Time is the flow time since the start of training; durations may be symbols.

        Raises
        ------
        OutsideValidity
            If the law is not one per mode, or the curriculum has several phases and none is named.
        """
        if self.derived.mode is None:
            raise self._not_per_mode("mode")
        return self.derived.mode(index, self._phase("mode", phase))

    def show(self, mode: int, t: float, names: Mapping[str, str] | None = None) -> Worked:
        """Return a mode at a flow time as formula = formula with numbers = value.

        The problem must have numbers, and the time lie in its first phase.
        """
        from symkernel.report.display import worked

        return worked(self, mode, t, names)

    def _not_per_mode(self, what: str) -> OutsideValidity:
        return OutsideValidity(
            f"The law '{self.law.name}' has no '{what}', because it is not one closed form per "
            f"mode; use 'result' or the compiled law."
        )

    def _phase(self, what: str, phase: int | None) -> int:
        """Return the position of a phase, refusing what is none."""
        count = len(self.problem.curriculum.phases)
        if phase is None and count > 1:
            raise OutsideValidity(
                f"'{what}' of one mode changes with the phase of the curriculum; name one of its "
                f"{count} phases (phase=0 is the first), or use the compiled law, which goes "
                f"through all of them."
            )
        found = 0 if phase is None else phase
        whole = isinstance(found, (int, np.integer)) and not isinstance(found, bool)
        if not whole or not 0 <= found < count:
            raise InvalidArgument(
                f"Argument 'phase' must be a phase between 0 and {count - 1}, not {phase!r}."
            )
        return int(found)

    def learning_time(
        self,
        fraction: Any,
        mode: int | None = None,
        phase: int | None = None,
        *,
        small_scale: bool = False,
    ) -> sp.Expr:
        """Return the flow time at which a mode reaches a fraction of its final value.

        Parameters
        ----------
        fraction : number in (0, 1) or SymPy expression
        mode : int, optional
            A mode of the problem; without it the formula is in the law's own symbols.
        phase : int, optional
            In a curriculum of several phases: the phase in which it learns. The time counts from
            the start of that phase, as if it did not end.
        small_scale : bool
            Whether to return the asymptotic form for small initial weights, short enough to read:
            its difference from the exact time goes to 0 with them.

        Raises
        ------
        InvalidArgument
            If the fraction is a number outside (0, 1).
        OutsideValidity
            If the mode never gets there (no strength, no weights, or a start on the saddle).
        """
        known = isinstance(fraction, (int, float, sp.Expr)) and not isinstance(fraction, bool)
        nan = fraction is sp.nan or (isinstance(fraction, float) and math.isnan(fraction))
        if not known or nan or getattr(fraction, "is_real", True) is False:
            raise InvalidArgument(
                f"Argument 'fraction' must be a number between 0 and 1 or a SymPy expression, "
                f"not {fraction!r}."
            )
        if self.derived.learning_time is None:
            raise self._not_per_mode("learning_time")
        running = 0 if mode is None and phase is None else self._phase("learning_time", phase)
        share = fraction if isinstance(fraction, sp.Expr) else sp.Float(fraction)
        if share.is_number and not 0 < share < 1:
            raise InvalidArgument(
                f"Argument 'fraction' must lie between 0 and 1, not {fraction}; the final value "
                f"itself is reached only in the limit."
            )
        formula = self.derived.learning_time(
            self._only_mode if mode is None else mode, running, small_scale
        )
        entry = {notation.fraction: share}
        time = formula.expression.xreplace(entry)
        for symbol, meaning in reversed(formula.where):
            time = time.xreplace({symbol: meaning.xreplace(entry)})
        value = time.xreplace(self._named)
        if time == sp.oo or (value.is_number and not is_time(value)):
            raise OutsideValidity(
                "The mode has no such learning time: it starts beyond that fraction of its final "
                "value, its strength or its initial weights are 0, or its two sides are exactly "
                "opposite, so that it falls to the saddle at 0."
            )
        return time

    def learning_order(
        self, fraction: Any = sp.S.Half, phase: int | None = None
    ) -> tuple[tuple[int, sp.Expr], ...]:
        """Return the modes in the order in which they are learned, each with its learning time.

        Parameters
        ----------
        fraction : number in (0, 1)
            Of the final value, at which a mode counts as learned.
        phase : int, optional
            As for `learning_time`.

        Returns
        -------
        tuple of (mode, flow time)
            Earliest first. Modes that never get there are last, with time infinity.

        Raises
        ------
        MissingValues
            If times cannot be compared because they hold symbols.

        Examples
        --------
        >>> import symkernel as sk
        >>> task = sk.Task.from_modes([3.0, 1.0])
        >>> net = sk.Network.two_layer(inputs=2, hidden=2, outputs=2)
        >>> d = sk.derive(net, task, sk.weights.aligned(net, task, a=[0.01, 0.3], b=[0.01, 0.3]))
        >>> assert [mode for mode, _ in d.learning_order()] == [1, 0]  # a head start
        """
        task = self.problem.curriculum.phases[0].task
        modes = task.exact.modes if task.exact is not None else task.modes
        numeric = self.problem.is_numeric_but_for_durations
        count = min(task.Syx.shape) if numeric else len(modes or ())
        running = self._phase("learning_order", phase)
        times: list[tuple[int, sp.Expr]] = []
        for k in range(count):
            try:
                times.append((k, self.learning_time(fraction, k, running)))
            except OutsideValidity:
                if self.derived.learning_time is None:
                    raise
                times.append((k, sp.oo))
        unknown = sorted(
            {q.name for _, time in times for q in time.xreplace(self._named).free_symbols}
        )
        if unknown and len(times) > 1:
            raise MissingValues(
                f"The order of the modes depends on {', '.join(unknown)}; give numbers, or compare "
                f"the formulas of 'learning_time' yourself."
            )
        return tuple(sorted(times, key=lambda found: found[1].xreplace(self._named)))

    def compile(self, values: Mapping[sp.Symbol, Any] | None = None) -> CompiledLaw:
        """Return the law as a compiled routine.

        Parameters
        ----------
        values : mapping of Symbol to number
            A value for every symbol of the problem.

        Raises
        ------
        MissingValues
            Naming the symbols without a value.
        NoClosedForm
            If the law's assumptions do not hold for the values.
        """
        problem = self.problem
        if values or not problem.is_numeric:
            problem = problem.with_values(by_symbol(problem, values or {}))
        if not problem.is_numeric:
            raise MissingValues("Argument 'values' must give numbers for all symbols.")
        failed = [v for v in self.law.test(problem) if not v.holds]
        if failed:
            raise NoClosedForm(_refusal(failed), tuple(failed))
        return CompiledLaw(self.law, self.derived, problem)

    def check(self, **options: Any) -> CheckReport:
        """Climb the ladder; see `symkernel.check`."""
        from symkernel.ladder import check

        return check(self, **options)

    def latex(self, fragment: bool = False, names: Mapping[str, str] | None = None) -> str:
        r"""Return LaTeX: a standalone document, or a fragment for ``\input``."""
        from symkernel.report.latex import document, fragment_of

        return (fragment_of if fragment else document)(self, names=names)

    def save_latex(self, path: str | Path, **options: Any) -> Path:
        """Write the LaTeX document (or fragment) to a file, and return its path."""
        from symkernel.report.latex import save

        return save(self.latex(**options), path)

    def _repr_html_(self) -> str:
        from symkernel.report.display import html

        return html(self)

    def _repr_markdown_(self) -> str:
        from symkernel.report.display import markdown

        return markdown(self)

    def __repr__(self) -> str:
        state = "not checked here" if self.report is None else "checked"
        return f"Derivation({self.law.name!r}, {self.law.rank}, {state})"

    def __str__(self) -> str:
        lines = [f"{self.law.title} [{self.law.rank}]"]
        lines += [f"  {verdict}" for verdict in self.assumptions]
        lines += [f"  {line}" for line in self.conventions]
        if len(self.problem.curriculum.phases) > 1:
            lines.append(
                f"  {self.problem.curriculum!r}: the formulas hold within each phase, from the "
                f"state at its start"
            )
        lines += [f"  {f.symbol} = {f.expression}" for f in self.formulas]
        lines.append("  " + ("not checked here" if self.report is None else "checked"))
        return "\n".join(lines)


def _refusal(failed: list[Verdict]) -> str:
    rows = "\n".join(f"  {verdict}" for verdict in failed)
    return (
        f"No law of the catalogue covers this problem:\n{rows}\nUse sk.simulate for its "
        f"trajectory, or change what fails."
    )


def derive(
    network: Network,
    curriculum: Curriculum | Task,
    weights: Weights,
    *,
    law: str | None = None,
    loss: SquaredError | None = None,
) -> Derivation:
    r"""Derive how the network learns the task from these initial weights.

    Parameters
    ----------
    network : Network
    curriculum : Curriculum or Task
    weights : Weights
        Initial weights.
    law : str, optional
        Ask for one law of the catalogue; by default the first one whose assumptions hold.
    loss : SquaredError, optional
        The house's convention, factor 1/2, by default.

    Returns
    -------
    Derivation
        The law, bound to the problem; what was tested is in its `assumptions`.

    Raises
    ------
    NoClosedForm
        If no law holds; the message and ``error.verdicts`` say which assumption of which law
        fails, by how much, and what to use instead.

    Examples
    --------
    >>> import sympy as sp, symkernel as sk
    >>> s, a = sp.symbols("s a", positive=True)
    >>> task = sk.Task.from_modes(s)
    >>> net = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
    >>> d = sk.derive(net, task, sk.weights.aligned(net, task, a=a, b=a))
    >>> t = sp.Symbol("t", nonnegative=True)
    >>> assert sp.limit(d.result.output, t, sp.oo) == s
    >>> assert d.result.output.subs(t, 0).equals(a**2)
    """
    problem = Problem(
        network, Curriculum.of(curriculum), weights, SquaredError() if loss is None else loss
    )
    chosen = [one for one in LAWS if law in (None, one.name)]
    if not chosen:
        raise InvalidArgument(
            f"Argument 'law' must be one of {', '.join(one.name for one in LAWS)}, not {law!r}."
        )
    verdicts: list[Verdict] = []
    for candidate in chosen:
        found = candidate.test(problem)
        verdicts += found
        if all(verdict.holds for verdict in found):
            return Derivation(candidate, problem, candidate.derive(problem), tuple(verdicts))
    failed = [verdict for verdict in verdicts if not verdict.holds]
    raise NoClosedForm(_refusal(failed), tuple(verdicts))
