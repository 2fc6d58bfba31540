r"""Networks of one linear hidden unit on whitened inputs, from any weights, at any rates.

With one hidden unit the conserved matrix is a number $\lambda$, and the flow of all sides of the
modes is linear up to a common factor; see `single_unit_flow`. A mode does not learn alone: all
modes share the unit, and the strongest one wins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.formula import Citation, Derived, Formula, Law, Result, Step, Verdict
from symkernel.problem import weights
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.problem.scalars import as_sympy
from symkernel.problem.task import Task
from symkernel.theory.mode_flow import ModeFlow
from symkernel.theory.mode_numbers import unit_numbers
from symkernel.theory.mode_observables import check_observables, layer_rates, layer_scales
from symkernel.theory.mode_state import TOLERANCE, decay_verdict, moments_verdict, network_verdict
from symkernel.theory.mode_values import as_index, mode_values
from symkernel.theory.phases import reaching
from symkernel.theory.single_unit_checks import draw_unit, unit_limits, unit_precision
from symkernel.theory.single_unit_flow import (
    HALF_PULL,
    LAMBDA,
    OMEGA,
    Part,
    UnitSolution,
    unit_flow,
    unit_steps,
)
from symkernel.theory.single_unit_path import UnitPath, refuse_lost
from symkernel.theory.single_unit_stable import unit_routine
from symkernel.trajectory import Trajectory

_NAME = "single_unit"
_TIME = notation.t
_A0, _B0 = notation.a0, notation.b0
_M0 = notation.symbol(
    "m0", "m_0", "initial length of the input weights off the mode", nonnegative=True
)
_N0 = notation.symbol("n0", "n_0", "initial length of the read-out off the mode", nonnegative=True)
_NORM = notation.symbol("N_unit", "N", "common factor squared", positive=True)


def _rank_one(flow: ModeFlow) -> UnitSolution:
    """Return the solution for a task of one mode, in the law's own symbols."""
    read, rest = flow.ratio * _B0, flow.ratio * _N0
    parts = (Part(notation.s, _A0, read), Part(sp.S.Zero, _M0, rest))
    return UnitSolution(flow, parts, LAMBDA)


def _kept(flow: ModeFlow) -> sp.Expr:
    return flow.ratio**2 * (_B0**2 + _N0**2) - _A0**2 - _M0**2


def _result(solution: UnitSolution, index: int) -> Result:
    """Return what is observed in one mode, plain SymPy in time."""
    flow = solution.flow
    inner, outer = layer_scales(flow)
    fast, slow = layer_rates(flow)
    found = [solution.linear(part) for part in solution.parts]
    p, q, _ = found[index]
    norm = solution.norm
    a, b = p / sp.sqrt(norm), q / (flow.ratio * sp.sqrt(norm))
    wanted = [flow.scale * solution.sigma(part) / flow.delta for part in solution.parts]
    inputs, outputs = (sp.Add(*(one[k] ** 2 for one in found)) / norm for k in (0, 1))
    reached = [flow.scale * one[0] * one[1] / norm for one in found]
    missing = sp.Add(*(w**2 - 2 * w * u for w, u in zip(wanted, reached, strict=True)))
    return Result(
        {
            "output": reached[index],
            "input_side": a,
            "output_side": b,
            "hidden": inner * a,
            "hidden_gram": inner**2 * a**2,
            "ntk": inner**2 * outer**2 * (slow * a**2 + fast * b**2),
            "pseudo_kernel": fast * inner**2 * outer * b,
            "loss": flow.system.loss.factor
            * notation.d
            * (missing + flow.scale**2 * inputs * outputs),
        }
    )


