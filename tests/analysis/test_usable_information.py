"""The estimator of usable information: converged fits, known bias, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import symkernel as sk
from symkernel.analysis import decoders
from symkernel.analysis.decoders import Decoder, fit_softmax, log_softmax
from symkernel.errors import OutsideValidity
from symkernel.trajectory import Trajectory, Undetermined

Noise = sk.analysis.Noise
LN2 = np.log(2)


def labelled(n, d, classes=2, size=1.0, seed=0):
    stream = np.random.default_rng((n, d, classes, seed))
    y = stream.integers(0, classes, n)
    centres = size * stream.standard_normal((classes, d))
    return centres[y] + stream.standard_normal((n, d)), y


# ---- the fit


def softmax_gradient(X, y, weights, ridge):
    """The gradient over all classes' weights, written out for one sample after the other."""
    total = np.zeros_like(weights)
    for x, label in zip(np.column_stack([X, np.ones(len(X))]), y, strict=True):
        logits = x @ weights
        p = np.exp(logits - logits.max())
        p /= p.sum()
        p[label] -= 1
        total += np.outer(x, p) / len(X)
    total[:-1] += 2 * ridge * weights[:-1]
    return total


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("size", [0.0, 1.0, 30.0])  # the last is separable
def test_fits_are_converged(classes, size):
    X, y = labelled(300, 4, classes, size)
    weights = fit_softmax(X, y, classes, 1e-4)
    assert np.abs(softmax_gradient(X, y, weights, 1e-4)).max() < 1e-9
    assert np.abs(weights.sum(1)).max() < 1e-9


def test_two_classes_are_logistic_regression():
    from scipy.optimize import minimize

    X, y = labelled(400, 3, size=0.7)
    rows, sign = np.column_stack([X, np.ones(400)]), 2 * y - 1

    def loss(w):
        return np.logaddexp(0, -sign * (rows @ w)).mean() + 0.5 * 0.01 * (w[:-1] ** 2).sum()

    found = minimize(loss, np.zeros(4), tol=1e-12).x
    weights = fit_softmax(X, y, 2, 0.01)
    assert np.allclose(weights[:, 1] - weights[:, 0], found, atol=1e-5)


def test_log_probabilities_are_normalised_at_any_size():
    X, y = labelled(50, 3, 3)
    logs = log_softmax(1e6 * X, fit_softmax(X, y, 3, 1e-4))
    assert np.allclose(np.exp(logs).sum(1), 1)
    assert np.isfinite(logs).all()


def test_a_fit_that_does_not_converge_is_refused(monkeypatch):
    monkeypatch.setattr(decoders, "_ITERATIONS", 2)
    with pytest.raises(OutsideValidity, match=r"gradient of .* after 2 Newton steps"):
        sk.usable_information(*labelled(400, 3, size=2))


# ---- the value


def test_it_is_entropy_less_cross_entropy_on_the_held_out_half():
    z, y = labelled(600, 3, 3)
    found = sk.usable_information(z, y, seed=4)
    order = np.random.default_rng((4, 0)).permutation(600)
    fit, test = order[:300], order[300:]
    scaled = (z - z[fit].mean(0)) / z[fit].std(0)
    q = log_softmax(scaled[test], fit_softmax(scaled[fit], y[fit], 3, 1e-4))
    p = np.bincount(y[test]) / 300
    entropy = -(p * np.log2(p)).sum()
    assert np.isclose(found.entropy, entropy)
    assert np.isclose(found.bits, entropy + q[np.arange(300), y[test]].mean() / LN2)
    assert (found.fitted, found.held_out) == (300, 300)


def test_conditional_is_one_decoder_per_value_weighted_by_frequency():
    z, y = labelled(1200, 2, 2)
    other = np.where(np.arange(1200) % 3 == 0, 7, -2)
    found = sk.usable_information(z, y, given=other, seed=1)
    order = np.random.default_rng((1, 0)).permutation(1200)
    total = 0.0
    for value in (7, -2):
        fit, test = (half[other[half] == value] for half in (order[:600], order[600:]))
        scale = decoders.Scale.of(z[fit])
        q = log_softmax(scale(z[test]), fit_softmax(scale(z[fit]), y[fit], 2, 1e-4))
        p = np.bincount(y[test]) / len(test)
        gain = (q[np.arange(len(test)), y[test]].mean() - (p * np.log(p)).sum()) / LN2
        total += gain * len(test) / 600
    assert np.isclose(found.bits, total)
    assert found.conditional


