"""The hierarchy of time derivatives: exact against blind ways, its series, and what is refused."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import symkernel as sk
from symkernel.errors import InvalidArgument, MissingValues, OutsideValidity, ShapeMismatch
from symkernel.nodes import Apply, Gate, Input, Parameter
from symkernel.problem.problem import Problem
from symkernel.simulation.flow import integrate_flow
from tests.oracles import picard_series

Z = sp.Symbol("z")


def rational(stream: np.random.Generator, rows: int, columns: int) -> sp.Matrix:
    return sp.Matrix(rows, columns, lambda *_: sp.Rational(int(stream.integers(-9, 10)), 4))


def fractions(matrix: sp.Matrix) -> np.ndarray:
    entries = [Fraction(int(q.p), int(q.q)) for q in matrix]
    return np.array(entries, dtype=object).reshape(matrix.shape)


def drawn(sizes: tuple[int, ...], samples: int, seed: int = 0):
    """Return an exact task and exact weights of a chain."""
    stream = np.random.default_rng(seed)
    X, Y = rational(stream, samples, sizes[0]), rational(stream, samples, sizes[-1])
    return sk.Task(X, Y), X, Y, [rational(stream, b, a) for a, b in pairwise(sizes)]


def blind(f: sp.Expr, loss: sp.Expr, weights: list[sp.Symbol], orders: int) -> list[sp.Expr]:
    """Return f and its derivatives along minus the gradient of the loss."""
    found = [f]
    for _ in range(orders):
        last = found[-1]
        found.append(sum(-sp.diff(loss, w) * sp.diff(last, w) for w in weights))
    return found


@pytest.mark.parametrize(("hidden", "orders"), [(1, 3), (2, 2)])
@pytest.mark.parametrize("phi", ["tanh", "linear"])
def test_all_orders_equal_blind_differentiation_symbol_by_symbol(
    phi: str, hidden: int, orders: int
) -> None:
    x, y = sp.symbols("x y", real=True)
    task = sk.Task(sp.Matrix([[x]]), sp.Matrix([[y]]))
    found = sk.time_derivatives(sk.Network.two_layer(1, hidden, 1, phi), task, order=orders)
    first, last = found.weights[:hidden], found.weights[hidden:]
    act = sp.tanh if phi == "tanh" else (lambda a: a)
    f = sum(v * act(w * x) for w, v in zip(first, last, strict=True))
    for mine, theirs in zip(
        found.orders, blind(f, (f - y) ** 2 / 2, list(found.weights), orders), strict=True
    ):
        assert sp.expand(mine.plain[0] - theirs) == 0


@pytest.mark.parametrize("of", ["output", "hidden"])
@pytest.mark.parametrize(
    ("sizes", "phi", "polynomial"),
    [
        ((3, 4, 2), Z - Z**3 / 3, [0, 1, 0, Fraction(-1, 3)]),
        ((3, 4, 2), "quadratic", [0, 0, 1]),
        ((2, 2, 2, 1), Z + Z**2 / 2, [0, 1, Fraction(1, 2)]),
    ],
)
def test_orders_equal_picard_iteration_in_exact_fractions(sizes, phi, polynomial, of) -> None:
    order = 3
    task, X, Y, weights = drawn(sizes, samples=2, seed=3)
    net = sk.Network.mlp(list(sizes), phi)
    found = sk.time_derivatives(net, task, order=order, of=of, weights=weights)
    layers = picard_series.flow(
        [fractions(W) for W in weights], fractions(X), fractions(Y), polynomial, order
    )
    theirs = layers[-1 if of == "output" else -2]
    for n, formula in enumerate(found.orders):
        mine = fractions(formula.plain)
        assert (mine == math.factorial(n) * theirs[n].T).all()


def test_the_kernel_is_the_tangent_kernel_and_stays_symmetric() -> None:
    task, X, _, weights = drawn((1, 2, 2), samples=2, seed=2)
    net = sk.Network.two_layer(1, 2, 2, "tanh")
    w0 = sk.weights.from_arrays(net, [np.array(W, float) / 3 for W in weights])
    found = sk.time_derivatives(net, task, order=1, of="ntk")
    coefficients = found.compile().coefficients(w0)
    samples = np.array(X, float)
    assert np.allclose(coefficients[0], sk.ntk(net).compile()(samples, samples, w0), rtol=1e-13)
    assert np.array_equal(coefficients, coefficients.transpose(0, 3, 4, 1, 2))
    assert np.abs(coefficients[1]).max() > 0.01


def test_errors_against_the_simulators_flow_fall_with_slope_order_plus_one() -> None:
    stream = np.random.default_rng(0)
    net = sk.Network.two_layer(2, 2, 1, "tanh")
    task = sk.Task(stream.standard_normal((2, 2)), stream.standard_normal((2, 1)))
    w0 = sk.weights.gaussian(net, seed=1)
    times = 0.1 * 2.0 ** -np.arange(4)[::-1]
    weights = integrate_flow(Problem(net, task, w0), times).weights
    hidden = np.tanh(np.einsum("thi,si->tsh", weights["W1"], task.X))
    exact = {"output": np.einsum("toh,tsh->tso", weights["W2"], hidden), "hidden": hidden}
    for (of, values), order in zip(exact.items(), (3, 2), strict=True):
        series = sk.time_derivatives(net, task, order, of, weights=w0).compile()
        errors = np.abs(series(times) - values).max((1, 2))
        slope = np.polyfit(np.log(times), np.log(errors), 1)[0]
        assert abs(slope - order - 1) < 0.1, of
        assert (errors < series.error_estimate(times)).all()


def test_linear_mode_has_the_series_of_its_closed_form() -> None:
    s, a = sp.Symbol("s", positive=True), sp.Symbol("a", positive=True)
    net = sk.Network.two_layer(1, 1, 1)
    mode = sk.Task.from_modes(s)
    u = sk.derive(net, mode, sk.weights.aligned(net, mode, a=a, b=a)).result.output
    task = sk.Task(sp.Matrix([[1]]), sp.Matrix([[s]]))
    found = sk.time_derivatives(net, task, order=5, weights=[sp.Matrix([[a]])] * 2)
    (t,) = u.free_symbols - {s, a}
    for n in range(6):
        theirs = sp.diff(u, t, n).subs(t, 0)
        assert sp.cancel(found.orders[n].plain[0] - theirs) == 0
    polynomial = sp.Poly(found.series().plain[0], sk.theory.time_derivatives.notation.t)
    assert polynomial.degree() == 5
    assert sp.expand(polynomial.coeff_monomial(t) - 2 * a**2 * (s - a**2)) == 0


def general() -> tuple[sk.Network, sk.Task]:
    """Return a network with a gate, a slice, a skip, shared, diagonal and fixed weights."""
    x, shared = Input(3), Parameter("U", (2, 2), scale=sp.Rational(1, 2), rate=sp.Symbol("eta"))
    h = Apply("tanh", Gate("g", shared @ x[0:2] + Parameter("D", (2,), "diagonal") @ x[1:3]))
    out = shared @ h + Parameter("V", (2, 2), trained=False) @ h + Parameter("b", (2,), "bias")
    net = sk.Network.build(out + h, names={"hidden": h})
    task = sk.Task(
        np.array([[1.0, -0.5, 2.0], [0.25, 1.0, 0.0]]),
        np.array([[1.0, 0.0], [0.5, -1.0]]),
        gates={"g": np.array([[1.0, 0.5], [0.0, 1.0]])},
        sample_weights=[0.25, 0.75],
    )
    return net, task


@pytest.mark.parametrize("of", ["output", "hidden"])
def test_any_network_passes_its_check(of: str) -> None:
    net, task = general()
    kappa = sp.Symbol("kappa", positive=True)
    found = sk.time_derivatives(net, task, 2, of, loss=sk.SquaredError(factor=kappa))
    report = found.check()
    assert report.passed, report
    assert [rung.bound for rung in report.rungs[1:]] == [f"{n} +- 0.05" for n in (2, 3)]
    assert "small t only" in report.notes[0]


def test_deep_network_with_biases_passes_its_check() -> None:
    net = sk.Network.mlp([1, 2, 1, 1], ["erf", 1 / (1 + sp.exp(-Z))], bias=True)
    task = drawn((1, 2, 1), samples=2)[0]
    assert sk.time_derivatives(net, task, order=2).check().passed


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_wrong_line_fails_the_check(order: int) -> None:
    task = drawn((1, 1, 1), samples=1, seed=4)[0]
    found = sk.time_derivatives(sk.Network.two_layer(1, 1, 1, "tanh"), task, order=3)
    assert found.check().passed
    symbol = found.symbols(order)[0]
    found.jets.lines[symbol] *= sp.Rational(9, 10)
    assert not found.check().passed


def test_nothing_moves_without_residuals() -> None:
    net = sk.Network.two_layer(1, 1, 1, "tanh")
    task = sk.Task(sp.Matrix([[1]]), sp.Matrix([[0]]))
    weights = [sp.Matrix([[1]]), sp.Matrix([[0]])]
    found = sk.time_derivatives(net, task, order=2, weights=weights)
    assert [formula.plain[0] for formula in found.orders] == [0, 0, 0]
    assert found.check().passed
    assert found.compile().valid_until() == math.inf


def vanishing(order: int, of: str = "hidden") -> sk.theory.time_derivatives.TimeDerivatives:
    """A hidden unit that does not move before the read-out has grown from 0."""
    task = sk.Task(sp.Matrix([[1]]), sp.Matrix([[1]]))
    weights = [sp.Matrix([[1]]), sp.Matrix([[0]])]
    net = sk.Network.two_layer(1, 1, 1, "tanh")
    return sk.time_derivatives(net, task, order=order, of=of, weights=weights)


def test_the_error_is_not_estimated_from_a_term_that_vanishes() -> None:
    """The last term alone would say that a constant is exact for ever, and it is not."""
    first = vanishing(1).compile()
    times = [0.0, 1.0, 5.0]
    assert not np.ptp(first(times))
    for ask in (first.valid_until, lambda: first.error_estimate(times)):
        with pytest.raises(OutsideValidity, match=r"although the weights move.*a higher order"):
            ask()
    second = vanishing(2).compile()
    net = sk.Network.two_layer(1, 1, 1, "tanh")
    w0 = sk.weights.from_arrays(net, [np.ones((1, 1)), np.zeros((1, 1))])
    task = sk.Task(np.ones((1, 1)), np.ones((1, 1)))
    flow = integrate_flow(Problem(net, task, w0), np.array([0.1, 0.3])).weights["W1"]
    missed = np.abs(np.tanh(flow[:, 0, 0]) - second([0.1, 0.3])[:, 0, 0])
    assert (missed <= second.error_estimate([0.1, 0.3])).all()
    assert 0 < second.valid_until() < 1


def test_an_accidental_zero_of_the_last_order_does_not_hide_the_error() -> None:
    """At 2 a^2 = s the second derivative of a mode is 0, the third is not."""
    task = sk.Task(sp.Matrix([[1]]), sp.Matrix([[1]]))
    a = sp.Symbol("a", positive=True)
    net = sk.Network.two_layer(1, 1, 1)
    found = sk.time_derivatives(net, task, order=2, weights=[sp.Matrix([[a]])] * 2)
    half = found.compile({a: math.sqrt(0.5)})
    assert abs(half.coefficients()[2]).max() < 1e-15
    t = 0.2
    exact = 1 / (1 + math.exp(-2 * t))
    assert 1e-4 < abs(half([t])[0, 0, 0] - exact) < half.error_estimate([t])[0]
    assert half.valid_until() < 0.1


def test_slopes_skip_terms_that_vanish() -> None:
    found = vanishing(3)
    assert found.orders[1].plain[0] == 0 != found.orders[2].plain[0]
    report = found.check()
    assert report.passed, report
    assert report.rungs[1].bound.startswith("2 ")


@settings(max_examples=10)
@given(st.floats(0.1, 5.0), st.integers(0, 1000))
def test_the_factor_of_the_loss_is_a_unit_of_time(factor: float, seed: int) -> None:
    kappa = sp.Symbol("kappa", positive=True)
    net = sk.Network.two_layer(1, 2, 1, "erf")
    task = sk.Task(np.array([[2.0], [-1.0]]), np.array([[1.0], [-1.0]]))
    found = sk.time_derivatives(net, task, order=2, loss=sk.SquaredError(factor=kappa))
    w0 = sk.weights.gaussian(net, seed=seed)
    one, other = (found.compile({kappa: k}).coefficients(w0) for k in (0.5, factor))
    for n in range(3):
        assert np.allclose(other[n], (2 * factor) ** n * one[n], rtol=1e-12, atol=1e-14)


def test_first_and_second_order_are_printed_in_kernels() -> None:
    task = drawn((2, 3, 1), samples=2)[0]
    found = sk.time_derivatives(sk.Network.two_layer(2, 3, 1, "tanh"), task, order=2)
    first, second, where = found.latex().splitlines()[1:4]
    assert first == r"\partial_t f(x) &= - \sum_i c_i\, K(x, x_i)\, r(x_i) \\"
    assert r"\partial_t K(x, x_i)\, r(x_i) + K(x, x_i)\, \partial_t f(x_i)" in second
    assert "r(x_i) &= f(x_i) - y_i" in where
    kernels = sk.time_derivatives(found.net, task, order=2, of="ntk").latex().splitlines()[1:5]
    assert kernels[0] == r"\partial_t K(x, x') &= - \sum_i c_i\, K_{K,f}(x, x', x_i)\, r(x_i) \\"
    assert r"\partial_t K_{K,f}(x, x', x_i)\, r(x_i) + K_{K,f}(x, x', x_i)\, \p" in kernels[1]
    assert kernels[2] == r"\partial_t f(x) &= - \sum_i c_i\, K(x, x_i)\, r(x_i) \\"
    text = found.orders[1].latex(lines=3)
    assert r"\partial_t f_{0}(x_{0}) &= - \frac{" in text
    assert r"\text{where}\quad" in text
    assert "A_" in found.orders[0].latex({"W2_0_0": "A_{00}"})
    defined: set[sp.Symbol] = set(found.weights)
    for symbol, meaning in found.orders[2].where:
        assert meaning.free_symbols <= defined
        defined.add(symbol)


def test_compiled_series_is_the_printed_one() -> None:
    net = sk.Network.two_layer(1, 2, 1, 1 / (1 + sp.exp(-Z)))
    task, _, _, weights = drawn((1, 2, 1), samples=2, seed=5)
    found = sk.time_derivatives(net, task, order=2, of="hidden", weights=weights)
    t = sp.Symbol("t_own")
    exact = np.array(found.series(t).plain.subs(t, sp.Rational(1, 8)).evalf(30), float)
    routine = found.compile()
    assert np.allclose(routine([0.125])[0], exact, rtol=1e-13)
    assert "call_0" in routine.source
    until = routine.valid_until(1e-2)
    start = np.abs(routine([0.0])).max()
    assert np.isclose(routine.error_estimate([until])[0], 1e-2 * start)


TANH = sk.Network.two_layer(2, 2, 1, "tanh")
TASK = sk.Task(np.eye(2), np.array([[1.0], [-1.0]]))


@pytest.mark.parametrize(
    "phi", ["relu", sp.Abs(Z) * Z, sp.Max(Z, Z / 10), sp.Piecewise((Z, Z < 0), (2 * Z, True))]
)
def test_activations_without_the_needed_derivative_are_refused(phi: object) -> None:
    with pytest.raises(InvalidArgument, match="must have activations with 3 continuous deriv"):
        sk.time_derivatives(sk.Network.two_layer(2, 2, 1, phi), TASK)
    with pytest.raises(InvalidArgument, match="2 continuous derivatives"):
        sk.time_derivatives(sk.Network.two_layer(2, 2, 1, phi), TASK, order=1, of="ntk")


def test_what_is_too_large_is_refused_before_any_work() -> None:
    net = sk.Network.two_layer(50, 100, 10, "tanh")
    task = sk.Task(np.ones((100, 50)), np.ones((100, 10)))
    with pytest.raises(InvalidArgument, match=r"would take about [\d,]{9,} operations"):
        sk.time_derivatives(net, task)
    with pytest.raises(InvalidArgument, match="more than 'most_operations' = 100;"):
        sk.time_derivatives(TANH, TASK, most_operations=100)
    large = sk.time_derivatives(TANH, TASK, order=6).orders[6]
    with pytest.raises(InvalidArgument, match="Written out in the weights"):
        large.plain  # noqa: B018


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"net": "net"}, InvalidArgument, "'net' must be a Network"),
        ({"task": np.eye(2)}, InvalidArgument, "'task' must be a Task"),
        ({"task": sk.Task.from_moments(np.eye(2), np.ones((1, 2)), [[5.0]])},
         InvalidArgument, "must have samples"),
        ({"task": sk.Task(np.eye(3), np.ones((3, 1)))}, ShapeMismatch, "2 inputs and 1 outputs"),
        ({"net": sk.Network.two_layer(2, sp.Symbol("H", integer=True, positive=True), 1)},
         MissingValues, "must be integers"),
        ({"order": 0}, InvalidArgument, "'order' must be an integer of at least 1"),
        ({"order": True}, InvalidArgument, "'order' must be"),
        ({"order": 2.0}, InvalidArgument, "'order' must be"),
        ({"of": "hidden7"}, InvalidArgument, "has no node 'hidden7'"),
        ({"of": 3}, InvalidArgument, "'of' must be the name"),
        ({"loss": sk.SquaredError(weight_decay=0.1)}, InvalidArgument, "without weight decay"),
        ({"loss": "mse"}, InvalidArgument, "'loss' must be a SquaredError"),
        ({"weights": 3.0}, InvalidArgument, "'weights' must be Weights, or map"),
        ({"weights": [np.eye(2)]}, ShapeMismatch, "one array for each of W1, W2"),
        ({"weights": {"W1": np.eye(2), "V": np.eye(2)}}, ShapeMismatch, "must name W1, W2"),
        ({"weights": [np.eye(2), np.ones((2, 1))]}, ShapeMismatch, r"'W2' must be of shape \(1, 2"),
        ({"weights": [np.eye(2), [[np.nan, 1.0]]]}, InvalidArgument, "must be finite"),
        ({"weights": [np.eye(2) * 1j, np.ones((1, 2))]}, InvalidArgument, "complex numbers"),
        ({"weights": [sp.eye(2) * sp.I, sp.ones(1, 2)]}, InvalidArgument, "real and finite"),
        ({"weights": [sp.eye(2), sp.Matrix([[sp.oo, 1]])]}, InvalidArgument, "real and finite"),
        ({"weights": [np.eye(2, dtype=object), np.ones((1, 2))]}, InvalidArgument, "objects"),
        ({"weights": [np.empty((0, 2)), np.ones((1, 2))]}, InvalidArgument, "must not be empty"),
        ({"most_operations": "many"}, InvalidArgument, "'most_operations' must be"),
        ({"most_operations": math.nan}, InvalidArgument, "'most_operations' must be"),
        ({"weights": [sp.eye(2) * sp.Symbol("r_0_0"), sp.ones(1, 2)]},
         InvalidArgument, "'r_0_0' is a name of the hierarchy"),
        ({"net": sk.Network.build(Parameter("f", (1, 2)) @ Input(2)),
          "task": sk.Task(np.ones((2, 2)), np.ones((2, 1)))},
         InvalidArgument, "'f_0_[01]' is a name of the hierarchy"),
        ({"net": sk.Network.build(Parameter("W", (1, 2)) @ Gate("g", Input(2)))},
         ShapeMismatch, "the gate 'g' of 2 units"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(options: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        sk.time_derivatives(**{"net": TANH, "task": TASK, **options})


def test_routines_refuse_bad_input() -> None:
    eta = sp.Symbol("eta")
    net = sk.Network.two_layer(2, 2, 1, "tanh", rates=[eta, 1])
    found = sk.time_derivatives(net, TASK, order=1)
    w0 = sk.weights.gaussian(TANH)
    with pytest.raises(MissingValues, match="eta has none"):
        found.compile()
    for bad in ("2", math.nan, 1j, True):
        with pytest.raises(InvalidArgument, match="Argument 'values"):
            found.compile({eta: bad})
    routine = found.compile({eta: 2.0})
    with pytest.raises(MissingValues, match="'weights' must give the initial weights"):
        routine([0.0])
    with pytest.raises(InvalidArgument, match="non-negative and in increasing order"):
        routine([-1.0], w0)
    with pytest.raises(InvalidArgument, match="'tolerance' must be"):
        routine.valid_until(0.0, w0)
    for t in ("t", found.weights[0], sp.Symbol("eta")):
        with pytest.raises(InvalidArgument, match="'t' must be a SymPy symbol"):
            found.series(t)
    with pytest.raises(InvalidArgument, match="'lines' must be"):
        found.orders[1].latex(lines=0)


def test_a_power_series_is_not_said_to_equal_its_first_term() -> None:
    task = drawn((2, 3, 1), samples=2)[0]
    found = sk.time_derivatives(sk.Network.two_layer(2, 3, 1, "tanh"), task, order=3)
    first = found.series().latex().splitlines()[1]
    assert first.startswith(r"\left.f_{0}(x_{0})\right|_{t} + O(t^{4}) &= f_{0}(x_{0}) + ")
    clock = sp.Symbol("tau", positive=True)
    assert r"|_{\tau} + O(\tau^{4})" in found.series(clock).latex()
    assert "O(" not in found.orders[1].latex()


def test_layers_are_no_powers_and_blocks_fit_a_page() -> None:
    task = drawn((2, 3, 1), samples=2)[0]
    found = sk.time_derivatives(sk.Network.two_layer(2, 3, 1, "tanh"), task, order=3)
    for formula in (*found.orders, found.series()):
        text = formula.latex()
        assert not re.search(r"(?<![a-z])[vBhaC]\^\{\d", text)
        assert text.count("&=") <= 24
    assert r"v^{(2)}" in found.orders[1].latex()
    assert r"K(x, x_i) \text{: tangent kernel}, \quad c_i" in found.latex()
