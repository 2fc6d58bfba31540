"""The laws that are integrated: any two-layer linear network, and the memoryless Gram matrix."""

from __future__ import annotations

from dataclasses import replace

import mpmath
import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel.errors import InvalidArgument, NoClosedForm, OutsideValidity, ShapeMismatch
from symkernel.ladder import flow_error
from symkernel.problem.problem import Problem
from symkernel.simulation.flow import integrate_flow
from symkernel.theory import lax, memoryless_map, reduced_flow, riccati
from symkernel.theory.flow_solver import Integration, starting_floor
from symkernel.theory.gram_state import GramState
from symkernel.theory.reduced_checks import correlated_task, reduced_limits
from symkernel.theory.words import Words
from tests.oracles import taylor_flow

NAMES = ("reduced_flow", "memoryless_gram")


def law(name: str):
    return sk.catalogue()[name]


def derived(problem: Problem, name: str | None = None):
    return sk.derive(
        problem.network, problem.curriculum, problem.weights, loss=problem.loss, law=name
    )


def posed(task, w0, net, loss=None) -> Problem:
    return Problem(net, sk.Curriculum.of(task), w0, loss or sk.SquaredError())


def task_of(seed: int = 0, n_in: int = 3, n_out: int = 2) -> sk.Task:
    return correlated_task(np.random.default_rng(seed), n_in, n_out)


# --- against the flow -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("parameterisation", ["standard", "ntk"])
def test_loss_factor_parameterisation_and_rates_change_the_law(name, parameterisation) -> None:
    rates = [sp.Rational(3, 10), 2]
    net = sk.Network.mlp([3, 6, 2], "linear", parameterisation=parameterisation, rates=rates)
    w0 = sk.weights.semi_orthogonal(net, a=0.4, b=0.2, seed=2)
    X = np.random.default_rng(1).standard_normal((9, 3)) @ np.diag([2.0, 1.0, 0.3])
    task = sk.Task(X, X @ np.random.default_rng(2).standard_normal((3, 2)) + 0.1)
    problem = posed(task, w0, net, sk.SquaredError(sp.Rational(3, 4)))
    d = derived(problem, name)
    assert all(step.check().passed for step in d.steps)
    assert flow_error(d, problem).error <= 1e-10
    times = [0.0, 0.6, 3.0]
    flow, found = integrate_flow(problem, times).weights, d.compile()(times)
    c1, c2 = (float(p.scale) for p in net.parameters)
    hidden = c1 * X @ flow["W1"].transpose(0, 2, 1)
    np.testing.assert_allclose(found.hidden_gram, hidden @ hidden.transpose(0, 2, 1), atol=1e-10)
    np.testing.assert_allclose(
        found.outputs, c2 * hidden @ flow["W2"].transpose(0, 2, 1), atol=1e-10
    )


@pytest.mark.parametrize("n_hidden", [1, 2, 5, 6, 40])
def test_wide_and_narrow_networks_give_their_own_weights(n_hidden: int) -> None:
    """Also the hidden layer: the narrow network is turned back by the matrix it came from."""
    net = sk.Network.two_layer(3, n_hidden, 2)
    w0 = sk.weights.gaussian(net, scale=0.3, seed=n_hidden)
    problem = posed(task_of(3), w0, net)
    found = derived(problem, "reduced_flow").compile()([0.0, 1.0, 5.0])
    flow = integrate_flow(problem, [0.0, 1.0, 5.0]).weights
    for name, weight in flow.items():
        assert found.weights[name].shape == weight.shape
        assert np.abs(found.weights[name] - weight).max() <= 1e-11


def test_the_compiled_routine_does_not_depend_on_the_width() -> None:
    sources, sizes = set(), set()
    for n_hidden in (4, 50, 500):
        net = sk.Network.two_layer(3, n_hidden, 2)
        d = derived(posed(task_of(3), sk.weights.gaussian(net, 0.1, 0), net))
        sources.add(d.compile().source)
        stack, _ = reduced_flow.narrowed(GramState.of(d.problem, isotropic=False).factor)
        sizes.add(stack.shape)
    assert len(sources) == 1
    assert sizes == {(5, 4), (5, 5)}


@pytest.mark.parametrize("name", NAMES)
def test_against_57_digits_of_an_independent_integration(name: str) -> None:
    problem = law(name).example()
    task, w0 = problem.curriculum.phases[0].task, problem.weights.arrays
    times = np.array([0.3, 1.5])
    W1, W2 = taylor_flow.integrate(w0["W1"], w0["W2"], task.Syx, task.Sxx, times)
    found = law(name).trajectory(problem, times)
    assert np.abs(found.end_to_end - W2 @ W1).max() <= 1e-11
    assert np.abs(found.input_gram - W1.transpose(0, 2, 1) @ W1).max() <= 1e-11


