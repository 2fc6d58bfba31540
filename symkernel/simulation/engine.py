r"""One task's descent: the compiled program with its arrays, for one network or many members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from symkernel.problem.network import Network
from symkernel.problem.task import Task
from symkernel.simulation.layout import Layout, aligned
from symkernel.simulation.moments import least_squares
from symkernel.simulation.program import compiled

_POWER_STEPS = 60
_DIFFERENCE = 1e-5  # of the largest weight: about the best step of a central difference
_TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Stage:
    """What is descended: a network's loss on one task.

    Attributes
    ----------
    net : Network
        Numerical.
    task : Task
        With samples, unless `on_moments`.
    gates : mapping of str to ndarray
        Gates of the samples.
    rate, factor : float
        Learning rate and factor of the loss.
    on_moments : bool
        Whether to follow the second moments instead of the samples.
    """

    net: Network
    task: Task
    gates: Mapping[str, np.ndarray]
    rate: float
    factor: float
    on_moments: bool = False


class Engine:
    """Full-batch descent on one task.

    Parameters
    ----------
    stage : Stage
        Network, task and rate.
    thetas : ndarray, shape (n_members, n_parameters)
        Vectors of parameters as in `Layout.vector`, moved in place.
    """

    def __init__(self, stage: Stage, thetas: np.ndarray) -> None:
        self.stage, self.thetas, task = stage, thetas, stage.task
        self.floor = 0.0
        if stage.on_moments:
            best, self.floor = least_squares(task)
            self.layout = Layout(stage.net, int(task.inputs), True)
            self.data = self.layout.pack_moments(task.Sxx, task.Syx, best)
        else:
            self.layout = Layout(stage.net, len(task.X))
            self.data = self.layout.pack(task.X, task.Y, stage.gates)
        members, shares = len(thetas), self.layout.shares
        self.module = compiled(self.layout, "one" if members == 1 else "members")
        self.sizes = np.array(list(self.layout.sizes.values()), dtype=np.int64)
        self.grads = aligned(2 * shares if members == 1 else 4 * members, self.layout.count)
        places = shares if members == 1 else members
        self.works = aligned(places, self.layout.sizes["length_work"])
        self.rates = self.layout.rates(stage.rate, stage.factor)

    def advance(self, steps: int) -> None:
        """Take steps down the gradient, all members."""
        self._descend(self.rates, steps)

    def _descend(self, rates: np.ndarray, steps: int) -> None:
        self.module.descend(
            self.thetas, self.grads, self.works, self.data, self.sizes, rates, steps
        )

    def loss(self, member: int = 0) -> float:
        """Return a member's loss."""
        squares = self.module.squares(
            self.thetas, self.grads, self.works, self.data, self.sizes, member
        )
        mean = 1 if self.layout.on_moments else self.layout.samples
        return self.stage.factor * (squares / mean + self.floor)

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        """Return the loss's gradient by the scaled parameters, zero for those not trained.

        A step with rates 0 writes it and moves nothing. For engines of one member.
        """
        kept = self.thetas[0].copy()
        self.thetas[0] = theta
        self.grads[0] = 0.0
        self._descend(np.zeros_like(self.rates), 1)
        self.thetas[0] = kept
        return self.layout.share_of_gradient(self.stage.factor) * self.grads[0]

    def stable_limit(self, theta: np.ndarray) -> float:
        r"""Return $2/\lambda_{\max}$ of the loss's Hessian by the weights; inf if none is positive.

        By power iteration on differences of the gradient; a second, shifted iteration follows
        where the first finds a negative eigenvalue.
        """
        owner = np.repeat(np.arange(len(self.layout.shapes)), np.diff(self.layout.starts))
        trained = [float(p.trained) for p in self.layout.net.parameters]
        scale = (self.layout.scales * trained)[owner]
        size = max(float(np.abs(theta).max(initial=0.0)), 1.0)

        def product(v: np.ndarray) -> np.ndarray:
            h = _DIFFERENCE * size / max(float(np.abs(scale * v).max(initial=0.0)), _TINY)
            up, down = (self.gradient(theta + side * scale * v) for side in (h, -h))
            return scale * (up - down) / (2 * h)

        def largest(shift: float) -> float:
            v, value = np.random.default_rng(0).standard_normal(len(theta)) * (scale != 0), 0.0
            for _ in range(_POWER_STEPS):
                v = v / max(float(np.linalg.norm(v)), _TINY)
                image = product(v) - shift * v
                value, v = float(v @ image), image
            return value + shift

        first = largest(0.0)
        top = largest(first) if first < 0 else first
        return 2 / top if top > 0 else np.inf
