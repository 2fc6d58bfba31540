"""Path attribution: the sum rule, an oracle, what groups, phases and probes mean, bad input."""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import threading

import numba
import numpy as np
import pytest
import sympy as sp

from symkernel import Curriculum, Network, Phase, SquaredError, Task, simulate
from symkernel import weights as initial
from symkernel.errors import Diverged, InvalidArgument, OutsideValidity, ShapeMismatch
from symkernel.numerics.secant import secant_slope
from symkernel.simulation import attribution_run, simulate_ensemble
from symkernel.simulation.attribution_program import FollowSource
from tests.oracles import numpy_attribution as oracle
from tests.oracles import numpy_descent
from tests.oracles.interpreted import interpreted
from tests.oracles.networks import two_layer_problem as problem

Z = sp.Symbol("z")


def deep():
    """Three hidden layers, biases, rates, an activation of the user's own."""
    rates = [2, 1, 1, sp.Rational(1, 2)]
    net = Network.mlp([3, 4, 5, 4, 2], Z / (1 + sp.exp(-Z)), bias=True, rates=rates)
    return net, initial.gaussian(net, scale=1.5, seed=3)


def two_tasks(seed=0):
    rng = np.random.default_rng(seed)
    sizes = 7, 5
    return [Task(rng.normal(size=(n, 3)), rng.normal(size=(n, 2))) for n in sizes]


# Programs of random networks, run without numba so that none has to be compiled


CHECKS = ["random_expressions", "sum_rule", "balanced_modes", "large_groups"]


@pytest.mark.parametrize("check", CHECKS)
def test_interpreted(check):
    code = f"from tests.oracles.numpy_attribution import check_{check} as check; check()"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


# The sum rule, compiled


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("by", ["sample", "task", "phase"])
def test_contributions_sum_to_the_movement(by, batch):
    net, _, w0 = problem()
    sums_to_the_movement(net, w0, by, batch)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [None, 3])
def test_deep_contributions_sum_to_the_movement(batch):
    net, w0 = deep()
    sums_to_the_movement(net, w0, "sample", batch)


def sums_to_the_movement(net, w0, by, batch):
    first, then = two_tasks()
    course = Curriculum([Phase(first, 3), Phase(then, 2), Phase(first)])
    sim = simulate(net, course, w0, 0.05, steps=140, attribute=by, batch_size=batch, seed=2)
    for name in set(net.nodes) - {"input"}:
        found = sim.attribution(node=name)
        assert found.residual < 1e-13
        assert abs(found.movement[-1]).max() > 0.1
        np.testing.assert_allclose(found.matrix().sum(1), 1, rtol=1e-10)


@pytest.mark.parametrize("batch", [None, 3])
def test_training_is_the_same(batch):
    net, task, w0 = problem()
    how = {"steps": 40, "batch_size": batch, "seed": 2, "loss": SquaredError(0.7)}
    sim = simulate(net, task, w0, 0.1, attribute="sample", **how)
    plain = simulate(net, task, w0, 0.1, **how)
    for name, values in plain.weights.items():
        np.testing.assert_allclose(sim.weights[name], values, rtol=1e-11, atol=1e-12)


def test_movement_is_that_of_the_trajectory():
    net, task, w0 = problem()
    sim = simulate(net, task, w0, 0.1, steps=30, attribute="sample")
    np.testing.assert_allclose(
        sim.attribution().movement, sim.hidden - sim.hidden[0], rtol=0, atol=1e-15
    )
    moved = sim.attribution(node="output").movement
    np.testing.assert_allclose(moved, sim.outputs - sim.outputs[0], rtol=0, atol=1e-15)


@pytest.mark.parametrize("node", ["hidden", "output"])
def test_against_the_oracle(node):
    net, task, w0 = problem(samples=4)
    probe = np.random.default_rng(5).normal(size=(3, 3))
    loss = SquaredError(weight_decay=0.2)
    sim = simulate(net, task, w0, 0.3, steps=6, attribute="sample", probe=probe, loss=loss)
    found = sim.attribution(node=node)
    assert found.labels == ("0", "1", "2", "3", "decay")
    expected, weights = oracle.attribute(
        net, w0.arrays, task, {}, 0.3, 6, net.nodes[node], probe, {}, decay=0.2
    )
    np.testing.assert_allclose(sim.weights["W1"][-1], weights["W1"], rtol=1e-12)
    np.testing.assert_allclose(found.contributions[-1], expected, rtol=0, atol=1e-12)


