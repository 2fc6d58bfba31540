r"""Checkerboard: which target has the dominant colour? A decision that is the XOR of two bits.

A trial shows a checkerboard of two colours, of signed coherence c, and a coloured target on either
side, in the configuration k. The answer is the direction of the target that has the dominant
colour: direction is relevant, colour and configuration alone are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from symkernel.errors import (
    InvalidArgument,
    as_choice,
    as_count,
    as_positive,
    as_real_array,
    as_seed,
    refuse_large,
)
from symkernel.problem.task import Task

_COHERENCES = (0.04, 0.12, 0.2, 0.4, 0.6, 0.9)
_NAMES = {
    "colour": ("red", "green"),
    "configuration": ("green left", "green right"),
    "direction": ("left", "right"),
}
# Standard deviations that the quadrature reaches, and its points in one of them.
_REACH, _POINTS = 9.0, 32


@dataclass(frozen=True, eq=False)
class Checkerboard:
    """Trials of the checkerboard task, with their labels.

    Attributes
    ----------
    X : ndarray, shape (n_trials, 4)
        $(c, -c, k, -k)$ with noise.
    coherence : ndarray, shape (n_trials,)
        Signed coherence c.
    labels : mapping of str to ndarray of int
        "colour", "configuration" and "direction", each 0 or 1 and fair; any two of them are
        independent, and any two fix the third.
    coherences : tuple of float
    noise : float
    """

    X: np.ndarray
    coherence: np.ndarray
    labels: Mapping[str, np.ndarray]
    coherences: tuple[float, ...]
    noise: float

    def __repr__(self) -> str:
        levels = ", ".join(f"{c:g}" for c in self.coherences)
        return f"Checkerboard({len(self.X)} trials; coherences {levels}; noise {self.noise:g})"

    @cached_property
    def task(self) -> Task:
        """The task whose answer is the direction."""
        return self.task_of("direction")

    def task_of(self, label: str) -> Task:
        """Return the task whose answer is a label, as one-hot targets of two outputs.

        Parameters
        ----------
        label : {"colour", "configuration", "direction"}
        """
        name = as_choice(label, "label", _NAMES)
        inputs = ["coherence", "-coherence", "configuration", "-configuration"]
        return Task(
            self.X, np.eye(2)[self.labels[name]], {"outputs": list(_NAMES[name]), "inputs": inputs}
        )

    def ceiling(self, label: str) -> float:
        r"""Return the information of the inputs about a label, in bits, by quadrature.

        Parameters
        ----------
        label : {"colour", "configuration", "direction"}

        Notes
        -----
        $(x_1 - x_2)/2$ and $(x_3 - x_4)/2$ are sufficient for c and k, with noise of half the
        variance. Sums over equidistant points converge faster than any power of the step; errors
        are below 1e-12.
        """
        name = as_choice(label, "label", _NAMES)
        spread = self.noise / np.sqrt(2.0)
        colour = _posterior(np.array(self.coherences), spread)
        configuration = _posterior(np.ones(1), spread)
        if name == "direction":
            # Of an XOR the biases 2 p - 1 multiply.
            (one, shares), (two, weights) = colour, configuration
            known = [shares @ _bits_known(one * bias) for bias in two]
            return float(weights @ known)
        bias, shares = colour if name == "colour" else configuration
        return float(shares @ _bits_known(bias))


def _posterior(sizes: np.ndarray, spread: float) -> tuple[np.ndarray, np.ndarray]:
    r"""Return $2p(+|u) - 1$ at points u, and their shares, for u = +- a size, with noise.

    For one sign alone: the other gives the same information by symmetry.
    """
    z = np.linspace(-_REACH, _REACH, 1 + int(2 * _REACH * _POINTS))
    density = np.exp(-0.5 * z**2)
    u = (sizes[:, None] / spread + z).ravel()
    logs = [-0.5 * (u - sign * sizes[:, None] / spread) ** 2 for sign in (1.0, -1.0)]
    right, left = (np.logaddexp.reduce(part, axis=0) for part in logs)
    shares = np.tile(density / density.sum(), len(sizes)) / len(sizes)
    return np.tanh((right - left) / 2.0), shares


def _bits_known(bias: np.ndarray) -> np.ndarray:
    """Return 1 less the entropy of a bit of this bias."""
    p = np.clip((1.0 + np.array([bias, -bias])) / 2.0, 1e-300, None)
    return 1.0 + (p * np.log2(p)).sum(0)


def checkerboard(
    trials: int = 10_000,
    *,
    coherences: Any = _COHERENCES,
    noise: float = 0.1,
    seed: int = 0,
) -> Checkerboard:
    r"""Return trials of the checkerboard task.

    The signed coherence c is $\pm$ one of the levels and the configuration k is $\pm 1$, all
    equally likely; inputs are $x = (c, -c, k, -k) + \xi$, $\xi \sim N(0, \sigma^2 1)$. The labels
    are 1 for c > 0 (colour), for k > 0 (configuration), and where just one of these two is 1
    (direction).

    Parameters
    ----------
    trials : int
    coherences : sequence of float
        Levels, positive and different.
    noise : float
        Standard deviation $\sigma$, positive.
    seed : int

    Returns
    -------
    Checkerboard
        With `X`, `labels`, the `task`, `task_of` and the `ceiling` of information.

    Notes
    -----
    Low coherences are ambiguous: what can be known of the colour or the direction is 0.819 bits,
    not 1. No linear network can do the task, as the direction is not linear in x; one hidden layer
    has to keep the colour.

    References
    ----------
    M. Kleinman, A. Achille, D. Idnani, J. C. Kao, arXiv:2010.02459 (2021), for the task; its
    levels and noise here are this project's.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> board = sk.environments.checkerboard(2000, seed=1000)
    >>> assert board.task.X.shape == (2000, 4) and abs(board.ceiling("colour") - 0.8191) < 1e-4
    >>> colour, direction = board.labels["colour"], board.labels["direction"]
    >>> assert np.array_equal(colour ^ board.labels["configuration"], direction)
    >>> assert sk.usable_information(board.X, direction).bits < 0.01  # not linear
    >>> assert sk.usable_information(board.X, direction, decoder="quadratic").bits > 0.75
    """
    count = as_count(trials, "trials")
    levels = as_real_array(coherences, "coherences", 1)
    if levels.min() <= 0 or len(np.unique(levels)) < len(levels):
        raise InvalidArgument(
            f"Argument 'coherences' must hold positive levels, each once, not {coherences!r}; both "
            f"signs are shown of every level."
        )
    spread = as_positive(noise, "noise")
    refuse_large((count, 4), "X")
    stream = np.random.default_rng(as_seed(seed))
    colour, configuration = stream.integers(0, 2, (2, count))
    c = (2 * colour - 1) * levels[stream.integers(0, len(levels), count)]
    k = 2.0 * configuration - 1.0
    X = np.stack([c, -c, k, -k], axis=1) + spread * stream.standard_normal((count, 4))
    labels = {
        "colour": colour,
        "configuration": configuration,
        "direction": colour ^ configuration,
    }
    for array in (X, c, *labels.values()):
        array.setflags(write=False)
    return Checkerboard(X, c, MappingProxyType(labels), tuple(map(float, levels)), spread)
