"""Equations solved by a rule: proven by substitution, wrong solutions refused, others refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import sympy as sp
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from symkernel import notation
from symkernel.errors import NoClosedForm
from symkernel.identities import vanishes
from symkernel.theory.solutions import solve_autonomous, written_out

Y = sp.Symbol("y")
T = notation.t
A, B, C, Y0 = sp.symbols("alpha beta gamma y0", positive=True)

# rule -> equations of which it is in charge, with symbols and with numbers.
EQUATIONS = {
    "linear": [
        (B * Y + C, Y0),
        (-B * Y + C, Y0),
        (B * Y, Y0),
        (sp.Integer(3) * Y - 2, sp.Integer(1)),
        (C, Y0),
        (sp.S.Zero, Y0),
    ],
    "power law": [
        (-A * (Y - B) ** 2, Y0),
        (-A * Y**2, Y0),
        (A * Y**2, -Y0),
        (-3 * Y**2, sp.Rational(1, 7)),
    ],
    "logistic": [
        (B * Y - A * Y**2, Y0),
        (-B * Y - A * Y**2, Y0),
        (B * Y + A * Y**2, -Y0),
        (Y * (1 - Y), sp.Rational(1, 3)),
        (Y * (1 - Y), sp.Integer(3)),  # from above: where dsolve gives NaN
    ],
    "Riccati": [
        (-A * Y**2 + B * Y + C, Y0),
        (-A * Y**2 + C, Y0),
        (-2 * Y**2 + 3 * Y + 5, sp.Integer(-1) / 7),
        (-A * (Y - 1) * (Y + B), Y0),
    ],
}
CASES = [(rule, *equation) for rule, given_ in EQUATIONS.items() for equation in given_]
IDS = [f"{rule}: {f}" for rule, f, _ in CASES]


@pytest.mark.parametrize(("rule", "f", "start"), CASES, ids=IDS)
def test_rule_is_chosen_and_proven(rule: str, f: sp.Expr, start: sp.Expr) -> None:
    solution = solve_autonomous(f, Y, start)
    assert solution.rule == rule
    evidence = solution.prove()
    assert evidence.passed, evidence.figure
    assert rule in evidence.figure


@pytest.mark.parametrize(("rule", "f", "start"), CASES, ids=IDS)
def test_solution_agrees_with_an_integrator(rule: str, f: sp.Expr, start: sp.Expr) -> None:
    """The proof is symbolic; here the plain expression is put beside DOP853."""
    numbers = {A: 0.7, B: 1.3, C: 0.4, Y0: 0.2}
    solution = solve_autonomous(f, Y, start)
    plain = written_out(solution.expression, solution.where).subs(numbers)
    times = np.linspace(0, 1, 6)
    rate = sp.lambdify(Y, f.subs(numbers))
    begin = float(start.subs(numbers))
    run = solve_ivp(
        lambda t, y: [float(rate(y[0]))], (0, 1), [begin], "DOP853", times, rtol=1e-12, atol=1e-14
    )
    found = [complex(plain.subs(T, float(t)).evalf()) for t in times]
    assert np.allclose(found, run.y[0], rtol=1e-10, atol=1e-12)


def one_sign_flipped(expression: sp.Expr):
    """Yield the expression with the sign of one term of one of its sums flipped."""
    for node in sp.preorder_traversal(expression):
        if isinstance(node, sp.Add):
            for term in node.args:
                wrong = expression.xreplace({node: node - 2 * term})
                if not vanishes(wrong - expression):
                    yield wrong


@pytest.mark.parametrize(("rule", "f", "start"), CASES, ids=IDS)
def test_a_solution_with_one_sign_flipped_is_refused(rule, f, start) -> None:
    solution = solve_autonomous(f, Y, start)
    wrong = list(one_sign_flipped(solution.expression))
    assert wrong or solution.expression.is_Atom or isinstance(solution.expression, sp.Mul)
    for expression in wrong:
        evidence = dataclasses.replace(solution, expression=expression).prove()
        assert not evidence.passed
        assert "is not 0" in evidence.figure


@pytest.mark.parametrize(
    "part", ["where", "clock_rate", "clock_start", "initial", "right_hand_side"]
)
@pytest.mark.parametrize("f", [B * Y - A * Y**2, -A * Y**2 + B * Y + C, B * Y + C, -A * Y**2])
def test_a_wrong_part_of_the_proof_is_refused(part: str, f: sp.Expr) -> None:
    """Wrong clock (twice as fast), wrong rate, start, initial value or equation."""
    right = solve_autonomous(f, Y, Y0)
    value = getattr(right, part)
    if part == "where":
        value = tuple((q, e.subs(T, 2 * T)) for q, e in value)
    elif part == "clock_start":
        value = value + sp.Rational(1, 2)
    else:
        value = 2 * value
    assert right.prove().passed
    assert not dataclasses.replace(right, **{part: value}).prove().passed


@pytest.mark.parametrize(
    "f",
    [Y**3, A * Y**2 - Y**4, B * Y * (1 - Y) * (2 - Y), Y**5 + 1],
)
def test_cubic_and_higher_equations_are_refused_by_name(f: sp.Expr) -> None:
    degree = sp.degree(sp.expand(f), Y)
    with pytest.raises(NoClosedForm, match=f"of degree {degree} in y; the rules solve degree 2"):
        solve_autonomous(f, Y, Y0)


@pytest.mark.parametrize("f", [sp.sqrt(Y), 1 / Y, sp.exp(Y), Y * sp.log(Y)])
def test_equations_that_are_no_polynomials_are_refused(f: sp.Expr) -> None:
    with pytest.raises(NoClosedForm, match="is no polynomial in y"):
        solve_autonomous(f, Y, Y0)


def test_powers_that_cancel_are_no_powers() -> None:
    assert solve_autonomous(Y**3 - Y * (Y**2 - 1) - A * Y**2, Y, Y0).rule == "logistic"


numbers = st.fractions(min_value=-4, max_value=4, max_denominator=9).map(
    lambda q: sp.Rational(q.numerator, q.denominator)
)


@given(numbers, numbers, numbers, numbers)
@example(sp.S.One, sp.S.One, sp.S.Zero, sp.S.Zero)  # logistic from 0
@example(sp.S.One, sp.Integer(2), -sp.S.One, sp.Integer(3))  # a double root at 1
@example(sp.S.One, sp.S.Zero, sp.S.Zero, sp.S.Zero)
@example(sp.Integer(2), sp.S.Zero, sp.Integer(3), sp.S.Zero)
def test_every_quadratic_with_rational_coefficients_is_solved_and_proven(a, b, c, start) -> None:
    f = -a * Y**2 + b * Y + c
    solution = solve_autonomous(f, Y, start)
    evidence = solution.prove()
    assert evidence.passed, (f, start, evidence.figure)
    plain = written_out(solution.expression, solution.where)
    assert plain.subs(T, 0).equals(start)


@given(numbers, numbers)
def test_vanishes_tells_zero_from_small(p, q) -> None:
    x, root = sp.symbols("x R")
    relation = [(root, x**2 + 1)]
    identity = (root - x) * (root + x) - 1
    assert vanishes(p * identity + q * identity / (x + 2), relation)
    assert vanishes(root**4 - (x**2 + 1) ** 2, relation)
    assert not vanishes(identity + sp.Rational(1, 10**12), relation)
    assert not vanishes(root - x, relation)
    assert not vanishes(identity)
