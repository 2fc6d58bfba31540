r"""Information between a class and a Gaussian that it moves, as one-dimensional integrals.

Two classes, $h = my + u$ with $y = \pm 1$ and standard normal u: the posterior is logistic in h, so
that Shannon's information is what a logistic decoder uses, and

$$J(m) = 1 - \langle\log_2(1 + e^{-2m^2 - 2mu})\rangle.$$

K classes, $h = m e_c + u$ with K independent $u$: the posterior is a softmax, and with
$\varphi(t) = \langle\exp(-t e^{mg})\rangle$ the K-dimensional average is an integral over t,

$$I_K(m) = \log_2 K - \frac1{\ln 2}\Big[\int_0^\infty \frac{dt}t
  \big(e^{-t} - \varphi(t e^{m^2}) \varphi(t)^{K-1}\big) - m^2\Big].$$
"""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.errors import InvalidArgument, as_count, as_real_array
from symkernel.numerics.class_information import binary_bits, categorical_bits
from symkernel.problem.scalars import as_sympy

__all__ = ["BinaryInformation", "CategoricalInformation", "binary", "categorical"]

U = notation.symbol("u_noise", "u", "standard normal noise that is averaged over", real=True)
CLOCK = notation.symbol("t_laplace", "t", "variable of a Laplace transform", positive=True)
DISTANCE = notation.symbol(
    "m_class", "m", "distance of a class's mean, in standard deviations of the noise", positive=True
)
DENSITY = sp.exp(-(U**2) / 2) / sp.sqrt(2 * sp.pi)
# The Laplace transform of a log-normal variable, in formulas.
TRANSFORM = sp.Function("varphi")


def averaged(expression: sp.Expr) -> sp.Expr:
    """Return the mean over the standard normal noise, as an integral that is not done."""
    return sp.Integral(DENSITY * expression, (U, -sp.oo, sp.oo))


