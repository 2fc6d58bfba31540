"""Closed forms of information: against definitions, samples and each other, and their steps."""

from __future__ import annotations

import itertools

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import symkernel as sk
from symkernel.errors import InvalidArgument, ShapeMismatch
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


# ---- Gaussian inputs


def drawn(seed, inputs, hidden):
    stream = np.random.default_rng(seed)
    root = stream.standard_normal((inputs, inputs))
    W = stream.standard_normal((hidden, inputs)) * 10 ** stream.uniform(-1, 1)
    return W, root @ root.T / inputs + 0.1 * np.eye(inputs), float(10 ** stream.uniform(-1, 1))


def from_the_joint(W, C, noise, R, G):
    """Log-determinants of the joint covariance of h, r and g."""
    read = {"h": W, "r": R, "g": G}

    def size(names):
        rows = np.concatenate([read[name] for name in names])
        joint = rows @ C @ rows.T
        if "h" in names:
            joint[: len(W), : len(W)] += noise**2 * np.eye(len(W))
        return np.linalg.slogdet(joint)[1] if len(rows) else 0.0

    return (size("hg") + size("rg") - size("g") - size("hrg")) / (2 * LN2)


@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 7), st.data())
def test_gram_form_agrees_with_the_joint_covariance(seed, inputs, hidden, data):
    W, C, noise = drawn(seed, inputs, hidden)
    asked = data.draw(st.integers(1, inputs - 1))
    known = data.draw(st.integers(0, inputs - asked))
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((inputs, inputs)))[0]
    R, G = turn[:asked], turn[asked : asked + known]
    given_rows = G if known else ()
    found = info.gaussian(W.T @ W, C, noise, of=R, given=given_rows)
    assert abs(found - from_the_joint(W, C, noise, R, G)) < 1e-10 * max(1, found)
    # The chain rule.
    both = info.gaussian(W.T @ W, C, noise, of=np.concatenate([R, G]))
    first = info.gaussian(W.T @ W, C, noise, of=G) if known else 0.0
    assert abs(both - first - found) < 1e-10 * max(1, both)


@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(1, 3))
@settings(max_examples=10)
def test_numbers_agree_with_exact_fractions(seed, inputs, hidden):
    W, C, noise = drawn(seed, inputs, hidden)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((inputs, inputs)))[0]
    gram = W.T @ W
    found = info.gaussian(gram, C, noise, of=turn[:1], given=turn[1:2])
    fractions = (sp.Matrix(part).applyfunc(sp.Rational) for part in (gram, C, turn))
    A, S, rows = fractions
    exact = info.gaussian(
        A, S, sp.Rational(noise), of=rows[:1, :].tolist(), given=rows[1:2, :].tolist()
    )
    assert abs(float(exact.evalf(30)) - found) < 1e-10 * max(1, found)


@pytest.mark.parametrize("given", [(), (0,), (0, 2)])
def test_gaussian_form_against_samples(given):
    W, C, noise = drawn(3, 4, 3)
    R, G = np.eye(4)[[1]], np.eye(4)[list(given)]
    stream = np.random.default_rng(0)
    x = stream.multivariate_normal(np.zeros(4), C, 40_000)
    sample = {"h": x @ W.T + noise * stream.standard_normal((40_000, 3)), "r": x @ R.T}
    sample["g"] = x @ G.T

    def log_density(names):
        z = np.concatenate([sample[name] for name in names], axis=1)
        rows = np.concatenate([{"h": W, "r": R, "g": G}[name] for name in names])
        joint = rows @ C @ rows.T
        if "h" in names:
            joint[:3, :3] += noise**2 * np.eye(3)
        if not len(rows):
            return np.zeros(len(z))
        whitened = np.linalg.solve(np.linalg.cholesky(joint), z.T)
        return -0.5 * (whitened**2).sum(0) - 0.5 * np.linalg.slogdet(joint)[1]

    bits = log_density("hrg") + log_density("g") - log_density("hg") - log_density("rg")
    bits = bits / LN2
    found = info.gaussian(W.T @ W, C, noise, of=1, given=given)
    assert abs(bits.mean() - found) < 4 * bits.std() / np.sqrt(len(bits))


