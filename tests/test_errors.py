"""The shared checks of arguments: what they let through, what they refuse, and in which words."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from symkernel import errors
from symkernel.errors import (
    InvalidArgument,
    MissingValues,
    ShapeMismatch,
    SymkernelError,
    as_positive,
    as_real_array,
    as_seed,
    as_times,
    as_values,
)

# What no array argument may be, with the key words of the message.
NOT_REAL = {
    "complex": (np.eye(2) * 1j, "not of complex numbers"),
    "object": (np.eye(2).astype(object), "not of Python objects"),
    "none": (None, "is missing"),
    "text": ([["a", "b"]], "not of text"),
    "bytes": ([[b"a"]], "not of bytes"),
    "dates": (np.array([["2020-01-01"]], dtype="M8[D]"), "not of dtype datetime64"),
    "ragged": ([[1.0], [1.0, 2.0]], "unequal length"),
    "empty": (np.empty((0, 2)), r"must not be empty, but has shape \(0, 2\)"),
    "nan": ([[0.0, np.nan]], r"must be finite, but entry \(0, 1\) is nan"),
    "infinite": ([[0.0], [-np.inf]], r"must be finite, but entry \(1, 0\) is -inf"),
    "masked": (np.ma.masked_array(np.eye(2), mask=np.eye(2)), "no masked entries"),
}


@pytest.mark.parametrize("kind", NOT_REAL)
def test_arrays_that_are_not_real_numbers_are_refused(kind: str) -> None:
    value, words = NOT_REAL[kind]
    with pytest.raises(InvalidArgument, match=f"^Argument 'here' .*{words}"):
        as_real_array(value, "here", 2)


@pytest.mark.parametrize("value", [3.0, [1.0, 2.0], np.ones((1, 2, 3))])
def test_wrong_number_of_dimensions_is_a_shape_mismatch(value: object) -> None:
    with pytest.raises(ShapeMismatch, match="'here' must be 2-dimensional, not of shape"):
        as_real_array(value, "here", 2)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64, np.float16, np.float32, np.longdouble])
def test_real_numbers_become_float64_in_rows(dtype: type) -> None:
    array = np.asfortranarray(np.array([[0, 1], [1, 1], [1, 0]], dtype=dtype))
    result = as_real_array(array, "here", 2)
    assert result.dtype == np.float64
    assert result.flags.c_contiguous
    assert np.array_equal(result, array)


def test_numbers_beyond_float64_are_refused() -> None:
    big = np.array([np.longdouble(1e308) * 100])
    if np.isfinite(big).all():  # where long doubles are longer
        with np.errstate(over="ignore"), pytest.raises(InvalidArgument, match="must be finite"):
            as_real_array(big, "here", 1)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([-1.0, 0.0], "non-negative and in increasing order, but entry 0 is -1"),
        ([0.0, 2.0, 1.0], "non-negative and in increasing order, but entry 2 is 1"),
        ([0.0, np.nan], "must be finite"),
        ([0.0, np.inf], "must be finite"),
        ([], "must not be empty"),
        (3.0, "must be 1-dimensional"),
        ([[0.0, 1.0]], "must be 1-dimensional"),
        ([0.0, 1.0j], "complex numbers"),
    ],
)
def test_times_must_be_finite_ordered_and_from_zero(value: object, words: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^Argument 'record' .*{words}"):
        as_times(value, "record")


def test_times_may_repeat_and_start_later() -> None:
    assert as_times([0, 0, 1, 1]).tolist() == [0.0, 0.0, 1.0, 1.0]
    assert as_times((2.5,)).tolist() == [2.5]


@pytest.mark.parametrize(
    "bad",
    [0, -1, 0.0, -0.5, np.nan, np.inf, -np.inf, None, "1.0", 1j, np.complex128(1), True,
     np.ones(2), [1.0], 10**400, sp.Symbol("x"), sp.oo, sp.I],
)  # fmt: skip
def test_positive_numbers_are_finite_real_and_above_zero(bad: object) -> None:
    with pytest.raises(InvalidArgument, match=r"^Argument 'scale' must be a (finite )?positive"):
        as_positive(bad, "scale")


@pytest.mark.parametrize("good", [1, 0.5, np.float32(0.5), sp.Rational(1, 2), sp.pi, 5e-324])
def test_positive_numbers_of_any_kind_become_floats(good: object) -> None:
    assert as_positive(good, "scale") == float(good)


@pytest.mark.parametrize("bad", [-1, None, 1.5, "1", True, np.nan, [1], np.random.default_rng(0)])
def test_seeds_are_integers_so_that_runs_can_be_repeated(bad: object) -> None:
    with pytest.raises(InvalidArgument, match="'seed' must be a non-negative integer"):
        as_seed(bad)


def test_seeds_of_numpy_are_taken() -> None:
    assert as_seed(np.int64(1000)) == 1000


def test_values_must_cover_all_symbols_with_numbers() -> None:
    s, r = sp.symbols("s r")
    assert as_values({s: 1, r: 2}, {s}, "task") == {s: 1, r: 2}
    with pytest.raises(MissingValues, match=r"every symbol of the task; r, s have none"):
        as_values({}, {s, r}, "task")
    with pytest.raises(MissingValues, match=r"weights; s has none"):
        as_values({"s": 1}, {s}, "weights")
    for bad in (None, [1], 2.0, {s: "1 + 1"}):
        with pytest.raises(InvalidArgument, match="'values' must map symbols to numbers"):
            as_values(bad, {s}, "task")


def test_every_error_has_one_root_and_arguments_are_value_errors() -> None:
    classes = [
        c for c in vars(errors).values() if isinstance(c, type) and c.__module__ == errors.__name__
    ]
    assert len(classes) >= 8
    assert all(issubclass(c, SymkernelError) for c in classes)
    for c in (InvalidArgument, ShapeMismatch, MissingValues):
        assert issubclass(c, ValueError)


def test_errors_carry_what_their_messages_are_made_of() -> None:
    gone = errors.Diverged("gone", step=7, learning_rate=0.5, stable_limit=0.25)
    assert (gone.step, gone.learning_rate, gone.stable_limit) == (7, 0.5, 0.25)
    assert errors.NoClosedForm("none", verdicts=(1,)).verdicts == (1,)
