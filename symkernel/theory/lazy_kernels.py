r"""Kernels of prompts: between one of K tasks and one of a single task, $k_K(m, \delta)$.

With isotropic initial weights a kernel depends on inner products of the stimulus parts and of the
task parts of two inputs alone, so on $m$, on $\delta$, and, by its own norm, on $K$.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.environments.symbolic_multitasking import (
    AT_ONCE,
    MATCHED,
    SAME,
    SymbolicMultitasking,
)
from symkernel.errors import (
    InvalidArgument,
    MissingValues,
    ShapeMismatch,
    as_positive,
    as_real_array,
)
from symkernel.problem.scalars import as_expression, as_sympy
from symkernel.theory.infinite_width import WideKernel
from symkernel.theory.wide_recursion import OVERLAPS

if TYPE_CHECKING:
    from symkernel.theory.wide_routine import WideRoutine

__all__ = ["GENERAL", "PromptKernel", "number", "prompt_kernel"]

notation.symbol("k_prompt", "k", "kernel of two prompts, of one task and of K")
GENERAL = sp.Function("k_prompt")

Entry = Callable[[Any, Any, Any], sp.Expr]


@dataclass(frozen=True)
class PromptKernel:
    r"""The kernel between a prompt of K tasks and prompts of one task.

    Attributes
    ----------
    entry : callable
        Of $m$, $\delta$ and K.
    words : str
        Where it comes from.
    expression : sympy.Expr or None
        In `MATCHED`, `SAME` and `AT_ONCE`; None for numbers without a formula.
    """

    entry: Entry
    words: str
    expression: sp.Expr | None = None

    @property
    def is_general(self) -> bool:
        """Whether it is any kernel, a function without a formula."""
        return self.expression is not None and self.expression.has(GENERAL)

    @property
    def is_polynomial(self) -> bool:
        """Whether its spectrum is closed: a polynomial in the number of groups that agree."""
        return self.expression is not None and self.expression.is_polynomial(MATCHED, SAME)

    def named(self, m: Any, same: Any, K: Any) -> sp.Expr:
        """Return an entry, of what is no polynomial by its name."""
        return self.entry(m, same, K) if self.is_polynomial else GENERAL(m, same, K)

    def written_out(self, expression: sp.Expr) -> sp.Expr:
        """Return an expression with entries in place of their names."""
        return expression.replace(GENERAL, self.entry)

    @property
    def is_alike(self) -> bool:
        """Whether it is known not to depend on how many tasks the prompt has."""
        return self.expression is not None and not self.expression.has(AT_ONCE)

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Symbols besides those of the relation."""
        found = set() if self.expression is None else self.expression.free_symbols
        return found - {MATCHED, SAME, AT_ONCE}

    def with_values(self, values: Mapping[sp.Symbol, Any]) -> PromptKernel:
        """Return the kernel with numbers in place of symbols."""
        if self.expression is None:
            return self
        return _by_formula(self.expression.subs(values), self.words)


def _by_formula(expression: sp.Expr, words: str) -> PromptKernel:
    @cache
    def entry(m: Any, same: Any, K: Any) -> sp.Expr:
        return expression.subs({MATCHED: m, SAME: same, AT_ONCE: K}, simultaneous=True)

    return PromptKernel(entry, words, expression)


def prompt_kernel(
    environment: SymbolicMultitasking,
    kernel: object,
    direct: object,
    stimulus: object,
    task: object,
    tolerance: float = 1e-10,
) -> PromptKernel:
    """Return a kernel however it is given; see `lazy_multitasking`."""
    rate = as_expression(direct, "direct", "non-negative")
    seen, told = as_expression(stimulus, "stimulus"), as_expression(task, "task")
    reach = as_positive(tolerance, "tolerance")
    if not isinstance(kernel, WideKernel) and not seen == told == 1:
        raise InvalidArgument(
            "Arguments 'stimulus' and 'task' scale the inputs of a wide network's kernel; other "
            "kernels are given in the number of agreeing groups and need none."
        )
    found = _given(environment, kernel, seen, told, reach)
    if rate.is_zero:
        return found
    words = f"{found.words}, and a direct path from task to output"
    if found.expression is not None:
        return _by_formula(found.expression + rate * SAME, words)
    return PromptKernel(lambda m, same, K: found.entry(m, same, K) + rate * same, words)


