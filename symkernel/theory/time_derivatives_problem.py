"""What time derivatives are asked for: samples, weights, sizes and activations, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp

from symkernel.errors import (
    InvalidArgument,
    MissingValues,
    ShapeMismatch,
    as_positive,
    as_real_array,
)
from symkernel.problem.activation import ARGUMENT, Activation, corners
from symkernel.problem.network import Network
from symkernel.problem.nodes import Gate, Linear, Node
from symkernel.problem.task import Task
from symkernel.problem.weights import Weights
from symkernel.theory.time_derivatives_network import Data

__all__ = ["check_activations", "check_size", "data_of", "initial_weights"]

_KINKED = (sp.Heaviside, sp.DiracDelta, sp.sign, sp.Abs, sp.Max, sp.Min, sp.Piecewise)


def data_of(net: Network, task: Task) -> Data:
    """Return the samples of a task as exact numbers and symbols."""
    if not all(isinstance(size, int) for node in net.order for size in [node.size]):
        raise MissingValues(
            "Time derivatives are worked out entry by entry: the sizes of the network must be "
            "integers; use net.with_values."
        )
    exact = task.exact
    if exact is not None and exact.X is not None and exact.Y is not None:
        X, Y = exact.X, exact.Y
    elif task.X is not None:
        X, Y = _fractions(task.X), _fractions(task.Y)
    else:
        raise InvalidArgument(
            "Argument 'task' must have samples, because derivatives are taken at them; make it "
            "with sk.Task(X, Y), where X and Y may be SymPy matrices with symbols."
        )
    if (X.cols, Y.cols) != (net.inputs, net.outputs):
        raise ShapeMismatch(
            f"The network has {net.inputs} inputs and {net.outputs} outputs, the task has "
            f"{X.cols} and {Y.cols}; they must agree."
        )
    shares = tuple(
        sp.Rational(1, X.rows) if task.sample_weights is None else _fraction(weight)
        for weight in (task.sample_weights if task.sample_weights is not None else range(X.rows))
    )
    return Data(sp.ImmutableMatrix(X), sp.ImmutableMatrix(Y), shares, _gates(net, task))


def _gates(net: Network, task: Task) -> dict[str, sp.ImmutableMatrix]:
    found = {}
    for node in net.order:
        if not isinstance(node, Gate):
            continue
        gate = task.gates.get(node.name)
        if gate is None or gate.shape[1] not in (1, node.size):
            raise ShapeMismatch(
                f"The network has the gate '{node.name}' of {node.size} units: the task must hold "
                f"it with {node.size} columns or one, in sk.Task(X, Y, gates={{...}})."
            )
        found[node.name] = sp.ImmutableMatrix(_fractions(gate))
    return found


def _fraction(value: float) -> sp.Rational:
    return sp.Rational(float(value))


def _fractions(array: np.ndarray) -> sp.Matrix:
    return sp.Matrix(array.shape[0], array.shape[1], [_fraction(v) for v in array.ravel()])


def check_size(
    net: Network, data: Data, order: int, node: Node, of: str, most_operations: object
) -> None:
    """Refuse, before any work, what would take too many operations."""
    most = as_positive(most_operations, "most_operations")
    S, C, N = len(data.samples), int(net.outputs), int(node.size)
    layers = [n for n in net.order if isinstance(n, Linear)]
    inner = [n.child for n in layers]
    entries = sum(math.prod(int(k) for k in n.parameter.shape) for n in layers)
    rows, columns = (sum(int(n.size) for n in nodes) for nodes in (layers, inner))
    terms = S * entries * (2 + C) + (S * C) ** 2 * (rows / 2 + 1) + S**2 / 2 * columns
    if node is not net.output:
        terms += S * N * (entries + S * C * rows)
    # Leibniz: order n of a product has n + 1 terms.
    estimate = terms * (order + 1) * (order + 2) / 2
    if estimate > most:
        raise InvalidArgument(
            f"Time derivatives of order {order} of {of!r} at {S} samples would take about "
            f"{estimate:,.0f} operations, more than 'most_operations' = {most:,.0f}; take fewer "
            f"samples, units or orders (or a larger 'most_operations')."
        )


def check_activations(net: Network, order: int) -> None:
    """Refuse activations without the derivatives that are needed."""
    for phi in net.activations:
        if phi.is_linear:
            continue
        lacking = next((k for k in range(order + 1) if not _has_derivative(phi, k)), None)
        if lacking is not None:
            raise InvalidArgument(
                f"Argument 'net' must have activations with {order} continuous derivatives, but "
                f"{phi.name} has none of order {lacking} at a kink, where a power series would "
                f"not see the kink; use a smooth one such as tanh, erf or log(1 + exp(z))."
            )


def _has_derivative(phi: Activation, order: int) -> bool:
    if order == 0:
        return True
    body = sp.diff(phi.expression, ARGUMENT, order)
    if body.has(*_KINKED) or phi.expression.has(*_KINKED):
        return False
    return all(body.subs(ARGUMENT, point).is_finite is not False for point in corners(phi))


def initial_weights(net: Network, weights: Any) -> dict[sp.Symbol, sp.Expr]:
    """Return the values of the weights' symbols; none for those that stay symbols."""
    if weights is None:
        return {}
    given = weights.arrays if isinstance(weights, Weights) else weights
    names = [p.name for p in net.parameters]
    if isinstance(given, Sequence) and not isinstance(given, (str, bytes)):
        if len(given) != len(names):
            raise ShapeMismatch(
                f"Argument 'weights' must hold one array for each of {', '.join(names)}, not "
                f"{len(given)}."
            )
        given = dict(zip(names, given, strict=True))
    if not isinstance(given, Mapping):
        raise InvalidArgument(
            "Argument 'weights' must be Weights, or map names of parameters to arrays or SymPy "
            f"matrices, not {type(weights).__name__}."
        )
    if set(given) != set(names):
        raise ShapeMismatch(
            f"Argument 'weights' must name {', '.join(names)}, not {', '.join(map(str, given))}."
        )
    start: dict[sp.Symbol, sp.Expr] = {}
    for p in net.parameters:
        start |= _entries(p.name, tuple(int(k) for k in p.shape), given[p.name])
    return start


def _entries(name: str, shape: tuple[int, ...], value: Any) -> dict[sp.Symbol, sp.Expr]:
    if isinstance(value, sp.MatrixBase):
        table = np.array(value.tolist(), dtype=object)
        table = table.ravel() if len(shape) == 1 and 1 in table.shape else table
    else:
        table = as_real_array(value, name, len(shape))
    if table.shape != shape:
        raise ShapeMismatch(f"Weight '{name}' must be of shape {shape}, not {table.shape}.")
    start = {}
    for place in np.ndindex(shape):
        entry: Any = table[place]
        entry = entry if isinstance(entry, sp.Expr) else _fraction(entry)
        if entry.is_real is False or entry.is_finite is False or entry is sp.nan:
            raise InvalidArgument(f"Weight '{name}' must be real and finite, not {entry}.")
        if isinstance(entry, sp.Float):
            entry = sp.Rational(entry)
        start[sp.Symbol("_".join([name, *map(str, place)]), real=True)] = entry
    return start
