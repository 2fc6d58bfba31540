"""The compiled mode law against 520 digits of Saxe's form, over extreme strengths and times.

Bounds are relative to the value itself where all terms have one sign (a0 b0 >= 0, s >= 0), else to
the largest value along the curve.
"""

from __future__ import annotations

import dataclasses

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from symkernel import notation
from symkernel.codegen.elementwise import compile_elementwise
from symkernel.theory.mode_flow import Drive
from symkernel.theory.stable_modes import lower_modes, side_routine, stable_form
from tests.oracles import mode_mpmath

BOUND = 1e-12
S, D = sp.Symbol("s", positive=True), sp.Symbol("d", positive=True)


def plain_modes() -> Drive:
    """Return the mode flow of the house's conventions, written by hand: sigma = s, delta = d."""
    return Drive(sp.S.One, notation.s, notation.d)


def amplitude_routine(modes: Drive):
    """Compile the stable form as a function of (t; s, d, a0, b0), for parallel sides."""
    a, b = notation.a0, notation.b0
    initial = {"w": a * b, "m": (a**2 + b**2) / 2, "P0": (a + b) ** 2, "Q0": (a - b) ** 2}
    arguments = (notation.s, notation.d, a, b)
    return compile_elementwise(lower_modes(arguments, modes.sigma, modes.delta, initial))


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


def overlap_error(curve, routine=AMPLITUDES) -> float:
    """Return the largest error of the overlap in units of what the bound is relative to."""
    s, _d, a, b, _times = curve
    found, exact = columns(routine, curve)["overlap"], reference(curve)
    one_sign = (a * b >= 0 and s >= 0) or (a * b <= 0 and s <= 0)
    largest = max(abs(p.overlap) for p in exact)
    worst = mpmath.mpf(0)
    for value, point in zip(found, exact, strict=True):
        scale = abs(point.overlap) if one_sign else largest
        gap = abs(mpmath.mpf(float(value)) - point.overlap)
        # Below 1e-290 floats lose digits whatever the formula.
        worst = max(worst, gap / max(scale, mpmath.mpf("1e-290")))
    return float(worst)


def check_overlap(curve) -> None:
    assert overlap_error(curve) <= BOUND


def check_angle(curve) -> None:
    r"""Errors of $e^\varphi$ relative; of $\sinh\varphi$ relative to the terms of its drive."""
    _s, _d, _a, _b, _times = curve
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
    _s, _d, a, b, _times = curve
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
@settings(max_examples=max(150, settings.default.max_examples))
def test_overlap_against_high_precision(curve) -> None:
    check_overlap(curve)


@given(curves())
@settings(max_examples=max(150, settings.default.max_examples))
def test_angle_against_high_precision(curve) -> None:
    check_angle(curve)


@given(curves())
@settings(max_examples=max(150, settings.default.max_examples))
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


MODERATE = [
    (2.0, 1.0, 0.1, 0.3, 1.5),
    (2.0, 0.7, -0.1, 0.3, 3.0),
    (2.0, 0.7, 0.1, -0.3, 0.3),
    (-1.0, 2.0, 0.5, 0.25, 1.0),
    (0.0, 1.0, 1.0, -1.5, 2.0),
    (0.0, 1.0, 1.0, 1.0, 2.0),
    (0.0, 1.0, 0.0, 1.5, 2.0),
    (3.0, 1.0, 1.0, -1.0, 2.0),
    (1.0, 2.0, 0.5, -0.5000001, 6.0),
    (1.0, 2.0, 3.0, 2.0, 1.0),
]


@pytest.mark.parametrize("case", MODERATE, ids=str)
def test_the_oracle_solves_the_mode_equation(case) -> None:
    """Taylor steps of a' = b (s - d a b), b' = a (s - d a b), which know no closed form."""
    s, d, a0, b0, t = case
    a, b = mode_mpmath.taylor(s, d, a0, b0, t)
    point = mode_mpmath.exact(s, d, a0, b0, t)
    with mpmath.workdps(40):
        bound = mpmath.mpf("1e-28")
        assert abs(point.a - a) < bound
        assert abs(point.b - b) < bound
        assert abs(point.overlap - a * b) < bound
        assert abs(point.growth * (mpmath.mpf(a0) + mpmath.mpf(b0)) - (a + b)) < bound
        assert abs(point.a - a0 * (point.growth - point.odd) - b0 * point.odd) < bound


