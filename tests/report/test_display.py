from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel.errors import InvalidArgument, MissingValues, OutsideValidity
from symkernel.report.display import worked


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
    first = shown.latex().splitlines()[1]
    assert first.startswith(r"R &= \sqrt{4 s^{2} + ")
    assert r"4 \cdot 3^{2}" in first
    assert r"\left(0.05 + 0.1\right)^{2}" in first
    assert first.count(" = ") == 2
    assert shown._repr_latex_().startswith("$")
    assert str(shown).splitlines()[-1].startswith("u = ")


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


@pytest.mark.parametrize("mode", [3, -1, 0.5, True])
def test_modes_that_do_not_exist_are_refused(derivation, mode):
    with pytest.raises(InvalidArgument, match="'mode_index' must be an integer from 0 to 2"):
        worked(derivation, mode, 1.0)


@pytest.mark.parametrize("time", [-1.0, np.nan, np.inf, "soon"])
def test_times_must_be_times(derivation, time):
    with pytest.raises(InvalidArgument, match="'time'"):
        worked(derivation, 0, time)
