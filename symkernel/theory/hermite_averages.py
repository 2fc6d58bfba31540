r"""Averages of any activation over two Gaussian variables, by series, with a bound of their error.

Truncated after N terms, $\sum_n h_n(v) h_n(v') \varrho^n$ is off by
$|\varrho|^N (R_N(v) R_N(v'))^{1/2}$ at most, where the rest
$R_N(v) = \langle\phi^2\rangle - \sum_{n<N} h_n(v)^2$ is known (Parseval); likewise the average of
the slopes. The coefficients come from Gauss's rule on panels, which are halved until two rules
agree: their difference, root mean square $\delta$ over all terms, moves an average by
$2\langle\phi^2\rangle^{1/2}\delta + \delta^2$ at most. Truncated sums of positive semi-definite
kernels are such kernels too.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from symkernel.codegen.activations import bodies_of, body_of
from symkernel.errors import InvalidArgument, OutsideValidity
from symkernel.problem.activation import ARGUMENT, Activation, centres

__all__ = ["MOST_TERMS", "HermiteAverages", "Projection", "hermite_averages"]

# The root of the normal density is 5e-19 of its peak there.
_REACH = 13.0
_PANELS, _NODES = 20, 20
# Few terms need no more than whole panels at first; into how many parts they are cut at most.
_WHOLE, _MOST_PARTS = 256, 64
# Rules that agree less well may both be wrong: their difference bounds nothing.
_AGREED = 1e-6
# Largest integrand at the ends, relative to the integral.
_EDGE = 1e-12
MOST_TERMS = 1024
_COUNTS = (32, 64, 128, 256, 512, MOST_TERMS)
# Activations may grow like exp(r z^2) at this r at most, beyond the points looked at.
_GROWTH = 1e-4
_FAR = (40.0, 80.0)

# Samples whose nodes are held at a time.
_STRIPE = 64

_SHARED = """

_compiled = {"cache": True, "parallel": True, "error_model": "numpy"}
series = numba.njit(
    "void(float64[:, :, ::1], float64[:, :, ::1], float64[::1], float64[::1], float64[:, ::1],"
    " float64[:, ::1], float64[:, ::1])",
    fastmath={"contract"},
    **_compiled,
)(sum_series)
nodes = numba.njit(
    "void(float64[::1], float64[::1], float64[::1], float64[::1], int64, int64, float64,"
    " float64[:, ::1], float64[:, ::1])",
    **_compiled,
)(graded_nodes)
coefficients = numba.njit(
    "void(float64[:, ::1], float64[:, ::1], float64[:, ::1], float64[:, ::1],"
    " float64[:, :, ::1], float64[:, ::1])",
    fastmath={"contract"},
    **_compiled,
)(project)
"""
_VALUES = """

@numba.njit(
    "void(float64[::1], float64[:, ::1], float64[:, ::1], float64[:, ::1])",
    cache=True,
    error_model="numpy",
)
def evaluate(deviations, z, values, slopes):
    for s in range(z.shape[0]):
        for q in range(z.shape[1]):
            values[s, q], slopes[s, q] = {body}(deviations[s] * z[s, q])
