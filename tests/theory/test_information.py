"""Closed forms of information: against definitions, samples and each other, and their steps."""

from __future__ import annotations

import itertools

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

import symkernel as sk
from symkernel.errors import InvalidArgument
from symkernel.theory import information_derivation as derivation
from symkernel.theory import information_gaussian as gaussian_theory

info = sk.information
LN2 = np.log(2)


# ---- two classes


@pytest.mark.parametrize("m", [0.01, 0.3, 0.7, 1.0, 1.5, 2.5, 4.0, 8.0])
def test_two_classes_against_twenty_digits(m):
    with mpmath.workdps(20):
        ends = sorted([-12 - m, -m - 2, -m, 2 - m, 0, 4, 12])
        lost = mpmath.quad(
            lambda u: mpmath.npdf(u) * mpmath.log1p(mpmath.exp(-2 * m * m - 2 * m * u)), ends
        )
        exact = float(1 - lost / mpmath.log(2))
    assert abs(info.binary(m) - exact) < 1e-14
    assert abs(info.BinaryInformation(sp.Float(m)).evalf() - exact) < 1e-14


def test_weak_signals_keep_their_digits():
    m = np.array([1e-8, 1e-5, 1e-3])
    assert np.allclose(info.binary(m), (m**2 / 2 - m**4 / 4) / LN2, rtol=1e-12, atol=0)


@given(st.floats(0, 30), st.floats(0, 3))
def test_it_grows_from_0_to_1(m, more):
    one, two = info.binary([m, m + more])
    assert 0 <= one <= two + 1e-15 <= 1 + 1e-15


@given(st.floats(0.05, 4))
def test_the_derivative_is_that_of_the_values(m):
    slope = info.BinaryInformation(sp.Symbol("m", positive=True)).diff()
    u = np.linspace(-9, 9, 4001)
    density = np.exp(-u * u / 2) / np.exp(-u * u / 2).sum()
    expected = m * (1 - density @ np.tanh(m * m + m * u)) / LN2
    step = 1e-5
    assert np.isclose((info.binary(m + step) - info.binary(m - step)) / (2 * step), expected)
    assert slope.has(sp.tanh)


@pytest.mark.parametrize("m", [0.3, 1.0, 2.5])
def test_two_classes_against_the_estimator(m):
    stream = np.random.default_rng(7)
    y = stream.integers(0, 2, 40_000)
    z = stream.standard_normal((40_000, 5))
    z[:, 0] += m * (2 * y - 1)
    found = sk.usable_information(z, y)
    assert abs(found.bits - info.binary(m)) < min(4 * found.standard_error, 0.02)


# ---- K classes


def transform(t, m, quad, exp):
    """The mean of exp(-t e^(m g)), split where the integrand bends."""
    kink = -np.log(float(t)) / float(m)
    ends = sorted({-11.0, *(min(max(kink + k / float(m), -11.0), 11.0) for k in (-2, 0)), 11.0})
    return quad(lambda g: exp(-g * g / 2 - t * exp(m * g)), ends)


@pytest.mark.parametrize(("K", "m"), [(3, 0.8), (4, 1.0), (10, 2.0), (50, 3.0)])
def test_more_classes_against_an_adaptive_rule(K, m):
    from math import exp, log, pi, sqrt

    from scipy import integrate

    def quad(f, ends):
        options = {"epsabs": 1e-14, "epsrel": 1e-13, "limit": 400}
        pairs = itertools.pairwise(ends)
        return sum(integrate.quad(f, a, b, **options)[0] for a, b in pairs)

    def inner(v):
        t = exp(v)
        other, first = (transform(s, m, quad, exp) / sqrt(2 * pi) for s in (t, t * exp(m * m)))
        return exp(-t) - first * other ** (K - 1)

    mean = quad(inner, [-1.5 * m**2 - log(K) - 32, -3, 2, 8 * m + 4])
    assert abs(info.categorical(K, m) - (log(K) + m * m - mean) / LN2) < 1e-10


