r"""Gradient flow of any network: the simulator's gradient as the right-hand side of an equation."""

from __future__ import annotations

import numpy as np

from symkernel.errors import InvalidArgument
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.simulation.descent import checked_gates
from symkernel.simulation.engine import Engine, Stage
from symkernel.simulation.layout import aligned

# Relative length of the difference that gives a derivative along a direction.
_DIFFERENCE = 1e-5


class NetworkFlow:
    """The flow of all parameters of a network on the samples of a task, gates included.

    The gradient is that of the simulator's compiled program; rates of the parameters, scales and
    weight decay are in it.
    """

    def __init__(self, problem: Problem) -> None:
        net, tasks = problem.network, [phase.task for phase in problem.curriculum.phases]
        if any(task.X is None for task in tasks):
            raise InvalidArgument(
                "The flow of a network that is not a chain of dense layers is integrated on "
                "samples; give the task as samples, not as moments or by a teacher."
            )
        loss = problem.loss
        factors = float(loss.factor), False, float(loss.weight_decay)
        self.engines = []
        for task, gates in zip(tasks, checked_gates(net, tasks, None), strict=True):
            thetas = aligned(1, sum(w.size for w in problem.weights.arrays.values()))
            self.engines.append((task, Engine(Stage(net, task, gates, 1.0, *factors), thetas)))
        self.parameters = net.parameters
        self.layout = self.engines[0][1].layout
        self.scales = self.layout.entries(self.layout.scales)
        self.speeds = self.layout.entries(self.layout.speeds)

    def split(self, flat: np.ndarray) -> list[np.ndarray]:
        """Return a vector of all parameters as one array for each."""
        parts = np.split(flat, self.layout.starts[1:-1])
        return [part.reshape(p) for part, p in zip(parts, self.layout.shapes, strict=True)]

    def rate(self, flat: np.ndarray, task: Task) -> np.ndarray:
        """Return the velocity of all parameters.

        The imaginary part of a complex vector is a small step off its real part; the velocity then
        changes by the imaginary part of what is returned, found by central differences.
        """
        if not np.iscomplexobj(flat):
            return self._velocity(flat, task)
        length = float(np.linalg.norm(flat.imag)) or 1.0
        span = _DIFFERENCE * max(1.0, float(np.abs(flat.real).max(initial=0.0)))
        step = flat.imag * (span / length)
        ahead, behind = (self._velocity(flat.real + side * step, task) for side in (1, -1))
        return (ahead + behind) / 2 + 1j * (ahead - behind) * (length / (2 * span))

    def _velocity(self, flat: np.ndarray, task: Task) -> np.ndarray:
        engine = next(engine for known, engine in self.engines if known is task)
        return -self.speeds * self.scales * engine.gradient(self.scales * flat)
