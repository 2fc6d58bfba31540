r"""Limits and precision of the laws of gated networks."""

from __future__ import annotations

from dataclasses import replace

import mpmath
import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Limits
from symkernel.problem.network import Network
from symkernel.theory.mode_flow import ModeFlow, flow_of_modes
from symkernel.theory.pathway_flow import PathwayFlow, equal_sides, rate_of
from symkernel.theory.race_clock import THETA, Race, RaceRoutine
from symkernel.theory.race_time import integral

_DIGITS = 60
# Share of the target below which what is left of it has no digits in a double.
_LEFT = 1e-11
_BOUND = 1e-12
# What is below the smallest normal double has fewer digits, or none.
_LEAST = float(np.finfo(float).tiny)


def rate_limits(flow: PathwayFlow, modes: ModeFlow) -> Limits:
    """Return what the law becomes where all layers, or none, are shared."""

    def at(share: sp.Expr) -> ModeFlow:
        return equal_sides(replace(flow, shares=((share, share),)))

    def plain() -> ModeFlow:
        scales = {p.name: p.scale for p in flow.system.network.parameters}
        net = Network.two_layer(inputs=2, hidden=2, outputs=2)
        found = flow_of_modes(net, flow.system.loss)
        scale = scales[modes.first] * scales[modes.second]
        return replace(found, sigma=scale * found.sigma, delta=scale**2 * found.delta, scale=scale)

    def shared() -> Evidence:
        one, other = at(sp.S.One), plain()
        gaps = (one.sigma - other.sigma, one.delta - other.delta, one.scale - other.scale)
        same = all(sp.expand(gap) == 0 for gap in gaps)
        return Evidence.of(same, "with all layers shared it is the plain network's law exactly")

    def separate() -> Evidence:
        K = sp.Symbol("K", positive=True)
        one, other = at(1 / K), plain()
        same = sp.expand(K * one.sigma - other.sigma) == 0
        return Evidence.of(same, "with private layers the drive is 1/K of the plain one exactly")

    return (("all layers shared", shared), ("all layers private", separate))


def race_limits(race: Race) -> Limits:
    """Return the limits of the race."""

    def start() -> Evidence:
        begins = [race.of_clock(j).subs(THETA, 0) for j in range(len(race.depths))]
        same = all(b == q for b, (_, q) in zip(begins, race.symbols, strict=True))
        return Evidence.of(same, "at t = 0 every pathway has its initial mode")

    def end() -> Evidence:
        total = notation.s / notation.d - sp.Add(*(m for m, _ in race.symbols[1:]))
        rest = race.drive.xreplace({race.symbols[0][0]: total})
        return Evidence.of(sp.expand(rest) == 0, "the pathways together end at s/d")

    def shallow() -> Evidence:
        u, rho, power = sp.symbols("u_ rho_ g_", positive=True)
        deep = sp.exp(sp.log(u**-power - power * rho * THETA) / -power)
        limit = sp.limit(deep, power, 0, "+")
        same = sp.expand(limit - u * sp.exp(rho * THETA)) == 0
        return Evidence.of(same, "the power law of depth D tends to the exponential as D -> 2")

    def ratio() -> Evidence:
        K = sp.Symbol("K", positive=True)
        for pathway, rate in zip(race.flow.pathways, race.rates, strict=True):
            alone = rate_of(race.flow.push, pathway.scale, (1 / K,) * pathway.depth)
            together = rate_of(race.flow.push, pathway.scale, (sp.S.One,) * pathway.depth)
            if sp.expand(sp.powsimp(together / alone, force=True) - K) != 0 or not rate.is_positive:
                return Evidence.of(False, "sharing all layers is K times as fast as sharing none")
        return Evidence.of(True, "sharing all layers is K times as fast as sharing none, exactly")

    return (
        ("t = 0", start),
        ("t to infinity", end),
        ("depth to 2", shallow),
        ("all layers shared against none", ratio),
    )


