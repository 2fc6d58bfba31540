"""`derive`: formulas that solve the mode equation, limits and times, observables."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel import notation
from symkernel.errors import InvalidArgument, OutsideValidity
from symkernel.problem.problem import Problem
from symkernel.simulation.flow import integrate_flow
from tests.one_mode import KAPPA, NUMBERS, RHO, SIDES, A, B, D, S, T, at, one_mode

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


def test_a_number_of_several_modes_is_refused_until_one_is_named() -> None:
    """A formula in symbols that nobody brought is no answer to a question in numbers."""
    task, net = sk.Task.from_modes([3.0, 1.5]), sk.Network.two_layer(2, 3, 2)
    d = sk.derive(net, task, sk.weights.aligned(net, task, a=0.1, b=0.1))
    for small in (False, True):
        with pytest.raises(InvalidArgument, match="one of the problem's 2 modes, 0 to 1, not None"):
            d.learning_time(0.5, small_scale=small)
    times = [d.learning_time(sp.Rational(1, 2), mode=k) for k in (0, 1)]
    assert [time for _, time in d.learning_order()] == times
    assert {RHO, notation.s} < d.learning_time(RHO).free_symbols
    with pytest.raises(InvalidArgument, match="'fraction' must lie between 0 and 1"):
        d.learning_time(2, mode=0)


def test_the_only_mode_need_not_be_named() -> None:
    task, net = sk.Task.from_modes([3.0]), sk.Network.two_layer(1, 3, 1)
    w0 = sk.weights.aligned(net, task, a=0.1, b=0.1)
    d = sk.derive(net, task, w0)
    time = d.learning_time(0.5)
    assert time == d.learning_time(0.5, mode=0)
    assert float(time) == pytest.approx(np.log(299) / 6, rel=1e-12)
    course = sk.Curriculum([sk.Phase(task, 1.0), sk.Phase(task)])
    with pytest.raises(OutsideValidity, match="name one of its 2 phases"):
        sk.derive(net, course, w0).learning_time(0.5)
    again = sk.derive(net, course, w0).learning_time(0.5, phase=0)
    assert float(again) == pytest.approx(float(time), rel=1e-15)


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
