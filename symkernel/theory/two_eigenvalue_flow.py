r"""The flow of the two-eigenvalue class: its numbers, its limits, its precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import sympy as sp

from symkernel.formula import Evidence, Limits
from symkernel.identities import vanishes
from symkernel.theory import riccati
from symkernel.theory.lax import fitted_class
from symkernel.theory.phases import LEAST_DIGITS

_DIGITS = 60
_BOUND = 1e-12


def limits() -> Limits:
    """Return the limits of the class, with their checks."""
    return (
        ("t = 0", lambda: _mode_evidence("start")),
        ("t to infinity", lambda: _mode_evidence("end")),
        ("one mode, hyperbolic form", lambda: _mode_evidence("hyperbolic")),
        ("c to 0: balanced weights", lambda: _mode_evidence("balanced")),
    )


def _eigenvalue(f: sp.Expr, k: sp.Expr, start: sp.Expr, grown: sp.Expr) -> sp.Expr:
    """Return an eigenvalue of G at E = exp(2 k t), from `start`."""
    above = start - f + k
    return f - k + above * grown / (1 + above * (grown - 1) / (2 * k))


def _mode_evidence(which: str) -> Evidence:
    """Compare one mode, a = b = m, with what is known of it; F has the eigenvalues s and -s."""
    s, m, k, grown = sp.symbols("s m k E", positive=True)
    square = [(k, s**2 + m**2)]

    def overlap(at: sp.Expr) -> sp.Expr:
        return (_eigenvalue(s, k, m, at) - _eigenvalue(-s, k, m, at)) / 2

    if which == "start":
        gaps, words = [overlap(sp.S.One)], "W(0) = 0 exactly"
    elif which == "end":
        gaps = [sp.limit(_eigenvalue(f, k, m, grown), grown, sp.oo) - f - k for f in (s, -s)]
        words = "G to F + K, that is W to S, exactly"
    elif which == "hyperbolic":
        clock = (grown - 1) / (grown + 1)
        angle = s * clock / (k + m * clock)
        gaps = [overlap(grown) - m * 2 * angle / (1 - angle**2)]
        words = "W = m sinh 2 phi exactly, tanh phi = s T/(k + m T) with T = tanh k t"
    else:
        # At c = 0, K = |F|.
        balanced = [
            (s, m * grown / (1 + m * (grown - 1) / (2 * s))),
            (-s, m / grown / (1 + m * (1 - 1 / grown) / (2 * s))),
        ]
        gaps = [_eigenvalue(f, s, m, grown) - known for f, known in balanced]
        words = "the flow of balanced weights, for eigenvalues of F of either sign, exactly"
    same = all(vanishes(gap, square) for gap in gaps)
    return Evidence.of(same, words)


def check_precision(stream: np.random.Generator, draws: int) -> Evidence:
    """Compare two phases with 60 digits, relative to the larger of G and F.

    What rounding between the phases may do by its estimate is allowed for: up to 1e-6, where the
    law refuses.
    """
    worst, excess, where = 0.0, 0.0, ""
    for count in range(draws):
        n_in, n_out = (int(v) for v in stream.integers(1, 4, 2))
        targets = stream.standard_normal((2, n_out, n_in)) * 10 ** stream.uniform(-3, 2, (2, 1, 1))
        a, b = (float(v) for v in 10 ** stream.uniform(-8, 1, 2))
        clock = 10 ** stream.uniform(-6, 2, (2, 2))
        if count % 3 == 2:
            # From small weights a strong task, for a short time, then a weak one is learned.
            a, b, targets = a * 1e-9, b * 1e-9, targets / np.abs(targets).max((1, 2), keepdims=True)
            targets[0] *= 100.0
            clock = stream.uniform((1, 5), (4, 30))[:, None] * np.array([0.7, 1.0])
        kind, start = GramClass(b - a, a * b), np.diag(np.sqrt([a] * n_in + [b] * n_out))
        size = [float(np.hypot(np.linalg.norm(S, 2), (a + b) / 2)) for S in targets]
        spans = [np.sort(times) / one for times, one in zip(clock, size, strict=True)]
        exact = Exact.of(start, kind)
        for k, (S, times) in enumerate(zip(targets, spans, strict=True)):
            spectrum = riccati.eigenbasis(S, kind.lam)
            late = float(times[-1])
            large = max(float(np.linalg.norm(start, 2)), 1.0)
            estimate = riccati.rounding(spectrum, start, late, kind.source) / large if k else 0.0
            if estimate > LEAST_DIGITS:
                break
            found, start = riccati.advance(spectrum, start, times, kind.source)
            for t, G in zip(times, found, strict=True):
                at = exact.after(S, float(t), size[k])
                error = float(np.abs(G - at.gram).max() / max(np.abs(at.gram).max(), size[k]))
                worst = max(worst, error)
                if not error <= excess * max(_BOUND, estimate):
                    excess = error / max(_BOUND, estimate)
                    where = f"phase {k}, k t = {size[k] * t:.3g}, a = {a:.3g}, b = {b:.3g}"
            exact = at
    figure = (
        f"worst error {worst:.1e} of the larger of G and F, {excess:.1e} of 1e-12 or of the "
        f"estimated rounding between phases, in {draws} runs of 2 phases of 2 times; a, b in "
        f"[1e-17, 10], singular values about 1e-3 to 1e2, k t in [1e-6, 100]; worst at {where}"
    )
    return Evidence(excess <= 1.0, figure)


@dataclass(frozen=True, eq=False)
class Exact:
    """G at high precision, by the linear flow of its numerator and denominator.

    Attributes
    ----------
    matrix : mpmath.matrix
    kind : GramClass
    digits : int
    """

    matrix: Any
    kind: GramClass
    digits: int = _DIGITS

    @classmethod
    def of(cls, factor: np.ndarray, kind: GramClass) -> Exact:
        """Return G of a factor."""
        with mpmath.workdps(_DIGITS):
            Q = mpmath.matrix(factor.tolist())
            return cls(Q * Q.T, kind)

    @property
    def gram(self) -> np.ndarray:
        """G in doubles."""
        return np.array(self.matrix.tolist(), dtype=float)

    def after(self, S: np.ndarray, t: float, size: float) -> Exact:
        """Return the same after some time with a target, whose fastest rate is `size`."""
        digits = self.digits + int(2 * size * t)
        with mpmath.workdps(digits):
            lam, c2 = mpmath.mpf(self.kind.lam), mpmath.mpf(self.kind.c2)
            f, V = mpmath.eigsy(_blocks(S, -lam / 2, lam / 2))
            k = [mpmath.sqrt(e**2 + c2) for e in f]
            G = V.T * self.matrix * V
            even = mpmath.diag([mpmath.cosh(e * t) for e in k])
            odd = mpmath.diag([mpmath.sinh(e * t) / e if e else mpmath.mpf(t) for e in k])
            D = mpmath.diag(list(f))
            top = even * G + odd * (D * G + c2 * mpmath.eye(len(k)))
            bottom = even + odd * (G - D)
            return Exact(V * (top * mpmath.inverse(bottom)) * V.T, self.kind, digits)


def _blocks(S: np.ndarray, upper: mpmath.mpf, lower: mpmath.mpf) -> mpmath.matrix:
    n_out, n_in = S.shape
    F = mpmath.diag([upper] * n_in + [lower] * n_out)
    for j in range(n_out):
        for i in range(n_in):
            F[i, n_in + j] = F[n_in + j, i] = mpmath.mpf(float(S[j, i]))
    return F


@dataclass(frozen=True)
class GramClass:
    r"""The class $(GJ)^2 + \lambda GJ = c^2$.

    Attributes
    ----------
    lam, c2 : float
    """

    lam: float
    c2: float

    @property
    def source(self) -> float:
        """The root c."""
        return float(np.sqrt(self.c2))


def fitted(factor: np.ndarray, n_inputs: int) -> tuple[GramClass, float]:
    """Return the class that fits best, and the relative distance from it."""
    gram = factor @ factor.T
    lam, c2, far = fitted_class(gram, n_inputs)
    A, W, B = gram[:n_inputs, :n_inputs], gram[n_inputs:, :n_inputs], gram[n_inputs:, n_inputs:]
    if not np.abs(W).max() > np.finfo(float).eps * np.abs(gram).max():
        # The two eigenvalues stand on the diagonal, each with all its digits.
        a, b = float(np.diag(A).mean()), float(np.diag(B).mean())
        lam, c2 = b - a, a * b
    return GramClass(lam, max(c2, 0.0)), far
