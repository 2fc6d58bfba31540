"""The race: invariant, end, one clock, depth, phases, traps, and the compiled routine."""

from __future__ import annotations

import inspect
from dataclasses import replace

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from scipy.integrate import solve_ivp

import symkernel as sk
from symkernel import testing
from symkernel.codegen.cache import load
from symkernel.errors import NoClosedForm, OutsideValidity
from symkernel.numerics import race as numerics
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.problem import Problem
from symkernel.theory import gated_checks
from symkernel.theory.gated_checks import check_race, race_limits
from symkernel.theory.neural_race import LAW
from symkernel.theory.pathway_state import PathwayState
from symkernel.theory.race_clock import THETA, Race, RaceRoutine
from symkernel.theory.race_time import integral
from tests.oracles.interpreted import interpreted
from tests.theory.flow_draws import BOUND, flow_gap

TIMES = np.linspace(0.0, 20.0, 9)
RACE = [(2, 1), (1, 1)]


def posed(K=2, sharing=RACE, u=(0.02, 0.05), s=(2.0, 1.0), same=False, **how):
    task = sk.environments.contexts(K, s, same_targets=same, **how)
    n_in, n_out = int(task.inputs), int(task.outputs)
    net = sk.pathways.network(n_in, 4, n_out, contexts=K, sharing=sharing)
    return net, task, sk.pathways.aligned(net, task, u=u)


def race_of(net, task, w0):
    return Race(PathwayState.of(Problem(net, Curriculum.of(task), w0)).flow)


def pathways_of(net, task, w0, times):
    """Modes of every pathway, (n_pathways, n_times, n_modes), from the weights of the law."""
    weights = sk.derive(net, task, w0).compile()(times).weights
    found = []
    for k in range(len(times)):
        there = sk.weights.from_arrays(net, {n: w[k] for n, w in weights.items()})
        found.append(PathwayState.of(Problem(net, Curriculum.of(task), there)).modes)
    return np.array(found).transpose(1, 0, 2)


# --- the flow


# In every run forty other draws follow the flow, see test_flow_draws.
@pytest.mark.slow
@settings(max_examples=10)
@given(testing.race_problems())
def test_weights_follow_the_flow(problem):
    assert flow_gap(LAW, problem) < BOUND


def test_a_problem_is_derived_once():
    problem = LAW.example()
    assert PathwayState.of(problem).flow is PathwayState.of(problem).flow


# --- invariant, end and speed


@pytest.mark.parametrize("K", [2, 4, 9])
def test_the_invariant_holds_in_the_weights(K):
    net, task, w0 = posed(K, [(K, 1), (1, 1)], u=[[0.02, 0.1], [0.3, 0.05]])
    shared, separate = pathways_of(net, task, w0, TIMES)
    want = separate[0] * (shared / shared[0]) ** (1 / np.sqrt(K))
    assert np.abs(separate / want - 1).max() < 1e-12
    naive = separate[0] * (shared / shared[0]) ** (1 / K)
    assert np.abs(separate / naive - 1).max() > 1e-2


def end_of(shared, separate, final, K):
    with mpmath.workdps(30):
        power = 1 / mpmath.sqrt(K)
        return float(mpmath.findroot(
            lambda u: u + separate * (u / shared) ** power - final, (0, final), solver="anderson"
        ))  # fmt: skip


def test_the_race_ends_at_the_one_root():
    net, task, w0 = posed(u=[[0.02, 0.1], [0.3, 0.05]], input_variance=[0.5, 2.0])
    shared, separate = pathways_of(net, task, w0, [0.0, 1e3])
    for k, final in enumerate((4.0, 0.5)):
        root = end_of(float(shared[0, k]), float(separate[0, k]), final, 2)
        assert abs(shared[1, k] - root) < 1e-12
        assert abs(shared[1, k] + separate[1, k] - final) < 1e-14


