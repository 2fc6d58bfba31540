"""Fresh samples in every step: against an oracle that draws and learns one sample at a time."""

from __future__ import annotations

import numba
import numpy as np
import pytest

import symkernel.simulation.batches as batches
from symkernel import Curriculum, LabelNoise, Network, Phase, SquaredError, Task
from symkernel import weights as initial
from symkernel.errors import Diverged, InvalidArgument, OutsideValidity
from symkernel.nodes import Gate, Input, Parameter
from symkernel.simulation import simulate, simulate_ensemble
from symkernel.simulation.batches import Batches, Epochs, held_out, streams_of
from symkernel.simulation.engine import Stage
from symkernel.simulation.layout import Layout, aligned
from tests.oracles import numpy_descent as oracle

RATE, STEPS, SEED = 0.05, 12, 5
TEACHER = Network.two_layer(4, 2, 1, "erf")
WEIGHTS = initial.gaussian(TEACHER, seed=1)
STUDENT = Network.two_layer(4, 3, 1, "erf")
W0 = initial.gaussian(STUDENT, seed=2)
LOSS = SquaredError(0.8, 0.1)


def fresh(noise=0.0, covariance=None):
    return Task.from_teacher(TEACHER, WEIGHTS, noise, covariance)


def assert_same(found, wanted, **how):
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, **{"rtol": 1e-12, "atol": 1e-12} | how)


@pytest.mark.parametrize(
    ("noise", "covariance", "size"),
    [(0.0, None, 1), (0.3, np.diag([1.0, 4.0, 0.0, 2.0]), 3)],
)
def test_every_step_follows_the_oracle(noise, covariance, size):
    task = fresh(noise, covariance)
    sim = simulate(STUDENT, task, W0, RATE, steps=STEPS, batch_size=size, seed=SEED)
    root = None if covariance is None else np.sqrt(covariance)
    samples = oracle.fresh(TEACHER, WEIGHTS.arrays, SEED, noise, root)
    weights = W0.arrays
    for k in range(STEPS + 1):
        assert_same({name: values[k] for name, values in sim.weights.items()}, weights)
        weights = oracle.descend_fresh(STUDENT, weights, samples, RATE, 1, size)


@pytest.mark.slow
def test_deep_network_with_rates_and_decay():
    net = Network.mlp([4, 3, 3, 2, 2, 1], "tanh", rates=[1, 2, 0.5, 1, 3])
    w0 = initial.gaussian(net, seed=3)
    task = fresh(0.2)
    sim = simulate(net, task, w0, RATE, steps=STEPS, batch_size=2, seed=SEED, loss=LOSS)
    samples = oracle.fresh(TEACHER, WEIGHTS.arrays, SEED, 0.2)
    weights = oracle.descend_fresh(net, w0.arrays, samples, RATE, STEPS, 2, 0.8, 0.1)
    assert_same({name: values[-1] for name, values in sim.weights.items()}, weights)
    held = held_out(task.teacher)
    wanted = oracle.loss(net, weights, held.X, held.Y, {}, 0.8, 0.1) + 0.8 * 0.04
    assert sim.loss[-1] == pytest.approx(wanted, rel=1e-12)


def test_loss_of_the_teacher_itself_is_that_of_the_noise():
    sim = simulate(TEACHER, fresh(0.3), WEIGHTS, 1e-9, steps=1, batch_size=1)
    assert sim.loss[0] == pytest.approx(0.09 / 2, rel=1e-12)


def test_held_out_samples_are_the_same_for_all_and_no_run_sees_them():
    one, other = held_out(fresh(0.3).teacher), held_out(fresh().teacher)
    np.testing.assert_array_equal(one.X, other.X)
    assert len(one.X) == 4096
    seen = next(oracle.fresh(TEACHER, WEIGHTS.arrays, 0))[0]
    assert not np.isclose(one.X, seen).all(1).any()


@pytest.mark.parametrize("drawn", [1, 16, 100])
def test_samples_do_not_depend_on_how_many_are_drawn_at_once(drawn, monkeypatch):
    wanted = simulate(STUDENT, fresh(0.3), W0, RATE, steps=50, batch_size=2, seed=SEED)
    monkeypatch.setattr(batches, "_DRAWN", drawn)
    sim = simulate(STUDENT, fresh(0.3), W0, RATE, steps=50, batch_size=2, seed=SEED)
    assert_same(sim.weights, wanted.weights)


