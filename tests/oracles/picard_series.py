"""Power series of gradient flow by Picard's iteration on truncated series with exact fractions.

For chains of dense layers with polynomial activations, factor 1/2. The weights are series in t;
each round integrates the gradient of the loss at the last ones and makes one more term right.
Nothing is differentiated in time: no Leibniz rule, no kernel.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np


def product(left, right):
    """Return the truncated product of two series of matrices, (n_terms, rows, columns)."""
    terms = len(left)
    return np.array([sum(left[k] @ right[n - k] for k in range(n + 1)) for n in range(terms)])


def entrywise(left, right):
    """Return the truncated entrywise product."""
    return np.array([sum(left[k] * right[n - k] for k in range(n + 1)) for n in range(len(left))])


def polynomial(coefficients, series):
    """Return a polynomial (lowest coefficient first) of a series, entrywise, by Horner's rule."""
    total = 0 * series
    for coefficient in reversed(coefficients):
        total = entrywise(total, series)
        total[0] = total[0] + coefficient
    return total


def _forward(weights, X, phi):
    """Return pre-activations and activities of all layers as series."""
    value = np.zeros((len(weights[0]), *X.T.shape), dtype=object) + Fraction(0)
    value[0] = X.T
    before, after = [], [value]
    for k, W in enumerate(weights):
        before.append(product(W, after[-1]))
        after.append(before[-1] if k + 1 == len(weights) else polynomial(phi, before[-1]))
    return before, after


def flow(weights, X, Y, phi, order):
    """Return the activities of all layers as series, each (order + 1, units, n_samples)."""
    start = []
    for W in weights:
        series = np.zeros((order + 1, *W.shape), dtype=object) + Fraction(0)
        series[0] = W
        start.append(series)
    slope = [k * c for k, c in enumerate(phi)][1:]
    now = start
    for _ in range(order):
        before, after = _forward(now, X, phi)
        error = after[-1].copy()
        error[0] = error[0] - Y.T
        moved = []
        for k in reversed(range(len(now))):
            gradient = product(error, after[k].transpose(0, 2, 1)) / Fraction(len(X))
            rates = [-gradient[n - 1] / Fraction(n) for n in range(1, order + 1)]
            moved.append(np.array([start[k][0], *rates]))
            if k:
                back = product(now[k].transpose(0, 2, 1), error)
                error = entrywise(back, polynomial(slope, before[k - 1]))
        now = moved[::-1]
    return _forward(now, X, phi)[1]
