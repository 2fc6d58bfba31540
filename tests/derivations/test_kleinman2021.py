"""The three claims about what training keeps: wrong ones fail."""

from __future__ import annotations

import pytest

from symkernel.derivations import kleinman2021 as kleinman


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: kleinman.rises_and_falls(correlation=0.3),
        lambda: kleinman.starts_at_its_highest(correlation=0.5),
        lambda: kleinman.starts_at_its_highest(scale=False),
        lambda: kleinman.nothing_is_left(share=0.01),
        lambda: kleinman.remembered(factor=1.0),
        lambda: kleinman.remembered(strength=2.0),
    ],
)
def test_a_wrong_claim_fails(wrong):
    holds, _ = wrong()
    assert not holds


@pytest.mark.parametrize(
    "claim", ["rises_and_falls", "starts_at_its_highest", "nothing_is_left", "remembered"]
)
def test_what_needs_no_training_holds_in_every_run(claim):
    holds, found = getattr(kleinman, claim)()
    assert holds, found


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong",
    [
        lambda: kleinman.noise_prunes(power=0.5),
        lambda: kleinman.noise_prunes(power=1.2),
        lambda: kleinman.ratio_counts(cells=((0.025, 1), (0.05, 1))),
        lambda: kleinman.ratio_counts(cells=((0.05, 2), (0.05, 3))),
        lambda: kleinman.less_with_width(power=-1.0),
        lambda: kleinman.less_with_width(power=0.0),
    ],
)
def test_a_wrong_claim_about_many_networks_fails(wrong):
    holds, _ = wrong()
    assert not holds
