r"""A user's own conjecture about learning, judged like a law: equation, flow, simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp
from sympy.core.function import AppliedUndef

from symkernel import notation
from symkernel.check_report import CheckReport, Rung
from symkernel.claim_slips import Misfit, explained, usual_slips
from symkernel.claim_values import DIGITS, Observable, evaluate, numbers
from symkernel.derivation import Derivation, derive
from symkernel.errors import InvalidArgument, MissingValues, NoClosedForm, ShapeMismatch
from symkernel.identities import vanishes
from symkernel.ladder_structure import horizon
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.loss import SquaredError
from symkernel.problem.problem import Problem
from symkernel.trajectory import Trajectory

_VANISHED = 1e-20
_LARGEST_DEGREE = 64
_RESIDUAL_BOUND = 1e-10
_FLOW_BOUND = 1e-9
# A claim may miss a simulation by what the exact flow misses it by, and a tenth of that more.
_MARGIN = 1.1
# A simulation farther than this from the exact flow says nothing about the claim.
_FOREIGN = 0.1


def check_claim(
    formula: sp.Expr,
    observable: tuple[Any, ...] | str,
    problem: tuple[Any, Any, Any] | Problem,
    against: Trajectory | None = None,
    *,
    loss: SquaredError | None = None,
) -> CheckReport:
    r"""Judge a conjectured formula for an observable.

    Parameters
    ----------
    formula : sympy.Expr
        The conjecture, a function of the time symbol ``t`` alone.
    observable : ("mode", k), "loss", or of samples
        What it claims to be: the k-th mode (counted from 0, strongest first) of the end-to-end
        map, or the loss; where the task has samples also ("output", sample, k), the output k;
        ("hidden_gram", i, j), the product of the hidden activities of two samples; and
        ("ntk", i, k, j, l), the tangent kernel of samples i, j and outputs k, l.
    problem : (network, curriculum, weights) or Problem
        With numbers.
    against : Trajectory, optional
        A simulation of the problem, to compare with as well.
    loss : SquaredError, optional
        The house's convention by default.

    Returns
    -------
    CheckReport
        The residual in the mode's differential equation (exact where SymPy can reduce it to 0),
        the initial value, the distance from the integrated flow and from the simulation, each
        with the time at which it is worst. If the claim fails, its `notes` name the usual slips
        (a factor 2, a sum for a mean, a sign) that would make it pass the same bounds, or say
        that there is none and which factors fit best.

    Raises
    ------
    InvalidArgument
        If the formula is no SymPy expression of t alone, or the observable is unknown.
    MissingValues
        If the problem has symbols.

    Examples
    --------
    >>> import sympy as sp, symkernel as sk
    >>> t = sp.Symbol("t", nonnegative=True)
    >>> task = sk.Task.from_modes([2.0])
    >>> net = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
    >>> w0 = sk.weights.aligned(net, task, a=0.1, b=0.1)
    >>> right = 2 / (1 + 199 * sp.exp(-4 * t))
    >>> assert sk.check_claim(right, ("mode", 0), (net, task, w0)).passed
    >>> wrong = 2 / (1 + 199 * sp.exp(-2 * t))
    >>> report = sk.check_claim(wrong, ("mode", 0), (net, task, w0))
    >>> assert not report.passed and "passes with t -> 2 t" in report.notes[0]
    """
    posed = _as_problem(problem, loss)
    if against is not None and not isinstance(against, Trajectory):
        raise InvalidArgument(f"Argument 'against' must be a Trajectory, not {against!r}.")
    claim = _as_function(formula, _named(posed))
    about = Observable.of(observable, posed)
    if about.kind == "loss" and posed.loss.weight_decay != 0:
        raise InvalidArgument(
            "Claims of the loss are judged by end-to-end maps, which do not tell the weight decay "
            "in it; claim a mode, or leave weight_decay out."
        )
    evaluate(claim, np.zeros(1))
    if against is not None:
        _check_network(against, posed)
    judge = _Judge.of(posed, about, against)
    rungs = judge.rungs(claim)
    notes: tuple[str, ...] = ()
    if any(rung.passed is False for rung in rungs):
        misfit = Misfit(claim, about.letter, judge.times, judge.flow, _FLOW_BOUND, judge.passes)
        notes = explained(misfit, usual_slips(posed, about, against))
    if against is not None:
        rungs.append(judge.simulation_rung(claim, against))
        if rungs[-1].passed is None:
            notes = (*notes, f"nothing was compared with the simulation: {rungs[-1].figure}")
    return CheckReport(f"the claim {about} = {claim}", tuple(rungs), notes=notes)


def _as_problem(problem: Any, loss: SquaredError | None) -> Problem:
    if isinstance(problem, Problem):
        if loss is not None:
            raise InvalidArgument(
                "Argument 'loss' must be left out where 'problem' is a Problem, which has its own."
            )
    else:
        try:
            network, curriculum, weights = problem
        except (TypeError, ValueError):
            raise InvalidArgument(
                "Argument 'problem' must be (network, curriculum, weights) or a Problem."
            ) from None
        problem = Problem(
            network, Curriculum.of(curriculum), weights, SquaredError() if loss is None else loss
        )
    if not isinstance(problem.loss, SquaredError):
        raise InvalidArgument(
            f"Argument 'loss' must be a SquaredError, not {type(problem.loss).__name__}: claims "
            f"are judged by the equations of squared error."
        )
    if not problem.is_numeric:
        raise MissingValues("The problem of a claim must have numbers for all its symbols.")
    return problem


def _named(problem: Problem) -> dict[sp.Symbol, sp.Expr]:
    """Return numbers for the strengths and variances of an exact task that have names."""
    exact = problem.curriculum.phases[0].task.exact
    return {q: sp.N(value, 2 * DIGITS) for q, value in exact.named.items()} if exact else {}


def _as_function(formula: Any, named: dict[sp.Symbol, sp.Expr]) -> sp.Expr:
    """Return the formula in the house's time symbol."""
    if not isinstance(formula, sp.Expr):
        raise InvalidArgument(
            f"Argument 'formula' must be a SymPy expression in t, not {type(formula).__name__}."
        )
    clocks = {q: notation.t for q in formula.free_symbols if q.name == "t"}
    claim = formula.xreplace(named).subs(clocks)
    foreign = sorted(q.name for q in claim.free_symbols - {notation.t})
    foreign += sorted(str(f) for f in claim.atoms(AppliedUndef))
    if foreign:
        raise InvalidArgument(
            f"Argument 'formula' must depend on t alone, not on {', '.join(foreign)}; put numbers "
            f"in with formula.subs(...)."
        )
    return claim


