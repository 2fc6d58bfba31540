"""The recursion of covariances and tangent kernels of a wide network, line by line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Step
from symkernel.theory.wide_layers import WideLayer

if TYPE_CHECKING:
    from symkernel.theory.infinite_width import InfiniteWidth

__all__ = ["OVERLAPS", "Recursion", "recursion_of", "recursion_step"]

OVERLAPS = (
    notation.symbol("xx", r"(x \cdot x)", "overlap of x with itself", nonnegative=True),
    notation.symbol("xy", r"(x \cdot x')", "overlap of x and x'", real=True),
    notation.symbol("yy", r"(x' \cdot x')", "overlap of x' with itself", nonnegative=True),
)


@dataclass(frozen=True)
class Recursion:
    """The recursion line by line; lists hold a symbol for each layer.

    Attributes
    ----------
    lines : tuple of (symbol, expression)
        Each in those before it, the overlaps, and symbols of the problem.
    variances : tuple of (symbol, symbol)
        Of the pre-activations at x and x'.
    covariance, activity, slope, tangent : tuple of Symbol
    """

    lines: tuple[tuple[sp.Symbol, sp.Expr], ...]
    variances: tuple[tuple[sp.Symbol, sp.Symbol], ...]
    covariance: tuple[sp.Symbol, ...]
    activity: tuple[sp.Symbol, ...]
    slope: tuple[sp.Symbol, ...]
    tangent: tuple[sp.Symbol, ...]


def _symbol(kind: str, layer: int) -> sp.Symbol:
    tex, meaning, signs = _KINDS[kind]
    name = f"{kind}{layer}"
    return notation.symbol(name, tex.format(layer), f"{meaning} of layer {layer}", **signs)


_POSITIVE, _REAL = {"positive": True}, {"real": True}
_KINDS = {
    "wide_v": ("v_{{{}}}", "variance of the pre-activation at x", _POSITIVE),
    "wide_w": ("{{v'_{{{}}}}}", "variance of the pre-activation at x'", _POSITIVE),
    "wide_c": ("c_{{{}}}", "covariance of the pre-activations", _REAL),
    "wide_k": ("k_{{{}}}", "similarity per unit", _REAL),
    "wide_d": (r"\dot{{k}}_{{{}}}", "similarity of the slopes per unit", _REAL),
    "wide_t": (r"\Theta_{{{}}}", "tangent kernel of the pre-activation", _REAL),
}


def recursion_of(limit: InfiniteWidth) -> Recursion:
    """Return the lines of covariances, averages and tangent kernels, layer by layer."""
    lines: list[tuple[sp.Symbol, sp.Expr]] = []
    found: dict[str, list] = {kind: [] for kind in ("variances", "c", "k", "d", "t")}

    def line(kind: str, layer: int, expression: sp.Expr) -> sp.Symbol:
        symbol = _symbol(f"wide_{kind}", layer)
        lines.append((symbol, expression))
        return symbol

    left, both, right = OVERLAPS
    slope, tangent = sp.S.Zero, sp.S.Zero
    for k, layer in enumerate(limit.layers, 1):
        pair = tuple(
            line(kind, k, layer.weight * own + layer.bias)
            for kind, own in (("v", left), ("w", right))
        )
        covariance = line("c", k, layer.weight * both + layer.bias)
        trained = layer.weight_rate * both + layer.bias_rate
        tangent = line("t", k, trained + layer.weight * slope * tangent)
        found["variances"].append(pair)
        found["c"].append(covariance)
        found["t"].append(tangent)
        if k == len(limit.layers):
            break
        left, right = (_averages(limit, layer, v, v, v)[0] for v in pair)
        value, steep = _averages(limit, layer, pair[0], pair[1], covariance)
        both, slope = line("k", k, value), line("d", k, steep)
        found["k"].append(both)
        found["d"].append(slope)
    return Recursion(tuple(lines), *(tuple(part) for part in found.values()))


def _averages(
    limit: InfiniteWidth, layer: WideLayer, first: sp.Symbol, second: sp.Symbol, both: sp.Symbol
) -> tuple[sp.Expr, sp.Expr]:
    """Return value and slope of the activation of a layer, as functions without closed form too."""
    phi = layer.activation
    if phi is None:
        return both, sp.S.One
    derived = limit.averages[phi]
    if derived is None:
        mark = limit.activations.index(phi)
        tex = r"\phi" + f"_{{{mark}}}" * (mark > 0)
        slope = tex.replace(r"\phi", r"\phi'")
        for name, shown in (("phi_wide", tex), ("k_average", rf"\langle {tex} {tex}\rangle"),
                            ("d_average", rf"\langle {slope} {slope}\rangle")):  # fmt: skip
            notation.symbol(f"{name}{mark}", shown, f"of activation {mark}")
        return tuple(
            sp.Function(f"{kind}_average{mark}")(first, second, both) for kind in ("k", "d")
        )
    return derived.diagonal(first) if first == second else derived.at(first, second, both)


_LAYER = {
    "sigma": r"\sigma^2",
    "beta": r"\beta^2",
    "k": "k^l",
    "slope": r"\dot{k}^l",
    "tangent": r"\Theta^l",
    "next_covariance": "C^{l+1}",
    "next_tangent": r"\Theta^{l+1}",
    "weight_rate": "r_W",
    "bias_rate": "r_b",
}


def recursion_step() -> Step:
    r"""Return the step from one layer to the next, proven on an explicit layer of two units.

    All derivatives are SymPy's, of the network written out, with any activation.
    """
    s, beta, k, d, first, covariance, tangent, r, rb = (
        notation.symbol(f"layer_{name}", tex, "of one layer", real=True)
        for name, tex in _LAYER.items()
    )
    return Step(
        "one layer",
        "independent read-out weights have mean 0: what is left is a mean over units, which does "
        "not fluctuate at infinite width",
        (
            sp.Eq(covariance, s * k + beta, evaluate=False),
            sp.Eq(tangent, r * k + rb + s * d * first, evaluate=False),
        ),
        lambda: layer_evidence(1),
    )


def layer_evidence(backward: sp.Expr) -> Evidence:
    """Compare both lines with a network of two hidden units, averaged over its read-out.

    The factor is of what is passed backward: 1, or a slip.
    """
    W, a, b = sp.symbols("W:4"), sp.symbols("a:2"), sp.symbols("b:3")
    c, cb, e, eb, s, beta = sp.symbols("c c_b e e_b s beta", positive=True)
    r1, q1, r2, q2 = sp.symbols("r1 q1 r2 q2", positive=True)
    z = sp.Dummy("z")
    phi = sp.Function("phi")

    def inner(x: tuple[sp.Symbol, ...]) -> list[sp.Expr]:
        return [c * (W[2 * j] * x[0] + W[2 * j + 1] * x[1]) + cb * b[j] for j in range(2)]

    def output(x: tuple[sp.Symbol, ...]) -> sp.Expr:
        return e * sp.Add(*(w * phi(p) for w, p in zip(a, inner(x), strict=True))) + eb * b[2]

    def averaged(expression: sp.Expr) -> sp.Expr:
        """Average over read-out weights of variance s and their bias, of variance beta."""
        terms = sp.Poly(sp.expand(expression), *a, b[2]).terms()
        squares = {(2, 0, 0): s, (0, 2, 0): s, (0, 0, 2): beta, (0, 0, 0): sp.S.One}
        return sp.Add(*(squares.get(powers, sp.S.Zero) * factor for powers, factor in terms))

    x, y = sp.symbols("x:2"), sp.symbols("y:2")
    f, g = output(x), output(y)
    rates = {**dict.fromkeys(W, r1), **dict.fromkeys(b[:2], q1), **dict.fromkeys(a, r2), b[2]: q2}
    kernel = sp.Add(*(rate * f.diff(p) * g.diff(p) for p, rate in rates.items()))
    slope = sp.Derivative(phi(z), z)
    pairs = list(zip(inner(x), inner(y), strict=True))
    both = sp.Add(*(phi(p) * phi(q) for p, q in pairs)) / 2
    steep = sp.Add(*(sp.Subs(slope, z, p) * sp.Subs(slope, z, q) for p, q in pairs)) / 2
    own = r1 * c**2 * (x[0] * y[0] + x[1] * y[1]) + q1 * cb**2
    weight = 2 * e**2 * s
    lines = (
        averaged(f * g) - (weight * both + eb**2 * beta),
        averaged(kernel.doit())
        - (2 * e**2 * r2 * both + q2 * eb**2 + backward * weight * steep * own),
    )
    left = [sp.expand(line.doit()) for line in lines]
    passed = all(line == 0 for line in left)
    return Evidence(passed, f"two units written out: {'residual 0' if passed else 'NOT 0'}")
