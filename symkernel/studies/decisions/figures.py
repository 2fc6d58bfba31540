"""The study's figures: over the noise of descent, through training, after pretraining, in a plane.

One figure of each kind for the settings of one family of environments, a column for each setting;
beside trainings stands what is solved in closed form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from symkernel.report.figures import COLOURS, Shown
from symkernel.studies.decisions.found import Found
from symkernel.studies.decisions.measures import NOISES
from symkernel.studies.decisions.setting import KEPT
from symkernel.studies.decisions.theory import (
    foreseen,
    foreseen_by_noise,
    hump,
    is_foreseen,
    memory,
    pruned,
)
from symkernel.studies.decisions.verdicts import trained_descents
from symkernel.studies.measures import mean_and_spread

if TYPE_CHECKING:
    from symkernel.studies.decisions.study import InformationStudy

_SMALL, _NORMAL, _COLUMN, _ROW = 7, 8, 2.35, 1.95
_BY_NOISE = dict(zip(NOISES, COLOURS, strict=False))
# From the first layer to the last one, light to dark.
_LAYERS = ("#E69F00", "#56B4E9", "#CC79A7")
_RELEVANT = "0.45"
_BOUND: Any = {"color": "0.6", "linewidth": 0.6, "linestyle": (0, (1, 2))}


def figures(study: InformationStudy) -> Mapping[str, Figure]:
    """Return the figures that the study's cells allow, by name."""
    drawn: dict[str, Figure] = {}
    for family, settings in _families(study.found):
        several = [one for one in settings if len(one.setting.descents) > 1]
        watched = [one for one in settings if one.watched is not None]
        perturbed = [one for one in settings if one.pretrainings is not None]
        if several:
            drawn[f"noise_{family}"] = noise_panels(several)
        if watched:
            drawn[f"training_{family}"] = training_panels(watched)
            drawn[f"plane_{family}"] = plane_panels(watched)
        if perturbed:
            drawn[f"pretraining_{family}"] = pretraining_panels(perturbed)
    return drawn


def _families(found: Sequence[Found]) -> Iterator[tuple[str, list[Found]]]:
    families: dict[str, list[Found]] = {}
    for one in found:
        families.setdefault(one.setting.environment.split()[0], []).append(one)
    yield from families.items()


# Over the noise of descent ------------------------------------------------------------------------


def noise_panels(settings: Sequence[Found]) -> Figure:
    """Draw the last layer under all noises of the measurement, and all layers under one."""
    figure, panels = _grid(2, len(settings))
    for column, found in zip(panels.T, settings, strict=True):
        descents = found.setting.descents
        order = sorted(range(len(descents)), key=lambda k: descents[k].noise)
        x = np.array([descents[k].noise for k in order])
        good = trained_descents(found)[order]
        for noise, colour in _BY_NOISE.items():
            bits = found.bits("trainings", noise=noise)[order][..., -1].T
            _points(column[0], x, bits, colour, good)
            if is_foreseen(found) and noise != "n0":
                left = foreseen_by_noise(found, noise, [descents[k] for k in order])
                column[0].plot(x, left, color=colour, linestyle=":", linewidth=1)
        for k, colour in _layers(found):
            bits = found.bits("trainings", layer=k)[order][..., -1].T
            _points(column[1], x, bits, colour, good)
        for panel, noise in zip(column, ("n0", "rel.3"), strict=True):
            relevant = found.bits("trainings", "relevant", noise)[order][..., -1].T
            _points(panel, x, relevant, _RELEVANT, good, marker="s")
            _dress(panel, found)
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            panel.xaxis.set_minor_locator(NullLocator())
            panel.set_xlim(x[0] / 1.3, x[-1] * 1.3)
            panel.set_xlabel("learning rate / batch size", fontsize=_NORMAL)
        column[0].set_title(_title(found), fontsize=_SMALL)
    panels[0, 0].set_ylabel("bits, last hidden layer", fontsize=_NORMAL)
    panels[1, 0].set_ylabel("bits, rel.3", fontsize=_NORMAL)
    words = "hollow: task not learned; grey: under n0 above, under rel.3 below"
    if any(map(is_foreseen, settings)):
        words += "; dotted: what the pruning clock leaves"
    _legend(figure, settings, words, marker="o")
    return figure


def _points(
    panel: Axes, x: np.ndarray, bits: np.ndarray, colour: str, good: np.ndarray, marker: str = "o"
) -> None:
    """Draw means over seeds, (n_seeds, n_cells), with their deviations."""
    mean, spread = mean_and_spread(bits)
    panel.errorbar(x, mean, spread, color=colour, linestyle="none", elinewidth=0.7)
    panel.plot(x[good], mean[good], color=colour, marker=marker, markersize=3.5, linewidth=0.9)
    panel.plot(
        x[~good], mean[~good], color=colour, marker=marker, markersize=3.5, linestyle="none",
        markerfacecolor="white",
    )  # fmt: skip


# Through training ---------------------------------------------------------------------------------


