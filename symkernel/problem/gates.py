"""Gates given with the samples of a task."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from symkernel.errors import InvalidArgument, ShapeMismatch, as_real_array


def as_gates(value: object, X: np.ndarray | None) -> Mapping[str, np.ndarray]:
    """Return the gates of the samples X: one array (n_samples, units or 1) for each name."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise InvalidArgument(
            f"Argument 'gates' must map names of gates to arrays with one row for each sample, "
            f"as {{'context0': ...}}, not {_kind(value)}."
        )
    if value and X is None:
        raise InvalidArgument(
            "Argument 'gates' must come with samples, one row of each gate for each row of 'X'; "
            "a task given by moments, modes or symbols has none."
        )
    found = {}
    for name, given in value.items():
        _check_shape(name, given, "n_samples" if X is None else str(len(X)))
        gate = np.array(as_real_array(given, f"gates[{name!r}]", 2))
        if X is not None and len(gate) != len(X):
            raise ShapeMismatch(
                f"Gate '{name}' must have one row for each of the {len(X)} samples, not "
                f"{len(gate)}."
            )
        gate.setflags(write=False)
        found[name] = gate
    return MappingProxyType(found)


def check_columns(
    gates: Mapping[str, np.ndarray], sizes: Mapping[str, int], whose: str = ""
) -> None:
    """Refuse gates that have neither one column nor one for each unit of their layer."""
    for name, size in sizes.items():
        if gates[name].shape[1] not in (1, size):
            raise ShapeMismatch(
                f"Gate '{name}'{whose} must have one column or {size}, one for each unit of its "
                f"layer, not {gates[name].shape[1]}."
            )


def _check_shape(name: str, given: object, rows: str) -> None:
    """Refuse a gate that is no table; what is no array of numbers is refused elsewhere."""
    try:
        shape = np.asarray(given).shape
    except ValueError:
        return
    if given is not None and len(shape) != 2:
        advice = "; give gate[:, None]" if len(shape) == 1 else ""
        raise ShapeMismatch(
            f"Gate '{name}' must be 2-dimensional, of shape ({rows}, 1) with one value per sample "
            f"for the whole layer or ({rows}, n_units), not {shape}{advice}."
        )


def _kind(value: object) -> str:
    """Say what was given, in short: an array may be long."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return f"the names {list(value)!r}" if isinstance(value, Mapping) else repr(value)
