r"""The flow $\dot G = FG + GF - G^2 + c^2$, $G_0 = Q_0 Q_0^T$, by its factor, without overflow.

At $c = 0$ it is $e^{Ft} Q_0 [1 + Q_0^T \Phi Q_0]^{-1} Q_0^T e^{Ft}$ with
$\Phi = \int_0^t e^{2Fs} ds$ and holds terms of the size $e^{2ft}$, whose naive inverse loses all
digits at $ft \approx 18$. In the eigenbasis of F, with $C = \sqrt\Phi\,Q_0$, it is
$D\,C (1 + C^T C)^{-1} C^T D$, where $D = e^{ft}/\sqrt\varphi$ is bounded; and the projector
$C (1 + C^T C)^{-1} C^T$ comes from an orthonormal basis of the columns of $[C; 1]$. The rows of C
are graded; Householder reflections with rows sorted by size and columns pivoted keep the digits of
every row.

With a source $c^2$ and $k = \sqrt{f^2 + c^2}$ the same holds with
$\varphi = \sinh kt/(k \cosh kt - f \sinh kt)$ and $k/(k \cosh kt - f \sinh kt)$ in place of
$e^{ft}$, and $c^2\varphi$ is added: squares are summed again, and no eigenvalue of G, however
small, is a difference.

The last `equal` eigenvalues of F are one number, not positive. Their part of
$1 + Q_0^T\Phi Q_0$ is 1 plus a multiple of a constant matrix, which is diagonalised once, so that
the work at each time depends on the other eigenvalues alone.

This file stands alone: its text is put in front of generated modules. The bodies also run
interpreted (``NUMBA_DISABLE_JIT=1``).

References
----------
A. J. Cox, N. J. Higham, Stability of Householder QR factorization for weighted least squares
problems, in Numerical Analysis 1997: rows sorted and columns pivoted, backward stable by rows.
"""

from __future__ import annotations

import math

import numba
import numpy as np

# Longest stretch max(f) dt between two restarts: e^{2 f dt} stays far below the largest number.
_STRETCH = 100.0

_njit = numba.njit(error_model="numpy")


@_njit
def source_levels(f, c):
    r"""Return $k$, $k - f$ and $k + f$ with $k = \sqrt{f^2 + c^2}$, without cancellation; c > 0."""
    k = math.hypot(f, c)
    near = c * (c / (k + abs(f)))
    return (k, near, k + f) if f > 0.0 else (k, k - f, near)


@_njit
def growth_integral(f, c, t):
    r"""Return $\varphi = \int_0^t e^{2fs} ds = (e^{2ft} - 1)/(2f)$, which is t at f = 0.

    With a source: $\sinh kt/(k \cosh kt - f \sinh kt)$.
    """
    if c > 0.0:
        k, below, above = source_levels(f, c)
        return -math.expm1(-2.0 * k * t) / (below + above * math.exp(-2.0 * k * t))
    x = 2.0 * f * t
    if abs(x) < 1e-9:
        return t * (1.0 + 0.5 * x)
    return math.expm1(x) / (2.0 * f)


@_njit
def growth_ratio(f, c, t):
    r"""Return $e^{ft}/\sqrt\varphi = \sqrt{2f/(1 - e^{-2ft})}$, bounded at late times; t > 0.

    With a source: the same of what stands in place of $e^{ft}$.
    """
    if c > 0.0:
        k, below, above = source_levels(f, c)
        gone = math.exp(-k * t)
        return 2.0 * k * gone / math.sqrt(-math.expm1(-2.0 * k * t) * (below + above * gone * gone))
    x = 2.0 * f * t
    if abs(x) < 1e-9:
        return math.sqrt((1.0 + 0.5 * x) / t)
    return math.sqrt(-2.0 * f / math.expm1(-x))


@_njit
def _put(out, start, block):
    """Write a block from a row on: a slice would bring the text of its refusal to be compiled."""
    for i in range(block.shape[0]):
        for j in range(block.shape[1]):
            out[start + i, j] = block[i, j]


@_njit
def _beside(a, b):
    """Return two blocks side by side."""
    out = np.empty((a.shape[0], a.shape[1] + b.shape[1]))
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            out[i, j] = a[i, j]
        for j in range(b.shape[1]):
            out[i, a.shape[1] + j] = b[i, j]
    return out


@_njit
def _sorted_stack(c):
    """Return the columns of [C; 1] as rows, their entries by falling size, and that order."""
    m, k = c.shape
    n = m + k
    size, order = np.ones(n), np.empty(n, np.int64)
    for i in range(n):
        if i < m:
            size[i] = 0.0
            for j in range(k):
                size[i] = max(size[i], abs(c[i, j]))
        # Rows are few: they are inserted one by one.
        place = i
        while place > 0 and size[order[place - 1]] < size[i]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = i
    # Columns of the stack are rows here: they are what a reflection runs along.
    a = np.empty((k, n))
    for j in range(k):
        for i in range(n):
            row = order[i]
            a[j, i] = c[row, j] if row < m else (1.0 if row - m == j else 0.0)
    return a, order