def test_values_where_the_label_is_fixed_give_no_bits():
    z, y = labelled(900, 2)
    other = np.where(y == 0, np.arange(900) % 2, 1)  # 0 means y is 0
    found = sk.usable_information(z, y, given=other)
    assert 0 < found.entropy < 1
    assert found.bits <= found.entropy
    nothing = sk.usable_information(z, y, given=y)
    assert nothing.bits == nothing.entropy == nothing.bias == 0


@pytest.mark.parametrize("kind", ["quadratic", "random features"])
def test_a_product_is_seen_by_richer_decoders_alone(kind):
    stream = np.random.default_rng(2)
    z = stream.uniform(-1, 1, (3000, 3))
    y = (z[:, 0] * z[:, 1] > 0).astype(int)
    assert sk.usable_information(z, y).bits < 0.02
    assert sk.usable_information(z, y, decoder=kind).bits > 0.6


def test_the_perceptron_sees_it_too():
    pytest.importorskip("sklearn")
    board = sk.environments.checkerboard(1200, seed=1)
    decoder = Decoder("mlp", size=8)
    found = sk.usable_information(board.X, board.labels["direction"], decoder=decoder)
    assert found.bits > 0.7
    assert found.bias is None
    assert "no formula for the bias; mlp decoder (8)" in repr(found)


def test_more_classes_agree_with_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = labelled(500, 4, 5)
    ours = fit_softmax(X, y, 5, 1e-3)
    model = linear_model.LogisticRegression(C=1 / (2e-3 * 500), tol=1e-10, max_iter=10_000)
    theirs = model.fit(X, y)
    logs = theirs.predict_log_proba(X)
    assert np.allclose(log_softmax(X, ours), logs, atol=1e-4)


def test_the_standard_error_is_the_spread_over_held_out_samples():
    values, errors = [], []
    for seed in range(60):
        found = sk.usable_information(*labelled(2000, 1, seed=seed + 1, size=0.0), seed=seed)
        errors.append(found.standard_error)
        stream = np.random.default_rng(seed)
        y = stream.integers(0, 2, 4000)
        z = (2 * y - 1)[:, None] + stream.standard_normal((4000, 1))
        values.append(sk.usable_information(z, y, seed=seed))
    spread = np.std([v.bits for v in values])
    assert np.isclose(spread, np.mean([v.standard_error for v in values]), rtol=0.25)
    assert max(errors) < 0.01  # nothing to find: nothing spreads


# ---- traps


def test_trap_1_a_decoder_that_is_not_converged_manufactures_discarding():
    stream = np.random.default_rng(1)
    y = stream.integers(0, 2, 4000)
    z = np.column_stack([stream.standard_normal(4000), 0.1 * (2 * y - 1)])
    z[:, 1] += 0.05 * stream.standard_normal(4000)
    z = z @ np.array([[0.6, 0.8], [-0.8, 0.6]])
    X, w = np.column_stack([z, np.ones(4000)])[:2000], np.zeros(3)
    naive = {}
    for step in range(1, 1001):
        w -= 0.1 * X.T @ (1 / (1 + np.exp(-X @ w)) - y[:2000]) / 2000
        if step in (100, 1000):
            margins = (2 * y[2000:] - 1) * (np.column_stack([z, np.ones(4000)])[2000:] @ w)
            naive[step] = 1 - np.logaddexp(0, -margins).mean() / LN2
    assert naive[100] < 0.1 < naive[1000] < 0.6
    assert sk.usable_information(z, y).bits > 0.85


