"""The frozen-kernel law: against the linearised network, step by step; traps, faces, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import symkernel as sk
from symkernel import testing
from symkernel.check_report import CheckReport, Rung
from symkernel.codegen import matrix_routine
from symkernel.errors import InvalidArgument, NoClosedForm, OutsideValidity, ShapeMismatch
from symkernel.ladder_asymptotic import linearised_error
from symkernel.nodes import Apply, Gate, Input, Parameter
from symkernel.problem.problem import Problem
from symkernel.simulation.linearised import LinearisedFlow, jacobian
from symkernel.simulation.reading import Pass
from symkernel.theory.frozen_kernel import LAW, trajectory
from symkernel.theory.frozen_path import systems_of
from symkernel.theory.frozen_solver import FactorSolver
from symkernel.theory.frozen_words import FrozenWords
from symkernel.theory.residual_integral import Spectrum, defined
from symkernel.theory.tangent_pass import TangentPass

NET = sk.Network.mlp([3, 20, 2], "tanh", bias=True, parameterisation="ntk")
W0 = sk.weights.gaussian(NET, seed=3)
STREAM = np.random.default_rng(4)
X, Y = STREAM.standard_normal((6, 3)), STREAM.standard_normal((6, 2))
TASK = sk.Task(X, Y)
TIMES = [0.0, 0.3, 2.0, 20.0]


def problem_of(task=TASK, net=NET, w0=W0, loss=None):
    return Problem(net, sk.Curriculum.of(task), w0, loss or sk.SquaredError())


def frozen(task=TASK, net=NET, w0=W0, **options):
    return sk.derive(net, task, w0, law="frozen_kernel", **options).compile()


# ---- against the linearised network


@given(st.integers(0, 2**31))
def test_weights_outputs_and_hidden_activity_are_those_of_the_linearised_network(seed):
    """One to three hidden layers, up to three phases, singular kernels, weights of samples."""
    assert linearised_error(LAW.draw(np.random.default_rng(seed)), LAW) <= 1e-10


@pytest.mark.slow
def test_so_they_are_in_two_hundred_draws():
    worst = max(linearised_error(LAW.draw(np.random.default_rng(seed)), LAW) for seed in range(200))
    assert worst <= 1e-10


@settings(max_examples=10)
@given(st.integers(0, 2**31))
def test_gradient_descent_is_the_explicit_iteration(seed):
    problem = LAW.draw(np.random.default_rng(seed))
    flow = LinearisedFlow(problem)
    systems = systems_of(problem, problem.weights.arrays)
    fastest = max(FactorSolver(s).largest for s in systems)
    rate = 1.9 / max(fastest, flow.fastest, 1e-3)
    phases = [
        sk.Phase(phase.task, None if phase.duration is None else rate * (7 + k))
        for k, phase in enumerate(problem.curriculum.phases)
    ]
    problem = replace(problem, curriculum=sk.Curriculum(phases))
    last = round(problem.curriculum.starts[-1] / rate)
    steps = [0, 1, 2, last + 3, last + 50]
    true = LinearisedFlow(problem).descended(rate, steps)
    found = trajectory(problem, rate * np.array(steps), learning_rate=rate)
    assert list(found.steps) == steps
    size = max(1.0, *(float(np.abs(w).max()) for w in true.weights.values()))
    for name, weight in true.weights.items():
        assert np.abs(found.weights[name] - weight).max() <= 1e-12 * size


def test_the_descent_of_a_wide_network_is_that_of_the_law():
    net = sk.Network.mlp([3, 4096, 2], "tanh", parameterisation="ntk")
    w0 = sk.weights.gaussian(net, seed=1)
    found = frozen(net=net, w0=w0)([0, 1, 10], learning_rate=0.5)
    sim = sk.simulate(net, TASK, w0, learning_rate=0.5, record=[0, 1, 10])
    assert (found.steps == sim.steps).all()
    change = np.abs(sim.outputs[-1] - sim.outputs[0]).max()
    assert np.abs(found.outputs - sim.outputs).max() < 0.01 * change


def test_flow_is_the_limit_of_descent_with_slope_one():
    exact = trajectory(problem_of(), [0.0, 4.0]).outputs[-1]
    errors = [
        np.abs(trajectory(problem_of(), [0.0, 4.0], learning_rate=rate).outputs[-1] - exact).max()
        for rate in (0.1, 0.05, 0.025, 0.0125)
    ]
    slope = np.polyfit(np.log([0.1, 0.05, 0.025, 0.0125]), np.log(errors), 1)[0]
    assert abs(slope - 1) < 0.05


def test_jacobian_of_the_judge_is_the_derivative_of_the_networks_outputs():
    J = jacobian(NET, NET.output, W0.arrays, X, {})[1].reshape(12, -1)
    tangent = TangentPass(NET, W0.arrays, X, {})
    along = np.random.default_rng(1).standard_normal(J.shape[1])
    ahead, behind = (
        TangentPass(NET, tangent.layout.moved(W0.arrays, side * 1e-5 * along), X, {})
        for side in (1, -1)
    )
    slope = (ahead.values[NET.output] - behind.values[NET.output]).ravel() / 2e-5
    assert np.abs(J @ along - slope).max() < 1e-8
    assert np.abs(tangent.forward(along, NET.output).ravel() - J @ along).max() < 1e-13
    signal = np.random.default_rng(2).standard_normal((6, 2))
    assert np.abs(tangent.backward(signal) - signal.ravel() @ J).max() < 1e-12


@given(testing.numerical_networks(), st.integers(0, 2**31))
def test_products_with_the_jacobian_of_any_network(case, seed):
    """Either way they are transposes of one another, and give the judge's kernel."""
    tangent = TangentPass(case.net, case.weights, case.X, case.gates)
    assume(tangent.layout.count)
    stream, outputs = np.random.default_rng(seed), int(case.net.outputs)
    along = stream.standard_normal(tangent.layout.count)
    signal = stream.standard_normal((len(case.X), outputs))
    up, down = tangent.forward(along, case.net.output), tangent.backward(signal)
    size = 1 + np.abs(up * signal).sum() + np.abs(down * along).sum()
    assert abs((up * signal).sum() - down @ along) <= 1e-12 * size
    unit = np.eye(signal.size).reshape(signal.size, *signal.shape)
    rows = tangent.backward(unit)
    kernel = Pass(case.net, case.weights, case.X, case.gates).kernel().reshape(len(rows), -1)
    assert np.abs(rows @ rows.T - kernel).max() <= 1e-12 * (1 + np.abs(kernel).max())
    whole = tangent.kernel().reshape(kernel.shape)
    assert np.abs(whole - kernel).max() <= 1e-12 * (1 + np.abs(kernel).max())


