"""Run all benchmarks and print them side by side: ``python -m benchmarks``."""

from __future__ import annotations

import importlib
import os
import platform

# Read when NumPy, SciPy and JAX are loaded, which the modules below do.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

# Each has a function `run() -> list[Row]`.
MODULES = ("benchmarks.starting", "benchmarks.modes", "benchmarks.descent")


def main() -> None:
    from benchmarks.table import print_rows

    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print("medians of runs in alternation; BLAS on one thread; float64\n")
    for name in MODULES:
        module = importlib.import_module(name)
        print((module.__doc__ or name).splitlines()[0])
        print_rows(module.run())
        print(flush=True)


if __name__ == "__main__":
    main()
