"""What is observed of a gated network along the amplitudes of its layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from symkernel.errors import refuse_large
from symkernel.problem.nodes import Apply, Gate, Input, Linear, Node, Parameter, Sum
from symkernel.theory.pathway_state import PathwayState
from symkernel.theory.two_layer_path import no_samples
from symkernel.trajectory import Field, Trajectory, Undetermined


@dataclass(frozen=True, eq=False)
class Amplitudes:
    """Amplitudes through time.

    Attributes
    ----------
    layers : tuple of ndarray, each of shape (depth, n_times, n_modes)
        One for each pathway.
    modes : ndarray, shape (n_pathways, n_times, n_modes)
    """

    layers: tuple[np.ndarray, ...]
    modes: np.ndarray


def gated_trajectory(state: PathwayState, clock: np.ndarray, found: Amplitudes) -> Trajectory:
    """Return the trajectory of a gated network."""
    return _Assembly(state, clock, found).trajectory()


@dataclass(frozen=True, eq=False)
class _Assembly:
    """Observables from the amplitudes; each is computed when it is asked for."""

    state: PathwayState
    clock: np.ndarray
    found: Amplitudes

    @cached_property
    def position(self) -> np.ndarray:
        """Position of the phase of each time."""
        curriculum = self.state.problem.curriculum
        return np.array([curriculum.phase_at(time) for time in self.clock])

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """Every weight: what it was, plus what its amplitudes have moved."""
        state, out = self.state, {}
        start = state.problem.weights.arrays
        for pathway, before, rows in zip(
            state.pathways, state.amplitudes, self.found.layers, strict=True
        ):
            for layer, names in enumerate(pathway.layers):
                moved = rows[layer] - before[layer]
                for k, name in enumerate(names):
                    left, right = state.sides[k, name]
                    out[name] = start[name] + (left * moved[:, None, :]) @ right.T
        return {p.name: out[p.name] for p in state.problem.network.parameters}

    @cached_property
    def modes(self) -> np.ndarray:
        """The modes of the end-to-end map, (n_times, n_modes)."""
        return self.found.modes.sum(0)

    def loss(self) -> np.ndarray:
        """Return the loss on the running phase's task."""
        state = self.state
        factor, out = float(state.problem.loss.factor), np.empty(len(self.clock))
        for phase, contexts in enumerate(state.contexts):
            here = self.position == phase
            s, d = state.s[phase], state.d[phase]
            best = np.divide(s, d, out=np.zeros_like(s), where=d > 0)
            task = state.problem.curriculum.phases[phase].task
            rest = max(float(np.trace(task.Syy)) - float((best * s).sum()), 0.0)
            # What no map explains is 0 where targets were made by one: keep rounding out of it.
            rest = 0.0 if rest < 1e-14 * float(np.trace(task.Syy)) * len(contexts) else rest
            out[here] = factor * (rest + (d * (self.modes[here] - best) ** 2).sum(1))
        return out

    def trajectory(self) -> Trajectory:
        """Return all fields."""
        problem = self.state.problem
        reason = no_samples(problem)
        named: dict[str, Field] = {
            name: reason or self._of(node) for name, node in problem.network.nodes.items()
        }
        no_hidden = Undetermined("the network has no node 'hidden'")
        hidden = named.get("hidden", no_hidden)
        gram: Field = hidden if isinstance(hidden, Undetermined) else self.hidden_gram
        fields: dict[str, Field] = {
            "modes": lambda: self.modes,
            "weights": lambda: dict(self.weights),
            "loss": self.loss,
            "outputs": reason or self._of(problem.network.output),
            "hidden": hidden,
            "hidden_gram": gram,
            "ntk": reason or self.ntk,
        }
        labels = problem.curriculum.phases[0].task.labels
        return Trajectory(self.clock, fields, None, labels, "theory", named, problem.conventions)

    def _of(self, node: Node) -> Callable[[], np.ndarray]:
        return lambda: np.stack([self._values(k)[node] for k in range(len(self.clock))])

    def _at(self, k: int) -> dict[str, np.ndarray]:
        return {name: array[k] for name, array in self.weights.items()}

    def _gates(self, k: int) -> dict[str, np.ndarray]:
        """Return the gates of the samples at a time, one column for each unit."""
        task = self.state.problem.curriculum.phases[self.position[k]].task
        sizes = {
            n.name: int(n.size) for n in self.state.problem.network.order if isinstance(n, Gate)
        }
        wide = (
            (name, np.broadcast_to(task.gates[name], (len(task.X), size)))
            for name, size in sizes.items()
        )
        return {name: np.ascontiguousarray(gate) for name, gate in wide}

    def _values(self, k: int) -> dict[Node, np.ndarray]:
        """Return the activity of every node at a time."""
        network, weights, gates = self.state.problem.network, self._at(k), self._gates(k)
        found: dict[Node, np.ndarray] = {}
        for node in network.order:
            match node:
                case Input():
                    found[node] = self.state.problem.curriculum.phases[self.position[k]].task.X
                case Linear():
                    matrix = float(node.parameter.scale) * weights[node.parameter.name]
                    found[node] = found[node.child] @ matrix.T
                case Gate():
                    found[node] = gates[node.name] * found[node.child]
                case Sum():
                    found[node] = np.sum([found[term] for term in node.terms], axis=0)
                case Apply():
                    found[node] = found[node.child]
        return found

    def hidden_gram(self) -> np.ndarray:
        """Return inner products of hidden activities."""
        hidden = self._of(self.state.problem.network.nodes["hidden"])()
        return hidden @ hidden.transpose(0, 2, 1)

    def ntk(self) -> np.ndarray:
        """Return the tangent kernel at each time, rates of the parameters included."""
        problem = self.state.problem
        one = len(problem.curriculum.phases[0].task.X), int(problem.network.outputs)
        refuse_large((len(self.clock), *one, *one), "ntk")
        return np.stack([self._kernel(k) for k in range(len(self.clock))])

    def _kernel(self, k: int) -> np.ndarray:
        """Return products of Jacobians: signals forward times signals backward, use by use."""
        network, values, weights = self.state.problem.network, self._values(k), self._at(k)
        gates, samples = self._gates(k), len(values[network.output])
        back: dict[Node, np.ndarray] = {}
        one = np.eye(int(network.outputs))
        back[network.output] = np.broadcast_to(one, (samples, *one.shape))
        uses: dict[Parameter, list[Linear]] = {}

        def hand(child: Node, part: np.ndarray) -> None:
            back[child] = back[child] + part if child in back else part

        for node in reversed(network.order):
            match node:
                case Linear():
                    uses.setdefault(node.parameter, []).append(node)
                    matrix = float(node.parameter.scale) * weights[node.parameter.name]
                    hand(node.child, back[node] @ matrix)
                case Gate():
                    hand(node.child, back[node] * gates[node.name][:, None])
                case Sum() | Apply():
                    for child in node.children:
                        hand(child, back[node])
        total = np.zeros((samples, len(one), samples, len(one)))
        for p, nodes in uses.items():
            factor = float(p.rate) * float(p.scale) ** 2
            for left in nodes:
                for right in nodes:
                    forward = values[left.child] @ values[right.child].T
                    gram = np.tensordot(back[left], back[right], (2, 2))
                    total += factor * forward[:, None, :, None] * gram
        return total
