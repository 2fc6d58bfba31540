"""Nodes of formulas from text, each bounded before and after SymPy builds it.

What SymPy works out by itself (powers of numbers, signs of constants and of polynomials) can then
neither hang nor fill memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, NoReturn

import sympy as sp

MOST_NODES = 1000
MOST_BITS = 4096
MOST_EXPONENT = 1000
MOST_DEGREE = 100
# In one symbol SymPy asks for the signs of sums, by way of their roots: with rational numbers, and
# with irrational ones.
MOST_DEGREE_IN_ONE = 20
MOST_IRRATIONAL_DEGREE = 4
# Of constants that cancel to less than this share of their terms SymPy would seek out whether
# they are zero, by minimal polynomials of any degree.
_CANCELLED = 1e-12
_NOT_REAL = frozenset({sp.zoo, sp.nan, sp.oo, -sp.oo, sp.I})
CONSTANTS: Mapping[str, sp.Expr] = {"pi": sp.pi, "e": sp.E}


class Function(NamedTuple):
    """A function of SymPy, and of doubles."""

    node: Callable[..., sp.Expr]
    value: Callable[..., float]
    many: bool = False


def _absolute(argument: sp.Expr) -> sp.Expr:
    if argument.is_nonnegative:
        return argument
    # Left to itself SymPy expands products in search of a sign.
    return -argument if argument.is_nonpositive else sp.Abs(argument, evaluate=False)


FUNCTIONS: Mapping[str, Function] = {
    "exp": Function(sp.exp, math.exp),
    "log": Function(sp.log, math.log),
    "sqrt": Function(sp.sqrt, math.sqrt),
    "sin": Function(sp.sin, math.sin),
    "cos": Function(sp.cos, math.cos),
    "tan": Function(sp.tan, math.tan),
    "sinh": Function(sp.sinh, math.sinh),
    "cosh": Function(sp.cosh, math.cosh),
    "tanh": Function(sp.tanh, math.tanh),
    "erf": Function(sp.erf, math.erf),
    "abs": Function(_absolute, abs),
    "max": Function(sp.Max, lambda *values: max(values), many=True),
    "min": Function(sp.Min, lambda *values: min(values), many=True),
}


class Part(NamedTuple):
    """A node, and its value as a double if it has no symbols."""

    node: sp.Expr
    value: float | None = None


class Nodes:
    """Builds nodes of real, finite value; `fail` is told the place and the reason if it cannot."""

    def __init__(self, fail: Callable[[int, str], NoReturn]) -> None:
        self._fail = fail

    def number(self, number: sp.Rational, place: int) -> Part:
        """Return an exact number."""
        return self._built(place, lambda: number)

    def add(self, terms: Sequence[Part], place: int) -> Part:
        """Return a sum."""
        values = _values(terms)
        if values is None:
            return self._built(place, lambda: sp.Add(*(t.node for t in terms)))
        total = self._float(place, lambda: math.fsum(values))
        scale = sum(map(abs, values))
        return self._built(place, lambda: sp.Add(*(t.node for t in terms)), total, scale)

    def multiply(self, factors: Sequence[Part], place: int) -> Part:
        """Return a product."""
        values = _values(factors)
        total = None if values is None else math.prod(values)
        return self._built(place, lambda: sp.Mul(*(f.node for f in factors)), total)

    def power(self, base: Part, exponent: Part, place: int) -> Part:
        """Return a power."""
        self._check_exponent(base.node, exponent.node, place)
        x, n = base.value, exponent.value
        value = None
        if x is not None and n is not None:
            if x < 0 and not exponent.node.is_Integer:
                self._fail(place, "a negative number has no real power that is not whole")
            value = self._float(place, lambda: math.pow(x, n))
        return self._built(place, lambda: sp.Pow(base.node, exponent.node), value)

    def apply(self, name: str, arguments: Sequence[Part], place: int) -> Part:
        """Return a function of its arguments."""
        function, values = FUNCTIONS[name], _values(arguments)
        nodes = [argument.node for argument in arguments]
        if name == "exp":
            self._check_exponent(sp.E, nodes[0], place)
        if name == "log" and nodes[0].is_nonpositive:
            self._fail(place, "this logarithm has no finite real value")
        if function.many:
            # SymPy compares them by their differences.
            self._check_degree(sp.Add(*nodes, evaluate=False), place)
        if function.many and values is not None:
            self._check_distinct(arguments, place)
        if values is None:
            return self._built(place, lambda: function.node(*nodes))
        value = self._float(place, lambda: function.value(*values))
        scale = None
        if name in ("sin", "cos", "tan"):
            scale = abs(values[0])
        elif name == "log" and not nodes[0].is_Rational:
            scale = 1.0
        return self._built(place, lambda: function.node(*nodes), value, scale)

    def _check_distinct(self, arguments: Sequence[Part], place: int) -> None:
        """Refuse constants that SymPy could not put in order."""
        ordered = sorted(arguments, key=lambda argument: argument.value or 0.0)
        for one, two in pairwise(ordered):
            low, high = one.value or 0.0, two.value or 0.0
            exact = one.node == two.node or (one.node.is_Rational and two.node.is_Rational)
            if not exact and high - low <= _CANCELLED * max(abs(low), abs(high)):
                self._fail(place, f"{one.node} and {two.node} are too close to tell them apart")

    def _check_exponent(self, base: sp.Expr, exponent: sp.Expr, place: int) -> None:
        """Refuse powers of numbers that could not be written down."""
        numbers = exponent.atoms(sp.Rational)
        # Powers of e stay as they are, unless there is a logarithm to cancel them.
        if base.has(sp.log) or exponent.has(sp.log):
            inner = (q.as_base_exp()[1] for q in base.atoms(sp.Pow, sp.exp))
            numbers = numbers.union(*(power.atoms(sp.Rational) for power in inner))
        elif base is sp.E or isinstance(base, sp.exp):
            return
        if base.is_Rational and exponent.is_Rational:
            # The denominator too: roots of prime factors are sought in powers of them.
            bits = _bits(base) * _largest(exponent)
            if abs(base) != 1 and bits > MOST_BITS:
                self._fail(place, f"this power of a number would have more than {MOST_BITS} bits")
        if max(map(_largest, numbers), default=0) > MOST_EXPONENT:
            self._fail(
                place,
                f"numbers in an exponent must not exceed {MOST_EXPONENT}, numerator and "
                f"denominator (three decimals)",
            )

    def _float(self, place: int, value: Callable[[], float]) -> float:
        try:
            return value()
        except OverflowError:
            self._fail(place, "this number is too large for a double (1e308)")
        except (ValueError, ZeroDivisionError):
            self._fail(place, "this has no finite real value")

    def _built(
        self,
        place: int,
        build: Callable[[], sp.Expr],
        value: float | None = None,
        scale: float | None = None,
    ) -> Part:
        """Return a node that is within the bounds; `scale` is what its value is to be held to."""
        try:
            node = build()
        except ValueError:
            self._fail(place, "SymPy cannot tell which of these constants is larger")
        self._check_node(node, place)
        if node.free_symbols:
            return Part(node)
        if node is sp.S.Zero:
            return Part(node, 0.0)
        if node.is_Rational:
            value, scale = float(node), None
        elif value is None:
            # The symbols have cancelled, in one step from bounded parts.
            value, scale = float(node), 1.0
        if not math.isfinite(value):
            self._fail(place, "this number is too large for a double (1e308)")
        if value == 0 or (scale is not None and abs(value) <= _CANCELLED * scale):
            self._fail(
                place,
                "this constant cancels or underflows to zero within rounding; write 0, or the "
                "number that is meant",
            )
        return Part(node, value)

    def _check_node(self, node: sp.Expr, place: int) -> None:
        for count, part in enumerate(sp.preorder_traversal(node), 1):
            if count > MOST_NODES:
                self._fail(place, f"the formula has more than {MOST_NODES} nodes")
            if part in _NOT_REAL:
                self._fail(place, "this has no finite real value")
            if part.is_Rational and _bits(part) > MOST_BITS:
                self._fail(place, f"a number here has more than {MOST_BITS} bits")
            if part.is_Pow:
                self._check_exponent(part.base, part.exp, place)
        self._check_degree(node, place)

    def _check_degree(self, node: sp.Expr, place: int) -> None:
        degree = sum(_degrees(node))
        if degree > MOST_DEGREE:
            self._fail(place, f"as a polynomial or a fraction this has a degree over {MOST_DEGREE}")
        free = node.free_symbols
        if degree <= MOST_IRRATIONAL_DEGREE or not node.is_Add or len(free) != 1:
            return
        if not node.is_rational_function(*free):
            return
        irrational = _has_irrational_numbers(node)
        most = MOST_IRRATIONAL_DEGREE if irrational else MOST_DEGREE_IN_ONE
        if degree > most:
            kind = "irrational" if irrational else "rational"
            self._fail(
                place,
                f"sums (and max, min) of fractions of one symbol with {kind} numbers must not have "
                f"a degree over {most}, numerator and denominator together",
            )


def _values(parts: Sequence[Part]) -> list[float] | None:
    """Return the values of parts if all of them have one."""
    values = [part.value for part in parts if part.value is not None]
    return values if len(values) == len(parts) else None


def _has_irrational_numbers(node: sp.Expr) -> bool:
    return any(
        not part.free_symbols and not part.is_Rational for part in sp.preorder_traversal(node)
    )


def _degrees(node: sp.Expr) -> tuple[int, int]:
    """Return bounds of the degrees of numerator and denominator over a common denominator."""
    if not node.free_symbols:
        return 0, 0
    if node.is_Pow and node.exp.is_Integer:
        above, below = _degrees(node.base)
        power = abs(int(node.exp))
        return (power * above, power * below) if node.exp > 0 else (power * below, power * above)
    if not node.is_Add and not node.is_Mul:
        return 1, 0
    parts = [_degrees(part) for part in node.args]
    below = sum(part[1] for part in parts)
    if node.is_Mul:
        return sum(part[0] for part in parts), below
    return max(part[0] + below - part[1] for part in parts), below


def _largest(number: sp.Rational) -> int:
    return max(abs(int(number.p)), int(number.q))


def _bits(number: sp.Rational) -> int:
    return _largest(number).bit_length()
