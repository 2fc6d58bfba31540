r"""A network linearised in its parameters: values, and products with its Jacobian either way.

Parameters are displaced by $d$, scaled so that gradient flow of every parameter has rate 1: the
weight $W$ moves by $\sqrt{r_W}\,d_W$, with its rate $r_W$. To first order a node moves by $J d$;
`forward` gives that for many displacements at once, `backward` gives $J^T s$ of the output for
many signals $s$. No Jacobian is formed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from itertools import product
from operator import add
from typing import Any

import numpy as np

from symkernel.codegen.activation_values import value_and_slope
from symkernel.errors import ShapeMismatch, as_real_array
from symkernel.problem.network import Network
from symkernel.problem.nodes import (
    Apply,
    Bias,
    Gate,
    Input,
    Linear,
    Node,
    Parameter,
    Slice,
    Sum,
)

Weights = Mapping[str, np.ndarray]


@lru_cache(maxsize=256)
def _number(scale: Any) -> float:
    """Return a scale as a float; one and the same is evaluated in every pass."""
    return float(scale)


@dataclass(frozen=True)
class Displacements:
    """How the trained parameters of a network lie in one vector.

    Attributes
    ----------
    parameters : tuple of Parameter
        The trained ones.
    """

    parameters: tuple[Parameter, ...]

    @classmethod
    def of(cls, net: Network) -> Displacements:
        """Return the layout for a network."""
        return cls(tuple(p for p in net.parameters if p.trained))

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the parameters."""
        return tuple(tuple(int(n) for n in p.shape) for p in self.parameters)

    @cached_property
    def cuts(self) -> np.ndarray:
        """Where each parameter ends."""
        return np.cumsum([math.prod(shape) for shape in self.shapes])

    @property
    def count(self) -> int:
        """Number of trained entries."""
        return int(self.cuts[-1]) if len(self.cuts) else 0

    def split(self, flat: np.ndarray) -> dict[Parameter, np.ndarray]:
        """Return vectors (..., count) as one array for each parameter."""
        parts = np.split(flat, self.cuts[:-1], axis=-1)
        return {
            p: part.reshape(*flat.shape[:-1], *shape)
            for p, part, shape in zip(self.parameters, parts, self.shapes, strict=True)
        }

    def moved(self, weights: Weights, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Return all weights, displaced by vectors (..., count)."""
        steps = {p.name: math.sqrt(p.rate) * part for p, part in self.split(flat).items()}
        still = np.zeros(flat.shape[:-1])
        return {
            name: weight + steps.get(name, still.reshape(still.shape + (1,) * weight.ndim))
            for name, weight in weights.items()
        }


def gates_of(net: Network, given: Mapping[str, np.ndarray], samples: int) -> dict[str, np.ndarray]:
    """Return the gates that a network has, one column for each unit.

    Raises
    ------
    ShapeMismatch
        If one is missing or does not fit.
    """
    found = {}
    for node in net.order:
        if isinstance(node, Gate) and node.name not in found:
            if node.name not in given:
                raise ShapeMismatch(
                    f"Argument 'gates' must hold the gate '{node.name}' of the network, an array "
                    f"of {samples} rows."
                )
            gate = as_real_array(given[node.name], f"gates[{node.name!r}]", 2)
            if gate.shape not in ((samples, 1), (samples, int(node.size))):
                raise ShapeMismatch(
                    f"Gate '{node.name}' must be of shape {(samples, int(node.size))}, not "
                    f"{gate.shape}."
                )
            found[node.name] = np.broadcast_to(gate, (samples, int(node.size)))
    return found


class TangentPass:
    """Values of a network on samples, and its first-order response to displaced parameters.

    Parameters
    ----------
    net : Network
        With numbers.
    weights : mapping of str to ndarray
        Where it is linearised.
    X : ndarray, shape (n_samples, n_inputs)
    gates : mapping of str to ndarray, (n_samples, size)
    """

    def __init__(self, net: Network, weights: Weights, X: np.ndarray, gates: Weights) -> None:
        self.net, self.weights, self.X, self.gates = net, weights, X, gates
        self.layout = Displacements.of(net)
        self.effective = {p: _number(p.scale) * weights[p.name] for p in net.parameters}
        # What a displaced entry of a parameter is multiplied by where the parameter is used.
        self.gains = {p: _number(p.scale) * math.sqrt(p.rate) for p in self.layout.parameters}
        self.values: dict[Node, np.ndarray] = {}
        self.slopes: dict[Node, np.ndarray] = {}
        for node in net.order:
            self.values[node] = self._value(node)

    def _value(self, node: Node) -> np.ndarray:
        match node:
            case Input():
                return self.X
            case Linear(parameter=p, child=child):
                weight, inner = self.effective[p], self.values[child]
                return inner @ weight.T if p.kind == "dense" else inner * weight
            case Bias(parameter=p):
                return np.broadcast_to(self.effective[p], (len(self.X), int(node.size)))
            case Apply(activation=phi, child=child):
                value, self.slopes[node] = value_and_slope(phi, self.values[child])
                return value
            case Gate(name=name, child=child):
                return self.gates[name] * self.values[child]
            case Slice(child=child):
                return self.values[child][:, int(node.start) : int(node.stop)]
            case Sum(terms=terms):
                return sum(self.values[term] for term in terms)  # type: ignore[return-value]
        # A network takes no nodes of other classes.
        raise AssertionError(node)

    @property
    def numbers(self) -> int:
        """Numbers that one displacement, or the response to it, takes."""
        response = len(self.X) * sum(int(node.size) for node in self.net.order)
        return max(response, self.layout.count)

    def forward(self, flat: np.ndarray, node: Node) -> np.ndarray:
        """Return the first-order movement of a node, (..., n_samples, size).

        Parameters
        ----------
        flat : ndarray, shape (..., count)
            Displacements.
        node : Node
        """
        steps = self.layout.split(flat)
        moved: dict[Node, np.ndarray | None] = {}
        for part in self.net.order:
            moved[part] = self._moved(part, moved, steps)
            if part is node:
                break
        found = moved[node]
        if found is None:
            return np.zeros((*flat.shape[:-1], len(self.X), int(node.size)))
        return found

    def _moved(
        self,
        node: Node,
        moved: Mapping[Node, np.ndarray | None],
        steps: Mapping[Parameter, np.ndarray],
    ) -> np.ndarray | None:
        """Return how a node moves; None if nothing trained leads to it."""
        terms = []
        for inner in (moved[child] for child in node.children):
            if inner is None:
                continue
            match node:
                case Linear(parameter=p):
                    weight = self.effective[p]
                    terms.append(inner @ weight.T if p.kind == "dense" else inner * weight)
                case Apply():
                    terms.append(inner * self.slopes[node])
                case Gate(name=name):
                    terms.append(inner * self.gates[name])
                case Slice():
                    terms.append(inner[..., int(node.start) : int(node.stop)])
                case Sum():
                    terms.append(inner)
        if isinstance(node, (Linear, Bias)) and node.parameter in steps:
            step = self.gains[node.parameter] * steps[node.parameter]
            terms.append(self._used(node, step))
        return reduce(add, terms) if terms else None

    def _used(self, node: Linear | Bias, step: np.ndarray) -> np.ndarray:
        if isinstance(node, Bias):
            shape = (*step.shape[:-1], len(self.X), step.shape[-1])
            return np.broadcast_to(step[..., None, :], shape)
        inner = self.values[node.child]
        if node.parameter.kind == "dense":
            return inner @ np.swapaxes(step, -1, -2)
        return inner * step[..., None, :]

    def backward(self, signal: np.ndarray) -> np.ndarray:
        """Return the transposed Jacobian of the output times signals, (..., count).

        Parameters
        ----------
        signal : ndarray, shape (..., n_samples, n_outputs)
        """
        lead = signal.shape[:-2]
        total = {
            p: np.zeros((*lead, *shape))
            for p, shape in zip(self.layout.parameters, self.layout.shapes, strict=True)
        }
        for node, mine in self._uses(signal):
            total[node.parameter] += self.gains[node.parameter] * self._received(node, mine)
        rows = [total[p].reshape(*lead, -1) for p in self.layout.parameters]
        return np.concatenate(rows, axis=-1) if rows else np.zeros((*lead, 0))

    def kernel(self) -> np.ndarray:
        """Return the tangent kernel, (n_samples, n_outputs, n_samples, n_outputs).

        Every use of a parameter has a factor for the signals that come back to it and one for the
        values that it is applied to: no row of the Jacobian is formed.
        """
        samples, outputs = self.values[self.net.output].shape
        unit = np.broadcast_to(np.eye(outputs)[:, None], (outputs, samples, outputs))
        uses: dict[Parameter, list[tuple[np.ndarray, np.ndarray]]] = {}
        for node, mine in self._uses(unit):
            inner = np.ones((samples, 1)) if isinstance(node, Bias) else self.values[node.child]
            if node.parameter.kind == "diagonal":
                mine, inner = mine * inner, np.ones((samples, 1))
            signals = self.gains[node.parameter] * mine.reshape(outputs * samples, -1)
            uses.setdefault(node.parameter, []).append((signals, inner))
        total = np.zeros((outputs, samples, outputs, samples))
        for found in uses.values():
            for (back, inner), (other_back, other_inner) in product(found, repeat=2):
                values = (inner @ other_inner.T)[:, None, :]
                total += (back @ other_back.T).reshape(total.shape) * values
        return total.transpose(1, 0, 3, 2)

    def _uses(self, signal: np.ndarray) -> Iterator[tuple[Linear | Bias, np.ndarray]]:
        """Yield where trained parameters are used, with the signals that come back there."""
        arrived: dict[Node, np.ndarray] = {self.net.output: signal}
        for node in reversed(self.net.order):
            mine = arrived.pop(node, None)
            if mine is None:
                continue
            if isinstance(node, (Linear, Bias)) and node.parameter in self.gains:
                yield node, mine
            for child, part in self._handed(node, mine):
                arrived[child] = arrived[child] + part if child in arrived else part

    def _received(self, node: Linear | Bias, mine: np.ndarray) -> np.ndarray:
        if isinstance(node, Bias):
            return mine.sum(axis=-2)
        inner = self.values[node.child]
        if node.parameter.kind == "dense":
            return np.swapaxes(mine, -1, -2) @ inner
        return (mine * inner).sum(axis=-2)

    def _handed(self, node: Node, mine: np.ndarray) -> Iterator[tuple[Node, np.ndarray]]:
        match node:
            case Linear(parameter=p, child=child):
                if not isinstance(child, Input):
                    weight = self.effective[p]
                    yield child, mine @ weight if p.kind == "dense" else mine * weight
            case Apply(child=child):
                yield child, mine * self.slopes[node]
            case Gate(name=name, child=child):
                yield child, mine * self.gates[name]
            case Slice(child=child):
                part = np.zeros((*mine.shape[:-1], int(child.size)))
                part[..., int(node.start) : int(node.stop)] = mine
                yield child, part
            case Sum(terms=terms):
                for term in terms:
                    yield term, mine
