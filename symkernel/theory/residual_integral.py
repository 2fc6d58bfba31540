r"""The node that stands for $g(t) = \int_0^t e^{-Ms} r\,ds$, and its evaluation for a spectrum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mpmath
import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.codegen.algorithms import (
    AlgorithmNode,
    DecayIntegral,
    at_precision,
    compile_algorithm,
    solves_its_equation,
)
from symkernel.errors import InvalidArgument
from symkernel.formula import Evidence
from symkernel.identities import rational_orthogonal
from symkernel.numerics import residual_integral as algorithm
from symkernel.problem.scalars import as_sympy

# Of the Python function: one that calls the compiled one would be optimised with it once more.
_ENTRY = """

evaluate = numba.njit(
    "void(float64[::1], float64[:, ::1], float64[::1], float64[::1], float64, float64[:, ::1])",
    cache=True,
    nogil=True,
    error_model="numpy",
)(residual_integral.py_func)
"""
PRECISION = 1e-12
_DIGITS = 60
# Relative to the largest entry: what rounding does to a kernel is far below.
_ROUNDING = 1e-9


class ResidualIntegral(AlgorithmNode):
    r"""$g(t)$ with $\dot g = r - M g$, $g(0) = 0$, M symmetric and positive semi-definite.

    Parameters
    ----------
    M : MatrixExpr, shape (n, n)
    r : MatrixExpr, shape (n, 1)
    t : Expr

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.theory.residual_integral import ResidualIntegral
    >>> M, r = sp.MatrixSymbol("M", 3, 3), sp.MatrixSymbol("r", 3, 1)
    >>> assert ResidualIntegral(M, r, sp.Symbol("t")).shape == (3, 1)
    """

    algorithm: ClassVar = algorithm
    entry: ClassVar[str] = _ENTRY

    def __new__(cls, M: sp.MatrixExpr, r: sp.MatrixExpr, t: sp.Expr) -> ResidualIntegral:
        """Return the integral of r under M up to time t."""
        return super().__new__(cls, M, r, as_sympy(t))

    @property
    def shape(self) -> tuple[sp.Expr, sp.Expr]:
        """Shape of r."""
        return self.args[1].shape

    def definition(self) -> sp.MatrixExpr:
        r"""Return $\int_0^t e^{-M\tau} d\tau\; r$."""
        M, r, t = self.args
        return sp.MatMul(DecayIntegral(M, t), r)

    def equation(self, value: sp.MatrixExpr) -> tuple[sp.MatrixExpr, sp.MatrixExpr]:
        """Return the rate of a value, and the initial value."""
        M, r, _ = self.args
        return r - M * value, sp.ZeroMatrix(*self.shape)


def symbolic_integral(size: int, columns: int = 1) -> ResidualIntegral:
    """Return the node on symbols."""
    M, r = sp.MatrixSymbol("M", size, size), sp.MatrixSymbol("r", size, columns)
    return ResidualIntegral(M, r, notation.t)


def check_solution(definition: sp.MatrixExpr | None = None) -> Evidence:
    """Substitute the solution into its equation, exactly, with zero and repeated eigenvalues."""
    for eigenvalues, salt in (([1, 2, 0], 1), ([3, 3, 0], 2), ([0, 0, 0], 3)):
        n = len(eigenvalues)
        vectors = rational_orthogonal(n, salt)
        node = symbolic_integral(n)
        M, r, t = node.args
        entries = sp.Matrix(n, 1, lambda i, _, k=salt: sp.Rational((3 * i + k) % 7 - 3, 2 + i))
        values = {M: vectors * sp.diag(*eigenvalues) * vectors.T, r: entries}
        formula = node.definition() if definition is None else definition
        spectrum = (vectors, [sp.Integer(f) for f in eigenvalues])
        if not solves_its_equation(node, formula, values, spectrum, t, sp.Rational(2, 5)):
            return Evidence(False, f"the solution fails for eigenvalues {eigenvalues}")
    return Evidence(
        True,
        "substituted into its equation, exactly 0, in 3 cases with zero and repeated eigenvalues; "
        "initial value exact",
    )


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues and eigenvectors of a matrix that is symmetric and positive semi-definite.

    Attributes
    ----------
    values : ndarray, shape (n,)
        Not negative: 0 where they are 0 within rounding.
    vectors : ndarray, shape (m, n)
        As columns; more rows than columns where a basis of a subspace is meant.
    floor : float
        Eigenvalues below it are 0 within rounding.
    """

    values: np.ndarray
    vectors: np.ndarray
    floor: float

    @classmethod
    def of(cls, matrix: np.ndarray) -> Spectrum:
        """Return the spectrum of a matrix.

        Raises
        ------
        InvalidArgument
            If it is not symmetric and positive semi-definite, as a kernel is.
        """
        size = float(np.abs(matrix).max(initial=0.0))
        skew = float(np.abs(matrix - matrix.T).max(initial=0.0))
        values, vectors = np.linalg.eigh(matrix)
        if skew > _ROUNDING * size or -values[0] > _ROUNDING * max(size, float(values[-1])):
            raise InvalidArgument(
                f"A kernel must be symmetric and positive semi-definite, but this one differs from "
                f"its transpose by {skew:.1e}, and its smallest eigenvalue is {values[0]:.1e}, "
                f"with entries up to {size:.1e}."
            )
        floor = len(values) * float(np.finfo(float).eps) * float(values[-1])
        values = np.where(values <= floor, 0.0, values)
        return cls(values, np.ascontiguousarray(vectors), floor)

    @property
    def largest(self) -> float:
        """The largest eigenvalue."""
        return float(self.values[-1])

    def parts(self, residual: np.ndarray) -> np.ndarray:
        """Return a residual in the eigenbasis."""
        return self.vectors.T @ residual

    def integral(self, parts: np.ndarray, times: np.ndarray, step: float = 0.0) -> np.ndarray:
        """Return the integral at each time, (n_times, m).

        Parameters
        ----------
        parts : ndarray, shape (n,)
            The residual in the eigenbasis.
        times : ndarray, shape (n_times,)
            Flow times, or numbers of steps.
        step : float
            The learning rate of gradient descent, 0 for the flow.
        """
        out = np.empty((len(times), len(self.vectors)))
        clock = np.ascontiguousarray(times, dtype=float)
        routine = compile_algorithm(ResidualIntegral)
        routine.evaluate(self.values, self.vectors, parts, clock, float(step), out)
        return out