@given(curves())
@settings(max_examples=100)
def test_vector_sides_give_the_same_as_amplitudes(curve) -> None:
    """The routine for vectors as sides, called with parallel ones, is the one for amplitudes."""
    s, d, a, b, times = curve
    initial = [[a * b], [(a**2 + b**2) / 2], [(a + b) ** 2], [(a - b) ** 2]]
    one = AMPLITUDES(times, [s], [d], [a], [b])
    two = SIDES(times, [s], [d], *initial)
    largest = {"overlap": np.abs(one["overlap"]).max(), "growth": one["growth"], "odd": 0}
    for name, scale in largest.items():
        # The sum of squares m may be rounded once (fused) or twice.
        assert (np.abs(one[name] - two[name]) <= 1e-14 * (scale + np.abs(one[name]))).all()


def test_perpendicular_sides_follow_their_closed_form() -> None:
    r"""For w = 0: $\tanh\varphi = s\tanh(Kt)/(K + m\tanh(Kt))$, $u = m\sinh 2\varphi$."""
    s, m, times = 1.7, 0.4, np.linspace(0, 6, 40)
    K = np.hypot(s, m)
    phi = np.arctanh(s * np.tanh(K * times) / (K + m * np.tanh(K * times)))
    found = SIDES(times, [s], [1.0], [0.0], [m], [2 * m], [2 * m])
    assert np.allclose(found["overlap"][:, 0], m * np.sinh(2 * phi), rtol=1e-13, atol=1e-15)
    assert np.allclose(found["odd"][:, 0], np.sinh(phi), rtol=1e-13, atol=1e-15)
    assert np.allclose(found["growth"][:, 0], np.exp(phi), rtol=1e-13)


def test_many_modes_and_times_are_each_on_their_own() -> None:
    """The parallel routine (above 8192 values) and the serial one give the same to the last bit."""
    stream = np.random.default_rng(1000)
    a, b, s = 10 ** stream.uniform(-4, 1, (3, 7))
    times = np.sort(10 ** stream.uniform(-3, 2, 3001))
    together = AMPLITUDES(times, s, np.ones(7), a, b)
    for k in range(7):
        alone = AMPLITUDES(times[::11], s[k : k + 1], [1.0], a[k : k + 1], b[k : k + 1])
        for name, value in alone.items():
            assert np.array_equal(together[name][::11, k], value[:, 0])


def rules():
    return {rewriting.rule: rewriting for rewriting in stable_form()[1]}


@pytest.mark.parametrize("rule", rules())
def test_each_rewriting_is_proven_and_counted(rule: str) -> None:
    rewriting = rules()[rule]
    assert rewriting.prove().passed
    assert rewriting.operations_before > 0
    assert rewriting.operations_after > 0
    for part in (rule, rewriting.reason, str(rewriting.operations_after), "operations"):
        assert part in str(rewriting)


@pytest.mark.parametrize("rule", rules())
def test_a_rewriting_with_one_sign_flipped_fails_its_proof(rule: str) -> None:
    """Flip the sign of each term of a sum in the result, in turn: no such result may pass."""
    rewriting = rules()[rule]
    flipped = list(one_sign_flipped(rewriting.after))
    assert flipped
    for wrong in flipped:
        assert not dataclasses.replace(rewriting, after=wrong).prove().passed


def one_sign_flipped(expression: sp.Expr):
    """Yield the expression with the sign of one term of one of its sums flipped."""
    for node in sp.preorder_traversal(expression):
        if isinstance(node, sp.Add):
            for term in node.args:
                yield expression.xreplace({node: node - 2 * term})


def test_names_of_the_outputs_and_log_of_the_rules_stay_with_the_routine() -> None:
    modes = plain_modes()
    lowered = lower_modes(
        (S, D), modes.sigma, modes.delta,
        {"w": sp.S.One, "m": sp.S.One, "P0": sp.Integer(4), "Q0": sp.S.Zero},
    )  # fmt: skip
    assert [name for name, _ in lowered.outputs] == ["overlap", "growth", "odd"]
    assert lowered.rewritings == stable_form()[1]


def mutated(routine, name: str, wrong: sp.Expr):
    where = tuple((q, wrong if q.name == name else e) for q, e in routine.lowered.where)
    return compile_elementwise(dataclasses.replace(routine.lowered, where=where))


@pytest.mark.parametrize("name", ["N", "D_z", "Z", "tau", "C"])
def test_a_wrong_abbreviation_is_noticed(name: str) -> None:
    """Mutate one line of the compiled routine by a part in 1e10: the bound must be broken."""
    meaning = next(e for q, e in AMPLITUDES.lowered.where if q.name == name)
    broken = mutated(AMPLITUDES, name, meaning * (1 + sp.Float(1e-10)))
    errors = [overlap_error(curve, broken) for curve in EDGES]
    assert max(errors) > BOUND
    assert max(overlap_error(curve) for curve in EDGES) <= BOUND
