"""Runs that cannot be: divergence and wrong arguments."""

from __future__ import annotations

import _thread
import inspect
import signal
import threading

import numpy as np
import pytest
import sympy as sp

from symkernel import Curriculum, Network, Phase, SquaredError, Task
from symkernel import weights as initial
from symkernel.errors import Diverged, InvalidArgument, MissingValues, ShapeMismatch
from symkernel.simulation import simulate, simulate_ensemble
from tests.oracles import numpy_descent as oracle
from tests.oracles.networks import drawn_problem, start
from tests.oracles.networks import two_layer_problem as problem

# Divergence


def test_divergence_names_step_rate_and_limit():
    net, task, w0 = problem(activation="linear")
    with pytest.raises(Diverged, match="stable limit") as caught:
        simulate(net, task, w0, 10.0, steps=10_000, on="samples")
    error = caught.value
    assert error.learning_rate == 10.0
    assert 0 < error.stable_limit < 10
    assert 0 < error.step < 100
    weights = oracle.descend(net, w0.arrays, task.X, task.Y, 10.0, error.step - 1)
    before = oracle.loss(net, weights, task.X, task.Y, {})
    weights = oracle.descend(net, weights, task.X, task.Y, 10.0, 1)
    after = oracle.loss(net, weights, task.X, task.Y, {})
    first = oracle.loss(net, w0.arrays, task.X, task.Y, {})
    bound = 1e10 * max(first, np.trace(task.Syy) / 2)
    assert before <= bound < after


@pytest.mark.parametrize("record", [None, [50.0], 5.0 * np.arange(11)])
def test_divergence_is_found_at_the_same_step_whatever_is_recorded(record):
    net, task, w0 = problem()
    task = Task(task.X, 1e3 * task.Y)
    with pytest.raises(Diverged) as caught:
        simulate(net, task, w0, 5.0, steps=2000, record=record)
    with pytest.raises(Diverged) as again:
        simulate(net, task, w0, 5.0, record=5.0 * np.arange(400))
    assert caught.value.step == again.value.step


def test_stable_limit_parts_divergence_from_convergence():
    """For one linear layer the limit is exact."""
    rng = np.random.default_rng(0)
    task = Task(rng.normal(size=(40, 3)), rng.normal(size=(40, 1)))
    net = Network.mlp([3, 1])
    w0 = initial.gaussian(net)
    with pytest.raises(Diverged) as caught:
        simulate(net, task, w0, 10.0, steps=1000)
    limit = caught.value.stable_limit
    assert limit == pytest.approx(2 / np.linalg.eigvalsh(task.Sxx)[-1], rel=1e-3)
    sim = simulate(net, task, w0, 0.98 * limit, steps=2000)
    assert sim.loss[-1] < sim.loss[0]
    with pytest.raises(Diverged):
        simulate(net, task, w0, 1.02 * limit, steps=100_000)


def test_divergence_names_the_member():
    net, task, _ = problem(activation="linear")
    members = [initial.gaussian(net, scale=scale) for scale in (0.1, 20.0)]
    with pytest.raises(Diverged, match="member 1"):
        simulate_ensemble(net, task, members, 0.1, steps=200)


def test_divergence_on_batches():
    net, task, w0 = problem(activation="linear")
    with pytest.raises(Diverged) as caught:
        simulate(net, task, w0, 10.0, steps=100, batch_size=5)
    assert 0 < caught.value.step < 50


# Interruption


def test_a_long_run_can_be_interrupted():
    """Of weeks of steps; a process that was started in the background may ignore Ctrl-C."""
    net, task, w0 = problem()
    simulate(net, task, w0, 0.01, steps=1)
    kept = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Timer(0.3, _thread.interrupt_main).start()
        with pytest.raises(KeyboardInterrupt):
            simulate(net, task, w0, 1e-9, steps=10**12)
    finally:
        signal.signal(signal.SIGINT, kept)


