r"""A bidiagonal Lanczos basis for one residual, with a bound on what its later vectors can add.

From $u_1 = \rho/|\rho|$ products with A and $A^T$ give orthonormal U and V with
$A^T U_k = V_k L^T$, L lower bidiagonal. In it
$d(t) = -|\rho|\,V_k\,L^T\varphi_t(L L^T)\,e_1$, by the singular vectors of L, whose small values
are kept apart from 0 down to rounding of the largest one: the square is never formed.

Notes
-----
With $z(t)$ the coefficients of $-d$ and $\beta$ the next entry of L below its
diagonal, $g = |\rho|\,U\varphi_t(L L^T)\,e_1$ misses its equation
$\dot g = \rho - A A^T g$ by $\beta z_k u_{k+1}$. Off its diagonal $L L^T$ is positive, so that the
entry $(k, 1)$ of $e^{-L L^T t}$ keeps its sign, and $|z_k|$ grows with t: the defect is largest at
the end. Its part of d decays with $|A^T e^{-A A^T v}| \le \min(s, (2ev)^{-1/2})$, s the largest
singular value, and is $\beta |z_k| \min(s t, 2\sqrt t)$ at most. The same holds of descent as long
as $\eta s^2 \le 1$.
"""

from __future__ import annotations

import numpy as np

from symkernel.errors import InvalidArgument
from symkernel.theory.frozen_rounding import EPS, Followed, rounding
from symkernel.theory.frozen_system import LinearSystem, norm
from symkernel.theory.residual_integral import Spectrum

_BASIS_BYTES = 2**30
# Vectors at the first look at what they give, and how many more there are at each later one.
_FIRST, _GROWTH = 8, 1.3
# What later vectors may add, and what rounding may do before it is refused; both relative to 1 or
# the length of the displacement.
_SETTLED, _REFUSED = 1e-12, 1e-4
# The largest singular value is known where a look moves it by no more than this.
_KNOWN, _SEED = 1e-14, 1000


class Unsettled(InvalidArgument):
    """A basis cannot bound its error."""


class Bidiagonal:
    """The basis, which grows; every vector is orthogonalised against all others, twice.

    Parameters
    ----------
    system : LinearSystem
    start : ndarray, shape (unknowns,)
        Not 0.
    most : int
        Vectors that it may have.
    """

    def __init__(self, system: LinearSystem, start: np.ndarray, most: int) -> None:
        self.system, self.count = system, 0
        self.left = np.empty((most + 1, system.unknowns))
        self.right = np.empty((most, system.layout.count))
        self.left[0] = start / norm(start)
        # Entries of L: on the diagonal, and below it; the last one below belongs to the next row.
        self.diagonal: list[float] = []
        self.below: list[float] = []

    def grow(self) -> bool:
        """Add a vector on each side; False where there is none left."""
        k = self.count
        v, alpha = self._next(self.system.down(self.left[k]), self.right[:k])
        self.right[k] = v
        self.diagonal.append(alpha)
        u, beta = self._next(self.system.up(v), self.left[: k + 1]) if alpha else (v, 0.0)
        if beta:
            self.left[k + 1] = u
        self.below.append(beta)
        self.count = k + 1
        return beta > 0

    def _next(self, vector: np.ndarray, basis: np.ndarray) -> tuple[np.ndarray, float]:
        """Return what of a vector is new, as a unit vector, and its length: 0 within rounding."""
        for _ in range(2):
            vector = vector - basis.T @ (basis @ vector)
        length = norm(vector)
        shape = self.system.unknowns, self.system.layout.count
        floor = max(shape) * EPS * max([*self.diagonal, *self.below, 0.0])
        return (vector / length, length) if length > floor else (np.zeros_like(vector), 0.0)

    def matrix(self) -> np.ndarray:
        """Return L."""
        return np.diag(self.diagonal) + np.diag(self.below[:-1], -1)


def follow(
    system: LinearSystem,
    residual: np.ndarray,
    times: np.ndarray,
    step: float,
    most: int | None = None,
) -> Followed:
    """Return what is added to the displacement by each time, in `most` vectors at most.

    Raises
    ------
    Unsettled
        If they, or those that fit into 1 GiB, do not settle it, or rounding may decide.
    """
    shape = system.unknowns, system.layout.count
    if not norm(residual):
        return Followed(np.zeros((len(times), shape[1])), np.zeros(len(times)), "nothing to learn")
    fitting = max(_FIRST, _BASIS_BYTES // (8 * sum(shape)))
    most = min(fitting, min(shape) + 1, fitting if most is None else most)
    basis, look = Bidiagonal(system, residual, most), min(_FIRST, most)
    while True:
        more = basis.grow()
        if more and basis.count < look:
            continue
        found, later, error = _seen(basis, norm(residual), shape, times, step)
        size = np.maximum(1.0, np.linalg.norm(found, axis=1))
        if (later <= np.maximum(error, _SETTLED * size)).all():
            break
        if basis.count == most:
            raise Unsettled(
                f"{most} Lanczos vectors must settle what is learned by time {times[-1]:g}, but "
                f"later ones could still move the weights of {system.words} by {later.max():.1e}; "
                f"ask for earlier times or use fewer samples."
            )
        look = min(most, int(_GROWTH * basis.count) + 1)
    if (later + error > _REFUSED * size).any():
        raise Unsettled(
            f"Rounding must not decide what is learned, but by time {times[-1]:g} it may move the "
            f"weights of {system.words} by {(later + error).max():.1e}, along directions that do "
            f"not learn or have yet to; ask for earlier times or use fewer samples."
        )
    words = f"solved by {basis.count} Lanczos vectors ({system.words})"
    return Followed(-found @ basis.right[: basis.count], later + error, words)


def _seen(
    basis: Bidiagonal, length: float, shape: tuple[int, int], times: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the coefficients, and what later vectors and what rounding may change, by time."""
    left, values, right = np.linalg.svd(basis.matrix())
    parts = length * left[0]
    vectors = np.ascontiguousarray(right.T)
    found = Spectrum(values**2, vectors, 0.0).integral(values * parts, times, step)
    passed = np.asarray(times, dtype=float) * (step or 1.0)
    reach = np.minimum(values[0] * passed, 2 * np.sqrt(passed))
    later = basis.below[-1] * np.abs(found[:, -1]) * reach
    return found, later, rounding(values, parts, length, shape, times, step)


def largest_singular_value(system: LinearSystem) -> float:
    """Return the largest singular value of A, by a basis from a random vector."""
    shape = system.unknowns, system.layout.count
    most = int(min(max(_FIRST, _BASIS_BYTES // (8 * sum(shape))), min(shape) + 1))
    start = np.random.default_rng(_SEED).standard_normal(shape[0])
    basis, look, before = Bidiagonal(system, start, most), min(_FIRST, most), 0.0
    while True:
        more = basis.grow()
        if more and basis.count < look:
            continue
        found = float(np.linalg.norm(basis.matrix(), 2))
        if not more or basis.count == most or found - before <= _KNOWN * found:
            return found
        before, look = found, min(most, int(_GROWTH * basis.count) + 1)
