"""The table of what was assumed, one law by name, and near misses with what they cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

import symkernel as sk
from symkernel import choosing
from symkernel.assumptions import Assumptions
from symkernel.errors import InvalidArgument, NoClosedForm, OutsideValidity
from symkernel.formula import Verdict
from symkernel.ladder_cost import cost_rung, flow_costs
from symkernel.problem.problem import Problem
from symkernel.report.record import record
from symkernel.simulation.flow import integrate_flow
from symkernel.theory import LAWS

NET = sk.Network.two_layer(inputs=2, hidden=3, outputs=2)
TASK = sk.Task.from_modes([2.0, 1.0])
FRAME = np.eye(3)[:, :2]
ASIDE = np.random.default_rng(1000).standard_normal((3, 2))
TIMES = [0.0, 1.0, 4.0]


def start(violation, aside=ASIDE):
    """Weights whose first layer is off the frame of the second by so much."""
    return sk.weights.from_arrays(NET, [0.1 * (FRAME + violation * aside), 0.1 * FRAME.T])


def near_miss(violation=0.02, law="aligned_modes", tolerance=0.2):
    return sk.derive(NET, TASK, start(violation), law=law, tolerance=tolerance)


def refused(*args, **options):
    with pytest.raises(NoClosedForm) as caught:
        sk.derive(*args, **options)
    return caught.value


# ---- the table


def test_of_laws_before_the_chosen_one_what_fails_is_shown_and_all_of_the_chosen_one():
    skew = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    d = sk.derive(NET, TASK, start(1.0, skew))
    assert d.law.name == "gram_diagonal"
    shown = d.assumptions.shown
    before = [v for v in shown if v.law != "gram_diagonal"]
    assert before
    assert all(not v.holds for v in before)
    assert [v for v in d.assumptions if v.law == "gram_diagonal"] == [
        v for v in shown if v.law == "gram_diagonal"
    ]
    assert shown[0].law == "gram_diagonal"
    assert len(d.assumptions) > len(shown)  # what holds of the laws before is kept, not shown


def test_laws_after_the_chosen_one_are_said_not_to_be_tried():
    d = sk.derive(NET, TASK, sk.weights.aligned(NET, TASK, a=0.1, b=0.2))
    untried = [law.name for law in LAWS if law.name != d.law.name]
    assert list(d.assumptions.untried) == untried
    assert f"not tried, because 'aligned_modes' comes before them: {', '.join(untried)}" in str(d)


def test_every_face_shows_the_same_table(tmp_path):
    d = near_miss()
    texts = {
        "str": str(d), "html": d._repr_html_(), "markdown": d._repr_markdown_(), "latex": d.latex(),
    }  # fmt: skip
    for text in texts.values():
        plain = text.replace(r"\_", "_")
        for verdict in d.assumptions:
            assert f"{verdict.distance:.2g}" in plain
            assert verdict.word in plain
        assert "not tried, because one law was asked for" in plain.replace("Not tried", "not tried")
        assert "approximation" in text
        assert "an approximation, not exact" in text.replace("An app", "an app")
        assert "[exact]" not in text
    assert "<table>" in texts["html"]
    assert "| law | assumption | distance | tolerance | verdict |" in texts["markdown"]


def test_the_law_asked_for_is_the_only_one_that_is_tested(monkeypatch):
    tested = []
    laws = tuple(
        replace(law, test=lambda p, law=law: tested.append(law.name) or law.test(p)) for law in LAWS
    )
    monkeypatch.setattr(choosing, "LAWS", laws)
    w0 = sk.weights.aligned(NET, TASK, a=0.1, b=0.2)
    assert sk.derive(NET, TASK, w0, law="gram_diagonal").law.name == "gram_diagonal"
    assert tested == ["gram_diagonal"]
    tested.clear()
    sk.derive(NET, TASK, w0)
    assert tested == ["aligned_modes"]


def test_a_flow_that_cannot_be_derived_fails_its_law_and_does_not_end_the_walk(monkeypatch):
    def underivable(problem):
        raise NoClosedForm("There is no such flow.")

    broken = replace(LAWS[0], test=underivable)
    monkeypatch.setattr(choosing, "LAWS", (broken, *LAWS[1:]))
    problem = LAWS[0].example()
    law, _ = choosing.choose(problem, None, None)
    assert law is not broken
    with pytest.raises(NoClosedForm, match="There is no such flow") as refusal:
        choosing.choose(problem, broken.name, None)
    (failed,) = refusal.value.verdicts
    assert not failed.stands


def test_a_refusal_is_the_same_table_and_names_a_near_miss():
    error = refused(NET, TASK, start(0.02), law="aligned_modes")
    assert isinstance(error.verdicts, Assumptions)
    assert str(error.verdicts) in str(error)
    assert {v.law for v in error.verdicts} == {"aligned_modes"}
    line = next(n for n in error.verdicts.notes if "near miss: 'aligned_modes'" in n)
    tolerance = float(line.split("tolerance=")[1].split()[0])
    assert sk.derive(NET, TASK, start(0.02), law="aligned_modes", tolerance=tolerance)
    worst = max(v.distance for v in error.verdicts if v.law == "aligned_modes")
    assert worst <= tolerance <= 1.1 * worst


def test_a_law_that_is_integrated_names_the_closed_form_that_nearly_holds():
    d = sk.derive(NET, TASK, start(0.02))
    assert d.law.name == "reduced_flow"
    assert {v.law for v in d.assumptions} == {law.name for law in LAWS if law.asymptotics is None}
    assert any("near miss: 'aligned_modes'" in note for note in d.assumptions.notes)
    assert not any("near miss" in note for note in near_miss().assumptions.notes)


def test_what_is_far_away_or_cannot_be_accepted_is_no_near_miss():
    far = refused(NET, TASK, sk.weights.gaussian(NET, seed=5), law="aligned_modes")
    assert "near miss" not in str(far)
    loss = sk.SquaredError(weight_decay=1e-3)
    decay = refused(NET, TASK, start(0.0), loss=loss, law="aligned_modes")
    assert "near miss" not in str(decay)
    assert "leave weight_decay out, or simulate" in str(decay)


def test_one_law_that_fails_is_shown_in_full():
    error = refused(NET, TASK, start(0.02), law="aligned_modes")
    assert "The law 'aligned_modes' does not cover this problem" in str(error)
    assert {v.holds for v in error.verdicts.shown} == {True, False}
    assert len(error.verdicts.shown) == len(error.verdicts)


def test_each_advice_is_given_once():
    net, moments = (
        sk.Network.mlp([2, 3, 2], "tanh"),
        sk.Task.from_moments(*np.eye(2)[None][[0] * 3]),
    )
    text = str(refused(net, moments, sk.weights.gaussian(net, seed=5)))
    assert text.count("but the network has the activation tanh") == 1


def test_a_table_is_a_sequence_of_verdicts():
    table = near_miss().assumptions
    assert len(list(table)) == len(table)
    assert table[0] in table
    assert table[:2] == tuple(table)[:2]
    assert repr(table) == str(table)
    assert str(Assumptions(())).startswith("  law")


# ---- near misses


@given(st.floats(1e-6, 0.2), st.floats(1e-6, 0.2))
def test_a_violation_is_accepted_up_to_the_tolerance_and_no_further(violation, tolerance):
    problem = Problem(NET, sk.Curriculum.of(TASK), start(violation))
    worst = max(verdict.distance for verdict in LAWS[0].test(problem))
    if worst <= tolerance:
        d = sk.derive(NET, TASK, start(violation), law="aligned_modes", tolerance=tolerance)
        assert d.rank == "approximation"
        assert d.tolerance == tolerance
    else:
        refused(NET, TASK, start(violation), law="aligned_modes", tolerance=tolerance)


def test_what_holds_stays_exact_whatever_is_accepted():
    d = sk.derive(NET, TASK, start(0.0), law="aligned_modes", tolerance=0.5)
    assert d.rank == "exact"
    assert not d.caveat
    assert "approximation" not in str(d) + d.latex() + d._repr_html_()
    assert "approximation" not in repr(d.compile())
    assert d.compile()(TIMES).caveat == ""


def test_an_approximation_says_so_everywhere():
    d = near_miss()
    assert d.rank == "approximation"
    assert d.law.rank == "exact"
    marked = [v for v in d.assumptions if v.is_violated]
    assert marked
    for verdict in marked:
        assert verdict.word == f"violated by {verdict.distance:.2g}, accepted up to 0.2"
        assert not verdict.holds
    for text in (repr(d), repr(d.compile()), d.latex(fragment=True), str(d)):
        assert "approximation" in text
    assert "violated by" in d.latex(fragment=True)
    assert "an approximation" in d.compile()(TIMES).caveat
    assert "an approximation" in repr(d.compile()(TIMES))
    data = record(d)
    assert data["law"]["rank"] == "approximation"
    assert data["approximation"] == d.caveat
    assert data["untried"] == list(d.assumptions.untried) != []
    assert {v["accepted"] for v in data["assumptions"]} == {0.2}


def test_what_can_only_hold_or_not_is_never_accepted():
    decay = sk.SquaredError(weight_decay=1e-3)
    refused(NET, TASK, start(0.0), law="aligned_modes", tolerance=0.5, loss=decay)
    tanh = sk.Network.two_layer(2, 3, 2, activation="tanh")
    weights = sk.weights.from_arrays(tanh, list(start(0.0).arrays.values()))
    refused(tanh, TASK, weights, law="aligned_modes", tolerance=1e300)
    assert not Verdict("law", "words", False, np.inf, 1e-8, accepted=1e300).stands
    assert not Verdict("law", "words", False, 0.1, 0.0, accepted=0.5).stands


def test_the_accepted_tolerance_goes_with_the_values():
    s1, s2 = sp.symbols("s1 s2", positive=True)
    task = sk.Task.from_modes([s1, s2])
    d = sk.derive(NET, task, sk.weights.aligned(NET, task, a=0.1, b=0.1), law="aligned_modes",
                  tolerance=0.1)  # fmt: skip
    assert d.rank == "exact"
    assert not d.compile({s1: 2, s2: 1}).caveat
    off = replace(d, problem=near_miss().problem)
    assert off.compile().caveat
    strict = replace(off, assumptions=replace(
        d.assumptions, verdicts=tuple(replace(v, accepted=0.0) for v in d.assumptions)
    ))  # fmt: skip
    with pytest.raises(NoClosedForm, match="does not hold for these values") as caught:
        strict.compile()
    assert "FAILS" in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("law", ["aligned_modes", "gram_diagonal"])
def test_the_cost_falls_with_the_violation_at_slope_1(law):
    violations = 0.04 * 0.5 ** np.arange(4)
    found = [flow_costs(near_miss(v, law))[0] for v in violations]
    for name in ("output map", "hidden Gram", "weights"):
        costs = [cost[name] for cost in found]
        assert np.polyfit(np.log(violations), np.log(costs), 1)[0] == pytest.approx(1, abs=0.05)
        assert 0.05 * violations[0] < costs[0] < violations[0]


def test_the_cost_of_what_the_routine_does_not_use_is_seen_in_the_formulas():
    """Sides that are not parallel: the compiled law is that of any sides, the formulas are not."""
    aside = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    d = sk.derive(NET, TASK, start(0.1, aside), law="aligned_modes", tolerance=0.2)
    costs, _ = flow_costs(d)
    assert max(costs[name] for name in ("output map", "hidden Gram", "weights")) < 1e-10
    assert costs["formulas of the modes"] > 1e-4


def test_tasks_that_nearly_commute_and_curricula_have_a_cost_too():
    turned = sk.Task.from_moments(
        np.array([[1.0, 0.03], [0.03, 1.0]]), np.diag([1.0, 2.0]), np.diag([2.0, 5.0])
    )
    course = sk.Curriculum([sk.Phase(TASK, duration=2.0), sk.Phase(turned)])
    w0 = sk.weights.aligned(NET, TASK, a=0.1, b=0.2)
    d = sk.derive(NET, course, w0, law="gram_diagonal", tolerance=0.05)
    costs, end = flow_costs(d)
    assert all(1e-4 < cost < 0.1 for cost in costs.values())
    assert end > 2.0


def test_check_measures_the_cost_and_does_not_pass_it():
    d = near_miss(0.02)
    report = sk.check(d, draws=1, precision_draws=3)
    assert [rung.number for rung in report.rungs] == [1, 2, 3, 4, 4, 5, 6]
    cost = report.rungs[4]
    assert (cost.passed, cost.word) == (None, "measured")
    assert f"output map {flow_costs(d)[0]['output map']:.1e}" in cost.figure
    assert report.passed  # the law itself, on problems of its class
    assert "an approximation, not exact" in report.notes[0]
    for text in (str(report), report.latex(), report._repr_html_(), report.derivation.latex()):
        assert "measured" in text
        assert "an approximation" in text
    assert record(report.derivation)["report"]["rungs"][4]["measured"]
    assert report.derivation.problem is d.problem
    assert "sk.check measures" not in report.derivation.caveat


def test_an_exact_law_has_no_row_of_costs():
    d = sk.derive(NET, TASK, start(0.0), law="aligned_modes", tolerance=0.1)
    report = sk.check(d, draws=0, precision_draws=0)
    assert [rung.number for rung in report.rungs] == [1, 2, 3, 4, 5, 6]
    assert not report.notes


def test_with_symbols_the_cost_is_not_measured():
    a = sp.Symbol("a", positive=True)
    turned = sk.Task.from_moments(
        np.array([[1.0, 0.03], [0.03, 1.0]]), np.diag([2.0, 1.0]), np.diag([5.0, 2.0])
    )
    w0 = sk.weights.aligned(NET, turned, a=a, b=a)
    d = sk.derive(NET, turned, w0, law="aligned_modes", tolerance=0.1)
    assert d.rank == "approximation"
    rung = cost_rung(d)
    assert rung.word == "not climbed"
    assert "with numbers" in rung.figure
    assert d.compile({a: 0.1}).caveat


# ---- refusals


@pytest.mark.parametrize(
    "tolerance", [0, -0.1, np.nan, np.inf, True, "0.1", 1j, [0.1], np.array([0.1, 0.2]), object()]
)
def test_tolerances_that_are_none_are_refused(tolerance):
    with pytest.raises(InvalidArgument, match="Argument 'tolerance' must be"):
        sk.derive(NET, TASK, start(0.0), law="aligned_modes", tolerance=tolerance)


def test_a_tolerance_is_of_one_law():
    with pytest.raises(InvalidArgument, match=r"'tolerance' accepts violations of one law; name"):
        sk.derive(NET, TASK, start(0.0), tolerance=0.1)


def test_values_that_a_problem_cannot_have_are_blamed_on_the_values():
    s, w, a = sp.symbols("s w a", positive=True)
    mixed = sk.Task.mixture([sk.Task.from_modes(s), sk.Task.from_modes(2)], [w, 1 - w])
    net = sk.Network.two_layer(1, 1, 1)
    d = sk.derive(net, mixed, sk.weights.aligned(net, mixed, a=a, b=a))
    for share in (1.5, 1):
        with pytest.raises(InvalidArgument) as caught:
            d.compile({s: 1, w: share, a: 0.1})
        text = str(caught.value)
        assert text.startswith("Argument 'values' gives ")
        assert f"w = {share}" in text
        assert "The weights of the mixture must be positive" in text
        assert "give other values for w" in text
        assert "Argument 'weights'" not in text


def test_a_law_without_formulas_of_modes_has_no_such_cost():
    d = near_miss()
    bare = replace(d, derived=replace(d.derived, mode=None))
    assert set(flow_costs(bare)[0]) == {"output map", "hidden Gram", "weights"}
    with pytest.raises(OutsideValidity):
        bare.mode(0)


def test_the_cost_is_looked_for_in_every_phase() -> None:
    """The approximation is worst where a learned task is given up, in the middle of the run."""
    task = sk.Task.from_modes([2.0, 1.0])
    net = sk.Network.two_layer(2, 2, 2)
    w0 = sk.weights.lambda_balanced(net, lam=1e-3, scale=0.01, seed=3)
    stream = np.random.default_rng(5)
    noisy = {k: v * (1 + 0.03 * stream.standard_normal(v.shape)) for k, v in w0.arrays.items()}
    phases = [sk.Phase(task, 6), sk.Phase(task.reversed(), 6), sk.Phase(task)]
    curriculum, w1 = sk.Curriculum(phases), sk.weights.from_arrays(net, noisy)
    d = sk.derive(net, curriculum, w1, law="lambda_balanced", tolerance=0.5)
    times = np.linspace(0.0, 40.0, 2001)
    true = integrate_flow(d.problem, times).weights
    maps = true["W2"] @ true["W1"]
    gap = np.abs(d.compile()(times).end_to_end - maps).max() / np.abs(maps).max()
    assert 0.95 * gap < flow_costs(d)[0]["output map"] < 1.01 * gap


@pytest.mark.parametrize("noise", [1e-13, 1e-6, 1e-3])
def test_noise_where_the_task_has_no_mode_counts_by_its_size(noise: float) -> None:
    """A cosine of two noises is of order 1, however small they are."""
    task = sk.Task(2 * np.eye(4), 2 * np.eye(4)[:, :2] @ np.diag([2.0, 1.0]))
    net = sk.Network.two_layer(4, 2, 2)
    w0 = sk.weights.aligned(net, task, a=0.1, b=0.2)
    stream = np.random.default_rng(0)
    moved = {k: v + noise * stream.standard_normal(v.shape) for k, v in w0.arrays.items()}
    w1 = sk.weights.from_arrays(net, moved)
    d = sk.derive(net, task, w1, law="aligned_modes", tolerance=1.0)
    far = max(verdict.distance for verdict in d.assumptions)
    assert noise < far < 20 * noise
    times = np.linspace(0.0, 8.0, 81)
    true = integrate_flow(d.problem, times).weights
    gap = np.abs(d.compile()(times).end_to_end - true["W2"] @ true["W1"]).max()
    assert gap < max(far, 1e-10)
