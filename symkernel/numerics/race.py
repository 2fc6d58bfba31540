r"""Pathways that learn one mode together: the common clock, inverted by quadrature.

Pathway $j$ obeys $\dot u_j = \rho_j u_j^{1-g_j}\,(s - d\,U)$ with $U = \sum_j u_j$, $u_j \ge 0$ and
$g_j = 2/D_j - 1 \in (-1, 0]$. All are functions of one clock, $\dot\theta = s - d\,U$:
$u_j^{g_j} = u_{j0}^{g_j} + g_j \rho_j \theta$;
where $g_j = 0$, $\ln u_j = \ln u_{j0} + \rho_j\theta$.

With the final value $S = s/d$, time runs in
$z = \ln|U/(S - U)|$, $\dot z = s\sum_j \rho_j u_j^{1-g_j} / U$: nothing cancels near the end, and
the inverse speed is smooth for starts below and above it. At $s = 0$, $z = -\ln U$ instead.

This file stands alone: its text is put in front of generated modules.
"""

from __future__ import annotations

import math

import numba
import numpy as np

_jit = numba.njit(error_model="numpy")
# Width of a panel of z, far below the distance pi of the nearest singularity; starts far beyond the
# final value lie at small z, where U has a pole at 0, and a panel is this share of the distance.
_PANEL = 0.5
# A pathway that changes by its own size over a smaller share of z has less than eight digits left.
_NARROWEST = 1e-8
# Far more than all pathways have factors of e between the smallest number and the largest.
_PANELS = 100_000
# Beyond, U is the final value to the last digit, or 0.
_END, _NOTHING = 46.0, -690.0
# Twelve Gauss-Legendre nodes in (0, 1) and their weights.
_NODES = (np.polynomial.legendre.leggauss(12)[0] + 1.0) / 2.0
_WEIGHTS = np.polynomial.legendre.leggauss(12)[1] / 2.0


@_jit
def total(z, final, below):
    """Return U at z; `below` says whether U < S."""
    if final == 0.0:
        return math.exp(-z)
    if below:
        return final / (1.0 + math.exp(-z))
    return final / -math.expm1(-z)


@_jit
def runner(theta, start, rate, power):
    """Return u_j at a value of the clock."""
    if power == 0.0:
        return start * math.exp(rate * theta)
    return start * math.exp(math.log1p(power * rate * theta * start**-power) / power)


@_jit
def clock_of(value, start, rate, power):
    """Return the clock at which u_j has a value."""
    ratio = math.log(value / start)
    if power == 0.0:
        return ratio / rate
    return start**power * math.expm1(power * ratio) / (power * rate)


@_jit
def split(sum_, start, rate, power, u):
    """Write to `u` what the pathways have when they have `sum_` together.

    The clock is found by Newton's method between the bounds that each pathway alone gives; the part
    that its rounding moves most is what the others leave, so that the sum is exact.
    """
    count = start.size
    low, high, alive, last = 0.0, 0.0, 0, 0
    for j in range(count):
        u[j] = 0.0
        if start[j] > 0.0:
            top = clock_of(sum_, start[j], rate[j], power[j])
            high = top if alive == 0 else min(high, top)
            alive, last = alive + 1, j
    if alive == 0:
        return
    if alive == 1:
        u[last] = sum_
        return
    first = True
    for j in range(count):
        if start[j] > 0.0:
            bottom = clock_of(sum_ / alive, start[j], rate[j], power[j])
            low = bottom if first else min(low, bottom)
            first = False
    theta = high
    for _ in range(80):
        value, slope = 0.0, 0.0
        for j in range(count):
            if start[j] > 0.0:
                u[j] = runner(theta, start[j], rate[j], power[j])
                value += u[j]
                slope += rate[j] * u[j] ** (1.0 - power[j])
        if value > sum_:
            high = theta
        else:
            low = theta
        step = math.log(value / sum_) * value / slope
        there = theta - step
        if not low < there < high:
            there = 0.5 * (low + high)
        if abs(there - theta) <= 4e-16 * abs(theta):
            break
        theta = there
    worst, most = 0, 0.0
    for j in range(count):
        u[j] = runner(theta, start[j], rate[j], power[j]) if start[j] > 0.0 else 0.0
        moved = u[j] + abs(theta) * rate[j] * u[j] ** (1.0 - power[j])
        if moved > most:
            worst, most = j, moved
    rest = sum_
    for j in range(count):
        if j != worst:
            rest -= u[j]
    u[worst] = rest


