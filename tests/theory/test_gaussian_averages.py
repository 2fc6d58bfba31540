"""Averages over two Gaussian variables against quadrature at 30 digits, and their derivations."""

from __future__ import annotations

import mpmath
import pytest
import sympy as sp

from symkernel.problem.activation import ARGUMENT, activation
from symkernel.theory import average_steps as module
from symkernel.theory.gaussian_averages import (
    COSINE,
    COVARIANCE,
    SINE,
    VARIANCES,
    _narrowed,
    gaussian_averages,
)
from tests.oracles.gaussian_quadrature import by_angles, by_trapezoids

z = sp.Symbol("z", real=True)
KINKED = {
    "relu": sp.Max(0, z),
    "leaky": sp.Max(z, z / 10),
    "absolute": sp.Abs(z),
    "shifted": 2 - 3 * sp.Max(0, z) + z,
    "pieces": sp.Piecewise((z, z > 0), (-z / 2, True)),
}
ENTIRE = {
    "linear": z,
    "erf": sp.erf(z / sp.sqrt(2)),
    "probit": 1 + (1 + sp.erf(2 * z / 3)) / 2 - z / 3,
    "quadratic": z**2,
    "cubic": z**3 / 6 - z / 2 + 1,
    "quintic": z**5 / 100 + z**4 / 10,
    "exponential": sp.exp(z / 2),
    "sine": sp.sin(z),
    "cosines": sp.cos(3 * z / 2) + 0.25 * z,
    "hyperbolic": sp.cosh(z / 2) - sp.sinh(z / 3),
    "wave packet": z * sp.exp(z / 3) * sp.cos(z),
}
ALL = {**KINKED, **ENTIRE}
COVARIANCES = [(1, sp.Rational(1, 2), sp.Rational(1, 3)), (sp.Rational(3, 4), 2, -1)]


def record(name):
    return gaussian_averages(activation(ALL[name]))


def at(expression, covariances):
    v, w, c = covariances
    given = {VARIANCES[0]: sp.sympify(v), VARIANCES[1]: sp.sympify(w), COVARIANCE: sp.sympify(c)}
    return mpmath.mpf(str(expression.xreplace(given).evalf(40)))


def quadrature(name, covariances):
    phi = activation(ALL[name])
    rule = by_angles if name in KINKED else by_trapezoids
    v, w, c = (mpmath.mpf(sp.Rational(q).p) / sp.Rational(q).q for q in covariances)
    found = []
    for expression in (phi.expression, phi.slope):
        f = sp.lambdify(ARGUMENT, expression.rewrite(sp.Piecewise), "mpmath")
        found.append(rule(f, f, (v, w), c))
    return found


@pytest.mark.parametrize("name", ALL)
def test_averages_equal_quadrature_at_thirty_digits(name):
    averages = record(name)
    with mpmath.workdps(32):
        for covariances in COVARIANCES:
            got = [at(e, covariances) for e in (averages.value, averages.slope)]
            want = quadrature(name, covariances)
            assert max(abs(a - b) for a, b in zip(got, want, strict=True)) < 1e-20, covariances


@pytest.mark.parametrize("name", ALL)
def test_every_step_of_the_derivation_is_proven(name):
    for step in record(name).steps:
        evidence = step.check()
        assert evidence.passed, evidence.figure
        assert step.latex()


@pytest.mark.parametrize("name", ["relu", "shifted", "erf", "probit", "cubic", "sine", "cosines"])
def test_slips_of_sign_and_factor_are_found(name):
    averages = record(name)
    start = averages.value.xreplace({COVARIANCE: sp.S.Zero})
    rise = averages.value - start
    slips = {"factor": start + 2 * rise, "sign": start - rise, "start": averages.value + 1}
    for word, wrong in slips.items():
        step = module.integral("value", wrong, averages.slope, start, "slip")
        assert not step.check().passed, word
    step = module.integral("value", averages.value, 2 * averages.slope, start, "slip")
    assert not step.check().passed
    assert module.integral("value", averages.value, averages.slope, start, "none").check().passed


