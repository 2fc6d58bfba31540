"""The curriculum: tasks one after another, each for a duration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import sympy as sp

from symkernel.errors import InvalidArgument, ShapeMismatch
from symkernel.problem.task import Task


@dataclass(frozen=True)
class Phase:
    """Training on one task for a duration in flow time (None: without end).

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> phase = sk.Phase(sk.Task(np.eye(2), np.eye(2)), duration=3.0)
    >>> assert phase.duration == 3.0
    """

    task: Task
    duration: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.task, Task):
            raise InvalidArgument(f"Argument 'task' must be a Task, not {self.task!r}.")
        if self.duration is None:
            return
        number = isinstance(self.duration, (int, float, np.integer, np.floating, sp.Number))
        number = number and not isinstance(self.duration, bool)
        if not number or not np.isfinite(float(self.duration)) or float(self.duration) <= 0:
            raise InvalidArgument(
                f"Argument 'duration' must be a finite positive flow time or None, "
                f"not {self.duration!r}."
            )
        object.__setattr__(self, "duration", float(self.duration))


@dataclass(frozen=True)
class Curriculum:
    """Phases in order; only the last one may be without end.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> a, b = sk.Task(np.eye(2), np.eye(2)), sk.Task(np.eye(2), -np.eye(2))
    >>> cur = sk.Curriculum([sk.Phase(a, duration=2), sk.Phase(b)])
    >>> assert cur.starts == (0.0, 2.0)
    """

    phases: Sequence[Phase]

    def __post_init__(self) -> None:
        phases = tuple(self.phases) if isinstance(self.phases, Iterable) else ()
        if not phases or not all(isinstance(phase, Phase) for phase in phases):
            raise InvalidArgument(
                f"Argument 'phases' must be a non-empty sequence of Phase objects, "
                f"not {self.phases!r}."
            )
        for position, phase in enumerate(phases[:-1]):
            if phase.duration is None:
                raise InvalidArgument(
                    f"Phase {position} must have a duration, because another phase follows it."
                )
        sizes = {(phase.task.inputs, phase.task.outputs) for phase in phases}
        if len(sizes) > 1:
            raise ShapeMismatch(
                f"All tasks of a curriculum must have the same numbers of inputs and outputs, "
                f"not {sorted(map(str, sizes))}."
            )
        object.__setattr__(self, "phases", phases)

    @classmethod
    def of(cls, value: object) -> Curriculum:
        """Return a curriculum; a task becomes one phase without end."""
        if isinstance(value, Curriculum):
            return value
        if isinstance(value, Task):
            return cls((Phase(value),))
        raise InvalidArgument(
            f"Argument 'curriculum' must be a Task or a Curriculum, not {value!r}."
        )

    @property
    def starts(self) -> tuple[float, ...]:
        """Flow time at which each phase starts."""
        durations = [phase.duration or 0.0 for phase in self.phases[:-1]]
        return tuple(float(start) for start in np.concatenate([[0.0], np.cumsum(durations)]))

    @property
    def end(self) -> float:
        """Flow time at which the last phase ends; infinity if it does not."""
        last = self.phases[-1].duration
        return self.starts[-1] + (np.inf if last is None else last)

    @property
    def is_numeric(self) -> bool:
        """Whether all tasks are numbers."""
        return all(phase.task.is_numeric for phase in self.phases)

    def phase_at(self, time: float) -> int:
        """Position of the phase that is running at a flow time; at a switch, the earlier one."""
        if not time >= 0:
            raise InvalidArgument(f"Argument 'time' must be a flow time from 0 on, not {time!r}.")
        return max(int(np.searchsorted(self.starts, time, side="left")) - 1, 0)
