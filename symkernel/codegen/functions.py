r"""SymPy functions that stand for compiled bodies: each with its definition.

SymPy's own `expm1` and `hypot` (sympy.codegen.cfunctions) are used where they exist.
"""

from __future__ import annotations

from abc import abstractmethod

import sympy as sp


class _Defined(sp.Function):
    """A function of one argument that its `definition` evaluates."""

    nargs = 1

    @abstractmethod
    def definition(self) -> sp.Expr:
        """Return the function written out."""

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.definition()._eval_evalf(prec)


class tanhc(_Defined):
    r"""The entire-on-the-line function $\tanh(x)/x$, 1 at $x = 0$.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.codegen.functions import tanhc
    >>> assert tanhc(0) == 1 and tanhc(sp.Symbol("x")).definition().limit("x", 0) == 1
    """

    @classmethod
    def eval(cls, x: sp.Expr) -> sp.Expr | None:
        """Return the value at 0, which SymPy evaluates."""
        return sp.S.One if x.is_zero else None

    def definition(self) -> sp.Expr:
        """Return the function written out; valid for x other than 0."""
        return sp.tanh(self.args[0]) / self.args[0]

    def _latex(self, printer: object) -> str:
        return rf"\operatorname{{tanhc}}\left({printer._print(self.args[0])}\right)"  # type: ignore[attr-defined]


class decay(_Defined):
    r"""$e^{-x}$ for $x \ge 0$; with `rise` of the same argument it costs one exponential."""

    def definition(self) -> sp.Expr:
        """Return the function written out."""
        return sp.exp(-self.args[0])


class sigmoid(_Defined):
    r"""$1/(1 + e^{-x})$, without overflow for either sign of $x$."""

    def definition(self) -> sp.Expr:
        """Return the function written out."""
        return 1 / (1 + sp.exp(-self.args[0]))


class softplus(_Defined):
    r"""$\ln(1 + e^x)$, without overflow, relative accuracy where it is small."""

    def definition(self) -> sp.Expr:
        """Return the function written out."""
        return sp.log(1 + sp.exp(self.args[0]))


class rise(_Defined):
    r"""$1 - e^{-x}$ for $x \ge 0$, without cancellation near 0.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.codegen.functions import decay, rise
    >>> x = sp.Symbol("x")
    >>> assert sp.expand(rise(x).definition() + decay(x).definition()) == 1
    """

    def definition(self) -> sp.Expr:
        """Return the function written out."""
        return 1 - sp.exp(-self.args[0])
