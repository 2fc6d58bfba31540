r"""Information between a class and a Gaussian that it moves, as sums over equidistant points.

All integrands are analytic in a strip around the real line and die at its ends, so that the error
of such a sum falls as $e^{-2\pi w/\delta}$ with the step $\delta$, w being half the strip's width.
"""

from __future__ import annotations

import numpy as np

# Standard deviations beyond which the Gaussian is below rounding, and where an error no longer
# occurs: the tail there is below 1e-20.
_REACH, _CERTAIN = 9.0, 13.0
# Below, K-class information is its leading order, to a relative error of the square.
_SMALL = 1e-4


def binary_bits(m):
    r"""Return $J(m) = [m^2 - \langle\ln\cosh(m^2 + mu)\rangle]/\ln 2$ of one $m \ge 0$.

    The strip is as wide as $\pi/m$.
    """
    if m > _CERTAIN:
        return 1.0
    step = 0.25 / max(m, 1.0)
    u = step * np.arange(-np.ceil(_REACH / step), np.ceil(_REACH / step) + 1)
    density = np.exp(-0.5 * u * u)
    density /= density.sum()
    x = m * (m + u)
    if m > 1.0:
        return float(1.0 - density @ np.logaddexp(0.0, -2.0 * x) / np.log(2.0))
    # ln cosh x from sinh: of a small x the square would be lost beside 1.
    size = np.abs(x)
    small = np.log1p(2.0 * np.sinh(0.5 * np.minimum(size, 1.0)) ** 2)
    logs = np.where(size < 1.0, small, size + np.log1p(np.exp(-2.0 * size)) - np.log(2.0))
    return float((m * m - density @ logs) / np.log(2.0))


def categorical_bits(K, m):
    r"""Return $[\ln K + m^2 - \langle\ln S\rangle]/\ln 2$ of one $m \ge 0$, $S = \sum_c e^{m h_c}$.

    With $t = e^v$ the integral for $\ln S$ is a sum over v, and the average in it over a Gaussian a
    convolution on the same points. $1 - \varphi$ is summed, not $\varphi$: it keeps its digits
    where it is small, whatever K.
    """
    if m < _SMALL:
        return (K - 1) / K * m * m / (2.0 * np.log(2.0))
    # At this m the error, (K - 1) times a Gaussian tail, is below rounding.
    if m > np.sqrt(2.0) * _CERTAIN + np.sqrt(2.0 * np.log(K)):
        return float(np.log2(K))
    step = min(0.2, 0.5 * m)
    low = -(1.5 * m * m + np.log(K) + 40.0)
    count = int(np.ceil((_REACH * m + 5.0 - low) / step))
    v = low + step * np.arange(count)
    first, other = (_lost(v, step, m, shift) for shift in (m * m, 0.0))
    with np.errstate(divide="ignore"):
        logs = np.log1p(-first) + (K - 1) * np.log1p(-other)
    mean = step * float((-_gone(v) - np.expm1(logs)).sum())
    return float(min((np.log(K) + m * m - mean) / np.log(2.0), np.log2(K)))


def _lost(v, step, m, shift):
    r"""Return $1 - \langle\exp(-e^{v + s + mg})\rangle$ over Gaussian g, at equidistant v."""
    first = int(np.floor((shift - _REACH * m) / step))
    last = int(np.ceil((shift + _REACH * m) / step))
    x = step * np.arange(first, last + 1)
    weights = np.exp(-0.5 * ((x - shift) / m) ** 2)
    points = v[0] + step * np.arange(first, last + len(v))
    found = np.convolve(_gone(points), (weights / weights.sum())[::-1], mode="valid")
    return np.minimum(found, 1.0)


def _gone(x):
    r"""Return $1 - \exp(-e^x)$, which is 1 long before $e^x$ overflows."""
    return -np.expm1(-np.exp(np.minimum(x, 50.0)))
