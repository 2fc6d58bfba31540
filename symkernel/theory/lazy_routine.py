"""The lazy law in numbers: outputs at prompts over times, margins, and when they turn positive."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

from symkernel.codegen.elementwise import ElementwiseRoutine, Lowered, compile_elementwise
from symkernel.codegen.functions import decay, rise, tanhc
from symkernel.environments.multitasking import Multitasking, Prompts
from symkernel.environments.symbolic_multitasking import (
    ADDRESSED,
    AT_ONCE,
    POOLED,
    READ,
    SymbolicMultitasking,
)
from symkernel.errors import (
    InvalidArgument,
    OutsideValidity,
    as_positive,
    as_times,
    refuse_large,
)
from symkernel.notation import t
from symkernel.theory.lazy_explicit import parts_of
from symkernel.theory.lazy_formulas import (
    CONSTANT,
    DIFFERENCE,
    GAIN,
    MODES,
    MU,
    SELECTED,
    SPREAD,
    WRITTEN,
    LazyFormulas,
)
from symkernel.theory.lazy_kernels import number

if TYPE_CHECKING:
    from symkernel.theory.lazy_multitasking import LazyMultitasking

__all__ = ["LazyRoutine"]

_G, _M = sp.symbols("groups features", integer=True, positive=True)
_RATE = {x: sp.Symbol(f"rate_{x}", nonnegative=True) for x in MODES}
_PACE = {x: sp.Symbol(f"pace_{x}", nonnegative=True) for x in MODES}
_ARGUMENTS = (_G, _M, AT_ONCE, *MU.values(), *_RATE.values(), *_PACE.values())
_NAMES = {CONSTANT: sp.S.One, WRITTEN: ADDRESSED, SELECTED: READ, SPREAD: POOLED}
# Eigenvalues below this share of the largest are rounding.
_ROUNDING = 1e-13
# Halvings of an interval of times: to the last bit.
_HALVINGS = 120


@cache
def _routine() -> ElementwiseRoutine:
    """Return the response to prompts, compiled once for all environments and kernels."""
    formulas = LazyFormulas.of_any_kernel(SymbolicMultitasking(_G, _M))
    # (1 - exp(-x)) / x is entire: an eigenvalue 0 needs no case.
    lines = [
        (GAIN[x], _PACE[x] * t * tanhc(_RATE[x] * t / 2) * (1 + decay(_RATE[x] * t)) / 2)
        for x in MODES
    ]
    lines += [(DIFFERENCE[d], MU[d, 1] - MU[d, 0]) for d in (0, 1)]
    response = formulas.response(AT_ONCE)
    lines += [(symbol, response[part]) for symbol, part in _NAMES.items()]
    outputs = [(symbol.name, symbol) for symbol in _NAMES]
    outputs.append(("margin", formulas.margin(SELECTED, SPREAD)))
    outputs += [(x, rise(_RATE[x] * t)) for x in MODES]
    return compile_elementwise(Lowered(_ARGUMENTS, t, tuple(lines), tuple(outputs)))


@dataclass(frozen=True, eq=False)
class LazyRoutine:
    """Outputs and margins of a lazy law with numbers for all symbols.

    Attributes
    ----------
    law : LazyMultitasking
        Without symbols.
    """

    law: LazyMultitasking
    _kept: dict[int, list[float]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.eigenvalues  # noqa: B018  # says now what is wrong with them

    @property
    def source(self) -> str:
        """The module that is compiled."""
        return _routine().source

    @cached_property
    def environment(self) -> Multitasking:
        """The environment with arrays."""
        return self.law.environment.with_values({})

    @cached_property
    def eigenvalues(self) -> dict[str, float]:
        """The four eigenvalues of the training kernel; what is only rounding is 0."""
        found = {x: float(number(e)) for x, e in self.law.eigenvalues.items()}
        top = max(map(abs, found.values()))
        for x, value in found.items():
            if not np.isfinite(value) or value < -_ROUNDING * top:
                raise InvalidArgument(
                    f"Argument 'kernel' must be positive semi-definite, but its eigenvalue {x} is "
                    f"{value:.6g}: gradient flow would diverge."
                )
        return {x: value if value > _ROUNDING * top else 0.0 for x, value in found.items()}

    def _prompt(self, K: int) -> list[float]:
        """Return the eigenvalues of the kernel of prompts of K tasks."""
        if K not in self._kept:
            found = (self.law.parts.at_degree(d, same, sp.Integer(K)) for d, same in MU)
            self._kept[K] = [float(number(self.law.kernel.written_out(e))) for e in found]
        return self._kept[K]

    def _evaluated(self, times: Any, tasks: list[int], learning_rate: Any) -> dict[str, np.ndarray]:
        """Return each coefficient as an array (n_times, number of K)."""
        clock = as_times(times)
        rates, paces = self._rates(learning_rate)
        G, M = self.environment.groups, self.environment.features
        rows = [[G, M, K, *self._prompt(K), *rates, *paces] for K in tasks]
        return _routine()(clock, *np.array(rows, dtype=float).T)

    def _rates(self, learning_rate: Any) -> tuple[list[float], list[float]]:
        r"""Return the rate of every mode and, over its eigenvalue, its pace.

        Steps of gradient descent leave $(1 - \eta r)^n = e^{-\tilde r t}$ with
        $\tilde r = -\ln(1 - \eta r)/\eta$ at $t = \eta n$.
        """
        pace = 2 * float(number(self.law.loss.factor)) / float(self.law.environment.prompt_count())
        rates = [pace * value for value in self.eigenvalues.values()]
        if learning_rate is None:
            return rates, [pace] * len(rates)
        eta = as_positive(learning_rate, "learning_rate")
        if eta * max(rates) >= 1:
            raise OutsideValidity(
                f"Argument 'learning_rate' must be below {1 / max(rates):.6g}, half the stable "
                f"limit, not {eta:g}: above it outputs alternate from step to step."
            )
        slowed = [-np.log1p(-eta * r) / eta for r in rates]
        paces = [pace * (new / old if old else 1.0) for new, old in zip(slowed, rates, strict=True)]
        return slowed, paces

    def __call__(
        self, times: Any, prompts: Prompts | None = None, *, learning_rate: Any = None
    ) -> np.ndarray:
        """Return the outputs at prompts, shape (n_times, n_prompts, G M).

        Parameters
        ----------
        times : array_like, shape (n_times,)
            Flow times.
        prompts : Prompts, optional
            Of this environment, of any numbers of tasks; the training prompts by default.
        learning_rate : float, optional
            Of gradient descent in discrete steps, at times that are multiples of it; the gradient
            flow by default.

        Raises
        ------
        OutsideValidity
            If outputs would alternate from step to step, from half the stable learning rate on.
        """
        asked = self.environment.single if prompts is None else prompts
        if not isinstance(asked, Prompts) or asked.environment != self.environment:
            raise InvalidArgument(
                f"Argument 'prompts' must be prompts of {self.environment}, not {prompts!r}."
            )
        clock = as_times(times)
        refuse_large((len(clock), *asked.Y.shape), "outputs")
        sizes = [len(one) for one in asked.sets]
        tasks = sorted(set(sizes))
        found = self._evaluated(clock, tasks, learning_rate)
        column = np.array([tasks.index(size) for size in sizes])[asked.set_of]
        c, written, selected, spread = (
            found[symbol.name][:, column, None, None] for symbol in _NAMES
        )
        addressed, read, pooled = parts_of(asked)
        outputs = c + written * addressed + selected * read + spread * pooled
        return outputs.reshape(len(clock), *asked.Y.shape)

    def learned(self, times: Any, *, learning_rate: Any = None) -> dict[str, np.ndarray]:
        """Return the share of every mode that is learned, arrays of shape (n_times,).

        Parameters
        ----------
        times : array_like, shape (n_times,)
        learning_rate : float, optional
            Of discrete steps, as in a call.
        """
        found = self._evaluated(times, [1], learning_rate)
        return {x: found[x][:, 0] for x in MODES}

    def margin(self, times: Any, K: int, *, learning_rate: Any = None) -> np.ndarray:
        """Return the least lead of the right unit over all prompts of K tasks, shape (n_times,).

        All of these prompts are answered right where it is positive.

        Parameters
        ----------
        times : array_like, shape (n_times,)
        K : int
        learning_rate : float, optional
            Of discrete steps, as in a call.
        """
        count = self._count(K)
        return self._evaluated(times, [count], learning_rate)["margin"][:, 0]

    def _count(self, K: object) -> int:
        count = self.law.environment.at_once(K)
        if not count.is_Integer:
            raise InvalidArgument(f"Argument 'K' must be a number here, not {K!r}.")
        return int(count)

    def time(self, K: int) -> float:
        """Return the flow time from which K tasks are done at once; inf if it never comes.

        The margin's first change of sign, bisected to the last bit.

        Parameters
        ----------
        K : int
        """
        count = self._count(K)
        positive = [rate for rate in self._rates(None)[0] if rate]
        # From before anything is learned until everything is that will be.
        times = np.geomspace(1e-6 / max(positive), 40 / min(positive), 4000)
        above = self._evaluated(times, [count], None)["margin"][:, 0] > 0
        if not above.any():
            return float("inf")
        first = int(above.argmax())
        if first == 0:
            return 0.0
        low, high = times[first - 1], times[first]
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if not low < middle < high:
                break
            up = self._evaluated([middle], [count], None)["margin"][0, 0] > 0
            low, high = (low, middle) if up else (middle, high)
        return float(high)