def test_more_sharing_wins_and_private_pathways_need_a_head_start():
    ends = []
    for K in (2, 4, 16):
        net, task, w0 = posed(K, [(K, 1), (1, 1)], u=0.01, s=(1.0,))
        shared, separate = pathways_of(net, task, w0, [0.0, 1e3])
        ends.append(separate[1, 0])
        assert shared[1, 0] > separate[1, 0]
    assert ends == sorted(ends, reverse=True)


@pytest.mark.parametrize(("K", "sharing", "same", "rate"), [
    (3, (3, 3, 1), False, 3 ** sp.Rational(2, 3)), (3, (3, 1, 1), False, 3 ** sp.Rational(1, 3)),
    (4, (1, 1, 4, 4), True, 4 * 4 ** -sp.Rational(1, 2)), (2, (1, 1, 1), False, sp.Rational(3, 2)),
])  # fmt: skip
def test_the_rate_of_deep_pathways(K, sharing, same, rate):
    d = sk.derive(*posed(K, sharing, u=0.1, same=same))
    assert sp.expand(d.result.rate0 - rate) == 0
    q = {symbol.name: symbol for symbol in d.result.equation.free_symbols}
    u, power = q["u1"], 2 - sp.Rational(2, len(sharing))
    assert sp.expand(d.result.equation - rate * u**power * (q["s"] - q["d"] * u)) == 0


def test_steps_limits_and_precision():
    for case in (posed(), posed(3, (3, 3, 1), u=0.1), posed(2, [(2, 2, 1), (1, 1)], u=0.1)):
        d = sk.derive(*case)
        for step in d.steps:
            assert step.check().passed, step.title
        assert all(test().passed for _, test in d.derived.limits)
        evidence = d.derived.precision(np.random.default_rng(0), 1)
        assert evidence.passed, evidence.figure


def test_learning_times_are_those_of_the_curves():
    d = sk.derive(*posed(u=[[0.02, 0.02], [0.01, 0.01]]))
    for k in range(2):
        half = float(d.learning_time(sp.Rational(1, 2), mode=k))
        assert abs(d.compile()([half]).modes[0, k] - (1.0, 0.5)[k]) < 1e-13
    assert [mode for mode, _ in d.learning_order()] == [0, 1]
    q = sp.Symbol("q", positive=True)
    with pytest.raises(OutsideValidity, match="no such learning time"):
        d.learning_time(sp.Rational(1, 100), mode=0)
    assert d.learning_time(q, mode=0).subs(q, sp.Rational(1, 2)).is_Float
    assert sk.derive(*posed(2, (2, 2, 1), u=0.1)).learning_time(q).has(sp.Integral)


def test_a_claim_about_a_deep_pathway_has_its_equation():
    d = sk.derive(*posed(2, (2, 2, 1), u=0.1))
    u, rate, start = d.derived.equation(0)
    curve, step = d.compile()([1.0, 1.0 + 1e-6]).modes[:, 0], 1e-6
    assert abs((curve[1] - curve[0]) / step - float(rate.subs(u, curve[0]))) < 1e-5
    assert float(start) == pytest.approx(0.1)


# --- phases


def test_phases_compose_and_may_turn_against_the_target():
    net, task, w0 = posed(u=[[0.02, 0.1], [0.3, 0.0]])
    other = sk.Task(task.X, -0.5 * task.Y, gates=task.gates)
    cur = sk.Curriculum([sk.Phase(task, duration=3.0), sk.Phase(other)])
    d = sk.derive(net, cur, w0)
    times = np.array([0.0, 1.0, 3.0, 4.0, 6.0])
    assert flow_gap(LAW, d.problem, times) < BOUND
    through = d.compile()([3.0, 6.0])
    middle = sk.weights.from_arrays(net, {n: w[0] for n, w in through.weights.items()})
    again = sk.derive(net, other, middle).compile()([3.0]).weights
    for name, array in again.items():
        assert np.abs(array[0] - through.weights[name][1]).max() < 1e-12
    late = sk.derive(net, sk.Curriculum([sk.Phase(task, duration=3.0)]), w0).compile()
    with pytest.raises(OutsideValidity, match="ends at flow time 3"):
        late([4.0])


