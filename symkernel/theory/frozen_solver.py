r"""Solution of one phase of a linearised network: $d(t) - d(0) = -A^T g(t)$.

$g(t) = \varphi_t(A A^T)\,\rho$ in the space of samples, or $A^T g = \varphi_t(A^T A) A^T\rho$ in
that of parameters, whichever is smaller. Small problems are solved by the singular vectors of A,
which keep small singular values apart from 0 down to rounding of the largest one; larger ones by
the eigenvectors of the matrix, which do so down to the root of rounding; and where the matrix
would not fit into memory a Lanczos basis is made, which needs products with A alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from symkernel.errors import InvalidArgument
from symkernel.theory.frozen_system import LinearSystem, norm
from symkernel.theory.residual_integral import Spectrum

# Multiplications and numbers up to which the singular vectors of A are found.
_SMALL_WORK, _SMALL_NUMBERS = 2e8, 2**22
# Matrices of this size are alive at once while a spectrum is computed.
_COPIES = 4
_MOST_BYTES = 2**30
_BASIS_BYTES = 2**30
# Eigenvectors that are more work than a Lanczos basis for one residual.
_MANY = 600
# Lanczos steps between two looks at what they give, and the relative change that ends them.
_LOOK, _SETTLED = 5, 1e-12


class Solver(Protocol):
    """How one phase is solved.

    Attributes
    ----------
    largest : float
        The largest eigenvalue, that is the fastest rate.
    words : str
        How it is solved, for the reader.
    """

    @property
    def largest(self) -> float:
        """The largest eigenvalue."""

    @property
    def words(self) -> str:
        """How it is solved."""

    def displaced(self, residual: np.ndarray, times: np.ndarray, step: float) -> np.ndarray:
        """Return what is added to the displacement by each time, (n_times, count)."""


def solver(system: LinearSystem, once: bool = False) -> Solver:
    """Return the solver of a system: in the smaller space, by eigenvectors if they fit.

    For a residual that is followed `once`, a Lanczos basis is cheaper than many eigenvectors.
    """
    in_samples = system.unknowns <= system.layout.count
    size, other = sorted((system.unknowns, system.layout.count))
    if size**2 * other <= _SMALL_WORK and size * other <= _SMALL_NUMBERS:
        return FactorSolver.of(system, in_samples)
    if _COPIES * 8 * size**2 > _MOST_BYTES or (once and size > _MANY):
        return KrylovSolver(system, in_samples)
    matrix = system.sample_matrix() if in_samples else system.parameter_matrix()
    return SpectralSolver(system, in_samples, Spectrum.of(matrix))


@dataclass(frozen=True, eq=False)
class FactorSolver:
    """Solution by the singular vectors of A.

    Attributes
    ----------
    left : ndarray, shape (unknowns, k)
    values : ndarray, shape (k,)
        Singular values; 0 where they are within rounding.
    right : ndarray, shape (count, k)
    """

    system: LinearSystem
    left: np.ndarray
    values: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, system: LinearSystem, in_samples: bool) -> FactorSolver:
        """Return the solver; A is made from products with the rows of the smaller identity."""
        if in_samples:
            A = system.rows(np.eye(system.unknowns))
        else:
            A = system.up(np.eye(system.layout.count)).T
        left, values, right = np.linalg.svd(A, full_matrices=False)
        floor = max(A.shape) * float(np.finfo(float).eps) * float(values[0])
        values = np.where(values <= floor, 0.0, values)
        return cls(system, left, values, np.ascontiguousarray(right.T))

    @property
    def largest(self) -> float:
        """The largest eigenvalue."""
        return float(self.values[0]) ** 2

    @property
    def words(self) -> str:
        """How it is solved, and how many directions do not learn."""
        text = f"solved by {len(self.values)} singular vectors ({self.system.words})"
        still = self.system.unknowns - int((self.values > 0).sum())
        return f"{text}; {still} directions of the outputs never learn" if still else text

    def displaced(self, residual: np.ndarray, times: np.ndarray, step: float) -> np.ndarray:
        """Return what is added to the displacement by each time."""
        spectrum = Spectrum(self.values**2, self.right, 0.0)
        parts = self.values * (self.left.T @ residual)
        return -spectrum.integral(parts, times, step)


@dataclass(frozen=True, eq=False)
class SpectralSolver:
    """Solution by all eigenvectors."""

    system: LinearSystem
    in_samples: bool
    spectrum: Spectrum

    @property
    def largest(self) -> float:
        """The largest eigenvalue."""
        return self.spectrum.largest

    @property
    def words(self) -> str:
        """How it is solved, and how many directions do not learn."""
        space = "samples" if self.in_samples else "parameters"
        size = len(self.spectrum.values)
        still = int((self.spectrum.values == 0).sum())
        text = f"solved by {size} eigenvectors in the space of {space} ({self.system.words})"
        if still and self.in_samples:
            text += (
                f"; {still} eigenvalues are 0 within rounding (below {self.spectrum.floor:.1e}), "
                f"taken for 0: weights may miss a part of up to "
                f"{np.sqrt(self.spectrum.floor):.1e} x t x residual along them"
            )
        return text

    def displaced(self, residual: np.ndarray, times: np.ndarray, step: float) -> np.ndarray:
        """Return what is added to the displacement by each time."""
        driven = residual if self.in_samples else self.system.down(residual)
        parts = self.spectrum.parts(driven)
        # Null directions move no parameter; what rounding leaves of them would grow with time.
        parts[self.spectrum.values == 0] = 0.0
        found = self.spectrum.integral(parts, times, step)
        return -self.system.rows(found) if self.in_samples else -found


@dataclass(eq=False)
class KrylovSolver:
    """Solution in a Lanczos basis that grows until nothing changes.

    Every vector is kept and orthogonalised against all others, twice: nothing is restarted.
    """

    system: LinearSystem
    in_samples: bool
    largest: float = 0.0
    words: str = ""

    def displaced(self, residual: np.ndarray, times: np.ndarray, step: float) -> np.ndarray:
        """Return what is added to the displacement by each time.

        Raises
        ------
        InvalidArgument
            If the basis outgrows the memory before it settles.
        """
        system = self.system
        start = residual if self.in_samples else system.down(residual)
        if not norm(start):
            return np.zeros((len(times), system.layout.count))

        def applied(v: np.ndarray) -> np.ndarray:
            return system.up(system.down(v)) if self.in_samples else system.down(system.up(v))

        basis, coefficients = self._basis(applied, start, times, step)
        found = coefficients @ basis
        return -system.rows(found) if self.in_samples else -found

    def _basis(
        self,
        applied: Callable[[np.ndarray], np.ndarray],
        start: np.ndarray,
        times: np.ndarray,
        step: float,
    ) -> tuple[np.ndarray, np.ndarray]:
        most = min(len(start), max(_LOOK, _BASIS_BYTES // (8 * len(start))))
        basis = np.empty((most, len(start)))
        basis[0] = start / norm(start)
        diagonal: list[float] = []
        beside: list[float] = []
        before = np.zeros((len(times), 0))
        for k in range(most):
            moved = applied(basis[k])
            diagonal.append(float(basis[k] @ moved))
            for _ in range(2):
                moved -= basis[: k + 1].T @ (basis[: k + 1] @ moved)
            length = norm(moved)
            whole = k + 1 == len(start) or length <= 1e-14 * max(diagonal)
            if whole or k % _LOOK == _LOOK - 1:
                found = norm(start) * self._small(diagonal, beside, times, step)
                change = found.copy()
                change[:, : before.shape[1]] -= before
                size = np.linalg.norm(found, axis=1)
                if whole or (np.linalg.norm(change, axis=1) <= _SETTLED * size).all():
                    space = "samples" if self.in_samples else "parameters"
                    self.words = (
                        f"solved by {k + 1} Lanczos steps in the space of {space}, to a relative "
                        f"change of {_SETTLED:.0e} ({system_words(self.system)})"
                    )
                    return basis[: k + 1], found
                before = found
            if k + 1 == most:
                break
            beside.append(length)
            basis[k + 1] = moved / length
        raise InvalidArgument(
            f"The kernel of {self.system.words} is too large for its eigenvectors, and {most} "
            f"Lanczos vectors, 1 GiB, do not settle what is learned by time {times[-1]:g}; ask for "
            f"earlier times or use fewer samples."
        )

    def _small(
        self, diagonal: list[float], beside: list[float], times: np.ndarray, step: float
    ) -> np.ndarray:
        """Return the integral of the first basis vector in the basis, (n_times, steps)."""
        small = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
        spectrum = Spectrum.of(small)
        self.largest = spectrum.largest
        parts = spectrum.vectors[0].copy()
        parts[spectrum.values == 0] = 0.0
        return spectrum.integral(parts, times, step)


def system_words(system: LinearSystem) -> str:
    """Return the sizes of a system, and what its matrix would take."""
    size = min(system.unknowns, system.layout.count)
    return f"{system.words}; its matrix would take {8 * size**2 / 2**30:.1f} GiB"
