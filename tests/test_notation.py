"""The table of symbols: one meaning for each identifier."""

from __future__ import annotations

import pytest
import sympy as sp

from symkernel import notation
from symkernel.errors import InvalidArgument


def test_a_symbol_is_entered_once_and_may_be_entered_again_alike():
    before = notation.entry("s")
    assert notation.register(notation.s, before.latex, before.meaning) == notation.s
    assert notation.entry("s") is before


@pytest.mark.parametrize(
    ("symbol", "latex", "meaning", "words"),
    [
        (sp.Symbol("s"), "s", notation.entry("s").meaning, "'s' exists already"),
        (notation.s, r"\sigma", notation.entry("s").meaning, r"'s' is s already"),
        (notation.s, "s", "number of samples", "cannot be s, 'number of samples', too"),
    ],
)
def test_a_second_meaning_is_refused_and_the_first_one_stays(symbol, latex, meaning, words):
    before = notation.entry("s")
    with pytest.raises(InvalidArgument, match=words):
        notation.register(symbol, latex, meaning)
    assert notation.entry("s") is before
