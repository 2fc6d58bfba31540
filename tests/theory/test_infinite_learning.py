"""Learning in the limit against the frozen flow, closed averages, and wide trained networks."""

from __future__ import annotations

import itertools

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy.integrate import solve_ivp

import symkernel as sk
from symkernel.errors import InvalidArgument, OutsideValidity, ShapeMismatch
from symkernel.problem.activation import ARGUMENT, Activation, activation
from symkernel.theory.erf_unit import erf_unit_averages
from symkernel.theory.infinite_learning import _meeting
from symkernel.theory.unit_averages import (
    UnitMoments,
    _derivatives,
    averages_by_rule,
    unit_averages,
)
from tests.oracles.erf_unit import erf_unit

z = sp.Symbol("z", real=True)
RNG = np.random.default_rng(1000)
X, Y = RNG.standard_normal((5, 3)), RNG.standard_normal((5, 2))
TIMES = np.array([0.0, 0.5, 4.0, 30.0])
PULLS = np.random.default_rng(3).standard_normal((2, 4, 2))


def net_of(activation, width=8, outputs=2, **options):
    return sk.Network.two_layer(3, width, outputs, activation, parameterisation="ntk", **options)


def learning(activation="erf", X=X, Y=Y, variance=1, loss=None, **options):
    net = net_of(activation, outputs=Y.shape[1], **options)
    return sk.infinite_width(net, variance).learn(sk.Task(X, Y), loss)


def flow(kernel, targets, shares, times):
    """Integrate the flow of outputs, the integral c of residuals and that of r times c."""
    n, outputs = targets.shape

    def rates(_, state):
        c = state[: n * outputs].reshape(n, outputs)
        r = shares[:, None] * (targets - kernel @ c)
        return np.concatenate([r.ravel(), (r @ c.T).ravel()])

    start = np.zeros(n * outputs + n * n)
    run = solve_ivp(rates, (0, times[-1]), start, "DOP853", times, rtol=1e-12, atol=1e-14)
    pulls, meetings = np.split(run.y.T, [n * outputs], axis=1)
    return pulls.reshape(-1, n, outputs), meetings.reshape(-1, n, n)


@pytest.mark.parametrize("factor", [sp.S.Half, 2])
@pytest.mark.parametrize("weights", [None, [0.1, 0.2, 0.4, 0.05, 0.25]])
def test_outputs_and_integrals_follow_the_frozen_flow(factor, weights):
    task = sk.Task(X, Y, sample_weights=weights)
    run = sk.infinite_width(net_of("erf")).learn(task, sk.SquaredError(factor=factor))
    kernel = run.limit.ntk.compile()(X)
    shares = 2 * float(factor) * np.array(weights or [0.2] * 5)
    pulls, meetings = flow(kernel, Y, shares, TIMES)
    assert np.abs(run.outputs(TIMES) - np.einsum("ij,tjo->tio", kernel, pulls)).max() < 1e-10
    assert np.abs(run._meetings(TIMES) - meetings).max() < 1e-9 * np.abs(meetings).max()
    elsewhere = run.outputs(TIMES, X[:2] + 0.1)
    assert elsewhere.shape == (4, 2, 2)
    assert (run.outputs([0.0]) == 0).all()


def test_doubled_samples_with_conflicting_labels_end_at_their_mean():
    """The kernel is singular; (1 - exp(-l t))/l as it stands gives 0 at l = 1e-18."""
    twice, labels = np.vstack([X, X[:1]]), np.vstack([Y, Y[:1] + 2])
    run = learning(X=twice, Y=labels)
    end = run.outputs([1e9])[0]
    assert np.allclose(end[[0, 5]], Y[0] + 1, atol=1e-6)
    assert np.allclose(end[1:5], Y[1:], atol=1e-6)
    assert (1 - np.exp(-1e-18 * 3)) / 1e-18 == 0
    assert np.isfinite(run.gram_change([3.0], accuracy=0.1).total).all()


