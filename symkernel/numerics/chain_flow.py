r"""Gradient flow of a product of matrices $W_D \dots W_1$ on second moments, with a unit tangent.

This file stands alone: its text is put in front of generated modules. The bodies also run
interpreted (``NUMBA_DISABLE_JIT=1``).
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(error_model="numpy")
def _product(left, right):
    """Return the product; called, it is compiled once for each layout in memory."""
    return np.dot(left, right)


@numba.njit(error_model="numpy")
def _put(out, begin, rate, fall, decay, weights):
    """Write a velocity, by rows: a slice would bring the text of its refusal to be compiled."""
    for i in range(fall.shape[0]):
        for j in range(fall.shape[1]):
            out[begin] = rate * (fall[i, j] - decay * weights[i, j])
            begin += 1


@numba.njit(error_model="numpy")
def chain_flow(state, sizes, speeds, pull, curvature, decay):
    r"""Return the velocity of all matrices, of a unit tangent, and of the log of its length.

    $\dot W_k = r_k\big((W_D \dots W_{k+1})^T E (W_{k-1} \dots W_1)^T - \gamma W_k\big)$ with
    $E = P - W_D \dots W_1 C$. A tangent v moves by the derivative $v'$ of the velocity along it,
    less what changes its length: $\dot v = v' - g v$, $g = v\cdot v'/v\cdot v$.

    Parameters
    ----------
    state : ndarray of float64, shape (2 n + 1,)
        All matrices, the first layer first, each by rows; a tangent in the same order; a number.
    sizes : ndarray of int64, shape (D + 1,)
        Units of the layers, the inputs first.
    speeds : ndarray of float64, shape (D,)
        Learning rates r.
    pull, curvature : ndarray of float64
        P (n_outputs, n_inputs) and C (n_inputs, n_inputs).
    decay : float
        Weight decay.
    """
    depth, n = sizes.size - 1, state.size // 2
    ends = np.cumsum(sizes[1:] * sizes[:-1])
    shapes = [(sizes[k + 1], sizes[k]) for k in range(depth)]
    layers = [state[ends[k] - r * c : ends[k]].reshape(r, c) for k, (r, c) in enumerate(shapes)]
    tangent = state[n : 2 * n]
    turns = [tangent[ends[k] - r * c : ends[k]].reshape(r, c) for k, (r, c) in enumerate(shapes)]
    # Products of the layers up to each one, and their derivatives along the tangent.
    below, turned = [layers[0]], [turns[0]]
    for k in range(1, depth):
        below.append(_product(layers[k], below[-1]))
        turned.append(_product(turns[k], below[k - 1]) + _product(layers[k], turned[-1]))
    # The error as each layer sees it, from the last one down to the first.
    error, change = pull - _product(below[-1], curvature), -_product(turned[-1], curvature)
    out = np.empty_like(state)
    moved = out[n : 2 * n]
    for k in range(depth - 1, -1, -1):
        fall, bend = error, change
        if k > 0:
            fall = _product(error, below[k - 1].T)
            bend = _product(change, below[k - 1].T) + _product(error, turned[k - 1].T)
            change = _product(turns[k].T, error) + _product(layers[k].T, change)
            error = _product(layers[k].T, error)
        begin = ends[k] - layers[k].size
        _put(out, begin, speeds[k], fall, decay, layers[k])
        _put(moved, begin, speeds[k], bend, decay, turns[k])
    growth = (tangent * moved).sum() / (tangent * tangent).sum()
    moved -= growth * tangent
    out[2 * n] = growth
    return out
