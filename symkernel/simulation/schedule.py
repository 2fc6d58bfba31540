"""When to record: flow times turned into steps, and the steps at which tasks change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from symkernel.errors import InvalidArgument, as_count, as_times
from symkernel.problem.curriculum import Curriculum

_DEFAULT_RECORDS = 101
# Beyond this, steps are no longer exact as floating-point numbers.
_MOST_STEPS = 2**53


@dataclass(frozen=True, eq=False)
class Schedule:
    """The steps of a run.

    Attributes
    ----------
    steps : ndarray of int, shape (n_times,)
        Steps at which to record, in increasing order.
    ends : tuple of int
        Step at which each phase ends.
    learning_rate : float
        Flow time of one step.
    """

    steps: np.ndarray
    ends: tuple[int, ...]
    learning_rate: float

    @property
    def total(self) -> int:
        """Number of steps of the run."""
        return self.ends[-1]

    @property
    def times(self) -> np.ndarray:
        """Flow times of the records."""
        return self.steps * self.learning_rate

    @property
    def phases(self) -> np.ndarray:
        """Position of the phase of each record; at a switch, the earlier one."""
        return np.searchsorted(self.ends[:-1], self.steps, side="left")


def _as_steps(times: np.ndarray, learning_rate: float, name: str) -> np.ndarray:
    steps = np.rint(times / learning_rate)
    if steps.size and steps[-1] >= _MOST_STEPS:
        raise InvalidArgument(
            f"Argument '{name}' must be reached in fewer than 2^53 steps, but {times[-1]:g} takes "
            f"{steps[-1]:g} steps of {learning_rate:g}; use a larger learning rate."
        )
    return steps.astype(np.int64)


def plan_schedule(
    curriculum: Curriculum, learning_rate: float, steps: object, record: object
) -> Schedule:
    """Return the schedule of a run.

    Parameters
    ----------
    curriculum : Curriculum
        Its phases are rounded to whole steps.
    learning_rate : float
        Flow time of one step.
    steps : int or None
        Length of the run; by default up to the last record, or to the end of the curriculum.
    record : array_like or None
        Flow times, each recorded at the nearest step; by default some hundred steps, evenly.

    Raises
    ------
    InvalidArgument
        If nothing says how long to run, or a record lies after the end.
    """
    latest = wanted = None
    if curriculum.end < np.inf:
        latest = int(_as_steps(np.array([curriculum.end]), learning_rate, "curriculum")[0])
    if record is not None:
        wanted = _as_steps(as_times(record, "record"), learning_rate, "record")
    if steps is not None:
        total = as_count(steps, "steps", 0)
    elif wanted is not None:
        total = int(wanted[-1])
    elif latest is not None:
        total = latest
    else:
        raise InvalidArgument(
            "One of the arguments 'steps' and 'record' must be given, since the task has no end."
        )
    if latest is not None and total > latest:
        raise InvalidArgument(
            f"The curriculum must last as long as the run, but ends after {latest} steps of "
            f"{total}; make its last phase longer, or leave out its duration."
        )
    if wanted is None:
        even = np.linspace(0, total, min(_DEFAULT_RECORDS, total + 1))
        wanted = np.unique(even.round()).astype(np.int64)
    if wanted[-1] > total:
        raise InvalidArgument(
            f"Argument 'record' must not go beyond the {total} steps of the run, but its last "
            f"time {wanted[-1] * learning_rate:g} is step {wanted[-1]}; give more steps."
        )
    starts = _as_steps(np.array(curriculum.starts), learning_rate, "curriculum")
    ends = tuple(min(int(start), total) for start in starts[1:])
    return Schedule(wanted, (*ends, total), learning_rate)
