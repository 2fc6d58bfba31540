"""The derivation of the lazy law: every step is checked, and fails with a slip in it."""

from __future__ import annotations

import pytest
import sympy as sp

import symkernel as sk
from symkernel.environments import Multitasking
from symkernel.theory import lazy_checks, lazy_formulas
from symkernel.theory.lazy_formulas import LazyFormulas

G, M, K = sp.symbols("G M K", integer=True, positive=True)
ALPHA, BETA, GAMMA = sp.symbols("alpha beta gamma", positive=True)
ENV = Multitasking(G, M)
OVERLAP = ENV.matched + ENV.same
QUADRATIC = ALPHA + BETA * OVERLAP + GAMMA * OVERLAP**2
NUMBERS = {ALPHA: 0.3, BETA: 1.0, GAMMA: 0.5}
LAW = sk.lazy_multitasking(ENV, QUADRATIC)
SMALL = ((2, 2), (3, 2))


@pytest.fixture(scope="module")
def any_kernel():
    return sk.lazy_multitasking(ENV)


def test_every_step_is_checked_and_printed(any_kernel):
    assert len(any_kernel.steps) == 11
    for step in any_kernel.steps:
        evidence = step.check()
        assert evidence.passed, f"{step.title}: {evidence.figure}"
        assert r"\begin{aligned}" in step.latex()
    assert sum(len(one.at_once()) for one in any_kernel.instances) >= 12


def passes(title):
    step = next(step for step in sk.lazy_multitasking(ENV).steps if step.title == title)
    return step.check().passed


def slipped(name, change):
    right = getattr(LazyFormulas, name)
    return lambda self, *given: change(right(self, *given))


def other_sign(part):
    return lambda response: {**response, part: -response[part]}


SLIPS = {
    "response, constant": ("response", other_sign(sp.S.One), "Response to a prompt of K tasks"),
    "response, written": (
        "response", other_sign(lazy_formulas.ADDRESSED), "Response to a prompt of K tasks"),
    "response, read": (
        "response", other_sign(lazy_formulas.READ), "Response to a prompt of K tasks"),
    "response, pooled": (
        "response", other_sign(lazy_formulas.POOLED), "Response to a prompt of K tasks"),
    "margin": ("margin", lambda e: -e, "Margin"),
    "threshold": ("threshold", lambda e: -e, "K tasks at once"),
    "degree": ("at_degree", lambda e: -e, "Eigenvalues of the training kernel"),
    "learned": ("learned", lambda e: 2 - e, "Learning of a mode"),
}  # fmt: skip


@pytest.mark.parametrize("slip", SLIPS)
def test_a_flipped_sign_fails_its_step(monkeypatch, slip):
    name, change, title = SLIPS[slip]
    monkeypatch.setattr("symkernel.theory.lazy_instances.SIZES", SMALL)
    monkeypatch.setattr(LazyFormulas, name, slipped(name, change))
    assert not passes(title)


@pytest.mark.parametrize("function", ["over_all_tasks", "over_own_tasks"])
def test_a_wrong_sum_over_tasks_fails_its_step(monkeypatch, function):
    right = getattr(lazy_formulas, function)
    monkeypatch.setattr("symkernel.theory.lazy_instances.SIZES", SMALL)
    monkeypatch.setattr(lazy_formulas, function, lambda given: {
        part: 2 * e if part == lazy_formulas.READ else e for part, e in right(given).items()
    })  # fmt: skip
    assert not passes("Sums over tasks")


def test_a_mode_outside_its_eigenspace_fails_its_step(monkeypatch):
    kind = type(ENV)
    right = kind.modes.fget
    wrong = lazy_formulas.POOLED
    monkeypatch.setattr("symkernel.theory.lazy_instances.SIZES", SMALL)
    monkeypatch.setattr(kind, "modes", property(
        lambda env: right(env) | {"1m": 2 * wrong / env.groups**2,
                                  "1c": right(env)["1c"] - wrong / env.groups**2}))  # fmt: skip
    assert not passes("Modes of the targets")


def test_the_margin_after_training_has_its_own_step():
    titles = [step.title for step in LAW.steps]
    assert "Margin after training" in titles
    numbers = sk.lazy_multitasking(Multitasking(2, 3), QUADRATIC.subs(NUMBERS))
    report = numbers.check()
    assert report.passed, str(report)
    assert "12 of 12 steps proven" in str(report)


@pytest.mark.parametrize(("gamma", "bound"), [(0.5, "1e-12"), (1e-10, None)])
def test_the_bound_that_is_printed_is_the_one_in_force(gamma, bound):
    values = {**NUMBERS, GAMMA: gamma}
    law = sk.lazy_multitasking(Multitasking(2, 3), QUADRATIC.subs(values))
    report = law.check()
    assert report.passed, str(report)
    force = f"{lazy_checks.allowed(law):.0e}"
    assert [rung.bound for rung in report.rungs[2:]] == [force] * 3
    assert all(f"bound {force}" in rung.figure for rung in report.rungs[2:])
    assert force == bound if bound else float(force) > 1e-10


def test_a_number_of_tasks_beside_symbols_states_its_condition():
    for formula in (LAW.margin(4), LAW.concurrent(4), LAW.time(4)):
        assert "4 tasks (for G >= 4)" in formula.name
    numbers = sk.lazy_multitasking(Multitasking(4, M), QUADRATIC)
    assert ">=" not in numbers.margin(4).name
    assert ">=" not in LAW.margin(K).name
    assert ">=" not in LAW.margin(1).name
