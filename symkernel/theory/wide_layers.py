"""A multilayer perceptron as wide layers: what its recursion of covariances needs of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy as sp

from symkernel.errors import InvalidArgument, MissingValues, ShapeMismatch
from symkernel.problem.activation import Activation
from symkernel.problem.network import Network
from symkernel.problem.nodes import Apply, Bias, Input, Linear, Node, Parameter, Sum
from symkernel.problem.scalars import as_expression, as_sympy

__all__ = ["LEAST_VARIANCE", "WideLayer", "numbers_of", "wide_layers"]

# What a variance of 0 is divided as; its root is a normal number.
LEAST_VARIANCE = 1e-300


@dataclass(frozen=True)
class WideLayer:
    r"""One layer $a = c W h + c_b b$ with independent Gaussian weights.

    Attributes
    ----------
    weight : sympy.Expr
        Factor of the similarity of its input in the covariance of a: of $x \cdot x'$ in the
        first layer, of $\langle h h' \rangle$ per unit in all others.
    bias : sympy.Expr
        What the bias adds to the covariance.
    weight_rate, bias_rate : sympy.Expr
        The same in the tangent kernel: what training the weights, and the bias, adds.
    activation : Activation or None
        That is applied to a; None for the last layer and the identity.
    name : str
        Of the node that holds the activity, if it has one.
    """

    weight: sp.Expr
    bias: sp.Expr
    weight_rate: sp.Expr
    bias_rate: sp.Expr
    activation: Activation | None
    name: str


def wide_layers(net: Network, weight_variance: object, bias_variance: object) -> list[WideLayer]:
    """Return the layers of a multilayer perceptron, first to last.

    Raises
    ------
    InvalidArgument
        If the network is no multilayer perceptron with a linear output, or a variance is no
        positive number (a bias may have variance 0).
    """
    if not isinstance(net, Network):
        raise InvalidArgument(
            f"Argument 'net' must be a Network, not {type(net).__name__}; make one with "
            f"Network.mlp."
        )
    chain = _chain(net)
    weights = _per_layer(weight_variance, "weight_variance", "positive", len(chain))
    biases = _per_layer(bias_variance, "bias_variance", "non-negative", len(chain))
    if not any(b is not None for _, b, _, _ in chain) and any(b != 0 for b in biases):
        raise InvalidArgument(
            f"Argument 'bias_variance' must be 0 for a network without biases, not "
            f"{bias_variance!r}; make the network with bias=True."
        )
    names = {node: name for name, node in net.nodes.items() if name != "hidden"}
    layers = []
    for k, ((w, b, phi, node), spread, shift) in enumerate(
        zip(chain, weights, biases, strict=True)
    ):
        fan_in = w.shape[1]
        # As weights.gaussian draws them: 1/fan-in is in the weights or in their factor.
        variance = spread / fan_in if w.scale == 1 else spread
        units = 1 if k == 0 else fan_in
        layers.append(
            WideLayer(
                weight=as_sympy(w.scale**2 * units * variance),
                bias=b.scale**2 * shift if b is not None else sp.S.Zero,
                weight_rate=as_sympy(w.rate * w.scale**2 * units) if w.trained else sp.S.Zero,
                bias_rate=b.rate * b.scale**2 if b is not None and b.trained else sp.S.Zero,
                activation=phi,
                name=names.get(node, ""),
            )
        )
    return layers


_Layer = tuple[Parameter, Parameter | None, Activation | None, Node]


def _chain(net: Network) -> list[_Layer]:
    """Return weight, bias, activation and last node of each layer."""
    layers: list[_Layer] = []
    node = net.output
    if isinstance(node, Apply) and not node.activation.is_linear:
        raise InvalidArgument(
            f"Argument 'net' must have a linear output, not {node.activation.name}: the output of "
            f"a wide network is Gaussian only before a nonlinearity. Use "
            f"output_activation='linear', and apply the function to what is returned."
        )
    while not isinstance(node, Input):
        top, phi = node, None
        if isinstance(node, Apply):
            phi = None if node.activation.is_linear else node.activation
            node = node.child
        bias = None
        if isinstance(node, Sum) and len(node.terms) == 2:
            first, second = node.terms
            if isinstance(first, Bias):
                first, second = second, first
            if isinstance(second, Bias):
                node, bias = first, second.parameter
        if not isinstance(node, Linear) or node.parameter.kind != "dense":
            raise InvalidArgument(
                f"Argument 'net' must be a chain of dense layers, each with or without a bias and "
                f"an activation, but it has a node of kind {type(node).__name__} there; the limit "
                f"of other networks is not implemented. Use Network.mlp, or symkernel.ntk at "
                f"given weights."
            )
        layers.append((node.parameter, bias, phi, top))
        node = node.child
    used = [p for w, b, _, _ in layers for p in (w, b) if p is not None]
    if len(set(used)) != len(used):
        raise InvalidArgument(
            "Argument 'net' must not share parameters between layers: layers would not be "
            "independent."
        )
    return layers[::-1]


def _per_layer(value: object, name: str, allowed: str, length: int) -> list[sp.Expr]:
    items = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if len(items) not in (1, length):
        raise ShapeMismatch(
            f"Argument '{name}' must be one value, or one for each of the {length} layers, not "
            f"{len(items)}."
        )
    found = [as_expression(item, name, allowed) for item in items]
    if any(item.is_extended_real is False for item in found):
        raise InvalidArgument(f"Argument '{name}' must be real, not {value!r}.")
    return found * length if len(found) == 1 else found


def numbers_of(expressions: Sequence[sp.Expr], values: Mapping[sp.Symbol, Any]) -> list[float]:
    """Return numbers for expressions; `values` gives those of their symbols."""
    known = dict(values)
    done = [as_sympy(e).subs(known) for e in expressions]
    missing = sorted({q.name for e in done for q in e.free_symbols})
    if missing:
        raise MissingValues(
            f"Symbols without a number: {', '.join(missing)}. Give their values to "
            f"compile(values={{...}})."
        )
    for before, after in zip(expressions, done, strict=True):
        if after.is_extended_nonnegative is not True or after.is_finite is not True:
            raise InvalidArgument(
                f"Argument 'values' must make {before} a finite number, 0 or more, not {after}."
            )
    return [float(e) for e in done]
