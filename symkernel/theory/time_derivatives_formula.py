r"""Time derivatives as formulas: written out, in LaTeX, and the hierarchy that they come from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sympy as sp

from symkernel import equations, typesetting
from symkernel.errors import InvalidArgument, as_count
from symkernel.formula import Formula

__all__ = ["TimeDerivative", "hierarchy"]

# An expression of more operations is not written out in its weights.
_MOST_WRITTEN = 100_000
# Equations and lines that explain them that fit on one page.
_LINES = 24


@dataclass(frozen=True)
class TimeDerivative(Formula):
    """One order of the hierarchy: a matrix in names, and the lines that explain them.

    Attributes
    ----------
    entries : tuple of Symbol
        Names of the entries of `expression`.
    texts : mapping of str to str
        LaTeX of the names.
    powers : tuple of (Symbol, int), optional
        Of a power series: the time, and the highest order.

    Examples
    --------
    >>> import sympy as sp, symkernel as sk
    >>> net = sk.Network.two_layer(1, 1, 1)
    >>> task = sk.Task(sp.Matrix([[1]]), sp.Matrix([[sp.Symbol("s")]]))
    >>> first = sk.time_derivatives(net, task, order=1).orders[1]
    >>> assert str(first.expression[0]) == "-K_0_0_0_0*r_0_0"
    >>> W1, W2 = (sp.Symbol(name, real=True) for name in ("W1_0_0", "W2_0_0"))
    >>> change = (W1**2 + W2**2) * (sp.Symbol("s") - W1 * W2)
    >>> assert sp.expand(first.plain[0] - change) == 0
    """

    entries: tuple[sp.Symbol, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    powers: tuple[sp.Symbol, int] | None = None

    @property
    def operations(self) -> int:
        """Operations of the expression and of the lines that explain it."""
        parts = [*self.expression, *(meaning for _, meaning in self.where)]
        return int(sum(sp.count_ops(part) for part in parts))

    @property
    def plain(self) -> Any:
        """The expression written out in weights and data.

        Raises
        ------
        InvalidArgument
            If that took more than 100,000 operations.
        """
        known: dict[Any, Any] = {}
        sizes: dict[Any, int] = {}
        for symbol, meaning in self.where:
            size = self._affordable(meaning, sizes)
            known[symbol] = meaning.xreplace(known)
            sizes[symbol] = 0 if known[symbol].is_Rational else size
        for entry in self.expression:
            self._affordable(entry, sizes)
        return self.expression.xreplace(known)

    def _affordable(self, expression: sp.Expr, sizes: Mapping[Any, int]) -> int:
        inner = (expression.count(q) * sizes.get(q, 0) for q in expression.free_symbols)
        size = int(sp.count_ops(expression)) + sum(inner)
        if size > _MOST_WRITTEN:
            raise InvalidArgument(
                f"Written out in the weights, the {self.name} would take more than "
                f"{_MOST_WRITTEN:,} operations; work with 'expression' and 'where', which take "
                f"{self.operations:,}, or compile."
            )
        return size

    def latex(self, names: Mapping[str, str] | None = None, *, lines: int = _LINES) -> str:
        r"""Return an ``aligned`` block: an equation for each entry, then lines that explain them.

        Parameters
        ----------
        names : mapping of str to str, optional
            LaTeX for identifiers.
        lines : int
            Most equations, and lines that explain them, together; of more, those furthest from
            the equations are left out: activities in terms of weights.

        Notes
        -----
        A $\partial_t$ differentiates the one name that follows, not what stands behind it.
        """
        most = as_count(lines, "lines", 1)
        typesetting.check_names(names)
        chosen = {**self.texts, **(names or {})}
        pairs = dict(zip(self.entries, self.expression, strict=True))
        rows = [(self._left(name, chosen), _rounded(entry)) for name, entry in pairs.items()]
        rows = rows[:most]
        shown = self.where[max(0, len(self.where) - (most - len(rows))) :]
        explained = [(symbol, _rounded(meaning)) for symbol, meaning in reversed(shown)]
        return equations.block(rows, explained, chosen)

    def _left(self, name: sp.Symbol, chosen: dict[str, str]) -> sp.Symbol:
        """Return what stands on the left: in a series not the value at the start, and its error."""
        if self.powers is None:
            return name
        t, order = self.powers
        left = sp.Symbol(f"{name}_in_{t}")
        clock = typesetting.latex(t, chosen)
        value = typesetting.latex(name, chosen)
        chosen[left.name] = rf"\left.{value}\right|_{{{clock}}} + O({clock}^{{{order + 1}}})"
        return left


def hierarchy(of: str, order: int, factor: sp.Expr, names: Mapping[str, str] | None = None) -> str:
    """Return the hierarchy in kernels as it is written on paper: a row for each order."""
    typesetting.check_names(names)
    moving, letter = {"output": ("f(x)", "f"), "ntk": ("K(x, x')", "K")}.get(of, ("p(x)", "p"))
    kernel = (
        f"K({moving[2:-1]}, x_i)" if letter == "f" else f"K_{{{letter},f}}({moving[2:-1]}, x_i)"
    )
    pace = typesetting.latex(-2 * factor, names)
    pace = {"1": "", "-1": "- "}.get(pace, pace + r"\, ")
    rows = []
    for n in range(1, order + 1):
        terms = []
        for k in range(n):
            number = math.comb(n - 1, k)
            front = "" if number == 1 else f"{number}\\, "
            moved = _derived(kernel, n - 1 - k)
            residual = "r(x_i)" if k == 0 else _derived("f(x_i)", k)
            terms.append(rf"{front}{moved}\, {residual}")
        body = " + ".join(terms)
        body = body if n == 1 else rf"\left[{body}\right]"
        rows.append(rf"{_derived(moving, n)} &= {pace}\sum_i c_i\, {body}")
    if letter != "f" and order > 1:
        rows.append(rf"\partial_t f(x) &= {pace}\sum_i c_i\, K(x, x_i)\, r(x_i)")
    rows.append(r"\text{where}\quad r(x_i) &= f(x_i) - y_i, \qquad \sum_i c_i = 1")
    what = "pseudo-kernel" if letter == "p" else "tangent kernel"
    rows.append(
        rf"&\quad {kernel} \text{{: {what}}}, \quad c_i \text{{: share of a sample in the loss}}"
    )
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def _derived(tex: str, order: int) -> str:
    if order == 0:
        return tex
    return rf"\partial_t{'' if order == 1 else f'^{{{order}}}'} {tex}"


def _rounded(expression: Any) -> Any:
    """Return an expression in which long fractions are decimals of 6 digits, to be read."""
    long = {q for q in expression.atoms(sp.Rational) if max(abs(q.p), q.q) > 10**6}
    return expression.xreplace({q: sp.Float(q, 6) for q in long})
