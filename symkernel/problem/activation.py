r"""Activation functions: one record each, from which everything else is generated.

At a kink there is no derivative, and gradient descent takes a number for it all the same. It is
the one that SymPy's derivative has with $\Theta(0) = 0$ and $\operatorname{sign}(0) = 0$: ReLU,
$\max(z, z/10)$ and $|z|$ have slope 0 at 0. A `Piecewise` has the slope of the branch that holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import sympy as sp
from sympy.core.function import AppliedUndef
from sympy.core.relational import Relational

from symkernel.errors import InvalidArgument

ARGUMENT = sp.Symbol("z", real=True)

# Where expressions are tried out: points, digits, and the distance of one point to its neighbours.
_POINTS = tuple(sp.Rational(p, 4) for p in (-1, 1, -4, 4, -9, 9, -27, 27, -70, 70, 0))
_DIGITS = 60
_UNKNOWN = (AppliedUndef, sp.Derivative, sp.Subs, sp.Integral)
_NEAR = sp.Rational(1, 10**20)
_TOLERANCE = 1e-9
_KINKS = "slope at a kink from Heaviside(0) = 0 and sign(0) = 0, or of the branch that holds there"


@dataclass(frozen=True)
class Activation:
    r"""An elementwise function $\phi(z)$.

    Parameters
    ----------
    name : str
        What readers know it by; a single word also stands in the index of $\phi$. If empty, the
        text of the expression.
    expression : sympy.Expr
        $\phi$ as an expression in one symbol, which is renamed to `ARGUMENT`.
    convention : str
        What a reader must know of the definition, empty where there is nothing to know.

    Examples
    --------
    >>> import sympy as sp, symkernel as sk
    >>> from symkernel.nodes import Activation
    >>> z = sp.Symbol("z")
    >>> swish = Activation("swish", z / (1 + sp.exp(-z)))
    >>> net = sk.Network.two_layer(3, 5, 2, activation=swish)
    >>> assert r"\phi(z) &= \frac{z}{1 + e^{- z}}" in sk.ntk(net).latex()
    """

    name: str
    expression: sp.Expr
    convention: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.expression, sp.Expr) or self.expression.is_Matrix:
            raise InvalidArgument(
                f"Argument 'activation' must be one of {', '.join(sorted(ACTIVATIONS))}, or a "
                f"SymPy expression of one symbol such as sympy.sin(z), not {self.expression!r}."
            )
        if not isinstance(self.name, str):
            raise InvalidArgument(
                f"Argument 'name' of an activation must be text, not {self.name!r}; leave it "
                f"empty for the text of the expression."
            )
        object.__setattr__(self, "expression", _renamed(self.expression))
        object.__setattr__(self, "name", self.name or str(self.expression))

    @cached_property
    def slope(self) -> sp.Expr:
        r"""The derivative $\phi'(z)$, with $\Theta(0) = 0$ at kinks."""
        derivative = sp.diff(self.expression, ARGUMENT)
        # What stands before a delta is a jump's height: activations that jump are refused.
        return _with_step(derivative.replace(sp.DiracDelta, lambda *_: sp.S.Zero))

    @property
    def is_linear(self) -> bool:
        """Whether it is the identity, which leaves no trace in a formula."""
        return self.expression == ARGUMENT


def _with_step(expression: sp.Expr) -> sp.Expr:
    r"""Return the expression with $\Theta(0) = 0$, and $\Theta(u)$ for $\Theta(c u)$, $c > 0$."""
    return expression.replace(
        sp.Heaviside, lambda u, *_: sp.Heaviside(u / abs(u.as_coeff_Mul()[0]), 0)
    )


def _renamed(expression: sp.Expr) -> sp.Expr:
    """Return the expression in ARGUMENT, whole numbers given as floats as integers."""
    symbols = expression.free_symbols
    if len(symbols) != 1:
        raise InvalidArgument(
            f"Argument 'activation' must be an expression of exactly one symbol, not {expression} "
            f"with {', '.join(sorted(map(str, symbols))) or 'none'}; give numbers for the others "
            f"with .subs."
        )
    (symbol,) = symbols
    if not symbol.assumptions0.items() <= ARGUMENT.assumptions0.items():
        raise InvalidArgument(
            f"Argument 'activation' must be an expression of a symbol that stands for any real "
            f"number, but {symbol} has other assumptions; make it with Symbol('{symbol}')."
        )
    floats = expression.atoms(sp.Float)
    whole = {f: sp.Integer(int(f)) for f in floats if float(f).is_integer()}
    return _with_step(expression.xreplace({symbol: ARGUMENT, **whole}))


_EXPRESSIONS = (
    ("linear", ARGUMENT, ""),
    ("tanh", sp.tanh(ARGUMENT), ""),
    ("erf", sp.erf(ARGUMENT / sp.sqrt(2)), "erf(z / sqrt 2), as in committee machines"),
    ("relu", sp.Max(0, ARGUMENT), "slope 0 at z = 0"),
    ("sigmoid", 1 / (1 + sp.exp(-ARGUMENT)), "1/(1 + exp(-z)), values between 0 and 1"),
    ("quadratic", ARGUMENT**2, "z^2, without a factor 1/2"),
)
ACTIVATIONS: dict[str, Activation] = {row[0]: Activation(*row) for row in _EXPRESSIONS}


