"""The laws of all matrices at once: lambda-balanced weights and the two-eigenvalue class."""

from __future__ import annotations

import numpy as np
import pytest

import symkernel as sk
from symkernel.errors import InvalidArgument, MissingValues, NoClosedForm, OutsideValidity
from symkernel.ladder import flow_error
from symkernel.problem.problem import Problem
from symkernel.simulation.flow import integrate_flow

NAMES = ("lambda_balanced", "two_eigenvalues")


def law(name: str):
    return sk.catalogue()[name]


def derived(problem: Problem, name: str):
    return sk.derive(
        problem.network, problem.curriculum, problem.weights, loss=problem.loss, law=name
    )


def white(seed: int, n_in: int, n_out: int, variance: float = 1.0) -> sk.Task:
    syx = np.random.default_rng(seed).standard_normal((n_out, n_in))
    return sk.Task.from_moments(variance * np.eye(n_in), syx, syx @ syx.T / variance)


# --- against the flow -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_two_tasks_that_do_not_commute(name: str) -> None:
    problem = law(name).example()
    times = np.array([0.5, 2.0, 2.5, 8.0])
    found = derived(problem, name).compile()(times)
    flow = integrate_flow(problem, times).weights
    W1, W2 = flow["W1"], flow["W2"]
    assert np.abs(found.end_to_end - W2 @ W1).max() <= 1e-10
    assert np.abs(found.input_gram - W1.transpose(0, 2, 1) @ W1).max() <= 1e-10
    assert np.abs(found.readout_gram - W2 @ W2.transpose(0, 2, 1)).max() <= 1e-10


@pytest.mark.parametrize("name", NAMES)
def test_phases_compose(name: str) -> None:
    """A phase cut into two is the same phase."""
    problem = law(name).example()
    first, second = problem.curriculum.phases
    cut = sk.Curriculum([sk.Phase(first.task, 0.7), sk.Phase(first.task, 1.3), second])
    times = [0.5, 0.7, 1.9, 3.0, 20.0]
    one = law(name).trajectory(problem, times)
    two = law(name).trajectory(Problem(problem.network, cut, problem.weights, problem.loss), times)
    assert np.abs(one.end_to_end - two.end_to_end).max() <= 1e-10
    assert np.abs(one.input_gram - two.input_gram).max() <= 1e-10


@pytest.mark.parametrize("name", NAMES)
def test_losses_on_every_task(name: str) -> None:
    problem = law(name).example()
    found = law(name).trajectory(problem, [0.0, 1.0, 2.0, 5.0])
    for k, phase in enumerate(problem.curriculum.phases):
        off = phase.task.Syx - found.end_to_end
        wanted = (off**2).sum((1, 2)) / 2
        np.testing.assert_allclose(found.task_losses[:, k], wanted, atol=1e-12)
    np.testing.assert_array_equal(found.loss[:3], found.task_losses[:3, 0])
    assert found.loss[3] == found.task_losses[3, 1]


@pytest.mark.parametrize("rates", [None, [0.3, 2.0]])
@pytest.mark.parametrize("parameterisation", ["standard", "ntk"])
def test_observables_on_samples(parameterisation: str, rates) -> None:
    """Outputs, hidden Gram and NTK from the law, and from the weights of the flow."""
    stream = np.random.default_rng(4)
    X = np.sqrt(9) * np.linalg.qr(stream.standard_normal((9, 3)))[0]
    task = sk.Task(X, stream.standard_normal((9, 2)))
    net = sk.Network.mlp([3, 2, 2], "linear", parameterisation=parameterisation, rates=rates)
    w0 = sk.weights.lambda_balanced(net, lam=0.4, scale=0.5, seed=3)
    d = sk.derive(net, task, w0, law="lambda_balanced", loss=sk.SquaredError(0.75))
    times = [0.0, 0.6, 3.0]
    found = d.compile()(times)
    weights = integrate_flow(d.problem, times).weights
    scale = [float(p.scale) for p in net.parameters]
    rate = [float(p.rate) for p in net.parameters]
    hidden = scale[0] * X @ weights["W1"].transpose(0, 2, 1)
    outputs = scale[1] * hidden @ weights["W2"].transpose(0, 2, 1)
    np.testing.assert_allclose(found.outputs, outputs, atol=1e-11)
    gram = hidden @ hidden.transpose(0, 2, 1)
    np.testing.assert_allclose(found.hidden_gram, gram, atol=1e-11)
    readout = weights["W2"] @ weights["W2"].transpose(0, 2, 1)
    for k in range(len(times)):
        kernel = (
            rate[0] * (scale[0] * scale[1]) ** 2 * np.einsum("ij,ab->iajb", X @ X.T, readout[k])
        )
        kernel += rate[1] * scale[1] ** 2 * np.einsum("ij,ab->iajb", gram[k], np.eye(2))
        np.testing.assert_allclose(found.ntk[k], kernel, atol=1e-10)
    off = outputs - task.Y
    np.testing.assert_allclose(found.loss, 0.75 * (off**2).sum(2).mean(1), atol=1e-11)


