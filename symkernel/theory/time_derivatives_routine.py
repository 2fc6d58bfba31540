"""Power series in the flow time as a compiled function of the initial weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.codegen.elementwise import ElementwiseRoutine, Lowered, compile_elementwise
from symkernel.codegen.rules import without_overflow
from symkernel.errors import (
    MissingValues,
    OutsideValidity,
    as_positive,
    as_real,
    as_times,
    as_values,
    refuse_large,
)
from symkernel.theory.time_derivatives_problem import initial_weights

if TYPE_CHECKING:
    from symkernel.theory.time_derivatives import TimeDerivatives

__all__ = ["SeriesRoutine"]


@dataclass(frozen=True, eq=False)
class SeriesRoutine:
    """A truncated power series; it holds for small times only.

    Attributes
    ----------
    derivatives : TimeDerivatives
    values : mapping of Symbol to number

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> net = sk.Network.two_layer(1, 2, 1, activation="tanh")
    >>> task = sk.Task(np.eye(1), np.eye(1))
    >>> series = sk.time_derivatives(net, task, order=3).compile()
    >>> w0 = sk.weights.gaussian(net, seed=1)
    >>> assert series([0.0, 0.1], w0).shape == (2, 1, 1)
    >>> assert series.error_estimate([0.0, 0.1], w0)[0] == 0
    """

    derivatives: TimeDerivatives
    values: Mapping[sp.Symbol, Any]

    def __post_init__(self) -> None:
        given = self.derivatives
        outer = given.free_symbols - set(given.weights)
        values = as_values(self.values, outer, "derivatives")
        for symbol, value in values.items():
            as_real(value, f"values[{symbol}]")

    @cached_property
    def _routine(self) -> ElementwiseRoutine:
        given = self.derivatives
        shared: dict[sp.Expr, sp.Symbol] = {}
        where: list[tuple[sp.Symbol, sp.Expr]] = []
        for symbol, meaning in given.jets.lines.items():
            where += _calls_apart(meaning, shared)
            where.append((symbol, without_overflow(meaning).xreplace(shared)))
        outputs = [
            (f"d{n}_{k}", entry)
            for n in range(given.order + 1)
            for k, entry in enumerate(given.symbols(n))
        ]
        arguments = (*given.weights, *self._others)
        return compile_elementwise(Lowered(arguments, notation.t, tuple(where), tuple(outputs)))

    @property
    def _others(self) -> list[sp.Symbol]:
        """Symbols besides the weights that stand in the lines."""
        given = self.derivatives
        used = set().union(*(e.free_symbols for e in given.jets.lines.values()))
        used |= set().union(*(given.symbols(n).free_symbols for n in range(given.order + 1)))
        return sorted(used - set(given.jets.lines) - set(given.weights), key=lambda q: q.name)

    @property
    def source(self) -> str:
        """The module that is compiled."""
        return self._routine.source

    def coefficients(self, weights: Any = None) -> np.ndarray:
        """Return the coefficients of 1, t, t^2, ...: an array (order + 1,) + shape.

        Parameters
        ----------
        weights : Weights, or mapping or sequence of arrays, optional
            Initial weights, where they were not given to `time_derivatives`.
        """
        given = self.derivatives
        start = initial_weights(given.net, weights) if weights is not None else given.start
        if len(start) < len(given.weights):
            raise MissingValues(
                "Argument 'weights' must give the initial weights, which are symbols so far; pass "
                "Weights or one array for each parameter."
            )
        columns = [[float(start[q].subs(self.values))] for q in given.weights]
        columns += [[float(self.values[q])] for q in self._others]
        found = self._routine([0.0], *columns)
        entries = math.prod(given.shape)
        return np.array(
            [
                [found[f"d{n}_{k}"][0, 0] / math.factorial(n) for k in range(entries)]
                for n in range(given.order + 1)
            ]
        ).reshape(-1, *given.shape)

    def __call__(self, times: Any, weights: Any = None) -> np.ndarray:
        """Return the truncated series, an array (n_times,) + shape.

        Parameters
        ----------
        times : array_like, shape (n_times,)
            Flow times.
        weights : Weights, or mapping or sequence of arrays, optional
            Initial weights, where they were not given to `time_derivatives`.
        """
        clock = as_times(times)
        refuse_large((len(clock), *self.derivatives.shape), self.derivatives.of)
        highest, *lower = self.coefficients(weights)[::-1]
        total = np.broadcast_to(highest, (len(clock), *highest.shape))
        for coefficient in lower:
            total = coefficient + clock.reshape(-1, *[1] * highest.ndim) * total
        return total

    def error_estimate(self, times: Any, weights: Any = None) -> np.ndarray:
        r"""Return the larger of the last two terms that are not 0, (n_times,): no bound.

        The last term alone would say nothing where it vanishes by a symmetry. Where the estimate
        is not small against the values, the series says nothing.

        Raises
        ------
        OutsideValidity
            If all orders but 0 vanish although the weights move: a higher order is needed.
        """
        clock = as_times(times)
        return np.max([size * clock**n for n, size in self._last(weights)], axis=0)

    def valid_until(self, tolerance: float = 1e-3, weights: Any = None) -> float:
        """Return the time at which `error_estimate` reaches a share of the largest start value.

        It is infinite where nothing moves at all.

        Parameters
        ----------
        tolerance : float
            The share; of 1 where all start values are 0.
        weights : Weights, or mapping or sequence of arrays, optional
            As in a call.

        Raises
        ------
        OutsideValidity
            As `error_estimate`.
        """
        share = as_positive(tolerance, "tolerance")
        start = float(np.abs(self.coefficients(weights)[0]).max()) or 1.0
        return min(
            float((share * start / size) ** (1 / n)) if size else math.inf
            for n, size in self._last(weights)
        )

    def _last(self, weights: Any) -> list[tuple[int, float]]:
        """Return orders and sizes of the last two coefficients that are not 0, least order 1."""
        sizes = np.abs(self.coefficients(weights)).reshape(self.derivatives.order + 1, -1).max(1)
        found = [(n, float(size)) for n, size in enumerate(sizes) if n and size][-2:]
        if not found and self._moves(weights):
            raise OutsideValidity(
                f"All time derivatives of {self.derivatives.of!r} of orders 1 to "
                f"{self.derivatives.order} are 0 at these weights, although the weights move, so "
                f"that they tell nothing about the error; take a higher order."
            )
        return found or [(self.derivatives.order, 0.0)]

    def _moves(self, weights: Any) -> bool:
        """Whether any weight moves at time 0."""
        from symkernel.theory.time_derivatives_checks import Written

        given = self.derivatives
        start = initial_weights(given.net, weights) if weights is not None else given.start
        numbers = dict(self.values) | {q: float(v.subs(self.values)) for q, v in start.items()}
        velocity = list(Written(given).velocity.values())
        return any(sp.lambdify(list(numbers), velocity, "math")(*map(float, numbers.values())))


def _calls_apart(
    meaning: sp.Expr, shared: dict[sp.Expr, sp.Symbol]
) -> list[tuple[sp.Symbol, sp.Expr]]:
    """Name the functions that occur, so that each is evaluated once."""
    lines = []
    for call in sorted(without_overflow(meaning).atoms(sp.Function), key=sp.count_ops):
        if call not in shared:
            inner = call.xreplace(shared)
            shared[call] = sp.Symbol(f"call_{len(shared)}", real=True)
            lines.append((shared[call], inner))
    return lines
