r"""What the hidden layer keeps of an input that a first task needed and a second one does not.

A mode with a read-out of its own and amplitudes a (input side) and b (output side) has learned
$u = ab$; then its target becomes 0. $c = a^2 - b^2$ is conserved, and $A = a^2$, all that the layer
tells of the input, obeys $\dot A = -2dA(A - c)$ for an input of variance d. From balanced weights
it is forgotten as $1/2dt$, however long it was learned; from c > 0 the floor c remains; from c < 0
it decays exponentially. Setting the read-out to a small value between the tasks makes c > 0, and
locks the input in.
"""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Step
from symkernel.identities import vanishes
from symkernel.notation import t
from symkernel.theory.information_derivation import DerivedFormula, eq
from symkernel.theory.information_gaussian import NOISE, gaussian, same_bits

__all__ = ["pretraining_memory"]

LEARNED = notation.symbol(
    "A_learned", "A_1", "a^2 of the input at the end of the first task", positive=True
)
KEPT = notation.symbol("c_kept", "c", "conserved a^2 - b^2 of the input's mode", real=True)
MEMORY = notation.symbol(
    "A_memory", "A", "a^2 of the input while the second task is learned", positive=True
)
VARIANCE = notation.symbol(
    "d_input", "d", "variance of the input, which no other one shares", positive=True
)
INFORMATION = notation.symbol("I_memory", r"I(h; x)", "bits about the input", real=True)
RESET = notation.symbol("b_reset", "b_r", "read-out to which the mode's one was set", positive=True)
_A, _B = (sp.Function(name)(t) for name in ("a", "b"))


def memory(kept: sp.Expr = KEPT) -> sp.Expr:
    """Return a^2 at a time after the second task began."""
    rate = 2 * kept * VARIANCE
    grown = t if kept == 0 else (1 - sp.exp(-rate * t)) / rate
    return LEARNED / (sp.exp(-rate * t) + 2 * LEARNED * VARIANCE * grown)


def pretraining_memory() -> DerivedFormula:
    r"""Return the information about an input that is needed no longer, and its limits.

    Time counts from the beginning of the second task, of factor 1/2 and rates 1.

    Examples
    --------
    >>> import sympy as sp, symkernel as sk
    >>> found = sk.information.pretraining_memory()
    >>> assert all(step.check().passed for step in found.steps)
    """
    bits = sp.log(1 + MEMORY * VARIANCE / NOISE**2) / (2 * sp.log(2))
    flow = (-VARIANCE * _A * _B**2, -VARIANCE * _A**2 * _B)
    rate = -2 * VARIANCE * MEMORY * (MEMORY - KEPT)
    solution, balanced = memory(), memory(sp.S.Zero)
    steps = (
        Step(
            "Flow",
            "the gradient of half the squared output; a^2 - b^2 stays, and closes the equation of "
            "a^2",
            (
                *(eq(sp.Derivative(q, t), f) for q, f in zip((_A, _B), flow, strict=True)),
                eq(sp.Derivative(sp.Function("A")(t), t), rate),
            ),
            lambda: check_flow(flow, rate),
        ),
        Step(
            "Solution",
            "a logistic equation, whose other fixed point is c",
            (eq(MEMORY, solution),),
            lambda: check_solution(memory, rate),
        ),
        Step(
            "Balanced weights",
            "the limit c to 0: late in the second task it does not matter what was learned",
            (eq(MEMORY, balanced),),
            lambda: check_balanced(balanced),
        ),
        Step(
            "What remains",
            "for c > 0 the floor c, for c < 0 nothing",
            (eq(sp.Limit(MEMORY, t, sp.oo), sp.Max(KEPT, 0)),),
            lambda: check_floor(memory),
        ),
        Step(
            "Read-out reset",
            "set to b_r before the second task begins, it makes c what was learned but b_r^2: the "
            "input is locked in",
            (eq(KEPT, LEARNED - RESET**2),),
            lambda: check_reset(LEARNED - RESET**2),
        ),
        Step(
            "Information",
            "of the linear layer about an input that correlates with no other",
            (eq(INFORMATION, bits),),
            lambda: check_information(bits),
        ),
    )
    where = ((MEMORY, solution),)
    name = "information about an input that is needed no longer"
    return DerivedFormula(name, INFORMATION, bits, where, steps=steps)


def check_flow(flow: tuple[sp.Expr, sp.Expr], rate: sp.Expr) -> Evidence:
    """Differentiate the loss, the conserved quantity and a^2."""
    a, b = sp.symbols("a b", real=True)
    names = {_A: a, _B: b}
    rates = [f.xreplace(names) for f in flow]
    loss = VARIANCE * (a * b) ** 2 / 2
    gaps = [f + sp.diff(loss, q) for f, q in zip(rates, (a, b), strict=True)]
    gaps.append(2 * a * rates[0] - 2 * b * rates[1])
    gaps.append(2 * a * rates[0] - rate.xreplace({MEMORY: a**2, KEPT: a**2 - b**2}))
    return Evidence.of(all(map(vanishes, gaps)), "gradient, conserved a^2 - b^2, rate of a^2 exact")


def check_solution(solution: Callable[..., sp.Expr], rate: sp.Expr) -> Evidence:
    """Put the solution into its equation, for any c and for c = 0."""
    gaps = []
    for kept in (KEPT, sp.S.Zero):
        A = solution(kept)
        gaps += [sp.diff(A, t) - rate.subs({MEMORY: A, KEPT: kept}), A.subs(t, 0) - LEARNED]
    return Evidence.of(all(map(vanishes, gaps)), "residual 0, initial value exact, also at c = 0")


def check_balanced(balanced: sp.Expr) -> Evidence:
    """Take the limit of the solution, and that of long times."""
    limit = sp.limit(memory(), KEPT, 0) - balanced
    late = sp.limit(balanced * 2 * VARIANCE * t, t, sp.oo)
    passed = vanishes(limit) and late == 1
    return Evidence.of(passed, "limit of the solution; 1 / (2 d t) at late times, whatever A_1")


def check_floor(solution: Callable[..., sp.Expr]) -> Evidence:
    """Take both limits of long times."""
    floor = sp.Symbol("floor", positive=True)
    above, below = (sp.limit(solution(sign * floor), t, sp.oo) for sign in (1, -1))
    return Evidence.of(vanishes(above - floor) and below == 0, "limits c and 0")


def check_reset(kept: sp.Expr) -> Evidence:
    """Start from a^2 = A_1 and b = b_r; take the limit of long times, for exact numbers."""
    A = memory(kept)
    slope = sp.diff(A, t).subs(t, 0) + 2 * VARIANCE * LEARNED * RESET**2
    numbers = {LEARNED: sp.Rational(3, 2), RESET: sp.Rational(1, 2)}
    late = sp.limit(A.subs(numbers), t, sp.oo) - (LEARNED - RESET**2).subs(numbers)
    return Evidence.of(vanishes(slope) and late == 0, "first slope exactly, and the floor")


def check_information(bits: sp.Expr) -> Evidence:
    """Compare with the determinants of a layer that reads another input too."""
    gram, C = sp.diag(MEMORY, 3), sp.diag(VARIANCE, 2)
    known = gaussian(gram, C, NOISE, of=0)
    return same_bits(known, bits)
