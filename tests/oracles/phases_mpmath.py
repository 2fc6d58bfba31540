r"""Two-layer linear networks on white inputs through phases, with as many digits as they need.

For squared error with factor 1/2, $Q = [W_1^T; W_2]$ and $G = QQ^T$. Whole matrices in the given
coordinates: no singular basis, no mode, nothing rounded between phases.
"""

from __future__ import annotations

import mpmath
import numpy as np


def matrix(values):
    """Return an array of floats as a matrix of mpmath, exactly."""
    return mpmath.matrix(np.asarray(values, float).tolist())


def _generator(S, lam):
    n_out, n_in = S.shape
    F = mpmath.diag([-lam / 2] * n_in + [lam / 2] * n_out)
    for j in range(n_out):
        for i in range(n_in):
            F[i, n_in + j] = F[n_in + j, i] = mpmath.mpf(float(S[j, i]))
    return F


def _through(start, phases, times, after):
    """Return a state at the times; phases are pairs (S, duration), the last one without end."""
    found, begin, state = [], mpmath.mpf(0), start
    for S, duration in phases:
        end = mpmath.inf if duration is None else begin + mpmath.mpf(float(duration))
        flow = after(S, state)
        found += [flow(mpmath.mpf(float(t)) - begin) for t in times if begin < t <= end]
        if duration is not None:
            begin, state = end, flow(mpmath.mpf(float(duration)))
    return [np.array(state.tolist(), float) for state in found]


def unit(W1, W2, phases, times, digits):
    """Return Q of one hidden unit: its linear flow over a common factor."""
    with mpmath.workdps(digits):
        Q = matrix(np.vstack([np.transpose(W1), W2]))
        n_in = len(W1[0])
        signs = [-1] * n_in + [1] * len(W2)
        lam = mpmath.fsum(sign * x**2 for sign, x in zip(signs, Q, strict=True))

        def after(S, x):
            f, V = mpmath.eigsy(_generator(S, lam))
            c = V.T * x
            tiny = mpmath.mpf(10) ** (-digits // 2)

            def at(t):
                grown = [mpmath.expm1(2 * e * t) / (2 * e) if abs(e) > tiny else t for e in f]
                N = 1 + mpmath.fsum(q**2 * g for q, g in zip(c, grown, strict=True))
                y = mpmath.matrix([mpmath.exp(e * t) * q for e, q in zip(f, c, strict=True)])
                return V * y / mpmath.sqrt(N)

            return at

        return [q[:, 0] for q in _through(Q, phases, times, after)]


def gram(Q, lam, c2, phases, times, digits):
    """Return G of dG/dt = F G + G F - G^2 + c2, linear fractional in its start."""
    with mpmath.workdps(digits):
        lam, c2 = mpmath.mpf(lam), mpmath.mpf(c2)
        n, tiny = Q.rows, mpmath.mpf(10) ** (-digits // 2)

        def after(S, G):
            f, V = mpmath.eigsy(_generator(S, lam))
            k, D = [mpmath.sqrt(e**2 + c2) for e in f], mpmath.diag(list(f))
            turned = V.T * G * V

            def at(t):
                even = mpmath.diag([mpmath.cosh(e * t) for e in k])
                odd = mpmath.diag([mpmath.sinh(e * t) / e if e > tiny else t for e in k])
                top = even * turned + odd * (D * turned + c2 * mpmath.eye(n))
                return V * (top * mpmath.inverse(even + odd * (turned - D))) * V.T

            return at

        return _through(Q * Q.T, phases, times, after)
