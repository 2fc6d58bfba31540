"""Diagonal networks: each coordinate a mode, from any weights, on uncorrelated inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
from scipy.integrate import solve_ivp

import symkernel as sk
from symkernel import notation
from symkernel.errors import InvalidArgument, NoClosedForm, OutsideValidity
from symkernel.nodes import Input, Parameter
from symkernel.problem.problem import Problem
from symkernel.theory.diagonal_flow import check_turn
from symkernel.theory.diagonal_network import LAW
from tests.oracles import numpy_descent as oracle


def network(form: str, n: int, *, scale=1, rates=(1, 1), minus="minus_ones") -> sk.Network:
    x = Input(n)
    first = Parameter("w_plus", (n,), "diagonal", scale=scale, rate=rates[0])
    ones = Parameter("ones", (1, n), trained=False)
    if form == "w^2":
        return sk.Network.build(ones @ (first @ (first @ x)))
    if form == "uv":
        second = Parameter("v", (n,), "diagonal", scale=scale, rate=rates[1])
        h = first @ x
        return sk.Network.build(ones @ (second @ h), {"hidden": h})
    second = Parameter("w_minus", (n,), "diagonal", scale=scale, rate=rates[1])
    other = Parameter(minus, (1, n), trained=False)
    return sk.Network.build(ones @ (first @ (first @ x)) + other @ (second @ (second @ x)))


def weights(net: sk.Network, **arrays) -> sk.weights.Weights:
    n = int(net.inputs)
    fixed = {"ones": np.ones((1, n)), "minus_ones": -np.ones((1, n))}
    return sk.weights.from_arrays(
        net, {p.name: {**fixed, **arrays}[p.name] for p in net.parameters}
    )


def posed(form="w+-", s=(2.0, -1.0), d=(1.0, 0.5), one=(0.3, 0.1), two=(0.3, 0.1), **options):
    net = network(form, len(s), **options)
    second = {"w+-": "w_minus", "uv": "v", "w^2": "none"}[form]
    w0 = weights(net, w_plus=one, **{second: two})
    task = sk.Task.from_moments(np.diag(d), [s], [[float(np.sum(np.square(s) / d))]])
    return Problem(net, task, w0)


def derived(problem: Problem) -> sk.Derivation:
    return sk.derive(problem.network, problem.curriculum, problem.weights, loss=problem.loss)


def by_hand(problem: Problem, times, rtol: float = 1e-12) -> dict[str, np.ndarray]:
    """Integrate the flow of the three forms, each written out by hand."""
    trained = [p for p in problem.network.parameters if p.trained]
    n, rates = int(problem.network.inputs), [float(p.rate) for p in trained]
    scale = float(np.prod([float(p.scale) for p in trained])) ** (2 / len(trained))
    uv = any(p.name == "v" for p in trained)
    factor = 2 * float(problem.loss.factor) * scale

    def slope(theta, s, d):
        x, y = theta[:n], theta[n:]
        beta = scale * (x * y if uv else x**2 - (y**2 if len(y) else 0))
        g = factor * (s - d * beta)
        first = rates[0] * g * (y if uv else 2 * x)
        return np.concatenate([first, rates[1] * g * (x if uv else -2 * y)]) if len(y) else first

    state = np.concatenate([problem.weights.arrays[p.name] for p in trained])
    cur, found = problem.curriculum, []
    for k, (start, phase) in enumerate(zip(cur.starts, cur.phases, strict=True)):
        last = k + 1 == len(cur.phases)
        end = times[-1] if last else start + phase.duration
        own = np.array([t for t in times if start <= t and (last or t < end)])
        args = (phase.task.Syx[0], np.diag(phase.task.Sxx))
        grid = np.unique([start, *own, end])
        run = solve_ivp(lambda t, y, a=args: slope(y, *a), (start, end), state, "DOP853", grid,
                        rtol=rtol, atol=1e-2 * rtol) if end > start else None  # fmt: skip
        found += [run.y[:, np.searchsorted(grid, t)] if run else state for t in own]
        state = run.y[:, -1] if run else state
    rows = np.array(found)
    return {p.name: rows[:, k * n : (k + 1) * n] for k, p in enumerate(trained)}


def gap(problem: Problem, rtol: float = 1e-12) -> float:
    """Return the largest error of a weight."""
    strongest = max(float(np.abs(p.task.Syx).max()) for p in problem.curriculum.phases)
    squares = max(float((w**2).max()) for w in problem.weights.arrays.values())
    end = min(4.0 / max(strongest, 0.1), 30.0 / squares)
    last = problem.curriculum.starts[-1]
    times = np.unique([0.0, 0.5 * last, last, *(last + np.geomspace(1e-2, 1, 6) * end)])
    found, want = LAW.trajectory(problem, times).weights, by_hand(problem, times, rtol)
    other = by_hand(problem, times, 10 * rtol)
    scale = max(1.0, *(np.abs(w).max() for w in want.values()))
    # Where the integrator differs from itself, beside a saddle, it is no judge.
    own = np.max([np.abs(want[name] - other[name]).max(1) for name in want], 0)
    trusted = own <= 1e-9 * scale
    assert trusted[0]
    return max(np.abs(found[name] - want[name])[trusted].max() for name in want) / scale


@pytest.mark.parametrize("seed", range(8))
def test_weights_follow_the_flow_written_by_hand(seed: int) -> None:
    assert gap(LAW.draw(np.random.default_rng(seed))) <= 1e-9


@pytest.mark.parametrize("form", ["w+-", "uv", "w^2"])
def test_the_hand_written_flow_is_the_gradient_of_the_network(form) -> None:
    """The judge is judged: by complex steps through the expression of the network."""
    problem = posed(form, scale=sp.Rational(3, 2), rates=(2, 2) if form == "w+-" else (2, 0.5))
    X = np.sqrt(2) * np.diag([1.0, np.sqrt(0.5)])
    Y = X @ np.array([[2.0], [-2.0]])
    found = by_hand(problem, [0.0, 1e-6])
    slope = oracle.gradient(problem.network, problem.weights.arrays, X, Y, {})
    for p in problem.network.parameters:
        if p.trained:
            moved = (found[p.name][1] - found[p.name][0]) / 1e-6
            np.testing.assert_allclose(moved, -float(p.rate) * slope[p.name], rtol=1e-4)


@pytest.mark.parametrize("form", ["w+-", "uv", "w^2"])
def test_every_step_and_limit_is_proven(form) -> None:
    rates = (2, 2) if form == "w+-" else (2, 0.3)
    law = derived(posed(form, scale=sp.Rational(3, 2), rates=rates))
    assert law.law.name == "diagonal_network"
    assert [step.title for step in law.steps if not step.check().passed] == []
    assert [title for title, test in law.derived.limits if not test().passed] == []
    evidence = law.derived.precision(np.random.default_rng(1000), 20)
    assert evidence.passed, evidence.figure


def test_a_wrong_turn_fails() -> None:
    from symkernel.theory.diagonal_network import _flow_of

    flow = _flow_of(posed("uv", rates=(4, 1)))
    assert check_turn(flow).passed
    assert not check_turn(replace(flow, turn=flow.turn.T)).passed
    assert not check_turn(replace(flow, sigma=2 * flow.sigma)).passed


def test_the_textbook_form_from_equal_weights() -> None:
    """beta = alpha^2 (z - 1/z), z' = -4 alpha^2 z^2 + 4 s z + 4 alpha^2 on whitened inputs."""
    alpha, s, z, t = 0.3, 2.0, notation.z, notation.t
    law = derived(posed(s=(s,), d=(1.0,), one=(alpha,), two=(alpha,)))
    entry = {"w_plus_0": alpha, "w_minus_0": alpha, "s": s, "d": 1.0}
    values = {
        q: entry[q.name] for f in law.formulas for q in f.plain.free_symbols if q.name in entry
    }
    grown = dict(law.formulas[0].where)[z]
    for symbol, meaning in reversed(law.formulas[0].where[:-1]):
        grown = grown.subs(symbol, meaning)
    grown = grown.subs(values)
    rate = -4 * alpha**2 * grown**2 + 4 * s * grown + 4 * alpha**2
    for time in (0.0, 0.3, 1.7):
        assert float((sp.diff(grown, t) - rate).subs(t, time)) == pytest.approx(0, abs=1e-9)
        beta = float((alpha**2 * (grown - 1 / grown)).subs(t, time))
        assert float(law.mode(0).output.subs(t, time)) == pytest.approx(beta, abs=1e-12)
        assert float(law.compile()([time]).modes[0, 0]) == pytest.approx(beta, abs=1e-12)


