r"""Gradient flow of linear networks integrated numerically: the judge of rung 4.

The weights are integrated as they are, without any basis or mode: nothing of the theory enters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp

from symkernel.errors import InvalidArgument, SymkernelError, as_times
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.simulation.network_flow import NetworkFlow

# Length of the complex step that gives derivatives; nothing cancels, so it may be tiny.
_STEP = 1e-20
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
        Largest growth so far of a random small change of the initial weights; times 2^-52 it
        estimates what rounding of the initial weights does.
    """

    times: np.ndarray
    weights: dict[str, np.ndarray]
    sensitivity: np.ndarray


class _Chain:
    """A product of dense trained matrices, c W_D ... W_1, and the loss's gradient on moments."""

    def __init__(self, problem: Problem) -> None:
        self.parameters = problem.network.parameters
        self.shapes = [tuple(int(k) for k in p.shape) for p in self.parameters]
        self.scale = float(np.prod([float(p.scale) for p in self.parameters]))
        self.factor = 2.0 * float(problem.loss.factor)
        self.decay = float(problem.loss.weight_decay)
        self.speeds = [float(p.rate) for p in self.parameters]
        self.cuts = np.cumsum([rows * columns for rows, columns in self.shapes])[:-1]

    def split(self, flat: np.ndarray) -> list[np.ndarray]:
        parts = np.split(flat, self.cuts)
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def rate(self, flat: np.ndarray, task: Task) -> np.ndarray:
        matrices = self.split(flat)
        before = [np.eye(matrices[0].shape[1], dtype=flat.dtype)]
        for matrix in matrices:
            before.append(matrix @ before[-1])
        error = self.factor * self.scale * (task.Syx - self.scale * before[-1] @ task.Sxx)
        rates, after = [], np.eye(matrices[-1].shape[0], dtype=flat.dtype)
        for k in reversed(range(len(matrices))):
            fall = after.T @ error @ before[k].T - self.decay * matrices[k]
            rates.append(self.speeds[k] * fall.ravel())
            after = after @ matrices[k]
        return np.concatenate(rates[::-1])


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
        Seed of the tangent's direction.

    Raises
    ------
    SymkernelError
        If the integrator gives up.
    """
    clock = as_times(times)
    chain = _Chain(problem) if problem.network.is_chain else NetworkFlow(problem)
    if any(phase.task.Syx is None for phase in problem.curriculum.phases):
        raise InvalidArgument(
            "The flow is integrated for tasks whose second moments are known; those of a teacher "
            "that is not linear are not. Use sk.simulate with a small learning rate."
        )
    start = np.concatenate([problem.weights.arrays[p.name].ravel() for p in chain.parameters])
    tangent = np.random.default_rng(seed).standard_normal(start.size)
    # A unit tangent and the logarithm of its length: a tangent that grows has components whose
    # rounding no step can keep below a tolerance.
    state = np.concatenate([start, tangent / np.linalg.norm(tangent), [0.0]])
    half = start.size
    tolerances = np.append(np.full(half, atol), np.full(half + 1, _DIRECTION))
    out = np.empty((len(clock), state.size))
    curriculum = problem.curriculum
    position = np.array([curriculum.phase_at(time) for time in clock])
    for k, (phase, begin) in enumerate(zip(curriculum.phases, curriculum.starts, strict=True)):
        here = np.flatnonzero(position == k)
        wanted = clock[here] - begin
        end = phase.duration if k + 1 < len(curriculum.phases) else wanted.max(initial=0.0)
        if not end:
            out[here] = state
            continue

        def rate(_: float, y: np.ndarray, task: Task = phase.task) -> np.ndarray:
            base, along = chain.rate(y[:half], task), y[half:-1]
            moved = chain.rate(y[:half] + 1j * _STEP * along, task).imag / _STEP
            growth = along @ moved / (along @ along)
            return np.concatenate([base, moved - growth * along, [growth]])

        grid = np.unique(np.append(np.clip(wanted, 0.0, end), end))
        reached = np.empty((len(grid), state.size))
        at = 0.0
        # A step ends at every wanted time: inside a long step the interpolation loses digits.
        for row, moment in zip(reached, grid, strict=True):
            if moment > at:
                span = (at, float(moment))
                solution = solve_ivp(rate, span, state, "DOP853", rtol=rtol, atol=tolerances)
                if not solution.success:
                    raise SymkernelError(f"The integrator stopped in phase {k}: {solution.message}")
                at, state = float(moment), solution.y[:, -1]
            row[:] = state
        out[here] = reached[np.searchsorted(grid, np.clip(wanted, 0.0, end))]
    growth = np.maximum.accumulate(np.exp(np.minimum(out[:, -1], _LARGEST)))
    parts = [chain.split(row[:half]) for row in out]
    names = [p.name for p in chain.parameters]
    weights = {name: np.array([part[i] for part in parts]) for i, name in enumerate(names)}
    return FlowSolution(clock, weights, growth)
