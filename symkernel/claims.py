r"""A user's own conjecture about learning, judged like a law: equation, flow, simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp
from sympy.core.function import AppliedUndef

from symkernel import notation
from symkernel.derivation import Derivation, derive
from symkernel.errors import InvalidArgument, MissingValues, NoClosedForm, ShapeMismatch
from symkernel.formula import CheckReport, Rung
from symkernel.identities import vanishes
from symkernel.ladder_structure import end_to_end, horizon
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.loss import SquaredError
from symkernel.problem.modes import common_basis
from symkernel.problem.problem import Problem
from symkernel.trajectory import Trajectory

_DIGITS = 30
_RESIDUAL_BOUND = 1e-10
_FLOW_BOUND = 1e-9
# A claim may miss a simulation by what the exact flow misses it by, and a tenth of that more.
_MARGIN = 1.1
# A simulation farther than this from the exact flow says nothing about the claim.
_FOREIGN = 0.1


def check_claim(
    formula: sp.Expr,
    observable: tuple[str, int] | str,
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
    observable : ("mode", k) or "loss"
        What it claims to be: the k-th mode (counted from 0, strongest first) of the end-to-end
        map, or the loss.
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
        with the time at which it is worst.

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
    >>> assert not sk.check_claim(wrong, ("mode", 0), (net, task, w0)).passed
    """
    posed = _as_problem(problem, loss)
    if against is not None and not isinstance(against, Trajectory):
        raise InvalidArgument(f"Argument 'against' must be a Trajectory, not {against!r}.")
    claim = _as_function(formula)
    kind, index = _as_observable(observable, posed)
    _evaluate(claim, np.zeros(1))
    rungs = []
    if kind == "mode":
        rungs += _equation_rungs(claim, index, posed)
    times = horizon(posed, 20.0) if against is None else np.asarray(against.times)
    values = _evaluate(claim, times)
    flow, exact = _flow_rung(values, kind, index, posed, times)
    rungs.append(flow)
    if against is not None:
        rungs.append(_simulation_rung(values, exact, kind, index, posed, against))
    name = f"mode {index}" if kind == "mode" else "loss"
    return CheckReport(f"the claim {name} = {claim}", tuple(rungs))


def _as_problem(problem: Any, loss: SquaredError | None) -> Problem:
    if not isinstance(problem, Problem):
        try:
            network, curriculum, weights = problem
        except (TypeError, ValueError):
            raise InvalidArgument(
                "Argument 'problem' must be (network, curriculum, weights) or a Problem."
            ) from None
        problem = Problem(
            network, Curriculum.of(curriculum), weights, SquaredError() if loss is None else loss
        )
    if not problem.is_numeric:
        raise MissingValues("The problem of a claim must have numbers for all its symbols.")
    return problem


def _as_function(formula: Any) -> sp.Expr:
    """Return the formula in the house's time symbol."""
    if not isinstance(formula, sp.Expr):
        raise InvalidArgument(
            f"Argument 'formula' must be a SymPy expression in t, not {type(formula).__name__}."
        )
    clocks = {q: notation.t for q in formula.free_symbols if q.name == "t"}
    claim = formula.subs(clocks)
    foreign = sorted(q.name for q in claim.free_symbols - {notation.t})
    foreign += sorted(str(f) for f in claim.atoms(AppliedUndef))
    if foreign:
        raise InvalidArgument(
            f"Argument 'formula' must depend on t alone, not on {', '.join(foreign)}; put numbers "
            f"in with formula.subs(...)."
        )
    return claim


def _as_observable(observable: Any, problem: Problem) -> tuple[str, int]:
    if observable == "loss" or observable == ("loss",):
        return "loss", 0
    r = min(int(problem.network.inputs), int(problem.network.outputs))
    match observable:
        case ("mode", int(index)) if 0 <= index < r and not isinstance(index, bool):
            return "mode", index
    raise InvalidArgument(
        f"Argument 'observable' must be 'loss' or ('mode', k) with 0 <= k < {r}, "
        f"not {observable!r}."
    )


def _evaluate(claim: sp.Expr, times: np.ndarray) -> np.ndarray:
    try:
        found = [complex(claim.evalf(_DIGITS, subs={notation.t: float(t)})) for t in times]
    except (TypeError, ArithmeticError):
        raise InvalidArgument(
            f"Argument 'formula' must have a number as value at all times, but {claim} has none."
        ) from None
    bad = next((k for k, v in enumerate(found) if v.imag or not np.isfinite(v.real)), None)
    if bad is not None:
        raise InvalidArgument(
            f"Argument 'formula' must be finite and real at all times, but is {found[bad]} at "
            f"t = {times[bad]:g}."
        )
    return np.array([value.real for value in found])


