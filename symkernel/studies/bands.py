"""What the published settings must reproduce, as bands of simulation and of theories."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from symkernel.studies.comparison import Comparison
from symkernel.studies.setting import Setting

# Means of a cell by curriculum, scale and name of the measure; of `acc` with the number of tasks.
Mean = Callable[..., float]
_SHARED = 0.1
_ORDER = "single, concurrent", "concurrent, single"


@dataclass(frozen=True)
class Band:
    """One number and where it must lie.

    Attributes
    ----------
    what : str
    value : float
        nan where the cells failed, which is not within any band.
    low, high : float
    """

    what: str
    value: float
    low: float = -np.inf
    high: float = np.inf

    @property
    def holds(self) -> bool:
        """Whether the number lies within its band."""
        return bool(self.low <= self.value <= self.high)

    def __str__(self) -> str:
        bounds = [f">= {self.low:g}"] if np.isfinite(self.low) else []
        bounds += [f"<= {self.high:g}"] if np.isfinite(self.high) else []
        verdict = "held" if self.holds else "NOT held"
        return f"{verdict:8}  {self.what}: {self.value:.4g} ({' and '.join(bounds)})"


def has_bands(setting: Setting) -> bool:
    """Whether a setting is the one that the bands are for."""
    return setting == Setting()


# Theories, the scales from which to which each is to be good, and how good.
_FORESEEN = (("relinearised", 0.5, 2.0, 0.98), ("quotient", _SHARED, _SHARED, 0.99))


def bands(mean: Mean, scales: tuple[float, ...], curricula: tuple[str, ...]) -> Iterator[Band]:
    """Yield the bands of all cells that there are."""
    small, large = _SHARED in scales, 2.0 in scales
    if "single" in curricula and small:
        where = f"scale {_SHARED:g}, single"
        yield Band(f"{where}, S", mean("single", _SHARED, "S"), low=0.8)
        for K, low, high in ((1, 1.0, 1.0), (2, 0.30, 0.42), (3, 0.09, 0.16)):
            yield Band(f"{where}, acc_{K}", mean("single", _SHARED, "acc", K), low, high)
    if "single" in curricula and large:
        yield Band("scale 2, single, S", mean("single", 2.0, "S"), high=0.3)
        for K, low in ((2, 0.97), (3, 0.7)):
            yield Band(f"scale 2, single, acc_{K}", mean("single", 2.0, "acc", K), low)
    if "concurrent" in curricula:
        for scale in scales:
            where = f"scale {scale:g}, concurrent"
            yield Band(f"{where}, S", mean("concurrent", scale, "S"), high=0.15)
            for K in (2, 3):
                found = mean("concurrent", scale, "acc", K)
                yield Band(f"{where}, acc_{K}", found, 1.0, 1.0)
    if small and set(_ORDER) <= set(curricula):
        first, second = (mean(name, _SHARED, "S") for name in _ORDER)
        yield Band(
            f"scale {_SHARED:g}, S of single first less concurrent first", first - second, low=0.15
        )


def foreseen_bands(comparisons: Iterable[Comparison]) -> Iterator[Band]:
    """Yield the bands of theories on single tasks: of the seed on which each is worst."""
    for one in comparisons:
        for name, first, last, low in _FORESEEN:
            if one.curriculum == "single" and one.name == name and first <= one.scale <= last:
                where = f"scale {one.scale:g}, single, {one.title}, similarities of the worst seed"
                yield Band(where, float(one.similarities.min()), low)
