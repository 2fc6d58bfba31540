r"""The error of the re-linearised law, as it estimates it itself, and how often it must refresh.

With $d_1 = x_{k/2} - x_k$ and $d_2 = x_{k/4} - x_{k/2}$ from three numbers of refreshes, an error
$a/k + b/k^2$ is $(5 d_1 - d_2)/3$. That holds once the differences halve; so the estimate is the
largest of this, of $d_1$, stretched where the differences fall more slowly, and of what the network
at the weights of the law gives other than the law; times a factor 3 that drawn problems ask for.
Of outputs it is relative to the largest output, of inner nodes and weights to how far they move, by
the largest entry or by the norm, whichever is worse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from symkernel.errors import InvalidArgument
from symkernel.theory.relinearised_path import RelinearisedPath

# The largest error at any time, in units of the estimate without this factor, was 2.4 in 240 draws
# of the law's class (200 time constants of slow directions, tolerances 1e-1 and 1e-2).
SAFETY = 3.0
# Ratios of differences between which they are taken to halve.
HALVING = (0.3, 0.7)
# Where differences fall by less than this, no estimate is made from them.
_SLOWEST = 0.9
# The least of so many are compared first, the most are tried.
_FEWEST, _MOST = 4, 4096
# From so many on, no more are tried where so many times the most would be needed.
_MANY, _BEYOND = 256, 8
# What rounding does to a value, relative to the largest one; and the share of a tolerance below
# which differences need not show their order.
_ROUNDING, _NEGLIGIBLE = 1e-12, 0.01


@dataclass(frozen=True)
class Comparison:
    """What three numbers of refreshes say of the error of the largest.

    Attributes
    ----------
    kinds : tuple of str
        Nodes by name, and "weights".
    estimate : ndarray, shape (n_records, n_kinds)
    first, second : ndarray, shape (n_kinds,)
        Largest differences between the first two numbers of refreshes, and between the next two.
    rounding : ndarray, shape (n_kinds,)
        Size of differences that are nothing but rounding.
    """

    kinds: tuple[str, ...]
    estimate: np.ndarray
    first: np.ndarray
    second: np.ndarray
    rounding: np.ndarray

    def halves(self, negligible: float) -> bool:
        """Return whether all differences halve that are not negligible."""
        low, high = HALVING
        small = self.second <= np.maximum(self.rounding, negligible)
        small &= self.first <= np.maximum(self.rounding, negligible)
        seen = (low * self.second <= self.first) & (self.first <= high * self.second)
        return bool((small | seen).all())

    def words(self) -> str:
        """Return the largest estimates of outputs and of everything else."""
        worst = dict(zip(self.kinds, self.estimate.max(axis=0), strict=True))
        output = worst.pop("output")
        where = max(worst, key=lambda name: worst[name])
        return (
            f"{output:.1e} of the largest output, {worst[where]:.1e} of the change of "
            f"{'the weights' if where == 'weights' else f'node {where!r}'}"
        )


def compared(fine: RelinearisedPath, *coarse: RelinearisedPath) -> Comparison:
    """Compare paths with k, k/2 and k/4 refreshes, record by record."""
    names = fine.moving_nodes
    kinds = (*names.values(), "weights")
    position = fine.clock.position
    gaps = np.zeros((4, len(position), len(kinds), 2))
    scale, size = np.zeros((2, int(position.max()) + 1, len(kinds), 2))
    starts = {int(phase): fine.at_start(phase) for phase in np.unique(position)}
    for row, phase in enumerate(position):
        x, half, quarter = (path.state(row) for path in (fine, *coarse))
        true = fine.network(row)
        for j, kind in enumerate(kinds):
            d1, d2 = half[kind] - x[kind], quarter[kind] - half[kind]
            parts = (d1, d2, (5 * d1 - d2) / 3, true[kind] - x[kind])
            gaps[:, row, j] = [_sizes(part) for part in parts]
            moved = x[kind] if kind == "output" else x[kind] - starts[phase][kind]
            scale[phase, j] = np.maximum(scale[phase, j], _sizes(moved))
            size[phase, j] = np.maximum(size[phase, j], _sizes(x[kind]))
    scale[scale == 0] = 1.0
    first, second, cubic, defect = (gaps / scale[position]).max(axis=-1)
    largest, before = first.max(axis=0), second.max(axis=0)
    ratio = np.minimum(largest / np.where(before, before, np.inf), _SLOWEST)
    slow = np.maximum(1.0, ratio / (1 - ratio))
    estimate = SAFETY * np.maximum.reduce([first * slow, cubic, defect])
    rounding = _ROUNDING * (size / scale).max(axis=(0, -1))
    return Comparison(kinds, fine.until_quarters(estimate), largest, before, rounding)


def _sizes(values: np.ndarray) -> list[float]:
    return [float(np.abs(values).max(initial=0.0)), float(np.linalg.norm(values))]


def settled(
    run: Callable[[int], RelinearisedPath], rtol: float
) -> tuple[RelinearisedPath, Comparison, int]:
    """Double the refreshes until the estimate is below `rtol` and its order was seen twice.

    Raises
    ------
    InvalidArgument
        If they become too many.
    """
    pieces = _FEWEST
    paths = [run(pieces), run(pieces // 2), run(pieces // 4)]
    before = False
    while True:
        found = compared(*paths)
        now = found.halves(_NEGLIGIBLE * rtol)
        if before and now and found.estimate.max() <= rtol:
            return paths[0], found, pieces
        # The error falls as 1/refreshes: so many would be needed by now.
        needed = pieces * float(found.estimate.max()) / rtol
        if pieces >= _MOST or (pieces >= _MANY and needed > _BEYOND * _MOST):
            raise InvalidArgument(
                f"Argument 'rtol' must be reachable: {pieces} refreshes in each phase leave an "
                f"estimated error of {found.words()}, more than {rtol:.1e}"
                f"{'' if now else ', with differences that do not halve yet'}; ask for a larger "
                f"one, for earlier times, or simulate."
            )
        before, pieces = now, 2 * pieces
        paths = [run(pieces), *paths[:2]]
