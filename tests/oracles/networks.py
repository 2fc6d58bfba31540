"""Small networks that use every kind of node, alone and together."""

from __future__ import annotations

import sympy as sp

from symkernel import Network
from symkernel.nodes import Apply, Bias, Gate, Input, Parameter


def affine(name, rows, columns, node, **how):
    return Parameter(f"W{name}", (rows, columns), **how) @ node + Parameter(
        f"b{name}", (rows,), "bias"
    )


def skip():
    x = Input(3)
    hidden = Apply("tanh", affine(1, 5, 3, x))
    return Network.build(
        Parameter("W2", (2, 5)) @ hidden + Parameter("D", (2, 3)) @ x, {"hidden": hidden}
    )


def residual():
    x = Input(3)
    hidden = Apply("tanh", Parameter("W1", (4, 3)) @ x)
    deeper = hidden + Apply("relu", affine(2, 4, 4, hidden))
    return Network.build(Parameter("W3", (2, 4)) @ deeper, {"hidden": deeper})


def slices():
    x = Input(5)
    left = Apply("tanh", Parameter("A", (3, 2)) @ x[0:2])
    right = Apply("erf", Parameter("B", (3, 3)) @ x[2:5])
    hidden = left + right
    out = Parameter("C", (2, 2)) @ hidden[0:2] + hidden[1:3]
    return Network.build(out, {"hidden": hidden})


def gated():
    x = Input(3)
    hidden = Gate("g", Parameter("W1", (4, 3)) @ x)
    deeper = Gate("h", affine(2, 4, 4, hidden))
    return Network.build(Parameter("W3", (2, 4)) @ deeper + Gate("k", x[0:2]), {"hidden": deeper})


def shared():
    x = Input(3)
    W = Parameter("W", (3, 3))
    b = Parameter("b", (3,), "bias")
    first = Apply("tanh", W @ x + b)
    second = Apply("tanh", W @ first + b)
    return Network.build(W @ (second + x) + b, {"hidden": second})


def diagonal():
    x = Input(4)
    u, v = Parameter("u", (4,), "diagonal"), Parameter("v", (4,), "diagonal")
    hidden = Apply("erf", u @ x)
    return Network.build(v @ (u @ hidden) + u @ x[0:4], {"hidden": hidden})


def fixed():
    x = Input(3)
    hidden = Apply("relu", affine(1, 6, 3, x, trained=False))
    deeper = Apply("tanh", Parameter("W2", (4, 6), trained=False, scale=sp.Rational(1, 2)) @ hidden)
    out = Parameter("W3", (2, 4)) @ deeper + Parameter("b3", (2,), "bias", trained=False)
    return Network.build(out, {"hidden": deeper})


def first_layer_only():
    x = Input(3)
    hidden = Apply("tanh", Parameter("W1", (5, 3)) @ x)
    return Network.build(Parameter("W2", (2, 5), trained=False, scale=-2) @ hidden)


def nonlinear_output():
    x = Input(3)
    return Network.build(Apply("tanh", affine(1, 2, 3, Apply("linear", x))))


def twice():
    x = Input(3)
    hidden = Apply("tanh", Parameter("W1", (3, 3)) @ x)
    return Network.build(hidden + hidden + (hidden + x)[0:3], {"hidden": hidden})


def bias_alone():
    x = Input(2)
    hidden = Apply("tanh", Bias(Parameter("b", (3,), "bias", scale=3)))
    return Network.build(Parameter("W", (2, 3)) @ hidden + x)


def linear_tree():
    x = Input(4)
    W1 = Parameter("W1", (3, 4))
    hidden = W1 @ x
    d = Parameter("d", (3,), "diagonal", scale=2)
    out = Parameter("W2", (2, 3)) @ (d @ hidden + W1 @ x) + Parameter("S", (2, 2)) @ x[1:3]
    return Network.build(out, {"hidden": hidden})


EXAMPLES = {
    "two layers": lambda: Network.two_layer(3, 5, 2),
    "two layers, tanh": lambda: Network.two_layer(3, 5, 2, "tanh"),
    "two layers, erf, bias": lambda: Network.two_layer(3, 5, 2, "erf", bias=True),
    "two layers, relu": lambda: Network.two_layer(3, 5, 2, "relu", parameterisation="ntk"),
    "deep": lambda: Network.mlp([3, 5, 4, 2], "tanh", bias=True, parameterisation="ntk"),
    "one layer": lambda: Network.mlp([3, 2]),
    "skip": skip,
    "residual": residual,
    "slices": slices,
    "gated": gated,
    "shared": shared,
    "diagonal": diagonal,
    "fixed": fixed,
    "first layer only": first_layer_only,
    "nonlinear output": nonlinear_output,
    "twice": twice,
    "bias alone": bias_alone,
    "linear tree": linear_tree,
}
