r"""What is read from recorded weights: activities, kernels, modes; all on demand.

The forward pass and its derivatives are written here a second time, in NumPy and one sample
axis at once: it is not on the hot path, and it judges the compiled program in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from types import MappingProxyType

import numpy as np

from symkernel.codegen.activation_values import value_and_slope
from symkernel.errors import refuse_large
from symkernel.problem.loss import SquaredError
from symkernel.problem.modes import common_basis
from symkernel.problem.moments import excess_loss
from symkernel.problem.network import Network
from symkernel.problem.nodes import Apply, Bias, Gate, Input, Linear, Node, Parameter, Slice, Sum
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.simulation.layout import Layout
from symkernel.simulation.moments import why_not
from symkernel.trajectory import Field, Undetermined


class Pass:
    """One pass through a network with given weights.

    Parameters
    ----------
    net : Network
        Numerical.
    weights : mapping of str to ndarray
        By name, without their scales.
    X : ndarray, shape (n_samples, n_inputs)
        Inputs.
    gates : mapping of str to ndarray
        Gates of the samples.
    """

    def __init__(
        self,
        net: Network,
        weights: Mapping[str, np.ndarray],
        X: np.ndarray,
        gates: Mapping[str, np.ndarray],
    ) -> None:
        self.net, self.gates = net, gates
        self.effective = {p: float(p.scale) * weights[p.name] for p in net.parameters}
        self.values: dict[Node, np.ndarray] = {}
        self.slopes: dict[Node, np.ndarray] = {}
        for node in net.order:
            self.values[node] = self._value(node, X)

    def _value(self, node: Node, X: np.ndarray) -> np.ndarray:
        match node:
            case Input():
                return X
            case Linear():
                weight, child = self.effective[node.parameter], self.values[node.child]
                return child @ weight.T if node.parameter.kind == "dense" else child * weight
            case Bias():
                return np.broadcast_to(self.effective[node.parameter], (len(X), int(node.size)))
            case Apply():
                value, self.slopes[node] = value_and_slope(node.activation, self.values[node.child])
                return value
            case Gate():
                return self.gates[node.name] * self.values[node.child]
            case Slice():
                return self.values[node.child][:, int(node.start) : int(node.stop)]
        assert isinstance(node, Sum)  # a network has no other nodes
        return sum(self.values[term] for term in node.terms)  # type: ignore[return-value]

    def sensitivities(self, seed: np.ndarray | None = None) -> dict[Node, np.ndarray]:
        r"""Return the derivative of each output by each node, (n_samples, n_outputs, size).

        `seed` of shape (n_samples, k, n_outputs) asks for k combinations of outputs instead.
        """
        output = self.net.output
        samples, n_out = self.values[output].shape
        if seed is None:
            seed = np.broadcast_to(np.eye(n_out), (samples, n_out, n_out))
        found: dict[Node, np.ndarray] = {output: seed}
        for node in reversed(self.net.order):
            for child, part in self._handed(node, found[node]):
                found[child] = found[child] + part if child in found else part
        return found

    def _handed(self, node: Node, mine: np.ndarray) -> Iterable[tuple[Node, np.ndarray]]:
        match node:
            case Linear():
                weight = self.effective[node.parameter]
                yield node.child, mine @ weight if weight.ndim == 2 else mine * weight
            case Apply():
                yield node.child, mine * self.slopes[node][:, None]
            case Gate():
                yield node.child, mine * self.gates[node.name][:, None]
            case Slice():
                part = np.zeros((*mine.shape[:2], int(node.child.size)))
                part[:, :, int(node.start) : int(node.stop)] = mine
                yield node.child, part
            case Sum():
                for term in node.terms:
                    yield term, mine

    def kernel(self) -> np.ndarray:
        r"""Return the NTK $\sum_\theta r_\theta\,\partial_\theta f_a(x)\,\partial_\theta f_b(x')$.

        Shape (n_samples, n_outputs, n_samples, n_outputs), over trained parameters; with the rate
        $r_\theta$ of each it is the kernel that drives learning. A dense weight never has its
        Jacobian formed: its part is a product of two Gram matrices, for each pair of places in
        which the weight is used.
        """
        back = self.sensitivities()
        samples, n_out = self.values[self.net.output].shape
        total = np.zeros((samples * n_out, samples * n_out))
        for parameter, uses in self._uses().items():
            part = np.zeros_like(total)
            for u in uses:
                for v in uses:
                    part += self._pair(parameter, u, v, back)
            total += float(parameter.rate) * float(parameter.scale) ** 2 * part
        return total.reshape(samples, n_out, samples, n_out)

    def _uses(self) -> dict[Parameter, list[Node]]:
        uses: dict[Parameter, list[Node]] = {}
        for node in self.net.order:
            if isinstance(node, (Linear, Bias)) and node.parameter.trained:
                uses.setdefault(node.parameter, []).append(node)
        return uses

    def _pair(
        self, parameter: Parameter, u: Node, v: Node, back: Mapping[Node, np.ndarray]
    ) -> np.ndarray:
        samples, n_out, size = back[u].shape
        left, right = (back[node] for node in (u, v))
        if parameter.kind == "diagonal":
            left, right = (back[n] * self.values[n.children[0]][:, None] for n in (u, v))
        gram = left.reshape(-1, size) @ right.reshape(-1, size).T
        if parameter.kind != "dense":
            return gram
        inputs = self.values[u.children[0]] @ self.values[v.children[0]].T
        return (gram.reshape(samples, n_out, samples, n_out) * inputs[:, None, :, None]).reshape(
            samples * n_out, samples * n_out
        )


class Reading:
    """Fields of a trajectory, computed from recorded weights when they are asked for.

    Parameters
    ----------
    problem : Problem
        Network and curriculum.
    gates : sequence of mappings
        Gates of each phase.
    phases : ndarray of int, shape (n_times,)
        Phase of each record: its task gives the samples on which activities are evaluated.
    layout : Layout
        By which `rows` are read.
    rows : ndarray, shape (n_times, n_parameters)
        Recorded vectors of parameters.
    """

    def __init__(
        self,
        problem: Problem,
        gates: tuple[Mapping[str, np.ndarray], ...],
        phases: np.ndarray,
        layout: Layout,
        rows: np.ndarray,
    ) -> None:
        self.problem, self.gates, self.phases = problem, gates, phases
        self.layout, self.rows = layout, rows
        self.net = problem.network
        self.tasks = [phase.task for phase in problem.curriculum.phases]

    @cached_property
    def weights(self) -> Mapping[str, np.ndarray]:
        """Recorded weights by name."""
        found = self.layout.weights(self.rows, self.problem.weights.arrays)
        for array in found.values():
            array.setflags(write=False)
        return MappingProxyType(found)

    def fields(self) -> dict[str, Field]:
        """Return all fields but the loss."""
        hidden: Field = self._no_samples() or Undetermined("the network has no node 'hidden'")
        gram = hidden
        if "hidden" in self.net.nodes and self._no_samples() is None:
            hidden, gram = (lambda: self.activity("hidden")), self.hidden_gram
        return {
            "weights": lambda: self.weights,
            "outputs": self._no_samples() or (lambda: self.activity("output")),
            "hidden": hidden,
            "hidden_gram": gram,
            "ntk": self._no_samples() or self.ntk,
            "end_to_end": self._not_linear() or self.end_to_end,
            "task_losses": self._no_task_losses() or self.task_losses,
            "modes": self._no_modes() or self.modes,
        }

    def nodes(self) -> dict[str, Field]:
        """Return the activities of named nodes."""

        def of(name: str) -> Callable[[], np.ndarray]:
            return lambda: self.activity(name)

        return {name: self._no_samples() or of(name) for name in self.net.nodes}

    def _no_samples(self) -> Undetermined | None:
        if any(task.teacher is not None for task in self.tasks):
            return Undetermined(
                "samples are drawn anew in each step; put inputs of your own through the network "
                "with the recorded weights"
            )
        if any(task.X is None for task in self.tasks):
            return Undetermined("the task is given by moments and has no samples")
        if len({len(task.X) for task in self.tasks}) > 1:
            return Undetermined(
                "the tasks of the curriculum have different numbers of samples; simulate "
                "phase by phase"
            )
        return None

    def _not_linear(self) -> Undetermined | None:
        if why_not(self.net) is None:
            return None
        return Undetermined(
            f"one map at all inputs belongs to linear networks, and {why_not(self.net)}"
        )

    def _no_modes(self) -> Undetermined | None:
        if why_not(self.net) is not None:
            return Undetermined(f"modes belong to linear networks, and {why_not(self.net)}")
        if any(task.Syx is None for task in self.tasks):
            return Undetermined("modes need the task's moments, and its teacher is not linear")
        return None

    def _no_task_losses(self) -> Undetermined | None:
        on_moments = why_not(self.net) is None
        if any(task.X is None and not (on_moments and task.Syx is not None) for task in self.tasks):
            return Undetermined(
                "a task has samples that are drawn anew in each step; put inputs of your own "
                "through the network with the recorded weights"
            )
        return None

    def _pass(self, k: int) -> Pass:
        weights = {name: array[k] for name, array in self.weights.items()}
        phase = int(self.phases[k])
        return Pass(self.net, weights, self.tasks[phase].X, self.gates[phase])

    def activity(self, name: str) -> np.ndarray:
        """Return a node's activity, (n_times, n_samples, size)."""
        node = self.net.nodes[name]
        return np.stack([self._pass(k).values[node] for k in range(len(self.rows))])

    def hidden_gram(self) -> np.ndarray:
        """Return inner products of hidden activities, (n_times, n_samples, n_samples)."""
        samples = len(self.tasks[0].X)
        refuse_large((len(self.rows), samples, samples), "hidden_gram")
        hidden = self.activity("hidden")
        return hidden @ hidden.transpose(0, 2, 1)

    def ntk(self) -> np.ndarray:
        """Return the NTK at each record."""
        one = (len(self.tasks[0].X), int(self.net.outputs)) * 2
        refuse_large((len(self.rows), *one), "ntk")
        return np.stack([self._pass(k).kernel() for k in range(len(self.rows))])

    def end_to_end(self) -> np.ndarray:
        """Return the map from inputs to outputs at each record."""
        unit = np.eye(int(self.net.inputs))
        return np.stack([self._image(k, unit).T for k in range(len(self.rows))])

    def task_losses(self) -> np.ndarray:
        """Return the loss on the task of every phase at each record."""
        loss = self.problem.loss
        by_moments = isinstance(loss, SquaredError) and why_not(self.net) is None
        maps = self.end_to_end() if by_moments else None
        columns = [
            excess_loss(task, maps, loss.misfit_factor)
            if maps is not None and task.Syx is not None
            else self._loss(task, gates)
            for task, gates in zip(self.tasks, self.gates, strict=True)
        ]
        return np.stack(columns, axis=1)

    def _loss(self, task: Task, gates: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the mean over a task's samples of their loss, at each record."""
        found = (self._image(k, task.X, gates) for k in range(len(self.rows)))
        values = self.problem.loss.values
        return np.array([np.average(values(f, task.Y), weights=task.sample_weights) for f in found])

    def _image(
        self, k: int, inputs: np.ndarray, gates: Mapping[str, np.ndarray] | None = None
    ) -> np.ndarray:
        weights = {name: array[k] for name, array in self.weights.items()}
        return Pass(self.net, weights, inputs, gates or {}).values[self.net.output]

    def modes(self) -> np.ndarray:
        r"""Return $u_i^T A v_i$ of the end-to-end map $A$ in the common basis of the tasks.

        With two layers the freedom inside blocks of repeated singular values is settled by the
        initial weights, as everywhere.
        """
        start = [self.problem.weights.arrays[p.name] for p in self.net.parameters]
        chain = all(len(node.children) <= 1 for node in self.net.order)
        two_layers = chain and len(start) == 2 and all(w.ndim == 2 for w in start)
        basis = common_basis(self.tasks, *(start if two_layers else ()))
        found = np.empty((len(self.rows), basis.rank_bound))
        for k in range(len(self.rows)):
            image = self._image(k, basis.V.T)
            found[k] = [basis.U[:, i] @ image[i] for i in range(basis.rank_bound)]
        return found
