"""Exact identity of rational expressions, the one test behind symbolic proofs; exact rotations."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp


def vanishes(expression: sp.Expr, relations: Sequence[tuple[sp.Symbol, sp.Expr]] = ()) -> bool:
    r"""Whether a rational expression is identically 0, given values of squares.

    Parameters
    ----------
    expression : sympy.Expr
        Rational in its symbols; exponentials and roots in it count as independent.
    relations : sequence of (symbol, value of its square)
        Say $(R, \beta^2 + 4\alpha\gamma)$.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.identities import vanishes
    >>> x, R = sp.symbols("x R")
    >>> assert vanishes((R - x) * (R + x) - 1, [(R, x**2 + 1)]) and not vanishes(R - x)
    """
    numerator = _numerator(expression)
    # After expansion each monomial holds one exponential at most, which may contain the root.
    masks = {exponential: sp.Dummy() for exponential in numerator.atoms(sp.exp)}
    numerator = numerator.xreplace(masks)
    for root, square in relations:
        numerator = _numerator(sp.rem(numerator, root**2 - square, root))
    return numerator == 0


def _numerator(expression: sp.Expr) -> sp.Expr:
    return sp.expand(sp.fraction(sp.cancel(sp.together(expression)))[0])


def rational_orthogonal(size: int, salt: int) -> sp.Matrix:
    """Return an exact rational orthogonal matrix, by the Cayley transform; another for each salt.

    Examples
    --------
    >>> from symkernel.identities import rational_orthogonal
    >>> turn = rational_orthogonal(3, 1)
    >>> assert (turn * turn.T).is_Identity
    """
    skew = sp.zeros(size)
    for i in range(size):
        for j in range(i):
            skew[i, j] = sp.Rational(i + 2 * j + salt, 3 + salt)
            skew[j, i] = -skew[i, j]
    one = sp.eye(size)
    return (one - skew) * (one + skew).inv()
