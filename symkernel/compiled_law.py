"""A law with numbers, ready to be evaluated at flow times."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

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
    """

    law: Law
    derived: Derived
    problem: Problem

    def __call__(self, times: Any) -> Trajectory:
        """Return the trajectory at flow times (increasing, not negative)."""
        return self.law.trajectory(self.problem, times)

    def __repr__(self) -> str:
        return f"CompiledLaw({self.law.name!r}; call it with flow times)"

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
        return self._routine.lowered.rewritings
