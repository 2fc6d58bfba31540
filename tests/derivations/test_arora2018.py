"""The claims about depth can fail: something wrong in their place is found out."""

from __future__ import annotations

from importlib import import_module

import pytest
import sympy as sp

depth = import_module("symkernel.derivations.arora2018_depth")
WRONG = {
    "one layer too few": lambda: depth.end_to_end_dynamics(
        lambda W, gradient, D: depth.preconditioned(W, gradient, D - 1)
    ),
    "no factor of the depth": lambda: depth.mode_equation(
        depth.u ** (2 - 2 / depth.D) * (depth.s - depth.u)
    ),
    "twice the escape time": lambda: depth.escape_time(
        2 * depth.u0 ** (2 / depth.D - 1) / ((depth.D - 2) * depth.s)
    ),
    "a logarithm": lambda: depth.escape_time(sp.log(1 / depth.u0) / (2 * depth.s)),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_wrong_claim_about_depth_fails(name):
    holds, _ = WRONG[name]()
    assert not holds


def test_no_letter_of_the_printed_law_has_two_meanings_and_none_is_complex():
    law = depth.derive()
    meanings: dict = {}
    for formula in law.formulas:
        assert not formula.plain.has(sp.I)
        for symbol, meaning in formula.where:
            assert meanings.setdefault(symbol, meaning) == meaning
    assert not any(e.has(sp.I) for step in law.steps for e in step.equations)
