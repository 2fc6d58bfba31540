"""The second-moment law of stochastic descent on linear regression."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import symkernel as sk
from symkernel.errors import InvalidArgument, NoClosedForm, SymkernelError
from symkernel.nodes import Input, Parameter
from symkernel.theory import second_moment_checks as checks
from symkernel.theory import second_moment_formulas as theory
from tests.oracles.noisy_descent import drawn, fresh, regression

MIXING = np.array([[1.2, 0, 0], [0.5, 0.7, 0], [-0.2, 0.3, 0.4]])
TEACHER = np.array([[1.0, -0.5, 0.8], [0.2, 0.9, -1.1]])
START = np.array([[0.3, 0.1, 0.0], [-0.4, 0.0, 0.6]])
NET = sk.Network.mlp([3, 2])
W0 = sk.weights.from_arrays(NET, [START])
RECORDS = [1, 4, 40]
NOISY = sk.LabelNoise(std=0.5)


def online(noise=0.4):
    teacher = sk.weights.from_arrays(NET, [TEACHER])
    return sk.Task.from_teacher(NET, teacher, noise=noise, covariance=MIXING @ MIXING.T)


def samples(count=12):
    stream = np.random.default_rng(1000)
    X = stream.standard_normal((count, 3)) @ MIXING.T
    return sk.Task(X, X @ TEACHER.T + 0.3 * stream.standard_normal((count, 2)))


def agrees(law, runs, records):
    """Whether means and covariances of runs are within four standard errors of the law's."""
    worst = 0.0
    for W, step in zip(runs, records, strict=True):
        flat, count = W.reshape(len(W), -1), len(W)
        mean, cov = law.mean(step).ravel(), law.covariance(step).reshape(2 * [flat.shape[1]])
        off = (flat - flat.mean(0))[:, :, None] * (flat - flat.mean(0))[:, None]
        errors = flat.std(0) / count**0.5, off.std(0) / count**0.5
        worst = max(worst, (abs(flat.mean(0) - mean) / errors[0]).max())
        worst = max(worst, (abs(off.mean(0) - cov) / errors[1]).max())
    return worst < 4, worst


def test_steps_are_checked_and_printed():
    for found in (sk.noise.second_moment_formula(), sk.noise.isotropic_second_moment()):
        for step in found.steps:
            evidence = step.check()
            assert evidence.passed, evidence.figure
            assert step.latex()
        assert "eta" in found.latex()


eta, B, h, d = theory.ETA, theory.BATCH, theory.VARIANCE, theory.DIMENSION


@pytest.mark.parametrize(
    ("check", "claims"),
    [
        ("batches", [1 / B, 1 / B]),
        ("batches", [1 / B, (theory.COUNT - B) / (B * theory.COUNT)]),
        ("fourth", [lambda S, H: H * S * H + (H * S).trace() * H]),
        ("recursion", [lambda S, H, b: theory.recursion(S, H, 2 * b)]),
        ("sampled", [lambda S, H, Q, s, b: theory.sampled_recursion(S, H, Q, 1 / b, b)]),
        ("stationary", [(1 - eta * theory.h_i) ** 2 * theory.s_i]),
        ("stability", [lambda hs: B * sp.diag(*hs)]),
        ("trace", [theory.step_factor() + eta**2 * h**2, theory.isotropic_kick()]),
        ("solution", [theory.START, theory.step_factor(), theory.isotropic_final()]),
        ("limit", [2 / h]),
        ("stability", [lambda hs: theory.limit_matrix(hs) + sp.eye(3)]),
    ],
)
def test_checks_of_steps_can_fail(check, claims):
    assert not getattr(checks, f"check_{check}")(*claims).passed


