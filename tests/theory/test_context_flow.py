"""Flow of gated networks: what is derived, and that its checks can fail."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel.errors import NoClosedForm
from symkernel.nodes import Gate, Input, Parameter, Sum
from symkernel.problem.contexts import contexts_of
from symkernel.problem.pathways import pathways_of
from symkernel.theory.context_flow import ContextFlow, check_outputs, joined
from symkernel.theory.pathway_flow import check_amplitudes, pathway_flow, rate_of
from symkernel.theory.words import Words

HALF = sk.SquaredError()
CASES = [
    (2, (2, 1), False, ((1, sp.Rational(1, 2)),)),
    (4, (2, 1), False, ((sp.Rational(1, 2), sp.Rational(1, 4)),)),
    (3, (1, 3, 3), True, ((sp.Rational(1, 3), 1, 1),)),
    (2, [(2, 1), (1, 1)], False, ((1, sp.Rational(1, 2)), (sp.Rational(1, 2),) * 2)),
    (2, [(1, 1), (1, 1)], False, ((sp.Rational(1, 2),) * 2,) * 2),
]


def flow_of(K, sharing, same=False, loss=HALF):
    task = sk.environments.contexts(K, [2.0, 1.0], same_targets=same)
    net = sk.pathways.network(2, 3, 2, contexts=K, sharing=sharing)
    return pathway_flow(net, loss, contexts_of(net, task))


@pytest.mark.parametrize(("K", "sharing", "same", "shares"), CASES)
def test_shares_are_read_off_the_flow(K, sharing, same, shares):
    flow = flow_of(K, sharing, same)
    assert flow.shares == shares
    steps = (*flow.system.steps(), flow.projection_step(), flow.balance_step())
    for step in steps:
        evidence = step.check()
        assert evidence.passed, f"{step.title}: {evidence.figure}"


def test_what_is_conserved_joins_the_contexts_that_share():
    shared, grouped = flow_of(4, (4, 1)).system, flow_of(4, (2, 1)).system
    (one,) = shared.conserved
    want = Words.of("W1", "W1'")
    for k in range(4):
        want = want - Words.of(f"W2_{k}'", f"W2_{k}")
    assert one.terms == want.terms
    assert len(grouped.conserved) == 2
    assert len(flow_of(2, (1, 1, 2), True).system.conserved) == 3


def test_loss_factor_scale_and_rates_enter_by_themselves():
    kappa = sp.Symbol("kappa", positive=True)
    x = Input(2)
    shared = Parameter("W1", (3, 2), scale=sp.Rational(1, 3), rate=5)
    parts = [Gate(f"context{k}", Parameter(f"W2_{k}", (2, 3), rate=7) @ (shared @ x))
             for k in range(2)]  # fmt: skip
    net = sk.Network.build(Sum(tuple(parts)))
    contexts = contexts_of(net, sk.environments.contexts(2, [2.0, 1.0]))
    flow = pathway_flow(net, sk.SquaredError(kappa), contexts)
    assert flow.shares == ((5, sp.Rational(7, 2)),)
    assert flow.push == 2 * kappa
    assert flow.pathways[0].scale == sp.Rational(1, 3)
    assert check_amplitudes(flow).passed


def test_the_rate_in_symbols():
    K, p, D, shared = sp.symbols("K p D D_s", positive=True)
    assert sp.expand(rate_of(1, 1, (p / K, 1 / K)) - 2 * sp.sqrt(p) / K) == 0
    for depth in (2, 3, 5):
        for count in range(depth + 1):
            shares = (sp.S.One,) * count + (1 / K,) * (depth - count)
            law = (D * K ** (-(D - shared) / D)).subs({D: depth, shared: count})
            assert sp.powsimp(rate_of(sp.S.One, sp.S.One, shares) / law) == 1


def test_unlike_weights_of_a_layer_are_refused():
    x = Input(2)
    parts = [Gate(f"context{k}", Parameter(f"W2_{k}", (2, 3), rate=k + 1)
                  @ (Parameter(f"W1_{k}", (3, 2)) @ x)) for k in range(2)]  # fmt: skip
    net = sk.Network.build(Sum(tuple(parts)))
    contexts = contexts_of(net, sk.environments.contexts(2, [2.0, 1.0]))
    with pytest.raises(NoClosedForm, match="do not learn alike"):
        pathway_flow(net, HALF, contexts)


def test_groups_of_contexts():
    assert joined([("a", "a", "b"), ("c", "d", "d")]) == [[0, 1, 2]]
    assert joined([("a", "a", "b", "b")]) == [[0, 1], [2, 3]]
    assert joined([("a", "b", "c")]) == [[0], [1], [2]]


# --- the checks can fail


def sabotaged(system, name):
    """The system with one word of one flow doubled."""
    flow = dict(system.flow)
    word, coefficient = next(iter(flow[name].terms.items()))
    flow[name] = flow[name] + Words({word: coefficient})
    wrong = replace(system)
    wrong.__dict__["flow"] = flow
    return wrong


def test_a_wrong_gradient_is_noticed():
    system = flow_of(2, (2, 1)).system
    wrong = sabotaged(system, "W1")
    passed = [step.check().passed for step in wrong.steps()]
    assert passed[0]
    assert not passed[1]
    found = replace(flow_of(2, (2, 1)), system=wrong)
    assert not check_amplitudes(found).passed


def test_a_forgotten_gate_is_noticed():
    net = sk.pathways.network(2, 3, 2, contexts=2)
    gates = ({"context0": 1.0, "context1": 0.0}, {"context0": 0.0, "context1": 1.0})
    system = ContextFlow(net, HALF, gates, pathways_of(net, gates))
    always = {("W1", "W2_0"): sp.S.One}
    with mock.patch("symkernel.theory.context_flow.open_paths", return_value=always):
        assert not check_outputs(system).passed


def test_a_quantity_that_moves_is_noticed():
    system = flow_of(2, (2, 1)).system
    wrong = replace(system)
    wrong.__dict__["conserved"] = (Words.of("W1", "W1'") - Words.of("W2_0'", "W2_0"),)
    assert not wrong.steps()[2].check().passed
    wrong.__dict__["conserved"] = ()
    assert not wrong.steps()[2].check().passed


def test_wrong_shares_are_noticed():
    flow = flow_of(2, (2, 1))
    assert not check_amplitudes(replace(flow, shares=((sp.S.One, sp.S.One),))).passed
    assert np.prod([float(c) for c in flow.shares[0]]) == 0.5