def test_records_do_not_disturb_the_run():
    often = simulate(STUDENT, fresh(), W0, RATE, steps=90, batch_size=1, seed=SEED)
    once = simulate(STUDENT, fresh(), W0, RATE, record=[90 * RATE], batch_size=1, seed=SEED)
    np.testing.assert_array_equal(often.weights["W1"][-1], once.weights["W1"][-1])


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one core")
def test_members_are_single_runs_on_any_number_of_threads():
    members, seeds = [W0, initial.gaussian(STUDENT, seed=9), W0], [4, 4, 6]
    before, found = numba.get_num_threads(), []
    for threads in (1, 2):
        numba.set_num_threads(threads)
        found.append(
            simulate_ensemble(
                STUDENT, fresh(0.1), members, RATE, steps=40, batch_size=2, seeds=seeds
            )
        )
    numba.set_num_threads(before)
    for k, (w0, seed) in enumerate(zip(members, seeds, strict=True)):
        alone = simulate(STUDENT, fresh(0.1), w0, RATE, steps=40, batch_size=2, seed=seed)
        for runs in found:
            np.testing.assert_array_equal(runs[k].weights["W1"], alone.weights["W1"])
            np.testing.assert_array_equal(runs[k].loss, alone.loss)
    assert (found[0][0].loss[1:] != found[0][2].loss[1:]).any()


def test_phases_of_fresh_and_of_given_samples():
    given = Task(np.eye(4), np.ones((4, 1)))
    course = Curriculum([Phase(fresh(), 5 * RATE), Phase(given, 4 * RATE), Phase(fresh(0.2))])
    sim = simulate(STUDENT, course, W0, RATE, steps=16, batch_size=2, seed=SEED)
    phases = [simulate(STUDENT, fresh(), W0, RATE, steps=5, batch_size=2, seed=SEED)]
    middle = initial.from_arrays(STUDENT, {n: v[-1] for n, v in phases[0].weights.items()})
    phases.append(simulate(STUDENT, given, middle, RATE, steps=4, batch_size=2, seed=SEED))
    inputs, noise = np.random.default_rng(SEED).spawn(6)[4:]
    weights = {name: values[-1] for name, values in phases[1].weights.items()}
    for _ in range(7):
        X = inputs.standard_normal((2, 4))
        Y = oracle.value(TEACHER.output, WEIGHTS.arrays, X, {}) + 0.2 * noise.standard_normal(
            (2, 1)
        )
        weights = oracle.step(STUDENT, weights, X, Y, RATE)
    assert_same({name: values[-1] for name, values in sim.weights.items()}, weights)
    np.testing.assert_array_equal(sim.loss[:6], phases[0].loss)
    np.testing.assert_array_equal(sim.loss[6:10], phases[1].loss[1:])


def test_a_linear_student_of_a_linear_teacher_learns_moments_without_batches():
    teacher = Network.mlp([4, 2])
    task = Task.from_teacher(teacher, initial.gaussian(teacher, seed=3), noise=0.5)
    net = Network.two_layer(4, 3, 2)
    w0 = initial.gaussian(net, seed=4)
    exact = simulate(net, task, w0, 0.02, steps=100)
    bare = simulate(net, Task.from_moments(task.Sxx, task.Syx, task.Syy), w0, 0.02, steps=100)
    np.testing.assert_array_equal(exact.weights["W1"], bare.weights["W1"])
    np.testing.assert_array_equal(exact.loss, bare.loss)
    assert exact.modes.shape == (101, 2)
    # Large batches and a held-out loss tend to them.
    many = simulate(net, task, w0, 0.02, steps=100, batch_size=2000, seed=1)
    np.testing.assert_allclose(many.modes, exact.modes, atol=0.05)
    np.testing.assert_allclose(many.loss, exact.loss, rtol=0.05)


def test_what_needs_samples_says_so():
    sim = simulate(STUDENT, fresh(), W0, RATE, steps=1, batch_size=1)
    for name in ("outputs", "hidden", "hidden_gram", "ntk"):
        with pytest.raises(OutsideValidity, match="drawn anew"):
            getattr(sim, name)
    with pytest.raises(OutsideValidity, match="drawn anew"):
        sim.node("hidden")
    net = Network.two_layer(4, 3, 1)
    linear = simulate(net, fresh(), initial.gaussian(net), RATE, steps=1, batch_size=1)
    with pytest.raises(OutsideValidity, match="teacher is not linear"):
        _ = linear.modes


