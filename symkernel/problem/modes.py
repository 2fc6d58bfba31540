r"""The singular basis of a task, or of several commuting tasks.

Where singular values repeat, the basis inside their block is free. It is then chosen so that it
also diagonalises the input covariance and, when they are given, the Gram matrices of the weights;
nothing is ever divided by a difference of singular values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from symkernel.errors import InvalidArgument, MissingValues, ShapeMismatch
from symkernel.problem.task import Task

# Singular values closer than this (relative to the largest) are one block; a basis vector is
# determined to about 2^-52 / gap, so a finer split would be noise.
_BLOCK = 1e-9
# Weights of combinations are powers of a transcendental number, between which there is no relation
# with rational coefficients (as 1 = x + x^2 of the golden ratio): a combination of parts is
# degenerate only where all its parts are.
_MIX = np.exp(-0.5)


@dataclass(frozen=True, eq=False)
class Basis:
    r"""Orthogonal bases of outputs and inputs in which the tasks are diagonal.

    Attributes
    ----------
    U : ndarray, shape (n_outputs, n_outputs)
        Output directions as columns.
    V : ndarray, shape (n_inputs, n_inputs)
        Input directions as columns.
    s : ndarray, shape (n_tasks, r)
        Signed mode strengths $u_i^T \Sigma_{yx} v_i$ of each task, $r = \min$(inputs, outputs).
    d : ndarray, shape (n_tasks, n_inputs)
        Input variances $v_i^T \Sigma_{xx} v_i$ of each task.
    rounding : float
        By what share of a vector the directions are uncertain: rounding over the smallest gap
        between singular values, with a margin.
    """

    U: np.ndarray
    V: np.ndarray
    s: np.ndarray
    d: np.ndarray
    rounding: float

    @property
    def rank_bound(self) -> int:
        """The number of modes, min(inputs, outputs)."""
        return self.s.shape[1]


def singular_basis(task: Task) -> Basis:
    """Return the singular basis of one task."""
    return common_basis([task])


def common_basis(
    tasks: Sequence[Task], W1: np.ndarray | None = None, W2: np.ndarray | None = None
) -> Basis:
    r"""Return a basis that diagonalises all tasks, if there is one, else the nearest natural one.

    Parameters
    ----------
    tasks : sequence of Task
        Numerical tasks of the same dimensions.
    W1, W2 : ndarray, optional
        Weights of shape (n_hidden, n_inputs) and (n_outputs, n_hidden), by which the freedom
        inside blocks of repeated singular values is settled.

    Notes
    -----
    Whether the result does diagonalise everything is not promised: the caller measures it.
    """
    cross, inputs = _moments(tasks)
    mixed = sum(_MIX**k * syx for k, syx in enumerate(cross))
    U, sigma, Vt = np.linalg.svd(mixed)
    V = Vt.T
    blocks = _blocks(sigma, max(U.shape[0], V.shape[0]))
    rounding = _rounding(sigma, blocks)
    weights = None if W1 is None or W2 is None else (W1, W2)
    freedom = _Freedom(inputs, weights, rounding)
    for block in blocks:
        nonzero = block.stop <= len(sigma) and sigma[block.start] > _BLOCK * sigma[0]
        if nonzero and block.stop - block.start > 1:
            U[:, block], V[:, block] = freedom.settled(U[:, block], V[:, block])
        elif not nonzero:
            zero = slice(block.start, None)
            U[:, zero], V[:, zero] = freedom.settled_unused(U[:, zero], V[:, zero])
    r = len(sigma)
    strengths = np.array([np.einsum("or,oi,ir->r", U[:, :r], c, V[:, :r]) for c in cross])
    scale = max(float(np.abs(strengths).max()), np.finfo(float).tiny)
    strengths[np.abs(strengths) < 1e-15 * scale] = 0.0
    first = (strengths != 0).argmax(0)
    flip = np.where(strengths[first, np.arange(r)] < 0, -1.0, 1.0)
    U[:, :r] *= flip
    variances = np.array([np.einsum("ij,ik,kj->j", V, sxx, V) for sxx in inputs])
    return Basis(U, V, strengths * flip, np.maximum(variances, 0.0), rounding)


def _moments(tasks: Sequence[Task]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the cross moments and the input covariances of tasks of one shape."""
    cross, inputs = [], []
    for task in tasks:
        if task.is_numeric and task.Syx is None:
            raise InvalidArgument(
                "A task has modes if its second moments are known; those of fresh samples of a "
                "teacher that is not linear are not."
            )
        if task.Syx is None or task.Sxx is None:
            raise MissingValues("The modes of a task with symbols need values for the symbols.")
        cross.append(task.Syx)
        inputs.append(task.Sxx)
    shapes = sorted({syx.shape for syx in cross})
    if not shapes:
        raise InvalidArgument("Argument 'tasks' must hold at least one task.")
    if len(shapes) > 1:
        raise ShapeMismatch(f"All tasks must have the same outputs and inputs, not {shapes}.")
    return cross, inputs


