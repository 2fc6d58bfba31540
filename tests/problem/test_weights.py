"""Initial weights: the identities that define each kind, and clear refusals."""

from __future__ import annotations

import itertools
from itertools import pairwise

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from symkernel.errors import InvalidArgument, MissingValues, ShapeMismatch
from symkernel.problem import weights
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.modes import singular_basis
from symkernel.problem.network import Network
from symkernel.problem.nodes import Input, Parameter
from symkernel.problem.task import Task

NET = Network.two_layer(inputs=2, hidden=3, outputs=2)
TASK = Task(np.eye(2), np.diag([2.0, 1.0]))
SEEDS = st.integers(0, 2**32)
SIZES = st.integers(1, 7)
STRENGTHS = st.sampled_from([0.0, 0.5, 1.0, 1.0, 2.0])


def end_to_end(net: Network, w0: weights.Weights) -> np.ndarray:
    product = np.eye(int(net.inputs))
    for p in net.parameters:
        product = w0.arrays[p.name] @ product
    return product


# Given ---------------------------------------------------------------------------------------


def test_given_arrays_are_copied_and_cannot_be_changed() -> None:
    W1, W2 = np.ones((3, 2)), np.ones((2, 3))
    w0 = weights.from_arrays(NET, [W1, W2])
    W1[0, 0] = 7
    assert w0.arrays["W1"][0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        w0.arrays["W1"][0, 0] = 5
    with pytest.raises(TypeError):
        w0.arrays["W1"] = W1
    with pytest.raises(AttributeError):
        w0.values = None
    by_name = weights.from_arrays(NET, {"W2": W2, "W1": w0.arrays["W1"]})
    assert all(np.array_equal(by_name.arrays[k], w0.arrays[k]) for k in ("W1", "W2"))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.full((3, 2), np.nan), "must be finite"),
        (np.full((3, 2), -np.inf), "must be finite"),
        (np.ones((3, 2)) * 1j, "complex numbers"),
        (np.ones((3, 2), dtype=object), "Python objects"),
        (np.empty((0, 2)), "must not be empty"),
        (np.ones(6), "must be 2-dimensional"),
        ([[1.0], [1.0, 2.0]], "unequal length"),
        (None, "is missing"),
        (np.ones((2, 3)), r"must be of shape \(3, 2\), not \(2, 3\)"),
    ],
)
def test_given_arrays_are_real_and_of_the_parameters_shape(bad: object, words: str) -> None:
    with pytest.raises(InvalidArgument, match=f"'W1' .*{words}"):
        weights.from_arrays(NET, [bad, np.ones((2, 3))])
    with pytest.raises(InvalidArgument, match=f"'W1' .*{words}"):
        weights.from_arrays(NET, {"W1": bad, "W2": np.ones((2, 3))})


def test_given_arrays_are_one_for_each_parameter() -> None:
    one = np.ones((3, 2))
    for bad, words in (
        ([one], "one array for each of the parameters W1, W2, not 1"),
        ([], "not 0 arrays"),
        ({"W1": one}, "must name the parameters W1, W2, not W1"),
        ({"W1": one, "V": one}, "must name the parameters"),
        (5, "must be a sequence or mapping"),
        (None, "must be a sequence or mapping"),
    ):
        with pytest.raises(InvalidArgument, match=f"'arrays' .*{words}"):
            weights.from_arrays(NET, bad)


def test_biases_and_diagonal_weights_have_their_own_shapes() -> None:
    x = Input(2)
    net = Network.build(Parameter("D", (2,), "diagonal") @ x + Parameter("b", (2,), "bias"))
    w0 = weights.from_arrays(net, {"D": [1, 2], "b": [3, 4]})
    assert w0.arrays["D"].shape == (2,)
    drawn = weights.gaussian(net, 2.0, seed=1000)
    assert not drawn.arrays["b"].any()
    assert drawn.arrays["D"].all()


