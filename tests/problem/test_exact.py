"""Exact tasks: strengths against 50 digits, radicals, names, symbols, laws in exact numbers."""

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
    MissingValues,
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


# Laws ---------------------------------------------------------------------------------------------


def law_of(task: sk.Task, a, b, hidden=None, **options):
    n_out, n_in = int(task.outputs), int(task.inputs)
    hidden = min(n_in, n_out) if hidden is None else hidden
    net = sk.Network.two_layer(n_in, hidden, n_out)
    return sk.derive(net, task, sk.weights.aligned(net, task, a=a, b=b), **options)


FIBONACCI = sk.Task(sp.eye(2), sp.Matrix([[2, 2], [2, 0]]))


def test_a_law_in_exact_numbers() -> None:
    law = law_of(FIBONACCI, A, A)
    u = law.mode(0).output
    assert u.free_symbols == {A, T}
    assert sp.expand(sp.limit(u, T, sp.oo) - 1 - sp.sqrt(5)) == 0
    assert sp.expand(u.subs(T, 0) - A**2) == 0
    half = law.learning_time(R(1, 2), mode=1).subs(A, R(1, 10))
    assert abs(float(law.mode(1).output.subs({T: half, A: R(1, 10)}).evalf(30))
               - float(sp.sqrt(5) - 1) / 2) < 1e-14  # fmt: skip
    assert law.mode(0).hidden_gram.has(sp.sqrt(5))


@pytest.mark.parametrize("name", ["aligned_modes", "gram_diagonal"])
@pytest.mark.parametrize(("a", "b"), [(A, B), (A, A), (A, -A), (R(1, 5), [R(1, 3), -R(1, 7)])])
def test_formulas_are_the_trajectory(a, b, name: str) -> None:
    law = law_of(FIBONACCI, a, b, law=name)
    values = {A: R(1, 10), B: R(3, 10)}
    known = {q: v for q, v in values.items() if q in law.problem.weights.free_symbols}
    found = law.compile(known)([0.0, 0.5, 4.0]).modes
    for k in range(2):
        for j, time in enumerate((0, R(1, 2), 4)):
            value = float(law.mode(k).output.subs({**values, T: time}).evalf(30))
            assert value == pytest.approx(found[j, k], rel=1e-12, abs=1e-14)


def test_a_law_with_names_compiles_by_itself() -> None:
    task = whitened(QUINTIC)
    law = law_of(task, A, A, hidden=4)
    assert law.mode(0).output.free_symbols == {A, T, task.exact.modes[0].s}
    assert law.mode(4).output == 0
    assert "s_0 = 3" in str(law)
    assert "CRootOf" in law.conventions[-1]
    found = law.compile({A: 0.1})([0.3]).modes[0]
    values = {**task.exact.named, A: R(1, 10), T: R(3, 10)}
    for k in range(5):
        assert float(law.mode(k).output.subs(values)) == pytest.approx(found[k], rel=1e-12)
    numeric = law_of(task, R(1, 10), R(1, 10))
    assert numeric.learning_time(R(1, 2), mode=0).free_symbols == {task.exact.modes[0].s}
    with pytest.raises(OutsideValidity, match="no such learning time"):
        law_of(task, 2, 2).learning_time(R(1, 2), mode=0)
    rounded = {q: sp.N(value, 40) for q, value in task.exact.named.items()}
    claim = numeric.mode(1).output.xreplace(rounded)
    assert sk.check_claim(claim, ("mode", 1), numeric.problem).passed
    with pytest.raises(InvalidArgument, match="'s_0' stands for a strength"):
        law_of(task, sp.Symbol("s_0", positive=True), A).mode(0)


def test_modes_that_repeat_keep_their_amplitudes() -> None:
    """Exact columns come in the order of the measured basis, whatever that is."""
    task = whitened(sp.diag(2, 2, 1))
    law = law_of(task, [R(1, 10), R(1, 2), R(1, 5)], [R(3, 10), R(1, 4), -R(1, 5)], hidden=5)
    found = law.compile()([0.0, 0.7]).modes
    for k in range(3):
        output = law.mode(k).output
        assert not output.atoms(sp.Float)
        for j, time in enumerate((0, R(7, 10))):
            assert float(output.subs(T, time)) == pytest.approx(found[j, k], rel=1e-12)