def test_both_laws_give_the_same_where_both_hold() -> None:
    problem = law("memoryless_gram").example()
    times = [0.5, 2.0, 3.0, 20.0]
    one, two = (law(name).trajectory(problem, times) for name in NAMES)
    for field in ("end_to_end", "input_gram", "readout_gram", "loss"):
        assert np.abs(getattr(one, field) - getattr(two, field)).max() <= 1e-11
    weights = derived(problem, "memoryless_gram").compile().weights(times)
    assert np.abs(weights["W1"] - one.weights["W1"]).max() <= 1e-9


def test_the_memoryless_law_holds_under_weight_decay() -> None:
    """Lambda and c^2 fall, and the products follow them."""
    net = sk.Network.two_layer(3, 6, 2)
    w0 = sk.weights.semi_orthogonal(net, a=0.5, b=1.5, seed=1)
    problem = posed(task_of(5), w0, net, sk.SquaredError(weight_decay=0.2))
    d = derived(problem, "memoryless_gram")
    assert all(step.check().passed for step in d.steps)
    assert flow_error(d, problem).error <= 1e-10


def test_stiff_problems_are_solved(monkeypatch) -> None:
    """Input variances from 1e-2 to 1e4: explicit steps alone would be ten times as many."""
    monkeypatch.setattr("symkernel.theory.flow_solver._PATIENCE", 600)
    stream = np.random.default_rng(0)
    V = np.linalg.qr(stream.standard_normal((3, 3)))[0]
    sxx = V * [1e4, 1.0, 1e-2] @ V.T
    teacher = stream.standard_normal((2, 3))
    syx = teacher @ sxx
    task = sk.Task.from_moments((sxx + sxx.T) / 2, syx, teacher @ sxx @ teacher.T)
    net = sk.Network.two_layer(3, 5, 2)
    problem = posed(task, sk.weights.semi_orthogonal(net, a=0.1, b=0.3, seed=1), net)
    times = [0.1, 1.0]
    one, two = (law(name).trajectory(problem, times) for name in NAMES)
    assert np.abs(one.end_to_end - two.end_to_end).max() <= 1e-9
    flow = integrate_flow(problem, times[:1]).weights
    assert np.abs(one.end_to_end[0] - flow["W2"][0] @ flow["W1"][0]).max() <= 1e-9


# --- traps ----------------------------------------------------------------------------------------


def test_trap_9_whitening_the_inputs_is_another_dynamics() -> None:
    """The law of white inputs, used on whitened data, is off; the general law is not."""
    stream = np.random.default_rng(1)
    X = stream.standard_normal((40, 3)) @ np.diag([2.0, 1.0, 0.5]) @ stream.standard_normal((3, 3))
    X /= np.sqrt(np.linalg.norm(X.T @ X / 40, 2))
    task = sk.Task(X, X @ stream.standard_normal((3, 2)))
    net = sk.Network.two_layer(3, 3, 2)
    w0 = sk.weights.balanced(net, scale=0.3, seed=1)
    times = np.linspace(0, 6, 13)
    problem = posed(task, w0, net)
    true = integrate_flow(problem, times).weights
    outputs = X @ (true["W2"] @ true["W1"]).transpose(0, 2, 1)
    naive = sk.derive(net, task.whitened(), w0, law="lambda_balanced").compile()(times).outputs
    ours = derived(problem, "reduced_flow").compile()(times).outputs
    assert np.abs(naive - outputs).max() > 0.1
    assert np.abs(ours - outputs).max() <= 1e-10


def test_trap_generic_imbalance_is_not_its_mean() -> None:
    """Replacing the conserved matrix by its trace over H: errors of the order of the map."""
    times = np.linspace(0, 3, 13)
    naive_errors = []
    for seed in range(5):
        stream = np.random.default_rng(seed)
        syx = stream.standard_normal((2, 3))
        task = sk.Task.from_moments(np.eye(3), syx, syx @ syx.T)
        net = sk.Network.two_layer(3, 3, 2)
        W1, W2 = stream.standard_normal((3, 3)), stream.standard_normal((2, 3))
        problem = posed(task, sk.weights.from_arrays(net, [W1, W2]), net)
        true = integrate_flow(problem, times).weights
        maps = true["W2"] @ true["W1"]
        state = GramState.of(problem, isotropic=True)
        mean = float(np.trace(W2.T @ W2 - W1 @ W1.T)) / 3
        naive, _ = riccati.advance(riccati.eigenbasis(syx, mean), state.compact, times)
        naive_errors.append(np.abs(naive[:, 3:, :3] - maps).max())
        found = derived(problem, "reduced_flow").compile()(times).end_to_end
        assert np.abs(found - maps).max() <= 1e-10
    assert min(naive_errors) > 0.05
    assert max(naive_errors) > 0.4


