"""The lazy law at drawn numbers: its printed formulas, beside explicit Gram matrices."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

from symkernel.environments.multitasking import Prompts
from symkernel.environments.symbolic_multitasking import SymbolicMultitasking
from symkernel.errors import OutsideValidity
from symkernel.formula import Formula
from symkernel.notation import t
from symkernel.problem.scalars import as_sympy
from symkernel.theory import lazy_formulas as names
from symkernel.theory.lazy_explicit import Explicit, parts_of
from symkernel.theory.lazy_kernels import GENERAL, PromptKernel, number, prompt_kernel

if TYPE_CHECKING:
    from symkernel.theory.lazy_multitasking import LazyMultitasking

__all__ = ["BOUND", "SIZES", "Instance", "instances", "sizes_of"]

# Groups and features on which formulas for symbols are tried: 16 with all numbers of tasks.
SIZES = ((2, 2), (2, 3), (2, 4), (3, 2), (3, 3), (4, 2))
BOUND = 1e-12
# Explicit algebra of more prompts would take minutes.
_MOST_PROMPTS = 2500
# Learning times of the slowest mode after which training has ended.
_END = 40.0
_EPS = float(np.finfo(float).eps)


@dataclass(frozen=True, eq=False)
class Instance:
    """A law, numbers for its symbols, and its judge.

    Attributes
    ----------
    law : LazyMultitasking
        As it is printed: numbers are put into its formulas.
    values : mapping of Symbol to number
    kernel : PromptKernel
        With numbers; of a law for any kernel one that is drawn.
    """

    law: LazyMultitasking
    values: dict[sp.Symbol, Any]
    kernel: PromptKernel
    _known: dict[Any, sp.Expr] = field(default_factory=dict)

    @cached_property
    def environment(self) -> SymbolicMultitasking:
        """The environment with numbers."""
        return self.law.environment.with_values(self.values).symbolic

    @cached_property
    def numeric(self) -> LazyMultitasking:
        """The law derived anew for the numbers."""
        loss = self.law.loss.with_values(self.values)
        return type(self.law)(self.environment, self.kernel, loss)

    @cached_property
    def explicit(self) -> Explicit:
        """The explicit algebra."""

        @cache
        def entry(m: int, same: int, K: int) -> float:
            return float(number(self.kernel.entry(m, same, sp.Integer(K))))

        pace = 2 * float(number(self.law.loss.factor.subs(self.values)))
        return Explicit(self.environment.with_values({}), entry, pace)

    @property
    def name(self) -> str:
        """Its sizes in words."""
        return f"({self.environment.groups}, {self.environment.features})"

    @property
    def eigenvalues(self) -> dict[str, float]:
        """The law's eigenvalues as numbers."""
        found = self.evaluated(self.law.output())
        return {x: float(found[names.LAM[x]]) for x in names.MODES}

    @cached_property
    def times(self) -> tuple[float, float, float]:
        """Flow times at which the fastest mode, the slowest, and all are learned."""
        pace = self.explicit.pace / float(self.environment.prompt_count())
        learned = [value for value in self.eigenvalues.values() if value > 0]
        slow = 1 / (pace * min(learned))
        return 1 / (pace * max(learned)), slow, _END * slow

    @cached_property
    def bound(self) -> float:
        """The largest error that is allowed: rounding of small eigenvalues may exceed the usual.

        Their relative error is that of the largest one; over the time that is covered an
        eigenvalue 0 is off by as much.
        """
        found = [value for value in self.eigenvalues.values() if value > 0]
        spread = max(found) / min(found)
        reach = 1.0 if len(found) == len(names.MODES) else _END
        return max(BOUND, 16 * _EPS * spread * reach)

    @cached_property
    def _prompts(self) -> dict[int, Prompts]:
        environment = self.explicit.environment
        return {K: environment.prompts(environment.task_sets(K)) for K in self.at_once()}

    def prompts(self, K: int) -> Prompts:
        """Return all prompts of K tasks."""
        return self._prompts[K]

    def at_once(self, most: int | None = None) -> range:
        """Return all numbers of tasks, up to the most that is asked for."""
        G = int(self.environment.groups)
        return range(1, (G if most is None else min(most, G)) + 1)

    def number(self, expression: sp.Expr) -> sp.Expr:
        """Return the number of an expression in the law's symbols."""
        at = as_sympy(expression).subs(self.values).doit()
        return number(at.replace(GENERAL, self.kernel.entry))

    def evaluated(self, formula: Formula, time: float | None = None) -> dict[Any, sp.Expr]:
        """Return the numbers of a formula's lines; without a time, of those that have none."""
        values: dict[Any, sp.Expr] = {}
        at = {} if time is None else {t: sp.Float(time, 30)}
        for symbol, expression in formula.where:
            if symbol.func == GENERAL or (expression.has(t) and time is None):
                continue
            written = as_sympy(expression).xreplace(values | at)
            if written not in self._known:
                self._known[written] = self.number(written)
            values[symbol] = self._known[written]
        return values

    def outputs(self, K: int, time: float) -> np.ndarray:
        """Return the law's formula at all prompts of K tasks, shape (n_prompts, G M)."""
        values = self.evaluated(self.law.concurrent(K), time)
        response = (names.CONSTANT, names.WRITTEN, names.SELECTED, names.SPREAD)
        c, written, selected, spread = (float(values[symbol]) for symbol in response)
        prompts = self.prompts(K)
        addressed, read, pooled = parts_of(prompts)
        total = c + written * addressed + selected * read + spread * pooled
        return total.reshape(len(prompts.X), -1)

    def margin(self, K: int, time: float | None) -> float:
        """Return the law's margin at a time, after training without one."""
        formula = self.law.margin(K) if time is None else self.law.margin(K, t)
        return float(self.number(formula.expression.xreplace(self.evaluated(formula, time))))


