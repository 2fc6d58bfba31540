"""An earlier simulation of the default settings, by other code with other draws, as bands.

Each entry is a mean over eight seeds and its standard deviation; a band is two of these wide on
either side, and of 0.02 at least, the sampling error of 2000 probes. Where there is a mean alone,
the standard deviation over the seeds that are judged is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from symkernel.studies.bands import Band
from symkernel.studies.decisions.found import Found
from symkernel.studies.decisions.setting import INFORMATION_SETTINGS

Entry = tuple[float, float | None]
_LEAST = 0.02
_RELU_NOISY, _RELU_CLEAN, _TANH, _DIGITS_NOISY, _DIGITS_CLEAN, _DIGITS_TANH, _, _RANDOM = (
    one.name for one in INFORMATION_SETTINGS
)

# Irrelevant bits of the last hidden layer at the end, by descent: rel.3, and n0.
_NOISE: dict[str, dict[str, tuple[Entry, Entry]]] = {
    _RELU_NOISY: {
        "0.05/16": ((0.66, 0.10), (0.77, 0.02)), "0.2/64": ((0.70, 0.07), (0.77, 0.02)),
        "0.1/64": ((0.72, 0.03), (0.78, 0.01)), "0.1/16": ((0.62, 0.11), (0.76, 0.03)),
        "0.1/4": ((0.28, 0.14), (0.58, 0.13)), "0.05/4": ((0.48, 0.11), (0.68, 0.13)),
        "0.2/16": ((0.54, 0.13), (0.72, 0.10)), "0.2/4": ((0.13, 0.22), (0.23, 0.25)),
    },
    _RELU_CLEAN: {
        "0.05/16": ((0.70, 0.04), (0.79, None)), "0.2/64": ((0.70, 0.05), (0.79, None)),
        "0.05/4": ((0.69, 0.05), (0.79, None)), "0.2/16": ((0.71, 0.03), (0.79, None)),
        "0.2/4": ((0.67, 0.04), (0.79, None)),
    },
    _TANH: {
        "0.05/16": ((0.37, 0.23), (0.78, 0.02)), "0.2/64": ((0.38, 0.25), (0.78, 0.02)),
        "0.5/64": ((0.31, 0.26), (0.75, 0.06)), "0.05/4": ((0.28, 0.24), (0.75, 0.06)),
        "0.2/16": ((0.28, 0.24), (0.74, 0.07)), "0.5/16": ((0.17, 0.22), (0.61, 0.18)),
        "0.2/4": ((0.14, 0.18), (0.58, 0.25)),
    },
    _DIGITS_NOISY: {
        "0.1/64": ((1.18, 0.11), (1.42, None)), "0.05/16": ((1.17, 0.10), (1.32, None)),
        "0.1/16": ((1.11, 0.17), (1.30, None)), "0.05/4": ((0.99, 0.15), (1.26, None)),
        "0.1/4": ((0.81, 0.15), (1.04, None)),
    },
    _DIGITS_CLEAN: {
        "0.1/64": ((1.33, 0.11), (1.64, None)), "0.05/16": ((1.32, 0.09), (1.64, None)),
        "0.1/16": ((1.35, 0.16), (1.70, None)), "0.05/4": ((1.29, 0.16), (1.63, None)),
        "0.1/4": ((1.28, 0.08), (1.67, None)),
    },
    _DIGITS_TANH: {
        "0.1/64": ((0.73, 0.16), (1.67, None)), "0.05/16": ((0.73, 0.15), (1.66, None)),
        "0.1/16": ((0.69, 0.14), (1.64, None)), "0.05/4": ((0.66, 0.13), (1.63, None)),
        "0.1/4": ((0.69, 0.11), (1.54, None)),
    },
}  # fmt: skip
# Without figures for n0.
_NOISE_RELATIVE: dict[str, dict[str, Entry]] = {
    _RANDOM: {
        "0.1/64": (1.02, 0.15), "0.05/16": (0.97, 0.15), "0.1/16": (0.97, 0.16),
        "0.05/4": (0.96, 0.14), "0.1/4": (0.84, 0.13),
    },
}  # fmt: skip
# Irrelevant bits of the last hidden layer at the start and at the end, by noise.
_THROUGH: dict[str, dict[str, tuple[Entry, Entry]]] = {
    _RELU_NOISY: {"rel.3": ((0.68, None), (0.13, 0.22)), "abs.3": ((0.50, None), (0.06, 0.13))},
    _TANH: {"rel.3": ((0.70, None), (0.34, None)), "abs.3": ((0.09, 0.03), (0.20, 0.21))},
    _DIGITS_TANH: {"rel.3": ((1.78, None), (0.70, 0.15)), "abs.3": ((0.49, None), (0.39, None))},
    _DIGITS_CLEAN: {"rel.3": ((1.25, None), (1.32, None)), "abs.3": ((1.03, None), (1.43, None))},
}
# Irrelevant bits of the last hidden layer after pretraining, by read-out and noise, along epochs.
_PRETRAINED: dict[str, dict[tuple[str, str], Sequence[Entry]]] = {
    _RELU_NOISY: {
        ("kept", "rel.3"): (
            (0.13, 0.22), (0.11, 0.17), (0.16, 0.26), (0.06, 0.12), (0.07, 0.10)
        ),
    },
    _TANH: {
        ("kept", "rel.3"): (
            (0.36, 0.23), (0.75, 0.01), (0.62, 0.19), (0.70, 0.05), (0.27, 0.19)
        ),
        ("kept", "abs.3"): (
            (0.20, 0.21), (0.71, 0.03), (0.48, 0.22), (0.53, 0.12), (0.14, 0.15)
        ),
    },
    _DIGITS_NOISY: {
        ("new", "rel.3"): ((0.89, 0.26), (1.44, 0.19), (1.47, 0.14), (1.49, 0.08)),
    },
    _DIGITS_TANH: {
        ("new", "rel.3"): ((0.75, 0.18), (2.00, 0.08), (2.13, 0.04), (2.17, 0.03)),
    },
}  # fmt: skip


def bands(found: Sequence[Found]) -> Iterator[Band]:
    """Yield the bands of all default settings that there are."""
    for one in found:
        if one.setting in INFORMATION_SETTINGS:
            yield from _noise(one)
            yield from _through(one)
            yield from _pretrained(one)


def _band(what: str, values: np.ndarray, entry: Entry) -> Band:
    """Return a band; values are over seeds, nan where a cell failed, which is within no band."""
    mean, deviation = entry
    wide = 2 * max(float(values.std(ddof=1)) if deviation is None else deviation, _LEAST)
    return Band(what, float(values.mean()), round(mean - wide, 6), round(mean + wide, 6))


def _noise(one: Found) -> Iterator[Band]:
    name = one.setting.name
    entries = [
        (descent, noise, entry)
        for descent, pair in _NOISE.get(name, {}).items()
        for noise, entry in zip(("rel.3", "n0"), pair, strict=True)
    ]
    entries += [(d, "rel.3", entry) for d, entry in _NOISE_RELATIVE.get(name, {}).items()]
    for descent, noise, entry in entries:
        place = one.trainings.grid["descent"].index(descent)
        values = one.bits("trainings", noise=noise)[place, :, -1]
        yield _band(f"{name}, {descent}, {noise}", values, entry)


def _through(one: Found) -> Iterator[Band]:
    for noise, ends in _THROUGH.get(one.setting.name, {}).items():
        values = one.bits("watched", noise=noise)[0]
        for when, place, entry in zip(("start", "end"), (0, -1), ends, strict=True):
            what = f"{one.setting.name}, watched {one.setting.watched}, {noise}, {when}"
            yield _band(what, values[:, place], entry)


def _pretrained(one: Found) -> Iterator[Band]:
    for (readout, noise), entries in _PRETRAINED.get(one.setting.name, {}).items():
        place = one.setting.readouts.index(readout)
        values = one.bits("pretrainings", noise=noise)[:, place, :, -1]
        for epochs, row, entry in zip(one.setting.epochs, values, entries, strict=True):
            what = f"{one.setting.name}, {epochs} epochs ({readout} read-out), {noise}"
            yield _band(what, row, entry)
