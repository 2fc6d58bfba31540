"""Long equations on a page: where they are broken, and what gets a name."""

from __future__ import annotations

import subprocess

import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from symkernel import equations
from symkernel.equations import LINE, block, width
from symkernel.formula import Formula
from symkernel.report import latex

y, t = sp.Symbol("y"), sp.Symbol("t", nonnegative=True)
G = sp.symbols("gamma_0:12", positive=True)


def rows(text: str) -> list[str]:
    return [row.strip() for row in text.splitlines()[1:-1]]


def balanced(row: str) -> bool:
    return row.count("{") == row.count("}") and row.count(r"\left") == row.count(r"\right")


LONG_FACTOR = [sp.Add(*G[k : k + 4]) for k in range(0, 12, 2)]
CASES = {
    "sum": sp.Add(*(k * g**2 for k, g in enumerate(G, 2))),
    "product": sp.Mul(*LONG_FACTOR),
    "sum of products": sp.Mul(*LONG_FACTOR[:4]) - sp.Mul(*LONG_FACTOR[1:5]) + G[0],
    "fraction": LONG_FACTOR[0] / sp.Add(*(k * g**2 for k, g in enumerate(G, 2))),
    "numerator": sp.Add(*(k * g**2 for k, g in enumerate(G, 2))) / (G[0] + 1),
    "root": sp.sqrt(sp.Add(*(k * g**2 for k, g in enumerate(G, 2)))),
    "repeated": sp.sqrt(sp.Add(*(sp.exp(-sp.Add(*G[:5]) * t) / (g + t) for g in G[6:10]))),
    "nested": 1 / (1 + 1 / (sum(G[:6]) + 1 / (sum(G[6:]) + sp.exp(sum(G) * t)))),
    "tanh": sp.tanh(sp.Add(*(g * t for g in G))) ** 2,
}


@pytest.mark.parametrize("case", CASES)
def test_every_row_fits_and_is_whole(case):
    text = block([(y, CASES[case])])
    found = rows(text)
    assert len(found) > 1
    for row in found:
        assert balanced(row)
        assert width(row.replace("&=", "=").removesuffix(r"\\").removeprefix(r"\text{where}")) < (
            LINE + 3
        )


def test_products_are_broken_between_factors():
    found = rows(block([(y, CASES["product"])]))
    assert found[0].startswith(r"y &= \left(")
    assert all(row.startswith(r"&\quad \cdot \left(") for row in found[1:])
    joined = " ".join(row.removeprefix(r"&\quad \cdot ").removesuffix(r" \\") for row in found)
    assert joined == block([(y, CASES["product"])]).replace("\n", "").split("aligned}")[1].replace(
        r" \\&\quad \cdot", ""
    ).removesuffix(r"\end{")


def test_what_is_repeated_is_named_once():
    found = rows(block([(y, CASES["repeated"])]))
    assert found[-1].startswith(r"\text{where}\quad c_{1} &= e^{- \left(\gamma_{0} + \gamma_{1}")
    assert found[0].count("c_{1}") == 4
    assert "".join(found).count(r"\gamma_{4}") == 1


def test_what_two_equations_share_has_one_name():
    long = CASES["root"].args[0]
    found = rows(block([(y, sp.sqrt(long)), (t, 1 / long)]))
    assert found[:2] == [r"y &= \sqrt{c_{1}} \\", r"t &= \frac{1}{c_{1}} \\"]
    assert "".join(found).count("c_{1} &=") == 1
    assert "c_{2}" not in "".join(found)


def test_a_name_that_is_taken_is_not_used_again():
    c1 = sp.Symbol("c_1")
    assert r"c_{2} &= " in block([(y, c1 + CASES["root"])])
    formula = Formula("f", y, c1 * CASES["root"], ((c1, sp.Integer(2)),))
    assert r"\text{where}\quad c_{1} &= 2" in formula.latex()
    assert r"c_{2} &= " in formula.latex()


def test_what_fits_gets_no_names():
    short = 1 / (1 + sp.exp(-G[0] * t)) + sp.exp(-G[0] * t)
    assert rows(block([(y, short)])) == [
        r"y &= e^{- \gamma_{0} t} + \frac{1}{1 + e^{- \gamma_{0} t}}"
    ]


def test_the_users_names_act_in_rows_and_where_lines():
    text = block([(y, CASES["nested"])], names={"gamma_0": r"\Lambda", "y": "Y"})
    assert r"c_{2} &= \Lambda + \gamma_{1}" in text
    assert r"\gamma_{0}" not in text
    assert "Y &=" in text


def test_matrices_and_derivatives_are_broken_but_not_named():
    A = [sp.MatrixSymbol(f"A_{k}", 3, 3) for k in range(12)]
    total = sp.MatAdd(*(one * other.T * one for one, other in zip(A[1:], A[:-1], strict=True)))
    found = rows(block([(sp.MatrixSymbol("B", 3, 3), total)]))
    assert len(found) > 1
    assert all(row.startswith(r"&\quad + ") for row in found[1:])
    function = sp.Function("u")(t)
    rate = sp.Add(*(g * function**k for k, g in enumerate(G)))
    text = block([(function.diff(t), 1 / (function.diff(t) + rate))], show_time=False)
    assert "where" not in text


@st.composite
def expressions(draw, depth=4):
    """Deep expressions, most of them much wider than a line."""
    if depth == 0:
        return draw(st.sampled_from(G))
    parts = draw(st.lists(expressions(depth=depth - 1), min_size=2, max_size=4))
    make = draw(st.sampled_from(["add", "mul", "divide", "exp", "root"]))
    if make == "add":
        return sp.Add(*parts)
    if make == "mul":
        return sp.Mul(*parts)
    if make == "divide":
        return parts[0] / sp.Add(*parts[1:], 1)
    return sp.exp(-parts[0] / 9) + parts[1] if make == "exp" else sp.sqrt(sp.Add(*parts))


@given(expressions())
def test_names_stand_for_what_they_replace(expression):
    line = equations._Line(y, expression, None, True)
    names = equations.Told([(y, expression)])
    line.shorten(names)
    whole = line.right
    for meaning, symbol in reversed(names.given.items()):
        whole = whole.xreplace({symbol: meaning})
    values = {g: sp.Rational(2 * k + 3, k + 7) for k, g in enumerate(G)}
    difference = (whole - expression).xreplace(values).evalf(30)
    assert abs(difference) <= abs(expression.xreplace(values).evalf(30)) * sp.Float("1e-25")
    assert all(balanced(row) for row in rows(block([(y, expression)])))


def test_deep_fractions_are_printed_in_steps_that_do_not_double():
    """Sixty levels: printing each fraction twice would take longer than there is time."""
    # Without assumptions, which SymPy would pass through all levels.
    deep, x = sp.symbols("v x")
    for _ in range(60):
        deep = 1 / (1 + x * deep)
    assert block([(y, deep)]).count(r"\frac") >= 60


def test_a_sum_of_a_thousand_terms_is_printed():
    many = sp.Add(*(k * g for k, g in enumerate(sp.symbols("x_0:1000"), 1)))
    assert len(rows(block([(y, many)]))) > 100


def test_pages_do_not_overflow(tmp_path, pdflatex):
    shown = "\n".join(f"\\[\n{block([(y, case)])}\n\\]" for case in CASES.values())
    path = tmp_path / "long.tex"
    path.write_text(f"{latex.PREAMBLE}\n\\begin{{document}}\n{shown}\n\\end{{document}}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", path.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert r"Overfull \hbox" not in done.stdout
