"""The neural race: its claims can fail."""

from __future__ import annotations

import pytest
import sympy as sp

from symkernel.derivations import saxe2022_race as race

K, D = race.K, race.D
WRONG = {
    "no depth in the speed-up": lambda: race.speed_up(sp.sqrt(K)),
    "shared layers counted as private": lambda: race.depth_and_sharing(
        race.RATE.subs(race.shared, D - race.shared)
    ),
    "no root of the group": lambda: race.partial_sharing(2 * race.p / K),
    "exponent of another number of shared layers": lambda: race.invariant(1 / K),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_wrong_claim_fails(name):
    holds, found = WRONG[name]()
    assert not holds, found


def test_the_law_is_that_of_the_race():
    d = race.derive()
    assert d.law.name == "neural_race"
    assert len(d.result.invariant1.free_symbols) == 3
