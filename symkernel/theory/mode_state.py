"""Numbers of the mode laws: the state of all modes, and its distance from their assumptions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from symkernel.errors import NoClosedForm
from symkernel.formula import Verdict
from symkernel.problem.modes import Basis, common_basis
from symkernel.problem.problem import Problem
from symkernel.theory.gradient_flow import GradientFlow
from symkernel.theory.mode_flow import ModeFlow, mode_flow, two_layer_word

# Relative distance up to which an assumption counts as holding: far above rounding (1e-15 times
# sizes), far below what shows in a trajectory.
TOLERANCE = 1e-8


@dataclass(frozen=True, eq=False)
class ModeState:
    r"""The two sides of every mode in the hidden layer, in the common basis of the tasks.

    Attributes
    ----------
    problem : Problem
        With numbers.
    modes : ModeFlow
    basis : Basis
    P : ndarray, shape (n_hidden, n_inputs)
        Columns $p_i = W_1 v_i$.
    Q : ndarray, shape (n_hidden, n_outputs)
        Columns $q_i = \rho\,W_2^T u_i$.
    """

    problem: Problem
    modes: ModeFlow
    basis: Basis
    P: np.ndarray
    Q: np.ndarray

    @classmethod
    def of(cls, problem: Problem, modes: ModeFlow | None = None) -> ModeState:
        """Return the state at the start of the problem."""
        flow = modes if modes is not None else mode_flow(problem)
        arrays = problem.weights.arrays
        W1, W2 = arrays[flow.first], arrays[flow.second]
        tasks = [phase.task for phase in problem.curriculum.phases]
        basis = common_basis(tasks, W1, W2)
        P = _cleared(W1 @ basis.V, basis)
        Q = _cleared(float(flow.ratio) * (W2.T @ basis.U), basis)
        return cls(problem, flow, basis, P, Q)

    @cached_property
    def commuting(self) -> float:
        """Largest part of the tasks outside the diagonal, relative."""
        worst = 0.0
        r = self.basis.rank_bound
        for phase, s in zip(self.problem.curriculum.phases, self.basis.s, strict=True):
            task = phase.task
            turned = self.basis.U.T @ task.Syx @ self.basis.V
            turned[np.arange(r), np.arange(r)] -= s
            inputs = self.basis.V.T @ task.Sxx @ self.basis.V
            np.fill_diagonal(inputs, 0.0)
            # Directions without any mode may be correlated among themselves.
            inputs[r:, r:] = 0.0
            for part, whole in ((turned, task.Syx), (inputs, task.Sxx)):
                scale = float(np.linalg.norm(whole, 2))
                worst = max(worst, float(np.abs(part).max(initial=0.0)) / scale if scale else 0.0)
        return worst

    @cached_property
    def crossing(self) -> float:
        r"""Largest cosine between sides of DIFFERENT modes, after rounding is taken off.

        Input directions that never vary ($d = 0$) carry no signal and are exempt.
        """
        r, P, Q = self.basis.rank_bound, self.P, self.Q
        active = self.basis.d.max(0) > TOLERANCE * max(self.basis.d.max(), np.finfo(float).tiny)
        PP, QQ, QP = (_cosines(left, right, self.basis) for left, right in ((P, P), (Q, Q), (Q, P)))
        for gram in (PP, QQ, QP):
            k = min(gram.shape)
            gram[np.arange(k), np.arange(k)] = 0.0
        PP[r:, r:] = 0.0
        QQ[r:, r:] = 0.0
        PP[~active, :] = PP[:, ~active] = 0.0
        QP[:, ~active] = 0.0
        return float(max(g.max(initial=0.0) for g in (PP, QQ, QP)))

    @cached_property
    def skewness(self) -> float:
        """Largest sine between the two sides of a mode, after rounding is taken off."""
        r = self.basis.rank_bound
        p, q = self.P[:, :r], self.Q[:, :r]
        lengths = [np.linalg.norm(side, axis=0) for side in (p, q)]
        first = lengths[0] >= lengths[1]
        longer, shorter = np.where(first, p, q), np.where(first, q, p)
        tiny = np.finfo(float).tiny
        unit = longer / np.maximum(np.linalg.norm(longer, axis=0), tiny)
        aside = np.linalg.norm(shorter - unit * (unit * shorter).sum(0), axis=0)
        rounding = np.where(first, _rounding(self.Q, self.basis), _rounding(self.P, self.basis))
        size = np.maximum(np.linalg.norm(shorter, axis=0), tiny)
        return float((np.maximum(aside - rounding, 0.0) / size).max(initial=0.0))

    def amplitudes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the signed amplitudes (a, b) of aligned modes, a along the longer side."""
        r = self.basis.rank_bound
        p, q = self.P[:, :r], self.Q[:, :r]
        longer = np.where((p**2).sum(0) >= (q**2).sum(0), p, q)
        unit = longer / np.maximum(np.linalg.norm(longer, axis=0), np.finfo(float).tiny)
        return (p * unit).sum(0), (q * unit).sum(0) / float(self.modes.ratio)


