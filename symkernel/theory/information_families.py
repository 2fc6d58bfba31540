r"""Usable information of Gaussian representations, for decoders of three families.

$h = Wx + \sigma\xi$ tells of $r = P_r x$, with $g = P_g x$ known. A decoder is a Gaussian around a
linear guess from h and g; families differ in what its covariance may be. With E the covariance of
what the best guess leaves, $E_g$ without h and $E_{hg}$ with it, least cross-entropies differ by

$$\frac{\mathrm{tr} E_g - \mathrm{tr} E_{hg}}{2v\ln 2}, \qquad
  \frac k2\log_2\frac{\mathrm{tr} E_g}{\mathrm{tr} E_{hg}}, \qquad
  \frac12\log_2\frac{\det E_g}{\det E_{hg}}$$

for a fixed variance v, for one variance that is fitted, and for a full covariance: Shannon's
information, as the best decoder of a Gaussian is in this family. Of the layer $A = W^T W$ enters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.errors import InvalidArgument, as_choice, as_positive
from symkernel.formula import Evidence, Step
from symkernel.identities import vanishes
from symkernel.problem.scalars import as_expression
from symkernel.theory.information_derivation import DerivedFormula, eq
from symkernel.theory.information_gaussian import exact_cases, gaussian
from symkernel.theory.information_layer import GaussianLayer, SymbolicLayer, is_symbolic

__all__ = ["FAMILIES", "v_information", "v_information_formula"]

FULL, SCALAR, FIXED = FAMILIES = ("full covariance", "scalar variance", "fixed variance")

COUNT = notation.symbol("k_asked", "k", "number of rows of P_r", integer=True, positive=True)
SPREAD = notation.symbol(
    "v_decoder", "v", "variance of the decoder, of each coordinate", positive=True
)
_INFORMATION = notation.symbol(
    "I_usable", r"I_V(h; r \mid g)", "bits that decoders of the family use", real=True
)
_ENTROPY = notation.symbol("H_decoder", "H_V", "cross-entropy of a decoder, in nats", real=True)
_LEAST = notation.symbol(
    "H_least", r"\min H_V", "least cross-entropy of the family, in nats", real=True
)
MISSED = notation.symbol("tau_missed", r"\tau", "trace of what a guess leaves", positive=True)


def v_information(
    gram: Any,
    covariance: Any,
    noise: Any,
    *,
    of: Any,
    given: Any = (),
    family: str = SCALAR,
    variance: Any = None,
) -> Any:
    r"""Return what linear-Gaussian decoders of a family can use of a noisy layer, in bits.

    Parameters
    ----------
    gram, covariance, noise, of, given
        As of `sk.information.gaussian`.
    family : {"full covariance", "scalar variance", "fixed variance"}
        What the covariance of the decoder may be: any, a multiple of the identity, or `variance`
        times the identity.
    variance : float or sympy.Expr, optional
        Positive; of the last family, which needs it.

    Returns
    -------
    float, ndarray of shape (...), or sympy.Expr
        $H_V(r|g) - H_V(r|h, g)$; for a full covariance Shannon's information.

    Notes
    -----
    But for a full covariance it depends on the units in which r is measured, and may exceed
    Shannon's information: a family that holds no good decoder without h has more to gain. For a
    target with noise of its own let the noise be further inputs, whose weights are 0.

    References
    ----------
    Y. Xu, S. Zhao, J. Song, R. Stewart, S. Ermon, A theory of usable information under
    computational constraints, arXiv:2002.10689 (2020), for the definition and its relation to the
    coefficient of determination (summaries of the paper were read).

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> A, C = np.diag([2.0, 0.5]), np.eye(2)
    >>> one = sk.information.v_information(A, C, 0.5, of=0)
    >>> assert np.isclose(one, sk.information.gaussian(A, C, 0.5, of=0))
    >>> both = sk.information.v_information(A, C, 0.5, of=[0, 1])
    >>> assert both < sk.information.gaussian(A, C, 0.5, of=[0, 1])
    """
    kind = as_choice(family, "family", FAMILIES)
    spread = checked_variance(kind, variance)
    if kind == FULL:
        return gaussian(gram, covariance, noise, of=of, given=given)
    if is_symbolic(gram, covariance, noise, variance):
        exact = SymbolicLayer.of(gram, covariance, noise, of, given)
        before, after = (sp.cancel(E.trace()) for E in exact.left_over())
        if kind == SCALAR:
            return exact.asked.rows * sp.log(sp.cancel(before / after)) / (2 * sp.log(2))
        return sp.cancel(before - after) / (2 * as_expression(spread, "variance") * sp.log(2))
    layer = GaussianLayer.of(gram, covariance, noise, of, given)
    gained, after = layer.traces()
    if kind == SCALAR:
        # What is known already leaves nothing, and gains nothing.
        ratio = np.divide(gained, after, out=np.zeros_like(gained), where=after > 0)
        found = len(layer.asked) * np.log1p(ratio) / (2.0 * np.log(2.0))
    else:
        found = gained / (2.0 * spread * np.log(2.0))
    return found if np.ndim(found) else float(found)


def checked_variance(family: str, variance: Any) -> Any:
    """Return the variance of the family that needs one, a number or an expression, or None."""
    if (variance is None) == (family == FIXED):
        raise InvalidArgument(
            f"Argument 'variance' must be given for the family '{FIXED}' and for no other, "
            f"{'but is missing' if variance is None else f'not {variance!r} for {family!r}'}."
        )
    if variance is None or isinstance(variance, sp.Basic):
        return None if variance is None else as_expression(variance, "variance")
    return as_positive(variance, "variance")


def v_information_formula(family: str = SCALAR) -> DerivedFormula:
    r"""Return what decoders of a family can use, and its derivation.

    Examples
    --------
    >>> import symkernel as sk
    >>> found = sk.information.v_information_formula("fixed variance")
    >>> assert all(step.check().passed for step in found.steps)
    """
    kind = as_choice(family, "family", FAMILIES)
    n = sp.Symbol("I", integer=True, positive=True)
    k = COUNT
    A, C_g = sp.MatrixSymbol("A", n, n), sp.MatrixSymbol("C_g", n, n)
    R, S = sp.MatrixSymbol("P_r", k, n), sp.MatrixSymbol("S", k, k)
    E, E_g, E_hg = (sp.MatrixSymbol(name, k, k) for name in ("E", "E_g", "E_hg"))
    sigma = sp.Symbol("sigma", positive=True)
    before = R * C_g * R.T
    after = R * sp.Inverse(sp.Identity(n) + C_g * A / sigma**2) * C_g * R.T
    meanings = (
        (A, "Gram matrix W^T W of the inputs' weights"),
        (C_g, "covariance of the inputs where g is known"),
        (R, "rows that read what is asked for, r = P_r x"),
        (sigma, "standard deviation of the units' noise"),
        (S, "covariance of the decoder"),
        (E, "covariance of what its guess leaves"),
        (E_g, "that of the best guess from g"),
        (E_hg, "that of the best guess from h and g"),
    )
    entropy = sp.log(sp.Determinant(2 * sp.pi * S)) / 2 + sp.Trace(sp.Inverse(S) * E) / 2
    best, whole = _best(kind, E, E_g, E_hg)
    steps = (
        Step(
            "Best guess",
            "linear in h and g; any other one adds to the covariance of what is left, so that it "
            "is best for every covariance of the decoder",
            (eq(E_g, before), eq(E_hg, after)),
            check_guess,
            meanings,
        ),
        Step(
            "Cross-entropy",
            "minus the mean of the decoder's log-density, in nats; only E matters",
            (eq(_ENTROPY, entropy),),
            check_entropy,
            meanings,
        ),
        Step(_TITLES[kind][0], _TITLES[kind][1], best, _CHECKS[kind], meanings),
        Step(
            "Information",
            "the least cross-entropy without h, less that with it, in bits",
            (eq(_INFORMATION, whole),),
            lambda: check_information(kind),
            meanings,
        ),
    )
    where = ((E_g, before), (E_hg, after))
    return DerivedFormula(f"V-information, {kind}", _INFORMATION, whole, where, steps=steps)


_TITLES = {
    FULL: ("Best covariance", "the gradient vanishes where S is what is left: the entropy of E"),
    SCALAR: ("Best variance", "one number: the mean of what is left"),
    FIXED: ("Given variance", "the same before and after; only the misses differ"),
}


def _best(kind: str, E: Any, E_g: Any, E_hg: Any) -> tuple[tuple[sp.Eq, ...], sp.Expr]:
    """Return the least cross-entropy of a family, and the difference of two in bits."""
    k, v = COUNT, SPREAD
    trace, bits = sp.Trace, 1 / (2 * sp.log(2))
    if kind == FULL:
        reached = sp.log(sp.Determinant(2 * sp.pi * sp.E * E)) / 2
        return (eq(_LEAST, reached),), bits * (
            sp.log(sp.Determinant(E_g)) - sp.log(sp.Determinant(E_hg))
        )
    if kind == SCALAR:
        reached = k * sp.log(2 * sp.pi * sp.E * trace(E) / k) / 2
        whole = bits * k * sp.log(trace(E_g) / trace(E_hg))
        return (eq(v, trace(E) / k), eq(_LEAST, reached)), whole
    reached = k * sp.log(2 * sp.pi * v) / 2 + trace(E) / (2 * v)
    return (eq(_LEAST, reached),), bits * (trace(E_g) - trace(E_hg)) / v


def _left(C: sp.Matrix, R: sp.Matrix, rows: sp.Matrix, noise: sp.Matrix) -> Any:
    """Return the best guess of R x from noisy rows, what any guess leaves, and what is seen."""
    seen, cross = rows * C * rows.T + noise, R * C * rows.T
    best = cross * seen.inv()

    def left(guess: sp.Matrix) -> sp.Matrix:
        return R * C * R.T - guess * cross.T - cross * guess.T + guess * seen * guess.T

    return best, left, seen


def check_guess(after: Callable[..., sp.Matrix] | None = None) -> Evidence:
    """Regress r on h and g, of exact matrices, and compare; a worse guess leaves more."""
    passed = True
    for W, C, R, G in exact_cases():
        rows = sp.Matrix.vstack(W, G)
        noise = sp.diag(3 * sp.eye(W.rows), sp.zeros(G.rows))
        best, left, seen = _left(C, R, rows, noise)
        layer = SymbolicLayer.of(W.T * W, C, sp.sqrt(3), R.tolist(), G.tolist())
        found = layer.left_over() if after is None else after(layer)
        off = sp.Matrix(*best.shape, lambda i, j: sp.Rational(1 + i, 2 + j))
        passed &= found[1] == left(best)
        passed &= left(best + off) - left(best) == off * seen * off.T
        passed &= found[0] == R * C * R.T - R * C * G.T * (G * C * G.T).inv() * G * C * R.T
    return Evidence.of(passed, "as from the regression on h and g, exactly; others leave more")


def check_entropy(power: int = 1) -> Evidence:
    """Average the log-density of two coordinates, whose squares have the means in E."""
    x, y = sp.symbols("x y", real=True)
    S = sp.Matrix(2, 2, sp.symbols("s_11 s_12 s_12 s_22", real=True))
    E = sp.Matrix(2, 2, sp.symbols("e_11 e_12 e_12 e_22", real=True))
    rest = sp.Matrix([x, y])
    quadratic = sp.Poly(sp.cancel((rest.T * S.inv() * rest)[0] * S.det()), x, y)
    means = {(2, 0): E[0, 0], (1, 1): E[0, 1], (0, 2): E[1, 1]}
    mean = sum(factor * means[powers] for powers, factor in quadratic.terms()) / S.det()
    gap = mean - (S.inv() ** power * E).trace()
    return Evidence.of(vanishes(gap), "mean of the exponent, two coordinates, residual 0")


def check_full(stationary: Callable[[sp.Matrix], sp.Matrix] = lambda E: E) -> Evidence:
    """Differentiate in both coordinates' covariance; compare with others, exact ones."""
    S = sp.Matrix(2, 2, sp.symbols("s_11 s_12 s_12 s_22", real=True))
    E = sp.Matrix(2, 2, sp.symbols("e_11 e_12 e_12 e_22", real=True))
    entropy = sp.log(S.det()) / 2 + (S.inv() * E).trace() / 2
    at = dict(zip(S, stationary(E), strict=True))
    slopes = [sp.diff(entropy, s).subs(at) for s in set(S)]
    # In the precision P the entropy is tr(P E) - ln det P, halved, whose second part is convex.
    P = sp.Matrix(2, 2, sp.symbols("p_11 p_12 p_12 p_22", real=True))
    curvature = sp.hessian(-sp.log(P.det()), sorted(set(P), key=str))
    point = dict(zip(P, sp.Matrix([[3, 1], [1, 2]]), strict=True))
    minors = [curvature.subs(point)[:k, :k].det() for k in (1, 2, 3)]
    passed = all(map(vanishes, slopes)) and all(minor > 0 for minor in minors)
    return Evidence.of(passed, "slopes 0 for two coordinates; convex in the precision")


