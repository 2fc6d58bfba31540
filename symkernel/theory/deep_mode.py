r"""One mode of a deep linear network: $\dot u = D c^{2/D-1} u^{2-2/D}(\sigma - \delta u/c)$.

With $y = (u/u_\infty)^{1/D}$, the amplitude of each layer over its final value, the equation
separates, $\nu\,dt = dy / [y^{D-1}(1 - y^D)]$, and the flow time is an explicit function of the
mode on every branch. The mode is an explicit function of time for one and two layers, and in the
limit of infinite depth in the time $D\,t$.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.errors import InvalidArgument, NoClosedForm, as_real_array, as_times
from symkernel.formula import Evidence, Formula
from symkernel.theory.deep_functions import ModeCurve, WrightOmega
from symkernel.theory.deep_integrals import (
    DYING,
    ELEMENTARY,
    POSITIVE,
    Y0,
    Y_REACHED,
    Clock,
    Y,
    dying,
    elementary,
    falling,
    prove_integral,
    rising,
)
from symkernel.theory.deep_routine import deep_routine
from symkernel.theory.hyperbolic import U0
from symkernel.theory.solutions import solve_autonomous, written_out

_TIME, _U = notation.t, notation.u
DEEP_TIME = notation.symbol(
    "T_D", "T", "flow time times depth, in the limit of infinite depth", nonnegative=True
)
_UP, _DOWN, _AWAY = (
    notation.symbol(name, latex, f"flow time {words}", nonnegative=True)
    for name, latex, words in (
        ("t_rising", r"t_{\text{rising}}", "while the mode rises to its final value"),
        ("t_falling", r"t_{\text{falling}}", "while the mode falls to its final value"),
        ("t_dying", r"t_{\text{dying}}", "while the mode falls to the saddle at 0"),
    )
)
_OMEGA_0 = notation.symbol(
    "z0", "z_0", "what is missing over what is there, s/(d u) - 1, at t = 0", real=True
)


@dataclass(frozen=True)
class DeepMode:
    r"""A mode of a chain of D aligned and balanced layers, $u = c\,a^D$.

    Attributes
    ----------
    depth : sympy.Expr
        Number of weight matrices D: an integer from 1 on, a positive symbol, or infinity.
    sigma, delta, scale : sympy.Expr
        $\dot a = a^{D-1}(\sigma - \delta a^D)$ and the factor c.
    """

    depth: sp.Expr
    sigma: sp.Expr = notation.s
    delta: sp.Expr = notation.d
    scale: sp.Expr = sp.S.One

    @property
    def is_explicit(self) -> bool:
        """Whether u is a known function of time."""
        return self.depth in (1, 2, sp.oo)

    @property
    def clock(self) -> sp.Symbol:
        """Flow time t; at infinite depth T = D t, because the flow is D times as fast."""
        return DEEP_TIME if self.depth == sp.oo else _TIME

    @property
    def final(self) -> sp.Expr:
        """What the mode tends to from the side of its sign."""
        return self.scale * self.sigma / self.delta

    @property
    def rate(self) -> sp.Expr:
        r"""The right-hand side $f(u)$ of the mode's equation, $u > 0$."""
        drive = self.sigma - self.delta * _U / self.scale
        if self.depth == sp.oo:
            return _U**2 * drive
        if self.depth == 1:
            return sp.expand(self.scale * drive)
        power = sp.S(2) / self.depth
        return self.depth * self.scale ** (power - 1) * _U ** (2 - power) * drive

    @property
    def equation(self) -> sp.Eq:
        """The mode's differential equation."""
        u = sp.Function("u")(self.clock)
        return sp.Eq(u.diff(self.clock), self.rate.subs(_U, u), evaluate=False)

    def _where(self, clock: Clock = POSITIVE) -> tuple[tuple[sp.Symbol, sp.Expr], ...]:
        D, target = self.depth, self.sigma
        if clock is DYING:
            # The table's s is positive: its size would be itself, for negative numbers too.
            size = sp.Abs(notation.s, evaluate=False)
            target = sp.Abs(target).xreplace({notation.s: size})
        ratio = self.delta / (self.scale * target)
        return (
            (clock.rate, target * (target / self.delta) ** (1 - sp.S(2) / D)),
            (clock.y, (ratio * _U) ** (1 / D)),
            (clock.y0, (ratio * U0) ** (1 / D)),
        )

    def _time(
        self, name: str, symbol: sp.Symbol, integral: sp.Expr, clock: Clock = POSITIVE
    ) -> Formula:
        difference = integral.subs(Y, clock.y) - integral.subs(Y, clock.y0)
        return Formula(name, symbol, difference / clock.rate, self._where(clock))

    @property
    def times(self) -> tuple[Formula, ...]:
        """The flow time as a function of the mode, on every branch.

        One formula for all branches where the mode is explicit. Of others the last one is that of
        a negative strength: it holds for s as it is given, and in terms of its size alone.

        Examples
        --------
        >>> import symkernel as sk
        >>> time = sk.deep_mode(4).times[-1].plain
        >>> values = dict(zip(("s", "d", "u0", "u"), (-1, 1, 0.5, 0.1)))
        >>> found = time.subs({q: values[q.name] for q in time.free_symbols}).evalf()
        >>> assert abs(found - 0.7194) < 1e-4
        """
        D = self.depth
        if self.is_explicit:
            return (replace(self.time, name="flow time, on every branch"),)
        found = [
            self._time("flow time, 0 < u0 <= u < final value", _UP, rising(D)),
            self._time("flow time, u0 >= u > final value > 0", _DOWN, falling(D)),
            self._time("flow time, negative strength: u falls to 0", _AWAY, dying(D), DYING),
        ]
        if D in ELEMENTARY:
            name = "flow time, both positive branches in elementary functions"
            found.insert(2, self._time(name, _TIME, elementary(int(D))))
        return tuple(found)

    @cached_property
    def time(self) -> Formula:
        """The flow time at which a rising mode has a value u, 0 < u0 <= u < final value.

        Examples
        --------
        >>> import symkernel as sk
        >>> mode = sk.deep_mode(4)
        >>> values = dict(zip(("s", "d", "u0", "u"), (1, 1, 0.01, 0.5)))
        >>> time = mode.time.plain
        >>> flow_time = time.subs({q: values[q.name] for q in time.free_symbols}).evalf()
        >>> assert abs(mode([float(flow_time)], strength=1.0, start=0.01) - 0.5) < 1e-12
        """
        if self.depth == sp.oo:
            odds = self.sigma / (self.delta * _U) - 1
            start = odds.subs(_U, U0)
            expression = start - odds + sp.log(start / odds)
            return Formula("flow time", self.clock, expression * self.delta / self.sigma**2)
        if self.depth == 1:
            reached = (self.final - U0) / (self.final - _U)
            return Formula("flow time", _TIME, sp.log(reached) / self.delta)
        if self.depth == 2:
            odds = _U * (self.final - U0) / (U0 * (self.final - _U))
            return Formula("flow time", _TIME, sp.log(odds) / (2 * self.sigma))
        return self.times[0]

    @cached_property
    def output(self) -> Formula:
        """The mode as a function of time: for depths 1, 2 and infinity.

        Raises
        ------
        NoClosedForm
            For other depths, where only the flow time is an explicit function of the mode.
        """
        if self.depth == sp.oo:
            meaning = ((_OMEGA_0, self.sigma / (self.delta * U0) - 1),)
            inside = sp.log(_OMEGA_0) + _OMEGA_0 - self.sigma**2 / self.delta * DEEP_TIME
            expression = self.sigma / self.delta / (1 + WrightOmega(inside))
            return Formula("output mode", _U, expression, meaning)
        if not self.is_explicit:
            raise NoClosedForm(
                f"At depth {self.depth} the mode is no elementary function of time; its flow time "
                f"is an explicit function of the mode (see 'time'), which the compiled law inverts."
            )
        solution = solve_autonomous(sp.expand(self.rate), _U, U0)
        return Formula("output mode", _U, solution.expression, solution.where)

    def learning_time(self, *, small_scale: bool = False) -> Formula:
        r"""Return the flow time at which a rising mode reaches a fraction of its final value.

        With `small_scale` up to what goes to 0 with the initial mode.
        """
        q, D = notation.fraction, self.depth
        symbol, name = sp.Symbol("t_q", positive=True), "learning time"
        if D == 1:
            left = 1 if small_scale else (self.final - U0) / self.final
            return Formula(name, symbol, sp.log(left / (1 - q)) / self.delta)
        if D == 2:
            headroom = self.final / U0 - (0 if small_scale else 1)
            return Formula(name, symbol, sp.log(q / (1 - q) * headroom) / (2 * self.sigma))
        integral = elementary(int(D), rising_only=True) if D in ELEMENTARY else rising(D)
        start = integral.subs(Y, Y0)
        if small_scale:
            pole = Y ** (2 - D) / (2 - D)
            start = pole.subs(Y, Y0) + (integral - pole).subs(Y, 0)
        rate, _, at_start = self._where()
        reached = integral.subs(Y, Y_REACHED)
        where = (rate, (Y_REACHED, q ** (1 / D)), at_start)
        return Formula(name, symbol, (reached - start) / POSITIVE.rate, where)

    @property
    def curve(self) -> sp.Expr:
        """The mode as an expression in time: explicit, or the inverse of its flow time."""
        if self.is_explicit:
            return written_out(self.output.expression, self.output.where)
        return ModeCurve(_TIME, U0, self.sigma, self.delta, self.scale, self.depth)

    def prove(self) -> Evidence:
        """Substitute the solution into the mode's equation, or differentiate the flow time."""
        if self.depth in (1, 2):
            solved = solve_autonomous(sp.expand(self.rate), _U, U0).prove()
            inverse = Evidence(False, "dt/du differs from 1/f(u), or t(u0) from 0")
            return solved if not solved.passed or self._time_solves() else inverse
        if self.depth == sp.oo:
            return self._prove_limit()
        for title, integral, rate in (
            ("rising", rising(self.depth), Y ** (self.depth - 1) * (1 - Y**self.depth)),
            ("falling", falling(self.depth), Y ** (self.depth - 1) * (1 - Y**self.depth)),
            ("dying", dying(self.depth), -(Y ** (self.depth - 1)) * (1 + Y**self.depth)),
        ):
            if not prove_integral(integral, rate, self.depth):
                return Evidence(False, f"{title} branch: dt/du differs from 1/f(u)")
        if not (self._separates(POSITIVE) and self._separates(DYING)):
            return Evidence(False, "the amplitude y does not move as the integrals have it")
        words = "dt/du = 1/f(u) on all three branches exactly, t(u0) = 0"
        if self.depth in ELEMENTARY:
            rate = Y ** (self.depth - 1) * (1 - Y**self.depth)
            if not prove_integral(elementary(int(self.depth)), rate, self.depth):
                return Evidence(False, "elementary form: dt/du differs from 1/f(u)")
            words += "; the elementary form too"
        return Evidence(True, words)

    def _separates(self, clock: Clock) -> bool:
        r"""Whether the mode's own equation is $\dot y = \nu y^{D-1}(1 - y^D)$, or its reverse."""
        size, u = sp.symbols("size u", positive=True)
        sign, D = -1 if clock is DYING else 1, self.depth
        meant = {sp.Abs(notation.s, evaluate=False): size, notation.s: size, _U: u}
        rate, y, _ = (meaning.xreplace(meant) for _, meaning in self._where(clock))
        level = sp.powdenest(sp.expand_power_base(y, force=True) ** D, force=True)
        in_y = Y**D * sp.cancel(u / level)
        moved = y.diff(u) * self.rate.xreplace({notation.s: sign * size, _U: u})
        claimed = rate * Y ** (D - 1) * sign * (1 - sign * Y**D)
        gap = sp.expand(sp.powdenest(sp.expand(moved.subs(u, in_y) - claimed), force=True))
        return sp.powsimp(sp.expand(sp.expand_power_base(gap, force=True))) == 0

    def _prove_limit(self) -> Evidence:
        """Differentiate the law of infinite depth, and invert it into its own flow time."""
        law, z0 = self.output.expression, dict(self.output.where)[_OMEGA_0]
        omega = law.atoms(WrightOmega).pop()
        plain = sp.Symbol("omega_value", positive=True)
        residual = (law.diff(DEEP_TIME) - self.rate.subs(_U, law)).subs(omega, plain)
        start = law.subs(omega, _OMEGA_0).subs(_OMEGA_0, z0) - U0
        passed = all(sp.cancel(sp.together(e)) == 0 for e in (residual, start))
        passed &= self._time_solves()
        words = "omega' = omega/(1 + omega) substituted: residual and initial value exactly 0"
        return Evidence.of(passed, words)

    def _time_solves(self) -> bool:
        """Whether the explicit flow time has the slope 1/f(u), and starts at 0."""
        time = self.time.expression
        slope = sp.cancel(sp.together(time.diff(_U) * self.rate - 1))
        return slope == 0 and time.subs(_U, U0) == 0

    def __call__(self, times: Any, strength: Any, start: Any, variance: Any = 1.0) -> np.ndarray:
        r"""Return the mode at flow times, by the compiled inverse of the flow time.

        Parameters
        ----------
        times : array_like
            Flow times, increasing; $T = D t$ at infinite depth.
        strength, start, variance : float or array_like
            $s$ of any sign, $u_0 \ge 0$ and $d > 0$, one or one for each mode.

        Returns
        -------
        ndarray, shape (n_times, n_modes)
        """
        clock = as_times(times)
        named = {"strength": strength, "start": start, "variance": variance}
        given = [_as_numbers(value, name) for name, value in named.items()]
        try:
            s, u0, d = np.broadcast_arrays(*given)
        except ValueError:
            raise InvalidArgument(
                "Arguments 'strength', 'start' and 'variance' must hold one number or one for "
                "each mode, of the same count."
            ) from None
        if (u0 < 0).any() or (d <= 0).any():
            raise InvalidArgument(
                "Argument 'start' must not be negative and 'variance' must be positive; for a "
                "negative start turn the signs of 'start' and 'strength'."
            )
        if not self.depth.is_Integer and self.depth != sp.oo:
            raise InvalidArgument(f"The depth must be a number to be evaluated, not {self.depth}.")
        layers = 0 if self.depth == sp.oo else int(self.depth)
        amplitude = u0 ** (1 / layers) if layers else u0
        layer, _ = deep_routine(layers)(clock, s, d, amplitude)
        return layer**layers if layers else layer


