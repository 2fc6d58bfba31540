r"""Shannon's information between Gaussian inputs and a noisy linear layer, $h = Wx + \sigma\xi$.

With $\langle x x^T\rangle = \Sigma$, and $\Sigma_{|r}$ what remains of it if $r = P_r x$ is known,

$$I(h; r | g) = \tfrac12 \log_2
  \frac{\det(1 + A\Sigma_{|g}/\sigma^2)}{\det(1 + A\Sigma_{|rg}/\sigma^2)}, \qquad A = W^T W:$$

of the layer the Gram matrix of the inputs' weights is enough, which most exact laws determine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Step
from symkernel.identities import rational_orthogonal, vanishes
from symkernel.theory.information_derivation import DerivedFormula, eq
from symkernel.theory.information_layer import (
    GaussianLayer,
    SymbolicLayer,
    is_symbolic,
    remaining,
)

__all__ = ["NOISE", "gaussian", "gaussian_formula", "same_bits"]

NOISE = notation.symbol("sigma_noise", r"\sigma", "standard deviation of the noise", positive=True)


def gaussian(gram: Any, covariance: Any, noise: Any, *, of: Any, given: Any = ()) -> Any:
    r"""Return the information of a noisy linear layer about Gaussian inputs, in bits.

    Parameters
    ----------
    gram : array_like, shape (..., n_inputs, n_inputs), or SymPy matrix
        $A = W^T W$; through time, say ``trajectory.input_gram``.
    covariance : array_like, shape (n_inputs, n_inputs), or SymPy matrix
        Of the inputs, whose means are 0.
    noise : float or sympy.Expr
        Standard deviation $\sigma$ of the noise of every unit, positive.
    of, given : int, sequence of int, or array_like of shape (k, n_inputs)
        Which inputs, or which linear functions of them as rows, the information is about, and
        which are known already: none by default.

    Returns
    -------
    float, ndarray of shape (...), or sympy.Expr
        $I(h; r | g)$, an expression if one of the arguments is one.

    Notes
    -----
    Where inputs correlate the information about one of them alone, with nothing given, does not
    vanish when its weights do: the others tell of it.

    Examples
    --------
    >>> import numpy as np, sympy as sp, symkernel as sk
    >>> C = np.array([[1, 0.8], [0.8, 1]])
    >>> w = np.array([[0.5, 0.3]])  # one unit
    >>> found = sk.information.gaussian(w.T @ w, C, 0.2, of=1, given=0)
    >>> assert np.isclose(found, 0.5 * np.log2(1 + 0.3**2 * (1 - 0.8**2) / 0.2**2))
    >>> a, r, s = sp.symbols("a r sigma", positive=True)
    >>> C = sp.Matrix([[1, r], [r, 1]])
    >>> exact = sk.information.gaussian(a * sp.eye(2), C, s, of=1, given=0)
    >>> assert exact.equals(sp.log(1 + a * (1 - r**2) / s**2) / (2 * sp.log(2)))
    """
    if is_symbolic(gram, covariance, noise):
        return SymbolicLayer.of(gram, covariance, noise, of, given).bits()
    found = GaussianLayer.of(gram, covariance, noise, of, given).bits()
    return found if np.ndim(found) else float(found)


def gaussian_formula() -> DerivedFormula:
    r"""Return $I(h; r | g)$ and its derivation."""
    n, k, j = sp.symbols("I k j", integer=True, positive=True)
    A, C = sp.MatrixSymbol("A", n, n), sp.MatrixSymbol("Sxx", n, n)
    R, G = sp.MatrixSymbol("P_r", k, n), sp.MatrixSymbol("P_g", j, n)
    C_g, C_rg = sp.MatrixSymbol("C_g", n, n), sp.MatrixSymbol("C_rg", n, n)
    W = sp.MatrixSymbol("W", sp.Symbol("H", integer=True, positive=True), n)
    sigma = sp.Symbol("sigma", positive=True)
    one = sp.Identity(n)

    def size(covariance: sp.MatrixExpr) -> sp.Expr:
        return sp.log(sp.Determinant(one + A * covariance / sigma**2))

    symbol = sp.Symbol("I(h; r|g)", real=True)
    left = C - C * G.T * sp.Inverse(G * C * G.T) * G * C
    less = C_g - C_g * R.T * sp.Inverse(R * C_g * R.T) * R * C_g
    whole = (size(C_g) - size(C_rg)) / (2 * sp.log(2))
    meanings = (
        (A, "Gram matrix W^T W of the inputs' weights"),
        (G, "rows that read what is given, g = P_g x"),
        (R, "rows that read what is asked for, r = P_r x"),
        (sigma, "standard deviation of the units' noise"),
    )
    H = W.shape[0]
    steps = (
        Step(
            "What remains uncertain",
            "the covariance of x less its best linear guess from g, then from r: uncorrelated with "
            "what is known",
            (eq(C_g, left), eq(C_rg, less)),
            check_remaining,
            meanings,
        ),
        Step(
            "Determinants of the inputs' size",
            "the determinant of 1 + M N is that of 1 + N M: only W^T W enters",
            (
                eq(
                    sp.Determinant(sp.Identity(H) + W * C * W.T / sigma**2),
                    sp.Determinant(one + W.T * W * C / sigma**2),
                ),
            ),
            check_determinants,
            meanings,
        ),
        Step(
            "Information",
            "entropy of h given g, less that of h given r and g",
            (eq(symbol, whole),),
            check_joint,
            meanings,
        ),
    )
    where = ((C_g, left), (C_rg, less))
    return DerivedFormula("information of a noisy linear layer", symbol, whole, where, steps=steps)


def _drawn(inputs: int, salt: int) -> tuple[sp.Matrix, sp.Matrix]:
    """Return exact weights of one unit less, or more, than inputs, and a covariance."""
    turn = rational_orthogonal(inputs, salt)
    C = turn * sp.diag(*(sp.Rational(2 + i, 1 + salt) for i in range(inputs))) * turn.T
    hidden = inputs + (-1) ** salt
    W = sp.Matrix(hidden, inputs, lambda i, k: sp.Rational((5 * i + 3 * k + salt) % 7 - 3, 2 + k))
    return W, C


def exact_cases() -> list[tuple[sp.Matrix, sp.Matrix, sp.Matrix, sp.Matrix]]:
    """Return weights, covariances, and rows that read r and g: inputs and mixtures of them."""
    found = []
    for inputs, salt in ((3, 1), (3, 2), (4, 3)):
        W, C = _drawn(inputs, salt)
        rows = rational_orthogonal(inputs, salt + 3)
        found.append((W, C, sp.eye(inputs)[:1, :], sp.eye(inputs)[1:2, :]))
        found.append((W, C, rows[:2, :], rows[2:3, :]))
    return found


def check_remaining(remains: Any = remaining) -> Evidence:
    """Subtract the best linear guess from x: what is left, and that it is uncorrelated."""
    passed = True
    for _, C, R, G in exact_cases():
        rows = sp.Matrix.vstack(G, R)
        guess = C * rows.T * (rows * C * rows.T).inv()
        rest = sp.eye(C.rows) - guess * rows
        twice = remains(C, G) - remains(C, G) * R.T * (R * remains(C, G) * R.T).inv() * R * remains(
            C, G
        )
        passed &= rest * C * rows.T == sp.zeros(C.rows, rows.rows)
        passed &= rest * C * rest.T == remains(C, rows) == twice
    return Evidence.of(passed, "covariance of the rest, at once and one after the other, exactly")


def check_determinants(product: Any = lambda W: W.T * W) -> Evidence:
    """Compare both determinants on exact weights."""
    gaps = []
    for W, C, *_ in exact_cases():
        whole = (sp.eye(W.rows) + W * C * W.T / 3).det()
        gaps.append(whole - (sp.eye(C.rows) + product(W) * C / 3).det())
    return Evidence.of(not any(gaps), "both determinants agree exactly, wide and narrow")


def check_joint(information: Any = gaussian) -> Evidence:
    """Compare with the determinants of the joint covariance of h, r and g."""
    gaps = []
    for W, C, R, G in exact_cases():
        found = information(W.T * W, C, sp.sqrt(3), of=R.tolist(), given=G.tolist())
        read = {"h": W, "r": R, "g": G}

        def size(names: str, C: sp.Matrix = C, read: dict = read) -> sp.Expr:
            rows = sp.Matrix.vstack(*(read[name] for name in names))
            noise = [3 * (name == "h") for name in names for _ in range(read[name].rows)]
            return (rows * C * rows.T + sp.diag(*noise)).det()

        joint = size("hg") * size("rg") / (size("g") * size("hrg"))
        gaps.append(sp.exp(found * 2 * sp.log(2)) - joint)
    passed = all(vanishes(gap) for gap in gaps)
    return Evidence.of(passed, "as from the joint covariance of h, r and g, exactly")


def same_bits(known: sp.Expr, shown: sp.Expr) -> Evidence:
    """Compare information as it is shown with that which `gaussian` gives."""
    gap = sp.exp(2 * sp.log(2) * known) - sp.exp(2 * sp.log(2) * shown)
    return Evidence.of(vanishes(gap), "as from the determinants, residual 0")
