r"""One hidden unit without growing exponentials and without cancellation, compiled.

Of each mode $e^{-\omega t} e^{Ft} x_0$ and $e^{-2\omega t} \int_0^t |e^{Fs}x_0|^2 ds$ are computed;
all their terms are bounded, and those of the integral positive. The sum and the difference of the
two sides obey a flow of the same form, with the places of $\sigma$ and $h$ changed: next to the
saddle, where the sides are nearly opposite, they keep the digits that the sides have lost.
"""

from __future__ import annotations

from functools import cache

import sympy as sp
from sympy.codegen.cfunctions import hypot

from symkernel import notation
from symkernel.codegen.elementwise import ElementwiseRoutine, Lowered, compile_elementwise
from symkernel.codegen.functions import decay, rise
from symkernel.codegen.rules import Rewriting
from symkernel.theory.mode_flow import ModeFlow
from symkernel.theory.single_unit_flow import LAMBDA, OMEGA, UnitSolution

_TIME = notation.t
_G = sp.Symbol("g_mode", real=True)
_H = sp.Symbol("H", positive=True)
_B = sp.Symbol("B", positive=True)
_B_SUM = sp.Symbol("B_sum", positive=True)
_UP, _UP_SUM = sp.symbols("up up_sum", real=True)
_E, _TAU = sp.symbols("E tau_mode", nonnegative=True)
_P, _Q = sp.symbols("p_mode q_mode", real=True)
# Stands for |h| where it vanishes with the strength, so that the rate is no 0 either.
_TINY = sp.Float(1e-290)
SIDES = ("p", "q", "plus", "minus")
# What the rules put in for the clock, and for the square of the rate.
_CLOCK = (_TAU, (1 - _E) / (2 * OMEGA))
_SQUARE = ((OMEGA, _G**2 + _H**2),)


@cache
def stable_unit() -> tuple[dict[str, sp.Expr], tuple[Rewriting, ...]]:
    """Return the stable forms for h >= 0, and the rules that lead to them from the derived ones.

    Derived once per process. Names: "p", "q" times exp(-omega t), "root", of the integral times
    exp(-2 omega t).
    """
    F = sp.Matrix([[-_H, _G], [_G, _H]])
    p, q, integral = UnitSolution.turned(sp.Matrix([_P, _Q]), F, OMEGA)
    grown = 1 / sp.sqrt(_E)
    masks = {
        sp.cosh(OMEGA * _TIME): (grown + 1 / grown) / 2,
        sp.sinh(OMEGA * _TIME): (grown - 1 / grown) / 2,
    }
    derived = {
        "p": sp.expand(p.subs(masks) * sp.sqrt(_E)),
        "q": sp.expand(q.subs(masks) * sp.sqrt(_E)),
        "integral": sp.expand(integral.subs(masks) * _E),
    }
    norm = sp.Symbol("n_mode", positive=True)
    up, down = _UP / norm, (_G * _Q - _B * _P) / norm
    stable = {
        "p": _E * _P + _TAU * (_G / _B) * _UP,
        "q": _E * _Q + _TAU * _UP,
        "integral": _TAU * (up**2 + _E * down**2),
    }
    meaning = (
        _CLOCK,
        (_B, OMEGA + _H),
        (_UP, _G * _P + _B * _Q),
        (norm, sp.sqrt(2 * OMEGA * _B)),
    )
    reasons = {
        "p": "what decays, and what grows, by one combination of the sides; omega - h is written "
        "sigma^2/(omega + h), which cancels nothing",
        "q": "the same combination: on the saddle it is 0 for both sides",
        "integral": "sum of squares over the two eigenvectors of F: all terms are positive",
    }
    log = tuple(
        Rewriting(f"without growth: {name}", reason, derived[name], stable[name], meaning, _SQUARE)
        for name, reason in reasons.items()
    )
    root = sp.sqrt(_TAU) * hypot(up, sp.sqrt(_E) * down)
    stable = {"p": stable["p"], "q": stable["q"], "root": root, "norm": norm}
    return stable, (*log, *_rules_of_the_sum(derived["p"], derived["q"]))


