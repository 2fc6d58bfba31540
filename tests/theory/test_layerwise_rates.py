"""What rates and decay are to kernels, to the derived flow and to the integrated one."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

import symkernel as sk
from symkernel.errors import InvalidArgument, NoClosedForm
from symkernel.problem.problem import Problem
from symkernel.simulation.flow import integrate_flow
from symkernel.theory.gradient_flow import GradientFlow, check_conserved
from tests.oracles import forward_pass
from tests.oracles import numpy_descent as oracle
from tests.oracles.networks import drawn

SMALL = 1e-6


def test_the_kernel_with_rates_drives_learning():
    """Against one step of the simulator: df/dt = -K dL/df, here with a loss of factor 1/2."""
    net = sk.Network.two_layer(3, 5, 2, "tanh", rates=[3, sp.Rational(1, 4)])
    _, arrays, task, _ = drawn(net, 6, 1)
    w0 = sk.weights.from_arrays(net, arrays)
    sim = sk.simulate(net, task, w0, SMALL, record=[0, SMALL])
    moved = (sim.outputs[1] - sim.outputs[0]) / SMALL
    residual = (sim.outputs[0] - task.Y) / len(task.X)
    K = sim.ntk[0]
    np.testing.assert_allclose(moved, -np.einsum("iajb,jb->ia", K, residual), rtol=1e-4, atol=1e-5)
    K = forward_pass.kernel(net, "hidden", "output", task.X, task.X, arrays)
    moved = (sim.hidden[1] - sim.hidden[0]) / SMALL
    np.testing.assert_allclose(moved, -np.einsum("iajb,jb->ia", K, residual), rtol=1e-4, atol=1e-5)


def test_symbolic_rates_stand_in_the_kernel():
    r1, r2 = sp.symbols("r_1 r_2", positive=True)
    net = sk.Network.two_layer(3, 5, 2, rates=[r1, r2])
    K = sk.ntk(net)
    assert str(K.expression) == "(r_1*(x . x'))*W2*W2.T + (r_2*(h . h'))*I"
    numeric = sk.ntk(sk.Network.two_layer(3, 5, 2, rates=[2, 7]))
    assert str(K.expression.subs({r1: 2, r2: 7})) == str(numeric.expression)


def test_derived_flow_has_the_rates_and_conserves_accordingly():
    r1, r2 = sp.symbols("r_1 r_2", positive=True)
    flow = GradientFlow(sk.Network.two_layer(3, 2, 2, rates=[r1, r2]), sk.SquaredError())
    for step in flow.steps():
        assert step.check().passed
    (kept,) = flow.conserved
    ratio = kept.terms[("W1", False), ("W1", True)] / kept.terms[("W2", True), ("W2", False)]
    assert sp.expand(ratio + r2 / r1) == 0


def test_derived_flow_has_weight_decay_and_what_is_conserved_falls_with_it():
    gamma = sp.Symbol("gamma", positive=True)
    flow = GradientFlow(sk.Network.two_layer(3, 2, 2), sk.SquaredError(weight_decay=gamma))
    for step in flow.steps():
        assert step.check().passed
    assert flow.flow["W1"].terms[(("W1", False),)] == -gamma
    (kept,) = flow.conserved
    assert flow.fall(kept) == kept.scaled(-2 * gamma)


def test_decay_at_two_rates_moves_what_the_loss_conserves(monkeypatch):
    """Each square falls at a rate of its own: balanced weights do not stay balanced."""
    gamma, r1, r2 = sp.symbols("gamma r_1 r_2", positive=True)
    net = sk.Network.two_layer(3, 2, 2, rates=[r1, r2])
    flow = GradientFlow(net, sk.SquaredError(weight_decay=gamma))
    assert all(step.check().passed for step in flow.steps())
    (kept,) = flow.conserved
    first, second = (("W1", False), ("W1", True)), (("W2", True), ("W2", False))
    assert set(kept.terms) == {first, second}
    fall = flow.fall(kept)
    assert sp.expand(fall.terms[first] + 2 * gamma * r1 * kept.terms[first]) == 0
    assert sp.expand(fall.terms[second] + 2 * gamma * r2 * kept.terms[second]) == 0
    monkeypatch.setattr(GradientFlow, "fall", lambda self, words: words.scaled(-2 * gamma * r1))
    flow.__dict__["conserved"] = (kept,)
    assert check_conserved(flow).figure == "a conserved quantity moves"
    _, path = flow_of([3, 0.5], 0.4)
    naive = difference(path.weights, 0, 3, 0.5) * np.exp(-2 * 0.4 * 3 * 2.0)
    assert np.abs(difference(path.weights, 2, 3, 0.5) - naive).max() > 1e-2


def flow_of(rates=None, decay=0.0):
    net = sk.Network.mlp([3, 4, 2], "linear", rates=rates, parameterisation="ntk")
    _, arrays, task, _ = drawn(net, 7, 3)
    loss = sk.SquaredError(weight_decay=decay)
    problem = Problem(net, task, sk.weights.from_arrays(net, arrays), loss)
    return problem, integrate_flow(problem, (0.0, 0.5, 2.0))


def difference(weights, k, r1=1.0, r2=1.0):
    W1, W2 = weights["W1"][k], weights["W2"][k]
    return W1 @ W1.T / r1 - W2.T @ W2 / r2


def test_integrated_flow_conserves_with_rates_and_decays():
    _, flow = flow_of([3, 0.5])
    start = difference(flow.weights, 0, 3, 0.5)
    np.testing.assert_allclose(difference(flow.weights, 2, 3, 0.5), start, atol=1e-10)
    _, flow = flow_of(None, 0.4)
    start = difference(flow.weights, 0)
    np.testing.assert_allclose(difference(flow.weights, 2), start * np.exp(-1.6), atol=1e-10)


@given(
    sizes=st.lists(st.integers(1, 4), min_size=2, max_size=6),
    seed=st.integers(0, 10**6),
    decay=st.floats(0, 2),
    factor=st.floats(0.1, 2),
)
def test_integrated_flow_starts_down_the_gradient(sizes, seed, decay, factor):
    rates = np.random.default_rng(seed).uniform(0.1, 3, len(sizes) - 1)
    net = sk.Network.mlp(sizes, "linear", rates=rates, parameterisation="ntk")
    _, arrays, task, _ = drawn(net, 5, seed)
    task = sk.Task(task.X, task.Y, sample_weights=[0.1, 0.2, 0.3, 0.15, 0.25])
    loss = sk.SquaredError(factor, decay)
    problem = Problem(net, task, sk.weights.from_arrays(net, arrays), loss)
    flow = integrate_flow(problem, (0.0, SMALL))
    how = factor, decay, task.sample_weights
    slope = oracle.gradient(net, arrays, task.X, task.Y, {}, *how)
    for p in net.parameters:
        moved = (flow.weights[p.name][1] - flow.weights[p.name][0]) / SMALL
        np.testing.assert_allclose(moved, -float(p.rate) * slope[p.name], rtol=1e-4, atol=1e-4)


def test_descent_tends_to_the_flow():
    problem, flow = flow_of([3, 0.5], 0.4)
    errors, rates = [], np.array([0.02, 0.01, 0.005, 0.0025])
    task = problem.curriculum.phases[0].task
    for rate in rates:
        sim = sk.simulate(
            problem.network, task, problem.weights, rate, record=[2.0], loss=problem.loss
        )
        errors.append(np.abs(sim.weights["W1"][0] - flow.weights["W1"][2]).max())
    slope = np.polyfit(np.log(rates), np.log(errors), 1)[0]
    assert slope == pytest.approx(1, abs=0.05)


def test_flow_of_a_nonlinear_teacher_is_refused():
    teacher = sk.Network.two_layer(3, 2, 2, "erf")
    task = sk.Task.from_teacher(teacher, sk.weights.gaussian(teacher))
    net = sk.Network.two_layer(3, 4, 2)
    w0 = sk.weights.gaussian(net)
    with pytest.raises(InvalidArgument, match="second moments"):
        integrate_flow(Problem(net, task, w0), [0.0, 1.0])
    with pytest.raises(NoClosedForm, match="second moments are known"):
        sk.derive(net, task, w0)
    with pytest.raises(InvalidArgument, match="second moments"):
        sk.weights.aligned(net, task, a=0.1, b=0.1)


@pytest.mark.parametrize("law", ["aligned_modes", "gram_diagonal", "single_unit"])
@pytest.mark.parametrize("unknown", ["rates", "factor"])
def test_symbols_in_rates_and_loss_reach_the_document_and_the_ladder(law, unknown):
    s, a, first, second = sp.symbols("s a r_1 r_2", positive=True)
    rates, factor = ([first, second], sp.S.Half) if unknown == "rates" else ([1, 1], first)
    net, task = sk.Network.two_layer(1, 1, 1, rates=rates), sk.Task.from_modes(s)
    w0 = sk.weights.aligned(net, task, a=a, b=a)
    d = sk.derive(net, task, w0, law=law, loss=sk.SquaredError(factor))
    assert d.latex().count(r"r_{1}") > 1
    assert sk.check(d, draws=1, precision_draws=3).passed
