r"""Averages of polynomials, exponentials, sines and cosines from the characteristic function."""

from __future__ import annotations

from functools import cache

import sympy as sp

from symkernel.formula import Step
from symkernel.problem.activation import ARGUMENT as z
from symkernel.theory.average_steps import (
    DENSITY_EXPONENT,
    c,
    equation,
    integral,
    price,
    residuals,
    u,
    v,
    v1,
    v2,
)

_TOP_DEGREE = 12
_L, _M = sp.symbols("lambda mu")

Terms = dict[tuple[int, sp.Expr], sp.Expr]


def exponential_averages(
    expression: sp.Expr,
) -> tuple[str, sp.Expr, sp.Expr, tuple[Step, ...]] | None:
    r"""Derive the averages of sums of $z^m e^{\lambda z}$, $\lambda$ real or complex.

    Returns family, value, slope and steps, or None for any other expression.
    """
    terms = _exponential_terms(expression)
    if terms is None:
        return None
    value = _from_characteristic(terms)
    slope = _from_characteristic(_slopes(terms))
    w, k = sp.Matrix([u, v]), sp.Matrix([_L, _M])
    covariances = sp.Matrix([[v1, c], [c, v2]])
    shifted = w - covariances * k
    steps = (
        price(),
        Step(
            "exponentials",
            "the average of exp(lambda u + mu u') by completing the square; powers of u and u' by "
            "differentiation in lambda and mu",
            (equation("exp", sp.exp((k.T * covariances * k)[0] / 2)),),
            lambda: residuals(
                "completed square",
                DENSITY_EXPONENT
                + (k.T * w)[0]
                + (shifted.T * covariances.inv() * shifted)[0] / 2
                - (k.T * covariances * k)[0] / 2,
            ),
        ),
        integral(
            "value",
            value,
            slope,
            sp.expand(_mean(terms, v1) * _mean(terms, v2)),
            "means of phi(u) and phi(u')",
        ),
    )
    family = "polynomial" if all(rate == 0 for _, rate in terms) else "exponential polynomial"
    return family, value, slope, steps


def _exponential_terms(expression: sp.Expr) -> Terms | None:
    r"""Return coefficients by power and exponent, None where there is anything else."""
    if expression.has(sp.tanh, sp.tan, sp.coth, sp.cot):
        return None
    written = sp.expand(expression.rewrite(sp.exp)).expand(power_exp=False)
    terms: Terms = {}
    for term in sp.Add.make_args(sp.powsimp(sp.expand(written), deep=False)):
        coefficient, rest = term.as_independent(z, as_Add=False)
        rate, power = sp.S.Zero, sp.S.One
        for factor in sp.Mul.make_args(rest):
            if isinstance(factor, sp.exp):
                rate += factor.args[0]
            else:
                power *= factor
        slope = sp.cancel(rate / z)
        degree = sp.degree(power, z) if power.is_polynomial(z) and power != 1 else 0
        if slope.free_symbols or power != z**degree or degree > _TOP_DEGREE:
            return None
        key = int(degree), sp.expand(slope)
        terms[key] = terms.get(key, sp.S.Zero) + coefficient
    return terms


def _slopes(terms: Terms) -> Terms:
    found: Terms = {}
    for (power, rate), coefficient in terms.items():
        found[power, rate] = found.get((power, rate), sp.S.Zero) + rate * coefficient
        if power:
            key = power - 1, rate
            found[key] = found.get(key, sp.S.Zero) + power * coefficient
    return {key: coefficient for key, coefficient in found.items() if coefficient != 0}


def _from_characteristic(terms: Terms) -> sp.Expr:
    """Sum the moments of all pairs of terms; the imaginary parts cancel."""
    total: dict[sp.Expr, sp.Expr] = {}
    for (m, left), p in terms.items():
        for (n, right), q in terms.items():
            exponent = sp.expand((left**2 * v1 + 2 * left * right * c + right**2 * v2) / 2)
            moment = _moment(m, n).xreplace({_L: left, _M: right})
            size, angle = exponent.as_real_imag()
            real, imaginary = sp.expand(p * q * moment).as_real_imag()
            part = sp.expand(real) * sp.cos(angle) - sp.expand(imaginary) * sp.sin(angle)
            total[size] = total.get(size, sp.S.Zero) + part
    return sp.Add(*(sp.expand(part) * sp.exp(size) for size, part in total.items()))


@cache
def _moment(m: int, n: int) -> sp.Expr:
    """Differentiate the characteristic function, and divide by it."""
    if m == n == 0:
        return sp.S.One
    symbol, inner = (_L, _L * v1 + _M * c) if m else (_M, _L * c + _M * v2)
    less = _moment(m - 1, n) if m else _moment(m, n - 1)
    return sp.expand(sp.diff(less, symbol) + less * inner)


def _mean(terms: Terms, variance: sp.Symbol) -> sp.Expr:
    """Return the mean of one factor: the average with the constant 1."""
    total = sp.S.Zero
    for (m, rate), p in terms.items():
        moment = _moment(m, 0).xreplace({_L: rate, _M: sp.S.Zero})
        total += p * moment * sp.exp(rate**2 * v1 / 2)
    real = sp.expand(sp.expand(total, complex=True).as_real_imag()[0])
    return real.xreplace({v1: variance})
