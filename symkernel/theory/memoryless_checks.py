r"""Rungs 1 to 3 of the law of the memoryless Gram matrix."""

from __future__ import annotations

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Limits
from symkernel.identities import rational_orthogonal, vanishes
from symkernel.problem import balanced_weights
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.problem import Problem
from symkernel.theory.gram_checks import drawn_network
from symkernel.theory.lax import LAM
from symkernel.theory.reduced_checks import compared, correlated_task

# The root of lambda^2/4 + c^2.
HALF = sp.Symbol("k", positive=True)


def check_positive() -> Evidence:
    r"""Build $G = kP - \lambda J/2$ from rational boosts P, and compare its blocks, exactly.

    Its inputs and outputs are turned by rational rotations, so that no block is diagonal.
    """
    k, lam = sp.Rational(3, 4), sp.Rational(1, 2)
    U, V = rational_orthogonal(2, 1), rational_orthogonal(3, 2)
    turn = sp.diag(V, U)
    n = turn.rows
    P = sp.eye(n)
    # (cosh, sinh) of two boosts, each of one input with one output.
    for i, (c, s) in enumerate(((5, 4), (13, 12))):
        P[i, i] = P[3 + i, 3 + i] = sp.Rational(c, (3, 5)[i])
        P[i, 3 + i] = P[3 + i, i] = sp.Rational(s, (3, 5)[i])
    P = turn * P * turn.T
    J = sp.diag(1, 1, 1, -1, -1)
    G = k * P - lam / 2 * J
    A, W, B = G[:3, :3], G[3:, :3], G[3:, 3:]
    M, c2 = G * J, k**2 - lam**2 / 4
    quadratic = M * M + lam * M - c2 * sp.eye(n) == sp.zeros(n)
    roots = [
        (A + lam / 2 * sp.eye(3), k**2 * sp.eye(3) + W.T * W),
        (B - lam / 2 * sp.eye(2), k**2 * sp.eye(2) + W * W.T),
    ]
    squares = all(root * root == square for root, square in roots)
    positive = all(root.is_positive_definite for root, _ in roots) and P.is_positive_definite
    inverse = P * J * P == J
    return Evidence.of(
        bool(quadratic and squares and positive and inverse),
        "in a rational example the quadratic holds, P J P = J, and A + lambda/2 and B - lambda/2 "
        "are the positive roots exactly",
    )


def memoryless_limits() -> Limits:
    """Return the limits of the products and of the equation of one mode, with their checks."""
    return (
        ("W = 0: semi-orthogonal weights", _start),
        ("k to 0: balanced", _balanced),
        ("k to infinity: lazy", _lazy),
        ("lambda to -lambda: inputs and outputs change places", _mirrored),
        ("one mode: the law of modes that do not overlap", _one_mode),
        ("no cancellation where W or k is small", _rationalised),
    )


_W = sp.Symbol("W", real=True)


def _sides() -> tuple[sp.Expr, sp.Expr]:
    root = sp.sqrt(HALF**2 + _W**2)
    return root - LAM / 2, root + LAM / 2


def _start() -> Evidence:
    a, b = sp.symbols("a b", positive=True)
    at = {_W: 0, LAM: b - a, HALF: (a + b) / 2}
    gaps = [sp.expand(side.subs(at) - v) for side, v in zip(_sides(), (a, b), strict=True)]
    return Evidence.of(gaps == [0, 0], "A = a, B = b with lambda = b - a, k = (a + b)/2 exactly")


def _balanced() -> Evidence:
    w = sp.Symbol("w", positive=True)
    ends = [sp.limit(side.subs({LAM: 0, _W: w}), HALF, 0) for side in _sides()]
    return Evidence.of(ends == [w, w], "A and B to |W| exactly")


def _lazy() -> Evidence:
    ratio = sp.Symbol("rho", real=True)
    off = [side - (HALF + sign * LAM / 2) for side, sign in zip(_sides(), (-1, 1), strict=True)]
    ends = [sp.limit(part.subs(LAM, ratio * HALF), HALF, sp.oo) for part in off]
    return Evidence.of(ends == [0, 0], "A and B keep their initial values: a fixed kernel")


def _mirrored() -> Evidence:
    A, B = _sides()
    return Evidence.of(sp.expand(A.subs(LAM, -LAM) - B) == 0, "A at -lambda is B at lambda exactly")


def _one_mode() -> Evidence:
    r"""$W = k\sinh 2\varphi$, with the clock $\dot\varphi = s - dW$ of the mode laws."""
    phi, s, d = sp.Symbol("phi", real=True), notation.s, notation.d
    grown = HALF * sp.sinh(2 * phi)
    drive = s - d * grown
    A, B = (side.subs(_W, grown) for side in _sides())
    root = HALF * sp.cosh(2 * phi)
    same_root = sp.expand((root**2 - HALF**2 - grown**2).rewrite(sp.exp)) == 0
    A, B = (side.subs(sp.sqrt(HALF**2 + grown**2), root) for side in (A, B))
    gap = sp.expand(sp.diff(grown, phi) * drive - (B * drive + drive * A))
    # On white inputs, tanh(phi) = s T / (K + k T) with T = tanh(K t), K^2 = s^2 + k^2.
    K, T = sp.symbols("K T", positive=True)
    h = s * T / (K + HALF * T)
    clock = sp.diff(h, T) * K * (1 - T**2) - (1 - h**2) * (s - 2 * HALF * h / (1 - h**2))
    solved = vanishes(clock, [(K, s**2 + HALF**2)])
    return Evidence.of(
        bool(same_root and gap == 0 and solved),
        "dW/dt = B E + E A is dphi/dt = s - d W exactly, solved on white inputs by "
        "tanh(phi) = s T/(K + k T)",
    )


def _rationalised() -> Evidence:
    """Compare what is computed with the root itself."""
    root = sp.Symbol("r", positive=True)
    gap = HALF + _W**2 / (HALF + root) - root
    same = vanishes(gap, [(root, HALF**2 + _W**2)])
    return Evidence.of(same, "k + W^2/(k + sqrt(k^2 + W^2)) = sqrt(k^2 + W^2) exactly")


def check_precision(stream: np.random.Generator, draws: int) -> Evidence:
    """Compare with Taylor steps of the weights, which know nothing of the class."""
    from symkernel.theory.memoryless_gram import trajectory

    return compared(stream, draws, trajectory, draw_small_semi_orthogonal)


def draw_small_semi_orthogonal(stream: np.random.Generator) -> Problem:
    """Draw one task with correlated inputs, 1 or 2 inputs and outputs, any two variances."""
    n_in, n_out = (int(v) for v in stream.integers(1, 3, 2))
    net, loss = drawn_network(stream, (n_in, n_in + n_out, n_out), True)
    a, b = (float(v) for v in 10 ** stream.uniform(-3, 0.7, 2))
    w0 = balanced_weights.semi_orthogonal(net, a, b, seed=int(stream.integers(1 << 30)))
    return Problem(net, Curriculum([Phase(correlated_task(stream, n_in, n_out))]), w0, loss)
