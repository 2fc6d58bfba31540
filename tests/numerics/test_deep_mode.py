"""The inverse of the flow time of deep modes, against mpmath and SciPy."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.special import hyp2f1, lambertw, wrightomega

from symkernel.numerics import deep_mode as numerics
from symkernel.numerics.deep_mode import alternating_tail, deep_mode, log_tail, wright_omega

DEPTHS = (0, 3, 4, 5, 8, 20, 50)
RISING, FALLING, DYING = 0, 1, 2


def integral(branch: int, depth: int, x, rest):
    """Return the clock of u' = u^(2-b)(1 - u) from its own antiderivative, by mpmath."""
    b = mpmath.mpf(2) / depth if depth else mpmath.mpf(0)
    g = b - 1
    if branch == RISING:
        if depth == 0:
            return -1 / x + mpmath.log(x / rest)
        return x**g / g * mpmath.hyp2f1(1, g, 1 + g, x)
    sign = 1 if branch == FALLING else -1
    return x ** (g - 1) / (1 - g) * mpmath.hyp2f1(1, 1 - g, 2 - g, sign / x)


def errors(t, A, B, w, depth, layer, drive) -> tuple[float, float]:
    """Return the relative errors of mode and drive: the error in time over the slope of time."""
    with mpmath.workdps(60):
        t, A, B, w, layer, drive = (mpmath.mpf(float(v)) for v in (t, A, B, w, layer, drive))
        n, size = depth or 1, abs(A)
        b = mpmath.mpf(2) / depth if depth else mpmath.mpf(0)
        x0, found, rest = B * w**n / size, B * layer**n / size, abs(drive) / size
        branch = DYING if A < 0 else RISING if x0 < 1 else FALLING
        clock = n * size * (size / B) ** (1 - b) * t
        sign = -1 if branch == RISING else 1
        x = found if rest > 0.5 or branch == DYING else 1 + sign * rest
        beside = abs(1 + found - rest) / rest if branch == DYING else abs(found - x) / x
        gap = integral(branch, depth, x, rest) - integral(branch, depth, x0, abs(1 - x0)) - clock
        moved = abs(gap) * x ** (2 - b) * (1 + x if branch == DYING else rest)
        return float(max(moved / x, beside)), float(moved / rest)


@st.composite
def modes(draw):
    """Draw depth, drive, start and a time, half of them around the escape from a small start."""
    depth = draw(st.sampled_from(DEPTHS))
    power = st.floats(-8, 4)
    A, B = 10 ** draw(power), 10 ** draw(st.floats(-3, 3))
    # From depth 20 on the layers of a mode outside these ratios overflow.
    u = 10 ** draw(power) if depth <= 20 else A / B * 10 ** draw(st.floats(-12, 12))
    w = u ** (1 / (depth or 1))
    A = A if draw(st.integers(0, 3)) else -A
    inner = depth - 2 if depth else 1
    escape = w**-inner / (abs(A) * inner)
    near = 1 + draw(st.sampled_from([-1, 1])) * 10 ** draw(st.floats(-14, -0.01))
    time = draw(st.sampled_from([10 ** draw(power), escape * near, escape * 10 ** draw(power)]))
    return time, A, B, w, depth


@given(modes())
def test_mode_and_drive_against_sixty_digits(mode):
    """Full relative precision: neither a tiny mode nor a tiny residual loses digits."""
    t, A, B, w, depth = mode
    layer, drive = deep_mode(t, A, B, w, depth)
    assume(abs(drive) > 1e-40 * abs(A))
    assert max(errors(t, A, B, w, depth, layer, drive)) < 1e-12


def test_trap_10_the_naive_inverse_loses_all_digits_at_the_escape():
    """Near the escape the plain difference of two large numbers has no digit left."""
    depth, A, w = 8, 1.0, 1e-2
    t = w ** (2 - depth) / (depth - 2) * (1 - 1e-13)
    naive = (w ** (2 - depth) - (depth - 2) * A * t) ** (1 / (2 - depth))
    layer, drive = deep_mode(t, A, 1.0, w, depth)
    assert max(errors(t, A, 1.0, w, depth, layer, drive)) < 1e-12
    assert abs(naive / layer - 1) > 1e-4


def test_trap_10_logarithmic_singularity():
    """A bracket that ends at s(1 - 1e-13) cannot see the last digits of a learned mode."""
    for depth in DEPTHS:
        t, w = 40.0 / (depth or 1), 0.9 ** (1 / (depth or 1))
        layer, drive = deep_mode(t, 1.0, 1.0, w, depth)
        assert 0 < drive < 1e-13  # beyond the naive bracket
        assert max(errors(t, 1.0, 1.0, w, depth, layer, drive)) < 1e-12
    assert math.isinf(hyp2f1(1, 0.5, 1.5, 1.0))


def test_trap_10_start_above_the_final_value():
    """For u > s the series of the rising branch has no value; the other branch has."""
    for depth in (3, 8):
        layer, drive = deep_mode(0.3, 2.0, 1.0, 1.9, depth)
        assert 2.0 ** (1 / depth) < layer < 1.9
        assert drive < 0
        assert max(errors(0.3, 2.0, 1.0, 1.9, depth, layer, drive)) < 1e-12
        with mpmath.workdps(20):
            assert integral(RISING, depth, mpmath.mpf(3), None).imag != 0


