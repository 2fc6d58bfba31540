r"""Named, bounded rewriting rules: from the formula a reader wants to the one a machine needs.

Each application is recorded with its reason and the number of operations before and after, and can
be proven to be an identity: `check` proves them all. `simplify` is not used: it turns stable forms
back into overflowing ones (sympy/sympy#23923).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sympy as sp

from symkernel.codegen.functions import sigmoid, softplus
from symkernel.formula import Evidence
from symkernel.identities import vanishes


@dataclass(frozen=True)
class Rewriting:
    """The record of one applied rule, with what its proof needs.

    Attributes
    ----------
    rule, reason : str
    before, after : sympy.Expr
        The expression on both sides of the rule.
    meaning : tuple of (symbol, expression)
        New names in `after` in terms of the symbols of `before`.
    relations : tuple of (symbol, value of its square)
    """

    rule: str
    reason: str
    before: sp.Expr
    after: sp.Expr
    meaning: tuple[tuple[sp.Symbol, sp.Expr], ...] = ()
    relations: tuple[tuple[sp.Symbol, sp.Expr], ...] = ()

    @property
    def operations_before(self) -> int:
        """Operations before the rule."""
        return int(sp.count_ops(self.before))

    @property
    def operations_after(self) -> int:
        """Operations after the rule."""
        return int(sp.count_ops(self.after))

    def __str__(self) -> str:
        return (
            f"{self.rule}: {self.operations_before} -> {self.operations_after} operations; "
            f"{self.reason}"
        )

    def prove(self) -> Evidence:
        """Reduce the difference of the two sides to 0, exactly."""
        written = self.after
        for symbol, value in reversed(self.meaning):
            written = written.subs(symbol, value)
        same = vanishes(self.before - written, self.relations)
        return Evidence(same, f"{self.rule}: {'an identity' if same else 'CHANGES the value'}")


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
    symbols = sorted(monomial.free_symbols, key=str)
    powers = sp.Poly(monomial, *symbols).monoms()[0]
    total = sp.S.Zero
    for found, coefficient in sp.Poly(expression, *symbols).terms():
        times = min(have // need for have, need in zip(found, powers, strict=True))
        rest = [
            q ** (have - times * need) for q, have, need in zip(symbols, found, powers, strict=True)
        ]
        total += coefficient * sp.Mul(*rest) * value**times
    return sp.expand(total)


def collect_terms(expression: sp.Expr, symbols: Sequence[sp.Symbol]) -> sp.Expr:
    """Return the polynomial collected in some symbols, each coefficient factored."""
    return sp.collect(sp.expand(expression), symbols, func=sp.factor)


def without_overflow(expression: sp.Expr) -> sp.Expr:
    r"""Replace $1/(1 + e^u)$, $e^u/(1 + e^u)$ and $\ln(1 + e^u)$ by functions that stay finite.

    In this order: $(1 + e^u)^{-n} = \sigma(-u)^n$, $\ln(1 + e^u)$ = softplus $u$, and
    $e^a \sigma(v)^n = e^{a + k v} \sigma(v)^{n-k} \sigma(-v)^k$ for the $k$ that leaves least in
    the exponent.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.codegen.functions import sigmoid
    >>> from symkernel.codegen.rules import without_overflow
    >>> x = sp.Symbol("x")
    >>> slope = sp.diff(1 / (1 + sp.exp(-x)))
    >>> assert without_overflow(slope) == sigmoid(x) * sigmoid(-x)
    """
    written = expression.replace(
        lambda e: e.is_Pow and e.exp.is_negative and _is_raised(e.base),
        lambda e: sigmoid(-e.base.args[1].args[0]) ** -e.exp,
    )
    written = written.replace(
        lambda e: isinstance(e, sp.log) and _is_raised(e.args[0]),
        lambda e: softplus(e.args[0].args[1].args[0]),
    )
    return written.replace(lambda e: e.is_Mul and e.has(sp.exp) and e.has(sigmoid), _balanced)


def _is_raised(expression: sp.Expr) -> bool:
    """Whether the expression is 1 + exp(u)."""
    parts = expression.args
    return expression.is_Add and parts[0] == 1 and len(parts) == 2 and isinstance(parts[1], sp.exp)


def _balanced(product: sp.Expr) -> sp.Expr:
    """Use up the exponential in a product on its sigmoids."""
    factors = sp.Mul.make_args(product)
    exponent = sp.Add(*(f.args[0] for f in factors if isinstance(f, sp.exp)))
    done = []
    for factor in (f for f in factors if not isinstance(f, sp.exp)):
        base, power = factor.as_base_exp()
        if isinstance(base, sigmoid) and power.is_Integer:
            v = base.args[0]
            left = [sp.expand(exponent + k * v) for k in range(int(power) + 1)]
            k = min(range(len(left)), key=lambda k: _amount(left[k]))
            exponent = left[k]
            factor = base ** (power - k) * sigmoid(sp.expand(-v)) ** k
        done.append(factor)
    return sp.Mul(sp.exp(exponent), *done)


def _amount(exponent: sp.Expr) -> float:
    return float(sum(abs(c) for c in exponent.as_coefficients_dict().values()))
