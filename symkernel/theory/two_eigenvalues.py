r"""Two-layer linear networks on white inputs with $(GJ)^2 + \lambda GJ = c^2$: all matrices.

Semi-orthogonal weights, $W_1^T W_1 = a$, $W_2 W_2^T = b$, $W_2 W_1 = 0$, are of this class with
$\lambda = b - a$, $c^2 = ab$, and stay in it through any curriculum: they are what independent
Gaussian weights become at infinite width. $G - F + K$ with $K = \sqrt{F^2 + c^2}$ obeys the Riccati
equation of balanced weights, with K in place of F.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.codegen.algorithms import PropagatorIntegral
from symkernel.formula import Citation, Derived, Evidence, Formula, Law, Result, Step, Verdict
from symkernel.problem import balanced_weights as weights
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.theory import riccati, two_eigenvalue_flow
from symkernel.theory.gradient_flow import rate_of
from symkernel.theory.gram_checks import draw_semi_orthogonal
from symkernel.theory.gram_observables import (
    gram_formulas,
    gram_result,
    gram_step,
    sizes,
    stacked,
)
from symkernel.theory.gram_state import GramState, gram_verdicts, isotropic_verdict, white_form
from symkernel.theory.lax import C2, LAM, lax_step
from symkernel.theory.mode_state import TOLERANCE
from symkernel.theory.riccati import RiccatiFlow
from symkernel.theory.riccati_path import RiccatiPath, riccati_derived
from symkernel.theory.two_layer import TwoLayer, on_white_inputs
from symkernel.theory.words import Words, derivative

_NAME = "two_eigenvalues"


@dataclass(frozen=True)
class _Derivation:
    """The derivation for one canonical form."""

    form: TwoLayer

    @property
    def matrices(self) -> dict[str, sp.MatrixSymbol]:
        """F, G, K, Y and what Y starts from."""
        m = stacked(self.form)
        own = {name: sp.MatrixSymbol(name, *m["F"].shape) for name in ("K", "Y", "N_0", "G_0")}
        return {"F": m["F"], "G": m["G"], **own}

    @property
    def generator(self) -> sp.BlockMatrix:
        """F in blocks."""
        n_in, n_out, _ = sizes(self.form)
        S = sp.MatrixSymbol("S", n_out, n_in)
        return sp.BlockMatrix(
            [[-LAM / 2 * sp.Identity(n_in), S.T], [S, LAM / 2 * sp.Identity(n_out)]]
        )

    def _check_equation(self) -> Evidence:
        r"""Put the quadratic identity into the rates of the blocks, on white inputs.

        The identity by blocks: $A^2 - W^T W + \lambda A = c^2$, $WA - BW + \lambda W = 0$ and
        $B^2 - WW^T - \lambda B = c^2$.
        """
        flow = on_white_inputs(self.form.flow)
        A, B, W = Words.of("w_1'", "w_1"), Words.of("w_2", "w_2'"), Words.of("w_2", "w_1")
        V, S, T = W.transposed(), Words.of("S"), Words.of("S'")
        kept = {
            "A": A @ A - V @ W + A.scaled(LAM) - Words({(): C2}),
            "W": W @ A - B @ W + W.scaled(LAM),
            "B": B @ B - W @ V - B.scaled(LAM) - Words({(): C2}),
        }
        wanted = {
            "A": (A, T @ W + V @ S - A.scaled(LAM) - A @ A - V @ W + Words({(): C2})),
            "W": (W, S @ A + B @ S - W @ A - B @ W),
            "B": (B, S @ V + W @ T + B.scaled(LAM) - W @ V - B @ B + Words({(): C2})),
        }
        # The rates hold W^T W twice and W A and B W once each: the identity trades them.
        trade = {"A": 1, "W": 0, "B": 1}
        for name, (block, rate) in wanted.items():
            gap = derivative(block, flow) - rate
            rest = gap - kept[name].scaled(sp.Integer(trade[name]))
            if rest.terms:
                return Evidence(False, f"block {name} differs from the flow")
        return Evidence(True, "flow of the three blocks with the identity put in = blocks exactly")

    def _check_shift(self) -> Evidence:
        F, K, Y, c2 = Words.of("F"), Words.of("K"), Words.of("Y"), Words({(): C2})
        G = Y + F - K
        rate = F @ G + G @ F - G @ G + c2
        rules = {
            (("F", False), ("K", False)): Words.of("K", "F"),
            (("K", False), ("K", False)): Words.of("F", "F") + c2,
        }
        gap = (rate - (K @ Y + Y @ K - Y @ Y)).reduced(rules)
        words = "K commutes with F and K^2 = F^2 + c^2: the shifted equations agree exactly"
        return Evidence.of(not gap.terms, words)

    @property
    def flow(self) -> RiccatiFlow:
        """Y as a function of time."""
        m = self.matrices
        return RiccatiFlow(m["K"], m["N_0"], notation.t)

    def formulas(self) -> tuple[Formula, ...]:
        """G with abbreviations, and what is observed."""
        m = self.matrices
        F, K = m["F"], m["K"]
        integral = PropagatorIntegral(K, notation.t)
        short = sp.MatrixSymbol(r"\Phi", *F.shape)
        where = (
            (F, self.generator),
            (K, sp.MatPow(F**2 + C2 * sp.Identity(F.shape[0]), sp.S.Half)),
            (m["N_0"], sp.MatPow(sp.MatAdd(m["G_0"], K, -F), sp.S.Half)),
            (short, integral),
            (m["Y"], self.flow.definition().xreplace({integral: short})),
        )
        gram = sp.MatAdd(m["Y"], F, -K, evaluate=False)
        products = Formula("products of the weights", m["G"], gram, where)
        return (products, *gram_formulas(self.form))

    def steps(self) -> tuple[Step, ...]:
        """Return the steps, each with its check."""
        form, m = self.form, self.matrices
        F, G, K, Y = (m[name] for name in "FGKY")
        one = sp.Identity(F.shape[0])
        riccati_step = Step(
            "Products of the weights",
            "on white inputs; the identity is put into the rates",
            (
                sp.Eq(F, self.generator, evaluate=False),
                sp.Eq(
                    rate_of("G", {"G": G.shape}),
                    sp.MatAdd(F * G, G * F, -G * G, C2 * one, evaluate=False),
                    evaluate=False,
                ),
            ),
            self._check_equation,
        )
        shift = Step(
            "Shift by a fixed point",
            "F - K is a fixed point; what lies above it is positive definite and obeys the Riccati "
            "equation of balanced weights",
            (
                sp.Eq(K**2, sp.MatAdd(F**2, C2 * one), evaluate=False),
                sp.Eq(Y, sp.MatAdd(G, K, -F), evaluate=False),
                sp.Eq(
                    rate_of("Y", {"Y": Y.shape}),
                    sp.MatAdd(K * Y, Y * K, -Y * Y, evaluate=False),
                    evaluate=False,
                ),
            ),
            self._check_shift,
        )
        first = self.formulas()[0]
        solution = Step(
            "Solution",
            "linear fractional in what the shifted products start from",
            tuple(
                sp.Eq(left, right, evaluate=False)
                for left, right in ((first.symbol, first.expression), *first.where)
            ),
            riccati.check_solution,
        )
        flow = (*form.system.steps(), form.step())
        return (*flow, lax_step(form), riccati_step, shift, solution, gram_step(form))

    def result(self) -> Result:
        """Return G and what follows from it."""
        m = self.matrices
        return gram_result(self.form, sp.MatAdd(self.flow, m["F"], -m["K"], evaluate=False))


def _test(problem: Problem) -> tuple[Verdict, ...]:
    found, holds = gram_verdicts(_NAME, problem)
    if not holds:
        return found
    state = GramState.of(problem, isotropic=True)
    if state.decay:
        advice = "leave weight_decay out, or use the law 'reduced_flow'"
        decays = Verdict(_NAME, "no weight decay", False, state.decay, 0.0, advice)
        return (*found, decays)
    _, far = two_eigenvalue_flow.fitted(state.compact, state.n_inputs)
    member = Verdict(
        _NAME,
        "the products of the weights obey (GJ)^2 + lambda GJ = c^2",
        far <= TOLERANCE,
        far,
        TOLERANCE,
        "start from sk.weights.semi_orthogonal, or use the law 'reduced_flow'",
    )
    return (*found, isotropic_verdict(_NAME, state), member)


def _derive(problem: Problem) -> Derived:
    derivation, flow = _Derivation(white_form(problem)), two_eigenvalue_flow
    return riccati_derived(derivation, flow.limits(), flow.check_precision)


def _path(problem: Problem) -> RiccatiPath:
    """Return the way through the phases, without the shift: K - F would leave its rounding in G."""
    state = GramState.of(problem, isotropic=True)
    kind, _ = two_eigenvalue_flow.fitted(state.compact, state.n_inputs)
    return RiccatiPath(state, kind.lam, kind.source, "start from larger weights")


def _example() -> Problem:
    """Return two tasks that do not commute, learned from semi-orthogonal weights."""
    stream = np.random.default_rng(1000)
    tasks = [
        Task.from_moments(np.eye(3), syx, syx @ syx.T) for syx in stream.standard_normal((2, 2, 3))
    ]
    net = Network.two_layer(inputs=3, hidden=6, outputs=2)
    w0 = weights.semi_orthogonal(net, a=0.3, b=0.1, seed=1000)
    return Problem(net, Curriculum([Phase(tasks[0], duration=2.0), Phase(tasks[1])]), w0)


LAW = Law(
    name=_NAME,
    title="Two-layer linear network on white inputs, two-eigenvalue class: matrix solution",
    rank="exact",
    assumptions=(
        "two dense linear layers, both trained, at any rates; squared error without weight decay",
        "input covariance a multiple of the identity, the same in all phases",
        "(GJ)^2 + lambda GJ = c^2 of the products of the weights, as from semi-orthogonal weights",
    ),
    outputs=("output", "hidden_gram", "ntk", "readout_gram", "loss"),
    citations=(
        Citation(
            "tu2024",
            "Tu, Zhenfeng and Aranguri, Santiago and Jacot, Arthur",
            "Mixed Dynamics In Linear Networks: Unifying the Lazy and Active Regimes",
            "Advances in Neural Information Processing Systems 37",
            2024,
            "the equation of the output map, approximate for Gaussian weights of finite width; "
            "the class and its solution are derived here",
            "2405.17580",
        ),
    ),
    test=_test,
    derive=_derive,
    trajectory=lambda problem, times: _path(problem).trajectory(times),
    example=_example,
    draw=draw_semi_orthogonal,
    weights=lambda problem, times, rtol: _path(problem).weights(times, rtol),
)
