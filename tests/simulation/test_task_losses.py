"""Losses on every task of a curriculum, read from recorded weights."""

from __future__ import annotations

import numpy as np
import pytest

import symkernel as sk
from symkernel.errors import OutsideValidity
from symkernel.nodes import Gate, Input, Linear, Parameter

RNG = np.random.default_rng(1000)
SHARES = np.array([0.5, 0.25, 0.125, 0.125])
FIRST = sk.Task(RNG.standard_normal((4, 3)), RNG.standard_normal((4, 2)), sample_weights=SHARES)
SECOND = sk.Task(RNG.standard_normal((6, 3)), RNG.standard_normal((6, 2)))
COURSE = sk.Curriculum([sk.Phase(FIRST, 1.0), sk.Phase(SECOND)])
TIMES = np.array([0.0, 0.4, 1.0, 1.4, 2.0])
RUNNING = [0, 0, 0, 1, 1]


def run_of(net: sk.Network, **options) -> sk.Trajectory:
    return sk.simulate(net, COURSE, sk.weights.gaussian(net, seed=1), 0.01, record=TIMES, **options)


@pytest.mark.parametrize("on", ["samples", "moments"])
def test_linear_networks(on: str) -> None:
    net = sk.Network.two_layer(inputs=3, hidden=4, outputs=2)
    run = run_of(net, on=on, loss=sk.SquaredError(0.8))
    assert run.task_losses.shape == (5, 2)
    np.testing.assert_allclose(run.task_losses[range(5), RUNNING], run.loss, rtol=1e-12)
    maps = run.weights["W2"] @ run.weights["W1"]
    off = SECOND.X @ maps.transpose(0, 2, 1) - SECOND.Y
    np.testing.assert_allclose(run.task_losses[:, 1], 0.8 * (off**2).sum(2).mean(1), rtol=1e-12)


def test_nonlinear_networks_and_tasks_of_different_numbers_of_samples() -> None:
    net = sk.Network.mlp([3, 5, 2], activation="tanh", bias=True)
    run = run_of(net)
    np.testing.assert_allclose(run.task_losses[range(5), RUNNING], run.loss, rtol=1e-12)
    alone = sk.simulate(net, SECOND, sk.weights.gaussian(net, seed=1), 0.01, record=[0.0])
    np.testing.assert_allclose(run.task_losses[0, 1], alone.loss[0], rtol=1e-12)


def test_weight_decay_is_left_out() -> None:
    net = sk.Network.two_layer(inputs=3, hidden=4, outputs=2)
    run = run_of(net, loss=sk.SquaredError(weight_decay=0.3))
    squares = sum((w**2).sum((1, 2)) for w in run.weights.values())
    found = run.task_losses[range(5), RUNNING]
    np.testing.assert_allclose(found, run.loss - 0.15 * squares, rtol=1e-10)


def test_gates_are_those_of_the_task() -> None:
    x = Input(3)
    hidden = Linear(Parameter("W1", (4, 3)), x)
    net = sk.Network.build(Linear(Parameter("W2", (2, 4)), Gate("g", hidden)))
    gates = [{"g": RNG.integers(0, 2, (n, 4)).astype(float)} for n in (4, 6)]
    run = run_of(net, gates=gates)
    np.testing.assert_allclose(run.task_losses[range(5), RUNNING], run.loss, rtol=1e-12)


def test_fresh_samples() -> None:
    teacher = sk.Network.two_layer(inputs=3, hidden=2, outputs=2, activation="erf")
    task = sk.Task.from_teacher(teacher, sk.weights.gaussian(teacher, seed=3))
    net = sk.Network.two_layer(inputs=3, hidden=2, outputs=2)
    w0 = sk.weights.gaussian(net, seed=1)
    run = sk.simulate(net, task, w0, 0.01, steps=2, batch_size=2)
    with pytest.raises(OutsideValidity, match="'task_losses' is not determined"):
        _ = run.task_losses