# --- the hidden layer -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_trap_7_hidden_activity_is_refused_but_its_linear_equation_is_exact(name: str) -> None:
    problem = law(name).example()
    compiled = derived(problem, name).compile()
    times = np.array([0.5, 2.0, 3.0])
    with pytest.raises(OutsideValidity, match="up to a rotation"):
        _ = compiled(times).weights
    found = compiled.weights(times, rtol=1e-11)
    flow = integrate_flow(problem, times).weights
    for weight in ("W1", "W2"):
        assert np.abs(found[weight] - flow[weight]).max() <= 1e-9


def test_trap_7_the_symmetric_root_is_not_the_hidden_layer() -> None:
    """Q = e^{Ft} Q0 M^{-1/2} has the right products and wrong weights, unless aligned."""
    S = white(1, 2, 2).Syx
    net = sk.Network.two_layer(2, 2, 2)
    w0 = sk.weights.balanced(net, scale=0.5, seed=2)
    task = sk.Task.from_moments(np.eye(2), S, S @ S.T)
    problem = Problem(net, task, w0)
    F = np.block([[np.zeros((2, 2)), S.T], [S, np.zeros((2, 2))]])
    Q0 = np.vstack([w0.arrays["W1"].T, w0.arrays["W2"]])
    t = 0.8
    f, V = np.linalg.eigh(F)
    M = np.eye(2) + Q0.T @ (V * (np.expm1(2 * f * t) / (2 * f))) @ V.T @ Q0
    m, R = np.linalg.eigh(M)
    Q = (V * np.exp(f * t)) @ V.T @ Q0 @ (R / np.sqrt(m)) @ R.T
    flow = integrate_flow(problem, [t]).weights
    true = np.vstack([flow["W1"][0].T, flow["W2"][0]])
    assert np.abs(Q @ Q.T - true @ true.T).max() <= 1e-11
    assert np.abs(Q - true).max() > 1e-3


def test_weights_of_a_law_that_knows_them_are_its_own() -> None:
    task = sk.Task.from_modes([2.0, 1.0])
    net = sk.Network.two_layer(2, 3, 2)
    compiled = sk.derive(net, task, sk.weights.aligned(net, task, a=0.1, b=0.3)).compile()
    np.testing.assert_array_equal(compiled.weights([1.0])["W1"], compiled([1.0]).weights["W1"])
    with pytest.raises(InvalidArgument, match="'rtol' must be a finite positive number"):
        compiled.weights([1.0], rtol=0)


# --- the class, and who is refused ----------------------------------------------------------------


def test_derive_finds_them_by_itself() -> None:
    for name in NAMES:
        problem = law(name).example()
        found = sk.derive(problem.network, problem.curriculum, problem.weights)
        assert found.law.name == name


def test_balanced_weights_of_the_house_are_of_the_class() -> None:
    for sizes in ((4, 2, 3), (2, 9, 5), (3, 3, 3)):
        net = sk.Network.two_layer(*sizes)
        task = white(5, sizes[0], sizes[2])
        assert sk.derive(net, task, sk.weights.balanced(net, seed=1), law="lambda_balanced")


def test_limit_of_the_second_class_is_the_first() -> None:
    """With equal variances that go to 0 together the two laws meet."""
    net = sk.Network.two_layer(2, 4, 2)
    task = white(3, 2, 2)
    gaps = []
    for a in (1e-2, 1e-4):
        w0 = sk.weights.semi_orthogonal(net, a, a, seed=1)
        found = sk.derive(net, task, w0, law="two_eigenvalues").compile()([4000.0])
        gaps.append(float(np.abs(found.end_to_end[0] - task.Syx).max()))
    assert max(gaps) <= 1e-12


