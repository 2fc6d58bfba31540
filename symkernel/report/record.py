"""The record of a derivation as JSON: what was assumed, what came out, what the checks found."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symkernel import __version__
from symkernel.check_report import CheckReport
from symkernel.formula import Formula
from symkernel.report.files import save

if TYPE_CHECKING:
    from symkernel.derivation import Derivation
    from symkernel.problem.problem import Problem
    from symkernel.trajectory import Trajectory

Claims = Sequence[tuple[str, bool, str]]


def record(derivation: Derivation, claims: Claims = ()) -> dict[str, Any]:
    """Return what JSON can hold of a derivation, of its checks and of claims beside it.

    Parameters
    ----------
    derivation : Derivation
        If it was checked, every rung is part of the record; else ``"report"`` is None.
    claims : sequence of (title, holds, what was found)
        Claims of a published source that were tested.

    Examples
    --------
    >>> import symkernel as sk
    >>> from symkernel.report.record import record
    >>> task = sk.Task.from_modes([2.0, 1.0])
    >>> net = sk.Network.two_layer(inputs=2, hidden=3, outputs=2)
    >>> d = sk.derive(net, task, sk.weights.aligned(net, task, a=0.1, b=0.3))
    >>> assert record(d)["law"]["name"] == "aligned_modes" and record(d)["report"] is None
    """
    law = derivation.law
    return {
        "symkernel": __version__,
        "law": {
            "name": law.name,
            "title": law.title,
            "rank": derivation.rank,
            "sources": [str(citation) for citation in law.citations],
        },
        "approximation": derivation.caveat or None,
        "conventions": list(derivation.conventions),
        "weights": derivation.problem.weights.provenance,
        "assumptions": [
            {
                "law": verdict.law,
                "assumption": verdict.assumption,
                "holds": verdict.holds,
                "distance": finite(verdict.distance),
                "tolerance": verdict.tolerance,
                "accepted": verdict.accepted,
            }
            for verdict in derivation.assumptions
        ],
        "untried": list(derivation.assumptions.untried),
        "steps": [step.title for step in derivation.steps],
        "formulas": [formula_record(formula) for formula in derivation.formulas],
        "report": None if derivation.report is None else report_record(derivation.report),
        "claims": claims_record(claims),
    }


def laws_record(reports: Mapping[str, CheckReport], draws: int, seed: int) -> dict[str, Any]:
    """Return what the catalogue says of the last check of every law."""
    return {
        "symkernel": __version__,
        "draws": draws,
        "seed": seed,
        "laws": {name: report_record(report) for name, report in reports.items()},
    }


def simulation_record(problem: Problem, run: Trajectory) -> dict[str, Any]:
    """Return what JSON can hold of a simulation: its conventions, times, steps and losses.

    Parameters
    ----------
    problem : Problem
        What was simulated.
    run : Trajectory
        What `symkernel.simulate` returned for it.
    """
    return {
        "symkernel": __version__,
        "conventions": list(problem.conventions),
        "weights": problem.weights.provenance,
        "times": run.times.tolist(),
        "steps": [] if run.steps is None else run.steps.tolist(),
        "loss": run.loss.tolist(),
    }


def save_record(data: Mapping[str, Any], path: str | Path) -> Path:
    """Write a record as JSON, whole or not at all."""
    return save(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n", path)


def claims_record(claims: Claims) -> list[dict[str, Any]]:
    """Return what JSON can hold of claims that were judged."""
    return [{"title": title, "holds": holds, "found": found} for title, holds, found in claims]


def formula_record(formula: Formula) -> dict[str, Any]:
    """Return what JSON can hold of a formula, as text."""
    return {
        "name": formula.name,
        "symbol": str(formula.symbol),
        "expression": str(formula.expression),
        "where": {str(symbol): str(meaning) for symbol, meaning in formula.where},
    }


def report_record(report: CheckReport) -> dict[str, Any]:
    """Return what JSON can hold of the outcome of checks, rung by rung."""
    rungs = [
        {
            "number": rung.number,
            "title": rung.title,
            "passed": rung.passed,
            "figure": rung.figure,
            "bound": rung.bound,
            "measured": rung.measured,
        }
        for rung in report.rungs
    ]
    return {
        "subject": report.subject,
        "passed": report.passed,
        "rungs": rungs,
        "notes": list(report.notes),
    }


def finite(value: float) -> float | None:
    """Return the number; None stands for infinity, which JSON does not have."""
    return float(value) if math.isfinite(value) else None
