"""The page of the lazy law of multitasking."""

from __future__ import annotations

import pytest
import sympy as sp

import symkernel as sk
from symkernel.errors import InvalidArgument
from symkernel.report.latex import compile_pdf

G, M = sp.symbols("G M", integer=True, positive=True)
ALPHA, BETA, GAMMA = sp.symbols("alpha beta gamma", positive=True)
ENV = sk.environments.Multitasking(G, M)
OVERLAP = ENV.matched + ENV.same


@pytest.fixture(scope="module")
def law():
    return sk.lazy_multitasking(ENV, ALPHA + BETA * OVERLAP + GAMMA * OVERLAP**2)


@pytest.fixture(scope="module")
def checked(law):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("symkernel.theory.lazy_instances.SIZES", ((2, 3),))
        return law.check().derivation


def test_the_page_compiles_and_carries_its_checks(checked, tmp_path, pdflatex):
    path = checked.save_latex(tmp_path / "law.tex")
    assert compile_pdf(path).stat().st_size > 10_000
    text = path.read_text()
    assert text.count("Check passed") == len(checked.steps) == 12
    assert "all climbed rungs passed" in text
    assert "explicit Gram matrices: outputs" in text


def test_the_page_says_what_it_assumes_and_what_its_letters_mean(law):
    text = law.latex()
    assert "This derivation was not checked here" in text
    assert "Check passed" not in text
    for words in ("flow time $t$", "loss factor 1/2", "The kernel stays as it is", "isotropic",
                  "number of stimulus groups in which two prompts agree",
                  r"\mathrm{margin}_K &= 1 - \frac{\left(1 - \rho\right) \left(K - 1\right)}{G}",
                  r"\rho &= \frac{\lambda_{1c}}{\lambda_{1m}}", "2307.07575"):  # fmt: skip
        assert words in text, words
    told = text[text.rindex("Here $") :]
    for letter in ("a_K", "b_K", r"\mu_{1,0}", "g_{1c}", r"\theta_K", "S", "e", "A"):
        assert f"${letter}$:" in told


def test_letters_are_the_authors(law):
    assert r"\mathcal{B}" in law.latex(names={"beta": r"\mathcal{B}"})
    with pytest.raises(InvalidArgument, match="names"):
        law.latex(names={"beta": 3})
    with pytest.raises(InvalidArgument, match="existing folder"):
        law.save_latex("/no/such/folder/law.tex")


def test_other_kernels_have_pages_too(tmp_path, pdflatex):
    net = sk.Network.mlp([13, 50, 1], activation="erf", parameterisation="ntk")
    numbers = sk.environments.Multitasking(2, 3)
    pages = (
        sk.lazy_multitasking(ENV),
        sk.lazy_multitasking(ENV, sk.infinite_width(net).ntk, direct=1),
        sk.lazy_multitasking(numbers, [[0.1, 1.0], [0.5, 1.5], [1.0, 3.0]]),
    )
    for k, law in enumerate(pages):
        assert compile_pdf(law.save_latex(tmp_path / f"law{k}.tex")).is_file()
    assert r"\sum_{b=0}^{G}" in pages[1].latex()
    assert "any kernel of the relation" in pages[0].latex()
