"""Gradient flow and mode flow derived from network and loss, judged by scalar derivatives."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel import notation
from symkernel.errors import NoClosedForm
from symkernel.nodes import Apply, Input, Parameter
from symkernel.problem.problem import Problem
from symkernel.theory.gradient_flow import GradientFlow, check_conserved, check_gradients
from symkernel.theory.mode_flow import check_projection, mode_flow
from symkernel.theory.words import Words

KAPPA = sp.Symbol("kappa", positive=True)
S, D, W = notation.s, notation.d, sp.Symbol("w", real=True)


def system(net, factor=sp.S.Half) -> GradientFlow:
    return GradientFlow(net, sk.SquaredError(factor))


def two_layer(**options):
    return sk.Network.two_layer(2, 3, 2, **options)


def skip():
    x = Input(2)
    hidden = Parameter("W1", (3, 2)) @ x
    return sk.Network.build(Parameter("W2", (2, 3)) @ hidden + Parameter("D", (2, 2)) @ x)


def shared():
    x, W = Input(2), Parameter("W", (2, 2), scale=sp.Rational(1, 3))
    return sk.Network.build(W @ (W @ x))


def half_trained():
    return sk.Network.build(
        Parameter("W2", (2, 3)) @ (Parameter("W1", (3, 2), trained=False) @ Input(2))
    )


NETWORKS = {
    "two layers": two_layer,
    "two layers, NTK": lambda: two_layer(parameterisation="ntk"),
    "one layer": lambda: sk.Network.mlp([2, 3], "linear"),
    "three layers": lambda: sk.Network.mlp([2, 3, 2, 2], "linear"),
    "skip": skip,
    "shared": shared,
    "half trained": half_trained,
}


def scalar_flow(net, factor):
    """Return minus the gradients of the loss on symbolic samples, entry by entry."""
    X = sp.Matrix([[1, 2], [-1, 3], [2, 5]])
    Y = sp.Matrix(3, int(net.outputs), lambda i, j: 1 + 3 * i - 2 * j)
    values = {
        p.name: sp.Matrix(*p.shape, lambda i, j, p=p: sp.Symbol(f"{p.name}_{i}_{j}", real=True))
        for p in net.parameters
    }

    def run(node, x):
        if isinstance(node, Input):
            return x
        if hasattr(node, "parameter"):
            return node.parameter.scale * values[node.parameter.name] * run(node.child, x)
        return sum((run(child, x) for child in node.children), sp.zeros(int(node.size), 1))

    loss = sum(
        (Y[n, :].T - run(net.output, X[n, :].T)).dot(Y[n, :].T - run(net.output, X[n, :].T))
        for n in range(3)
    )
    loss = sp.expand(factor * loss / 3)
    moments = {"Sxx": X.T * X / 3, "Syx": Y.T * X / 3, "Syy": Y.T * Y / 3}
    rates = {
        name: value.applyfunc(lambda entry: -sp.diff(loss, entry)) for name, value in values.items()
    }
    return {**values, **moments}, rates


@pytest.mark.parametrize("factor", [sp.S.Half, KAPPA], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_matrix_flow_is_minus_the_gradient_of_the_loss_on_samples(name: str, factor) -> None:
    """The loss is written out over samples here; the derivation knows moments only."""
    net = NETWORKS[name]()
    values, rates = scalar_flow(net, factor)
    flow = system(net, factor).flow
    assert set(flow) == {p.name for p in net.parameters if p.trained}
    for weight, body in flow.items():
        assert (body.explicit(values) - rates[weight]).expand() == sp.zeros(*rates[weight].shape)


def test_conserved_quantities_of_a_chain_are_found() -> None:
    """W2' W2 - W1 W1' for two layers, one for each hidden layer of three, none for one layer."""
    (found,) = system(two_layer()).conserved
    expected = Words.of("W1", "W1'") - Words.of("W2'", "W2")
    assert found in (expected, -expected)
    assert len(system(NETWORKS["three layers"]()).conserved) == 2
    assert system(NETWORKS["one layer"]()).conserved == ()
    # What is not trained is kept trivially, and is all that is kept.
    kept = system(half_trained()).conserved
    assert {word for body in kept for word in body.terms} == {
        (("W1", False), ("W1", True)),
        (("W1", True), ("W1", False)),
    }


def test_with_equal_sizes_conserved_quantities_are_neither_lost_nor_invented() -> None:
    """Where all sizes agree, more combinations are tried; still only one is conserved."""
    assert len(system(sk.Network.two_layer(2, 2, 2)).conserved) == 1


def test_ntk_parameterisation_changes_what_is_conserved_by_its_factors_only() -> None:
    net = sk.Network.two_layer(4, 9, 2, parameterisation="ntk")
    (found,) = system(net).conserved
    assert check_conserved(system(net)).passed
    assert set(found.terms) == {(("W1", False), ("W1", True)), (("W2", True), ("W2", False))}


@pytest.mark.parametrize("name", ["two layers", "two layers, NTK", "one layer", "three layers"])
def test_gradient_check_of_the_derivation_passes(name: str) -> None:
    net = NETWORKS[name]()
    assert check_gradients(sk.SquaredError(KAPPA), net).passed


def test_gradient_check_notices_a_wrong_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign, a factor, a transposition: each in one term of the flow."""
    right = GradientFlow(two_layer(), sk.SquaredError()).flow
    word, coefficient = next(iter(right["W1"].terms.items()))
    turned = tuple((name, not flipped) for name, flipped in reversed(word))
    for wrong in (
        {**right["W1"].terms, word: -coefficient},
        {**right["W1"].terms, word: 2 * coefficient},
        {turned if w == word else w: c for w, c in right["W1"].terms.items()},
        {w: c for w, c in right["W1"].terms.items() if w != word},
    ):
        flow = {**right, "W1": Words(wrong)}
        monkeypatch.setattr(GradientFlow, "flow", property(lambda self, flow=flow: flow))
        try:
            evidence = check_gradients(sk.SquaredError(), two_layer())
        except sp.ShapeError:
            continue
        assert not evidence.passed