@_njit
def _pivot(a, j):
    """Put the longest of the rows from j on, behind entry j, in place j; return its length."""
    k, n = a.shape
    best, largest = j, -1.0
    for p in range(j, k):
        norm = 0.0
        for i in range(j, n):
            norm += a[p, i] * a[p, i]
        if norm > largest:
            best, largest = p, norm
    if best != j:
        for i in range(n):
            a[j, i], a[best, i] = a[best, i], a[j, i]
    return math.sqrt(largest)


@_njit
def _reflect(rows, start, v, j, scale):
    """Apply 1 - scale v v^T, with v from entry j on, to the rows from `start` on."""
    for p in range(start, rows.shape[0]):
        dot = 0.0
        for i in range(j, rows.shape[1]):
            dot += rows[p, i] * v[i]
        dot *= scale
        for i in range(j, rows.shape[1]):
            rows[p, i] -= dot * v[i]


@_njit
def orthonormal_stack(c):
    r"""Return an orthonormal basis of the columns of $[C; 1]$, its two blocks.

    With $[C; 1] = [Q_1; Q_2] R \Pi^T$: $Q_1 Q_1^T = C (1 + C^T C)^{-1} C^T$ and
    $Q_2 Q_2^T = (1 + C^T C)^{-1}$.

    Parameters
    ----------
    c : ndarray, shape (m, k)

    Returns
    -------
    first : ndarray, shape (m, k)
    second : ndarray, shape (k, k)
    """
    m, k = c.shape
    a, order = _sorted_stack(c)
    n = order.size
    scale = np.zeros(k)
    for j in range(k):
        norm = _pivot(a, j)
        head = a[j, j]
        shifted = head + math.copysign(norm, head)
        scale[j] = shifted / math.copysign(norm, head)
        # The reflection is 1 - scale v v^T with v = (1, ...), kept in place of the column.
        a[j, j] = 1.0
        for i in range(j + 1, n):
            a[j, i] /= shifted
        _reflect(a, j + 1, a[j], j, scale[j])
    basis = np.zeros((k, n))
    for j in range(k - 1, -1, -1):
        basis[j, j] = 1.0
        _reflect(basis, j, a[j], j, scale[j])
    first, second = np.empty((m, k)), np.empty((k, k))
    for i in range(n):
        row = order[i]
        for j in range(k):
            if row < m:
                first[row, j] = basis[j, i]
            else:
                second[row - m, j] = basis[j, i]
    return first, second


@_njit
def split_factor(turned, core):
    r"""Return the factor in hidden coordinates in which its last rows are orthogonal columns.

    Parameters
    ----------
    turned : ndarray, shape (n, k)
        The factor in the eigenbasis.
    core : int
        Number of rows before the last ones.

    Returns
    -------
    C0 : ndarray, shape (core, k)
    X : ndarray, shape (n - core, r)
        Orthonormal columns.
    nu : ndarray, shape (k,)
        The last rows are X times the first r of these on the diagonal; the others are 0.
    """
    n, k = turned.shape
    nu = np.zeros(k)
    if n == core:
        return turned.copy(), np.zeros((0, 0)), nu
    X, values, Y = np.linalg.svd(np.ascontiguousarray(turned[core:]), full_matrices=True)
    r = values.size
    for j in range(r):
        nu[j] = values[j]
    C0 = np.dot(np.ascontiguousarray(turned[:core]), np.ascontiguousarray(Y.T))
    return C0, np.ascontiguousarray(X[:, :r]), nu


@_njit
def advance(f, core, c, C0, nu, t):
    r"""Return what the state at time t > 0 is made of.

    Returns
    -------
    head : ndarray, shape (core, m)
        The first rows of the factor, in the first m of the turned hidden directions.
    second : ndarray, shape (m, m)
        Root of what is left of these directions.
    frame : ndarray, shape (k, m)
        These directions.
    tail : ndarray, shape (k,)
        Size of each old hidden direction in the last rows.
    """
    k = C0.shape[1]
    # Of last rows that are all equal, which there are without a source only.
    flat = f[-1]
    spread = growth_integral(flat, 0.0, t)
    factor = math.exp(flat * t)
    shrink = np.empty(k)
    tail = np.empty(k)
    for j in range(k):
        shrink[j] = 1.0 / math.sqrt(1.0 + spread * nu[j] * nu[j])
        tail[j] = factor * nu[j] * shrink[j]
    C = np.empty((core, k))
    ratio = np.empty(core)
    for i in range(core):
        root = math.sqrt(growth_integral(f[i], c, t))
        ratio[i] = growth_ratio(f[i], c, t)
        for j in range(k):
            C[i, j] = root * C0[i, j] * shrink[j]
    if core < k:
        frame, triangle = np.linalg.qr(np.ascontiguousarray(C.T))
        first, second = orthonormal_stack(np.ascontiguousarray(triangle.T))
    else:
        frame = np.eye(k)
        first, second = orthonormal_stack(C)
    for i in range(core):
        for j in range(first.shape[1]):
            first[i, j] *= ratio[i]
    return first, second, frame, tail


