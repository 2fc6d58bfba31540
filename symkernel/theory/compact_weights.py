"""The weights of two layers in as few hidden directions as they span."""

from __future__ import annotations

import numpy as np

from symkernel.problem.kept import kept
from symkernel.problem.weights import Weights

# Rows that are reduced at once: a block of them stays in cache.
_ROWS = 512


# All laws that are tested for a problem start here, with the same weights.
def compact_weights(weights: Weights, first: str, second: str) -> tuple[np.ndarray, np.ndarray]:
    """Return `compact` of two named weights, the one next to the input first."""
    arrays = weights.arrays
    found: tuple[np.ndarray, np.ndarray] = kept(
        weights, ("compact", first, second), lambda: compact(arrays[first], arrays[second])
    )
    return found


def compact(W1: np.ndarray, W2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Return $R_1$ and $R_2$ with $[W_1, W_2^T] = O\,[R_1, R_2]$, $O^T O = 1$.

    Whatever does not change when the hidden layer is turned can be read off them, at a cost that
    does not grow with the width. Entries of a column are exact up to rounding of that column.

    Parameters
    ----------
    W1 : ndarray, shape (n_hidden, n_inputs)
    W2 : ndarray, shape (n_outputs, n_hidden)

    Returns
    -------
    R1 : ndarray, shape (n, n_inputs)
    R2 : ndarray, shape (n, n_outputs)
        n = n_hidden, or n_inputs + n_outputs if that is less.
    """
    inputs = W1.shape[1]
    if W1.shape[0] <= inputs + W2.shape[0]:
        return W1, W2.T
    triangle = triangular(np.hstack([W1, W2.T]))
    return triangle[:, :inputs], triangle[:, inputs:]


def triangular(tall: np.ndarray) -> np.ndarray:
    """Return the triangular factor of a matrix with many rows, block by block of them."""
    columns = tall.shape[1]
    size = max(_ROWS, 2 * columns)
    blocks = len(tall) // size
    if blocks < 2:
        return np.asarray(np.linalg.qr(tall, mode="r"))
    body, rest = np.split(tall, [blocks * size])
    reduced = np.asarray(np.linalg.qr(body.reshape(blocks, size, columns), mode="r"))
    return triangular(np.vstack([reduced.reshape(-1, columns), rest]))


def spanning_frame(columns: np.ndarray) -> np.ndarray:
    """Return orthonormal columns that span those of a matrix, no more than it has.

    Where it has as many columns as rows, or more, they are those of the identity.
    """
    n, count = columns.shape
    return np.eye(n) if count >= n else np.linalg.qr(columns)[0]