@dataclass(frozen=True, eq=False)
class _Judge:
    """What a formula is held against: the mode's closed equation, and the integrated flow.

    Attributes
    ----------
    equation : (u, right-hand side, initial value), or the reason why there is none
        None for what is no mode.
    times, flow : ndarray
        The observable along the integrated flow.
    """

    problem: Problem
    observable: Observable
    equation: tuple[sp.Symbol, sp.Expr, sp.Expr] | str | None
    times: np.ndarray
    flow: np.ndarray

    @classmethod
    def of(cls, problem: Problem, observable: Observable, against: Trajectory | None) -> _Judge:
        from symkernel.simulation.flow import integrate_flow

        times = horizon(problem, 20.0) if against is None else np.asarray(against.times)
        flow = observable.along(problem, integrate_flow(problem, times).weights, times)
        is_mode = observable.kind == "mode"
        equation = _closed_equation(problem, observable.index[0]) if is_mode else None
        return cls(problem, observable, equation, times, flow)

    def rungs(self, claim: sp.Expr) -> list[Rung]:
        """Return what equation, initial value and flow say."""
        relative, where = _gap(evaluate(claim, self.times), self.flow, self.times)
        figure = f"largest distance {relative:.1e} of the largest value, {where}"
        passed = relative <= _FLOW_BOUND
        flow = Rung(4, "flow: weights by DOP853", passed, figure, f"{_FLOW_BOUND:.0e}")
        return [*self._equation_rungs(claim), flow]

    def passes(self, claim: sp.Expr) -> bool:
        """Whether a formula fails none of the rungs."""
        try:
            return all(rung.passed is not False for rung in self.rungs(claim))
        except InvalidArgument:
            return False

    def _equation_rungs(self, claim: sp.Expr) -> list[Rung]:
        title = "the mode's differential equation"
        if self.equation is None:
            return []
        if isinstance(self.equation, str):
            return [Rung(1, title, None, self.equation)]
        u, rate, start = self.equation
        residual = sp.diff(claim, notation.t) - rate.subs(u, claim)
        initial = float(claim.subs(notation.t, 0) - start)
        scale = max(abs(float(start)), abs(float(claim.subs(notation.t, 0))), 1e-300)
        begins = Rung(
            2,
            "initial value",
            abs(initial) <= _RESIDUAL_BOUND * scale,
            f"claim - problem = {initial:.2e} at t = 0",
            f"{_RESIDUAL_BOUND:.0e} relative",
        )
        times = horizon(self.problem, 20.0)
        # Both sides by themselves: where they agree, the digits of a difference would be sought in
        # vain, ever further down.
        drive = numbers(rate.subs(u, claim), times)
        slopes = numbers(sp.diff(claim, notation.t), times)
        values = np.array([float(a - b) for a, b in zip(slopes, drive, strict=True)])
        worst = int(np.abs(values).argmax())
        relative = abs(values[worst]) / max(*(float(abs(q)) for q in drive), 1e-300)
        # Only what vanishes in numbers is worth the exact reduction, which may take long.
        if relative <= _VANISHED and _is_rational(residual) and vanishes(residual):
            return [Rung(1, title, True, "residual reduces to 0 exactly", "exact"), begins]
        figure = (
            f"residual {relative:.1e} of the largest rate, at t = {times[worst]:.3g} "
            f"({DIGITS} digits, {len(times)} times)"
        )
        passed = relative <= _RESIDUAL_BOUND
        return [Rung(1, title, passed, figure, f"{_RESIDUAL_BOUND:.0e}"), begins]

    def simulation_rung(self, claim: sp.Expr, against: Trajectory) -> Rung:
        """Return how far a formula is from a simulation, beside how far the flow is."""
        found = self.observable.along(self.problem, against.weights, self.times)
        relative, where = _gap(evaluate(claim, self.times), found, self.times)
        own, _ = _gap(self.flow, found, self.times)
        if own > _FOREIGN:
            reason = (
                f"the simulation is {own:.1e} away from the exact flow: it is of another problem, "
                f"or its learning rate is too large to judge by"
            )
            return Rung(5, "simulation", None, reason)
        bound = _MARGIN * own + 1e-12
        figure = (
            f"largest distance {relative:.1e} of the largest value, {where}; the exact flow "
            f"itself is {own:.1e} away"
        )
        return Rung(5, "simulation", relative <= bound, figure, f"{bound:.1e}")


