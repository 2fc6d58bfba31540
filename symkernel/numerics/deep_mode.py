r"""One mode of a deep linear network through time: $\dot w = w^{D-1}(A - B w^D)$, $w \ge 0$.

With $x = B w^D/A$ and $b = 2/D$ the equation is $x' = x^{2-b}(1-x)$ in the clock
$\tau = D A (A/B)^{1-b} t$. Its integral is known, its inverse is not: $\tau$ is inverted by
Newton's method inside a bracket, in a logarithm in which neither a tiny $x$ nor a tiny $1-x$
loses digits. All sums below have terms of one sign.

$b = 0$ is the limit of infinite depth, in the clock $D t$; depths 1 and 2 have elementary inverses
and their own functions (the integral has a pole there).

This file stands alone: its text is put in front of generated modules.

References
----------
T. J. Dekker, Numerische Mathematik 18, 224 (1971): products in twice the precision.
P. W. Lawrence, R. M. Corless, D. J. Jeffrey, ACM Transactions on Mathematical Software 38, 20
(2012): the iteration for Wright's omega.
"""

from __future__ import annotations

import math

import numba

_EPS = 2.220446049250313e-16
# 2^27 + 1 splits a double into two halves whose products are exact.
_SPLITTER = 134217729.0
_SMALLEST = 1e-290
_STEPS = 200
# Which integral is inverted: x rises to 1, falls to 1, or falls to 0 (A < 0, with |A| for A).
_RISING, _FALLING, _DYING = 0, 1, 2

_scalar = numba.njit(error_model="numpy", nogil=True)


@_scalar
def _product(a, b):
    """Return a b as a rounded product and its rounding error."""
    p = a * b
    t = _SPLITTER * a
    a_high = t - (t - a)
    t = _SPLITTER * b
    b_high = t - (t - b)
    a_low, b_low = a - a_high, b - b_high
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


@_scalar
def _scaled(high, low, factor):
    """Return (high + low) x factor in twice the precision."""
    p, rest = _product(high, factor)
    rest += low * factor
    total = p + rest
    return total, rest - (total - p)


@_scalar
def _power(base, exponent):
    """Return base^exponent in twice the precision, for a whole exponent >= 0."""
    high, low = 1.0, 0.0
    for _ in range(exponent):
        high, low = _scaled(high, low, base)
    return high, low


@_scalar
def wright_omega(x):
    r"""Return Wright's omega for real x, the solution of $\omega + \ln\omega = x$.

    Within a relative 4e-15 of 40 digits on [-700, 1e300]; unlike Lambert's $W(e^x)$ it never
    overflows.
    """
    if not x > -40.0:
        return math.exp(x)
    if x > 1e17:
        return x - math.log(x)
    if x < -2.0:
        w = math.exp(x)
    elif x < 1.0:
        w = math.exp(2.0 * (x - 1.0) / 3.0)
    else:
        w = x - math.log(x) * (1.0 - 1.0 / x)
    for _ in range(3):
        r = (x - w) - math.log(w)
        above = w + 1.0
        c = 2.0 * above * (above + 2.0 * r / 3.0)
        w *= 1.0 + r / above * (c - r) / (c - 2.0 * r)
    return w


@_scalar
def _digamma_rise(b):
    r"""Return $\psi(1+b) - \psi(1)$ for $0 \le b \le 1$."""
    total = 0.0
    for k in range(1, 21):
        total += b / (k * (k + b))
    low, high = 1.0 / 21.0, 1.0 / (21.0 + b)
    total += math.log1p(b / 21.0) - (high - low) / 2.0
    low, high = low * low, high * high
    total -= (high - low) / 12.0
    total += (high**2 - low**2) / 120.0 - (high**3 - low**3) / 252.0 + (high**4 - low**4) / 240.0
    return total


