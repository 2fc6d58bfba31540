r"""The flow of the two-eigenvalue class: its numbers, its limits, its precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mpmath
import numpy as np
import sympy as sp

from symkernel.formula import Evidence
from symkernel.identities import vanishes
from symkernel.theory import riccati
from symkernel.theory.compact_weights import spanning_frame
from symkernel.theory.lax import fitted_class
from symkernel.theory.memoryless_map import products

_DIGITS = 60
_BOUND = 1e-12
# Up to here, in units of the fastest rate, the direct form loses nothing, and later the other.
_EARLY = 1.0


def limits() -> tuple[tuple[str, Callable[[], Evidence]], ...]:
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
    return Evidence(same, words if same else f"NOT so: {words}")


def check_precision(stream: np.random.Generator, draws: int) -> Evidence:
    """Compare with 60 digits, relative to the larger of G and F."""
    worst, where = 0.0, ""
    for _ in range(draws):
        n_in, n_out = (int(v) for v in stream.integers(1, 4, 2))
        S = stream.standard_normal((n_out, n_in)) * 10 ** stream.uniform(-3, 2)
        other = stream.standard_normal((n_out, n_in))
        a, b = (float(v) for v in 10 ** stream.uniform(-6, 1, 2))
        kind = GramClass(b - a, a * b)
        _, W0 = advance(other, kind, np.zeros_like(S), np.array([float(stream.uniform(0, 1))]))
        size = float(np.hypot(np.linalg.norm(S, 2), (a + b) / 2))
        times = np.sort(10 ** stream.uniform(-6, 2, 2)) / size
        found, _ = advance(S, kind, W0, times)
        for t, G in zip(times, found, strict=True):
            exact = _high_precision(S, kind, W0, float(t), size)
            error = float(np.abs(G - exact).max() / max(np.abs(exact).max(), size))
            if not error <= worst:
                worst, where = error, f"k t = {size * t:.3g}, a = {a:.3g}, b = {b:.3g}"
    figure = (
        f"worst error {worst:.1e} of the larger of G and F in {draws} flows of 2 times; a, b in "
        f"[1e-6, 10], singular values about 1e-3 to 1e2, k t in [1e-6, 100]; worst at {where}"
    )
    return Evidence(worst <= _BOUND, figure)


def _high_precision(
    S: np.ndarray, kind: GramClass, W0: np.ndarray, t: float, size: float
) -> np.ndarray:
    """Return G from the linear flow of its numerator and denominator, by mpmath."""
    with mpmath.workdps(_DIGITS + int(2 * size * t)):
        lam, c2 = mpmath.mpf(kind.lam), mpmath.mpf(kind.c2)
        F, G = _blocks(S, -lam / 2, lam / 2), _class_member(mpmath.matrix(W0.tolist()), lam, c2)
        f, V = mpmath.eigsy(F)
        k = [mpmath.sqrt(e**2 + c2) for e in f]
        G = V.T * G * V
        even = mpmath.diag([mpmath.cosh(e * t) for e in k])
        odd = mpmath.diag([mpmath.sinh(e * t) / e if e else mpmath.mpf(t) for e in k])
        D = mpmath.diag(list(f))
        top = even * G + odd * (D * G + c2 * mpmath.eye(len(k)))
        bottom = even + odd * (G - D)
        found = V * (top * mpmath.inverse(bottom)) * V.T
        return np.array(found.tolist(), dtype=float)


def _blocks(S: np.ndarray, upper: mpmath.mpf, lower: mpmath.mpf) -> mpmath.matrix:
    n_out, n_in = S.shape
    F = mpmath.diag([upper] * n_in + [lower] * n_out)
    for j in range(n_out):
        for i in range(n_in):
            F[i, n_in + j] = F[n_in + j, i] = mpmath.mpf(float(S[j, i]))
    return F


def _class_member(W: mpmath.matrix, lam: mpmath.mpf, c2: mpmath.mpf) -> mpmath.matrix:
    """Return G from its block W, by matrix square roots."""
    n_out, n_in = W.rows, W.cols
    G = mpmath.zeros(n_in + n_out)
    parts = ((W.T * W, -lam / 2, 0), (W * W.T, lam / 2, n_in))
    for square, shift, offset in parts:
        values, vectors = mpmath.eigsy(square)
        roots = [mpmath.sqrt(lam**2 / 4 + c2 + max(v, 0)) + shift for v in values]
        block = vectors * mpmath.diag(roots) * vectors.T
        for i in range(square.rows):
            for j in range(square.rows):
                G[offset + i, offset + j] = block[i, j]
    for j in range(n_out):
        for i in range(n_in):
            G[i, n_in + j] = G[n_in + j, i] = W[j, i]
    return G


@dataclass(frozen=True)
class GramClass:
    r"""The class $(GJ)^2 + \lambda GJ = c^2$: G is a function of its block W alone.

    Attributes
    ----------
    lam, c2 : float
    """

    lam: float
    c2: float

    @property
    def reach(self) -> float:
        r"""$\sqrt{\lambda^2/4 + c^2}$, half the distance of the two eigenvalues."""
        return float(np.hypot(self.lam / 2, np.sqrt(self.c2)))

    def sides(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the squared lengths of the two sides of modes, free of cancellation."""
        size = np.hypot(self.reach, w)
        larger = size + abs(self.lam) / 2
        product = self.c2 + w**2
        smaller = np.divide(product, larger, out=np.zeros_like(larger), where=larger > 0)
        return (smaller, larger) if self.lam > 0 else (larger, smaller)

    def factor(self, W: np.ndarray) -> np.ndarray:
        """Return a square factor of G.

        By modes of W: the small eigenvalue of each is c^2 over the large one, which no difference
        of rounded numbers would give.
        """
        n_out, n_in = W.shape
        r = min(W.shape)
        U, w, Vt = np.linalg.svd(W)
        first, second = self.sides(np.append(w, 0.0))
        root = np.sqrt(first[:r])
        factor = np.zeros((n_in + n_out, n_in + n_out))
        factor[:n_in, :r] = Vt[:r].T * root
        factor[n_in:, :r] = U[:, :r] * np.divide(w, root, out=np.zeros(r), where=root > 0)
        factor[n_in:, n_in : n_in + r] = U[:, :r] * np.sqrt(
            np.divide(self.c2, first[:r], out=second[:r].copy(), where=root > 0)
        )
        factor[:n_in, r:n_in] = Vt[r:].T * np.sqrt(first[-1])
        factor[n_in:, n_in + r :] = U[:, r:] * np.sqrt(second[-1])
        return factor


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


