r"""What the products of the weights determine: $W = W_2 W_1$, $A = W_1^T W_1$, $B = W_2 W_2^T$.

Every observable that does not change when the hidden layer is turned is a function of these:
output, hidden Gram matrix, NTK, loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from symkernel.errors import OutsideValidity, as_times, refuse_large
from symkernel.problem.moments import excess_loss
from symkernel.problem.problem import Problem
from symkernel.trajectory import Field, Trajectory, Undetermined

UP_TO_A_ROTATION = Undetermined(
    "the law gives the hidden layer up to a rotation, because the products of the weights obey a "
    "closed equation and the weights do not; output, hidden_gram, ntk and loss do not depend on "
    "the rotation, and compiled.weights(times) integrates the linear equation that it obeys"
)


def clock_of(problem: Problem, times: object) -> tuple[np.ndarray, np.ndarray]:
    """Return flow times and the phase that each lies in.

    Raises
    ------
    OutsideValidity
        If a time is after the end of the curriculum.
    """
    clock = as_times(times)
    curriculum = problem.curriculum
    if clock[-1] > curriculum.end * (1 + 1e-12):
        raise OutsideValidity(
            f"The curriculum ends at flow time {curriculum.end:g}, but time {clock[-1]:g} was "
            f"asked for; give its last phase a longer duration, or None for no end."
        )
    return clock, np.array([curriculum.phase_at(time) for time in clock])


def through_phases(
    problem: Problem,
    clock: np.ndarray,
    position: np.ndarray,
    state: Any,
    advance: Callable[[int, Any, np.ndarray], tuple[np.ndarray, Any]],
) -> np.ndarray:
    """Carry a state through the curriculum, and return what is wanted at the times.

    Parameters
    ----------
    state : Any
        At the start.
    advance : callable
        (phase, state at its start, times since then) -> (values at the times, state at the last
        one).
    """
    curriculum = problem.curriculum
    rows = []
    for k, start in enumerate(curriculum.starts):
        here = clock[position == k] - start
        duration = curriculum.phases[k].duration
        last = k == position[-1]
        # Subtraction may leave a time just outside its phase.
        local = np.clip(here, 0.0, np.inf if duration is None else duration)
        values, state = advance(k, state, local if last else np.append(local, duration))
        rows.append(values[: len(here)])
        if last:
            break
    return np.concatenate(rows)


@dataclass(frozen=True, eq=False)
class GramObservables:
    """Observables from the products of the weights; each is computed when it is asked for.

    Attributes
    ----------
    problem : Problem
        With numbers.
    clock, position : ndarray, shape (n_times,)
        Flow times, and the phase of each.
    end_to_end : ndarray, shape (n_times, n_outputs, n_inputs)
        The map from inputs to outputs.
    input_gram : ndarray, shape (n_times, n_inputs, n_inputs)
        Of the first weight.
    readout_gram : ndarray, shape (n_times, n_outputs, n_outputs)
        Of the last weight.
    weights : callable or Undetermined
        Weights by name, if they are known.
    """

    problem: Problem
    clock: np.ndarray
    position: np.ndarray
    end_to_end: np.ndarray
    input_gram: np.ndarray
    readout_gram: np.ndarray
    weights: Field = field(default=UP_TO_A_ROTATION)

    @cached_property
    def task_losses(self) -> np.ndarray:
        """Loss on the task of every phase without weight decay, (n_times, n_phases)."""
        factor = float(self.problem.loss.factor)
        phases = self.problem.curriculum.phases
        return np.stack([excess_loss(p.task, self.end_to_end, factor) for p in phases], axis=1)

    def loss(self) -> np.ndarray:
        """Loss on the running phase's task, with what weight decay adds."""
        squares = sum(np.trace(g, axis1=1, axis2=2) for g in (self.input_gram, self.readout_gram))
        decay = float(self.problem.loss.weight_decay) / 2 * squares
        return self.task_losses[np.arange(len(self.clock)), self.position] + decay

    @cached_property
    def inputs(self) -> np.ndarray:
        """Samples of the phase that runs at each time, (n_times, n_samples, n_inputs)."""
        samples = [phase.task.X for phase in self.problem.curriculum.phases]
        if len(samples) == 1:
            return np.broadcast_to(samples[0], (len(self.clock), *samples[0].shape))
        return np.stack([samples[k] for k in self.position])

    @cached_property
    def layers(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Scale and rate of the first and of the second layer."""
        one, two = self.problem.network.parameters
        return (float(one.scale), float(one.rate)), (float(two.scale), float(two.rate))

    def outputs(self) -> np.ndarray:
        """Return the outputs on the samples."""
        return self.inputs @ self.end_to_end.transpose(0, 2, 1)

    def hidden_gram(self) -> np.ndarray:
        """Return inner products of hidden activities."""
        samples = self.inputs.shape[1]
        refuse_large((len(self.clock), samples, samples), "hidden_gram")
        inner = self.layers[0][0]
        return inner**2 * (self.inputs @ self.input_gram @ self.inputs.transpose(0, 2, 1))

    def ntk(self) -> np.ndarray:
        """Return the NTK on the samples, the layers' rates included."""
        (inner, first), (outer, second) = self.layers
        n, o = self.inputs.shape[1], self.readout_gram.shape[1]
        refuse_large((len(self.clock), n, o, n, o), "ntk")
        similarity = first * inner**2 * outer**2 * (self.inputs @ self.inputs.transpose(0, 2, 1))
        activity = second * outer**2 * self.hidden_gram()
        return (
            similarity[:, :, None, :, None] * self.readout_gram[:, None, :, None, :]
            + activity[:, :, None, :, None] * np.eye(o)[None, None, :, None, :]
        )

    def hidden(self) -> np.ndarray:
        """Hidden activity, where the weights are known."""
        assert not isinstance(self.weights, Undetermined)
        known: Mapping[str, np.ndarray] = self.weights()
        W1 = known[self.problem.network.parameters[0].name]
        return self.layers[0][0] * (self.inputs @ W1.transpose(0, 2, 1))

    def trajectory(self) -> Trajectory:
        """Return the trajectory."""
        known = not isinstance(self.weights, Undetermined)
        hidden: Field = self.hidden if known else UP_TO_A_ROTATION
        observed: dict[str, Field] = {
            "outputs": self.outputs,
            "hidden": hidden,
            "hidden_gram": self.hidden_gram,
            "ntk": self.ntk,
        }
        nodes: dict[str, Field] = {
            "input": lambda: self.inputs,
            "hidden": hidden,
            "hidden1": hidden,
            "output": self.outputs,
        }
        reason = no_samples(self.problem)
        if reason is not None:
            observed, nodes = dict.fromkeys(observed, reason), dict.fromkeys(nodes, reason)
        fields: dict[str, Field] = {
            "end_to_end": lambda: self.end_to_end,
            "input_gram": lambda: self.input_gram,
            "readout_gram": lambda: self.readout_gram,
            "weights": self.weights,
            "loss": self.loss,
            "task_losses": lambda: self.task_losses,
            **observed,
        }
        problem = self.problem
        labels = problem.curriculum.phases[0].task.labels
        return Trajectory(self.clock, fields, None, labels, "theory", nodes, problem.conventions)


def no_samples(problem: Problem) -> Undetermined | None:
    """Return why there is nothing to observe sample by sample, if so."""
    samples = [phase.task.X for phase in problem.curriculum.phases]
    if any(X is None for X in samples):
        return Undetermined("the task was given by moments and has no samples")
    if len({len(X) for X in samples}) > 1:
        return Undetermined("the tasks of the curriculum have different numbers of samples")
    return None
