"""One default training of the multitasking study: steps a second on one core.

243 prompts of single tasks, 18 inputs, 100 sigmoid units, 9 sigmoid outputs, a direct path from
the task, fixed biases, 1000 full-batch steps in float64. The peers: JAX under `jit` with the whole
loop compiled and gradients by `jax.grad`, as everyone writes it, in float64 and in float32; and
NumPy in float64, gradients by hand.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numba
import numpy as np

import symkernel as sk
from benchmarks.table import Row, rates

STEPS, RATE, SCALE = 1000, 20.0, 0.3
# Against JAX and NumPy, both in float64.
OVER_JAX, OVER_NUMPY = 1.3, 3.0
ENV = sk.environments.Multitasking(3, 3)
NAMES = ("W_s", "W_t", "W_2", "W_o")


def ours() -> Callable[[], dict[str, np.ndarray]]:
    net = ENV.network()
    w0, task = ENV.weights(net, SCALE, 1000), ENV.single.task

    def run() -> dict[str, np.ndarray]:
        found = sk.simulate(net, task, w0, RATE, record=[STEPS * RATE])
        return {name: found.weights[name][-1] for name in NAMES}

    return run


def start() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Initial weights, stimuli, tasks and targets."""
    w0 = ENV.weights(ENV.network(), SCALE, 1000).arrays
    X, split = ENV.single.X, ENV.outputs
    return w0, np.ascontiguousarray(X[:, :split]), np.ascontiguousarray(X[:, split:]), ENV.single.Y


def by_numpy() -> Callable[[], dict[str, np.ndarray]]:
    w0, S, T, Y = start()

    def run() -> dict[str, np.ndarray]:
        w = {name: w0[name].copy() for name in NAMES}
        share = RATE / len(Y)
        for _ in range(STEPS):
            h = 1 / (1 + np.exp(-(S @ w["W_s"].T + T @ w["W_t"].T + w0["b"])))
            f = 1 / (1 + np.exp(-(h @ w["W_2"].T + T @ w["W_o"].T + w0["c"])))
            outer = share * (f - Y) * f * (1 - f)
            inner = (outer @ w["W_2"]) * h * (1 - h)
            w["W_2"] -= outer.T @ h
            w["W_o"] -= outer.T @ T
            w["W_s"] -= inner.T @ S
            w["W_t"] -= inner.T @ T
        return w

    return run


def by_jax(kind: str) -> Callable[[], dict[str, np.ndarray]]:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    arrays, *data = start()
    fixed = {name: jnp.asarray(arrays[name], kind) for name in ("b", "c")}
    w0 = {name: jnp.asarray(arrays[name], kind) for name in NAMES}
    S, T, Y = (jnp.asarray(one, kind) for one in data)

    def loss(w: dict, S: jnp.ndarray, T: jnp.ndarray, Y: jnp.ndarray) -> jnp.ndarray:
        h = jax.nn.sigmoid(S @ w["W_s"].T + T @ w["W_t"].T + fixed["b"])
        f = jax.nn.sigmoid(h @ w["W_2"].T + T @ w["W_o"].T + fixed["c"])
        return 0.5 * jnp.sum((f - Y) ** 2) / len(Y)

    @jax.jit
    def descend(w: dict, S: jnp.ndarray, T: jnp.ndarray, Y: jnp.ndarray) -> dict:
        def step(_: int, now: dict) -> dict:
            slope = jax.grad(loss)(now, S, T, Y)
            return {name: now[name] - RATE * slope[name] for name in NAMES}

        return jax.lax.fori_loop(0, STEPS, step, w)

    return lambda: jax.block_until_ready(descend(w0, S, T, Y))


def run() -> list[Row]:
    numba.set_num_threads(1)  # as the peers have
    routines: dict[str, Callable[[], dict[str, np.ndarray]]] = {"ours": ours(), "numpy": by_numpy()}
    if importlib.util.find_spec("jax") is not None:
        routines |= {f"jax, {kind}": by_jax(kind) for kind in ("float64", "float32")}
    else:
        print("jax is not installed: no comparison ('pip install jax' brings it)")
    ended = {name: routine() for name, routine in routines.items()}
    for name, w in ended.items():
        if name != "jax, float32":
            assert max(np.abs(w[p] - ended["ours"][p]).max() for p in NAMES) < 1e-6, name
    found = rates(STEPS, routines, 9)
    targets = {"numpy": OVER_NUMPY, "jax, float64": OVER_JAX}
    what = "243 prompts, 18-100-9, sigmoid, 1000 steps"
    return [
        Row(what, "steps/s", found["ours"], name, found[name], targets.get(name))
        for name in routines
        if name != "ours"
    ]
