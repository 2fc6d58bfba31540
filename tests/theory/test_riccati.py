"""The Riccati node: definition, equation and algorithm agree; the traps of its evaluation."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy.linalg import expm

from symkernel.codegen.algorithms import (
    AlgorithmNode,
    DecayIntegral,
    Propagator,
    PropagatorIntegral,
    compile_algorithm,
    solves_its_equation,
)
from symkernel.errors import Unlowerable
from symkernel.identities import rational_orthogonal
from symkernel.theory import residual_integral, riccati
from symkernel.theory.residual_integral import ResidualIntegral, symbolic_integral
from symkernel.theory.riccati import RiccatiFlow, symbolic_node

NODES = AlgorithmNode.__subclasses__()
SPECTRA = ([1, -1, 0], [2, 2, -1], [0, 0, 0])


def stream(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def generator(S: np.ndarray, lam: float) -> np.ndarray:
    n_out, n_in = S.shape
    return np.block([[-lam / 2 * np.eye(n_in), S.T], [S, lam / 2 * np.eye(n_out)]])


def flow(S: np.ndarray, lam: float, Q0: np.ndarray, times: list[float]) -> np.ndarray:
    return riccati.advance(riccati.eigenbasis(S, lam), Q0, np.array(times, dtype=float))[0]


def gap(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.abs(found - exact).max() / np.abs(exact).max())


# --- every node: definition, equation, algorithm --------------------------------------------------


def test_there_are_nodes() -> None:
    assert {RiccatiFlow, ResidualIntegral} <= set(NODES)


_SYMBOLIC = {RiccatiFlow: symbolic_node, ResidualIntegral: symbolic_integral}
_PRECISE = {RiccatiFlow: riccati, ResidualIntegral: residual_integral}


def exact_case(node: type, eigenvalues: list[int]) -> dict:
    assert node in _SYMBOLIC, "give the new node a symbolic case of its own here"
    n = len(eigenvalues)
    vectors = rational_orthogonal(n, 2)
    made = _SYMBOLIC[node](n, 2)
    F, Q0, t = made.args
    entries = sp.Matrix(n, 2, lambda i, j: sp.Rational(2 * i - 3 * j + 1, i + j + 2))
    values = {F: vectors * sp.diag(*eigenvalues) * vectors.T, Q0: entries}
    spectrum = (vectors, [sp.Integer(f) for f in eigenvalues])
    return {
        "node": made,
        "values": values,
        "spectrum": spectrum,
        "time": t,
        "at": sp.Rational(1, 3),
    }


@pytest.mark.parametrize("eigenvalues", SPECTRA)
@pytest.mark.parametrize("node", NODES)
def test_definition_solves_its_equation_exactly(node: type, eigenvalues: list[int]) -> None:
    case = exact_case(node, eigenvalues)
    assert solves_its_equation(definition=case["node"].definition(), **case)


def mutations(definition: sp.MatrixExpr, node: AlgorithmNode) -> list[sp.MatrixExpr]:
    """Return the definition with one sign or one factor changed."""
    F, _, t = node.args
    if isinstance(node, ResidualIntegral):
        whole = DecayIntegral(F, t)
        return [
            definition.xreplace({whole: -whole}),
            definition.xreplace({whole: DecayIntegral(F, 2 * t)}),
            definition.xreplace({whole: Propagator(F, t)}),
            2 * definition,
        ]
    one = sp.Identity(node.args[1].shape[1])
    return [
        definition.xreplace({one: -one}),
        definition.xreplace({PropagatorIntegral(F, t): -PropagatorIntegral(F, t)}),
        definition.xreplace({PropagatorIntegral(F, t): 2 * PropagatorIntegral(F, t)}),
        definition.xreplace({Propagator(F, t): Propagator(F, 2 * t)}),
        2 * definition,
    ]


@pytest.mark.parametrize("node", NODES)
def test_a_definition_with_one_change_does_not(node: type) -> None:
    case = exact_case(node, [1, -1, 0])
    for wrong in mutations(case["node"].definition(), case["node"]):
        assert wrong != case["node"].definition()
        assert not solves_its_equation(definition=wrong, **case)


@pytest.mark.parametrize("node", NODES)
def test_algorithm_is_the_definition_at_sixty_digits(node: type) -> None:
    assert _PRECISE[node].check_precision(stream(7), 40).passed


def test_a_generator_without_an_algorithm_is_refused() -> None:
    class Bare(AlgorithmNode):
        pass

    with pytest.raises(Unlowerable, match=r"Bare cannot be compiled: no definition, equation"):
        compile_algorithm(Bare)
    with pytest.raises(Unlowerable, match="no definition, equation, algorithm, entry"):
        compile_algorithm(int)


@pytest.mark.parametrize("node", NODES)
def test_source_stands_alone_and_is_what_runs(node: type) -> None:
    source = compile_algorithm(node).source
    assert "evaluate = numba.njit(" in source
    assert "import symkernel" not in source
    assert "from symkernel" not in source


@pytest.mark.parametrize("shape", [(3, 1, 5), (2, 2, 2), (1, 4, 3), (5, 2, 1), (2, 3, 9)])
def test_flow_composes_in_time(shape: tuple[int, int, int]) -> None:
    n_in, n_out, k = shape
    draw = stream(11)
    S, Q0 = draw.standard_normal((n_out, n_in)), draw.standard_normal((n_in + n_out, k))
    spectrum = riccati.eigenbasis(S, 0.4)
    through = flow(S, 0.4, Q0, [0.7, 2.0])
    _, factor = riccati.advance(spectrum, Q0, np.array([0.7]))
    assert gap(riccati.advance(spectrum, factor, np.array([1.3]))[0][0], through[1]) <= 1e-13
    assert gap(factor @ factor.T, through[0]) <= 1e-13


def test_compressed_factor_has_the_same_product() -> None:
    Q0 = stream(3).standard_normal((5, 40))
    low = riccati.lower_factor(Q0)
    assert low.shape == (5, 5)
    assert gap(low @ low.T, Q0 @ Q0.T) <= 1e-14


def test_eigenbasis_of_a_task_without_strength_and_of_repeated_strengths() -> None:
    for S in (np.zeros((2, 3)), np.eye(3), np.diag([1.0, 1.0 + 1e-13]), np.ones((3, 2))):
        for lam in (0.0, 0.7, -0.7):
            f, E, equal = riccati.eigenbasis(S, lam)
            assert np.abs(E @ np.diag(f) @ E.T - generator(S, lam)).max() <= 1e-14
            assert np.abs(E.T @ E - np.eye(len(f))).max() <= 1e-14
            assert len(set(f[len(f) - equal :])) <= 1


# --- traps ----------------------------------------------------------------------------------------


def naive(S: np.ndarray, lam: float, Q0: np.ndarray, t: float) -> np.ndarray:
    """Return the definition in floating point, as it stands."""
    F = generator(S, lam)
    f, V = np.linalg.eigh(F)
    phi = np.where(np.abs(f) < 1e-12, t, np.expm1(2 * f * t) / np.where(f == 0, 1, 2 * f))
    C = V.T @ Q0
    M = np.eye(Q0.shape[1]) + C.T @ (phi[:, None] * C)
    Y = expm(F * t) @ Q0
    return Y @ np.linalg.solve(M, Y.T)


def test_trap_1_no_inverse_of_the_generator() -> None:
    """More inputs than outputs and lambda = 0: F is singular, and the flow is not."""
    S = stream(1).standard_normal((1, 3))
    Q0 = stream(2).standard_normal((4, 2))
    F = generator(S, 0.0)
    exact = riccati.high_precision(F, Q0, 1.5, 1.5 * np.linalg.norm(S))
    assert gap(flow(S, 0.0, Q0, [1.5])[0], exact) <= 1e-14
    # The textbook integral (e^{2Ft} - 1) F^{-1}/2.
    grown = expm(3.0 * F) - np.eye(4)
    with np.errstate(all="ignore"):
        try:
            integral = np.linalg.solve(F, grown) / 2
            Y = expm(1.5 * F) @ Q0
            found = Y @ np.linalg.solve(np.eye(2) + Q0.T @ integral @ Q0, Y.T)
        except np.linalg.LinAlgError:
            found = np.full((4, 4), np.inf)
    assert not gap(found, exact) <= 1e-6


@pytest.mark.parametrize("growth", [40.0, 330.0])
def test_trap_2_the_naive_inverse_fails_where_the_factor_does_not(growth: float) -> None:
    """A bottleneck: one hidden unit, two modes."""
    S = np.diag([1.0, 0.7])
    Q0 = stream(5).standard_normal((4, 1)) * 0.1
    Q2 = stream(6).standard_normal((4, 3)) * 0.1
    for start in (Q0, Q2):
        exact = riccati.high_precision(generator(S, 0.0), start, growth, growth)
        assert gap(flow(S, 0.0, start, [growth])[0], exact) <= 1e-13
    with np.errstate(all="ignore"):
        try:
            found = naive(S, 0.0, Q2, growth)
        except np.linalg.LinAlgError:
            found = np.full((4, 4), np.nan)
    assert not gap(found, exact) <= 1e-6


def restarted(S: np.ndarray, lam: float, Q0: np.ndarray, t: float, digits: int = 80) -> np.ndarray:
    """Return the flow by mpmath, restarted from a factor: growth then costs no digits."""
    size = float(np.hypot(np.linalg.norm(S, 2), lam / 2)) or 1.0
    steps = max(1, int(np.ceil(size * t / 40)))
    with mpmath.workdps(digits):
        f, V = mpmath.eigsy(mpmath.matrix(generator(S, lam).tolist()))
        floor = mpmath.mpf(10) ** -40
        f = [e if abs(e) > floor else mpmath.mpf(0) for e in f]
        dt = mpmath.mpf(t) / steps
        grow = [mpmath.exp(e * dt) for e in f]
        spread = [mpmath.sqrt(mpmath.expm1(2 * e * dt) / (2 * e) if e else dt) for e in f]
        C = V.T * mpmath.matrix(Q0.tolist())
        n, k = C.rows, C.cols
        for _ in range(steps):
            B = mpmath.matrix(n, k)
            for i in range(n):
                for j in range(k):
                    B[i, j] = spread[i] * C[i, j]
            L = mpmath.cholesky(mpmath.eye(k) + B.T * B)
            solved = mpmath.inverse(L) * C.T
            C = mpmath.matrix(n, k)
            for i in range(n):
                for j in range(k):
                    C[i, j] = grow[i] * solved[j, i]
        found = V * C
        return np.array((found * found.T).tolist(), dtype=float)


LONG = [
    (np.diag([2.0, 1e-3]), 0.0, 0.3),
    (np.diag([2.0, 1e-3]), 0.0, 1e-6),
    (np.array([[2.0, 0.1, 0.0], [0.0, 1e-3, 0.2]]), 0.5, 0.3),
    (np.array([[1.0], [0.5], [0.0]]), -0.2, 1e-3),
]


@pytest.mark.parametrize("case", range(len(LONG)))
def test_trap_2_weak_modes_beside_strong_ones_at_late_times(case: int) -> None:
    S, lam, scale = LONG[case]
    Q0 = stream(20 + case).standard_normal((sum(S.shape), 3)) * scale
    size = float(np.linalg.norm(S, 2))
    times = [g / size for g in (30.0, 300.0, 3000.0)]
    found = flow(S, lam, Q0, times)
    for t, G in zip(times, found, strict=True):
        assert gap(G, restarted(S, lam, Q0, t)) <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("case", range(len(LONG)))
def test_growth_of_a_hundred_thousand(case: int) -> None:
    S, lam, scale = LONG[case]
    Q0 = stream(20 + case).standard_normal((sum(S.shape), 3)) * scale
    t = 1e5 / float(np.linalg.norm(S, 2))
    assert gap(flow(S, lam, Q0, [t])[0], restarted(S, lam, Q0, t)) <= 1e-12


def test_trap_4_products_between_stretches_lose_what_grows_later() -> None:
    """Restarting from G instead of its factor kills a mode that starts at 1e-12."""
    S = np.diag([2.0, 0.05])
    Q0 = np.array([[1.0, 0.0], [0.0, 1e-12], [1.0, 0.0], [0.0, 1e-12]])
    spectrum = riccati.eigenbasis(S, 0.0)
    late = 600.0
    exact = restarted(S, 0.0, Q0, late)
    assert gap(flow(S, 0.0, Q0, [late])[0], exact) <= 1e-12
    middle = flow(S, 0.0, Q0, [20.0])[0]
    values, vectors = np.linalg.eigh(middle)
    cut = vectors * np.sqrt(np.maximum(values, 0.0))
    found = riccati.advance(spectrum, np.ascontiguousarray(cut), np.array([late - 20.0]))[0][0]
    assert gap(found, exact) > 1e-6


def test_trap_4_rows_must_be_sorted_and_columns_pivoted() -> None:
    """Without it the small rows of a graded matrix lose their digits."""
    from symkernel.numerics.riccati import orthonormal_stack

    worst_plain = worst = 0.0
    for seed in range(200):
        draw = stream(seed)
        C = draw.standard_normal((4, 4)) * (10.0 ** np.array([-12, 14, 0, 8]))[:, None]
        first, _ = orthonormal_stack(np.ascontiguousarray(C))
        plain = np.linalg.qr(np.vstack([C, np.eye(4)]))[0][:4]
        with mpmath.workdps(120):
            big = mpmath.matrix(C.tolist())
            exact = big * mpmath.inverse(mpmath.eye(4) + big.T * big) * big.T
        exact = np.array(exact.tolist(), dtype=float)
        size = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
        worst = max(worst, float((np.abs(first @ first.T - exact) / size).max()))
        worst_plain = max(worst_plain, float((np.abs(plain @ plain.T - exact) / size).max()))
    assert worst <= 1e-12
    assert worst_plain > 1e-6


@pytest.mark.parametrize("split", [0.0, 1e-13, 1e-9])
def test_trap_5_repeated_and_nearly_repeated_strengths(split: float) -> None:
    turn = np.linalg.qr(stream(8).standard_normal((3, 3)))[0]
    S = turn @ np.diag([1.0, 1.0 + split, 0.3]) @ turn.T
    Q0 = stream(9).standard_normal((6, 2)) * 0.1
    exact = riccati.high_precision(generator(S, 0.0), Q0, 12.0, 12.0)
    assert gap(flow(S, 0.0, Q0, [12.0])[0], exact) <= 1e-13


def test_equal_eigenvalues_that_grow_are_not_taken_together() -> None:
    """Weak modes beside a strong imbalance: in the short way the digits were gone at f t = 30."""
    draw = stream(13)
    S, Q0 = draw.standard_normal((2, 6)) * 1e-3, draw.standard_normal((8, 5)) * 0.1
    times = [30.0, 300.0, 900.0]
    for t, G in zip(times, flow(S, -2.0, Q0, times), strict=True):
        assert gap(G, restarted(S, -2.0, Q0, t)) <= 1e-12


def test_many_equal_eigenvalues_cost_nothing_in_digits() -> None:
    """The short way through equal eigenvalues against the general one."""
    draw = stream(12)
    S, Q0 = draw.standard_normal((2, 12)), draw.standard_normal((14, 14)) * 0.1
    times = np.array([0.1, 1.0, 10.0, 200.0])
    for lam in (0.0, 0.3, -0.3):
        f, E, equal = riccati.eigenbasis(S, lam)
        assert equal == 10
        short, _ = riccati.advance((f, E, equal), Q0, times)
        long, _ = riccati.advance((f, E, 0), Q0, times)
        assert gap(short, long) <= 1e-12
