from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

import symkernel as sk
from symkernel.errors import InvalidArgument, OutsideValidity
from tests.analysis.patterns import patterns, rotation, trajectory

Representation, Similarity = sk.analysis.Representation, sk.analysis.Similarity
similarity = sk.analysis.similarity
MEASURES = ("cosine", "correlation", "euclidean")


@given(patterns())
def test_agrees_with_scipy(activity):
    for measure in MEASURES:
        found = similarity(activity, measure).dissimilarities
        for matrix, h in zip(found, activity, strict=True):
            size = abs(activity).max() if measure == "euclidean" else 1.0
            assert np.allclose(matrix, squareform(pdist(h, measure)), rtol=1e-10, atol=1e-12 * size)
            assert not np.diag(matrix).any()


@given(patterns())
def test_correlation_agrees_with_numpy(activity):
    expected = np.stack([np.corrcoef(h) for h in activity])
    assert np.allclose(similarity(activity, "correlation").values, expected, atol=1e-11)


@given(patterns())
def test_products_are_enough_for_cosines_and_distances(activity):
    gram = Representation.from_gram(activity @ activity.transpose(0, 2, 1))
    assert np.allclose(similarity(gram, "cosine").values, similarity(activity).values, atol=1e-12)
    # The differences of products near |h|^2 keep half the digits.
    assert np.allclose(
        similarity(gram, "euclidean").values,
        similarity(activity, "euclidean").values,
        atol=1e-6 * abs(activity).max(),
    )
    with pytest.raises(OutsideValidity, match="means over units"):
        similarity(gram, "correlation")


@given(patterns(), st.integers(0, 9))
def test_rotation_of_the_units_changes_correlations_alone(activity, seed):
    turned = activity @ rotation(activity.shape[2], seed)
    for measure in ("cosine", "euclidean"):
        one, other = similarity(activity, measure).values, similarity(turned, measure).values
        assert np.allclose(one, other, atol=1e-10 * max(abs(one).max(), 1e-300))


def test_rotation_of_the_units_does_change_correlations():
    activity = np.random.default_rng(1).normal(size=(1, 3, 4)) + 1
    turned = activity @ rotation(4)
    gap = similarity(activity, "correlation").values - similarity(turned, "correlation").values
    assert abs(gap).max() > 0.1


@given(patterns(), st.integers(-150, 150))
def test_scale(activity, exponent):
    scaled = activity * 10.0**exponent
    for measure in ("cosine", "correlation"):
        assert np.allclose(
            similarity(scaled, measure).values, similarity(activity, measure).values, atol=1e-12
        )
    apart = similarity(activity, "euclidean").values
    for far in (10.0**-200, 10.0**200):
        found = similarity(far * activity, "euclidean").values / far
        assert np.allclose(found, apart, rtol=1e-9, atol=1e-12 * apart.max())


@given(patterns(), st.randoms(use_true_random=False))
def test_permuted_samples_permute_the_matrices(activity, random):
    order = list(range(activity.shape[1]))
    random.shuffle(order)
    for measure in MEASURES:
        one, other = similarity(activity, measure).values, similarity(activity[:, order], measure)
        expected = one[:, order][:, :, order]
        assert np.allclose(other.values, expected, rtol=1e-12, atol=1e-12 * abs(one).max())


def test_known_values():
    orthogonal, same = np.eye(3), np.ones((3, 1)) * [1.0, 2.0, 5.0]
    assert np.array_equal(similarity(orthogonal, "cosine").values[0], np.eye(3))
    assert np.allclose(similarity(orthogonal, "correlation").values[0], 1.5 * np.eye(3) - 0.5)
    assert np.allclose(similarity(orthogonal, "euclidean").values[0], np.sqrt(2) * (1 - np.eye(3)))
    assert np.allclose(similarity(same, "cosine").values[0], 1)
    assert np.allclose(similarity(same, "correlation").values[0], 1)
    assert not similarity(same, "euclidean").values.any()
    assert similarity(-orthogonal[:2, :2], "correlation").values[0, 0, 1] == pytest.approx(-1)


def test_silent_units_change_no_cosine_and_no_distance():
    activity = np.random.default_rng(2).normal(size=(2, 4, 3))
    padded = np.concatenate([activity, np.zeros((2, 4, 5))], axis=2)
    for measure in ("cosine", "euclidean"):
        assert np.allclose(similarity(padded, measure).values, similarity(activity, measure).values)


def test_silent_patterns_have_no_cosine_and_constant_ones_no_correlation():
    activity = np.array([[[0.0, 0.0], [1.0, 2.0], [0.1, 0.1]]])
    run = trajectory(activity, samples=("dog", "cat", "owl"))
    with pytest.raises(OutsideValidity, match=r"silent .*: dog at time 0"):
        similarity(run, "cosine")
    with pytest.raises(OutsideValidity, match="constant over units: dog, owl at time 0"):
        similarity(run, "correlation")
    with pytest.raises(OutsideValidity, match="silent"):
        similarity(trajectory(activity, hidden=False), "cosine")
    with pytest.raises(OutsideValidity, match="0, 1, 2, 3, 4, 5 and 3 more"):
        similarity(np.zeros((9, 2)), "cosine")
    with pytest.raises(OutsideValidity, match="constant"):
        similarity(np.array([[1.0], [2.0]]), "correlation")
    assert 0.1 + 0.2 != 0.3  # constant but for rounding, which has no direction
    with pytest.raises(OutsideValidity, match="constant over units: 0 at"):
        similarity(np.array([[0.1 + 0.2, 0.3], [1.0, 2.0]]), "correlation")
    assert np.isfinite(similarity(run, "euclidean").values).all()