@pytest.mark.parametrize("m", [0.2, 1.0, 1.7])
def test_three_classes_against_their_definition_in_three_dimensions(m):
    g = np.arange(-34, 35) / 4
    p = np.exp(-g * g / 2) / np.exp(-g * g / 2).sum()
    # Axes: unit of another class, of the right one, of the third.
    ratio = np.exp(m * (g[:, None] - g - m))
    posterior = 1 / (1 + ratio[:, :, None] + ratio.T[None])
    weights = p[:, None, None] * p[:, None] * p
    assert abs(info.categorical(3, m) - np.log2(3) - (weights * np.log2(posterior)).sum()) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize(("K", "m"), [(4, 1.0), (10, 3.0)])
def test_more_classes_against_twenty_digits(K, m):
    with mpmath.workdps(20):
        m, root = mpmath.mpf(m), mpmath.sqrt(2 * mpmath.pi)

        def inner(v):
            t = mpmath.exp(v)
            shifted = t * mpmath.exp(m * m)
            other, first = (transform(s, m, mpmath.quad, mpmath.exp) / root for s in (t, shifted))
            return mpmath.exp(-t) - first * other ** (K - 1)

        ends = [-1.5 * m**2 - mpmath.log(K) - 32, -3, 2, 8 * m + 4]
        mean = mpmath.quad(inner, ends, maxdegree=5)
        exact = float((mpmath.log(K) + m * m - mean) / mpmath.log(2))
    assert abs(info.categorical(K, float(m)) - exact) < 1e-10


@given(st.floats(0, 12))
def test_two_of_k_classes_are_two_classes(m):
    assert abs(info.categorical(2, m * np.sqrt(2)) - info.binary(m)) < 1e-12


@given(st.integers(2, 10**6), st.floats(0, 25), st.floats(0, 2))
def test_it_grows_with_distance_and_classes_to_the_entropy(K, m, more):
    one, two = info.categorical(K, [m, m + more])
    assert -1e-13 <= one <= two + 1e-12 <= np.log2(K) + 2e-12
    assert one <= info.categorical(K + 1, m) + 1e-12


def test_weak_and_strong_signals_join_without_a_step():
    for K in (3, 40):
        below, above = info.categorical(K, [0.9999e-4, 1.0001e-4])
        assert np.isclose(above / below, (1.0001 / 0.9999) ** 2, rtol=1e-6)
        end = 13 * np.sqrt(2) + np.sqrt(2 * np.log(K))
        below, above = info.categorical(K, [end - 1e-9, end + 1e-9])
        assert abs(above - below) < 1e-12
        assert above == np.log2(K)


def test_a_fixed_rule_of_120_hermite_points_is_not_enough():
    x, w = np.polynomial.hermite_e.hermegauss(120)
    m = 3.0
    naive = w @ np.exp(-np.exp(m * x)) / w.sum()
    g = np.linspace(-10, 10, 20_001)
    density = np.exp(-g * g / 2) / np.exp(-g * g / 2).sum()
    assert abs(naive - density @ np.exp(-np.exp(m * g))) > 1e-8


@pytest.mark.parametrize(("K", "m"), [(4, 1.0), (10, 2.0)])
def test_more_classes_against_the_estimator(K, m):
    stream = np.random.default_rng(8)
    y = stream.integers(0, K, 40_000)
    z = stream.standard_normal((40_000, K))
    z[np.arange(40_000), y] += m
    found = sk.usable_information(z, y)
    assert abs(found.bits - info.categorical(K, m)) < min(4 * found.standard_error, 0.02)


# ---- symbols


def test_symbols_stay_symbols_and_take_values():
    m, K = sp.Symbol("m", positive=True), sp.Symbol("K", integer=True, positive=True)
    assert info.binary(m) == info.BinaryInformation(m)
    assert info.binary(sp.Integer(0)) == 0
    assert info.BinaryInformation(sp.oo) == 1
    assert info.categorical(K, sp.Integer(0)) == 0
    assert info.categorical(K, m).subs({K: 2}) == info.binary(m / sp.sqrt(2))
    assert info.CategoricalInformation(K, sp.oo) == sp.log(K) / sp.log(2)
    value = info.categorical(K, m).subs({K: 4, m: 1}).evalf(30)
    assert abs(value - info.categorical(4, 1.0)) < 1e-14
    assert str(info.binary(m)) == "J(m)"
    assert str(info.categorical(K, m)) == "I(K, m)"
    assert sp.latex(info.binary(m) ** 2) == r"J^{2}\left(m\right)"
    assert sp.latex(info.categorical(K, m) ** 2) == r"I_{K}^{2}\left(m\right)"
    assert info.binary(m).evalf() == info.binary(m)
    assert info.categorical(K, m).evalf().has(K)


