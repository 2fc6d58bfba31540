"""The face of the theory: `derive` finds the law that holds and binds it to the problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

from symkernel import learning_times
from symkernel.assumptions import Assumptions
from symkernel.check_report import CheckReport
from symkernel.choosing import choose, require
from symkernel.compiled_law import CompiledLaw
from symkernel.errors import InvalidArgument, MissingValues, OutsideValidity
from symkernel.formula import Derived, Formula, Law, Result, Step
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.loss import Loss, SquaredError
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.problem.values import with_values
from symkernel.problem.weights import Weights

if TYPE_CHECKING:
    from symkernel.information_curve import InformationCurve
    from symkernel.report.display import Worked

Names = Mapping[str, str] | None


@dataclass(frozen=True, eq=False, repr=False)
class Derivation:
    """A law bound to a problem.

    Attributes
    ----------
    law : Law
    problem : Problem
    assumptions : Assumptions
        The table of what was tested, for every law that was tried: a sequence of `Verdict`.
    result : Result
        Plain SymPy: ``result.output``, ``result.hidden``, ... as functions of time, per mode.
    """

    law: Law
    problem: Problem
    derived: Derived
    assumptions: Assumptions
    report: CheckReport | None = None

    @property
    def tolerance(self) -> float:
        """The largest distance from its assumptions that the user accepts; 0 if none was named."""
        return max((verdict.accepted for verdict in self.assumptions), default=0.0)

    @property
    def rank(self) -> str:
        """The law's rank, "exact" say; "approximation" where an assumption is violated."""
        return "approximation" if self.caveat else self.law.rank

    @property
    def caveat(self) -> str:
        """What is to be said of an approximation; empty where all assumptions hold."""
        found = self.assumptions.caveat
        if found and self.report is None:
            found += "; sk.check measures what that costs"
        return found

    @property
    def notice(self) -> str:
        """The caveat, and why the law is worth nothing here if it is; empty if all is well."""
        return "; ".join(part for part in (self.caveat, *self.assumptions.warnings) if part)

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
        named = self.named.items()
        values = (f"the task's {q} = {sp.N(value, 15)} ({value})" for q, value in named)
        return (*self.problem.conventions, *values)

    @property
    def named(self) -> dict[sp.Symbol, sp.Expr]:
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
            raise self.not_per_mode("mode")
        return self.derived.mode(index, self._phase("mode", phase))

    def task_loss(self, task: int, phase: int | None = None) -> sp.Expr:
        """Return the loss on the task of any phase as a function of time within a phase.

        Parameters
        ----------
        task : int
            The phase whose task is judged, from 0.
        phase : int, optional
            The phase that is running, as for `mode`.

        Examples
        --------
        >>> import sympy as sp, symkernel as sk
        >>> s, a, T = sp.symbols("s a T", positive=True)
        >>> task = sk.Task.from_modes(s)
        >>> course = sk.Curriculum([sk.Phase(task, T), sk.Phase(task.reversed())])
        >>> net = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
        >>> d = sk.derive(net, course, sk.weights.aligned(net, task, a=a, b=a))
        >>> t = sp.Symbol("t", nonnegative=True)
        >>> learned = d.task_loss(1, phase=0).subs(t, T)
        >>> assert sp.limit(learned, T, sp.oo) == 2 * s**2  # what was learned is now twice wrong
        """
        if self.derived.mode is None or self.derived.strength is None:
            raise self.not_per_mode("task_loss")
        from symkernel.theory.task_losses import task_loss

        judged = self._phase("task_loss", task, "task")
        return task_loss(self.problem, self.derived, judged, self._phase("task_loss", phase))

    def show(self, mode: int | None = None, t: float | None = None, names: Names = None) -> Worked:
        """Return a mode at a time in the first phase: formula = formula with numbers = value."""
        from symkernel.report.display import worked

        return worked(self, mode, t, names)

    def not_per_mode(
        self, what: str, advice: str = "'result' or the compiled law"
    ) -> OutsideValidity:
        """Return the error of a law that has no such thing for one mode."""
        return OutsideValidity(
            f"The law '{self.law.name}' has no '{what}', because it is not one closed form per "
            f"mode; use {advice}."
        )

    def _phase(self, what: str, phase: int | None, name: str = "phase") -> int:
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
                f"Argument '{name}' must be a phase between 0 and {count - 1}, not {phase!r}."
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
            A mode of the problem. Without it the formula is in the law's own symbols, unless
            problem and fraction are numbers: then the problem must have one mode.
        phase : int, optional
            In a curriculum of several phases: the phase in which it learns. The time counts from
            the start of that phase, as if it did not end.
        small_scale : bool
            Whether to return the asymptotic form for small initial weights, short enough to read:
            its difference from the exact time goes to 0 with them.

        Raises
        ------
        InvalidArgument
            If the fraction is a number outside (0, 1), or a mode of several has to be named.
        OutsideValidity
            If the mode never gets there (no strength, no weights, or a start on the saddle).
        """
        which = learning_times.meant(self, fraction, self._only_mode if mode is None else mode)
        running = 0 if which is None and phase is None else self._phase("learning_time", phase)
        return learning_times.learning_time(self, fraction, which, running, small_scale)

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
        return learning_times.learning_order(self, fraction, self._phase("learning_order", phase))

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
            If the law's assumptions do not hold for the values, within the accepted tolerance.
        """
        problem = self.problem
        if values or not problem.is_numeric:
            problem = with_values(problem, values or {})
        if not problem.is_numeric:
            raise MissingValues("Argument 'values' must give numbers for all symbols.")
        table = require(self.law, problem, self.tolerance)
        caveat = "; ".join(part for part in (table.caveat, *table.warnings) if part)
        return CompiledLaw(self.law, self.derived, problem, caveat)

    def information(self, **options: Any) -> InformationCurve:
        """Return what a noisy hidden layer tells of inputs; see `symkernel.information_curve`."""
        from symkernel.information_curve import information_curve

        return information_curve(self, **options)

    def check(self, **options: Any) -> CheckReport:
        """Climb the ladder; see `symkernel.check`."""
        from symkernel.ladder import check

        return check(self, **options)

    def latex(self, fragment: bool = False, names: Names = None) -> str:
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
        warnings = "".join(f"; {warning}" for warning in self.assumptions.warnings)
        return f"Derivation({self.law.name!r}, {self.rank}, {self.status}{warnings})"

    @property
    def status(self) -> str:
        """Whether it was checked, in words."""
        if self.report is None:
            return "not checked here"
        return "checked" if self.report.passed else "check NOT passed"

    def __str__(self) -> str:
        from symkernel.report.display import plain

        return plain(self)


