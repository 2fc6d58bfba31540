"""The compiled gradient against complex steps, differences, blocks, shares and moments."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symkernel import Network, Task
from symkernel.simulation.engine import Engine, Stage
from symkernel.simulation.layout import Layout, aligned
from symkernel.simulation.program import Source
from tests.oracles import numpy_descent as oracle
from tests.oracles.networks import EXAMPLES, drawn_problem


def engine_of(net, weights, task, gates, on_moments=False, factor=0.5):
    layout = Layout(net, len(task.X))
    thetas = aligned(1, layout.count)
    thetas[0] = layout.vector(weights)
    return Engine(Stage(net, task, gates, 0.1, factor, on_moments), thetas)


def expected_gradient(net, weights, task, gates, factor=0.5):
    """By the scaled parameters, as the program has it."""
    found = oracle.gradient(net, weights, task.X, task.Y, gates, factor)
    return np.concatenate([found[p.name].reshape(-1) / float(p.scale) for p in net.parameters])


def assert_gradient(name, on_moments, samples, seed, factor=0.5):
    net, weights, task, gates = drawn_problem(name, samples, seed)
    engine = engine_of(net, weights, task, gates, on_moments, factor)
    expected = expected_gradient(net, weights, task, gates, factor)
    size = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(
        engine.gradient(engine.thetas[0].copy()), expected, rtol=0, atol=4e-14 * size
    )
    loss = oracle.loss(net, weights, task.X, task.Y, gates, factor)
    assert engine.loss() == pytest.approx(loss, rel=1e-12)


# Its program takes longest to compile; the trainings of test_descent.py have it in every run.
LONGEST = "user-made activations"
every_network = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name == LONGEST)) for name in EXAMPLES],
)


@every_network
@settings(max_examples=15)
@given(samples=st.integers(1, 40), seed=st.integers(0, 10**6), factor=st.floats(0.1, 3))
def test_gradient_on_samples(name, samples, seed, factor):
    assert_gradient(name, False, samples, seed, factor)


@pytest.mark.parametrize("name", [name for name, make in EXAMPLES.items() if make().is_linear])
@settings(max_examples=15)
@given(samples=st.integers(5, 40), seed=st.integers(0, 10**6))
def test_gradient_on_moments(name, samples, seed):
    assert_gradient(name, True, samples, seed)


# Each is compiled for seconds.
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("shared", "slices")]


@pytest.mark.parametrize("name", ["two layers, tanh", "gated", *SLOW])
@pytest.mark.parametrize("samples", [251, 1000, 4321])
def test_gradient_over_many_blocks(name, samples):
    net, _, _, _ = drawn_problem(name, 1, 0)
    assert Layout(net, samples).blocks > 1
    assert_gradient(name, False, samples, 7)


def test_more_blocks_than_shares():
    net = EXAMPLES["two layers, tanh"]()
    layout = Layout(net, 5000)
    assert (layout.blocks, layout.shares) == (20, 16)


@pytest.mark.parametrize("name", ["skip", "residual", "deep"])
def test_gradient_against_differences_of_the_loss(name):
    """The oracle has its own forward pass; here the program's loss is differentiated itself."""
    net, weights, task, gates = drawn_problem(name, 9, 3)
    engine = engine_of(net, weights, task, gates)
    theta = engine.thetas[0].copy()
    slope = engine.gradient(theta)
    for place in range(0, theta.size, 3):
        values = []
        for step in (1e-5, -1e-5):
            engine.thetas[0] = theta
            engine.thetas[0, place] += step
            values.append(engine.loss())
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(slope[place], rel=1e-6, abs=1e-8)


def test_moments_with_products_by_blas_agree_with_loops():
    small, large = (Layout(Network.two_layer(n, 8, 4), n, True) for n in (8, 40))
    assert (small.is_unrolled, large.is_unrolled) == (True, False)
    net = Network.two_layer(40, 8, 4)
    rng = np.random.default_rng(0)
    task = Task(rng.normal(size=(60, 40)), rng.normal(size=(60, 4)))
    weights = {p.name: rng.normal(size=p.shape) for p in net.parameters}
    engine = engine_of(net, weights, task, {}, on_moments=True)
    expected = expected_gradient(net, weights, task, {})
    np.testing.assert_allclose(engine.gradient(engine.thetas[0].copy()), expected, atol=1e-12)


def test_source_names_no_size():
    small, large = (Layout(Network.two_layer(n, 2 * n, 3, "tanh"), 5 * n) for n in (2, 7))
    assert Source(small).text("one") == Source(large).text("one")


def test_stable_limit_of_a_quadratic():
    """One linear layer: the Hessian is the input's second moment, once for each output."""
    rng = np.random.default_rng(5)
    task = Task(rng.normal(size=(30, 4)), rng.normal(size=(30, 2)))
    net = Network.mlp([4, 2], parameterisation="ntk")
    engine = engine_of(net, {"W1": rng.normal(size=(2, 4))}, task, {})
    largest = np.linalg.eigvalsh(task.Sxx)[-1] / 4
    assert engine.stable_limit(engine.thetas[0].copy()) == pytest.approx(2 / largest, rel=1e-3)


def test_stable_limit_at_a_saddle_takes_the_positive_side():
    """At small weights the eigenvalues come in pairs of both signs."""
    task = Task(np.eye(2) * np.sqrt(2), np.diag([3.0, 1.0]) * np.sqrt(2))
    net = Network.two_layer(2, 2, 2)
    engine = engine_of(net, {"W1": 1e-8 * np.eye(2), "W2": 1e-8 * np.eye(2)}, task, {})
    assert engine.stable_limit(engine.thetas[0].copy()) == pytest.approx(2 / 3, rel=1e-3)


def test_random_expressions_interpreted():
    """Compiling takes seconds, so random structures run through the same source uncompiled."""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    code = "from tests.oracles.networks import check_random_expressions as check; check()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