def _blocks(sigma: np.ndarray, full: int) -> list[slice]:
    """Return blocks of equal singular values; the last one holds the zeros and the rest."""
    positive = int((sigma > _BLOCK * sigma[0]).sum()) if sigma[0] > 0 else 0
    edges = [0]
    edges += [i for i in range(1, positive) if sigma[i - 1] - sigma[i] > _BLOCK * sigma[0]]
    blocks = [slice(a, b) for a, b in zip(edges, [*edges[1:], positive], strict=True) if b > a]
    return [*blocks, slice(positive, full)] if positive < full else blocks


def _rounding(sigma: np.ndarray, blocks: Sequence[slice]) -> float:
    """Return by what share of a vector the directions of blocks are uncertain."""
    levels = np.append([sigma[block.start] for block in blocks if block.start < len(sigma)], 0.0)
    gaps = -np.diff(levels)
    gap = float(gaps[gaps > _BLOCK * sigma[0]].min(initial=sigma[0]))
    return 64.0 * float(np.finfo(float).eps) * (float(sigma[0]) / gap if gap > 0 else 1.0)


# Two are enough for what commutes.
_SWEEPS = 12
# Squares of what is measured in errors, of factors of norm 1, stay finite.
_LEAST_ERROR = 1e-150
# Two matrices L, R of norm 1 at most before they were restricted to a block. The turn of their
# columns is wanted that makes the symmetric part of L^T R diagonal.
_Part: TypeAlias = tuple[np.ndarray, np.ndarray]


def _diagonalise(parts: Sequence[_Part], rounding: float) -> np.ndarray:
    """Return an orthogonal matrix that diagonalises symmetric matrices, if they commute.

    The eigenvectors of an incommensurate combination do it, save where two eigenvalues of the
    combination are close, by accident or since both are small: there the pair is turned by all
    parts together (Cardoso and Souloumiac's joint angle), each in units of its own rounding, so
    that one that tells the two apart is not spoilt by one that holds nothing but rounding of them.
    Two sweeps suffice then; where the parts do not commute, what is left does not fall.
    """
    kept = [part for part in parts if np.linalg.norm(part[0].T @ part[1]) > _error(part, rounding)]
    n = parts[0][0].shape[1]
    if not kept:
        return np.eye(n)
    grams = [left.T @ right for left, right in kept]
    mixed = sum(_MIX**k * gram / np.linalg.norm(gram) for k, gram in enumerate(grams))
    turn = np.linalg.eigh((mixed + mixed.T) / 2)[1][:, ::-1].copy()
    eps, before = float(np.finfo(float).eps), np.inf
    for _ in range(_SWEEPS):
        turned = [(left @ turn, right @ turn) for left, right in kept]
        products = np.array([left.T @ right for left, right in turned])
        matrices = (products + products.transpose(0, 2, 1)) / 2
        errors = np.array([_errors(part, eps) for part in turned])
        excess = np.triu((np.abs(matrices) / errors).max(0), 1)
        pairs, left_over = np.argwhere(excess > 1), float(excess.max())
        if not len(pairs) or left_over > before / 2:
            break
        before = left_over
        for i, j in pairs:
            unit = errors[:, i, j]
            gap, both = (matrices[:, i, i] - matrices[:, j, j]) / unit, 2 * matrices[:, i, j] / unit
            level, cross = gap @ gap - both @ both, 2 * gap @ both
            angle = np.arctan2(cross, level + np.hypot(level, cross)) / 2
            c, s = np.cos(angle), np.sin(angle)
            plane = np.array([[c, -s], [s, c]])
            turn[:, [i, j]] = turn[:, [i, j]] @ plane
            matrices[:, :, [i, j]] = matrices[:, :, [i, j]] @ plane
            matrices[:, [i, j], :] = plane.T @ matrices[:, [i, j], :]
    return turn