@_njit
def restart(core, X, head, second, frame, tail):
    r"""Return the factor at a time in the eigenbasis, of as many columns as before."""
    n = core + X.shape[0]
    k, m = frame.shape
    turned = np.zeros((n, k))
    _put(turned, 0, head)
    if X.shape[0]:
        r = X.shape[1]
        # Hidden directions: the m turned ones, and what is orthogonal to them.
        whole = np.linalg.qr(_beside(frame, np.eye(k)))[0] if m < k else frame
        rest = np.ascontiguousarray(whole.T)
        rows = np.empty((k, r))
        for i in range(k):
            for j in range(r):
                rows[i, j] = rest[i, j] * tail[j]
        if m < k:
            # The basis may differ from the frame by signs.
            for i in range(m):
                along = 0.0
                for j in range(k):
                    along += rest[i, j] * frame[j, i]
                for j in range(r):
                    rows[i, j] *= math.copysign(1.0, along)
        _put(rows, 0, np.dot(np.ascontiguousarray(second.T), np.ascontiguousarray(rows[:m])))
        _put(turned, core, np.dot(X, np.ascontiguousarray(rows.T)))
    return turned


@_njit
def assemble(lead, rest, head, second, frame, tail, out):
    r"""Write G in the original coordinates, from what `advance` returned.

    Parameters
    ----------
    lead : ndarray, shape (n, core)
        Eigenvectors of the first rows.
    rest : ndarray, shape (n, r)
        Those of the last rows, times X of `split_factor`.
    """
    main = np.dot(lead, head)
    r = rest.shape[1]
    if r == 0:
        np.dot(main, main.T, out)
        return
    base = np.empty(rest.shape)
    for i in range(base.shape[0]):
        for j in range(r):
            base[i, j] = rest[i, j] * tail[j]
    seen = np.dot(base, np.ascontiguousarray(frame[:r]))
    main += np.dot(seen, second)
    np.dot(main, main.T, out)
    if frame.shape[0] > frame.shape[1]:
        # Last rows: T (1 - frame frame^T) T^T beside what the turned directions carry.
        out += np.dot(base, base.T) - np.dot(seen, seen.T)


@_njit
def source_part(f, c, t):
    r"""Return $c\sqrt\varphi$ of all directions."""
    out = np.empty(f.size)
    for i in range(f.size):
        out[i] = c * math.sqrt(growth_integral(f[i], c, t))
    return out


@_njit
def with_source(turned, part):
    """Return a factor of as many columns as rows of the sum of two squares."""
    both = _beside(turned, np.diag(part))
    # Reflections of the columns keep the digits of every row.
    return np.ascontiguousarray(np.linalg.qr(np.ascontiguousarray(both.T))[1].T)


@_njit
def riccati_flow(f, E, equal, c, Q0, times, out):
    r"""Write $G(t)$ for increasing times.

    Parameters
    ----------
    f : ndarray, shape (n,)
        Eigenvalues of F; the last `equal` of them are the same number, 0 or negative.
    E : ndarray, shape (n, n)
        Their eigenvectors, as columns.
    equal : int
        0 where none is to be treated so, and with a source.
    c : float
        Root of the source, 0 or positive.
    Q0 : ndarray, shape (n, k)
        Factor of the initial value.
    times : ndarray, shape (n_times,)
    out : ndarray, shape (n_times, n, n)

    Returns
    -------
    ndarray, shape (n, k)
        The factor at the last time; with a source of n columns.
    """
    n = f.size
    core = n - equal
    turned = np.dot(np.ascontiguousarray(E.T), Q0)
    C0, X, nu = split_factor(turned, core)
    lead, others = np.ascontiguousarray(E[:, :core]), np.ascontiguousarray(E[:, core:])
    rest = np.dot(others, X)
    fastest = math.hypot(np.abs(f).max(), c) if c > 0.0 else max(f.max(), 0.0)
    limit = _STRETCH / fastest if fastest > 0.0 else np.inf
    begin = 0.0
    for i in range(times.size):
        while times[i] - begin > 1.5 * limit:
            head, second, frame, tail = advance(f, core, c, C0, nu, limit)
            turned = restart(core, X, head, second, frame, tail)
            if c > 0.0:
                turned = with_source(turned, source_part(f, c, limit))
            C0, X, nu = split_factor(turned, core)
            rest = np.dot(others, X)
            begin += limit
        if times[i] > begin:
            span = times[i] - begin
            head, second, frame, tail = advance(f, core, c, C0, nu, span)
            now = out[i]
            assemble(lead, rest, head, second, frame, tail, now)
            if c > 0.0:
                fed = E * source_part(f, c, span)
                now += np.dot(fed, fed.T)
            if i + 1 == times.size:
                turned = restart(core, X, head, second, frame, tail)
                if c > 0.0:
                    turned = with_source(turned, source_part(f, c, span))
        else:
            factor = np.dot(E, turned)
            np.dot(factor, factor.T, out[i])
    return np.dot(E, turned)
