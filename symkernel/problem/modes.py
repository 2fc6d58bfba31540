r"""The singular basis of a task, or of several commuting tasks.

Where singular values repeat, the basis inside their block is free. It is then chosen so that it
also diagonalises the input covariance and, when they are given, the Gram matrices of the weights;
nothing is ever divided by a difference of singular values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    mixed = sum(_MIX**k * syx for k, syx in enumerate(cross))
    U, sigma, Vt = np.linalg.svd(mixed)
    V = Vt.T
    blocks = _blocks(sigma, max(U.shape[0], V.shape[0]))
    levels = np.append([sigma[block.start] for block in blocks if block.start < len(sigma)], 0.0)
    gaps = -np.diff(levels)
    gap = float(gaps[gaps > _BLOCK * sigma[0]].min(initial=sigma[0]))
    rounding = 64.0 * np.finfo(float).eps * (float(sigma[0]) / gap if gap > 0 else 1.0)
    for block in blocks:
        nonzero = block.stop <= len(sigma) and sigma[block.start] > _BLOCK * sigma[0]
        if nonzero and block.stop - block.start > 1:
            U[:, block], V[:, block] = _refine_pair(
                U[:, block], V[:, block], inputs, W1, W2, rounding
            )
        elif not nonzero:
            zero = slice(block.start, None)
            U[:, zero], V[:, zero] = _refine_zero(U[:, zero], V[:, zero], inputs, W1, W2, rounding)
    r = len(sigma)
    strengths = np.array([np.einsum("or,oi,ir->r", U[:, :r], c, V[:, :r]) for c in cross])
    scale = max(float(np.abs(strengths).max()), np.finfo(float).tiny)
    strengths[np.abs(strengths) < 1e-15 * scale] = 0.0
    first = (strengths != 0).argmax(0)
    flip = np.where(strengths[first, np.arange(r)] < 0, -1.0, 1.0)
    U[:, :r] *= flip
    variances = np.array([np.einsum("ij,ik,kj->j", V, sxx, V) for sxx in inputs])
    return Basis(U, V, strengths * flip, np.maximum(variances, 0.0), rounding)


def _blocks(sigma: np.ndarray, full: int) -> list[slice]:
    """Return blocks of equal singular values; the last one holds the zeros and the rest."""
    positive = int((sigma > _BLOCK * sigma[0]).sum()) if sigma[0] > 0 else 0
    edges = [0]
    edges += [i for i in range(1, positive) if sigma[i - 1] - sigma[i] > _BLOCK * sigma[0]]
    blocks = [slice(a, b) for a, b in zip(edges, [*edges[1:], positive], strict=True) if b > a]
    return [*blocks, slice(positive, full)] if positive < full else blocks


# Parts below this share of what they could be are rounding, below its square where two small
# factors are multiplied. A small gap beside a block lets other directions into it: then it is more.
_NOISE = 1e-13


# Eigenvalues of a combination that are closer than this leave their directions uncertain by more
# roundings than `Basis.rounding` allows for.
_CLOSE = 0.1
_SWEEPS = 3


def _diagonalise(parts: Sequence[tuple[np.ndarray, float, float]]) -> np.ndarray:
    """Return an orthogonal matrix that diagonalises symmetric matrices, if they commute.

    Each part comes with the size that it could have and the share of it that counts as rounding.
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


def _input_parts(
    V: np.ndarray, inputs: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, float, float]]:
    return [(V.T @ sxx @ V, float(np.linalg.norm(sxx)), _NOISE) for sxx in inputs]


def _refine_pair(
    U: np.ndarray,
    V: np.ndarray,
    inputs: Sequence[np.ndarray],
    W1: np.ndarray | None,
    W2: np.ndarray | None,
    rounding: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the block's two bases, turned together."""
    parts = _input_parts(V, inputs)
    if W1 is not None and W2 is not None:
        P, Q = W1 @ V, W2.T @ U
        first, second = float(np.linalg.norm(W1)), float(np.linalg.norm(W2))
        squared = max(_NOISE, rounding) ** 2
        parts += [
            (P.T @ P, first**2, squared),
            (Q.T @ Q, second**2, squared),
            (Q.T @ P, first * second, _NOISE),
        ]
    turn = _diagonalise(parts)
    return U @ turn, V @ turn


def _refine_zero(
    U: np.ndarray,
    V: np.ndarray,
    inputs: Sequence[np.ndarray],
    W1: np.ndarray | None,
    W2: np.ndarray | None,
    rounding: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bases of the unused directions, turned apart but paired by the weights."""
    parts = _input_parts(V, inputs)
    if W1 is None or W2 is None:
        return U, V @ _diagonalise(parts)
    P, Q = W1 @ V, W2.T @ U
    W, B = Q.T @ P, Q.T @ Q
    first, second = float(np.linalg.norm(W1)), float(np.linalg.norm(W2))
    squared = max(_NOISE, rounding) ** 2
    parts += [
        (P.T @ P, first**2, squared),
        (W.T @ W, (first * second) ** 2, squared),
        (W.T @ B @ W, first**2 * second**4, squared),
    ]
    V = V @ _diagonalise(parts)
    image = Q.T @ W1 @ V
    lengths = np.linalg.norm(image, axis=0)
    bound = _BLOCK * first * second
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
