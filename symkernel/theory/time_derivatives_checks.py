r"""The hierarchy of time derivatives, judged by two ways that know nothing of it.

Blind differentiation: the network's outputs and its loss are written out in the weights, and
$\sum_w \dot w\, \partial_w$ is applied again and again. The flow: the gradient of that loss is
integrated to 40 digits by extrapolation, and the error of every truncation is regressed on time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import mpmath as mp
import numpy as np
import sympy as sp

from symkernel.check_report import CheckReport, Rung
from symkernel.problem.activation import ARGUMENT
from symkernel.problem.nodes import Apply, Bias, Gate, Input, Linear, Node, Slice, Sum

if TYPE_CHECKING:
    from symkernel.theory.time_derivatives import TimeDerivatives

__all__ = ["Written", "check"]

_DIGITS = 60
# What is smaller is rounding.
_NOTHING = mp.mpf(10) ** -50
_BLIND_BOUND, _SLOPE_BOUND = 1e-40, 0.05
# Times of the regression, halved from a small share of the estimated radius of convergence.
_TIMES, _SHARE = 5, mp.mpf(1) / 200
# Rows of the extrapolation: errors of the midpoint rule are a series in the step's square.
_ROWS = 10
# Orders that are differentiated blindly up to so many weights times samples.
_BLIND = ((3, 8), (2, 12), (1, math.inf))


@dataclass(frozen=True, eq=False)
class Written:
    """A network and its loss written out in the weights, without any of the hierarchy's names."""

    found: TimeDerivatives

    @cached_property
    def values(self) -> list[dict[Node, list[sp.Expr]]]:
        """Values of all nodes, for each sample."""
        return [self._at(i) for i in self.found.data.samples]

    def _at(self, i: int) -> dict[Node, list[sp.Expr]]:
        data = self.found.data
        values: dict[Node, list[sp.Expr]] = {}
        for node in self.found.net.order:
            match node:
                case Input():
                    values[node] = list(data.X.row(i))
                case Slice(child=child, start=start, stop=stop):
                    values[node] = values[child][int(start) : int(stop)]
                case Linear(parameter=p, child=child) if p.kind == "dense":
                    values[node] = [
                        p.scale * sum(w * v for w, v in zip(row, values[child], strict=True))
                        for row in self._entries(p)
                    ]
                case Linear(parameter=p, child=child):
                    pairs = zip(self._entries(p), values[child], strict=True)
                    values[node] = [p.scale * w * v for w, v in pairs]
                case Bias(parameter=p):
                    values[node] = [p.scale * w for w in self._entries(p)]
                case Sum(terms=terms):
                    values[node] = [
                        sp.Add(*parts) for parts in zip(*(values[q] for q in terms), strict=True)
                    ]
                case Gate(name=name, child=child):
                    gate = list(data.gates[name].row(i)) * len(values[child])
                    values[node] = [g * v for g, v in zip(gate, values[child], strict=False)]
                case Apply(activation=phi, child=child):
                    values[node] = [phi.expression.xreplace({ARGUMENT: v}) for v in values[child]]
        return values

    def _entries(self, p: Any) -> list[Any]:
        symbols = np.array([q for q, owner in self.owners if owner is p], dtype=object).reshape(
            [int(k) for k in p.shape]
        )
        return symbols.tolist()

    @cached_property
    def owners(self) -> list[tuple[sp.Symbol, Any]]:
        """Every weight's symbol with the parameter that it belongs to."""
        parameters = [
            p for p in self.found.net.parameters for _ in range(math.prod(map(int, p.shape)))
        ]
        return list(zip(self.found.weights, parameters, strict=True))

    @cached_property
    def velocity(self) -> dict[sp.Symbol, sp.Expr]:
        """Minus the gradient of the loss, times rates, for the trained weights."""
        data, net = self.found.data, self.found.net
        loss = self.found.loss.factor * sum(
            share
            * sum((f - y) ** 2 for f, y in zip(values[net.output], data.Y.row(i), strict=True))
            for i, (share, values) in enumerate(zip(data.shares, self.values, strict=True))
        )
        return {q: -p.rate * sp.diff(loss, q) for q, p in self.owners if p.trained}

    def along(self, expression: sp.Expr) -> sp.Expr:
        """Return the time derivative of a function of the weights."""
        return sp.Add(*(sp.diff(expression, q) * v for q, v in self.velocity.items()))

    def entry(self, k: int) -> sp.Expr:
        """Return an entry of what is differentiated."""
        found = self.found
        if found.of != "ntk":
            i, j = divmod(k, found.shape[1])
            return self.values[i][found.net.node(found.of)][j]
        i, o, m, c = (int(part) for part in np.unravel_index(k, found.shape))
        one, two = (self.values[a][found.net.output][b] for a, b in ((i, o), (m, c)))
        return sp.Add(
            *(p.rate * sp.diff(one, q) * sp.diff(two, q) for q, p in self.owners if p.trained)
        )


