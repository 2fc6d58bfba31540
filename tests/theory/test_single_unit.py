"""One linear hidden unit: any weights and rates, many modes, tasks in any order."""

from __future__ import annotations

from dataclasses import replace

import mpmath
import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel import notation
from symkernel.errors import InvalidArgument, NoClosedForm, OutsideValidity
from symkernel.problem.problem import Problem
from symkernel.simulation.flow import integrate_flow
from symkernel.theory.single_unit import LAW
from symkernel.theory.single_unit_checks import reference
from symkernel.theory.single_unit_flow import Part, UnitSolution, check_sides, unit_flow
from symkernel.theory.single_unit_path import UnitState
from symkernel.theory.single_unit_stable import stable_unit, unit_routine
from tests.oracles import taylor_flow
from tests.theory.flow_draws import flow_gap


def posed(s=(2.0, 1.0), w=(0.1, -0.3, 0.2), a=(0.5, 0.1), d=1.0, rates=None, **options) -> Problem:
    """Return modes along the axes."""
    S = np.zeros((len(a), len(w)))
    S[np.arange(len(s)), np.arange(len(s))] = s
    task = sk.Task.from_moments(d * np.eye(len(w)), S, S @ S.T / d)
    net = sk.Network.two_layer(len(w), 1, len(a), rates=rates, **options)
    w0 = sk.weights.from_arrays(net, [np.array([w], float), np.array(a, float)[:, None]])
    return Problem(net, task, w0)


def derived(problem: Problem) -> sk.Derivation:
    return sk.derive(problem.network, problem.curriculum, problem.weights, law="single_unit")


@pytest.mark.parametrize("options", [{}, {"rates": [3, 0.2]}, {"parameterisation": "ntk"}])
def test_every_step_rule_and_limit_is_proven(options) -> None:
    law = derived(posed(**options))
    assert [step.title for step in law.steps if not step.check().passed] == []
    assert [r.rule for r in law.derived.routine().lowered.rewritings if not r.prove().passed] == []
    assert [title for title, test in law.derived.limits if not test().passed] == []


@pytest.mark.parametrize("field", ["sigma", "delta", "ratio"])
def test_a_wrong_coefficient_fails(field) -> None:
    problem = posed(rates=[4, 1])
    flow = unit_flow(problem.network, problem.loss)
    assert check_sides(flow).passed
    assert not check_sides(replace(flow, **{field: 3 * getattr(flow, field)})).passed


def test_a_wrong_rewriting_fails() -> None:
    for rule in stable_unit()[1]:
        assert not replace(rule, after=rule.after + sp.Symbol("E", nonnegative=True)).prove().passed


def test_loss_factor_and_parameterisation_change_the_law_by_themselves() -> None:
    base = posed(a=(0.5, 0.1, 0.2), w=(0.2, 0.1, 0.3, -0.2))
    for net, loss in (
        (sk.Network.two_layer(4, 1, 3, parameterisation="ntk"), sk.SquaredError(0.75)),
        (sk.Network.two_layer(4, 1, 3, rates=[0.3, 7]), sk.SquaredError(3)),
    ):
        assert flow_gap(LAW, replace(base, network=net, loss=loss)) <= 1e-9


def test_high_precision() -> None:
    problem = posed(rates=[2, 0.5])
    law = derived(problem)
    evidence = law.derived.precision(np.random.default_rng(1000), 200)
    assert evidence.passed, evidence.figure


def test_long_times_and_a_weak_mode_beside_a_strong_one() -> None:
    """Growth times time up to 1e5, strengths 2 and 1e-3: the weak mode takes over at last."""
    problem = posed()
    flow, s = unit_flow(problem.network, problem.loss), np.array([2.0, 1e-3])
    exact, routine = reference(flow), unit_routine(flow)
    for p, q in (([0.0, 0.1], [0.0, 0.2]), ([1e-30, 0.1], [1e-30, 0.2]), ([0.1, 0.1], [0.3, 0.2])):
        p, q = np.array(p), np.array(q)
        times = np.array([0.0, 1e-3, 1.0, 30.0, 40.0, 1e3, 5e4])
        state = UnitState.of(s, 1.0, p, q)
        sides, _ = state.along(routine, times, state.lam)
        found = np.stack(list(sides[:2]), -1)
        rows = np.stack([s, p, q], 1)
        want = np.array([[[float(x) for x in side] for side in exact(t, 1.0, rows)] for t in times])
        assert (np.abs(found - want) / np.maximum(np.abs(want), 1e-280)).max() < 1e-12


