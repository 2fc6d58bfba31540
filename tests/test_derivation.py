"""`derive`: plain SymPy that solves the mode equation, times, limits, names, and refusals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel import notation
from symkernel.errors import (
    InvalidArgument,
    MissingValues,
    NoClosedForm,
    OutsideValidity,
    ShapeMismatch,
    SymkernelError,
)
from symkernel.problem.problem import Problem
from symkernel.simulation.flow import integrate_flow

T = notation.t
S, D, A, B, KAPPA, RHO = sp.symbols("sigma_1 var alpha_in beta_out kappa rho", positive=True)
NUMBERS = {S: sp.Rational(7, 4), D: sp.Rational(6, 5), A: sp.Rational(1, 3), B: sp.Rational(2, 9),
           KAPPA: sp.Rational(5, 2)}  # fmt: skip


def one_mode(a, b, s=S, d=D, *, factor=sp.S.Half, parameterisation="standard", hidden=4):
    net = sk.Network.two_layer(1, hidden, 1, parameterisation=parameterisation)
    task = sk.Task.from_modes(s, input_variance=d)
    weights = sk.weights.aligned(net, task, a=a, b=b)
    return sk.derive(net, task, weights, loss=sk.SquaredError(factor))


SIDES = {"balanced": (A, A), "unbalanced": (A, B), "opposite signs": (A, -B), "opposite": (A, -A),
         "one side": (A, sp.S.Zero)}  # fmt: skip


def at(expression, time, extra=()) -> sp.Expr:
    """Return the value at a rational time with 40 digits."""
    values = {**NUMBERS, **dict(extra)}
    return expression.xreplace(values).subs(T, time).evalf(40)


# --- the result solves the equation ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "parameterisation"), [(sp.S.Half, "standard"), (KAPPA, "ntk")], ids=str
)
@pytest.mark.parametrize("sides", SIDES)
def test_result_solves_the_mode_equation(sides: str, factor, parameterisation: str) -> None:
    r"""$a' = 2\kappa c\,b\,(s - d c\,ab)$, written down here and not read from the derivation."""
    a0, b0 = (sp.sympify(q).xreplace(NUMBERS) for q in SIDES[sides])
    result = one_mode(*SIDES[sides], factor=factor, parameterisation=parameterisation).result
    c = sp.Rational(1, 2) if parameterisation == "ntk" else sp.S.One
    kappa, s, d = (sp.sympify(q).xreplace(NUMBERS) for q in (factor, S, D))
    names = ("input_side", "output_side", "output")
    laws = [result[name].xreplace(NUMBERS) for name in names]
    for time in (sp.S.Zero, sp.Rational(4, 3)):
        a, b, u = (law.subs(T, time).evalf(45) for law in laws)
        moved = [sp.diff(law, T).subs(T, time).evalf(45) for law in laws[:2]]
        g = 2 * kappa * c * (s - d * c * a * b)
        assert abs(moved[0] - b * g) < 1e-35
        assert abs(moved[1] - a * g) < 1e-35
        assert abs(u - c * a * b) < 1e-35
        if time == 0:
            assert max(abs(a - a0), abs(b - b0)) < 1e-38


@pytest.mark.parametrize("factor", [sp.Rational(1, 4), sp.Integer(3), KAPPA], ids=str)
@pytest.mark.parametrize("sides", ["balanced", "unbalanced"])
def test_a_factor_of_the_loss_only_changes_the_clock(sides: str, factor) -> None:
    """Without a formula being edited: the law of factor kappa is the house's at 2 kappa t."""
    house, other = one_mode(*SIDES[sides]), one_mode(*SIDES[sides], factor=factor)
    for name in ("output", "input_side", "output_side", "hidden", "ntk", "pseudo_kernel"):
        time = sp.Rational(3, 5)
        later = (2 * factor * time).xreplace(NUMBERS)
        assert abs(at(other.result[name], time) - at(house.result[name], later)) < 1e-35
    assert other.result.loss != house.result.loss
    share = {RHO: sp.Rational(3, 5)}
    slow, fast = (at(d.learning_time(RHO), 0, share) for d in (house, other))
    assert abs(slow - fast * (2 * factor).xreplace(NUMBERS)) < 1e-35