def _closed_equation(problem: Problem, index: int) -> tuple[sp.Symbol, sp.Expr, sp.Expr] | str:
    try:
        found: Derivation = derive(
            problem.network, problem.curriculum, problem.weights, loss=problem.loss
        )
    except NoClosedForm:
        return "no law of the catalogue closes the mode's equation"
    if len(problem.curriculum.phases) > 1:
        return "the equation changes with the phase of the curriculum"
    if found.derived.equation is None:
        return "the law has no closed equation of one mode"
    u, rate, start = found.derived.equation(index)
    return u, rate.xreplace(_named(problem)), start


def _is_rational(expression: sp.Expr) -> bool:
    """Whether an exact reduction makes sense: exact numbers, and no roots of functions of time.

    Exponentials become powers of one, whose degrees must be small.
    """
    rates = [sp.Poly(e.exp, notation.t) for e in expression.atoms(sp.exp) if e.has(notation.t)
             if e.exp.is_polynomial(notation.t)]  # fmt: skip
    if any(rate.degree() > 1 for rate in rates):
        return False
    speeds = [rate.coeff_monomial(notation.t) for rate in rates]
    if all(speed.is_Rational for speed in speeds):
        step = math.gcd(*(int(speed.p) for speed in speeds)) or 1
        if any(abs(speed.p) > _LARGEST_DEGREE * step for speed in speeds):
            return False
    roots = (p for p in expression.atoms(sp.Pow) if not p.exp.is_Integer and p.base.has(notation.t))
    return not expression.atoms(sp.Float) and not any(roots)


def _gap(claimed: np.ndarray, found: np.ndarray, times: np.ndarray) -> tuple[float, str]:
    error = np.abs(claimed - found)
    worst = int(error.argmax())
    relative = float(error[worst] / max(float(np.abs(found).max()), 1e-300))
    digits = int(np.clip(2 - np.log10(max(relative, 1e-300)), 4, 12))
    where = (
        f"at t = {times[worst]:.3g} of {times[0]:g} to {times[-1]:.3g}: claimed "
        f"{claimed[worst]:.{digits}g}, found {found[worst]:.{digits}g}"
    )
    return relative, where


def _check_network(against: Trajectory, problem: Problem) -> None:
    shapes = {name: weight.shape[1:] for name, weight in against.weights.items()}
    if shapes != {name: weight.shape for name, weight in problem.weights.arrays.items()}:
        raise ShapeMismatch(
            f"Argument 'against' must be a run of the network of the problem, not one whose "
            f"weights have the shapes {shapes}."
        )
