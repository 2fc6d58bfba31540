"""Figures of representations: similarity, sharing, dimensionality, alignment, paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symkernel.analysis import (
    Embedding,
    Sharing,
    Similarity,
    centred_kernel_alignment,
    participation_ratio,
)
from symkernel.analysis.representation import as_representation
from symkernel.errors import InvalidArgument, as_names
from symkernel.report.figures import (
    COLOURS,
    MOST_LABELS,
    NORMAL,
    SMALL,
    WIDTH,
    Shown,
    colour_bar,
    row_of_matrices,
    time_title,
)

# Ends nearer than this share of the picture are named together.
_MEETING = 0.03
# A line and a letter of a name, by the same measure.
_LINE, _LETTER = 0.085, 0.045
_MOST_PANELS, _MOST_TICKS = 5, 6


def similarity_panels(similarity: Similarity, times: Any = None) -> Figure:
    r"""Draw similarity matrices at chosen times, on one colour scale.

    Parameters
    ----------
    similarity : Similarity
        From `sk.analysis.similarity`.
    times : array_like, optional
        Flow times; the nearest recorded ones are drawn and named. By default up to five records,
        spread over all.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> from symkernel.report.representations import similarity_panels
    >>> patterns = np.random.default_rng(0).normal(size=(3, 4, 6))
    >>> figure = similarity_panels(sk.analysis.similarity(patterns, "correlation"))
    >>> assert figure.axes[2].images[0].get_array().shape == (4, 4)
    """
    _refuse_other(similarity, Similarity, "similarity")
    shown = similarity.at(_spread(similarity.times, _MOST_PANELS) if times is None else times)
    distances = shown.measure == "euclidean"
    limit = float(shown.values.max()) or 1.0 if distances else 1.0
    figure, panels = row_of_matrices(len(shown.times))
    for panel, time, matrix in zip(panels, shown.times, shown.values, strict=True):
        image = panel.imshow(
            matrix,
            cmap="viridis" if distances else "RdBu_r",
            vmin=0.0 if distances else -limit,
            vmax=limit,
        )
        panel.set_title(time_title(time, first=panel is panels[0]), fontsize=NORMAL)
        names = shown.labels if len(shown.labels) <= MOST_LABELS else ()
        panel.set_xticks(range(len(names)), [])
        panel.set_yticks(range(len(names)), names if panel is panels[0] else [""] * len(names))
        panel.tick_params(labelsize=SMALL, length=1.5)
    colour_bar(figure, image, panels, "distance" if distances else shown.measure)
    return figure


def sharing_curves(sharing: Sharing) -> Figure:
    r"""Draw the sharing index through time, and below it the mean similarities it is made of.

    Parameters
    ----------
    sharing : Sharing
        From `sk.analysis.sharing_index`.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> from symkernel.report.representations import sharing_curves
    >>> patterns = np.random.default_rng(0).normal(size=(3, 4, 6))
    >>> read, written = [0, 0, 1, 1], [0, 1, 0, 1]
    >>> figure = sharing_curves(sk.analysis.sharing_index(patterns, inputs=read, outputs=written))
    >>> assert len(figure.axes) == 2
    """
    _refuse_other(sharing, Sharing, "sharing")
    figure = _figure(3.6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.plot(sharing.times, sharing.index, color="black", linewidth=1.2)
    upper.set_ylabel("sharing index $S$", fontsize=NORMAL)
    curves = (
        ("same input", sharing.same_input, "-"),
        ("same output", sharing.same_output, "--"),
        ("neither", sharing.neither, ":"),
    )
    for (name, curve, style), colour in zip(curves, COLOURS[:3], strict=True):
        if not np.isnan(curve).all():
            lower.plot(sharing.times, curve, style, color=colour, linewidth=1.2, label=name)
    lower.set_ylabel("mean similarity", fontsize=NORMAL)
    figure.legend(
        title="pairs of tasks", ncols=3, loc="outside lower center", fontsize=SMALL,
        title_fontsize=SMALL, frameon=False,
    )  # fmt: skip
    for panel in (upper, lower):
        panel.axhline(0.0, color="0.6", linewidth=0.6, zorder=1)
        _through_time(panel)
    upper.set_xlabel("")
    return figure


def dimensionality_curves(sources: Any) -> Figure:
    r"""Draw the participation ratio through time.

    Parameters
    ----------
    sources : Trajectory, Representation or array_like, or mapping of str to these
        Several, by their names, in one panel: nodes, networks, or theory and simulation.

    Examples
    --------
    >>> import numpy as np
    >>> from symkernel.report.representations import dimensionality_curves
    >>> patterns = np.random.default_rng(0).normal(size=(3, 4, 6))
    >>> figure = dimensionality_curves({"first": patterns, "last": 2 * patterns[:, :, :2]})
    >>> assert len(figure.axes[0].get_lines()) == 2
    """
    named = sources if isinstance(sources, Mapping) else {"": sources}
    if not named or len(named) > len(COLOURS):
        raise InvalidArgument(
            f"Argument 'sources' must hold 1 to {len(COLOURS)} representations, not {len(named)}."
        )
    figure = _figure(2.6)
    panel = figure.subplots()
    for k, (name, source) in enumerate(named.items()):
        patterns = as_representation(source)
        style = ("-", "--", ":", "-.")[k % 4]
        panel.plot(
            patterns.times, participation_ratio(patterns), style, color=COLOURS[k],
            linewidth=1.2, label=str(name),
        )  # fmt: skip
    panel.set_ylabel("participation ratio", fontsize=NORMAL)
    _through_time(panel)
    low, high = panel.get_ylim()
    # Not closer than a tenth of a dimension, where rounding would look like a movement.
    middle, half = (low + high) / 2, max(high - low, 0.1) / 2
    panel.set_ylim(middle - half, middle + half)
    if isinstance(sources, Mapping):
        _legend_below(figure)
    return figure


def alignment_matrix(first: Any, second: Any = None, *, names: Sequence[str] = ("", "")) -> Figure:
    r"""Draw the centred kernel alignment between all times of two representations, or of one.

    Parameters
    ----------
    first, second : Trajectory, Representation or array_like
        As in `sk.analysis.centred_kernel_alignment`.
    names : two str
        What the rows and the columns are called.

    Examples
    --------
    >>> import numpy as np
    >>> from symkernel.report.representations import alignment_matrix
    >>> patterns = np.random.default_rng(0).normal(size=(3, 4, 6))
    >>> figure = alignment_matrix(patterns, names=("before", "after"))
    >>> assert figure.axes[0].images[0].get_array().shape == (3, 3)
    """
    if isinstance(names, str) or len(names) != 2 or not all(isinstance(n, str) for n in names):
        raise InvalidArgument(f"Argument 'names' must hold two names, not {names!r}.")
    rows = as_representation(first)
    columns = rows if second is None else as_representation(second)
    matrix = centred_kernel_alignment(rows, None if second is None else columns)
    figure = _figure(2.9)
    panel = figure.subplots()
    image = panel.imshow(matrix, cmap="viridis", vmin=0.0, vmax=1.0, origin="lower", aspect="auto")
    for axis, patterns, name in ((panel.yaxis, rows, names[0]), (panel.xaxis, columns, names[1])):
        ticks = _positions(len(patterns.times), _MOST_TICKS)
        axis.set_ticks(ticks, [f"{patterns.times[k]:.3g}" for k in ticks])
        axis.set_label_text(f"flow time $t$, {name}" if name else "flow time $t$")
        axis.label.set_fontsize(NORMAL)
    panel.tick_params(labelsize=SMALL, length=1.5)
    colour_bar(figure, image, [panel], "centred kernel alignment")
    return figure


def embedding_paths(embedding: Embedding, groups: Sequence[str | int] | None = None) -> Figure:
    r"""Draw the path of every pattern through the plane, from an open mark to a full one.

    Parameters
    ----------
    embedding : Embedding
        From `sk.analysis.multidimensional_scaling`; its first two coordinates are drawn.
    groups : sequence of str or int, optional
        A label for each pattern, shown by colour; without it patterns are named at their end,
        where they are few.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> from symkernel.report.representations import embedding_paths
    >>> patterns = np.random.default_rng(0).normal(size=(3, 4, 6))
    >>> figure = embedding_paths(sk.analysis.multidimensional_scaling(patterns))
    >>> assert len(figure.axes[0].get_lines()) == 12
    """
    _refuse_other(embedding, Embedding, "embedding")
    points, count = embedding.points, len(embedding.labels)
    if points.shape[2] < 2:
        raise InvalidArgument(
            "Argument 'embedding' must have two coordinates or more, not 1; ask "
            "multidimensional_scaling for dimensions=2."
        )
    of = embedding.labels if groups is None else as_names(groups, "groups", count)
    different = tuple(dict.fromkeys(of))
    figure = _figure(3.3)
    panel = figure.subplots()
    for i in range(count):
        colour = COLOURS[different.index(of[i]) % len(COLOURS)]
        path = points[:, i, :2]
        mark: dict[str, Any] = {
            "marker": "o",
            "markersize": 3.5,
            "color": colour,
            "linestyle": "none",
        }
        panel.plot(path[:, 0], path[:, 1], color=colour, linewidth=0.9)
        panel.plot(*path[0], markerfacecolor="white", **mark)
        label = of[i] if groups is not None and i == of.index(of[i]) else None
        panel.plot(*path[-1], label=label, **mark)
    if groups is None and count <= MOST_LABELS:
        _name_ends(panel, points[-1, :, :2], embedding.labels)
    panel.set_aspect("equal")
    panel.set_xlabel("coordinate 1 (open marks: start, full: end)", fontsize=NORMAL)
    panel.set_ylabel("coordinate 2", fontsize=NORMAL)
    low, high = embedding.explained.min(), embedding.explained.max()
    kept = f"{points.shape[2]} coordinates explain {low:.0%} to {high:.0%}"
    panel.set_title(kept, fontsize=SMALL)
    _dress(panel)
    _make_room(figure, panel, points[:, :, :2].reshape(-1, 2))
    if groups is not None and len(different) <= len(COLOURS):
        _legend_below(figure)
    return figure


def _name_ends(panel: Axes, ends: np.ndarray, labels: Sequence[str]) -> None:
    """Name the points in their colours, those that meet by one text, and none over another."""
    span = float(np.ptp(ends, axis=0).max())
    line, letter, order = _LINE * span, _LETTER * span, tuple(dict.fromkeys(labels))
    named = np.zeros(len(ends), dtype=bool)
    # Where the names so far begin, end and have their upper edge.
    placed: list[tuple[float, float, float]] = []
    for i in np.argsort(ends[:, 1], kind="stable").tolist():
        here = ~named & (np.linalg.norm(ends - ends[i], axis=1) <= _MEETING * span)
        if named[i]:
            continue
        named |= here
        names = [labels[j] for j in np.flatnonzero(here).tolist()]
        colour = COLOURS[order.index(labels[i]) % len(COLOURS)] if len(names) == 1 else "black"
        # Outwards, where no path is.
        right = bool(ends[i, 0] >= 0)
        near = ends[i, 0]
        far = near + (1 if right else -1) * letter * (1 + max(map(len, names)))
        left, end = min(near, far), max(near, far)
        below = [top for start, stop, top in placed if start <= end and stop >= left]
        bottom = max([ends[i, 1] - len(names) * line / 2, *below])
        placed.append((left, end, bottom + len(names) * line))
        panel.annotate(
            "\n".join(names), (near, bottom + len(names) * line / 2),
            xytext=(4 if right else -4, 0), textcoords="offset points", fontsize=SMALL,
            color=colour, ha="left" if right else "right", va="center",
        )  # fmt: skip


def _make_room(figure: Figure, panel: Axes, points: np.ndarray) -> None:
    """Show a square around the points, wide enough for the names at them if that can be."""
    low, high = points.min(0), points.max(0)
    span = float((high - low).max()) or 1.0
    for margin in (0.12, 0.2, 0.3, 0.45, 0.6, 0.8):
        (x, y), half = (low + high) / 2, span * (0.5 + margin)
        panel.set(xlim=(x - half, x + half), ylim=(y - half, y + half))
        figure.draw_without_rendering()
        sides = panel.get_window_extent()
        names = [text.get_window_extent() for text in panel.texts]
        if all(sides.x0 <= name.x0 and name.x1 <= sides.x1 for name in names):
            return


def _legend_below(figure: Figure) -> None:
    """Put a legend under the panels, in as many columns as the figure is wide enough for."""
    for columns in (4, 3, 2, 1):
        legend = figure.legend(
            loc="outside lower center", ncols=columns, fontsize=SMALL, frameon=False
        )
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def _refuse_other(value: Any, kind: type, name: str) -> None:
    if not isinstance(value, kind):
        raise InvalidArgument(
            f"Argument '{name}' must be a {kind.__name__}, as symkernel.analysis returns it, not "
            f"{type(value).__name__}."
        )


def _figure(height: float) -> Figure:
    return Shown(figsize=(WIDTH, height), layout="constrained")


def _positions(count: int, most: int) -> list[int]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


def _spread(times: np.ndarray, most: int) -> np.ndarray:
    return times[_positions(len(times), most)]


def _through_time(panel: Axes) -> None:
    panel.set_xlabel("flow time $t$", fontsize=NORMAL)
    panel.margins(x=0.01)
    _dress(panel)


def _dress(panel: Axes) -> None:
    panel.tick_params(labelsize=SMALL)
    panel.grid(color="0.9", linewidth=0.5)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
