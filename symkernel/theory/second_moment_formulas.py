"""The formulas of the second moment of stochastic descent on linear regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy as sp

from symkernel import notation

ETA = notation.symbol(
    "eta_step", r"\eta", "learning rate, with all factors of the step", positive=True
)
BATCH = notation.symbol("B_batch", "B", "samples of a batch", positive=True)
SPREAD = notation.symbol(
    "theta_batch", r"\theta", "share of the variance left in a batch", positive=True
)
COUNT = notation.symbol("n_set", "n", "samples of the set", integer=True, positive=True)
LABEL = notation.symbol(
    "sigma_label", r"\sigma", "standard deviation of the label noise", positive=True
)
VARIANCE = notation.symbol("h_input", "h", "variance of every input", positive=True)
DIMENSION = notation.symbol("d_inputs", "d", "number of inputs", positive=True)
STEP = notation.symbol("k_step", "k", "steps taken", integer=True, nonnegative=True)
START = notation.symbol("S_start", "S_0", "squared length of v at the start", nonnegative=True)
TOTAL = notation.symbol(
    "S_total", "S_k", "mean squared length of v after k steps", nonnegative=True
)
FINAL = notation.symbol("S_final", r"S_\infty", "its stationary value", positive=True)
FACTOR = notation.symbol("rho_step", r"\rho", "factor of every step", positive=True)
LIMIT = notation.symbol(
    "eta_limit", r"\eta^*", "rates below it are stable in mean square", positive=True
)
TRACE = notation.symbol("T_stationary", "T", "stationary trace of H S", positive=True)
SHARE = notation.symbol(
    "kappa_noise", r"\kappa", "what gradient noise returns of itself", positive=True
)
h_i = notation.symbol("h_i", "h_i", "variance of the inputs along eigendirection i")
s_i = notation.symbol("s_i", "s_i", "second moment of v along eigendirection i")
h_j = notation.symbol("h_j", "h_j", "variance along eigendirection j")


def traced(matrix: Any) -> sp.Expr:
    """Return the trace of a matrix, explicit or not."""
    return matrix.trace() if isinstance(matrix, sp.MatrixBase) else sp.Trace(matrix)


def recursion(S: Any, H: Any, batch: sp.Expr) -> Any:
    """Return the second moment after a step on Gaussian inputs."""
    drift = S - ETA * H * S - ETA * S * H + ETA**2 * (1 + 1 / batch) * H * S * H
    return drift + ETA**2 / batch * (traced(H * S) + LABEL**2) * H


def fourth_moment(S: Any, H: Any) -> Any:
    """Return the mean of x x^T S x x^T over Gaussian inputs."""
    return 2 * H * S * H + traced(H * S) * H


def sampled_recursion(S: Any, H: Any, scattered: Any, spread: sp.Expr, batch: sp.Expr) -> Any:
    """Return the second moment after a step on samples of a set."""
    drift = S - ETA * H * S - ETA * S * H + ETA**2 * H * S * H
    scatter = ETA**2 * spread * (scattered - H * S * H)
    return drift + scatter + ETA**2 * LABEL**2 / batch * H


def batch_square(single: sp.Expr, mean: sp.Expr, spread: sp.Expr) -> sp.Expr:
    """Return the mean square of a batch's mean."""
    return mean**2 + spread * (single - mean**2)


def step_factor() -> sp.Expr:
    """Return what every step multiplies the mean squared length by, for inputs all alike."""
    return (1 - ETA * VARIANCE) ** 2 + ETA**2 * VARIANCE**2 * (DIMENSION + 1) / BATCH


def isotropic_kick() -> sp.Expr:
    """Return what label noise adds to it in every step."""
    return ETA**2 * VARIANCE * DIMENSION * LABEL**2 / BATCH


def isotropic_limit() -> sp.Expr:
    """Return the limit of stable rates for inputs all alike."""
    return 2 * BATCH / (VARIANCE * (BATCH + DIMENSION + 1))


def isotropic_final() -> sp.Expr:
    """Return the stationary mean squared length for inputs all alike."""
    return ETA * DIMENSION * LABEL**2 / (2 * BATCH - ETA * VARIANCE * (BATCH + DIMENSION + 1))


def replaced_spread() -> sp.Expr:
    """Return what a batch leaves of the variance of single samples, drawn with replacement."""
    return 1 / BATCH


def distinct_spread() -> sp.Expr:
    """Return it for batches of different samples."""
    return (COUNT - BATCH) / (BATCH * (COUNT - 1))


def direction_after() -> sp.Expr:
    """Return the second moment along a direction after a step, the trace given."""
    return (1 - ETA * h_i) ** 2 * s_i + ETA**2 * h_i / BATCH * (h_i * s_i + TRACE + LABEL**2)


def stationary_direction() -> sp.Expr:
    """Return the stationary second moment along a direction."""
    return ETA / BATCH * (TRACE + LABEL**2) / (2 - ETA * (1 + 1 / BATCH) * h_i)


def stationary_trace() -> sp.Expr:
    """Return the stationary trace of H S."""
    return LABEL**2 * SHARE / (1 - SHARE)


def returned() -> sp.Expr:
    """Return what a direction adds to kappa."""
    return ETA / BATCH * h_i / (2 - ETA * (1 + 1 / BATCH) * h_i)


_I, _J = sp.symbols("i j")


def limit_entry() -> sp.Expr:
    """Return the entries of the matrix whose largest eigenvalue is 2 B over the limit of rates."""
    return (BATCH + 1) * h_i * sp.KroneckerDelta(_I, _J) + sp.sqrt(h_i) * sp.sqrt(h_j)


def limit_matrix(variances: Sequence[sp.Expr]) -> sp.Matrix:
    """Return the matrix for explicit variances."""

    def entry(i: int, j: int) -> sp.Expr:
        return limit_entry().subs({_I: i, _J: j, h_i: variances[i], h_j: variances[j]})

    return sp.Matrix(len(variances), len(variances), entry)
