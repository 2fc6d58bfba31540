"""Gates of a task, contexts, pathways: what is recognised, built and refused."""

from __future__ import annotations

import numpy as np
import pytest

import symkernel as sk
from symkernel.errors import InvalidArgument, NoClosedForm, ShapeMismatch
from symkernel.nodes import Apply, Gate, Input, Linear, Parameter, Slice, Sum
from symkernel.problem.contexts import contexts_of, half_open
from symkernel.problem.pathways import balanced_amplitudes, open_paths, pathways_of

X, Y = np.eye(4), np.ones((4, 2))
OPEN = np.array([[1.0], [1.0], [0.0], [0.0]])


def found(net, task):
    return pathways_of(net, [context.gates for context in contexts_of(net, task)])


# --- gates of a task


def test_gates_stay_with_the_samples():
    task = sk.Task(X, Y, gates={"g": OPEN}).centred()
    assert np.array_equal(task.gates["g"], OPEN)
    with pytest.raises(ValueError, match="read-only"):
        task.gates["g"][0, 0] = 2
    both = sk.Task.mixture([task, task], weights=[0.5, 0.5])
    assert np.array_equal(both.gates["g"], np.concatenate([OPEN, OPEN]))


def test_the_simulator_takes_the_gates_of_the_task_and_one_column_for_all_units():
    net = sk.pathways.network(2, 3, 2, contexts=2)
    task = sk.environments.contexts(2, [2.0, 1.0])
    w0 = sk.pathways.aligned(net, task, u=0.1)
    wide = {name: np.repeat(gate, 2, axis=1) for name, gate in task.gates.items()}
    bare = sk.Task(task.X, task.Y)
    runs = [
        sk.simulate(net, task, w0, 0.1, steps=5),
        sk.simulate(net, bare, w0, 0.1, steps=5, gates=wide),
        sk.simulate(net, bare, w0, 0.1, steps=5, gates=task.gates),
    ]
    for run in runs[1:]:
        assert np.array_equal(run.weights["W1"], runs[0].weights["W1"])
    with pytest.raises(InvalidArgument, match="mapping with the names context0, context1"):
        sk.simulate(net, bare, w0, 0.1, steps=5)


@pytest.mark.parametrize(
    ("gates", "words"),
    [
        ([OPEN], "must map names of gates"),
        ({1: OPEN}, "must map names of gates"),
        ({"g": OPEN[:3]}, "one row for each of the 4 samples, not 3"),
        ({"g": OPEN[:, 0]}, "2-dimensional"),
        ({"g": OPEN * np.nan}, "must be finite"),
        ({"g": OPEN * 1j}, "complex"),
        ({"g": np.empty((4, 0))}, "must not be empty"),
    ],
)
def test_gates_that_cannot_be_used_are_refused(gates, words):
    with pytest.raises(InvalidArgument, match=words):
        sk.Task(X, Y, gates=gates)


def test_gates_need_samples():
    with pytest.raises(InvalidArgument, match="must come with samples"):
        sk.Task(Sxx=np.eye(2), Syx=np.eye(2), Syy=np.eye(2), gates={"g": OPEN})
    with pytest.raises(InvalidArgument, match="same gates"):
        sk.Task.mixture([sk.Task(X, Y, gates={"g": OPEN}), sk.Task(X, Y)], weights=[0.5, 0.5])


# --- contexts


def test_contexts_have_their_own_moments_and_shares():
    shares = np.array([0.1, 0.2, 0.3, 0.4])
    task = sk.Task(X, np.arange(8.0).reshape(4, 2), gates={"g": OPEN}, sample_weights=shares)
    x = Input(4)
    net = sk.Network.build(Gate("g", Parameter("W", (2, 4)) @ x))
    first, second = contexts_of(net, task)
    assert (first.gates, second.gates) == ({"g": 1.0}, {"g": 0.0})
    assert np.isclose([first.share, second.share], [0.3, 0.7]).all()
    assert np.allclose(second.Sxx, np.diag([0, 0, 3 / 7, 4 / 7]))
    assert np.allclose(second.Syx[:, 2], 3 / 7 * task.Y[2])
    total = first.share * first.Syx + second.share * second.Syx
    assert np.allclose(total, task.Syx)


@pytest.mark.parametrize(("value", "far"), [(0.7, 0.3), (1.25, 0.25), (-0.5, 0.5)])
def test_half_open_gates_are_measured(value, far):
    gate = np.where(OPEN, value, 0.0)
    net = sk.Network.build(Gate("g", Parameter("W", (2, 4)) @ Input(4)))
    assert np.isclose(half_open(net, sk.Task(X, Y, gates={"g": gate})), far)
    parts = np.tile([1.0, 0.0], (4, 1))  # open for one unit of two
    assert half_open(net, sk.Task(X, Y, gates={"g": parts})) == 1.0


