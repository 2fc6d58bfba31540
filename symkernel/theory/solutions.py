r"""The few equations that are solved by a rule, each solution proven by substitution.

All are autonomous, $y' = \beta y + \gamma$, $y' = \beta y - \alpha y^2$ and
$y' = -\alpha y^2 + \beta y + \gamma$ with constant coefficients. `dsolve` is slow on them and
wrong for small initial values (sympy/sympy#19092); the proof takes a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import sympy as sp

from symkernel import notation
from symkernel.errors import NoClosedForm
from symkernel.formula import Evidence
from symkernel.identities import vanishes
from symkernel.problem.scalars import as_sympy


@dataclass(frozen=True)
class Solution:
    r"""A solution $y(t)$ with what its proof needs.

    Attributes
    ----------
    rule : str
        "linear", "power law", "logistic" or "Riccati".
    unknown : sympy.Symbol
    right_hand_side, initial : sympy.Expr
        The problem $y' = f(y)$, $y(0) = y_0$.
    expression : sympy.Expr
        The solution, in terms of `where`.
    where : tuple
        Abbreviations, among them the clock, in terms of time.
    clock : sympy.Symbol
        The one abbreviation that moves in time.
    clock_rate : sympy.Expr
        Its derivative.
    clock_start : sympy.Expr
        Its value at t = 0.
    relations : tuple of (symbol, value of its square)
        What holds by the definition of the abbreviations.
    """

    rule: str
    unknown: sp.Symbol
    right_hand_side: sp.Expr
    initial: sp.Expr
    expression: sp.Expr
    where: tuple[tuple[sp.Symbol, sp.Expr], ...]
    clock: sp.Symbol
    clock_rate: sp.Expr
    clock_start: sp.Expr
    relations: tuple[tuple[sp.Symbol, sp.Expr], ...] = ()

    def prove(self) -> Evidence:
        """Substitute the solution into its equation and reduce the residual to 0."""
        moving = sp.diff(self.expression, self.clock) * self.clock_rate
        residual = moving - self.right_hand_side.subs(self.unknown, self.expression)
        start = self.expression.subs(self.clock, self.clock_start) - self.initial
        clock_residual = self._clock_residual()
        for name, expression in (
            ("equation", residual),
            ("initial value", start),
            ("clock", clock_residual),
        ):
            if not vanishes(expression, self.relations):
                return Evidence(False, f"{self.rule}: residual of the {name} is not 0")
        return Evidence(True, f"{self.rule} rule: residual of equation and initial value exactly 0")

    def _clock_residual(self) -> sp.Expr:
        meaning = dict(self.where)[self.clock]
        rate = self.clock_rate.subs(self.clock, meaning)
        return (sp.diff(meaning, notation.t) - rate).rewrite(sp.exp)


def solve_autonomous(right_hand_side: sp.Expr, unknown: sp.Symbol, initial: sp.Expr) -> Solution:
    """Return the solution of an autonomous equation by the first rule that fits.

    Raises
    ------
    NoClosedForm
        If the right-hand side is not a polynomial of degree two at the most.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.theory.solutions import solve_autonomous
    >>> y, k = sp.Symbol("y"), sp.Symbol("k", positive=True)
    >>> solution = solve_autonomous(k * y * (1 - y), y, sp.Rational(1, 3))
    >>> assert solution.rule == "logistic" and solution.prove().passed
    """
    right_hand_side = as_sympy(right_hand_side)
    if not right_hand_side.is_polynomial(unknown):
        raise NoClosedForm(
            f"The reduced equation d{unknown}/dt = {right_hand_side} is no polynomial in "
            f"{unknown}; the rules solve polynomials of degree 2 at the most."
        )
    poly = sp.Poly(sp.expand(right_hand_side), unknown)
    if poly.degree() > 2:
        raise NoClosedForm(
            f"The reduced equation d{unknown}/dt = {right_hand_side} is of degree "
            f"{poly.degree()} in {unknown}; the rules solve degree 2 at the most."
        )
    alpha, beta, gamma = (
        -poly.coeff_monomial(unknown**2),
        *map(poly.coeff_monomial, (unknown, sp.S.One)),
    )
    alpha, beta, gamma = map(sp.factor, (alpha, beta, gamma))
    if alpha == 0:
        return _linear(unknown, beta, gamma, initial)
    if gamma == 0 and beta == 0:
        return _power_law(unknown, alpha, initial)
    if gamma == 0:
        return _logistic(unknown, alpha, beta, initial)
    return _riccati(unknown, alpha, beta, gamma, initial)


_DECAY = sp.Symbol("E", positive=True)
_GROWTH = sp.Symbol("F", positive=True)


def _linear(y: sp.Symbol, beta: sp.Expr, gamma: sp.Expr, initial: sp.Expr) -> Solution:
    if beta == 0:
        clock = sp.Symbol("t_phase", nonnegative=True)
        return Solution(
            "linear",
            y,
            gamma,
            initial,
            initial + gamma * clock,
            ((clock, notation.t),),
            clock,
            sp.S.One,
            sp.S.Zero,
        )
    expression = (initial + gamma / beta) * _GROWTH - gamma / beta
    return Solution(
        "linear",
        y,
        beta * y + gamma,
        initial,
        expression,
        ((_GROWTH, sp.exp(beta * notation.t)),),
        _GROWTH,
        beta * _GROWTH,
        sp.S.One,
    )


def _logistic(y: sp.Symbol, alpha: sp.Expr, beta: sp.Expr, initial: sp.Expr) -> Solution:
    final = sp.cancel(beta / alpha)
    expression = final / (1 + (sp.cancel(final / initial) - 1) * _DECAY)
    return Solution(
        "logistic",
        y,
        beta * y - alpha * y**2,
        initial,
        expression,
        ((_DECAY, sp.exp(-beta * notation.t)),),
        _DECAY,
        -beta * _DECAY,
        sp.S.One,
    )


def _power_law(y: sp.Symbol, alpha: sp.Expr, initial: sp.Expr) -> Solution:
    clock = sp.Symbol("t_phase", nonnegative=True)
    return Solution(
        "power law",
        y,
        -alpha * y**2,
        initial,
        initial / (1 + alpha * initial * clock),
        ((clock, notation.t),),
        clock,
        sp.S.One,
        sp.S.Zero,
    )


def _riccati(
    y: sp.Symbol, alpha: sp.Expr, beta: sp.Expr, gamma: sp.Expr, initial: sp.Expr
) -> Solution:
    R, T = notation.R, notation.T
    radicand = sp.factor_terms(beta**2) + sp.factor(4 * alpha * gamma)
    if sp.expand(radicand) == 0:
        return _double_root(y, alpha, beta, gamma, initial)
    top = R * initial + (beta * initial + 2 * gamma) * T
    bottom = R + (2 * alpha * initial - beta) * T
    return Solution(
        "Riccati",
        y,
        -alpha * y**2 + beta * y + gamma,
        initial,
        top / bottom,
        ((R, sp.sqrt(radicand)), (T, sp.tanh(R * notation.t / 2))),
        T,
        R * (1 - T**2) / 2,
        sp.S.Zero,
        ((R, radicand),),
    )


def _double_root(
    y: sp.Symbol, alpha: sp.Expr, beta: sp.Expr, gamma: sp.Expr, initial: sp.Expr
) -> Solution:
    r"""Solve $y' = -\alpha (y - r)^2$: the distance from the root r falls by the power law."""
    root = sp.cancel(beta / (2 * alpha))
    distance = _power_law(y, alpha, initial - root)
    return replace(
        distance,
        right_hand_side=-alpha * y**2 + beta * y + gamma,
        initial=initial,
        expression=root + distance.expression,
    )


def written_out(
    expression: sp.Expr, where: Sequence[tuple[sp.Symbol, sp.Expr]] | Mapping
) -> sp.Expr:
    """Return the expression with its abbreviations replaced, the last ones first."""
    pairs = list(where.items()) if isinstance(where, Mapping) else list(where)
    for symbol, meaning in reversed(pairs):
        expression = expression.subs(symbol, meaning)
    return expression
