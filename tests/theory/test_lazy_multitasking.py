"""The lazy law of multitasking against kernel regression on all prompts, without symmetry."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel.environments import Multitasking
from symkernel.theory import lazy_formulas
from tests.oracles import lazy_gram as oracle

G, M, K = sp.symbols("G M K", integer=True, positive=True)
ALPHA, BETA, GAMMA = sp.symbols("alpha beta gamma", positive=True)
RHO = sp.Symbol("rho_modes", positive=True)
ENV = Multitasking(G, M)
OVERLAP = ENV.matched + ENV.same
QUADRATIC = ALPHA + BETA * OVERLAP + GAMMA * OVERLAP**2
NUMBERS = {ALPHA: 0.3, BETA: 1.0, GAMMA: 0.5}
LAW = sk.lazy_multitasking(ENV, QUADRATIC)
SIZES = [(2, 2), (2, 4), (3, 2), (3, 3), (4, 2)]
SETTINGS = [(g, m, k) for g, m in SIZES for k in range(1, g + 1)]
assert len(SETTINGS) >= 12


@cache
def quadratic(g, m):
    law = LAW.compile({G: g, M: m, **NUMBERS})
    return law, oracle.of_relation(lambda a, d, _: 0.3 + (a + d) + 0.5 * (a + d) ** 2, g, m)


@cache
def erf(g, m, stimulus=1.3, task=0.7):
    inputs = g * m + g * g
    net = sk.Network.mlp([inputs, 50, 1], activation="erf", parameterisation="ntk")
    # The first layer divides by its fan-in.
    law = sk.lazy_multitasking(
        Multitasking(g, m), sk.infinite_width(net).ntk, stimulus=stimulus * inputs,
        task=task * inputs,
    )  # fmt: skip
    return law.compile(), oracle.erf_tangent(stimulus, task, g, m)


@cache
def drawn(g, m, seed=1000):
    """Any kernel: positive eigenvalues for one task, anything for prompts of more."""
    stream = np.random.default_rng(seed)
    scheme = Multitasking(g, m).symbolic.scheme
    values = stream.standard_normal((g, g + 1, 2))
    spectrum = {e: stream.uniform(0.5, 3.0) for e in scheme.relations}
    for r in scheme.relations:
        values[0][r] = sum(
            w * float(scheme.multiplicity(e) * scheme.eigenvalue(r, e)) for e, w in spectrum.items()
        ) / float(scheme.valency(r) * scheme.items)
    law = sk.lazy_multitasking(Multitasking(g, m), values)
    return law.compile(), oracle.of_relation(lambda a, d, k: values[max(k - 1, 0), a, d], g, m)


SMALL = ((2, 2), (3, 2))
KERNELS = {"erf": erf, "drawn": drawn, "quadratic": quadratic}


def clock(law):
    """From before the fastest mode to the end of training."""
    rates = [rate for rate in law._rates(None)[0] if rate]
    return np.array([0.1 / max(rates), 1 / min(rates), 40 / min(rates)])


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize(("g", "m", "k"), SETTINGS)
def test_closed_forms_are_the_explicit_algebra(g, m, k, kind):
    law, gram = KERNELS[kind](g, m)
    times = clock(law)
    env = Multitasking(g, m)
    found = law(times, env.prompts(env.task_sets(k)))
    expected = oracle.flow(gram, g, m, k, times)
    assert np.abs(found - expected).max() < 1e-12 * max(1.0, np.abs(expected).max())


def test_margin_is_positive_where_all_prompts_are_answered_right_and_only_there():
    cases = 0
    for g, m in [(3, 3), (2, 4), (3, 2), (4, 2)]:
        for kind in ("erf", "drawn"):
            law, gram = KERNELS[kind](g, m)
            times = clock(law)
            for k in range(1, g + 1):
                outputs = oracle.flow(gram, g, m, k, times)
                margins = law.margin(times, k)
                for f, margin in zip(outputs, margins, strict=True):
                    assert margin == pytest.approx(oracle.least_lead(f, g, m, k), abs=1e-11)
                    assert (margin > 0) == (oracle.accuracy(f, g, m, k) == 1)
                    cases += 1
    assert cases == 72


# The fully symbolic forms -------------------------------------------------------------------


def test_eigenvalues_of_the_quadratic_kernel_are_closed_for_all_sizes():
    found, p = LAW.eigenvalues, M ** (G - 1)
    assert found["1c"] == 2 * GAMMA * p
    expected = {
        "1m": found["1c"] + G**2 * p * (BETA + GAMMA * (1 + 2 * (G - 1) / M)),
        "0c": p * (M * (BETA + GAMMA) + 2 * G * GAMMA),
    }
    expected["0m"] = expected["0c"] + G**2 * M ** (G - 2) * (
        ALPHA * M**2 + BETA * G * M + GAMMA * (G * M + G * (G - 1))
    )
    for name, value in expected.items():
        assert sp.expand(sp.powsimp(sp.expand((found[name] - value) * M ** (3 - G)))) == 0


def test_margin_after_training_is_one_ratio_of_eigenvalues():
    margin = LAW.margin(K)
    assert sp.expand(margin.expression - (1 - (K - 1) * (1 - RHO) / G)) == 0
    for m, expected in ((2, 0.3617), (5, 0.3702)):
        value = margin.plain.subs({G: 3, M: m, K: 3, ALPHA: 0.3, BETA: 1, GAMMA: 0.5})
        assert float(value) == pytest.approx(expected, abs=5e-5)


def test_margins_of_wide_networks_shrink_with_the_variance_and_stay_positive():
    found = []
    for variance in (1.0, 16.0):
        law, _ = erf(3, 3, variance, variance)
        found.append([law.margin(clock(law)[-1:], k)[0] for k in (2, 3)])
    np.testing.assert_allclose(found[1], [0.24, 0.135], atol=2e-3)
    assert (np.array(found[0]) > found[1]).all()


def test_other_kernels_leave_the_case_open():
    """With gamma of any sign 1m need not be faster than 1c: both ends of the minimum stay."""
    gamma = sp.Symbol("gamma", real=True)
    law = sk.lazy_multitasking(ENV, BETA * OVERLAP + gamma * OVERLAP**2)
    assert law.margin(K).expression.has(sp.Min)
    assert not LAW.margin(K).expression.has(sp.Min)


def test_a_direct_path_adds_to_modes_without_features_alone():
    rate = sp.Symbol("r", positive=True)
    direct = sk.lazy_multitasking(ENV, QUADRATIC, direct=rate)
    for name, value in direct.eigenvalues.items():
        added = rate * M**G if name[0] == "0" else 0
        assert sp.expand(sp.expand((value - LAW.eigenvalues[name] - added) * M ** (2 - G))) == 0


def test_linear_hidden_units_never_learn_to_select(monkeypatch):
    monkeypatch.setattr("symkernel.theory.lazy_instances.SIZES", SMALL)
    linear = sk.lazy_multitasking(ENV, ALPHA + BETA * OVERLAP)
    report = linear.check()
    assert report.passed, str(report)
    assert linear.eigenvalues["1c"] == 0
    assert linear.time(K).expression == sp.oo
    values = {G: 3, M: 3, ALPHA: 0.2, BETA: 1.0}
    assert linear.margin(2).plain.subs(values) == -sp.Rational(1, 9)
    law = linear.compile(values)
    assert law.eigenvalues["1c"] == 0
    assert law.margin([1e6], 2)[0] == pytest.approx(-1 / 9)
    assert law.margin([1e6], 1) < 0
    assert law.time(2) == np.inf


def test_tasks_at_once_come_no_later_than_one_task():
    """The share of 1c that is needed falls with K; with features learned first the time is exact
    to the order of what is left of them."""
    law = LAW.compile({G: 4, M: 3, ALPHA: 0.3, BETA: 1.0, GAMMA: 0.01})
    found = [law.time(k) for k in (1, 2, 3, 4)]
    assert sorted(found, reverse=True) == found
    values = {G: 4, M: 3, ALPHA: 0.3, BETA: 1.0, GAMMA: 0.01}
    for k, time in zip((1, 2, 3, 4), found, strict=True):
        assert float(LAW.time(k).plain.subs(values)) == pytest.approx(time, rel=1e-4)
        before, after = law.margin([time * (1 - 1e-9), time * (1 + 1e-9)], k)
        assert before < 0 < after


def test_two_groups_do_both_tasks_from_the_start():
    law = LAW.compile({G: 2, M: 3, **NUMBERS})
    assert law.time(2) == 0
    assert LAW.with_values({G: 2}).time(2).plain == 0


def test_the_loss_changes_the_law_by_itself():
    factor = sp.Symbol("kappa", positive=True)
    loss = sk.SquaredError(factor)
    law = sk.lazy_multitasking(ENV, QUADRATIC, loss=loss)
    twice = law.compile({G: 3, M: 2, **NUMBERS, factor: 1.0})
    once = LAW.compile({G: 3, M: 2, **NUMBERS})
    np.testing.assert_allclose(twice([1.5]), once([3.0]), rtol=1e-14)


def test_the_mean_over_prompts_slows_by_their_number():
    """Rates are eigenvalues over the number of prompts; the sum over prompts would be too fast."""
    law, gram = quadratic(3, 2)
    env, time = Multitasking(3, 2), 4.0
    expected = oracle.flow(gram, 3, 2, 1, [time])
    np.testing.assert_allclose(law([time]), expected, atol=1e-13)
    assert np.abs(law([time * len(env.single.X)]) - expected).max() > 0.01


# Traps --------------------------------------------------------------------------------------


def test_trap_7_discrete_steps_are_powers_and_no_exponentials():
    law, gram = quadratic(3, 3)
    env, steps = Multitasking(3, 3), 9
    rate = 0.8 / max(law._rates(None)[0])
    prompts = env.prompts(env.task_sets(2))
    truth = oracle.descent(gram, 3, 3, 2, steps, rate)
    assert np.abs(law([steps * rate], prompts, learning_rate=rate)[0] - truth).max() < 1e-12
    assert np.abs(law([steps * rate], prompts)[0] - truth).max() > 1e-3


def test_trap_8_the_norm_of_the_prompt_enters_the_kernel():
    law, gram = erf(3, 3)
    env = Multitasking(3, 3)
    times, prompts = clock(law)[-1:], env.prompts(env.task_sets(3))
    truth = oracle.flow(gram, 3, 3, 3, times)
    assert np.abs(law(times, prompts) - truth).max() < 1e-12
    entry = law.law.kernel.entry
    table = [[float(entry(m, d, 1)) for d in (0, 1)] for m in range(4)]
    blind = sk.lazy_multitasking(env, table).compile()
    assert np.abs(blind(times, prompts) - truth).max() > 1e-2
    # What the blind kernel obeys is the formula of kernels that do not see K, exactly.
    lam = blind.eigenvalues
    margin = 1 - 2 * (1 - lam["1c"] / lam["1m"]) / 3
    assert blind.margin(times, 3)[0] == pytest.approx(margin, abs=1e-13)


def test_trap_9_two_groups_have_their_own_minimum():
    law, gram = erf(2, 3)
    for time in clock(law):
        found = law._evaluated([time], [2], None)
        b, a = found["b_read"][0, 0], found["a_pooled"][0, 0]
        lead = oracle.least_lead(oracle.flow(gram, 2, 3, 2, [time])[0], 2, 3, 2)
        assert b + min(0, 2 * a) == pytest.approx(lead, abs=1e-12)
        assert law.margin([time], 2)[0] == pytest.approx(lead, abs=1e-12)
    # The end that larger groups have, -(G - 2) a, is not reached by G a where a is positive.
    assert law._evaluated(clock(law)[:1], [2], None)["a_pooled"][0, 0] > 0


# Kernels and numbers ------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", 1 / (1 + sp.exp(2 - sp.Symbol("z")))],
                         ids=["relu", "sigmoid"])  # fmt: skip
def test_kernels_of_wide_networks_lie_in_the_algebra(activation):
    """The Gram matrix of the network on all inputs, against the entries by relation."""
    g, m = 2, 2
    net = sk.Network.mlp([8, 50, 1], activation=activation, parameterisation="ntk")
    wide, scales = sk.infinite_width(net).ntk, np.sqrt([4.0] * 4 + [9.0] * 4)
    law = sk.lazy_multitasking(Multitasking(g, m), wide, stimulus=4.0, task=9.0)
    routine, compiled = wide.compile(tolerance=1e-12), law.compile()

    def gram(P, X):
        return routine(P * scales, None if P is X else X * scales)

    env, times = Multitasking(g, m), clock(compiled)[:2]
    expected = oracle.flow(gram, g, m, 2, times)
    found = compiled(times, env.prompts(env.task_sets(2)))
    assert np.abs(found - expected).max() < 1e-10


def test_any_closed_average_gives_a_formula_for_symbols():
    net = sk.Network.mlp([18, 50, 1], activation="erf", parameterisation="ntk")
    wide = sk.infinite_width(net).ntk
    law = sk.lazy_multitasking(ENV, wide, stimulus=23, task=12, direct=1)
    found = law.compile({G: 3, M: 2}).eigenvalues
    for name, value in law.eigenvalues.items():
        assert value.free_symbols >= {G, M}
        assert float(value.subs({G: 3, M: 2}).doit()) == pytest.approx(found[name], rel=1e-12)
    assert "k_prompt" in {symbol.func.__name__ for symbol, _ in law.margin(2).where}


def test_prompts_of_several_sizes_are_answered_together():
    env, law = Multitasking(3, 2), LAW.compile({G: 3, M: 2, **NUMBERS})
    together = law([1.0, 9.0], env.concurrent)
    assert together.shape == (2, len(env.concurrent.X), 6)
    two = env.prompts(env.task_sets(2))
    np.testing.assert_array_equal(together[:, : len(two.X)], law([1.0, 9.0], two))
    np.testing.assert_array_equal(law([2.0]), law([2.0], env.single))
    assert "def evaluate" in law.source


def test_modes_are_learned_in_the_order_of_their_eigenvalues():
    law = LAW.compile({G: 3, M: 3, **NUMBERS})
    times = np.linspace(0.0, 20.0, 9)
    shares = law.learned(times)
    for name, value in law.eigenvalues.items():
        np.testing.assert_allclose(shares[name], -np.expm1(-value * times / 243), rtol=1e-13)
    steps = law.learned([3 * 0.25], learning_rate=0.25)
    for name, value in law.eigenvalues.items():
        assert steps[name][0] == pytest.approx(1 - (1 - 0.25 * value / 243) ** 3, rel=1e-13)


def test_formulas_are_plain_sympy():
    t = sp.Symbol("t", nonnegative=True)
    values = {G: 3, M: 2, **NUMBERS}
    law = LAW.compile(values)
    margin = LAW.margin(K, t).plain.subs({**values, K: 2, t: 5.0})
    assert float(margin) == pytest.approx(law.margin([5.0], 2)[0], abs=1e-13)
    output = LAW.output(sp.oo).plain
    assert sp.expand(output - (lazy_formulas.ADDRESSED / M + lazy_formulas.READ)) == 0
    grown = sk.lazy_multitasking(ENV, sp.exp(BETA * OVERLAP / 3))
    plain = grown.margin(2, 30).plain
    assert "k_prompt" not in str(plain)
    found = grown.compile({G: 2, M: 2, BETA: 1}).margin([30.0], 2)[0]
    assert float(plain.subs({G: 2, M: 2, BETA: 1}).doit()) == pytest.approx(found, abs=1e-13)
    assert LAW.free_symbols == {G, M, ALPHA, BETA, GAMMA}
    assert "quadratic" not in repr(LAW)


@pytest.mark.slow
def test_wide_networks_come_near_it_as_their_width_grows():
    """Gradient descent from outputs 0; prompts of several tasks are extrapolated, and later."""
    env, inputs, factor = Multitasking(3, 2), 15, np.sqrt(4.5)
    widths, found = [64, 256, 1024, 4096], []
    for width in widths:
        net = sk.Network.mlp([inputs, width, 6], activation="tanh", parameterisation="ntk")
        wide = sk.infinite_width(net).ntk
        law = sk.lazy_multitasking(env, wide, stimulus=factor**2, task=factor**2).compile()
        rates = law._rates(None)[0]
        rate = 0.5 / max(rates)
        end = rate * int(3 / min(rates) / rate)
        squares = []
        for seed in range(1000, 1003):
            stream, half = np.random.default_rng(seed), width // 2
            W1, W2 = stream.standard_normal((half, inputs)), stream.standard_normal((6, half))
            # Pairs of units that cancel: the output is 0 at the start.
            start = {"W1": np.vstack([W1, W1]), "W2": np.hstack([W2, -W2])}
            w0 = sk.weights.from_arrays(net, start)
            task = sk.Task(env.single.X * factor, env.single.Y)
            run = sk.simulate(net, task, w0, learning_rate=rate, record=[end])
            last = {name: w[-1] for name, w in run.weights.items()}
            row = []
            for k in (1, 2, 3):
                prompts = env.prompts(env.task_sets(k))
                truth = sk.activity(net, last, prompts.X * factor)
                claimed = law([end], prompts, learning_rate=rate)[0]
                row.append(((truth - claimed) ** 2).mean() / (claimed**2).mean())
            squares.append(row)
        found.append(np.sqrt(np.mean(squares, 0)))
    slopes = np.polyfit(np.log(widths), np.log(found), 1)[0]
    assert ((slopes > -0.55) & (slopes < -0.25)).all(), slopes
    assert (np.diff(found, axis=0) < 0).all()
    assert (found[-1] < [0.04, 0.15, 0.25]).all(), found[-1]
    assert (found[-1][1:] > 2 * found[-1][0]).all()
