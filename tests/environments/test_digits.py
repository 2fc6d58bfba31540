"""The digits: real images, centred, on principal components, with what was done on record."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from symkernel.environments import digits
from symkernel.errors import InvalidArgument

sklearn_datasets = pytest.importorskip("sklearn.datasets")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    raw = sklearn_datasets.load_digits().data / 16
    return raw - raw.mean(0)


@pytest.mark.parametrize("components", [1, 20, 61, None])
def test_whitened_components_have_unit_second_moment(components: int | None) -> None:
    task = digits(components)
    k = components or 61
    assert task.X.shape == (1797, k)
    assert task.Y.shape == (1797, 10)
    assert np.abs(task.Sxx - np.eye(k)).max() < 1e-12
    assert np.abs(task.X.mean(0)).max() < 1e-12
    assert np.abs(task.Y.mean(0)).max() < 1e-14


def test_targets_are_centred_one_hot_labels() -> None:
    task = digits()
    label = sklearn_datasets.load_digits().target
    assert np.array_equal(task.Y.argmax(1), label)
    shares = np.bincount(label) / len(label)
    assert np.allclose(task.Y, np.eye(10)[label] - shares, atol=1e-15)
    assert task.labels["outputs"] == tuple("0123456789")
    assert task.labels["samples"][:3] == ("0", "1", "2")
    assert task.labels["inputs"][0] == "component 1"


@pytest.mark.parametrize("components", [5, 20, None])
def test_unwhitened_components_keep_their_variances(
    components: int | None, pixels: np.ndarray
) -> None:
    task = digits(components, whiten=False)
    k = components or 61
    variances = np.linalg.eigvalsh(np.cov(pixels.T, bias=True))[::-1][:k]
    assert np.abs(task.Sxx - np.diag(variances)).max() < 1e-12
    white = digits(components)
    assert np.allclose(task.X, white.X * np.sqrt(variances), rtol=1e-7, atol=1e-11)
    assert np.array_equal(task.Y, white.Y)


def test_all_components_keep_every_distance_between_images(pixels: np.ndarray) -> None:
    task = digits(None, whiten=False)
    assert np.abs(task.X @ task.X.T - pixels @ pixels.T).max() < 1e-11


def test_history_says_what_was_done_in_order() -> None:
    scaled, centred, white = digits(20).history
    assert scaled == "pixels divided by 16"
    assert centred == "centred: means of inputs and outputs removed"
    assert white == "whitened: 20 of 64 directions kept, 89.4% of the variance"
    plain = digits(20, whiten=False).history
    assert plain[:2] == (scaled, centred)
    assert plain[2] == "principal components: 20 of 64 kept, 89.4% of the variance"
    assert not any("whitened" in line for line in plain)


def test_two_calls_agree() -> None:
    assert np.array_equal(digits(7).X, digits(7).X)


@pytest.mark.parametrize("bad", [0, -1, 62, 2.5, 20.0, True, "20", np.nan])
def test_components_must_be_an_integer_up_to_the_rank(bad: object) -> None:
    with pytest.raises(InvalidArgument, match="'components' must be an integer between 1 and the"):
        digits(bad)


@pytest.mark.parametrize("bad", [None, 1, "no"])
def test_whiten_must_be_a_boolean(bad: object) -> None:
    with pytest.raises(InvalidArgument, match="'whiten' must be True or False"):
        digits(whiten=bad)


def test_missing_library_is_named_with_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"scikit-learn.*pip install 'symkernel\[data\]'"):
        digits()


def test_importing_the_environments_loads_no_data_library() -> None:
    code = (
        "import sys, symkernel.environments as e; "
        "assert callable(e.digits) and callable(e.semantic_hierarchy); "
        "assert not {'sklearn', 'scipy', 'numba', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_coarse_targets_are_parity_size_or_a_random_half() -> None:
    label = sklearn_datasets.load_digits().target
    assert np.array_equal(digits(5, targets="parity").Y.argmax(1), label % 2)
    assert np.array_equal(digits(5, targets="below 5").Y.argmax(1), label < 5)
    halves = set()
    for seed in range(8):
        task = digits(5, targets="random", seed=seed)
        assert np.array_equal(task.Y, digits(5, targets="random", seed=seed).Y)
        group = [set(task.Y.argmax(1)[label == d]) for d in range(10)]
        assert all(len(found) == 1 for found in group)
        half = tuple(int(min(found)) for found in group)
        assert sum(half) == 5
        halves.add(half)
    assert len(halves) == 8


def test_coarse_tasks_show_the_same_images_with_the_digit_as_label() -> None:
    fine = digits(7)
    for targets, names in (
        ("parity", ("even", "odd")),
        ("below 5", ("5 and above", "below 5")),
        ("random", ("group 0", "group 1")),
    ):
        task = digits(7, targets=targets)
        assert np.array_equal(task.X, fine.X)
        assert task.labels["samples"] == fine.labels["samples"]
        assert task.labels["outputs"] == names
        assert task.Y.shape == (1797, 2)
        assert np.abs(task.Y.mean(0)).max() < 1e-14


@pytest.mark.parametrize("bad", ["digits", None, 2])
def test_unknown_targets_are_refused(bad: object) -> None:
    with pytest.raises(InvalidArgument, match="'targets' must be one of digit, parity, below 5"):
        digits(targets=bad)
    with pytest.raises(InvalidArgument, match="'seed' must be"):
        digits(targets="random", seed=-1)
