"""Printed kernels of wide networks as LaTeX reads them."""

from __future__ import annotations

import subprocess

import sympy as sp

import symkernel as sk

z = sp.Symbol("z", real=True)
FAMILIES = [["relu"], ["erf"], [z**2 + z**4 / 10], [sp.exp(z / 3) + sp.sin(z)], ["tanh"],
            ["quadratic", "relu", "tanh"]]  # fmt: skip


def test_latex_of_every_family_compiles(tmp_path, pdflatex):
    """Powers of v' need braces around it."""
    lines = []
    for activations in FAMILIES:
        limit = sk.infinite_width(sk.Network.mlp([3, *[9] * len(activations), 1], activations))
        lines += [limit.latex(), *(step.latex() for step in limit.steps)]
    text = "\n".join(rf"\[{line}\]" for line in lines)
    head = r"\documentclass{article}\usepackage{amsmath,amssymb}\begin{document}"
    (tmp_path / "k.tex").write_text(rf"{head}{text}\end{{document}}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "k.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
