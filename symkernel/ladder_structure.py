"""Rung 6: what every trajectory of a chain of linear layers must be like, whatever the law."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np

from symkernel.check_report import Rung
from symkernel.formula import Law
from symkernel.ladder_networks import conserved_gap, equivariance_gap, turned_task
from symkernel.problem import weights as make
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.trajectory import Trajectory

_TITLE = "structure"
_BOUND = 1e-9
_SEED = 1000
_PRODUCTS = ("end_to_end", "input_gram", "readout_gram")
# A flow is followed up to this many time constants of its fastest direction.
_STIFFNESS = 1000.0
# Times in each phase before the last.
_EARLIER = 6


def horizon(problem: Problem, strength: float = 50.0) -> np.ndarray:
    r"""Return flow times that cover learning: $s_{\max} t \le$ `strength`, not too stiff.

    In a curriculum every phase is covered, the last one most densely.
    """
    starts, phases = problem.curriculum.starts, problem.curriculum.phases
    earlier = [
        start + np.linspace(0.0, 1.0, _EARLIER, endpoint=False) * phase.duration
        for start, phase in zip(starts, phases[:-1], strict=False)
    ]
    task = phases[-1].task
    strongest = float(np.linalg.norm(task.Syx, 2))
    squares = sum(float(np.linalg.norm(w, 2)) ** 2 for w in problem.weights.arrays.values())
    fastest = max(strongest, squares * float(np.linalg.norm(task.Sxx, 2)))
    end = min(strength / strongest if strongest else np.inf, _STIFFNESS / fastest)
    end = end if np.isfinite(end) and end > 0 else 1.0
    end = min(end, phases[-1].duration) if phases[-1].duration is not None else end
    last = starts[-1] + np.append(0.0, np.geomspace(1e-3, 1, 14)) * end
    return np.concatenate([*earlier, last])


def end_to_end(problem: Problem, weights: Any) -> np.ndarray:
    """Return the product of all layers at every time, (n_times, n_outputs, n_inputs)."""
    layers = (float(p.scale) * weights[p.name] for p in problem.network.parameters)
    return reduce(lambda product, layer: layer @ product, layers)


def determined(found: Trajectory) -> dict[str, np.ndarray]:
    """Return the weights of a trajectory and their products, as far as the law knows them."""
    weights = dict(found.weights) if "weights" in found.available else {}
    held = (name for name in _PRODUCTS if name in found.available)
    return {**weights, **{name: getattr(found, name) for name in held}}


def products(problem: Problem, weights: Any) -> dict[str, np.ndarray]:
    """Return what does not depend on rotations of the hidden layer, of chains of layers."""
    if not problem.network.is_chain:
        return {}
    layers = [weights[p.name] for p in problem.network.parameters]
    first, second = layers[0], layers[-1]
    grams = first.swapaxes(-1, -2) @ first, second @ second.swapaxes(-1, -2)
    return dict(zip(_PRODUCTS, (end_to_end(problem, weights), *grams), strict=True))


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
    tests: dict[str, Callable[[Problem, Law], float | None]] = {
        "NTK symmetric, PSD": _kernel,
        "conserved quantity": _conserved,
        "orthogonal equivariance": _equivariance,
        "flow(t1 + t2) = flow(t2) after flow(t1)": _composition,
        "one phase = no curriculum": _one_phase,
    }
    return measured_rung(tests, accepted, law, _BOUND)


Tests = Mapping[str, Callable[[Problem, Law], float | None]]


def measured_rung(tests: Tests, problems: list[Problem], law: Law, bound: float) -> Rung:
    """Return rung 6 with the largest value of each test over the problems."""
    worst: dict[str, float] = {}
    for name, test in tests.items():
        measured = [value for p in problems if (value := test(p, law)) is not None]
        # What no network of the class has is left out: it is not 0, it is not there.
        if measured:
            worst[name] = max(measured)
    figure = ", ".join(f"{name} {value:.1e}" for name, value in worst.items())
    passed = all(value <= bound for value in worst.values())
    return Rung(6, _TITLE, passed, f"{figure} ({counted(len(problems))})", f"{bound:.0e}")


def _times(problem: Problem) -> np.ndarray:
    # s t <= 10: later the weights only repeat themselves, and saddles amplify rounding.
    return horizon(problem, 10.0)[[0, -10, -6, -1]]


def _scale(weights: Any) -> float:
    return max(1.0, *(float(np.abs(w).max()) for w in weights.values()))


def _gap(left: Any, right: Any, scale: float) -> float:
    return max(float(np.abs(left[n] - right[n]).max()) for n in left) / scale


def _kernel(problem: Problem, law: Law) -> float:
    """Return asymmetry of the law's own NTK on samples, and how far below 0 its spectrum goes."""
    phases = [replace(phase, task=with_samples(phase.task)) for phase in problem.curriculum.phases]
    sampled = replace(problem, curriculum=Curriculum(phases))
    return kernel_defect(law.trajectory(sampled, _times(problem)).ntk)


def kernel_defect(kernels: np.ndarray) -> float:
    """Return the asymmetry of tangent kernels, or how far below 0 a spectrum goes; relative."""
    worst = 0.0
    for kernel in kernels:
        matrix = kernel.reshape(kernel.shape[0] * kernel.shape[1], -1)
        size = float(np.abs(matrix).max()) or 1.0
        skew = float(np.abs(matrix - matrix.T).max()) / size
        lowest = float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[0]) / size
        worst = max(worst, skew, -lowest)
    return worst


