"""A law with numbers, ready to be evaluated at flow times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from symkernel.errors import InvalidArgument, as_positive
from symkernel.formula import Derived, Law
from symkernel.problem.problem import Problem
from symkernel.trajectory import Trajectory


@dataclass(frozen=True, eq=False, repr=False)
class CompiledLaw:
    """A law with numbers: call it with flow times to get a `Trajectory`.

    Attributes
    ----------
    problem : Problem
        With numbers.
    source : str
        The numba module that evaluates the mode-level law.
    rewritings : tuple of Rewriting
        The rules that led from the derived formula to it, with operation counts.
    caveat : str
        Which violations of its assumptions were accepted; empty where all hold. Trajectories
        carry it among their conventions.
    """

    law: Law
    derived: Derived
    problem: Problem
    caveat: str = ""

    def __call__(self, times: Any, rtol: float | None = None) -> Trajectory:
        """Return the trajectory at flow times (increasing, not negative).

        Parameters
        ----------
        times : array_like, shape (n_times,)
            Flow times.
        rtol : float, optional
            Of laws that are integrated: the relative tolerance of the integration, the law's own
            by default.
        """
        if rtol is not None and self.law.rtol is None:
            raise InvalidArgument(
                f"Argument 'rtol' must be left out, not {rtol!r}: the law '{self.law.name}' is "
                f"evaluated, not integrated."
            )
        accuracy = () if rtol is None else (rtol,)
        found = self.law.trajectory(self.problem, times, *accuracy)
        if self.caveat:
            return replace(found, conventions=(*found.conventions, self.caveat))
        return found

    def weights(self, times: Any, rtol: float = 1e-10) -> Mapping[str, np.ndarray]:
        r"""Return the weights at flow times, also where no closed form gives them.

        Laws of products of the weights leave the hidden layer open up to a rotation. The weights
        obey a linear equation whose coefficients the law knows; it is integrated here (DOP853).

        Parameters
        ----------
        times : array_like, shape (n_times,)
            Flow times, increasing.
        rtol : float
            Relative tolerance of the integration.

        Returns
        -------
        mapping of str to ndarray, (n_times,) + shape of the parameter
        """
        rtol = as_positive(rtol, "rtol")
        if self.law.weights is None:
            return self(times).weights
        return MappingProxyType(self.law.weights(self.problem, times, rtol))

    def __repr__(self) -> str:
        rank = "an approximation; " if self.caveat else ""
        return f"CompiledLaw({self.law.name!r}; {rank}call it with flow times)"

    @cached_property
    def _routine(self) -> Any:
        return self.derived.routine()

    @property
    def source(self) -> str:
        """The numba module that evaluates the mode-level law."""
        return self._routine.source

    @property
    def rewritings(self) -> tuple[Any, ...]:
        """The rules that led from the derived formula to it."""
        return self._routine.rewritings
