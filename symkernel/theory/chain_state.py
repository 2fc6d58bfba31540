"""Numbers of a chain of linear layers: directions and amplitudes of its modes, and distances."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np

from symkernel import notation
from symkernel.formula import Verdict
from symkernel.problem.modes import Basis, common_basis
from symkernel.problem.problem import Problem
from symkernel.theory.chain_flow import ChainFlow, chain_flow, chain_word
from symkernel.theory.compact_weights import compact
from symkernel.theory.mode_state import (
    TOLERANCE,
    decay_verdict,
    moments_verdict,
    network_verdict,
    off_diagonal,
)

_TINY = float(np.finfo(float).tiny)


@dataclass(frozen=True, eq=False)
class ChainState:
    r"""Directions of every mode in every layer, and its amplitude there.

    Attributes
    ----------
    problem : Problem
        With numbers.
    flow : ChainFlow
    basis : Basis
    frames : tuple of ndarray, shape (size of the layer, n_modes)
        Directions $r_l$ of the modes: input, hidden layers, output; 0 for modes that are not there.
    layers : ndarray, shape (depth, n_modes)
        Amplitudes $r_l^T W_l r_{l-1}$; the last one carries the sign of the mode.
    """

    problem: Problem
    flow: ChainFlow
    basis: Basis
    frames: tuple[np.ndarray, ...]
    layers: np.ndarray

    @classmethod
    def of(cls, problem: Problem) -> ChainState:
        """Return the state at the start of the problem."""
        flow = chain_flow(problem)
        W = [problem.weights.arrays[name] for name in flow.layers]
        tasks = [phase.task for phase in problem.curriculum.phases]
        # From the outputs down: no product is of the size of two hidden layers.
        rest = reduce(lambda product, layer: product @ layer, W[:0:-1], np.eye(len(W[-1])))
        first, second = compact(W[0], rest)
        basis = common_basis(tasks, first, second.T)
        r = basis.rank_bound
        frames, layers = _followed(W, basis.V[:, :r], basis.U[:, :r], basis.rounding)
        return cls(problem, flow, basis, frames, layers)

    @cached_property
    def amplitude(self) -> np.ndarray:
        """The amplitude that all layers share, per mode; with the mode's sign at depth 1."""
        return self.layers[0] if self.flow.depth == 1 else np.abs(self.layers).mean(0)

    @cached_property
    def sign(self) -> np.ndarray:
        """The sign of each mode at the start; a single layer has none that is kept."""
        if self.flow.depth == 1:
            return np.ones_like(self.amplitude)
        return np.where(self.layers[-1] < 0, -1.0, 1.0)

    @cached_property
    def commuting(self) -> float:
        """Largest part of the tasks outside the diagonal, relative."""
        return off_diagonal(self.problem, self.basis)

    @cached_property
    def misaligned(self) -> float:
        """Largest part of a layer that does not carry a mode along its direction, relative.

        Column by column and row by row, each over the amplitude of its own mode, after rounding is
        taken off; what acts outside all modes counts relative to the largest amplitude.
        """
        largest = max(float(np.abs(self.layers).max(initial=0.0)), _TINY)
        worst = 0.0
        for k, name in enumerate(self.flow.layers):
            W = self.problem.weights.arrays[name]
            before, after = self.frames[k], self.frames[k + 1]
            left = W - (after * self.layers[k]) @ before.T
            noise = self.basis.rounding * _size(W)
            worst = max(worst, (_size(left) - noise) / largest)
            for part in (left @ before, left.T @ after):
                aside = np.maximum(np.linalg.norm(part, axis=0) - noise, 0.0)
                own = np.abs(self.layers[k])
                ratio = np.divide(aside, own, out=np.zeros_like(own), where=own > 0)
                worst = max(worst, float(ratio.max(initial=0.0)))
        return worst

    @cached_property
    def unbalanced(self) -> float:
        """Largest difference of a mode's amplitudes between layers, relative."""
        if self.flow.depth == 1:
            return 0.0
        own = np.abs(self.layers)
        largest = np.maximum(own.max(0), _TINY)
        spread = own.max(0) - own.min(0)
        arrays = self.problem.weights.arrays
        noise = self.basis.rounding * max(_size(arrays[n]) for n in self.flow.layers)
        return float((np.maximum(spread - noise, 0.0) / largest).max(initial=0.0))

    def drive(self, phase: int) -> tuple[np.ndarray, np.ndarray]:
        r"""Return sigma and delta of every mode in a phase."""
        r = self.basis.rank_bound
        s, d = self.basis.s[phase], self.basis.d[phase][:r]
        # An input direction that never varies carries no signal: what is left is rounding.
        varies = d > TOLERANCE * max(float(d.max(initial=0.0)), _TINY)
        sigma = float(self.flow.sigma / notation.s)
        delta = float(self.flow.delta / notation.d)
        return sigma * np.where(varies, s, 0.0), delta * np.where(varies, d, 0.0)


