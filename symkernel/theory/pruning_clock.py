r"""The pruning clock of a trajectory: how much of an irrelevant input the noise has removed.

Derived in `pruning_steps`; here it is read off a simulation, for any loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symkernel.check_report import CheckReport, Rung
from symkernel.errors import InvalidArgument, OutsideValidity, as_positive
from symkernel.problem.label_noise import LabelNoise
from symkernel.problem.loss import SquaredError
from symkernel.problem.network import Network
from symkernel.problem.task import Task
from symkernel.theory.information_derivation import DerivedFormula
from symkernel.theory.linear_readout import regression
from symkernel.theory.pruning_arguments import (
    check_fit,
    checked_steps,
    direction_of,
    pace_of,
    settings_of,
)
from symkernel.theory.pruning_gradients import fresh_square, sampled_square
from symkernel.theory.pruning_steps import pruning_formula
from symkernel.trajectory import Trajectory

__all__ = ["VALID", "PruningClock", "pruning_clock"]

# Later the direction that was not read out fluctuates into what is.
VALID = 2.0
# A readout that takes more of a direction does not ignore it.
_READ = 0.05


@dataclass(frozen=True, eq=False)
class PruningClock:
    r"""The pruning clock along a trajectory, and what it says of an irrelevant input.

    Made by `symkernel.pruning_clock`.

    Attributes
    ----------
    times : ndarray, shape (n_times,)
    steps : ndarray, shape (n_times,)
    clock : ndarray, shape (n_times,)
        X since the first record.
    rates : ndarray, shape (n_times,)
        What a step adds to X.
    learning_rate : float
    noise : float or None
        Standard deviation of the noise of the hidden units, for information.
    variance : float
        Of the irrelevant input.
    """

    times: np.ndarray
    steps: np.ndarray
    clock: np.ndarray
    rates: np.ndarray
    learning_rate: float
    noise: float | None
    variance: float
    trajectory: Trajectory = field(repr=False)
    net: Network = field(repr=False)
    task: Task = field(repr=False)
    direction: np.ndarray = field(repr=False)
    batch_size: int | None = field(repr=False)
    loss: Any = field(repr=False)
    label_noise: LabelNoise | None = field(repr=False)
    _pace: float = field(repr=False)

    def __repr__(self) -> str:
        late = (
            "" if self.is_valid.all() else f", of which {self.is_valid.sum()} up to X = {VALID:g}"
        )
        kind = "" if self.is_exact else "; an indication, as it is not two linear layers"
        return f"PruningClock(X = {self.clock[-1]:.4g} after {len(self.times)} records{late}{kind})"

    @property
    def is_valid(self) -> np.ndarray:
        """Where X is small enough for the law, (n_times,)."""
        return np.asarray(self.clock <= VALID)

    @property
    def is_exact(self) -> bool:
        """Whether the network is of two linear layers, for which the clock is derived."""
        return self.net.is_chain and len(self.net.parameters) == 2

    @property
    def closed_form(self) -> np.ndarray:
        r"""The clock where label noise alone is left, $\eta^2\mathrm{tr}\Sigma_\epsilon sk/B$.

        Raises
        ------
        OutsideValidity
            For other losses than the squared error, and where labels have no noise.
        """
        if not isinstance(self.loss, SquaredError):
            raise OutsideValidity(
                "The closed form of the clock is for squared error; of other losses it is known "
                "along a trajectory, as 'clock'."
            )
        scatter = self._label_variance()
        if scatter <= 0:
            raise OutsideValidity(
                "The closed form of the clock needs label noise: without it the clock stops as "
                "soon as the map is right."
            )
        if self.batch_size is None and self.task.X is None:
            raise OutsideValidity(
                "The closed form of the clock is for batches; the moments of fresh samples have no "
                "noise, so that nothing prunes. Give 'batch_size' to the simulation."
            )
        batch = len(self.task.X) if self.batch_size is None else self.batch_size
        pace = self._pace * (2 * float(self.loss.factor)) ** 2
        return np.asarray(pace * scatter * self.variance / batch * (self.steps - self.steps[0]))

    def _label_variance(self) -> float:
        if self.task.X is not None:
            found = self.label_noise
            return 0.0 if found is None else found.variance(int(self.task.outputs))
        _, left = regression(self.task.Sxx, self.task.Syx, self.task.Syy)
        return float(np.trace(left))

    def _layers(self) -> tuple[np.ndarray, np.ndarray]:
        if not self.is_exact:
            raise OutsideValidity(
                "What is kept of an input, and information about it, are for two linear layers "
                "without biases; of this network the clock alone is known."
            )
        one, two = self.net.parameters
        weights = self.trajectory.weights
        return float(one.scale) * weights[one.name], weights[two.name]

    @property
    def kept(self) -> np.ndarray:
        """Squared hidden weights of the irrelevant input, measured, (n_times,)."""
        first, _ = self._layers()
        return np.asarray(((first @ self.direction) ** 2).sum(1))

    @property
    def imbalance(self) -> np.ndarray:
        r"""$-n^T\Delta n$, measured along the direction n that held the input first, (n_times,).

        This is what shrinks by exp(-X) to first order in the shares of the steps, whatever else
        moves; `kept` has fluctuations beside it.
        """
        first, second = self._layers()
        one, two = self.net.parameters
        n = first[0] @ self.direction
        size = np.linalg.norm(n)
        if size == 0:
            raise OutsideValidity("The first record has no hidden weights of the irrelevant input.")
        n = n / size
        read = ((second @ n) ** 2).sum(1) * float(one.rate / two.rate) * float(one.scale) ** 2
        return np.asarray(((n @ first) ** 2).sum(1) - read)

    @property
    def readout_share(self) -> float:
        """How much of the direction that held the input first the readout took then, 0 to 1."""
        first, second = self._layers()
        n, size = first[0] @ self.direction, np.linalg.norm(second[0])
        return float(np.linalg.norm(second[0] @ n) / (np.linalg.norm(n) * size or 1.0))

    def _bits(self, kept: np.ndarray) -> np.ndarray:
        if self.noise is None:
            raise InvalidArgument(
                "Argument 'noise' must be given for information: the standard deviation of the "
                "noise of the hidden units."
            )
        return np.asarray(0.5 * np.log2(1 + self.variance * kept / self.noise**2))

    @property
    def information(self) -> np.ndarray:
        """Bits about the irrelevant input in the noisy hidden layer, measured, (n_times,)."""
        return self._bits(self.kept)

    @property
    def predicted(self) -> np.ndarray:
        """The same as the clock predicts it from the first record, (n_times,)."""
        return self._bits(self.kept[0] * np.exp(-self.clock))

    @property
    def predicted_in_closed_form(self) -> np.ndarray:
        """The same from the closed form of the clock, (n_times,)."""
        return self._bits(self.kept[0] * np.exp(-self.closed_form))

    @property
    def formula(self) -> DerivedFormula:
        """The law on the manifold without error, with the steps that lead to it."""
        return pruning_formula()

    def latex(self, names: Mapping[str, str] | None = None) -> str:
        """Return the law as an ``aligned`` block."""
        return self.formula.latex(names)

    def check(self) -> CheckReport:
        """Check every step of the derivation, and measure the law's error on this trajectory.

        How the error falls with the learning rate `symkernel.check` finds out, by simulation.
        """
        report = CheckReport.of_steps("the pruning clock", self.formula.steps)
        seen = self.is_valid.sum() > 1
        found = f"nothing is measured: all later records are beyond X = {VALID:g}; record earlier"
        own = Rung(
            len(report.rungs) + 1,
            "This trajectory",
            None if seen else False,
            self._measured() if seen else found,
            measured=seen,
        )
        return CheckReport(report.subject, (*report.rungs, own))

    def _measured(self) -> str:
        if not self.is_exact:
            return f"X = {self.clock[-1]:.3g}; an indication, as it is not two linear layers"
        late = self.is_valid.nonzero()[0][-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            fell = -np.log(self.imbalance[late] / self.imbalance[0])
        words = f"X = {self.clock[late]:.3g}, measured {fell:.3g}"
        if self.readout_share > _READ:
            words += f"; the readout took {self.readout_share:.0%} of the direction at first"
        if self.noise is not None:
            gap = np.abs(self.information - self.predicted)[self.is_valid].max()
            words += f"; largest error of the information {gap:.2g} bits"
        return words + f"; up to X = {VALID:g}"


def _summed(rates: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return the sum over all steps since the first, of the rate interpolated between records."""
    gaps = np.diff(steps)
    added = gaps * rates[:-1] + np.diff(rates) * (gaps - 1) / 2
    return np.concatenate([[0.0], np.cumsum(added)])