def _given(
    environment: SymbolicMultitasking,
    kernel: object,
    stimulus: sp.Expr,
    task: sp.Expr,
    tolerance: float,
) -> PromptKernel:
    if kernel is None:
        general = GENERAL(MATCHED, SAME, AT_ONCE)
        return _by_formula(general, "any kernel of the relation")
    if isinstance(kernel, WideKernel):
        return _wide(environment, kernel, stimulus, task, tolerance)
    if isinstance(kernel, sp.Expr):
        if not kernel.free_symbols & {MATCHED, SAME}:
            raise InvalidArgument(
                f"Argument 'kernel' must depend on the environment's symbols 'matched' or 'same', "
                f"but {kernel} does not: such a kernel learns nothing about the prompts."
            )
        return _by_formula(kernel, "a formula of the relation of two prompts")
    if isinstance(kernel, (list, tuple, np.ndarray)):
        return _table(environment, kernel)
    raise InvalidArgument(
        f"Argument 'kernel' must be a SymPy expression in the environment's 'matched' and 'same', "
        f"an array of its values, or a kernel of symkernel.infinite_width, not "
        f"{type(kernel).__name__}."
    )


def _sizes(environment: SymbolicMultitasking, what: str) -> tuple[int, int]:
    if environment.free_symbols:
        raise MissingValues(
            f"Argument 'environment' must have numbers for G and M where the kernel is {what}, "
            f"not {environment.groups} and {environment.features}."
        )
    return int(environment.groups), int(environment.features)


def _table(environment: SymbolicMultitasking, kernel: object) -> PromptKernel:
    array = np.asarray(kernel)
    G, _ = _sizes(environment, "an array")
    values = as_real_array(array, "kernel", 3 if array.ndim == 3 else 2)
    if not values.any():
        raise InvalidArgument("Argument 'kernel' must not be 0 everywhere: nothing is learned.")
    if values.shape not in ((G + 1, 2), (G, G + 1, 2)):
        raise ShapeMismatch(
            f"Argument 'kernel' must hold values of shape ({G + 1}, 2), by agreeing groups and "
            f"task, or ({G}, {G + 1}, 2), by number of tasks too, not {values.shape}."
        )

    def entry(m: Any, same: Any, K: Any) -> sp.Expr:
        chosen = values if values.ndim == 2 else values[int(K) - 1]
        return sp.Float(chosen[int(m), int(same)], 30)

    return PromptKernel(entry, "given values")


def _wide(
    environment: SymbolicMultitasking,
    kernel: WideKernel,
    stimulus: sp.Expr,
    task: sp.Expr,
    tolerance: float,
) -> PromptKernel:
    words = f"{kernel.name}, infinite width"
    if None not in kernel.limit.averages.values():
        G = environment.groups
        own, both, other = OVERLAPS
        overlaps = {
            own: stimulus * G + task * AT_ONCE,
            both: stimulus * MATCHED + task * SAME,
            other: stimulus * G + task,
        }
        expression = kernel.plain.subs(overlaps, simultaneous=True)
        return _by_formula(expression, words)
    routine = kernel.compile(tolerance=tolerance)
    return PromptKernel(_measured(environment, routine, stimulus, task), words)


def _measured(
    environment: SymbolicMultitasking, routine: WideRoutine, stimulus: sp.Expr, task: sp.Expr
) -> Entry:
    """Return entries of a kernel whose averages have no closed form, from its compiled routine."""
    G, M = _sizes(environment, "averaged numerically")
    scales = [float(sp.sqrt(part)) for part in (stimulus, task)]

    def prompt(agree: int, tasks: range) -> np.ndarray:
        features = np.eye(M)[[0] * agree + [1] * (G - agree)].ravel()
        switched = np.isin(np.arange(G * G), tasks).astype(float)
        return np.concatenate([scales[0] * features, scales[1] * switched])

    @cache
    def values() -> np.ndarray:
        rows = [
            prompt(m, range(1 - same, 1 - same + K))
            for K in range(1, G + 1)
            for m in range(G + 1)
            for same in (0, 1)
        ]
        return routine(np.array(rows), prompt(G, range(1))[None]).reshape(G, G + 1, 2)

    def entry(m: Any, same: Any, K: Any) -> sp.Expr:
        return sp.Float(values()[int(K) - 1, int(m), int(same)], 30)

    return entry


def number(expression: object) -> sp.Expr:
    """Return a number of 30 digits, or say which symbols have none."""
    value = as_sympy(expression)
    if value.free_symbols:
        names = ", ".join(sorted(q.name for q in value.free_symbols))
        raise MissingValues(f"Symbols without a number: {names}. Give their values.")
    return sp.N(value.doit(), 30)
