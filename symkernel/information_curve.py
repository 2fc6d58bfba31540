"""What the noisy hidden layer of a law tells of its inputs through training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

from symkernel.errors import (
    InvalidArgument,
    OutsideValidity,
    as_choice,
    as_positive,
    as_real_array,
)

if TYPE_CHECKING:
    from symkernel.compiled_law import CompiledLaw
    from symkernel.derivation import Derivation
    from symkernel.theory.information_derivation import DerivedFormula

# Times of the grid on which a peak is looked for before it is refined.
_GRID = 200
_SAME = 1e-9


@dataclass(frozen=True, eq=False)
class LayerInformation:
    """Information in the hidden layer at flow times, in bits.

    Attributes
    ----------
    times : ndarray, shape (n_times,)
    relevant, irrelevant : ndarray, shape (n_times,)
        About either, the other one known; with inputs of two values, all others known.
    noise : float
        Standard deviation of the noise of every hidden unit.
    """

    times: np.ndarray
    relevant: np.ndarray
    irrelevant: np.ndarray
    noise: float

    def __repr__(self) -> str:
        last = f"relevant {self.relevant[-1]:.4f}, irrelevant {self.irrelevant[-1]:.4f} bits"
        return (
            f"LayerInformation({len(self.times)} times; at the last {last}; absolute noise "
            f"{self.noise:g})"
        )


@dataclass(frozen=True, eq=False)
class InformationCurve:
    r"""Information of $h = W_1 x + \sigma\xi$ about inputs, along a law. Call it with flow times.

    Attributes
    ----------
    formula : DerivedFormula
        With the steps that lead to it, and their checks.
    """

    derivation: Derivation
    relevant: Any
    irrelevant: Any
    noise: float
    inputs: str
    covariance: np.ndarray | None
    values: Mapping[sp.Symbol, Any] | None

    def __repr__(self) -> str:
        return (
            f"InformationCurve({self.derivation.law.name!r}; relevant {self.relevant!r}, "
            f"irrelevant {self.irrelevant!r}; {self.inputs} inputs; absolute noise {self.noise:g})"
        )

    @property
    def formula(self) -> DerivedFormula:
        """The formula in the Gram matrix of the first layer's weights, which the law gives."""
        from symkernel import information

        if self.inputs == "binary":
            return information.binary_formula()
        return information.gaussian_formula()

    def latex(self, names: Mapping[str, str] | None = None) -> str:
        """Return the formula as an ``aligned`` block."""
        return self.formula.latex(names)

    def __call__(self, times: Any, rtol: float | None = None) -> LayerInformation:
        """Return the information at flow times.

        Parameters
        ----------
        times : array_like, shape (n_times,)
        rtol : float, optional
            Of laws that are integrated.
        """
        path = self._compiled(times, rtol)
        scale = float(self._compiled.problem.network.parameters[0].scale)
        gram = scale**2 * path.input_gram
        both = (self.relevant, self.irrelevant), (self.irrelevant, self.relevant)
        if self.inputs == "binary":
            found = [self._binary(gram, one) for one, _ in both]
        else:
            C = self._covariance()
            found = [self._gaussian(gram, C, one, other) for one, other in both]
        return LayerInformation(path.times, found[0], found[1], self.noise)

    def _gaussian(self, gram: np.ndarray, C: np.ndarray, of: Any, given: Any) -> np.ndarray:
        from symkernel import information

        found: np.ndarray = information.gaussian(gram, C, self.noise, of=of, given=given)
        return found

    def _binary(self, gram: np.ndarray, which: Any) -> np.ndarray:
        from symkernel import information

        whole = isinstance(which, (int, np.integer)) and not isinstance(which, bool)
        if not whole or not 0 <= which < gram.shape[1]:
            raise InvalidArgument(
                f"Arguments 'relevant' and 'irrelevant' must each be one input, 0 to "
                f"{gram.shape[1] - 1}, for inputs of two values, not {which!r}."
            )
        own = np.sqrt(np.maximum(gram[:, which, which], 0.0)) / self.noise
        found: np.ndarray = information.binary(own)
        return found

    @cached_property
    def _compiled(self) -> CompiledLaw:
        return self.derivation.compile(self.values)

    def _covariance(self) -> np.ndarray:
        if self.covariance is not None:
            return self.covariance
        phases = self._compiled.problem.curriculum.phases
        first, *others = (phase.task.Sxx for phase in phases)
        if any(np.abs(C - first).max() > _SAME * np.abs(first).max() for C in others):
            raise InvalidArgument(
                "Argument 'covariance' must be given, because the inputs have another one in each "
                "phase: information depends on whose inputs are shown."
            )
        return np.asarray(first)

    def peak(self, until: float, of: str = "irrelevant") -> tuple[float, float]:
        """Return when, up to a flow time, the information is largest, and how large.

        Parameters
        ----------
        until : float
            Flow time, positive.
        of : {"irrelevant", "relevant"}

        Raises
        ------
        OutsideValidity
            If it is largest at one of the ends: there is no hump.
        """
        from scipy.optimize import minimize_scalar

        side = as_choice(of, "of", ("irrelevant", "relevant"))
        grid = np.linspace(0.0, as_positive(until, "until"), _GRID + 1)
        bits = getattr(self(grid), side)
        top = int(bits.argmax())
        if top in (0, _GRID):
            end = "start" if top == 0 else "end"
            raise OutsideValidity(
                f"The {side} information is largest at the {end} of the times from 0 to {until:g}: "
                f"it has no hump there."
            )
        found = minimize_scalar(
            lambda time: -float(getattr(self([0.0, time]), side)[-1]),
            bounds=(grid[top - 1], grid[top + 1]),
            method="bounded",
            options={"xatol": 1e-7 * until},
        )
        return float(found.x), -float(found.fun)


