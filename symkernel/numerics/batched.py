r"""Linear algebra on stacks: one vector, diagonal or matrix per sample.

A stack of vectors or diagonals is an array $(n, k)$, a stack of matrices $(n, r, c)$, both
C-contiguous. A stack of length 1 stands for the same thing at every sample and is never repeated
in memory. Loops over samples run in parallel; every sample is written by one thread, so results
do not depend on the number of threads.

This file stands alone: its text is put in front of generated modules. The bodies also run
interpreted (``NUMBA_DISABLE_JIT=1``).
"""

from __future__ import annotations

import numba
import numpy as np

_parallel = numba.njit(parallel=True, error_model="numpy")
_serial = numba.njit(error_model="numpy")


@_serial
def _stride(stack):
    """Return 0 for a stack of length 1, otherwise 1; times the sample, it is the place."""
    return np.int64(stack.shape[0] > 1)


@_serial
def transform(matrix, vectors):
    r"""Return the stack of $A v_i$ for a stack of one matrix."""
    return np.dot(vectors, matrix[0].T)


@_parallel
def transform_each(matrices, vectors):
    r"""Return the stack of $A_i v_i$."""
    n = matrices.shape[0]
    out = np.empty((n, matrices.shape[1]))
    step = _stride(vectors)
    for i in numba.prange(n):
        np.dot(matrices[i], vectors[step * np.int64(i)], out[i])
    return out


@_serial
def product(left, right):
    r"""Return the stack of $A_i B$ for a stack of one matrix on the right: one product."""
    n, rows, inner = left.shape
    flat = np.dot(left.reshape(n * rows, inner), right[0])
    return flat.reshape(n, rows, right.shape[2])


@_parallel
def product_each(left, right):
    r"""Return the stack of $A_i B_i$."""
    n = right.shape[0]
    out = np.empty((n, left.shape[1], right.shape[2]))
    step = _stride(left)
    for i in numba.prange(n):
        np.dot(left[step * np.int64(i)], right[i], out[i])
    return out


# Bodies that differ in one index are written out: what chooses it would be a test inside the
# innermost loop, or a function handed in, which numba compiles again for every caller.


@_parallel
def scaled_columns(matrices, diagonals):
    r"""Return the stack of $A_i \operatorname{diag}(d_i)$."""
    n = max(matrices.shape[0], diagonals.shape[0])
    rows, columns = matrices.shape[1], matrices.shape[2]
    out = np.empty((n, rows, columns))
    step_a, step_d = _stride(matrices), _stride(diagonals)
    for i in numba.prange(n):
        a, d = step_a * np.int64(i), step_d * np.int64(i)
        for r in range(rows):
            for c in range(columns):
                out[i, r, c] = matrices[a, r, c] * diagonals[d, c]
    return out


@_parallel
def scaled_rows(diagonals, matrices):
    r"""Return the stack of $\operatorname{diag}(d_i) A_i$."""
    n = max(matrices.shape[0], diagonals.shape[0])
    rows, columns = matrices.shape[1], matrices.shape[2]
    out = np.empty((n, rows, columns))
    step_a, step_d = _stride(matrices), _stride(diagonals)
    for i in numba.prange(n):
        a, d = step_a * np.int64(i), step_d * np.int64(i)
        for r in range(rows):
            for c in range(columns):
                out[i, r, c] = diagonals[d, r] * matrices[a, r, c]
    return out


@_serial
def dense(diagonals):
    """Return the stack of diagonal matrices written out."""
    n, size = diagonals.shape
    out = np.zeros((n, size, size))
    for i in range(n):
        for k in range(size):
            out[i, k, k] = diagonals[i, k]
    return out


@_serial
def transposed(matrices):
    """Return the stack of transposes, contiguous."""
    return np.ascontiguousarray(matrices.transpose((0, 2, 1)))


# The last four add c[i, j] L[i] R[j]^T to out[i, :, j, :]. The right factor comes transposed, so
# that its stack is one matrix with a row for each sample and output.


@_parallel
def add_dense_dense(out, c, left, right):
    r"""Add $c_{ij} L_i R_j^T$ for stacks of matrices, one product per sample $i$."""
    n, rows, m, columns = out.shape
    flat = right.reshape(right.shape[0] * columns, right.shape[2]).T
    step, jump = _stride(left), _stride(right) * columns
    for i in numba.prange(n):
        block = np.dot(left[step * np.int64(i)], flat)
        for r in range(rows):
            for j in range(m):
                for q in range(columns):
                    out[i, r, j, q] += c[i, j] * block[r, j * jump + q]


@_parallel
def add_dense_diagonal(out, c, left, right):
    r"""Add $c_{ij} L_i \operatorname{diag}(r_j)$."""
    n, rows, m, columns = out.shape
    step, jump = _stride(left), _stride(right)
    for i in numba.prange(n):
        k = step * np.int64(i)
        for r in range(rows):
            for j in range(m):
                for q in range(columns):
                    out[i, r, j, q] += c[i, j] * left[k, r, q] * right[j * jump, q]


@_parallel
def add_diagonal_dense(out, c, left, right):
    r"""Add $c_{ij} \operatorname{diag}(l_i) R_j^T$."""
    n, rows, m, columns = out.shape
    step, jump = _stride(left), _stride(right)
    for i in numba.prange(n):
        k = step * np.int64(i)
        for r in range(rows):
            for j in range(m):
                for q in range(columns):
                    out[i, r, j, q] += c[i, j] * left[k, r] * right[j * jump, q, r]


@_parallel
def add_diagonal_diagonal(out, c, left, right):
    r"""Add $c_{ij} \operatorname{diag}(l_i \circ r_j)$."""
    n, rows, m, _ = out.shape
    step, jump = _stride(left), _stride(right)
    for i in numba.prange(n):
        k = step * np.int64(i)
        for r in range(rows):
            for j in range(m):
                out[i, r, j, r] += c[i, j] * left[k, r] * right[j * jump, r]
