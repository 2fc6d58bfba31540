"""Similarity matrices of patterns through time, and their export to rsatoolbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from symkernel.analysis.representation import (
    ROUNDING,
    Representation,
    as_record_times,
    as_representation,
    as_symmetric,
)
from symkernel.errors import (
    InvalidArgument,
    OutsideValidity,
    as_choice,
    as_names,
    optional_module,
    refuse_large,
)
from symkernel.trajectory import nearest

MEASURES = ("cosine", "correlation", "euclidean")
_MOST_NAMED = 6


@dataclass(frozen=True, eq=False)
class Similarity:
    r"""Similarities of every two patterns through time, or their Euclidean distances.

    Attributes
    ----------
    times : ndarray, shape (n_times,)
    values : ndarray, shape (n_times, n_samples, n_samples)
    measure : {"cosine", "correlation", "euclidean"}
        Of "euclidean" the values are distances: 0 on the diagonal, large for unlike patterns.
    labels : tuple of str
        Names of the patterns.
    """

    times: np.ndarray
    values: np.ndarray
    measure: str
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        self.values.setflags(write=False)

    def __repr__(self) -> str:
        span = f"{len(self.times)} times, {len(self.labels)} patterns"
        return f"Similarity({self.measure}; {span})"

    @classmethod
    def from_distances(
        cls, distances: Any, times: Any = None, labels: Sequence[str] | None = None
    ) -> Similarity:
        """Return distances that were measured, (n_times, n_samples, n_samples) or one time of them.

        Raises
        ------
        InvalidArgument
            If they are not symmetric, with 0 on the diagonal and no negative entry.
        """
        values = as_symmetric(distances, "distances").copy()
        if (values < 0).any() or np.einsum("tii->ti", values).any():
            raise InvalidArgument(
                f"Argument 'distances' must be 0 on the diagonal and nowhere negative, but the "
                f"least entry is {values.min():.3g} and the largest one of the diagonal "
                f"{abs(np.einsum('tii->ti', values)).max():.3g}."
            )
        count = values.shape[1]
        names = map(str, range(count)) if labels is None else as_names(labels, "labels", count)
        return cls(as_record_times(times, len(values)), values, "euclidean", tuple(names))

    @property
    def dissimilarities(self) -> np.ndarray:
        """Distances, or 1 less the similarities; shape (n_times, n_samples, n_samples)."""
        return self.values if self.measure == "euclidean" else 1.0 - self.values

    def at(self, times: Any) -> Similarity:
        """Return the matrices at the recorded times nearest to those given."""
        rows = nearest(self.times, times)
        return Similarity(self.times[rows], self.values[rows], self.measure, self.labels)

    def to_rsatoolbox(self) -> Any:
        """Return `dissimilarities` as ``rsatoolbox.rdm.RDMs``, one matrix for each time.

        Times are the descriptor "time" of the matrices, labels the descriptor "sample" of the
        patterns. Distances are plain: rsatoolbox's own "euclidean" are squares over the number of
        units.

        Raises
        ------
        ImportError
            If rsatoolbox is not installed.
        InvalidArgument
            If there is one pattern only.
        """
        rdm = optional_module("rsatoolbox.rdm", "to_rsatoolbox()")
        if len(self.labels) < 2:
            raise InvalidArgument(
                "to_rsatoolbox() needs two patterns or more, as dissimilarities belong to pairs; "
                "this similarity has 1."
            )
        return rdm.RDMs(
            dissimilarities=np.array(self.dissimilarities),
            dissimilarity_measure=self.measure,
            rdm_descriptors={"time": self.times.tolist()},
            pattern_descriptors={"sample": list(self.labels)},
        )


def similarity(
    source: Any,
    measure: str = "cosine",
    *,
    groups: Sequence[str | int] | str | None = None,
) -> Similarity:
    r"""Return the similarities of every two patterns, at every time.

    $$\frac{h_i\cdot h_j}{|h_i||h_j|},\qquad
    \frac{(h_i-\bar h_i)\cdot(h_j-\bar h_j)}{|h_i-\bar h_i||h_j-\bar h_j|},\qquad |h_i-h_j|$$

    for "cosine", "correlation" (Pearson's, over units; $\bar h_i$ is a pattern's mean over its
    units) and "euclidean".

    Parameters
    ----------
    source : Trajectory, Representation or array_like, shape (n_times, n_samples, n_units)
        Of a trajectory the node "hidden"; others by `Representation.of`.
    measure : {"cosine", "correlation", "euclidean"}
        Cosines and distances need inner products only. Distances from these lose digits where
        patterns are much closer to each other than to 0.
    groups : sequence of str or int, or {"tasks", "samples"}, optional
        Labels of samples; the patterns are then the means over samples of one label.

    Returns
    -------
    Similarity

    Raises
    ------
    OutsideValidity
        If the cosine of a silent pattern or the correlation of one that is constant over units is
        asked for, which is 0/0 (the message names samples and time), or a correlation where only
        inner products are known.
    InvalidArgument
        If the matrices would take more than 1 GiB; the message states the figure.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> patterns = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    >>> cosines = sk.analysis.similarity(patterns, "cosine").values[0]
    >>> assert cosines[0, 1] == 0 and np.isclose(cosines[0, 2], np.sqrt(0.5))
    """
    as_choice(measure, "measure", MEASURES)
    patterns = as_representation(source)
    if groups is not None:
        patterns = patterns.averaged(groups)
    shape = (len(patterns.times), patterns.n_samples, patterns.n_samples)
    refuse_large(shape, "similarity")
    values = np.empty(shape)
    for k in range(len(values)):
        if measure == "euclidean":
            values[k] = _distances(patterns, k)
        else:
            values[k] = _cosines(patterns, k, measure)
    return Similarity(patterns.times, values, measure, patterns.labels)


def _distances(patterns: Representation, k: int) -> np.ndarray:
    # In units of the largest entry, squares neither underflow nor overflow.
    if patterns.activity is not None:
        activity = patterns.activity[k]
        unit = abs(activity).max() or 1.0
        return unit * cdist(activity / unit, activity / unit)
    gram = patterns.gram[k]
    unit = abs(gram).max() or 1.0
    gram = gram / unit
    squares = np.diag(gram)
    return np.sqrt(unit) * np.sqrt(np.maximum(squares + squares[:, None] - gram - gram.T, 0.0))


def _cosines(patterns: Representation, k: int, measure: str) -> np.ndarray:
    if patterns.activity is None:
        if measure == "correlation":
            raise OutsideValidity(
                "Correlations over units are not determined: only inner products of the patterns "
                "are known, and the means over units that a correlation subtracts are not in "
                "them; ask for 'cosine' or 'euclidean'."
            )
        gram = patterns.gram[k]
        lengths = np.sqrt(np.maximum(np.diag(gram), 0.0))
    else:
        vectors = patterns.activity[k]
        largest = abs(vectors).max(1, keepdims=True)
        # In units of their largest entry, the squares of tiny activities do not underflow.
        vectors = vectors / np.where(largest > 0, largest, 1.0)
        if measure == "correlation":
            vectors = vectors - vectors.mean(1, keepdims=True)
            vectors[abs(vectors).max(1) <= ROUNDING] = 0.0
        gram = vectors @ vectors.T
        lengths = np.linalg.norm(vectors, axis=1)
    if not lengths.all():
        _refuse_undefined(patterns, k, np.flatnonzero(lengths == 0), measure)
    cosines = np.clip(gram / lengths / lengths[:, None], -1.0, 1.0)
    np.fill_diagonal(cosines, 1.0)
    return cosines


def _refuse_undefined(patterns: Representation, k: int, where: np.ndarray, measure: str) -> None:
    names = ", ".join(patterns.labels[i] for i in where[:_MOST_NAMED])
    more = f" and {len(where) - _MOST_NAMED} more" if len(where) > _MOST_NAMED else ""
    kind = "constant over units" if measure == "correlation" else "silent (every unit at 0)"
    raise OutsideValidity(
        f"The {measure} is 0/0 for a pattern that is {kind}: {names}{more} at time "
        f"{patterns.times[k]:g}; leave these samples or times out, or ask for 'euclidean'."
    )
