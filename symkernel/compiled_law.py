"""A law with numbers, ready to be evaluated at flow times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from symkernel.errors import InvalidArgument, OutsideValidity, as_positive
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
        Which violations of its assumptions were accepted, and why it is worth nothing here if
        it is; empty where all is well. Trajectories carry it.
    """

    law: Law
    derived: Derived
    problem: Problem
    caveat: str = ""

    def __call__(
        self,
        times: Any,
        rtol: float | None = None,
        *,
        learning_rate: float | None = None,
        refreshes: Any = None,
    ) -> Trajectory:
        """Return the trajectory at flow times (increasing, not negative).

        Parameters
        ----------
        times : array_like, shape (n_times,)
            Flow times.
        rtol : float, optional
            Of laws that are integrated: the relative tolerance of the integration, the law's own
            by default.
        learning_rate : float, optional
            Of laws that know gradient descent too: its trajectory with this learning rate, phases
            and times rounded to whole steps, in place of the flow.
        refreshes : int or array_like, optional
            Of the law that refreshes its kernel: how often in each phase, a multiple of 4, in place
            of as often as `rtol` needs; or where, as increasing shares of each phase between 0 and
            1 that part it into a multiple of 4 pieces.
        """
        return self._found(times, rtol, learning_rate=learning_rate, refreshes=refreshes)

    def predict(
        self,
        X: Any,
        times: Any,
        rtol: float | None = None,
        *,
        gates: Mapping[str, Any] | None = None,
        learning_rate: float | None = None,
        refreshes: Any = None,
    ) -> Trajectory:
        """Return the trajectory looked at on inputs of your own, in place of the training samples.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_inputs)
            New inputs: outputs, hidden activity and named nodes are given at these; losses stay
            those of the tasks.
        times : array_like, shape (n_times,)
            Flow times.
        gates : mapping of str to array_like, optional
            Gates of the new inputs.
        rtol, learning_rate, refreshes
            As in a call.

        Examples
        --------
        >>> import numpy as np, symkernel as sk
        >>> net = sk.Network.two_layer(inputs=2, hidden=64, outputs=1, activation="tanh")
        >>> task = sk.Task(np.eye(2), np.array([[1.0], [-1.0]]))
        >>> law = sk.derive(net, task, sk.weights.gaussian(net, seed=0), law="frozen_kernel")
        >>> found = law.compile().predict(np.array([[0.5, 0.5], [1.0, 0.0]]), [0.0, 9.0])
        >>> trained = law.compile()([0.0, 9.0])
        >>> assert np.allclose(found.outputs[:, 1], trained.outputs[:, 0])
        """
        if X is None:
            raise InvalidArgument("Argument 'X' must hold inputs, one sample a row, not None.")
        options = {"learning_rate": learning_rate, "refreshes": refreshes, "gates": gates}
        return self._found(times, rtol, at=X, **options)

    def _found(self, times: Any, rtol: float | None, **options: Any) -> Trajectory:
        if rtol is not None and self.law.rtol is None:
            raise InvalidArgument(
                f"Argument 'rtol' must be left out, not {rtol!r}: the law '{self.law.name}' is "
                f"evaluated, not integrated."
            )
        given = {name: value for name, value in options.items() if value is not None}
        for name in given.keys() - set(self.law.options):
            what = {"at": "inputs of your own", "learning_rate": "gradient descent"}.get(name, name)
            raise OutsideValidity(
                f"The law '{self.law.name}' does not give its trajectory for {what}; "
                f"law='frozen_kernel' knows gradient descent and new inputs, law='relinearised' "
                f"new inputs and refreshes."
            )
        accuracy = () if rtol is None else (rtol,)
        found = self.law.trajectory(self.problem, times, *accuracy, **given)
        return replace(found, caveat=self.caveat)

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
        caveat = f"{self.caveat}; " if self.caveat else ""
        return f"CompiledLaw({self.law.name!r}; {caveat}call it with flow times)"

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
