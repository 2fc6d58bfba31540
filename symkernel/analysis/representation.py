"""What the analyses read: patterns of activity through time, or their inner products alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from symkernel.errors import (
    InvalidArgument,
    OutsideValidity,
    ShapeMismatch,
    as_names,
    as_real_array,
    as_times,
    did_you_mean,
    refuse_large,
)
from symkernel.trajectory import Trajectory, nearest

# What is left of a difference after rounding, in units of what was subtracted.
ROUNDING = 8 * np.finfo(float).eps
# How far a Gram matrix that was given may be from symmetric, and its eigenvalues below zero, in
# units of its largest entry and of its trace: what a law known to ten digits leaves.
_ASYMMETRY, _NEGATIVE = 1e-10, 1e-8


@dataclass(frozen=True, eq=False)
class Representation:
    r"""Patterns of samples through time: activity of units, or inner products $K = H H^T$ alone.

    Made by `of`, `from_activity` and `from_gram`. Every analysis also takes a `Trajectory` (its
    node "hidden") or an array of activities in its place. Only correlations over units need the
    activity: they subtract the mean over units, which the inner products do not hold.

    Attributes
    ----------
    times : ndarray, shape (n_times,)
        Flow time; positions 0, 1, ... if none were given.
    activity : ndarray or None, shape (n_times, n_samples, n_units)
    products : ndarray or None, shape (n_times, n_samples, n_samples)
        Inner products, where the activity is not known.
    labels : tuple of str
        Names of the samples.
    tasks : tuple of str
        Names of the tasks that samples belong to; empty if not known.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> net = sk.Network.two_layer(inputs=4, hidden=6, outputs=2, activation="tanh")
    >>> task = sk.Task(np.eye(4), np.eye(4)[:, :2])
    >>> run = sk.simulate(net, task, sk.weights.gaussian(net, seed=1), 0.1, record=[0, 1, 10])
    >>> patterns = sk.analysis.Representation.of(run).averaged(["a", "a", "b", "b"])
    >>> assert patterns.labels == ("a", "b") and patterns.gram.shape == (3, 2, 2)
    """

    times: np.ndarray
    activity: np.ndarray | None
    products: np.ndarray | None = None
    labels: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("times", "activity", "products"):
            value = getattr(self, name)
            if value is not None and value.flags.writeable:
                value = value.copy()
                value.setflags(write=False)
                object.__setattr__(self, name, value)
        if not len(self.times):
            raise InvalidArgument("A representation must hold one time or more, not none.")
        if not self.labels:
            object.__setattr__(self, "labels", tuple(map(str, range(self.n_samples))))

    @classmethod
    def of(cls, trajectory: Trajectory, node: str = "hidden") -> Representation:
        """Return the patterns of a trajectory's node.

        Where the law determines inner products of the node "hidden" only, these are taken.

        Raises
        ------
        InvalidArgument
            If the argument is no trajectory.
        OutsideValidity
            If the node does not exist or is not determined.
        """
        if not isinstance(trajectory, Trajectory):
            raise InvalidArgument(
                f"Argument 'trajectory' must be a Trajectory, not {type(trajectory).__name__}; for "
                f"arrays there are Representation.from_activity and Representation.from_gram."
            )
        try:
            held, known = (trajectory.hidden if node == "hidden" else trajectory.node(node)), True
        except OutsideValidity:
            if node != "hidden" or "hidden_gram" not in trajectory.available:
                raise
            held, known = trajectory.hidden_gram, False
        # The labels are those of the first task's samples; on others they would be wrong.
        labels, tasks = (
            tuple(names) if len(names) == held.shape[1] else ()
            for names in (trajectory.labels.get(key, ()) for key in ("samples", "tasks"))
        )
        if known:
            return cls(trajectory.times, held, None, labels, tasks)
        return cls(trajectory.times, None, held, labels, tasks)

    @classmethod
    def from_activity(
        cls, activity: Any, times: Any = None, labels: Sequence[str] | None = None
    ) -> Representation:
        """Return the patterns in an array, (n_times, n_samples, n_units) or one time of it."""
        array = as_records(activity, "activity")
        names = () if labels is None else as_names(labels, "labels", array.shape[1])
        return cls(as_record_times(times, len(array)), array, labels=names)

    @classmethod
    def from_gram(
        cls, gram: Any, times: Any = None, labels: Sequence[str] | None = None
    ) -> Representation:
        """Return what inner products tell, (n_times, n_samples, n_samples) or one time of them.

        Raises
        ------
        InvalidArgument
            If a matrix is not symmetric and positive semi-definite.
        """
        array = as_symmetric(gram, "gram")
        for position, matrix in enumerate(array):
            _check_semi_definite(matrix, position)
        names = () if labels is None else as_names(labels, "labels", array.shape[1])
        return cls(as_record_times(times, len(array)), None, array, names)

    @property
    def n_samples(self) -> int:
        """Number of patterns."""
        held = self.products if self.activity is None else self.activity
        assert held is not None
        return held.shape[1]

    @cached_property
    def gram(self) -> np.ndarray:
        """Inner products of the patterns, shape (n_times, n_samples, n_samples)."""
        if self.activity is None:
            assert self.products is not None
            return self.products
        refuse_large((len(self.times), self.n_samples, self.n_samples), "gram")
        gram = self.activity @ self.activity.transpose(0, 2, 1)
        gram.setflags(write=False)
        return gram

    def at(self, times: Any) -> Representation:
        """Return the patterns at the recorded times nearest to those given."""
        rows = nearest(self.times, times)
        activity = None if self.activity is None else self.activity[rows]
        products = None if self.products is None else self.products[rows]
        return replace(self, times=self.times[rows], activity=activity, products=products)

    def averaged(self, groups: Sequence[str | int] | str = "tasks") -> Representation:
        r"""Return the mean pattern of each group of samples, $\bar h_a = \frac{1}{n_a}\sum_i h_i$.

        Parameters
        ----------
        groups : sequence of str or int, or {"tasks", "samples"}
            A label for each sample, or which of the names held are the labels. Groups keep the
            order in which they first appear.
        """
        names = self.names_of(groups)
        different = tuple(dict.fromkeys(names))
        member = np.array([[name == group for name in names] for group in different], dtype=float)
        mean = member / member.sum(1, keepdims=True)
        # Means that cancel exactly must be silent patterns, not noise with a direction.
        if self.activity is not None:
            activity = mean @ self.activity
            activity[abs(activity) <= ROUNDING * (mean @ abs(self.activity))] = 0.0
            return Representation(self.times, activity, labels=different)
        assert self.products is not None
        products = mean @ self.products @ mean.T
        size = mean @ abs(self.products) @ mean.T
        silent = np.einsum("tii->ti", products) <= ROUNDING * np.einsum("tii->ti", size)
        products[silent[:, :, None] | silent[:, None, :]] = 0.0
        return Representation(self.times, None, products, different)

    def names_of(self, groups: Sequence[str | int] | str, name: str = "groups") -> tuple[str, ...]:
        """Return a group's name for each sample."""
        if isinstance(groups, str) and groups in ("tasks", "samples"):
            held = self.tasks if groups == "tasks" else self.labels
            if not held:
                raise OutsideValidity(
                    f"The samples have no names of '{groups}'; give argument '{name}' a label for "
                    f"each of the {self.n_samples} samples."
                )
            return held
        if isinstance(groups, str):
            raise InvalidArgument(
                f"Argument '{name}' must be 'tasks', 'samples' or a label for each sample, not "
                f"{groups!r}{did_you_mean(groups, ('tasks', 'samples'))}"
            )
        return as_names(groups, name, self.n_samples)

    def centred_activity(self, k: int) -> np.ndarray | None:
        """Return the activity at record k less its mean over samples; exactly 0 if all agree.

        None where inner products alone are known.
        """
        if self.activity is None:
            return None
        activity = self.activity[k]
        centred = activity - activity.mean(0)
        return centred if abs(centred).max() > ROUNDING * abs(activity).max() else 0.0 * centred

    def centred_gram(self, k: int) -> np.ndarray:
        r"""Return $J K J$, $J = 1 - \frac{1}{n}\mathbf 1\mathbf 1^T$, at record k, in its own unit.

        The unit, the largest entry of the centred activity or of the Gram matrix, keeps tiny
        activities from underflow. Patterns that all agree give exactly 0.
        """
        refuse_large((self.n_samples, self.n_samples), "centred Gram matrix")
        centred = self.centred_activity(k)
        if centred is not None:
            centred = centred / (abs(centred).max() or 1.0)
            return centred @ centred.T
        gram = self.gram[k]
        gram = gram / (abs(gram).max() or 1.0)
        centred = centred_twice(gram)
        return centred if abs(centred).max() > self.n_samples * ROUNDING else 0.0 * centred


