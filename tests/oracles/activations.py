"""Activations beside their SymPy expressions: NumPy functions of complex numbers, by hand.

Complex steps through them give slopes that no rule of differentiation has touched.
"""

from __future__ import annotations

import numpy as np
import scipy.special
import sympy as sp
from hypothesis import strategies as st

from symkernel.problem.activation import ACTIVATIONS, activation

X = sp.Symbol("x")


def larger(a, b):
    return np.where(np.real(a) > np.real(b), a, b)


def sigmoid(z):
    e = np.exp(-larger(z, -z))
    return np.where(np.real(z) > 0, 1, e) / (1 + e)


def softplus(z):
    return larger(z, 0) + np.log(1 + np.exp(-larger(z, -z)))


# By the name of the record.
FUNCTIONS = {
    "linear": lambda z: z,
    "tanh": np.tanh,
    "erf": lambda z: scipy.special.erf(z / np.sqrt(2)),
    "relu": lambda z: larger(z, 0),
    "sigmoid": sigmoid,
    "quadratic": lambda z: z * z,
}
USER_MADE = {
    "sin": (sp.sin(X), np.sin),
    "leaky relu": (sp.Max(X, X / 10), lambda z: larger(z, z / 10)),
    "softplus": (sp.log(1 + sp.exp(X)), softplus),
    "gelu": (
        X * (1 + sp.erf(X / sp.sqrt(2))) / 2,
        lambda z: z * (1 + scipy.special.erf(z / np.sqrt(2))) / 2,
    ),
    "swish": (X / (1 + sp.exp(-X)), lambda z: z * sigmoid(z)),
    "mish": (X * sp.tanh(sp.log(1 + sp.exp(X))), lambda z: z * np.tanh(softplus(z))),
    "exponential": (sp.exp(X / 2), lambda z: np.exp(z / 2)),
    "cubic": (X**3 / 6 - X / 2 + 1, lambda z: z**3 / 6 - z / 2 + 1),
    "elu": (
        sp.Piecewise((X, X > 0), (sp.exp(X) - 1, True)),
        lambda z: np.where(np.real(z) > 0, z, np.exp(z) - 1),
    ),
    "absolute": (sp.Abs(X), lambda z: larger(z, -z)),
    "hard tanh": (sp.Max(-1, sp.Min(1, X)), lambda z: -larger(-larger(z, -1), -1)),
    "root": (sp.sqrt(1 + X**2), lambda z: np.sqrt(1 + z * z)),
    "bell": ((1 + X**2) ** sp.Rational(-3, 2), lambda z: (1 + z * z) ** -1.5),
    "floats": (X * 0.3 + 1.0 / (1.0 + sp.exp(-X)), lambda z: 0.3 * z + sigmoid(z)),
}  # fmt: skip


def made(expression, function):
    """Return the record of an expression, and let the oracles know its function."""
    record = activation(expression)
    FUNCTIONS[record.name] = function
    return record


RECORDS = {name: made(*pair) for name, pair in USER_MADE.items()}

SCALES = st.sampled_from([sp.Rational(1, 2), sp.Rational(-1, 2), sp.Integer(-1), sp.Rational(3, 2)])
BOUNDED = [
    (sp.sin, np.sin),
    (sp.cos, np.cos),
    (sp.tanh, np.tanh),
    (sp.erf, scipy.special.erf),
    (sp.atan, np.arctan),
    (lambda u: sp.exp(-(u**2)), lambda z: np.exp(-z * z)),
    (lambda u: 1 / (1 + sp.exp(u)), lambda z: sigmoid(-z)),
    (lambda u: sp.log(1 + sp.exp(u)), softplus),
    (lambda u: sp.sqrt(1 + u**2), lambda z: np.sqrt(1 + z * z)),
    (lambda u: sp.log(1 + u**2), lambda z: np.log(1 + z * z)),
    (sp.Abs, lambda z: larger(z, -z)),
]


def _scaled(c, one):
    return c * one[0], lambda z: float(c) * one[1](z)


def _applied(outer, one):
    return outer[0](one[0]), lambda z: outer[1](one[1](z))


def _joined(word, one, other):
    f, g = one[1], other[1]
    match word:
        case "sum":
            return one[0] + other[0], lambda z: f(z) + g(z)
        case "product":
            return one[0] * other[0], lambda z: f(z) * g(z)
        case _:
            # Shifted: Max of functions that touch has a wrong slope there, and is refused.
            third = sp.Rational(1, 3)
            return sp.Max(one[0], other[0] + third), lambda z: larger(f(z), g(z) + 1 / 3)


LEAVES = st.sampled_from([(X, lambda z: z), (X**2 / 4, lambda z: z * z / 4), USER_MADE["cubic"]])
PAIRS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(_applied, st.sampled_from(BOUNDED), st.builds(_scaled, SCALES, inner)),
        st.builds(_joined, st.sampled_from(["sum", "product", "max"]), inner, inner),
    ),
    max_leaves=3,
)


@st.composite
def activations(draw):
    """Any activation: named, of the list above, or an expression drawn from its parts."""
    kind = draw(st.sampled_from(["named", "listed", "drawn"]))
    if kind == "named":
        return activation(draw(st.sampled_from(sorted(ACTIVATIONS))))
    if kind == "listed":
        return draw(st.sampled_from(list(RECORDS.values())))
    return made(*draw(PAIRS))
