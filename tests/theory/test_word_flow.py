"""Flows generated from words: right-hand side, Jacobian, integration, Taylor steps."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from symkernel.errors import InvalidArgument
from symkernel.theory import flow_solver
from symkernel.theory.flow_solver import RTOL, Integration, as_tolerance, starting_floor
from symkernel.theory.word_flow import WordFlow
from symkernel.theory.word_taylor import taylor_flow
from symkernel.theory.words import Words

# X' = A X' B - g X + Y Y', Y' = E with E = C - X Y: transposes, scalars, an abbreviation.
FLOW = WordFlow(
    {
        "X": Words.of("A", "X'", "B")
        + Words.of("X", coefficient=-sp.Symbol("g"))
        + Words.of("Y", "Y'").scaled(sp.Rational(3, 2)),
        "Y": Words.of("E"),
    },
    {"X": ("m", "m"), "Y": ("m", "n"), "A": ("m", "m"), "B": ("m", "m"), "C": ("m", "n")},
    {"E": Words.of("C") - Words.of("X", "Y")},
    ("g",),
)


def bound(seed: int = 0):
    stream = np.random.default_rng(seed)
    values = {n: stream.standard_normal((3, 2 if n == "C" else 3)) for n in "ABC"}
    return FLOW.bind({"m": 3, "n": 2}, values | {"g": 0.7}), values, stream.standard_normal(15)


def test_right_hand_side() -> None:
    flow, v, y = bound()
    X, Y = y[:9].reshape(3, 3), y[9:].reshape(3, 2)
    wanted = [v["A"] @ X.T @ v["B"] - 0.7 * X + 1.5 * Y @ Y.T, v["C"] - X @ Y]
    np.testing.assert_allclose(
        flow.rate(0.0, y), np.concatenate([w.ravel() for w in wanted]), rtol=1e-13, atol=1e-13
    )


def test_jacobian_is_the_derivative_of_the_compiled_rate() -> None:
    flow, _, y = bound(1)
    # The rate is a polynomial of degree 2: central differences have no error but rounding.
    columns = [(flow.rate(0, y + e) - flow.rate(0, y - e)) / 2 for e in np.eye(15)]
    np.testing.assert_allclose(flow.jacobian(0, y), np.array(columns).T, atol=1e-12)


def test_jacobian_is_proven_and_a_wrong_one_is_not() -> None:
    assert FLOW.check_jacobian().passed

    class Wrong(WordFlow):
        def derivatives(self, name):
            for factor, before, after, coefficient in super().derivatives(name):
                yield (factor[0], False), before, after, coefficient

    wrong = Wrong(FLOW.rates, FLOW.shapes, FLOW.given, FLOW.scalars)
    assert not wrong.check_jacobian().passed


def test_the_compiled_module_stands_alone() -> None:
    assert "symkernel" not in FLOW.source
    assert FLOW.bind({"m": 1, "n": 1}, dict.fromkeys("ABC", np.eye(1)) | {"g": 0}).module


def logistic(rtol: float, times, start: float = 0.01) -> np.ndarray:
    flow = WordFlow({"X": Words.of("X") - Words.of("X", "X")}, {"X": ("n", "n")})
    law = flow.bind({"n": 1}, {})
    y = np.array([start])
    run = Integration(law.rate, law.jacobian, rtol, starting_floor(y, rtol))
    return run.through(y, np.asarray(times, float))[:, 0]


def test_integration_is_as_accurate_as_asked_for() -> None:
    times = np.array([0.0, 1e-9, 0.5, 4.0, 4.0, 12.0])
    exact = 1 / (1 + 99 * np.exp(-times))
    errors = [np.abs(logistic(rtol, times) / exact - 1).max() for rtol in (1e-5, 1e-9, RTOL)]
    assert errors[0] > 1e-9
    assert errors[1] < 1e-7
    assert errors[2] < 2e-12


def test_taylor_steps_have_more_digits() -> None:
    flow = WordFlow({"X": Words.of("X") - Words.of("X", "X")}, {"X": ("n", "n")})
    times = np.array([0.5, 4.0, 12.0])
    path = taylor_flow(flow, {"X": np.array([[0.01]])}, {}, times, 1.0)
    x0 = sp.Rational(0.01)
    for t, row in zip(times, path, strict=True):
        exact = sp.N(1 / (1 + (1 / x0 - 1) * sp.exp(-sp.Rational(t))), 40)
        assert row["X"][0, 0] == float(exact)


def test_taylor_steps_with_even_powers_alone() -> None:
    """X'' = X: the last coefficient of either matrix is 0, which does not mean it converged."""
    flow = WordFlow({"X": Words.of("Y"), "Y": Words.of("X")}, {"X": ("n", "n"), "Y": ("n", "n")})
    one = np.eye(1)
    path = taylor_flow(flow, {"X": one, "Y": 0 * one}, {}, np.array([30.0]), 0.01)
    assert path[0]["X"][0, 0] == float(sp.N(sp.cosh(30), 40))


def test_stiff_flows_go_on_with_implicit_steps(monkeypatch) -> None:
    monkeypatch.setattr(flow_solver, "_PATIENCE", 200)
    law = WordFlow(
        {"x": Words.of("D", "x"), "z": -Words.of("z", "z'", "z")},
        {"x": ("n", "o"), "z": ("o", "o"), "D": ("n", "n")},
    ).bind({"n": 2, "o": 1}, {"D": -np.diag([1e5, 1.0])})
    y = np.ones(3)
    run = Integration(law.rate, law.jacobian, 1e-10, 1e-14)
    end = run.through(y, np.array([1.0, 20.0]))[-1]
    assert run.stiff
    assert run.steps < 5000
    assert abs(end[1] - np.exp(-20)) < 1e-12
    assert abs(end[2] - 1 / np.sqrt(41)) < 1e-9


def test_a_stiff_flow_too_large_for_implicit_steps_is_refused_before(monkeypatch) -> None:
    monkeypatch.setattr(flow_solver, "_PATIENCE", 5)
    monkeypatch.setattr(flow_solver, "_LIMIT", 20)
    size = 20_000
    speeds = -np.linspace(1, 1e6, size)

    def forbidden(t, y):
        raise AssertionError("the Jacobian was asked for")

    run = Integration(lambda t, y: speeds * y, forbidden, 1e-8, 1e-12)
    with pytest.raises(InvalidArgument, match=r"would take 25,600,000,000 bytes \(23\.8 GiB\)"):
        run.through(np.ones(size), np.array([10.0]))


@pytest.mark.parametrize(
    "wrong", [0, -1e-9, 1e-16, 0.5, float("nan"), float("inf"), "1e-9", None, True, 1e-9j, [1e-9]]
)
def test_bad_tolerances_are_refused(wrong) -> None:
    with pytest.raises(InvalidArgument, match="'rtol' must be a relative tolerance between"):
        as_tolerance(wrong)


def test_good_tolerances() -> None:
    assert as_tolerance(1e-8) == as_tolerance(np.float64(1e-8)) == 1e-8