def test_tangent_slopes_miss_the_movement_by_the_order_of_the_learning_rate():
    """The pseudo-kernel summed along the path is exact for the flow alone."""
    net, task, w0 = problem(samples=4)
    node, rates, errors = net.nodes["hidden"], [0.16, 0.08, 0.04, 0.02], []
    for rate in rates:
        steps = round(0.64 / rate)
        how = net, w0.arrays, task, {}, rate, steps, node, task.X, {}
        tangent, weights = oracle.attribute(*how, tangent=True)
        ends = (numpy_descent.value(node, w, task.X, {}) for w in (weights, w0.arrays))
        moved = next(ends) - next(ends)
        errors.append(abs(tangent.sum(-1) - moved).max())
    slope = np.polyfit(np.log(rates), np.log(errors), 1)[0]
    assert abs(slope - 1) < 0.05
    assert errors[-1] > 1e-5  # seven orders above what secant slopes leave


# Groups


def test_groups_are_sums_of_samples():
    net, task, w0 = problem()
    labels = np.arange(12) % 3
    named = Task(task.X, task.Y, labels={"tasks": [f"task {k}" for k in labels]})
    alone = simulate(net, named, w0, 0.1, steps=50, attribute="sample").attribution
    own = simulate(net, task, w0, 0.1, steps=50, attribute=labels).attribution()
    by_task = simulate(net, named, w0, 0.1, steps=50, attribute="task").attribution()
    assert own.labels == ("0", "1", "2")
    assert own.by == "group"
    assert by_task.labels == alone("task").labels == ("task 0", "task 1", "task 2")
    assert by_task.probe_labels == alone("task").probe_labels == named.labels["tasks"]
    parts = alone("sample").contributions
    for k in range(3):
        expected = parts[..., labels == k].sum(-1)
        for found in (own, by_task, alone("task")):
            np.testing.assert_allclose(found.contributions[..., k], expected, rtol=0, atol=1e-13)


def test_permutation_of_samples_permutes_contributions():
    net, task, w0 = problem()
    order = np.random.default_rng(3).permutation(12)
    mixed = Task(task.X[order], task.Y[order])
    how = {"steps": 40, "attribute": "sample", "probe": task.X[:5]}
    one = simulate(net, task, w0, 0.1, **how).attribution().contributions
    other = simulate(net, mixed, w0, 0.1, **how).attribution().contributions
    np.testing.assert_allclose(other, one[..., order], rtol=0, atol=1e-13)


def test_samples_outside_a_batch_contribute_nothing():
    net, task, w0 = problem()
    sim = simulate(net, task, w0, 0.1, steps=3, attribute="sample", batch_size=4, seed=1)
    found = sim.attribution().contributions
    drawn = [np.flatnonzero(abs(np.diff(found, axis=0)[k]).max((0, 1))) for k in range(3)]
    assert [len(part) for part in drawn] == [4, 4, 4]
    assert sorted(np.concatenate(drawn)) == list(range(12))


# Curricula


def test_phases_share_out_the_movement():
    net, _, w0 = problem()
    first, then = two_tasks()
    course = Curriculum([Phase(first, 2), Phase(then, 1), Phase(first)])
    how = {"record": [0, 1, 2, 2.5, 3, 4]}
    by_task = simulate(net, course, w0, 0.1, attribute="task", **how)
    by_phase = simulate(net, course, w0, 0.1, attribute="phase", **how).attribution()
    assert by_task.attribution().labels == ("task 0", "task 1")
    assert by_phase.labels == ("phase 0", "phase 1", "phase 2")
    np.testing.assert_allclose(
        by_task.attribution("phase").contributions, by_phase.contributions, rtol=0, atol=1e-14
    )
    parts, tasks = by_phase.contributions, by_task.attribution().contributions
    np.testing.assert_allclose(parts[..., 1], tasks[..., 1], rtol=0, atol=1e-14)
    np.testing.assert_allclose(parts[..., [0, 2]].sum(-1), tasks[..., 0], rtol=0, atol=1e-14)
    assert not parts[:3, ..., 1:].any()
    assert (parts[3:, ..., 0] == parts[3, ..., 0]).all()


