"""What the pruning clock refuses, and what it says where there is none."""

from __future__ import annotations

import numpy as np
import pytest

import symkernel as sk
from symkernel.errors import InvalidArgument, NoClosedForm, OutsideValidity, SymkernelError
from symkernel.trajectory import Trajectory
from tests.oracles.noisy_descent import run_of

NET = sk.Network.two_layer(inputs=2, hidden=2, outputs=1)
START = np.eye(2), np.array([[1.0, 0.0]])
RIGHT = sk.weights.from_arrays(NET, list(START))
ONLINE = sk.Task.from_teacher(NET, RIGHT, noise=1.0)
STREAM = np.random.default_rng(1000)


def small():
    X = STREAM.normal(size=(6, 2))
    steps = np.array([0, 3])
    layers = np.repeat(START[0][None, None], 2, 0), np.repeat(START[1][None, None], 2, 0)
    return run_of(*layers, X, 0.1, steps, 0), sk.Task(X, X[:, :1])


PATH, TASK = small()
BAD = {
    "trajectory": [None, {"W1": START[0]}],
    "net": [None, sk.Network.two_layer(2, 3, 1), sk.Network.two_layer(3, 2, 1)],
    "task": [None, sk.Task(np.eye(2), np.eye(2)), sk.Task(np.eye(2), np.eye(2)[:, :1])],
    "irrelevant": [None, -1, 2, True, 0.5, "1", [1.0], [0.0, 0.0], [np.nan, 1], [1j, 0], []],
    "batch_size": [0, -1, 1.5, True, "2", 7],
    "loss": ["squared", 0.5, sk.SquaredError(weight_decay=0.1), sk.CrossEntropy(weight_decay=1)],
    "label_noise": [0.1, True, sk.LabelNoise(probability=0.1), sk.LabelNoise(std=1, online=False)],
    "noise": [0, -1, np.nan, np.inf, True, "1", 1j],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in BAD.items() for v in vs], ids=str)
def test_bad_arguments_are_refused(name, value):
    given = {"trajectory": PATH, "net": NET, "task": TASK, "irrelevant": 1, "batch_size": 2}
    with pytest.raises(SymkernelError, match=r"'|must|decay|network has"):
        sk.pruning_clock(**(given | {name: value}))


def test_what_has_no_clock_or_no_closed_form_is_said():
    flow = Trajectory(PATH.times, {"weights": lambda: PATH.weights})
    with pytest.raises(OutsideValidity, match="counts steps"):
        sk.pruning_clock(flow, NET, TASK, irrelevant=1)
    found = sk.pruning_clock(PATH, NET, TASK, irrelevant=1, batch_size=2)
    with pytest.raises(OutsideValidity, match="needs label noise"):
        _ = found.closed_form
    with pytest.raises(InvalidArgument, match="'noise' must be given"):
        _ = found.information
    with pytest.raises(SymkernelError, match="fresh samples is for the squared error"):
        sk.pruning_clock(PATH, NET, ONLINE, irrelevant=1, loss=lambda f, y: y - f)
    how = {"loss": lambda f, y: y - f, "label_noise": sk.LabelNoise(std=0.1)}
    with pytest.raises(InvalidArgument, match="a loss that is a function"):
        sk.pruning_clock(PATH, NET, TASK, irrelevant=1, **how)
    phases = Trajectory(
        PATH.times, PATH.fields | {"task_losses": lambda: np.ones((2, 2))}, PATH.steps
    )
    with pytest.raises(InvalidArgument, match="must be of one phase"):
        sk.pruning_clock(phases, NET, TASK, irrelevant=1)
    own = sk.pruning_clock(PATH, NET, TASK, irrelevant=1, loss=lambda f, y: y - f)
    with pytest.raises(InvalidArgument, match="can be simulated"):
        sk.check(own)
    bent = sk.Network.two_layer(2, 2, 1, activation="tanh")
    other = sk.pruning_clock(PATH, bent, TASK, irrelevant=1)
    assert "an indication" in repr(other)
    assert "an indication" in str(other.check())
    with pytest.raises(OutsideValidity, match="the clock alone is known"):
        _ = other.kept
    with pytest.raises(OutsideValidity, match="two linear layers"):
        sk.check(other)