def check_scalar(best: sp.Expr | None = None) -> Evidence:
    """Differentiate in the variance, twice."""
    k, v, tau = COUNT, SPREAD, MISSED
    entropy = k * sp.log(2 * sp.pi * v) / 2 + tau / (2 * v)
    at = tau / k if best is None else best
    slope, second = (sp.diff(entropy, v, order).subs(v, at) for order in (1, 2))
    reached = entropy.subs(v, at) - k * sp.log(2 * sp.pi * sp.E * tau / k) / 2
    passed = vanishes(slope) and sp.cancel(second).is_positive
    passed = passed and vanishes(sp.expand_log(sp.expand(reached), force=True))
    return Evidence.of(passed, "slope 0, curvature positive, value exactly")


def check_fixed() -> Evidence:
    """Put a multiple of the identity into the cross-entropy, two coordinates."""
    v = SPREAD
    E = sp.Matrix(2, 2, sp.symbols("e_11 e_12 e_12 e_22", real=True))
    S = v * sp.eye(2)
    entropy = sp.log((2 * sp.pi * S).det()) / 2 + (S.inv() * E).trace() / 2
    gap = entropy - (sp.log(2 * sp.pi * v) + E.trace() / (2 * v))
    return Evidence.of(vanishes(sp.expand_log(gap, force=True)), "two coordinates, residual 0")