def test_conservation_check_notices_what_moves() -> None:
    wrong = Words.of("W1", "W1'") + Words.of("W2'", "W2")
    broken = system(two_layer())
    broken.__dict__["conserved"] = (wrong,)
    assert check_conserved(broken).figure == "a conserved quantity moves"
    broken.__dict__["conserved"] = ()
    assert not check_conserved(broken).passed


def test_steps_show_flow_and_conserved_quantity() -> None:
    flow, kept = system(two_layer(), KAPPA).steps()
    assert [e.lhs.args[0].name for e in flow.equations] == ["W1", "W2"]
    assert flow.check().passed
    assert kept.check().passed
    assert "10 entries" in flow.check().figure
    assert kept.equations[0].rhs == sp.ZeroMatrix(3, 3)


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (sk.Network.two_layer(2, 3, 2, "tanh"), "the activation tanh"),
        (sk.Network.two_layer(2, 3, 2, bias=True), "the bias 'b1'"),
        (sk.Network.build(Parameter("d", (2,), "diagonal") @ Input(2)), "the diagonal weight 'd'"),
        (sk.Network.build(Parameter("W", (2, 2)) @ Input(4)[0:2]), "a slice of the units"),
    ],
)
def test_other_nodes_are_refused_by_name(net, words: str) -> None:
    with pytest.raises(NoClosedForm, match=words):
        _ = system(net).output


# --- one mode -----------------------------------------------------------------------------------


def problem(net, factor=sp.S.Half, inputs=2, outputs=2) -> Problem:
    task = sk.Task(np.eye(inputs), np.eye(inputs)[:, :outputs])
    return Problem(net, task, sk.weights.gaussian(net), sk.SquaredError(factor))


@pytest.mark.parametrize("factor", [sp.S.Half, sp.Integer(3), KAPPA], ids=str)
def test_mode_equation_carries_the_factor_of_the_loss(factor) -> None:
    modes = mode_flow(problem(two_layer(), factor))
    assert sp.expand(modes.sigma - 2 * factor * S) == 0
    assert sp.expand(modes.delta - 2 * factor * D) == 0
    assert modes.scale == 1
    assert sp.expand(modes.drive - 2 * factor * (S - D * W)) == 0
    assert check_projection(modes).passed


@pytest.mark.parametrize("factor", [sp.S.Half, KAPPA], ids=str)
def test_mode_equation_carries_the_factors_of_the_parameterisation(factor) -> None:
    r"""f = c W2 W1 x, c = 1/sqrt(I H): sigma = 2 kappa c s, delta = 2 kappa c^2 d."""
    net = sk.Network.two_layer(2, 8, 2, parameterisation="ntk")
    modes = mode_flow(problem(net, factor))
    c = sp.Rational(1, 4)
    assert modes.scale == c
    assert sp.expand(modes.sigma - 2 * factor * c * S) == 0
    assert sp.expand(modes.delta - 2 * factor * c**2 * D) == 0
    assert check_projection(modes).passed


def test_projection_check_notices_a_wrong_drive() -> None:
    modes = mode_flow(problem(two_layer()))
    for wrong in (
        {"sigma": 2 * modes.sigma},
        {"delta": -modes.delta},
        {"sigma": modes.delta, "delta": modes.sigma},
        {"delta": modes.delta * 2},
    ):
        assert not check_projection(dataclasses.replace(modes, **wrong)).passed


@pytest.mark.parametrize(
    "net",
    [
        sk.Network.mlp([2, 2], "linear"),
        sk.Network.mlp([2, 3, 3, 2], "linear"),
        skip(),
        sk.Network.build(
            Parameter("W", (2, 2)) @ (Parameter("V", (2, 2), trained=False) @ Input(2))
        ),
        shared(),
        sk.Network.two_layer(2, 3, 2, "tanh"),
        sk.Network.two_layer(2, 3, 2, bias=True),
        sk.Network.build(
            Apply("tanh", Parameter("W2", (2, 3)) @ (Parameter("W1", (3, 2)) @ Input(2)))
        ),
    ],
    ids=["one layer", "three layers", "skip", "fixed", "shared", "tanh", "bias", "tanh outside"],
)  # fmt: skip
def test_networks_that_are_no_product_of_two_have_no_mode_equation(net) -> None:
    with pytest.raises(NoClosedForm):
        mode_flow(problem(net))
