"""The law of one mode in symbols, for the tests of `derive`."""

from __future__ import annotations

import sympy as sp

import symkernel as sk
from symkernel import notation

T = notation.t
S, D, A, B, KAPPA, RHO = sp.symbols("sigma_1 var alpha_in beta_out kappa rho", positive=True)
NUMBERS = {S: sp.Rational(7, 4), D: sp.Rational(6, 5), A: sp.Rational(1, 3), B: sp.Rational(2, 9),
           KAPPA: sp.Rational(5, 2)}  # fmt: skip


def one_mode(a, b, s=S, d=D, *, factor=sp.S.Half, parameterisation="standard", hidden=4):
    net = sk.Network.two_layer(1, hidden, 1, parameterisation=parameterisation)
    task = sk.Task.from_modes(s, input_variance=d)
    weights = sk.weights.aligned(net, task, a=a, b=b)
    return sk.derive(net, task, weights, loss=sk.SquaredError(factor))


SIDES = {"balanced": (A, A), "unbalanced": (A, B), "opposite signs": (A, -B), "opposite": (A, -A),
         "one side": (A, sp.S.Zero)}  # fmt: skip


def at(expression, time, extra=()) -> sp.Expr:
    """Return the value at a rational time with 40 digits."""
    values = {**NUMBERS, **dict(extra)}
    return expression.xreplace(values).subs(T, time).evalf(40)
