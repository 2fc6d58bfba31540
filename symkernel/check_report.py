"""Pure data: what a check found, rung by rung."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from symkernel.formula import Step
from symkernel.tables import as_html


@dataclass(frozen=True)
class Rung:
    """One rung of the ladder: passed, failed, or (None) not climbed, with its figure.

    What is measured without a bound that it could pass is neither passed nor failed.
    """

    number: int
    title: str
    passed: bool | None
    figure: str
    bound: str = ""
    measured: bool = False

    def __post_init__(self) -> None:
        if self.passed is not None:
            object.__setattr__(self, "passed", bool(self.passed))

    @property
    def word(self) -> str:
        """The outcome in a word."""
        if self.measured:
            return "measured"
        return {True: "passed", False: "FAILED", None: "not climbed"}[self.passed]


@dataclass(frozen=True, repr=False)
class CheckReport:
    """Which rungs were climbed, with what figures.

    Attributes
    ----------
    subject : str
        What was checked.
    rungs : tuple of Rung
    derivation : object
        The derivation that was checked.
    notes : tuple of str
        What would explain a failure.
    """

    subject: str
    rungs: tuple[Rung, ...]
    derivation: Any = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    @classmethod
    def of_steps(cls, subject: str, steps: Iterable[Step]) -> CheckReport:
        """Return what the checks of the steps of a derivation find, a rung for each step."""
        found = [(step.title, step.check()) for step in steps]
        rungs = (Rung(k, title, e.passed, e.figure) for k, (title, e) in enumerate(found, 1))
        return cls(subject, tuple(rungs))

    @property
    def passed(self) -> bool:
        """Whether nothing failed and something was climbed."""
        climbed = [rung.passed for rung in self.rungs if rung.passed is not None]
        return bool(climbed) and all(climbed)

    @property
    def _notice(self) -> tuple[str, ...]:
        """Why the law that was checked is worth nothing for its problem, if so."""
        tested = getattr(self.derivation, "assumptions", None)
        return () if tested is None else tested.warnings

    def __str__(self) -> str:
        width = max((len(rung.title) for rung in self.rungs), default=0)
        lines = [f"Check of {self.subject}", *(f"  {notice}" for notice in self._notice)]
        for rung in self.rungs:
            bound = f"  [{rung.bound}]" if rung.bound else ""
            lines.append(
                f"  {rung.number}  {rung.title:<{width}}  {rung.word:<11}  {rung.figure}{bound}"
            )
        lines.append("  all climbed rungs passed" if self.passed else "  NOT passed")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    def latex(self, names: Mapping[str, str] | None = None) -> str:
        """Return the table of rungs as a LaTeX ``tabular``; it needs no package."""
        from symkernel.report.latex import check_table

        return check_table(self, names)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        head = ("rung", "what", "", "measured", "bound")
        rows = ((str(r.number), r.title, r.word, r.figure, r.bound) for r in self.rungs)
        notes = "".join(f"<p>Note: {html.escape(note)}.</p>" for note in self.notes)
        subject = "<br>".join(html.escape(line) for line in (self.subject, *self._notice))
        return f"<p>Check of {subject}</p>{as_html(head, rows)}{notes}"


class Documented:
    """What `latex` returns as a whole document, written to a file."""

    def latex(self, names: Mapping[str, str] | None = None) -> str:
        """Return a LaTeX document."""
        raise NotImplementedError

    def save_latex(self, path: str | Path, names: Mapping[str, str] | None = None) -> Path:
        """Write the document to a file, whole or not at all, and return its path.

        Parameters
        ----------
        path : str or Path
        names : mapping of str to str, optional
            LaTeX for the identifiers of symbols.
        """
        from symkernel.report.files import save

        return save(self.latex(names), path)
