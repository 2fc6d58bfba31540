from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel.errors import InvalidArgument, MissingValues, OutsideValidity
from symkernel.formula import Formula, Step
from symkernel.report.display import worked
from symkernel.theory import LAWS


def test_a_derivation_shows_itself_in_short(derivation, checked):
    text = derivation._repr_html_()
    HTMLParser().feed(text)
    assert derivation.law.title in text
    assert "not checked here" in text
    assert text.count("$$") == 2 * len(derivation.formulas)
    assert all(verdict.assumption in text for verdict in derivation.assumptions)
    assert f"{len(derivation.steps)} steps" in text
    assert "check NOT passed" in checked._repr_html_()
    plain = derivation._repr_markdown_()
    assert plain.startswith(f"**{derivation.law.title}**")
    assert r"\begin{aligned}" in plain


def test_a_step_shows_itself(derivation):
    step = derivation.steps[0]
    assert step._repr_markdown_().startswith(f"**{step.title}.** {step.reason}.")
    assert step.latex() in step._repr_markdown_()


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_worked_values_are_those_of_the_routine(derivation, mode):
    for time in (0.0, 0.7, 30.0):
        found = worked(derivation, mode, time).value
        assert found == pytest.approx(derivation.compile()([time]).modes[0, mode], rel=1e-12)


def test_formula_then_numbers_then_value(derivation):
    shown = worked(derivation, 0, 1.5)
    first = " ".join(shown.latex().splitlines()[1:4])
    assert first.startswith(r"R &= \sqrt{4 s^{2} + ")
    assert r"4 \cdot 3^{2}" in first
    assert r"\left(0.05 + 0.1\right)^{2}" in first
    assert first.count("= ") == 3
    assert shown._repr_latex_().startswith("$")
    assert str(shown).splitlines()[-1].startswith("u = ")


def test_a_short_equation_is_worked_out_on_one_row(derivation):
    row = derivation.show(mode=0, t=1.5).latex().splitlines()[4]
    assert re.fullmatch(
        r"T &= \\tanh\{\\left\(\\frac\{R t\}\{2\} \\right\)\} = "
        r"\\tanh\{\\left\(\\frac\{[\d.]+ \\cdot 1.5\}\{2\} \\right\)\} = [\d.]+ \\\\",
        row,
    )


def test_plain_text_shows_formula_numbers_and_value(derivation):
    shown = derivation.show(mode=2, t=1.5)
    line = str(shown).splitlines()[0]
    assert line.startswith("R = sqrt(d**2*(a0 - b0)**2*(a0 + b0)**2 + 4*s**2) = sqrt(1**2*(0.3 - (")
    assert "4*0.5**2" in line
    # The middle is the formula again: evaluated, it is the value.
    *_, middle, value = line.split(" = ")
    assert float(sp.sqrt(sp.S(middle.removeprefix("sqrt")))) == pytest.approx(
        float(value), rel=1e-4
    )
    assert repr(shown) == str(shown)


def test_the_users_names_act_on_what_is_worked_out(derivation):
    text = derivation.show(0, 1.5, names={"s": r"\varsigma", "u": r"\upsilon"}).latex()
    assert r"4 \varsigma^{2}" in text
    assert r"\upsilon &= " in text
    assert r"4 \cdot 3^{2}" in text


def test_negative_numbers_stand_in_brackets(derivation):
    assert r"\left(-0.1\right)" in worked(derivation, 2, 1.0).latex()


def test_the_general_class_works_too():
    law = next(law for law in sk.catalogue() if law.name == "gram_diagonal")
    p = law.example()
    d = sk.derive(p.network, p.curriculum, p.weights, law=law.name)
    assert worked(d, 1, 1.0).value == pytest.approx(d.compile()([1.0]).modes[0, 1], rel=1e-12)
    with pytest.raises(OutsideValidity, match="first phase, which ends at 3"):
        worked(d, 0, 4.0)


