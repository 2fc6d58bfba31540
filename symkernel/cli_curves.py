"""Learning curves for the command line: of a law, and of gradient descent, until all is learned."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from symkernel.errors import InvalidArgument

if TYPE_CHECKING:
    from symkernel.compiled_law import CompiledLaw
    from symkernel.derivation import Derivation
    from symkernel.problem_file import ProblemFile
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


def run_of(file: ProblemFile) -> Trajectory:
    """Return the run that a file asks for."""
    from symkernel.simulation import simulate

    if file.simulation is None:
        raise InvalidArgument(
            f"{file.path}: key 'simulate' is missing; it must be a table with learning_rate and "
            f"steps."
        )
    p = file.numeric
    with file.blame("simulate"):
        return simulate(
            p.network, p.curriculum, p.weights, **file.simulation, loss=p.loss,
            progress=sys.stderr.isatty(),
        )  # fmt: skip


def figure_of(derivation: Derivation, file: ProblemFile | None, judged: bool) -> Any:
    """Draw a law that has numbers, with gradient descent over it where it is judged."""
    from symkernel.report.figures import learning_curves

    if file is None:
        law = derivation.compile()
    else:
        with file.blame("values"):
            law = derivation.compile({} if derivation.problem.is_numeric else file.values)
    if not judged:
        return learning_curves(law(times_of(law)))
    run = run_of(file) if file is not None and file.simulation is not None else descent(law)
    # Phases of a curriculum are rounded to whole steps, which moves the times of the records.
    return learning_curves(law(run.times), run)


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
