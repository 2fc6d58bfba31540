"""Any network with any activations: simulator, kernels and oracles say the same.

Compiling takes seconds, so drawn networks run through the same source uncompiled.
"""

from __future__ import annotations

from unittest import mock

import numba
import numpy as np
import pytest
import sympy as sp
from hypothesis import event, given, settings
from hypothesis import strategies as st

import symkernel as sk
from symkernel.problem.activation import ARGUMENT, Activation
from symkernel.simulation.engine import Engine, Stage
from symkernel.simulation.layout import Layout, aligned
from symkernel.simulation.program import Source
from symkernel.testing import networks, numerical, numerical_networks
from tests.oracles import forward_pass, numpy_descent
from tests.oracles.activations import FUNCTIONS, USER_MADE, activations
from tests.oracles.forward_pass import is_moderate
from tests.oracles.interpreted import interpreted

# Relative to the largest entry, or 1.
BY_DIFFERENCES, EXACT = 1e-7, 1e-12
DRAWS = max(20, settings.default.max_examples)
STEP = 3e-6
RECORD = (0.0, 0.5, 15.0)


def distance(found, want):
    size = max(1.0, float(np.abs(want).max(initial=0.0)))
    return float(np.abs(found - want).max(initial=0.0)) / size


@st.composite
def chains(draw):
    """A perceptron of one to four layers, each with an activation of its own."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=2, max_size=5))
    hidden = [draw(activations()) for _ in sizes[2:]]
    word = draw(st.sampled_from(["standard", "ntk"]))
    net = sk.Network.mlp(sizes, hidden, draw(st.booleans()), word, draw(activations()))
    return numerical(net, draw(st.integers(0, 2**32 - 1)))


DRAWN = numerical_networks(networks(activations=activations()))
NETWORKS = st.one_of(DRAWN, chains()).filter(is_moderate)


def targets(d, seed):
    return np.random.default_rng(seed).standard_normal((len(d.X), int(d.net.outputs)))


def engine_of(d, Y):
    """The simulator's program for a drawn network, run by the interpreter."""
    layout = Layout(d.net, len(d.X))
    thetas = aligned(1, layout.count)
    thetas[0] = layout.vector(d.weights)
    with mock.patch(
        "symkernel.simulation.engine.compiled",
        lambda layout, mode: interpreted(Source(layout).text(mode)),
    ):
        return Engine(Stage(d.net, sk.Task(d.X, Y), d.gates, 0.1, 0.5), thetas)


def gradient_of(d, Y):
    """By name, of the trained parameters; the engine has it by those times their scales."""
    engine = engine_of(d, Y)
    flat, starts = engine.gradient(engine.thetas[0].copy()), engine.layout.starts
    return {
        p.name: float(p.scale) * flat[starts[j] : starts[j + 1]]
        for j, p in enumerate(d.net.parameters)
        if p.trained
    }


def jacobians(d, name):
    """Of a node by every trained parameter, sample by sample, by complex steps."""
    gates = [{g: v[i] for g, v in d.gates.items()} for i in range(len(d.X))]
    return [
        forward_pass.jacobians(d.net, d.net.nodes[name], x, d.weights, g)
        for x, g in zip(d.X, gates, strict=True)
    ]


def kernel_of(d, of):
    routine = sk.pseudo_kernel(d.net, of, "output").compile()
    routine.__dict__["_kernel"] = interpreted(routine.source).kernel
    return routine(d.X, None, d.weights, d.gates)


def disagreements(d, of, Y):
    """Return three distances that must vanish."""
    gradient, K = gradient_of(d, Y), kernel_of(d, of)
    outputs = np.real(numpy_descent.value(d.net.output, d.weights, d.X, d.gates))
    residual = (outputs - Y) / len(Y)
    J, J_of = jacobians(d, "output"), jacobians(d, of)
    pulled, moved = [0.0], np.zeros(K.shape[:2])
    rates = {p.name: float(p.rate) for p in d.net.parameters}
    for name, slope in gradient.items():
        want = sum(r @ j[name] for r, j in zip(residual, J, strict=True))
        pulled.append(distance(slope, want))
        moved += [rates[name] * (j[name] @ slope) for j in J_of]
    oracle = forward_pass.kernel(d.net, of, "output", d.X, d.X, d.weights, d.gates, d.gates)
    return {
        "gradient = J^T residual": max(pulled),
        "kernel = J J^T": distance(K, oracle),
        "kernel residual = J gradient": distance(np.einsum("ipjq,jq->ip", K, residual), moved),
    }