def test_decay_has_a_column_of_its_own():
    net, _, w0 = problem()
    course = Curriculum([Phase(two_tasks()[0], 2), Phase(two_tasks()[1])])
    loss = SquaredError(weight_decay=0.5)
    sim = simulate(net, course, w0, 0.1, steps=40, attribute="sample", loss=loss)
    for by in ("sample", "task", "phase"):
        found = sim.attribution(by, "output")
        assert found.labels[-1] == "decay"
        assert found.residual < 1e-14
        assert abs(found.contributions[-1, ..., -1]).max() > 0.01


def test_fresh_samples_by_phase():
    net, task, w0 = problem()
    teacher = Task.from_teacher(net, initial.gaussian(net, seed=8))
    course = Curriculum([Phase(teacher, 3), Phase(task)])
    how = {"steps": 60, "batch_size": 2, "probe": task.X}
    for by, names in (("task", ("task 0", "task 1")), ("phase", ("phase 0", "phase 1"))):
        found = simulate(net, course, w0, 0.1, attribute=by, **how).attribution()
        assert found.labels == names
        assert found.residual < 1e-14
        assert abs(found.contributions[-1]).max((0, 1)).min() > 1e-3


# Running


def test_results_do_not_depend_on_threads():
    net, task, w0 = problem(samples=90)
    before, found = numba.get_num_threads(), []
    try:
        for threads in {1, before}:
            numba.set_num_threads(threads)
            sim = simulate(net, task, w0, 0.1, steps=20, attribute="sample")
            found.append(sim.attribution().contributions)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(found[0], found[-1])


def test_probe_of_several_tiles_is_that_of_single_samples():
    net, task, w0 = problem()
    probe = np.random.default_rng(1).normal(size=(150, 3))
    whole = simulate(net, task, w0, 0.1, steps=20, attribute="task", probe=probe).attribution()
    part = simulate(net, task, w0, 0.1, steps=20, attribute="task", probe=probe[140:])
    np.testing.assert_allclose(
        whole.contributions[:, 140:], part.attribution().contributions, rtol=0, atol=1e-14
    )


def test_a_run_can_be_interrupted():
    net, task, w0 = problem()
    simulate(net, task, w0, 0.01, steps=1, attribute="task")
    kept = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Timer(0.3, _thread.interrupt_main).start()
        with pytest.raises(KeyboardInterrupt):
            simulate(net, task, w0, 1e-9, steps=10**12, attribute="task")
    finally:
        signal.signal(signal.SIGINT, kept)


def test_divergence_is_reported():
    net, task, w0 = problem()
    with pytest.raises(Diverged, match="stable limit"):
        simulate(net, Task(task.X, 1e3 * task.Y), w0, 5.0, steps=500, attribute="task")


def test_one_node_alone():
    net, task, w0 = problem()
    how = {"steps": 20, "attribute": "sample"}
    one = simulate(net, task, w0, 0.05, nodes=["hidden"], **how)
    every = simulate(net, task, w0, 0.05, **how)
    found = one.attribution().contributions
    expected = every.attribution().contributions
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
    with pytest.raises(InvalidArgument, match="'node' must be one of 'hidden', not 'output'"):
        one.attribution(node="output")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return mean if near else rise / step", "return slope_old"),
        ("np.dot(o1, ", "np.dot(w1, "),
        ("np.dot(h1, v2", "np.dot(h1, p2"),
    ],
)
def test_a_slip_in_the_program_breaks_the_sum_rule(monkeypatch, old, new):
    """The tangent for the secant, new weights for old ones, one node's value for another's."""
    net, task, w0 = problem()
    for slip, holds in ((old, True), (new, False)):

        def compiled(layout, slip=slip):
            source = FollowSource(layout).text()
            assert source.count(old) == 1
            return interpreted(source.replace(old, slip))

        monkeypatch.setattr(attribution_run, "compiled_follow", compiled)
        sim = simulate(net, task, w0, 0.1, steps=5, attribute=[0, 1] * 6)
        worst = max(sim.attribution(node=node).residual for node in ("hidden", "output"))
        assert (worst < 1e-14) is holds
        assert (worst > 1e-5) is not holds


