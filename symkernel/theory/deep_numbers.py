r"""What the symbols of the law of deep networks stand for, off a trajectory."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.problem.problem import Problem
from symkernel.theory.chain_state import ChainState
from symkernel.theory.hyperbolic import U0
from symkernel.trajectory import Trajectory


def deep_numbers(problem: Problem, seen: Trajectory, k: int) -> tuple[dict[Any, Any], ...]:
    """Return values for the symbols of every rising mode of a chain; see `Derived.numbers`."""
    state = ChainState.of(problem)
    rising = np.flatnonzero((state.sign > 0) & (state.amplitude > 0) & (state.basis.s[0] > 0))
    return tuple(_deep_mode(problem, state, seen, k, int(i)) for i in rising)


def _deep_mode(
    problem: Problem, state: ChainState, seen: Trajectory, k: int, i: int
) -> dict[Any, Any]:
    task, flow = problem.curriculum.phases[0].task, state.flow
    left, right = state.frames[-1][:, i], state.frames[0][:, i]
    s, d = left @ task.Syx @ right, right @ task.Sxx @ right
    along = right
    arrays, scales = seen.weights, {p.name: float(p.scale) for p in problem.network.parameters}
    scale = float(np.prod([scales[name] for name in flow.layers]))
    amplitude = state.frames[1][:, i] @ arrays[flow.layers[0]][k] @ right
    start = scale * state.amplitude[i] ** flow.depth
    mode = left @ seen.end_to_end[k] @ right
    missed = s - d * mode
    found = {
        notation.s: s,
        notation.d: d,
        U0: start,
        notation.u: mode,
        notation.a: amplitude,
        "output": mode,
        "amplitude": amplitude,
        "loss": float(problem.loss.factor) * missed**2 / d,
    }
    branch = "t_rising" if missed > 0 else "t_falling"
    found[sp.Symbol(branch, nonnegative=True)] = seen.times[k]
    for layer, name in enumerate(flow.layers[:-1], 1):
        along = scales[name] * arrays[name][k] @ along
        found[f"hidden{layer}"] = state.frames[layer][:, i] @ along
    share = np.linalg.pinv(task.X).T @ right
    found["ntk"] = np.einsum("i,a,iajb,j,b", share, left, seen.ntk[k], share, left)
    if flow.depth > 1:
        found["hidden_gram"] = share @ seen.hidden_gram[k] @ share
    return found