def _as_numbers(value: Any, name: str) -> np.ndarray:
    found = np.atleast_1d(value)
    if found.dtype == bool:
        raise InvalidArgument(f"Argument '{name}' must hold real numbers, not {value!r}.")
    return as_real_array(found, name, 1)


def deep_mode(depth: Any) -> DeepMode:
    r"""Return the law of one mode of a deep linear network: $\dot u = D u^{2-2/D}(s - d\,u)$.

    Aligned and balanced layers, house conventions (loss factor 1/2, standard parameterisation).

    Parameters
    ----------
    depth : int, positive Symbol or infinity
        The number of weight matrices D. At infinity time is counted as $T = D\,t$.

    Returns
    -------
    DeepMode
        With `equation`, `time` (flow time at which the mode has a value, a Formula), `times` (on
        every branch), `output` (for depths 1, 2 and infinity), `prove()`; call it with times,
        strengths and starts for numbers.

    Raises
    ------
    InvalidArgument
        If the depth is below 1, no whole number, or a symbol that is not positive.

    References
    ----------
    A. M. Saxe, J. L. McClelland, S. Ganguli, arXiv:1312.6120 (2014); S. Arora, N. Cohen, E. Hazan,
    arXiv:1802.06509 (2018). The solution and the limit were derived here.

    Examples
    --------
    >>> import numpy as np, sympy as sp, symkernel as sk
    >>> u = sk.deep_mode(sp.oo)([0.0, 90.0, 110.0], strength=1.0, start=0.01)
    >>> assert u[0, 0] == 0.01 and u[1, 0] < 0.5 < u[2, 0]
    """
    wanted = sp.oo if depth in (sp.oo, float("inf")) else depth
    if isinstance(depth, (int, np.integer)) and not isinstance(depth, bool):
        wanted = sp.Integer(int(depth))
    known = isinstance(wanted, sp.Expr) and (
        wanted == sp.oo
        or (wanted.is_Integer and wanted >= 1)
        or (wanted.is_Symbol and wanted.is_positive and wanted not in (notation.s, notation.d))
    )
    if not known:
        raise InvalidArgument(
            f"Argument 'depth' must be a whole number of layers from 1 on, a positive symbol or "
            f"infinity, not {depth!r}."
        )
    return DeepMode(wanted)