# Gaussian ------------------------------------------------------------------------------------


@given(SEEDS, st.sampled_from([1e-4, 0.1, 1.0, 10.0]))
def test_gaussian_entries_scale_with_the_fan_in(seed: int, scale: float) -> None:
    """Standard normal after division by scale / sqrt(fan-in): same draws for every scale."""
    net = Network.mlp([3, 5, 2], "tanh", bias=True)
    one, scaled = weights.gaussian(net, 1.0, seed), weights.gaussian(net, scale, seed)
    for p in net.parameters:
        assert scaled.arrays[p.name].shape == p.shape
        assert np.allclose(scaled.arrays[p.name], scale * one.arrays[p.name], rtol=1e-15)
        if p.kind == "bias":
            assert not one.arrays[p.name].any()


@pytest.mark.parametrize("parameterisation", ["standard", "ntk"])
def test_gaussian_moments(parameterisation: str) -> None:
    net = Network.mlp([400, 500, 100], "relu", parameterisation=parameterisation)
    w0 = weights.gaussian(net, 0.7, seed=1000)
    for p in net.parameters:
        unit = w0.arrays[p.name] * float(p.scale) * np.sqrt(p.shape[1]) / 0.7
        n = unit.size
        assert abs(unit.mean()) < 5 / np.sqrt(n)
        assert abs(unit.var() - 1) < 5 * np.sqrt(2 / n)
        assert abs((unit**4).mean() - 3) < 5 * np.sqrt(96 / n)
    assert abs(np.corrcoef(w0.arrays["W1"].ravel()[:50000], w0.arrays["W2"].ravel())[0, 1]) < 0.03


def test_gaussian_draws_are_the_same_function_in_both_parameterisations() -> None:
    standard = Network.two_layer(4, 6, 3)
    ntk = Network.two_layer(4, 6, 3, parameterisation="ntk")
    mine, theirs = weights.gaussian(standard, 0.5, 1000), weights.gaussian(ntk, 0.5, 1000)
    for p in ntk.parameters:
        assert np.allclose(mine.arrays[p.name], theirs.arrays[p.name] * float(p.scale), rtol=1e-14)


@pytest.mark.parametrize("draw", [weights.gaussian, weights.balanced])
def test_seeds_repeat_and_differ(draw: object) -> None:
    one, same, other = (draw(NET, 1.0, seed) for seed in (1000, 1000, 1001))
    assert all(np.array_equal(one.arrays[k], same.arrays[k]) for k in one.arrays)
    assert not any(np.array_equal(one.arrays[k], other.arrays[k]) for k in one.arrays)


@pytest.mark.parametrize("draw", [weights.gaussian, weights.balanced])
@pytest.mark.parametrize("bad", [0, -1, np.nan, np.inf, 1j, None, "1", np.ones(2)])
def test_scales_are_positive(draw: object, bad: object) -> None:
    with pytest.raises(InvalidArgument, match=r"'scale' must be a (finite )?positive number"):
        draw(NET, scale=bad)


@pytest.mark.parametrize("bad", [-1, None, 1.5, "0"])
def test_seeds_are_integers(bad: object) -> None:
    for draw in (
        lambda seed: weights.gaussian(NET, 1.0, seed),
        lambda seed: weights.balanced(NET, 1.0, seed),
        lambda seed: weights.aligned(NET, TASK, 1, 1, seed),
    ):
        with pytest.raises(InvalidArgument, match="'seed' must be a non-negative integer"):
            draw(bad)


def test_symbolic_networks_and_other_objects_have_no_weights() -> None:
    symbolic = Network.two_layer(sp.Symbol("n", integer=True, positive=True), 3, 2)
    for make in (
        weights.gaussian,
        weights.balanced,
        lambda net: weights.from_arrays(net, [np.ones((3, 2)), np.ones((2, 3))]),
    ):
        with pytest.raises(MissingValues, match="sizes of the network must be integers"):
            make(symbolic)
        with pytest.raises(InvalidArgument, match="'net' must be a Network"):
            make(None)


