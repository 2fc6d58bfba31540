"""The law of one pathway of two layers: verdicts, flow, phases, observables, traps."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings

import symkernel as sk
from symkernel import testing
from symkernel.errors import InvalidArgument, NoClosedForm, OutsideValidity
from symkernel.nodes import Gate, Input, Parameter, Sum
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.problem import Problem
from symkernel.simulation.flow import integrate_flow
from symkernel.theory.gated_modes import LAW
from tests.theory.flow_draws import BOUND, flow_gap

TIMES = np.linspace(0.0, 6.0, 7)


def problem_of(K=2, sharing=(2, 1), u=0.05, task=None, **how):
    task = task or sk.environments.contexts(K, [2.0, 1.0], inputs=3, outputs=2, **how)
    net = sk.pathways.network(3, 4, 2, contexts=K, sharing=sharing)
    return net, task, sk.pathways.aligned(net, task, u=u)


def changed(weights, **arrays):
    return {**weights.arrays, **arrays}


# --- the flow


# In every run forty other draws follow the flow, see test_flow_draws.
@pytest.mark.slow
@settings(max_examples=10)
@given(testing.gated_problems())
def test_weights_follow_the_flow(problem):
    assert flow_gap(LAW, problem) < BOUND


def test_gates_at_the_hidden_layer_and_rates_and_scales_of_their_own():
    x = Input(3)
    h = Parameter("W1", (4, 3), scale=2, rate=3) @ x
    how = {"scale": sp.S.Half, "rate": sp.Rational(7, 10)}
    reads = [Parameter(f"W2_{k}", (2, 4), **how) for k in range(2)]
    parts = [W @ Gate(f"context{k}", h) for k, W in enumerate(reads)]
    net = sk.Network.build(Sum(tuple(parts)), {"hidden": h})
    task = sk.environments.contexts(2, [2.0, 1.0], inputs=3)
    w0 = sk.pathways.aligned(net, task, u=0.1)
    loss = sk.SquaredError(sp.Rational(3, 2))
    d = sk.derive(net, task, w0, loss=loss)
    assert flow_gap(LAW, d.problem, TIMES) < BOUND
    assert d.compile()([0.0, 1.0]).hidden.shape == (2, 6, 4)
    assert all(step.check().passed for step in d.steps)


# --- what is derived


@pytest.mark.parametrize(("K", "sharing", "same", "rate"), [
    (2, (2, 1), False, sp.sqrt(2)), (3, (3, 1), False, 2 / sp.sqrt(3)), (4, (1, 1), False, 0.5),
    (4, (2, 1), False, sp.sqrt(2) / 2), (2, (1, 2), True, sp.sqrt(2)), (6, (3, 2), True, None),
])  # fmt: skip
def test_the_sigmoid_has_the_rate_of_its_sharing(K, sharing, same, rate):
    d = sk.derive(*problem_of(K, sharing, same_targets=same))
    rate = 2 * sp.sqrt(sharing[0] * sharing[1]) / K if rate is None else sp.nsimplify(rate)
    q = {symbol.name: symbol for symbol in d.result.output.free_symbols}
    s, u0 = q["s"], q["u0"]
    want = s / (1 + (s / u0 - 1) * sp.exp(-rate * s * q["t"]))
    assert sp.cancel(sp.together(d.result.output.subs(q["d"], 1) - want)) == 0


def test_the_formula_of_a_mode_is_its_trajectory():
    d = sk.derive(*problem_of(u=[0.02, 0.1], input_variance=[1.0, 2.0, 0.5]))
    found = d.compile()(TIMES).modes
    t = sp.Symbol("t", nonnegative=True)
    for k in range(2):
        curve = sp.lambdify(t, d.mode(k).output)(TIMES)
        assert np.abs(curve - found[:, k]).max() < 1e-12
        half = float(d.learning_time(sp.Rational(1, 2), mode=k))
        assert abs(d.compile()([half]).modes[0, k] - d.compile()([1e3]).modes[0, k] / 2) < 1e-9


def test_the_loss_factor_changes_the_law_by_itself():
    net, task, w0 = problem_of()
    slow, fast = (
        sk.derive(net, task, w0, loss=sk.SquaredError(sp.Rational(k, 2))).compile() for k in (1, 3)
    )
    assert np.abs(slow(3 * TIMES).modes - fast(TIMES).modes).max() < 1e-12
    assert np.abs(3 * slow(3 * TIMES).loss - fast(TIMES).loss).max() < 1e-12


# --- phases and observables


def test_phases_compose():
    net, task, w0 = problem_of(u=[0.02, 0.4])
    other = sk.Task(task.X, -0.7 * task.Y, gates=task.gates)
    cur = sk.Curriculum([sk.Phase(task, duration=2.0), sk.Phase(other)])
    d = sk.derive(net, cur, w0)
    assert flow_gap(LAW, d.problem, TIMES) < BOUND
    through = d.compile()([2.0, 5.0])
    middle = sk.weights.from_arrays(net, {n: w[0] for n, w in through.weights.items()})
    again = sk.derive(net, other, middle).compile()([3.0]).weights
    for name, array in again.items():
        assert np.abs(array[0] - through.weights[name][1]).max() < 1e-12
    t = sp.Symbol("t", nonnegative=True)
    formula = sp.lambdify(t, d.mode(1, phase=1).output)(5.0)
    assert abs(formula - through.modes[1, 1]) < 1e-10
    late = sk.derive(net, sk.Curriculum([sk.Phase(task, duration=3.0)]), w0).compile()
    with pytest.raises(OutsideValidity, match="ends at flow time 3"):
        late([4.0])


def test_observables_are_those_of_the_simulation_at_the_same_weights():
    net, task, w0 = problem_of(4, (4, 1), u=[0.1, 0.3])
    found = sk.derive(net, task, w0).compile()([0.0, 1.0])
    there = sk.weights.from_arrays(net, {n: w[1] for n, w in found.weights.items()})
    sim = sk.simulate(net, task, there, learning_rate=0.1, steps=0)
    assert np.abs(found.outputs[1] - sim.outputs[0]).max() < 1e-13
    assert np.abs(found.ntk[1] - sim.ntk[0]).max() < 1e-13
    assert abs(found.loss[1] - sim.loss[0]) < 1e-13
    assert np.abs(found.node("output")[1] - sim.outputs[0]).max() < 1e-13
    with pytest.raises(OutsideValidity, match="no node 'hidden'"):
        _ = found.hidden


def test_a_kernel_that_would_not_fit_says_so(monkeypatch):
    net, task, w0 = problem_of()
    found = sk.derive(net, task, w0).compile()(TIMES)
    monkeypatch.setattr("symkernel.errors._MOST_BYTES", 8 * 7 * 12**2 - 1)
    with pytest.raises(InvalidArgument, match=r"'ntk' of shape \(7, 6, 2, 6, 2\) would take"):
        _ = found.ntk


# --- verdicts


def verdict(net, task, weights, words):
    """The first failing verdict, which must speak of what was violated."""
    weights = weights if isinstance(weights, sk.weights.Weights) else sk.weights.from_arrays(
        net, weights)  # fmt: skip
    failed = [v for v in LAW.test(Problem(net, Curriculum.of(task), weights)) if not v.holds]
    assert failed
    assert any(words in v.assumption for v in failed), "\n".join(map(str, failed))
    return next(v for v in failed if words in v.assumption)


def test_each_assumption_is_measured():
    net, task, w0 = problem_of()
    stream = np.random.default_rng(0)
    third = np.full(6, 1 / 9)
    third[3:] = 2 / 9
    rare = sk.Task(task.X, task.Y, gates=task.gates, sample_weights=third)
    assert np.isclose(verdict(net, rare, w0, "equally frequent").distance, 1 / 3)
    X = task.X.copy()
    X[3:] = 2 * X[3:]
    loud = sk.Task(X, task.Y, gates=task.gates)
    assert verdict(net, loud, w0, "one covariance").distance > 0.1
    Y = task.Y.copy()
    Y[3:] = Y[3:] * 1.01
    other = verdict(net, sk.Task(task.X, Y, gates=task.gates), w0, "same input directions")
    assert 0.003 < other.distance < 0.03
    turned = stream.standard_normal((4, 3)) / 10
    assert verdict(net, task, changed(w0, W1=turned), "diagonal in frames").distance > 0.1
    uneven = changed(w0, W2_1=1.1 * w0.arrays["W2_1"])
    assert 0.01 < verdict(net, task, uneven, "in all contexts").distance < 0.2
    ajar = sk.Task(task.X, task.Y, gates={k: 0.9 * g for k, g in task.gates.items()})
    assert np.isclose(verdict(net, ajar, w0, "open or closed").distance, 0.1)
    decayed = Problem(net, Curriculum.of(task), w0, sk.SquaredError(weight_decay=0.2))
    assert [v.distance for v in LAW.test(decayed) if not v.holds] == [0.2]


@pytest.mark.parametrize("epsilon", [1e-6, 1e-4, 1e-2])
def test_near_misses_are_measured_by_how_much(epsilon):
    net, task, w0 = problem_of()
    near = changed(w0, W2_1=(1 + epsilon) * w0.arrays["W2_1"])
    assert 0.3 < verdict(net, task, near, "in all contexts").distance / epsilon < 1.1


def with_hidden_cosine(net, task, w0, cosine):
    """The same weights with the second hidden direction turned towards the first one."""
    H = np.linalg.svd(w0.arrays["W1"])[0][:, :2]
    turn = np.eye(4) + cosine * np.outer(H[:, 0], H[:, 1])
    turn += (np.sqrt(1 - cosine**2) - 1) * np.outer(H[:, 1], H[:, 1])
    reads = {n: w @ turn.T for n, w in w0.arrays.items() if n.startswith("W2")}
    return changed(w0, W1=turn @ w0.arrays["W1"], **reads)


@pytest.mark.parametrize("cosine", [1e-6, 1e-3, 0.6])
def test_hidden_directions_that_are_not_orthogonal_are_refused(cosine):
    net, task, w0 = problem_of(u=[0.1, 0.2])
    turned = with_hidden_cosine(net, task, w0, cosine)
    found = verdict(net, task, turned, "diagonal in frames").distance
    assert found == pytest.approx(cosine, rel=0.01)


def test_hidden_directions_that_are_not_orthogonal_learn_another_way():
    net, task, w0 = problem_of(u=[0.1, 0.2])
    turned = sk.weights.from_arrays(net, with_hidden_cosine(net, task, w0, 0.6))
    problem = Problem(net, Curriculum.of(task), turned)
    naive, flow = LAW.trajectory(problem, TIMES).weights, integrate_flow(problem, TIMES).weights
    assert max(np.abs(naive[n] - flow[n]).max() for n in flow) > 0.1


def test_noise_in_a_weak_mode_counts_by_that_mode():
    """Relative to the whole weight it is 1e-9, but it is as large as the second mode."""
    net, task, w0 = problem_of(u=[1.0, 1e-18])
    stream = np.random.default_rng(0)
    noisy = {n: w + 1e-9 * stream.standard_normal(w.shape) for n, w in w0.arrays.items()}
    assert verdict(net, task, noisy, "diagonal in frames").distance > 0.1


@pytest.mark.parametrize("sign", [1, -1])
def test_read_outs_along_other_hidden_directions_are_refused_where_the_shared_layer_is_0(sign):
    net, task, w0 = problem_of()
    W2 = w0.arrays["W2_1"]
    other = -W2 if sign < 0 else W2 @ np.roll(np.eye(4), 1, axis=0)
    apart = changed(w0, W1=0 * w0.arrays["W1"], W2_1=other)
    assert verdict(net, task, apart, "diagonal in frames").distance > 0.1
    alike = sk.weights.from_arrays(net, changed(w0, W1=0 * w0.arrays["W1"]))
    assert flow_gap(LAW, Problem(net, Curriculum.of(task), alike), TIMES) < BOUND


def test_covariance_with_a_weak_input_counts_by_that_input():
    net, cross = sk.pathways.network(2, 3, 2, contexts=2), np.diag([2.0, 1e-3])
    gates = {f"context{k}": np.repeat([[k == 0.0], [k == 1.0]], 2, axis=0) * 1.0 for k in (0, 1)}

    def posed_on(X):
        """Inputs of each context, and targets that make the second moment `cross`."""
        Y = 2 * np.linalg.solve(X.T, cross.T)
        return sk.Task(np.concatenate([X, X]), np.concatenate([Y, Y]), gates=gates)

    X = np.sqrt(2) * np.diag([1.0, 1e-3])
    task = posed_on(X)
    w0 = sk.pathways.aligned(net, task, u=0.1)
    assert all(v.holds for v in LAW.test(Problem(net, Curriculum.of(task), w0)))
    near = posed_on(X @ np.array([[1.0, 5e-9], [0.0, 1.0]]))
    assert verdict(net, near, w0, "one covariance").distance == pytest.approx(5e-3, rel=0.1)


def test_other_networks_and_tasks_are_named():
    net, task, w0 = problem_of()
    with pytest.raises(NoClosedForm, match="the task has none called context0") as refused:
        sk.derive(net, sk.Task(task.X, task.Y), w0)
    assert "gates or parallel pathways" not in str(refused.value)
    plain = sk.Network.two_layer(3, 4, 2, activation="tanh")
    with pytest.raises(NoClosedForm, match="the network has gates or parallel") as refused:
        sk.derive(plain, task, sk.weights.gaussian(plain), law="gated_modes")
    assert "'deep_modes'" in str(refused.value)
    race = sk.pathways.network(3, 4, 2, contexts=2, sharing=[(2, 1), (1, 1)])
    found = sk.derive(race, task, sk.pathways.aligned(race, task, u=0.1))
    assert found.law.name == "neural_race"
    with pytest.raises(NoClosedForm, match="see the law 'neural_race'"):
        sk.derive(race, task, sk.pathways.aligned(race, task, u=0.1), law="gated_modes")
    one = sk.environments.contexts(1, [2.0, 1.0], inputs=3)
    single = sk.pathways.network(3, 4, 2, contexts=1)
    words = "one pathway in one context is a network without gates"
    with pytest.raises(NoClosedForm, match=words):
        sk.derive(single, one, sk.pathways.aligned(single, one, u=0.1), law="gated_modes")


def test_phases_with_other_contexts_are_refused():
    net, task, w0 = problem_of()
    half = sk.Task(task.X[:3], task.Y[:3], gates={k: g[:3] for k, g in task.gates.items()})
    cur = sk.Curriculum([sk.Phase(task, duration=1.0), sk.Phase(half)])
    with pytest.raises(NoClosedForm, match="Phase 1 has other contexts"):
        sk.derive(net, cur, w0)


# --- traps


def test_trap_6_modes_against_their_target_fall_to_the_saddle():
    """The balanced formula with u0 < 0 passes a pole; the flow decays to 0."""
    net, task, w0 = problem_of(u=0.1)
    flipped = {n: -w if n.startswith("W2") else w for n, w in w0.arrays.items()}
    problem = Problem(net, Curriculum.of(task), sk.weights.from_arrays(net, flipped))
    assert flow_gap(LAW, problem, TIMES) < BOUND
    found = sk.derive(net, task, problem.weights).compile()(TIMES).modes[:, 0]
    assert (np.diff(found) > 0).all()
    assert found[-1] < 0
    rate, s, u0 = np.sqrt(2), 2.0, -0.1
    naive = s / (1 + (s / u0 - 1) * np.exp(-rate * s * TIMES))
    assert np.abs(naive - found).max() > 0.1


def test_trap_5_repeated_strengths_and_modes_without_strength():
    task = sk.environments.contexts(2, [1.0, 1.0, 0.0], inputs=4, seed=7)
    net = sk.pathways.network(4, 5, 3, contexts=2)
    w0 = sk.pathways.aligned(net, task, u=[0.3, 0.02])
    assert flow_gap(LAW, Problem(net, Curriculum.of(task), w0), TIMES) < BOUND


def test_trap_14_descent_is_off_by_the_learning_rate():
    net, task, w0 = problem_of()
    law = sk.derive(net, task, w0).compile()(TIMES)
    errors = []
    for rate in (0.02, 0.01, 0.005):
        run = sk.simulate(net, task, w0, learning_rate=rate, record=TIMES)
        errors.append(np.abs(run.outputs - law.outputs).max())
    slope = np.polyfit(np.log([0.02, 0.01, 0.005]), np.log(errors), 1)[0]
    assert abs(slope - 1) < 0.05
