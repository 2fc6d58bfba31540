"""Averages by series: the stated accuracy against exact integrals and dense quadrature."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from symkernel.nodes import Activation
from symkernel.theory.hermite_averages import Projection, hermite_averages

z = sp.Symbol("z", real=True)


def gaussian_integrals(v, w, c, p, q):
    """Averages of exp(p u^2 + q u'^2), and of u u' times that."""
    S = np.array([[v, c], [c, w]])
    inner = np.eye(2) - 2 * S @ np.diag([p, q])
    # The product of the roots of the eigenvalues is the branch that starts at 1.
    size = 1 / np.prod(np.sqrt(np.linalg.eigvals(inner).astype(complex)))
    return size, size * np.linalg.solve(inner, S)[0, 1]


def narrow_peak(v, w, c):
    k, both = gaussian_integrals(v, w, c, -400, -400)
    return k.real, 800**2 * both.real


def chirp(v, w, c):
    """cos(u^2) is the real part of exp(i u^2)."""
    same, other = (gaussian_integrals(v, w, c, 1j, q) for q in (1j, -1j))
    return (same[0] + other[0]).real / 2, 4 * (other[1] - same[1]).real / 2


def steep_step(v, w, c):
    """Of erf(z / sqrt 2) at 10^4 times the variances."""
    v, w, c = (1e4 * q for q in (v, w, c))
    k = 2 / np.pi * np.arcsin(c / np.sqrt((1 + v) * (1 + w)))
    return k, 1e4 * 2 / np.pi / np.sqrt((1 + v) * (1 + w) - c**2)


def dense(f, slope):
    """Trapezoids, exponentially accurate where they resolve the function."""

    def averages(v, w, c, points=1601, reach=9.0):
        x = np.linspace(-reach, reach, points)
        share = np.exp(-x * x / 2)
        share /= share.sum()
        a, b, d = np.sqrt(v), c / np.sqrt(v), np.sqrt(max(w - c * c / v, 0))
        return tuple((share * g(a * x)) @ (g(b * x[:, None] + d * x) @ share) for g in (f, slope))

    return averages


SHARP = {
    sp.exp(-400 * z**2): narrow_peak,
    sp.cos(z**2): chirp,
    sp.erf(100 * z / sp.sqrt(2)): steep_step,
    sp.sin(z**3): dense(lambda u: np.sin(u**3), lambda u: 3 * u**2 * np.cos(u**3)),
}
# The trapezoids do not resolve sin(z^3) at 3.
CASES = [(e, s) for e in list(SHARP)[:-1] for s in (0.1, 1.0, 3.0)] + [(sp.sin(z**3), 1.0)]


@pytest.mark.parametrize(("expression", "size"), CASES)
def test_stated_accuracy_of_series_bounds_value_and_slope(expression, size):
    variances = size**2 * np.array([0.4, 1.0])
    series = hermite_averages(Activation("", expression))
    projection = series.at(variances, 1e-10)
    exact = SHARP[expression]
    own = np.array([exact(v, v, v) for v in variances]).T
    tops = own.max(axis=1)
    # Exact forms round to 1e-15.
    off = np.abs(projection.squares - own).max(axis=1)
    assert (off <= projection.drift * tops + 1e-15).all()
    for rho in (-0.6, 0.9):
        C = rho * np.sqrt(np.outer(variances, variances))
        found = series.pairs(projection, projection, C)
        bound = series.error(projection, projection, abs(rho))
        for i, j in ((0, 0), (0, 1), (1, 1)):
            want = exact(variances[i], variances[j], C[i, j])
            for k, top in enumerate(tops):
                assert abs(found[k][i, j] - want[k]) <= bound * top + 1e-15


@pytest.mark.parametrize("expression", [sp.cos(z**2), sp.sin(z**3)])
def test_one_rule_alone_is_off_by_more_than_parseval_says(expression):
    """Truncation after 1024 terms at a correlation of 0.9 is 1e-47: only a second rule tells."""
    series = hermite_averages(Activation("", expression))
    deviation = np.array([3.0])
    found = Projection(deviation, *series._projected(deviation, 1024, 1), np.zeros((2, 1)))
    naive = series.error(found, found, 0.9)
    fine = series._projected(deviation, 32, 32)[1]
    assert naive < 1e-11
    assert np.abs(found.squares / fine - 1).max() > 1e-3
