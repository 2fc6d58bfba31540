"""The common basis diagonalises whatever can be diagonalised, repeated and zero strengths too."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from symkernel.errors import InvalidArgument, MissingValues, ShapeMismatch
from symkernel.problem.modes import common_basis, singular_basis
from symkernel.problem.task import Task

BOUND = 1e-9
# Few values, so that most draws repeat some of them.
STRENGTHS = st.sampled_from([0.0, 0.0, 0.25, 1.0, 1.0, 3.0])
SIGNED = st.sampled_from([0.0, -1.0, 1.0, 0.25, -3.0])
VARIANCES = st.sampled_from([0.0, 0.5, 1.0, 1.0, 4.0])
AMPLITUDES = st.sampled_from([0.0, 1e-3, -0.1, 0.1, 0.1, 1.0, -2.0])


def orthogonal(stream: np.random.Generator, n: int) -> np.ndarray:
    return np.linalg.qr(stream.standard_normal((n, n)))[0]


def rectangle(diagonal: list[float], rows: int, columns: int) -> np.ndarray:
    out = np.zeros((rows, columns))
    k = min(len(diagonal), rows, columns)
    out[np.arange(k), np.arange(k)] = diagonal[:k]
    return out


def moments_task(Sxx: np.ndarray, Syx: np.ndarray) -> Task:
    explained = Syx @ np.linalg.pinv(Sxx) @ Syx.T
    Syy = (explained + explained.T) / 2 + np.eye(len(Syx))
    return Task.from_moments((Sxx + Sxx.T) / 2, Syx, Syy)


def off_diagonal(matrix: np.ndarray, *factors: np.ndarray) -> float:
    """Largest entry off the diagonal, relative to the size of the factors of the matrix."""
    largest = np.prod([np.linalg.norm(factor) for factor in factors or (matrix,)])
    rest = matrix - rectangle(list(np.diag(matrix)), *matrix.shape)
    return float(np.abs(rest).max() / largest) if largest else 0.0


@st.composite
def aligned_problems(draw: st.DrawFn) -> tuple[list[Task], np.ndarray, np.ndarray]:
    """Tasks and weights diagonal in one basis, which only the tests know."""
    inputs, outputs, hidden = (draw(st.integers(1, 6)) for _ in range(3))
    stream = np.random.default_rng(draw(st.integers(0, 2**32)))
    U, V, R = (orthogonal(stream, n) for n in (outputs, inputs, hidden))
    r = min(inputs, outputs)
    tasks = []
    for kind in [STRENGTHS, *draw(st.sampled_from([[], [SIGNED], [SIGNED, SIGNED]]))]:
        s = draw(st.lists(kind, min_size=r, max_size=r))
        d = draw(st.lists(VARIANCES, min_size=inputs, max_size=inputs))
        # An input that never varies cannot be correlated with a target.
        d = [v or 1.0 if i < r and s[i] else v for i, v in enumerate(d)]
        tasks.append(moments_task((V * d) @ V.T, U @ rectangle(s, outputs, inputs) @ V.T))
    a = draw(st.lists(AMPLITUDES, min_size=inputs, max_size=inputs))
    b = draw(st.lists(AMPLITUDES, min_size=outputs, max_size=outputs))
    W1 = R @ rectangle(a, hidden, inputs) @ V.T
    W2 = U @ rectangle(b, outputs, hidden) @ R.T
    return tasks, W1, W2


@settings(max_examples=200)
@given(aligned_problems())
def test_common_basis_diagonalises_tasks_and_aligned_weights(
    problem: tuple[list[Task], np.ndarray, np.ndarray],
) -> None:
    tasks, W1, W2 = problem
    basis = common_basis(tasks, W1, W2)
    U, V = basis.U, basis.V
    assert np.abs(U.T @ U - np.eye(len(U))).max() < 1e-13
    assert np.abs(V.T @ V - np.eye(len(V))).max() < 1e-13
    for k, task in enumerate(tasks):
        assert off_diagonal(U.T @ task.Syx @ V) < BOUND
        assert off_diagonal(V.T @ task.Sxx @ V) < BOUND
        assert np.allclose(np.diag(U.T @ task.Syx @ V), basis.s[k], atol=1e-12)
        assert np.allclose(np.diag(V.T @ task.Sxx @ V), basis.d[k], atol=1e-12)
    assert off_diagonal(V.T @ W1.T @ W1 @ V) < BOUND
    assert off_diagonal(U.T @ W2 @ W2.T @ U) < BOUND
    assert off_diagonal(U.T @ W2 @ W1 @ V, W2, W1) < BOUND


@settings(max_examples=100)
@given(aligned_problems())
def test_strengths_are_signed_with_the_first_task_not_negative(
    problem: tuple[list[Task], np.ndarray, np.ndarray],
) -> None:
    tasks = problem[0]
    basis = common_basis(tasks)
    assert basis.s.shape == (len(tasks), min(tasks[0].Syx.shape))
    assert basis.rank_bound == basis.s.shape[1]
    assert (basis.s[0] >= 0).all()
    assert (basis.d >= 0).all()
    for task, s in zip(tasks, basis.s, strict=True):
        found = np.linalg.svd(task.Syx, compute_uv=False)
        assert np.allclose(np.sort(np.abs(s)), np.sort(found), atol=1e-12)


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 6))
def test_any_task_is_its_singular_values_in_falling_order(
    seed: int, inputs: int, outputs: int
) -> None:
    stream = np.random.default_rng(seed)
    task = Task(stream.standard_normal((9, inputs)), stream.standard_normal((9, outputs)))
    basis = singular_basis(task)
    assert np.allclose(basis.s[0], np.linalg.svd(task.Syx, compute_uv=False), rtol=1e-12)
    rebuilt = basis.U @ rectangle(list(basis.s[0]), outputs, inputs) @ basis.V.T
    assert np.allclose(rebuilt, task.Syx, atol=1e-13)


@pytest.mark.parametrize("gap", [0.0, 1e-15, 1e-13, 1e-11, 1e-10])
def test_a_gap_too_small_to_see_does_not_hide_the_weights(gap: float) -> None:
    """Inside a block the weights choose the basis; the gap itself is all that is left over."""
    stream = np.random.default_rng(1000)
    U, V, R = (orthogonal(stream, 4) for _ in range(3))
    task = moments_task(np.eye(4), (U * [1.0, 1.0 - gap, 0.5, 0.5 - gap]) @ V.T)
    W1 = (R * [0.1, 0.2, 0.3, 0.4]) @ V.T
    W2 = (U * [0.4, -0.1, 0.2, 0.3]) @ R.T
    basis = common_basis([task], W1, W2)
    for matrix in (
        basis.V.T @ W1.T @ W1 @ basis.V,
        basis.U.T @ W2 @ W2.T @ basis.U,
        basis.U.T @ W2 @ W1 @ basis.V,
        basis.U.T @ task.Syx @ basis.V,
    ):
        assert off_diagonal(matrix) < BOUND


@given(st.sampled_from([1e-150, 1e-8, 1e8, 1e150]), st.integers(0, 2**32))
@example(1e-150, 0)
def test_the_scale_of_the_task_does_not_matter(scale: float, seed: int) -> None:
    stream = np.random.default_rng(seed)
    U, V = orthogonal(stream, 3), orthogonal(stream, 4)
    task = moments_task(np.eye(4), scale * U @ rectangle([2, 2, 1], 3, 4) @ V.T)
    assert np.allclose(singular_basis(task).s[0] / scale, [2, 2, 1], rtol=1e-13)


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Cosines between the columns of two matrices that are not partners."""
    lengths = np.multiply.outer(np.linalg.norm(left, axis=0), np.linalg.norm(right, axis=0))
    found = np.abs(left.T @ right) / lengths
    np.fill_diagonal(found, 0.0)
    return found


