from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

import symkernel as sk
from symkernel.errors import InvalidArgument
from tests.analysis.patterns import patterns, rotation

scaling = sk.analysis.multidimensional_scaling
Representation, Similarity = sk.analysis.Representation, sk.analysis.Similarity
STEPS = np.linspace(0, 2 * np.pi, 60)


def distances(points):
    return np.stack([cdist(one, one) for one in points])


def sources(activity):
    """The same patterns by activity, by inner products and by distances."""
    return (
        activity,
        Representation.from_gram(activity @ activity.transpose(0, 2, 1)),
        Similarity.from_distances(distances(activity)),
    )


@given(patterns(), st.integers(0, 9))
def test_planar_points_keep_their_distances(activity, seed):
    plane = activity[:, :, :2]
    wide = np.concatenate([plane, np.zeros((*plane.shape[:2], 3))], axis=2) @ rotation(5, seed)
    for source in sources(wide):
        shown = scaling(source)
        size = distances(plane).max()
        # By way of products of points off the origin, half the digits are lost.
        assert np.allclose(distances(shown.points), distances(plane), atol=1e-6 * size)
        assert np.allclose(shown.explained, 1, atol=1e-7)
        assert np.allclose(shown.points.mean(1), 0, atol=1e-9 * size)


@given(patterns(least=3), st.sampled_from([-200, 200]))
def test_no_scale_is_too_large_or_too_small(activity, exponent):
    """Squares of such entries are infinite or 0; a naive product shows it."""
    shown = scaling(activity)
    unit = 10.0**exponent
    with np.errstate(over="ignore"):
        assert not np.isfinite((unit * activity) ** 2).all() or not ((unit * activity) ** 2).any()
    for source in (unit * activity, Similarity.from_distances(unit * distances(activity))):
        moved = scaling(source)
        assert np.allclose(moved.explained, shown.explained, atol=1e-7)
        size = distances(shown.points).max()
        assert np.allclose(
            distances(moved.points / unit), distances(shown.points), atol=1e-6 * size
        )


@given(patterns(least=3))
def test_explained_share_and_gap_from_the_spectrum(activity):
    shown = scaling(activity)
    for k, h in enumerate(activity):
        spectrum = np.linalg.svd(h - h.mean(0), compute_uv=False) ** 2
        assert np.isclose(shown.explained[k], spectrum[:2].sum() / spectrum.sum())
        third = spectrum[2] if len(spectrum) > 2 else 0.0
        assert np.isclose(shown.gap[k], 1 - third / spectrum[1], atol=1e-9)
        assert np.allclose(
            np.linalg.svd(shown.points[k], compute_uv=False) ** 2, spectrum[:2], rtol=1e-9
        )


