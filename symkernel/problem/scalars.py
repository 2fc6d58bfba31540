"""Numbers and symbols as arguments: one, or one for each mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from symkernel.errors import InvalidArgument, ShapeMismatch


def as_sympy(value: object) -> Any:
    """Return a number, an expression or a matrix as SymPy has it.

    Raises
    ------
    SympifyError
        For text, which SymPy would otherwise run as code, and for all else.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.problem.scalars import as_sympy
    >>> assert as_sympy(2) is sp.Integer(2)
    >>> try:
    ...     as_sympy("2")
    ... except sp.SympifyError:
    ...     refused = True
    >>> assert refused
    """
    return sp.sympify(value, strict=True)  # strict: no text


def as_expression(value: object, name: str, allowed: str = "positive") -> sp.Expr:
    """Return a number or an expression as SymPy has it, if its sign may be the allowed one.

    Parameters
    ----------
    value : number or SymPy expression
        Text is refused: SymPy would run it as code.
    name : str
        Name of the argument, for the message.
    allowed : {"positive", "non-negative"}
        What a number has to be; a symbol may be.
    """
    expression = sp.nan
    if isinstance(value, sp.Float) and float(value).is_integer():
        expression = sp.Integer(int(value))
    elif isinstance(value, sp.Expr) and not value.is_Matrix:
        expression = value
    elif isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        expression = sp.Integer(int(value))
    elif isinstance(value, (float, np.floating)):
        whole = np.isfinite(value) and float(value).is_integer()
        expression = sp.Integer(int(value)) if whole else sp.Float(float(value))
    fits = expression.is_positive if allowed == "positive" else expression.is_nonnegative
    if fits is False or expression.is_finite is False or expression is sp.nan:
        raise InvalidArgument(
            f"Argument '{name}' must be a {allowed} number or symbol, not {value!r}."
        )
    return expression


def short(expression: sp.Expr) -> str:
    """Return the text of an expression, its numbers without trailing zeros."""
    return sp.sstr(expression, full_prec=False)


def as_expressions(value: object, name: str) -> list[sp.Expr]:
    """Return a scalar or a sequence as SymPy expressions, none of them known not to be real."""
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    if isinstance(value, np.ndarray):
        items = list(np.atleast_1d(value))
    out = []
    for item in items:
        if isinstance(item, sp.Expr) and _may_be_real(item):
            out.append(item)
        elif isinstance(item, (int, np.integer)) and not isinstance(item, bool):
            out.append(sp.Integer(int(item)))
        elif isinstance(item, (float, np.floating)) and np.isfinite(item):
            out.append(sp.Integer(item) if float(item).is_integer() else sp.Float(float(item)))
        else:
            raise InvalidArgument(
                f"Argument '{name}' must hold finite real numbers or SymPy expressions, "
                f"not {item!r}."
            )
    if not out:
        raise InvalidArgument(f"Argument '{name}' must not be empty.")
    return out


def _may_be_real(item: sp.Expr) -> bool:
    return item is not sp.nan and item.is_finite is not False and item.is_real is not False


def broadcast(value: object, name: str, length: int) -> list[sp.Expr]:
    """Return one expression for each of so many modes, from one for all or one for each."""
    items = as_expressions(value, name)
    if len(items) not in (1, length):
        raise ShapeMismatch(
            f"Argument '{name}' must hold one value, or one for each of the {length} modes, not "
            f"{len(items)}."
        )
    return items * length if len(items) == 1 else items
