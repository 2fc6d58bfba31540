r"""Averages over prompts of groups of one-hot features, for any number of groups and features.

The indicator $e_{iv}$ says whether group i shows feature v. Over all stimuli, features of different
groups are independent, and each shows with the same frequency; of a product of indicators it
follows that it is 0 if two of them differ in the feature of one group, and otherwise shows in the
share $M^{-k}$ of all stimuli, k being the number of different groups. Sums over groups are taken
over one of each kind, with their number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sympy as sp


def indicator(group: int, feature: int) -> sp.Symbol:
    """Return the indicator of a feature of a group; group 0 is the one that a task reads."""
    return sp.Symbol(f"e_{group}_{feature}")


@dataclass(frozen=True)
class FeatureAverages:
    """Averages over all stimuli of G groups of M features.

    Attributes
    ----------
    groups, features : SymPy expressions
        G and M.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.theory.feature_averages import FeatureAverages, indicator
    >>> G, M = sp.symbols("G M", integer=True, positive=True)
    >>> averages = FeatureAverages(G, M)
    >>> e = indicator(0, 0)
    >>> assert averages.mean(e**2) == 1 / M and averages.mean(e * indicator(0, 1)) == 0
    """

    groups: sp.Expr
    features: sp.Expr

    def mean(self, polynomial: sp.Expr) -> sp.Expr:
        """Return the average of a polynomial in indicators."""
        letters = sorted(_indicators(polynomial), key=str)
        if not letters:
            return polynomial
        terms = sp.Poly(polynomial, *letters).terms()
        return sp.factor(sp.Add(*(c * self._share(letters, powers) for powers, c in terms)))

    def _share(self, letters: list[sp.Symbol], powers: tuple[int, ...]) -> sp.Expr:
        shown: dict[int, int] = {}
        for letter, power in zip(letters, powers, strict=True):
            group, feature = map(int, letter.name.split("_")[1:])
            if power and shown.setdefault(group, feature) != feature:
                return sp.S.Zero
        return self.features ** -len(shown)

    def over_groups(self, term: Callable[[int], sp.Expr]) -> sp.Expr:
        """Return the sum of terms over all groups, where those other than 0 are alike."""
        return term(0) + (self.groups - 1) * term(1)

    def over_pairs(self, term: Callable[[int, int], sp.Expr]) -> sp.Expr:
        """Return the sum over all ordered pairs of groups, where none is told apart."""
        return self.groups * (term(0, 0) + (self.groups - 1) * term(0, 1))


def _indicators(expression: sp.Expr) -> set[sp.Symbol]:
    return {q for q in expression.free_symbols if q.name.startswith("e_")}
