"""The mode laws where the two layers learn at rates of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import symkernel as sk
from symkernel import notation, testing
from symkernel.problem.problem import Problem
from symkernel.report.display import worked
from symkernel.theory import LAWS
from symkernel.theory.mode_flow import mode_flow
from symkernel.theory.mode_state import ModeState
from tests.theory.flow_draws import flow_gap

BOUND = 1e-9
LAW = {law.name: law for law in LAWS if law.name in ("aligned_modes", "gram_diagonal")}
RATES = st.tuples(*[st.sampled_from([0.01, 0.3, 1.0, 2.0, sp.Rational(9, 4), 50.0])] * 2)
r1, r2, s, a, b = sp.symbols("r_1 r_2 s a b", positive=True)


def rated(problem: Problem, rates) -> Problem:
    """Return the problem with other rates; the classes of the mode laws do not depend on them."""
    sizes = [int(problem.network.inputs), *(p.shape[0] for p in problem.network.parameters)]
    how = problem.network.parameterisation
    return replace(
        problem, network=sk.Network.mlp(sizes, "linear", rates=rates, parameterisation=how)
    )


def rated_gap(law: str, problem: Problem, rates, strength: float) -> float:
    problem = rated(problem, rates)
    speed = float(sp.sqrt(sp.Mul(*(p.rate for p in problem.network.parameters))))
    times = testing.horizon(problem, strength)
    # Phases end when they end; only the last one is followed in its own time.
    last = problem.curriculum.starts[-1]
    times = np.unique(np.where(times > last, last + (times - last) / max(speed, 1.0), times))
    return flow_gap(LAW[law], problem, times)


@given(testing.aligned_problems(most=4), RATES)
@settings(max_examples=5)
def test_aligned_weights_follow_the_flow(problem, rates):
    assert rated_gap("aligned_modes", problem, rates, 20.0) <= BOUND


@given(testing.gram_diagonal_problems(), RATES)
@settings(max_examples=5)
def test_gram_diagonal_weights_follow_the_flow(problem, rates):
    assert rated_gap("gram_diagonal", problem, rates, 20.0) <= BOUND


@pytest.mark.slow
@given(testing.aligned_problems(most=6, phases=2), RATES)
@settings(max_examples=150)
def test_aligned_weights_follow_the_flow_on_many_draws(problem, rates):
    assert rated_gap("aligned_modes", problem, rates, 30.0) <= BOUND


@pytest.mark.slow
@given(testing.gram_diagonal_problems(most=6), RATES)
@settings(max_examples=150)
def test_gram_diagonal_weights_follow_the_flow_on_many_draws(problem, rates):
    assert rated_gap("gram_diagonal", problem, rates, 30.0) <= BOUND


def posed(rates=(3, 0.5), law="aligned_modes", phases=1):
    stream = np.random.default_rng(1000)
    frames = [np.linalg.qr(stream.standard_normal((n, n)))[0] for n in (2, 3, 6)]
    X = np.sqrt(6) * frames[2][:, :3]
    tasks = [
        sk.Task(X, X @ (frames[1][:, :2] * row) @ frames[0].T) for row in ([2.0, 1.0], [-1.0, 1.5])
    ]
    net = sk.Network.two_layer(3, 4, 2, rates=rates, parameterisation="ntk")
    w0 = sk.weights.aligned(net, tasks[0], a=[0.3, -0.5], b=[0.2, 0.4])
    course = sk.Curriculum([sk.Phase(tasks[0], 2.0), sk.Phase(tasks[1])])
    return sk.derive(net, course if phases == 2 else tasks[0], w0, law=law)


@pytest.mark.parametrize("law", LAW)
@pytest.mark.parametrize("rates", [(3, 0.5), (0.3, 0.3), (4, 1)])
def test_every_step_is_proven(law, rates):
    assert [step.title for step in posed(rates, law).steps if not step.check().passed] == []


def test_a_wrong_factor_between_the_layers_fails():
    modes = mode_flow(posed((4, 1)).problem)
    assert modes.ratio == 2
    wrong = replace(modes, ratio=sp.Integer(3))
    assert modes.projection_step().check().passed
    assert not wrong.projection_step().check().passed


@pytest.mark.parametrize("law", LAW)
def test_all_that_is_observed_is_that_of_gradient_descent(law):
    derivation = posed(law=law)
    times = np.array([0.0, 0.5, 1.0, 4.0])
    theory = derivation.compile()(times)
    problem = derivation.problem
    task = problem.curriculum.phases[0].task
    errors = []
    for rate in (2e-3, 1e-3):
        run = sk.simulate(problem.network, task, problem.weights, rate, record=times)
        gaps = [
            np.abs(getattr(run, name) - getattr(theory, name)).max()
            for name in ("outputs", "hidden", "hidden_gram", "ntk", "loss", "modes")
        ]
        errors.append(gaps)
    ratio = np.array(errors[0]) / errors[1]
    np.testing.assert_allclose(ratio, 2.0, atol=0.1)
    assert np.max(errors[1]) < 0.02


@pytest.mark.parametrize("phase", [0, 1])
@pytest.mark.parametrize("law", LAW)
def test_the_law_of_one_mode_is_in_the_amplitudes_of_the_user(law, phase):
    """Output, kernel, loss, sides, in either phase, against the compiled trajectory."""
    derivation = posed(law=law, phases=2)
    time = 1.5 + 2.0 * phase
    theory = derivation.compile()([time])
    problem = derivation.problem
    basis = ModeState.of(problem).basis
    for k in range(2):
        found = {
            name: float(e.subs(notation.t, time)) for name, e in derivation.mode(k, phase).items()
        }
        v, u = basis.V[:, k], basis.U[:, k]
        W1, W2 = theory.weights["W1"][0], theory.weights["W2"][0]
        (n1, first), (n2, second) = ((float(p.scale), float(p.rate)) for p in
                                     problem.network.parameters)  # fmt: skip
        assert found["output"] == pytest.approx(theory.modes[0, k], rel=1e-9)
        lengths = W1 @ v @ W1 @ v, u @ W2 @ W2.T @ u
        kernel = (n1 * n2) ** 2 * (second * lengths[0] + first * lengths[1])
        assert found["ntk"] == pytest.approx(kernel, rel=1e-9)
        assert found["hidden_gram"] == pytest.approx(n1**2 * lengths[0], rel=1e-9)
        if law == "aligned_modes":
            assert found["output_side"] ** 2 == pytest.approx(lengths[1], rel=1e-9)
            assert found["pseudo_kernel"] ** 2 == pytest.approx(
                (first * n1**2 * n2) ** 2 * lengths[1], rel=1e-9
            )
        else:
            assert found["readout_gram"] == pytest.approx(lengths[1], rel=1e-9)


@pytest.mark.parametrize("law", LAW)
def test_worked_values_and_learning_times(law):
    derivation = posed(law=law)
    assert worked(derivation, 0, 1.5).value == pytest.approx(
        derivation.compile()([1.5]).modes[0, 0], rel=1e-10
    )
    time = float(derivation.learning_time(0.5, 0))
    assert derivation.compile()([time]).modes[0, 0] == pytest.approx(1.0, rel=1e-9)


def test_the_conserved_quantity_weighs_the_layers_with_the_rates():
    derivation = posed((3, 0.5))
    found = derivation.compile()([0.0, 0.7, 3.0]).weights
    W1, W2 = found["W1"], found["W2"]
    kept = W1 @ W1.transpose(0, 2, 1) / 3 - W2.transpose(0, 2, 1) @ W2 / 0.5
    assert np.abs(kept - kept[0]).max() < 1e-13
    plain = W1 @ W1.transpose(0, 2, 1) - W2.transpose(0, 2, 1) @ W2
    assert np.abs(plain - plain[0]).max() > 0.1


def test_claims_are_judged_with_rates():
    net = sk.Network.two_layer(2, 2, 2, rates=[4, 1])
    task = sk.Task.from_modes([2, 1])
    w0 = sk.weights.aligned(net, task, a=sp.Rational(1, 5), b=sp.Rational(1, 10))
    # Balanced, for the rates: u' = 2 sqrt(4 1) u (s - u).
    claim = 2 / (1 + 99 * sp.exp(-8 * notation.t))
    assert sk.check_claim(claim, ("mode", 0), (net, task, w0)).passed
    assert not sk.check_claim(claim.subs(notation.t, notation.t / 2), ("mode", 0),
                              (net, task, w0)).passed  # fmt: skip


def symbolic(a0, b0):
    net, task = sk.Network.two_layer(1, 1, 1, rates=[r1, r2]), sk.Task.from_modes(s)
    return sk.derive(net, task, sk.weights.aligned(net, task, a=a0, b=b0))


def test_rates_may_be_symbols():
    derivation = symbolic(a, b)
    assert all(step.check().passed for step in derivation.steps)
    values = {s: 2, a: 0.1, b: 0.3, r1: 2, r2: 0.5}
    times = np.array([0.0, 0.5, 2.0])
    law = [derivation.mode(0).output.subs(values).subs(notation.t, time) for time in times]
    np.testing.assert_allclose(
        np.array(law, float), derivation.compile(values)(times).modes[:, 0], rtol=1e-12
    )


def test_balanced_for_the_rates_is_the_sigmoid():
    law = symbolic(a * sp.sqrt(r1), a * sp.sqrt(r2)).mode(0).output
    rate, u0 = sp.sqrt(r1) * sp.sqrt(r2), a**2 * sp.sqrt(r1) * sp.sqrt(r2)
    want = s / (1 + (s / u0 - 1) * sp.exp(-2 * rate * s * notation.t))
    assert sp.cancel(law - want) == 0
    # Equal amplitudes are not balanced while the rates differ.
    assert symbolic(a, a).mode(0).output.has(sp.tanh)


def test_a_rate_of_both_layers_is_another_unit_of_time():
    one, two = (posed(rates).compile()([0.0, 1.0, 2.0]).modes for rates in ((1, 1), (2, 2)))
    half = posed((2, 2)).compile()([0.0, 0.5, 1.0]).modes
    np.testing.assert_allclose(one, half, rtol=1e-12)
    assert np.abs(one - two).max() > 0.01