"""


@cache
def _shared_source() -> str:
    from symkernel.numerics import hermite

    return inspect.getsource(hermite) + _SHARED


@cache
def _shared() -> Any:
    """Return what is the same for all activations, compiled."""
    from symkernel.codegen.cache import load

    return load(_shared_source(), "hermite")


@dataclass(frozen=True)
class Projection:
    r"""An activation and its slope at some variances; value first, slope second.

    Attributes
    ----------
    roots : ndarray, shape (n_samples,)
        Roots of the variances.
    tables : ndarray, shape (2, n_samples, count)
        Coefficients $\langle\phi\,\mathrm{he}_n\rangle$ and $\langle\phi'\,\mathrm{he}_n\rangle$.
    squares : ndarray, shape (2, n_samples)
        $\langle\phi^2\rangle$ and $\langle\phi'^2\rangle$, not truncated.
    drifts : ndarray, shape (2, n_samples)
        Bounds of the error of the rule: what it may do to an average.
    """

    roots: np.ndarray
    tables: np.ndarray
    squares: np.ndarray
    drifts: np.ndarray

    def part(self, rows: slice) -> Projection:
        """Return the same for some of the samples."""
        cut = (a[:, rows] for a in (self.tables, self.squares, self.drifts))
        return Projection(self.roots[rows], *cut)

    @cached_property
    def _tops(self) -> np.ndarray:
        return np.maximum(self.squares.max(axis=1), 1e-300)

    @cached_property
    def drift(self) -> float:
        """Largest error of the rule, and of rounding, relative to the largest of each kind."""
        rounding = 4 * self.tables.shape[2] * float(np.finfo(float).eps)
        return float((self.drifts.max(axis=1) / self._tops).max()) + rounding

    def rests(self, count: int) -> np.ndarray:
        """Return the largest rest of value and of slope after some terms, relative to the top."""
        left = self.squares - (self.tables[:, :, :count] ** 2).sum(axis=2)
        # A rest below 0 is an error of the rule.
        return (np.abs(left) + self.drifts).max(axis=1) / self._tops


@dataclass(frozen=True)
class HermiteAverages:
    """Averages of one activation by series."""

    activation: Activation

    def __post_init__(self) -> None:
        self._refuse_fast_growth()

    def _refuse_fast_growth(self) -> None:
        import mpmath
        import sympy as sp

        phi = sp.lambdify(ARGUMENT, self.activation.expression, "mpmath")
        with mpmath.workdps(30):
            for sign in (-1, 1):
                sizes = [abs(mpmath.mpf(phi(mpmath.mpf(sign * far)))) for far in _FAR]
                rates = [
                    float(mpmath.log(s + 1)) / far**2 for s, far in zip(sizes, _FAR, strict=True)
                ]
                if min(rates) > _GROWTH and rates[1] > 0.75 * rates[0]:
                    raise InvalidArgument(
                        f"Argument 'net' must have activations that grow slower than exp(z^2), "
                        f"but the average of {self.activation.name} over a Gaussian variable "
                        f"diverges, or does so beyond some variance; wide networks have no limit "
                        f"with it."
                    )

    @cached_property
    def _centres(self) -> np.ndarray:
        return np.array(sorted({float(point) for point in centres(self.activation)}))

    @cached_property
    def _values(self) -> str:
        from symkernel.numerics import elementary

        text = inspect.getsource(elementary) + bodies_of([self.activation])
        return text + _VALUES.replace("{body}", body_of(self.activation))

    @property
    def source(self) -> str:
        """The modules that are compiled: that of the series, and that of the activation."""
        return _shared_source() + self._values

    @cached_property
    def _module(self) -> Any:
        from symkernel.codegen.cache import load

        return load(self._values, "activation")

    def at(self, variances: np.ndarray, accuracy: float) -> Projection:
        """Return the projection that a relative accuracy takes, of 1024 terms at most.

        Where it is not reached, `rests` or `drift` say so.

        Raises
        ------
        OutsideValidity
            If no rule resolves the activation, or its average needs values far out.
        """
        roots, parts = np.sqrt(variances), 1
        # Rest and error of the rule add up.
        aim = accuracy / 2
        for count in _COUNTS:
            projection, parts = self._resolved(roots, count, max(parts, count // _WHOLE), aim)
            if projection.drift > _AGREED:
                raise OutsideValidity(
                    f"Averages of the activation {self.activation.name} are not resolved by "
                    f"{_MOST_PARTS * _PANELS * _NODES} points per sample: it is too steep, or "
                    f"oscillates too fast, at a variance of {variances.max():.3g}; scale the "
                    f"inputs or the weights down."
                )
            if projection.rests(count).max() <= aim or projection.drift > aim:
                break
        return projection

    def _resolved(
        self, roots: np.ndarray, count: int, parts: int, accuracy: float
    ) -> tuple[Projection, int]:
        """Halve panels until two rules agree; return also into how many parts the coarser cuts."""
        coarse = self._projected(roots, count, parts)
        while True:
            tables, squares = fine = self._projected(roots, count, 2 * parts)
            lengths = np.sqrt(np.maximum(squares, coarse[1]))
            off = np.linalg.norm(tables - coarse[0], axis=2)
            drifts = 2 * lengths * off.max(axis=1, keepdims=True) + off**2
            drifts += np.abs(squares - coarse[1])
            found = Projection(roots, tables, squares, drifts)
            if found.drift <= min(accuracy, _AGREED) or 2 * parts >= _MOST_PARTS:
                return found, parts
            coarse, parts = fine, 2 * parts

    def _projected(
        self, roots: np.ndarray, count: int, parts: int
    ) -> tuple[np.ndarray, np.ndarray]:
        tables, squares = np.empty((2, len(roots), count)), np.empty((2, len(roots)))
        for start in range(0, len(roots), _STRIPE):
            rows = slice(start, start + _STRIPE)
            tables[:, rows], squares[:, rows] = self._stripe(roots[rows], count, parts)
        return tables, squares

    def _stripe(self, roots: np.ndarray, count: int, parts: int) -> tuple[np.ndarray, np.ndarray]:
        gauss = np.polynomial.legendre.leggauss(_NODES)
        points = _NODES * parts * (_PANELS + 9 * len(self._centres))
        z, weights, values, slopes = np.empty((4, len(roots), points))
        _shared().nodes(roots, self._centres, *gauss, _PANELS, parts, _REACH, z, weights)
        self._module.evaluate(roots, z, values, slopes)
        tables, squares = np.empty((2, len(roots), count)), np.empty((2, len(roots)))
        _shared().coefficients(z, weights, values, slopes, tables, squares)
        ends = np.tile([-_REACH, _REACH], (len(roots), 1))
        last = np.empty((2, *ends.shape))
        self._module.evaluate(roots, ends, *last)
        with np.errstate(over="ignore"):
            edge = (last**2).max(axis=(0, 2)) * np.exp(-(_REACH**2) / 2)
        if not np.isfinite(squares).all() or (edge > _EDGE * squares.max(axis=0)).any():
            raise OutsideValidity(
                f"The average of the activation {self.activation.name} needs values beyond "
                f"{_REACH:g} standard deviations at a variance of {roots.max() ** 2:.3g}; scale "
                f"the inputs or the weights down."
            )
        return tables, squares

    def pairs(
        self, left: Projection, right: Projection, covariances: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return value and slope for all pairs."""
        count = min(left.tables.shape[2], right.tables.shape[2])
        value, slope = np.empty_like(covariances), np.empty_like(covariances)
        _shared().series(
            np.ascontiguousarray(left.tables[:, :, :count]),
            np.ascontiguousarray(right.tables[:, :, :count]),
            left.roots,
            right.roots,
            np.ascontiguousarray(covariances),
            value,
            slope,
        )
        return value, slope

    def error(self, left: Projection, right: Projection, nearness: float) -> float:
        """Return a bound of the error of pairs whose correlations are `nearness` at most."""
        # The shorter series ends both.
        count = min(left.tables.shape[2], right.tables.shape[2])
        rest = float(np.sqrt(left.rests(count) * right.rests(count)).max())
        return rest * min(1.0, nearness) ** count + max(left.drift, right.drift)


@cache
def hermite_averages(phi: Activation) -> HermiteAverages:
    """Return the averages of an activation by series; refuse one whose averages diverge."""
    return HermiteAverages(phi)
