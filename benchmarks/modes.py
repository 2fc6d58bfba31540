"""Mode laws at many times: values a second. 50 modes, 1e5 times.

The peers are JAX, jitted, with the stable form (unbalanced) or the textbook sigmoid (balanced),
and NumPy through SymPy's lambdify of the derived formula, with and without common subexpressions.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

import symkernel as sk
from benchmarks.table import Row, rates
from symkernel import notation
from symkernel.codegen.elementwise import compile_elementwise

MODES, TIMES = 50, 100_000
JAX_TARGET, LAMBDIFY_TARGET = 3.0, 8.0
SYMBOLS = (notation.t, notation.s, notation.d, notation.a0, notation.b0)


def law(balanced: bool) -> sk.Derivation:
    task = sk.Task.from_modes([2.0, 1.0])
    net = sk.Network.two_layer(inputs=2, hidden=2, outputs=2)
    return sk.derive(net, task, sk.weights.aligned(net, task, a=0.1, b=0.1 if balanced else 0.2))


def columns(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    times, *rest = arrays
    return (times[None, :], *(array[:, None] for array in rest))


def jax_routines(form: Callable, arguments: tuple[np.ndarray, ...]) -> Callable[[], object]:
    import jax

    jax.config.update("jax_enable_x64", True)
    compiled = jax.jit(lambda *given: form(*columns(*given)))
    return lambda: compiled(*arguments).block_until_ready()


def stable(t: Any, s: Any, d: Any, a0: Any, b0: Any) -> Any:
    """The form that symkernel compiles, written for JAX."""
    import jax.numpy as jnp

    P0, Q0, w, m = (a0 + b0) ** 2, (a0 - b0) ** 2, a0 * b0, (a0 * a0 + b0 * b0) / 2
    reach = d * jnp.sqrt(P0 * Q0)
    R = jnp.hypot(2 * s, reach)
    T, E = jnp.tanh(R * t / 2), jnp.exp(-R * t)
    tau, Z = T / R, 2 * E / (1 + E)
    top = w * (Z * (1 + T) + 8 * (s * tau) ** 2) + 4 * m * s * tau + 2 * s * d * P0 * Q0 * tau**2
    return top / (1 + tau * (2 * s + Q0 * d)) / (Z + tau * (reach**2 / (R + 2 * s) + P0 * d))


def sigmoid(t: Any, s: Any, d: Any, a0: Any, b0: Any) -> Any:
    import jax.numpy as jnp

    return s / d / (1 + (s / (d * a0 * b0) - 1) * jnp.exp(-2 * s * t))


def compare(name: str, balanced: bool) -> list[Row]:
    stream = np.random.default_rng(0)
    s, a0 = stream.uniform(0.5, 3.0, MODES), stream.uniform(0.01, 0.1, MODES)
    b0 = a0 if balanced else stream.uniform(0.01, 0.1, MODES)
    arguments = (np.linspace(0.0, 10.0, TIMES), s, np.ones(MODES), a0, b0)
    derivation = law(balanced)
    routine = compile_elementwise(derivation.derived.routine().lowered.only("overlap"))

    def ours() -> object:
        sides = (a0 * b0, (a0**2 + b0**2) / 2, (a0 + b0) ** 2, (a0 - b0) ** 2)
        return routine(*arguments[:3], *sides)

    output = derivation.result.output
    printed = {
        "lambdify": sp.lambdify(SYMBOLS, output, "numpy"),
        "lambdify, cse": sp.lambdify(SYMBOLS, output, "numpy", cse=True),
    }
    routines: dict[str, Callable[[], object]] = {"ours": ours}
    if importlib.util.find_spec("jax") is not None:
        form = sigmoid if balanced else stable
        routines["jax"] = jax_routines(form, arguments)
    for label, function in printed.items():
        routines[label] = lambda function=function: function(*columns(*arguments))
    found = rates(MODES * TIMES, routines)
    targets = {"jax": JAX_TARGET, "lambdify": LAMBDIFY_TARGET}
    return [
        Row(
            f"{MODES} {name} modes, {TIMES:.0e} times",
            "values/s",
            found["ours"],
            peer,
            found[peer],
            targets.get(peer),
        )
        for peer in routines
        if peer != "ours"
    ]


def run() -> list[Row]:
    return [*compare("unbalanced", balanced=False), *compare("balanced", balanced=True)]
