r"""Statements for networks so small that calls of BLAS and loops of unknown length take longest.

All sizes are written out. Products are taken in tiles of 4 x 4 entries whose sums stay in
registers: straight-line code, which LLVM turns into vector operations where it is asked to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from symkernel.problem.nodes import Node
from symkernel.simulation.plan import Plan
from symkernel.simulation.statements import Lines, Statements, indented

_HIGH, _WIDE = 4, 4
# Statements are repeated for every sample. Names that each of them has for itself:
_NAMES = re.compile(r"\b[egs]\b")


class WrittenOut(Statements):
    """Statements with all sizes written out.

    Parameters
    ----------
    plan : Plan
        Names and decisions.
    batch : int
        Samples in a block.
    """

    def __init__(self, plan: Plan, batch: int) -> None:
        super().__init__(plan)
        self.batch = batch
        self.tiles: set[tuple[int, int]] = set()

    def shape(self, array: str, node: Node) -> tuple[str, str]:
        """Return the numbers of units and samples of a node's array."""
        return str(node.size), str(self.batch)

    def across(self, columns: str, body: Lines) -> Lines:
        """Return the statements for all samples, those that store something last.

        Loads and stores may be of the same place, for all that LLVM knows: it takes samples
        together only where no store is between their loads.
        """
        computed: Lines = []
        stored: Lines = []
        for line in body:
            lines = stored if "]" in line.split("=")[0] else computed
            for sample in range(self.batch):
                lines.append(_NAMES.sub(rf"\g<0>_{sample}", line).replace("c]", f"{sample}]"))
        return computed + stored

    def _product(
        self,
        flip: str,
        out: str,
        a: str,
        b: str,
        sizes: tuple[int | None, int | None, int | None],
        between: str = "",
        minus: str = "",
    ) -> Lines:
        rows, inner, columns = (self.batch if size is None else size for size in sizes)
        lines: Lines = []
        if flip == "b":
            lines = [
                f"for r in range({columns}):",
                f"    for c in range({inner}):",
                f"        {between}[c, r] = {b}[r, c]",
            ]
            b = between
        a = f"{a}.T" if flip == "a" else a
        for high, down in _spans(rows, _HIGH):
            for wide, along in _spans(columns, _WIDE):
                self.tiles.add((high, wide))
                lines += [
                    f"for r in {down}:",
                    f"    for c in {along}:",
                    f"        tile_{high}_{wide}({a}, {b}, {out}, r, c, {inner})",
                ]
        return lines

    def helpers(self, options: str) -> str:
        """Return the source of the tiles that the statements written so far call."""
        return "".join(_tile(*shape, options) for shape in sorted(self.tiles))


def _spans(count: int, most: int) -> Iterator[tuple[int, str]]:
    """Yield the sizes of tiles along one side, and where those of a size begin."""
    size = -(-count // -(-count // most))
    whole = count // size * size
    yield size, f"range(0, {whole}, {size})"
    if count > whole:
        yield count - whole, f"range({whole}, {count}, {count - whole})"


def _tile(rows: int, columns: int, options: str) -> str:
    """Return a function that writes the entries (r .. r + rows, c .. c + columns) of a product."""
    places = [(p, q) for p in range(rows) for q in range(columns)]
    lines = [f"s{p}{q} = 0.0" for p, q in places]
    lines.append("for k in range(inner):")
    lines += [f"    b{q} = b[k, c + {q}]" for q in range(columns)]
    for p in range(rows):
        lines.append(f"    e = a[r + {p}, k]")
        lines += [f"    s{p}{q} += e * b{q}" for q in range(columns)]
    lines += [f"out[r + {p}, c + {q}] = s{p}{q}" for p, q in places]
    head = f"\n\n@njit(forceinline=True, {options})\ndef tile_{rows}_{columns}"
    return "\n".join([f"{head}(a, b, out, r, c, inner):", *indented(lines), ""])
