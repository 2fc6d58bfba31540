"""Pairs of tasks: closed forms against flow and descent, their limits, and bad input."""

from __future__ import annotations

from functools import cache

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import symkernel as sk
from symkernel.errors import (
    InvalidArgument,
    MissingValues,
    NoClosedForm,
    OutsideValidity,
    ShapeMismatch,
)
from symkernel.simulation.flow import integrate_flow

s, r, a, b, d, T, D = sp.symbols("s r a b d T D", positive=True)
HALF = sp.S.Half
ONE = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
A, B = sk.Task.from_modes(s), sk.Task.from_modes(r)


def pair_of(first: sk.Task, second: sk.Task, one=a, two=a, durations=(T, D)) -> sk.task_pair:
    n = int(first.inputs)
    net = sk.Network.two_layer(inputs=n, hidden=n, outputs=n)
    return sk.task_pair(net, first, second, sk.weights.aligned(net, first, one, two), durations)


@cache
def _function(formula: sp.Expr):
    names = sorted(formula.free_symbols, key=str)
    return names, sp.lambdify(names, formula, "mpmath", cse=True)


def number(formula: sp.Expr, values: dict) -> float:
    """Evaluate with 30 digits, shared parts once."""
    names, function = _function(formula)
    with mpmath.workdps(30):
        exact = [
            mpmath.mpf(sp.Rational(values[name]).p) / sp.Rational(values[name]).q for name in names
        ]
        return float(function(*exact))


@cache
def unbalanced(kind: str) -> sk.task_pair:
    return pair_of(A, {"other": B, "reversed": A.reversed(), "same": A}[kind], a, b)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["other", "reversed", "same"]))
@settings(max_examples=9)
def test_closed_forms_equal_flow_and_compiled_law(seed: int, kind: str) -> None:
    """Losses by DOP853 on the weights; times by crossings of the compiled law's losses."""
    pair = unbalanced(kind)
    draw = np.random.default_rng(seed).uniform
    values = {s: draw(1, 3), a: draw(0.1, 0.6), b: draw(0.1, 0.6), T: draw(0.2, 3), D: draw(1, 3)}
    values |= {r: draw(1, 3)} if kind == "other" else {}
    level = values[s] ** 2 / 8
    found = pair.numbers(level, values, horizon=60.0)
    numeric = pair.law.compile(values).problem
    switches = np.array([0.0, values[T], values[T] + values[D]])
    flow = integrate_flow(numeric, switches)
    maps = (flow.weights["W2"] @ flow.weights["W1"])[:, 0, 0]
    final = [float(phase.task.Syx[0, 0]) for phase in numeric.curriculum.phases]
    losses = (maps[:, None] - final) ** 2 / 2
    rise, fall = losses[2, 0] - losses[1, 0], losses[0, 1] - losses[1, 1]
    assert number(pair.forgetting, values) == pytest.approx(rise, abs=1e-10)
    assert number(pair.forward_transfer, values) == pytest.approx(fall, abs=1e-10)
    assert found.forgetting == -found.backward_transfer == pytest.approx(rise, abs=1e-10)
    assert found.forward_transfer == pytest.approx(fall, abs=1e-10)
    if 0 < found.relearning_time < np.inf:
        assert number(pair.savings(HALF), values) == pytest.approx(found.savings, abs=1e-8)
    if kind == "reversed":
        assert number(pair.transfer_savings(HALF), values) == pytest.approx(
            found.transfer_savings, abs=1e-7
        )


def test_gradient_descent_approaches_the_closed_forms() -> None:
    pair = pair_of(A, A.reversed(), a, b)
    values = {s: 2, a: 0.3, b: 0.2, T: 1.5, D: 1.2}
    exact = np.array([number(q, values) for q in (
        pair.forgetting, pair.forward_transfer, pair.savings(HALF), pair.transfer_savings(HALF)
    )])  # fmt: skip
    errors = []
    for rate in (2e-3, 1e-3):
        run = pair.simulated(0.5, rate, values, horizon=6.0)
        found = (run.forgetting, run.forward_transfer, run.savings, run.transfer_savings)
        errors.append(np.abs(found - exact).max())
    assert errors[0] < 0.02
    assert 1.5 < errors[0] / errors[1] < 2.5