@pytest.mark.parametrize("s", [1e-3, 1.0, 50.0, 1e4])
def test_integrals_of_pairs_of_eigenvalues(s):
    eigenvalues = np.array([0.0, 1e-18, 1e-9, 1e-3, 0.2, 1.0, 30.0])
    found = _meeting(eigenvalues, s)
    with mpmath.workdps(160):
        for (i, p), (j, q) in itertools.product(enumerate(eigenvalues), repeat=2):
            p, q, t = (mpmath.mpf(float(v)) + mpmath.mpf(10) ** -40 for v in (p, q, s))
            first = (1 - mpmath.exp(-p * t)) / p
            want = (first - (1 - mpmath.exp(-(p + q) * t)) / (p + q)) / q
            assert abs(found[i, j] - want) < 1e-11 * want, (p, q)


def test_hidden_similarity_stays_in_the_limit():
    run = learning("relu")
    assert (run.similarity() == run.limit.similarity().compile()(X)).all()
    assert run.similarity(X=X[:2]).shape == (2, 2)


def moments_of(run, times, width_of_input=3):
    """A unit's moments with numbers of their own, all different."""
    overlaps = X @ X.T / width_of_input
    clock = np.array(times)
    return UnitMoments(
        1.3 * overlaps + 0.2,
        0.7 * overlaps + 0.4,
        5,
        1.9,
        0.6,
        run._pulls(clock),
        run._meetings(clock),
    )


def test_averages_over_units_equal_their_closed_form_for_erf():
    run = learning()
    moments = moments_of(run, [0.5, 4.0])
    phi = run.limit.layers[0].activation
    parts, error = averages_by_rule(phi, moments, 2e-3)
    want = erf_unit(moments)
    closed, none = unit_averages(phi, moments, 2e-3)
    assert none == 0
    assert np.allclose(closed, want, rtol=1e-10, atol=1e-13)
    for got, exact in zip(parts, want, strict=True):
        assert np.abs(got - exact).max() < error * np.abs(want[0] + want[1]).max()
    assert 0 < error < 2e-3


@pytest.mark.parametrize("slip", ["readout", "spread", "meetings", "tangent"])
def test_slips_in_the_second_order_are_found(slip):
    run = learning()
    moments = moments_of(run, [0.5, 4.0])
    wrong = UnitMoments(**{**moments.__dict__, slip: 1.05 * getattr(moments, slip)})
    parts, error = averages_by_rule(run.limit.layers[0].activation, wrong, 2e-3)
    want = erf_unit_averages(moments)
    off = np.abs(parts[0] + parts[1] - want[0] - want[1]).max() / np.abs(want[0] + want[1]).max()
    assert off > 3 * error


def test_change_of_the_gram_is_made_of_the_numbers_of_its_network():
    """Rates of layers and biases are all different; the closed form is an oracle's."""
    run = learning("erf", variance=[1.5, 0.8], rates=[2.0, 0.5], bias=True)
    clock = np.array([0.5, 4.0])
    overlaps = X @ X.T / 3
    numbers = 1.5 * overlaps, 2.0 * (overlaps + 1), 5, 0.8, 0.5
    moments = UnitMoments(*numbers, run._pulls(clock), run._meetings(clock))
    want = sum(erf_unit(moments))
    assert np.abs(run.gram_change(clock).total - want).max() < 1e-12 * np.abs(want).max()


SILU = z / (1 + sp.exp(-z))


@pytest.mark.parametrize("expression", [1 / (1 + sp.exp(-z)), sp.log(1 + sp.exp(z)), SILU])
def test_bodies_of_activations_stay_finite(expression):
    """The derivatives as they stand are infinity over infinity, which is no number."""
    far = np.array([-3000.0, -700.0, 0.0, 700.0, 3000.0])
    bodies = _derivatives(Activation("", expression))
    assert all(np.isfinite(body(far)).all() for body in bodies)
    if expression == SILU:
        naive = sp.lambdify(ARGUMENT, sp.diff(expression.subs(z, ARGUMENT), ARGUMENT), "numpy")
        with np.errstate(all="ignore"):
            assert not np.isfinite(naive(far)).all()


def moments_of_samples(size, inputs, spread=1.9, readout=0.6):
    samples = size * np.random.default_rng(inputs).standard_normal((4, inputs))
    overlaps = samples @ samples.T / inputs
    meetings = PULLS[:, :, :1] * PULLS[:, None, :, 1]
    return UnitMoments(overlaps, 0.7 * overlaps + 0.4, 4, spread, readout, PULLS, meetings)


