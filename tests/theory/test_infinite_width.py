"""Kernels of infinitely wide networks against finite ones, high precision, and their own limits."""

from __future__ import annotations

import dataclasses
import itertools

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

import symkernel as sk
from symkernel.errors import InvalidArgument, MissingValues, OutsideValidity, ShapeMismatch
from symkernel.nodes import Apply, Gate, Input, Parameter
from symkernel.theory.infinite_width import InfiniteWidth
from symkernel.theory.wide_recursion import OVERLAPS, layer_evidence
from tests.oracles.finite_kernel import tangent_kernel
from tests.oracles.gaussian_quadrature import by_trapezoids

z = sp.Symbol("z", real=True)
SIGMA, BETA = sp.symbols("sigma beta", positive=True)
RNG = np.random.default_rng(1000)
X, X2 = RNG.standard_normal((7, 3)), RNG.standard_normal((4, 3))
# A corner away from 0, and growth.
STEEP = sp.exp(2 * z) * sp.tanh(z) + sp.Abs(z - 1)
MODULUS = z / 3 + sp.Abs(z) + 1
# Weight variance, bias variance.
GIVEN = {SIGMA: 1.7, BETA: 0.3}


def net_of(activation, hidden=1, outputs=1, **options):
    options.setdefault("parameterisation", "ntk")
    return sk.Network.mlp([3, *[64] * hidden, outputs], activation, **options)


def limit_of(activation, hidden=1, **options):
    return sk.infinite_width(net_of(activation, hidden, bias=True, **options), SIGMA, BETA)


def exactly(kernel, x, y, digits=40):
    """The printed formula, line by line, at exact overlaps of two samples."""
    with mpmath.workdps(digits):
        vectors = [[mpmath.mpf(float(q)) for q in v] for v in (x, y)]
        pairs = [(0, 0), (0, 1), (1, 1)]
        known = {
            symbol: mpmath.fdot(vectors[i], vectors[j])
            for symbol, (i, j) in zip(OVERLAPS, pairs, strict=True)
        } | {symbol: mpmath.mpf(value) for symbol, value in GIVEN.items()}
        for symbol, meaning in (*kernel.where, (kernel.symbol, kernel.expression)):
            names = sorted(meaning.free_symbols, key=str)
            value = sp.lambdify(names, meaning, "mpmath")(*(known[q] for q in names))
            known[symbol] = mpmath.re(value)
        return known[kernel.symbol]


@pytest.mark.parametrize(
    ("activation", "hidden"),
    [("relu", 1), ("erf", 1), (["erf", "relu"], 2), ([sp.sin(z), "linear"], 2)],
)
def test_compiled_kernels_equal_the_printed_formulas_at_forty_digits(activation, hidden):
    limit = limit_of(activation, hidden)
    both = limit.compile(GIVEN)(X, X2)
    own = limit.compile(GIVEN)(X)
    assert both.shape == (2, 7, 4)
    assert own.shape == (2, 7, 7)
    for k, kernel in enumerate((limit.nngp, limit.ntk)):
        for i, j in itertools.product(range(7), range(4)):
            want = exactly(kernel, X[i], X2[j])
            assert abs(both[k, i, j] - want) < 4e-15 * max(1, abs(want))
        for i, j in ((0, 1), (3, 2), (6, 5)):
            assert abs(own[k, i, j] - exactly(kernel, X[i], X[j])) < 2e-14


@given(
    st.sampled_from(["relu", "erf"]),
    st.floats(-8, 0),
    st.floats(-3, 3),
    st.sampled_from([1.0, -1.0]),
)
def test_kernels_of_nearly_parallel_samples_keep_their_digits(activation, nearness, size, sign):
    """The average itself is smooth enough there; relative to the two variances.

    Overlaps of size v carry eps v. The mean of erf is an arcsine at nearly 1, the angle the root of
    (1 + v)(1 + w) - c^2 over c: of order v^(-1/2) there, and off by eps v^(1/2).
    """
    limit = sk.infinite_width(net_of(activation))
    x = 10.0**size * np.array([[1.0, 2.0, -1.0]])
    y = sign * x + 10.0 ** (size + nearness) * np.array([[0.3, -1.0, 0.5]])
    K = limit.compile()
    top = np.sqrt(K(x)[0, 0, 0] * K(y)[0, 0, 0])
    rounded = 2.0**-52 * np.sqrt((x @ x.T).item() + (y @ y.T).item()) if activation == "erf" else 0
    bound = 1e-14 * max(top, 1e-300) + rounded
    assert abs(K(x, y)[0, 0, 0] - exactly(limit.nngp, x[0], y[0])) < bound


