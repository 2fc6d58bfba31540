"""The cells of a setting's sweeps: one training each, with what its layers hold on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symkernel.environments.decision import Decision
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.label_noise import LabelNoise
from symkernel.problem.loss import CrossEntropy
from symkernel.problem.network import Network
from symkernel.problem.task import Task
from symkernel.problem.weights import Weights, from_arrays
from symkernel.simulation import simulate
from symkernel.simulation.activity import activity
from symkernel.studies.decisions.measures import information_in
from symkernel.studies.decisions.setting import KEPT, Descent, InformationSetting, steps_of
from symkernel.theory.pruning_clock import pruning_clock
from symkernel.trajectory import Trajectory

# Records of a training that is watched: the start, then evenly in the logarithm from this share.
_RECORDS, _FIRST_SHARE = 12, 1e-3


@dataclass(frozen=True, eq=False)
class Trained:
    """A training by one of the setting's descents, looked at when it ends."""

    setting: InformationSetting
    decision: Decision

    def __call__(
        self, stream: np.random.Generator, descent: str, seed: int
    ) -> dict[str, np.ndarray]:
        """Train and measure; weights and the order of samples come from `seed`."""
        chosen = next(one for one in self.setting.descents if str(one) == descent)
        return measured(self.setting, self.decision, chosen, seed, np.ones(1))


@dataclass(frozen=True, eq=False)
class Watched:
    """A training that is looked at throughout."""

    setting: InformationSetting
    decision: Decision

    def __call__(
        self, stream: np.random.Generator, descent: str, seed: int
    ) -> dict[str, np.ndarray]:
        """Train and measure, as `Trained`."""
        assert self.setting.watched is not None
        total = steps_of(self.setting.watched)
        first = max(_FIRST_SHARE, 1.0 / total)
        steps = np.unique(np.rint(total * np.geomspace(first, 1.0, _RECORDS - 1)))
        shares = np.append(0.0, steps / total)
        return measured(
            self.setting, self.decision, self.setting.watched, seed, shares, clocked=True
        )


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A training after some epochs on the irrelevant label."""

    setting: InformationSetting
    decision: Decision

    def __call__(
        self, stream: np.random.Generator, epochs: int, readout: str, seed: int
    ) -> dict[str, np.ndarray]:
        """Train on the irrelevant label, then on the relevant one, and measure at the end."""
        setting, decision, descent = self.setting, self.decision, self.setting.perturbed
        assert descent is not None
        start = None
        if epochs:
            task = decision.other_task
            steps = epochs * (len(task.X) // descent.batch_size)
            net = network_of(setting, task)
            run = trained(setting, net, task, setting.weights(net, seed), descent, seed, steps)
            start = carried(setting, decision, last(run), readout, seed)
        return measured(setting, decision, descent, seed, np.ones(1), start)


def network_of(setting: InformationSetting, task: Task) -> Network:
    """Return the setting's network for a task."""
    return setting.network(task.X.shape[1], task.Y.shape[1])


def carried(
    setting: InformationSetting,
    decision: Decision,
    learned: Mapping[str, np.ndarray],
    kept: str,
    seed: int,
) -> Weights:
    """Return the weights after pretraining, with their read-out or with the initial one."""
    net = network_of(setting, decision.task)
    fresh = setting.weights(net, seed).arrays
    depth = len(setting.hidden) + 1
    if kept == KEPT:
        return from_arrays(net, learned)
    readout = {name: fresh[name] for name in (f"W{depth}", f"b{depth}")}
    return from_arrays(net, {**learned, **readout})


def trained(
    setting: InformationSetting,
    net: Network,
    task: Task,
    w0: Weights,
    descent: Descent,
    seed: int,
    steps: int,
    shares: np.ndarray | None = None,
) -> Trajectory:
    """Return the run of a descent of so many steps, recorded at shares of it."""
    duration = steps * descent.learning_rate
    return simulate(
        net, Curriculum([Phase(task, duration)]), w0, descent.learning_rate,
        record=duration * (np.ones(1) if shares is None else shares),
        batch_size=descent.batch_size, seed=seed, loss=CrossEntropy(),
        label_noise=noise_of(setting),
    )  # fmt: skip


def noise_of(setting: InformationSetting) -> LabelNoise | None:
    """Return the label noise of a setting."""
    return LabelNoise(probability=setting.label_noise) if setting.label_noise else None


def last(run: Trajectory) -> dict[str, np.ndarray]:
    """Return the weights at the end."""
    return {name: w[-1] for name, w in run.weights.items()}


def measured(
    setting: InformationSetting,
    decision: Decision,
    descent: Descent,
    seed: int,
    shares: np.ndarray,
    start: Weights | None = None,
    clocked: bool = False,
) -> dict[str, Any]:
    """Train on the relevant label and measure all layers.

    Returns
    -------
    dict
        ``bits`` (n_records, n_layers, n_noises, 2); ``time``, ``loss`` on all samples with clean
        labels and ``accuracy`` on the probes, each (n_records,); of a run that is clocked
        ``clock`` too, that of `symkernel.pruning_clock` in the irrelevant direction.
    """
    net = network_of(setting, decision.task)
    w0 = setting.weights(net, seed) if start is None else start
    steps = steps_of(descent)
    run = trained(setting, net, decision.task, w0, descent, seed, steps, shares)
    bits, right = [], []
    for k in range(len(run.times)):
        now = {name: w[k] for name, w in run.weights.items()}
        bits.append(information_in(net, now, setting.layers, decision, setting.ridge))
        answers = activity(net, now, decision.probe).argmax(1)
        right.append(float((answers == decision.probe_relevant).mean()))
    found = {
        "bits": np.stack(bits),
        "time": np.asarray(run.times),
        "loss": np.asarray(run.task_losses)[:, 0],
        "accuracy": np.array(right),
    }
    if clocked:
        found["clock"] = pruning_clock(
            run, net, decision.task, irrelevant=decision.irrelevant_direction,
            batch_size=descent.batch_size, loss=CrossEntropy(), label_noise=noise_of(setting),
        ).clock  # fmt: skip
    return found