def test_slope_of_a_secant():
    """Exact where it can be told, the tangent where points meet, right across a kink."""
    assert secant_slope(2.0, 4.0, 4.0, 1.0, 1.0, 2.0) == 3.0
    assert secant_slope(1.0, 1.0, 2.0, 1.0, 1.0, 2.0) == 2.0
    old, new = 0.7, 0.7 + 1e-12
    found = secant_slope(
        new, np.tanh(new), 1 - np.tanh(new) ** 2, old, np.tanh(old), 1 - np.tanh(old) ** 2
    )
    assert found == pytest.approx(1 - np.tanh(0.7) ** 2, rel=1e-11)
    naive = (np.tanh(new) - np.tanh(old)) / (new - old)
    assert abs(naive - found) > 1e-7  # few digits are left of the quotient
    assert secant_slope(3e-9, 3e-9, 1.0, -1e-9, 0.0, 0.0) == pytest.approx(0.75, rel=1e-15)


# The matrix


def test_matrix_by_hand():
    net, task, w0 = problem()
    labels = ["a", "b", "a", "c"] * 3
    found = simulate(net, task, w0, 0.1, steps=50, attribute=labels).attribution()
    assert found.test_labels == found.labels == ("a", "b", "c")
    C = found.matrix(time=2.04)
    k = int(abs(found.times - 2.04).argmin())
    for row, name in enumerate("abc"):
        at = [i for i, label in enumerate(labels) if label == name]
        moved = found.contributions[k].sum(-1)[at]
        for g in range(3):
            part = found.contributions[k][at][..., g]
            assert C[row, g] == pytest.approx((part * moved).sum() / (moved**2).sum())
    assert found.matrix(test=[0] * 12).shape == (1, 3)


def test_matrix_of_what_has_not_moved():
    net, task, w0 = problem()
    found = simulate(net, task, w0, 0.1, steps=5, attribute="task").attribution()
    with pytest.raises(OutsideValidity, match="has not moved for 'task 0' at flow time 0"):
        found.matrix(time=0)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"time": float("nan")}, "'time' must be finite"),
        ({"time": "late"}, "'time' must be a real number"),
        ({"test": [0.5] * 12}, "text or integers"),
        ({"test": [1, 2]}, "one label for each of the 12 samples"),
        ({"test": [[1], [1, 2]]}, "one label a sample"),
    ],
)
def test_bad_arguments_of_the_matrix(how, words):
    net, task, w0 = problem()
    found = simulate(net, task, w0, 0.1, steps=5, attribute="task").attribution()
    with pytest.raises(InvalidArgument, match=words):
        found.matrix(**how)


# Bad input

BAD = [
    ({"attribute": "unit"}, "must be one of 'sample', 'task', 'phase' or labels, not 'unit'"),
    ({"attribute": 3}, "one label for each of the 12 samples, not shape"),
    ({"attribute": [0] * 11}, "one label for each of the 12 samples"),
    ({"attribute": []}, "text or integers"),
    ({"attribute": np.zeros(12)}, "text or integers, not of dtype float64"),
    ({"attribute": np.full(12, np.nan)}, "text or integers"),
    ({"attribute": np.zeros(12, complex)}, "text or integers"),
    ({"attribute": np.zeros(12, bool)}, "text or integers, not of dtype bool"),
    ({"attribute": np.array([None] * 12)}, "text or integers, not of dtype object"),
    ({"attribute": [[0] * 6, [1] * 5]}, "one label a sample"),
    ({"attribute": ["decay"] * 12}, "must not use the label 'decay'"),
    ({"attribute": "task", "on": "moments"}, "because it applies tanh"),
    ({"probe": np.ones((2, 3))}, "must come with 'attribute'"),
    ({"nodes": ["hidden"]}, "must come with 'attribute'"),
    ({"attribute": "task", "probe": np.ones((2, 4))}, "must have 3 columns"),
    ({"attribute": "task", "probe": np.ones(3)}, "'probe' must be 2-dimensional"),
    ({"attribute": "task", "probe": np.empty((0, 3))}, "'probe' must not be empty"),
    ({"attribute": "task", "probe": [[1.0, np.nan, 0]]}, "'probe' must be finite"),
    ({"attribute": "task", "probe": [[1j, 0, 0]]}, "of complex numbers"),
    ({"attribute": "task", "probe": Task.from_moments(np.eye(3), np.eye(3)[:2], np.eye(2))},
     "must be a task with samples"),
    ({"attribute": "task", "nodes": "hidden"}, "'nodes' must be a list of some of the names"),
    ({"attribute": "task", "nodes": []}, "'nodes' must be a list"),
    ({"attribute": "task", "nodes": ["input"]}, "'nodes' must be a list"),
    ({"attribute": "task", "nodes": [["hidden"]]}, "'nodes' must be a list"),
]  # fmt: skip


