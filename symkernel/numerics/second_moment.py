r"""Mean and second moment of linear weights under descent on batches of a set of samples.

With u the weights less their optimum, one row for each output, r what the optimum leaves of the
targets and $S_{op} = \langle u_o^T u_p\rangle$, a step of rate $\eta$ is
$S \leftarrow (1 - \eta H)S(1 - \eta H) + \eta^2\theta(\langle e_o e_p x x^T\rangle - HSH) + \eta^2
\sigma^2_{op} H/B$.

This file stands alone: its text is put in front of generated modules. The bodies also run
interpreted (``NUMBA_DISABLE_JIT=1``).
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(error_model="numpy")
def step_moments(X, R, H, rate, spread, noise, mean, second):
    r"""Take a step, in place.

    Parameters
    ----------
    X : ndarray, shape (n_samples, n_features)
    R : ndarray, shape (n_samples, n_outputs)
        What the optimum leaves of the targets.
    H : ndarray, shape (n_features, n_features)
        Second moment of the features.
    rate, spread : float
        $\eta$ and $\theta$.
    noise : ndarray, shape (n_outputs, n_outputs)
        Covariance of the label noise over the batch size.
    mean : ndarray, shape (n_outputs, n_features)
    second : ndarray, shape (n_outputs, n_outputs, n_features, n_features)
    """
    count, outputs = R.shape
    kept = np.eye(H.shape[0]) - rate * H
    shift = np.dot(X, np.ascontiguousarray(mean.T))
    for o in range(outputs):
        for p in range(o + 1):
            S = second[o, p]
            quadratic = np.sum(np.dot(X, S) * X, axis=1)
            errors = R[:, o] * R[:, p] - R[:, o] * shift[:, p] - R[:, p] * shift[:, o]
            weighted = X * ((errors + quadratic) / count).reshape(-1, 1)
            scatter = np.dot(np.ascontiguousarray(X.T), weighted) - np.dot(H, np.dot(S, H))
            moved = np.dot(kept, np.dot(S, kept)) + rate**2 * (spread * scatter + noise[o, p] * H)
            second[o, p] = moved
            second[p, o] = moved.T
    mean[:] = np.dot(mean, kept)
