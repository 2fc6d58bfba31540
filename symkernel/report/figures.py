"""Figures: learning curves with their residuals, and hidden similarities through time.

Drawn without pyplot, so that no global state is touched; colours by Okabe and Ito, which stay
apart for colour-blind readers. Sizes are those of one column of a paper.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from symkernel.errors import InvalidArgument, OutsideValidity, ShapeMismatch
from symkernel.report.files import checked_path, write_atomically
from symkernel.trajectory import Trajectory, nearest

# Okabe and Ito's colours without their yellow, which is faint on paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", ":")
# Inches of one column, and points of labels.
WIDTH, SMALL, NORMAL = 3.5, 7, 8
_DOTS_PER_INCH = 300
_MOST_CURVES, MOST_LABELS = 10, 16
# Larger matrices than this show averages over groups, or every so manieth sample.
_MOST_ITEMS = 64
_UNDATED = {"png": None, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


class Shown(Figure):
    """A figure that is drawn, and shown in notebooks, without pyplot."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=150)
        return buffer.getvalue()


def learning_curves(
    theory: Trajectory,
    simulations: Trajectory | Sequence[Trajectory] | None = None,
    modes: Sequence[int] | None = None,
) -> Figure:
    r"""Draw the modes through time: theory as lines, simulations over them, residuals below.

    Parameters
    ----------
    theory : Trajectory
        What the law says; the loss is drawn where there are no modes.
    simulations : Trajectory or sequence of Trajectory, optional
        Gradient descent. Of several, the mean is marked and a band covers all of them. Residuals
        are taken at the times that `theory` holds too.
    modes : sequence of int, optional
        Which modes; by default all of them, or ten spread over all.

    Returns
    -------
    matplotlib.figure.Figure
        One panel, or two with simulations.

    Raises
    ------
    InvalidArgument
        If a mode does not exist, or the simulations share no time with the theory.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> from symkernel.report.figures import learning_curves
    >>> task = sk.Task.from_modes([2.0, 1.0])
    >>> net = sk.Network.two_layer(inputs=2, hidden=3, outputs=2)
    >>> w0 = sk.weights.aligned(net, task, a=0.1, b=0.3)
    >>> times = np.arange(0, 6, 0.5)
    >>> theory = sk.derive(net, task, w0).compile()(times)
    >>> sim = sk.simulate(net, task, w0, learning_rate=0.01, record=times)
    >>> assert len(learning_curves(theory, sim).axes) == 2
    """
    runs = _as_runs(simulations)
    coordinates = theory.modes_are == "coordinate"
    held = "end_to_end" if coordinates else "modes"
    by_modes = "modes" in theory.available and all(held in run.available for run in runs)
    curves, names = _curves(theory, modes, by_modes)
    figure = Shown(figsize=(WIDTH, 3.8 if runs else 2.9), layout="constrained")
    if runs:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2.4, 1])
    else:
        upper = figure.subplots()
        lower = upper
    chosen = [int(name) for name in names] if by_modes else []
    for k, curve in enumerate(curves.T):
        upper.plot(theory.times, curve, color=_colour(k), linestyle=_style(k), linewidth=1.2)
    if runs:
        rows = [_row(run, coordinates) if by_modes else run.loss[:, None] for run in runs]
        values = np.stack([row[:, chosen] if by_modes else row for row in rows])
        _mark(upper, runs[0].times, values)
        _residuals(lower, theory, curves, runs[0].times, values)
        _steps_axis(upper, runs[0])
    what = {"mode": "mode of the end-to-end map", "coordinate": "coefficient of the input"}
    upper.set_ylabel(what[theory.modes_are] if by_modes else "loss", fontsize=NORMAL)
    lower.set_xlabel("flow time $t$", fontsize=NORMAL)
    upper.margins(x=0.01)
    for axes in {upper, lower}:
        _dress(axes)
    _legend(figure, names if by_modes else [], theory.modes_are, len(runs))
    return figure


