"""Settings shared by every test: one cache of compiled routines, and how widely to draw."""

from __future__ import annotations

import os
from pathlib import Path

# Set before NumPy, numba or matplotlib is imported; the workers of a parallel run inherit it.
os.environ.setdefault(
    "SYMKERNEL_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".symkernel_cache")
)
os.environ.setdefault("MPLBACKEND", "Agg")
# Two workers with two BLAS threads each get in each other's way on two cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from hypothesis import HealthCheck, settings

# The first draw of a test may compile, which says nothing about its speed.
_COMMON = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
# The same draws in every run: a failure is a change of the code.
settings.register_profile("default", _COMMON, derandomize=True, max_examples=10)
# Fresh draws, and many: run by `make check-all`.
settings.register_profile("thorough", _COMMON, max_examples=300)
settings.load_profile(os.environ.get("SYMKERNEL_PROFILE", "default"))
