"""Corners of the second-moment law: one feature, one sample, unsorted steps, shared weights."""

from __future__ import annotations

import numpy as np
import pytest

import symkernel as sk
from symkernel.errors import InvalidArgument, NoClosedForm
from symkernel.nodes import Input, Parameter
from symkernel.theory import second_moment_laws

STREAM = np.random.default_rng(1000)
X = STREAM.normal(size=(12, 3))
TASK = sk.Task(X, X[:, :2] + 0.3 * STREAM.normal(size=(12, 2)))
NET = sk.Network.mlp([3, 2])
W0 = sk.weights.from_arrays(NET, [np.full((2, 3), 0.5)])
NOISY = sk.LabelNoise(std=0.5)


def test_trap_a_shared_weight_is_not_linear():
    """In W (W x) the inner W is trained too: the law with it fixed would be of another network."""
    W = Parameter("W", (2, 2))
    net = sk.Network.build(W @ (W @ Input(2)))
    task, w0 = sk.Task(X[:, :2], X[:, 1:]), sk.weights.from_arrays(net, [np.eye(2)])
    with pytest.raises(NoClosedForm, match="'W' more than once in a product"):
        sk.second_moment(net, task, w0, 0.05, batch_size=3)


@pytest.mark.parametrize("again", [True, False])
def test_late_it_is_stationary_with_label_noise(again):
    how = {"batch_size": 3, "replacement": again, "label_noise": NOISY}
    law = sk.second_moment(NET, TASK, W0, 0.2, **how)
    size = abs(law.stationary_covariance).max()
    assert np.abs(law.covariance(4000) - law.stationary_covariance).max() < 1e-10 * size
    quiet = sk.second_moment(NET, TASK, W0, 0.2, **how | {"label_noise": None})
    more = law.stationary_covariance - quiet.stationary_covariance
    assert (np.einsum("ofof->of", more) > 0).all()


@pytest.mark.parametrize(("again", "spread"), [(True, 1 / 2), (False, 3 / (2 * 4))])
def test_the_limit_of_one_feature(again, spread):
    """Of one weight the share of a step is 1 - 2 eta h + eta^2 (theta m + (1 - theta) h^2)."""
    x = np.array([[1.0], [2.0], [-0.5], [0.3], [1.5]])
    net = sk.Network.mlp([1, 1])
    w0 = sk.weights.from_arrays(net, [[[1.0]]])
    how = {"batch_size": 2, "replacement": again}
    h, m = (x**2).mean(), (x**4).mean()
    limit = sk.noise.stability_limit(net, sk.Task(x, x), w0, **how)
    assert limit == pytest.approx(2 * h / (spread * m + (1 - spread) * h**2), rel=1e-12)


def test_the_limit_has_the_factors_of_a_step():
    plain = sk.noise.stability_limit(NET, TASK, W0, batch_size=3)
    other = sk.noise.stability_limit(NET, TASK, W0, batch_size=3, loss=sk.SquaredError(0.8))
    assert other == pytest.approx(plain / 1.6, rel=1e-12)


def test_one_sample_is_a_set():
    task = sk.Task(X[:1], TASK.Y[:1])
    law = sk.second_moment(NET, task, W0, 0.1, batch_size=1)
    assert not np.abs(law.covariance(7)).max() > 1e-15
    shrunk = (1 - 0.1 * (X[0] ** 2).sum()) ** 7
    off = TASK.Y[0] - np.full((2, 3), 0.5) @ X[0]
    np.testing.assert_allclose(TASK.Y[0] - law.mean(7) @ X[0], shrunk * off, rtol=1e-12)


def test_steps_in_any_order():
    law = sk.second_moment(NET, TASK, W0, 0.1, batch_size=3, label_noise=NOISY)
    steps = [9, 0, 4, 9, 1]
    for found in (law.mean, law.covariance, law.loss):
        np.testing.assert_allclose(found(steps), [found(k) for k in steps], rtol=1e-13)


def test_the_optimum_is_that_nearest_to_the_start():
    flat = sk.Task(X * [1.0, 1.0, 0.0], TASK.Y)
    law = sk.second_moment(NET, flat, W0, 0.1, batch_size=3)
    best = np.linalg.lstsq(flat.X[:, :2], flat.Y, rcond=None)[0].T
    np.testing.assert_allclose(law.optimum, np.hstack([best, np.full((2, 1), 0.5)]), rtol=1e-12)


@pytest.mark.parametrize("steps", [2**63 + 5, [1, 2**63 + 5], 2**53 + 2, np.uint64(2**64 - 1)])
def test_steps_beyond_exact_numbers_are_refused(steps):
    law = sk.second_moment(NET, TASK, W0, 0.1, batch_size=3)
    with pytest.raises(InvalidArgument, match="'steps' must be"):
        law.mean(steps)


def test_many_steps_on_a_set_are_taken_in_parts(monkeypatch):
    """So that they can be interrupted; the parts are the whole."""
    law = sk.second_moment(NET, TASK, W0, 0.1, batch_size=3)
    whole = law.covariance([7, 40])
    monkeypatch.setattr(second_moment_laws, "_CALL", 1000)
    np.testing.assert_array_equal(law.covariance([7, 40]), whole)
    calls, compiled = [], second_moment_laws._compiled()

    class Interrupted:
        @staticmethod
        def go(*arguments):
            calls.append(arguments[-1])
            if len(calls) == 3:
                raise KeyboardInterrupt
            compiled.go(*arguments)

    monkeypatch.setattr(second_moment_laws, "_compiled", lambda: Interrupted)
    with pytest.raises(KeyboardInterrupt):
        law.mean(10**12)
    assert len(calls) == 3
    assert max(calls) < 10
