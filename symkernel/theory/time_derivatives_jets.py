r"""Time derivatives of named quantities, order by order, as sums of products of one another.

A quantity has a value, or a rate, or both: sums of products of quantities, where a factor may be a
time derivative itself. The $n$-th derivative of a product is Leibniz's sum of products of lower
ones, so that every derivative is one line in names that were explained before: nothing is written
out, and lines grow as $n^2$ where expressions in the weights grow exponentially.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import sympy as sp

__all__ = ["Jets", "Quantity", "Term", "nonzero"]


@dataclass(frozen=True)
class Term:
    """A constant times factors: quantities, and how often each is differentiated."""

    coefficient: sp.Expr
    factors: tuple[tuple[Quantity, int], ...] = ()

    @classmethod
    def of(cls, coefficient: sp.Expr, *quantities: Quantity) -> Term:
        """Return a constant times quantities."""
        return cls(coefficient, tuple((quantity, 0) for quantity in quantities))

    def times(self, coefficient: sp.Expr, *quantities: Quantity) -> Term:
        """Return the product with a constant and with quantities."""
        return self @ Term.of(coefficient, *quantities)

    def __matmul__(self, other: Term) -> Term:
        return Term(self.coefficient * other.coefficient, self.factors + other.factors)


Terms: TypeAlias = tuple[Term, ...]


def nonzero(terms: Iterable[Term]) -> Terms:
    """Return the terms that are not 0."""
    return tuple(term for term in terms if term.coefficient != 0)


@dataclass(frozen=True, eq=False)
class Quantity:
    """Something that moves, or does not; what it is made of is worked out when it is needed.

    Attributes
    ----------
    name, tex : str
        Identifier of its symbol, and LaTeX.
    make : callable, optional
        () -> its value as a sum of products. Of symbols that stand for themselves None.
    move : callable, optional
        () -> its time derivative, where that does not follow from the value.
    function : (expression, symbol, Quantity), optional
        In place of `make`: a function of another quantity, for which the symbol stands.
    """

    name: str
    tex: str
    make: Callable[[], Terms] | None = None
    move: Callable[[], Terms] | None = None
    function: tuple[sp.Expr, sp.Symbol, Quantity] | None = None

    @cached_property
    def value(self) -> Terms:
        """The value as a sum of products."""
        return () if self.make is None else self.make()

    @cached_property
    def rate(self) -> Terms:
        """The time derivative as a sum of products."""
        return () if self.move is None else self.move()


class Jets:
    """Lines that explain time derivatives, each in terms of those before it.

    Attributes
    ----------
    lines : dict of Symbol to expression
    texts : dict of str to str
        LaTeX of the identifiers.
    """

    def __init__(self) -> None:
        self.lines: dict[sp.Symbol, sp.Expr] = {}
        self.texts: dict[str, str] = {}
        self._known: dict[tuple[Quantity, int], sp.Expr] = {}

    def __call__(self, quantity: Quantity, order: int = 0) -> sp.Expr:
        """Return the symbol of a time derivative, or what it is if that is as short."""
        key = quantity, order
        if key not in self._known:
            expression = self.expression(quantity, order)
            if not (expression.is_Symbol or expression.is_number):
                symbol = self.symbol(quantity, order)
                self.lines[symbol] = expression
                expression = symbol
            self._known[key] = expression
        return self._known[key]

    def expression(self, quantity: Quantity, order: int) -> sp.Expr:
        """Return the right-hand side of the line of a time derivative."""
        if order > 0 and quantity.move is not None:
            return self._leibniz(quantity.rate, order - 1)
        if quantity.function is not None:
            body, symbol, argument = quantity.function
            return body.xreplace({symbol: self(argument)})
        if quantity.make is not None:
            return self._leibniz(quantity.value, order)
        return sp.S.Zero if order else self.symbol(quantity, 0)

    def _leibniz(self, terms: Terms, order: int) -> sp.Expr:
        return sp.Add(
            *(
                sp.Mul(term.coefficient, number, *(self(q, k) for q, k in factors))
                for term in terms
                for number, factors in _spread(term.factors, order)
            )
        )

    def symbol(self, quantity: Quantity, order: int) -> sp.Symbol:
        """Return the name of a time derivative."""
        name = quantity.name if order == 0 else f"{quantity.name}_t{order}"
        power = "" if order == 1 else f"^{{{order}}}"
        self.texts[name] = quantity.tex if order == 0 else rf"\partial_t{power} {quantity.tex}"
        return sp.Symbol(name, real=True)


def _spread(
    factors: tuple[tuple[Quantity, int], ...], order: int
) -> Iterator[tuple[int, tuple[tuple[Quantity, int], ...]]]:
    """Yield the ways in which so many derivatives fall on factors, with their multinomials."""
    if not factors:
        if order == 0:
            yield 1, ()
        return
    (first, before), rest = factors[0], factors[1:]
    for k in range(order + 1) if rest else (order,):
        for number, others in _spread(rest, order - k):
            yield math.comb(order, k) * number, ((first, before + k), *others)