# ---- singular kernels


def test_trap_11_conflicting_labels_of_one_input_never_agree():
    conflict = sk.Task(X[[0, 0, 1]], np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]))
    problem = problem_of(conflict)
    found = trajectory(problem, [0.0, 5.0, 1e9])
    # The outputs of both copies agree at all times, and end at the mean of the labels.
    assert np.abs(found.outputs[:, 0] - found.outputs[:, 1]).max() < 1e-12
    assert np.abs(found.outputs[-1, 0]).max() < 1e-9
    assert abs(found.loss[-1] - 1 / 3) < 1e-9
    assert linearised_error(problem, LAW) <= 1e-10
    assert "directions of the outputs never learn" in found.conventions[-2]
    assert "would move by" in found.conventions[-1]


def test_trap_11_the_naive_form_loses_small_eigenvalues():
    l, t = np.array([1e-18, 2.0]), 3.0
    naive = (1 - np.exp(-l * t)) / l
    assert naive[0] == 0.0  # all of it, where t = 3 is right
    found = Spectrum(l, np.eye(2), 0.0).integral(np.ones(2), np.array([t]))[0]
    assert abs(found[0] / t - 1) < 1e-15
    assert abs(found[1] / naive[1] - 1) < 1e-15


def test_integral_of_a_spectrum_is_the_definition_of_the_node():
    A = np.random.default_rng(3).standard_normal((4, 3))
    M, r = A @ A.T, np.arange(1.0, 5.0)
    spectrum = Spectrum.of(M)
    assert (spectrum.values == 0).sum() == 1
    found = spectrum.integral(spectrum.parts(r), np.array([0.7]))[0]
    assert np.abs(found - defined(M, r, 0.7)).max() < 1e-12


@pytest.mark.parametrize("matrix", [[[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.5], [0.0, 1.0]]])
def test_a_kernel_that_is_none_is_refused(matrix):
    with pytest.raises(InvalidArgument, match="symmetric and positive semi-definite"):
        Spectrum.of(np.array(matrix))


# ---- what enters


