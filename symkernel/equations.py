r"""Equations on a page: aligned rows, long sums and products broken, long parts given a name."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sympy as sp
from sympy.core.function import AppliedUndef

from symkernel import typesetting

# Letters, as `width` counts them, that fit on a line of a printed page.
LINE = 62.0
# What is shorter than this many letters is not worth a name of its own.
_LONG = 12.0

Equation = tuple[Any, Any]


def block(
    equations: Sequence[Equation],
    where: Sequence[Equation] = (),
    names: Mapping[str, str] | None = None,
    show_time: bool = True,
    told: Told | None = None,
) -> str:
    r"""Return equations as an ``aligned`` block, with abbreviations on "where" lines.

    An equation that is too long for a line is broken at its terms, then at its factors. What
    cannot be broken, a fraction or a root, has its long parts named $c_1, c_2, \dots$: those that
    occur more than once, then the longest.

    Parameters
    ----------
    equations : sequence of (left, right)
    where : sequence of (symbol, meaning)
        Abbreviations that the equations use.
    names : mapping of str to str, optional
        LaTeX for the identifiers of symbols.
    show_time : bool
        Whether functions of time are printed with their argument, as $z(t)$.
    told : Told, optional
        What the blocks before this one explained, where several stand together.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.equations import block
    >>> x, y = sp.symbols("x y")
    >>> assert block([(y, x + 1)]).splitlines()[1] == "y &= x + 1"
    """
    given = Told([*equations, *where]) if told is None else told
    new = [pair for pair in where if pair not in given.abbreviations]
    given.abbreviations += new
    lines: list[str] = []
    waiting = deque([*equations, *new])
    while waiting or given.unexplained:
        left, right = waiting.popleft() if waiting else given.unexplained.popleft()
        line = _Line(left, right, names, show_time)
        line.shorten(given)
        lead = r"\text{where}\quad " if len(lines) == len(equations) else ""
        lines.append(lead + line.latex())
    body = " \\\\\n".join(lines)
    return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"


class Told:
    """What blocks that stand together have explained: nothing is named twice, or told twice.

    Long parts get names that no equation uses otherwise; the same part has the same name.

    Parameters
    ----------
    equations : sequence of (left, right)
        Of all the blocks, with their abbreviations.
    """

    def __init__(self, equations: Sequence[Equation]) -> None:
        self.abbreviations: list[Equation] = []
        parts = [part for pair in equations for part in pair if isinstance(part, sp.Basic)]
        self.taken = {str(symbol) for part in parts for symbol in part.free_symbols}
        self.taken |= {f.func.__name__ for part in parts for f in part.atoms(AppliedUndef)}
        self.given: dict[sp.Expr, sp.Symbol] = {}
        self.unexplained: deque[Equation] = deque()

    def of(self, part: sp.Expr) -> sp.Symbol:
        """Return the name of a part, a new one the first time."""
        if part not in self.given:
            count = len(self.given) + 1
            name = next(f"c_{k}" for k in range(count, 10**9) if f"c_{k}" not in self.taken)
            self.taken.add(name)
            self.given[part] = sp.Symbol(name)
            self.unexplained.append((self.given[part], part))
        return self.given[part]


class _Line:
    """One equation, on as many rows as it takes."""

    def __init__(
        self, left: Any, right: Any, names: Mapping[str, str] | None, show_time: bool
    ) -> None:
        self.printer = typesetting.printer(right, names, show_time)
        self.head = typesetting.latex(left, names, show_time)
        self.room = LINE - width(self.head)
        self._put(right)

    def _put(self, right: Any) -> None:
        self.right, self.rows = right, [""]
        for piece in self._pieces():
            longer = f"{self.rows[-1]} {piece.removeprefix(_TIMES)}" if self.rows[-1] else piece
            if self.rows[-1] and width(longer) > self.room:
                self.rows.append(piece)
            else:
                self.rows[-1] = longer

    def latex(self) -> str:
        """Return the rows of an ``aligned`` block."""
        return f"{self.head} &= " + " \\\\\n&\\quad ".join(self.rows)

    def shorten(self, given: Told) -> None:
        """Name long parts until every row fits."""
        plain = isinstance(self.right, sp.Expr) and not self.right.has(sp.Derivative)
        if self._fits() or not plain or self.right.atoms(sp.MatrixSymbol):
            return
        self._name_repeated(given)
        while not self._fits():
            longest = max(_unbreakable(self.right), key=self._width, default=None)
            if longest is None or self._width(longest) < _LONG:
                break
            self._put(self.right.xreplace({longest: given.of(longest)}))

    def _name_repeated(self, given: Told) -> None:
        meant: dict[sp.Expr, sp.Expr] = {}
        found, (short,) = sp.cse([self.right], sp.numbered_symbols(cls=sp.Dummy), order="none")
        for dummy, repeated in found:
            part = repeated.xreplace(meant)
            meant[dummy] = given.of(part) if self._width(part) >= _LONG else part
        self._put(short.xreplace(meant))

    def _width(self, part: sp.Expr) -> float:
        return width(self.printer.doprint(part))

    def _fits(self) -> bool:
        return all(width(row) <= self.room for row in self.rows)

    def _pieces(self) -> list[str]:
        """Return terms with their signs; the factors of those that are too long."""
        printer, room = self.printer, self.room
        if not isinstance(self.right, (sp.Add, sp.MatAdd, sp.Mul)):
            return [printer.doprint(self.right)]
        if isinstance(self.right, sp.Mul):
            return _broken(printer.factors(self.right), room)
        pieces: list[str] = []
        for text, term in printer.terms(self.right):
            long = isinstance(term, sp.Mul) and width(text) > room
            parts = _broken(printer.factors(term), room) if long else [text]
            pieces += [typesetting.signed(parts[0]) if pieces else parts[0], *parts[1:]]
        return pieces


_TIMES = r"\cdot "


def needed_lines(
    lines: Sequence[tuple[sp.Symbol, sp.Expr]], wanted: Iterable[sp.Symbol]
) -> list[tuple[sp.Symbol, sp.Expr]]:
    """Return the lines (symbol, meaning) that symbols need, directly or through others.

    Each line stands behind those that it needs.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.equations import needed_lines
    >>> a, b, c = sp.symbols("a b c")
    >>> assert needed_lines([(a, sp.S.One), (b, 2 * a), (c, a + b)], [b]) == [(a, 1), (b, 2 * a)]
    """
    needed, found = set(wanted), []
    for symbol, meaning in reversed(lines):
        if symbol in needed:
            needed |= meaning.free_symbols
            found.append((symbol, meaning))
    return found[::-1]


def _broken(factors: Sequence[str], room: float) -> list[str]:
    whole = typesetting.side_by_side(factors)
    return [whole] if width(whole) <= room else [factors[0], *(_TIMES + f for f in factors[1:])]


def _unbreakable(expression: sp.Expr) -> Iterator[sp.Expr]:
    """Yield what stands in fractions, brackets, roots and functions of a sum or product."""
    for term in sp.Add.make_args(expression):
        for factor in sp.Mul.make_args(term):
            base = factor.base if factor.is_Pow else factor
            if isinstance(base, sp.Add) and base is not expression:
                yield base
            elif not isinstance(base, AppliedUndef):
                yield from (arg for arg in base.args if isinstance(arg, sp.Expr) and arg.args)


_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[{}^_]|\S")
# Commands that leave nothing, or next to nothing, on the page.
_SILENT = {r"\left", r"\right", r"\quad", r"\text", r"\operatorname", r"\mathrm", r"\dot", r"\,"}
_FUNCTION = re.compile(r"\\(tanh|sinh|cosh|exp|log|ln|max|min)$")


def width(tex: str) -> float:
    r"""Return about how wide LaTeX mathematics is set, in letters.

    Examples
    --------
    >>> from symkernel.equations import width
    >>> assert width(r"\frac{a + b}{c}") == width("a + b") > width("a_{b}")
    """
    return _width(iter(_TOKEN.findall(tex)))


def _width(tokens: Iterator[str], until: str | None = None) -> float:
    """Consume tokens up to a closing brace; return the width of what they set."""
    total = 0.0
    for token in tokens:
        if token == until:
            break
        if token == r"\frac":
            total += max(_group(tokens), _group(tokens))
        elif token in "^_":
            total += 0.7 * _group(tokens)
        elif token == "{":
            total += _width(tokens, "}")
        elif token in "+-=":
            total += 2.0
        elif _FUNCTION.match(token):
            total += 0.8 * (len(token) - 1)
        elif token not in _SILENT and token != "}":
            total += 1.0
    return total


def _group(tokens: Iterator[str]) -> float:
    """Return the width of an argument: one token, or a group in braces."""
    token = next(tokens, "")
    return _width(tokens, "}") if token == "{" else _width(iter([token] if token else []))