@pytest.mark.parametrize(
    ("name", "weights", "words"),
    [
        ("lambda_balanced", "gaussian", "multiple of the identity"),
        ("two_eigenvalues", "gaussian", r"\(GJ\)\^2"),
    ],
)
def test_other_weights_are_refused_with_their_distance(name: str, weights: str, words: str) -> None:
    net = sk.Network.two_layer(3, 6, 2)
    w0 = getattr(sk.weights, weights)(net, seed=1)
    with pytest.raises(NoClosedForm, match=words) as caught:
        sk.derive(net, white(1, 3, 2), w0, law=name)
    failed = [v for v in caught.value.verdicts if not v.holds]
    assert len(failed) == 1
    assert 1e-3 < failed[0].distance < 10


@pytest.mark.parametrize("name", NAMES)
def test_coloured_inputs_are_refused(name: str) -> None:
    problem = law(name).example()
    task = sk.Task.from_moments(np.diag([1.0, 1.0, 1.2]), np.ones((2, 3)), 9 * np.eye(2))
    with pytest.raises(NoClosedForm, match="white") as caught:
        sk.derive(problem.network, task, problem.weights, law=name)
    (failed,) = [v for v in caught.value.verdicts if "white" in v.assumption]
    assert failed.distance == pytest.approx(0.125, rel=1e-6)


def test_one_variance_in_all_phases() -> None:
    problem = law("lambda_balanced").example()
    phases = [sk.Phase(white(1, 3, 2), 1.0), sk.Phase(white(2, 3, 2, variance=2.0))]
    with pytest.raises(NoClosedForm, match="one variance in all phases"):
        sk.derive(problem.network, sk.Curriculum(phases), problem.weights, law="lambda_balanced")


def test_weight_decay_needs_balanced_weights() -> None:
    net = sk.Network.two_layer(3, 2, 2)
    loss, task = sk.SquaredError(weight_decay=0.2), white(1, 3, 2)
    with pytest.raises(NoClosedForm, match="that multiple is 0"):
        sk.derive(net, task, sk.weights.lambda_balanced(net, 0.3), loss=loss, law="lambda_balanced")
    d = sk.derive(net, task, sk.weights.balanced(net), loss=loss, law="lambda_balanced")
    assert flow_error(d, d.problem).error <= 1e-11
    # Modes below the decay rate are forgotten, the others end at s - gamma.
    end = np.linalg.svd(d.compile()([400.0]).end_to_end[0])[1]
    np.testing.assert_allclose(end, np.linalg.svd(task.Syx)[1] - 0.2, atol=1e-12)


def test_two_eigenvalues_refuse_weight_decay_and_rates_with_it() -> None:
    net = sk.Network.two_layer(2, 5, 2)
    w0, loss = sk.weights.semi_orthogonal(net, 0.1, 0.2), sk.SquaredError(weight_decay=0.1)
    with pytest.raises(NoClosedForm, match="no weight decay"):
        sk.derive(net, white(1, 2, 2), w0, loss=loss, law="two_eigenvalues")
    net = sk.Network.two_layer(2, 5, 2, rates=[1, 2])
    with pytest.raises(NoClosedForm, match="decay at one rate"):
        sk.derive(net, white(1, 2, 2), w0, loss=loss, law="two_eigenvalues")


@pytest.mark.parametrize("name", NAMES)
def test_degenerate_problems(name: str) -> None:
    """Nothing to learn, one hidden unit, a task of rank one."""
    problem = law(name).example()
    for syx in (np.zeros((2, 3)), np.outer([1.0, 2.0], [1.0, 0.0, -1.0])):
        task = sk.Task.from_moments(np.eye(3), syx, syx @ syx.T)
        posed = Problem(problem.network, task, problem.weights)
        assert flow_error(derived(posed, name), posed).error <= 1e-10


# --- weights of the classes -----------------------------------------------------------------------


@pytest.mark.parametrize(("lam", "sizes"), [(0.7, (2, 3, 4)), (-0.7, (4, 3, 2)), (0.0, (2, 9, 3))])
def test_lambda_balanced_weights(lam: float, sizes: tuple[int, int, int]) -> None:
    net = sk.Network.two_layer(*sizes)
    W = sk.weights.lambda_balanced(net, lam, scale=0.4, seed=2).arrays
    kept = W["W2"].T @ W["W2"] - W["W1"] @ W["W1"].T
    assert np.abs(kept - lam * np.eye(sizes[1])).max() <= 1e-14
    same = sk.weights.lambda_balanced(net, lam, scale=0.4, seed=2).arrays
    np.testing.assert_array_equal(W["W1"], same["W1"])