@settings(max_examples=DRAWS)
@given(NETWORKS, st.integers(0, 2**32 - 1))
def test_simulator_kernel_and_jacobians_agree(d, seed):
    of = "hidden" if "hidden" in d.net.nodes else "output"
    event(of)
    for what, off in disagreements(d, of, targets(d, seed)).items():
        assert off < EXACT, what


@settings(max_examples=DRAWS)
@given(NETWORKS, st.integers(0, 2**32 - 1))
def test_gradient_agrees_with_differences_of_the_loss(d, seed):
    """In a random direction of all trained parameters."""
    engine = engine_of(d, targets(d, seed))
    theta, layout = engine.thetas[0].copy(), engine.layout
    trained = np.repeat([p.trained for p in d.net.parameters], np.diff(layout.starts))
    direction = np.random.default_rng(seed).standard_normal(theta.size) * trained
    slope = engine.gradient(theta) @ direction
    losses = []
    for side in (STEP, -STEP):
        engine.thetas[0] = theta + side * direction
        losses.append(engine.loss())
    size = max(1.0, abs(slope), losses[0])
    assert abs((losses[0] - losses[1]) / (2 * STEP) - slope) < BY_DIFFERENCES * size


# ---- the checks can fail


@pytest.mark.parametrize(
    ("expression", "slope"),
    [
        (sp.sin(ARGUMENT), sp.cos(ARGUMENT) / 2),
        (sp.sin(ARGUMENT), sp.cos(ARGUMENT) * (1 + ARGUMENT / 1000)),
        (sp.cos(ARGUMENT), sp.cos(ARGUMENT)),
    ],
)
def test_a_wrong_record_is_noticed(expression, slope):
    d = numerical(sk.Network.two_layer(3, 4, 2, sp.sin(ARGUMENT)), seed=1000)
    Y = targets(d, 0)
    assert max(disagreements(d, "output", Y).values()) < EXACT
    wrong = Activation(f"wrong: {slope}", expression)
    wrong.__dict__["slope"] = slope
    FUNCTIONS[wrong.name] = np.sin
    object.__setattr__(d.net.node("hidden"), "activation", wrong)
    assert min(disagreements(d, "output", Y).values()) > 1e-6


# ---- compiled, through the public face


@pytest.fixture(scope="module")
def run():
    """A run of two blocks of samples, and what it was made from."""
    hidden, output = (USER_MADE[word][0] for word in ("gelu", "leaky relu"))
    net = sk.Network.mlp([3, 4, 2], hidden, False, "ntk", output)
    d = numerical(net, seed=1000, samples=(300, 3))
    w0, task = sk.weights.from_arrays(net, d.weights), sk.Task(d.X, targets(d, 0))
    return net, task, w0, sk.simulate(net, task, w0, learning_rate=0.5, steps=30, record=RECORD)


def test_compiled_steps_follow_the_oracle(run):
    net, task, w0, sim = run
    want = numpy_descent.descend(net, w0.arrays, task.X, task.Y, 0.5, 1)
    for name, value in want.items():
        assert distance(sim.weights[name][1], value) < EXACT


def test_kernels_of_theory_and_of_the_trajectory_agree(run):
    net, task, w0, sim = run
    K = sk.ntk(net).compile()(task.X[:4], task.X, w0)
    assert distance(sim.ntk[0, :4], K) < EXACT


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one core")
def test_trajectory_does_not_depend_on_the_number_of_threads(run):
    net, task, w0, sim = run
    before = numba.get_num_threads()
    for count in range(1, numba.config.NUMBA_NUM_THREADS + 1):
        numba.set_num_threads(count)
        again = sk.simulate(net, task, w0, learning_rate=0.5, steps=30, record=RECORD)
        for name, value in sim.weights.items():
            np.testing.assert_array_equal(again.weights[name], value)
        np.testing.assert_array_equal(again.loss, sim.loss)
    numba.set_num_threads(before)
    assert sim.loss[-1] < sim.loss[0]
