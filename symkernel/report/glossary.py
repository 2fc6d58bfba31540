"""What the symbols that are printed stand for: new ones of each step, and those of the result."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sympy as sp
from sympy.core.function import AppliedUndef

from symkernel import notation
from symkernel.codegen.matrix_nodes import Elementwise
from symkernel.formula import Formula, Step
from symkernel.report.prose import letters

if TYPE_CHECKING:
    from symkernel.derivation import Derivation

# A function of time whose identifier in the table is that of its initial value.
_OF_TIME = {"w": "w_t"}

# Letters of texts whose identifier in the table is another one.
_IN_TEXT = {"q": "q_out", **_OF_TIME}
_NUMBERED = re.compile(r"(\D*)(\d*)(.*)", re.DOTALL)

Key = tuple[str, bool]
# Each symbol with its meaning.
Glossary = tuple[tuple[Any, str], ...]


def key_of(symbol: Any) -> Key:
    """Return identifier, and whether it is a matrix: a letter may stand for one of each."""
    return symbol.name, isinstance(symbol, sp.MatrixSymbol)


def printed_symbols(expression: Any) -> Iterator[Any]:
    """Yield scalar and matrix symbols as they are printed: without the sizes of matrices."""
    if isinstance(expression, AppliedUndef):
        name = expression.func.__name__
        known = notation.entry(_OF_TIME.get(name, name))
        yield known.symbol if known is not None else sp.Symbol(name)
    elif isinstance(expression, (sp.Symbol, sp.MatrixSymbol)):
        yield expression
    elif isinstance(expression, Elementwise):
        # Printed by the function's name: the variable of its expression does not appear.
        yield from printed_symbols(expression.args[1])
    elif not isinstance(expression, (sp.Identity, sp.ZeroMatrix)):
        for part in getattr(expression, "args", ()):
            yield from printed_symbols(part)


def glossaries(derivation: Derivation) -> tuple[Glossary, ...]:
    """Return, for each step, what it is the first to print.

    Weights of the network are listed with the problem.
    """
    known = {(p.name, kind) for p in derivation.problem.network.parameters for kind in (0, 1)}
    return new_symbols(derivation.steps, _own(derivation), known)


def new_symbols(
    steps: Sequence[Step], own: set[sp.Symbol], explained: Iterable[tuple[str, int]] = ()
) -> tuple[Glossary, ...]:
    """Return, for each step, what it is the first to print, but for symbols of one's own."""
    known, found = set(explained), []
    for step in steps:
        meanings = _meanings([step])
        printed = _by_key(own, step.equations)
        new = {k: s for k, s in printed.items() if k in meanings and k not in known}
        known |= new.keys()
        found.append(_sorted((symbol, meanings[key]) for key, symbol in new.items()))
    return tuple(found)


def glossary(derivation: Derivation, formulas: Iterable[Formula]) -> Glossary:
    """Return what the symbols of the formulas stand for."""
    return glossary_of(formulas, derivation.steps, dict.fromkeys(_own(derivation), ""))


def glossary_of(
    formulas: Iterable[Formula], steps: Sequence[Step], own: Mapping[sp.Symbol, str]
) -> Glossary:
    """Return the same for formulas and steps of any object; its own symbols where they are told."""
    parts = [side for formula in formulas for pair in formula.pairs for side in pair]
    meanings = _meanings(steps)
    symbols = _by_key(set(own), parts)
    told = [(s, meanings[key]) for key, s in symbols.items() if key in meanings]
    return _sorted([*((s, text) for s, text in own.items() if text), *told])


def spoken(derivation: Derivation, texts: Iterable[str]) -> Glossary:
    """Return what the letters in texts stand for, as far as the table or a step says it."""
    # In an order of its own: letters that differ in case alone are equal to the sort below.
    named = sorted({_IN_TEXT.get(name, name) for text in texts for name in letters(text)})
    meanings = _meanings(derivation.steps)
    told = {symbol.name: symbol for step in derivation.steps for symbol, _ in step.meanings}
    told |= {entry.symbol.name: entry.symbol for entry in notation.entries()}
    return _sorted(
        (told[name], meanings[name, False]) for name in named if (name, False) in meanings
    )


def _own(derivation: Derivation) -> set[sp.Symbol]:
    """Return the problem's own symbols, which the law cannot explain."""
    return derivation.problem.free_symbols - {entry.symbol for entry in notation.entries()}


def _by_key(own: set[sp.Symbol], parts: Iterable[Any]) -> dict[Key, Any]:
    """Return what is printed, without symbols of one's own."""
    printed = (symbol for part in parts for symbol in printed_symbols(part))
    return {key_of(symbol): symbol for symbol in printed if symbol not in own}


def _meanings(steps: Sequence[Step]) -> dict[Key, str]:
    """Return the table's meanings, and over them those of steps."""
    return notation.meanings() | {
        key_of(symbol): text for step in steps for symbol, text in step.meanings
    }


def _sorted(pairs: Iterable[tuple[Any, str]]) -> Glossary:
    return tuple(sorted(pairs, key=lambda pair: _place(pair[0].name)))


def _place(identifier: str) -> str:
    """Return what identifiers are sorted by: what is "the same at t = 0" stands behind the same."""
    return _NUMBERED.sub(r"\1\3\2", identifier.casefold(), count=1)
