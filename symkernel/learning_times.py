"""When the modes of a derived law are learned, and in what order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import sympy as sp

from symkernel import notation
from symkernel.errors import InvalidArgument, MissingValues, OutsideValidity
from symkernel.problem.values import is_time

if TYPE_CHECKING:
    from symkernel.derivation import Derivation


def learning_time(
    derivation: Derivation, fraction: Any, mode: int | None, phase: int, small_scale: bool
) -> sp.Expr:
    """Return the flow time at which a mode reaches a fraction of its final value in a phase.

    Parameters and errors are those of `Derivation.learning_time`; a mode that is None stands for
    the law's own symbols.
    """
    law = derivation.derived.learning_time
    if law is None:
        raise derivation.not_per_mode("learning_time")
    share = _as_share(fraction)
    formula = law(mode, phase, small_scale)
    entry = {notation.fraction: share}
    time = formula.expression.xreplace(entry)
    for symbol, meaning in reversed(formula.where):
        time = time.xreplace({symbol: meaning.xreplace(entry)})
    value = time.xreplace(derivation.named)
    if time == sp.oo or (value.is_number and not is_time(value)):
        raise OutsideValidity(
            "The mode has no such learning time: it starts beyond that fraction of its final "
            "value, its strength or its initial weights are 0, or its two sides are exactly "
            "opposite, so that it falls to the saddle at 0."
        )
    return time


def meant(derivation: Derivation, fraction: Any, mode: int | None) -> int | None:
    """Return the mode whose learning time is asked for; None for the law's own symbols.

    Numbers in problem and fraction ask for a number, which only the time of one mode is.
    """
    numeric = derivation.problem.is_numeric_but_for_durations
    general = not numeric or getattr(fraction, "free_symbols", False)
    if mode is not None or general or derivation.derived.learning_time is None:
        return mode
    count = _mode_count(derivation)
    if count > 1:
        raise InvalidArgument(
            f"Argument 'mode' must be one of the problem's {count} modes, 0 to {count - 1}, not "
            f"None: each has a learning time of its own. 'learning_order' lists all of them; with "
            f"a symbol as fraction the formula for any mode is returned."
        )
    return 0


def _mode_count(derivation: Derivation) -> int:
    task = derivation.problem.curriculum.phases[0].task
    if derivation.problem.network.is_diagonal:
        return int(derivation.problem.network.inputs)
    if derivation.problem.is_numeric_but_for_durations:
        return min(task.Syx.shape)
    return len((task.exact.modes if task.exact is not None else task.modes) or ())


def _as_share(fraction: Any) -> sp.Expr:
    known = isinstance(fraction, (int, float, sp.Expr)) and not isinstance(fraction, bool)
    nan = fraction is sp.nan or (isinstance(fraction, float) and math.isnan(fraction))
    if not known or nan or getattr(fraction, "is_real", True) is False:
        raise InvalidArgument(
            f"Argument 'fraction' must be a number between 0 and 1 or a SymPy expression, not "
            f"{fraction!r}."
        )
    share = fraction if isinstance(fraction, sp.Expr) else sp.Float(fraction)
    if share.is_number and not 0 < share < 1:
        raise InvalidArgument(
            f"Argument 'fraction' must lie between 0 and 1, not {fraction}; the final value "
            f"itself is reached only in the limit."
        )
    return share


def learning_order(
    derivation: Derivation, fraction: Any, phase: int
) -> tuple[tuple[int, sp.Expr], ...]:
    """Return the modes in the order in which they are learned; see `Derivation.learning_order`."""
    if derivation.derived.learning_time is None:
        raise derivation.not_per_mode("learning_order")
    times: list[tuple[int, sp.Expr]] = []
    for k in range(_mode_count(derivation)):
        try:
            times.append((k, learning_time(derivation, fraction, k, phase, False)))
        except OutsideValidity:
            times.append((k, sp.oo))
    unknown = {q.name for _, time in times for q in time.xreplace(derivation.named).free_symbols}
    if unknown and len(times) > 1:
        raise MissingValues(
            f"The order of the modes depends on {', '.join(sorted(unknown))}; give numbers, or "
            f"compare the formulas of 'learning_time' yourself."
        )
    return tuple(sorted(times, key=lambda found: found[1].xreplace(derivation.named)))