def _equation_rungs(claim: sp.Expr, index: int, problem: Problem) -> list[Rung]:
    """Put the claim into the mode's closed equation."""
    title = "the mode's differential equation"
    try:
        found: Derivation = derive(
            problem.network, problem.curriculum, problem.weights, loss=problem.loss
        )
    except NoClosedForm:
        return [Rung(1, title, None, "no law of the catalogue closes the mode's equation")]
    if len(problem.curriculum.phases) > 1:
        return [Rung(1, title, None, "the equation changes with the phase of the curriculum")]
    if found.derived.equation is None:
        return [Rung(1, title, None, "the law has no closed equation of one mode")]
    u, rate, start = found.derived.equation(index)
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
    if _is_rational(residual) and vanishes(residual):
        return [Rung(1, title, True, "residual reduces to 0 exactly", "exact"), begins]
    times = horizon(problem, 20.0)
    values = _evaluate(residual, times)
    drive = _evaluate(rate.subs(u, claim), times)
    worst = int(np.abs(values).argmax())
    relative = abs(values[worst]) / max(float(np.abs(drive).max()), 1e-300)
    figure = (
        f"residual {relative:.1e} of the largest rate, at t = {times[worst]:.3g} "
        f"({_DIGITS} digits, {len(times)} times)"
    )
    return [Rung(1, title, relative <= _RESIDUAL_BOUND, figure, f"{_RESIDUAL_BOUND:.0e}"), begins]


def _is_rational(expression: sp.Expr) -> bool:
    """Whether an exact reduction makes sense: exact numbers, and no roots of functions of time."""
    roots = (p for p in expression.atoms(sp.Pow) if not p.exp.is_Integer and p.base.has(notation.t))
    return not expression.atoms(sp.Float) and not any(roots)


def _observed(
    kind: str, index: int, problem: Problem, maps: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """Return the observable from end-to-end maps (n_times, n_outputs, n_inputs)."""
    tasks = [phase.task for phase in problem.curriculum.phases]
    if kind == "loss":
        running = [tasks[problem.curriculum.phase_at(float(time))] for time in times]
        found = [
            np.trace(task.Syy) - 2 * (A * task.Syx).sum() + (A @ task.Sxx * A).sum()
            for task, A in zip(running, maps, strict=True)
        ]
        return float(problem.loss.factor) * np.array(found)
    arrays = [problem.weights.arrays[p.name] for p in problem.network.parameters]
    basis = common_basis(tasks, *arrays) if len(arrays) == 2 else common_basis(tasks)
    return np.einsum("o,toi,i->t", basis.U[:, index], maps, basis.V[:, index])


def _gap(claimed: np.ndarray, found: np.ndarray, times: np.ndarray) -> tuple[float, str]:
    error = np.abs(claimed - found)
    worst = int(error.argmax())
    relative = float(error[worst] / max(float(np.abs(found).max()), 1e-300))
    where = f"at t = {times[worst]:.3g}: claimed {claimed[worst]:.4g}, found {found[worst]:.4g}"
    return relative, where


def _flow_rung(
    claimed: np.ndarray, kind: str, index: int, problem: Problem, times: np.ndarray
) -> tuple[Rung, np.ndarray]:
    from symkernel.simulation.flow import integrate_flow

    flow = integrate_flow(problem, times)
    exact = _observed(kind, index, problem, end_to_end(problem, flow.weights), times)
    relative, where = _gap(claimed, exact, times)
    figure = f"largest distance {relative:.1e} of the largest value, {where}"
    passed = relative <= _FLOW_BOUND
    return Rung(4, "flow: weights by DOP853", passed, figure, f"{_FLOW_BOUND:.0e}"), exact


def _simulation_rung(
    claimed: np.ndarray,
    exact: np.ndarray,
    kind: str,
    index: int,
    problem: Problem,
    against: Trajectory,
) -> Rung:
    times = np.asarray(against.times)
    shapes = {name: weight.shape[1:] for name, weight in against.weights.items()}
    if shapes != {name: weight.shape for name, weight in problem.weights.arrays.items()}:
        raise ShapeMismatch(
            f"Argument 'against' must be a run of the network of the problem, not one whose "
            f"weights have the shapes {shapes}."
        )
    maps = end_to_end(problem, against.weights)
    found = _observed(kind, index, problem, maps, times)
    relative, where = _gap(claimed, found, times)
    own, _ = _gap(exact, found, times)
    if own > _FOREIGN:
        reason = (
            f"the simulation is {own:.1e} away from the exact flow: it is of another problem, or "
            f"its learning rate is too large to judge by"
        )
        return Rung(5, "simulation", None, reason)
    bound = _MARGIN * own + 1e-12
    return Rung(
        5,
        "simulation",
        relative <= bound,
        f"largest distance {relative:.1e} of the largest value, {where}; "
        f"the exact flow itself is {own:.1e} away",
        f"{bound:.1e}",
    )
