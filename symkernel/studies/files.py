"""Parts of a study's files: labelled numbers as a dataset or a file, and what was judged."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from symkernel import __version__
from symkernel.errors import optional_module
from symkernel.report.files import write_atomically
from symkernel.report.record import finite

# By name: the names of the axes, and the array.
Labelled = Mapping[str, Any]


def as_dataset(data: Labelled, coords: Mapping[str, Any], about: Mapping[str, Any]) -> Any:
    """Return an ``xarray.Dataset``; coordinates of axes that no array has are left out."""
    xarray = optional_module("xarray", "to_xarray()")
    used = {axis for axes, _ in data.values() for axis in axes}
    kept = {name: values for name, values in coords.items() if name in used}
    return xarray.Dataset(data, coords=kept, attrs={"symkernel": __version__, **about})


def save_numbers(
    data: Labelled, coords: Mapping[str, Any], dataset: Callable[[], Any], path: Path
) -> Path:
    """Write a dataset as netCDF, or its arrays as NPZ where xarray is not installed."""
    if importlib.util.find_spec("xarray") is not None:
        content = bytes(dataset().to_netcdf(engine="scipy", format="NETCDF3_64BIT"))
        return write_atomically(path.with_suffix(".nc"), lambda file: file.write(content))
    arrays: Mapping[str, Any] = {
        **{name: array for name, (_, array) in data.items()},
        **{f"axes_of_{name}": np.array(axes) for name, (axes, _) in data.items()},
        **{f"along_{name}": np.array(values) for name, values in coords.items()},
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return write_atomically(path.with_suffix(".npz"), lambda file: file.write(buffer.getbuffer()))


def judged(study: Any) -> dict[str, list[dict[str, Any]]]:
    """Return the bands and the failures of a study, as JSON can hold them."""
    return {
        "bands": [
            {"what": b.what, "value": finite(b.value), "low": finite(b.low),
             "high": finite(b.high), "holds": b.holds} for b in study.bands
        ],
        "failures": [
            {"parameters": dict(one.parameters), "error": one.error} for one in study.failures
        ],
    }  # fmt: skip
