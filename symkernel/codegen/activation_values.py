"""An activation and its derivative at the entries of an array, by their compiled body."""

from __future__ import annotations

import inspect
from functools import cache
from types import ModuleType

import numpy as np

from symkernel.codegen.activations import bodies_of, body_of
from symkernel.codegen.cache import load
from symkernel.numerics import elementary
from symkernel.problem.activation import Activation

_FILL = """

@numba.njit("void(f8[::1], f8[::1], f8[::1])", cache=True, nogil=True, error_model="numpy")
def fill(z, value, slope):
    for k in range(z.size):
        value[k], slope[k] = {body}(z[k])
"""


@cache
def _compiled(activation: Activation) -> ModuleType:
    body, text = body_of(activation), bodies_of([activation])
    return load(inspect.getsource(elementary) + text + _FILL.format(body=body), "activation")


def value_and_slope(activation: Activation, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an activation and its derivative at each entry."""
    flat = np.array(z).reshape(-1)  # a copy: the samples of a task cannot be written to
    value, slope = np.empty_like(flat), np.empty_like(flat)
    _compiled(activation).fill(flat, value, slope)
    return value.reshape(z.shape), slope.reshape(z.shape)