def instances(law: LazyMultitasking) -> tuple[Instance, ...]:
    """Return the law at some sizes, with drawn numbers for its other symbols."""
    found = []
    for seed, sizes in enumerate(sizes_of(law.environment)):
        stream = np.random.default_rng(1000 + seed)
        values = dict(sizes)
        for symbol in sorted(law.free_symbols - set(values), key=str):
            values[symbol] = sp.Rational(int(stream.integers(2, 40)), 16)
        numeric = law.with_values(values)
        kernel = numeric.kernel
        if kernel.is_general:
            array = _drawn_kernel(numeric.environment, stream)
            kernel = prompt_kernel(numeric.environment, array, 0, 1, 1)
        found.append(Instance(law, values, kernel))
    return tuple(found)


def sizes_of(environment: SymbolicMultitasking) -> Iterator[dict[sp.Symbol, Any]]:
    """Yield numbers for the symbols of an environment, small enough for explicit algebra."""
    G, M = environment.groups, environment.features
    if G.is_Symbol and M.is_Symbol and G != M:
        yield from ({G: g, M: m} for g, m in SIZES)
        return
    symbols = sorted(environment.free_symbols, key=str)
    for choice in itertools.product((2, 3), repeat=len(symbols)):
        values = dict(zip(symbols, choice, strict=True))
        prompts = environment.prompt_count().subs(values)
        if prompts <= _MOST_PROMPTS:
            yield values
        elif not symbols:
            raise OutsideValidity(
                f"Explicit algebra is for {_MOST_PROMPTS} prompts at most, not {prompts}; check "
                f"the law with symbols for G and M instead."
            )


def _drawn_kernel(environment: SymbolicMultitasking, stream: np.random.Generator) -> np.ndarray:
    """Return values of a kernel by number of tasks, drawn with positive eigenvalues at K = 1."""
    scheme, G = environment.scheme, int(environment.groups)
    spectrum = {e: float(stream.uniform(0.5, 3.0)) for e in scheme.relations}
    values = stream.standard_normal((G, G + 1, 2))
    for r in scheme.relations:
        shares = (
            w * float(scheme.multiplicity(e) * scheme.eigenvalue(r, e)) for e, w in spectrum.items()
        )
        values[0][r] = sum(shares) / float(scheme.valency(r) * scheme.items)
    return values