def pruning_clock(
    trajectory: Trajectory,
    net: Network,
    task: Task,
    *,
    irrelevant: Any,
    batch_size: int | None = None,
    loss: Any = None,
    label_noise: Any = None,
    noise: float | None = None,
) -> PruningClock:
    r"""Return how much of an irrelevant input the noise of descent has removed, for any loss.

    With e minus the gradient of the loss by the output, and z the input,

    $$X = \eta^2 \sum_k \langle |G_k \hat e_z|^2 \rangle
        \approx \frac{\eta^2}{B} \sum_k \langle |e_k|^2 z^2 \rangle,$$

    and what a hidden direction that is not read out keeps of z falls as $e^{-X}$: of a noisy layer
    $I = \tfrac12\log_2(1 + s r_0 e^{-X}/\sigma^2)$ bits are left.

    Parameters
    ----------
    trajectory : Trajectory
        Of `symkernel.simulate`, or of a law with steps, on this task alone. Between records the
        rate is interpolated.
    net : Network
        Two linear layers; of other networks X is an indication.
    task : Task
        With samples, or Gaussian: moments, or a linear teacher (then the squared error alone).
    irrelevant : int or array_like, shape (n_inputs,)
        The input, or a direction among the inputs, made of unit length.
    batch_size : int, optional
        Samples of a step; all if not given. A simulation of `symkernel.simulate` knows its batch
        size, loss and label noise: they are read off it, and others are refused.
    loss : SquaredError, CrossEntropy or callable, optional
        Of any other loss a function of outputs and targets, (n_samples, n_outputs) each, that
        returns minus the gradient by the outputs.
    label_noise : LabelNoise, optional
        Drawn anew at every visit.
    noise : float, optional
        Standard deviation of the noise of the hidden units, needed for information.

    Returns
    -------
    PruningClock
        The clock, its closed form if there is one, and information measured and predicted.

    Raises
    ------
    InvalidArgument
        For settings that are not those of the simulation, and for more than one phase.
    NoClosedForm
        Under weight decay, and for fresh samples of which the moments are not known.
    OutsideValidity
        For a trajectory that does not count steps.

    Notes
    -----
    To leading order in the learning rate, and valid up to about X = 2: later the direction
    fluctuates into the readout and back. The mean of $|e|^2 z^2$ is not that of $|e|^2$ times that
    of $z^2$: errors may sit where z is small. Derived here, in `PruningClock.formula`.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> net = sk.Network.two_layer(inputs=2, hidden=2, outputs=1)
    >>> right = sk.weights.from_arrays(net, [np.eye(2), [[1.0, 0.0]]])
    >>> task = sk.Task.from_teacher(net, right, noise=1.0)  # input 1 is irrelevant
    >>> sim = sk.simulate(net, task, right, 0.02, steps=2500, batch_size=1)
    >>> found = sk.pruning_clock(sim, net, task, irrelevant=1, noise=0.3)
    >>> assert np.isclose(found.closed_form[-1], 1.0)  # 0.02^2 steps
    >>> assert abs(found.predicted - found.information).max() < 0.15  # of 1.8 bits
    """
    steps = checked_steps(trajectory, net, task)
    loss, batch, labels = settings_of(trajectory, task, loss, batch_size, label_noise)
    check_fit(net, task, trajectory, loss)
    size = None if noise is None else as_positive(noise, "noise")
    direction = direction_of(irrelevant, int(net.inputs))
    if task.X is not None:
        z = task.X @ direction
        square = sampled_square(loss, labels, task, z, batch)
        squares = np.array([square(f) for f in trajectory.outputs])
        variance = float((z**2).mean())
    else:
        square = fresh_square(float(loss.factor), task, direction, batch)
        squares = np.array([square(W) for W in trajectory.end_to_end])
        variance = float(direction @ task.Sxx @ direction)
    rate = float(trajectory.times[-1] / steps[-1])
    pace = rate**2 * pace_of(net)
    rates = pace * squares
    clock = _summed(rates, steps)
    for array in (clock, rates):
        array.setflags(write=False)
    return PruningClock(
        trajectory.times, steps, clock, rates, rate, size, variance,
        trajectory, net, task, direction, batch, loss, labels, pace,
    )  # fmt: skip