@pytest.mark.parametrize(("how", "words"), BAD)
def test_bad_arguments(how, words):
    net, task, w0 = problem()
    with pytest.raises(InvalidArgument, match=words):
        simulate(net, task, w0, 0.1, steps=5, **how)


def test_other_refusals():
    net, task, w0 = problem()
    linear = Network.two_layer(3, 5, 2)
    moments = Task.from_moments(np.eye(3), np.eye(3)[:2], np.eye(2))
    start = initial.gaussian(linear)
    with pytest.raises(InvalidArgument, match="without samples"):
        simulate(linear, moments, start, 0.1, steps=5, attribute="task", on="moments")
    with pytest.raises(InvalidArgument, match="moments do not tell samples apart"):
        simulate(linear, task, start, 0.1, steps=5, attribute="task", on="moments")
    course = Curriculum([Phase(part, 1) for part in two_tasks()])
    with pytest.raises(ShapeMismatch, match="list of 2 arrays of labels"):
        simulate(net, course, w0, 0.1, attribute=[0] * 7)
    fresh = Task.from_teacher(net, w0)
    for by in ("sample", [0, 1]):
        with pytest.raises(InvalidArgument, match="drawn anew"):
            simulate(net, fresh, w0, 0.1, steps=5, batch_size=2, attribute=by, probe=task.X)
    with pytest.raises(InvalidArgument, match="'probe' must be given"):
        simulate(net, fresh, w0, 0.1, steps=5, batch_size=2, attribute="task")
    teacher = Task.from_teacher(linear, start)
    with pytest.raises(InvalidArgument, match="'batch_size' must be given with 'attribute'"):
        simulate(linear, teacher, start, 0.1, steps=5, attribute="phase", probe=task.X)
    with pytest.raises(TypeError, match="attribute"):
        simulate_ensemble(net, task, [w0], 0.1, steps=5, attribute="task")


def test_gates_of_the_probe():
    from symkernel.nodes import Gate, Input, Parameter

    x = Input(3)
    net = Network.build(Gate("g", Parameter("W", (2, 3)) @ x))
    task = two_tasks()[0]
    gated = Task(task.X, task.Y, gates={"g": np.ones((7, 1))})
    w0 = initial.gaussian(net)
    with pytest.raises(InvalidArgument, match="must be a Task with the gate 'g'"):
        simulate(net, gated, w0, 0.1, steps=5, attribute="task", probe=task.X)
    wide = Task(task.X, task.Y, gates={"g": np.ones((7, 3))})
    with pytest.raises(ShapeMismatch, match="Gate 'g' of the probe must have 2 columns"):
        simulate(net, gated, w0, 0.1, steps=5, attribute="task", probe=wide)


def test_memory_is_stated_before_it_is_taken():
    net, task, w0 = problem()
    many = np.zeros((200_000, 3))
    with pytest.raises(InvalidArgument, match=r"would take 13,\d{3},\d{3},\d{3} bytes .*'probe'"):
        simulate(net, task, w0, 0.1, steps=99, attribute="sample", probe=many)


def test_what_a_run_does_not_hold():
    net, task, w0 = problem()
    plain = simulate(net, task, w0, 0.1, steps=5)
    with pytest.raises(OutsideValidity, match="holds no attribution"):
        plain.attribution()
    sim = simulate(net, task, w0, 0.1, steps=5, attribute="task")
    with pytest.raises(InvalidArgument, match="'by' must be one of 'task', 'phase' for this run"):
        sim.attribution("sample")
    with pytest.raises(
        InvalidArgument, match="'node' must be one of 'hidden1', 'hidden', 'output'"
    ):
        sim.attribution(node="input")
    with pytest.raises(ValueError, match="read-only"):
        sim.attribution().contributions[0] = 1