def _rules_of_the_sum(p: sp.Expr, q: sp.Expr) -> tuple[Rewriting, ...]:
    """Return the rules for sum and difference of the sides, given times exp(-omega t).

    They stand in the places of q and p, and -h and g in those of g and h.
    """
    other = (
        _CLOCK,
        (_B_SUM, OMEGA + _G),
        (_UP_SUM, _B_SUM * (_P + _Q) - _H * (_P - _Q)),
    )
    return (
        Rewriting(
            "without growth: p + q",
            "next to the saddle the sum is what grows again, and the sides do not hold its digits",
            p + q,
            _E * (_P + _Q) + _TAU * _UP_SUM,
            other,
            _SQUARE,
        ),
        Rewriting(
            "without growth: p - q",
            "the same where the task is reversed",
            p - q,
            _E * (_P - _Q) - _TAU * (_H / _B_SUM) * _UP_SUM,
            other,
            _SQUARE,
        ),
        Rewriting(
            "what grows, by sides or by sum and difference",
            "one number, of which the form with the smaller terms is taken",
            _G * _P + (OMEGA + _H) * _Q,
            _UP_SUM * (OMEGA + _H) / (OMEGA + _G + _H),
            other[1:],
            _SQUARE,
        ),
    )


def unit_routine(flow: ModeFlow) -> ElementwiseRoutine:
    """Compile the sides of a mode as functions of (t; s, d, lam, p, q, p + q, p - q)."""
    parts, log = stable_unit()
    p, q, plus, minus = (sp.Symbol(f"{name}_start", real=True) for name in SIDES)
    half, signed = sp.symbols("h_raw h_signed", real=True)
    less, more = sp.symbols("P_sum Q_sum", real=True)
    grows, width = sp.Symbol("grows", real=True), sp.Symbol("n_sum", positive=True)
    norm, turn = parts["norm"], sp.Symbol("turn", real=True)
    # Turning the sign of h changes the places of the two sides, that of g those of sum and
    # difference.
    forwards, upwards = half >= 0, _G >= 0
    fewer = (sp.Abs(_G * _P) + _B * sp.Abs(_Q)) / norm
    other = (sp.Abs(signed * less) + _B_SUM * sp.Abs(more)) / width
    where = (
        (_G, flow.sigma),
        (half, flow.delta * LAMBDA / 2),
        (
            _H,
            sp.Piecewise((sp.Abs(half), sp.Or(half > 0, half < 0, _G > 0, _G < 0)), (_TINY, True)),
        ),
        (signed, sp.Piecewise((_H, forwards), (-_H, True))),
        (OMEGA, hypot(_G, _H)),
        (_P, sp.Piecewise((p, forwards), (q, True))),
        (_Q, sp.Piecewise((q, forwards), (p, True))),
        (less, sp.Piecewise((minus, upwards), (plus, True))),
        (more, sp.Piecewise((plus, upwards), (minus, True))),
        (_B, OMEGA + _H),
        (_B_SUM, OMEGA + sp.Abs(_G)),
        (norm, hypot(_G, _B)),
        # In units of the sides, whose sum of squares is half of that of sum and difference.
        (width, sp.sqrt(2) * hypot(_H, _B_SUM)),
        # The two growing directions, as these formulas give them, are opposite for one choice.
        (turn, sp.Piecewise((-sp.S.One, sp.And(_G < 0, forwards)), (sp.S.One, True))),
        (
            grows,
            sp.Piecewise(
                ((_G * _P + _B * _Q) / norm, fewer <= other),
                (turn * (_B_SUM * more - signed * less) / width, True),
            ),
        ),
        (_UP, norm * grows),
        (_UP_SUM, turn * width * grows),
        (_E, decay(2 * OMEGA * _TIME)),
        (_TAU, rise(2 * OMEGA * _TIME) / (2 * OMEGA)),
    )
    # With h itself: at h = 0 what is not there does not come from the other.
    first, second = _E * less - _TAU * (half / _B_SUM) * _UP_SUM, _E * more + _TAU * _UP_SUM
    outputs = (
        ("p", sp.Piecewise((parts["p"], forwards), (parts["q"], True))),
        ("q", sp.Piecewise((parts["q"], forwards), (parts["p"], True))),
        ("plus", sp.Piecewise((second, upwards), (first, True))),
        ("minus", sp.Piecewise((first, upwards), (second, True))),
        ("root", sp.sqrt(flow.delta) * parts["root"]),
        ("omega", OMEGA),
        ("sigma", _G),
        ("pull", flow.delta / 2),
    )
    arguments = (notation.s, notation.d, LAMBDA, p, q, plus, minus, *flow.unknowns)
    return compile_elementwise(Lowered(arguments, _TIME, where, outputs, log))