@_scalar
def log_tail(x, rest, b):
    r"""Return $\Psi_b(x) = \sum_{k\ge1} x^k/(k+b)$ for $0 \le x < 1$, $0 \le b \le 1$.

    It is ${}_2F_1(1, b; 1+b; x)/b - 1/b$, at b = 0 it is $-\ln(1-x)$. `rest` is 1 - x, on which the
    logarithmic singularity hangs.
    """
    if x <= 0.5:
        power, total = x, x / (1.0 + b)
        for k in range(2, 60):
            power *= x
            total += power / (k + b)
        return total
    total = -math.log(rest) - _digamma_rise(b)
    harmonic = 1.0 - _digamma_rise(b)
    factor = b * rest
    for n in range(1, 60):
        total += factor * (harmonic - math.log(rest))
        factor *= rest * (n + b) / (n + 1.0)
        harmonic += 1.0 / (n + 1.0) - 1.0 / (n + b)
    return total


@_scalar
def alternating_tail(x, b):
    r"""Return $-\Psi_b(-x) = \sum_{k\ge1} (-1)^{k+1} x^k/(k+b)$ for $0 \le x \le 1$.

    Pfaff's transformation makes all terms positive.
    """
    m = x / (1.0 + x)
    term, total = m / (1.0 + b), 0.0
    for n in range(60):
        total += term
        term *= m * (n + 1.0) / (n + 2.0 + b)
    return total


@_scalar
def _power_rise(log_ratio, start, b):
    r"""Return $(x^b - x_0^b)/b$ from $\ln(x/x_0)$; a logarithm at b = 0."""
    if b == 0.0:
        return log_ratio
    return math.exp(b * start) * math.expm1(b * log_ratio) / b


@_scalar
def _log_of(branch, angle):
    r"""Return $\ln x$ from the angle: $\ln\frac{x}{1-x}$, $\ln(x-1)$ or $\ln x$."""
    if branch == _RISING:
        if angle > 0.0:
            return -math.log1p(math.exp(-angle))
        return angle - math.log1p(math.exp(angle))
    if branch == _FALLING:
        return math.log1p(math.exp(angle)) if angle < 40.0 else angle
    return angle


@_scalar
def _rest_of(branch, angle):
    """Return |1 - x| on the first two branches, 1 + x on the third, from the angle."""
    if branch == _RISING:
        return 1.0 / (1.0 + math.exp(angle))
    if branch == _FALLING:
        return math.exp(angle)
    return 1.0 + math.exp(angle)


@_scalar
def _join(b):
    """Return the constant that joins the two forms of the dying integral at x = 1."""
    return 1.0 / (1.0 - b) - alternating_tail(1.0, b) - alternating_tail(1.0, 1.0 - b)


@_scalar
def _remaining(branch, angle, b, start, offset):
    r"""Return what is left of the clock at an angle, and its derivative in it (negative).

    Rising, scaled by $(1-b)x_0^{1-b}$ and counted from where a power law would explode:
    $(x/x_0)^{b-1} - (1-b)x_0^{1-b}[\int_{x_0}^x v^{b-1}/(1-v)\,dv]$. Falling: $\int_x^\infty$ of
    $v^{b-2}/(v-1)$. Dying: $\int_x^\infty$ of $v^{b-2}/(1+v)$.

    `start` is $\ln x_0$; `offset` is $x_0^b\Psi_b(x_0)$, or the constant of `_join`.
    """
    log_x = _log_of(branch, angle)
    if branch == _RISING:
        ratio = math.exp((b - 1.0) * (log_x - start))
        x = math.exp(log_x)
        tail = math.exp(b * log_x) * log_tail(x, _rest_of(branch, angle), b)
        moved = _power_rise(log_x - start, start, b) + (tail - offset)
        return ratio - (1.0 - b) * math.exp((1.0 - b) * start) * moved, (b - 1.0) * ratio
    if branch == _FALLING:
        z = math.exp(-log_x)
        rest = 1.0 / (1.0 + math.exp(-angle))
        value = math.exp((b - 1.0) * log_x) * log_tail(z, rest, 1.0 - b)
        return value, -math.exp((b - 2.0) * log_x)
    x, slope = math.exp(log_x), -math.exp((b - 1.0) * log_x) / (1.0 + math.exp(log_x))
    if x >= 1.0:
        return math.exp((b - 1.0) * log_x) * alternating_tail(1.0 / x, 1.0 - b), slope
    value = math.exp((b - 1.0) * log_x) / (1.0 - b) + _power_rise(log_x, 0.0, b)
    return value - math.exp(b * log_x) * alternating_tail(x, b) - offset, slope


