"""A user's conjecture is judged by equation, flow and simulation."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel.errors import InvalidArgument, MissingValues
from symkernel.formula import CheckReport

T = sp.Symbol("t", nonnegative=True)
TASK = sk.Task.from_modes([2, 1])
NET = sk.Network.two_layer(inputs=2, hidden=3, outputs=2)
TENTH = sp.Rational(1, 10)
W0 = sk.weights.aligned(NET, TASK, a=[TENTH, 2 * TENTH], b=[TENTH, 3 * TENTH])
PROBLEM = (NET, TASK, W0)
RIGHT = 2 / (1 + 199 * sp.exp(-4 * T))


def verdicts(report: CheckReport) -> dict[int, bool | None]:
    return {rung.number: rung.passed for rung in report.rungs}


def test_a_right_claim_passes_every_rung() -> None:
    sim = sk.simulate(*PROBLEM, learning_rate=1e-3, record=np.linspace(0, 4, 9))
    report = sk.check_claim(RIGHT, ("mode", 0), PROBLEM, against=sim)
    assert report.passed
    assert verdicts(report) == {1: True, 2: True, 4: True, 5: True}
    assert "exactly" in report.rungs[0].figure


@pytest.mark.parametrize(
    ("claim", "failed"),
    [
        (2 / (1 + 199 * sp.exp(-2 * T)), {1, 4, 5}),  # off by a factor 2 in time
        (3 / (1 + 299 * sp.exp(-4 * T)), {1, 4, 5}),  # wrong asymptote
        (2 / (1 + 99 * sp.exp(-4 * T)), {2, 4, 5}),  # wrong initial value, right equation
        (RIGHT * (1 + sp.Rational(1, 10**7)), {1, 2, 4}),  # nearly right
    ],
)
def test_a_wrong_claim_fails_where_it_is_wrong(claim: sp.Expr, failed: set[int]) -> None:
    sim = sk.simulate(*PROBLEM, learning_rate=1e-3, record=np.linspace(0, 4, 9))
    report = sk.check_claim(claim, ("mode", 0), PROBLEM, against=sim)
    assert not report.passed
    assert {k for k, passed in verdicts(report).items() if passed is False} == failed


def test_the_derived_law_is_a_right_claim_for_every_mode() -> None:
    law = sk.derive(*PROBLEM)
    for k in range(2):
        assert sk.check_claim(law.mode(k).output, ("mode", k), PROBLEM).passed


def test_the_loss_is_judged_too() -> None:
    law = sk.derive(*PROBLEM)
    loss = law.mode(0).loss + law.mode(1).loss
    assert sk.check_claim(loss, "loss", PROBLEM).passed
    assert not sk.check_claim(2 * loss, "loss", PROBLEM).passed


def test_without_a_law_the_flow_still_judges() -> None:
    w0 = sk.weights.gaussian(NET, 0.3, seed=1000)
    report = sk.check_claim(RIGHT, ("mode", 0), (NET, TASK, w0))
    assert verdicts(report) == {1: None, 4: False}


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("2*t", ("mode", 0), PROBLEM), InvalidArgument, "must be a SymPy expression"),
        ((sp.Symbol("k") * T, ("mode", 0), PROBLEM), InvalidArgument, "not on k"),
        ((RIGHT, ("mode", 2), PROBLEM), InvalidArgument, "0 <= k < 2"),
        ((RIGHT, "output", PROBLEM), InvalidArgument, "'observable' must be"),
        ((RIGHT, ("mode", 0), 3), InvalidArgument, "'problem' must be"),
        (
            (RIGHT, ("mode", 0), (NET, sk.Task.from_modes([sp.Symbol("s"), 1]), W0)),
            MissingValues,
            "must have numbers",
        ),
    ],
)
def test_bad_input_is_refused(arguments: tuple, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        sk.check_claim(*arguments)
