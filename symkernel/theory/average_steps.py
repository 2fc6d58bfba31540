"""Steps that the derivations of averages over two Gaussian variables have in common."""

from __future__ import annotations

import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Step
from symkernel.identities import vanishes

v1 = notation.symbol("var_x", "v", "variance of the pre-activation at x", positive=True)
v2 = notation.symbol("var_y", "{v'}", "variance of the pre-activation at x'", positive=True)
c = notation.symbol("cov_xy", "c", "covariance of the pre-activations at x and x'", real=True)
VARIANCES, COVARIANCE = (v1, v2), c
u = sp.Symbol("u_x", real=True)
v = sp.Symbol("u_y", real=True)
# The sine of the angle whose arcsine an average holds, and its cosine.
SINE = notation.symbol("s_arc", "s", "sine of an angle", real=True)
COSINE = notation.symbol("r_arc", "r", "cosine of that angle", nonnegative=True)
for _name, _tex in (("u_x", "u"), ("u_y", "{u'}")):
    notation.symbol(_name, _tex, "pre-activation", real=True)

DENSITY_EXPONENT = -(v2 * u**2 - 2 * c * u * v + v1 * v**2) / (2 * (v1 * v2 - c**2))


def price() -> Step:
    """Return the step that all derivations start with."""
    density = sp.Function("p")(u, v)
    line = sp.Eq(sp.Derivative(density, c), sp.Derivative(density, u, v))

    def check() -> Evidence:
        exponent, size = DENSITY_EXPONENT, v1 * v2 - c**2
        rate = sp.diff(exponent, c) - sp.diff(size, c) / (2 * size)
        bend = sp.diff(exponent, u) * sp.diff(exponent, v) + sp.diff(exponent, u, v)
        return residuals("Price's theorem on the density", rate - bend)

    return Step(
        "Price's theorem",
        "the density obeys this equation; integrated by parts, the derivative of an average in c "
        "is the average of the two slopes",
        (line,),
        check,
    )


def integral(name: str, whole: sp.Expr, rate: sp.Expr, start: sp.Expr, why: str) -> Step:
    """Return the step from an average of slopes to the average, starting at c = 0."""
    mark = {"value": "phi", "slope": "phi'"}[name]
    return Step(
        name,
        f"integrated in c from c = 0, where u and u' are independent ({why})",
        (equation(mark, whole),),
        lambda: residuals(
            f"derivative of the {name} in c, and its start at c = 0",
            joined(sp.diff(whole, c) - rate),
            joined(whole.xreplace({c: sp.S.Zero}) - start),
        ),
    )


def stable_form(
    sine: sp.Expr, plain: tuple[sp.Expr, sp.Expr], stable: tuple[sp.Expr, sp.Expr]
) -> Step:
    """Return the step to the form that is compiled."""
    angle = {c: SINE * sp.cancel(c / sine)}
    root = {COSINE: sp.sqrt(1 - SINE**2)}

    def check() -> Evidence:
        pairs = zip(plain, stable, strict=True)
        found = (
            joined(p.xreplace(angle)) - joined(q.xreplace(angle).xreplace(root)) for p, q in pairs
        )
        return residuals("the two forms", *found)

    lines = (sp.Eq(SINE, sine, evaluate=False), *map(equation, ("phi", "phi'"), stable))
    return Step(
        "compiled form",
        "the roots in sine and cosine of the angle: nothing cancels where x' is close to x",
        lines,
        check,
    )


def equation(mark: str, right: sp.Expr) -> sp.Eq:
    """Return an equation for an average of the activation, its slope or its curvature."""
    names = {"phi": "k", "phi'": "k'", "phi''": "k''", "exp": "E"}
    return sp.Eq(sp.Symbol(names[mark]), right, evaluate=False)


def residuals(what: str, *found: sp.Expr) -> Evidence:
    """Reduce expressions to 0, exactly."""
    left = [sp.expand_trig(r) for r in found]
    passed = all(vanishes(r) for r in left)
    return Evidence(passed, f"{what}: {'residual 0' if passed else 'NOT 0'}")


def joined(expression: sp.Expr) -> sp.Expr:
    """Write roots of fractions of positive numbers as fractions of roots, expanded inside."""

    def split(base: sp.Expr, power: sp.Expr) -> sp.Expr:
        top, bottom = (sp.factor(sp.expand(part)) for part in sp.fraction(sp.together(base)))
        return sp.sqrt(top) ** (2 * power) / sp.sqrt(bottom) ** (2 * power)

    return expression.replace(
        lambda e: e.is_Pow and e.exp.is_Rational and e.exp.q == 2,
        lambda e: split(e.base, e.exp),
    )


def tidy(expression: sp.Expr) -> sp.Expr:
    """Factor what stands under roots."""
    return expression.replace(
        lambda e: e.is_Pow and e.exp.is_Rational and e.exp.q == 2,
        lambda e: sp.factor(sp.expand(e.base)) ** e.exp,
    )