@pytest.mark.parametrize(
    "formula", [info.binary_formula, info.categorical_formula, info.gaussian_formula]
)
def test_every_step_is_checked_and_printed(formula):
    found = formula()
    for step in found.steps:
        evidence = step.check()
        assert evidence.passed, evidence.figure
        assert step.latex().startswith(r"\begin{aligned}")
    assert r"\ln" in found.latex()


m, u, y, h, K, S, t = (getattr(derivation, name) for name in ("m", "u", "y", "h", "K", "S", "t"))
J = info.BinaryInformation(m)


@pytest.mark.parametrize(
    ("check", "claims"),
    [
        ("posterior", [1 / (1 + sp.exp(-m * y * h))]),
        ("average", [J.definition().subs(m, 2 * m), 1 / (1 + sp.exp(-2 * m * y * h))]),
        ("average", [J.definition() + 1, 1 / (1 + sp.exp(-2 * m * y * h))]),
        ("symmetric", [(m - derivation.averaged(sp.log(sp.cosh(m**2 + m * u)))), J.definition()]),
        ("symmetric", [m**2 - derivation.averaged(sp.log(sp.cosh(m * u))), J.definition()]),
        ("derivative", [J.fdiff() / 2]),
        ("derivative", [m * (1 - derivation.averaged(sp.tanh(m * u))) / sp.log(2)]),
        ("weak", [(m**2 / 2 + m**4 / 4) / sp.log(2)]),
        ("binary_numbers", [J.definition().subs(m**2, m**2 + m)]),
        ("softmax", [sp.exp(2 * m * derivation.UNITS[0]) / S]),
        ("logarithm", [sp.Integral((sp.exp(-2 * t) - sp.exp(-t * S)) / t, (t, 0, sp.oo))]),
        ("logarithm", [sp.Integral((sp.exp(-t) - sp.exp(-t * S**2)) / t, (t, 0, sp.oo))]),
        (
            "product",
            [
                derivation.TRANSFORM(t * sp.exp(m)) * derivation.TRANSFORM(t) ** (K - 1),
                info.CategoricalInformation(K, m).transform(),
            ],
        ),
        (
            "product",
            [
                derivation.TRANSFORM(t * sp.exp(m**2)) * derivation.TRANSFORM(t),
                info.CategoricalInformation(K, m).transform(),
            ],
        ),
        ("two", [m / 2]),
    ],
)
def test_checks_of_steps_can_fail(check, claims):
    evidence = getattr(derivation, f"check_{check}")(*claims)
    assert not evidence.passed
    assert evidence.figure.startswith("NOT so")


def test_the_check_of_the_numbers_of_k_classes_can_fail(monkeypatch):
    monkeypatch.setattr(derivation, "categorical_bits", lambda K, m: 0.1)
    assert not derivation.check_categorical_numbers().passed


def test_checks_of_the_gaussian_steps_can_fail():
    assert not gaussian_theory.check_determinants(lambda W: 2 * W.T * W).passed
    assert not gaussian_theory.check_remaining(lambda C, rows: C).passed

    def marginal(A, C, noise, of, given):
        return info.gaussian(A, C, noise, of=of)

    assert not gaussian_theory.check_joint(marginal).passed


# ---- refusals


@pytest.mark.parametrize(
    "bad", [-1, [0.5, -0.1], np.nan, np.inf, 1j, "one", None, [[1], [1, 2]], []]
)
def test_distances_are_numbers_that_are_not_negative(bad):
    for ask in (info.binary, lambda m: info.categorical(3, m)):
        with pytest.raises(InvalidArgument, match="'m' must"):
            ask(bad)


@pytest.mark.parametrize("bad", [1, 0, 2.0, True, "3", None])
def test_there_are_two_classes_or_more(bad):
    with pytest.raises(InvalidArgument, match="'K' must be an integer of at least 2"):
        info.categorical(bad, 1.0)
