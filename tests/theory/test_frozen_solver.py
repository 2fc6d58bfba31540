"""How the frozen law is solved: each method against the flow, against 40 digits, and its bounds."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import symkernel as sk
from symkernel.errors import InvalidArgument
from symkernel.ladder_asymptotic import linearised_error
from symkernel.problem.problem import Problem
from symkernel.theory import frozen_lanczos, frozen_solver
from symkernel.theory.frozen_kernel import LAW, trajectory
from symkernel.theory.frozen_lanczos import Bidiagonal, Unsettled, follow
from symkernel.theory.frozen_path import systems_of
from symkernel.theory.frozen_solver import FactorSolver, KernelSolver, LanczosSolver, solver
from symkernel.theory.residual_integral import Spectrum

# 24 outputs by 27 parameters of two inputs: the kernel is singular, its small eigenvalues are many.
NET = sk.Network.mlp([2, 5, 2], "tanh", parameterisation="ntk", bias=True)
W0 = sk.weights.gaussian(NET, seed=0)
STREAM = np.random.default_rng(0)
X = STREAM.standard_normal((12, 2))
TASK = sk.Task(X, np.sign(X[:, ::-1] * X[:, :1]))
LATE = np.array([0.0, 1.0, 1e2, 1e4, 1e6, 1e8, 1e10])
WAYS = ("factor", "lanczos")


def problem_of(task=TASK, net=NET, w0=W0):
    return Problem(net, sk.Curriculum.of(task), w0)


def system_of(task=TASK, net=NET, w0=W0):
    return systems_of(problem_of(task, net, w0), w0.arrays)[0]


def by(method):
    return replace(LAW, trajectory=partial(trajectory, method=method))


@pytest.fixture(scope="module")
def easy():
    """More parameters than outputs, inputs apart: eigenvalues of one size."""
    net = sk.Network.mlp([6, 40, 2], "tanh", parameterisation="ntk")
    stream = np.random.default_rng(2)
    task = sk.Task(stream.standard_normal((5, 6)), stream.standard_normal((5, 2)))
    return problem_of(task, net, sk.weights.gaussian(net, seed=1))


# ---- accuracy


@pytest.mark.parametrize("method", WAYS)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**31))
def test_every_method_gives_the_linearised_network(method, seed):
    assert linearised_error(LAW.draw(np.random.default_rng(seed)), by(method)) <= 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("method", WAYS)
def test_so_it_does_in_a_hundred_draws(method):
    problems = [LAW.draw(np.random.default_rng(seed)) for seed in range(100)]
    assert max(linearised_error(p, by(method)) for p in problems) <= 1e-10


def test_so_do_eigenvectors_of_a_kernel_where_they_are_taken(easy):
    assert linearised_error(easy, by("kernel")) <= 1e-10
    few = sk.Network.mlp([3, 1], "tanh")
    many = np.random.default_rng(1).standard_normal((40, 3))
    overdetermined = problem_of(sk.Task(many, many[:, :1]), few, sk.weights.gaussian(few, seed=1))
    system = systems_of(overdetermined, overdetermined.weights.arrays)[0]
    assert "in the space of parameters" in _followed(system, "kernel", LATE[1:2]).words
    assert linearised_error(overdetermined, by("kernel")) <= 1e-10


def _followed(system, method, times, step=0.0):
    residual = system.residual(np.zeros(system.layout.count))
    return solver(system, method=method).followed(residual, times, step)


@pytest.fixture(scope="module")
def digits():
    """Displacements at late times from the Jacobian of doubles, by 60 digits."""
    system = system_of()
    A, residual = system.columns(), system.residual(np.zeros(system.layout.count))
    with mpmath.workdps(60):
        B, rho = mpmath.matrix(A.tolist()), mpmath.matrix(residual.tolist())
        values, vectors = mpmath.eigsy(B.T * B)
        parts = vectors.T * (B.T * rho)
        rows = []
        for time in LATE:
            phis = [_phi(l, mpmath.mpf(float(time))) for l in values]
            found = vectors * mpmath.matrix([phi * p for phi, p in zip(phis, parts, strict=True)])
            rows.append([-float(v) for v in found])
    return np.array(rows)


def _phi(l, t):
    return t if l < mpmath.mpf(10) ** -50 else -mpmath.expm1(-l * t) / l


@pytest.mark.parametrize("method", WAYS)
def test_late_times_are_right_and_the_stated_bound_is_true(method, digits):
    found = _followed(system_of(), method, LATE)
    error = np.linalg.norm(found.flats - digits, axis=1)
    assert (error <= found.error).all()
    size = np.maximum(1.0, np.abs(digits).max(axis=1))
    assert (error <= 1e-10 * size).all()
    # What the square of A keeps of its small eigenvalues is not enough.
    A = system_of().columns()
    values, vectors = np.linalg.eigh(A.T @ A)
    values = np.where(values <= len(values) * 2.2e-16 * values[-1], 0.0, values)
    residual = system_of().residual(np.zeros(A.shape[1]))
    naive = -Spectrum(values, vectors, 0.0).integral(vectors.T @ (A.T @ residual), LATE)
    assert (np.linalg.norm(naive - digits, axis=1)[-1] > 1e-10 * size[-1]).all()


def test_what_later_vectors_can_add_is_bounded_at_every_size(digits):
    system = system_of()
    residual = system.residual(np.zeros(system.layout.count))
    basis, tight = Bidiagonal(system, residual, 23), 0
    while basis.count < 23 and basis.grow():
        found, later, error = frozen_lanczos._seen(
            basis, np.linalg.norm(residual), (24, 27), LATE, 0.0
        )
        gap = np.linalg.norm(-found @ basis.right[: basis.count] - digits, axis=1)
        assert (gap <= later + error).all()
        tight += int((later[1:3] <= 30 * gap[1:3])[gap[1:3] > 1e-8].sum())
    assert tight > 3
    # One pass of orthogonalisation leaves more than this.
    for side in (basis.left[: basis.count], basis.right[: basis.count]):
        assert np.abs(side @ side.T - np.eye(len(side))).max() < 1e-14


@pytest.mark.parametrize("share", [0.1, 0.49, 0.9, 0.9999])
def test_descent_is_the_same_by_every_method_up_to_the_limit(easy, share):
    system, steps = systems_of(easy, easy.weights.arrays)[0], np.array([0.0, 1.0, 8.0, 4001.0])
    rate = share * 2 / FactorSolver(system).largest
    exact = _followed(system, "factor", steps, rate)
    for method in ("kernel", "lanczos") if share < 0.5 else ("kernel",):
        found = _followed(system, method, steps, rate)
        error = np.linalg.norm(found.flats - exact.flats, axis=1)
        assert (error <= found.error + exact.error).all()
        assert error.max() <= 1e-11
    residual = system.residual(np.zeros(system.layout.count))
    one = -rate * system.down(residual)
    assert np.abs(exact.flats[1] - one).max() <= 1e-14 * np.abs(one).max() + 1e-15


@pytest.mark.parametrize("time", LATE[1:])
def test_later_vectors_are_waited_for_until_they_add_no_more_than_rounding(time):
    basis, exact = (_followed(system_of(), method, np.array([time])) for method in WAYS[::-1])
    size = max(1.0, np.linalg.norm(exact.flats))
    assert basis.error[0] <= 3 * exact.error[0] + 1e-12 * size


def test_directions_that_never_learn_stand_still_at_any_time():
    conflict = sk.Task(X[[0, 0, 1]], np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]))
    found = _followed(system_of(conflict), "factor", np.array([1e6, 1e15]))
    assert np.abs(found.flats[1] - found.flats[0]).max() < 1e-12
    assert "directions of the outputs never learn" in found.words


# ---- what is refused, and what is said


def test_lanczos_refuses_where_rounding_may_decide():
    """Labels that disagree leave a residual that never learns; what rounding makes of it grows."""
    conflict = sk.Task(X[[0, 0, 1]], np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]))
    system = system_of(conflict)
    early, late = np.array([1e6]), np.array([1e13])
    found, exact = (_followed(system, method, early) for method in ("lanczos", "factor"))
    assert np.linalg.norm(found.flats - exact.flats) <= 1e-8 < 1e-4
    assert found.error[0] < 1e-4
    with pytest.raises(InvalidArgument, match=r"Rounding must not decide .* ask for earlier times"):
        _followed(system, "lanczos", late)
    # Where the singular vectors of A can be had they take over, and say how far they may be wrong.
    residual = system.residual(np.zeros(system.layout.count))
    taken = LanczosSolver(system, FactorSolver(system)).followed(residual, late, 0.0)
    assert "singular vectors" in taken.words
    assert taken.error[0] > 1e-4


def test_lanczos_says_when_it_cannot_settle(monkeypatch):
    system = system_of()
    residual = system.residual(np.zeros(system.layout.count))
    with pytest.raises(Unsettled, match=r"3 Lanczos vectors must settle .* ask for earlier times"):
        follow(system, residual, LATE, 0.0, 3)
    monkeypatch.setattr(frozen_lanczos, "_BASIS_BYTES", 0)
    with pytest.raises(InvalidArgument, match=r"8 Lanczos vectors must settle what is learned by"):
        trajectory(problem_of(), [0.0, 1e8], method="lanczos")


def test_nothing_to_learn_and_a_kernel_that_is_zero():
    start = system_of().tangent.values[NET.output]
    for method in WAYS:
        learned = trajectory(problem_of(sk.Task(X, start)), [0.0, 1e9], method=method)
        assert np.abs(learned.outputs - start).max() < 1e-14
        net = sk.Network.mlp([2, 5, 2], "tanh")
        still = {name: np.zeros_like(W0.arrays[name]) for name in ("W1", "W2")}
        w0 = sk.weights.from_arrays(net, still)
        zero = trajectory(problem_of(net=net, w0=w0), [0.0, 1e9], method=method)
        assert (zero.outputs == 0).all()


@pytest.mark.filterwarnings("error")
def test_unstable_steps_are_refused_before_anything_is_solved():
    limit = 2 / FactorSolver(system_of()).largest
    for method in (None, *WAYS):
        for rate in (1.001 * limit, 50 * limit):
            with pytest.raises(InvalidArgument, match=f"stable limit {limit:.6g}"):
                trajectory(problem_of(), [0.0, 1e6 * limit], learning_rate=rate, method=method)
    with pytest.raises(InvalidArgument, match=f"must be {limit / 2:.6g} at most, half the stable"):
        trajectory(problem_of(), [0.0, 9.0], learning_rate=0.7 * limit, method="lanczos")
    residual = system_of().residual(np.zeros(system_of().layout.count))
    taken = LanczosSolver(system_of(), FactorSolver(system_of()))
    assert "singular vectors" in taken.followed(residual, np.array([9.0]), 0.7 * limit).words


def test_the_largest_eigenvalue_is_found_without_eigenvectors(easy):
    for system in (system_of(), systems_of(easy, easy.weights.arrays)[0]):
        assert abs(LanczosSolver(system).largest / FactorSolver(system).largest - 1) < 1e-13


@pytest.mark.parametrize("method", ["krylov", 3, ""])
def test_methods_that_are_none_are_refused(method):
    with pytest.raises(InvalidArgument, match="'method' must be one of"):
        trajectory(problem_of(), [0.0], method=method)


def test_eigenvectors_of_a_kernel_that_rounding_reaches_are_refused():
    with pytest.raises(InvalidArgument, match="'method' must not be 'kernel' here"):
        trajectory(problem_of(), [0.0], method="kernel")


def test_methods_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(frozen_solver, "_MOST_BYTES", {"factor": 999, "kernel": 999})
    for method in ("factor", "kernel"):
        with pytest.raises(InvalidArgument, match=rf"'{method}' takes .* GiB for 12 samples x 2"):
            trajectory(problem_of(), [0.0], method=method)
    assert isinstance(solver(system_of()), LanczosSolver)
    assert solver(system_of()).otherwise is None


def test_sizes_and_spectra_choose_the_method(monkeypatch, easy):
    good = systems_of(easy, easy.weights.arrays)[0]
    assert isinstance(solver(good), FactorSolver)
    monkeypatch.setattr(frozen_solver, "_SMALL_WORK", 0)
    assert isinstance(solver(good), KernelSolver)
    assert isinstance(solver(good, once=True), KernelSolver)
    monkeypatch.setattr(frozen_solver, "_MANY", 0)
    assert isinstance(solver(good, once=True), LanczosSolver)
    singular = solver(system_of())
    assert isinstance(singular, LanczosSolver)
    assert singular.otherwise is not None
    assert linearised_error(problem_of(), LAW) <= 1e-10


def test_trajectories_say_how_far_they_may_be_wrong():
    early, late = (trajectory(problem_of(), [0.0, t]).conventions[-2] for t in (1.0, 1e8))
    assert "all weights together are wrong by" in early
    assert early.endswith("at most by flow time 1")
    stated = [float(text.split("wrong by ")[1].split()[0]) for text in (early, late)]
    assert 0 < stated[0] < 1e-12
    assert 1e3 * stated[0] < stated[1] < 1e-3
    # A later phase does not undo what is wrong already.
    two = sk.Curriculum([sk.Phase(TASK, 1e8), sk.Phase(sk.Task(X, TASK.Y))])
    text = trajectory(replace(problem_of(), curriculum=two), [1e8, 1e8 + 1e-3]).conventions[-2]
    assert float(text.split("wrong by ")[1].split()[0]) >= stated[1]
