"""Where the frozen law is worth something, what moves through its phases, and what it prints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel.nodes import Apply, Gate, Input, Parameter
from symkernel.problem.problem import Problem
from symkernel.report.latex_network import network_lines
from symkernel.theory import frozen_domain
from symkernel.theory.frozen_checks import example, scaled, wide
from symkernel.theory.frozen_course import CourseWords, DescentIntegral
from symkernel.theory.frozen_domain import moving, predicted_movement, thinned
from symkernel.theory.frozen_kernel import LAW, trajectory
from symkernel.theory.frozen_path import Clock
from symkernel.theory.kernel_movement import TangentKernel
from symkernel.theory.tangent_pass import TangentPass

NET = sk.Network.mlp([4, 32, 1], "tanh", parameterisation="ntk")
W0 = sk.weights.gaussian(NET, seed=0)
STREAM = np.random.default_rng(0)
X = STREAM.standard_normal((127, 4))
START = TangentPass(NET, W0.arrays, X, {}).values[NET.output]


def problem_of(*tasks, net=NET, w0=W0, lasting=1.0):
    phases = [sk.Phase(task, lasting) for task in tasks[:-1]]
    return Problem(net, sk.Curriculum([*phases, sk.Phase(tasks[-1])]), w0)


# ---- how far the kernel would move


def test_samples_in_a_periodic_order_do_not_deceive(monkeypatch):
    """Every second sample is learned already: evenly spaced ones would see nothing to learn."""
    targets = START + 50 * np.sign(X[:, :1])
    targets[::2] = START[::2]
    problem = problem_of(sk.Task(X, targets))
    whole, _ = predicted_movement(problem)
    monkeypatch.setattr(frozen_domain, "_LOOKED_AT", 64)
    found, words = predicted_movement(problem)
    # More samples are harder to learn all: what matters is that the verdict is the same.
    assert whole > 100
    assert found > 100
    assert "looked at on 64 of 127 samples, in two draws: " in words
    assert "WORTHLESS HERE" in moving("frozen_kernel", problem).warning
    first, second = (thinned(problem, draw)[0].curriculum.phases[0].task for draw in (0, 1))
    both = [tuple(row) for row in (*first.X, *second.X)]
    # One of the 64 groups has one sample.
    assert len(set(both)) == 127
    assert {tuple(row) for row in first.X} == {
        tuple(row) for row in thinned(problem)[0].curriculum.phases[0].task.X
    }


def test_the_larger_of_two_draws_counts(monkeypatch):
    monkeypatch.setattr(frozen_domain, "_LOOKED_AT", 4)
    found, words = predicted_movement(
        problem_of(sk.Task(X, START + STREAM.standard_normal((127, 1))))
    )
    stated = [float(text) for text in words.split("draws: ")[1].rstrip(")").split(" and ")]
    assert stated[0] != stated[1]
    assert float(f"{found:.2g}") == max(stated)


def test_samples_that_are_looked_at_keep_their_weights_and_gates(monkeypatch):
    monkeypatch.setattr(frozen_domain, "_LOOKED_AT", 32)
    shares = np.where(np.arange(127) < 64, 9.0, 1.0)
    shares /= shares.sum()
    targets = START + np.where(np.arange(127) < 64, 0.0, 1.0)[:, None]
    task = sk.Task(X, targets, sample_weights=shares, gates={"g": X[:, :1]})
    few = thinned(problem_of(task))[0].curriculum.phases[0].task
    assert len(few.X) == 32
    assert (few.gates["g"] == few.X[:, :1]).all()
    near = np.isin(few.X[:, 0], X[:64, 0])
    assert 15 <= near.sum() <= 17
    assert abs(few.sample_weights[near].sum() - shares[:64].sum()) < 0.06
    assert abs(few.sample_weights.sum() - 1) < 1e-12


def test_the_movement_of_the_kernel_has_the_gates_of_its_samples():
    x, W, v = Input(4), Parameter("W", (6, 4)), Parameter("v", (1, 6))
    net = sk.Network.build(v @ Gate("g", Apply("tanh", W @ x)))
    w0 = sk.weights.gaussian(net, seed=0)
    some = TangentKernel.on_some(TangentPass(net, w0.arrays, X, {"g": X[:, :1]}), 16)
    assert len(some.tangent.X) == 16
    assert (some.tangent.gates["g"] == some.tangent.X[:, :1]).all()


def test_ends_of_earlier_phases_are_looked_at():
    """The second phase takes back what the first one moved: it ends where all began."""
    far, back = sk.Task(X[:5], START[:5] + 3), sk.Task(X[:5], START[:5])
    problem = problem_of(far, back, lasting=30.0)
    found, _ = predicted_movement(problem)
    moved = trajectory(problem, [30.0, 1e6]).kernel_movement
    assert moved[1] < 0.2 * moved[0]
    assert abs(found / moved[0] - 1) < 1e-9


def test_a_kernel_that_moves_by_itself_is_the_limit():
    assert 1 < predicted_movement(example())[0] < 2
    assert "WORTHLESS" in moving("frozen_kernel", example()).warning
    narrow = wide(16, 1000)
    assert 0.5 < predicted_movement(narrow)[0] < 1
    assert not moving("frozen_kernel", narrow).warning


def test_the_ladder_shows_it_where_it_is_worth_something():
    assert predicted_movement(LAW.example())[0] < 0.2


# ---- phases


def test_kernels_and_their_movement_are_those_of_the_running_phase():
    one, two = sk.Task(X[:5], START[:5] + 1), sk.Task(X[5:10], START[5:10] - 2)
    problem = problem_of(one, two)
    found = trajectory(problem, [0.5, 1.0, 1.5, 4.0])
    for row, task in enumerate((one, one, two, two)):
        kernel = sk.ntk(NET).compile()
        start = kernel(task.X, None, W0)
        assert np.abs(found.ntk[row] - start).max() < 1e-13
        weights = {name: w[row] for name, w in found.weights.items()}
        moved = np.linalg.norm(kernel(task.X, None, weights) - start) / np.linalg.norm(start)
        assert abs(found.kernel_movement[row] - moved) < 1e-12


def test_a_switch_belongs_to_the_phase_that_it_ends_in_steps_as_in_time():
    one, two = sk.Task(X[:5], START[:5] + 1), sk.Task(X[5:10], START[5:10] - 2)
    problem = problem_of(one, two)
    flow, steps = (Clock.of(problem.curriculum, [0.0, 1.0, 1.1], rate) for rate in (None, 0.1))
    assert list(flow.position) == list(steps.position) == [0, 0, 1]
    found = trajectory(problem, [0.0, 1.0, 1.1], learning_rate=0.1)
    assert (found.loss == found.task_losses[range(3), [0, 0, 1]]).all()
    assert found.task_losses[1, 0] != found.task_losses[1, 1]


# ---- what is derived and printed


@pytest.fixture(scope="module")
def course():
    task = wide(8, 1000).curriculum.phases[0].task
    problem = wide(8, 1000)
    both = sk.Curriculum([sk.Phase(task, 2.0), sk.Phase(task.reversed())])
    return sk.derive(problem.network, both, problem.weights, law="frozen_kernel")


def test_steps_of_descent_are_derived_and_a_wrong_sum_fails():
    words = CourseWords(wide(8, 1000))
    assert words.steps()[-1].title == "Gradient descent"
    assert words.check_descent().passed
    right = words.stepped
    eta, l, k = (next(s for s in right.free_symbols if s.name == n) for n in ("eta", "l", "k"))
    for wrong in ((1 - (1 + eta * l) ** k) / l, (1 - (1 - eta * l) ** (k + 1)) / l, right / eta):
        words.__dict__["stepped"] = wrong
        assert not words.check_descent().passed
    words.__dict__["stepped"] = right
    words.__dict__["solved"] = {**words.solved, "h": words.solved["h"].scaled(2)}
    assert not words.check_descent().passed
    assert DescentIntegral.of_eigenvalue(0, k) == k * eta
    kappa = sp.Symbol("kappa", positive=True)
    loss = sk.SquaredError(kappa)
    assert CourseWords(replace(wide(8, 1000), loss=loss)).check_descent().passed


def test_the_sum_over_phases_is_derived_and_a_wrong_one_fails(course, monkeypatch):
    words = CourseWords(course.problem)
    assert words.steps()[-1].title == "Phases of the curriculum"
    assert words.check_course().passed
    right = CourseWords.summed
    monkeypatch.setattr(CourseWords, "summed", lambda self, count: right(self, count - 1))
    assert not words.check_course().passed


def test_pages_say_what_holds_for_steps_and_phases(course):
    text = course.latex()
    assert r"g &= \eta\sum_{j=0}^{k-1} \left(1 - \eta M\right)^{j} \rho_{0}" in text
    assert r"\frac{1 - \left(1 - \eta l\right)^{k}}{l}" in text
    assert r"h &= h_{0} - K_{h,0} C_{0} g_{0} - K_{h,1} C_{1} g_{1}" in text
    assert r"\int_0^{t - t_{1}} e^{- M_{1} \tau}\,d\tau" in text
    assert r"\int_0^{t_{1} - t_{0}} e^{- M_{0} \tau}\,d\tau" in text
    assert "Phases of the curriculum" not in sk.derive(
        course.problem.network, course.problem.curriculum.phases[0].task, course.problem.weights,
        law="frozen_kernel",
    ).latex()  # fmt: skip


def test_pages_name_the_phase_whose_data_were_changed(course):
    line = "data of phase 1 (the first is 0) reversed: the targets have the opposite sign"
    assert line in course.problem.conventions
    task = course.problem.curriculum.phases[1].task
    alone = replace(course.problem, curriculum=sk.Curriculum.of(task))
    assert "data reversed: the targets have the opposite sign" in alone.conventions
    three = [sk.Phase(task, 1.0), sk.Phase(sk.Task(task.X, task.Y), 1.0), sk.Phase(task)]
    often = replace(course.problem, curriculum=sk.Curriculum(three)).conventions
    assert any(line.startswith("data of phases 0, 2 (the first is 0) reversed") for line in often)


def test_pages_say_which_network_it_is_and_how_many_samples_it_sees(course):
    text = course.latex()
    shown = r"f(x) = \frac{\sqrt{2}}{4} W_{2} \tanh\left(\frac{\sqrt{3}}{3} W_{1} x\right)"
    assert rf"Network:\\\symkernelfit{{{shown}}}" in text
    assert text.count("a task of 4 samples") == 2
    assert "- V_{2} \\tanh" in network_lines(scaled(4, 0), None)[0]


def test_networks_of_all_nodes_are_printed():
    z = sp.Symbol("z")
    x, W, v = Input(3), Parameter("W", (3, 3)), Parameter("v", (3,), kind="diagonal")
    b = Parameter("b", (3,), kind="bias")
    inner = Apply("erf", W @ Gate("g", W @ x + b))
    net = sk.Network.build(v @ inner + b)
    task = sk.Task.from_moments(np.eye(3), np.eye(3), np.eye(3))
    found = Problem(net, sk.Curriculum.of(task), sk.weights.gaussian(net, seed=0))
    formula = r"f(x) = v \odot \phi\left(A \left(g \odot \left(A x + b\right)\right)\right) + b"
    value = r"$\phi(z) = \operatorname{erf}{\left(\frac{\sqrt{2} z}{2} \right)}$"
    wanted = [rf"Network:\\\symkernelfit{{{formula}}}\\with {value}."]
    assert network_lines(found, {"W": "A"}) == wanted
    deep = sk.Network.mlp([3, 4, 5, 3], ["relu", sp.sin(z)])
    found = Problem(deep, sk.Curriculum.of(task), sk.weights.gaussian(deep, seed=0))
    (line,) = network_lines(found, None)
    assert r"W_{3} \phi_{2}\left(W_{2} \phi_{1}\left(W_{1} x\right)\right)" in line
    assert r"$\phi_{2}(z) = \sin{\left(z \right)}$" in line
    part = Parameter("P", (3, 2)) @ x[1:3]
    cut = sk.Network.build(part)
    found = Problem(cut, sk.Curriculum.of(task), sk.weights.gaussian(cut, seed=0))
    assert "f(x) = P x_{[1:3]}" in network_lines(found, None)[0]