def test_trap_10_poles_of_the_integral_at_two_layers_and_at_infinite_depth():
    """At depth 2, g = 0, and at infinity, g = -1, the antiderivative divides by 0."""
    for g in (0.0, -1.0):
        assert not np.isfinite(hyp2f1(1, g, 1 + g, 0.5) / g if g else np.inf)
    layer, _ = deep_mode(1.5, 1.0, 1.0, 0.1, 2)
    assert layer**2 == pytest.approx(1 / (1 + 99 * math.exp(-3.0)), rel=1e-14)
    t, z0 = 12.0, 9.0
    mode, _ = deep_mode(t, 1.0, 1.0, 0.1, 0)
    assert mode == pytest.approx(1 / (1 + wrightomega(z0 + math.log(z0) - t).real), rel=1e-14)


def test_trap_10_lambert_overflows_where_omega_does_not():
    """u0 = 1e-8: the argument of Lambert's function is e^(1e8)."""
    start = 1e-8
    x = 1 / start - 1 + math.log(1 / start - 1)
    with np.errstate(over="ignore", invalid="ignore"):
        assert not np.isfinite(1 / (1 + lambertw(np.exp(x)).real)) or lambertw(np.exp(x)) == np.inf
    mode, _ = deep_mode(1.0, 1.0, 1.0, start, 0)
    assert mode == pytest.approx(start, rel=1e-7)


def test_trap_6_a_target_of_the_other_sign_is_a_branch_of_its_own():
    """The rising formula with s < 0 grows; the mode falls to the saddle at 0, positive."""
    for depth in (2, 3, 6):
        t, w = 1.5, 0.7
        layer, drive = deep_mode(t, -1.0, 1.0, w, depth)
        solved = solve_ivp(
            lambda _, y, n=depth: y ** (n - 1) * (-1 - y**n), (0, t), [w], rtol=1e-12, atol=1e-14
        )
        assert 0 < layer == pytest.approx(solved.y[0, -1], rel=1e-9)
        assert drive == pytest.approx(-1 - layer**depth, rel=1e-14)
        if depth > 2:
            assert max(errors(t, -1.0, 1.0, w, depth, layer, drive)) < 1e-12


@pytest.mark.parametrize("depth", [1, 2, 3, 7, 0])
def test_what_stands_still(depth):
    assert deep_mode(0.0, 2.0, 1.0, 0.3, depth)[0] == 0.3
    if depth != 1:
        assert deep_mode(1e6, 2.0, 1.0, 0.0, depth) == (0.0, 2.0)
    assert deep_mode(5.0, 1.0, 1.0, 1.0, depth) == (1.0, 0.0)


@pytest.mark.parametrize("depth", [2, 3, 5, 0])
def test_nothing_to_learn_is_a_power_law(depth):
    power = 2 * depth - 2 if depth else 2
    wanted = 0.8 * (1 + power * 3.0 * 0.8**power * 2.0) ** (-1 / power)
    assert deep_mode(2.0, 0.0, 3.0, 0.8, depth)[0] == pytest.approx(wanted, rel=1e-14)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 6, 0])
@pytest.mark.parametrize(("A", "w"), [(1.5, 0.2), (1.5, 1.7), (-0.5, 0.9), (0.0, 0.9)])
def test_against_an_integrator(depth, A, w):
    n = depth or 1
    power = depth - 1 if depth else 2
    solved = solve_ivp(
        lambda _, y: y**power * (A - 0.8 * y**n), (0, 2.0), [w], "DOP853", rtol=1e-12, atol=1e-14
    )
    assert deep_mode(2.0, A, 0.8, w, depth)[0] == pytest.approx(solved.y[0, -1], rel=1e-9)


@given(st.one_of(st.floats(-700, 700), st.floats(700, 1e300)))
def test_wright_omega(x):
    value = wright_omega(x)
    assert value == pytest.approx(wrightomega(x).real, rel=4e-15)
    with mpmath.workdps(40):
        v = mpmath.mpf(value)
        assert abs((v + mpmath.log(v) - mpmath.mpf(x)) / (1 + v)) < 8e-15


@given(st.floats(0, 1), st.one_of(st.floats(0, 0.999), st.floats(-15, -1).map(lambda e: 1 - 10**e)))
def test_tails_are_hypergeometric_functions(b, x):
    with mpmath.workdps(40):
        b, x = mpmath.mpf(b), mpmath.mpf(x)
        exact = x / (1 + b) * mpmath.hyp2f1(1, 1 + b, 2 + b, x)
        other = x / (1 + b) * mpmath.hyp2f1(1, 1 + b, 2 + b, -x)
    b, x = float(b), float(x)
    assert log_tail(x, 1 - x, b) == pytest.approx(float(exact), rel=4e-15, abs=1e-300)
    assert alternating_tail(x, b) == pytest.approx(float(other), rel=4e-15, abs=1e-300)


@pytest.mark.parametrize("name", ["_invert", "deep_mode"])
def test_bodies_run_interpreted_too(name):
    assert callable(getattr(numerics, name).py_func)