def test_long_phases_forget_all_that_differs() -> None:
    pair = pair_of(A, B)
    values = {s: 2, r: 3, a: sp.Rational(1, 3), T: 300, D: 300}
    assert number(pair.forgetting, values) == pytest.approx((2 - 3) ** 2 / 2, rel=1e-15)
    assert pair.backward_transfer == -pair.forgetting
    helped = (3 - 1 / 9) ** 2 / 2 - (3 - 2) ** 2 / 2
    assert number(pair.forward_transfer, values) == pytest.approx(helped, rel=1e-15)


def test_identical_tasks_are_not_forgotten() -> None:
    """More of the same only lowers the loss, by what was left to learn: nothing in the end."""
    pair = pair_of(A, A)
    values = {s: 2, a: sp.Rational(1, 3), T: 1, D: 1}
    assert number(pair.forgetting, values) < 0
    assert abs(number(pair.forgetting, values | {T: 300})) < 1e-200
    assert abs(number(pair.forgetting, values | {D: 0})) < 1e-25
    w0 = sk.weights.aligned(ONE, sk.Task.from_modes(2), a=0.3, b=0.2)
    one = sk.Task.from_modes(2)
    learned = sk.task_pair(ONE, one, one, w0, (5, 5))
    assert learned.savings(0.9) == 1
    assert learned.transfer_savings(0.9) == 1


def test_reversal_of_a_balanced_mode_falls_to_the_saddle() -> None:
    pair = pair_of(A, A.reversed())
    after = number(pair.forgetting, {s: 2, a: sp.Rational(1, 3), T: 300, D: 300})
    assert after == pytest.approx(2.0, rel=1e-15)  # s^2/2 of the 2 s^2 of a full reversal
    with pytest.raises(OutsideValidity, match="no such learning time"):
        pair.transfer_savings(HALF)  # it does not learn it by itself either
    assert pair.savings(HALF).subs({s: 2, a: 0.1, T: 4, D: 1}).is_finite


def test_never_again_is_minus_infinity() -> None:
    """Opposite sides that were half way to the saddle never come back."""
    first = sk.Task.from_modes(2.0)
    w0 = sk.weights.aligned(ONE, first, a=0.5, b=0.5)
    pair = sk.task_pair(ONE, first.reversed(), first, w0, (1.0, 1.0))
    with pytest.raises(OutsideValidity):
        pair.savings(0.5)
    pair = sk.task_pair(ONE, first, first.reversed(), w0, (1.0, 1.0))
    assert pair.numbers(0.5).second_alone_time == np.inf
    assert np.isnan(pair.numbers(0.5).transfer_savings)


def test_modes_that_share_nothing() -> None:
    """Orthogonal tasks: each pulls what the other one taught back to 0, by a power law."""
    pair = pair_of(sk.Task.from_modes([s, 0]), sk.Task.from_modes([0, r]))
    values = {s: 2, r: 1, a: 0.4, T: 300, D: 1.5}
    end = {sp.Symbol("t", nonnegative=True): T + D}
    modes = [number(pair.law.mode(k, phase=1).output.subs(end), values) for k in (0, 1)]
    assert modes[0] == pytest.approx(2 / (1 + 2 * 2 * 1.5), rel=1e-13)
    expected = ((2 - modes[0]) ** 2 + modes[1] ** 2) / 2
    unlearned = (0.16 / (1 + 2 * 0.16 * 300)) ** 2 / 2
    assert number(pair.forgetting, values) == pytest.approx(expected - unlearned, rel=1e-12)
    assert number(pair.savings(sp.Rational(1, 2), mode=0), values | {T: 2}) > 0


def test_small_weights_save_the_plateau() -> None:
    """From ever smaller weights all of the learning time is the plateau, and it is saved."""
    pair = pair_of(A, B)
    values = {s: 2, r: 1, T: 100, D: 100}
    savings = pair.savings(sp.Rational(3, 4))
    shares = [number(savings, values | {a: sp.Rational(1, 10**k)}) for k in (1, 2, 4)]
    assert shares[0] < shares[1] < shares[2] < 1
    assert shares[2] > 0.9


