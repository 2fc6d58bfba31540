"""A figure: whose training moved the representation of whom."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from symkernel.errors import InvalidArgument
from symkernel.report.figures import MOST_LABELS, NORMAL, SMALL, WIDTH, Shown, colour_bar
from symkernel.simulation.attribution import Attribution

# Matrices up to this size show their numbers.
_MOST_NUMBERS = 8


def contribution_matrix(attribution: Attribution, time: float | None = None) -> Figure:
    r"""Draw whose training moved the representation of whom, `Attribution.matrix`.

    Each row sums to 1. Numbers stand in the cells where there are few; what moved a group the
    other way is blue.

    Parameters
    ----------
    attribution : Attribution
        From `Trajectory.attribution`.
    time : float, optional
        Flow time; the nearest record is drawn, the last one if not given.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> from symkernel.report.contributions import contribution_matrix
    >>> net = sk.Network.two_layer(inputs=4, hidden=6, outputs=2, activation="tanh")
    >>> task = sk.Task(np.eye(4), np.eye(4)[:, :2])
    >>> w0 = sk.weights.gaussian(net, seed=1)
    >>> sim = sk.simulate(net, task, w0, 0.1, steps=200, attribute=["a", "a", "b", "b"])
    >>> figure = contribution_matrix(sim.attribution(node="output"))
    >>> assert figure.axes[0].images[0].get_array().shape == (2, 2)
    """
    if not isinstance(attribution, Attribution):
        raise InvalidArgument(
            f"Argument 'attribution' must be an Attribution, from trajectory.attribution(), not "
            f"{attribution!r}."
        )
    matrix = attribution.matrix(time)
    rows, columns = matrix.shape
    limit = float(abs(matrix).max())
    figure = Shown(figsize=(WIDTH, 0.6 + 2.5 * min(rows / columns, 2.0)), layout="constrained")
    panel = figure.subplots()
    image = panel.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)
    for axis, names in ((panel.yaxis, attribution.test_labels), (panel.xaxis, attribution.labels)):
        few = names if len(names) <= MOST_LABELS else ()
        axis.set_ticks(range(len(few)), few)
    panel.tick_params(labelsize=SMALL, length=1.5)
    panel.tick_params(axis="x", rotation=90)
    if max(rows, columns) <= _MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(matrix):
            # White on the darkest cells, and no minus in front of what rounds to zero.
            colour = "white" if abs(value) > 0.6 * limit else "black"
            text = f"{round(value, 2) + 0.0:.2f}"
            size = SMALL if max(rows, columns) <= 5 else SMALL - 2
            panel.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
    panel.set_xlabel(f"by training on ({attribution.by})", fontsize=NORMAL)
    panel.set_ylabel("movement of", fontsize=NORMAL)
    colour_bar(figure, image, [panel], f"share of the movement of '{attribution.node}'")
    return figure
