r"""Series in normalised Hermite polynomials, summed for many pairs. Stands alone.

For $u, u'$ of variances $v, v'$ and correlation $\varrho$ (Mehler's formula),

$$\langle\phi(u)\phi(u')\rangle = \sum_n h_n(v) h_n(v') \varrho^n, \qquad
  h_n(v) = \langle\phi(\sqrt v z)\,\mathrm{he}_n(z)\rangle,$$

and likewise for the slopes, whose coefficients $\langle\phi'(\sqrt v z)\,\mathrm{he}_n\rangle$
are taken on their own: as $\sqrt{n+1}\,h_{n+1}/\sqrt v$ they would lose their digits at small v.
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


def graded_nodes(deviations, centres, nodes, shares, panels, parts, reach, z, weights):
    """Fill in nodes and weights of Gauss's rule under the normal density, for each sample.

    Panels end at the centres of the activation, are graded towards them, and are cut into parts.
    """
    width = 2.0 * reach / panels
    for s in numba.prange(deviations.size):
        ends = np.empty(panels + 1 + 9 * centres.size)
        for p in range(panels + 1):
            ends[p] = -reach + width * p
        p = panels + 1
        for c in range(centres.size):
            middle = centres[c] / deviations[s] if deviations[s] > 0.0 else 0.0
            ends[p] = middle
            for k in range(1, 5):
                ends[p + k] = middle - width * 8.0**-k
                ends[p + 4 + k] = middle + width * 8.0**-k
            p += 9
        for p in range(ends.size):
            ends[p] = min(max(ends[p], -reach), reach)
        ends.sort()
        q = 0
        for p in range((ends.size - 1) * parts):
            low = ends[p // parts]
            half = 0.5 * (ends[p // parts + 1] - low) / parts
            middle = low + half * (2 * (p % parts) + 1)
            for g in range(nodes.size):
                z[s, q] = middle + half * nodes[g]
                density = math.exp(-0.5 * z[s, q] * z[s, q]) / math.sqrt(2.0 * math.pi)
                weights[s, q] = half * shares[g] * density
                q += 1


def project(z, weights, values, slopes, tables, squares):
    """Fill in coefficients (2, n_samples, count) and squares (2, n_samples)."""
    count = tables.shape[2]
    roots = np.empty((2, count))
    for n in range(count):
        roots[0, n] = math.sqrt(n)
        roots[1, n] = 1.0 / roots[0, n]
    for s in numba.prange(z.shape[0]):
        table = np.empty(count)
        tables[:, s] = 0.0
        squares[:, s] = 0.0
        for q in range(z.shape[1]):
            if weights[s, q] == 0.0:
                continue
            value = values[s, q]
            slope = slopes[s, q]
            squares[0, s] += weights[s, q] * value * value
            squares[1, s] += weights[s, q] * slope * slope
            hermite_functions(z[s, q], roots, table)
            # The table holds the root of the density once.
            value *= weights[s, q] / table[0]
            slope *= weights[s, q] / table[0]
            for m in range(count):
                tables[0, s, m] += value * table[m]
                tables[1, s, m] += slope * table[m]


def sum_series(left, right, roots, roots2, covariances, value, slope):
    """Sum both series for all pairs; coefficients are (2, n_samples, count), roots those of v.

    A variance of 0 is a correlation of 0: only the first coefficients are not 0 there.
    """
    count = left.shape[2]
    columns = right.shape[1]
    turned = right[0].T.copy()
    steep = right[1].T.copy()
    for i in numba.prange(left.shape[1]):
        rho = np.empty(columns)
        k = np.zeros(columns)
        d = np.zeros(columns)
        for j in range(columns):
            size = roots[i] * roots2[j]
            rho[j] = max(min(covariances[i, j] / size, 1.0), -1.0) if size > 0.0 else 0.0
        for m in range(count):
            n = count - 1 - m
            a = left[0, i, n]
            b = left[1, i, n]
            for j in range(columns):
                k[j] = k[j] * rho[j] + a * turned[n, j]
                d[j] = d[j] * rho[j] + b * steep[n, j]
        for j in range(columns):
            value[i, j] = k[j]
            slope[i, j] = d[j]
