r"""What a layer keeps of an input that a first task needed, where both tasks share the read-out.

One hidden unit, $f = b\,w\cdot x$ on white inputs, balanced ($b^2 = |w|^2$). A first task needed
input c; the second one is $s x_d$. The directions $z = w/b$ obey a scalar Riccati equation,

$$z_d = \dot D/sD,\quad z_c = z_{c1}/D,\qquad D = \cosh st + z_1 \sinh st,$$

and $1/b^2$ a linear one, so that

$$A_{cc}(t) = A_1 \Big/ \Big(1 + 2 b_1^2 \int_0^t D^2\Big).$$

The read-out that the second task lets grow pulls on the weights of the input that it does not
need: they are forgotten as $e^{-2st}$. A read-out of their own forgets as 1/2t, the limit s to 0.
"""

from __future__ import annotations

import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Step
from symkernel.identities import vanishes
from symkernel.notation import t
from symkernel.theory.information_derivation import DerivedFormula, eq
from symkernel.theory.information_gaussian import NOISE, gaussian, same_bits
from symkernel.theory.information_memory import INFORMATION, LEARNED, MEMORY

__all__ = ["shared_readout_memory"]

STRENGTH = notation.symbol("s_second", "s", "strength of the second task", positive=True)
READ = notation.symbol("b_learned", "b_1", "read-out at the end of the first task", positive=True)
ALIGNED = notation.symbol(
    "z_aligned",
    "z_1",
    "share of the weights along the second task's input at the end of the first one, -1 to 1",
    real=True,
)
SPAN = notation.symbol("Lambda_memory", r"\Lambda", "integral of D^2 since then", positive=True)
_TURN = sp.Function("D")(t)
_OWN, _OTHER, _READ = (sp.Function(name)(t) for name in ("w_d", "w_c", "b"))


def turn() -> sp.Expr:
    """Return D, by which the weights have turned to the second task's input."""
    return sp.cosh(STRENGTH * t) + ALIGNED * sp.sinh(STRENGTH * t)


def span() -> sp.Expr:
    """Return the integral of its square."""
    z, angle = ALIGNED, 2 * STRENGTH * t
    grown = (1 + z**2) * sp.sinh(angle) / 4 + z * (sp.cosh(angle) - 1) / 2
    return (1 - z**2) * t / 2 + grown / STRENGTH


def shared_memory() -> sp.Expr:
    """Return the squared weight of the input that the second task does not need."""
    return LEARNED / (1 + 2 * READ**2 * SPAN)


def shared_readout_memory() -> DerivedFormula:
    r"""Return the information about an input that is needed no longer, one read-out for all.

    Time counts from the beginning of the second task, of factor 1/2 and rates 1. For an input of
    variance 1 that correlates with no other.

    Examples
    --------
    >>> import symkernel as sk
    >>> found = sk.information.shared_readout_memory()
    >>> assert all(step.check().passed for step in found.steps)
    """
    s, b, z = STRENGTH, READ, ALIGNED
    flow = {
        _OWN: _READ * (s - _READ * _OWN),
        _OTHER: -(_READ**2) * _OTHER,
        _READ: s * _OWN - _READ * (_OWN**2 + _OTHER**2),
    }
    angles = sp.Function("z_d")(t), sp.Function("z_c")(t)
    bends = (s * (1 - angles[0] ** 2), -s * angles[0] * angles[1])
    late = 4 * s * LEARNED * sp.exp(-2 * s * t) / (b**2 * (1 + z) ** 2)
    bits = sp.log(1 + MEMORY / NOISE**2) / (2 * sp.log(2))
    steps = (
        Step(
            "Flow",
            "the gradient of half the squared error; b^2 - |w|^2 stays 0",
            tuple(eq(sp.Derivative(q, t), rate) for q, rate in flow.items()),
            lambda: check_flow(flow),
        ),
        Step(
            "Directions",
            "w / b, of length 1 where weights are balanced: its equation is closed",
            (
                *(eq(sp.Derivative(q, t), rate) for q, rate in zip(angles, bends, strict=True)),
                eq(_TURN, turn()),
            ),
            lambda: check_directions(flow, bends, turn()),
        ),
        Step(
            "Memory",
            "1 / b^2 obeys a linear equation whose integrating factor is D^2",
            (eq(SPAN, span()), eq(MEMORY, shared_memory())),
            lambda: check_memory(shared_memory(), span()),
        ),
        Step(
            "Late times",
            "the read-out has become that of the second task, b^2 = s",
            (eq(MEMORY, late),),
            lambda: check_late(late),
        ),
        Step(
            "Nothing to learn",
            "the limit s to 0: the memory of a read-out of its own, from balanced weights",
            (eq(sp.Limit(SPAN, s, 0), t),),
            lambda: check_nothing(t),
        ),
        Step(
            "Information",
            "of the linear layer about an input that correlates with no other, which is known",
            (eq(INFORMATION, bits),),
            lambda: check_information(bits),
        ),
    )
    where = ((MEMORY, shared_memory()), (SPAN, span()))
    name = "information about an input that is needed no longer, shared read-out"
    return DerivedFormula(name, INFORMATION, bits, tuple(reversed(where)), steps=steps)