# --- verdicts


def failing(net, task, weights):
    problem = Problem(net, Curriculum.of(task), sk.weights.from_arrays(net, weights))
    return {v.assumption: v.distance for v in LAW.test(problem) if not v.holds}


@pytest.mark.parametrize("epsilon", [1e-6, 1e-3])
def test_imbalance_and_wrong_signs_are_measured(epsilon):
    net, task, w0 = posed()
    tilted = dict(w0.arrays)
    tilted["W1"] = (1 + epsilon) * tilted["W1"]
    ((words, far),) = failing(net, task, tilted).items()
    assert "balanced" in words
    assert 0.5 < far / epsilon < 1.5
    turned = {n: -w if n.startswith("Wb2") else w for n, w in w0.arrays.items()}
    assert "on one side of 0" in "".join(failing(net, task, turned))


def test_a_weak_pathway_on_the_other_side_of_0_counts_by_its_own_mode():
    """Relative to the first mode it is 1e-8; taken as 0 the loss would be wrong for ever."""
    net, task, w0 = posed(u=[[1.0, 1e-5], [1.0, 9e-9]])
    state = PathwayState.of(Problem(net, Curriculum.of(task), w0))
    turned = dict(w0.arrays)
    for k, name in enumerate(state.pathways[0].layers[-1]):
        U = state.U[k][:, 1]
        turned[name] = turned[name] - 2 * np.outer(U, U @ turned[name])
    ((words, far),) = failing(net, task, turned).items()
    assert "on one side of 0" in words
    assert far == pytest.approx(9e-4, rel=1e-6)


@pytest.mark.parametrize("smaller", [1e-6, 1e-12])
def test_a_pathway_on_the_other_side_of_0_is_never_small_enough(smaller):
    """The pathway with the higher rate overtakes the other one from any head start."""
    net, task, w0 = posed(u=[[0.1 * smaller] * 2, [0.1] * 2])
    shared = [p.layers[-1] for p in PathwayState.of(Problem(net, Curriculum.of(task), w0)).pathways]
    turned = {n: -w if n in shared[0] else w for n, w in w0.arrays.items()}
    ((words, far),) = failing(net, task, turned).items()
    assert "on one side of 0" in words
    assert far == pytest.approx(smaller, rel=1e-6)


@pytest.mark.parametrize("cosine", [1e-6, 0.6])
def test_hidden_directions_that_are_not_orthogonal_are_refused(cosine):
    net, task, w0 = posed(u=[[0.1, 0.2], [0.1, 0.2]])
    H = np.linalg.svd(w0.arrays["W1"])[0][:, :2]
    turn = np.eye(len(H)) + cosine * np.outer(H[:, 0], H[:, 1])
    turned = {n: w @ turn.T if n.startswith("W2") else w for n, w in w0.arrays.items()}
    turned["W1"] = turn @ turned["W1"]
    far = failing(net, task, turned)
    (skew,) = (q for words, q in far.items() if "diagonal in frames" in words)
    assert 0.7 * cosine < skew < 1.6 * cosine


def test_plain_deep_chains_and_skips_are_left_to_others():
    task = sk.environments.contexts(1, [2.0, 1.0])
    net = sk.Network.mlp([2, 3, 3, 2], "linear")
    with pytest.raises(NoClosedForm, match="the network has gates or parallel"):
        sk.derive(net, task, sk.weights.gaussian(net), law="neural_race")
    gated = sk.pathways.network(2, 3, 2, contexts=1, sharing=(1, 1, 1))
    with pytest.raises(NoClosedForm, match="one pathway in one context"):
        sk.derive(gated, task, sk.pathways.aligned(gated, task, u=0.1))


