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
            f"not {value!r}."
        )
    if value and X is None:
        raise InvalidArgument(
            "Argument 'gates' must come with samples, one row of each gate for each row of 'X'; "
            "a task given by moments, modes or symbols has none."
        )
    found = {}
    for name, given in value.items():
        gate = np.array(as_real_array(given, f"gates[{name!r}]", 2))
        if X is not None and len(gate) != len(X):
            raise ShapeMismatch(
                f"Gate '{name}' must have one row for each of the {len(X)} samples, not "
                f"{len(gate)}."
            )
        gate.setflags(write=False)
        found[name] = gate
    return MappingProxyType(found)
