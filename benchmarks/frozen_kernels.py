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
from symkernel.problem.problem import Problem
from symkernel.theory.frozen_kernel import trajectory

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


def frozen() -> Row:
    """Return the rate of whole trajectories against eigendecompositions alone."""
    n, outputs = UNKNOWNS
    net = sk.Network.two_layer(INPUTS, HIDDEN, outputs, activation="tanh", parameterisation="ntk")
    stream = np.random.default_rng(0)
    task = sk.Task(stream.standard_normal((n, INPUTS)), stream.standard_normal((n, outputs)))
    posed = Problem(net, sk.Curriculum.of(task), sk.weights.gaussian(net, seed=0))
    times = np.geomspace(0.1, 1e3, TIMES)
    X = task.X
    kernel = sk.ntk(net).compile()(X, None, posed.weights).reshape(n * outputs, -1)

    def whole() -> object:
        found = trajectory(posed, times)
        return found.outputs, found.hidden, found.loss

    found = rates(1, {"law": whole, "eigh": lambda: np.linalg.eigh(kernel)}, rounds=3)
    what = f"frozen law, {n * outputs} outputs of samples, {TIMES} times"
    return Row(what, "trajectories/s", found["law"], "one eigh", found["eigh"], 1 / 3)


def run() -> list[Row]:
    return [*kernels(), frozen()]
