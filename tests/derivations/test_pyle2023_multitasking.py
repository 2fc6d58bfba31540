"""Shared and separated tasks: wrong claims fail, and so do the ways to read the runs wrongly."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from symkernel.derivations import pyle2023_multitasking as pyle

WRONG = {
    "one in M^(2(K-1)) right": lambda: pyle.shared_from_small_weights(power=2),
    "not shared at all": lambda: pyle.separated_from_large_weights(most=0.05),
    "as separated as without weights": lambda: pyle.separated_by_concurrent_tasks(most=-0.05),
    "half the alignment": lambda: pyle.first_order_in_the_weights(0.5),
    "two groups": lambda: pyle.lazy_correlations(groups=2),
    "stimulus for response": lambda: pyle.unit_by_unit(transposed=True),
    "fourth power of the alignment": lambda: pyle.follows_the_readout(power=4.0),
    "learned by then": lambda: pyle.passes_a_stage_where_all_are_alike(steps=1500),
    "nothing at all": lambda: pyle.frozen_kernel_fails(least=0.001),
    "nothing without the direct path": lambda: pyle.needs_direct_path_and_output(least=0.1),
    "symmetries that leave the responses alone": lambda: pyle.symmetry_predicts("output"),
    "late": lambda: pyle.response_groups_come_first(late=20.0),
}


@pytest.mark.parametrize(
    "claim", [pyle.shared_from_small_weights, pyle.separated_from_large_weights, pyle.derived]
)
def test_the_main_claims_hold(claim):
    holds, figure = claim()
    assert holds, figure


# These train networks of their own, for seconds.
LONG = {
    "as separated as without weights",
    "fourth power of the alignment",
    "nothing without the direct path",
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in sorted(WRONG)]
)
def test_a_wrong_claim_fails(name):
    holds, _ = WRONG[name]()
    assert not holds


def test_trap_1_correlation_within_a_stimulus_group_is_no_sharing():
    # All patterns have bias and stimulus in common: alike before anything is learned.
    w0 = pyle.started(0.1, 1000).arrays
    same, to_one, neither, index = pyle.measured(w0, pyle.network())[:4]
    assert min(same, to_one, neither) > 0.3
    assert abs(index) < 0.1


def test_trap_2_all_pairs_are_alike_before_they_are_learned():
    early, late = pyle.results(0.1, "single", 150), pyle.results(0.1)
    assert early[0] > 0.98
    assert late[0] > 0.95
    assert early[3] < 0.05
    assert late[3] > 0.8


def test_trap_4_a_linear_output_does_not_collapse():
    linear = pyle.results(0.1, steps=pyle.LINEAR, out="linear")
    assert linear[4] == 1.0
    assert linear[5] > 2 / pyle.M


def test_lines_of_the_figure_are_the_law():
    lazy, selection = (pyle.predicted([0.0, 1.0], nu) for nu in (pyle.LAZY, pyle.SELECTION))
    assert np.allclose(lazy, [[-1 / 8, 1], [-1 / 8, -1 / 2], [-1 / 8, -1 / 2]])
    assert np.allclose(selection, [[0, 1], [-1 / 2, -1 / 2], [0, -1 / 2]])
    assert sp.Rational(-1, pyle.G) == pyle.SELECTION
