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
from symkernel.theory import block_words as blocks
from symkernel.theory.gradient_flow import Rate
from symkernel.theory.gram_observables import sizes, stacked
from symkernel.theory.two_layer import TwoLayer
from symkernel.theory.words import Words

LAM = notation.symbol("lambda", r"\lambda", "imbalance of the layers", real=True)
C2 = notation.symbol(
    "c_squared", "c^2", "minus the product of the two eigenvalues of G J", nonnegative=True
)


def check_lax(decay: sp.Expr) -> Evidence:
    """Apply the product rule to the blocks of GJ and of the quadratic polynomial, for arbitrary E.

    Weight decay shrinks lambda twice as fast as the weights, and c^2 four times.
    """
    flow = {
        name: words + Words.of(name, coefficient=-decay) if decay != 0 else words
        for name, words in blocks.ANY_LOSS.items()
    }
    M, one = blocks.product(blocks.GRAM, blocks.SIGN), blocks.UNIT
    square = blocks.product(M, M)
    pair = blocks.combined((1, blocks.commutator(blocks.DRIVE, M)), (-2 * decay, M))
    kept = blocks.combined((1, square), (LAM, M), (-C2, one))
    rate = blocks.combined(
        (1, blocks.moved(square, flow)),
        (LAM, blocks.moved(M, flow)),
        (-2 * decay * LAM, M),
        (4 * decay * C2, one),
    )
    wanted = blocks.combined((1, blocks.commutator(blocks.DRIVE, kept)), (-4 * decay, kept))
    gaps = (
        blocks.combined((1, blocks.moved(M, flow)), (-1, pair)),
        blocks.combined((1, rate), (-1, wanted)),
    )
    same = all(map(blocks.is_nothing, gaps))
    words = (
        "rates of GJ and of (GJ)^2 + lambda GJ - c^2 = commutators with the same arbitrary drive "
        "exactly: what is 0 stays 0"
    )
    return Evidence.of(same, words)


def fallen(form: TwoLayer) -> tuple[sp.Expr, sp.Expr]:
    """Return lambda and c^2 as weight decay leaves them."""
    shrunk = sp.exp(-2 * form.decay * notation.t)
    return LAM * shrunk, C2 * shrunk**2


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
    if form.decay != 0:
        commutator = sp.MatAdd(commutator, -2 * form.decay * G * J, evaluate=False)

    lam, c2 = fallen(form)

    return Step(
        "Lax pair",
        "with any residual E, of any loss and any data, G J changes by a similarity; its two "
        "eigenvalues at the start remain its eigenvalues, and the quadratic identity is kept",
        (
            sp.Eq(J, signature(form), evaluate=False),
            sp.Eq(Gamma, sp.BlockMatrix([[zeros[0], E.T], [E, zeros[1]]]), evaluate=False),
            sp.Eq(Rate(G * J), commutator, evaluate=False),
            sp.Eq(
                sp.MatAdd((G * J) ** 2, lam * G * J, evaluate=False),
                c2 * sp.Identity(G.shape[0]),
                evaluate=False,
            ),
        ),
        lambda: check_lax(form.decay),
        (
            (E, "residual: minus the gradient of the loss by the end-to-end map"),
            (G, "products Q Q^T of the stacked weights Q, w_1^T above w_2"),
        ),
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
