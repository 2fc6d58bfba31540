from __future__ import annotations

import numpy as np
import pytest

import symkernel as sk
from symkernel.errors import InvalidArgument, OutsideValidity, ShapeMismatch

ENV = sk.environments.Multitasking(groups=3, features=3)
NET = ENV.network()
SINGLE = ENV.single
RATE = 20.0
READ, WRITTEN = zip(*(ENV.tasks[SINGLE.sets[k][0]] for k in SINGLE.set_of), strict=True)
SEVERAL = {K: ENV.prompts(ENV.task_sets(K)) for K in (2, 3)}
QUOTIENT = sk.quotient(NET, SINGLE.task, fixing="W_s")


def similarities(hidden):
    return np.corrcoef(hidden)[np.triu_indices(len(hidden), 1)]


def measured(weights):
    hidden = sk.activity(NET, weights, SINGLE.X, "hidden")
    sharing = sk.analysis.sharing_index(hidden, inputs=READ, outputs=WRITTEN)
    accuracy = [float(p.accuracy(sk.activity(NET, weights, p.X))) for p in SEVERAL.values()]
    return similarities(hidden), sharing.index[0], sharing.same_input[0], accuracy


def compared(scale, seed, steps):
    """True training and its predictions: without and with the first-order response."""
    w0 = ENV.weights(NET, scale=scale, seed=seed)
    record = [0.0, RATE * steps]
    true = sk.simulate(NET, SINGLE.task, w0, RATE, record=record)
    run = sk.simulate_quotient(QUOTIENT, w0, RATE, record=record)
    found = [measured({name: w[-1] for name, w in true.weights.items()})]
    return run, found + [measured(run.weights_at(-1, order)) for order in (0, 1)]


def test_the_quotient_predicts_training_from_small_weights():
    run, (true, quotient, first) = compared(scale=0.1, seed=1000, steps=1000)
    plain, better = (np.corrcoef(true[0], one[0])[0, 1] for one in (quotient, first))
    assert plain > 0.999
    assert better > plain
    assert quotient[1] == pytest.approx(true[1], abs=0.02)
    assert quotient[2] == pytest.approx(1, abs=1e-12)
    assert first[2] == pytest.approx(true[2], abs=0.002)
    for K, mine, real in zip((2, 3), quotient[3], true[3], strict=True):
        assert mine == pytest.approx(real, abs=0.01)
        assert mine == pytest.approx(3.0 ** (1 - K), abs=0.02)
    assert 3.9 < run.growth < 4.1
    # Beside a part that grows sixty times.
    assert run.tied_size[-1] / run.tied_size[0] > 60
    assert run.transverse_size[0] == pytest.approx(run.start_size, rel=1e-9)
    assert "0.677 beside 0.827 at the start, 2.68 beside 50.5 at the end" in repr(run)


def test_the_response_is_the_derivative_of_descent():
    """Against weights that are off by a small part, and not by the same one."""
    env = sk.environments.Multitasking(2, 2)
    net = env.network(hidden=6)
    quotient = sk.quotient(net, env.single.task, fixing="W_s")
    w0 = env.weights(net, scale=0.5, seed=2)
    tied, rest = quotient.project(w0).arrays, quotient.transverse(w0)
    run = sk.simulate_quotient(quotient, w0, RATE, steps=60)
    off = []
    for share in (2e-2, 1e-2, 5e-3):
        arrays = {name: tied[name] + share * rest[name] for name in tied}
        near = sk.weights.from_arrays(net, arrays)
        true = sk.simulate(net, env.single.task, near, RATE, steps=60).weights
        off.append(
            max(
                abs(w[-1] - run.weights[name][-1] - share * run.response[name][-1]).max()
                for name, w in true.items()
            )
        )
    # What the first order leaves is of second order.
    slopes = np.diff(np.log(off)) / np.log(0.5)
    assert ((slopes > 1.8) & (slopes < 2.2)).all()