def _row(run: Trajectory, coordinates: bool) -> np.ndarray:
    """Return the modes of a run, or its coefficients: a simulation's own modes are singular."""
    return run.end_to_end[:, 0] if coordinates else run.modes


def _as_runs(simulations: Trajectory | Sequence[Trajectory] | None) -> tuple[Trajectory, ...]:
    if simulations is None:
        return ()
    runs = (simulations,) if isinstance(simulations, Trajectory) else tuple(simulations)
    if not runs or not all(isinstance(run, Trajectory) for run in runs):
        raise InvalidArgument(
            "Argument 'simulations' must be a Trajectory or a non-empty sequence of them."
        )
    if any(not np.array_equal(run.times, runs[0].times) for run in runs):
        raise ShapeMismatch("All simulations must be recorded at the same times.")
    return runs


def _curves(
    theory: Trajectory, modes: Sequence[int] | None, by_modes: bool
) -> tuple[np.ndarray, list[str]]:
    if not by_modes:
        if modes is not None:
            raise InvalidArgument(
                "Argument 'modes' must be left out where a trajectory has no modes; the loss is "
                "drawn instead."
            )
        return theory.loss[:, None], ["loss"]
    count = theory.modes.shape[1]
    spread = np.unique(np.linspace(0, count - 1, min(count, _MOST_CURVES)).round().astype(int))
    chosen = spread.tolist() if modes is None else list(modes)
    if not chosen or not all(isinstance(k, (int, np.integer)) and 0 <= k < count for k in chosen):
        raise InvalidArgument(
            f"Argument 'modes' must hold integers from 0 to {count - 1}, not {modes!r}."
        )
    return theory.modes[:, chosen], [str(k) for k in chosen]


def _colour(k: int) -> str:
    return COLOURS[k % len(COLOURS)]


