from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symkernel.report import latex
from symkernel.report.prose import escape, prose


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("p = a r along r", "$p = a r$ along $r$"),
        ("a net of a and b", "a net of $a$ and $b$"),
        ("W1 (n_hidden, n_inputs)", r"$W_1$ ($n_{\mathrm{hidden}}$, $n_{\mathrm{inputs}}$)"),
        ("q = sqrt(6) u^T W2", r"$q = \sqrt{6} u^T W_2$"),
        ("is written g^2/(omega + h), then", r"is written $g^2/(\omega + h)$, then"),
        ("hidden Gram matrix k_h(x, x') and", "hidden Gram matrix $k_h(x, x')$ and"),
        ("obey (GJ)^2 + lambda GJ = c^2", r"obey $(GJ)^2 + \lambda GJ = c^2$"),
        ("the QR form", "the QR form"),
        ("w_plus and w_minus_0", "$w_{+}$ and $w_{-,0}$"),
        ("similarity h(x)^T h(x') of", "similarity $h(x)^T h(x')$ of"),
        ("moment <x x> of", r"moment $\langle x x \rangle$ of"),
        ("rate = -2 kappa Theta D r", r"rate = $-2 \kappa \Theta D r$"),
        ("balanced, lambda 0.1, all -1", r"balanced, $\lambda\ 0.1$, all $-1$"),
        ("speed of zeta", r"speed of $\zeta$"),
        ("times a for W1", "times $a$ for $W_1$"),
        ("<y x^T> is known", r"$\langle y x^T \rangle$ is known"),
        ("z = exp(2 phi)", r"$z = \exp(2 \varphi)$"),
        ("rate x steps", r"rate $\times$ steps"),
        ("activity at x", "activity at $x$"),
        ("s to 0, 9 of 9", "$s$ to 0, 9 of 9"),
        ("PSD 0.0e+00", "PSD $0$"),
        ("1 +- 0.05", r"1 $\pm$ 0.05"),
        ("e.g. loss 1/2; don't", "e.g. loss 1/2; don't"),
    ],
)
def test_letters_are_mathematics_and_words_are_not(text, tex):
    assert prose(text) == tex


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("a net of a and b", r"a net of $\alpha_0$ and $b$"),
        ("tanh(R t / 2) of |p + q|^2", r"$\tanh(\Gamma t / 2)$ of $|\pi + q|^2$"),
        ("worst at a=1e-3, seed=3", r"worst at $\alpha_0 = 10^{-3}$, seed=3"),
        ("lambda_1 and p_i", r"$\Lambda$ and $\pi_i$"),
    ],
)
def test_the_users_names_act_in_prose(text, tex):
    names = {"a": r"\alpha_0", "R": r"\Gamma", "p": r"\pi", "lambda_1": r"\Lambda"}
    assert prose(text, names) == tex


def test_unknown_signs_are_named():
    assert escape("漢") == r"\texttt{U+6F22}"
    assert escape("café – naïve") == "café – naïve"


@given(st.text(alphabet=string.printable + "αβτσ≤×–éü漢\x00", max_size=60))
def test_escaped_text_has_no_bare_special_character(text):
    for tex in (escape(text), prose(text)):
        assert len(re.findall(r"(?<!\\)\$", tex)) % 2 == 0
        outside = tex.replace("\\%", "").replace("\\#", "").replace("\\&", "").replace("\\_", "")
        assert not set(outside) & set("#&%")


def test_any_text_compiles(tmp_path, pdflatex):
    samples = [
        string.punctuation,
        "αβγδεηθκλμνξπρστφχψω ΓΔΘΛΣΦΨΩ ≤≥≠≈×·±∞→∂√⟨⟩∈∘−",
        "naïve café “quoted” – dash — dash … 漢字 ½",
        "a_b^c {d} \\e ~f `g` |h| <i> 1e-300 <y x^T> |p + q|^2 tanh(R t / 2) p.q",
        "(((", ")))", "= = =", "-> <=", "x' a' _ ^ \\",
    ]  # fmt: skip
    body = "\n\n".join(f"{escape(s)}\n\n{prose(s)}" for s in samples)
    path = tmp_path / "text.tex"
    path.write_text(
        f"\\documentclass{{article}}\n\\begin{{document}}\n{body}\n\\end{{document}}\n",
        encoding="utf-8",
    )
    assert latex.compile_pdf(path) is not None