@pytest.mark.parametrize("parameterisation", ["standard", "ntk"])
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_changed_law_agrees_with_the_flow_and_with_gradient_descent(
    factor: float, parameterisation: str
) -> None:
    net = sk.Network.two_layer(2, 5, 2, parameterisation=parameterisation)
    task = sk.Task.from_modes([2.0, 1.0], input_variance=[1.0, 0.5])
    loss = sk.SquaredError(factor)
    w0 = sk.weights.aligned(net, task, a=[0.3, 0.7], b=[0.4, -0.2])
    law = sk.derive(net, task, w0, loss=loss).compile()
    times = np.linspace(0.0, 4.0, 9) / factor
    flow = integrate_flow(Problem(net, task, w0, loss), times).weights
    found = law(times)
    for name, weight in flow.items():
        assert np.abs(found.weights[name] - weight).max() < 1e-11
    rate = times[1] / 1024
    run = sk.simulate(net, task, w0, learning_rate=rate, record=times, loss=loss)
    finer = sk.simulate(net, task, w0, learning_rate=rate / 2, record=times, loss=loss)
    gaps = [np.abs(r.modes - found.modes).max() for r in (run, finer)]
    assert 1.95 < gaps[0] / gaps[1] < 2.05


@pytest.mark.parametrize("sides", SIDES)
def test_series_at_zero_agrees_with_the_equation(sides: str) -> None:
    """Three derivatives of u at t = 0, from a' = b (s - d ab), b' = a (s - d ab) by hand."""
    a0, b0 = SIDES[sides]
    output = one_mode(a0, b0).result.output.xreplace(NUMBERS)
    x, y = sp.symbols("x y")
    s, d = NUMBERS[S], NUMBERS[D]
    rates = {x: y * (s - d * x * y), y: x * (s - d * x * y)}
    want, term = [], x * y
    for _ in range(4):
        start = {x: sp.sympify(a0).xreplace(NUMBERS), y: sp.sympify(b0).xreplace(NUMBERS)}
        want.append(term.subs(start))
        term = sp.expand(sum(sp.diff(term, q) * rate for q, rate in rates.items()))
    for order, value in enumerate(want):
        found = sp.diff(output, T, order).subs(T, 0)
        assert sp.expand(sp.radsimp(found - value)) == 0


def test_series_of_a_symbolic_balanced_law() -> None:
    output = one_mode(A, A).result.output
    series = sp.series(output, T, 0, 2).removeO()
    assert sp.expand(sp.cancel(series.coeff(T, 0)) - A**2) == 0
    assert sp.cancel(series.coeff(T, 1) - 2 * A**2 * (S - D * A**2)) == 0


# --- limits and times -----------------------------------------------------------------------------


def test_the_limit_of_a_balanced_law_is_the_strength_over_the_variance() -> None:
    assert sp.limit(one_mode(A, A).result.output, T, sp.oo) == S / D
    ntk = one_mode(A, A, parameterisation="ntk").result
    assert sp.limit(ntk.output, T, sp.oo) == S / D
    assert sp.limit(ntk.loss, T, sp.oo) == 0


@pytest.mark.parametrize("parameterisation", ["standard", "ntk"])
@pytest.mark.parametrize("sides", ["unbalanced", "opposite signs", "one side"])
def test_where_the_clock_has_stopped_other_laws_are_there_too(sides, parameterisation) -> None:
    """At tanh = 1, exactly; SymPy's own limit takes long over it and is asked once, below."""
    output = one_mode(*SIDES[sides], parameterisation=parameterisation, factor=3).result.output
    (clock,) = output.atoms(sp.tanh)
    assert sp.limit(clock.args[0].xreplace(NUMBERS), T, sp.oo) == sp.oo
    final = output.xreplace({clock: sp.S.One}).xreplace(NUMBERS)
    assert sp.expand(sp.expand(sp.radsimp(final - NUMBERS[S] / NUMBERS[D]))) == 0


