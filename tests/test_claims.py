"""Conjectures judged: by equation, flow and simulation, in every form a user may write them."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel.check_report import CheckReport
from symkernel.errors import InvalidArgument, MissingValues, ShapeMismatch

T = sp.Symbol("t", nonnegative=True)
BARE = sp.Symbol("t")
NET = sk.Network.two_layer(inputs=2, hidden=3, outputs=2)
TASK = sk.Task.from_modes([2, 1])
TENTH = sp.Rational(1, 10)
W0 = sk.weights.aligned(NET, TASK, a=[TENTH, 2 * TENTH], b=[TENTH, 3 * TENTH])
PROBLEM = (NET, TASK, W0)
RIGHT = 2 / (1 + 199 * sp.exp(-4 * T))


def verdicts(report: CheckReport) -> dict[int, bool | None]:
    return {rung.number: rung.passed for rung in report.rungs}


def test_a_right_claim_passes_every_rung() -> None:
    sim = sk.simulate(*PROBLEM, learning_rate=1e-3, record=np.linspace(0, 4, 9))
    report = sk.check_claim(RIGHT, ("mode", 0), PROBLEM, against=sim)
    assert report.passed
    assert verdicts(report) == {1: True, 2: True, 4: True, 5: True}
    assert "exactly" in report.rungs[0].figure


@pytest.mark.parametrize(
    ("claim", "failed"),
    [
        (2 / (1 + 199 * sp.exp(-2 * T)), {1, 4, 5}),  # off by a factor 2 in time
        (3 / (1 + 299 * sp.exp(-4 * T)), {1, 4, 5}),  # wrong asymptote
        (2 / (1 + 99 * sp.exp(-4 * T)), {2, 4, 5}),  # wrong initial value, right equation
        (RIGHT * (1 + sp.Rational(1, 10**7)), {1, 2, 4}),  # nearly right
    ],
)
def test_a_wrong_claim_fails_where_it_is_wrong(claim: sp.Expr, failed: set[int]) -> None:
    sim = sk.simulate(*PROBLEM, learning_rate=1e-3, record=np.linspace(0, 4, 9))
    report = sk.check_claim(claim, ("mode", 0), PROBLEM, against=sim)
    assert not report.passed
    assert {k for k, passed in verdicts(report).items() if passed is False} == failed


@pytest.mark.parametrize("speed", [1, 1000, 10**6])
def test_a_bump_added_to_a_right_claim_is_no_reason_to_think_long(speed: int) -> None:
    bump = sp.exp(-((speed * (T - sp.Rational(77, 100))) ** 2))
    report = sk.check_claim(RIGHT + bump, ("mode", 0), PROBLEM)
    # A bump narrower than the spacing of the times is not seen; the report says where it looked.
    assert report.passed == (speed > 1)
    assert "of 0 to" in report.rungs[-1].figure
    if speed > 1:
        assert "exactly" not in report.rungs[0].figure


def test_the_derived_law_is_a_right_claim_for_every_mode() -> None:
    law = sk.derive(*PROBLEM)
    for k in range(2):
        assert sk.check_claim(law.mode(k).output, ("mode", k), PROBLEM).passed


def test_without_a_law_the_flow_still_judges() -> None:
    w0 = sk.weights.gaussian(NET, 0.3, seed=1000)
    report = sk.check_claim(RIGHT, ("mode", 0), (NET, TASK, w0))
    assert verdicts(report) == {1: None, 4: False}


FORMS = {
    "without assumptions on t": 2 / (1 + 199 * sp.exp(-4 * BARE)),
    "growing exponentials": 2 * sp.exp(4 * T) / (sp.exp(4 * T) + 199),
    "tanh": 1 + sp.tanh(2 * T - sp.log(199) / 2),
    "expanded": sp.expand(1 / (sp.Rational(1, 2) + sp.Rational(199, 2) * sp.exp(-4 * T))),
    "floating point": 2.0 / (1.0 + 199.0 * sp.exp(-4.0 * T)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_right_claim_passes_in_any_form(form: str) -> None:
    report = sk.check_claim(FORMS[form], ("mode", 0), PROBLEM)
    assert report.passed, str(report)


@pytest.mark.parametrize("form", ["tanh", "floating point"])
def test_a_wrong_claim_fails_in_any_form(form: str) -> None:
    """Twice as fast: right at both ends and wrong between them."""
    wrong = (
        FORMS[form].subs(T, 2 * T)
        if form == "floating point"
        else 1 + sp.tanh(4 * T - sp.log(199) / 2)
    )
    assert verdicts(sk.check_claim(wrong, ("mode", 0), PROBLEM)) == {1: False, 2: True, 4: False}


def hyperbolic(s, a, b):
    """THEORY 1a in P = (a+b)^2, written here anew: an unbalanced mode of variance 1."""
    c = a**2 - b**2
    R = sp.sqrt(4 * s**2 + c**2)
    up, low, P0 = 2 * s + R, 2 * s - R, (a + b) ** 2
    decay = sp.exp(-R * T)
    P = (up * (P0 - low) - low * (P0 - up) * decay) / ((P0 - low) - (P0 - up) * decay)
    return (P - c**2 / P) / 4


def test_the_hyperbolic_form_of_an_unbalanced_mode_is_right() -> None:
    right = hyperbolic(sp.Integer(1), 2 * TENTH, 3 * TENTH)
    assert sk.check_claim(right, ("mode", 1), PROBLEM).passed
    swapped = hyperbolic(sp.Integer(1), 3 * TENTH, 2 * TENTH)
    assert sk.check_claim(swapped, ("mode", 1), PROBLEM).passed
    wrong = hyperbolic(sp.Integer(1), 2 * TENTH, 31 * TENTH / 10)
    assert not sk.check_claim(wrong, ("mode", 1), PROBLEM).passed
    assert not sk.check_claim(right, ("mode", 0), PROBLEM).passed


def test_the_balanced_formula_is_wrong_for_an_unbalanced_mode() -> None:
    """The usual mistake: the sigmoid from the right start to the right end."""
    start = 6 * TENTH**2
    sigmoid = 1 / (1 + (1 / start - 1) * sp.exp(-2 * T))
    report = sk.check_claim(sigmoid, ("mode", 1), PROBLEM)
    assert verdicts(report) == {1: False, 2: True, 4: False}


def one_mode(s, a, b, d=1, **options):
    net = sk.Network.two_layer(1, 1, 1, **options)
    task = sk.Task.from_modes(s, input_variance=d)
    return net, task, sk.weights.aligned(net, task, a=a, b=b)


def test_balanced_opposite_sides_have_their_own_formula() -> None:
    """THEORY, trap 6: with u0 < 0 the sigmoid is wrong, and its mirror image falls to 0."""
    half = sp.Rational(1, 2)
    problem = one_mode(2, half, -half)
    u0 = -(half**2)
    falls = 2 / (1 + (2 / u0 - 1) * sp.exp(4 * T))
    sigmoid = 2 / (1 + (2 / u0 - 1) * sp.exp(-4 * T))
    assert sk.check_claim(falls, ("mode", 0), problem).passed
    assert not sk.check_claim(sigmoid, ("mode", 0), problem).passed


def test_variance_factor_and_parameterisation_are_the_problems_own() -> None:
    problem = one_mode(2, TENTH, TENTH, d=4)
    right = sp.Rational(1, 2) / (1 + 49 * sp.exp(-4 * T))
    assert sk.check_claim(right, ("mode", 0), problem).passed
    assert not sk.check_claim(RIGHT, ("mode", 0), problem).passed
    loss = sk.SquaredError(2)
    slow, fast = RIGHT, RIGHT.subs(T, 4 * T)
    problem = one_mode(2, TENTH, TENTH)
    assert sk.check_claim(fast, ("mode", 0), problem, loss=loss).passed
    assert not sk.check_claim(slow, ("mode", 0), problem, loss=loss).passed


def test_a_loss_that_forgets_the_constant_part_is_wrong() -> None:
    """Half of the squared error of each mode; without the half it is another convention."""
    law = sk.derive(*PROBLEM)
    parts = [law.mode(k).output for k in range(2)]
    right = sum((s - u) ** 2 for s, u in zip((2, 1), parts, strict=True)) / 2
    assert sk.check_claim(right, ("loss",), PROBLEM).passed
    for wrong in (2 * right, right + sp.Rational(1, 10**6), (2 - parts[0]) ** 2 / 2):
        report = sk.check_claim(wrong, "loss", PROBLEM)
        assert not report.passed
        assert "at t = " in report.rungs[0].figure


def test_the_residual_says_where_it_is_worst() -> None:
    report = sk.check_claim(RIGHT.subs(T, T + T**2 / 100), ("mode", 0), PROBLEM)
    assert verdicts(report)[1] is False
    assert "of the largest rate, at t = " in report.rungs[0].figure
    assert "claimed" in report.rungs[2].figure
    assert "found" in report.rungs[2].figure


def test_in_a_curriculum_the_flow_judges() -> None:
    second = sk.Task.from_modes([1, 2])
    cur = sk.Curriculum([sk.Phase(TASK, 1.0), sk.Phase(second, 2.0)])
    report = sk.check_claim(RIGHT, ("mode", 0), (NET, cur, W0))
    assert verdicts(report) == {1: None, 4: False}
    constant = sk.Curriculum([sk.Phase(TASK, 1.0), sk.Phase(TASK, 2.0)])
    assert verdicts(sk.check_claim(RIGHT, ("mode", 0), (NET, constant, W0))) == {1: None, 4: True}


def test_a_law_is_judged_against_a_simulation_by_what_the_flow_misses() -> None:
    coarse = sk.simulate(*PROBLEM, learning_rate=1e-2, record=np.linspace(0, 3, 7))
    report = sk.check_claim(RIGHT, ("mode", 0), PROBLEM, against=coarse)
    assert verdicts(report)[5] is True
    off = sk.check_claim(RIGHT.subs(T, 0.98 * T), ("mode", 0), PROBLEM, against=coarse)
    # Gradient descent lags behind the flow, so a slower claim fits it better: the flow tells.
    assert verdicts(off)[4] is False


def test_a_run_of_another_network_is_refused() -> None:
    net, task = sk.Network.two_layer(3, 3, 3), sk.Task.from_modes([2, 1, 1])
    other = sk.simulate(
        net, task, sk.weights.gaussian(net), learning_rate=1e-2, record=[0.0, 0.5]
    )  # fmt: skip
    with pytest.raises(ShapeMismatch, match="'against' must be a run of the network"):
        sk.check_claim(RIGHT, ("mode", 0), PROBLEM, against=other)


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("2*t", "must be a SymPy expression in t, not str"),
        (2.0, "must be a SymPy expression in t, not float"),
        (None, "must be a SymPy expression in t, not NoneType"),
        (RIGHT > 0, "must be a SymPy expression in t"),
        (sp.Matrix([RIGHT]), "must be a SymPy expression in t"),
        (sp.Symbol("s") * T, "on t alone, not on s"),
        (sp.Function("f")(T), r"on t alone, not on f\(t\)"),
        (sp.nan, "must be finite and real"),
        (sp.oo, "must be finite and real"),
        (1 / T, "'formula' must"),
        (sp.log(T), "'formula' must"),
        (sp.I * RIGHT, "must be finite and real"),
        (sp.sqrt(-1 - T), "must be finite and real"),
    ],
)
def test_formulas_that_are_no_functions_of_time_are_refused(formula, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        sk.check_claim(formula, ("mode", 0), PROBLEM)


@pytest.mark.parametrize(
    "observable",
    [
        ("mode", 2),
        ("mode", -1),
        ("mode", True),
        ("mode", 0.0),
        ("mode",),
        "mode",
        None,
        0,
        "losses",
    ],
)
def test_unknown_observables_are_refused(observable) -> None:
    with pytest.raises(InvalidArgument, match="'observable' must be 'loss' or"):
        sk.check_claim(RIGHT, observable, PROBLEM)


SYMBOLIC = sk.Task.from_modes([sp.Symbol("s", positive=True), 1])


@pytest.mark.parametrize(
    ("problem", "options", "error", "words"),
    [
        ((NET, TASK), {}, InvalidArgument, "'problem' must be"),
        (None, {}, InvalidArgument, "'problem' must be"),
        ((NET, None, W0), {}, InvalidArgument, "'curriculum' must be"),
        ((NET, TASK, None), {}, InvalidArgument, "'weights' must be"),
        (PROBLEM, {"loss": 0.5}, InvalidArgument, "'loss' must be"),
        (PROBLEM, {"against": "run"}, InvalidArgument, "'against' must be a Trajectory"),
        ((NET, SYMBOLIC, W0), {}, MissingValues, "must have numbers for all its symbols"),
    ],
)
def test_problems_that_are_none_are_refused(problem, options, error, words: str) -> None:
    with pytest.raises(error, match=words):
        sk.check_claim(RIGHT, ("mode", 0), problem, **options)


def test_the_kernel_of_a_claim_includes_the_rates() -> None:
    net = sk.Network.two_layer(inputs=2, hidden=3, outputs=2, rates=[1, 3])
    w0 = sk.weights.aligned(net, TASK, a=0.2, b=0.3)
    sim = sk.simulate(net, TASK, w0, learning_rate=1e-3, record=[0.0])
    # At t = 0: |x|^2 (1 x b^2 + 3 x a^2) with |x|^2 = 2 items of variance 1.
    assert sim.ntk[0, 0, 0, 0, 0] == pytest.approx(2 * (0.3**2 + 3 * 0.2**2))
    report = sk.check_claim(
        sp.Float(sim.ntk[0, 0, 0, 0, 0]), ("ntk", 0, 0, 0, 0), (net, TASK, w0), against=sim
    )
    assert report.passed, str(report)


def test_a_loss_beside_a_problem_is_refused() -> None:
    problem = sk.derive(*PROBLEM).problem
    assert sk.check_claim(RIGHT, ("mode", 0), problem).passed
    with pytest.raises(InvalidArgument, match="'loss' must be left out"):
        sk.check_claim(RIGHT, ("mode", 0), problem, loss=sk.SquaredError(1))


def test_a_formula_that_diverges_is_refused() -> None:
    x = sp.Symbol("x", positive=True)
    with pytest.raises(InvalidArgument, match=r"must (have a number|be finite)"):
        sk.check_claim(sp.Sum(sp.exp(-x * T) * x, (x, 1, sp.oo)), ("mode", 0), PROBLEM)


def test_a_simulation_of_another_problem_is_said_to_be_of_no_use() -> None:
    stronger = sk.Task.from_modes([5, 1])
    w0 = sk.weights.aligned(NET, stronger, a=0.1, b=0.1)
    sim = sk.simulate(NET, stronger, w0, learning_rate=1e-3, record=[0.0, 0.5, 1.0])
    report = sk.check_claim(RIGHT, ("mode", 0), PROBLEM, against=sim)
    assert verdicts(report)[5] is None
    assert "nothing was compared with the simulation" in report.notes[-1]


def test_a_claim_that_is_wrong_within_an_earlier_phase_fails() -> None:
    """It is right at the start of that phase, at its end, and in the whole of the next one."""
    net, first = sk.Network.two_layer(1, 1, 1), sk.Task.from_modes([2])
    cur = sk.Curriculum([sk.Phase(first, 3), sk.Phase(sk.Task.from_modes([1]))])
    w0 = sk.weights.aligned(net, first, a=sp.Rational(1, 10), b=sp.Rational(1, 10))
    later = 1 / (1 + (1 / RIGHT.subs(T, 3) - 1) * sp.exp(-2 * (T - 3)))
    bump = 1 + sp.sin(sp.pi * T / 3) ** 2
    for early, holds in ((RIGHT, True), (RIGHT * bump, False)):
        claim = sp.Piecewise((early, T < 3), (later, True))
        assert sk.check_claim(claim, ("mode", 0), (net, cur, w0)).passed is holds