@pytest.mark.parametrize("eps", [1.0, 0.1, 0.01])
def test_trap_2_the_noise_model_fixes_the_scale_not_the_ridge(eps):
    stream = np.random.default_rng(3)
    y = stream.integers(0, 2, 20_000)
    label = 1.5 * (2 * y - 1) + stream.standard_normal(20_000)
    z = np.column_stack([*stream.standard_normal((2, 20_000)), eps * label])
    z = z @ np.linalg.qr(stream.standard_normal((3, 3)))[0]
    # The spread of the label's direction is 3.25 eps^2.
    size = 0.3 * np.sqrt((2 + 3.25 * eps**2) / 3)
    u = np.linspace(-9, 9, 2001)
    m = 1.5 * eps / np.hypot(eps, size)
    density = np.exp(-u * u / 2) / np.exp(-u * u / 2).sum()
    exact = 1 - density @ np.logaddexp(0, -2 * m * m - 2 * m * u) / LN2
    found = sk.usable_information(z, y, noise="relative")
    assert abs(found.bits - exact) < 4 * found.standard_error + 1e-3
    # Without noise a smaller ridge reads more out of a small direction: the ridge is the scale.
    weak, strong = (
        sk.usable_information(z, y, decoder=Decoder(ridge=r)).bits for r in (1e-7, 1e-2)
    )
    assert (weak - strong > 0.3) == (eps < 0.1)


@pytest.mark.parametrize(("d", "classes"), [(1, 2), (5, 2), (5, 4), (20, 2)])
def test_trap_3_the_bias_has_a_formula(d, classes):
    n = 20 * d if d > 1 else 100
    found = []
    for seed in range(300):
        z, _ = labelled(2 * n, d, seed=seed)
        y = np.random.default_rng((seed, d)).integers(0, classes, 2 * n)
        found.append(sk.usable_information(z, y, seed=seed))
    formula = -(classes - 1) * ((d + 1) / n + 1 / n) / (2 * LN2)
    assert np.isclose(found[0].bias, formula)
    bits = np.array([f.bits for f in found])
    error = bits.std() / np.sqrt(len(bits))
    assert abs(bits.mean() - formula) < 0.2 * abs(formula) + 4 * error
    assert bits.mean() < -5 * error  # clipped at 0 it would be positive


@pytest.mark.slow
@pytest.mark.parametrize(
    ("d", "classes", "n"), [(1, 2, 40), (5, 2, 120), (20, 2, 400), (5, 4, 360), (2, 10, 540)]
)
def test_the_bias_is_within_a_fifth_of_its_formula(d, classes, n):
    """From 20 samples for each of the (d + 1)(K - 1) weights; of d = 20 from 20 d."""
    found = []
    for seed in range(1600):
        stream = np.random.default_rng((seed, d, classes, n))
        z, y = stream.standard_normal((2 * n, d)), stream.integers(0, classes, 2 * n)
        found.append(sk.usable_information(z, y, seed=seed))
    bits, bias = (np.array([getattr(f, name) for f in found]) for name in ("bits", "bias"))
    assert abs(bits.mean() / bias.mean() - 1) < 0.2
    # The part of the label's entropy shows: without it the formula is off by more than chance.
    short = bias.mean() + (classes - 1) / (2 * n * LN2)
    assert abs(bits.mean() - short) > 4 * bits.std() / 40


@pytest.mark.parametrize("q", [0.5, 0.7, 0.9])
def test_trap_4_of_correlated_labels_only_the_conditional_tells(q):
    stream = np.random.default_rng(5)
    n = 8000
    direction = stream.integers(0, 2, n)
    colour = np.where(stream.random(n) < q, direction, 1 - direction)
    z = (2 * direction - 1)[:, None] + 0.1 * stream.standard_normal((n, 1))
    marginal = sk.usable_information(z, colour)
    expected = 1 + q * np.log2(q) + (1 - q) * np.log2(1 - q)
    assert abs(marginal.bits - expected) < 4 * marginal.standard_error + 0.005
    conditional = sk.usable_information(z, colour, given=direction)
    assert abs(conditional.bits) < 0.005


def test_the_bias_of_the_conditional_is_that_of_as_many_decoders():
    z, y = labelled(4000, 3)
    twice = sk.usable_information(z, y, given=np.arange(4000) % 2).bias
    assert np.isclose(twice, 2 * sk.usable_information(z, y).bias, rtol=0.05)


# ---- invariances


