r"""Numbers of gated networks: modes, frames and amplitudes, and how far they are from the laws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from symkernel.errors import NoClosedForm
from symkernel.problem.contexts import Context, contexts_of
from symkernel.problem.modes import Basis
from symkernel.problem.pathways import Pathway, stacked_basis
from symkernel.problem.problem import Problem
from symkernel.theory.mode_state import over_variances
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
        flow = pathway_flow(net, problem.squared_error, contexts[0])
        first, after = _two_sides(problem, flow, len(contexts[0]))
        basis = stacked_basis(contexts, first, after)
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
        back from the output; where both are rounding it is 0. Hidden frames are orthonormal: what
        two directions have in common is left to `skew`.
        """
        arrays, modes = self.problem.weights.arrays, self.s.shape[1]
        found = {}
        for pathway in self.pathways:
            for k in range(len(self.U)):
                names = pathway.path(k)
                forward, backward = [self.V[:, :modes]], [self.U[k]]
                for name in names[:-1]:
                    forward.append(self._orthonormal(arrays[name] @ forward[-1]))
                for name in names[:0:-1]:
                    backward.append(self._orthonormal(arrays[name].T @ backward[-1]))
                frames = [self.V[:, :modes]]
                for layer, name in enumerate(names[:-1]):
                    there = arrays[name] @ forward[layer]
                    back = arrays[names[layer + 1]].T @ backward[-layer - 2]
                    longer = np.linalg.norm(there, axis=0) >= np.linalg.norm(back, axis=0)
                    frames.append(self._orthonormal(np.where(longer, there, back)))
                frames.append(self.U[k])
                for layer, name in enumerate(names):
                    found[k, name] = (frames[layer + 1], frames[layer])
        return found

    def _orthonormal(self, vectors: np.ndarray) -> np.ndarray:
        """Return columns made orthonormal, the longest first; those of mere rounding become 0."""
        lengths = np.linalg.norm(vectors, axis=0)
        order = np.argsort(-lengths, kind="stable")
        clear = lengths[order] > self.rounding * lengths.max(initial=0.0)
        kept = order[clear][: len(vectors)]
        q, triangle = np.linalg.qr(vectors[:, kept])
        found = np.zeros_like(vectors)
        found[:, kept] = q * np.where(np.diag(triangle) < 0, -1.0, 1.0)
        return found

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
        """Input covariance of a context outside the common diagonal, relative to its variances."""
        worst = 0.0
        for contexts in self.contexts:
            level = np.diag(_variances(contexts, self.V))
            for context in contexts:
                off = self.V.T @ context.Sxx @ self.V - level
                noise = self.rounding * float(np.linalg.norm(context.Sxx, 2))
                worst = max(worst, over_variances(off, np.diag(level), noise))
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
        """Part of a weight that is not diagonal in its frames, relative.

        Column by column and row by row as a sine, each over the amplitude of its own mode, after
        rounding is taken off; what acts outside all modes counts relative to the whole weight.
        """
        arrays, worst = self.problem.weights.arrays, 0.0
        for pathway, rows in zip(self.pathways, self.amplitudes_in_contexts, strict=True):
            for layer, names in enumerate(pathway.layers):
                for k, name in enumerate(names):
                    left, right = self.sides[k, name]
                    own, size = np.abs(rows[layer, k]), float(np.linalg.norm(arrays[name], 2))
                    rest = arrays[name] - (left * rows[layer, k]) @ right.T
                    worst = max(worst, float(np.linalg.norm(rest, 2)) / max(size, _TINY))
                    for part in (rest @ right, rest.T @ left):
                        aside = np.linalg.norm(part, axis=0) - self.rounding * size
                        sines = np.maximum(aside, 0.0) / np.maximum(np.hypot(own, aside), _TINY)
                        worst = max(worst, float(sines.max(initial=0.0)))
        return max(worst, self._parted)

    @property
    def _parted(self) -> float:
        """Distance between the directions in which a shared weight ends in two of its contexts.

        A weight of amplitude 0 shows none of them itself, but its gradient does.
        """
        arrays, worst = self.problem.weights.arrays, 0.0
        for pathway, rows in zip(self.pathways, self.amplitudes_in_contexts, strict=True):
            for layer, names in enumerate(pathway.layers):
                near = slice(layer, layer + 2)
                strength = np.abs(rows[near]).max((0, 1))
                beside = [name for group in pathway.layers[near] for name in group]
                size = max(float(np.linalg.norm(arrays[name], 2)) for name in beside)
                noise = 2 * self.rounding * size / np.maximum(strength, _TINY)
                for k, name in enumerate(names):
                    gap = self.sides[k, name][0] - self.sides[names.index(name), name][0]
                    apart = np.where(strength > 0, np.linalg.norm(gap, axis=0) - noise, 0.0)
                    worst = max(worst, float(apart.max(initial=0.0)))
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
        """Pathways of a mode on the other side of 0 than the rest, over its largest pathway."""
        size = np.maximum(np.abs(self.modes).max(0), _TINY)
        return float((np.maximum(-self.modes * self.signs, 0.0) / size).max(initial=0.0))


def _in_one_order(phases: list[tuple[Context, ...]]) -> tuple[tuple[Context, ...], ...]:
    """Return the contexts of all phases in the order of the first one."""
    found = []
    for number, contexts in enumerate(phases):
        known = {context.key: context for context in contexts}
        if set(known) != {context.key for context in phases[0]}:
            raise NoClosedForm(
                f"Phase {number} has other contexts than phase 0; give every phase samples of all "
                f"contexts, or simulate."
            )
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