class BinaryInformation(sp.Function):
    r"""$J(m)$, the bits that $h = my + u$ holds about $y = \pm 1$.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.theory.information_classes import BinaryInformation
    >>> m = sp.Symbol("m", positive=True)
    >>> assert BinaryInformation(0) == 0 and BinaryInformation(-m) == BinaryInformation(m)
    >>> assert abs(BinaryInformation(1).evalf(30) - sp.Float("0.48594415413293532", 30)) < 1e-17
    """

    nargs = 1

    @classmethod
    def eval(cls, m: sp.Expr) -> sp.Expr | None:
        """Return the ends, and the same for both signs."""
        if m.is_zero:
            return sp.S.Zero
        if m is sp.oo:
            return sp.S.One
        return cls(-m) if m.could_extract_minus_sign() else None

    def definition(self) -> sp.Expr:
        """Return the mathematics."""
        m = self.args[0]
        lost = averaged(sp.log(1 + sp.exp(-2 * m**2 - 2 * m * U)))
        return 1 - lost / sp.log(2)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Return the derivative, what a squared error of an estimate of y leaves."""
        m = self.args[0]
        return m * (1 - averaged(sp.tanh(m**2 + m * U))) / sp.log(2)

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        m = self.args[0]._evalf(prec + 20)
        if not m.is_Float:
            return None
        with mpmath.workprec(prec + 20):
            value = _binary_at(m._to_mpmath(prec + 20), prec + 20)
        return sp.Float._new(value._mpf_, prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"J{power}\left({printer._print(self.args[0])}\right)"

    def _sympystr(self, printer: Any) -> str:
        return f"J({printer._print(self.args[0])})"


class CategoricalInformation(sp.Function):
    r"""$I_K(m)$, the bits that $h = m e_c + u$ holds about one of K classes. Arguments: K, m.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.theory.information_classes import BinaryInformation, CategoricalInformation
    >>> m = sp.Symbol("m", positive=True)
    >>> assert CategoricalInformation(2, sp.sqrt(2) * m) == BinaryInformation(m)
    >>> assert abs(CategoricalInformation(4, 1).evalf() - 0.476035427904088) < 1e-14
    """

    nargs = 2

    @classmethod
    def eval(cls, K: sp.Expr, m: sp.Expr) -> sp.Expr | None:
        """Return the ends, and J for two classes."""
        if m.is_zero or K == 1:
            return sp.S.Zero
        if m is sp.oo:
            return sp.log(K) / sp.log(2)
        return BinaryInformation(m / sp.sqrt(2)) if K == 2 else None

    def definition(self) -> sp.Expr:
        """Return the mathematics, with `TRANSFORM` for the average over one unit."""
        K, m = self.args
        product = TRANSFORM(CLOCK * sp.exp(m**2)) * TRANSFORM(CLOCK) ** (K - 1)
        whole = sp.Integral((sp.exp(-CLOCK) - product) / CLOCK, (CLOCK, 0, sp.oo))
        return sp.log(K) / sp.log(2) - (whole - m**2) / sp.log(2)

    def transform(self) -> sp.Expr:
        """Return what `TRANSFORM` is at t."""
        return averaged(sp.exp(-CLOCK * sp.exp(self.args[1] * U)))

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        K, m = (arg._evalf(prec + 20) for arg in self.args)
        if not (K.is_Float and m.is_Float):
            return None
        with mpmath.workprec(prec + 20):
            value = _categorical_at(int(self.args[0]), abs(m._to_mpmath(prec + 20)), prec + 20)
        return sp.Float._new(value._mpf_, prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        power = "" if exp is None else f"^{{{exp}}}"
        K, m = map(printer._print, self.args)
        return rf"I_{{{K}}}{power}\left({m}\right)"

    def _sympystr(self, printer: Any) -> str:
        return f"I({', '.join(map(printer._print, self.args))})"


def binary(m: Any) -> Any:
    r"""Return the information about one of two equally likely classes, in bits.

    Parameters
    ----------
    m : float, array_like or sympy.Expr
        Half the distance between the means of the classes, in standard deviations of the noise.

    Returns
    -------
    float, ndarray or sympy.Expr
        $J(m)$, with an absolute error below 1e-14; of an expression a `BinaryInformation`, which
        differentiates, prints, and evaluates to any precision.

    Examples
    --------
    >>> import symkernel as sk
    >>> assert abs(sk.information.binary(1.5) - 0.759979) < 1e-6
    """
    if isinstance(m, sp.Basic):
        return BinaryInformation(m)
    return _each(binary_bits, m)


def categorical(K: Any, m: Any) -> Any:
    r"""Return the information about one of K equally likely classes, in bits.

    Parameters
    ----------
    K : int or sympy.Expr
        Number of classes, 2 or more; each has a unit of its own that it moves.
    m : float, array_like or sympy.Expr
        By how much, in standard deviations of the units' noise.

    Returns
    -------
    float, ndarray or sympy.Expr
        $I_K(m)$, with an absolute error below 1e-12; a `CategoricalInformation` if one of the
        arguments is an expression.

    Examples
    --------
    >>> import symkernel as sk
    >>> assert abs(sk.information.categorical(10, 2.0) - 1.9334005) < 1e-7
    """
    if isinstance(K, sp.Basic) or isinstance(m, sp.Basic):
        return CategoricalInformation(as_sympy(K), as_sympy(m))
    count = as_count(K, "K", 2)
    return _each(lambda value: categorical_bits(count, value), m)


def _each(bits: Any, m: Any) -> Any:
    axes = depth(m, 1)
    values = as_real_array(m if axes else [m], "m", max(axes, 1))
    if values.min() < 0:
        raise InvalidArgument(
            f"Argument 'm' must not be negative, but holds {values.min():g}; it is a distance."
        )
    found = np.array([bits(value) for value in values.ravel()]).reshape(values.shape)
    return found if axes else float(found[0])


def depth(value: Any, ragged: int) -> int:
    """Return the number of axes, or another one for nested sequences of unequal length."""
    try:
        return np.ndim(value)
    except ValueError:
        return ragged


def _binary_at(m: mpmath.mpf, precision: int) -> mpmath.mpf:
    """Return J by the sum that the routine takes, at any precision."""
    nats = precision * mpmath.log(2) + 5
    step = min(mpmath.pi**2 / (m * nats), mpmath.pi * mpmath.sqrt(2 / nats))
    count = int(mpmath.sqrt(2 * nats) / step) + 1
    points = [step * k for k in range(-count, count + 1)]
    lost = mpmath.fsum(mpmath.npdf(u) * mpmath.log1p(mpmath.exp(-2 * m * (m + u))) for u in points)
    return 1 - step * lost / mpmath.log(2)


def _categorical_at(K: int, m: mpmath.mpf, precision: int) -> mpmath.mpf:
    """Return the information about K classes by the sums that the routine takes."""
    nats = precision * mpmath.log(2) + 5
    step = min(mpmath.pi**2 / nats, mpmath.pi * m * mpmath.sqrt(2 / nats))
    reach = int(m * mpmath.sqrt(2 * nats) / step) + 1
    shift = int(m**2 / step)
    low = -int((1.5 * m**2 + mpmath.log(K) + nats) / step)
    high = reach + int(mpmath.log(nats) / step) + 1
    span = range(low - reach, high + reach + shift + 1)
    alive = {k: mpmath.exp(-mpmath.exp(step * k)) for k in span}

    def transform(v: int, shifted: bool) -> mpmath.mpf:
        mean = shift if shifted else 0
        return mpmath.fsum(
            weights[shifted][k] * alive[v + mean + k] for k in range(-reach, reach + 1)
        )

    weights = []
    for offset in (mpmath.mpf(0), m**2 - step * shift):
        around = range(-reach, reach + 1)
        sizes = {k: mpmath.exp(-(((step * k - offset) / m) ** 2) / 2) for k in around}
        total = mpmath.fsum(sizes.values())
        weights.append({k: size / total for k, size in sizes.items()})
    mean = step * mpmath.fsum(
        mpmath.exp(-mpmath.exp(step * v)) - transform(v, True) * transform(v, False) ** (K - 1)
        for v in range(low, high)
    )
    return (mpmath.log(K) + m**2 - mean) / mpmath.log(2)
