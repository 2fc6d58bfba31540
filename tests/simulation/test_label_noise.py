"""Label noise and resets: steps against an oracle, statistics, attribution, wrong arguments."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import symkernel as sk
from symkernel.errors import InvalidArgument, ShapeMismatch
from symkernel.problem.label_noise import LabelNoise
from tests.oracles import numpy_sgd as oracle

FLIP, SPREAD = sk.LabelNoise(probability=0.6), sk.LabelNoise(std=0.5)
NET = sk.Network.mlp([3, 5, 4, 2], activation="relu", bias=True)
W0 = sk.weights.gaussian(NET, scale=1.3, seed=4)
NEW = {"W3": np.random.default_rng(9).normal(size=(2, 4)), "b3": np.array([0.1, -0.2])}


def decision(outputs=2, samples=12, seed=0):
    rng = np.random.default_rng(seed)
    return sk.Task(rng.normal(size=(samples, 3)), oracle.classes(samples, outputs, rng))


def course(*tasks, steps=5, rate=0.1):
    ends = [steps * rate] * (len(tasks) - 1)
    return sk.Curriculum([sk.Phase(t, e) for t, e in zip(tasks, [*ends, None], strict=True)])


# Statistics


@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_redraws_are_uniform_over_all_classes(outputs):
    """Within five standard errors; an own label comes back as often as any other."""
    count, p, classes = 200_000, 0.3, max(outputs, 2)
    Y = oracle.classes(count, outputs, np.random.default_rng(1))
    drawn = LabelNoise(p).drawn(Y, np.random.default_rng(2))
    label, was = ((q[:, 0] > 0).astype(int) if outputs == 1 else q.argmax(1) for q in (drawn, Y))
    for one in range(classes):
        own = label[was == one]
        for other in range(classes):
            wanted = p / classes + (1 - p) * (one == other)
            error = np.sqrt(wanted * (1 - wanted) / len(own))
            assert abs((own == other).mean() - wanted) < 5 * error
    allowed = (-1, 1) if outputs == 1 else (0, 1)
    assert np.isin(drawn, allowed).all()
    assert outputs == 1 or (drawn.sum(1) == 1).all()


@given(p=st.floats(0, 1, exclude_min=True), classes=st.integers(2, 6), seed=st.integers(0, 99))
@settings(max_examples=50)
def test_the_mean_is_that_of_draws(p, classes, seed):
    """Redrawn are the labels below p; and the mean of the targets over the uniform number."""
    Y = np.tile(np.eye(classes)[[0]], (20_000, 1))
    drawn = LabelNoise(p).drawn(Y, np.random.default_rng(seed))
    expected = LabelNoise(p).mean(Y[:1])[0]
    assert abs(drawn.mean(0) - expected).max() < 5 * 0.5 / np.sqrt(len(Y))
    assert expected.sum() == pytest.approx(1)


def test_gaussian_noise():
    Y = np.zeros((100_000, 2))
    drawn = LabelNoise(std=0.3).drawn(Y, np.random.default_rng(0))
    assert abs(drawn.mean(0)).max() < 5 * 0.3 / np.sqrt(len(Y))
    assert drawn.var() == pytest.approx(0.09, rel=5 * np.sqrt(1 / len(Y)))
    assert LabelNoise(std=0.3).variance(2) == pytest.approx(0.18)


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_mean_of_targets_by_hand(outputs):
    """Redrawn labels of one output are 1 and -1 alike; of several each is 1 in one of them."""
    Y = oracle.classes(6, outputs, np.random.default_rng(1))
    other = 0.0 if outputs == 1 else 1 / 3
    np.testing.assert_allclose(LabelNoise(0.3).mean(Y), 0.7 * Y + 0.3 * other, rtol=1e-15)


# Trainings


def flipped(y, stream):
    return oracle.redrawn(y, FLIP.probability, stream)


def spread(y, stream):
    return y + SPREAD.std * stream.standard_normal(len(y))


@pytest.mark.parametrize(
    ("by_class", "batch"),
    [
        (True, 3),
        pytest.param(True, None, marks=pytest.mark.slow),
        pytest.param(False, 3, marks=pytest.mark.slow),
        pytest.param(False, None, marks=pytest.mark.slow),
    ],
)
def test_every_step_follows_the_oracle(by_class, batch):
    """Noise in the second phase alone, which starts from another read-out."""
    first, then = decision(seed=1), decision(seed=2)
    if not by_class:
        then = sk.Task(then.X, then.X[:, :2])
    noise, of = (FLIP, oracle.cross_entropy) if by_class else (SPREAD, oracle.squares)
    draw = flipped if by_class else spread
    sim = sk.simulate(
        NET, course(first, then), W0, 0.1, record=0.1 * np.arange(11), batch_size=batch, seed=3,
        loss=sk.CrossEntropy() if by_class else None, label_noise=[None, noise], reset=[None, NEW],
    )  # fmt: skip
    phases = [(first.X, first.Y, 5, None, {}), (then.X, then.Y, 5, draw, NEW)]
    path = oracle.train(NET, W0.arrays, phases, 0.1, batch, 3, of)
    for k, weights in enumerate(path):
        for name, wanted in weights.items():
            np.testing.assert_allclose(sim.weights[name][k], wanted, rtol=1e-12, atol=1e-12)
    # The recorded loss is the mean over draws, and the other one that on the labels as given.
    how = then.X, noise.mean(then.Y), {}, of
    wanted = oracle.loss(NET, path[-1], *how) + noise.variance(2) / 2
    assert sim.loss[-1] == pytest.approx(wanted, rel=1e-12)
    clean = oracle.loss(NET, path[-1], then.X, then.Y, {}, of)
    assert sim.task_losses[-1, 1] == pytest.approx(clean, rel=1e-12)


def test_the_order_of_samples_is_the_same_with_noise():
    """With noise on one phase, the next one sees the batches that it sees without."""
    tasks, how = course(decision(seed=1), decision(seed=2)), {"loss": sk.CrossEntropy()}
    weak = sk.LabelNoise(probability=1e-9)
    sims = [
        sk.simulate(NET, tasks, W0, 0.1, steps=10, batch_size=3, label_noise=noise, **how)
        for noise in (None, weak, [weak, None])
    ]
    for sim in sims[1:]:
        for name, values in sims[0].weights.items():
            assert np.array_equal(values, sim.weights[name])


def test_a_task_that_comes_again_without_noise_is_descended_without():
    """The program of its first phase, which knows the noise, is not kept."""
    one, other = decision(seed=1), decision(seed=2)
    how = {"loss": sk.CrossEntropy(), "batch_size": 3}
    sim = sk.simulate(
        NET, course(one, other, one), W0, 0.1, steps=15, label_noise=[FLIP, None, None], **how
    )
    np.testing.assert_allclose(sim.loss[-1], sim.task_losses[-1, 0], rtol=1e-12)
    assert sim.loss[0] != pytest.approx(sim.task_losses[0, 0], rel=1e-3)


def test_fixed_noise_is_drawn_once():
    """It is full-batch descent on corrupted labels, the same in a later phase on the task."""
    task, other = decision(samples=40, seed=1), decision(samples=40, seed=2)
    fixed = sk.LabelNoise(probability=0.6, online=False)
    how = {"loss": sk.CrossEntropy(), "seed": 5}
    sim = sk.simulate(
        NET, course(task, other, task), W0, 0.1, steps=15, label_noise=[fixed, None, fixed], **how
    )
    own = np.random.default_rng(5).spawn(3)[0]
    corrupted = np.array([flipped(y, own) for y in task.Y])
    assert 0.1 < (corrupted != task.Y).any(1).mean() < 0.5
    bad = sk.Task(task.X, corrupted)
    plain = sk.simulate(NET, course(bad, other, bad), W0, 0.1, steps=15, **how)
    np.testing.assert_array_equal(sim.loss, plain.loss)
    assert sim.task_losses[-1, 0] != pytest.approx(plain.task_losses[-1, 0], rel=1e-3)
    batched = [
        sk.simulate(NET, t, W0, 0.1, steps=9, batch_size=3, label_noise=n, **how)
        for t, n in ((task, fixed), (bad, None))
    ]
    np.testing.assert_array_equal(batched[0].loss, batched[1].loss)


@pytest.mark.parametrize("batch", [pytest.param(None, marks=pytest.mark.slow), 3])
def test_members_are_single_runs_to_the_last_bit_for_any_threads(batch):
    w0 = [sk.weights.gaussian(NET, seed=k) for k in range(3)]
    own = np.stack([w.arrays["W3"] for w in w0])[::-1]
    tasks = course(decision(seed=1), decision(seed=2))
    how = {"steps": 10, "batch_size": batch, "loss": sk.CrossEntropy(), "label_noise": FLIP}
    reset, seeds = [None, {"W3": own}], [7, 8, 9]
    sims = sk.simulate_ensemble(NET, tasks, w0, 0.1, **how, seeds=seeds, reset=reset)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        again = sk.simulate_ensemble(NET, tasks, w0, 0.1, **how, seeds=seeds, reset=reset)
    finally:
        numba.set_num_threads(threads)
    for k, start in enumerate(w0):
        mine = [None, {"W3": own[k]}]
        alone = sk.simulate(NET, tasks, start, 0.1, **how, seed=seeds[k], reset=mine)
        for name, values in alone.weights.items():
            assert np.array_equal(values, sims[k].weights[name])
            assert np.array_equal(values, again[k].weights[name])
    assert not np.array_equal(sims[0].weights["W1"][-1], sims[1].weights["W1"][-1])


# Attribution


@pytest.mark.parametrize(
    ("online", "batch", "by"),
    [
        (True, None, "phase"),
        pytest.param(True, 3, "sample", marks=pytest.mark.slow),
        pytest.param(False, 3, "sample", marks=pytest.mark.slow),
        pytest.param(False, None, "sample", marks=pytest.mark.slow),
    ],
)
def test_contributions_sum_to_the_movement(online, batch, by):
    net = sk.Network.mlp([3, 4, 2], activation="relu", bias=True)
    w0 = sk.weights.gaussian(net, scale=1.3, seed=4)
    new = {"W2": NEW["W3"], "b2": NEW["b3"]}
    first, then = decision(seed=1), decision(seed=2)
    noise = sk.LabelNoise(probability=0.6, online=online)
    sim = sk.simulate(
        net, course(first, then), w0, 0.1, steps=40, attribute=by, batch_size=batch, seed=2,
        loss=sk.CrossEntropy(weight_decay=0.01), label_noise=[None, noise], reset=[None, new],
    )  # fmt: skip
    for name in ("hidden", "output"):
        found = sim.attribution(node=name)
        assert found.labels[-2:] == ("reset", "decay")
        assert found.residual < 1e-12
        assert abs(found.movement[-1]).max() > 0.1
    moved = sim.attribution(node="output").contributions[..., -2]
    after = sim.times > 0.5 + 1e-9
    assert not moved[~after].any()
    assert abs(moved[after]).max() > 0.1
    # A new read-out moves no hidden unit.
    assert not sim.attribution(node="hidden").contributions[..., -2].any()
    plain = sk.simulate(
        net, course(first, then), w0, 0.1, steps=40, batch_size=batch, seed=2,
        loss=sk.CrossEntropy(weight_decay=0.01), label_noise=[None, noise], reset=[None, new],
    )  # fmt: skip
    for name, values in plain.weights.items():
        np.testing.assert_allclose(sim.weights[name], values, rtol=1e-10, atol=1e-11)


def test_a_reset_of_a_scaled_parameter_takes_the_value_as_it_is():
    net = sk.Network.mlp([3, 5, 2], activation="tanh", bias=True, parameterisation="ntk")
    w0, new = sk.weights.gaussian(net, seed=1), {"W2": np.ones((2, 5))}
    tasks = course(decision(seed=1), decision(seed=2), rate=1e-9)
    sim = sk.simulate(net, tasks, w0, 1e-9, steps=8, reset=[None, new])
    np.testing.assert_allclose(sim.weights["W2"][-1], new["W2"], rtol=1e-6)
    assert "new values of W2 at the start of phase 1 (the first is 0)" in sim.conventions


def test_conventions_name_the_noise():
    sim = sk.simulate(NET, decision(), W0, 0.1, steps=1, loss=sk.CrossEntropy(), label_noise=FLIP)
    assert any("label noise: with probability 0.6 redrawn uniformly" in q for q in sim.conventions)


# Wrong arguments


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "Exactly one"),
        ({"probability": 0.1, "std": 0.1}, "Exactly one"),
        ({"probability": 0}, "probability"),
        ({"probability": 1.5}, r"in \(0, 1\]"),
        ({"probability": float("nan")}, "probability"),
        ({"probability": True}, "probability"),
        ({"probability": "0.2"}, "probability"),
        ({"std": 0}, "std"),
        ({"std": -1}, "std"),
        ({"std": float("inf")}, "std"),
        ({"std": 1j}, "std"),
        ({"std": 1e200}, "finite square"),
        ({"std": 0.1, "online": 1}, "online"),
    ],
)
def test_noise_that_is_none(arguments, words):
    with pytest.raises(InvalidArgument, match=words):
        sk.LabelNoise(**arguments)


@pytest.mark.parametrize("online", [True, False])
def test_truth_of_numpy_is_truth(online):
    noise = sk.LabelNoise(std=0.1, online=np.bool_(online))
    assert noise.online is online
    assert noise == sk.LabelNoise(std=0.1, online=online)


BY_CLASS = {"loss": sk.CrossEntropy()}


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({**BY_CLASS, "label_noise": SPREAD}, InvalidArgument, "probability, with CrossEntropy"),
        ({"label_noise": FLIP}, InvalidArgument, "std.*with SquaredError"),
        ({**BY_CLASS, "label_noise": [FLIP]}, ShapeMismatch, "each of the 2 phases, not 1"),
        ({**BY_CLASS, "label_noise": 0.2}, InvalidArgument, "must be a LabelNoise"),
        ({**BY_CLASS, "label_noise": [FLIP, 0.2]}, InvalidArgument, "must be a LabelNoise"),
        ({"reset": [None]}, ShapeMismatch, "each of the 2 phases, not 1"),
        ({"reset": NEW}, InvalidArgument, "must be a list"),
        ({"reset": [NEW, None]}, InvalidArgument, "None for the first phase"),
        ({"reset": [NEW["W3"], None]}, InvalidArgument, "None for the first phase"),
        ({"reset": [None, 3]}, InvalidArgument, "None or a mapping"),
        ({"reset": [None, {"W9": NEW["W3"]}]}, InvalidArgument, "must name parameters.*'W9'"),
        ({"reset": [None, {"W3": np.ones((4, 2))}]}, ShapeMismatch, r"shape \(2, 4\)"),
        ({"reset": [None, {"W3": np.full((2, 4), np.nan)}]}, InvalidArgument, "finite"),
        ({"reset": [None, {"W3": 1j * NEW["W3"]}]}, InvalidArgument, "complex"),
        ({"reset": [None, {"W3": None}]}, InvalidArgument, "missing"),
        ({"reset": [None, {"b3": "no"}]}, InvalidArgument, "real numbers"),
    ],
)
def test_arguments_that_cannot_be(arguments, error, words):
    with pytest.raises(error, match=words):
        sk.simulate(NET, course(decision(seed=1), decision(seed=2)), W0, 0.1, steps=8, **arguments)


def test_resets_of_members_have_their_shape():
    tasks, values = course(decision(seed=1), decision(seed=2)), np.ones((3, 2, 4))
    with pytest.raises(ShapeMismatch, match=r"shape \(2, 2, 4\)"):
        sk.simulate_ensemble(NET, tasks, [W0, W0], 0.1, steps=8, reset=[None, {"W3": values}])


def test_noise_on_fresh_samples_is_the_teachers():
    teacher = sk.Network.two_layer(3, 2, 2)
    task = sk.Task.from_teacher(teacher, sk.weights.gaussian(teacher))
    with pytest.raises(InvalidArgument, match="from_teacher"):
        sk.simulate(NET, task, W0, 0.1, steps=8, batch_size=2, label_noise=SPREAD)


def test_noise_on_moments_is_refused():
    net = sk.Network.mlp([3, 2])
    with pytest.raises(InvalidArgument, match="redrawn sample by sample"):
        sk.simulate(
            net, decision(), sk.weights.gaussian(net), 0.1, steps=8, on="moments",
            label_noise=SPREAD,
        )  # fmt: skip


@pytest.mark.parametrize("label", ["reset", "decay"])
def test_labels_of_what_has_no_sample_are_refused(label):
    with pytest.raises(InvalidArgument, match=f"must not use the label '{label}'"):
        sk.simulate(NET, decision(), W0, 0.1, steps=8, attribute=[label] * 12)