@pytest.mark.parametrize("activation", [["relu"], ["erf", "relu"]])
def test_diagonals_are_exact_where_an_arccosine_would_not_be(activation):
    limit = limit_of(activation, len(activation))
    sizes = 10.0 ** RNG.uniform(-3, 3, (200, 1))
    samples = sizes * RNG.standard_normal((200, 3))
    own = limit.compile(GIVEN)(samples)
    for k, kernel in enumerate((limit.nngp, limit.ntk)):
        for i in range(0, 200, 20):
            # Equal samples are a limit of the formula; 80 digits leave 40 beyond the root.
            want = exactly(kernel, samples[i], samples[i], 80)
            assert abs(own[k, i, i] - want) < 4e-15 * want
    if len(activation) == 1:
        # Through the general formula, as for a copy of the samples, half of the digits are lost.
        copied = np.array([np.diag(k) for k in limit.compile(GIVEN)(samples, samples.copy())])
        exact = np.array([np.diag(k) for k in own])
        assert np.abs(copied / exact - 1)[1].max() > 1e-10


def test_arguments_of_arcsines_are_clipped():
    """Naive overlaps of parallel samples lead beyond 1, where the arcsine is no number."""
    x = RNG.standard_normal((50, 3))
    scales = RNG.uniform(0.1, 10, (50, 1))
    G, roots = x @ (scales * x).T, [np.sqrt((v * v).sum(1)) for v in (x, scales * x)]
    naive = np.diag(G) / (roots[0] * roots[1])
    assert (naive > 1).any()
    found = sk.infinite_width(net_of("relu")).compile()(x, scales * x)
    assert np.isfinite(found).all()
    assert np.allclose(np.diag(found[0]), roots[0] * roots[1] / 6, rtol=1e-14)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_zero_inputs_give_finite_kernels(activation):
    found = sk.infinite_width(net_of(activation)).compile()(np.vstack([np.zeros(3), X]))
    assert np.isfinite(found).all()
    assert (np.abs(found[:, 0]) < 1e-140).all()


@pytest.mark.parametrize(
    "activation", [["relu"], ["erf"], ["erf", "relu"], [sp.sin(z), "linear"], ["tanh"]]
)
def test_kernels_are_symmetric_and_positive_semi_definite(activation):
    samples = np.vstack([X, X[:2], -X[:1], 2 * X[2:3]])
    for kernel in limit_of(activation, len(activation)).compile(GIVEN)(samples):
        assert (kernel == kernel.T).all()
        assert np.linalg.eigvalsh(kernel)[0] > -1e-13 * np.trace(kernel)


# -- finite networks

FUNCTIONS = {
    "relu": (lambda a: np.maximum(a, 0), lambda a: (a > 0).astype(float)),
    "modulus": (lambda a: a / 3 + np.abs(a) + 1, lambda a: 1 / 3 + np.sign(a)),
    "tanh": (np.tanh, lambda a: 1 / np.cosh(a) ** 2),
    "erf": (
        lambda a: special.erf(a / np.sqrt(2)),
        lambda a: np.sqrt(2 / np.pi) * np.exp(-a * a / 2),
    ),
}


def drawn(net, seed, bias_variance):
    weights = dict(sk.weights.gaussian(net, scale=np.sqrt(GIVEN[SIGMA]), seed=seed).arrays)
    stream = np.random.default_rng(10**6 + seed)
    for name, value in weights.items():
        if name.startswith("b"):
            weights[name] = np.sqrt(bias_variance) * stream.standard_normal(value.shape)
    return sk.weights.from_arrays(net, weights)


