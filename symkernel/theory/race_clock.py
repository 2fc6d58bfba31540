r"""Balanced pathways of any depth in one clock: what the race is, and how it is computed."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.errors import OutsideValidity
from symkernel.formula import Evidence, Step
from symkernel.theory.pathway_flow import PathwayFlow, rate_of

_TIME, _S, _D = notation.t, notation.s, notation.d
THETA = notation.symbol("theta", r"\theta", "clock of the race, the integral of s - d U", real=True)
RUNNING = notation.symbol("vartheta", r"\vartheta", "variable of integration", real=True)
_TOTAL = notation.symbol(
    "U_race", "U", "mode of the end-to-end map, the sum of the pathways", positive=True
)
_ODDS = notation.symbol(
    "zeta", r"\zeta", "logarithm of what is learned over what is left", real=True
)
_Y = sp.Symbol("y", positive=True)
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")


def pathway_symbols(pathway: int) -> tuple[sp.Symbol, sp.Symbol]:
    """Return the mode of a pathway and its initial value."""
    name, words = f"u{pathway + 1}", f"mode of the {_ORDINALS[pathway]} pathway"
    mode = notation.symbol(name, f"u_{{{pathway + 1}}}", words, positive=True)
    start = notation.symbol(
        f"{name}_0", f"u_{{{pathway + 1},0}}", f"{words} at t = 0", positive=True
    )
    return mode, start


@dataclass(frozen=True)
class Race:
    r"""The closed equations of the modes of balanced pathways.

    $\dot u_j = \rho_j u_j^{2 - 2/D_j}(s - d\sum_k u_k)$, with
    $\rho_j = 2\kappa D_j \left(\sigma_j \prod_l \sqrt{c_{jl}}\right)^{2/D_j}$ for the factor
    $\sigma_j$ of the parameterisation and the shares $c_{jl}$ of the layers.
    """

    flow: PathwayFlow

    @property
    def depths(self) -> tuple[int, ...]:
        """Number of layers of each pathway."""
        return tuple(pathway.depth for pathway in self.flow.pathways)

    @cached_property
    def rates(self) -> tuple[sp.Expr, ...]:
        r"""The rates $\rho_j$."""
        return tuple(
            rate_of(self.flow.push, pathway.scale, shares)
            for pathway, shares in zip(self.flow.pathways, self.flow.shares, strict=True)
        )

    @property
    def powers(self) -> tuple[sp.Rational, ...]:
        """The powers $2/D_j - 1$, 0 for two layers."""
        return tuple(sp.Rational(2, depth) - 1 for depth in self.depths)

    @cached_property
    def symbols(self) -> tuple[tuple[sp.Symbol, sp.Symbol], ...]:
        """Modes and initial values of the pathways."""
        return tuple(map(pathway_symbols, range(len(self.depths))))

    @property
    def drive(self) -> sp.Expr:
        """The rate of the clock."""
        return _S - _D * sp.Add(*(mode for mode, _ in self.symbols))

    def gain(self, pathway: int) -> sp.Expr:
        """Return du/dtheta of a pathway."""
        mode, _ = self.symbols[pathway]
        return self.rates[pathway] * mode ** (1 - self.powers[pathway])

    def of_clock(self, pathway: int, clock: sp.Expr = THETA) -> sp.Expr:
        """Return the mode of a pathway at a value of the clock."""
        (_, start), rate, g = self.symbols[pathway], self.rates[pathway], self.powers[pathway]
        if g == 0:
            return start * sp.exp(rate * clock)
        return self._base(pathway, clock) ** (1 / g)

    def _base(self, pathway: int, clock: sp.Expr) -> sp.Expr:
        """Return what the power is taken of; it is positive up to the end of the race."""
        g = self.powers[pathway]
        return self.symbols[pathway][1] ** g + g * self.rates[pathway] * clock

    def _solves(self, pathway: int, value: sp.Expr, clock: sp.Expr, slope: sp.Expr) -> bool:
        """Whether a mode at a value of the clock has the slope that its equation wants."""
        mode, g = self.symbols[pathway][0], self.powers[pathway]
        if g == 0:
            wanted = self.gain(pathway).xreplace({mode: value})
            return bool(sp.expand(sp.powsimp(sp.expand(slope / wanted))) == 1)
        # One positive letter for the base, so that powers of powers need no branch.
        base = sp.Symbol("base", positive=True)
        wanted = self.gain(pathway).xreplace({mode: base ** (1 / g)})
        found = slope.xreplace({self._base(pathway, clock): base})
        return bool(sp.expand(found - wanted) == 0)

    def reading(self, pathway: int) -> sp.Expr:
        """Return the clock at which a pathway's mode has its value."""
        (mode, start), rate, g = self.symbols[pathway], self.rates[pathway], self.powers[pathway]
        if g == 0:
            return sp.log(mode / start) / rate
        return (mode**g - start**g) / (g * rate)

    def beside(self, pathway: int) -> sp.Expr:
        """Return the mode of a pathway as a function of that of the first one: the invariant."""
        if self.powers[0] == self.powers[pathway] == 0:
            (first, zero), (_, start) = self.symbols[0], self.symbols[pathway]
            return start * (first / zero) ** (self.rates[pathway] / self.rates[0])
        return self.of_clock(pathway, self.reading(0))

    @cached_property
    def equation(self) -> sp.Expr:
        """Right-hand side of the one equation that remains, for the mode of the first pathway."""
        rest = {self.symbols[j][0]: self.beside(j) for j in range(1, len(self.depths))}
        return self.gain(0) * self.drive.xreplace(rest)

    def steps(self) -> tuple[Step, ...]:
        """Return the steps from the amplitudes to the implicit solution."""
        steps = [self._balanced_step(), self._clock_step()]
        if len(self.depths) > 1:
            steps.append(self._invariant_step())
        return (*steps, self._end_step(), self._time_step())

    def _balanced_step(self) -> Step:
        modes = {mode: sp.Function(mode.name)(_TIME) for mode, _ in self.symbols}
        eqs = [
            sp.Eq(modes[mode].diff(_TIME), (self.gain(j) * self.drive).xreplace(modes))
            for j, (mode, _) in enumerate(self.symbols)
        ]
        return Step(
            "Balanced pathways",
            "with all squared amplitudes in the ratio of their layers' shares one equation is left "
            "for each pathway, whatever the number of its layers",
            tuple(eqs),
            self._check_balanced,
        )

    def _check_balanced(self) -> Evidence:
        """Put balanced amplitudes into the product rule, for these shares and for any."""
        letters = {}
        for j, row in enumerate(self.flow.amplitudes):
            for letter, share in zip(row, self.flow.shares[j], strict=True):
                letters[letter] = sp.sqrt(share) * _Y
        for j, row in enumerate(self.flow.amplitudes):
            mode = self.flow.modes[j]
            moved = sum(
                sp.diff(mode, letter) * self.flow.rate(j, layer) for layer, letter in enumerate(row)
            )
            drive = self.flow.drive.xreplace(letters)
            value = mode.xreplace(letters)
            claimed = self.rates[j] * value ** (1 - self.powers[j]) * drive / self.flow.push
            if sp.expand(moved.xreplace(letters)) - sp.expand(claimed.xreplace(letters)) != 0:
                return Evidence(False, f"the equation of pathway {j} does not follow")
            if not _general_rate(len(row)):
                return Evidence(False, "the rate does not follow for general shares")
        return Evidence(True, "product rule at balanced amplitudes, also for any shares: exactly 0")

    def _clock_step(self) -> Step:
        eqs = [sp.Eq(sp.Function("theta")(_TIME).diff(_TIME), self.drive, evaluate=False)]
        eqs += [
            sp.Eq(mode, self.of_clock(j), evaluate=False)
            for j, (mode, _) in enumerate(self.symbols)
        ]

        def check() -> Evidence:
            for j, (mode, start) in enumerate(self.symbols):
                value = self.of_clock(j)
                solves = self._solves(j, value, THETA, sp.diff(value, THETA))
                if not solves or value.subs(THETA, 0) != start:
                    return Evidence(False, f"pathway {j} does not solve its equation")
                if sp.expand(sp.diff(self.reading(j), mode) * self.gain(j) - 1) != 0:
                    return Evidence(False, f"the clock of pathway {j} is another one")
            return Evidence(True, "equation, initial value and inverse of each pathway: exactly 0")

        return Step(
            "One clock",
            "all pathways are driven by what is left of the target; in its integral each follows a "
            "power law of its own, an exponential for two layers",
            tuple(eqs),
            check,
        )

    def _invariant_step(self) -> Step:
        first = self.symbols[0][0]
        eqs = [
            sp.Eq(self.symbols[j][0], self.beside(j), evaluate=False)
            for j in range(1, len(self.depths))
        ]

        def check() -> Evidence:
            for j in range(1, len(self.depths)):
                mode, start = self.symbols[j]
                kept = self.reading(j) - self.reading(0)
                moved = sp.diff(kept, mode) * self.gain(j) + sp.diff(kept, first) * self.gain(0)
                if sp.expand(moved * self.drive) != 0:
                    return Evidence(False, "the difference of two clocks moves")
                begin = self.beside(j).subs(first, self.symbols[0][1])
                if begin != start:
                    return Evidence(False, "the invariant has another initial value")
                slope = sp.diff(self.beside(j), first) * self.gain(0)
                if not self._solves(j, self.beside(j), self.reading(0), slope):
                    return Evidence(False, "the printed invariant is not the conserved quantity")
            return Evidence(True, "difference of the clocks of two pathways: rate exactly 0")

        return Step(
            "Invariant of the race",
            "all pathways read the same clock, so the difference of two readings is conserved: the "
            "modes stay on one curve, along which the ratio of the rates is the exponent",
            tuple(eqs),
            check,
        )

    def _end_step(self) -> Step:
        total = sp.Add(*(self.of_clock(j) for j in range(len(self.depths))))

        def check() -> Evidence:
            rising = all(self.gain(j).is_positive for j in range(len(self.depths)))
            rest = self.drive.xreplace(
                {self.symbols[0][0]: _S / _D - sp.Add(*(m for m, _ in self.symbols[1:]))}
            )
            return Evidence.of(
                rising and sp.expand(rest) == 0,
                "every pathway rises with the clock, so there is one root; the drive is 0 there",
            )

        return Step(
            "End of the race",
            "the clock stops where the pathways together have learned the target",
            (sp.Eq(total, _S / _D, evaluate=False),),
            check,
        )

    def _time_step(self) -> Step:
        drive = self.drive.xreplace({m: self.of_clock(j) for j, (m, _) in enumerate(self.symbols)})
        upper = sp.Function("theta")(_TIME)
        integral = sp.Integral(1 / drive.xreplace({THETA: RUNNING}), (RUNNING, 0, upper))
        total, moved = self._speed

        def check() -> Evidence:
            slope = sp.diff(integral, _TIME) / upper.diff(_TIME)
            if sp.expand(1 / slope - drive.xreplace({THETA: upper})) != 0:
                return Evidence(False, "the integral is not the time")
            # The logarithm of a size has the derivative of the logarithm.
            odds = self.odds.replace(sp.Abs, lambda size: size)
            chained = sp.diff(odds, _TOTAL) * total * (_S - _D * _TOTAL)
            same = sp.cancel(chained - moved) == 0
            words = "derivative of the time by the clock; speed of zeta: exactly 0"
            return Evidence.of(same, words)

        zeta = sp.Function("zeta")(_TIME)
        return Step(
            "Time",
            "a quadrature over the clock; it is computed over zeta, whose speed is smooth up to "
            "the end",
            (
                sp.Eq(_TIME, integral, evaluate=False),
                sp.Eq(_TOTAL, sp.Add(*(mode for mode, _ in self.symbols)), evaluate=False),
                sp.Eq(_ODDS, self.odds, evaluate=False),
                sp.Eq(zeta.diff(_TIME), moved, evaluate=False),
            ),
            check,
        )

    @property
    def odds(self) -> sp.Expr:
        """The variable of the compiled quadrature, as a function of all pathways together."""
        return sp.log(_D * _TOTAL) - sp.log(sp.Abs(_S - _D * _TOTAL))

    @property
    def _speed(self) -> tuple[sp.Expr, sp.Expr]:
        """Rates of all pathways together by the clock, and of the odds by the time."""
        total = sp.Add(*(self.gain(j) for j in range(len(self.depths))))
        return total, _S * total / _TOTAL


