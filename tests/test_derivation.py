"""`derive`: steps, names, numbers for symbols, what is printed, and refusals."""

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
    ShapeMismatch,
    SymkernelError,
)
from tests.one_mode import KAPPA, RHO, SIDES, A, B, D, S, T, at, one_mode

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
        if law.asymptotics is not None:
            assert law.rank.startswith("leading order in 1/")
        else:
            assert law.rank == ("exact" if law.rtol is None else "exact ODE, no closed form")
        assert law.assumptions
        assert all(citation.bibtex().startswith("@") for citation in law.citations)
        example = law.example()
        asked = None if law.asymptotics is None else law.name
        d = sk.derive(example.network, example.curriculum, example.weights, law=asked)
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
        with pytest.raises(InvalidArgument, match="index of a mode must"):
            d.mode(index)


def test_refusal_carries_every_verdict_of_every_law() -> None:
    teacher = sk.Network.two_layer(2, 2, 2, "erf")
    unknown = sk.Task.from_teacher(teacher, sk.weights.gaussian(teacher))
    with pytest.raises(NoClosedForm) as caught:
        sk.derive(NET, unknown, sk.weights.gaussian(NET, seed=5))
    verdicts = caught.value.verdicts
    assert {v.law for v in verdicts} == {
        law.name for law in sk.catalogue() if law.asymptotics is None
    }
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
