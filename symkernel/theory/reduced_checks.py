r"""Rungs 2 and 3 of laws that are differential equations, and random problems of their classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Limits
from symkernel.identities import vanishes
from symkernel.problem import balanced_weights
from symkernel.problem import weights as make
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.theory import block_words as blocks
from symkernel.theory.flow_solver import RTOL
from symkernel.theory.gram_checks import drawn_network, phases_of
from symkernel.theory.two_layer import on_white_inputs
from symkernel.theory.word_flow import WordFlow
from symkernel.theory.word_taylor import taylor_flow
from symkernel.theory.words import Words, derivative

# What an integrator reaches: its tolerance, accumulated over the steps of a curve.
PRECISION = 1e-10


def reduced_limits(flow: WordFlow) -> Limits:
    """Return the limits of the flow of all two-layer linear networks, with their checks."""
    return (
        ("white inputs: an equation in G alone", lambda: _white(flow)),
        ("one balanced mode: logistic", lambda: _sigmoid(flow)),
        ("at rest where nothing remains to be learned", lambda: _rest(flow)),
        ("inputs that never vary: only decay moves their weights", lambda: _silent(flow)),
        ("one hidden unit is its own narrow network", _narrow),
    )


def _decays(flow: WordFlow) -> tuple[sp.Symbol, sp.Symbol]:
    """Return the decays of the first and of the second layer; they may be one symbol."""
    symbols = [sp.Symbol(name, nonnegative=True) for name in flow.scalars]
    return symbols[0], symbols[-1]


def _white(flow: WordFlow) -> Evidence:
    r"""$\dot G = FG + GF - G^2 + (JGJG + GJGJ)/2$ where $\Sigma_{xx} = 1$."""
    first, second = (-Words({(): decay}) for decay in _decays(flow))
    F: blocks.Blocks = ((first, Words.of("S'")), (Words.of("S"), second))
    G, J = blocks.GRAM, blocks.SIGN
    wanted = blocks.combined(
        (1, blocks.product(F, G)),
        (1, blocks.product(G, F)),
        (-1, blocks.product(G, G)),
        (sp.S.Half, blocks.product(J, G, J, G)),
        (sp.S.Half, blocks.product(G, J, G, J)),
    )
    moved = blocks.moved(G, on_white_inputs(flow.expanded))
    same = blocks.is_nothing(blocks.combined((1, moved), (-1, wanted)))
    return Evidence.of(same, "dG/dt = FG + GF - G^2 + (JGJG + GJGJ)/2 exactly")


def _sigmoid(flow: WordFlow) -> Evidence:
    s, d, u0, t = notation.s, notation.d, sp.Symbol("u0", positive=True), notation.t
    u = (s / d) / (1 + (s / (d * u0) - 1) * sp.exp(-2 * s * t))
    root = sp.sqrt(u)
    values = {"w_1": root, "w_2": root, "S": s, "Sxx": d}
    entries = {name: sp.Matrix([[value]]) for name, value in values.items()}
    gaps = []
    for words in flow.expanded.values():
        rate = words.explicit(entries)[0].subs(dict.fromkeys(_decays(flow), 0))
        gaps.append(vanishes(2 * root * rate - sp.diff(u, t)))
    start = sp.cancel(u.subs(t, 0) - u0) == 0
    return Evidence.of(all(gaps) and start, "u = (s/d)/(1 + (s/(d u0) - 1) exp(-2 s t)) exactly")


def _rest(flow: WordFlow) -> Evidence:
    """Every word of the rates but the decay holds E."""
    same = all(
        c.has(*_decays(flow)) or any(n == "E" for n, _ in word)
        for words in flow.rates.values()
        for word, c in words.terms.items()
    )
    return Evidence.of(same, "rates vanish with E = S - W Sxx, but for the decay")


def _silent(flow: WordFlow) -> Evidence:
    """Directions v with Sxx v = 0, and so S v = 0."""
    rules = {(("Sxx", False), ("v", False)): blocks.NONE, (("S", False), ("v", False)): blocks.NONE}
    moved = derivative(Words.of("w_1", "v"), flow.expanded).reduced(rules)
    decay, _ = _decays(flow)
    gap = moved + Words.of("w_1", "v", coefficient=decay)
    return Evidence.of(not gap.terms, f"d(w_1 v)/dt = -{decay} w_1 v exactly")


def _narrow() -> Evidence:
    from symkernel.theory.reduced_flow import narrowed

    stack = np.array([[2.0], [-1.0], [0.5]])
    kept, turn = narrowed(stack)
    same = turn is None and bool((kept == stack).all())
    wide, turn = narrowed(np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0]]))
    same = same and turn is not None and wide.shape == (2, 2)
    return Evidence.of(same, "no more hidden units than inputs and outputs: nothing is turned")


def check_precision(stream: np.random.Generator, draws: int) -> Evidence:
    """Compare products of the integrated weights with Taylor steps in 60 digits."""
    from symkernel.theory.reduced_flow import trajectory

    return compared(stream, draws, trajectory, draw_small)


def compared(
    stream: np.random.Generator,
    draws: int,
    trajectory: Callable[[Problem, Any], Any],
    draw: Callable[[np.random.Generator], Problem],
) -> Evidence:
    """Return the worst error of the products of a law, relative to the largest along the curve."""
    worst, where = 0.0, ""
    for k in range(draws):
        problem = draw(stream)
        times, true = reference(problem, float(10 ** stream.uniform(-2, 1)))
        found = trajectory(problem, times)
        size = max(float(np.abs(rows).max()) for rows in true.values()) or 1.0
        error = max(float(np.abs(getattr(found, n) - true[n]).max()) for n in true) / size
        if not error <= worst:
            worst, where = error, f"draw {k}"
    return Evidence(
        worst <= PRECISION,
        f"worst relative error {worst:.1e} in {draws} curves of 4 times, integrated at relative "
        f"tolerance {RTOL:.0e}, against Taylor steps of 60 digits; worst at {where}",
    )


def reference(problem: Problem, span: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return times up to a multiple of the time constant, and the products by Taylor steps."""
    from symkernel.theory.gram_state import GramState
    from symkernel.theory.reduced_flow import decay_numbers, weight_flow

    state = GramState.of(problem, isotropic=False)
    n, S, inputs = state.n_inputs, state.targets[0], state.inputs[0]
    decays = decay_numbers(state.form)
    fall = max(decays.values())
    pace = float(np.linalg.norm(S, 2) + state.size * np.linalg.norm(inputs, 2) + fall)
    times = span * np.array([0.0, 0.1, 0.5, 1.0]) / max(float(np.linalg.norm(S, 2)), 0.1 * pace)
    start = {"w_1": state.factor[:n].T, "w_2": state.factor[n:]}
    values = {"S": S, "Sxx": inputs, **decays}
    path = taylor_flow(weight_flow(state.form), start, values, times, pace)
    first, second = state.units
    w1, w2 = (np.array([row[name] for row in path]) for name in ("w_1", "w_2"))
    W1, W2 = first * w1, second * w2
    return times, {
        "end_to_end": float(state.form.scale) * W2 @ W1,
        "input_gram": W1.transpose(0, 2, 1) @ W1,
        "readout_gram": W2 @ W2.transpose(0, 2, 1),
    }


