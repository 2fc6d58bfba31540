"""The arcsine against 60-digit arithmetic, at its ends, and in loops."""

from __future__ import annotations

import math

import mpmath
import numba
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from symkernel.numerics.angles import arcsine

RNG = np.random.default_rng(1000)


def error_in_ulp(x):
    with mpmath.workdps(60):
        exact = mpmath.asin(mpmath.mpf(float(x)))
        unit = mpmath.mpf(float(np.spacing(abs(float(exact)))))
        return float(abs(mpmath.mpf(float(arcsine(x))) - exact) / unit)


def test_error_on_grids_and_near_the_ends():
    near = 10.0 ** RNG.uniform(-16, -1, 1500)
    points = [RNG.uniform(-1, 1, 3000), 1 - near, near - 1, np.linspace(0.49, 0.51, 1500)]
    assert max(error_in_ulp(x) for x in np.concatenate(points)) < 2.3
    sizes = 10.0 ** RNG.uniform(-300, 0, 1000)
    assert max(error_in_ulp(x) for x in sizes) < 2.3


@given(st.floats(-1, 1))
def test_it_is_odd_and_in_its_range(x):
    assert arcsine(-x) == -arcsine(x)
    assert abs(arcsine(x)) <= math.pi / 2


def test_ends_zeros_and_what_is_no_number():
    assert arcsine(1.0) == math.pi / 2
    assert arcsine(-1.0) == -math.pi / 2
    assert (arcsine(0.0), math.copysign(1, arcsine(-0.0))) == (0.0, -1.0)
    assert math.isnan(arcsine(math.nan))
    assert math.isnan(arcsine(1.5))


def test_loops_vectorise():
    @numba.njit(error_model="numpy")
    def fill(x, out):
        for i in range(x.size):
            out[i] = arcsine(x[i])

    x = RNG.uniform(-1, 1, 1001)
    out = np.empty_like(x)
    fill(x, out)
    np.testing.assert_array_equal(out, [arcsine(v) for v in x])
    assert "x double>" in next(iter(fill.inspect_llvm().values()))
