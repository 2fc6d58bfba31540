"""Reversed tasks: opposite targets, whatever a task is made of."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import given

import symkernel as sk
from symkernel import testing
from symkernel.errors import InvalidArgument

s, r, w, d = sp.symbols("s r w d", positive=True)


def assert_opposite(task: sk.Task, turned: sk.Task) -> None:
    for name, sign in (("Sxx", 1), ("Syx", -1), ("Syy", 1)):
        np.testing.assert_allclose(getattr(turned, name), sign * getattr(task, name), atol=1e-13)


@given(testing.array_tasks())
def test_only_the_cross_moment_changes_its_sign(task: sk.Task) -> None:
    turned = task.reversed()
    assert_opposite(task, turned)
    assert_opposite(turned, turned.reversed())
    assert turned.labels == task.labels
    assert turned.history[-1].startswith("reversed")
    assert not task.history


def test_weights_of_samples_are_kept() -> None:
    task = sk.Task(np.eye(2), np.eye(2), sample_weights=[0.25, 0.75])
    assert_opposite(task, task.reversed())
    assert task.reversed().Syx[1, 1] == pytest.approx(-0.75)


def test_tasks_of_moments_and_exact_ones() -> None:
    moments = sk.Task.from_moments(np.eye(2), np.diag([2.0, 1.0]), np.diag([4.0, 1.0]))
    assert_opposite(moments, moments.reversed())
    exact = sk.Task(sp.eye(2), sp.Matrix([[2, 2], [2, 0]]))
    assert exact.reversed().exact.Syx == -exact.exact.Syx
    given = sk.Task.from_moments(sp.eye(2), sp.diag(s, r), sp.diag(s**2, r**2))
    assert given.reversed().exact.Syx == -given.exact.Syx


def test_modes_with_symbols_get_values_afterwards() -> None:
    task = sk.Task.from_modes([s, r], multiplicity=[1, 2], input_variance=[1, d])
    turned = task.reversed()
    assert [mode.s for mode in turned.modes] == [-s, -r]
    assert turned.reversed() is task
    values = {s: 2, r: 0.5, d: 3}
    assert_opposite(task.with_values(values), turned.with_values(values))


def test_a_task_that_was_changed_after_its_reversal_is_reversed_as_it_is() -> None:
    task = sk.Task(np.array([[1.0, 2.0], [0.5, -1.0], [2.0, 0.1]]), np.eye(3))
    centred = task.reversed().centred()
    assert_opposite(centred, centred.reversed())


def test_mixtures_with_the_reverse() -> None:
    task = sk.Task.from_modes(s)
    mixed = sk.Task.mixture([task, task.reversed()], [w, 1 - w])
    assert sp.expand(mixed.modes[0].s - (2 * w - 1) * s) == 0
    turned = mixed.reversed()
    assert turned.free_symbols == {s, w}
    values = {s: 2, w: 0.75}
    assert_opposite(mixed.with_values(values), turned.with_values(values))
    assert mixed.with_values(values).Syx[0, 0] == pytest.approx(1.0)


def test_fresh_samples_are_refused() -> None:
    net = sk.Network.two_layer(inputs=2, hidden=2, outputs=1)
    task = sk.Task.from_teacher(net, sk.weights.gaussian(net, seed=1))
    with pytest.raises(InvalidArgument, match="drawn anew in each step cannot be reversed"):
        task.reversed()


@pytest.mark.parametrize("task", [sk.Task.from_modes(s), sk.Task.from_modes([2, 1])])
def test_weights_are_aligned_with_the_task_itself(task: sk.Task) -> None:
    n = int(task.inputs)
    net = sk.Network.two_layer(inputs=n, hidden=n, outputs=n)
    with pytest.raises(InvalidArgument, match="modes of negative strength; align the weights"):
        sk.weights.aligned(net, task.reversed(), a=0.1, b=0.1)


def test_names_are_kept() -> None:
    labels = {"samples": ("a", "b"), "inputs": ("x", "y"), "outputs": ("u", "v")}
    for X, Y in ((np.eye(2), np.eye(2)), (sp.eye(2), sp.Matrix([[1, 2], [3, s]]))):
        task = sk.Task(X, Y, labels)
        assert dict(task.reversed().labels) == labels
