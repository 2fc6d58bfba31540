r"""Gradient descent on any network: the judge of the theory.

Each step is $W \leftarrow W - \eta\,r_W\,\partial L/\partial W$ on all samples (or a mini-batch,
or fresh samples), with the weight's own rate $r_W$, in float64, by a program compiled for the
network's structure. Results are the same to the last bit for any number of threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg  # noqa: F401  # numba's np.dot calls its BLAS; loaded before it is limited
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from symkernel.errors import (
    InvalidArgument,
    MissingValues,
    ShapeMismatch,
    as_count,
    as_positive,
    as_real_array,
)
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.loss import SquaredError
from symkernel.problem.network import Network
from symkernel.problem.nodes import Gate
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.problem.weights import Weights
from symkernel.simulation.attribution_memory import refuse_memory
from symkernel.simulation.attribution_request import Request, as_request
from symkernel.simulation.attribution_run import Probe
from symkernel.simulation.batches import held_out
from symkernel.simulation.engine import Engine, Stage
from symkernel.simulation.layout import Layout, aligned
from symkernel.simulation.moments import choose_moments
from symkernel.simulation.reading import Reading
from symkernel.simulation.run import Run
from symkernel.simulation.schedule import Schedule, plan_schedule
from symkernel.trajectory import Trajectory

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
    """

    problems: tuple[Problem, ...]
    gates: tuple[Gates, ...]
    schedule: Schedule
    on_moments: bool
    batch_size: int | None
    request: Request | None = None

    def comes_again(self, phase: int) -> bool:
        """Whether a later phase has the same samples and gates, so that its program may be kept."""
        phases = self.problems[0].curriculum.phases
        task = phases[phase].task
        plain = task.teacher is None and not self.gates[phase]
        return plain and any(one.task is task for one in phases[phase + 1 :])

    def stage(self, phase: int) -> Stage:
        """Return what is descended in a phase."""
        problem = self.problems[0]
        task = problem.curriculum.phases[phase].task
        teacher = None if self.on_moments else task.teacher
        return Stage(
            problem.network,
            task if teacher is None else held_out(teacher),
            self.gates[phase],
            self.schedule.learning_rate,
            float(problem.loss.factor),
            self.on_moments,
            float(problem.loss.weight_decay),
            teacher,
            0 if self.request is None else self.request.groups.members[phase],
        )


