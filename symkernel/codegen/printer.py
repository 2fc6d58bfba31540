"""Scalar SymPy expressions as Python source that numba compiles; anything else is refused."""

from __future__ import annotations

import sympy as sp
from sympy.codegen.cfunctions import expm1, hypot

from symkernel.codegen.functions import decay, rise, tanhc
from symkernel.errors import Unlowerable

# Bodies in numerics/elementary.py, and functions of `math` that numba maps to one instruction.
_FUNCTIONS: dict[type, str] = {
    sp.exp: "exp",
    expm1: "expm1",
    sp.tanh: "tanh",
    tanhc: "tanhc",
    decay: "decay",
    rise: "rise",
    sp.erf: "erf",
    sp.Abs: "abs",
    hypot: "math.hypot",
    sp.log: "math.log",
    sp.Max: "max",
    sp.Min: "min",
}


def variable(symbol: sp.Symbol) -> str:
    """Return the name of a symbol in generated source; the prefix keeps it off all other names.

    Raises
    ------
    Unlowerable
        If the symbol's name is no identifier.
    """
    if not symbol.name.isidentifier():
        raise Unlowerable(
            f"The symbol '{symbol.name}' cannot be a variable of a compiled routine; give it an "
            f"identifier as name, and its LaTeX with names={{...}}."
        )
    return "v_" + symbol.name


def source_of(expression: sp.Basic) -> str:
    """Return Python source for a scalar expression.

    Raises
    ------
    Unlowerable
        Naming the node that has no translation.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.codegen.printer import source_of
    >>> x = sp.Symbol("x")
    >>> assert source_of(sp.exp(x) / 2) == "(0.5 * exp(v_x))"
    """
    if isinstance(expression, sp.Symbol):
        return variable(expression)
    if isinstance(expression, (sp.Rational, sp.Float, sp.NumberSymbol)):
        return repr(float(expression))
    if isinstance(expression, sp.Add):
        return "(" + " + ".join(source_of(term) for term in expression.args) + ")"
    if isinstance(expression, sp.Mul):
        return _product(expression)
    if isinstance(expression, sp.Pow):
        return _power(expression)
    if isinstance(expression, sp.Piecewise):
        return _selection(expression)
    if isinstance(
        expression, (sp.StrictLessThan, sp.LessThan, sp.StrictGreaterThan, sp.GreaterThan)
    ):
        left, right = map(source_of, expression.args)
        return f"({left} {expression.rel_op} {right})"
    if isinstance(expression, (sp.And, sp.Or)):
        word = " and " if isinstance(expression, sp.And) else " or "
        return "(" + word.join(source_of(part) for part in expression.args) + ")"
    name = _FUNCTIONS.get(type(expression))
    if name is None:
        raise Unlowerable(
            f"The node {type(expression).__name__} in '{expression}' has no numerical "
            f"translation; write it with exp, tanh, erf, sqrt, powers or Piecewise."
        )
    return f"{name}({', '.join(source_of(part) for part in expression.args)})"


def _product(expression: sp.Mul) -> str:
    top, bottom = sp.fraction(expression, exact=True)
    if bottom == 1 or bottom.is_number:
        return "(" + " * ".join(source_of(factor) for factor in expression.args) + ")"
    return f"({source_of(top)} / {source_of(bottom)})"


def _power(expression: sp.Pow) -> str:
    base, exponent = expression.args
    if exponent == sp.Rational(1, 2):
        return f"math.sqrt({source_of(base)})"
    if exponent == sp.Rational(-1, 2):
        return f"(1.0 / math.sqrt({source_of(base)}))"
    if exponent.is_Integer and 1 < abs(int(exponent)) <= 8:
        inner = source_of(base)
        product = "(" + " * ".join([inner] * abs(int(exponent))) + ")"
        return product if exponent > 0 else f"(1.0 / {product})"
    if exponent == -1:
        return f"(1.0 / {source_of(base)})"
    raise Unlowerable(
        f"The power '{expression}' has no numerical translation; use square roots and integer "
        f"exponents up to 8."
    )


def _selection(expression: sp.Piecewise) -> str:
    if expression.args[-1][1] != sp.true:
        raise Unlowerable(f"The selection '{expression}' must end in an 'otherwise' branch.")
    source = source_of(expression.args[-1][0])
    for value, condition in reversed(expression.args[:-1]):
        source = f"({source_of(value)} if {source_of(condition)} else {source})"
    return source