def test_lambda_goes_to_zero_without_a_step() -> None:
    net = sk.Network.two_layer(3, 3, 3)
    at = sk.weights.lambda_balanced(net, 0.0, seed=1).arrays
    near = sk.weights.lambda_balanced(net, 1e-12, seed=1).arrays
    assert np.abs(at["W1"] - near["W1"]).max() <= 1e-9


@pytest.mark.parametrize(
    ("sizes", "lam", "words"),
    [
        ((5, 3, 2), 0.1, "3 hidden units and 2 outputs"),
        ((2, 3, 5), -0.1, "3 hidden units and 2 inputs"),
        ((3, 3, 3), np.nan, "'lam' must be finite"),
        ((3, 3, 3), np.inf, "'lam' must be finite"),
        ((3, 3, 3), "1", "'lam' must be a real number"),
        ((3, 3, 3), True, "'lam' must be a real number"),
        ((3, 3, 3), 1j, "'lam' must be a real number"),
    ],
)
def test_trap_8_impossible_lambda_is_refused(sizes, lam, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        sk.weights.lambda_balanced(sk.Network.two_layer(*sizes), lam)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda n: sk.weights.lambda_balanced(n, 0.1, scale=0),
            "'scale' must be a finite positive",
        ),
        (lambda n: sk.weights.lambda_balanced(n, 0.1, seed=-1), "'seed' must be a non-negative"),
        (lambda n: sk.weights.semi_orthogonal(n, 0, 1), "'a' must be a finite positive"),
        (lambda n: sk.weights.semi_orthogonal(n, 1, -1), "'b' must be a finite positive"),
        (lambda n: sk.weights.semi_orthogonal(n, 1, 1), "at least 5 hidden units"),
    ],
)
def test_bad_arguments_are_refused(call, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        call(sk.Network.two_layer(2, 2, 3))


def test_other_networks_are_refused() -> None:
    deep = sk.Network.mlp([2, 6, 6, 2], "linear")
    with pytest.raises(InvalidArgument, match="two layers, not 3"):
        sk.weights.semi_orthogonal(deep, 1, 1)
    with pytest.raises(InvalidArgument, match="'net' must be a Network"):
        sk.weights.lambda_balanced("net", 0.1)
    import sympy as sp

    with pytest.raises(MissingValues, match="must be integers"):
        sk.weights.lambda_balanced(sk.Network.two_layer(sp.Symbol("I", integer=True), 2, 2), 0.1)


def test_weights_with_rates_are_of_the_class() -> None:
    net = sk.Network.two_layer(2, 6, 3, rates=[0.3, 4])
    task = white(1, 2, 3)
    w0 = sk.weights.semi_orthogonal(net, 0.2, 0.5)
    assert sk.derive(net, task, w0, law="two_eigenvalues")
    W = w0.arrays
    assert np.abs(W["W1"].T @ W["W1"] / 0.3 - 0.2 * np.eye(2)).max() <= 1e-14


def test_trap_3_small_weights_at_early_times_keep_their_digits() -> None:
    """The textbook form N+ - Sh (N- + G0)^-1 Sh is a difference of numbers of the size 1/t."""
    from symkernel.theory import riccati
    from symkernel.theory.two_eigenvalue_flow import Exact, GramClass

    S = np.random.default_rng(2).standard_normal((2, 3))
    a, t = 1e-6, 1e-6
    kind, start = GramClass(0.0, a * a), np.sqrt(a) * np.eye(5)
    exact = Exact.of(start, kind).after(S, t, 3.0).gram
    spectrum = riccati.eigenbasis(S, kind.lam)
    found = riccati.advance(spectrum, start, np.array([t]), kind.source)[0][0]
    assert np.abs(found - exact).max() / np.abs(exact).max() <= 1e-14
    F = np.block([[np.zeros((3, 3)), S.T], [S, np.zeros((2, 2))]])
    f, V = np.linalg.eigh(F)
    k = np.hypot(f, a)
    even, odd = (V * (k / np.tanh(k * t))) @ V.T, (V * (k / np.sinh(k * t))) @ V.T
    naive = even + F - odd @ np.linalg.solve(even - F + a * np.eye(5), odd)
    assert np.abs(naive - exact).max() / np.abs(exact).max() > 1e-6
