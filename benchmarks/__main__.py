"""Run benchmarks and print them side by side: ``python -m benchmarks [MODULE ...]``."""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys

# Each has a function `run() -> list[Row]`, and says how many threads JAX may use.
MODULES = {"starting": 1, "modes": 1, "descent": 1, "descent_cores": 0, "online": 1, "memory": 1}
_ONE = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def run(name: str) -> None:
    """Run one module in this process and print its rows."""
    from benchmarks.table import print_rows

    module = importlib.import_module(f"benchmarks.{name}")
    print((module.__doc__ or name).splitlines()[0])
    print_rows(module.run())
    print(flush=True)


def main() -> None:
    """Run each module in a process of its own, whose libraries read their threads at the start."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print("medians of runs in alternation; BLAS on one thread; float64\n", flush=True)
    for name in sys.argv[1:] or MODULES:
        blas = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL")}
        environment = {**os.environ, **blas, "XLA_FLAGS": _ONE if MODULES[name] else ""}
        code = f"from benchmarks.__main__ import run; run({name!r})"
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)


if __name__ == "__main__":
    main()