_CHECKS = {FULL: check_full, SCALAR: check_scalar, FIXED: check_fixed}


def check_information(kind: str, information: Any = v_information) -> Evidence:
    """Compare with the covariances that the joint one of h, g and r leaves, exact ones."""
    gaps = []
    for W, C, R, G in exact_cases():
        noise = sp.zeros(G.rows)
        before = _left(C, R, G, noise)
        rows = sp.Matrix.vstack(W, G)
        after = _left(C, R, rows, sp.diag(3 * sp.eye(W.rows), noise))
        E_g, E_hg = (left(best) for best, left, _ in (before, after))
        options = {"of": R.tolist(), "given": G.tolist(), "family": kind}
        if kind == FIXED:
            options["variance"] = sp.Rational(2, 3)
        found = information(W.T * W, C, sp.sqrt(3), **options) * 2 * sp.log(2)
        if kind == FIXED:
            gaps.append(found - (E_g - E_hg).trace() / sp.Rational(2, 3))
        else:
            ratio = E_g.det() / E_hg.det() if kind == FULL else E_g.trace() / E_hg.trace()
            power = 1 if kind == FULL else R.rows
            gaps.append(sp.exp(found) - ratio**power)
    words = "as from the joint covariance of h, g and r, exactly"
    return Evidence.of(all(vanishes(sp.expand(gap)) for gap in gaps), words)