@_jit
def haste(z, final, below, rate, power, u):
    """Return the largest |d ln u_j/dz|, (max_j rho_j u_j^-g_j) U |S - U| / (|S| dU/dtheta).

    A deep pathway may fall or rise by its own size while the sum hardly moves; near the end, where
    |S - U| is nothing, no pathway moves any more.
    """
    sum_, gain, fastest = 0.0, 0.0, 0.0
    for j in range(u.size):
        if u[j] > 0.0:
            own = rate[j] * u[j] ** -power[j]
            fastest = max(fastest, own)
            gain += own * u[j]
            sum_ += u[j]
    if gain == 0.0:
        return 0.0
    left = 1.0
    if final != 0.0:
        left = 1.0 / (1.0 + math.exp(z)) if below else 1.0 / abs(math.expm1(z))
    return fastest * sum_ / gain * left


@_jit
def speed(z, below, final, strength, start, rate, power, u):
    """Return dz/dt; `u` is written."""
    sum_ = total(z, final, below)
    split(sum_, start, rate, power, u)
    gain = 0.0
    for j in range(start.size):
        if u[j] > 0.0:
            gain += rate[j] * u[j] ** (1.0 - power[j])
    return gain if final == 0.0 else strength * gain / sum_


@_jit
def elapsed(begin, end, below, final, strength, start, rate, power, u):
    """Return the time from one z to another, less than a panel away."""
    span = end - begin
    time = 0.0
    for q in range(_NODES.size):
        z = begin + span * _NODES[q]
        time += _WEIGHTS[q] * span / speed(z, below, final, strength, start, rate, power, u)
    return time


@_jit
def race(times, strength, variance, start, rate, power, out):
    """Write the modes of all pathways at the times, which increase, to `out` (n_times, n_pathways).

    Return the number of panels, or -1 where z has too few digits for a pathway, or U for z.

    Parameters
    ----------
    strength, variance : float
        s of any sign and d > 0.
    start, rate, power : ndarray, shape (n_pathways,)
        Initial modes, not negative; rho_j > 0 and g_j.
    """
    sum_ = start.sum()
    final = strength / variance
    push = strength
    below = sum_ < final
    if sum_ == 0.0 or sum_ == final:
        for i in range(times.size):
            out[i] = start
        return 0
    if final == 0.0:
        # dz/dt = d * gain: the variance is the unit of time.
        push, z = 1.0, -math.log(sum_)
    else:
        # Far above the final value z is small, and needs all its digits.
        z = math.log(sum_ / (final - sum_)) if below else -math.log1p(-final / sum_)
    unit = variance if final == 0.0 else 1.0
    forward = 1.0 if final >= 0.0 else -1.0
    u = np.zeros(start.size)
    at = 0.0
    i, panels = 0, 0
    while i < times.size:
        if times[i] == 0.0:
            out[i] = start
            i += 1
            continue
        done = z > _END if final > 0.0 else (z < _NOTHING if final < 0.0 else z > -_NOTHING)
        if done:
            if final > 0.0:
                split(final, start, rate, power, u)
            else:
                u[:] = 0.0
            out[i] = u
            i += 1
            continue
        width = _PANEL if below or final == 0.0 else _PANEL * min(1.0, abs(z))
        split(total(z, final, below), start, rate, power, u)
        width = min(width, _PANEL / max(1.0, haste(z, final, below, rate, power, u)))
        if width < _NARROWEST * abs(z) or panels == _PANELS:
            return -1
        ahead = z + forward * width
        span = elapsed(z, ahead, below, final, push, start, rate, power, u) / unit
        if not math.isfinite(span):
            return -1
        if at + span < times[i]:
            z, at, panels = ahead, at + span, panels + 1
            continue
        # Inside the panel: Newton on the time, whose derivative is the inverse speed.
        goal = times[i] - at
        here = z + forward * width * goal / span
        for _ in range(40):
            found = elapsed(z, here, below, final, push, start, rate, power, u) / unit
            move = (goal - found) * unit * speed(here, below, final, push, start, rate, power, u)
            here += move
            if abs(move) <= 4e-16 * max(1.0, abs(here)):
                break
        split(total(here, final, below), start, rate, power, u)
        out[i] = u
        i += 1
    return panels
