"""Cross-entropy: values, gradients, whole trainings, and tasks and uses that it does not suit."""

from __future__ import annotations

import os
import subprocess
import sys

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import symkernel as sk
from symkernel.errors import InvalidArgument, NoClosedForm
from symkernel.problem.problem import Problem
from symkernel.simulation.engine import Engine, Stage
from symkernel.simulation.flow import integrate_flow
from symkernel.simulation.layout import Layout, aligned
from tests.oracles import numpy_sgd as oracle

CE = sk.CrossEntropy(weight_decay=0.05)


def decision(outputs=2, samples=12, seed=0):
    rng = np.random.default_rng(seed)
    return sk.Task(rng.normal(size=(samples, 3)), oracle.classes(samples, outputs, rng))


def deep(hidden, outputs=2, activation="relu"):
    net = sk.Network.mlp([3, *hidden, outputs], activation=activation, bias=True)
    return net, sk.weights.gaussian(net, scale=1.3, seed=4)


@pytest.mark.parametrize("outputs", [1, 2, 3])
@settings(max_examples=60)
@given(data=st.data())
def test_values_against_50_digits(outputs, data):
    """Also far out, where a naive softmax overflows."""
    f = data.draw(arrays(float, outputs, elements=st.floats(-800, 800)))
    label = data.draw(st.integers(0, max(outputs, 2) - 1))
    with mpmath.workdps(50):
        scores = [mpmath.mpf(0), mpmath.mpf(f[0])] if outputs == 1 else [*map(mpmath.mpf, f)]
        wanted = mpmath.log(sum(map(mpmath.exp, scores))) - scores[label]
    Y = np.array([[2.0 * label - 1]]) if outputs == 1 else np.eye(outputs)[[label]]
    found = sk.CrossEntropy().values(f[None], Y)[0]
    assert float(abs(found - wanted)) <= 1e-14 * max(1.0, float(abs(f).max()))


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_gradient_by_outputs_against_50_digits(outputs):
    """A network of a bias alone: its gradient is that by the outputs."""
    b = sk.nodes.Parameter("b", (outputs,), "bias")
    W = sk.nodes.Parameter("W", (outputs, 1), trained=False)
    net = sk.Network.build(W @ sk.nodes.Input(1) + b)
    rng = np.random.default_rng(outputs)
    task = sk.Task(np.zeros((6, 1)), oracle.classes(6, outputs, rng))
    misfit = sk.CrossEntropy().misfit(outputs)
    for size in (1.0, 30.0, 500.0):
        at = size * rng.normal(size=outputs)
        theta = Layout(net, 1).vector({"b": at, "W": np.zeros((outputs, 1))})[None].copy()
        engine = Engine(Stage(net, task, {}, 0.1, 0.5, misfit=misfit), theta)
        found = engine.gradient(theta[0].copy())[Layout(net, 1).vector(
            {"b": np.ones(outputs), "W": np.zeros((outputs, 1))}) > 0]  # fmt: skip
        with mpmath.workdps(50):
            scores = [mpmath.mpf(0), mpmath.mpf(at[0])] if outputs == 1 else [*map(mpmath.mpf, at)]
            mass = sum(map(mpmath.exp, scores))
            p = [mpmath.exp(s) / mass for s in scores]
        share = [float(p[1])] if outputs == 1 else [float(q) for q in p]
        wanted = share - ((1 + task.Y) / 2 if outputs == 1 else task.Y).mean(0)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-15)
        value = oracle.cross_entropy(np.tile(at, (6, 1)) if size < 300 else np.zeros((6, outputs)),
                                     task.Y).mean()  # fmt: skip
        if size < 300:
            assert engine.loss() == pytest.approx(value, rel=1e-13)


def test_finite_differences_of_the_loss():
    net, w0 = deep([5])
    task, misfit = decision(), sk.CrossEntropy().misfit(2)
    layout = Layout(net, 12)
    thetas = aligned(1, layout.count)
    thetas[0] = start = layout.vector(w0.arrays)
    engine = Engine(Stage(net, task, {}, 0.1, 0.5, decay=0.05, misfit=misfit), thetas)
    found, h = engine.gradient(start.copy()), 1e-3

    def at(k, step):
        thetas[0] = start
        thetas[0, k] += step
        return engine.loss()

    for k in range(0, layout.count, 5):
        # Fourth order, so that the step is large and rounding small.
        slope = (8 * (at(k, h) - at(k, -h)) - (at(k, 2 * h) - at(k, -2 * h))) / (12 * h)
        assert found[k] == pytest.approx(slope, abs=1e-9)


