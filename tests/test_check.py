"""The ladder passes for the laws, and each of its rungs can fail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel.derivation import Derivation
from symkernel.errors import InvalidArgument
from symkernel.formula import CheckReport, Evidence, Law, Rung
from symkernel.theory import LAWS
from symkernel.trajectory import Trajectory

DRAWS = {"draws": 1, "precision_draws": 6}


def example(law: Law) -> Derivation:
    problem = law.example()
    return sk.derive(problem.network, problem.curriculum, problem.weights, law=law.name)


def rung(report: CheckReport, number: int) -> Rung:
    return next(r for r in report.rungs if r.number == number)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_every_law_climbs_all_rungs(law: Law) -> None:
    report = sk.check(example(law), **DRAWS)
    assert report.passed
    assert [r.passed for r in report.rungs] == [True] * 6
    assert report.derivation.report is not None
    for r in report.rungs:
        assert r.title in str(report)
        assert r.figure


def test_another_loss_and_parameterisation_climb_too() -> None:
    task = sk.Task.from_modes([2.0, 1.0])
    net = sk.Network.two_layer(inputs=2, hidden=5, outputs=2, parameterisation="ntk")
    w0 = sk.weights.aligned(net, task, a=[0.5, 1.0], b=[1.0, -0.5])
    law = sk.derive(net, task, w0, loss=sk.SquaredError(sp.Rational(3, 2)))
    assert sk.check(law, draws=0, precision_draws=6).passed


def with_law(derivation: Derivation, **changes: object) -> Derivation:
    return replace(derivation, law=replace(derivation.law, **changes))


def slowed(law: Law, factor: float) -> Law:
    """The law with a wrong rate: its clock runs at `factor`."""

    def trajectory(problem: object, times: object) -> Trajectory:
        return law.trajectory(problem, factor * np.asarray(times, dtype=float))

    return replace(law, trajectory=trajectory)


def test_a_wrong_rate_fails_the_flow_and_the_slope() -> None:
    derivation = example(LAWS[0])
    wrong = replace(derivation, law=slowed(derivation.law, 1.01))
    report = sk.check(wrong, **DRAWS)
    assert not report.passed
    assert rung(report, 4).passed is False
    assert rung(report, 5).passed is False


def test_a_rate_that_is_off_by_a_millionth_fails_the_flow() -> None:
    derivation = example(LAWS[0])
    wrong = replace(derivation, law=slowed(derivation.law, 1 + 1e-6))
    assert rung(sk.check(wrong, **DRAWS), 4).passed is False


def test_a_false_step_fails_the_first_rung() -> None:
    derivation = example(LAWS[0])
    steps = derivation.derived.steps()
    broken = replace(steps[2], check=lambda: Evidence(False, "residual 1"))
    derived = replace(derivation.derived, steps=lambda: (*steps[:2], broken, *steps[3:]))
    report = sk.check(replace(derivation, derived=derived), **DRAWS)
    assert rung(report, 1).passed is False
    assert "residual 1" in rung(report, 1).figure


def test_a_false_limit_fails_the_second_rung() -> None:
    derivation = example(LAWS[0])
    limits = (("t = 0", lambda: Evidence(False, "z(0) = 2")),)
    derived = replace(derivation.derived, limits=limits)
    assert rung(sk.check(replace(derivation, derived=derived), **DRAWS), 2).passed is False


def test_lost_digits_fail_the_third_rung() -> None:
    from symkernel.theory.mode_checks import check_precision
    from symkernel.theory.mode_flow import mode_flow
    from symkernel.theory.stable_modes import side_routine

    modes = mode_flow(LAWS[0].example())
    exact = side_routine(modes)

    def careless(times: object, *arguments: object) -> dict[str, np.ndarray]:
        found = exact(times, *arguments)
        return {**found, "overlap": found["overlap"] * (1 + 1e-11)}

    assert check_precision(modes, exact, np.random.default_rng(0), 10).passed
    assert not check_precision(modes, careless, np.random.default_rng(0), 10).passed


def test_weights_that_are_not_conserved_fail_the_structure() -> None:
    derivation = example(LAWS[0])

    def trajectory(problem: object, times: object) -> Trajectory:
        true = derivation.law.trajectory(problem, times)
        grown = {n: w * (1 + 1e-6 * true.times[:, None, None]) for n, w in true.weights.items()}
        return replace(true, fields={**true.fields, "weights": lambda: grown})

    report = sk.check(with_law(derivation, trajectory=trajectory), **DRAWS)
    assert rung(report, 6).passed is False


def test_a_report_without_a_climbed_rung_has_not_passed() -> None:
    assert not CheckReport("nothing", (Rung(1, "symbolic", None, "not asked for"),)).passed
    assert not CheckReport("nothing", ()).passed


def test_what_is_not_a_derivation_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"must be what sk\.derive returns"):
        sk.check(sp.Symbol("u"))
    with pytest.raises(InvalidArgument, match="must not be negative"):
        sk.check(example(LAWS[0]), draws=-1)


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_many_draws(law: Law) -> None:
    report = sk.check(example(law), draws=300, precision_draws=2000)
    assert report.passed, str(report)
