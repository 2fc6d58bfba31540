r"""Numbers of the laws of $G = QQ^T$, $Q = [w_1^T; w_2]$: the canonical state and its distances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from symkernel import notation
from symkernel.errors import SymkernelError
from symkernel.formula import Verdict
from symkernel.problem.kept import kept
from symkernel.problem.problem import Problem
from symkernel.theory.compact_weights import compact_weights
from symkernel.theory.gram_path import GramPath
from symkernel.theory.mode_state import TOLERANCE, moments_verdict, network_verdict
from symkernel.theory.phases import phases_at, through_phases
from symkernel.theory.riccati import spanning
from symkernel.theory.two_layer import TwoLayer, two_layer
from symkernel.trajectory import Trajectory

# How a Gram matrix goes through a phase: (phase, state at its start, increasing times since then)
# -> (G at these times, state at the last one).
Advance = Callable[[int, Any, np.ndarray], tuple[np.ndarray, Any]]


@dataclass(frozen=True, eq=False)
class GramState:
    r"""A problem with numbers in canonical form.

    Attributes
    ----------
    problem : Problem
    form : TwoLayer
    variance : float
        Where inputs are isotropic: their variance, which the units of the weights take up too, so
        that $\Sigma_{xx} = 1$ in the canonical flow. Otherwise 1.
    """

    problem: Problem
    form: TwoLayer
    variance: float

    @classmethod
    def of(cls, problem: Problem, *, isotropic: bool) -> GramState:
        """Return the canonical state of a problem."""
        # Testing, deriving and evaluating a law all start here, with the same problem.
        key = ("gram", isotropic)
        state: GramState = kept(problem, key, lambda: cls._made(problem, isotropic))
        return state

    @classmethod
    def _made(cls, problem: Problem, isotropic: bool) -> GramState:
        task = problem.curriculum.phases[0].task
        spread = float(np.trace(task.Sxx)) / task.Sxx.shape[0] if isotropic else 1.0
        return cls(problem, two_layer(problem), spread if spread > 0 else 1.0)

    @cached_property
    def units(self) -> tuple[float, float]:
        """Units of the two weights."""
        root = np.sqrt(self.variance)
        return float(self.form.rho1) / root, float(self.form.rho2) / root

    @property
    def decay(self) -> float:
        """Rate at which weight decay shrinks the weights of both layers, if it is one rate."""
        return float(self.form.decay)

    @cached_property
    def factor(self) -> np.ndarray:
        """Q at the start, shape (n_inputs + n_outputs, n_hidden)."""
        arrays, (first, second) = self.problem.weights.arrays, self.units
        return np.vstack([arrays[self.form.first].T / first, arrays[self.form.second] / second])

    @cached_property
    def targets(self) -> list[np.ndarray]:
        """S of every phase."""
        kappa = float(self.form.strength)
        return [kappa * phase.task.Syx for phase in self.problem.curriculum.phases]

    @cached_property
    def inputs(self) -> list[np.ndarray]:
        """Input covariance of every phase in canonical units."""
        return [phase.task.Sxx / self.variance for phase in self.problem.curriculum.phases]

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return int(self.problem.network.inputs)

    @cached_property
    def size(self) -> float:
        """Squared norm of the weights, the scale of their imbalance."""
        n = self.n_inputs
        return float(
            sum(np.linalg.norm(part, 2) ** 2 for part in (self.compact[:n], self.compact[n:]))
        )

    @cached_property
    def compact(self) -> np.ndarray:
        """A factor of the same products with as many columns as its rank."""
        form, (first, second) = self.form, self.units
        layers = compact_weights(self.problem.weights, form.first, form.second)
        return spanning(np.vstack([layers[0].T / first, layers[1].T / second]))

    @cached_property
    def imbalance(self) -> tuple[float, float]:
        r"""The $\lambda$ whose multiple of 1 is next to $w_2^T w_2 - w_1 w_1^T$, and its distance.

        That matrix has the eigenvalues of the compact factor's, and 0 for all other hidden
        directions.
        """
        n, hidden = self.n_inputs, self.problem.weights.arrays[self.form.second].shape[1]
        first, second = self.compact[:n], self.compact[n:]
        values = np.linalg.eigvalsh(second.T @ second - first.T @ first)
        values = np.append(values, np.zeros(min(hidden, len(self.compact)) - len(values)))
        # More hidden units than inputs and outputs together: one value is 0, so all have to be.
        lam = 0.0 if hidden > len(self.compact) else float(values.mean())
        return lam, float(np.abs(values - lam).max())

    @cached_property
    def anisotropy(self) -> float:
        """Distance of the inputs from one variance in all directions and phases, relative."""
        unit = np.eye(self.n_inputs)
        return max(float(np.linalg.norm(sxx - unit, 2)) for sxx in self.inputs)

    def observables(self, times: Any, start: Any, advance: Advance) -> Trajectory:
        """Return the trajectory of a law that carries G through the phases."""
        clock, position = phases_at(self.problem.curriculum, times)
        grams = through_phases(self.problem, clock, position, start, advance)
        n = self.n_inputs
        units = np.repeat(self.units, [n, grams.shape[1] - n])
        # In place: three arrays more of this size would cost more than the flow.
        grams *= units[:, None] * units
        maps = float(self.form.scale) * grams[:, n:, :n]
        first, second = grams[:, :n, :n], grams[:, n:, n:]
        return GramPath(self.problem, clock, position, maps, first, second).trajectory()

    def weights(
        self, times: Any, start: Any, advance: Advance, rtol: float
    ) -> dict[str, np.ndarray]:
        r"""Integrate the linear equation of the weights themselves along a law.

        $\dot Q = [[-\gamma, E^T], [E, -\gamma]]\,Q$ with $E = S - W\Sigma_{xx}$, which the law
        knows: exact, and linear in Q, but without a closed form.
        """
        from scipy.integrate import solve_ivp

        n, gamma = self.n_inputs, self.decay
        clock, position = phases_at(self.problem.curriculum, times)
        shape = self.factor.shape

        def through(k: int, state: Any, local: np.ndarray) -> tuple[np.ndarray, Any]:
            gram, Q = state

            def rate(t: float, flat: np.ndarray) -> np.ndarray:
                G = advance(k, gram, np.array([t]))[0][0]
                E = self.targets[k] - G[n:, :n] @ self.inputs[k]
                q = flat.reshape(shape)
                return (np.vstack([E.T @ q[n:], E @ q[:n]]) - gamma * q).ravel()

            rows, at = [], 0.0
            # A step ends at every wanted time: inside a long step interpolation loses digits.
            for moment in local:
                if moment > at:
                    span = (at, float(moment))
                    found = solve_ivp(rate, span, Q.ravel(), "DOP853", rtol=rtol, atol=rtol * 1e-3)
                    if not found.success:
                        raise SymkernelError(
                            f"The integrator stopped in phase {k}: {found.message}; ask for "
                            f"earlier times, or a coarser 'rtol'."
                        )
                    at, Q = float(moment), found.y[:, -1].reshape(shape)
                rows.append(Q)
            ended = advance(k, gram, local[-1:])[1]
            return np.array(rows), (ended, Q)

        path = through_phases(self.problem, clock, position, (start, self.factor), through)
        first, second = self.units
        return {
            self.form.first: first * path[:, :n].transpose(0, 2, 1),
            self.form.second: second * path[:, n:],
        }


def white_form(problem: Problem) -> TwoLayer:
    """Return the canonical form on white inputs; another variance than 1 is the symbol d."""
    form = two_layer(problem)
    if not problem.is_numeric_but_for_durations:
        return form
    spread = GramState.of(problem, isotropic=True).variance
    return form if abs(spread - 1) <= TOLERANCE else form.counted_in(notation.d)


def gram_verdicts(
    law: str, problem: Problem, *, one_decay: bool = True
) -> tuple[tuple[Verdict, ...], bool]:
    """Test what all laws of the Gram matrix need; the second value is whether it holds.

    Most of them need one rate of decay.
    """
    network = network_verdict(law, problem)
    if not network.holds:
        return (network,), False
    decays = _equal_decay_verdict(law, two_layer(problem)) if one_decay else ()
    if decays:
        return (network, *decays), False
    if not problem.is_numeric_but_for_durations:
        words = "the problem has numbers"
        advice = "give values; symbols are for the laws of single modes"
        return (network, Verdict(law, words, False, np.inf, 0.0, advice)), False
    unknown = moments_verdict(law, problem)
    return (network, *unknown), not unknown


def _equal_decay_verdict(law: str, form: TwoLayer) -> tuple[Verdict, ...]:
    """Return what speaks against one rate of decay: nothing, mostly."""
    one, two = form.decays
    if one == two:
        return ()
    far = abs(float(one - two)) if (one - two).is_number else np.inf
    first, second = (f"{float(g):g}" if g.is_number else g for g in form.decays)
    advice = (
        f"the first layer decays at the rate {first}, the second at {second}, its learning rate "
        f"times weight_decay; use the law 'reduced_flow', or train both layers at one rate"
    )
    return (Verdict(law, "both layers decay at one rate", False, far, 0.0, advice),)


def isotropic_verdict(law: str, state: GramState) -> Verdict:
    """Test that the inputs have one variance in all directions."""
    far = state.anisotropy
    return Verdict(
        law,
        "the inputs are white, with one variance in all phases",
        far <= TOLERANCE,
        far,
        TOLERANCE,
        "whiten them (task.whitened()), which changes the dynamics, or use the law 'reduced_flow'",
    )
