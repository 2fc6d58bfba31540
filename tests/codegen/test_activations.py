"""Compiled bodies of activations against 50-digit values; their names; the rules behind them."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import numba
import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

import symkernel as sk
from symkernel.codegen.activations import bodies_of, body_of
from symkernel.codegen.cache import load
from symkernel.codegen.functions import sigmoid, softplus
from symkernel.codegen.rules import without_overflow
from symkernel.errors import Unlowerable
from symkernel.identities import vanishes
from symkernel.numerics import elementary
from symkernel.problem.activation import ACTIVATIONS, ARGUMENT, Activation, activation
from tests.oracles.activations import RECORDS, USER_MADE, X, activations
from tests.oracles.interpreted import interpreted

ALL = {**ACTIVATIONS, **RECORDS}
NUMBERS = (-7.5, -1.0, -0.3, 0.0, 1e-9, 0.6, 1.0, 2.5, 11.0)


def body(record):
    source = inspect.getsource(elementary) + bodies_of([record])
    return getattr(interpreted(source), body_of(record))


def assert_exact(record, z, tolerance=4e-15):
    for found, expression in zip(body(record)(z), (record.expression, record.slope), strict=True):
        exact = {f: sp.Rational(f) for f in expression.atoms(sp.Float)}
        want = float(expression.xreplace({ARGUMENT: sp.Rational(z), **exact}).evalf(50))
        assert abs(found - want) <= tolerance * max(1.0, abs(want)), (record.name, z)


@pytest.mark.parametrize("name", ALL)
def test_value_and_slope_are_those_of_the_record(name):
    for z in NUMBERS:
        assert_exact(ALL[name], z)


@given(activations(), st.sampled_from(NUMBERS))
def test_value_and_slope_of_drawn_expressions(record, z):
    assert_exact(record, z, 1e-12)  # those that are drawn may magnify rounding errors


@pytest.mark.parametrize(
    "expression",
    [
        sp.log(1 + sp.exp(X)),
        sp.log(1 + sp.exp(-X)),
        1 / (1 + sp.exp(-X)),
        sp.exp(X) / (1 + sp.exp(X)),
        1 / (1 + sp.exp(-X)) ** 3,
        X / (1 + sp.exp(-X)),
        X * sp.tanh(sp.log(1 + sp.exp(X))),
        sp.log(1 + sp.exp(3 * X - 1)) / 3,
        sp.sin(1 / (1 + sp.exp(X))),
        X / (1 + sp.exp(-1 / (1 + sp.exp(-X)))),
    ],
)
def test_sigmoids_and_softplus_do_not_overflow(expression):
    for z in (-1e3, -710.0, -36.5, 36.5, 710.0, 1e3):
        assert_exact(activation(expression), z, 1e-14)


def test_removable_singularities_may_be_written_as_pieces():
    record = activation(sp.Piecewise((sp.sin(X) / X, sp.Ne(X, 0)), (1, True)))
    assert record.slope.subs(ARGUMENT, 0) == 0
    assert_exact(record, 0.6)
    assert "!= 0.0" in bodies_of([record])


# ---- names


def test_the_name_of_a_body_is_made_of_what_it_computes():
    assert body_of(ACTIVATIONS["tanh"]) == "tanh_and_slope"
    assert bodies_of(ACTIVATIONS.values()) == ""
    slow, fast = (Activation("swish", X / (1 + sp.exp(-c * X))) for c in (1, 2))
    assert body_of(activation(slow)) != body_of(activation(fast))
    assert body_of(activation(slow)) == body_of(activation(slow.expression))
    assert bodies_of([activation(slow), activation(slow.expression)]).count("def ") == 1
    assert len({body_of(record) for record in ALL.values()}) == len(ALL)


def test_a_record_that_borrows_a_name_keeps_its_own_body():
    record = activation(Activation("tanh", sp.sin(X)))
    assert body_of(record) != "tanh_and_slope"
    assert_exact(record, 0.6)


def test_text_is_the_same_in_every_process():
    """Sets are ordered by hashes, which differ from one process to the next."""
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    code = (
        "from tests.oracles.activations import RECORDS\n"
        "from symkernel.codegen.activations import bodies_of\n"
        "import sys; sys.stdout.write(bodies_of(RECORDS.values()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True
    )
    assert done.stdout.decode() == bodies_of(RECORDS.values())


def test_an_expression_without_translation_is_refused_by_name():
    net = sk.Network.two_layer(2, 3, 1, sp.besselj(0, X))
    task, w0 = sk.Task(np.eye(2), np.ones((2, 1))), sk.weights.gaussian(net, seed=0)
    with pytest.raises(Unlowerable, match="The node besselj in"):
        sk.simulate(net, task, w0, learning_rate=0.1, steps=1)
    with pytest.raises(Unlowerable, match="The node besselj in"):
        sk.ntk(net).compile()


# ---- rules

ARGUMENTS = st.sampled_from([X, -X, 2 * X, X / 3 + 1, X**2, -X - sp.Symbol("y")])
PRODUCTS = st.builds(
    lambda u, k, n, rest: sp.exp(k * u + rest) * (1 + sp.exp(u)) ** -n,
    ARGUMENTS,
    st.integers(-2, 3),
    st.integers(1, 3),
    st.sampled_from([0, X**2, sp.Symbol("y")]),
)


@given(PRODUCTS, PRODUCTS)
def test_rules_for_sigmoids_are_identities(one, other):
    written = without_overflow(one + X * other)
    assert written.has(sigmoid)
    assert vanishes(one + X * other - written.replace(sigmoid, lambda u: sigmoid(u).definition()))


@given(ARGUMENTS)
def test_rule_for_softplus_is_an_identity(u):
    expression = X * sp.log(1 + sp.exp(u)) ** 2
    written = without_overflow(expression)
    assert written == X * softplus(u) ** 2
    assert written.replace(softplus, lambda v: softplus(v).definition()) == expression


@given(ARGUMENTS, st.integers(1, 3))
def test_no_exponential_is_left_of_sigmoids_and_their_slopes(u, n):
    for expression in (1 / (1 + sp.exp(u)) ** n, sp.log(1 + sp.exp(u)) ** n):
        for e in (expression, sp.diff(expression, X)):
            assert not without_overflow(e).has(sp.exp), e


# ---- speed


@pytest.mark.parametrize("name", ["softplus", "gelu", "leaky relu"])
def test_loops_over_printed_bodies_vectorise(name):
    record = activation(USER_MADE[name][0])
    source = inspect.getsource(elementary) + bodies_of([record])
    function = getattr(load(source, "bodies"), body_of(record))

    @numba.njit("void(f8[::1], f8[::1], f8[::1])", error_model="numpy", fastmath={"contract"})
    def fill(z, value, slope):
        for k in range(z.size):
            value[k], slope[k] = function(z[k])

    assert "x double>" in next(iter(fill.inspect_llvm().values()))
