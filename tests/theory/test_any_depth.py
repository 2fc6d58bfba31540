"""The law of one mode at any depth, as the public face gives it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel.errors import InvalidArgument, NoClosedForm
from symkernel.theory.deep_functions import WrightOmega
from symkernel.theory.deep_integrals import Y, elementary, prove_integral, rising


def test_a_wrong_integral_is_not_proven():
    rate = Y**3 * (1 - Y**4)
    assert prove_integral(rising(sp.Integer(4)), rate, sp.Integer(4))
    assert not prove_integral(rising(sp.Integer(4)), 2 * rate, sp.Integer(4))
    assert not prove_integral(elementary(5), Y**3 * (1 - Y**4), sp.Integer(4))


@pytest.mark.parametrize("depth", [3, 5, sp.oo])
def test_deep_mode_is_reachable_and_limits_fit(depth):
    mode = sk.deep_mode(depth)
    assert mode.prove().passed
    u = mode([0.0, 3.0, 6.0], [1.0, 2.0, 1.0], [0.2, 0.1, 1.5])
    assert u.shape == (3, 3)
    assert np.allclose(u[0], [0.2, 0.1, 1.5])
    if depth == sp.oo:
        formula = mode.output.plain
        names = {q.name: q for q in formula.free_symbols}
        at = {names["s"]: 2, names["d"]: 1, names["u0"]: sp.Rational(1, 10), names["T_D"]: 6}
        assert float(formula.subs(at).evalf(20)) == pytest.approx(u[2, 1], rel=1e-13)
        x = sp.Symbol("x", real=True)
        assert WrightOmega(x).rewrite(sp.LambertW) == sp.LambertW(sp.exp(x))
    else:
        with pytest.raises(NoClosedForm, match="no elementary function of time"):
            _ = mode.output


def test_any_depth_as_a_symbol():
    mode = sk.deep_mode(sp.Symbol("D", positive=True))
    assert mode.prove().passed
    assert mode.time.expression.has(sp.hyper)
    with pytest.raises(InvalidArgument, match="must be a number"):
        mode([1.0], 1.0, 0.1)


@pytest.mark.parametrize(
    "bad", [0, -1, 2.5, True, "3", None, sp.Rational(1, 2), sp.Symbol("n"), -sp.oo, math.nan]
)
def test_depth_below_one_is_refused(bad):
    with pytest.raises(InvalidArgument, match="'depth' must be a whole number of layers from 1 on"):
        sk.deep_mode(bad)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([0.0], 1.0, -0.1), "'start' must not be negative"),
        (([0.0], 1.0, 0.1, 0.0), "'variance' must be positive"),
        (([0.0], [1.0, 2.0], [0.1, 0.2, 0.3]), "one number or one for each"),
        (([0.0], np.nan, 0.1), "'strength'"),
        (([0.0], 1.0, 1j), "'start'"),
        (([0.0], 1.0, True), "'start'"),
        (([], 1.0, 0.1), "times"),
        (([1.0, 0.0], 1.0, 0.1), "times"),
    ],
)
def test_bad_numbers_of_a_mode_are_refused(arguments, words):
    with pytest.raises(InvalidArgument, match=words):
        sk.deep_mode(3)(*arguments)
