r"""Diagonal linear networks on uncorrelated inputs: every coordinate is a mode.

$f = \sum_j \beta_j x_j$ with $\beta = w_+^2 - w_-^2$ (both weights used twice), $\beta = uv$ or
$\beta = w^2$, from any weights; the reduced equation is a Riccati equation for $z = e^{2\varphi}$.
On correlated inputs the coordinates do not decouple, and there is no closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.errors import NoClosedForm
from symkernel.formula import Citation, Derived, Formula, Law, Result, Step, Verdict
from symkernel.problem import weights
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.network import Network
from symkernel.problem.nodes import Input, Parameter
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.theory.diagonal_flow import (
    BETA,
    OF_A_COORDINATE,
    DiagonalFlow,
    diagonal_flow,
    diagonal_steps,
    read_outs,
)
from symkernel.theory.diagonal_path import DiagonalPath, diagonal_numbers
from symkernel.theory.hyperbolic import ModeSolution, Sides
from symkernel.theory.mode_checks import check_precision, mode_limits
from symkernel.theory.mode_phases import per_mode
from symkernel.theory.mode_state import (
    TOLERANCE,
    decay_verdict,
    moments_verdict,
    over_variances,
)
from symkernel.theory.mode_values import ModeValues, as_index
from symkernel.theory.phases import phases_at
from symkernel.theory.stable_modes import side_routine
from symkernel.trajectory import Trajectory

_NAME = "diagonal_network"
_TIME = notation.t


def _flow_of(problem: Problem) -> DiagonalFlow:
    return diagonal_flow(problem.network, problem.loss, read_outs(problem)[0])


@dataclass(frozen=True)
class _Law:
    """The law of one coordinate for given growing and decaying weights."""

    flow: DiagonalFlow
    plus: tuple[sp.Expr, ...]
    minus: tuple[sp.Expr, ...]

    @classmethod
    def from_weights(cls, flow: DiagonalFlow, start: Sequence[sp.Expr]) -> _Law:
        """Return the law for weights at the start."""
        plus, minus = flow.parts(start)
        return cls(flow, tuple(plus), tuple(minus))

    @cached_property
    def solution(self) -> ModeSolution:
        """The solution in terms of its growth z."""
        P0, Q0 = 4 * self.flow.at_weights(self.plus), -4 * self.flow.at_weights(self.minus)
        return ModeSolution(self.flow, Sides(sp.factor(P0), sp.factor(Q0)))

    @property
    def weights(self) -> tuple[sp.Expr, ...]:
        """The weights in terms of z."""
        root = sp.sqrt(notation.z)
        return tuple(p * root + m / root for p, m in zip(self.plus, self.minus, strict=True))

    def result(self) -> Result:
        """Return the laws of a coordinate as plain SymPy in time."""
        plain = self.solution.of_growth
        output = plain(self.solution.overlap)
        sides = {name: plain(w) for name, w in zip(self.flow.names, self.weights, strict=True)}
        wanted = self.flow.sigma / self.flow.delta
        kernel = sp.expand(self.flow.kernel(self.weights))
        loss = self.flow.factor * notation.d * (wanted - output) ** 2
        return Result({"output": output, **sides, "ntk": plain(kernel), "loss": loss})

    def at_end(self, values: ModeValues, duration: sp.Expr) -> dict[sp.Symbol, sp.Expr]:
        """Return the growing and the decaying weights at the end of a phase."""
        root = values.in_law(self.solution.of_growth(sp.sqrt(notation.z)))
        root = root.xreplace({_TIME: duration})
        plus = [values.in_law(p) * root for p in self.plus]
        minus = [values.in_law(m) / root for m in self.minus]
        rows = (*zip(_later(self.flow, "plus"), plus, strict=True),)
        return dict((*rows, *zip(_later(self.flow, "minus"), minus, strict=True)))

    def formulas(self) -> tuple[Formula, ...]:
        """Return the laws with abbreviations, as they are printed."""
        growth = self.solution.growth
        where = (*growth.where, (notation.z, growth.expression))
        pairs = zip(self.flow.symbols, self.weights, strict=True)
        return (
            Formula("coefficient", BETA, self.solution.overlap, where),
            *(Formula(f"weight {symbol}", symbol, law, where) for symbol, law in pairs),
        )


def _later(flow: DiagonalFlow, word: str) -> tuple[sp.Symbol, ...]:
    return tuple(sp.Symbol(f"{name}_{word}", real=True) for name in flow.names)


def _fitting(flow: DiagonalFlow, values: ModeValues) -> _Law:
    later = _later(flow, "plus"), _later(flow, "minus")
    if later[0][0] in values.entry:
        plus, minus = (tuple(values[q] for q in side) for side in later)
        return _Law(flow, plus, minus)
    return _Law.from_weights(flow, [values[q] for q in flow.starts])


def _of_coefficient(reduced: Step) -> Step:
    """Return the reduced equation of a mode with the coefficient for the overlap."""
    overlap, coefficient = (sp.Function(name)(_TIME) for name in ("w", BETA.name))
    equations = tuple(equation.xreplace({overlap: coefficient}) for equation in reduced.equations)
    reason = "the coefficient in terms of z = exp(2 phi), put into the drive"
    return replace(reduced, reason=reason, equations=equations, meanings=OF_A_COORDINATE)


def _derive(problem: Problem) -> Derived:
    flow = _flow_of(problem)
    law = _Law.from_weights(flow, flow.starts)

    def values_of(index: int, phase: int) -> ModeValues:
        task = problem.curriculum.phases[phase].task
        k = as_index(index, int(problem.network.inputs))
        entry = {notation.s: task.Syx[0, k], notation.d: task.Sxx[k, k]}
        arrays = problem.weights.arrays
        entry |= {q: arrays[n][k] for q, n in zip(flow.starts, flow.names, strict=True)}
        return ModeValues({q: sp.Float(float(value)) for q, value in entry.items()})

    bound = per_mode(problem, flow, law, values_of, _fitting)

    def steps() -> tuple[Step, ...]:
        _, reduced, solved = law.solution.steps()
        return (*diagonal_steps(flow), _of_coefficient(reduced), solved)

    tried = flow.tried
    return Derived(
        steps=steps,
        result=law.result,
        formulas=law.formulas,
        routine=lambda: side_routine(flow),
        limits=mode_limits(flow),
        precision=lambda stream, draws: check_precision(tried, side_routine(tried), stream, draws),
        mode=bound["mode"],
        learning_time=bound["learning_time"],
        numbers=diagonal_numbers,
    )


def _test(problem: Problem) -> tuple[Verdict, ...]:
    statement = "the output is a fixed sum of diagonal weights"

    def no(reason: str) -> Verdict:
        return Verdict(_NAME, statement, False, np.inf, 0.0, reason)

    if not any(p.kind == "diagonal" for p in problem.network.parameters):
        return (no("The network has no diagonal weights."),)
    if not problem.is_numeric_but_for_durations:
        return (no("The law covers problems with numbers; give values."),)
    signs, far = read_outs(problem)
    try:
        diagonal_flow(problem.network, problem.loss, signs)
    except NoClosedForm as error:
        return (no(str(error)),)
    network = Verdict(_NAME, statement, True, 0.0, 0.0)
    against = decay_verdict(_NAME, problem) or moments_verdict(_NAME, problem)
    if against:
        return (network, *against)
    tasks = [phase.task for phase in problem.curriculum.phases]
    advice = "fix them at 1 or -1; scales belong to the parameters"
    words = "the fixed read-outs are all 1 or all -1"
    ones = Verdict(_NAME, words, far <= TOLERANCE, far, TOLERANCE, advice)
    worst = max(_correlation(task.Sxx) for task in tasks)
    advice = (
        "on correlated inputs there is no closed trajectory; its limit minimises the hyperbolic "
        "entropy; simulate, or whiten the inputs, which changes the dynamics"
    )
    words = "the inputs are uncorrelated"
    return (network, ones, Verdict(_NAME, words, worst <= TOLERANCE, worst, TOLERANCE, advice))


def _correlation(sxx: np.ndarray) -> float:
    variances = np.diag(sxx)
    return over_variances(sxx - np.diag(variances), variances)


def _trajectory(problem: Problem, times: Any) -> Trajectory:
    clock, position = phases_at(problem.curriculum, times)
    return DiagonalPath(problem, _flow_of(problem), clock, position).trajectory()


def _network(stream: np.random.Generator, n: int) -> Network:
    """Draw one of the forms w_+^2 - w_-^2, u v and w^2 of n inputs, its rates and scales."""
    x = Input(n)
    rate, scale = (10 ** stream.uniform(-0.5, 0.5, 2) for _ in range(2))
    ones = Parameter("ones", (1, n), trained=False)
    kind = int(stream.integers(3))
    first = Parameter("w_plus", (n,), "diagonal", scale=scale[0], rate=rate[0])
    if kind == 0:
        second = Parameter("w_minus", (n,), "diagonal", scale=scale[0], rate=rate[0])
        minus = Parameter("minus_ones", (1, n), trained=False)
        return Network.build(ones @ (first @ (first @ x)) + minus @ (second @ (second @ x)))
    if kind == 1:
        second = Parameter("v", (n,), "diagonal", scale=scale[1], rate=rate[1])
        return Network.build(ones @ (second @ (first @ x)))
    return Network.build(ones @ (first @ (first @ x)))


def _task(s: np.ndarray, d: np.ndarray) -> Task:
    """Return one sample along each coordinate, of these moments."""
    n = len(s)
    return Task(np.diag(np.sqrt(n * d)), (s * np.sqrt(n / d))[:, None])


def _draw(stream: np.random.Generator) -> Problem:
    """Draw 1 to 12 inputs of any variances, weights 1e-4 to 3 of any signs, 1 or 2 tasks."""
    n = int(stream.integers(1, 13))
    net = _network(stream, n)
    fixed = {"ones": np.ones((1, n)), "minus_ones": -np.ones((1, n))}
    w0 = {
        p.name: fixed[p.name]
        if p.name in fixed
        else 10 ** stream.uniform(-4, 0.5, n) * stream.choice([-1.0, 1.0], n)
        for p in net.parameters
    }
    tasks = []
    for _ in range(int(stream.integers(1, 3))):
        s = 10 ** stream.uniform(-3, 1, n) * stream.choice([-1.0, 0.0, 1.0, 1.0, 1.0], n)
        d = 10 ** stream.uniform(-1, 0.5, n)
        tasks.append(_task(s, d))
    squares = max(float((array**2).max()) for array in w0.values())
    fastest = max(float(max(np.abs(t.Syx).max(), squares * t.Sxx.max())) for t in tasks)
    duration = float(stream.uniform(1, 10)) / max(fastest, 0.1)
    phases = [Phase(task, duration=duration) for task in tasks[:-1]]
    return Problem(net, Curriculum([*phases, Phase(tasks[-1])]), weights.from_arrays(net, w0))


def _example() -> Problem:
    """Return two coordinates of w_+^2 - w_-^2 that start at 0, one of them of negative target."""
    x = Input(2)
    first, second = (Parameter(name, (2,), "diagonal") for name in ("w_plus", "w_minus"))
    ones, minus = (Parameter(name, (1, 2), trained=False) for name in ("ones", "minus_ones"))
    net = Network.build(ones @ (first @ (first @ x)) + minus @ (second @ (second @ x)))
    task = _task(np.array([2.0, -1.0]), np.array([1.0, 0.5]))
    half = [0.3, 0.1]
    arrays = {"w_plus": half, "w_minus": half, "ones": [[1, 1]], "minus_ones": [[-1, -1]]}
    return Problem(net, Curriculum.of(task), weights.from_arrays(net, arrays))


LAW = Law(
    name=_NAME,
    title="Diagonal linear network on uncorrelated inputs: one law per coordinate",
    rank="exact",
    assumptions=(
        "a fixed sum of diagonal weights, quadratic in each coordinate; squared error, no decay",
        "the fixed read-outs are all 1 or all -1",
        "the inputs are uncorrelated",
    ),
    outputs=("output", "ntk", "loss", "weights", "learning_time"),
    citations=(
        Citation(
            "woodworth2020",
            "Woodworth, Blake and Gunasekar, Suriya and Lee, Jason D. and Moroshko, Edward and "
            "Savarese, Pedro and Golan, Itay and Soudry, Daniel and Srebro, Nathan",
            "Kernel and Rich Regimes in Overparametrized Models",
            "arXiv preprint",
            2020,
            "the model; the trajectory on uncorrelated inputs is derived here",
            "2002.09277",
        ),
    ),
    test=_test,
    derive=_derive,
    trajectory=_trajectory,
    example=_example,
    draw=_draw,
)
