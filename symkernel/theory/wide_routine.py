"""Compiled kernels of infinitely wide networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

from symkernel.codegen.pairwise import PairFormulas, PairRoutine
from symkernel.errors import (
    InvalidArgument,
    OutsideValidity,
    ShapeMismatch,
    as_count,
    as_positive,
    as_real_array,
    as_values,
)
from symkernel.problem.scalars import as_sympy
from symkernel.theory.gaussian_averages import COSINE, COVARIANCE, SINE, VARIANCES
from symkernel.theory.hermite_averages import MOST_TERMS, hermite_averages
from symkernel.theory.wide_layers import WideLayer, numbers_of

if TYPE_CHECKING:
    from symkernel.theory.infinite_width import InfiniteWidth, WideKernel
    from symkernel.theory.wide_series import LayerwiseKernels

__all__ = ["WideRoutine"]

_MOST_BYTES = 2**30
# Rows that are worked on at a time where averages have no closed form.
_STRIPE = 256
# A variance of 0 is taken for the smallest one whose root is a normal number.
_LEAST = sp.Float("1e-300")
_OWN, _OVERLAP = sp.Symbol("own"), sp.Symbol("overlap")


@dataclass(frozen=True, eq=False)
class WideRoutine:
    """Kernels of infinitely wide networks as a function of samples.

    Attributes
    ----------
    limit : InfiniteWidth
    kernels : tuple of WideKernel
        What is returned; of several, stacked in this order.
    values : mapping of Symbol to number
    tolerance : float
        Largest relative error of averages that have no closed form; see `accuracy`.
    """

    limit: InfiniteWidth
    kernels: tuple[WideKernel, ...]
    values: Mapping[sp.Symbol, Any]
    tolerance: float = 1e-10

    def __post_init__(self) -> None:
        as_values(self.values, (), "kernel")
        as_positive(self.tolerance, "tolerance")
        self._numbers  # noqa: B018  # says now which symbols have no number

    @property
    def source(self) -> str:
        """The module that is compiled."""
        if self._series is not None:
            none = [phi for phi, found in self.limit.averages.items() if found is None]
            return "\n".join(hermite_averages(phi).source for phi in none)
        return self._pairs.source

    @cached_property
    def _series(self) -> LayerwiseKernels | None:
        if None not in self.limit.averages.values():
            return None
        from symkernel.theory.wide_series import LayerwiseKernels

        return LayerwiseKernels(self.limit, self._numbers, self.tolerance)

    @cached_property
    def _constants(self) -> dict[sp.Symbol, sp.Expr]:
        """Symbols of the compiled module, with the factors of the layers that they stand for."""
        found = {}
        for k, layer in enumerate(self.limit.layers, 1):
            for name in ("weight", "bias", "weight_rate", "bias_rate"):
                found[sp.Symbol(f"{name}{k}", nonnegative=True)] = getattr(layer, name)
        return found

    @cached_property
    def _numbers(self) -> np.ndarray:
        return np.array(numbers_of(list(self._constants.values()), self.values))

    @cached_property
    def _pairs(self) -> PairRoutine:
        return PairRoutine(_lowered(self.limit, tuple(self._constants), self.kernels))

    def memory(self, samples: int, samples2: int | None = None) -> int:
        """Return the bytes that the result takes, with the tables that averages by series need.

        Parameters
        ----------
        samples, samples2 : int
            Numbers of samples; without the second one that of X with itself.
        """
        rows = as_count(samples, "samples")
        columns = rows if samples2 is None else as_count(samples2, "samples2")
        series = sum(
            layer.activation is not None and self.limit.averages[layer.activation] is None
            for layer in self.limit.layers
        )
        return 8 * (len(self.kernels) * rows * columns + series * MOST_TERMS * (rows + columns))

    def __call__(self, X: Any, X2: Any = None, *, most_bytes: float = _MOST_BYTES) -> np.ndarray:
        r"""Return the kernels of all pairs of samples.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_inputs)
        X2 : array_like, shape (n_samples2, n_inputs), optional
            Without it X with itself: half the work, and the exact diagonal.
        most_bytes : number
            The result may not take more; see `memory`.

        Returns
        -------
        ndarray, shape (n_samples, n_samples2), or (n_kernels, n_samples, n_samples2)

        Raises
        ------
        InvalidArgument
            If the result would take more than `most_bytes`; nothing is allocated then.
        ShapeMismatch
            If samples do not fit the network.
        OutsideValidity
            If kernels leave the floating-point numbers, or averages by series do not reach the
            tolerance.

        Notes
        -----
        Between equal samples in X and X2 rounding of their overlap, $2^{-53}$ relative, moves an
        angle of 0 to about $10^{-8}$, which is then the error of $\dot k$ of ReLU there.
        """
        first = self._samples(X, "X")
        second = None if X2 is None else self._samples(X2, "X2")
        columns = len(first) if second is None else len(second)
        self._refuse_large(len(first), columns, as_positive(most_bytes, "most_bytes"))
        return self._evaluated(first, second)

    def accuracy(self, X: Any, X2: Any = None) -> float:
        """Return a bound of the truncation error of averages without closed form.

        Relative to the largest variance of a layer's activity or slope, for the layer where it is
        worst; 0 where all averages are closed. The kernels are computed anew.

        Parameters
        ----------
        X, X2 : array_like
            As in a call.
        """
        if self._series is None:
            return 0.0
        first = self._samples(X, "X")
        second = None if X2 is None else self._samples(X2, "X2")
        return float(self._series(first, second, (), _STRIPE)[1])

    def _evaluated(self, first: np.ndarray, second: np.ndarray | None) -> np.ndarray:
        if self._series is None:
            out = self._pairs(first, second, self._numbers)
        else:
            names = tuple(q.name for q in _outputs(self.limit, self.kernels))
            out, reached = self._series(first, second, names, _STRIPE)
            if reached > self.tolerance:
                raise OutsideValidity(
                    f"Averages without closed form reach a relative accuracy of {reached:.1g} "
                    f"here, not the {self.tolerance:.1g} of compile(tolerance=...): corners and "
                    f"large variances make their series long. Accept it by tolerance={reached:.1g}."
                )
        return out[0] if len(self.kernels) == 1 else out

    def batches(
        self, X: Any, X2: Any = None, *, rows: int = 1024
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the kernels some rows at a time, with the slice of X that they belong to.

        Parameters
        ----------
        X, X2 : array_like
            As in a call.
        rows : int
            Rows of a batch; a batch has all columns.

        Examples
        --------
        >>> import numpy as np, symkernel as sk
        >>> K = sk.infinite_width(sk.Network.two_layer(3, 9, 1, "erf")).nngp.compile()
        >>> X = np.arange(15.0).reshape(5, 3)
        >>> parts = [part for _, part in K.batches(X, rows=2)]
        >>> assert np.allclose(np.concatenate(parts), K(X), rtol=1e-7)
        """
        first = self._samples(X, "X")
        second = first if X2 is None else self._samples(X2, "X2")
        step = as_count(rows, "rows")
        for start in range(0, len(first), step):
            part = slice(start, min(start + step, len(first)))
            yield part, self._evaluated(first[part], second)

    def _samples(self, value: Any, name: str) -> np.ndarray:
        array = as_real_array(value, name, 2)
        wanted = as_sympy(self.limit.net.inputs).subs(dict(self.values))
        if wanted.is_Integer and array.shape[1] != wanted:
            raise ShapeMismatch(
                f"Argument '{name}' must be of shape (n_samples, {wanted}), not {array.shape}."
            )
        return array

    def _refuse_large(self, rows: int, columns: int, most: float) -> None:
        size = self.memory(rows, columns)
        if size > most:
            raise InvalidArgument(
                f"Kernels of {rows} x {columns} samples would take {size:,} bytes "
                f"({size / 2**30:.2f} GiB), more than 'most_bytes' = {most:,.0f}; take them in "
                f"parts with .batches(X, X2, rows=...), or pass a larger 'most_bytes'."
            )


