r"""Rungs 2 and 3 of the mode laws, and random problems of their classes."""

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
from symkernel.theory.hyperbolic import ModeSolution, Sides
from symkernel.theory.mode_flow import Drive

_DIGITS = 60
_RANGE = {"amplitudes and strengths": (-8, 4), "times": (-8, 8)}
_BOUND = 1e-12


def mode_limits(modes: Drive) -> Limits:
    """Return the limits and removable singularities of the mode law, with their checks."""
    return (
        ("t = 0", lambda: _at_zero(modes)),
        ("t to infinity", lambda: _at_infinity(modes)),
        ("balanced sides, Q0 to 0", lambda: _balanced(modes)),
        ("opposite sides, P0 to 0", lambda: _opposite(modes)),
        ("zero mode, s to 0", lambda: _zero_mode(modes)),
    )


def _solution(modes: Drive, P0: sp.Expr, Q0: sp.Expr) -> ModeSolution:
    return ModeSolution(modes, Sides(P0, Q0))


def _general(modes: Drive) -> ModeSolution:
    return _solution(modes, notation.P0, notation.Q0)


def _at_zero(modes: Drive) -> Evidence:
    growth = _general(modes).growth
    start = growth.expression.subs(growth.clock, growth.clock_start)
    return Evidence.of(vanishes(start - 1, growth.relations), "z(0) = 1 exactly")


def _at_infinity(modes: Drive) -> Evidence:
    """At T = 1 the mode stands at s/d: the Riccati equation's stable root."""
    solution = _general(modes)
    growth = solution.growth
    end = growth.expression.subs(growth.clock, 1)
    overlap = solution.overlap.subs(notation.z, end)
    gap = overlap - modes.sigma / modes.delta
    return Evidence.of(vanishes(gap, growth.relations), "overlap at T = 1 is sigma/delta exactly")


def _balanced(modes: Drive) -> Evidence:
    """Riccati solution at Q0 = 0 against the logistic rule, through E = exp(-R t)."""
    E = sp.Symbol("E", positive=True)
    general = _general(modes).growth
    radicand = dict(general.where)[notation.R] ** 2
    root = sp.sqrt(radicand.subs(notation.Q0, 0))
    riccati = general.expression.subs(notation.T, (1 - E) / (1 + E)).subs(notation.Q0, 0)
    logistic = _solution(modes, notation.P0, sp.S.Zero).growth
    gap = riccati.subs(notation.R, root) - logistic.expression.subs(logistic.clock, E)
    return Evidence.of(vanishes(gap), "Riccati solution = logistic solution exactly")


def _opposite(modes: Drive) -> Evidence:
    """Riccati solution at P0 = 0 against the linear rule: the saddle is approached, u to 0."""
    E = sp.Symbol("E", positive=True)
    general = _general(modes).growth
    radicand = dict(general.where)[notation.R] ** 2
    root = sp.sqrt(radicand.subs(notation.P0, 0))
    riccati = general.expression.subs(notation.T, (1 - E) / (1 + E)).subs(notation.P0, 0)
    linear = _solution(modes, sp.S.Zero, notation.Q0).growth
    gap = riccati.subs(notation.R, root) - linear.expression.subs(linear.clock, 1 / E)
    return Evidence.of(vanishes(gap), "Riccati solution = linear solution exactly, u to 0")


def _zero_mode(modes: Drive) -> Evidence:
    """At s = 0 and balanced sides R = 0; the scaled clock gives the power law."""
    tau = sp.Symbol("tau", nonnegative=True)
    general = _general(modes).growth
    scaled = sp.cancel(general.expression.subs(notation.T, notation.R * tau))
    at = scaled.subs({notation.Q0: 0}).subs(modes.sigma, 0)
    at = sp.cancel(at.subs(notation.s, 0).subs(notation.R, 0).subs(tau, notation.t / 2))
    power = _solution(modes.at(sp.S.Zero), notation.P0, sp.S.Zero).growth
    gap = at - power.expression.subs(power.clock, notation.t)
    return Evidence.of(vanishes(gap), "scaled Riccati solution at R = 0 = power law exactly")


