r"""A noisy linear layer of Gaussian inputs, $h = Wx + \sigma\xi$, and what is asked about it.

In numbers `GaussianLayer`, in symbols `SymbolicLayer`. Of the layer $A = W^T W$ is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import sympy as sp
from sympy.matrices.exceptions import NonInvertibleMatrixError

from symkernel.errors import InvalidArgument, ShapeMismatch, as_positive, as_real_array
from symkernel.problem.scalars import as_expression, as_sympy
from symkernel.theory.information_classes import depth

# Variances of inputs below so much of the largest are rounding.
_ROUNDING = 1e-13
# How far from symmetric, and below zero, matrices may be, relative to their largest entry.
_TOLERANCE = 1e-9
_DETERMINED = (
    "Arguments 'of' and 'given' must name inputs, or directions, none of which the others "
    "determine: their covariance has the determinant 0."
)


def is_symbolic(*parts: Any) -> bool:
    """Whether one of the arguments is an expression."""
    return any(isinstance(part, (sp.Basic, sp.MatrixBase)) for part in parts)


@dataclass(frozen=True, eq=False)
class GaussianLayer:
    r"""A layer in numbers.

    Attributes
    ----------
    gram : ndarray, shape (..., n_inputs, n_inputs)
        $A / \sigma^2$.
    covariance : ndarray, shape (n_inputs, n_inputs)
    asked, known : ndarray, shape (k, n_inputs)
        Rows that read what is asked for, and what is given.
    """

    gram: np.ndarray
    covariance: np.ndarray
    asked: np.ndarray
    known: np.ndarray

    @classmethod
    def of(cls, gram: Any, covariance: Any, noise: Any, of: Any, given: Any) -> GaussianLayer:
        """Return the layer of arguments as the user gives them."""
        C = _symmetric(covariance, "covariance", 2)
        A = _symmetric(gram, "gram", max(depth(gram, 2), 2))
        if A.shape[-1] != len(C):
            raise ShapeMismatch(
                f"Argument 'gram' must end in the shape {C.shape} of 'covariance', not "
                f"{A.shape[-2:]}."
            )
        known = _directions(given, "given", len(C))
        asked = _directions(of, "of", len(C))
        sigma = as_positive(noise, "noise")
        with np.errstate(over="ignore"):
            seen = A / sigma / sigma
        if not np.isfinite(seen).all():
            raise InvalidArgument(
                f"Argument 'noise' must be large enough for gram / noise^2 to be finite, not "
                f"{sigma:g} with entries up to {np.abs(A).max():g}; rescale both."
            )
        return cls(seen, C, asked, known)

    def bits(self) -> np.ndarray:
        """Return Shannon's information."""
        rows = np.concatenate([self.asked, self.known])
        return self._size(_remaining(self.covariance, self.known)) - self._size(
            _remaining(self.covariance, rows)
        )

    def _size(self, root: np.ndarray) -> np.ndarray:
        values = np.linalg.eigvalsh(root.T @ self.gram @ root)
        return np.log1p(np.maximum(values, 0.0)).sum(-1) / (2.0 * np.log(2.0))

    def traces(self) -> tuple[np.ndarray, np.ndarray]:
        r"""Return $\mathrm{tr}(E_g - E_{hg})$, without cancellation, and $\mathrm{tr} E_{hg}$."""
        root = _remaining(self.covariance, self.known)
        values, vectors = np.linalg.eigh(root.T @ self.gram @ root)
        values = np.maximum(values, 0.0)
        shown = self.asked @ root
        # What is known already leaves rounding alone.
        whole = np.einsum("ri,ij,rj->r", self.asked, self.covariance, self.asked)
        shown[(shown**2).sum(1) <= _ROUNDING**2 * whole] = 0.0
        squares = ((shown @ vectors) ** 2).sum(-2)
        return (squares * values / (1.0 + values)).sum(-1), (squares / (1.0 + values)).sum(-1)


@dataclass(frozen=True, eq=False)
class SymbolicLayer:
    """A layer with symbols in it."""

    gram: sp.Matrix
    covariance: sp.Matrix
    variance: sp.Expr
    asked: sp.Matrix
    known: sp.Matrix

    @classmethod
    def of(cls, gram: Any, covariance: Any, noise: Any, of: Any, given: Any) -> SymbolicLayer:
        """Return the layer of arguments as the user gives them."""
        A, C = _matrix(gram, "gram"), _matrix(covariance, "covariance")
        if A.shape != C.shape or A.rows != A.cols:
            raise ShapeMismatch(
                f"Arguments 'gram' and 'covariance' must be square and of one shape, not "
                f"{A.shape} and {C.shape}."
            )
        _refuse_indefinite(A, "gram")
        _refuse_indefinite(C, "covariance")
        known, asked = (
            _exact_directions(value, name, C.rows) for value, name in ((given, "given"), (of, "of"))
        )
        return cls(A, C, as_expression(noise, "noise") ** 2, asked, known)

    @cached_property
    def uncertain(self) -> sp.Matrix:
        """The covariance of the inputs where what is given is known."""
        return self._remaining(self.known)

    def _remaining(self, rows: sp.Matrix) -> sp.Matrix:
        try:
            return remaining(self.covariance, rows)
        except NonInvertibleMatrixError as error:
            raise InvalidArgument(_DETERMINED) from error

    def bits(self) -> sp.Expr:
        """Return Shannon's information."""
        rows = sp.Matrix.vstack(self.asked, self.known)
        whole, less = map(self._determinant, (self.uncertain, self._remaining(rows)))
        return sp.log(sp.cancel(whole / less)) / (2 * sp.log(2))

    def _determinant(self, C: sp.Matrix) -> sp.Expr:
        inner = sp.eye(C.rows) + self.gram * C / self.variance
        return sp.cancel(inner.det(method="berkowitz"))

    def left_over(self) -> tuple[sp.Matrix, sp.Matrix]:
        """Return the covariance of what the best guess leaves, without the layer and with it."""
        C = self.uncertain
        if (self.asked * C * self.asked.T).applyfunc(sp.cancel).is_zero_matrix:
            raise InvalidArgument(_DETERMINED)
        seen = sp.eye(C.rows) + C * self.gram / self.variance
        after = (seen.inv(method="ADJ") * C).applyfunc(sp.cancel)
        return tuple(self.asked * E * self.asked.T for E in (C, after))