def _formulas(flow: ModeFlow) -> tuple[Formula, ...]:
    solution = _rank_one(flow)
    mode = solution.parts[0]
    start = sp.Matrix([mode.p, mode.q])
    g = solution.sigma(mode)
    p, q, own = UnitSolution.turned(start, sp.Matrix([[-HALF_PULL, g], [g, HALF_PULL]]), OMEGA)
    _, _, rest = solution.linear(solution.parts[1])
    norm = 1 + flow.delta * (own + rest.subs(solution.pull, HALF_PULL))
    where = (
        (LAMBDA, _kept(flow)),
        (HALF_PULL, solution.pull),
        (OMEGA, sp.sqrt(g**2 + HALF_PULL**2)),
        (_NORM, norm),
    )
    root = sp.sqrt(_NORM)
    return (
        Formula("output mode", notation.u, flow.scale * p * q / _NORM, where),
        Formula("input side", notation.a, p / root, where),
        Formula("output side", notation.b, q / (flow.ratio * root), where),
    )


def _steps(flow: ModeFlow) -> tuple[Step, ...]:
    solution = _rank_one(flow)
    formulas = _formulas(flow)
    solved = Step(
        "Solution",
        "the matrix F of the linear equation squares to a multiple of the identity on the two "
        "sides of a mode; every mode adds its integral to the common factor N, here one mode and "
        "all that is orthogonal to it",
        tuple(
            sp.Eq(left, right, evaluate=False)
            for left, right in (*formulas[0].where, *((f.symbol, f.expression) for f in formulas))
        ),
        solution.check_linear,
        (
            (sp.Symbol("F"), "matrix of the linear equation"),
            (sp.Symbol("h"), "half the pull of the imbalance lambda"),
        ),
    )
    inner, outer = layer_scales(flow)
    fast, slow = layer_rates(flow)
    a, b = sp.Function("a")(_TIME), sp.Function("b")(_TIME)
    kernel = inner**2 * outer**2 * (slow * a**2 + fast * b**2)
    observed = Step(
        "Observables",
        "the tangent kernel on the mode's input and output, and the pseudo-kernel by which it "
        "moves the unit",
        (
            sp.Eq(sp.Symbol("K_f"), kernel, evaluate=False),
            sp.Eq(sp.Symbol("K_h"), fast * inner**2 * outer * b, evaluate=False),
        ),
        lambda: check_observables(flow),
    )
    return (*flow.system.steps(), *unit_steps(flow), solved, observed)


def _test(problem: Problem) -> tuple[Verdict, ...]:
    network = network_verdict(_NAME, problem)
    if not network.holds:
        return (network,)
    against = decay_verdict(_NAME, problem)
    if against:
        return (network, *against)
    hidden = as_sympy(problem.network.parameters[0].shape[0])
    extra = float(hidden - 1) if hidden.is_Integer else np.inf
    advice = "other laws cover wider layers"
    one = Verdict(_NAME, "the hidden layer is one unit", extra == 0, extra, 0.0, advice)
    if extra:
        return (network, one)
    unknown = moments_verdict(_NAME, problem)
    if unknown:
        return (network, one, *unknown)
    tasks = [phase.task for phase in problem.curriculum.phases]
    words = "all inputs have one variance and are uncorrelated"
    if not problem.is_numeric_but_for_durations:
        modes = tasks[0].modes if len(tasks) == 1 else None
        fits = modes is not None and len(modes) == 1 and modes[0].multiplicity == 1
        fits = fits and problem.weights.amplitudes is not None
        advice = "give values; with symbols the law covers one task of one mode, aligned weights"
        return (network, one, Verdict(_NAME, words, fits, 0.0 if fits else np.inf, 0.0, advice))
    far = max(map(_unevenness, tasks))
    advice = "whiten the inputs (task.whitened()), which changes the dynamics, or simulate"
    return (network, one, Verdict(_NAME, words, far <= TOLERANCE, far, TOLERANCE, advice))