def high_precision_overlap(modes: Drive) -> Callable[..., mpmath.mpf]:
    r"""Return the overlap (s, d, a0, b0, t) at 60 digits, from the derived solution.

    The clock is written $T = (1-E)/(1+E)$ with $E = e^{-Rt}$ as a number of its own, so that
    nothing is lost where T rounds to 1; at R = 0 the scaled clock t/2 is used.
    """
    E, tau = sp.Symbol("E", positive=True), sp.Symbol("tau", nonnegative=True)
    growth = _general(modes).growth
    names = (notation.s, notation.d, notation.P0, notation.Q0, notation.R)
    exact = sp.cancel(sp.together(growth.expression.subs(notation.T, (1 - E) / (1 + E))))
    scaled = sp.cancel(growth.expression.subs(notation.T, notation.R * tau))
    moving = [sp.lambdify((*names, E), part, "mpmath") for part in sp.fraction(exact)]
    resting = [sp.lambdify((*names, tau), part, "mpmath") for part in sp.fraction(scaled)]
    radicand = sp.lambdify(names[:4], dict(growth.where)[notation.R] ** 2, "mpmath")

    def overlap(s: float, d: float, a0: float, b0: float, t: float) -> mpmath.mpf:
        with mpmath.workdps(2 * _DIGITS):
            s, d, a0, b0, t = (mpmath.mpf(float(v)) for v in (s, d, a0, b0, t))
            if s < 0:
                return -overlap(-s, d, a0, -b0, t)
            P0, Q0 = (a0 + b0) ** 2, (a0 - b0) ** 2
            R = mpmath.sqrt(radicand(s, d, P0, Q0))
            parts, clock = (moving, mpmath.exp(-R * t)) if R else (resting, t / 2)
            top, bottom = (part(s, d, P0, Q0, R, clock) for part in parts)
            growing = P0 * top / bottom if P0 else mpmath.mpf(0)
            return (growing - Q0 * bottom / top) / 4

    return overlap


def check_precision(
    modes: Drive,
    routine: Any,
    stream: np.random.Generator,
    draws: int,
) -> Evidence:
    """Compare the compiled routine with 60 digits over extreme amplitudes, strengths and times.

    The routine is the one of every trajectory, called with (t; s, d, w, m, P0, Q0).

    Relative where all terms have one sign (a0 b0 s >= 0), otherwise relative to the largest value
    along the curve.
    """
    worst, where = 0.0, ""
    reference = high_precision_overlap(modes)
    for k in range(draws):
        a, b, s = 10 ** stream.uniform(*_RANGE["amplitudes and strengths"], 3)
        if k % 5 == 1:
            b = a
        elif k % 5 == 2:
            b = a * (1 + 10.0 ** -stream.integers(1, 15))
        s = 0.0 if k % 7 == 3 else s
        b = -b if k % 3 == 2 else b
        d = 10 ** stream.uniform(-3, 3)
        times = np.sort(np.append(10 ** stream.uniform(*_RANGE["times"], 6), 0.0))
        sides = (a * b, (a**2 + b**2) / 2, (a + b) ** 2, (a - b) ** 2)
        found = routine(times, [s], [d], *([value] for value in sides))["overlap"][:, 0]
        exact = np.array([float(reference(s, d, a, b, t)) for t in times])
        error = np.abs(found - exact)
        scale = np.abs(exact) if b > 0 and s > 0 else np.abs(exact).max()
        relative = float((error / np.maximum(scale, np.finfo(float).tiny)).max())
        if not relative <= worst:
            worst, where = relative, f"a0={a:.3g}, b0={b:.3g}, s={s:.3g}, d={d:.3g}"
    figure = (
        f"worst relative error {worst:.1e} in {draws} curves; a0, b0, s in [1e-8, 1e4], "
        f"t in [1e-8, 1e8]; worst at {where}"
    )
    return Evidence(worst <= _BOUND, figure)


