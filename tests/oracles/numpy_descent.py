"""Gradient descent in plain NumPy: the loss by recursion, its gradient by complex steps.

No reverse pass, no blocks, no packing: nothing in common with the compiled program.
"""

from __future__ import annotations

import numpy as np

from symkernel.nodes import Apply, Bias, Gate, Input, Linear, Slice, Sum
from tests.oracles.activations import FUNCTIONS


def value(node, weights, X, gates):
    """Value of a node for each sample."""
    match node:
        case Input():
            return X
        case Linear():
            p = node.parameter
            scaled = float(p.scale) * weights[p.name]
            child = value(node.child, weights, X, gates)
            return child @ scaled.T if p.kind == "dense" else child * scaled
        case Bias():
            p = node.parameter
            return float(p.scale) * weights[p.name] * np.ones((len(X), 1))
        case Apply():
            return FUNCTIONS[node.activation.name](value(node.child, weights, X, gates))
        case Gate():
            return gates[node.name] * value(node.child, weights, X, gates)
        case Slice():
            return value(node.child, weights, X, gates)[:, node.start : node.stop]
        case Sum():
            return sum(value(term, weights, X, gates) for term in node.terms)


def loss(net, weights, X, Y, gates, factor=0.5):
    off = value(net.output, weights, X, gates) - Y
    return factor * (off * off).sum() / len(X)


def gradient(net, weights, X, Y, gates, factor=0.5):
    """Gradient by each trained parameter, zero for the others."""
    found = {}
    for p in net.parameters:
        found[p.name] = np.zeros(weights[p.name].shape)
        if not p.trained:
            continue
        for place in np.ndindex(found[p.name].shape):
            shifted = {name: array.astype(complex) for name, array in weights.items()}
            shifted[p.name][place] += 1e-30j
            found[p.name][place] = loss(net, shifted, X, Y, gates, factor).imag / 1e-30
    return found


def descend(net, weights, X, Y, rate, steps, gates=None, factor=0.5):
    """Weights after some steps."""
    weights = {name: np.array(array) for name, array in weights.items()}
    for _ in range(steps):
        slope = gradient(net, weights, X, Y, gates or {}, factor)
        weights = {name: array - rate * slope[name] for name, array in weights.items()}
    return weights