def test_parallel_pathways_without_gates_race_too():
    x = sk.nodes.Input(2)
    parts = []
    for letter in "ab":
        first, second = (sk.nodes.Parameter(f"{letter}{k}", (2, 2)) for k in (1, 2))
        parts.append(second @ (first @ x))
    net = sk.Network.build(parts[0] + parts[1])
    task = sk.environments.contexts(1, [2.0, 1.0])
    d = sk.derive(net, task, sk.pathways.aligned(net, task, u=(0.1, 0.3)))
    assert d.law is LAW
    s = np.array([2.0, 1.0])

    def rate(_, u):
        return (2 * u.reshape(2, 2) * (s - u.reshape(2, 2).sum(0))).ravel()

    want = solve_ivp(rate, (0, 1.5), [0.1, 0.1, 0.3, 0.3], "DOP853", rtol=1e-12, atol=1e-14).y
    assert np.abs(d.compile()([1.5]).modes[0] - want[:, -1].reshape(2, 2).sum(0)).max() < 1e-10


# --- the routine, and what fails without its remedies


def raced(s, d, start, rate, power, times):
    """The compiled race of one mode, (n_times, n_pathways)."""
    routine = RaceRoutine(None)
    routine.__dict__["numbers"] = np.array(rate, dtype=float), np.array(power, dtype=float)
    return routine(times, [s], [d], np.array(start)[:, None])[:, :, 0].T


@pytest.mark.parametrize("start", [0.01, 0.999, 1.001, 5.0, 1e6])
def test_two_layers_alone_are_the_sigmoid_on_both_sides(start):
    times = np.array([0.0, 1e-9, 0.3, 2.0, 40.0])
    want = start / (start + (1 - start) * np.exp(-times))
    assert np.abs(raced(1, 1, [start], [1], [0], times)[:, 0] / want - 1).max() < 1e-12


def test_without_target_modes_decay_by_the_power_law_and_against_it_exponentially():
    times = np.array([0.0, 1.0, 1e3, 1e8])
    found = raced(0, 2, [0.5], [3], [0], times)[:, 0]
    assert np.abs(found * (1 + 3 * 2 * 0.5 * times) / 0.5 - 1).max() < 1e-13
    found = raced(-1, 1, [0.5], [1], [0], [0.0, 1.0, 30.0])[:, 0]
    clock = np.exp(-np.array([0.0, 1.0, 30.0]))
    assert np.abs(found - 0.5 * clock / (1.5 - 0.5 * clock)).max() < 1e-15


def test_fixed_points_and_empty_pathways_stay():
    assert (raced(1, 1, [0.25, 0.75], [1, 2], [0, 0], [0.0, 5.0]) == [0.25, 0.75]).all()
    assert (raced(1, 1, [0.0, 0.0], [1, 2], [0, 0], [0.0, 5.0]) == 0).all()
    found = raced(1, 1, [0.0, 0.1], [1, 2], [0, -0.5], [0.0, 50.0])
    assert (found[:, 0] == 0).all()
    assert found[1, 1] == 1


def test_trap_10_starts_far_above_the_target():
    """Panels of one width miss the pole at z = 0, next to which such starts lie."""
    start, power, time = 1e6, -0.5, 1e-9
    with mpmath.workdps(30):
        # u' = u^(3/2) (1 - u): the time from one value to another.
        wanted = raced(1, 1, [start], [1], [power], [0.0, time])[1, 0]
        path = mpmath.quad(lambda u: 1 / (u**1.5 * (u - 1)), [wanted, 2 * wanted, 1e4, 1e5, start])
        assert abs(float(path) / time - 1) < 1e-12
        z = -mpmath.log1p(-1 / mpmath.mpf(start))
        whole = mpmath.quad(
            lambda z: (1 - mpmath.exp(-z)) ** 0.5, [z, 10 * z, 1e3 * z, 1e5 * z, z + 0.5]
        )
    nodes, weights = np.polynomial.legendre.leggauss(12)
    one_panel = 0.25 * weights @ np.sqrt(-np.expm1(-(float(z) + 0.25 * (nodes + 1))))
    assert abs(one_panel / float(whole) - 1) > 1e-5


