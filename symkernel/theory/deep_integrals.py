r"""The integral $\int dy / [y^{D-1}(1 \mp y^D)]$ on its branches, proven by differentiation."""

from __future__ import annotations

from typing import NamedTuple

import sympy as sp

from symkernel import notation

Y = notation.symbol("y", "y", "amplitude of each layer over its final value", positive=True)
Y_REACHED = notation.symbol(
    "y_q", r"y_{\rho}", "y at that fraction of the final value", positive=True
)
Y0 = notation.symbol("y0", "y_0", "the same at t = 0", positive=True)
RATE = notation.symbol("nu", r"\nu", "what turns flow time into the clock of y", positive=True)


class Clock(NamedTuple):
    """The abbreviations of a flow time: what turns it into a clock, the amplitude, its start."""

    rate: sp.Symbol
    y: sp.Symbol
    y0: sp.Symbol


POSITIVE = Clock(RATE, Y, Y0)
# Over the size of the final value: other letters, since both stand in one document.
DYING = Clock(
    *(
        notation.symbol(f"{symbol}_dying", latex, meaning, positive=True)
        for symbol, latex, meaning in (
            (RATE, r"\bar{\nu}", "what turns flow time into the clock of a mode that dies out"),
            (Y, r"\bar{y}", "amplitude of each layer over the size of the final value"),
            (Y0, r"\bar{y}_0", "that amplitude over that size at t = 0"),
        )
    )
)

# Depths whose elementary form is short and free of cosines that have no square roots.
ELEMENTARY = (3, 4, 5, 6)


def rising(depth: sp.Expr) -> sp.Expr:
    r"""Return the integral for y < 1; it ends in a logarithmic singularity at y = 1."""
    b = sp.S(2) / depth
    tail = Y**2 / 2 * sp.hyper((1, b), (1 + b,), Y**depth)
    return Y ** (2 - depth) / (2 - depth) + tail


def falling(depth: sp.Expr) -> sp.Expr:
    """Return the integral for y > 1."""
    return _beyond(depth, Y**-depth)


def dying(depth: sp.Expr) -> sp.Expr:
    """Return the integral for a target of the opposite sign, y over the size of the target."""
    return _beyond(depth, -(Y**-depth))


def _beyond(depth: sp.Expr, argument: sp.Expr) -> sp.Expr:
    c = 2 - sp.S(2) / depth
    return Y ** (2 - 2 * depth) / (2 * depth - 2) * sp.hyper((1, c), (1 + c,), argument)


def elementary(depth: int, *, rising_only: bool = False) -> sp.Expr:
    r"""Return the integral on both positive branches by partial fractions.

    The poles are the roots of unity $e^{i\varphi}$; each pair gives a logarithm and an arc tangent.
    The one at 1 gives $\ln|1 - y|$, which is $\ln(1 - y)$ below it and
    $\ln(y - 1)$ above. With `rising_only` it is the former, real for y < 1 alone.
    """
    total = -sp.log(1 - Y if rising_only else sp.Abs(1 - Y))
    if depth % 2 == 0:
        total -= sp.log(1 + Y)
    for k in range(1, (depth + 1) // 2):
        angle = 2 * sp.pi * k / depth
        cosine, sine = sp.cos(angle), sp.sin(angle)
        log = sp.log(1 - 2 * cosine * Y + Y**2)
        total -= sp.cos(2 * angle) * log
        total += 4 * cosine * sine * sp.atan((Y - cosine) / sine)
    return Y ** (2 - depth) / sp.Integer(2 - depth) + total / depth


def prove_integral(integral: sp.Expr, rate: sp.Expr, depth: sp.Expr) -> bool:
    r"""Whether the derivative of an integral is 1/rate, exactly.

    The derivative of $F = {}_2F_1(1, b; 1+b; z)$ holds ${}_2F_1(2, 1+b; 2+b; z)$, which is
    $(1+b)[1/(1-z) - F]/z$: term by term of the series, see `contiguous_terms`.
    """
    if not contiguous_terms():
        return False
    moved = integral.diff(Y).replace(
        lambda e: isinstance(e, sp.hyper) and 1 not in e.ap, _without_derivative
    )
    # The logarithm of a size has the slope sign(x)/|x| = 1/x on either side of 0.
    moved = moved.replace(sp.sign, lambda x: sp.Abs(x) / x)
    residual = moved * rate - 1
    masks = {function: sp.Dummy() for function in residual.atoms(sp.hyper)}
    power = sp.Symbol("power", positive=True)
    plain = sp.expand(residual.xreplace(masks), power_base=False)
    if not depth.is_number:
        plain = plain.subs(Y**depth, power)
    top = sp.expand(sp.fraction(sp.together(plain))[0])
    return bool(sp.expand(sp.radsimp(top)) == 0)


def _without_derivative(function: sp.hyper) -> sp.Expr:
    # SymPy sorts the parameters.
    (upper,) = (p for p in function.ap if p != 2)
    b, z = upper - 1, function.argument
    return (1 + b) / z * (1 / (1 - z) - sp.hyper((1, b), (1 + b,), z))


def contiguous_terms() -> bool:
    r"""Whether $z\,{}_2F_1(2,1+b;2+b;z) = (1+b)[1/(1-z) - {}_2F_1(1,b;1+b;z)]$ term by term.

    The coefficients of $z^{k+1}$ are $(k+1)(1+b)/(k+1+b)$ and $(1+b)[1 - b/(k+1+b)]$.
    """
    k, b = sp.symbols("k b", positive=True)
    left = (k + 1) * (1 + b) / (k + 1 + b)
    right = (1 + b) * (1 - b / (k + 1 + b))
    return bool(sp.cancel(left - right) == 0)