def test_missing_or_misshapen_gates_are_named():
    net = sk.Network.build(Gate("g", Parameter("W", (2, 4)) @ Input(4)))
    with pytest.raises(InvalidArgument, match="the task has none called g"):
        contexts_of(net, sk.Task(X, Y))
    with pytest.raises(InvalidArgument, match="one column or 2"):
        contexts_of(net, sk.Task(X, Y, gates={"g": np.ones((4, 3))}))


# --- pathways


def by_hand():
    """Two contexts, W1 shared, gates at the hidden layer."""
    x = Input(3)
    h = Parameter("W1", (4, 3), scale=2) @ x
    parts = [Parameter(f"W2_{k}", (2, 4)) @ Gate(f"context{k}", h) for k in range(2)]
    return sk.Network.build(Sum(tuple(parts)))


def test_pathways_of_a_network_built_by_hand():
    (pathway,) = found(by_hand(), sk.environments.contexts(2, [2.0, 1.0], inputs=3))
    assert pathway.layers == (("W1", "W1"), ("W2_0", "W2_1"))
    assert (pathway.serves, pathway.scale) == ((2, 1), 2)
    assert str(pathway) == "2 layers whose weights serve 2, 1 of 2 contexts"


@pytest.mark.parametrize(
    ("sharing", "serves"),
    [
        ((4, 1), [(4, 1)]),
        ((2, 1), [(2, 1)]),
        ((1, 2, 4), [(1, 2, 4)]),
        ([(4, 1), (1, 1)], [(4, 1), (1, 1)]),
        ([(1, 1), (1, 1)], [(1, 1), (1, 1)]),
        ((), [(4, 1)]),
    ],
)
def test_what_is_built_is_recognised(sharing, serves):
    task = sk.environments.contexts(4, [1.0], same_targets=True)
    pathways = found(sk.pathways.network(1, 2, 1, contexts=4, sharing=sharing), task)
    assert sorted(pathway.serves for pathway in pathways) == sorted(serves)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (lambda x: Apply("tanh", Parameter("W", (2, 3)) @ x), "the activation tanh"),
        (lambda x: Parameter("W", (2, 3)) @ x + Parameter("b", (2,), "bias"), "the bias 'b'"),
        (lambda x: Parameter("w", (3,), "diagonal") @ x, "the diagonal weight 'w'"),
        (lambda x: Parameter("W", (2, 3), trained=False) @ x, "the fixed weight 'W'"),
        (lambda x: Slice(Parameter("W", (2, 3)) @ x, 0, 1), "a slice"),
    ],
)
def test_other_nodes_are_named(output, words):
    net = sk.Network.build(output(Input(3)))
    with pytest.raises(NoClosedForm, match=words):
        open_paths(net, {})


def test_pathways_that_do_not_correspond_are_refused():
    x, gates = Input(2), [{"a": 1.0}, {"a": 0.0}]
    W, Z = Parameter("W", (2, 2)), Parameter("Z", (2, 2))
    with pytest.raises(NoClosedForm, match="Context 1 opens nothing"):
        pathways_of(sk.Network.build(Gate("a", W @ (Z @ x))), gates)
    skip = sk.Network.build(Sum((Linear(W, Linear(Z, x)), Linear(W, x))))
    with pytest.raises(NoClosedForm, match="'W' belongs to two pathways"):
        pathways_of(skip, [{}])
    with pytest.raises(NoClosedForm, match="used twice"):
        pathways_of(sk.Network.build(W @ (W @ x)), [{}])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"contexts": 0}, "'contexts'"),
        ({"contexts": 2.0}, "'contexts'"),
        ({"inputs": 0}, "'inputs'"),
        ({"hidden": True}, "'hidden'"),
        ({"outputs": "2"}, "'outputs'"),
        ({"sharing": 4}, "'sharing' must be a sequence"),
        ({"sharing": "41"}, "'sharing' must be a sequence"),
        ({"sharing": (4,)}, "two layers of weights or more"),
        ({"sharing": [(4, 1), 1]}, "two layers of weights or more"),
        ({"sharing": (3, 1)}, "divisors of the 4 contexts, not 3"),
        ({"sharing": (0, 1)}, "'sharing'"),
        ({"sharing": [(4, 1)] * 9}, "8 pathways at most"),
    ],
)
def test_networks_that_cannot_be_are_refused(change, words):
    given = {"inputs": 2, "hidden": 2, "outputs": 2, "contexts": 4, **change}
    with pytest.raises(InvalidArgument, match=words):
        sk.pathways.network(**given)


