"""Trainings of the multitasking study in a sweep: two workers against one."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import symkernel as sk
from benchmarks.table import Row, rates
from symkernel.studies.cells import trained
from symkernel.studies.setting import Setting

CELLS, TARGET = 16, 1.8


def run() -> list[Row]:
    seeds = itertools.count(0, CELLS)
    with tempfile.TemporaryDirectory() as folder:

        def by(workers: int) -> Callable[[], object]:
            def run() -> object:
                first = next(seeds)
                grid = {**Setting().axes, "scale": [0.3], "curriculum": ["single, concurrent"],
                        "seed": list(range(first, first + CELLS))}  # fmt: skip
                return sk.sweep(trained, grid, Path(folder), n_jobs=workers, progress=False)

            return run

        found = rates(CELLS, {"one": by(1), "two": by(2)}, 5)
    what = f"{CELLS} trainings of 1000 + 600 steps, 2 workers"
    return [Row(what, "cells/s", found["two"], "1 worker", found["one"], TARGET)]
