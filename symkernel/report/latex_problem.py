r"""The problem of a derivation and what was assumed of it, in LaTeX."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import sympy as sp

from symkernel import equations, notation, typesetting
from symkernel.assumptions import HEAD
from symkernel.errors import SymkernelError
from symkernel.problem.problem import CONVENTIONS
from symkernel.problem.scalars import as_sympy
from symkernel.problem.task import Task
from symkernel.report.latex_blocks import displayed, items, table
from symkernel.report.latex_network import network_lines
from symkernel.report.lettering import Lettering
from symkernel.report.modes import Modes, modes_in_phases
from symkernel.report.prose import escape, prose
from symkernel.theory.deep_functions import ModeCurve

if TYPE_CHECKING:
    from symkernel.derivation import Derivation

# Shares of the line that a table's columns can have together, and what stands between two.
_WIDTH, _GAP = 0.98, 0.0265
# Formulas for the start of later phases: how many, and of how many operations each.
_MOST_STATES, _MOST_OPERATIONS = 4, 60


def convention_lines(derivation: Derivation, found: Lettering) -> list[str]:
    """Return the conventions; what they say of the problem is in the problem's letters."""
    own = {str(symbol): tex for symbol, tex in found.problem.items()}
    return [
        prose(line, found.law if line in CONVENTIONS else own) for line in derivation.conventions
    ]


def problem_blocks(derivation: Derivation, found: Lettering) -> Iterator[str]:
    """Yield network, curriculum and weights, and the table of modes for a law of modes."""
    problem, names = derivation.problem, found.problem
    phases = problem.curriculum.phases
    lines = [_layer(parameter, names) for parameter in problem.network.parameters]
    lines += network_lines(problem, names)
    if len(phases) > 1:
        times = tuple(map(as_sympy, (*problem.curriculum.starts, problem.curriculum.end)))
        lines += [
            f"Phase {k} of the curriculum, {_span(*span, names)}: {_task(phase.task)}."
            for k, (phase, span) in enumerate(zip(phases, pairwise(times), strict=True))
        ]
    lines.append(f"Initial weights: {prose(problem.weights.provenance, names)}.")
    lines += [found.sentence] if found.sentence else []
    yield items(lines)
    # Other laws have no formulas of single modes that the table would serve.
    modes = modes_in_phases(derivation) if derivation.derived.mode is not None else None
    if modes is not None:
        yield _modes(modes, found)
        if any("" in row for row in modes.rows):
            yield from _states(derivation, modes, found)


def _span(start: sp.Expr, end: sp.Expr, names: Mapping[Any, str]) -> str:
    """Return from when to when a phase lasts."""
    first, last = (
        f"{float(time):g}" if time.is_number else f"${typesetting.latex(time, names)}$"
        for time in (start, end)
    )
    return f"flow time {first} to {last}" if end != sp.oo else f"from flow time {first} on"


def _task(task: Task) -> str:
    """Return how a task is given, in words."""
    if task.X is not None:
        return f"a task of {len(task.X)} samples"
    if task.teacher is not None:
        return "fresh samples with the outputs of a teacher"
    return "a task of given modes" if task.modes is not None else "a task of given second moments"


def _states(derivation: Derivation, modes: Modes, found: Lettering) -> Iterator[str]:
    """Yield the modes at the start of later phases as formulas, where these are short."""
    starts, count = derivation.problem.curriculum.starts, sum(row[0] == 0 for row in modes.rows)
    few = count * (len(starts) - 1) <= _MOST_STATES
    try:
        rows = [
            (sp.Symbol(f"u_{k}_{phase}"), _state(derivation, k, phase))
            for phase in range(1, len(starts))
            for k in range(count if few else 0)
        ]
    except SymkernelError:
        # Of these modes the law has no formulas.
        return
    if rows and all(_is_short(state) for _, state in rows):
        lead = "Mode $k$ of the end-to-end map at the start of phase $n$, $u_{k,n}$:"
        yield f"{lead}\n{displayed(equations.block(rows, (), found.problem))}"
    else:
        yield (
            r"What modes start from in later phases has no short formula here; "
            r"\texttt{mode(k, phase)} of the derivation goes on from it."
        )


def _state(derivation: Derivation, index: int, phase: int) -> sp.Expr:
    """Return a mode at the start of a phase, which is the end of the one before."""
    output = derivation.mode(index, phase - 1).output
    return output.xreplace({notation.t: as_sympy(derivation.problem.curriculum.starts[phase])})


def _is_short(state: sp.Expr) -> bool:
    return sp.count_ops(state) <= _MOST_OPERATIONS and not state.has(ModeCurve)


def _layer(parameter: Any, names: Mapping[Any, str]) -> str:
    name = typesetting.latex(sp.MatrixSymbol(parameter.name, 1, 1), names)
    size = r" \times ".join(typesetting.latex(as_sympy(n), names) for n in parameter.shape)
    trained = "" if parameter.trained else ", not trained"
    return f"${name}$ of shape ${size}${trained}"


def _modes(modes: Modes, found: Lettering) -> str:
    names = found.law
    count = len(modes.head)
    widths = [round((_WIDTH - _GAP * count) / count, 3)] * count
    head = [prose(word, names) for word in modes.head]
    body = table(
        widths, head, [[_cell(value, found.problem) for value in row] for row in modes.rows]
    )
    of_it = " of the phase" if "phase" in modes.head else ""
    lead = "Modes of the task: strength s, input variance d"
    if "coordinate" in modes.head:
        lead = (
            "Coordinates of the task: cross moment s of target and input, second moment d of the "
            f"input, weights at the start{of_it}"
        )
    if "|p|" in modes.head:
        lead += f", lengths |p| and |q| of the input side and the output side at the start{of_it}"
    elif "a0" in modes.head:
        lead += ", amplitudes a0 and b0 of the input side and the output side at the start"
    rest = f"\n\nand {modes.more} more." if modes.more else ""
    return f"{prose(lead, names)}.\n\n\\nopagebreak\n{body}{rest}"


def _cell(value: Any, names: Mapping[Any, str]) -> str:
    if value == "":
        return ""
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
