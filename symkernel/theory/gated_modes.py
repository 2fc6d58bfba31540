r"""Two-layer gated linear networks with one pathway: shared layers learn faster.

A weight of the first layer serves $m_1$ of $K$ contexts, one of the second $m_2$. The amplitudes
obey $\dot a = c_1 b\,g$, $\dot b = c_2 a\,g$ with $c_l = m_l/K$; over the roots of these shares
both sides feed each other at one rate, so that a mode is solved like one of a plain network with

$\dot u = \frac{2\sqrt{m_1 m_2}}{K}\,u\,(s - d u)$ where the sides are balanced.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.codegen.elementwise import ElementwiseRoutine, Lowered, compile_elementwise
from symkernel.environments.contexts import contexts
from symkernel.formula import Citation, Derived, Evidence, Formula, Law, Result, Step, Verdict
from symkernel.identities import vanishes
from symkernel.problem import pathways
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.modes import Basis
from symkernel.problem.pathways import Pathway
from symkernel.problem.problem import Problem
from symkernel.theory.gated_checks import rate_limits
from symkernel.theory.gated_draws import draw_gated
from symkernel.theory.gated_path import gated_trajectory
from symkernel.theory.hyperbolic import OVERLAP, U0, ModeSolution, Sides
from symkernel.theory.mode_checks import check_precision, mode_limits
from symkernel.theory.mode_flow import ModeFlow
from symkernel.theory.mode_path import mode_trajectory
from symkernel.theory.mode_phases import per_mode
from symkernel.theory.mode_state import TOLERANCE, ModeState
from symkernel.theory.mode_values import ModeValues, as_index
from symkernel.theory.pathway_flow import PathwayFlow, equal_sides
from symkernel.theory.pathway_numbers import gated_numbers
from symkernel.theory.pathway_state import PathwayState
from symkernel.theory.pathway_verdicts import ONE_CONTEXT, TASKS, pathway_verdicts
from symkernel.theory.solutions import written_out
from symkernel.theory.stable_modes import lower_modes
from symkernel.trajectory import Trajectory

_NAME = "gated_modes"
_A0, _B0, _TIME = notation.a0, notation.b0, notation.t
_ROUNDING = 1e-13

CITATION = Citation(
    "saxe2022",
    "Saxe, Andrew and Sodhani, Shagun and Lewallen, Sam Jay",
    "The Neural Race Reduction: Dynamics of Abstraction in Gated Networks",
    "Proceedings of the 39th International Conference on Machine Learning, PMLR 162:19287-19309",
    2022,
    "gated deep linear networks and their reduction; the formulas here are derived here",
    "2207.10430",
)


@dataclass(frozen=True)
class _Derivation:
    """The law for one choice of initial sides, in units of the roots of their shares."""

    flow: PathwayFlow
    modes: ModeFlow
    a0: sp.Expr
    b0: sp.Expr

    @cached_property
    def solution(self) -> ModeSolution:
        """The solution in terms of its growth z."""
        squares = (sp.factor((self.a0 + side * self.b0) ** 2) for side in (1, -1))
        return ModeSolution(self.modes, Sides(*squares))

    @property
    def roots(self) -> tuple[sp.Expr, sp.Expr]:
        """Roots of the shares of the two layers."""
        first, second = map(sp.sqrt, self.flow.shares[0])
        return first, second

    @cached_property
    def output(self) -> sp.Expr:
        """The mode of the end-to-end map in time."""
        textbook = self.solution.textbook
        if textbook is not None:
            # With numbers the sides are known; the law's own symbol is the mode itself.
            start = U0 if self.a0 == _A0 else self.modes.scale * self.a0 * self.b0
            return written_out(textbook.expression, textbook.where).subs(U0, start)
        return self.solution.of_growth(self.modes.scale * self.solution.overlap)

    def result(self) -> Result:
        """Return the mode-level laws as plain SymPy in time."""
        plain, (even, odd) = self.solution.of_growth, (self.solution.even, self.solution.odd)
        sides = (self.a0 * even + self.b0 * odd, self.b0 * even + self.a0 * odd)
        first, second = (
            root * plain(sp.expand(side)) for root, side in zip(self.roots, sides, strict=True)
        )
        wanted = notation.s / notation.d
        loss = self.flow.system.loss.factor * notation.d * (wanted - self.output) ** 2
        return Result(
            {"output": self.output, "input_side": first, "output_side": second, "loss": loss}
        )

    def formulas(self) -> tuple[Formula, ...]:
        """Return the law of the mode with abbreviations, as it is printed."""
        textbook = self.solution.textbook
        if textbook is not None:
            return (Formula("output mode", notation.u, textbook.expression, textbook.where),)
        growth, scale = self.solution.growth, self.modes.scale
        where = (*growth.where, (notation.z, growth.expression))
        return (Formula("output mode", notation.u, scale * self.solution.overlap, where),)

    def at_end(self, values: ModeValues, duration: sp.Expr) -> dict[sp.Symbol, sp.Expr]:
        """Return the sides at the end of a phase."""
        root = values.in_law(self.solution.of_growth(sp.sqrt(notation.z)))
        root = root.xreplace({_TIME: duration})
        plus = values.in_law(self.a0 + self.b0) * root
        minus = values.in_law(self.a0 - self.b0) / root
        return {_A0: (plus + minus) / 2, _B0: (plus - minus) / 2}

    def steps(self) -> tuple[Step, ...]:
        """Return all steps, from the pathways to the mode."""
        return (
            *self.flow.system.steps(),
            self.flow.projection_step(),
            self.flow.balance_step(),
            self._sides_step(),
            *self.solution.steps(),
            self._mode_step(),
        )

    def _sides_step(self) -> Step:
        (a, b), (first, second) = self.flow.amplitudes[0], self.roots
        drive = sp.Symbol("g", real=True)

        def check() -> Evidence:
            overlap = a * b / (first * second)
            rate = self.modes.sigma - self.modes.delta * overlap
            gaps = (
                self.flow.rate(0, 0) / first - rate * b / second,
                self.flow.rate(0, 1) / second - rate * a / first,
                self.flow.modes[0] - self.modes.scale * overlap,
            )
            same = all(sp.expand(gap) == 0 for gap in gaps)
            return Evidence.of(same, "both sides feed each other at one rate: difference exactly 0")

        p, q = sp.Function("p")(_TIME), sp.Function("q_out")(_TIME)
        return Step(
            "Sides of equal rate",
            "amplitudes over the roots of their layers' shares; the overlap is their product",
            (
                sp.Eq(p, a / first, evaluate=False),
                sp.Eq(q, b / second, evaluate=False),
                sp.Eq(drive, self.modes.sigma - self.modes.delta * OVERLAP, evaluate=False),
                sp.Eq(p.diff(_TIME), drive * q, evaluate=False),
                sp.Eq(q.diff(_TIME), drive * p, evaluate=False),
            ),
            check,
        )

    def _mode_step(self) -> Step:
        u = sp.Function("u")(_TIME)
        rate = self.modes.balanced_rate
        general = ModeSolution(self.modes, Sides(notation.P0, sp.S.Zero))

        def check() -> Evidence:
            _, closed, _ = general.closed_equation()
            # The root of u^2, on the side u >= 0 where balanced sides are.
            upper = closed.subs(notation.u, sp.Symbol("u", positive=True))
            if sp.expand(upper - rate.subs(notation.u, sp.Symbol("u", positive=True))) != 0:
                return Evidence(False, "the balanced mode does not obey the equation")
            growth = general.growth
            through = (self.modes.scale * general.overlap).subs(notation.z, growth.expression)
            solved = general.textbook
            assert solved is not None
            gap = through - solved.expression.subs(U0, self.modes.scale * notation.P0 / 4)
            same = vanishes(gap) and solved.prove().passed
            return Evidence.of(same, "equation and sigmoid of the balanced mode: exactly 0")

        return Step(
            "Mode of the end-to-end map",
            "the overlap of the sides times the factor of the parameterisation; balanced sides "
            "leave one equation",
            (sp.Eq(u.diff(_TIME), sp.factor(rate).subs(notation.u, u), evaluate=False),),
            check,
        )


@dataclass(frozen=True)
class SideRoutine:
    """The compiled law of a mode's sides: one module for any sharing, K and loss factor.

    Attributes
    ----------
    modes : ModeFlow
        Whose drive is given to the module as numbers.
    """

    modes: ModeFlow

    @property
    def source(self) -> str:
        """The module that is compiled."""
        return _side_routine().source

    @property
    def lowered(self) -> Lowered:
        """What is compiled, with the rules that led to it."""
        return _side_routine().lowered

    @property
    def rewritings(self) -> tuple[Any, ...]:
        """The rules that led from the derived formula to it."""
        return self.lowered.rewritings

    def __call__(self, times: Any, s: Any, d: Any, *sides: Any) -> dict[str, np.ndarray]:
        """Return overlap, growth and odd part, (n_times, n_modes); see `stable_modes`."""
        factors = (self.modes.sigma / notation.s, self.modes.delta / notation.d)
        drive = (
            float(factor) * np.asarray(q, dtype=float)
            for factor, q in zip(factors, (s, d), strict=True)
        )
        return _side_routine()(times, *drive, *sides)


@cache
def _side_routine() -> ElementwiseRoutine:
    initial = {name: sp.Symbol(f"{name}_start", real=True) for name in ("w", "m", "P0", "Q0")}
    sigma, delta = sp.symbols("sigma_mode delta_mode", real=True)
    lowered = lower_modes((sigma, delta, *initial.values()), sigma, delta, initial)
    return compile_elementwise(lowered)


def _values(state: PathwayState, index: int, phase: int) -> ModeValues:
    index = as_index(index, state.s.shape[1])
    a, b = _scaled(state)[:, index]
    # Weights are balanced to the last digits only; the law is much shorter where they are.
    b = a if abs(a - b) <= _ROUNDING * abs(a) else b
    numbers = (state.s[phase, index], state.d[phase, index], a, b)
    symbols = (notation.s, notation.d, _A0, _B0)
    return ModeValues({q: sp.Float(float(n)) for q, n in zip(symbols, numbers, strict=True)})


def _scaled(state: PathwayState) -> np.ndarray:
    """Return the sides over the roots of their shares, (2, n_modes)."""
    return state.amplitudes[0] / np.sqrt(state.shares[0])[:, None]


def _derive(problem: Problem) -> Derived:
    state = PathwayState.of(problem)
    modes = equal_sides(state.flow)
    balanced = state.unbalanced <= TOLERANCE and (state.modes >= 0).all()
    derivation = _Derivation(state.flow, modes, _A0, _A0 if balanced else _B0)

    def fitting(there: ModeFlow, values: ModeValues) -> _Derivation:
        return _Derivation(state.flow, there, values[_A0], values[_B0])

    bound = per_mode(problem, modes, derivation, lambda i, phase: _values(state, i, phase), fitting)
    tried = modes.tried
    return Derived(
        steps=derivation.steps,
        result=derivation.result,
        formulas=derivation.formulas,
        routine=lambda: SideRoutine(modes),
        limits=(*mode_limits(modes), *rate_limits(state.flow, modes)),
        precision=lambda stream, draws: check_precision(tried, SideRoutine(tried), stream, draws),
        numbers=gated_numbers,
        **bound,
    )


def _structure(found: tuple[Pathway, ...]) -> str:
    if len(found) == 1 and len(found[0].layers[0]) == 1:
        return ONE_CONTEXT
    if len(found) != 1 or found[0].depth != 2:
        return "this law is of one pathway of two layers; see the law 'neural_race'"
    return ""


def _test(problem: Problem) -> tuple[Verdict, ...]:
    return pathway_verdicts(_NAME, problem, _structure)


def _trajectory(problem: Problem, times: Any) -> Trajectory:
    state = PathwayState.of(problem)
    modes = equal_sides(state.flow)
    count = state.s.shape[1]
    frame = np.eye(count)
    basis = Basis(frame, frame, state.s, state.d, state.rounding)
    a, b = _scaled(state)
    # In its frames the pathway is a network of one unit for each mode.
    sides = np.diag(a), np.diag(b)
    small = ModeState(problem, modes, basis, sides, sides)
    found = mode_trajectory(small, times, SideRoutine(modes))
    diagonal = [
        np.sqrt(share) * np.einsum("tii->ti", found.weights[name])
        for share, name in zip(state.shares[0], (modes.first, modes.second), strict=True)
    ]
    return gated_trajectory(state, found.times, [np.stack(diagonal)], found.modes)


def _example() -> Problem:
    task = contexts(4, [2.0, 1.0], inputs=3, outputs=2, seed=1000)
    net = pathways.network(3, 4, 2, contexts=4)
    w0 = pathways.aligned(net, task, u=[0.02, 0.05], seed=1000)
    return Problem(net, Curriculum.of(task), w0)


LAW = Law(
    name=_NAME,
    title="Gated two-layer linear network, one pathway: shared layers learn faster",
    rank="exact",
    assumptions=(
        "two trained dense layers in every context, gates open or closed for a whole layer, "
        "squared error without weight decay",
        *TASKS,
        "weights are aligned with the modes, alike in all contexts",
    ),
    outputs=("output", "loss", "weights", "learning_time"),
    citations=(CITATION,),
    test=_test,
    derive=_derive,
    trajectory=_trajectory,
    example=_example,
    draw=draw_gated,
)
