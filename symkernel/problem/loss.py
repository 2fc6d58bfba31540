r"""The loss: a factor times the mean over samples of the squared error, and weight decay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sympy as sp

from symkernel.problem.scalars import as_expression


@dataclass(frozen=True)
class SquaredError:
    r"""Squared error, mean over samples, and weight decay if it is wanted.

    $$L = \kappa\, \langle |y - f(x)|^2 \rangle + \frac{\gamma}{2} \sum_W |W|^2$$

    Parameters
    ----------
    factor : number or SymPy expression
        The factor $\kappa$; 1/2 in the house convention. For "mean over outputs too" use
        1/(2 n_outputs), for "sum over samples" use n_samples/2.
    weight_decay : number or SymPy expression
        The strength $\gamma$ of weight decay. The sum runs over all trained parameters, biases
        included, as they are: a scale of the parameterisation is not multiplied in.

    Raises
    ------
    InvalidArgument
        If the factor is a number and not positive, or the weight decay one and negative.

    Examples
    --------
    >>> from symkernel.problem.loss import SquaredError
    >>> assert SquaredError().factor * 2 == 1
    """

    factor: sp.Expr = sp.S.Half
    weight_decay: sp.Expr = sp.S.Zero

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Symbols without a value."""
        return self.factor.free_symbols | self.weight_decay.free_symbols

    def with_values(self, values: Mapping[sp.Symbol, object]) -> SquaredError:
        """Return the loss with numbers in place of symbols."""
        return SquaredError(self.factor.subs(values), self.weight_decay.subs(values))

    def __post_init__(self) -> None:
        decay = as_expression(self.weight_decay, "weight_decay", "non-negative")
        object.__setattr__(self, "factor", as_expression(self.factor, "factor"))
        object.__setattr__(self, "weight_decay", sp.S.Zero if decay.is_zero else decay)
