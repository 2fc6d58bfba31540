"""Networks whose kernels are tested, their kernels by an oracle, and how far two are apart."""

from __future__ import annotations

import numpy as np
import sympy as sp

import symkernel as sk
from symkernel.nodes import Apply, Gate, Input, Parameter
from symkernel.testing import networks, numerical_networks
from tests.oracles import forward_pass
from tests.oracles.activations import activations
from tests.oracles.interpreted import interpreted

I, H, O = sp.symbols("I H O", integer=True, positive=True)
DRAWN = numerical_networks(networks(activations=activations())).filter(forward_pass.is_moderate)
# Relative to the largest entry or 1. Complex steps are exact to rounding; measured: 8e-16.
TOLERANCE = 1e-13


def without_numba(formula):
    routine = formula.compile()
    routine.__dict__["_kernel"] = interpreted(routine.source).kernel
    return routine


def call(routine, d):
    return routine(d.X, d.X2, d.weights, d.gates or None, d.gates2 or None)


def oracle(d, of, by):
    return forward_pass.kernel(d.net, of, by, d.X, d.X2, d.weights, d.gates, d.gates2)


def error(got, want):
    return np.abs(got - want).max() / max(1.0, np.abs(want).max())


def shared_net():
    """One weight used three times, each time behind a skip; a diagonal and a gate between."""
    x, W = Input(3), Parameter("W", (3, 3), scale=sp.Rational(1, 2))
    first = Apply("tanh", W @ x) + x
    second = Gate("g", Apply("tanh", W @ first)) + Parameter("d", (3,), "diagonal") @ first
    third = Apply("erf", W @ second + Parameter("b", (3,), "bias"))
    output = Parameter("V", (2, 3)) @ third
    return sk.Network.build(output, {"first": first, "hidden": third})


def two_pathways():
    """Slices of the input, fixed and trained parts, a nonlinear output, a direct pathway."""
    x = Input(5)
    a = Parameter("Ws", (4, 3)) @ x[:3] + Parameter("Wt", (4, 2), trained=False) @ x[3:]
    a = a + Parameter("b", (4,), "bias", trained=False)
    h = Apply("relu", a)
    f = Parameter("W2", (2, 4)) @ h + Parameter("Wo", (2, 2)) @ x[3:] + Parameter("c", (2,), "bias")
    return sk.Network.build(Apply("tanh", f), {"pre": a, "hidden": h})
