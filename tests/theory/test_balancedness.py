"""What a step of stochastic descent does to the balance of linear layers."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel.errors import InvalidArgument, NoClosedForm, OutsideValidity
from symkernel.theory import balancedness_steps as theory
from symkernel.theory.words import Words
from symkernel.trajectory import Trajectory

STREAM = np.random.default_rng(1000)
X = STREAM.standard_normal((30, 3))


def test_steps_are_checked_and_printed():
    found = sk.noise.balancedness_formula()
    for step in found.steps:
        evidence = step.check()
        assert evidence.passed, evidence.figure
        assert step.latex()
    assert r"W_{1} G^{T} G W_{1}^{T}" in found.latex()


@pytest.mark.parametrize(
    ("check", "claim"),
    [
        ("squares", theory.imbalance_change().scaled(2)),
        ("gradient", Words.of("W_1", "G'", "G", "W_1'")),
        ("scalar", Words.of("W_1", "G'", "G", "W_1'", coefficient=theory.ETA**2)),
        ("decay", theory.SHRUNK),
    ],
)
def test_checks_of_steps_can_fail(check, claim):
    assert not getattr(theory, f"check_{check}")(claim).passed


def descended(net, decay=0.0, rate=0.05, steps=60):
    """A run with arbitrary gradients by the map, as any loss, batch and noise would give."""
    stream = np.random.default_rng(1000)
    layers = [0.5 * stream.standard_normal(p.shape) for p in net.parameters]
    records = [layers]
    for _ in range(steps):
        G = stream.standard_normal((int(net.outputs), int(net.inputs)))
        scale = float(np.prod([float(p.scale) for p in net.parameters]))
        moved = []
        for k, (p, W) in enumerate(zip(net.parameters, layers, strict=True)):
            before, after = np.eye(int(net.inputs)), np.eye(int(net.outputs))
            for other in layers[:k]:
                before = other @ before
            for other in reversed(layers[k + 1 :]):
                after = after @ other
            pull = scale * after.T @ G @ before.T
            moved.append(W - rate * float(p.rate) * (pull + decay * W))
        layers = moved
        records.append(layers)
    weights = {p.name: np.array([one[k] for one in records]) for k, p in enumerate(net.parameters)}
    counts = np.arange(steps + 1)
    return Trajectory(rate * counts, {"weights": lambda: weights}, counts, origin="simulation")


third = sp.Rational(1, 3)
CASES = {
    "two layers": (sk.Network.two_layer(3, 4, 2), 0.0),
    "ntk": (sk.Network.two_layer(3, 4, 2, parameterisation="ntk"), 0.0),
    "two rates": (sk.Network.mlp([3, 4, 2], "linear", rates=[third, 2]), 0.0),
    "depth": (sk.Network.mlp([3, 4, 5, 2], "linear", rates=[1, third, 2]), 0.0),
    "decay": (sk.Network.mlp([3, 4, 5, 2], "linear", rates=[2, 2, 2]), 0.3),
}


@pytest.mark.parametrize("case", CASES)
def test_the_identity_holds_to_rounding(case):
    net, decay = CASES[case]
    found = sk.balancedness(descended(net, decay), net, weight_decay=decay)
    assert found.gap < 1e-12
    for pair, matrices in found.matrices.items():
        # Gradient flow would keep them, but for the decay: the naive law is far off.
        kept = (1 - 0.05 * 2 * decay) ** (2 * np.arange(61)) if decay else np.ones(61)
        naive = kept[:, None, None] * matrices[0]
        assert np.abs(matrices - naive).max() > 0.01
        assert np.allclose(found.predicted[pair], matrices, rtol=0, atol=1e-11)
    assert found.check().passed
    assert "identity to" in repr(found)


def test_a_wrong_decay_shows():
    net, decay = CASES["decay"]
    found = sk.balancedness(descended(net, decay), net, weight_decay=0.29)
    assert found.gap > 1e-4
    assert not found.check().passed


def test_one_unit_shrinks_by_the_product():
    net = sk.Network.two_layer(1, 1, 1)
    w0 = sk.weights.from_arrays(net, [[[0.3]], [[0.9]]])
    task = sk.Task(X[:, :1], 2 * X[:, :1])
    sim = sk.simulate(net, task, w0, 0.1, steps=40, record=0.1 * np.arange(41))
    a, b = (sim.weights[name][:, 0, 0] for name in ("W1", "W2"))
    G = (a * b - 2)[:-1] * np.square(X[:, 0]).mean()
    shrunk = np.concatenate([[1], np.cumprod(1 - 0.01 * G**2)])
    found = sk.balancedness(sim, net).matrices["W1", "W2"][:, 0, 0]
    assert np.allclose(found, 0.72 * shrunk, rtol=1e-12)
    assert (np.diff(np.abs(found)) <= 0).all()
    assert shrunk[-1] < 0.99


@pytest.mark.slow
@pytest.mark.parametrize("loss", [None, sk.CrossEntropy()], ids=["squared", "classes"])
def test_simulations_of_batches_with_label_noise(loss):
    net = sk.Network.mlp([3, 4, 5, 2], "linear")
    labels = sk.one_hot((X[:, 0] > 0).astype(int))
    noise = sk.LabelNoise(std=0.5) if loss is None else sk.LabelNoise(probability=0.3)
    sim = sk.simulate(
        net, sk.Task(X, labels), sk.weights.gaussian(net, seed=1000), 0.05, steps=400,
        record=0.05 * np.arange(401), batch_size=2, loss=loss, label_noise=noise, seed=1000,
    )  # fmt: skip
    found = sk.balancedness(sim, net)
    assert found.gap < 1e-12
    assert all(np.abs(m - m[0]).max() > 1e-2 for m in found.matrices.values())


def test_what_the_identity_does_not_cover_is_refused():
    net = sk.Network.two_layer(3, 4, 2)
    run = descended(net)
    with pytest.raises(InvalidArgument, match="must be a Network and a Trajectory"):
        sk.balancedness(net, run)
    for decay in (-0.1, np.nan, "0.1", True, 1j):
        with pytest.raises(InvalidArgument, match="weight_decay"):
            sk.balancedness(run, net, weight_decay=decay)
    bent = sk.Network.two_layer(3, 4, 2, activation="tanh")
    with pytest.raises(NoClosedForm, match="chains of two or more dense linear layers"):
        sk.balancedness(run, bent)
    two, _ = CASES["two rates"]
    with pytest.raises(NoClosedForm, match="layers of one rate"):
        sk.balancedness(descended(two), two, weight_decay=0.1)
    with pytest.raises(InvalidArgument, match=r"no 'W1' of shape \(5, 3\)"):
        sk.balancedness(run, sk.Network.two_layer(3, 5, 2))
    weights = {name: w[::2] for name, w in run.weights.items()}
    sparse = Trajectory(run.times[::2], {"weights": lambda: weights}, run.steps[::2])
    with pytest.raises(OutsideValidity, match="record all"):
        sk.balancedness(sparse, net)
    flow = Trajectory(run.times, {"weights": lambda: run.weights})
    with pytest.raises(OutsideValidity, match="step by step"):
        sk.balancedness(flow, net)


def test_settings_are_those_of_the_simulation():
    net = sk.Network.mlp([3, 4, 2], "linear")
    w0, task = sk.weights.gaussian(net, seed=1), sk.Task(X, X[:, :2])
    how = {"record": 0.05 * np.arange(21), "loss": sk.SquaredError(weight_decay=0.1)}
    sim = sk.simulate(net, task, w0, 0.05, **how)
    assert sk.balancedness(sim, net).gap == sk.balancedness(sim, net, weight_decay=0.1).gap < 1e-12
    with pytest.raises(InvalidArgument, match=r"of the simulation, 0\.1, not 0\.2"):
        sk.balancedness(sim, net, weight_decay=0.2)


def test_a_reset_is_refused():
    net = sk.Network.mlp([3, 4, 2], "linear")
    w0, task = sk.weights.gaussian(net, seed=1), sk.Task(X, X[:, :2])
    course = sk.Curriculum([sk.Phase(task, 0.5), sk.Phase(task)])
    new = {"W2": np.ones((2, 4))}
    sim = sk.simulate(net, course, w0, 0.05, record=0.05 * np.arange(21), reset=[None, new])
    with pytest.raises(OutsideValidity, match="W2 got new values at the start of phase 1"):
        sk.balancedness(sim, net)


def test_weights_that_are_zero_stay_balanced():
    net = sk.Network.two_layer(3, 4, 2)
    weights = {"W1": np.zeros((3, 4, 3)), "W2": np.zeros((3, 2, 4))}
    counts = np.arange(3)
    assert (
        sk.balancedness(Trajectory(0.1 * counts, {"weights": lambda: weights}, counts), net).gap
        == 0
    )
