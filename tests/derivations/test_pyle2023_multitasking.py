"""Shared and separated tasks: wrong claims fail, and so do the ways to read the runs wrongly."""

from __future__ import annotations

import pytest
import sympy as sp

from symkernel.derivations import pyle2023_multitasking as pyle

WRONG = {
    "one in M^(2(K-1)) right": lambda: pyle.shared_from_small_weights(power=2),
    "not shared at all": lambda: pyle.separated_from_large_weights(most=0.05),
    "as separated as without weights": lambda: pyle.separated_by_concurrent_tasks(most=-0.05),
    "the lead of the square": lambda: pyle.lead_of_wide_networks(power=2),
    "more sharing with concurrent tasks first": lambda: pyle.order_of_curricula(reverse=True),
    "below concurrent tasks first": lambda: pyle.interleaved(below="concurrent, single"),
    "learned by then": lambda: pyle.passes_a_stage_where_all_are_alike(steps=1500),
    "nothing at all": lambda: pyle.frozen_kernel_fails(least=0.001),
    "nothing without the direct path": lambda: pyle.needs_direct_path_and_output(least=0.1),
    "symmetries that leave the responses alone": lambda: pyle.symmetry_predicts("output"),
}


@pytest.mark.parametrize(
    "claim", [pyle.shared_from_small_weights, pyle.separated_from_large_weights]
)
def test_the_main_claims_hold(claim):
    holds, figure = claim()
    assert holds, figure


# These train networks of their own, for seconds.
LONG = {
    "nothing at all",
    "as separated as without weights",
    "more sharing with concurrent tasks first",
    "below concurrent tasks first",
    "nothing without the direct path",
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in sorted(WRONG)]
)
def test_a_wrong_claim_fails(name):
    holds, _ = WRONG[name]()
    assert not holds


def test_the_law_is_the_lead_of_all_tasks_at_once():
    law = pyle.derive()
    G, K = law.environment.groups, sp.Symbol("K", integer=True, positive=True)
    rho = sp.Symbol("rho_modes", positive=True)
    assert sp.expand(law.margin(K).expression - (1 - (K - 1) * (1 - rho) / G)) == 0


def test_trap_1_correlation_within_a_stimulus_group_is_no_sharing():
    # All patterns have bias and stimulus in common: alike before anything is learned.
    w0 = pyle.started(0.1, 1000).arrays
    same, to_one, neither, index = pyle.measured(w0, pyle.network())[:4]
    assert min(same, to_one, neither) > 0.3
    assert abs(index) < 0.1


def test_trap_2_all_pairs_are_alike_before_they_are_learned():
    early, late = pyle.results(0.1, "single", 150), pyle.results(0.1)
    assert early[0] > 0.98
    assert late[0] > 0.9
    assert early[3] < 0.05
    assert late[3] > 0.8


@pytest.mark.slow
def test_trap_4_a_linear_output_does_not_collapse():
    linear = pyle.results(0.1, steps=pyle.LINEAR, out="linear")
    assert linear[4] == 1.0
    assert linear[5] > 2 / pyle.M
