"""What a study writes: its record, and all numbers with their labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from symkernel import __version__
from symkernel.report.record import finite
from symkernel.studies.comparison import Comparison, contribution_means
from symkernel.studies.files import as_dataset, judged
from symkernel.studies.labels import about_variable
from symkernel.studies.measures import mean_and_deviation
from symkernel.studies.tables import cells_of, measures_of

if TYPE_CHECKING:
    from symkernel.studies.study import MultitaskStudy

NAME = "multitask"
_TIME = ("kept",)
_AXES = ("scale", "curriculum", "seed")
# The cells' own axes, behind those of the grid.
_OWN = {
    **dict.fromkeys(("S", "r_in", "r_out", "r_diff", "loss", "move", "step"), _TIME),
    **dict.fromkeys(("acc", "acc_congruent", "acc_incongruent"), (*_TIME, "at_once")),
    "patterns": (*_TIME, "task", "unit"),
    "similarity": (*_TIME, "task", "other_task"),
    "activity": ("prompt", "unit"),
}
# What is long and follows from the rest.
_LEFT_OUT = ("similarities",)


def record(study: MultitaskStudy) -> dict[str, Any]:
    """Return what JSON can hold: setting, tables, bands, theories, failures."""
    names = dict.fromkeys(measure for _, measure, _ in measures_of(study))
    many = range(1, study.setting.groups + 1)
    table = []
    for scale, curriculum in cells_of(study):
        line: dict[str, Any] = {"scale": scale, "curriculum": curriculum}
        for name in [*names, "acc_congruent"]:
            wanted: list[tuple[str, int | None]] = [(name, None)]
            if name.startswith("acc"):
                wanted = [(f"{name}_{K}", K) for K in many]
            for label, K in wanted:
                mean, deviation = mean_and_deviation(study.values(name, scale, curriculum, K))
                line[label] = {"mean": finite(mean), "deviation": finite(deviation)}
        table.append(line)
    return {
        "symkernel": __version__,
        "study": NAME,
        "setting": asdict(study.setting),
        "seeds": list(study.axis("seed")),
        "table": table,
        "unlearned": [
            {"scale": scale, "curriculum": name, "why": why} for scale, name, why in study.unlearned
        ],
        "contributions": {
            f"{scale:g}": {name: finite(value) for name, value in means.items()}
            for scale, means in contribution_means(study).items()
        },
        "theories": [_compared(one) for one in study.comparisons],
        **judged(study),
    }  # fmt: skip


def _compared(one: Comparison) -> dict[str, Any]:
    arrays = ("similarities", "S", "true_S", "acc", "true_acc", "valid", "step_error", "learned")
    found = {name: _listed(getattr(one, name)) for name in arrays}
    words = {name: getattr(one, name) for name in ("name", "title", "scale", "curriculum")}
    return {**words, **found, "holds": one.holds, "statement": one.statement}


def _listed(values: np.ndarray) -> list[Any]:
    return [_listed(v) if np.ndim(v) else finite(float(v)) for v in values]


def labelled(study: MultitaskStudy) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return arrays with the names of their axes, and the values along these axes."""
    env = study.setting.environment
    tasks = [env.name(k) for k in range(len(env.tasks))]
    coords: dict[str, Any] = {name: list(study.axis(name)) for name in _AXES}
    coords["unit"] = list(range(study.setting.hidden))
    coords["prompt"] = [f"{env.name(t)}, stimulus {k}" for t, k in _prompts(study)]
    coords |= {"at_once": list(range(1, env.groups + 1)), "task": tasks, "other_task": tasks}
    data = {name: ((*_AXES, *_OWN[name]), study.array(name)) for name in study.runs.values}
    few = _put(data, coords, study, "contributions", "contribution_", _AXES)
    if "contribution_matrix" in data:
        data["contribution_matrix"] = ((*few, "task", "trained_on"), data["contribution_matrix"][1])
    if study.predictions is not None:
        theirs = _put(data, coords, study, "predictions", "foreseen_", ("predictor", *_AXES))
        for name, own in (("acc", ("at_once",)), ("similarity", ("task", "other_task"))):
            for label in [k for k in data if k.startswith(f"foreseen_{name}")]:
                if data[label][1].ndim == len(theirs) + len(own):
                    data[label] = ((*theirs, *own), data[label][1])
        if study.steps is not None:
            _put(data, coords, study, "steps", "steps_", _AXES)
        agreements = [one.similarities for one in study.comparisons]
        if agreements:
            shape = [len(study.axis(n, "predictions")) for n in ("scale", "curriculum")]
            names, seeds = (study.axis(n, "predictions") for n in ("predictor", "seed"))
            whole = np.array(agreements).reshape(*shape, len(names), len(seeds))
            data["foreseen_agreement"] = (theirs, np.moveaxis(whole, 2, 0))
    return data, coords


def _prompts(study: MultitaskStudy) -> Iterator[tuple[int, int]]:
    """Yield the task of every prompt of a single task, and the number of its stimulus."""
    single = study.setting.environment.single
    tasks = [single.sets[k][0] for k in single.set_of]
    seen: dict[int, int] = {}
    for task in tasks:
        yield task, seen.setdefault(task, 0)
        seen[task] += 1


def _put(
    data: dict[str, Any],
    coords: dict[str, Any],
    study: MultitaskStudy,
    of: str,
    prefix: str,
    axes: tuple[str, ...],
) -> tuple[str, ...]:
    """Add the values of a sweep over fewer cells, under names of their own; return its axes."""
    own = tuple(name if name in ("predictor", "scale") else f"{prefix}{name}" for name in axes)
    for name, label in zip(axes, own, strict=True):
        coords[label] = list(study.axis(name, of))
    for name in getattr(study, of).values:
        if name not in _LEFT_OUT:
            array = study.array(name, of)
            rest = tuple(f"{prefix}{name}_{k}" for k in range(array.ndim - len(own)))
            data[f"{prefix}{name}"] = ((*own, *rest), array)
    return own


def dataset(study: MultitaskStudy) -> Any:
    """Return everything as an ``xarray.Dataset``."""
    # netCDF has no truth values among its attributes.
    about = {**asdict(study.setting), "direct": int(study.setting.direct)}
    seeds = ", ".join(map(str, study.axis("seed")))
    found = as_dataset(*labelled(study), {**about, "seeds": seeds})
    for name in found.variables:
        found[name].attrs.update(about_variable(str(name)))
    return found
