"""Wide hidden layers: what does not depend on a turn of the hidden layer costs no more in them."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

import symkernel as sk
from symkernel.problem.problem import Problem
from symkernel.theory import riccati, two_eigenvalues
from symkernel.theory.chain_state import ChainState
from symkernel.theory.compact_weights import compact, spanning_frame, triangular
from symkernel.theory.gram_state import GramState
from symkernel.theory.mode_state import ModeState
from symkernel.theory.two_eigenvalue_flow import Exact, GramClass

LAWS = ("aligned_modes", "gram_diagonal")


def stream(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def wide(
    law: str, inputs: int, hidden: int, outputs: int, scaling: str = "standard"
) -> sk.Derivation:
    """Return a curriculum of commuting tasks in turned bases, learned by a wide network."""
    draw = stream(7)
    V, U = (np.linalg.qr(draw.standard_normal((n, n)))[0] for n in (inputs, outputs))
    r = min(inputs, outputs)
    tasks = []
    for _ in range(2):
        S = (U[:, :r] * draw.uniform(-2, 2, r)) @ V[:, :r].T
        tasks.append(sk.Task.from_moments(np.eye(inputs), S, S @ S.T))
    course = sk.Curriculum([*(sk.Phase(task, 1.0) for task in tasks[:-1]), sk.Phase(tasks[-1])])
    net = sk.Network.two_layer(inputs, hidden, outputs, parameterisation=scaling)
    frame = np.linalg.qr(draw.standard_normal((hidden, inputs + outputs + r)))[0]
    first, rest, second = frame[:, :r], frame[:, r:inputs], frame[:, inputs : inputs + outputs]
    P, Q = np.hstack([first, rest]) * draw.uniform(0.1, 1, inputs), second.copy()
    if law == "aligned_modes":
        Q[:, :r] = first * draw.choice([-1.0, 1.0], r)
    else:
        Q[:, :r] += first
    Q *= draw.uniform(0.1, 1, outputs)
    w0 = sk.weights.from_arrays(net, [P @ V.T, U @ Q.T])
    return sk.derive(net, course, w0, law=law)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("sizes", [(3, 40, 2), (2, 30, 5), (4, 60, 4), (3, 9, 2), (3, 9, 2, "ntk")])
def test_products_are_those_of_the_weights(law: str, sizes: tuple) -> None:
    d = wide(law, *sizes)
    found = d.compile()(np.linspace(0.0, 3.0, 7))
    W1, W2 = (found.weights[p.name] for p in d.problem.network.parameters)
    scale = float(np.prod([float(p.scale) for p in d.problem.network.parameters]))
    for product, whole in (
        (found.end_to_end, scale * W2 @ W1),
        (found.input_gram, W1.transpose(0, 2, 1) @ W1),
        (found.readout_gram, W2 @ W2.transpose(0, 2, 1)),
    ):
        assert np.abs(product - whole).max() <= 4e-15 * np.abs(whole).max()


@pytest.mark.parametrize("law", [*LAWS, "lambda_balanced"])
def test_products_need_no_array_of_the_width(law: str) -> None:
    inputs, hidden, outputs, count = 4, 20_000, 3, 100
    if law == "lambda_balanced":
        net = sk.Network.two_layer(inputs, hidden, outputs)
        task = sk.Task.from_moments(np.eye(4), np.ones((3, 4)), 4 * np.ones((3, 3)))
        d = sk.derive(net, task, sk.weights.balanced(net, scale=0.1), law=law)
    else:
        d = wide(law, inputs, hidden, outputs)
    compiled = d.compile()
    compiled([0.0, 1.0]).end_to_end  # noqa: B018
    tracemalloc.start()
    found = compiled(np.linspace(0.0, 3.0, count))
    assert found.end_to_end.shape
    assert found.input_gram.shape
    assert found.readout_gram.shape
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * count * hidden / 4


def test_no_law_makes_a_square_of_the_width() -> None:
    """The walk over the laws, down to the general one, and back to the deep one's state."""
    hidden = 4_000
    net = sk.Network.two_layer(3, hidden, 2)
    S = stream(1).standard_normal((2, 3))
    task = sk.Task.from_moments(np.eye(3), S, S @ S.T)
    w0 = sk.weights.gaussian(net, scale=0.1)
    tracemalloc.start()
    d = sk.derive(net, task, w0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert d.law.name == "reduced_flow"
    assert {v.law for v in d.assumptions} >= {"deep_modes", "lambda_balanced", "single_unit"}
    assert peak < 8 * hidden**2 / 10


def test_equal_sides_of_a_wide_network_stay_equal() -> None:
    """Sum and difference are taken before the hidden layer is turned; the naive order is not."""
    hidden = 50
    task, net = sk.Task.from_modes([2.0, 1.0]), sk.Network.two_layer(2, hidden, 2)
    course = sk.Curriculum([sk.Phase(task, 3.0), sk.Phase(task.reversed())])
    frame = 0.3 * np.linalg.qr(stream(2).standard_normal((hidden, 2)))[0]
    w0 = sk.weights.from_arrays(net, [frame, frame.T])
    d = sk.derive(net, course, w0, law="aligned_modes")
    state = ModeState.of(d.problem)
    assert not state.sides.minus.any()
    assert not state.narrow.sides.minus.any()
    naive = np.abs(state.compact[0] - state.compact[1]).max()
    assert 0 < naive < 1e-15
    # On the saddle after the reversal; from a difference of 1e-17 it would leave within 40.
    late = d.compile()([3.0, 20.0, 60.0, 100.0])
    assert (np.diagonal(late.end_to_end, axis1=1, axis2=2)[1:] < 1e-12).all()
    assert (np.linalg.eigvalsh(late.end_to_end) > -1e-15).all()


@pytest.mark.parametrize("shape", [(40, 6), (3_000, 5), (5_000, 300)])
def test_triangular_factor_is_exact_column_by_column(shape: tuple[int, int]) -> None:
    sizes = 10.0 ** stream(3).uniform(-100, 3, shape[1])
    tall = stream(4).standard_normal(shape)
    R = triangular(tall * sizes)
    assert R.shape == (shape[1], shape[1])
    error = (R / sizes).T @ (R / sizes) - tall.T @ tall
    assert np.abs(error).max() <= 1e-14 * shape[0]


def test_compact_weights_of_a_narrow_layer_are_the_weights() -> None:
    W1, W2 = stream(5).standard_normal((4, 3)), stream(6).standard_normal((2, 4))
    first, second = compact(W1, W2)
    assert first is W1
    assert (second == W2.T).all()
    W1, W2 = stream(5).standard_normal((2_000, 3)), stream(6).standard_normal((2, 2_000))
    first, second = compact(W1, W2)
    assert first.shape == (5, 3)
    assert second.shape == (5, 2)
    assert np.abs(second.T @ first - W2 @ W1).max() <= 1e-12


def test_balanced_weights_have_a_factor_of_their_rank() -> None:
    net = sk.Network.two_layer(30, 100, 4)
    S = stream(8).standard_normal((4, 30))
    task = sk.Task.from_moments(np.eye(30), S, S @ S.T)
    w0 = sk.weights.balanced(net, scale=0.1)
    state = GramState.of(Problem(net, sk.Curriculum.of(task), w0), isotropic=True)
    assert state.compact.shape == (34, 4)
    whole = state.factor @ state.factor.T
    assert np.abs(state.compact @ state.compact.T - whole).max() <= 4e-15 * np.abs(whole).max()
    assert state.imbalance[0] == 0.0
    assert state.imbalance[1] <= 1e-14 * state.size


def test_factor_of_the_rank_keeps_weak_directions() -> None:
    """A share of the largest entry would lose them; they are judged by their own rows."""
    weak = np.diag([1.0, 1e-17, 0.0])[:, :3]
    kept = riccati.spanning(weak)
    assert kept.shape == (3, 2)
    assert (kept @ kept.T == weak @ weak.T).all()
    turned = np.linalg.qr(stream(9).standard_normal((5, 5)))[0][:, :3] * [1.0, 1e-12, 0.0]
    assert riccati.spanning(turned).shape == (5, 2)
    assert riccati.spanning(np.zeros((3, 2))).shape == (3, 1)


@pytest.mark.parametrize("sizes", [(7, 2), (2, 7), (5, 1)])
def test_directions_that_the_second_class_does_not_use_stay_as_they_are(
    sizes: tuple[int, int],
) -> None:
    n_in, n_out = sizes
    S = stream(10).standard_normal((n_out, n_in))
    task = sk.Task.from_moments(np.eye(n_in), S, S @ S.T)
    net = sk.Network.two_layer(n_in, 12, n_out)
    w0 = sk.weights.semi_orthogonal(net, a=0.3, b=0.1, seed=0)
    problem = Problem(net, sk.Curriculum.of(task), w0)
    path = two_eigenvalues._path(problem)
    assert path.frames is not None
    assert min(frame.shape[1] for frame in path.frames) < max(sizes)
    size = float(np.hypot(np.linalg.norm(S, 2), 0.2))
    times = np.array([0.1, 1.0, 8.0]) / size
    found, _ = path.advance(0, path.start, times)
    kind = GramClass(path.lam, path.source**2)
    start = Exact.of(path.state.compact, kind)
    for t, G in zip(times, found, strict=True):
        exact = start.after(S, float(t), size).gram
        assert np.abs(G - exact).max() <= 1e-13 * np.abs(exact).max()


def test_spanning_frame() -> None:
    columns = stream(11).standard_normal((6, 2))
    frame = spanning_frame(columns)
    assert frame.shape == (6, 2)
    assert np.abs(frame @ (frame.T @ columns) - columns).max() <= 1e-14
    assert (spanning_frame(columns.T) == np.eye(2)).all()


def test_sizes_of_layers_in_the_deep_law() -> None:
    net = sk.Network.mlp([3, 400, 2], activation="linear")
    task = sk.Task.from_moments(np.eye(3), np.diag([2.0, 1.0, 0.5])[:2], np.diag([4.0, 1.0]))
    w0 = sk.weights.aligned(net, task, u=[0.1, 0.2])
    state = ChainState.of(Problem(net, sk.Curriculum.of(task), w0))
    assert state.commuting <= 1e-14
    assert state.misaligned <= 1e-12
    assert state.unbalanced <= 1e-12


@pytest.mark.parametrize("law", ["aligned_modes", "lambda_balanced"])
def test_what_is_kept_of_a_problem_goes_with_it(law: str) -> None:
    task = sk.Task.from_moments(np.eye(2), np.diag([2.0, 1.0]), np.diag([4.0, 1.0]))
    net = sk.Network.two_layer(2, 30, 2)
    w0 = sk.weights.aligned(net, task, a=0.1, b=0.1)
    d = sk.derive(net, task, w0, law=law)
    d.compile()([1.0])
    alive = weakref.ref(d.problem)
    del d, w0
    gc.collect()
    assert alive() is None