# Wrong arguments


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"learning_rate": 0.0}, InvalidArgument, "learning_rate"),
        ({"learning_rate": -1.0}, InvalidArgument, "learning_rate"),
        ({"learning_rate": np.nan}, InvalidArgument, "learning_rate"),
        ({"learning_rate": 1j}, InvalidArgument, "learning_rate"),
        ({"steps": -1}, InvalidArgument, "'steps'"),
        ({"steps": 2.5}, InvalidArgument, "'steps'"),
        ({"steps": True}, InvalidArgument, "'steps'"),
        ({"steps": None}, InvalidArgument, "'steps' and 'record'"),
        ({"record": [-1.0, 0.0]}, InvalidArgument, "'record'"),
        ({"record": [1.0, 0.5]}, InvalidArgument, "increasing order"),
        ({"record": [0.0, np.inf]}, InvalidArgument, "finite"),
        ({"record": [0.0, np.nan]}, InvalidArgument, "finite"),
        ({"record": []}, InvalidArgument, "empty"),
        ({"record": [[0.0]]}, ShapeMismatch, "'record'"),
        ({"record": [1j]}, InvalidArgument, "complex"),
        ({"record": [0.0, 5.0]}, InvalidArgument, "beyond the 10 steps"),
        ({"record": [1e300], "steps": None}, InvalidArgument, "2\\^53"),
        ({"batch_size": 0}, InvalidArgument, "'batch_size'"),
        ({"batch_size": 13}, InvalidArgument, "12 samples"),
        ({"batch_size": 3, "on": "moments"}, InvalidArgument, "tanh|mini-batches"),
        ({"seed": -1}, InvalidArgument, "'seed'"),
        ({"on": "mode"}, InvalidArgument, "'on'"),
        ({"on": "moments"}, InvalidArgument, "tanh"),
        ({"gates": {"g": np.ones((12, 5))}}, InvalidArgument, "no gates"),
        ({"gates": [{}, {}]}, ShapeMismatch, "1 phases"),
        ({"gates": 3}, InvalidArgument, "'gates' must be a mapping"),
        ({"loss": 0.5}, InvalidArgument, "'loss'"),
        ({"curriculum": np.eye(3)}, InvalidArgument, "Task or a Curriculum"),
        ({"w0": np.eye(3)}, InvalidArgument, "'weights'"),
        ({"net": Network.two_layer(4, 5, 2)}, ShapeMismatch, "4 inputs"),
        ({"net": Network.two_layer(3, 6, 2)}, ShapeMismatch, "W1"),
    ],
)
def test_wrong_arguments(change, error, says):
    net, task, w0 = problem()
    arguments = {"net": net, "curriculum": task, "w0": w0, "learning_rate": 0.1, "steps": 10}
    with pytest.raises(error, match=says):
        simulate(**{**arguments, **change})


@pytest.mark.parametrize("bad", [np.full((12, 4), np.nan), np.ones((12, 4)) * 1j, np.ones((11, 4))])
def test_wrong_gates(bad):
    net, arrays, task, gates = drawn_problem("gated", 12, 0)
    with pytest.raises(InvalidArgument, match=r"[Gg]ate"):
        simulate(net, task, start(net, arrays), 0.1, steps=1, gates={**gates, "g": bad})


def test_curriculum_that_ends_too_early():
    net, task, w0 = problem()
    course = Curriculum([Phase(task, duration=1.0)])
    assert simulate(net, course, w0, 0.1).steps[-1] == 10
    with pytest.raises(InvalidArgument, match="ends after 10 steps"):
        simulate(net, course, w0, 0.1, steps=11)


def test_symbols_need_values():
    net, task, w0 = problem()
    with pytest.raises(MissingValues):
        simulate(net, task, w0, 0.1, steps=1, loss=SquaredError(sp.Symbol("k", positive=True)))
    symbolic = Task.from_modes([sp.Symbol("s", positive=True)] * 2, multiplicity=[1, 1])
    net = Network.two_layer(2, 3, 2)
    w0 = initial.gaussian(net)
    with pytest.raises(MissingValues):
        simulate(net, symbolic, w0, 0.1, steps=1)
    net = Network.two_layer(2, sp.Symbol("n", integer=True, positive=True), 2)
    task = Task.from_modes([2, 1])
    w0 = initial.aligned(net, task, a=0.1, b=0.1)
    with pytest.raises(MissingValues):
        simulate(net, task, w0, 0.1, steps=1)


def test_moments_without_samples_cannot_train_a_nonlinear_network():
    net, task, w0 = problem()
    bare = Task.from_moments(task.Sxx, task.Syx, task.Syy)
    with pytest.raises(InvalidArgument, match="no samples"):
        simulate(net, bare, w0, 0.1, steps=1)


@pytest.mark.parametrize("members", [[], np.eye(2), None])
def test_wrong_members(members):
    net, task, _ = problem()
    with pytest.raises(InvalidArgument, match="'members'"):
        simulate_ensemble(net, task, members, 0.1, steps=1)


@pytest.mark.parametrize("seeds", [3, [0, 1], "a", np.array(3)])
def test_wrong_seeds_of_members(seeds):
    net, task, w0 = problem()
    with pytest.raises(InvalidArgument, match="'seeds' must"):
        simulate_ensemble(net, task, [w0], 0.1, steps=1, batch_size=4, seeds=seeds)


def test_large_fields_are_refused_before_they_are_allocated():
    net, _, w0 = problem(activation="linear")
    task = Task(np.ones((20_000, 3)), np.ones((20_000, 2)))
    sim = simulate(net, task, w0, 0.01, steps=1)
    with pytest.raises(InvalidArgument, match="25,600,000,000 bytes"):
        _ = sim.ntk
    with pytest.raises(InvalidArgument, match="hidden_gram"):
        _ = sim.hidden_gram


def test_signatures_agree():
    """An ensemble takes the arguments of a run, with members and seeds in place of w0 and seed.

    Movements are attributed in runs of one network alone.
    """
    one, many = (inspect.signature(f).parameters for f in (simulate, simulate_ensemble))
    alone = {"attribute", "probe", "nodes", "stride"}
    shared = [name for name in one if name not in alone]
    assert shared == [{"members": "w0", "seeds": "seed"}.get(name, name) for name in many]
    assert alone <= set(one)


def test_divergence_on_batches_names_the_member():
    net, task, _ = problem(activation="linear")
    members = [initial.gaussian(net, scale, seed=1) for scale in (1e-3, 5.0)]
    with pytest.raises(Diverged, match=r"^Member [01]: "):
        simulate_ensemble(net, task, members, 10.0, steps=100, batch_size=5)
