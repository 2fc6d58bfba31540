"""Scalar SymPy expressions as Python source that numba compiles; anything else is refused."""

from __future__ import annotations

import sympy as sp
from sympy.codegen.cfunctions import expm1, hypot
from sympy.core.relational import Relational

from symkernel.codegen.functions import decay, rise, sigmoid, softplus, tanhc
from symkernel.errors import Unlowerable

# Bodies in numerics/elementary.py, and functions of `math`, which do not vectorise.
_FUNCTIONS: dict[type, str] = {
    sp.exp: "exp",
    expm1: "expm1",
    sp.tanh: "tanh",
    tanhc: "tanhc",
    decay: "decay",
    rise: "rise",
    sp.erf: "erf",
    sp.erfc: "math.erfc",
    sp.Abs: "abs",
    hypot: "math.hypot",
    sigmoid: "sigmoid",
    softplus: "softplus",
    sp.sign: "sign",
    sp.log: "math.log",
    sp.sin: "math.sin",
    sp.cos: "math.cos",
    sp.tan: "math.tan",
    sp.atan: "math.atan",
    sp.asinh: "math.asinh",
    sp.sinh: "math.sinh",
    sp.cosh: "math.cosh",
    sp.asin: "math.asin",
}
_EXTREMES = {sp.Max: "max", sp.Min: "min"}


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
    if isinstance(expression, Relational):
        left, right = map(source_of, expression.args)
        return f"({left} {expression.rel_op} {right})"
    if isinstance(expression, (sp.And, sp.Or)):
        word = " and " if isinstance(expression, sp.And) else " or "
        return "(" + word.join(source_of(part) for part in expression.args) + ")"
    if type(expression) in _EXTREMES:
        # Numbers last: `max` and `min` hand on NaN in their first argument only.
        parts = sorted(expression.args, key=lambda part: part.is_number)
        return f"{_EXTREMES[type(expression)]}({', '.join(map(source_of, parts))})"
    if isinstance(expression, sp.Heaviside) and expression.args[1] == 0:
        return f"heaviside({source_of(expression.args[0])})"
    name = _FUNCTIONS.get(type(expression))
    if name is None:
        raise Unlowerable(
            f"The node {type(expression).__name__} in '{expression}' has no numerical "
            f"translation; write it with exp, log, tanh, erf, sin, powers, Max or Piecewise."
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
    if exponent.is_Rational and exponent.q == 2:
        root = sp.Mul(base ** (abs(exponent) - sp.S.Half), sp.sqrt(base), evaluate=False)
        return source_of(root) if exponent > 0 else f"(1.0 / {source_of(root)})"
    if exponent.is_Integer:
        return f"({source_of(base)} ** {int(exponent)})"  # numba writes it as products
    if exponent.is_number and exponent.is_real:
        return f"({source_of(base)} ** {float(exponent)!r})"
    if base.is_number and base.is_positive:
        return f"exp({source_of(exponent * sp.log(base))})"
    raise Unlowerable(
        f"The power '{expression}' has no numerical translation; its exponent or its base must "
        f"be a number, a base positive."
    )


def _selection(expression: sp.Piecewise) -> str:
    if expression.args[-1][1] != sp.true:
        raise Unlowerable(f"The selection '{expression}' must end in an 'otherwise' branch.")
    source = source_of(expression.args[-1][0])
    for value, condition in reversed(expression.args[:-1]):
        source = f"({source_of(value)} if {source_of(condition)} else {source})"
    return source