@pytest.mark.parametrize("s", [[0.0] * 5, [2.0, 0.0, 0.0, 0.0, 0.0], [2.0] * 5], ids=str)
def test_small_weights_choose_the_basis_beside_large_ones(s: list[float]) -> None:
    """Their squares and fourth powers are rounding of those of the large ones."""
    stream = np.random.default_rng(1000)
    U, V, R = (orthogonal(stream, n) for n in (6, 5, 7))
    task = moments_task(np.eye(5), U @ rectangle(s, 6, 5) @ V.T)
    P = R[:, :5] * [3.0, 2e-4, 10.0, 1e-4, 0.3]
    Q = R[:, :5] * [1e-4, 3e-4, 0.1, 2e-4, 5.0]
    W1, W2 = P @ V.T, U[:, :5] @ Q.T
    basis = common_basis([task], W1, W2)
    p, q = W1 @ basis.V, W2.T @ basis.U[:, :5]
    for left, right in ((p, p), (q, q), (q, p)):
        assert cosines(left, right).max() < 1e-9
    naive = W1 @ np.linalg.eigh(V @ (P.T @ P / 100 + (P.T @ Q) ** 2) @ V.T)[1]
    assert cosines(naive, naive).max() > 1e-9


def test_sides_that_are_not_parallel_are_paired_by_their_cosines() -> None:
    """A weak pair stands beside strong ones, and outputs are left over."""
    stream = np.random.default_rng(1001)
    U, V, R = (orthogonal(stream, n) for n in (6, 3, 7))
    task = moments_task((V * [0.2, 1.0, 3.0]) @ V.T, np.zeros((6, 3)))
    P = R[:, :3] * [2.0, 1e-3, 0.5]
    Q = R[:, :3] * [1e-3, 2e-3, 1.0] + R[:, 3:6] * [1.5, 1e-3, 2e-3]
    W1, W2 = P @ V.T, U[:, :3] @ Q.T
    basis = common_basis([task], W1, W2)
    p, q = W1 @ basis.V, W2.T @ basis.U[:, :3]
    assert np.abs((p * q).sum(0)).min() > 1e-7
    for left, right in ((p, p), (q, q), (q, p)):
        assert cosines(left, right).max() < 1e-9
    assert off_diagonal(basis.V.T @ task.Sxx @ basis.V) < 1e-12
    assert np.linalg.norm(W2.T @ basis.U[:, 3:]) < 1e-12


def test_a_task_without_structure_has_a_basis_too() -> None:
    task = moments_task(np.diag([1.0, 0.0, 2.0]), np.zeros((2, 3)))
    basis = singular_basis(task)
    assert not basis.s.any()
    assert sorted(basis.d[0]) == pytest.approx([0.0, 1.0, 2.0])
    assert off_diagonal(basis.V.T @ task.Sxx @ basis.V) < 1e-15


def test_symbols_empty_lists_and_unequal_sizes_are_refused() -> None:
    with pytest.raises(MissingValues, match="need values for the symbols"):
        singular_basis(Task.from_modes(sp.Symbol("s")))
    with pytest.raises(InvalidArgument, match="at least one task"):
        common_basis([])
    with pytest.raises(ShapeMismatch, match="same outputs and inputs"):
        common_basis([Task.from_modes([1, 2]), Task.from_modes(1)])
