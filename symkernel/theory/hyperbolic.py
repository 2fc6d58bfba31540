r"""The solution of $\dot p = g q,\ \dot q = g p$: a hyperbolic rotation with a Riccati clock.

With $\dot\varphi = g$, $p \pm q$ grow as $e^{\pm\varphi}$, so that the overlap is
$p\cdot q = (P_0 z - Q_0/z)/4$ with $z = e^{2\varphi}$, $P_0 = |p_0+q_0|^2$, $Q_0 = |p_0-q_0|^2$.
The drive $g = \sigma - \delta\,p\cdot q$ then gives a Riccati equation with constant
coefficients for z. Nothing here is divided by $\delta$, $P_0$ or $Q_0$: zero modes, balanced and
opposite sides are no special cases of the reduced equation, only of its solution's rule.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Formula, Step
from symkernel.theory.mode_flow import Drive
from symkernel.theory.solutions import Solution, solve_autonomous, written_out

_TIME = notation.t
_ANGLE = sp.Function("phi")(_TIME)
_REACHED = notation.symbol("z_q", r"G_{\rho}", "growth factor z at that fraction", positive=True)
P_START = notation.symbol("p0", "p_0", "input side of the mode at t = 0", real=True)
Q_START = notation.symbol("q0", "q_0", "output side of the mode at t = 0", real=True)
OVERLAP = notation.symbol("w_t", "w(t)", "overlap p.q of the two sides", real=True)
P_SIDE = notation.symbol("p", "p", "input side of the mode, a hidden vector", real=True)
Q_SIDE = notation.symbol("q_out", "q", "output side of the mode, a hidden vector", real=True)
U0 = notation.symbol("u0", "u_0", "the mode at t = 0", real=True)


@dataclass(frozen=True)
class Sides:
    r"""Initial state of a mode: what of its two sides enters its law.

    Attributes
    ----------
    P0, Q0 : sympy.Expr
        $|p_0 + q_0|^2$ and $|p_0 - q_0|^2$.
    """

    P0: sp.Expr
    Q0: sp.Expr

    @property
    def overlap(self) -> sp.Expr:
        """Initial overlap of the two sides."""
        return sp.expand((self.P0 - self.Q0) / 4)


@dataclass(frozen=True)
class ModeSolution:
    """The solution of one mode, derived from its flow and its initial state."""

    modes: Drive
    sides: Sides

    @cached_property
    def reduced(self) -> sp.Expr:
        """Right-hand side of the reduced equation for z."""
        z = notation.z
        # A denominator z would be multiplied into those of sides that end a symbolic phase.
        overlap = (self.sides.P0 * z**2 - self.sides.Q0) / 4
        return sp.expand(2 * (self.modes.sigma * z - self.modes.delta * overlap))

    @cached_property
    def growth(self) -> Solution:
        """The solution z(t), z(0) = 1."""
        return solve_autonomous(_grouped(self.reduced), notation.z, sp.S.One)

    @cached_property
    def overlap(self) -> sp.Expr:
        """The overlap p.q of the two sides in terms of z."""
        return (self.sides.P0 * notation.z - self.sides.Q0 / notation.z) / 4

    def of_growth(self, expression: sp.Expr) -> sp.Expr:
        """Return an expression in z as plain SymPy in time."""
        z = notation.z
        rational = self.growth.expression
        if self.growth.rule == "logistic":
            # As one fraction: the root of a denominator of its own would leave |a_0| behind.
            rational = sp.cancel(rational)
        plain = written_out(rational, self.growth.where)
        # z = N/D with N, D > 0 from the start on; SymPy, which cannot know that, works for
        # minutes on the sign of 1/D when it takes the root of a nested z.
        top, bottom = sp.fraction(plain)
        root = sp.sqrt(top * bottom) / bottom
        return expression.xreplace({sp.sqrt(z): root, 1 / sp.sqrt(z): 1 / root}).subs(z, plain)

    @cached_property
    def textbook(self) -> Solution | None:
        """For balanced sides: the mode itself, solved by the logistic rule from u0."""
        if self.sides.Q0 != 0 or self.sides.P0 == 0:
            return None
        return solve_autonomous(sp.expand(self.modes.balanced_rate), notation.u, U0)

    def closed_equation(self) -> tuple[sp.Symbol, sp.Expr, sp.Expr]:
        r"""Return (u, f, u0) of $\dot u = f(u)$ for the end-to-end mode $u = c\,p\cdot q$.

        The rate of the overlap is $g(|p|^2 + |q|^2)$, and
        $(|p|^2 + |q|^2)^2 = 4 (p\cdot q)^2 + P_0 Q_0$ along the rotation.
        """
        u, modes = notation.u, self.modes
        overlap = u / modes.scale
        length = sp.sqrt(4 * overlap**2 + self.sides.P0 * self.sides.Q0)
        rate = modes.scale * (modes.sigma - modes.delta * overlap) * length
        return u, rate, modes.scale * self.sides.overlap

    @cached_property
    def even(self) -> sp.Expr:
        """Return cosh of the angle, in z: how much of its own side a hidden direction keeps."""
        root = sp.sqrt(notation.z)
        return (root + 1 / root) / 2

    @cached_property
    def odd(self) -> sp.Expr:
        """Return sinh of the angle, in z: how much it takes over from the other side."""
        root = sp.sqrt(notation.z)
        return (root - 1 / root) / 2

    @property
    def keeps_sign(self) -> bool:
        """Whether the mode would have to change its sign, and cannot: its sides are equal."""
        return self.sides.Q0 == 0 and bool(self.modes.sigma.is_negative)

    @cached_property
    def learning_time(self) -> Formula:
        """Flow time at which the mode reaches a fraction of its final value."""
        modes, sides, q = self.modes, self.sides, notation.fraction
        target = q * modes.sigma / modes.delta
        root = sp.sqrt(sp.expand(target**2) + sp.factor(sides.P0 * sides.Q0 / 4))
        reached = (2 * target + 2 * root) / sides.P0 if sides.P0 != 0 else sides.Q0 / (-4 * target)
        solution = self.growth
        where: tuple = ()
        if self.keeps_sign:
            return Formula("learning time", sp.Symbol("t_q", positive=True), sp.oo)
        clock = _clock_at(solution, _REACHED)
        if solution.rule == "Riccati":
            R = notation.R
            time = 2 * sp.atanh(clock) / R
            where = ((R, dict(solution.where)[R]), (_REACHED, reached))
        elif solution.rule == "logistic":
            reached = sp.cancel(reached.subs(sp.sqrt(target**2), target))
            rate = -solution.clock_rate / solution.clock
            odds = q / (1 - q)
            headroom = sp.expand(sp.cancel(1 / clock.subs(_REACHED, reached) / odds))
            time = sp.log(odds * headroom) / rate
        else:
            time = sp.oo
        return Formula("learning time", sp.Symbol("t_q", positive=True), time, where)

    @cached_property
    def small_scale_time(self) -> Formula:
        r"""The learning time from small initial weights, up to what goes to 0 with them.

        With both sides scaled by $\epsilon$, $\epsilon^2 e^{2\sigma t_q}$ has a limit, which is
        taken of the exact learning time.
        """
        time = self.learning_time.symbol
        if self.modes.sigma.is_negative and not self.keeps_sign:
            # One side turned round: the same mode with the opposite strength.
            turned = replace(self.modes, sigma=-self.modes.sigma)
            return ModeSolution(turned, Sides(self.sides.Q0, self.sides.P0)).small_scale_time
        if self.sides.P0 == 0 or self.modes.sigma == 0 or self.keeps_sign:
            return Formula("learning time from small weights", time, sp.oo)
        sigma, delta = sp.symbols("sigma_ delta_", positive=True)
        general = replace(self.modes, sigma=sigma, delta=delta)
        values = {sigma: self.modes.sigma, delta: self.modes.delta, notation.P0: self.sides.P0}
        lead = sp.log(_growth_from_small(general).xreplace(values)) / (2 * self.modes.sigma)
        return Formula("learning time from small weights", time, lead)

    def steps(self) -> tuple[Step, ...]:
        """Hyperbolic rotation, reduced equation, solution."""
        z_of_t = sp.Function("z")(_TIME)
        rotation = Step(
            "Hyperbolic angle",
            "p and q feed each other at the common rate g, so p + q and p - q only change their "
            "length; z = exp(2 phi)",
            (
                sp.Eq(
                    sp.Function("p")(_TIME),
                    P_START * sp.cosh(_ANGLE) + Q_START * sp.sinh(_ANGLE),
                    evaluate=False,
                ),
                sp.Eq(
                    sp.Function("q_out")(_TIME),
                    Q_START * sp.cosh(_ANGLE) + P_START * sp.sinh(_ANGLE),
                    evaluate=False,
                ),
                sp.Eq(
                    _ANGLE.diff(_TIME),
                    self.modes.sigma - self.modes.delta * OVERLAP,
                    evaluate=False,
                ),
            ),
            self._check_rotation,
        )
        reduced = Step(
            "Reduced equation",
            "the overlap in terms of z, put into the drive",
            (
                sp.Eq(sp.Function("w")(_TIME), self.overlap.subs(notation.z, z_of_t)),
                sp.Eq(
                    z_of_t.diff(_TIME),
                    _grouped(self.reduced).subs(notation.z, z_of_t),
                    evaluate=False,
                ),
            ),
            self._check_reduced,
        )
        solved = Step(
            f"Solution by the {self.growth.rule} rule",
            "stated, and proven by substitution",
            (
                sp.Eq(z_of_t, self.growth.expression, evaluate=False),
                *(sp.Eq(left, right, evaluate=False) for left, right in self.growth.where),
            ),
            self.growth.prove,
        )
        return rotation, reduced, solved

    def _check_rotation(self) -> Evidence:
        p0, q0, g = sp.symbols("p_0 q_0 g", real=True)
        p = p0 * sp.cosh(_ANGLE) + q0 * sp.sinh(_ANGLE)
        q = q0 * sp.cosh(_ANGLE) + p0 * sp.sinh(_ANGLE)
        for side, other in ((p, q), (q, p)):
            residual = side.diff(_TIME).subs(_ANGLE.diff(_TIME), g) - g * other
            if sp.expand(residual) != 0:
                return Evidence(False, "the rotation does not solve p' = g q, q' = g p")
        return Evidence(True, "substituted into p' = g q, q' = g p: residual exactly 0")

    def _check_reduced(self) -> Evidence:
        p0, q0 = sp.symbols("p_0 q_0", real=True)
        z = notation.z
        root = sp.sqrt(z)
        p = p0 * (root + 1 / root) / 2 + q0 * (root - 1 / root) / 2
        q = q0 * (root + 1 / root) / 2 + p0 * (root - 1 / root) / 2
        general = ModeSolution(self.modes, Sides((p0 + q0) ** 2, (p0 - q0) ** 2))
        drive = self.modes.sigma - self.modes.delta * p * q
        residual = 2 * z * drive - general.reduced
        if sp.expand(residual) != 0 or sp.expand(p * q - general.overlap) != 0:
            return Evidence(False, "the reduced equation does not follow from the rotation")
        _, rate, _ = general.closed_equation()
        length = (general.sides.P0 * z + general.sides.Q0 / z) / 2
        output = self.modes.scale * general.overlap
        through = sp.diff(output, z) * general.reduced
        closed = rate.subs(notation.u, output)
        if sp.expand(through**2 - closed**2) != 0 or sp.expand(
            length**2 - 4 * general.overlap**2 - general.sides.P0 * general.sides.Q0
        ):
            return Evidence(False, "the closed equation of the mode does not follow")
        return Evidence(True, "z' = 2 g z with g of the rotated sides: difference exactly 0")


@lru_cache(maxsize=8)
def _growth_from_small(modes: Drive) -> sp.Expr:
    """Return the limit of epsilon^2 exp(2 sigma t_q), both sides scaled by epsilon."""
    P0, Q0, square = notation.P0, notation.Q0, sp.Symbol("epsilon2", positive=True)
    exact = ModeSolution(modes, Sides(P0, Q0)).learning_time
    clock = exact.plain.xreplace({P0: square * P0, Q0: square * Q0}).atoms(sp.atanh).pop().args[0]
    return sp.factor(sp.limit(square * (1 + clock) / (1 - clock), square, 0))


def _clock_at(solution: Solution, value: sp.Expr) -> sp.Expr:
    """Return the clock at which a solution, a ratio linear in the clock, has a value."""
    top, bottom = sp.fraction(solution.expression)
    if solution.rule != "Riccati":
        bottom = sp.expand(bottom)
    (top_moving, top_rest), (moving, rest) = (
        (part.coeff(solution.clock), part.subs(solution.clock, 0)) for part in (top, bottom)
    )
    return sp.factor(value * rest - top_rest) / (top_moving - value * moving)


def _grouped(expression: sp.Expr) -> sp.Expr:
    """Return a polynomial in z with factored coefficients, highest power first."""
    poly = sp.Poly(sp.expand(expression), notation.z)
    terms = [sp.factor(c) * notation.z**k for (k,), c in poly.terms()]
    return sp.Add(*terms)
