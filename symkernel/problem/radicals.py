r"""Roots of polynomials that have real roots only: radicals where they can be read, else names.

A polynomial with real roots only, irreducible and of degree 3 or more, has no radicals without
complex numbers in between (casus irreducibilis), so that degree 2 is where reading ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from symkernel.errors import MissingValues

# Characters of a radical, as SymPy prints it, beyond which a name and a value say more.
LONGEST = 60
# Digits by which roots are told apart and ordered.
DIGITS = 30


@dataclass(frozen=True)
class Root:
    """A root: as a radical, or None where it is to be called by a name; and its value.

    Attributes
    ----------
    radical : sympy.Expr or None
    value : sympy.Expr
        To any number of digits by ``evalf``; has symbols where the polynomial has.
    """

    radical: sp.Expr | None
    value: sp.Expr


def factors(polynomial: sp.Poly) -> list[tuple[sp.Poly, int]]:
    """Return irreducible factors over the domain of the polynomial, with multiplicities."""
    return [(factor, int(count)) for factor, count in polynomial.factor_list()[1]]


def roots(factor: sp.Poly) -> list[Root]:
    """Return the roots of an irreducible polynomial that has real roots only.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.problem.radicals import roots
    >>> x = sp.Symbol("x")
    >>> assert {root.radical for root in roots(sp.Poly(x**2 - 2, x))} == {sp.sqrt(2), -sp.sqrt(2)}
    >>> assert roots(sp.Poly(x**3 - 3 * x + 1, x))[0].radical is None
    """
    if factor.degree() > 2:
        return [Root(None, value) for value in _values(factor)]
    return [_readable(radical) for radical in _radicals(factor)]


def square_roots(factor: sp.Poly) -> list[Root]:
    r"""Return $\sqrt\lambda$ for the roots $\lambda > 0$ of an irreducible polynomial, in order.

    Where $f(s^2) = \pm g(s)\,g(-s)$ the roots of g are taken: they need one root sign less.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.problem.radicals import square_roots
    >>> x = sp.Symbol("x")
    >>> golden = square_roots(sp.Poly(x**2 - 3 * x + 1, x))
    >>> assert sp.Rational(1, 2) + sp.sqrt(5) / 2 in [root.radical for root in golden]
    """
    if factor.degree() > 2:
        return [Root(None, sp.sqrt(value)) for value in _values(factor)]
    x = factor.gen
    doubled = sp.Poly.from_dict(
        {(2 * k,): c for (k,), c in factor.terms()}, x, domain=factor.domain
    )
    (half, _), *rest = factors(doubled)
    if rest:
        return [_readable(_size(radical)) for radical in _radicals(half)]
    return [_readable(radical) for radical in _denested(factor)]


def _radicals(factor: sp.Poly) -> list[sp.Expr]:
    lower = factor.monic().all_coeffs()[1:]
    if len(lower) == 1:
        return [-lower[0]]
    half, product = -lower[0] / 2, lower[1]
    radicand = sp.expand(half**2 - product)
    root = sp.sqrt(sp.factor(radicand) if radicand.free_symbols else radicand)
    return [sp.expand(half + root), sp.expand(half - root)]


def _denested(factor: sp.Poly) -> list[sp.Expr]:
    r"""Return the square roots of the roots.

    $\sqrt{h \pm \sqrt{h^2 - c^2}} = \sqrt{(h + c)/2} \pm \sqrt{(h - c)/2}$ nests one root less.
    """
    lower = factor.monic().all_coeffs()[1:]
    if len(lower) == 2 and sp.sqrt(lower[1]).is_Rational:
        half, c = -lower[0] / 2, sp.sqrt(lower[1])
        one, two = sp.sqrt((half + c) / 2), sp.sqrt((half - c) / 2)
        return [one + two, one - two]
    return [sp.sqrt(radical) for radical in _radicals(factor)]


def _size(radical: sp.Expr) -> sp.Expr:
    """Return the absolute value, without a bar where the sign of a number is known."""
    if radical.is_number:
        return -radical if radical.evalf(DIGITS) < 0 else radical
    return sp.Abs(sp.factor_terms(radical))


def _readable(radical: sp.Expr) -> Root:
    # With symbols there is no value to go by: the radical stands however long it is.
    known = bool(radical.free_symbols) or len(str(radical)) <= LONGEST
    return Root(radical if known else None, radical)


def _values(factor: sp.Poly) -> list[sp.Expr]:
    symbols = sorted(map(str, factor.free_symbols_in_domain))
    if symbols:
        raise MissingValues(
            f"The strengths of the task are roots of a polynomial of degree {factor.degree()} "
            f"in s^2 that has symbols, for which there are no radicals to read; give values for "
            f"{', '.join(symbols)}."
        )
    if factor.domain in (sp.ZZ, sp.QQ):
        return [sp.CRootOf(factor, k) for k in range(factor.degree())]
    return [sp.re(value) for value in factor.nroots(n=2 * DIGITS, maxsteps=500)]
