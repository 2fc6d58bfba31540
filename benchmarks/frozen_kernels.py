"""Kernels of a finite network, and a trajectory of the frozen law, against JAX and LAPACK.

A 64-256-9 tanh network. The peer forms Jacobians by reverse accumulation and contracts them,
jitted. Both make the rows of a few of the 300 samples: the peer takes minutes for all of them, and
the whole pseudo-kernel of the hidden layer would take 1.7 GB.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

import symkernel as sk
from benchmarks.table import Row, rates

INPUTS, HIDDEN, OUTPUTS, SAMPLES = 64, 256, 9, 300
# Samples whose rows are made, and the outputs of the frozen law.
ROWS, UNKNOWNS, TIMES = (60, 3), (250, 8), 100


@cache
def problem() -> tuple[sk.Network, sk.weights.Weights, np.ndarray]:
    net = sk.Network.two_layer(INPUTS, HIDDEN, OUTPUTS, activation="tanh", parameterisation="ntk")
    X = np.random.default_rng(0).standard_normal((SAMPLES, INPUTS))
    return net, sk.weights.gaussian(net, seed=0), X


def kernels() -> list[Row]:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    net, w0, X = problem()
    scales = [float(p.scale) for p in net.parameters]

    def hidden(weights: dict, x: jnp.ndarray) -> jnp.ndarray:
        return jnp.tanh(scales[0] * weights["W1"] @ x)

    def output(weights: dict, x: jnp.ndarray) -> jnp.ndarray:
        return scales[1] * weights["W2"] @ hidden(weights, x)

    def contracted(of: object, weights: dict, left: jnp.ndarray, right: jnp.ndarray) -> jnp.ndarray:
        one, two = (
            jax.vmap(jax.jacrev(f), (None, 0))(weights, x) for f, x in ((of, left), (output, right))
        )
        return sum(
            jnp.einsum("iaxy,jbxy->iajb", one[name], two[name], optimize=True) for name in weights
        )

    weights = {name: jnp.asarray(w) for name, w in w0.arrays.items()}
    samples = jnp.asarray(X)
    rows = []
    for name, of, few in (("output", output, ROWS[0]), ("hidden", hidden, ROWS[1])):
        peer = jax.jit(lambda w, left, right, f=of: contracted(f, w, left, right))
        routine = sk.pseudo_kernel(net, name).compile()

        def mine(routine: Any = routine, few: int = few) -> np.ndarray:
            return routine(X[:few], X, w0)

        def theirs(peer: Any = peer, few: int = few) -> np.ndarray:
            return np.asarray(peer(weights, samples[:few], samples))

        assert np.abs(mine() - theirs()).max() < 1e-10
        found = rates(few, {"ours": mine, "jax": theirs}, rounds=3)
        label = f"kernel of {name} by output, {few} of {SAMPLES} samples"
        rows.append(Row(label, "rows of samples/s", found["ours"], "jax", found["jax"], 1.5))
    return rows


def frozen() -> list[Row]:
    """Return the rates of whole trajectories, and of all from `derive` on, against one eigh."""
    n, outputs = UNKNOWNS
    net = sk.Network.two_layer(INPUTS, HIDDEN, outputs, activation="tanh", parameterisation="ntk")
    stream = np.random.default_rng(0)
    task = sk.Task(stream.standard_normal((n, INPUTS)), stream.standard_normal((n, outputs)))
    w0 = sk.weights.gaussian(net, seed=0)
    law = sk.derive(net, task, w0, law="frozen_kernel").compile()
    times = np.geomspace(0.1, 1e3, TIMES)
    kernel = sk.ntk(net).compile()(task.X, None, w0).reshape(n * outputs, -1)

    def called() -> object:
        found = law(times)
        return found.outputs, found.hidden, found.loss

    def derived() -> object:
        found = sk.derive(net, task, w0, law="frozen_kernel").compile()(times)
        return found.outputs, found.hidden, found.loss, found.kernel_movement

    def eigh() -> object:
        return np.linalg.eigh(kernel)

    rows = []
    for label, ours, wanted in (
        (f"frozen law, {n * outputs} outputs of samples, {TIMES} times", called, 1 / 3),
        ("the same from derive on, with the kernel's movement", derived, 1 / 5),
    ):
        found = rates(1, {"law": ours, "eigh": eigh}, rounds=3)
        rows.append(Row(label, "trajectories/s", found["law"], "one eigh", found["eigh"], wanted))
    return rows


def run() -> list[Row]:
    return [*kernels(), *frozen()]
