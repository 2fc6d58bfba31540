"""All laws at once, with the rungs that they climbed when they were last checked."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any, overload

from symkernel.check_report import Rung
from symkernel.errors import InvalidArgument
from symkernel.formula import Law
from symkernel.tables import as_html, as_markdown

# Written by `symkernel check --all --json`, from reports of checks.
RECORD = "checks.json"
_HEAD = ("law", "network, task and weights", "rank", "source", "rungs climbed")
_LINE = 96


@dataclass(frozen=True, repr=False)
class Catalogue(Sequence[Law]):
    """The laws, in the order in which `derive` tries them; also by name, ``catalogue["..."]``.

    Attributes
    ----------
    laws : tuple of Law

    Examples
    --------
    >>> import symkernel as sk
    >>> laws = sk.catalogue()
    >>> assert laws["aligned_modes"] is laws[0]
    >>> assert [rung.number for rung in laws.rungs["aligned_modes"]] == [1, 2, 3, 4, 5, 6]
    """

    laws: tuple[Law, ...]

    @overload
    def __getitem__(self, index: int | str) -> Law: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Law, ...]: ...
    def __getitem__(self, index: int | slice | str) -> Law | tuple[Law, ...]:
        if not isinstance(index, str):
            return self.laws[index]
        named = {law.name: law for law in self.laws}
        if index not in named:
            raise InvalidArgument(
                f"Argument 'index' must be a position or one of {', '.join(named)}, not {index!r}."
            )
        return named[index]

    def __len__(self) -> int:
        return len(self.laws)

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """What was written when the laws were last checked: version, draws, seed, reports."""
        return json.loads(files(__package__).joinpath(RECORD).read_text(encoding="utf-8"))

    @cached_property
    def rungs(self) -> Mapping[str, tuple[Rung, ...]]:
        """Rungs by the name of the law, with their figures, from when it was last checked."""
        reports = self.record["laws"]
        return {
            law.name: tuple(Rung(**rung) for rung in reports[law.name]["rungs"])
            for law in self.laws
            if law.name in reports
        }

    def climbed(self, name: str) -> str:
        """Return the numbers of the rungs that a law passed when it was last checked."""
        if name not in self.rungs:
            return "not checked yet"
        return ", ".join(str(rung.number) for rung in self.rungs[name] if rung.passed) or "none"

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """A row for each law: name, what it assumes, rank, source, rungs."""
        return [
            (law.name, f"{law.title}. Assumes: {'; '.join(law.assumptions)}", law.rank,
             _sources(law), self.climbed(law.name))
            for law in self.laws
        ]  # fmt: skip

    def __str__(self) -> str:
        return "\n\n".join("\n".join(self._block(law)) for law in self.laws)

    def _block(self, law: Law) -> Iterator[str]:
        yield f"{law.name} [{law.rank}; rungs climbed: {self.climbed(law.name)}]"
        yield f"  {law.title}"
        parts = [("assumes", text) for text in law.assumptions]
        parts += [("gives", ", ".join(law.outputs)), ("source", _sources(law))]
        before = ""
        for word, text in parts:
            lead = f"  {word if word != before else '':<9}"
            yield textwrap.fill(text, _LINE, initial_indent=lead, subsequent_indent=" " * len(lead))
            before = word

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return as_html(_HEAD, self.rows)

    def _repr_markdown_(self) -> str:
        return as_markdown(_HEAD, [(f"`{name}`", *rest) for name, *rest in self.rows])


def _sources(law: Law) -> str:
    listed = (f"{c.key} ({f'arXiv:{c.arxiv}' if c.arxiv else c.venue})" for c in law.citations)
    return "; ".join(listed) or "derived here"