def advance(
    S: np.ndarray, kind: GramClass, W0: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return G at increasing times within a phase, and its block W at the last one.

    Inputs and outputs that neither the task nor the map uses stay as they are: the flow is that of
    a network with twice as many inputs as outputs at most, and the reverse.
    """
    used = np.hstack([S, W0]), np.vstack([S, W0]).T
    outputs, inputs = (spanning_frame(columns) for columns in used)
    narrow = _maps(outputs.T @ S @ inputs, kind, outputs.T @ W0 @ inputs, times)
    first, second = (float(side[0]) for side in kind.sides(np.zeros(1)))
    A, B = products(narrow, np.full(len(times), first), np.full(len(times), second))
    maps = outputs @ narrow @ inputs.T
    n_in, n = S.shape[1], sum(S.shape)
    grams = np.empty((len(times), n, n))
    grams[:, :n_in, :n_in], grams[:, n_in:, n_in:] = (
        _within(A, first, inputs),
        _within(B, second, outputs),
    )
    grams[:, n_in:, :n_in], grams[:, :n_in, n_in:] = maps, maps.transpose(0, 2, 1)
    return grams, maps[-1]


def _within(part: np.ndarray, level: float, frame: np.ndarray) -> np.ndarray:
    """Return products of the weights that are a level outside a frame, and given inside."""
    rows, columns = frame.shape
    if rows == columns:
        return part
    found = frame @ (part - level * np.eye(columns)) @ frame.T
    found[:, range(rows), range(rows)] += level
    return found


def _maps(S: np.ndarray, kind: GramClass, W0: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the block W of G at increasing times."""
    f, E, equal = riccati.eigenbasis(S, kind.lam)
    k = np.hypot(f, np.sqrt(kind.c2))
    n_in = S.shape[1]
    early = times * k.max(initial=0.0) <= _EARLY
    maps = np.empty((len(times), *S.shape))
    factor = kind.factor(W0)
    if early.any():
        turned = E.T @ (factor @ factor.T) @ E
        for i in np.flatnonzero(early):
            # Nothing grows much yet: numerator and denominator as they are.
            even, odd = np.cosh(k * times[i])[:, None], _sinhc(k, times[i])[:, None]
            top = even * turned + odd * (f[:, None] * turned + kind.c2 * np.eye(len(f)))
            bottom = np.diag(even[:, 0]) + odd * (turned - np.diag(f))
            maps[i] = (E @ np.linalg.solve(bottom.T, top.T).T @ E.T)[n_in:, :n_in]
    if not early.all():
        # K - F, free of cancellation for f > 0.
        above = np.where(f > 0, kind.c2 / np.where(f > 0, k + f, 1.0), k - f)
        start = riccati.lower_factor(np.hstack([factor, E * np.sqrt(above)]))
        grown, _ = riccati.advance((k, E, equal), start, times[~early])
        maps[~early] = (grown - (E * above) @ E.T)[:, n_in:, :n_in]
    return maps


def _sinhc(k: np.ndarray, t: float) -> np.ndarray:
    """Return sinh(k t)/k, which is t at k = 0."""
    return np.divide(np.sinh(k * t), k, out=np.full_like(k, t), where=k > 0)
