"""Networks: expressions of one input, their names and parameters, and clear refusals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from symkernel.errors import InvalidArgument, ShapeMismatch
from symkernel.nodes import Apply, Bias, Gate, Input, Linear, Node, Parameter, Slice, Sum
from symkernel.problem.activation import ACTIVATIONS
from symkernel.problem.network import Network

N = sp.Symbol("n", integer=True, positive=True)


@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=5),
    st.sampled_from(sorted(ACTIVATIONS)),
    st.booleans(),
    st.sampled_from(["standard", "ntk"]),
)
def test_mlp_has_its_layers_names_and_parameters(
    sizes: list[int], kind: str, bias: bool, parameterisation: str
) -> None:
    net = Network.mlp(sizes, kind, bias, parameterisation)
    layers = len(sizes) - 1
    names = [f"{k}{i}" for i in range(1, layers + 1) for k in ("W", "b") if k == "W" or bias]
    assert [p.name for p in net.parameters] == names
    shapes = {p.name: p.shape for p in net.parameters}
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes), 1):
        assert shapes[f"W{i}"] == (fan_out, fan_in)
        assert not bias or shapes[f"b{i}"] == (fan_out,)
    assert (net.inputs, net.outputs) == (sizes[0], sizes[-1])
    assert net.is_linear == (not bias and (kind == "linear" or layers == 1))
    assert net.is_numeric
    hidden = {f"hidden{i}" for i in range(1, layers)} | ({"hidden"} if layers > 1 else set())
    assert set(net.nodes) == {"input", "output", *hidden}
    for i in range(1, layers):
        assert net.node(f"hidden{i}").size == sizes[i]
    if layers > 1:
        assert net.node("hidden") is net.node(f"hidden{layers - 1}")
    position = {node: k for k, node in enumerate(net.order)}
    assert all(position[c] < position[node] for node in net.order for c in node.children)
    for p in net.parameters:
        ntk = parameterisation == "ntk" and p.kind == "dense"
        assert p.scale == (1 / sp.sqrt(p.shape[1]) if ntk else 1)


def test_two_layer_may_have_symbolic_sizes() -> None:
    net = Network.two_layer(N, 2 * N, 3, parameterisation="ntk")
    assert not net.is_numeric
    assert net.parameters[0].shape == (2 * N, N)
    assert net.parameters[1].scale == 1 / sp.sqrt(2 * N)


@pytest.mark.parametrize(
    "bad",
    [0, -1, 2.0, 1.5, True, "2", None, np.nan, 1j, [2], np.ones(2), sp.Rational(1, 2),
     sp.Float(2.0), sp.sqrt(2), sp.oo, sp.nan, sp.Symbol("x", negative=True),
     sp.Symbol("x", integer=False)],
)  # fmt: skip
@pytest.mark.parametrize("name", ["inputs", "hidden", "outputs"])
def test_sizes_are_positive_integers_or_symbols(name: str, bad: object) -> None:
    sizes = {"inputs": 2, "hidden": 3, "outputs": 2, name: bad}
    words = rf"'{name}' must (be|stand for) a positive integer"
    with pytest.raises(InvalidArgument, match=words):
        Network.two_layer(**sizes)


def test_sizes_of_numpy_become_integers() -> None:
    net = Network.two_layer(np.int64(2), np.array(3), sp.Integer(4))
    assert [p.shape for p in net.parameters] == [(3, 2), (4, 3)]
    assert all(type(n) is int for p in net.parameters for n in p.shape)


@pytest.mark.parametrize("bad", [[3], [], None, 5])
def test_sizes_are_inputs_and_outputs_at_least(bad: object) -> None:
    with pytest.raises(ShapeMismatch, match="'sizes' must hold at least inputs and outputs"):
        Network.mlp(bad)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_sequence_holds_one_activation_for_each_hidden_layer(count: int) -> None:
    with pytest.raises(ShapeMismatch, match=f"each of the 2 hidden layers, not {count}"):
        Network.mlp([2, 3, 3, 2], ["tanh"] * count)


def test_layers_and_output_may_have_activations_of_their_own() -> None:
    z = sp.Symbol("z")
    net = Network.mlp([2, 3, 4, 5, 1], ["tanh", z, z**3], output_activation=sp.exp(z))
    names = [n.activation.name for n in net.order if isinstance(n, Apply)]
    assert names == ["tanh", "z**3", "exp(z)"]
    assert net.node("output").activation is net.activations[-1]
    assert isinstance(net.node("hidden2"), Linear)
    assert not Network.mlp([2, 1], output_activation="quadratic").is_linear
    assert Network.mlp([2, 3, 1], sp.Symbol("q"), output_activation="linear").is_linear


@pytest.mark.parametrize(
    "make",
    [
        lambda bad: Network.mlp([2, 3, 2], bad),
        lambda bad: Network.mlp([2, 3, 3, 2], ["tanh", bad]),
        lambda bad: Network.mlp([2, 3, 2], output_activation=bad),
        lambda bad: Network.two_layer(2, 3, 2, bad),
        lambda bad: Apply(bad, Input(2)),
    ],
)
def test_activations_are_checked_wherever_they_enter(make) -> None:
    with pytest.raises(InvalidArgument, match="'activation' must be one of"):
        make("selu")
    with pytest.raises(InvalidArgument, match="'activation' must be continuous"):
        make(sp.sign(sp.Symbol("z")))


def test_parameterisations_are_named() -> None:
    with pytest.raises(InvalidArgument, match="'parameterisation' must be 'standard' or 'ntk'"):
        Network.mlp([2, 3, 2], parameterisation="mup")


# Expressions ---------------------------------------------------------------------------------


def test_any_feed_forward_expression_can_be_built() -> None:
    x = Input(5)
    shared = Parameter("W", (3, 3))
    left, right = shared @ x[:3], shared @ x[2:]
    gated = Gate("context", left + Parameter("b", (3,), "bias"))
    h = Apply("erf", gated + right)
    skip = Parameter("D", (5,), "diagonal", trained=False) @ x
    net = Network.build(Parameter("V", (5, 3)) @ h + skip, names={"hidden": h, "left": left})
    assert {p.name for p in net.parameters} == {"W", "b", "D", "V"}
    assert len(net.parameters) == 4
    assert net.gates == ("context",)
    assert net.outputs == 5
    assert net.node("left") is left
    assert not net.is_linear
    assert isinstance(left + right + left, Sum)
    assert len((left + right + left).terms) == 3


def test_expressions_that_do_not_fit_are_refused() -> None:
    x, W = Input(3), Parameter("W", (2, 3))
    for build, words in (
        (lambda: W @ Input(2), r"'W' of shape \(2, 3\) cannot act on a node of size 2"),
        (lambda: Parameter("d", (2,), "diagonal") @ x, "cannot act on a node of size 3"),
        (lambda: W @ x + x, "terms of a sum must have one size"),
        (lambda: W @ x + Parameter("b", (3,), "bias"), "terms of a sum must have one size"),
        (lambda: x[1:5], "slice must lie within its node of size 3"),
        (lambda: x[2:2], "slice must lie within its node of size 3"),
        (lambda: Parameter("W", (2,)), r"'shape' of the dense parameter 'W' must have 2 entries"),
        (lambda: Parameter("b", (2, 3), "bias"), "must have 1 entry, not 2"),
    ):
        with pytest.raises(ShapeMismatch, match=words):
            build()


def test_pieces_of_the_wrong_kind_are_refused() -> None:
    x, bias = Input(3), Parameter("b", (3,), "bias")
    for build, words in (
        (lambda: bias @ x, "'b' is a bias and cannot be applied with @"),
        (lambda: x + Parameter("W", (3, 3)), "'W' must be of kind 'bias' to be added"),
        (lambda: Bias(Parameter("d", (3,), "diagonal")), "must be of kind 'bias'"),
        (lambda: x + 3, "must be of nodes and bias parameters"),
        (lambda: x[0], "must be a slice"),
        (lambda: x[0:3:2], "must be a slice"),
        (lambda: x[-2:3], "'start' must be a positive integer"),
        (lambda: x[0.5:2], "'start' must be a positive integer"),
        (lambda: Parameter("W 1", (2, 3)), "'name' must be an identifier"),
        (lambda: Parameter(None, (2, 3)), "'name' must be an identifier"),
        (lambda: Parameter("W", (2, 0)), "'shape' must be a positive integer"),
        (lambda: Parameter("W", (2, 3), "sparse"), "'kind' must be 'dense', 'diagonal' or 'bias'"),
        (lambda: Gate("my gate", x), "'name' of a gate must be an identifier"),
        (lambda: Apply("selu", x), "'activation' must be one of"),
        (lambda: Input(0), "'width' must be a positive integer"),
        (lambda: Network.build(None), "'output' must be a node"),
        (lambda: Network.build(bias), "'output' must be a node"),
        (lambda: Network.build(x, names=3), "'names' must map names to nodes"),
        (lambda: Linear(Parameter("W", (2, 3)), 3), "'child' must be a node"),
        (lambda: Linear(3, x), "'parameter' must be a Parameter"),
        (lambda: Bias(3), "'parameter' must be a Parameter"),
        (lambda: Apply("tanh", None), "'child' must be a node"),
        (lambda: Gate("g", None), "'child' must be a node"),
        (lambda: Slice(None, 0, 2), "'child' must be a node"),
        (lambda: Sum(x), "must be of nodes and bias parameters"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            build()


def test_a_network_has_one_input_and_names_of_its_own_nodes() -> None:
    x, y = Input(2), Input(2)
    W = Parameter("W", (2, 2))
    out = W @ x
    for build, words in (
        (lambda: Network.build(out + y), "exactly one Input node, not 2"),
        (
            lambda: Network.build(Bias(Parameter("b", (2,), "bias"))),
            "exactly one Input node, not 0",
        ),
        (lambda: Network.build(out, {"h": y}), "'h' does not"),
        (lambda: Network.build(out, {"h": 3}), "'h' does not"),
        (lambda: Network.build(out, {"output": x}), "'output' is taken"),
        (
            lambda: Network.build(Parameter("W", (2, 2)) @ out),
            "Two different parameters are called 'W'",
        ),
        (
            lambda: Network.build(out).node("hidden"),
            "no node 'hidden', its nodes are input, output",
        ),
        (lambda: Network.build(out).node([1]), "has no node"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            build()


def test_nodes_of_other_classes_are_refused() -> None:
    """Kernels and simulation would not know what they compute."""

    class Reversed(Node):
        size = 2
        children = (Parameter("W", (2, 2)) @ Input(2),)

    with pytest.raises(InvalidArgument, match=r"must be made of the nodes .* not of 'Reversed'"):
        Network.build(Reversed())


def test_one_parameter_used_twice_is_shared() -> None:
    W = Parameter("W", (2, 2))
    net = Network.build(W @ (W @ Input(2)))
    assert net.parameters == (W,)


def test_networks_and_nodes_cannot_be_changed() -> None:
    net = Network.two_layer(2, 3, 2)
    with pytest.raises(AttributeError):
        net.output = net.node("hidden")
    with pytest.raises(TypeError):
        net.nodes["mine"] = net.output
    with pytest.raises(AttributeError):
        net.parameters[0].shape = (1, 1)
    assert isinstance(net.output, Linear)
    with pytest.raises(AttributeError):
        net.output.child = net.node("input")
    part = Slice(Input(4), 1, 3)
    assert (part.size, part.start, part.stop) == (2, 1, 3)


@pytest.mark.parametrize(
    "scale", ["2", "__import__('os')", None, [], [1], np.nan, True, sp.oo, sp.I]
)
def test_scales_are_numbers_or_expressions_and_never_text(scale):
    """SymPy would run text as code."""
    with pytest.raises(InvalidArgument, match="'scale' must"):
        Parameter("W", (2, 2), scale=scale)
