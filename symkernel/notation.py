r"""The one place where symbols are made: identifier, LaTeX, assumptions, meaning.

Two SymPy symbols of one name and different assumptions are different symbols; making them here
alone keeps that from happening. The LaTeX name is kept apart from the identifier.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from symkernel.errors import InvalidArgument


@dataclass(frozen=True)
class Entry:
    """A symbol, how it is set in LaTeX and what it stands for."""

    symbol: sp.Symbol
    latex: str
    meaning: str


_TABLE: dict[str, Entry] = {}


def register(symbol: sp.Symbol, latex: str, meaning: str) -> sp.Symbol:
    """Enter a symbol of a law or environment of its own into the table.

    Raises
    ------
    InvalidArgument
        If the identifier stands for another symbol, is set otherwise or means something else.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel import notation
    >>> known = notation.entry("s")
    >>> assert notation.register(notation.s, known.latex, known.meaning) == notation.s
    """
    known = _TABLE.setdefault(symbol.name, Entry(symbol, latex, meaning))
    if known.symbol != symbol:
        raise InvalidArgument(
            f"Symbol '{symbol.name}' exists already with other assumptions; use notation's own."
        )
    if (known.latex, known.meaning) != (latex, meaning):
        raise InvalidArgument(
            f"Symbol '{symbol.name}' is {known.latex} already, '{known.meaning}', and cannot be "
            f"{latex}, '{meaning}', too; give yours another identifier."
        )
    return symbol


def symbol(identifier: str, latex: str, meaning: str, **assumptions: bool) -> sp.Symbol:
    """Make a symbol and enter it into the table; see `register`."""
    return register(sp.Symbol(identifier, **assumptions), latex, meaning)


t = symbol("t", "t", "flow time, learning rate times steps", nonnegative=True)
s = symbol("s", "s", "strength of the mode, a singular value of <y x^T>", positive=True)
d = symbol("d", "d", "input variance of the mode", positive=True)
a0 = symbol("a0", "a_0", "initial amplitude of the mode, input side", real=True)
b0 = symbol("b0", "b_0", "initial amplitude of the mode, output side", real=True)
a = symbol("a", "a", "amplitude of the mode, input side", real=True)
b = symbol("b", "b", "amplitude of the mode, output side", real=True)
u = symbol("u", "u", "the mode of the end-to-end map", real=True)
z = symbol("z", "z", "squared growth factor of the mode, exp(2 phi)", positive=True)
phi = symbol("phi", r"\varphi", "hyperbolic angle of the mode", real=True)
rate = symbol("g", "g", "drive of the mode: the common rate at which a and b feed each other")
P0 = symbol("P0", "P_0", "initial |p + q|^2", nonnegative=True)
Q0 = symbol("Q0", "Q_0", "initial |p - q|^2", nonnegative=True)
w = symbol("w", "w_0", "initial overlap p.q of the two sides of the mode", real=True)
m = symbol("m", "m", "initial mean square (|p|^2 + |q|^2)/2 of the two sides", nonnegative=True)
R = symbol("R", "R", "rate of the Riccati equation", positive=True)
T = symbol("T", "T", "hyperbolic clock tanh(R t / 2)", nonnegative=True)
fraction = symbol("q_final", r"\rho", "fraction of the final value", positive=True)
symbol("t_q", r"t_{\rho}", "time at which the mode reaches that fraction", positive=True)
B = symbol("B", "B", "branching of the tree", integer=True, positive=True)
L = symbol("L", "L", "depth of the tree", integer=True, positive=True)
# Of matrices whose letter stands for the same in most laws; a step may say something else.
_MATRICES = {
    "Sxx": "second moment <x x^T> of the inputs",
    "Syx": "cross moment <y x^T> of targets and inputs",
    "Syy": "second moment <y y^T> of the targets",
    "V": "input directions of the modes, as columns",
    "U": "output directions of the modes, as columns",
    "S": "diagonal matrix of the strengths s",
    "D": "diagonal matrix of the input variances d",
    "x": "an input",
    "x'": "another input",
    "f": "the network's output at x",
    "h": "hidden activity at x",
    "K_f": "neural tangent kernel of x and x'",
    "K_h": "pseudo-kernel of x and x'",
}
for _name in ("Sxx", "Syx", "Syy"):
    symbol(_name, rf"\Sigma_{{{_name[1:]}}}", _MATRICES[_name])
n = symbol("n", "n", "number of samples", integer=True, positive=True)


def entry(identifier: str) -> Entry | None:
    """Return what the table holds under an identifier, if anything."""
    return _TABLE.get(identifier)


def entries() -> tuple[Entry, ...]:
    """Return everything the table holds."""
    return tuple(_TABLE.values())


def meanings() -> dict[tuple[str, bool], str]:
    """Return what symbols stand for, by identifier and whether it is that of a matrix."""
    found = {(name, True): meaning for name, meaning in _MATRICES.items()}
    return found | {(name, False): entry.meaning for name, entry in _TABLE.items()}
