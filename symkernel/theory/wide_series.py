"""Kernels of wide networks layer by layer, for activations without closed form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

from symkernel.errors import OutsideValidity
from symkernel.problem.activation import Activation
from symkernel.theory.gaussian_averages import (
    COSINE,
    COVARIANCE,
    SINE,
    VARIANCES,
    gaussian_averages,
)
from symkernel.theory.hermite_averages import Projection, hermite_averages
from symkernel.theory.wide_layers import LEAST_VARIANCE, WideLayer

if TYPE_CHECKING:
    from symkernel.theory.infinite_width import InfiniteWidth

__all__ = ["LayerwiseKernels"]


@dataclass
class _Samples:
    """One side: what is known of each sample alone, layer by layer."""

    variances: list[np.ndarray]
    projections: list[Projection | None]
    activity: list[np.ndarray]
    tangent: list[np.ndarray]

    def part(self, rows: slice) -> _Samples:
        """Return the same for some of the samples."""
        cut = [None if p is None else p.part(rows) for p in self.projections]
        parts = ([a[rows] for a in kept] for kept in (self.variances, self.activity, self.tangent))
        variances, activity, tangent = parts
        return _Samples(variances, cut, activity, tangent)


@dataclass(frozen=True)
class LayerwiseKernels:
    """Kernels of a wide network, evaluated with a bound of their truncation.

    Attributes
    ----------
    limit : InfiniteWidth
    numbers : ndarray
        weight, bias, weight_rate and bias_rate of each layer.
    accuracy : float
        Relative, that each layer's averages shall have.
    """

    limit: InfiniteWidth
    numbers: np.ndarray
    accuracy: float

    def __call__(
        self, X: np.ndarray, X2: np.ndarray | None, names: tuple[str, ...], rows: int
    ) -> Any:
        """Return the kernels of the names, and the bound: some rows at a time."""
        left = self._samples(X)
        right = left if X2 is None else self._samples(X2)
        others = X if X2 is None else X2
        out = np.empty((len(names), len(X), len(others)))
        reached = 0.0
        for start in range(0, len(X), rows):
            part = slice(start, min(start + rows, len(X)))
            own = np.arange(part.start, part.stop) if X2 is None else None
            found, bound = self._pairs(X[part] @ others.T, left.part(part), right, own)
            reached = max(reached, bound)
            for k, name in enumerate(names):
                out[k, part] = found[name]
            if X2 is None:
                # Products of rounded matrices are symmetric up to rounding only.
                above = out[:, : part.start, part]
                out[:, part, : part.start] = above.transpose(0, 2, 1)
                corner = out[:, part, part]
                out[:, part, part] = (corner + corner.transpose(0, 2, 1)) / 2
        return out, reached

    def _factors(self, k: int) -> np.ndarray:
        return self.numbers[4 * k : 4 * k + 4]

    def _samples(self, X: np.ndarray) -> _Samples:
        samples = _Samples([], [], [], [])
        with np.errstate(over="ignore"):
            own = np.einsum("ij,ij->i", X, X)
        if not np.isfinite(own).all():
            raise OutsideValidity(
                f"The overlap of sample {int((~np.isfinite(own)).argmax())} with itself leaves the "
                f"floating-point numbers; scale the inputs down."
            )
        slope = tangent = np.zeros(len(X))
        for k, layer in enumerate(self.limit.layers):
            weight, bias, rate, shift = self._factors(k)
            variances = weight * own + bias
            tangent = rate * own + shift + weight * slope * tangent
            samples.variances.append(variances)
            samples.tangent.append(tangent)
            own, slope, projection = self._own(layer, variances)
            samples.activity.append(own)
            samples.projections.append(projection)
        return samples

    def _own(
        self, layer: WideLayer, variances: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Projection | None]:
        phi = layer.activation
        if phi is None:
            return variances, np.ones_like(variances), None
        if self.limit.averages[phi] is not None:
            value, slope = (f(variances) + 0 * variances for f in _functions(phi)[1])
            kink = _kink(phi)
            if kink is not None:
                slope = np.where(variances == 0, sum(kink) ** 2, slope)
            return value, slope, None
        projection = hermite_averages(phi).at(variances, self.accuracy)
        return projection.squares[0], projection.squares[1], projection

    def _pairs(
        self, overlaps: np.ndarray, left: _Samples, right: _Samples, own: np.ndarray | None
    ) -> tuple[dict[str, np.ndarray], float]:
        """Return kernels by the name of their line; `own` says where x' is x."""
        found: dict[str, np.ndarray] = {}
        both, slope, tangent, bound = overlaps, np.zeros(1), np.zeros(1), 0.0

        def exact(matrix: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
            if own is not None:
                matrix[np.arange(len(own)), own] = diagonal
            return matrix

        for k, layer in enumerate(self.limit.layers, 1):
            weight, bias, rate, shift = self._factors(k - 1)
            covariances = weight * both + bias
            found[f"wide_c{k}"] = exact(covariances, left.variances[k - 1])
            tangent = rate * both + shift + weight * slope * tangent
            found[f"wide_t{k}"] = exact(tangent, left.tangent[k - 1])
            if k == len(self.limit.layers):
                break
            both, slope, off = self._averages(layer, k - 1, covariances, left, right, own)
            bound = max(bound, off)
            found[f"wide_k{k}"] = exact(both, left.activity[k - 1])
        return found, bound

    def _averages(
        self,
        layer: WideLayer,
        k: int,
        covariances: np.ndarray,
        left: _Samples,
        right: _Samples,
        own: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray, float]:
        phi = layer.activation
        if phi is None:
            return covariances, np.ones_like(covariances), 0.0
        one, other = left.projections[k], right.projections[k]
        if one is None or other is None:
            return (*_closed(phi, left.variances[k], right.variances[k], covariances), 0.0)
        series = hermite_averages(phi)
        value, slope = series.pairs(one, other, covariances)
        sizes = one.roots[:, None] * other.roots
        nearness = np.abs(covariances) / np.where(sizes > 0, sizes, np.inf)
        if own is not None:
            nearness[np.arange(len(own)), own] = 0.0
            slope[np.arange(len(own)), own] = one.squares[1]
        return value, slope, series.error(one, other, float(nearness.max()))


def _closed(
    phi: Activation, first: np.ndarray, second: np.ndarray, covariances: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return value and slope in closed form."""
    sides = np.maximum(first, LEAST_VARIANCE)[:, None], np.maximum(second, LEAST_VARIANCE)[None]
    sine, *forms = _functions(phi)[0]
    s = np.clip(sine(*sides, covariances), -1.0, 1.0)
    r = np.sqrt((1 - s) * (1 + s))
    value, slope = (f(*sides, covariances, s, r) + 0 * covariances for f in forms)
    kink = _kink(phi)
    if kink is not None:
        mean, off = kink
        here, there = off * (first == 0)[:, None], off * (second == 0)[None]
        slope += mean * (here + there) + here * there
    return value, slope


@cache
def _functions(phi: Activation) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return sine, value and slope as NumPy functions, then value and slope on the diagonal."""
    derived = gaussian_averages(phi)
    assert derived is not None
    symbols = (*VARIANCES, COVARIANCE)
    sine = sp.lambdify(symbols, sp.S.Zero if derived.sine is None else derived.sine, "numpy")
    forms = [sp.lambdify((*symbols, SINE, COSINE), e, "numpy") for e in derived.stable]
    own = [sp.lambdify(VARIANCES[0], e, "numpy") for e in derived.stable_diagonal(VARIANCES[0])]
    return (sine, *forms), tuple(own)


@cache
def _kink(phi: Activation) -> tuple[float, float] | None:
    derived = gaussian_averages(phi)
    assert derived is not None
    return None if derived.kink is None else (float(derived.kink[0]), float(derived.kink[1]))
