"""What is observed of a gated network along the amplitudes of its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from symkernel.errors import refuse_large
from symkernel.problem.nodes import Node
from symkernel.theory.pathway_state import PathwayState
from symkernel.theory.phases import no_samples
from symkernel.theory.tangent_pass import TangentPass, gates_of
from symkernel.trajectory import Field, Trajectory, Undetermined


def gated_trajectory(
    state: PathwayState, clock: np.ndarray, layers: Sequence[np.ndarray], modes: np.ndarray
) -> Trajectory:
    """Return the trajectory of a gated network.

    Parameters
    ----------
    state : PathwayState
    clock : ndarray, shape (n_times,)
        Flow times.
    layers : sequence of ndarray, each of shape (depth, n_times, n_modes)
        Amplitudes of the layers of each pathway.
    modes : ndarray, shape (n_times, n_modes)
        Of the end-to-end map.
    """
    return _GatedPath(state, clock, layers, modes).trajectory()


@dataclass(frozen=True, eq=False)
class _GatedPath:
    """Observables from the amplitudes; each is computed when it is asked for."""

    state: PathwayState
    clock: np.ndarray
    layers: Sequence[np.ndarray]
    modes: np.ndarray

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
            state.pathways, state.amplitudes, self.layers, strict=True
        ):
            for layer, names in enumerate(pathway.layers):
                moved = rows[layer] - before[layer]
                for k, name in enumerate(names):
                    left, right = state.sides[k, name]
                    out[name] = start[name] + (left * moved[:, None, :]) @ right.T
        return {p.name: out[p.name] for p in state.problem.network.parameters}

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
        return lambda: np.stack([self._pass(k).values[node] for k in range(len(self.clock))])

    def _pass(self, k: int) -> TangentPass:
        """Return the network at the weights of a time, on the samples of the running phase."""
        problem = self.state.problem
        task = problem.curriculum.phases[self.position[k]].task
        weights = {name: array[k] for name, array in self.weights.items()}
        gates = gates_of(problem.network, task.gates, len(task.X))
        return TangentPass(problem.network, weights, task.X, gates)

    def hidden_gram(self) -> np.ndarray:
        """Return inner products of hidden activities."""
        hidden = self._of(self.state.problem.network.nodes["hidden"])()
        return hidden @ hidden.transpose(0, 2, 1)

    def ntk(self) -> np.ndarray:
        """Return the tangent kernel at each time, rates of the parameters included."""
        problem = self.state.problem
        one = len(problem.curriculum.phases[0].task.X), int(problem.network.outputs)
        refuse_large((len(self.clock), *one, *one), "ntk")
        return np.stack([self._pass(k).kernel() for k in range(len(self.clock))])
