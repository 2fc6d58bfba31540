from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import symkernel as sk
from symkernel.errors import InvalidArgument, ShapeMismatch
from symkernel.nodes import Apply, Input, Parameter
from tests.oracles import numpy_descent as oracle

ENV = sk.environments.Multitasking(groups=3, features=3)
NET = ENV.network()


def blocks(stream, copies, inputs, outputs, samples, cyclic):
    """A task that stays the same under permutations of blocks of inputs with blocks of outputs."""
    (still_in, wide), (still_out, high) = inputs, outputs
    turns = [np.roll(np.arange(copies), k) for k in range(copies)]
    if not cyclic:
        turns += [turn[::-1] for turn in turns]
    X, Y = [], []
    for _ in range(samples):
        x, y = stream.standard_normal((copies, wide)), stream.standard_normal((copies, high))
        a, b = stream.standard_normal(still_in), stream.standard_normal(still_out)
        X += [np.concatenate([a, x[turn].ravel()]) for turn in turns]
        Y += [np.concatenate([b, y[turn].ravel()]) for turn in turns]
    return sk.Task(np.array(X), np.array(Y))


def deep(n, o, split):
    return sk.Network.mlp([n, 5, 4, o], "tanh", bias=True, parameterisation="ntk")


def linear(n, o, split):
    return sk.Network.two_layer(n, 4, o, rates=[2, 0.5])


def crossed(n, o, split):
    x = Input(n)
    inner = (
        Parameter("A", (5, split)) @ x[:split] + Parameter("B", (5, n - split), rate=2) @ x[split:]
    )
    h = Apply("sigmoid", inner + Parameter("b", (5,), "bias"))
    skip = Parameter("D", (o, n - split), scale=0.5) @ x[split:]
    other = Parameter("E", (o, split)) @ x[:split]
    out = Parameter("C", (o, 5)) @ h + skip + other + Parameter("c", (o,), "bias")
    return sk.Network.build(Apply("sigmoid", out), {"hidden": h})


@pytest.mark.parametrize("build", [deep, linear, crossed])
@settings(max_examples=8)
@given(
    seed=st.integers(0, 10**6),
    inputs=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    outputs=st.tuples(st.integers(0, 2), st.integers(1, 2)),
    samples=st.integers(1, 4),
    cyclic=st.booleans(),
)
def test_descent_of_the_quotient_is_that_of_tied_weights(
    build, seed, inputs, outputs, samples, cyclic
):
    stream = np.random.default_rng(seed)
    tasks = [blocks(stream, 3, inputs, outputs, samples + k, cyclic) for k in range(2)]
    n, o = int(tasks[0].inputs), int(tasks[0].outputs)
    net = build(n, o, inputs[0])
    course = sk.Curriculum([sk.Phase(task, duration=0.3) for task in tasks])
    quotient = sk.quotient(net, course)
    assert quotient.symmetries.order >= (3 if cyclic else 6)
    draws = {p.name: 0.4 * stream.standard_normal(tuple(p.shape)) for p in net.parameters}
    w0 = sk.weights.from_arrays(net, draws)
    small, full = quotient.reduce(w0).arrays, quotient.project(w0).arrays
    for mine, whole in zip(quotient.curriculum.phases, course.phases, strict=True):
        part, task = mine.task, whole.task
        assert len(part.X) <= len(task.X) // (3 if cyclic else 2)
        how = (0.7, 0.1)  # factor of the loss, weight decay
        few = (*how, part.sample_weights)
        at_first = oracle.loss(quotient.network, small, part.X, part.Y, {}, *few)
        all_at_first = oracle.loss(net, full, task.X, task.Y, {}, *how)
        assert at_first == pytest.approx(all_at_first, rel=1e-12)
        small = oracle.descend(quotient.network, small, part.X, part.Y, 0.05, 2, None, *few)
        full = oracle.descend(net, full, task.X, task.Y, 0.05, 2, None, *how)
    for name, found in quotient.lift(small).items():
        np.testing.assert_allclose(found, full[name], atol=1e-13)
    assert max(abs(w).max() for w in quotient.transverse(full).values()) < 1e-13
    # Weights that are not tied are trained to others.
    assert max(abs(w).max() for w in quotient.transverse(w0).values()) > 1e-3