@pytest.mark.parametrize("size", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("inputs", [1, 2, 3, 5])
def test_stated_error_of_averages_over_units_bounds_it(size, inputs):
    """Four standard errors, or the difference of two grids, against the closed form for erf."""
    moments = moments_of_samples(size, inputs)
    (linear, curved), error = averages_by_rule(activation("erf"), moments, 1e-2)
    want = erf_unit_averages(moments)
    top = np.abs(want[0] + want[1]).max()
    assert max(np.abs(linear - want[0]).max(), np.abs(curved - want[1]).max()) <= error * top
    assert error < 1e-2


@pytest.mark.parametrize(
    ("name", "size", "inputs"),
    [("sigmoid", 300, 1), (SILU, 300, 5), ("tanh", 300, 5), ("tanh", 30, 2), (z**6 / 100, 1, 5)],
)
def test_accuracy_over_units_that_is_not_reached_is_refused(name, size, inputs, monkeypatch):
    monkeypatch.setattr("symkernel.theory.unit_averages._LAST", 11)
    phi, moments = activation(name), moments_of_samples(size, inputs)
    with pytest.raises(OutsideValidity, match="reach a relative accuracy of") as caught:
        unit_averages(phi, moments, 1e-3)
    figure = float(str(caught.value).split("accuracy=")[1].split(",")[0])
    assert 1e-3 < unit_averages(phi, moments, figure)[1] <= figure


@pytest.mark.parametrize(("name", "size"), [(z**6 / 100, 1e60), (sp.exp(z), 300)])
@pytest.mark.parametrize("inputs", [1, 5])
def test_averages_over_units_that_are_no_numbers_are_refused(name, size, inputs):
    with pytest.raises(OutsideValidity, match="leave the floating-point numbers"):
        unit_averages(activation(name), moments_of_samples(size, inputs), 1.0)


def paired(net, width, seed, scale=1.0):
    """Units in pairs of opposite read-out: initial outputs are 0."""
    stream = np.random.default_rng(seed)
    arrays = {"W1": np.tile(stream.standard_normal((width // 2, 3)), (2, 1))}
    a = stream.standard_normal((int(net.outputs), width // 2))
    arrays["W2"] = np.concatenate([a, -a], axis=1)
    for p in net.parameters:
        if p.kind == "bias":
            arrays[p.name] = np.zeros(p.shape)
    return sk.weights.from_arrays(net, {k: scale * v for k, v in arrays.items()})


def trained(activation, width, seeds, times, rates, bias):
    """Return outputs, change of h . h' and rms change of a unit's activity, for each seed."""
    net = net_of(activation, width, 1, rates=rates, bias=bias)
    task = sk.Task(X, Y[:, :1])
    runs = [
        sk.simulate(
            net,
            task,
            paired(net, width, seed, np.sqrt(1.5)),
            learning_rate=0.02,
            record=np.concatenate([[0.0], times]),
        )
        for seed in seeds
    ]
    grams = np.array([run.hidden_gram[1:] - run.hidden_gram[0] for run in runs])
    moves = [np.sqrt(np.mean((run.hidden[1:] - run.hidden[0]) ** 2)) for run in runs]
    return np.array([run.outputs[1:] for run in runs]), grams, np.array(moves)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "rates", "bias"),
    [("erf", None, False), (sp.sin(z), [2.0, 0.5], True), ("tanh", [1.0, 3.0], False)],
)
def test_both_parts_together_are_the_change_of_wide_trained_networks(activation, rates, bias):
    """The linearised part alone is off by as much at every width: more than half."""
    times, widths = np.array([1.0, 4.0]), [128, 512, 2048, 4096]
    run = learning(activation, Y=Y[:, :1], variance=1.5, rates=rates, bias=bias)
    change = run.gram_change(times)
    whole, alone, outputs, units, together = [], [], [], [], []
    for width in widths:
        f, grams, moves = trained(activation, width, range(1000, 1016), times, rates, bias)
        size = np.linalg.norm(grams.mean(0))
        # Each network on its own: fluctuations of the sum over units fall as width^(-1/2).
        whole.append(np.mean([np.linalg.norm(g - change.total) for g in grams]) / size)
        alone.append(np.mean([np.linalg.norm(g - change.linearised) for g in grams]) / size)
        together.append(np.linalg.norm(grams.mean(0) - change.total) / size)
        units.append(moves.mean())
        outputs.append(np.mean(np.abs(f - run.outputs(times))))
    # The mean over networks, of random error 1/4 of that of each.
    assert together[-1] < 0.06
    assert whole[-1] < 0.13
    assert sorted(whole, reverse=True) == whole
    assert abs(np.polyfit(np.log(widths), np.log(whole), 1)[0] + 0.5) < 0.15
    assert min(alone) > 0.6
    assert alone[-1] > 0.8 * alone[0]
    for errors in (outputs, units):
        # The activity of a unit stays in the limit.
        assert abs(np.polyfit(np.log(widths), np.log(errors), 1)[0] + 0.5) < 0.15


def test_trained_networks_of_one_width_tell_both_parts_from_one():
    times = np.array([1.0, 4.0])
    rates = [2.0, 0.5]
    run = learning("erf", Y=Y[:, :1], variance=1.5, rates=rates, bias=True)
    change = run.gram_change(times, accuracy=3e-3)
    _, grams, _ = trained("erf", 1024, range(1000, 1004), times, rates, True)
    mean, size = grams.mean(0), np.linalg.norm(grams.mean(0))
    assert np.linalg.norm(mean - change.total) < 0.08 * size
    assert np.linalg.norm(mean - change.linearised) > 0.7 * size
    shown = run.gram_change(times, X[1:3], accuracy=3e-3)
    assert np.allclose(
        shown.total, change.total[:, 1:3, 1:3], atol=0.02 * np.abs(change.total).max()
    )


def test_few_directions_are_averaged_by_a_product_rule():
    """One input, one bias: two directions, and no random error."""
    samples, targets = X[:, :1].repeat(3, axis=1), Y[:, :1]
    run = learning("erf", X=samples, Y=targets)
    clock = np.array([2.0])
    overlaps = samples @ samples.T / 3
    parts = overlaps, overlaps, 5, 1.0, 1.0, run._pulls(clock), run._meetings(clock)
    moments = UnitMoments(*parts)
    found, error = averages_by_rule(run.limit.layers[0].activation, moments, 1e-3)
    want = erf_unit_averages(moments)
    top = np.abs(want[0] + want[1]).max()
    assert error < 1e-8
    assert max(np.abs(a - b).max() for a, b in zip(found, want, strict=True)) < error * top
    assert np.allclose(run.gram_change([2.0]).total, want[0] + want[1], atol=1e-12 * top)
    assert averages_by_rule(activation("tanh"), moments, 1e-3)[1] < 1e-8


# -- refusals


def test_more_layers_and_corners_are_refused():
    deep = sk.Network.mlp([3, 4, 4, 2], "erf", parameterisation="ntk")
    run = sk.infinite_width(deep).learn(sk.Task(X, Y))
    with pytest.raises(OutsideValidity, match="one hidden layer, not 2"):
        run.gram_change([1.0])
    with pytest.raises(OutsideValidity, match="corners"):
        learning("relu").gram_change([1.0])


def test_networks_whose_kernel_moves_are_refused():
    with pytest.raises(InvalidArgument, match="parameterisation 'ntk'"):
        sk.infinite_width(sk.Network.two_layer(3, 4, 2, "erf")).learn(sk.Task(X, Y))
    with pytest.raises(InvalidArgument, match="weight decay"):
        learning(loss=sk.SquaredError(weight_decay=0.1))


@pytest.mark.parametrize("task", ["task", None, sk.Task.from_modes([1, 2])])
def test_tasks_without_samples_are_refused(task):
    with pytest.raises(InvalidArgument):
        sk.infinite_width(net_of("erf")).learn(task)


def test_samples_and_times_that_do_not_fit_are_refused():
    with pytest.raises(ShapeMismatch, match="3 inputs"):
        sk.infinite_width(net_of("erf")).learn(sk.Task(X[:, :2], Y))
    run = learning()
    for times in ([-1.0], [2.0, 1.0], [np.nan], []):
        with pytest.raises(InvalidArgument):
            run.outputs(times)
    for wrong in (np.ones((2, 4)), np.ones(3), [[np.inf, 0, 0]]):
        with pytest.raises(InvalidArgument):
            run.outputs([1.0], wrong)
        with pytest.raises(InvalidArgument):
            run.gram_change([1.0], wrong)
    with pytest.raises(InvalidArgument):
        run.gram_change([1.0], accuracy=0)
    with pytest.raises(InvalidArgument):
        sk.infinite_width(net_of("erf")).learn(sk.Task(X, Y), "mse")
