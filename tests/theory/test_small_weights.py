from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel.errors import InvalidArgument, OutsideValidity
from symkernel.theory.feature_averages import FeatureAverages, indicator
from symkernel.theory.small_weights import SmallWeights

G, M, K = sp.symbols("G M K", integer=True, positive=True)
B = sp.Symbol("b_h", real=True)
GATED, LINEAR = sk.small_weights(), sk.small_weights(output_activation="linear")
# Hidden weights are at the fixed bias -2 until they grow.
BIAS = -2


def zero(expression):
    return sp.cancel(sp.together(expression)) == 0


def test_plateaus_and_rates_are_the_closed_forms_in_symbols():
    first, second = (f.plain for f in GATED.plateaus)
    assert zero(first - (1 - 1 / M) / 2)
    assert zero(second - (1 - 1 / M) * (1 - 1 / G) / 2)
    assert zero(LINEAR.plateaus[1].plain - (1 - 1 / M) * (1 - 1 / G**2) / 2)
    slope = sp.exp(-B) / (1 + sp.exp(-B)) ** 2
    assert zero(GATED.escape_rate.plain - slope * (1 / M) * (1 - 1 / M) / (G * M))
    assert zero(LINEAR.escape_rate.plain - slope / (G * M))
    tanh = sk.small_weights(activation="tanh").escape_rate.plain
    assert zero(tanh - (1 - sp.tanh(B) ** 2) * (M - 1) / (G * M**3))
    w, gain = sp.Symbol("w_r", positive=True), (M - 1) / M**2
    ratio = GATED.gating_rate.expression / (
        w * sp.Symbol("psi_slope") * M**-1 * G ** sp.Rational(-3, 2)
    )
    assert ratio == sp.Abs(sp.Symbol("phi_curve"))
    assert zero(dict(GATED.gating_rate.where)[sp.Symbol("psi_slope")] - gain)
    assert GATED.concurrent_accuracy(K).expression == M ** (1 - K)


def test_numbers_of_an_environment_are_put_in():
    theory = sk.small_weights(sk.environments.Multitasking(groups=4, features=2))
    assert [f.expression for f in theory.plateaus] == [sp.Rational(1, 4), sp.Rational(3, 16)]
    assert float(theory.escape_rate.plain.subs(B, BIAS)) == pytest.approx(3.28e-3, rel=1e-3)
    assert [theory.concurrent_accuracy(k).expression for k in (1, 2, 3)] == [
        1, sp.Rational(1, 2), sp.Rational(1, 4)
    ]  # fmt: skip
    assert "L_1 = 3/16" in repr(theory)


@pytest.mark.parametrize("theory", [GATED, LINEAR])
def test_every_step_is_checked_on_counted_prompts(theory):
    report = theory.check()
    assert report.passed, str(report)
    assert len(report.rungs) == len(theory.steps) == (7 if theory.is_gated else 5)


@pytest.mark.parametrize(
    ("name", "wrong", "steps"),
    [
        ("losses", lambda t: (t.losses[0], 2 * t.losses[1]), {5}),
        ("losses", lambda t: (t.losses[0] + 1 / M**3, t.losses[1]), {2}),
        ("drive", lambda t: t.drive / G, {4}),
        ("gate_drive", lambda t: t.gate_drive * G, {6}),
        ("gain", lambda t: 1 / M, {3}),
        ("averages", lambda t: FeatureAverages(G, M + 1), {1}),
    ],
)
def test_a_wrong_number_fails_its_step(name, wrong, steps):
    class Wrong(SmallWeights):
        pass

    setattr(Wrong, name, wrong(GATED))
    theory = Wrong(*(getattr(GATED, f.name) for f in dataclasses.fields(GATED)))
    failed = {k for k, step in enumerate(theory.steps, 1) if not step.check().passed}
    assert steps <= failed
    if name != "averages":
        assert failed == steps


def test_averages_are_those_over_all_stimuli():
    env = sk.environments.Multitasking(3, 4)
    shown = env.single.X[:, :12].reshape(-1, 3, 4)
    averages = FeatureAverages(sp.Integer(3), sp.Integer(4))
    stream = np.random.default_rng(0)
    for _ in range(20):
        places = stream.integers(0, [3, 4], (4, 2)).tolist()
        wanted = np.prod([shown[:, g, v] for g, v in places], axis=0).mean()
        product = sp.Mul(*(indicator(g, v) for g, v in places))
        assert float(averages.mean(2 * product + 1)) == pytest.approx(2 * wanted + 1, abs=1e-15)
    counts = shown.sum(1)[:, 0]
    second = averages.over_pairs(lambda k, l: averages.mean(indicator(k, 0) * indicator(l, 0)))
    assert float(second) == pytest.approx((counts**2).mean())
    first = averages.over_groups(lambda k: averages.mean(indicator(k, 0)))
    assert float(first) == pytest.approx(counts.mean())


