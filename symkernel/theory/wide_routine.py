"""Compiled kernels of infinitely wide networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

from symkernel.codegen.pairwise import PairRoutine
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
from symkernel.theory.hermite_averages import MOST_TERMS, hermite_averages
from symkernel.theory.wide_layers import numbers_of
from symkernel.theory.wide_lowering import lowered

if TYPE_CHECKING:
    from symkernel.theory.infinite_width import InfiniteWidth, WideKernel
    from symkernel.theory.wide_series import LayerwiseKernels

__all__ = ["WideRoutine"]

_MOST_BYTES = 2**30
# Rows that are worked on at a time where averages have no closed form.
_STRIPE = 256
# Squares of smaller inputs leave the normal numbers, and their angles are lost.
_SHORTEST = 1e-140


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

    def __repr__(self) -> str:
        names = ", ".join(str(kernel.symbol) for kernel in self.kernels)
        return f"WideRoutine({names} of {self.limit!r}; call it with samples X, X2)"

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

    @property
    def _lines(self) -> tuple[sp.Symbol, ...]:
        """The lines of the recursion that are asked for."""
        return tuple(kernel.line for kernel in self.kernels)

    @cached_property
    def _pairs(self) -> PairRoutine:
        return PairRoutine(lowered(self.limit, tuple(self._constants), self._lines))

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
        # Of value and slope each; two rules are compared at a time.
        tables = 2 * (series + 1) if series else 0
        return 8 * (len(self.kernels) * rows * columns + tables * MOST_TERMS * (rows + columns))

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
        """Return a bound of the error of averages without closed form.

        Of one layer's averages at the covariances that it is given, relative to the largest
        variance of its activity or slope, for the layer where it is worst; 0 where all averages
        are closed. It holds the truncation of the series and the error of the quadrature behind
        their coefficients, by the difference of two rules. The kernels are computed anew.

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
            names = tuple(q.name for q in self._lines)
            out, reached = self._series(first, second, names, _STRIPE)
            if reached > self.tolerance:
                # Up, so that the figure is enough.
                figure = f"{1.01 * reached:.2e}"
                raise OutsideValidity(
                    f"Averages without closed form reach a relative accuracy of {figure} here, not "
                    f"the {self.tolerance!r} of compile(tolerance=...): corners, steps and large "
                    f"variances make their series long. Accept it by tolerance={figure}."
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
        sizes = np.abs(array).max(axis=1)
        small = (sizes > 0) & (sizes < _SHORTEST)
        if small.any():
            raise OutsideValidity(
                f"The overlap of sample {int(small.argmax())} of argument '{name}' with itself is "
                f"below the floating-point numbers, but the sample is not 0: its entries are up to "
                f"{sizes[small.argmax()]:.3g}. Scale the inputs up."
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
