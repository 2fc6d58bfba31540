"""Task weights follow the read-out: wrong claims fail, and the figure's lines are the law."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from symkernel.derivations import pyle2023_task_weights as pyle

WRONG = {
    "half the alignment": lambda: pyle.first_order_in_the_weights(0.5),
    "two groups": lambda: pyle.lazy_correlations(groups=2),
    "stimulus for response": lambda: pyle.unit_by_unit(transposed=True),
    "fourth power of the alignment": lambda: pyle.follows_the_readout(power=4.0),
    "at the start": lambda: pyle.readouts_align_before_tasks_are_learned(steps=5),
    "late": lambda: pyle.response_groups_come_first(late=20.0),
}
# These train networks at every scale.
LONG = {"fourth power of the alignment", "half the alignment"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in sorted(WRONG)]
)
def test_a_wrong_claim_fails(name):
    holds, _ = WRONG[name]()
    assert not holds


@pytest.mark.parametrize(
    "claim", [pyle.derived, pyle.lazy_correlations, pyle.readouts_align_before_tasks_are_learned]
)
def test_a_claim_holds(claim):
    holds, figure = claim()
    assert holds, figure


def test_lines_of_the_figure_are_the_law():
    lazy, selection = (pyle.predicted([0.0, 1.0], nu) for nu in (pyle.LAZY, pyle.SELECTION))
    assert np.allclose(lazy, [[-1 / 8, 1], [-1 / 8, -1 / 2], [-1 / 8, -1 / 2]])
    assert np.allclose(selection, [[0, 1], [-1 / 2, -1 / 2], [0, -1 / 2]])
    assert sp.Rational(-1, pyle.G) == pyle.SELECTION
