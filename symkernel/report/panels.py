"""The page that most derivations draw on: two panels beside each other."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from symkernel.report.figures import COLOURS


def panels(height: float = 3.2) -> tuple[Figure, Any]:
    """Return a page of the given height in inches, and its two panels in the house's colours.

    Examples
    --------
    >>> from symkernel.report.panels import panels
    >>> page, (left, right) = panels()
    >>> assert page.axes == [left, right]
    """
    page = Figure(figsize=(7.2, height), layout="constrained")
    both = page.subplots(1, 2)
    for axes in both:
        axes.set_prop_cycle(color=COLOURS)
    return page, both
