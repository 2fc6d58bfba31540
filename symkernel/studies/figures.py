"""The study's figures: over the scale, as matrices, and in a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator

from symkernel.analysis import multidimensional_scaling
from symkernel.errors import SymkernelError
from symkernel.report.figures import COLOURS, Shown
from symkernel.studies.comparison import Comparison
from symkernel.studies.measures import mean_and_deviation, mean_and_spread
from symkernel.studies.predictors import PREDICTORS

if TYPE_CHECKING:
    from symkernel.studies.study import MultitaskStudy

_WIDE, _SMALL, _NORMAL = 7.0, 7, 8
# The floor is no theory, and grey.
_THEORIES = ("0.5", *COLOURS)
_PLACE = {one.name: k for k, one in enumerate(PREDICTORS)}
# What the sharing index is made of.
_SHARED = (
    ("r_in", r"$r_{\mathrm{in}}$", "correlation, one stimulus group"),
    ("r_out", r"$r_{\mathrm{out}}$", "correlation, one response group"),
    ("r_diff", r"$r_{\mathrm{diff}}$", "correlation, neither in common"),
)
_MARKS = ("o", "s", "^", "D", "v", "P", "X")
# Matrices of more tasks than this name stimulus groups at their rows.
_MOST_NAMES = 9


def figures(study: MultitaskStudy) -> Mapping[str, Figure]:
    """Return the figures that the study's cells allow, by name."""
    found = {"sharing": sharing_over_scale(study), "similarity": similarity_panels(study)}
    if study.contributions.values:
        found["contributions"] = contribution_panels(study)
    found["representations"] = representation_panels(study)
    return found


# Over the scale -----------------------------------------------------------------------------------


def sharing_over_scale(study: MultitaskStudy) -> Figure:
    """Draw sharing and concurrent accuracy over the scale: all curricula, and all theories."""
    shown, theories = _measures(study), _by_theory(study)
    heights = [2.5, 2.1]
    if theories:
        heights += [2.2, 0.75 + 0.19 * len(theories)]
    figure = _figure(_WIDE, sum(heights))
    # Names of theories are long: their strip must not push the panels above to the right.
    parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
    panels = [part.subplots(1, len(shown), squeeze=False)[0] for part in parts[:3:2]]
    for column, (label, measure, K) in enumerate(shown):
        _draw_runs(panels[0][column], study, measure, K)
        count = len(study.axis("seed"))
        title = "dotted: only congruent prompts right" if K else f"all curricula, {_seeds(count)}"
        _dress(panels[0][column], study, label, title)
        if theories:
            first = next(iter(theories.values()))[0]
            some = f"{first.curriculum}, {_seeds(len(first.true_S))}"
            title = "" if column else f"{some}: simulation (circles), theories (lines)"
            _draw_theories(panels[1][column], study, theories, K)
            _dress(panels[1][column], study, label, title)
    for panel, (name, label, title) in zip(parts[1].subplots(1, 3), _SHARED, strict=True):
        _draw_runs(panel, study, name, None)
        _dress(panel, study, label, title)
        panel.set_ylim(-1.05, 1.05)
    handles = [
        Line2D([], [], color=COLOURS[k], marker=_MARKS[k], markersize=3.5, linewidth=0.9,
               label=name)
        for k, name in enumerate(study.axis("curriculum"))
    ]  # fmt: skip
    parts[0].legend(
        handles=handles, loc="outside upper center", ncols=len(handles), fontsize=_SMALL,
        frameon=False,
    )  # fmt: skip
    if theories:
        _draw_domains(parts[-1].subplots(), study, theories)
    return figure


def _seeds(count: int) -> str:
    return f"{count} seed{'s' * (count > 1)}"


def _measures(study: MultitaskStudy) -> list[tuple[str, str, int | None]]:
    G = study.setting.groups
    many = [2] if G == 2 else [2, G]
    return [
        ("sharing index $S$", "S", None),
        *((f"accuracy, {K} tasks at once", "acc", K) for K in many),
    ]


def _by_theory(study: MultitaskStudy) -> dict[str, list[Comparison]]:
    """Return the theories by name, each over the scales, on the first curriculum that was asked."""
    found: dict[str, list[Comparison]] = {}
    for one in study.comparisons:
        if one.curriculum == study.axis("curriculum", "predictions")[0]:
            found.setdefault(one.name, []).append(one)
    return found


