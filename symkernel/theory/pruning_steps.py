r"""The pruning clock, derived: how the noise of descent removes what is not read out.

A hidden direction n that the readout ignores, $W_2 n = 0$, keeps of an input z what the balance of
the layers keeps, and each step of noise takes a share of it:
$-n^T\Delta n \leftarrow -n^T\Delta n - \eta^2 |G W_1^Tn|^2$. The clock X adds up the shares.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Step
from symkernel.identities import vanishes
from symkernel.theory.balancedness_steps import imbalance_change
from symkernel.theory.information_derivation import DerivedFormula, eq
from symkernel.theory.information_gaussian import NOISE, gaussian, same_bits
from symkernel.theory.second_moment_checks import gaussian_mean
from symkernel.theory.second_moment_formulas import BATCH, ETA, STEP
from symkernel.theory.words import Words

__all__ = ["pruning_formula"]


CLOCK = notation.symbol("X_pruned", "X", "pruning clock", nonnegative=True)
KEPT = notation.symbol("r_kept", "r_k", "squared hidden weights of the input", positive=True)
FIRST = notation.symbol("r_first", "r_0", "the same at the start", positive=True)
SCATTER = notation.symbol(
    "S_labels",
    r"\operatorname{tr}\Sigma_\epsilon",
    "variance of the label noise, summed over outputs",
    positive=True,
)
INPUT = notation.symbol("s_irrelevant", "s", "variance of the irrelevant input", positive=True)
SHARE = notation.symbol("epsilon_step", r"\epsilon_j", "share that a step takes", positive=True)
_INFORMATION = notation.symbol(
    "I_irrelevant", r"I(h; z)", "bits about the irrelevant input", real=True
)
_ERROR, _Z = sp.Function("e_j"), sp.Function("z")
_MEAN = sp.Function("E")


def manifold_clock() -> sp.Expr:
    """Return the clock where nothing but label noise is left of the error."""
    return ETA**2 * SCATTER * INPUT * STEP / BATCH


def bits() -> sp.Expr:
    """Return the information about the irrelevant input."""
    return sp.log(1 + INPUT * FIRST * sp.exp(-CLOCK) / NOISE**2) / (2 * sp.log(2))


def gradient_square(batch: sp.Expr, single: sp.Expr, mean: sp.Expr) -> sp.Expr:
    """Return the mean square of a batch's gradient from those of a sample and of the mean."""
    return single / batch + (1 - 1 / batch) * mean


def gaussian_square(D: sp.Matrix, H: sp.Matrix, labels: sp.Expr, batch: sp.Expr) -> sp.Matrix:
    """Return the mean of G^T G on fresh Gaussian inputs, for the error D x plus label noise."""
    drift = (1 + 1 / batch) * H * D.T * D * H
    return drift + ((D * H * D.T).trace() + labels) / batch * H


_I, _H, _O = (sp.Symbol(f"n_{q}", positive=True) for q in ("in", "hidden", "out"))
_N, _W1, _G = (
    sp.MatrixSymbol("n", _H, 1),
    sp.MatrixSymbol("W_1", _H, _I),
    sp.MatrixSymbol("G", _O, _I),
)
_BALANCE, _AFTER = (sp.MatrixSymbol(q, _H, _H) for q in ("Delta", "Delta_+"))
_SQUARE = _N.T * _W1 * _G.T * _G * _W1.T * _N
_NEXT, _ALONG = sp.Symbol("r_next"), sp.Function("norm")(sp.Symbol("G_z"))
_SINGLE = _MEAN(_ERROR(sp.Symbol("x")) ** 2 * _Z(sp.Symbol("x")) ** 2)
_COMMON = _MEAN(_ERROR(sp.Symbol("x")) * _Z(sp.Symbol("x"))) ** 2


def pruning_formula() -> DerivedFormula:
    r"""Return the information about an irrelevant input under label noise, with its derivation.

    Leading order in the learning rate, for squared error of factor 1/2, two linear layers that
    learn at one rate and have no error but label noise; valid up to about X = 2.

    Examples
    --------
    >>> import symkernel as sk
    >>> law = sk.noise.pruning_formula()
    >>> assert all(step.check().passed for step in law.steps)
    """
    name = "information about an irrelevant input under label noise"
    steps = (*_of_a_step(), *_of_the_clock())
    return DerivedFormula(name, _INFORMATION, bits(), ((CLOCK, manifold_clock()),), steps=steps)


def _of_a_step() -> tuple[Step, ...]:
    return (
        Step(
            "What is not read out",
            "of the balancedness identity, with W_2 n = 0",
            (
                eq(-_N.T * _BALANCE * _N, _N.T * _W1 * _W1.T * _N),
                eq(-_N.T * _AFTER * _N, -_N.T * _BALANCE * _N - ETA**2 * _SQUARE),
            ),
            lambda: check_direction(Words.of("n'", "W_1", "G'", "G", "W_1'", "n")),
            (
                (_N, "hidden direction that the readout ignores"),
                (_BALANCE, "W_2^T W_2 - W_1 W_1^T"),
                (_AFTER, "the same after a step"),
                (_G, "gradient of the batch's loss by the map"),
            ),
        ),
        Step(
            "The share that a step takes",
            "where the direction holds the irrelevant input alone, with squared weights r: the "
            "gradient by the map along that input is the batch's mean of error times input",
            (eq(_NEXT, KEPT * (1 - ETA**2 * _ALONG**2)),),
            check_share,
            ((_NEXT, "r a step later"), (_ALONG, "length of G along the irrelevant input")),
        ),
        Step(
            "Batches",
            "single samples scatter by their mean square, different ones share their mean alone; "
            "that mean is 0 where the error does not correlate with the input",
            (eq(_MEAN(_ALONG**2), gradient_square(BATCH, _SINGLE, _COMMON)),),
            lambda: check_batch(gradient_square),
        ),
    )


