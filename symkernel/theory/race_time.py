r"""Time in a race at many digits: $t = \int_0^\theta d\theta'/(s - d\,U(\theta'))$."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import mpmath
import sympy as sp
from mpmath.calculus.quadrature import GaussLegendre

# Panels shrink by this factor towards the end, beyond which the integrand has a pole, down to this
# share of the whole.
_SHRINK, _SMALLEST = 0.6, 1e-22
# 24 nodes a panel: 37 digits where the pole is a panel's length away.
_DEGREE = 4


@cache
def _nodes(precision: int) -> Any:
    return GaussLegendre(mpmath.mp).calc_nodes(_DEGREE, precision)


def integral(function: Callable[[Any], Any], end: Any, beyond: Any = 0) -> Any:
    """Return the integral from 0 of a function with a pole beyond the end.

    Parameters
    ----------
    beyond : number
        A distance from the end within which there is no pole.
    """
    nodes = _nodes(mpmath.mp.prec)
    total, begin, left = mpmath.mpf(0), mpmath.mpf(0), mpmath.mpf(1)
    last = max(_SMALLEST, abs(beyond / end)) if end else 1
    while left > 0:
        left = left * _SHRINK if left > last else mpmath.mpf(0)
        stop = end * (1 - left)
        half, middle = (stop - begin) / 2, (stop + begin) / 2
        total += half * mpmath.fsum(w * function(middle + half * x) for x, w in nodes)
        begin = stop
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
