r"""The smaller network: the coordinates of tied weights as parameters, sums of inputs as inputs.

A weight on inputs that are tied reads their sum over each orbit, divided by the root of its size; a
weight to outputs that are tied feeds one unit for each orbit, which a fixed matrix hands on. A
weight from moved inputs to moved outputs has a coordinate for each orbit of pairs: for the p-th
output of every orbit it multiplies the sum of those inputs that pairs of this orbit hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import numpy as np

from symkernel.problem.network import Network
from symkernel.problem.nodes import Bias, Input, Linear, Node, Parameter, Sum
from symkernel.problem.permutations import inputs_of
from symkernel.problem.tied_weights import TiedNetwork


@dataclass(frozen=True, eq=False)
class SmallNetwork:
    """A network with one entry of a parameter for each orbit of those of another network.

    Attributes
    ----------
    network : Network
        Its nodes have the names of the other one's; hidden nodes have the same values.
    features : ndarray, shape (n_inputs, n_small_inputs)
        Map from the inputs of the other network to its own.
    constants : mapping of str to ndarray
        Its fixed matrices, which are no coordinates.
    """

    network: Network
    features: np.ndarray
    constants: Mapping[str, np.ndarray]


def small_network(tied: TiedNetwork) -> SmallNetwork:
    """Return the smaller network of a tied one."""
    blocks = _blocks(tied)
    builder = _Builder(tied, blocks)
    done: dict[Node, Node] = {}
    for node in tied.net.order:
        if (built := builder.built(node, done)) is not None:
            done[node] = built
    names = {name: done[n] for name, n in tied.net.nodes.items() if inputs_of(n) is None}
    network = Network(done[tied.net.output], names, tied.net.parameterisation)
    return SmallNetwork(network, np.hstack(list(blocks.values())), builder.constants)


def _blocks(tied: TiedNetwork) -> dict[object, np.ndarray]:
    """Return maps from the inputs to what nodes read, by (node, position) or range of inputs."""
    found: dict[object, np.ndarray] = {}
    for node in tied.net.order:
        if isinstance(node, Linear) and tied.is_crossed(node):
            for p in range(_positions(tied).shape[1]):
                found[node, p] = _pair_sums(tied, node, p)
        elif inputs_of(node) is None:
            for inputs in filter(None, map(inputs_of, node.children)):
                found[inputs] = _orbit_sums(tied, inputs)
    return found


def _orbit_sums(tied: TiedNetwork, inputs: range) -> np.ndarray:
    """Return the map to sums over orbits of some inputs, divided by the roots of their sizes."""
    label = tied.orbits_of(inputs)
    found = np.zeros((tied.symmetries.inputs, label.max() + 1))
    found[np.array(inputs), label] = 1 / np.sqrt(np.bincount(label))[label]
    return found


def _positions(tied: TiedNetwork) -> np.ndarray:
    """Return the members of every orbit of outputs, -1 where there are no more."""
    label = tied.orbits_of(tied.outputs)
    members = [np.flatnonzero(label == k) for k in range(label.max() + 1)]
    most = max(map(len, members))
    return np.array([np.pad(one, (0, most - len(one)), constant_values=-1) for one in members])


def _output_of(tied: TiedNetwork, node: Linear, p: int) -> np.ndarray:
    """Return for every coordinate of a crossed weight the p-th output it acts on, -1 for none."""
    labels = tied.ties[node.parameter.name].labels
    owner = np.empty(labels.max() + 1, dtype=np.intp)
    owner[labels] = tied.orbits_of(tied.outputs)[:, None]
    return _positions(tied)[owner, p]


def _pair_sums(tied: TiedNetwork, node: Linear, p: int) -> np.ndarray:
    """Return the map to the sums of inputs that each coordinate multiplies for its p-th output."""
    tie, rows = tied.ties[node.parameter.name], _output_of(tied, node, p)
    inputs = inputs_of(node.child)
    assert inputs is not None
    found = np.zeros((tied.symmetries.inputs, len(rows)))
    for k in np.flatnonzero(rows >= 0):
        found[np.array(inputs)[tie.labels[rows[k]] == k], k] = 1 / np.sqrt(tie.mass[k])
    return found


class _Builder:
    """Nodes of the smaller network, with the parameters that they share."""

    def __init__(self, tied: TiedNetwork, blocks: Mapping[object, np.ndarray]) -> None:
        self.tied, self.constants = tied, dict[str, np.ndarray]()
        ends = accumulate((block.shape[1] for block in blocks.values()), initial=0)
        self.spans = dict(zip(blocks, pairwise(ends), strict=True))
        self.x = Input(max(end for _, end in self.spans.values()))
        self.parameters = {
            node.parameter: self._coordinates(node)
            for node in tied.net.order
            if isinstance(node, (Linear, Bias))
        }
        self.shared: dict[str, Parameter] = {}

    def _coordinates(self, node: Linear | Bias) -> Parameter:
        tie, crossed = self.tied.ties[node.parameter.name], self.tied.is_crossed(node)
        kind = "diagonal" if crossed else node.parameter.kind
        return replace(node.parameter, shape=tie.shape, kind=kind)

    def built(self, node: Node, done: Mapping[Node, Node]) -> Node | None:
        """Return what stands for a node; None for inputs that no node reads as they are."""
        if (inputs := inputs_of(node)) is not None:
            return self._read(inputs) if inputs in self.spans else None
        if not isinstance(node, (Linear, Bias)):
            if isinstance(node, Sum):
                return Sum(tuple(done[term] for term in node.terms))
            assert not isinstance(node, Bias)
            return replace(node, child=done[node.children[0]])  # type: ignore[call-arg]
        mine = self.parameters[node.parameter]
        if self.tied.is_crossed(node):
            assert isinstance(node, Linear)
            return self._crossed(node, mine)
        plain: Node = Bias(mine) if isinstance(node, Bias) else Linear(mine, done[node.child])
        if not (node in self.tied.outer and self.tied.moves_outputs):
            return plain
        label = self.tied.orbits_of(self.tied.outputs)
        spread = np.eye(label.max() + 1)[label] / np.sqrt(np.bincount(label))
        return self._constant("orbits_of_outputs", spread) @ plain

    def _read(self, key: object) -> Node:
        start, stop = self.spans[key]
        return self.x if (start, stop) == (0, self.x.size) else self.x[start:stop]

    def _crossed(self, node: Linear, mine: Parameter) -> Node:
        terms: list[Node] = []
        for p in range(_positions(self.tied).shape[1]):
            rows = _output_of(self.tied, node, p)
            place = np.zeros((self.tied.symmetries.outputs, len(rows)))
            used = np.flatnonzero(rows >= 0)
            place[rows[used], used] = 1.0
            name = f"outputs_{p}_of_{node.parameter.name}"
            terms.append(self._constant(name, place) @ Linear(mine, self._read((node, p))))
        return Sum(tuple(terms))

    def _constant(self, name: str, value: np.ndarray) -> Parameter:
        while name in (p.name for p in self.parameters):
            name += "_"
        self.constants[name] = value
        shape = (int(value.shape[0]), int(value.shape[1]))
        return self.shared.setdefault(name, Parameter(name, shape, trained=False))
