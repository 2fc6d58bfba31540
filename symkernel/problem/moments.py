"""What a task is made of: samples, their weights and labels, second moments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import sympy as sp

from symkernel.errors import InvalidArgument, ShapeMismatch, as_real_array

_SYMMETRY_TOLERANCE = 1e-10
# By how much weights may sum to something other than 1: rounding of a few million of them.
SUM_TOLERANCE = 1e-9


def as_matrix(value: object, name: str) -> np.ndarray:
    """Return a matrix of real numbers; a SymPy matrix of numbers is converted."""
    if isinstance(value, sp.MatrixBase):
        if value.free_symbols or any(entry.is_real is False for entry in value):
            raise InvalidArgument(
                f"Argument '{name}' must hold real numbers, not symbols or complex numbers; "
                f"symbols are taken where all matrices are SymPy's, and by Task.from_modes."
            )
        value = np.array(value.tolist(), dtype=np.float64)
    return as_real_array(value, name, 2)


def as_sample_weights(value: object, samples: int) -> np.ndarray | None:
    """Return positive weights that sum to 1, one for each sample, or None."""
    if value is None:
        return None
    weights = as_real_array(value, "sample_weights", 1)
    if len(weights) != samples:
        raise ShapeMismatch(
            f"Argument 'sample_weights' must hold one weight for each of the {samples} samples, "
            f"not {len(weights)}."
        )
    total = float(weights.sum())
    if weights.min() <= 0 or abs(total - 1) > SUM_TOLERANCE:
        raise InvalidArgument(
            f"Argument 'sample_weights' must hold positive weights that sum to 1, but the smallest "
            f"is {weights.min():g} and the sum {total:g}; divide by the sum, and leave out samples "
            f"without weight."
        )
    return weights


def shares_of(task: Any) -> np.ndarray:
    """Return what every sample of a task counts in means over them; the shares sum to 1."""
    own = task.sample_weights
    return np.full(len(task.X), 1 / len(task.X)) if own is None else own


def as_shares(array: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Return samples times the root of their weight: sums of their squares are means."""
    return array / np.sqrt(len(array)) if weights is None else np.sqrt(weights)[:, None] * array


def moments_of(X: np.ndarray, Y: np.ndarray, weights: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return the uncentred second moments, means over samples, if they are finite."""
    count = len(X)
    if weights is not None:
        X, Y, count = as_shares(X, weights), as_shares(Y, weights), 1
    with np.errstate(over="ignore", invalid="ignore"):
        found = {"Sxx": X.T @ X, "Syx": Y.T @ X, "Syy": Y.T @ Y}
    for name, moment in found.items():
        if not np.isfinite(moment).all():
            raise InvalidArgument(
                f"Arguments 'X' and 'Y' must be small enough for the moment {name} to be finite, "
                f"not up to {np.abs(X).max():.1e} and {np.abs(Y).max():.1e}; rescale them."
            )
    return {name: moment / count for name, moment in found.items()}


def check_moment(moment: np.ndarray, name: str) -> None:
    """Refuse a second moment that is not symmetric and positive semi-definite."""
    scale = max(float(np.abs(moment).max()), np.finfo(float).tiny)
    skew = float(np.abs(moment - moment.T).max()) / scale
    lowest = float(np.linalg.eigvalsh((moment + moment.T) / 2)[0]) / scale
    if skew > _SYMMETRY_TOLERANCE or lowest < -_SYMMETRY_TOLERANCE:
        raise InvalidArgument(
            f"Argument '{name}' must be symmetric and positive semi-definite, but is off "
            f"symmetry by {skew:.2g} and has smallest eigenvalue {lowest:.2g} (relative)."
        )


def check_joint(sxx: np.ndarray, syx: np.ndarray, syy: np.ndarray) -> None:
    """Refuse moments that no joint distribution of inputs and targets has."""
    sizes = [max(float(np.abs(m).max()), np.finfo(float).tiny) for m in (sxx, syy)]
    cross = syx / np.sqrt(sizes[0]) / np.sqrt(sizes[1])
    joint = np.block([[sxx / sizes[0], cross.T], [cross, syy / sizes[1]]])
    lowest = float(np.linalg.eigvalsh((joint + joint.T) / 2)[0])
    if not lowest >= -len(joint) * _SYMMETRY_TOLERANCE:
        raise InvalidArgument(
            f"Arguments 'Sxx', 'Syx' and 'Syy' must be moments of one distribution, but their "
            f"joint matrix has eigenvalue {lowest:.2g} (relative): 'Syy' must be at least "
            f"Syx Sxx^-1 Syx^T."
        )


def check_labels(
    labels: Mapping[str, tuple[str, ...]], samples: int | None, shape: tuple[int, ...] | None
) -> None:
    """Refuse names of unknown axes, and more or fewer names than an axis has entries.

    `shape` is (n_outputs, n_inputs); None stands for a size that is not known.
    """
    outputs, inputs = shape or (None, None)
    sizes = {"samples": samples, "inputs": inputs, "outputs": outputs, "tasks": samples}
    for key, names in labels.items():
        if key not in sizes:
            raise InvalidArgument(
                f"Argument 'labels' must have keys among {', '.join(sizes)}, not {key!r}."
            )
        if sizes[key] is not None and len(names) != sizes[key]:
            raise ShapeMismatch(
                f"Argument 'labels' must name all {sizes[key]} {key}, not {len(names)}."
            )


def as_labels(value: object) -> dict[str, tuple[str, ...]]:
    """Return the names of samples, inputs, outputs, and tasks of samples, as sequences."""
    named = isinstance(value, Mapping) and not any(
        isinstance(names, (str, bytes)) or not isinstance(names, Iterable)
        for names in value.values()
    )
    if not named:
        raise InvalidArgument(
            f"Argument 'labels' must map 'samples', 'inputs', 'outputs' or 'tasks' to sequences of "
            f"names, not {value!r}."
        )
    return {key: tuple(map(str, names)) for key, names in value.items()}  # type: ignore[attr-defined]


def least_squares(task: Any) -> tuple[np.ndarray, float]:
    r"""Return the map $A^*$ of least squares and what remains of $\langle|y - A x|^2\rangle$.

    The loss is evaluated as $\kappa$ times the remainder plus
    $\mathrm{tr}\,(A - A^*)\Sigma_{xx}(A - A^*)^T$, a sum of squares: the difference of large
    numbers in the moments would leave no digits near the minimum.
    """
    if task.X is not None and task.Y is not None:
        X, Y = (as_shares(side, task.sample_weights) for side in (task.X, task.Y))
        best = np.linalg.lstsq(X, Y, rcond=None)[0].T
        off = Y - X @ best.T
        return best, float((off * off).sum())
    best = task.Syx @ np.linalg.pinv(task.Sxx, hermitian=True)
    return best, max(float(np.trace(task.Syy) - (best * task.Syx).sum()), 0.0)


def excess_loss(task: Any, maps: np.ndarray, factor: float) -> np.ndarray:
    r"""Return the squared-error loss on a task of linear maps, shape (n_times,).

    Parameters
    ----------
    task : Task
        With second moments.
    maps : ndarray, shape (n_times, n_outputs, n_inputs)
    factor : float
        Of the loss.
    """
    best, rest = least_squares(task)
    off = maps - best
    return factor * (rest + ((off @ task.Sxx) * off).sum((1, 2)))