def derive(
    network: Network,
    curriculum: Curriculum | Task,
    weights: Weights,
    *,
    law: str | None = None,
    tolerance: float | None = None,
    loss: Loss | None = None,
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
    tolerance : float, optional
        Accept violations of the assumptions of this law up to this distance. What comes out is
        then an approximation and says so; `symkernel.check` measures what the violation costs.
    loss : SquaredError, optional
        The house's convention, factor 1/2, by default. No law is for `CrossEntropy`.

    Returns
    -------
    Derivation
        The law, bound to the problem; its `assumptions` are the table of what was tested.

    Raises
    ------
    NoClosedForm
        If no law holds; the message and ``error.verdicts`` are the same table: which assumption
        of which law fails, by how much, whether that is a near miss, and what to use instead.

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

    A near miss, which only an accepted tolerance lets through:

    >>> import numpy as np
    >>> task = sk.Task.from_modes([2.0, 1.0])
    >>> net = sk.Network.two_layer(inputs=2, hidden=2, outputs=2)
    >>> w0 = sk.weights.from_arrays(net, [0.1 * np.array([[1, 0.02], [0, 1]]), 0.1 * np.eye(2)])
    >>> d = sk.derive(net, task, w0, law="aligned_modes", tolerance=0.05)
    >>> assert d.rank == "approximation" and "accepted up to 0.05" in str(d)
    """
    problem = Problem(
        network, Curriculum.of(curriculum), weights, SquaredError() if loss is None else loss
    )
    chosen, tested = choose(problem, law, tolerance)
    return Derivation(chosen, problem, chosen.derive(problem), tested)