def finite(net, activations, rates, samples, seeds, bias_variance=GIVEN[BETA]):
    """Tangent kernels of drawn networks, one for each seed."""
    found = []
    for seed in seeds:
        arrays = drawn(net, seed, bias_variance).arrays
        weights, biases = ([v for n, v in arrays.items() if n.startswith(q)] for q in "Wb")
        ntk = net.parameterisation == "ntk"
        scales = [1 / np.sqrt(W.shape[1]) if ntk else 1.0 for W in weights]
        known = [FUNCTIONS[name] for name in activations]
        found.append(tangent_kernel(*samples, weights, biases, scales, rates, known))
    return np.array(found)


@pytest.mark.parametrize(
    "activations", [["relu"], pytest.param(["erf", "relu"], marks=pytest.mark.slow)]
)
def test_the_finite_kernels_compared_with_are_those_of_the_library(activations):
    rates = [1.0, 0.5, 2.0][: len(activations) + 1]
    widths = [5, 4][: len(activations)]
    net = sk.Network.mlp([3, *widths, 1], activations, True, "ntk", rates=rates)
    found = finite(net, activations, rates, (X, X2), [3])[0]
    want = sk.ntk(net).compile()(X, X2, drawn(net, 3, GIVEN[BETA]))[:, 0, :, 0]
    assert np.abs(found - want).max() < 1e-13 * np.abs(want).max()


@pytest.mark.parametrize(
    ("activations", "widths", "parameterisation"),
    [
        (["relu"], [96], "ntk"),
        (["relu"], [96], "standard"),
        (["erf", "relu"], [800, 100], "ntk"),
        (["tanh"], [96], "ntk"),
    ],
)
def test_finite_networks_agree_within_four_standard_errors(activations, widths, parameterisation):
    """The mean of one hidden layer has no bias; that of two, O(1/width), is below its error."""
    rates = [1.0, 0.5, 2.0][: len(widths) + 1]
    net = sk.Network.mlp([3, *widths, 1], activations, True, parameterisation, rates=rates)
    samples = X[:3], X2[:2]
    found = finite(net, activations, rates, samples, range(1000, 1000 + 40_000 // widths[0]))
    limit = sk.infinite_width(net, SIGMA, BETA).compile(GIVEN)(*samples)[1]
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.mean(0) - limit) < 4 * error).all()
    assert (error < 0.03 * np.abs(limit).max()).all()


@pytest.mark.parametrize("name", ["weight", "weight_rate", "bias_rate"])
def test_slips_in_the_recursion_are_found_by_finite_networks(name):
    """A slip of a tenth."""
    net = sk.Network.mlp([3, 96, 1], "relu", bias=True, parameterisation="ntk", rates=[1, 0.5])
    found = finite(net, ["relu"], [1, 0.5], (X, X2), range(1000, 2500))
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    first, last = sk.infinite_width(net, SIGMA, BETA).layers
    for factor, right in ((1, True), (sp.Rational(11, 10), False)):
        slipped = dataclasses.replace(last, **{name: factor * getattr(last, name)})
        limit = InfiniteWidth(net, (first, slipped)).compile(GIVEN)(X, X2)[1]
        assert (np.abs(found.mean(0) - limit) < 4 * error).all() == right


def test_outputs_of_finite_networks_have_the_limit_as_covariance():
    net = sk.Network.mlp([3, 400, 400], "erf", bias=True, parameterisation="ntk")
    W = drawn(net, 1000, GIVEN[BETA]).arrays
    h = special.erf((X @ W["W1"].T / np.sqrt(3) + W["b1"]) / np.sqrt(2))
    f = h @ W["W2"].T / 20 + W["b2"]
    limit = sk.infinite_width(net, SIGMA, BETA)
    kernels = limit.similarity("hidden1").compile(GIVEN)(X), limit.compile(GIVEN)(X)[0]
    for samples, kernel in zip((h, f), kernels, strict=True):
        each = samples[:, None] * samples[None]
        error = each.std(-1, ddof=1) / 20
        assert (np.abs(each.mean(-1) - kernel) < 4 * error).all()
    # The outputs share one hidden layer, whose deviation is of the same order as their own.