@_scalar
def _invert(branch, wanted, correction, low, high, angle, b, start, offset):
    """Return the angle in [low, high] at which `wanted + correction` remains.

    Newton's method on the logarithm where the curve is like a power, else on the curve itself; a
    step that leaves the bracket is replaced by bisection.
    """
    for _ in range(_STEPS):
        value, slope = _remaining(branch, angle, b, start, offset)
        error = (value - wanted) - correction
        if error > 0.0:
            low = angle
        else:
            high = angle
        step = -error / slope
        if wanted > 0.0 and 0.25 * value < -slope < 4.0 * value:
            step = -math.log1p(error / wanted) * value / slope
        moved = angle + step
        if not low <= moved <= high:
            moved = 0.5 * (low + high)
        done = abs(moved - angle) <= 2.0 * _EPS * max(1.0, abs(moved))
        angle = moved
        if done:
            break
    return angle


@_scalar
def _risen(angle, wanted, correction, b, start, offset):
    """Return the angle on the rising branch; it starts at `angle`."""
    middle = max(angle, 0.0)
    value, _ = _remaining(_RISING, middle, b, start, offset)
    if value > wanted:
        # Beyond x = 1/2 the clock runs at least as fast as the angle.
        least = (1.0 - b) * math.exp((1.0 - b) * start)
        high = middle + (value - wanted) / least
        return _invert(_RISING, wanted, correction, middle, high, middle, b, start, offset)
    guess = middle
    if wanted > 0.0:
        guess = max(angle, min(middle, start + math.log(wanted) / (b - 1.0)))
    return _invert(_RISING, wanted, correction, angle, middle, guess, b, start, offset)


@_scalar
def _fallen(angle, clock, b):
    """Return the angle on the falling branch after a time of the clock."""
    value, _ = _remaining(_FALLING, angle, b, 0.0, 0.0)
    wanted = value + clock
    middle = min(angle, 0.0)
    value, _ = _remaining(_FALLING, middle, b, 0.0, 0.0)
    if value < wanted:
        low = middle - 4.0 * (wanted - value)
        return _invert(_FALLING, wanted, 0.0, low, middle, middle, b, 0.0, 0.0)
    guess = math.log((2.0 - b) * wanted) / (b - 2.0)
    guess = min(max(guess, middle), angle)
    return _invert(_FALLING, wanted, 0.0, middle, angle, guess, b, 0.0, 0.0)


@_scalar
def _died(angle, clock, b):
    """Return the angle on the dying branch after a time of the clock."""
    join = _join(b)
    value, _ = _remaining(_DYING, angle, b, 0.0, join)
    wanted = value + clock
    # For x < 1 the integral is at least (x^(b-1) - 1)/(2 - 2b).
    low = min(angle, -math.log1p(2.0 * wanted) / (1.0 - b))
    return _invert(_DYING, wanted, 0.0, low, angle, angle, b, 0.0, join)


@_scalar
def _angle_of(branch, x, rest):
    """Return the angle of x; `rest` is 1 - x."""
    if branch == _RISING:
        return math.log(x) - math.log(rest)
    if branch == _FALLING:
        return math.log(-rest)
    return math.log(x)


@_scalar
def _log_ratio_and_rest(x, rest, sign, wanted, correction, clock, b):
    r"""Return $\ln x$ and $1 - \mathrm{sign}\,x$ after a time of the clock.

    `wanted + correction` is $1 - (1-b)x_0^{1-b}\tau$ in twice the precision: near the escape from
    a small start all digits of the plain difference would be lost.
    """
    if sign < 0.0:
        angle = _died(math.log(x), clock, b)
        return angle, _rest_of(_DYING, angle)
    branch = _RISING if rest > 0.0 else _FALLING
    angle = _angle_of(branch, x, rest)
    if branch == _FALLING:
        angle = _fallen(angle, clock, b)
        return _log_of(branch, angle), -_rest_of(branch, angle)
    if b == 0.0:
        # Infinite depth: the rest over x is Wright's omega.
        odds = wright_omega(wanted / x + correction / x - 1.0 - angle)
        return -math.log1p(odds), odds / (1.0 + odds)
    start = math.log(x)
    offset = math.exp(b * start) * log_tail(x, rest, b)
    angle = _risen(angle, wanted, correction, b, start, offset)
    return _log_of(branch, angle), _rest_of(branch, angle)


