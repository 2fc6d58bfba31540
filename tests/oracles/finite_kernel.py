"""Tangent kernel of one finite multilayer perceptron, backward through its layers by hand."""

from __future__ import annotations

import numpy as np


def tangent_kernel(X, X2, weights, biases, scales, rates, activations):
    """Return the kernel of one output; `activations` are pairs of a function and its slope."""
    sides = [_passes(samples, weights, biases, scales, activations) for samples in (X, X2)]
    total = 0.0
    for k, (scale, rate) in enumerate(zip(scales, rates, strict=True)):
        (inputs, back), (inputs2, back2) = (side[k] for side in sides)
        total = total + rate * (scale**2 * inputs @ inputs2.T + 1) * (back @ back2.T)
    return total


def _passes(X, weights, biases, scales, activations):
    """Return the input of each layer, and the derivative of the output in its pre-activation."""
    inputs, slopes = [X], []
    for W, b, scale, (phi, slope) in zip(weights, biases, scales, activations, strict=False):
        a = scale * inputs[-1] @ W.T + b
        inputs.append(phi(a))
        slopes.append(slope(a))
    back = [np.ones((len(X), 1))]
    for W, scale, slope in zip(weights[:0:-1], scales[:0:-1], slopes[::-1], strict=True):
        back.insert(0, scale * (back[0] @ W) * slope)
    return list(zip(inputs, back, strict=True))