def test_tangent_kernels_approach_the_limit_with_slope_minus_one_half_in_width():
    errors, widths = [], [32, 96, 288, 864]
    for width in widths:
        net = sk.Network.mlp([3, width, width, 1], ["erf", "relu"], True, "ntk")
        limit = sk.infinite_width(net, SIGMA, BETA).compile(GIVEN)(X)[1]
        found = finite(net, ["erf", "relu"], [1, 1, 1], (X, X), range(1000, 1024))
        errors.append(np.sqrt(np.mean((found - limit) ** 2)))
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert abs(slope + 0.5) < 0.1


# -- special cases


@pytest.mark.parametrize("hidden", [0, 1, 3])
def test_linear_networks_have_the_linear_formula(hidden):
    net = sk.Network.mlp([3, *[50] * hidden, 1], "linear", parameterisation="ntk")
    limit = sk.infinite_width(net, SIGMA)
    xy, layers = OVERLAPS[1], hidden + 1
    assert sp.expand(limit.nngp.plain - SIGMA**layers * xy / 3) == 0
    assert sp.expand(limit.ntk.plain - layers * SIGMA**hidden * xy / 3) == 0


def test_the_standard_parameterisation_keeps_its_widths():
    I, H, C = sp.symbols("I H C", integer=True, positive=True)
    net = sk.Network.two_layer(I, H, C, "linear", rates=[2, 3])
    xy = OVERLAPS[1]
    limit = sk.infinite_width(net, SIGMA)
    assert sp.expand(limit.ntk.plain - (3 * H * SIGMA * xy / I + 2 * SIGMA * xy)) == 0
    assert "different units do not correlate" in type(limit.ntk).__doc__


def test_rates_and_variances_go_with_their_layers():
    net = sk.Network.mlp([3, 5, 5, 1], "linear", True, "ntk", rates=[2, 3, 5])
    limit = sk.infinite_width(net, [SIGMA, 2 * SIGMA, 3], [0, BETA, 1])
    xy = OVERLAPS[1]
    first = SIGMA * xy / 3
    second = 2 * SIGMA * first + BETA
    assert sp.expand(limit.nngp.plain - (3 * second + 1)) == 0
    tangents = 3 * (3 * (first + 1) + 2 * SIGMA * 2 * (xy / 3 + 1)) + 5 * (second + 1)
    assert sp.expand(limit.ntk.plain - tangents) == 0


def test_what_is_not_trained_does_not_drive():
    x = Input(3)
    h = Apply("relu", Parameter("W1", (9, 3), trained=False, scale=1 / sp.sqrt(3)) @ x)
    net = sk.Network.build(Parameter("W2", (1, 9), scale=sp.Rational(1, 3)) @ h, {"hidden1": h})
    limit = sk.infinite_width(net)
    assert limit.ntk.plain == limit.nngp.plain == limit.similarity("hidden1").plain


def test_latex_shows_recursion_averages_and_functions():
    text = limit_of(["relu", "tanh"], 2).latex(names={"sigma": r"\sigma_w^2"})
    for part in (
        r"\Theta(x, x') &=",
        r"\dot{k}_{2}",
        r"\arcsin",
        r"\langle \phi_{1} \phi_{1}",
        r"\tanh",
    ):
        assert part in text
    assert r"\sigma_w^2" in text


def test_steps_hold_the_derivation_of_each_average():
    limit = limit_of(["relu", "erf"], 2)
    assert len(limit.steps) == 10
    assert all(step.check().passed for step in limit.steps)


def test_slips_in_the_step_from_layer_to_layer_are_found():
    assert layer_evidence(sp.S.One).passed
    assert not layer_evidence(sp.Integer(2)).passed
    assert not layer_evidence(sp.S.NegativeOne).passed


# -- no closed form


