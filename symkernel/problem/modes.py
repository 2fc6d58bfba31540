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


# Parts below this share of what they could be are rounding, below its square where two small
# factors are multiplied. A small gap beside a block lets other directions into it: then it is more.
_NOISE = 1e-13


# Eigenvalues of a combination that are closer than this leave their directions uncertain by more
# roundings than `Basis.rounding` allows for.
_CLOSE = 0.1
_SWEEPS = 3
# A symmetric matrix, the size that it could have, and the share of it that counts as rounding.
_Part: TypeAlias = tuple[np.ndarray, float, float]


def _diagonalise(parts: Sequence[_Part]) -> np.ndarray:
    """Return an orthogonal matrix that diagonalises symmetric matrices, if they commute.

    The eigenvectors of an incommensurate combination do it, save where two eigenvalues of the
    combination are close by accident: there the pair is turned by all parts together, the best
    separated one deciding (Cardoso and Souloumiac's joint angle).
    """
    kept = []
    for part, largest, noise in parts:
        size = float(np.linalg.norm(part))
        if size > noise * largest:
            kept.append((part + part.T) / (2 * size))
    n = parts[0][0].shape[0]
    if not kept:
        return np.eye(n)
    values, turn = np.linalg.eigh(sum(_MIX**k * part for k, part in enumerate(kept)))
    values, turn = values[::-1], turn[:, ::-1].copy()
    close = np.triu(values[:, None] - values < _CLOSE, 1)
    if len(kept) == 1 or not close.any():
        return turn
    rotated = np.array([turn.T @ part @ turn for part in kept])
    for _ in range(_SWEEPS):
        coupled = np.abs(rotated).max(0) > np.finfo(float).eps / 4
        for i, j in np.argwhere(close & coupled):
            gap, both = rotated[:, i, i] - rotated[:, j, j], 2 * rotated[:, i, j]
            level, mixed = gap @ gap - both @ both, 2 * gap @ both
            angle = np.arctan2(mixed, level + np.hypot(level, mixed)) / 2
            c, s = np.cos(angle), np.sin(angle)
            plane = np.array([[c, -s], [s, c]])
            turn[:, [i, j]] = turn[:, [i, j]] @ plane
            rotated[:, :, [i, j]] = rotated[:, :, [i, j]] @ plane
            rotated[:, [i, j], :] = plane.T @ rotated[:, [i, j], :]
    return turn


@dataclass(frozen=True)
class _Freedom:
    """What settles the bases inside a block: input covariances, and the weights where given."""

    inputs: Sequence[np.ndarray]
    weights: tuple[np.ndarray, np.ndarray] | None
    rounding: float

    @property
    def _squared(self) -> float:
        """Share below which a product of two small factors is rounding."""
        return max(_NOISE, self.rounding) ** 2

    def _input_parts(self, V: np.ndarray) -> list[_Part]:
        return [(V.T @ sxx @ V, float(np.linalg.norm(sxx)), _NOISE) for sxx in self.inputs]

    def settled(self, U: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the block's two bases, turned together."""
        parts = self._input_parts(V)
        if self.weights is not None:
            W1, W2 = self.weights
            P, Q = W1 @ V, W2.T @ U
            first, second = float(np.linalg.norm(W1)), float(np.linalg.norm(W2))
            parts += [
                (P.T @ P, first**2, self._squared),
                (Q.T @ Q, second**2, self._squared),
                (Q.T @ P, first * second, _NOISE),
            ]
        turn = _diagonalise(parts)
        return U @ turn, V @ turn

    def settled_unused(self, U: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the bases of the unused directions, turned apart but paired by the weights."""
        parts = self._input_parts(V)
        if self.weights is None:
            return U, V @ _diagonalise(parts)
        W1, W2 = self.weights
        P, Q = W1 @ V, W2.T @ U
        W, B = Q.T @ P, Q.T @ Q
        first, second = float(np.linalg.norm(W1)), float(np.linalg.norm(W2))
        parts += [
            (P.T @ P, first**2, self._squared),
            (W.T @ W, (first * second) ** 2, self._squared),
            (W.T @ B @ W, first**2 * second**4, self._squared),
        ]
        V = V @ _diagonalise(parts)
        return _paired(U, V, Q.T @ W1 @ V, B, _BLOCK * first * second)


def _paired(
    U: np.ndarray, V: np.ndarray, image: np.ndarray, B: np.ndarray, bound: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bases, each driven input direction beside the output direction that it drives.

    `image` is the map between the directions, B the Gram matrix of the outputs' sides, by which
    the outputs that nothing drives are turned.
    """
    lengths = np.linalg.norm(image, axis=0)
    driven = np.flatnonzero(lengths > max(bound, np.finfo(float).tiny))
    if len(driven) > U.shape[1]:
        return U, V
    rest = np.setdiff1d(np.arange(V.shape[1]), driven)
    frame, triangle = np.linalg.qr(image[:, driven], mode="complete")
    k = len(driven)
    frame[:, :k] *= np.sign(np.diag(triangle))[:k] if k else 1.0
    if k < U.shape[1]:
        free = frame[:, k:]
        frame[:, k:] = free @ np.linalg.eigh(free.T @ B @ free)[1][:, ::-1]
    return U @ frame, V[:, np.concatenate([driven, rest])]