def with_samples(task: Task) -> Task:
    """Return a task with a few samples that has the same moments of inputs and targets."""
    if task.gates:
        return task
    sxx, syx = task.Sxx, task.Syx
    values, vectors = np.linalg.eigh(sxx)
    values = np.maximum(values, 0.0)
    root = vectors * np.sqrt(values * len(values))
    best = syx @ np.linalg.pinv(sxx, rcond=1e-12, hermitian=True)
    return Task(root.T, root.T @ best.T)


def _conserved(problem: Problem, law: Law) -> float | None:
    r"""Return how far W W^T/r - V^T V/r' moves for each layer W and the layer V after it.

    r and r' are their learning rates; under weight decay it falls exponentially, if they are equal.
    """
    times = _times(problem)
    if problem.network.gates:
        return conserved_gap(problem, law, times)
    if not problem.network.is_chain:
        return None
    rates = [float(p.rate) for p in problem.network.parameters]
    if problem.loss.weight_decay != 0 and len(set(rates)) > 1:
        return None
    trajectory = law.trajectory(problem, times)
    fall = np.exp(-2 * float(problem.loss.weight_decay) * rates[0] * times)
    found = determined(trajectory)
    if set(found) == set(_PRODUCTS):
        traces = [np.trace(found[name], axis1=1, axis2=2) for name in _PRODUCTS[1:]]
        pairs = [traces[0] / rates[0] - traces[1] / rates[1]]
        size = max(1.0, *(float(np.abs(trace).max()) for trace in traces))
    else:
        layers = [found[p.name] for p in problem.network.parameters]
        pairs = [
            first @ first.transpose(0, 2, 1) / r - second.transpose(0, 2, 1) @ second / q
            for (first, second), (r, q) in zip(pairwise(layers), pairwise(rates), strict=True)
        ]
        size = _scale(found) ** 2
    moved = (np.abs(kept.T - kept[0].T[..., None] * fall).max() for kept in pairs)
    return float(max(moved, default=0.0)) / size


def _equivariance(problem: Problem, law: Law) -> float | None:
    """Turn inputs, all hidden layers and outputs; the weights must turn with them."""
    if problem.network.gates:
        return equivariance_gap(problem, law, _times(problem), _SEED)
    if not problem.network.is_chain:
        return None
    stream = np.random.default_rng(_SEED)
    start = problem.weights.arrays
    names = [p.name for p in problem.network.parameters]
    sizes = [start[names[0]].shape[1], *(start[name].shape[0] for name in names)]
    turns = [np.linalg.qr(stream.standard_normal((n, n)))[0] for n in sizes]
    phases = [
        Phase(turned_task(phase.task, turns[0], turns[-1]), phase.duration)
        for phase in problem.curriculum.phases
    ]
    sides = {
        name: (left, right) for name, (right, left) in zip(names, pairwise(turns), strict=True)
    }
    ends = turns[0], turns[-1]
    sides |= dict(zip(_PRODUCTS, ((ends[1], ends[0]), ends[:1] * 2, ends[1:] * 2), strict=True))

    def turn(matrices: Any) -> dict[str, np.ndarray]:
        return {n: sides[n][0] @ matrix @ sides[n][1].T for n, matrix in matrices.items()}

    turned = replace(
        problem,
        curriculum=Curriculum(phases),
        weights=make.from_arrays(problem.network, list(turn(start).values())),
    )
    times = _times(problem)
    one, two = (determined(law.trajectory(p, times)) for p in (problem, turned))
    return _gap(turn(one), two, _scale(one))


def _composition(problem: Problem, law: Law) -> float:
    """Stop in the last phase, start again from the weights there.

    A law that knows products of the weights only starts again from the integrated flow.
    """
    times = _times(problem)
    middle = times[2]
    through = law.trajectory(problem, [middle, times[3]])
    if "weights" in through.available:
        weights = through.weights
    else:
        from symkernel.simulation.flow import integrate_flow

        weights = integrate_flow(problem, [middle]).weights
    again = replace(
        problem,
        curriculum=Curriculum((Phase(problem.curriculum.phases[-1].task),)),
        weights=make.from_arrays(problem.network, {n: w[0] for n, w in weights.items()}),
    )
    rest = determined(law.trajectory(again, [times[3] - middle]))
    found = determined(through)
    return _gap({n: w[1:] for n, w in found.items()}, rest, _scale(found))


def _one_phase(problem: Problem, law: Law) -> float:
    """Cut the last phase into two phases of the same task."""
    times = _times(problem)
    cut = cut_in_two(problem, times[2])
    one, two = (determined(law.trajectory(p, times)) for p in (problem, cut))
    return _gap(one, two, _scale(one))


def cut_in_two(problem: Problem, time: float) -> Problem:
    """Return a problem whose last phase is two phases of its task, the second without end."""
    *before, last = problem.curriculum.phases
    first = Phase(last.task, time - problem.curriculum.starts[-1])
    return replace(problem, curriculum=Curriculum([*before, first, Phase(last.task)]))