def _size(matrix: np.ndarray) -> float:
    """Return the spectral norm, from the products along the shorter side."""
    gram = matrix.T @ matrix if matrix.shape[0] > matrix.shape[1] else matrix @ matrix.T
    return float(np.sqrt(max(np.linalg.eigvalsh(gram)[-1], 0.0)))


def _followed(
    W: list[np.ndarray], V: np.ndarray, U: np.ndarray, rounding: float
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Follow the modes through the layers.

    In every layer the directions are made orthogonal, strong modes first: what rounding of a strong
    mode leaves in a weak one would otherwise grow by the ratio of their amplitudes in each layer.
    """
    frames, layers, order = [V], [], None
    for k, layer in enumerate(W):
        image = layer @ frames[-1]
        if k + 1 == len(W):
            found = U
        else:
            lengths = np.linalg.norm(image, axis=0)
            alive = lengths > rounding * _size(layer)
            if order is None:
                order = np.argsort(-lengths, kind="stable")
            kept = np.array([i for i in order if alive[i]], dtype=int)[: len(layer)]
            found = np.zeros_like(image)
            q, triangle = np.linalg.qr(image[:, kept])
            found[:, kept] = q * np.where(np.diag(triangle) < 0, -1.0, 1.0)
        amplitudes = (found * image).sum(0)
        noise = rounding * _size(layer)
        layers.append(np.where(np.abs(amplitudes) > noise, amplitudes, 0.0))
        frames.append(found)
    table = np.array(layers)
    # A mode that is missing in one layer is missing.
    if len(W) > 1:
        table = table * (table != 0).all(0)
    return tuple(frames), table


def training_verdicts(law: str, problem: Problem) -> tuple[Verdict, ...]:
    """Return what speaks against the law in how the network is trained: mostly nothing.

    Nobody can accept a little of it: there is no law of one mode to approximate with then.
    """
    against = decay_verdict(law, problem)
    rates = {p.rate for p in problem.network.parameters if p.trained}
    if len(rates) > 1:
        far, numbers = np.inf, sorted(float(r) for r in rates if not r.free_symbols)
        if len(numbers) == len(rates):
            far = 1 - numbers[0] / numbers[-1]
        words, advice = "one learning rate for all layers", "give all layers one rate, or simulate"
        against += (Verdict(law, words, False, far, 0.0, advice),)
    return against


def chain_verdicts(law: str, problem: Problem) -> tuple[Verdict, ...]:
    """Test the assumptions of the deep law, with distances and advice."""
    statement = "the output is a product of trained dense layers"
    network = network_verdict(law, problem, statement, chain_word)
    if not network.holds:
        return (network,)
    against = training_verdicts(law, problem) or moments_verdict(law, problem)
    if against:
        return (network, *against)
    whiten = "whiten the inputs (task.whitened()), which changes the dynamics, or simulate"
    start = "start from sk.weights.aligned(net, task, u=...) or simulate"
    named = (
        ("the tasks are diagonal in one pair of bases", whiten),
        ("every layer carries each mode along one direction", start),
        ("all layers carry a mode with the same amplitude", start),
    )
    if problem.is_numeric_but_for_durations:
        state = ChainState.of(problem)
        far = (state.commuting, state.misaligned, state.unbalanced)
    else:
        far = _symbolic_distances(problem)
    return (
        network,
        *(
            Verdict(law, words, off <= TOLERANCE, off, TOLERANCE, advice)
            for (words, advice), off in zip(named, far, strict=True)
        ),
    )


def _symbolic_distances(problem: Problem) -> tuple[float, float, float]:
    """Return the distances of a problem with symbols: tasks from modes, aligned weights."""
    tasks = [phase.task for phase in problem.curriculum.phases]
    apart = 0.0 if all(task.modes is not None for task in tasks) else np.inf
    amplitudes = problem.weights.amplitudes
    if amplitudes is None or not amplitudes.fit(tasks[0]):
        return apart, np.inf, np.inf
    if len(problem.network.parameters) == 1:
        return apart, 0.0, 0.0
    same = all(b in (a, -a) for a, b in zip(amplitudes.a, amplitudes.b, strict=False))
    return apart, 0.0, 0.0 if same and len(amplitudes.a) == len(amplitudes.b) else np.inf
