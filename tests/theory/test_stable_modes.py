"""The compiled mode law against 220 digits of Saxe's form, over extreme strengths and times.

Bounds are relative to the value itself where all terms have one sign (a0 b0 >= 0, s >= 0), else to
the largest value along the curve.
"""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from symkernel import Network, SquaredError
from symkernel.theory.gradient_flow import GradientFlow
from symkernel.theory.mode_flow import ModeFlow
from symkernel.theory.stable_modes import (
    amplitude_routine,
    lower_modes,
    side_routine,
    stable_form,
)
from tests.oracles import mode_mpmath

BOUND = 1e-12
S, D = sp.Symbol("s", positive=True), sp.Symbol("d", positive=True)


def plain_modes() -> ModeFlow:
    """Return the mode flow of the house's conventions, written by hand: sigma = s, delta = d."""
    from symkernel import notation

    system = GradientFlow(Network.two_layer(2, 2, 2), SquaredError())
    return ModeFlow(system, "W1", "W2", sp.S.One, notation.s, notation.d)


AMPLITUDES = amplitude_routine(plain_modes())
SIDES = side_routine(plain_modes())


def magnitudes(low: float, high: float) -> st.SearchStrategy:
    """Floats between two powers of ten, evenly in the exponent, with all bits drawn."""
    exponents = st.floats(low, high, allow_nan=False)
    return st.builds(lambda e: float(10.0**e), exponents)


@st.composite
def curves(draw):
    """Draw (s, d, a0, b0, times), often on a singular place or next to it."""
    a = draw(magnitudes(-8, 4))
    b = draw(
        st.one_of(
            magnitudes(-8, 4),
            st.just(a),
            st.builds(lambda e, q: a * (1 + q * 10.0**-e), st.integers(1, 16),
                      st.sampled_from([-1.0, 1.0])),
            st.just(float(np.nextafter(a, 1e9))),
            st.just(0.0),
        )
    )  # fmt: skip
    a, b = draw(st.sampled_from([(a, b), (b, a)]))
    a, b = a * draw(st.sampled_from([-1, 1])), b * draw(st.sampled_from([-1, 1]))
    d = draw(st.one_of(st.just(1.0), magnitudes(-3, 3)))
    s = draw(st.one_of(magnitudes(-8, 4), st.just(0.0), st.just(d * abs(a * b))))
    s = s * draw(st.sampled_from([1, 1, 1, -1]))
    times = sorted({0.0, *draw(st.lists(magnitudes(-8, 8), min_size=1, max_size=5))})
    return s, d, a, b, times


EDGES = [
    (2.0, 1.0, 0.3, -0.3, [0.0, 1.0, 1e2, 1e8]),  # on the saddle's stable side
    (2.0, 1.0, 0.3, float(np.nextafter(-0.3, 0)), [0.0, 1.0, 12.0, 18.0, 25.0, 1e8]),
    (0.0, 1.0, 0.5, 0.5, [0.0, 1e-8, 1.0, 1e8]),  # R = 0
    (0.0, 1.0, 0.5, -0.5, [0.0, 1e-8, 1.0, 1e8]),
    (0.0, 1.0, 0.5, 0.0, [0.0, 1e-8, 1.0, 1e8]),
    (1e-8, 1e-3, 1e-8, 1e-8, [0.0, 1e-8, 1e8]),
    (1e4, 1e3, 1e4, -1e4, [0.0, 1e-8, 1e-4, 1e8]),
    (1e4, 1e3, 1e4, 1e-8, [0.0, 1e-8, 1e-4, 1e8]),
    (1e-8, 1e3, 1e4, 1e-8, [0.0, 1e-8, 1e-4, 1e8]),
    (6.0, 1.0, 2.0, 3.0, [0.0, 1.0, 1e8]),  # starts at its final value
    (6.0, 1.0, 2.0, float(np.nextafter(3.0, 4)), [0.0, 1e-8, 1.0, 1e8]),
    (-2.0, 0.7, 0.3, 0.3, [0.0, 1.0, 1e2, 1e8]),
    (-2.0, 0.7, 0.3, -0.1, [0.0, 1.0, 1e2, 1e8]),
    (3.0, 1.0, 0.0, 0.0, [0.0, 1.0, 10.0]),
]


