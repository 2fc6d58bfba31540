r"""Rung 2 of the laws of the Gram matrix, and random problems of their classes."""

from __future__ import annotations

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.codegen.algorithms import exact
from symkernel.formula import Evidence, Limits
from symkernel.identities import vanishes
from symkernel.problem import balanced_weights
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.loss import SquaredError
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.theory.riccati import symbolic_node


def riccati_limits() -> Limits:
    """Return the limits and removable singularities of the Riccati flow, with their checks."""
    return (
        ("t = 0", _at_zero),
        ("t to infinity", _at_infinity),
        ("eigenvalues of F to 0", _singular),
        ("one hidden unit, lambda to 0", _sigmoid),
        ("repeated singular values", _repeated),
        ("no target, S = 0", _nothing),
    )


def _mode(f: sp.Expr, g: sp.Expr, t: sp.Expr) -> sp.Expr:
    """Return the flow in one dimension, f > 0, from g."""
    node = symbolic_node(1, 1)
    root = sp.Matrix([[sp.sqrt(g)]])
    F, Q0, time = node.args
    spread = (sp.exp(2 * f * t) - 1) / (2 * f) if f != 0 else t
    growth = sp.exp(f * t)
    parts = {
        part: sp.Matrix([[spread if "Integral" in type(part).__name__ else growth]])
        for part in node.definition().atoms(sp.MatrixExpr)
        if part.has(time) and part.args and part.args[0] == F
    }
    expression = node.definition().xreplace({**parts, Q0: root})
    return sp.cancel(sp.Matrix(expression.doit())[0])


def _at_zero() -> Evidence:
    node = symbolic_node(3, 2)
    F, Q0, t = node.args
    entries = sp.Matrix(3, 2, [1, -2, 3, 1, 0, sp.Rational(1, 2)])
    values = {F: sp.diag(1, -1, 0), Q0: entries}
    found, _ = exact(
        node.definition(), values, (sp.eye(3), [sp.S.One, -sp.S.One, sp.S.Zero]), t, sp.S.Zero
    )
    return Evidence.of(found == entries * entries.T, "G(0) = Q0 Q0^T exactly")


def _at_infinity() -> Evidence:
    f, g = sp.symbols("f g", positive=True)
    E = sp.Symbol("E", positive=True)
    grown = _mode(f, g, notation.t).replace(sp.exp, lambda x: E ** sp.cancel(x / (f * notation.t)))
    top, bottom = (sp.Poly(part, E) for part in sp.fraction(sp.cancel(grown)))
    end = top.LC() / bottom.LC() if top.degree() == bottom.degree() else sp.oo
    return Evidence.of(sp.cancel(end - 2 * f) == 0, "G to 2 f where f > 0, that is W to S")


def _singular() -> Evidence:
    (f, g), t = sp.symbols("f g", positive=True), notation.t
    near, at = _mode(f, g, t), _mode(sp.S.Zero, g, t)
    series = sp.series(near, f, 0, 1).removeO()
    return Evidence.of(sp.cancel(series - at) == 0, "limit f to 0 = power law g/(1 + g t) exactly")


def _sigmoid() -> Evidence:
    """One input, one output, one hidden unit, balanced: the textbook sigmoid."""
    s, a = sp.symbols("s a", positive=True)
    t = notation.t
    # Balanced weights (a, a) lie in the eigenspace of +s.
    product = _mode(s, 2 * a**2, t) / 2
    sigmoid = s / (1 + (s / a**2 - 1) * sp.exp(-2 * s * t))
    return Evidence.of(vanishes(product - sigmoid), "W = s / (1 + (s/u0 - 1) e^(-2 s t)) exactly")


def _repeated() -> Evidence:
    """Two equal singular values: any basis of their space gives the same."""
    node = symbolic_node(2, 2)
    F, Q0, t = node.args
    turn = sp.Matrix([[3, -4], [4, 3]]) / 5
    values = {F: sp.eye(2), Q0: sp.Matrix([[1, 2], [0, 1]])}
    both = [
        exact(node.definition(), values, (basis, [sp.S.One] * 2), t, sp.Rational(1, 3))[0]
        for basis in (sp.eye(2), turn)
    ]
    return Evidence.of(both[0] == both[1], "two bases of a repeated eigenvalue agree exactly")