def _exponential(expression: sp.Expr) -> sp.Expr:
    return sp.expand(expression.rewrite(sp.exp))


def check_flow(flow: dict[sp.Expr, sp.Expr]) -> Evidence:
    """Differentiate the loss, and what is conserved."""
    own, other, read = sp.symbols("w_d w_c b", real=True)
    names = {_OWN: own, _OTHER: other, _READ: read}
    rates = {names[q]: rate.xreplace(names) for q, rate in flow.items()}
    # Up to a constant: targets s for the own input and 0 for the other one.
    loss = ((STRENGTH - read * own) ** 2 + (read * other) ** 2) / 2
    gaps = [rate + sp.diff(loss, q) for q, rate in rates.items()]
    gaps.append(read * rates[read] - own * rates[own] - other * rates[other])
    return Evidence.of(all(map(vanishes, gaps)), "gradient, conserved b^2 - |w|^2, residuals 0")


def check_directions(
    flow: dict[sp.Expr, sp.Expr], bends: tuple[sp.Expr, sp.Expr], D: sp.Expr
) -> Evidence:
    """Follow w / b along the flow, and put the solutions into its equations."""
    own, other, read = sp.symbols("w_d w_c b", real=True)
    names = {_OWN: own, _OTHER: other, _READ: read}
    rates = {names[q]: rate.xreplace(names) for q, rate in flow.items()}
    z_d, z_c = (bend.atoms(sp.Function) for bend in bends)
    angle = z_d.pop()
    gaps = []
    for side, bend in ((own, bends[0]), (other, bends[1])):
        z = side / read
        along = sum((sp.diff(z, q) * rate for q, rate in rates.items()), sp.S.Zero)
        shown = bend.subs(angle, own / read)
        shown = shown.subs(dict.fromkeys(z_c - {angle}, other / read))
        # Balanced: the squares of both weights sum up to that of the read-out.
        gaps.append(sp.expand((along - shown) * read**2).subs(other**2, read**2 - own**2))
        gaps[-1] = sp.expand(gaps[-1]).subs(other**3, other * (read**2 - own**2))
    solved = sp.diff(D, t) / (STRENGTH * D)
    gaps.append(_exponential(sp.diff(solved, t) - STRENGTH * (1 - solved**2)))
    gaps.append(_exponential(sp.diff(1 / D, t) + STRENGTH * solved / D))
    gaps += [D.subs(t, 0) - 1, solved.subs(t, 0) - ALIGNED]
    return Evidence.of(all(map(vanishes, gaps)), "rates along the flow, residuals and start exact")


def check_memory(memory: sp.Expr, integral: sp.Expr) -> Evidence:
    """Follow both along D and its integral, and put them into the equations of A and b^2."""
    D, slope = sp.symbols("D D_slope", positive=True)

    def rate(q: sp.Expr) -> sp.Expr:
        return sp.diff(q, SPAN) * D**2 + sp.diff(q, D) * slope

    # b^2 is A over z_c^2, which falls as 1 / D^2.
    square = memory * READ**2 * D**2 / LEARNED
    gaps = (
        rate(memory) + 2 * square * memory,
        rate(square) - 2 * square * (slope / D - square),
        memory.subs(SPAN, 0) - LEARNED,
        integral.subs(t, 0),
        _exponential(sp.diff(integral, t) - turn() ** 2),
    )
    return Evidence.of(all(map(vanishes, gaps)), "rates of A and b^2, integral, start: residual 0")


def check_late(late: sp.Expr) -> Evidence:
    """Take the limit of the ratio."""
    x, share = sp.symbols("x share", positive=True)
    exact = LEARNED / shared_memory().subs(SPAN, span().subs(ALIGNED, share - 1))
    # In x = exp(-2 s t); t x vanishes with it.
    grown = _exponential(exact * late.subs(ALIGNED, share - 1) / LEARNED)
    rest = sp.expand(grown.subs(t, -sp.log(x) / (2 * STRENGTH)))
    limit = sp.limit(rest, x, 0, "+")
    return Evidence.of(vanishes(limit - 1), "ratio to the formula tends to 1, for z_1 > -1")


def check_nothing(expected: sp.Expr) -> Evidence:
    """Take the limit of no second task."""
    found = sp.limit(span(), STRENGTH, 0)
    return Evidence.of(vanishes(found - expected), "limit exactly")


def check_information(bits: sp.Expr) -> Evidence:
    """Compare with the determinants of one unit that reads both inputs."""
    own = sp.Symbol("w_d", real=True)
    w = sp.Matrix([[sp.sqrt(MEMORY), own]])
    known = gaussian(w.T * w, sp.eye(2), NOISE, of=0, given=1)
    return same_bits(known, bits)