@given(st.integers(0, 99), st.permutations([3, -1, 20]))
def test_names_of_classes_and_units_of_measure_do_not_matter(seed, names):
    z, y = labelled(300, 2, 3, seed=seed)
    one = sk.usable_information(z, y, seed=seed)
    other = sk.usable_information(z * [1e-3, -40.0] + [5, -2], np.array(names)[y], seed=seed)
    assert np.isclose(one.bits, other.bits, atol=1e-7)


@given(st.integers(0, 99), st.floats(-250, 250))
def test_relative_noise_has_no_scale_and_absolute_noise_has(seed, power):
    z, y = labelled(300, 2, seed=seed)
    scale = 10**power
    one = sk.usable_information(z, y, noise="relative").bits
    assert np.isclose(one, sk.usable_information(scale * z, y, noise="relative").bits, atol=1e-7)
    assert np.isclose(sk.usable_information(scale * z, y).bits, sk.usable_information(z, y).bits)
    first = sk.usable_information(z, y, noise="absolute").bits
    second = sk.usable_information(scale * z, y, noise=Noise("absolute", 0.3 * scale)).bits
    assert np.isclose(first, second, atol=1e-7)


def test_the_same_seed_gives_the_same_bits_and_another_another():
    z, y = labelled(700, 3)
    for options in ({}, {"noise": "relative"}, {"decoder": "random features"}):
        first, again = (sk.usable_information(z, y, seed=2, **options) for _ in range(2))
        assert first == again
        assert first.bits != sk.usable_information(z, y, seed=3, **options).bits


def test_constant_units_say_nothing_and_change_nothing():
    z, y = labelled(400, 2)
    more = np.column_stack([z, np.full(400, 0.1), np.zeros(400)])
    assert np.isclose(sk.usable_information(more, y).bits, sk.usable_information(z, y).bits)
    for kind in ("none", "relative"):
        assert abs(sk.usable_information(np.full((400, 2), 3.3), y, noise=kind).bits) < 0.02


@pytest.mark.parametrize("kind", ["linear", "quadratic"])
def test_units_that_are_left_out_or_repeated_have_no_bias(kind):
    z, y = labelled(800, 3)
    more = np.column_stack([z, np.full(800, 0.1), z[:, 0], z @ [1.0, -2.0, 0.5]])
    found, plain = (sk.usable_information(u, y, decoder=kind) for u in (more, z))
    assert np.isclose(found.bias, plain.bias)


def test_a_power_of_a_binary_unit_has_no_bias():
    y = np.random.default_rng(0).integers(0, 2, 400)
    z = (np.random.default_rng(1).random((400, 1)) < 0.3).astype(float)
    linear, quadratic = (sk.usable_information(z, y, decoder=k) for k in ("linear", "quadratic"))
    assert np.isclose(linear.bias, quadratic.bias)


# ---- trajectories


def test_through_time_it_is_the_same_at_each_record():
    stream = np.random.default_rng(0)
    y = stream.integers(0, 2, 400)
    hidden = np.array([0, 0.5, 2])[:, None, None] * y[:, None] + stream.normal(size=(3, 400, 5))
    nodes = {"hidden1": lambda: hidden[:, :, :2]}
    run = Trajectory(np.array([0.0, 1.0, 4.0]), {"hidden": lambda: hidden}, nodes=nodes)
    curve = sk.usable_information(run, y, noise="relative")
    assert np.array_equal(curve.times, run.times)
    assert len(curve) == 3
    for k, found in enumerate(curve):
        assert found == sk.usable_information(hidden[k], y, noise="relative") == curve[k]
    assert np.array_equal(curve.bits, [found.bits for found in curve])
    assert np.array_equal(curve.standard_error, [found.standard_error for found in curve])
    first = sk.usable_information(sk.analysis.Representation.of(run, "hidden1"), y)
    assert np.array_equal(first.bits, sk.usable_information(hidden[:, :, :2], y).bits)
    assert "3 times" in repr(first)


def test_a_layer_known_up_to_a_rotation_is_refused():
    gram = np.eye(40)[None]
    fields = {"hidden": Undetermined("it turns"), "hidden_gram": lambda: gram}
    with pytest.raises(OutsideValidity, match="decoders read units"):
        sk.usable_information(Trajectory(np.zeros(1), fields), np.arange(40) % 2)
