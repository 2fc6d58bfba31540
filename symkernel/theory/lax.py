r"""$GJ$ of two linear layers moves by a Lax pair, whatever the residual.

With $J = \mathrm{diag}(1, -1)$ on inputs and outputs and any residual $E(t)$, of any loss and any
schedule of data, $\frac{d}{dt}(GJ) = [\Gamma, GJ]$ with $\Gamma = [[0, E^T], [E, 0]]$: a
polynomial identity in $GJ$ that holds at the start holds for ever.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Step
from symkernel.theory.gradient_flow import rate_of
from symkernel.theory.gram_observables import sizes, stacked
from symkernel.theory.two_layer import TwoLayer
from symkernel.theory.words import Words, derivative

LAM = notation.register(sp.Symbol("lambda", real=True), r"\lambda", "imbalance of the layers")
C2 = notation.register(sp.Symbol("c2", nonnegative=True), "c^2", "minus the product of the two "
                       "eigenvalues of G J")  # fmt: skip


def lax_gaps() -> dict[str, Words]:
    r"""Return the blocks of $\frac{d}{dt}(GJ) - [\Gamma, GJ]$; empty exactly if it holds."""
    flow = {"w_1": Words.of("w_2'", "E"), "w_2": Words.of("E", "w_1'")}
    A, B, W = Words.of("w_1'", "w_1"), Words.of("w_2", "w_2'"), Words.of("w_2", "w_1")
    V, E, T = W.transposed(), Words.of("E"), Words.of("E'")
    wanted = {
        "A": (A, T @ W + V @ E),
        "-W'": (-V, -(T @ B) - A @ T),
        "W": (W, E @ A + B @ E),
        "-B": (-B, -(E @ V) - W @ T),
    }
    return {name: derivative(block, flow) - rate for name, (block, rate) in wanted.items()}


def signature(form: TwoLayer) -> sp.BlockMatrix:
    """Return J."""
    n_in, n_out, _ = sizes(form)
    return sp.BlockMatrix(
        [
            [sp.Identity(n_in), sp.ZeroMatrix(n_in, n_out)],
            [sp.ZeroMatrix(n_out, n_in), -sp.Identity(n_out)],
        ]
    )


def lax_step(form: TwoLayer) -> Step:
    """State the Lax pair, and what it keeps."""
    n_in, n_out, _ = sizes(form)
    G = stacked(form)["G"]
    J, Gamma = (sp.MatrixSymbol(name, *G.shape) for name in ("J", r"\Gamma"))
    E = sp.MatrixSymbol("E", n_out, n_in)
    zeros = sp.ZeroMatrix(n_in, n_in), sp.ZeroMatrix(n_out, n_out)
    commutator = sp.MatAdd(Gamma * G * J, -G * J * Gamma, evaluate=False)

    def check() -> Evidence:
        wrong = [name for name, gap in lax_gaps().items() if gap.terms]
        return Evidence(
            not wrong,
            f"the blocks {', '.join(wrong)} differ"
            if wrong
            else "the four blocks of the commutator = their rates exactly, for an arbitrary E",
        )

    return Step(
        "Lax pair",
        "with any residual E, of any loss and any data, GJ changes by a similarity; its two "
        "eigenvalues at the start remain its eigenvalues, and the quadratic identity is kept",
        (
            sp.Eq(J, signature(form), evaluate=False),
            sp.Eq(Gamma, sp.BlockMatrix([[zeros[0], E.T], [E, zeros[1]]]), evaluate=False),
            sp.Eq(rate_of(r"(GJ)", {r"(GJ)": G.shape}), commutator, evaluate=False),
            sp.Eq(
                sp.MatAdd((G * J) ** 2, LAM * G * J, evaluate=False),
                C2 * sp.Identity(G.shape[0]),
                evaluate=False,
            ),
        ),
        check,
    )


def fitted_class(gram: np.ndarray, n_inputs: int) -> tuple[float, float, float]:
    r"""Return $\lambda$, $c^2$ and the relative distance of $(GJ)^2 + \lambda GJ - c^2$ from 0.

    Parameters
    ----------
    gram : ndarray, shape (n, n)
        G.
    n_inputs : int
        Rows of the first kind.
    """
    n = len(gram)
    signs = np.where(np.arange(n) < n_inputs, 1.0, -1.0)
    N = gram * signs
    size = float(np.abs(gram).max())
    if size == 0:
        return 0.0, 0.0, 0.0
    N = N / size
    square, unit = N @ N, np.eye(n)
    table = np.stack([N.ravel(), -unit.ravel()], axis=1)
    (lam, c2), *_ = np.linalg.lstsq(table, -square.ravel(), rcond=None)
    rest = square + lam * N - c2 * unit
    return float(lam * size), float(c2 * size**2), float(np.linalg.norm(rest, 2))
