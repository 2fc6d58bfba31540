r"""Formulas as text: a recursive-descent parser, which evaluates nothing.

The grammar is

    sum     = product {("+" | "-") product}
    product = signed {("*" | "/") signed}
    signed  = "-" signed | power
    power   = atom [("^" | "**") signed]
    atom    = number | name | function "(" sum {"," sum} ")" | "(" sum ")"
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import sympy as sp

from symkernel.errors import InvalidArgument
from symkernel.problem.formula_nodes import CONSTANTS, FUNCTIONS, Nodes, Part

MOST_CHARACTERS = 2000
MOST_DEPTH = 40
MOST_DIGITS = 60
MOST_DECADES = 300
MOST_ARGUMENTS = 20

_TOKEN = re.compile(
    r"(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z][A-Za-z0-9_]*)"
    r"|(?P<sign>\*\*|[-+*/^(),])"
)
_SPACE = " \t\r\n"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_MINUS_ONE = Part(sp.Integer(-1), -1.0)
# As SymPy prints them.
_SPELLINGS = {"Abs": "abs", "Max": "max", "Min": "min"}
RESERVED = frozenset({*CONSTANTS, *FUNCTIONS, *_SPELLINGS})


def parse_formula(text: str, names: Mapping[str, sp.Expr] | None = None) -> sp.Expr:
    r"""Return the SymPy expression that a text stands for; nothing in it is evaluated as code.

    Parameters
    ----------
    text : str
        Numbers (``2``, ``0.05``, ``1e-3``), names, ``+ - * /``, ``^`` or ``**``, parentheses,
        the constants ``pi`` and ``e``, and the functions ``exp log sqrt sin cos tan sinh cosh
        tanh erf abs max min``. Powers are taken from the right and bind closer than a minus
        before them, ``-2^2 = -4``; a product needs its ``*``.
    names : mapping of str to Symbol or number, optional
        What the names stand for: SymPy symbols of real quantities, or real numbers.

    Returns
    -------
    sympy.Expr
        With exact numbers: ``0.1`` is the rational number 1/10.

    Raises
    ------
    InvalidArgument
        For anything else, with the position and what is allowed there; and beyond the limits.

    Notes
    -----
    Limits: 2000 characters, 40 levels of nesting, 1000 nodes, 60 digits and 300 decades in a
    number, 4096 bits in numerator and denominator of any number that comes out, 1000 for those of
    numbers in exponents (of other bases than e), 20 arguments of max and min; degree 100 as a
    polynomial or fraction, numerator and denominator together, 20 for sums in one symbol and 4 if
    they have irrational numbers; doubles (below 1e308) for every part without symbols. Such parts
    must be real, and may not cancel to less than 1e-12 of their terms unless to an exact number.

    ``erf`` is the error function itself; the activation of that name is erf(z / sqrt 2).

    Examples
    --------
    >>> import sympy as sp, symkernel as sk
    >>> s, t = sp.Symbol("s", positive=True), sp.Symbol("t", nonnegative=True)
    >>> claim = sk.parse_formula("s/(1 + 0.5*exp(-2*s*t))", {"s": s, "t": t})
    >>> assert claim == s / (1 + sp.exp(-2 * s * t) / 2)
    """
    if not isinstance(text, str):
        raise InvalidArgument(
            f"Argument 'text' must be a formula as text, not {type(text).__name__}."
        )
    if len(text) > MOST_CHARACTERS:
        raise InvalidArgument(
            f"Argument 'text' must have at most {MOST_CHARACTERS} characters, not {len(text)}."
        )
    return _Parser(text, _known(names)).formula()


def _known(names: Mapping[str, sp.Expr] | None) -> dict[str, Part]:
    if not isinstance(names or {}, Mapping):
        raise InvalidArgument(
            f"Argument 'names' must map names to SymPy symbols or numbers, not {names!r}."
        )
    known = {name: Part(node, float(node)) for name, node in CONSTANTS.items()}
    for name, meaning in (names or {}).items():
        check_name(name)
        real = isinstance(meaning, sp.Expr) and meaning.is_real
        if not real or not (meaning.is_Symbol or meaning.is_number):
            raise InvalidArgument(
                f"Argument 'names' must map {name!r} to a SymPy symbol that is declared real or "
                f"positive, or to a real SymPy number, not to {meaning!r}."
            )
        known[name] = Part(meaning, None if meaning.is_Symbol else _double(name, meaning))
    return known


def _double(name: str, number: sp.Expr) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise InvalidArgument(
            f"Argument 'names' must map {name!r} to a number below 1e308, the largest double."
        )
    return value


def check_name(name: object) -> None:
    """Refuse what cannot be the name of a symbol in formulas."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or "__" in name:
        raise InvalidArgument(
            f"A symbol's name must be a letter followed by letters, digits and single "
            f"underscores (ASCII), not {name!r}."
        )
    if name in RESERVED or keyword.iskeyword(name):
        raise InvalidArgument(
            f"A symbol must not be called {name!r}, which has a meaning already; give it another "
            f"name, such as '{name}_0'."
        )


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    place: int


