"""Stochastic gradient descent written out in NumPy, many runs at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from symkernel.trajectory import Trajectory

Draw = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]


def fresh(mixing: np.ndarray, teacher: np.ndarray, noise: float, runs: int, batch: int) -> Draw:
    """Return a source of Gaussian batches x = mixing g for so many runs."""

    def draw(stream: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        X = stream.standard_normal((runs, batch, mixing.shape[1])) @ mixing.T
        return X, X @ teacher.T + noise * stream.standard_normal((runs, batch, len(teacher)))

    return draw


def drawn(X: np.ndarray, Y: np.ndarray, noise: float, runs: int, batch: int, again: bool) -> Draw:
    """Return a source of batches of a set, with or without replacement."""

    def draw(stream: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        if again:
            chosen = stream.integers(len(X), size=(runs, batch))
        else:
            chosen = stream.random((runs, len(X))).argsort(1)[:, :batch]
        targets = Y[chosen]
        return X[chosen], targets + noise * stream.standard_normal(targets.shape)

    return draw


def regression(
    draw: Draw, start: np.ndarray, runs: int, rate: float, records: Sequence[int], seed: int = 1000
) -> np.ndarray:
    """Return weights of all runs at steps, (n_records, runs, n_outputs, n_inputs)."""
    stream = np.random.default_rng(seed)
    W = np.broadcast_to(start, (runs, *start.shape)).copy()
    found, taken = [], 0
    for record in records:
        for _ in range(record - taken):
            X, Y = draw(stream)
            error = Y - X @ W.swapaxes(1, 2)
            W += rate * error.swapaxes(1, 2) @ X / X.shape[1]
        taken = record
        found.append(W.copy())
    return np.array(found)


def two_layers(
    draw: Draw,
    start: tuple[np.ndarray, np.ndarray],
    rate: float,
    records: Sequence[int],
    misfit: Callable[[np.ndarray, np.ndarray], np.ndarray] = np.subtract,
    seed: int = 1000,
) -> tuple[np.ndarray, np.ndarray]:
    """Return both layers of all runs at steps; `misfit` gives minus the gradient by the output."""
    stream = np.random.default_rng(seed)
    runs = len(draw(stream)[0])
    W1, W2 = (np.broadcast_to(W, (runs, *W.shape)).copy() for W in start)
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    taken = 0
    for record in records:
        for _ in range(record - taken):
            X, Y = draw(stream)
            e = misfit(Y, X @ (W2 @ W1).swapaxes(1, 2))
            G = e.swapaxes(1, 2) @ X / X.shape[1]
            W1, W2 = W1 + rate * W2.swapaxes(1, 2) @ G, W2 + rate * G @ W1.swapaxes(1, 2)
        taken = record
        for layer, kept in zip((W1, W2), found, strict=True):
            kept.append(layer)
    return np.array(found[0]), np.array(found[1])


def run_of(W1, W2, X, rate, steps, k):
    """Return run k of the oracle as a trajectory."""
    weights = {"W1": W1[:, k], "W2": W2[:, k]}
    maps = weights["W2"] @ weights["W1"]
    fields = {"weights": lambda: weights, "end_to_end": lambda: maps}
    if X is not None:
        fields["outputs"] = lambda: X @ maps.swapaxes(1, 2)
    steps = np.asarray(steps)
    return Trajectory(rate * steps, fields, steps, origin="simulation")
