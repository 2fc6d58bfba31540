"""Whether a claim holds in a setting, from differences between trainings that share a seed.

A difference is judged by its confidence interval: the claim holds where the whole interval is above
5 % of the irrelevant label's entropy, it holds weakly where it is above 0, it does not hold where
it is below these 5 %, and it is undecided otherwise. Trainings that failed look like minimal
representations and are left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from scipy import stats

from symkernel.studies.decisions.found import Found
from symkernel.studies.decisions.measures import NOISES

HOLDS, WEAKLY, UNDECIDED, FAILS = "holds", "holds weakly", "undecided", "does not hold"
UNJUDGED = "not judged"
CLAIMS = {
    1: "noisier descent leaves less that is irrelevant",
    2: "what is irrelevant is encoded first and discarded later",
    3: "pretraining on what is irrelevant leaves more of it",
}
LEVEL = 0.95
# Of the irrelevant label's entropy: smaller differences are of no interest, however sure.
SMALLEST = 0.05
# A training has learned that holds so much of the relevant bits of the best one, and of entropy.
_OF_BEST, _OF_ENTROPY = 0.8, 0.1
_FEWEST_SEEDS = 3


@dataclass(frozen=True)
class Paired:
    """A mean difference over seeds, in bits.

    Attributes
    ----------
    difference, low, high : float
        With its confidence interval by Student's t.
    effect : float
        Difference by the standard deviation of the differences.
    """

    difference: float
    low: float
    high: float
    effect: float

    @property
    def interval(self) -> str:
        """The difference and its confidence interval, as tables show them."""
        return f"{self.difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"

    def __str__(self) -> str:
        return f"{self.interval} bits, d = {self.effect:.1f}"


@dataclass(frozen=True)
class Verdict:
    """A claim in a setting, under one noise of the measurement.

    Attributes
    ----------
    claim : int
        Of `CLAIMS`.
    setting, noise : str
    words : str
        "holds", "holds weakly", "undecided", "does not hold" or "not judged".
    found : Paired or None
        The difference that the verdict rests on; the claim says that it is positive.
    about : str
        What was compared, and what else there is to say.
    """

    claim: int
    setting: str
    noise: str
    words: str
    found: Paired | None
    about: str

    def __str__(self) -> str:
        numbers = "" if self.found is None else f"{self.found}; "
        return f"{self.words}: {numbers}{self.about}"


def paired(more: np.ndarray, less: np.ndarray) -> Paired | None:
    """Return the mean of differences over seeds; None if fewer than 3 were computed."""
    gaps = (more - less)[~np.isnan(more - less)]
    if len(gaps) < _FEWEST_SEEDS:
        return None
    mean, deviation = float(gaps.mean()), float(gaps.std(ddof=1))
    if deviation <= 1e-12 * max(abs(mean), 1e-300):
        return Paired(mean, mean, mean, float(np.sign(mean)) * np.inf if mean else 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        bounds = stats.ttest_1samp(gaps, 0.0).confidence_interval(LEVEL)
    return Paired(mean, float(bounds.low), float(bounds.high), mean / deviation)


def judged(found: Paired | None, smallest: float) -> str:
    """Return the verdict on a difference that is said to be positive."""
    if found is None:
        return UNJUDGED
    if found.low > 0:
        return HOLDS if found.low > smallest else WEAKLY
    return FAILS if found.high < smallest else UNDECIDED


def learned(found: Found, relevant: np.ndarray, best: float) -> np.ndarray:
    """Return which trainings hold the relevant label, from bits (..., n_seeds) without noise."""
    least = max(_OF_BEST * best, _OF_ENTROPY * found.entropy["relevant"])
    kept: np.ndarray = _mean(relevant) >= least
    return kept


def _mean(values: np.ndarray) -> np.ndarray:
    """Return means over seeds that were computed, nan without any."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(-1)
    return np.where(known.any(-1), total / np.maximum(known.sum(-1), 1), np.nan)


def verdicts(found: Found) -> Iterator[Verdict]:
    """Yield what is to be said of a setting: claim by claim, under every noise."""
    if len(found.setting.descents) > 1:
        yield from (first_claim(found, noise) for noise in NOISES)
    if found.watched is not None:
        yield from (second_claim(found, noise) for noise in NOISES)
    if found.pretrainings is not None:
        yield from (third_claim(found, noise) for noise in NOISES)


def _unjudged(claim: int, found: Found, noise: str, about: str) -> Verdict:
    return Verdict(claim, found.setting.name, noise, UNJUDGED, None, about)


def smallest_of(found: Found) -> float:
    """Return the smallest difference of interest, in bits."""
    return SMALLEST * found.entropy["irrelevant"]


# Noise ------------------------------------------------------------------------------------------


def trained_descents(found: Found) -> np.ndarray:
    """Return which of the setting's descents learned the task, (n_descents,)."""
    relevant = found.bits("trainings", "relevant", "n0")[..., -1]
    means = _mean(relevant)
    if np.isnan(means).all():
        return np.zeros(len(means), dtype=bool)
    return learned(found, relevant, float(np.nanmax(means)))


