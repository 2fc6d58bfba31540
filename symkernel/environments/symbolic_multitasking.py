r"""The multitasking environment for symbols: counts, relations, the modes of its targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sympy as sp

from symkernel import notation
from symkernel.errors import InvalidArgument, MissingValues, as_values
from symkernel.problem.symmetry import Hamming, Product, complete, whole

if TYPE_CHECKING:
    from symkernel.environments.multitasking import Multitasking

# What the environment with numbers has, and that with symbols has not.
_OF_NUMBERS = (
    "tasks", "name", "task_sets", "prompts", "single", "concurrent", "curriculum", "network",
    "weights", "symbolic",
)  # fmt: skip
_COUNT = {"integer": True, "nonnegative": True}
MATCHED = notation.register(
    sp.Symbol("m_matched", **_COUNT), "m", "number of stimulus groups in which two prompts agree"
)
SAME = notation.register(
    sp.Symbol("same_task", **_COUNT), r"\delta", "1 if the task is one of the prompt's, else 0"
)
AT_ONCE = notation.register(
    sp.Symbol("K_at_once", integer=True, positive=True), "K", "number of tasks of a prompt"
)
ADDRESSED = notation.register(
    sp.Symbol("addressed", **_COUNT), "A", "1 if a task of the prompt writes the unit's group"
)
READ = notation.register(
    sp.Symbol("read", real=True),
    "e",
    "1 - 1/M if the group that the task reads shows the unit's feature, -1/M if it does not; 0 if "
    "no task of the prompt writes the unit's group",
)
POOLED = notation.register(
    sp.Symbol("pooled", real=True),
    "S",
    "number of stimulus groups that show the unit's feature, less G/M",
)


@dataclass(frozen=True)
class SymbolicMultitasking:
    r"""The environment of `Multitasking` with symbols for G or M: closed forms, no arrays.

    Two prompts, of one task and of K, are related by the number $m$ of stimulus groups in which
    they agree, and by $\delta$, whether the one's task is among the other's. For K = 1 these are
    the relations of a commutative association scheme, `scheme`.

    Parameters
    ----------
    groups, features : int or SymPy expression
        G and M, at least 2.

    Examples
    --------
    >>> import sympy as sp, symkernel as sk
    >>> G, M, K = sp.symbols("G M K", integer=True, positive=True)
    >>> env = sk.environments.Multitasking(G, M)
    >>> assert env.prompt_count() == G**2 * M**G
    >>> assert env.set_count(K).subs({G: 3, K: 2}) == 18
    >>> assert env.with_values({G: 3, M: 3}).single.X.shape == (243, 18)
    """

    groups: sp.Expr
    features: sp.Expr

    def __post_init__(self) -> None:
        for name in ("groups", "features"):
            object.__setattr__(self, name, whole(getattr(self, name), name, 2))

    def __getattr__(self, name: str) -> Any:
        if name in _OF_NUMBERS:
            raise AttributeError(
                f"An environment with symbols has no {name!r}: give its sizes numbers first, as "
                f"env.with_values({{G: 3, M: 3}}).{name}."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def matched(self) -> sp.Symbol:
        """The symbol $m$: in how many stimulus groups two prompts agree."""
        return MATCHED

    @property
    def same(self) -> sp.Symbol:
        r"""The symbol $\delta$: 1 if the one prompt's task is among the other's."""
        return SAME

    @property
    def tasks_at_once(self) -> sp.Symbol:
        """The symbol K of kernels that see how many tasks a prompt has."""
        return AT_ONCE

    @property
    def task_count(self) -> sp.Expr:
        """Number of tasks, T = G^2."""
        return self.groups**2

    @property
    def inputs(self) -> sp.Expr:
        """Number of inputs: G M features and G^2 tasks."""
        return self.outputs + self.task_count

    @property
    def outputs(self) -> sp.Expr:
        """Number of outputs, G M."""
        return self.groups * self.features

    def set_count(self, K: int | sp.Expr = 1) -> sp.Expr:
        """Return how many sets of K tasks share no stimulus group and no response group."""
        count = self.at_once(K)
        return sp.binomial(self.groups, count) ** 2 * sp.factorial(count)

    def prompt_count(self, K: int | sp.Expr = 1) -> sp.Expr:
        """Return how many prompts of K tasks there are."""
        return self.set_count(K) * self.features**self.groups

    def at_once(self, K: object) -> sp.Expr:
        """Return a number of tasks that can be done at once.

        Raises
        ------
        InvalidArgument
            If it is no integer from 1 on, or larger than the number of groups.
        """
        count = whole(K, "K", 1)
        if (count - self.groups).is_positive:
            raise InvalidArgument(
                f"Argument 'K' must be at most the number of groups, {self.groups}, not {count}: "
                f"more tasks would share a response group."
            )
        return count

    @property
    def stimuli(self) -> Hamming:
        """The relations of stimuli: words of G letters out of M."""
        return Hamming(self.groups, self.features)

    @property
    def scheme(self) -> Product:
        r"""The relations $(m, \delta)$ of prompts of one task each."""
        return self.stimuli * complete(self.task_count)

    @property
    def modes(self) -> dict[str, sp.Expr]:
        """The targets of single tasks, split over the eigenspaces of `scheme`; no other occurs.

        The number is the degree in the stimulus, the letter says mean over tasks or contrast:
        "0m", "0c", "1m", "1c". Symbols are `ADDRESSED`, `READ` and `POOLED`.
        """
        G, M = self.groups, self.features
        return {
            "0m": 1 / (G * M),
            "0c": (ADDRESSED - 1 / G) / M,
            "1m": POOLED / G**2,
            "1c": READ - POOLED / G**2,
        }

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Symbols without a value."""
        return self.groups.free_symbols | self.features.free_symbols

    def with_values(self, values: Mapping[sp.Symbol, object]) -> Multitasking:
        """Return the environment of these sizes.

        Raises
        ------
        MissingValues
            If a symbol has no value.
        """
        from symkernel.environments.multitasking import Multitasking

        known = as_values(values, self.free_symbols, "environment")
        sizes = [size.subs(known) for size in (self.groups, self.features)]
        if not all(size.is_Integer for size in sizes):
            raise MissingValues(
                f"Argument 'values' must make G and M integers, not {sizes[0]} and {sizes[1]}."
            )
        return Multitasking(*map(int, sizes))