def test_programs_of_random_networks_interpreted():
    code = "from tests.oracles.numpy_sgd import check_random_expressions as check; check()"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.parametrize(
    ("hidden", "batch"),
    [
        ([5], 3),
        pytest.param([4, 3], None, marks=pytest.mark.slow),
        pytest.param([4, 3, 3], 9, marks=pytest.mark.slow),
        pytest.param([3, 4, 3, 3], 2, marks=pytest.mark.slow),
    ],
)
def test_every_step_follows_the_oracle(hidden, batch):
    """Through two phases, with weight decay; sizes of a batch below and above the written out."""
    net, w0 = deep(hidden)
    first, then = decision(seed=1), decision(seed=2)
    course = sk.Curriculum([sk.Phase(first, 0.5), sk.Phase(then)])
    steps = [0.1 * k for k in range(11)]
    sim = sk.simulate(net, course, w0, 0.1, record=steps, batch_size=batch, seed=3, loss=CE)
    phases = [(task.X, task.Y, 5, None, {}) for task in (first, then)]
    path = oracle.train(net, w0.arrays, phases, 0.1, batch, 3, oracle.cross_entropy, 0.05)
    for k, weights in enumerate(path):
        for name, wanted in weights.items():
            np.testing.assert_allclose(sim.weights[name][k], wanted, rtol=1e-12, atol=1e-12)
        task = first if k <= 5 else then
        how = task.X, task.Y, {}, oracle.cross_entropy
        assert sim.loss[k] == pytest.approx(oracle.loss(net, weights, *how, 0.05), rel=1e-12)
        each = [oracle.loss(net, weights, one.X, one.Y, *how[2:]) for one in (first, then)]
        np.testing.assert_allclose(sim.task_losses[k], each, rtol=1e-12)


@pytest.mark.parametrize("batch", [pytest.param(None, marks=pytest.mark.slow), 3])
def test_members_of_an_ensemble_are_single_runs_to_the_last_bit(batch):
    net, _ = deep([5])
    w0, task = [sk.weights.gaussian(net, seed=k) for k in range(3)], decision()
    how = {"learning_rate": 0.2, "steps": 60, "batch_size": batch, "loss": CE}
    sims = sk.simulate_ensemble(net, task, w0, **how, seeds=[5, 6, 7])
    for seed, start, sim in zip((5, 6, 7), w0, sims, strict=True):
        alone = sk.simulate(net, task, start, **how, seed=seed)
        for name, values in alone.weights.items():
            if batch:
                assert np.array_equal(values, sim.weights[name])
            np.testing.assert_allclose(values, sim.weights[name], rtol=1e-13, atol=1e-14)


def test_two_outputs_are_one_of_their_difference():
    """Softmax of (f, -f)/2 is the logistic function of f."""
    f, Y = 5 * np.random.default_rng(0).normal(size=(12, 1)), decision(1).Y
    both = np.hstack([f, -f]) / 2, np.hstack([1 + Y, 1 - Y]) / 2
    logistic, softmax = (sk.CrossEntropy().values(*q) for q in ((f, Y), both))
    np.testing.assert_allclose(logistic, softmax, rtol=1e-14, atol=1e-15)


@pytest.mark.slow
def test_the_flow_is_what_small_steps_lead_to():
    net, w0 = deep([3], activation="tanh")
    task = decision()
    problem = Problem(net, sk.Curriculum([sk.Phase(task)]), w0, sk.CrossEntropy())
    flow = integrate_flow(problem, [1.0], rtol=1e-9, atol=1e-11).weights["W1"][0]
    off = []
    for rate in (0.02, 0.01):
        sim = sk.simulate(net, task, w0, rate, record=[1.0], loss=sk.CrossEntropy())
        off.append(abs(sim.weights["W1"][0] - flow).max())
    assert off[0] / off[1] == pytest.approx(2, rel=0.05)


def linear():
    net = sk.Network.mlp([3, 4, 2], "linear")
    return net, sk.weights.gaussian(net, scale=1.3, seed=4), decision()


def test_linear_networks_do_not_go_through_moments():
    """Twelve samples of three inputs: squared error would run on second moments."""
    net, w0, task = linear()
    sim = sk.simulate(net, task, w0, 0.1, steps=20, loss=sk.CrossEntropy())
    for k in (0, -1):
        held = {name: w[k] for name, w in sim.weights.items()}
        wanted = oracle.loss(net, held, task.X, task.Y, {}, oracle.cross_entropy)
        assert sim.loss[k] == pytest.approx(wanted, rel=1e-12)
        assert sim.task_losses[k, 0] == pytest.approx(wanted, rel=1e-12)


def test_the_flow_of_a_linear_network_is_of_its_samples():
    """Its slope at the start is minus the gradient of the cross-entropy."""
    net, w0, task = linear()
    problem = Problem(net, sk.Curriculum([sk.Phase(task)]), w0, sk.CrossEntropy())
    flow = integrate_flow(problem, [0.0, 1e-4]).weights
    slope = oracle.gradient(net, w0.arrays, task.X, task.Y, {}, oracle.cross_entropy)
    for name, wanted in slope.items():
        moved = (flow[name][1] - flow[name][0]) / 1e-4
        np.testing.assert_allclose(moved, -wanted, rtol=0, atol=1e-3 * np.abs(wanted).max())


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_loss_of_an_output_that_is_zero(outputs):
    net, _ = deep([5], outputs)
    loss = sk.CrossEntropy()
    stage = Stage(net, decision(outputs), {}, 0.1, loss.misfit_factor, misfit=loss.misfit(outputs))
    assert stage.zero == pytest.approx(np.log(max(outputs, 2)), rel=1e-15)


