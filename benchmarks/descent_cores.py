"""Gradient descent on all cores: one network by blocks of samples, many networks at once."""

from __future__ import annotations

from benchmarks.descent import ENSEMBLE_TARGETS, TARGETS, Peer, compare, compare_ensemble
from benchmarks.table import Row


def run() -> list[Row]:
    peer = Peer()
    rows = [row for phi in TARGETS["medium"] for row in compare(peer, "medium", phi, 600, 5)]
    rows += [row for phi in TARGETS["large"] for row in compare(peer, "large", phi, 10, 3)]
    rows += [compare_ensemble(peer, phi) for phi in ENSEMBLE_TARGETS]
    return rows
