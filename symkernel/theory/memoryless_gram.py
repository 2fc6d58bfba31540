r"""Two-layer linear networks whose products of weights are functions of the end-to-end map alone.

With $G = QQ^T$, $Q = [w_1^T; w_2]$, $J = \mathrm{diag}(1, -1)$ the flow of any loss moves $GJ$ by a
Lax pair, $(GJ)^\cdot = [\Gamma, GJ]$, so that a polynomial identity of $GJ$ is kept. If it is
quadratic, $(GJ)^2 + \lambda GJ = c_2$, its blocks can be solved for $w_1^Tw_1$ and $w_2w_2^T$, and
the end-to-end map obeys a closed equation of its own, for any input covariance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from symkernel.formula import Derived, Evidence, Formula, Law, Result, Step, Verdict
from symkernel.problem import balanced_weights
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.theory import block_words, memoryless_map, reduced_flow
from symkernel.theory.flow_solver import RTOL, Integration, as_tolerance, starting_floor
from symkernel.theory.gradient_flow import rate_of
from symkernel.theory.gram_numbers import gram_numbers
from symkernel.theory.gram_observables import gram_formulas, gram_result, gram_step, sizes, stacked
from symkernel.theory.gram_state import Advance, GramState, gram_verdicts
from symkernel.theory.lax import fallen, lax_step
from symkernel.theory.memoryless_checks import check_positive, check_precision, memoryless_limits
from symkernel.theory.memoryless_map import TwoValues
from symkernel.theory.reduced_checks import PRECISION, draw_memoryless
from symkernel.theory.two_layer import PRODUCTS, TwoLayer, two_layer
from symkernel.theory.word_flow import printed
from symkernel.theory.words import Words, derivative
from symkernel.trajectory import Trajectory

_NAME = "memoryless_gram"
_RATE = """

@numba.njit(
    "void(float64, float64[::1], float64, float64, float64[:, ::1], float64[:, ::1], float64,"
    " float64[::1])",
    cache=True,
    nogil=True,
    error_model="numpy",
)
def rate(t, y, alpha, beta, S, Sxx, gamma, out):
    shrunk = math.exp(-2.0 * gamma * t)
    W = y.reshape(S.shape)
    A, B = root_products(W, alpha * shrunk, beta * shrunk)
    E = {error}
    out[:] = ({rate}).ravel()