def test_trap_products_hide_a_weak_mode_beside_a_strong_one() -> None:
    """The closed equation of A, B and W is exact, but its entries are squares of the weights.

    A mode of size 1e-8 in the weights is 1e-16 in the products, next to 20: the same integrator at
    the same tolerance loses it there, and keeps it in the narrow network.
    """
    stream = np.random.default_rng(3)
    U, V = (np.linalg.qr(stream.standard_normal((2, 2)))[0] for _ in range(2))
    syx = U * [20.0, 1.0] @ V.T
    task = sk.Task.from_moments(np.eye(2), syx, syx @ syx.T)
    net = sk.Network.two_layer(2, 2, 2)
    w0 = sk.weights.from_arrays(net, [1e-8 * V.T, 1e-8 * U])
    problem = posed(task, w0, net)
    times = np.array([1.5, 18.0])
    exact = [s / (1 + (s / 1e-16 - 1) * np.exp(-2 * s * times[1])) for s in (20.0, 1.0)]
    state = GramState.of(problem, isotropic=False)
    flow = reduced_flow.product_flow(state.form)
    values = {"S": syx, "Sxx": np.eye(2), "gamma": 0.0}
    G = state.factor @ state.factor.T
    start = np.concatenate([G[:2, :2].ravel(), G[2:, 2:].ravel(), G[2:, :2].ravel()])
    bound = flow.bind({"i": 2, "o": 2}, values)
    run = Integration(bound.rate, bound.jacobian, 1e-12, starting_floor(start, 1e-12))
    naive = run.through(start, times)[-1][8:].reshape(2, 2)
    ours = law("reduced_flow").trajectory(problem, times, 1e-12).end_to_end[-1]
    weak = [abs((U.T @ W @ V)[1, 1] / exact[1] - 1) for W in (naive, ours)]
    assert weak[0] > 1e-3
    assert weak[1] < 1e-6


def test_trap_roots_are_not_subtracted() -> None:
    """A at alpha = 1e-12, beta = 1: root minus lambda/2 leaves no digit, the stable form all."""
    alpha, beta, w = 1e-12, 1.0, 3e-7
    values = memoryless_map.TwoValues(alpha, beta, 0.0)
    A, _ = values.products(np.array([[[w]]]), np.ones(1))
    with mpmath.workdps(40):
        half, k = (mpmath.mpf(beta) - alpha) / 2, (mpmath.mpf(beta) + alpha) / 2
        exact = mpmath.sqrt(k**2 + mpmath.mpf(w) ** 2) - half
        naive = np.sqrt(float(k) ** 2 + w**2) - float(half)
        assert abs(naive / exact - 1) > 1e-6
        assert abs(A[0, 0, 0] / exact - 1) < 1e-14


def test_trap_repeated_vanishing_and_tiny_singular_values() -> None:
    values = memoryless_map.TwoValues(0.2, 0.1, 0.0)
    for spectrum in ([1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1 + 1e-13, 1e-200]):
        U, V = (np.linalg.qr(np.random.default_rng(k).standard_normal((3, 3)))[0] for k in (1, 2))
        W = U * spectrum @ V.T
        A, B = (found[0] for found in values.products(W[None], np.ones(1)))
        roots = np.hypot(0.15, spectrum)
        assert np.abs(A - (V * (roots + 0.05)) @ V.T).max() < 1e-15
        assert np.abs(B - (U * (roots - 0.05)) @ U.T).max() < 1e-15


# --- choosing, accuracy, ladder -------------------------------------------------------------------


