"""Path attribution: the sum rule, an oracle, what groups, phases and probes mean, bad input."""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import threading
import tracemalloc

import numba
import numpy as np
import pytest
import sympy as sp

from symkernel import Curriculum, Network, Phase, SquaredError, Task, simulate
from symkernel import weights as initial
from symkernel.errors import Diverged, InvalidArgument, OutsideValidity, ShapeMismatch
from symkernel.numerics.secant import secant_slope
from symkernel.simulation import attribution_memory, attribution_run, run, simulate_ensemble
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


CHECKS = [
    "random_expressions",
    pytest.param("sum_rule", marks=pytest.mark.slow),
    "balanced_modes",
    "large_groups",
]


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


# Chords of several steps


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("stride", [2, 5, 200])
def test_chords_sum_to_the_movement(stride, batch):
    net, _, w0 = problem()
    first, then = two_tasks()
    course = Curriculum([Phase(first, 3.3), Phase(then, 2.2), Phase(first)])
    how = {"record": [0, 0.7, 3.3, 4.1, 9], "batch_size": batch, "loss": SquaredError(0.5, 0.1)}
    by = {name: {"attribute": name, "stride": stride} for name in ("sample", "task")}
    runs = {name: simulate(net, course, w0, 0.1, **how, **asked) for name, asked in by.items()}
    for node in ("hidden", "output"):
        fine, found = (runs[name].attribution("task", node) for name in ("sample", "task"))
        assert fine.residual < 1e-13
        assert found.residual < 1e-13
        np.testing.assert_allclose(found.contributions, fine.contributions, rtol=0, atol=1e-13)
        phases = runs["task"].attribution("phase", node).contributions[-1]
        sums = found.contributions[-1].sum(-1)
        np.testing.assert_allclose(phases.sum(-1), sums, rtol=0, atol=1e-13)
    plain = simulate(net, course, w0, 0.1, **how)
    np.testing.assert_allclose(runs["task"].weights["W1"], plain.weights["W1"], rtol=1e-9)