def test_weights_on_the_manifold_stay_there_for_2000_steps():
    """The hidden layer is then blind to the response group: that is what is tied."""
    quotient = sk.quotient(NET, ENV.single.task, fixing="W_s")
    tied = quotient.project(ENV.weights(NET, scale=0.1, seed=1000))
    run = sk.simulate(NET, ENV.single.task, tied, learning_rate=20.0, record=[0.0, 40000.0])
    size = max(abs(w[-1]).max() for w in run.weights.values())
    assert size > 4
    rest = quotient.transverse(run.weights)
    assert max(abs(w[-1]).max() for w in rest.values()) < 1e-12
    w = {name: array[-1] for name, array in run.weights.items()}
    by_task = w["W_t"].reshape(100, 3, 3)
    assert np.ptp(by_task, axis=2).max() < 1e-12
    assert np.ptp(w["W_2"].reshape(3, 3, 100), axis=0).max() < 1e-12
    direct = w["W_o"].reshape(3, 3, 3, 3)  # response group, feature; stimulus group, response group
    own = np.einsum("jvij->vij", direct)
    assert np.ptp(own, axis=2).max() < 1e-12
    hidden = sk.activity(NET, w, ENV.single.X, "hidden").reshape(3, 3, 27, 100)
    assert np.ptp(hidden, axis=1).max() < 1e-12
    small = sk.simulate(
        quotient.network, quotient.curriculum, quotient.reduce(tied), 20.0, record=[0.0, 40000.0]
    )
    assert len(small.outputs[0]) == 81
    for name, found in quotient.lift(small.weights).items():
        np.testing.assert_allclose(found, run.weights[name], atol=1e-12)


def test_the_projection_is_the_mean_over_the_group():
    quotient = sk.quotient(NET, ENV.single.task, fixing="W_s")
    w0 = ENV.weights(NET, scale=1.0, seed=3)
    direct = w0.arrays["W_o"].reshape(3, 3, 3, 3)
    total = np.zeros_like(direct)
    perms = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    for p in perms:
        total += direct[p][:, :, :, p]
    found = quotient.project(w0).arrays
    np.testing.assert_allclose(found["W_o"], (total / 6).reshape(9, 9), atol=1e-14)
    np.testing.assert_array_equal(found["W_s"], w0.arrays["W_s"])
    again = quotient.project(quotient.project(w0)).arrays
    for name, array in found.items():
        np.testing.assert_allclose(again[name], array, atol=1e-15)
    rest = quotient.transverse(w0)
    assert abs(sum((rest[name] * found[name]).sum() for name in rest)) < 1e-12


@pytest.mark.parametrize(
    ("fixing", "samples", "order"),
    [("W_s", 81, 6), ("W_t", 45, 6), ("output", 54, 6), ((), 4, 216)],
)
def test_every_factor_gives_a_quotient(fixing, samples, order):
    quotient = sk.quotient(NET, ENV.single.task, fixing=fixing)
    task = quotient.curriculum.phases[0].task
    assert (len(task.X), quotient.symmetries.order) == (samples, order)
    w0 = ENV.weights(NET, scale=0.5, seed=0)
    small, tied = quotient.reduce(w0), quotient.project(w0)
    shares = np.full(samples, 1 / samples) if task.sample_weights is None else task.sample_weights
    found = shares @ ((sk.activity(quotient.network, small, task.X) - task.Y) ** 2).sum(1)
    every = ((sk.activity(NET, tied, ENV.single.X) - ENV.single.Y) ** 2).sum(1).mean()
    assert found == pytest.approx(every, rel=1e-13)
    # The hidden layer of a sample is that of the one it stands for.
    hidden = sk.activity(quotient.network, small, task.X, "hidden")
    whole = sk.activity(NET, tied, ENV.single.X, "hidden")
    assert all(np.isclose(whole, row, atol=1e-13).all(1).any() for row in hidden)
    assert f"{samples} samples for 243" in repr(quotient)


