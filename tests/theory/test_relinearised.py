"""The re-linearised law: convergence, its own estimate, refreshes, faces."""

from __future__ import annotations

import numpy as np
import pytest

import symkernel as sk
from symkernel import ladder_asymptotic as asymptotic
from symkernel.errors import InvalidArgument, OutsideValidity
from symkernel.problem.problem import Problem
from symkernel.simulation.flow import integrate_flow
from symkernel.theory import frozen_domain, frozen_solver, relinearised_path
from symkernel.theory.frozen_kernel import trajectory as frozen
from symkernel.theory.relinearised import LAW, RelinearisedWords, trajectory
from symkernel.theory.relinearised_path import look_along

NET = sk.Network.mlp([2, 6, 1], "tanh", parameterisation="ntk")
W0 = sk.weights.gaussian(NET, seed=7)
STREAM = np.random.default_rng(8)
X, Y = STREAM.standard_normal((4, 2)), STREAM.uniform(-1, 1, (4, 1))
TASK = sk.Task(X, Y)
TIMES = np.array([0.0, 1.0, 4.0, 12.0])


def problem(curriculum=TASK):
    return Problem(NET, sk.Curriculum.of(curriculum), W0)


def outputs(weights):
    first, second = (weights[name] for name in ("W1", "W2"))
    hidden = np.tanh(X @ first.transpose(0, 2, 1) / np.sqrt(2))
    return hidden @ second.transpose(0, 2, 1) / np.sqrt(6)


def compiled(curriculum=TASK):
    return sk.derive(NET, curriculum, W0, law="relinearised").compile()


def test_error_falls_as_one_over_the_refreshes():
    true = integrate_flow(problem(), TIMES).weights
    counts = (8, 16, 32, 64, 128)
    errors = []
    for count in counts:
        found = trajectory(problem(), TIMES, refreshes=count)
        errors.append(max(np.abs(found.weights[n] - w).max() for n, w in true.items()))
    slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert abs(slope + 1) < 0.15
    assert errors[-1] < 0.1 * errors[0]


@pytest.mark.parametrize("rtol", [3e-2, 3e-3])
def test_the_tolerance_is_kept_and_the_estimate_is_one(rtol):
    found = compiled()(TIMES, rtol=rtol)
    true = outputs(integrate_flow(problem(), TIMES).weights)
    error = np.abs(outputs(found.weights) - true).max() / np.abs(true).max()
    assert found.error_estimate.max() <= rtol
    assert error <= 2 * found.error_estimate.max()
    assert error <= 2 * rtol
    assert np.abs(found.outputs - true).max() / np.abs(true).max() <= 2 * rtol
    assert "estimated error" in found.conventions[-1]


def test_it_reaches_the_simulation_where_the_frozen_law_does_not():
    sim = sk.simulate(NET, TASK, W0, learning_rate=1e-3, record=TIMES)
    one = frozen(problem(), TIMES)
    many = trajectory(problem(), TIMES, refreshes=128)
    gaps = [np.abs(found.hidden - sim.hidden).max() for found in (one, many)]
    assert gaps[1] < 0.05 * gaps[0]


def test_a_network_that_is_linear_in_its_weights_needs_no_refresh():
    net = sk.Network.mlp([2, 1], bias=True)
    w0 = sk.weights.gaussian(net, seed=1)
    one = Problem(net, sk.Curriculum.of(TASK), w0)
    found, exact = trajectory(one, TIMES, rtol=1e-9), frozen(one, TIMES)
    assert np.abs(found.outputs - exact.outputs).max() < 1e-12
    assert found.error_estimate.max() < 1e-12


def test_pieces_hold_equal_shares_of_the_movement():
    way = look_along(problem(), 0, W0.arrays, 12.0)
    cuts = way.refreshes(8)
    moved = np.interp(cuts, way.times, way.moved)
    assert np.allclose(np.diff(moved), way.moved[-1] / 8)
    assert set(np.round(cuts, 12)) <= set(np.round(way.refreshes(16), 12))
    assert np.diff(cuts).max() > 1.5 * np.diff(cuts).min()


