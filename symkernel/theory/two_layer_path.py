"""A two-layer linear network on its way through a curriculum, and what is observed on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from symkernel.errors import refuse_large
from symkernel.problem.moments import excess_loss
from symkernel.problem.nodes import Parameter
from symkernel.problem.problem import Problem
from symkernel.theory.phases import no_samples, running_inputs
from symkernel.trajectory import Field, Trajectory


@dataclass(frozen=True, eq=False)
class TwoLayerPath:
    """Observables along the weights; each is computed when it is asked for.

    Attributes
    ----------
    problem : Problem
        With numbers; its output is W2 W1 x.
    clock : ndarray, shape (n_times,)
    position : ndarray, shape (n_times,)
        The phase that runs at each time.
    """

    problem: Problem
    clock: np.ndarray
    position: np.ndarray

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """Both weights by name, the one next to the input first."""
        # Laws that know them say them; those that do not give the reason in `own_fields`.
        raise NotImplementedError

    def task_losses(self) -> np.ndarray:
        """Return the loss on the task of every phase without weight decay, (n_times, n_phases)."""
        maps, factor = self.end_to_end(), float(self.problem.loss.factor)
        phases = self.problem.curriculum.phases
        return np.stack([excess_loss(phase.task, maps, factor) for phase in phases], axis=1)

    def loss(self) -> np.ndarray:
        """Return the loss on the running task, with what weight decay adds."""
        found = self.task_losses()[np.arange(len(self.clock)), self.position]
        decay = float(self.problem.loss.weight_decay) / 2
        if not decay:
            return found
        grams = self.input_gram(), self.readout_gram()
        return found + decay * sum(np.trace(g, axis1=1, axis2=2) for g in grams)

    @property
    def layers(self) -> tuple[Parameter, Parameter]:
        """The parameters, the one next to the input first."""
        first, second = self.problem.network.parameters
        return first, second

    @cached_property
    def inputs(self) -> np.ndarray:
        """Samples of the running phase."""
        return running_inputs(self.problem, self.position)

    def hidden(self) -> np.ndarray:
        """Return the hidden activity on the samples."""
        first, _ = self.layers
        return float(first.scale) * (self.inputs @ self.weights[first.name].transpose(0, 2, 1))

    def end_to_end(self) -> np.ndarray:
        """Return the map from inputs to outputs."""
        first, second = self.layers
        product = self.weights[second.name] @ self.weights[first.name]
        return float(first.scale * second.scale) * product

    def input_gram(self) -> np.ndarray:
        """Return W1^T W1."""
        W1 = self.weights[self.layers[0].name]
        return W1.transpose(0, 2, 1) @ W1

    def readout_gram(self) -> np.ndarray:
        """Return W2 W2^T."""
        W2 = self.weights[self.layers[1].name]
        return W2 @ W2.transpose(0, 2, 1)

    def outputs(self) -> np.ndarray:
        """Return the outputs on the samples."""
        return self.inputs @ self.end_to_end().transpose(0, 2, 1)

    def hidden_gram(self) -> np.ndarray:
        """Return the similarities of the hidden activities."""
        samples = self.inputs.shape[1]
        refuse_large((len(self.clock), samples, samples), "hidden_gram")
        scale = float(self.layers[0].scale) ** 2
        return scale * (self.inputs @ self.input_gram() @ self.inputs.transpose(0, 2, 1))

    def ntk(self) -> np.ndarray:
        """Return the tangent kernel, the layers' rates in it."""
        first, second = self.layers
        X, o = self.inputs, int(second.shape[0])
        n = X.shape[1]
        refuse_large((len(self.clock), n, o, n, o), "ntk")
        inner = float(first.rate * first.scale**2 * second.scale**2)
        similarity = inner * (X @ X.transpose(0, 2, 1))
        activity = float(second.rate * second.scale**2) * self.hidden_gram()
        return (
            similarity[:, :, None, :, None] * self.readout_gram()[:, None, :, None, :]
            + activity[:, :, None, :, None] * np.eye(o)[None, None, :, None, :]
        )

    @property
    def hidden_field(self) -> Field:
        """The hidden activity, or why it is not known."""
        return self.hidden

    def own_fields(self) -> dict[str, Field]:
        """Return fields that not every law has."""
        return {"weights": lambda: dict(self.weights)}

    def trajectory(self) -> Trajectory:
        """Return everything as fields of a trajectory."""
        fields: dict[str, Field] = {
            **self.own_fields(),
            "loss": self.loss,
            "task_losses": self.task_losses,
            "end_to_end": self.end_to_end,
            "input_gram": self.input_gram,
            "readout_gram": self.readout_gram,
        }
        reason = no_samples(self.problem)
        observed: dict[str, Field] = {
            "outputs": self.outputs,
            "hidden": self.hidden_field,
            "hidden_gram": self.hidden_gram,
            "ntk": self.ntk,
        }
        fields |= observed if reason is None else dict.fromkeys(observed, reason)
        nodes: dict[str, Field] = {
            "input": lambda: self.inputs,
            "hidden": self.hidden_field,
            "hidden1": self.hidden_field,
            "output": self.outputs,
        }
        return Trajectory(
            self.clock,
            fields,
            None,
            self.problem.curriculum.phases[0].task.labels,
            "theory",
            nodes if reason is None else dict.fromkeys(nodes, reason),
            self.problem.conventions,
        )
