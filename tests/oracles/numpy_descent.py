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


def loss(net, weights, X, Y, gates, factor=0.5, decay=0.0, shares=None):
    """Squared error, weighted by `shares` that sum to 1, and weight decay."""
    off = value(net.output, weights, X, gates) - Y
    shares = np.full(len(X), 1 / len(X)) if shares is None else shares
    squares = sum((weights[p.name] ** 2).sum() for p in net.parameters if p.trained)
    return factor * (shares @ (off * off).sum(1)) + decay / 2 * squares


def gradient(net, weights, X, Y, gates, *how):
    """Gradient by each trained parameter, zero for the others."""
    found = {}
    for p in net.parameters:
        found[p.name] = np.zeros(weights[p.name].shape)
        if not p.trained:
            continue
        for place in np.ndindex(found[p.name].shape):
            shifted = {name: array.astype(complex) for name, array in weights.items()}
            shifted[p.name][place] += 1e-30j
            found[p.name][place] = loss(net, shifted, X, Y, gates, *how).imag / 1e-30
    return found


def step(net, weights, X, Y, rate, gates=None, *how):
    """Weights after one step, each parameter with its own rate."""
    slope = gradient(net, weights, X, Y, gates or {}, *how)
    return {p.name: weights[p.name] - rate * float(p.rate) * slope[p.name] for p in net.parameters}


def descend(net, weights, X, Y, rate, steps, gates=None, *how):
    """Weights after some steps."""
    weights = {name: np.array(array) for name, array in weights.items()}
    for _ in range(steps):
        weights = step(net, weights, X, Y, rate, gates, *how)
    return weights


def fresh(teacher, weights, seed, noise=0.0, root=None):
    """Yield sample after sample, drawn and labelled one at a time."""
    inputs, labels = np.random.default_rng(seed).spawn(2)
    while True:
        x = inputs.standard_normal((1, teacher.inputs))
        x = x if root is None else x @ root
        y = value(teacher.output, weights, x, {})
        yield x, (y + noise * labels.standard_normal(y.shape) if noise else y)


def descend_fresh(net, weights, samples, rate, steps, size, *how):
    """Weights after steps on samples that nobody has seen before."""
    for _ in range(steps):
        batch = [next(samples) for _ in range(size)]
        X, Y = (np.concatenate(side) for side in zip(*batch, strict=True))
        weights = step(net, weights, X, Y, rate, {}, *how)
    return weights
