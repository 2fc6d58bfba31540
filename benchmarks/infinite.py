"""Tangent kernels of infinitely wide networks: 2000 samples in 64 dimensions, one hidden layer.

The peers are the same formulas in NumPy and under JAX's jit, on all cores.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

import symkernel as sk
from benchmarks.table import Row, rates
from symkernel.theory.infinite_width import infinite_width

SAMPLES, INPUTS = 2000, 64
TARGETS = {"numpy": 3.0, "jax": 2.0}


def relu(X: Any, xp: Any, arcsine: Callable) -> Any:
    """Cho and Saul's kernels, as they are usually written."""
    G = X @ X.T / INPUTS
    roots = xp.sqrt(xp.diag(G))
    size = roots[:, None] * roots[None, :]
    angle = np.pi / 2 - arcsine(xp.clip(G / size, -1, 1))
    k = size * (xp.sin(angle) + (np.pi - angle) * xp.cos(angle)) / (2 * np.pi)
    return k + G * (np.pi - angle) / (2 * np.pi)


def erf(X: Any, xp: Any, arcsine: Callable) -> Any:
    """Williams' kernels for erf(z / sqrt 2)."""
    G = X @ X.T / INPUTS
    own = 1 + xp.diag(G)
    size = own[:, None] * own[None, :]
    k = 2 / np.pi * arcsine(G / xp.sqrt(size))
    return k + G * 2 / np.pi / xp.sqrt(size - G * G)


def compare(name: str, form: Callable) -> list[Row]:
    X = np.random.default_rng(0).standard_normal((SAMPLES, INPUTS))
    net = sk.Network.two_layer(INPUTS, 1, 1, activation=name, parameterisation="ntk")
    routine = infinite_width(net).ntk.compile()
    routines: dict[str, Callable[[], object]] = {
        "ours": lambda: routine(X),
        "numpy": lambda: form(X, np, np.arcsin),
    }
    results = [routine(X), form(X, np, np.arcsin)]
    if importlib.util.find_spec("jax") is not None:
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", True)
        compiled = jax.jit(lambda X: form(X, jnp, jnp.arcsin))
        given = jnp.asarray(X)
        routines["jax"] = lambda: compiled(given).block_until_ready()
        results.append(compiled(given))
    off = ~np.eye(SAMPLES, dtype=bool)
    for other in results[1:]:
        assert np.allclose(results[0][off], np.asarray(other)[off], rtol=1e-12, atol=1e-13)
    found = rates(SAMPLES**2, routines, rounds=15)
    return [
        Row(f"NTK, {name}, {SAMPLES} samples", "pairs/s", found["ours"], peer, found[peer], target)
        for peer, target in TARGETS.items()
        if peer in found
    ]


def run() -> list[Row]:
    return [*compare("relu", relu), *compare("erf", erf)]
