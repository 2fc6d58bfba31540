"""Online gradient descent of an erf committee on fresh Gaussian samples: steps a second."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import symkernel as sk
from benchmarks.descent import Peer
from benchmarks.table import Row, rates
from symkernel.nodes import Apply, Input, Parameter

INPUTS, STUDENT, TEACHER, RATE = 100, 3, 3, 1e-3
STEPS = {1: 200_000, 8: 50_000, 32: 20_000}
TARGETS = {1: 5.0}


def committee(units: int) -> sk.Network:
    """Sum of erf units with trained input weights and fixed outputs."""
    hidden = Apply(
        "erf", Parameter("W1", (units, INPUTS), scale=1 / np.sqrt(INPUTS)) @ Input(INPUTS)
    )
    return sk.Network.build(Parameter("W2", (1, units), trained=False) @ hidden, {"hidden": hidden})


def weights(net: sk.Network, units: int, seed: int) -> sk.weights.Weights:
    W1 = np.random.default_rng(seed).standard_normal((units, INPUTS))
    return sk.weights.from_arrays(net, [W1, np.ones((1, units))])


def theirs(peer: Peer, student: Any, teacher: Any, batch: int, steps: int) -> Callable[[], object]:
    import jax
    import jax.numpy as jnp

    phi, _ = peer.functions("erf")
    root = np.sqrt(INPUTS)

    def output(W: Any, x: Any) -> Any:
        return phi(x @ W.T / root).sum(1)

    @partial(jax.jit, static_argnums=1)
    def run(W: Any, steps: int, key: Any) -> Any:
        def step(k: Any, W: Any) -> Any:
            x = jax.random.normal(jax.random.fold_in(key, k), (batch, INPUTS))
            loss = lambda W: 0.5 * jnp.mean((output(W, x) - output(teacher, x)) ** 2)  # noqa: E731
            return W - RATE * jax.grad(loss)(W)

        return jax.lax.fori_loop(0, steps, step, W)

    key = jax.random.PRNGKey(0)
    return lambda: jax.block_until_ready(run(jnp.asarray(student), steps, key))


def compare(peer: Peer, batch: int) -> Row:
    net, truth = committee(STUDENT), committee(TEACHER)
    w0, w_truth = weights(net, STUDENT, 0), weights(truth, TEACHER, 1)
    task, steps = sk.Task.from_teacher(truth, w_truth), STEPS[batch]
    end = [steps * RATE]
    routines: dict[str, Callable[[], object]] = {
        "ours": lambda: sk.simulate(net, task, w0, RATE, record=end, batch_size=batch)
    }
    if peer.found:
        arrays = w0.arrays["W1"], w_truth.arrays["W1"]
        routines["jax"] = theirs(peer, *arrays, batch, steps)
    found = rates(steps, routines, 5)
    what = f"erf committee, {INPUTS} inputs, {STUDENT} units, batch {batch}"
    return Row(what, "steps/s", found["ours"], "jax" if peer.found else "", found.get("jax"),
               TARGETS.get(batch))  # fmt: skip


def run() -> list[Row]:
    peer = Peer()
    return [compare(peer, batch) for batch in STEPS]