def test_the_document_holds_steps_checks_and_results(tmp_path: Path):
    path = GATED.save_latex(tmp_path / "small.tex", names={"G": r"\Gamma"})
    text = path.read_text()
    assert text.startswith(r"\documentclass")
    assert r"\Gamma" in text
    assert "FAILED" not in text
    assert text.count("Check passed") == 7
    assert r"\mathrm{acc}_K &= M^{1 - K}" in GATED.latex()
    assert r"r_1 &= \frac{\phi'(b) \psi'}{G M}" in GATED.latex()


def trained(G, M, output="sigmoid", rate=10.0):
    """Loss, growth of pooled contrasts and theory, from weights of the scale 0.001."""
    env = sk.environments.Multitasking(G, M)
    net = env.network(output_activation=output)
    theory = sk.small_weights(env, output_activation=output)
    r1 = float(theory.escape_rate.plain.subs(B, BIAS))
    shift = {"sigmoid": -2.0, "linear": 0.0}[output]
    w0 = env.weights(net, scale=0.001, seed=1000, output_bias=shift)
    # Long enough for the second plateau, not for what follows it.
    run = sk.simulate(net, env.single.task, w0, rate, record=np.linspace(0, 18 / r1, 400))
    pooled = run.weights["W_s"].reshape(len(run.times), -1, G, M).sum(2)
    contrast = np.linalg.norm(pooled - pooled.mean(-1, keepdims=True), axis=(1, 2))
    return theory, r1, run, contrast


def judged(G, M, output="sigmoid", rate=10.0):
    theory, r1, run, contrast = trained(G, M, output, rate)
    first, second = (float(f.plain) for f in theory.plateaus)
    # Where learning is slowest, before and after half of what lies between the plateaus.
    pace = -np.gradient(np.log(run.loss), run.times)
    half = int(np.argmax(run.loss < (first + second) / 2))
    rests = [run.loss[np.argmin(pace[:half])], run.loss[half + np.argmin(pace[half:])]]
    # Where the hidden layer has begun to grow, and is small yet.
    begun = (contrast > 20 * contrast[0]) & (contrast < 1.0)
    slope = np.polyfit(run.times[begun], np.log(contrast[begun]), 1)[0]
    # Steps of descent grow by 1 + rate x r.
    return rests[0] / first, rests[1] / second, np.expm1(slope * rate) / rate / r1


def test_plateaus_and_escape_rate_are_those_of_training():
    first, second, rate = judged(2, 3)
    assert abs(first - 1) < 0.03
    assert abs(second - 1) < 0.03
    assert abs(rate - 1) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("G", "M"), [(3, 3), (3, 5), (4, 2)])
def test_plateaus_and_escape_rate_of_larger_environments(G, M):
    first, second, rate = judged(G, M)
    assert abs(first - 1) < 0.03
    assert abs(second - 1) < 0.03
    assert abs(rate - 1) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("G", "M"), [(2, 3), (3, 3), (4, 2)])
def test_plateaus_and_escape_rate_of_linear_outputs(G, M):
    first, second, rate = judged(G, M, "linear", rate=1.0)
    assert abs(first - 1) < 1e-3
    assert abs(second - 1) < 1e-3
    assert abs(rate - 1) < 0.05


def gating(G, M, output, rate):
    """Growth at the second plateau: contrasts of stimulus groups, of response groups, of units."""
    env = sk.environments.Multitasking(G, M)
    net = env.network(output_activation=output)
    theory = sk.small_weights(env, output_activation=output)
    r1 = float(theory.escape_rate.plain.subs(B, BIAS))
    shift = {"sigmoid": -2.0, "linear": 0.0}[output]
    w0 = env.weights(net, scale=0.001, seed=1000, output_bias=shift)
    run = sk.simulate(net, env.single.task, w0, rate, record=np.linspace(0, 22 / r1, 400))
    first, second = (float(f.plain) for f in theory.plateaus)
    pace = -np.gradient(np.log(run.loss), run.times)
    half = int(np.argmax(run.loss < (first + second) / 2))
    rest = half + int(np.argmin(pace[half:]))
    weights = run.weights["W_t"].reshape(len(run.times), -1, G, G)
    by_read = weights.mean(3) - weights.mean((2, 3))[..., None]
    by_written = weights - weights.mean(3, keepdims=True)

    def growth(part):
        logs = np.log(np.sqrt((part**2).sum(-1)))
        return np.gradient(logs, run.times, axis=0)[rest]

    readout = run.weights["W_2"][rest].reshape(G, M, -1).mean(0)
    size = np.linalg.norm(readout - readout.mean(0), axis=0)
    whole = [growth(part.reshape(len(part), -1)) for part in (by_read, by_written)]
    return theory, *whole, growth(by_read), size


