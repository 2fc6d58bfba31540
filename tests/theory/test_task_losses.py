"""The loss on every task in every phase: closed form, compiled law, flow and descent."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import symkernel as sk
from symkernel import testing
from symkernel.errors import InvalidArgument, OutsideValidity
from symkernel.problem.problem import Problem
from symkernel.simulation.flow import integrate_flow

s, r, a, b, d, w, T, D = sp.symbols("s r a b d w T D", positive=True)
t = sp.Symbol("t", nonnegative=True)
HALF = sp.S.Half


def loss_of(task: sk.Task, A: np.ndarray, factor: float) -> float:
    """The definition, by moments."""
    return factor * np.trace(task.Syy - 2 * A @ task.Syx.T + A @ task.Sxx @ A.T)


def losses_of(problem: Problem, weights: dict, scale: float) -> np.ndarray:
    maps = scale * weights["W2"] @ weights["W1"]
    factor = float(problem.loss.factor)
    tasks = [phase.task for phase in problem.curriculum.phases]
    return np.array([[loss_of(task, A, factor) for task in tasks] for A in maps])


def in_closed_form(law: sk.Derivation, values: dict, times: np.ndarray) -> np.ndarray:
    course = law.compile(values).problem.curriculum if values else law.problem.curriculum
    count = len(course.phases)
    formulas = {
        (j, p): law.task_loss(j, phase=p).subs(values) for j in range(count) for p in range(count)
    }
    return np.array([
        [float(formulas[j, course.phase_at(x)].subs(t, x)) for j in range(count)] for x in times
    ])  # fmt: skip


def test_symbols_through_three_phases_with_a_reversal_and_a_mixture() -> None:
    first = sk.Task.from_modes([s, r], multiplicity=[1, 2], input_variance=[1, d])
    mixed = sk.Task.mixture([first, first.reversed()], [w, 1 - w])
    net = sk.Network.two_layer(inputs=3, hidden=4, outputs=3)
    w0 = sk.weights.aligned(net, first, a=[a, b], b=[b, b])
    course = sk.Curriculum([sk.Phase(first, T), sk.Phase(first.reversed(), D), sk.Phase(mixed)])
    loss = sk.SquaredError(sp.Rational(3, 4))
    law = sk.derive(net, course, w0, loss=loss)
    values = {s: 2, r: 0.7, d: 1.5, a: 0.3, b: 0.2, w: 0.8, T: 1.5, D: 1.25}
    times = np.array([0.0, 0.7, 1.5, 2.0, 2.75, 3.1, 6.0])
    compiled = law.compile(values)
    found = in_closed_form(law, values, times)
    np.testing.assert_allclose(found, compiled(times).task_losses, atol=1e-11)
    flow = integrate_flow(compiled.problem, times)
    np.testing.assert_allclose(found, losses_of(compiled.problem, flow.weights, 1.0), atol=1e-9)


@given(testing.aligned_problems(most=3, phases=2))
@settings(max_examples=12)
def test_any_commuting_tasks(problem: Problem) -> None:
    law = sk.derive(problem.network, problem.curriculum, problem.weights, loss=problem.loss)
    times = testing.horizon(problem, 20.0)
    exact = law.compile()(times)
    scale = float(np.prod([float(p.scale) for p in problem.network.parameters]))
    expected = losses_of(problem, exact.weights, scale)
    size = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(exact.task_losses, expected, atol=1e-10 * size)
    np.testing.assert_allclose(
        in_closed_form(law, {}, times[1::4]), expected[1::4], atol=1e-8 * size
    )
    running = [problem.curriculum.phase_at(x) for x in times]
    np.testing.assert_array_equal(exact.task_losses[range(len(times)), running], exact.loss)


@pytest.mark.slow
@given(
    st.sampled_from(["aligned", "gram"]).flatmap(
        lambda kind: (
            testing.aligned_problems(phases=3)
            if kind == "aligned"
            else testing.gram_diagonal_problems()
        )
    )
)
@settings(max_examples=150)
def test_any_commuting_tasks_against_the_flow(problem: Problem) -> None:
    law = sk.derive(problem.network, problem.curriculum, problem.weights, loss=problem.loss)
    times = testing.horizon(problem, 20.0)
    flow = integrate_flow(problem, times)
    trusted = flow.sensitivity * 2.0**-52 < 1e-10
    scale = float(np.prod([float(p.scale) for p in problem.network.parameters]))
    expected = losses_of(problem, flow.weights, scale)[trusted]
    size = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(
        law.compile()(times).task_losses[trusted], expected, atol=1e-8 * size
    )


def test_gram_diagonal_and_durations_alone_as_symbols() -> None:
    example = next(law for law in sk.catalogue() if law.name == "gram_diagonal").example()
    first, second = (phase.task for phase in example.curriculum.phases)
    course = sk.Curriculum([sk.Phase(first, T), sk.Phase(second)])
    law = sk.derive(example.network, course, example.weights, law="gram_diagonal")
    times = np.array([1.0, 2.0, 4.5])
    found = in_closed_form(law, {T: 2.0}, times)
    np.testing.assert_allclose(found, law.compile({T: 2.0})(times).task_losses, atol=1e-12)


def test_what_no_map_removes_counts_too() -> None:
    one, other = sk.Task.from_modes(s), sk.Task.from_modes(r)
    mixed = sk.Task.mixture([one, other], [w, 1 - w])
    net = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
    law = sk.derive(net, mixed, sk.weights.aligned(net, mixed, a=a, b=a))
    rest = sp.limit(law.task_loss(0).subs({s: 3, r: 1, w: sp.Rational(1, 4)}), t, sp.oo)
    assert rest == sp.Rational(1, 4) * sp.Rational(3, 4) * 2**2 / 2
    turned = sk.Task.mixture([one, other], [w, 1 - w]).reversed()
    law = sk.derive(net, sk.Curriculum([sk.Phase(mixed, T), sk.Phase(turned)]),
                    sk.weights.aligned(net, mixed, a=a, b=b))  # fmt: skip
    mean_square = (w * s**2 + (1 - w) * r**2) / 2
    assert sp.expand(law.task_loss(1, phase=0).subs(t, 0).subs({a: 0, b: 0}) - mean_square) == 0


def test_targets_that_the_inputs_do_not_explain() -> None:
    X = np.sqrt(2) * np.array([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    Y = np.array([[2.0, 0], [0, 1], [1, 0], [0, 3]])
    first, second = sk.Task(X, Y), sk.Task(X, Y[[2, 3, 0, 1]] * [1, -1])
    net = sk.Network.two_layer(inputs=2, hidden=2, outputs=2)
    course = sk.Curriculum([sk.Phase(first, 2), sk.Phase(second)])
    law = sk.derive(net, course, sk.weights.aligned(net, first, a=0.3, b=0.1))
    times = np.array([0.5, 2, 5])
    run = sk.simulate(net, course, law.problem.weights, 1e-4, record=times, on="samples")
    found = in_closed_form(law, {}, times)
    np.testing.assert_allclose(found, run.task_losses, atol=2e-3)
    assert found.min() > 0.1


def test_exact_tasks_keep_exact_losses() -> None:
    task = sk.Task(sp.eye(2), sp.Matrix([[2, 2], [2, 0]]))
    net = sk.Network.two_layer(inputs=2, hidden=2, outputs=2)
    law = sk.derive(net, task, sk.weights.aligned(net, task, a=a, b=a))
    start = law.task_loss(0).subs(t, 0).subs(a, 0)
    assert sp.expand(start) == task.exact.Syy.trace() / 2


def test_bad_positions_are_refused() -> None:
    task = sk.Task.from_modes(s)
    net = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
    w0 = sk.weights.aligned(net, task, a=a, b=a)
    law = sk.derive(net, sk.Curriculum([sk.Phase(task, T), sk.Phase(task)]), w0)
    for bad in (2, -1, 0.0, True, "0"):
        with pytest.raises(
            InvalidArgument, match="Argument 'task' must be a phase between 0 and 1"
        ):
            law.task_loss(bad, phase=0)
        with pytest.raises(InvalidArgument, match="Argument 'phase' must be"):
            law.task_loss(0, phase=bad)
    with pytest.raises(OutsideValidity, match="'task_loss' of one mode changes with the phase"):
        law.task_loss(0)
    with pytest.raises(OutsideValidity, match="task_loss"):
        law.task_loss(None, phase=0)


def test_balanced_reversal_has_no_learning_time() -> None:
    """Not a complex number either, which is what the formula for positive strengths gives."""
    task = sk.Task.from_modes(s)
    net = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
    course = sk.Curriculum([sk.Phase(task, T), sk.Phase(task.reversed(), D), sk.Phase(task)])
    law = sk.derive(net, course, sk.weights.aligned(net, task, a=a, b=a))
    for small in (False, True):
        with pytest.raises(OutsideValidity, match="no such learning time"):
            law.learning_time(HALF, 0, 1, small_scale=small)
    values = {s: 2, a: sp.Rational(1, 3), T: 2, D: 1}
    for name, formula in law.mode(0, phase=2).items():
        number = formula.subs(values).subs(t, 4).evalf(30)
        assert number.is_real, name
        assert not formula.has(sp.I, sp.Abs), name


def test_small_scale_of_a_reversed_task() -> None:
    """Exact and leading time agree as the weights go to 0, for a task learned in reverse."""
    task = sk.Task.from_modes(s)
    net = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
    course = sk.Curriculum([sk.Phase(task, T), sk.Phase(task.reversed())])
    law = sk.derive(net, course, sk.weights.aligned(net, task, a=a, b=b))
    values = {s: 2, a: sp.Rational(1, 10**8), b: sp.Rational(1, 10**9), T: sp.Rational(1, 10**6)}
    exact, leading = (
        law.learning_time(HALF, 0, 1, small_scale=small).subs(values).evalf(40)
        for small in (False, True)
    )
    assert abs(exact - leading) < 1e-12