def check(found: TimeDerivatives, seed: int) -> CheckReport:
    """Return the report of the blind differentiation and of the slopes of the series' errors."""
    numbers = _numbers(found, np.random.default_rng(seed))
    written = Written(found)
    with mp.workdps(_DIGITS):
        rungs = [_blind(written, numbers), *_slopes(written, numbers)]
    note = "a truncated series holds for small t only; times were halved from the largest one named"
    return CheckReport(repr(found), tuple(rungs), notes=(note,))


def _numbers(found: TimeDerivatives, stream: np.random.Generator) -> dict[sp.Symbol, sp.Expr]:
    """Return rational numbers for all symbols; given weights keep theirs."""
    drawn = {
        q: sp.Rational(int(stream.integers(5, 15)), 10)
        for q in sorted(found.free_symbols - set(found.weights), key=lambda q: q.name)
    }
    for q in found.weights:
        free = sp.Rational(int(stream.integers(-9, 10)) * 2 + 1, 16)
        drawn[q] = found.start[q].xreplace(drawn) if q in found.start else free
    return drawn


def _blind(written: Written, numbers: dict[sp.Symbol, sp.Expr]) -> Rung:
    """Compare some entries of the first orders with derivatives taken in the weights."""
    found = written.found
    work = len(found.weights) * len(found.data.samples)
    orders = min(found.order, next(n for n, most in _BLIND if work <= most))
    ours = _evaluated(found, numbers)
    symbols, point = list(numbers), [_number(v) for v in numbers.values()]
    worst, compared = mp.mpf(0), 0
    for k in sorted({0, math.prod(found.shape) - 1}):
        expressions = [written.entry(k)]
        for _ in range(orders):
            expressions.append(written.along(expressions[-1]))
        theirs = sp.lambdify(symbols, expressions, "mpmath", cse=True)(*point)
        for n, value in enumerate(theirs):
            worst = max(worst, abs(value - ours[n][k]) / (1 + abs(value)))
            compared += 1
    figure = f"{mp.nstr(worst, 2)} in {compared} derivatives of orders 0 to {orders}"
    title = "blind differentiation in the weights"
    return Rung(1, title, worst < _BLIND_BOUND, figure, f"{_BLIND_BOUND:g}")


def _evaluated(found: TimeDerivatives, numbers: dict[sp.Symbol, sp.Expr]) -> list[list[Any]]:
    """Return the derivatives of all orders from the lines of the hierarchy."""
    lines = list(found.jets.lines.items())
    entries = [list(found.symbols(n)) for n in range(found.order + 1)]
    function = sp.lambdify(list(numbers), entries, "mpmath", cse=lambda given: (lines, given))
    return function(*(_number(value) for value in numbers.values()))


def _number(value: sp.Expr) -> Any:
    return (
        mp.mpf(sp.N(value, _DIGITS)._mpf_) if not value.is_Rational else mp.mpf(value.p) / value.q
    )