def panels_of(s, start, rate, power, time):
    """The number of panels of a race to a time."""
    vectors = ([0.0, time], [s], [1.0], rate, power)
    times, s, d, rate, power = (np.array(value, dtype=float) for value in vectors)
    compiled = load(RaceRoutine(None).source, "race")
    return compiled.evaluate(times, s, d, np.array([start]), rate, power, np.empty((1, 2, 2)))


@pytest.mark.parametrize("s", [1e-4, 1e-8, 1e-12])
def test_the_end_of_a_race_takes_few_panels_whatever_the_target(s):
    """Nothing moves near the end: panels as wide as far from it, not less by s^(1 - 2/D)."""
    start, power, rate = s * (1 - 1e-6), [-0.75, 0.0], [8, 2]
    late = 1e3 / (8 * s**1.75)
    assert 0 < panels_of(s, [start, 1e-250], rate, power, late) < 1200
    found = raced(s, 1, [start, 1e-250], rate, power, [0.0, late])[1]
    with mpmath.workdps(30):
        clock = (mpmath.mpf(s) ** -0.75 - mpmath.mpf(start) ** -0.75) / (-0.75 * 8)
        weak = 1e-250 * mpmath.exp(2 * clock)
        assert abs(found[1] / weak - 1) < 1e-15 * s**-0.75 + 1e-13
    assert found[0] == s


@pytest.mark.parametrize(
    ("s", "start", "power"),
    [
        (1.0, [1e-30, 1e-250], [-0.75, 0.0]),  # z stands still
        (1.0, [1e-12, 1e-60], [-0.75, 0.0]),  # seven digits of the second pathway were wrong
        (1e10, [1e-300, 1e-300], [-1 / 3, 0.0]),  # U/S is no number
    ],
)
def test_races_that_doubles_cannot_follow_are_refused(s, start, power):
    with pytest.raises(OutsideValidity, match=r"race of mode 0 from \[.* nearer to each other"):
        raced(s, 1, start, 2 / (1 + np.array(power)), power, [0.0, 40.0])


def test_parts_keep_their_sum_and_their_invariant():
    u = np.zeros(3)
    start, rate, power = np.array([1e-6, 0.2, 1e-3]), np.array([2.0, 0.5, 1.0]), np.zeros(3)
    for total in (0.3, 1.0, 40.0):
        interpreted(inspect.getsource(numerics)).split(total, start, rate, power, u)
        assert abs(u.sum() / total - 1) < 1e-15
        clocks = np.log(u / start) / rate
        assert np.ptp(clocks) < 1e-13 * np.abs(clocks).max() + 1e-14


def judged(race, s, d, start, time, spoil=None):
    """The largest error of the compiled race at a time, relative to each pathway's own mode."""
    found = RaceRoutine(race)(np.array([0.0, time]), [s], [d], np.array(start)[:, None])[:, 1, 0]
    with mpmath.workdps(40):
        judge = gated_checks._Exact(race, s, d, start)
        if spoil is not None:
            spoil(judge)
        modes = judge.modes(judge.clock_after(time, found))
        return max(abs(complex(u / true - 1)) for u, true in zip(found, modes, strict=True))


def test_trap_the_judge_sees_the_branch_point_next_to_a_start_far_above_the_target(monkeypatch):
    """Of depth 8 the inverse rate of the clock is a power 4/3 there; the race is right, and panels
    that shrink towards the end alone, where the pole is, are not."""
    race = race_of(*posed(2, [(1,) * 8, (1,) * 3, (2, 1)], u=0.1))
    case = (race, 116.0, 1.19, [2.2e4, 4e-4, 3.6e3], 7e-5)

    def towards_the_end(function, end):
        ends = [end * (1 - mpmath.mpf("0.6") ** k) for k in range(40)]
        return mpmath.quad(function, ends, method="gauss-legendre", maxdegree=4)

    assert judged(*case) < 1e-14
    assert check_race(race, np.random.default_rng(0), 5).passed
    monkeypatch.setattr(gated_checks, "integral", towards_the_end)
    assert judged(*case) > 1e-6