def test_both_forms_are_one() -> None:
    """(u + v)/2 and (u - v)/2 are w_+ and w_-, at half the rate."""
    u, v = np.array([0.7, 0.1]), np.array([0.2, -0.4])
    one = LAW.trajectory(posed("uv", one=u, two=v, rates=(2, 2)), [0.0, 0.4, 2.0])
    two = LAW.trajectory(posed("w+-", one=(u + v) / 2, two=(u - v) / 2), [0.0, 0.4, 2.0])
    np.testing.assert_allclose(one.modes, two.modes, rtol=1e-12)


def test_weights_that_all_grow_are_one_weight() -> None:
    net = network("w+-", 2, minus="ones2")
    w0 = weights(net, w_plus=[0.3, 0.1], w_minus=[0.4, 0.2], ones2=np.ones((1, 2)))
    both = replace(posed(s=(2.0, 1.0)), network=net, weights=w0)
    one = posed("w^2", s=(2.0, 1.0), one=(0.5, np.sqrt(0.05)))
    modes = [LAW.trajectory(p, [0.0, 0.7, 3.0]).modes for p in (both, one)]
    np.testing.assert_allclose(*modes, rtol=1e-12)


def test_what_is_observed_is_that_of_gradient_descent() -> None:
    X = np.sqrt(8) * np.linalg.qr(np.random.default_rng(0).standard_normal((8, 2)))[0] * [1, 0.7]
    task = sk.Task(X, X @ np.array([[2.0], [-1.0]]) + 0.1)
    problem = posed("uv", rates=(2, 0.5))
    theory = sk.derive(problem.network, task, problem.weights).compile()([0.0, 0.5, 2.0])
    gaps = []
    for rate in (2e-3, 1e-3):
        run = sk.simulate(problem.network, task, problem.weights, rate, record=[0.0, 0.5, 2.0])
        gaps.append([
            np.abs(getattr(run, name) - getattr(theory, name)).max()
            for name in ("outputs", "hidden", "hidden_gram", "ntk", "loss")
        ])  # fmt: skip
        assert np.abs(run.node("hidden") - theory.node("hidden")).max() < 0.01
    np.testing.assert_allclose(np.array(gaps[0]) / gaps[1], 2.0, atol=0.15)