def test_sympys_own_limit_of_an_unbalanced_law() -> None:
    d = one_mode(A, sp.S.Zero, d=1)
    assert sp.limit(d.result.output.subs({A: 2, S: sp.Rational(3, 2)}), T, sp.oo) == sp.Rational(
        3, 2
    )


def test_opposite_sides_end_on_the_saddle_and_have_no_learning_time() -> None:
    d = one_mode(A, -A)
    assert sp.limit(d.result.output, T, sp.oo) == 0
    assert d.result.output.subs(T, 0).equals(-(A**2))
    with pytest.raises(OutsideValidity, match="saddle at 0"):
        d.learning_time(0.5)


@pytest.mark.parametrize("parameterisation", ["standard", "ntk"])
@pytest.mark.parametrize("sides", ["balanced", "unbalanced", "opposite signs", "one side"])
def test_output_at_the_learning_time_is_the_fraction(sides: str, parameterisation: str) -> None:
    d = one_mode(*SIDES[sides], parameterisation=parameterisation, factor=KAPPA)
    time = d.learning_time(RHO)
    assert time.free_symbols <= {S, D, A, B, KAPPA, RHO}
    reached = d.result.output.subs(T, time) * D / S
    for share in (sp.Rational(1, 5), sp.Rational(1, 2), sp.Rational(99, 100)):
        assert at(time, 0, {RHO: share}) > 0
        assert abs(at(reached, 0, {RHO: share}) - share) < 1e-30


def test_the_balanced_learning_time_is_the_textbook_one() -> None:
    time = one_mode(A, A, d=1).learning_time(RHO)
    textbook = sp.log(RHO * (S / A**2 - 1) / (1 - RHO)) / (2 * S)
    assert sp.simplify(sp.expand_log(time - textbook, force=True)) == 0


def test_learning_times_of_numerical_modes() -> None:
    """Half of the final value, read off the compiled law."""
    task = sk.Task.from_modes([3.0, 1.5], input_variance=[1.0, 2.0])
    net = sk.Network.two_layer(2, 3, 2)
    d = sk.derive(net, task, sk.weights.aligned(net, task, a=[0.05, 0.1], b=[0.05, -0.2]))
    for mode, final in ((0, 3.0), (1, 0.75)):
        time = float(d.learning_time(0.5, mode=mode))
        assert d.compile()([time]).modes[0, mode] == pytest.approx(final / 2, rel=1e-12)


def test_learning_times_of_the_gram_diagonal_law() -> None:
    frame = np.eye(5)
    W1, W2 = frame[:, :2] * [0.1, 0.3], (frame[:, 2:4] * [0.2, 0.1]).T
    task = sk.Task.from_modes([2.0, 1.0])
    net = sk.Network.two_layer(2, 5, 2)
    d = sk.derive(net, task, sk.weights.from_arrays(net, [W1, W2]))
    assert d.law.name == "gram_diagonal"
    for mode, final in ((0, 2.0), (1, 1.0)):
        time = float(d.learning_time(0.25, mode=mode))
        assert d.compile()([time]).modes[0, mode] == pytest.approx(final / 4, rel=1e-12)
        output = d.mode(mode).output
        assert float(output.subs(T, time)) == pytest.approx(final / 4, rel=1e-9)


@pytest.mark.parametrize("start", ["zero weights", "zero strength", "above its final value"])
def test_a_mode_that_never_gets_there_has_no_learning_time(start: str) -> None:
    s, a = {"zero weights": (2.0, 0.0), "zero strength": (0.0, 0.5)}.get(start, (1.0, 3.0))
    task = sk.Task.from_modes([4.0, s])
    net = sk.Network.two_layer(2, 3, 2)
    d = sk.derive(net, task, sk.weights.aligned(net, task, a=[0.1, a], b=[0.1, a]))
    with pytest.raises(OutsideValidity, match="no such learning time"):
        d.learning_time(0.5, mode=1)