def information_curve(
    derivation: Derivation,
    *,
    relevant: Any,
    irrelevant: Any,
    noise: float,
    inputs: str = "gaussian",
    covariance: Any = None,
    values: Mapping[sp.Symbol, Any] | None = None,
) -> InformationCurve:
    r"""Return what the noisy hidden layer of a law tells of inputs, as ``law.information(...)``.

    Parameters
    ----------
    derivation : Derivation
        Of a two-layer linear network, by a law that determines $W_1^T W_1$.
    relevant, irrelevant : int, sequence of int, or array_like of shape (k, n_inputs)
        Inputs, or directions as rows; the information about either is that beside the other.
    noise : float
        Standard deviation of the noise of the hidden units.
    inputs : {"gaussian", "binary"}
        How they are distributed: Gaussian, or 1 and -1, equally likely. For the first it is
        Shannon's information; for the second that about one input where all others are known.
    covariance : array_like, shape (n_inputs, n_inputs), optional
        Of Gaussian inputs; the second moment of the tasks by default.
    values : mapping of Symbol to number, optional
        A value for every symbol of the problem.

    Returns
    -------
    InformationCurve
        To be called with flow times.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> X = np.sqrt(2) * np.array([[1, 0.8], [0, 0.6]])  # two inputs of correlation 0.8
    >>> net = sk.Network.two_layer(inputs=2, hidden=4, outputs=1)
    >>> w0 = sk.weights.semi_orthogonal(net, a=0.1, b=0.1)
    >>> law = sk.derive(net, sk.Task(X, X[:, :1]), w0)
    >>> curve = law.information(relevant=0, irrelevant=1, noise=0.2)
    >>> found = curve([0.0, 3.0, 100.0])  # a hump: up, and back to where it was
    >>> assert found.irrelevant[1] > 1.2 * found.irrelevant[0]
    >>> assert np.isclose(found.irrelevant[2], found.irrelevant[0])
    """
    kind = as_choice(inputs, "inputs", ("gaussian", "binary"))
    own = None if covariance is None else as_real_array(covariance, "covariance", 2)
    size = as_positive(noise, "noise")
    return InformationCurve(derivation, relevant, irrelevant, size, kind, own, values)