def test_what_is_known_of_an_irrelevant_input():
    """The conditional vanishes with its weight, the marginal does not."""
    rho, noise = 0.8, 0.2
    C = np.array([[1, rho], [rho, 1]])
    weights = np.array([[0.3, 0.5], [1.0, 0.0]])
    A = weights[:, :, None] * weights[:, None, :]
    conditional = info.gaussian(A, C, noise, of=1, given=0)
    assert np.allclose(conditional, np.log2(1 + weights[:, 1] ** 2 * (1 - rho**2) / 0.04) / 2)
    marginal = info.gaussian(A, C, noise, of=[1])
    assert abs(conditional[1]) < 1e-15
    assert np.isclose(marginal[1], np.log2((1 + 0.04) / (1 + 0.04 - rho**2)) / 2)


def test_inputs_that_others_fix_add_nothing():
    C = np.array([[1.0, 1, 0], [1, 1, 0], [0, 0, 2]])
    A = np.diag([1.0, 2, 3])
    assert info.gaussian(A, C, 0.5, of=1, given=0) == 0
    assert np.isclose(
        info.gaussian(A, C, 0.5, of=[0, 1]), info.gaussian(A, C, 0.5, of=1), rtol=1e-12
    )


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


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"gram": np.ones((2, 3))}, ShapeMismatch, "'gram' must hold square"),
        ({"gram": np.eye(3)}, ShapeMismatch, r"'gram' must end in the shape \(2, 2\)"),
        ({"gram": [[1, 2], [0, 1]]}, InvalidArgument, "'gram' must be symmetric"),
        ({"gram": -np.eye(2)}, InvalidArgument, "the eigenvalue -1"),
        ({"gram": [[1], [1, 2]]}, InvalidArgument, "unequal length"),
        ({"gram": np.eye(2) * np.nan}, InvalidArgument, "'gram' must be finite"),
        ({"gram": np.eye(2) * 1j}, InvalidArgument, "complex"),
        ({"gram": []}, ShapeMismatch, "'gram' must be 2-dimensional"),
        ({"covariance": np.ones(2)}, ShapeMismatch, "'covariance' must be 2-dimensional"),
        ({"covariance": -np.eye(2)}, InvalidArgument, "positive semi-definite"),
        ({"noise": 0}, InvalidArgument, "'noise' must be a finite positive number"),
        ({"noise": -0.1}, InvalidArgument, "'noise' must be"),
        ({"noise": True}, InvalidArgument, "'noise' must be"),
        ({"of": 2}, InvalidArgument, "'of' must name inputs from 0 to 1"),
        ({"of": [-1]}, InvalidArgument, "'of' must name inputs"),
        ({"of": "first"}, InvalidArgument, "'of' must name inputs"),
        ({"of": True}, InvalidArgument, "'of' must name inputs"),
        ({"of": 0.5}, InvalidArgument, "'of' must name inputs"),
        ({"given": np.eye(3)}, ShapeMismatch, "'given' must have a column for each of the 2"),
        ({"given": np.full((1, 2), np.inf)}, InvalidArgument, "'given' must be finite"),
        ({"gram": sp.eye(3)}, ShapeMismatch, "square and of one shape"),
        ({"noise": sp.Integer(0)}, InvalidArgument, "'noise' must be"),
        ({"gram": sp.eye(2), "of": [["1/0", "0"]]}, InvalidArgument, "numbers or expressions"),
        ({"gram": sp.eye(2), "of": [[1, 0, 0]]}, ShapeMismatch, "a column for each of the 2"),
        ({"gram": sp.eye(2), "given": 0}, InvalidArgument, "none of which the others determine"),
        ({"gram": sp.eye(2), "covariance": [[1]]}, ShapeMismatch, "square and of one shape"),
        ({"gram": sp.eye(2), "covariance": "1"}, InvalidArgument, "not of text"),
    ],
)
def test_bad_gaussian_problems_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        info.gaussian(
            **{"gram": np.eye(2), "covariance": np.eye(2), "noise": 0.3, "of": 0, **options}
        )
