"""Information along a law: the hump of what is not needed, and what the hidden layer keeps."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import symkernel as sk
from symkernel.errors import InvalidArgument, OutsideValidity
from symkernel.theory import information_hump as hump

RHO, NOISE = 0.8, 0.05**0.5
C = np.array([[1, RHO], [RHO, 1]])


def correlated(target, C=C):
    """Two or three samples with the covariance C; the target is linear."""
    X = np.sqrt(len(C)) * np.linalg.cholesky(C).T
    return sk.Task(X, X @ np.array([target]).T)


def law_of(tasks, a=0.1, b=0.1, hidden=5):
    inputs = tasks[0].inputs
    net = sk.Network.two_layer(inputs=inputs, hidden=hidden, outputs=1)
    phases = [sk.Phase(task, 2.0) for task in tasks[:-1]]
    course = sk.Curriculum([*phases, sk.Phase(tasks[-1])])
    return sk.derive(net, course, sk.weights.semi_orthogonal(net, a=a, b=b, seed=1))


# ---- one layer


@given(st.floats(0.05, 0.95))
@settings(max_examples=10)
def test_one_layer_against_its_flow_and_its_peak(rho):
    found = sk.information.one_layer_hump()
    weight = sp.lambdify((hump.t, hump.R), hump.one_layer_weights()[1])
    peak = float(hump.peak_time().subs(hump.R, rho))
    flow = solve_ivp(
        lambda t, w: [1 - w[0] - rho * w[1], rho - rho * w[0] - w[1]],
        (0, 2 * peak), [0, 0], "DOP853", [peak, 2 * peak], rtol=1e-12, atol=1e-14,
    )  # fmt: skip
    times = np.linspace(0, 4 * peak, 801)
    assert np.allclose(weight(np.array([peak, 2 * peak]), rho), flow.y[1], atol=1e-10)
    assert times[weight(times, rho).argmax()] == times[200]
    assert np.isclose(weight(peak, rho), float(hump.peak_weight().subs(hump.R, rho)))
    values = {hump.R: rho, hump.NOISE: 0.2, hump.t: peak}
    w = np.array([[0, weight(peak, rho)]])
    given_first = sk.information.gaussian(w.T @ w, [[1, rho], [rho, 1]], 0.2, of=1, given=0)
    assert np.isclose(float(found.plain.subs(values)), given_first)


def test_the_hump_of_one_layer_in_numbers():
    values = {hump.R: sp.Rational(4, 5), hump.NOISE: sp.sqrt(sp.Rational(1, 20))}
    time = hump.peak_time().subs(values)
    bits = sk.information.one_layer_hump().plain.subs(values).subs(hump.t, time)
    assert abs(time.evalf() - 1.373) < 5e-4
    assert abs(bits.evalf() - 0.4324) < 5e-5


@pytest.mark.parametrize("made", [hump.one_layer_hump, hump.two_layer_hump])
def test_steps_are_checked_and_printed(made):
    found = made()
    for step in found.steps:
        evidence = step.check()
        assert evidence.passed, evidence.figure
        assert step.latex()
    assert r"\text{where}" in found.latex()


a, b, w, size, v, sigma = hump.START, hump.READOUT, hump.OWN, hump.SIZE, hump.REST, hump.NOISE


@pytest.mark.parametrize(
    ("check", "claims"),
    [
        ("flow", [hump.one_layer_weights()[::-1]]),
        ("information", [sp.log(1 + hump.W2**2 / sigma**2) / (2 * sp.log(2))]),
        ("peak", [2 * hump.peak_time(), hump.peak_weight]),
        ("peak", [hump.peak_time(), lambda q: 2 * hump.peak_weight(q)]),
        ("root", [a + (sp.sqrt((a - b) ** 2 / 4 + size**2) - (a + b) / 2) * w**2 / size**2]),
        ("root", [a + (sp.sqrt((a + b) ** 2 / 4 + size**2) - b) * w**2 / size**2]),
        ("own", [sp.log(1 + 2 * hump.GRAM * v / sigma**2) / (2 * sp.log(2))]),
    ],
)
def test_checks_of_steps_can_fail(check, claims):
    assert not getattr(hump, f"check_{check}")(*claims).passed


# ---- along a law


@pytest.mark.parametrize(("a", "b"), [(0.1, 0.1), (0.05, 0.4), (1.0, 0.2)])
def test_the_law_keeps_to_the_formula_through_a_curriculum(a, b):
    C = np.array([[1, 0.5, 0.2], [0.5, 2, -0.3], [0.2, -0.3, 0.7]])
    tasks = [correlated(target, C) for target in ([1.0, 0, -1], [0, 2.0, 0])]
    law = law_of(tasks, a, b)
    assert law.law.name == "memoryless_gram"
    times = [0.0, 0.5, 2.0, 3.0, 8.0]
    curve = law.information(relevant=[0, 2], irrelevant=1, noise=0.3)
    found = curve(times)
    map_ = law.compile()(times).end_to_end[:, 0]
    expression = sk.information.two_layer_hump().plain
    rest = 1 / np.linalg.inv(C)[1, 1]
    for k, row in enumerate(map_):
        length = max(float(np.linalg.norm(row)), 1e-12)
        values = {hump.START: a, hump.READOUT: b, hump.OWN: row[1], hump.SIZE: length}
        bits = expression.subs({**values, hump.REST: rest, hump.NOISE: 0.3})
        assert abs(float(bits) - found.irrelevant[k]) < 1e-8
    assert "InformationCurve('memoryless_gram'; relevant [0, 2], irrelevant 1" in repr(curve)
    assert "5 times; at the last relevant" in repr(found)


def test_what_is_not_needed_humps_and_returns_to_where_it_was():
    law = law_of([correlated([1.0, 0.0])])
    curve = law.information(relevant=0, irrelevant=1, noise=NOISE)
    found = curve([0.0, 200.0])
    assert abs(found.irrelevant[1] - found.irrelevant[0]) < 1e-6
    assert found.relevant[1] > 3 * found.relevant[0]
    time, bits = curve.peak(20.0)
    around = curve([0.99 * time, time, 1.01 * time]).irrelevant
    assert around.argmax() == 1
    assert np.isclose(bits, around[1])
    assert bits > 1.5 * found.irrelevant[0]
    with pytest.raises(OutsideValidity, match="largest at the end of the times"):
        curve.peak(20.0, of="relevant")


def test_it_is_what_the_integrated_weights_tell():
    law = law_of([correlated([0.0, 1.0]), correlated([1.0, 0.0])])
    times = [0.0, 1.0, 2.0, 4.0]
    W1 = law.compile().weights(times)["W1"]
    found = law.information(relevant=0, irrelevant=1, noise=0.3)(times)
    for k, weights in enumerate(W1):
        # The other input is known, and leaves 1 - RHO^2 of the variance.
        for column, bits in ((0, found.relevant[k]), (1, found.irrelevant[k])):
            own = weights[:, column] @ weights[:, column] * (1 - RHO**2) / 0.09
            assert np.isclose(bits, np.log2(1 + own) / 2, atol=1e-7)


def test_scaled_parameters_count_as_what_they_do():
    for kind in ("standard", "ntk"):
        net = sk.Network.two_layer(inputs=2, hidden=4, outputs=1, parameterisation=kind)
        w0 = sk.weights.semi_orthogonal(net, a=0.3, b=0.3)
        law = sk.derive(net, correlated([1.0, 0.0]), w0)
        path = law.compile()([0.0, 1.0])
        X = law.problem.curriculum.phases[0].task.X
        inverse = np.linalg.inv(X)
        gram = inverse @ path.hidden_gram @ inverse.T
        found = law.information(relevant=0, irrelevant=1, noise=0.3)([0.0, 1.0])
        assert np.allclose(found.irrelevant, np.log2(1 + gram[:, 1, 1] * 0.36 / 0.09) / 2)


def test_inputs_of_two_values_against_the_estimator():
    X = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=float)
    law = law_of([sk.Task(X, X @ np.array([[1.0], [0.3]]))], a=0.05, b=0.05)
    times = [0.0, 2.0]
    curve = law.information(relevant=0, irrelevant=1, noise=0.5, inputs="binary")
    exact = curve(times)
    assert "J" in curve.latex()
    stream = np.random.default_rng(4)
    bits = stream.integers(0, 2, (30_000, 2))
    for k, W1 in enumerate(law.compile().weights(times)["W1"]):
        h = (2 * bits - 1) @ W1.T + 0.5 * stream.standard_normal((30_000, len(W1)))
        for column, expected in ((0, exact.relevant[k]), (1, exact.irrelevant[k])):
            found = sk.usable_information(h, bits[:, column], given=bits[:, 1 - column])
            assert abs(found.bits - expected) < 0.02


def test_symbols_take_values():
    s, a = sp.symbols("s a", positive=True)
    task = sk.Task.from_modes([s, 1])
    net = sk.Network.two_layer(inputs=2, hidden=2, outputs=2)
    law = sk.derive(net, task, sk.weights.aligned(net, task, a=a, b=a))
    values = {s: 2, a: 0.1}
    found = law.information(relevant=0, irrelevant=1, noise=0.2, values=values)([0.0, 50.0])
    # Balanced modes: W1^T W1 becomes the strengths.
    assert np.isclose(found.relevant[1], np.log2(1 + 2 / 0.04) / 2)
    assert np.isclose(found.irrelevant[1], np.log2(1 + 1 / 0.04) / 2)


# ---- refusals


def test_what_is_asked_for_is_checked():
    law = law_of([correlated([1.0, 0.0])])
    good = {"relevant": 0, "irrelevant": 1, "noise": 0.2}
    for options, words in (
        ({"noise": 0}, "'noise' must be a finite positive number"),
        ({"noise": "loud"}, "'noise' must be a positive number"),
        ({"inputs": "ternary"}, "'inputs' must be one of gaussian, binary"),
        ({"covariance": np.eye(2) * np.nan}, "'covariance' must be finite"),
        ({"covariance": np.eye(3)}, r"'gram' must end in the shape \(3, 3\)"),
        ({"relevant": 2}, "must name inputs from 0 to 1"),
        ({"irrelevant": "x"}, "must name inputs from 0 to 1"),
        ({"inputs": "binary", "relevant": [0, 1]}, "must each be one input, 0 to 1"),
        ({"inputs": "binary", "irrelevant": 2}, "must each be one input, 0 to 1"),
        ({"inputs": "binary", "irrelevant": True}, "must each be one input, 0 to 1"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            law.information(**{**good, **options})([0.0, 1.0])
    curve = law.information(**good)
    for bad in (0, -1, np.inf, "late"):
        with pytest.raises(InvalidArgument, match="'until' must be"):
            curve.peak(bad)
    with pytest.raises(InvalidArgument, match="'of' must be one of irrelevant, relevant"):
        curve.peak(1.0, of="both")


def test_whose_inputs_are_shown_must_be_clear():
    other = np.array([[1, -0.5], [-0.5, 1]])
    law = law_of([correlated([1.0, 0.0]), correlated([1.0, 0.0], other)])
    curve = law.information(relevant=0, irrelevant=1, noise=0.2)
    with pytest.raises(InvalidArgument, match="'covariance' must be given"):
        curve([0.0, 3.0])
    found = law.information(relevant=0, irrelevant=1, noise=0.2, covariance=C)([0.0, 3.0])
    assert (found.irrelevant > 0).all()


def test_laws_of_other_networks_say_what_they_do_not_know():
    net = sk.Network.two_layer(inputs=2, hidden=8, outputs=1, activation="erf")
    law = sk.derive(net, correlated([1.0, 0.0]), sk.weights.gaussian(net, seed=0))
    with pytest.raises(OutsideValidity, match=r"no linear function of the inputs \(activation erf"):
        law.information(relevant=0, irrelevant=1, noise=0.2)([0.0, 1.0])


def test_from_large_weights_two_layers_are_one_layer():
    """The clock runs 2a times as fast; the error falls with the square of 1/a."""
    errors = []
    times = np.linspace(0.0, 12.0, 61)
    one = sp.lambdify((hump.t, hump.R), hump.one_layer_weights()[1])(times, RHO)
    for size in (0.1, 1.0, 10.0, 100.0):
        law = law_of([correlated([1.0, 0.0])], a=size, b=size)
        two = law.compile()(times / (2 * size)).end_to_end[:, 0, 1]
        errors.append(np.abs(two - one).max())
    assert np.allclose(errors[:2], [0.26, 0.025], rtol=0.02)
    assert np.isclose(errors[3] / errors[2], 0.01, rtol=0.02)
