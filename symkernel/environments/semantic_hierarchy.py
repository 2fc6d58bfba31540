r"""The semantic hierarchy: items at the leaves of a balanced tree, with inherited features.

Every node of the tree has one feature, which all items below it share. The tree may be given in
numbers or in symbols; its singular values and their multiplicities are closed forms in the
branching $B$ and the depth $L$, derived here and checked step by step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import sympy as sp

from symkernel.environments import tree as explicit
from symkernel.environments.tree import LEVEL
from symkernel.errors import InvalidArgument, MissingValues, as_values
from symkernel.formula import Step
from symkernel.notation import B, L
from symkernel.problem.symmetry import whole
from symkernel.problem.task import Task
from symkernel.problem.tree_scheme import Tree

# Twice as many items would need more than 5 GB for the arrays of a task.
_MOST_ITEMS = 4096


def semantic_hierarchy(
    branching: int | sp.Expr, depth: int | sp.Expr, whitened: bool = False
) -> Task | Hierarchy:
    r"""Return the task of learning the features of items on a balanced tree.

    There are $n = B^L$ items, the leaves, equally frequent, and $(B^{L+1} - 1)/(B - 1)$
    features, one for each node: an item has its own feature and those of all its ancestors, the
    root's being shared by all. Inputs are one-hot, so that $\langle x x^T\rangle = I/n$.

    Parameters
    ----------
    branching : int or SymPy expression
        Children of each inner node, at least 2 (a symbol stands for such an integer).
    depth : int or SymPy expression
        Levels below the root, at least 1.
    whitened : bool
        Whether the one-hot inputs are scaled by $\sqrt n$, so that $\langle x x^T\rangle = I$.

    Returns
    -------
    Task or Hierarchy
        ============  =========  ==========================================================
        branching     depth      result
        ============  =========  ==========================================================
        number        number     Task of arrays with labels of items and features
        symbol        number     Task of depth + 1 modes in closed form
        any           symbol     Hierarchy: closed forms in the level, as there are L + 1 of
                                 them; its `level_task` and `task` give tasks
        ============  =========  ==========================================================

    Raises
    ------
    InvalidArgument
        For a branching below 2, a depth below 1, or either not an integer; for a tree of numbers
        with more than 4096 items (use `Hierarchy`, which needs no arrays).

    Notes
    -----
    This is the kind of data set that [1]_ uses throughout (items such as canary and salmon, which
    share "can move" with all animals and "can grow" with all living things); that paper derives
    the singular values for features drawn by branching diffusion on a tree. The closed forms for
    inherited features are derived here.

    References
    ----------
    .. [1] A. M. Saxe, J. L. McClelland, S. Ganguli, "A mathematical theory of semantic
       development in deep neural networks", PNAS 116(23), 11537 (2019), arXiv:1810.10531.

    Examples
    --------
    >>> import numpy as np, sympy as sp, symkernel as sk
    >>> task = sk.environments.semantic_hierarchy(branching=2, depth=2)
    >>> assert task.X.shape == (4, 4) and task.Y.shape == (4, 7)
    >>> tree = sk.environments.Hierarchy(2, 2)
    >>> exact = [tree.singular_value(level) for level in (0, 1, 2, 2)]
    >>> assert np.allclose(np.linalg.svd(task.Syx)[1], np.array(exact, float))
    >>> B, L = sp.symbols("B L", integer=True, positive=True)
    >>> symbolic = sk.environments.semantic_hierarchy(branching=B, depth=L)
    >>> assert symbolic.task({B: 2, L: 2}).Y.shape == (4, 7)
    """
    tree = Hierarchy(branching, depth, whitened)
    return tree.task() if tree.depth.is_Integer else tree


@dataclass(frozen=True)
class Hierarchy:
    r"""A balanced tree of items with inherited features, in closed form.

    The modes of the task are distinctions: at level 0 what all items share, at level $\ell$ the
    contrasts between siblings on that level, all of one strength

    $$s_\ell = \sqrt{\frac{d}{n}\, \frac{B^{L - \ell + 1} - 1}{B - 1}}, \qquad
      n = B^L, \quad d = 1/n \text{ (one-hot) or } 1 \text{ (whitened)}.$$

    Parameters
    ----------
    branching, depth, whitened
        As in `semantic_hierarchy`; numbers or symbols in each place.

    Raises
    ------
    InvalidArgument
        For a branching below 2, a depth below 1, or either not an integer.

    Notes
    -----
    Closed forms hold for $B \ge 2$. At $B = 1$ (a chain: one item) they have a removable
    singularity, and no distinctions are left but the root's. Numbers give exact numbers.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.environments import Hierarchy
    >>> B, L = sp.symbols("B L", integer=True, positive=True)
    >>> tree = Hierarchy(B, L)
    >>> assert tree.singular_value(L) == 1 / B**L         # an item against its siblings
    >>> assert Hierarchy(3, 2).singular_value(1) == sp.Rational(2, 9)
    >>> assert all(step.check().passed for step in tree.steps)
    """

    branching: sp.Expr
    depth: sp.Expr
    whitened: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "branching", whole(self.branching, "branching", 2))
        object.__setattr__(self, "depth", whole(self.depth, "depth", 1))
        if not isinstance(self.whitened, bool):
            raise InvalidArgument(
                f"Argument 'whitened' must be True or False, not {self.whitened!r}."
            )

    @property
    def level(self) -> sp.Symbol:
        r"""The symbol $\ell$ of the level, 0 at the root, $L$ for single items."""
        return LEVEL

    @property
    def items(self) -> sp.Expr:
        """Number of items (leaves), which is the number of inputs and samples."""
        return self.branching**self.depth

    @property
    def features(self) -> sp.Expr:
        """Number of features (nodes of the tree), which is the number of outputs."""
        return self.eigenvalue(0)

    @property
    def input_variance(self) -> sp.Expr:
        """Variance of the inputs along every mode: 1/items, or 1 when whitened."""
        return sp.Integer(1) if self.whitened else 1 / self.items

    def eigenvalue(self, level: int | sp.Expr = LEVEL) -> sp.Expr:
        r"""Return the eigenvalue $\lambda_\ell$ of the items' similarity $Y Y^T$ on a level.

        Parameters
        ----------
        level : int or SymPy expression
            From 0 (root) to the depth.
        """
        level = self._checked(level)
        value = self._write(explicit.eigenvalue(), level)
        # A whole number of levels makes it a polynomial, free of the singularity at B = 1.
        return sp.cancel(value) if (self.depth - level).is_Integer else value

    def singular_value(self, level: int | sp.Expr = LEVEL) -> sp.Expr:
        r"""Return the singular value $s_\ell$ of $\langle y x^T\rangle$ on a level.

        Parameters
        ----------
        level : int or SymPy expression
            From 0 (root) to the depth.

        Examples
        --------
        >>> import sympy as sp
        >>> from symkernel.environments import Hierarchy
        >>> B = sp.Symbol("B", integer=True, positive=True)
        >>> assert Hierarchy(B, 2).singular_value(1) == sp.sqrt(B + 1) / B**2
        """
        scale = 1 / sp.sqrt(self.items) if self.whitened else 1 / self.items
        return sp.sqrt(self.eigenvalue(level)) * scale

    def multiplicity(self, level: int | sp.Expr = LEVEL) -> sp.Expr:
        """Return the number of modes of a level: 1 at the root, else siblings less groups.

        Parameters
        ----------
        level : int or SymPy expression
            From 0 (root) to the depth; where it may be 0 or not, the result is `Piecewise`.
        """
        return Tree(self.branching, self.depth).multiplicity(self._checked(level))

    def ratio(self, level: int | sp.Expr = LEVEL) -> sp.Expr:
        r"""Return $s_\ell / s_{\ell+1}$: how much faster a level's drive is than the next one's.

        It is above 1 on all levels, and $\sqrt B$ far above the leaves.

        Parameters
        ----------
        level : int or SymPy expression
            From 0 (root) to the depth less 1.
        """
        level = self._checked(level)
        return sp.sqrt(self.eigenvalue(level) / self.eigenvalue(level + 1))

    @property
    def steps(self) -> tuple[Step, ...]:
        """The derivation of the closed forms for symbols B and L, each step with its check."""
        return explicit.steps(self.whitened)

    def task(self, values: Mapping[sp.Symbol, object] | None = None) -> Task:
        """Return the task of the whole tree; its depth must be a number.

        With a symbol for the branching it has depth + 1 modes. Directions of the features that no
        item ever drives are then left out: outputs are as many as inputs.

        Parameters
        ----------
        values : mapping of Symbol to number, optional
            Numbers for the symbols of branching and depth.

        Raises
        ------
        MissingValues
            If the depth is still a symbol.
        """
        tree = self
        if values is not None:
            known = as_values(values, (), "tree")
            branching, depth = (q.subs(known) for q in (self.branching, self.depth))
            tree = Hierarchy(branching, depth, self.whitened)
        if not tree.depth.is_Integer:
            raise MissingValues(
                f"Argument 'values' must give a number for the depth {tree.depth}; without one, "
                f"level_task(l) is the task of a single level."
            )
        if tree.branching.is_Integer:
            return tree._sampled()
        levels = range(int(tree.depth) + 1)
        return tree._noted(
            Task.from_modes(
                [tree.singular_value(level) for level in levels],
                [tree.multiplicity(level) for level in levels],
                tree.input_variance,
            )
        )

    def level_task(self, level: int | sp.Expr = LEVEL) -> Task:
        """Return the distinctions of one level as a task by themselves, whatever is a symbol.

        The whole task decouples into its levels when the weights are aligned with it, so the law
        of this task, read as a function of the level, is the law of the whole tree.

        Parameters
        ----------
        level : int or SymPy expression
            From 0 (root) to the depth.
        """
        return self._noted(
            Task.from_modes(
                self.singular_value(level), self.multiplicity(level), self.input_variance
            )
        )

    def distinctions(self, level: int) -> np.ndarray:
        """Return the modes of a level over the items, as columns of integers.

        Column by column, the first siblings of a group are set against the next one (Helmert
        contrasts). Columns are orthogonal to each other and to those of all other levels.

        Returns
        -------
        ndarray of int, shape (items, multiplicity)

        Raises
        ------
        MissingValues
            If branching, depth or level is a symbol.
        """
        position = self._checked(level)
        if not (self.branching.is_Integer and self.depth.is_Integer and position.is_Integer):
            raise MissingValues(
                f"Branching, depth and level must be numbers here, not {self.branching}, "
                f"{self.depth} and {position}; make the Hierarchy of numbers."
            )
        return explicit.distinctions(int(self.branching), int(self.depth), int(position))

    def _checked(self, level: object) -> sp.Expr:
        value = whole(level, "level", 0)
        if (self.depth - value).is_negative:
            raise InvalidArgument(
                f"Argument 'level' must be between 0 and the depth {self.depth}, not {level}."
            )
        return value

    def _write(self, expression: sp.Expr, level: sp.Expr) -> sp.Expr:
        return expression.subs({B: self.branching, L: self.depth, LEVEL: level}, simultaneous=True)

    def _noted(self, task: Task) -> Task:
        note = "whitened: one-hot inputs scaled by the square root of the number of items"
        return replace(task, history=(note,)) if self.whitened else task

    def _sampled(self) -> Task:
        b, deep = int(self.branching), int(self.depth)
        n = b**deep
        if n > _MOST_ITEMS:
            raise InvalidArgument(
                f"The tree must have at most {_MOST_ITEMS} items for a task of arrays, not {n}; "
                f"Hierarchy({b}, {deep}) gives its closed forms, and level_task its modes."
            )
        paths = [list(explicit.paths(b, k)) for k in range(deep + 1)]
        items = [f"item {path}" for path in paths[-1]]
        features = [f"feature of {path}" for level in paths for path in level]
        X = np.eye(n) * (np.sqrt(n) if self.whitened else 1.0)
        labels = {"samples": items, "inputs": items, "outputs": features}
        return self._noted(Task(X, np.hstack(explicit.ancestry(b, deep)), labels))