def _general_rate(depth: int) -> bool:
    """Whether balanced amplitudes give the rate for any shares, scale and loss factor."""
    shares = sp.symbols(f"c_1:{depth + 1}", positive=True)
    scale, push = sp.symbols("sigma_0 kappa_2", positive=True)
    letters = [sp.sqrt(c) * _Y for c in shares]
    mode = scale * sp.Mul(*letters)
    slopes = (share * (mode / a) ** 2 for a, share in zip(letters, shares, strict=True))
    moved = push * sp.Add(*slopes)
    wanted = rate_of(push, scale, shares) * mode ** (2 - sp.Rational(2, depth))
    return bool(sp.expand(sp.powsimp(sp.expand(moved / wanted))) == 1)


_ENTRY = """

@numba.njit("i8(f8[::1], f8[::1], f8[::1], f8[:, ::1], f8[::1], f8[::1], f8[:, :, ::1])",
            cache=True, nogil=True, error_model="numpy")
def evaluate(times, strength, variance, start, rate, power, out):
    panels = 0
    for k in range(strength.size):
        taken = race(times, strength[k], variance[k], start[k], rate, power, out[k])
        if taken < 0:
            return -1 - k
        panels += taken
    return panels
"""


@dataclass(frozen=True)
class RaceRoutine:
    """The compiled race of all modes.

    Attributes
    ----------
    source : str
        The module that is compiled.
    rewritings : tuple
        Empty: the quadrature is an algorithm, judged against the implicit solution.
    """

    race: Race
    rewritings: tuple[Any, ...] = ()

    @property
    def source(self) -> str:
        """The module that is compiled."""
        from symkernel.numerics import race

        return inspect.getsource(race) + _ENTRY

    @cached_property
    def numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """Rates and powers of the pathways."""
        rates = np.array([float(rate) for rate in self.race.rates])
        return rates, np.array([float(g) for g in self.race.powers])

    def __call__(self, times: Any, s: Any, d: Any, start: Any) -> np.ndarray:
        """Return the modes (n_pathways, n_times, n_modes).

        Parameters
        ----------
        times : ndarray, shape (n_times,)
            Increasing, from 0 on.
        s, d : ndarray, shape (n_modes,)
        start : ndarray, shape (n_pathways, n_modes)
            Initial modes, not negative.

        Raises
        ------
        OutsideValidity
            If a pathway changes by factors while the sum of all hardly moves, in too few digits,
            or the sum is too small a number.
        """
        from symkernel.codegen.cache import load

        clock, s, d = (np.ascontiguousarray(value, dtype=float) for value in (times, s, d))
        begin = np.ascontiguousarray(np.asarray(start, dtype=float).T)
        out = np.repeat(begin[:, None, :], len(clock), axis=1)
        moving = d > 0
        found = np.ascontiguousarray(out[moving])
        panels = load(self.source, "race").evaluate(
            clock, s[moving], d[moving], np.ascontiguousarray(begin[moving]), *self.numbers, found
        )
        if panels < 0:
            k = int(np.flatnonzero(moving)[-1 - panels])
            raise OutsideValidity(
                f"The race of mode {k} from {begin[k].tolist()} cannot be followed in doubles: a "
                f"pathway changes by its own size while the first digits of their sum stay, or "
                f"their sum is too small. Start the pathways nearer to each other and to the "
                f"target."
            )
        out[moving] = found
        return out.transpose(2, 1, 0)