def test_symbols_cannot_be_worked_out():
    s, a = sp.symbols("s a", positive=True)
    task = sk.Task.from_modes(s)
    net = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
    with pytest.raises(MissingValues, match="without symbols"):
        worked(sk.derive(net, task, sk.weights.aligned(net, task, a=a, b=a)), 0, 1.0)


@pytest.mark.parametrize("name", ["neural_race", "frozen_kernel", "lambda_balanced"])
def test_laws_without_modes_say_what_they_have_instead(name):
    p = next(law for law in LAWS if law.name == name).example()
    d = sk.derive(p.network, p.curriculum, p.weights, law=name)
    for ask in (lambda: d.show(mode=0, t=1.5), lambda: d.show(t=1.0), lambda: d.show()):
        with pytest.raises(OutsideValidity, match=r"no 'show'.*; use 'result' or the compiled law"):
            ask()


def test_mode_and_time_are_needed(derivation):
    with pytest.raises(InvalidArgument, match="'t' must be a flow time, not None"):
        derivation.show(0)


@pytest.mark.parametrize("mode", [3, -1, 0.5, True, None])
def test_modes_that_do_not_exist_are_refused(derivation, mode):
    with pytest.raises(InvalidArgument, match="'mode' must be an integer from 0 to 2"):
        worked(derivation, mode, 1.0)


@pytest.mark.parametrize("time", [-1.0, np.nan, np.inf, "soon"])
def test_times_must_be_times(derivation, time):
    with pytest.raises(InvalidArgument, match="'t'"):
        derivation.show(0, time)


@pytest.mark.parametrize("names", ["s", {"s": 1}, {sp.Symbol("s"): 1}, [("s", "x")], {1: "x"}])
def test_names_must_map_identifiers_to_latex(derivation, checked, names):
    for ask in (
        derivation.latex,
        derivation.formulas[0].latex,
        derivation.steps[3].latex,
        checked.report.latex,
        lambda names: derivation.show(0, 1.0, names),
    ):
        with pytest.raises(InvalidArgument, match="'names' must map identifiers to LaTeX"):
            ask(names=names)


# ---- long derivations


def long(derivation, count):
    """A derivation of many steps that falls over when anything is worked out."""

    def broken(*_):
        raise AssertionError("worked out although only shown")

    steps = tuple(
        Step(f"Step number {k:03d}", "because of " + "many things " * 100, (), broken)
        for k in range(count)
    )
    derived = replace(
        derivation.derived, steps=lambda: steps, result=broken, mode=broken, learning_time=broken,
        equation=broken, routine=broken, limits=(("limit", broken),), precision=broken,
    )  # fmt: skip
    return replace(derivation, derived=derived)


def test_sixty_steps_are_folded_and_listed(derivation):
    shown = long(derivation, 60)
    for text in (shown._repr_html_(), shown._repr_markdown_()):
        assert [int(k) for k in re.findall(r"Step number (\d+)", text)] == list(range(60))
    page = shown._repr_html_()
    assert page.index("<details>") < page.index("Step number 000")
    assert page.index("Step number 059") < page.index("</details>")
    assert "60 steps" in page
    assert "<details open" not in page


def test_a_page_grows_with_its_steps_and_no_faster(derivation):
    sizes = [len(long(derivation, count)._repr_html_()) for count in (60, 120, 240)]
    assert sizes[2] - sizes[1] == pytest.approx(2 * (sizes[1] - sizes[0]), rel=0.01)
    assert (sizes[1] - sizes[0]) / 60 < 400


def test_a_formula_that_would_freeze_a_notebook_is_named_alone(derivation):
    terms = sp.symbols("x_0:900")
    huge = Formula("the output", sp.Symbol("u"), sp.Add(*(k * x for k, x in enumerate(terms, 2))))
    derived = replace(derivation.derived, formulas=lambda: (huge, derivation.formulas[1]))
    shown = replace(derivation, derived=derived)
    for text in (shown._repr_html_(), shown._repr_markdown_()):
        assert "the output: too long to be shown here; it is .formulas[0].expression" in text
        assert len(text) < 6000
