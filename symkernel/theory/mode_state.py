"""Numbers of the mode laws: the state of all modes, and its distance from their assumptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from symkernel.errors import NoClosedForm
from symkernel.formula import Verdict
from symkernel.problem.kept import kept
from symkernel.problem.modes import Basis, common_basis
from symkernel.problem.problem import Problem
from symkernel.theory.compact_weights import compact_weights, spanning_frame
from symkernel.theory.gradient_flow import GradientFlow
from symkernel.theory.mode_flow import ModeFlow, mode_flow, two_layer_word

# Relative distance up to which an assumption counts as holding: far above rounding (1e-15 times
# sizes), far below what shows in a trajectory.
TOLERANCE = 1e-8
# What rounding leaves of a covariance that is 0, relative to the largest variance, with a margin.
_ROUNDINGS = 64.0 * float(np.finfo(float).eps)


@dataclass(frozen=True, eq=False)
class HiddenSides:
    """The two sides of modes, their sum and their difference, (n, n_modes) each.

    Sum and difference have digits of their own: where the sides are nearly equal or opposite, one
    of them is all that grows.
    """

    p: np.ndarray
    q: np.ndarray
    plus: np.ndarray
    minus: np.ndarray

    def turned(self, frame: np.ndarray) -> HiddenSides:
        """Return the same in the coordinates of orthonormal columns that span them."""
        return HiddenSides(*(frame.T @ part for part in (self.p, self.q, self.plus, self.minus)))


@dataclass(frozen=True, eq=False)
class Narrow:
    """What moves, in coordinates of its own hidden directions, and products of what does not.

    Attributes
    ----------
    sides : HiddenSides
    still : tuple of ndarray, (n, n_inputs) and (n, n_outputs)
        What the directions without a mode have there.
    products : 2 x 2 list of ndarray
        Products of what they have in all other hidden directions, of each layer by each.
    """

    sides: HiddenSides
    still: tuple[np.ndarray, np.ndarray]
    products: list[list[np.ndarray]]


@dataclass(frozen=True, eq=False)
class ModeState:
    r"""The two sides of every mode in the hidden layer, in the common basis of the tasks.

    Attributes
    ----------
    problem : Problem
        With numbers.
    modes : ModeFlow
    basis : Basis
    layers : tuple of ndarray, (n_hidden, n_inputs) and (n_hidden, n_outputs)
        $W_1$ and $\rho\,W_2^T$.
    compact : tuple of ndarray, (n, n_inputs) and (n, n_outputs)
        The same up to a turn of the hidden layer, in fewer hidden directions if they are many.
    """

    problem: Problem
    modes: ModeFlow
    basis: Basis
    layers: tuple[np.ndarray, np.ndarray]
    compact: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, problem: Problem) -> ModeState:
        """Return the state at the start of the problem."""
        # Testing, deriving and evaluating a law all start here, with the same problem.
        state: ModeState = kept(problem, "modes", lambda: _state_of(problem))
        return state

    @cached_property
    def columns(self) -> tuple[np.ndarray, np.ndarray]:
        r"""Sides $W_1 v_i$ and $\rho\,W_2^T u_i$ of all directions, in the compact coordinates."""
        first, second = self.compact
        return first @ self.basis.V, second @ self.basis.U

    @cached_property
    def noise(self) -> tuple[float, float]:
        """What rounding of weights and basis does to one column of the sides."""
        largest = (float(np.linalg.norm(c, axis=0).max(initial=0.0)) for c in self.columns)
        first, second = (self.basis.rounding * size for size in largest)
        return first, second

    @cached_property
    def p(self) -> np.ndarray:
        """Input sides of the modes, (n_hidden, n_modes)."""
        return _cleared(self.layers[0] @ self.basis.V[:, : self.basis.rank_bound], self.noise[0])

    @cached_property
    def q(self) -> np.ndarray:
        """Output sides of the modes, (n_hidden, n_modes)."""
        return _cleared(self.layers[1] @ self.basis.U[:, : self.basis.rank_bound], self.noise[1])

    @cached_property
    def sides(self) -> HiddenSides:
        """Both sides of the modes at the start; what is equal cancels exactly."""
        return HiddenSides(self.p, self.q, self.p + self.q, self.p - self.q)

    def still(self, layers: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return what directions without a mode carry of both layers, which does not move.

        The layers may be given in any hidden coordinates.
        """
        r, parts = self.basis.rank_bound, []
        bases = (self.basis.V, self.basis.U)
        for layer, basis, column, noise in zip(
            layers, bases, self.columns, self.noise, strict=True
        ):
            rest = basis[:, r:] * (np.linalg.norm(column[:, r:], axis=0) > noise)
            parts.append((layer @ rest) @ rest.T)
        first, second = parts
        return first, second

    @cached_property
    def narrow(self) -> Narrow:
        """The layers within the hidden directions that the modes use, two for each at most."""
        frame = spanning_frame(np.hstack([self.sides.plus, self.sides.minus]))
        within = self.still((frame.T @ self.layers[0], frame.T @ self.layers[1]))
        whole = self.still(self.compact)
        beyond = [[whole[i].T @ whole[j] - within[i].T @ within[j] for j in (0, 1)] for i in (0, 1)]
        return Narrow(self.sides.turned(frame), within, beyond)

    @cached_property
    def commuting(self) -> float:
        """Largest part of the tasks outside the diagonal, relative."""
        return off_diagonal(self.problem, self.basis)

    @cached_property
    def crossing(self) -> float:
        r"""Largest cosine between sides of DIFFERENT modes, after rounding is taken off.

        Input directions that never vary ($d = 0$) carry no signal and are exempt. A direction of
        strength 0 in all phases does not grow: it counts by its size beside the largest side.
        """
        r = self.basis.rank_bound
        active = self.basis.d.max(0) > TOLERANCE * max(self.basis.d.max(), np.finfo(float).tiny)
        sides = [
            (_cleared(c, n), n, self._least(c))
            for c, n in zip(self.columns, self.noise, strict=True)
        ]
        PP, QQ, QP = (_cosines(sides[i], sides[j]) for i, j in ((0, 0), (1, 1), (1, 0)))
        for gram in (PP, QQ, QP):
            k = min(gram.shape)
            gram[np.arange(k), np.arange(k)] = 0.0
        PP[r:, r:] = 0.0
        QQ[r:, r:] = 0.0
        PP[~active, :] = PP[:, ~active] = 0.0
        QP[:, ~active] = 0.0
        return float(max(g.max(initial=0.0) for g in (PP, QQ, QP)))

    def _least(self, columns: np.ndarray) -> np.ndarray:
        """Return, for directions of strength 0 in all phases, the length of the largest side."""
        strengths = np.abs(self.basis.s).max(0)
        used = np.flatnonzero(strengths > _ROUNDINGS * strengths.max(initial=0.0))
        largest = max(float(np.linalg.norm(c, axis=0).max(initial=0.0)) for c in self.columns)
        least = np.full(columns.shape[1], largest)
        least[used] = 0.0
        return least

    @cached_property
    def skewness(self) -> float:
        """Largest sine between the two sides of a mode, after rounding is taken off."""
        p, q = self.p, self.q
        lengths = [np.linalg.norm(side, axis=0) for side in (p, q)]
        first = lengths[0] >= lengths[1]
        longer, shorter = np.where(first, p, q), np.where(first, q, p)
        tiny = np.finfo(float).tiny
        unit = longer / np.maximum(np.linalg.norm(longer, axis=0), tiny)
        aside = np.linalg.norm(shorter - unit * (unit * shorter).sum(0), axis=0)
        rounding = np.where(first, *self.noise[::-1])
        size = np.maximum(np.linalg.norm(shorter, axis=0), np.maximum(self._least(p), tiny))
        return float((np.maximum(aside - rounding, 0.0) / size).max(initial=0.0))

    def amplitudes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the signed amplitudes (a, b) of aligned modes, a along the longer side."""
        p, q = self.p, self.q
        longer = np.where((p**2).sum(0) >= (q**2).sum(0), p, q)
        unit = longer / np.maximum(np.linalg.norm(longer, axis=0), np.finfo(float).tiny)
        return (p * unit).sum(0), (q * unit).sum(0) / float(self.modes.ratio)


def _state_of(problem: Problem) -> ModeState:
    flow = mode_flow(problem)
    W1, W2 = (problem.weights.arrays[name] for name in (flow.first, flow.second))
    first, second = compact_weights(problem.weights, flow.first, flow.second)
    basis = common_basis([phase.task for phase in problem.curriculum.phases], first, second.T)
    ratio = float(flow.ratio)
    return ModeState(problem, flow, basis, (W1, ratio * W2.T), (first, ratio * second))


def off_diagonal(problem: Problem, basis: Basis) -> float:
    """Return the largest part of the tasks outside the diagonal of a basis, relative."""
    worst = 0.0
    r = basis.rank_bound
    for phase, s, d in zip(problem.curriculum.phases, basis.s, basis.d, strict=True):
        task = phase.task
        turned = basis.U.T @ task.Syx @ basis.V
        turned[np.arange(r), np.arange(r)] -= s
        inputs = basis.V.T @ task.Sxx @ basis.V
        np.fill_diagonal(inputs, 0.0)
        # Directions without any mode may be correlated among themselves.
        inputs[r:, r:] = 0.0
        for part, whole in ((turned, task.Syx), (inputs, task.Sxx)):
            scale = float(np.linalg.norm(whole, 2))
            worst = max(worst, float(np.abs(part).max(initial=0.0)) / scale if scale else 0.0)
        # Of weak inputs that is little, and may be much of their own variance. Rounding by the
        # smallest gap, as in `basis.rounding`, would hide it: weak modes are close together.
        noise = _ROUNDINGS * float(np.linalg.norm(task.Sxx, 2))
        worst = max(worst, over_variances(inputs, d, noise))
    return worst


def over_variances(off: np.ndarray, variances: np.ndarray, noise: float = 0.0) -> float:
    """Return the largest of covariances over the smaller variance of the two directions.

    That is how far the weaker direction's target moves with the stronger one, as a coefficient.
    Entries up to `noise` count as none.
    """
    excess = np.maximum(np.abs(off) - noise, 0.0)
    floor = max(noise, np.finfo(float).eps ** 2 * float(variances.max(initial=0.0)))
    scale = np.maximum(np.minimum.outer(variances, variances), max(floor, np.finfo(float).tiny))
    return float((excess / scale).max(initial=0.0))


def _cleared(sides: np.ndarray, noise: float) -> np.ndarray:
    """Return the sides with columns that are mere rounding set to 0.

    A mode that starts at exactly 0 stays there; rounding would grow like a real seed.
    """
    return np.where(np.linalg.norm(sides, axis=0) <= noise, 0.0, sides)


_Side = tuple[np.ndarray, float, np.ndarray]


def _cosines(left: _Side, right: _Side) -> np.ndarray:
    """Return absolute cosines between columns, with what their noise can do taken off.

    A side is its columns, their noise, and the least length by which each is measured.
    """
    one, two = (np.linalg.norm(side[0], axis=0) for side in (left, right))
    noise = left[1] * two[None, :] + right[1] * one[:, None]
    excess = np.maximum(np.abs(left[0].T @ right[0]) - noise, 0.0)
    lengths = np.outer(np.maximum(one, left[2]), np.maximum(two, right[2]))
    return excess / np.maximum(lengths, np.finfo(float).tiny)


def network_verdict(
    law: str,
    problem: Problem,
    statement: str = "the output is W2 W1 x with both layers trained",
    read: Callable[[GradientFlow], Any] = two_layer_word,
) -> Verdict:
    """Return whether the output can be read as the statement has it, and why not."""
    try:
        read(GradientFlow(problem.network, problem.squared_error))
    except NoClosedForm as error:
        return Verdict(law, statement, False, np.inf, 0.0, str(error))
    return Verdict(law, statement, True, 0.0, 0.0)


def decay_verdict(law: str, problem: Problem) -> tuple[Verdict, ...]:
    """Return what speaks against a law without weight decay: nothing, mostly.

    The test ends here, so that nobody can accept a little of it.
    """
    decay = problem.loss.weight_decay
    if decay == 0:
        return ()
    far = np.inf if decay.free_symbols else float(decay)
    advice = "leave weight_decay out, or simulate"
    return (Verdict(law, "no weight decay", False, far, 0.0, advice),)


def moments_verdict(law: str, problem: Problem) -> tuple[Verdict, ...]:
    """Return what speaks against a law of second moments: nothing, mostly."""
    tasks = (phase.task for phase in problem.curriculum.phases)
    if not any(task.is_numeric and task.Syx is None for task in tasks):
        return ()
    words, advice = "the tasks' second moments are known", "use a linear teacher, or simulate"
    return (Verdict(law, words, False, np.inf, 0.0, advice),)


def _apart(problem: Problem) -> float:
    """Return how far the tasks of a problem with symbols are from diagonal in one pair of bases.

    Tasks of modes are diagonal, one exact task tells, and arrays are measured; where symbols leave
    it open whether several tasks commute, it counts as not.
    """
    tasks = [phase.task for phase in problem.curriculum.phases]
    if all(task.modes is not None for task in tasks):
        return 0.0
    if len(tasks) == 1 and tasks[0].exact is not None:
        return tasks[0].exact.distance
    if any(task.Syx is None for task in tasks):
        return np.inf
    return off_diagonal(problem, common_basis(tasks))


def mode_verdicts(law: str, problem: Problem, *, aligned: bool) -> tuple[Verdict, ...]:
    """Test the assumptions of a mode law, with distances and advice."""
    network = network_verdict(law, problem)
    if not network.holds:
        return (network,)
    against = decay_verdict(law, problem) or moments_verdict(law, problem)
    if against:
        return (network, *against)
    named: tuple[tuple[str, str, str], ...] = (
        (
            "the tasks are diagonal in one pair of bases",
            "commuting",
            "whiten the inputs (task.whitened()), which changes the dynamics, or simulate",
        ),
        (
            "different modes do not overlap in the hidden layer",
            "crossing",
            "start from sk.weights.aligned(net, task, ...) or simulate",
        ),
    )
    if aligned:
        named += (
            (
                "the two sides of each mode are parallel",
                "skewness",
                "the law 'gram_diagonal' does not need this",
            ),
        )
    if problem.is_numeric_but_for_durations:
        state = ModeState.of(problem)
        found = [(words, getattr(state, attribute), advice) for words, attribute, advice in named]
    else:
        far = 0.0 if problem.weights.amplitudes is not None else np.inf
        hint = "give values, or weights by sk.weights.aligned"
        (words, _, advice), *of_weights = named
        found = [(words, _apart(problem), advice)]
        found += [(words, far, hint) for words, _, _ in of_weights]
    return (
        network,
        *(
            Verdict(law, words, far <= TOLERANCE, far, TOLERANCE, advice)
            for words, far, advice in found
        ),
    )