def test_phases_and_learning_times() -> None:
    problem = posed("uv", rates=(2, 0.5))
    back = sk.Task.from_moments(np.diag([2.0, 1.0]), [[-1.0, 0.5]], [[9.0]])
    cur = sk.Curriculum([sk.Phase(problem.curriculum.phases[0].task, 1.5), sk.Phase(back)])
    law = derived(replace(problem, curriculum=cur))
    for phase, time in ((0, 1.0), (1, 2.5)):
        found = law.compile()([time])
        for k in range(2):
            mode = law.mode(k, phase)
            assert float(mode.output.subs(notation.t, time)) == pytest.approx(found.modes[0, k])
            assert float(mode["v"].subs(notation.t, time)) == pytest.approx(
                found.weights["v"][0, k]
            )
    time = float(derived(problem).learning_time(0.5, 0))
    assert derived(problem).compile()([time]).modes[0, 0] == pytest.approx(1.0, rel=1e-9)


def test_long_times_and_coordinates_that_start_at_zero() -> None:
    problem = posed(s=(2.0, 1e-3, 1.0), d=(1.0,) * 3, one=(0.1, 0.1, 0.0), two=(0.1, 0.1, 0.0))
    late = LAW.trajectory(problem, [0.0, 5e4, 1e8]).modes
    assert late[1] == pytest.approx([2.0, 1e-3, 0.0], rel=1e-12)
    assert late[2] == pytest.approx([2.0, 1e-3, 0.0], rel=1e-12)


def test_trap_6_a_coordinate_falls_to_the_saddle_and_stays() -> None:
    """w_+ = 0 and a positive target: w_- dies, and nothing brings w_+ back."""
    problem = posed(s=(2.0,), d=(1.0,), one=(0.0,), two=(0.5,))
    late = LAW.trajectory(problem, [0.0, 1.0, 1e4])
    assert late.modes[0, 0] == -0.25
    assert abs(late.modes[-1, 0]) < 1e-100
    assert gap(problem) <= 1e-9


# --- refusals -------------------------------------------------------------------------------------