def averages_by_series(limit):
    limit.__dict__["averages"] = dict.fromkeys(limit.averages)
    return limit


def test_series_equal_closed_forms():
    closed, series = limit_of("erf"), averages_by_series(limit_of("erf"))
    for second in (None, X2):
        a, b = (limit.compile(GIVEN)(X, second) for limit in (closed, series))
        assert np.abs(a - b).max() < 1e-10 * np.abs(a).max()


def test_averages_of_tanh_equal_quadrature():
    limit = sk.infinite_width(net_of("tanh"))
    routine = limit.compile()
    K, T = routine(X[:2], X2[:2])
    assert 0 < routine.accuracy(X[:2], X2[:2]) < 1e-10
    with mpmath.workdps(20):
        for i, j in itertools.product(range(2), range(2)):
            v, w, c = (mpmath.mpf(float(q)) / 3 for q in (X[i] @ X[i], X2[j] @ X2[j], X[i] @ X2[j]))
            k, d = (
                by_trapezoids(f, f, (v, w), c, step=0.2, reach=8)
                for f in (mpmath.tanh, lambda q: mpmath.sech(q) ** 2)
            )
            assert abs(K[i, j] - k) < 1e-9
            assert abs(T[i, j] - (k + c * d)) < 1e-9


def test_accuracy_of_series_is_a_bound_and_is_kept():
    limit = limit_of("erf", 1)
    exact = limit.compile(GIVEN)(X, X2)
    for tolerance in (1e-2, 1e-4, 1e-6):
        routine = averages_by_series(limit_of("erf", 1)).compile(GIVEN, tolerance=tolerance)
        error = np.abs(routine(X, X2) - exact).max() / np.abs(exact).max()
        assert error <= 5 * routine.accuracy(X, X2) + 1e-14
        assert routine.accuracy(X, X2) <= tolerance


def test_series_inside_a_network_of_closed_layers_equal_closed_forms():
    """The slopes of both kinds of layers meet in the tangent kernel."""
    for second in (None, X2):
        closed = limit_of(["erf", "relu"], 2).compile(GIVEN)(X, second)
        for name in ("erf", "relu"):
            limit = limit_of(["erf", "relu"], 2)
            kept = {phi: None if phi.name == name else k for phi, k in limit.averages.items()}
            limit.__dict__["averages"] = kept
            routine = limit.compile(GIVEN, tolerance=1e-6)
            bound = routine.accuracy(X, second)
            assert bound < 1e-6
            error = np.abs(routine(X, second) - closed).max() / np.abs(closed).max()
            assert error <= 2 * bound + 1e-14


def test_functions_that_no_rule_resolves_are_refused():
    limit = sk.infinite_width(net_of(sp.sin(z**3)))
    samples = 6 * np.array([[1.0, 0.3, 0.0], [0.5, 1.1, 0.0]])
    for routine in (limit.compile(), limit.compile(tolerance=1.0)):
        with pytest.raises(OutsideValidity, match="not resolved by"):
            routine(samples)
        with pytest.raises(OutsideValidity, match="not resolved by"):
            routine.accuracy(samples[:1])


def test_accuracy_that_is_said_to_be_reached_is_enough():
    """Rounded to a digit, the figure would be below what it stands for."""
    near = X + 1e-4 * RNG.standard_normal(X.shape)
    limit = sk.infinite_width(net_of(STEEP))
    reached = limit.compile().accuracy(X, near)
    with pytest.raises(OutsideValidity) as caught:
        limit.compile(tolerance=0.9999 * reached)(X, near)
    figure = float(str(caught.value).rsplit("tolerance=", 1)[1].rstrip("."))
    assert figure >= reached
    assert np.isfinite(limit.compile(tolerance=figure)(X, near)).all()


