"""Run benchmarks and print them side by side: ``python -m benchmarks [MODULE ...]``."""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys

# Each has a function `run() -> list[Row]`. JAX takes all the cores that it finds, whatever its
# flags say: where one core is compared with one, the process is pinned to it.
PINNED = {"starting": False, "modes": False, "descent": True, "descent_cores": False,
          "online": True, "sgd": False, "information": False, "memory": False,
          "trajectories": True, "attribution": False, "infinite": False, "frozen_kernels": True,
          "multitask": True, "multitask_cores": False}  # fmt: skip


def run(name: str) -> None:
    """Run one module in this process and print its rows."""
    if PINNED[name] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {0})
    from benchmarks.table import print_rows

    module = importlib.import_module(f"benchmarks.{name}")
    print((module.__doc__ or name).splitlines()[0])
    print_rows(module.run())
    print(flush=True)


def main() -> None:
    """Run each module in a process of its own, whose libraries read their threads at the start."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print("medians of runs in alternation; BLAS on one thread; float64\n", flush=True)
    for name in sys.argv[1:] or PINNED:
        blas = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL")}
        environment = {**os.environ, **blas}
        code = f"from benchmarks.__main__ import run; run({name!r})"
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)


if __name__ == "__main__":
    main()
