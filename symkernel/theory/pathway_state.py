r"""Numbers of gated networks: modes, frames and amplitudes, and how far they are from the laws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from symkernel.errors import InvalidArgument, NoClosedForm
from symkernel.formula import Verdict
from symkernel.problem.contexts import Context, contexts_of, half_open
from symkernel.problem.modes import Basis
from symkernel.problem.nodes import Sum
from symkernel.problem.pathways import Pathway, pathways_of, stacked_basis
from symkernel.problem.problem import Problem
from symkernel.theory.mode_state import TOLERANCE
from symkernel.theory.pathway_flow import PathwayFlow, pathway_flow

_TINY = np.finfo(float).tiny
# Strengths below this share of the largest one count as none.
_NOTHING = 1e-12


@dataclass(frozen=True, eq=False)
class PathwayState:
    r"""Modes of the targets, and what the weights are in them.

    Attributes
    ----------
    problem : Problem
        With numbers.
    contexts : tuple of tuple of Context
        Of each phase, in the same order.
    flow : PathwayFlow
    V : ndarray, shape (n_inputs, n_inputs)
        Input directions as columns, those of the modes first.
    U : ndarray, shape (n_contexts, n_outputs, n_modes)
        Output directions of each context.
    s, d : ndarray, shape (n_phases, n_modes)
        Strengths and input variances.
    rounding : float
        By what share of a vector the directions are uncertain.
    """

    problem: Problem
    contexts: tuple[tuple[Context, ...], ...]
    flow: PathwayFlow
    V: np.ndarray
    U: np.ndarray
    s: np.ndarray
    d: np.ndarray
    rounding: float

    @classmethod
    def of(cls, problem: Problem) -> PathwayState:
        """Return the state at the start of the problem.

        Raises
        ------
        NoClosedForm
            If the network has no pathways, or the phases have different contexts.
        """
        net = problem.network
        contexts = _in_one_order(
            [contexts_of(net, phase.task) for phase in problem.curriculum.phases]
        )
        flow = pathway_flow(net, problem.loss, contexts[0])
        first, after = _two_sides(problem, flow, len(contexts[0]))
        basis = stacked_basis(net, contexts, first, after)
        modes = min(int(net.inputs), int(net.outputs))
        U, s = _output_frames(contexts, basis, after @ (first @ basis.V[:, :modes]))
        d = np.maximum([_variances(group, basis.V)[:modes] for group in contexts], 0.0)
        return cls(problem, contexts, flow, basis.V, U, s, d, basis.rounding)

    @property
    def pathways(self) -> tuple[Pathway, ...]:
        """The pathways of the network."""
        return self.flow.pathways

    @cached_property
    def sides(self) -> dict[tuple[int, str], tuple[np.ndarray, np.ndarray]]:
        """Frames (left, right) of each weight in each context, one column a mode.

        A hidden direction is taken from the longer of what comes from the input and what comes
        back from the output; where both are rounding it is 0.
        """
        arrays, modes = self.problem.weights.arrays, self.s.shape[1]
        found = {}
        for pathway in self.pathways:
            for k in range(len(self.U)):
                names = pathway.path(k)
                forward, backward = [self.V[:, :modes]], [self.U[k]]
                for name in names[:-1]:
                    forward.append(self._directions(arrays[name] @ forward[-1]))
                for name in names[:0:-1]:
                    backward.append(self._directions(arrays[name].T @ backward[-1]))
                frames = [self.V[:, :modes]]
                for layer, name in enumerate(names[:-1]):
                    there = arrays[name] @ forward[layer]
                    back = arrays[names[layer + 1]].T @ backward[-layer - 2]
                    longer = np.linalg.norm(there, axis=0) >= np.linalg.norm(back, axis=0)
                    frames.append(self._directions(np.where(longer, there, back)))
                frames.append(self.U[k])
                for layer, name in enumerate(names):
                    found[k, name] = (frames[layer + 1], frames[layer])
        return found

    def _directions(self, vectors: np.ndarray) -> np.ndarray:
        """Return columns of length 1, those that are mere rounding set to 0."""
        lengths = np.linalg.norm(vectors, axis=0)
        clear = lengths > self.rounding * lengths.max(initial=0.0)
        return np.where(clear, _unit(vectors), 0.0)

    @cached_property
    def amplitudes_in_contexts(self) -> list[np.ndarray]:
        """For each pathway the amplitudes (depth, n_contexts, n_modes)."""
        arrays, found = self.problem.weights.arrays, []
        for pathway in self.pathways:
            rows = np.zeros((pathway.depth, len(self.U), self.s.shape[1]))
            for layer, names in enumerate(pathway.layers):
                for k, name in enumerate(names):
                    left, right = self.sides[k, name]
                    a = ((arrays[name] @ right) * left).sum(0)
                    floor = self.rounding * float(np.linalg.norm(arrays[name], 2))
                    rows[layer, k] = np.where(np.abs(a) > floor, a, 0.0)
            found.append(rows)
        return found

    @cached_property
    def amplitudes(self) -> list[np.ndarray]:
        """For each pathway the amplitudes (depth, n_modes), means over contexts."""
        return [rows.mean(1) for rows in self.amplitudes_in_contexts]

    @cached_property
    def modes(self) -> np.ndarray:
        """The mode of each pathway, (n_pathways, n_modes)."""
        return np.array(
            [
                float(p.scale) * a.prod(0)
                for p, a in zip(self.pathways, self.amplitudes, strict=True)
            ]
        )

    @cached_property
    def shares(self) -> list[np.ndarray]:
        """The share of contexts that each layer serves, times its rate, as numbers."""
        return [np.array([float(c) for c in row]) for row in self.flow.shares]

    # ---- distances from the assumptions

    @property
    def uneven(self) -> float:
        """How far the shares of contexts are from equal, relative."""
        count = len(self.U)
        shares = [context.share for contexts in self.contexts for context in contexts]
        return float(np.abs(np.array(shares) * count - 1).max())

    @property
    def coloured(self) -> float:
        """Input covariance of a context outside the common diagonal, relative."""
        worst = 0.0
        for contexts in self.contexts:
            level = np.diag(_variances(contexts, self.V))
            for context in contexts:
                off = np.abs(self.V.T @ context.Sxx @ self.V - level).max()
                worst = max(worst, float(off) / max(float(np.linalg.norm(context.Sxx, 2)), _TINY))
        return worst

    @property
    def misaligned(self) -> float:
        """Targets of a context that are not in the common modes, at the common strengths."""
        worst, modes = 0.0, self.s.shape[1]
        for contexts, s in zip(self.contexts, self.s, strict=True):
            scale = max(float(np.abs(s).max()), _TINY)
            for k, context in enumerate(contexts):
                wanted = (self.U[k] * s) @ self.V[:, :modes].T
                worst = max(worst, float(np.abs(context.Syx - wanted).max()) / scale)
        held = (np.abs(self.s).max(0) > 0) | (np.abs(self.modes).max(0) > 0)
        for frame in self.U[:, :, held]:
            gram = frame.T @ frame - np.eye(frame.shape[1])
            worst = max(worst, float(np.abs(gram).max(initial=0.0)))
        return worst

    @cached_property
    def skew(self) -> float:
        """Part of a weight that is not diagonal in its frames, relative."""
        arrays, worst = self.problem.weights.arrays, 0.0
        for pathway, rows in zip(self.pathways, self.amplitudes_in_contexts, strict=True):
            for layer, names in enumerate(pathway.layers):
                for k, name in enumerate(names):
                    left, right = self.sides[k, name]
                    rest = arrays[name] - (left * rows[layer, k]) @ right.T
                    size = max(float(np.linalg.norm(arrays[name], 2)), _TINY)
                    worst = max(worst, float(np.linalg.norm(rest, 2)) / size)
        return worst

    @cached_property
    def apart(self) -> float:
        """Difference of a layer's amplitudes between contexts, relative."""
        worst = 0.0
        for rows in self.amplitudes_in_contexts:
            size = np.abs(rows).max(1, keepdims=True)
            gap = np.abs(rows - rows.mean(1, keepdims=True)) / np.maximum(size, _TINY)
            worst = max(worst, float(gap.max(initial=0.0)))
        return worst

    @cached_property
    def unbalanced(self) -> float:
        """Difference of squared amplitudes over shares between layers, relative."""
        worst = 0.0
        for a, c in zip(self.amplitudes, self.shares, strict=True):
            squares = a**2 / c[:, None]
            gap = np.abs(squares - squares.mean(0)) / np.maximum(squares.max(0), _TINY)
            worst = max(worst, float(gap.max(initial=0.0)))
        return worst

    @property
    def signs(self) -> np.ndarray:
        """The side of 0 on which the pathways of each mode are together, 1 or -1."""
        return np.where(self.modes.sum(0) < 0, -1.0, 1.0)

    @property
    def opposed(self) -> float:
        """Pathways of a mode on the other side of 0 than the rest, relative to the largest."""
        size = max(float(np.abs(self.modes).max(initial=0.0)), _TINY)
        return abs(float((self.modes * self.signs).min(initial=0.0))) / size