@pytest.mark.parametrize("node", ["hidden", "output"])
def test_chords_against_the_oracle(node):
    net, task, w0 = problem(samples=4)
    how = {"record": [2.1], "attribute": "sample", "stride": 3}
    sim = simulate(net, task, w0, 0.3, loss=SquaredError(weight_decay=0.2), **how)
    expected, _ = oracle.attribute(
        net, w0.arrays, task, {}, 0.3, 7, net.nodes[node], task.X, {}, decay=0.2, stride=3
    )
    found = sim.attribution(node=node).contributions[-1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_chords_do_not_depend_on_calls(monkeypatch):
    """How many steps a call takes is a matter of the machine's speed."""
    net, task, w0 = problem()
    how = {"record": [1.0, 5.0], "attribute": "sample", "batch_size": 5, "stride": 7}
    usual = simulate(net, task, w0, 0.1, **how).attribution().contributions
    monkeypatch.setattr(run, "_CALL", 0.0)
    monkeypatch.setattr(attribution_run, "_MOST_CHORDS", 1)
    single = simulate(net, task, w0, 0.1, **how).attribution().contributions
    np.testing.assert_array_equal(single, usual)


@pytest.mark.parametrize(("node", "order"), [("hidden", 2), ("output", 1)])
def test_chords_approach_single_steps(node, order):
    net, task, w0 = problem()

    def found(stride):
        sim = simulate(net, task, w0, 1e-3, record=[0.64], attribute="sample", stride=stride)
        return sim.attribution(node=node).contributions[-1]

    strides, single = [8, 16, 32, 64], found(1)
    errors = [abs(found(stride) - single).max() for stride in strides]
    assert abs(np.polyfit(np.log(strides), np.log(errors), 1)[0] - order) < 0.1


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


def test_recorded_groups_are_merged_afterwards():
    net, task, w0 = problem()
    labels, loss = np.arange(12) % 3, SquaredError(weight_decay=0.1)
    fine = simulate(net, task, w0, 0.1, steps=50, attribute="sample", loss=loss)
    coarse = simulate(net, task, w0, 0.1, steps=50, attribute=labels, loss=loss).attribution()
    found = fine.attribution(by=labels)
    assert found.by == "group"
    assert found.labels == coarse.labels == ("0", "1", "2", "decay")
    assert found.probe_labels == coarse.probe_labels
    np.testing.assert_allclose(found.contributions, coarse.contributions, rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.matrix(), coarse.matrix(), rtol=0, atol=1e-11)
    for bad, words in (
        ([0, 1], "a label for each of the 12 groups attributed to, not 2"),
        ([0.5] * 12, "text or integers"),
        (["decay"] * 12, "must not use the label 'decay'"),
        (3, "sequence of labels"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            fine.attribution(by=bad)


def test_different_tasks_are_never_merged():
    """Samples of the same names, and a task without labels beside one that is called like it."""
    net, _, w0 = problem()
    first, then = two_tasks()
    named = Task(first.X, first.Y, labels={"tasks": ["task 1"] * 7, "samples": list("abcdefg")})
    same = Task(then.X, then.Y, labels={"samples": list("abcde")})
    course = Curriculum([Phase(named, 1), Phase(same, 1), Phase(named)])
    sim = simulate(net, course, w0, 0.1, steps=40, attribute="sample")
    found = sim.attribution()
    assert len(found.labels) == len(set(found.labels)) == 7 + 5
    assert (found.labels[0], found.labels[-1]) == ("task 0, a", "task 1, e")
    assert found.test_labels == found.labels
    tasks = ("task 1", "task 1 without labels")
    by_task = simulate(net, course, w0, 0.1, steps=40, attribute="task").attribution()
    for part in (by_task, sim.attribution("task")):
        assert part.labels == part.test_labels == tasks
        expected = found.contributions[..., :7].sum(-1)
        np.testing.assert_allclose(part.contributions[..., 0], expected, rtol=0, atol=1e-14)
    assert abs(by_task.contributions[-1]).max((0, 1)).min() > 1e-3


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


def test_labels_of_one_task_may_differ_from_phase_to_phase():
    net, task, w0 = problem()
    course = Curriculum([Phase(task, 2), Phase(task)])
    how = {"steps": 40, "nodes": ["hidden"]}
    labels = [["early"] * 12, np.array(["late"] * 6 + ["early"] * 6)]
    found = simulate(net, course, w0, 0.1, attribute=labels, **how).attribution()
    parts = simulate(net, course, w0, 0.1, attribute="sample", **how).attribution()
    assert found.labels == ("early", "late")
    assert found.probe_labels == ("early",) * 12
    k = int(abs(found.times - 2).argmin())
    late = (parts.contributions[-1] - parts.contributions[k])[..., :6].sum(-1)
    np.testing.assert_allclose(found.contributions[-1, ..., 1], late, rtol=0, atol=1e-14)


def test_probe_of_all_tasks():
    """By default the samples of all different tasks; those of an array have names of their own."""
    net, _, w0 = problem()
    first, then = two_tasks()
    course = Curriculum([Phase(first, 1), Phase(then, 1), Phase(first)])
    sim = simulate(net, course, w0, 0.1, steps=40, attribute="phase")
    found = sim.attribution()
    assert found.probe_labels == ("task 0",) * 7 + ("task 1",) * 5
    assert found.matrix().shape == (2, 3)
    for probe, rows in ((first, slice(0, 7)), (then, slice(7, 12))):
        hidden = np.tanh(np.einsum("thi,si->tsh", sim.weights["W1"], probe.X))
        np.testing.assert_allclose(found.activity[:, rows], hidden, rtol=0, atol=1e-14)
    both = np.concatenate([first.X, then.X])
    given = simulate(net, course, w0, 0.1, steps=40, attribute="sample", probe=both)
    assert given.attribution().test_labels[:2] == ("probe 0", "probe 1")
    total = given.attribution("phase").contributions
    np.testing.assert_allclose(total, found.contributions, rtol=0, atol=1e-14)
    fresh = Curriculum([Phase(Task.from_teacher(net, w0), 1), Phase(then)])
    drawn = simulate(net, fresh, w0, 0.1, steps=20, batch_size=2, attribute="task").attribution()
    assert (drawn.labels, drawn.test_labels) == (("task 0", "task 1"), ("task 1",))


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
        ({"time": -0.1}, "'time' must be non-negative"),
        ({"time": 1e9}, "'time' must not exceed the last recorded time 0.5"),
        ({"test": [1, 2]}, "a label for each of the 12 samples"),
        ({"test": [[1], [1, 2]]}, "text or integers"),
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
    ({"attribute": 3}, "sequence of labels, text or integers, not 3"),
    ({"attribute": np.array(3)}, "sequence of labels"),
    ({"attribute": [0] * 11}, "a label for each of the 12 samples, not 11"),
    ({"attribute": []}, "a label for each of the 12 samples, not 0"),
    ({"attribute": np.zeros(12)}, "text or integers, not np.float64"),
    ({"attribute": np.full(12, np.nan)}, "text or integers"),
    ({"attribute": np.zeros(12, complex)}, "text or integers"),
    ({"attribute": np.zeros(12, bool)}, "text or integers, not np.False_"),
    ({"attribute": [True] * 12}, "text or integers, not True"),
    ({"attribute": np.array([None] * 12)}, "text or integers, not None"),
    ({"attribute": [[0] * 6, [1] * 5]}, "text or integers, not"),
    ({"attribute": [[0] * 11]}, "a label for each of the 12 samples, not 11"),
    ({"attribute": ["decay"] * 12}, "must not use the label 'decay'"),
    ({"attribute": "task", "on": "moments"}, "because it applies tanh"),
    ({"probe": np.ones((2, 3))}, "must come with 'attribute'"),
    ({"stride": 2}, "must come with 'attribute'"),
    ({"attribute": "task", "stride": 0}, "'stride' must be an integer of at least 1"),
    ({"attribute": "task", "stride": 1001}, "'stride' must be at most 1000"),
    ({"attribute": "task", "stride": 2.0}, "'stride' must be an integer"),
    ({"attribute": "task", "stride": True}, "'stride' must be an integer"),
    ({"attribute": "task", "stride": None}, "'stride' must be an integer"),
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
    with pytest.raises(ShapeMismatch, match="Gate 'g' of the probe must have one column or 2"):
        simulate(net, gated, w0, 0.1, steps=5, attribute="task", probe=wide)


def stated(monkeypatch, routine):
    """Bytes that the attribution of a run is said to take."""
    with monkeypatch.context() as patch:
        patch.setattr(attribution_memory, "_MOST_BYTES", 0)
        with pytest.raises(InvalidArgument, match=r"would take [\d,]+ bytes") as refused:
            routine()
    return int(str(refused.value).split()[4].replace(",", ""))


def peak(routine):
    """Bytes that NumPy holds at most during a run."""
    tracemalloc.start()
    try:
        routine()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("how", "probe"),
    [
        ({"attribute": "phase", "nodes": ["output"]}, 60_000),
        ({"attribute": np.arange(12) % 3}, 20_000),
        ({"attribute": "sample", "batch_size": 3}, 8000),
        ({"attribute": "task"}, None),
    ],
)
def test_memory_is_what_is_stated(monkeypatch, how, probe):
    """Records, tiles of a large probe and packed samples, against what NumPy allocates."""
    net, task, w0 = problem(samples=12 if probe else 40_000)
    plain = {name: value for name, value in how.items() if name == "batch_size"}
    inputs = None if probe is None else np.ones((probe, 3))

    def attributed():
        return simulate(net, task, w0, 0.1, record=[0.2], probe=inputs, **how)

    size = stated(monkeypatch, attributed)
    attributed()
    taken = peak(attributed) - peak(lambda: simulate(net, task, w0, 0.1, record=[0.2], **plain))
    assert taken > 1e7
    assert taken <= size <= 1.15 * taken


def test_bytes_by_hand(monkeypatch):
    net, task, w0 = problem()
    how = {"attribute": "sample", "loss": SquaredError(weight_decay=0.1), "nodes": ["hidden"]}
    probe = np.ones((200, 3))
    size = stated(
        monkeypatch, lambda: simulate(net, task, w0, 0.1, record=[0, 0.2], probe=probe, **how)
    )
    # 2 records and 1 end of a phase x 200 inputs x 5 units x 12 samples and the decay.
    sums = 3 * 200 * 5 * 13
    # 3 tiles of 67 inputs: v, c of W1 x; v, p, d, s of tanh; each of 5 x 67, to whole cache lines.
    tiles = 3 * (6 * 336 + 13 * 336)
    inputs = 2 * 3 * 200
    # Two chunks of 64 chords: 25 weights, and the moves of 13 groups with their number.
    moves = 2 * (65 * 25 + 64 * 13 * (25 + 1)) + 2 * 25
    # 12 samples as columns, rows and targets, each part to whole cache lines, three times; then
    # value, slope and gradients of a group of one sample, a cache line each.
    packed = 3 * (40 + 40 + 24) + 5 * 8
    steps = 64 * (16 + 9 * 12)
    assert size == 8 * (sums + tiles + inputs + moves + packed) + 128 * 200 + steps


def test_too_much_memory_is_refused():
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
