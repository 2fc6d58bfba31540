"""The cells of the study's sweeps: a training, whose training moved whom, and what is foreseen."""

from __future__ import annotations

from typing import Any

import numpy as np

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
    hidden, outputs, move = [], [], []
    for k in range(len(times)):
        now = {name: w[k] for name, w in run.weights.items()}
        hidden.append(activity(net, now, single.X, "hidden"))
        outputs.append(activity(net, now, setting.inputs))
        gaps = [np.linalg.norm(run.weights[n][k] - run.weights[n][0]) for n in names]
        sizes = [np.linalg.norm(run.weights[n][0]) for n in names]
        move.append(np.linalg.norm(gaps) / np.linalg.norm(sizes))
    answers = np.stack(outputs)
    off = answers[:, : len(single.X)] - single.Y
    return {
        **sharing(single, np.stack(hidden)),
        **accuracies(setting.prompts, answers),
        "loss": 0.5 * (off**2).sum(-1).mean(-1),
        "move": np.array(move),
        "step": np.asarray(run.steps),
        "activity": hidden[-1].astype(np.float32),
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
