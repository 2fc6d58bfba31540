r"""The scheme of the leaves of a balanced tree: relations are depths of common ancestors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

from symkernel.problem.scalars import as_sympy
from symkernel.problem.symmetry import Scheme, Values, whole


@dataclass(frozen=True)
class Tree(Scheme):
    r"""Leaves of a balanced tree; the relation is the depth of the lowest common ancestor.

    Relation $L$ is that of an item to itself. Eigenspace $\ell$ holds the contrasts between
    siblings on level $\ell$, eigenspace 0 the constants. The relations from $r$ on add up to blocks
    of ones within the nodes of level $r$ (`block`), which multiply a contrast that is constant on
    them by their size, and sum a finer one to 0. Hence

    $$\lambda_\ell[k] = \sum_{r \ge \ell} \bigl(k(r) - k(r - 1)\bigr) B^{L-r}, \qquad k(-1) = 0.$$

    Parameters
    ----------
    branching : int or SymPy expression
        B, at least 2.
    depth : int or SymPy expression
        L, at least 1.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.problem.tree_scheme import Tree
    >>> B = sp.Symbol("B", integer=True, positive=True)
    >>> assert Tree(B, 2).spectrum(lambda k: k + 1, 1) == B + 1
    >>> assert Tree(2, 3).check().passed
    """

    branching: sp.Expr
    depth: sp.Expr

    def __post_init__(self) -> None:
        object.__setattr__(self, "branching", whole(self.branching, "branching", 2))
        object.__setattr__(self, "depth", whole(self.depth, "depth", 1))

    @property
    def items(self) -> sp.Expr:
        """Number of leaves."""
        return self.branching**self.depth

    @property
    def relations(self) -> tuple[int, ...]:
        """From leaves that share the root alone to the same leaf."""
        return self._counted(self.depth)

    def valency(self, relation: Any) -> sp.Expr:
        """Return how many leaves have their lowest common ancestor with a given one there."""
        k = as_sympy(relation)
        below, finer = (self.branching ** (self.depth - q) for q in (k, k + 1))
        return _unless(sp.Eq(k, self.depth), sp.S.One, below - finer)

    def multiplicity(self, eigenspace: Any) -> sp.Expr:
        """Return the number of independent contrasts: vectors constant on nodes, less level above.

        Where the level may be 0 or not, the result is `Piecewise`.
        """
        level = as_sympy(eigenspace)
        siblings = self.branching**level - self.branching ** (level - 1)
        return _unless(sp.Eq(level, 0), sp.S.One, siblings)

    def block(self, level: Any, eigenspace: Any) -> sp.Expr:
        """Return the eigenvalue of blocks of ones within the nodes of a level."""
        size = self.branching ** (self.depth - level)
        return sp.Piecewise((size, as_sympy(level) >= eigenspace), (0, True))

    def eigenvalue(self, relation: Any, eigenspace: Any) -> sp.Expr:
        """Return the eigenvalue of a relation: a block's, less the next finer one's."""
        k = as_sympy(relation)
        below, finer = (self.block(q, eigenspace) for q in (k, k + 1))
        return _unless(sp.Eq(k, self.depth), below, below - finer)

    def spectrum(self, values: Values, eigenspace: Any) -> sp.Expr:
        r"""Return the eigenvalue of the matrix with the entries values(depth of the ancestor).

        Parameters
        ----------
        values : callable
            Of the depth of the lowest common ancestor; for symbols a polynomial that is 0 at -1,
            or any whose sum SymPy can do.
        eigenspace : int or SymPy expression
            The level.
        """
        level = as_sympy(eigenspace)
        if (self.depth - level).is_Integer and level.is_Integer:
            total = super().spectrum(values, level)
            return total if self.branching.is_Integer else sp.expand(total)
        # B = 1 + excess with excess > 0 says B >= 2, so that the sum has no case B = 1.
        excess = sp.Dummy("excess", integer=True, positive=True)
        height = sp.Dummy("height", integer=True, nonnegative=True)
        at = self.depth - height
        rise = sp.expand(values(at) - values(at - 1))
        total = sp.summation(rise * (1 + excess) ** height, (height, 0, self.depth - level))
        numerator, denominator = sp.fraction(sp.together(total))
        summed = (sp.expand_mul(numerator) / denominator).subs(excess, self.branching - 1)
        # There is no relation before 0 to take off.
        rest = sp.expand(as_sympy(values(sp.S.NegativeOne))) * self.items
        return summed if rest == 0 else _unless(sp.Eq(level, 0), summed + rest, summed)

    def relation_table(self) -> np.ndarray:
        """Return the depth of the lowest common ancestor, leaves from left to right."""
        b, deep = int(self.branching), int(self.depth)
        leaves = np.arange(b**deep)
        above = [leaves // b ** (deep - k) for k in range(1, deep + 1)]
        return sum((a[:, None] == a[None]).astype(np.int64) for a in above)

    def __str__(self) -> str:
        return f"tree({self.branching}, {self.depth})"


def _unless(case: Any, there: sp.Expr, elsewhere: sp.Expr) -> sp.Expr:
    """Return what holds in a case and elsewhere; `Piecewise` if it is not known which it is."""
    if case in (sp.true, sp.false):
        return there if case == sp.true else elsewhere
    return sp.Piecewise((there, case), (elsewhere, True))