def as_representation(source: Any) -> Representation:
    """Return what an analysis reads, from a trajectory, patterns or an array of activities."""
    if isinstance(source, Representation):
        return source
    if isinstance(source, Trajectory):
        return Representation.of(source)
    if isinstance(source, (np.ndarray, list, tuple)):
        return Representation.from_activity(source)
    raise InvalidArgument(
        f"Argument 'source' must be a Trajectory, a Representation or an array of activities "
        f"(n_times, n_samples, n_units), not {type(source).__name__}."
    )


def centred_twice(matrix: np.ndarray) -> np.ndarray:
    """Return a symmetric matrix less the means of its rows and columns."""
    means = matrix.mean(0)
    return matrix - means - means[:, None] + means.mean()


def as_records(value: Any, name: str) -> np.ndarray:
    """Return an array of records, where one record may stand without its axis of times."""
    try:
        single = np.ndim(value) == 2
    except ValueError:
        single = False
    array = as_real_array(value, name, 2 if single else 3)
    return array[None] if single else array


def as_symmetric(value: Any, name: str) -> np.ndarray:
    """Return symmetric matrices of every two samples, (n_times, n_samples, n_samples)."""
    array = as_records(value, name)
    if array.shape[1] != array.shape[2]:
        raise ShapeMismatch(
            f"Argument '{name}' must hold square matrices, (n_samples, n_samples), not "
            f"{array.shape[1:]}; give activities to Representation.from_activity."
        )
    for position, matrix in enumerate(array):
        apart = float(abs(matrix - matrix.T).max())
        if apart > _ASYMMETRY * abs(matrix).max():
            raise InvalidArgument(
                f"Argument '{name}' must hold symmetric matrices, but matrix {position} and its "
                f"transpose differ by {apart:.3g}."
            )
    return array


def as_record_times(value: Any, count: int) -> np.ndarray:
    """Return a time for each record: those given, or positions."""
    if value is None:
        return np.arange(count, dtype=float)
    times = as_times(value)
    if len(times) != count:
        raise ShapeMismatch(
            f"Argument 'times' must hold a time for each of the {count} records, not {len(times)}."
        )
    return times


def _check_semi_definite(matrix: np.ndarray, position: int) -> None:
    shift = _NEGATIVE * float(abs(np.diag(matrix)).sum())
    try:
        if matrix.any():
            np.linalg.cholesky(matrix + shift * np.eye(len(matrix)))
    except np.linalg.LinAlgError:
        least = float(np.linalg.eigvalsh(matrix)[0])
        raise InvalidArgument(
            f"Argument 'gram' must hold positive semi-definite matrices, but matrix {position} has "
            f"the eigenvalue {least:.3g}; inner products of real patterns have none below 0."
        ) from None
