"""What a run needs, checked before it starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from symkernel.errors import (
    InvalidArgument,
    MissingValues,
    ShapeMismatch,
    as_count,
    as_positive,
    as_real_array,
    refuse_batch,
)
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.label_noise import LabelNoise, as_label_noise
from symkernel.problem.loss import Loss, SquaredError
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.problem.weights import Weights
from symkernel.simulation.attribution_request import Request, as_request
from symkernel.simulation.batches import Streams, held_out
from symkernel.simulation.engine import Stage
from symkernel.simulation.moments import choose_moments
from symkernel.simulation.resets import Reset, as_resets
from symkernel.simulation.schedule import Schedule, plan_schedule

Gates = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Setup:
    """What a run needs, checked.

    Attributes
    ----------
    problems : tuple of Problem
        One for each member; they differ in their weights alone.
    gates : tuple of mappings
        Gates of each phase.
    schedule : Schedule
        Steps of the run.
    on_moments : bool
        Whether the run follows moments.
    batch_size : int or None
        Samples of a mini-batch.
    request : Request or None
        What is to be attributed.
    noise : tuple of LabelNoise or None
        Label noise of each phase.
    resets : tuple of mappings
        New values (n_members, ...) of parameters at the start of each phase, by name.
    """

    problems: tuple[Problem, ...]
    gates: tuple[Gates, ...]
    schedule: Schedule
    on_moments: bool
    batch_size: int | None
    request: Request | None = None
    noise: tuple[LabelNoise | None, ...] = ()
    resets: tuple[Reset, ...] = ()

    def comes_again(self, phase: int) -> bool:
        """Whether a later phase has the same samples and gates, so that its program may be kept."""
        phases = self.problems[0].curriculum.phases
        task = phases[phase].task
        plain = task.teacher is None and not self.gates[phase] and not any(self.noise)
        return plain and any(one.task is task for one in phases[phase + 1 :])

    def stage(self, phase: int, task: Task) -> Stage:
        """Return what is descended in a phase, on its task with the labels as training has them."""
        problem, noise = self.problems[0], self.noise[phase]
        teacher = None if self.on_moments else task.teacher
        return Stage(
            problem.network,
            task if teacher is None else held_out(teacher),
            self.gates[phase],
            self.schedule.learning_rate,
            problem.loss.misfit_factor,
            self.on_moments,
            float(problem.loss.weight_decay),
            teacher,
            0 if self.request is None else self.request.groups.members[phase],
            problem.loss.misfit(int(problem.network.outputs)),
            noise if noise is not None and noise.online else None,
        )

    def remarks(self) -> Iterator[str]:
        """Yield what the conventions of a result say of label noise and resets."""
        several = len(self.noise) > 1
        for phase, (noise, reset) in enumerate(zip(self.noise, self.resets, strict=True)):
            where = f" of phase {phase} (the first is 0)" if several else ""
            if noise is not None:
                yield f"label noise{where}: {noise}; L is that with the noise, in the mean over it"
            if reset:
                yield f"new values of {', '.join(reset)} at the start{where}"

    def tasks(self, streams: Sequence[Streams] = ()) -> tuple[Task, ...]:
        """Return the task of each phase, with labels that are corrupted once where they are.

        Without streams of numbers the labels are as they are given.
        """
        tasks = [phase.task for phase in self.problems[0].curriculum.phases]
        found: dict[tuple[int, LabelNoise], Task] = {}
        for k, own in enumerate(streams):
            task, noise = tasks[k], self.noise[k]
            if noise is not None and not noise.online:
                known = found.get((id(task), noise))
                tasks[k] = found[id(task), noise] = known or noise.corrupted(task, own.drawn)
        return tuple(tasks)


def prepare(
    net: Network,
    curriculum: Task | Curriculum,
    members: Sequence[Weights],
    learning_rate: float,
    steps: int | None,
    record: object,
    batch_size: int | None,
    loss: Loss | None,
    on: str,
    gates: Gates | Sequence[Gates] | None,
    label_noise: object,
    reset: object,
) -> Setup:
    """Return the checked setup of a run; for the arguments see `simulate`."""
    rate = as_positive(learning_rate, "learning_rate")
    course = Curriculum.of(curriculum)
    problems = tuple(
        Problem(net, course, w0, SquaredError() if loss is None else loss) for w0 in members
    )
    if not all(problem.is_numeric for problem in problems):
        raise MissingValues(
            "A simulation needs numbers: give values for the symbols of the network, the task, "
            "the weights and the loss, as with Problem.with_values."
        )
    tasks = [phase.task for phase in course.phases]
    decays = problems[0].loss.weight_decay != 0
    if decays and any(p.trained and p.scale == 0 for p in net.parameters):
        raise InvalidArgument(
            "Weight decay needs parameters whose scales are not 0; a scale of 0 takes the "
            "parameter out of the network."
        )
    if batch_size is not None:
        batch_size = as_count(batch_size, "batch_size", 1)
    noise = as_label_noise(label_noise, tasks, problems[0].loss)
    other = None if isinstance(problems[0].loss, SquaredError) else "cross-entropy needs samples"
    other = "labels are redrawn sample by sample" if any(noise) else other
    on_moments = choose_moments(net, tasks, on, batch_size is not None, other)
    fewest = min((len(task.X) for task in tasks if task.X is not None), default=None)
    if batch_size is not None and fewest is not None:
        refuse_batch(batch_size, fewest, "leave it out to train on all samples in each step")
    schedule = plan_schedule(course, rate, steps, record)
    return Setup(
        problems, checked_gates(net, tasks, gates), schedule, on_moments, batch_size,
        noise=noise, resets=as_resets(reset, net, len(tasks), len(problems)),
    )  # fmt: skip


def requested(
    setup: Setup, attribute: object, probe: object, nodes: object, stride: int
) -> Request:
    """Return what is to be attributed in a run, checked."""
    if attribute is None:
        raise InvalidArgument(
            "Arguments 'probe', 'nodes' and 'stride' must come with 'attribute', which says among "
            "whom movements are shared out, as attribute='task'."
        )
    problem = setup.problems[0]
    tasks = [phase.task for phase in problem.curriculum.phases]
    if setup.batch_size is None and any(task.teacher is not None for task in tasks):
        raise InvalidArgument(
            "Argument 'batch_size' must be given with 'attribute' for a task of fresh samples: the "
            "exact moments of a linear teacher do not tell samples apart."
        )
    decays = problem.loss.weight_decay != 0
    return as_request(
        attribute, probe, problem.network, tasks, setup.gates, decays, any(setup.resets), nodes,
        stride,
    )  # fmt: skip


def checked_gates(
    net: Network, tasks: Sequence[Task], gates: Gates | Sequence[Gates] | None
) -> tuple[Gates, ...]:
    """Return the gates of each phase, one column for each unit."""
    given: list[Gates]
    if gates is None:
        # A task may carry gates that this network does not have.
        given = [
            {k: v for k, v in task.gates.items() if k in net.gates} if task.X is not None else {}
            for task in tasks
        ]
    else:
        given = list(gates) if isinstance(gates, (list, tuple)) else [gates] * len(tasks)  # type: ignore[list-item]
    if len(given) != len(tasks):
        raise ShapeMismatch(
            f"Argument 'gates' must hold one mapping for each of the {len(tasks)} phases, "
            f"not {len(given)}."
        )
    sizes = net.gate_sizes
    if sizes and any(task.teacher is not None for task in tasks):
        raise InvalidArgument(
            "A network with gates needs a task with samples, because gates are given for each "
            "sample; fresh samples have none."
        )
    checked = []
    for mapping, task in zip(given, tasks, strict=True):
        if not isinstance(mapping, Mapping) or set(mapping) != set(sizes):
            raise InvalidArgument(
                f"Argument 'gates' must be a mapping with the names "
                f"{', '.join(sizes) or '(none: the network has no gates)'}, not {mapping!r}."
            )
        arrays = {name: as_real_array(mapping[name], f"gates[{name!r}]", 2) for name in sizes}
        for name, array in arrays.items():
            wanted = (len(task.X), sizes[name])
            if array.shape == (len(task.X), 1):
                arrays[name] = np.repeat(array, sizes[name], axis=1)
            elif array.shape != wanted:
                raise ShapeMismatch(f"Gate '{name}' must be of shape {wanted}, not {array.shape}.")
        checked.append(arrays)
    return tuple(checked)
