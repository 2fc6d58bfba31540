"""The ladder, plain and under sabotage: signs, slopes, kernels and phases; and what it prints.

Every law climbs; then the law itself is damaged, one place at a time.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel.check_report import CheckReport, Rung
from symkernel.derivation import Derivation
from symkernel.errors import InvalidArgument, SymkernelError
from symkernel.formula import Evidence, Law
from symkernel.ladder_structure import structure_rung
from symkernel.theory import LAWS, hyperbolic, mode_flow, solutions
from symkernel.trajectory import Trajectory

FEW = {"draws": 0, "precision_draws": 3}
NET = sk.Network.two_layer(2, 3, 2)
TASK = sk.Task.from_modes([2.0, 1.0])
W0 = sk.weights.aligned(NET, TASK, a=[0.1, 0.3], b=[0.2, -0.1])


def derived(**options) -> Derivation:
    return sk.derive(NET, TASK, W0, **options)


def verdicts(report: CheckReport) -> dict[int, bool | None]:
    return {rung.number: rung.passed for rung in report.rungs}


def failed(report: CheckReport) -> set[int]:
    return {number for number, passed in verdicts(report).items() if passed is False}


def damaged(derivation: Derivation, **fields) -> Derivation:
    """Return the law with some fields of its trajectories changed."""
    law = derivation.law

    def trajectory(problem, times) -> Trajectory:
        true = law.trajectory(problem, times)
        changed = {name: lambda true=true, f=f: f(true) for name, f in fields.items()}
        return replace(true, fields={**true.fields, **changed})

    return replace(derivation, law=replace(law, trajectory=trajectory))


def scaled(factor):
    return lambda true: {name: w * factor for name, w in true.weights.items()}


# --- plain ----------------------------------------------------------------------------------------


def example(law: Law) -> Derivation:
    problem = law.example()
    return sk.derive(problem.network, problem.curriculum, problem.weights, law=law.name)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_every_law_climbs_all_rungs(law: Law) -> None:
    report = sk.check(example(law), draws=1, precision_draws=6)
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


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_many_draws(law: Law) -> None:
    report = sk.check(example(law), draws=100)
    assert report.passed, str(report)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1008))
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_two_thousand_draws_in_high_precision(law: Law, seed: int) -> None:
    """In pieces, because two of the laws are judged by Taylor steps of the flow."""
    evidence = example(law).derived.precision(np.random.default_rng(seed), 250)
    assert evidence.passed, evidence.figure


# --- each rung can fail ---------------------------------------------------------------------------


def flip_riccati(monkeypatch) -> None:
    """tanh with the wrong sign in the denominator of the solution."""
    right = solutions._riccati

    def wrong(y, alpha, beta, gamma, initial):
        solution = right(y, alpha, beta, gamma, initial)
        top, bottom = sp.fraction(solution.expression)
        return replace(solution, expression=top / bottom.subs(solution.clock, -solution.clock))

    monkeypatch.setattr(solutions, "_riccati", wrong)


def flip_drive(monkeypatch) -> None:
    """p' = g q with g = sigma + delta p.q."""
    right = mode_flow.mode_flow

    def wrong(problem):
        modes = right(problem)
        return replace(modes, delta=-modes.delta)

    for module in (LAWS[0].derive.__module__, LAWS[1].derive.__module__):
        monkeypatch.setattr(f"{module}.mode_flow", wrong)


def flip_overlap(monkeypatch) -> None:
    """p.q = (P0 z + Q0/z)/4: the length of the sides in place of their overlap."""
    wrong = property(lambda self: (self.sides.P0 * sp.Symbol("z") + self.sides.Q0) / 4)
    monkeypatch.setattr(hyperbolic.ModeSolution, "overlap", wrong)


def flip_reduced(monkeypatch) -> None:
    """z' = -2 g z."""
    right = hyperbolic.ModeSolution.__dict__["reduced"].func
    monkeypatch.setattr(hyperbolic.ModeSolution, "reduced", property(lambda self: -right(self)))


def double_rate(monkeypatch) -> None:
    """R twice as large as the radicand says, in the clock alone."""
    right = solutions._riccati

    def wrong(*arguments):
        solution = right(*arguments)
        where = tuple((q, 2 * e if q.name == "R" else e) for q, e in solution.where)
        return replace(solution, where=where)

    monkeypatch.setattr(solutions, "_riccati", wrong)


@pytest.mark.parametrize("sabotage", [flip_riccati, flip_drive, flip_overlap, flip_reduced])
def test_one_sign_in_the_derivation_fails_the_symbolic_rung(sabotage, monkeypatch) -> None:
    sabotage(monkeypatch)
    try:
        steps = [step.check() for step in derived().steps]
    except SymkernelError:
        return
    assert not all(evidence.passed for evidence in steps)


