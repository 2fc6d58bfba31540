r"""The one place where symbols are made: identifier, LaTeX, assumptions, meaning.

Two SymPy symbols of one name and different assumptions are different symbols; making them here
alone keeps that from happening. The LaTeX name is kept apart from the identifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sympy as sp
from sympy.printing.latex import LatexPrinter

from symkernel.errors import InvalidArgument


@dataclass(frozen=True)
class Entry:
    """A symbol, how it is set in LaTeX and what it stands for."""

    symbol: sp.Symbol
    latex: str
    meaning: str


_TABLE: dict[str, Entry] = {}


def _scalar(identifier: str, latex: str, meaning: str, **assumptions: bool) -> sp.Symbol:
    symbol = sp.Symbol(identifier, **assumptions)
    _TABLE[identifier] = Entry(symbol, latex, meaning)
    return symbol


t = _scalar("t", "t", "flow time, learning rate times steps", nonnegative=True)
s = _scalar("s", "s", "strength of the mode, a singular value of <y x^T>", positive=True)
d = _scalar("d", "d", "input variance of the mode", positive=True)
a0 = _scalar("a0", "a_0", "initial amplitude of the mode, input side", real=True)
b0 = _scalar("b0", "b_0", "initial amplitude of the mode, output side", real=True)
a = _scalar("a", "a", "amplitude of the mode, input side", real=True)
b = _scalar("b", "b", "amplitude of the mode, output side", real=True)
u = _scalar("u", "u", "the mode of the end-to-end map", real=True)
z = _scalar("z", "z", "squared growth factor of the mode, exp(2 phi)", positive=True)
phi = _scalar("phi", r"\varphi", "hyperbolic angle of the mode", real=True)
rate = _scalar("g", "g", "drive of the mode: the common rate at which a and b feed each other")
P0 = _scalar("P0", "P_0", "initial |p + q|^2", nonnegative=True)
Q0 = _scalar("Q0", "Q_0", "initial |p - q|^2", nonnegative=True)
w = _scalar("w", "w", "initial overlap p.q of the two sides of the mode", real=True)
m = _scalar("m", "m", "initial mean square (|p|^2 + |q|^2)/2 of the two sides", nonnegative=True)
R = _scalar("R", "R", "rate of the Riccati equation", positive=True)
T = _scalar("T", "T", "hyperbolic clock tanh(R t / 2)", nonnegative=True)
fraction = _scalar("q", "q", "fraction of the final value", positive=True)
B = _scalar("B", "B", "branching of the tree", integer=True, positive=True)
L = _scalar("L", "L", "depth of the tree", integer=True, positive=True)
for _name, _latex, _meaning in (
    ("Sxx", r"\Sigma_{xx}", "second moment <x x^T> of the inputs"),
    ("Syx", r"\Sigma_{yx}", "cross moment <y x^T> of targets and inputs"),
    ("Syy", r"\Sigma_{yy}", "second moment <y y^T> of the targets"),
):
    _scalar(_name, _latex, _meaning)
n = _scalar("n", "n", "number of samples", integer=True, positive=True)


def entry(identifier: str) -> Entry | None:
    """Return what the table holds under an identifier, if anything."""
    return _TABLE.get(identifier)


def register(symbol: sp.Symbol, latex: str, meaning: str) -> sp.Symbol:
    """Enter a symbol of a law or environment of its own into the table.

    Raises
    ------
    InvalidArgument
        If the identifier stands for another symbol already.
    """
    known = _TABLE.get(symbol.name)
    if known is not None and known.symbol != symbol:
        raise InvalidArgument(
            f"Symbol '{symbol.name}' exists already with other assumptions; use notation's own."
        )
    _TABLE[symbol.name] = Entry(symbol, latex, meaning)
    return symbol


class _Printer(LatexPrinter):
    """LaTeX with the table's names, functions of time without brackets around names."""

    def _print_Derivative(self, expr: sp.Derivative) -> str:
        function, variable = expr.expr, expr.variables
        if variable == (t,) and isinstance(function, sp.core.function.AppliedUndef):
            return rf"\dot{{{self._deal_with_name(function)}}}"
        return super()._print_Derivative(expr)

    def _deal_with_name(self, function: sp.Function) -> str:
        name = function.func.__name__
        known = _TABLE.get(name)
        return self._settings["symbol_names"].get(
            sp.Symbol(name), known.latex if known is not None else sp.latex(sp.Symbol(name))
        )

    def _print_MatrixSymbol(self, expr: sp.MatrixSymbol) -> str:
        chosen = self._settings["symbol_names"].get(sp.Symbol(expr.name))
        return chosen if chosen is not None else sp.latex(sp.Symbol(expr.name))

    def _hprint_Function(self, func: str) -> str:
        known = _TABLE.get(func)
        if known is not None:
            return self._settings["symbol_names"].get(sp.Symbol(func), known.latex)
        return super()._hprint_Function(func)


def latex(expression: object, names: Mapping[str, str] | None = None) -> str:
    r"""Return LaTeX of an expression or equation, with the table's names or the user's.

    Parameters
    ----------
    expression : SymPy object
        What to print.
    names : mapping of str to str, optional
        LaTeX for identifiers, say ``{"s": r"\sigma"}``.

    Examples
    --------
    >>> from symkernel import notation
    >>> assert notation.latex(notation.s / 2, {"s": r"\sigma"}) == r"\frac{\sigma}{2}"
    """
    chosen: dict[sp.Basic, str] = {e.symbol: e.latex for e in _TABLE.values()}
    for identifier, tex in (names or {}).items():
        known = _TABLE.get(identifier)
        chosen[known.symbol if known is not None else sp.Symbol(identifier)] = tex
        chosen[sp.Symbol(identifier)] = tex
    if isinstance(expression, sp.Basic):
        for symbol in expression.free_symbols:
            tex = (names or {}).get(getattr(symbol, "name", ""))
            if tex is not None:
                chosen[symbol] = tex
    printer = _Printer({"symbol_names": chosen, "fold_short_frac": False})
    return printer.doprint(expression)