def test_numbers_of_a_law_without_formulas_per_mode() -> None:
    """Random weights and tasks that do not commute: the full-matrix law, and descent beside it."""
    stream = np.random.default_rng(1000)
    tasks = [
        sk.Task.from_moments(np.eye(3), syx, syx @ syx.T)
        for syx in 1.5 * stream.standard_normal((2, 2, 3))
    ]
    net = sk.Network.two_layer(inputs=3, hidden=2, outputs=2)
    w0 = sk.weights.lambda_balanced(net, lam=0.2, scale=0.3, seed=1)
    pair = sk.task_pair(net, *tasks, w0, (1.0, 0.5), law="lambda_balanced")
    exact = pair.numbers(0.2)
    assert 0 < exact.savings < 1
    assert exact.forgetting > 0.1
    errors = []
    for rate in (2e-3, 1e-3):
        run = pair.simulated(0.2, rate)
        gaps = (getattr(run, f) - getattr(exact, f) for f in exact.__dataclass_fields__)
        errors.append(max(map(abs, gaps)))
    assert errors[0] < 0.02
    assert 1.5 < errors[0] / errors[1] < 2.5
    for ask, name in (
        (lambda: pair.forgetting, "task_loss"),
        (lambda: pair.savings(HALF), "savings"),
        (lambda: pair.transfer_savings(HALF), "transfer_savings"),
    ):
        with pytest.raises(OutsideValidity, match=rf"no '{name}'.*use pair\.numbers\(level="):
            ask()


def test_any_network_is_simulated() -> None:
    X = np.random.default_rng(1000).standard_normal((6, 2))
    tasks = [sk.Task(X, np.sign(X @ np.diag(signs))) for signs in ((1, 1), (1, -1))]
    net = sk.Network.mlp([2, 6, 2], activation="tanh")
    pair = sk.task_pair(net, *tasks, sk.weights.gaussian(net, seed=1), (6.0, 6.0))
    found = pair.simulated(0.4, 0.05, horizon=30.0)
    assert found.forgetting > 0.1
    assert 0 < found.learning_time < 30
    assert found.savings == 1 - found.relearning_time / found.learning_time
    with pytest.raises(NoClosedForm):
        _ = pair.forgetting


@pytest.mark.parametrize("bad", [(T,), (T, D, T), 3, "TD", None, {T, D}])
def test_durations_are_two(bad: object) -> None:
    with pytest.raises(InvalidArgument, match="'durations' must hold two flow times"):
        pair_of(A, B, durations=bad)


@pytest.mark.parametrize("bad", [0, -1, np.nan, np.inf, True, "3", 1j])
def test_durations_are_flow_times(bad: object) -> None:
    with pytest.raises(InvalidArgument, match="'duration' must be"):
        pair_of(A, B, durations=(T, bad))


def test_durations_end() -> None:
    with pytest.raises(InvalidArgument, match="flow times that end"):
        pair_of(A, B, durations=(T, None))


def test_what_does_not_fit_is_refused_at_once() -> None:
    w0 = sk.weights.aligned(ONE, A, a=a, b=a)
    with pytest.raises(InvalidArgument, match="'task' must be a Task"):
        sk.task_pair(ONE, A, 3, w0, (T, D))
    with pytest.raises(InvalidArgument, match="'network' must be a Network"):
        sk.task_pair(A, A, B, w0, (T, D))
    with pytest.raises(InvalidArgument, match="'weights' must be a Weights"):
        sk.task_pair(ONE, A, B, None, (T, D))
    with pytest.raises(InvalidArgument, match="'loss' must be"):
        sk.task_pair(ONE, A, B, w0, (T, D), loss=2)
    with pytest.raises(ShapeMismatch):
        sk.task_pair(ONE, sk.Task.from_modes(1), sk.Task.from_modes([1, 2]), w0, (1, 1))
    with pytest.raises(InvalidArgument, match="'law' must be one of"):
        _ = sk.task_pair(ONE, A, B, w0, (T, D), law="none").forgetting


def test_bad_measures_are_refused() -> None:
    pair = pair_of(A, B)
    values = {s: 2, r: 1, a: 0.4, T: 2, D: 1.5}
    for bad in (0, 1, -1, np.nan, "half", None, True):
        with pytest.raises(InvalidArgument, match="'fraction' must"):
            pair.savings(bad)
        with pytest.raises(InvalidArgument, match="'fraction' must"):
            pair.transfer_savings(bad)
    with pytest.raises(InvalidArgument, match="index of a mode must lie"):
        pair.savings(HALF, mode=1)
    for bad in (0, -1, np.nan, np.inf, "1", None, True, 1j):
        with pytest.raises(InvalidArgument, match="'level' must"):
            pair.numbers(bad, values)
        with pytest.raises(InvalidArgument, match="'horizon' must"):
            pair.simulated(0.5, 0.01, values, horizon=0 if bad is None else bad)
    with pytest.raises(MissingValues):
        pair.numbers(0.5, {s: 2})
    assert repr(pair) == "TaskPair(flow times: T, D)"