@pytest.mark.parametrize("law", ["aligned_modes", "gram_diagonal"])
def test_a_rewriting_that_changes_the_value_fails_the_symbolic_rung(law: str) -> None:
    right = derived(law=law)
    routine = right.derived.routine()
    first, *others = routine.lowered.rewritings
    wrong = replace(first, after=-first.after)
    lowered = replace(routine.lowered, rewritings=(wrong, *others))
    broken = replace(right.derived, routine=lambda: replace(routine, lowered=lowered))
    report = sk.check(replace(right, derived=broken), **FEW)
    assert failed(report) == {1}
    assert f"{wrong.rule}: CHANGES the value" in str(report)


def test_a_formula_that_differs_from_the_routine_fails_the_precision_rung(monkeypatch) -> None:
    """The formula has a wrong rate, the routine, derived before, has not: rung 3 tells them."""
    right = derived()
    stream = np.random.default_rng(1000)
    assert right.derived.precision(stream, 6).passed
    double_rate(monkeypatch)
    assert not derived().derived.precision(stream, 6).passed


@pytest.mark.parametrize("law", ["aligned_modes", "gram_diagonal"])
def test_weights_off_by_a_constant_share_fail_flow_slope_and_structure(law: str) -> None:
    """An error that does not fall with the learning rate has slope 0, not 1."""
    off = {"weights": scaled(1.03), "end_to_end": lambda true: 1.03 * true.end_to_end}
    report = sk.check(damaged(derived(law=law), **off), **FEW)
    assert failed(report) >= {4, 5}
    for one in off:
        assert 4 in failed(sk.check(damaged(derived(law=law), **{one: off[one]}), **FEW))
    assert "FAILED" in str(report)
    assert not report.passed


def test_a_small_constant_error_fails_the_slope_only_where_it_shows() -> None:
    report = sk.check(damaged(derived(), weights=scaled(1 + 3e-9)), **FEW)
    assert 4 in failed(report)
    assert 5 not in failed(report)


KERNELS = {
    "asymmetric": lambda K: K + 1e-6 * K.max() * np.triu(np.ones(K.shape[1::2]))[:, None, :, None],
    "negative": lambda K: -K,
    "indefinite": lambda K: K - 0.4 * K.max() * np.eye(K.shape[1])[None, :, None, :, None],
}


@pytest.mark.parametrize("kind", KERNELS)
def test_a_wrong_kernel_fails_structure_and_what_is_printed_and_no_other(kind: str) -> None:
    report = sk.check(damaged(derived(), ntk=lambda true: KERNELS[kind](true.ntk)), **FEW)
    assert failed(report) == {2, 6}


def moving(true: Trajectory) -> dict[str, np.ndarray]:
    grown = true.times[:, None, None]
    return {**true.weights, "W1": true.weights["W1"] * (1 + 1e-7 * grown)}


def by_hand(true: Trajectory) -> dict[str, np.ndarray]:
    """Weights that prefer one input direction: not equivariant, all else kept at t = 0."""
    shift = np.zeros_like(true.weights["W1"])
    shift[:, 0, 0] = 1e-6 * np.minimum(true.times, 1e-3)
    return {**true.weights, "W1": true.weights["W1"] + shift}


@pytest.mark.parametrize("fault", [moving, by_hand])
def test_small_faults_of_the_structure_are_noticed(fault) -> None:
    wrong = damaged(derived(), weights=fault)
    rung = structure_rung([wrong.problem], wrong.law)
    assert rung.passed is False
    right = structure_rung([wrong.problem], derived().law)
    assert right.passed is True


def test_a_law_that_forgets_its_phases_fails_the_structure() -> None:
    """A trajectory that restarts from the initial weights does not compose in time."""
    right = derived()

    def forgetful(problem, times) -> Trajectory:
        return right.law.trajectory(problem, np.minimum(times, 0.3))

    rung = structure_rung([right.problem], replace(right.law, trajectory=forgetful))
    assert rung.passed is False


def test_a_law_that_refuses_its_own_draws_has_not_climbed() -> None:
    right = derived()

    def shy(problem):
        return tuple(replace(v, holds=False) for v in right.law.test(problem))

    report = sk.check(replace(right, law=replace(right.law, test=shy)), draws=2, precision_draws=2)
    assert verdicts(report)[4] is False
    assert verdicts(report)[6] is None


@pytest.mark.parametrize("factor", [1.01, 1 + 1e-6])
def test_a_clock_that_runs_wrong_fails_the_flow(factor: float) -> None:
    right = derived()

    def trajectory(problem, times) -> Trajectory:
        return right.law.trajectory(problem, factor * np.asarray(times, dtype=float))

    wrong = replace(right, law=replace(right.law, trajectory=trajectory))
    assert 4 in failed(sk.check(wrong, **FEW))


def test_a_false_limit_fails_the_second_rung() -> None:
    right = derived()
    limits = (("t = 0", lambda: Evidence(False, "z(0) = 2")),)
    wrong = replace(right, derived=replace(right.derived, limits=limits))
    assert failed(sk.check(wrong, **FEW)) == {2}


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


