"""Rungs 2 and 3 of the deep law, its observables, and random problems of its class."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Limits
from symkernel.problem import weights
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.theory.chain_flow import ChainFlow
from symkernel.theory.deep_functions import curve_at
from symkernel.theory.deep_integrals import Y0, Clock, Y, rising
from symkernel.theory.deep_mode import DeepMode
from symkernel.theory.deep_routine import deep_routine
from symkernel.theory.deep_values import observables
from symkernel.theory.hyperbolic import U0
from symkernel.theory.mode_checks import task_in_bases

_DIGITS = 60
_BOUND = 1e-12
_U = notation.u


def deep_limits(mode: DeepMode) -> Limits:
    """Return the limits and removable singularities of the deep law, with their checks."""
    common = (("start at the final value", lambda: _at_rest(mode)),)
    if mode.is_explicit:
        return (("t = 0", lambda: _explicit_start(mode)), *common)
    return (
        ("t = 0", lambda: _no_time(mode)),
        *common,
        ("t to infinity, logarithmic singularity", lambda: _approach(mode)),
        ("start at 0", lambda: _zero_start(mode)),
        ("zero strength, power law", lambda: _power_law(mode)),
        ("depth 2, pole of the integral", _depth_two),
        ("infinite depth, pole of the integral", _infinite_depth),
    )


def _explicit_start(mode: DeepMode) -> Evidence:
    return Evidence.of(sp.cancel(mode.curve.subs(notation.t, 0) - U0) == 0, "u(0) = u0 exactly")


def _no_time(mode: DeepMode) -> Evidence:
    clocks = ((f.expression, Clock(*(symbol for symbol, _ in f.where))) for f in mode.times)
    spent = (time.subs(clock.y, clock.y0) for time, clock in clocks)
    return Evidence.of(all(time == 0 for time in spent), "t(u0) = 0 exactly on all branches")


def _at_rest(mode: DeepMode) -> Evidence:
    rate = sp.powsimp(mode.rate.subs(_U, mode.final))
    return Evidence.of(sp.expand(rate) == 0, "u' = 0 at u = final value")


def _zero_start(mode: DeepMode) -> Evidence:
    return Evidence.of(
        mode.rate.subs(_U, 0) == 0, "u' = 0 at u = 0: a mode that starts there stays"
    )


def _approach(mode: DeepMode) -> Evidence:
    r"""Compare the logarithm of the flow time at its end with the linearised equation.

    The series ${}_2F_1(1, b; 1+b; z)$, with terms $b z^k/(k+b)$, tends to $-b\ln(1-z)$.
    """
    growing = mode.times[0]
    time = sp.expand(growing.expression)
    (series,) = (h for h in time.atoms(sp.hyper) if h.has(Y))
    b = series.bq[0] - 1
    of_logarithm = (b * time.coeff(series)).subs(Y, 1).subs(growing.where)
    slope = mode.rate.diff(_U).subs(_U, mode.final)
    same = set(series.ap) == {sp.S.One, b} and _plain_power(of_logarithm * slope) == -1
    return Evidence.of(same, "t -> ln(1 - y)/f'(final value) at y = 1 exactly")


def _plain_power(expression: sp.Expr) -> sp.Expr:
    return sp.powsimp(sp.expand(sp.expand_power_base(sp.powdenest(expression, force=True))))


def _power_law(mode: DeepMode) -> Evidence:
    r"""At sigma = 0: u = c a^D, a = a0 (1 + (2D-2) delta a0^(2D-2) t)^(-1/(2D-2))."""
    a0, base = sp.symbols("a_start base", positive=True)
    power = 2 * mode.depth - 2
    law = mode.scale * (a0 * base ** (-1 / power)) ** mode.depth
    moved = law.diff(base) * power * mode.delta * a0**power
    claimed = replace(mode, sigma=sp.S.Zero).rate.subs(_U, law)
    ratio = _plain_power(moved / claimed)
    return Evidence.of(ratio == 1, "power law substituted: its rate over u' exactly 1")


def _depth_two() -> Evidence:
    """Let D go to 2 in the rising integral: the flow time of two layers appears."""
    D, two = sp.Symbol("D", positive=True), DeepMode(sp.Integer(2))
    pole, tail = sorted(rising(D).args, key=lambda term: term.has(sp.hyper))
    pole = sp.limit(pole - pole.subs(Y, Y0), D, 2)
    tail = sp.hyperexpand(tail.subs(D, 2))
    time = pole + tail - tail.subs(Y, Y0)
    in_layers = {_U: two.final * Y**2, U0: two.final * Y0**2}
    logistic = two.sigma * two.time.expression.subs(in_layers, simultaneous=True)
    same = sp.cancel(sp.together((time - logistic).diff(Y))) == 0
    starts = all(sp.expand_log(t.subs(Y, Y0), force=True) == 0 for t in (time, logistic))
    return Evidence.of(same and starts, "t -> that of two layers exactly")


def _infinite_depth() -> Evidence:
    """Let D go to infinity in the equation, in the time D t: the one solved by the limit."""
    D, x, end = sp.Symbol("D", positive=True), sp.Symbol("x", positive=True), DeepMode(sp.oo)
    limit = sp.limit(sp.expand(DeepMode(D).rate.subs(_U, x) / D), D, sp.oo)
    passed = sp.expand(limit - end.rate.subs(_U, x)) == 0 and end.prove().passed
    return Evidence.of(
        passed, "du/d(D t) -> u^2 (s - d u) exactly, which the law of the limit solves"
    )


def check_observables(flow: ChainFlow) -> Evidence:
    """Compare the mode entries with an explicit network that has this one mode, exactly."""
    D = flow.depth
    a, s, d = sp.Rational(2, 3), sp.Rational(7, 2), sp.Rational(3, 5)
    directions = [sp.Matrix([3, 4]) / 5, sp.Matrix([5, 12]) / 13, sp.Matrix([8, 15]) / 17]
    r = [directions[k % 3] for k in range(D + 1)]
    scales = {p.name: p.scale for p in flow.system.network.parameters}
    rate = flow.system.network.parameters[0].rate
    W = [scales[n] * a * r[k + 1] * r[k].T for k, n in enumerate(flow.layers)]
    c = [scales[n] for n in flow.layers]
    curve = sp.Symbol("curve", positive=True)
    found = {
        name: e.subs({notation.s: s, notation.d: d, curve: flow.scale * a**D})
        for name, e in observables(flow, curve).items()
    }
    activity, wanted, kernel = r[0], {}, sp.S.Zero
    after = sp.eye(2)
    for k in reversed(range(D)):
        before = r[0]
        for layer in W[:k]:
            before = layer * before
        kernel += rate * c[k] ** 2 * (before.T * before)[0] * (r[-1].T * after * after.T * r[-1])[0]
        after = after * W[k]
    for k in range(1, D):
        activity = W[k - 1] * activity
        wanted[f"hidden{k}"] = (r[k].T * activity)[0]
    if D > 1:
        wanted["hidden_gram"] = (activity.T * activity)[0]
    A = after
    Syx, Syy = s * r[-1] * r[0].T, s**2 / d * r[-1] * r[-1].T
    error = (Syy - 2 * A * Syx.T + A * (d * r[0] * r[0].T) * A.T).trace()
    wanted |= {
        "output": (r[-1].T * A * r[0])[0],
        "amplitude": a,
        "ntk": kernel,
        "loss": flow.system.loss.factor * error,
    }
    wrong = [n for n, value in wanted.items() if _differ(found[n], value)]
    if wrong or set(found) != set(wanted):
        return Evidence(False, f"mode entries differ from the explicit network: {wrong}")
    drive = (flow.sigma - flow.delta * a**D).subs({notation.s: s, notation.d: d})
    speed = flow.scale * D * a ** (2 * D - 2) * drive
    pull = kernel * 2 * flow.system.loss.factor * (s - d * found["output"])
    if _differ(speed, pull):
        return Evidence(False, "the NTK times the residual is not the rate of the mode")
    return Evidence(
        True,
        "all mode entries equal those of an explicit network, NTK times residual = rate of the "
        "mode: exactly",
    )


def _differ(one: sp.Expr, two: sp.Expr) -> bool:
    return sp.expand(sp.powdenest(sp.expand(one - two), force=True)) != 0


def check_precision(depth: int, stream: np.random.Generator, draws: int) -> Evidence:
    r"""Compare the compiled routine with 60 digits over extreme strengths, starts and times.

    Half of the times lie around the escape from a small start, where a relative change of the time
    moves the mode by $(u_\infty/u_0)^{1-2/D}$ times as much. Errors are of the mode
    and of the drive, each relative to itself; at depth 1, where terms of both signs add up,
    relative to the largest value along the curve.
    """
    worst, where = 0.0, ""
    for _ in range(draws):
        A, w = 10 ** stream.uniform(-8, 4), (10 ** stream.uniform(-8, 4)) ** (1 / depth)
        B = 10 ** stream.uniform(-3, 3)
        A *= stream.choice([1.0, 1.0, 1.0, -1.0])
        escape = w ** (2 - depth) / (abs(A) * max(depth - 2, 1))
        near = escape * (1 + 10 ** stream.uniform(-12, 1, 2) * [1, -0.1])
        times = np.sort(np.append(10 ** stream.uniform(-8, 8, 2), near))
        layer, drive = (v[:, 0] for v in deep_routine(depth)(times, *map(np.atleast_1d, (A, B, w))))
        exact = [_exact(depth, A, B, w, t) for t in times]
        # One layer adds up terms of both signs.
        size = max(abs(e[0]) for e in exact) if depth == 1 else 0
        error = max(
            max(_relative(mpmath.mpf(n) ** depth, e[0] ** depth, size), _relative(g, e[1]))
            for n, g, e in zip(layer, drive, exact, strict=True)
        )
        if not error <= worst:
            worst, where = float(error), f"s={A:.3g}, d={B:.3g}, u0={w**depth:.3g}"
    figure = (
        f"worst relative error {worst:.1e} in {draws} curves; |s|, u0 in [1e-8, 1e4], d in "
        f"[1e-3, 1e3], t in [1e-8, 1e8] and around the escape; worst at {where}"
    )
    return Evidence(worst <= _BOUND, figure)


def _exact(depth: int, A: float, B: float, w: float, t: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """Return amplitude and drive at 60 digits."""
    if depth > 2:
        return curve_at(depth, A, B, w, t, _DIGITS)
    with mpmath.workdps(_DIGITS):
        a, b, start, time = (mpmath.mpf(float(v)) for v in (A, B, w, t))
        gone = mpmath.exp(-b * time) if depth == 1 else mpmath.exp(-2 * a * time)
        if depth == 1:
            return a / b + (start - a / b) * gone, (a - b * start) * gone
        u0 = start**2
        u = (a / b) / (1 + (a / (b * u0) - 1) * gone)
        return mpmath.sqrt(u), a * (1 - b * u0 / a) * gone / (b * u0 / a + (1 - b * u0 / a) * gone)


def _relative(number: Any, exact: mpmath.mpf, size: Any = 0) -> float:
    # Below the smallest normal number digits are lost by the format.
    if abs(exact) < 1e-290:
        return 0.0
    return float(abs(mpmath.mpf(number) - exact) / max(abs(exact), size))


def draw_deep(stream: np.random.Generator) -> Problem:
    """Draw depth 1 to 6, sizes 1 to 8, forced zero and repeated strengths, one or two tasks."""
    depth = int(stream.integers(1, 7))
    sizes = [int(n) for n in stream.integers(1, 9, depth + 1)]
    r = min(sizes[0], sizes[-1])
    V, U = (np.linalg.qr(stream.standard_normal((n, n)))[0] for n in (sizes[0], sizes[-1]))
    # The strongest direction of the inputs limits how long a flow can be integrated.
    same = stream.random() < 0.5
    tasks = []
    for k in range(1 + (stream.random() < 0.4)):
        s = 10 ** stream.uniform(-6, 0.5, r)
        kind = stream.random(r)
        s[kind < 0.2] = 0.0
        s[kind > 0.8] = s[0]
        # With weak modes alone the flow would take too long to be integrated.
        s[0] = 10 ** stream.uniform(-1, 0.5)
        if k:
            s *= stream.choice([-1.0, 1.0], r)
        d = np.ones(sizes[0]) if same else 10 ** stream.uniform(-0.5, 0.3, sizes[0])
        tasks.append(task_in_bases(U, V, s, d))
    net = Network.mlp(sizes, "linear")
    k = min(r, *sizes)
    # In the bases of both tasks: where a strength repeats, those of one task are free.
    u = 10 ** stream.uniform(-4, 0.7, k) * stream.choice([-1.0, 1.0, 1.0], k)
    hidden = [np.linalg.qr(stream.standard_normal((n, n)))[0][:, :k] for n in sizes[1:-1]]
    frames = [V[:, :k], *hidden, U[:, :k]]
    sides = [np.abs(u) ** (1 / depth)] * depth
    sides[-1] = np.sign(u) * sides[-1]
    layers = [(R * a) @ Q.T for a, (Q, R) in zip(sides, pairwise(frames), strict=True)]
    phases = [Phase(tasks[0], duration=float(stream.uniform(0.1, 3)))] if len(tasks) > 1 else []
    w0 = weights.from_arrays(net, layers)
    return Problem(net, Curriculum([*phases, Phase(tasks[-1])]), w0)
