"""The balancedness identity of a step of descent, derived from the step, for any loss."""

from __future__ import annotations

import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Step
from symkernel.identities import vanishes
from symkernel.theory.information_derivation import DerivedFormula, eq
from symkernel.theory.second_moment_formulas import ETA
from symkernel.theory.words import Words, trace_gradient

__all__ = ["balancedness_formula", "imbalance_change"]

RATES = (
    notation.symbol("eta_first", r"\eta_1", "rate of the first layer", positive=True),
    notation.symbol("eta_second", r"\eta_2", "rate of the second", positive=True),
)
SHRUNK = notation.symbol(
    "a_shrunk", "a", "what weight decay leaves of the weights in a step", positive=True
)
_FIRST, _SECOND = Words.of("W_1"), Words.of("W_2")


def moves() -> tuple[Words, Words]:
    """Return how a step moves the layers, by the chain rule from the gradient G by the map."""
    # A small change of the map changes the loss by tr(G^T dW).
    change = Words.of("G'", "W_2", "W_1")
    return (
        trace_gradient(change, "W_1").scaled(-RATES[0]),
        trace_gradient(change, "W_2").scaled(-RATES[1]),
    )


def imbalance(first: Words, second: Words) -> Words:
    """Return the conserved matrix of two layers of two rates."""
    return (second.transposed() @ second).scaled(RATES[0]) - (first @ first.transposed()).scaled(
        RATES[1]
    )


def imbalance_change() -> Words:
    """Return by how much a step moves the conserved matrix, weights and gradient written out."""
    first, second = moves()
    return imbalance(_FIRST + first, _SECOND + second) - imbalance(_FIRST, _SECOND)


_I, _H, _O = (sp.Symbol(f"n_{q}", positive=True) for q in ("in", "hidden", "out"))
_SHAPES = {"W_1": (_H, _I), "W_2": (_O, _H), "G": (_O, _I)}
_BALANCE, _AFTER = (sp.MatrixSymbol(q, _H, _H) for q in ("Delta", "Delta_+"))
_MOVED = tuple(sp.MatrixSymbol(f"delta_{k}", *_SHAPES[f"W_{k}"]) for k in (1, 2))
_GRADIENT = (sp.MatrixSymbol("G", _O, _I), "gradient of the batch's loss by the map W_2 W_1")
_MEANINGS = (
    (_BALANCE, "the conserved matrix"),
    (_AFTER, "the same after a step"),
    *((one, f"move of W_{k} in a step") for k, one in zip((1, 2), _MOVED, strict=True)),
)
_SQUARES = RATES[0] * _MOVED[1].T * _MOVED[1] - RATES[1] * _MOVED[0] * _MOVED[0].T


def change_at_one_rate() -> Words:
    """Return by how much a step moves the conserved matrix over the rate, alike in both layers."""
    alike = dict.fromkeys(RATES, ETA)
    return Words({w: c.subs(alike) / ETA for w, c in imbalance_change().terms.items()})


def balancedness_formula() -> DerivedFormula:
    r"""Return the identity of every step of descent, with its derivation.

    Examples
    --------
    >>> import symkernel as sk
    >>> identity = sk.noise.balancedness_formula()
    >>> assert all(step.check().passed for step in identity.steps)
    """
    name = "balance of two linear layers after a step"
    after = _BALANCE + change_at_one_rate().matrix(_SHAPES)
    return DerivedFormula(name, _AFTER, after, steps=(*_of_two_rates(), *_of_one_rate()))


