"""Activations: records of any expression, slopes against complex steps, clear refusals."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

import symkernel as sk
from symkernel.errors import InvalidArgument
from symkernel.problem.activation import ACTIVATIONS, ARGUMENT, Activation, activation
from symkernel.problem.problem import Problem
from tests.oracles.activations import FUNCTIONS, RECORDS, X, activations

NUMBERS = (-2.3, -0.7, 0.4, 1.9)


def assert_slope(record, z):
    """Value and slope against the oracle's function and a complex step through it."""
    found = FUNCTIONS[record.name](np.array([z + 1e-30j]))[0]
    for expression, want in ((record.expression, found.real), (record.slope, found.imag / 1e-30)):
        assert float(expression.subs(ARGUMENT, z)) == pytest.approx(want, rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("record", [*ACTIVATIONS.values(), *RECORDS.values()], ids=str)
@pytest.mark.parametrize("z", NUMBERS)
def test_slopes_are_derivatives(record, z):
    assert_slope(record, z)


@given(activations(), st.sampled_from(NUMBERS))
def test_slopes_of_drawn_expressions_are_derivatives(record, z):
    assert_slope(record, z)


@pytest.mark.parametrize("assumptions", [{}, {"real": True}, {"extended_real": True}])
@pytest.mark.parametrize("name", ["z", "x", "t", "W1", r"\xi"])
def test_the_symbol_does_not_matter(name, assumptions):
    q = sp.Symbol(name, **assumptions)
    assert activation(sp.sin(q) + q**2) == activation(sp.sin(ARGUMENT) + ARGUMENT**2)


def test_known_expressions_are_the_named_activations():
    for name, record in ACTIVATIONS.items():
        assert activation(record.expression.xreplace({ARGUMENT: X})) is activation(name) is record
    assert activation(1.0 / (1.0 + sp.exp(-1.0 * X))) is ACTIVATIONS["sigmoid"]
    assert activation(X**2.0) is ACTIVATIONS["quadratic"]


@pytest.mark.parametrize(
    ("expression", "slopes"),
    [
        (sp.Max(0, X), (0, 0, 1)),
        (sp.Max(X, X / 10), (sp.Rational(1, 10), 0, 1)),
        (sp.Abs(X), (-1, 0, 1)),
        (X * sp.sign(X), (-1, 0, 1)),
        (X * sp.Heaviside(X), (0, 0, 1)),
        (sp.Piecewise((X, X > 0), (X / 10, True)), (sp.Rational(1, 10), sp.Rational(1, 10), 1)),
    ],
)
def test_slopes_at_kinks_are_those_of_the_convention(expression, slopes):
    record = activation(expression)
    assert tuple(record.slope.subs(ARGUMENT, z) for z in (-1, 0, 1)) == slopes
    assert "slope" in record.convention


def test_conventions_are_printed_with_results():
    net = sk.Network.mlp([2, 3, 3, 1], ["erf", sp.Max(X, X / 10)], output_activation="quadratic")
    w0 = sk.weights.gaussian(net, seed=0)
    lines = Problem(net, sk.Task(np.eye(2), np.ones((2, 1))), w0).conventions
    assert "activation erf: erf(z / sqrt 2), as in committee machines" in lines
    assert "activation quadratic: z^2, without a factor 1/2" in lines
    assert any("Max(z/10, z): slope at a kink from Heavi" in line for line in lines)


def test_records_may_be_given_a_name_and_a_convention():
    given = Activation("swish", X / (1 + sp.exp(-X)), "beta = 1")
    record = activation(given)
    assert (record.name, record.convention) == ("swish", "beta = 1")
    assert record.expression == ARGUMENT / (1 + sp.exp(-ARGUMENT))
    assert activation(record) == record
    assert activation(Activation("", sp.sin(X))) == activation(sp.sin(X))


p = sp.Symbol("p", positive=True)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        *((bad, "must be one of erf, linear, quadratic, relu, sigmoid, tanh, or a SymPy expr")
          for bad in ("selu", "", "sin(x)", 5, None, True, np.sin, sp.sin, ["tanh"], np.ones(2),
                      X > 0, sp.MatrixSymbol("M", 2, 2), sp.Matrix([X]), )),
        (sp.Integer(1), "of exactly one symbol, not 1 with none"),
        (sp.oo, "exactly one symbol"),
        (sp.nan, "exactly one symbol"),
        (X * sp.Symbol("y"), r"exactly one symbol, not x\*y with x, y; give numbers"),
        (sp.log(p), r"any real number, but p has other assumptions; make it with Symbol\('p'\)"),
        (sp.Symbol("n", integer=True) ** 2, "n has other assumptions"),
        (sp.Symbol("A", commutative=False), "A has other assumptions"),
        (sp.log(X), r"the value of log\(z\) at z = -0.25 is complex. Use an expression"),
        (sp.sqrt(X), r"the value of sqrt\(z\) at z = -0.25 is complex"),
        (X ** sp.Rational(1, 3), "complex"),
        (sp.I * X, "complex"),
        (1 / X, r"the value of 1/z at z = 0 is not finite \(zoo\)"),
        (sp.gamma(X), r"the value of gamma\(z\) at z = -1 is not finite"),
        (sp.sqrt(sp.Abs(X)), r"the slope of sqrt\(Abs\(z\)\) at z = 0 is not a number \(nan\)"),
        (sp.asin(X / 7), "complex"),
        (1 / (2 * X - 7), r"z = 3.5 is not finite"),
        (sp.log(X + 1000), r"z = -1000 is not finite"),
        (sp.sqrt(X + 1000), r"the slope of sqrt\(z \+ 1000\) at z = -1000 is not finite"),
        ((X + 1000) ** sp.Rational(3, 2), r"z = -1000 is complex"),
        (sp.Piecewise((X, X > 0)), "not a number"),
        (sp.DiracDelta(X), "not a number"),
        (sp.floor(X), r"derivative that SymPy knows, but that of floor\(z\) is Derivative"),
        (sp.Function("f")(X), "derivative that SymPy knows"),
        (sp.Integral(sp.sin(X), X), "derivative that SymPy knows"),
        (sp.sign(X), r"continuous, but sign\(z\) jumps at z = 0; gradient descent would not see"),
        (sp.Heaviside(2 * X - 1), "jumps at z = 0.5"),
        (sp.Piecewise((0, sp.Rational(1, 7) > X), (1, True)), "jumps at z = 0.142857"),
        (sp.Max(-sp.sin(X), -sp.tanh(X)), "is 0 at z = 0, where it should be -1; write the"),
        (sp.sign(X) * sp.log(1 + sp.Abs(X)), "is 0 at z = 0, where it should be 1; write the"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_through_is_refused(bad, words):
    with pytest.raises(InvalidArgument, match=words):
        activation(bad)


def test_records_refuse_what_is_no_expression_or_name():
    for bad in ("tanh", np.ones(2), None):
        with pytest.raises(InvalidArgument, match="'activation' must be one of"):
            Activation("tanh", bad)
    with pytest.raises(InvalidArgument, match="'name' of an activation must be text, not 3"):
        Activation(3, sp.sin(X))


def test_a_wrong_slope_is_noticed(monkeypatch):
    expression = sp.sin(X) + X**5  # seen nowhere else, so that no record of it is kept
    monkeypatch.setattr(Activation, "slope", sp.cos(ARGUMENT) - 5 * ARGUMENT**4)
    with pytest.raises(InvalidArgument, match="must have the slope that SymPy derives"):
        activation(expression)


@pytest.mark.parametrize(
    "expression", [sp.Piecewise((1, ARGUMENT**2 > 2), (0, True)), sp.sign(ARGUMENT**2 - 2)], ids=str
)
def test_jumps_at_roots_of_polynomials_are_found(expression):
    with pytest.raises(InvalidArgument, match="must be continuous"):
        activation(expression)


IRRATIONAL = [
    sp.Max(sp.pi * ARGUMENT - 1, 0),
    sp.Max(sp.sqrt(2) * ARGUMENT - 1, 0),
    sp.sqrt(ARGUMENT**2 + sp.pi),
    sp.log(ARGUMENT**2 + sp.sqrt(2)),
]


@pytest.mark.parametrize("expression", IRRATIONAL, ids=str)
def test_irrational_corners_are_no_errors(expression):
    assert activation(expression).expression == expression


@pytest.mark.parametrize(
    "square", [ARGUMENT**2 - sp.pi, sp.pi * ARGUMENT**2 - 2, 0.7 * ARGUMENT**2 - 1.3], ids=str
)
def test_jumps_at_irrational_roots_are_found(square):
    with pytest.raises(InvalidArgument, match="must be continuous"):
        activation(sp.sign(square))
