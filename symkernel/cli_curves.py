"""Learning curves for the command line: of a law, and of gradient descent, until all is learned."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from symkernel.compiled_law import CompiledLaw
    from symkernel.trajectory import Trajectory

_STEPS = 4000
_CURVE_POINTS = 321
_MOST_DOUBLINGS = 60


def times_of(law: CompiledLaw) -> np.ndarray:
    """Return flow times of whole steps, until the law is learned."""
    return _learned_by(law) / _STEPS * np.round(np.linspace(0, _STEPS, _CURVE_POINTS))


def descent(law: CompiledLaw) -> Trajectory:
    """Return gradient descent on the problem of a law, until it is learned."""
    from symkernel.simulation import simulate

    problem, times = law.problem, times_of(law)
    return simulate(
        problem.network, problem.curriculum, problem.weights, times[-1] / _STEPS, record=times,
        loss=problem.loss, progress=sys.stderr.isatty(),
    )  # fmt: skip


def _learned_by(law: CompiledLaw) -> float:
    """Return a flow time at which the loss has all but settled."""
    curriculum = law.problem.curriculum
    if np.isfinite(curriculum.end):
        return float(curriculum.end)
    begun = curriculum.starts[-1]
    span = max(begun, 1e-3)
    for _ in range(_MOST_DOUBLINGS):
        start, now, later = law([0.0, begun + span, begun + 2 * span]).loss
        if start - later > 0 and abs(now - later) <= 1e-4 * (start - later):
            break
        span *= 2
    return float(begun + span)
