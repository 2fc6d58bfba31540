r"""The mode solution in the form that is computed: no overflow, no cancellation, no 0/0.

Starting from the derived solution of the Riccati equation, named rules lead to

$p\cdot q = \frac{w[(1+T)Z + 8\sigma^2\tau^2] + 4 m \sigma\tau + 2\sigma\delta K\tau^2}{N D}$,
$N = 1 + (2\sigma + \delta Q_0)\tau$, $D = Z + (C + \delta P_0)\tau$

with $K = P_0 Q_0$, $\tau = \tanh(Rt/2)/R$, $T = R\tau$, $Z = 1 - T$ and
$C = \delta^2 K/(R + 2\sigma)$. For $w, \sigma \ge 0$ all terms have one sign.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, lru_cache

import sympy as sp
from sympy.codegen.cfunctions import hypot

from symkernel import notation
from symkernel.codegen import rules
from symkernel.codegen.elementwise import ElementwiseRoutine, Lowered, compile_elementwise
from symkernel.codegen.functions import decay, rise
from symkernel.codegen.rules import Rewriting
from symkernel.theory.mode_flow import Drive
from symkernel.theory.solutions import solve_autonomous

_P0, _Q0, _W, _M = notation.P0, notation.Q0, notation.w, notation.m
_R, _T, _TIME = notation.R, notation.T, notation.t
_SIGMA = notation.symbol("sigma", r"\sigma", "constant part of the drive", nonnegative=True)
_DELTA = notation.symbol(
    "delta", r"\delta", "how fast the drive falls with the overlap", nonnegative=True
)
_TAU = notation.symbol("tau", r"\tau", "tanh(R t / 2) / R", nonnegative=True)
_REST = notation.symbol("Z", "Z", "1 - T", nonnegative=True)
_PAIR = notation.symbol("K", "K", "P0 Q0", nonnegative=True)
_LAG = notation.symbol("C", "C", "R - 2 sigma", nonnegative=True)
_FORWARD = notation.symbol("N", "N", "numerator of z", positive=True)
_BACKWARD = notation.symbol("D_z", "D", "denominator of z", positive=True)

# Smallest value of the denominator of z: sqrt(z) and its reciprocal stay finite.
_FLOOR = sp.Float(1e-280)
# Stands for R where it vanishes (a balanced zero mode): T/R then is t/2 to the last digit.
_TINY = sp.Float(1e-290)


@dataclass(frozen=True)
class _Forms:
    """What is met on the way from the solution for z to the stable form."""

    overlap: sp.Expr
    solution: sp.Expr
    scaled: sp.Expr
    forward: sp.Expr
    backward: sp.Expr
    top: sp.Expr
    named: sp.Expr
    folded: sp.Expr
    complement: sp.Expr
    conjugate: sp.Expr

    @classmethod
    def derived(cls) -> _Forms:
        """Return all forms, from the solution of the Riccati equation."""
        z = notation.z
        overlap = (_P0 * z - _Q0 / z) / 4
        solution = solve_autonomous(
            sp.expand(2 * z * (_SIGMA - _DELTA * overlap)), z, sp.S.One
        ).expression
        scaled = rules.scale_clock(solution, _T, _R, _TAU)
        forward, backward = sp.fraction(scaled)
        top = sp.expand(_P0 * forward**2 - _Q0 * backward**2)
        named = rules.name_pairs(top, (_P0, _Q0), _PAIR, {_P0: 2 * (_M + _W), _Q0: 2 * (_M - _W)})
        folded = rules.use_relation(named, _DELTA**2 * _PAIR, _R**2 - 4 * _SIGMA**2)
        folded = rules.use_relation(folded, _R**2 * _TAU**2, _T**2)
        complement = (
            rules.collect_terms(sp.expand(folded / 4) - _W * (1 - _T**2), (_TAU,))
            + _W * (1 + _T) * _REST
        )
        conjugate = _REST + sp.factor(sp.expand(backward - 1 + 2 * _SIGMA * _TAU) + _LAG * _TAU)
        return cls(
            overlap, solution, scaled, forward, backward, top, named, folded, complement, conjugate
        )


_RADICAND = ((_R, 4 * _SIGMA**2 + _DELTA**2 * _P0 * _Q0),)
_PAIRS = ((_PAIR, _P0 * _Q0), (_M, (_P0 + _Q0) / 4), (_W, (_P0 - _Q0) / 4))


@cache
def stable_form() -> tuple[dict[str, sp.Expr], tuple[Rewriting, ...]]:
    """Return overlap, numerator and denominator of z in stable form, and the rules used.

    "stable" is the overlap times N D, "plain" the overlap itself.

    Derived once per process from the solution of the Riccati equation.
    """
    forms = _Forms.derived()
    parts = {
        "stable": forms.complement,
        "plain": (_P0 * (_FORWARD / _BACKWARD) - _Q0 * (_BACKWARD / _FORWARD)) / 4,
        "forward": rules.collect_terms(forms.forward, (_TAU,)),
        "backward": forms.conjugate,
    }
    return parts, (*_rules_of_the_overlap(forms), *_rules_of_z(forms), *_rules_of_signs(forms))


def _rules_of_the_overlap(forms: _Forms) -> tuple[Rewriting, ...]:
    """Return the rules that leave one division and no difference of large terms."""
    fraction = forms.top / (4 * forms.forward * forms.backward)
    return (
        Rewriting(
            "scale the clock",
            "tau = T/R is finite at R = 0 (a balanced zero mode)",
            forms.solution,
            forms.scaled,
            ((_TAU, _T / _R),),
        ),
        Rewriting(
            "common denominator",
            "one division",
            forms.overlap.subs(notation.z, forms.scaled),
            fraction,
        ),
        Rewriting(
            "name sums and products",
            "differences of P0 and Q0 cancel where one side is much larger; w = p.q does not",
            forms.top,
            forms.named,
            _PAIRS,
        ),
        Rewriting(
            "fold the radicand",
            "the only negative term left is in 1 - T^2",
            forms.named,
            forms.folded,
            ((_T, _R * _TAU),),
            ((_R, 4 * _SIGMA**2 + _DELTA**2 * _PAIR),),
        ),
        Rewriting(
            "complement",
            "1 - T^2 = (1 + T) Z",
            forms.folded / 4,
            forms.complement,
            ((_REST, 1 - _T),),
        ),
    )


def _rules_of_z(forms: _Forms) -> tuple[Rewriting, ...]:
    """Return the rules for the denominator of z and for the clock."""
    lag = (_LAG, _DELTA**2 * _P0 * _Q0 / (_R + 2 * _SIGMA))
    gone = sp.Symbol("E", nonnegative=True)
    return (
        Rewriting(
            "conjugate",
            "1 - 2 sigma tau = Z + (R - 2 sigma) tau, R - 2 sigma = delta^2 K / (R + 2 sigma)",
            forms.backward,
            forms.conjugate,
            ((_REST, 1 - _R * _TAU), lag),
            _RADICAND,
        ),
        Rewriting(
            "decaying exponential",
            "Z = 1 - T from E = exp(-R t), T = (1 - E)/(1 + E)",
            1 - (1 - gone) / (1 + gone),
            2 * gone / (1 + gone),
        ),
    )


def _rules_of_signs(forms: _Forms) -> tuple[Rewriting, ...]:
    """Return the rules for falling modes and for sides that are nearly opposite."""
    through_z = forms.overlap.subs(notation.z, forms.solution)
    turned = {_SIGMA: -_SIGMA, _P0: _Q0, _Q0: _P0}
    opposite = Rewriting(
        "opposite sides",
        "w < 0 with 4 P0 < Q0: the plain form in z has the smaller terms",
        forms.complement / (_FORWARD * _BACKWARD),
        (_P0 * _FORWARD**2 - _Q0 * _BACKWARD**2) / (4 * _FORWARD * _BACKWARD),
    )
    parts_of_z = ((_FORWARD, forms.forward), (_BACKWARD, forms.backward))
    clock = ((_REST, 1 - _R * _TAU), (_T, _R * _TAU))
    return (
        Rewriting(
            "reflection",
            "sigma < 0: turn the sign of one side, P0 and Q0 change places",
            through_z,
            -through_z.subs(turned, simultaneous=True),
            (),
            _RADICAND,
        ),
        _written(opposite, (*parts_of_z, *clock, *_PAIRS), _RADICAND),
    )


def _written(
    rewriting: Rewriting,
    meaning: tuple[tuple[sp.Symbol, sp.Expr], ...],
    relations: tuple[tuple[sp.Symbol, sp.Expr], ...],
) -> Rewriting:
    """Return a rule between two forms that both use new names, with all names written out."""
    before = rewriting.before
    for symbol, value in reversed(meaning):
        before = before.subs(symbol, value)
    return replace(rewriting, before=before, meaning=meaning, relations=relations)


def lower_modes(
    arguments: tuple[sp.Symbol, ...],
    sigma: sp.Expr,
    delta: sp.Expr,
    initial: dict[str, sp.Expr],
) -> Lowered:
    r"""Return overlap, growth and odd part of a mode, ready to compile.

    Parameters
    ----------
    arguments : tuple of sympy.Symbol
        What the routine is called with, per mode.
    sigma, delta : sympy.Expr
        The drive $g = \sigma - \delta\,p\cdot q$, in the arguments; sigma of any sign.
    initial : dict
        "w", "m", "P0", "Q0" in the arguments.

    Notes
    -----
    Outputs: "overlap" $p\cdot q$; "growth" $\sqrt z$; "odd" $\sinh\varphi$.
    """
    parts, log = stable_form()
    raw, side = sp.Symbol("sigma_raw", real=True), sp.Symbol("side", real=True)
    inner = {name: sp.Symbol(f"{name}_raw", real=True) for name in ("w", "m", "P0", "Q0")}
    # At sigma = 0 the overlap only decays; turned to w >= 0 nothing cancels in it.
    forwards = sp.Or(raw > 0, sp.And(raw >= 0, inner["w"] >= 0))
    reach = sp.Symbol("reach", nonnegative=True)
    gone, come = sp.Symbol("gone", nonnegative=True), sp.Symbol("come", nonnegative=True)
    share, slowness = sp.Symbol("share", positive=True), sp.Symbol("slowness", positive=True)
    root = sp.Symbol("root", positive=True)
    where: list[tuple[sp.Symbol, sp.Expr]] = [
        (raw, sigma),
        (_DELTA, delta),
        *((inner[name], initial[name]) for name in inner),
        (side, sp.Piecewise((sp.S.One, forwards), (sp.S.NegativeOne, True))),
        (_SIGMA, sp.Abs(raw)),
        (_W, side * inner["w"]),
        (_M, inner["m"]),
        (_P0, sp.Piecewise((inner["P0"], forwards), (inner["Q0"], True))),
        (_Q0, sp.Piecewise((inner["Q0"], forwards), (inner["P0"], True))),
        (_PAIR, _P0 * _Q0),
        (reach, _DELTA * sp.sqrt(_PAIR)),
        (_R, sp.Max(hypot(2 * _SIGMA, reach), _TINY)),
        (slowness, 1 / _R),
        (_LAG, reach**2 / (_R + 2 * _SIGMA)),
        (gone, decay(_R * _TIME)),
        (come, rise(_R * _TIME)),
        (share, 1 / (1 + gone)),
        (_T, come * share),
        (_TAU, _T * slowness),
        (_REST, 2 * gone * share),
        (_FORWARD, parts["forward"]),
        (_BACKWARD, sp.Max(parts["backward"], _FLOOR)),
        (root, sp.sqrt(_FORWARD * _BACKWARD)),
    ]
    away = sp.And(_W < 0, 4 * _P0 < _Q0)
    # The square of D would underflow long before D does.
    stable = parts["stable"] / (_FORWARD * _BACKWARD)
    overlap = side * sp.Piecewise((parts["plain"], away), (stable, True))
    growth = sp.Piecewise((_FORWARD / root, forwards), (_BACKWARD / root, True))
    odd = side * 2 * (_SIGMA - _DELTA * _W) * _TAU / root
    outputs = (("overlap", overlap), ("growth", growth), ("odd", odd))
    return Lowered(arguments, _TIME, tuple(where), outputs, log)


def side_routine(modes: Drive) -> ElementwiseRoutine:
    """Compile the same as functions of (t; s, d, w, m, P0, Q0), for sides that are vectors."""
    return _driven(modes.sigma, modes.delta)


@lru_cache(maxsize=16)
def _driven(sigma: sp.Expr, delta: sp.Expr) -> ElementwiseRoutine:
    initial = {name: sp.Symbol(f"{name}_start", real=True) for name in ("w", "m", "P0", "Q0")}
    arguments = (notation.s, notation.d, *initial.values(), *Drive(sp.S.One, sigma, delta).unknowns)
    return compile_elementwise(lower_modes(arguments, sigma, delta, initial))
