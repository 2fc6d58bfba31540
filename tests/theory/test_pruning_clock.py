"""How the noise of descent removes what is not read out."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel.errors import InvalidArgument, OutsideValidity
from symkernel.theory import pruning_steps as theory
from symkernel.theory.pruning_gradients import error_moments, fresh_square, sampled_square
from symkernel.theory.words import Words
from symkernel.trajectory import Trajectory
from tests.oracles.noisy_descent import drawn, fresh, run_of, two_layers

NET = sk.Network.two_layer(inputs=2, hidden=2, outputs=1)
START = np.eye(2), np.array([[1.0, 0.0]])
RIGHT = sk.weights.from_arrays(NET, list(START))
ONLINE = sk.Task.from_teacher(NET, RIGHT, noise=1.0)
NOISE = 0.1**0.5
LOGISTIC = sk.CrossEntropy()


def test_steps_are_checked_and_printed():
    found = sk.noise.pruning_formula()
    for step in found.steps:
        evidence = step.check()
        assert evidence.passed, evidence.figure
        assert step.latex()
    assert r"\text{where}\quad X" in found.latex()


@pytest.mark.parametrize(
    ("check", "claims"),
    [
        ("direction", [Words.of("n'", "W_1", "G'", "G", "W_1'", "n", coefficient=sp.Integer(2))]),
        ("batch", [lambda batch, single, mean: single / batch]),
        ("clock", [sp.exp(-2 * theory.SHARE)]),
        ("labels", [theory.gaussian_square, 2 * theory.manifold_clock()]),
        ("labels", [lambda D, H, s, B: theory.gaussian_square(D, H, s, 2 * B), theory.SHARE]),
        ("bits", [sp.log(1 + theory.FIRST * sp.exp(-theory.CLOCK)) / 2]),
    ],
)
def test_checks_of_steps_can_fail(check, claims):
    assert not getattr(theory, f"check_{check}")(*claims).passed


# --- the gradient's mean square -------------------------------------------------------------------


def softmax_error(outputs, targets):
    shares = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
    return targets - shares


def logistic_error(outputs, targets):
    return targets / (1 + np.exp(targets * outputs))


STREAM = np.random.default_rng(1000)


def classes(count):
    if count == 1:
        return np.array([[1.0], [-1.0], [-1.0], [1.0]]), (np.array([1.0]), np.array([-1.0]))
    return sk.one_hot([0, 2, 1, 2]), tuple(np.eye(count))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("batch", [1, 2, None])
def test_every_batch_and_every_label_of_a_small_set(count, batch):
    """Exactly: all batches of different samples, and all redrawn labels with their chances."""
    outputs, (targets, labels) = STREAM.normal(size=(4, count)), classes(count)
    z, p = STREAM.normal(size=4), 0.3
    error = logistic_error if count == 1 else softmax_error
    task = sk.Task(STREAM.normal(size=(4, 2)), targets)
    size, total, weight = batch or 4, 0.0, 0.0
    for chosen in combinations(range(4), size):
        for redrawn in product([None, *labels], repeat=size):
            chance, G = 1.0, 0.0
            for k, label in zip(chosen, redrawn, strict=True):
                chance *= 1 - p if label is None else p / len(labels)
                G = G + z[k] * error(outputs[k], targets[k] if label is None else label) / size
            total, weight = total + chance * (G**2).sum(), weight + chance
    noise = sk.LabelNoise(probability=p)
    found = sampled_square(LOGISTIC, noise, task, z, batch)(outputs)
    assert found == pytest.approx(total / weight, rel=1e-12)


def test_gaussian_labels_and_losses_of_ones_own():
    outputs, targets = STREAM.normal(size=(2, 5, 2))
    noise = sk.LabelNoise(std=0.7)
    mean, square = error_moments(sk.SquaredError(0.8), noise, outputs, targets)
    assert np.allclose(mean, 1.6 * (targets - outputs))
    assert np.allclose(square, (mean**2).sum(1) + 2 * (1.6 * 0.7) ** 2)
    own, squares = error_moments(softmax_error, None, outputs, targets)
    assert np.allclose(own, softmax_error(outputs, targets))
    assert np.allclose(squares, (own**2).sum(1))
    with pytest.raises(InvalidArgument, match=r"minus the gradient .* \(5, 2\), not \(5, 1\)"):
        error_moments(lambda f, y: (y - f)[:, :1], None, outputs, targets)
    extreme = np.array([[800.0], [-800.0]])
    mean, square = error_moments(LOGISTIC, None, extreme, np.ones((2, 1)))
    assert np.allclose(mean[:, 0], [0, 1])
    assert np.allclose(square, [0, 1])


def test_fresh_samples_against_a_million_of_them():
    mixing, teacher = np.array([[1.0, 0], [0.6, 0.8]]), np.array([[1.0, -0.4], [0.3, 0.2]])
    net = sk.Network.mlp([2, 2])
    task = sk.Task.from_teacher(net, sk.weights.from_arrays(net, [teacher]), 0.5, mixing @ mixing.T)
    present, direction = np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([0.6, 0.8])
    runs = 300_000
    X, Y = fresh(mixing, teacher, 0.5, runs, 3)(np.random.default_rng(1000))
    G = (Y - X @ present.T).swapaxes(1, 2) @ X / 3
    squares = ((1.4 * G @ direction) ** 2).sum(1)
    found = fresh_square(0.7, task, direction, 3)(present)
    assert abs(squares.mean() - found) < 4 * squares.std() / runs**0.5


def test_one_step_is_exact_with_rates_scales_and_factors():
    """The mean over all batches, where the readout ignores the direction and it holds z alone."""
    net = sk.Network.mlp([2, 2, 2], "linear", parameterisation="ntk", rates=[sp.Rational(1, 3), 2])
    W1, W2 = np.array([[1.0, 0], [0, 0.7]]), np.array([[0.8, 0], [-0.5, 0]])
    X, Y = STREAM.normal(size=(4, 2)), STREAM.normal(size=(4, 2))
    task, loss, rate = sk.Task(X, Y), sk.SquaredError(0.8), 0.3
    (s1, r1), (s2, r2) = ((float(p.scale), float(p.rate)) for p in net.parameters)
    left = []
    for chosen in combinations(range(4), 2):
        rows = list(chosen)
        G = 1.6 * (Y - s1 * s2 * X @ (W2 @ W1).T)[rows].T @ X[rows] / 2
        after = W1 + rate * r1 * s1 * s2 * W2.T @ G, W2 + rate * r2 * s1 * s2 * G @ W1.T
        weights = {"W1": np.array([W1, after[0]]), "W2": np.array([W2, after[1]])}
        outputs = s1 * s2 * X @ (weights["W2"] @ weights["W1"]).swapaxes(1, 2)
        fields = {"weights": lambda w=weights: w, "outputs": lambda f=outputs: f}
        path = Trajectory(np.array([0, rate]), fields, np.array([0, 1]))
        found = sk.pruning_clock(path, net, task, irrelevant=1, batch_size=2, loss=loss)
        left.append(found.imbalance[1] / found.imbalance[0])
    assert 0.01 < found.clock[1] == found.rates[0]
    assert np.mean(left) == pytest.approx(1 - found.rates[0], rel=1e-12)


# --- trajectories ---------------------------------------------------------------------------------


def online(rate=0.05, batch=1, runs=40, records=33, X=2.0, s=1.0):
    """Label noise alone, from weights that are right, beside an input of variance s."""
    steps = np.linspace(0, X * batch / rate**2 / s, records).round().astype(int)
    mixing = np.diag([1, s**0.5])
    layers = two_layers(fresh(mixing, START[1], 1.0, runs, batch), START, rate, steps)
    task = sk.Task.from_teacher(NET, RIGHT, noise=1.0, covariance=mixing**2)
    how = {"irrelevant": 1, "batch_size": batch, "noise": NOISE}
    paths = (run_of(*layers, None, rate, steps, k) for k in range(runs))
    return [sk.pruning_clock(path, NET, task, **how) for path in paths]


def test_label_noise_prunes_by_the_clock():
    clocks = online()
    first = clocks[0]
    assert np.allclose(first.closed_form, 0.05**2 * first.steps)
    half = len(first.times) // 2
    X = np.mean([c.clock for c in clocks], 0)
    fell = -np.log(np.mean([c.imbalance for c in clocks], 0))
    assert fell[half] == pytest.approx(X[half], rel=0.06)
    # The closed form leaves out what the noise does to the map: by the order of the learning rate.
    assert 1.05 < fell[half] / first.closed_form[half] < 1.3
    start = 0.5 * np.log2(1 + 1 / 0.1)
    assert first.information[0] == first.predicted[0] == pytest.approx(start)
    gap = np.mean([c.information for c in clocks], 0) - first.predicted_in_closed_form
    assert 0.01 < np.abs(gap).max() < 0.15


def test_the_clock_between_records():
    """Every step and every tenth agree; the sum over every step is that of its rates."""
    steps = np.arange(401)
    layers = two_layers(fresh(np.eye(2), START[1], 1.0, 1, 1), START, 0.02, steps)
    whole = run_of(*layers, None, 0.02, steps, 0)
    few = run_of(layers[0][::10], layers[1][::10], None, 0.02, steps[::10], 0)
    one, other = (
        sk.pruning_clock(path, NET, ONLINE, irrelevant=1, batch_size=1) for path in (whole, few)
    )
    assert one.clock[-1] == pytest.approx(one.rates[:-1].sum(), rel=1e-12)
    assert other.clock[-1] == pytest.approx(one.clock[-1], rel=0.01)


def test_validity_is_in_the_result():
    late = online(rate=0.1, runs=1, X=4.0)[0]
    assert late.is_valid[0]
    assert not late.is_valid[-1]
    assert f"of which {late.is_valid.sum()} up to X = 2" in repr(late)
    report = late.check()
    assert report.passed
    assert report.rungs[-1].measured
    assert "up to X = 2" in str(report)
    assert late.latex() == sk.noise.pruning_formula().latex()


def classified(z, x, rate, batch, time, flips=None, runs=12):
    """Two classes by the sign of x, beside an input z that does not matter: clock and truth."""
    X, Y = np.stack([x, z], 1), np.sign(x)[:, None]
    task = sk.Task(X, Y)
    steps = np.unique(np.geomspace(1, time / rate, 40).astype(int)) - 1
    noise = None if flips is None else sk.LabelNoise(probability=flips)
    stream = np.random.default_rng(5)

    def error(targets, outputs):
        if flips is not None:
            new = stream.choice([-1.0, 1.0], targets.shape)
            targets = np.where(stream.random(targets.shape) < flips, new, targets)
        return logistic_error(outputs, targets)

    layers = two_layers(drawn(X, Y, 0.0, runs, batch, True), START, rate, steps, error)
    clocks, naive = [], []
    for k in range(runs):
        path = run_of(*layers, X, rate, steps, k)
        clocks.append(
            sk.pruning_clock(
                path, NET, task, irrelevant=1, batch_size=batch, loss=LOGISTIC, label_noise=noise
            )
        )
        second = [error_moments(LOGISTIC, noise, f, Y)[1].mean() for f in path.outputs]
        naive.append(np.trapezoid(second, steps) * rate**2 / batch * (z**2).mean())
    kept = np.mean([c.imbalance[-1] for c in clocks]) / clocks[0].imbalance[0]
    return np.mean([c.clock[-1] for c in clocks]), -np.log(kept), np.mean(naive), clocks[0]


def test_trap_errors_may_sit_where_the_irrelevant_input_is_small():
    """The mean of e^2 z^2 is right, that of e^2 times that of z^2 is not."""
    stream = np.random.default_rng(1000)
    x = stream.standard_normal(600)
    z = np.abs(x) * stream.choice([-1, 1], 600)
    clock, measured, naive, found = classified(z, x, 0.2, 4, 80.0)
    assert measured == pytest.approx(clock, rel=0.15)
    assert naive > 5 * measured
    with pytest.raises(OutsideValidity, match="for squared error"):
        _ = found.closed_form


# The numbers of the information study: what label noise removes, and what it does not.
@pytest.mark.slow
def test_label_noise_over_learning_rates():
    """Errors fall with slope 1, the measured rate comes to 5 % of the law, and to it at rate 0."""
    sim = sk.simulate(NET, ONLINE, RIGHT, 0.05, steps=800, batch_size=1, seed=1000)
    clock = sk.pruning_clock(sim, NET, ONLINE, irrelevant=1, batch_size=1, noise=NOISE)
    report = sk.check(clock)
    assert report.passed, report
    assert "slope" in report.rungs[-2].figure
    assert "at learning rate 0" in report.rungs[-1].figure


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "batch", "s", "ratio"),
    [(0.1, 1, 1, 1.285), (0.05, 1, 1, 1.152), (0.025, 1, 1, 1.073), (0.0125, 1, 1, 1.042)],
)
def test_measured_over_predicted_rates_of_the_study(rate, batch, s, ratio):
    clocks = online(rate, batch, runs=200)
    half = len(clocks[0].times) // 2
    fell = -np.log(np.mean([c.imbalance[half] for c in clocks]))
    assert fell / clocks[0].closed_form[half] == pytest.approx(ratio, abs=0.03)
    X = np.mean([c.clock[half] for c in clocks])
    assert fell / X == pytest.approx(1, abs=15 * rate**2 + 0.01)


@pytest.mark.slow
def test_errors_of_the_information_over_batches_and_variances():
    """No larger than those of the study, and of the first order in the learning rate."""
    known = {
        (0.1, 1, 1): 0.32, (0.05, 1, 1): 0.12, (0.025, 1, 1): 0.060, (0.0125, 1, 1): 0.034,
        (0.1, 4, 1): 0.10, (0.05, 2, 1): 0.076, (0.05, 1, 0.5): 0.059,
    }  # fmt: skip
    found = {}
    for case, theirs in known.items():
        rate, batch, s = case
        clocks = online(rate, batch, runs=200, s=s)
        told = clocks[0].predicted_in_closed_form
        found[case] = np.abs(np.mean([c.information for c in clocks], 0) - told).max()
        assert 0.1 * theirs < found[case] < theirs
    sizes = [0.1, 0.05, 0.025, 0.0125]
    slope = np.polyfit(np.log(sizes), np.log([found[rate, 1, 1] for rate in sizes]), 1)[0]
    assert slope == pytest.approx(1, abs=0.3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "batch", "bits"),
    [(0.02, 1, (0.849, 0.610, 0.290)), (0.02, 4, (0.864, 0.628, 0.296))],
)
def test_label_noise_after_a_curriculum(rate, batch, bits):
    """Semi-orthogonal weights keep nothing of the first task; noise then prunes what they had."""
    net = sk.Network.two_layer(inputs=2, hidden=4, outputs=1)
    one = sk.Network.mlp([2, 1])
    first, then = (
        sk.Task.from_teacher(one, sk.weights.from_arrays(one, [[w]]), noise=0.5)
        for w in ([1.0, 0.0], [0.0, 1.0])
    )
    switch = 12.0
    wanted = np.array([0.0, 0.5, 1.0, 2.0]) * batch / (rate**2 * 0.25)
    sims = sk.simulate_ensemble(
        net, sk.Curriculum([sk.Phase(first, switch), sk.Phase(then)]),
        [sk.weights.semi_orthogonal(net, a=0.2, b=0.2)] * 32, rate,
        record=switch + rate * wanted.round(), batch_size=batch,
    )  # fmt: skip
    information = [
        0.5 * np.log2(1 + np.square(sim.weights["W1"][:, :, 0]).sum(1) / 0.05) for sim in sims
    ]
    found = np.mean(information, 0)[1:]
    told = 0.5 * np.log2(1 + 4 * np.exp(-np.array([0.5, 1, 2])))
    assert np.abs(found - told).max() < 0.06
    assert np.abs(found - bits).max() < 0.03


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "batch", "time", "flips"),
    [(0.1, 1, 120, None), (0.05, 1, 120, None), (0.2, 8, 480, None), (0.2, 8, 600, 0.2)],
)
def test_logistic_loss_with_an_independent_input(rate, batch, time, flips):
    stream = np.random.default_rng(1000)
    x, z = stream.standard_normal((2, 2000))
    clock, measured, naive, _ = classified(z, x, rate, batch, time, flips)
    assert measured == pytest.approx(clock, rel=0.06)
    assert abs(naive - measured) > abs(clock - measured)


@pytest.mark.slow
def test_the_simulator_on_a_set_with_flipped_labels():
    stream = np.random.default_rng(1000)
    x, z = stream.standard_normal((2, 2000))
    task = sk.Task(np.stack([x, z], 1), np.sign(x)[:, None])
    how = {"batch_size": 8, "loss": LOGISTIC, "label_noise": sk.LabelNoise(probability=0.2)}
    sims = sk.simulate_ensemble(
        NET, task, [RIGHT] * 12, 0.2, steps=3000, record=np.linspace(0, 600, 60), **how
    )
    clocks = [sk.pruning_clock(sim, NET, task, irrelevant=[0.0, 2.0], **how) for sim in sims]
    kept = np.mean([c.imbalance[-1] for c in clocks])
    assert -np.log(kept) == pytest.approx(np.mean([c.clock[-1] for c in clocks]), rel=0.06)
    few = sk.Task(task.X[:300], task.Y[:300])
    sim = sk.simulate(NET, few, RIGHT, 0.2, steps=800, **how)
    report = sk.check(sk.pruning_clock(sim, NET, few, irrelevant=1, **how))
    assert report.passed, report
