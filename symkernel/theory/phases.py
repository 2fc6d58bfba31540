"""The way of a law through a curriculum: which phase runs when, and what is carried into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from symkernel.errors import MissingValues, OutsideValidity, as_times
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.problem import Problem
from symkernel.problem.scalars import as_sympy
from symkernel.trajectory import Undetermined

# The laws need squares of amplitudes, and bound growth below by 1e-140: a square root of 1e-280.
SMALLEST = 1e-120
# Largest estimated relative error with which a later phase is returned.
LEAST_DIGITS = 1e-6
# A duration on which nothing depends: too short for anything to fade in it.
_ANY = 1e-12


def phases_at(curriculum: Curriculum, times: object) -> tuple[np.ndarray, np.ndarray]:
    """Return flow times as an array, and the position of the phase that runs at each.

    Raises
    ------
    OutsideValidity
        If a time is after the end of the curriculum.
    """
    clock = as_times(times)
    if clock[-1] > curriculum.end * (1 + 1e-12):
        raise OutsideValidity(
            f"The curriculum ends at flow time {curriculum.end:g}, but time {clock[-1]:g} was "
            f"asked for; give its last phase a longer duration, or None for no end."
        )
    # At a switch, the earlier one: as `Curriculum.phase_at`, for all times at once.
    return clock, np.maximum(np.searchsorted(curriculum.starts, clock) - 1, 0)


def reaching(problem: Problem, phase: int) -> Problem:
    """Return the problem with numbers for the durations on which a phase does not depend.

    Raises
    ------
    MissingValues
        If the phase starts at a time that has symbols.
    """
    curriculum = problem.curriculum
    start = curriculum.starts[phase]
    if as_sympy(start).free_symbols:
        raise MissingValues(
            f"Phase {phase} starts at the flow time {start}, and this law has no closed form "
            f"through a phase of symbolic duration; give a number, or use the compiled law, "
            f"compile(values={{...}})."
        )
    phases = [
        replace(p, duration=_ANY) if p.duration and as_sympy(p.duration).free_symbols else p
        for p in curriculum.phases
    ]
    return replace(problem, curriculum=Curriculum(phases))


def within_phases(
    curriculum: Curriculum, clock: np.ndarray, position: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each phase that is reached, with the times since its start.

    Its end is the last one of them, save in the last phase and in one without end.
    """
    for k, start in enumerate(curriculum.starts):
        inside = clock[position == k] - start
        duration = curriculum.phases[k].duration
        endless = k + 1 == len(curriculum.phases) or duration is None
        local = inside if endless else np.append(inside, duration)
        if not local.size:
            break
        # Subtraction may leave a time just outside its phase.
        yield k, np.clip(local, 0.0, np.inf if endless else duration)


def through_phases(
    problem: Problem,
    clock: np.ndarray,
    position: np.ndarray,
    state: Any,
    advance: Callable[[int, Any, np.ndarray], tuple[np.ndarray, Any]],
) -> np.ndarray:
    """Carry a state through the curriculum, and return what is wanted at the times.

    Parameters
    ----------
    state : Any
        At the start.
    advance : callable
        (phase, state at its start, times since then) -> (values at the times, state at the last
        one).
    """
    rows = []
    for k, local in within_phases(problem.curriculum, clock, position):
        values, state = advance(k, state, local)
        rows.append(values[: int((position == k).sum())])
    return rows[0] if len(rows) == 1 else np.concatenate(rows)


def refuse_faint(sizes: np.ndarray, phase: int, there: np.ndarray | None = None) -> None:
    """Refuse modes at the start of a phase that floating point can no longer carry.

    Parameters
    ----------
    sizes : ndarray, shape (n_modes,)
        Sizes of what grows and shrinks exponentially; the law needs their squares.
    phase : int
    there : ndarray of bool, optional
        Which modes are not exactly 0; by default those whose size is not.

    Raises
    ------
    OutsideValidity
        If a mode that is there is smaller than 1e-120.
    """
    faint = (sizes > 0 if there is None else there) & (sizes < SMALLEST)
    if not faint.any():
        return
    k = int(np.argmax(faint))
    advice = (
        f"start it at {SMALLEST:.0e} or more, or at exactly 0"
        if phase == 0
        else "make the phases before it shorter, or ask for earlier times"
    )
    tiny = np.finfo(float).tiny
    size = f"{sizes[k]:.0e} or less" if sizes[k] >= tiny else "below the smallest number"
    raise OutsideValidity(
        f"Mode {k} has at the start of phase {phase} a part of amplitude {size}, "
        f"below the {SMALLEST:.0e} down to which its growth is computed; {advice}."
    )


def require_digits(phase: int, error: float, advice: str) -> None:
    """Refuse a phase in which rounding decides what is learned.

    Parameters
    ----------
    phase : int
    error : float
        Estimated, relative.
    advice : str
        What to start with.

    Raises
    ------
    OutsideValidity
        If the error is larger than 1e-6.
    """
    if not error <= LEAST_DIGITS:
        raise OutsideValidity(
            f"In phase {phase} rounding decides the trajectory (estimated relative error "
            f"{error:.0e}): what has to grow there has shrunk to a rounding of the weights, as "
            f"when a learned task is reversed and the weights are balanced. Ask for earlier times, "
            f"make the phases before it shorter, or {advice}."
        )


def no_samples(problem: Problem) -> Undetermined | None:
    """Return why there are no outputs on samples, or None if there are."""
    samples = [phase.task.X for phase in problem.curriculum.phases]
    if any(X is None for X in samples):
        return Undetermined("the task was given by moments and has no samples")
    if len({len(X) for X in samples}) > 1:
        return Undetermined("the tasks of the curriculum have different numbers of samples")
    return None


def running_inputs(problem: Problem, position: np.ndarray) -> np.ndarray:
    """Return the samples of the phase that runs at each time, (n_times, n_samples, n_inputs)."""
    samples = [phase.task.X for phase in problem.curriculum.phases]
    if len(samples) == 1:
        return np.broadcast_to(samples[0], (len(position), *samples[0].shape))
    return np.stack([samples[k] for k in position])
