r"""Solution of one phase of a linearised network: $d(t) - d(0) = -A^T\varphi_t(A A^T)\,\rho$.

How it is solved never decides how accurate it is, only how long it takes. `solver` chooses:

==================  ====================================  ========================================
method              when                                  error of the displacement
==================  ====================================  ========================================
"factor"            A is small, or Lanczos gave up        rounding of A: $\epsilon_A$ below
"kernel"            A is larger, and the smallest         of the flow, 1e-10 of its length
                    eigenvalue of $A A^T$ (or $A^T A$)
                    stands far above rounding
"lanczos"           else: a bidiagonal basis, made        $\epsilon_A$, and what later vectors can
                    until its error is rounding           add, which is bounded
==================  ====================================  ========================================

Rounding moves A by $\epsilon = $ (larger side of A) x 2^-52 x (largest singular value) at most, so
that $|\delta d| \le \epsilon_A = \epsilon\,(2|\hat\varphi\rho| + \max(s\hat\varphi)\,|d|)$ with
$\varphi_t(s^2) \le \hat\varphi = \min(t, s^{-2})$: it grows with t only where a residual lies in
directions that do not learn, or learn later than t. Singular values of A below
$\epsilon$ are taken for 0. Trajectories print the bound at their last time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from symkernel.errors import InvalidArgument, as_choice
from symkernel.theory.frozen_lanczos import Unsettled, follow, largest_singular_value
from symkernel.theory.frozen_rounding import EPS, Followed, reached, rounding
from symkernel.theory.frozen_system import LinearSystem, norm
from symkernel.theory.residual_integral import Spectrum

METHODS = ("factor", "kernel", "lanczos")
# Multiplications up to which the singular vectors of A are found at once.
_SMALL_WORK = 1e7
# Matrices of the same size that are alive while one is decomposed, and what they may take.
_COPIES = 4
_MOST_BYTES = {"factor": 2**32, "kernel": 2**30}
# The relative error up to which eigenvectors of the kernel are good enough.
_ACCURATE = 1e-10
# Unknowns from which a basis is less work than all eigenvectors, for a residual followed once.
_MANY = 600
# The share of all singular vectors that a basis may have where A could be decomposed instead.
_SHARE = 1 / 3


class Solver(ABC):
    """How one phase is solved."""

    @property
    @abstractmethod
    def largest(self) -> float:
        """The largest eigenvalue, that is the fastest rate."""

    @abstractmethod
    def followed(self, residual: np.ndarray, times: np.ndarray, step: float) -> Followed:
        """Return what is added to the displacement by each time, with a bound on its error."""


def solver(system: LinearSystem, once: bool = False, method: str | None = None) -> Solver:
    """Return the solver of a system, by the table above.

    Parameters
    ----------
    system : LinearSystem
    once : bool
        For a residual that is followed once a basis is cheaper than many eigenvectors.
    method : {"factor", "kernel", "lanczos"}, optional
        In place of the choice by size.

    Raises
    ------
    InvalidArgument
        If the method is none of them, or takes too much memory.
    """
    size, other = sorted((system.unknowns, system.layout.count))
    taken = {"factor": _COPIES * 8 * size * other, "kernel": _COPIES * 8 * size**2}
    if method is not None:
        as_choice(method, "method", METHODS)
        if method in taken and taken[method] > _MOST_BYTES[method]:
            raise InvalidArgument(
                f"Argument 'method' must fit into {_MOST_BYTES[method] / 2**30:.3g} GiB, but "
                f"{method!r} takes {taken[method] / 2**30:.1f} GiB for {system.words}; leave it "
                f"out."
            )
        if method == "kernel":
            return KernelSolver.of(system).refused_if_rounded()
        return FactorSolver(system) if method == "factor" else LanczosSolver(system)
    fits = taken["factor"] <= _MOST_BYTES["factor"]
    if fits and size**2 * other <= _SMALL_WORK:
        return FactorSolver(system)
    if taken["kernel"] <= _MOST_BYTES["kernel"] and not (once and size > _MANY):
        found = KernelSolver.of(system)
        if found.relative_error <= _ACCURATE:
            return found
    return LanczosSolver(system, FactorSolver(system) if fits else None)


@dataclass(frozen=True, eq=False)
class FactorSolver(Solver):
    """Solution by the singular vectors of A.

    Attributes
    ----------
    system : LinearSystem
    """

    system: LinearSystem

    @property
    def is_made(self) -> bool:
        """Whether the singular vectors are there already."""
        return "_vectors" in self.__dict__

    @cached_property
    def _vectors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Singular vectors of the residual's side, values, and vectors of the parameters' side."""
        system = self.system
        if system.unknowns <= system.layout.count:
            A = system.rows(np.eye(system.unknowns))
        else:
            A = system.columns()
        left, values, right = np.linalg.svd(A, full_matrices=False)
        values = np.where(values <= max(A.shape) * EPS * values[0], 0.0, values)
        return left, values, np.ascontiguousarray(right.T)

    @property
    def largest(self) -> float:
        """The largest eigenvalue."""
        return float(self._vectors[1][0]) ** 2

    def followed(self, residual: np.ndarray, times: np.ndarray, step: float) -> Followed:
        """Return what is added to the displacement by each time."""
        left, values, right = self._vectors
        parts = left.T @ residual
        found = Spectrum(values**2, right, 0.0).integral(values * parts, times, step)
        still = self.system.unknowns - int((values > 0).sum())
        words = f"solved by {len(values)} singular vectors ({self.system.words})"
        words += f"; {still} directions of the outputs never learn" if still else ""
        shape = self.system.unknowns, self.system.layout.count
        return Followed(-found, rounding(values, parts, norm(residual), shape, times, step), words)