def test_derive_chooses_the_closed_form_if_there_is_one() -> None:
    net = sk.Network.two_layer(3, 6, 2)
    correlated = task_of(1)
    white = sk.Curriculum(
        [
            sk.Phase(sk.Task.from_moments(np.eye(3), syx, syx @ syx.T), duration)
            for syx, duration in ((correlated.Syx, 1.0), (task_of(2).Syx, None))
        ]
    )
    semi = sk.weights.semi_orthogonal(net, a=0.1, b=0.2)
    anything = sk.weights.gaussian(net, 0.5, 1)
    chosen = [
        sk.derive(net, task, w0).law.name for task in (white, correlated) for w0 in (semi, anything)
    ]
    assert chosen == ["two_eigenvalues", "reduced_flow", "memoryless_gram", "reduced_flow"]
    exact = [entry.name for entry in sk.catalogue() if entry.rank.startswith("exact")]
    assert exact[-1] == "reduced_flow"


def test_the_accuracy_is_the_users() -> None:
    compiled = derived(law("reduced_flow").example()).compile()
    fine, coarse = compiled([3.0]).end_to_end, compiled([3.0], rtol=1e-5).end_to_end
    middle = compiled([3.0], rtol=1e-9).end_to_end
    errors = np.abs(coarse - fine).max(), np.abs(middle - fine).max()
    assert 1e-8 < errors[0] < 1e-3
    assert errors[1] < 1e-7
    with pytest.raises(InvalidArgument, match="'rtol' must be a relative tolerance"):
        compiled([3.0], rtol=0)
    net = sk.Network.two_layer(2, 2, 2)
    task = sk.Task.from_modes([2.0, 1.0])
    exact = sk.derive(net, task, sk.weights.aligned(net, task, a=0.1, b=0.1)).compile()
    with pytest.raises(InvalidArgument, match="'aligned_modes' is evaluated, not integrated"):
        exact([1.0], rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_ladder_is_climbed(name: str) -> None:
    d = derived(law(name).example(), name)
    report = sk.check(d, draws=1, precision_draws=2)
    assert report.passed, str(report)
    assert {rung.number for rung in report.rungs if rung.passed} == set(range(1, 7))
    assert r"\begin{aligned}" in d.latex(fragment=True)
    assert d.law.rank == "exact ODE, no closed form"


def test_steps_and_limits_can_fail() -> None:
    problem = law("reduced_flow").example()
    form = GramState.of(problem, isotropic=False).form
    right = reduced_flow.weight_flow(form)
    flipped = dict(right.rates) | {"w_1": right.rates["w_1"].scaled(sp.Integer(2))}
    wrong = replace(right, rates=flipped)
    passed = [[check().passed for _, check in reduced_limits(flow)] for flow in (right, wrong)]
    assert passed[0] == [True] * 5
    assert passed[1][:2] == [False, False]


def test_the_lax_pair_can_fail(monkeypatch) -> None:
    gamma = sp.Rational(1, 3)
    assert lax.check_lax(sp.S.Zero).passed
    assert lax.check_lax(gamma).passed
    monkeypatch.setitem(lax.blocks.ANY_LOSS, "w_2", Words.of("E", "w_1'").scaled(sp.Integer(2)))
    assert not lax.check_lax(gamma).passed


def test_near_misses_are_accepted_and_balanced_weights_are_not() -> None:
    net = sk.Network.two_layer(2, 4000, 1)
    stream = np.random.default_rng(1)
    W1, W2 = (stream.standard_normal(shape) / np.sqrt(4000) for shape in ((4000, 2), (1, 4000)))
    w0 = sk.weights.from_arrays(net, [W1, W2])
    task = task_of(2, 2, 1)
    with pytest.raises(NoClosedForm, match="one value on all inputs"):
        sk.derive(net, task, w0, law="memoryless_gram")
    near = sk.derive(net, task, w0, law="memoryless_gram", tolerance=0.1).compile()([2.0])
    true = sk.derive(net, task, w0, law="reduced_flow").compile()([2.0])
    gap = np.abs(near.end_to_end - true.end_to_end).max()
    assert 1e-6 < gap < 0.1
    small = sk.Network.two_layer(2, 2, 2)
    balanced = sk.weights.balanced(small, scale=0.5, seed=1)
    with pytest.raises(NoClosedForm, match="not balanced"):
        sk.derive(small, task_of(2, 2, 2), balanced, law="memoryless_gram", tolerance=1.0)


def test_refusals() -> None:
    net = sk.Network.mlp([2, 3, 1], "tanh")
    with pytest.raises(NoClosedForm, match="tanh"):
        sk.derive(net, task_of(2, 2, 1), sk.weights.gaussian(net, 1.0, 0))
    linear = sk.Network.two_layer(2, 3, 1)
    course = sk.Curriculum([sk.Phase(task_of(2, 2, 1), duration=1.0)])
    d = sk.derive(linear, course, sk.weights.gaussian(linear, 1.0, 0))
    with pytest.raises(OutsideValidity, match="ends at flow time 1"):
        d.compile()([2.0])
    for wrong in ([-1.0], [], [np.nan], [2.0, 1.0], "now", [1j]):
        with pytest.raises(InvalidArgument):
            d.compile()(wrong)
    wide = sk.Network.two_layer(200, 300, 200)
    problem = posed(
        sk.Task.from_moments(np.eye(200), np.eye(200), np.eye(200)),
        sk.weights.gaussian(wide, 0.1, 0),
        wide,
    )
    with pytest.raises(InvalidArgument, match=r"'weights' of shape \(2000, 400, 300\) would take"):
        law("reduced_flow").trajectory(problem, np.linspace(0, 1, 2000))


# --- from the end-to-end map ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def network() -> sk.Network:
    return sk.Network.mlp([3, 6, 2], "linear", parameterisation="ntk", rates=[0.3, 2.0])


@pytest.fixture(scope="module")
def gram(network):
    return sk.memoryless_gram(network, sk.weights.semi_orthogonal(network, a=0.4, b=0.2, seed=2))


def test_map_gives_what_the_flow_has(network, gram) -> None:
    X = np.random.default_rng(1).standard_normal((5, 3))
    task = sk.Task(X, X @ np.random.default_rng(2).standard_normal((3, 2)))
    w0 = sk.weights.semi_orthogonal(network, a=0.4, b=0.2, seed=2)
    found = sk.derive(network, task, w0, law="reduced_flow").compile()([0.0, 1.0, 8.0])
    maps = found.end_to_end
    np.testing.assert_allclose(gram.input_gram(maps), found.input_gram, atol=1e-12)
    np.testing.assert_allclose(gram.readout_gram(maps), found.readout_gram, atol=1e-12)
    np.testing.assert_allclose(gram.hidden_gram(maps, X), found.hidden_gram, atol=1e-12)
    np.testing.assert_allclose(gram.ntk(maps, X), found.ntk, atol=1e-12)
    np.testing.assert_array_equal(gram.ntk(maps[1], X), gram.ntk(maps, X)[1])
    np.testing.assert_array_equal(gram.input_gram(maps[2]), gram.input_gram(maps)[2])


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (np.eye(3), ShapeMismatch, r"maps of shape \(2, 3\)"),
        (np.ones(3), ShapeMismatch, "2-dimensional"),
        (np.full((2, 3), np.nan), InvalidArgument, "finite"),
        (np.full((2, 3), 1j), InvalidArgument, "complex"),
        (np.empty((0, 2, 3)), InvalidArgument, "empty"),
        ("map", ShapeMismatch, "2-dimensional|real numbers"),
        (np.full((2, 3), None), InvalidArgument, "real numbers"),
    ],
)
def test_bad_maps_are_refused(gram, wrong, error, words) -> None:
    with pytest.raises(InvalidArgument, match=words) as caught:
        gram.input_gram(wrong)
    assert isinstance(caught.value, error) or wrong == "map"


