"""Random problems of the laws of gated networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from symkernel.environments.contexts import contexts
from symkernel.problem import pathways
from symkernel.problem.contexts import contexts_of
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.network import Network
from symkernel.problem.pathways import pathways_of, stacked_basis
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.problem.weights import from_arrays

Structure = tuple[int, tuple[tuple[int, ...], ...], bool]
# Contexts, sharing of each pathway, and whether all contexts have the same targets. Few structures,
# because each is compiled for the judges.
TWO_LAYERS: tuple[Structure, ...] = (
    (2, ((2, 1),), False),
    (2, ((1, 1),), False),
    (4, ((2, 1),), False),
    (3, ((1, 3),), True),
)
RACES: tuple[Structure, ...] = (
    (2, ((2, 1), (1, 1)), False),
    (2, ((2, 2, 1),), False),
    (2, ((1, 1, 1), (2, 1)), False),
    (3, ((1, 1, 1, 3),), True),
)


def draw_gated(stream: np.random.Generator) -> Problem:
    """Draw a problem of two layers, amplitudes of any sign and imbalance, also of zero modes."""
    structure = TWO_LAYERS[int(stream.integers(len(TWO_LAYERS)))]
    task = _draw_task(stream, structure)
    modes = min(int(task.inputs), int(task.outputs))
    sides = 10 ** stream.uniform(-4, 0.5, (2, modes)) * stream.choice([-1, 1], (2, modes))
    seed = int(stream.integers(1 << 30))
    return gated_problem(structure, task, sides, int(stream.integers(modes, 9)), seed)


def draw_race(stream: np.random.Generator) -> Problem:
    """Draw balanced pathways, in parallel or deeper than two layers; at times two phases."""
    structure = RACES[int(stream.integers(len(RACES)))]
    task = _draw_task(stream, structure)
    modes = min(int(task.inputs), int(task.outputs))
    u = 10 ** stream.uniform(-3, 0.7, (len(structure[1]), modes))
    # A mode without any weights is a saddle, which the flow leaves by rounding.
    u[0, stream.random(modes) < 0.1 * (len(u) > 1)] = 0.0
    hidden, seed = int(stream.integers(modes, 9)), int(stream.integers(1 << 30))
    then = float(stream.uniform(0.3, 2)) if stream.random() < 0.3 else None
    return race_problem(structure, task, u, hidden, seed, then)


def _draw_task(stream: np.random.Generator, structure: Structure) -> Task:
    K, _, same = structure
    n_in, n_out = (int(v) for v in stream.integers(1, 7, 2))
    r = min(n_in, n_out)
    s = 10 ** stream.uniform(-3, 1, r)
    kind = stream.random(r)
    s[kind > 0.8] = s[0]
    s[kind < 0.2] = 0.0
    s[0] = s[0] or 1.0
    d = np.ones(n_in) if stream.random() < 0.5 else 10 ** stream.uniform(-1, 0.5, n_in)
    seed = int(stream.integers(1 << 30))
    return contexts(
        K, s, inputs=n_in, outputs=n_out, input_variance=d, same_targets=same, seed=seed
    )


def gated_problem(
    structure: Structure, task: Task, sides: np.ndarray, hidden: int, seed: int
) -> Problem:
    """Return aligned weights of two layers with these amplitudes (2, n_modes), of any sign."""
    K, sharing, _ = structure
    n_in, n_out = int(task.inputs), int(task.outputs)
    net = pathways.network(n_in, hidden, n_out, contexts=K, sharing=sharing)
    V, U = _frames(net, task)
    (pathway,) = pathways_of(net, [group.gates for group in contexts_of(net, task)])
    arrays: dict[str, np.ndarray] = {}
    frames: dict[str, np.ndarray] = {}
    stream = np.random.default_rng(seed)
    for k in range(K):
        first, second = pathway.path(k)
        # Contexts that share a weight have one hidden frame.
        joint = next((frames[name] for name in (first, second) if name in frames), None)
        if joint is None:
            joint = np.linalg.qr(stream.standard_normal((hidden, V.shape[1])))[0]
        frames[first] = frames[second] = joint
        arrays[first], arrays[second] = (joint * sides[0]) @ V.T, (U[k] * sides[1]) @ joint.T
    return Problem(net, Curriculum.of(task), from_arrays(net, arrays))


def race_problem(
    structure: Structure,
    task: Task,
    u: np.ndarray,
    hidden: int,
    seed: int,
    then: float | None,
) -> Problem:
    """Return balanced pathways with modes u (n_pathways, n_modes) and, if wanted, a second phase.

    `then` is the factor on the targets of the second phase.
    """
    K, sharing, _ = structure
    n_in, n_out = int(task.inputs), int(task.outputs)
    net = pathways.network(n_in, hidden, n_out, contexts=K, sharing=sharing)
    strengths = np.linalg.svd(contexts_of(net, task)[0].Syx)[1]
    used = int((strengths > 1e-12 * strengths[0]).sum())
    w0 = pathways.aligned(net, task, u=u[:, :used], seed=seed)
    if then is None:
        return Problem(net, Curriculum.of(task), w0)
    other = Task(task.X, then * task.Y, gates=task.gates)
    phases: Sequence[Phase] = (Phase(task, duration=2.0 / float(strengths[0])), Phase(other))
    return Problem(net, Curriculum(phases), w0)


def _frames(net: Network, task: Task) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return input and output directions of all modes, those without strength included."""
    groups = contexts_of(net, task)
    basis = stacked_basis([groups])
    modes = min(int(net.inputs), int(net.outputs))
    used = int((basis.s[0] > 1e-12 * basis.s[0][0]).sum())
    sides = []
    for group in groups:
        U = group.Syx @ basis.V[:, :used]
        U = U / np.linalg.norm(U, axis=0)
        full = np.linalg.qr(U, mode="complete")[0]
        full[:, :used] = U
        sides.append(full[:, :modes])
    return basis.V[:, :modes], sides
