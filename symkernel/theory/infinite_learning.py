r"""Learning of an infinitely wide network: outputs, hidden similarity, and its change at 1/width.

The tangent kernel of the limit stays as it is, so that outputs follow a linear flow: with the
loss $\kappa$ times the mean over n samples of equal weight, initial outputs 0 and
$s = 2\kappa t/n$,

$$f_t(x) = \Theta(x, X)\,\varphi_s(\Theta) Y, \qquad
  \varphi_s(\lambda) = (1 - e^{-\lambda s})/\lambda .$$

The activity of a unit moves by $O(n_h^{-1/2})$, and the similarity per unit of a hidden layer stays
what it was. What $n_h$ units together make of it is of order 1: for one hidden layer

$$\Delta\, h(x) \cdot h(x') \to \langle\phi'\phi'\,u u'\rangle
  + \bigl\langle\phi\,(\phi'' u'^2/2 + \phi' w')\bigr\rangle + \bigl\langle(\phi'' u^2/2
  + \phi' w)\,\phi'\bigr\rangle,$$

with primes on u and w for x', averaged over one unit's weights. Here $n_h^{-1/2} u(x)$ is the
change of the pre-activation to first order, $n_h^{-1} w(x)$ to second order:

$$u(x) = \sum_i \Theta_1(x, x_i)\,\phi'_i\,(a \cdot c_i), \qquad
  \langle w(x)\rangle_a = \sum_{ij} \Theta_1(x, x_i) \bigl[r_2 \phi'_i \phi_j
  + \sigma_2^2 \phi''_i \phi'_j\,\Theta_1(x_i, x_j)\bigr] \int_0^s r_i \cdot c_j .$$

r is the residual, c its integral, a the unit's read-out weights, $\Theta_1$ the tangent kernel of
the pre-activations, $r_2$ and $\sigma_2^2$ rate and variance of the read-out. The first term
alone is that of the linearised network; the others, its curvature, are of the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.special import exprel

from symkernel.errors import (
    InvalidArgument,
    OutsideValidity,
    ShapeMismatch,
    as_positive,
    as_real_array,
    as_times,
)
from symkernel.problem.loss import SquaredError
from symkernel.problem.task import Task
from symkernel.theory.infinite_width import InfiniteWidth
from symkernel.theory.unit_averages import UnitMoments, unit_averages
from symkernel.theory.wide_layers import numbers_of

__all__ = ["GramChange", "InfiniteLearning"]


class GramChange(NamedTuple):
    r"""Change of $h(x) \cdot h(x')$, of all units together, in the limit of infinite width.

    Attributes
    ----------
    linearised, curvature : ndarray, shape (n_times, n_samples, n_samples)
        The two parts; both are of the same order.
    error : float
        Of either part, relative to the largest entry of the sum: four standard errors of the
        averages over weights, or the difference of two grids; 0 where they are closed.
    """

    linearised: np.ndarray
    curvature: np.ndarray
    error: float

    @property
    def total(self) -> np.ndarray:
        """The sum of both parts."""
        return self.linearised + self.curvature


@dataclass(frozen=True, eq=False)
class InfiniteLearning:
    """Gradient flow of an infinitely wide network whose initial outputs are 0.

    Attributes
    ----------
    limit : InfiniteWidth
        With numbers; in the parameterisation "ntk".
    task : Task
        With samples.
    loss : SquaredError

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> net = sk.Network.two_layer(2, 9, 1, activation="erf", parameterisation="ntk")
    >>> task = sk.Task([[1.0, 0.0], [0.0, 1.0]], [[1.0], [-1.0]])
    >>> run = sk.infinite_width(net).learn(task)
    >>> assert np.allclose(run.outputs([0.0, 1e6])[:, :, 0], [[0, 0], [1, -1]])
    """

    limit: InfiniteWidth
    task: Task
    loss: SquaredError

    def __post_init__(self) -> None:
        net, task = self.limit.net, self.task
        if net.parameterisation != "ntk":
            raise InvalidArgument(
                "Argument 'net' must have the parameterisation 'ntk' for learning in the limit: "
                "in the standard one the tangent kernel grows with the width."
            )
        if not isinstance(task, Task):
            raise InvalidArgument(f"Argument 'task' must be a Task, not {type(task).__name__}.")
        if not isinstance(self.loss, SquaredError):
            raise InvalidArgument(f"Argument 'loss' must be a SquaredError, not {self.loss!r}.")
        if self.loss.weight_decay != 0:
            raise InvalidArgument(
                "Argument 'loss' must be without weight decay: the limit's kernel would decay."
            )
        self._samples  # noqa: B018  # refuses a task without samples

    @cached_property
    def _samples(self) -> tuple[np.ndarray, np.ndarray]:
        X, Y = self.task.X, self.task.Y
        if X is None or Y is None:
            raise InvalidArgument(
                "Argument 'task' must hold samples, Task(X, Y): nonlinear networks see more than "
                "moments."
            )
        X, Y = as_real_array(X, "task.X", 2), as_real_array(Y, "task.Y", 2)
        for name, size, found in (
            ("inputs", self.limit.net.inputs, X),
            ("outputs", self.limit.net.outputs, Y),
        ):
            if size != found.shape[1]:
                raise ShapeMismatch(
                    f"The network has {size} {name}, the task has {found.shape[1]}; they must "
                    f"agree."
                )
        return X, Y

    @cached_property
    def _roots(self) -> np.ndarray:
        """Roots of the samples' shares in the flow, 2 kappa times their weights, as a column."""
        n, weights = len(self._samples[0]), self.task.sample_weights
        shares = np.full(n, 1 / n) if weights is None else weights
        return np.sqrt(2 * float(self.loss.factor) * shares)[:, None]

    @cached_property
    def _spectrum(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Eigenvalues and vectors of the tangent kernel of the samples, targets in them.

        With the roots of the shares on both sides, where time is flow time.
        """
        X, Y = self._samples
        D = self._roots
        eigenvalues, vectors = np.linalg.eigh(D * self.limit.ntk.compile()(X) * D.T)
        # Negative by rounding only.
        return np.maximum(eigenvalues, 0.0), vectors, vectors.T @ (D * Y)

    def _pulls(self, clock: np.ndarray) -> np.ndarray:
        """Return the integrals c of the residuals, shape (n_times, n_samples, n_outputs)."""
        eigenvalues, vectors, targets = self._spectrum
        scaled = self._roots * vectors
        return np.einsum("iq,tq,qo->tio", scaled, _entire(eigenvalues, clock), targets)

    def _seen(self, X: Any) -> np.ndarray:
        """Return the samples that are looked at."""
        own = self._samples[0]
        seen = own if X is None else as_real_array(X, "X", 2)
        if seen.shape[1] != own.shape[1]:
            raise ShapeMismatch(
                f"Argument 'X' must be of shape (n_samples, {own.shape[1]}), not {seen.shape}."
            )
        return seen

    def outputs(self, times: Any, X: Any = None) -> np.ndarray:
        """Return outputs through time, shape (n_times, n_samples, n_outputs).

        Parameters
        ----------
        times : array_like, shape (n_times,)
            Flow time.
        X : array_like, shape (n_samples, n_inputs), optional
            Where to look; without it at the task's own samples.
        """
        own, K = self._samples[0], self.limit.ntk.compile()
        kernel = K(own) if X is None else K(self._seen(X), own)
        return np.einsum("xi,tio->txo", kernel, self._pulls(as_times(times)))

    def similarity(self, of: str = "hidden", X: Any = None) -> np.ndarray:
        r"""Return $h(x) \cdot h(x')$ per unit of a hidden layer: it does not move in the limit.

        Parameters
        ----------
        of : str
            Name of the layer.
        X : array_like, shape (n_samples, n_inputs), optional
        """
        return self.limit.similarity(of).compile()(self._seen(X))

    def gram_change(self, times: Any, X: Any = None, *, accuracy: float = 3e-3) -> GramChange:
        r"""Return by how much $h(x) \cdot h(x')$ of all hidden units moves, to leading order.

        For one hidden layer, and weights whose initial outputs are 0 because they come in pairs:
        two units of equal input weights and opposite read-out weights.

        Parameters
        ----------
        times : array_like, shape (n_times,)
        X : array_like, shape (n_samples, n_inputs), optional
            Where to look; without it at the task's own samples.
        accuracy : float
            Largest error of averages over weights that have no closed form; see `GramChange`.

        Raises
        ------
        OutsideValidity
            For more hidden layers, or activations with corners, whose curvature is no function; if
            averages do not reach the accuracy, or leave the floating-point numbers.
        """
        limit = self.limit
        if len(limit.layers) != 2:
            raise OutsideValidity(
                f"The change of the hidden similarity is known for one hidden layer, not "
                f"{len(limit.layers) - 1}; simulate deeper networks."
            )
        clock = as_times(times)
        own = self._samples[0]
        seen = self._seen(X)
        first, second = limit.layers
        numbers = numbers_of(
            [
                first.weight,
                first.bias,
                first.weight_rate,
                first.bias_rate,
                second.weight,
                second.weight_rate,
            ],
            {},
        )
        weight, bias, rate, shift, spread, readout = numbers
        points = np.concatenate([own, seen])
        overlaps = points @ points.T
        moments = UnitMoments(
            covariances=weight * overlaps + bias,
            tangent=rate * overlaps + shift,
            samples=len(own),
            spread=spread,
            readout=readout,
            pulls=self._pulls(clock),
            meetings=self._meetings(clock),
        )
        parts, error = unit_averages(first.activation, moments, as_positive(accuracy, "accuracy"))
        linearised, curvature = (part[:, len(own) :, len(own) :] for part in parts)
        return GramChange(linearised, curvature, error)

    def _meetings(self, clock: np.ndarray) -> np.ndarray:
        r"""Return $\int_0^s r_i \cdot c_j$, shape (n_times, n_samples, n_samples)."""
        eigenvalues, vectors, targets = self._spectrum
        power, scaled = targets @ targets.T, self._roots * vectors
        found = np.empty((len(clock), len(eigenvalues), len(eigenvalues)))
        for k, s in enumerate(clock):
            found[k] = scaled @ (power * _meeting(eigenvalues, s)) @ scaled.T
        return found


def _entire(eigenvalues: np.ndarray, clock: np.ndarray) -> np.ndarray:
    r"""Return $(1 - e^{-\lambda s})/\lambda$, s at $\lambda = 0$, for all s and eigenvalues."""
    return clock[:, None] * exprel(-np.outer(clock, eigenvalues))


def _meeting(eigenvalues: np.ndarray, s: float) -> np.ndarray:
    r"""Return $\int_0^s e^{-p \tau} (1 - e^{-q \tau})/q\,d\tau$ for all pairs of eigenvalues.

    As a divided difference of $(1 - e^{-x s})/x$ it cancels where q s is small: there it is a
    Gauss sum over $\tau$ instead, whose integrand is entire.
    """
    p, q = np.meshgrid(eigenvalues, eigenvalues, indexing="ij")
    values, sums = s * exprel(-p * s), s * exprel(-(p + q) * s)
    large = q * s > 1.0
    found = np.where(large, (values - sums) / np.where(large, q, 1.0), 0.0)
    if not large.all():
        slow = ~large
        # Where p s is large the integrand ends at about 40/p.
        end = np.minimum(s, 45.0 / np.maximum(p[slow], 1e-300))
        nodes, shares = np.polynomial.legendre.leggauss(64)
        tau = 0.5 * end[:, None] * (1 + nodes)
        inner = np.exp(-p[slow][:, None] * tau) * tau * exprel(-q[slow][:, None] * tau)
        found[slow] = 0.5 * end * (inner @ shares)
    return found