@pytest.mark.parametrize("wrong", [np.eye(2), np.ones(3), np.full((1, 3), np.inf), [], None])
def test_bad_samples_are_refused(gram, wrong) -> None:
    with pytest.raises(InvalidArgument, match="'X'"):
        gram.hidden_gram(np.ones((2, 3)), wrong)


def test_bad_networks_and_weights_are_refused(network) -> None:
    gaussian = sk.weights.gaussian(network, 1.0, 0)
    with pytest.raises(NoClosedForm, match="not of the class") as caught:
        sk.memoryless_gram(network, gaussian)
    assert 0.01 < caught.value.verdicts[0].distance < np.inf
    with pytest.raises(InvalidArgument, match="must be a Network and Weights"):
        sk.memoryless_gram(gaussian, network)
    deep = sk.Network.mlp([3, 6, 6, 2], "linear")
    with pytest.raises(NoClosedForm):
        sk.memoryless_gram(deep, sk.weights.gaussian(deep, 1.0, 0))
    other = sk.Network.two_layer(2, 5, 2)
    with pytest.raises(ShapeMismatch, match="'W1' of shape"):
        sk.memoryless_gram(other, gaussian)
    symbol = sk.Network.two_layer(sp.Symbol("n", integer=True, positive=True), 5, 2)
    with pytest.raises(InvalidArgument, match="must hold numbers"):
        sk.memoryless_gram(symbol, gaussian)
