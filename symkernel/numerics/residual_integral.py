r"""The integral $g(t) = \int_0^t e^{-Ms} r\,ds$ of a residual that decays, in the eigenbasis of M.

On an eigenvector it is $\varphi_t(l) = (1 - e^{-lt})/l$, and $t$ where $l = 0$. Gradient descent
of rate $\eta$ has $\varphi_k(l) = (1 - (1 - \eta l)^k)/l$ after $k$ steps in its place. Both are
written with `expm1`: for small $l$ the difference from 1 is lost in $1 - e^{-lt}$.

This file stands alone: its text is put in front of generated modules. The bodies also run
interpreted (``NUMBA_DISABLE_JIT=1``).
"""

from __future__ import annotations

import math

import numba
import numpy as np

_njit = numba.njit(error_model="numpy")


@_njit
def decayed(l, t, step):
    r"""Return $\varphi$ of an eigenvalue; `step` is 0 for the flow, else t is a number of steps."""
    if step == 0.0:
        if l * t < 1e-300:
            return t
        return -math.expm1(-l * t) / l
    x = step * l
    if x * t < 1e-300:
        return t * step
    if x < 1.0:
        return -math.expm1(t * math.log1p(-x)) / l
    # Eigenvalues whose residual changes sign in every step, or is 0 after the first one.
    if t == 0.0:
        return 0.0
    kept = 0.0 if x == 1.0 else math.exp(t * math.log(x - 1.0))
    return (1.0 + kept) / l if t % 2.0 == 1.0 else (1.0 - kept) / l


@_njit
def residual_integral(l, vectors, parts, times, step, out):
    r"""Fill rows with the integral at each time.

    Parameters
    ----------
    l : ndarray, shape (n,)
        Eigenvalues, not negative.
    vectors : ndarray, shape (m, n)
        Eigenvectors as columns.
    parts : ndarray, shape (n,)
        The residual in the eigenbasis.
    times : ndarray, shape (n_times,)
    step : float
    out : ndarray, shape (n_times, m)
    """
    scaled = np.empty((times.size, l.size))
    for k in range(times.size):
        for i in range(l.size):
            scaled[k, i] = parts[i] * decayed(l[i], times[k], step) if parts[i] != 0.0 else 0.0
    np.dot(scaled, vectors.T, out)
