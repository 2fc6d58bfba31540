"""What a phase leaves behind seeds the next one: right to the digits promised, or refused."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import symkernel as sk
from symkernel.errors import OutsideValidity
from symkernel.problem.problem import Problem
from symkernel.theory import LAWS, lambda_balanced, riccati, two_eigenvalue_flow
from tests.oracles import phases_mpmath, taylor_flow

LAW = {law.name: law for law in LAWS}
# Up to here estimated errors are returned; errors found are far below, save in a few draws.
RIGHT = 1e-6


def posed(phases, net: sk.Network, w0) -> Problem:
    """Return a problem on white inputs; phases are pairs (S, duration)."""
    made = []
    for S, duration in phases:
        n_out, n_in = S.shape
        level = (1 + (S**2).sum()) * np.eye(n_out)
        made.append(sk.Phase(sk.Task.from_moments(np.eye(n_in), S, level), duration))
    return Problem(net, sk.Curriculum(made), w0)


def unit(phases, w, a) -> Problem:
    net = sk.Network.two_layer(len(w), 1, len(a))
    return posed(phases, net, sk.weights.from_arrays(net, [np.array([w]), np.array(a)[:, None]]))


def stacked(found) -> np.ndarray:
    return np.concatenate([found.weights["W1"][:, 0], found.weights["W2"][:, :, 0]], axis=1)


def blocks(found) -> np.ndarray:
    W = found.end_to_end
    top = np.concatenate([found.input_gram, W.transpose(0, 2, 1)], axis=2)
    return np.concatenate([top, np.concatenate([W, found.readout_gram], axis=2)], axis=1)


def needed(phases, times, squares: float = 0.0) -> int:
    """Return the digits that growth in all phases takes, the squares of the weights with it."""
    spans = [duration for _, duration in phases[:-1]]
    spans.append(max(times[-1] - sum(spans), 0.0))
    fastest = [np.linalg.norm(S, 2) + squares for S, _ in phases]
    return int(60 + 2 * sum(f * span for f, span in zip(fastest, spans, strict=True)))


def spread(phases) -> np.ndarray:
    """Return times in the first phase, at every switch, and long into the last phase."""
    ends = np.cumsum([duration for _, duration in phases[:-1]])
    return np.unique([0.5 * ends[0], *ends, *(ends[-1] + 10 ** np.linspace(-1, 1.6, 7))])


def bases(draw: np.random.Generator, n_out: int, n_in: int) -> tuple[np.ndarray, np.ndarray]:
    U, V = (np.linalg.qr(draw.standard_normal((n, n)))[0] for n in (n_out, n_in))
    r = min(n_in, n_out)
    return U[:, :r], V[:, :r]


def curriculum_of(draw: np.random.Generator, n_out: int, n_in: int, kind: int):
    """Return two or three phases: along the axes, reversals in one basis, or not commuting."""
    r = min(n_out, n_in)
    U, V = np.eye(n_out)[:, :r], np.eye(n_in)[:, :r]
    if kind:
        U, V = bases(draw, n_out, n_in)
    count, strengths = int(draw.integers(2, 4)), 10 ** draw.uniform(-1, 0.5, r)
    targets = []
    for k in range(count):
        if kind == 2:
            U, V = bases(draw, n_out, n_in)
        s = strengths * (-1.0) ** k
        if draw.random() < 0.5:
            s = 10 ** draw.uniform(-1, 0.5, r) * draw.choice([-1, 1], r)
        targets.append(U * s @ V.T)
    spans = [float(10 ** draw.uniform(-0.5, 1.6)) for _ in targets[1:]]
    return list(zip(targets, [*spans, None], strict=True))


def test_the_oracle_is_the_flow_of_the_weights() -> None:
    draw = np.random.default_rng(1)
    W1, W2, S = draw.standard_normal((1, 2)), draw.standard_normal((2, 1)), np.eye(2)
    times = np.array([0.5, 3.0])
    first, second = taylor_flow.integrate(W1, W2, S, np.eye(2), times, factor=0.5, scale=1.0)
    found = np.array(phases_mpmath.unit(W1, W2, [(S, None)], times, 60))
    np.testing.assert_allclose(found, np.hstack([first[:, 0], second[:, :, 0]]), atol=1e-15)
    Q, half = mpmath.diag([mpmath.sqrt(0.5)] * 4), np.sqrt(0.5) * np.eye(2)
    W1, W2 = np.vstack([half, 0 * half]), np.hstack([0 * half, half])
    first, second = taylor_flow.integrate(W1, W2, S, np.eye(2), times, factor=0.5, scale=1.0)
    found = np.array(phases_mpmath.gram(Q, 0, 0.25, [(S, None)], times, 60))
    np.testing.assert_allclose(found[:, 2:, :2], second @ first, atol=1e-15)


# --- one hidden unit ------------------------------------------------------------------------------


def test_sides_that_a_reversal_leaves_nearly_opposite_keep_their_sum() -> None:
    """From two sides in place of sum and difference the next phase would end anywhere."""
    phases = [(np.array([[s]]), T) for s, T in ((-1.78, 20.1), (-0.485, 4.66), (2.22, None))]
    problem = unit(phases, [1.57e-30], [3.7e-16])
    times = np.array([20.1, 24.76, 30.0, 40.0, 42.0, 50.0, 60.0])
    arrays = problem.weights.arrays
    want = np.array(phases_mpmath.unit(arrays["W1"], arrays["W2"], phases, times, 250))
    np.testing.assert_allclose(
        stacked(LAW["single_unit"].trajectory(problem, times)), want, rtol=1e-12
    )
    naive = unit([phases[-1]], *([value] for value in want[1]))
    late = stacked(LAW["single_unit"].trajectory(naive, times[-1:] - 24.76))
    assert np.abs(late - want[-1:]).max() > 1


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_one_unit_through_drawn_phases_is_right_or_refused(kind: int) -> None:
    answered = 0
    for seed in range(1000, 1016):
        draw = np.random.default_rng(seed)
        n_in, n_out = (int(v) for v in draw.integers(1, 4, 2))
        phases = curriculum_of(draw, n_out, n_in, kind)
        size = 10 ** draw.uniform(-15, 0.3, 2)
        w, a = draw.standard_normal(n_in) * size[0], draw.standard_normal(n_out) * size[1]
        if seed % 3 == 0:
            # Balanced along the first task.
            U, _, Vt = np.linalg.svd(phases[0][0])
            w, a = size[0] * Vt[0], size[0] * U[:, 0]
        problem, times = unit(phases, w, a), spread(phases)
        try:
            found = stacked(LAW["single_unit"].trajectory(problem, times))
        except OutsideValidity:
            continue
        digits = needed(phases, times, w @ w + a @ a)
        want = np.array(phases_mpmath.unit([w], a[:, None], phases, times, digits))
        assert np.abs(found - want).max() <= RIGHT * np.linalg.norm(want, axis=1).max(), seed
        answered += 1
    assert answered >= 10


def test_a_balanced_reversal_in_a_turned_basis_is_refused_when_rounding_decides() -> None:
    """Equal sides stay on the saddle; their rounding leaves it, as it happens to fall."""
    U, V = bases(np.random.default_rng(3), 3, 3)
    S = U * [2.0, 1.0, 0.5] @ V.T
    w, a = 0.5 * V[:, 0], 0.5 * U[:, 0]
    law, problem = LAW["single_unit"], unit([(S, 3.0), (-S, None)], w, a)
    with pytest.raises(OutsideValidity, match=r"In phase 1 rounding decides.*different lengths"):
        _ = law.trajectory(problem, [40.0]).weights
    times = np.array([3.0, 4.0, 8.0])
    want = phases_mpmath.unit([w], a[:, None], [(S, 3.0), (-S, None)], times, 80)
    np.testing.assert_allclose(stacked(law.trajectory(problem, times)), want, atol=1e-8)
    level = unit([(S, 3.0), (-S, None)], w, 2 * a)
    late = law.trajectory(level, [60.0]).end_to_end[0]
    assert np.linalg.norm(late + 2 * np.outer(U[:, 0], V[:, 0])) <= 1e-9


def test_what_is_not_there_does_not_come_by_a_floor() -> None:
    """Balanced along the axes the difference is exactly 0, in used and in unused directions."""
    S = np.diag([2.0, 0.0])
    problem = unit([(S, 30.0), (S / 2, None)], [0.3, 0.4], [0.3, 0.4])
    found = stacked(LAW["single_unit"].trajectory(problem, [30.0, 60.0]))
    assert (found[:, :2] == found[:, 2:]).all()
    np.testing.assert_allclose(found[-1], [1.0, 0, 1.0, 0], atol=1e-12)


@pytest.mark.parametrize("readout", [1.0, 3.0, 10.0, 30.0])
@pytest.mark.parametrize("end", [3.0, 20.0, 80.0])
def test_the_same_task_again_is_one_phase(readout: float, end: float) -> None:
    """The unused input shrinks below the smallest number, and nothing can make it large again."""
    S, times = np.array([[2.0, 0.0]]), np.array([0.1, 0.6, 1.0]) * end
    start = [0.1, 0.2], [readout]
    want = stacked(LAW["single_unit"].trajectory(unit([(S, None)], *start), times))
    for cuts in ([0.5], [0.2, 0.4], [0.2, 0.1, 0.3]):
        phases = [*((S, cut * end) for cut in cuts), (S, None)]
        problem = unit(phases, *start)
        found = stacked(LAW["single_unit"].trajectory(problem, times))
        np.testing.assert_allclose(found, want, rtol=1e-12, atol=1e-14)
        reduced = LAW["reduced_flow"].trajectory(problem, times)
        np.testing.assert_allclose(found, stacked(reduced), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("first", "size"), [(40.0, "or less"), (400.0, "the smallest number")])
def test_an_input_that_shrank_below_what_is_carried_is_refused_once_it_has_grown(
    first: float, size: str
) -> None:
    """Also where a phase that leaves it alone comes in between."""
    S, other = np.array([[2.0, 0.0]]), np.array([[0.0, 2.0]])
    law = LAW["single_unit"]
    for rest in ([(other, None)], [(S, 5.0), (other, None)]):
        problem = unit([(S, first), *rest], [0.1, 0.2], [4.0])
        begin = problem.curriculum.starts[-1]
        early = law.trajectory(problem, [begin, begin + 0.01])
        # It comes back through the read-out, which is large, and needs no digits of it.
        late = law.trajectory(problem, [begin + 20.0]).end_to_end[0]
        assert abs(early.end_to_end[0, 0, 1]) <= 1e-100
        np.testing.assert_allclose(late, other, atol=1e-9)
    U = np.diag([2.0, 1.0]), np.diag([1.0, 2.0])
    problem = unit([(U[0], 10 * first), (U[1], None)], [0.3, 0.3], [0.3, 0.3])
    begin = 10 * first
    found = law.trajectory(problem, [begin + 1.0]).end_to_end[0]
    np.testing.assert_allclose(found[1], 0, atol=1e-100)
    words = rf"Mode 1 has at the start of phase 1 .*{size}.*ask for earlier times"
    with pytest.raises(OutsideValidity, match=words):
        _ = law.trajectory(problem, [begin + 12 * first]).weights
    with pytest.raises(OutsideValidity, match=words):
        _ = sk.derive(problem.network, problem.curriculum, problem.weights, law="single_unit").mode(
            1, 1
        )


# --- lambda-balanced ------------------------------------------------------------------------------


def balanced(phases, lam: float, scale: float, hidden: int, seed: int) -> Problem:
    n_out, n_in = phases[0][0].shape
    net = sk.Network.two_layer(n_in, hidden, n_out)
    return posed(phases, net, sk.weights.lambda_balanced(net, lam, scale, seed=seed))


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_lambda_balanced_through_drawn_phases_is_right_or_refused(kind: int) -> None:
    answered = 0
    for seed in range(1000, 1012):
        draw = np.random.default_rng(seed)
        n_in, n_out = (int(v) for v in draw.integers(1, 3, 2))
        phases = curriculum_of(draw, n_out, n_in, kind)
        lam = 10 ** draw.uniform(-12, 0) if seed % 2 and n_out == n_in else 0.0
        hidden = int(draw.integers(1, min(n_in, n_out) + 1))
        problem = balanced(phases, lam, 10 ** draw.uniform(-2, 0), hidden, seed)
        times = spread(phases)
        for last in (times, times[:-3]):
            try:
                found = blocks(LAW["lambda_balanced"].trajectory(problem, last))
            except OutsideValidity:
                continue
            digits = needed(phases, last, lam)
            arrays = problem.weights.arrays
            Q = phases_mpmath.matrix(np.vstack([arrays["W1"].T, arrays["W2"]]))
            want = np.array(phases_mpmath.gram(Q, lam, 0, phases, last, digits))
            assert np.abs(found - want).max() <= RIGHT * max(1.0, np.abs(want).max()), seed
            answered += 1
            break
    assert answered >= 6


def test_a_weak_direction_that_is_hardly_there_does_not_refuse_a_strong_task() -> None:
    """The reach of one direction, paired with the share of another, had refused this."""
    U, V = bases(np.random.default_rng(5), 2, 2)
    spectrum, late = riccati.eigenbasis(U * [1.2, 0.7] @ V.T, 0.0), 25.0
    f, E, _ = spectrum
    shares, noise = np.zeros((4, 2)), 4 * np.finfo(float).eps
    shares[np.argsort(-f)[:2]] = np.diag([4.0, 3e-10])
    factor = E @ shares
    assert min(noise * np.exp(1.2 * late), noise / 3e-10) > RIGHT
    estimate = riccati.rounding(spectrum, factor, late)
    assert estimate <= RIGHT / 10
    grams, _ = riccati.advance(spectrum, factor, np.array([late]))
    moved, _ = riccati.advance(spectrum, factor + noise / 2, np.array([late]))
    assert np.abs(moved - grams).max() <= 10 * estimate


def test_what_a_phase_leaves_wrong_grows_in_the_next_one() -> None:
    """Unlearned to nothing, a mode comes back with the sign that rounding happens to have."""
    U, V = bases(np.random.default_rng(3), 2, 1)
    S = 0.46 * U @ V.T
    phases = [(S, 48.0), (-S, 46.5), (S, None)]
    net, start = sk.Network.two_layer(1, 1, 2), 2e-4
    w0 = sk.weights.from_arrays(net, [start * V.T, start * U])
    problem, law = posed(phases, net, w0), LAW["lambda_balanced"]
    with pytest.raises(OutsideValidity, match="In phase 2 rounding decides"):
        _ = law.trajectory(problem, [200.0]).end_to_end
    assert np.abs(law.trajectory(problem, [94.0]).end_to_end).max() <= 1e-9
    path = lambda_balanced._path(problem)
    _, state = path.advance(0, path.start, np.array([48.0]))
    _, (factor, error) = path.advance(1, state, np.array([46.5]))
    naive = riccati.rounding(path.spectra[2], factor, 40.0)
    assert naive <= 1e-12
    assert riccati.rounding(path.spectra[2], factor, 40.0, error=error) > 1e-2


def test_the_share_of_very_many_directions_is_bounded_from_below() -> None:
    draw = np.random.default_rng(7)
    rows = draw.standard_normal((90, 40)) * 10 ** draw.uniform(-6, 0, (90, 1))
    found, _ = riccati._shares(rows, np.linspace(2, 1, 90), 10.0)
    exact = [np.linalg.svd(rows[: i + 1], compute_uv=False)[-1] for i in range(90)]
    assert (found <= np.array(exact) * (1 + 1e-12)).all()
    assert (found > 0).all()
    few, _ = riccati._shares(rows[:20], np.linspace(2, 1, 20), 10.0)
    np.testing.assert_allclose(few, exact[:20], rtol=1e-12)


# --- two eigenvalues ------------------------------------------------------------------------------


def semi_orthogonal(phases, a: float, b: float, seed: int = 1) -> Problem:
    n_out, n_in = phases[0][0].shape
    net = sk.Network.two_layer(n_in, n_in + n_out, n_out)
    return posed(phases, net, sk.weights.semi_orthogonal(net, a, b, seed=seed))


def exact_gram(phases, a: float, b: float, times) -> np.ndarray:
    n_out, n_in = phases[0][0].shape
    digits = needed(phases, times, a + b)
    with mpmath.workdps(digits):
        one, two = mpmath.mpf(a), mpmath.mpf(b)
        Q = mpmath.diag([mpmath.sqrt(one)] * n_in + [mpmath.sqrt(two)] * n_out)
        found = phases_mpmath.gram(Q, two - one, one * two, phases, times, digits)
    return np.array(found)


def test_a_weak_task_after_a_strong_one_keeps_its_digits() -> None:
    """As a difference of numbers of the size of the strong task, the map would have lost them."""
    a, first = 1e-8, 0.02
    draw = np.random.default_rng(1)
    (U, V), other = bases(draw, 2, 2), bases(draw, 2, 2)
    phases = [(100 * U @ V.T, first), (other[0] @ other[1].T, None)]
    times = np.array([first, 0.3, 1.0, 7.0, 8.0, 9.0, 10.0, 40.0])
    want = exact_gram(phases, a, a, times)
    found = blocks(LAW["two_eigenvalues"].trajectory(semi_orthogonal(phases, a, a), times))
    assert np.abs(found - want).max() <= 1e-12
    # The member of the class with that map, followed further.
    strong, weak = phases[0][0], phases[1][0]
    U, w, Vt = np.linalg.svd((want[0, 2:, :2] + strong) - strong)
    root, nothing = np.sqrt(np.hypot(w, a)), np.zeros((2, 2))
    factor = np.block([[Vt.T * root, nothing], [U * (w / root), U * (a / root)]])
    naive, _ = riccati.advance(riccati.eigenbasis(weak, 0.0), factor, times[1:] - first, a)
    assert np.abs(naive - want[1:]).max() > 1e-9


def test_a_strong_task_reversed_from_small_weights_is_refused() -> None:
    U, V = bases(np.random.default_rng(4), 2, 2)
    S = U @ V.T
    law, words = LAW["two_eigenvalues"], "In phase 1 rounding decides.*start from larger weights"
    problem = semi_orthogonal([(100 * S, 0.3), (-S, None)], 1e-10, 1e-10)
    with pytest.raises(OutsideValidity, match=words):
        _ = law.trajectory(problem, [60.0]).end_to_end
    assert np.abs(law.trajectory(problem, [0.3]).end_to_end[0] - 100 * S).max() <= 1e-10


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_two_eigenvalues_through_drawn_phases_are_right_or_refused(kind: int) -> None:
    answered = 0
    for seed in range(1000, 1010):
        draw = np.random.default_rng(seed)
        n_in, n_out = (int(v) for v in draw.integers(1, 3, 2))
        phases = curriculum_of(draw, n_out, n_in, kind)
        a, b = (float(v) for v in 10 ** draw.uniform(-12, 0.3, 2))
        times = spread(phases)
        try:
            found = blocks(LAW["two_eigenvalues"].trajectory(semi_orthogonal(phases, a, b), times))
        except OutsideValidity:
            continue
        want = exact_gram(phases, a, b, times)
        assert np.abs(found - want).max() <= RIGHT * np.abs(want).max(), seed
        answered += 1
    assert answered >= 7


def test_rung_3_judges_two_phases_of_two_eigenvalues(monkeypatch) -> None:
    """A way through a phase that hands on G with the rounding of F in it fails there."""
    check, plain = two_eigenvalue_flow.check_precision, riccati.advance
    assert check(np.random.default_rng(1000), 12).passed

    def shifted(spectrum, factor, times, source=0.0):
        grams, _ = plain(spectrum, factor, times, source)
        level = np.abs(spectrum[0]).max()
        values, vectors = np.linalg.eigh((grams[-1] + level) - level)
        return grams, np.ascontiguousarray(vectors * np.sqrt(np.maximum(values, 0.0)))

    monkeypatch.setattr(riccati, "advance", shifted)
    assert not check(np.random.default_rng(1000), 12).passed


def test_the_flow_with_a_source_goes_to_the_one_without() -> None:
    draw = np.random.default_rng(2)
    S, Q0, times = (
        draw.standard_normal((2, 3)),
        draw.standard_normal((5, 5)),
        np.array([0.1, 3.0, 90.0]),
    )
    spectrum = riccati.eigenbasis(S, 0.0)
    plain, _ = riccati.advance(spectrum, Q0, times)
    near, _ = riccati.advance(spectrum, Q0, times, 1e-9)
    np.testing.assert_allclose(near, plain, atol=1e-8)
