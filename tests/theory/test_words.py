"""Matrix-gradient rules against SymPy's scalar derivatives, entry by entry on small matrices."""

from __future__ import annotations

import pytest
import sympy as sp
from hypothesis import assume, given
from hypothesis import strategies as st

from symkernel.theory.words import Words, derivative, trace_gradient

# Square matrices, so that any product has a trace; sizes differ from 1 and entries commute.
NAMES = ("A", "B", "W", "V")
MATRICES = {
    name: sp.Matrix(2, 2, lambda i, j, n=name: sp.Symbol(f"{n}_{i}{j}", real=True))
    for name in NAMES
}
# Exact numbers in general position, on which drawn identities are tested fast.
NUMBERS = {
    name: sp.Matrix(2, 2, [7 * k + 2, -3 * k - 1, 5 - k, k * k + 3]) for k, name in enumerate(NAMES)
}
# Shapes for products that are not square.
OBLONG = {
    "A": sp.Matrix(2, 3, sp.symbols("A_:6", real=True)),
    "W": sp.Matrix(3, 2, sp.symbols("W_:6", real=True)),
    "C": sp.Matrix(2, 2, sp.symbols("C_:4", real=True)),
}

factors = st.sampled_from([n + flip for n in NAMES for flip in ("", "'")])
words = st.lists(factors, min_size=1, max_size=5)
coefficients = st.sampled_from([sp.S.One, sp.Integer(-2), sp.Rational(1, 3), sp.Symbol("kappa")])
sums = st.lists(st.tuples(words, coefficients), min_size=1, max_size=3)


def summed(pairs) -> Words:
    return sum((Words.of(*w, coefficient=c) for w, c in pairs), Words({}))


def scalar_gradient(traced: Words, name: str, matrices) -> sp.Matrix:
    trace = traced.explicit(matrices).trace()
    return matrices[name].applyfunc(lambda entry: sp.diff(trace, entry))


def evaluated(body: Words, matrices, shape=(2, 2)) -> sp.Matrix:
    """Evaluate a sum of products; the empty product is the identity."""
    rest = Words({word: c for word, c in body.terms.items() if word})
    value = rest.explicit(matrices) if rest.terms else sp.zeros(*shape)
    return value + body.terms[()] * sp.eye(shape[0]) if () in body.terms else value


def assert_gradient(traced: Words, name: str, matrices) -> None:
    gradient = trace_gradient(traced, name)
    shape = matrices[name].shape
    found = evaluated(gradient, matrices, shape)
    assert found.shape == shape
    assert (found - scalar_gradient(traced, name, matrices)).expand() == sp.zeros(*shape)


RULES = {
    "tr(A W)": [("A", "W")],
    "tr(W A)": [("W", "A")],
    "tr(A W')": [("A", "W'")],
    "tr(A W B)": [("A", "W", "B")],
    "tr(A W' B)": [("A", "W'", "B")],
    "tr(A' W B')": [("A'", "W", "B'")],
    "tr(W W')": [("W", "W'")],
    "tr(W W)": [("W", "W")],
    "tr(W A W' B)": [("W", "A", "W'", "B")],
    "tr(W A W B)": [("W", "A", "W", "B")],
    "tr(W)": [("W",)],
    # sympy#27406: SymPy's own derivative of a sum of traces is 0.
    "tr(A W) + tr(W' W)": [("A", "W"), ("W'", "W")],
    "tr(A W) + tr(W' B) + tr(B)": [("A", "W"), ("W'", "B"), ("B",)],
    "tr(A W) - tr(A W)'": [("A", "W"), ("W'", "A'")],
}


@pytest.mark.parametrize("rule", RULES)
def test_gradient_rule_entry_by_entry(rule: str) -> None:
    pairs = [(word, sp.Integer(k + 1)) for k, word in enumerate(RULES[rule])]
    assert_gradient(summed(pairs), "W", MATRICES)


