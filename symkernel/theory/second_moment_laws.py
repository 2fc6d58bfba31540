r"""Second moments of the weights of a linear readout in numbers: fresh Gaussian inputs, or a set.

Everything is in features $\varphi$ of which the output is $w\varphi$, and in one rate with all
factors of the step; $u = w - w^*$. The operator $1 - \eta L_1 + \eta^2 L_2$ of a step is
self-adjoint and keeps second moments second moments, so that a rate is stable if it is below 1 over
the largest eigenvalue of $L_1^{-1/2} L_2 L_1^{-1/2}$.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg, eigsh

from symkernel.numerics import second_moment as algorithm
from symkernel.theory.linear_readout import ROUNDING

# Products in a call of the compiled program, between which Ctrl-C is heard.
_CALL = 10**8
# Of the equation for the stationary state.
_SOLVED = 1e-14

_ENTRY = """

@numba.njit(
    "void(float64[:, ::1], float64[:, ::1], float64[:, ::1], float64, float64, float64[:, ::1], "
    "float64[:, ::1], float64[:, :, :, ::1], int64)",
    cache=True,
    nogil=True,
    error_model="numpy",
)
def go(X, R, H, rate, spread, noise, mean, second, steps):
    for _ in range(steps):
        step_moments(X, R, H, rate, spread, noise, mean, second)
