"""Letters that problem and law share are told apart in print."""

from __future__ import annotations

import subprocess

import pytest
import sympy as sp

import symkernel as sk
from symkernel.report import latex
from symkernel.report.lettering import lettering

S, A, R, D = sp.symbols("s a r D", positive=True)


def one_mode(task=None, **given):
    net = sk.Network.mlp([1, 1, 1], "linear", **given)
    first = sk.Task.from_modes(S)
    return net, task or first, sk.weights.aligned(net, first, a=A, b=A)


@pytest.fixture(scope="module")
def course():
    first, then = sk.Task.from_modes(S), sk.Task.from_modes(R)
    return sk.derive(*one_mode(sk.Curriculum([sk.Phase(first, duration=D), sk.Phase(then)])))


def test_a_symbol_given_for_the_laws_own_is_the_laws_own():
    found = lettering(sk.derive(*one_mode()))
    assert found.marked == (r"\tilde{a}",)
    assert S not in found.problem


def test_through_a_curriculum_every_shared_letter_is_marked(course):
    """s is the first task's strength, not that of every phase; r and D stand in the derivation."""
    found = lettering(course)
    assert set(found.marked) == {r"\tilde{a}", r"\tilde{D}", r"\tilde{r}", r"\tilde{s}"}
    problem = course.latex().partition(r"\section*{Problem}")[2].partition(r"\section*{Ass")[0]
    assert r"flow time 0 to $\tilde{D}$" in problem
    assert r"\symkernelfit{\tilde{r}}" in problem
    assert found.sentence in problem
    rest = course.latex().partition(r"\section*{Derivation}")[2]
    assert "tilde" not in rest  # the law's s is the same SymPy symbol, and is not marked


def test_symbols_in_the_formulas_are_told_apart_from_the_laws():
    """Without marks the flow of a would read a = a ... a b."""
    d = sk.derive(*one_mode(rates=[A, R]), loss=sk.SquaredError(factor=D))
    step = next(step for step in d.steps if step.title == "Mode equation")
    assert r"\tilde" not in step.latex()
    text = d.latex()
    assert step.latex(lettering(d).law) in text
    assert r"\sqrt{\tilde{a}} b" in text
    assert r"loss factor $\tilde{D}$" in text
    assert r"learning rate times $\tilde{a}$ for $W_1$; times $\tilde{r}$ for $W_2$" in text
    assert r"$\tilde{a}$: amplitude of the mode" not in text
    assert "$a$: amplitude of the mode, input side" in text
    for shown in (d.latex(fragment=True), d._repr_html_(), d._repr_markdown_()):
        assert r"\tilde{D}" in shown
        assert "A tilde marks symbols of the problem" in shown


def test_other_letters_are_left_alone(derivation):
    k = sp.Symbol("k_user", positive=True)
    net = sk.Network.two_layer(1, 1, 1)
    task = sk.Task.from_modes(k)
    d = sk.derive(net, task, sk.weights.aligned(net, task, a=k, b=k))
    for one in (d, derivation):
        assert lettering(one).marked == ()
        assert "tilde" not in one.latex()


def test_names_by_symbol_are_the_users_alone():
    text = sk.derive(*one_mode()).latex(names={A: r"\alpha_0"})
    assert r"\symkernelfit{\alpha_0}" in text
    assert "tilde" not in text
    assert r"\dot{a} &= b" in text
    both = sk.derive(*one_mode()).latex(names={"a": r"\alpha"})
    assert r"\symkernelfit{\tilde{\alpha}}" in both
    assert r"\dot{\alpha} &= " in both


def test_marked_documents_fit_the_page(course, tmp_path, pdflatex):
    path = latex.save(course.latex(), tmp_path / "law.tex")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", path.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert r"Overfull \hbox" not in done.stdout
