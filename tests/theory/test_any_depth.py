"""The law of one mode at any depth, as the public face gives it."""

from __future__ import annotations

import math
from dataclasses import replace

import mpmath
import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel import notation
from symkernel.errors import InvalidArgument, NoClosedForm
from symkernel.theory.deep_functions import WrightOmega
from symkernel.theory.deep_integrals import Y, elementary, prove_integral, rising
from symkernel.theory.deep_mode import DeepMode


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


def at(expression, **values):
    """Put numbers into an expression by the names of its symbols."""
    return expression.subs({q: values[q.name] for q in expression.free_symbols})


def quadrature(depth, s, d, u0, u):
    """Return the flow time from u0 to u: the integral of 1/f(u)."""
    D = mpmath.mpf(float(depth))
    return mpmath.quad(lambda x: 1 / (D * x ** (2 - 2 / D) * (s - d * x)), [u0, u])


BRANCHES = {
    "rising": (0, (2, 0.5, 0.3, 3.0)),
    "falling": (1, (2, 0.5, 9.0, 4.5)),
    "dying": (-1, (-1, 1, 0.5, 0.1)),
    "dying, another variance": (-1, (-2, 0.5, 3.0, 0.2)),
}


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 6, sp.Rational(7, 2)])
@pytest.mark.parametrize("branch", sorted(BRANCHES))
def test_flow_times_on_every_branch_are_the_integral(depth, branch):
    k, (s, d, u0, u) = BRANCHES[branch]
    times = sk.deep_mode(depth).times if depth != sp.Rational(7, 2) else DeepMode(depth).times
    time = times[k if len(times) > 1 else 0].plain
    found = at(time, s=s, d=d, u0=u0, u=u).evalf()
    assert abs(found - quadrature(depth, s, d, u0, u)) < 1e-12


@pytest.mark.parametrize("branch", sorted(BRANCHES))
def test_elementary_forms_and_a_symbolic_depth_agree_with_the_integral(branch):
    k, (s, d, u0, u) = BRANCHES[branch]
    general = sk.deep_mode(sp.Symbol("D", positive=True)).times[k].plain
    for depth in (3, 4, 5, 6):
        wanted = quadrature(depth, s, d, u0, u)
        found = [at(general, D=depth, s=s, d=d, u0=u0, u=u)]
        if k >= 0:
            found.append(at(sk.deep_mode(depth).times[2].plain, s=s, d=d, u0=u0, u=u))
        assert all(abs(time.evalf() - wanted) < 1e-12 for time in found)


def test_the_time_of_a_dying_mode_knows_the_size_of_the_strength_alone():
    time = sk.deep_mode(4).times[-1]
    values = [at(time.plain, s=s, d=1, u0=0.5, u=0.1).evalf() for s in (-1, 1)]
    assert values[0] == values[1] == pytest.approx(0.7194, abs=1e-4)
    assert not time.plain.has(sp.I)
    assert r"\bar{\nu} &= \frac{\left|{s}\right|^{\frac{3}{2}}}{\sqrt{d}}" in time.latex()


@pytest.mark.parametrize("depth", [3, 4, 8, sp.Symbol("D", positive=True)])
def test_no_abbreviation_has_two_meanings(depth):
    meanings: dict = {}
    for formula in sk.deep_mode(depth).times:
        for symbol, meaning in formula.where:
            assert meanings.setdefault(symbol, meaning) == meaning


@pytest.mark.parametrize("depth", [1, 2, sp.oo])
@pytest.mark.parametrize("branch", sorted(BRANCHES))
def test_explicit_depths_have_one_elementary_time_for_all_branches(depth, branch):
    mode = sk.deep_mode(depth)
    (time,) = mode.times
    assert mode.prove().passed
    assert not time.plain.has(sp.hyper, sp.nan, sp.zoo, sp.oo)
    _, (s, d, u0, u) = BRANCHES[branch]
    slope = time.plain.diff(notation.u) * mode.rate - 1
    assert abs(at(slope, s=s, d=d, u0=u0, u=u)) < 1e-12
    found = at(time.plain, s=s, d=d, u0=u0, u=u)
    assert found > 0
    assert mode([float(found)], s, u0, d)[0, 0] == pytest.approx(u, rel=1e-12)


def test_a_wrong_explicit_time_is_not_proven():
    mode = sk.deep_mode(2)
    assert mode.prove().passed
    wrong = DeepMode(sp.Integer(2))
    wrong.__dict__["time"] = replace(mode.time, expression=2 * mode.time.expression)
    assert not wrong.prove().passed


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_equation_holds_with_a_factor_of_the_parameterisation(depth):
    """With c other than 1 the rate is that of c a^D."""
    c, k = sp.Rational(1, 3), sp.Rational(2, 5)
    mode = DeepMode(sp.Integer(depth), scale=c)
    amplitude = k ** (depth - 1) * (notation.s - notation.d * k**depth)
    chained = c * depth * k ** (depth - 1) * amplitude
    gap = at(mode.rate.subs(notation.u, c * k**depth) - chained, s=2, d=1)
    assert abs(gap.evalf()) < 1e-14
    assert mode.prove().passed


@pytest.mark.parametrize("depth", [3, 4, 5, 6])
def test_the_elementary_form_holds_on_both_sides_of_the_final_value(depth):
    r"""$\ln|1 - y|$: with $\ln(1 - y)$ it is complex above the final value."""
    both, below = elementary(depth), elementary(depth, rising_only=True)
    assert sp.log(sp.Abs(Y - 1)) in both.atoms(sp.log)
    assert r"\left|{y - 1}\right|" in sk.deep_mode(depth).times[2].latex()
    rate = Y ** (depth - 1) * (1 - Y**depth)
    assert prove_integral(both, rate, sp.Integer(depth))
    assert not prove_integral(both + sp.log(sp.Abs(1 - Y)), rate, sp.Integer(depth))
    under, over = {Y: sp.Rational(1, 3)}, {Y: sp.Integer(2)}
    assert both.subs(under).evalf() == pytest.approx(below.subs(under).evalf())
    assert both.subs(over).evalf().is_real
    assert not below.subs(over).evalf().is_real