def test_trap_1_nothing_is_divided_by_lambda_or_by_a_strength() -> None:
    """Entire functions: lambda = 0, strength 0, and both, where (e^{2ft} - 1)/(2f) is 0/0."""
    level = posed(s=(2.0, 0.0), w=(0.3, 0.4, 0.0), a=(0.4, 0.3))
    assert flow_gap(LAW, level) <= 1e-9
    f = 0.0
    with np.errstate(invalid="ignore"):
        assert np.isnan((np.exp(2 * f * np.ones(1)) - 1) / (2 * np.zeros(1))).all()
    rest = posed(s=(0.0,), w=(0.3, 0.4), a=(0.5,))
    found = LAW.trajectory(rest, [0.0, 1.0, 1e8])
    assert np.isfinite(found.weights["W1"]).all()
    assert flow_gap(LAW, posed(s=(0.0,), w=(0.3, 0.4), a=(0.5000001,))) <= 1e-9
    # Nothing to learn: both sides fall as by a power law.
    u = found.weights["W2"][1, 0, 0]
    assert u == pytest.approx(0.5 / np.sqrt(1 + 0.5), rel=1e-12)


def test_trap_2_no_growing_exponentials() -> None:
    problem = posed(s=(2.0,), w=(0.1, 0.2), a=(0.3,))
    late = LAW.trajectory(problem, [0.0, 5e4]).weights
    assert (late["W2"][1] @ late["W1"][1])[0] == pytest.approx([2.0, 0.0], rel=1e-13)
    with np.errstate(over="ignore", invalid="ignore"):
        grown = np.exp(2.0 * np.array([5e4]))
        assert np.isnan(grown / np.sqrt(1 + grown**2)).all()


def test_trap_6_the_saddle_is_left_when_the_exact_flow_leaves_it() -> None:
    """Opposite sides fall to the saddle and stay; a little beside it they come back, in time."""
    stay = posed(s=(2.0,), w=(0.5,), a=(-0.5,))
    found = LAW.trajectory(stay, [0.0, 5.0, 1e5]).modes[:, 0]
    assert found[0] == pytest.approx(-0.25)
    assert abs(found[-1]) < 1e-30
    # The textbook formula for sides of one sign goes through a pole here and ends at s.
    textbook = [2.0 / (1 + (2.0 / -0.25 - 1) * np.exp(-4.0 * t)) for t in (0.0, 1.0, 5.0)]
    assert textbook[1] > 2
    assert textbook[2] == pytest.approx(2.0, abs=1e-3)
    leave = posed(s=(2.0,), w=(0.5,), a=(-0.5 * (1 + 1e-12),))
    times = np.array([2.0, 12.0, 20.0])
    task, arrays = leave.curriculum.phases[0].task, leave.weights.arrays
    first, second = taylor_flow.integrate(
        arrays["W1"], arrays["W2"], task.Syx, task.Sxx, times, factor=0.5, scale=1.0
    )
    late = LAW.trajectory(leave, times).weights
    assert np.abs(late["W1"] - first).max() < 1e-9
    assert np.abs(late["W2"] - second).max() < 1e-9
    assert abs(first[-1, 0, 0]) > 1


def test_trap_9_raw_inputs_are_refused_with_their_distance() -> None:
    """The formula for whitened inputs is wrong on raw ones, and is not used there."""
    sxx = np.diag([1.0, 0.4])
    raw = sk.Task.from_moments(sxx, [[2.0, 1.0]], [[8.0]])
    net = sk.Network.two_layer(2, 1, 1)
    w0 = sk.weights.from_arrays(net, [[[0.1, 0.3]], [[0.2]]])
    with pytest.raises(NoClosedForm, match="changes the dynamics") as caught:
        sk.derive(net, raw, w0, law="single_unit")
    (failed,) = (v for v in caught.value.verdicts if not v.holds)
    assert failed.distance == pytest.approx(0.3)
    naive = LAW.trajectory(Problem(net, raw, w0), [0.0, 3.0]).weights
    truth = integrate_flow(Problem(net, raw, w0), [0.0, 3.0]).weights
    assert np.abs(naive["W1"] - truth["W1"]).max() > 0.05


