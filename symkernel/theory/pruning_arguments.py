"""What the pruning clock is asked for, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from symkernel.errors import InvalidArgument, NoClosedForm, ShapeMismatch, as_real_array
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.loss import Loss, SquaredError
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.problem.weights import from_arrays
from symkernel.trajectory import Trajectory

__all__ = ["check_fit", "check_loss", "direction_of", "pace_of"]


def check_loss(loss: Any, task: Task) -> None:
    """Refuse losses and tasks for which there is no clock."""
    named = isinstance(loss, Loss)
    if not named and not callable(loss):
        raise InvalidArgument(
            f"Argument 'loss' must be a loss, or a function of outputs and targets that returns "
            f"minus the gradient by the outputs, not {loss!r}."
        )
    if named and loss.weight_decay != 0:
        raise NoClosedForm(
            "The pruning clock is for descent without weight decay, which shrinks all weights."
        )
    if task.sample_weights is not None:
        raise InvalidArgument(
            "Argument 'task' must not have sample_weights here: samples are drawn alike."
        )
    if task.X is not None:
        return
    if task.Syx is None:
        raise NoClosedForm(
            "The pruning clock of fresh samples needs Gaussian inputs and a linear teacher; give a "
            "task with samples."
        )
    if not isinstance(loss, SquaredError):
        raise NoClosedForm(
            "The pruning clock of fresh samples is for the squared error; give a task with samples."
        )


def check_fit(net: Network, task: Task, trajectory: Trajectory, loss: Any) -> None:
    """Refuse a trajectory that is not of the network or the task."""
    if not net.is_numeric:
        raise InvalidArgument("Argument 'net' must have numbers as sizes, not symbols.")
    if "task_losses" in trajectory.available and trajectory.task_losses.shape[1] > 1:
        raise InvalidArgument(
            "Argument 'trajectory' must be of one phase, because the clock is that of one task; "
            "simulate the phase alone, from the weights at its beginning."
        )
    weights = trajectory.weights
    try:
        first = from_arrays(net, {p.name: weights[p.name][0] for p in net.parameters})
    except KeyError as missing:
        raise InvalidArgument(
            f"Argument 'trajectory' must be of the network, but has no parameter {missing}."
        ) from None
    Problem(net, Curriculum.of(task), first, loss if isinstance(loss, Loss) else SquaredError())
    if task.X is not None and trajectory.outputs.shape[1:] != task.Y.shape:
        raise ShapeMismatch(
            f"Argument 'trajectory' must hold the outputs on the task's samples, of shape "
            f"{task.Y.shape}, not {trajectory.outputs.shape[1:]}."
        )
    if task.X is None and not net.is_linear:
        raise NoClosedForm(
            "The pruning clock of fresh samples is for linear networks; give a task with samples."
        )


def pace_of(net: Network) -> float:
    """Return the product of the rates of both layers and the squares of their scales."""
    factors = [float(p.rate) * float(p.scale) ** 2 for p in net.parameters if p.trained]
    if len(net.parameters) == 2 and net.is_chain:
        return factors[0] * factors[1]
    if any(abs(factor - 1) > 1e-12 for factor in factors):
        raise NoClosedForm(
            "Of networks that are not two linear layers the clock is known for layers of one rate "
            "in the standard parameterisation."
        )
    return 1.0


def direction_of(value: Any, inputs: int) -> np.ndarray:
    """Return the direction of an input, or that which is given, of unit length."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        if not 0 <= value < inputs:
            raise InvalidArgument(
                f"Argument 'irrelevant' must be an input, 0 to {inputs - 1}, not {value}."
            )
        return np.eye(inputs)[int(value)]
    direction = as_real_array(value, "irrelevant", 1)
    if len(direction) != inputs or not direction.any():
        raise InvalidArgument(
            f"Argument 'irrelevant' must be an input, or a direction with a number for each of the "
            f"{inputs} inputs that are not all 0, not {value!r}."
        )
    return np.asarray(direction / np.linalg.norm(direction))