def refusal(problem: Problem) -> NoClosedForm:
    with pytest.raises(NoClosedForm) as caught:
        sk.derive(problem.network, problem.curriculum, problem.weights, law="diagonal_network",
                  loss=problem.loss)  # fmt: skip
    return caught.value


def test_trap_9_correlated_inputs_are_refused_with_their_distance() -> None:
    problem = posed()
    task = sk.Task.from_moments([[1.0, 0.3], [0.3, 1.0]], [[2.0, -1.0]], [[9.0]])
    error = refusal(replace(problem, curriculum=task))
    (failed,) = (v for v in error.verdicts if not v.holds)
    assert failed.assumption == "the inputs are uncorrelated"
    assert failed.distance == pytest.approx(0.3)
    assert "hyperbolic entropy" in str(error)
    run = sk.simulate(problem.network, task, problem.weights, 1e-3, record=[0.0, 1.0])
    naive = LAW.trajectory(replace(problem, curriculum=task), [0.0, 1.0])
    assert np.abs(run.weights["w_plus"] - naive.weights["w_plus"]).max() > 0.05


@pytest.mark.parametrize("weak", [1e-4, 1e-7])
def test_covariance_with_a_weak_input_counts_by_that_input(weak) -> None:
    """It moves the end of the weak coordinate by that much, though it is small beside the other."""
    covariance = 9e-9
    Sxx = np.array([[1.0, covariance], [covariance, weak]])
    task = sk.Task.from_moments(Sxx, [Sxx @ [1.0, 1.0]], [[Sxx.sum()]])
    problem = replace(posed("uv"), curriculum=task)
    (failed,) = (v for v in refusal(problem).verdicts if not v.holds)
    assert failed.distance == pytest.approx(covariance / weak)
    end = LAW.trajectory(problem, [30 / weak]).modes[0]
    assert end[1] - 1 == pytest.approx(covariance / weak, rel=1e-2)


def test_inputs_that_never_vary_are_uncorrelated() -> None:
    task = sk.Task.from_moments(np.diag([1.0, 0.0]), [[2.0, 0.0]], [[4.0]])
    assert all(v.holds for v in LAW.test(replace(posed(), curriculum=task)))


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (network("w+-", 2, rates=(1, 2)), "same rates"),
        (sk.Network.two_layer(2, 3, 1), "no diagonal weights"),
        (sk.Network.build(Parameter("W", (1, 2)) @ (Parameter("w", (2,), "diagonal") @ Input(2))),
         "not diagonal at Linear"),
        (sk.Network.build(Parameter("w", (2,), "diagonal") @ Input(2)), "fixed sum"),
        (sk.Network.build(
            Parameter("ones", (1, 2), trained=False) @ (Parameter("w", (2,), "diagonal") @ Input(2))
         ), "no quadratic form"),
    ],
)  # fmt: skip
def test_other_networks_are_refused_for_what_they_are(net, words) -> None:
    task = posed().curriculum.phases[0].task
    if words == "fixed sum":
        task = sk.Task.from_modes([2.0, 1.0])
    w0 = sk.weights.from_arrays(net, {p.name: np.ones(p.shape) for p in net.parameters})
    error = refusal(Problem(net, task, w0))
    assert words in str(error)


def test_read_outs_that_are_not_ones_and_decay_are_refused() -> None:
    problem = posed()
    net = problem.network
    w0 = weights(net, w_plus=[0.1, 0.2], w_minus=[0.1, 0.2], ones=[[1.0, 0.5]])
    (failed,) = (v for v in refusal(replace(problem, weights=w0)).verdicts if not v.holds)
    assert failed.assumption == "the fixed read-outs are all 1 or all -1"
    assert failed.distance == pytest.approx(0.5)
    assert "no weight decay" in str(refusal(replace(problem, loss=sk.SquaredError(0.5, 0.1))))


def test_wrong_coordinates_are_refused() -> None:
    for bad in (2, -1, True, "0"):
        with pytest.raises(InvalidArgument):
            derived(posed()).mode(bad)
    with pytest.raises(OutsideValidity, match="not written in the strength and amplitudes"):
        derived(posed()).show(mode=0, t=0.5)


def test_every_coordinate_has_its_place_in_the_learning_order():
    p = LAW.example()
    d = sk.derive(p.network, p.curriculum, p.weights)
    (first, early), (second, late) = d.learning_order()
    assert (first, second) == (0, 1)
    assert early < late
