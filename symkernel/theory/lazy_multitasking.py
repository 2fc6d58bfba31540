r"""The lazy law of multitasking: closed forms for any number of groups, features and tasks at once.

A wide network whose kernel stays as it was solves a linear problem, and the kernel of prompts
depends on their relation alone: it lies in the algebra of an association scheme, whose eigenspaces
split the targets into four modes. What the network learns, how it answers prompts of several
tasks, and from when on it does them at once, follow for symbols G, M and K.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sympy as sp

from symkernel import notation
from symkernel.check_report import CheckReport, Documented
from symkernel.environments.multitasking import Multitasking
from symkernel.environments.symbolic_multitasking import (
    ADDRESSED,
    AT_ONCE,
    POOLED,
    READ,
    SymbolicMultitasking,
)
from symkernel.errors import InvalidArgument, OutsideValidity, as_values
from symkernel.formula import Formula, Step
from symkernel.problem.loss import SquaredError
from symkernel.problem.scalars import as_sympy
from symkernel.theory import lazy_formulas as names
from symkernel.theory.lazy_formulas import LazyFormulas, needed
from symkernel.theory.lazy_kernels import PromptKernel, prompt_kernel

if TYPE_CHECKING:
    from symkernel.theory.lazy_instances import Instance
    from symkernel.theory.lazy_routine import LazyRoutine

__all__ = ["LazyMultitasking", "lazy_multitasking"]

_ASSUMED = (
    "The kernel stays as it is at the start of training: exact for a kernel method, the limit of "
    "wide networks whose read-out is linear.",
    "Outputs start at 0.",
    "No eigenvalue of the kernel on the modes of the targets is negative.",
    "Initial weights are isotropic in the stimulus part and in the task part of the input.",
    "All prompts of single tasks are trained, equally often, in full batches.",
)
_OUTPUT = notation.symbol("f_prompt", "f", "output of a unit at a prompt")
_TIME = notation.symbol(
    "t_at_once", "t_K", "flow time from which K tasks are done at once", positive=True
)


@dataclass(frozen=True, eq=False)
class LazyMultitasking(Documented):
    """What a network with a constant kernel learns from prompts of single tasks.

    Attributes
    ----------
    environment : SymbolicMultitasking
        Its sizes are numbers or symbols.
    kernel : PromptKernel
    loss : SquaredError
    report : CheckReport or None
        Of `check`, if it was asked for.
    """

    environment: SymbolicMultitasking
    kernel: PromptKernel
    loss: SquaredError
    report: CheckReport | None = None

    def __repr__(self) -> str:
        G, M = self.environment.groups, self.environment.features
        return f"LazyMultitasking(G={G}, M={M}, {self.kernel.words})"

    @cached_property
    def parts(self) -> LazyFormulas:
        """What the formulas are made of, with names."""
        return LazyFormulas(self.environment, self.kernel, self.loss.factor)

    @property
    def assumed(self) -> tuple[str, ...]:
        """What the law takes for granted."""
        return _ASSUMED

    @property
    def chosen(self) -> dict[sp.Symbol, str]:
        """Symbols without a value, each with what it stands for."""
        env = self.environment
        return (
            dict.fromkeys(self.loss.factor.free_symbols, "free in the factor of the loss")
            | dict.fromkeys(self.kernel.free_symbols, "free in the kernel, an example")
            | dict.fromkeys(env.features.free_symbols, "number of features of a group")
            | dict.fromkeys(
                env.groups.free_symbols, "number of stimulus groups, and of response groups"
            )
        )

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Symbols without a value."""
        return set(self.chosen)

    def with_values(self, values: Mapping[sp.Symbol, object]) -> LazyMultitasking:
        """Return the law with numbers in place of symbols."""
        known = dict(as_values(values, (), "law"))
        sizes = (
            as_sympy(q).subs(known) for q in (self.environment.groups, self.environment.features)
        )
        return replace(
            self,
            environment=SymbolicMultitasking(*sizes),
            kernel=self.kernel.with_values(known),
            loss=self.loss.with_values(known),
            report=None,
        )

    @property
    def eigenvalues(self) -> dict[str, sp.Expr]:
        """Eigenvalues of the training kernel on the targets' modes "0m", "0c", "1m" and "1c".

        The number is the degree in the stimulus, the letter says mean over tasks or contrast.
        """
        found = self.parts.eigenvalues
        return {x: self.kernel.written_out(value) for x, value in found.items()}

    def _require_learning(self) -> None:
        """Refuse a kernel with an eigenvalue that is known to be negative: its mode diverges."""
        for mode, value in self.eigenvalues.items():
            if value.is_negative:
                raise OutsideValidity(
                    f"The kernel must have no negative eigenvalue on the targets' modes, but that "
                    f"of {mode} is {value}: its mode would grow without end in place of being "
                    f"learned."
                )

    def _tasks(self, count: sp.Expr) -> str:
        """Return so many tasks in words, with the condition that a symbol for G has to meet."""
        G = self.environment.groups
        open_case = count.is_number and (G - count).is_nonnegative is not True
        return f"{count} tasks (for {G} >= {count})" if open_case else f"{count} tasks"

    @property
    def formulas(self) -> tuple[Formula, ...]:
        """The results, with a symbol for the number of tasks."""
        return self.output(), self.concurrent(AT_ONCE), self.margin(AT_ONCE), self.time(AT_ONCE)

    def output(self, time: Any = notation.t) -> Formula:
        """Return the output at training prompts, of one task each.

        Parameters
        ----------
        time : number, symbol or sympy.oo
            Flow time.
        """
        self._require_learning()
        clock = as_sympy(time)
        shares = [(names.LEARNED[x], self.parts.learned(x, clock)) for x in names.MODES]
        known = [] if clock == sp.oo else self.parts.eigenvalue_lines()
        expression = self.parts.training
        where = needed(expression, [*known, *shares])
        return Formula("output at a training prompt", _OUTPUT, expression, where)

    def concurrent(self, K: Any, time: Any = notation.t) -> Formula:
        """Return the output at prompts of K tasks.

        Parameters
        ----------
        K : int or SymPy expression
            From 1 to G.
        time : number, symbol or sympy.oo
            Flow time.
        """
        self._require_learning()
        count = self.environment.at_once(K)
        expression = (
            names.CONSTANT
            + names.WRITTEN * ADDRESSED
            + names.SELECTED * READ
            + names.SPREAD * POOLED
        )
        where = [*self.parts.gain_lines(count, as_sympy(time)), *self.parts.response_lines(count)]
        title = f"output at a prompt of {self._tasks(count)}"
        return Formula(title, _OUTPUT, expression, needed(expression, where))

    def margin(self, K: Any, time: Any = sp.oo) -> Formula:
        r"""Return the least lead of the right unit over all prompts of K tasks.

        All of them are answered right, by the largest output of every group that is written, if and
        only if it is positive. After training a kernel that does not see the number of tasks gives
        $1 - (K - 1)(1 - \rho)/G$, with $\rho = \lambda_{1c}/\lambda_{1m} \le 1$.

        Parameters
        ----------
        K : int or SymPy expression
            From 1 to G.
        time : number, symbol or sympy.oo
            Flow time; after training by default.
        """
        self._require_learning()
        count, clock = self.environment.at_once(K), as_sympy(time)
        title = f"least lead of the right unit, {self._tasks(count)}"
        if clock == sp.oo and self.settles:
            lead = self._lead(self._settled(count))
            where = [*self.parts.eigenvalue_lines((1,)), (names.RATIO, _RATIO)]
            return Formula(title, names.MARGIN, lead, needed(lead, where))
        lead = self.parts.margin(names.SELECTED, names.SPREAD)
        where = [*self.parts.gain_lines(count, clock), *self.parts.response_lines(count)]
        return Formula(title, names.MARGIN, lead, needed(lead, where))

    @property
    def settles(self) -> bool:
        """Whether the margin after training is a formula in the ratio of two eigenvalues alone."""
        unlearned = any(self.parts.never(x) for x in ("1m", "1c"))
        return self.kernel.is_alike and not unlearned

    def _settled(self, K: sp.Expr) -> dict[sp.Expr, sp.Expr]:
        """Return gains after training, in the ratio of eigenvalues, of a kernel blind to K."""
        done = {names.GAIN[x]: 1 / names.LAM[x] for x in names.MODES}
        ratio = {names.LAM["1c"]: names.RATIO * names.LAM["1m"]}
        response = self.parts.response(K)
        selected, spread = (
            sp.factor(response[part].subs(self.parts.alike).subs(done).subs(ratio))
            for part in (READ, POOLED)
        )
        # Written in 1 - rho, which is not negative.
        below = sp.cancel(spread / (names.RATIO - 1))
        return {READ: selected, POOLED: sp.Mul(-below, 1 - names.RATIO)}

    def _lead(self, response: Mapping[sp.Expr, sp.Expr]) -> sp.Expr:
        if self.parts.mean_is_faster:
            # rho <= 1: the gain of pooled features is negative, or 0.
            return response[READ] + self.environment.groups * response[POOLED]
        return self.parts.margin(response[READ], response[POOLED])

    def time(self, K: Any) -> Formula:
        r"""Return the flow time from which K tasks are done at once, if 1m is learned long before.

        To leading order in $\lambda_{1c}/\lambda_{1m}$; `LazyRoutine.time` solves it exactly. It
        is infinite if tasks are never selected, complex if all of 1c would not be enough, and 0
        for two groups.

        Parameters
        ----------
        K : int or SymPy expression
            From 1 to G.
        """
        self._require_learning()
        count = self.environment.at_once(K)
        title = f"time of {self._tasks(count)} at once"
        if self.parts.never("1c"):
            return Formula(title, _TIME, sp.oo)
        enough = self.parts.threshold(count)
        where = [*self.parts.eigenvalue_lines((1,))]
        if self.kernel.is_alike:
            ratio = {names.LAM["1c"]: names.RATIO * names.LAM["1m"]}
            enough = names.gathered(enough.subs(self.parts.alike).subs(ratio), count)
            where.append((names.RATIO, _RATIO))
        else:
            where += self.parts.prompt_lines(count, degrees=(1,))
        where.append((names.THRESHOLD, enough))
        expression = -sp.log(1 - names.THRESHOLD) / self.parts.rate("1c")
        return Formula(title, _TIME, expression, needed(expression, where))

    @cached_property
    def instances(self) -> tuple[Instance, ...]:
        """The law at drawn numbers, beside explicit Gram matrices."""
        from symkernel.theory.lazy_instances import instances

        return instances(self)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The derivation; every step compares itself with explicit Gram matrices."""
        from symkernel.theory.lazy_steps import steps

        return steps(self)

    def check(self) -> CheckReport:
        """Return what the checks found; its `derivation` is the law whose documents carry it."""
        from symkernel.theory.lazy_checks import check

        report = check(self)
        found = replace(self, report=report)
        # What was worked out is not worked out again.
        found.__dict__.update(steps=self.steps, instances=self.instances)
        return replace(report, derivation=found)

    def compile(self, values: Mapping[sp.Symbol, object] | None = None) -> LazyRoutine:
        """Return the law in numbers: ``routine(times, prompts)``, margins and times.

        Parameters
        ----------
        values : mapping of Symbol to number, optional
            For all symbols: G, M, those of the kernel and of the loss.
        """
        from symkernel.theory.lazy_routine import LazyRoutine

        known = as_values(values or {}, self.free_symbols, "law")
        return LazyRoutine(self.with_values(known))

    def latex(self, names: Mapping[str, str] | None = None) -> str:
        """Return a document: environment, derivation with its checks, results.

        Parameters
        ----------
        names : mapping of str to str, optional
            LaTeX for the identifiers of symbols.
        """
        from symkernel.report.latex_multitasking import document

        return document(self, names)


_RATIO = names.LAM["1c"] / names.LAM["1m"]


def lazy_multitasking(
    environment: Multitasking | SymbolicMultitasking,
    kernel: Any = None,
    *,
    direct: object = 0,
    stimulus: object = 1,
    task: object = 1,
    loss: SquaredError | None = None,
    tolerance: float = 1e-10,
) -> LazyMultitasking:
    r"""Return what a network with a constant kernel learns in the multitasking environment.

    Parameters
    ----------
    environment : Multitasking or SymbolicMultitasking
        Numbers or symbols for G and M.
    kernel : sympy.Expr, WideKernel or array_like, optional
        Between a prompt of K tasks and one of a single task: an expression in the environment's
        `matched` ($m$), `same` ($\delta$) and `tasks_at_once` (K); the tangent kernel of
        `symkernel.infinite_width`; or an array of its values, (G + 1, 2) by $m$ and $\delta$, with
        numbers for G and M, or (G, G + 1, 2) by K - 1 too. Without it, any kernel.
    direct : number or symbol
        Rate of a direct path from task to output, in units of the kernel: adds direct times
        $\delta$. 0 for none.
    stimulus, task : number or symbol
        For kernels of wide networks: squares of factors that multiply the stimulus part and the
        task part of the input. With weights of variance 1 behind them they act as variances of the
        first layer's weights, part by part; the layer divides by its number of inputs besides.
    loss : SquaredError, optional
        Without weight decay.
    tolerance : float
        Largest relative error of averages that have no closed form, of kernels of wide networks.

    Returns
    -------
    LazyMultitasking

    Raises
    ------
    InvalidArgument
        For a kernel that is none of these, and for weight decay.

    Notes
    -----
    Exact for a kernel that stays as it is, from initial outputs 0: the limit of wide networks in
    the "ntk" parameterisation, with a linear output.

    Examples
    --------
    >>> import sympy as sp, symkernel as sk
    >>> G, M, K = sp.symbols("G M K", integer=True, positive=True)
    >>> alpha, beta, gamma = sp.symbols("alpha beta gamma", positive=True)
    >>> env = sk.environments.Multitasking(G, M)
    >>> x = env.matched + env.same
    >>> law = sk.lazy_multitasking(env, alpha + beta * x + gamma * x**2)
    >>> assert law.eigenvalues["1c"] == 2 * gamma * M ** (G - 1)
    >>> rho = sp.Symbol("rho_modes", positive=True)
    >>> assert sp.expand(law.margin(K).expression - (1 - (K - 1) * (1 - rho) / G)) == 0
    """
    if isinstance(environment, Multitasking):
        environment = environment.symbolic
    if not isinstance(environment, SymbolicMultitasking):
        raise InvalidArgument(
            f"Argument 'environment' must be a Multitasking environment, not "
            f"{type(environment).__name__}."
        )
    error = SquaredError() if loss is None else loss
    if not isinstance(error, SquaredError) or error.weight_decay != 0:
        raise InvalidArgument(
            f"Argument 'loss' must be a SquaredError without weight decay, which is no part of the "
            f"kernel, not {loss!r}."
        )
    found = prompt_kernel(environment, kernel, direct, stimulus, task, tolerance)
    law = LazyMultitasking(environment, found, error)
    clashes = sorted({symbol.name for symbol in law.free_symbols} & names.TAKEN)
    if clashes:
        raise InvalidArgument(
            f"The symbol '{clashes[0]}' stands for something else in the law; give yours another "
            f"name."
        )
    return law
