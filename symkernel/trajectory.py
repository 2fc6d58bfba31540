"""The one numeric result type: learning through time, from theory or from simulation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from symkernel.errors import InvalidArgument, OutsideValidity, as_times, optional_module


@dataclass(frozen=True)
class Undetermined:
    """Stands for a field that the law does not determine, with the reason."""

    reason: str


Field = Callable[[], Any] | Undetermined


def _frozen(value: Any) -> Any:
    """Return a result that cannot be changed: an array, or a mapping of arrays."""
    if isinstance(value, Mapping):
        return MappingProxyType({name: _frozen(part) for name, part in value.items()})
    if isinstance(value, np.ndarray):
        value.setflags(write=False)
    return value


@dataclass(frozen=True, eq=False)
class Trajectory:
    r"""Learning through time. Fields are computed on first use and then kept.

    Attributes
    ----------
    times : ndarray, shape (n_times,)
        Flow time, learning rate x steps.
    steps : ndarray or None, shape (n_times,)
        Gradient-descent steps, for simulations.
    outputs : ndarray, shape (n_times, n_samples, n_outputs)
    hidden : ndarray, shape (n_times, n_samples, n_hidden)
        Activity of the node "hidden".
    hidden_gram : ndarray, shape (n_times, n_samples, n_samples)
    ntk : ndarray, shape (n_times, n_samples, n_outputs, n_samples, n_outputs)
    weights : mapping of str to ndarray, (n_times,) + shape of the parameter
    loss : ndarray, shape (n_times,)
        On the task of the phase that runs.
    task_losses : ndarray, shape (n_times, n_phases)
        On the task of every phase, without weight decay.
    end_to_end : ndarray, shape (n_times, n_outputs, n_inputs)
        The map from inputs to outputs (linear networks).
    input_gram : ndarray, shape (n_times, n_inputs, n_inputs)
        $W_1^T W_1$ (two-layer linear networks).
    readout_gram : ndarray, shape (n_times, n_outputs, n_outputs)
        $W_2 W_2^T$ (two-layer linear networks).
    modes : ndarray, shape (n_times, n_modes)
        End-to-end map in the task's singular basis (two-layer linear networks); of diagonal
        networks the coefficients of the inputs, and `modes_are` is "coordinate", not "mode".
    kernel_movement : ndarray, shape (n_times,)
        Relative change of the tangent kernel since the start, at the weights that a law of the
        frozen kernel predicts.
    error_estimate : ndarray, shape (n_times,)
        What a law that is refined step by step estimates of its own error: of outputs relative to
        the largest output, of inner nodes and weights to how far they move, whichever is largest.
    refreshes : int
        How often such a law refreshed its kernel in each phase.
    origin : str
        "theory" or "simulation".
    labels : mapping of str to tuple of str
        Names of samples, inputs and outputs.
    path_record : PathRecord or None
        What was attributed in the run, for `attribution` to read.
    descent : Descent or None
        Loss, batch size, label noise and resets of a simulation, for what reads it afterwards.
    caveat : str
        Which assumptions of the law are violated, and why it is worth nothing here if it is; empty
        where all is well.

    Raises
    ------
    OutsideValidity
        When a field is asked for that the law does not determine; the message says why.
    """

    times: np.ndarray
    fields: Mapping[str, Field]
    steps: np.ndarray | None = None
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    origin: str = "theory"
    nodes: Mapping[str, Field] = field(default_factory=dict)
    conventions: tuple[str, ...] = ()
    modes_are: str = "mode"
    path_record: Any = None
    caveat: str = ""
    descent: Any = None

    def __post_init__(self) -> None:
        for name in ("labels", "fields", "nodes"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        for name in ("times", "steps"):
            # A copy: the caller's own array stays writable, and what he does to it has no effect.
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else _frozen(np.array(value)))
        object.__setattr__(self, "_kept", {})

    def __repr__(self) -> str:
        span = f"{self.times[0]:g} to {self.times[-1]:g}" if len(self.times) else "none"
        held = ", ".join(self.available)
        caveat = f"; {self.caveat}" if self.caveat else ""
        return f"Trajectory({self.origin}; {len(self.times)} times, {span}; {held}{caveat})"

    def _compute(self, key: tuple[str, str], source: Mapping[str, Field]) -> Any:
        kept: dict[tuple[str, str], Any] = self._kept  # type: ignore[attr-defined]
        if key not in kept:
            producer = source.get(key[1])
            if producer is None:
                raise OutsideValidity(
                    f"This {self.origin} does not hold '{key[1]}'; it holds "
                    f"{', '.join(source) or 'nothing of the kind'}."
                )
            if isinstance(producer, Undetermined):
                raise OutsideValidity(f"'{key[1]}' is not determined: {producer.reason}.")
            kept[key] = _frozen(producer())
        return kept[key]

    @cached_property
    def available(self) -> tuple[str, ...]:
        """Names of the fields that are determined."""
        return tuple(k for k, v in self.fields.items() if not isinstance(v, Undetermined))

    @property
    def outputs(self) -> np.ndarray:
        """Outputs, shape (n_times, n_samples, n_outputs)."""
        return self._compute(("field", "outputs"), self.fields)

    @property
    def hidden(self) -> np.ndarray:
        """Activity of the node "hidden", shape (n_times, n_samples, n_hidden)."""
        return self._compute(("field", "hidden"), self.fields)

    @property
    def hidden_gram(self) -> np.ndarray:
        """Inner products of hidden activities, shape (n_times, n_samples, n_samples)."""
        return self._compute(("field", "hidden_gram"), self.fields)

    @property
    def ntk(self) -> np.ndarray:
        """Neural tangent kernel, (n_times, n_samples, n_outputs, n_samples, n_outputs)."""
        return self._compute(("field", "ntk"), self.fields)

    @property
    def weights(self) -> Mapping[str, np.ndarray]:
        """Parameters by name, each of shape (n_times,) + its own."""
        return self._compute(("field", "weights"), self.fields)

    @property
    def loss(self) -> np.ndarray:
        """Loss on the running phase's task, shape (n_times,)."""
        return self._compute(("field", "loss"), self.fields)

    @property
    def task_losses(self) -> np.ndarray:
        """Loss on the task of every phase of the curriculum, shape (n_times, n_phases)."""
        return self._compute(("field", "task_losses"), self.fields)

    @property
    def end_to_end(self) -> np.ndarray:
        """Map from inputs to outputs, shape (n_times, n_outputs, n_inputs)."""
        return self._compute(("field", "end_to_end"), self.fields)

    @property
    def input_gram(self) -> np.ndarray:
        """Inner products of the first weight's columns, shape (n_times, n_inputs, n_inputs)."""
        return self._compute(("field", "input_gram"), self.fields)

    @property
    def readout_gram(self) -> np.ndarray:
        """Inner products of the last weight's rows, shape (n_times, n_outputs, n_outputs)."""
        return self._compute(("field", "readout_gram"), self.fields)

    @property
    def modes(self) -> np.ndarray:
        """End-to-end map in the singular basis, shape (n_times, n_modes)."""
        return self._compute(("field", "modes"), self.fields)

    @property
    def kernel_movement(self) -> np.ndarray:
        """Relative change of the kernel since the start, at predicted weights, (n_times,)."""
        return self._compute(("field", "kernel_movement"), self.fields)

    @property
    def error_estimate(self) -> np.ndarray:
        """A law's own estimate of its error, relative to outputs and movements, (n_times,)."""
        return self._compute(("field", "error_estimate"), self.fields)

    @property
    def refreshes(self) -> int:
        """How often a law refreshed its kernel in each phase."""
        return self._compute(("field", "refreshes"), self.fields)

    def node(self, name: str) -> np.ndarray:
        """Activity of a named node, shape (n_times, n_samples, size)."""
        return self._compute(("node", name if isinstance(name, str) else repr(name)), self.nodes)

    def attribution(self, by: object = None, node: str | None = None) -> Any:
        r"""Return which training samples moved the representation, and by how much.

        Parameters
        ----------
        by : {"sample", "task", "phase", "group"} or sequence of str or int, optional
            Among whom the movement is shared out: what the run was asked for, as in
            ``simulate(..., attribute="task")``, if not given. What was attributed to samples is
            there by task too, and everything by phase. A label for each group that the run was
            asked for, in the order of its ``labels`` (weight decay needs none), merges those of
            one label.
        node : str, optional
            Name of the node; "hidden", or "output" where there is no such node.

        Returns
        -------
        symkernel.Attribution
            Contributions, exact up to rounding, and their matrix.

        Raises
        ------
        OutsideValidity
            If nothing was attributed in the run.
        """
        if self.path_record is None:
            raise OutsideValidity(
                f"This {self.origin} holds no attribution; ask for it before the run, as in "
                f"sk.simulate(..., attribute='task')."
            )
        return self.path_record.attribution(by, node)

    def to_xarray(self) -> Any:
        """Return the determined fields as an ``xarray.Dataset`` with labelled axes."""
        xarray = optional_module("xarray", "to_xarray()")
        axes = {
            "outputs": ("time", "sample", "output"),
            "hidden": ("time", "sample", "unit"),
            "hidden_gram": ("time", "sample", "sample2"),
            "loss": ("time",),
            "task_losses": ("time", "phase"),
            "kernel_movement": ("time",),
            "error_estimate": ("time",),
            "end_to_end": ("time", "output", "input"),
            "modes": ("time", self.modes_are),
        }
        data = {k: (axes[k], getattr(self, k)) for k in axes if k in self.available}
        coordinates: dict[str, Any] = {"time": self.times}
        for key, axis in (("samples", "sample"), ("outputs", "output")):
            if key in self.labels:
                coordinates[axis] = list(self.labels[key])
        return xarray.Dataset(data, coords=coordinates)


def nearest(recorded: np.ndarray, times: Any, name: str = "times") -> list[int]:
    """Return the positions of the recorded times nearest to those given."""
    wanted = as_times([times] if np.ndim(times) == 0 else times, name)
    if wanted[-1] > recorded[-1] * (1 + 1e-9):
        raise InvalidArgument(
            f"Argument '{name}' must not exceed the last recorded time {recorded[-1]:g}, but holds "
            f"{wanted[-1]:g}."
        )
    return [int(abs(recorded - time).argmin()) for time in wanted]
