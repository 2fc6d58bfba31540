r"""The least-squares problem that a network linearised in its parameters is, task by task.

With $\rho = \sqrt{2\kappa}\,D^{1/2}(f - y)$, the residual weighted as the loss weights it,
$L = |\rho|^2/2$ and $\rho = \rho_0 + A d$, $A = \sqrt{2\kappa}\,D^{1/2} J$: so
$\dot d = -A^T\rho$ and $\dot\rho = -A A^T \rho$.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.theory.pseudo_kernel import ntk
from symkernel.theory.tangent_pass import Displacements, TangentPass, gates_of

# Numbers that a batch of displacements may take on its way through a network.
_BATCH = 2**22


def batches(count: int, numbers: int) -> Iterator[slice]:
    """Yield slices of `count` items, each of which takes so many numbers."""
    size = max(1, _BATCH // max(numbers, 1))
    for begin in range(0, count, size):
        yield slice(begin, min(begin + size, count))


@dataclass(frozen=True, eq=False)
class LinearSystem:
    """A network linearised on the samples of a task.

    Attributes
    ----------
    tangent : TangentPass
    task : Task
    factor : float
        The loss's factor.
    """

    tangent: TangentPass
    task: Task
    factor: float

    @classmethod
    def of(cls, problem: Problem, task: Task, weights: Mapping[str, np.ndarray]) -> LinearSystem:
        """Return the system of a task, linearised at weights."""
        gates = gates_of(problem.network, task.gates, len(task.X))
        tangent = TangentPass(problem.network, weights, task.X, gates)
        return cls(tangent, task, float(problem.loss.factor))

    @cached_property
    def gain(self) -> np.ndarray:
        r"""$\sqrt{2\kappa w_i}$ for each sample, a column; $w_i = 1/n$ without weights."""
        n, shares = len(self.task.X), self.task.sample_weights
        shares = np.full(n, 1.0 / n) if shares is None else shares
        return np.sqrt(2 * self.factor * shares)[:, None]

    @property
    def layout(self) -> Displacements:
        """How displacements lie in a vector."""
        return self.tangent.layout

    @property
    def unknowns(self) -> int:
        """Number of outputs on all samples."""
        return self.task.Y.size

    def up(self, flat: np.ndarray) -> np.ndarray:
        """Return A times displacements (..., count), (..., unknowns)."""
        moved = self.gain * self.tangent.forward(flat, self.tangent.net.output)
        return moved.reshape(*flat.shape[:-1], -1)

    def down(self, signal: np.ndarray) -> np.ndarray:
        """Return the transpose of A times signals (..., unknowns), (..., count)."""
        shaped = signal.reshape(*signal.shape[:-1], *self.task.Y.shape)
        return self.tangent.backward(self.gain * shaped)

    def residual(self, flat: np.ndarray) -> np.ndarray:
        """Return the weighted residual after displacements (..., count), (..., unknowns)."""
        off = self.tangent.values[self.tangent.net.output] - self.task.Y
        return (self.gain * off).ravel() + self.up(flat)

    def rows(self, signals: np.ndarray) -> np.ndarray:
        """Return the transpose of A times many signals, a few at a time."""
        out = np.empty((len(signals), self.layout.count))
        for part in batches(len(signals), self.tangent.numbers):
            out[part] = self.down(signals[part])
        return out

    def columns(self) -> np.ndarray:
        """Return A, a few columns at a time."""
        out = np.empty((self.unknowns, self.layout.count))
        for part in batches(self.layout.count, self.tangent.numbers):
            out[:, part] = self.up(_units(part, self.layout.count)).T
        return out

    def mean_rate(self) -> float:
        """Return the mean eigenvalue of A A^T."""
        total = 0.0
        for part in batches(self.unknowns, self.tangent.numbers):
            total += float((self.down(_units(part, self.unknowns)) ** 2).sum())
        return total / self.unknowns

    def losses(self, flats: np.ndarray) -> np.ndarray:
        """Return the loss after each of many displacements (n, count), a few at a time."""
        out = np.empty(len(flats))
        for part in batches(len(flats), self.tangent.numbers):
            out[part] = (self.residual(flats[part]) ** 2).sum(axis=1) / 2
        return out

    def sample_matrix(self) -> np.ndarray:
        """Return A A^T, the tangent kernel weighted as the loss weights the samples."""
        net, X = self.tangent.net, np.ascontiguousarray(self.task.X)
        gates = {name: np.ascontiguousarray(g) for name, g in self.tangent.gates.items()}
        kernel = ntk(net).compile()(X, None, self.tangent.weights, gates or None)
        kernel *= self.gain[:, :, None, None] * self.gain.ravel()[None, None, :, None]
        return kernel.reshape(self.unknowns, self.unknowns)

    def parameter_matrix(self) -> np.ndarray:
        """Return A^T A, a few columns at a time."""
        count = self.layout.count
        out = np.empty((count, count))
        for part in batches(count, self.tangent.numbers):
            out[part] = self.down(self.up(_units(part, count)))
        return out

    @property
    def words(self) -> str:
        """Sizes in words."""
        n, outputs = self.task.Y.shape
        return f"{n} samples x {outputs} outputs, {self.layout.count} trained parameters"


def _units(part: slice, size: int) -> np.ndarray:
    """Return rows of the identity."""
    unit = np.zeros((part.stop - part.start, size))
    unit[np.arange(len(unit)), np.arange(part.start, part.stop)] = 1.0
    return unit


def norm(vector: np.ndarray) -> float:
    """Return the Euclidean length."""
    return math.sqrt(float(vector @ vector))
