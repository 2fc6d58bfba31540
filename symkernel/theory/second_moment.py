r"""The exact second-moment law of stochastic gradient descent on linear regression.

Which networks it covers, and how the numbers of a problem come into it; the laws themselves are in
`second_moment_laws`, their derivation in `second_moment_steps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from symkernel.check_report import CheckReport
from symkernel.errors import (
    InvalidArgument,
    as_count,
    as_positive,
    as_real_array,
    refuse_batch,
    refuse_large,
)
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.label_noise import LabelNoise
from symkernel.problem.loss import SquaredError
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.problem.weights import Weights
from symkernel.theory.information_derivation import DerivedFormula
from symkernel.theory.linear_readout import ROUNDING, Readout
from symkernel.theory.pruning_gradients import online_noise
from symkernel.theory.second_moment_laws import FreshBatches, SampledBatches
from symkernel.theory.second_moment_steps import second_moment_formula

# Larger numbers of steps are no exact float64.
_MOST_STEPS = 2**53

__all__ = ["SecondMoment", "second_moment", "stability_limit"]


@dataclass(frozen=True, eq=False)
class SecondMoment:
    r"""Mean and covariance of linear weights under stochastic gradient descent, at every step.

    Made by `symkernel.second_moment`.

    Attributes
    ----------
    parameter : str
        Name of the trained parameter, whose shape is (n_outputs, n_features).
    learning_rate : float
    batch_size : int
    limit : float
        Learning rates below it are stable in mean square.
    optimum : ndarray, shape (n_outputs, n_features)
        Where the mean goes: the weights of least squares nearest to the start.
    """

    parameter: str
    learning_rate: float
    batch_size: int
    limit: float
    optimum: np.ndarray
    _law: FreshBatches | SampledBatches
    _rate: float
    _start: np.ndarray
    _floor: float
    _factor: float

    def __repr__(self) -> str:
        return (
            f"SecondMoment({self.parameter} {self.optimum.shape}; learning rate "
            f"{self.learning_rate:g} of at most {self.limit:.4g}, batches of {self.batch_size})"
        )

    def _moments(self, steps: Any) -> tuple[np.ndarray, np.ndarray, bool]:
        array = np.asarray(steps)
        many = array.ndim > 0
        if array.dtype.kind not in "iu":
            raise InvalidArgument(
                f"Argument 'steps' must be a number of steps or a list of them, integers, not "
                f"{steps!r}."
            )
        numbers = as_real_array(np.atleast_1d(array), "steps", 1)
        if numbers.min() < 0 or numbers.max() > _MOST_STEPS:
            raise InvalidArgument(
                f"Argument 'steps' must be from 0 to {_MOST_STEPS:,}, but holds {steps!r}; what is "
                f"left after many steps is 'stationary_covariance'."
            )
        outputs, features = self.optimum.shape
        refuse_large((len(numbers), outputs, outputs, features, features), "covariance")
        found = self._law.moments(self._rate, self._start, np.atleast_1d(array).astype(np.int64))
        return (*found, many)

    def mean(self, steps: Any) -> np.ndarray:
        """Return the mean of the weights after so many steps, (n_steps, n_outputs, n_features).

        Parameters
        ----------
        steps : int or sequence of int
            One number of steps, or several.
        """
        u, _, many = self._moments(steps)
        found = self.optimum + u
        return found if many else found[0]

    def covariance(self, steps: Any) -> np.ndarray:
        """Return the covariance of the weights, (n_steps, outputs, features, outputs, features).

        Parameters
        ----------
        steps : int or sequence of int
            One number of steps, or several.
        """
        u, second, many = self._moments(steps)
        found = second - u[:, :, None, :, None] * u[:, None, :, None, :]
        found = found.swapaxes(2, 3)
        return found if many else found[0]

    def loss(self, steps: Any) -> Any:
        """Return the mean loss, noise of the labels included, (n_steps,).

        On all samples, or on fresh ones, as `Trajectory.loss` of a simulation.

        Parameters
        ----------
        steps : int or sequence of int
            One number of steps, or several.
        """
        _, second, many = self._moments(steps)
        excess = np.einsum("koofg,fg->k", second, self._law.H)
        found = self._factor * (self._floor + excess)
        return found if many else float(found[0])

    @cached_property
    def stationary_covariance(self) -> np.ndarray:
        """Covariance after many steps, (n_outputs, n_features, n_outputs, n_features)."""
        found = self._law.stationary(self._rate).swapaxes(1, 2)
        found.setflags(write=False)
        return found

    @property
    def formula(self) -> DerivedFormula:
        """The recursion, with the steps that lead to it."""
        return second_moment_formula()

    def latex(self, names: Mapping[str, str] | None = None) -> str:
        """Return the recursion as an ``aligned`` block."""
        return self.formula.latex(names)

    def check(self) -> CheckReport:
        """Check every step of the derivation."""
        return CheckReport.of_steps("the second-moment law", self.formula.steps)


def second_moment(
    net: Network,
    task: Task,
    w0: Weights,
    learning_rate: float,
    *,
    batch_size: int,
    loss: SquaredError | None = None,
    label_noise: LabelNoise | None = None,
    replacement: bool = False,
) -> SecondMoment:
    r"""Return mean and covariance of the weights of linear regression under stochastic descent.

    With $v = w - w^*$ and $S = \langle v v^T\rangle$, for fresh Gaussian inputs of second moment H,
    label noise $\sigma$ and batches of B,

    $$S \leftarrow S - \eta(HS + SH) + \eta^2 (1 + \tfrac1B) HSH
      + \tfrac{\eta^2}{B}(\mathrm{tr}\,HS + \sigma^2) H,$$

    exactly, at every step; for a set of samples likewise, with the samples' own fourth moments.

    Parameters
    ----------
    net : Network
        Linear, of which the last layer alone is trained: one layer, or a readout of fixed ones.
    task : Task
        A set of samples, or Gaussian inputs drawn anew for every step: of a linear teacher, or of
        given moments, whose targets are Gaussian too.
    w0 : Weights
        Where descent starts.
    learning_rate : float
        Below the limit of mean-square stability.
    batch_size : int
        Samples in a step.
    loss : SquaredError, optional
        Its factor, 1/2 if not given; without weight decay.
    label_noise : LabelNoise, optional
        Gaussian, on the labels of a set of samples, drawn anew for each at every visit. Teachers
        and moments have their own.
    replacement : bool
        Whether the samples of a batch are drawn with replacement.

    Returns
    -------
    SecondMoment

    Raises
    ------
    InvalidArgument
        If the learning rate is not below the limit; the message names it.
    NoClosedForm
        If the network is no linear regression.

    Notes
    -----
    Derived here, step by step in `SecondMoment.formula`.

    Every batch is drawn anew from the whole set. `symkernel.simulate` goes through a set in epochs,
    in which no sample comes twice: its batches are not independent, and their noise nearly cancels
    by the end of an epoch (with 12 samples in batches of 3, 0.3 % of this covariance is left there
    and 7 % within epochs at a learning rate of 0.05, 7 % and 23 % at 0.2). On fresh samples the two
    agree.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> net = sk.Network.mlp([3, 1])
    >>> teacher = sk.weights.from_arrays(net, [np.ones((1, 3))])
    >>> task = sk.Task.from_teacher(net, teacher, noise=0.5)
    >>> start = sk.weights.from_arrays(net, [np.zeros((1, 3))])
    >>> law = sk.second_moment(net, task, start, 0.1, batch_size=2)
    >>> assert np.isclose(law.limit, 2 * 2 / (2 + 3 + 1))
    >>> late = law.covariance(2000)[0, :, 0]
    >>> assert np.allclose(late, law.stationary_covariance[0, :, 0])
    """
    rate = as_positive(learning_rate, "learning_rate")
    problem, readout, law = _set_up(net, task, w0, batch_size, loss, label_noise, replacement)
    limit = law.limit / readout.pace
    if rate >= limit:
        raise InvalidArgument(
            f"Argument 'learning_rate' must be below {limit:.6g}, the limit of mean-square "
            f"stability of this task in batches of {batch_size}, not {rate:g}: from there on the "
            f"second moment of the weights grows without bound, even where their mean converges."
        )
    start = problem.weights.arrays[readout.parameter.name]
    least, left = readout.least_squares(task)
    # Directions in which the features do not vary stay where they are.
    h, Q = np.linalg.eigh(law.H)
    still = Q[:, h <= ROUNDING * max(h[-1], 0.0)]
    optimum = least + start @ still @ still.T
    optimum.setflags(write=False)
    # What is left of fresh targets is noise already.
    noise = law.noise if isinstance(law, SampledBatches) else 0 * left
    return SecondMoment(
        readout.parameter.name,
        rate,
        law.batch,
        limit,
        optimum,
        law,
        rate * readout.pace,
        start - optimum,
        float(np.trace(left + noise)),
        float(problem.loss.factor),
    )


def stability_limit(
    net: Network,
    task: Task,
    w0: Weights,
    *,
    batch_size: int,
    loss: SquaredError | None = None,
    replacement: bool = False,
) -> float:
    r"""Return the learning rate below which linear regression is stable in mean square.

    It is below $2/h_{\max}$, where the mean stops converging, and $2B/h(B + d + 1)$ for d Gaussian
    inputs of variance h. Parameters are those of `symkernel.second_moment`.

    Returns
    -------
    float
        Infinite if the features of all samples are 0.

    Raises
    ------
    InvalidArgument
        For arguments that cannot be used.
    NoClosedForm
        If the network is no linear regression.

    Notes
    -----
    Derived here, in `SecondMoment.formula`.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> net, X = sk.Network.mlp([2, 1]), np.array([[1.0, 0], [0, 1], [1, 1]])
    >>> task, w0 = sk.Task(X, X[:, :1]), sk.weights.gaussian(net, seed=1)
    >>> found = [sk.noise.stability_limit(net, task, w0, batch_size=B) for B in (1, 3)]
    >>> assert found[0] < found[1] and np.isclose(found[1], 2 / np.linalg.eigvalsh(X.T @ X / 3)[1])
    """
    _, readout, law = _set_up(net, task, w0, batch_size, loss, None, replacement)
    return law.limit / readout.pace


def _set_up(
    net: Network,
    task: Task,
    w0: Weights,
    batch_size: int,
    loss: SquaredError | None,
    label_noise: LabelNoise | None,
    replacement: bool,
) -> tuple[Problem, Readout, FreshBatches | SampledBatches]:
    """Return the checked problem, how it is read and its law."""
    batch = as_count(batch_size, "batch_size")
    if not isinstance(replacement, bool):
        raise InvalidArgument(f"Argument 'replacement' must be True or False, not {replacement!r}.")
    for value, kind, name in ((net, Network, "net"), (task, Task, "task"), (w0, Weights, "w0")):
        if not isinstance(value, kind):
            raise InvalidArgument(
                f"Argument '{name}' must be a {kind.__name__}, not {type(value).__name__}."
            )
    problem = Problem(net, Curriculum.of(task), w0, SquaredError() if loss is None else loss)
    if not problem.is_numeric:
        raise InvalidArgument(
            "Arguments 'net', 'task' and 'w0' must hold numbers, not symbols; give values."
        )
    readout = Readout.of(problem)
    least, left = readout.least_squares(task)
    noise = online_noise(label_noise, task, problem.loss)
    if task.X is None:
        if replacement:
            raise InvalidArgument(
                "Argument 'replacement' is for a set of samples; fresh ones never come twice."
            )
        return problem, readout, FreshBatches(readout.moment(task), left, batch)
    if not replacement:
        advice = "draw them with replacement=True, or take smaller batches"
        refuse_batch(batch, len(task.X), advice)
    X = np.ascontiguousarray(task.X @ readout.features.T)
    residuals = np.ascontiguousarray(task.Y - X @ least.T)
    added = (0.0 if noise is None else noise.variance(1)) * np.eye(len(least))
    return problem, readout, SampledBatches(X, residuals, added, batch, replacement)
