r"""Weights that a symmetry ties together, and the smaller network that holds each of them once.

Entries of a parameter that a group maps to each other are equal at the group's fixed points. With
the sum over an orbit of $m$ entries divided by $\sqrt m$ as the coordinate, distances are those of
the weights themselves: gradient descent on the coordinates, at the same rate, is gradient descent
on the tied weights, where each coordinate would have the rate $1/m$ if it were the entry itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from symkernel.errors import InvalidArgument
from symkernel.problem.automorphisms import orbits
from symkernel.problem.network import Network
from symkernel.problem.nodes import Apply, Bias, Linear, Node, Parameter, Sum
from symkernel.problem.permutations import Symmetries, inputs_of


@dataclass(frozen=True, eq=False)
class Tie:
    """Which entries of one parameter are tied.

    Attributes
    ----------
    labels : ndarray of int, of the parameter's shape
        The orbit of every entry.
    shape : tuple of int
        Shape of the coordinates.
    """

    labels: np.ndarray
    shape: tuple[int, ...]

    @cached_property
    def mass(self) -> np.ndarray:
        """Number of entries of each orbit."""
        return np.bincount(self.labels.ravel())

    def reduced(self, weights: np.ndarray) -> np.ndarray:
        """Return the coordinates of the part of weights that is tied, (..., shape)."""
        flat = weights.reshape(-1, self.labels.size)
        total = np.stack([np.bincount(self.labels.ravel(), row) for row in flat])
        lead = weights.shape[: weights.ndim - self.labels.ndim]
        return (total / np.sqrt(self.mass)).reshape(*lead, *self.shape)

    def lifted(self, coordinates: np.ndarray) -> np.ndarray:
        """Return weights from coordinates, (..., shape)."""
        lead = coordinates.shape[: coordinates.ndim - len(self.shape)]
        return (coordinates.reshape(*lead, -1) / np.sqrt(self.mass))[..., self.labels]

    def rest(self, weights: np.ndarray) -> np.ndarray:
        """Return the part of weights that is not tied."""
        return weights - self.lifted(self.reduced(weights))


@dataclass(frozen=True, eq=False)
class TiedNetwork:
    """A network whose weights a symmetry ties.

    Attributes
    ----------
    net : Network
    symmetries : Symmetries
    """

    net: Network
    symmetries: Symmetries

    def __post_init__(self) -> None:
        consumers: dict[Node, list[Node]] = {node: [] for node in self.net.order}
        for node in self.net.order:
            for child in node.children:
                consumers[child].append(node)
        for node in self.net.order:
            for consumer in consumers[node]:
                self._check(node, consumer)
        uses: dict[Parameter, list[Linear | Bias]] = {}
        for node in self._weights:
            uses.setdefault(node.parameter, []).append(node)
        for parameter, places in uses.items():
            if len(places) > 1 and any(map(self._is_moved, places)):
                raise InvalidArgument(
                    f"The weight '{parameter.name}' is used in several places where the symmetry "
                    f"moves units, which is not covered; choose a subgroup that fixes them."
                )

    def _check(self, node: Node, consumer: Node) -> None:
        inputs = inputs_of(node)
        dense = isinstance(consumer, Linear) and consumer.parameter.kind == "dense"
        moved = inputs is not None and self._moves(inputs)
        if moved and not dense and inputs_of(consumer) is None:
            raise InvalidArgument(
                "The symmetry moves inputs that the network uses without a dense weight, which is "
                "not covered; choose a subgroup that fixes them, see 'fixing'."
            )
        if node in self.outer and self.moves_outputs:
            diagonal = isinstance(consumer, Linear) and consumer.parameter.kind == "diagonal"
            if consumer not in self.outer or diagonal:
                raise InvalidArgument(
                    "The symmetry moves outputs whose units have weights of their own, or feed "
                    "other units, which is not covered; choose a subgroup with fixing='output'."
                )

    @property
    def _weights(self) -> list[Linear | Bias]:
        return [node for node in self.net.order if isinstance(node, (Linear, Bias))]

    @cached_property
    def outer(self) -> frozenset[Node]:
        """Nodes whose units are those of the output."""
        found: set[Node] = set()
        waiting = [self.net.output]
        while waiting:
            node = waiting.pop()
            found.add(node)
            diagonal = isinstance(node, Linear) and node.parameter.kind == "diagonal"
            if isinstance(node, (Apply, Sum)) or diagonal:
                waiting += node.children
        return frozenset(found)

    @cached_property
    def moves_outputs(self) -> bool:
        """Whether the symmetry moves an output."""
        return self._moves(self.outputs)

    @property
    def outputs(self) -> range:
        """Numbers of the outputs among inputs and outputs."""
        inputs = self.symmetries.inputs
        return range(inputs, inputs + self.symmetries.outputs)

    def orbits_of(self, points: range) -> np.ndarray:
        """Return the number of the orbit of each of some inputs or outputs, among these."""
        moves = [np.array(g)[points] - points.start for g in self.symmetries.generators]
        return orbits(moves, len(points))

    def _moves(self, points: range) -> bool:
        return bool(self.symmetries.moved.intersection(points))

    def _is_moved(self, node: Linear | Bias) -> bool:
        return any(self._moves(side) for side in self.sides(node) if side is not None)

    def sides(self, node: Linear | Bias) -> tuple[range | None, ...]:
        """Return inputs or outputs that rows and columns of a weight belong to; None: hidden."""
        rows = self.outputs if node in self.outer else None
        if isinstance(node, Bias) or node.parameter.kind == "diagonal":
            return (rows,)
        return rows, inputs_of(node.child)

    @cached_property
    def ties(self) -> dict[str, Tie]:
        """How the entries of each parameter are tied, by name."""
        return {node.parameter.name: self._tie(node) for node in self._weights}

    def _tie(self, node: Linear | Bias) -> Tie:
        shape = tuple(int(n) for n in node.parameter.shape)
        sides = self.sides(node)
        moves = []
        for generator in self.symmetries.generators:
            places = [
                np.arange(n) if side is None else np.array(generator)[side] - side.start
                for n, side in zip(shape, sides, strict=True)
            ]
            moves.append(np.ravel_multi_index(np.ix_(*places), shape).ravel())
        labels = orbits(moves, int(np.prod(shape))).reshape(shape)
        if len(sides) == 1 or self.is_crossed(node):
            return Tie(labels, (int(labels.max()) + 1,))
        rows, columns = len(np.unique(labels[:, 0])), len(np.unique(labels[0]))
        return Tie(labels, (rows, columns))

    def is_crossed(self, node: Linear | Bias) -> bool:
        """Whether the symmetry moves what a weight reads and what it feeds."""
        sides = self.sides(node)
        return len(sides) == 2 and all(side is not None and self._moves(side) for side in sides)