def _error(part: _Part, rounding: float) -> float:
    """Return what rounding of both factors does to their product."""
    return rounding * sum(float(np.linalg.norm(factor)) for factor in part)


def _errors(part: _Part, rounding: float) -> np.ndarray:
    """Return what rounding of both factors does to the products of two columns."""
    sizes = sum(np.linalg.norm(factor, axis=0) for factor in part)
    return np.maximum(rounding * np.add.outer(sizes, sizes), _LEAST_ERROR)


@dataclass(frozen=True)
class _Freedom:
    """What settles the bases inside a block: input covariances, and the weights where given."""

    inputs: Sequence[np.ndarray]
    weights: tuple[np.ndarray, np.ndarray] | None
    rounding: float

    def _input_parts(self, V: np.ndarray) -> list[_Part]:
        return [(_unit(sxx) @ V, V) for sxx in self.inputs]

    def settled(self, U: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the block's two bases, turned together."""
        parts = self._input_parts(V)
        if self.weights is not None:
            P, Q = _sides(*self.weights, U, V)
            parts += [(P, P), (Q, Q), (Q, P)]
        turn = _diagonalise(parts, self.rounding)
        return U @ turn, V @ turn

    def settled_unused(self, U: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the bases of the unused directions, turned apart but paired by the weights."""
        parts = self._input_parts(V)
        if self.weights is None:
            return U, V @ _diagonalise(parts, self.rounding)
        P, Q = _sides(*self.weights, U, V)
        V = V @ _diagonalise([*parts, *_own(P, Q)], self.rounding)
        U = U @ _diagonalise(_own(Q, P), self.rounding)
        return self._paired(U, V, *_sides(*self.weights, U, V))

    def _paired(
        self, U: np.ndarray, V: np.ndarray, P: np.ndarray, Q: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the bases, each driven input direction beside the output direction it drives.

        The cosines between their sides tell which these are, whatever the sizes of the sides.
        Outputs that nothing drives are turned by their own sides.
        """
        p, q = (np.linalg.norm(side, axis=0) for side in (P, Q))
        image = Q.T @ P
        image[np.abs(image) <= self.rounding * np.add.outer(q, p)] = 0.0
        image /= np.maximum(np.outer(q, p), np.finfo(float).tiny)
        lengths = np.linalg.norm(image, axis=0)
        driven, rest = np.flatnonzero(lengths), np.flatnonzero(lengths == 0)
        k = len(driven)
        if k > U.shape[1]:
            return U, V
        frame, triangle = np.linalg.qr(image[:, driven] / lengths[driven], mode="complete")
        frame[:, :k] *= np.where(np.diag(triangle) < 0, -1.0, 1.0)
        if k < U.shape[1]:
            free = Q @ frame[:, k:]
            frame[:, k:] = frame[:, k:] @ _diagonalise([(free, free)], self.rounding)
        return U @ frame, V[:, np.concatenate([driven, rest])]


def _unit(matrix: np.ndarray) -> np.ndarray:
    """Return a matrix relative to its norm."""
    return matrix / max(float(np.linalg.norm(matrix)), np.finfo(float).tiny)


def _sides(
    W1: np.ndarray, W2: np.ndarray, U: np.ndarray, V: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the weights carry of the directions, each layer relative to its norm."""
    return _unit(W1) @ V, _unit(W2).T @ U


def _own(side: np.ndarray, other: np.ndarray) -> list[_Part]:
    """Return what tells the directions of one layer apart that have no strengths."""
    image = other.T @ side
    driven = other @ image
    return [(side, side), (image, image), (driven, driven)]
