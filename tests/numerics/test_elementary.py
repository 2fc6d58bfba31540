"""Elementary functions against 60-digit arithmetic, at every kind of number, and in loops."""

from __future__ import annotations

import importlib.util
import inspect
import math
import os
import subprocess
import sys
from pathlib import Path

import mpmath
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symkernel.numerics import elementary

RNG = np.random.default_rng(1000)
TINY = 5e-324
HUGE = np.finfo(float).max

# Largest errors allowed, in ulp of the exact value: a little above those in the docstrings,
# since other processors may fuse other operations.
LARGEST = {"exp": 1.1, "expm1": 2.1, "tanh": 2.7, "tanhc": 3.9, "erf": 1.7}
LARGEST |= {"sigmoid": 2.3, "softplus": 2.5}
EXACT = {
    "exp": mpmath.exp,
    "expm1": mpmath.expm1,
    "tanh": mpmath.tanh,
    "tanhc": lambda x: mpmath.tanh(x) / x if x else mpmath.mpf(1),
    "erf": mpmath.erf,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
}
RANGES = {
    "exp": [(-745.2, 709.79), (-1, 1)],
    "expm1": [(-45, 709.79), (-2, 2)],
    "tanh": [(-22, 22), (-2, 2)],
    "tanhc": [(-25, 25), (-2, 2)],
    "erf": [(-6.5, 6.5), (-1.5, 1.5), (0.65, 0.75)],
    "sigmoid": [(-745, 40), (-8, 8), (-1, 1)],
    "softplus": [(-745, 40), (-8, 8), (-1, 1)],
}
# Pairs, since 0.0 and -0.0 are one key of a dictionary.
AT_LIMITS = {
    "exp": [(0.0, 1.0), (-0.0, 1.0), (math.inf, math.inf), (-math.inf, 0.0), (-746.0, 0.0)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (math.inf, math.inf), (-math.inf, -1.0), (TINY, TINY)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (math.inf, 1.0), (-math.inf, -1.0), (-TINY, -TINY)],
    "tanhc": [(0.0, 1.0), (math.inf, 0.0), (-math.inf, 0.0), (TINY, 1.0), (HUGE, 1.0 / HUGE)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (math.inf, 1.0), (-math.inf, -1.0), (HUGE, 1.0)],
    "sigmoid": [(0.0, 0.5), (-0.0, 0.5), (math.inf, 1.0), (-math.inf, 0.0), (-HUGE, 0.0)],
    "softplus": [(0.0, math.log(2)), (math.inf, math.inf), (-math.inf, 0.0), (HUGE, HUGE)],
}


def error_in_ulp(value: float, exact: mpmath.mpf) -> float:
    rounded = float(exact)
    if not math.isfinite(rounded):
        return 0.0 if value == rounded else math.inf
    return float(abs(mpmath.mpf(float(value)) - exact) / mpmath.mpf(float(np.spacing(rounded))))


def largest_error(name: str, points: np.ndarray) -> tuple[float, float]:
    function, exact = getattr(elementary, name), EXACT[name]
    with mpmath.workdps(60):
        return max(
            (abs(error_in_ulp(function(x), exact(mpmath.mpf(float(x))))), float(x)) for x in points
        )


@pytest.mark.parametrize("name", LARGEST)
def test_error_on_dense_grids(name: str) -> None:
    for low, high in RANGES[name]:
        grid = np.concatenate([np.linspace(low, high, 1501), RNG.uniform(low, high, 1500)])
        error, where = largest_error(name, grid)
        assert error < LARGEST[name], (low, high, where)


@pytest.mark.parametrize("name", LARGEST)
def test_error_over_all_magnitudes(name: str) -> None:
    sizes = 10.0 ** RNG.uniform(-323, 1, 1500)
    error, where = largest_error(name, np.concatenate([sizes, -sizes]))
    assert error < LARGEST[name], where


@pytest.mark.parametrize("name", LARGEST)
@settings(max_examples=300, deadline=None)
@given(x=st.floats(allow_nan=False, allow_infinity=False, min_value=-1e5, max_value=1e5))
def test_error_at_drawn_numbers(name: str, x: float) -> None:
    error, _ = largest_error(name, np.array([x]))
    assert error < LARGEST[name]


@pytest.mark.parametrize("name", LARGEST)
def test_limits_and_signed_zeros(name: str) -> None:
    function = getattr(elementary, name)
    for x, expected in AT_LIMITS[name]:
        value = function(x)
        assert (value, math.copysign(1, value)) == (expected, math.copysign(1, expected)), x
    assert math.isnan(function(math.nan))


