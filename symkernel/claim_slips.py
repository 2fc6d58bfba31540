r"""The usual slips: which factor of time or amplitude turns a failing claim into a right one.

Most conjectures that fail are right up to a convention: the 1/2 of the loss, a sum in place of a
mean, time counted in steps. Each such factor that the problem knows is tried, in time, in
amplitude and in both, under the same bounds as the claim itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial

import numpy as np
import sympy as sp
from mpmath import mp

from symkernel import notation
from symkernel.claim_values import DIGITS, Observable, evaluate, mode_basis
from symkernel.problem.problem import Problem
from symkernel.trajectory import Trajectory

_PROBES = 3
_FITTED = 12
# Factors of time from which the best fit is sought.
_STARTS = 2.0 ** np.arange(-5, 6)
# Of the logarithm of a fitted factor of time; beyond it a claim is as good as constant.
_FARTHEST = 7.0


@dataclass(frozen=True)
class Slip:
    """A factor that is easily forgotten or counted twice, and the question that it raises."""

    value: sp.Expr
    name: str
    question: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.question})" if self.question else self.name


@dataclass(frozen=True, eq=False)
class Misfit:
    """A claim that failed.

    Attributes
    ----------
    claim : sympy.Expr
    letter : str
        The letter that stands for what it is about.
    times, flow : ndarray
        The right values.
    bound : float
        Largest distance from them, relative to the largest, that counts as right.
    holds : callable
        Whether another formula passes what this one failed.
    """

    claim: sp.Expr
    letter: str
    times: np.ndarray
    flow: np.ndarray
    bound: float
    holds: Callable[[sp.Expr], bool]

    @cached_property
    def quickly(self) -> Callable[[np.ndarray], np.ndarray]:
        """The claim as a function of times, many times faster than `evaluate` where it can be."""
        formula = sp.lambdify(notation.t, self.claim, "mpmath")

        def values(times: np.ndarray) -> np.ndarray:
            with mp.workdps(DIGITS):
                found = [complex(formula(mp.mpf(float(t)))) for t in times]
            return np.array([v.real if abs(v.imag) <= 1e-20 * abs(v) else np.nan for v in found])

        try:
            error = np.abs(values(self.few) - evaluate(self.claim, self.few)).max()
        except (TypeError, ValueError, NameError, ArithmeticError):
            error = np.inf
        return values if error <= self.bound * self.scale else partial(evaluate, self.claim)

    def at(self, times: np.ndarray) -> np.ndarray:
        """Return values of the claim; NaN where it has none."""
        try:
            return self.quickly(times)
        except (TypeError, ValueError, ArithmeticError):
            return np.full(len(times), np.nan)

    @property
    def few(self) -> np.ndarray:
        """A few of the times, from first to last."""
        return self.times[_spread(len(self.times))]

    @property
    def scale(self) -> float:
        """Largest value along the flow."""
        return max(float(np.abs(self.flow).max()), 1e-300)

    def rescaled(self, time: sp.Expr, amplitude: sp.Expr) -> sp.Expr:
        """Return the claim at other units of time and amplitude."""
        return amplitude * self.claim.subs(notation.t, time * notation.t)


def _spread(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, _FITTED).astype(int))


def usual_slips(
    problem: Problem, observable: Observable, against: Trajectory | None
) -> dict[str, tuple[Slip, ...]]:
    """Return the factors of "time" and of "amplitude" that a problem with numbers knows."""
    halves = "is your loss 1/2 or 1 of the squared error?"
    layers, about_loss = problem.network.parameters, observable.kind == "loss"
    counts = {len(phase.task.X) for phase in problem.curriculum.phases if phase.task.X is not None}
    shared = [("the number of samples", k, "sum or mean over samples?") for k in sorted(counts)]
    shared += [
        ("the number of outputs", layers[-1].shape[0], "sum or mean over outputs?"),
        ("the number of inputs", layers[0].shape[1], "inputs of variance 1 or 1/inputs?"),
    ]
    if len(layers) > 1:
        shared.append(("the number of hidden units", layers[0].shape[0], "scaled with the width?"))
    for variance in _variances(problem, observable):
        shared.append(("the input variance", variance, "are your inputs white?"))
    scale = sp.Mul(*(p.scale for p in layers))
    shared.append(("the factor of the parameterisation", scale, "standard or NTK?"))
    loss = ("the loss factor 2 kappa", 2 * problem.loss.factor, "is your kappa 1/2?")
    depth = ("the number of layers", len(layers), "does one layer move, or all?")
    in_time = [("a factor 2", 2, halves), ("a factor 4", 4, ""), loss, depth, *shared]
    in_amplitude = [("a factor 2", 2, halves if about_loss else ""), ("a factor 4", 4, ""), *shared]
    in_amplitude += [loss] * about_loss
    if against is not None and against.steps is not None and against.steps[-1] > 0:
        rate = _exact(float(against.times[-1] / against.steps[-1]))
        in_time.append(("the learning rate", rate, "is your time counted in steps?"))
    return {"time": _both_ways(in_time), "amplitude": _both_ways(in_amplitude)}


def _variances(problem: Problem, observable: Observable) -> list[sp.Expr]:
    """Return the input variance of the mode, or the one that all modes share."""
    basis = mode_basis(problem)
    if observable.kind == "mode":
        found = (_exact(float(row[observable.index[0]])) for row in basis.d)
        return list(dict.fromkeys(found))
    shared = np.ptp(basis.d) <= 1e-12 * basis.d.max()
    return [_exact(float(basis.d.flat[0]))] if shared else []


def _exact(value: float) -> sp.Expr:
    """Return the fraction that a measured number is, if it is a simple one."""
    simple = Fraction(value).limit_denominator(10**6)
    near = abs(float(simple) - value) <= 1e-12 * abs(value)
    return sp.Rational(simple.numerator, simple.denominator) if near else sp.Float(value)


def _both_ways(factors: Sequence[tuple[str, object, str]]) -> tuple[Slip, ...]:
    slips = []
    for name, number, question in factors:
        value = sp.S(number)  # an integer or an expression of ours, never text
        if value.is_positive and value != 1:
            slips.append(Slip(value, name, question))
            inverse = f"a factor 1/{value}" if name.startswith("a factor") else f"1 / {name}"
            slips.append(Slip(1 / value, inverse, question))
    return tuple(slips)


def explained(misfit: Misfit, slips: dict[str, tuple[Slip, ...]]) -> tuple[str, ...]:
    """Return the slips that make the claim pass, in words; the simplest ones alone.

    Where none does, the best-fitting factors and what they leave.
    """
    # Rescaled, a claim may leave the floating-point numbers.
    with np.errstate(all="ignore"):
        found = _passing(misfit, _grouped(slips["time"]), _grouped(slips["amplitude"]))
        return tuple(_in_words(misfit, *pair, slips) for pair in found) or (_best_fit(misfit),)


def _grouped(slips: Sequence[Slip]) -> list[sp.Expr]:
    """Return the different values, 1 first, each with both signs."""
    values: list[sp.Expr] = [sp.S.One]
    values += [s.value for s in slips if not any(_same(s.value, v) for v in values)]
    return [sign * value for value in dict.fromkeys(values) for sign in (1, -1)]


def _same(one: sp.Expr, other: sp.Expr) -> bool:
    return abs(float(one) - float(other)) <= 1e-12 * abs(float(other))


def _passing(
    misfit: Misfit, in_time: list[sp.Expr], in_amplitude: list[sp.Expr]
) -> list[tuple[sp.Expr, sp.Expr]]:
    probes = np.linspace(0, len(misfit.times) - 1, _PROBES + 1).astype(int)[1:]
    wanted, largest = misfit.flow[probes], misfit.bound * misfit.scale
    near: dict[int, list[tuple[sp.Expr, sp.Expr]]] = {}
    for time in in_time:
        values = misfit.at(float(time) * misfit.times[probes])
        for amplitude in in_amplitude:
            if np.abs(float(amplitude) * values - wanted).max() <= largest:
                near.setdefault(_changes(time) + _changes(amplitude), []).append((time, amplitude))
    for changes in sorted(near):
        passing = [pair for pair in near[changes] if misfit.holds(misfit.rescaled(*pair))]
        if changes and passing:
            return passing
    return []


def _changes(factor: sp.Expr) -> int:
    return int(factor.is_negative is True) + int(abs(factor) != 1)


def _in_words(
    misfit: Misfit, time: sp.Expr, amplitude: sp.Expr, slips: dict[str, tuple[Slip, ...]]
) -> str:
    parts = {"time": ("t", time), "amplitude": (misfit.letter, amplitude)}
    moved = {kind: part for kind, part in parts.items() if part[1] != 1}
    arrows = " and ".join(_arrow(*part) for part in moved.values())
    reasons = [_reason(kind, factor, slips[kind]) for kind, (_, factor) in moved.items()]
    return f"passes with {arrows}: {'; '.join(reasons)}"


def _arrow(letter: str, factor: sp.Expr) -> str:
    if abs(factor) == 1:
        return f"{letter} -> {'-' if factor == -1 else ''}{letter}"
    return f"{letter} -> {_number(factor)} {letter}"


def _number(value: sp.Expr) -> str:
    short = value.is_Rational and max(abs(value.p), value.q) < 10**4
    return str(value) if short else f"{float(value):.10g}"


def _reason(kind: str, factor: sp.Expr, slips: Sequence[Slip]) -> str:
    size = abs(factor)
    names = [str(slip) for slip in slips if size != 1 and _same(slip.value, size)]
    sign = ["the sign"] if factor.is_negative else []
    return f"in {kind} {' and '.join([*sign, *([' or '.join(names)] if names else [])])}"


def _best_fit(misfit: Misfit) -> str:
    """Fit one factor of time and one of amplitude by least squares."""
    from scipy.optimize import least_squares

    head = "no usual factor of time or amplitude explains the misfit"
    times, wanted = misfit.few, misfit.flow[_spread(len(misfit.times))] / misfit.scale

    def at(log_time: float, moments: np.ndarray) -> np.ndarray:
        return misfit.at(np.exp(log_time) * moments) / misfit.scale

    starts = []
    for log_time in np.log(_STARTS):
        values = at(log_time, times)
        square = float(values @ values)
        if np.isfinite(square) and square > 0:
            amplitude = float(values @ wanted) / square
            error = float(np.sum((amplitude * values - wanted) ** 2))
            starts.append((error, log_time, amplitude))
    if not starts:
        return head
    _, *begin = min(starts)
    try:
        fit = least_squares(
            lambda x: x[1] * at(x[0], times) - wanted, begin, xtol=1e-15, ftol=1e-15, gtol=1e-15,
            bounds=([-_FARTHEST, -np.inf], [_FARTHEST, np.inf]),
        )  # fmt: skip
    except ValueError:
        # The claim has no values beside the best start.
        return head
    log_time, amplitude = fit.x
    left = np.abs(amplitude * at(log_time, misfit.times) - misfit.flow / misfit.scale).max()
    digits = int(np.clip(2 - np.log10(max(left, 1e-300)), 3, 10))
    u = misfit.letter
    return (
        f"{head}; the best fit, t -> {np.exp(log_time):.{digits}g} t and "
        f"{u} -> {amplitude:.{digits}g} {u}, still misses by {left:.1e} of the largest value"
    )