# Balanced ------------------------------------------------------------------------------------


@given(st.lists(SIZES, min_size=2, max_size=5), SEEDS, st.sampled_from([1e-4, 0.1, 1.0, 10.0]))
def test_balanced_layers_conserve_zero(sizes: list[int], seed: int, scale: float) -> None:
    net = Network.mlp(sizes, "linear")
    w0 = weights.balanced(net, scale, seed)
    layers = [w0.arrays[p.name] for p in net.parameters]
    largest = max(float(np.abs(W).max()) for W in layers) ** 2
    for lower, upper in itertools.pairwise(layers):
        assert np.abs(upper.T @ upper - lower @ lower.T).max() <= 1e-13 * largest
    # The end-to-end map is the Gaussian draw itself where no layer is narrower than its rank.
    if min(sizes) == min(sizes[0], sizes[-1]):
        draw = np.random.default_rng(seed).standard_normal((sizes[-1], sizes[0]))
        expected = scale / np.sqrt(sizes[0]) * draw
        assert np.allclose(end_to_end(net, w0), expected, atol=1e-12 * np.abs(expected).max())


@given(st.lists(SIZES, min_size=3, max_size=4), SEEDS)
def test_balanced_layers_share_their_singular_values(sizes: list[int], seed: int) -> None:
    net = Network.mlp(sizes, "linear")
    w0 = weights.balanced(net, 1.0, seed)
    k = min(sizes)
    values = [np.linalg.svd(w0.arrays[p.name], compute_uv=False) for p in net.parameters]
    for s in values:
        assert np.allclose(s[:k], values[0][:k], atol=1e-12)
        assert np.abs(s[k:]).max(initial=0.0) < 1e-12


# Aligned -------------------------------------------------------------------------------------


@given(SIZES, SIZES, SIZES, SEEDS, st.floats(-2, 2), st.floats(-2, 2))
def test_aligned_weights_are_diagonal_in_the_singular_basis(
    inputs: int, hidden: int, outputs: int, seed: int, a: float, b: float
) -> None:
    stream = np.random.default_rng(seed)
    task = Task(stream.standard_normal((9, inputs)), stream.standard_normal((9, outputs)))
    net = Network.two_layer(inputs, hidden, outputs)
    w0 = weights.aligned(net, task, a=a, b=b, seed=seed)
    basis = singular_basis(task)
    k = min(inputs, hidden, outputs)
    ones = np.zeros((outputs, inputs))
    ones[np.arange(k), np.arange(k)] = 1.0
    W1, W2 = w0.arrays["W1"], w0.arrays["W2"]
    assert np.allclose(basis.U.T @ W2 @ W1 @ basis.V, a * b * ones, atol=1e-13)
    assert np.allclose(basis.V.T @ W1.T @ W1 @ basis.V, a**2 * ones.T @ ones, atol=1e-13)
    assert np.allclose(basis.U.T @ W2 @ W2.T @ basis.U, b**2 * ones @ ones.T, atol=1e-13)
    # Conserved quantity: (b^2 - a^2) on the hidden directions in use.
    delta = np.linalg.eigvalsh(W2.T @ W2 - W1 @ W1.T)
    assert np.allclose(np.sort(np.abs(delta))[-k:], abs(b**2 - a**2), atol=1e-13)


@given(st.lists(STRENGTHS, min_size=1, max_size=5), SIZES, SEEDS)
def test_amplitudes_belong_to_the_modes_in_the_order_given(
    s: list[float], hidden: int, seed: int
) -> None:
    """Zero, repeated and unsorted strengths; the strongest modes get the hidden units."""
    n = len(s)
    task, net = Task.from_modes(s), Network.two_layer(n, hidden, n)
    a, b = 0.1 * np.arange(1, n + 1), -0.2 * np.arange(1, n + 1)
    w0 = weights.aligned(net, task, a=a, b=b, seed=seed)
    kept = np.zeros(n)
    kept[np.argsort(-np.array(s), kind="stable")[:hidden]] = 1
    assert np.allclose(w0.arrays["W2"] @ w0.arrays["W1"], np.diag(kept * a * b), atol=1e-14)
    assert np.allclose(w0.arrays["W1"].T @ w0.arrays["W1"], np.diag(kept * a**2), atol=1e-14)


