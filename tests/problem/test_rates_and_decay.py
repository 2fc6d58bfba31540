"""Layer-wise learning rates and weight decay as part of the problem."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel.errors import InvalidArgument, NoClosedForm, ShapeMismatch
from symkernel.nodes import Apply, Gate, Input, Parameter
from symkernel.problem.problem import Problem

BAD = [0, 0.0, sp.S.Zero, -1, -0.5, np.nan, np.inf, 1j, sp.I, True, "1", None, [1], np.ones(2)]


def posed(net=None, **loss):
    net = net or sk.Network.two_layer(2, 3, 2)
    task = sk.Task.from_modes([2, 1])
    return Problem(net, task, sk.weights.gaussian(net), sk.SquaredError(**loss))


def named(net):
    return {p.name: p.rate for p in net.parameters}


def test_rates_of_the_layers_and_their_biases():
    net = sk.Network.mlp([2, 3, 3, 1], bias=True, rates=[2, 0.5, 1])
    assert named(net) == {"W1": 2, "b1": 2, "W2": 0.5, "b2": 0.5, "W3": 1, "b3": 1}
    assert set(named(sk.Network.mlp([2, 3, 1])).values()) == {1}
    r = sp.Symbol("r", positive=True)
    net = sk.Network.two_layer(2, 3, 1, rates=np.array([r, 3 * r]))
    assert named(net) == {"W1": r, "W2": 3 * r}
    assert not net.is_numeric
    assert net.free_symbols == {r}


@pytest.mark.parametrize("bad", BAD)
def test_wrong_rates(bad):
    with pytest.raises(InvalidArgument, match="rate"):
        Parameter("W", (2, 2), rate=bad)
    if bad is not None and np.ndim(bad) == 0:
        with pytest.raises(InvalidArgument, match="'rates'"):
            sk.Network.two_layer(2, 3, 1, rates=[1, bad])


def test_a_rate_of_zero_is_told_what_to_do():
    with pytest.raises(InvalidArgument, match="trained=False"):
        Parameter("W", (2, 2), rate=0)


@pytest.mark.parametrize("bad", [[1], [1, 1, 1], 1])
def test_wrong_number_of_rates(bad):
    with pytest.raises(ShapeMismatch, match="2 dense layers"):
        sk.Network.two_layer(2, 3, 1, rates=bad)


@pytest.mark.parametrize("bad", BAD[3:])
def test_wrong_weight_decay(bad):
    with pytest.raises(InvalidArgument, match="'weight_decay'"):
        sk.SquaredError(weight_decay=bad)


@pytest.mark.parametrize("zero", [0, 0.0, sp.S.Zero])
def test_no_decay_is_no_decay(zero):
    assert sk.SquaredError(weight_decay=zero) == sk.SquaredError()


def test_conventions_tell_rates_and_decay():
    text = "\n".join(posed().conventions)
    assert "decay" not in text
    assert "times" not in text
    net = sk.Network.two_layer(2, 3, 2, bias=True, rates=[1, sp.Rational(1, 2)])
    text = "\n".join(posed(net, weight_decay=0.25).conventions)
    assert "learning rate times 1 for W1, b1; times 1/2 for W2, b2" in text
    assert "0.25/2 x the sum of squares of all trained parameters" in text


def test_values_for_the_symbols_of_rates_decay_and_scales():
    n = sp.Symbol("n", integer=True, positive=True)
    r, k, g, c = sp.symbols("r k gamma_0 c", positive=True)
    x = Input(n)
    hidden = Gate("m", Apply("tanh", Parameter("W1", (3, n), scale=c, rate=r) @ x))
    bias = Parameter("b", (2,), "bias", trained=False)
    out = Parameter("W2", (2, 3)) @ hidden + bias + Parameter("W3", (2, n)) @ x[0:n]
    net = sk.Network.build(out[0:2], {"hidden": hidden}, "mine").with_values({n: 4.0, r: 3, c: 2})
    assert net.is_numeric
    assert [p.shape for p in net.parameters] == [(3, 4), (2, 3), (2,), (2, 4)]
    assert (net.parameters[0].rate, net.parameters[0].scale, net.parameterisation) == (3, 2, "mine")
    assert [p.trained for p in net.parameters] == [True, True, False, True]
    assert isinstance(net.nodes["hidden"], Gate)
    problem = posed(sk.Network.two_layer(2, 3, 2), factor=k, weight_decay=g)
    assert not problem.is_numeric
    loss = problem.with_values({k: 1, g: 0.5}).loss
    assert (loss.factor, loss.weight_decay) == (1, 0.5)


def test_symbols_of_the_laws_are_refused():
    net = sk.Network.two_layer(2, 3, 2, rates=[sp.Symbol("s", positive=True), 1])
    task, w0 = sk.Task.from_modes([2, 1]), sk.weights.from_arrays
    with pytest.raises(InvalidArgument, match="another name"):
        Problem(net, task, w0(sk.Network.two_layer(2, 3, 2), [np.ones((3, 2)), np.ones((2, 3))]))
    with pytest.raises(InvalidArgument, match="another name"):
        posed(weight_decay=sp.Symbol("d", positive=True))


def refusal(net, **loss):
    task = sk.Task.from_modes([2, 1])
    w0 = sk.weights.aligned(sk.Network.two_layer(2, 3, 2), task, a=0.1, b=0.2)
    with pytest.raises(NoClosedForm) as caught:
        sk.derive(net, task, w0, loss=sk.SquaredError(**loss), law="aligned_modes")
    return {v.assumption: v for v in caught.value.verdicts if not v.holds}


def test_laws_refuse_decay():
    verdicts = refusal(sk.Network.two_layer(2, 3, 2), weight_decay=0.3)
    assert verdicts["no weight decay"].distance == pytest.approx(0.3)
    assert set(refusal(sk.Network.two_layer(2, 3, 2, rates=[1, 2]), weight_decay=0.3)) == set(
        verdicts
    )


def test_claims_of_the_loss_refuse_decay():
    problem = posed(weight_decay=0.1)
    with pytest.raises(InvalidArgument, match="weight decay"):
        sk.check_claim(sp.exp(-sp.Symbol("t", nonnegative=True)), "loss", problem)
