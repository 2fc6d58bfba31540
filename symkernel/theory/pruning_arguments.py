"""What the pruning clock is asked for, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from symkernel.errors import (
    InvalidArgument,
    NoClosedForm,
    OutsideValidity,
    ShapeMismatch,
    as_count,
    as_real_array,
    refuse_batch,
)
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.descent import agreed
from symkernel.problem.label_noise import LabelNoise
from symkernel.problem.loss import Loss, SquaredError
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.problem.weights import from_arrays
from symkernel.theory.pruning_gradients import online_noise
from symkernel.trajectory import Trajectory

__all__ = ["check_fit", "checked_steps", "direction_of", "pace_of", "settings_of"]


def checked_steps(trajectory: Any, net: Any, task: Any) -> np.ndarray:
    """Return the steps of a trajectory; refuse what has none, is no network or no task."""
    for value, kind, name in (
        (trajectory, Trajectory, "trajectory"),
        (net, Network, "net"),
        (task, Task, "task"),
    ):
        if not isinstance(value, kind):
            raise InvalidArgument(
                f"Argument '{name}' must be a {kind.__name__}, not {type(value).__name__}."
            )
    steps = trajectory.steps
    if steps is None or len(steps) < 2 or steps[-1] == steps[0]:
        raise OutsideValidity(
            "The pruning clock counts steps: Argument 'trajectory' must be a simulation with two "
            "records or more."
        )
    return np.asarray(steps)


def settings_of(
    trajectory: Trajectory, task: Task, loss: Any, batch_size: Any, label_noise: Any
) -> tuple[Any, int | None, LabelNoise | None]:
    """Return loss, batch size and label noise: those of the simulation, where it knows them."""
    run = trajectory.descent
    if run is not None:
        loss = agreed(loss, run.loss, "loss")
    loss = SquaredError() if loss is None else loss
    _check_loss(loss, task)
    batch = None if batch_size is None else as_count(batch_size, "batch_size")
    labels = online_noise(label_noise, task, loss)
    if run is not None:
        batch = agreed(batch, run.batch_size, "batch_size")
        labels = online_noise(agreed(labels, run.label_noise[0], "label_noise"), task, loss)
    if batch is not None and task.X is not None:
        refuse_batch(batch, len(task.X), "leave it out for all samples in each step")
    return loss, batch, labels


def _check_loss(loss: Any, task: Task) -> None:
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