def _draw_runs(panel: Axes, study: MultitaskStudy, measure: str, K: int | None) -> None:
    scales = study.axis("scale")
    for k, name in enumerate(study.axis("curriculum")):
        found = [mean_and_deviation(study.values(measure, s, name, K)) for s in scales]
        mean, deviation = np.array(found).T
        # Curricula whose accuracies agree would hide one another.
        apart = np.array(scales) * 1.05 ** (k - (len(study.axis("curriculum")) - 1) / 2)
        panel.errorbar(
            apart, mean, _bars(mean, deviation, K), color=COLOURS[k], marker=_MARKS[k],
            markersize=3, linewidth=0.9, elinewidth=0.7,
        )  # fmt: skip
    _floor(panel, study, K)


def _bars(mean: np.ndarray, deviation: np.ndarray, K: int | None) -> np.ndarray:
    """Return how far bars reach down and up; those of accuracies end at 0 and 1."""
    reach = np.array([deviation, deviation])
    return reach if K is None else np.minimum(reach, [np.maximum(mean, 0), np.maximum(1 - mean, 0)])


def _floor(panel: Axes, study: MultitaskStudy, K: int | None) -> None:
    """Mark no sharing, or the accuracy of a network that answers congruent prompts alone."""
    level = 0.0 if K is None else study.setting.features ** (1.0 - K)
    panel.axhline(level, color="0.5", linewidth=0.7, linestyle=(0, (1, 2)), zorder=1)


def _draw_theories(
    panel: Axes,
    study: MultitaskStudy,
    theories: Mapping[str, Sequence[Comparison]],
    K: int | None,
) -> None:
    first = next(iter(theories.values()))
    scales = np.array([one.scale for one in first])
    found = [one.true_S if K is None else one.true_acc[:, K - 1] for one in first]
    mean, deviation = np.array([mean_and_deviation(values) for values in found]).T
    panel.errorbar(
        scales, mean, _bars(mean, deviation, K), color="black", linestyle="none", marker="o",
        markersize=4.5, markerfacecolor="none", elinewidth=0.7, zorder=6,
    )  # fmt: skip
    for k, (name, along) in enumerate(theories.items()):
        said = [one.S if K is None else one.acc[:, K - 1] for one in along]
        line = np.array([mean_and_deviation(values)[0] for values in said])
        # The path, which is the last, agrees with the simulation everywhere: under all others.
        level = 2 - k / len(theories)
        _line(panel, scales, line, np.array([one.holds for one in along]), _colour(name), level)
    _floor(panel, study, K)


def _colour(name: str) -> str:
    """Return the colour of a theory, the same whatever others are asked."""
    return _THEORIES[_PLACE[name] % len(_THEORIES)]


def _line(
    panel: Axes, x: np.ndarray, y: np.ndarray, holds: np.ndarray, colour: str, level: float
) -> None:
    """Draw a theory's line: with a broad band under it where it holds, dashed elsewhere."""
    inside = np.where(holds, y, np.nan)
    panel.plot(
        x, inside, color=colour, linewidth=7, alpha=0.25, solid_capstyle="round", zorder=level
    )
    panel.plot(x, y, color=colour, linestyle=(0, (3, 1.5)), linewidth=0.9, zorder=level + 2)
    panel.plot(x, inside, color=colour, marker="o", markersize=2.5, linewidth=1.4, zorder=level + 2)


