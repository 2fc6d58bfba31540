r"""Closed forms beside the trainings: solvable networks, and the clock by which noise prunes.

The networks that are trained have no closed form. Two linear layers have one, for the same
questions: what is needed no longer rises and falls, and pretraining is forgotten or locked in. And
descent with noise shrinks what the hidden layer holds along a direction that is not read out: its
squared length falls as $e^{-X}$ on the clock $X$, to leading order in the learning rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import sympy as sp
from scipy.optimize import brentq

from symkernel.derivation import derive
from symkernel.information import binary, gaussian
from symkernel.notation import t
from symkernel.problem.network import Network
from symkernel.problem.task import Task
from symkernel.studies.decisions.found import Found
from symkernel.studies.decisions.setting import Descent
from symkernel.theory.information_hump import R, one_layer_weights
from symkernel.theory.information_memory import KEPT, LEARNED, VARIANCE
from symkernel.theory.information_memory import memory as forgotten
from symkernel.weights import aligned

_CORRELATION, _STRENGTH, _NOISE = 0.8, 1.5, 0.3
# Both sides of a mode at first; differences of their squares below the other are rounding.
_SMALL, _BALANCED = 0.1, 1e-12
# Bits of two classes that are taken as none, and as all; at this distance there are more.
_NONE, _CERTAIN, _FARTHEST = 1e-9, 0.999, 10.0


class Solved(NamedTuple):
    """Bits in the hidden layer of a solvable network, along times."""

    times: np.ndarray
    relevant: np.ndarray
    irrelevant: np.ndarray


@lru_cache(maxsize=1)
def hump() -> Solved:
    """Return both curves of one linear layer whose irrelevant input correlates with the target."""
    times = np.append(0.0, np.geomspace(0.1, 60.0, 80))
    numbers = {R: _CORRELATION}
    weights = np.array(
        [[float(w.subs({**numbers, t: time})) for w in one_layer_weights()] for time in times]
    )
    gram = weights[:, :, None] * weights[:, None, :]
    inputs = np.array([[1.0, _CORRELATION], [_CORRELATION, 1.0]])
    relevant, irrelevant = (
        gaussian(gram, inputs, _NOISE, of=one, given=other) for one, other in ((0, 1), (1, 0))
    )
    return Solved(times, relevant, irrelevant)


@lru_cache(maxsize=2)
def memory(reset: bool, later: float = 30.0) -> tuple[np.ndarray, np.ndarray]:
    """Return flow times of pretraining, and the bits that are left of it after a second task.

    Two linear layers, each input with a read-out of its own, from balanced weights; with `reset`
    the read-out is set back to its initial length in between.
    """
    times = np.append(0.0, np.geomspace(0.2, 20.0, 24))
    small = sp.Float(_SMALL)
    net, task = Network.two_layer(inputs=1, hidden=1, outputs=1), Task.from_modes([_STRENGTH])
    law = derive(net, task, aligned(net, task, a=small, b=small))
    mode = law.mode(0).output
    left = []
    for time in times:
        # Balanced sides: the square of either is the mode.
        learned = float(mode.subs(t, time))
        kept = learned - _SMALL**2 if reset else 0.0
        values = {LEARNED: learned, VARIANCE: 1, KEPT: kept, t: later}
        remains = forgotten(sp.S.Zero if kept < _BALANCED else KEPT).subs(values)
        left.append(float(binary(np.sqrt(float(remains)) / _NOISE)))
    return times, np.array(left)


def pruned(bits: float, clock: np.ndarray) -> np.ndarray:
    """Return bits about two classes whose distance shrinks by exp(-clock / 2), from so many."""
    start = min(max(bits, 0.0), _CERTAIN)
    if start < _NONE:
        return np.zeros(len(clock))
    distance = brentq(lambda m: binary(m) - start, 0.0, _FARTHEST)
    left: np.ndarray = binary(distance * np.exp(-np.asarray(clock) / 2))
    return left


def is_foreseen(found: Found) -> bool:
    """Whether the clock says something: of two classes, which differ in one direction."""
    return found.watched is not None and bool(found.decision.irrelevant.max() == 1)


def foreseen(found: Found, noise: str) -> np.ndarray:
    """Return what the clock leaves of the peak of the watched training, (n_records,).

    Of two linear layers that is the law, to leading order; of other networks an indication. Nan
    before the peak.
    """
    measured, clock = _means(found, noise)
    peak = int(measured.argmax())
    left = np.full(len(clock), np.nan)
    left[peak:] = pruned(float(measured[peak]), clock[peak:] - clock[peak])
    return left


def foreseen_by_noise(found: Found, noise: str, descents: Sequence[Descent]) -> np.ndarray:
    """Return what the clock leaves at the end of descents: that of the watched one, in proportion.

    The clock runs with the noise of the gradient and with the flow time.
    """
    own = found.setting.watched
    assert own is not None
    measured, clock = _means(found, noise)
    pace = clock[-1] / (own.noise * own.duration)
    ends = np.array([pace * one.noise * one.duration for one in descents])
    return pruned(float(measured.max()), ends)


def _means(found: Found, noise: str) -> tuple[np.ndarray, np.ndarray]:
    """Return irrelevant bits of the last layer and the clock, through the watched training."""
    assert found.watched is not None
    bits, clock = found.bits("watched", noise=noise)[0], found.watched["clock"][0]
    return np.nanmean(bits, axis=0), np.nanmean(clock, axis=0)
