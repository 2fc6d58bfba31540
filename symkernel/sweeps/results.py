r"""What a sweep found: values over the grid, with labels, and what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from symkernel.errors import InvalidArgument, optional_module
from symkernel.sweeps.folder import Outcome

Axes = Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Labels:
    """Names of the axes of the cells' arrays, and values along them."""

    dims: Mapping[str, tuple[str, ...]]
    coords: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False, repr=False)
class Sweep:
    """Values over a grid; ``sweep["loss"]`` has the grid's axes first, then the array's own.

    Attributes
    ----------
    grid : mapping of str to tuple
        The parameters' values: the first axes, in this order.
    values : mapping of str to ndarray
        Cells that failed hold nan, or nothing of their type where there is no nan.
    failures : tuple of Outcome
        Each with ``parameters``, ``error`` in words and ``traceback``.
    seconds : ndarray
        What each cell took, over the grid.
    computed : int
        Number of cells that were not on disk yet.
    folder : Path
    """

    grid: Axes
    values: Mapping[str, np.ndarray]
    failures: tuple[Outcome, ...]
    seconds: np.ndarray
    computed: int
    folder: Path
    labels: Labels

    @classmethod
    def of(
        cls, grid: Axes, outcomes: Sequence[Outcome], labels: Labels, computed: int, folder: Path
    ) -> Sweep:
        """Put the cells of a grid, in order, into one array for each value."""
        shape = tuple(map(len, grid.values()))
        good = [o for o in outcomes if not o.error]
        names = list(good[0].values) if good else []
        if both := [name for name in names if name in grid]:
            raise InvalidArgument(
                f"A cell must not return what is a parameter already, {both[0]!r}; give the value "
                f"another name."
            )
        for outcome in good:
            _alike(outcome, good[0], labels)
        values = {name: _stacked(name, outcomes, good[0], shape) for name in names}
        seconds = np.array([o.seconds for o in outcomes]).reshape(shape)
        failures = tuple(o for o in outcomes if o.error)
        return cls(grid, values, failures, seconds, computed, folder, labels)

    def __getitem__(self, name: str) -> np.ndarray:
        """Return one value over the grid."""
        if name not in self.values:
            known = ", ".join(self.values) or "none, since every cell failed"
            raise InvalidArgument(f"The cells gave no {name!r}; they gave: {known}.")
        return self.values[name]

    def __repr__(self) -> str:
        axes = ", ".join(f"{name} {len(values)}" for name, values in self.grid.items())
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"Sweep({axes}: {', '.join(self.values)}; {self.computed} computed now{failed})"

    def to_xarray(self) -> Any:
        """Return the values as an ``xarray.Dataset`` with labelled axes."""
        xarray = optional_module("xarray", "to_xarray()")
        data = {}
        for name, array in self.values.items():
            own = self.labels.dims.get(name) or tuple(
                f"{name}_{k}" for k in range(array.ndim - len(self.grid))
            )
            data[name] = ((*self.grid, *own), array)
        used = {axis for axes, _ in data.values() for axis in axes}
        coords = {name: list(values) for name, values in self.grid.items()}
        along = {name: values for name, values in self.labels.coords.items() if name in used}
        return xarray.Dataset(data, coords={**coords, **along})


def checked_dims(
    axes: Axes,
    dims: Mapping[str, Sequence[str]] | None,
    coords: Mapping[str, object] | None,
) -> Labels:
    """Return the labels of the cells' own axes, refusing names that the grid has."""
    for name, given in (("dims", dims), ("coords", coords)):
        if given is not None and not isinstance(given, Mapping):
            raise InvalidArgument(f"Argument '{name}' must be a mapping, not {given!r}.")
    found: dict[str, tuple[str, ...]] = {}
    for value, names in (dims or {}).items():
        plain = isinstance(names, (list, tuple)) and all(isinstance(n, str) for n in names)
        if not plain or len(set(names)) < len(names) or set(names) & set(axes):
            raise InvalidArgument(
                f"Argument 'dims' must name the axes of '{value}' by different texts, none of "
                f"them a parameter of the grid, not {names!r}."
            )
        found[value] = tuple(names)
    known = {axis for own in found.values() for axis in own}
    along = {axis: np.asarray(values) for axis, values in (coords or {}).items()}
    for axis, values in along.items():
        if axis not in known or values.ndim != 1:
            raise InvalidArgument(
                f"Argument 'coords' must give one value for each place along an axis that 'dims' "
                f"names; '{axis}' has shape {values.shape}, and 'dims' names "
                f"{', '.join(sorted(known)) or 'none'}."
            )
    return Labels(found, along)


def _alike(outcome: Outcome, first: Outcome, labels: Labels) -> None:
    """Refuse cells whose values do not fit into one array, or do not fit their labels."""
    for name in {**first.values, **outcome.values}:
        one, other = first.values.get(name), outcome.values.get(name)
        shapes = [None if v is None else v.shape for v in (one, other)]
        if shapes[0] != shapes[1] or shapes[1] is None:
            raise InvalidArgument(
                f"The cells must return the same values in the same shapes; {name!r} is "
                f"{shapes[0]} at {dict(first.parameters)} and {shapes[1]} at "
                f"{dict(outcome.parameters)} (None: not there). All cells are on disk."
            )
    for name, own in labels.dims.items():
        lengths = [len(labels.coords[axis]) if axis in labels.coords else None for axis in own]
        shape = first.values[name].shape if name in first.values else None
        fits = shape is not None and len(shape) == len(own)
        if not fits or any(n not in (None, m) for n, m in zip(lengths, shape or (), strict=True)):
            raise InvalidArgument(
                f"Argument 'dims' names the axes {own} of {name!r}, of lengths {lengths}, but the "
                f"cells gave it the shape {shape}. All cells are on disk; mend the names."
            )


def _stacked(
    name: str, outcomes: Sequence[Outcome], first: Outcome, shape: tuple[int, ...]
) -> np.ndarray:
    """Return one value over the grid, with nan where a cell failed."""
    given = [o.values[name] for o in outcomes if not o.error]
    kind = np.result_type(*given)
    if len(given) < len(outcomes) and kind.kind in "biu":
        kind = np.dtype(np.float64)
    missing = np.zeros(first.values[name].shape, dtype=kind)
    if kind.kind in "fc":
        missing[...] = np.nan
    filled = [missing if o.error else o.values[name].astype(kind) for o in outcomes]
    return np.stack(filled).reshape(*shape, *first.values[name].shape)