def _slopes(written: Written, numbers: dict[sp.Symbol, sp.Expr]) -> list[Rung]:
    """Regress the errors of all truncations on time."""
    found = written.found
    series = [
        [value / math.factorial(n) for value in row]
        for n, row in enumerate(_evaluated(found, numbers))
    ]
    sizes = [max(map(abs, row)) for row in series]
    moving = [n for n in range(1, found.order + 1) if sizes[n] > _NOTHING]
    if not moving:
        return [Rung(2, "slopes in t", True, "nothing moves: all derivatives are 0")]
    first = _SHARE * min(((sizes[0] + 1) / sizes[n]) ** (mp.mpf(1) / n) for n in moving)
    times = [first / 2**k for k in range(_TIMES)]
    exact = _flowing(written, numbers, times)
    rungs = []
    for order in range(1, found.order + 1):
        errors = [
            max(
                abs(sum(series[n][k] * t**n for n in range(order + 1)) - value)
                for k, value in enumerate(values)
            )
            for t, values in zip(times, exact, strict=True)
        ]
        following = next((n for n in moving if n > order), found.order + 1)
        rungs.append(_slope(order, following, times, errors))
    return rungs


def _slope(order: int, following: int, times: Sequence[Any], errors: Sequence[Any]) -> Rung:
    """Judge the errors of one truncation by the order of the next term that is not 0."""
    title, bound = f"error of order {order} in t", f"{following} +- {_SLOPE_BOUND}"
    until = f"t = {mp.nstr(times[0], 2)}"
    if max(errors) < _NOTHING:
        return Rung(order + 1, title, True, f"the series ends; {until}", bound)
    x, y = ([float(mp.log(v)) for v in values] for values in (times, errors))
    slope = float(np.polyfit(x, y, 1)[0])
    span = f"{mp.nstr(errors[0], 2)} to {mp.nstr(errors[-1], 2)}"
    figure = f"slope {slope:.3f}, errors {span} at {len(times)} times; {until}"
    return Rung(order + 1, title, abs(slope - following) < _SLOPE_BOUND, figure, bound)


def _flowing(
    written: Written, numbers: dict[sp.Symbol, sp.Expr], times: Sequence[Any]
) -> list[list[Any]]:
    """Return what is differentiated at some times along the integrated flow."""
    found = written.found
    moving = list(written.velocity)
    rest = {q: v for q, v in numbers.items() if q not in written.velocity}
    arguments = [*moving, *rest]
    fixed = [_number(v) for v in rest.values()]
    entries = [written.entry(k) for k in range(math.prod(found.shape))]
    rate = sp.lambdify(arguments, list(written.velocity.values()), "mpmath", cse=True)
    value = sp.lambdify(arguments, entries, "mpmath", cse=True)
    start = [_number(numbers[q]) for q in moving]
    return [value(*_extrapolated(lambda w: rate(*w, *fixed), start, t), *fixed) for t in times]


def _extrapolated(rate: Callable[[list], list], start: list, step: Any) -> list:
    """Return the state a step later: midpoint rules of finer and finer steps, extrapolated."""
    table: list[list[list]] = []
    for row in range(1, _ROWS + 1):
        table.append([_midpoint(rate, start, step, 2 * row)])
        for k in range(1, row):
            ratio = mp.mpf(row) / (row - k)
            fine, coarse = table[-1][k - 1], table[-2][k - 1]
            table[-1].append(
                [f + (f - c) / (ratio**2 - 1) for f, c in zip(fine, coarse, strict=True)]
            )
    return table[-1][-1]


def _midpoint(rate: Callable[[list], list], start: list, step: Any, parts: int) -> list:
    h = step / parts
    before, now = start, [w + h * v for w, v in zip(start, rate(start), strict=True)]
    for _ in range(parts - 1):
        following = [w + 2 * h * v for w, v in zip(before, rate(now), strict=True)]
        before, now = now, following
    return now