def test_through_tasks_that_do_not_commute_and_back() -> None:
    """Also through a task that leaves e^-60 of a mode: it grows again from that."""
    for seed in range(8):
        stream = np.random.default_rng(seed)
        tasks = [stream.standard_normal((2, 4)) for _ in range(2)]
        tasks = [sk.Task.from_moments(np.eye(4), syx, syx @ syx.T) for syx in tasks]
        net = sk.Network.two_layer(4, 1, 2, rates=[2, 0.7])
        cur = sk.Curriculum([sk.Phase(tasks[0], 2.0), sk.Phase(tasks[1], 1.5), sk.Phase(tasks[0])])
        assert flow_gap(LAW, Problem(net, cur, sk.weights.gaussian(net, seed=seed))) <= 1e-10
    forth = sk.Task.from_modes([2.0, 1.0])
    back = sk.Task.from_moments(np.eye(2), np.diag([0.5, 3.0]), np.diag([0.25, 9.0]))
    net = sk.Network.two_layer(2, 1, 2)
    w0 = sk.weights.from_arrays(net, [[[0.3, 0.2]], [[0.2], [0.4]]])
    cur = sk.Curriculum([sk.Phase(forth, 60.0), sk.Phase(back)])
    found = LAW.trajectory(Problem(net, cur, w0), [60.0, 75.0, 110.0]).modes
    np.testing.assert_allclose(found[[0, 2]], [[0.0, 2.0], [3.0, 0.0]], atol=1e-9)


def test_composition_in_time() -> None:
    for seed in range(1000, 1020):
        problem = LAW.draw(np.random.default_rng(seed))
        cur = problem.curriculum
        start = cur.starts[-1]
        middle, end = start + 0.7, start + 2.0
        whole = LAW.trajectory(problem, [middle, end]).weights
        again = sk.weights.from_arrays(problem.network, [whole[n][0] for n in ("W1", "W2")])
        rest = Problem(problem.network, cur.phases[-1].task, again)
        half = LAW.trajectory(rest, [end - middle]).weights
        for name in ("W1", "W2"):
            np.testing.assert_allclose(half[name][0], whole[name][1], atol=1e-10)


@pytest.mark.parametrize("phase", [0, 1])
def test_the_law_of_one_mode_is_the_compiled_one(phase) -> None:
    problem = posed(rates=[3, 0.5])
    task = problem.curriculum.phases[0].task
    other = sk.Task.from_moments(2 * np.eye(3), np.array([[1.0, 2, 0], [0, 1, 1]]), np.eye(2) * 9)
    cur = sk.Curriculum([sk.Phase(task, 1.0), sk.Phase(other)])
    problem = replace(problem, curriculum=cur)
    time = 0.6 + phase
    found = LAW.trajectory(problem, [time])
    W = {name: value[0] for name, value in found.weights.items()}
    running = cur.phases[phase].task
    U, _, Vt = np.linalg.svd(running.Syx)
    law = derived(problem).mode(1, phase)
    value = {name: float(e.subs(notation.t, time)) for name, e in law.items()}
    assert value["output"] == pytest.approx((U.T @ W["W2"] @ W["W1"] @ Vt.T)[1, 1], rel=1e-9)
    assert abs(value["input_side"]) == pytest.approx(abs((W["W1"] @ Vt.T)[0, 1]), rel=1e-9)
    assert abs(value["output_side"]) == pytest.approx(abs((U.T @ W["W2"])[1, 0]), rel=1e-9)
    kernel = 0.5 * value["input_side"] ** 2 + 3 * value["output_side"] ** 2
    assert value["ntk"] == pytest.approx(kernel, rel=1e-9)
    best = float(found.loss[0]) - value["loss"]
    explained = (running.Syx**2).sum() / float(running.Sxx[0, 0])
    assert best == pytest.approx(0.5 * (np.trace(running.Syy) - explained), abs=1e-9)


def test_what_is_observed_is_that_of_gradient_descent() -> None:
    stream = np.random.default_rng(1000)
    X = np.sqrt(8) * np.linalg.qr(stream.standard_normal((8, 3)))[0]
    task = sk.Task(X, X @ stream.standard_normal((3, 2)) + 0.1)
    net = sk.Network.two_layer(3, 1, 2, rates=[2, 0.5])
    w0 = sk.weights.gaussian(net, seed=3)
    theory = sk.derive(net, task, w0).compile()([0.0, 0.5, 2.0])
    gaps = []
    for rate in (2e-3, 1e-3):
        run = sk.simulate(net, task, w0, rate, record=[0.0, 0.5, 2.0])
        gaps.append([
            np.abs(getattr(run, name) - getattr(theory, name)).max()
            for name in ("outputs", "hidden", "hidden_gram", "ntk", "loss")
        ])  # fmt: skip
    np.testing.assert_allclose(np.array(gaps[0]) / gaps[1], 2.0, atol=0.15)


