from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import symkernel as sk
from symkernel.errors import InvalidArgument, OutsideValidity, ShapeMismatch
from tests.analysis.patterns import rotation

sharing_index = sk.analysis.sharing_index
Representation = sk.analysis.Representation


def all_tasks(G, repeats=1):
    pairs = [pair for pair in product(range(G), repeat=2) for _ in range(repeats)]
    return [i for i, _ in pairs], [j for _, j in pairs]


@given(st.integers(2, 4), st.integers(1, 3), st.integers(0, 999))
def test_agrees_with_its_definition_over_all_tasks(G, repeats, seed):
    read, written = all_tasks(G, repeats)
    activity = np.random.default_rng(seed).normal(size=(2, len(read), 6))
    found = sharing_index(activity, inputs=read, outputs=written)
    for k, h in enumerate(activity):
        r = np.corrcoef(h.reshape(G * G, repeats, 6).mean(1))
        tasks = list(product(range(G), repeat=2))
        values = {"in": [], "out": [], "diff": []}
        for a, b in combinations(range(G * G), 2):
            alike = [one == other for one, other in zip(tasks[a], tasks[b], strict=True)]
            values["in" if alike[0] else "out" if alike[1] else "diff"].append(r[a, b])
        r_in, r_out, r_diff = (np.mean(values[name]) for name in ("in", "out", "diff"))
        assert np.isclose(found.same_input[k], r_in)
        assert np.isclose(found.same_output[k], r_out)
        assert np.isclose(found.neither[k], r_diff)
        assert np.isclose(found.index[k], r_in - (r_out + (G - 1) * r_diff) / G)
        assert found.pairs == tuple(len(values[name]) for name in ("in", "out", "diff"))


@given(st.integers(0, 999), st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter(seed, random):
    read, written = all_tasks(3, 2)
    activity = np.random.default_rng(seed).normal(size=(1, len(read), 5))
    order = list(range(len(read)))
    random.shuffle(order)
    one = sharing_index(activity, inputs=read, outputs=written)
    other = sharing_index(
        activity[:, order], inputs=[read[i] for i in order], outputs=[written[i] for i in order]
    )
    assert np.allclose(one.index, other.index, atol=1e-12)


def test_shared_separated_and_common_patterns():
    read, written = all_tasks(3)
    by_input, by_output = np.eye(3)[read], np.eye(3)[written]
    shared = sharing_index(by_input, inputs=read, outputs=written)
    assert np.isclose(shared.same_input[0], 1)
    assert np.isclose(shared.neither[0], -0.5)
    assert np.isclose(shared.index[0], 1.5)  # above 1: other inputs correlate negatively
    assert sharing_index(by_output, inputs=read, outputs=written).index[0] < 0
    assert np.isclose(sharing_index(np.eye(9), inputs=read, outputs=written).index[0], 0)
    # All alike for a common reason: every mean is near 1, and the index near 0.
    noise = 1e-3 * np.random.default_rng(0).normal(size=(9, 40))
    common = sharing_index(np.arange(40) + noise, inputs=read, outputs=written)
    assert common.same_input[0] > 0.99
    assert abs(common.index[0]) < 1e-3


def test_cosines_where_inner_products_alone_are_known():
    read, written = all_tasks(2, 2)
    activity = np.random.default_rng(1).normal(size=(2, 8, 5))
    gram = Representation.from_gram(activity @ activity.transpose(0, 2, 1))
    found = sharing_index(gram, inputs=read, outputs=written, measure="cosine")
    turned = sharing_index(activity @ rotation(5), inputs=read, outputs=written, measure="cosine")
    assert np.allclose(found.index, turned.index, atol=1e-12)
    with pytest.raises(OutsideValidity, match="means over units"):
        sharing_index(gram, inputs=read, outputs=written)


def test_pairs_that_do_not_occur_have_no_mean():
    found = sharing_index(
        np.random.default_rng(2).normal(size=(3, 4)), inputs=[0, 0, 1], outputs=[0, 1, 2]
    )
    assert found.pairs == (1, 0, 2)
    assert np.isnan(found.same_output).all()
    assert np.allclose(found.index, found.same_input - found.neither)


def test_silent_tasks_are_named():
    with pytest.raises(OutsideValidity, match="task 0 to 1 at time 0"):
        sharing_index(
            np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]), inputs=[0, 0, 1], outputs=[0, 1, 0]
        )


@pytest.mark.parametrize(
    ("inputs", "outputs", "error", "message"),
    [
        ([0, 1, 2], [0, 0, 0], InvalidArgument, "no two are in one group"),
        ([0, 0, 0], [0, 1, 2], InvalidArgument, "all are in one group"),
        ([0, 0, 0], [1, 1, 1], InvalidArgument, "all are in one group"),
        ([0, 1], [0, 1], ShapeMismatch, "each of the 3 samples"),
        ([0, 1, 1], [0.5, 1.0, 2.0], InvalidArgument, "'outputs'.*text or integers"),
        (None, [0, 1, 1], InvalidArgument, "'inputs'"),
    ],
)
def test_bad_groups(inputs, outputs, error, message):
    with pytest.raises(error, match=message):
        sharing_index(np.eye(3), inputs=inputs, outputs=outputs)


@pytest.mark.parametrize("measure", ["euclidean", "pearson", None])
def test_only_measures_in_which_alike_is_large(measure):
    read, written = all_tasks(2)
    with pytest.raises(InvalidArgument, match="'correlation' or 'cosine'"):
        sharing_index(np.eye(4), inputs=read, outputs=written, measure=measure)
    with pytest.raises(InvalidArgument, match="'correlation' or 'cosine'"):
        sk.analysis.same_minus_different(np.eye(4), read, measure)


def test_any_groups():
    activity = np.random.default_rng(3).normal(size=(2, 4, 6))
    groups = ["a", "a", "b", "c"]
    r = np.stack([np.corrcoef(h) for h in activity])
    between = (r[:, 0, 2] + r[:, 0, 3] + r[:, 1, 2] + r[:, 1, 3] + r[:, 2, 3]) / 5
    found = sk.analysis.same_minus_different(activity, groups)
    assert np.allclose(found, r[:, 0, 1] - between)
    given_ = sk.analysis.similarity(activity, "correlation")
    assert np.array_equal(sk.analysis.same_minus_different(given_, groups), found)
    with pytest.raises(InvalidArgument, match="'correlation' or 'cosine'"):
        sk.analysis.same_minus_different(sk.analysis.similarity(activity, "euclidean"), groups)
    with pytest.raises(InvalidArgument, match="Argument 'groups'"):
        sk.analysis.same_minus_different(given_, ["a", "b"])
    with pytest.raises(InvalidArgument, match="of the 1 patterns"):
        sk.analysis.same_minus_different([[1.0, 2.0]], ["a"])
