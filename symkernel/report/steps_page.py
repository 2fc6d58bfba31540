r"""A derivation that is no law of the catalogue as a LaTeX document: steps, then results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from symkernel import __version__, notation, typesetting
from symkernel.formula import Formula, Step
from symkernel.report.latex import _HELPERS, _PREAMBLE
from symkernel.report.latex_blocks import displayed, section
from symkernel.report.prose import escape, prose


def document(
    title: str,
    steps: Sequence[Step],
    results: Sequence[Formula],
    names: Mapping[str, str] | None = None,
) -> str:
    """Return a document that stands alone; every step's check is run.

    Parameters
    ----------
    title : str
    steps : sequence of Step
    results : sequence of Formula
    names : mapping of str to str, optional
        LaTeX for the identifiers of symbols.
    """
    typesetting.check_names(names)
    told = [_step(k, step, names) for k, step in enumerate(steps, 1)]
    found = [f"{prose(f.name, names).capitalize()}:\n{displayed(f.latex(names))}" for f in results]
    head = rf"\title{{{prose(title)}\\[0.5ex]\large symkernel {escape(__version__)}}}"
    parts = [
        _PREAMBLE,
        _HELPERS,
        head + "\n\\author{}\n\\date{}\n\\begin{document}\n\\maketitle\n\\vspace{-4\\baselineskip}",
        section("Derivation", *told),
        section("Result", *found, _meanings(steps, results, names)),
        "\\end{document}\n",
    ]
    return "\n\n".join(parts)


def _meanings(
    steps: Sequence[Step], results: Sequence[Formula], names: Mapping[str, str] | None
) -> str:
    """Return what the symbols of the results stand for, as a sentence."""
    own = {symbol: text for step in steps for symbol, text in step.meanings}
    parts = [
        part for f in results for pair in ((f.symbol, f.expression), *f.where) for part in pair
    ]
    used = sorted(set().union(*(part.free_symbols for part in parts)), key=str)
    known = {q: own.get(q) or getattr(notation.entry(q.name), "meaning", "") for q in used}
    texts = [f"${typesetting.latex(q, names)}$: {prose(text)}" for q, text in known.items() if text]
    return f"Here {'; '.join(texts)}."


def _step(number: int, step: Step, names: Mapping[str, str] | None) -> str:
    evidence = step.check()
    word = "Check passed" if evidence.passed else r"\textbf{Check FAILED}"
    reason = prose(step.reason, names)
    reason = reason[:1].upper() + reason[1:]
    return (
        f"\\textbf{{{number}. {prose(step.title, names)}.}} {reason}.\n"
        f"{displayed(step.latex(names))}\n{{\\small {word}: {prose(evidence.figure, names)}.}}"
    )
