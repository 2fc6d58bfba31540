r"""The matrix Riccati flow $\dot G = FG + GF - G^2$: its solution, and the node that stands for it.

The solution holds $\Phi = \int_0^t e^{2Fs} ds$, which is entire in F: neither F nor any block of
the weights has to be invertible.
"""

from __future__ import annotations

from typing import ClassVar

import mpmath
import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.codegen.algorithms import (
    AlgorithmNode,
    Propagator,
    PropagatorIntegral,
    at_precision,
    compile_algorithm,
    solves_its_equation,
)
from symkernel.errors import OutsideValidity
from symkernel.formula import Evidence
from symkernel.identities import rational_orthogonal
from symkernel.numerics import riccati as algorithm
from symkernel.problem.scalars import as_sympy

# Of the Python function: one that calls the compiled one would be optimised with it once more.
_ENTRY = """

evaluate = numba.njit(
    "float64[:, ::1](float64[::1], float64[:, ::1], int64, float64, float64[:, ::1],"
    " float64[::1], float64[:, :, ::1])",
    cache=True,
    nogil=True,
    error_model="numpy",
)(riccati_flow.py_func)
"""
_BOUND = 1e-12
_DIGITS = 60
# Entries below this share of their row are rounding of it, with a margin.
_ROUNDING = 64 * float(np.finfo(float).eps)
# Logarithm of a number that is too large for an error by any measure.
_LARGEST = 700.0
# Of how many sets of directions the smallest share is found.
_SHARES = 24
# Time constants that a flow is followed for: a second's work.
_LONGEST = 1e7


class RiccatiFlow(AlgorithmNode):
    r"""$G(t)$ with $\dot G = FG + GF - G^2$, $G(0) = Q_0 Q_0^T$, F symmetric.

    Parameters
    ----------
    F : MatrixExpr, shape (n, n)
    Q0 : MatrixExpr, shape (n, k)
    t : Expr

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.theory.riccati import RiccatiFlow
    >>> F, Q0 = sp.MatrixSymbol("F", 3, 3), sp.MatrixSymbol("Q0", 3, 2)
    >>> assert RiccatiFlow(F, Q0, sp.Symbol("t")).shape == (3, 3)
    """

    algorithm: ClassVar = algorithm
    entry: ClassVar[str] = _ENTRY

    def __new__(cls, F: sp.MatrixExpr, Q0: sp.MatrixExpr, t: sp.Expr) -> RiccatiFlow:
        """Return the flow of F from Q0 at time t."""
        return super().__new__(cls, F, Q0, as_sympy(t))

    @property
    def shape(self) -> tuple[sp.Expr, sp.Expr]:
        """Shape of F."""
        return self.args[0].shape

    def definition(self) -> sp.MatrixExpr:
        r"""Return $e^{Ft} Q_0 [1 + Q_0^T \Phi Q_0]^{-1} Q_0^T e^{Ft}$."""
        F, Q0, t = self.args
        inner = sp.Identity(Q0.shape[1]) + Q0.T * PropagatorIntegral(F, t) * Q0
        return sp.MatMul(Propagator(F, t), Q0, sp.Inverse(inner), Q0.T, Propagator(F, t))

    def equation(self, value: sp.MatrixExpr) -> tuple[sp.MatrixExpr, sp.MatrixExpr]:
        """Return the rate of a value, and the initial value."""
        F, Q0, _ = self.args
        return F * value + value * F - value * value, Q0 * Q0.T


def symbolic_node(size: int, columns: int) -> RiccatiFlow:
    """Return the node on symbols."""
    F, Q0 = sp.MatrixSymbol("F", size, size), sp.MatrixSymbol("Q_0", size, columns)
    return RiccatiFlow(F, Q0, notation.t)


def check_solution(definition: sp.MatrixExpr | None = None) -> Evidence:
    """Substitute the solution into its equation, exactly, in three small cases.

    F has positive, negative, zero and repeated eigenvalues; with fewer columns than rows, as many,
    and more.
    """
    for eigenvalues, columns, salt in (([1, -1, 0], 1, 1), ([2, 2, -1], 3, 2), ([1, -2], 3, 3)):
        n = len(eigenvalues)
        vectors = rational_orthogonal(n, salt)
        node = symbolic_node(n, columns)
        F, Q0, t = node.args
        entries = sp.Matrix(
            n, columns, lambda i, j, k=salt: sp.Rational((3 * i + 5 * j + k) % 7 - 3, 2 + i + j)
        )
        values = {F: vectors * sp.diag(*eigenvalues) * vectors.T, Q0: entries}
        formula = node.definition()
        if definition is not None:
            own = symbolic_node(*definition.args[1].shape)
            formula = definition.xreplace(dict(zip(own.args[:2], node.args[:2], strict=True)))
        spectrum = (vectors, [sp.Integer(f) for f in eigenvalues])
        if not solves_its_equation(node, formula, values, spectrum, t, sp.Rational(2, 5)):
            return Evidence(False, f"the solution fails for eigenvalues {eigenvalues}")
    return Evidence(
        True,
        "substituted into its equation, exactly 0, in 3 cases with positive, negative, zero and "
        "repeated eigenvalues; initial value exact",
    )


