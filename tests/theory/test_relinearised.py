"""The re-linearised law: convergence, its own estimate, refreshes, faces."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import symkernel as sk
from symkernel import ladder_asymptotic as asymptotic
from symkernel.errors import InvalidArgument, OutsideValidity
from symkernel.problem.problem import Problem
from symkernel.simulation.flow import integrate_flow
from symkernel.simulation.long_flow import integrate_long
from symkernel.theory import (
    frozen_domain,
    frozen_solver,
    relinearised,
    relinearised_estimate,
    relinearised_look,
)
from symkernel.theory.frozen_kernel import trajectory as frozen
from symkernel.theory.frozen_path import Clock, movement
from symkernel.theory.frozen_system import LinearSystem
from symkernel.theory.relinearised import LAW, RelinearisedWords, trajectory
from symkernel.theory.relinearised_estimate import Comparison
from symkernel.theory.relinearised_look import look_along
from symkernel.theory.relinearised_path import RelinearisedPath, through_pieces
from symkernel.theory.tangent_pass import TangentPass

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


def shares(found, true, start):
    """Return errors at each time relative to the largest change, by entry or by norm."""
    gap, change = ((v).reshape(len(v), -1) for v in (found - true, true - start))
    one = np.abs(gap).max(axis=1) / np.abs(change).max()
    norm = np.linalg.norm
    return np.maximum(one, norm(gap, axis=1) / norm(change, axis=1).max())


def errors(one, found, times):
    """Return errors of outputs, hidden layer and weights at each time."""
    true = integrate_long(one, times)
    start, task = one.weights.arrays, one.curriculum.phases[0].task

    def layers(weights):
        first = weights["W1"].transpose(0, 2, 1) / np.sqrt(start["W1"].shape[1])
        hidden = np.tanh(task.X @ first)
        return hidden, hidden @ weights["W2"].transpose(0, 2, 1) / np.sqrt(hidden.shape[2])

    def flat(weights):
        return np.concatenate([weights[n].reshape(len(times), -1) for n in start], axis=1)

    hidden, output = layers(true)
    begun = np.concatenate([w.ravel() for w in start.values()])
    return {
        "output": shares(found.outputs, output, 0.0),
        "hidden": shares(found.hidden, hidden, hidden[0]),
        "weights": shares(flat(found.weights), flat(true), begun),
    }


@pytest.mark.parametrize("rtol", [1e-1, 1e-2, 2e-3])
def test_the_tolerance_is_kept_at_every_time_by_outputs_hidden_layer_and_weights(rtol):
    times = np.array([0.0, 1e-3, 0.1, 1.0, 4.0, 12.0])
    found = compiled()(times, rtol=rtol)
    wrong = errors(problem(), found, times)
    assert found.error_estimate.max() <= rtol
    for error in wrong.values():
        assert (error <= found.error_estimate + 1e-8).all()
    assert max(error.max() for error in wrong.values()) > 0.2 * found.error_estimate.max()
    assert "estimated error" in found.conventions[-1]
    assert f"refreshed {found.refreshes} times" in found.conventions[-1]


def late(width=256, scale=1.0, seed=1000):
    net = sk.Network.mlp([4, width, 1], activation="tanh", parameterisation="ntk")
    task = sk.Task(STREAM_X, np.array([[1.0], [-1.0], [1.0]]))
    return Problem(net, sk.Curriculum.of(task), sk.weights.gaussian(net, scale, seed=seed))


STREAM_X = np.random.default_rng(0).standard_normal((3, 4))


@pytest.mark.parametrize("width", [256, 16])
def test_early_records_are_right_beside_a_very_late_one(width):
    times = np.array([0.0, 2.0, 5.0, 1e4])
    found = trajectory(late(width), times, 2e-3)
    wrong = errors(late(width), found, times)
    for error in wrong.values():
        assert (error <= found.error_estimate + 1e-8).all()
    assert 1e-5 < found.error_estimate.max() <= 2e-3


def test_the_hidden_layer_is_right_where_the_outputs_have_long_reached_the_targets():
    net = sk.Network.mlp([3, 6, 1], "tanh", parameterisation="ntk")
    stream = np.random.default_rng(4)
    task = sk.Task(stream.standard_normal((2, 3)), stream.standard_normal((2, 1)))
    one = Problem(net, sk.Curriculum.of(task), sk.weights.gaussian(net, 0.3, seed=4))
    times = np.array([0.0, 1000.0])
    found = trajectory(one, times)
    wrong = errors(one, found, times)
    assert wrong["output"][1] < 1e-9
    assert wrong["hidden"][1] <= found.error_estimate[1] <= 1e-2
    # What outputs alone would have said.
    coarse = trajectory(one, times, refreshes=4)
    wrong = errors(one, coarse, times)
    assert wrong["output"][1] < 1e-9 < 1e-2 < wrong["hidden"][1] <= coarse.error_estimate[1]


def test_the_estimate_needs_its_defect_its_weights_and_its_quarters(monkeypatch):
    """Each part taken away, some estimate is below its error."""
    times = np.array([0.0, 1e-3, 0.02, 1000.0])
    monkeypatch.setattr(relinearised_estimate, "SAFETY", 1.0)
    safe = trajectory(late(16), times, refreshes=4)
    wrong = errors(late(16), safe, times)
    monkeypatch.setattr(RelinearisedPath, "until_quarters", lambda self, estimate: estimate)
    bare = trajectory(late(16), times, refreshes=4)
    assert wrong["weights"][2] <= safe.error_estimate[2]
    assert wrong["weights"][2] > bare.error_estimate[2]


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


@pytest.mark.parametrize("end", [12.0, 1e4, 1e8])
def test_the_kernel_moves_alike_in_all_pieces_however_late_the_end(end):
    one = late(64)
    cuts = look_along(one, 0, one.weights.arrays, end).refreshes(8)
    weights = integrate_long(one, cuts)
    kernels = []
    for k in range(len(cuts)):
        system = LinearSystem.of(
            one, one.curriculum.phases[0].task, {n: w[k] for n, w in weights.items()}
        )
        rows = system.rows(np.eye(3))
        kernels.append(rows @ rows.T)
    # Within what a coarse look leaves: chords, and gaps of a sixteenth of the movement.
    moved = [np.linalg.norm(b - a) / np.linalg.norm(a) for a, b in pairwise(kernels)]
    assert max(moved) < 4 * np.median(moved)
    assert min(moved) > np.median(moved) / 4


def test_a_record_on_a_refresh_belongs_to_the_piece_before():
    one, start = problem(), W0.arrays
    cuts = np.array([0.0, 1.0, 3.0])
    clock = Clock(np.array([0.0, 1.0, 2.0, 3.0]), np.zeros(4, dtype=int))
    first, second = through_pieces(one, clock, [cuts])
    assert list(first.rows) == [0, 1]
    assert list(second.rows) == [2, 3]
    assert (first.start, second.start) == (0.0, 1.0)
    assert (first.weights["W1"] == start["W1"]).all()
    there = frozen(one, [0.0, 1.0]).weights["W1"][1]
    assert np.allclose(second.weights["W1"], there, rtol=0, atol=1e-13)


def test_the_start_of_a_piece_is_a_flow_time():
    course = sk.Curriculum([sk.Phase(TASK, 2.0), sk.Phase(TASK)])
    clock = Clock(np.array([1.0, 3.0]), np.array([0, 1]))
    cuts = [np.array([0.0, 2.0]), np.array([0.0, 0.5, 1.0])]
    first, second = through_pieces(problem(course), clock, cuts)
    assert (first.start, second.start) == (0.0, 2.5)


def test_errors_of_outputs_are_relative_to_the_largest_output():
    """Read-out, targets and so outputs of another size have the same relative error."""
    found = []
    for factor in (1.0, 100.0):
        task = sk.Task(X, factor * Y)
        net = sk.Network.mlp([2, 6, 1], "tanh", parameterisation="ntk", rates=[1 / factor**2, 1])
        arrays = {"W1": W0.arrays["W1"], "W2": factor * W0.arrays["W2"]}
        one = Problem(net, sk.Curriculum.of(task), sk.weights.from_arrays(net, arrays))
        note = trajectory(one, TIMES, refreshes=16).conventions[-1]
        found.append(re.search(r"error (\S+) of the largest output", note).group(1))
    assert found[0] == found[1]


def test_the_movement_of_the_kernel_is_counted_from_the_start():
    found = trajectory(problem(), TIMES, refreshes=128)
    true = integrate_flow(problem(), TIMES).weights
    start = TangentPass(NET, W0.arrays, X, {})
    wanted = [movement(start, {n: w[k] for n, w in true.items()}) for k in range(len(TIMES))]
    assert np.allclose(found.kernel_movement, wanted, rtol=0.05)
    assert wanted[-1] > 0.2


def test_memory_is_that_of_the_records_whatever_the_refreshes(monkeypatch):
    cuts = np.linspace(0.0, 12.0, 65)
    clock = Clock(TIMES, np.zeros(4, dtype=int))
    pieces = through_pieces(problem(), clock, [cuts])
    assert len(pieces) <= len(TIMES)
    monkeypatch.setattr("symkernel.errors._MOST_BYTES", 2000)
    with pytest.raises(InvalidArgument, match=r"weights of three numbers of refreshes.* bytes"):
        trajectory(problem(), TIMES, refreshes=4)


def test_the_page_speaks_of_the_last_refresh_and_not_of_the_initial_weights():
    derivation = sk.derive(NET, TASK, W0, law="relinearised")
    page = derivation.latex()
    for words in ("initial weights;", "stay at the initial", "at the start"):
        assert words not in page
    assert page.count("at the last refresh") >= 4
    assert "counted as $t$ is" in page


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


def test_its_estimate_holds_in_draws():
    for seed in range(4):
        drawn = LAW.draw(np.random.default_rng(seed))
        ratio, error = asymptotic.estimated_error(drawn, LAW)
        assert ratio <= 1
        assert error > 1e-4


@pytest.mark.slow
def test_its_estimate_holds_in_many_draws():
    found = [
        asymptotic.estimated_error(LAW.draw(np.random.default_rng(2000 + seed)), LAW)
        for seed in range(16)
    ]
    reached = [one for one in found if one is not None]
    assert len(reached) >= 12
    assert max(ratio for ratio, _ in reached) <= 1


def test_differences_that_do_not_halve_are_not_accepted():
    rounding = np.zeros(2)

    def comparison(first, second):
        estimate = np.full((3, 2), 1e-3)
        return Comparison(
            ("output", "weights"), estimate, np.array(first), np.array(second), rounding
        )

    assert comparison([0.5, 0.4], [1.0, 1.0]).halves(0.0)
    assert not comparison([0.5, 0.9], [1.0, 1.0]).halves(0.0)
    assert not comparison([0.5, 0.1], [1.0, 1.0]).halves(0.0)
    assert comparison([0.5, 1e-6], [1.0, 1e-5]).halves(1e-4)
    assert not comparison([0.5, 1e-3], [1.0, 1e-5]).halves(1e-4)


class Known:
    """A path of one output whose error is known."""

    clock, count, moving_nodes = Clock(np.ones(1), np.zeros(1, dtype=int)), 1, {"f": "output"}

    def __init__(self, error, defect=0.0):
        self.output, self.defect = 1.0 + np.atleast_1d(error), defect

    def at_start(self, phase):
        return {"output": np.zeros(1), "weights": np.zeros(1)}

    def state(self, row):
        return {"output": self.output, "weights": np.zeros(1)}

    def network(self, row):
        return {"output": self.output + self.defect, "weights": np.zeros(1)}

    def until_quarters(self, estimate):
        return estimate


@pytest.mark.parametrize(
    "error",
    [
        lambda k: 1e-2 / k,
        lambda k: 1e-2 / k - 5e-3 / k**2,
        lambda k: 1e-2 / k + 5e-3 / k**2,
        lambda k: 1e-2 / k**0.5,
        lambda k: 1e-2 / k**0.3,
    ],
)
def test_without_its_factor_the_estimate_is_no_less_than_a_known_error(error):
    found = relinearised_estimate.compared(*(Known(error(k)) for k in (16, 8, 4)))
    estimate = found.estimate[0, 0] / relinearised_estimate.SAFETY
    assert estimate >= abs(error(16)) * (1 - 2e-2)
    assert estimate <= 2 * abs(error(16))


def test_an_entry_whose_differences_turn_round_is_estimated_by_itself():
    fine, half, quarter = Known([0.0, 0.0]), Known([0.01, 0.01]), Known([0.03, 0.0])
    found = relinearised_estimate.compared(fine, half, quarter)
    assert found.estimate[0, 0] >= relinearised_estimate.SAFETY * (5 * 0.01 + 0.01) / 3 * 0.999


def test_what_the_network_gives_other_than_the_law_is_an_error():
    found = relinearised_estimate.compared(*(Known(0.0, 1e-3) for _ in range(3)))
    assert found.estimate[0, 0] == pytest.approx(relinearised_estimate.SAFETY * 1e-3)


def test_the_estimate_is_taken_at_the_quarters_of_the_movement_too(monkeypatch):
    seen = []

    def compared(*paths):
        seen.append(paths[0].clock.times[paths[0].count :])
        return relinearised_estimate.compared(*paths)

    monkeypatch.setattr(relinearised, "compared", compared)
    trajectory(problem(), [0.0, 12.0], refreshes=4)
    way = look_along(problem(), 0, W0.arrays, 12.0)
    assert np.allclose(seen[0], way.refreshes(4)[1:])
    assert len(np.unique(seen[0])) == 4


def test_a_law_that_happens_to_agree_with_itself_once_is_refined(monkeypatch):
    """One small difference is not enough: the order must have been seen twice."""
    tried = []
    whole = relinearised_estimate.compared

    def compared(*paths):
        found = whole(*paths)
        tried.append(found)
        lucky = len(tried) == 1
        return replace(found, estimate=found.estimate * (0 if lucky else 1))

    monkeypatch.setattr(relinearised_estimate, "compared", compared)
    trajectory(problem(), TIMES, 0.5)
    assert len(tried) >= 2
    for before, after in pairwise(tried[-2:]):
        assert before.halves(0.005)
        assert after.halves(0.005)


def test_a_refresh_takes_the_rate_of_the_network_and_a_wrong_rate_is_seen(monkeypatch):
    words = RelinearisedWords(problem())
    assert words.check_refresh().passed
    monkeypatch.setattr(RelinearisedWords, "_loss", lambda self, system, flat: 0.0)
    assert not words.check_refresh().passed


@pytest.mark.parametrize("value", [1, 2, 0, 2.5, True, "many"])
def test_refreshes_that_are_none_are_refused(value):
    with pytest.raises(InvalidArgument, match="'refreshes' must be an integer of at least 4"):
        compiled()(TIMES, refreshes=value)


@pytest.mark.parametrize("value", [5, 6, 9])
def test_refreshes_that_cannot_be_halved_twice_are_refused(value):
    with pytest.raises(InvalidArgument, match="multiple of 4"):
        compiled()(TIMES, refreshes=value)


def test_refreshes_may_be_placed_as_shares_of_each_phase():
    way = look_along(problem(), 0, W0.arrays, float(TIMES[-1]))
    shares = way.refreshes(8)[1:-1] / TIMES[-1]
    asked, alike = compiled()(TIMES, refreshes=shares), compiled()(TIMES, refreshes=8)
    np.testing.assert_allclose(asked.outputs, alike.outputs, rtol=1e-10)
    np.testing.assert_allclose(asked.error_estimate, alike.error_estimate, rtol=1e-6)
    assert asked.refreshes == 8
    assert "refreshed 8 times in each phase, as asked" in asked.conventions[-1]
    # Through two phases, each refreshed at the same shares of it.
    course = sk.Curriculum([sk.Phase(TASK, 4.0), sk.Phase(sk.Task(X, -Y))])
    even = np.linspace(0, 1, 9)[1:-1]
    both = trajectory(problem(course), [4.0, 8.0], refreshes=even)
    first = trajectory(problem(), [4.0], refreshes=even)
    moved = sk.weights.from_arrays(NET, {n: w[-1] for n, w in first.weights.items()})
    second = Problem(NET, sk.Curriculum.of(sk.Task(X, -Y)), moved)
    after = trajectory(second, [4.0], refreshes=even)
    np.testing.assert_allclose(both.outputs[1], after.outputs[0], rtol=1e-10)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([0.2, 0.1, 0.5], "increasing shares of each phase"),
        ([0.0, 0.1, 0.5], "increasing shares of each phase"),
        ([0.1, 0.5, 1.0], "increasing shares of each phase"),
        ([0.1, 0.5], "multiple of 4 pieces, not 3"),
        ([0.1, np.nan, 0.5], "finite"),
        ([], "not be empty"),
        ([[0.1, 0.2, 0.3]], "1-dimensional"),
        (["a", "b", "c"], "real numbers"),
    ],
)
def test_shares_that_are_none_are_refused(value, words):
    with pytest.raises(InvalidArgument, match=words):
        compiled()(TIMES, refreshes=value)


def test_few_refreshes_say_that_the_estimate_is_rough():
    end = [0.0, 1000.0]
    assert "rough" in trajectory(late(16), end, refreshes=4).conventions[-1]
    assert "rough" not in trajectory(problem(), TIMES, refreshes=128).conventions[-1]


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
    assert 0 < np.abs(other.outputs - exact.outputs).max() < 2 * exact.error_estimate.max()


def test_a_kernel_that_turns_over_too_often_is_refused(monkeypatch):
    monkeypatch.setattr(relinearised_look, "_MOST_LOOKS", 1)
    with pytest.raises(InvalidArgument, match="ask for earlier times, or simulate"):
        compiled()(TIMES)


def test_a_tolerance_out_of_reach_says_what_was_reached(monkeypatch):
    monkeypatch.setattr(relinearised_estimate, "_MOST", 8)
    with pytest.raises(InvalidArgument, match="8 refreshes in each phase leave an estimated error"):
        compiled()(TIMES, rtol=1e-6)


def test_a_tolerance_far_out_of_reach_is_refused_early():
    with pytest.raises(InvalidArgument, match="256 refreshes in each phase leave"):
        compiled()(TIMES, rtol=1e-9)


def test_gradient_descent_is_not_among_what_it_gives():
    with pytest.raises(OutsideValidity, match="gradient descent"):
        compiled()(TIMES, learning_rate=0.1)
