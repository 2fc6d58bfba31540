r"""Reversal: the same inputs with the opposite targets, $y \to -y$.

All strengths change their sign, and no other moment does: $\Sigma_{yx} \to -\Sigma_{yx}$.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from symkernel.errors import InvalidArgument
from symkernel.problem.mode import Mode
from symkernel.problem.task import Task

_NOTE = "reversed: the targets have the opposite sign"


def reversal(task: Task) -> Task:
    """Return the task with the opposite targets; the face is `Task.reversed`."""
    if task.teacher is not None:
        raise InvalidArgument(
            "A task whose samples are drawn anew in each step cannot be reversed; make one from "
            "the teacher whose last layer has the opposite sign."
        )
    if task.reverse_of is not None:
        return task.reverse_of
    modes = task.modes and tuple(Mode(-mode.s, mode.d, mode.multiplicity) for mode in task.modes)
    changed: dict[str, Any] = {"modes": modes, "history": (*task.history, _NOTE)}
    exact = task.exact
    if exact is not None and exact.X is not None and exact.Y is not None:
        return replace(task, X=exact.X, Y=-exact.Y, exact=None, **changed)
    if exact is not None:
        moments = Task.from_moments(exact.Sxx, -exact.Syx, exact.Syy)
        return replace(moments, labels=task.labels, **changed)
    if task.X is not None:
        return replace(task, Y=-task.Y, **changed)
    if task.Syx is not None:
        return replace(task, Syx=-task.Syx, **changed)
    return Task(reverse_of=task, **changed)