def test_slips_of_the_compiled_form_and_of_the_narrower_density_are_found():
    relu, erf = record("relu"), record("erf")
    for averages in (relu, erf):
        plain = averages.value, averages.slope
        wrong = averages.stable[0], averages.stable[1].xreplace({SINE: -SINE, COSINE: 2 * COSINE})
        assert not module.stable_form(averages.sine, plain, wrong).check().passed
    covariances = sp.Matrix([[VARIANCES[0], COVARIANCE], [COVARIANCE, VARIANCES[1]]])
    first, determinant = 1 + VARIANCES[0], (sp.eye(2) + covariances).det()
    parts = sp.S.Zero, sp.sqrt(2 / sp.pi), 1 / sp.sqrt(2)
    right = activation("erf").expression
    assert _narrowed(right, parts, covariances, (first, determinant)).passed
    for wider in ((first, determinant + COVARIANCE**2), (first + 1, determinant)):
        assert not _narrowed(right, parts, covariances, wider).passed
    assert not _narrowed(right, (*parts[:2], sp.S.One), covariances, (first, determinant)).passed


@pytest.mark.parametrize("name", ALL)
def test_diagonal_is_the_limit_of_equal_samples(name):
    v = sp.Rational(7, 5)
    averages = record(name)
    whole = averages.at(v, v, v)
    with mpmath.workdps(30):
        for form in (averages.diagonal(v), averages.stable_diagonal(v)):
            for got, want in zip(form, whole, strict=True):
                assert abs(sp.N(got - want, 30)) < 1e-25


def test_diagonal_keeps_its_digits_at_large_variances():
    averages, w = record("erf"), VARIANCES[0]
    forms = averages.diagonal(w)[0], averages.stable_diagonal(w)[0]
    with mpmath.workdps(40):
        exact = sp.N(forms[0].xreplace({w: sp.Integer(10) ** 12}), 40)
    naive, stable = (abs(sp.lambdify(w, form, "math")(1e12) - exact) for form in forms)
    assert stable < 2e-16
    assert naive > 1e-12


def test_stable_form_is_accurate_where_the_plain_one_cancels():
    """sqrt(v v' - c^2) in floating point loses half of the digits next to equal samples."""
    averages = record("relu")
    v, c = 1.0, 1.0 - 1e-12
    symbols = (*VARIANCES, COVARIANCE)
    plain = sp.lambdify(symbols, averages.value, "math")(v, v, c)
    stable = sp.lambdify((*symbols, SINE, COSINE), averages.stable[0], "math")
    root = ((1 - c) * (1 + c)) ** 0.5
    with mpmath.workdps(40):
        exact = at(averages.value, (1, 1, sp.Rational(c)))
    assert abs(stable(v, v, c, c, root) - exact) < 2e-16
    assert sp.lambdify(symbols, averages.slope, "math")(v, v, c) == pytest.approx(0.5, abs=1e-6)
    assert abs(plain - exact) < 1e-12


def test_classes_are_recognised_by_their_expression():
    families = {name: record(name).family for name in ALL}
    assert {families[name] for name in KINKED} == {"piecewise linear with a kink at 0"}
    assert {families[n] for n in ("erf", "probit")} == {"error function"}
    assert {families[n] for n in ("linear", "quadratic", "cubic")} == {"polynomial"}
    assert families["sine"] == "exponential polynomial"


@pytest.mark.parametrize(
    "expression",
    [
        sp.tanh(z),
        1 / (1 + sp.exp(-z)),
        sp.Max(0, z - 1),
        sp.Max(0, z) ** 2,
        z * sp.erf(z),
        sp.exp(-(z**2)),
        sp.erf(z) + sp.erf(2 * z),
        sp.erf(z + 1),
        sp.sqrt(1 + z**2),
        sp.Max(0, z) + sp.sin(z),
        z**13,
    ],
)
def test_what_belongs_to_no_class_is_left_to_the_series(expression):
    assert gaussian_averages(activation(expression)) is None


def test_textbook_forms_of_cho_saul_and_williams():
    v, w = VARIANCES
    relu, erf = record("relu"), record("erf")
    angle = sp.pi / 2 - sp.asin(COVARIANCE / sp.sqrt(v * w))
    book = sp.sqrt(v * w) / (2 * sp.pi) * (sp.sin(angle) + (sp.pi - angle) * sp.cos(angle))
    for covariances in COVARIANCES:
        assert abs(at(relu.value - book, covariances)) < 1e-15
    assert erf.value == 2 / sp.pi * sp.asin(COVARIANCE / sp.sqrt((1 + v) * (1 + w)))