def check_precision(stream: np.random.Generator, draws: int) -> Evidence:
    """Compare the compiled algorithm with 60 digits, relative to the largest entry of g."""
    worst, where = 0.0, ""
    for k in range(draws):
        n = int(stream.integers(1, 6))
        values = 10 ** stream.uniform(-18, 2, n)
        values[stream.random(n) < 0.2] = 0.0
        turn = np.linalg.qr(stream.standard_normal((n, n)))[0]
        residual = stream.standard_normal(n) * 10 ** stream.uniform(-3, 3)
        times = np.sort(10 ** stream.uniform(-6, 6, 2))
        descends = k % 3 == 2
        step = float(stream.uniform(0.01, 1.99) / max(values.max(), 1e-3)) if descends else 0.0
        clock = np.floor(np.minimum(times, 1e4)) if descends else times
        found = Spectrum(values, turn, 0.0).integral(turn.T @ residual, clock, step)
        for t, row in zip(clock, found, strict=True):
            exact = high_precision(values, turn, residual, float(t), step)
            error = float(np.abs(row - exact).max() / (np.abs(exact).max() or 1.0))
            if not error <= worst:
                worst, where = error, f"t = {t:.3g}, largest eigenvalue {values.max():.3g}"
    figure = (
        f"worst relative error {worst:.1e} in {draws} integrals of 2 times, a third of them steps "
        f"of descent; eigenvalues 0 and 1e-18 to 1e2, t in [1e-6, 1e6]; worst at {where}"
    )
    return Evidence(worst <= PRECISION, figure)


def high_precision(
    values: np.ndarray, vectors: np.ndarray, residual: np.ndarray, t: float, step: float
) -> np.ndarray:
    """Return the integral by mpmath: the node's definition, or the powers of descent."""
    with mpmath.workdps(_DIGITS):
        turn = mpmath.matrix(vectors.tolist())
        start = mpmath.matrix(residual.tolist())
        exact = [mpmath.mpf(float(l)) for l in values]
        if step:
            phis = [_descended(l, t, step) for l in exact]
        else:
            phis = [DecayIntegral.of_eigenvalue(l, mpmath.mpf(t), mpmath.exp) for l in exact]
        found = turn * (mpmath.diag(phis) * (turn.T * start))
    return np.array(found.tolist(), dtype=float).ravel()


def _descended(l: mpmath.mpf, steps: float, step: float) -> mpmath.mpf:
    if l == 0:
        return mpmath.mpf(steps) * step
    return (1 - (1 - mpmath.mpf(step) * l) ** int(steps)) / l


def defined(matrix: np.ndarray, residual: np.ndarray, t: float) -> np.ndarray:
    """Return the value of the node's definition at 60 digits, from its matrix."""
    node = symbolic_integral(len(matrix))
    values = {
        node.args[0]: mpmath.matrix(matrix.tolist()),
        node.args[1]: mpmath.matrix(residual.reshape(-1, 1).tolist()),
    }
    found = at_precision(node.definition(), values, t, _DIGITS)
    return np.array(found.tolist(), dtype=float).ravel()
