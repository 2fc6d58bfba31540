r"""Time in a race at many digits: $t = \int_0^\theta d\theta'/(s - d\,U(\theta'))$."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import mpmath
import sympy as sp
from mpmath.calculus.quadrature import GaussLegendre

# Gauss-Legendre rules of 12 and 24 nodes. Where they agree to this share, the second one has about
# twice as many digits.
_COARSE, _FINE, _AGREE = 3, 4, mpmath.mpf("1e-15")
# Panels are not halved below this share of the whole.
_SMALLEST = mpmath.mpf("1e-30")


@cache
def _nodes(degree: int, precision: int) -> Any:
    return GaussLegendre(mpmath.mp).calc_nodes(degree, precision)


def integral(function: Callable[[Any], Any], end: Any) -> Any:
    """Return the integral from 0 of a function of one sign, to about 30 digits.

    Panels are halved where singularities are near: beyond the end, where a race has its pole, and
    before the start, where a deep pathway that falls from far above has a branch point.
    """

    def panel(low: Any, high: Any, degree: int) -> Any:
        half, middle = (high - low) / 2, (high + low) / 2
        nodes = _nodes(degree, mpmath.mp.prec)
        return half * mpmath.fsum(w * function(middle + half * x) for x, w in nodes)

    total, open_panels = mpmath.mpf(0), [(mpmath.mpf(0), end)]
    while open_panels:
        low, high = open_panels.pop()
        fine = panel(low, high, _FINE)
        done = abs(fine - panel(low, high, _COARSE)) <= _AGREE * abs(fine)
        if done or abs(high - low) <= _SMALLEST * abs(end):
            total += fine
        else:
            middle = (low + high) / 2
            open_panels += [(low, middle), (middle, high)]
    return total


class RaceTime(sp.Function):
    r"""The flow time $\int_0^{\theta_q} d\theta/(s - d\,U(\theta))$ with $U(\theta_q) = q s/d$.

    Arguments: q, (s, d), and for each pathway $(u_{j0}, \rho_j, 2/D_j - 1)$. It is infinite where
    the race starts beyond the fraction, or never gets there.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.theory.race_time import RaceTime
    >>> alone = sp.Tuple(sp.Tuple(sp.Float(0.01), 2, 0))  # two layers, no contexts: the sigmoid
    >>> found = RaceTime(sp.Rational(1, 2), sp.Tuple(sp.Float(1), sp.Float(1)), alone)
    >>> assert abs(found - sp.log(99) / 2) < 1e-15
    """

    nargs = 3

    @classmethod
    def eval(cls, q: sp.Expr, target: sp.Tuple, runners: sp.Tuple) -> sp.Expr | None:
        """Return the time where q is a number."""
        if not q.is_number:
            return None
        s, d = target
        start = sum(float(u) for u, _, _ in runners)
        if not (s > 0 and d > 0 and 0 < start < float(q * s / d)):
            return sp.oo
        with mpmath.workdps(40):
            return sp.Float(_time_to(q, s, d, runners), 17)


def _time_to(q: sp.Expr, s: sp.Expr, d: sp.Expr, runners: sp.Tuple) -> Any:
    alive = [tuple(mpmath.mpf(sp.N(part, 40)) for part in row) for row in runners if row[0] > 0]
    strength, variance = mpmath.mpf(s), mpmath.mpf(d)
    wanted = mpmath.mpf(sp.N(q, 40)) * strength / variance

    def total(theta: Any) -> Any:
        return mpmath.fsum(
            u * mpmath.exp(rho * theta) if g == 0 else (u**g + g * rho * theta) ** (1 / g)
            for u, rho, g in alive
        )

    def clock(value: Any, u: Any, rho: Any, g: Any) -> Any:
        return mpmath.log(value / u) / rho if g == 0 else (value**g - u**g) / (g * rho)

    end = min(clock(wanted, *row) for row in alive)
    if len(alive) > 1:
        low = min(clock(wanted / len(alive), *row) for row in alive)
        end = mpmath.findroot(
            lambda theta: mpmath.log(total(theta) / wanted), (low, end), solver="anderson"
        )
    return integral(lambda theta: 1 / (strength - variance * total(theta)), end)
