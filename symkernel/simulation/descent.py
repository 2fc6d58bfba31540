r"""Gradient descent on any network: the judge of the theory.

Each step is $W \leftarrow W - \eta\,r_W\,\partial L/\partial W$ on all samples (or a mini-batch,
or fresh samples), with the weight's own rate $r_W$, in float64, by a program compiled for the
network's structure. Results are the same to the last bit for any number of threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import scipy.linalg  # noqa: F401  # numba's np.dot calls its BLAS; loaded before it is limited
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from symkernel.errors import InvalidArgument, as_count
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.descent import Descent
from symkernel.problem.label_noise import LabelNoise
from symkernel.problem.loss import Loss
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.problem.weights import Weights
from symkernel.simulation.attribution_memory import refuse_memory
from symkernel.simulation.attribution_run import Probe
from symkernel.simulation.batches import streams_of
from symkernel.simulation.engine import Engine
from symkernel.simulation.layout import Layout, aligned
from symkernel.simulation.reading import Reading
from symkernel.simulation.run import Run
from symkernel.simulation.setup import Gates, Setup, prepare, requested
from symkernel.trajectory import Trajectory


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
    loss: Loss | None = None,
    label_noise: LabelNoise | Sequence[LabelNoise | None] | None = None,
    reset: Sequence[Mapping[str, np.ndarray] | None] | None = None,
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
        Seed of the order of mini-batches, of fresh samples and of label noise (PCG64). Orders and
        fresh samples are the same with label noise and without: every phase has streams of its own.
    loss : SquaredError or CrossEntropy, optional
        With its weight decay; squared error with the factor 1/2 if not given.
    label_noise : LabelNoise, or a sequence of LabelNoise or None, optional
        What training sees in place of the labels; one for each phase, or one for all. The recorded
        loss is the one that is descended, with the noise: its mean over draws where labels are
        redrawn at each visit. `Trajectory.task_losses` are those on the labels as they are given.
    reset : sequence of mappings or None, optional
        New values of parameters, by name, at the start of each phase, as [None, {"W2": array}].
        A record at the switch itself is of the weights before.
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
        here alone. Weight decay is a group of its own, and so are resets.
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
        net, curriculum, [w0], learning_rate, steps, record, batch_size, loss, on, gates,
        label_noise, reset,
    )  # fmt: skip
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
        stages = [setup.stage(phase, task) for phase, task in enumerate(setup.tasks())]
        refuse_memory(request, setup.schedule, stages, batch_size)
    return train(setup, as_count(seed, "seed", 0), progress)[0]


def train(setup: Setup, seed: int, progress: bool) -> tuple[Trajectory, ...]:
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
        streams = streams_of(seed, len(schedule.ends))
        tasks = setup.tasks(streams)
        for phase, end in enumerate(schedule.ends):
            stage = setup.stage(phase, tasks[phase])
            if setup.resets[phase]:
                before = thetas.copy()
                layout.assign(thetas, setup.resets[phase])
                if probe is not None:
                    probe.jump(before[0], thetas[0])
            known = engines.pop(id(stage.task), None)
            run = Run(stage, thetas, step, setup.batch_size, streams[phase], probe, known)
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
        conventions=(*problem.conventions, *setup.remarks()),
        path_record=None if probe is None else probe.path(reading.weights, problem.weights.arrays),
        descent=Descent(
            problem.loss, setup.batch_size, setup.noise, tuple(map(tuple, setup.resets))
        ),
    )