class _Exact:
    """The implicit solution of one mode at 60 digits."""

    def __init__(self, race: Race, s: float, d: float, start: np.ndarray) -> None:
        letters = [q for _, q in race.symbols]
        values = [mpmath.mpf(float(x)) for x in start]
        self.parts = [
            sp.lambdify((THETA, *letters), race.of_clock(j), "mpmath")
            for j in range(len(race.depths))
        ]
        self.readings = [
            sp.lambdify((mode, *letters), race.reading(j), "mpmath")
            for j, (mode, _) in enumerate(race.symbols)
        ]
        self.gains = [sp.lambdify(q, race.gain(j)) for j, (q, _) in enumerate(race.symbols)]
        self.start, self.s, self.d = values, mpmath.mpf(s), mpmath.mpf(d)

    def modes(self, clock: mpmath.mpf) -> list[mpmath.mpf]:
        """Return the modes at a value of the clock."""
        return [part(clock, *self.start) for part in self.parts]

    def drive(self, clock: mpmath.mpf) -> mpmath.mpf:
        """Return the rate of the clock."""
        return self.s - self.d * mpmath.fsum(self.modes(clock))

    def _near_end(self, clock: mpmath.mpf, t: float) -> mpmath.mpf:
        """Return the clock where doubles do not hold what is left: an exponential approach."""
        end = mpmath.re(mpmath.findroot(self.drive, clock))
        before = end * (1 - mpmath.mpf(_LEFT))
        speed = -mpmath.diff(self.drive, end)
        rest = mpmath.mpf(float(t)) - integral(lambda theta: 1 / self.drive(theta), before)
        return end - (end - before) * mpmath.exp(-speed * rest)

    def clock_after(self, t: float, guess: np.ndarray) -> mpmath.mpf:
        """Return the clock at a time, from modes that are nearly those there."""
        # Rounding of a mode shifts the clock least if the mode moves fastest for its size; the
        # largest one may hardly move at all.
        lead = max(
            (j for j, u in enumerate(guess) if u > _LEAST),
            key=lambda j: self.gains[j](guess[j]) / guess[j],
        )
        clock = self.readings[lead](mpmath.mpf(float(guess[lead])), *self.start)
        if abs(self.drive(clock)) <= _LEFT * self.s:
            return self._near_end(clock, t)
        # The guess has the digits of a double, one step of Newton's method has twice as many.
        time = integral(lambda theta: 1 / self.drive(theta), clock)
        clock += (mpmath.mpf(float(t)) - time) * self.drive(clock)
        return clock


def check_race(race: Race, stream: np.random.Generator, draws: int) -> Evidence:
    """Compare the compiled race with its implicit solution at 60 digits.

    Errors are relative to u + |t u'|: the second part is what one rounding of the time does, which
    is much more than u where a deep pathway leaves its plateau. A mode below the smallest double
    counts as 0.
    """
    routine, worst, where = RaceRoutine(race), 0.0, ""
    count = len(race.depths)
    for _ in range(draws):
        s, d = 10 ** stream.uniform(-4, 4), 10 ** stream.uniform(-3, 3)
        start = s / d * 10 ** stream.uniform(-6, 3, count)
        fastest = max(float(rate) for rate in race.rates)
        begin = float(np.min(start)) / (s / d)
        slow = max(1.0, *(begin ** float(g) for g in race.powers))
        time = 10 ** stream.uniform(-6, 1.2) * slow / (fastest * s)
        times = np.array([0.0, time])
        found = routine(times, [s], [d], start[:, None])[:, 1, 0]
        with mpmath.workdps(_DIGITS):
            exact = _Exact(race, s, d, start)
            clock = exact.clock_after(time, found)
            modes, drive = exact.modes(clock), exact.drive(clock)
            for j, (u, wanted) in enumerate(zip(found, modes, strict=True)):
                rate = float(race.rates[j]) * wanted ** (1 - mpmath.mpf(float(race.powers[j])))
                size = wanted + abs(time * rate * drive) + _LEAST
                error = float(abs(mpmath.mpf(float(u)) - wanted) / size)
                if not error <= worst:
                    worst, where = error, f"s={s:.3g}, d={d:.3g}, u0={start[j]:.3g}, t={time:.3g}"
    figure = (
        f"worst error {worst:.1e} of u + |t u'| in {draws} races; s in [1e-4, 1e4], d in "
        f"[1e-3, 1e3], u0 in [1e-6, 1e3] s/d; worst at {where}"
    )
    return Evidence(worst <= _BOUND, figure)
