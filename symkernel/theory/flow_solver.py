r"""Flows without a closed form, integrated to a requested accuracy.

DOP853 runs until its steps become so many that only stability can be what keeps them short; from
there on Radau's implicit steps follow, with the derived Jacobian. A step ends at every wanted
time, because interpolation inside a long step loses digits.

References
----------
E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary Differential Equations I (DOP853) and II
(Radau IIA).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from symkernel.errors import InvalidArgument, SymkernelError

# The relative tolerance of laws that are differential equations, unless the user asks for another.
RTOL = 1e-13
_FINEST, _COARSEST = 3e-14, 1e-2
# Explicit steps before implicit ones take over, and before a flow too large for these is refused.
_PATIENCE, _LIMIT = 4_000, 200_000
# Numbers that implicit steps keep for each entry of the Jacobian: it, a real and a complex
# factorisation, and what they are made from.
_COPIES = 8
_MOST_BYTES = 2**30

Rate = Callable[[float, np.ndarray], np.ndarray]


def as_tolerance(value: object) -> float:
    """Return a relative tolerance that the integrators can reach."""
    number = value if isinstance(value, (int, float, np.floating, np.integer)) else math.nan
    if isinstance(value, bool) or not _FINEST <= number <= _COARSEST:
        raise InvalidArgument(
            f"Argument 'rtol' must be a relative tolerance between {_FINEST:g} and {_COARSEST:g}, "
            f"not {value!r}; finer ones are below the rounding of the flow."
        )
    return float(number)


@dataclass
class Integration:
    """One phase of a flow: where it stands, and by which method it goes on.

    Parameters
    ----------
    rate, jacobian : callable
        Of time and state; without a Jacobian implicit steps take differences.
    rtol : float
        Relative tolerance of a step.
    floor : float
        Absolute tolerance of a step: entries below it carry no digits.
    """

    rate: Rate
    jacobian: Rate | None
    rtol: float
    floor: float
    steps: int = 0
    stiff: bool = False
    suggested: float | None = None

    def through(self, state: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Return the state at increasing times, counted from the start of the phase."""
        rows = np.empty((len(times), state.size))
        at = 0.0
        for row, moment in zip(rows, times, strict=True):
            while at < moment:
                at, state = self._towards(at, state, float(moment))
            row[:] = state
        return rows

    def _towards(self, at: float, state: np.ndarray, end: float) -> tuple[float, np.ndarray]:
        from scipy.integrate import DOP853, Radau

        options = {"rtol": self.rtol, "atol": self.floor}
        if self.suggested is not None:
            options["first_step"] = min(self.suggested, end - at)
        if self.stiff:
            solver = Radau(self.rate, at, state, end, jac=self.jacobian, **options)
        else:
            solver = DOP853(self.rate, at, state, end, **options)
        while solver.status == "running":
            message = solver.step()
            self.steps += 1
            if solver.status == "failed":
                raise SymkernelError(
                    f"The integrator stopped at flow time {solver.t}: {message}; ask for earlier "
                    f"times, or a coarser 'rtol'."
                )
            if not self.stiff and self._is_stiff(state.size, solver.t):
                break
        # The first implicit step is chosen anew.
        switched = self.stiff and isinstance(solver, DOP853)
        self.suggested = None if switched else float(solver.h_abs)
        return float(solver.t), solver.y

    def _is_stiff(self, size: int, at: float) -> bool:
        if self.steps < _PATIENCE:
            return False
        need = 8 * _COPIES * size**2
        self.stiff = need <= _MOST_BYTES
        if not self.stiff and self.steps >= _LIMIT:
            raise InvalidArgument(
                f"The flow is stiff: {self.steps:,} explicit steps led to flow time {at:g} only. "
                f"Implicit steps would take {need:,} bytes ({need / 2**30:.1f} GiB) for the "
                f"Jacobian of {size:,} entries of the weights, which is more than 1 GiB; ask for "
                f"earlier times, a coarser 'rtol', or use fewer inputs."
            )
        return self.stiff


def starting_floor(state: np.ndarray, rtol: float) -> float:
    """Return an absolute tolerance far below the digits of every entry that matters."""
    return max(1e-3 * rtol * float(np.abs(state).max(initial=0.0)), np.finfo(float).tiny)
