"""Whole trajectories of a 64-256-10 network, 100 times: laws against gradient descent.

A trajectory is the end-to-end map and the two Gram matrices that give the hidden similarity and
the NTK. The peer is our own gradient descent at the largest learning rate (of a grid of steps of
1.25) whose end-to-end map stays within 1e-3 of the law's over the horizon 10/s_min; on samples its
time is that of 200 steps, times their number. What a law needs to know of tasks and weights,
whatever the times, is found once for a problem: trajectories are timed after the first one. The
rows "from the start" time deriving, compiling and the first call together, with fresh weights.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import cache

import numpy as np

import symkernel as sk
from benchmarks.table import Row, rates

SIZES = (64, 256, 10)
SAMPLES, TIMES, ERROR = 1000, 100, 1e-3
STRENGTHS = np.geomspace(1.0, 0.1, 10)
LAWS = {"aligned_modes": (1000, 100), "gram_diagonal": (1000, 100), "lambda_balanced": (200, 4),
        "two_eigenvalues": (None, None)}  # fmt: skip


@cache
def task(inputs: int = SIZES[0], outputs: int = SIZES[2], samples: int = SAMPLES) -> sk.Task:
    stream = np.random.default_rng(0)
    X = np.sqrt(samples) * np.linalg.qr(stream.standard_normal((samples, inputs)))[0]
    V, U = (np.linalg.qr(stream.standard_normal((n, n)))[0] for n in (inputs, outputs))
    r = min(inputs, outputs)
    s = np.geomspace(1.0, 0.1, r)
    return sk.Task(X, X @ (V[:, :r] * s) @ U[:, :r].T)


def weights(name: str, net: sk.Network, posed: sk.Task) -> object:
    if name == "aligned_modes":
        return sk.weights.aligned(net, posed, a=0.1, b=0.1)
    if name == "gram_diagonal":
        return sk.weights.aligned(net, posed, a=0.1, b=0.2)
    if name == "lambda_balanced":
        return sk.weights.balanced(net, scale=0.1, seed=0)
    return sk.weights.semi_orthogonal(net, 0.01, 0.02)


def derived(name: str, sizes: tuple[int, int, int] = SIZES) -> sk.Derivation:
    net, posed = sk.Network.two_layer(*sizes), task(sizes[0], sizes[2])
    return sk.derive(net, posed, weights(name, net, posed), law=name)


def whole(d: sk.Derivation, times: np.ndarray) -> Callable[[], object]:
    compiled = d.compile()

    def run() -> object:
        found = compiled(times)
        return found.end_to_end, found.input_gram, found.readout_gram

    return run


def largest_rate(d: sk.Derivation, times: np.ndarray) -> float:
    """Return the largest learning rate of the grid that is good enough."""
    exact = d.compile()(times).end_to_end
    bound = ERROR * np.abs(exact).max()
    rate = 0.5
    while True:
        steps = np.unique(np.round(times / rate))
        reached = d.compile()(steps * rate).end_to_end
        problem = d.problem
        run = sk.simulate(problem.network, problem.curriculum, problem.weights,
                          learning_rate=rate, record=steps * rate, on="moments")  # fmt: skip
        if np.abs(run.end_to_end - reached).max() <= bound:
            return rate
        rate /= 1.25


def against_descent(name: str) -> list[Row]:
    times = np.linspace(0.0, 10.0 / STRENGTHS[-1], TIMES)
    d = derived(name)
    problem, rate = d.problem, largest_rate(d, times)
    steps = int(times[-1] / rate)
    ours = rates(1, {"law": whole(d, times)})["law"]

    def descent(on: str, count: int) -> Callable[[], object]:
        where = (problem.network, problem.curriculum, problem.weights)
        ends = [0.0, count * rate]
        return lambda: sk.simulate(*where, learning_rate=rate, record=ends, on=on)

    on_moments = rates(1, {"moments": descent("moments", steps)}, rounds=3)["moments"]
    few = rates(200 / steps, {"samples": descent("samples", 200)}, rounds=3)["samples"]
    label = f"{name}, descent of {steps:,} steps"
    whole_way = from_the_start(name, times)
    return [
        Row(f"{label} on samples", "trajectories/s", ours, "descent", few, LAWS[name][0]),
        Row(f"{label} on moments", "trajectories/s", ours, "descent", on_moments, LAWS[name][1]),
        Row(f"{label} on moments, from the start", "1/s", whole_way, "descent", on_moments),
    ]


def from_the_start(name: str, times: np.ndarray) -> float:
    """Return how often a problem is derived, compiled and called in a second."""
    seconds = []
    for _ in range(8):
        net, posed = sk.Network.two_layer(*SIZES), task()
        w0 = weights(name, net, posed)
        begin = time.perf_counter()
        whole(sk.derive(net, posed, w0, law=name), times)()
        seconds.append(time.perf_counter() - begin)
    return 1 / statistics.median(seconds[1:])


def operations(inputs: int, hidden: int, outputs: int, times: int) -> float:
    """Return how many operations fill the products of the weights, up to a factor.

    (inputs + outputs)^2 numbers a time, from as many hidden directions as the weights have ranks:
    r = min(inputs, outputs) for the weights here. It would be up to all inputs for lambda < 0. What
    is of order r^3, a QR of each time, counts where outputs are many.
    """
    return times * (inputs + outputs) ** 2 * min(inputs, outputs)


def exponent(name: str, which: str) -> Row:
    """Fit how the cost of a trajectory grows with one size, beside that of its operations."""
    spans = {"inputs": (64, 128, 256), "hidden": (256, 1024, 4096), "outputs": (5, 10, 20),
             "times": (100, 400, 1600)}  # fmt: skip
    seconds, counts = [], []
    for value in spans[which]:
        size = dict(zip(("inputs", "hidden", "outputs", "times"), (*SIZES, TIMES), strict=True))
        size[which] = value
        d = derived(name, (size["inputs"], size["hidden"], size["outputs"]))
        run = whole(d, np.linspace(0, 100, size["times"]))
        seconds.append(1 / rates(1, {"law": run})["law"])
        counts.append(operations(**size))
    slope, wanted = (
        float(np.polyfit(np.log(spans[which]), np.log(grown), 1)[0]) for grown in (seconds, counts)
    )
    what = f"{name}: exponent of the cost in {which} (expected {abs(wanted):.2f})"
    return Row(what, "exponent", slope)


def deriving(name: str) -> Row:
    """Return the rate of derivations with 8192 hidden units beside that with 128.

    Network and weights are made before, anew for each: nothing is known of them.
    """
    seconds: dict[int, list[float]] = {128: [], 8192: []}
    for _ in range(8):
        for hidden, found in seconds.items():
            net, posed = sk.Network.two_layer(SIZES[0], hidden, SIZES[2]), task()
            w0 = weights(name, net, posed)
            begin = time.perf_counter()
            _ = sk.derive(net, posed, w0, law=name).steps
            found.append(time.perf_counter() - begin)
    narrow, wide = (1 / statistics.median(found[1:]) for found in seconds.values())
    return Row(f"{name}: derivations, 8192 hidden units", "1/s", wide, "128 hidden units", narrow)


def run() -> list[Row]:
    rows = [row for name in LAWS for row in against_descent(name)]
    for name in ("aligned_modes", "lambda_balanced"):
        rows += [exponent(name, which) for which in ("inputs", "hidden", "outputs", "times")]
        rows.append(deriving(name))
    return rows
