r"""A derivation that is no law of the catalogue as a LaTeX document: steps, results, checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sympy as sp

from symkernel import __version__, equations, typesetting
from symkernel.check_report import CheckReport
from symkernel.formula import Citation, Formula, Step
from symkernel.report.glossary import glossary_of, new_symbols
from symkernel.report.latex import (
    checks_block,
    opening,
    references,
    step_blocks,
    together,
    told_here,
)
from symkernel.report.latex_blocks import displayed, items, section
from symkernel.report.prose import escape, prose

__all__ = ["named", "steps_document"]


def named(
    formulas: Iterable[Formula], names: Mapping[str, str] | None
) -> list[tuple[str, Formula]]:
    """Return formulas, each led to by its name."""
    return [(prose(f.name[:1].upper() + f.name[1:], names), f) for f in formulas]


def steps_document(
    title: str,
    subtitle: str,
    steps: Sequence[Step],
    results: Sequence[tuple[str, Formula]],
    *,
    conventions: Iterable[str] = (),
    sections: Mapping[str, Iterable[str]] | None = None,
    report: CheckReport | None = None,
    citations: Sequence[Citation] = (),
    own: Mapping[sp.Symbol, str] | None = None,
    names: Mapping[str, str] | None = None,
) -> str:
    """Return the document.

    Parameters
    ----------
    title, subtitle : str
    steps : sequence of Step
    results : sequence of (str, Formula)
        Each with the words, in LaTeX, that lead to it.
    conventions : iterable of str
    sections : mapping of str to iterable of str, optional
        LaTeX of what stands before the derivation, by heading.
    report : CheckReport, optional
        What the checks found; then every step's own check is printed with it.
    citations : sequence of Citation
    own : mapping of Symbol to str, optional
        The user's own symbols, with what they stand for.
    names : mapping of str to str, optional
        LaTeX for the identifiers of symbols.
    """
    typesetting.check_names(names)
    head = rf"{prose(title)}\\[0.5ex]\large {prose(subtitle)}, symkernel {escape(__version__)}"
    before = [section(heading, *blocks) for heading, blocks in (sections or {}).items()]
    given, checked = dict(own or {}), report is not None
    parts = [
        opening(head),
        section("Conventions", items(prose(line, names) for line in conventions)),
        *before,
        section("Derivation", *step_blocks(steps, new_symbols(steps, set(given)), names, checked)),
        section("Result", *_results(steps, results, given, names)),
        section("Checks", checks_block(report, names)),
        references(citations),
        "\\end{document}\n",
    ]
    return "\n\n".join(parts)


def _results(
    steps: Sequence[Step],
    results: Sequence[tuple[str, Formula]],
    own: Mapping[sp.Symbol, str],
    names: Mapping[str, str] | None,
) -> Iterable[str]:
    formulas = [formula for _, formula in results]
    told = equations.Told([pair for f in formulas for pair in f.pairs])
    for lead, formula in results:
        yield f"{lead}:\n{displayed(together((formula,), names, told))}"
    yield told_here(glossary_of(formulas, steps, own), names)
