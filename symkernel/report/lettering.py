"""Letters that both the problem and its law use: in print the problem's own carry a tilde."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sympy as sp

from symkernel import notation, typesetting
from symkernel.report.glossary import printed_symbols
from symkernel.report.modes import modes_of
from symkernel.report.prose import letters

if TYPE_CHECKING:
    from symkernel.derivation import Derivation

Names = Mapping[Any, str]


@dataclass(frozen=True)
class Lettering:
    r"""LaTeX of symbols, the problem's own apart from those of the law.

    Attributes
    ----------
    law : mapping
        For the derivation and its result.
    problem : mapping
        For what the user gave: strengths, amplitudes, durations. Here even a symbol that IS the
        law's carries the tilde, because it stands for a value of its own.
    marked : tuple of str
        The letters with a tilde.
    """

    law: Names
    problem: Names
    marked: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What the tildes are for, in LaTeX; empty if there are none."""
        if not self.marked:
            return ""
        found = ", ".join(f"${letter}$" for letter in self.marked)
        return (
            f"A tilde marks symbols of the problem whose letter the law uses for something else: "
            f"{found}."
        )


def lettering(derivation: Derivation, names: Names | None = None) -> Lettering:
    r"""Return the LaTeX of symbols with which nothing printed is ambiguous.

    Parameters
    ----------
    derivation : Derivation
    names : mapping, optional
        LaTeX by identifier, which is that of the law's symbol and of the problem's; by symbol it is
        that symbol's alone, which then carries no mark.

    Examples
    --------
    >>> import sympy as sp, symkernel as sk
    >>> from symkernel.report.lettering import lettering
    >>> s, a = sp.symbols("s a", positive=True)
    >>> task = sk.Task.from_modes(s)
    >>> net = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
    >>> d = sk.derive(net, task, sk.weights.aligned(net, task, a=a, b=a))
    >>> assert lettering(d).marked == (r"\tilde{a}",)  # a(t) is an amplitude; s is the law's s
    """
    given = dict(names or {})
    own = derivation.problem.free_symbols - given.keys()
    if not own:
        return Lettering(given, given, ())
    printed = set(_printed(derivation))
    used = {typesetting.latex(symbol, given) for symbol in printed - (own - _of_the_table(own))}
    used |= set(_spoken(derivation, given))
    marks = {
        symbol: _marked(letter)
        for symbol in sorted(own, key=lambda symbol: symbol.name)
        if (letter := typesetting.latex(symbol, given)) in used
        and not _stands_for_itself(derivation, symbol)
    }
    of_law = {symbol: mark for symbol, mark in marks.items() if symbol not in _of_the_table(own)}
    return Lettering(given | of_law, given | marks, tuple(marks.values()))


def _marked(letter: str) -> str:
    head, *rest = letter.partition("_")
    return rf"\tilde{{{head}}}{''.join(rest)}"


def _of_the_table(symbols: set[sp.Symbol]) -> set[sp.Symbol]:
    """Return those symbols that are the law's own: SymPy cannot tell them apart."""
    return symbols & {entry.symbol for entry in notation.entries()}


def _printed(derivation: Derivation) -> Iterator[Any]:
    """Yield every symbol of steps and formulas."""
    formulas = list(derivation.formulas)
    if derivation.derived.learning_time is not None:
        formulas.append(derivation.derived.learning_time(None, 0, False))
    pairs = [pair for f in formulas for pair in f.pairs]
    equations = [equation for step in derivation.steps for equation in step.equations]
    for part in (*equations, *(side for pair in pairs for side in pair)):
        yield from printed_symbols(part)


def _spoken(derivation: Derivation, names: Names) -> Iterator[str]:
    """Yield the letters in the words of the steps, as they are set."""
    for step in derivation.steps:
        for identifier in letters(f"{step.title}. {step.reason}"):
            entry = notation.entry(identifier)
            yield typesetting.latex(entry.symbol if entry else sp.Symbol(identifier), names)


def _stands_for_itself(derivation: Derivation, symbol: sp.Symbol) -> bool:
    """Whether a symbol is given for the law's symbol of that name, everywhere and there alone."""
    problem = derivation.problem
    modes = modes_of(problem)
    if modes is None or symbol.name not in modes.head or len(problem.curriculum.phases) > 1:
        return False
    columns = dict(zip(modes.head, zip(*modes.rows, strict=True), strict=True))
    elsewhere = problem.network.free_symbols | problem.loss.free_symbols
    elsewhere |= {
        q
        for name, column in columns.items()
        if name != symbol.name
        for value in column
        for q in getattr(value, "free_symbols", ())
    }
    return set(columns[symbol.name]) == {symbol} and symbol not in elsewhere