def test_without_the_response_nothing_is_said_of_it():
    env = sk.environments.Multitasking(2, 2)
    net = env.network(hidden=6)
    quotient = sk.quotient(net, env.single.task, fixing="W_s")
    w0 = env.weights(net, scale=0.5, seed=2)
    run = sk.simulate_quotient(quotient, w0, RATE, steps=5, first_order=False)
    whole = sk.simulate_quotient(quotient, w0, RATE, steps=5)
    for name, w in run.weights.items():
        np.testing.assert_array_equal(w, whole.weights[name])
    assert "not followed" in repr(run)
    assert run.times[-1] == 100
    with pytest.raises(OutsideValidity, match="first_order=True"):
        run.weights_at(order=1)
    with pytest.raises(OutsideValidity, match="first_order=True"):
        _ = run.growth
    for record, order, words in ((9, 0, "'record'"), (1.5, 0, "'record'"), (0, 2, "'order'")):
        with pytest.raises(InvalidArgument, match=words):
            run.weights_at(record, order)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda w0: sk.simulate_quotient(NET, w0, RATE, steps=1), InvalidArgument, "a Quotient"),
        (lambda w0: sk.simulate_quotient(QUOTIENT, 3, RATE, steps=1), InvalidArgument, "Weights"),
        (lambda w0: sk.simulate_quotient(QUOTIENT, w0, -1.0, steps=1), InvalidArgument, "positive"),
        (lambda w0: sk.simulate_quotient(QUOTIENT, w0, RATE), InvalidArgument, "'steps'"),
        (
            lambda w0: sk.simulate_quotient(
                QUOTIENT, ENV.weights(ENV.network(hidden=3), 1.0), RATE, steps=1
            ),
            ShapeMismatch,
            "original network",
        ),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call(ENV.weights(NET, scale=0.1))


# Per scale: bands of S (quotient, first order), of r_in to first order, of the correlation of
# similarity matrices (quotient, first order), each against training; then the growth of the
# transverse part as measured, from 4 to 6 at scales up to 0.2 alone. Three seeds, 2000 steps.
SCALES = {
    0.03: (0.01, 0.01, 0.001, 0.9999, 0.9999, 5.23),
    0.1: (0.02, 0.02, 0.003, 0.998, 0.999, 5.51),
    0.2: (0.10, 0.05, 0.01, 0.99, 0.997, 5.84),
    0.3: (0.25, 0.06, 0.06, 0.98, 0.99, 6.08),
}


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_predictions_over_the_scale_of_the_weights(scale):
    index, index_1, same, plain, first, growth = SCALES[scale]
    rows = [compared(scale, seed, 2000) for seed in (1000, 1001, 1002)]
    means = np.array([[one[1:3] for one in found] for _, found in rows]).mean(0)
    assert means[1, 0] == pytest.approx(means[0, 0], abs=index)
    assert means[2, 0] == pytest.approx(means[0, 0], abs=index_1)
    assert means[2, 1] == pytest.approx(means[0, 1], abs=same)
    similar = [[np.corrcoef(f[0][0], f[k][0])[0, 1] for k in (1, 2)] for _, f in rows]
    assert (np.mean(similar, 0) > [plain, first]).all()
    assert np.mean([run.growth for run, _ in rows]) == pytest.approx(growth, rel=0.01)
    accuracy = np.array([found[0][3] for _, found in rows]).mean(0)
    predicted = np.array([found[2][3] for _, found in rows]).mean(0)
    np.testing.assert_allclose(predicted, accuracy, atol=0.02)


def test_a_transverse_part_that_grows_beyond_first_order_is_no_response():
    env = sk.environments.Multitasking(3, 3)
    net = env.network(hidden=100, activation="tanh")
    quotient = sk.quotient(net, env.single.task, fixing="W_s")
    w0 = env.weights(net, 0.1, seed=1000, bias=0.0)
    run = sk.simulate_quotient(quotient, w0, learning_rate=20.0, record=[0.0, 20000.0])
    assert run.is_beyond_first_order
    assert "beyond first order" in repr(run)
    with pytest.raises(OutsideValidity, match="not of first order"):
        run.weights_at(-1, order=1)


def test_symmetric_weights_have_no_transverse_part():
    env = sk.environments.Multitasking(2, 2)
    net = env.network(hidden=10)
    quotient = sk.quotient(net, env.single.task, fixing="W_s")
    w0 = quotient.project(env.weights(net, 1.0, seed=1))
    run = sk.simulate_quotient(quotient, w0, learning_rate=1.0, steps=20)
    assert np.isnan(run.growth)
    assert not run.is_beyond_first_order
