r"""The lazy law of multitasking in SymPy: eigenvalues, response to a prompt, margin.

Everything follows from two facts. A mode of the targets is learned by its own eigenvalue of the
training kernel; and the response to a prompt is a sum over training tasks that the kernel weighs
in two ways only, by whether the prompt has the task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import sympy as sp

from symkernel import notation
from symkernel.environments.symbolic_multitasking import (
    ADDRESSED,
    AT_ONCE,
    MATCHED,
    POOLED,
    READ,
    SAME,
    SymbolicMultitasking,
)
from symkernel.errors import OutsideValidity
from symkernel.problem.scalars import as_sympy
from symkernel.problem.symmetry import PLACES
from symkernel.theory.lazy_kernels import GENERAL, PromptKernel, prompt_kernel

# Abbreviations with their meanings, each in terms of those before it.
Lines = list[tuple[Any, Any]]

MODES = ("0m", "0c", "1m", "1c")
_OF = {
    "0m": "the mean over stimuli and tasks",
    "0c": "contrasts between tasks, the same for all stimuli",
    "1m": "single features, mean over tasks",
    "1c": "single features, contrasts between tasks",
}


def _symbol(name: str, tex: str, meaning: str, **signs: bool) -> sp.Symbol:
    return notation.symbol(name, tex, meaning, **signs or {"real": True})


LAM = {
    x: _symbol(f"lam_{x}", rf"\lambda_{{{x}}}", f"eigenvalue: {_OF[x]}", positive=True)
    for x in MODES
}
LEARNED = {x: _symbol(f"E_{x}", f"E_{{{x}}}", f"learned share: {_OF[x]}") for x in MODES}
GAIN = {x: _symbol(f"gain_{x}", f"g_{{{x}}}", f"share over eigenvalue: {_OF[x]}") for x in MODES}
MU = {
    (d, same): _symbol(
        f"mu_{d}_{same}",
        rf"\mu_{{{d},{same}}}",
        f"eigenvalue on degree {d} of the kernel with tasks that the prompt "
        + ("has" if same else "has not"),
    )
    for d in (0, 1)
    for same in (0, 1)
}
NU = {
    (d, same): _symbol(
        f"nu_{d}_{same}",
        rf"\nu_{{{d},{same}}}",
        f"eigenvalue on degree {d} of the training kernel between prompts of "
        + ("the same task" if same else "two tasks"),
    )
    for d in (0, 1)
    for same in (0, 1)
}
DIFFERENCE = {
    d: _symbol(f"D_{d}", f"D_{{{d}}}", f"by how much a task of the prompt counts, degree {d}")
    for d in (0, 1)
}
PROMPTS = _symbol("N_prompts", "N", "number of training prompts", integer=True, positive=True)
RATIO = _symbol("rho_modes", r"\rho", "lambda of 1c over that of 1m", positive=True)
CONSTANT, WRITTEN, SELECTED, SPREAD = (
    _symbol(*entry)
    for entry in (
        ("c_all", "c", "output of a group that no task writes, without features"),
        ("c_written", "c_A", "by how much a group that is written is above it"),
        ("b_read", "b_K", "gain of the feature that is to be read"),
        ("a_pooled", "a_K", "gain of the features of all groups alike"),
    )
)
THRESHOLD = _symbol("E_enough", r"\theta_K", "share of 1c from which K tasks are done", real=True)
MARGIN = _symbol("margin", r"\mathrm{margin}_K", "least lead of the right unit over all stimuli")

# Symbols of a kernel or a loss cannot be called like these.
TAKEN = {
    symbol.name
    for symbol in (
        *(q for group in (LAM, LEARNED, GAIN, MU, NU, DIFFERENCE) for q in group.values()),
        *(PROMPTS, RATIO, CONSTANT, WRITTEN, SELECTED, SPREAD, THRESHOLD, MARGIN),
        *(ADDRESSED, READ, POOLED, PLACES, notation.t),
    )
}

# What a mode of the targets is made of, and its degree in the stimulus.
PARTS = {sp.S.One: 0, ADDRESSED: 0, READ: 1, POOLED: 1}


def over_all_tasks(environment: SymbolicMultitasking) -> dict[sp.Expr, sp.Expr]:
    """Return the sum over all tasks of each part at the training prompts."""
    G = environment.groups
    return {sp.S.One: G**2, ADDRESSED: G, READ: POOLED, POOLED: G**2 * POOLED}


def over_own_tasks(K: sp.Expr) -> dict[sp.Expr, sp.Expr]:
    """Return the same over the tasks of a prompt."""
    return {sp.S.One: K, ADDRESSED: ADDRESSED, READ: READ, POOLED: K * POOLED}


def coefficients(expression: sp.Expr) -> dict[sp.Expr, sp.Expr]:
    """Return the coefficient of each part."""
    poly = sp.Poly(expression, ADDRESSED, READ, POOLED)
    return {part: poly.coeff_monomial(part) for part in PARTS}


@dataclass(frozen=True, eq=False)
class LazyFormulas:
    """The formulas for one environment and kernel, each in symbols that are explained before."""

    environment: SymbolicMultitasking
    kernel: PromptKernel
    factor: sp.Expr
    # What was worked out once.
    _kept: dict[Any, Any] = field(default_factory=dict, init=False)

    @classmethod
    def of_any_kernel(cls, environment: SymbolicMultitasking) -> LazyFormulas:
        """Return the formulas of a kernel that is a function without a formula."""
        return cls(environment, prompt_kernel(environment, None, 0, 1, 1), sp.S.Half)

    def at_degree(self, d: int, same: int, K: Any = sp.S.One) -> sp.Expr:
        r"""Return $\mu_{d, \delta}$: the eigenvalue of $k_K(\cdot, \delta)$ on a degree."""
        key = d, same, K
        if key not in self._kept:
            stimuli = self.environment.stimuli
            value = stimuli.spectrum(lambda m: self.kernel.named(m, same, K), d)
            self._kept[key] = tidy(value, self.environment)
        return self._kept[key]

    @cached_property
    def eigenvalues(self) -> dict[str, sp.Expr]:
        """The eigenvalues of the training kernel on the four modes of the targets."""
        scheme, found = self.environment.scheme, {}
        for x in MODES:
            eigenspace = (int(x[0]), 0 if x[1] == "m" else 1)
            value = scheme.spectrum(lambda m, same: self.kernel.named(m, same, 1), eigenspace)
            found[x] = tidy(value, self.environment)
        return found

    def spectrum_lines(self, degrees: Sequence[int]) -> Lines:
        """Return the eigenvalues line by line: contrasts between tasks, then means over them."""
        T = self.environment.task_count
        lines: Lines = []
        for d in degrees:
            contrast, other = self.eigenvalues[f"{d}c"], self.at_degree(d, 0)
            if not self.kernel.is_polynomial:
                lines += [(NU[d, same], self.at_degree(d, same)) for same in (0, 1)]
                contrast, other = NU[d, 1] - NU[d, 0], NU[d, 0]
            lines.append((LAM[f"{d}c"], contrast))
            lines.append((LAM[f"{d}m"], LAM[f"{d}c"] + T * other))
        return lines

    def eigenvalue_lines(self, degrees: Sequence[int] = (0, 1)) -> Lines:
        """Return the same after the number of prompts, and the formula of the kernel."""
        lines: Lines = [(PROMPTS, self.environment.prompt_count())]
        kernel = self.kernel
        if not (kernel.expression is None or kernel.is_general or kernel.is_polynomial):
            lines.append((GENERAL(MATCHED, SAME, AT_ONCE), kernel.expression))
        return lines + self.spectrum_lines(degrees)

    def prompt_lines(self, K: sp.Expr, degrees: Sequence[int] = (0, 1)) -> Lines:
        """Return what the kernel makes of a prompt of K tasks, line by line."""
        lines = [
            (symbol, self.at_degree(d, same, K)) for (d, same), symbol in MU.items() if d in degrees
        ]
        return lines + [(DIFFERENCE[d], MU[d, 1] - MU[d, 0]) for d in degrees]

    def gain_lines(self, K: sp.Expr, time: sp.Expr) -> Lines:
        """Return everything up to the gains of the modes, line by line."""
        gains = [(GAIN[x], self.gain(x, time)) for x in MODES]
        return [*self.eigenvalue_lines(), *self.prompt_lines(K), *gains]

    def response_lines(self, K: sp.Expr) -> Lines:
        """Return the parts of the output at a prompt of K tasks, line by line."""
        response = self.response(K)
        symbols = (CONSTANT, WRITTEN, SELECTED, SPREAD)
        return [(symbol, response[part]) for symbol, part in zip(symbols, PARTS, strict=True)]

    def rate(self, x: str) -> sp.Expr:
        """Return the rate at which a mode is learned, per flow time."""
        if self.never(x):
            return sp.S.Zero
        return 2 * self.factor * LAM[x] / PROMPTS

    def never(self, x: str) -> bool:
        """Whether a mode is never learned: its eigenvalue is 0 for all numbers."""
        return self.eigenvalues[x] == 0

    def learned(self, x: str, time: sp.Expr) -> sp.Expr:
        """Return the learned share of a mode."""
        if self.never(x):
            return sp.S.Zero
        return sp.S.One if time == sp.oo else 1 - sp.exp(-self.rate(x) * time)

    def gain(self, x: str, time: sp.Expr) -> sp.Expr:
        """Return the learned share over the eigenvalue; its limit where that is 0."""
        if not self.never(x):
            return self.learned(x, time) / LAM[x]
        if time != sp.oo:
            return 2 * self.factor * time / PROMPTS
        if self.kernel.is_alike:
            # It stands beside a factor 0.
            return sp.S.Zero
        raise OutsideValidity(
            f"The eigenvalue {x} of the training kernel is 0, and the kernel depends on the number "
            f"of tasks: outputs at prompts of several tasks grow without end. Give a time."
        )

    @cached_property
    def training(self) -> sp.Expr:
        """The output on training prompts, in `LEARNED`."""
        return sp.Add(*(LEARNED[x] * mode for x, mode in self.environment.modes.items()))

    def response(self, K: sp.Expr) -> dict[sp.Expr, sp.Expr]:
        """Return what multiplies each part in the output at a prompt of K tasks.

        The weights of the training prompts are `GAIN` times the modes; the kernel gives tasks of
        the prompt `DIFFERENCE` more than all others.
        """
        if K not in self._kept:
            self._kept[K] = self._response(K)
        return dict(self._kept[K])

    def _response(self, K: sp.Expr) -> dict[sp.Expr, sp.Expr]:
        weights = sp.Add(*(GAIN[x] * mode for x, mode in self.environment.modes.items()))
        every, own = over_all_tasks(self.environment), over_own_tasks(K)
        total = sp.Add(
            *(
                factor * (MU[PARTS[part], 0] * every[part] + DIFFERENCE[PARTS[part]] * own[part])
                for part, factor in coefficients(sp.expand(weights)).items()
            )
        )
        gains = (*DIFFERENCE.values(), *MU.values())
        return {
            part: sp.collect(sp.expand(e), gains, sp.factor)
            for part, e in coefficients(sp.expand(total)).items()
        }

    def margin(self, selected: sp.Expr, spread: sp.Expr) -> sp.Expr:
        r"""Return $b + \min(-(G - 2) a, G a)$.

        The right unit leads another of its group by $b + a (n - n')$, where $n \ge 1$ and
        $n' \le G - 1$ stimulus groups show the one feature and the other.
        """
        G = self.environment.groups
        return selected + sp.Min(-(G - 2) * spread, G * spread)

    def threshold(self, K: sp.Expr) -> sp.Expr:
        """Return the share of 1c at which the margin becomes positive, 1m being learned."""
        response = self.response(K)
        done = {GAIN["1m"]: 1 / LAM["1m"], GAIN["1c"]: THRESHOLD / LAM["1c"]}
        early = response[READ] - (self.environment.groups - 2) * response[POOLED]
        line = sp.Poly(early.subs(done), THRESHOLD)
        return gathered(-line.coeff_monomial(1) / line.coeff_monomial(THRESHOLD), K)

    @property
    def alike(self) -> dict[sp.Expr, sp.Expr]:
        """What a kernel that does not see K makes of the prompt's eigenvalues."""
        found: dict[sp.Expr, sp.Expr] = {}
        for d in (0, 1):
            mean, contrast = LAM[f"{d}m"], LAM[f"{d}c"]
            found[DIFFERENCE[d]] = contrast
            found[MU[d, 0]] = (mean - contrast) / self.environment.task_count
        return found

    @cached_property
    def mean_is_faster(self) -> bool:
        r"""Whether $\lambda_{1c} \le \lambda_{1m}$ for all sizes, as far as signs show it."""
        rest = self.kernel.written_out(self.at_degree(1, 0))
        if rest.is_number:
            return bool(rest >= 0)
        sizes = self.environment.groups, self.environment.features
        above = {
            size: 2 + sp.Dummy(integer=True, nonnegative=True) for size in sizes if size.is_Symbol
        }
        return sp.expand(rest.subs(above)).is_nonnegative is True


def needed(expression: sp.Expr, lines: Lines) -> tuple[tuple[Any, Any], ...]:
    """Return the lines that an expression needs, directly or through others."""
    parts, found = [expression], []
    for symbol, meaning in reversed(lines):
        if any(part.has(symbol.func if symbol.is_Function else symbol) for part in parts):
            parts.append(as_sympy(meaning))
            found.append((symbol, meaning))
    return tuple(found[::-1])


def gathered(expression: sp.Expr, K: sp.Expr) -> sp.Expr:
    """Return a fraction in factors, each ordered by the ratio of eigenvalues and by K."""
    letters = [symbol for symbol in (RATIO, K) if symbol.is_Symbol]
    return sp.factor(expression).replace(
        lambda part: part.is_Add, lambda part: sp.collect(part, letters)
    )


def tidy(expression: sp.Expr, environment: SymbolicMultitasking) -> sp.Expr:
    """Return a polynomial in sizes and kernel's symbols with its power of M in front."""
    G, M = environment.groups, environment.features
    if expression.has(sp.Sum) or not M.is_Symbol:
        return expression
    numerator, denominator = sp.fraction(sp.together(sp.expand(expression * M**-G)))
    letters = sorted(numerator.free_symbols - {G, M}, key=str)
    plain = sp.expand(numerator)
    if plain.has(M**G) or not plain.is_polynomial(M, *letters):
        return expression
    collected = sp.collect(plain, letters, sp.factor) if letters else sp.factor(plain)
    return sp.powsimp(M**G / denominator) * collected