def test_amplitudes_of_symbols_come_to_the_same_modes_as_numbers() -> None:
    s1, s2, p, q = sp.symbols("s1 s2 p q", real=True)
    task, net = Task.from_modes([s1, s2], [1, 2]), Network.two_layer(3, 4, 3)
    w0 = weights.aligned(net, task, a=[p, q], b=0.5, seed=1000)
    assert w0.free_symbols == {p, q}
    with pytest.raises(MissingValues, match="p, q with compile"):
        _ = w0.arrays
    values = {s1: 1, s2: 3, p: 0.1, q: 0.2}
    found = w0.with_values(net, task.with_values(values), values)
    assert np.allclose(
        found.arrays["W2"] @ found.arrays["W1"], np.diag([0.05, 0.1, 0.1]), atol=1e-15
    )
    numbers = weights.aligned(net, Task.from_modes([1, 3], [1, 2]), [0.1, 0.2], 0.5, seed=1000)
    assert all(np.array_equal(found.arrays[k], numbers.arrays[k]) for k in ("W1", "W2"))
    assert found.with_values(net, task, {}) is found


def test_one_amplitude_on_one_side_does_not_shorten_the_other() -> None:
    p = sp.Symbol("p", real=True)
    w0 = weights.aligned(NET, TASK, a=p, b=[0.5, 0.25])
    found = w0.with_values(NET, TASK, {p: 1.0})
    assert np.allclose(found.arrays["W2"] @ found.arrays["W1"], np.diag([0.5, 0.25]), atol=1e-15)


def test_values_for_amplitudes_are_checked() -> None:
    p = sp.Symbol("p")
    w0 = weights.aligned(NET, TASK, a=p, b=1)
    with pytest.raises(MissingValues, match="every symbol of the weights; p has none"):
        w0.with_values(NET, TASK, {})
    for bad, words in (
        ({p: np.nan}, "finite"), ({p: sp.I}, "finite real"), ({p: "1"}, "symbols to numbers")
    ):  # fmt: skip
        with pytest.raises(InvalidArgument, match=words):
            w0.with_values(NET, TASK, bad)


@pytest.mark.parametrize(
    "bad", [np.nan, np.inf, 1j, "1", None, np.eye(2), sp.nan, sp.oo, sp.I, [1.0, None]]
)
def test_amplitudes_are_finite_and_real(bad: object) -> None:
    for arguments, name in (({"a": bad, "b": 1}, "a"), ({"a": 1, "b": bad}, "b")):
        with pytest.raises(InvalidArgument, match=f"'{name}' must hold finite real numbers"):
            weights.aligned(NET, TASK, **arguments)


@pytest.mark.parametrize("bad", [[1, 2, 3], []])
def test_amplitudes_are_one_or_as_many_as_modes(bad: object) -> None:
    for task in (TASK, Task.from_modes([2, 1])):
        with pytest.raises(InvalidArgument, match=r"'a' must (hold one amplitude|not be empty)"):
            weights.aligned(NET, task, a=bad, b=1)


