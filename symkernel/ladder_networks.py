"""Rung 6 for networks with pathways: what is conserved, and turning every layer.

For chains of layers this is in `ladder_structure`; here the structure is that of
`problem.pathways`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from symkernel.formula import Law
from symkernel.problem import weights as make
from symkernel.problem.contexts import contexts_of
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.pathways import pathways_of
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.theory.pathway_flow import pathway_flow
from symkernel.theory.words import Words


def conserved_gap(problem: Problem, law: Law, times: np.ndarray) -> float:
    """Return how far the derived conserved quantities move along a law's trajectory, relative."""
    contexts = contexts_of(problem.network, problem.curriculum.phases[0].task)
    system = pathway_flow(problem.network, problem.squared_error, contexts).system
    found = law.trajectory(problem, times).weights
    size = max(1.0, *(float(np.abs(w).max()) for w in found.values())) ** 2
    worst = 0.0
    for words in system.conserved:
        kept = _value(words, found)
        worst = max(worst, float(np.abs(kept - kept[0]).max()) / size)
    return worst


def _value(words: Words, weights: Any) -> np.ndarray:
    """Return a sum of products of weights at every time."""
    total: Any = 0.0
    for word, coefficient in words.terms.items():
        product: Any = None
        for name, flipped in word:
            factor = weights[name].swapaxes(-1, -2) if flipped else weights[name]
            product = factor if product is None else product @ factor
        total = total + float(coefficient) * product
    return np.asarray(total)


def equivariance_gap(problem: Problem, law: Law, times: np.ndarray, seed: int) -> float:
    """Turn inputs, outputs and all hidden layers; return how far the weights do not turn along."""
    stream, net = np.random.default_rng(seed), problem.network
    gating = [c.gates for c in contexts_of(net, problem.curriculum.phases[0].task)]
    shapes = {p.name: (int(p.shape[0]), int(p.shape[1])) for p in net.parameters}

    def turn(size: int) -> np.ndarray:
        return np.linalg.qr(stream.standard_normal((size, size)))[0]

    first, last = turn(int(net.inputs)), turn(int(net.outputs))
    sides: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for pathway in pathways_of(net, gating):
        hidden = [turn(shapes[layer[0]][0]) for layer in pathway.layers[:-1]]
        turns = [first, *hidden, last]
        for layer, names in enumerate(pathway.layers):
            sides |= dict.fromkeys(names, (turns[layer + 1], turns[layer]))

    def turned(weights: Any) -> dict[str, np.ndarray]:
        return {name: sides[name][0] @ w @ sides[name][1].T for name, w in weights.items()}

    phases = [
        Phase(turned_task(phase.task, first, last), phase.duration)
        for phase in problem.curriculum.phases
    ]
    other = replace(
        problem,
        curriculum=Curriculum(phases),
        weights=make.from_arrays(net, turned(problem.weights.arrays)),
    )
    one, two = (law.trajectory(p, times).weights for p in (problem, other))
    size = max(1.0, *(float(np.abs(w).max()) for w in one.values()))
    gaps = turned(one)
    return max(float(np.abs(gaps[name] - two[name]).max()) for name in two) / size


def turned_task(task: Task, inputs: np.ndarray, outputs: np.ndarray) -> Task:
    """Return the task with inputs and outputs turned; moments are all that some tasks have."""
    if task.X is None:
        sxx, syy = inputs @ task.Sxx @ inputs.T, outputs @ task.Syy @ outputs.T
        syx = outputs @ task.Syx @ inputs.T
        return Task.from_moments((sxx + sxx.T) / 2, syx, (syy + syy.T) / 2)
    return Task(
        task.X @ inputs.T,
        task.Y @ outputs.T,
        sample_weights=task.sample_weights,
        gates=task.gates,
    )