def test_weights_of_another_task_are_measured() -> None:
    other = whitened(sp.diag(3, 1))
    net = sk.Network.two_layer(2, 2, 2)
    task = whitened(sp.diag(2, 1))
    law = sk.derive(net, task, sk.weights.aligned(net, other, a=0.1, b=0.1))
    assert law.mode(0).output.atoms(sp.Float)
    with pytest.raises(InvalidArgument, match="aligned with another task"):
        sk.derive(net, task, sk.weights.aligned(net, other, a=A, b=A))


def test_a_claim_in_exact_numbers_is_judged_exactly() -> None:
    law = law_of(FIBONACCI, R(1, 10), R(1, 10))
    report = sk.check_claim(law.mode(0).output, ("mode", 0), law.problem)
    assert report.passed
    assert "reduces to 0 exactly" in report.rungs[0].figure


# Symbols ------------------------------------------------------------------------------------------


def test_a_correlation_as_a_symbol() -> None:
    task = sk.Task(sp.Matrix([[1, P], [P, 1]]), sp.eye(2), labels={"outputs": ["l", "r"]})
    assert task.free_symbols == {P}
    assert (task.inputs, task.outputs, task.is_numeric) == (2, 2, False)
    assert [m.s for m in task.exact.modes] == [sp.Abs(P + 1) / 2, sp.Abs(P - 1) / 2]
    assert [sp.expand(m.d - 2 * m.s**2) for m in task.exact.modes] == [0, 0]
    law = law_of(task, A, A)
    assert law.learning_time(R(1, 2), mode=1).free_symbols == {P, A}
    values = {P: R(3, 10), A: R(1, 10)}
    compiled = law.compile(values)
    found = compiled([0.0, 2.0]).modes[1]
    for k in range(2):
        value = float(law.mode(k).output.subs({**values, T: 2}).evalf(30))
        assert value == pytest.approx(found[k], rel=1e-12)
    task = compiled.problem.curriculum.phases[0].task
    assert task.exact.modes[0].s == R(13, 20)
    assert task.labels["outputs"] == ("l", "r")
    assert law.compile({P: 0.3, A: 0.1})([2.0]).modes[0] == pytest.approx(found)
    with pytest.raises(MissingValues, match="p has none"):
        law.compile({A: 0.1})
    with pytest.raises(InvalidArgument, match="order of the strengths"):
        law_of(task=whitened_moments(sp.diag(P, Q)), a=[A, B], b=A).mode(0)
    with pytest.raises(InvalidArgument, match="order of the strengths"):
        law_of(task=whitened_moments(sp.diag(P, Q)), a=A, b=A, hidden=1).mode(0)


def whitened_moments(Syx: sp.Matrix) -> sk.Task:
    return sk.Task.from_moments(sp.eye(Syx.cols), Syx, Syx * Syx.T)


def test_symbols_in_moments() -> None:
    q = sp.symbols("q0:12", positive=True)
    task = whitened_moments(sp.diag(*q))
    assert {m.s for m in task.exact.modes} == set(q)
    block = whitened_moments(sp.diag(sp.Matrix([[P, 1], [1, 0]]), Q))
    assert len(block.exact.modes) == 3
    numeric = block.with_values({P: 1, Q: R(1, 3)})
    assert [m.s for m in numeric.exact.modes] == [GOLDEN, GOLDEN - 1, R(1, 3)]
    equal = sk.Task.from_moments(sp.diag(P, P), sp.eye(2), 9 * sp.eye(2))
    assert equal.exact.distance == 0
    with pytest.raises(InvalidArgument, match="'Sxx' must be symmetric and positive semi-definite"):
        equal.with_values({P: -1})
    with pytest.raises(OutsideValidity, match="input directions without a target"):
        _ = sk.Task.from_moments(sp.diag(1, P, Q), sp.Matrix([[1, 0, 0], [0, 0, 0]]),
                                 sp.eye(2)).exact.modes  # fmt: skip


def test_symbols_without_radicals_say_what_to_give() -> None:
    cubic = sp.Matrix([[P, 1, 0], [1, 3, 1], [0, 1, 1]])
    with pytest.raises(MissingValues, match=r"degree 3 .* give values for p"):
        _ = whitened_moments(cubic).exact.modes
    wide = sp.Matrix(5, 5, lambda i, j: P ** abs(i - j))
    with pytest.raises(MissingValues, match=r"couples 5 inputs .* give values for p"):
        _ = whitened_moments(wide).exact.modes
    assert len(whitened_moments(cubic).with_values({P: 2}).exact.named) == 3


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
