r"""The matrix flow of two-layer linear networks by Taylor steps with 57 digits.

Gradient flow of $\kappa\langle|y - c W_2 W_1 x|^2\rangle$: $W_1' = g W_2^T E$, $W_2' = g E W_1^T$,
$E = \Sigma_{yx} - c W_2 W_1\Sigma_{xx}$, $g = 2\kappa c$. Nothing of the theory enters: no basis,
no mode. Numbers are Python integers in units of 2^-BITS, so that NumPy multiplies exact matrices.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

BITS = 190
_ORDER = 44
# The last terms of a step must fall below 1e-36.
_SMALL = 1 << (BITS - 120)


def fixed(array: object) -> np.ndarray:
    """Return an array of floats (or fractions) as integers in units of 2^-BITS."""
    array = np.asarray(array)
    flat = [round(Fraction(v) * (1 << BITS)) for v in array.ravel().tolist()]
    return np.array(flat, dtype=object).reshape(array.shape)


def floating(array: np.ndarray) -> np.ndarray:
    """Return the integers as floats."""
    flat = [float(Fraction(int(v), 1 << BITS)) for v in array.ravel()]
    return np.array(flat).reshape(array.shape)


def _convolved(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the newest coefficient of a product of two series of matrices, (n, rows, columns)."""
    n, rows, inner = left.shape
    wide = left.transpose(1, 0, 2).reshape(rows, n * inner)
    return (wide @ right[::-1].reshape(n * inner, -1)) >> BITS


def _step(
    W1: np.ndarray, W2: np.ndarray, moments: tuple[np.ndarray, np.ndarray], g: int, c: int, h: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the weights a step h later, and the size of the last terms."""
    syx, sxx = moments
    A, B, E = (np.empty((_ORDER + 1, *q.shape), dtype=object) for q in (W1, W2, syx))
    A[0], B[0] = W1, W2
    pace = (g * h) >> BITS
    for k in range(_ORDER):
        product = _convolved(B[: k + 1], A[: k + 1])
        E[k] = -((c * ((product @ sxx) >> BITS)) >> BITS)
        if k == 0:
            E[k] += syx
        errors = E[: k + 1]
        # Coefficients are kept multiplied by powers of the step, so that they stay small.
        first = _convolved(B[: k + 1].transpose(0, 2, 1), errors)
        second = _convolved(errors, A[: k + 1].transpose(0, 2, 1))
        A[k + 1], B[k + 1] = (((pace * rate) >> BITS) // (k + 1) for rate in (first, second))
    last = max(int(np.abs(q).max()) for q in (*A[-2:], *B[-2:]))
    return A.sum(0), B.sum(0), last


def integrate(
    W1: np.ndarray,
    W2: np.ndarray,
    syx: np.ndarray,
    sxx: np.ndarray,
    times: object,
    *,
    factor: float = 0.5,
    scale: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return W1 and W2 at increasing times, arrays (n_times, ...) of floats."""
    first, second = fixed(W1), fixed(W2)
    moments = fixed(syx), fixed(sxx)
    g, c = int(fixed(2.0 * factor * scale)), int(fixed(scale))
    now, out = 0, []
    for target in fixed(times):
        while now < target:
            step = min(int(target) - now, _suggested(first, second, syx, sxx, factor, scale))
            one, two, last = _step(first, second, moments, g, c, step)
            while last > _SMALL:
                step //= 2
                one, two, last = _step(first, second, moments, g, c, step)
            first, second, now = one, two, now + step
        out.append((floating(first), floating(second)))
    return np.array([o[0] for o in out]), np.array([o[1] for o in out])


def _suggested(
    first: np.ndarray, second: np.ndarray, syx: np.ndarray, sxx: np.ndarray,
    factor: float, scale: float,
) -> int:  # fmt: skip
    squares = sum(float(np.linalg.norm(floating(w))) ** 2 for w in (first, second))
    drive = float(np.linalg.norm(syx, 2)) + scale * squares * float(np.linalg.norm(sxx, 2))
    rate = 2.0 * factor * scale * drive
    return int(fixed(0.2 / rate)) if rate else 1 << 2 * BITS
