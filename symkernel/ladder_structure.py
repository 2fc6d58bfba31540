"""Rung 6: what every trajectory of a chain of linear layers must be like, whatever the law."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from symkernel.formula import Law, Rung
from symkernel.problem import weights as make
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task

_TITLE = "structure"
_BOUND = 1e-9
_SEED = 1000
# A flow is followed up to this many time constants of its fastest direction.
_STIFFNESS = 1000.0


def horizon(problem: Problem, strength: float = 50.0) -> np.ndarray:
    r"""Return flow times that cover learning: $s_{\max} t \le$ `strength`, not too stiff.

    In a curriculum the last phase is covered, after all others.
    """
    task = problem.curriculum.phases[-1].task
    strongest = float(np.linalg.norm(task.Syx, 2))
    squares = sum(float(np.linalg.norm(w, 2)) ** 2 for w in problem.weights.arrays.values())
    fastest = max(strongest, squares * float(np.linalg.norm(task.Sxx, 2)))
    end = min(strength / strongest if strongest else np.inf, _STIFFNESS / fastest)
    end = end if np.isfinite(end) and end > 0 else 1.0
    phase = problem.curriculum.phases[-1]
    end = min(end, phase.duration) if phase.duration is not None else end
    return np.concatenate([[0.0], problem.curriculum.starts[-1] + np.geomspace(1e-3, 1, 14) * end])


def end_to_end(problem: Problem, weights: Any) -> np.ndarray:
    """Return the product of all layers at every time, (n_times, n_outputs, n_inputs)."""
    product = None
    for p in problem.network.parameters:
        layer = float(p.scale) * weights[p.name]
        product = layer if product is None else layer @ product
    return product  # type: ignore[return-value]


def counted(problems: int) -> str:
    """Return the number of problems in words."""
    return f"{problems} problem{'' if problems == 1 else 's'}"


def structure_rung(problems: list[Problem], law: Law) -> Rung:
    """Measure symmetry, conservation, equivariance and composition of a law's trajectories."""
    if not problems:
        return Rung(6, _TITLE, None, "the problem has symbols and no draws were asked for")
    accepted = [p for p in problems if all(v.holds for v in law.test(p))]
    if not accepted:
        return Rung(6, _TITLE, None, "the law's own test refused every problem")
    tests = {
        "NTK symmetric, PSD": _kernel,
        "conserved quantity": _conserved,
        "orthogonal equivariance": _equivariance,
        "flow(t1 + t2) = flow(t2) after flow(t1)": _composition,
        "one phase = no curriculum": _one_phase,
    }
    worst = {name: max(test(p, law) for p in accepted) for name, test in tests.items()}
    figure = ", ".join(f"{name} {value:.1e}" for name, value in worst.items())
    passed = all(value <= _BOUND for value in worst.values())
    return Rung(6, _TITLE, passed, f"{figure} ({counted(len(accepted))})", f"{_BOUND:.0e}")


def _times(problem: Problem) -> np.ndarray:
    # s t <= 10: later the weights only repeat themselves, and saddles amplify rounding.
    return horizon(problem, 10.0)[[0, 5, 9, 14]]


def _scale(weights: Any) -> float:
    return max(1.0, *(float(np.abs(w).max()) for w in weights.values()))


def _gap(left: Any, right: Any, scale: float) -> float:
    return max(float(np.abs(left[n] - right[n]).max()) for n in left) / scale


def _kernel(problem: Problem, law: Law) -> float:
    """Return asymmetry of the law's own NTK on samples, and how far below 0 its spectrum goes."""
    phases = [replace(phase, task=_with_samples(phase.task)) for phase in problem.curriculum.phases]
    sampled = replace(problem, curriculum=Curriculum(phases))
    worst = 0.0
    for kernel in law.trajectory(sampled, _times(problem)).ntk:
        matrix = kernel.reshape(kernel.shape[0] * kernel.shape[1], -1)
        size = float(np.abs(matrix).max()) or 1.0
        skew = float(np.abs(matrix - matrix.T).max()) / size
        lowest = float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[0]) / size
        worst = max(worst, skew, -lowest)
    return worst


def _with_samples(task: Task) -> Task:
    """Return a task with a few samples that has the same moments of inputs and targets."""
    sxx, syx = task.Sxx, task.Syx
    values, vectors = np.linalg.eigh(sxx)
    values = np.maximum(values, 0.0)
    root = vectors * np.sqrt(values * len(values))
    best = syx @ np.linalg.pinv(sxx, rcond=1e-12, hermitian=True)
    return Task(root.T, root.T @ best.T)


def _conserved(problem: Problem, law: Law) -> float:
    """Return how far W W^T - V^T V moves for each layer W and the layer V after it."""
    found = law.trajectory(problem, _times(problem)).weights
    layers = [found[p.name] for p in problem.network.parameters]
    worst = 0.0
    for first, second in pairwise(layers):
        kept = first @ first.transpose(0, 2, 1) - second.transpose(0, 2, 1) @ second
        worst = max(worst, float(np.abs(kept - kept[0]).max()) / _scale(found) ** 2)
    return worst


def _turned_task(task: Task, inputs: np.ndarray, outputs: np.ndarray) -> Task:
    sxx, syy = inputs @ task.Sxx @ inputs.T, outputs @ task.Syy @ outputs.T
    return Task.from_moments((sxx + sxx.T) / 2, outputs @ task.Syx @ inputs.T, (syy + syy.T) / 2)


def _equivariance(problem: Problem, law: Law) -> float:
    """Turn inputs, all hidden layers and outputs; the weights must turn with them."""
    stream = np.random.default_rng(_SEED)
    start = problem.weights.arrays
    names = [p.name for p in problem.network.parameters]
    sizes = [start[names[0]].shape[1], *(start[name].shape[0] for name in names)]
    turns = [np.linalg.qr(stream.standard_normal((n, n)))[0] for n in sizes]
    phases = [
        Phase(_turned_task(phase.task, turns[0], turns[-1]), phase.duration)
        for phase in problem.curriculum.phases
    ]

    def turn(weights: Any) -> dict[str, np.ndarray]:
        sides = zip(names, pairwise(turns), strict=True)
        return {name: left @ weights[name] @ right.T for name, (right, left) in sides}

    turned = replace(
        problem,
        curriculum=Curriculum(phases),
        weights=make.from_arrays(problem.network, list(turn(start).values())),
    )
    times = _times(problem)
    one, two = (law.trajectory(p, times).weights for p in (problem, turned))
    return _gap(turn(one), two, _scale(one))


def _composition(problem: Problem, law: Law) -> float:
    """Stop in the last phase, start again from the weights there."""
    times = _times(problem)
    middle = times[2]
    through = law.trajectory(problem, [middle, times[3]]).weights
    at_middle = [through[p.name][0] for p in problem.network.parameters]
    again = replace(
        problem,
        curriculum=Curriculum((Phase(problem.curriculum.phases[-1].task),)),
        weights=make.from_arrays(problem.network, at_middle),
    )
    rest = law.trajectory(again, [times[3] - middle]).weights
    return _gap({n: w[1:] for n, w in through.items()}, rest, _scale(through))


def _one_phase(problem: Problem, law: Law) -> float:
    """Cut the last phase into two phases of the same task."""
    times = _times(problem)
    phases = problem.curriculum.phases
    half = times[2] - problem.curriculum.starts[-1]
    cut = Curriculum((*phases[:-1], Phase(phases[-1].task, half), Phase(phases[-1].task, None)))
    one = law.trajectory(problem, times).weights
    two = law.trajectory(replace(problem, curriculum=cut), times).weights
    return _gap(one, two, _scale(one))