def test_trap_the_judge_reads_the_clock_of_the_fastest_pathway():
    """The largest one hardly moves: read off it, the clock lies beyond the end of the race."""
    race = race_of(*posed(4, [(4,) * 8, (1, 1)], u=0.1))
    case = (race, 1e4, 1e-5, [1e5, 8e8], 1e-4)

    def largest(judge):
        judge.gains = [lambda u: u**2] * 2

    assert judged(*case) < 1e-14
    assert judged(*case, largest) > 1e-4


def test_trap_the_sum_is_exact_by_the_part_that_the_clock_leaves_open():
    """Exact by the largest part, the other one keeps the rounding of the clock: 10,000 times its
    own where it has risen 10,000-fold."""
    race = race_of(*posed(4, [(4,) * 8, (1, 1)], u=0.1))
    rate, power = (np.array([float(x) for x in row]) for row in (race.rates, race.powers))
    begin, u, worst = np.array([1.2, 2e5]), np.zeros(2), 0.0
    judge = gated_checks._Exact(race, 1.0, 1.0, begin)
    for total in np.linspace(2.2e5, 2.4e5, 20):
        load(RaceRoutine(race).source, "race").split(total, begin, rate, power, u)
        with mpmath.workdps(40):
            bounds = [min(r(total / k, *judge.start) for r in judge.readings) for k in (2, 1)]
            clock = mpmath.findroot(
                lambda clock, total=total: mpmath.log(mpmath.fsum(judge.modes(clock)) / total),
                bounds,
                solver="anderson",
            )
            true = judge.modes(clock)
            gaps = [abs(float(a / b - 1)) for a, b in zip(u, true, strict=True)]
            worst = max(worst, *gaps)
    assert worst < 1e-14


def test_modes_below_the_smallest_double_count_as_0(monkeypatch):
    race = race_of(*posed(4, [(1,) * 8, (4, 4)], u=0.1))
    assert check_race(race, np.random.default_rng(79), 4).passed
    monkeypatch.setattr(gated_checks, "_LEAST", 0.0)
    assert not check_race(race, np.random.default_rng(79), 4).passed


@pytest.mark.parametrize(("low", "power"), [(1e-12, 4 / 3), (1e-20, 0.6), (1e-9, -1.0)])
def test_time_integrals_next_to_singularities(low, power):
    """Of (low + x)^power from 0, and of the same seen from the other end."""
    with mpmath.workdps(40):
        low, power, end = (mpmath.mpf(x) for x in (low, power, 3))
        grown = [
            mpmath.log(x) if power == -1 else x ** (power + 1) / (power + 1)
            for x in (low, low + end)
        ]
        wanted = grown[1] - grown[0]
        for body in (lambda x: (low + x) ** power, lambda x: (low + end - x) ** power):
            assert abs(integral(body, end) / wanted - 1) < 1e-28
        assert integral(lambda x: -x, mpmath.mpf(0)) == 0


def test_lost_digits_fail_the_precision(monkeypatch):
    race = race_of(*posed())
    true = RaceRoutine.__call__
    monkeypatch.setattr(RaceRoutine, "__call__", lambda *a: true(*a) * (1 + 1e-11))
    assert not check_race(race, np.random.default_rng(0), 1).passed


def test_wrong_rates_are_noticed():
    race = race_of(*posed())
    wrong = replace(race)
    wrong.__dict__["rates"] = (sp.S.One, sp.S.One)
    assert [step.title for step in wrong.steps() if not step.check().passed] == [
        "Balanced pathways"
    ]


def test_a_clock_that_starts_late_fails_a_limit(monkeypatch):
    race = race_of(*posed())
    true = Race.of_clock
    monkeypatch.setattr(Race, "of_clock", lambda self, j, clock=THETA: true(self, j, clock + 1))
    assert [title for title, test in race_limits(race) if not test().passed] == ["t = 0"]
