r"""Mixtures of tasks, learned at once: $L = \sum_k w_k L_k$ with $\sum_k w_k = 1$.

A network sees the weighted mean of the tasks' second moments, and where all tasks have samples,
all these samples, those of task $k$ with weight $w_k / n_k$ each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import sympy as sp

from symkernel.errors import InvalidArgument, ShapeMismatch
from symkernel.problem.mode import Mode
from symkernel.problem.moments import SUM_TOLERANCE, shares_of
from symkernel.problem.scalars import as_expression, as_expressions, short
from symkernel.problem.task import Task


def mixture(tasks: object, weights: object) -> Task:
    r"""Return several tasks at once; the face is `Task.mixture`.

    Parameters
    ----------
    tasks : sequence of Task
        All of the same numbers of inputs and outputs. If all have samples, so has the mixture;
        otherwise it has moments alone. With symbols, in the tasks or in the weights: all given
        by modes, the same number of them with the same multiplicities.
    weights : sequence
        One for each task, positive, summing to 1.

    Raises
    ------
    InvalidArgument, ShapeMismatch
        If tasks or weights do not fit, or a task draws its samples anew in each step.

    Notes
    -----
    The modes of a mixture of modes have strengths $\sum_k w_k s_k$ and variances
    $\sum_k w_k d_k$. The loss that is left at their best map is that of the mixture, not 0;
    formulas of the loss of one mode hold what is above it.
    """
    parts = _as_tasks(tasks)
    shares = _as_weights(weights, len(parts))
    note = f"mixture of {len(parts)} tasks with weights {', '.join(map(short, shares))}"
    history = tuple(f"of task {k}: {line}" for k, t in enumerate(parts) for line in t.history)
    history = (*history, note)
    modes = _mixed_modes(parts, shares)
    if any(w.free_symbols for w in shares) or not all(task.is_numeric for task in parts):
        if modes is None:
            raise InvalidArgument(
                "A mixture with symbols must be of tasks given by modes, the same number of them "
                "with the same multiplicities; give numbers, or make the tasks by Task.from_modes."
            )
        return Task(modes=modes, parts=tuple(zip(shares, parts, strict=True)), history=history)
    sizes = {(task.inputs, task.outputs) for task in parts}
    if len(sizes) > 1:
        raise ShapeMismatch(
            f"Argument 'tasks' must hold tasks of the same numbers of inputs and outputs, not "
            f"{sorted(map(str, sizes))}."
        )
    numbers = [float(w) for w in shares]
    if any(task.X is None for task in parts):
        Sxx, Syx, Syy = (
            np.tensordot(numbers, np.stack([getattr(task, name) for task in parts]), 1)
            for name in ("Sxx", "Syx", "Syy")
        )
        labels = _labels(parts, False)
        return Task(labels=labels, Sxx=Sxx, Syx=Syx, Syy=Syy, modes=modes, history=history)
    return Task(
        np.concatenate([task.X for task in parts]),
        np.concatenate([task.Y for task in parts]),
        _labels(parts, True),
        sample_weights=np.concatenate(
            [w * shares_of(task) for w, task in zip(numbers, parts, strict=True)]
        ),
        gates=_gates(parts),
        modes=modes,
        history=history,
    )


def with_values(parts: Sequence[tuple[sp.Expr, Task]], values: Mapping[sp.Symbol, object]) -> Task:
    """Return the mixture of (weight, task) with numbers in place of symbols.

    Raises
    ------
    InvalidArgument
        If a weight becomes 0 or negative.
    """
    shares = [weight.subs(values) for weight, _ in parts]
    if any(share.is_positive is False for share in shares):
        symbols = sorted({q.name for weight, _ in parts for q in weight.free_symbols})
        raise InvalidArgument(
            f"The weights of the mixture must be positive, but become "
            f"{', '.join(map(short, shares))}; give other values for {', '.join(symbols)}."
        )
    return mixture([task.with_values(values) for _, task in parts], shares)


def _as_tasks(tasks: object) -> list[Task]:
    parts = list(tasks) if isinstance(tasks, Iterable) else []
    if not parts or not all(isinstance(task, Task) for task in parts):
        raise InvalidArgument(
            f"Argument 'tasks' must be a non-empty sequence of Task objects, not {tasks!r}."
        )
    if any(task.teacher is not None for task in parts):
        raise InvalidArgument(
            "Argument 'tasks' must not hold tasks whose samples are drawn anew in each step; put "
            "these one after another in a Curriculum."
        )
    return parts


def _as_weights(weights: object, count: int) -> list[sp.Expr]:
    shares = [as_expression(w, "weights") for w in as_expressions(weights, "weights")]
    if len(shares) != count:
        raise ShapeMismatch(
            f"Argument 'weights' must hold one weight for each of the {count} tasks, not "
            f"{len(shares)}."
        )
    rest = sp.cancel(sp.together(sp.Add(*shares) - 1))
    if not (rest.is_number and abs(float(rest)) <= SUM_TOLERANCE):
        raise InvalidArgument(
            f"Argument 'weights' must sum to 1, not to {sp.expand(rest + 1)}; write the last of "
            f"several symbols as 1 minus the others."
        )
    return shares


def _mixed_modes(tasks: Sequence[Task], weights: Sequence[sp.Expr]) -> tuple[Mode, ...] | None:
    """Return the weighted modes if all tasks have modes that fit, one to one."""
    rows = [task.modes for task in tasks if task.modes is not None]
    if len(rows) < len(tasks) or len({len(row) for row in rows}) > 1:
        return None
    mixed = []
    for modes in zip(*rows, strict=True):
        count = modes[0].multiplicity
        if any(sp.expand(mode.multiplicity - count) != 0 for mode in modes):
            return None
        s, d = (_mean([getattr(mode, name) for mode in modes], weights) for name in ("s", "d"))
        mixed.append(Mode(s, d, count))
    return tuple(mixed)


def _mean(values: Sequence[sp.Expr], weights: Sequence[sp.Expr]) -> sp.Expr:
    if len(set(values)) == 1:
        return values[0]
    return sp.Add(*(w * value for w, value in zip(weights, values, strict=True)))


def _gates(tasks: Sequence[Task]) -> Mapping[str, np.ndarray]:
    """Return the gates of all samples; the tasks have the same ones."""
    shapes = [{name: gate.shape[1] for name, gate in task.gates.items()} for task in tasks]
    if any(shape != shapes[0] for shape in shapes):
        raise InvalidArgument(
            f"Argument 'tasks' must hold tasks with the same gates, not "
            f"{' and '.join(str(sorted(shape)) for shape in shapes)}; give every task all gates, "
            f"those that are closed too, in the same sizes."
        )
    return {name: np.concatenate([task.gates[name] for task in tasks]) for name in shapes[0]}


def _labels(tasks: Sequence[Task], samples: bool) -> Mapping[str, Sequence[str]]:
    """Return the names that all tasks share, and those of all samples and of their tasks."""
    kept = {
        key: names
        for key, names in tasks[0].labels.items()
        if key not in ("samples", "tasks") and all(task.labels.get(key) == names for task in tasks)
    }
    if not samples:
        return kept
    if all("samples" in task.labels for task in tasks):
        kept["samples"] = tuple(name for task in tasks for name in task.labels["samples"])
    return kept | {"tasks": _task_names(tasks)}


def _task_names(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Return the task of every sample: names given to tasks, and numbers for the others.

    Numbers are given anew, since those of mixtures within a mixture begin at 0 each.
    """
    numbered: dict[tuple[int, str], str] = {}
    found = []
    for k, task in enumerate(tasks):
        for name in task.labels.get("tasks", ("task 0",) * len(task.X)):
            if re.fullmatch(r"task \d+", name):
                found.append(numbered.setdefault((k, name), f"task {len(numbered)}"))
            else:
                found.append(name)
    return tuple(found)
