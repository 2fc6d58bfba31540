r"""Gradient flow of any network over many time constants, by an implicit method."""

from __future__ import annotations

import numpy as np
from scipy.integrate import solve_ivp

from symkernel.errors import SymkernelError, as_times
from symkernel.problem.problem import Problem
from symkernel.simulation.network_flow import NetworkFlow, spans_of

_RTOL, _ATOL = 1e-10, 1e-12


def integrate_long(problem: Problem, times: object) -> dict[str, np.ndarray]:
    """Return weights along gradient flow, to about 1e-9, by LSODA.

    Its steps are not bound to the fastest direction once that is learned, as those of an explicit
    method are; where it is not needed, `integrate_flow` is more accurate.

    Parameters
    ----------
    problem : Problem
        With numbers; any curriculum.
    times : array_like
        Flow times, increasing.

    Raises
    ------
    SymkernelError
        If the integrator gives up.
    """
    clock, flow = as_times(times), NetworkFlow(problem)
    state = np.concatenate([problem.weights.arrays[p.name].ravel() for p in flow.parameters])
    out = np.empty((len(clock), state.size))
    for k, span in enumerate(spans_of(problem.curriculum, clock)):
        if not span.end:
            out[span.rows] = state
            continue
        velocity = flow.velocity(span.phase.task)
        grid = np.unique(np.append(span.times, span.end))
        solution = solve_ivp(
            lambda _, flat, velocity=velocity: velocity(flat),
            (0.0, span.end), state, "LSODA", t_eval=grid, rtol=_RTOL, atol=_ATOL,
        )  # fmt: skip
        if not solution.success:
            raise SymkernelError(f"The integrator stopped in phase {k}: {solution.message}")
        out[span.rows] = solution.y.T[np.searchsorted(grid, span.times)]
        state = solution.y[:, -1]
    parts = [flow.split(row) for row in out]
    return {p.name: np.array([part[i] for part in parts]) for i, p in enumerate(flow.parameters)}