def test_one_sample():
    one = np.array([[1.0, 2.0]])
    assert similarity(one, "cosine").values.tolist() == [[[1.0]]]
    assert similarity(one, "euclidean").values.tolist() == [[[0.0]]]


def test_groups_are_averaged_first():
    activity = np.random.default_rng(3).normal(size=(2, 4, 3))
    mean = np.stack([activity[:, :2].mean(1), activity[:, 2:].mean(1)], axis=1)
    found = similarity(activity, "correlation", groups=["a", "a", "b", "b"])
    assert found.labels == ("a", "b")
    assert np.allclose(found.values, similarity(mean, "correlation").values)


def test_at_chosen_times():
    found = similarity(np.random.default_rng(4).normal(size=(3, 4, 3)))
    assert np.array_equal(found.at([2.0]).values, found.values[2:])


@pytest.mark.parametrize("measure", ["pearson", None, 3, ["cosine"]])
def test_bad_measures(measure):
    with pytest.raises(InvalidArgument, match="one of cosine, correlation, euclidean"):
        similarity(np.eye(2), measure)


def test_misspelt_names_are_guessed():
    with pytest.raises(InvalidArgument, match=r"did you mean 'cosine'\?"):
        similarity(np.eye(2), "cosin")
    with pytest.raises(InvalidArgument, match=r"not 'task'; did you mean 'tasks'\?"):
        similarity(np.eye(2), groups="task")
    with pytest.raises(InvalidArgument, match=r"not 'xyz'\."):
        similarity(np.eye(2), "xyz")


def test_results_are_printed_in_a_line():
    found = similarity(np.random.default_rng(4).normal(size=(3, 20, 3)))
    assert repr(found) == "Similarity(cosine; 3 times, 20 patterns)"
    points = sk.analysis.multidimensional_scaling(found)
    assert repr(points).startswith("Embedding(3 times, 20 patterns in 2 dimensions; ")
    groups = [0, 0, 1, 1]
    sharing = sk.analysis.sharing_index(np.eye(4), inputs=groups, outputs=[0, 1, 0, 1])
    assert "at the last index" in repr(sharing)
    assert "\n" not in repr(sharing)


def test_given_distances():
    given_ = Similarity.from_distances([[0.0, 3.0], [3.0, 0.0]], labels=["a", "b"])
    assert given_.labels == ("a", "b")
    assert given_.dissimilarities[0, 0, 1] == 3
    for bad, message in (
        ([[0.0, -1.0], [-1.0, 0.0]], "nowhere negative"),
        ([[1.0, 1.0], [1.0, 0.0]], "0 on the diagonal"),
        ([[0.0, 1.0], [2.0, 0.0]], "symmetric"),
        ([[0.0, 1.0]], "square"),
        ([[0.0, np.nan], [np.nan, 0.0]], "finite"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            Similarity.from_distances(bad)


# ---- rsatoolbox


def test_export_without_rsatoolbox_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "rsatoolbox.rdm", None)
    with pytest.raises(ImportError, match="pip install rsatoolbox"):
        similarity(np.eye(3)).to_rsatoolbox()


def test_what_rsatoolbox_is_given(monkeypatch):
    module = ModuleType("rsatoolbox.rdm")
    module.RDMs = SimpleNamespace
    monkeypatch.setitem(sys.modules, "rsatoolbox", ModuleType("rsatoolbox"))
    monkeypatch.setitem(sys.modules, "rsatoolbox.rdm", module)
    found = similarity(trajectory(np.stack([np.eye(3)] * 2), samples=("a", "b", "c")))
    given_ = found.to_rsatoolbox()
    assert np.array_equal(given_.dissimilarities, np.stack([1 - np.eye(3)] * 2))
    assert given_.dissimilarities.flags.writeable
    assert given_.dissimilarity_measure == "cosine"
    assert given_.rdm_descriptors == {"time": [0.0, 1.0]}
    assert given_.pattern_descriptors == {"sample": ["a", "b", "c"]}
    with pytest.raises(InvalidArgument, match="two patterns or more"):
        similarity(np.ones((1, 2))).to_rsatoolbox()


def test_rsatoolbox_itself_agrees():
    rsatoolbox = pytest.importorskip("rsatoolbox")
    activity = np.random.default_rng(5).normal(size=(2, 4, 6))
    for measure in ("correlation", "euclidean"):
        ours = similarity(activity, measure).to_rsatoolbox()
        assert (ours.n_rdm, ours.n_cond) == (2, 4)
        for k, h in enumerate(activity):
            theirs = rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(h), method=measure)
            found = ours.dissimilarities[k]
            found = found**2 / h.shape[1] if measure == "euclidean" else found
            assert np.allclose(found, theirs.dissimilarities[0])