def _draw_task(stream: np.random.Generator) -> tuple[Network, Task]:
    """Draw sizes 1 to 12 and strengths with forced zeros and repeats, in random bases."""
    n_in, n_hidden, n_out = (int(v) for v in stream.integers(1, 13, 3))
    r = min(n_in, n_out)
    s = 10 ** stream.uniform(-6, 2, r)
    kind = stream.random(r)
    s[kind < 0.2] = 0.0
    s[(kind > 0.8)] = s[0]
    V, U = (np.linalg.qr(stream.standard_normal((n, n)))[0] for n in (n_in, n_out))
    d = np.ones(n_in) if stream.random() < 0.5 else 10 ** stream.uniform(-1, 1, n_in)
    net = Network.two_layer(inputs=n_in, hidden=n_hidden, outputs=n_out)
    return net, task_in_bases(U, V, s, d)


def task_in_bases(U: np.ndarray, V: np.ndarray, s: np.ndarray, d: np.ndarray) -> Task:
    """Return the linear task of strengths s and input variances d in orthogonal bases."""
    r = len(s)
    syx, sxx = U[:, :r] * s @ V[:, :r].T, V * d @ V.T
    syy = U[:, :r] * (s**2 / d[:r]) @ U[:, :r].T
    return Task.from_moments((sxx + sxx.T) / 2, syx, (syy + syy.T) / 2)


def draw_aligned(stream: np.random.Generator) -> Problem:
    """Draw a problem with aligned weights: amplitudes 1e-4 to 10 of any sign."""
    net, task = _draw_task(stream)
    k = min(int(net.inputs), int(net.outputs), int(net.node("hidden").size))
    a, b = (10 ** stream.uniform(-4, 1, k) * stream.choice([-1.0, 1.0], k) for _ in range(2))
    if stream.random() < 0.3:
        b = a
    w0 = weights.aligned(net, task, a=a, b=b, seed=int(stream.integers(1 << 30)))
    return Problem(net, Curriculum.of(task), w0)


def draw_gram_diagonal(stream: np.random.Generator) -> Problem:
    """Draw a problem whose sides are not parallel, in half of the cases with two phases."""
    n_in, n_out = (int(v) for v in stream.integers(1, 7, 2))
    r = min(n_in, n_out)
    n_hidden = int(stream.integers(2 * r, 13))
    V, U = (np.linalg.qr(stream.standard_normal((n, n)))[0] for n in (n_in, n_out))
    frame = np.linalg.qr(stream.standard_normal((n_hidden, n_hidden)))[0]
    size = 10 ** stream.uniform(-3, 0.3, (3, r)) * stream.choice([-1.0, 1.0], (3, r))
    P = frame[:, :r] * size[0]
    Q = frame[:, :r] * size[1] + frame[:, r : 2 * r] * size[2]
    tasks = []
    for _ in range(int(stream.integers(1, 3))):
        s = 10 ** stream.uniform(-3, 1, r) * stream.choice([-1.0, 0.0, 1.0, 1.0, 1.0], r)
        s[stream.random(r) < 0.2] = s[0]
        tasks.append(task_in_bases(U, V, s, 10 ** stream.uniform(-1, 0.5, n_in)))
    net = Network.two_layer(inputs=n_in, hidden=n_hidden, outputs=n_out)
    w0 = weights.from_arrays(net, [P @ V[:, :r].T, U[:, :r] @ Q.T])
    strongest = max(float(np.linalg.norm(task.Syx, 2)) for task in tasks)
    duration = float(stream.uniform(1, 10)) / max(strongest, 0.1)
    phases = [Phase(task, duration=duration) for task in tasks[:-1]]
    return Problem(net, Curriculum([*phases, Phase(tasks[-1])]), w0)
