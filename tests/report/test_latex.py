from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from importlib import import_module

import pytest
import sympy as sp

import symkernel as sk
from symkernel import notation, typesetting
from symkernel.cli import derivation_names
from symkernel.derivation import Derivation
from symkernel.errors import InvalidArgument, SymkernelError
from symkernel.formula import Formula, Verdict
from symkernel.report import latex
from symkernel.report.latex_blocks import displayed
from symkernel.theory.residual_integral import ResidualIntegral


def laws():
    return [pytest.param(law, id=law.name) for law in sk.catalogue()]


def of(law):
    p = law.example()
    return sk.derive(p.network, p.curriculum, p.weights, law=law.name, loss=p.loss)


def log_of(path):
    """Compile in the file's own folder and return the log."""
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", path.name]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


def overfull(log):
    """Return by how many points boxes stick out of the page."""
    return max((float(x) for x in re.findall(r"Overfull \\[hv]box \(([\d.]+)pt", log)), default=0.0)


# ---- the document


@pytest.mark.parametrize("law", laws())
def test_document_of_every_law_compiles_and_fits_the_page(law, tmp_path, pdflatex, checked):
    d = replace(of(law), report=checked.report)
    path = latex.save(d.latex(), tmp_path / "law.tex")
    assert overfull(log_of(path)) < 1.0
    pdf = latex.compile_pdf(path)
    assert pdf == tmp_path / "law.pdf"
    assert pdf.read_bytes().startswith(b"%PDF")


def test_document_says_what_was_assumed_done_found_and_cited(derivation, checked):
    text = derivation.latex()
    law = derivation.law
    for step in derivation.steps:
        assert step.title in text
        assert step.latex() in text
    for verdict in derivation.assumptions:
        assert latex.prose(verdict.assumption) in text
    assert r"law \texttt{aligned\_modes}" in text
    assert law.rank in text
    assert "flow time $t$ = learning rate" in text
    assert "squared error" in text
    assert r"\bibitem{saxe2014} Andrew M. Saxe, James L. McClelland and Surya Ganguli." in text
    assert "@misc{saxe2014," in text
    assert r"\text{where}" in text
    assert r"t_{\rho} &= " in text
    assert "not checked here" in text
    assert "Check passed" not in text
    seen = checked.latex()
    assert "not checked here" not in seen
    assert seen.count("Check passed") == len(derivation.steps)
    assert "NOT passed" in seen
    assert r"$2.5 \times 10^{-9}$" in seen


def test_a_failed_step_is_printed_as_failed(checked):
    from symkernel.formula import Evidence

    class Failing:
        def __getattr__(self, name):
            return getattr(checked, name)

        steps = (replace(checked.steps[0], check=lambda: Evidence(False, "off by 1e-3")),)

    text = latex.document(Failing())
    assert r"\textbf{Check FAILED}: off by $10^{-3}$." in text


def test_laws_tried_before_are_named(derivation):
    other = Verdict("other_law", "something", False, 0.5, 1e-8)
    table = replace(derivation.assumptions, verdicts=(other, *derivation.assumptions))
    text = replace(derivation, assumptions=table).latex()
    assert r"\texttt{other\_law} & \raggedright something & \raggedright 0.5" in text
    assert "FAILS" in text


def test_a_mode_that_never_learns_has_no_formula_for_its_time():
    a = sp.Symbol("a", positive=True)
    task = sk.Task.from_modes(sp.Symbol("s", positive=True))
    net = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
    text = sk.derive(net, task, sk.weights.aligned(net, task, a=a, b=-a)).latex()
    assert "never learned" in text
    assert r"\infty" not in text


def test_names_of_the_user_appear_everywhere(derivation):
    text = derivation.latex(names={"s": r"\varsigma", "z": r"\zeta", "W1": "A", "q_final": r"\eta"})
    assert r"2 \varsigma \zeta" in text
    assert r"\dot{\zeta} &= " in text
    assert r"P &= A V" in text
    assert r"the fraction $\eta$" in text
    assert r"$\varsigma$: strength of the mode" in text
    assert not re.search(r"(?<![a-z\\])2 s\b", text)


