"""Numbers for the symbols of a problem, as a user gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import sympy as sp

from symkernel.errors import InvalidArgument, MissingValues
from symkernel.problem.problem import Problem
from symkernel.problem.scalars import short


def with_values(problem: Problem, values: Mapping[Any, Any]) -> Problem:
    """Return the problem with the numbers that a user gives for its symbols, by symbol or name.

    Raises
    ------
    InvalidArgument
        If values are no numbers, or the problem cannot be made with them.
    MissingValues
        Naming the symbols without a value.
    """
    numbers = by_symbol(problem, values)
    try:
        return problem.with_values(numbers)
    except InvalidArgument as error:
        given = ", ".join(f"{symbol} = {short(number)}" for symbol, number in numbers.items())
        raise type(error)(
            f"Argument 'values' gives {given}, with which the problem cannot be made: {error}"
        ) from error


def by_symbol(problem: Problem, values: Mapping[Any, Any]) -> dict[sp.Symbol, Any]:
    """Return the values by symbol; names are taken for the problem's symbols of that name."""
    if not isinstance(values, Mapping):
        raise InvalidArgument(
            f"Argument 'values' must map symbols to numbers, as {{s: 2.0}}, not {values!r}."
        )
    known = problem.free_symbols
    by_name = {symbol.name: symbol for symbol in known}
    out = {}
    for key, value in values.items():
        symbol = by_name.get(key) if isinstance(key, str) else key
        if not isinstance(symbol, sp.Symbol) or symbol not in known:
            raise InvalidArgument(
                f"Argument 'values' names {key!r}, which is no symbol of the problem; its symbols "
                f"are {', '.join(sorted(by_name)) or 'none'}."
            )
        out[symbol] = _as_number(symbol, value)
    missing = sorted(q.name for q in known - set(out))
    if missing:
        raise MissingValues(
            f"Argument 'values' must give a number for every symbol; {', '.join(missing)} "
            f"{'has' if len(missing) == 1 else 'have'} none."
        )
    return out


def _as_number(symbol: sp.Symbol, value: Any) -> Any:
    """Return a value that its symbol's assumptions allow."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        number = sp.Integer(int(value)) if float(value).is_integer() else sp.Float(float(value))
    elif isinstance(value, sp.Expr) and value.is_number:
        number = value
    else:
        number = sp.nan
    if not number.is_finite:
        raise InvalidArgument(
            f"Argument 'values' must give a number for '{symbol}', not {value!r}."
        )
    allowed = {
        "positive": number.is_positive,
        "nonnegative": number.is_nonnegative,
        "integer": number.is_integer,
        "real": number.is_real,
    }
    for word, holds in allowed.items():
        # A whole number may stand as 2.0; zero may stand for a strength, as a limit.
        wanted = getattr(symbol, f"is_{word}")
        if wanted and holds is False and not (word == "positive" and number == 0):
            raise InvalidArgument(
                f"Argument 'values' gives {value!r} for '{symbol}', which is {word}; give such a "
                f"number, or make the symbol without that assumption."
            )
    return number


def is_time(value: sp.Expr) -> bool:
    """Whether a number is real (up to rounding), finite and not negative."""
    number = complex(value.evalf(30))
    size = abs(number)
    return bool(size < float("inf") and abs(number.imag) <= 1e-15 * size and number.real >= 0)
