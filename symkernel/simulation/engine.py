r"""One task's descent: the compiled program with its arrays, for one network or many members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from symkernel.problem.label_noise import LabelNoise
from symkernel.problem.loss import Misfit
from symkernel.problem.moments import least_squares
from symkernel.problem.network import Network
from symkernel.problem.task import Task
from symkernel.problem.teacher import Teacher
from symkernel.simulation.layout import Layout, Samples, aligned
from symkernel.simulation.program import compiled

_DENSE = 32  # parameters up to which the whole Hessian is built
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
    decay : float
        Weight decay.
    teacher : Teacher or None
        What labels fresh samples; the task's samples are then those on which the loss is taken.
    groups : ndarray of int, shape (n_samples,), or int
        The group of each sample, for attribution; or the one group of all.
    misfit : {"squares", "softmax", "logistic"}
        What the loss is the factor times the mean of, see `symkernel.problem.loss`.
    noise : LabelNoise or None
        Of labels that are redrawn at each visit.
    """

    net: Network
    task: Task
    gates: Mapping[str, np.ndarray]
    rate: float
    factor: float
    on_moments: bool = False
    decay: float = 0.0
    teacher: Teacher | None = None
    groups: np.ndarray | int = 0
    misfit: Misfit = "squares"
    noise: LabelNoise | None = None

    @property
    def form(self) -> dict[str, Any]:
        """What a `Layout` has to know of the loss."""
        return {
            "is_weighted": self.is_weighted,
            "decays": self.decay > 0,
            "misfit": self.misfit,
        }

    @property
    def zero(self) -> float:
        """Loss of an output that is zero, without noise."""
        if self.misfit == "squares":
            return self.factor * float(np.trace(self.task.Syy))
        return 2 * self.factor * float(np.log(max(int(self.task.outputs), 2)))

    @property
    def is_weighted(self) -> bool:
        """Whether samples have weights of their own."""
        return self.task.sample_weights is not None and not self.on_moments

    def samples(self, order: np.ndarray | slice = slice(None)) -> Samples:
        """Return the task's samples, or some of them."""
        task, weights = self.task, None

        def some(array: np.ndarray) -> np.ndarray:
            # For few columns this takes half the time of indexing.
            return array[order] if isinstance(order, slice) else array.take(order, axis=0)

        if task.sample_weights is not None:
            weights = len(task.X) * some(task.sample_weights)
        gates = {name: some(gate) for name, gate in self.gates.items()}
        groups = self.groups if isinstance(self.groups, int) else some(self.groups)
        return Samples(some(task.X), some(task.Y), gates, weights, groups)


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
        # What the loss of every map holds: the mean squared label noise of fresh samples.
        self.floor = 0.0 if stage.teacher is None else task.Y.shape[1] * stage.teacher.noise**2
        how = stage.form
        if stage.on_moments:
            best, self.floor = least_squares(task)
            self.layout = Layout(stage.net, int(task.inputs), True, **how)
            self.data = self.layout.pack_moments(task.Sxx, task.Syx, best)
        else:
            # The loss on fresh samples is taken in one block, by the program of the batches.
            batch = None if stage.teacher is None else len(task.X)
            self.layout = Layout(stage.net, len(task.X), batch=batch, **how)
            self.data = self.layout.pack(self._samples())
        members, shares = len(thetas), self.layout.shares
        mode = "one" if members == 1 else "members"
        self.module = compiled(self.layout, mode if stage.teacher is None else "batches")
        self.sizes = np.array(list(self.layout.sizes.values()), dtype=np.int64)
        rows = shares * self.layout.rows_of_share if members == 1 else 4 * members
        self.grads = aligned(rows, self.layout.count)
        places = numba.config.NUMBA_NUM_THREADS if members == 1 else members
        self.works = aligned(places, self.layout.sizes["length_work"])
        self.rates = self.layout.rates(stage.rate, stage.factor, stage.decay)
        inputs = task.X.reshape(-1) if self.layout.is_direct else np.empty(0)
        self._arrays = (self.thetas, self.grads, self.works, inputs, self.data, self.sizes)
        if stage.decay > 0:
            self.pull = self._pull()

    def _samples(self) -> Samples:
        """Return the samples on which the loss is taken: the mean over draws of labels."""
        drawn, noise = self.stage.samples(), self.stage.noise
        if noise is None:
            return drawn
        self.floor += noise.variance(drawn.Y.shape[1])
        return drawn._replace(Y=noise.mean(drawn.Y))

    def _pull(self) -> np.ndarray:
        """Return what the loss's gradient by each scaled entry has of the entry itself."""
        trained = self.layout.speeds > 0
        scales = np.where(trained, self.layout.scales, 1.0)
        return self.layout.entries(self.stage.decay * trained / scales**2)

    def advance(self, steps: int) -> None:
        """Take steps down the gradient, all members."""
        self._descend(self.rates, steps)

    def _descend(self, rates: np.ndarray, steps: int) -> None:
        self.module.descend(*self._arrays, rates, steps)

    def loss(self, member: int = 0) -> float:
        """Return a member's loss."""
        squares = self.module.squares(*self._arrays, member)
        mean = 1 if self.layout.on_moments else self.layout.samples
        fit = self.stage.factor * (squares / mean + self.floor)
        if self.stage.decay == 0:
            return fit
        return fit + float(self.pull @ self.thetas[member] ** 2) / 2

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        """Return the loss's gradient by the scaled parameters, zero for those not trained.

        A step with rates 0 writes it and moves nothing. For engines of one member.
        """
        kept = self.thetas[0].copy()
        self.thetas[0] = theta
        self.grads[0] = 0.0
        self._descend(np.zeros_like(self.rates), 1)
        self.thetas[0] = kept
        slope = self.layout.share_of_gradient(self.stage.factor) * self.grads[0]
        return slope if self.stage.decay == 0 else slope + self.pull * theta

    def stable_limit(self, theta: np.ndarray) -> float:
        r"""Return $2/\lambda_{\max}$ of the loss's Hessian by the weights; inf if none is positive.

        Where parameters have rates of their own, rows and columns of the Hessian are multiplied
        with their roots. By differences of the gradient.
        """
        scale = self.layout.entries(self.layout.scales * np.sqrt(self.layout.speeds))
        size = max(float(np.abs(theta).max(initial=0.0)), 1.0)

        def product(v: np.ndarray) -> np.ndarray:
            h = _DIFFERENCE * size / max(float(np.abs(scale * v).max(initial=0.0)), _TINY)
            up, down = (self.gradient(theta + side * scale * v) for side in (h, -h))
            return scale * (up - down) / (2 * h)

        count = len(theta)
        if count <= _DENSE:
            matrix = np.stack([product(column) for column in np.eye(count)])
            top = float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[-1])
        else:
            hessian = LinearOperator((count, count), matvec=product, dtype=float)
            start = np.random.default_rng(0).standard_normal(count) * (scale != 0)
            # Lanczos: a plain power iteration stalls where the spectrum is nearly symmetric.
            top = float(eigsh(hessian, 1, which="LA", v0=start, tol=1e-3)[0][0])
        return 2 / top if top > 0 else np.inf
