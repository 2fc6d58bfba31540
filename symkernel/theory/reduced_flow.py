r"""Two-layer linear networks in general: an exact differential equation, whatever the width.

The products $A = w_1^T w_1$, $B = w_2 w_2^T$, $W = w_2 w_1$ obey a closed quadratic equation, for
any input covariance, any weights and weight decay, also where the layers decay at rates of their
own. What they are at the start decides everything but a rotation of the hidden layer, so that a
network as wide as inputs and outputs together, with the same products, learns alike:
$w_1 = R\,x_1$, $w_2 = x_2 R^T$ with a fixed R. That network is what is integrated. The products
themselves are not: in their entries, squares of the weights, rounding hides a weak mode beside a
strong one at twice the size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.errors import refuse_large
from symkernel.formula import Derived, Evidence, Formula, Law, Result, Step, Verdict
from symkernel.problem import weights as make
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.theory.flow_solver import RTOL, Integration, as_tolerance, starting_floor
from symkernel.theory.gradient_flow import rate_of
from symkernel.theory.gram_numbers import gram_numbers
from symkernel.theory.gram_observables import gram_formulas, gram_result, gram_step, stacked
from symkernel.theory.gram_state import Advance, GramState, gram_verdicts
from symkernel.theory.phases import phases_at, through_phases
from symkernel.theory.reduced_checks import (
    PRECISION,
    check_precision,
    draw_any,
    reduced_limits,
)
from symkernel.theory.two_layer import PRODUCTS, TwoLayer, gram_rates, two_layer
from symkernel.theory.two_layer_path import TwoLayerPath
from symkernel.theory.word_flow import WordFlow
from symkernel.theory.words import Words, derivative
from symkernel.trajectory import Trajectory

_NAME = "reduced_flow"
_DECAY = notation.symbol("gamma", r"\gamma", "weight decay", nonnegative=True)
_DECAY_1, _DECAY_2 = (
    notation.symbol(
        f"gamma_{k}", rf"\gamma_{k}", f"weight decay of the {layer} layer", nonnegative=True
    )
    for k, layer in ((1, "first"), (2, "second"))
)
_ERROR = {"W": Words.of("w_2", "w_1"), "E": Words.of("S") - Words.of("W", "Sxx")}
_SHAPES = {"w_1": ("h", "i"), "w_2": ("o", "h"), "S": ("o", "i"), "Sxx": ("i", "i")}
_PRODUCTS = {"A": ("i", "i"), "B": ("o", "o"), "W": ("o", "i")}


def _driven(rates: dict[str, Words], product: Words) -> dict[str, Words]:
    """Return rates with what remains to be learned, S - W Sxx, called E."""
    meaning = {"S": Words.of("E") + product @ Words.of("Sxx")}
    return {name: words.substituted(meaning) for name, words in rates.items()}


def _decays(form: TwoLayer) -> dict[sp.Symbol, sp.Expr]:
    """Return the symbols of the layers' decays with their values: one symbol for equal ones."""
    one, two = form.decays
    return {_DECAY: one} if one == two else {_DECAY_1: one, _DECAY_2: two}


def decay_numbers(form: TwoLayer) -> dict[str, float]:
    """Return the decays by the names that they have in the compiled flow."""
    return {symbol.name: float(value) for symbol, value in _decays(form).items()}


def _with_symbols(form: TwoLayer) -> tuple[TwoLayer, tuple[str, ...]]:
    """Return the form with symbols for its decays, and their names."""
    symbols = tuple(_decays(form))
    return replace(form, decays=(symbols[0], symbols[-1])), tuple(q.name for q in symbols)


@lru_cache(maxsize=8)
def weight_flow(form: TwoLayer) -> WordFlow:
    """Return the flow of the canonical weights, weight decay as a symbol, or two."""
    general, names = _with_symbols(form)
    return WordFlow(_driven(general.expected, _ERROR["W"]), _SHAPES, _ERROR, names)


@lru_cache(maxsize=8)
def product_flow(form: TwoLayer) -> WordFlow:
    """Return the flow of the products A, B and W of the canonical weights."""
    general, names = _with_symbols(form)
    rates = gram_rates(general.expected)
    shapes = _PRODUCTS | {name: _SHAPES[name] for name in ("S", "Sxx")}
    given = {"E": _ERROR["E"]}
    return WordFlow(_driven(rates, Words.of("W")), shapes, given, names)


