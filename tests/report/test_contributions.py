"""The figure of a contribution matrix."""

from __future__ import annotations

import numpy as np
import pytest

from symkernel import simulate
from symkernel.errors import InvalidArgument, OutsideValidity
from symkernel.report.contributions import contribution_matrix
from tests.oracles.networks import two_layer_problem as problem


def attributed(attribute):
    net, task, w0 = problem(samples=18)
    return simulate(net, task, w0, 0.1, steps=20, attribute=attribute).attribution()


def test_cells_are_the_matrix():
    found = attributed([f"task {k % 3}" for k in range(18)])
    panel = contribution_matrix(found, time=1.0).axes[0]
    matrix = found.matrix(1.0)
    np.testing.assert_array_equal(panel.images[0].get_array(), matrix)
    written = [float(text.get_text()) for text in panel.texts]
    np.testing.assert_allclose(written, matrix.reshape(-1), rtol=0, atol=0.0051)
    assert [tick.get_text() for tick in panel.get_yticklabels()] == list(found.test_labels)
    low, high = panel.images[0].get_clim()
    assert low == -high  # white is no contribution


def test_many_groups_have_neither_names_nor_numbers():
    panel = contribution_matrix(attributed("sample")).axes[0]
    assert panel.images[0].get_array().shape == (18, 18)
    assert not panel.texts
    assert not panel.get_xticklabels()


def test_numbers_are_written_up_to_eight_groups():
    for count, written in ((8, 64), (9, 0)):
        found = attributed([f"{k % count}" for k in range(18)])
        assert len(contribution_matrix(found).axes[0].texts) == written


def test_bad_arguments():
    with pytest.raises(InvalidArgument, match=r"from trajectory.attribution\(\)"):
        contribution_matrix(np.eye(2))
    with pytest.raises(OutsideValidity, match="has not moved"):
        contribution_matrix(attributed("task"), time=0)
    with pytest.raises(InvalidArgument, match="must not exceed the last recorded time"):
        contribution_matrix(attributed("task"), time=99)