def _of_the_clock() -> tuple[Step, ...]:
    return (
        Step(
            "Clock",
            "small shares add up in the exponent",
            (
                eq(SHARE, ETA**2 / BATCH * _SINGLE),
                eq(KEPT, FIRST * sp.exp(-CLOCK)),
                eq(CLOCK, sp.Sum(SHARE, (sp.Symbol("j"), 0, STEP - 1))),
            ),
            lambda: check_clock(sp.exp(-SHARE)),
        ),
        Step(
            "Label noise",
            "on Gaussian inputs: where the map is right the error is label noise, independent of "
            "the inputs",
            (eq(CLOCK, manifold_clock()),),
            lambda: check_labels(gaussian_square, manifold_clock()),
        ),
        Step(
            "Information",
            "of the linear layer about an input that correlates with no other",
            (eq(_INFORMATION, bits()),),
            lambda: check_bits(bits()),
        ),
    )


def check_direction(square: Words) -> Evidence:
    """Project the identity on a direction that the second layer takes to 0."""
    change = imbalance_change()
    ignored = Words.of("n'") @ change @ Words.of("n")
    left = {w: c for w, c in ignored.terms.items() if not _reads(w)}
    rates = {q: ETA for c in left.values() for q in c.free_symbols}
    found = Words({word: c.subs(rates) / ETA for word, c in left.items()})
    return Evidence.of(not (found - square.scaled(ETA**2)).terms, "matrix products, exactly")


def _reads(word: tuple[tuple[str, bool], ...]) -> bool:
    """Whether W_2 n, or its transpose, is in the word."""
    return word[-2:] == (("W_2", False), ("n", False)) or word[:2] == (("n", True), ("W_2", True))


def check_share() -> Evidence:
    """Write the first layer of a unit that reads one input, and the gradient of two samples."""
    root, z1, z2, e1, e2 = sp.symbols("root z_1 z_2 e_1 e_2")
    row = sp.Matrix([[0, root]])  # n^T W_1
    samples = ((sp.Matrix([sp.Symbol("x_1"), z1]), e1), (sp.Matrix([sp.Symbol("x_2"), z2]), e2))
    G = -sum((e * x.T for x, e in samples), sp.zeros(1, 2)) / 2
    taken = (row * G.T * G * row.T)[0] - root**2 * ((e1 * z1 + e2 * z2) / 2) ** 2
    return Evidence.of(vanishes(taken), "two samples, residual 0")


def check_batch(shown: Callable[..., sp.Expr]) -> Evidence:
    """Go through all batches of three independent samples of two values."""
    values, batch = sp.symbols("p_1:3"), 3
    found = sum((sum(b) / sp.Integer(batch)) ** 2 for b in product(values, repeat=batch)) / 8
    single, mean = sum(v**2 for v in values) / 2, (sum(values) / 2) ** 2
    gap = sp.expand(found - shown(sp.Integer(batch), single, mean))
    return Evidence.of(gap == 0, "all batches of 3, exactly")


def check_clock(factor: sp.Expr) -> Evidence:
    """Expand the logarithm of what a step leaves."""
    gap = sp.series(sp.log(factor) - sp.log(1 - SHARE), SHARE, 0, 2).removeO()
    return Evidence.of(gap == 0, "of the logarithm the first order in the share")


def check_labels(shown: Callable[..., sp.Matrix], clock: sp.Expr) -> Evidence:
    """Average over batches of one and two of correlated inputs and noise; put in no error."""
    D, H, root = _two_inputs()
    labels = sp.Symbol("s_label", positive=True)
    gaps: list[sp.Expr] = []
    for size in (1, 2):
        normals = sp.symbols(f"g_1:{3 * size + 1}")
        G = sp.zeros(1, 2)
        for k in range(size):
            g = normals[3 * k : 3 * k + 3]
            x = root * sp.Matrix(g[:2])
            G += ((D * x)[0] + sp.sqrt(labels) * g[2]) * x.T / size
        found = (G.T * G).applyfunc(lambda e, z=normals: gaussian_mean(e, z))
        gaps += list(found - shown(D, H, labels, sp.Integer(size)))
    apart = shown(sp.zeros(1, 2), sp.diag(1, INPUT), SCATTER, BATCH)[1, 1]
    gaps.append(ETA**2 * apart * STEP - clock)
    passed = all(sp.expand(gap) == 0 for gap in gaps)
    return Evidence.of(passed, "two correlated inputs, B = 1 and 2, residual 0")


def _two_inputs() -> tuple[sp.Matrix, sp.Matrix, sp.Matrix]:
    root = sp.Matrix([[2, 0], [1, 3]])
    return sp.Matrix([sp.symbols("D_1:3")]), root * root.T, root


def check_bits(shown: sp.Expr) -> Evidence:
    """Compare with the determinants of a layer that reads another input too."""
    gram, C = sp.diag(FIRST * sp.exp(-CLOCK), 3), sp.diag(INPUT, 2)
    known = gaussian(gram, C, NOISE, of=0)
    return same_bits(known, shown)
