"""Starting up: whole processes a second, and derivations a second.

A limit of "at most 1.2 times the peer's time" stands here as "at least 1/1.2 of its rate".
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import symkernel as sk
from benchmarks.table import Row, rates

FIRST_VALUE = """
import symkernel as sk
task = sk.Task.from_modes([3.0, 1.5])
net = sk.Network.two_layer(inputs=2, hidden=4, outputs=2)
law = sk.derive(net, task, sk.weights.aligned(net, task, a=0.1, b=0.2))
law.compile()([0.0, 1.0]).modes
"""
# The floor under a first value: a function of numba's, read from its cache and called.
CACHED = """
import sympy
from symkernel.codegen.cache import load
source = "from numba import njit; f = njit('float64(float64)', cache=True)(lambda x: x)"
load(source, "identity")
"""
DERIVE_TARGET = 0.5


def process(code: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)


def derivation(width: int) -> Callable[[], object]:
    def work() -> None:
        task = sk.Task.from_modes([3.0, 1.5])
        net = sk.Network.two_layer(inputs=2, hidden=width, outputs=2)
        law = sk.derive(net, task, sk.weights.aligned(net, task, a=0.1, b=0.2))
        assert law.steps
        assert law.result
        assert law.formulas

    return work


def run() -> list[Row]:
    routines = {
        "sympy": process("import sympy"),
        "symkernel": process("import symkernel"),
        "both": process("import sympy, numba"),
        "cached": process(CACHED),
        "first": process(FIRST_VALUE),
    }
    found = rates(1.0, routines, 5)
    widths = rates(1.0, {"8": derivation(8), "8192": derivation(8192)}, 5)
    return [
        Row(
            "import symkernel",
            "processes/s",
            found["symkernel"],
            "import sympy",
            found["sympy"],
            1 / 1.2,
        ),
        Row(
            "second process to its first value",
            "processes/s",
            found["first"],
            "import sympy, numba",
            found["both"],
            1 / 1.3,
        ),
        Row(
            "second process to its first value",
            "processes/s",
            found["first"],
            "import sympy and one cached numba function",
            found["cached"],
        ),
        Row("derivation at width 8", "derivations/s", widths["8"], "2 s", DERIVE_TARGET, 1.0),
        Row("derivation at width 8192", "derivations/s", widths["8192"], "width 8", widths["8"]),
    ]
