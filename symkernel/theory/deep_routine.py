"""The compiled inverse of the flow time of deep modes."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

# Of the Python function: one that calls the compiled one would be optimised with it once more.
_ENTRY = """

evaluate = numba.njit(
    "void(float64[::1], float64[::1], float64[::1], float64[::1], int64, float64[:, ::1],"
    " float64[:, ::1])",
    cache=True,
    nogil=True,
    error_model="numpy",
)(deep_modes.py_func)
"""


@dataclass(frozen=True)
class DeepRoutine:
    r"""The compiled law of $\dot w = w^{D-1}(A - B w^D)$.

    Attributes
    ----------
    depth : int
        D; 0 stands for infinite depth, where w is the mode itself.
    rewritings : tuple
        None: the flow time is inverted as it stands.
    """

    depth: int
    rewritings: tuple[Any, ...] = ()

    @cached_property
    def source(self) -> str:
        """The module that is compiled."""
        from symkernel.numerics import deep_mode

        return inspect.getsource(deep_mode) + _ENTRY

    @cached_property
    def _evaluate(self) -> Any:
        from symkernel.codegen.cache import load

        return load(self.source, "deep_modes").evaluate

    def __call__(
        self, times: np.ndarray, A: np.ndarray, B: np.ndarray, w: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return w and the drive $A - B w^D$, each of shape (n_times, n_modes)."""
        arguments = [np.ascontiguousarray(v, dtype=np.float64) for v in (times, A, B, w)]
        shape = (len(arguments[3]), len(arguments[0]))
        layer, drive = np.empty(shape), np.empty(shape)
        self._evaluate(*arguments, self.depth, layer, drive)
        return layer.T, drive.T


@lru_cache(maxsize=16)
def deep_routine(depth: int) -> DeepRoutine:
    """Return the routine of a depth; compilation happens at its first call, once per machine."""
    return DeepRoutine(depth)