"""


@dataclass(frozen=True)
class Routine:
    """The compiled right-hand side of the equation of the end-to-end map."""

    form: TwoLayer
    rewritings: tuple[Any, ...] = ()

    @cached_property
    def source(self) -> str:
        """The module that is compiled."""
        flow = reduced_flow.product_flow(self.form)
        entry = _RATE.format(error=printed(flow.given["E"]), rate=printed(flow.rates["W"]))
        return memoryless_map.products_source() + entry

    @cached_property
    def rate(self) -> Any:
        """The right-hand side, written into the last argument."""
        return memoryless_map.compiled(self.source).rate


@dataclass(frozen=True)
class _Derivation:
    """The derivation for one canonical form."""

    form: TwoLayer

    @cached_property
    def blocks(self) -> dict[str, sp.MatrixSymbol]:
        """The matrices that are shown."""
        n_in, n_out, _ = sizes(self.form)
        shapes = {"A": (n_in,) * 2, "B": (n_out,) * 2, "W": (n_out, n_in), "E": (n_out, n_in)}
        shapes |= {name: self.form.shapes[name] for name in ("S", "Sxx", "w_1", "w_2")}
        return {name: sp.MatrixSymbol(name, *shape) for name, shape in shapes.items()}

    @cached_property
    def products(self) -> tuple[sp.MatrixExpr, sp.MatrixExpr]:
        """A and B as functions of W."""
        n_in, n_out, _ = sizes(self.form)
        W, (lam, c2) = self.blocks["W"], fallen(self.form)
        square, one, two = lam**2 / 4 + c2, sp.Identity(n_in), sp.Identity(n_out)
        return (
            sp.MatPow(square * one + W.T * W, sp.S.Half) - lam / 2 * one,
            sp.MatPow(square * two + W * W.T, sp.S.Half) + lam / 2 * two,
        )

    @property
    def error(self) -> sp.MatrixExpr:
        """What remains to be learned, S - W Sxx."""
        shapes = {name: symbol.shape for name, symbol in self.blocks.items()}
        return reduced_flow.product_flow(self.form).given["E"].matrix(shapes)

    @property
    def equation(self) -> tuple[Any, Any]:
        """The equation of W: rate, right-hand side in A, B and E."""
        shapes = {name: symbol.shape for name, symbol in self.blocks.items()}
        words = reduced_flow.product_flow(self.form).rates["W"]
        value = {sp.Symbol("gamma", nonnegative=True): self.form.decay}
        plain = Words.collect((word, c.subs(value)) for word, c in words.terms.items())
        return rate_of("W", shapes), plain.matrix(shapes)

    def _flow(self) -> dict[str, Words]:
        """Return the flow of any loss, with this problem's decay."""
        decay = self.form.decay
        return {
            name: words + Words.collect([(((name, False),), -decay)])
            for name, words in block_words.ANY_LOSS.items()
        }

    def _check_any_loss(self) -> Evidence:
        """Put E = S - W Sxx into the flow of any loss: it is the canonical one."""
        meaning = {"E": Words.of("S") - Words.of("w_2", "w_1", "Sxx")}
        gaps = [
            self._flow()[name].substituted(meaning) - words
            for name, words in self.form.expected.items()
        ]
        same = not any(gap.terms for gap in gaps)
        return Evidence.of(same, "the canonical flow is that of E = S - W Sxx exactly")

    def _check_equation(self) -> Evidence:
        """Compare the rate of W with the product rule on the weights."""
        flow = reduced_flow.weight_flow(self.form)
        rate = reduced_flow.product_flow(self.form).expanded["W"]
        gap = derivative(PRODUCTS["W"], flow.expanded) - rate.substituted(PRODUCTS)
        words = "rate of w_2 w_1 = right-hand side in A, B and W exactly"
        return Evidence.of(not gap.terms, words)

    def steps(self) -> tuple[Step, ...]:
        """Return the steps, each with its check."""
        form, b = self.form, self.blocks
        A, B, W, E = (b[name] for name in ("A", "B", "W", "E"))
        G, shapes = stacked(form)["G"], {name: symbol.shape for name, symbol in b.items()}
        loss = Step(
            "Any loss",
            "E is minus the loss's gradient by the end-to-end map; for squared error it is what "
            "remains to be learned",
            (
                *(
                    sp.Eq(rate_of(name, shapes), words.matrix(shapes), evaluate=False)
                    for name, words in self._flow().items()
                ),
                sp.Eq(E, self.error, evaluate=False),
            ),
            self._check_any_loss,
            ((W, "end-to-end map w_2 w_1"), (E, "what remains to be learned")),
        )
        solved = Step(
            "Products from the end-to-end map",
            "G + lambda J / 2 is positive definite at the start and never singular, because "
            "J (G + lambda J / 2) J is its inverse but for a factor: the roots are positive",
            (
                sp.Eq(G, sp.BlockMatrix([[A, W.T], [W, B]]), evaluate=False),
                sp.Eq(A, self.products[0], evaluate=False),
                sp.Eq(B, self.products[1], evaluate=False),
            ),
            check_positive,
        )
        closed = Step(
            "Equation of the end-to-end map",
            "the rate of W holds A, B and W alone; no solution in elementary functions is known "
            "for correlated inputs, and the equation is integrated to the accuracy asked for",
            (sp.Eq(*self.equation, evaluate=False),),
            self._check_equation,
        )
        start = (*form.system.steps(), form.step())
        return (*start, loss, lax_step(form), solved, closed, gram_step(form))

    def formulas(self) -> tuple[Formula, ...]:
        """Return the products as functions of W, its equation, and what is observed."""
        b = self.blocks
        error = (b["E"], self.error)
        rate, right = self.equation
        return (
            Formula("input products", b["A"], self.products[0]),
            Formula("readout products", b["B"], self.products[1]),
            Formula("rate of the end-to-end map", rate, right, (error,)),
            *gram_formulas(self.form),
        )

    def result(self) -> Result:
        """Return G as a function of W, the rate of W, and what follows from them."""
        b, (A, B) = self.blocks, self.products
        meaning = {b["E"]: self.error, b["A"]: A, b["B"]: B}
        rate = self.equation[1].xreplace(meaning)
        gram = sp.BlockMatrix([[A, b["W"].T], [b["W"], B]])
        return Result({"end_to_end_rate": rate, **gram_result(self.form, gram)})


