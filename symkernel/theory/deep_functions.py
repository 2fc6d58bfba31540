r"""Functions of deep modes as SymPy sees them: Wright's omega, the inverse of a flow time."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import mpmath
import sympy as sp
from sympy.core.function import ArgumentIndexError

from symkernel.theory.deep_integrals import Y, dying, falling, rising


class WrightOmega(sp.Function):
    r"""Wright's omega for real x: the solution of $\omega + \ln\omega = x$.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.theory.deep_functions import WrightOmega
    >>> x = sp.Symbol("x", real=True)
    >>> assert WrightOmega(x).diff(x) == WrightOmega(x) / (1 + WrightOmega(x))
    >>> assert abs(WrightOmega(sp.Integer(1)).evalf() - 1) < 1e-14
    """

    nargs = 1

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Return the derivative."""
        return self / (1 + self)

    def _eval_rewrite_as_LambertW(self, x: sp.Expr, **_: Any) -> sp.Expr:
        return sp.LambertW(sp.exp(x))

    def _eval_is_positive(self) -> bool | None:
        return self.args[0].is_real

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        x = self.args[0]._evalf(prec + 20)
        if not x.is_Float:
            return None
        with mpmath.workprec(prec + 20):
            # Exponents of mpmath have no end: nothing overflows.
            value = mpmath.lambertw(mpmath.exp(x._to_mpmath(prec + 20))).real
        return sp.Float._new(value._mpf_, prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"\omega{power}\left({printer._print(self.args[0])}\right)"


class ModeCurve(sp.Function):
    r"""The mode: $\dot u = D c^{2/D-1} u^{2-2/D}(\sigma - \delta u/c)$, $u(0) = u_0 \ge 0$.

    Known by its inverse, the flow time as a function of the mode; derivatives are exact, and
    numbers have any precision. Arguments: t, u0, sigma, delta, c, D.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.theory.deep_functions import ModeCurve
    >>> t = sp.Symbol("t", nonnegative=True)
    >>> u = ModeCurve(t, sp.Rational(1, 100), 2, 1, 1, 3)
    >>> assert u.subs(t, 0) == sp.Rational(1, 100)
    >>> assert abs(u.subs(t, 9).evalf(30) - 2) < 1e-12
    """

    nargs = 6

    @classmethod
    def eval(cls, *args: sp.Expr) -> sp.Expr | None:
        """Return the start at t = 0, and 0 for a mode that starts there."""
        t, start = args[:2]
        return start if t == 0 or start == 0 else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Return the derivative in time: the right-hand side of the equation."""
        if argindex != 1:
            raise ArgumentIndexError(self, argindex)
        _, _, sigma, delta, scale, depth = self.args
        power = sp.S(2) / depth
        return depth * scale ** (power - 1) * self ** (2 - power) * (sigma - delta * self / scale)

    def _eval_is_nonnegative(self) -> bool | None:
        return self.args[1].is_nonnegative

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        values = [arg._evalf(prec + 40) for arg in self.args]
        if not all(value.is_number for value in values):
            return None
        digits = int(prec / 3.3) + 3
        with mpmath.workprec(prec + 40):
            t, start, sigma, delta, scale = (v._to_mpmath(prec + 40) for v in values[:5])
            depth = int(self.args[5])
            layer, _ = curve_at(
                depth, sigma, delta, (start / scale) ** (mpmath.mpf(1) / depth), t, digits
            )
            return sp.Float._new((scale * layer**depth)._mpf_, prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"u{power}\left({printer._print(self.args[0])}\right)"

    def _sympystr(self, printer: Any) -> str:
        return f"u({printer._print(self.args[0])})"


@lru_cache(maxsize=32)
def _integrals(depth: int) -> tuple[Any, Any, Any]:
    """Return the derived integrals of the three branches for mpmath."""
    D = sp.Integer(depth)
    made = (sp.lambdify(Y, f(D), "mpmath") for f in (rising, falling, dying))
    return tuple(made)


def curve_at(
    depth: int, sigma: Any, delta: Any, layer: Any, t: Any, digits: int
) -> tuple[mpmath.mpf, mpmath.mpf]:
    r"""Return the amplitude and the drive $\sigma - \delta a^D$ at time t, depth >= 3, by mpmath.

    The derived flow time is inverted by Newton's method from the number of the compiled routine,
    in the angle in which neither a tiny mode nor a tiny residual loses digits. Where the routine
    were wrong, Newton's method would leave it. A drive below $10^{-\mathrm{digits}}$ of its largest
    value is 0.
    """
    near, drive = _compiled(depth, t, sigma, delta, layer)
    with mpmath.workdps(2 * digits + 20):
        t, A, B, w = (mpmath.mpf(v) for v in (t, sigma, delta, layer))
        start = A - B * w**depth
        if not t or not w or not start:
            return w, start
        if not A:
            power = 2 * depth - 2
            w /= (1 + power * B * w**power * t) ** (mpmath.mpf(1) / power)
            return w, -B * w**depth
        size, root = abs(A), mpmath.mpf(1) / depth
        branch = 2 if A < 0 else 0 if start > 0 else 1
        integral = _integrals(depth)[branch]
        first = integral((B / size) ** root * w)
        wanted = first + t * size * (size / B) ** (1 - 2 * root)
        least = mpmath.mpf(10) ** -digits
        if branch < 2 and abs(drive) < least * size:
            arrived = integral((1 + (-1, 1)[branch] * least) ** root) <= wanted
            return ((size / B) ** root, mpmath.mpf(0)) if arrived else (mpmath.nan, mpmath.nan)
        rest, x = mpmath.mpf(drive) / A, B * mpmath.mpf(near) ** depth / size
        angle = mpmath.log((x / rest, -rest, x)[branch])
        for _ in range(60):
            x, rest = _of_angle(branch, angle)
            slope = x ** (2 * root - 1) / depth / (1, -x, -(1 + x))[branch]
            step = (wanted - integral(x**root)) / slope
            if abs(step) < least * (1 + abs(angle)):
                break
            angle += step
        return (x * size / B) ** root, A * rest


def _of_angle(branch: int, angle: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
    """Return x and what is missing: 1 - x, 1 - x and 1 + x on the three branches."""
    grown = mpmath.exp(angle)
    if branch == 0:
        return grown / (1 + grown), 1 / (1 + grown)
    return (1 + grown, -grown) if branch == 1 else (grown, 1 + grown)


def _compiled(depth: int, *numbers: Any) -> tuple[float, float]:
    """Return amplitude and drive by the compiled routine, for one mode at one time."""
    import numpy as np

    from symkernel.theory.deep_routine import deep_routine

    found = deep_routine(depth)(*(np.array([float(v)]) for v in numbers))
    return float(found[0][0, 0]), float(found[1][0, 0])
