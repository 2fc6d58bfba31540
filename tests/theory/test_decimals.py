"""Decimal loss factors and rates: every step of every law is proven all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

import symkernel as sk
from symkernel.nodes import Gate, Input, Parameter, Sum
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.problem import Problem

LAWS = {law.name: law for law in sk.catalogue()}
RATES = [0.9, 0.3]


def assert_proven(law, problem):
    assert all(v.holds for v in law.test(problem)), "\n".join(map(str, law.test(problem)))
    failed = [step.title for step in law.derive(problem).steps() if not step.check().passed]
    assert not failed


@pytest.mark.parametrize("factor", [0.1, 0.7])
@pytest.mark.parametrize("name", LAWS)
def test_every_step_is_proven_with_a_decimal_loss_factor(name, factor):
    law = LAWS[name]
    assert_proven(law, replace(law.example(), loss=sk.SquaredError(factor)))


def gated(*, scale=1.0, race=False):
    """Two contexts, a shared first layer and private read-outs; for a race, a private pathway."""
    x = Input(2)
    shared = Parameter("W1", (3, 2), rate=RATES[0], scale=scale) @ x
    terms = []
    for k in range(2):
        parts = [Parameter(f"W2_{k}", (2, 3), rate=RATES[1]) @ shared]
        if race:
            own = Parameter(f"V1_{k}", (3, 2), rate=RATES[0]) @ x
            parts.append(Parameter(f"V2_{k}", (2, 3), rate=RATES[1]) @ own)
        terms.append(Gate(f"context{k}", Sum(tuple(parts)) if race else parts[0]))
    net = sk.Network.build(Sum(tuple(terms)))
    task = sk.environments.contexts(2, [2.0, 1.0])
    start = sk.pathways.aligned(net, task, u=0.1)
    return Problem(net, Curriculum.of(task), start, sk.SquaredError(0.7))


@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_gated_networks_take_decimal_rates_and_scales(scale):
    assert_proven(LAWS["gated_modes"], gated(scale=scale))
    assert_proven(LAWS["neural_race"], gated(scale=scale, race=True))


@pytest.mark.parametrize("name", ["aligned_modes", "gram_diagonal", "single_unit", "reduced_flow"])
def test_two_layers_take_decimal_rates(name):
    hidden = 1 if name == "single_unit" else 3
    net = sk.Network.two_layer(2, hidden, 2, rates=RATES)
    task = sk.Task.from_modes([2.0, 1.0])
    start = sk.weights.aligned(net, task, a=[0.1], b=[0.1])
    assert_proven(LAWS[name], Problem(net, Curriculum.of(task), start, sk.SquaredError(0.1)))


def test_a_diagonal_network_takes_decimal_rates():
    w = Parameter("u", (2,), "diagonal", rate=RATES[0])
    v = Parameter("v", (2,), "diagonal", rate=RATES[1], scale=0.7)
    net = sk.Network.build(Parameter("ones", (1, 2), trained=False) @ (v @ (w @ Input(2))))
    task = sk.Task.from_moments([[1.0, 0.0], [0.0, 0.5]], [[2.0, -1.0]], [[6.0]])
    start = sk.weights.from_arrays(net, {"u": [0.3, 0.1], "v": [0.2, 0.2], "ones": [[1, 1]]})
    problem = Problem(net, Curriculum.of(task), start, sk.SquaredError(0.1))
    assert_proven(LAWS["diagonal_network"], problem)