def _derive(problem: Problem) -> Derived:
    derivation = _Derivation(two_layer(problem))
    return Derived(
        steps=derivation.steps,
        result=derivation.result,
        formulas=derivation.formulas,
        routine=lambda: Routine(derivation.form),
        limits=memoryless_limits(),
        precision=check_precision,
        precision_bound=PRECISION,
        numbers=gram_numbers,
    )


def _test(problem: Problem) -> tuple[Verdict, ...]:
    found, holds = gram_verdicts(_NAME, problem)
    if not holds:
        return found
    state = GramState.of(problem, isotropic=False)
    return (*found, TwoValues.of(state.compact, state.n_inputs).verdict(_NAME))


def _advance(state: GramState, values: TwoValues, rtol: float) -> Advance:
    """Return how the end-to-end map, and what decay left of the two values, go through a phase."""
    routine, gamma = Routine(state.form).rate, state.decay

    def advance(k: int, start: Any, times: np.ndarray) -> tuple[np.ndarray, Any]:
        W, left = start
        alpha, beta = values.alpha * left, values.beta * left
        S, inputs = (np.ascontiguousarray(q[k]) for q in (state.targets, state.inputs))

        def rate(t: float, y: np.ndarray) -> np.ndarray:
            out = np.empty_like(y)
            routine(t, np.ascontiguousarray(y), alpha, beta, S, inputs, gamma, out)
            return out

        # Maps far below k are learned as if they were 0.
        floor = max(starting_floor(W, rtol), 1e-3 * rtol * min(alpha + beta, 1.0))
        rows = Integration(rate, None, rtol, floor).through(W.ravel(), times)
        maps, shrunk = rows.reshape(-1, *W.shape), left * np.exp(-2 * gamma * times)
        A, B = values.products(maps, shrunk)
        top = np.concatenate([A, maps.transpose(0, 2, 1)], axis=2)
        grams = np.concatenate([top, np.concatenate([maps, B], axis=2)], axis=1)
        return grams, (maps[-1], float(shrunk[-1]))

    return advance


def trajectory(problem: Problem, times: Any, rtol: float = RTOL) -> Trajectory:
    """Integrate the end-to-end map to a relative tolerance."""
    state = GramState.of(problem, isotropic=False)
    values = TwoValues.of(state.compact, state.n_inputs)
    start = state.compact[state.n_inputs :] @ state.compact[: state.n_inputs].T
    return state.observables(times, (start, 1.0), _advance(state, values, as_tolerance(rtol)))


def _weights(problem: Problem, times: Any, rtol: float) -> dict[str, np.ndarray]:
    return dict(reduced_flow.trajectory(problem, times, rtol).weights)


def _example() -> Problem:
    """Return two tasks with correlated inputs, from semi-orthogonal weights."""
    course = reduced_flow.LAW.example().curriculum
    net = Network.two_layer(inputs=3, hidden=6, outputs=2)
    w0 = balanced_weights.semi_orthogonal(net, a=0.1, b=0.3, seed=1000)
    return Problem(net, course, w0)


LAW = Law(
    name=_NAME,
    title="Two-layer linear network whose similarities depend on the end-to-end map alone",
    rank="exact ODE, no closed form",
    assumptions=(
        "two dense linear layers, both trained, at any rates; squared error",
        "W2^T W2 - W1 W1^T has one value on all inputs and one on all outputs, not both 0",
    ),
    outputs=("output", "hidden_gram", "ntk", "readout_gram", "loss"),
    citations=(),
    test=_test,
    derive=_derive,
    trajectory=trajectory,
    example=_example,
    draw=draw_memoryless,
    weights=_weights,
    rtol=RTOL,
)