def eigenbasis(strength: np.ndarray, lam: float, shift: float = 0.0) -> tuple:
    r"""Return the spectrum of $F = [[-\lambda/2, S^T], [S, \lambda/2]] - \gamma$.

    Parameters
    ----------
    strength : ndarray, shape (n_outputs, n_inputs)
        S.
    lam, shift : float
        $\lambda$ and $\gamma$.

    Returns
    -------
    f : ndarray, shape (n,)
        Eigenvalues: a pair for each singular value, then those of directions that only one side
        has, which are equal.
    E : ndarray, shape (n, n)
        Eigenvectors as columns.
    equal : int
        How many are equal at the end.

    Notes
    -----
    Every pair comes from a rotation by half the angle of $(s, -\lambda/2)$: nothing is divided by
    a singular value or by a difference of two.
    """
    outputs, inputs = strength.shape
    r, n = min(outputs, inputs), outputs + inputs
    U, s, Vt = np.linalg.svd(strength, full_matrices=True)
    f, E = np.empty(n), np.zeros((n, n))
    angle = 0.5 * np.arctan2(2 * s, -lam)
    cosine, sine = np.cos(angle), np.sin(angle)
    size = np.hypot(s, lam / 2)
    f[0 : 2 * r : 2], f[1 : 2 * r : 2] = size, -size
    E[:inputs, 0 : 2 * r : 2], E[inputs:, 0 : 2 * r : 2] = cosine * Vt[:r].T, sine * U[:, :r]
    E[:inputs, 1 : 2 * r : 2], E[inputs:, 1 : 2 * r : 2] = -sine * Vt[:r].T, cosine * U[:, :r]
    if inputs > outputs:
        f[2 * r :], E[:inputs, 2 * r :] = -lam / 2, Vt[r:].T
    else:
        f[2 * r :], E[inputs:, 2 * r :] = lam / 2, U[:, r:]
    return f - shift, E, n - 2 * r


def lower_factor(Q0: np.ndarray) -> np.ndarray:
    """Return a factor of the same product with as many columns as rows at most."""
    n, k = Q0.shape
    return Q0 if k <= n else np.ascontiguousarray(np.linalg.qr(Q0.T)[1].T)


def spanning(factor: np.ndarray) -> np.ndarray:
    """Return a factor of the same product without the columns that are rounding of its rows.

    Balanced weights have a rank of min(inputs, outputs), whatever the number of hidden units.
    """
    sizes = np.linalg.norm(factor, axis=1, keepdims=True)
    directions = np.linalg.svd(factor / np.where(sizes > 0, sizes, 1.0), full_matrices=False)[2]
    turned = factor @ directions.T
    used = (np.abs(turned) > _ROUNDING * sizes).any(0)
    rank = int(np.flatnonzero(used).max(initial=0)) + 1
    return factor if rank == factor.shape[1] else turned[:, :rank]