@pytest.mark.parametrize("batch", [1, 3])
def test_fresh_batches_against_simulated_runs(batch):
    limit = sk.noise.stability_limit(NET, online(), W0, batch_size=batch)
    law = sk.second_moment(NET, online(), W0, 0.5 * limit, batch_size=batch)
    source = fresh(MIXING, TEACHER, 0.4, 4000, batch)
    runs = regression(source, START, 4000, law.learning_rate, RECORDS)
    assert agrees(law, runs, RECORDS)[0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fresh", "replacement", "distinct"])
def test_a_hundred_thousand_runs(kind):
    task = online() if kind == "fresh" else samples()
    again, noise = kind == "replacement", None if kind == "fresh" else NOISY
    limit = sk.noise.stability_limit(NET, task, W0, batch_size=3, replacement=again)
    law = sk.second_moment(
        NET, task, W0, 0.5 * limit, batch_size=3, replacement=again, label_noise=noise
    )
    count = 100_000
    if kind == "fresh":
        source = fresh(MIXING, TEACHER, 0.4, count, 3)
    else:
        source = drawn(task.X, task.Y, 0.5, count, 3, again)
    runs = regression(source, START, count, law.learning_rate, RECORDS)
    close, worst = agrees(law, runs, RECORDS)
    assert close, worst
    wrong = sk.second_moment(NET, task, W0, 0.49 * limit, batch_size=3, replacement=again)
    assert agrees(wrong, runs, RECORDS)[1] > 10


@pytest.mark.parametrize("again", [True, False])
def test_batches_of_a_set_against_simulated_runs(again):
    task = samples()
    law = sk.second_moment(NET, task, W0, 0.3, batch_size=4, replacement=again, label_noise=NOISY)
    runs = regression(drawn(task.X, task.Y, 0.5, 4000, 4, again), START, 4000, 0.3, RECORDS)
    assert agrees(law, runs, RECORDS)[0]
    other = sk.second_moment(
        NET, task, W0, 0.3, batch_size=4, replacement=not again, label_noise=NOISY
    )
    assert agrees(other, runs, RECORDS)[1] > 6


@pytest.mark.slow
def test_the_simulator_on_fresh_samples():
    law = sk.second_moment(NET, online(), W0, 0.2, batch_size=2)
    sims = sk.simulate_ensemble(
        NET,
        online(),
        [W0] * 150,
        0.2,
        steps=20,
        record=[4.0],
        batch_size=2,
        seeds=range(1000, 1150),
    )
    runs = np.array([sim.weights["W1"][-1] for sim in sims])[None]
    assert sims[0].steps[-1] == 20
    assert agrees(law, runs, [20])[0]


@pytest.mark.parametrize("batch", [1, 5])
def test_the_closed_form_is_the_recursion(batch):
    law = sk.second_moment(NET, online(), W0, 0.25, batch_size=batch)
    H, u = MIXING @ MIXING.T, START - TEACHER
    S = np.einsum("of,pg->opfg", u, u)
    for _ in range(30):
        after = np.empty_like(S)
        for o, p in np.ndindex(2, 2):
            s = S[o, p]
            turn = H @ s.T @ H + (np.trace(H @ s) + 0.16 * (o == p)) * H
            after[o, p] = s - 0.25 * (H @ s + s @ H) + 0.25**2 * (H @ s @ H + turn / batch)
        S, u = after, u - 0.25 * u @ H
    C = (S - np.einsum("of,pg->opfg", u, u)).swapaxes(1, 2)
    assert np.allclose(law.covariance(30), C, rtol=0, atol=1e-14)
    assert np.allclose(law.mean([30])[0], TEACHER + u, rtol=0, atol=1e-14)
    noise = 0.5 * 0.4**2 * 2
    assert law.loss(30) == pytest.approx(noise + 0.5 * np.einsum("oofg,fg", S, H), rel=1e-12)


@pytest.mark.parametrize("again", [True, False])
def test_the_program_for_a_set_is_the_recursion(again):
    task = samples()
    law = sk.second_moment(NET, task, W0, 0.2, batch_size=4, replacement=again, label_noise=NOISY)
    H, share = task.X.T @ task.X / 12, 1 / 4 if again else (12 - 4) / (4 * 11)
    best = np.linalg.lstsq(task.X, task.Y, rcond=None)[0].T
    u, kept = START - best, np.eye(3) - 0.2 * H
    S = np.einsum("of,pg->opfg", u, u)
    for _ in range(25):
        left, shift = task.Y - task.X @ best.T, task.X @ u.T
        errors = np.einsum("no,np->nop", left, left) - np.einsum("no,np->nop", left, shift)
        errors += np.einsum("nf,opfg,ng->nop", task.X, S, task.X)
        errors -= np.einsum("no,np->nop", shift, left)
        fourth = np.einsum("nop,nf,ng->opfg", errors, task.X, task.X) / 12
        noise = np.einsum("op,fg->opfg", 0.25 / 4 * np.eye(2), H)
        S = kept @ S @ kept + 0.04 * (share * (fourth - H @ S @ H) + noise)
        u = u @ kept
    C = (S - np.einsum("of,pg->opfg", u, u)).swapaxes(1, 2)
    assert np.allclose(law.covariance(25), C, rtol=0, atol=1e-14)
    assert np.allclose(law.mean(25), best + u, rtol=0, atol=1e-14)
    loss = 0.5 * (np.square(left).sum(1).mean() + 2 * 0.25 + np.einsum("oofg,fg", S, H))
    assert law.loss(25) == pytest.approx(loss, rel=1e-12)


def test_inputs_that_never_vary_leave_the_weights():
    task = sk.Task(np.zeros((4, 3)), np.ones((4, 2)))
    law = sk.second_moment(NET, task, W0, 7.0, batch_size=2)
    assert law.limit == np.inf
    assert np.array_equal(law.mean(5), START)
    assert not law.covariance(5).any()
    assert not law.stationary_covariance.any()


@pytest.mark.parametrize("task", [online(), samples()], ids=["fresh", "set"])
def test_late_it_is_stationary(task):
    law = sk.second_moment(NET, task, W0, 0.2, batch_size=3)
    late, size = law.covariance(4000), abs(law.stationary_covariance).max()
    assert np.abs(late - law.stationary_covariance).max() < 1e-10 * size


spectra = st.lists(st.floats(0.01, 3), min_size=1, max_size=4)


@given(spectra, st.integers(1, 6), st.integers(0, 5))
@settings(max_examples=20)
def test_the_limit_is_where_the_operator_has_eigenvalue_one(spectrum, batch, seed):
    n = len(spectrum)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]
    H = turn @ np.diag(spectrum) @ turn.T
    net = sk.Network.mlp([n, 1])
    w0 = sk.weights.from_arrays(net, [np.ones((1, n))])
    task = sk.Task.from_teacher(net, w0, noise=0.1, covariance=(H + H.T) / 2)
    rate = sk.noise.stability_limit(net, task, w0, batch_size=batch)
    one = np.eye(n)
    swap = np.einsum("il,jk->ijkl", H, H).reshape(n * n, n * n)
    trace = np.outer(H.ravel(), H.ravel())
    for share in (0.99, 1.0, 1.01):
        eta = share * rate
        step = np.kron(one - eta * H, one - eta * H) + eta**2 / batch * (swap + trace)
        radius = abs(np.linalg.eigvals(step)).max()
        assert radius == pytest.approx(1, abs=1e-9) if share == 1 else (radius < 1) == (share < 1)


