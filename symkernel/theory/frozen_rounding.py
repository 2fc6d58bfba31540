"""What a solved phase gives, and how far rounding may have moved it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EPS = float(np.finfo(float).eps)


@dataclass(frozen=True, eq=False)
class Followed:
    """What is added to the displacement in a phase.

    Attributes
    ----------
    flats : ndarray, shape (n_times, count)
    error : ndarray, shape (n_times,)
        The largest length that the error of a row can have.
    words : str
        How it was solved, for the reader.
    """

    flats: np.ndarray
    error: np.ndarray
    words: str


def reached(eigenvalues: np.ndarray, times: np.ndarray, step: float) -> np.ndarray:
    r"""Return $\hat\varphi = \min(t, 1/l)$, which no function of an eigenvalue exceeds.

    Shape (n_times, k). Of descent t is steps times learning rate, and where a step overshoots the
    residual decays as slowly as if l were $2/\eta - l$.
    """
    if step:
        eigenvalues = np.clip(np.minimum(eigenvalues, 2 / step - eigenvalues), 0.0, None)
    passed = np.asarray(times, dtype=float) * (step or 1.0)
    with np.errstate(divide="ignore"):
        return np.minimum(passed[:, None], 1 / eigenvalues)


def rounding(
    values: np.ndarray,
    parts: np.ndarray,
    residual: float,
    shape: tuple[int, int],
    times: np.ndarray,
    step: float,
) -> np.ndarray:
    r"""Return $\epsilon(2|\hat\varphi\rho| + \max(s\hat\varphi)|s\hat\varphi\rho|)$ at each time.

    Parameters
    ----------
    values : ndarray, shape (k,)
        Singular values of A.
    parts : ndarray, shape (k,)
        The residual along their vectors.
    residual : float
        Its length.
    shape : tuple of int
        Of A: unknowns and parameters.
    times : ndarray, shape (n_times,)
        Flow times, or with a learning rate numbers of steps.
    step : float
    """
    phi = reached(values**2, times, step)
    moved = np.linalg.norm(values * phi * parts, axis=1)
    if shape[0] > shape[1]:
        # What no parameter can learn does not drive them: the slowest parameter bounds the rest.
        driven = phi.max(axis=1) * residual
    else:
        driven = np.linalg.norm(phi * parts, axis=1)
    epsilon = max(shape) * EPS * float(values.max(initial=0.0))
    return epsilon * (2 * driven + (values * phi).max(axis=1, initial=0.0) * moved)
