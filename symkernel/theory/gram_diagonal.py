r"""Two-layer linear networks whose modes do not overlap: arbitrary imbalance, exact weights.

With $p_i = W_1 v_i$, $q_i = W_2^T u_i$ and $p_i\cdot p_j = q_i\cdot q_j = p_i\cdot q_j = 0$ for
$i \ne j$ the two sides of a mode need not be parallel: $\alpha = |p|^2$, $\beta = |q|^2$ and
$w = p\cdot q$ are arbitrary, and so are the rates of the two layers. Wide networks that start at
the zero map ($w = 0$) are of this class.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.formula import Derived, Evidence, Formula, Law, Result, Step, Verdict
from symkernel.problem import weights
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.theory.aligned_modes import SAXE2014
from symkernel.theory.hyperbolic import (
    P_SIDE,
    P_START,
    Q_SIDE,
    Q_START,
    ModeSolution,
    Sides,
)
from symkernel.theory.mode_checks import check_precision, draw_gram_diagonal, mode_limits
from symkernel.theory.mode_flow import ModeFlow, mode_flow
from symkernel.theory.mode_numbers import mode_numbers
from symkernel.theory.mode_observables import layer_rates, layer_scales, observable_step
from symkernel.theory.mode_path import trajectory_of
from symkernel.theory.mode_phases import per_mode
from symkernel.theory.mode_state import ModeState, mode_verdicts
from symkernel.theory.mode_values import ModeValues, as_index, mode_values
from symkernel.theory.stable_modes import side_routine

_NAME = "gram_diagonal"
_TIME = notation.t
_ALPHA = notation.symbol("alpha", r"\alpha", "initial squared input side, |p|^2", nonnegative=True)
_BETA = notation.symbol("beta", r"\beta", "initial squared output side, |q|^2", nonnegative=True)
_W = notation.w


@dataclass(frozen=True)
class _Law:
    r"""The law for one choice of $P_0$, $Q_0$ and $|p|^2 - |q|^2$, which is conserved."""

    modes: ModeFlow
    P0: sp.Expr
    Q0: sp.Expr
    difference: sp.Expr

    @classmethod
    def of(cls, modes: ModeFlow, alpha: sp.Expr, beta: sp.Expr, w: sp.Expr) -> _Law:
        """Return the law for the products of the two sides at the start."""
        beta, w = modes.ratio**2 * beta, modes.ratio * w
        return cls(modes, alpha + beta + 2 * w, alpha + beta - 2 * w, alpha - beta)

    @cached_property
    def solution(self) -> ModeSolution:
        """The solution in terms of its growth z."""
        return ModeSolution(self.modes, Sides(self.P0, self.Q0))

    def result(self) -> Result:
        """Return the mode-level laws as plain SymPy in time."""
        mean, half = _mean(self.solution), self.difference / 2
        return _result(self.modes, self.solution, mean + half, (mean - half) / self.modes.ratio**2)

    def at_end(self, values: ModeValues, duration: sp.Expr) -> dict[sp.Symbol, sp.Expr]:
        """Return P0 and Q0 at the end of a phase of this duration."""
        growth = values.in_law(self.solution.of_growth(notation.z)).xreplace({_TIME: duration})
        return {
            notation.P0: values.in_law(self.P0) * growth,
            notation.Q0: values.in_law(self.Q0) / growth,
        }


def _result(modes: ModeFlow, solution: ModeSolution, first: sp.Expr, second: sp.Expr) -> Result:
    plain = solution.of_growth
    inner, outer = layer_scales(modes)
    fast, slow = layer_rates(modes)
    output = plain(modes.scale * solution.overlap)
    wanted = modes.scale * modes.sigma / modes.delta
    even, odd = plain(solution.even), plain(solution.odd)
    return Result(
        {
            "output": output,
            "even": even,
            "odd": odd,
            "hidden_gram": inner**2 * plain(first),
            "readout_gram": plain(second),
            "ntk": inner**2 * outer**2 * plain(slow * first + fast * second),
            "loss": modes.system.loss.factor * notation.d * (wanted - output) ** 2,
        }
    )


def _entries_step(solution: ModeSolution, ratio: sp.Expr) -> Step:
    """State the squared lengths of the sides, and prove them from the rotation."""
    z = notation.z
    # Of the general law: the scaled output side has rho^2 times the squared length.
    square = ratio**2
    mean, difference = _mean(solution), (_ALPHA - square * _BETA) / 2
    p, q = sp.Function("p")(_TIME), sp.Function("q_out")(_TIME)

    def check() -> Evidence:
        dots = {"pp": _ALPHA, "qq": square * _BETA, "pq": ratio * _W}
        even, odd = solution.even, solution.odd
        first = dots["pp"] * even**2 + 2 * dots["pq"] * even * odd + dots["qq"] * odd**2
        second = dots["qq"] * even**2 + 2 * dots["pq"] * even * odd + dots["pp"] * odd**2
        cross = (dots["pp"] + dots["qq"]) * even * odd + dots["pq"] * (even**2 + odd**2)
        gaps = (
            first - mean - difference,
            second - mean + difference,
            cross - solution.overlap,
        )
        same = all(sp.expand(gap) == 0 for gap in gaps)
        return Evidence.of(same, "lengths and overlap of the rotated sides: difference exactly 0")

    return Step(
        "Lengths of the sides",
        "squared lengths of the rotated sides; their difference is the conserved quantity",
        (
            sp.Eq(p**2, mean + difference, evaluate=False),
            sp.Eq(q**2, mean - difference, evaluate=False),
            sp.Eq(z, sp.exp(2 * notation.phi), evaluate=False),
        ),
        check,
    )


def _mean(solution: ModeSolution) -> sp.Expr:
    """Return half the sum of the squared lengths of the sides, in z."""
    z = notation.z
    return (solution.sides.P0 * z + solution.sides.Q0 / z) / 4


def _invariance_step() -> Step:
    """Show that modes without overlap stay without overlap."""
    names = [sp.Function(n)(_TIME) for n in ("p_i", "q_i", "p_j", "q_j")]
    gi, gj = sp.symbols("g_i g_j", real=True)
    p_i, q_i, p_j, q_j = names
    rates = {p_i: gi * q_i, q_i: gi * p_i, p_j: gj * q_j, q_j: gj * p_j}
    pairs = (p_i * p_j, p_i * q_j, q_i * p_j, q_i * q_j)

    def moved(pair: sp.Expr) -> sp.Expr:
        return sp.expand(pair.diff(_TIME).subs({f.diff(_TIME): r for f, r in rates.items()}))

    def check() -> Evidence:
        marks = sp.symbols("x0:4")
        for pair in pairs:
            rest = moved(pair).subs(dict(zip(pairs, marks, strict=True)), simultaneous=True)
            linear = rest.subs(dict.fromkeys(marks, 0))
            if linear != 0:
                return Evidence(False, "overlaps between modes are driven by something else")
        return Evidence(True, "rates of the 4 overlaps are linear in them: 0 stays 0 exactly")

    return Step(
        "Modes stay apart",
        "the rates of the overlaps between two modes are linear in these overlaps, so they stay 0",
        tuple(sp.Eq(pair.diff(_TIME), moved(pair), evaluate=False) for pair in pairs[:2]),
        check,
        tuple(
            (sp.Symbol(f"{letter}_{k}"), f"{words} of mode {k}")
            for k in "ij"
            for letter, words in (("p", "input side"), ("q", "output side"), ("g", "drive"))
        ),
    )


def _formulas(solution: ModeSolution, modes: ModeFlow) -> tuple[Formula, ...]:
    growth, z = solution.growth, notation.z
    where = (*growth.where, (z, growth.expression))
    even, odd, ratio = solution.even, solution.odd, modes.ratio
    return (
        Formula("output mode", notation.u, modes.scale * solution.overlap, where),
        Formula("input side", P_SIDE, P_START * even + ratio * Q_START * odd, where),
        Formula("output side", Q_SIDE, Q_START * even + P_START / ratio * odd, where),
    )


def _derive(problem: Problem) -> Derived:
    modes = mode_flow(problem)
    law = _Law.of(modes, _ALPHA, _BETA, _W)
    solution = law.solution
    bound = per_mode(
        problem,
        modes,
        law,
        lambda index, phase: _values(problem, modes, index, phase),
        _fitting,
    )

    def steps() -> tuple[Step, ...]:
        return (
            *modes.system.steps(),
            modes.projection_step(),
            _invariance_step(),
            *solution.steps(),
            _entries_step(solution, modes.ratio),
            observable_step(modes, aligned=False),
        )

    tried = modes.tried
    return Derived(
        steps=steps,
        result=law.result,
        formulas=lambda: _formulas(solution, modes),
        routine=lambda: side_routine(modes),
        limits=mode_limits(modes),
        precision=lambda stream, draws: check_precision(tried, side_routine(tried), stream, draws),
        **bound,
        numbers=mode_numbers,
    )


def _fitting(modes: ModeFlow, values: ModeValues) -> _Law:
    """Return the law that fits the sides; in a later phase these are given by P0 and Q0."""
    alpha, beta, w = values[_ALPHA], values[_BETA], values[_W]
    if notation.P0 in values.entry:
        P0, Q0 = (q if values[q] != 0 else sp.S.Zero for q in (notation.P0, notation.Q0))
        return _Law(modes, P0, Q0, _ALPHA - modes.ratio**2 * _BETA)
    if values.are_numbers or alpha == beta == 0:
        return _Law.of(modes, alpha, beta, w)
    return _Law.of(modes, _ALPHA, _BETA, _W)


def _values(problem: Problem, modes: ModeFlow, index: int, phase: int) -> ModeValues:
    """Return strength, variance and the initial products of the two sides of a mode."""
    amplitudes = problem.weights.amplitudes
    aligned = amplitudes is not None and amplitudes.fit(problem.curriculum.phases[0].task)
    if not problem.is_numeric_but_for_durations or (aligned and not problem.is_numeric):
        given = mode_values(problem, index, phase)
        a, b = given[notation.a0], given[notation.b0]
        return ModeValues({**given.entry, _ALPHA: a**2, _BETA: b**2, _W: a * b})
    state = ModeState.of(problem)
    index = as_index(index, state.basis.rank_bound)
    p, q = state.p[:, index], state.q[:, index] / float(modes.ratio)
    numbers = (state.basis.s[phase][index], state.basis.d[phase][index], p @ p, q @ q, p @ q)
    symbols = (notation.s, notation.d, _ALPHA, _BETA, _W)
    return ModeValues({q: sp.Float(float(n)) for q, n in zip(symbols, numbers, strict=True)})


def _test(problem: Problem) -> tuple[Verdict, ...]:
    return mode_verdicts(_NAME, problem, aligned=False)


def _example() -> Problem:
    """Return a curriculum of two commuting tasks, learned from sides that are not parallel."""
    first, second = Task.from_modes([2.0, 1.0]), Task.from_modes([1.0, 2.0])
    net = Network.two_layer(inputs=2, hidden=5, outputs=2)
    frame = np.linalg.qr(np.random.default_rng(1000).standard_normal((5, 5)))[0]
    W1 = frame[:, :2] * [0.1, 0.3]
    W2 = (frame[:, 2:4] * [0.2, 0.1] + frame[:, :2] * [0.05, -0.1]).T
    w0 = weights.from_arrays(net, [W1, W2])
    return Problem(net, Curriculum([Phase(first, duration=3.0), Phase(second)]), w0)


LAW = Law(
    name=_NAME,
    title="Two-layer linear network, modes that do not overlap: any imbalance, any curriculum",
    rank="exact",
    assumptions=(
        "two dense linear layers, both trained at rates of their own, squared error, no decay",
        "all tasks of the curriculum are diagonal in one pair of bases",
        "different modes do not overlap in the hidden layer",
    ),
    outputs=(
        "output",
        "hidden",
        "hidden_gram",
        "ntk",
        "pseudo_kernel",
        "loss",
        "weights",
        "learning_time",
    ),
    citations=(replace(SAXE2014, place="the aligned case; the class itself is derived here"),),
    test=_test,
    derive=_derive,
    trajectory=trajectory_of,
    example=_example,
    draw=draw_gram_diagonal,
)
