"""What the symbols that are printed stand for: new ones of each step, and those of the result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import sympy as sp
from sympy.core.function import AppliedUndef

from symkernel import notation
from symkernel.formula import Formula, Step

if TYPE_CHECKING:
    from symkernel.derivation import Derivation

Key = tuple[str, bool]
# Each symbol with its meaning.
Glossary = tuple[tuple[Any, str], ...]


def key_of(symbol: Any) -> Key:
    """Return identifier, and whether it is a matrix: a letter may stand for one of each."""
    return symbol.name, isinstance(symbol, sp.MatrixSymbol)


def printed_symbols(expression: Any) -> Iterator[Any]:
    """Yield scalar and matrix symbols as they are printed: without the sizes of matrices."""
    if isinstance(expression, AppliedUndef):
        yield sp.Symbol(expression.func.__name__)
    elif isinstance(expression, (sp.Symbol, sp.MatrixSymbol)):
        yield expression
    elif not isinstance(expression, (sp.Identity, sp.ZeroMatrix)):
        for part in getattr(expression, "args", ()):
            yield from printed_symbols(part)


def glossaries(derivation: Derivation) -> tuple[Glossary, ...]:
    """Return, for each step, what it is the first to print.

    Weights of the network are listed with the problem.
    """
    known = {(p.name, kind) for p in derivation.problem.network.parameters for kind in (0, 1)}
    found = []
    for step in derivation.steps:
        meanings = _meanings([step])
        new = {k: s for k, s in _by_key(step.equations).items() if k in meanings and k not in known}
        known |= new.keys()
        found.append(_sorted((symbol, meanings[key]) for key, symbol in new.items()))
    return tuple(found)


def glossary(derivation: Derivation, formulas: Iterable[Formula]) -> Glossary:
    """Return what the symbols of the formulas stand for."""
    parts = [
        part
        for formula in formulas
        for part in (
            formula.symbol,
            formula.expression,
            *(q for pair in formula.where for q in pair),
        )
    ]
    meanings = _meanings(derivation.steps)
    symbols = _by_key(parts)
    return _sorted((s, meanings[key]) for key, s in symbols.items() if key in meanings)


def _by_key(parts: Iterable[Any]) -> dict[Key, Any]:
    return {key_of(symbol): symbol for part in parts for symbol in printed_symbols(part)}


def _meanings(steps: Sequence[Step]) -> dict[Key, str]:
    """Return the table's meanings, and over them those of steps."""
    return notation.meanings() | {
        key_of(symbol): text for step in steps for symbol, text in step.meanings
    }


def _sorted(pairs: Iterable[tuple[Any, str]]) -> Glossary:
    return tuple(sorted(pairs, key=lambda pair: pair[0].name.casefold()))
