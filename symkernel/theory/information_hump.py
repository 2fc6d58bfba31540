r"""How information about an input that is not needed rises and falls while a task is learned.

Two inputs of variance 1 and correlation r, of which the first is the target. A linear layer first
learns along their common direction, and takes up the second input with it; later it unlearns that.
With its read-out learned too, from weights whose similarity depends on the map alone
(`memoryless_gram`), the hidden layer does the same: what it tells of an input is a function of the
weights w of the map, and is what it was at the start as soon as the map no longer uses the input.
"""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Step
from symkernel.identities import rational_orthogonal, vanishes
from symkernel.notation import t
from symkernel.theory.information_derivation import DerivedFormula, eq
from symkernel.theory.information_gaussian import NOISE, gaussian, same_bits

__all__ = ["one_layer_hump", "two_layer_hump"]

R = notation.symbol(
    "r_inputs", "r", "correlation of the two inputs, between 0 and 1", positive=True
)
W1, W2 = (
    notation.symbol(f"w_input{k}", f"w_{k}", f"weight of input {k}", real=True) for k in (1, 2)
)
PEAK = notation.symbol("t_peak", "t^*", "flow time of the peak", positive=True)
HEIGHT = notation.symbol("w_peak", "w_2^*", "weight 2 at its peak", positive=True)
START = notation.symbol(
    "a_start", "a", "initial value of W1^T W1, times the identity", positive=True
)
READOUT = notation.symbol("b_start", "b", "initial value of W2 W2^T", positive=True)
REST = notation.symbol(
    "v_rest", "v", "variance of the input where the others are known", positive=True
)
OWN = notation.symbol("w_own", "w_j", "weight of the input in the map", real=True)
SIZE = notation.symbol("w_size", r"{\|w\|}", "length of the map's row of weights", positive=True)
GRAM = notation.symbol(
    "A_jj", "A_{jj}", "squared length of the input's hidden weights", positive=True
)
_INFORMATION = notation.symbol(
    "I_second", r"I(h; x_2 | x_1)", "bits about the second input", real=True
)
_OWN_INFORMATION = notation.symbol(
    "I_own", r"I(h; x_j | x_{\neq j})", "bits about one input", real=True
)


def one_layer_weights() -> tuple[sp.Expr, sp.Expr]:
    """Return both weights of one layer as functions of time, from 0."""
    slow, fast = sp.exp(-(1 - R) * t), sp.exp(-(1 + R) * t)
    return 1 - (slow + fast) / 2, (slow - fast) / 2


def peak_time() -> sp.Expr:
    """Return when the second weight is largest."""
    return sp.log((1 + R) / (1 - R)) / (2 * R)


def peak_weight(q: sp.Expr = (1 - R) / (1 + R)) -> sp.Expr:
    """Return how large it is then, by the ratio of the two rates."""
    return (q ** ((1 - R) / (2 * R)) - q ** ((1 + R) / (2 * R))) / 2


def one_layer_hump() -> DerivedFormula:
    r"""Return the information of one layer about the input that is not needed.

    Loss $\tfrac12\langle(x_1 - w \cdot x)^2\rangle$, weights from 0, $h = w \cdot x + \sigma\xi$.

    Examples
    --------
    >>> import symkernel as sk
    >>> hump = sk.information.one_layer_hump()
    >>> assert all(step.check().passed for step in hump.steps)
    """
    weights = one_layer_weights()
    bits = sp.log(1 + W2**2 * (1 - R**2) / NOISE**2) / (2 * sp.log(2))
    f, g = sp.Function("w_1")(t), sp.Function("w_2")(t)
    flow = (1 - f - R * g, R - R * f - g)
    steps = (
        Step(
            "Flow",
            "the gradient of the squared error; the sum and the difference of the weights relax on "
            "their own",
            (
                *(eq(sp.Derivative(q, t), rate) for q, rate in zip((f, g), flow, strict=True)),
                *map(eq, (W1, W2), weights),
            ),
            lambda: check_flow(weights),
        ),
        Step(
            "Information",
            "of the linear layer, the first input known",
            (eq(_INFORMATION, bits),),
            lambda: check_information(bits),
        ),
        Step(
            "Peak",
            "the slope of the second weight changes sign once",
            (eq(PEAK, peak_time()), eq(HEIGHT, peak_weight())),
            lambda: check_peak(peak_time(), peak_weight),
        ),
    )
    where = ((W2, weights[1]),)
    return DerivedFormula(
        "information of one layer about the other input", _INFORMATION, bits, where, steps=steps
    )


