"""The table of what was assumed: law, assumption, distance, verdict."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from symkernel.formula import Verdict
from symkernel.tables import as_html, as_markdown, as_text

HEAD = ("law", "assumption", "distance", "tolerance", "verdict")
# A law whose violations are smaller than this is named as a near miss.
_NEAR = 0.1
# More laws than these are counted, not named, before an advice.
_MOST_NAMES = 3
# Letters of an assumption on one line of the printed table.
_WIDEST = 72


@dataclass(frozen=True, repr=False)
class Assumptions(Sequence[Verdict]):
    """What was tested, law by law, in the order of the catalogue; a sequence of `Verdict`.

    Of the law in use the table shows all assumptions, of those that were tried before it the ones
    that fail, and it names the laws that were not tried.

    Attributes
    ----------
    verdicts : tuple of Verdict
        Everything that was tested, whether it is shown or not.
    chosen : str or None
        The law in use; None if there is none.
    untried : tuple of str
        Laws that were not tested.
    asked : bool
        Whether one law was asked for by name.
    remark : str
        What the law in use has to say besides.

    Examples
    --------
    >>> import symkernel as sk
    >>> task = sk.Task.from_modes([2.0, 1.0])
    >>> net = sk.Network.two_layer(inputs=2, hidden=3, outputs=2)
    >>> d = sk.derive(net, task, sk.weights.aligned(net, task, a=0.1, b=0.3))
    >>> assert all(verdict.holds for verdict in d.assumptions)
    >>> assert "gram_diagonal" in d.assumptions.untried
    """

    verdicts: tuple[Verdict, ...]
    chosen: str | None = None
    untried: tuple[str, ...] = ()
    asked: bool = False
    remark: str = ""

    @overload
    def __getitem__(self, index: int) -> Verdict: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Verdict, ...]: ...
    def __getitem__(self, index: int | slice) -> Verdict | tuple[Verdict, ...]:
        return self.verdicts[index]

    def __len__(self) -> int:
        return len(self.verdicts)

    @property
    def shown(self) -> tuple[Verdict, ...]:
        """What the table shows: all of the law in use or asked for, then of others what fails."""
        mine = [v for v in self if self.asked or v.law == self.chosen]
        return (*mine, *(v for v in self if v not in mine and not v.stands))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why the law in use is worth nothing here though it can be derived."""
        return tuple(v.warning for v in self if v.law == self.chosen and v.warning)

    @property
    def caveat(self) -> str:
        """What is to be said where an assumption of the law in use is violated; else empty."""
        violated = [v for v in self if v.law == self.chosen and v.is_violated]
        if not violated:
            return ""
        worst = max(v.distance for v in violated)
        count = "one assumption" if len(violated) == 1 else f"{len(violated)} assumptions"
        return f"an approximation, not exact: {count} violated, by {worst:.2g} at most"

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The table: law, assumption, distance, tolerance, verdict; the law in its first row."""
        out: list[tuple[str, ...]] = []
        before = ""
        for v in self.shown:
            exact = "exact" if v.tolerance == 0 else f"{v.tolerance:.2g}"
            law = v.law if v.law != before else ""
            out.append((law, v.assumption, f"{v.distance:.2g}", exact, v.word))
            before = v.law
        return out

    @property
    def notes(self) -> tuple[str, ...]:
        """What is said under the table: laws that were not tried, a near miss, what would help."""
        why = "one law was asked for" if self.asked else f"'{self.chosen}' comes before them"
        if not self.asked and not self.chosen:
            why = "they are approximations, which linear networks get by name alone (law=...)"
        names = ", ".join(self.untried)
        untried = (f"not tried, because {why}: {names}",) if self.untried else ()
        advice = self._advice() if self.chosen is None else ()
        remark = (self.remark,) if self.remark else ()
        return (*untried, *self._near_misses(), *advice, *remark)

    def _near_misses(self) -> Iterator[str]:
        for law in dict.fromkeys(v.law for v in self):
            failing = [v for v in self if v.law == law and not v.stands]
            worst = max((v.distance if v.tolerance else math.inf for v in failing), default=0.0)
            if 0 < worst <= _NEAR:
                yield (
                    f"near miss: '{law}' is violated by {worst:.2g} at most; law={law!r} with "
                    f"tolerance={_rounded_up(worst)} accepts that, and sk.check measures its cost"
                )

    def _advice(self) -> Iterator[str]:
        """Yield each advice once, with the laws that give it."""
        laws: dict[str, dict[str, None]] = {}
        for v in self:
            if not v.stands and v.advice:
                laws.setdefault(v.advice, {})[v.law] = None
        for advice, names in laws.items():
            who = ", ".join(names) if len(names) <= _MOST_NAMES else f"{len(names)} laws"
            yield f"{who}: {advice}"

    def __str__(self) -> str:
        return "\n".join(
            [as_text(HEAD, self.rows, widest=_WIDEST), *(f"  {note}" for note in self.notes)]
        )

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{html.escape(note, quote=False)}</p>" for note in self.notes)
        return as_html(HEAD, self.rows) + notes

    def _repr_markdown_(self) -> str:
        return "\n".join([as_markdown(HEAD, self.rows), "", *(f"- {note}" for note in self.notes)])


def _rounded_up(value: float) -> str:
    """Return a number of two digits that is not smaller."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / step) * step:.2g}"