@pytest.mark.parametrize("fraction", [sp.I, np.nan, True, sp.nan, sp.oo, sp.Integer(3)], ids=str)
def test_fractions_that_are_none_are_refused(fraction) -> None:
    with pytest.raises(InvalidArgument, match=r"^Argument 'fraction' must"):
        one_mode(A, B).learning_time(fraction)


# --- observables of the result --------------------------------------------------------------------


@pytest.mark.parametrize("parameterisation", ["standard", "ntk"])
def test_observables_of_each_mode_are_those_of_the_network(parameterisation: str) -> None:
    r"""Weights by DOP853, projected here on $v_i = u_i = e_i$ and on the hidden directions."""
    kappa = 0.8
    task = sk.Task.from_modes([2.0, 0.7], input_variance=[0.5, 1.5])
    net = sk.Network.two_layer(2, 4, 2, parameterisation=parameterisation)
    a, b = [0.3, 0.6], [0.5, -0.2]
    w0 = sk.weights.aligned(net, task, a=a, b=b, seed=3)
    loss = sk.SquaredError(kappa)
    d = sk.derive(net, task, w0, loss=loss)
    inner, outer = (float(p.scale) for p in net.parameters)
    times = np.array([0.0, 0.4, 1.5])
    flow = integrate_flow(Problem(net, task, w0, loss), times).weights
    total = np.zeros(len(times))
    for i, (s, variance) in enumerate([(2.0, 0.5), (0.7, 1.5)]):
        direction = w0.arrays["W1"][:, i] / a[i]
        W1, W2 = flow["W1"][:, :, i], flow["W2"][:, i, :]
        value = outer * inner * (W2 * W1).sum(1)
        want = {
            "output": value,
            "input_side": W1 @ direction,
            "output_side": W2 @ direction,
            "hidden": inner * W1 @ direction,
            "hidden_gram": inner**2 * (W1**2).sum(1),
            "ntk": (inner * outer) ** 2 * ((W2**2).sum(1) + (W1**2).sum(1)),
            "pseudo_kernel": inner**2 * outer * W2 @ direction,
            "path_integral": inner * (W1 @ direction - a[i]),
            "loss": kappa * variance * (s / variance - value) ** 2,
        }
        total += want["loss"]
        result = d.mode(i)
        assert set(want) == set(result)
        for name, numbers in want.items():
            found = [float(result[name].subs(T, t)) for t in times]
            assert found == pytest.approx(numbers, rel=1e-9, abs=1e-11), (name, i)
    assert d.compile()(times).loss == pytest.approx(total, rel=1e-9)


def test_observables_of_gram_diagonal_modes_are_those_of_the_network() -> None:
    stream = np.random.default_rng(1000)
    frame = np.linalg.qr(stream.standard_normal((6, 6)))[0]
    P = frame[:, :2] * [0.4, 0.2]
    Q = frame[:, :2] * [-0.1, 0.3] + frame[:, 2:4] * [0.3, 0.5]
    net = sk.Network.two_layer(2, 6, 2, parameterisation="ntk")
    task = sk.Task.from_modes([2.0, 0.7])
    w0 = sk.weights.from_arrays(net, [P, Q.T])
    d = sk.derive(net, task, w0)
    assert d.law.name == "gram_diagonal"
    inner, outer = (float(p.scale) for p in net.parameters)
    times = np.array([0.0, 2.0, 9.0])
    flow = integrate_flow(Problem(net, task, w0), times).weights
    for i, s in enumerate([2.0, 0.7]):
        W1, W2 = flow["W1"][:, :, i], flow["W2"][:, i, :]
        value = outer * inner * (W2 * W1).sum(1)
        result = d.mode(i)
        even, odd = (
            np.array([float(result[n].subs(T, t)) for t in times]) for n in ("even", "odd")
        )
        assert np.allclose(np.outer(even, P[:, i]) + np.outer(odd, Q[:, i]), W1, atol=1e-10)
        assert np.allclose(np.outer(even, Q[:, i]) + np.outer(odd, P[:, i]), W2, atol=1e-10)
        want = {
            "output": value,
            "hidden_gram": inner**2 * (W1**2).sum(1),
            "readout_gram": (W2**2).sum(1),
            "ntk": (inner * outer) ** 2 * ((W2**2).sum(1) + (W1**2).sum(1)),
            "loss": 0.5 * (s - value) ** 2,
        }
        for name, numbers in want.items():
            found = [float(result[name].subs(T, t)) for t in times]
            assert found == pytest.approx(numbers, rel=1e-9, abs=1e-11), (name, i)


