"""The checkerboard task: its trials, its labels, and the information in its inputs."""

from __future__ import annotations

import itertools

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import symkernel as sk
from symkernel.errors import InvalidArgument

checkerboard = sk.environments.checkerboard
LABELS = ("colour", "configuration", "direction")


def test_inputs_are_those_of_the_definition():
    board = checkerboard(40_000, seed=1)
    c, k = board.coherence, 2 * board.labels["configuration"] - 1
    left = board.X - np.stack([c, -c, k, -k], axis=1)
    assert np.allclose(np.cov(left.T), 0.01 * np.eye(4), atol=5e-4)
    assert np.abs(left.mean(0)).max() < 0.003
    levels, counts = np.unique(c, return_counts=True)
    sizes = [0.04, 0.12, 0.2, 0.4, 0.6, 0.9]
    assert np.allclose(levels, sorted([-s for s in sizes] + sizes))
    assert np.abs(counts / 40_000 - 1 / 12).max() < 0.007
    assert np.array_equal(board.labels["colour"], c > 0)


def test_any_two_labels_are_independent_and_fix_the_third():
    board = checkerboard(40_000, seed=2)
    for one, two in itertools.combinations(LABELS, 2):
        a, b = board.labels[one], board.labels[two]
        assert np.abs(np.bincount(2 * a + b) / 40_000 - 0.25).max() < 0.01
        (third,) = set(LABELS) - {one, two}
        assert np.array_equal(a ^ b, board.labels[third])


@pytest.mark.parametrize("label", LABELS)
def test_tasks_have_one_hot_targets_of_a_label(label):
    board = checkerboard(50)
    task = board.task_of(label)
    assert np.array_equal(task.Y, np.eye(2)[board.labels[label]])
    assert np.array_equal(task.X, board.X)
    assert len(task.labels["outputs"]) == 2
    assert np.array_equal(board.task.Y, board.task_of("direction").Y)


@given(st.integers(0, 10**6), st.integers(1, 50))
def test_seeds_decide_everything(seed, trials):
    one, two = (checkerboard(trials, seed=seed) for _ in range(2))
    assert np.array_equal(one.X, two.X)
    assert not np.array_equal(one.X, checkerboard(trials, seed=seed + 1).X)
    with pytest.raises(ValueError, match="read-only"):
        one.labels["colour"][0] = 1
    assert repr(one).startswith(f"Checkerboard({trials} trials; coherences 0.04, 0.12")


# ---- the ceiling


def by_mpmath(levels, noise):
    """Information about the sign of c, from its definition at 20 digits."""
    with mpmath.workdps(20):
        s = mpmath.mpf(noise) / mpmath.sqrt(2)

        def density(u, sign):
            return mpmath.fsum(mpmath.npdf(u, sign * c, s) for c in levels) / len(levels)

        def gain(u):
            plus, minus = density(u, 1), density(u, -1)
            return plus * mpmath.log(2 * plus / (plus + minus), 2) if plus else mpmath.mpf(0)

        ends = [min(levels) - 10 * s, 0, *(c + k * s for c in levels for k in (-3, 0, 3))]
        return float(mpmath.quad(gain, sorted({*ends, max(levels) + 10 * s})))


@pytest.mark.parametrize(("levels", "noise"), [(None, 0.1), ([0.5], 0.7), ([0.3, 1.0], 1.0)])
def test_the_ceiling_of_colour_is_that_of_its_definition(levels, noise):
    options = {} if levels is None else {"coherences": levels}
    board = checkerboard(1, noise=noise, **options)
    exact = by_mpmath([mpmath.mpf(c) for c in board.coherences], noise)
    assert abs(board.ceiling("colour") - exact) < 1e-11


def test_default_ceilings():
    board = checkerboard(1)
    assert abs(board.ceiling("colour") - 0.8191) < 5e-5
    assert abs(board.ceiling("direction") - 0.8191) < 5e-5
    assert abs(board.ceiling("configuration") - 1) < 1e-12


def test_direction_is_known_less_than_colour_where_the_configuration_is_uncertain():
    board = checkerboard(200_000, noise=1.0, seed=3)
    ceilings = {name: board.ceiling(name) for name in LABELS}
    assert ceilings["direction"] < min(ceilings["colour"], ceilings["configuration"])
    # Bayes's rule on every trial, from all four inputs.
    shown = np.array([*board.coherences, *(-c for c in board.coherences)])
    x = board.X
    logs = {}
    for k in (1, -1):
        for sign in (1, -1):
            c = shown[shown * sign > 0]
            means = np.stack([c, -c, 0 * c + k, 0 * c - k])
            part = -0.5 * ((x**2).sum(1)[:, None] - 2 * x @ means + (means**2).sum(0))
            logs[sign, k] = np.logaddexp.reduce(part, axis=1)
    right = np.logaddexp(logs[1, -1], logs[-1, 1]) - np.logaddexp(logs[1, 1], logs[-1, -1])
    y = 2 * board.labels["direction"] - 1
    bits = 1 - np.logaddexp(0, -y * right) / np.log(2)
    assert abs(bits.mean() - ceilings["direction"]) < 4 * bits.std() / np.sqrt(len(bits))


@pytest.mark.parametrize("kind", ["quadratic", "random features"])
def test_rich_decoders_come_close_to_the_ceiling_and_linear_ones_do_not(kind):
    board = checkerboard(4000, seed=1000)
    y = board.labels["direction"]
    assert sk.usable_information(board.X, y).bits < 0.01
    found = sk.usable_information(board.X, y, decoder=kind)
    assert abs(found.bits - found.bias - board.ceiling("direction")) < 3 * found.standard_error


# ---- refusals


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trials": 0}, "'trials' must be an integer of at least 1"),
        ({"trials": 2.0}, "'trials' must be an integer"),
        ({"trials": 10**9}, "more than 1 GiB"),
        ({"noise": 0}, "'noise' must be a finite positive number"),
        ({"noise": -0.1}, "'noise' must be"),
        ({"noise": np.nan}, "'noise' must be"),
        ({"noise": True}, "'noise' must be"),
        ({"coherences": []}, "'coherences' must not be empty"),
        ({"coherences": [0.1, 0.1]}, "positive levels, each once"),
        ({"coherences": [0.0, 0.1]}, "positive levels, each once"),
        ({"coherences": [-0.1, 0.1]}, "positive levels, each once"),
        ({"coherences": [np.inf]}, "'coherences' must be finite"),
        ({"coherences": 0.5}, "'coherences' must be 1-dimensional"),
        ({"coherences": "high"}, "'coherences' must be"),
        ({"seed": -1}, "'seed' must be"),
    ],
)
def test_bad_input_is_refused(options, words):
    with pytest.raises(InvalidArgument, match=words):
        checkerboard(**options)


@pytest.mark.parametrize("bad", ["color", None, 0])
def test_unknown_labels_are_refused(bad):
    board = checkerboard(2)
    for read in (board.task_of, board.ceiling):
        with pytest.raises(InvalidArgument, match="'label' must be one of colour, configuration"):
            read(bad)
