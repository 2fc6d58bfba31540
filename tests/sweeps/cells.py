"""Functions of a cell, at the top level of a module so that worker processes can import them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

import symkernel as sk


def drawn(stream: np.random.Generator, scale: float, name: str) -> dict[str, object]:
    return {"draw": stream.standard_normal(3) * scale, "length": len(name), "text": name}


def trained(stream: np.random.Generator, scale: float, hidden: int) -> dict[str, object]:
    net = sk.Network.two_layer(inputs=2, hidden=hidden, outputs=2, activation="tanh")
    task = sk.Task(stream.standard_normal((5, 2)), stream.standard_normal((5, 2)))
    w0 = sk.weights.gaussian(net, scale=scale, seed=int(stream.integers(2**31)))
    run = sk.simulate(net, task, w0, learning_rate=0.05, steps=20)
    return {"loss": run.loss[-1], "outputs": run.outputs[-1]}


def fragile(stream: np.random.Generator, k: int) -> dict[str, object]:
    if k % 3 == 1 and not os.environ.get("SYMKERNEL_TEST_MENDED"):
        raise ValueError(f"cell {k} is not for me")
    return {"square": k * k}


def counted(stream: np.random.Generator, k: int, log: str) -> dict[str, object]:
    """Leave a line in a file for every call that begins; take a little while."""
    with Path(log).open("a") as file:
        file.write(f"{k}\n")
    time.sleep(0.02)
    return {"draw": stream.standard_normal(200), "place": k}
