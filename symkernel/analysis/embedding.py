"""Classical multidimensional scaling through time, each time turned to agree with the last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from symkernel.analysis.representation import (
    ROUNDING,
    Representation,
    as_representation,
    centred_twice,
)
from symkernel.analysis.similarity import Similarity
from symkernel.errors import InvalidArgument, as_count

# A coordinate below this share of the largest is 0 up to rounding, and has no sign.
_OFF_ZERO = 1e-6
# Eigenvalues that differ by less than this share are tied.
_TIED = 1e-6
# Breaks ties of the rotation towards no rotation, far below what a movement would show.
_TIE = 1e-12


@dataclass(frozen=True, eq=False)
class Embedding:
    r"""Points whose distances are, as nearly as so few dimensions allow, those of the patterns.

    Attributes
    ----------
    times : ndarray, shape (n_times,)
    points : ndarray, shape (n_times, n_samples, dimensions)
        Centred on 0.
    explained : ndarray, shape (n_times,)
        Share of the kept eigenvalues in the sum of all by size; 1 where all patterns agree.
    gap : ndarray, shape (n_times,)
        $1 - \lambda_{d+1}/\lambda_d$, of the largest eigenvalue left out and the least one kept: 1
        where nothing is left out; at 0 the two are tied, and which direction is shown is arbitrary.
    labels : tuple of str
        Names of the patterns.
    """

    times: np.ndarray
    points: np.ndarray
    explained: np.ndarray
    gap: np.ndarray
    labels: tuple[str, ...]

    def __repr__(self) -> str:
        _, patterns, dimensions = self.points.shape
        return (
            f"Embedding({len(self.times)} times, {patterns} patterns in {dimensions} dimensions; "
            f"{self.explained.min():.2g} or more explained)"
        )


def multidimensional_scaling(source: Any, dimensions: int = 2) -> Embedding:
    r"""Embed the patterns at every time, each time turned to agree with the one before.

    Classical scaling: with the centred Gram matrix $B = JKJ = U\Lambda U^T$, or
    $B = -\frac12 J D^{\circ 2} J$ from distances $D$, the points are the leading columns of
    $U\Lambda^{1/2}$. Their rotation is free; $P_t R$ with the orthogonal $R$ (rotation or
    reflection, no scaling) that minimises $|P_t R - P_{t-1}|$ settles it. At the first time each
    axis points to the first sample that lies off 0 on it.

    Parameters
    ----------
    source : Trajectory, Representation, Similarity or array_like
        Activities (n_times, n_samples, n_units), inner products, or `Similarity`, whose
        dissimilarities are taken for distances.
    dimensions : int
        Number of coordinates, at most n_samples; those beyond the dimensions that the patterns
        fill are 0.

    Returns
    -------
    Embedding

    Raises
    ------
    InvalidArgument
        If `dimensions` is no positive integer up to the number of samples.

    Notes
    -----
    Each time keeps its own leading directions. Of directions tied with one that is left out
    (`gap` = 0), those nearest to the time before are kept; where two eigenvalues cross there,
    points may jump. Dissimilarities that are no distances of real points have negative
    eigenvalues, which are left out and lower `explained`.

    References
    ----------
    The rotation: P. H. Schönemann, A generalized solution of the orthogonal Procrustes problem,
    Psychometrika 31 (1966) 1-10.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> square = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    >>> shown = sk.analysis.multidimensional_scaling(square)
    >>> side = np.linalg.norm(shown.points[0, 0] - shown.points[0, 1])
    >>> assert np.isclose(side, 1) and np.isclose(shown.explained[0], 1)
    """
    given = source if isinstance(source, Similarity) else as_representation(source)
    samples = len(given.labels)
    dimensions = as_count(dimensions, "dimensions")
    if dimensions > samples:
        raise InvalidArgument(
            f"Argument 'dimensions' must be at most the number of samples, {samples}, not "
            f"{dimensions}."
        )
    points = np.empty((len(given.times), samples, dimensions))
    explained, gap = np.empty(len(points)), np.empty(len(points))
    reference = None
    for k in range(len(points)):
        vectors, values, unit = _axes(given, k)
        if reference is not None:
            vectors = _nearest_of_tied(vectors, values, reference)
        shape, explained[k], gap[k] = _leading(vectors, values, dimensions)
        if reference is not None:
            shape = _turned(shape, reference)
        if shape.any():
            # After a time at which all patterns agree, the last one with a shape is the guide.
            reference = shape
        points[k] = unit * shape
    for array in (points, explained, gap):
        array.setflags(write=False)
    return Embedding(given.times, points, explained, gap, given.labels)


def _axes(given: Representation | Similarity, k: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return eigenvectors and eigenvalues of the centred Gram matrix, largest first, and a unit.

    Eigenvalues are in units of its square, so that they neither overflow nor underflow; those
    that are 0 up to rounding are exactly 0.
    """
    if isinstance(given, Representation):
        centred = given.centred_activity(k)
        if centred is not None:
            # Not through the Gram matrix, which would halve the digits of small coordinates.
            unit = _largest(centred)
            vectors, lengths, _ = np.linalg.svd(centred / unit, full_matrices=False)
            return vectors, _cleared(lengths, len(centred) * lengths[0]) ** 2, unit
        matrix = given.gram[k]
        unit = float(np.sqrt(_largest(matrix)))
        matrix = matrix / _largest(matrix)
    else:
        unit = _largest(given.dissimilarities[k])
        matrix = -0.5 * (given.dissimilarities[k] / unit) ** 2
    values, vectors = np.linalg.eigh(centred_twice(matrix))
    values = _cleared(values, len(matrix) * float(abs(matrix).max()))
    return vectors[:, ::-1], values[::-1], unit