def test_trap_the_mean_converges_where_the_second_moment_does_not():
    """Below 2 / h_max and beyond the limit: the usual criterion lets the rate pass."""
    task = online()
    limit = sk.noise.stability_limit(NET, task, W0, batch_size=1)
    naive = 2 / np.linalg.eigvalsh(MIXING @ MIXING.T)[-1]
    rate = 0.5 * (limit + naive)
    assert limit < 0.6 * naive
    runs = regression(fresh(MIXING, TEACHER, 0.4, 2000, 1), START, 2000, rate, [5, 150])
    assert np.square(runs[1]).mean() > 100 * np.square(runs[0]).mean()
    with pytest.raises(InvalidArgument, match=rf"must be below {limit:.6g}, the limit"):
        sk.second_moment(NET, task, W0, rate, batch_size=1)


def test_inputs_all_alike_keep_to_the_symbolic_form():
    net = sk.Network.mlp([4, 1])
    teacher, start = (sk.weights.from_arrays(net, [w * np.ones((1, 4))]) for w in (1.0, 0.0))
    task = sk.Task.from_teacher(net, teacher, noise=0.3, covariance=0.7 * np.eye(4))
    law = sk.second_moment(net, task, start, 0.4, batch_size=2)
    assert law.limit == pytest.approx(2 * 2 / (0.7 * (2 + 4 + 1)), rel=1e-12)
    known = {theory.ETA: 0.4, theory.BATCH: 2, theory.LABEL: 0.3, theory.VARIANCE: 0.7}
    known |= {theory.DIMENSION: 4, theory.START: 4.0}
    formula = sk.noise.isotropic_second_moment().plain.subs(known)
    for k in (0, 1, 7):
        length = np.trace(law.covariance(k)[0, :, 0]) + np.square(law.mean(k) - 1).sum()
        assert length == pytest.approx(float(formula.subs(theory.STEP, k)), rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "ended", "within"), [(0.05, 0.003, 0.066), (0.2, 0.066, 0.229)])
