r"""What the symbols of the laws of gated networks stand for, read off a trajectory."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.problem.problem import Problem
from symkernel.theory.pathway_state import PathwayState
from symkernel.theory.race_clock import THETA, Race, pathway_symbols
from symkernel.trajectory import Trajectory


def _amplitudes(state: PathwayState, seen: Trajectory, k: int) -> list[np.ndarray]:
    """Return the amplitudes (depth, n_modes) of each pathway, in the first context."""
    found = []
    for pathway in state.pathways:
        rows = []
        for name in pathway.path(0):
            left, right = state.sides[0, name]
            rows.append(((seen.weights[name][k] @ right) * left).sum(0))
        found.append(np.stack(rows))
    return found


def _common(problem: Problem, state: PathwayState, u: float, i: int) -> dict[Any, Any]:
    s, d = state.s[0, i], state.d[0, i]
    loss = float(problem.loss.factor) * (s - d * u) ** 2 / d
    return {notation.s: s, notation.d: d, notation.u: u, "output": u, "loss": loss}


def gated_numbers(problem: Problem, seen: Trajectory, k: int) -> tuple[dict[Any, Any], ...]:
    """Return values for the symbols of each mode of one pathway; see `Derived.numbers`."""
    state = PathwayState.of(problem)
    (rows,) = _amplitudes(state, seen, k)
    scaled = state.amplitudes[0] / np.sqrt(state.shares[0])[:, None]
    scale = float(state.pathways[0].scale)
    return tuple(
        {
            **_common(problem, state, scale * rows[:, i].prod(), i),
            notation.a0: scaled[0, i],
            notation.b0: scaled[1, i],
            sp.Symbol("u0", real=True): state.modes[0, i],
            "input_side": rows[0, i],
            "output_side": rows[1, i],
        }
        for i in range(rows.shape[1])
    )


def race_numbers(problem: Problem, seen: Trajectory, k: int) -> tuple[dict[Any, Any], ...]:
    """Return values for the symbols of each mode of several pathways.

    The clock is read off the first pathway; the others, and the flow time, must agree with it.
    """
    state = PathwayState.of(problem)
    race = Race(state.flow)
    rows = _amplitudes(state, seen, k)
    modes = np.array(
        [float(p.scale) * row.prod(0) for p, row in zip(state.pathways, rows, strict=True)]
    )
    found = []
    for i in range(modes.shape[1]):
        if state.modes[0, i] == 0:
            continue  # A pathway that does not move has no clock to be read.
        own = _common(problem, state, modes[:, i].sum(), i)
        for j in range(len(modes)):
            mode, start = pathway_symbols(j)
            own |= {mode: modes[j, i], start: state.modes[j, i], f"pathway{j}": modes[j, i]}
            own |= {f"invariant{j}": modes[j, i], f"rate{j}": float(race.rates[j])}
        entry = {q: sp.Float(v) for q, v in own.items() if isinstance(q, sp.Symbol)}
        own[THETA] = float(race.reading(0).xreplace(entry))
        own["clock_rate"] = own[notation.s] - own[notation.d] * modes[:, i].sum()
        found.append(own)
    return tuple(found)