def activation(value: str | sp.Expr | Activation) -> Activation:
    r"""Return the record of a named activation or of an expression in one symbol.

    Parameters
    ----------
    value : str, sympy.Expr or Activation
        A name; or any expression of one symbol that is real and finite for every real value of
        the symbol, continuous, and differentiable up to kinks. An expression that is known by a
        name is that activation.

    Raises
    ------
    InvalidArgument
        If there is no activation of that name, or the expression cannot be trained through. It
        is tried out at some numbers and where its branches meet; a pole elsewhere goes unnoticed.

    Notes
    -----
    Simulator and kernels evaluate $1/(1 + e^u)$, $e^u/(1 + e^u)$ and $\ln(1 + e^u)$ without
    overflow. Other exponentials overflow where $e^u > 10^{308}$, also where the whole would be
    finite: write $\tanh u$ and not a quotient of exponentials.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.problem.activation import ARGUMENT, activation
    >>> x = sp.Symbol("x")
    >>> assert activation(sp.sin(x)).slope == sp.cos(ARGUMENT)
    >>> assert activation(sp.tanh(x)) is activation("tanh")
    """
    if isinstance(value, str) and value in ACTIVATIONS:
        return ACTIVATIONS[value]
    given = value if isinstance(value, Activation) else Activation("", value)
    for known in ACTIVATIONS.values():
        named = given.name != str(given.expression)
        if given == known or (given.expression == known.expression and not named):
            return known
    return _tried(given)


@cache
def _tried(record: Activation) -> Activation:
    """Return the record with its convention, or say why it is no activation."""
    expression = record.expression
    if any(e.has(*_UNKNOWN) for e in (expression, record.slope)):
        raise InvalidArgument(
            f"Argument 'activation' must have a derivative that SymPy knows, but that of "
            f"{expression} is {record.slope}; use functions such as tanh, exp or Max."
        )
    for point in (*_POINTS, *corners(record)):
        middle, slope = (_number(record, e, point) for e in (expression, record.slope))
        left, right = (_number(record, expression, point + side) for side in (-_NEAR, _NEAR))
        if max(abs(left - middle), abs(right - middle)) > _TOLERANCE * (1 + abs(middle)):
            raise InvalidArgument(
                f"Argument 'activation' must be continuous, but {expression} jumps at z = "
                f"{float(point):g}; gradient descent would not see the jump. Use a steep function "
                f"such as tanh(100*z) instead."
            )
        left, right = (middle - left) / _NEAR, (right - middle) / _NEAR
        off = max(abs(side - slope) for side in (left, right))
        if abs(left - right) <= _TOLERANCE * (1 + abs(left)) < off:
            raise InvalidArgument(
                f"Argument 'activation' must have the slope that SymPy derives, but for "
                f"{expression} that is {float(slope):g} at z = {float(point):g}, where it should "
                f"be {float(left):g}; write the expression with Piecewise."
            )
    kinked = record.slope.has(sp.Heaviside, sp.sign, sp.Piecewise) and not record.convention
    return Activation(record.name, expression, _KINKS) if kinked else record


def corners(record: Activation) -> Iterator[sp.Expr]:
    """Yield the real points where branches meet, powers and logarithms end."""
    kinds = (sp.Heaviside, sp.DiracDelta, sp.sign, Relational, sp.Pow, sp.log)
    return _roots_of_arguments(record, kinds)


def centres(record: Activation) -> Iterator[sp.Expr]:
    """Yield the corners, and the points around which functions step, peak or oscillate."""
    return _roots_of_arguments(record, (sp.Function, Relational, sp.Pow))


def _roots_of_arguments(record: Activation, kinds: tuple[type, ...]) -> Iterator[sp.Expr]:
    """Yield the real points where arguments that are polynomials are 0."""
    parts = {p for e in (record.expression, sp.diff(record.expression)) for p in e.atoms(*kinds)}
    for part in sorted(parts, key=str):
        difference = part.lhs - part.rhs if isinstance(part, Relational) else part.args[0]
        if not isinstance(difference, sp.Expr) or not difference.is_polynomial(ARGUMENT):
            continue
        if sp.degree(difference, ARGUMENT) >= 1:
            yield from _real_roots(with_fractions(difference))


def _real_roots(expression: sp.Expr) -> Iterator[sp.Expr]:
    """Yield the real roots of a polynomial, exact where it is linear or rational."""
    coefficients = sp.Poly(expression, ARGUMENT).all_coeffs()
    if len(coefficients) == 2:
        yield -coefficients[1] / coefficients[0]
        return
    # SymPy has real roots of rational polynomials only: others are taken at twice the digits.
    rational = [c if c.is_Rational else sp.Rational(sp.N(c, 2 * _DIGITS)) for c in coefficients]
    for root, _ in sp.Poly(rational, ARGUMENT).real_roots(multiple=False):
        yield root


def with_fractions(expression: sp.Expr) -> sp.Expr:
    """Return an expression with the fractions that its floating-point numbers are."""
    return expression.xreplace({n: sp.Rational(n) for n in expression.atoms(sp.Float)})


def _number(record: Activation, expression: sp.Expr, point: sp.Expr) -> sp.Expr:
    value = with_fractions(expression).xreplace({ARGUMENT: point}).evalf(_DIGITS)
    if isinstance(value, (sp.Float, sp.Rational)):
        return value
    what = "value" if expression is record.expression else "slope"
    found = f"not finite ({value})"
    if value.has(sp.I):
        found = "complex"
    elif not (value.is_number and value.is_finite is False):
        found = f"not a number ({value})"
    raise InvalidArgument(
        f"Argument 'activation' must be real and finite, with a real and finite slope, for every "
        f"real z, but the {what} of {record.expression} at z = {float(point):g} is "
        f"{found}. Use an expression such as log(1 + z**2) in place of log(z), or Piecewise."
    )
