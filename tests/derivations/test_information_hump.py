"""Claims about information that is not needed can fail."""

from __future__ import annotations

import pytest

from symkernel.derivations import information_hump as hump


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: hump.one_layer_peak(time=1.4),
        lambda: hump.one_layer_peak(height=0.44),
        lambda: hump.rises_and_returns(least=0.5),
        lambda: hump.no_trace_of_pretraining(share=1e-3),
        lambda: hump.forgotten_slowly(factor=1.0),
        lambda: hump.locked_in(least=1.0),
        lambda: hump.a_decoder_finds_it(noise=0.4),
    ],
)
def test_a_wrong_claim_fails(wrong):
    holds, _ = wrong()
    assert not holds
