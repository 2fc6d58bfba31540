"""A race of three pathways, and of pathways of different depths."""

from __future__ import annotations

import numpy as np
import pytest

import symkernel as sk
from symkernel.ladder_printed import printed_evidence
from symkernel.theory.gated_checks import check_race
from symkernel.theory.neural_race import LAW
from symkernel.theory.pathway_state import PathwayState
from symkernel.theory.race_clock import Race


@pytest.fixture(scope="module")
def three() -> sk.derivation.Derivation:
    task = sk.environments.contexts(2, [2.0, 1.0], inputs=3, outputs=2, seed=1)
    net = sk.pathways.network(3, 4, 2, contexts=2, sharing=[(2, 1), (1, 1), (1, 1)])
    u = [[0.02, 0.05], [0.1, 0.01], [0.03, 0.03]]
    return sk.derive(net, task, sk.pathways.aligned(net, task, u=u, seed=1))


@pytest.mark.slow
def test_three_pathways_are_derived_and_checked(three) -> None:
    assert three.law.name == "neural_race"
    report = sk.check(three, draws=1, precision_draws=3)
    assert report.passed, report
    assert printed_evidence(LAW, three.problem).passed


def test_three_pathways_are_printed_without_a_clash_of_names(three) -> None:
    text = three.latex()
    assert r"\dot{c}_{2}" in text
    assert r"W_{c2,1} W_{c1,1} x" in text
    for letter in ("u_{3} &=", r"W_{b1,0}", r"\zeta"):
        assert letter in text


def test_pathways_of_different_depths_keep_their_digits() -> None:
    """A deep pathway far above its share falls by its own size while the sum hardly moves."""
    race = Race(PathwayState.of(LAW.draw(np.random.default_rng(1004))).flow)
    assert sorted(race.depths) == [2, 3]
    for seed in (7, 8):
        found = check_race(race, np.random.default_rng(seed), 20)
        assert found.passed, found.figure