@pytest.mark.parametrize("law", laws())
def test_the_users_names_leave_no_other_letter_anywhere(law, checked):
    """Formulas, steps, where lines, reasons, meanings, figures: no table's letter is left."""
    figures = "s to 0, W1 and z; worst at s=1e-3, phi, R t; P0 to 0"
    rung = replace(checked.report.rungs[0], figure=figures)
    report = replace(checked.report, rungs=(rung,), notes=("passes with s -> 2 s",))
    names = {"s": r"\SIGMA", "z": r"\ZETA", "R": r"\RHO", "phi": r"\PHI", "P0": r"\PNULL"}
    names |= {"W1": r"\FIRST"}
    d = replace(of(law), report=report)
    for text in (d.latex(names=names), d.latex(fragment=True, names=names), report.latex(names)):
        body = text.split(r"\providecommand{\mathbb}")[-1]
        math = " ".join(map("".join, re.findall(r"\\\[(.*?)\\\]|\$(.*?)\$", body, re.DOTALL)))
        assert not re.search(r"(?<![A-Za-z\\])[szR](?![A-Za-z])|varphi|P_0|W_\{?1", math)
        assert {r"\SIGMA", r"\ZETA", r"\RHO", r"\PHI", r"\PNULL", r"\FIRST"} <= set(
            re.findall(r"\\[A-Z]+", body)
        )
        assert r"$\SIGMA = 10^{-3}" in body
        assert r"passes with $\SIGMA \to 2 \SIGMA$." in body


def defined(block):
    """Return what stands on the left of equations."""
    rows = (row.replace(r"\text{where}\quad ", "") for row in block.splitlines())
    return [row.partition("&=")[0].strip() for row in rows if "&= " in row]


@pytest.mark.parametrize("law", laws())
def test_the_result_gives_every_letter_one_meaning_and_once(law):
    result = of(law).latex().partition(r"\section*{Result}")[2].partition(r"\section*")[0]
    found = defined(result)
    assert found
    assert len(found) == len(set(found))


def test_blocks_on_their_own_name_their_parts_alike():
    """Without being told what is told: deep modes would have two c_1, and R twice."""
    d = of(next(law for law in sk.catalogue() if law.name == "deep_modes"))
    found = [left for formula in d.formulas for left in defined(formula.latex())]
    assert found.count("c_{1}") > 1


@pytest.mark.parametrize("law", laws())
def test_authors_are_written_as_bibtex_reads_them(law):
    for citation in law.citations:
        assert all(name.count(",") == 1 for name in citation.authors.split(" and "))


def test_an_integral_in_a_product_stands_in_brackets():
    M, r = sp.MatrixSymbol("M", 2, 2), sp.MatrixSymbol("r", 2, 1)
    shown = typesetting.latex(ResidualIntegral(M, r, notation.t))
    assert shown == r"\left(\int_0^{t} e^{- M \tau}\,d\tau\right) r"


# ---- the fragment


def test_fragment_can_be_read_twice_into_a_paper_with_amsmath_alone(checked, tmp_path, pdflatex):
    fragment = checked.latex(fragment=True, names={"s": r"\mystrength"})
    (tmp_path / "law.tex").write_text(fragment)
    paper = tmp_path / "paper.tex"
    paper.write_text(
        "\\documentclass{article}\n\\usepackage{amsmath}\n\\newcommand{\\mystrength}{\\sigma}\n"
        "\\begin{document}\nText.\n\\input{law}\nMore.\n\\input{law}\n\\end{document}\n"
    )
    log_of(paper)
    assert r"\mystrength" in fragment
    assert "documentclass" not in fragment
    assert "usepackage" not in re.sub(r"%.*", "", fragment)
    assert fragment.startswith("% ")
    assert r"\usepackage{amsmath}" in fragment.split("\n\n")[0]
    assert "%   @misc{saxe2014," in fragment


# ---- tables


def test_check_table_stands_alone(tmp_path, pdflatex, checked):
    table = checked.report.latex()
    path = tmp_path / "table.tex"
    path.write_text(f"\\documentclass{{article}}\\begin{{document}}\n{table}\n\\end{{document}}")
    log_of(path)
    assert r"100\% off" in table
    assert r"\#1" in table
    assert r"$\pm$" in table
    for rung in checked.report.rungs:
        assert rung.word in table


# ---- long equations


def test_a_long_sum_is_broken_and_fits_the_page(tmp_path, pdflatex):
    terms = sp.symbols("gamma_0:40", real=True)
    long = Formula("long", sp.Symbol("y"), sp.Add(*(k * x**2 for k, x in enumerate(terms, 2))))
    wide = Formula("wide", sp.Symbol("y"), 1 / long.expression)
    assert long.latex().count(r"\\") >= 4
    assert long.latex().count("&=") == 1
    assert r"y &= \frac{1}{c_{1}} \\" in wide.latex()
    body = "\n".join(displayed(f.latex()) for f in (long, wide))
    path = tmp_path / "long.tex"
    path.write_text(
        f"{latex.PREAMBLE}\n{latex.HELPERS}\n\\begin{{document}}\n{body}\\end{{document}}"
    )
    assert overfull(log_of(path)) < 1.0