@pytest.mark.parametrize("parameterisation", ["standard", "ntk"])
def test_path_integral_moves_by_pseudo_kernel_times_residual(parameterisation: str) -> None:
    d = one_mode(A, B, factor=KAPPA, parameterisation=parameterisation).result
    rate = sp.diff(d.path_integral, T) - 2 * KAPPA * d.pseudo_kernel * (S - D * d.output)
    assert d.path_integral.subs(T, 0).equals(0)
    for time in (sp.S.Zero, sp.Rational(1, 2)):
        assert abs(at(rate, time)) < 1e-35


# --- steps, width, names --------------------------------------------------------------------------


@pytest.mark.parametrize("sides", SIDES)
def test_every_step_is_proven(sides: str) -> None:
    d = one_mode(*SIDES[sides], factor=KAPPA, parameterisation="ntk")
    assert len(d.steps) >= 8
    for step in d.steps:
        evidence = step.check()
        assert evidence.passed, f"{step.title}: {evidence.figure}"
        assert step.reason
        assert step.equations


def test_formulas_do_not_depend_on_the_width() -> None:
    narrow, wide = (one_mode(A, B, hidden=n) for n in (8, 8192))
    assert dict(narrow.result) == dict(wide.result)
    assert narrow.formulas == wide.formulas
    assert narrow.learning_time(RHO) == wide.learning_time(RHO)
    symbolic = one_mode(A, B, hidden=sp.Symbol("H", integer=True, positive=True))
    assert dict(symbolic.result) == dict(narrow.result)


def test_in_the_ntk_parameterisation_the_width_enters_as_a_symbol() -> None:
    H = sp.Symbol("H", integer=True, positive=True)
    d = one_mode(A, A, hidden=H, parameterisation="ntk")
    for width in (4, 9):
        number = one_mode(A, A, hidden=width, parameterisation="ntk").result.output
        gap = d.result.output.subs(H, width) - number
        assert abs(at(gap, sp.Rational(1, 3))) < 1e-35


def test_result_is_plain_sympy_in_the_users_own_symbols() -> None:
    d = one_mode(A, B)
    for name, expression in d.result.items():
        assert isinstance(expression, sp.Expr), name
        assert expression.free_symbols <= {S, D, A, B, T}
    value = d.result.output.subs({S: 2.0, D: 1.0, A: 0.1, B: 0.3, T: 1.0})
    compiled = d.compile({S: 2.0, D: 1.0, A: 0.1, B: 0.3})([1.0])
    assert float(value) == pytest.approx(compiled.modes[0, 0], rel=1e-12)


def test_formulas_written_out_are_the_law() -> None:
    d = one_mode(A, B)
    names = {notation.s: S, notation.d: D, notation.a0: A, notation.b0: B}
    plain = {f.name: f.plain.xreplace(names) for f in d.formulas}
    for name, key in (("output mode", "output"), ("input side", "input_side")):
        assert abs(at(plain[name] - d.result[key], sp.Rational(2, 3))) < 1e-35


def test_a_symbol_that_is_called_like_one_of_the_law_stays_the_users() -> None:
    """The user's own s, d, a0 and z may have other assumptions and other roles."""
    s, a0, z, R = sp.symbols("d s z R", positive=True)
    d = one_mode(a0, z, s=s, d=R)
    values = {s: 2.0, a0: 0.1, z: 0.3, R: 1.5}
    assert d.result.output.free_symbols == {*values, T}
    found = float(d.result.output.subs(values).subs(T, 0.7))
    want = one_mode(A, B).result.output.subs({S: 2.0, A: 0.1, B: 0.3, D: 1.5}).subs(T, 0.7)
    assert found == pytest.approx(float(want), rel=1e-12)
    law = d.compile({"d": 2.0, "s": 0.1, "z": 0.3, "R": 1.5})
    assert law([0.7]).modes[0, 0] == pytest.approx(found, rel=1e-12)