def over_variances(off: np.ndarray, variances: np.ndarray, noise: float = 0.0) -> float:
    """Return the largest of covariances over the smaller variance of the two directions.

    That is how far the weaker direction's target moves with the stronger one, as a coefficient.
    Entries up to `noise` count as none.
    """
    excess = np.maximum(np.abs(off) - noise, 0.0)
    floor = max(noise, np.finfo(float).eps ** 2 * float(variances.max(initial=0.0)))
    scale = np.maximum(np.minimum.outer(variances, variances), max(floor, np.finfo(float).tiny))
    return float((excess / scale).max(initial=0.0))


def _rounding(sides: np.ndarray, basis: Basis) -> float:
    """Return what rounding of weights and basis does to one column of the sides."""
    return basis.rounding * float(np.linalg.norm(sides, axis=0).max(initial=0.0))


def _cleared(sides: np.ndarray, basis: Basis) -> np.ndarray:
    """Return the sides with columns that are mere rounding set to 0.

    A mode that starts at exactly 0 stays there; rounding would grow like a real seed.
    """
    return np.where(np.linalg.norm(sides, axis=0) <= _rounding(sides, basis), 0.0, sides)


def _cosines(left: np.ndarray, right: np.ndarray, basis: Basis) -> np.ndarray:
    """Return absolute cosines between columns, with what rounding can do taken off."""
    one, two = np.linalg.norm(left, axis=0)[:, None], np.linalg.norm(right, axis=0)[None, :]
    noise = _rounding(left, basis) * two + _rounding(right, basis) * one
    excess = np.maximum(np.abs(left.T @ right) - noise, 0.0)
    return excess / np.maximum(one * two, np.finfo(float).tiny)


def network_verdict(law: str, problem: Problem) -> tuple[Verdict, str]:
    """Return whether the network is two trained dense linear layers, and why not."""
    statement = "the output is W2 W1 x with both layers trained"
    try:
        two_layer_word(GradientFlow(problem.network, problem.loss))
    except NoClosedForm as error:
        return Verdict(law, statement, False, np.inf, 0.0, str(error)), str(error)
    return Verdict(law, statement, True, 0.0, 0.0), ""


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
    nothing = np.zeros((0, 0))
    return ModeState(problem, mode_flow(problem), common_basis(tasks), nothing, nothing).commuting


def mode_verdicts(law: str, problem: Problem, *, aligned: bool) -> tuple[Verdict, ...]:
    """Test the assumptions of a mode law, with distances and advice."""
    network, reason = network_verdict(law, problem)
    if reason:
        return (network,)
    against = decay_verdict(law, problem)
    if against:
        return (network, *against)
    if any(phase.task.is_numeric and phase.task.Syx is None for phase in problem.curriculum.phases):
        words, advice = "the tasks' second moments are known", "use a linear teacher, or simulate"
        return (network, Verdict(law, words, False, np.inf, 0.0, advice))
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
    if not problem.is_numeric_but_for_durations:
        apart = _apart(problem)
        far = 0.0 if problem.weights.amplitudes is not None else np.inf
        advice = "give values, or weights by sk.weights.aligned"
        return (
            network,
            *(
                Verdict(law, words, off <= TOLERANCE, off, TOLERANCE, hint)
                for (words, _, hint), off in zip(
                    [named[0], *((words, "", advice) for words, _, _ in named[1:])],
                    [apart, far, far],
                    strict=False,
                )
            ),
        )
    state = ModeState.of(problem)
    distances = [(words, getattr(state, attribute), advice) for words, attribute, advice in named]
    return (
        network,
        *(
            Verdict(law, words, far <= TOLERANCE, far, TOLERANCE, advice)
            for words, far, advice in distances
        ),
    )