@pytest.mark.parametrize("word", [("A", "W"), ("W", "A"), ("W'", "C", "W"), ("A", "W", "C'")])
def test_gradient_of_oblong_matrices_has_the_shape_of_the_matrix(word: tuple) -> None:
    if word == ("W'", "C", "W"):
        word = ("W", "C", "W'")
    assert_gradient(Words.of(*word), "W", OBLONG)


@given(sums)
def test_gradients_of_drawn_sums_of_traces(pairs) -> None:
    traced = summed(pairs)
    assume(traced.terms)
    for name in ("W", "A"):
        assert_gradient(traced, name, MATRICES)


def test_a_sum_that_cancels_has_no_gradient() -> None:
    word = Words.of("A", "W", "B")
    assert trace_gradient(word - word, "W") == Words({})
    assert trace_gradient(Words.of("A", "B"), "W") == Words({})


def test_the_two_terms_of_a_square_are_collected() -> None:
    assert trace_gradient(Words.of("W", "W'"), "W") == Words.of("W", coefficient=sp.Integer(2))


@given(sums, sums)
def test_algebra_of_words_is_that_of_matrices(left, right) -> None:
    one, two = summed(left), summed(right)
    a, b = (evaluated(w, NUMBERS) for w in (one, two))
    for got, want in (
        (one + two, a + b),
        (one - two, a - b),
        (one @ two, a * b),
        (-one, -a),
        (one.scaled(sp.Rational(2, 7)), sp.Rational(2, 7) * a),
        (one.transposed(), a.T),
    ):
        assert (evaluated(got, NUMBERS) - want).expand() == sp.zeros(2)


@given(sums, sums)
def test_substitution_puts_sums_in_for_names_also_when_transposed(pairs, inside) -> None:
    outer, inner = summed(pairs), summed(inside)
    found = outer.substituted({"W": inner})
    want = evaluated(outer, {**NUMBERS, "W": evaluated(inner, NUMBERS)})
    assert (evaluated(found, NUMBERS) - want).expand() == sp.zeros(2)


@given(sums)
def test_product_rule_is_the_derivative_along_the_flow(pairs) -> None:
    """A' = W B, W' = -A': move the matrices by a small symbol, and take what is linear in it."""
    body, eps = summed(pairs), sp.Symbol("eps")
    flow = {"A": Words.of("W", "B"), "W": -Words.of("A'")}
    moved = {n: NUMBERS[n] + eps * w.explicit(NUMBERS) for n, w in flow.items()}
    after = evaluated(body, {**NUMBERS, **moved}).expand()
    want = after.applyfunc(lambda entry: entry.coeff(eps, 1))
    assert (evaluated(derivative(body, flow), NUMBERS) - want).expand() == sp.zeros(2)


def test_reduction_applies_rules_until_none_is_left() -> None:
    one = Words({(): sp.S.One})
    rules = {(("V", True), ("V", False)): one}
    assert Words.of("A", "V'", "V'", "V", "V", "B").reduced(rules) == Words.of("A", "B")
    assert Words.of("V", "V'").reduced(rules) == Words.of("V", "V'")


@given(sums)
def test_matrix_expression_has_the_same_value(pairs) -> None:
    body = summed(pairs)
    assume(body.terms)
    expression = body.matrix(dict.fromkeys(NAMES, (2, 2)))
    values = {sp.MatrixSymbol(n, 2, 2): m.as_immutable() for n, m in MATRICES.items()}
    value = sp.Matrix(expression.subs(values).doit())
    assert (value - body.explicit(MATRICES)).expand() == sp.zeros(2)


@pytest.mark.parametrize("body", [Words({}), trace_gradient(Words.of("W"), "W")])
def test_an_empty_sum_or_product_has_no_shape(body: Words) -> None:
    with pytest.raises(ValueError, match="have no shape"):
        body.explicit(MATRICES)