def _lowered(
    limit: InfiniteWidth, constants: tuple[sp.Symbol, ...], kernels: tuple[WideKernel, ...]
) -> PairFormulas:
    """Return the recursion in constants, with the arcsines in their stable form."""
    samples: list[tuple[sp.Symbol, sp.Expr]] = []
    pairs: list[tuple[sp.Symbol, sp.Expr]] = []
    by_name = {q.name: q for q in constants}
    lines = limit.recursion
    own, both = _OWN, _OVERLAP
    slope: sp.Expr = sp.S.Zero
    tangent: sp.Expr = sp.S.Zero
    steep: sp.Expr = sp.S.Zero
    climbing: sp.Expr = sp.S.Zero
    ends: dict[sp.Symbol, sp.Symbol] = {}

    def note(
        target: list, name: str, expression: sp.Expr, like: sp.Symbol | None = None
    ) -> sp.Symbol:
        symbol = like if like is not None else sp.Symbol(name, real=True)
        target.append((symbol, expression))
        return symbol

    for k, layer in enumerate(limit.layers, 1):
        weight, bias, rate, shift = (
            by_name[f"{name}{k}"] for name in ("weight", "bias", "weight_rate", "bias_rate")
        )
        v, w = lines.variances[k - 1]
        note(samples, "", sp.Max(weight * own + bias, _LEAST), v)
        c = note(pairs, "", weight * both + bias, lines.covariance[k - 1])
        ends[c] = v
        climbing = note(samples, f"own_t{k}", rate * own + shift + weight * steep * climbing)
        tangent = note(
            pairs, "", rate * both + shift + weight * slope * tangent, lines.tangent[k - 1]
        )
        ends[tangent] = climbing
        if k == len(limit.layers):
            break
        value, steepness = _own_averages(limit, layer, v)
        own = note(samples, f"own_k{k}", value)
        steep = note(samples, f"own_d{k}", steepness)
        value, steepness = _pair_averages(limit, layer, (v, w), c, k, pairs)
        both = note(pairs, "", value, lines.activity[k - 1])
        slope = note(pairs, "", steepness, lines.slope[k - 1])
        ends[both] = own
    wanted = _outputs(limit, kernels)
    return PairFormulas(
        own=_OWN,
        overlap=_OVERLAP,
        numbers=constants,
        samples=tuple(samples),
        partner=dict(lines.variances),
        pairs=tuple(pairs),
        outputs=wanted,
        diagonal=tuple(ends[q] for q in wanted),
    )