def test_loss_factor_sample_weights_and_rates_enter_by_themselves():
    """Three samples weighted 1/2, 1/4, 1/4 are four samples, one of them twice."""
    weighted = sk.Task(X[:3], Y[:3], sample_weights=[0.5, 0.25, 0.25])
    four = sk.Task(X[[0, 0, 1, 2]], Y[[0, 0, 1, 2]])
    one, two = (trajectory(problem_of(t), TIMES).outputs for t in (weighted, four))
    assert np.abs(one - two[:, 1:]).max() < 1e-12
    double = trajectory(problem_of(loss=sk.SquaredError(1)), np.array(TIMES) / 2)
    assert np.abs(double.outputs - trajectory(problem_of(), TIMES).outputs).max() < 1e-12
    fast = sk.Network.mlp([3, 20, 2], "tanh", bias=True, parameterisation="ntk", rates=[3, 3])
    found = trajectory(problem_of(net=fast), np.array(TIMES) / 3)
    assert np.abs(found.outputs - trajectory(problem_of(), TIMES).outputs).max() < 1e-12


def test_the_derivation_changes_with_the_factor_of_the_loss():
    kappa = sp.Symbol("kappa", positive=True)
    words = FrozenWords(problem_of(loss=sk.SquaredError(kappa)))
    assert words.check_flow().passed
    assert words.check_reduced().passed
    assert words.check_weighted().passed
    assert words.check_displacement().passed
    assert "2*kappa" in str(words.formulas()[0].expression).replace(" ", "")
    assert str(FrozenWords(problem_of()).formulas()[0].expression) == "-Theta*C*g + f_0"


def test_a_wrong_step_fails_its_check():
    words = FrozenWords(problem_of())
    for name, check in (
        ("flow", words.check_flow), ("reduced", words.check_reduced),
        ("weighted", words.check_weighted),
    ):  # fmt: skip
        right = getattr(words, name)
        words.__dict__[name] = right.scaled(2)
        assert not check().passed, name
        words.__dict__[name] = right
    words.__dict__["solved"] = {**words.solved, "d": -words.solved["d"]}
    assert not words.check_displacement().passed


def test_a_curriculum_starts_each_phase_where_the_one_before_left_the_weights():
    """Cut into two, and with another task between; number of samples may differ."""
    other = sk.Task(X[:4] + 1, -Y[:4])
    course = sk.Curriculum([sk.Phase(TASK, 1.0), sk.Phase(other, 2.0), sk.Phase(TASK)])
    problem = Problem(NET, course, W0)
    assert linearised_error(problem, LAW) <= 1e-10
    found = trajectory(problem, [0.5, 1.0, 2.0, 3.0, 9.0])
    assert found.task_losses.shape == (5, 3)
    assert (found.task_losses[:, 0] == found.task_losses[:, 2]).all()
    assert (found.loss == found.task_losses[range(5), [0, 0, 1, 1, 2]]).all()
    with pytest.raises(OutsideValidity, match=r"different numbers of samples.*compiled.predict"):
        _ = found.outputs
    with pytest.raises(OutsideValidity, match="different numbers of samples"):
        _ = found.ntk
    assert frozen(course).predict(X, [0.5, 9.0]).outputs.shape == (2, 6, 2)


def test_gates_diagonal_shared_and_untrained_parameters():
    x, W, v = Input(3), Parameter("W", (3, 3)), Parameter("v", (3,), kind="diagonal", rate=2)
    still = Parameter("B", (3, 3), trained=False)
    inner = Apply("tanh", W @ Gate("g", W @ x))
    net = sk.Network.build(v @ inner + still @ x, names={"hidden": inner})
    w0 = sk.weights.gaussian(net, seed=2)
    task = sk.Task(X, STREAM.standard_normal((6, 3)), gates={"g": np.arange(6.0)[:, None] / 3})
    assert linearised_error(Problem(net, sk.Curriculum.of(task), w0), LAW) <= 1e-10
    compiled = frozen(task, net, w0)
    found = compiled.predict(X, [0.0, 1.0], gates=dict(task.gates))
    assert np.abs(found.outputs - compiled([0.0, 1.0]).outputs).max() < 1e-13
    assert (found.weights["B"] == w0.arrays["B"]).all()
    with pytest.raises(ShapeMismatch, match="must hold the gate 'g'"):
        compiled.predict(X, [0.0])
    with pytest.raises(ShapeMismatch, match=r"Gate 'g' must be of shape \(6, 3\)"):
        compiled.predict(X, [0.0], gates={"g": np.ones((5, 3))})
    bare = sk.Task(X, task.Y)
    with pytest.raises(NoClosedForm, match="the tasks hold the gates of the network"):
        sk.derive(net, bare, w0, law="frozen_kernel")


# ---- what is seen


