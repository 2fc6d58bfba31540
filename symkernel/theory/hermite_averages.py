r"""Averages of any activation over two Gaussian variables, by series, with a bound of their error.

Truncated after N terms, $\sum_n h_n(v) h_n(v') \varrho^n$ is off by
$|\varrho|^N (R_N(v) R_N(v'))^{1/2}$ at most, where the rest
$R_N(v) = \langle\phi^2\rangle - \sum_{n<N} h_n(v)^2$ is known (Parseval), and likewise the
average of the slopes, with $\langle\phi'^2\rangle - \sum_{n<N} n\,h_n^2/v$. Truncated sums of
positive semi-definite kernels are such kernels too.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from symkernel.codegen.activations import bodies_of, body_of
from symkernel.errors import InvalidArgument, OutsideValidity
from symkernel.problem.activation import ARGUMENT, Activation, corners

__all__ = ["MOST_TERMS", "HermiteAverages", "Projection", "hermite_averages"]

# The root of the normal density is 5e-19 of its peak there.
_REACH = 13.0
_PANELS, _NODES = 40, 20
# Largest integrand at the ends, relative to the integral.
_EDGE = 1e-12
MOST_TERMS = 1024
_COUNTS = (32, 64, 128, 256, 512, MOST_TERMS)
# Activations may grow like exp(r z^2) at this r at most, beyond the points looked at.
_GROWTH = 1e-4
_FAR = (40.0, 80.0)

_ENTRIES = """

series = numba.njit(
    "void(float64[:, ::1], float64[:, ::1], float64[::1], float64[::1], float64[:, ::1],"
    " float64[:, ::1], float64[:, ::1])",
    cache=True,
    parallel=True,
    error_model="numpy",
    fastmath={"contract"},
)(sum_series)


@numba.njit(
    "Tuple((float64[:, ::1], float64[:, ::1]))(float64[::1], float64[::1], float64[::1],"
    " float64[::1], int64, float64, int64)",
    cache=True,
    parallel=True,
    error_model="numpy",
)
def project(variances, corners, nodes, shares, panels, reach, count):
    n = variances.size
    coefficients = np.zeros((n, count))
    squares = np.zeros((n, 3))
    roots = np.empty((2, count))
    roots[0] = np.sqrt(np.arange(count))
    roots[1] = 1.0 / roots[0]
    for s in numba.prange(n):
        table = np.empty(count)
        root = math.sqrt(variances[s])
        # Panels end at the corners of the activation.
        ends = np.empty(panels + 1 + corners.size)
        for p in range(panels + 1):
            ends[p] = -reach + 2.0 * reach * p / panels
        for p in range(corners.size):
            ends[panels + 1 + p] = min(max(corners[p] / root, -reach), reach)
        ends.sort()
        for side in (-reach, reach):
            value, slope = {body}(root * side)
            last = max(value * value, slope * slope) * math.exp(-0.5 * reach * reach)
            squares[s, 2] = max(squares[s, 2], last)
        for p in range(ends.size - 1):
            half = 0.5 * (ends[p + 1] - ends[p])
            if half > 0.0:
                for q in range(nodes.size):
                    z = 0.5 * (ends[p + 1] + ends[p]) + half * nodes[q]
                    value, slope = {body}(root * z)
                    hermite_functions(z, roots, table)
                    share = half * shares[q] * table[0]
                    squares[s, 0] += share * table[0] * value * value
                    squares[s, 1] += share * table[0] * slope * slope
                    for m in range(count):
                        coefficients[s, m] += share * value * table[m]
    return coefficients, squares
"""


@dataclass(frozen=True)
class Projection:
    r"""An activation at some variances.

    Attributes
    ----------
    roots : ndarray, shape (n_samples,)
        Roots of the variances.
    coefficients : ndarray, shape (n_samples, count)
        $h_n(v)$.
    value, slope : ndarray, shape (n_samples,)
        $\langle\phi(u)^2\rangle$ and $\langle\phi'(u)^2\rangle$, not truncated.
    """

    roots: np.ndarray
    coefficients: np.ndarray
    value: np.ndarray
    slope: np.ndarray

    @cached_property
    def rests(self) -> tuple[float, float]:
        """Largest rest of value and of slope, relative to the largest of each."""
        powers = self.coefficients**2
        degrees = np.arange(powers.shape[1])
        value = self.value - powers.sum(1)
        slope = self.slope - powers @ degrees / self.roots**2
        tops = max(self.value.max(), 1e-300), max(self.slope.max(), 1e-300)
        return float(max(value.max(), 0.0) / tops[0]), float(max(slope.max(), 0.0) / tops[1])


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
    def _corners(self) -> np.ndarray:
        return np.array(sorted({float(point) for point in corners(self.activation)}))

    @cached_property
    def source(self) -> str:
        """The module that is compiled."""
        from symkernel.numerics import elementary, hermite

        texts = [inspect.getsource(elementary) + bodies_of([self.activation])]
        texts.append(inspect.getsource(hermite).replace("from __future__ import annotations\n", ""))
        texts.append(_ENTRIES.replace("{body}", body_of(self.activation)))
        return "\n".join(texts)

    @cached_property
    def _module(self) -> Any:
        from symkernel.codegen.cache import load

        return load(self.source, "hermite")

    def at(self, variances: np.ndarray, accuracy: float) -> Projection:
        """Return the projection with as many terms as a relative accuracy takes, up to 1024."""
        nodes, shares = np.polynomial.legendre.leggauss(_NODES)
        name = self.activation.name
        roots = np.sqrt(variances)
        for count in _COUNTS:
            found, squares = self._module.project(
                variances, self._corners, nodes, shares, _PANELS, _REACH, count
            )
            edge = squares[:, 2] > _EDGE * squares[:, :2].max(axis=1)
            if edge.any() or not np.isfinite(squares).all():
                raise OutsideValidity(
                    f"The average of the activation {name} needs values beyond "
                    f"{_REACH:g} standard deviations at a variance of {variances.max():.3g}; scale "
                    f"the inputs or the weights down."
                )
            projection = Projection(roots, found, squares[:, 0].copy(), squares[:, 1].copy())
            if max(projection.rests) <= accuracy:
                break
        return projection

    def pairs(
        self, left: Projection, right: Projection, covariances: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return value and slope for all pairs."""
        count = min(left.coefficients.shape[1], right.coefficients.shape[1])
        value, slope = np.empty_like(covariances), np.empty_like(covariances)
        self._module.series(
            np.ascontiguousarray(left.coefficients[:, :count]),
            np.ascontiguousarray(right.coefficients[:, :count]),
            left.roots,
            right.roots,
            np.ascontiguousarray(covariances),
            value,
            slope,
        )
        return value, slope


@cache
def hermite_averages(phi: Activation) -> HermiteAverages:
    """Return the averages of an activation by series; refuse one whose averages diverge."""
    return HermiteAverages(phi)