def test_modes_with_symbols_and_multiplicities() -> None:
    s1, s2 = sp.symbols("s1 s2", positive=True)
    m = sp.Symbol("m", integer=True, positive=True)
    task = sk.Task.from_modes([s1, s2], multiplicity=[1, m])
    net = sk.Network.two_layer(1 + m, 8, 1 + m)
    d = sk.derive(net, task, sk.weights.aligned(net, task, a=[A, B], b=[A, B]))
    for k, (s, a) in enumerate([(s1, A), (s2, B)]):
        assert d.mode(k).output.equals(s / (1 + (s / a**2 - 1) * sp.exp(-2 * s * T)))
    values = {s1: 1.0, s2: 3.0, m: 3, A: 0.1, B: 0.2}
    law = d.compile(values)
    modes = law([0.5]).modes[0]
    weak, strong = (float(d.mode(k).output.subs(values).subs(T, 0.5)) for k in (0, 1))
    assert modes == pytest.approx([strong, strong, strong, weak], rel=1e-12)
    assert law.problem.network.inputs == 4
    with pytest.raises(InvalidArgument, match="between 0 and 1, not 2"):
        d.mode(2)


def test_modes_of_a_numerical_task_are_sorted_by_strength() -> None:
    task = sk.Task.from_modes([1, 3])
    net = sk.Network.two_layer(2, 2, 2)
    d = sk.derive(net, task, sk.weights.aligned(net, task, a=[0.1, 0.2], b=[0.1, 0.2]))
    times = np.array([0.3, 1.0])
    for k in range(2):
        found = [float(d.mode(k).output.subs(T, t)) for t in times]
        assert found == pytest.approx(d.compile()(times).modes[:, k], rel=1e-10)
    assert d.mode(0).output.limit(T, sp.oo) == 3


def test_law_of_digits_like_data_mode_by_mode() -> None:
    """A task from samples: `mode(k)` carries its own numbers and agrees with the trajectory."""
    stream = np.random.default_rng(1000)
    task = sk.Task(stream.standard_normal((30, 4)), stream.standard_normal((30, 3))).whitened()
    net = sk.Network.two_layer(4, 5, 3)
    d = sk.derive(net, task, sk.weights.aligned(net, task, a=0.1, b=[0.1, 0.2, -0.3]))
    times = np.array([0.0, 2.0, 20.0])
    modes = d.compile()(times).modes
    for k in range(3):
        found = [float(d.mode(k).output.subs(T, t)) for t in times]
        assert found == pytest.approx(modes[:, k], rel=1e-9, abs=1e-12)


# --- compile --------------------------------------------------------------------------------------


def test_values_may_be_given_by_symbol_or_by_name() -> None:
    d = one_mode(A, B, factor=KAPPA)
    by_symbol = d.compile({S: 2.0, D: 1.5, A: 0.1, B: 0.3, KAPPA: 0.25})
    by_name = d.compile({"sigma_1": 2, "var": 1.5, "alpha_in": 0.1, "beta_out": 0.3, "kappa": 0.25})
    mixed = d.compile({S: 2, "var": 1.5, A: 0.1, "beta_out": 0.3, KAPPA: sp.Rational(1, 4)})
    times = [0.0, 0.5, 2.0]
    for law in (by_name, mixed):
        assert np.array_equal(law(times).modes, by_symbol(times).modes)


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        (None, "alpha_in, beta_out, kappa, sigma_1, var have none"),
        ({}, "alpha_in, beta_out, kappa, sigma_1, var have none"),
        ({S: 1, D: 1, A: 1}, "beta_out, kappa have none"),
        ({S: 1, D: 1, A: 1, B: 1}, "kappa has none"),
    ],
)
def test_symbols_without_values_are_named(values, missing: str) -> None:
    with pytest.raises(MissingValues, match=missing):
        one_mode(A, B, factor=KAPPA).compile(values)