# --- weights


def test_aligned_weights_are_balanced_at_any_rates_and_scales():
    x = Input(3)
    shared = Parameter("W1", (4, 3), scale=2, rate=3)
    parts = [
        Gate(f"context{k}", Parameter(f"W2_{k}", (2, 4), rate=2) @ (shared @ x)) for k in range(2)
    ]
    net = sk.Network.build(Sum(tuple(parts)))
    task = sk.environments.contexts(2, [2.0, 1.0], inputs=3)
    w0 = sk.pathways.aligned(net, task, u=[0.1, 0.3], seed=3).arrays
    W1, W2 = w0["W1"], w0["W2_0"]
    assert np.allclose(np.linalg.svd(2 * W2 @ W1)[1], [0.3, 0.1])
    assert np.allclose(W1 @ W1.T / (3 * 2), W2.T @ W2 / 2)


def test_modes_beyond_the_hidden_layer_and_without_strength_start_at_zero():
    task = sk.environments.contexts(2, [2.0, 1.0, 0.0])
    net = sk.pathways.network(3, 1, 3, contexts=2)
    w0 = sk.pathways.aligned(net, task, u=0.1)
    assert np.linalg.matrix_rank(w0.arrays["W1"]) == 1
    (pathway,) = found(net, task)
    rows = balanced_amplitudes(pathway, {"W1": 1.0, "W2_0": 1.0}, np.array([0.5]))
    assert np.isclose(rows.prod(), 0.5)
    assert np.isclose(rows[0] ** 2, 2 * rows[1] ** 2)


@pytest.mark.parametrize(
    ("u", "words"),
    [
        (-0.1, "must not be negative"),
        ([0.1, 0.2, 0.3], "must hold one number"),
        ([[0.1] * 3] * 2, "must hold one number"),
        (np.nan, "finite"),
        ("0.1", "text"),
        (0.1j, "complex"),
        ([], "empty"),
        (np.zeros((1, 1, 1)), "1-dimensional"),
    ],
)
def test_sizes_that_cannot_be_are_refused(u, words):
    task = sk.environments.contexts(2, [2.0, 1.0])
    net = sk.pathways.network(2, 2, 2, contexts=2, sharing=[(2, 1), (1, 1)])
    with pytest.raises((InvalidArgument, ShapeMismatch), match=words):
        sk.pathways.aligned(net, task, u=u)


def test_weights_for_other_things_are_refused():
    task = sk.environments.contexts(2, [2.0, 1.0])
    net = sk.pathways.network(2, 2, 2, contexts=2)
    for wrong in ((task, task), (net, net)):
        with pytest.raises(InvalidArgument, match=r"must be a (Network|Task)"):
            sk.pathways.aligned(*wrong, u=0.1)
    ajar = sk.Task(task.X, task.Y, gates={name: gate / 2 for name, gate in task.gates.items()})
    with pytest.raises(InvalidArgument, match="0 or 1"):
        sk.pathways.aligned(net, ajar, u=0.1)


def test_a_gate_without_rows_is_told_its_shape():
    with pytest.raises(
        InvalidArgument, match=r"shape \(4, 1\) .* not \(4,\); give gate\[:, None\]"
    ):
        sk.Task(X, Y, gates={"g": np.ones(len(X))})
    with pytest.raises(InvalidArgument, match=r"not an array of shape \(4,\)"):
        sk.Task(X, Y, gates=np.ones(len(X)))


def test_one_context_is_a_network_without_gates():
    task = sk.environments.contexts(1, [2.0, 1.0], inputs=3, outputs=2)
    net = sk.pathways.network(3, 4, 2, contexts=1, sharing=(1, 1))
    w0 = sk.pathways.aligned(net, task, u=0.1)
    with pytest.raises(NoClosedForm) as refusal:
        sk.derive(net, task, w0)
    words = str(refusal.value)
    assert "gated_modes, neural_race: one pathway in one context is a network without" in words
    assert "has an explicit law, 'gated_modes'" not in words
    plain = sk.Network.two_layer(inputs=3, hidden=4, outputs=2)
    same = sk.weights.from_arrays(plain, [w0.arrays["W1"], w0.arrays["W2"]])
    assert sk.derive(plain, sk.Task(task.X, task.Y), same).law.name == "aligned_modes"
