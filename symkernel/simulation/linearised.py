r"""The flow of a linearised network integrated numerically, with Jacobians of the judge's own.

Rows of the Jacobian come from the backward pass of `reading.Pass`, that of an inner node from the
same network cut off behind it; nothing of the theory enters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.integrate import solve_ivp

from symkernel.errors import SymkernelError, as_times
from symkernel.problem.moments import shares_of
from symkernel.problem.network import Network
from symkernel.problem.nodes import Bias, Linear, Node
from symkernel.problem.problem import Problem
from symkernel.simulation.network_flow import spans_of
from symkernel.simulation.reading import Pass
from symkernel.simulation.setup import checked_gates

Arrays = Mapping[str, np.ndarray]

# Eigenvalues below this share of the largest are rounding.
_NULL = 1e-12


@dataclass(frozen=True, eq=False)
class LinearisedSolution:
    """The linearised network along its flow.

    Attributes
    ----------
    times : ndarray, shape (n_times,)
    weights : dict of str to ndarray, (n_times,) + shape
    nodes : dict of str to ndarray, (n_times, n_samples, size)
        "output", and "hidden" if the network has it, on the samples of the last phase.
    fastest : float
        The largest eigenvalue of the weighted kernel of the last phase.
    """

    times: np.ndarray
    weights: dict[str, np.ndarray]
    nodes: dict[str, np.ndarray]
    fastest: float


def jacobian(
    net: Network, node: Node, weights: Arrays, X: np.ndarray, gates: Arrays
) -> tuple[np.ndarray, np.ndarray]:
    """Return a node on samples, and its Jacobian by all trained parameters of the network.

    Shapes (n_samples, size) and (n_samples, size, n_parameters); parameters in the order of
    ``net.parameters``, flattened.
    """
    cut = Network.build(node)
    known = {p.name: weights[p.name] for p in cut.parameters}
    done = Pass(cut, known, X, gates)
    back = done.sensitivities()
    columns = []
    for p in net.parameters:
        if not p.trained:
            continue
        shape = tuple(int(n) for n in p.shape)
        part = np.zeros((len(X), int(node.size), *shape))
        for use in cut.order:
            if isinstance(use, (Linear, Bias)) and use.parameter is p:
                signal = back[use]
                if p.kind == "dense":
                    inner = done.values[use.children[0]]
                    part += signal[..., None] * inner[:, None, None, :]
                elif p.kind == "diagonal":
                    part += signal * done.values[use.children[0]][:, None]
                else:
                    part += signal
        columns.append(float(p.scale) * part.reshape(len(X), int(node.size), -1))
    return done.values[node], np.concatenate(columns, axis=-1)


@dataclass(frozen=True, eq=False)
class _Phase:
    """One task: Jacobian and start of the outputs, targets, weights of the mean."""

    J: np.ndarray
    start: np.ndarray
    Y: np.ndarray
    shares: np.ndarray

    def gradient(self, d: np.ndarray, factor: float) -> np.ndarray:
        off = self.start + self.J @ d - self.Y
        return 2 * factor * np.einsum("n,nc,ncp->p", self.shares, off, self.J)


class LinearisedFlow:
    """Gradient flow and gradient descent of a linearised network, step by step.

    Parameters
    ----------
    problem : Problem
        With numbers, samples, and few parameters: Jacobians are held whole.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, net = problem, problem.network
        self.trained = [p for p in net.parameters if p.trained]
        tasks = [phase.task for phase in problem.curriculum.phases]
        self.gates = checked_gates(net, tasks, None)
        self.speeds = np.concatenate(
            [np.full(int(np.prod([int(n) for n in p.shape])), float(p.rate)) for p in self.trained]
        )
        self.factor = float(problem.loss.factor)
        self.phases = []
        for task, gates in zip(tasks, self.gates, strict=True):
            start, J = jacobian(net, net.output, problem.weights.arrays, task.X, gates)
            self.phases.append(_Phase(J, start, task.Y, shares_of(task)))

    def rate(self, d: np.ndarray, phase: int) -> np.ndarray:
        """Return the velocity of the displacement."""
        return -self.speeds * self.phases[phase].gradient(d, self.factor)

    @cached_property
    def rates(self) -> np.ndarray:
        """Eigenvalues of the weighted kernel of the last phase that are not rounding, downwards."""
        last = self.phases[-1]
        scaled = np.sqrt(2 * self.factor * last.shares)[:, None, None] * last.J
        A = scaled.reshape(-1, len(self.speeds)) * np.sqrt(self.speeds)
        found = np.linalg.svd(A, compute_uv=False) ** 2
        return found[found > _NULL * found[0]]

    @property
    def fastest(self) -> float:
        """The largest eigenvalue, or 0."""
        return float(self.rates[0]) if len(self.rates) else 0.0

    @property
    def slowest(self) -> float:
        """The smallest eigenvalue that is not rounding, or 0."""
        return float(self.rates[-1]) if len(self.rates) else 0.0

    def integrated(self, times: object) -> LinearisedSolution:
        """Integrate with DOP853 at relative tolerance 1e-13."""
        clock = as_times(times)
        rows, d = np.empty((len(clock), len(self.speeds))), np.zeros(len(self.speeds))
        for k, span in enumerate(spans_of(self.problem.curriculum, clock)):
            at = 0.0
            for row, stop in enumerate(map(float, [*span.times, span.end])):
                d = self._advanced(d, k, at, stop)
                at = max(at, stop)
                if row < len(span.rows):
                    rows[span.rows[row]] = d
        return self.solution(clock, rows)

    def _advanced(self, d: np.ndarray, k: int, at: float, stop: float) -> np.ndarray:
        if not stop > at:
            return d
        found = solve_ivp(
            lambda _, y: self.rate(y, k), (at, stop), d, "DOP853", rtol=1e-13, atol=1e-16
        )
        if not found.success:
            raise SymkernelError(f"The integrator stopped in phase {k}: {found.message}")
        return found.y[:, -1]

    def descended(self, learning_rate: float, steps: list[int]) -> LinearisedSolution:
        """Take steps of gradient descent one by one; phases are rounded to whole steps."""
        starts = np.rint(np.array(self.problem.curriculum.starts) / learning_rate)
        rows, d, taken = [], np.zeros(len(self.speeds)), 0
        for count in steps:
            while taken < count:
                k = int(np.searchsorted(starts, taken, side="right")) - 1
                d = d + learning_rate * self.rate(d, k)
                taken += 1
            rows.append(d)
        return self.solution(learning_rate * np.array(steps), np.array(rows))

    def solution(self, clock: np.ndarray, rows: np.ndarray) -> LinearisedSolution:
        """Return what displacements mean."""
        net, start = self.problem.network, self.problem.weights.arrays
        cuts = np.cumsum([int(np.prod([int(n) for n in p.shape])) for p in self.trained])[:-1]
        moved = {
            p.name: part.reshape(len(rows), *(int(n) for n in p.shape))
            for p, part in zip(self.trained, np.split(rows, cuts, axis=1), strict=True)
        }
        weights = {name: w + moved.get(name, np.zeros((len(rows),) + (1,) * w.ndim))
                   for name, w in start.items()}  # fmt: skip
        X, gates = self.problem.curriculum.phases[-1].task.X, self.gates[-1]
        nodes = {}
        for name in ("output", "hidden"):
            if name in net.nodes:
                value, J = jacobian(net, net.nodes[name], start, X, gates)
                nodes[name] = value + np.einsum("ncp,tp->tnc", J, rows)
        return LinearisedSolution(clock, weights, nodes, self.fastest)
