from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

import symkernel as sk
from symkernel.errors import InvalidArgument, OutsideValidity, ShapeMismatch
from symkernel.trajectory import Trajectory
from tests.analysis.patterns import TIMES, patterns, trajectory

Representation = sk.analysis.Representation
H = np.random.default_rng(0).normal(size=(3, 4, 5))


def test_a_trajectory_gives_its_nodes_times_and_names():
    run = trajectory(H, samples=("a", "b", "c", "d"), tasks=("u", "u", "v", "v"))
    read = Representation.of(run)
    assert np.array_equal(read.activity, H)
    assert read.labels == ("a", "b", "c", "d")
    assert read.tasks == ("u", "u", "v", "v")
    assert np.array_equal(read.times, run.times)
    assert np.array_equal(Representation.of(run, "first").activity, 2 * H)
    with pytest.raises(OutsideValidity, match="'second'"):
        Representation.of(run, "second")


def test_labels_of_other_samples_are_left_out():
    assert Representation.of(trajectory(H, samples=("a", "b"))).labels == ("0", "1", "2", "3")


def test_products_alone_where_the_law_knows_no_more():
    read = Representation.of(trajectory(H, hidden=False))
    assert read.activity is None
    assert np.allclose(read.gram, H @ H.transpose(0, 2, 1))
    nothing = Trajectory(TIMES, {}, nodes={})
    with pytest.raises(OutsideValidity):
        Representation.of(nothing)


def test_one_record_may_stand_without_its_axis():
    assert np.array_equal(Representation.from_activity(H[0]).activity, H[:1])
    assert Representation.from_gram(np.eye(3)).gram.shape == (1, 3, 3)


def test_results_are_frozen_and_the_callers_array_is_not():
    mine = H.copy()
    read = Representation.from_activity(mine, times=TIMES)
    mine[:] = 0.0
    assert np.array_equal(read.activity, H)
    with pytest.raises(ValueError, match="read-only"):
        read.activity[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        read.gram[0] = 1.0


def test_the_nearest_records():
    read = Representation.from_activity(H, times=TIMES)
    assert np.array_equal(read.at([0.1, 1.9]).activity, H[[0, 2]])
    assert np.array_equal(read.at(0.4).times, [0.5])
    assert Representation.from_gram(read.gram, TIMES).at([2.0]).gram.shape == (1, 4, 4)
    with pytest.raises(InvalidArgument, match="must not exceed the last recorded time 2"):
        read.at([3.0])


@given(patterns())
def test_averages_of_groups_from_activity_and_from_products(activity):
    groups = [f"g{i % 2}" for i in range(activity.shape[1])]
    mean = Representation.from_activity(activity).averaged(groups)
    expected = np.stack([activity[:, 0::2].mean(1), activity[:, 1::2].mean(1)], axis=1)
    assert np.allclose(mean.activity, expected, rtol=1e-12, atol=1e-12 * abs(activity).max())
    assert mean.labels == ("g0", "g1")
    gram = activity @ activity.transpose(0, 2, 1)
    scale = abs(gram).max()
    assert np.allclose(
        Representation.from_gram(gram).averaged(groups).gram, mean.gram, atol=1e-12 * scale
    )


def test_groups_keep_their_order_and_may_be_numbers_or_names_held():
    run = trajectory(H, tasks=("v", "u", "v", "u"))
    assert Representation.of(run).averaged().labels == ("v", "u")
    assert Representation.of(run).averaged(np.array([3, 1, 1, 2])).labels == ("3", "1", "2")
    assert Representation.of(run).averaged("samples").labels == ("0", "1", "2", "3")
    with pytest.raises(OutsideValidity, match="no names of 'tasks'"):
        Representation.from_activity(H).averaged()


def test_means_that_cancel_are_silent_not_noise():
    third = np.array([[0.1, 0.7], [0.2, -0.4], [-0.3, -0.3]])
    assert third.mean(0).any()  # 0.1 + 0.2 - 0.3 is not 0 in floating point
    groups = ["a", "a", "a", "b"]
    activity = np.vstack([third, [1.0, 0.0]])
    for read in (
        Representation.from_activity(activity),
        Representation.from_gram(activity @ activity.T),
    ):
        assert not read.averaged(groups).gram[0, 0].any()


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.ones(3), ShapeMismatch, "3-dimensional"),
        (np.ones((1, 1, 1, 1)), ShapeMismatch, "3-dimensional"),
        (np.ones((2, 0)), InvalidArgument, "empty"),
        (np.array([[np.nan, 1.0]]), InvalidArgument, "finite"),
        (np.array([[np.inf, 1.0]]), InvalidArgument, "finite"),
        (np.array([[1j, 1.0]]), InvalidArgument, "complex"),
        (np.array([[None, 1.0]]), InvalidArgument, "objects"),
        ([[1.0], [1.0, 2.0]], InvalidArgument, "unequal"),
        ("text", InvalidArgument, "text"),
    ],
)
def test_bad_arrays(value, error, message):
    for make in (Representation.from_activity, Representation.from_gram):
        with pytest.raises(error, match=message):
            make(value)


@pytest.mark.parametrize(
    ("gram", "message"),
    [
        (np.ones((2, 3)), "square"),
        (np.array([[1.0, 2.0], [0.0, 1.0]]), "differ by 2"),
        (np.array([[1.0, 2.0], [2.0, 1.0]]), "eigenvalue -1"),
        (-np.eye(2), "eigenvalue -1"),
    ],
)
def test_bad_gram_matrices(gram, message):
    with pytest.raises(InvalidArgument, match=message):
        Representation.from_gram(gram)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("abcd", "label.*, not 'abcd'"),
        (["a"], "each of the 4 samples, not 1"),
        ([0.5] * 4, "text or integers"),
        ([None] * 4, "text or integers"),
        (7, "sequence of labels"),
    ],
)
def test_bad_labels(labels, message):
    with pytest.raises(InvalidArgument, match=message):
        Representation.from_activity(H, labels=labels)
    with pytest.raises(InvalidArgument, match=message):
        Representation.from_activity(H).averaged(labels)


def test_bad_times_and_sources():
    with pytest.raises(ShapeMismatch, match="each of the 3 records, not 2"):
        Representation.from_activity(H, times=[0.0, 1.0])
    with pytest.raises(InvalidArgument, match="increasing"):
        Representation.from_gram(np.stack([np.eye(2)] * 2), times=[1.0, 0.0])
    with pytest.raises(InvalidArgument, match="not ndarray"):
        Representation.of(H)
    with pytest.raises(InvalidArgument, match="one time or more"):
        Representation(np.zeros(0), np.zeros((0, 2, 2)))
    for source in (None, 3.0, "text", {"hidden": H}):
        with pytest.raises(InvalidArgument, match="Argument 'source'"):
            sk.analysis.similarity(source)


def test_memory_is_stated_before_it_is_taken():
    wide = Representation.from_activity(np.broadcast_to(np.ones((1, 1, 1)), (20, 3000, 1)))
    with pytest.raises(InvalidArgument, match="1,440,000,000 bytes"):
        _ = wide.gram
    with pytest.raises(InvalidArgument, match="1,440,000,000 bytes"):
        sk.analysis.similarity(wide, "euclidean")
    with pytest.raises(InvalidArgument, match="1,440,000,000 bytes"):
        sk.analysis.centred_kernel_alignment(wide)
