"""The symbols that a file declares, the numbers it gives them, and its formulas."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import sympy as sp

from symkernel.problem.formula_nodes import MOST_BITS
from symkernel.problem.formula_text import check_name, parse_formula
from symkernel.problem_file.keys import BOOLEAN, FORMULA, FORMULAS, TEXT, Keys, shown

_ASSUMPTIONS = ("positive", "nonnegative", "real", "integer")
_TIME = "t"


class Symbols:
    """What the names in a file's formulas stand for.

    Attributes
    ----------
    symbols : dict of str to Symbol
    numbers : dict of str to number
        The values that the file gives to some of them.
    latex : dict of str to str
    """

    def __init__(self, keys: Keys) -> None:
        self.symbols: dict[str, sp.Symbol] = {}
        self.numbers: dict[str, sp.Expr] = {}
        self.latex: dict[str, str] = {}
        declared = keys.table("symbols", {})
        for name in declared:
            self._declare(name, declared)
        letters = keys.table("latex", {})
        for name in letters:
            self.latex[name] = letters.take(name, TEXT)
        values = keys.table("values", {})
        for name in values:
            self._give(name, values)

    def _declare(self, name: str, declared: Keys) -> None:
        with declared.blame(name):
            check_name(name)
        if name == _TIME:
            declared.fail(name, "is the flow time; give the symbol another name")
        one = declared.table(name)
        assumptions = {word: one.take(word, BOOLEAN, False) for word in _ASSUMPTIONS}
        latex = one.take("latex", TEXT, None)
        one.done()
        held = {word: True for word, holds in assumptions.items() if holds}
        # Everything here is a real quantity; SymPy adds "real" to what is positive by itself.
        if not {"positive", "nonnegative", "integer"} & held.keys():
            held["real"] = True
        self.symbols[name] = sp.Symbol(name, **held)
        if latex is not None:
            self.latex[name] = latex

    def _give(self, name: str, values: Keys) -> None:
        symbol = self.symbols.get(name)
        if symbol is None:
            values.fail(name, f"is no symbol of [symbols]; these are {self._declared}")
        number = self._parsed(values, name, values.take(name, FORMULA), {})
        for word in _ASSUMPTIONS:
            if getattr(symbol, f"is_{word}") and getattr(number, f"is_{word}") is False:
                values.fail(name, f"must be {word}, as it is declared in [symbols], not {number}")
        self.numbers[name] = number

    @property
    def _declared(self) -> str:
        return ", ".join(self.symbols) or "none"

    def expression(self, keys: Keys, key: str, value: Any) -> sp.Expr:
        """Return a formula in the declared symbols.

        It is read a second time with the numbers of the file in place of symbols: what is small
        with symbols, as x^x^x, need not be so with numbers.
        """
        formula = self._parsed(keys, key, value, self.symbols)
        if self.numbers:
            self._parsed(keys, key, value, {**self.symbols, **self.numbers})
        return formula

    def expressions(self, keys: Keys, key: str, **default: Any) -> Any:
        """Return the formula, or the list of formulas, under a key."""
        value = keys.take(key, FORMULAS, **default)
        if isinstance(value, list):
            return [self.expression(keys, key, one) for one in value]
        return self.expression(keys, key, value)

    def number(self, keys: Keys, key: str, value: Any) -> sp.Expr:
        """Return a formula that has a value, with the file's numbers in place of symbols."""
        return self.function(keys, key, value, {})

    def function(
        self, keys: Keys, key: str, value: Any, variables: dict[str, sp.Symbol]
    ) -> sp.Expr:
        """Return a formula of some variables, with the file's numbers in place of symbols."""
        formula = self._parsed(keys, key, value, {**self.symbols, **self.numbers, **variables})
        missing = sorted(q.name for q in formula.free_symbols - set(variables.values()))
        if missing:
            keys.fail(key, f"needs a value for {', '.join(missing)}; give it in [values]")
        return formula

    def _parsed(self, keys: Keys, key: str, value: Any, names: dict[str, Any]) -> sp.Expr:
        if isinstance(value, Decimal) and not value.is_finite():
            keys.fail(key, f"must be finite, not {shown(value)}")
        if isinstance(value, int) and value.bit_length() > MOST_BITS:
            keys.fail(key, f"must have at most {MOST_BITS} bits")
        with keys.blame(key):
            # Numbers go the same way as text: 0.1 is the fraction 1/10, and within the bounds.
            return parse_formula(str(value), names)