def _nothing() -> Evidence:
    """With S = 0 and lambda = 0 the propagator is the identity and the integral is t."""
    node = symbolic_node(2, 1)
    F, Q0, t = node.args
    column = sp.Matrix([1, 2])
    at = sp.Rational(1, 2)
    values = {F: sp.zeros(2), Q0: column}
    found, _ = exact(node.definition(), values, (sp.eye(2), [sp.S.Zero] * 2), t, at)
    wanted = column * column.T / (1 + at * (column.T * column)[0])
    return Evidence.of(found == wanted, "G = Q0 Q0^T / (1 + t |Q0|^2) exactly")


def white_task(stream: np.random.Generator, n_in: int, n_out: int, variance: float) -> Task:
    """Draw a task on white inputs: repeated, vanishing and small singular values among them."""
    r = min(n_in, n_out)
    s = 10 ** stream.uniform(-6, 1.5, r)
    kind = stream.random(r)
    s[kind < 0.2] = 0.0
    s[kind > 0.8] = s[0]
    U, V = (np.linalg.qr(stream.standard_normal((n, n)))[0] for n in (n_out, n_in))
    syx = U[:, :r] * s @ V[:, :r].T
    return Task.from_moments(variance * np.eye(n_in), syx, syx @ syx.T / variance)


def phases_of(stream: np.random.Generator, tasks: list[Task]) -> Curriculum:
    """Let every task but the last run for 0.1 to 5 time constants of the strongest task."""
    strongest = max(float(np.linalg.norm(task.Syx, 2)) for task in tasks)
    spans = stream.uniform(0.1, 5, len(tasks) - 1) / max(strongest, 0.1)
    first = [Phase(task, float(span)) for task, span in zip(tasks[:-1], spans, strict=True)]
    return Curriculum([*first, Phase(tasks[-1])])


def drawn_network(
    stream: np.random.Generator, sizes: tuple[int, int, int], decay: bool, apart: bool = False
) -> tuple[Network, SquaredError]:
    """Draw learning rates of the layers, or weight decay with equal ones; both if `apart`."""
    n_in, n_hidden, n_out = sizes
    shrinks = decay and stream.random() < 0.3
    rates = [1.0, 1.0]
    if (apart or not shrinks) and stream.random() < 0.5:
        rates = [float(sp.Float(r)) for r in np.round(10 ** stream.uniform(-0.7, 0.7, 2), 3)]
    net = Network.mlp([n_in, n_hidden, n_out], "linear", rates=rates)
    return net, SquaredError(weight_decay=round(float(stream.uniform(0, 2)), 3) if shrinks else 0)


def draw_balanced(stream: np.random.Generator) -> Problem:
    """Draw sizes 1 to 8, lambda of any sign, one to three tasks that do not commute."""
    n_in, n_out = (int(v) for v in stream.integers(1, 9, 2))
    kind = int(stream.integers(0, 3))
    most = {0: 12, 1: n_out, 2: n_in}[kind]
    n_hidden = int(stream.integers(1, most + 1))
    net, loss = drawn_network(stream, (n_in, n_hidden, n_out), kind == 0)
    scale = float(10 ** stream.uniform(-2, 0.5))
    lam = {0: 0.0, 1: 1.0, 2: -1.0}[kind] * float(10 ** stream.uniform(-3, 0.5))
    w0 = balanced_weights.lambda_balanced(net, lam, scale, seed=int(stream.integers(1 << 30)))
    variance = float(stream.choice([1.0, 0.3, 2.0]))
    tasks = [white_task(stream, n_in, n_out, variance) for _ in range(int(stream.integers(1, 4)))]
    return Problem(net, phases_of(stream, tasks), w0, loss)


def draw_semi_orthogonal(stream: np.random.Generator) -> Problem:
    """Draw sizes 1 to 5, weights of 1e-4 to 10, one to three tasks that do not commute."""
    n_in, n_out = (int(v) for v in stream.integers(1, 6, 2))
    n_hidden = n_in + n_out + int(stream.integers(0, 4))
    net, _ = drawn_network(stream, (n_in, n_hidden, n_out), False)
    a, b = (float(v) for v in 10 ** stream.uniform(-8, 2, 2))
    w0 = balanced_weights.semi_orthogonal(net, a, b, seed=int(stream.integers(1 << 30)))
    variance = float(stream.choice([1.0, 0.3, 2.0]))
    tasks = [white_task(stream, n_in, n_out, variance) for _ in range(int(stream.integers(1, 4)))]
    return Problem(net, phases_of(stream, tasks), w0)
