"""Flow of any network: against hand-written gradients, complex steps of the loss, and chains."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import symkernel as sk
from symkernel.errors import InvalidArgument
from symkernel.nodes import Apply, Gate, Input, Parameter, Sum
from symkernel.problem.problem import Problem
from symkernel.simulation.flow import _Chain, integrate_flow
from symkernel.simulation.network_flow import NetworkFlow
from tests.oracles import numpy_descent

TIMES = np.array([0.0, 0.7, 2.0, 6.0])


def gated(rate=1, **how):
    """A network with gates, a bias, a diagonal and a fixed weight, a scale and a rate."""
    stream = np.random.default_rng(1000)
    x = Input(3)
    h = Parameter("W1", (4, 3), scale=2, rate=rate) @ x + Parameter("b", (4,), "bias")
    skip = Parameter("D", (3,), "diagonal") @ x
    parts = (Parameter("W2", (2, 4)) @ Gate("g", h), Parameter("Z", (2, 3), trained=False) @ skip)
    net = sk.Network.build(Sum(parts))
    task = sk.Task(
        stream.standard_normal((7, 3)),
        stream.standard_normal((7, 2)),
        gates={"g": stream.integers(0, 2, (7, 4)).astype(float)},
    )
    return Problem(net, task_of(task), sk.weights.gaussian(net, seed=1), sk.SquaredError(**how))


def task_of(task):
    return sk.Curriculum([sk.Phase(task)])


def moved_by(flow, task, flat, along):
    """Return the velocity, and its derivative along a direction."""
    rate = flow.rate(task)(0.0, np.concatenate([flat, along, [0.0]]))
    velocity, turned = np.split(rate[:-1], 2)
    return velocity, turned + rate[-1] * along


def test_velocity_and_its_derivative_are_those_of_the_loss():
    problem = gated(rate=3, factor=2, weight_decay=0.3)
    flow, task = NetworkFlow(problem), problem.curriculum.phases[0].task
    weights = problem.weights.arrays
    flat = np.concatenate([weights[p.name].ravel() for p in flow.parameters])

    def want(vector):
        parts = dict(zip((p.name for p in flow.parameters), flow.split(vector), strict=True))
        rest = float(problem.loss.factor), float(problem.loss.weight_decay)
        slope = numpy_descent.gradient(problem.network, parts, task.X, task.Y, task.gates, *rest)
        return np.concatenate([-float(p.rate) * slope[p.name].ravel() for p in flow.parameters])

    along = np.random.default_rng(0).standard_normal(flat.size)
    velocity, moved = moved_by(flow, task, flat, along)
    assert np.abs(velocity - want(flat)).max() < 1e-13
    differences = (want(flat + 1e-5 * along) - want(flat - 1e-5 * along)) / 2e-5
    assert np.abs(moved - differences).max() < 1e-7 * np.abs(differences).max()
    fixed = dict(zip((p.name for p in flow.parameters), flow.split(moved), strict=True))["Z"]
    assert not fixed.any()


def test_gated_flow_against_gradients_written_by_hand():
    """Two contexts, W1 shared, read-outs private: their gradients on moments."""
    task = sk.environments.contexts(2, [2.0, 1.0], inputs=3)
    net = sk.pathways.network(3, 4, 2, contexts=2)
    w0 = sk.weights.gaussian(net, scale=0.4, seed=2)
    cross = [task.Y[here].T @ task.X[here] / 3 for here in (slice(0, 3), slice(3, 6))]

    def rate(_, flat):
        W1, reads = flat[:12].reshape(4, 3), flat[12:].reshape(2, 2, 4)
        off = [C - R @ W1 for C, R in zip(cross, reads, strict=True)]
        first = sum(R.T @ E for R, E in zip(reads, off, strict=True)) / 2
        return np.concatenate([first.ravel(), *((E @ W1.T / 2).ravel() for E in off)])

    start = np.concatenate([w0.arrays[name].ravel() for name in ("W1", "W2_0", "W2_1")])
    flow = integrate_flow(Problem(net, task_of(task), w0), TIMES)
    for k in range(1, len(TIMES)):
        span = (0.0, TIMES[k])
        want = solve_ivp(rate, span, start, "DOP853", rtol=1e-13, atol=1e-16).y[:, -1]
        found = np.concatenate([flow.weights[n][k].ravel() for n in ("W1", "W2_0", "W2_1")])
        assert np.abs(found - want).max() < 1e-11
    assert flow.sensitivity[0] == 1
    assert (np.diff(flow.sensitivity) >= 0).all()


def test_phases_have_their_own_gates():
    """The second context alone in the first phase, the first one alone afterwards."""
    net = sk.pathways.network(2, 3, 2, contexts=2)
    w0 = sk.weights.gaussian(net, scale=0.5, seed=3)
    one = sk.environments.contexts(1, [2.0, 1.0])
    tasks = [
        sk.Task(
            one.X, one.Y, gates={f"context{k}": np.full((2, 1), float(k == on)) for k in (0, 1)}
        )
        for on in (1, 0)
    ]
    cur = sk.Curriculum([sk.Phase(tasks[0], duration=1.0), sk.Phase(tasks[1])])
    flow = integrate_flow(Problem(net, cur, w0), [0.0, 1.0, 2.0]).weights
    still = [np.abs(np.diff(flow[name], axis=0)).max((1, 2)) for name in ("W2_0", "W2_1")]
    assert still[0][0] == 0 < still[0][1]
    assert still[1][1] == 0 < still[1][0]


def test_a_chain_is_integrated_alike_by_both():
    net = sk.Network.mlp([3, 4, 5, 2], "linear", rates=[2, 0.5, 3], parameterisation="ntk")
    assert net.is_chain
    stream = np.random.default_rng(5)
    task = sk.Task(stream.standard_normal((6, 3)), stream.standard_normal((6, 2)))
    loss = sk.SquaredError(0.75, weight_decay=0.3)
    problem = Problem(net, task_of(task), sk.weights.gaussian(net, seed=6), loss)
    flat = np.concatenate([w.ravel() for w in problem.weights.arrays.values()])
    along = stream.standard_normal(flat.size)
    one, two = (moved_by(system(problem), task, flat, along) for system in (_Chain, NetworkFlow))
    assert np.abs(one[0] - two[0]).max() < 1e-13
    assert np.abs(one[1] - two[1]).max() < 1e-7 * np.abs(one[1]).max()


def test_what_is_rounded_on_a_saddle_decides_how_it_is_left():
    """A weight falls to e^-96 of what it was and grows again: with which sign is up to rounding.

    A change at the start is gone by then, and one on the way is gone again in the end.
    """
    x, w = Input(2), Parameter("w", (2,), "diagonal")
    net = sk.Network.build(Parameter("ones", (1, 2), trained=False) @ (w @ (w @ x)))
    tasks = [sk.Task(np.sqrt(2) * np.eye(2), [[np.sqrt(2) * s], [0.0]]) for s in (-4.0, 0.4)]
    cur = sk.Curriculum([sk.Phase(tasks[0], duration=12.0), sk.Phase(tasks[1])])
    w0 = sk.weights.from_arrays(net, [[0.3, 0.005], [[1.0, 1.0]]])
    problem = Problem(net, cur, w0)
    before = integrate_flow(problem, [0.0, 6.0, 12.0, 20.0]).sensitivity * 2.0**-52
    assert before.max() < 1e-10
    after = integrate_flow(problem, [0.0, 12.0, 400.0]).sensitivity * 2.0**-52
    assert after[1] < 1e-10
    assert after[2] > 1e-3


def test_a_flow_that_forgets_everything_is_certain():
    """Under weight decay all changes fall below the smallest number."""
    net, task = sk.Network.two_layer(1, 2, 1), sk.Task.from_modes(0.1)
    problem = Problem(
        net, task_of(task), sk.weights.gaussian(net, seed=1), sk.SquaredError(weight_decay=2)
    )
    flow = integrate_flow(problem, [0.0, 100.0, 1000.0, 2000.0])
    np.testing.assert_allclose(flow.sensitivity, 1.0, rtol=1e-12)


def test_what_is_no_chain():
    x, W = Input(2), Parameter("W", (2, 2))
    for output in (W @ (W @ x), Gate("g", W @ x), Sum((W @ x, x)), Apply("tanh", W @ x)):
        assert not sk.Network.build(output).is_chain
    assert not sk.Network.build(Parameter("W", (2, 2), trained=False) @ x).is_chain


def test_moments_are_refused_where_samples_are_needed():
    net = sk.Network.two_layer(2, 3, 2, activation="tanh")
    task = sk.Task(Sxx=np.eye(2), Syx=np.eye(2), Syy=np.eye(2))
    with pytest.raises(InvalidArgument, match="integrated on samples"):
        integrate_flow(Problem(net, task_of(task), sk.weights.gaussian(net)), TIMES)