def test_symbols() -> None:
    s, a, b, r1, r2 = sp.symbols("s a b r_1 r_2", positive=True)
    net, task = sk.Network.two_layer(1, 1, 1, rates=[r1, r2]), sk.Task.from_modes(s)
    law = sk.derive(net, task, sk.weights.aligned(net, task, a=a, b=b), law="single_unit")
    other = sk.derive(net, task, sk.weights.aligned(net, task, a=a, b=b), law="aligned_modes")
    values = {s: 2, a: sp.Rational(1, 10), b: sp.Rational(1, 3), r1: 2, r2: sp.Rational(1, 2)}
    for time in (0, 1, 3):
        one, two = (
            d.mode(0).output.subs(values).subs(notation.t, time).n(40) for d in (law, other)
        )
        assert abs(one - two) < sp.Float("1e-30")
    with pytest.raises(InvalidArgument, match="between 0 and 0"):
        law.mode(1)


def test_the_reference_is_the_law_in_numbers() -> None:
    """At moderate times the derived solution, evaluated with 30 digits by SymPy."""
    problem = posed(s=(2.0,), w=(0.1,), a=(0.5,))
    flow = unit_flow(problem.network, problem.loss)
    part = Part(sp.Integer(2), sp.Rational(1, 10), sp.Rational(1, 2))
    law = UnitSolution(flow, (part,), sp.Rational(24, 100))
    p, _, _ = law.linear(part)
    entry = {notation.d: 1, notation.t: 3}
    want = (p / sp.sqrt(law.norm)).subs(entry).n(30)
    (found,) = reference(flow)(3.0, 1.0, [[2.0, 0.1, 0.5]])
    assert abs(found[0] - mpmath.mpf(str(want))) < mpmath.mpf("1e-15")


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (sk.Network.two_layer(3, 2, 2), r"is one unit.*FAILS"),
        (sk.Network.two_layer(3, 1, 2, "tanh"), "tanh"),
        (sk.Network.mlp([3, 1, 1, 2], "linear"), "not a product W2 W1 x"),
    ],
)
def test_other_networks_are_refused(net, words) -> None:
    task = posed().curriculum.phases[0].task
    w0 = sk.weights.gaussian(net)
    with pytest.raises(NoClosedForm, match=words):
        sk.derive(net, task, w0, law="single_unit")


def test_decay_and_several_symbolic_modes_are_refused() -> None:
    problem = posed()
    with pytest.raises(NoClosedForm, match=r"no weight decay.*FAILS"):
        sk.derive(problem.network, problem.curriculum, problem.weights, law="single_unit",
                  loss=sk.SquaredError(weight_decay=0.1))  # fmt: skip
    s = sp.symbols("s_0:2", positive=True)
    task, net = sk.Task.from_modes(s), sk.Network.two_layer(2, 1, 2)
    w0 = sk.weights.aligned(net, task, a=1, b=1)
    with pytest.raises(NoClosedForm, match="one task of one mode"):
        sk.derive(net, task, w0, law="single_unit")
    teacher = sk.Network.two_layer(2, 2, 2, "erf")
    online = sk.Task.from_teacher(teacher, sk.weights.gaussian(teacher))
    with pytest.raises(NoClosedForm, match="second moments"):
        sk.derive(net, online, sk.weights.gaussian(net), law="single_unit")


def test_times_after_the_end_and_wrong_modes_are_refused() -> None:
    problem = posed()
    cur = sk.Curriculum([sk.Phase(problem.curriculum.phases[0].task, 1.0)])
    law = derived(replace(problem, curriculum=cur))
    with pytest.raises(OutsideValidity, match="ends at flow time 1"):
        law.compile()([2.0])
    for bad in (2, -1, True, 1.0):
        with pytest.raises(InvalidArgument, match=r"index of a mode|'mode'"):
            law.mode(bad)
    with pytest.raises(OutsideValidity):
        law.learning_time(0.5)
    with pytest.raises(OutsideValidity, match="not written in the strength and amplitudes"):
        law.show(mode=0, t=0.5)


def test_nothing_varies() -> None:
    net = sk.Network.two_layer(2, 1, 1)
    task = sk.Task.from_moments(np.zeros((2, 2)), np.zeros((1, 2)), np.zeros((1, 1)))
    with pytest.raises(NoClosedForm, match="one variance"):
        sk.derive(net, task, sk.weights.gaussian(net), law="single_unit")
