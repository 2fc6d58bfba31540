r"""The stacked weights as blocks of words: $G = QQ^T$, $J = \mathrm{diag}(1, -1)$, their flow.

With $Q = [w_1^T; w_2]$ the gradient flow of any function of $w_2 w_1$ is $\dot Q = \Gamma Q$,
$\Gamma = [[0, E^T], [E, 0]]$, where E is minus the gradient by the end-to-end map.
"""

from __future__ import annotations

from collections.abc import Mapping

import sympy as sp

from symkernel.problem.scalars import as_sympy
from symkernel.theory.words import Words, derivative

Blocks = tuple[tuple[Words, Words], tuple[Words, Words]]
NONE = Words({})
ONE = Words({(): sp.S.One})

GRAM: Blocks = (
    (Words.of("w_1'", "w_1"), Words.of("w_1'", "w_2'")),
    (Words.of("w_2", "w_1"), Words.of("w_2", "w_2'")),
)
UNIT: Blocks = ((ONE, NONE), (NONE, ONE))
SIGN: Blocks = ((ONE, NONE), (NONE, -ONE))
DRIVE: Blocks = ((NONE, Words.of("E'")), (Words.of("E"), NONE))
# For any loss: E is minus its gradient by the end-to-end map.
ANY_LOSS = {"w_1": Words.of("w_2'", "E"), "w_2": Words.of("E", "w_1'")}


def product(*factors: Blocks) -> Blocks:
    """Return the product of block matrices."""
    left, *rest = factors
    for right in rest:
        (a, b), (c, d) = left
        (e, f), (g, h) = right
        left = ((a @ e + b @ g, a @ f + b @ h), (c @ e + d @ g, c @ f + d @ h))
    return left


def combined(*terms: tuple[sp.Expr | int, Blocks]) -> Blocks:
    """Return the sum of block matrices times scalars."""

    def entry(i: int, j: int) -> Words:
        return sum((blocks[i][j].scaled(as_sympy(c)) for c, blocks in terms), NONE)

    return (entry(0, 0), entry(0, 1)), (entry(1, 0), entry(1, 1))


def commutator(left: Blocks, right: Blocks) -> Blocks:
    """Return left right - right left."""
    return combined((1, product(left, right)), (-1, product(right, left)))


def moved(blocks: Blocks, flow: Mapping[str, Words]) -> Blocks:
    """Return the time derivative along a flow."""
    (a, b), (c, d) = blocks
    return (
        (derivative(a, flow), derivative(b, flow)),
        (derivative(c, flow), derivative(d, flow)),
    )


def is_nothing(blocks: Blocks) -> bool:
    """Whether every block is identically 0."""
    return not any(words.terms for row in blocks for words in row)