def test_the_simulators_epochs_are_quieter_than_independent_batches(rate, ended, within):
    law = sk.second_moment(NET, samples(), W0, rate, batch_size=3)
    sims = sk.simulate_ensemble(
        NET, samples(), [W0] * 200, rate, steps=1202, record=rate * np.array([1200, 1202]),
        batch_size=3, seeds=range(1000, 1200),
    )  # fmt: skip
    runs = np.array([sim.weights["W1"] for sim in sims]).reshape(200, 2, -1)
    share = runs.var(0).sum(1) / np.einsum("ofof", law.stationary_covariance)
    assert share == pytest.approx([ended, within], rel=0.2)


@pytest.mark.slow
def test_all_samples_in_every_step_are_gradient_descent():
    """Factors, rates, scales, fixed layers, and directions in which nothing moves."""
    x = Input(3)
    fixed = Parameter("W1", (4, 3), trained=False, scale=sp.Rational(1, 2))
    net = sk.Network.build(Parameter("W2", (2, 4), scale=3, rate=sp.Rational(2, 3)) @ (fixed @ x))
    stream = np.random.default_rng(1000)
    w0 = sk.weights.from_arrays(net, {"W1": stream.normal(size=(4, 3)), "W2": np.ones((2, 4))})
    loss, task = sk.SquaredError(0.8), samples()
    law = sk.second_moment(net, task, w0, 0.02, batch_size=12, loss=loss)
    sim = sk.simulate(net, task, w0, 0.02, steps=50, record=[0.4, 1.0], loss=loss)
    assert np.allclose(law.mean(sim.steps), sim.weights["W2"], rtol=0, atol=1e-12)
    assert np.abs(law.covariance(50)).max() < 1e-14
    assert law.loss(sim.steps) == pytest.approx(sim.loss, rel=1e-12)
    h = np.linalg.eigvalsh(task.X @ (w0.arrays["W1"].T * 1.5) @ (w0.arrays["W1"] * 1.5) @ task.X.T)
    assert law.limit == pytest.approx(2 / (h[-1] / 12 * 1.6 * 2 / 3), rel=1e-12)


def test_a_fixed_layer_and_the_factors_of_a_step():
    """The last layer on the features of a fixed one, with a loss and a rate of its own."""
    V = np.array([[1.0, 0.5, 0], [0, 1, -1], [1, 0, 1], [0, 0.5, 0.5]])
    net = sk.Network.build(
        Parameter("W2", (2, 4), scale=2, rate=sp.Rational(1, 2))
        @ (Parameter("W1", (4, 3), trained=False) @ Input(3))
    )
    w0 = sk.weights.from_arrays(net, {"W1": V, "W2": np.ones((2, 4))})
    task = samples()
    law = sk.second_moment(net, task, w0, 0.05, batch_size=3, loss=sk.SquaredError(0.8))
    features = 2 * task.X @ V.T
    plain = sk.Network.mlp([4, 2])
    start = sk.weights.from_arrays(plain, [np.ones((2, 4))])
    same = sk.second_moment(plain, sk.Task(features, task.Y), start, 0.04, batch_size=3)
    assert law.limit == pytest.approx(same.limit / 0.8, rel=1e-12)
    assert np.allclose(law.covariance(20), same.covariance(20), rtol=1e-12)
    error = task.Y - features @ np.ones((4, 2))
    one = np.ones((2, 4)) + 0.04 * error.T @ features / 12
    assert np.allclose(law.mean(1), one, rtol=1e-12)


