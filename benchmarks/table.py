"""Runs in alternation, and the table they are printed in."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One comparison: how much is done in a second, by us and by others."""

    what: str
    unit: str
    ours: float
    peer: str = ""
    theirs: float | None = None
    target: float | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.theirs is None else self.ours / self.theirs


def rates(
    work: float,
    routines: Mapping[str, Callable[[], object]],
    rounds: int = 7,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median rates (work in a second); routines take turns, so that all see the same noise.

    With `time.process_time` as the clock, seconds are those of all threads together.
    """
    for routine in routines.values():
        routine()
    seconds: dict[str, list[float]] = {name: [] for name in routines}
    for _ in range(rounds):
        for name, routine in routines.items():
            begin = clock()
            routine()
            seconds[name].append(clock() - begin)
    return {name: work / statistics.median(found) for name, found in seconds.items()}


def shown(value: float | None) -> str:
    if value is None:
        return "-"
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def print_rows(rows: list[Row]) -> None:
    print(f"{'':56}{'ours':>9}{'theirs':>9}{'ratio':>8}{'target':>8}   unit, peer")
    for row in rows:
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        target = "-" if row.target is None else f">= {row.target:g}"
        missed = row.ratio is not None and row.target is not None and row.ratio < row.target
        print(
            f"{row.what:56}{shown(row.ours):>9}{shown(row.theirs):>9}{ratio:>8}{target:>8}"
            f"   {row.unit}, {row.peer or 'no peer'}{'   MISSED' if missed else ''}"
        )