def test_short_equations_stay_on_one_line(derivation):
    for formula in derivation.formulas:
        assert len(formula.latex().splitlines()) == 3 + len(formula.where)


# ---- pdflatex


def test_pdflatex_that_fails_says_why(tmp_path, pdflatex):
    path = tmp_path / "broken.tex"
    path.write_text("\\documentclass{article}\\begin{document}\\undefinedcommand\\end{document}")
    with pytest.raises(SymkernelError, match=r"pdflatex failed on .*broken.tex(.|\n)*Undefined"):
        latex.compile_pdf(path)
    assert [p.name for p in tmp_path.iterdir()] == ["broken.tex"]


def test_without_pdflatex_there_is_no_pdf(tmp_path, monkeypatch):
    path = tmp_path / "law.tex"
    path.write_text("x")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert latex.compile_pdf(path) is None
    with pytest.raises(InvalidArgument, match="'tex_path' must be an existing file"):
        latex.compile_pdf(tmp_path / "none.tex")


def test_pdflatex_runs_no_programs(tmp_path, pdflatex):
    path = tmp_path / "shell.tex"
    path.write_text(
        "\\documentclass{article}\\begin{document}x"
        "\\immediate\\write18{touch hacked}\\end{document}"
    )
    assert latex.compile_pdf(path) is not None
    assert not (tmp_path / "hacked").exists()


# ---- order and names in print


@pytest.mark.parametrize(
    ("expression", "printed"),
    [
        (2 * notation.z * notation.s, "2 s z"),
        (notation.s - notation.d * notation.a * notation.b, "s - d a b"),
        (-(-notation.a0 - notation.b0 + notation.w) * notation.d,
         r"d \left(a_0 + b_0 - w_0\right)"),
        (-notation.s / (notation.fraction - 1), r"\frac{s}{1 - \rho}"),
        (sp.log(notation.s / notation.d) / (2 * notation.s),
         r"\frac{1}{2 s} \ln{\left(\frac{s}{d} \right)}"),
        (sp.Function("z")(notation.t).diff(notation.t), r"\dot{z}"),
        (sp.Function("p_i")(notation.t).diff(notation.t), r"\dot{p}_{i}"),
        (sp.Function("z")(notation.t) ** 2, "z(t)^{2}"),
        (sp.Function("w")(notation.t), "w(t)"),
        (sp.Rational(3, 4) * notation.s, r"\frac{3 s}{4}"),
        (sp.Float(0.5) * notation.s - 1, "0.5 s - 1"),
        (notation.s ** sp.Rational(-1, 2), r"\frac{1}{\sqrt{s}}"),
        (sp.Mul(2, 3, evaluate=False), r"2 \cdot 3"),
    ],
)  # fmt: skip
def test_textbook_order(expression, printed):
    assert typesetting.latex(expression) == printed


def test_numbers_in_place_of_symbols_are_kept_apart():
    assert typesetting.latex(2 * notation.s * notation.z, {"s": "0.5", "z": "3"}) == (
        r"2 \cdot 0.5 \cdot 3"
    )


def test_textbook_form_of_the_unbalanced_mode(derivation):
    assert derivation.formulas[0].latex().splitlines()[1] == (
        r"u &= \frac{\left(a_0 + b_0\right)^{2} z}{4} - \frac{\left(a_0 - b_0\right)^{2}}{4 z} \\"
    )


def test_printing_does_not_change_values(derivation):
    """Signs move between factors when they are printed; the products must not change."""
    x, y = sp.symbols("x y", positive=True)
    for expression in (-x * (-x - y + 2), x / (-x - 3) ** 3, -(x - 1) / (y - 2), -((x - 1) ** 2)):
        factors = expression.as_ordered_factors()
        negative, above, below = typesetting._parts(factors)
        rebuilt = (-1) ** negative * sp.Mul(*above) / sp.Mul(*below)
        assert (
            sp.expand(rebuilt * sp.denom(expression) - sp.numer(expression))
            .subs({x: sp.Rational(7, 3), y: sp.Rational(11, 5)})
            .equals(0)
        )


@pytest.mark.parametrize("name", derivation_names())
def test_documents_of_published_results_fit_the_page(name, tmp_path, pdflatex, checked):
    d = import_module(f"symkernel.derivations.{name}").derive()
    # Laws of environments are no derivations of a problem, and bring no report of theirs.
    d = replace(d, report=checked.report) if isinstance(d, Derivation) else d
    path = latex.save(d.latex(), tmp_path / "law.tex")
    assert overfull(log_of(path)) < 1.0
