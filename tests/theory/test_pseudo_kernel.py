"""Pseudo-kernels against Jacobians by complex steps and scalar derivatives; what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import sympy as sp
from hypothesis import event, given, settings
from hypothesis import strategies as st

import symkernel as sk
from symkernel.codegen.matrix_nodes import Diagonal, Elementwise
from symkernel.errors import InvalidArgument, MissingValues, ShapeMismatch, Unlowerable
from symkernel.nodes import Activation, Apply, Input, Parameter
from symkernel.problem.activation import ARGUMENT
from symkernel.testing import numerical
from tests.oracles import forward_pass
from tests.oracles.interpreted import interpreted
from tests.theory.kernels import (
    DRAWN,
    TOLERANCE,
    H,
    I,
    O,
    call,
    error,
    oracle,
    shared_net,
    two_pathways,
    without_numba,
)

COMPILED = [
    (sk.Network.two_layer(3, 5, 2), "hidden", "output"),
    (sk.Network.two_layer(3, 5, 2), "output", "output"),
    (sk.Network.two_layer(3, 4, 2, "tanh", bias=True, parameterisation="ntk"), "hidden", "output"),
    # These take up to a quarter of a minute to compile.
    pytest.param(
        sk.Network.mlp([3, 4, 3, 3, 2], "erf", bias=True),
        "output",
        "output",
        marks=pytest.mark.slow,
    ),
    pytest.param(shared_net(), "first", "hidden", marks=pytest.mark.slow),
    pytest.param(shared_net(), "hidden", "output", marks=pytest.mark.slow),
    pytest.param(two_pathways(), "output", "output", marks=pytest.mark.slow),
    (two_pathways(), "hidden", "pre"),
]


# ---- against Jacobians that know no rule of differentiation


@pytest.mark.parametrize(("net", "of", "by"), COMPILED)
def test_compiled_kernel_is_product_of_jacobians(net, of, by):
    d = numerical(net, seed=1000)
    formula = sk.pseudo_kernel(net, of, by)
    got = call(formula.compile(), d)
    want = oracle(d, of, by)
    assert np.abs(want).max() > 0.01
    assert error(got, want) < TOLERANCE
    assert error(got, call(without_numba(formula), d)) < TOLERANCE


@settings(max_examples=max(40, settings.default.max_examples))
@given(
    DRAWN,
    st.sampled_from(["hidden", "output"]),
    st.sampled_from(["hidden", "output"]),
)
def test_any_network(d, of, by):
    of, by = (name if name in d.net.nodes else "output" for name in (of, by))
    formula = sk.pseudo_kernel(d.net, of, by)
    want = oracle(d, of, by)
    event("zero kernel" if not want.any() else "kernel")
    event("named Jacobian" if any(s.name[0] == "J" for s in symbols(formula)) else "products only")
    assert all(line.count("{") == line.count("}") for line in formula.latex().splitlines())
    assert error(call(without_numba(formula), d), want) < TOLERANCE


def symbols(formula):
    return [s for s, _ in formula.where if isinstance(s, sp.MatrixSymbol)]


# ---- against scalar derivatives, exactly


SYMBOLIC = {
    "linear": lambda z: z,
    "tanh": np.vectorize(sp.tanh, otypes=[object]),
    "erf": np.vectorize(lambda z: sp.erf(z / sp.sqrt(2)), otypes=[object]),
}


def entries(name, shape):
    count = int(np.prod([int(n) for n in shape]))
    return np.array(sp.symbols(f"{name}_:{count}", real=True), dtype=object).reshape(
        tuple(map(int, shape))
    )


def recurrent_net():
    x, W = Input(2), Parameter("W", (2, 2), scale=sp.Rational(1, 3))
    h = Apply("tanh", W @ x)
    output = W @ (h + x) + Parameter("d", (2,), "diagonal") @ h[0:2]
    return sk.Network.build(output, {"hidden": h})


@pytest.mark.parametrize(
    ("net", "of", "by"),
    [
        (sk.Network.two_layer(2, 3, 2, "tanh"), "hidden", "output"),
        (sk.Network.two_layer(2, 3, 2, "tanh"), "output", "output"),
        (sk.Network.two_layer(2, 3, 2, bias=True, parameterisation="ntk"), "output", "output"),
        (sk.Network.mlp([2, 2, 2, 1], "erf"), "hidden1", "output"),
        (sk.Network.mlp([2, 2, 2, 2]), "output", "hidden1"),
        (recurrent_net(), "output", "output"),
        (recurrent_net(), "hidden", "output"),
    ],
)
def test_equals_scalar_derivatives_symbol_by_symbol(net, of, by):
    """Every entry: formula minus derivatives expands to the number 0, symbols for all weights."""
    weights = {p.name: entries(p.name, p.shape) for p in net.parameters}
    x, y = entries("x", (net.inputs,)), entries("y", (net.inputs,))
    p, q = (
        forward_pass.values(net, v, weights, functions=SYMBOLIC, scale=sp.sympify)[net.nodes[name]]
        for v, name in ((x, of), (y, by))
    )
    trained = [w for array in weights.values() for w in array.flat]
    formula = sk.pseudo_kernel(net, of, by)
    arrays = {"x": x, "x'": y, **weights}
    values = {
        s: sp.ImmutableMatrix(*map(int, s.shape), list(arrays[s.name].flat))
        for s in formula.plain.free_symbols
    }
    matrix = formula.plain.subs(values).as_explicit().doit()
    assert matrix.shape == (len(p), len(q))
    assert not matrix.is_zero_matrix
    for i, j in np.ndindex(len(p), len(q)):
        want = sp.Add(*(sp.diff(p[i], w) * sp.diff(q[j], w) for w in trained))
        assert sp.expand(matrix[i, j] - want) == 0


# ---- what is printed


def test_textbook_formulas():
    linear, tanh = sk.Network.two_layer(I, H, O), sk.Network.two_layer(I, H, O, activation="tanh")
    assert sk.pseudo_kernel(linear).latex() == (
        "\\begin{aligned}\n"
        r"K_{h, f}(x, x') &= \left(x \cdot x'\right) W_{2}^{T}"
        "\n\\end{aligned}"
    )
    assert sk.pseudo_kernel(tanh).latex() == (
        "\\begin{aligned}\n"
        r"K_{h, f}(x, x') &= \left(x \cdot x'\right) \operatorname{diag}\left(\phi'\left(a\right)"
        r"\right) \operatorname{diag}\left(\phi'\left(a'\right)\right) W_{2}^{T} \\"
        "\n"
        r"\text{where}\quad a &= W_{1} x,\qquad a' = W_{1} x' \\"
        "\n"
        r"\phi'(z) &= 1 - \tanh^{2}{\left(z \right)}"
        "\n\\end{aligned}"
    )
    assert sk.ntk(linear).latex().splitlines()[1] == (
        r"K_{f, f}(x, x') &= \left(x \cdot x'\right) W_{2} W_{2}^{T} + "
        r"\left(h \cdot h'\right) \mathbb{I} \\"
    )
    assert sk.ntk(tanh).latex().splitlines()[1] == (
        r"K_{f, f}(x, x') &= \left(x \cdot x'\right) W_{2} \operatorname{diag}\left(\phi'\left(a"
        r"\right)\right) \operatorname{diag}\left(\phi'\left(a'\right)\right) W_{2}^{T} + "
        r"\left(h \cdot h'\right) \mathbb{I} \\"
    )


def test_erf_is_printed_with_its_root_two():
    text = sk.ntk(sk.Network.two_layer(I, H, O, activation="erf")).latex()
    assert r"\phi(z) &= \operatorname{erf}{\left(\frac{z}{\sqrt{2}} \right)}" in text


def test_expressions_of_the_user_are_printed_with_their_slopes():
    z = sp.Symbol("q")
    leaky, soft = sp.Max(z, z / 10), sp.log(1 + sp.exp(z))
    text = sk.ntk(sk.Network.two_layer(I, H, O, leaky)).latex()
    assert (
        r"\phi(z) &= \max\left(\frac{z}{10}, z\right),\qquad "
        r"\phi'(z) = \Theta\left(z\right) + \frac{\Theta\left(- z\right)}{10}"
    ) in text
    text = sk.ntk(sk.Network.mlp([I, H, H, O], ["tanh", soft])).latex()
    assert (
        r"\phi_{\mathrm{2}}(z) &= \ln{\left(1 + e^{z} \right)},\qquad "
        r"\phi'_{\mathrm{2}}(z) = \frac{e^{z}}{1 + e^{z}}"
    ) in text
    assert r"\phi_{\mathrm{tanh}}(z) &= \tanh" in text


def test_activations_of_one_name_are_told_apart():
    z = sp.Symbol("z")
    slow, fast = (Activation("swish", z / (1 + sp.exp(-c * z))) for c in (1, 2))
    net = sk.Network.mlp([2, 3, 3, 1], [slow, fast])
    formula = sk.ntk(net)
    assert r"\phi_{\mathrm{1}}(z) &= \frac{z}{1 + e^{- z}}" in formula.latex()
    assert r"\phi_{\mathrm{2}}(z) &= \frac{z}{1 + e^{- 2 z}}" in formula.latex()
    d = numerical(net, seed=1000)
    x = np.ones((1, 2))
    K = without_numba(formula)(x, x, d.weights)
    swapped = without_numba(sk.ntk(sk.Network.mlp([2, 3, 3, 1], [fast, slow])))
    assert error(swapped(x, x, d.weights), K) > 1e-3


def test_names_of_the_user_serve_both_samples():
    text = sk.ntk(sk.Network.two_layer(I, H, O)).latex(names={"h": r"\eta", "W1": "A"})
    assert r"\left(\eta \cdot \eta'\right)" in text
    assert r"\eta &= A x,\qquad \eta' = A x'" in text


def test_parameterisation_changes_the_formula_by_itself():
    standard, scaled = (
        sk.ntk(sk.Network.two_layer(I, H, O, parameterisation=word)) for word in ("standard", "ntk")
    )
    assert str(standard.expression) == "(h . h')*I + (x . x')*W2*W2.T"
    assert str(scaled.expression) == "((h . h')/H)*I + ((x . x')/(H*I))*W2*W2.T"


def test_untrained_parameters_contribute_nothing():
    x = Input(I)
    h = Parameter("W1", (H, I), trained=False) @ x
    net = sk.Network.build(Parameter("W2", (O, H)) @ h, {"hidden": h})
    assert str(sk.ntk(net).expression) == "(h . h')*I"
    assert sk.pseudo_kernel(net).expression == sp.ZeroMatrix(H, O)
    assert not sk.pseudo_kernel(net, of="input").where


def test_names_do_not_clash_with_those_of_parameters():
    x = Input(2)
    h = Apply("tanh", Parameter("a", (3, 2)) @ x + Parameter("h", (3,), "bias"))
    net = sk.Network.build(Parameter("x", (2, 3)) @ h, {"hidden": h})
    d = numerical(net, seed=1000)
    got = call(without_numba(sk.ntk(net)), d)
    assert error(got, oracle(d, "output", "output")) < TOLERANCE


# ---- the checks can fail


def flipped_slope(formula):
    """Return the formula with the sign of one slope turned around."""
    slope = next(e for e in sp.preorder_traversal(formula.expression) if is_slope(e))
    turned = Elementwise(sp.Lambda(ARGUMENT, -slope.function(ARGUMENT)), slope.argument, "psi")
    return formula.expression.xreplace({slope: turned})


def wrong_slope(formula):
    """Return the formula with tanh in place of its derivative."""
    slope = next(e for e in sp.preorder_traversal(formula.expression) if is_slope(e))
    return formula.expression.xreplace(
        {slope: Elementwise(sp.Lambda(ARGUMENT, sp.tanh(ARGUMENT)), slope.argument, "psi")}
    )


def is_slope(e):
    return isinstance(e, Elementwise) and e.label.endswith("'")


@pytest.mark.parametrize(
    "mutation",
    [
        flipped_slope,
        wrong_slope,
        lambda formula: sp.MatAdd(*formula.expression.args[1:]),
        lambda formula: sp.MatAdd(formula.expression.args[0], -formula.expression.args[1]),
        lambda formula: sp.MatMul(2, formula.expression.args[0]),
    ],
)
def test_mutation_is_caught(mutation):
    net = sk.Network.two_layer(3, 4, 2, activation="tanh")
    d = numerical(net, seed=1000)
    formula = sk.ntk(net)
    want = oracle(d, "output", "output")
    assert error(call(without_numba(formula), d), want) < TOLERANCE
    mutant = dataclasses.replace(formula, expression=mutation(formula))
    assert error(call(without_numba(mutant), d), want) > 1e-3


# ---- refusals


@pytest.fixture
def gated():
    net = shared_net()
    return without_numba(sk.pseudo_kernel(net)), numerical(net, seed=1000)


def test_refuses_what_is_not_a_network_or_node():
    with pytest.raises(InvalidArgument, match="Argument 'net' must be a Network, not int"):
        sk.pseudo_kernel(3)
    with pytest.raises(InvalidArgument, match="no node 'hiden', its nodes are hidden1, hidden"):
        sk.pseudo_kernel(sk.Network.two_layer(2, 3, 1), of="hiden")
    with pytest.raises(InvalidArgument, match="no node 'readout'"):
        sk.ntk(sk.Network.two_layer(2, 3, 1), by="readout")


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"X": np.ones((2, 4))}, ShapeMismatch, r"'X' must be of shape \(2, 3\), not \(2, 4\)"),
        ({"X2": np.ones(3)}, ShapeMismatch, r"'X2' must be 2-dimensional"),
        ({"X": np.full((2, 3), np.nan)}, InvalidArgument, r"'X' must be finite"),
        ({"weights": [1, 2]}, InvalidArgument, r"'weights' must be Weights or a mapping"),
        ({"gates": None}, MissingValues, r"'gates' must hold g, but g is missing"),
        ({"gates2": {}}, MissingValues, r"'gates2' must hold g"),
        ({"gates": {"g": np.ones((3, 3))}}, ShapeMismatch, r"Gate 'g' of argument 'gates' must"),
        ({"gates": {"g": np.ones((2, 3)), "k": 1}}, InvalidArgument, r"must hold g only, not k"),
        ({"X2": None}, InvalidArgument, r"'gates2' must be given together with 'X2'"),
    ],
)
def test_routine_refuses(gated, change, kind, message):
    routine, d = gated
    keys = ("X", "X2", "weights", "gates", "gates2")
    arguments = {key: change.get(key, getattr(d, key)) for key in keys}
    with pytest.raises(kind, match=message):
        routine(**arguments)


def test_routine_refuses_weights(gated):
    routine, d = gated
    for change, kind, message in [
        ({"V": np.ones((3, 3))}, ShapeMismatch, r"Weight 'V' must be of shape \(2, 3\)"),
        ({"V": np.full((2, 3), np.inf)}, InvalidArgument, r"'V' must be finite"),
        ({"U": np.ones(2)}, InvalidArgument, r"must hold W, d, b, V only, not U"),
    ]:
        with pytest.raises(kind, match=message):
            routine(d.X, d.X2, {**d.weights, **change}, d.gates, d.gates2)
    with pytest.raises(MissingValues, match="but W is missing"):
        routine(d.X, d.X2, {n: w for n, w in d.weights.items() if n != "W"}, d.gates, d.gates2)


def test_symbols_without_numbers_are_refused():
    c = sp.Symbol("c", positive=True)
    net = sk.Network.build(Parameter("W", (2, 3), scale=c) @ Input(3))
    d = numerical(sk.Network.build(Parameter("W", (2, 3)) @ Input(3)), seed=1000)
    with pytest.raises(MissingValues, match=r"without a number: c\. Give their values"):
        sk.ntk(net).compile()(d.X, d.X2, d.weights)
    routine = sk.ntk(net).compile(values={c: 3})
    routine.__dict__["_kernel"] = interpreted(routine.source).kernel
    want = 9 * oracle(d, "output", "output")
    assert error(routine(d.X, d.X2, d.weights), want) < TOLERANCE


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (lambda W, x, y: sp.Inverse(W), "The node Inverse in"),
        (lambda W, x, y: W * sp.MatrixSymbol("U", 3, 3), "The node MatrixSymbol in 'U'"),
        (lambda W, x, y: Diagonal(y) * Diagonal(x), "a factor of x' before one of x"),
        (lambda W, x, y: Diagonal(sp.HadamardProduct(x, y)), "mixes both samples"),
        (
            lambda W, x, y: Diagonal(Elementwise(sp.Lambda(ARGUMENT, sp.gamma(ARGUMENT)), x, "g")),
            "The node gamma in",
        ),
    ],
)
def test_what_has_no_translation_is_named(expression, message):
    net = sk.Network.build(Parameter("W", (3, 3)) @ Input(3))
    W, x, y = sp.MatrixSymbol("W", 3, 3), sp.MatrixSymbol("x", 3, 1), sp.MatrixSymbol("x'", 3, 1)
    changed = dataclasses.replace(sk.ntk(net), expression=expression(W, x, y))
    with pytest.raises(Unlowerable, match=message):
        changed.compile()
