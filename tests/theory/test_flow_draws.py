"""Every law on problems drawn from its class, against the integrated flow of all weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from symkernel.errors import OutsideValidity
from symkernel.formula import Law
from symkernel.theory import LAWS
from tests.theory.flow_draws import BOUND, follow, followed

# Pieces of seconds, so that a parallel run is even and a failure costs little.
CHUNKS = [range(first, first + 125) for first in range(1000, 3000, 125)]
GATED = next(law for law in LAWS if law.name == "gated_modes")
DEEP = next(law for law in LAWS if law.name == "deep_modes")

# Laws of leading order are judged by the linearised network, in their own tests.
EXACT = [law for law in LAWS if law.asymptotics is None]

each_law = pytest.mark.parametrize("law", EXACT, ids=lambda law: law.name)


@each_law
def test_some_draws_follow_the_flow(law: Law) -> None:
    # Races take seconds each.
    follow(law, range(2 if law.name == "neural_race" else 5), 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", CHUNKS, ids=lambda seeds: f"from {seeds[0]}")
@each_law
def test_two_thousand_draws_follow_the_flow(law: Law, seeds: range) -> None:
    follow(law, seeds)


# Problems that were refused: modes of strength 0 whose basis small weights have to choose, and a
# direction hardly there beside one that grows fast.
ONCE_REFUSED = {
    "gram_diagonal": [1189, 1419, 1557, 2464, 2697],
    "aligned_modes": [1239, 1272, 1355, 1376, 1584, 1833, 1959, 2661, 2741],
    "lambda_balanced": [1919],
}


def test_sides_that_are_zero_settle_bases_without_overflow() -> None:
    assert max(followed(GATED, [1023]).errors.values()) <= BOUND


@pytest.mark.parametrize("name", ONCE_REFUSED)
def test_draws_that_were_refused_follow_the_flow(name: str) -> None:
    law = next(law for law in LAWS if law.name == name)
    found = followed(law, ONCE_REFUSED[name])
    assert not found.refused
    assert max(found.errors.values()) <= BOUND, found


# --- the judge can fail a law ---------------------------------------------------------------------


def off_by(factor: float) -> Law:
    """Return the deep law with all weights a little too large."""

    def trajectory(problem, times):
        true = DEEP.trajectory(problem, times)
        larger = {name: w * factor for name, w in true.weights.items()}
        return replace(true, fields={**true.fields, "weights": lambda: larger})

    return replace(DEEP, trajectory=trajectory)


def test_a_law_that_is_off_is_named_with_its_seed() -> None:
    with pytest.raises(AssertionError, match=r"deep_modes, errors by seed: \{3: "):
        follow(off_by(1 + 1e-6), [3])
    assert followed(off_by(1 + 1e-12), [3]).errors[3] < BOUND
    with pytest.raises(AssertionError, match="nan"):
        follow(off_by(np.nan), [3])


def test_a_law_that_covers_few_of_its_draws_fails() -> None:
    def refuses(problem, times):
        raise OutsideValidity("not today")

    def breaks(problem, times):
        raise ZeroDivisionError

    held = iter([DEEP.trajectory, refuses, DEEP.trajectory])
    sometimes = replace(DEEP, trajectory=lambda *given: next(held)(*given))
    with pytest.raises(AssertionError, match=r"refused: \[2\]"):
        follow(sometimes, [1, 2, 3])
    with pytest.raises(ZeroDivisionError) as caught:
        follow(replace(DEEP, trajectory=breaks), [7])
    assert caught.value.__notes__ == ["law deep_modes, seed 7"]
