"""Numbers of the pruning clock and of its check, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel import ladder_pruning
from symkernel.ladder_pruning import Trial
from symkernel.trajectory import Trajectory

NET = sk.Network.mlp([2, 2, 2], "linear", parameterisation="ntk", rates=[sp.Rational(1, 3), 2])
SCALES = [float(p.scale) for p in NET.parameters]
W1, W2 = np.array([[1.0, 0.0], [0.0, 0.7]]), np.array([[0.8, 0.0], [-0.5, 0.0]])
MAP = SCALES[0] * SCALES[1] * W2 @ W1
LOSS, SIGMA = sk.SquaredError(0.8), 0.4
# A step's factors: the rates of both layers, squared scales, and twice the factor of the loss.
PACE = 1 / 3 * 2 * SCALES[0] ** 2 * SCALES[1] ** 2 * 1.6**2
STEPS = np.array([3, 10, 25])


def still(X=None, first=W1, second=W2):
    """A path on which nothing moves, at a rate of 0.1."""
    weights = {"W1": np.array([first] * 3), "W2": np.array([second] * 3)}
    fields = {"weights": lambda: weights, "end_to_end": lambda: np.array([MAP] * 3)}
    if X is not None:
        fields["outputs"] = lambda: np.array([X @ MAP.T] * 3)
    return Trajectory(0.1 * STEPS, fields, STEPS)


def fresh(variance=2.5):
    one = sk.Network.mlp([2, 2])
    teacher = sk.weights.from_arrays(one, [MAP])
    return sk.Task.from_teacher(one, teacher, noise=SIGMA, covariance=np.diag([1.0, variance]))


def test_the_closed_form_on_fresh_samples():
    """Factor, rates, scales, both outputs, variance and batch; the right map adds no more."""
    found = sk.pruning_clock(still(), NET, fresh(), irrelevant=1, batch_size=3, loss=LOSS)
    wanted = 0.1**2 * PACE * 2 * SIGMA**2 * 2.5 / 3 * (STEPS - 3)
    np.testing.assert_allclose(found.closed_form, wanted, rtol=1e-12)
    np.testing.assert_allclose(found.clock, wanted, rtol=1e-12)


@pytest.mark.parametrize("batch", [2, None])
def test_the_closed_form_on_a_set_of_which_the_input_has_a_mean(batch):
    X = np.array([[1.0, 2.0], [0.5, 3.0], [-1.0, 1.5], [0.2, 2.5], [0.0, -0.5]])
    task = sk.Task(X, X @ MAP.T)
    how = {"batch_size": batch, "loss": LOSS, "label_noise": sk.LabelNoise(std=SIGMA)}
    found = sk.pruning_clock(still(X), NET, task, irrelevant=1, noise=0.3, **how)
    mean = (X[:, 1] ** 2).mean()
    assert found.variance == pytest.approx(mean, rel=1e-12)
    wanted = 0.1**2 * PACE * 2 * SIGMA**2 * mean / (batch or 5) * (STEPS - 3)
    np.testing.assert_allclose(found.closed_form, wanted, rtol=1e-12)
    np.testing.assert_allclose(found.clock, wanted, rtol=1e-12)


def test_information_measured_and_predicted():
    found = sk.pruning_clock(still(), NET, fresh(), irrelevant=1, batch_size=3, noise=0.3)
    kept = (SCALES[0] * 0.7) ** 2
    np.testing.assert_allclose(found.kept, kept, rtol=1e-12)
    np.testing.assert_allclose(found.information, np.log2(1 + 2.5 * kept / 0.09) / 2, rtol=1e-12)
    left = 2.5 * kept * np.exp(-found.clock) / 0.09
    np.testing.assert_allclose(found.predicted, np.log2(1 + left) / 2, rtol=1e-12)
    assert found.predicted[-1] < found.information[-1]


@pytest.mark.parametrize(("share", "words"), [(0.8, "took 80% of the direction"), (0.0, "")])
def test_the_share_that_the_readout_took(share, words):
    second = np.array([[(1 - share**2) ** 0.5, share], [0.0, 0.0]])
    found = sk.pruning_clock(still(second=second), NET, fresh(), irrelevant=1, batch_size=3)
    assert found.readout_share == pytest.approx(share, abs=1e-15)
    figure = found.check().rungs[-1].figure
    assert words in figure
    assert ("the readout took" in figure) == bool(words)


# --- the check ------------------------------------------------------------------------------------


def checked(monkeypatch, limit, slope, rate=0.1):
    """The rung of the rate, of runs that measure the limit plus the slope times the rate."""
    clock = sk.pruning_clock(still(), NET, fresh(), irrelevant=1, batch_size=3, loss=LOSS)

    def trial(_clock, part, _seed):
        return Trial(part * rate, part, limit + slope * part * rate)

    monkeypatch.setattr(ladder_pruning, "trial", trial)
    rung = ladder_pruning.check_pruning(clock).rungs[-1]
    return rung.passed, len(rung.figure.split(";")[0].split(","))


@pytest.mark.parametrize(
    ("limit", "slope", "wanted"),
    [
        (1.0, 1.0, (True, 3)),  # two halvings do
        (0.98, 3.0, (True, 4)),  # a rate of 0.1 needs another
        (1.0, 6.0, (True, 5)),
        (1.0, 40.0, (False, 6)),  # and there are five at most
        (1.2, 3.0, (False, 4)),  # what no rate mends
        (0.9, 3.0, (False, 4)),  # right at the smallest by accident, wrong at 0
    ],
)
def test_rates_are_halved_until_their_excess_is_small(monkeypatch, limit, slope, wanted):
    assert checked(monkeypatch, limit, slope) == wanted


@pytest.mark.slow
def test_a_right_clock_of_large_steps_passes():
    """At a rate of 0.1 two halvings leave an excess of 7 %."""
    net = sk.Network.two_layer(inputs=2, hidden=2, outputs=1)
    right = sk.weights.from_arrays(net, [np.eye(2), [[1.0, 0.0]]])
    task = sk.Task.from_teacher(net, right, noise=1.0)
    sim = sk.simulate(net, task, right, 0.1, steps=200, batch_size=1, seed=1000)
    report = sk.check(sk.pruning_clock(sim, net, task, irrelevant=1, noise=0.1**0.5))
    assert report.passed, report