def _largest(matrix: np.ndarray) -> float:
    return float(abs(matrix).max()) or 1.0


def _cleared(values: np.ndarray, size: float) -> np.ndarray:
    return np.where(abs(values) > ROUNDING * size, values, 0.0)


def _nearest_of_tied(vectors: np.ndarray, values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Turn the eigenvectors tied with the last one kept, those like the reference first."""
    dimensions = reference.shape[1]
    if dimensions >= len(values) or values[dimensions - 1] <= 0:
        return vectors
    tied = abs(values - values[dimensions - 1]) <= _TIED * values[dimensions - 1]
    if not tied[dimensions]:
        return vectors
    turned = vectors.copy()
    turned[:, tied] = vectors[:, tied] @ np.linalg.svd(vectors[:, tied].T @ reference)[0]
    return turned


def _leading(
    vectors: np.ndarray, values: np.ndarray, dimensions: int
) -> tuple[np.ndarray, float, float]:
    """Return points of settled signs, the share explained and the relative gap."""
    kept = np.zeros(dimensions)
    count = min(dimensions, len(values))
    kept[:count] = np.maximum(values[:count], 0.0)
    points = np.zeros((len(vectors), dimensions))
    points[:, :count] = vectors[:, :count] * np.sqrt(kept[:count])
    sizes = abs(points)
    first = (sizes > _OFF_ZERO * sizes.max(0)).argmax(0)
    points *= np.where(points[first, np.arange(dimensions)] < 0, -1.0, 1.0)
    total = float(abs(values).sum())
    if total == 0:
        return points, 1.0, 1.0
    following = max(float(values[count]), 0.0) if count < len(values) else 0.0
    gap = 1.0 - following / float(kept[-1]) if kept[-1] > 0 else 1.0
    return points, float(kept.sum() / total), gap


def _turned(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    overlap = points.T @ reference
    size = float(abs(overlap).max()) or 1.0
    left, _, right = np.linalg.svd(overlap / size + _TIE * np.eye(len(overlap)))
    return points @ (left @ right)