def training_panels(settings: Sequence[Found]) -> Figure:
    """Draw all layers through training, a row for each noise; at the right what is solved."""
    figure, panels = _grid(len(NOISES), len(settings) + 1)
    for column, found in zip(panels.T, settings, strict=False):
        assert found.watched is not None
        t = found.watched["time"][0, 0]
        for panel, noise in zip(column, NOISES, strict=True):
            for k, colour in _layers(found):
                _band(panel, t, found.bits("watched", noise=noise, layer=k)[0], colour)
            _band(panel, t, found.bits("watched", "relevant", noise)[0], _RELEVANT, "--")
            if is_foreseen(found) and noise != "n0":
                panel.plot(t, foreseen(found, noise), color="black", linestyle=":", linewidth=1)
            _dress(panel, found)
            _times(panel, t)
        column[0].set_title(f"{_title(found)}\nrate/batch {found.setting.watched}", fontsize=_SMALL)
        column[-1].set_xlabel("learning rate x steps", fontsize=_NORMAL)
    for panel, noise in zip(panels[:, 0], NOISES, strict=True):
        panel.set_ylabel(f"bits, {noise}", fontsize=_NORMAL)
    _solved_hump(panels[0, -1])
    _solved_clock(panels[1, -1])
    panels[2, -1].set_visible(False)
    words = "dashed: relevant, last layer"
    if any(map(is_foreseen, settings)):
        words += "; dotted: what the pruning clock leaves of the peak"
    _legend(figure, settings, words, noises=False, relevant="--")
    return figure


def _band(panel: Axes, x: np.ndarray, bits: np.ndarray, colour: str, style: str = "-") -> None:
    mean, spread = mean_and_spread(bits)
    panel.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
    panel.plot(x, mean, color=colour, linestyle=style, linewidth=1.2)


def _times(panel: Axes, t: np.ndarray) -> None:
    """Show the start beside times that are even in the logarithm."""
    panel.set_xscale("symlog", linthresh=t[1], linscale=0.3)
    panel.set_xlim(0, t[-1])
    decades = 10.0 ** np.arange(np.ceil(np.log10(2 * t[1])), np.log10(t[-1]) + 0.01)
    panel.set_xticks([0.0, *decades], ["0", *(f"{x:g}" for x in decades)])
    panel.xaxis.set_minor_locator(NullLocator())


def _solved_hump(panel: Axes) -> None:
    solved = hump()
    panel.plot(solved.times, solved.irrelevant, color=_LAYERS[2], linewidth=1.2)
    panel.plot(solved.times, solved.relevant, color=_RELEVANT, linestyle="--", linewidth=1.2)
    panel.set_title(
        "one linear layer, Gaussian inputs\nthat are correlated: exact", fontsize=_SMALL
    )
    panel.set_ylabel("bits", fontsize=_NORMAL)
    _times(panel, solved.times)
    panel.set_xlabel("flow time", fontsize=_NORMAL)
    _bare(panel)


def _solved_clock(panel: Axes) -> None:
    clock = np.linspace(0.0, 5.0, 60)
    panel.plot(clock, pruned(0.9, clock), color=_LAYERS[2], linewidth=1.2)
    panel.set_title("two classes, not read out:\nwhat noise leaves, leading order", fontsize=_SMALL)
    panel.set_xlabel("pruning clock X", fontsize=_NORMAL)
    panel.set_ylabel("bits", fontsize=_NORMAL)
    _bare(panel)


# After pretraining --------------------------------------------------------------------------------


def pretraining_panels(settings: Sequence[Found]) -> Figure:
    """Draw the last layer after pretraining of some epochs; at the right what is solved."""
    figure, panels = _grid(1, len(settings) + 1)
    for panel, found in zip(panels[0], settings, strict=False):
        assert found.pretrainings is not None
        grid = found.pretrainings.grid
        x = np.arange(len(grid["epochs"]))
        for j, readout in enumerate(grid["readout"]):
            style = "-" if readout == KEPT else "--"
            for noise, colour in _BY_NOISE.items():
                bits = found.bits("pretrainings", noise=noise)[:, j, :, -1].T
                _line(panel, x, bits, colour, style)
            relevant = found.bits("pretrainings", "relevant", "n0")[:, j, :, -1].T
            _line(panel, x, relevant, _RELEVANT, style)
        panel.set_xticks(x, [str(k) for k in grid["epochs"]])
        panel.set_xlabel(f"epochs on {found.decision.names[1]} before", fontsize=_NORMAL)
        panel.set_title(f"{_title(found)}\nrate/batch {found.setting.perturbed}", fontsize=_SMALL)
        _dress(panel, found)
    panels[0, 0].set_ylabel("bits, last hidden layer", fontsize=_NORMAL)
    for reset, style in ((False, "-"), (True, "--")):
        times, bits = memory(reset)
        panels[0, -1].plot(times, bits, style, color="black", linewidth=1.2)
    panels[0, -1].set_title("two linear layers,\na second task: exact", fontsize=_SMALL)
    panels[0, -1].set_xlabel("flow time on the first task", fontsize=_NORMAL)
    panels[0, -1].set_ylabel("bits about the first task", fontsize=_NORMAL)
    _bare(panels[0, -1])
    _legend(figure, settings, "solid: read-out kept, dashed: new", layers=False)
    return figure