def test_concurrent_prompts_have_orbits_of_their_own():
    course = ENV.curriculum("single, concurrent", 20.0, single=3, concurrent=2)
    quotient = sk.quotient(NET, course, fixing="W_s")
    assert [len(phase.task.X) for phase in quotient.curriculum.phases] == [81, 108]
    names = quotient.curriculum.phases[0].task.labels["tasks"]
    assert len(set(names)) == 3
    w0 = ENV.weights(NET, scale=0.3, seed=0)
    small = sk.simulate(quotient.network, quotient.curriculum, quotient.reduce(w0), 20.0)
    full = sk.simulate(NET, course, quotient.project(w0), 20.0)
    for name, found in quotient.lift(small.weights).items():
        np.testing.assert_allclose(found, full.weights[name], atol=1e-12)


def test_a_named_subgroup_gives_the_same_quotient_as_the_factor_it_is():
    shift = [[*range(9), *(9 + 3 * i + (j + 1) % 3 for i in range(3) for j in range(3))],
             [(k + 3) % 9 for k in range(9)]]  # fmt: skip
    swap = [[*range(9), *(9 + 3 * i + (1, 0, 2)[j] for i in range(3) for j in range(3))],
            [3, 4, 5, 0, 1, 2, 6, 7, 8]]  # fmt: skip
    named = sk.quotient(NET, ENV.single.task, generators=[shift, swap])
    found = sk.quotient(NET, ENV.single.task, fixing="W_s")
    w0 = ENV.weights(NET, scale=0.5, seed=0)
    for name, array in named.project(w0).arrays.items():
        np.testing.assert_allclose(array, found.project(w0).arrays[name], atol=1e-15)


QUOTIENT = sk.quotient(NET, ENV.single.task, fixing="W_s")
OTHER = ENV.network(hidden=7)
EYE = sk.Task(np.eye(3), np.eye(3))


def uneven_bias():
    arrays = dict(ENV.weights(NET, scale=1.0).arrays)
    arrays["c"] = np.arange(9.0)
    return sk.weights.from_arrays(NET, arrays)


def skip_of_inputs():
    x = Input(3)
    return sk.Network.build(Apply("tanh", x) + Parameter("W", (3, 3)) @ x)


def own_weights():
    x = Input(3)
    return sk.Network.build(Parameter("d", (3,), "diagonal") @ (Parameter("W", (3, 3)) @ x))


def shared_weight():
    x, W = Input(6), Parameter("W", (4, 3))
    return sk.Network.build(Parameter("V", (1, 4)) @ Apply("tanh", W @ x[:3] + W @ x[3:]))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: sk.quotient(SMALL, sk.Task(np.eye(3), np.diag([1.0, 2, 3]))),
            InvalidArgument,
            "no permutation symmetry",
        ),
        (
            lambda: sk.quotient(NET, ENV.single.task, fixing=["W_s", "W_t"]),
            InvalidArgument,
            r"none of the 216 .*fix one of 'W_s' \(order 6\)",
        ),
        (lambda: sk.quotient(NET, ENV.single.task, fixing="h"), InvalidArgument, "'fixing' must"),
        (lambda: sk.quotient(NET, EYE), ShapeMismatch, "must agree"),
        (lambda: sk.quotient(skip_of_inputs(), EYE), InvalidArgument, "without a dense weight"),
        (lambda: sk.quotient(own_weights(), EYE), InvalidArgument, "weights of their own"),
        (
            lambda: sk.quotient(shared_weight(), sk.Task(np.eye(6), np.ones((6, 1)))),
            InvalidArgument,
            "'W' is used in several places",
        ),
        (
            lambda: QUOTIENT.reduce(ENV.weights(OTHER, scale=1.0)),
            ShapeMismatch,
            "'W_s' of shape .100, 9., of the original network",
        ),
        (lambda: QUOTIENT.project(np.ones(3)), InvalidArgument, "must be Weights"),
        (
            lambda: QUOTIENT.project(uneven_bias()),
            InvalidArgument,
            "'c' is not trained and differs",
        ),
        (lambda: QUOTIENT.lift({"W_s": np.ones((100, 9))}), InvalidArgument, "is missing"),
        (lambda: QUOTIENT.lift(ENV.weights(NET, 1.0)), ShapeMismatch, "of the smaller network"),
        (lambda: QUOTIENT.lift(3), InvalidArgument, "must be Weights"),
        (
            lambda: QUOTIENT.transverse({"W_s": np.full((100, 9), np.nan)}),
            InvalidArgument,
            "finite",
        ),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


SMALL = sk.Network.two_layer(3, 2, 3)
