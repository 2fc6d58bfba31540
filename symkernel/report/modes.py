"""The modes of a problem, or its coordinates: strengths, variances, what the weights start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

from symkernel.errors import OutsideValidity, SymkernelError
from symkernel.problem.modes import common_basis
from symkernel.problem.nodes import Linear
from symkernel.problem.problem import Problem
from symkernel.tables import as_text

if TYPE_CHECKING:
    from symkernel.derivation import Derivation

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
        Integers, floating-point numbers or SymPy expressions; empty text for what is not known.
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


def modes_in_phases(derivation: Derivation) -> Modes | None:
    """Return the modes of a derivation, in each phase with the weights that it starts from.

    Cells are empty where these are not known: where there are symbols, and where the law refuses to
    go through the phases.
    """
    problem = derivation.problem
    if len(problem.curriculum.phases) == 1 or not problem.is_numeric:
        return modes_of(problem)
    try:
        weights = derivation.compile()(problem.curriculum.starts).weights
    except SymkernelError:
        return modes_of(problem)
    return modes_of(problem, weights)


def modes_of(problem: Problem, weights: Mapping[str, Any] | None = None) -> Modes | None:
    """Return the modes of a problem; None where they are not known.

    Parameters
    ----------
    problem : Problem
    weights : mapping of str to ndarray, optional
        Weights at the start of each phase; without them those of later phases are left empty.

    Notes
    -----
    With numbers they are measured and counted as in every result. With symbols they are those that
    the task was given by. Networks with gates have modes in each context, which are not listed.
    """
    if problem.network.gates:
        return None
    if not problem.is_numeric_but_for_durations:
        return _given(problem)
    started = _Started(problem, weights)
    return _coordinates(started) if problem.network.is_diagonal else _measured(started)


@dataclass(frozen=True)
class _Started:
    """A problem with the weights at the start of each phase, as far as they are known."""

    problem: Problem
    weights: Mapping[str, Any] | None

    def at(self, phase: int) -> Mapping[str, Any] | None:
        """Return the weights at the start of a phase."""
        if not phase:
            return self.problem.weights.arrays
        known = self.weights
        return None if known is None else {name: known[name][phase] for name in known}


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
        (
            *(position, k, mode.s, mode.d, mode.multiplicity),
            *("" if position else side[k] for side in sides),
        )
        for position, modes in enumerate(listed)
        for k, mode in enumerate(modes[:_MOST])
    ]
    head = ("phase", "mode", "s", "d", "multiplicity", *("a0", "b0")[: len(sides)])
    return _cut(head, rows, len(listed[0]), len(phases))


def _broadcast(side: tuple[sp.Expr, ...], count: int) -> list[Any]:
    """Return a value for each mode; a hidden layer that is too narrow leaves some without."""
    values = list(side) * count if len(side) == 1 else list(side)
    return values + [sp.S.Zero] * (count - len(values))


def _measured(started: _Started) -> Modes | None:
    problem = started.problem
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
    names = ("|p|", "|q|", "p.q")[: (3 if len(arrays) == 2 else 2) if chain else 0]
    rows: list[tuple[Any, ...]] = []
    for position, (s, d) in enumerate(zip(basis.s, basis.d, strict=True)):
        here = started.at(position)
        columns: list[Any] = [[""] * r] * len(names)
        if names and here is not None:
            ends = here[layers[0].name] @ basis.V[:, :r], here[layers[-1].name].T @ basis.U[:, :r]
            columns = _lengths(*ends)[: len(names)]
        rows += [
            (position, k, float(s[k]), float(d[k]), *(column[k] for column in columns))
            for k in range(min(r, _MOST))
        ]
    return _cut(("phase", "mode", "s", "d", *names), rows, r, len(phases))


def _lengths(p: np.ndarray, q: np.ndarray) -> list[list[float]]:
    """Return lengths of the sides of the modes, and their overlap."""
    lengths = [np.linalg.norm(side, axis=0) for side in (p, q)]
    if len(p) != len(q):
        return [side.tolist() for side in lengths]
    overlap = (p * q).sum(0)
    aside = np.abs(overlap) <= _ROUNDING * lengths[0] * lengths[1]
    return [*(side.tolist() for side in lengths), np.where(aside, 0.0, overlap).tolist()]


def _coordinates(started: _Started) -> Modes | None:
    """Return what the law of one coordinate of a diagonal network is written in."""
    problem = started.problem
    phases, count = problem.curriculum.phases, int(problem.network.inputs)
    moments = [(phase.task.Syx, phase.task.Sxx) for phase in phases]
    if any(syx is None or len(syx) != 1 for syx, _ in moments):
        return None
    trained = [p.name for p in problem.network.parameters if p.kind == "diagonal" and p.trained]
    rows = [
        (
            *(position, j, float(syx[0, j]), float(sxx[j, j])),
            *("" if known is None else float(known[name][j]) for name in trained),
        )
        for position, (syx, sxx) in enumerate(moments)
        for known in [started.at(position)]
        for j in range(min(count, _MOST))
    ]
    return _cut(("phase", "coordinate", "s", "d", *trained), rows, count, len(phases))


def _cut(head: tuple[str, ...], rows: list[tuple[Any, ...]], count: int, phases: int) -> Modes:
    """Return the table, without the column of the phase where there is one phase."""
    first = 0 if phases > 1 else 1
    return Modes(head[first:], tuple(row[first:] for row in rows), max(count - _MOST, 0))