def test_new_inputs_move_by_the_pseudo_kernel():
    """h_t(x) = h_0(x) - K_h(x, X) g/n, with the kernel that the network's expression gives."""
    new = np.random.default_rng(8).standard_normal((5, 3))
    found = frozen().predict(new, TIMES)
    system = systems_of(problem_of(), W0.arrays)[0]
    spectrum = Spectrum.of(system.sample_matrix())
    g = spectrum.integral(spectrum.parts(system.residual(np.zeros(122))), np.array(TIMES))
    for node in ("hidden", "output"):
        K = sk.pseudo_kernel(NET, of=node).compile()(new, X, W0).reshape(-1, 12)
        start = TangentPass(NET, W0.arrays, new, {}).values[NET.nodes[node]]
        moved = -(g / np.sqrt(6)) @ K.T
        assert np.abs(found.node(node) - start - moved.reshape(4, 5, -1)).max() < 1e-11
    assert found.hidden_gram.shape == (4, 5, 5)
    assert (found.loss == frozen()(TIMES).loss).all()


def test_fields_agree_with_one_another():
    found = frozen()(TIMES)
    assert np.allclose(found.hidden, found.node("hidden1"))
    assert np.allclose(found.hidden_gram, found.hidden @ found.hidden.transpose(0, 2, 1))
    off = found.outputs - Y
    assert np.allclose(found.loss, (off**2).sum(2).mean(1) / 2)
    assert np.allclose(found.ntk[2], sk.ntk(NET).compile()(X, None, W0))
    assert found.kernel_movement[0] == 0
    moved = sk.ntk(NET).compile()(X, None, {n: w[2] for n, w in found.weights.items()})
    change = np.linalg.norm(moved - found.ntk[0]) / np.linalg.norm(found.ntk[0])
    assert abs(found.kernel_movement[2] - change) < 1e-12


def test_derive_offers_it_for_nonlinear_networks_and_names_the_others():
    d = sk.derive(NET, TASK, W0)
    assert d.law.name == "frozen_kernel"
    for words in ("law='relinearised'", "sk.infinite_width", "power series", "leading order"):
        assert words in str(d)
    assert d.rank == "leading order in 1/width and 1/scale"
    assert "until 99% is learned" in str(d)
    assert 0 < d.assumptions[-1].distance < 10


def test_a_linear_network_gets_it_only_when_it_is_asked_for():
    net = sk.Network.mlp([3, 4, 4, 2], "linear")
    w0 = sk.weights.gaussian(net, seed=1)
    with pytest.raises(NoClosedForm):
        sk.derive(net, TASK, w0)
    assert sk.derive(net, TASK, w0, law="frozen_kernel").law.name == "frozen_kernel"


def test_where_the_kernel_would_move_as_much_as_itself_it_says_so_and_still_answers():
    net = sk.Network.mlp([3, 4, 2], "tanh")
    d = sk.derive(net, TASK, sk.weights.gaussian(net, scale=0.03, seed=1))
    assert d.assumptions[-1].distance > 1
    assert "WORTHLESS HERE: the kernel would move by" in str(d)
    found = d.compile()(TIMES)
    for text in (repr(d), repr(d.compile()), found.caveat, repr(found)):
        assert "WORTHLESS HERE" in text
    report = CheckReport("the law", (Rung(1, "one", True, "figure"),), d)
    assert "WORTHLESS HERE" in str(report).splitlines()[1]
    assert "WORTHLESS HERE" in report._repr_html_()
    assert found.kernel_movement[-1] > 1
    wide = sk.Network.mlp([3, 2048, 2], "tanh", parameterisation="ntk")
    easy = sk.derive(wide, TASK, sk.weights.gaussian(wide, seed=1))
    assert "WORTHLESS" not in str(easy)
    assert not easy.compile()(TIMES).caveat


# ---- refusals


@pytest.mark.parametrize("rate", [3.0, 1e9])
def test_steps_beyond_the_stable_limit_are_refused_with_it(rate):
    compiled = frozen()
    top = systems_of(problem_of(), W0.arrays)[0]
    limit = 2 / FactorSolver(top).largest
    assert compiled([0, 10], learning_rate=0.99 * limit).loss[-1] < 100
    with pytest.raises(InvalidArgument, match=f"below the stable limit {limit:.6g}"):
        compiled([0, 10], learning_rate=rate * limit)


@pytest.mark.parametrize("rate", [0, -1, np.nan, "fast", True, 1j])
def test_learning_rates_that_are_none_are_refused(rate):
    with pytest.raises(InvalidArgument, match="learning_rate"):
        frozen()([0, 1], learning_rate=rate)


def test_times_that_cannot_be_used_are_refused():
    course = sk.Curriculum([sk.Phase(TASK, 1.0)])
    for options in ({}, {"learning_rate": 0.1}):
        with pytest.raises(OutsideValidity, match="curriculum ends at flow time 1"):
            frozen(course)([0.0, 2.0], **options)
        with pytest.raises(InvalidArgument, match="increasing order"):
            frozen()([1.0, 0.5], **options)
    with pytest.raises(InvalidArgument, match=r"fewer than 2\^53 steps"):
        frozen()([0.0, 1.0], learning_rate=1e-17)


