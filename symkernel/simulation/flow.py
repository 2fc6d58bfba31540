r"""Gradient flow of linear networks integrated numerically: the judge of rung 4.

The weights are integrated as they are, without any basis or mode: nothing of the theory enters.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from symkernel.codegen.cache import load
from symkernel.errors import InvalidArgument, SymkernelError, as_times
from symkernel.problem.loss import SquaredError
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.simulation.network_flow import NetworkFlow, spans_of

# Of the Python function: one that calls the compiled one would be optimised with it once more.
_ENTRY = """

rate = numba.njit(
    "float64[::1](float64[::1], int64[::1], float64[::1], float64[:, ::1], float64[:, ::1],"
    " float64)",
    cache=True,
    nogil=True,
    error_model="numpy",
)(chain_flow.py_func)
"""

# How well the direction of the tangent is followed, and the largest logarithm that has a power.
_DIRECTION = 1e-6
_LARGEST = 700.0


@dataclass(frozen=True, eq=False)
class FlowSolution:
    """Weights along gradient flow.

    Attributes
    ----------
    times : ndarray, shape (n_times,)
    weights : dict of str to ndarray, (n_times,) + shape
    sensitivity : ndarray, shape (n_times,)
        Largest size so far of random small changes of the weights, one at the start and one at
        each of the times; times 2^-52 it estimates what rounding does.
    """

    times: np.ndarray
    weights: dict[str, np.ndarray]
    sensitivity: np.ndarray


@cache
def _compiled() -> Any:
    from symkernel.numerics import chain_flow

    return load(inspect.getsource(chain_flow) + _ENTRY, "chain_flow").rate


class _Chain:
    """A product of dense trained matrices, c W_D ... W_1, and the loss's gradient on moments."""

    def __init__(self, problem: Problem) -> None:
        self.parameters = problem.network.parameters
        self.shapes = [tuple(int(k) for k in p.shape) for p in self.parameters]
        self.scale = float(np.prod([float(p.scale) for p in self.parameters]))
        self.factor = 2.0 * float(problem.loss.factor)
        self.decay = float(problem.loss.weight_decay)
        self.speeds = np.array([float(p.rate) for p in self.parameters])
        self.sizes = np.array([self.shapes[0][1], *(rows for rows, _ in self.shapes)])
        self.cuts = np.cumsum([rows * columns for rows, columns in self.shapes])[:-1]

    def split(self, flat: np.ndarray) -> list[np.ndarray]:
        parts = np.split(flat, self.cuts)
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def rate(self, task: Task) -> Callable[[float, np.ndarray], np.ndarray]:
        """Return the velocity on a task: of the matrices, a unit tangent and its log length."""
        slope, velocity = self.factor * self.scale, _compiled()
        moments = (slope * task.Syx, slope * self.scale * task.Sxx)
        pull, curvature = map(np.ascontiguousarray, moments)
        rest = (self.sizes, self.speeds, pull, curvature, self.decay)
        return lambda _, state: velocity(state, *rest)


def _changed_again(state: np.ndarray, fresh: np.ndarray) -> np.ndarray:
    """Add a unit change to the tangent.

    What falls to a saddle is rounded there: the change at the start is gone when it is left.
    """
    half, length = len(fresh), float(state[-1])
    top = max(length, 0.0)
    new = fresh / np.linalg.norm(fresh) * np.exp(-top)
    along = state[half:-1] * np.exp(length - top) + new
    size = float(np.linalg.norm(along))
    return np.concatenate([state[:half], along / size, [top + np.log(size)]])


def integrate_flow(
    problem: Problem, times: object, *, rtol: float = 1e-13, atol: float = 1e-16, seed: int = 0
) -> FlowSolution:
    """Integrate the flow with DOP853, together with one tangent vector.

    Rates of the parameters and weight decay are part of the flow.

    Parameters
    ----------
    problem : Problem
        With numbers; any curriculum.
    times : array_like
        Flow times, increasing.
    rtol, atol : float
        Tolerances of the integrator.
    seed : int
        Seed of the directions of small changes.

    Raises
    ------
    SymkernelError
        If the integrator gives up.
    """
    clock = as_times(times)
    by_moments = problem.network.is_chain and isinstance(problem.loss, SquaredError)
    chain = _Chain(problem) if by_moments else NetworkFlow(problem)
    if any(phase.task.Syx is None for phase in problem.curriculum.phases):
        raise InvalidArgument(
            "The flow is integrated for tasks whose second moments are known; those of a teacher "
            "that is not linear are not. Use sk.simulate with a small learning rate."
        )
    start = np.concatenate([problem.weights.arrays[p.name].ravel() for p in chain.parameters])
    stream = np.random.default_rng(seed)
    tangent = stream.standard_normal(start.size)
    # A unit tangent and the logarithm of its length: a tangent that grows has components whose
    # rounding no step can keep below a tolerance.
    state = np.concatenate([start, tangent / np.linalg.norm(tangent), [0.0]])
    half, longest = start.size, 0.0
    tolerances = np.append(np.full(half, atol), np.full(half + 1, _DIRECTION))
    out = np.empty((len(clock), state.size))
    for k, span in enumerate(spans_of(problem.curriculum, clock)):
        if not span.end:
            out[span.rows] = state
            continue

        rate = chain.rate(span.phase.task)
        grid = np.unique(np.append(span.times, span.end))
        reached = np.empty((len(grid), state.size))
        at = 0.0
        # A step ends at every wanted time: inside a long step the interpolation loses digits.
        for row, moment in zip(reached, grid, strict=True):
            if moment > at:
                step = (at, float(moment))
                solution = solve_ivp(rate, step, state, "DOP853", rtol=rtol, atol=tolerances)
                if not solution.success:
                    raise SymkernelError(f"The integrator stopped in phase {k}: {solution.message}")
                at, state = float(moment), solution.y[:, -1]
                # Of all steps: what grew beside a saddle has shrunk again when it is left.
                longest = max(longest, float(solution.y[-1].max()))
                row[:] = state
                state = _changed_again(state, stream.standard_normal(half))
            else:
                row[:] = state
            row[-1] = longest
        out[span.rows] = reached[np.searchsorted(grid, span.times)]
    growth = np.maximum.accumulate(np.exp(np.minimum(out[:, -1], _LARGEST)))
    parts = [chain.split(row[:half]) for row in out]
    names = [p.name for p in chain.parameters]
    weights = {name: np.array([part[i] for part in parts]) for i, name in enumerate(names)}
    return FlowSolution(clock, weights, growth)
