r"""LaTeX of a derivation: a document that stands alone, and a fragment for the user's paper.

The document uses amsmath, graphicx and geometry, the fragment amsmath alone. A sum or product that
is too long for a line continues on the next, and long parts of what cannot be broken get names;
what is still wider than the line is scaled to it, where graphicx is loaded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import sympy as sp

from symkernel import __version__, equations, notation, typesetting
from symkernel.check_report import CheckReport
from symkernel.errors import InvalidArgument, SymkernelError
from symkernel.formula import Citation, Formula, Step
from symkernel.report.files import checked_path, save, write_atomically
from symkernel.report.glossary import Glossary, glossaries, glossary, spoken
from symkernel.report.latex_blocks import displayed, items, section, table
from symkernel.report.latex_problem import assumptions_block, convention_lines, problem_blocks
from symkernel.report.lettering import lettering
from symkernel.report.prose import escape, prose

if TYPE_CHECKING:
    from symkernel.derivation import Derivation

__all__ = ["check_table", "compile_pdf", "document", "fragment_of", "save"]

HELPERS = r"""% Scales an equation that is wider than the line, if graphicx is loaded.
\ifdefined\symkernelfit\else
\newsavebox{\symkernelbox}
\newcommand{\symkernelfit}[1]{\sbox{\symkernelbox}{$\displaystyle #1$}%
  \ifdim\wd\symkernelbox>\linewidth
    \ifdefined\resizebox\resizebox{\linewidth}{!}{\usebox{\symkernelbox}}%
    \else\usebox{\symkernelbox}\fi
  \else\usebox{\symkernelbox}\fi}
\fi
% The identity matrix, where no package has blackboard letters.
\providecommand{\mathbb}[1]{\mathbf{#1}}"""
PREAMBLE = r"""\documentclass[11pt,a4paper]{article}
\usepackage{amsmath}
\usepackage{graphicx}
\usepackage[margin=25mm]{geometry}
\setlength{\parindent}{0pt}
\setlength{\parskip}{0.5\baselineskip}
\setlength{\jot}{6pt}
\AtBeginDocument{\abovedisplayshortskip=\abovedisplayskip}
\widowpenalty=10000 \clubpenalty=10000 \displaywidowpenalty=10000
\postdisplaypenalty=10000
\raggedbottom"""
_PHASES = (
    "The formulas hold within each phase of the curriculum: t is the time since the phase started, "
    "what belongs to the task (strengths, variances, moments) is that of the phase, and in place "
    "of the initial values stands the state in which the phase before it ended."
)
_MINUTES = 2
_TAIL = 15


def document(derivation: Derivation, names: Mapping[str, str] | None = None) -> str:
    r"""Return a LaTeX document: what was assumed, every step, the result, its checks, its source.

    Parameters
    ----------
    derivation : Derivation
        If it was checked, the document carries what each check found; else it says so.
    names : mapping of str to str, optional
        LaTeX for the identifiers of symbols, say ``{"s": r"\sigma"}``.

    Examples
    --------
    >>> import symkernel as sk
    >>> task = sk.Task.from_modes([2.0, 1.0])
    >>> net = sk.Network.two_layer(inputs=2, hidden=3, outputs=2)
    >>> d = sk.derive(net, task, sk.weights.aligned(net, task, a=0.1, b=0.3))
    >>> text = d.latex(names={"s": r"\varsigma"})
    >>> assert text.startswith(r"\documentclass") and r"2 \varsigma z" in text
    """
    typesetting.check_names(names)
    law, found = derivation.law, lettering(derivation, names)
    names = found.law
    title = rf"{prose(law.title)}\\[0.5ex]\large {prose(derivation.rank)}, "
    title += rf"law \texttt{{{escape(law.name)}}}, symkernel {escape(__version__)}"
    parts = [
        opening(title),
        section("Conventions", items(convention_lines(derivation, found))),
        section("Problem", *problem_blocks(derivation, found)),
        section("Assumptions", assumptions_block(derivation, names)),
        section(
            "Derivation",
            *step_blocks(
                derivation.steps, glossaries(derivation), names, derivation.report is not None
            ),
        ),
        section("Result", *_result(derivation, names)),
        section("Checks", checks_block(derivation.report, names)),
        section("Evaluation", _lowering(derivation, names)),
        references(law.citations),
        "\\end{document}\n",
    ]
    return "\n\n".join(parts)


def opening(title: str) -> str:
    """Return what a document begins with, down to its title."""
    titled = rf"\title{{{title}}}" + "\n\\author{}\n\\date{}\n\\begin{document}\n\\maketitle\n"
    return "\n\n".join([PREAMBLE, HELPERS, titled + r"\vspace{-4\baselineskip}"])


def fragment_of(derivation: Derivation, names: Mapping[str, str] | None = None) -> str:
    r"""Return the result without preamble, for ``\input`` into a paper; needs amsmath alone.

    Parameters
    ----------
    derivation : Derivation
    names : mapping of str to str, optional
        The paper's own LaTeX for the identifiers of symbols.

    Examples
    --------
    >>> import symkernel as sk
    >>> task = sk.Task.from_modes([2.0, 1.0])
    >>> net = sk.Network.two_layer(inputs=2, hidden=3, outputs=2)
    >>> d = sk.derive(net, task, sk.weights.aligned(net, task, a=0.1, b=0.3))
    >>> assert "documentclass" not in d.latex(fragment=True)
    """
    typesetting.check_names(names)
    law, found = derivation.law, lettering(derivation, names)
    names = found.law
    keys = ",".join(citation.key for citation in law.citations)
    head = [
        f"% {_one_line(law.title)} ({derivation.rank}), derived by symkernel {__version__}.",
        "% For \\input; needs \\usepackage{amsmath}. Scales long lines if graphicx is loaded.",
        f"% Sources, for your .bib file (cite as {keys}):" if keys else "% No source.",
    ]
    for citation in law.citations:
        head += [f"%   {line}" for line in _bibtex(citation).splitlines()]
    used = [
        v.assumption if v.holds and not v.warning else f"{v.assumption} ({v.word})"
        for v in derivation.assumptions
        if v.law == law.name
    ]
    parts = [
        "\n".join(head),
        HELPERS,
        f"Conventions: {'; '.join(convention_lines(derivation, found))}. {found.sentence}".rstrip(),
        f"Assumptions: {_sentence(used, names)}",
        *_result(derivation, names),
        checks_block(derivation.report, names),
    ]
    return "\n\n".join(parts) + "\n"


def check_table(report: CheckReport, names: Mapping[str, str] | None = None) -> str:
    """Return the rungs of a report as a LaTeX ``tabular``, without any package."""
    typesetting.check_names(names)
    rows = [
        (str(rung.number), prose(rung.title, names), rung.word, prose(rung.figure, names),
         prose(rung.bound, names))
        for rung in report.rungs
    ]  # fmt: skip
    head = ("rung", "what", "verdict", "measured", "bound")
    notes = [f"Note: {prose(note, names)}." for note in report.notes]
    return "\n\n".join([table((0.05, 0.22, 0.1, 0.42, 0.1), head, rows), *notes])


def step_blocks(
    steps: Sequence[Step],
    new: Sequence[Glossary],
    names: Mapping[str, str] | None,
    checked: bool,
) -> Iterable[str]:
    """Yield the steps with what is new in each, and with what its check found if it was made."""
    for position, (step, meanings) in enumerate(zip(steps, new, strict=True), 1):
        title, reason = prose(step.title, names), _capital(prose(step.reason, names))
        head = f"\\textbf{{{position}. {title}.}} {reason}."
        # No empty line before or after: a page may not break between text and display.
        lines = [head, displayed(step.latex(names))]
        lines += [rf"{{\small {told_here(meanings, names)}}}"] if meanings else []
        if checked:
            lines += ["", _outcome(step, names)] if meanings else [_outcome(step, names)]
        yield "\n".join(lines)


def _outcome(step: Step, names: Mapping[str, str] | None) -> str:
    evidence = step.check()
    word = "Check passed" if evidence.passed else r"\textbf{Check FAILED}"
    return rf"{{\small {word}: {prose(evidence.figure, names)}.}}"


def _result(derivation: Derivation, names: Mapping[str, str] | None) -> Iterable[str]:
    if derivation.notice:
        yield rf"\textbf{{{_capital(prose(derivation.notice, names))}.}}"
    if len(derivation.problem.curriculum.phases) > 1:
        yield prose(_PHASES, names)
    formulas = derivation.formulas
    last: tuple[Formula, ...] = ()
    if derivation.derived.learning_time is not None:
        last = (derivation.derived.learning_time(None, 0, False),)
    told = equations.Told([pair for f in (*formulas, *last) for pair in f.pairs])
    for _, group in groupby(formulas, key=lambda formula: formula.where):
        yield displayed(together(tuple(group), names, told))
    if last:
        yield _learning_time(last[0], derivation.problem.network.is_diagonal, names, told)
    yield told_here(glossary(derivation, (*formulas, *last)), names)


def _learning_time(
    time: Formula, diagonal: bool, names: Mapping[str, str] | None, told: equations.Told
) -> str:
    if time.expression == sp.oo:
        return "A mode that starts like this falls to the saddle at 0 and is never learned."
    share = f"${typesetting.latex(notation.fraction, names)}$"
    what = "coordinate" if diagonal else "mode"
    lead = f"Flow time at which a {what} reaches the fraction {share} of its final value:"
    return f"{lead}\n{displayed(together((time,), names, told))}"


def together(
    formulas: tuple[Formula, ...], names: Mapping[str, str] | None, told: equations.Told
) -> str:
    """Return formulas with the same abbreviations as one block, without what is told already."""
    rows = [(f.symbol, f.expression) for f in formulas]
    return equations.block(rows, formulas[0].where, names, told=told)


def told_here(meanings: Glossary, names: Mapping[str, str] | None) -> str:
    """Return what symbols stand for as a sentence; nothing for none."""
    texts = [f"${typesetting.latex(q, names)}$: {prose(text, names)}" for q, text in meanings]
    return f"Here {'; '.join(texts)}." if texts else ""


def checks_block(report: CheckReport | None, names: Mapping[str, str] | None) -> str:
    """Return the table of a report with its verdict, or that nothing was checked."""
    if report is None:
        return "This derivation was not checked here; the law's \\texttt{check()} does it."
    verdict = "all climbed rungs passed" if report.passed else r"\textbf{NOT passed}"
    return f"{check_table(report, names)}\n\nVerdict: {verdict}."


def _lowering(derivation: Derivation, names: Mapping[str, str] | None) -> str:
    """Return the named rules between the formula and what is computed."""
    rewritings = derivation.derived.routine().rewritings
    if not rewritings:
        return "The formula is computed by an algorithm of its own, which the compiled law shows."
    rows = [
        (
            prose(r.rule, names),
            prose(r.reason, names),
            rf"${r.operations_before} \to {r.operations_after}$",
        )
        for r in rewritings
    ]
    lead = "Rules that lead from the formula to the one that is computed, each proven an identity."
    listed = table((0.22, 0.53, 0.15), ("rule", "reason", "operations"), rows)
    told = spoken(derivation, (r.reason for r in rewritings))
    below = f"\n\n{{\\small {told_here(told, names)}}}" if told else ""
    return f"{lead}\n\n\\nopagebreak\n{listed}{below}"


def references(citations: Sequence[Citation]) -> str:
    """Return the sources, as a list and as BibTeX."""
    if not citations:
        return ""
    listed = [rf"\bibitem{{{c.key}}} {_cited(c)}" for c in citations]
    entries = [_whole_on_a_page(_bibtex(citation)) for citation in citations]
    lines = [r"\begin{thebibliography}{9}", *listed, r"\end{thebibliography}"]
    return "\n".join([*lines, "", "In Bib\\TeX:", "", r"\nopagebreak", *entries])


def _whole_on_a_page(text: str) -> str:
    begin, end = r"\begin{verbatim}", r"\end{verbatim}"
    body = f"{{\\footnotesize\n{begin}\n{text}\n{end}\n}}"
    return f"\\begin{{minipage}}{{\\linewidth}}\n{body}\n\\end{{minipage}}"


def _cited(citation: Citation) -> str:
    people = [" ".join(reversed(name.split(", ", 1))) for name in citation.authors.split(" and ")]
    listed = people[0] if len(people) == 1 else f"{', '.join(people[:-1])} and {people[-1]}"
    source = [citation.venue, str(citation.year)]
    source += [f"arXiv:{citation.arxiv}"] if citation.arxiv else []
    source += [citation.place] if citation.place else []
    return rf"{escape(listed)}. \emph{{{escape(citation.title)}}}. {prose(', '.join(source))}."


def _bibtex(citation: Citation) -> str:
    lines = citation.bibtex().splitlines()
    return "\n".join(textwrap.fill(line, 84, subsequent_indent="    ") for line in lines)


def _sentence(texts: Iterable[str], names: Mapping[str, str] | None) -> str:
    return "; ".join(prose(text, names) for text in texts) + "."


def _capital(text: str) -> str:
    return text if text.startswith(("$", "\\")) else text[:1].upper() + text[1:]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def compile_pdf(tex_path: str | Path) -> Path | None:
    """Run pdflatex on a document, and put the PDF beside it.

    Returns
    -------
    Path or None
        The PDF; None where pdflatex is not installed.

    Raises
    ------
    InvalidArgument
        If the document does not exist.
    SymkernelError
        If pdflatex fails; the message ends in the last lines of its log.
    """
    source = Path(tex_path)
    if not source.is_file():
        raise InvalidArgument(f"Argument 'tex_path' must be an existing file, not {str(source)!r}.")
    target = checked_path(source.with_suffix(".pdf"))
    program = shutil.which("pdflatex")
    if program is None:
        return None
    with tempfile.TemporaryDirectory(prefix="symkernel_") as folder:
        built = Path(folder) / "document.pdf"
        command = [program, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape",
                   "-jobname=document", f"-output-directory={folder}", source.name]  # fmt: skip
        for _ in range(2):
            _run(command, source)
        return write_atomically(target, lambda file: file.write(built.read_bytes()))


def _run(command: list[str], source: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=source.parent, stdin=subprocess.DEVNULL, capture_output=True,
            timeout=60 * _MINUTES, check=False, env={**os.environ, "max_print_line": "200"},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise SymkernelError(
            f"pdflatex did not finish {str(source)!r} within {_MINUTES} minutes."
        ) from error
    if done.returncode:
        log = done.stdout.decode("utf-8", "replace").strip().splitlines()
        tail = "\n".join(f"  {line}" for line in log[-_TAIL:])
        raise SymkernelError(f"pdflatex failed on {str(source)!r}; its log ends:\n{tail}")