@st.composite
def far_from_ties(draw):
    """Activities (3, n_samples, 4) whose variances along four directions are far apart."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    samples = draw(st.integers(5, 9))
    shapes = rng.normal(size=(3, samples, 4))
    bases = np.linalg.qr(shapes - shapes.mean(1, keepdims=True))[0]
    return 10.0 ** draw(st.integers(-6, 6)) * bases * [5.0, 3.0, 1.0, 0.5]


@given(far_from_ties(), st.integers(0, 9), st.floats(0.1, 10))
def test_rotated_and_scaled_patterns_give_the_same_points(activity, seed, scale):
    shown = scaling(activity).points
    for source in sources(scale * activity @ rotation(4, seed)):
        points = scaling(source).points
        assert np.allclose(points, scale * shown, atol=1e-7 * scale * abs(shown).max())


@given(far_from_ties(), st.randoms(use_true_random=False))
def test_permuted_samples_permute_the_points_up_to_signs(activity, random):
    order = list(range(activity.shape[1]))
    random.shuffle(order)
    one, other = scaling(activity).points[:, order], scaling(activity[:, order]).points
    signs = np.sign((one[0] * other[0]).sum(0))
    assert np.allclose(one * signs, other, atol=1e-9 * abs(one).max())


def test_a_turning_body_stands_still_and_a_moving_one_is_continuous():
    body = np.random.default_rng(0).normal(size=(6, 2)) * [1.5, 1.0]
    turns = np.stack([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in STEPS])
    for source in sources(body @ turns):
        still = scaling(source).points
        assert np.allclose(still, still[0], atol=1e-6)
    # Here the order of the two axes changes twice, where axes by eigenvalue swap and jump.
    breathing = body * np.stack([1 + 0.9 * np.cos(STEPS), 1 - 0.9 * np.cos(STEPS)], 1)[:, None]
    moved = scaling(breathing).points
    step = abs(np.diff(breathing, axis=0)).max()
    assert abs(np.diff(moved, axis=0)).max() < 2 * step
    naive = np.stack([scaling(one).points[0] for one in breathing])
    assert abs(np.diff(naive, axis=0)).max() > 5 * step


def test_reflections_are_undone_too():
    body = np.random.default_rng(1).normal(size=(5, 3))
    mirrored = np.stack([body, body * [-1, 1, 1], body])
    points = scaling(mirrored, 3).points
    assert np.allclose(points, points[0], atol=1e-12)


@given(patterns())
def test_signs_of_the_first_time_are_settled(activity):
    first = scaling(activity).points[0]
    for axis in first.T:
        off = axis[abs(axis) > 1e-6 * abs(axis).max()]
        assert off.size == 0 or off[0] > 0


def test_a_time_without_a_shape_is_the_origin_and_no_guide():
    body = np.random.default_rng(2).normal(size=(4, 2))
    activity = np.stack([np.full((4, 2), 0.1), body, np.full((4, 2), 0.3), -body])
    for source in sources(activity):
        shown = scaling(source)
        assert not shown.points[0].any()
        assert not shown.points[2].any()
        assert shown.explained.tolist() == pytest.approx([1, 1, 1, 1])
        assert np.allclose(shown.points[3], shown.points[1], atol=1e-7)
        assert np.isfinite(shown.gap).all()


def test_after_a_time_without_a_shape_the_last_shape_is_the_guide():
    body = np.random.default_rng(2).normal(size=(5, 2))
    first, last = scaling(np.stack([body * [3, 1], np.zeros((5, 2)), body * [1, 3]])).points[::2]
    nearest = np.linalg.svd(last.T @ first, compute_uv=False).sum()
    assert np.isclose((last * first).sum(), nearest)


@given(st.integers(0, 9999))
def test_a_shape_that_collapses_onto_a_line_opens_again_without_a_choice(seed):
    body = np.random.default_rng(seed).normal(size=(6, 3)) * [3, 2, 1]
    line = body @ np.outer([0.3, 0.5, 0.3], [1, 1, 0.3])
    shown = [scaling(source).points for source in sources(np.stack([body, line, body]))]
    assert not np.allclose(shown[0][1], 0)
    for points in shown:
        assert np.allclose(points, shown[0], atol=1e-5)


def test_patterns_on_a_line_leave_the_second_coordinate_empty():
    line = np.outer([0.0, 1.0, 3.0], [0.3, 0.4])
    for source in sources(line[None]):
        shown = scaling(source)
        assert not shown.points[0, :, 1].any()
        assert shown.gap[0] == 1
        assert abs(np.diff(shown.points[0, :, 0])) == pytest.approx([0.5, 1.0])


def test_a_second_dimension_that_opens_later_opens_smoothly():
    body = np.random.default_rng(4).normal(size=(5, 2))
    body -= body.mean(0)
    opening = body * np.stack([np.full(30, 3.0), np.maximum(np.arange(30) - 9, 0) / 20], 1)[:, None]
    shown = [scaling(source).points for source in sources(opening @ rotation(2, 3))]
    for points in shown:
        assert not points[:10, :, 1].any()
        assert abs(np.diff(points, axis=0)).max() < 1.01 * abs(np.diff(opening, axis=0)).max()
        assert np.allclose(points, shown[0], atol=1e-6)


def test_a_tie_between_what_is_kept_and_left_out_shows():
    shown = scaling(np.eye(4))
    assert shown.gap[0] == pytest.approx(0, abs=1e-12)
    assert shown.explained[0] == pytest.approx(2 / 3)
    assert scaling(np.eye(4), 3).gap[0] == 1


def test_of_tied_directions_those_of_the_time_before_are_kept():
    # Six equal dimensions, of which two are shown: any two would do, at every time.
    corners = np.stack([(1 + k / 10) * np.eye(7) @ rotation(7, k) for k in range(20)])
    naive = np.stack([scaling(one).points[0] for one in corners])
    assert abs(np.diff(naive, axis=0)).max() > 0.3
    for source in sources(corners):
        points = scaling(source).points
        unit = points / (1 + np.arange(20) / 10)[:, None, None]
        assert np.allclose(unit, unit[0], atol=1e-6)


def test_distances_of_no_real_points_explain_less():
    # The triangle inequality fails: 1 + 1 < 3.
    odd = Similarity.from_distances([[0.0, 1.0, 3.0], [1.0, 0.0, 1.0], [3.0, 1.0, 0.0]])
    shown = scaling(odd)
    assert shown.explained[0] < 0.95
    assert np.isfinite(shown.points).all()


def test_dissimilarities_of_any_measure():
    activity = np.random.default_rng(3).normal(size=(2, 5, 6))
    shown = scaling(sk.analysis.similarity(activity, "correlation"), 3)
    assert shown.points.shape == (2, 5, 3)
    assert shown.labels == ("0", "1", "2", "3", "4")


def test_one_sample_and_two():
    assert not scaling([[1.0, 2.0]], 1).points.any()
    two = scaling([[0.0, 0.0], [3.0, 4.0]])
    assert two.points[0].tolist() == pytest.approx(np.array([[2.5, 0.0], [-2.5, 0.0]]))


@pytest.mark.parametrize("dimensions", [0, -1, 1.5, True, "2", None, 4])
def test_bad_dimensions(dimensions):
    with pytest.raises(InvalidArgument, match="Argument 'dimensions'"):
        scaling(np.eye(3), dimensions)


def test_bad_sources():
    for bad in (None, "text", np.ones(3), np.full((2, 2), np.nan)):
        with pytest.raises(InvalidArgument):
            scaling(bad)