@pytest.mark.parametrize("online", [True, False])
def test_fresh_samples_are_the_same_with_label_noise_in_another_phase(online):
    """Noise too weak to change a label changes nothing else either."""
    course = Curriculum([Phase(Task(np.eye(4), np.ones((4, 1))), 4 * RATE), Phase(fresh(0.2))])
    weak = LabelNoise(std=1e-30, online=online)
    sims = [
        simulate(STUDENT, course, W0, RATE, steps=9, batch_size=2, label_noise=[noise, None])
        for noise in (None, weak)
    ]
    np.testing.assert_array_equal(sims[0].weights["W1"], sims[1].weights["W1"])


def test_divergence_of_batches_names_both_limits():
    net = Network.mlp([4, 1])
    with pytest.raises(Diverged, match=r"of full batches is .* batches of 1 .*stability_limit"):
        simulate(net, fresh(), initial.gaussian(net), 5.0, steps=4000, batch_size=1)
    with pytest.raises(Diverged, match=r"batches of 1 is lower as a rule\.$"):
        simulate(STUDENT, fresh(), W0, 20.0, steps=4000, batch_size=1)
    with pytest.raises(Diverged) as caught:
        simulate(net, Task(np.eye(4), np.ones((4, 1))), initial.gaussian(net), 50.0, steps=4000)
    assert "batches" not in str(caught.value)


def test_divergence_is_found_at_the_same_step_whatever_is_recorded():
    steps = []
    for record in ([4000.0], 20.0 * np.arange(200)):
        with pytest.raises(Diverged) as caught:
            simulate(STUDENT, fresh(), W0, 20.0, record=record, batch_size=1, seed=SEED)
        steps.append(caught.value.step)
        assert 0 < caught.value.stable_limit < 20
    assert steps[0] == steps[1]


def test_a_place_between_two_draws_can_be_gone_back_to():
    task = Task(np.arange(6.0).reshape(6, 1), np.ones((6, 1)))
    net = Network.two_layer(1, 1, 1)
    stage = Stage(net, task, {}, 1e-3, 0.5)
    theta = aligned(1, Layout(net, 1).count)
    theta += 1
    run = Batches(stage, theta, Epochs(stage, 2, streams_of(0, 1)[0]))
    run.advance(run.layout.blocks)
    place, start = run.position(), theta.copy()
    run.advance(4)
    wanted = theta.copy()
    run.advance(7)
    run.go_to(place)
    theta[:] = start
    run.advance(4)
    np.testing.assert_array_equal(theta, wanted)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch_size": None}, "'batch_size' must be given"),
        ({"batch_size": None, "on": "moments"}, "tanh|erf"),
        ({"batch_size": None, "on": "samples"}, "'batch_size' must be given"),
        ({"on": "moments"}, "moments"),
        ({"batch_size": 0}, "'batch_size'"),
        ({"batch_size": 2.0}, "'batch_size'"),
        ({"seed": -1}, "'seed'"),
        ({"gates": {"g": np.ones((2, 2))}}, "no gates"),
    ],
)
def test_wrong_arguments(change, says):
    arguments = {"learning_rate": 0.1, "steps": 3, "batch_size": 2}
    with pytest.raises(InvalidArgument, match=says):
        simulate(STUDENT, fresh(), W0, **{**arguments, **change})


def test_batches_of_a_phase_that_is_given_by_moments_are_refused():
    bare = Task.from_moments(np.eye(4), np.ones((1, 4)), [[4]])
    course = Curriculum([Phase(fresh(), 1.0), Phase(bare)])
    net = Network.mlp([4, 1])
    with pytest.raises(InvalidArgument, match="no samples"):
        simulate(net, course, initial.gaussian(net), 0.1, steps=20, batch_size=1)


def test_gates_need_samples():
    net = Network.build(Gate("g", Parameter("W", (1, 4)) @ Input(4)))
    with pytest.raises(InvalidArgument, match="fresh samples have none"):
        simulate(
            net, fresh(), initial.gaussian(net), 0.1, steps=1, batch_size=1, gates={"g": [[1]]}
        )


def test_a_batch_is_not_larger_than_the_given_samples_of_another_phase():
    course = Curriculum([Phase(fresh(), 1.0), Phase(Task(np.eye(4), np.ones((4, 1))))])
    with pytest.raises(InvalidArgument, match="4 samples"):
        simulate(STUDENT, course, W0, 0.1, steps=20, batch_size=5)