def reference(curve):
    s, d, a, b, times = curve
    return [mode_mpmath.exact(s, d, a, b, t) for t in times]


def columns(routine, curve):
    s, d, a, b, times = curve
    return {k: v[:, 0] for k, v in routine(times, [s], [d], [a], [b]).items()}


def overlap_error(curve) -> float:
    """Return the largest error of the overlap in units of what the bound is relative to."""
    s, d, a, b, times = curve
    found, exact = columns(AMPLITUDES, curve)["overlap"], reference(curve)
    one_sign = (a * b >= 0 and s >= 0) or (a * b <= 0 and s <= 0)
    largest = max(abs(p.overlap) for p in exact)
    worst = mpmath.mpf(0)
    for value, point in zip(found, exact, strict=True):
        scale = abs(point.overlap) if one_sign else largest
        gap = abs(mpmath.mpf(float(value)) - point.overlap)
        worst = max(worst, gap / scale if scale else gap)
    return float(worst)


def check_overlap(curve) -> None:
    assert overlap_error(curve) <= BOUND


def check_angle(curve) -> None:
    r"""Errors of $e^\varphi$ relative; of $\sinh\varphi$ relative to the terms of its drive."""
    s, d, a, b, times = curve
    found, exact = columns(AMPLITUDES, curve), reference(curve)
    for growth, odd, point in zip(found["growth"], found["odd"], exact, strict=True):
        if not 1e-130 < point.growth < 1e130:
            # On a saddle without any seed the angle grows for ever; the routine stops it.
            assert growth > 1e125 or growth < 1e-125
            continue
        assert abs(mpmath.mpf(float(growth)) / point.growth - 1) <= BOUND
        # sinh phi = (s - d w) times a positive factor: rounding of s and d w is the only loss.
        size = abs(point.odd / point.drive) if point.drive else mpmath.mpf(1)
        assert abs(mpmath.mpf(float(odd)) - point.odd) <= BOUND * size


def check_amplitudes(curve) -> None:
    """The sides themselves, as trajectories combine them, relative to the largest on the curve."""
    s, d, a, b, times = curve
    found, exact = columns(AMPLITUDES, curve), reference(curve)
    largest = max(abs(v) for point in exact for v in (point.a, point.b))
    for growth, odd, point in zip(found["growth"], found["odd"], exact, strict=True):
        keep, up = min(1 / growth, growth), growth >= 1
        one = a * keep + (a + b if up else b - a) * odd
        two = b * keep + (a + b if up else a - b) * odd
        assert abs(mpmath.mpf(float(one)) - point.a) <= BOUND * largest
        assert abs(mpmath.mpf(float(two)) - point.b) <= BOUND * largest


CHECKS = (check_overlap, check_angle, check_amplitudes)


@given(curves())
@settings(max_examples=400)
def test_overlap_against_high_precision(curve) -> None:
    check_overlap(curve)


@given(curves())
@settings(max_examples=400)
def test_angle_against_high_precision(curve) -> None:
    check_angle(curve)


@given(curves())
@settings(max_examples=400)
def test_amplitudes_against_high_precision(curve) -> None:
    check_amplitudes(curve)


@pytest.mark.slow
@given(curves())
@settings(max_examples=4000, derandomize=False)
def test_many_draws_against_high_precision(curve) -> None:
    for check in CHECKS:
        check(curve)


@pytest.mark.parametrize("edge", EDGES, ids=str)
def test_edges_of_the_range(edge) -> None:
    for check in CHECKS:
        check(edge)