def _symmetric(value: Any, name: str, ndim: int) -> np.ndarray:
    matrices = as_real_array(value, name, ndim)
    if matrices.shape[-2] != matrices.shape[-1]:
        raise ShapeMismatch(
            f"Argument '{name}' must hold square matrices, not of shape {matrices.shape[-2:]}."
        )
    size = np.abs(matrices).max()
    skew = np.abs(matrices - matrices.swapaxes(-1, -2)).max()
    least = np.linalg.eigvalsh(matrices).min()
    if skew > _TOLERANCE * size or least < -_TOLERANCE * size:
        raise InvalidArgument(
            f"Argument '{name}' must be symmetric and positive semi-definite, but differs from its "
            f"transpose by {skew:.2g} and has the eigenvalue {least:.2g}."
        )
    return matrices


def _refuse_indefinite(matrix: sp.Matrix, name: str) -> None:
    """Refuse a matrix that is known not to be symmetric and positive semi-definite.

    Of symbols that is what their assumptions decide of entries and of pairs.
    """
    if not matrix.free_symbols:
        _symmetric(np.array(matrix.evalf().tolist(), dtype=np.float64), name, 2)
        return
    for i, j in combinations_with_replacement(range(matrix.rows), 2):
        a, b = matrix[i, j], matrix[j, i]
        apart = sp.expand(a - b)
        pair = a if i == j else sp.expand(matrix[i, i] * matrix[j, j] - a * b)
        # Numbers may be rounded.
        small = _TOLERANCE * float(abs(a) + abs(b)) if a.is_number and b.is_number else 0.0
        if _exceeds(abs(apart), small) or _exceeds(-pair, small * small):
            raise InvalidArgument(
                f"Argument '{name}' must be symmetric and positive semi-definite, but its entries "
                f"({i}, {j}) and ({j}, {i}) are {a} and {b}, beside {matrix[i, i]} and "
                f"{matrix[j, j]} in the diagonal."
            )


def _exceeds(expression: sp.Expr, bound: float) -> bool:
    """Whether an expression is known to exceed a bound, which is 0 for symbols."""
    if expression.is_number:
        return float(expression) > bound
    return expression.is_positive is True


def _directions(value: Any, name: str, inputs: int) -> np.ndarray:
    """Return rows that read the inputs."""
    if depth(value, 2) == 2:
        rows = as_real_array(value, name, 2)
        if rows.shape[1] != inputs:
            raise ShapeMismatch(
                f"Argument '{name}' must have a column for each of the {inputs} inputs, not "
                f"{rows.shape[1]}."
            )
        return rows
    return np.eye(inputs)[_positions(value, name, inputs)]


def _positions(value: Any, name: str, inputs: int) -> list[int]:
    found = (
        list(value) if isinstance(value, (Sequence, np.ndarray)) and depth(value, 2) else [value]
    )
    if isinstance(value, (tuple, list)) and not value:
        found = []
    for one in found:
        wrong = isinstance(one, bool) or not isinstance(one, (int, np.integer))
        if wrong or not 0 <= one < inputs:
            raise InvalidArgument(
                f"Argument '{name}' must name inputs from 0 to {inputs - 1}, or hold directions as "
                f"rows, not {value!r}."
            )
    return [int(one) for one in found]


def _remaining(C: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return a root of the covariance that is left where some directions are known."""
    values, vectors = np.linalg.eigh(C)
    root = vectors * np.sqrt(np.where(values > _ROUNDING * values[-1], values, 0.0))
    if len(rows):
        # What is known spans some of the columns of R times the root; the rest remains.
        shown = rows @ root
        _, sizes, turned = np.linalg.svd(shown)
        rank = int((sizes > _ROUNDING * max(sizes[0], 1e-300)).sum())
        root = root @ turned[rank:].T
    return root


def _exact_directions(value: Any, name: str, inputs: int) -> sp.Matrix:
    if depth(value, 2) != 2:
        return sp.eye(inputs)[_positions(value, name, inputs), :]
    try:
        # Entry by entry: text would be run as code.
        rows = sp.Matrix([[as_sympy(entry) for entry in row] for row in np.asarray(value)])
    except sp.SympifyError as error:
        raise InvalidArgument(
            f"Argument '{name}' must hold numbers or expressions, not {value!r}."
        ) from error
    if rows.cols != inputs:
        raise ShapeMismatch(
            f"Argument '{name}' must have a column for each of the {inputs} inputs, not "
            f"{rows.cols}."
        )
    return rows


def _matrix(value: Any, name: str) -> sp.Matrix:
    if isinstance(value, sp.MatrixBase):
        return sp.Matrix(value)
    array = as_real_array(value, name, 2)
    return sp.Matrix(*array.shape, list(map(sp.Float, array.ravel())))


def remaining(C: sp.Matrix, rows: sp.Matrix) -> sp.Matrix:
    """Return the covariance that is left where some directions are known."""
    if rows.rows == 0:
        return C
    shown = rows * C * rows.T
    return C - C * rows.T * shown.inv(method="ADJ") * rows * C
