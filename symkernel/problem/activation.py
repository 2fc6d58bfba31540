r"""Activation functions: one record each, from which everything else is generated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from symkernel.errors import InvalidArgument

ARGUMENT = sp.Symbol("z", real=True)


@dataclass(frozen=True)
class Activation:
    r"""An elementwise function $\phi(z)$ as SymPy expression and as compiled body.

    Parameters
    ----------
    name : str
        The name by which networks refer to it.
    expression : sympy.Expr
        $\phi$ as an expression in the symbol ``ARGUMENT``.
    body : str
        Name of the function in ``numerics/elementary.py`` that returns
        $(\phi(z), \phi'(z))$ for a scalar.
    convention : str
        What a reader must know of the definition, empty where there is nothing to know.
    """

    name: str
    expression: sp.Expr
    body: str
    convention: str = ""

    @cached_property
    def slope(self) -> sp.Expr:
        r"""The derivative $\phi'(z)$; for ReLU the convention is $\phi'(0) = 0$."""
        if self.name == "relu":
            return sp.Heaviside(ARGUMENT, 0)
        return sp.diff(self.expression, ARGUMENT)


ACTIVATIONS: dict[str, Activation] = {
    record.name: record
    for record in (
        Activation("linear", ARGUMENT, "linear_and_slope"),
        Activation("tanh", sp.tanh(ARGUMENT), "tanh_and_slope"),
        Activation(
            "erf",
            sp.erf(ARGUMENT / sp.sqrt(2)),
            "erf_and_slope",
            r"erf(z / sqrt 2), as in the committee-machine literature",
        ),
        Activation("relu", sp.Max(0, ARGUMENT), "relu_and_slope", "slope 0 at z = 0"),
    )
}


def activation(name: str) -> Activation:
    """Return the record of a named activation.

    Raises
    ------
    InvalidArgument
        If there is no activation of that name.

    Examples
    --------
    >>> from symkernel.problem.activation import ARGUMENT, activation
    >>> import sympy as sp
    >>> assert activation("tanh").slope == sp.diff(sp.tanh(ARGUMENT), ARGUMENT)
    """
    try:
        return ACTIVATIONS[name]
    except (KeyError, TypeError):
        raise InvalidArgument(
            f"Argument 'activation' must be one of {', '.join(sorted(ACTIVATIONS))}, not {name!r}."
        ) from None
