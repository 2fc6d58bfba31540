r"""Averages over one unit of erf(z / sqrt 2) in closed form, four points at a time.

Slopes are Gaussians, $\phi' = \sqrt{2/\pi}\,e^{-z^2/2}$: a product of slopes at the points P tilts
the density of all pre-activations to the covariance $(\Sigma^{-1} + I_P)^{-1}$ and costs a factor
$\det(1 + \Sigma_P)^{-1/2}$. What is left is a product of two error functions under the tilted
density, or, with $\phi'' = -z \phi'$, of an error function and a pre-activation.
"""

from __future__ import annotations

import numpy as np


def tilted(covariances, points):
    """Return factor and covariances under the density that a product of slopes makes."""
    columns = covariances[:, points]
    inner = np.eye(len(points)) + covariances[np.ix_(points, points)]
    factor = (2 / np.pi) ** (len(points) / 2) / np.sqrt(np.linalg.det(inner))
    return factor, covariances - columns @ np.linalg.solve(inner, columns.T)


def two_values(S, i, j):
    return 2 / np.pi * np.arcsin(S[i, j] / np.sqrt((1 + S[i, i]) * (1 + S[j, j])))


def value_and_point(S, i, j):
    return np.sqrt(2 / np.pi) * S[i, j] / np.sqrt(1 + S[i, i])


def erf_unit(m):
    """Return linearised and curvature part, as `unit_averages` does."""
    S, T, n, points = m.covariances, m.tangent, m.samples, len(m.covariances)
    linear = np.zeros((len(m.pulls), points, points))
    curved = np.zeros_like(linear)
    for x, y in np.ndindex(points, points):
        for i, j in np.ndindex(n, n):
            powers = np.einsum("to,to->t", m.pulls[:, i], m.pulls[:, j])
            four, _ = tilted(S, [x, y, i, j])
            linear[:, x, y] += m.spread * T[x, i] * T[y, j] * four * powers
            factor, U = tilted(S, [y, i])
            first = m.readout * factor * two_values(U, x, j)
            factor, U = tilted(S, [y, i, j])
            first -= m.spread * T[i, j] * factor * value_and_point(U, x, i)
            move = -0.5 * m.spread * T[y, i] * T[y, j] * factor * value_and_point(U, x, y)
            change = T[y, i] * first * m.meetings[:, i, j] + move * powers
            curved[:, x, y] += change
            curved[:, y, x] += change
    return linear, curved
