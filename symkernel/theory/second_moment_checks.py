"""Machine checks of the second-moment law of stochastic descent on linear regression."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from itertools import combinations, product
from operator import mul

import sympy as sp

from symkernel.formula import Evidence
from symkernel.identities import vanishes
from symkernel.theory.second_moment_formulas import (
    BATCH,
    COUNT,
    DIMENSION,
    ETA,
    FACTOR,
    FINAL,
    LABEL,
    SHARE,
    START,
    STEP,
    TRACE,
    VARIANCE,
    batch_square,
    distinct_spread,
    h_i,
    isotropic_final,
    isotropic_kick,
    limit_matrix,
    recursion,
    replaced_spread,
    returned,
    s_i,
    stationary_direction,
    stationary_trace,
    step_factor,
)
from symkernel.theory.words import Words, trace_gradient


def gaussian_mean(polynomial: sp.Expr, normals: Sequence[sp.Symbol]) -> sp.Expr:
    """Return the mean of a polynomial in independent standard normal variables."""
    terms = sp.Poly(sp.expand(polynomial), *normals).terms()
    return sp.Add(*(c * reduce(mul, map(_moment, powers), sp.S.One) for powers, c in terms))


def _moment(power: int) -> sp.Expr:
    return sp.S.Zero if power % 2 else sp.factorial2(power - 1)


def check_step() -> Evidence:
    """Descend the squared error of one sample whose target is that of w* plus noise."""
    error = Words.of("y") - Words.of("W", "x")
    loss = (error @ error.transposed()).scaled(sp.S.Half)
    gradient = trace_gradient(loss, "W")
    target = Words.of("W*", "x") + Words.of("eps")
    moved = gradient.substituted({"y": target, "W": Words.of("W*") + Words.of("V")})
    shown = Words.of("V", "x", "x'") - Words.of("eps", "x'")
    return Evidence.of(moved == shown, "gradient of a sample is v x x^T less noise times x")


def check_batches(replaced: sp.Expr, distinct: sp.Expr) -> Evidence:
    """Go through all batches of two of four samples."""
    values = sp.symbols("psi_1:5")
    mean, square = sum(values) / 4, sum(q**2 for q in values) / 4
    size = {BATCH: 2, COUNT: 4}
    gaps = []
    every: list[Iterable[tuple[sp.Symbol, ...]]] = [
        product(values, repeat=2),
        combinations(values, 2),
    ]
    for batches, spread in zip(every, (replaced, distinct), strict=True):
        found = [(sum(batch) / sp.Integer(2)) ** 2 for batch in batches]
        shown = batch_square(square, mean, spread.subs(size))
        gaps.append(sp.expand(sum(found) / len(found) - shown))
    return Evidence.of(all(gap == 0 for gap in gaps), "all batches of 2 of 4 samples, exactly")


def check_fourth(shown: Callable[[sp.Matrix, sp.Matrix], sp.Matrix]) -> Evidence:
    """Average over correlated inputs in two dimensions."""
    normals = sp.symbols("g_1:3")
    root = sp.Matrix([[2, 0], [1, 3]])
    x = root * sp.Matrix(normals)
    a, b, c = sp.symbols("a b c")
    S, H = sp.Matrix([[a, b], [b, c]]), root * root.T
    quartic = x * (x.T * S * x)[0] * x.T
    gaps = quartic.applyfunc(lambda e: gaussian_mean(e, normals)) - shown(S, H)
    return Evidence.of(all(sp.expand(e) == 0 for e in gaps), "two correlated inputs, residual 0")


def check_recursion(shown: Callable[..., sp.Matrix]) -> Evidence:
    """Average the square of a step over batches of one and two: the law is linear in 1/B."""
    v = sp.Matrix(sp.symbols("v_1:3"))
    spreads = sp.symbols("root_1:3", positive=True)
    H = sp.diag(*(q**2 for q in spreads))
    gaps: list[sp.Expr] = []
    for size in (1, 2):
        normals = sp.symbols(f"g_1:{3 * size + 1}")
        step = v
        for k in range(size):
            g = normals[3 * k : 3 * k + 3]
            x = sp.Matrix([spreads[0] * g[0], spreads[1] * g[1]])
            step = step + ETA / size * (LABEL * g[2] - (v.T * x)[0]) * x
        after = (step * step.T).applyfunc(lambda e, z=normals: gaussian_mean(e, z))
        gaps += list(after - shown(v * v.T, H, sp.Integer(size)))
    passed = all(sp.expand(gap) == 0 for gap in gaps)
    return Evidence.of(passed, "two inputs with label noise, B = 1 and 2, residual 0")


def check_sampled(shown: Callable[..., sp.Matrix]) -> Evidence:
    """Average the square of a step over all batches of two of three samples that no w fits."""
    v = sp.Matrix(sp.symbols("v_1:3"))
    X = [sp.Matrix(row) for row in ([1, 0], [1, 1], [0, 1])]
    left = (1, -1, 1)  # no w fits these: their mean product with the inputs is 0
    errors = [r - (v.T * x)[0] for r, x in zip(left, X, strict=True)]
    H = sum((x * x.T for x in X), sp.zeros(2)) / 3
    fourth = sum((e**2 * x * x.T for e, x in zip(errors, X, strict=True)), sp.zeros(2)) / 3
    noise = sp.symbols("g_1:3")
    gaps: list[sp.Expr] = []
    for batches, spread in (
        (product(range(3), repeat=2), replaced_spread()),
        (combinations(range(3), 2), distinct_spread()),
    ):
        found, count = sp.zeros(2), 0
        for batch in batches:
            parts = [(errors[i] + LABEL * noise[k]) * X[i] for k, i in enumerate(batch)]
            step = v + ETA / 2 * sum(parts, sp.zeros(2, 1))
            found += (step * step.T).applyfunc(lambda e: gaussian_mean(e, noise))
            count += 1
        theta = spread.subs({BATCH: 2, COUNT: 3})
        gaps += list(found / count - shown(v * v.T, H, fourth, theta, sp.Integer(2)))
    passed = all(sp.expand(gap) == 0 for gap in gaps)
    return Evidence.of(passed, "all batches of 2 of 3 samples with label noise, residual 0")


def check_stationary(own: sp.Expr) -> Evidence:
    """Put the stationary state into the recursion, for any number of directions."""
    s = stationary_direction()
    moved = sp.cancel(own.subs(s_i, s) - s)
    # The trace is the sum over directions, and h_i s_i = returned (T + noise).
    shares = vanishes(h_i * s - returned() * (TRACE + LABEL**2))
    closed = vanishes((SHARE * (TRACE + LABEL**2) - TRACE).subs(TRACE, stationary_trace()))
    # The recursion's own diagonal, for two directions.
    variances, moments = sp.symbols("h_1:3"), sp.symbols("s_1:3")
    H, S = sp.diag(*variances), sp.diag(*moments)
    rule = recursion(S, H, BATCH)[0, 0]
    names = {h_i: variances[0], s_i: moments[0], TRACE: (H * S).trace()}
    same = vanishes(rule - own.xreplace(names))
    return Evidence.of(
        moved == 0 and shares and closed and same, "residual 0, any number of directions"
    )


def check_stability(matrix: Callable[[Sequence[sp.Expr]], sp.Matrix]) -> Evidence:
    """Compare 1 less the operator with the matrix of the limit, entry by entry."""
    variances = sp.symbols("h_1:4", positive=True)
    H = sp.diag(*variances)
    columns = [sp.diag(*(int(k == j) for k in range(3))) for j in range(3)]
    moved = [recursion(S, H, BATCH).subs(LABEL, 0) for S in columns]
    operator = sp.Matrix(3, 3, lambda i, j: moved[j][i, i])
    roots = sp.diag(*(sp.sqrt(h) for h in variances))
    shown = ETA**2 / BATCH * roots * (2 * BATCH / ETA * sp.eye(3) - matrix(variances)) * roots
    gaps = sp.eye(3) - operator - shown
    # What is off the diagonal moves on its own, and less far than one of its two directions.
    pair = sp.Matrix([[0, 1], [1, 0]])
    off = recursion(pair, H[:2, :2], BATCH).subs(LABEL, 0)[0, 1]
    h1, h2 = variances[:2]
    own = 1 - ETA * (h1 + h2) + ETA**2 * (1 + 1 / BATCH) * h1 * h2
    passed = all(vanishes(gap) for gap in gaps) and vanishes(off - own)
    return Evidence.of(passed, "three directions, residual 0; pairs of directions on their own")


def check_trace(factor: sp.Expr, kick: sp.Expr) -> Evidence:
    """Take the trace of the recursion for one, two and three inputs."""
    gaps = []
    for size in (1, 2, 3):
        S = sp.Matrix(size, size, lambda i, j: sp.Symbol(f"S_{min(i, j)}{max(i, j)}"))
        moved = recursion(S, VARIANCE * sp.eye(size), BATCH).trace()
        gaps.append(
            moved
            - (factor * sp.Symbol("whole") + kick).subs(
                {DIMENSION: size, sp.Symbol("whole"): S.trace()}
            )
        )
    return Evidence.of(all(map(vanishes, gaps)), "trace for 1, 2 and 3 inputs, residual 0")


def check_solution(solution: sp.Expr, factor: sp.Expr, final: sp.Expr) -> Evidence:
    """Put the solution into the recursion."""
    later = sp.expand(
        sp.powsimp(solution.subs(STEP, STEP + 1)).subs(FACTOR ** (STEP + 1), FACTOR * FACTOR**STEP)
    )
    rest = sp.expand(later - FACTOR * solution) - isotropic_kick()
    gap = rest.subs(FINAL, final).subs(FACTOR, factor)
    start = vanishes(solution.subs(STEP, 0) - START)
    return Evidence.of(vanishes(gap) and start, "residual 0, value at k = 0")  # fmt: skip


def check_limit(limit: sp.Expr) -> Evidence:
    """Put the limit into the factor of a step and into the matrix for three inputs."""
    one = vanishes(step_factor().subs(ETA, limit) - 1)
    diverges = vanishes(1 / isotropic_final().subs(ETA, limit))
    top = limit_matrix([VARIANCE] * 3) * sp.ones(3, 1)
    largest = 2 * BATCH / limit.subs(DIMENSION, 3) * sp.ones(3, 1)
    same = all(vanishes(gap) for gap in top - largest)
    return Evidence.of(one and diverges and same, "factor 1, and the general limit of three inputs")
