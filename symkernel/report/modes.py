"""The modes of a problem, or its coordinates: strengths, variances, what the weights start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

from symkernel.errors import OutsideValidity
from symkernel.problem.modes import common_basis
from symkernel.problem.nodes import Linear
from symkernel.problem.problem import Problem
from symkernel.tables import as_text

_MOST = 12
# An overlap below this share of the lengths is rounding, and shown as 0.
_ROUNDING = 1e-14


@dataclass(frozen=True)
class Modes:
    """A table of modes, a row for each mode in each phase; of coordinates in a diagonal network.

    Attributes
    ----------
    head : tuple of str
        "phase" (of several), "mode", "s", "d", and what is known of multiplicities and sides; or
        "coordinate", "s", "d" and the trained weights at the start.
    rows : tuple of rows
        Integers, floating-point numbers or SymPy expressions.
    more : int
        How many modes are not in the table.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    more: int = 0

    def __str__(self) -> str:
        cells = [[f"{v:.6g}" if isinstance(v, float) else str(v) for v in row] for row in self.rows]
        rest = [f"  and {self.more} more"] if self.more else []
        return "\n".join([as_text(self.head, cells), *rest])


def modes_of(problem: Problem) -> Modes | None:
    """Return the modes of a problem; None where they are not known.

    With numbers they are measured and counted as in every result. With symbols they are those that
    the task was given by. Networks with gates have modes in each context, which are not listed.
    """
    if problem.network.gates:
        return None
    if problem.is_numeric_but_for_durations:
        diagonal = any(p.kind == "diagonal" for p in problem.network.parameters)
        return _coordinates(problem) if diagonal else _measured(problem)
    return _given(problem)


def _given(problem: Problem) -> Modes | None:
    phases = problem.curriculum.phases
    exact = phases[0].task.exact
    try:
        listed = [phase.task.modes or (exact.modes if exact else ()) for phase in phases]
    except OutsideValidity:
        return None
    if not all(listed):
        return None
    amplitudes = problem.weights.amplitudes
    given = () if amplitudes is None else (amplitudes.a, amplitudes.b)
    sides = [_broadcast(side, len(listed[0])) for side in given]
    rows = [
        (position, k, mode.s, mode.d, mode.multiplicity, *(side[k] for side in sides))
        for position, modes in enumerate(listed)
        for k, mode in enumerate(modes[:_MOST])
    ]
    head = ("phase", "mode", "s", "d", "multiplicity", *("a0", "b0")[: len(sides)])
    return _cut(head, rows, len(listed[0]), len(phases))


def _broadcast(side: tuple[sp.Expr, ...], count: int) -> list[Any]:
    """Return a value for each mode; a hidden layer that is too narrow leaves some without."""
    values = list(side) * count if len(side) == 1 else list(side)
    return values + [sp.S.Zero] * (count - len(values))


def _measured(problem: Problem) -> Modes | None:
    phases = problem.curriculum.phases
    tasks = [phase.task for phase in phases]
    if any(task.Syx is None for task in tasks):
        return None
    layers = [node.parameter for node in problem.network.order if isinstance(node, Linear)]
    chain = len(problem.network.order) == len(layers) + 1 > 2
    chain = chain and all(p.kind == "dense" for p in layers)
    arrays = [problem.weights.arrays[p.name] for p in layers]
    basis = common_basis(tasks, *arrays) if chain and len(arrays) == 2 else common_basis(tasks)
    r = basis.rank_bound
    columns: dict[str, np.ndarray] = {}
    if chain:
        p, q = arrays[0] @ basis.V[:, :r], arrays[-1].T @ basis.U[:, :r]
        columns = {"|p|": np.linalg.norm(p, axis=0), "|q|": np.linalg.norm(q, axis=0)}
        if len(arrays) == 2:
            overlap = (p * q).sum(0)
            aside = np.abs(overlap) <= _ROUNDING * columns["|p|"] * columns["|q|"]
            columns["p.q"] = np.where(aside, 0.0, overlap)
    rows = [
        (position, k, *(float(column[k]) for column in (s, d, *columns.values())))
        for position, (s, d) in enumerate(zip(basis.s, basis.d, strict=True))
        for k in range(min(r, _MOST))
    ]
    return _cut(("phase", "mode", "s", "d", *columns), rows, r, len(phases))


def _coordinates(problem: Problem) -> Modes | None:
    """Return what the law of one coordinate of a diagonal network is written in."""
    phases, count = problem.curriculum.phases, int(problem.network.inputs)
    moments = [(phase.task.Syx, phase.task.Sxx) for phase in phases]
    if any(syx is None or len(syx) != 1 for syx, _ in moments):
        return None
    trained = [p.name for p in problem.network.parameters if p.kind == "diagonal" and p.trained]
    starts = [problem.weights.arrays[name] for name in trained]
    rows = [
        (position, j, *map(float, (syx[0, j], sxx[j, j], *(start[j] for start in starts))))
        for position, (syx, sxx) in enumerate(moments)
        for j in range(min(count, _MOST))
    ]
    return _cut(("phase", "coordinate", "s", "d", *trained), rows, count, len(phases))


def _cut(head: tuple[str, ...], rows: list[tuple[Any, ...]], count: int, phases: int) -> Modes:
    """Return the table, without the column of the phase where there is one phase."""
    first = 0 if phases > 1 else 1
    return Modes(head[first:], tuple(row[first:] for row in rows), max(count - _MOST, 0))
