r"""The mean square of a batch's gradient by the map along one input, at given weights.

$\langle|G\hat e_z|^2\rangle$ over batches and over the noise of the labels: with e the error, minus
the gradient of the loss by the output, $\tfrac1B\langle|e|^2z^2\rangle$ and, where the error
correlates with the input, what batches have in common.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from symkernel.errors import InvalidArgument, ShapeMismatch, as_real_array
from symkernel.problem.label_noise import LabelNoise, as_label_noise
from symkernel.problem.loss import CrossEntropy, Loss, SquaredError
from symkernel.problem.task import Task
from symkernel.theory.linear_readout import regression

__all__ = ["fresh_square", "online_noise", "sampled_square"]


def online_noise(value: Any, task: Task, loss: Any) -> LabelNoise | None:
    """Return the noise of labels, checked: it is drawn anew at every visit."""
    if value is None:
        return None
    if not isinstance(loss, Loss):
        raise InvalidArgument(
            "Argument 'label_noise' must be left out for a loss that is a function; add the noise "
            "to the targets of the task, or give a loss."
        )
    (noise,) = as_label_noise(value, [task], loss)
    if noise is not None and not noise.online:
        raise InvalidArgument(
            "Argument 'label_noise' must be drawn anew at every visit, not once: labels that are "
            "corrupted once belong to the task; give that task."
        )
    return noise


Errors = tuple[np.ndarray, np.ndarray]


def _squared(outputs: np.ndarray, targets: np.ndarray, factor: float, std: float) -> Errors:
    error = 2 * factor * (targets - outputs)
    return error, (error**2).sum(1) + targets.shape[1] * (2 * factor * std) ** 2


def _classes(shares: np.ndarray, targets: np.ndarray, redrawn: float) -> Errors:
    """Return errors of predicted shares of classes, with labels that are redrawn now and then."""
    count = targets.shape[1]
    own = ((targets - shares) ** 2).sum(1)
    # The sum over all labels of the squared error of a one-hot target.
    other = 1 + (shares**2).sum(1) - 2 * shares.sum(1) / count
    mean = (1 - redrawn) * targets + redrawn / count - shares
    return mean, (1 - redrawn) * own + redrawn * other


def _binary(outputs: np.ndarray, targets: np.ndarray, redrawn: float) -> Errors:
    share = 1 / (1 + np.exp(-np.clip(outputs, -700, 700)))
    wanted = (1 + targets) / 2
    mean, square = _classes(np.hstack([share, 1 - share]), np.hstack([wanted, 1 - wanted]), redrawn)
    # One logit has one of the two errors, which are opposite.
    return mean[:, :1], square / 2


def error_moments(
    loss: Any, noise: LabelNoise | None, outputs: np.ndarray, targets: np.ndarray
) -> Errors:
    """Return the mean error of each sample over its labels, and the mean of its square."""
    if isinstance(loss, SquaredError):
        std = 0.0 if noise is None or noise.std is None else noise.std
        return _squared(outputs, targets, float(loss.factor), std)
    if isinstance(loss, CrossEntropy):
        redrawn = 0.0 if noise is None or noise.probability is None else noise.probability
        if targets.shape[1] == 1:
            return _binary(outputs, targets, redrawn)
        shifted = np.exp(outputs - outputs.max(1, keepdims=True))
        shares = shifted / shifted.sum(1, keepdims=True)
        return _classes(shares, targets, redrawn)
    error = as_real_array(loss(outputs, targets), "loss(outputs, targets)", 2)
    if error.shape != targets.shape:
        raise ShapeMismatch(
            f"Argument 'loss' must return minus the gradient by the outputs, of shape "
            f"{targets.shape}, not {error.shape}."
        )
    return error, (error**2).sum(1)


def sampled_square(
    loss: Any,
    noise: LabelNoise | None,
    task: Task,
    z: np.ndarray,
    batch: int | None,
) -> Callable[[np.ndarray], float]:
    """Return the mean square along an input as a function of the outputs on a task's samples.

    Parameters
    ----------
    z : ndarray, shape (n_samples,)
        The input at the samples.
    batch : int or None
        All samples if None. Those of a batch are different.
    """
    n = len(z)
    size = n if batch is None else batch
    spread = (n - size) / (size * max(n - 1, 1))

    def square(outputs: np.ndarray) -> float:
        mean, second = error_moments(loss, noise, outputs, task.Y)
        along = mean * z[:, None]
        common = float((along.mean(0) ** 2).sum())
        single = float((along**2).sum(1).mean())
        scatter = float((second * z**2).mean()) - single
        return common + spread * (single - common) + scatter / size

    return square


def fresh_square(
    factor: float, task: Task, direction: np.ndarray, batch: int | None
) -> Callable[[np.ndarray], float]:
    """Return the same on fresh Gaussian inputs as a function of the map, for the squared error."""
    C = task.Sxx
    teacher, residual = regression(C, task.Syx, task.Syy)
    left = float(np.trace(residual))
    inverse = 0.0 if batch is None else 1 / batch

    def square(linear_map: np.ndarray) -> float:
        gap = teacher - linear_map
        own = gap @ C @ direction
        total = float(np.sum((gap @ C) * gap)) + left
        found = (1 + inverse) * own @ own + inverse * total * (direction @ C @ direction)
        return float((2 * factor) ** 2 * found)

    return square
