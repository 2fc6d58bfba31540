"""Averages over two Gaussian variables by quadrature at high precision, from the function alone."""

from __future__ import annotations

import itertools

import mpmath
import mpmath.calculus.quadrature


def by_trapezoids(f, g, variances, covariance, step=0.3, reach=11.5):
    """Sum over a grid of two independent normal variables: for entire functions f and g."""
    first, second = (mpmath.sqrt(v) for v in variances)
    rho = covariance / (first * second)
    other = mpmath.sqrt(1 - rho**2)
    step = mpmath.mpf(step)
    count = int(reach / step)
    points = [k * step for k in range(-count, count + 1)]
    density = {z: step * mpmath.exp(-z * z / 2) / mpmath.sqrt(2 * mpmath.pi) for z in points}
    total = mpmath.mpf(0)
    for z in points:
        inner = mpmath.fsum(density[w] * g(second * (rho * z + other * w)) for w in points)
        total += density[z] * f(first * z) * inner
    return total


def by_angles(f, g, variances, covariance):
    """Integrate over radius and angle, with corners at u = 0 and v = 0: for kinked functions."""
    first, second = (mpmath.sqrt(v) for v in variances)
    tilt = mpmath.asin(covariance / (first * second))
    ends = [k * mpmath.pi / 2 for k in range(4)]
    turned = [(e - tilt) % (2 * mpmath.pi) for e in ends]
    angles = [*sorted([*ends, *turned]), 2 * mpmath.pi]
    rays = [(mpmath.cos(a), mpmath.sin(a + tilt), w) for a, w in _gauss(angles, 4)]
    radii = [(r, w * r * mpmath.exp(-r * r / 2)) for r, w in _gauss([0, 4, 12], 5)]
    total = mpmath.mpf(0)
    for cosine, sine, share in rays:
        for r, weight in radii:
            total += share * weight * f(first * r * cosine) * g(second * r * sine)
    return total / (2 * mpmath.pi)


def _gauss(ends, degree):
    """Return nodes and weights of Gauss and Legendre's rule on every panel."""
    rule = mpmath.calculus.quadrature.GaussLegendre(mpmath.mp)
    found = []
    for low, high in itertools.pairwise(ends):
        middle, half = (low + high) / mpmath.mpf(2), (high - low) / mpmath.mpf(2)
        for x, w in rule.get_nodes(-1, 1, degree, mpmath.mp.prec):
            found.append((middle + half * x, half * w))
    return found