@_scalar
def _logistic(x, rest, sign, clock):
    """Return the same for two layers, where the clock has an elementary inverse."""
    gone, come = math.exp(-clock), -math.expm1(-clock)
    if sign < 0.0:
        left = 1.0 + x * come
        return math.log(x) - clock - math.log(left), rest / left
    # From above x the sum would cancel.
    left = x + rest * gone if rest > 0.0 else 1.0 - rest * come
    return math.log(x / left), rest * gone / left


@_scalar
def _one_layer(t, A, B, w):
    """Return the mode of a network without hidden layer, which may have any sign."""
    come = -math.expm1(-B * t)
    reached = A * (come / B) if B > 0.0 else A * t
    high, low = _product(B, w)
    return w * math.exp(-B * t) + reached, ((A - high) - low) * math.exp(-B * t)


@_scalar
def _without_target(t, A, B, w, exponent, count):
    """Return the power law of a mode with nothing to learn, A = 0 or far below B w^D."""
    grown = exponent * B * w**exponent * t
    w *= math.exp(-math.log1p(grown) / exponent)
    return w, A - B * w**count


@_scalar
def deep_mode(t, A, B, w, depth):
    r"""Return $w$ and the drive $A - B w^D$ at time t, from $w \ge 0$ at time 0.

    Both to full relative precision, also just before and after the escape from a tiny start and
    close to the target. A mode that starts at 0 stays there, save at depth 1, where w may have
    any sign.

    Parameters
    ----------
    t, A, B, w : float
        $t, B \ge 0$.
    depth : int
        0 stands for infinite depth: then w is the mode itself, $\dot w = w^2(A - B w)$.
    """
    if depth == 1:
        return _one_layer(t, A, B, w)
    count, inner, exponent = (depth, depth - 2, 2 * depth - 2) if depth > 0 else (1, 1, 2)
    b = 2.0 / depth if depth > 0 else 0.0
    high, low = _power(w, count)
    high, low = _scaled(high, low, B)
    drive, size = (A - high) - low, abs(A)
    if w == 0.0 or t == 0.0 or drive == 0.0:
        return w, drive
    if not high * _SMALLEST < size:
        return _without_target(t, A, B, w, exponent, count)
    x, sign = high / size, math.copysign(1.0, A)
    if depth == 2:
        log_x, rest = _logistic(x, drive / A, sign, 2.0 * size * t)
        return w * math.exp((log_x - math.log(x)) / 2.0), A * rest
    # 1 - (D-2) A w^(D-2) t in twice the precision.
    high, low = _power(w, inner)
    high, low = _scaled(high, low, A)
    high, low = _scaled(high, low, t)
    high, low = _scaled(high, low, float(inner))
    wanted = 1.0 - high
    shift = wanted - 1.0
    correction = ((1.0 - (wanted - shift)) - (high + shift)) - low
    if x < _SMALLEST and wanted > 0.0:
        return w * math.exp(-math.log(wanted) / inner), A
    clock = count * size * math.exp((1.0 - b) * math.log(size / B)) * t
    log_x, rest = _log_ratio_and_rest(x, drive / A, sign, wanted, correction, clock, b)
    return w * math.exp((log_x - math.log(x)) / count), A * rest


@_scalar
def deep_modes(times, A, B, w, depth, layer, drive):
    """Fill layer and drive, (n_modes, n_times), for every mode and time."""
    for k in range(A.size):
        for i in range(times.size):
            layer[k, i], drive[k, i] = deep_mode(times[i], A[k], B[k], w[k], depth)