def test_a_report_without_a_climbed_rung_has_not_passed() -> None:
    assert not CheckReport("nothing", (Rung(1, "symbolic", None, "not asked for"),)).passed
    assert not CheckReport("nothing", ()).passed


# --- problems it must be able to judge ------------------------------------------------------------

PHASES = {
    "last phase ends": [sk.Phase(TASK, 1.0), sk.Phase(sk.Task.from_modes([1.0, 2.0]), 0.7)],
    "durations without a common measure": [
        sk.Phase(TASK, 1.0),
        sk.Phase(sk.Task.from_modes([1.0, 2.0]), float(np.sqrt(0.3))),
        sk.Phase(TASK),
    ],
    "reversal": [
        sk.Phase(TASK, 2.0),
        sk.Phase(sk.Task.from_moments(np.eye(2), -np.diag([2.0, 1.0]), np.diag([4.0, 1.0]))),
    ],
}


@pytest.mark.parametrize("name", PHASES)
def test_curricula_climb(name: str) -> None:
    d = sk.derive(NET, sk.Curriculum(PHASES[name]), W0)
    report = sk.check(d, **FEW)
    assert report.passed, str(report)


PROBLEMS = {
    "zero strengths": ([2.0, 0.0], [0.1, 0.3], [0.2, -0.1]),
    "nothing to learn": ([0.0, 0.0], [0.5, 0.3], [0.2, -0.1]),
    "no weights": ([2.0, 1.0], [0.0, 0.0], [0.0, 0.0]),
    "at the solution": ([2.0, 1.0], [2.0, 1.0], [1.0, 1.0]),
    "repeated strengths": ([2.0, 2.0], [0.1, 0.3], [0.2, -0.1]),
    "on the saddle": ([2.0, 1.0], [0.5, 0.1], [-0.5, 0.1]),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_degenerate_problems_climb(name: str) -> None:
    s, a, b = PROBLEMS[name]
    task = sk.Task.from_modes(s)
    report = sk.check(sk.derive(NET, task, sk.weights.aligned(NET, task, a=a, b=b)), **FEW)
    assert report.passed, str(report)
    still = name in ("no weights", "at the solution")
    assert (verdicts(report)[5] is None) == still


def test_rungs_that_were_not_asked_for_are_not_climbed() -> None:
    s = sp.Symbol("s1", positive=True)
    task = sk.Task.from_modes([s, 1])
    d = sk.derive(NET, task, sk.weights.aligned(NET, task, a=0.1, b=0.1))
    report = sk.check(d, draws=0, precision_draws=0)
    assert {k for k, passed in verdicts(report).items() if passed is None} == {3, 4, 6}
    assert str(report).count("not climbed") == 3
    assert report.passed


# --- the report -----------------------------------------------------------------------------------


def test_reports_print_and_render_what_was_measured() -> None:
    rungs = (
        Rung(1, "symbolic", True, "residual <0>", "exact"),
        Rung(2, "limits & more", False, "z(0) = 2"),
        Rung(3, "precision", None, "no draws"),
    )
    report = CheckReport("a law <of> mine", rungs)
    text, page = str(report), report._repr_html_()
    for rung in rungs:
        assert rung.word in text
        assert f"<td>{rung.word}</td>" in page
    assert "NOT passed" in text
    assert "[exact]" in text
    assert "a law &lt;of&gt; mine" in page
    assert "residual &lt;0&gt;" in page
    assert "limits &amp; more" in page
    assert page.count("<tr>") == 4


def test_a_checked_derivation_says_so_and_leaves_the_first_one_alone() -> None:
    d = derived()
    report = sk.check(d, **FEW)
    assert report.derivation.report.passed
    assert "not checked here" not in str(report.derivation)
    assert "not checked here" in str(d)
    assert d.report is None


def test_the_same_seed_gives_the_same_figures_and_another_does_not() -> None:
    reports = [sk.check(derived(), draws=0, precision_draws=5, seed=k) for k in (7, 7, 8)]
    figures = [report.rungs[2].figure for report in reports]
    assert figures[0] == figures[1] != figures[2]


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        (None, {}),
        ("u = s", {}),
        (W0, {}),
        ("law", {"draws": -1}),
        ("law", {"draws": 1.5}),
        ("law", {"draws": "many"}),
        ("law", {"draws": None}),
        ("law", {"precision_draws": -1}),
        ("law", {"precision_draws": 2.0}),
        ("law", {"seed": -1}),
        ("law", {"seed": "x"}),
        ("law", {"seed": 0.5}),
    ],
)
def test_bad_input_is_refused(argument, options) -> None:
    argument = derived() if argument == "law" else argument
    names = "'derivation'|'draws'|'precision_draws'|'seed'"
    with pytest.raises(InvalidArgument, match=f"^Arguments? ({names}).* must"):
        sk.check(argument, **options)
