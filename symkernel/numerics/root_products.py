r"""The products $A = -\lambda/2 + \sqrt{k^2 + W^TW}$ and $B = \lambda/2 + \sqrt{k^2 + WW^T}$.

In the singular basis of W each is its value at W = 0 plus $\sigma^2/(k + \sqrt{k^2 + \sigma^2})$:
nothing cancels where $\sigma$ is small beside k, or k beside $\lambda$.

This file stands alone: its text is put in front of generated modules. The bodies also run
interpreted (``NUMBA_DISABLE_JIT=1``).
"""

from __future__ import annotations

import math

import numba
import numpy as np


@numba.njit(error_model="numpy")
def root_products(W, alpha, beta):
    r"""Return A and B.

    Parameters
    ----------
    W : ndarray, shape (n_outputs, n_inputs)
    alpha, beta : float
        $k - \lambda/2$ and $k + \lambda/2$, the values of A and B at W = 0; not negative.
    """
    k = 0.5 * (alpha + beta)
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    above = np.empty(s.size)
    for i in range(s.size):
        above[i] = s[i] * (s[i] / (k + math.hypot(k, s[i]))) if s[i] > 0.0 else 0.0
    A = np.dot(np.ascontiguousarray(Vt.T) * above, Vt)
    B = np.dot(U * above, np.ascontiguousarray(U.T))
    for i in range(A.shape[0]):
        A[i, i] += alpha
    for i in range(B.shape[0]):
        B[i, i] += beta
    return A, B