@pytest.mark.parametrize(
    "new", [None, np.ones((2, 4)), np.ones(3), [[np.nan, 1, 2]], np.ones((0, 3)), [["a", "b", "c"]]]
)
def test_new_inputs_that_do_not_fit_are_refused(new):
    with pytest.raises(InvalidArgument, match="'X'"):
        frozen().predict(new, [0.0])


def test_what_other_laws_do_not_give_is_refused():
    task = sk.Task.from_modes([2.0, 1.0])
    net = sk.Network.two_layer(2, 2, 2)
    other = sk.derive(net, task, sk.weights.aligned(net, task, a=0.1, b=0.1)).compile()
    with pytest.raises(OutsideValidity, match="does not give its trajectory for gradient descent"):
        other([0.0, 1.0], learning_rate=0.1)
    with pytest.raises(OutsideValidity, match="does not give its trajectory for inputs of your ow"):
        other.predict(np.eye(2), [0.0])
    with pytest.raises(OutsideValidity, match="for refreshes"):
        frozen()([0.0], refreshes=4)
    with pytest.raises(InvalidArgument, match="must be left out"):
        frozen()([0.0], rtol=1e-3)


@pytest.mark.parametrize(
    ("task", "loss", "words"),
    [
        (TASK, sk.SquaredError(weight_decay=0.1), "without weight decay"),
        (TASK, sk.SquaredError(sp.Symbol("kappa", positive=True)), "are numbers"),
        (sk.Task.from_moments(np.eye(3), np.ones((2, 3)) / 9, np.eye(2)), None, "by samples"),
        (sk.Task.from_teacher(NET, W0), None, "by samples"),
    ],
)
def test_problems_that_it_does_not_cover(task, loss, words):
    for name in ("frozen_kernel", "relinearised"):
        with pytest.raises(NoClosedForm, match=words):
            sk.derive(NET, task, W0, law=name, loss=loss)


def test_a_network_of_which_nothing_is_trained():
    x, W = Input(3), Parameter("W", (2, 3), trained=False)
    net = sk.Network.build(Apply("tanh", W @ x))
    with pytest.raises(NoClosedForm, match="some parameter is trained"):
        sk.derive(net, TASK, sk.weights.gaussian(net, seed=0), law="frozen_kernel")


def test_trajectories_too_large_for_memory_are_refused_before_they_are_made():
    wide = sk.Network.mlp([3, 400_000, 2], "tanh", parameterisation="ntk")
    w0 = sk.weights.gaussian(wide, seed=0)
    with pytest.raises(InvalidArgument, match=r"'weights' of shape \(100, 2000000\)"):
        trajectory(problem_of(net=wide, w0=w0), np.linspace(0, 1, 100))
    found = frozen().predict(np.zeros((4000, 3)), np.linspace(0, 1, 20))
    with pytest.raises(InvalidArgument, match="'hidden_gram' of shape"):
        _ = found.hidden_gram


def test_kernels_come_in_blocks_where_they_are_too_large(monkeypatch):
    routine = sk.pseudo_kernel(NET).compile()
    whole = routine(X, X[:4], W0)
    monkeypatch.setattr(matrix_routine, "_MOST_BYTES", 100)
    monkeypatch.setattr(matrix_routine, "_BLOCK_BYTES", 3 * 20 * 4 * 2 * 8)
    with pytest.raises(
        InvalidArgument, match=r"shape \(6, 20, 4, 2\) would take 7,680 bytes .*bloc"
    ):
        routine(X, X[:4], W0)
    parts = {rows.start: block for rows, block in routine.blocks(X, X[:4], W0)}
    assert list(parts) == [0, 3]
    assert np.abs(np.concatenate(list(parts.values())) - whole).max() < 1e-15
    with pytest.raises(ShapeMismatch, match="'X'"):
        next(routine.blocks(np.ones((2, 4)), None, W0))


def test_an_activation_without_derivative_is_refused_where_it_is_made():
    z = sp.Symbol("z")
    with pytest.raises(InvalidArgument, match="activation"):
        sk.Network.mlp([3, 4, 2], sp.floor(z))


def test_the_remark_names_what_else_there_is():
    for name in ("relinearised", "sk.infinite_width", "sk.time_derivatives"):
        assert name in LAW.remark
    assert {"infinite_width", "time_derivatives"} <= set(sk.__all__)
