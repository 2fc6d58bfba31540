"""The curriculum: tasks one after another, each for a duration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import sympy as sp

from symkernel.errors import InvalidArgument, ShapeMismatch
from symkernel.problem.task import Task


@dataclass(frozen=True)
class Phase:
    """Training on one task for a duration.

    Parameters
    ----------
    task : Task
    duration : number, SymPy expression or None
        In flow time; None is without end.

    Examples
    --------
    >>> import numpy as np, sympy as sp, symkernel as sk
    >>> task = sk.Task(np.eye(2), np.eye(2))
    >>> assert sk.Phase(task, duration=3).duration == 3.0
    >>> T = sp.Symbol("T", positive=True)
    >>> assert sk.Phase(task, duration=T).duration is T
    """

    task: Task
    duration: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.task, Task):
            raise InvalidArgument(f"Argument 'task' must be a Task, not {self.task!r}.")
        if self.duration is None:
            return
        if isinstance(self.duration, sp.Expr) and self.duration.free_symbols:
            if self.duration.is_positive is False or self.duration.is_real is False:
                raise InvalidArgument(
                    f"Argument 'duration' must be positive, not {self.duration}; make its symbols "
                    f"positive."
                )
            return
        number = isinstance(self.duration, (int, float, np.integer, np.floating))
        number = number or (isinstance(self.duration, sp.Expr) and self.duration.is_real)
        number = number and not isinstance(self.duration, bool)
        if not number or not np.isfinite(float(self.duration)) or float(self.duration) <= 0:
            raise InvalidArgument(
                f"Argument 'duration' must be a finite positive flow time, a SymPy expression or "
                f"None, not {self.duration!r}."
            )
        object.__setattr__(self, "duration", float(self.duration))

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Symbols without a value, of the task and of the duration."""
        return self.task.free_symbols | _symbols(self.duration)


def _symbols(duration: Any) -> set[sp.Symbol]:
    return duration.free_symbols if isinstance(duration, sp.Expr) else set()


@dataclass(frozen=True)
class Curriculum:
    """Phases in order; only the last one may be without end.

    Parameters
    ----------
    phases : sequence of Phase
        One or more, whose tasks have the same numbers of inputs and outputs.

    Raises
    ------
    InvalidArgument, ShapeMismatch
        If there is none, one before the last has no duration, or tasks do not fit.

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
                f"All tasks of a curriculum must have the same numbers of inputs and outputs, not "
                f"{' and '.join(f'{i} and {o}' for i, o in sorted(sizes, key=str))}."
            )
        object.__setattr__(self, "phases", phases)

    def __repr__(self) -> str:
        lasting = ("no end" if p.duration is None else str(p.duration) for p in self.phases)
        return f"Curriculum({len(self.phases)} phases, flow times: {', '.join(lasting)})"

    @classmethod
    def of(cls, value: object) -> Curriculum:
        """Return a curriculum; a task becomes one phase without end."""
        if isinstance(value, Curriculum):
            return value
        if isinstance(value, Task):
            return cls((Phase(value),))
        held = isinstance(getattr(value, "task", None), Task)
        hint = "; give its 'task'" if held else ""
        raise InvalidArgument(
            f"Argument 'curriculum' must be a Task or a Curriculum, not {value!r}{hint}."
        )

    @property
    def starts(self) -> tuple[Any, ...]:
        """Flow time at which each phase starts: numbers, or expressions in symbolic durations."""
        durations = [phase.duration for phase in self.phases[:-1]]
        return tuple(accumulate(durations, initial=0.0))

    @property
    def end(self) -> Any:
        """Flow time at which the last phase ends; infinity if it does not."""
        last = self.phases[-1].duration
        return np.inf if last is None else self.starts[-1] + last

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Symbols without a value."""
        return set().union(*(phase.free_symbols for phase in self.phases))

    @property
    def is_numeric(self) -> bool:
        """Whether all tasks and durations are numbers."""
        return all(phase.task.is_numeric and not _symbols(phase.duration) for phase in self.phases)

    def phase_at(self, time: float) -> int:
        """Position of the phase that is running at a flow time; at a switch, the earlier one."""
        if not time >= 0:
            raise InvalidArgument(f"Argument 'time' must be a flow time from 0 on, not {time!r}.")
        return max(int(np.searchsorted(self.starts, time, side="left")) - 1, 0)