@pytest.mark.parametrize("name", LARGEST)
@given(x=st.floats())
def test_no_number_gives_garbage(name: str, x: float) -> None:
    value = getattr(elementary, name)(x)
    assert math.isnan(value) == math.isnan(x)
    if name in ("tanh", "erf", "tanhc"):
        assert math.isnan(value) or abs(value) <= 1


@given(x=st.floats(allow_nan=False))
def test_symmetries_are_exact(x: float) -> None:
    assert elementary.tanh(-x) == -elementary.tanh(x)
    assert elementary.erf(-x) == -elementary.erf(x)
    assert elementary.tanhc(-x) == elementary.tanhc(x)


@given(z=st.floats(-50, 50))
def test_activations_and_slopes(z: float) -> None:
    with mpmath.workdps(60):
        w = mpmath.mpf(z)
        value, slope = elementary.tanh_and_slope(z)
        assert value == elementary.tanh(z)
        assert abs(slope - mpmath.sech(w) ** 2) < 8e-16
        value, slope = elementary.erf_and_slope(z)
        assert abs(error_in_ulp(value, mpmath.erf(w / mpmath.sqrt(2)))) < 2.2
        assert abs(slope - mpmath.sqrt(2 / mpmath.pi) * mpmath.exp(-w * w / 2)) < 3e-16
        value, slope = elementary.sigmoid_and_slope(z)
        assert value == elementary.sigmoid(z)
        assert error_in_ulp(slope, mpmath.sech(w / 2) ** 2 / 4) < 3.7
    assert elementary.quadratic_and_slope(z) == (z * z, 2 * z)
    assert elementary.heaviside(z) == float(z > 0)
    assert elementary.sign(z) == float(np.sign(z))
    assert elementary.relu_and_slope(z) == (max(z, 0.0), float(z > 0))
    assert elementary.linear_and_slope(z) == (z, 1.0)


@pytest.mark.parametrize("name", ["tanh", "erf", "relu", "linear", "sigmoid"])
def test_activations_at_infinities_and_nan(name: str) -> None:
    function = getattr(elementary, f"{name}_and_slope")
    top, slope = function(math.inf)
    assert top == (1.0 if name in ("tanh", "erf", "sigmoid") else math.inf)
    assert slope == (1.0 if name in ("relu", "linear") else 0.0)
    assert math.isnan(function(math.nan)[0])


def loop_over(function, flags):
    @numba.njit(error_model="numpy", fastmath=flags)
    def fill(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    return fill


@pytest.mark.parametrize("name", LARGEST)
def test_loops_vectorise_and_agree_with_single_calls(name: str) -> None:
    function = getattr(elementary, name)
    x = np.concatenate([RNG.normal(scale=4, size=1001), [0.0, -0.0, np.inf, -np.inf, np.nan]])
    out = np.empty_like(x)
    fill = loop_over(function, False)
    fill(x, out)
    np.testing.assert_array_equal(out, [function(v) for v in x])
    llvm = next(iter(fill.inspect_llvm().values()))
    assert "x double>" in llvm


@pytest.mark.parametrize("name", LARGEST)
def test_fastmath_of_the_caller_does_not_leak_in(name: str) -> None:
    """Compiled first from a caller with all flags, in a fresh process, the digits remain."""
    code = (
        "import numba, numpy as np\n"
        f"from symkernel.numerics.elementary import {name} as function\n"
        "@numba.njit(fastmath=True)\n"
        "def fill(x, out):\n"
        "    for i in range(x.size):\n"
        "        out[i] = function(x[i])\n"
        "x = np.linspace(-3, 3, 1001); out = np.empty_like(x); fill(x, out)\n"
        "again = np.array([function(v) for v in x])\n"
        "assert np.abs(out - again).max() <= 4e-16 * np.abs(again).max()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bodies_run_interpreted() -> None:
    code = (
        "import math\n"
        "from symkernel.numerics import elementary as e\n"
        "for x in (-3.0, -1e-9, 0.0, 0.3, 7.5):\n"
        "    for name in ('exp', 'expm1', 'tanh', 'erf'):\n"
        "        a, b = getattr(e, name)(x), getattr(math, name)(x)\n"
        "        assert abs(a - b) <= 6e-16 * abs(b), (name, x, a, b)\n"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_source_stands_alone(tmp_path: Path) -> None:
    """The text is put in front of generated modules: elsewhere, it must give the same."""
    copy = tmp_path / "standalone_elementary.py"
    copy.write_text(inspect.getsource(elementary), encoding="utf-8")
    specification = importlib.util.spec_from_file_location(copy.stem, copy)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert module.tanh(0.7) == elementary.tanh(0.7)
