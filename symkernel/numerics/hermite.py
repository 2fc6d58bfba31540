r"""Series in normalised Hermite polynomials, summed for many pairs. Stands alone.

For $u, u'$ of variances $v, v'$ and correlation $\varrho$, with
$h_n(v) = \langle\phi(\sqrt v z)\,\mathrm{he}_n(z)\rangle$ (Mehler's formula),

$$\langle\phi(u)\phi(u')\rangle = \sum_n h_n(v) h_n(v') \varrho^n, \qquad
  \langle\phi'(u)\phi'(u')\rangle = \sum_n n\,h_n(v) h_n(v') \varrho^{n-1} / \sqrt{v v'} .$$
"""

from __future__ import annotations

import math

import numba
import numpy as np


@numba.njit(error_model="numpy")
def hermite_functions(z, roots, found):
    r"""Fill in $\mathrm{he}_n(z)\,p(z)^{1/2}$ of the standard normal density p.

    The roots are those of 0, 1, 2, ...; they and the divisions would cost most of the time.
    """
    found[0] = math.exp(-0.25 * z * z) / (2.0 * math.pi) ** 0.25
    found[1] = z * found[0]
    for n in range(1, found.size - 1):
        found[n + 1] = (z * found[n] - roots[0, n] * found[n - 1]) * roots[1, n + 1]


def sum_series(left, right, roots, roots2, covariances, value, slope):
    """Sum both series for all pairs; coefficients are (n_samples, count), roots those of v."""
    count = left.shape[1]
    columns = right.shape[0]
    turned = right.T.copy()
    for i in numba.prange(left.shape[0]):
        rho = np.empty(columns)
        k = np.zeros(columns)
        d = np.zeros(columns)
        for j in range(columns):
            rho[j] = max(min(covariances[i, j] / (roots[i] * roots2[j]), 1.0), -1.0)
        # Horner's rule for the sum and its derivative in the correlation at once.
        for m in range(count):
            n = count - 1 - m
            c = left[i, n]
            for j in range(columns):
                d[j] = d[j] * rho[j] + k[j]
                k[j] = k[j] * rho[j] + c * turned[n, j]
        for j in range(columns):
            value[i, j] = k[j]
            slope[i, j] = d[j] / (roots[i] * roots2[j])
