"""A generated module run by the Python interpreter: what numba compiles, without numba."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from unittest import mock

import numba


def interpreted(source):
    """Return the module with every function left as it was written."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(numba.config, "DISABLE_JIT", 1):
        path = Path(folder, "interpreted.py")
        path.write_text(source)
        spec = importlib.util.spec_from_file_location("interpreted", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module
