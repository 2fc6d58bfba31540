"""Whole trajectories of a 64-256-10 network, 100 times: laws against gradient descent.

A trajectory is the end-to-end map and the two Gram matrices that give the hidden similarity and
the NTK. The peer is our own gradient descent at the largest learning rate (of a grid of steps of
1.25) whose end-to-end map stays within 1e-3 of the law's over the horizon 10/s_min; on samples its
time is that of 200 steps, times their number.
"""

from __future__ import annotations

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
    return [
        Row(f"{label} on samples", "trajectories/s", ours, "descent", few, LAWS[name][0]),
        Row(f"{label} on moments", "trajectories/s", ours, "descent", on_moments, LAWS[name][1]),
    ]


def exponent(name: str, which: str) -> Row:
    """Fit how the cost of a trajectory grows with one size."""
    spans = {"inputs": (64, 128, 256), "hidden": (256, 1024, 4096), "outputs": (5, 10, 20),
             "times": (100, 400, 1600)}  # fmt: skip
    expected = {"inputs": "2", "hidden": "0 to 1", "outputs": "1 to 2", "times": "1"}
    seconds = []
    for value in spans[which]:
        sizes, count = list(SIZES), TIMES
        if which == "times":
            count = value
        else:
            sizes[("inputs", "hidden", "outputs").index(which)] = value
        d = derived(name, (sizes[0], sizes[1], sizes[2]))
        seconds.append(1 / rates(1, {"law": whole(d, np.linspace(0, 100, count))}, rounds=3)["law"])
    slope = float(np.polyfit(np.log(spans[which]), np.log(seconds), 1)[0])
    what = f"{name}: exponent of the cost in {which} (expected {expected[which]})"
    return Row(what, "exponent", slope)


def deriving(name: str) -> Row:
    """Return the time of a derivation with 8192 hidden units over that with 128."""
    seconds = []
    for hidden in (128, 8192):
        _ = derived(name, (SIZES[0], hidden, SIZES[2])).steps
        begin = time.perf_counter()
        _ = derived(name, (SIZES[0], hidden, SIZES[2])).steps
        seconds.append(time.perf_counter() - begin)
    return Row(f"{name}: derivations, 8192 hidden units", "1/s", 1 / seconds[1],
               "128 hidden units", 1 / seconds[0])  # fmt: skip


def run() -> list[Row]:
    rows = [row for name in LAWS for row in against_descent(name)]
    for name in ("aligned_modes", "lambda_balanced"):
        rows += [exponent(name, which) for which in ("inputs", "hidden", "outputs", "times")]
        rows.append(deriving(name))
    return rows