def _of_two_rates() -> tuple[Step, ...]:
    moved = zip(_MOVED, moves(), strict=True)
    return (
        Step(
            "One step",
            "the loss of a batch depends on the layers through the map alone",
            tuple(eq(one, words.matrix(_SHAPES)) for one, words in moved),
            check_moves,
            (_GRADIENT, *_MEANINGS[2:]),
        ),
        Step(
            "Conserved matrix",
            "what is linear in the moves cancels, as it does under gradient flow: the squares of "
            "the moves are all that is left, so that weights before and after tell the change",
            (
                eq(_BALANCE, imbalance(_FIRST, _SECOND).matrix(_SHAPES)),
                eq(_AFTER, _BALANCE + _SQUARES),
            ),
            lambda: check_squares(imbalance_change()),
            _MEANINGS,
        ),
        Step(
            "Weight decay",
            "alike in both layers it multiplies the weights first, and the matrix by the square",
            (eq(_AFTER, SHRUNK**2 * _BALANCE + _SQUARES),),
            lambda: check_decay(SHRUNK**2),
            _MEANINGS,
        ),
    )


def _of_one_rate() -> tuple[Step, ...]:
    scalar = sp.symbols("Delta_k Delta_next G_k")
    plain = change_at_one_rate()
    return (
        Step(
            "In the gradient",
            "with one rate for both layers, and the matrix divided by it",
            (eq(_AFTER, _BALANCE + plain.matrix(_SHAPES)),),
            lambda: check_gradient(plain),
            (_GRADIENT, *_MEANINGS[:2]),
        ),
        Step(
            "One unit",
            "with one input and one output too, every step shrinks the imbalance: its sign stays, "
            "and its size only falls",
            (eq(scalar[1], scalar[0] * (1 - ETA**2 * scalar[2] ** 2)),),
            lambda: check_scalar(plain),
            tuple(zip(scalar, ("imbalance", "the same a step later", "gradient"), strict=True)),
        ),
    )


def check_moves() -> Evidence:
    """Differentiate the change of the loss by every entry of the layers."""
    small = {
        name: sp.Matrix(rows, cols, lambda i, j, q=name: sp.Symbol(f"{q}_{i}{j}"))
        for name, (rows, cols) in {"W_1": (2, 3), "W_2": (2, 2), "G": (2, 3)}.items()
    }
    change = (small["G"].T * small["W_2"] * small["W_1"]).trace()
    gaps = []
    for words, name, rate in zip(moves(), ("W_1", "W_2"), RATES, strict=True):
        found = words.explicit(small)
        gaps += [f + rate * sp.diff(change, q) for f, q in zip(found, small[name], strict=True)]
    return Evidence.of(all(map(vanishes, gaps)), f"{len(gaps)} entries, residual 0")


def check_squares(change: Words) -> Evidence:
    """Compare the change with the squares of the moves."""
    first, second = moves()
    gap = change - imbalance(first, second)
    return Evidence.of(not gap.terms, "an identity of matrix products, of any sizes")


def check_gradient(plain: Words) -> Evidence:
    """Compare with the identity as it is usually written."""
    shown = Words.of("W_1", "G'", "G", "W_1'") - Words.of("W_2'", "G", "G'", "W_2")
    return Evidence.of(not (plain - shown.scaled(ETA**2)).terms, "matrix products, exactly")


def check_scalar(plain: Words) -> Evidence:
    """Put numbers in place of the matrices."""
    w1, w2, G = sp.symbols("w_1 w_2 G_k")
    one = {"W_1": sp.Matrix([[w1]]), "W_2": sp.Matrix([[w2]]), "G": sp.Matrix([[G]])}
    balance = w2**2 - w1**2
    gap = balance + plain.explicit(one)[0] - balance * (1 - ETA**2 * G**2)
    return Evidence.of(vanishes(gap), "residual 0")


def check_decay(kept: sp.Expr) -> Evidence:
    """Shrink both layers, then move them."""
    first, second = moves()
    after = imbalance(_FIRST.scaled(SHRUNK) + first, _SECOND.scaled(SHRUNK) + second)
    # The moves are those of the gradient before shrinking, and what is linear in them cancels.
    gap = after - imbalance(_FIRST, _SECOND).scaled(kept) - imbalance(first, second)
    return Evidence.of(not gap.terms, "an identity of matrix products, of any sizes")
