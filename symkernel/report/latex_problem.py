r"""The problem of a derivation and what was assumed of it, in LaTeX."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import sympy as sp

from symkernel import typesetting
from symkernel.assumptions import HEAD
from symkernel.problem.scalars import as_sympy
from symkernel.report.latex_blocks import items, table
from symkernel.report.modes import Modes, modes_of
from symkernel.report.prose import escape, prose

if TYPE_CHECKING:
    from symkernel.derivation import Derivation

# Shares of the line that a table's columns can have together, and what stands between two.
_WIDTH, _GAP = 0.98, 0.0265


def problem_blocks(derivation: Derivation, names: Mapping[str, str] | None) -> Iterator[str]:
    """Yield network, curriculum and weights, and the table of modes for a law of modes."""
    problem = derivation.problem
    phases = problem.curriculum.phases
    lines = [_layer(parameter, names) for parameter in problem.network.parameters]
    if len(phases) > 1:
        lasting = [_lasting(phase.duration, names) for phase in phases]
        lines.append(f"Curriculum of {len(phases)} phases, flow times {', '.join(lasting)}.")
    lines.append(f"Initial weights: {prose(problem.weights.provenance, names)}.")
    yield items(lines)
    # Other laws have no formulas of single modes that the table would serve.
    modes = modes_of(problem) if derivation.derived.mode is not None else None
    if modes is not None:
        yield _modes(modes, names)


def _lasting(duration: Any, names: Mapping[str, str] | None) -> str:
    if duration is None:
        return "to the end"
    symbolic = isinstance(duration, sp.Expr)
    return f"${typesetting.latex(duration, names)}$" if symbolic else f"{duration:g}"


def _layer(parameter: Any, names: Mapping[str, str] | None) -> str:
    name = typesetting.latex(sp.MatrixSymbol(parameter.name, 1, 1), names)
    size = r" \times ".join(typesetting.latex(as_sympy(n), names) for n in parameter.shape)
    trained = "" if parameter.trained else ", not trained"
    return f"${name}$ of shape ${size}${trained}"


def _modes(modes: Modes, names: Mapping[str, str] | None) -> str:
    count = len(modes.head)
    widths = [round((_WIDTH - _GAP * count) / count, 3)] * count
    head = [prose(word, names) for word in modes.head]
    body = table(widths, head, [[_cell(value, names) for value in row] for row in modes.rows])
    lead = "Modes of the task: strength s, input variance d"
    if "coordinate" in modes.head:
        lead = (
            "Coordinates of the task: cross moment s of target and input, second moment d of the "
            "input, weights at the start"
        )
    if "|p|" in modes.head:
        lead += ", lengths |p| and |q| of the input side and the output side at the start"
    elif "a0" in modes.head:
        lead += ", amplitudes a0 and b0 of the input side and the output side at the start"
    rest = f"\n\nand {modes.more} more." if modes.more else ""
    return f"{prose(lead, names)}.\n\n\\nopagebreak\n{body}{rest}"


def _cell(value: Any, names: Mapping[str, str] | None) -> str:
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        digits, _, power = f"{value:.5g}".partition("e")
        return f"${digits}" + (rf" \cdot 10^{{{int(power)}}}$" if power else "$")
    return rf"\symkernelfit{{{typesetting.latex(as_sympy(value), names)}}}"


def assumptions_block(derivation: Derivation, names: Mapping[str, str] | None) -> str:
    """Return the table of what was assumed, with what was not tried."""
    found = derivation.assumptions
    rows = [
        (rf"\texttt{{{escape(law)}}}" if law else "", *(_words(text, names) for text in rest))
        for law, *rest in found.rows
    ]
    # Names of laws are not hyphenated: lines that hold them are of any length.
    notes = [
        f"{{\\raggedright {escape(note[:1].upper() + note[1:])}.\\par}}" for note in found.notes
    ]
    return "\n\n".join([table((0.19, 0.35, 0.09, 0.1, 0.16), HEAD, rows), *notes])


def _words(text: str, names: Mapping[str, str] | None) -> str:
    return r"$\infty$" if text == "inf" else prose(text, names)