@dataclass(frozen=True, eq=False)
class KernelSolver(Solver):
    """Solution by all eigenvectors of the kernel, which are rounded relative to the largest one.

    Attributes
    ----------
    system : LinearSystem
    spectrum : Spectrum
        Of A A^T, or of A^T A if it is smaller.
    """

    system: LinearSystem
    spectrum: Spectrum

    @classmethod
    def of(cls, system: LinearSystem) -> KernelSolver:
        """Return the solver; the smaller matrix is decomposed."""
        in_samples = system.unknowns <= system.layout.count
        matrix = system.sample_matrix() if in_samples else system.parameter_matrix()
        return cls(system, Spectrum.of(matrix))

    @property
    def largest(self) -> float:
        """The largest eigenvalue."""
        return self.spectrum.largest

    @property
    def relative_error(self) -> float:
        """What rounding may move an eigenvalue by, relative to the smallest; or infinity."""
        least = float(self.spectrum.values[0])
        return self.spectrum.floor / least if least else float("inf")

    def refused_if_rounded(self) -> KernelSolver:
        """Return the solver.

        Raises
        ------
        InvalidArgument
            If rounding moves what it gives by more than a share of 1e-10.
        """
        if self.relative_error <= _ACCURATE:
            return self
        raise InvalidArgument(
            f"Argument 'method' must not be 'kernel' here: its smallest eigenvalue, "
            f"{self.spectrum.values[0]:.1e}, is known to {self.spectrum.floor:.1e} only; leave it "
            f"out."
        )

    def followed(self, residual: np.ndarray, times: np.ndarray, step: float) -> Followed:
        """Return what is added to the displacement by each time."""
        system, spectrum = self.system, self.spectrum
        in_samples = len(spectrum.values) == system.unknowns
        driven = residual if in_samples else system.down(residual)
        parts = spectrum.parts(driven)
        found = spectrum.integral(parts, times, step)
        phi = reached(spectrum.values, times, step)
        moved = np.linalg.norm(phi * parts, axis=1)
        if in_samples:
            error = (np.sqrt(spectrum.values) * phi).max(axis=1) * moved
        else:
            # A^T rho is rounded too, relative to rho.
            error = phi.max(axis=1) * (moved + norm(residual) / np.sqrt(spectrum.largest))
        flats = -system.rows(found) if in_samples else -found
        space = "samples" if in_samples else "parameters"
        words = (
            f"solved by {len(spectrum.values)} eigenvectors in the space of {space} "
            f"({system.words})"
        )
        return Followed(flats, spectrum.floor * error, words)


@dataclass(frozen=True, eq=False)
class LanczosSolver(Solver):
    """Solution in a basis of its own for every residual.

    Attributes
    ----------
    system : LinearSystem
    otherwise : FactorSolver, optional
        What solves it where the basis would be no less work, or cannot bound its error.
    """

    system: LinearSystem
    otherwise: FactorSolver | None = None

    @cached_property
    def largest(self) -> float:
        """The largest eigenvalue."""
        return largest_singular_value(self.system) ** 2

    def followed(self, residual: np.ndarray, times: np.ndarray, step: float) -> Followed:
        """Return what is added to the displacement by each time.

        Raises
        ------
        InvalidArgument
            If the basis outgrows the memory before it settles, or rounding may decide.
        """
        beyond = bool(step and step * self.largest > 1)
        if self.otherwise is None:
            if beyond:
                raise InvalidArgument(
                    f"Argument 'learning_rate' must be {1 / self.largest:.6g} at most, half the "
                    f"stable limit, not {step:g}: {self.system.words} are solved in a Lanczos "
                    f"basis, which bounds its error up to there only."
                )
            return follow(self.system, residual, times, step)
        if not (beyond or self.otherwise.is_made):
            most = max(1, int(_SHARE * min(self.system.unknowns, self.system.layout.count)))
            with suppress(Unsettled):
                return follow(self.system, residual, times, step, most)
        return self.otherwise.followed(residual, times, step)
