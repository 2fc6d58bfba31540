"""What is to be attributed, to whom and on which samples, checked before a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from symkernel.errors import InvalidArgument, ShapeMismatch, as_real_array
from symkernel.problem.gates import check_columns
from symkernel.problem.network import Network
from symkernel.problem.nodes import Node
from symkernel.problem.task import Task
from symkernel.simulation.attribution_groups import (
    DECAY,
    KINDS,
    OWN,
    RESET,
    Groups,
    distinct,
    find_groups,
    task_names,
)
from symkernel.simulation.layout import Samples

# Steps of a chord: a call of the compiled program takes whole chords, and must be short.
_MOST_STRIDE = 1000


@dataclass(frozen=True, eq=False)
class Request:
    """A checked request.

    Attributes
    ----------
    groups : Groups
        Among which movements are split.
    labels : tuple of str
        Names of the groups; last, where there are any, resets and weight decay.
    probe : Samples
        Samples whose movements are split.
    probe_labels : mapping of str to tuple of str
        The group of each, for what a group may be.
    names : mapping of str to Node
        Nodes by name; the input is not among them.
    stride : int
        Steps of a chord, along which slopes are taken.
    """

    groups: Groups
    labels: tuple[str, ...]
    probe: Samples
    probe_labels: Mapping[str, tuple[str, ...]]
    names: Mapping[str, Node]
    stride: int = 1

    @property
    def tracked(self) -> tuple[Node, ...]:
        """Nodes, each once."""
        return tuple(dict.fromkeys(self.names.values()))


def as_request(
    attribute: object,
    probe: object,
    net: Network,
    tasks: Sequence[Task],
    gates: Sequence[Mapping[str, np.ndarray]],
    decays: bool,
    resets: bool,
    nodes: object,
    stride: int,
) -> Request:
    """Return the checked request; `gates` are those of each phase."""
    if any(task.X is None and task.teacher is None for task in tasks):
        raise InvalidArgument(
            "Argument 'attribute' must be left out for a task without samples, given by moments or "
            "modes: movements are attributed to samples and groups of them."
        )
    if stride > _MOST_STRIDE:
        raise InvalidArgument(
            f"Argument 'stride' must be at most {_MOST_STRIDE}, not {stride}: chords of so many "
            f"steps cost no more than the training."
        )
    groups = find_groups(attribute, tasks)
    refuse_own(groups.labels, "attribute")
    samples, names = _as_probe(probe, net, tasks, gates, groups)
    labels = (*groups.labels, *[RESET] * resets, *[DECAY] * decays)
    return Request(groups, labels, samples, names, _as_nodes(nodes, net), stride)


def refuse_own(labels: Sequence[str], name: str) -> None:
    """Refuse labels of an argument that stand for what moves weights without a sample."""
    for label in OWN:
        if label in labels:
            raise InvalidArgument(
                f"Argument '{name}' must not use the label {label!r}, which is that of "
                f"{'weight decay' if label == DECAY else 'resets between phases'}."
            )


def _as_nodes(nodes: object, net: Network) -> dict[str, Node]:
    """Return the nodes to be followed, by name: all but the input if none are named."""
    known = {name: node for name, node in net.nodes.items() if name != "input"}
    if nodes is None:
        return known
    wanted = list(nodes) if isinstance(nodes, Sequence) and not isinstance(nodes, str) else []
    if not wanted or not all(isinstance(name, str) and name in known for name in wanted):
        raise InvalidArgument(
            f"Argument 'nodes' must be a list of some of the names "
            f"{', '.join(map(repr, known))}, not {nodes!r}."
        )
    return {name: known[name] for name in wanted}


def _as_probe(
    probe: object,
    net: Network,
    tasks: Sequence[Task],
    gates: Sequence[Mapping[str, np.ndarray]],
    groups: Groups,
) -> tuple[Samples, Mapping[str, tuple[str, ...]]]:
    """Return the probe's samples, and the group of each for what a group may be."""
    if probe is None:
        return _all_samples(tasks, gates, groups)
    if isinstance(probe, Task):
        if probe.X is None:
            raise InvalidArgument(
                "Argument 'probe' must be a task with samples, not one given by moments or modes; "
                "give inputs as an array, one row for each sample."
            )
        inputs, known = probe.X, probe.gates
    else:
        inputs, known = as_real_array(probe, "probe", 2), {}
    if inputs.shape[1] != int(net.inputs):
        raise ShapeMismatch(
            f"Argument 'probe' must have {net.inputs} columns, one for each input, not "
            f"{inputs.shape[1]}."
        )
    names = _names(probe, len(inputs))
    labels = dict.fromkeys((*KINDS, groups.by), names)
    return Samples(inputs, inputs, _probe_gates(known, net, len(inputs))), labels


def _all_samples(
    tasks: Sequence[Task], gates: Sequence[Mapping[str, np.ndarray]], groups: Groups
) -> tuple[Samples, Mapping[str, tuple[str, ...]]]:
    """Return the samples of all different tasks, those of a task in its first phase."""
    places = [[id(task) for task in tasks].index(id(task)) for task in distinct(tasks)]
    places = [place for place in places if tasks[place].X is not None]
    if not places:
        raise InvalidArgument(
            "Argument 'probe' must be given where samples are drawn anew in each step: inputs "
            "whose movements are to be attributed, or a Task."
        )
    named = tuple(name for place in places for name in task_names(tasks[place], tasks))
    labels = {"task": named, "phase": named}
    members = [groups.members[place] for place in places]
    if groups.by != "phase":
        labels[groups.by] = tuple(
            groups.labels[k]
            for part, place in zip(members, places, strict=True)
            for k in np.broadcast_to(part, len(tasks[place].X))
        )
    inputs = np.concatenate([tasks[place].X for place in places])
    known = {
        name: np.concatenate([gates[place][name] for place in places]) for name in gates[places[0]]
    }
    return Samples(inputs, inputs, known), labels


def _names(probe: object, count: int) -> tuple[str, ...]:
    labels: Mapping[str, Sequence[str]] = probe.labels if isinstance(probe, Task) else {}
    return tuple(
        labels.get("tasks") or labels.get("samples") or (f"probe {k}" for k in range(count))
    )


def _probe_gates(
    known: Mapping[str, np.ndarray], net: Network, count: int
) -> dict[str, np.ndarray]:
    missing = [name for name in net.gates if name not in known]
    if missing:
        raise InvalidArgument(
            f"Argument 'probe' must be a Task with the gate {missing[0]!r}, as "
            f"sk.Task(X, Y, gates=...), because the network has it."
        )
    sizes = net.gate_sizes
    check_columns(known, sizes, " of the probe")
    return {name: np.broadcast_to(known[name], (count, size)) for name, size in sizes.items()}