def test_symbols_get_values():
    gamma = sp.Symbol("gamma", nonnegative=True)
    loss = sk.CrossEntropy(weight_decay=2 * gamma)
    assert loss.free_symbols == {gamma}
    assert loss.with_values({gamma: sp.Rational(1, 4)}) == sk.CrossEntropy(sp.Rational(1, 2))


def test_conventions_name_the_loss():
    net, w0 = deep([5])
    sim = sk.simulate(net, decision(), w0, 0.1, steps=1, loss=CE)
    assert "cross-entropy in nats" in sim.conventions[0]
    assert not any("loss factor" in line for line in sim.conventions)


X = np.random.default_rng(0).normal(size=(4, 3))


@pytest.mark.parametrize(
    ("Y", "words"),
    [
        ([[0.5, 0.4]] * 4, "distribution over the outputs.*sample 0"),
        ([[1, 0], [0, 1], [1.5, -0.5], [1, 0]], "sample 2"),
        ([[1, 0]] * 4, "at least two classes"),
        ([[0], [1], [0], [1]], "-1 or"),
        ([[1]] * 4, "at least two classes"),
    ],
)
def test_targets_that_are_no_classes(Y, words):
    net, w0 = deep([3], len(Y[0]))
    with pytest.raises(InvalidArgument, match=words):
        sk.simulate(net, sk.Task(X, np.array(Y, float)), w0, 0.1, steps=1, loss=sk.CrossEntropy())


@pytest.mark.parametrize(
    "task",
    [
        lambda: sk.Task.from_moments(np.eye(3), np.zeros((2, 3)), np.eye(2)),
        lambda: sk.Task.from_teacher(*deep([3])),
    ],
)
def test_tasks_without_classes(task):
    net, w0 = deep([3])
    with pytest.raises(InvalidArgument, match="class of each sample"):
        sk.simulate(net, task(), w0, 0.1, steps=1, batch_size=2, loss=sk.CrossEntropy())


def test_moments_are_refused():
    net = sk.Network.mlp([3, 2])
    w0 = sk.weights.gaussian(net)
    with pytest.raises(InvalidArgument, match="cross-entropy needs samples"):
        sk.simulate(net, decision(), w0, 0.1, steps=1, on="moments", loss=sk.CrossEntropy())


@pytest.mark.parametrize("rate", [0, -0.1, float("nan"), True, "fast"])
def test_learning_rates_that_are_not_positive(rate):
    net, w0 = deep([3])
    with pytest.raises(InvalidArgument, match="learning_rate"):
        sk.simulate(net, decision(), w0, rate, steps=1, loss=sk.CrossEntropy())


@pytest.mark.parametrize("decay", [-1, float("nan"), 1j, True, "0.1"])
def test_weight_decay_that_is_no_number(decay):
    with pytest.raises(InvalidArgument, match="weight_decay"):
        sk.CrossEntropy(weight_decay=decay)


def test_laws_refuse_it_by_name():
    net = sk.Network.two_layer(3, 4, 2)
    w0, task = sk.weights.gaussian(net), decision()
    with pytest.raises(NoClosedForm, match="No law of the catalogue is for CrossEntropy"):
        sk.derive(net, task, w0, loss=sk.CrossEntropy())
    t = sp.Symbol("t", nonnegative=True)
    with pytest.raises(InvalidArgument, match="not CrossEntropy"):
        sk.check_claim(t, "loss", (net, task, w0), loss=sk.CrossEntropy())
    with pytest.raises(InvalidArgument, match="must be a SquaredError"):
        sk.time_derivatives(net, task, w0, loss=sk.CrossEntropy())
    with pytest.raises(InvalidArgument, match="squared error alone"):
        assert sk.CrossEntropy().factor


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        ([0, 0, 0], None, "at least two classes"),
        ([0.0, 1.0], None, "integers"),
        ([[0, 1]], None, "one-dimensional"),
        ([], None, "one-dimensional"),
        (["a", "b"], None, "integers"),
        ([0, 3], 3, "from 0 to 2"),
        ([-1, 1], None, "from 0 to 1"),
        ([0, 1], 1, "classes"),
    ],
)
def test_labels_that_are_no_classes(labels, classes, words):
    with pytest.raises(InvalidArgument, match=words):
        sk.one_hot(labels, classes)


def test_one_hot():
    assert np.array_equal(sk.one_hot(np.array([2, 0]), 4), np.eye(4)[[2, 0]])
    assert np.array_equal(sk.one_hot([True, False]), np.eye(2)[[1, 0]])
