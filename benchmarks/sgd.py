"""Stochastic gradient descent of eight deep networks on mini-batches: network-steps a second.

Networks of ReLU layers 4-20-20-20-2 with biases learn a decision task by cross-entropy, each in
its own order of samples. JAX takes all steps in one `lax.scan` under `jit`, all seeds by `vmap`,
and is given the orders ready-made. PyTorch is shown in two ways: each network by a loop over steps
with `torch.nn` and `torch.optim.SGD`, as everyone writes it, for which the target is; and all
eight in products of batches (`torch.baddbmm`), one loop for all.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

import symkernel as sk
from benchmarks.descent import Peer
from benchmarks.table import Row, rates

SIZES, SAMPLES, SEEDS, RATE = [4, 20, 20, 20, 2], 10_000, range(1000, 1008), 0.05
# Steps of ours, of JAX and of PyTorch.
STEPS = {4: (100_000, 10_000, 150), 16: (50_000, 5_000, 150), 64: (20_000, 2_000, 150)}
JAX_TARGETS, TORCH_TARGETS = {4: 5.0}, {4: 20.0}


def ours(w0: list[Any], net: sk.Network, task: sk.Task, batch: int) -> Callable[[], object]:
    end = [STEPS[batch][0] * RATE]
    return lambda: sk.simulate_ensemble(
        net, task, w0, RATE, record=end, batch_size=batch, seeds=SEEDS, loss=sk.CrossEntropy()
    )


def by_jax(w0: list[Any], X: np.ndarray, labels: np.ndarray, batch: int) -> Callable[[], object]:
    import jax
    import jax.numpy as jnp

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        for W, b in parameters[:-1]:
            x = jnp.maximum(x @ W.T + b, 0)
        W, b = parameters[-1]
        chosen = jnp.take_along_axis(jax.nn.log_softmax(x @ W.T + b), y[:, None], 1)
        return -chosen.mean()

    @jax.jit
    @partial(jax.vmap, in_axes=(0, 0, None, None))
    def run(parameters: Any, order: Any, X: Any, labels: Any) -> Any:
        def step(now: Any, here: Any) -> Any:
            slopes = jax.grad(loss)(now, X[here], labels[here])
            return jax.tree.map(lambda w, g: w - RATE * g, now, slopes), None

        return jax.lax.scan(step, parameters, order)[0]

    start = [
        tuple(jnp.asarray(np.stack([w.arrays[f"{p}{layer}"] for w in w0])) for p in "Wb")
        for layer in range(1, len(SIZES))
    ]
    orders = jnp.asarray(np.stack([order(seed, STEPS[batch][1], batch) for seed in SEEDS]))
    data = jnp.asarray(X), jnp.asarray(labels)
    return lambda: jax.block_until_ready(run(start, orders, *data))


def order(seed: int, steps: int, batch: int) -> np.ndarray:
    """Samples of each step, (steps, batch)."""
    rng = np.random.default_rng(seed)
    epochs = -(-steps * batch // SAMPLES)
    return np.concatenate([rng.permutation(SAMPLES) for _ in range(epochs)])[
        : steps * batch
    ].reshape(steps, batch)


def by_torch(w0: list[Any], X: np.ndarray, labels: np.ndarray, batch: int) -> Callable[[], object]:
    import torch

    inputs, classes = torch.from_numpy(X), torch.from_numpy(labels)
    cost, layers = torch.nn.CrossEntropyLoss(), []
    for inner, outer in pairwise(SIZES):
        layers += [torch.nn.Linear(inner, outer, dtype=torch.float64), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])

    def work() -> None:
        for w, seed in zip(w0, SEEDS, strict=True):
            with torch.no_grad():
                for p, array in zip(net.parameters(), w.arrays.values(), strict=True):
                    p.copy_(torch.tensor(array))
            descent = torch.optim.SGD(net.parameters(), lr=RATE)
            for here in torch.from_numpy(order(seed, STEPS[batch][2], batch)):
                descent.zero_grad()
                cost(net(inputs[here]), classes[here]).backward()
                descent.step()

    return work


def by_torch_together(
    w0: list[Any], X: np.ndarray, labels: np.ndarray, batch: int
) -> Callable[[], object]:
    import torch

    inputs, classes = torch.from_numpy(X), torch.from_numpy(labels)
    orders = torch.from_numpy(np.stack([order(seed, STEPS[batch][2], batch) for seed in SEEDS], 1))
    start = [
        (
            torch.from_numpy(np.stack([w.arrays[f"W{layer}"].T for w in w0])),
            torch.from_numpy(np.stack([w.arrays[f"b{layer}"][None] for w in w0])),
        )
        for layer in range(1, len(SIZES))
    ]

    def work() -> None:
        layers = [tuple(p.clone().requires_grad_() for p in layer) for layer in start]
        descent = torch.optim.SGD([p for layer in layers for p in layer], lr=RATE)
        for here in orders:
            x = inputs[here]
            for depth, (W, b) in enumerate(layers):
                x = torch.baddbmm(b, x, W)
                x = torch.relu(x) if depth + 1 < len(layers) else x
            descent.zero_grad()
            losses = torch.nn.functional.cross_entropy(
                x.flatten(0, 1), classes[here].flatten(), reduction="sum"
            )
            (losses / batch).backward()
            descent.step()

    return work


def compare(peer: Peer, batch: int) -> list[Row]:
    board = sk.environments.checkerboard(SAMPLES)
    X, labels = board.X, board.labels["direction"]
    net = sk.Network.mlp(SIZES, activation="relu", bias=True)
    w0 = [sk.weights.gaussian(net, seed=seed) for seed in SEEDS]
    task = sk.Task(X, sk.one_hot(labels))
    routines = {"ours": (ours(w0, net, task, batch), STEPS[batch][0])}
    if peer.found:
        routines["jax"] = by_jax(w0, X, labels, batch), STEPS[batch][1]
    if importlib.util.find_spec("torch") is not None:
        routines["torch"] = by_torch(w0, X, labels, batch), STEPS[batch][2]
        together = by_torch_together(w0, X, labels, batch)
        routines["torch, all in one loop"] = together, STEPS[batch][2]
    found = rates(len(SEEDS), {name: routine for name, (routine, _) in routines.items()}, 5)
    found = {name: rate * routines[name][1] for name, rate in found.items()}
    what = f"SGD {'-'.join(map(str, SIZES))} ReLU, batch {batch}, {len(SEEDS)} seeds"
    targets = {"jax": JAX_TARGETS.get(batch), "torch": TORCH_TARGETS.get(batch)}
    names = ["jax", "torch", "torch, all in one loop"]
    return [
        Row(what, "network-steps/s", found["ours"], name, found[name], targets.get(name))
        if name in found
        else Row(what, "network-steps/s", found["ours"], f"{name} (not installed)")
        for name in names
    ]


def run() -> list[Row]:
    peer = Peer()
    return [row for batch in STEPS for row in compare(peer, batch)]