@dataclass(frozen=True)
class _Derivation:
    """The derivation for one canonical form."""

    form: TwoLayer

    @cached_property
    def shapes(self) -> dict[str, tuple[sp.Expr, sp.Expr]]:
        """Shapes of every matrix that is shown."""
        given = self.form.shapes
        (h, i), (o, _) = given["w_1"], given["w_2"]
        k = sp.Min(h, i + o)
        products = {"A": (i, i), "B": (o, o), "W": (o, i), "E": (o, i)}
        return {**given, **products, "R": (h, k), "x_1": (k, i), "x_2": (o, k)}

    def _rates(self, rates: dict[str, Words]) -> list[tuple[Any, Any]]:
        value = _decays(self.form)
        plain = {
            name: Words.collect((word, c.subs(value)) for word, c in words.terms.items())
            for name, words in rates.items()
        }
        return [(rate_of(n, self.shapes), w.matrix(self.shapes)) for n, w in plain.items()]

    @property
    def products(self) -> list[tuple[Any, Any]]:
        """The equation of the products: rate, right-hand side."""
        return self._rates(dict(product_flow(self.form).rates))

    @property
    def error(self) -> tuple[Any, Any]:
        """What remains to be learned, and its meaning."""
        return sp.MatrixSymbol("E", *self.shapes["E"]), _ERROR["E"].matrix(self.shapes)

    def _check_products(self) -> Evidence:
        flow, products = weight_flow(self.form), product_flow(self.form)
        gaps = [
            derivative(PRODUCTS[name], flow.expanded) - words.substituted(PRODUCTS)
            for name, words in products.expanded.items()
        ]
        same = all(not gap.terms for gap in gaps)
        return Evidence.of(
            same, "rates of the products of the canonical weights = words in A, B and W exactly"
        )

    def _check_width(self) -> Evidence:
        """Substitute the narrow network into the flow of the wide one."""
        rates = weight_flow(self.form).expanded
        meaning = {"w_1": Words.of("R", "x_1"), "w_2": Words.of("x_2", "R'")}
        narrow = {name: Words.of(f"x_{name[-1]}") for name in rates}
        one = {(("R", True), ("R", False)): Words({(): sp.S.One})}
        gaps = []
        for name, words in rates.items():
            own = words.substituted(narrow)
            lifted = meaning[name].substituted({f"x_{name[-1]}": own})
            gaps.append((words.substituted(meaning) - lifted).reduced(one))
        same = all(not gap.terms for gap in gaps)
        return Evidence.of(
            same, "the narrow network put into the flow of the wide one: both sides equal exactly"
        )

    def steps(self) -> tuple[Step, ...]:
        """Return the steps, each with its check."""
        form, shapes = self.form, self.shapes
        w1, w2, x1, x2, R = (
            sp.MatrixSymbol(n, *shapes[n]) for n in ("w_1", "w_2", "x_1", "x_2", "R")
        )
        names = {"w_1": "x_1", "w_2": "x_2"}
        narrow = {
            names[name]: words.substituted({old: Words.of(new) for old, new in names.items()})
            for name, words in weight_flow(form).rates.items()
        }
        closed = Step(
            "Products of the weights",
            "for any input covariance and any weights the three products obey a closed quadratic "
            "equation",
            (
                *(
                    sp.Eq(sp.MatrixSymbol(n, *shapes[n]), words.matrix(shapes), evaluate=False)
                    for n, words in PRODUCTS.items()
                ),
                sp.Eq(*self.error, evaluate=False),
                *(sp.Eq(left, right, evaluate=False) for left, right in self.products),
            ),
            self._check_products,
            ((self.error[0], "what remains to be learned"),),
        )
        width = Step(
            "Width",
            "a network of as many hidden units as inputs and outputs, with the same products at "
            "the start, learns alike; R has orthonormal columns and does not move",
            (
                sp.Eq(w1, R * x1, evaluate=False),
                sp.Eq(w2, x2 * R.T, evaluate=False),
                sp.Eq(R.T * R, sp.Identity(R.shape[1]), evaluate=False),
                *(sp.Eq(left, right, evaluate=False) for left, right in self._rates(narrow)),
            ),
            self._check_width,
            (
                (R, "matrix with orthonormal columns"),
                (x1, "first weight of the narrow network"),
                (x2, "second weight of the narrow network"),
            ),
        )
        integrated = Step(
            "Integration",
            "no solution in elementary functions is known: right-hand side and Jacobian of the "
            "narrow network are compiled and integrated to the accuracy asked for",
            (sp.Eq(*self.error, evaluate=False),),
            weight_flow(form).check_jacobian,
        )
        return (*form.system.steps(), form.step(), closed, width, integrated, gram_step(form))

    def formulas(self) -> tuple[Formula, ...]:
        """Return the equation of the products, and what is observed in terms of them."""
        words = {"A": "input products", "B": "readout products", "W": "end-to-end map"}
        rates = tuple(
            Formula(f"rate of the {words[name]}", left, right, (self.error,))
            for name, (left, right) in zip(words, self.products, strict=True)
        )
        return (*rates, *gram_formulas(self.form))

    def result(self) -> Result:
        """Return the products G as a symbol with its rate, and what follows from them."""
        E, meaning = self.error
        (_, A), (_, B), (_, W) = ((left, right.subs(E, meaning)) for left, right in self.products)
        rate = sp.BlockMatrix([[A, W.T], [W, B]])
        found = gram_result(self.form, stacked(self.form)["G"])
        return Result({"gram_rate": rate, **found})


