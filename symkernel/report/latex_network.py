r"""What a network computes, as a formula in LaTeX, and on how many samples it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy as sp

from symkernel import typesetting
from symkernel.problem.activation import ACTIVATIONS, ARGUMENT, Activation
from symkernel.problem.nodes import Apply, Bias, Gate, Input, Linear, Node, Parameter, Slice, Sum
from symkernel.problem.problem import Problem
from symkernel.problem.scalars import as_sympy

_Z = sp.Symbol("z")


def network_lines(problem: Problem, names: Mapping[Any, str] | None) -> list[str]:
    """Return the network's formula for one input, its activations, and the number of samples."""
    net = problem.network
    # LaTeX has an operator for tanh, and the identity leaves no trace.
    named = [phi for phi in net.activations if not phi.is_linear and phi != ACTIVATIONS["tanh"]]
    letters = {phi: r"\phi" if len(named) == 1 else rf"\phi_{{{k}}}"
               for k, phi in enumerate(named, 1)}  # fmt: skip
    # On a line of its own, to which it is scaled if it is longer.
    whole = rf"Network:\\\symkernelfit{{f(x) = {_formula(net.output, letters, names)}}}"
    shown = [
        f"${letter}(z) = {typesetting.latex(phi.expression.xreplace({ARGUMENT: _Z}), None)}$"
        for phi, letter in letters.items()
    ]
    lines = [rf"{whole}\\with {', '.join(shown)}." if shown else whole]
    (first, *later) = (phase.task for phase in problem.curriculum.phases)
    # Of a curriculum the phases say it.
    return lines if later or first.X is None else [*lines, f"Samples: {len(first.X)}."]


def _formula(
    node: Node,
    letters: Mapping[Activation, str],
    names: Mapping[Any, str] | None,
    bracket: bool = False,
) -> str:
    """Return a node as a formula, in brackets where a sum or a gate is a factor."""

    def inner(child: Node, bracket: bool = False) -> str:
        return _formula(child, letters, names, bracket)

    match node:
        case Input():
            return "x"
        case Linear(parameter=p, child=child):
            times = "" if p.kind == "dense" else r"\odot "
            return f"{_parameter(p, names)} {times}{inner(child, True)}"
        case Bias(parameter=p):
            return _parameter(p, names)
        case Apply(activation=phi, child=child):
            if phi.is_linear:
                return inner(child, bracket)
            letter = letters.get(phi, r"\tanh")
            return rf"{letter}\left({inner(child)}\right)"
        case Slice(start=start, stop=stop, child=child):
            first, last = (typesetting.latex(as_sympy(n), names) for n in (start, stop))
            return rf"{inner(child, True)}_{{[{first}:{last}]}}"
        case Gate(name=name, child=child):
            text = rf"{typesetting.latex(sp.Symbol(name), names)} \odot {inner(child, True)}"
        case Sum(terms=terms):
            text = " + ".join(inner(term) for term in terms).replace("+ -", "-")
        case _:
            raise AssertionError(node)
    return rf"\left({text}\right)" if bracket else text


def _parameter(p: Parameter, names: Mapping[Any, str] | None) -> str:
    return typesetting.latex(as_sympy(p.scale) * sp.MatrixSymbol(p.name, 1, 1), names)
