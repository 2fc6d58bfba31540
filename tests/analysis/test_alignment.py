from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import symkernel as sk
from symkernel.errors import InvalidArgument, OutsideValidity, ShapeMismatch
from tests.analysis.patterns import patterns, rotation, trajectory

alignment, ratio = sk.analysis.centred_kernel_alignment, sk.analysis.participation_ratio
Representation = sk.analysis.Representation


def gram_of(activity):
    return Representation.from_gram(activity @ activity.transpose(0, 2, 1))


@given(patterns(), st.integers(1, 5))
def test_alignment_agrees_with_the_form_in_features(activity, units):
    samples = activity.shape[1]
    other = np.random.default_rng(units).normal(size=(2, samples, units))
    found = alignment(activity, other)
    assert found.shape == (3, 2)
    for s, h in enumerate(activity):
        for t, g in enumerate(other):
            x, y = h - h.mean(0), g - g.mean(0)
            expected = np.linalg.norm(y.T @ x) ** 2 / (
                np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
            )
            assert np.isclose(found[s, t], expected, atol=1e-10)


@given(patterns(), st.integers(0, 9), st.floats(1e-3, 1e3))
def test_alignment_ignores_rotation_scale_and_shift(activity, seed, scale):
    moved = scale * activity @ rotation(activity.shape[2], seed) + 0.5 * abs(activity).max()
    assert np.allclose(np.diag(alignment(activity, moved)), 1, atol=1e-9)
    one = alignment(activity)
    assert np.allclose(alignment(activity, moved), one, atol=1e-8)
    assert np.allclose(one, one.T)
    assert ((one >= 0) & (one <= 1)).all()


@given(patterns(), st.randoms(use_true_random=False))
def test_samples_permuted_on_both_sides_change_nothing(activity, random):
    order = list(range(activity.shape[1]))
    random.shuffle(order)
    assert np.allclose(alignment(activity[:, order]), alignment(activity), atol=1e-9)
    assert np.allclose(ratio(activity[:, order]), ratio(activity), rtol=1e-9)


@given(patterns())
def test_products_are_enough(activity):
    assert np.allclose(alignment(gram_of(activity)), alignment(activity), atol=1e-9)
    assert np.allclose(ratio(gram_of(activity)), ratio(activity), rtol=1e-9)


@given(patterns(), st.integers(0, 9), st.integers(-150, 150))
def test_ratio_from_the_covariance_and_its_invariances(activity, seed, exponent):
    found = ratio(activity)
    for value, h in zip(found, activity, strict=True):
        spectrum = np.linalg.svd(h - h.mean(0), compute_uv=False) ** 2
        spectrum = spectrum / spectrum.max()
        assert np.isclose(value, spectrum.sum() ** 2 / (spectrum**2).sum(), rtol=1e-9)
        assert 1 - 1e-12 <= value <= min(h.shape[0] - 1, h.shape[1]) + 1e-9
    turned = 10.0**exponent * (activity @ rotation(activity.shape[2], seed))
    assert np.allclose(ratio(turned), found, rtol=1e-9)


def test_known_values():
    one, other = np.array([[1.0], [1.0], [-1.0], [-1.0]]), np.array([[1.0], [-1.0], [1.0], [-1.0]])
    assert alignment(one, other)[0, 0] == pytest.approx(0, abs=1e-15)
    both = np.hstack([one, other])
    assert alignment(one, both)[0, 0] == pytest.approx(np.sqrt(0.5))
    assert ratio(one)[0] == pytest.approx(1)
    assert ratio(both)[0] == pytest.approx(2)
    assert ratio(np.eye(7))[0] == pytest.approx(6)
    silent = np.hstack([both, np.zeros((4, 9))])
    assert ratio(silent)[0] == pytest.approx(2)
    assert alignment(silent, both)[0, 0] == pytest.approx(1)


def test_many_samples_of_few_units_take_no_matrix_of_samples():
    # (n_samples, n_samples) would take 3.2 GB.
    activity = np.zeros((20_000, 2))
    activity[:2] = np.eye(2)
    assert ratio(activity)[0] == pytest.approx(2, rel=1e-3)
    with pytest.raises(InvalidArgument, match="3,200,000,000 bytes"):
        alignment(activity)


@pytest.mark.parametrize(
    "activity",
    [np.zeros((3, 2)), np.full((3, 2), 0.1), np.ones((3, 1)) * [0.1, 0.7, 0.3], np.ones((1, 2))],
)
def test_patterns_that_agree_have_neither(activity):
    said = "one sample" if len(activity) == 1 else "all 3 patterns agree"
    for source in (activity, gram_of(activity[None])):
        with pytest.raises(OutsideValidity, match=f"alignment is 0/0.*{said}"):
            alignment(source)
        with pytest.raises(OutsideValidity, match=f"participation ratio is 0/0.*{said}"):
            ratio(source)


def test_products_that_agree_but_for_rounding_have_neither():
    gram = np.ones((4, 4))
    gram[0, 1] = gram[1, 0] = 1 - 1e-15
    for of in (alignment, ratio):
        with pytest.raises(OutsideValidity, match="all 4 patterns agree"):
            of(Representation.from_gram(gram))


def test_a_time_without_a_shape_is_named_and_can_be_left_out():
    activity = np.stack([np.zeros((3, 2)), np.random.default_rng(0).normal(size=(3, 2))])
    with pytest.raises(OutsideValidity, match="at time 0"):
        ratio(trajectory(activity))
    assert ratio(Representation.of(trajectory(activity)).at([1.0])).shape == (1,)


def test_other_samples_are_refused():
    activity = np.random.default_rng(1).normal(size=(1, 3, 2))
    with pytest.raises(ShapeMismatch, match="there are 4"):
        alignment(activity, np.eye(4))
    named = trajectory(activity, samples=("a", "b", "c"))
    assert alignment(named, activity)[0, 0] == pytest.approx(1)
    with pytest.raises(ShapeMismatch, match="in the same order"):
        alignment(named, trajectory(activity, samples=("a", "c", "b")))
    for bad in ("text", 3):
        with pytest.raises(InvalidArgument):
            alignment(activity, bad)
        with pytest.raises(InvalidArgument):
            ratio(bad)
