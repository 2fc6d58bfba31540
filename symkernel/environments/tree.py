r"""The balanced tree: its nodes as arrays, and the spectrum of its features from its scheme.

How many features two items share depends on the depth of their lowest common ancestor alone, so
the spectrum is that of `symkernel.problem.tree_scheme.Tree`.

Levels count from 0 at the root to $L$ at the items; a node of level $k$ has $B^{L-k}$ items below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Step
from symkernel.notation import B, L
from symkernel.problem.tree_scheme import Tree

LEVEL = notation.register(
    sp.Symbol("l", integer=True, nonnegative=True), r"\ell", "level of the tree, 0 at its root"
)
_SCHEME = Tree(B, L)
# Branching and depth of the trees on which the steps are checked entry by entry.
_TREES = ((2, 1), (2, 3), (3, 2), (4, 2), (5, 1))


def ancestry(branching: int, depth: int) -> list[np.ndarray]:
    """Return, for each level, which items (rows) are below, or are, which nodes (columns)."""
    return [
        np.kron(
            np.eye(branching**level, dtype=np.int64),
            np.ones((branching ** (depth - level), 1), dtype=np.int64),
        )
        for level in range(depth + 1)
    ]


def paths(branching: int, level: int) -> Iterator[str]:
    """Yield the names of a level's nodes, say 1.2 for the second child of the root's first."""
    for node in range(branching**level):
        turns = [node // branching ** (level - k) % branching + 1 for k in range(1, level + 1)]
        yield ".".join(map(str, turns)) or "all"


def distinctions(branching: int, depth: int, level: int) -> np.ndarray:
    """Return orthogonal contrasts between siblings on a level, as columns of integers."""
    if level == 0:
        return np.ones((branching**depth, 1), dtype=np.int64)
    contrast = np.triu(np.ones((branching, branching - 1), dtype=np.int64))
    contrast[np.arange(1, branching), np.arange(branching - 1)] = -np.arange(1, branching)
    below = np.ones((branching ** (depth - level), 1), dtype=np.int64)
    groups = np.eye(branching ** (level - 1), dtype=np.int64)
    return np.kron(groups, np.kron(contrast, below))


@cache
def eigenvalue() -> sp.Expr:
    r"""Return the eigenvalue $\lambda_\ell$ of $Y Y^T$: items share a feature a common ancestor."""
    return _SCHEME.spectrum(lambda depth: depth + 1, LEVEL)


@cache
def multiplicity() -> sp.Expr:
    """Return the number of independent contrasts on a level below the root."""
    below = sp.Dummy("below", integer=True, positive=True)
    return _SCHEME.multiplicity(below).subs(below, LEVEL)


@cache
def steps(whitened: bool) -> tuple[Step, ...]:
    """Return the derivation of the spectrum for symbols B and L."""
    # d / n, the square of the factor between Y^T and <y x^T>.
    scale = B**-L if whitened else B ** (-2 * L)
    squared = scale * eigenvalue()
    return (
        _similarity_step(),
        _action_step(),
        _eigenvalue_step(),
        _multiplicity_step(),
        _singular_step(squared, whitened),
        _order_step(squared, scale * B ** (L - LEVEL)),
    )


_I, _J, _K = sp.symbols("i j k", integer=True, nonnegative=True)
# Items below a node of level k.
_SIZE = B ** (L - _K)


def _similarity_step() -> Step:
    same = sp.KroneckerDelta(sp.floor(_I / _SIZE), sp.floor(_J / _SIZE))
    shared = sp.Sum(same, (_K, 0, L))
    return Step(
        "Similarity of items",
        "Two items share one feature for each level on which they have the same ancestor; "
        "items are numbered so that the ancestor of item i is the integer part of i over the "
        "size of its group. Hence Y Y^T is a sum of block matrices of ones, one a level.",
        (sp.Eq(sp.IndexedBase("G")[_I, _J], shared, evaluate=False),),
        lambda: _check_similarity(shared),
    )


def _action_step() -> Step:
    block, contrast = sp.IndexedBase("J")[_K], sp.IndexedBase("v")[LEVEL]
    action = sp.piecewise_fold(_SCHEME.block(_K, LEVEL) * contrast)
    return Step(
        "Action on a contrast between siblings",
        "A contrast is constant on each sibling, sums to zero over them, and vanishes outside "
        "their group. A block within a sibling multiplies it by the block's size; a wider "
        "block sums it to zero. At the root every block is within.",
        (sp.Eq(block * contrast, action, evaluate=False),),
        _check_action,
    )


def _eigenvalue_step() -> Step:
    value = sp.IndexedBase("lambda")[LEVEL]
    return Step(
        "Eigenvalues",
        "Contrasts are eigenvectors of every block matrix, so the eigenvalues add up to a "
        "geometric sum over the levels from the contrast's own down to the items.",
        (
            sp.Eq(value, sp.Sum(_SIZE, (_K, LEVEL, L)), evaluate=False),
            sp.Eq(value, eigenvalue(), evaluate=False),
        ),
        _check_eigenvalue,
    )


def _multiplicity_step() -> Step:
    return Step(
        "Multiplicities",
        "Vectors constant on the nodes of a level have as many dimensions as there are nodes; "
        "contrasts of the level are those orthogonal to the level above.",
        (sp.Eq(sp.IndexedBase("m")[LEVEL], multiplicity(), evaluate=False),),
        _check_multiplicity,
    )


def _singular_step(squared: sp.Expr, whitened: bool) -> Step:
    return Step(
        "Singular values",
        "Inputs are one-hot times a factor and items equally frequent, so <y x^T> is "
        + ("Y^T over the root of n" if whitened else "Y^T / n")
        + ", and its singular values are the roots of the eigenvalues, scaled.",
        (sp.Eq(sp.IndexedBase("s")[LEVEL], sp.sqrt(squared), evaluate=False),),
        lambda: _check_singular(squared, whitened),
    )


def _order_step(squared: sp.Expr, gap: sp.Expr) -> Step:
    strength = sp.IndexedBase("s")
    return Step(
        "Broad before fine",
        "Each level is driven more strongly than the next, since the difference of the "
        "squares is positive.",
        (sp.Eq(strength[LEVEL] ** 2 - strength[LEVEL + 1] ** 2, gap, evaluate=False),),
        lambda: _check_order(squared, gap),
    )


def _residual(expression: sp.Expr) -> sp.Expr:
    return sp.expand(sp.numer(sp.together(expression)))


def _on_trees(compare: Callable[[int, int], bool], what: str) -> Evidence:
    tried = ", ".join(f"({b}, {deep})" for b, deep in _TREES)
    passed = all(compare(b, deep) for b, deep in _TREES)
    word = "equal" if passed else "NOT equal"
    return Evidence(passed, f"{what} {word} in exact integers on trees (B, L) = {tried}")


def _at(expression: sp.Expr, b: int, deep: int, level: int = 0) -> sp.Expr:
    return expression.subs({B: b, L: deep, LEVEL: level}, simultaneous=True)


def _gram(b: int, deep: int) -> np.ndarray:
    nodes = np.hstack(ancestry(b, deep))
    return nodes @ nodes.T


def _check_similarity(shared: sp.Expr) -> Evidence:
    def compare(b: int, deep: int) -> bool:
        gram = _gram(b, deep)
        formula = sp.lambdify((_I, _J), _at(shared, b, deep).doit(), "sympy")
        items = [sp.Integer(item) for item in range(len(gram))]
        return all(
            formula(items[row], items[column]) == int(gram[row, column])
            for row in range(len(gram))
            for column in range(row + 1)
        )

    return _on_trees(compare, "shared features")


def _check_action() -> Evidence:
    def compare(b: int, deep: int) -> bool:
        levels = range(deep + 1)
        return all(
            np.array_equal(
                nodes @ (nodes.T @ distinctions(b, deep, level)),
                int(Tree(b, deep).block(k, level)) * distinctions(b, deep, level),
            )
            for level in levels
            for k, nodes in enumerate(ancestry(b, deep))
        )

    return _on_trees(compare, "block matrices times contrasts")


def _check_eigenvalue() -> Evidence:
    closed = eigenvalue()
    telescoped = _residual(closed - closed.subs(LEVEL, LEVEL + 1) - B ** (L - LEVEL))
    last = closed.subs(LEVEL, L)

    def compare(b: int, deep: int) -> bool:
        return all(
            np.array_equal(
                _gram(b, deep) @ distinctions(b, deep, level),
                int(_at(closed, b, deep, level)) * distinctions(b, deep, level),
            )
            for level in range(deep + 1)
        )

    trees = _on_trees(compare, "Y Y^T times contrasts")
    return Evidence(
        telescoped == 0 and last == 1 and trees.passed,
        f"difference of neighbouring levels less B^(L-l): {telescoped}; at l = L: {last}; "
        f"{trees.figure}",
    )


def _check_multiplicity() -> Evidence:
    later = sp.summation(multiplicity(), (LEVEL, 1, L))
    residual = _residual(1 + later - B**L)
    trees = _on_trees(
        lambda b, deep: all(
            distinctions(b, deep, level).shape[1] == _at(multiplicity(), b, deep, level)
            for level in range(1, deep + 1)
        ),
        "numbers of contrasts",
    )
    return Evidence(
        residual == 0 and trees.passed, f"sum over levels less B^L: {residual}; {trees.figure}"
    )


def _check_singular(squared: sp.Expr, whitened: bool) -> Evidence:
    worst = 0.0
    for b, deep in _TREES:
        n = b**deep
        cross = np.hstack(ancestry(b, deep)).T / (np.sqrt(n) if whitened else n)
        found = np.linalg.svd(cross, compute_uv=False)
        exact = np.repeat(
            [float(sp.sqrt(_at(squared, b, deep, level))) for level in range(deep + 1)],
            [distinctions(b, deep, level).shape[1] for level in range(deep + 1)],
        )
        worst = max(worst, float(np.abs(found - exact).max() / exact[0]))
    return Evidence(worst < 1e-13, f"largest relative difference from numerical SVD: {worst:.1e}")


def _check_order(squared: sp.Expr, gap: sp.Expr) -> Evidence:
    residual = _residual(squared - squared.subs(LEVEL, LEVEL + 1) - gap)
    return Evidence(
        residual == 0 and gap.is_positive is True,
        f"residual {residual}; the difference is positive for all B, L, l: {gap.is_positive}",
    )