def _unevenness(task: Task) -> float:
    """Return how far the input covariance is from a multiple of the identity, relative."""
    size = float(np.linalg.norm(task.Sxx, 2))
    if not size:
        return np.inf
    mean = float(np.trace(task.Sxx)) / len(task.Sxx)
    return float(np.linalg.norm(task.Sxx - mean * np.eye(len(task.Sxx)), 2)) / size


def _derive(problem: Problem) -> Derived:
    flow = unit_flow(problem.network, problem.loss)

    def mode(index: int, phase: int) -> Result:
        solution, d, start = _posed(problem, flow, phase)
        count = min(problem.network.inputs, problem.network.outputs)
        found = _result(solution, as_index(index, count))
        entry = {notation.d: d, _TIME: _TIME - start}
        return Result({name: e.xreplace(entry) for name, e in found.items()})

    tried = flow.tried
    return Derived(
        steps=lambda: _steps(flow),
        result=lambda: _result(_rank_one(flow), 0),
        formulas=lambda: _formulas(flow),
        routine=lambda: unit_routine(flow),
        limits=unit_limits(flow),
        precision=lambda stream, draws: unit_precision(tried, unit_routine(tried), stream, draws),
        mode=mode,
        numbers=unit_numbers,
    )


def _posed(problem: Problem, flow: ModeFlow, phase: int) -> tuple[UnitSolution, sp.Expr, sp.Expr]:
    """Return the solution of the problem in a phase, its input variance and its start."""
    if not problem.is_numeric_but_for_durations:
        values = mode_values(problem, 0)
        part = Part(values[notation.s], values[_A0], flow.ratio * values[_B0])
        kept = sp.factor(part.q**2 - part.p**2)
        return UnitSolution(flow, (part,), kept), values[notation.d], sp.S.Zero
    problem = reaching(problem, phase)
    start = problem.curriculum.starts[phase]
    # At that time the phase before is still there, too.
    at = np.array([start]), np.array([phase])
    path = UnitPath(problem, *at, flow, unit_routine(flow))
    (first, _), (state, _) = path.stretches[0], path.stretches[phase]
    refuse_lost(path.stretches, first.lam)
    solution = UnitSolution(flow.in_decimals(), state.parts, sp.Float(first.lam))
    return solution, sp.Float(state.d), sp.Float(start)


def _trajectory(problem: Problem, times: Any) -> Trajectory:
    flow = unit_flow(problem.network, problem.loss)
    return UnitPath.of(problem, flow, unit_routine(flow), times).trajectory()


def _example() -> Problem:
    """Return one output and three inputs, from a read-out larger than the input weights."""
    net = Network.two_layer(inputs=3, hidden=1, outputs=1)
    task = Task.from_moments(np.eye(3), np.array([[2.0, 1.0, 0.0]]), np.array([[5.0]]))
    w0 = weights.from_arrays(net, [[[0.1, -0.3, 0.2]], [[0.5]]])
    return Problem(net, Curriculum.of(task), w0)


LAW = Law(
    name=_NAME,
    title="One linear hidden unit on whitened inputs: any initial weights and rates",
    rank="exact",
    assumptions=(
        "two dense linear layers, both trained at rates of their own, squared error, no decay",
        "the hidden layer is one unit",
        "all inputs have one variance and are uncorrelated",
    ),
    outputs=("output", "hidden", "hidden_gram", "ntk", "pseudo_kernel", "loss", "weights"),
    citations=(
        Citation(
            "kunin2024",
            "Kunin, Daniel and Raventós, Allan and Dominé, Clémentine and Chen, Feng and "
            "Klindt, David and Saxe, Andrew and Ganguli, Surya",
            "Get rich quick: exact solutions reveal how unbalanced initializations promote rapid "
            "feature learning",
            "arXiv preprint",
            2024,
            "the single-neuron model with one output; several outputs are derived here",
            "2406.06158",
        ),
    ),
    test=_test,
    derive=_derive,
    trajectory=_trajectory,
    example=_example,
    draw=draw_unit,
)
