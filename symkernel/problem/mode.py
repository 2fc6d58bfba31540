"""One mode of a task: what all mode laws know of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sympy as sp

from symkernel.errors import InvalidArgument

# A task of modes holds five square arrays of this size.
_MOST_MODES = 8192


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


def samples_of(modes: tuple[Mode, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs and targets, one item for each input direction; for modes with numbers."""
    counts = [int(mode.multiplicity) for mode in modes]
    if sum(counts) > _MOST_MODES:
        raise InvalidArgument(
            f"Argument 'multiplicity' adds up to {sum(counts):,} modes, whose moments would take "
            f"{5 * 8 * sum(counts) ** 2 / 2**30:,.0f} GiB; use at most {_MOST_MODES:,} modes."
        )
    s = np.repeat([float(mode.s) for mode in modes], counts)
    d = np.repeat([float(mode.d) for mode in modes], counts)
    X = np.diag(np.sqrt(len(d) * d))
    return X, (s / d)[:, None] * X