def simulate(
    net: Network,
    curriculum: Task | Curriculum,
    w0: Weights,
    learning_rate: float,
    *,
    steps: int | None = None,
    record: object = None,
    batch_size: int | None = None,
    seed: int = 0,
    loss: SquaredError | None = None,
    on: str = "auto",
    gates: Gates | Sequence[Gates] | None = None,
    progress: bool = False,
    attribute: object = None,
    probe: object = None,
    nodes: Sequence[str] | None = None,
    stride: int = 1,
) -> Trajectory:
    r"""Train a network by gradient descent.

    Parameters
    ----------
    net : Network
        Any network whose sizes are numbers.
    curriculum : Task or Curriculum
        What to train on; phases are rounded to whole steps.
    w0 : Weights
        Initial weights.
    learning_rate : float
        Flow time of one step.
    steps : int, optional
        Length of the run; by default up to the last record, or to the curriculum's end.
    record : array_like, optional
        Flow times, each recorded at the nearest step (``times`` of the result are the times of
        these steps); by default some hundred, evenly.
    batch_size : int, optional
        Samples of a mini-batch; all samples in each step if not given. The number of fresh samples
        in each step for a task of `Task.from_teacher`.
    seed : int
        Seed of the order of mini-batches and of fresh samples (PCG64).
    loss : SquaredError, optional
        Its factor, 1/2 if not given, and weight decay, none if not given.
    on : {"auto", "samples", "moments"}
        Linear networks can follow the second moments of the task instead of its samples, which
        is the same descent up to rounding; "auto" does so where there are more samples than
        inputs.
    gates : mapping of str to array_like, or a sequence of such, optional
        For each gate of the network an array (n_samples, size), or one column for all units; one
        mapping for each phase, or one for all. If not given, those of the tasks, `Task.gates`.
    progress : bool
        Whether to show a progress bar.
    attribute : {"sample", "task", "phase"} or array_like, optional
        Among whom every movement of the hidden layers and the output is shared out, exactly, for
        `Trajectory.attribution`: single samples; tasks (the labels "tasks" of samples if the task
        has them, otherwise the different tasks of the curriculum); phases; or groups by a label
        (text or integer) for each training sample, or a list of such arrays, one for each phase
        (where phases have different tasks it must be such a list). Sums are kept for what is named
        here alone. Weight decay is a group of its own.
    probe : array_like, shape (n_probe, n_inputs), or Task, optional
        Inputs whose movements are attributed; by default the samples of all different tasks.
    nodes : sequence of str, optional
        Names of the nodes whose movements are attributed; by default all but the input.
    stride : int
        Steps that are attributed together, along one chord of the path; records and ends of phases
        end a chord. Contributions sum up to the movement for any stride; they are those of single
        steps, 1, up to the square of the flow time of a stride (up to its first power behind
        further weights). See Notes for what it saves.

    Returns
    -------
    Trajectory
        Weights and loss at the records; all else is computed from the weights on first use.

    Raises
    ------
    InvalidArgument, ShapeMismatch, MissingValues
        For arguments that cannot be used; the message says what would do.
    Diverged
        When the weights leave the finite numbers, or the loss exceeds 1e10 times the larger of
        its initial value and its value for zero output.

    Notes
    -----
    BLAS runs on one thread; large problems use several threads over blocks of samples. The
    result does not depend on their number.

    Attribution costs about $1.5 + Gp/(2ns)$ times the processor time of plain training, for G
    groups, p samples of the probe, n samples in a step and s the stride: with every sample its own
    group and in the probe, half as many times as there are samples. Measured with 243 samples of
    18 inputs, 100 hidden units and 9 outputs, on the hidden layer alone: 2.2 by phase, 4.6 by 9
    tasks, 113 by sample; 1.5, 2.4 and 32 with stride 4. With the output 2.8 by phase and 7.7 by
    task; 1.6 and 2.8 with stride 4. What would take more than 1 GiB is refused, with the figure.

    On fresh samples the recorded loss is the mean over 4096 held-out samples (seed 0 of a stream
    that no run trains on), plus what label noise adds to it on average. Samples with weights keep
    them in mini-batches, which are drawn without regard to them: the mean over batches is the
    loss itself.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> net = sk.Network.two_layer(inputs=3, hidden=4, outputs=2)
    >>> task = sk.Task(np.eye(3), np.eye(3)[:, :2])
    >>> w0 = sk.weights.gaussian(net, scale=0.5, seed=1)
    >>> sim = sk.simulate(net, task, w0, learning_rate=0.1, record=[0, 10, 200])
    >>> assert sim.steps.tolist() == [0, 100, 2000] and sim.loss[-1] < 1e-6
    """
    setup = prepare(
        net, curriculum, [w0], learning_rate, steps, record, batch_size, loss, on, gates
    )
    if as_count(stride, "stride") != 1 or any(
        given is not None for given in (attribute, probe, nodes)
    ):
        request = requested(setup, attribute, probe, nodes, stride)
        if setup.on_moments and on == "moments":
            raise InvalidArgument(
                "Argument 'on' must not be 'moments' with 'attribute', because moments do not tell "
                "samples apart; use 'samples'."
            )
        setup = replace(setup, request=request, on_moments=False)
        stages = [setup.stage(phase) for phase in range(len(setup.gates))]
        refuse_memory(request, setup.schedule, stages, batch_size)
    stream = np.random.default_rng(as_count(seed, "seed", 0))
    return train(setup, stream, progress)[0]