def _outputs(limit: InfiniteWidth, kernels: tuple[WideKernel, ...]) -> tuple[sp.Symbol, ...]:
    """Return the lines of the recursion that are asked for."""
    return tuple(kernel.line for kernel in kernels)


def _own_averages(
    limit: InfiniteWidth, layer: WideLayer, variance: sp.Symbol
) -> tuple[sp.Expr, sp.Expr]:
    if layer.activation is None:
        return variance, sp.S.One
    derived = limit.averages[layer.activation]
    assert derived is not None
    return derived.stable_diagonal(variance)


def _pair_averages(
    limit: InfiniteWidth,
    layer: WideLayer,
    variances: tuple[sp.Symbol, sp.Symbol],
    covariance: sp.Symbol,
    k: int,
    pairs: list[tuple[sp.Symbol, sp.Expr]],
) -> tuple[sp.Expr, sp.Expr]:
    """Return value and slope in sine and cosine of the layer's angle, whose lines are added."""
    if layer.activation is None:
        return covariance, sp.S.One
    derived = limit.averages[layer.activation]
    assert derived is not None
    given = {**dict(zip(VARIANCES, variances, strict=True)), COVARIANCE: covariance}
    if derived.sine is not None:
        sine, cosine = sp.Symbol(f"sine{k}", real=True), sp.Symbol(f"cosine{k}", nonnegative=True)
        quotient = sp.Symbol(f"quotient{k}", real=True)
        pairs.append((quotient, derived.sine.xreplace(given)))
        # Rounding may lead outside.
        pairs.append((sine, sp.Max(-1, sp.Min(1, quotient))))
        pairs.append((cosine, sp.sqrt(sp.Mul(1 - sine, 1 + sine, evaluate=False))))
        angle = sp.Symbol(f"angle{k}", real=True)
        pairs.append((angle, sp.asin(sine)))
        given |= {sp.asin(SINE): angle, SINE: sine, COSINE: cosine}
    return tuple(e.xreplace(given) for e in derived.stable)
