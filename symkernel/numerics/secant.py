r"""The slope of a secant, also where the difference of the values is lost in rounding."""

from __future__ import annotations

from symkernel.numerics.elementary import _scalar


@_scalar
def secant_slope(a, value, slope, a_old, value_old, slope_old):
    r"""Return $D$ with $D\,(a - a_0) = \phi(a) - \phi(a_0)$ up to the rounding of the values.

    The quotient; or $(\phi'(a) + \phi'(a_0))/2$ where the points are less than 1e-6 apart and both
    agree within the rounding of the values: the quotient has few correct digits there, and none at
    $a = a_0$, while the mean is off by $\phi'''(a - a_0)^2/12$. Where a kink lies between the
    points they do not agree, so that the quotient is taken however close the points are.
    """
    step = a - a_old
    rise = value - value_old
    mean = 0.5 * (slope + slope_old)
    lost = abs(rise - mean * step) <= 8.8e-16 * (abs(value) + abs(value_old))
    near = (abs(step) <= 1e-6) & lost
    return mean if near else rise / step
