"""How a run descended, for what reads its trajectory afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy as sp

from symkernel.errors import InvalidArgument
from symkernel.problem.label_noise import LabelNoise
from symkernel.problem.loss import Loss


@dataclass(frozen=True, eq=False)
class Descent:
    """The settings of a run.

    Attributes
    ----------
    loss : SquaredError or CrossEntropy
    batch_size : int or None
    label_noise : tuple of LabelNoise or None
        Of each phase.
    resets : tuple of tuple of str
        Names of parameters that got new values at the start of each phase.
    """

    loss: Loss
    batch_size: int | None
    label_noise: tuple[LabelNoise | None, ...]
    resets: tuple[tuple[str, ...], ...]


def agreed(given: Any, recorded: Any, name: str) -> Any:
    """Return what a run recorded of a setting, and refuse another that is given."""
    same = type(given) is type(recorded) and _plain(given) == _plain(recorded)
    if given is not None and not same:
        raise InvalidArgument(
            f"Argument '{name}' must be that of the simulation, {recorded}, not {given}; leave it "
            f"out, and it is read off the trajectory."
        )
    return recorded


def _plain(setting: Any) -> Any:
    """Return what tells settings apart: of losses the numbers, as 1/2 is 0.5."""
    return [*map(sp.N, vars(setting).values())] if isinstance(setting, Loss) else setting
