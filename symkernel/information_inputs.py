r"""How the inputs of a noisy layer are distributed, and what the layer tells of them.

Each kind gives bits about some inputs from $A = W^T W$, and the formula that it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from symkernel.errors import InvalidArgument, OutsideValidity

if TYPE_CHECKING:
    from symkernel.theory.information_derivation import DerivedFormula

# Relative; distances of classes and inner products of weights beyond it are other ones.
_SAME = 1e-7


class Inputs(Protocol):
    """A distribution of inputs."""

    def bits(self, gram: np.ndarray, noise: float, of: Any, other: Any) -> np.ndarray:
        """Return bits about inputs through time, the others known or not."""

    def spread(self, count: int, groups: tuple[Any, Any]) -> np.ndarray:
        """Return the covariance of all inputs."""

    def formula(self) -> DerivedFormula:
        """Return the formula for the bits."""


@dataclass(frozen=True, eq=False)
class GaussianInputs:
    """Gaussian inputs, and decoders of a family; see `sk.information.v_information`."""

    marginal: bool
    covariance: np.ndarray | None
    family: str
    variance: float | None

    def __str__(self) -> str:
        return f"Gaussian inputs, {_known(self.marginal)}, decoders of {self.family}"

    def bits(self, gram: np.ndarray, noise: float, of: Any, other: Any) -> np.ndarray:
        """Return bits about inputs or directions."""
        from symkernel import information

        found: np.ndarray = information.v_information(
            gram,
            self.covariance,
            noise,
            of=of,
            given=() if self.marginal else other,
            family=self.family,
            variance=self.variance,
        )
        return found

    def spread(self, count: int, groups: tuple[Any, Any]) -> np.ndarray:
        """Return the covariance of all inputs."""
        return np.asarray(self.covariance)

    def formula(self) -> DerivedFormula:
        """Return Shannon's formula, or that of the family."""
        from symkernel import information

        if self.family == information.FAMILIES[0]:
            return information.gaussian_formula()
        return information.v_information_formula(self.family)


@dataclass(frozen=True)
class BinaryInputs:
    """Independent inputs of the values 1 and -1, equally likely."""

    marginal: bool

    def __str__(self) -> str:
        return f"inputs 1 and -1, {_known(self.marginal)}"

    def bits(self, gram: np.ndarray, noise: float, of: Any, other: Any) -> np.ndarray:
        """Return bits about one input, all others known."""
        from symkernel import information

        count = gram.shape[1]
        if _is_no_index(of, count):
            raise InvalidArgument(
                f"Arguments 'relevant' and 'irrelevant' must each be one input, 0 to {count - 1}, "
                f"for inputs of two values, not {of!r}."
            )
        own = np.maximum(gram[:, of, of], 0.0)
        if self.marginal:
            products = np.abs(np.delete(gram[:, of], of, axis=1)).max(1, initial=0.0)
            sizes = np.abs(np.diagonal(gram, axis1=1, axis2=2)).max(1)
            _refuse_mixture(products, np.sqrt(own * sizes))
        found: np.ndarray = information.binary(np.sqrt(own) / noise)
        return found

    def spread(self, count: int, groups: tuple[Any, Any]) -> np.ndarray:
        """Return the covariance of all inputs."""
        return np.eye(count)

    def formula(self) -> DerivedFormula:
        """Return that of two classes."""
        from symkernel import information

        return information.binary_formula()


@dataclass(frozen=True)
class ClassInputs:
    """One input of each group is 1 and its others are 0, all equally likely: classes."""

    marginal: bool

    def __str__(self) -> str:
        return f"classes, {_known(self.marginal)}"

    def bits(self, gram: np.ndarray, noise: float, of: Any, other: Any) -> np.ndarray:
        """Return bits about which of some inputs is 1, those of the other group known."""
        from symkernel import information

        classes, others = (self._classes(value, gram.shape[1]) for value in (of, other))
        both = set(classes) & set(others)
        if both:
            raise InvalidArgument(
                f"Arguments 'relevant' and 'irrelevant' must name different inputs, but both hold "
                f"{min(both)}."
            )
        if not classes:
            return np.zeros(len(gram))
        own = gram[:, classes][:, :, classes]
        if self.marginal and others:
            cross = gram[:, classes][:, :, others]
            for axis in (1, 2):
                cross = cross - cross.mean(axis, keepdims=True)
            _refuse_mixture(np.abs(cross).max((1, 2)), np.abs(gram).max((1, 2)))
        squares = np.diagonal(own, axis1=1, axis2=2)
        between = squares[:, :, None] + squares[:, None] - 2 * own
        pairs = between[:, *np.triu_indices(len(classes), 1)]
        apart = np.ptp(pairs, axis=1)
        if (apart > _SAME * squares.max(1)).any():
            raise OutsideValidity(
                f"The information about {len(classes)} classes is a one-dimensional integral where "
                f"they are at one distance in the layer, but squared distances are between "
                f"{pairs[apart.argmax()].min():.3g} and {pairs[apart.argmax()].max():.3g}; measure "
                f"it with sk.usable_information on the compiled law's weights."
            )
        apart_by = np.sqrt(np.maximum(pairs.mean(1), 0.0) / 2) / noise
        found: np.ndarray = information.categorical(len(classes), apart_by)
        return found

    def spread(self, count: int, groups: tuple[Any, Any]) -> np.ndarray:
        """Return the covariance of all inputs; those of no group are always 0."""
        found = np.zeros((count, count))
        for group in (self._classes(value, count) for value in groups):
            if group:
                found[np.ix_(group, group)] = (np.eye(len(group)) - 1 / len(group)) / len(group)
        return found

    @staticmethod
    def _classes(value: Any, count: int) -> list[int]:
        given = list(value) if isinstance(value, (Sequence, np.ndarray)) else [value]
        wrong = any(_is_no_index(one, count) for one in given) or len(set(given)) < len(given)
        if wrong or len(given) == 1:
            raise InvalidArgument(
                f"Arguments 'relevant' and 'irrelevant' must each name two or more different "
                f"inputs, 0 to {count - 1}, for classes, or be empty, not {value!r}."
            )
        return [int(one) for one in given]

    def formula(self) -> DerivedFormula:
        """Return that of K classes."""
        from symkernel import information

        return information.categorical_formula()


def _known(marginal: bool) -> str:
    return "marginal" if marginal else "conditional"


def _is_no_index(value: Any, count: int) -> bool:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return not whole or not 0 <= value < count


def _refuse_mixture(products: np.ndarray, sizes: np.ndarray) -> None:
    if (products > _SAME * sizes).any():
        raise OutsideValidity(
            "The marginal information is that of a mixture here, for which there is no "
            "one-dimensional integral: the layer's weights of the inputs that are asked for are "
            "not orthogonal to those of others. Leave out marginal=True, or measure it with "
            "sk.usable_information on the compiled law's weights."
        )
