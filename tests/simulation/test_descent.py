"""Whole runs: against the plain oracle, against each other, and at wrong arguments."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symkernel import Curriculum, Network, Phase, SquaredError, Task
from symkernel import weights as initial
from symkernel.errors import OutsideValidity
from symkernel.simulation import simulate, simulate_ensemble
from tests.oracles import numpy_descent as oracle
from tests.oracles.networks import EXAMPLES, drawn_problem, start
from tests.oracles.networks import two_layer_problem as problem

TWO_THREADS = pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one core")


@pytest.fixture
def threads():
    before = numba.get_num_threads()
    yield numba.set_num_threads
    numba.set_num_threads(before)


# Against the oracle


# The longest program to compile is left to the slow tests.
each_example = pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n == "user-made activations")) for n in EXAMPLES],
)


@each_example
def test_run_follows_the_oracle(name):
    net, arrays, task, gates = drawn_problem(name, 6, 1)
    sim = simulate(net, task, start(net, arrays), 0.02, steps=20, gates=gates, on="samples")
    expected = oracle.descend(net, arrays, task.X, task.Y, 0.02, 20, gates)
    for parameter, values in sim.weights.items():
        np.testing.assert_array_equal(values[0], arrays[parameter])
        np.testing.assert_allclose(values[-1], expected[parameter], rtol=1e-11, atol=1e-12)
    assert sim.loss[-1] == pytest.approx(oracle.loss(net, expected, task.X, task.Y, gates))


@each_example
def test_fields_follow_from_the_weights(name):
    net, arrays, task, gates = drawn_problem(name, 5, 2)
    sim = simulate(net, task, start(net, arrays), 0.01, steps=3, gates=gates)
    for k in range(4):
        weights = {p: values[k] for p, values in sim.weights.items()}
        for node, value in net.nodes.items():
            expected = oracle.value(value, weights, task.X, gates)
            np.testing.assert_allclose(sim.node(node)[k], expected, rtol=1e-12, atol=1e-14)
        loss = oracle.loss(net, weights, task.X, task.Y, gates)
        assert sim.loss[k] == pytest.approx(loss, rel=1e-12)
    np.testing.assert_array_equal(sim.outputs, sim.node("output"))
    if "hidden" in net.nodes:
        np.testing.assert_array_equal(sim.hidden, sim.node("hidden"))
        gram = np.einsum("tni,tmi->tnm", sim.hidden, sim.hidden)
        np.testing.assert_allclose(sim.hidden_gram, gram, atol=1e-12)


@each_example
def test_ntk_is_the_product_of_jacobians(name):
    net, arrays, task, gates = drawn_problem(name, 4, 3)
    sim = simulate(net, task, start(net, arrays), 0.01, steps=0, gates=gates)
    columns = []
    for p in net.parameters:
        for place in np.ndindex(arrays[p.name].shape if p.trained else (0,)):
            shifted = {key: value.astype(complex) for key, value in arrays.items()}
            shifted[p.name][place] += 1e-30j
            columns.append(oracle.value(net.output, shifted, task.X, gates).imag / 1e-30)
    jacobian = np.array(columns)
    expected = np.einsum("pna,pmb->namb", jacobian, jacobian)
    assert sim.ntk.shape == (1, *expected.shape)
    np.testing.assert_allclose(sim.ntk[0], expected, rtol=1e-11, atol=1e-12)


def test_factor_of_the_loss():
    net, task, w0 = problem()
    twice = simulate(net, task, w0, 0.01, steps=10, loss=SquaredError(1))
    once = simulate(net, task, w0, 0.02, steps=10)
    np.testing.assert_allclose(twice.outputs, once.outputs, rtol=1e-13)
    np.testing.assert_allclose(twice.loss, 2 * once.loss)


def test_error_falls_with_the_learning_rate():
    """Slope 1: against a run with a hundredth of the step."""
    net, task, w0 = problem()
    exact = simulate(net, task, w0, 1e-5, record=[2.0]).outputs[0]
    rates = np.array([0.02, 0.01, 0.005, 0.0025])
    errors = [np.abs(simulate(net, task, w0, r, record=[2.0]).outputs - exact).max() for r in rates]
    slope = np.polyfit(np.log(rates), np.log(errors), 1)[0]
    assert slope == pytest.approx(1, abs=0.05)


# Moments, batches, ensembles, threads


@pytest.mark.parametrize("name", [name for name, make in EXAMPLES.items() if make().is_linear])
@pytest.mark.parametrize("samples", [6, pytest.param(300, marks=pytest.mark.slow)])
def test_moments_and_samples_agree(name, samples):
    net, arrays, task, _ = drawn_problem(name, samples, 4)
    w0 = start(net, arrays)
    one, other = (simulate(net, task, w0, 0.02, steps=200, on=on) for on in ("samples", "moments"))
    for parameter, values in one.weights.items():
        np.testing.assert_allclose(other.weights[parameter], values, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-9)


def test_moments_alone_suffice_and_say_what_they_lack():
    net, task, w0 = problem(activation="linear")
    bare = simulate(net, Task.from_moments(task.Sxx, task.Syx, task.Syy), w0, 0.02, steps=50)
    full = simulate(net, task, w0, 0.02, steps=50)
    np.testing.assert_allclose(bare.loss, full.loss, rtol=1e-10)
    np.testing.assert_allclose(bare.weights["W1"], full.weights["W1"], rtol=1e-10)
    np.testing.assert_allclose(bare.modes, full.modes, atol=1e-10)
    with pytest.raises(OutsideValidity, match="has no samples"):
        _ = bare.outputs


def test_loss_on_moments_keeps_its_digits_near_zero():
    net = Network.two_layer(2, 2, 2)
    task = Task.from_modes([3.0, 1.0])
    w0 = initial.aligned(net, task, a=0.5, b=0.5)
    sim = simulate(net, task, w0, 0.05, steps=2000, on="moments")
    assert 0 <= sim.loss[-1] < 1e-28


def test_modes_of_aligned_weights():
    net = Network.two_layer(3, 3, 3)
    task = Task.from_modes([3.0, 2.0, 1.0])
    sim = simulate(net, task, initial.aligned(net, task, a=0.1, b=0.2), 0.01, record=[0, 100])
    np.testing.assert_allclose(sim.modes, [[0.02] * 3, [3, 2, 1]], atol=1e-12)


# 600 samples are several blocks, whose program takes seconds to compile.
@pytest.mark.parametrize("samples", [20, pytest.param(600, marks=pytest.mark.slow)])
def test_members_are_single_runs(samples):
    net, task, _ = problem(samples)
    members = [initial.gaussian(net, seed=k) for k in range(5)]
    together = simulate_ensemble(net, task, members, 0.05, steps=100)
    for w0, sim in zip(members, together, strict=True):
        alone = simulate(net, task, w0, 0.05, steps=100)
        np.testing.assert_array_equal(sim.weights["W1"], alone.weights["W1"])
        np.testing.assert_array_equal(sim.loss, alone.loss)


@TWO_THREADS
@pytest.mark.parametrize("samples", [20, pytest.param(600, marks=pytest.mark.slow), 5000])
def test_results_do_not_depend_on_the_number_of_threads(samples, threads):
    net, task, _ = problem(samples)
    members = [initial.gaussian(net, seed=k) for k in range(3)]
    found = []
    for count in (1, 2):
        threads(count)
        runs = simulate_ensemble(net, task, members, 0.05, steps=30)
        runs += (simulate(net, task, members[0], 0.05, steps=30),)
        found.append(runs)
    for one, two in zip(*found, strict=True):
        for parameter, values in one.weights.items():
            np.testing.assert_array_equal(values, two.weights[parameter])
        np.testing.assert_array_equal(one.loss, two.loss)


def test_batches_visit_every_sample_once_in_an_epoch():
    """One output for each sample and a constant gradient: a step moves what its batch shows."""
    n = 6
    net = Network.mlp([n, 1])
    task = Task(np.eye(n), np.full((n, 1), 1e6))
    w0 = start(net, [np.zeros((1, n))])
    sim = simulate(net, task, w0, 1e-9, record=1e-9 * np.arange(7), batch_size=2, seed=3)
    moved = np.diff(sim.weights["W1"][:, 0], axis=0) > 0
    assert (moved.sum(1) == 2).all()
    for epoch in (moved[:3], moved[3:]):
        assert (epoch.sum(0) == 1).all()


def test_batch_of_all_samples_is_full_batch():
    net, task, w0 = problem()
    full = simulate(net, task, w0, 0.05, steps=40)
    batch = simulate(net, task, w0, 0.05, steps=40, batch_size=12)
    np.testing.assert_allclose(batch.loss, full.loss, rtol=1e-12)


def test_batches_depend_on_the_seed_alone():
    net, task, w0 = problem(50)
    runs = [simulate(net, task, w0, 0.05, steps=700, batch_size=8, seed=s) for s in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0].loss, runs[1].loss)
    assert (runs[0].loss != runs[2].loss).any()
    few = simulate(net, task, w0, 0.05, steps=700, batch_size=8, seed=1, record=[35.0])
    assert few.loss[-1] == runs[0].loss[-1]
    members = simulate_ensemble(net, task, [w0, w0], 0.05, steps=700, batch_size=8, seeds=[1, 2])
    np.testing.assert_array_equal(members[0].loss, runs[0].loss)
    np.testing.assert_array_equal(members[1].loss, runs[2].loss)


# Records and phases


def test_records_are_at_the_nearest_step():
    net, task, w0 = problem()
    sim = simulate(net, task, w0, 0.1, record=[0.0, 0.24, 0.26, 1.0, 1.0])
    assert sim.steps.tolist() == [0, 2, 3, 10, 10]
    np.testing.assert_allclose(sim.times, [0, 0.2, 0.3, 1, 1])
    np.testing.assert_array_equal(sim.loss[3], sim.loss[4])


def test_records_do_not_disturb_the_run():
    net, task, w0 = problem()
    dense = simulate(net, task, w0, 0.01, record=0.01 * np.arange(301))
    sparse = simulate(net, task, w0, 0.01, record=[3.0])
    np.testing.assert_array_equal(dense.weights["W1"][-1], sparse.weights["W1"][-1])


def test_default_records_span_the_run():
    net, task, w0 = problem()
    assert simulate(net, task, w0, 0.01, steps=7).steps.tolist() == list(range(8))
    steps = simulate(net, task, w0, 0.01, steps=1000).steps
    assert (steps[0], steps[-1], len(steps)) == (0, 1000, 101)


def test_curriculum_is_one_run_after_the_other():
    net, first, w0 = problem()
    second = Task(first.X, -first.Y)
    course = Curriculum([Phase(first, duration=2.0), Phase(second)])
    sim = simulate(net, course, w0, 0.02, record=[0, 1, 2, 3, 5])
    part = simulate(net, first, w0, 0.02, record=[0, 1, 2])
    middle = start(net, {name: values[-1] for name, values in part.weights.items()})
    rest = simulate(net, second, middle, 0.02, record=[1, 3])
    np.testing.assert_array_equal(sim.weights["W2"][:3], part.weights["W2"])
    np.testing.assert_array_equal(sim.weights["W2"][3:], rest.weights["W2"])
    np.testing.assert_array_equal(sim.loss, [*part.loss, *rest.loss])


def test_curriculum_of_unequal_tasks_keeps_weights_and_loss():
    net, first, w0 = problem()
    course = Curriculum([Phase(first, duration=1.0), Phase(Task(first.X[:4], first.Y[:4]))])
    sim = simulate(net, course, w0, 0.1, steps=20)
    assert np.isfinite(sim.loss).all()
    with pytest.raises(OutsideValidity, match="different numbers of samples"):
        _ = sim.outputs


def test_gates_of_each_phase():
    net, arrays, task, gates = drawn_problem("gated", 6, 1)
    closed = {name: np.zeros_like(gate) for name, gate in gates.items()}
    course = Curriculum([Phase(task, duration=1.0), Phase(task)])
    sim = simulate(net, course, start(net, arrays), 0.1, steps=20, gates=[gates, closed])
    np.testing.assert_array_equal(sim.outputs[-1], np.zeros((6, 2)))
    assert sim.outputs[0].any()


def test_progress_is_shown(capsys):
    net, task, w0 = problem()
    simulate(net, task, w0, 0.01, steps=5, progress=True)
    assert "5/5" in capsys.readouterr().err


@settings(max_examples=10)
@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=5), rate=st.floats(1e-4, 0.1))
def test_steps_of_any_records(lengths, rate):
    net, task, w0 = problem()
    steps = np.cumsum(lengths)
    sim = simulate(net, task, w0, rate, record=steps * rate)
    np.testing.assert_array_equal(sim.steps, steps)
    assert (np.diff(sim.loss) <= 1e-12).all()
