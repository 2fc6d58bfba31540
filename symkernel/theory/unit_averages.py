r"""Averages over the initial weights of one hidden unit: what its second order in learning needs.

The pre-activations of a unit at all samples are Gaussian, with few independent directions where
inputs have few dimensions: an equidistant grid then, which converges exponentially. Otherwise
random shifts of a Sobol sequence, whose spread gives the standard error. For erf there is a
closed form. What does not reach the accuracy that is asked for is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import sympy as sp

from symkernel.codegen.rules import without_overflow
from symkernel.errors import OutsideValidity
from symkernel.problem.activation import ACTIVATIONS, ARGUMENT, Activation
from symkernel.theory.erf_unit import erf_unit_averages

__all__ = ["UnitMoments", "unit_averages"]

# Nodes per direction of a grid, few and many, by the number of directions; its reach.
_NODES = {0: (1, 1), 1: (200, 300), 2: (80, 120), 3: (54, 72)}
_REACH = 8.5
_SHIFTS, _FIRST, _LAST = 8, 10, 17
# Standard errors that are taken for a bound.
_SPREADS = 4.0
_BATCH = 4096
# Points times samples up to which the closed form of erf, of their square in cost, is quicker.
_CLOSED = 2500
_RANK = 1e-12
_ROUNDING = 1e-12


@dataclass(frozen=True)
class UnitMoments:
    """What the averages are made of; samples first, then the points that are looked at.

    Attributes
    ----------
    covariances : ndarray, shape (n_points, n_points)
        Of the pre-activations.
    tangent : ndarray, shape (n_points, n_points)
        Their tangent kernel.
    samples : int
        How many of the points are samples.
    spread, readout : float
        Variance and rate of the read-out weights.
    pulls : ndarray, shape (n_times, n_samples, n_outputs)
        Integrals of the residuals.
    meetings : ndarray, shape (n_times, n_samples, n_samples)
        Integrals of residual times integral of residual.
    """

    covariances: np.ndarray
    tangent: np.ndarray
    samples: int
    spread: float
    readout: float
    pulls: np.ndarray
    meetings: np.ndarray


Parts = tuple[np.ndarray, np.ndarray]


def unit_averages(
    phi: Activation | None, moments: UnitMoments, accuracy: float
) -> tuple[Parts, float]:
    """Return linearised and curvature part, (n_times, n_points, n_points) each, and the error.

    Raises
    ------
    OutsideValidity
        If the error would be above the accuracy, or averages leave the floating-point numbers.
    """
    if phi == ACTIVATIONS["erf"] and len(moments.covariances) * moments.samples <= _CLOSED:
        parts, error = erf_unit_averages(moments), 0.0
    else:
        parts, error = averages_by_rule(phi, moments, accuracy)
    name = "linear" if phi is None else phi.name
    if not (np.isfinite(error) and np.isfinite(parts).all()):
        raise OutsideValidity(
            f"Averages of {name} over a unit's weights leave the floating-point numbers at "
            f"variances up to {moments.covariances.diagonal().max():.3g}; scale the inputs down."
        )
    if error > accuracy:
        # Up, so that the figure is enough.
        figure = f"{1.01 * error:.2e}"
        raise OutsideValidity(
            f"Averages of {name} over a unit's weights reach a relative accuracy of {figure} here, "
            f"not the {accuracy!r} of 'accuracy': activations that are steep, or grow fast, at "
            f"variances up to {moments.covariances.diagonal().max():.3g} need too many points. "
            f"Accept it by accuracy={figure}, or scale the inputs down."
        )
    return parts, error


# What leaves the numbers is refused at the end.
@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def averages_by_rule(
    phi: Activation | None, moments: UnitMoments, accuracy: float
) -> tuple[Parts, float]:
    """Return the same by a grid or a sequence, for any smooth activation, whatever the error."""
    functions = _derivatives(phi)
    eigenvalues, vectors = np.linalg.eigh(moments.covariances)
    kept = eigenvalues > _RANK * eigenvalues[-1]
    root = vectors[:, kept] * np.sqrt(eigenvalues[kept])
    if root.shape[1] in _NODES:
        few, many = (
            _averaged(functions, moments, root, _grid(root.shape[1], count))
            for count in _NODES[root.shape[1]]
        )
        return _split(many), _relative(np.abs(many - few), many) + _ROUNDING
    for power in range(_FIRST, _LAST + 1):
        runs = np.stack(
            [
                _averaged(functions, moments, root, _sobol(root.shape[1], power, seed))
                for seed in range(_SHIFTS)
            ]
        )
        mean, spread = runs.mean(0), runs.std(0, ddof=1) / np.sqrt(_SHIFTS)
        error = _relative(_SPREADS * spread, mean) + _ROUNDING
        if error <= accuracy or not np.isfinite(error):
            break
    return _split(mean), error


def _split(parts: np.ndarray) -> Parts:
    return parts[0], parts[1]


def _relative(errors: np.ndarray, parts: np.ndarray) -> float:
    """Return the error of the sum of both parts, relative to its largest entry."""
    top = np.abs(parts.sum(0)).max()
    return float(errors.max() / top) if top != 0 else 0.0


@cache
def _derivatives(phi: Activation | None) -> tuple[Callable, ...]:
    """Return NumPy functions of the activation and its first two derivatives."""
    from scipy import special

    expressions = [ARGUMENT, sp.S.One, sp.S.Zero]
    if phi is not None:
        bend = sp.diff(phi.slope, ARGUMENT)
        if phi.slope.has(sp.Heaviside, sp.sign, sp.Piecewise, sp.Max, sp.Min, sp.Abs):
            raise OutsideValidity(
                f"The activation {phi.name} has corners: its curvature is no function, and the "
                f"second order of learning is not known here. Use a smooth activation."
            )
        expressions = [phi.expression, phi.slope, bend]
    own = {"sigmoid": special.expit, "softplus": lambda u: np.logaddexp(0.0, u)}
    bodies: list = [own, "scipy", "numpy"]
    return tuple(sp.lambdify(ARGUMENT, without_overflow(e), bodies) for e in expressions)


Rule = Iterator[tuple[np.ndarray, np.ndarray]]


def _grid(directions: int, count: int) -> Rule:
    """Yield nodes and shares of an equidistant grid under the normal density."""
    x = np.linspace(-_REACH, _REACH, count) if count > 1 else np.zeros(1)
    w = np.exp(-x * x / 2)
    grids = np.meshgrid(*[x] * directions, indexing="ij")
    shares = np.ones(())
    for _ in range(directions):
        shares = np.multiply.outer(shares, w / w.sum())
    flat = shares.ravel()
    points = np.stack([g.ravel() for g in grids], axis=1) if directions else np.zeros((1, 0))
    for start in range(0, len(flat), _BATCH):
        yield points[start : start + _BATCH], flat[start : start + _BATCH]


def _sobol(directions: int, power: int, seed: int) -> Rule:
    from scipy.special import ndtri
    from scipy.stats import qmc

    uniform = qmc.Sobol(directions, scramble=True, seed=seed).random_base2(power)
    points = ndtri(np.clip(uniform, 1e-16, 1 - 1e-16))
    share = 1.0 / len(points)
    for start in range(0, len(points), _BATCH):
        part = points[start : start + _BATCH]
        yield part, np.full(len(part), share)


def _averaged(
    functions: tuple[Callable, ...], moments: UnitMoments, root: np.ndarray, rule: Rule
) -> np.ndarray:
    """Return both parts, shape (2, n_times, n_points, n_points)."""
    n, points = moments.samples, len(root)
    total = np.zeros((2, len(moments.pulls), points, points))
    to_points = moments.tangent[:, :n].T
    for nodes, shares in rule:
        z = nodes @ root.T
        value, slope, bend = (f(z) + 0.0 * z for f in functions)
        weighted = shares[:, None]
        for k, (pull, meeting) in enumerate(zip(moments.pulls, moments.meetings, strict=True)):
            # u of every output; the average over read-outs adds their squares.
            moves = [(slope[:, :n] * column) @ to_points for column in pull.T]
            inner = moments.readout * slope[:, :n] * (value[:, :n] @ meeting.T)
            mixed = (moments.tangent[:n, :n] * meeting).T
            inner += moments.spread * bend[:, :n] * (slope[:, :n] @ mixed)
            second = slope * (inner @ to_points)
            for move in moves:
                moved = slope * move
                total[0, k] += moments.spread * (moved * weighted).T @ moved
                second += 0.5 * moments.spread * bend * move**2
            half = (value * weighted).T @ second
            total[1, k] += half + half.T
    return total
