"""Rewriting rules: identities whatever they are applied to, and a proof that refuses others."""

from __future__ import annotations

import dataclasses

import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from symkernel.codegen import rules
from symkernel.codegen.rules import Rewriting

X, Y, K, P, M, R, T, TAU = sp.symbols("x y K p m R T tau")
# p = x - y and m = x + y, so that x = (m + p)/2 and y = (m - p)/2.
LINEAR = {X: (M + P) / 2, Y: (M - P) / 2}
MEANING = ((K, X * Y), (P, X - Y), (M, X + Y))

monomials = st.tuples(
    st.integers(-3, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 2)
).map(lambda q: q[0] * X ** q[1] * Y ** q[2] * R ** q[3])
polynomials = st.lists(monomials, min_size=1, max_size=5).map(lambda terms: sp.Add(*terms))


def same(left: sp.Expr, right: sp.Expr) -> bool:
    return sp.expand(left - right) == 0


@given(polynomials)
def test_naming_pairs_is_an_identity_and_leaves_no_pair(expression) -> None:
    named = rules.name_pairs(expression, (X, Y), K, LINEAR)
    assert not named.free_symbols & {X, Y}
    assert same(named.subs(dict(MEANING)), expression)


@given(polynomials)
def test_use_of_a_relation_is_an_identity_and_leaves_no_multiple(expression) -> None:
    r"""With $R^2 x = K$, no term that $R^2 x$ divides is left."""
    used = rules.use_relation(expression, R**2 * X, K)
    assert same(used.subs(K, R**2 * X), expression)
    for term in sp.Add.make_args(sp.expand(used)):
        powers = term.as_powers_dict()
        assert powers.get(R, 0) < 2 or powers.get(X, 0) < 1


@given(polynomials, polynomials)
def test_scaling_the_clock_is_an_identity_and_cancels_the_rate(top, bottom) -> None:
    r"""A fraction whose parts vanish with R at T = R tau, as those of the Riccati solution do."""
    fraction = (R + top * T) / (R + (1 + bottom**2) * T)
    scaled = rules.scale_clock(fraction, T, R, TAU)
    assert sp.cancel(scaled.subs(TAU, T / R) - fraction) == 0
    assert sp.fraction(scaled)[1].subs({R: 0, TAU: 0}) == 1


@given(polynomials)
def test_collecting_terms_is_an_identity(expression) -> None:
    assert same(rules.collect_terms(expression, (X,)), expression)


def test_a_proof_uses_names_in_order_and_values_of_squares() -> None:
    inner, outer = sp.symbols("inner outer")
    after = outer - 1
    meaning = ((inner, X + Y), (outer, inner * R**2))
    rewriting = Rewriting("r", "why", (X + Y) * (Y**2 + 1) - 1, after, meaning, ((R, Y**2 + 1),))
    assert rewriting.prove().passed
    assert rewriting.prove().figure == "r: an identity"
    assert not dataclasses.replace(rewriting, relations=()).prove().passed
    assert not dataclasses.replace(rewriting, meaning=meaning[1:]).prove().passed


@pytest.mark.parametrize("wrong", [X * Y + 1, -X * Y, X / Y, X * Y * (1 + sp.Rational(1, 10**9))])
def test_a_rule_that_changes_the_value_is_refused(wrong: sp.Expr) -> None:
    right = Rewriting("swap", "why not", X * Y, Y * X)
    assert right.prove().passed
    evidence = dataclasses.replace(right, after=wrong).prove()
    assert not evidence.passed
    assert evidence.figure == "swap: CHANGES the value"


def test_operations_are_those_of_the_two_sides() -> None:
    rewriting = Rewriting("horner", "fewer products", X**2 * Y + X * Y, X * Y * (X + 1))
    assert rewriting.operations_before == sp.count_ops(rewriting.before) == 4
    assert rewriting.operations_after == sp.count_ops(rewriting.after) == 3
    assert str(rewriting) == "horner: 4 -> 3 operations; fewer products"
