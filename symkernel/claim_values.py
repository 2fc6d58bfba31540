r"""What a claim may be about, read off weights along a flow; and the values of the claim itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.errors import InvalidArgument
from symkernel.problem.modes import Basis, common_basis
from symkernel.problem.problem import Problem

DIGITS = 30
# Kinds of observables: their indices in words, and the letter that stands for them.
_KINDS = {
    "loss": ((), "L"),
    "mode": (("mode",), "u"),
    "output": (("sample", "output"), "f"),
    "hidden_gram": (("sample", "sample"), "H"),
    "ntk": (("sample", "output", "sample", "output"), "K"),
}


@dataclass(frozen=True)
class Observable:
    """A number that a linear network has at every time.

    Parameters
    ----------
    kind : {"loss", "mode", "output", "hidden_gram", "ntk"}
    index : tuple of int
        Which mode; which sample and output; which samples; which samples and outputs.
    """

    kind: str
    index: tuple[int, ...] = ()

    @classmethod
    def of(cls, value: object, problem: Problem) -> Observable:
        """Return the observable that a user names, "loss" or (kind, index, ...).

        Raises
        ------
        InvalidArgument
            If the problem has no such observable.
        """
        kind, *index = value if isinstance(value, tuple) and value else (value,)
        inputs, outputs = int(problem.network.inputs), int(problem.network.outputs)
        samples = [phase.task.X for phase in problem.curriculum.phases]
        if isinstance(kind, str) and kind in _KINDS and len(index) == len(_KINDS[kind][0]):
            if "sample" in _KINDS[kind][0] and any(X is None for X in samples):
                raise InvalidArgument(
                    f"Argument 'observable' must be 'loss' or ('mode', k) for a task without "
                    f"samples, not {value!r}; give the task as Task(X, Y)."
                )
            if kind == "hidden_gram" and len(problem.network.parameters) == 1:
                raise InvalidArgument(
                    "Argument 'observable' must be 'loss' or another one for a network without "
                    "hidden layer, not ('hidden_gram', ...)."
                )
            counts = {"mode": min(inputs, outputs), "output": outputs}
            counts["sample"] = min((len(X) for X in samples if X is not None), default=0)
            fits = (
                isinstance(k, (int, np.integer))
                and not isinstance(k, bool)
                and 0 <= k < counts[word]
                for k, word in zip(index, _KINDS[kind][0], strict=True)
            )
            if all(fits):
                return cls(kind, tuple(map(int, index)))
        raise InvalidArgument(
            f"Argument 'observable' must be 'loss' or ('mode', k) with 0 <= k < "
            f"{min(inputs, outputs)}, or ('output', sample, k), ('hidden_gram', i, j) or "
            f"('ntk', i, k, j, l) with samples i, j and outputs k, l of the task, not {value!r}."
        )

    @property
    def letter(self) -> str:
        """The letter that stands for it in a report."""
        return _KINDS[self.kind][1]

    def __str__(self) -> str:
        return " ".join([self.kind, ", ".join(map(str, self.index))]).strip()

    def along(
        self, problem: Problem, weights: Mapping[str, np.ndarray], times: np.ndarray
    ) -> np.ndarray:
        """Return its values from weights of shape (n_times,) + that of the parameter."""
        layers = [float(p.scale) * weights[p.name] for p in problem.network.parameters]
        running = [problem.curriculum.phase_at(float(time)) for time in times]
        tasks = [problem.curriculum.phases[k].task for k in running]
        if self.kind == "mode":
            basis, (k,) = mode_basis(problem), self.index
            return np.einsum("o,toi,i->t", basis.U[:, k], _product(layers), basis.V[:, k])
        if self.kind == "loss":
            found = [
                np.trace(task.Syy) - 2 * (A * task.Syx).sum() + (A @ task.Sxx * A).sum()
                for task, A in zip(tasks, _product(layers), strict=True)
            ]
            return float(problem.loss.factor) * np.array(found)
        if self.kind == "output":
            i, k = self.index
            x = np.array([task.X[i] for task in tasks])
            return np.einsum("ti,ti->t", _product(layers)[:, k], x)
        if self.kind == "hidden_gram":
            i, j = self.index
            one, other = _activities(layers[:-1], tasks, i, j)
            return np.einsum("th,th->t", one, other)
        return _tangent_kernel(problem, layers, tasks, self.index)


def mode_basis(problem: Problem) -> Basis:
    """Return the basis in which the modes of a problem are counted."""
    tasks = [phase.task for phase in problem.curriculum.phases]
    arrays = [problem.weights.arrays[p.name] for p in problem.network.parameters]
    return common_basis(tasks, *arrays) if len(arrays) == 2 else common_basis(tasks)


def _product(layers: list[np.ndarray]) -> np.ndarray:
    """Return the end-to-end map at every time, (n_times, n_outputs, n_inputs)."""
    return reduce(lambda product, layer: layer @ product, layers)


def _activities(
    layers: list[np.ndarray], tasks: list[Any], *samples: int
) -> tuple[np.ndarray, ...]:
    """Return the activity behind the layers for each sample, (n_times, size)."""
    found = []
    for i in samples:
        activity = np.array([task.X[i] for task in tasks])
        for layer in layers:
            activity = np.einsum("toi,ti->to", layer, activity)
        found.append(activity)
    return tuple(found)


def _tangent_kernel(
    problem: Problem, layers: list[np.ndarray], tasks: list[Any], index: tuple[int, ...]
) -> np.ndarray:
    r"""Sum over layers of $r c^2 (A A^T)_{kl}\, h(x_i) \cdot h(x_j)$, A after and h before it."""
    i, k, j, l = index
    total = np.zeros(len(tasks))
    for depth, p in enumerate(problem.network.parameters):
        one, other = _activities(layers[:depth], tasks, i, j)
        similarity = float(p.rate * p.scale**2) * np.einsum("th,th->t", one, other)
        if depth + 1 == len(layers):
            total += similarity * (k == l)
        else:
            after = _product(layers[depth + 1 :])
            total += similarity * np.einsum("th,th->t", after[:, k], after[:, l])
    return total


def evaluate(claim: sp.Expr, times: np.ndarray) -> np.ndarray:
    """Return a formula's values; what is not real and finite is refused."""
    return np.array([float(value) for value in numbers(claim, times)])


def numbers(claim: sp.Expr, times: np.ndarray) -> list[sp.Expr]:
    """Return a formula's values with many digits; what is not real and finite is refused."""
    try:
        found = [claim.evalf(DIGITS, subs={notation.t: float(t)}) for t in times]
        plain = [complex(value) for value in found]
    # Which of these SymPy raises depends on the function that it has no number for.
    except (TypeError, ValueError, NotImplementedError, ArithmeticError):
        raise InvalidArgument(
            f"Argument 'formula' must have a number as value at all times, but {claim} has none."
        ) from None
    bad = next((k for k, v in enumerate(plain) if v.imag or not np.isfinite(v.real)), None)
    if bad is not None:
        raise InvalidArgument(
            f"Argument 'formula' must be finite and real at all times, but is {plain[bad]} at "
            f"t = {times[bad]:g}."
        )
    return [sp.re(value) for value in found]