@pytest.mark.parametrize("activations", [["relu"], ["modulus"], ["erf", "relu"], ["tanh"]])
def test_samples_that_are_zero_have_the_slope_at_zero(activations):
    """As units of finite networks, which rest there; the limit of small variance is another."""
    known = [MODULUS if name == "modulus" else name for name in activations]
    net = sk.Network.mlp([3, *[300] * len(known), 1], known, bias=True, parameterisation="ntk")
    samples = np.vstack([np.zeros(3), X[:2]])
    limit = sk.infinite_width(net, SIGMA)
    K = limit.compile(GIVEN)
    own = K(samples)[1]
    assert np.allclose(own, K(samples, samples.copy())[1], rtol=1e-6)
    assert np.allclose(own[:1], K(samples[:1], samples)[1], rtol=1e-12)
    found = finite(net, activations, [1.0] * (len(known) + 1), (samples,) * 2, range(200), 0.0)
    error = found.std(0, ddof=1) / np.sqrt(len(found)) + 1e-12
    # The mean over two hidden layers has a bias of order 1/width.
    assert (np.abs(found.mean(0) - own) < 4 * error + 0.005 * (len(known) - 1)).all()
    if activations == ["relu"]:
        assert (own[0] == 1).all()
        others = averages_by_series(sk.infinite_width(net, SIGMA)).ntk.compile(GIVEN, tolerance=1)
        assert (others(samples)[0] == 1).all()


def test_samples_too_short_for_their_angle_are_refused():
    K = sk.infinite_width(net_of("relu")).compile()
    assert np.isfinite(K(1e-139 * X)).all()
    for samples in (np.vstack([X, 1e-150 * X[:1]]), 1e-170 * X):
        with pytest.raises(OutsideValidity, match=r"sample . of argument 'X'.* inputs up"):
            K(samples)
    with pytest.raises(OutsideValidity, match="argument 'X2'"):
        K(X, 1e-150 * X)


def test_accuracy_that_is_not_reached_is_an_error():
    """A corner away from 0, and nearly equal samples."""
    routine = sk.infinite_width(net_of(STEEP)).compile()
    near = X + 1e-4 * RNG.standard_normal(X.shape)
    with pytest.raises(OutsideValidity, match="reach a relative accuracy of"):
        routine(X, near)
    loose = sk.infinite_width(net_of(STEEP)).compile(tolerance=1.0)
    assert np.isfinite(loose(X, near)).all()
    assert sk.infinite_width(net_of("erf")).compile().accuracy(X) == 0


def test_averages_beyond_the_reach_of_the_rule_are_refused():
    """The average of exp(4 z) has its weight at 4 times the variance."""
    steep = sk.infinite_width(net_of(STEEP), 50).compile(tolerance=1.0)
    with pytest.raises(OutsideValidity, match="standard deviations"):
        steep(X)


def test_tables_of_series_count_as_memory():
    routine = sk.infinite_width(net_of("tanh")).compile()
    assert routine.memory(10, 20) == 2 * 8 * 200 + 4 * 8 * 1024 * 30


# -- refusals


@pytest.mark.parametrize(
    ("net", "match"),
    [
        ("mlp", "must be a Network"),
        (sk.Network.mlp([3, 4, 1], output_activation="tanh"), "must have a linear output"),
        (sk.Network.build(Gate("g", Parameter("W", (3, 3)) @ Input(3))), "chain of dense layers"),
        (sk.Network.build(Parameter("d", (3,), "diagonal") @ Input(3)), "chain of dense layers"),
    ],
)
def test_other_networks_are_refused(net, match):
    with pytest.raises(InvalidArgument, match=match):
        sk.infinite_width(net)


def test_skips_and_shared_weights_are_refused():
    x, W = Input(3), Parameter("W", (3, 3))
    with pytest.raises(InvalidArgument, match="chain of dense layers"):
        sk.infinite_width(sk.Network.build(W @ x + Parameter("V", (3, 3)) @ x))
    with pytest.raises(InvalidArgument, match="must not share"):
        sk.infinite_width(sk.Network.build(W @ Apply("tanh", W @ x)))


@pytest.mark.parametrize("name", ["weight_variance", "bias_variance"])
@pytest.mark.parametrize("value", [-1, np.nan, np.inf, "1", True, 1j, None, [1, 2, 3], sp.I])
def test_wrong_variances_are_refused(name, value):
    with pytest.raises(InvalidArgument):
        sk.infinite_width(net_of("relu", bias=True), **{name: value})


