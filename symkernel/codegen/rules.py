r"""Named, bounded rewriting rules: from the formula a reader wants to the one a machine needs.

Each rule states why it is applied, is proven to be an identity when it is applied, and reports the
number of operations before and after. `simplify` is not used: it turns stable forms back into
overflowing ones (sympy/sympy#23923).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sympy as sp

from symkernel.errors import SymkernelError


@dataclass(frozen=True)
class Rewriting:
    """The record of one applied rule."""

    rule: str
    reason: str
    operations_before: int
    operations_after: int

    def __str__(self) -> str:
        return (
            f"{self.rule}: {self.operations_before} -> {self.operations_after} operations; "
            f"{self.reason}"
        )


def numerator_of(
    expression: sp.Expr, relations: Sequence[tuple[sp.Symbol, sp.Expr]] = ()
) -> sp.Expr:
    """Return the expanded numerator of a rational expression, reduced by values of squares."""
    numerator = sp.expand(sp.fraction(sp.cancel(sp.together(expression)))[0])
    for root, square in relations:
        numerator = sp.expand(sp.rem(numerator, root**2 - square, root))
    return numerator


def record(
    rule: str,
    reason: str,
    before: sp.Expr,
    after: sp.Expr,
    meaning: Mapping[sp.Symbol, sp.Expr] | None = None,
    relations: Sequence[tuple[sp.Symbol, sp.Expr]] = (),
) -> Rewriting:
    """Prove that a rule was an identity, and return its record.

    Parameters
    ----------
    before, after : sympy.Expr
        The expression on both sides of the rule.
    meaning : mapping, optional
        New names in `after` in terms of the symbols of `before`.
    relations : sequence of (symbol, value of its square)

    Raises
    ------
    SymkernelError
        If the rule changed the value.
    """
    written = after
    for symbol, value in reversed(list((meaning or {}).items())):
        written = written.subs(symbol, value)
    if numerator_of(before - written, relations) != 0:
        raise SymkernelError(f"The rewriting rule '{rule}' changed the value of {before}.")
    return Rewriting(rule, reason, sp.count_ops(before), sp.count_ops(after))


def scale_clock(fraction: sp.Expr, clock: sp.Symbol, rate: sp.Symbol, tau: sp.Symbol) -> sp.Expr:
    r"""Replace the clock T by $R\tau$ and cancel R, so that R = 0 is no singularity any more."""
    top, bottom = sp.fraction(fraction.subs(clock, rate * tau))
    return sp.expand(sp.cancel(top / rate)) / sp.expand(sp.cancel(bottom / rate))


def name_pairs(
    expression: sp.Expr,
    pair: tuple[sp.Symbol, sp.Symbol],
    product: sp.Symbol,
    linear: Mapping[sp.Symbol, sp.Expr],
) -> sp.Expr:
    """Replace products x y by their name, then what is left of x and y by named combinations."""
    x, y = pair
    total = sp.S.Zero
    for (i, j), coefficient in sp.Poly(sp.expand(expression), x, y).terms():
        k = min(i, j)
        total += coefficient * product**k * x ** (i - k) * y ** (j - k)
    return sp.expand(total.subs(linear, simultaneous=True))


def use_relation(expression: sp.Expr, monomial: sp.Expr, value: sp.Expr) -> sp.Expr:
    """Replace a monomial by its value in every term that it divides."""
    total = sp.S.Zero
    for term in sp.Add.make_args(sp.expand(expression)):
        quotient = sp.cancel(term / monomial)
        divides = sp.fraction(quotient)[1].is_number
        total += quotient * value if divides else term
    return sp.expand(total)


def collect_terms(expression: sp.Expr, symbols: Sequence[sp.Symbol]) -> sp.Expr:
    """Return the polynomial collected in some symbols, each coefficient factored."""
    return sp.collect(sp.expand(expression), symbols, func=sp.factor)


def operations(expressions: Sequence[sp.Expr]) -> int:
    """Return the number of operations of several expressions together."""
    return sum(sp.count_ops(e) for e in expressions)


