"""Contexts: one task, its targets turned by the context."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import symkernel as sk
from symkernel.errors import InvalidArgument


@settings(max_examples=20)
@given(st.integers(1, 4), st.lists(st.floats(0.1, 3), min_size=1, max_size=3), st.booleans(),
       st.integers(0, 2), st.integers(0, 99))  # fmt: skip
def test_moments_inside_each_context(K, s, same, more, seed):
    n_in, n_out = len(s) + more, len(s) + 1
    d = np.linspace(0.5, 2.0, n_in)
    task = sk.environments.contexts(
        K, s, inputs=n_in, outputs=n_out, input_variance=d, same_targets=same, seed=seed
    )
    assert np.array_equal(sum(gate for gate in task.gates.values()), np.ones((K * n_in, 1)))
    crosses = []
    for gate in task.gates.values():
        here = gate[:, 0] == 1
        X, Y = task.X[here], task.Y[here]
        assert np.allclose(np.linalg.eigvalsh(X.T @ X / n_in), d)
        crosses.append(Y.T @ X / n_in)
        assert np.allclose(np.linalg.svd(crosses[-1])[1][: len(s)], np.sort(s)[::-1])
        assert np.allclose(crosses[-1].T @ crosses[-1], crosses[0].T @ crosses[0])
    assert all(np.allclose(c, crosses[0]) for c in crosses) or not same


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"K": 0}, "'K'"),
        ({"K": 1.5}, "'K'"),
        ({"s": []}, "empty"),
        ({"s": [-1.0]}, "not negative"),
        ({"s": [0.0]}, "one of them positive"),
        ({"s": np.nan}, "finite"),
        ({"s": "a"}, "text"),
        ({"s": [[1.0]]}, "1-dimensional"),
        ({"inputs": 1}, "'inputs'"),
        ({"outputs": 1}, "'outputs'"),
        ({"outputs": True}, "'outputs'"),
        ({"input_variance": [1.0, 1.0, 1.0]}, "one for each of the 2"),
        ({"input_variance": 0.0}, "must be positive"),
        ({"same_targets": 1}, "True or False"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_input_is_refused(change, words):
    with pytest.raises(InvalidArgument, match=words):
        sk.environments.contexts(**{"K": 2, "s": [2.0, 1.0], **change})
