"""One mode of a task: what all mode laws know of it."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from symkernel.errors import InvalidArgument


@dataclass(frozen=True)
class Mode:
    r"""One mode of a task: strength $s$, input variance $d$, multiplicity (all may be symbols)."""

    s: sp.Expr
    d: sp.Expr
    multiplicity: sp.Expr

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Symbols without a value."""
        return self.s.free_symbols | self.d.free_symbols | self.multiplicity.free_symbols


def check_mode(mode: Mode) -> None:
    """Refuse a mode that no task has."""
    if mode.s.is_negative or mode.s.is_real is False:
        raise InvalidArgument(
            f"Argument 's' must hold non-negative strengths, not {mode.s}; turn the sign of the "
            f"output direction instead."
        )
    if mode.d.is_positive is False:
        raise InvalidArgument(f"Argument 'input_variance' must be positive, not {mode.d}.")
    if mode.multiplicity.is_integer is False or mode.multiplicity.is_positive is False:
        raise InvalidArgument(
            f"Argument 'multiplicity' must hold positive integers, not {mode.multiplicity}."
        )