class _Parser:
    def __init__(self, text: str, known: Mapping[str, Part]) -> None:
        self.text, self.known = text, known
        self.nodes = Nodes(self._fail)
        self.end, self.depth = 0, 0
        self.token = self._next()

    # ---- tokens

    def _next(self) -> _Token:
        place = self.end
        while place < len(self.text) and self.text[place] in _SPACE:
            place += 1
        if place == len(self.text):
            return _Token("end", "", place)
        found = _TOKEN.match(self.text, place)
        if found is None:
            self._fail(place, f"{self.text[place]!r} has no meaning in a formula; {self._allowed}")
        self.end = found.end()
        return _Token(str(found.lastgroup), found.group(), place)

    def _take(self, *signs: str) -> _Token | None:
        """Go past one of these signs if it is next."""
        token = self.token
        if token.kind != "sign" or token.text not in signs:
            return None
        self.token = self._next()
        return token

    @property
    def _allowed(self) -> str:
        names = ", ".join(sorted(self.known))
        return (
            f"allowed are numbers, the names {names}, + - * / ^ ( ) and the functions "
            f"{', '.join(FUNCTIONS)}"
        )

    def _fail(self, place: int, reason: str) -> NoReturn:
        near = self.text[place : place + 20]
        where = f"before {near!r}" if near else "at its end"
        raise InvalidArgument(
            f"The formula cannot be read at position {place + 1}, {where}: {reason}."
        )

    # ---- grammar

    def formula(self) -> sp.Expr:
        part = self._sum()
        if self.token.kind != "end":
            self._fail(
                self.token.place,
                f"{self.token.text!r} cannot stand here; an operator + - * / ^ is missing before "
                f"it, or a parenthesis is not matched",
            )
        return part.node

    def _sum(self) -> Part:
        place = self.token.place
        terms = [self._product()]
        while sign := self._take("+", "-"):
            term = self._product()
            terms.append(self._negated(term, sign.place) if sign.text == "-" else term)
        if len(terms) == 1:
            return terms[0]
        return self.nodes.add(terms, place)

    def _product(self) -> Part:
        place = self.token.place
        factors = [self._signed()]
        while sign := self._take("*", "/"):
            factor = self._signed()
            if sign.text == "/":
                factor = self.nodes.power(factor, _MINUS_ONE, sign.place)
            factors.append(factor)
        if len(factors) == 1:
            return factors[0]
        return self.nodes.multiply(factors, place)

    def _signed(self) -> Part:
        self._deeper()
        sign = self._take("-")
        part = self._negated(self._signed(), sign.place) if sign else self._power()
        self.depth -= 1
        return part

    def _negated(self, part: Part, place: int) -> Part:
        return self.nodes.multiply([_MINUS_ONE, part], place)

    def _power(self) -> Part:
        base = self._atom()
        sign = self._take("^", "**")
        return self.nodes.power(base, self._signed(), sign.place) if sign else base

    def _atom(self) -> Part:
        token = self.token
        if token.kind == "end":
            self._fail(token.place, "a number, a name or a parenthesis is missing")
        if self._take("("):
            return self._closed(self._sum())
        if token.kind == "sign":
            self._fail(token.place, f"{token.text!r} cannot stand here; {self._allowed}")
        self.token = self._next()
        return self._number(token) if token.kind == "number" else self._named(token)

    def _closed(self, part: Part) -> Part:
        if not self._take(")"):
            self._fail(self.token.place, "an operator or the closing parenthesis ')' is missing")
        return part

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > MOST_DEPTH:
            self._fail(self.token.place, f"it is nested more than {MOST_DEPTH} levels deep")

    def _number(self, token: _Token) -> Part:
        digits, _, power = token.text.lower().partition("e")
        whole, _, decimals = digits.partition(".")
        # Before int(), which takes long for long texts.
        if len(whole + decimals) > MOST_DIGITS or len(power) > 5:
            self._fail(token.place, f"a number must have at most {MOST_DIGITS} digits")
        decades = int(power or 0) - len(decimals)
        if abs(decades) > MOST_DECADES:
            self._fail(
                token.place, f"a number must lie within 1e-{MOST_DECADES} and 1e{MOST_DECADES}"
            )
        node = sp.Integer(int(whole + decimals)) * sp.Integer(10) ** decades
        return self.nodes.number(node, token.place)

    def _named(self, token: _Token) -> Part:
        name = _SPELLINGS.get(token.text, token.text)
        called = self.token.kind == "sign" and self.token.text == "("
        if name in FUNCTIONS:
            if not called:
                self._fail(token.place, f"the function {name!r} needs its argument in parentheses")
            return self._call(name, token.place)
        if token.text not in self.known:
            kind = "function" if called else "name"
            self._fail(token.place, f"the {kind} {token.text!r} is not known; {self._allowed}")
        if called:
            self._fail(self.token.place, f"{token.text!r} is no function; write * for a product")
        return self.known[token.text]

    def _call(self, name: str, place: int) -> Part:
        function = FUNCTIONS[name]
        self._take("(")
        arguments = [self._sum()]
        while self._take(","):
            arguments.append(self._sum())
        self._closed(arguments[0])
        if len(arguments) > (MOST_ARGUMENTS if function.many else 1):
            most = f"at most {MOST_ARGUMENTS} arguments" if function.many else "one argument"
            self._fail(place, f"{name!r} takes {most}, not {len(arguments)}")
        return self.nodes.apply(name, arguments, place)
