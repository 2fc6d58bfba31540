"""Rungs 2 and 3 of the law of one hidden unit, and random problems of its class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Limits
from symkernel.identities import vanishes
from symkernel.problem import weights
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.theory.mode_flow import ModeFlow
from symkernel.theory.single_unit_flow import LAMBDA, Part, UnitSolution
from symkernel.theory.single_unit_path import UnitState

_TIME = notation.t
_DIGITS = 60
_BOUND = 1e-12
_P, _Q, _M, _N = sp.symbols("p_0 q_0 m_0 n_0", positive=True)
_GROWN = sp.Symbol("E", positive=True)


def unit_limits(flow: ModeFlow) -> Limits:
    """Return the limits and removable singularities of the law, with their checks."""
    return (
        ("t = 0", lambda: _at_zero(flow)),
        ("t to infinity", lambda: _at_infinity(flow)),
        ("balanced unit, lambda to 0", lambda: _balanced(flow)),
        ("what the task does not use, h to 0", _unused),
        ("zero mode, s to 0", lambda: _zero_mode(flow)),
    )


def _at_zero(flow: ModeFlow) -> Evidence:
    solution = UnitSolution(flow, (Part(notation.s, _P, _Q), Part(sp.S.Zero, _M, _N)), LAMBDA)
    found = [value.subs(_TIME, 0) for part in solution.parts for value in solution.linear(part)]
    want = [_P, _Q, 0, _M, _N, 0]
    same = all(sp.expand(x - y) == 0 for x, y in zip(found, want, strict=True))
    return Evidence.of(same, "sides as given, N = 1 exactly")


def _at_infinity(flow: ModeFlow) -> Evidence:
    """Only the growing exponential is left, in the sides and in the common factor."""
    g, h, w = sp.symbols("g h w", positive=True)
    F = sp.Matrix([[-h, g], [g, h]])
    p, q, integral = UnitSolution.turned(sp.Matrix([_P, _Q]), F, w)

    def lead(expression: sp.Expr, power: int) -> sp.Expr:
        plain = expression.rewrite(sp.exp).subs(sp.exp(-w * _TIME), 1 / sp.exp(w * _TIME))
        plain = sp.expand(plain.subs(sp.exp(w * _TIME), _GROWN))
        return sp.limit(sp.expand(plain / _GROWN**power), _GROWN, sp.oo)

    overlap = lead(p, 1) * lead(q, 1) / (flow.delta * lead(integral, 2))
    same = vanishes(overlap - g / flow.delta, ((w, g**2 + h**2),))
    return Evidence.of(same, "overlap tends to sigma/delta exactly")


def _balanced(flow: ModeFlow) -> Evidence:
    """At lambda = 0 and equal sides the mode is the logistic one."""
    solution = UnitSolution(flow, (Part(notation.s, _P, _P),), sp.S.Zero)
    p, q, _ = solution.linear(solution.parts[0])
    final = flow.sigma / flow.delta
    logistic = final / (1 + (final / _P**2 - 1) / _GROWN**2)
    rate = sp.expand(flow.sigma)
    found = (p * q / solution.norm).rewrite(sp.exp).subs(sp.exp(-rate * _TIME), 1 / _GROWN)
    found = found.subs(sp.exp(rate * _TIME), _GROWN)
    return Evidence.of(vanishes(found - logistic), "one balanced mode = logistic solution exactly")


def _unused() -> Evidence:
    f = sp.Symbol("f", real=True)
    grown = (sp.exp(2 * f * _TIME) - 1) / (2 * f)
    return Evidence.of(sp.limit(grown, f, 0) == _TIME, "(exp(2ft) - 1)/(2f) tends to t exactly")


def _zero_mode(flow: ModeFlow) -> Evidence:
    """At s = 0 the two sides of a mode are like all else that the task does not use."""
    h = sp.Symbol("h", positive=True)
    F = sp.Matrix([[-h, 0], [0, h]])
    one = UnitSolution.turned(sp.Matrix([_P, _Q]), F, h)
    solution = UnitSolution(flow, (Part(sp.S.Zero, _P, _Q),), 2 * h / flow.delta)
    gaps = [x - y for x, y in zip(one, solution.linear(solution.parts[0]), strict=True)]
    masks = {sp.exp(k * h * _TIME): _GROWN**k for k in (-2, -1, 1, 2)}
    same = all(vanishes(sp.expand(gap.rewrite(sp.exp)).subs(masks)) for gap in gaps)
    return Evidence.of(same, "general form at s = 0 = exponentials exactly")


def reference(flow: ModeFlow) -> Callable[..., list[tuple[mpmath.mpf, mpmath.mpf]]]:
    """Return both sides of all modes at 60 digits, from the derived solution.

    Called as (t, d, rows of (s, p, q)) it gives one pair for each row.
    """
    names = (notation.s, notation.d, _P, _Q, LAMBDA, _TIME)
    used = UnitSolution(flow, (Part(notation.s, _P, _Q),), LAMBDA)
    rest = UnitSolution(flow, (Part(sp.S.Zero, _P, _Q),), LAMBDA)
    level = UnitSolution(flow, (Part(sp.S.Zero, _P, _Q),), sp.S.Zero)
    forms = [sp.lambdify(names, one.linear(one.parts[0]), "mpmath") for one in (used, rest, level)]
    delta = sp.lambdify(notation.d, flow.delta, "mpmath")

    def sides(t: float, d: float, rows: Any) -> list[tuple[mpmath.mpf, mpmath.mpf]]:
        with mpmath.workdps(4 * _DIGITS):
            t, d = mpmath.mpf(t), mpmath.mpf(d)
            rows = [[mpmath.mpf(float(x)) for x in row] for row in rows]
            lam = mpmath.fsum(q * q - p * p for _, p, q in rows)
            found = [forms[0 if s else (1 if lam else 2)](s, d, p, q, lam, t) for s, p, q in rows]
            norm = mpmath.sqrt(1 + delta(d) * mpmath.fsum(integral for _, _, integral in found))
            return [(p / norm, q / norm) for p, q, _ in found]

    return sides


def unit_precision(flow: ModeFlow, routine: Any, stream: Any, draws: int) -> Evidence:
    """Compare the compiled sides with 60 digits, on modes of one unit."""
    exact, worst, where = reference(flow), 0.0, ""
    for k in range(draws):
        n = int(stream.integers(1, 4))
        s, p, q = 10 ** stream.uniform(-8, 4, (3, n))
        s[stream.random(n) < 0.2] = 0.0
        signed = k % 4 == 3
        if signed:
            # Not of equal lengths: on the saddle the derived form is a difference of infinities.
            p, q = (side * stream.choice([-1.0, 1.0], n) for side in (p, q))
        elif k % 3 == 1:
            q = p.copy()
        d = 10 ** stream.uniform(-3, 3)
        times = np.sort(np.append(10 ** stream.uniform(-8, 8, 5), 0.0))
        lam = float(np.sum((q - p) * (q + p)))
        sides, _ = UnitState.of(s, d, p, q).along(routine, times, lam)
        found = np.stack(list(sides[:2]), -1)
        rows = np.stack([s, p, q], 1)
        want = np.array([[[float(x) for x in one] for one in exact(t, d, rows)] for t in times])
        scale = np.abs(want).max(0) if signed else np.abs(want)
        # What underflows has no digits left.
        error = np.abs(found - want) / np.maximum(scale, 1e-280)
        if not error.max() <= worst:
            worst, where = float(error.max()), f"s={s}, p={p}, q={q}, d={d:.3g}"
    figure = (
        f"worst relative error {worst:.1e} in {draws} runs of up to 3 modes; sides, s in "
        f"[1e-8, 1e4], t in [1e-8, 1e8]; worst at {where}"
    )
    return Evidence(worst <= _BOUND, figure)


def draw_unit(stream: np.random.Generator) -> Problem:
    """Draw sizes 1 to 12 (outputs 1 to 5), any rates and weights, half of the time two tasks."""
    n_in, n_out = int(stream.integers(1, 13)), int(stream.integers(1, 6))
    r = min(n_in, n_out)
    net = Network.two_layer(n_in, 1, n_out, rates=list(10 ** stream.uniform(-0.5, 0.5, 2)))
    tasks = []
    for _ in range(int(stream.integers(1, 3))):
        V, U = (np.linalg.qr(stream.standard_normal((n, n)))[0] for n in (n_in, n_out))
        s = 10 ** stream.uniform(-4, 1, r)
        kind = stream.random(r)
        s[kind < 0.2] = 0.0
        s[kind > 0.8] = s[0]
        d = 10 ** stream.uniform(-0.5, 0.5)
        syx = U[:, :r] * s @ V[:, :r].T
        tasks.append(Task.from_moments(d * np.eye(n_in), syx, syx @ syx.T / d))
    size = 10 ** stream.uniform(-4, 0.7, 2)
    if stream.random() < 0.3:
        size[1] = size[0]
    w0 = weights.from_arrays(
        net,
        [
            size[0] * _unit(stream, n_in)[None, :],
            size[1] * _unit(stream, n_out)[:, None],
        ],
    )
    squares = float(size @ size)
    fastest = max(float(max(np.abs(t.Syx).max(), squares * t.Sxx.max())) for t in tasks)
    duration = float(stream.uniform(1, 10)) / max(fastest, 0.1)
    phases = [Phase(task, duration=duration) for task in tasks[:-1]]
    return Problem(net, Curriculum([*phases, Phase(tasks[-1])]), w0)


def _unit(stream: np.random.Generator, n: int) -> np.ndarray:
    vector = stream.standard_normal(n)
    return vector / np.linalg.norm(vector)