def two_layer_hump() -> DerivedFormula:
    r"""Return what the hidden layer tells of an input, as a function of the map, one output.

    From $W_1^T W_1 = a$, $W_2 W_2^T = b$, $W_2 W_1 = 0$, through any curriculum and for any loss,
    all other inputs known.

    Examples
    --------
    >>> import symkernel as sk
    >>> hump = sk.information.two_layer_hump()
    >>> assert hump.steps[-1].check().passed  # as at the start where the map leaves the input out
    """
    middle = (START + READOUT) / 2
    gram = START + (sp.sqrt(middle**2 + SIZE**2) - middle) * OWN**2 / SIZE**2
    bits = sp.log(1 + GRAM * REST / NOISE**2) / (2 * sp.log(2))
    steps = (
        Step(
            "Hidden weights from the map",
            "of -lambda/2 + (k^2 + w w^T)^(1/2) with lambda = b - a, 2 k = a + b: the root of a "
            "matrix of rank one beside the identity",
            (eq(GRAM, gram),),
            lambda: check_root(gram),
        ),
        Step(
            "Information",
            "of the linear layer, all other inputs known: only the input's own weights enter",
            (eq(_OWN_INFORMATION, bits),),
            lambda: check_own(bits),
        ),
        Step(
            "Return",
            "where the map does not use the input its hidden weights are what they were",
            (eq(sp.Function("A_jj")(0), START),),
            lambda: Evidence.of(
                vanishes(gram.subs(OWN, 0) - START),
                "hidden weights at w_j = 0 are the initial ones",
            ),
        ),
    )
    where = ((GRAM, gram),)
    return DerivedFormula(
        "information of the hidden layer about an input", _OWN_INFORMATION, bits, where, steps=steps
    )


def check_flow(weights: tuple[sp.Expr, sp.Expr]) -> Evidence:
    """Put the weights into their equations."""
    f, g = weights
    gaps = (sp.diff(f, t) - (1 - f - R * g), sp.diff(g, t) - (R - R * f - g))
    start = (f.subs(t, 0), g.subs(t, 0))
    passed = all(vanishes(sp.expand(gap)) for gap in (*gaps, *start))
    return Evidence.of(passed, "residuals 0, initial values 0")


def check_information(bits: sp.Expr) -> Evidence:
    """Compare with the determinants of the linear layer."""
    w, C = sp.Matrix([[W1, W2]]), sp.Matrix([[1, R], [R, 1]])
    known = gaussian(w.T * w, C, NOISE, of=1, given=0)
    return same_bits(known, bits)


def check_peak(time: sp.Expr, height: Callable[[sp.Expr], sp.Expr]) -> Evidence:
    """Put the time into the slope, which falls through 0 there, and into the weight."""
    z, q = sp.symbols("z q", positive=True)
    second = one_layer_weights()[1]
    # With z = exp(2 r t) the slope is a positive factor times 1 + r - (1 - r) z.
    slope = sp.powsimp(sp.expand(2 * sp.exp((1 + R) * t) * sp.diff(second, t)))
    slope = sp.expand(slope).subs(sp.exp(2 * R * t), z)
    falls = vanishes(slope - (1 + R - (1 - R) * z))
    there = vanishes(slope.subs(z, sp.exp(2 * R * time)))
    # At the peak exp(-t) is q^(1 / 2r), with q = (1 - r) / (1 + r).
    ratio = (1 - R) / (1 + R)
    clock = vanishes(sp.expand_log(-time - sp.log(ratio) / (2 * R), force=True))
    left = [sp.powdenest(sp.exp(c * sp.log(q) / (2 * R))) for c in (1 - R, 1 + R)]
    reached = (left[0] - left[1]) / 2 - height(q)
    passed = falls and there and clock and sp.powsimp(reached) == 0
    return Evidence.of(passed, "slope 0, positive before and negative after; height exactly")


def check_root(gram: sp.Expr) -> Evidence:
    """Square the matrix, for two inputs."""
    w = sp.Matrix(sp.symbols("w_1 w_2", real=True))
    root = sp.Symbol("rho", positive=True)
    middle, size = (START + READOUT) / 2, (w.T * w)[0]
    # The formula's factor of w_j^2, as that of w w^T.
    factor = sp.expand((gram - START) * SIZE**2 / OWN**2)
    factor = factor.subs(sp.sqrt(sp.expand(middle**2) + SIZE**2), root).subs(
        sp.sqrt(middle**2 + SIZE**2), root
    )
    A = START * sp.eye(2) + factor * w * w.T / size
    shifted = A + (READOUT - START) / 2 * sp.eye(2)
    gap = shifted**2 - middle**2 * sp.eye(2) - w * w.T
    relation = [(root, sp.expand(middle**2 + size))]
    passed = all(vanishes(entry, relation) for entry in gap)
    return Evidence.of(passed, "its shifted square is k^2 + w w^T, two inputs, residual 0")


def check_own(bits: sp.Expr) -> Evidence:
    """Compare with the determinants for exact matrices of three inputs."""
    gaps = []
    for salt in (1, 2):
        turn = rational_orthogonal(3, salt)
        C = turn * sp.diag(1, 2, 3) * turn.T
        W = sp.Matrix(2, 3, lambda i, k, s=salt: sp.Rational((3 * i + 5 * k + s) % 7 - 3, 2))
        known = gaussian(W.T * W, C, sp.sqrt(2), of=1, given=[0, 2])
        own = {GRAM: (W.T * W)[1, 1], REST: 1 / C.inv()[1, 1], NOISE: sp.sqrt(2)}
        gaps.append(sp.exp(2 * sp.log(2) * (known - bits.subs(own))) - 1)
    return Evidence.of(all(gap == 0 for gap in gaps), "as from the determinants, exactly")
