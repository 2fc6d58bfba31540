"""Usable information of 2000 samples of 20 features, two classes: estimates a second.

The limit of 10 ms an estimate stands here as a rate of 100. Logistic regression of scikit-learn is
fitted to as many samples under the same ridge, to a tolerance of 1e-8.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import symkernel as sk
from benchmarks.table import Row, rates

SAMPLES, FEATURES, LIMIT, RIDGE = 2000, 20, 100.0, 1e-4


def data() -> tuple[np.ndarray, np.ndarray]:
    """Two classes whose means lie two standard deviations apart."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, SAMPLES)
    return rng.standard_normal((SAMPLES, FEATURES)) + np.outer(2 * y - 1, np.eye(FEATURES)[0]), y


def by_sklearn(Z: np.ndarray, y: np.ndarray, solver: str) -> Callable[[], float]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    half = SAMPLES // 2
    fit, held = slice(half), slice(half, None)
    model = LogisticRegression(C=1 / (2 * RIDGE * half), solver=solver, tol=1e-8, max_iter=1000)

    def run() -> float:
        mean, spread = Z[fit].mean(0), Z[fit].std(0)
        model.fit((Z[fit] - mean) / spread, y[fit])
        found = model.predict_proba((Z[held] - mean) / spread)
        share = y[held].mean()
        entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
        return float((entropy - log_loss(y[held], found)) / np.log(2))

    return run


def run() -> list[Row]:
    Z, y = data()
    routines: dict[str, Callable[[], object]] = {
        "ours": lambda: sk.usable_information(Z, y),
        **{solver: by_sklearn(Z, y, solver) for solver in ("newton-cholesky", "lbfgs")},
    }
    found = rates(1.0, routines, rounds=41)
    what = f"usable information, {SAMPLES} x {FEATURES}, two classes"
    rows = [Row(what, "estimates/s", found["ours"], "10 ms each", LIMIT, 1.0)]
    for solver in ("newton-cholesky", "lbfgs"):
        peer = f"scikit-learn {solver}"
        rows.append(Row(what, "estimates/s", found["ours"], peer, found[solver]))
    return rows