GOOD = {S: 2.0, D: 1.0, A: 0.1, B: 0.2}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("s=1", "'values' must map"),
        ({**GOOD, D: [1.0]}, "must give a number for 'var'"),
        ({**GOOD, D: np.nan}, "a number for 'var', not nan"),
        ({**GOOD, A: np.inf}, "'alpha_in'"),
        ({**GOOD, A: 2j}, "must give a number for 'alpha_in'"),
        ({**GOOD, S: -1.0}, "'sigma_1', which is positive"),
        ({**GOOD, D: 0}, "'input_variance' must be positive"),
        ({**GOOD, sp.Symbol("other"): 1.0}, "names other, which is no symbol of the problem"),
        ({**GOOD, 3: 1.0}, "names 3, which is no symbol"),
        ({**GOOD, sp.Symbol("var"): 1.0}, "no symbol of the problem"),
        ({**GOOD, A: sp.Symbol("q")}, "must give a number for 'alpha_in', not q"),
    ],
)
def test_values_that_are_none_are_refused(values, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        one_mode(A, B).compile(values)


def test_values_for_a_problem_without_symbols_are_refused() -> None:
    """They would be ignored silently."""
    d = one_mode(0.1, 0.2, s=2.0, d=1.0)
    assert d.compile({})([0.0]).modes.shape == (1, 1)
    with pytest.raises(InvalidArgument, match="no symbol of the problem; its symbols are none"):
        d.compile({S: 3.0})


def test_compiled_laws_show_their_source_and_rules() -> None:
    law = one_mode(A, B).compile(GOOD)
    assert "@numba.njit" in law.source
    assert "def evaluate(" in law.source
    assert next(r.rule for r in law.rewritings) == "scale the clock"
    assert all(r.prove().passed for r in law.rewritings)
    assert len(repr(law)) < 400


# --- what is printed ------------------------------------------------------------------------------


def test_a_derivation_prints_its_assumptions_and_that_it_is_unchecked() -> None:
    d = one_mode(A, B)
    text = str(d)
    assert "not checked here" in text
    assert "flow time t = learning rate x steps" in text
    assert text.count("holds") == len(d.assumptions) == 4
    assert "loss factor 1/2; standard parameterisation" in text
    assert len(repr(d)) < 200


def test_result_names_what_it_has() -> None:
    result = one_mode(A, B).result
    assert result["output"] is result.output
    with pytest.raises(AttributeError, match=r"the law gives output, .* not 'accuracy'"):
        _ = result.accuracy
    with pytest.raises(TypeError):
        result["output"] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        one_mode(A, B).law = None


def test_the_catalogue_states_each_law() -> None:
    laws = sk.catalogue()
    assert [law.name for law in laws][:2] == ["aligned_modes", "gram_diagonal"]
    for law in laws:
        assert law.rank == "exact" if law.rtol is None else "exact ODE, no closed form"
        assert law.assumptions
        assert all(citation.bibtex().startswith("@") for citation in law.citations)
        example = law.example()
        d = sk.derive(example.network, example.curriculum, example.weights)
        assert d.law is law
        stated = {*law.outputs} - {"weights", "learning_time", "hidden", "pseudo_kernel"}
        assert stated <= {*d.result}


# --- refusals -------------------------------------------------------------------------------------


NET = sk.Network.two_layer(2, 3, 2)
TASK = sk.Task.from_modes([2.0, 1.0])
W0 = sk.weights.aligned(NET, TASK, a=0.1, b=0.2)
OTHER = sk.weights.gaussian(sk.Network.two_layer(2, 4, 2))
MISSHAPEN = sk.Task(np.eye(3), np.eye(3))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((None, TASK, W0), {}, InvalidArgument, "'network' must be a Network, not NoneType"),
        (("net", TASK, W0), {}, InvalidArgument, "'network' must be a Network, not str"),
        ((NET, None, W0), {}, InvalidArgument, "'curriculum' must be a Task or a Curriculum"),
        ((NET, [TASK], W0), {}, InvalidArgument, "'curriculum' must be a Task or a Curriculum"),
        ((NET, np.eye(2), W0), {}, InvalidArgument, "'curriculum' must be a Task or a Curriculum"),
        ((NET, TASK, None), {}, InvalidArgument, "'weights' must be a Weights, not NoneType"),
        ((NET, TASK, [np.eye(2)]), {}, InvalidArgument, "'weights' must be a Weights, not list"),
        ((NET, TASK, OTHER), {}, ShapeMismatch, r"must hold 'W1' of shape \(3, 2\), not \(4, 2\)"),
        ((NET, MISSHAPEN, W0), {}, ShapeMismatch, "The network has 2 inputs, the task has 3"),
        ((NET, TASK, W0), {"loss": 0.5}, InvalidArgument, "'loss' must be a SquaredError"),
        ((NET, TASK, W0), {"law": "saxe"}, InvalidArgument, "'law' must be one of aligned_modes"),
        ((NET, TASK, W0), {"law": 3}, InvalidArgument, "'law' must be one of aligned_modes"),
    ],
)
def test_bad_problems_are_refused(arguments, options, error, words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        sk.derive(*arguments, **options)
    assert isinstance(caught.value, SymkernelError)


@pytest.mark.parametrize("index", [-1, 2, 1.0, "0", None, True])
def test_modes_that_do_not_exist_are_refused(index) -> None:
    for d in (sk.derive(NET, TASK, W0), sk.derive(NET, TASK, W0, law="gram_diagonal")):
        with pytest.raises(InvalidArgument, match="'index' must be"):
            d.mode(index)


def test_refusal_carries_every_verdict_of_every_law() -> None:
    teacher = sk.Network.two_layer(2, 2, 2, "erf")
    unknown = sk.Task.from_teacher(teacher, sk.weights.gaussian(teacher))
    with pytest.raises(NoClosedForm) as caught:
        sk.derive(NET, unknown, sk.weights.gaussian(NET, seed=5))
    verdicts = caught.value.verdicts
    assert {v.law for v in verdicts} == {law.name for law in sk.catalogue()}
    assert any(v.holds for v in verdicts)
    for verdict in verdicts:
        assert verdict.holds == (verdict.distance <= verdict.tolerance)
        assert ("FAILS" in str(verdict)) == (not verdict.holds)
    failed = [v for v in verdicts if not v.holds]
    for verdict in failed:
        for part in (verdict.law, verdict.assumption, f"{verdict.distance:.2g}", verdict.advice):
            assert part in str(caught.value)
        assert verdict.advice


def test_weights_without_symbols_do_not_decide_a_task_with_symbols() -> None:
    """Alignment cannot be tested before the task has numbers, and is not assumed."""
    s1, s2 = sp.symbols("s1 s2", positive=True)
    with pytest.raises(NoClosedForm, match=r"give values, or weights by sk\.weights\.aligned"):
        sk.derive(NET, sk.Task.from_modes([s1, s2]), sk.weights.gaussian(NET))


def test_weights_aligned_with_another_task_are_refused_when_values_come() -> None:
    """With symbols alignment is taken from how the weights were made; with numbers it is tested."""
    s1, s2 = sp.symbols("s1 s2", positive=True)
    task = sk.Task.from_modes([s1, s2])
    d = sk.derive(NET, task, sk.weights.aligned(NET, task, a=A, b=B))
    assert d.compile({s1: 2, s2: 1, A: 0.1, B: 0.2})([0.0]).modes[0] == pytest.approx([0.02] * 2)


@pytest.mark.parametrize("s", [0.0, [2.0, 2.0], [2.0, 0.0]])
def test_zero_and_repeated_strengths_are_no_errors(s) -> None:
    task = sk.Task.from_modes(s if isinstance(s, list) else [s, s])
    d = sk.derive(NET, task, sk.weights.aligned(NET, task, a=0.3, b=0.4))
    assert np.isfinite(d.compile()([0.0, 1.0, 100.0]).modes).all()
    for k in range(2):
        assert float(d.mode(k).output.subs(T, 1)) == pytest.approx(
            d.compile()([1.0]).modes[0, k], rel=1e-9
        )
