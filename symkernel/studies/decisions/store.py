"""What a study writes: its record, and all numbers with their labels."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from symkernel import __version__
from symkernel.report.record import finite
from symkernel.studies.decisions.measures import LABELS, NOISES
from symkernel.studies.decisions.tables import tables_of
from symkernel.studies.decisions.verdicts import CLAIMS, Verdict
from symkernel.studies.files import as_dataset, judged

if TYPE_CHECKING:
    from symkernel.studies.decisions.study import InformationStudy

NAME = "information"
_OWN = {
    "bits": ("layer", "noise", "label"),
    **dict.fromkeys(("time", "loss", "accuracy", "clock"), ()),
}

# Name in full, unit.
_FULL = {
    "bits": ("usable information in the probes' hidden activity, held out", "bit"),
    "time": ("learning rate x steps", "flow time"),
    "loss": ("cross-entropy of the samples that train, with clean labels", "nat"),
    "accuracy": ("share of the probes that are answered right", "1"),
    "clock": ("pruning clock X of the irrelevant direction", "1"),
    "descent": ("learning rate / batch size", ""),
    "epochs": ("epochs of pretraining on the irrelevant label", "1"),
    "seed": ("seed of the initial weights and of the order of samples", ""),
}


def record(study: InformationStudy) -> dict[str, Any]:
    """Return what JSON can hold: settings, verdicts, tables, bands, failures."""
    return {
        "symkernel": __version__,
        "study": NAME,
        "seeds": list(study.seeds),
        "claims": {str(number): words for number, words in CLAIMS.items()},
        "settings": [
            {"name": one.setting.name, **asdict(one.setting), "data": one.decision.digest,
             "labels": list(one.decision.names), "entropy": one.entropy,
             "tables": [{"title": title, "head": list(head), "rows": [list(r) for r in rows]}
                        for title, head, rows in tables_of(one)]}
            for one in study.found
        ],
        "verdicts": [_verdict(one) for one in study.verdicts],
        **judged(study),
    }  # fmt: skip


def _verdict(one: Verdict) -> dict[str, Any]:
    found = one.found
    numbers = {} if found is None else {k: finite(v) for k, v in asdict(found).items()}
    return {
        "claim": one.claim, "setting": one.setting, "noise": one.noise, "verdict": one.words,
        "difference": numbers, "about": one.about,
    }  # fmt: skip


def labelled(study: InformationStudy) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return arrays with the names of their axes, and the values along these axes.

    Settings have axes of their own, numbered as they stand in the record.
    """
    coords: dict[str, Any] = {"noise": list(NOISES), "label": list(LABELS)}
    data: dict[str, Any] = {}
    for k, found in enumerate(study.found):
        for name, sweep in found.sweeps.items():
            own = {"seed": "seed"}
            for axis, values in sweep.grid.items():
                own.setdefault(axis, f"{axis}_{name}_{k}")
                coords[own[axis]] = list(values)
            for value, array in sweep.values.items():
                inside = (f"record_{name}_{k}", *_OWN[value])
                axes = (*(own[axis] for axis in sweep.grid), *inside)
                axes = tuple(f"layer_{k}" if axis == "layer" else axis for axis in axes)
                data[f"{name}_{value}_{k}"] = (axes, array)
        coords[f"layer_{k}"] = list(found.setting.layers)
    return data, coords


def dataset(study: InformationStudy) -> Any:
    """Return everything as an ``xarray.Dataset``."""
    names = {f"setting_{k}": found.setting.name for k, found in enumerate(study.found)}
    found = as_dataset(*labelled(study), {**names, "seeds": ", ".join(map(str, study.seeds))})
    for name in found.variables:
        kind = next((kind for kind in _FULL if f"_{kind}_" in f"_{name}_"), None)
        if kind is not None:
            full, unit = _FULL[kind]
            found[name].attrs.update(long_name=full, units=unit)
    return found