def _derive(problem: Problem) -> Derived:
    derivation = _Derivation(two_layer(problem))
    return Derived(
        steps=derivation.steps,
        result=derivation.result,
        formulas=derivation.formulas,
        routine=lambda: weight_flow(derivation.form),
        limits=reduced_limits(weight_flow(derivation.form)),
        precision=check_precision,
        precision_bound=PRECISION,
        numbers=gram_numbers,
    )


def _test(problem: Problem) -> tuple[Verdict, ...]:
    return gram_verdicts(_NAME, problem, one_decay=False)[0]


def narrowed(factor: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the stacked weights of the narrow network, and R (None if it is the identity)."""
    n, n_hidden = factor.shape
    if n_hidden <= n:
        return factor, None
    R, triangle = np.linalg.qr(factor.T)
    return np.ascontiguousarray(triangle.T), R


def _packed(stack: np.ndarray, n_inputs: int) -> np.ndarray:
    return np.concatenate([stack[:n_inputs].T.ravel(), stack[n_inputs:].ravel()])


@dataclass(frozen=True, eq=False)
class NarrowPath(TwoLayerPath):
    """The weights of a network through those of the narrow one.

    Attributes
    ----------
    first : ndarray, shape (n_times, n_inputs, width)
        First weight of the narrow network, transposed.
    second : ndarray, shape (n_times, n_outputs, width)
        Its last weight.
    turn : ndarray, shape (n_hidden, width), or None
        R; None if it is the identity.
    """

    first: np.ndarray
    second: np.ndarray
    turn: np.ndarray | None

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """Both weights by name."""
        one, two = self.first, self.second
        if self.turn is not None:
            refuse_large((len(one), one.shape[1] + two.shape[1], len(self.turn)), "weights")
            one, two = one @ self.turn.T, two @ self.turn.T
        return {self.layers[0].name: one.transpose(0, 2, 1), self.layers[1].name: two}

    def end_to_end(self) -> np.ndarray:
        """Return the map from inputs to outputs."""
        scale = float(self.layers[0].scale * self.layers[1].scale)
        return scale * self.second @ self.first.transpose(0, 2, 1)

    def input_gram(self) -> np.ndarray:
        """Return W1^T W1."""
        return self.first @ self.first.transpose(0, 2, 1)

    def readout_gram(self) -> np.ndarray:
        """Return W2 W2^T."""
        return self.second @ self.second.transpose(0, 2, 1)


def _advance(state: GramState, rtol: float) -> Advance:
    """Return how the stacked weights of the narrow network go through a phase."""

    def advance(k: int, stack: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (n, width), n_in = stack.shape, state.n_inputs
        values = {"S": state.targets[k], "Sxx": state.inputs[k], **decay_numbers(state.form)}
        flow = weight_flow(state.form).bind({"h": width, "i": n_in, "o": n - n_in}, values)
        start = _packed(stack, n_in)
        run = Integration(flow.rate, flow.jacobian, rtol, starting_floor(start, rtol))
        rows = run.through(start, times)
        first = rows[:, : width * n_in].reshape(-1, width, n_in).transpose(0, 2, 1)
        second = rows[:, width * n_in :].reshape(-1, n - n_in, width)
        path = np.concatenate([first, second], axis=1)
        return path, path[-1]

    return advance


def trajectory(problem: Problem, times: Any, rtol: float = RTOL) -> Trajectory:
    """Integrate to a relative tolerance."""
    advance = _advance(state := GramState.of(problem, isotropic=False), as_tolerance(rtol))
    clock, position = phases_at(problem.curriculum, times)
    stack, turn = narrowed(state.factor)
    refuse_large((len(clock), *stack.shape), "weights")
    path = through_phases(problem, clock, position, stack, advance)
    n, (first, second) = state.n_inputs, state.units
    return NarrowPath(
        problem, clock, position, first * path[:, :n], second * path[:, n:], turn
    ).trajectory()


def _example() -> Problem:
    """Return two tasks with correlated inputs, from Gaussian weights."""
    stream = np.random.default_rng(1000)
    tasks = []
    for _ in range(2):
        X = stream.standard_normal((12, 3)) @ stream.standard_normal((3, 3))
        tasks.append(Task(X, X @ stream.standard_normal((3, 2))))
    net = Network.two_layer(inputs=3, hidden=8, outputs=2)
    w0 = make.gaussian(net, scale=0.2, seed=1000)
    return Problem(net, Curriculum([Phase(tasks[0], duration=2.0), Phase(tasks[1])]), w0)


LAW = Law(
    name=_NAME,
    title="Two-layer linear network in general: exact flow of a network of bounded width",
    rank="exact ODE, no closed form",
    assumptions=("two dense linear layers, both trained, at any rates; squared error",),
    outputs=("output", "hidden", "hidden_gram", "ntk", "readout_gram", "weights", "loss"),
    citations=(),
    test=_test,
    derive=_derive,
    trajectory=trajectory,
    example=_example,
    draw=draw_any,
    rtol=RTOL,
)
