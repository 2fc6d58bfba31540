"""Weights of the laws against the flow of the full weights, also where rounding decides the flow.

Errors are relative to max(1, largest weight). Where forward sensitivity times 2^-52 exceeds 1e-10
an integrator in floating point is no judge: there the flow is integrated with 57 digits instead.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import symkernel as sk
from symkernel import notation, testing
from symkernel.errors import NoClosedForm
from symkernel.problem.problem import Problem
from symkernel.simulation.flow import integrate_flow
from symkernel.testing import moments_task
from symkernel.theory import LAWS
from tests.oracles import taylor_flow
from tests.theory.flow_draws import CERTAIN, flow_gap

BOUND = 1e-9
LAW = {law.name: law for law in LAWS}


def weights_of(law: str, problem: Problem, times):
    verdicts = LAW[law].test(problem)
    assert all(v.holds for v in verdicts), "\n".join(map(str, verdicts))
    return LAW[law].trajectory(problem, times).weights


@given(testing.aligned_problems())
@settings(max_examples=8)
def test_aligned_weights_follow_the_flow(problem: Problem) -> None:
    assert flow_gap(LAW["aligned_modes"], problem, testing.horizon(problem)) <= BOUND


@given(testing.aligned_problems(most=4, phases=2))
@settings(max_examples=6)
def test_aligned_weights_follow_the_flow_through_two_tasks(problem: Problem) -> None:
    """The second task commutes with the first one; its strengths may have any signs."""
    assert flow_gap(LAW["aligned_modes"], problem, testing.horizon(problem, 20.0)) <= BOUND


@given(testing.gram_diagonal_problems())
@settings(max_examples=8)
def test_gram_diagonal_weights_follow_the_flow(problem: Problem) -> None:
    assert flow_gap(LAW["gram_diagonal"], problem, testing.horizon(problem, 30.0)) <= BOUND


@given(testing.aligned_problems(most=4))
@settings(max_examples=8)
def test_both_laws_give_the_same_where_both_hold(problem: Problem) -> None:
    times = testing.horizon(problem, 20.0)
    one, two = (weights_of(name, problem, times) for name in ("aligned_modes", "gram_diagonal"))
    for name in one:
        assert np.array_equal(one[name], two[name])


@pytest.mark.slow
@given(st.one_of(testing.aligned_problems(most=12), testing.aligned_problems(most=6, phases=3)))
@settings(max_examples=150)
def test_aligned_weights_follow_the_flow_on_many_draws(problem: Problem) -> None:
    """Of problems that the law accepts.

    It refuses a few valid ones with several unused modes of repeated amplitudes, whose two sides
    it cannot pair: that is an error raised, not a wrong trajectory.
    """
    assume(all(verdict.holds for verdict in LAW["aligned_modes"].test(problem)))
    assert flow_gap(LAW["aligned_modes"], problem, testing.horizon(problem)) <= BOUND


@pytest.mark.slow
@given(testing.gram_diagonal_problems(most=6))
@settings(max_examples=150)
def test_gram_diagonal_weights_follow_the_flow_on_many_draws(problem: Problem) -> None:
    assert flow_gap(LAW["gram_diagonal"], problem, testing.horizon(problem, 30.0)) <= BOUND


# --- cases that must be there whatever is drawn ---------------------------------------------------


def posed(s, a, b, *, shape, d=None, kind="random", seed=1000, durations=()) -> Problem:
    """Return an aligned problem; `s` is one row of strengths for each phase."""
    stream = np.random.default_rng(seed)
    n_in, n_hidden, n_out = shape
    U, V, H = (
        np.eye(n) if kind == "identity" else np.linalg.qr(stream.standard_normal((n, n)))[0]
        for n in (n_out, n_in, n_hidden)
    )
    s = np.atleast_2d(s).astype(float)
    r = s.shape[1]
    d = np.ones(n_in) if d is None else np.asarray(d, float)
    a, b = np.broadcast_to(np.array(a, float), r), np.broadcast_to(np.array(b, float), r)
    used = np.flatnonzero((a != 0) | (b != 0))
    R = np.zeros((n_hidden, r))
    R[:, used] = H[:, : len(used)]
    net = sk.Network.two_layer(*shape)
    w0 = sk.weights.from_arrays(net, [(R * a) @ V[:, :r].T, (U[:, :r] * b) @ R.T])
    tasks = [moments_task(U, V, row, d) for row in s]
    phases = [sk.Phase(t, duration=q) for t, q in zip(tasks[:-1], durations, strict=True)]
    return Problem(net, sk.Curriculum([*phases, sk.Phase(tasks[-1])]), w0)


CASES = {
    "repeated strengths": posed([3, 3, 3, 1], 0.1, 0.2, shape=(4, 6, 4)),
    "strengths that nearly repeat": posed([2, 2 + 1e-9, 2 + 1e-12], 0.1, 0.2, shape=(3, 3, 3)),
    "repeated strengths, each mode its own amplitudes": posed(
        [2, 2, 2], [0.1, 0.5, -0.3], [0.2, 0.1, 0.4], shape=(3, 4, 3)
    ),
    "repeated strengths, sides of very different lengths": posed(
        [[3, 3, 3], [-1, -1, -1]],
        [1.7e-3, 1.6e-4, 0],
        [0, 1.6e-4, 0],
        shape=(3, 3, 4),
        seed=1,
        durations=[1.0],
    ),
    "zero strengths": posed([2, 0, 0], [0.1, 0.4, -0.3], [0.3, 0.4, 0.2], shape=(3, 4, 3)),
    "nothing to learn": posed([0, 0], [0.5, -1.0], [0.5, 0.7], shape=(2, 2, 2)),
    "rank one": posed([4, 0, 0, 0], 0.2, 0.1, shape=(4, 5, 4)),
    "bottleneck": posed([3, 2, 1, 0.5], [0.2, 0.1, 0, 0], [0.1, 0.1, 0, 0], shape=(4, 2, 4)),
    "bottleneck on weak modes": posed([3, 2, 1], [0, 0, 0.3], [0, 0, 0.2], shape=(3, 1, 3)),
    "more inputs than outputs": posed([2, 1], 0.1, 0.3, shape=(7, 3, 2), d=np.linspace(0.3, 3, 7)),
    "more outputs than inputs": posed([2, 1], 0.1, 0.3, shape=(2, 3, 6), d=[0.5, 4.0]),
    "input variance": posed([2, 1, 1], 0.2, -0.1, shape=(3, 3, 3), d=[0.1, 3.0, 0.7]),
    "inputs that never vary": posed([2, 0], 0.2, [0.1, 0.3], shape=(3, 3, 2), d=[1.0, 0.0, 0.0]),
    "zero weights in some modes": posed([2, 1, 3], [0.1, 0, 0], [0.2, 0, 0], shape=(3, 3, 3)),
    "one side zero": posed([2, 1], [0.3, 0.0], [0.0, 0.4], shape=(2, 2, 2)),
    "starts at the solution": posed([6, 2], [2, 1], [3, 2], shape=(2, 2, 2)),
    "starts above the solution": posed([1, 2], [4, 2], [3, 3], shape=(2, 2, 2)),
    "two tasks": posed(
        [[2, 1, 0], [0.5, 3, 1]], 0.1, [0.3, -0.2, 0.1], shape=(3, 4, 3), durations=[3.0]
    ),
    "task reversal": posed([[2, 1], [-2, -1]], 0.1, 0.3, shape=(2, 2, 2), durations=[4.0]),
    "the same task again": posed([[2, 1], [2, 1]], 0.1, 0.3, shape=(3, 2, 2), durations=[1.0]),
    "three tasks": posed(
        [[2, 1], [0, -1], [1, 1]], 0.4, 0.2, shape=(2, 3, 2), durations=[0.5, 0.25]
    ),
    "tasks that separate what the first one repeats": posed(
        [[2, 2, 2], [1, 2, 3]], [0.1, 0.2, 0.3], 0.2, shape=(3, 3, 3), durations=[2.0]
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_named_cases_follow_the_flow(name: str) -> None:
    problem = CASES[name]
    strongest = max(np.linalg.norm(p.task.Syx, 2) for p in problem.curriculum.phases)
    end = problem.curriculum.starts[-1] + 12.0 / max(strongest, 0.3)
    assert flow_gap(LAW["aligned_modes"], problem, np.linspace(0, end, 13)) <= BOUND


def test_modes_that_start_at_zero_stay_there() -> None:
    """Weights without a mode must not grow one from rounding, in any basis."""
    problem = CASES["zero weights in some modes"]
    found = LAW["aligned_modes"].trajectory(problem, [0.0, 20.0, 200.0])
    assert np.count_nonzero(found.modes[-1]) == 1
    assert np.linalg.matrix_rank(found.weights["W1"][-1]) == 1


# --- near the saddle ------------------------------------------------------------------------------


def taylor_gap(problem: Problem, times, law="aligned_modes") -> np.ndarray:
    """Return errors at each time against the flow integrated with 57 digits."""
    arrays = problem.weights.arrays
    task = problem.curriculum.phases[0].task
    first, second = taylor_flow.integrate(
        arrays["W1"], arrays["W2"], task.Syx, task.Sxx, times,
        factor=float(problem.loss.factor),
        scale=float(np.prod([float(p.scale) for p in problem.network.parameters])),
    )  # fmt: skip
    found = weights_of(law, problem, times)
    scale = max(1.0, np.abs(first).max(), np.abs(second).max())
    gap = np.abs(found["W1"] - first).max((1, 2)), np.abs(found["W2"] - second).max((1, 2))
    return np.maximum(*gap) / scale


@pytest.mark.parametrize("excess", [1e-15, 1e-12, 1e-9, 1e-6, -1e-9])
def test_the_saddle_is_left_when_the_exact_flow_leaves_it(excess: float) -> None:
    """In bases that are exact, b = -a (1 + excess) decides the escape to the last digit."""
    b = -0.5 * (1 + excess)
    problem = posed([2.0, 1.0], [0.5, 0.2], [b, 0.3], shape=(2, 2, 2), kind="identity")
    times = np.array([2.0, 8.0, 14.0, 20.0])
    assert taylor_gap(problem, times).max() <= BOUND
    flow = integrate_flow(problem, times)
    assert flow.sensitivity[-1] * 2.0**-52 > CERTAIN or abs(excess) > 1e-8
    # The flow does leave: without growth the test would show nothing.
    end = LAW["aligned_modes"].trajectory(problem, times).modes
    assert end[0].min() < 0 or excess < 0
    assert np.abs(end[-1]).max() > 1.0 or abs(excess) < 1e-12


@given(
    st.floats(0.3, 2.0), st.floats(-16, -3), st.sampled_from([-1.0, 1.0]), st.floats(0.2, 3.0),
    st.sampled_from([1.0, 0.37]),
)  # fmt: skip
@settings(max_examples=4)
def test_drawn_saddles_agree_with_high_precision(a, exponent, sign, s, d) -> None:
    b = -a * (1 + sign * 10.0**exponent)
    problem = posed([s], [a], [b], shape=(1, 1, 1), d=[d], kind="identity")
    assert taylor_gap(problem, np.array([1.0, 10.0, 25.0]) / s).max() <= BOUND


def test_balanced_opposite_sides_fall_to_the_saddle_and_stay() -> None:
    """With u0 < 0 with a = -b another branch is taken; the formula does not leave it."""
    s, a = 2.0, 0.7
    problem = posed([s], [a], [-a], shape=(1, 1, 1), kind="identity")
    times = np.array([0.0, 1.0, 5.0, 40.0, 1e6])
    found = LAW["aligned_modes"].trajectory(problem, times).modes[:, 0]
    with np.errstate(over="ignore"):
        want = s / (1 + (s / -(a**2) - 1) * np.exp(2 * s * times))
    assert np.allclose(found, want, rtol=1e-12, atol=1e-30)
    assert taylor_gap(problem, times[1:3]).max() <= 1e-14
    net = problem.network
    assert (
        sk.derive(net, problem.curriculum, problem.weights).mode(0).output.subs(notation.t, 0) < 0
    )


@pytest.mark.parametrize("seed", range(3))
def test_near_a_saddle_in_a_turned_basis_the_law_is_backward_stable(seed: int) -> None:
    """Bases are rounded, so the law is exact for weights some rounding away, not for these.

    The error is then bounded by rounding times what the flow makes of it.
    """
    problem = posed(
        [2.0, 1.0], [0.5, 0.2], [-0.5 * (1 + 1e-7), 0.3], shape=(2, 3, 2), seed=seed
    )  # fmt: skip
    times = np.array([1.0, 4.0, 8.0])
    flow = integrate_flow(problem, times)
    assert (taylor_gap(problem, times) <= 64 * 2.0**-52 * flow.sensitivity.clip(1.0)).all()
    assert flow.sensitivity[-1] > 1e5


@pytest.mark.parametrize("options", [{}, {"parameterisation": "ntk"}])
def test_the_integrator_of_rung_four_agrees_with_high_precision(options) -> None:
    """General weights, tasks and sizes, so that the judge is judged outside the laws too."""
    stream = np.random.default_rng(1000)
    net = sk.Network.two_layer(3, 2, 2, **options)
    task = sk.Task(stream.standard_normal((5, 3)), stream.standard_normal((5, 2)))
    problem = Problem(net, task, sk.weights.gaussian(net, seed=1), sk.SquaredError(0.75))
    arrays, times = problem.weights.arrays, np.array([0.3, 2.0])
    scale = float(np.prod([float(p.scale) for p in net.parameters]))
    exact = taylor_flow.integrate(
        arrays["W1"], arrays["W2"], task.Syx, task.Sxx, times, factor=0.75, scale=scale
    )
    found = integrate_flow(problem, times)
    for name, want in zip(("W1", "W2"), exact, strict=True):
        assert np.abs(found.weights[name] - want).max() <= 1e-12


# --- refusals -------------------------------------------------------------------------------------


def refusal(problem: Problem) -> NoClosedForm:
    """Return the refusal of the law of aligned modes."""
    law = "aligned_modes"
    with pytest.raises(NoClosedForm) as caught:
        sk.derive(problem.network, problem.curriculum, problem.weights, loss=problem.loss, law=law)
    return caught.value


def worst(error: NoClosedForm, words: str) -> float:
    """Return the distance of the verdict whose assumption holds these words."""
    (found,) = {v.distance for v in error.verdicts if words in v.assumption and not v.holds}
    return found


def test_raw_inputs_that_do_not_commute_are_refused_with_their_distance() -> None:
    """Whitening is not equivalent; the law must not be applied to raw inputs."""
    stream = np.random.default_rng(1000)
    X = stream.standard_normal((40, 3)) @ np.array([[1.0, 0.9, 0], [0, 0.5, 0.3], [0, 0, 0.2]])
    Y = X @ stream.standard_normal((3, 2)) + 0.1 * stream.standard_normal((40, 2))
    raw = sk.Task(X, Y)
    net = sk.Network.two_layer(3, 4, 2)
    error = refusal(Problem(net, raw, sk.weights.aligned(net, raw, a=0.1, b=0.1)))
    _U, _, Vt = np.linalg.svd(raw.Syx)
    turned = Vt @ raw.Sxx @ Vt.T
    # A coefficient: covariances over the variance of the weaker input, which feels them most.
    weaker = np.minimum.outer(np.diag(turned), np.diag(turned))
    distance = (np.abs(turned - np.diag(np.diag(turned))) / weaker).max()
    assert worst(error, "diagonal in one pair of bases") == pytest.approx(distance, rel=1e-9)
    assert distance > 0.05
    assert "whiten the inputs" in str(error)
    assert "changes the dynamics" in str(error)
    white = raw.whitened()
    w0 = sk.weights.aligned(net, white, a=0.1, b=0.1)
    d = sk.derive(net, white, w0)
    assert "whitened" in " ".join(d.conventions)
    # And it is not equivalent: the raw network, from the same map, learns another way.
    times = np.array([0.0, 5.0])
    law = d.compile()(times).weights
    unwhiten = np.linalg.lstsq(X, white.X, rcond=None)[0].T
    start = sk.weights.from_arrays(net, [w0.arrays["W1"] @ unwhiten, w0.arrays["W2"]])
    truth = integrate_flow(Problem(net, raw, start), times).weights
    maps = [w["W2"] @ w["W1"] for w in (law, truth)]
    assert np.allclose(maps[0][0] @ unwhiten, maps[1][0])
    assert np.abs(maps[0][1] @ unwhiten - maps[1][1]).max() > 0.02


def test_distance_from_commuting_grows_with_the_turn() -> None:
    """A covariance turned by a small angle is off by about that angle, and refused if far off.

    It is the covariance 2 sin(angle) over the smaller variance, 1.
    """
    net = sk.Network.two_layer(2, 2, 2)
    for angle in (1e-10, 1e-6, 1e-2):
        c, s = np.cos(angle), np.sin(angle)
        V = np.array([[c, -s], [s, c]])
        task = sk.Task.from_moments(
            V @ np.diag([1.0, 3.0]) @ V.T, np.diag([2.0, 1.0]), np.eye(2) * 9
        )
        problem = Problem(net, task, sk.weights.aligned(net, task, a=0.1, b=0.2))
        verdicts = LAW["aligned_modes"].test(problem)
        (found,) = (v for v in verdicts if "diagonal in one pair" in v.assumption)
        assert found.distance == pytest.approx(2 * angle, rel=1e-3)
        assert found.holds == (angle < 1e-8)


@pytest.mark.parametrize("name", ["aligned_modes", "gram_diagonal", "deep_modes"])
def test_weak_inputs_that_move_together_are_refused(name: str) -> None:
    """Next to an input of variance 1 their covariance looks like nothing: it is 9 % of theirs."""
    weak, off = 1e-7, 9e-9
    sxx = np.array([[1.0, 0, 0], [0, weak, off], [0, off, 2 * weak]])
    syx = np.diag([1.0, 2 * weak, 3 * weak])
    task = sk.Task.from_moments(sxx, syx, 10 * np.eye(3))
    net = sk.Network.two_layer(3, 3, 3)
    given = {"u": 1.0} if name == "deep_modes" else {"a": 1.0, "b": 1.0}
    problem = Problem(net, task, sk.weights.aligned(net, task, **given))
    (found,) = (v for v in LAW[name].test(problem) if "diagonal in one pair" in v.assumption)
    assert found.distance == pytest.approx(off / weak, rel=1e-3)
    assert not found.holds
    assert off / np.linalg.norm(sxx, 2) < found.tolerance
    apart = sk.Task.from_moments(np.diag([1.0, weak, 2 * weak]), syx, 10 * np.eye(3))
    again = replace(problem, curriculum=sk.Curriculum([sk.Phase(apart)]))
    assert all(v.holds for v in LAW[name].test(again))
    # What the law would have missed by: the weak inputs' coefficients end elsewhere.
    ends = [np.linalg.solve(s.Sxx, s.Syx.T).T[1:, 1:] for s in (task, apart)]
    assert np.abs(ends[0] - ends[1]).max() > 0.05


def test_gaussian_weights_are_refused_with_their_distance() -> None:
    net = sk.Network.two_layer(3, 5, 3)
    task = sk.Task.from_modes([3.0, 2.0, 1.0])
    error = refusal(Problem(net, task, sk.weights.gaussian(net, seed=1)))
    assert 0.05 < worst(error, "different modes do not overlap") <= 1
    assert 0.05 < worst(error, "sides of each mode are parallel") <= 1
    assert "sk.weights.aligned" in str(error)
    assert "sk.simulate" in str(error)


def test_crossing_is_the_cosine_between_sides() -> None:
    net = sk.Network.two_layer(2, 3, 2)
    task = sk.Task.from_modes([2.0, 1.0])
    W1 = np.array([[1.0, 0.6], [0.0, 0.8], [0.0, 0.0]])
    w0 = sk.weights.from_arrays(net, [W1, np.zeros((2, 3))])
    (found,) = (
        v for v in LAW["gram_diagonal"].test(Problem(net, task, w0)) if "overlap" in v.assumption
    )
    assert found.distance == pytest.approx(0.6)
    assert not found.holds


def test_skewness_is_the_sine_between_the_two_sides() -> None:
    net = sk.Network.two_layer(1, 2, 1)
    task = sk.Task.from_modes(2.0)
    w0 = sk.weights.from_arrays(net, [[[1.0], [0.0]], [[0.3, 0.4]]])
    problem = Problem(net, task, w0)
    (found,) = (v for v in LAW["aligned_modes"].test(problem) if "parallel" in v.assumption)
    assert found.distance == pytest.approx(0.8)
    derived = sk.derive(net, task, w0)
    assert derived.law.name == "gram_diagonal"
    with pytest.raises(NoClosedForm, match=r"parallel .*FAILS"):
        sk.derive(net, task, w0, law="aligned_modes")


OTHER_NETWORKS = {
    "nonlinear": (sk.Network.two_layer(2, 3, 2, "tanh"), "the activation tanh"),
    "three layers": (sk.Network.mlp([2, 3, 3, 2], "linear"), "not a product W2 W1 x"),
    "one layer": (sk.Network.mlp([2, 2], "linear"), "not a product W2 W1 x"),
    "bias": (sk.Network.two_layer(2, 3, 2, bias=True), "the bias"),
}


@pytest.mark.parametrize("name", OTHER_NETWORKS)
def test_other_networks_are_refused_for_what_they_are(name: str) -> None:
    net, words = OTHER_NETWORKS[name]
    task = sk.Task.from_modes([2.0, 1.0])
    error = refusal(Problem(net, task, sk.weights.gaussian(net)))
    assert words in str(error)
    assert all(v.distance == np.inf for v in error.verdicts)


def test_tasks_of_a_curriculum_that_do_not_commute_are_refused() -> None:
    one = sk.Task.from_modes([2.0, 1.0])
    c, s = np.cos(0.3), np.sin(0.3)
    turned = np.array([[c, -s], [s, c]]) @ one.Syx
    two = sk.Task.from_moments(np.eye(2), turned, np.eye(2) * 9)
    net = sk.Network.two_layer(2, 2, 2)
    w0 = sk.weights.aligned(net, one, a=0.1, b=0.1)
    error = refusal(Problem(net, sk.Curriculum([sk.Phase(one, 1.0), sk.Phase(two)]), w0))
    assert worst(error, "diagonal in one pair") > 0.05
