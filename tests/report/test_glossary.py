"""Every symbol that is printed is explained where it is printed; none is a raw identifier."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import sympy as sp
from sympy.core.function import AppliedUndef

import symkernel as sk
from symkernel import cli, notation, typesetting
from symkernel.report.glossary import glossaries, glossary, key_of, printed_symbols, spoken
from symkernel.report.prose import letters
from symkernel.theory import LAWS

_LAWS = {law.name: law for law in LAWS}
_NAMES = sorted(_LAWS)


def example(name: str) -> sk.derivation.Derivation:
    p = _LAWS[name].example()
    return sk.derive(p.network, p.curriculum, p.weights, law=name, loss=p.loss)


def keys(parts) -> set:
    return {key_of(symbol) for part in parts for symbol in printed_symbols(part)}


def unexplained(d) -> set:
    """Return symbols of steps and formulas without a meaning, a definition or an abbreviation."""
    # Some symbols enter the table when they are first needed.
    equations, formulas = [step.equations for step in d.steps], d.formulas
    known = {(p.name, matrix) for p in d.problem.network.parameters for matrix in (False, True)}
    known |= notation.meanings().keys()
    known |= {key_of(symbol) for step in d.steps for symbol, _ in step.meanings}
    defined = set()
    for step in d.steps:
        for equation in step.equations:
            if isinstance(equation.lhs, (sp.Symbol, sp.MatrixSymbol, AppliedUndef)):
                defined |= keys([equation.lhs])
    short = {key_of(symbol) for f in formulas for symbol, _ in f.where}
    steps = keys(equation for row in equations for equation in row)
    parts = [q for f in formulas for q in (f.symbol, f.expression, *(m for _, m in f.where))]
    return (steps - known - defined) | (keys(parts) - known - short)


@pytest.mark.parametrize("name", _NAMES)
def test_every_symbol_is_explained(name):
    assert not unexplained(example(name))


@pytest.mark.parametrize("name", ["lambda_balanced", "deep_modes", "neural_race"])
def test_a_meaning_that_is_left_out_is_missed(name):
    d = example(name)
    bare = tuple(replace(step, meanings=()) for step in d.steps)
    without = replace(d, derived=replace(d.derived, steps=lambda: bare))
    assert unexplained(without)


def test_matrix_laws_explain_their_result_in_print():
    d = example("lambda_balanced")
    found = {symbol.name for symbol, _ in glossary(d, d.formulas)}
    assert {"A", "B", "W", "S", "Q_0", "G", "x", "f", "K_f"} <= found
    result = d.latex().partition("section*{Result}")[2].partition("section*{Checks}")[0]
    assert "$B$: products $w_2 w_2^T$ on the outputs" in result


def test_functions_of_time_are_explained_as_they_are_printed():
    """Their symbols are those of the table: w(t) is not the overlap at the start."""
    text = example("aligned_modes").latex()
    for letter in (r"$q$: output side", r"$\varphi$: hyperbolic angle", "$w(t)$: overlap $p"):
        assert letter in text
    assert not re.search(r"\$\\phi\$|q_\{\\mathrm\{out|\$w(_0)?\$: initial", text)


@pytest.mark.parametrize("name", _NAMES)
def test_letters_of_the_evaluation_table_are_explained(name):
    d = example(name)
    reasons = [r.reason for r in d.derived.routine().rewritings]
    names = (symbol.name for symbol, _ in spoken(d, reasons))
    explained = {name.removesuffix("_t").removesuffix("_out") for name in names}
    functions = {"exp", "tanh", "sinh", "cosh", "sqrt"}
    defined = {"E"} if any("E = exp(-R t)" in reason for reason in reasons) else set()
    assert {q for reason in reasons for q in letters(reason)} <= explained | functions | defined
    section = d.latex().partition(r"\section*{Evaluation}")[2]
    assert ("{\\small Here " in section) == bool(explained)


def test_a_diagonal_network_has_no_modes_in_its_words():
    d = example("diagonal_network")
    body = d.latex().partition(r"\section*{Problem}")[2].partition(r"\section*{Evaluation}")[0]
    assert "Flow time at which a coordinate reaches" in body
    assert not re.search(r"\bmodes?\b", body)


def test_a_symbol_is_explained_by_the_first_step_that_prints_it():
    d = example("aligned_modes")
    found = glossaries(d)
    names = [key_of(symbol) for step in found for symbol, _ in step]
    assert len(names) == len(set(names))
    assert ("Syx", True) in {key_of(symbol) for symbol, _ in found[0]}


@pytest.mark.parametrize("name", _NAMES)
def test_documents_hold_no_raw_identifiers(name):
    text = example(name).latex()
    text = re.sub(r"(?s)\\begin\{verbatim\}.*?\\end\{verbatim\}|\\texttt\{[^}]*\}", "", text)
    body = text.partition(r"\begin{document}")[2]
    mathematics = re.findall(r"(?s)\$[^$]*\$|\\\[.*?\\\]", body)
    for part in mathematics:
        part = part.replace(r"\, d", " ")  # a differential
        plain = re.sub(r"\\(?:mathrm|text|operatorname)\{[^{}]*\}|\\[A-Za-z]+", " ", part)
        plain = re.sub(r"\\begin\{\w+\}|\\end\{\w+\}|\{(?:aligned|matrix)\}", " ", plain)
        assert not re.search(r"[A-Za-z]{2,}_|_\{[a-z]{3,}|\\_", plain), part
    for raw in (r"sum\_", r"u\_", r"D\_", r"k\_h", r"\textasciicircum{}", "sqrt("):
        assert raw not in body


@pytest.mark.parametrize(
    ("identifier", "latex"),
    [
        ("W1", "W_{1}"), ("W12", "W_{12}"), ("W2_0", "W_{2,0}"), ("Wb1_0", "W_{b1,0}"),
        ("Wc2_11", "W_{c2,11}"), ("w_plus_0", "w_{+,0}"), ("ones", r"\mathrm{ones}"),
        ("minus_ones", r"\mathrm{minus\,ones}"), ("alpha_0", r"\alpha_{0}"),
        ("L_mode", r"L_{\mathrm{mode}}"), ("Sigma_yx_k", r"\Sigma_{yx,k}"), ("x'", "x'"),
        (r"\Phi", r"\Phi"), ("u_start", r"u_{\mathrm{start}}"),
    ],
)  # fmt: skip
def test_identifiers_are_set_as_mathematics(identifier, latex):
    assert typesetting.name_latex(identifier) == latex
    assert typesetting.latex(sp.MatrixSymbol(identifier, 2, 2)) == latex


def test_fractions_of_matrices_and_powers():
    A, B = sp.MatrixSymbol("A", 2, 2), sp.MatrixSymbol("B", 2, 2)
    assert typesetting.latex(A * B / 2) == r"\frac{1}{2} A B"
    assert typesetting.latex(-A * B / 2) == r"- \frac{1}{2} A B"
    assert typesetting.latex((A + B) / 3) in (
        r"\frac{1}{3} \left(A + B\right)", r"\frac{1}{3} A + \frac{1}{3} B"
    )  # fmt: skip
    power = notation.s ** sp.Rational(3, 2) / sp.sqrt(notation.d)
    assert typesetting.latex(power) == r"\frac{s^{\frac{3}{2}}}{\sqrt{d}}"


def test_weights_at_the_start_and_in_time_differ_in_print():
    d = example("diagonal_network")
    step = next(step for step in d.steps if step.title == "Growing and decaying weights")
    rows = step.latex().replace("&", "").splitlines()
    assert any("w_{+} =" in row and "w_{+,0}" in row for row in rows)
    for row in rows[1:-1]:
        left, _, right = row.partition("=")
        assert left.strip() not in right.replace("w_{+,0}", "").replace("w_{-,0}", "")


def test_diagonal_laws_list_their_coordinates(capsys):
    assert cli.main(["derive", "law:diagonal_network"]) == 0
    out = capsys.readouterr().out
    table = out.partition("Coordinates of the task")[2].partition("\n\n")[0].splitlines()
    assert table[1].split() == ["coordinate", "s", "d", "w_plus", "w_minus"]
    assert [row.split() for row in table[3:]] == [
        ["0", "2", "1", "0.3", "0.3"], ["1", "-1", "0.5", "0.1", "0.1"],
    ]  # fmt: skip
    assert "Modes of the task" not in out
    assert "w_plus_0   that weight at t = 0" in out
    tex = example("diagonal_network").latex()
    assert "Coordinates of the task" in tex
    assert "$w_{+}$ &" in tex


def test_the_command_line_explains_symbols_and_sets_matrices_on_a_line(capsys):
    assert cli.main(["derive", "law:lambda_balanced"]) == 0
    out = capsys.readouterr().out
    assert "where F = [[(-lambda/2)*I, S.T], [S, (lambda/2)*I]]" in out
    assert "  B        products w_2 w_2^T on the outputs" in out


def test_notebooks_explain_symbols():
    d = example("memoryless_gram")
    for text in (d._repr_html_(), d._repr_markdown_()):
        assert "$W$: end-to-end map w_2 w_1" in text
