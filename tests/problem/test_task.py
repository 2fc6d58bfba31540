"""Tasks: moments from samples, modes with symbols, whitening on record, and clear refusals."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from symkernel.errors import InvalidArgument, MissingValues, ShapeMismatch
from symkernel.problem.task import Mode, Task

EYE = np.eye(3)
BAD = {
    "complex": (EYE * 1j, "complex numbers"),
    "object": (EYE.astype(object), "Python objects"),
    "none": (None, "is missing"),
    "text": ("abc", "text"),
    "ragged": ([[1.0], [1.0, 2.0]], "unequal length"),
    "empty": (np.empty((0, 3)), "must not be empty"),
    "no columns": (np.empty((3, 0)), "must not be empty"),
    "nan": (EYE * np.nan, "must be finite"),
    "infinite": (EYE + np.diag([np.inf, 0, 0]), "must be finite"),
    "vector": (np.ones(3), "must be 2-dimensional"),
    "cube": (np.ones((3, 3, 3)), "must be 2-dimensional"),
    "masked": (np.ma.masked_equal(EYE, 1), "masked"),
    "symbols": (sp.Symbol("s") * sp.eye(3), "not symbols or complex"),
    "imaginary": (sp.I * sp.eye(3), "not symbols or complex"),
}


def draw(seed: int, n: int, inputs: int, outputs: int) -> Task:
    stream = np.random.default_rng(seed)
    return Task(stream.standard_normal((n, inputs)), stream.standard_normal((n, outputs)))


@pytest.mark.parametrize("kind", BAD)
def test_samples_that_are_not_real_matrices_are_refused(kind: str) -> None:
    value, words = BAD[kind]
    with pytest.raises(InvalidArgument, match=f"^Argument 'X' .*{words}"):
        Task(value, EYE)
    with pytest.raises(InvalidArgument, match=f"^Argument 'Y' .*{words}"):
        Task(EYE, value)


@pytest.mark.parametrize("name", ["Sxx", "Syx", "Syy"])
@pytest.mark.parametrize("kind", BAD)
def test_moments_that_are_not_real_matrices_are_refused(kind: str, name: str) -> None:
    value, words = BAD[kind]
    moments = {"Sxx": EYE, "Syx": EYE, "Syy": EYE, name: value}
    with pytest.raises(InvalidArgument, match=f"^Argument '{name}' .*{words}"):
        Task.from_moments(**moments)


def test_samples_must_be_as_many_on_both_sides() -> None:
    with pytest.raises(ShapeMismatch, match=r"same number of samples .*not 3 and 2"):
        Task(EYE, np.eye(2))


def test_samples_whose_moments_overflow_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"moment Sxx to be finite.*1\.0e\+200.*rescale"):
        Task(EYE * 1e200, EYE)
    with pytest.raises(InvalidArgument, match="moment Syy"):
        Task(EYE, EYE * 1e200)


@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 5), st.integers(1, 5))
def test_moments_are_uncentred_means_over_samples(
    seed: int, n: int, inputs: int, outputs: int
) -> None:
    task = draw(seed, n, inputs, outputs)
    for found, left, right in (
        (task.Sxx, task.X, task.X), (task.Syx, task.Y, task.X), (task.Syy, task.Y, task.Y)
    ):  # fmt: skip
        expected = np.mean([np.outer(p, q) for p, q in zip(left, right, strict=True)], axis=0)
        assert np.allclose(found, expected, rtol=1e-13, atol=1e-14)
    assert (task.inputs, task.outputs) == (inputs, outputs)
    assert task.is_numeric
    assert task.free_symbols == set()


def test_matrices_of_sympy_numbers_are_taken() -> None:
    exact = sp.Matrix([[sp.Rational(1, 3), sp.sqrt(2)], [0, 1]])
    task = Task(exact, sp.eye(2))
    assert task.X.tolist() == [[1 / 3, 2**0.5], [0.0, 1.0]]
    assert Task.from_moments(sp.eye(2), sp.ImmutableMatrix(exact), 4 * sp.eye(2)).Syx[0, 0] == 1 / 3


def test_arrays_cannot_be_changed_and_are_not_the_callers() -> None:
    X, Y = np.eye(3), np.ones((3, 1))
    task = Task(X, Y)
    X[0, 0] = Y[0, 0] = 7
    assert task.X[0, 0] == task.Y[0, 0] == 1
    moments = Task.from_moments(EYE, EYE, EYE)
    for owner in (task, moments, Task.from_modes([2, 1])):
        for name in ("X", "Y", "Sxx", "Syx", "Syy"):
            array = getattr(owner, name)
            if array is not None:
                with pytest.raises(ValueError, match="read-only"):
                    array[0, 0] = 5
    with pytest.raises(AttributeError):
        task.X = EYE
    with pytest.raises(TypeError):
        task.labels["inputs"] = ("a", "b", "c")


# Moments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("Sxx", "Syx", "Syy"),
    [(np.eye(2), EYE, EYE), (EYE, EYE, np.eye(2)), (EYE, np.ones((2, 3)), EYE),
     (np.ones((3, 2)), EYE, EYE)],
)  # fmt: skip
def test_moments_must_fit_each_other(Sxx: object, Syx: object, Syy: object) -> None:
    with pytest.raises(ShapeMismatch, match=r"'Sxx' and 'Syy' must be of shape .* to fit 'Syx'"):
        Task.from_moments(Sxx, Syx, Syy)


@pytest.mark.parametrize("bad", [EYE + np.eye(3, k=1), -EYE, np.diag([1.0, 1.0, -1e-6])])
def test_second_moments_must_be_symmetric_and_not_negative(bad: np.ndarray) -> None:
    for name in ("Sxx", "Syy"):
        moments = {"Sxx": EYE, "Syx": EYE, "Syy": EYE, name: bad}
        with pytest.raises(InvalidArgument, match=f"'{name}' must be symmetric and positive semi"):
            Task.from_moments(**moments)


def test_moments_must_belong_to_one_distribution() -> None:
    with pytest.raises(InvalidArgument, match="moments of one distribution"):
        Task.from_moments(EYE, 2 * EYE, EYE)
    with pytest.raises(InvalidArgument, match="moments of one distribution"):
        Task.from_moments(np.diag([1.0, 1.0, 0.0]), EYE, EYE)


def test_singular_zero_and_badly_scaled_moments_are_not_errors() -> None:
    zero = np.zeros((3, 3))
    assert Task.from_moments(np.diag([1.0, 0, 0]), zero, zero).Syx.any() == False  # noqa: E712
    assert Task.from_moments(1e-280 * EYE, zero, 1e280 * EYE).is_numeric
    rank_one = np.outer([1, 2, 3], [1, 2, 3]) / 3
    assert Task.from_moments(rank_one, rank_one, rank_one).inputs == 3


# Labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"inputs": ["a"]}, "name all 3 inputs, not 1"),
        ({"samples": range(4)}, "name all 3 samples, not 4"),
        ({"outputs": []}, "name all 3 outputs, not 0"),
        ({"tasks": ["a"]}, "name all 3 tasks, not 1"),
        (
            {"features": ["a", "b", "c"]},
            "keys among samples, inputs, outputs, tasks, not 'features'",
        ),
        (["a", "b", "c"], "map 'samples'"),
        (None, "map 'samples'"),
        ({"inputs": "abc"}, "sequences of names"),
        ({"inputs": 3}, "sequences of names"),
    ],
)
def test_labels_must_name_everything_once(labels: object, words: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^Argument 'labels' must .*{words}"):
        Task(EYE, EYE, labels)


def test_labels_become_text() -> None:
    assert Task(EYE, EYE, {"outputs": range(3)}).labels["outputs"] == ("0", "1", "2")


# Modes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"s": -1}, "'s' must hold non-negative strengths, not -1"),
        ({"s": sp.Symbol("s", negative=True)}, "'s' must hold non-negative"),
        ({"s": np.nan}, "'s' must hold finite real numbers"),
        ({"s": sp.nan}, "'s' must hold finite real numbers"),
        ({"s": np.inf}, "'s' must hold finite real numbers"),
        ({"s": sp.oo}, "'s' must hold finite real numbers"),
        ({"s": 1j}, "'s' must hold finite real numbers"),
        ({"s": sp.I}, "'s' must hold finite real numbers"),
        ({"s": "2"}, "'s' must hold finite real numbers"),
        ({"s": None}, "'s' must hold finite real numbers"),
        ({"s": EYE}, "'s' must hold finite real numbers"),
        ({"s": []}, "'s' must not be empty"),
        ({"s": 1, "multiplicity": 0}, "'multiplicity' must hold positive integers, not 0"),
        ({"s": 1, "multiplicity": 1.5}, "'multiplicity' must hold positive integers"),
        ({"s": 1, "multiplicity": sp.sqrt(2)}, "'multiplicity' must hold positive integers"),
        ({"s": 1, "multiplicity": -1}, "'multiplicity' must hold positive integers"),
        ({"s": 1, "input_variance": 0}, "'input_variance' must be positive, not 0"),
        ({"s": 1, "input_variance": -2}, "'input_variance' must be positive"),
        ({"s": 1, "input_variance": np.nan}, "'input_variance' must hold finite real numbers"),
        ({"s": 1, "input_variance": sp.nan}, "'input_variance' must hold finite real numbers"),
        ({"s": [1, 2, 3], "multiplicity": [1, 2]}, "'multiplicity' must hold one.*3 modes.*not 2"),
        ({"s": [1, 2], "input_variance": [1, 2, 3]}, "for each of the 2 modes.*not 3"),
    ],
)
def test_modes_that_cannot_be_are_refused(arguments: dict, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        Task.from_modes(**arguments)


@given(
    st.lists(st.sampled_from([0, 0.5, 1, 2, 3.25]), min_size=1, max_size=4),
    st.integers(1, 3),
    st.sampled_from([0.01, 1, 4]),
)
def test_numerical_modes_are_samples_with_these_moments(
    s: list[float], multiplicity: int, d: float
) -> None:
    """Zero and repeated strengths are no errors."""
    task = Task.from_modes(s, multiplicity, d)
    n = len(s) * multiplicity
    assert task.X.shape == task.Y.shape == (n, n)
    assert np.allclose(task.Sxx, d * np.eye(n), rtol=1e-14)
    assert np.allclose(task.Syx, np.diag(np.repeat(s, multiplicity)), rtol=1e-14)


def test_zero_dimensional_and_large_numbers_are_taken() -> None:
    assert Task.from_modes(np.array(2.0)).Syx.tolist() == [[2.0]]
    assert Task.from_modes(10**400 * sp.Symbol("s", positive=True)).modes[0].d == 1


def test_symbols_are_allowed_everywhere_until_numbers_are_needed() -> None:
    s, d = sp.symbols("s d", positive=True)
    m = sp.Symbol("m", integer=True, positive=True)
    task = Task.from_modes([s, 0], [m, 1], d)
    assert task.free_symbols == {s, d, m}
    assert not task.is_numeric
    assert task.inputs == task.outputs == m + 1
    assert task.modes[0] == Mode(s, d, m)
    with pytest.raises(MissingValues, match="d, m have none"):
        task.with_values({s: 1})
    with pytest.raises(MissingValues, match="d, m, s have none"):
        task.with_values({"s": 1, "d": 1, "m": 1})
    found = task.with_values({s: 2, d: 0.5, m: 3})
    assert np.allclose(found.Syx, np.diag([2.0, 2, 2, 0]))
    assert np.allclose(found.Sxx, 0.5 * np.eye(4))
    assert found.with_values({}) is found


def test_values_of_symbols_are_checked_like_arguments() -> None:
    s = sp.Symbol("s")
    task = Task.from_modes(s)
    for bad, words in (
        ({s: -2}, "non-negative"),
        ({s: np.nan}, "finite"),
        ({s: sp.I}, "finite real"),
        ({s: "2"}, "must map symbols to numbers"),
        ({s: None}, "must map symbols to numbers"),
        (None, "must map symbols to numbers"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            task.with_values(bad)


# Centring and whitening ----------------------------------------------------------------------


@given(st.integers(0, 2**32), st.integers(2, 12), st.integers(1, 5))
def test_centring_removes_means_and_is_recorded(seed: int, n: int, inputs: int) -> None:
    task = draw(seed, n, inputs, 2)
    both, only = task.centred(), task.centred(outputs=False)
    assert np.abs(both.X.mean(0)).max() < 1e-14 * n
    assert np.abs(both.Y.mean(0)).max() < 1e-14 * n
    assert np.array_equal(only.Y, task.Y)
    assert both.history == ("centred: means of inputs and outputs removed",)
    assert only.history == ("centred: means of inputs removed",)
    assert task.centred(inputs=False, outputs=False) is task
    assert task.history == ()


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(0, 3))
def test_whitening_gives_the_identity_and_keeps_what_is_predictable(
    seed: int, rank: int, extra: int
) -> None:
    """Rank deficiency is no error: directions without variance are left out."""
    stream = np.random.default_rng(seed)
    X = stream.standard_normal((9, rank)) @ stream.standard_normal((rank, rank + extra))
    task = Task(
        X, stream.standard_normal((9, 2)), {"inputs": [f"x{i}" for i in range(rank + extra)]}
    )
    white = task.whitened()
    assert white.X.shape == (9, rank)
    assert np.abs(white.Sxx - np.eye(rank)).max() < 1e-10
    assert white.labels["inputs"] == tuple(f"component {i + 1}" for i in range(rank))
    assert white.history == (
        f"whitened: {rank} of {rank + extra} directions kept, 100.0% of the variance",
    )
    # The best linear prediction from all inputs is that from the whitened ones.
    best = X @ np.linalg.lstsq(X, task.Y, rcond=1e-9)[0]
    assert np.allclose(white.X @ white.Syx.T, best, atol=1e-7)


@pytest.mark.parametrize("bad", [0, 4, -1, 1.5, 2.0, True, "1", np.nan])
def test_components_must_be_an_integer_up_to_the_rank(bad: object) -> None:
    with pytest.raises(InvalidArgument, match="'components' must be an integer between 1 and the"):
        Task(EYE, EYE).whitened(bad)


def test_the_tolerance_of_whitening_must_be_positive() -> None:
    for bad in (0, None, "small"):
        with pytest.raises(InvalidArgument, match="'tolerance' must be a"):
            Task(EYE, EYE).whitened(tolerance=bad)


def test_inputs_without_variance_cannot_be_whitened() -> None:
    with pytest.raises(InvalidArgument, match="all zero cannot be whitened"):
        Task(np.zeros((3, 2)), EYE).whitened()


@pytest.mark.parametrize("verb", ["centred", "whitened"])
def test_tasks_without_samples_cannot_be_changed(verb: str) -> None:
    for task in (Task.from_moments(EYE, EYE, EYE), Task.from_modes(sp.Symbol("s"))):
        with pytest.raises(InvalidArgument, match=f"Only a task with samples can be {verb}"):
            getattr(task, verb)()


def test_modes_do_not_outlive_a_change_of_the_samples() -> None:
    task = Task.from_modes([3, 1])
    assert task.modes is not None
    assert task.centred().modes is None
    assert task.whitened().modes is None
