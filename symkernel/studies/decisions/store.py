"""The study's files: tables, record, figures, and all numbers with their labels."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from symkernel import __version__
from symkernel.report.figures import save_figure
from symkernel.report.files import save
from symkernel.report.record import save_record
from symkernel.studies.decisions.measures import LABELS, NOISES
from symkernel.studies.decisions.setting import ABOUT
from symkernel.studies.decisions.tables import tables_of
from symkernel.studies.decisions.verdicts import CLAIMS, Verdict
from symkernel.studies.files import as_dataset, save_numbers
from symkernel.studies.folder import claimed

if TYPE_CHECKING:
    from symkernel.studies.decisions.study import InformationStudy

_NAME = "information"
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


def save_study(study: InformationStudy, folder: str | Path) -> list[Path]:
    """Write everything into a folder; return the files.

    Raises
    ------
    InvalidArgument
        If the folder is neither new nor empty nor of this study; it is left as it is.
    """
    root = claimed(folder, ABOUT)
    written = [
        save(f"{study}\n", root / f"{_NAME}.txt"),
        save(study.latex(), root / f"{_NAME}.tex"),
        save_record(record(study), root / f"{_NAME}.json"),
        save_numbers(*labelled(study), lambda: dataset(study), root / _NAME),
    ]
    written += [
        save_figure(figure, root / f"{name}.{kind}")
        for name, figure in study.figures().items()
        for kind in ("png", "pdf")
    ]
    return written


def record(study: InformationStudy) -> dict[str, Any]:
    """Return what JSON can hold: settings, verdicts, tables, bands, failures."""
    return {
        "symkernel": __version__,
        "study": _NAME,
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
        "bands": [
            {"what": b.what, "value": _finite(b.value), "low": b.low, "high": b.high,
             "holds": b.holds} for b in study.bands
        ],
        "failures": [
            {"parameters": dict(one.parameters), "error": one.error} for one in study.failures
        ],
    }  # fmt: skip


def _verdict(one: Verdict) -> dict[str, Any]:
    found = one.found
    numbers = {} if found is None else {k: _finite(v) for k, v in asdict(found).items()}
    return {
        "claim": one.claim, "setting": one.setting, "noise": one.noise, "verdict": one.words,
        "difference": numbers, "about": one.about,
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


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
