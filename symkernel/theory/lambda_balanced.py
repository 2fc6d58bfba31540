r"""Two-layer linear networks on white inputs with $W_2^T W_2 - W_1 W_1^T = \lambda$: all matrices.

The stacked weights $Q = [w_1^T; w_2]$ obey $\dot Q = FQ - \frac12 QQ^TQ$, so that
$G = QQ^T$ obeys a matrix Riccati equation with a closed solution, whatever the dimensions, the
rank of the task, repeated singular values and alignment.
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
from symkernel.theory import riccati
from symkernel.theory.gradient_flow import rate_of
from symkernel.theory.gram_checks import draw_balanced, riccati_limits
from symkernel.theory.gram_observables import (
    gram_formulas,
    gram_result,
    gram_step,
    sizes,
    stacked,
)
from symkernel.theory.gram_state import GramState, gram_verdicts, isotropic_verdict, white_form
from symkernel.theory.lax import LAM as _LAM
from symkernel.theory.mode_state import TOLERANCE
from symkernel.theory.riccati import RiccatiFlow
from symkernel.theory.riccati_path import RiccatiPath, riccati_derived
from symkernel.theory.two_layer import TwoLayer, on_white_inputs
from symkernel.theory.words import Words, derivative

_NAME = "lambda_balanced"
_PHI = r"\Phi"


@dataclass(frozen=True)
class _Derivation:
    """The derivation for one canonical form."""

    form: TwoLayer

    @property
    def imbalance(self) -> sp.Expr:
        """Lambda; weight decay shrinks any other than 0, and F would move."""
        return _LAM if self.form.decay == 0 else sp.S.Zero

    @property
    def generator(self) -> sp.BlockMatrix:
        """F in blocks."""
        n_in, n_out, _ = sizes(self.form)
        S = sp.MatrixSymbol("S", n_out, n_in)
        half, decay = self.imbalance / 2, self.form.decay
        return sp.BlockMatrix(
            [[(-half - decay) * sp.Identity(n_in), S.T], [S, (half - decay) * sp.Identity(n_out)]]
        )

    @property
    def flow(self) -> RiccatiFlow:
        """G as a function of time."""
        m = stacked(self.form)
        return RiccatiFlow(m["F"], m["Q_0"], notation.t)

    def gaps(self) -> dict[str, Words]:
        r"""Return $\dot G - FG - GF + G^2$ by blocks, on white inputs, the conserved matrix used.

        All are empty exactly if the canonical flow leads to the Riccati equation.
        """
        rule = {
            (("w_2", True), ("w_2", False)): Words.of("w_1", "w_1'") + Words({(): self.imbalance})
        }
        flow = on_white_inputs(self.form.flow)
        A, B, W = Words.of("w_1'", "w_1"), Words.of("w_2", "w_2'"), Words.of("w_2", "w_1")
        S, T, V = Words.of("S"), Words.of("S'"), W.transposed()
        top = Words({(): -self.imbalance / 2 - self.form.decay})
        low = Words({(): self.imbalance / 2 - self.form.decay})
        wanted = {
            "A": (A, top @ A + T @ W + A @ top + V @ S - A @ A - V @ W),
            "W": (W, S @ A + low @ W + W @ top + B @ S - W @ A - B @ W),
            "B": (B, S @ V + low @ B + W @ T + B @ low - W @ V - B @ B),
        }
        return {
            name: (derivative(block, flow) - rate).reduced(rule)
            for name, (block, rate) in wanted.items()
        }

    def _check_products(self) -> Evidence:
        wrong = [name for name, gap in self.gaps().items() if gap.terms]
        return Evidence(
            not wrong,
            f"the blocks {', '.join(wrong)} differ from the flow"
            if wrong
            else "flow of the three products with the conserved matrix put in = blocks of the "
            "Riccati equation exactly",
        )

    def steps(self) -> tuple[Step, ...]:
        """Return the steps, each with its check."""
        form, m = self.form, stacked(self.form)
        shapes = form.shapes
        w1, w2 = (sp.MatrixSymbol(n, *shapes[n]) for n in ("w_1", "w_2"))
        F, G = m["F"], m["G"]
        kept = self.imbalance * sp.Identity(sizes(form)[2])
        products = Step(
            "Products of the weights",
            "on white inputs, with the conserved matrix a multiple of the identity, the products "
            "of the stacked weights obey a closed Riccati equation",
            (
                sp.Eq(w2.T * w2 - w1 * w1.T, kept, evaluate=False),
                sp.Eq(m["Q"], sp.BlockMatrix([[w1.T], [w2]]), evaluate=False),
                sp.Eq(G, m["Q"] * m["Q"].T, evaluate=False),
                sp.Eq(F, self.generator, evaluate=False),
                sp.Eq(
                    rate_of("G", {"G": G.shape}),
                    sp.MatAdd(F * G, G * F, -G * G, evaluate=False),
                    evaluate=False,
                ),
            ),
            self._check_products,
        )
        solution = Step(
            "Solution",
            "linear fractional in the initial products; the integral is entire in F, so that F may "
            "be singular",
            tuple(
                sp.Eq(left, right, evaluate=False)
                for formula in self.formulas()[:1]
                for left, right in ((formula.symbol, formula.expression), *formula.where)
            ),
            riccati.check_solution,
        )
        return (*form.system.steps(), form.step(), products, solution, gram_step(form))

    def formulas(self) -> tuple[Formula, ...]:
        """G with abbreviations, and what is observed."""
        m = stacked(self.form)
        integral = PropagatorIntegral(m["F"], notation.t)
        short = sp.MatrixSymbol(_PHI, *m["F"].shape)
        definition = self.flow.definition().xreplace({integral: short})
        where = ((m["F"], self.generator), (short, integral))
        products = Formula("products of the weights", m["G"], definition, where)
        return (products, *gram_formulas(self.form))

    def result(self) -> Result:
        """G and what follows from it."""
        return gram_result(self.form, self.flow)


def _derive(problem: Problem) -> Derived:
    derivation = _Derivation(white_form(problem))
    return riccati_derived(derivation, riccati_limits(), riccati.check_precision)


def _test(problem: Problem) -> tuple[Verdict, ...]:
    found, holds = gram_verdicts(_NAME, problem)
    if not holds:
        return found
    state = GramState.of(problem, isotropic=True)
    size = state.size or 1.0
    lam, far = (value / size for value in state.imbalance)
    balance = Verdict(
        _NAME,
        "W2^T W2 - W1 W1^T is a multiple of the identity",
        far <= TOLERANCE,
        far,
        TOLERANCE,
        "start from sk.weights.balanced or sk.weights.lambda_balanced",
    )
    if state.decay:
        decayed = abs(lam)
        words = "under weight decay that multiple is 0"
        advice = "start from sk.weights.balanced, or leave the weight decay out"
        zero = Verdict(_NAME, words, decayed <= TOLERANCE, decayed, TOLERANCE, advice)
        return (*found, isotropic_verdict(_NAME, state), balance, zero)
    return (*found, isotropic_verdict(_NAME, state), balance)


def _path(problem: Problem) -> RiccatiPath:
    """Return the way through the phases; under weight decay lambda is 0 but for rounding."""
    state = GramState.of(problem, isotropic=True)
    advice = "start with an imbalance (sk.weights.lambda_balanced with lam != 0)"
    return RiccatiPath(state, 0.0 if state.decay else state.imbalance[0], 0.0, advice)


def _example() -> Problem:
    """Return two tasks that do not commute, with fewer hidden units than modes."""
    stream = np.random.default_rng(1000)
    first, second = stream.standard_normal((2, 2, 3))
    tasks = [Task.from_moments(np.eye(3), syx, syx @ syx.T) for syx in (first, second)]
    net = Network.two_layer(inputs=3, hidden=2, outputs=2)
    w0 = weights.lambda_balanced(net, lam=0.1, scale=0.3, seed=1000)
    return Problem(net, Curriculum([Phase(tasks[0], duration=2.0), Phase(tasks[1])]), w0)


LAW = Law(
    name=_NAME,
    title="Two-layer linear network on white inputs, lambda-balanced: matrix Riccati solution",
    rank="exact",
    assumptions=(
        "two dense linear layers, both trained, at any rates; squared error",
        "input covariance a multiple of the identity, the same in all phases",
        "W2^T W2 - W1 W1^T a multiple of the identity; 0 under weight decay",
    ),
    outputs=("output", "hidden_gram", "ntk", "readout_gram", "loss"),
    citations=(
        Citation(
            "fukumizu1998",
            "Fukumizu, Kenji",
            "Effect of Batch Learning in Multilayer Neural Networks",
            "International Conference on Neural Information Processing (ICONIP)",
            1998,
            "the Riccati form, balanced",
        ),
        Citation(
            "braun2022",
            "Braun, Lukas and Dominé, Clémentine C. J. and Fitzgerald, James E. and "
            "Saxe, Andrew M.",
            "Exact learning dynamics of deep linear networks with prior knowledge",
            "Advances in Neural Information Processing Systems 35",
            2022,
            "balanced weights; the form here needs no inverse of F or of blocks of the weights",
        ),
        Citation(
            "domine2025",
            "Dominé, Clémentine C. J. and Anguita, Nicolas and Proca, Alexandra M. and "
            "Braun, Lukas and Kunin, Daniel and Mediano, Pedro A. M. and Saxe, Andrew M.",
            "From Lazy to Rich: Exact Learning Dynamics in Deep Linear Networks",
            "International Conference on Learning Representations",
            2025,
            "lambda-balanced weights",
            "2409.14623",
        ),
    ),
    test=_test,
    derive=_derive,
    trajectory=lambda problem, times: _path(problem).trajectory(times),
    example=_example,
    draw=draw_balanced,
    weights=lambda problem, times, rtol: _path(problem).weights(times, rtol),
)
