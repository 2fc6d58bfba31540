"""A two-layer linear network on its way through a curriculum, and what is observed on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from symkernel.errors import MissingValues, OutsideValidity, as_times, refuse_large
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.moments import excess_loss
from symkernel.problem.nodes import Parameter
from symkernel.problem.problem import Problem
from symkernel.problem.scalars import as_sympy
from symkernel.trajectory import Field, Trajectory, Undetermined

# The laws need squares of amplitudes, and bound growth below by 1e-140: a square root of 1e-280.
SMALLEST = 1e-120
# Largest estimated relative error with which a later phase is returned.
LEAST_DIGITS = 1e-6
# A duration on which nothing depends: too short for anything to fade in it.
_ANY = 1e-12


def phases_at(curriculum: Curriculum, times: object) -> tuple[np.ndarray, np.ndarray]:
    """Return flow times as an array, and the position of the phase that runs at each.

    Raises
    ------
    OutsideValidity
        If a time is after the end of the curriculum.
    """
    clock = as_times(times)
    if clock[-1] > curriculum.end * (1 + 1e-12):
        raise OutsideValidity(
            f"The curriculum ends at flow time {curriculum.end:g}, but time {clock[-1]:g} was "
            f"asked for; give its last phase a longer duration, or None for no end."
        )
    # At a switch, the earlier one: as `Curriculum.phase_at`, for all times at once.
    return clock, np.maximum(np.searchsorted(curriculum.starts, clock) - 1, 0)


def reaching(problem: Problem, phase: int) -> Problem:
    """Return the problem with numbers for the durations on which a phase does not depend.

    Raises
    ------
    MissingValues
        If the phase starts at a time that has symbols.
    """
    curriculum = problem.curriculum
    start = curriculum.starts[phase]
    if as_sympy(start).free_symbols:
        raise MissingValues(
            f"Phase {phase} starts at the flow time {start}, and this law has no closed form "
            f"through a phase of symbolic duration; give a number, or use the compiled law, "
            f"compile(values={{...}})."
        )
    phases = [
        replace(p, duration=_ANY) if p.duration and as_sympy(p.duration).free_symbols else p
        for p in curriculum.phases
    ]
    return replace(problem, curriculum=Curriculum(phases))


def within_phases(
    curriculum: Curriculum, clock: np.ndarray, position: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each phase that is reached, with the times since its start.

    Its end is the last one of them, save in the last phase and in one without end.
    """
    for k, start in enumerate(curriculum.starts):
        inside = clock[position == k] - start
        duration = curriculum.phases[k].duration
        endless = k + 1 == len(curriculum.phases) or duration is None
        local = inside if endless else np.append(inside, duration)
        if not local.size:
            break
        # Subtraction may leave a time just outside its phase.
        yield k, np.clip(local, 0.0, np.inf if endless else duration)


def refuse_faint(sizes: np.ndarray, phase: int, there: np.ndarray | None = None) -> None:
    """Refuse modes at the start of a phase that floating point can no longer carry.

    Parameters
    ----------
    sizes : ndarray, shape (n_modes,)
        Sizes of what grows and shrinks exponentially; the law needs their squares.
    phase : int
    there : ndarray of bool, optional
        Which modes are not exactly 0; by default those whose size is not.

    Raises
    ------
    OutsideValidity
        If a mode that is there is smaller than 1e-120.
    """
    faint = (sizes > 0 if there is None else there) & (sizes < SMALLEST)
    if not faint.any():
        return
    k = int(np.argmax(faint))
    advice = (
        f"start it at {SMALLEST:.0e} or more, or at exactly 0"
        if phase == 0
        else "make the phases before it shorter, or ask for earlier times"
    )
    tiny = np.finfo(float).tiny
    size = f"{sizes[k]:.0e} or less" if sizes[k] >= tiny else "below the smallest number"
    raise OutsideValidity(
        f"Mode {k} has at the start of phase {phase} a part of amplitude {size}, "
        f"below the {SMALLEST:.0e} down to which its growth is computed; {advice}."
    )


def require_digits(phase: int, error: float, advice: str) -> None:
    """Refuse a phase in which rounding decides what is learned.

    Parameters
    ----------
    phase : int
    error : float
        Estimated, relative.
    advice : str
        What to start with.

    Raises
    ------
    OutsideValidity
        If the error is larger than 1e-6.
    """
    if not error <= LEAST_DIGITS:
        raise OutsideValidity(
            f"In phase {phase} rounding decides the trajectory (estimated relative error "
            f"{error:.0e}): what has to grow there has shrunk to a rounding of the weights, as "
            f"when a learned task is reversed and the weights are balanced. Ask for earlier times, "
            f"make the phases before it shorter, or {advice}."
        )


def no_samples(problem: Problem) -> Undetermined | None:
    """Return why there are no outputs on samples, or None if there are."""
    samples = [phase.task.X for phase in problem.curriculum.phases]
    if any(X is None for X in samples):
        return Undetermined("the task was given by moments and has no samples")
    if len({len(X) for X in samples}) > 1:
        return Undetermined("the tasks of the curriculum have different numbers of samples")
    return None


def running_inputs(problem: Problem, position: np.ndarray) -> np.ndarray:
    """Return the samples of the phase that runs at each time, (n_times, n_samples, n_inputs)."""
    samples = [phase.task.X for phase in problem.curriculum.phases]
    if len(samples) == 1:
        return np.broadcast_to(samples[0], (len(position), *samples[0].shape))
    return np.stack([samples[k] for k in position])


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