def test_a_curriculum_is_followed_phase_by_phase():
    course = sk.Curriculum([sk.Phase(TASK, 2.0), sk.Phase(sk.Task(X[:3], -Y[:3]), 3.0)])
    times = np.array([0.0, 1.0, 2.0, 3.0, 5.0])
    found = trajectory(problem(course), times, refreshes=64)
    true = integrate_flow(problem(course), times).weights
    for name, weight in true.items():
        assert np.abs(found.weights[name] - weight).max() < 0.02
    assert found.task_losses.shape == (5, 2)
    assert (found.loss[3:] == found.task_losses[3:, 1]).all()
    with pytest.raises(OutsideValidity, match="different numbers of samples"):
        _ = found.outputs
    assert compiled(course).predict(X, times, refreshes=4).outputs.shape == (5, 4, 1)


def test_new_inputs_are_looked_at():
    found = compiled().predict(X[::-1], TIMES, refreshes=8)
    same = compiled()(TIMES, refreshes=8)
    assert np.abs(found.outputs[:, ::-1] - same.outputs).max() < 1e-13
    assert np.abs(found.node("hidden1")[:, ::-1] - same.hidden).max() < 1e-13
    assert found.hidden_gram.shape == (*same.ntk.shape[:2], 4)
    assert (found.kernel_movement >= 0).all()


def test_its_estimate_holds_in_draws():
    for seed in range(6):
        drawn = LAW.draw(np.random.default_rng(seed))
        error, estimate = asymptotic.estimated_error(drawn, LAW)
        assert error <= 3 * estimate


def test_a_refresh_takes_the_rate_of_the_network_and_a_wrong_rate_is_seen(monkeypatch):
    words = RelinearisedWords(problem())
    assert words.check_refresh().passed
    monkeypatch.setattr(RelinearisedWords, "_loss", lambda self, system, flat: 0.0)
    assert not words.check_refresh().passed


@pytest.mark.parametrize("value", [1, 0, 2.5, True, "many"])
def test_refreshes_that_are_none_are_refused(value):
    with pytest.raises(InvalidArgument, match="'refreshes' must be an integer of at least 2"):
        compiled()(TIMES, refreshes=value)


@pytest.mark.parametrize("rtol", [0.0, -1.0, np.inf, "fine"])
def test_tolerances_that_are_none_are_refused(rtol):
    with pytest.raises(InvalidArgument, match="'rtol'"):
        compiled()(TIMES, rtol=rtol)


def test_tolerance_and_refreshes_exclude_each_other():
    with pytest.raises(InvalidArgument, match="must not both be given"):
        compiled()(TIMES, rtol=1e-2, refreshes=4)


def test_the_start_alone_and_a_switch_can_be_asked_for():
    course = sk.Curriculum([sk.Phase(TASK, 2.0), sk.Phase(TASK)])
    assert (trajectory(problem(), [0.0]).outputs == frozen(problem(), [0.0]).outputs).all()
    one = trajectory(problem(course), [2.0], refreshes=16)
    assert np.abs(one.outputs - trajectory(problem(), [2.0], refreshes=16).outputs).max() < 1e-12


def test_large_problems_look_along_on_few_samples_and_go_by_lanczos(monkeypatch):
    exact = trajectory(problem(), TIMES, refreshes=32)
    monkeypatch.setattr(frozen_solver, "_SMALL_WORK", 0)
    monkeypatch.setattr(frozen_solver, "_MANY", 0)
    same = trajectory(problem(), TIMES, refreshes=32)
    assert np.abs(same.outputs - exact.outputs).max() < 1e-9
    monkeypatch.setattr(frozen_domain, "_LOOKED_AT", 2)
    other = trajectory(problem(), TIMES, refreshes=32)
    assert 0 < np.abs(other.outputs - exact.outputs).max() < 3 * exact.error_estimate.max()


def test_a_kernel_that_turns_over_too_often_is_refused(monkeypatch):
    monkeypatch.setattr(relinearised_path, "_MOST_LOOKS", 1)
    with pytest.raises(InvalidArgument, match="ask for earlier times, or simulate"):
        compiled()(TIMES)


def test_a_tolerance_out_of_reach_says_what_was_reached(monkeypatch):
    monkeypatch.setattr(relinearised_path, "_MOST", 8)
    with pytest.raises(InvalidArgument, match="8 refreshes in each phase leave an estimated error"):
        compiled()(TIMES, rtol=1e-6)


def test_gradient_descent_is_not_among_what_it_gives():
    with pytest.raises(OutsideValidity, match="gradient descent"):
        compiled()(TIMES, learning_rate=0.1)
