"""Weight decay where the two layers learn, and so decay, at different rates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

import symkernel as sk
from symkernel.errors import NoClosedForm
from symkernel.ladder import flow_error
from symkernel.problem.problem import Problem
from symkernel.simulation.flow import integrate_flow
from symkernel.theory import reduced_flow
from symkernel.theory.reduced_checks import correlated_task, draw_any, reduced_limits
from symkernel.theory.two_layer import two_layer

TIMES = np.array([0.0, 0.5, 2.0, 6.0])
CLOSED = ("lambda_balanced", "two_eigenvalues", "memoryless_gram")
LAW = sk.catalogue()["reduced_flow"]


def posed(rates=(0.3, 2.0), decay=0.2, sizes=(3, 5, 2), scale=0.5, **how) -> Problem:
    task = correlated_task(np.random.default_rng(5), sizes[0], sizes[2])
    net = sk.Network.mlp(list(sizes), "linear", rates=rates, **how)
    loss = sk.SquaredError(weight_decay=decay)
    return Problem(net, sk.Curriculum.of(task), sk.weights.gaussian(net, scale, 1), loss)


def derived(problem: Problem, name: str | None = None):
    how = {"loss": problem.loss, "law": name}
    return sk.derive(problem.network, problem.curriculum, problem.weights, **how)


# --- against the flow and gradient descent


@pytest.mark.parametrize("parameterisation", ["standard", "ntk"])
def test_the_reduced_flow_is_found_and_follows_the_flow(parameterisation) -> None:
    problem = posed(parameterisation=parameterisation)
    problem = replace(problem, loss=sk.SquaredError(sp.Rational(3, 4), sp.Rational(1, 5)))
    d = derived(problem)
    assert d.law is LAW
    assert all(step.check().passed for step in d.steps)
    assert flow_error(d, problem).error <= 1e-10


def test_through_phases() -> None:
    problem = posed(rates=(3.0, 0.2))
    first, then = (correlated_task(np.random.default_rng(k), 3, 2) for k in (1, 2))
    course = sk.Curriculum([sk.Phase(first, 1.5), sk.Phase(then)])
    problem = replace(problem, curriculum=course)
    assert flow_error(derived(problem), problem).error <= 1e-10


@given(
    rates=st.tuples(st.floats(0.1, 5), st.floats(0.1, 5)),
    decay=st.floats(0, 2),
    hidden=st.integers(1, 9),
)
def test_any_rates_and_decay(rates, decay, hidden) -> None:
    problem = posed(rates, decay, (2, hidden, 2))
    flow = integrate_flow(problem, TIMES).weights
    found = LAW.trajectory(problem, TIMES).weights
    for name, weight in flow.items():
        assert np.abs(found[name] - weight).max() <= 1e-10


def test_gradient_descent_tends_to_it_with_slope_1() -> None:
    stream = np.random.default_rng(1)
    X = stream.standard_normal((20, 3)) @ np.diag([1.5, 1.0, 0.5])
    task = sk.Task(X, X @ stream.standard_normal((3, 2)) + 0.1)
    problem = replace(posed(rates=(0.5, 2.0)), curriculum=sk.Curriculum.of(task))
    law, times, errors = derived(problem).compile()(TIMES), TIMES, []
    steps = np.array([0.02, 0.01, 0.005])
    for step in steps:
        run = sk.simulate(
            problem.network, task, problem.weights, step, record=times, loss=problem.loss
        )
        gaps = [np.abs(run.weights[n] - law.weights[n]).max() for n in ("W1", "W2")]
        errors.append(max(gaps))
        assert np.abs(run.loss - law.loss).max() < 10 * step
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(1, abs=0.05)


def test_the_ladder_is_climbed() -> None:
    report = sk.check(derived(posed()), draws=1, precision_draws=2)
    assert report.passed, str(report)
    assert {rung.number for rung in report.rungs if rung.passed} == set(range(1, 7))


def test_draws_hold_both() -> None:
    drawn = [draw_any(np.random.default_rng(seed)) for seed in range(60)]
    forms = [two_layer(problem) for problem in drawn]
    assert 4 <= sum(form.decays[0] != form.decays[1] for form in forms) <= 20
    assert 4 <= sum(form.decays[0] == form.decays[1] != 0 for form in forms) <= 20


# --- what is known of the solution


def test_without_data_each_layer_falls_at_its_own_rate() -> None:
    nothing = sk.Task.from_moments(np.zeros((3, 3)), np.zeros((2, 3)), np.zeros((2, 2)))
    problem = replace(posed(), curriculum=sk.Curriculum.of(nothing))
    found, start = LAW.trajectory(problem, TIMES).weights, problem.weights.arrays
    for name, rate in (("W1", 0.3 * 0.2), ("W2", 2.0 * 0.2)):
        wanted = start[name] * np.exp(-rate * TIMES)[:, None, None]
        np.testing.assert_allclose(found[name], wanted, rtol=1e-12)


def test_rates_decide_the_way_and_not_the_end() -> None:
    """On white inputs modes end at s - gamma, or at 0, whatever the rates of the layers."""
    syx = np.random.default_rng(1).standard_normal((2, 3))
    white = sk.Curriculum.of(sk.Task.from_moments(np.eye(3), syx, syx @ syx.T))
    ends, middles = [], []
    for rates in ((1.0, 1.0), (0.3, 2.0), (3.0, 0.5)):
        found = LAW.trajectory(replace(posed(rates), curriculum=white), [1.0, 400.0])
        middles.append(found.end_to_end[0])
        ends.append(np.linalg.svd(found.end_to_end[1])[1])
    wanted = np.maximum(np.linalg.svd(syx)[1] - 0.2, 0)
    np.testing.assert_allclose(ends, [wanted] * 3, atol=1e-9)
    assert np.abs(middles[0] - middles[1]).max() > 0.05


def test_trap_one_common_rate_in_place_of_two(monkeypatch) -> None:
    """Their mean shrinks the end-to-end map alike, but not the layers that it is made of."""
    problem, form = posed(), two_layer(posed())
    true = integrate_flow(problem, TIMES).weights
    maps = true["W2"] @ true["W1"]
    assert np.abs(LAW.trajectory(problem, TIMES).end_to_end - maps).max() < 1e-11
    mean = replace(form, decays=(sum(form.decays) / 2,) * 2)
    monkeypatch.setattr("symkernel.theory.gram_state.two_layer", lambda _: mean)
    off = np.abs(LAW.trajectory(posed(), TIMES).end_to_end - maps)[-1].max()
    assert off > 0.3 * np.abs(maps[-1]).max()


# --- what is printed, and what is proven


def test_products_fall_at_the_sums_of_the_rates_of_their_layers() -> None:
    form = two_layer(posed())
    one, two = (sp.Symbol(f"gamma_{k}", nonnegative=True) for k in (1, 2))
    flow = reduced_flow.product_flow(form)
    falls = {name: words.terms[((name, False),)] for name, words in flow.rates.items()}
    assert falls == {"A": -2 * one, "B": -2 * two, "W": -one - two}
    assert flow.scalars == reduced_flow.weight_flow(form).scalars == ("gamma_1", "gamma_2")
    assert form.decays == (sp.Rational(3, 50), sp.Rational(2, 5))
    printed = {f.name: str(f.expression) for f in derived(posed()).formulas}
    assert "(3/25)*A" in printed["rate of the input products"]
    assert "(4/5)*B" in printed["rate of the readout products"]
    assert "(23/50)*W" in printed["rate of the end-to-end map"]


def test_equal_rates_have_one_symbol() -> None:
    for rates, decay in (((2, 2), 0.2), ((2, 3), 0.0)):
        form = two_layer(posed(rates, decay))
        assert reduced_flow.weight_flow(form).scalars == ("gamma",)
        assert reduced_flow.product_flow(form).scalars == ("gamma",)


def test_rates_that_are_written_differently_are_one() -> None:
    p, q = sp.symbols("p q", positive=True)
    net = sk.Network.two_layer(2, 3, 2, rates=[p * (p + q), p**2 + p * q])
    task, w0 = sk.Task.from_modes([2, 1]), sk.weights.gaussian(sk.Network.two_layer(2, 3, 2))
    form = two_layer(Problem(net, sk.Curriculum.of(task), w0, sk.SquaredError(weight_decay=p)))
    assert sp.expand(form.decay - p**2 * (p + q)) == 0


def test_decays_of_the_wrong_layers_are_noticed() -> None:
    form = two_layer(posed())
    right = reduced_flow.weight_flow(form)
    swapped = replace(right, scalars=right.scalars[::-1])
    passed = [[check().passed for _, check in reduced_limits(flow)] for flow in (right, swapped)]
    assert passed == [[True] * 5, [False, True, True, False, True]]
    wrong = replace(form, decays=form.decays[::-1])
    assert form.check().passed
    assert not wrong.check().passed


# --- who refuses


@pytest.mark.parametrize("name", CLOSED)
def test_laws_of_one_rate_say_what_is_unequal_and_who_takes_it(name) -> None:
    net = sk.Network.two_layer(2, 5, 2, rates=[0.5, 2])
    w0 = sk.weights.semi_orthogonal(net, a=0.1, b=0.2)
    task, loss = sk.Task.from_modes([2, 1]), sk.SquaredError(weight_decay=0.2)
    for accepted in (None, 1.0):
        words = r"at the rate 0\.1, the second at 0\.4.*'reduced_flow'"
        with pytest.raises(NoClosedForm, match=words) as caught:
            sk.derive(net, task, w0, loss=loss, law=name, tolerance=accepted)
        (failed,) = [v for v in caught.value.verdicts if not v.holds]
        assert failed.assumption == "both layers decay at one rate"
        assert failed.distance == pytest.approx(0.3)
    assert sk.derive(net, task, w0, loss=loss).law is LAW
    with pytest.raises(NoClosedForm, match="different rates; the law 'reduced_flow'"):
        _ = two_layer(Problem(net, sk.Curriculum.of(task), w0, loss)).decay


def test_rates_in_symbols_are_refused_in_words() -> None:
    r = sp.Symbol("r", positive=True)
    net = sk.Network.two_layer(2, 5, 2, rates=[r, 1])
    w0 = sk.weights.gaussian(sk.Network.two_layer(2, 5, 2))
    task, loss = sk.Task.from_modes([2, 1]), sk.SquaredError(weight_decay=0.2)
    with pytest.raises(NoClosedForm, match=r"at the rate r/5, the second at 0\.2"):
        sk.derive(net, task, w0, loss=loss, law="lambda_balanced")
    with pytest.raises(NoClosedForm, match="the problem has numbers"):
        sk.derive(net, task, w0, loss=loss, law="reduced_flow")
