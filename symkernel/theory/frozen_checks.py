r"""Limits of the frozen-kernel law, random problems of its class, and families of true networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.codegen.algorithms import DecayIntegral, compile_algorithm
from symkernel.formula import Derived, Evidence, Family, Limits
from symkernel.identities import vanishes
from symkernel.problem import weights as make
from symkernel.problem.activation import activation as find_activation
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.loss import SquaredError
from symkernel.problem.network import Network
from symkernel.problem.nodes import Apply, Input, Parameter
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.theory.frozen_words import FrozenWords
from symkernel.theory.residual_integral import PRECISION, ResidualIntegral, check_precision
from symkernel.theory.tangent_pass import TangentPass

_l = sp.Symbol("l", positive=True)
_ACTIVATIONS = ("tanh", "erf", "sigmoid", "relu", "quadratic")
WIDTHS, SCALES = (64, 128, 256, 512, 1024), (4, 8, 16, 32)


def _phi() -> sp.Expr:
    return DecayIntegral.of_eigenvalue(_l, notation.t, sp.exp)


def _limit(symbol: sp.Symbol, point: object, wanted: sp.Expr, words: str) -> Evidence:
    found = sp.limit(_phi(), symbol, point)
    return Evidence(sp.expand(found - wanted) == 0, f"{words}: {found}")


def _small_steps() -> Evidence:
    """Compare expansions in the learning rate at a fixed flow time, to second order."""
    step = sp.Symbol("eta", positive=True)
    # (1 - eta l)^(t/eta) = exp(t/eta ln(1 - eta l)), and ln(1 - x)/x = -1 - x/2 - ...
    exponent = sp.series(sp.log(1 - step * _l) / step, step, 0, 2).removeO()
    first = exponent.subs(step, 0)
    descended = (1 - sp.exp(notation.t * first)) / _l
    same = vanishes(descended - _phi())
    return Evidence.of(same, "(1 - (1 - eta l)^(t/eta))/l tends to phi_t(l)")


def _one_layer() -> Evidence:
    """Look at a network that is linear in its weights: it is its own linearisation."""
    from symkernel.theory.frozen_kernel import trajectory

    stream = np.random.default_rng(1000)
    net = Network.mlp([3, 2], bias=True)
    task = Task(stream.standard_normal((4, 3)), stream.standard_normal((4, 2)))
    problem = Problem(net, Curriculum.of(task), make.gaussian(net, seed=1000))
    moved = float(np.abs(trajectory(problem, [0.0, 1.0, 9.0]).kernel_movement).max())
    return Evidence(moved <= 1e-14, f"relative movement of its kernel {moved:.1e}")


def frozen_limits() -> Limits:
    """Return the limits, each with its check."""
    t = notation.t
    return (
        ("t = 0", lambda: _limit(t, 0, sp.S.Zero, "phi_0")),
        ("eigenvalue to 0: linear in t", lambda: _limit(_l, 0, t, "phi_t(0)")),
        ("t to infinity: inverse eigenvalue", lambda: _limit(t, sp.oo, 1 / _l, "phi_t")),
        ("steps to 0: descent is the flow", _small_steps),
        ("one layer: its own linearisation", _one_layer),
    )


def random_task(stream: np.random.Generator, n_in: int, n_out: int) -> Task:
    """Draw up to 8 samples; duplicated inputs with other labels, and weights, now and then."""
    n = int(stream.integers(1, 9))
    X, Y = stream.standard_normal((n, n_in)), stream.standard_normal((n, n_out))
    if n > 1 and stream.random() < 0.3:
        X[1] = X[0]
    if stream.random() < 0.7:
        return Task(X, Y)
    shares = stream.uniform(0.1, 1.0, n)
    return Task(X, Y, sample_weights=shares / shares.sum())


def draw(stream: np.random.Generator) -> Problem:
    """Draw one to three hidden layers of up to 12 units, any named activation, up to 3 phases."""
    n_in, n_out = (int(v) for v in stream.integers(1, 4, 2))
    hidden = [int(v) for v in stream.integers(1, 13, int(stream.integers(1, 4)))]
    phis = [str(stream.choice(_ACTIVATIONS[:4])) for _ in hidden]
    if len(hidden) == 1 and stream.random() < 0.2:
        phis = ["quadratic"]
    bias = bool(stream.random() < 0.5)
    sizes = [n_in, *hidden, n_out]
    rates = [float(v) for v in stream.choice([0.5, 1.0, 3.0], len(sizes) - 1)]
    net = Network.mlp(
        sizes, phis, bias=bias, rates=rates,
        parameterisation=str(stream.choice(["standard", "ntk"])),
    )  # fmt: skip
    w0 = make.gaussian(net, float(10 ** stream.uniform(-1, 0.3)), int(stream.integers(1 << 30)))
    tasks = [random_task(stream, n_in, n_out) for _ in range(int(stream.integers(1, 4)))]
    phases = [Phase(task, float(stream.uniform(0.2, 2.0))) for task in tasks[:-1]]
    loss = SquaredError(sp.Rational(1, int(stream.integers(1, 4))))
    return Problem(net, Curriculum([*phases, Phase(tasks[-1])]), w0, loss)


def draw_smooth(stream: np.random.Generator) -> Problem:
    """Draw one hidden layer of up to 8 smooth units, weights of order 1, one or two phases."""
    n_in, n_out, width = (int(v) for v in (*stream.integers(1, 3, 2), stream.integers(2, 9)))
    phi = str(stream.choice(_ACTIVATIONS[:3]))
    net = Network.mlp([n_in, width, n_out], phi, parameterisation="ntk")
    w0 = make.gaussian(net, float(stream.uniform(0.5, 1.5)), int(stream.integers(1 << 30)))
    tasks = []
    for _ in range(int(stream.integers(1, 3))):
        X = stream.standard_normal((int(stream.integers(2, 5)), n_in))
        tasks.append(Task(X, stream.uniform(-1, 1, (len(X), n_out))))
    phases = [Phase(task, float(stream.uniform(0.5, 2.0))) for task in tasks[:-1]]
    return Problem(net, Curriculum([*phases, Phase(tasks[-1])]), w0)


def _shared_task() -> Task:
    stream = np.random.default_rng(1000)
    X = stream.standard_normal((4, 3))
    return Task(
        X / np.linalg.norm(X, axis=1, keepdims=True) * np.sqrt(3), np.sign(X[:, :1] * X[:, 1:2])
    )


def example() -> Problem:
    """Return a small tanh network on four samples."""
    net = Network.mlp([3, 6, 1], "tanh", parameterisation="ntk")
    return Problem(net, Curriculum.of(_shared_task()), make.gaussian(net, seed=1000))


def showcase() -> Problem:
    """Return a small tanh network that learns a little, so that its kernel moves little."""
    problem = wide(12, 1000)
    net, task = problem.network, problem.curriculum.phases[0].task
    start = TangentPass(net, problem.weights.arrays, task.X, {}).values[net.output]
    near = Task(task.X, np.round(start + task.Y / 10, 2))
    return Problem(net, Curriculum.of(near), problem.weights)


def wide(width: int, seed: int, activation: str = "tanh") -> Problem:
    """Return a network of a width in the parameterisation that keeps its kernel of order 1."""
    net = Network.mlp([3, width, 1], activation, parameterisation="ntk")
    return Problem(net, Curriculum.of(_shared_task()), make.gaussian(net, seed=seed))


def scaled(scale: int, seed: int) -> Problem:
    r"""Return $\alpha(f - f_0)$, trained on $|\alpha(f - f_0) - y|^2/(2\alpha^2)$.

    What the network gives at the start is taken off by an untrained copy of it. (Pairs of units
    with opposite read-outs would do too, but cancel the second order in the displacement: the
    error then falls with slope -2.)
    """
    width, x = 16, Input(3)
    inner = [Parameter(name, (width, 3), trained=name == "W1", scale=1 / sp.sqrt(3))
             for name in ("W1", "V1")]  # fmt: skip
    hidden = [Apply(find_activation("tanh"), parameter @ x) for parameter in inner]
    outer = [Parameter(name, (1, width), trained=name == "W2", scale=sign * scale / sp.sqrt(width))
             for name, sign in (("W2", 1), ("V2", -1))]  # fmt: skip
    net = Network.build(outer[0] @ hidden[0] + outer[1] @ hidden[1], names={"hidden": hidden[0]})
    stream = np.random.default_rng(seed)
    first, second = stream.standard_normal((width, 3)), stream.standard_normal((1, width))
    values = {"W1": first, "V1": first, "W2": second, "V2": second}
    w0 = make.from_arrays(net, values)
    loss = SquaredError(sp.Rational(1, 2 * scale**2))
    return Problem(net, Curriculum.of(_shared_task()), w0, loss)


def families() -> tuple[Family, ...]:
    """Return the families of true networks in which the law's error falls."""
    times, step = np.linspace(0.0, 8.0, 9), {"learning_rate": 0.05}
    return (
        Family(
            "width", WIDTHS, wide, times, {"output": (-1.0, 0.15), "hidden change": (-0.5, 0.15)},
            tuple(range(1000, 1024)), lambda _: step,
        ),
        Family(
            "scale of the output", SCALES, scaled, times, {"output": (-1.0, 0.1)},
            tuple(range(1000, 1004)), lambda _: step,
        ),
    )  # fmt: skip


def frozen_derived(
    words: FrozenWords, numbers: Callable[..., tuple[Mapping[Any, Any], ...]]
) -> Derived:
    """Return what the derivation of a law of this family produces."""
    return Derived(
        steps=words.steps,
        result=words.result,
        formulas=words.formulas,
        routine=lambda: compile_algorithm(ResidualIntegral),
        limits=frozen_limits(),
        precision=check_precision,
        precision_bound=PRECISION,
        numbers=numbers,
    )
