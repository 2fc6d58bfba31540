"""Memory that a training allocates beyond its data, in MB, beside that of its activations."""

from __future__ import annotations

import tracemalloc

import numpy as np

import symkernel as sk
from benchmarks.table import Row

SIZES = {"large": ((784, 1024, 10), 5000), "many samples": ((200, 64, 2), 100_000)}


def compare(name: str, batch_size: int | None) -> list[Row]:
    sizes, samples = SIZES[name]
    rng = np.random.default_rng(0)
    net = sk.Network.two_layer(*sizes, activation="tanh")
    task = sk.Task(rng.normal(size=(samples, sizes[0])), rng.normal(size=(samples, sizes[2])))
    w0 = sk.weights.gaussian(net, seed=0)

    def train() -> None:
        sk.simulate(net, task, w0, 1e-3, steps=2, batch_size=batch_size, on="samples")

    train()
    tracemalloc.start()
    train()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    what = f"{name} {sizes}, {samples} samples, {'full' if batch_size is None else batch_size}"
    others = {
        "inputs": samples * sizes[0],
        "hidden activations, values and slopes": 2 * samples * sizes[1],
    }
    return [
        Row(what, "MB", peak / 1e6, label, 8 * count / 1e6) for label, count in others.items()
    ]  # fmt: skip


def run() -> list[Row]:
    return [row for name in SIZES for batch in (None, 100) for row in compare(name, batch)]
