"""How far the representations of tasks are shared: same group against different groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from symkernel.analysis.representation import as_representation
from symkernel.analysis.similarity import Similarity, similarity
from symkernel.errors import InvalidArgument, as_names


@dataclass(frozen=True, eq=False)
class Sharing:
    r"""Mean similarities of tasks through time, and the sharing index made of them.

    Attributes
    ----------
    times : ndarray, shape (n_times,)
    index : ndarray, shape (n_times,)
        Mean over pairs of tasks of the same input less the mean over those of different inputs.
    same_input, same_output, neither : ndarray, shape (n_times,)
        Means over pairs that share the input group alone, the output group alone, or nothing; NaN
        where the tasks have no such pair.
    pairs : tuple of int
        Number of pairs in these three classes.
    """

    times: np.ndarray
    index: np.ndarray
    same_input: np.ndarray
    same_output: np.ndarray
    neither: np.ndarray
    pairs: tuple[int, int, int]

    def __repr__(self) -> str:
        last = f"index {self.index[-1]:.3g}, same_input {self.same_input[-1]:.3g}"
        last += f", same_output {self.same_output[-1]:.3g}, neither {self.neither[-1]:.3g}"
        return f"Sharing({len(self.times)} times; at the last {last})"


def sharing_index(
    source: Any,
    *,
    inputs: Sequence[str | int],
    outputs: Sequence[str | int],
    measure: str = "correlation",
) -> Sharing:
    r"""Return how much more alike the patterns of tasks with the same input are than others.

    A task maps an input group to an output group; its pattern is the mean over its samples. With
    $r_{in}$, $r_{out}$, $r_{diff}$ the mean similarities of two tasks that share the input group,
    the output group, or neither,

    $$S = r_{in} - \frac{n_{out} r_{out} + n_{diff} r_{diff}}{n_{out} + n_{diff}},$$

    pairs weighted by their number. If every one of $G$ inputs is mapped to every one of $G$
    outputs, $S = r_{in} - [r_{out} + (G-1) r_{diff}]/G$.

    Parameters
    ----------
    source : Trajectory, Representation or array_like, shape (n_times, n_samples, n_units)
    inputs, outputs : sequence of str or int
        For each sample, the input and the output group of its task.
    measure : {"correlation", "cosine"}
        Cosines where only inner products are known.

    Returns
    -------
    Sharing

    Raises
    ------
    InvalidArgument
        If no two tasks share their input, or all do.
    OutsideValidity
        As `similarity`.

    Notes
    -----
    $S$ is 0 for patterns that are alike for a common reason, which $r_{in}$ alone is not: at
    initialisation every pair may correlate. $S$ may exceed 1, where tasks of different inputs
    correlate negatively. On the way through a plateau all pairs may be alike: read it after
    convergence.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> read, written = [0, 0, 1, 1], [0, 1, 0, 1]
    >>> shared = np.eye(2)[read]
    >>> sharing = sk.analysis.sharing_index(shared, inputs=read, outputs=written)
    >>> assert np.isclose(sharing.same_input[0], 1) and np.isclose(sharing.index[0], 2)
    """
    patterns = as_representation(source)
    pairs = zip(
        patterns.names_of(inputs, "inputs"), patterns.names_of(outputs, "outputs"), strict=True
    )
    # Grouped by number, as names may hold any separator.
    numbers: dict[tuple[str, str], int] = {}
    groups = [numbers.setdefault(pair, len(numbers)) for pair in pairs]
    labels = tuple(f"task {read} to {written}" for read, written in numbers)
    tasks = replace(patterns.averaged(groups), labels=labels)
    same_in, same_out = (_same([task[side] for task in numbers]) for side in (0, 1))
    _refuse_one_class(same_in, "inputs")
    similar = similarity(tasks, _checked(measure))
    # No two tasks share both.
    classes = (same_in, same_out & ~same_in, ~same_in & ~same_out)
    chosen = [np.triu(one, 1) for one in classes]
    same_input, same_output, neither = (_means(similar, one) for one in chosen)
    index = _contrast(similar, same_in)
    counts = (int(chosen[0].sum()), int(chosen[1].sum()), int(chosen[2].sum()))
    return Sharing(similar.times, index, same_input, same_output, neither, counts)


def same_minus_different(
    source: Any, groups: Sequence[str | int] | str, measure: str = "correlation"
) -> np.ndarray:
    r"""Return the mean similarity within groups less that between groups, at every time.

    Parameters
    ----------
    source : Trajectory, Representation, Similarity or array_like
        Patterns; average them first (`Representation.averaged`) where these are to be tasks.
    groups : sequence of str or int
        The group of each pattern. A pattern's similarity to itself does not count.
    measure : {"correlation", "cosine"}
        Not used where similarities are given.

    Returns
    -------
    ndarray, shape (n_times,)

    Raises
    ------
    InvalidArgument
        If no two patterns are of one group, or all are.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> patterns = np.eye(2)[[0, 0, 1, 1]]
    >>> index = sk.analysis.same_minus_different(patterns, ["a", "a", "b", "b"], "cosine")
    >>> assert index.tolist() == [1.0]
    """
    if isinstance(source, Similarity):
        _checked(source.measure)
        same = _same(as_names(groups, "groups", len(source.labels)))
        _refuse_one_class(same, "groups")
        return _contrast(source, same)
    patterns = as_representation(source)
    same = _same(patterns.names_of(groups))
    _refuse_one_class(same, "groups")
    return _contrast(similarity(patterns, _checked(measure)), same)


def _checked(measure: str) -> str:
    if not isinstance(measure, str) or measure not in ("correlation", "cosine"):
        raise InvalidArgument(
            f"Argument 'measure' must be 'correlation' or 'cosine', in which alike is large, not "
            f"{measure!r}."
        )
    return measure


def _same(names: Sequence[str]) -> np.ndarray:
    array = np.array(names)
    return array == array[:, None]


def _refuse_one_class(same: np.ndarray, name: str) -> None:
    if same.all() or not np.triu(same, 1).any():
        found = "all are in one group" if same.all() else "no two are in one group"
        raise InvalidArgument(
            f"Argument '{name}' must put some patterns into one group and some into different "
            f"ones, but of the {len(same)} patterns {found}."
        )


def _contrast(similar: Similarity, same: np.ndarray) -> np.ndarray:
    return _means(similar, np.triu(same, 1)) - _means(similar, np.triu(~same, 1))


def _means(similar: Similarity, chosen: np.ndarray) -> np.ndarray:
    if not chosen.any():
        return np.full(len(similar.times), np.nan)
    return similar.values[:, chosen].mean(1)