"""

Moments = tuple[np.ndarray, np.ndarray]


def _compiled() -> ModuleType:
    import scipy.linalg.cython_blas  # noqa: F401  # numba's np.dot calls it

    from symkernel.codegen.cache import load

    return load(inspect.getsource(algorithm) + _ENTRY, "second_moment")


@dataclass(frozen=True, eq=False)
class FreshBatches:
    r"""Gaussian features drawn anew for every step.

    Attributes
    ----------
    H : ndarray, shape (n_features, n_features)
        Their second moment.
    noise : ndarray, shape (n_outputs, n_outputs)
        Covariance of what the optimum leaves of the targets.
    batch : int
    """

    H: np.ndarray
    noise: np.ndarray
    batch: int

    @cached_property
    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Variances along eigendirections, exactly 0 where there are none, and the directions."""
        return _spectrum(self.H)

    @property
    def limit(self) -> float:
        """The limit of stable rates; infinite if all features are 0."""
        h, _ = self.spectrum
        root = np.sqrt(h)
        top = np.linalg.eigvalsh((self.batch + 1) * np.diag(h) + np.outer(root, root))[-1]
        return 2 * self.batch / float(top) if top > 0 else np.inf

    def moments(self, rate: float, start: np.ndarray, steps: np.ndarray) -> Moments:
        """Return the mean of u, (n, o, f), and its second moment, (n, o, o, f, f), at steps."""
        h, Q = self.spectrum
        k = steps.astype(float)
        u = start @ Q
        mean = u * (1 - rate * h) ** k[:, None, None]
        whole = u[:, None, :, None] * u[None, :, None, :]
        even = (whole + whole.swapaxes(2, 3)) / 2
        drift = np.outer(1 - rate * h, 1 - rate * h)
        turn = rate**2 * np.outer(h, h) / self.batch
        powers = k[:, None, None, None, None]
        second = even * (drift + turn) ** powers + (whole - even) * (drift - turn) ** powers
        i = np.arange(len(h))
        second[..., i, i] = self._diagonals(rate, whole[..., i, i], k)
        return mean @ Q.T, Q @ second @ Q.T

    def _diagonals(self, rate: float, start: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Return what is along the eigendirections, (n, o, o, f), which the trace couples."""
        h, _ = self.spectrum
        coupled = np.diag((1 - rate * h) ** 2 + rate**2 * h**2 / self.batch)
        factors, V = np.linalg.eigh(coupled + rate**2 / self.batch * np.outer(h, h))
        final = self._final(rate)
        apart = (start - final) @ V
        return final + (apart * factors ** k[:, None, None, None]) @ V.T

    def _final(self, rate: float) -> np.ndarray:
        """Return the stationary second moments along the eigendirections, (o, o, f)."""
        h, _ = self.spectrum
        left = 2 - rate * (1 + 1 / self.batch) * h
        kappa = float((rate / self.batch * h / left).sum())
        along = np.where(h > 0, rate / self.batch / left, 0.0)
        return self.noise[..., None] / (1 - kappa) * along

    def stationary(self, rate: float) -> np.ndarray:
        """Return the stationary covariance, (o, o, f, f)."""
        _, Q = self.spectrum
        return (Q * self._final(rate)[:, :, None, :]) @ Q.T


@dataclass(frozen=True, eq=False)
class SampledBatches:
    r"""Batches of a set of samples, each drawn anew, with or without replacement in the batch.

    Attributes
    ----------
    X : ndarray, shape (n_samples, n_features)
    R : ndarray, shape (n_samples, n_outputs)
        What the optimum leaves of the targets.
    noise : ndarray, shape (n_outputs, n_outputs)
        Covariance of label noise that is drawn anew at every visit.
    batch : int
    replacement : bool
    """

    X: np.ndarray
    R: np.ndarray
    noise: np.ndarray
    batch: int
    replacement: bool

    @cached_property
    def H(self) -> np.ndarray:
        """Second moment of the features."""
        return self.X.T @ self.X / len(self.X)

    @property
    def spread(self) -> float:
        """Share of the variance of single samples that a batch's mean has."""
        n, b = len(self.X), self.batch
        return 1 / b if self.replacement else (n - b) / (b * max(n - 1, 1))

    @cached_property
    def _directions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Variances that are not 0, their directions, and roots of sums of two variances."""
        h, Q = _spectrum(self.H)
        h, Q = h[h > 0], Q[:, h > 0]
        return h, Q, np.sqrt(h[:, None] + h)

    def _scattered(self, Z: np.ndarray) -> np.ndarray:
        """Apply L1^(-1/2) L2 L1^(-1/2) to a matrix in the eigendirections."""
        h, Q, root = self._directions
        X, moment = self.X @ Q, Z / root
        quadratic = ((X @ moment) * X).sum(1)
        fourth = (X.T * quadratic) @ X / len(X)
        return ((1 - self.spread) * np.outer(h, h) * moment + self.spread * fourth) / root

    @cached_property
    def limit(self) -> float:
        """The limit of stable rates; infinite if all features are 0."""
        h, _, root = self._directions
        n = len(h)
        if n == 0:
            return np.inf
        if n == 1:
            return 1 / float(self._scattered(np.ones((1, 1)))[0, 0])
        operator = LinearOperator(
            (n * n, n * n), lambda z: self._scattered(z.reshape(n, n)).ravel(), dtype=float
        )
        # The largest eigenvalue belongs to a second moment, of which no start of full rank is free.
        first = np.diag(np.diag(root)).ravel()
        return 1 / float(eigsh(operator, 1, which="LA", v0=first, return_eigenvectors=False)[0])

    def moments(self, rate: float, start: np.ndarray, steps: np.ndarray) -> Moments:
        """Return the mean of u, (n, o, f), and its second moment, (n, o, o, f, f), at steps."""
        mean = np.ascontiguousarray(start)
        second = np.ascontiguousarray(mean[:, None, :, None] * mean[None, :, None, :])
        mean, taken, go = mean.copy(), 0, _compiled().go
        noise = np.ascontiguousarray(self.noise / self.batch)
        found = np.empty((len(steps), *mean.shape)), np.empty((len(steps), *second.shape))
        chunk = 1 + _CALL // (len(self.X) * second.size)
        for k in np.argsort(steps, kind="stable"):
            while taken < steps[k]:
                count = min(int(steps[k]) - taken, chunk)
                go(self.X, self.R, self.H, rate, self.spread, noise, mean, second, count)
                taken += count
            found[0][k], found[1][k] = mean, second
        return found

    def stationary(self, rate: float) -> np.ndarray:
        """Return the stationary covariance, (o, o, f, f)."""
        h, Q, root = self._directions
        n, outputs = len(h), self.R.shape[1]
        X, total = self.X @ Q, np.zeros((outputs, outputs, *self.H.shape))
        operator = LinearOperator(
            (n * n, n * n),
            lambda z: z - rate * self._scattered(z.reshape(n, n)).ravel(),
            dtype=float,
        )
        for o in range(outputs if n else 0):
            for p in range(o + 1):
                kick = (X.T * (self.R[:, o] * self.R[:, p])) @ X / len(X) * self.spread
                kick += self.noise[o, p] / self.batch * np.diag(h)
                solved, _ = cg(operator, (rate * kick / root).ravel(), rtol=_SOLVED)
                total[o, p] = total[p, o] = Q @ (solved.reshape(n, n) / root) @ Q.T
        return total


def _spectrum(H: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    h, Q = np.linalg.eigh((H + H.T) / 2)
    # Nothing moves where there are no features.
    return np.where(h > ROUNDING * max(h[-1], 0.0), h, 0.0), Q
