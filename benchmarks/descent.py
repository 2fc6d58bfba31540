"""Full-batch gradient descent of a two-layer network: steps a second.

The peer is JAX under `jit`, the whole loop over steps compiled (`lax.fori_loop`), float64, in two
versions: gradients by `jax.grad`, as everyone writes it, for which the targets are; and with the
gradient written out by hand, which is faster and shown beside it. On moments the peer uses the
same trick, by hand.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np

import symkernel as sk
from benchmarks.table import Row, rates

RATE = 1e-3
SIZES = {
    "small": ((8, 16, 4), 32),
    "medium": ((64, 256, 10), 1000),
    "large": ((784, 1024, 10), 5000),
}
# Against `jax.grad`, by size and activation.
TARGETS = {
    "small": {"linear": 3.5, "tanh": 2.8, "relu": 3.3, "erf": 2.8},
    "medium": {"linear": 1.0, "tanh": 1.0, "relu": 1.0, "erf": 2.2},
    "large": {"linear": 1.0, "tanh": 1.0, "relu": 1.0, "erf": 1.2},
}
ENSEMBLE_TARGETS = {"linear": 4.0, "tanh": 4.0, "relu": 5.0, "erf": 5.0}
MOMENTS_TARGET, MOMENTS_OVER_SAMPLES, GEMM_SHARE = 8.0, 50.0, 0.9


def problem(sizes: tuple[int, int, int], samples: int, activation: str):
    rng = np.random.default_rng(0)
    net = sk.Network.two_layer(*sizes, activation=activation)
    task = sk.Task(rng.normal(size=(samples, sizes[0])), rng.normal(size=(samples, sizes[2])))
    return net, task, sk.weights.gaussian(net, seed=0)


def ours(net, task, w0, steps: int, on: str) -> Callable[[], object]:
    end = [steps * RATE]
    return lambda: sk.simulate(net, task, w0, RATE, record=end, on=on)


class Peer:
    """JAX, if it is installed."""

    def __init__(self) -> None:
        self.found = importlib.util.find_spec("jax") is not None
        if not self.found:
            print("jax is not installed: no comparison ('pip install jax' brings it)")
            return
        import jax

        jax.config.update("jax_enable_x64", True)

    def functions(self, activation: str) -> tuple[Callable, Callable]:
        """An activation, and its slope by argument and value."""
        import jax.numpy as jnp
        from jax.scipy.special import erf

        root, factor = np.sqrt(2), np.sqrt(2 / np.pi)
        return {
            "linear": (lambda z: z, lambda z, v: 1.0),
            "tanh": (jnp.tanh, lambda z, v: 1 - v * v),
            "relu": (lambda z: jnp.maximum(z, 0), lambda z, v: jnp.where(z > 0, 1.0, 0.0)),
            "erf": (lambda z: erf(z / root), lambda z, v: factor * jnp.exp(-z * z / 2)),
        }[activation]

    def by_grad(self, activation: str) -> Callable:
        import jax
        import jax.numpy as jnp

        phi, _ = self.functions(activation)

        def loss(weights, X, Y):
            return 0.5 * jnp.sum((phi(X @ weights[0].T) @ weights[1].T - Y) ** 2) / len(X)

        return jax.grad(loss)

    def by_hand(self, activation: str) -> Callable:
        phi, slope = self.functions(activation)

        def gradient(weights, X, Y):
            z = X @ weights[0].T
            hidden = phi(z)
            error = (hidden @ weights[1].T - Y) / len(X)
            return [((error @ weights[1]) * slope(z, hidden)).T @ X, error.T @ hidden]

        return gradient

    def on_moments(self) -> Callable:
        def gradient(weights, Sxx, Syx):
            error = weights[1] @ weights[0] @ Sxx - Syx
            return [weights[1].T @ error, error @ weights[0].T]

        return gradient

    def loop(
        self, gradient: Callable, w0: sk.weights.Weights, A: np.ndarray, B: np.ndarray, steps: int
    ) -> Callable[[], object]:
        import jax
        import jax.numpy as jnp

        @partial(jax.jit, static_argnums=3)
        def run(weights: Any, A: Any, B: Any, steps: int) -> Any:
            def step(_: int, now: Any) -> Any:
                return [w - RATE * g for w, g in zip(now, gradient(now, A, B), strict=True)]

            return jax.lax.fori_loop(0, steps, step, weights)

        weights = [jnp.asarray(w0.arrays[name]) for name in ("W1", "W2")]
        data = jnp.asarray(A), jnp.asarray(B)
        return lambda: jax.block_until_ready(run(weights, *data, steps))


def compare(peer: Peer, size: str, activation: str, steps: int, rounds: int) -> list[Row]:
    sizes, samples = SIZES[size]
    net, task, w0 = problem(sizes, samples, activation)
    routines: dict[str, Callable[[], object]] = {"ours": ours(net, task, w0, steps, "samples")}
    if peer.found:
        versions = {"jax.grad": peer.by_grad, "jax, by hand": peer.by_hand}
        for name, make in versions.items() if size == "small" else [("jax.grad", peer.by_grad)]:
            routines[name] = peer.loop(make(activation), w0, task.X, task.Y, steps)
    found = rates(steps, routines, rounds)
    what = f"{size} {sizes}, {samples} samples, {activation}"
    if not peer.found:
        return [Row(what, "steps/s", found["ours"])]
    target = TARGETS[size][activation]
    return [
        Row(what, "steps/s", found["ours"], name, found[name], target if k == 0 else None)
        for k, name in enumerate(n for n in routines if n != "ours")
    ]


def compare_moments(peer: Peer) -> Row:
    sizes, samples = SIZES["small"]
    steps = 1_000_000
    net, task, w0 = problem(sizes, samples, "linear")
    routines = {"ours": ours(net, task, w0, steps, "moments")}
    if peer.found:
        routines["jax"] = peer.loop(peer.on_moments(), w0, task.Sxx, task.Syx, steps)
    found = rates(steps, routines, 5)
    what = f"small {sizes}, linear, on moments"
    if not peer.found:
        return Row(what, "steps/s", found["ours"])
    return Row(what, "steps/s", found["ours"], "jax, same trick", found["jax"], MOMENTS_TARGET)


def moments_over_samples() -> Row:
    """Linear networks of medium size: steps on moments against steps on samples."""
    sizes, samples = SIZES["medium"]
    net, task, w0 = problem(sizes, samples, "linear")
    steps = {"moments": 20_000, "samples": 300}
    found = {
        on: rates(n, {on: ours(net, task, w0, n, on)}, 5)[on] for on, n in steps.items()
    }  # fmt: skip
    return Row(
        f"medium {sizes}, linear, on moments", "steps/s", found["moments"], "ours on samples",
        found["samples"], MOMENTS_OVER_SAMPLES,
    )  # fmt: skip


def share_of_gemm(size: str, activation: str, steps: int, target: float | None) -> Row:
    """Arithmetic of the products of a step, against one large product on one thread."""
    sizes, samples = SIZES[size]
    n_in, n_hidden, n_out = sizes
    net, task, w0 = problem(sizes, samples, activation)
    work = 2.0 * samples * n_hidden * (2 * n_in + 3 * n_out)
    A, B = (np.random.default_rng(k).normal(size=(1000, 1000)) for k in range(2))
    out = np.empty_like(A)
    routines: dict[str, Callable[[], object]] = {
        "ours": ours(net, task, w0, steps, "samples"),
        "gemm": lambda: [np.dot(A, B, out) for _ in range(10)],
    }
    found = rates(1.0, routines, 7)
    mine, gemm = found["ours"] * steps * work, found["gemm"] * 10 * 2e9
    what = f"{size} {sizes}, {activation}, products"
    return Row(what, "FLOP/s", mine, "one product 1000^3", gemm, target)


def compare_ensemble(peer: Peer, activation: str, members: int = 64) -> Row:
    sizes, samples = SIZES["small"]
    steps = 8000
    net, task, _ = problem(sizes, samples, activation)
    starts = [sk.weights.gaussian(net, seed=k) for k in range(members)]
    end = [steps * RATE]
    routines: dict[str, Callable[[], object]] = {
        "ours": lambda: sk.simulate_ensemble(net, task, starts, RATE, record=end, on="samples")
    }
    if peer.found:
        import jax
        import jax.numpy as jnp

        gradient = jax.vmap(peer.by_grad(activation), in_axes=(0, None, None))
        stacked = [jnp.stack([w0.arrays[name] for w0 in starts]) for name in ("W1", "W2")]
        data = jnp.asarray(task.X), jnp.asarray(task.Y)

        @jax.jit
        def run(weights: Any) -> Any:
            def step(_: int, now: Any) -> Any:
                return [w - RATE * g for w, g in zip(now, gradient(now, *data), strict=True)]

            return jax.lax.fori_loop(0, steps, step, weights)

        routines["jax"] = lambda: jax.block_until_ready(run(stacked))
    found = rates(steps * members, routines, 5)
    what = f"{members} x small, {activation}, {numba.get_num_threads()} threads"
    name = "jax.vmap" if peer.found else ""
    return Row(what, "steps/s", found["ours"], name, found.get("jax"), ENSEMBLE_TARGETS[activation])


def run() -> list[Row]:
    peer = Peer()
    numba.set_num_threads(1)  # as the peer has
    rows = [row for phi in TARGETS["small"] for row in compare(peer, "small", phi, 200_000, 7)]
    rows.append(compare_moments(peer))
    rows += [row for phi in TARGETS["medium"] for row in compare(peer, "medium", phi, 600, 5)]
    rows += [row for phi in TARGETS["large"] for row in compare(peer, "large", phi, 10, 3)]
    rows.append(moments_over_samples())
    rows.append(share_of_gemm("medium", "linear", 600, GEMM_SHARE))
    rows.append(share_of_gemm("large", "linear", 10, None))
    return rows