def test_moments_are_gaussian_inputs_with_what_the_optimum_leaves():
    H = MIXING @ MIXING.T
    left = np.array([[0.3, 0.1], [0.1, 0.2]])
    task = sk.Task.from_moments(H, TEACHER @ H, TEACHER @ H @ TEACHER.T + left)
    law = sk.second_moment(NET, task, W0, 0.1, batch_size=2)
    mixed = law.stationary_covariance.swapaxes(1, 2)
    assert np.allclose(mixed[0, 1] / mixed[0, 0], 1 / 3)
    same = sk.second_moment(NET, online(0.3**0.5), W0, 0.1, batch_size=2)
    assert np.allclose(mixed[0, 0], same.stationary_covariance.swapaxes(1, 2)[0, 0])


BAD = {
    "learning_rate": [0, -0.1, np.nan, np.inf, "0.1", True, 1j, 50.0, None],
    "batch_size": [0, -1, 1.5, True, "2", None, 13],
    "label_noise": [
        0.1,
        "0.1",
        True,
        sk.LabelNoise(probability=0.1),
        sk.LabelNoise(std=0.1, online=False),
    ],
    "replacement": [1, "no", None],
    "loss": ["squared", 0.5],
    "net": [None, "net"],
    "task": [None, np.eye(3)],
    "w0": [None, [START]],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in BAD.items() for v in vs], ids=str)
def test_bad_arguments_are_refused(name, value):
    given = {"net": NET, "task": samples(), "w0": W0, "learning_rate": 0.1, "batch_size": 2}
    with pytest.raises(SymkernelError, match=r"'|must"):
        sk.second_moment(**(given | {name: value}))


@pytest.mark.parametrize("steps", [-1, 1.5, "3", True, [], [[1]], None, [1, np.nan]], ids=str)
def test_bad_steps_are_refused(steps):
    law = sk.second_moment(NET, samples(), W0, 0.1, batch_size=2)
    with pytest.raises(InvalidArgument, match="'steps'"):
        law.covariance(steps)


def test_what_is_no_linear_regression_is_refused():
    task = samples()
    two = sk.Network.two_layer(3, 2, 2)
    given = sk.weights.gaussian(two, seed=1)
    with pytest.raises(NoClosedForm, match="the last layer alone is trained"):
        sk.second_moment(two, task, given, 0.1, batch_size=2)
    bent = sk.Network.mlp([3, 4, 2])
    with pytest.raises(NoClosedForm, match="tanh"):
        sk.second_moment(bent, task, sk.weights.gaussian(bent, seed=1), 0.1, batch_size=2)
    decay = sk.SquaredError(weight_decay=0.1)
    with pytest.raises(NoClosedForm, match="without weight decay"):
        sk.second_moment(NET, task, W0, 0.1, batch_size=2, loss=decay)
    teacher = sk.Task.from_teacher(bent, sk.weights.gaussian(bent, seed=1))
    with pytest.raises(NoClosedForm, match="this teacher is not linear"):
        sk.second_moment(NET, teacher, W0, 0.1, batch_size=2)
    with pytest.raises(InvalidArgument, match="task without samples"):
        sk.second_moment(NET, online(), W0, 0.1, batch_size=2, label_noise=NOISY)
    with pytest.raises(InvalidArgument, match="never come twice"):
        sk.second_moment(NET, online(), W0, 0.1, batch_size=2, replacement=True)
    labels = sk.Task(task.X, sk.one_hot([0, 1] * 6))
    with pytest.raises(InvalidArgument, match="SquaredError"):
        sk.second_moment(NET, labels, W0, 0.1, batch_size=2, loss=sk.CrossEntropy())
    weighted = sk.Task(task.X, task.Y, sample_weights=np.full(12, 1 / 12))
    with pytest.raises(InvalidArgument, match="sample_weights"):
        sk.second_moment(NET, weighted, W0, 0.1, batch_size=2)
    s = sp.Symbol("s", positive=True)
    with pytest.raises(SymkernelError):
        sk.second_moment(sk.Network.mlp([1, 1]), sk.Task.from_modes(s), W0, 0.1, batch_size=1)


@pytest.mark.parametrize("dimension", [0, 1.5, True, "2"])
def test_bad_dimensions_are_refused(dimension):
    with pytest.raises(InvalidArgument, match="'dimension'"):
        sk.noise.isotropic_second_moment(dimension)
