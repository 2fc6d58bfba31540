"""The cells of the study's sweeps: a training, what it owes to whom, and what is foreseen."""

from __future__ import annotations

from typing import Any

import numpy as np

from symkernel.errors import Diverged
from symkernel.simulation import simulate
from symkernel.simulation.activity import activity
from symkernel.studies.measures import accuracies, sharing, similarities
from symkernel.studies.predictors import Case, predictor_of
from symkernel.studies.setting import Setting

# Shares of the training at which the representation is kept; it moves most in the first tenth.
KEPT = (0.0, 0.02, 0.04, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.625, 0.75, 1.0)


def trained(
    stream: np.random.Generator, scale: float, curriculum: str, seed: int, **parameters: Any
) -> dict[str, object]:
    """Train a network from random weights and measure it at some times.

    Parameters
    ----------
    stream : numpy.random.Generator
        Not used: weights are drawn from `seed`, the same for all curricula.
    scale : float
        Of the initial weights.
    curriculum : str
    seed : int
    **parameters
        Those of `Setting`.

    Returns
    -------
    dict
        `sharing` and `accuracies` at the kept times; ``loss``, on single tasks, and ``move``, of
        all trained weights relative to their length at the start, too; ``step``; ``activity``, the
        last hidden one on single tasks.
    """
    setting = Setting.of(parameters)
    net, course = setting.network, setting.curriculum(curriculum)
    times = course.end * np.array(KEPT)
    run = simulate(net, course, setting.weights(scale, seed), setting.learning_rate, record=times)
    single = setting.prompts[0]
    names = [p.name for p in net.parameters if p.trained]
    start = {name: run.weights[name][0] for name in names}
    length = np.linalg.norm([np.linalg.norm(w) for w in start.values()])
    records = []
    for k in range(len(times)):
        now = {name: w[k] for name, w in run.weights.items()}
        hidden = activity(net, now, single.X, "hidden")
        # All prompts are many: record by record, and by the number of tasks at once.
        answers = np.concatenate([activity(net, now, some.X) for some in setting.prompts])
        off = answers[: len(single.X)] - single.Y
        move = np.linalg.norm([np.linalg.norm(now[name] - w) for name, w in start.items()])
        records.append({
            **sharing(single, hidden[None]),
            **accuracies(setting.prompts, answers[None]),
            "loss": 0.5 * (off**2).sum(-1).mean(-1, keepdims=True),
            "move": np.array([move / length]),
        })  # fmt: skip
    return {
        **{name: np.concatenate([one[name] for one in records]) for name in records[0]},
        "step": np.asarray(run.steps),
        "activity": hidden.astype(np.float32),
    }


def attributed(
    stream: np.random.Generator, scale: float, curriculum: str, seed: int, **parameters: Any
) -> dict[str, object]:
    """Share the movement of the hidden layer out among the tasks that were trained on.

    Parameters
    ----------
    stream, scale, curriculum, seed, **parameters
        As in `trained`.

    Returns
    -------
    dict
        ``matrix``, whose rows are single tasks and sum to 1, whose columns are what was trained on;
        ``residual`` of the sum rule.
    """
    setting = Setting.of(parameters)
    course = setting.curriculum(curriculum)
    run = simulate(
        setting.network, course, setting.weights(scale, seed), setting.learning_rate,
        record=[0.0, course.end], attribute="task", probe=setting.prompts[0].task, nodes=["hidden"],
    )  # fmt: skip
    found = run.attribution(by="task")
    return {"matrix": found.matrix(), "residual": found.residual}


def stepped(
    stream: np.random.Generator, scale: float, curriculum: str, seed: int, **parameters: Any
) -> dict[str, object]:
    """Return how far descent is from flow, by halving the learning rate, and whether it learned.

    Parameters
    ----------
    stream, scale, curriculum, seed, **parameters
        As in `trained`.

    Returns
    -------
    dict
        ``error``, of the hidden activity at the end on single tasks, relative to its movement: an
        error that falls as the rate is twice what half of the rate changes; ``before`` and
        ``after``, the losses on what was trained on. Where descent diverged, the error and the
        loss after it are infinite.
    """
    setting = Setting.of(parameters)
    weights, single = setting.weights(scale, seed), setting.prompts[0].X
    net = setting.network
    # Weights at the start, and at the ends of descent.
    reached: list[Any] = [weights]
    for one in (setting, setting.finer):
        course = one.curriculum(curriculum)
        try:
            run = simulate(net, course, weights, one.learning_rate, record=[0.0, course.end])
        except Diverged:
            return {"error": np.inf, "before": np.nan, "after": np.inf}
        reached.append({name: w[-1] for name, w in run.weights.items()})
    start, coarse, fine = (activity(net, w, single, "hidden") for w in reached)
    tasks = {id(phase.task): phase.task for phase in setting.curriculum(curriculum).phases}
    before, after = (
        np.mean([0.5 * ((activity(net, w, task.X) - task.Y) ** 2).sum(-1).mean()
                 for task in tasks.values()])
        for w in reached[:2]
    )  # fmt: skip
    gap, moved = np.linalg.norm(coarse - fine), np.linalg.norm(fine - start)
    # Units that are dead do not move, whatever the rate.
    error = 2 * gap / moved if gap else 0.0
    return {"error": error, "before": before, "after": after}


def foreseen(
    stream: np.random.Generator,
    predictor: str,
    scale: float,
    curriculum: str,
    seed: int,
    **parameters: Any,
) -> dict[str, object]:
    """Return what a theory says of the end of a training, from its initial weights.

    Parameters
    ----------
    stream : numpy.random.Generator
        For what a theory draws at random.
    predictor : str
        Name of one of `predictors.PREDICTORS`.
    scale, curriculum, seed
        As in `trained`.
    **parameters
        Those of `Setting`.

    Returns
    -------
    dict
        `sharing` and `accuracies` at the end; ``similarities`` of all prompts; ``valid``, whether
        the theory says of itself that it holds here, ``error``, the number that this rests on,
        and ``statement``, in words.
    """
    setting = Setting.of(parameters)
    found = predictor_of(predictor).run(Case(setting, scale, curriculum, seed), stream)
    shared = sharing(setting.prompts[0], found.hidden[None])
    answered = accuracies(setting.prompts, found.outputs[None])
    kept = {name: values[0] for name, values in (shared | answered).items() if name != "patterns"}
    return {
        **kept,
        "similarities": similarities(found.hidden),
        "valid": found.valid,
        "error": found.error,
        "statement": found.statement,
    }
