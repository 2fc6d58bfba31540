r"""One mode at 520 digits, from Saxe's form in $P = (a+b)^2$, which the package does not use.

With $d = 1$ (else $t \to d\,t$, $s \to s/d$), $c = a^2 - b^2$ and $R = \sqrt{4 s^2 + c^2}$:
$P' = -\frac12 (P - P_+)(P - P_-)$, $P_\pm = 2s \pm R$, $u = ab = (P - c^2/P)/4$. Where $|a-b|$ is
the larger one, the same equation of $Q = (a-b)^2$ is used, which is that of P with the sign of s
and of b turned. `taylor` integrates a' = b (s - d a b), b' = a (s - d a b) without any formula.
"""

from __future__ import annotations

from dataclasses import dataclass

import mpmath
from mpmath import mpf

# Amplitudes, strengths and variances of 1e-8 to 1e4 lose 100 digits at the most, a zero mode that
# decays below the smallest float 300 more.
DIGITS = 520


@dataclass(frozen=True)
class Point:
    """State of a mode at one time; `drive` is (s - d w) / (|s| + |d w|) at t = 0."""

    a: mpf
    b: mpf
    overlap: mpf
    growth: mpf
    odd: mpf
    drive: mpf


def exact(s: float, d: float, a0: float, b0: float, t: float) -> Point:
    r"""Return the mode at time t; $a = a_0\cosh\varphi + b_0\sinh\varphi$, growth $e^\varphi$."""
    with mpmath.workdps(DIGITS):
        s, d, a0, b0, t = (mpf(float(v)) for v in (s, d, a0, b0, t))
        pull, size = s - d * a0 * b0, abs(s) + abs(d * a0 * b0)
        drive = pull / size if size else mpf(0)
        if t == 0:
            return Point(a0, b0, a0 * b0, mpf(1), mpf(0), drive)
        if a0 == 0 and b0 == 0:
            growth = mpmath.exp(s * t)
            return Point(a0, b0, mpf(0), growth, (growth - 1 / growth) / 2, drive)
        s, t = s / d, d * t
        turned = abs(a0 - b0) > abs(a0 + b0)
        sign = -1 if turned else 1
        s, start, c = sign * s, (a0 + sign * b0) ** 2, a0**2 - b0**2
        P = _riccati(s, c, start, t)
        root = mpmath.sqrt(P) * (1 if a0 + sign * b0 > 0 else -1)
        a, b = (root + c / root) / 2, sign * (root - c / root) / 2
        growth = mpmath.sqrt(P / start) ** sign
        odd = (growth - 1 / growth) / 2
        return Point(a, b, sign * (P - c**2 / P) / 4, growth, odd, drive)


def _riccati(s: mpf, c: mpf, start: mpf, t: mpf) -> mpf:
    R = mpmath.sqrt(4 * s**2 + c**2)
    if R == 0:
        return start / (1 + start * t / 2)
    upper = 2 * s + R if s > 0 else c**2 / (R - 2 * s)
    lower = -(c**2) / (R + 2 * s) if s > 0 else 2 * s - R
    decay = mpmath.exp(-R * t)
    # (P - P+)/(P - P-) decays at the rate R.
    ratio = (start - upper) / (start - lower) * decay
    return (upper - lower * ratio) / (1 - ratio)


def taylor(s: float, d: float, a0: float, b0: float, t: float, order: int = 40) -> tuple[mpf, mpf]:
    """Return (a, b) at time t by Taylor steps at 40 digits."""
    with mpmath.workdps(40):
        s, d, a, b, left = (mpf(float(v)) for v in (s, d, a0, b0, t))
        while left > 0:
            step = min(left, mpf("0.2") / (2 * abs(s) + d * (a * a + b * b)))
            A, B, G = [a], [b], []
            for k in range(order):
                product = mpmath.fsum(A[i] * B[k - i] for i in range(k + 1))
                G.append((s if k == 0 else 0) - d * product)
                A.append(mpmath.fsum(B[i] * G[k - i] for i in range(k + 1)) / (k + 1))
                B.append(mpmath.fsum(A[i] * G[k - i] for i in range(k + 1)) / (k + 1))
            a = mpmath.fsum(c * step**k for k, c in enumerate(A))
            b = mpmath.fsum(c * step**k for k, c in enumerate(B))
            left -= step
        return a, b