def test_variances_without_a_place_are_refused():
    with pytest.raises(InvalidArgument, match="without biases"):
        sk.infinite_width(net_of("relu"), bias_variance=1)
    with pytest.raises(InvalidArgument, match="positive"):
        sk.infinite_width(net_of("relu"), 0)


@pytest.mark.parametrize("expression", [sp.exp(z**2 / 4), sp.exp(z**2 / 100), sp.cosh(z**2 / 3)])
def test_averages_that_diverge_are_refused(expression):
    with pytest.raises(InvalidArgument, match="diverges"):
        sk.infinite_width(net_of(expression)).compile()(X)


def test_symbols_without_values_are_named():
    with pytest.raises(MissingValues, match="beta, sigma"):
        limit_of("relu").compile()
    with pytest.raises(InvalidArgument):
        limit_of("relu").compile({SIGMA: "1", BETA: 2})


@pytest.mark.parametrize(
    "samples",
    [
        np.ones(3),
        np.ones((2, 4)),
        np.ones((0, 3)),
        [[1, 2, np.nan]],
        [[1, np.inf, 2]],
        [[1j, 0, 0]],
        [["a", "b", "c"]],
        None,
    ],
)
def test_wrong_samples_are_refused(samples):
    routine = sk.infinite_width(net_of("relu")).compile()
    with pytest.raises(InvalidArgument):
        routine(samples)
    if samples is not None:
        with pytest.raises(InvalidArgument):
            routine(X, samples)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_kernels_beyond_floating_point_are_refused(activation):
    with pytest.raises(OutsideValidity, match=r"sample 1.* scale the inputs down"):
        sk.infinite_width(net_of(activation)).compile()(np.array([[1.0, 0, 0], [1e200, 0, 0]]))


def test_values_that_make_no_variance_are_refused():
    for value in (-1, np.nan, np.inf, 1j):
        with pytest.raises(InvalidArgument):
            limit_of("relu").compile({SIGMA: value, BETA: 1})


def test_memory_is_said_before_it_is_allocated():
    routine = sk.infinite_width(net_of("relu")).compile()
    assert routine.memory(10, 20) == 2 * 8 * 200
    assert routine.memory(10) == 1600
    many = np.ones((20_000, 3))
    with pytest.raises(InvalidArgument, match=r"6,400,000,000 bytes \(5\.96 GiB\).*batches"):
        routine(many)
    with pytest.raises(InvalidArgument, match="batches"):
        routine(X, most_bytes=100)
    assert routine(X, most_bytes=1000).shape == (2, 7, 7)


def test_batches_hold_all_rows():
    routine = limit_of("erf").compile(GIVEN)
    whole = routine(X, X2)
    parts = list(routine.batches(X, X2, rows=3))
    assert [part for part, _ in parts] == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert (np.concatenate([k for _, k in parts], axis=1) == whole).all()
    with pytest.raises(InvalidArgument):
        next(routine.batches(X, rows=0))


def test_layers_that_are_not_hidden_are_refused():
    limit = sk.infinite_width(net_of("relu", 2))
    assert limit.similarity().line == limit.similarity("hidden2").line
    with pytest.raises(InvalidArgument, match="hidden1, hidden2"):
        limit.similarity("output")
    with pytest.raises(InvalidArgument, match="no node"):
        limit.similarity("hidden3")
    with pytest.raises(ShapeMismatch):
        sk.infinite_width(net_of("relu", 2), [1, 1])


def test_averages_without_closed_form_are_explained():
    words = r"\text{the mean of } \phi(u)\, \phi(u')"
    numeric, derived = limit_of(["relu", "tanh"], 2), limit_of(["relu", "erf"], 2)
    assert words in numeric.latex()
    assert words in numeric.ntk.latex()
    assert words not in numeric.similarity("hidden1").latex()
    assert words not in derived.latex() + derived.nngp.latex()