def _draw_domains(
    panel: Axes, study: MultitaskStudy, theories: Mapping[str, Sequence[Comparison]]
) -> None:
    """Shade, theory by theory, the scales at which each says of itself that it holds."""
    scales = np.array(study.axis("scale"))
    order = np.argsort(scales)
    logs = np.log(scales[order])
    half = np.diff(logs) / 2 if len(logs) > 1 else np.array([0.3])
    left, right = np.r_[half[:1], half], np.r_[half, half[-1:]]
    unfinished = {(scale, name) for scale, name, _ in study.unlearned}
    for k, (name, along) in enumerate(theories.items()):
        colour = _colour(name)
        for place, log in zip(order, range(len(logs)), strict=True):
            start, end = np.exp(logs[log] - left[log]), np.exp(logs[log] + right[log])
            if along[place].holds:
                panel.barh(k, end - start, 0.8, left=start, color=colour, alpha=0.35, linewidth=0)
            star = "*" * ((along[place].scale, along[place].curriculum) in unfinished)
            words = f"{along[place].similarities.mean():.3f}{star}"
            panel.text(scales[place], k, words, ha="center", va="center", fontsize=_SMALL)
    panel.set_ylim(len(theories) - 0.45, -0.55)
    panel.set_yticks(range(len(theories)), [along[0].title for along in theories.values()])
    for name, label in zip(theories, panel.get_yticklabels(), strict=True):
        label.set_color(_colour(name))
    edges = np.exp(logs[0] - left[0]), np.exp(logs[-1] + right[-1])
    panel.set_xscale("log")
    panel.set_xlim(*edges)
    panel.tick_params(axis="y", length=0)
    _scale_axis(panel, study)
    panel.set_title(
        "numbers: correlation of foreseen and learned similarities; *: training not finished\n"
        "shaded here, solid above: where the theory says of itself that it holds", fontsize=_SMALL,
    )  # fmt: skip
    panel.spines[["top", "right", "left"]].set_visible(False)


# Matrices -----------------------------------------------------------------------------------------


def similarity_panels(study: MultitaskStudy) -> Figure:
    """Draw correlations of the tasks' hidden patterns by scale and curriculum, means over seeds."""
    scales, curricula = study.axis("scale"), study.axis("curriculum")
    found = study.array("similarity")
    columns = ("init", *curricula)
    wide = max(1.1 * len(columns) + 1.2, 3.5)
    figure = _figure(wide, 1.1 * len(scales) + 0.7)
    panels = figure.subplots(len(scales), len(columns), squeeze=False)
    for j, scale in enumerate(scales):
        for k, name in enumerate(columns):
            cells = found[j, 0, :, 0] if k == 0 else found[j, k - 1, :, -1]
            image = panels[j, k].imshow(
                mean_and_spread(cells)[0], cmap="RdBu_r", vmin=-1.0, vmax=1.0
            )
            if j == 0:
                panels[j, k].set_title(name.replace(", ", ",\n"), fontsize=_SMALL)
            _name_tasks(panels[j, k], study, rows=k == 0, columns=j == len(scales) - 1)
        panels[j, 0].set_ylabel(f"scale {scale:g}", fontsize=_NORMAL)
    _bar(figure, image, panels, "correlation of tasks")
    return figure


def contribution_panels(study: MultitaskStudy) -> Figure:
    """Draw whose training moved the representation of whom, means over seeds, by scale."""
    scales = study.axis("scale")
    matrices = [mean_and_spread(cells)[0] for cells in study.array("matrix", "contributions")[:, 0]]
    limit = max(float(np.nanmax(abs(np.stack(matrices)))), 1e-300)
    figure = _figure(max(1.55 * len(scales) + 1.2, 3.5), 2.3)
    panels = figure.subplots(1, len(scales), squeeze=False)[0]
    for k, (panel, matrix) in enumerate(zip(panels, matrices, strict=True)):
        image = panel.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
        panel.set_box_aspect(1)
        panel.set_title(f"scale {scales[k]:g}", fontsize=_NORMAL)
        square = matrix.shape[0] == matrix.shape[1]
        _name_tasks(panel, study, rows=k == 0, columns=square)
    panels[0].set_ylabel("movement of", fontsize=_NORMAL)
    figure.supxlabel("by training on", fontsize=_NORMAL)
    _bar(figure, image, panels, "share of the movement")
    return figure


def _name_tasks(panel: Axes, study: MultitaskStudy, rows: bool, columns: bool) -> None:
    """Name the tasks of a matrix; of many the stimulus groups, with lines between them."""
    env = study.setting.environment
    names = [rf"{i}$\to${j}" for i, j in env.tasks]
    places: Any = range(len(names))
    many = len(names) > _MOST_NAMES
    if many:
        G = env.groups
        names, places = [rf"{i}$\to$" for i in range(G)], np.arange(G) * G + (G - 1) / 2
        edges = np.arange(1, G) * G - 0.5
        panel.hlines(edges, -0.5, G * G - 0.5, color="0.3", linewidth=0.4)
        if columns or not rows:
            panel.vlines(edges, -0.5, G * G - 0.5, color="0.3", linewidth=0.4)
    for axis, wanted in ((panel.yaxis, rows), (panel.xaxis, columns)):
        axis.set_ticks(places if wanted else [], names if wanted else [])
    panel.tick_params(labelsize=_SMALL if many else _SMALL - 2, length=1)
    panel.tick_params(axis="x", rotation=0 if many else 90)