def first_claim(found: Found, noise: str) -> Verdict:
    """Compare the least noisy descent that learned with the noisiest one that did."""
    descents, good = found.setting.descents, trained_descents(found)
    end = found.bits("trainings", noise=noise)[..., -1]
    order = sorted(map(int, np.flatnonzero(good)), key=lambda k: descents[k].noise)
    failed = [str(one) for one, fine in zip(descents, good, strict=True) if not fine]
    words = f"training failed at {', '.join(failed)}" if failed else ""
    if not order or descents[order[0]].noise == descents[order[-1]].noise:
        return _unjudged(1, found, noise, words or "all descents are equally noisy")
    low, high = order[0], order[-1]
    result = paired(end[low], end[high])
    said = [f"{descents[low]} less {descents[high]}"]
    slope = _slope(np.log10([descents[k].noise for k in order]), end[order])
    if slope is not None:
        said.append(f"slope {slope.interval} a decade")
    said += _alike(found, order, end)
    said += [words] if words else []
    verdict = judged(result, smallest_of(found))
    return Verdict(1, found.setting.name, noise, verdict, result, "; ".join(said))


def _slope(x: np.ndarray, y: np.ndarray) -> Paired | None:
    """Return the slope of y, (n_cells, n_seeds), in x, by least squares in every seed."""
    away = x - x.mean()
    return paired(away @ y / (away @ away), np.zeros(y.shape[1]))


def _alike(found: Found, order: list[int], end: np.ndarray) -> list[str]:
    """Say how far descents of one noise differ: it is what controls if they do not."""
    descents = found.setting.descents
    gaps = [
        (paired(end[j], end[k]), f"{descents[j]} less {descents[k]}")
        for j, k in combinations(order, 2)
        if np.isclose(descents[j].noise, descents[k].noise, rtol=1e-9)
    ]
    known = [(one, words) for one, words in gaps if one is not None]
    if not known:
        return []
    one, words = max(known, key=lambda pair: abs(pair[0].difference))
    return [f"of one noise, most apart: {words} {one.interval}"]


# Through training ---------------------------------------------------------------------------------


def second_claim(found: Found, noise: str) -> Verdict:
    """Compare a peak with the start and with the end; its time is that of the other seeds' mean.

    The claim has two parts, and its verdict is that of the weaker one.
    """
    curves = found.bits("watched", noise=noise)[0]
    relevant = found.bits("watched", "relevant", "n0")[0, :, -1]
    if not learned(found, relevant, float(_mean(relevant))):
        return _unjudged(2, found, noise, "training failed")
    known = curves[~np.isnan(curves).any(axis=1)]
    if len(known) < _FEWEST_SEEDS:
        return _unjudged(2, found, noise, f"fewer than {_FEWEST_SEEDS} seeds")
    others = (known.sum(axis=0) - known) / (len(known) - 1)
    peaks = known[np.arange(len(known)), others.argmax(axis=1)]
    rise, fall = paired(peaks, known[:, 0]), paired(peaks, known[:, -1])
    smallest = smallest_of(found)
    up, down = judged(rise, smallest), judged(fall, smallest)
    assert found.watched is not None
    times = found.watched["time"][0, 0]
    when = times[known.mean(axis=0).argmax()]
    said = (
        f"fall from t = {when:g} to {times[-1]:g} at {found.watched.grid['descent'][0]}: {down}; "
        f"rise before it: {up}, {rise}"
    )
    words = min(up, down, key=(FAILS, UNDECIDED, WEAKLY, HOLDS).index)
    return Verdict(2, found.setting.name, noise, words, fall, said)


# Pretraining --------------------------------------------------------------------------------------


def third_claim(found: Found, noise: str) -> Verdict:
    """Compare the shortest pretraining with none, the first read-out first; name the others.

    What is judged is fixed beforehand: the best of several would need wider intervals.
    """
    assert found.pretrainings is not None
    grid = found.pretrainings.grid
    epochs, readouts = grid["epochs"], grid["readout"]
    end = found.bits("pretrainings", noise=noise)[..., -1]
    relevant = found.bits("pretrainings", "relevant", "n0")[..., -1]
    none = epochs.index(0)
    good = learned(found, relevant, float(_mean(relevant[none]).max()))
    others = sorted(k for k in range(len(epochs)) if k != none)
    pairs = sorted(product(others, range(len(readouts))), key=lambda pair: epochs[pair[0]])
    if not pairs or not good[none].all():
        why = "training failed without pretraining" if pairs else "no pretraining"
        return _unjudged(3, found, noise, why)
    compared = [
        (paired(end[j, k], end[none, k]), f"{epochs[j]} {readouts[k]}", bool(good[j, k]))
        for j, k in pairs
    ]
    first, cell, fine = compared[0]
    said = [f"{cell} less none"]
    for other, name, learns in compared[1:]:
        numbers = "failed" if other is None else f"{other.difference:+.2f}"
        numbers += "" if other is None else f" [{other.low:+.2f}, {other.high:+.2f}]"
        said.append(f"{name} {numbers if learns else 'task not learned'}")
    if not fine:
        return _unjudged(3, found, noise, f"task not learned after {'; '.join(said)}")
    verdict = judged(first, smallest_of(found))
    return Verdict(3, found.setting.name, noise, verdict, first, "; ".join(said))
