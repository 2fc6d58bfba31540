"""Rates, decay and weights of samples in whole runs: step for step against the oracle."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import sympy as sp

from symkernel import Curriculum, Network, Phase, SquaredError, Task
from symkernel import weights as initial
from symkernel.errors import Diverged, InvalidArgument
from symkernel.nodes import Apply, Input, Parameter
from symkernel.simulation import simulate, simulate_ensemble
from symkernel.simulation.engine import Engine, Stage
from symkernel.simulation.layout import Layout, aligned
from symkernel.simulation.program import Source
from tests.oracles import numpy_descent as oracle
from tests.oracles.networks import drawn

RATE, FACTOR, DECAY, STEPS = 0.05, 0.7, 0.3, 8
LOSS = SquaredError(FACTOR, DECAY)
SHARES = np.array([0.1, 0.2, 0.05, 0.15, 0.3, 0.2])


def four_hidden():
    sizes, rates = [3, 4, 3, 3, 2, 2], [2, 1, 0.5, 1, 3]
    return Network.mlp(sizes, "tanh", True, "ntk", rates=rates)


def one_hidden():
    return Network.two_layer(3, 4, 2, "tanh", rates=[0.5, 2])


def mixed_parameters():
    """Shared, diagonal, fixed and scaled parameters with rates of their own."""
    x = Input(3)
    W = Parameter("W", (3, 3), rate=2, scale=sp.Rational(-1, 2))
    d = Parameter("d", (3,), "diagonal", rate=sp.Rational(1, 3))
    fixed = Parameter("F", (3, 3), trained=False, rate=5)
    hidden = Apply("erf", W @ (fixed @ x) + Parameter("b", (3,), "bias", rate=4, scale=3))
    return Network.build((d @ (W @ hidden))[0:2], {"hidden": hidden})


NETWORKS = {"four hidden layers": four_hidden, "mixed parameters": mixed_parameters}


def posed(net, seed=1):
    net, arrays, task, _ = drawn(net, 6, seed)
    return (
        net,
        arrays,
        Task(task.X, task.Y, sample_weights=SHARES),
        initial.from_arrays(net, arrays),
    )


def assert_steps(sim, net, arrays, task, loss=LOSS):
    how = float(loss.factor), float(loss.weight_decay), task.sample_weights
    weights = dict(arrays)
    for k in range(len(sim.steps)):
        for name, wanted in weights.items():
            np.testing.assert_allclose(sim.weights[name][k], wanted, rtol=1e-12, atol=1e-12)
        value = oracle.loss(net, weights, task.X, task.Y, {}, *how)
        assert sim.loss[k] == pytest.approx(value, rel=1e-12)
        weights = oracle.step(net, weights, task.X, task.Y, RATE, {}, *how)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_step_follows_the_oracle(name):
    net, arrays, task, w0 = posed(NETWORKS[name]())
    sim = simulate(net, task, w0, RATE, steps=STEPS, loss=LOSS)
    assert_steps(sim, net, arrays, task)


@pytest.mark.parametrize("on", ["samples", "moments"])
def test_linear_networks_on_samples_and_moments(on):
    net, arrays, task, w0 = posed(Network.two_layer(3, 4, 2, rates=[0.5, 2]))
    sim = simulate(net, task, w0, RATE, steps=STEPS, loss=LOSS, on=on)
    assert_steps(sim, net, arrays, task)


def test_gradient_against_differences_of_the_loss():
    net, arrays, task, _ = posed(four_hidden())
    thetas = aligned(1, Layout(net, 6).count)
    thetas[0] = theta = Layout(net, 6).vector(arrays)
    engine = Engine(Stage(net, task, {}, RATE, FACTOR, False, DECAY), thetas)
    slope = engine.gradient(theta.copy())
    for place in range(theta.size):
        values = []
        for side in (1e-5, -1e-5):
            thetas[0] = theta
            thetas[0, place] += side
            values.append(engine.loss())
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(slope[place], rel=1e-6, abs=1e-8)


def test_members_and_phases():
    net, _, task, _ = posed(one_hidden())
    members = [initial.gaussian(net, seed=k) for k in range(3)]
    second = Task(task.X, -task.Y, sample_weights=SHARES[::-1])
    course = Curriculum([Phase(task, 2 * RATE), Phase(second)])
    together = simulate_ensemble(net, course, members, RATE, steps=6, loss=LOSS)
    for w0, sim in zip(members, together, strict=True):
        alone = simulate(net, course, w0, RATE, steps=6, loss=LOSS)
        for name in sim.weights:
            np.testing.assert_array_equal(sim.weights[name], alone.weights[name])
        np.testing.assert_array_equal(sim.loss, alone.loss)
        weights = oracle.descend(net, w0.arrays, task.X, task.Y, RATE, 2, {}, FACTOR, DECAY, SHARES)
        how = FACTOR, DECAY, SHARES[::-1]
        weights = oracle.descend(net, weights, second.X, second.Y, RATE, 4, {}, *how)
        np.testing.assert_allclose(sim.weights["W2"][-1], weights["W2"], rtol=1e-11, atol=1e-12)


def test_tasks_that_come_again_are_trained_as_if_they_were_new():
    net, _, task, w0 = posed(one_hidden())
    second = Task(task.X, -task.Y, sample_weights=SHARES[::-1])
    course = [Phase(task, 2 * RATE), Phase(second, RATE), Phase(task, RATE), Phase(second, RATE)]
    sim = simulate(net, Curriculum(course), w0, RATE, loss=LOSS)
    # Copies of a task are other tasks, whose program is made anew.
    fresh = [Phase(Task(p.task.X, p.task.Y, sample_weights=p.task.sample_weights), p.duration)
             for p in course]  # fmt: skip
    anew = simulate(net, Curriculum(fresh), w0, RATE, loss=LOSS)
    np.testing.assert_array_equal(sim.loss, anew.loss)
    for name in sim.weights:
        np.testing.assert_array_equal(sim.weights[name], anew.weights[name])


def test_batches_carry_the_weights_of_their_samples():
    net, arrays, task, w0 = posed(one_hidden())
    sim = simulate(net, task, w0, RATE, steps=6, loss=LOSS, batch_size=2, seed=3)
    order = np.random.default_rng(3)
    epochs = [order.permutation(6) for _ in range(2)]
    weights = arrays
    for batch in np.concatenate(epochs).reshape(-1, 2):
        # Of two samples out of six, each counts three times its share.
        shares = 3 * SHARES[batch]
        X, Y = task.X[batch], task.Y[batch]
        weights = oracle.step(net, weights, X, Y, RATE, {}, FACTOR, DECAY, shares)
    for name, wanted in weights.items():
        np.testing.assert_allclose(sim.weights[name][-1], wanted, rtol=1e-11, atol=1e-12)


def test_batches_are_unbiased():
    """At a tiny rate an epoch of batches is as many full steps."""
    net, _, task, w0 = posed(one_hidden())
    batches = simulate(net, task, w0, 1e-8, steps=3, loss=LOSS, batch_size=2)
    full = simulate(net, task, w0, 1e-8, steps=3, loss=LOSS)
    for name, values in full.weights.items():
        moved, wanted = (w[name][-1] - w[name][0] for w in (batches.weights, full.weights))
        np.testing.assert_allclose(moved, wanted, rtol=1e-5, atol=1e-14)
        assert np.abs(values[-1] - values[0]).max() > 0


def test_loss_of_a_mixture_is_the_mean_of_losses():
    net, arrays, task, w0 = posed(four_hidden())
    other = Task(task.X[:2], -task.Y[:2])
    mixed = Task.mixture([Task(task.X, task.Y), other], [0.7, 0.3])
    sim = simulate(net, mixed, w0, RATE, steps=1, loss=LOSS)
    losses = [oracle.loss(net, arrays, t.X, t.Y, {}, FACTOR, DECAY) for t in (task, other)]
    assert sim.loss[0] == pytest.approx(0.7 * losses[0] + 0.3 * losses[1], rel=1e-12)
    slopes = [oracle.gradient(net, arrays, t.X, t.Y, {}, FACTOR, DECAY) for t in (task, other)]
    for p in net.parameters:
        wanted = -RATE * float(p.rate) * (0.7 * slopes[0][p.name] + 0.3 * slopes[1][p.name])
        moved = sim.weights[p.name][1] - sim.weights[p.name][0]
        np.testing.assert_allclose(moved, wanted, rtol=1e-10, atol=1e-14)


def test_programs_without_rates_decay_and_weights_are_as_they_were():
    """Rates are numbers that the program reads; decay and weights of samples stand in its text."""
    plain, rated = Network.mlp([3, 4, 2]), Network.mlp([3, 4, 2], rates=[2, 3])
    text = Source(Layout(plain, 6)).text("one")
    assert text == Source(Layout(rated, 6)).text("one")
    assert "shrink" not in text
    assert "omega" not in text
    assert "shrink" in Source(Layout(plain, 6, decays=True)).text("one")
    assert "omega" in Source(Layout(plain, 6, is_weighted=True)).text("one")


def test_stable_limit_with_rates_and_decay():
    """At the saddle of two linear layers each mode has a Hessian of two by two."""
    (r1, r2), s, decay = (4, 0.5), 3.0, 0.2
    net = Network.two_layer(2, 2, 2, rates=[r1, r2])
    target = np.diag([s, 1.0]) * np.sqrt(2)
    task = Task(np.eye(2) * np.sqrt(2), target, sample_weights=[0.5, 0.5])
    thetas = aligned(1, 8)
    thetas[0] = 1e-8 * np.tile(np.eye(2).ravel(), 2)
    engine = Engine(Stage(net, task, {}, 0.1, 0.5, False, decay), thetas)
    cross = s * np.sqrt(r1 * r2)
    largest = np.linalg.eigvalsh([[r1 * decay, cross], [cross, r2 * decay]])[-1]
    assert engine.stable_limit(thetas[0].copy()) == pytest.approx(2 / largest, rel=1e-3)


def test_divergence_by_decay_alone():
    net = Network.two_layer(2, 2, 1)
    task = Task(np.eye(2), np.zeros((2, 1)), sample_weights=[0.5, 0.5])
    w0, loss = initial.gaussian(net, scale=1e-3), SquaredError(weight_decay=10)
    with pytest.raises(Diverged) as caught:
        simulate(net, task, w0, 0.3, steps=500, loss=loss, on="samples")
    assert caught.value.stable_limit == pytest.approx(2 / 10, rel=1e-3)


def test_decay_needs_scales():
    x = Input(2)
    net = Network.build(Parameter("W", (2, 2), scale=0) @ x + x)
    task, w0 = Task(np.eye(2), np.eye(2)), initial.from_arrays(net, [np.eye(2)])
    with pytest.raises(InvalidArgument, match="scales are not 0"):
        simulate(net, task, w0, 0.1, steps=1, loss=LOSS)


def test_conventions_of_a_run():
    net, _, task, w0 = posed(four_hidden())
    text = "\n".join(simulate(net, task, w0, RATE, steps=0, loss=LOSS).conventions)
    assert "0.3/2 x the sum of squares" in text
    assert "times 0.5 for W3, b3" in text


def test_only_chosen_records_are_kept():
    net = Network.two_layer(60, 120, 60, "tanh")
    task, w0 = Task(np.eye(60), np.eye(60)), initial.gaussian(net)
    size = 8 * sum(int(np.prod(p.shape)) for p in net.parameters)
    simulate(net, task, w0, 0.01, steps=1)
    tracemalloc.start()
    sim = simulate(net, task, w0, 0.01, record=[0.0, 0.5, 2.0])
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sim.steps.tolist() == [0, 50, 200]
    assert sim.weights["W2"].shape == (3, 60, 120)
    # Records and what the run itself needs, not one copy for each of 200 steps.
    assert kept < 5 * size
    assert peak < 15 * size
