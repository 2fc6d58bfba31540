"""What is measured of a network, or of a theory, that answers all prompts of the environment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from symkernel.analysis import Representation, sharing_index, similarity
from symkernel.environments.multitasking import Prompts
from symkernel.errors import OutsideValidity

if TYPE_CHECKING:
    from symkernel.studies.study import MultitaskStudy
    from symkernel.sweeps.results import Sweep

# Training got far enough if it went this share of the way: of accuracy from chance to 1, and of the
# loss from that at the start to 0.
FAR_ENOUGH = 0.5
Values = dict[str, np.ndarray]


def sharing(single: Prompts, hidden: np.ndarray) -> Values:
    """Return how far the tasks share their hidden patterns, through time.

    Parameters
    ----------
    single : Prompts
        Of single tasks.
    hidden : ndarray, shape (n_times, n_prompts, n_units)

    Returns
    -------
    dict
        ``S``, ``r_in``, ``r_out``, ``r_diff``, each (n_times,); ``patterns``
        (n_times, n_tasks, n_units), means over the stimuli of each task; ``similarity``
        (n_times, n_tasks, n_tasks), their correlations. Where patterns are constant over units,
        correlations are 0/0, and nan.
    """
    env = single.environment
    task = [single.sets[k][0] for k in single.set_of]
    patterns = Representation.from_activity(hidden).averaged(task)
    read, written = ([pair[side] for pair in env.tasks] for side in (0, 1))
    assert patterns.activity is not None
    found: Values = {"patterns": patterns.activity}
    try:
        shared = sharing_index(patterns, inputs=read, outputs=written)
        found |= {
            "S": shared.index,
            "r_in": shared.same_input,
            "r_out": shared.same_output,
            "r_diff": shared.neither,
            "similarity": similarity(patterns, "correlation").values,
        }
    except OutsideValidity:
        times, tasks = patterns.activity.shape[:2]
        found |= {name: np.full(times, np.nan) for name in ("S", "r_in", "r_out", "r_diff")}
        found["similarity"] = np.full((times, tasks, tasks), np.nan)
    return found


def accuracies(prompts: Sequence[Prompts], outputs: np.ndarray) -> Values:
    """Return the shares of prompts that are answered right, by the number K of tasks at once.

    Parameters
    ----------
    prompts : sequence of Prompts
        All of K = 1, 2, ..., G tasks.
    outputs : ndarray, shape (n_times, n_prompts of all together, G M)

    Returns
    -------
    dict
        ``acc``, ``acc_congruent`` and ``acc_incongruent``, each (n_times, G); prompts of one task
        are all congruent, so that ``acc_incongruent`` starts with nan.
    """
    cuts = np.cumsum([len(one.X) for one in prompts])[:-1]
    parts = list(zip(prompts, np.split(outputs, cuts, axis=1), strict=True))
    none = np.full(len(outputs), np.nan)
    return {
        "acc": np.stack([one.accuracy(part) for one, part in parts], axis=1),
        "acc_congruent": np.stack([one.accuracy(part, True) for one, part in parts], axis=1),
        "acc_incongruent": np.stack(
            [none, *(one.accuracy(part, False) for one, part in parts[1:])], axis=1
        ),
    }


def similarities(hidden: np.ndarray) -> np.ndarray:
    """Return the correlations of all pairs of prompts, those above the diagonal, row by row.

    Parameters
    ----------
    hidden : ndarray, shape (n_prompts, n_units)

    Returns
    -------
    ndarray of float32, shape (n_prompts (n_prompts - 1) / 2,)
        nan where a pattern is constant over units, and for cells that failed.
    """
    above = np.triu_indices(len(hidden), 1)
    try:
        if np.isfinite(hidden).all():
            return similarity(hidden, "correlation").values[0][above].astype(np.float32)
    except OutsideValidity:
        pass
    return np.full(len(above[0]), np.nan, dtype=np.float32)


def agreement(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the correlation of two sets of `similarities`; nan if one is constant."""
    one, two = (a.astype(float) - a.mean(dtype=float) for a in (found, wanted))
    lengths = float(np.linalg.norm(one) * np.linalg.norm(two))
    return float(one @ two) / lengths if lengths > 0 else float("nan")


def mean_and_deviation(values: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation over seeds that were computed.

    Nan without any; of one seed there is no deviation, nan.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    return float(known.mean()), float(known.std(ddof=1)) if len(known) > 1 else float("nan")


def mean_and_spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation over the seeds that were computed, the first axis."""
    known = values[~np.isnan(values).reshape(len(values), -1).any(axis=1)]
    if not len(known):
        return np.full(values.shape[1:], np.nan), np.full(values.shape[1:], np.nan)
    return known.mean(axis=0), known.std(axis=0, ddof=1) if len(known) > 1 else 0 * known[0]


def any_learned(runs: Sweep) -> bool:
    """Return whether any training ended at a smaller loss on single tasks than at its start."""
    loss = runs["loss"]
    # nan, of what failed, is not smaller.
    return bool((loss[..., -1] < loss[..., 0]).any())


def unlearned(study: MultitaskStudy) -> Iterator[tuple[float, str, str]]:
    """Yield scale, curriculum and reason of cells that did not finish, means over seeds.

    Judged on what was trained on last, single tasks or concurrent ones: what was trained on before
    may be forgotten, which is a result.
    """
    for scale in study.axis("scale"):
        start = mean_and_deviation(study.values("loss", scale, "init"))[0]
        for name in study.axis("curriculum"):
            why = _why_unlearned(study, scale, name, start)
            if why:
                yield scale, name, why


def _why_unlearned(study: MultitaskStudy, scale: float, name: str, start: float) -> str:
    last = ("single", "concurrent") if name == "interleaved" else (name.split(", ")[-1],)
    loss = mean_and_deviation(study.values("loss", scale, name))[0]
    if loss >= start or ("single" in last and loss > (1 - FAR_ENOUGH) * start):
        return f"loss {loss:.3g}, at the start {start:.3g}"
    single = [1] if "single" in last else []
    many = range(2, study.setting.groups + 1) if "concurrent" in last else []
    for K in (*single, *many):
        right = mean_and_deviation(study.values("acc", scale, name, K))[0]
        chance = study.setting.features ** -float(K)
        if right < chance + FAR_ENOUGH * (1 - chance):
            return f"accuracy {right:.2f} at {K} task{'s' * (K > 1)}, by chance {chance:.2f}"
    return ""
