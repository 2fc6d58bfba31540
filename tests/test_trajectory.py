"""Trajectories: every field against the network itself, refusals with reasons, nothing mutable."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings

import symkernel as sk
from symkernel import testing
from symkernel.errors import InvalidArgument, OutsideValidity
from symkernel.problem.problem import Problem
from symkernel.theory import LAWS
from symkernel.trajectory import Trajectory, Undetermined

LAW = {law.name: law for law in LAWS}


def run_network(problem: Problem, weights, X) -> tuple[np.ndarray, np.ndarray]:
    """Return hidden activity and output of the network itself, written out in NumPy."""
    first, second = problem.network.parameters
    hidden = X @ (float(first.scale) * weights[first.name]).T
    return hidden, hidden @ (float(second.scale) * weights[second.name]).T


def jacobian(problem: Problem, weights, X) -> np.ndarray:
    """Return derivatives of all outputs by all weights, by complex steps."""
    names = [p.name for p in problem.network.parameters]
    columns = []
    for name in names:
        for k in range(weights[name].size):
            moved = {n: weights[n].astype(complex) for n in names}
            moved[name].ravel()[k] += 1e-30j
            columns.append(run_network(problem, moved, X)[1].imag / 1e-30)
    return np.stack(columns, axis=-1)


def check_fields(problem: Problem, trajectory: Trajectory) -> None:
    """Compare every field at every time with the network at the weights of that time.

    Fields are products of two weight matrices and of samples: that product is their scale.
    """
    curriculum = problem.curriculum
    sizes = [max(1.0, float(np.abs(w).max())) for w in trajectory.weights.values()]
    for k, time in enumerate(trajectory.times):
        task = curriculum.phases[curriculum.phase_at(time)].task
        weights = {n: w[k] for n, w in trajectory.weights.items()}
        hidden, outputs = run_network(problem, weights, task.X)
        atol = 1e-10 * float(np.prod(sizes)) * max(1.0, float(np.abs(task.X).max())) ** 2
        tight = {"rtol": 1e-10, "atol": atol}
        assert np.allclose(trajectory.outputs[k], outputs, **tight)
        assert np.allclose(trajectory.hidden[k], hidden, **tight)
        assert np.allclose(trajectory.hidden_gram[k], hidden @ hidden.T, **tight)
        J = jacobian(problem, weights, task.X)
        assert np.allclose(trajectory.ntk[k], np.einsum("noq,mpq->nomp", J, J), **tight)
        loss = float(problem.loss.factor) * ((task.Y - outputs) ** 2).sum(1).mean()
        assert np.isclose(trajectory.loss[k], loss, **tight)
        assert np.allclose(trajectory.node("output")[k], outputs, **tight)
        assert np.allclose(trajectory.node("hidden1")[k], hidden, **tight)
        assert np.array_equal(trajectory.node("input")[k], task.X)


@given(testing.aligned_problems(most=4, samples=True))
def test_fields_of_the_aligned_law_are_those_of_the_network(problem: Problem) -> None:
    times = testing.horizon(problem, 8.0)[::3]
    check_fields(problem, LAW["aligned_modes"].trajectory(problem, times))


@given(testing.gram_diagonal_problems(samples=True))
def test_fields_of_the_gram_diagonal_law_are_those_of_the_network(problem: Problem) -> None:
    """Half of the draws are curricula, whose samples change with the phase."""
    times = testing.horizon(problem, 8.0)[::3]
    check_fields(problem, LAW["gram_diagonal"].trajectory(problem, times))


@pytest.mark.slow
@given(testing.aligned_problems(most=6, samples=True))
@settings(max_examples=300)
def test_fields_on_many_draws(problem: Problem) -> None:
    times = testing.horizon(problem, 8.0)
    check_fields(problem, LAW["aligned_modes"].trajectory(problem, times))


def posed(parameterisation="standard", factor=0.5, noise=0.0) -> Problem:
    """Return a problem whose targets hold a part that no linear map fits."""
    stream = np.random.default_rng(1000)
    X = np.linalg.qr(stream.standard_normal((8, 3)))[0] * np.sqrt(8)
    Y = X @ stream.standard_normal((3, 2)) + noise * stream.standard_normal((8, 2))
    task = sk.Task(X, Y, labels={"outputs": ["left", "right"]})
    net = sk.Network.two_layer(3, 4, 2, parameterisation=parameterisation)
    w0 = sk.weights.aligned(net, task, a=[0.3, 0.8], b=[0.5, -0.4])
    return Problem(net, task, w0, sk.SquaredError(factor))


@pytest.mark.parametrize("noise", [0.0, 0.7])
@pytest.mark.parametrize("factor", [0.5, 2.0])
@pytest.mark.parametrize("parameterisation", ["standard", "ntk"])
def test_fields_carry_parameterisation_factor_and_noise(parameterisation, factor, noise) -> None:
    """The loss keeps the part of the targets that cannot be fitted, at any factor."""
    problem = posed(parameterisation, factor, noise)
    trajectory = derived(problem)([0.0, 0.3, 1.0, 40.0])
    check_fields(problem, trajectory)
    floor = trajectory.loss[-1]
    assert (floor > 0.1) == (noise > 0)
    assert (np.diff(trajectory.loss) < 0).all()


def derived(problem: Problem):
    return sk.derive(
        problem.network, problem.curriculum, problem.weights, loss=problem.loss
    ).compile()


def test_theory_and_simulation_hold_the_same_fields() -> None:
    problem = posed(noise=0.5)
    record = np.array([0.0, 0.1, 0.2])
    theory = derived(problem)(record)
    rates = (1e-3, 5e-4)
    gaps = {name: [] for name in ("outputs", "hidden", "hidden_gram", "ntk", "loss", "modes")}
    for rate in rates:
        run = sk.simulate(
            problem.network, problem.curriculum, problem.weights, learning_rate=rate, record=record
        )
        assert run.origin == "simulation"
        assert theory.origin == "theory"
        for name, found in gaps.items():
            one, two = getattr(theory, name), getattr(run, name)
            assert one.shape == two.shape
            found.append(np.abs(one - two).max())
    # The error of gradient descent halves with its learning rate, in every field.
    for name, (coarse, fine) in gaps.items():
        assert 1.9 < coarse / fine < 2.1, name


def test_modes_are_the_map_in_the_singular_basis() -> None:
    problem = posed()
    trajectory = derived(problem)([0.0, 0.5, 50.0])
    task = problem.curriculum.phases[0].task
    s = np.linalg.svd(task.Syx)[1]
    assert np.allclose(trajectory.modes[0], np.array([0.3 * 0.5, -0.8 * 0.4]))
    # The second mode starts below 0 and crosses it; both end at their strength (inputs are white).
    assert np.allclose(trajectory.modes[-1], s, rtol=1e-9)


def test_what_is_not_determined_says_why() -> None:
    net = sk.Network.two_layer(2, 2, 2)
    task = sk.Task.from_moments(np.eye(2), np.diag([2.0, 1.0]), np.eye(2) * 4)
    trajectory = sk.derive(net, task, sk.weights.aligned(net, task, a=0.1, b=0.1)).compile()([1.0])
    for name in ("outputs", "hidden", "hidden_gram", "ntk"):
        with pytest.raises(OutsideValidity, match=f"'{name}' is not determined: the task was given "
                           "by moments and has no samples"):  # fmt: skip
            getattr(trajectory, name)
    with pytest.raises(OutsideValidity, match="'hidden' is not determined"):
        trajectory.node("hidden")
    of_weights = ("task_losses", "end_to_end", "input_gram", "readout_gram")
    assert set(trajectory.available) == {"modes", "weights", "loss", *of_weights}
    assert trajectory.loss.shape == (1,)


def test_what_is_not_there_is_named_with_what_is() -> None:
    trajectory = derived(posed())([0.0])
    with pytest.raises(OutsideValidity, match="does not hold 'hidden7'; it holds input, hidden"):
        trajectory.node("hidden7")
    empty = Trajectory(np.zeros(1), {})
    with pytest.raises(OutsideValidity, match=r"does not hold '\[\]'"):
        empty.node([])
    with pytest.raises(OutsideValidity, match="does not hold 'loss'; it holds nothing of the kind"):
        _ = empty.loss
    told = Trajectory(np.zeros(1), {"loss": Undetermined("nobody knows")})
    with pytest.raises(OutsideValidity, match="'loss' is not determined: nobody knows"):
        _ = told.loss


def test_samples_of_different_number_leave_outputs_undetermined() -> None:
    net = sk.Network.two_layer(2, 2, 2)
    one, two = sk.Task(np.eye(2), np.eye(2)), sk.Task(np.vstack([np.eye(2)] * 2), np.ones((4, 2)))
    two = sk.Task(two.X, two.X @ np.diag([1.0, 2.0]))
    w0 = sk.weights.aligned(net, one, a=0.1, b=0.1)
    cur = sk.Curriculum([sk.Phase(one, 1.0), sk.Phase(two)])
    trajectory = sk.derive(net, cur, w0).compile()([0.5, 2.0])
    with pytest.raises(OutsideValidity, match="different numbers of samples"):
        _ = trajectory.outputs
    assert trajectory.modes.shape == (2, 2)


def test_nothing_of_a_trajectory_can_be_changed() -> None:
    trajectory = derived(posed())([0.0, 1.0])
    for name in ("times", "outputs", "hidden", "hidden_gram", "ntk", "loss", "modes"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(trajectory, name)[...] = 0.0
    for value in (*trajectory.weights.values(), trajectory.node("hidden")):
        with pytest.raises(ValueError, match="read-only"):
            value[...] = 0.0
    for mapping in (trajectory.weights, trajectory.labels, trajectory.fields, trajectory.nodes):
        with pytest.raises(TypeError, match="does not support item assignment"):
            mapping["loss"] = None
    with pytest.raises(dataclasses.FrozenInstanceError):
        trajectory.times = np.zeros(2)
    with pytest.raises(AttributeError):
        trajectory.outputs = np.zeros(2)


def test_the_callers_times_stay_his_own() -> None:
    """They are neither locked nor able to change the result."""
    times = np.array([0.0, 1.0])
    trajectory = derived(posed())(times)
    times[1] = 5.0
    assert trajectory.times[1] == 1.0
    assert np.array_equal(trajectory.outputs, derived(posed())([0.0, 1.0]).outputs)


def test_fields_are_computed_once_and_only_when_asked_for() -> None:
    calls = []
    fields = {"loss": lambda: calls.append(1) or np.zeros(1)}
    trajectory = Trajectory(np.zeros(1), fields)
    assert not calls
    assert trajectory.loss is trajectory.loss
    assert calls == [1]


def test_labels_and_conventions_come_along() -> None:
    trajectory = derived(posed())([0.0])
    assert trajectory.labels["outputs"] == ("left", "right")
    assert any("flow time" in line for line in trajectory.conventions)


CURRICULUM = sk.Curriculum([sk.Phase(sk.Task.from_modes([2.0, 1.0]), 1.5),
                            sk.Phase(sk.Task.from_modes([1.0, 3.0]), 0.5)])  # fmt: skip


def ending():
    net = sk.Network.two_layer(2, 2, 2)
    w0 = sk.weights.aligned(net, CURRICULUM.phases[0].task, a=0.2, b=0.1)
    return sk.derive(net, CURRICULUM, w0).compile()


def test_times_after_the_end_of_the_curriculum_are_refused() -> None:
    law = ending()
    assert law([0.0, 1.5, 2.0]).modes.shape == (3, 2)
    for late in (2.0 + 1e-9, 3.0, 1e6):
        with pytest.raises(
            OutsideValidity, match=r"ends at flow time 2, but time .* was asked for"
        ):
            law([0.0, late])


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([1.0, 0.5], "increasing order"),
        ([-0.1, 0.5], "non-negative"),
        ([0.0, np.nan], "must be finite"),
        ([0.0, np.inf], "must be finite"),
        ([], "must not be empty"),
        (1.0, "must be 1-dimensional"),
        ([[0.0, 1.0]], "must be 1-dimensional"),
        ([0.0, 1j], "complex numbers"),
        (["0"], "text"),
        (None, "is missing"),
    ],
)
def test_times_that_are_no_times_are_refused(times, words: str) -> None:
    with pytest.raises(InvalidArgument, match=f"'times' .*{words}"):
        ending()(times)


def test_times_may_repeat_and_the_switch_belongs_to_the_first_task() -> None:
    trajectory = ending()([0.0, 1.5, 1.5, np.nextafter(1.5, 2), 2.0])
    assert np.array_equal(trajectory.modes[1], trajectory.modes[2])
    assert np.allclose(trajectory.modes[2], trajectory.modes[3], rtol=1e-12)
    first, second = (phase.task.X for phase in CURRICULUM.phases)
    assert np.array_equal(trajectory.node("input")[2], first)
    assert np.array_equal(trajectory.node("input")[3], second)


def test_a_kernel_too_large_for_memory_is_refused_before_it_is_built() -> None:
    task = sk.Task(np.tile(np.eye(2), (1000, 1)), np.tile(np.eye(2), (1000, 1)))
    net = sk.Network.two_layer(2, 2, 2)
    law = sk.derive(net, task, sk.weights.aligned(net, task, a=0.1, b=0.1)).compile()
    with pytest.raises(InvalidArgument, match=r"would take .* GiB; ask for fewer times"):
        _ = law(np.linspace(0, 1, 50)).ntk


def test_xarray_is_asked_for_by_name_where_it_is_missing(monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match="pip install xarray"):
        derived(posed())([0.0]).to_xarray()
