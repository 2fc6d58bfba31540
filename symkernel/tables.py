"""Tables of short texts: plain, HTML and Markdown."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Sequence
from itertools import zip_longest

Rows = Iterable[Sequence[str]]


def as_text(head: Sequence[str], rows: Rows, indent: str = "  ", widest: int = 1000) -> str:
    r"""Return a table in plain text, a line for each row; cells wider than `widest` go on below.

    Examples
    --------
    >>> from symkernel.tables import as_text
    >>> assert as_text(("n", "word"), [("1", "one")], "") == "n  word\n-  ----\n1  one"
    """
    body: list[tuple[str, ...]] = []
    for row in rows:
        cells = (textwrap.wrap(cell, widest) for cell in row)
        body += zip_longest(*cells, fillvalue="")
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    lines = []
    for row in (head, ["-" * width for width in widths], *body):
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(indent + "  ".join(padded).rstrip())
    return "\n".join(lines)


def as_html(head: Sequence[str], rows: Rows) -> str:
    """Return a table in HTML; the texts are escaped."""

    def line(cells: Sequence[str], tag: str) -> str:
        inside = "".join(f"<{tag}>{html.escape(cell, quote=False)}</{tag}>" for cell in cells)
        return f"<tr>{inside}</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def as_markdown(head: Sequence[str], rows: Rows) -> str:
    """Return a table in Markdown; bars in the texts are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", r"\|") for c in row) + " |" for row in lines)
