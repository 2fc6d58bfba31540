"""What the tests of the analyses share: drawn patterns, rotations, trajectories."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from symkernel.trajectory import Trajectory, Undetermined

TIMES = np.array([0.0, 0.5, 2.0])


@st.composite
def patterns(draw, least=2):
    """Activities (3, n_samples, n_units) in general position, up to a common offset."""
    samples, units = draw(st.integers(least, 7)), draw(st.integers(2, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = 10.0 ** draw(st.integers(-6, 6))
    offset = draw(st.sampled_from([0.0, 1.0, 10.0]))
    return scale * (rng.normal(size=(3, samples, units)) + offset)


def rotation(size, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def trajectory(activity, hidden=True, **labels):
    """A trajectory of these activities, or of their inner products alone."""
    fields = {
        "hidden": (lambda: activity) if hidden else Undetermined("known up to a rotation"),
        "hidden_gram": lambda: activity @ activity.transpose(0, 2, 1),
    }
    times = np.arange(len(activity), dtype=float)
    return Trajectory(times, fields, labels=labels, nodes={"first": lambda: 2 * activity})