def advance(
    spectrum: tuple[np.ndarray, np.ndarray, int],
    Q0: np.ndarray,
    times: np.ndarray,
    source: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return G at increasing times, and its factor at the last one.

    With a source c the equation is $\dot G = FG + GF - G^2 + c^2$.
    """
    f, E, equal = spectrum
    # Equal eigenvalues that grow would grade the columns of what is reflected, and lose digits.
    equal = equal if equal and f[-1] <= 0 and not source else 0
    fastest = float(np.hypot(f, source).max() if source else f.max(initial=0.0))
    growth = fastest * float(times[-1])
    if growth > _LONGEST:
        raise OutsideValidity(
            f"Time {times[-1]:g} is {growth:.1e} time constants of the fastest direction; the flow "
            f"is evaluated up to {_LONGEST:.0e} of them, so ask for earlier times."
        )
    out = np.empty((len(times), len(f), len(f)))
    evaluate = compile_algorithm(RiccatiFlow).evaluate
    start, axes = np.ascontiguousarray(Q0), np.ascontiguousarray(E)
    last = evaluate(f, axes, equal, float(source), start, times, out)
    return out, last


def rounding(
    spectrum: tuple[np.ndarray, np.ndarray, int],
    Q0: np.ndarray,
    t: float,
    source: float = 0.0,
    error: float = 0.0,
) -> float:
    r"""Estimate how far a factor of G is off at a time, after rounding or an error of the first.

    A direction that grows and whose share of the factor is small, as after the reversal of a task
    that was learned, is known up to rounding of the whole factor only. The error grows with it
    until it saturates: a direction is settled by the shares of those that grow as fast or faster,
    and overtaken where as many others as the factor has columns have grown by more. With a source
    c, $G - F + K$ with $K = \sqrt{F^2 + c^2}$ obeys the equation without one, K in the place of F;
    $K - F$ is a share that rounding does not touch.
    """
    f, E, _ = spectrum
    start, machine = Q0, np.finfo(float)
    noise = max(float(machine.eps * np.linalg.norm(Q0, 2)), error, float(machine.tiny))
    if source:
        k = np.hypot(f, source)
        above = np.where(f > 0, source**2 / (k + np.abs(f)), k - f)
        f, start = k, np.hstack([Q0, E * np.sqrt(above)])
    order = np.argsort(-f)
    reach = np.log(noise) + f[order] * t
    # What rounding has not reached does not matter, however small its share is.
    count = int(((reach > np.log(_BOUND)) & (f[order] > 0)).sum())
    beyond = float(np.exp(reach[count:].max(initial=-np.inf)))
    if not count:
        return beyond
    shares, held = _shares(E[:, order[:count]].T @ start, f[order[:count]], t)
    grown = np.exp(np.minimum(reach[:count] - held, _LARGEST))
    return max(float(np.minimum(grown, noise / shares).max()), beyond)


def _shares(rows: np.ndarray, f: np.ndarray, t: float) -> tuple[np.ndarray, float]:
    """Return the smallest share of the first rows, for any number of them, and what all hold.

    The share falls until the rows are as many as the columns, and rises from there: of very many
    it is bounded by those next to it. What is held is the logarithm of by how much every column
    has grown at least.
    """
    count, rank = len(rows), min(rows.shape)
    at = np.unique(np.append(np.linspace(0, count - 1, _SHARES).astype(int), rank - 1))
    found = [np.linalg.svd(rows[: i + 1], compute_uv=False) for i in at]
    smallest = np.array([values[values > 0].min(initial=np.inf) for values in found])
    every = np.arange(count)
    below, above = np.searchsorted(at, every, "right") - 1, np.searchsorted(at, every)
    full = (at >= rows.shape[1] - 1) & (smallest < np.inf)
    rates = f[at][full]
    begun = np.maximum(-np.expm1(-2 * rates * t), np.finfo(float).tiny)
    grown = rates * t + 0.5 * np.log(begun / (2 * rates))
    held = (grown + np.log(smallest[full])).max(initial=0.0)
    return np.minimum(smallest[below], smallest[above]), float(held)


def high_precision(F: np.ndarray, Q0: np.ndarray, t: float, growth: float) -> np.ndarray:
    """Return the definition's value; `growth` is the largest eigenvalue times t."""
    node = symbolic_node(*Q0.shape)
    values = {node.args[0]: mpmath.matrix(F.tolist()), node.args[1]: mpmath.matrix(Q0.tolist())}
    digits = _DIGITS + int(2 * growth)
    found = at_precision(node.definition(), values, t, digits)
    return np.array(found.tolist(), dtype=float)


def check_precision(stream: np.random.Generator, draws: int) -> Evidence:
    """Compare the compiled algorithm with 60 digits, relative to the largest entry of G."""
    worst, where = 0.0, ""
    for k in range(draws):
        inputs, outputs = (int(v) for v in stream.integers(1, 4, 2))
        columns = int(stream.integers(1, 4))
        strength = stream.standard_normal((outputs, inputs)) * 10 ** stream.uniform(-3, 2)
        if k % 4 == 1:
            strength[:] = np.outer(strength[:, 0], strength[0])
        if k % 5 == 2:
            strength[:] = 0.0
        lam = float(stream.choice([0.0, 1.0, -1.0]) * 10 ** stream.uniform(-3, 1))
        Q0 = stream.standard_normal((inputs + outputs, columns)) * 10 ** stream.uniform(-6, 1)
        spectrum = eigenbasis(strength, lam)
        fastest = max(float(np.abs(spectrum[0]).max()), 1e-3)
        times = np.sort(10 ** stream.uniform(-6, 2, 2)) / fastest
        found, _ = advance(spectrum, Q0, times)
        F = np.block(
            [[-lam / 2 * np.eye(inputs), strength.T], [strength, lam / 2 * np.eye(outputs)]]
        )
        for t, G in zip(times, found, strict=True):
            exact = high_precision(F, Q0, float(t), fastest * t)
            error = float(np.abs(G - exact).max() / np.abs(exact).max())
            if not error <= worst:
                worst, where = error, f"f t = {fastest * t:.3g}, lambda = {lam:.3g}"
    figure = (
        f"worst relative error {worst:.1e} in {draws} flows of 2 times; singular values about "
        f"1e-3 to 1e2, weights 1e-6 to 10, f t in [1e-6, 100], lambda of any sign; worst at {where}"
    )
    return Evidence(worst <= _BOUND, figure)
