"""Exact tasks: strengths against 50 digits, radicals, names; what is refused."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import symkernel as sk
from symkernel.errors import (
    InvalidArgument,
    NoClosedForm,
    OutsideValidity,
    ShapeMismatch,
)
from symkernel.problem.exact import MOST_UNITS
from symkernel.problem.modes import singular_basis
from symkernel.testing import exact_tasks

T = sp.Symbol("t", nonnegative=True)
A, B = sp.symbols("a b", positive=True)
P, Q = sp.symbols("p q", real=True)
R = sp.Rational
GOLDEN = (1 + sp.sqrt(5)) / 2


def whitened(Syx: sp.Matrix) -> sk.Task:
    """Return the task with this cross moment and whitened inputs."""
    n = Syx.cols
    return sk.Task(sp.sqrt(n) * sp.eye(n), sp.sqrt(n) * Syx.T)


def numbers(task: sk.Task, digits: int = 40) -> list[tuple[sp.Float, sp.Float]]:
    exact = task.exact
    return [
        tuple(sp.N(value.xreplace(dict(exact.named)), digits) for value in (mode.s, mode.d))
        for mode in exact.modes
    ]


def singular_values(matrix: sp.Matrix) -> list[mpmath.mpf]:
    with mpmath.workdps(50):
        entries = [[mpmath.mpf(q.p) / q.q for q in matrix.row(i)] for i in range(matrix.rows)]
        return sorted(mpmath.svd_r(mpmath.matrix(entries), compute_uv=False), reverse=True)


def law_of(task: sk.Task, a, b, hidden=None, **options):
    n_out, n_in = int(task.outputs), int(task.inputs)
    hidden = min(n_in, n_out) if hidden is None else hidden
    net = sk.Network.two_layer(n_in, hidden, n_out)
    return sk.derive(net, task, sk.weights.aligned(net, task, a=a, b=b), **options)


def check_strengths(task: sk.Task) -> None:
    found = [s for s, _ in numbers(task)]
    wanted = singular_values(task.exact.Syx)
    assert len(found) == len(wanted)
    for one, two in zip(found, wanted, strict=True):
        # An exact zero is found as one; the judge leaves a rounding error.
        assert abs(one - sp.Float(two, 40)) < sp.Float("1e-35") * (1 + one)
        assert (one == 0) == (two < 1e-30)


@st.composite
def matrices(draw) -> sp.Matrix:
    """Draw rational matrices of any rank, with repeats and zeros."""
    rows, cols = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    entry = st.sampled_from([R(0), R(1), R(-1), R(2), R(1, 2), R(-3, 5)])
    flat = draw(st.lists(entry, min_size=rows * cols, max_size=rows * cols))
    matrix = sp.Matrix(rows, cols, flat)
    match draw(st.sampled_from(["plain", "plain", "rank", "repeated"])):
        case "rank":
            return matrix[:, :1] * matrix[:1, :]
        case "repeated":
            return sp.diag(matrix, matrix)
    return matrix


@given(matrices())
def test_strengths_are_the_singular_values(matrix: sp.Matrix) -> None:
    task = whitened(matrix)
    check_strengths(task)
    assert all(mode.d == 1 for mode in task.exact.modes)


@settings(max_examples=10)
@given(exact_tasks())
def test_drawn_tasks_have_the_modes_of_floating_point(task: sk.Task) -> None:
    check_strengths(task)
    found = np.array([[float(value) for value in row] for row in numbers(task)])
    basis = singular_basis(task)
    measured = np.transpose([basis.s[0], basis.d[0][: len(found)]])
    assert np.allclose(np.round(found, 9), ordered(measured), atol=1e-7)


def ordered(rows) -> np.ndarray:
    """Return rows of strength and variance, strongest first, larger variances first."""
    return np.array(sorted(np.round(rows, 8).tolist(), reverse=True))


NAMED = {
    "golden ratio": (sp.Matrix([[1, 1], [1, 0]]), [GOLDEN, GOLDEN - 1]),
    "rank one": (sp.Matrix([[1, 2, 2], [2, 4, 4]]), [3 * sp.sqrt(5), 0]),
    "zero": (sp.zeros(2, 3), [0, 0]),
    "repeated": (sp.diag(2, R(1, 3), 2, 2), [2, 2, 2, R(1, 3)]),
    "one golden ratio twice": (
        sp.diag(sp.Matrix([[1, 1], [1, 0]]), sp.Matrix([[1, 1], [1, 0]])),
        [GOLDEN, GOLDEN, GOLDEN - 1, GOLDEN - 1],
    ),
    "more outputs": (sp.Matrix([[3], [4]]), [5]),
    "more inputs": (sp.Matrix([[3, 4, 0]]), [5]),
    "roots of roots": (
        sp.Matrix([[1, 2], [3, 5]]), [sp.sqrt(R(39, 2) + sp.sqrt(1517) / 2), None]
    ),
    "without nesting": (
        sp.Matrix([[2, 1], [0, 1]]), [sp.sqrt(5) / sp.sqrt(2) + sp.sqrt(2) / 2, None]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_strengths_that_are_known(name: str) -> None:
    matrix, wanted = NAMED[name]
    task = whitened(matrix)
    check_strengths(task)
    assert not task.exact.named
    for mode, value in zip(task.exact.modes, wanted, strict=True):
        assert value is None or sp.expand(mode.s**2 - value**2) == 0
        assert mode.s == 0 or sp.sympify(mode.s).is_positive


# Without the corner it would split.
QUINTIC = sp.Matrix(5, 5, lambda i, j: 1 + (i == j) + (i + j == 0) if abs(i - j) < 2 else 0)


def test_a_quintic_factor_gets_names_and_values() -> None:
    task = whitened(sp.diag(QUINTIC, 7))
    check_strengths(task)
    modes, named = task.exact.modes, task.exact.named
    assert modes[0].s == 7
    assert [mode.s.name for mode in modes[1:]] == ["s_1", "s_2", "s_3", "s_4", "s_5"]
    assert set(named) == {mode.s for mode in modes[1:]}
    assert all(sp.N(value, 60)._prec > 190 for value in named.values())


def test_a_radical_that_nobody_reads_gets_a_name() -> None:
    matrix = sp.Matrix([[R(10**9 + 7, 998244353), R(3, 1000003)], [R(7, 1000033), R(12345, 77777)]])
    task = whitened(matrix)
    check_strengths(task)
    assert len(task.exact.named) == 2


@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1))
def test_variances_are_those_of_the_basis(seed: int) -> None:
    """Exact orthogonal bases, strengths with repeats and zeros, and any variances."""
    stream = np.random.default_rng(seed)
    n = int(stream.integers(2, 5))
    frames = []
    for _ in range(2):
        K = sp.Matrix(n, n, lambda i, j: R(int(stream.integers(-2, 3)), 3) if i > j else 0)
        K = K - K.T
        frames.append((sp.eye(n) - K) * (sp.eye(n) + K).inv())
    U, V = frames
    s = [R(int(k)) for k in stream.choice([0, 1, 1, 2], n)]
    d = [R(int(k), 2) for k in stream.integers(1, 4, n)]
    Syx, Sxx = U * sp.diag(*s) * V.T, V * sp.diag(*d) * V.T
    best = sp.diag(*(x**2 / y for x, y in zip(s, d, strict=True)))
    task = sk.Task.from_moments(Sxx, Syx, U * best * U.T)
    assert [(m.s, m.d) for m in task.exact.modes] == sorted(zip(s, d, strict=True), reverse=True)
    basis = singular_basis(task)
    found = ordered(np.transpose([basis.s[0], basis.d[0]]))
    assert np.allclose(found, np.array(numbers(task), float), atol=1e-7)


def test_variances_with_radicals_and_names() -> None:
    inner = sp.Matrix([[2, 1], [1, 1]])
    task = sk.Task.from_moments(inner, sp.eye(2), 4 * sp.eye(2))
    assert [m.d for m in task.exact.modes] == [sp.expand(GOLDEN**2), sp.expand(2 - GOLDEN + 0)]
    cubic = sp.Matrix([[2, 1, 0], [1, 3, 1], [0, 1, 1]])
    modes = sk.Task.from_moments(cubic, sp.eye(3), 20 * sp.eye(3)).exact.modes
    assert [m.d.name for m in modes] == ["d_0", "d_1", "d_2"]
    # In the field of the strengths: Sxx is a polynomial of Syx.
    along = sk.Task.from_moments(inner**2 + inner, inner, 9 * inner).exact.modes
    assert [sp.expand(m.d - m.s**2 - m.s) for m in along] == [0, 0]
    twice = sk.Task.from_moments(
        sp.diag(1, 1, 2, 2), sp.diag(inner, inner), 50 * sp.eye(4)
    ).exact.modes
    assert [m.d for m in twice] == [2, 1, 2, 1]


def test_directions_without_a_target_come_by_falling_variance() -> None:
    task = sk.Task.from_moments(sp.diag(3, 1, 2, 5), sp.diag(1, 1, 0)[:, :3].row_join(
        sp.zeros(3, 1)), 9 * sp.eye(3))  # fmt: skip
    assert [(m.s, m.d) for m in task.exact.modes] == [(1, 3), (1, 1), (0, 5)]


# Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (sp.I * P, "not real and finite"), (sp.nan, "not real and finite"),
        (sp.oo, "not real and finite"), (sp.zoo, "not real and finite"),
        (0.5 * P, "in floating point"), (sp.cos(P), "no rational number, radical or symbol"),
        (sp.sqrt(2) * P, "radicals beside the symbols"), (sp.sqrt(P), "radicals beside"),
        (sp.Symbol("i", imaginary=True), "not real and finite"),
        (2**sp.Integer(2000), "numbers of .* bits"),
    ],
)  # fmt: skip
def test_entries_beside_symbols_must_be_exact(entry: sp.Expr, words: str) -> None:
    matrix = sp.Matrix([[P, 0], [0, entry]])
    with pytest.raises(InvalidArgument, match=f"^Arguments 'X', 'Y' with symbols .*{words}"):
        sk.Task(matrix, sp.eye(2))
    moments = {"Sxx": sp.eye(2), "Syx": matrix, "Syy": sp.eye(2)}
    with pytest.raises(InvalidArgument, match=words):
        sk.Task.from_moments(**moments)


@pytest.mark.parametrize("bad", [sp.nan, sp.oo, sp.zoo, sp.I])
def test_numbers_that_are_none_are_refused(bad: sp.Expr) -> None:
    matrix = sp.Matrix([[1, 0], [0, bad]])
    for arguments in ((matrix, sp.eye(2)), (sp.eye(2), matrix)):
        with pytest.raises(InvalidArgument, match=r"must be finite|not symbols or complex"):
            sk.Task(*arguments)


def test_shapes_of_symbols_are_checked() -> None:
    symbolic = sp.Matrix([[P, 1], [1, P]])
    with pytest.raises(ShapeMismatch, match=r"same number of samples .* not 2 and 3"):
        sk.Task(symbolic, sp.eye(3))
    with pytest.raises(ShapeMismatch, match="to fit 'Syx'"):
        sk.Task.from_moments(symbolic, sp.eye(3), sp.eye(3))
    with pytest.raises(InvalidArgument, match="'Sxx' is not symmetric"):
        sk.Task.from_moments(sp.Matrix([[1, P], [0, 1]]), sp.eye(2), sp.eye(2))
    with pytest.raises(InvalidArgument, match=r"must be 2-dimensional|must not be empty"):
        sk.Task(sp.Matrix(0, 2, []), symbolic)
    with pytest.raises(InvalidArgument, match="symbols are taken where all matrices are SymPy's"):
        sk.Task(symbolic, np.eye(2))
    with pytest.raises(ShapeMismatch, match="must name all 2 inputs"):
        sk.Task(symbolic, sp.eye(2), labels={"inputs": ["one"]})


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (sp.eye(MOST_UNITS + 1), "larger than"),
        (sp.diag(sp.pi, 1), "no rational number"),
        (sp.diag(0.5, 1), "in floating point"),
        (sp.diag(sp.sqrt(2), sp.sqrt(3), sp.sqrt(5)), "field of degree 8"),
        (sp.diag(R(1, 3) ** 700, 1), "bits"),
    ],
)
def test_what_is_not_kept_exactly_is_a_task_in_floating_point(matrix, words: str) -> None:
    task = sk.Task(matrix, sp.eye(matrix.rows))
    assert task.exact is None
    assert task.is_numeric
    (line,) = task.history
    assert line.startswith("in floating point alone")
    assert words in line


def test_moments_that_do_not_commute_are_a_task_without_exact_modes() -> None:
    inner, cross = sp.Matrix([[2, 1], [1, 2]]), sp.diag(1, 2)
    task = sk.Task.from_moments(inner, cross, 9 * sp.eye(2))
    assert np.array_equal(task.Sxx, [[2, 1], [1, 2]])
    N = cross.T * cross
    want = float((inner * N - N * inner).norm() / inner.norm() / N.norm())
    assert task.exact.distance == pytest.approx(want)
    assert task.exact.named == {}
    with pytest.raises(OutsideValidity, match=r"does not commute .*0\.33"):
        _ = task.exact.modes
    with pytest.raises(NoClosedForm, match=r"one pair of bases +0\.33 +1e-08 +FAILS"):
        law_of(task, A, A)
    symbolic = sk.Task.from_moments(sp.Matrix([[2, P], [P, 2]]), cross, 9 * sp.eye(2))
    assert symbolic.exact.distance == np.inf
    with pytest.raises(NoClosedForm, match=r"one pair of bases +inf +1e-08 +FAILS"):
        law_of(symbolic, A, A)
    assert symbolic.with_values({P: 0}).exact.distance == 0


def test_exact_moments_do_not_outlive_a_change_of_the_samples() -> None:
    task = sk.Task(sp.Matrix([[1, 0], [0, 1], [1, 1]]), sp.Matrix([1, 2, 3]))
    assert task.exact is not None
    assert task.centred().exact is None
    assert task.whitened().exact is None
    assert np.allclose(np.array(task.exact.Sxx, float), task.Sxx)