def test_aligned_weights_need_two_linear_layers_that_fit_the_task() -> None:
    x, W = Input(2), Parameter("W", (2, 2))
    for net, words in (
        (Network.mlp([2, 3, 3, 2], "linear"), "two layers, not 3"),
        (Network.mlp([2, 3, 2]), "linear layers in a chain.* not the activation tanh of this one"),
        (Network.mlp([2, 3, 2], "linear", bias=True), "dense linear layers in a chain"),
        (Network.build(W @ (W @ x)), "none of them shared"),
        (Network.two_layer(3, 3, 2), "network has 3 inputs and 2 outputs, the task has 2 and 2"),
        (None, "'net' must be a Network"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            weights.aligned(net, TASK, a=1, b=1)
    for bad in (None, np.eye(2)):
        with pytest.raises(InvalidArgument, match="'task' must be a Task"):
            weights.aligned(NET, bad, a=1, b=1)
    with pytest.raises(InvalidArgument, match=r"not Curriculum.*; pass the first phase's task"):
        weights.aligned(NET, Curriculum.of(TASK), a=1, b=1)
    with pytest.raises(InvalidArgument, match="dense linear layers in a chain"):
        weights.balanced(Network.mlp([2, 3, 2], "tanh"))
    with pytest.raises(ShapeMismatch):
        weights.aligned(NET, Task.from_modes([1, 2, 3]), a=1, b=1)


@pytest.mark.parametrize("sizes", [(3, 2), (3, 4, 2), (3, 4, 5, 3, 2)])
@pytest.mark.parametrize("parameterisation", ["standard", "ntk"])
def test_modes_of_a_chain_are_carried_by_balanced_layers(sizes, parameterisation) -> None:
    net = Network.mlp(sizes, "linear", parameterisation=parameterisation)
    X = np.random.default_rng(0).standard_normal((20, 3))
    task = Task(X, X[:, :2] * [2.0, 1.0]).whitened()
    u = np.array([0.3, -0.1])
    arrays = weights.aligned(net, task, u=u).arrays
    layers = [float(p.scale) * arrays[p.name] for p in net.parameters]
    product = np.linalg.multi_dot([np.eye(2), *layers[::-1], np.eye(3)])
    U, _, Vt = np.linalg.svd(task.Syx, full_matrices=False)
    np.testing.assert_allclose(np.diag(U.T @ product @ Vt.T), u, atol=1e-14)
    for first, second in pairwise(arrays.values()):
        np.testing.assert_allclose(first @ first.T, second.T @ second, atol=1e-14)


def test_modes_of_a_chain_may_be_symbols() -> None:
    p, q = sp.Symbol("p", positive=True), sp.Symbol("q", real=True)
    net, task = Network.mlp([2, 2, 2, 2], "linear"), Task.from_modes([2, 1])
    w0 = weights.aligned(net, task, u=[p, 0])
    assert w0.free_symbols == {p}
    numbers = w0.with_values(net, task, {p: 0.008}).arrays
    assert numbers["W2"] is not None
    product = np.linalg.multi_dot(list(numbers.values())[::-1])
    np.testing.assert_allclose(product, np.diag([0.008, 0.0]), atol=1e-15)
    with pytest.raises(InvalidArgument, match="'u' must be of a known sign"):
        weights.aligned(net, task, u=q)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "or else 'u', must be given"),
        ({"u": 0.1, "a": 0.1, "b": 0.1}, "or else 'u', must be given, and not both"),
        ({"u": 0.1, "b": 0.1}, "or else 'u', must be given, and not both"),
        ({"u": np.nan}, "'u' must hold finite real numbers"),
        ({"u": 1j}, "'u' must hold finite real numbers"),
        ({"u": True}, "'u' must hold finite real numbers"),
        ({"u": "1"}, "'u' must hold finite real numbers"),
        ({"u": []}, "'u' must not be empty"),
        ({"u": [0.1, 0.2, 0.3]}, "'u' must hold one amplitude or one for each of 2 modes"),
        ({"u": 0.1, "seed": -1}, "seed"),
    ],
)
def test_bad_modes_of_a_chain_are_refused(arguments, words) -> None:
    with pytest.raises(InvalidArgument, match=words):
        weights.aligned(Network.mlp([2, 3, 3, 2], "linear"), TASK, **arguments)