def test_response_groups_are_not_told_apart_where_the_output_saturates():
    theory, read, written, units, size = gating(2, 3, "sigmoid", 10.0)
    assert read > 10 * written
    formula = theory.gating_rate.plain.subs({B: BIAS})
    rates = np.array([float(formula.subs(sp.Symbol("w_r", positive=True), w)) for w in size])
    large = size > np.median(size)
    # An approximation: averages of products are taken as products of averages.
    assert 0.8 < np.median(units[large] / rates[large]) < 1.4


def test_response_groups_are_told_apart_where_the_output_is_linear():
    _, read, written, _, _ = gating(2, 3, "linear", 1.0)
    assert written > 0.5 * read


@pytest.mark.slow
@pytest.mark.parametrize(("G", "M"), [(2, 4), (4, 3)])
def test_tasks_at_once_are_right_by_coincidence(G, M):
    """2500 steps at the scale 0.1: at least what coincides, and no more than a tenth above."""
    env = sk.environments.Multitasking(G, M)
    net = env.network()
    w0 = env.weights(net, scale=0.1, seed=1000)
    run = sk.simulate(net, env.single.task, w0, 20.0, record=[0.0, 50000.0])
    last = {name: w[-1] for name, w in run.weights.items()}
    theory = sk.small_weights(env)
    for tasks in range(2, min(G, 3) + 1):
        prompts = env.prompts(env.task_sets(tasks))
        found = float(prompts.accuracy(sk.activity(net, last, prompts.X)))
        wanted = float(theory.concurrent_accuracy(tasks).expression)
        assert wanted - 0.01 < found < wanted + 0.06


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: sk.small_weights("env"), InvalidArgument, "'environment' must be"),
        (
            lambda: sk.small_weights(output_activation="tanh"),
            InvalidArgument,
            "sigmoid' or 'linear'",
        ),
        (lambda: sk.small_weights(activation="swish"), InvalidArgument, "activation"),
        (lambda: GATED.concurrent_accuracy(0), InvalidArgument, "from 1 to"),
        (lambda: GATED.concurrent_accuracy(True), InvalidArgument, "'tasks' must be"),
        (lambda: GATED.concurrent_accuracy(1.5), InvalidArgument, "'tasks' must be"),
        (lambda: GATED.concurrent_accuracy("2"), InvalidArgument, "'tasks' must be"),
        (lambda: GATED.concurrent_accuracy(sp.Rational(1, 2)), InvalidArgument, "'tasks' must be"),
        (
            lambda: sk.small_weights(sk.environments.Multitasking(2, 2)).concurrent_accuracy(3),
            InvalidArgument,
            "number of groups, 2",
        ),
        (lambda: LINEAR.concurrent_accuracy(2), OutsideValidity, "linear output"),
        (lambda: LINEAR.gating_rate, OutsideValidity, "linear output"),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_what_cannot_gate_has_no_gating_and_no_accuracy():
    for phi in ("linear", "relu"):
        theory = sk.small_weights(activation=phi)
        assert len(theory.formulas) == 3
        assert len(theory.steps) == 5
        with pytest.raises(OutsideValidity, match="curvature"):
            _ = theory.gating_rate
        with pytest.raises(OutsideValidity, match="curvature"):
            theory.concurrent_accuracy(2)


def test_contrasts_grow_whatever_the_sign_of_the_slope():
    rate = sk.small_weights(activation="quadratic").escape_rate.plain
    bias = next(q for q in rate.free_symbols if q.name == "b_h")
    assert rate.subs(bias, -1) == rate.subs(bias, 1)
    G, M = (q for q in sorted(rate.free_symbols - {bias}, key=str))
    assert rate.subs({bias: -1, G: 2, M: 3}) > 0
