r"""Compiled bodies of activations: functions of a scalar that return value and slope.

Activations known by a name have a body in `numerics/elementary.py`. The body of any other one is
printed from its expression, the parts that value and slope share computed once; its name is a
hash of its text, so that different functions never meet under one name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache

import sympy as sp

from symkernel.codegen.printer import source_of, variable
from symkernel.codegen.rules import without_overflow
from symkernel.problem.activation import ACTIVATIONS, ARGUMENT, Activation

_BODY = """

@_scalar
def {name}{rest}
"""


def body_of(phi: Activation) -> str:
    r"""Return the name of the function that returns $(\phi(z), \phi'(z))$.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.codegen.activations import body_of
    >>> from symkernel.problem.activation import activation
    >>> assert body_of(activation("tanh")) == "tanh_and_slope"
    >>> assert body_of(activation(sp.sin(sp.Symbol("x")))).startswith("phi_")
    """
    return _generated(phi)[0] if _is_printed(phi) else f"{phi.name}_and_slope"


def bodies_of(activations: Iterable[Activation]) -> str:
    """Return the text of those bodies that `numerics/elementary.py` does not hold.

    Raises
    ------
    Unlowerable
        Naming the node of an expression that has no translation.
    """
    printed = dict(_generated(phi) for phi in activations if _is_printed(phi))
    return "".join(_BODY.format(name=name, rest=rest) for name, rest in printed.items())


def _is_printed(phi: Activation) -> bool:
    return phi not in ACTIVATIONS.values()


@cache
def _generated(phi: Activation) -> tuple[str, str]:
    """Return the name of the body, and its text from the name on."""
    pair = [without_overflow(e) for e in (phi.expression, phi.slope)]
    shared, results = sp.cse(pair, sp.numbered_symbols("part"), order="canonical")
    lines = [f"{variable(symbol)} = {source_of(part)}" for symbol, part in shared]
    lines.append("return " + ", ".join(source_of(result) for result in results))
    rest = f"({variable(ARGUMENT)}):\n    " + "\n    ".join(lines)
    return f"phi_{hashlib.sha256(rest.encode()).hexdigest()[:16]}", rest
