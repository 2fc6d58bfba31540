r"""The loss: a factor times the mean over samples of the squared error summed over outputs."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from symkernel.errors import InvalidArgument


@dataclass(frozen=True)
class SquaredError:
    r"""Squared error $L = \kappa\, \langle |y - f(x)|^2 \rangle$, mean over samples.

    Parameters
    ----------
    factor : number or SymPy expression
        The factor $\kappa$; 1/2 in the house convention. For "mean over outputs too" use
        1/(2 n_outputs), for "sum over samples" use n_samples/2.

    Raises
    ------
    InvalidArgument
        If the factor is a number and not positive.

    Examples
    --------
    >>> from symkernel.problem.loss import SquaredError
    >>> assert SquaredError().factor * 2 == 1
    """

    factor: sp.Expr = sp.S.Half

    def __post_init__(self) -> None:
        number = isinstance(self.factor, (int, float, sp.Expr)) and not isinstance(
            self.factor, bool
        )
        factor = sp.sympify(self.factor) if number else sp.nan
        if factor.is_positive is False or factor.is_finite is False or factor is sp.nan:
            raise InvalidArgument(
                f"Argument 'factor' must be a positive number or symbol, not {self.factor!r}; "
                f"the house convention is 1/2."
            )
        object.__setattr__(self, "factor", factor)
