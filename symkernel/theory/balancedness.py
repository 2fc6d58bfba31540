r"""What stochastic descent does to the balance of two linear layers, exactly at every step.

Gradient flow conserves $\Delta = W_2^TW_2 - W_1W_1^T$. A step moves it by the squares of the moves
of the two layers alone, $\Delta \leftarrow \Delta + \eta^2(W_1G^TGW_1^T - W_2^TGG^TW_2)$, with G
the gradient of the batch's loss by the map $W_2W_1$, whatever the loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from symkernel.check_report import CheckReport
from symkernel.errors import InvalidArgument, NoClosedForm, OutsideValidity, as_real
from symkernel.formula import Evidence, Step
from symkernel.problem.descent import agreed
from symkernel.problem.network import Network
from symkernel.problem.nodes import Linear, Parameter
from symkernel.theory.balancedness_steps import balancedness_formula
from symkernel.theory.information_derivation import DerivedFormula
from symkernel.trajectory import Trajectory

__all__ = ["Balancedness", "balancedness"]

# Of the identity in float64, relative to the largest entry.
_BOUND = 1e-12


@dataclass(frozen=True, eq=False)
class Balancedness:
    r"""The conserved matrices of neighbouring layers through training, and their law.

    Made by `symkernel.balancedness`.

    Attributes
    ----------
    times : ndarray, shape (n_times,)
    matrices : mapping of (str, str) to ndarray, shape (n_times, n_units, n_units)
        $\eta_1 W_2^TW_2 - \eta_2 W_1W_1^T$ of each pair of neighbouring layers, divided by the mean
        of their two rates.
    predicted : mapping of (str, str) to ndarray, shape (n_times, n_units, n_units)
        The first matrix, and what the identity makes of it step by step.
    gap : float
        Their largest difference, relative to the largest entry of the terms of the matrices.
    """

    times: np.ndarray
    matrices: Mapping[tuple[str, str], np.ndarray]
    predicted: Mapping[tuple[str, str], np.ndarray]
    gap: float

    def __repr__(self) -> str:
        pairs = ", ".join(f"{one}-{other}" for one, other in self.matrices)
        return f"Balancedness({pairs}; {len(self.times)} steps; identity to {self.gap:.1e})"

    @property
    def formula(self) -> DerivedFormula:
        """The identity, with the steps that lead to it."""
        return balancedness_formula()

    def check(self) -> CheckReport:
        """Check every step of the derivation, and the identity on the trajectory."""
        figure = f"largest difference {self.gap:.1e} in {len(self.times) - 1} steps"
        own = Step(
            "This trajectory",
            "measured against the identity",
            (),
            lambda: Evidence.of(self.gap <= _BOUND, figure),
        )
        return CheckReport.of_steps("the balancedness identity", (*self.formula.steps, own))


def balancedness(
    trajectory: Trajectory, net: Network, weight_decay: float | None = None
) -> Balancedness:
    r"""Return the balance of neighbouring linear layers along a simulation, and its exact law.

    $\Delta \leftarrow \Delta + \delta_2^T\delta_2 - \delta_1\delta_1^T$ for the moves
    $\delta_1, \delta_2$ of two layers in a step: for any loss, batch and label noise.

    Parameters
    ----------
    trajectory : Trajectory
        Of a simulation that recorded every step, as with
        ``record=learning_rate * np.arange(n_steps + 1)``.
    net : Network
        A chain of dense linear layers, all trained.
    weight_decay : float, optional
        That of the loss, read off a simulation of `symkernel.simulate`, otherwise 0 if not given;
        the layers have one rate then.

    Returns
    -------
    Balancedness

    Raises
    ------
    InvalidArgument
        For a weight decay that is not that of the simulation.
    NoClosedForm
        If the network is no chain of linear layers.
    OutsideValidity
        If steps were left out: what happened between them cannot be told from the weights; and if
        parameters got new values between phases.

    Notes
    -----
    Derived here, step by step in `Balancedness.formula`.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> net = sk.Network.two_layer(inputs=3, hidden=4, outputs=2)
    >>> X = np.random.default_rng(0).normal(size=(20, 3))
    >>> w0 = sk.weights.gaussian(net, seed=1)
    >>> every = 0.1 * np.arange(51)
    >>> sim = sk.simulate(net, sk.Task(X, X[:, :2]), w0, 0.1, record=every, batch_size=2)
    >>> assert sk.balancedness(sim, net).gap < 1e-12
    """
    if not isinstance(net, Network) or not isinstance(trajectory, Trajectory):
        raise InvalidArgument(
            f"Arguments 'net' and 'trajectory' must be a Network and a Trajectory, not {net!r} and "
            f"{trajectory!r}."
        )
    decay = _decay_of(trajectory, weight_decay)
    layers = [node.parameter for node in net.order if isinstance(node, Linear)]
    if not net.is_chain or len(layers) < 2 or not net.is_numeric:
        raise NoClosedForm(
            "The balancedness identity is for chains of two or more dense linear layers, all "
            "trained and with numbers: other nodes take part in what would cancel."
        )
    steps = trajectory.steps
    if steps is None or len(steps) < 2 or (np.diff(steps) != 1).any():
        raise OutsideValidity(
            "The balancedness identity holds step by step, and steps of this trajectory are left "
            "out; record all, as with record=learning_rate * np.arange(n_steps + 1)."
        )
    if decay and len({p.rate for p in layers}) > 1:
        raise NoClosedForm("Under weight decay the identity is for layers of one rate.")
    rate = float(trajectory.times[-1] / steps[-1])
    weights = trajectory.weights
    for p in layers:
        if p.name not in weights or weights[p.name].shape[1:] != tuple(p.shape):
            raise InvalidArgument(
                f"Argument 'trajectory' must be of the network: it has no '{p.name}' of shape "
                f"{tuple(p.shape)}."
            )
    matrices, predicted, gaps = {}, {}, []
    for one, other in pairwise(layers):
        measured, told, size = _pair(one, other, weights, rate * decay)
        matrices[one.name, other.name] = measured
        predicted[one.name, other.name] = told
        # Weights that are 0 stay so: nothing is off then.
        gaps.append(float(np.abs(measured - told).max()) / (size or 1.0))
    return Balancedness(trajectory.times, matrices, predicted, max(gaps))


def _decay_of(trajectory: Trajectory, given: float | None) -> float:
    """Return the weight decay of a run without resets."""
    decay = None if given is None else as_real(given, "weight_decay")
    if decay is not None and decay < 0:
        raise InvalidArgument(f"Argument 'weight_decay' must not be negative, not {decay:g}.")
    run = trajectory.descent
    if run is None:
        return decay or 0.0
    for phase, names in enumerate(run.resets):
        if names:
            raise OutsideValidity(
                f"The balancedness identity is for what descent does, and {', '.join(names)} got "
                f"new values at the start of phase {phase} (the first is 0); simulate the phases "
                f"one by one."
            )
    return float(agreed(decay, float(run.loss.weight_decay), "weight_decay"))


def _pair(
    one: Parameter, other: Parameter, weights: Mapping[str, np.ndarray], decay: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the conserved matrix of two layers, that of the identity, and the terms' size."""
    first, second = weights[one.name], weights[other.name]
    # A layer's own move is its rate times the gradient, and its square has one rate too many.
    paces = np.array([float(one.rate), float(other.rate)]) / float(one.rate + other.rate) * 2
    kept = 1 - decay * float(one.rate)

    def squares(W1: np.ndarray, W2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return paces[0] * W2.swapaxes(1, 2) @ W2, paces[1] * W1 @ W1.swapaxes(1, 2)

    plus, minus = squares(first, second)
    measured = plus - minus
    gained, lost = squares(first[1:] - kept * first[:-1], second[1:] - kept * second[:-1])
    told = np.empty_like(measured)
    told[0] = measured[0]
    for k, change in enumerate(gained - lost):
        told[k + 1] = kept**2 * told[k] + change
    return measured, told, float(max(np.abs(plus).max(), np.abs(minus).max()))