def _in_one_order(phases: list[tuple[Context, ...]]) -> tuple[tuple[Context, ...], ...]:
    """Return the contexts of all phases in the order of the first one."""
    found = []
    for number, contexts in enumerate(phases):
        known = {context.key: context for context in contexts}
        if set(known) != {context.key for context in phases[0]}:
            raise NoClosedForm(f"Phase {number} has other contexts than phase 0.")
        found.append(tuple(known[context.key] for context in phases[0]))
    return tuple(found)


def _two_sides(problem: Problem, flow: PathwayFlow, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the map to all first hidden layers, and the one from there to all outputs."""
    arrays, outputs = problem.weights.arrays, int(problem.network.outputs)
    first = dict.fromkeys(name for p in flow.pathways for name in p.layers[0])
    starts = np.cumsum([0, *(arrays[name].shape[0] for name in first)])
    place = dict(zip(first, starts, strict=False))
    after = np.zeros((count * outputs, starts[-1]))
    for pathway in flow.pathways:
        for k in range(count):
            names = pathway.path(k)
            rest = np.eye(arrays[names[0]].shape[0]) * float(pathway.scale)
            for name in names[1:]:
                rest = arrays[name] @ rest
            begin = place[names[0]]
            after[k * outputs : (k + 1) * outputs, begin : begin + rest.shape[1]] += rest
    return np.concatenate([arrays[name] for name in first]), after


def _output_frames(
    contexts: Sequence[Sequence[Context]], basis: Basis, led: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the output directions of each context, and the strengths in each phase.

    A mode without strength has the directions to which the weights lead, `led`, or none.
    """
    count, outputs = len(contexts[0]), contexts[0][0].Syx.shape[0]
    modes = led.shape[1]
    images = np.array(
        [[context.Syx @ basis.V[:, :modes] for context in group] for group in contexts]
    )
    lengths = np.linalg.norm(images, axis=2)
    best = lengths.sum(1).argmax(0)
    strongest = max(float(lengths.max()), _TINY)
    led = led.reshape(count, outputs, modes)
    floor = basis.rounding * float(np.linalg.norm(led, axis=1).max(initial=0.0))
    U = np.zeros((count, outputs, modes))
    for i in range(modes):
        there = images[best[i], :, :, i]
        if lengths[best[i], :, i].min() <= _NOTHING * strongest:
            there = np.where(np.linalg.norm(led[:, :, i]) > floor, led[:, :, i], 0.0)
        U[:, :, i] = _unit(there.T).T
    s = np.einsum("koi,pkoi->pi", U, images) / count
    s[np.abs(s) < 1e-15 * strongest] = 0.0
    return U, s


def _variances(contexts: Sequence[Context], V: np.ndarray) -> np.ndarray:
    return np.mean([np.einsum("ij,ik,kj->j", V, c.Sxx, V) for c in contexts], axis=0)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Return columns of length 1; those of length 0 stay."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=0), _TINY)


# ---- verdicts


_ASSUMPTIONS: tuple[tuple[str, str, str], ...] = (
    ("contexts are equally frequent", "uneven", "weight the samples of the contexts alike"),
    (
        "inputs have one covariance in all contexts, diagonal in the modes",
        "coloured",
        "whiten the inputs of each context, which changes the dynamics, or simulate",
    ),
    (
        "targets of all contexts have the same input directions and strengths",
        "misaligned",
        "simulate",
    ),
    (
        "weights are diagonal in frames that match from layer to layer",
        "skew",
        "start from sk.pathways.aligned(net, task, ...) or simulate",
    ),
    ("a layer has the same amplitudes in all contexts", "apart", "start all contexts alike"),
)
BALANCED = (
    "the layers of each pathway are balanced",
    "unbalanced",
    "start from sk.pathways.aligned(net, task, ...); two layers alone need no balance",
)
ONE_SIDED = (
    "the pathways of each mode start on one side of 0",
    "opposed",
    "change the sign of the last layer of one of them",
)


def pathway_verdicts(
    law: str,
    problem: Problem,
    structure: Callable[[tuple[Pathway, ...]], str],
    further: tuple[tuple[str, str, str], ...] = (),
) -> tuple[Verdict, ...]:
    """Test the assumptions of a law of gated networks, with distances and advice.

    Parameters
    ----------
    structure : callable
        Pathways -> what is wrong with them for the law, or "".
    further : tuple of (words, attribute of the state, advice)
        Assumptions of this law alone.
    """
    first = _structure_verdicts(law, problem, structure)
    if not all(verdict.holds for verdict in first):
        return first
    try:
        state = PathwayState.of(problem)
    except NoClosedForm as error:
        words = "weights of one layer learn alike, in the same contexts in all phases"
        return (*first, Verdict(law, words, False, np.inf, 0.0, str(error)))
    measured = []
    for words, name, advice in (*_ASSUMPTIONS, *further):
        far = float(getattr(state, name))
        measured.append(Verdict(law, words, far <= TOLERANCE, far, TOLERANCE, advice))
    return (*first, *measured)


def _structure_verdicts(
    law: str, problem: Problem, structure: Callable[[tuple[Pathway, ...]], str]
) -> tuple[Verdict, ...]:
    """Test what does not depend on the weights."""

    def refused(words: str, advice: str, far: float = np.inf) -> tuple[Verdict, ...]:
        return (Verdict(law, words, False, far, 0.0, advice),)

    network, tasks = problem.network, [phase.task for phase in problem.curriculum.phases]
    if not network.gates and not any(isinstance(node, Sum) for node in network.order):
        return refused("the network has gates or parallel pathways", "see the other laws")
    if not problem.is_numeric:
        return refused("the problem has numbers", "give numbers; the law itself is in symbols")
    if any(task.Syx is None for task in tasks):
        return refused("the tasks' second moments are known", "give samples, or simulate")
    words = "in every context the network is a sum of products of trained weights"
    try:
        ajar = max(half_open(network, task) for task in tasks)
        pathways = pathways_of(network, [c.gates for c in contexts_of(network, tasks[0])])
    except (NoClosedForm, InvalidArgument) as error:
        return refused(words, str(error))
    text = "every gate is open or closed for a whole layer"
    gates = Verdict(law, text, ajar <= TOLERANCE, ajar, TOLERANCE, "simulate")
    found, wrong = "; ".join(map(str, pathways)), structure(pathways)
    decay = problem.loss.weight_decay
    further = refused("no weight decay", "leave it out, or simulate", float(decay))
    far = np.inf if wrong else 0.0
    return (
        gates,
        Verdict(law, f"{words}: {found}", not wrong, far, 0.0, wrong),
        *(further if decay != 0 else ()),
    )
