r"""Blocks of LaTeX: sections, lists, tables, displayed equations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(widths: Sequence[float], head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose columns have these shares of the line; it needs no package."""
    columns = "".join(rf"p{{{width}\linewidth}}" for width in widths)
    # A box of no width is what lets the first word of a narrow cell be hyphenated.
    cells = [r" & ".join(rf"\raggedright {cell}" for cell in row) for row in rows]
    lines = [r" & ".join(head) + r" \\", r"\hline"]
    lines += [cell + r" \tabularnewline" for cell in cells]
    body = "\n".join([r"\hline", *lines, r"\hline"])
    style = r"\small\renewcommand{\arraystretch}{1.2}"
    whole = f"\\begin{{tabular}}{{@{{}}{columns}@{{}}}}\n{body}\n\\end{{tabular}}"
    return f"{{{style}\n{whole}}}"


def section(title: str, *blocks: str) -> str:
    """Return a section of blocks between which a page may break."""
    # No break directly after a heading or a display; between blocks there must be one somewhere.
    first, *rest = blocks
    body = "\n\n\\penalty0\n".join([first, *rest])
    return rf"\section*{{{title}}}" + "\n\n" + body


def items(lines: Iterable[str]) -> str:
    """Return a list."""
    rows = "\n".join(rf"\item {line}" for line in lines)
    return f"\\begin{{itemize}}\\setlength{{\\itemsep}}{{0pt}}\n{rows}\n\\end{{itemize}}"


def displayed(body: str) -> str:
    """Return mathematics in display, scaled where it is wider than the line."""
    return f"\\[\n\\symkernelfit{{{body}}}\n\\]"