def _style(k: int) -> Any:
    return _STYLES[k // len(COLOURS) % len(_STYLES)]


def _mark(axes: Axes, times: np.ndarray, values: np.ndarray) -> None:
    """Mark the mean of the runs, shape (n_runs, n_times, n_curves), and cover their range."""
    # A marker for every record would hide the lines.
    every = max(1, len(times) // 16)
    for k in range(values.shape[2]):
        if len(values) > 1:
            low, high = values[:, :, k].min(0), values[:, :, k].max(0)
            axes.fill_between(times, low, high, color=_colour(k), alpha=0.25, linewidth=0)
        axes.plot(times, values[:, :, k].mean(0), linestyle="none", marker="o", markersize=2.6,
                  markerfacecolor="white", markeredgecolor=_colour(k), markeredgewidth=0.7,
                  markevery=every)  # fmt: skip


def _residuals(
    axes: Axes, theory: Trajectory, curves: np.ndarray, times: np.ndarray, values: np.ndarray
) -> None:
    at = np.clip(np.searchsorted(theory.times, times), 0, len(theory.times) - 1)
    before = np.maximum(at - 1, 0)
    nearer = abs(theory.times[before] - times) < abs(theory.times[at] - times)
    at = np.where(nearer, before, at)
    shared = abs(theory.times[at] - times) <= 1e-9 * max(1.0, float(times[-1]))
    if not shared.any():
        raise InvalidArgument(
            "Argument 'simulations' must share times with the theory; evaluate the law at the "
            "simulation's own times, as in law(simulation.times)."
        )
    gaps = abs(values[:, shared] - curves[at[shared]])
    # Zeros have no place on a logarithmic scale, and rounding would only stretch it.
    rounding = np.finfo(float).eps * float(abs(curves).max())
    gaps = np.where(gaps > rounding, gaps, np.nan)
    if np.isfinite(gaps).any():
        axes.set_yscale("log")
    for k in range(gaps.shape[2]):
        here = gaps[:, :, k]
        some = np.isfinite(here).any(0)
        centre, clock = np.nanmean(here[:, some], axis=0), times[shared][some]
        axes.plot(clock, centre, color=_colour(k), linestyle=_style(k), linewidth=0.9)
        if len(gaps) > 1:
            low, high = np.nanmin(here[:, some], axis=0), np.nanmax(here[:, some], axis=0)
            axes.fill_between(clock, low, high, color=_colour(k), alpha=0.25, linewidth=0)
    axes.set_ylabel("|simulation\n$-$ theory|", fontsize=NORMAL)


def _steps_axis(axes: Axes, run: Trajectory) -> None:
    if run.steps is None or not run.times[-1] > 0:
        return
    per_time = float(run.steps[-1] / run.times[-1])

    def steps(time: Any) -> Any:
        return time * per_time

    def time(count: Any) -> Any:
        return count / per_time

    top = axes.secondary_xaxis("top", functions=(steps, time))
    top.set_xlabel("steps of gradient descent", fontsize=SMALL)
    top.tick_params(labelsize=SMALL)


def _dress(axes: Axes) -> None:
    axes.tick_params(labelsize=SMALL)
    axes.grid(color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines["right"].set_visible(False)


def _legend(figure: Figure, modes: Sequence[str], title: str, runs: int) -> None:
    if runs:
        label = "gradient descent" if runs == 1 else f"gradient descent: mean, range of {runs}"
        grey: dict[str, Any] = {"linestyle": "none", "markerfacecolor": "white"}
        mark = Line2D([], [], marker="o", markersize=3, markeredgecolor="0.3", label=label, **grey)
        line = Line2D([], [], color="0.3", label="theory")
        figure.legend(
            handles=[mark, line], ncols=2, loc="outside upper center", fontsize=SMALL,
            frameon=False,
        )  # fmt: skip
    handles = [
        Line2D([], [], color=_colour(k), linestyle=_style(k), label=name)
        for k, name in enumerate(modes)
    ]
    if handles:
        figure.legend(
            handles=handles, title=title, ncols=min(5, len(handles)), loc="outside lower center",
            fontsize=SMALL, title_fontsize=SMALL, frameon=False, handlelength=1.6,
            columnspacing=0.9,
        )  # fmt: skip


def similarity_matrices(
    trajectory: Trajectory,
    times: Any,
    *,
    groups: Sequence[Any] | None = None,
    normalised: bool = False,
) -> Figure:
    r"""Draw hidden similarity matrices $h(x)\cdot h(x')$ at chosen times, on one colour scale.

    Parameters
    ----------
    trajectory : Trajectory
        From theory or simulation.
    times : array_like
        Flow times; the nearest recorded ones are drawn and named.
    groups : sequence, optional
        A label for each sample; activities are averaged over samples of one label, which are
        sorted. Without it, samples that share labels are grouped where there are many, or else
        every so manieth sample is drawn.
    normalised : bool
        Whether to draw cosines.

    Examples
    --------
    >>> import symkernel as sk
    >>> from symkernel.report.figures import similarity_matrices
    >>> task = sk.Task.from_modes([2.0, 1.0])
    >>> net = sk.Network.two_layer(inputs=2, hidden=3, outputs=2)
    >>> d = sk.derive(net, task, sk.weights.aligned(net, task, a=0.1, b=0.3))
    >>> figure = similarity_matrices(d.compile()([0.0, 1.0, 8.0]), [0.0, 8.0])
    >>> assert figure.axes[1].images[0].get_array().shape == (2, 2)
    """
    records = nearest(trajectory.times, times)
    matrices, names, note = _similarities(trajectory, records, groups)
    if normalised:
        matrices = [_cosines(matrix) for matrix in matrices]
    limit = 1.0 if normalised else max(float(abs(np.stack(matrices)).max()), 1e-300)
    figure, panels = row_of_matrices(len(records))
    for panel, record, matrix in zip(panels, records, matrices, strict=True):
        image = panel.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)
        title = time_title(trajectory.times[record], first=panel is panels[0])
        panel.set_title(title, fontsize=NORMAL)
        _label_items(panel, names if panel is panels[0] else [], len(matrix))
    panels[0].set_ylabel(note, fontsize=SMALL)
    colour_bar(figure, image, panels, "cosine" if normalised else "hidden similarity")
    return figure


def row_of_matrices(count: int) -> tuple[Shown, Any]:
    """Return a figure with so many square panels in a row, and the panels."""
    width = max(WIDTH, 1.35 * count + 0.6)
    figure = Shown(figsize=(width, (width - 1.0) / count + 0.4), layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False)[0]


def colour_bar(figure: Figure, image: Any, panels: Any, label: str) -> None:
    """Put a colour bar beside panels."""
    bar = figure.colorbar(image, ax=list(panels), shrink=0.85, aspect=18, pad=0.02)
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)


def time_title(time: float, *, first: bool) -> str:
    """Return the title of one of several panels through time; the first says what t is."""
    return f"{'flow time ' if first else ''}$t = {time:.3g}$"


def _label_items(panel: Axes, names: Sequence[str], count: int) -> None:
    if count > MOST_LABELS:
        panel.set_xticks([])
        panel.set_yticks([])
        return
    panel.set_xticks(range(count), [])
    panel.set_yticks(range(count), names or [])
    panel.tick_params(labelsize=SMALL, length=1.5)


def _similarities(
    trajectory: Trajectory, records: Sequence[int], groups: Sequence[Any] | None
) -> tuple[list[np.ndarray], list[str], str]:
    """Return a matrix for each record, the names of its rows and what they are."""
    try:
        hidden = [trajectory.hidden[k] for k in records]
        samples, from_gram = len(hidden[0]), False
    except OutsideValidity:
        # Activities known up to a rotation have a Gram matrix all the same.
        hidden = [trajectory.hidden_gram[k] for k in records]
        samples, from_gram = len(hidden[0]), True
    labels = list(trajectory.labels.get("samples", ()))
    repeated = len(set(labels)) < len(labels) == samples
    if groups is None and samples > _MOST_ITEMS and repeated:
        groups = labels
    if groups is not None:
        averages, names = _averages(groups, samples)
        note = "averages by label"
    else:
        kept = np.unique(np.linspace(0, samples - 1, min(samples, _MOST_ITEMS)).astype(int))
        averages = np.eye(samples)[kept]
        names = [labels[k] if len(labels) == samples else str(k) for k in kept]
        note = "samples" if len(kept) == samples else f"{len(kept)} of {samples} samples"
    if from_gram:
        return [averages @ gram @ averages.T for gram in hidden], names, note
    means = [averages @ h for h in hidden]
    return [mean @ mean.T for mean in means], names, note


def _averages(groups: Sequence[Any], samples: int) -> tuple[np.ndarray, list[str]]:
    """Return the matrix that averages samples of one label, and the labels in order."""
    given = np.asarray(groups).astype(str)
    if given.shape != (samples,):
        raise ShapeMismatch(
            f"Argument 'groups' must hold a label for each of the {samples} samples, not shape "
            f"{given.shape}."
        )
    names = sorted(set(given.tolist()), key=lambda name: (len(name), name))
    member = np.array([given == name for name in names], dtype=float)
    return member / member.sum(1, keepdims=True), names


def _cosines(matrix: np.ndarray) -> np.ndarray:
    lengths = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    scale = np.outer(lengths, lengths)
    return np.divide(matrix, scale, out=np.zeros_like(matrix), where=scale > 0)


def checked_format(path: str | Path) -> str:
    """Return the format that the ending of a file's name asks for."""
    kind = checked_path(path).suffix.lower().removeprefix(".")
    if kind not in _UNDATED:
        raise InvalidArgument(
            f"Argument 'path' must end in one of {', '.join('.' + f for f in _UNDATED)}, not "
            f"{Path(path).name!r}."
        )
    return kind


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG, PDF or SVG, after the ending of the name; whole or not at all.

    Raises
    ------
    InvalidArgument
        If the ending is another one, or the folder does not exist.
    """
    kind = checked_format(path)
    return write_atomically(
        path,
        lambda file: figure.savefig(file, format=kind, dpi=_DOTS_PER_INCH, metadata=_UNDATED[kind]),
    )