def draw_small(stream: np.random.Generator) -> Problem:
    """Draw one task with correlated inputs, sizes 1 to 3, Gaussian weights."""
    n_in, n_hidden, n_out = (int(v) for v in stream.integers(1, 4, 3))
    net, loss = drawn_network(stream, (n_in, n_hidden, n_out), True, apart=True)
    w0 = make.gaussian(net, float(10 ** stream.uniform(-3, 0.5)), int(stream.integers(1 << 30)))
    return Problem(net, Curriculum([Phase(correlated_task(stream, n_in, n_out))]), w0, loss)


def correlated_task(stream: np.random.Generator, n_in: int, n_out: int) -> Task:
    """Draw a linear task with input variances from 1e-2 to 10, singular inputs among them."""
    spectrum = 10 ** stream.uniform(-2, 1, n_in)
    if n_in > 1 and stream.random() < 0.2:
        spectrum[0] = 0.0
    V = np.linalg.qr(stream.standard_normal((n_in, n_in)))[0]
    sxx = V * spectrum @ V.T
    teacher = stream.standard_normal((n_out, n_in)) * 10 ** stream.uniform(-1.5, 1)
    if stream.random() < 0.3:
        teacher[:] = np.outer(teacher[:, 0], teacher[0])
    syx = teacher @ sxx
    syy = syx @ teacher.T
    return Task.from_moments((sxx + sxx.T) / 2, syx, (syy + syy.T) / 2)


def _problem(
    stream: np.random.Generator, sizes: tuple[int, int, int], weights: Any, *, apart: bool
) -> Problem:
    net, loss = drawn_network(stream, sizes, True, apart=apart)
    tasks = [correlated_task(stream, sizes[0], sizes[2]) for _ in range(int(stream.integers(1, 3)))]
    return Problem(net, phases_of(stream, tasks), weights(net), loss)


def draw_any(stream: np.random.Generator) -> Problem:
    """Draw sizes 1 to 6, up to 16 hidden units, correlated inputs, Gaussian weights.

    The layers' rates differ at times, with weight decay and without.
    """
    n_in, n_out = (int(v) for v in stream.integers(1, 7, 2))
    n_hidden = int(stream.integers(1, 17))
    scale, seed = float(10 ** stream.uniform(-4, 0.7)), int(stream.integers(1 << 30))
    sizes = n_in, n_hidden, n_out
    return _problem(stream, sizes, lambda net: make.gaussian(net, scale, seed), apart=True)


def draw_memoryless(stream: np.random.Generator) -> Problem:
    """Draw sizes 1 to 5, correlated inputs, semi-orthogonal weights of any two variances."""
    n_in, n_out = (int(v) for v in stream.integers(1, 6, 2))
    n_hidden = n_in + n_out + int(stream.integers(0, 4))
    a, b = (float(v) for v in 10 ** stream.uniform(-6, 0.7, 2))
    seed = int(stream.integers(1 << 30))
    return _problem(
        stream,
        (n_in, n_hidden, n_out),
        lambda net: balanced_weights.semi_orthogonal(net, a, b, seed),
        apart=False,
    )