def _line(panel: Axes, x: np.ndarray, bits: np.ndarray, colour: str, style: str) -> None:
    mean, spread = mean_and_spread(bits)
    panel.errorbar(
        x, mean, spread, color=colour, linestyle=style, marker="o", markersize=3, linewidth=1,
        elinewidth=0.7,
    )  # fmt: skip


# The plane ----------------------------------------------------------------------------------------


def plane_panels(settings: Sequence[Found]) -> Figure:
    """Draw every layer's path in the plane of relevant and irrelevant bits, under all noises."""
    figure, panels = _grid(len(NOISES), len(settings))
    for column, found in zip(panels.T, settings, strict=True):
        for panel, noise in zip(column, NOISES, strict=True):
            for k, colour in _layers(found):
                x, y = (
                    found.bits("watched", label, noise, k)[0]
                    for label in ("relevant", "irrelevant")
                )
                _path(panel, x, y, colour)
            _dress(panel, found)
            panel.set_xlim(min(0.0, panel.get_xlim()[0]), 1.03 * found.entropy["relevant"])
        column[0].set_title(_title(found), fontsize=_SMALL)
        column[-1].set_xlabel(f"bits about {found.decision.names[0]}", fontsize=_NORMAL)
    for panel, noise in zip(panels[:, 0], NOISES, strict=True):
        panel.set_ylabel(f"bits about {settings[0].decision.names[1]}, {noise}", fontsize=_NORMAL)
    _legend(
        figure, settings, "from hollow to filled; dots: seeds at the end", noises=False, relevant=""
    )
    return figure


def _path(panel: Axes, x: np.ndarray, y: np.ndarray, colour: str) -> None:
    panel.plot(x[:, -1], y[:, -1], ".", color=colour, alpha=0.4, markersize=3)
    across, up = mean_and_spread(x)[0], mean_and_spread(y)[0]
    panel.plot(across, up, color=colour, linewidth=1.1)
    panel.plot(across[0], up[0], "o", color=colour, markersize=4.5, markerfacecolor="white")
    panel.plot(across[-1], up[-1], "o", color=colour, markersize=4.5)


# Dress --------------------------------------------------------------------------------------------


def _grid(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    figure = Shown(figsize=(max(_COLUMN * columns, 3.5), _ROW * rows + 0.75), layout="constrained")
    panels: np.ndarray = figure.subplots(rows, columns, squeeze=False)
    return figure, panels


def _layers(found: Found) -> Iterator[tuple[int, str]]:
    """Yield the layers with their colours; the last one has the same in all networks."""
    depth = len(found.setting.hidden)
    for k in range(depth):
        yield k, "#000000" if k == depth - 1 else _LAYERS[k % len(_LAYERS)]


def _title(found: Found) -> str:
    setting = found.setting
    noise = f"label noise {setting.label_noise:g}" if setting.label_noise else "clean labels"
    return f"{setting.environment}\n{setting.activation}, gain {setting.gain:g}, {noise}"


def _dress(panel: Axes, found: Found) -> None:
    most = found.decision.ceilings
    bound = found.entropy["irrelevant"] if most is None else most[1]
    panel.axhline(bound, **_BOUND)
    _bare(panel)


def _bare(panel: Axes) -> None:
    panel.set_ylim(bottom=min(0.0, panel.get_ylim()[0]))
    panel.tick_params(labelsize=_SMALL)
    panel.grid(color="0.92", linewidth=0.5)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def _legend(
    figure: Figure, settings: Sequence[Found], words: str, noises: bool = True,
    layers: bool = True, marker: str = "", relevant: str = "-s",
) -> None:  # fmt: skip
    one, other = "relevant", "irrelevant"
    names = {found.decision.names for found in settings}
    if len(names) == 1:
        one, other = next(iter(names))
    handles = []
    if noises:
        handles += [
            Line2D([], [], color=colour, marker="o", markersize=3.5, label=f"{other}, {noise}")
            for noise, colour in _BY_NOISE.items()
        ]
    if layers:
        deepest = max(settings, key=lambda found: len(found.setting.hidden))
        handles += [
            Line2D(
                [], [], color=colour, marker=marker, markersize=3.5, label=f"{other}, layer {k + 1}"
            )
            for k, colour in _layers(deepest)
        ]
    if relevant:
        square = (
            {"marker": "s", "markersize": 3.5} if relevant.endswith("s") else {"linestyle": "--"}
        )
        handles.append(Line2D([], [], color=_RELEVANT, label=one, **square))
    handles.append(Line2D([], [], label=f"most there is about {other}", **_BOUND))
    columns = max(2, int(figure.get_figwidth() / 1.7))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, fontsize=_SMALL, frameon=False,
        title=words, title_fontsize=_SMALL,
    )  # fmt: skip
