r"""Who is held responsible: the groups of training samples among which movements are split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from symkernel.errors import InvalidArgument, ShapeMismatch, as_names
from symkernel.problem.task import Task

KINDS = ("sample", "task", "phase")
DECAY = "decay"
RESET = "reset"
# What moves weights without a sample.
OWN = (RESET, DECAY)
_FIX = (
    "give 'sample', 'task', 'phase', or one label (text or integer) for each training sample: one "
    "array, or a list of arrays, one for each phase"
)


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of the training samples of all phases.

    Attributes
    ----------
    by : {"sample", "task", "phase", "group"}
        What a group is; "group" for labels of the caller's own.
    labels : tuple of str
        Name of each group.
    members : tuple of ndarray of int or int
        For each phase the group of each of its samples; one number for fresh samples.
    tasks : tuple of str or None
        For groups that each belong to one task, the name of that task.
    """

    by: str
    labels: tuple[str, ...]
    members: tuple[np.ndarray | int, ...]
    tasks: tuple[str, ...] | None = None


def find_groups(attribute: object, tasks: Sequence[Task]) -> Groups:
    """Return the groups that an argument 'attribute' asks for; `tasks` are those of the phases."""
    if isinstance(attribute, str):
        match attribute:
            case "phase":
                names = tuple(f"phase {k}" for k in range(len(tasks)))
                return Groups("phase", names, tuple(range(len(tasks))))
            case "task":
                named = [task_names(task, tasks) for task in tasks]
                return _joined("task", named, named)
            case "sample":
                _refuse_fresh(tasks, attribute)
                named = [task_names(task, tasks) for task in tasks]
                return _joined("sample", [_sample_names(task, tasks) for task in tasks], named)
        raise InvalidArgument(
            f"Argument 'attribute' must be one of {', '.join(map(repr, KINDS))} or labels, not "
            f"{attribute!r}; {_FIX}."
        )
    _refuse_fresh(tasks, "labels")
    return _joined("group", _as_labels(attribute, tasks), None)


def _refuse_fresh(tasks: Sequence[Task], what: str) -> None:
    if any(task.teacher is not None for task in tasks):
        raise InvalidArgument(
            f"Argument 'attribute' must not be {what!r} where samples are drawn anew in each step, "
            f"because these are seen only once; use 'task' or 'phase'."
        )


def distinct(tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks, each once, in order of their first phase."""
    return list({id(task): task for task in tasks}.values())


def task_names(task: Task, tasks: Sequence[Task]) -> list[str]:
    """Return the name of the task of each sample (one name alone for fresh samples).

    These are the task's labels "tasks", or its position among the different tasks. Samples of one
    label are of one task, also in different phases; a task without labels is none of these.
    """
    if "tasks" in task.labels:
        return list(task.labels["tasks"])
    name = f"task {[id(one) for one in distinct(tasks)].index(id(task))}"
    while any(name in one.labels.get("tasks", ()) for one in tasks):
        name += " without labels"
    return [name] * (1 if task.X is None else len(task.X))


def _sample_names(task: Task, tasks: Sequence[Task]) -> list[str]:
    names = list(task.labels.get("samples", ()))
    if len(set(names)) < len(task.X):
        names = [str(k) for k in range(len(task.X))]
    different = distinct(tasks)
    if len(different) == 1:
        return names
    place = [id(one) for one in different].index(id(task))
    return [f"task {place}, {name}" for name in names]


def _as_labels(attribute: object, tasks: Sequence[Task]) -> list[list[str]]:
    """Return a caller's own labels, for each phase one for each sample."""
    if isinstance(attribute, Sequence) and len(attribute) == len(tasks) and _are_lists(attribute):
        parts = list(attribute)
    elif len(distinct(tasks)) == 1:
        parts = [attribute] * len(tasks)
    else:
        raise ShapeMismatch(
            f"Argument 'attribute' must be a list of {len(tasks)} arrays of labels, one for each "
            f"phase of the curriculum; {_FIX}."
        )
    return [
        list(as_names(part, "attribute", len(task.X)))
        for part, task in zip(parts, tasks, strict=True)
    ]


def _are_lists(attribute: Sequence) -> bool:
    return all(
        isinstance(part, (Sequence, np.ndarray)) and not isinstance(part, str) for part in attribute
    )


def _joined(
    by: str, named: Sequence[Sequence[str]], tasks: Sequence[Sequence[str]] | None
) -> Groups:
    """Return groups by name, in order of appearance."""
    index: dict[str, int] = {}
    owner: dict[str, str] = {}
    members = []
    for k, names in enumerate(named):
        members.append(np.array([index.setdefault(name, len(index)) for name in names]))
        if tasks is not None:
            owner |= dict(zip(names, tasks[k], strict=True))
    return Groups(
        by, tuple(index), tuple(members), tuple(owner[n] for n in index) if owner else None
    )
