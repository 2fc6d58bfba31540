r"""Where the frozen kernel can be trusted: how far the kernel would move while it learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from symkernel.formula import Verdict
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.nodes import Gate
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.theory.frozen_path import Clock, movement, systems_of, through
from symkernel.theory.frozen_system import LinearSystem

# A kernel that moves by as much as itself is no longer the one that was frozen.
TOO_FAR = 1.0
# What is learned of all that can be learned when the movement is looked at.
_LEARNED = 0.99
# Outputs of samples on which the movement is predicted, and times that are tried.
_LOOKED_AT, _GRID = 512, 41
_SPAN = (1e-2, 1e6)
_SEED = 1000


def verdicts(law: str, problem: Problem) -> tuple[Verdict, ...]:
    """Return what the frozen law needs, and with numbers how far its kernel would move."""
    found = needs(law, problem)
    # Where a phase ends the movement is known only with its duration.
    known = all(v.holds for v in found) and problem.is_numeric
    return (*found, moving(law, problem)) if known else found


def needs(law: str, problem: Problem) -> tuple[Verdict, ...]:
    """Return what any law of a linearised network needs, up to the first that fails."""

    def whether(words: str, holds: bool, advice: str) -> Verdict:
        return Verdict(law, words, holds, 0.0 if holds else float("inf"), 0.0, advice)

    tasks = [phase.task for phase in problem.curriculum.phases]
    net = problem.network
    gates = {node.name for node in net.order if isinstance(node, Gate)}
    tests = [
        whether(
            "sizes, tasks and weights are numbers", problem.is_numeric_but_for_durations,
            "the Jacobians of a network are numbers; give values for all symbols",
        ),
        whether(
            "every task is given by samples", all(task.X is not None for task in tasks),
            "what a nonlinear network learns depends on the samples; give them, not their moments "
            "or a teacher",
        ),
        whether(
            "squared error without weight decay", problem.loss.weight_decay == 0,
            "leave weight_decay out, or simulate",
        ),
        whether(
            "some parameter is trained", any(p.trained for p in net.parameters),
            "train at least one parameter",
        ),
        whether(
            "the tasks hold the gates of the network", all(gates <= set(t.gates) for t in tasks),
            "give them with the samples, sk.Task(X, Y, gates=...)",
        ),
    ]  # fmt: skip
    failing = [k for k, verdict in enumerate(tests) if not verdict.holds]
    return tuple(tests[: failing[0] + 1] if failing else tests)


def moving(law: str, problem: Problem) -> Verdict:
    """Return how far the kernel would move, which is no condition but a domain."""
    found, words = predicted_movement(problem)
    warning = ""
    if not found < TOO_FAR:
        warning = f"WORTHLESS HERE: the kernel would move by {found:.2g} times itself"
    return Verdict(law, words, True, found, TOO_FAR, warning=warning)


def predicted_movement(problem: Problem) -> tuple[float, str]:
    """Return the largest relative movement of the kernel that the law predicts, and where.

    It is looked at where each phase ends, and where 99 % is learned of what the last one can
    teach. Where there are many samples two draws are looked at that have none in common, and the
    larger movement counts.
    """
    few, words = thinned(problem)
    found = [_movement(few)]
    if few is not problem:
        found.append(_movement(thinned(problem, 1)[0]))
        words += f", in two draws: {found[0]:.2g} and {found[1]:.2g}"
    looked = f" ({words})" if words else ""
    return max(found), f"the kernel moves little until {_LEARNED:.0%} is learned{looked}"


def _movement(problem: Problem) -> float:
    weights = problem.weights.arrays
    systems = systems_of(problem, weights)
    times, first = _times(problem)
    clock = Clock.of(problem.curriculum, times, None)
    flats, _ = through(problem, clock, systems)
    losses = systems[-1].losses(flats[first:])
    late = losses[-1] + (1 - _LEARNED) * (losses[0] - losses[-1])
    # The end of the phase before the last one is the time at which the last one starts.
    chosen = [*range(1, first + 1), first + int(np.argmax(losses <= late))]
    worst = 0.0
    for row in chosen:
        moved = systems[0].layout.moved(weights, flats[row])
        worst = max(worst, movement(systems[clock.position[row]].tangent, moved))
    return worst


def _times(problem: Problem) -> tuple[np.ndarray, int]:
    """Return the ends of all phases but the last, then times in it; and where these begin."""
    last, start = problem.curriculum.phases[-1], problem.curriculum.starts[-1]
    system = systems_of(problem, problem.weights.arrays)[-1]
    within = np.geomspace(*_SPAN, _GRID) / (system.mean_rate() or 1.0)
    if last.duration is not None:
        within = np.append(within[within < last.duration], last.duration)
    ends = np.array(problem.curriculum.starts)
    return np.concatenate([ends, start + within]), len(ends) - 1


def thinned(problem: Problem, draw: int = 0) -> tuple[Problem, str]:
    """Return the problem on some samples if it has many, and words that say so.

    One is drawn from each of as many groups as there may be samples, of those that are as far from
    their targets as one another. Draws 0 and 1 have none in common where groups have two.
    """
    most = max(1, _LOOKED_AT // int(problem.network.outputs))
    largest = max(len(phase.task.X) for phase in problem.curriculum.phases)
    if largest <= most:
        return problem, ""
    kept: dict[int, Task] = {}
    phases = []
    for phase in problem.curriculum.phases:
        if id(phase.task) not in kept:
            kept[id(phase.task)] = _few(problem, phase.task, most, draw)
        phases.append(Phase(kept[id(phase.task)], phase.duration))
    words = f"looked at on {most} of {largest} samples"
    return replace(problem, curriculum=Curriculum(phases)), words


def _few(problem: Problem, task: Task, most: int, draw: int) -> Task:
    if len(task.X) <= most:
        return task
    tangent = LinearSystem.of(problem, task, problem.weights.arrays).tangent
    far = np.linalg.norm(tangent.values[tangent.net.output] - task.Y, axis=1)
    stream = np.random.default_rng(_SEED)
    # Equal distances are in no order of the task's own: it may be periodic.
    order = stream.permutation(len(task.X))
    order = order[np.argsort(far[order], kind="stable")]
    groups = [stream.permutation(group) for group in np.array_split(order, most)]
    rows = np.array([group[min(draw, len(group) - 1)] for group in groups])
    weights = task.sample_weights
    if weights is not None:
        weights = np.array([weights[group].sum() for group in groups])
    gates = {name: gate[rows] for name, gate in task.gates.items()}
    return Task(task.X[rows], task.Y[rows], sample_weights=weights, gates=gates)
