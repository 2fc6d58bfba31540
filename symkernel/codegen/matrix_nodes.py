r"""The few matrix expressions that SymPy lacks, or prints badly, in formulas of networks.

Everything else in such a formula is SymPy's own: `MatrixSymbol`, `MatMul`, `MatAdd`, `Transpose`,
`Identity`, `HadamardProduct`.
"""

from __future__ import annotations

from typing import Any

import sympy as sp
from sympy.core.symbol import Str
from sympy.matrices.expressions.diagonal import DiagMatrix
from sympy.matrices.expressions.matexpr import MatrixExpr
from sympy.matrices.expressions.slice import MatrixSlice
from sympy.printing.precedence import PRECEDENCE

from symkernel.problem.scalars import as_sympy

__all__ = ["Diagonal", "Elementwise", "InnerProduct", "Rows"]


class InnerProduct(sp.Expr):
    r"""The scalar $u \cdot v$ of two columns.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.codegen.matrix_nodes import InnerProduct
    >>> u, v = sp.Matrix([1, 2]), sp.Matrix([3, 4])
    >>> assert InnerProduct(u, v).doit() == 11
    """

    is_commutative = True

    def __new__(cls, left: Any, right: Any) -> InnerProduct:
        """Return the product; the columns are of one length, known or not."""
        return sp.Expr.__new__(cls, as_sympy(left), as_sympy(right))

    def doit(self, **hints: Any) -> sp.Expr:
        """Return the sum over entries if both columns are explicit matrices.

        Not if merely their length is known: SymPy's printers call this on the way, and the sum
        over a layer of thousands of units takes minutes.
        """
        columns = [v.doit(**hints) if hints.get("deep", True) else v for v in self.args]
        if not all(isinstance(v, sp.MatrixBase) for v in columns):
            return InnerProduct(*columns)
        return sp.Add(*(a * b for a, b in zip(*columns, strict=True)))

    def _latex(self, printer: Any) -> str:
        left, right = (printer.parenthesize(v, PRECEDENCE["Mul"]) for v in self.args)
        return rf"\left({left} \cdot {right}\right)"

    def _sympystr(self, printer: Any) -> str:
        left, right = (printer.parenthesize(v, PRECEDENCE["Mul"]) for v in self.args)
        return f"({left} . {right})"


class Elementwise(MatrixExpr):
    r"""A scalar function of every entry, $\phi(v)$.

    Parameters
    ----------
    function : sympy.Lambda
        The function; it alone decides what is computed.
    argument : matrix expression
        What it is applied to.
    label : str
        Identifier under which it is printed; the formula says what the label means.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.codegen.matrix_nodes import Elementwise
    >>> z = sp.Symbol("z")
    >>> v = sp.Matrix([0, 1])
    >>> assert Elementwise(sp.Lambda(z, sp.tanh(z)), v, "phi").as_explicit()[1] == sp.tanh(1)
    """

    def __new__(cls, function: sp.Lambda, argument: Any, label: str | Str) -> Elementwise:
        """Return the application; nothing is evaluated."""
        text = label if isinstance(label, Str) else Str(label)
        return MatrixExpr.__new__(cls, function, as_sympy(argument), text)

    @property
    def function(self) -> sp.Lambda:
        """The scalar function."""
        return self.args[0]

    @property
    def argument(self) -> Any:
        """What it is applied to."""
        return self.args[1]

    @property
    def label(self) -> str:
        """Identifier under which the function is printed."""
        return self.args[2].name

    @property
    def shape(self) -> tuple[Any, Any]:
        """The shape of the argument."""
        return self.argument.shape

    def _entry(self, i: Any, j: Any, **kwargs: Any) -> sp.Expr:
        return self.function(self.argument[i, j])

    def doit(self, **hints: Any) -> Any:
        """Apply the function where the argument is an explicit matrix."""
        inner = self.argument.doit(**hints) if hints.get("deep", True) else self.argument
        if isinstance(inner, sp.MatrixBase):
            return inner.applyfunc(self.function)
        return Elementwise(self.function, inner, self.label)

    def _latex(self, printer: Any) -> str:
        names = printer._settings["symbol_names"]
        name = names.get(sp.Symbol(self.label), sp.latex(sp.Symbol(self.label)))
        return rf"{name}\left({printer._print(self.argument)}\right)"

    def _sympystr(self, printer: Any) -> str:
        return f"{self.label}({printer._print(self.argument)})"


class Diagonal(DiagMatrix):
    r"""$\operatorname{diag}(v)$, printed like that.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.codegen.matrix_nodes import Diagonal
    >>> v = sp.MatrixSymbol("v", 3, 1)
    >>> assert sp.latex(Diagonal(v)) == r"\operatorname{diag}\left(v\right)"
    """

    @property
    def argument(self) -> Any:
        """The vector on the diagonal."""
        return self.args[0]

    def doit(self, **hints: Any) -> Any:
        """Write the matrix out where the vector is explicit."""
        done = super().doit(**hints)
        return Diagonal(done.args[0]) if isinstance(done, DiagMatrix) else done

    def _latex(self, printer: Any) -> str:
        return rf"\operatorname{{diag}}\left({printer._print(self.argument)}\right)"

    def _sympystr(self, printer: Any) -> str:
        return f"diag({printer._print(self.argument)})"


class Rows(MatrixSlice):
    r"""Rows start to stop (excluded) of a vector or of an identity, $v_{[0:3]}$.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.codegen.matrix_nodes import Rows
    >>> v = sp.MatrixSymbol("v", 5, 1)
    >>> assert Rows(v, (0, 3)).shape == (3, 1) and Rows(v, (1, 3)).as_explicit()[1] == v[2, 0]
    """

    def __new__(cls, parent: Any, rows: Any, columns: Any = None) -> Rows:
        """Return the rows; `columns` is there for SymPy's rebuilding and means all of them."""
        return MatrixSlice.__new__(cls, parent, rows, (0, parent.shape[1]))

    def _text(self, printer: Any) -> tuple[str, str]:
        start, stop, _ = self.rowslice
        parent = printer._print(self.parent)
        if not isinstance(self.parent, (sp.MatrixSymbol, sp.Identity)):
            parent = f"({parent})"
        return parent, f"{printer._print(start)}:{printer._print(stop)}"

    def _latex(self, printer: Any) -> str:
        parent, span = self._text(printer)
        return rf"{{{parent}}}_{{[{span}]}}"

    def _sympystr(self, printer: Any) -> str:
        parent, span = self._text(printer)
        return f"{parent}[{span}]"
