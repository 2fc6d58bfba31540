"""Problems of the mode laws drawn at random, built here from bases, strengths and sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

import symkernel as sk
from symkernel.problem.problem import Problem


@dataclass(frozen=True)
class Drawn:
    """A problem, and the times to look at it."""

    problem: Problem
    times: np.ndarray


def orthogonal(stream: np.random.Generator, n: int, kind: str) -> np.ndarray:
    """Return an orthogonal matrix: the identity, signs and a permutation, or a random one."""
    if kind == "identity":
        return np.eye(n)
    if kind == "signs":
        return np.eye(n)[stream.permutation(n)] * stream.choice([-1.0, 1.0], n)
    return np.linalg.qr(stream.standard_normal((n, n)))[0]


def moments_task(U: np.ndarray, V: np.ndarray, s: np.ndarray, d: np.ndarray) -> sk.Task:
    """Return the task with Syx = U S V^T, Sxx = V D V^T, and targets that can be fitted."""
    r = len(s)
    syx, sxx = U[:, :r] * s @ V[:, :r].T, V * d @ V.T
    best = np.divide(s**2, d[:r], out=np.zeros(r), where=d[:r] > 0)
    syy = U[:, :r] * best @ U[:, :r].T
    return sk.Task.from_moments((sxx + sxx.T) / 2, syx, (syy + syy.T) / 2)


def sampled_task(U: np.ndarray, V: np.ndarray, s: np.ndarray, d: np.ndarray) -> sk.Task:
    """Return the same with one sample for each input direction, and two that repeat and rest."""
    n, r = len(d), len(s)
    X = np.sqrt(n * d)[:, None] * V.T
    slope = U[:, :r] * np.divide(s, d[:r], out=np.zeros(r), where=d[:r] > 0) @ V[:, :r].T
    return sk.Task(X, X @ slope.T)


def powers(stream: np.random.Generator, low: float, high: float) -> float:
    """Return a number between two powers of ten, evenly in the exponent."""
    return float(10 ** stream.uniform(low, high))


@st.composite
def strengths(draw, stream, r: int, low: float, high: float, signs: tuple = (1.0,)) -> np.ndarray:
    """Draw strengths with zeros and repeats forced often."""
    values = [powers(stream, low, high)]
    for _ in range(r - 1):
        fresh = powers(stream, low, high)
        values.append(draw(st.sampled_from([fresh, fresh, 0.0, values[0], values[-1]])))
    order = stream.permutation(r)
    return np.array([values[k] * draw(st.sampled_from(signs)) for k in order])


def _horizon(problem: Problem, s_t: float) -> np.ndarray:
    """Return times up to s_max t = `s_t` in the last phase, unless the flow is stiffer."""
    task = problem.curriculum.phases[-1].task
    strongest = float(np.linalg.norm(task.Syx, 2))
    squares = sum(float(np.linalg.norm(w, 2)) ** 2 for w in problem.weights.arrays.values())
    fastest = max(strongest, squares * float(np.linalg.norm(task.Sxx, 2)), 1e-300)
    end = min(s_t / strongest if strongest else np.inf, 400.0 / fastest)
    begin = problem.curriculum.starts[-1]
    inside = [t for k in problem.curriculum.starts[1:] for t in (0.5 * k, k)]
    return np.unique([0.0, *inside, *(begin + np.geomspace(1e-3, 1, 9) * end)])


@st.composite
def aligned(draw, most: int = 5, s_t: float = 50.0, samples: bool = False, phases: int = 1):
    """Draw two-layer problems whose sides are parallel: any sizes, signs, zeros and repeats."""
    n_in, n_hidden, n_out = (draw(st.integers(1, most)) for _ in range(3))
    r = min(n_in, n_out)
    stream = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = st.sampled_from(["identity", "signs", "random"])
    U, V, H = (orthogonal(stream, n, draw(kinds)) for n in (n_out, n_in, n_hidden))
    make = sampled_task if samples else moments_task
    tasks = []
    for k in range(phases):
        s = draw(strengths(stream, r, -3, 1.0, (1.0,) if k == 0 else (1.0, -1.0)))
        white = draw(st.booleans())
        d = np.ones(n_in) if white else 10 ** stream.uniform(-1, 1, n_in)
        tasks.append(make(U, V, s, d))
    a, b = np.zeros(r), np.zeros(r)
    for k in stream.permutation(r)[:n_hidden]:
        one, two = (powers(stream, -4, 0.7) * stream.choice([-1.0, 1.0]) for _ in range(2))
        a[k], b[k] = draw(
            st.sampled_from([(one, two)] * 5 + [(one, one), (one, -one), (one, 0.0), (0.0, 0.0)])
        )
    sides = np.zeros((2, n_hidden, r))
    active = np.flatnonzero((a != 0) | (b != 0))
    for place, k in enumerate(active):
        sides[0, :, k], sides[1, :, k] = H[:, place] * a[k], H[:, place] * b[k]
    return _posed(draw, (U, V), sides, tasks, s_t)


@st.composite
def gram_diagonal(draw, most: int = 3, s_t: float = 30.0, samples: bool = False):
    """Draw problems whose sides are not parallel, with one or two phases on commuting tasks."""
    n_in, n_out = (draw(st.integers(1, most)) for _ in range(2))
    r = min(n_in, n_out)
    n_hidden = draw(st.integers(2 * r, 2 * r + 3))
    stream = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = st.sampled_from(["identity", "random"])
    U, V, H = (orthogonal(stream, n, draw(kinds)) for n in (n_out, n_in, n_hidden))
    make = sampled_task if samples else moments_task
    tasks = []
    for k in range(draw(st.integers(1, 2))):
        s = draw(strengths(stream, r, -2, 0.7, (1.0,) if k == 0 else (1.0, -1.0)))
        tasks.append(make(U, V, s, 10 ** stream.uniform(-0.7, 0.5, n_in)))
    sides = np.zeros((2, n_hidden, r))
    for k in range(r):
        along, across, aside = (
            draw(st.sampled_from([1, 1, 1, 0])) * powers(stream, -3, 0.3) * stream.choice([-1, 1])
            for _ in range(3)
        )
        sides[0, :, k] = H[:, k] * along
        sides[1, :, k] = H[:, k] * across + H[:, r + k] * aside
    return _posed(draw, (U, V), sides, tasks, s_t)


def _posed(draw, bases, sides, tasks, s_t) -> Drawn:
    U, V = bases
    n_hidden, r = sides.shape[1:]
    net = sk.Network.two_layer(len(V), n_hidden, len(U))
    w0 = sk.weights.from_arrays(net, [sides[0] @ V[:, :r].T, U[:, :r] @ sides[1].T])
    squares = sum(float(np.linalg.norm(w, 2)) ** 2 for w in w0.arrays.values())
    phases = []
    for task in tasks[:-1]:
        strongest = float(np.linalg.norm(task.Syx, 2))
        fastest = squares * float(np.linalg.norm(task.Sxx, 2))
        longest = min(5.0 / strongest, 100.0 / max(fastest, 1e-2))
        phases.append(sk.Phase(task, duration=draw(st.floats(0.02, 1.0)) * longest))
    problem = Problem(net, sk.Curriculum([*phases, sk.Phase(tasks[-1])]), w0)
    return Drawn(problem, _horizon(problem, s_t))