def prepare(
    net: Network,
    curriculum: Task | Curriculum,
    members: Sequence[Weights],
    learning_rate: float,
    steps: int | None,
    record: object,
    batch_size: int | None,
    loss: SquaredError | None,
    on: str,
    gates: Gates | Sequence[Gates] | None,
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
    on_moments = choose_moments(net, tasks, on, batch_size is not None)
    fewest = min((len(task.X) for task in tasks if task.X is not None), default=None)
    if batch_size is not None and fewest is not None and batch_size > fewest:
        raise InvalidArgument(
            f"Argument 'batch_size' must not exceed the {fewest} samples of the task, but is "
            f"{batch_size}; leave it out to train on all samples in each step."
        )
    schedule = plan_schedule(course, rate, steps, record)
    return Setup(problems, checked_gates(net, tasks, gates), schedule, on_moments, batch_size)


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
    return as_request(attribute, probe, problem.network, tasks, setup.gates, decays, nodes, stride)


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
        given = [gates] * len(tasks) if isinstance(gates, Mapping) else list(gates)
    if len(given) != len(tasks):
        raise ShapeMismatch(
            f"Argument 'gates' must hold one mapping for each of the {len(tasks)} phases, "
            f"not {len(given)}."
        )
    sizes = {n.name: int(n.size) for n in net.order if isinstance(n, Gate)}
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


def train(setup: Setup, stream: np.random.Generator, progress: bool) -> tuple[Trajectory, ...]:
    """Run the descent of all members at once and return their trajectories."""
    schedule = setup.schedule
    layout = Layout(setup.problems[0].network, 1)
    thetas = aligned(len(setup.problems), layout.count)
    for theta, problem in zip(thetas, setup.problems, strict=True):
        theta[:] = layout.vector(problem.weights.arrays)
    records = np.empty((len(thetas), len(schedule.steps), layout.count))
    losses = np.empty((len(thetas), len(schedule.steps)))
    probe = None
    with (
        threadpool_limits(1, user_api="blas"),
        tqdm(total=schedule.total, disable=not progress, unit="step") as bar,
    ):
        step = 0
        if setup.request is not None:
            probe = Probe(setup.problems[0].network, setup.request, schedule, thetas[0])
        engines: dict[int, Engine] = {}
        for phase, end in enumerate(schedule.ends):
            stage = setup.stage(phase)
            known = engines.pop(id(stage.task), None)
            run = Run(stage, thetas, step, setup.batch_size, stream, probe, known)
            for k in np.flatnonzero(schedule.phases == phase):
                losses[:, k] = run.go_to(int(schedule.steps[k]), bar)
                records[:, k] = thetas
                if probe is not None:
                    probe.keep(probe.records, int(k))
            run.go_to(end, bar)
            if setup.comes_again(phase):
                engines[id(stage.task)] = run.engine
            # The next phase needs the room.
            del run
            step = end
            if probe is not None:
                probe.keep(probe.ends, phase)
    return tuple(
        _trajectory(setup, problem, layout, rows, loss, probe)
        for problem, rows, loss in zip(setup.problems, records, losses, strict=True)
    )


def _trajectory(
    setup: Setup,
    problem: Problem,
    layout: Layout,
    rows: np.ndarray,
    loss: np.ndarray,
    probe: Probe | None,
) -> Trajectory:
    schedule = setup.schedule
    reading = Reading(problem, setup.gates, schedule.phases, layout, rows)
    return Trajectory(
        times=schedule.times,
        fields={**reading.fields(), "loss": lambda: loss},
        steps=schedule.steps,
        labels=problem.curriculum.phases[0].task.labels,
        origin="simulation",
        nodes=reading.nodes(),
        conventions=problem.conventions,
        path_record=None if probe is None else probe.path(reading.weights, problem.weights.arrays),
    )
