r"""Averages over one unit of erf(z / sqrt 2) in closed form, four points at a time.

Slopes are Gaussians, $\phi' = \sqrt{2/\pi}\,e^{-z^2/2}$: a product of slopes at the points P tilts
the density of all pre-activations to the covariance $(\Sigma^{-1} + 1_P)^{-1}$, and costs a factor
$\det(1 + \Sigma_{PP})^{-1/2}$. Under the tilted density of covariance U there remains

$$\langle\phi_a\phi_b\rangle = \tfrac2\pi \arcsin\frac{U_{ab}}{\sqrt{(1+U_{aa})(1+U_{bb})}},
  \qquad \langle\phi_a z_b\rangle = \sqrt{\tfrac2\pi} \frac{U_{ab}}{\sqrt{1+U_{aa}}},$$

the second because $\phi'' = -z\phi'$.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from symkernel.theory.unit_averages import UnitMoments

__all__ = ["erf_unit_averages"]

_PEAK = np.sqrt(2 / np.pi)
Indices = tuple[np.ndarray, ...]


def erf_unit_averages(moments: UnitMoments) -> tuple[np.ndarray, np.ndarray]:
    """Return linearised and curvature part, (n_times, n_points, n_points) each."""
    m, n, points = moments, moments.samples, len(moments.covariances)
    y, i, j = (a.ravel() for a in np.indices((points, n, n)))
    powers = np.einsum("tio,tjo->tij", m.pulls, m.pulls).reshape(-1, 1, n * n)
    meetings = m.meetings.reshape(-1, 1, n * n)
    linear = np.zeros((len(m.pulls), points, points))
    curved = np.zeros_like(linear)
    for x in range(points):
        here = np.full_like(y, x)
        pull = m.tangent[y, i] * m.tangent[y, j]
        four = _tilted(m.covariances, (here, y, i, j), ())[0]
        share = m.spread * m.tangent[x, i] * m.tangent[y, j] * four
        linear[:, x] = _summed(share, powers, points)
        factor, (S, a, b) = _tilted(m.covariances, (y, i), (here, j))
        arc = 2 / np.pi * np.arcsin(np.clip(S / np.sqrt((1 + a) * (1 + b)), -1.0, 1.0))
        first = m.readout * factor * arc
        factor, (S, a, _) = _tilted(m.covariances, (y, i, j), (here, i))
        first -= m.spread * m.tangent[i, j] * factor * _PEAK * S / np.sqrt(1 + a)
        factor, (S, a, _) = _tilted(m.covariances, (y, i, j), (here, y))
        bend = -0.5 * m.spread * pull * factor * _PEAK * S / np.sqrt(1 + a)
        change = _summed(m.tangent[y, i] * first, meetings, points)
        change += _summed(bend, powers, points)
        curved[:, x] += change
        curved[:, :, x] += change
    return linear, curved


def _summed(share: np.ndarray, factors: np.ndarray, points: int) -> np.ndarray:
    """Sum over pairs of samples, for every time and point."""
    return (share.reshape(1, points, -1) * factors).sum(-1)


def _tilted(covariances: np.ndarray, slopes: Indices, pair: Indices) -> tuple[np.ndarray, Indices]:
    """Return the factor of slopes at some points, and the tilted covariance of a pair of points.

    Of the pair (a, b): the covariance of a and b, the variance of a and that of b.
    """
    points = np.stack(slopes, axis=1)
    inner = np.eye(len(slopes)) + covariances[points[:, :, None], points[:, None, :]]
    factor = _PEAK ** len(slopes) / np.sqrt(np.linalg.det(inner))
    if not pair:
        return factor, ()
    columns = np.stack([covariances[points, a[:, None]] for a in pair], axis=2)
    lost = np.einsum("nka,nkb->nab", columns, np.linalg.solve(inner, columns))
    a, b = pair
    return factor, (
        covariances[a, b] - lost[:, 0, 1],
        covariances[a, a] - lost[:, 0, 0],
        covariances[b, b] - lost[:, 1, 1],
    )