# Representations ----------------------------------------------------------------------------------


def representation_panels(study: MultitaskStudy) -> Figure:
    """Draw the tasks' hidden patterns through training in two dimensions, for the first seed."""
    scales, chosen = study.axis("scale"), study.axis("curriculum")[:2]
    figure = _figure(max(1.6 * len(scales) + 0.4, 3.5), 1.75 * len(chosen) + 0.7)
    panels = figure.subplots(len(chosen), len(scales), squeeze=False)
    patterns = study.array("patterns")
    for j, name in enumerate(chosen):
        for k, scale in enumerate(scales):
            panel = panels[j, k]
            if j == 0:
                panel.set_title(f"scale {scale:g}", fontsize=_NORMAL)
            panel.set_xticks([])
            panel.set_yticks([])
            _draw_paths(panel, study, patterns[k, j, 0])
        panels[j, 0].set_ylabel(name, fontsize=_NORMAL)
    env = study.setting.environment
    # A legend is filled column by column.
    handles = [
        handle
        for i in range(env.groups)
        for handle in (
            Line2D([], [], color=COLOURS[i % len(COLOURS)], label=f"from stimulus group {i}"),
            Line2D([], [], color="0.3", linestyle="none", marker=_MARKS[i % len(_MARKS)],
                   markersize=4, label=f"to response group {i}"),
        )
    ]  # fmt: skip
    wide = len(scales) >= env.groups
    if not wide:
        handles = [*handles[::2], *handles[1::2]]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=env.groups if wide else 2,
        fontsize=_SMALL, frameon=False,
        title="marks: end of training; numbers: share explained",
        title_fontsize=_SMALL,
    )  # fmt: skip
    return figure


def _draw_paths(panel: Axes, study: MultitaskStudy, patterns: np.ndarray) -> None:
    """Draw the paths of all tasks; marks stand where they end."""
    try:
        shown = multidimensional_scaling(patterns)
    except SymkernelError:  # the training failed
        panel.text(0.5, 0.5, "failed", ha="center", transform=panel.transAxes, fontsize=_SMALL)
        return
    for (i, j), path in zip(
        study.setting.environment.tasks, shown.points.transpose(1, 0, 2), strict=True
    ):
        colour = COLOURS[i % len(COLOURS)]
        panel.plot(*path.T, color=colour, linewidth=0.7, alpha=0.8)
        panel.plot(
            *path[-1], color=colour, marker=_MARKS[j % len(_MARKS)], markersize=4,
            markeredgecolor="white", markeredgewidth=0.4,
        )  # fmt: skip
    panel.set_aspect("equal", adjustable="datalim")
    panel.margins(0.1)
    panel.text(
        0.98, 0.02, f"{shown.explained[-1]:.0%}", ha="right", va="bottom", fontsize=_SMALL - 1,
        color="0.4", transform=panel.transAxes,
    )  # fmt: skip


# Dress --------------------------------------------------------------------------------------------


def _figure(width: float, height: float) -> Figure:
    return Shown(figsize=(width, height), layout="constrained")


def _bar(figure: Figure, image: Any, panels: np.ndarray, label: str) -> None:
    bar = figure.colorbar(image, ax=panels.ravel().tolist(), shrink=0.8, aspect=22, pad=0.02)
    bar.set_label(label, fontsize=_SMALL)
    bar.ax.tick_params(labelsize=_SMALL)


def _dress(panel: Axes, study: MultitaskStudy, label: str, title: str) -> None:
    panel.set_title(title, fontsize=_SMALL, loc="left")
    panel.set_ylabel(label, fontsize=_NORMAL)
    panel.set_xscale("log")
    panel.margins(x=0.08)
    _scale_axis(panel, study)
    panel.grid(color="0.92", linewidth=0.5)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def _scale_axis(panel: Axes, study: MultitaskStudy) -> None:
    scales = study.axis("scale")
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xticks(scales, [f"{scale:g}" for scale in scales])
    panel.set_xlabel("scale of the initial weights", fontsize=_NORMAL)
    panel.tick_params(labelsize=_SMALL)
