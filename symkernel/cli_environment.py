"""What the command line tells of a law that holds for all networks of an environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import sympy as sp

from symkernel import __version__
from symkernel.check_report import CheckReport
from symkernel.formula import Formula, Step
from symkernel.report.glossary import glossary_of
from symkernel.report.record import Claims, claims_record, formula_record, report_record


class EnvironmentLaw(Protocol):
    """A law with symbols for an environment, which is bound to no network and no weights."""

    @property
    def assumed(self) -> tuple[str, ...]:
        """What the law takes for granted."""

    @property
    def chosen(self) -> Mapping[sp.Symbol, str]:
        """Symbols that stand for what the user chooses, with their meanings."""

    @property
    def formulas(self) -> tuple[Formula, ...]:
        """The results."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """The derivation."""

    def check(self) -> CheckReport:
        """Return what the checks find; its `derivation` is the law, or one that carries it."""

    def save_latex(self, path: str | Path, names: Mapping[str, str] | None = None) -> Path:
        """Write the derivation."""


def as_lines(law: EnvironmentLaw, title: str) -> str:
    """Return what the law assumes, its formulas and what their symbols stand for."""
    lines = [title, "", "Assumes", *(f"  {text}" for text in law.assumed)]
    told: set[Any] = set()
    for formula in law.formulas:
        lines += ["", f"{formula.name}", f"  {formula.symbol} = {formula.expression}"]
        new = [pair for pair in formula.where if pair not in told]
        lines += [f"    {symbol} = {meaning}" for symbol, meaning in new]
        told.update(new)
    known = glossary_of(law.formulas, law.steps, law.chosen)
    return "\n".join([*lines, "", "Symbols", *(f"  {q}: {meaning}" for q, meaning in known)])


def record(
    law: EnvironmentLaw, title: str, claims: Claims, report: CheckReport | None
) -> dict[str, Any]:
    """Return what JSON can hold of the law, of its checks and of claims beside it."""
    return {
        "symkernel": __version__,
        "law": {"name": type(law).__name__, "title": title},
        "assumed": list(law.assumed),
        "symbols": {str(symbol): meaning for symbol, meaning in law.chosen.items()},
        "steps": [step.title for step in law.steps],
        "formulas": [formula_record(formula) for formula in law.formulas],
        "report": None if report is None else report_record(report),
        "claims": claims_record(claims),
    }