# --- settings of a simulation ---------------------------------------------------------------------

NOISY = sk.LabelNoise(std=0.4)
HOW = {"batch_size": 2, "label_noise": NOISY, "loss": sk.SquaredError(0.8)}


def simulated(**how):
    return sk.simulate(NET, TASK, RIGHT, 0.05, **({"steps": 20, "seed": 1} | HOW | how))


def test_settings_are_those_of_the_simulation():
    found = sk.pruning_clock(simulated(), NET, TASK, irrelevant=1)
    given = sk.pruning_clock(simulated(), NET, TASK, irrelevant=1, **HOW)
    bare = Trajectory(
        found.times, {k: lambda k=k: getattr(found.trajectory, k) for k in ("weights", "outputs")},
        found.steps,
    )  # fmt: skip
    by_hand = sk.pruning_clock(bare, NET, TASK, irrelevant=1, **HOW)
    assert found.clock[-1] == given.clock[-1] == by_hand.clock[-1] > 0
    assert found.closed_form[-1] == by_hand.closed_form[-1] > 0
    half = sk.simulate(NET, TASK, RIGHT, 0.05, steps=3, loss=sk.SquaredError(0.5))
    assert not sk.pruning_clock(half, NET, TASK, irrelevant=1, loss=sk.SquaredError()).clock.any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 3},
        {"label_noise": sk.LabelNoise(std=0.5)},
        {"loss": sk.SquaredError()},
        {"loss": lambda f, y: y - f},
    ],
    ids=["batch size", "label noise", "loss", "loss of the user's own"],
)
def test_other_settings_than_the_simulations_are_refused(wrong):
    (name,) = wrong
    words = f"'{name}' must be that of the simulation|a loss that is a function"
    with pytest.raises(InvalidArgument, match=words):
        sk.pruning_clock(simulated(), NET, TASK, irrelevant=1, **HOW | wrong)
    plain = sk.simulate(NET, TASK, RIGHT, 0.05, steps=3)
    for given in ({"batch_size": 2}, {"label_noise": NOISY}):
        with pytest.raises(InvalidArgument, match="must be that of the simulation, None"):
            sk.pruning_clock(plain, NET, TASK, irrelevant=1, **given)


def test_a_simulation_that_has_no_clock_is_refused_by_what_it_knows():
    decayed = simulated(loss=sk.SquaredError(0.5, weight_decay=0.1))
    with pytest.raises(NoClosedForm, match="without weight decay"):
        sk.pruning_clock(decayed, NET, TASK, irrelevant=1)
    once = simulated(label_noise=sk.LabelNoise(std=0.4, online=False))
    with pytest.raises(InvalidArgument, match="corrupted once belong to the task"):
        sk.pruning_clock(once, NET, TASK, irrelevant=1)


def test_where_nothing_is_measured_the_check_does_not_pass():
    sim = sk.simulate(NET, ONLINE, RIGHT, 0.1, record=[0, 56, 119], batch_size=1, seed=1000)
    report = sk.pruning_clock(sim, NET, ONLINE, irrelevant=1).check()
    assert not report.passed
    assert "nothing is measured" in report.rungs[-1].figure
    assert "record earlier" in report.rungs[-1].figure


def test_full_batches_of_fresh_samples_prune_nothing():
    sim = sk.simulate(NET, ONLINE, RIGHT, 0.1, steps=30)
    found = sk.pruning_clock(sim, NET, ONLINE, irrelevant=1)
    with pytest.raises(OutsideValidity, match="nothing prunes"):
        _ = found.closed_form
    with pytest.raises(OutsideValidity, match="X stays 0"):
        sk.check(found)
