"""The averages behind plateaus and escape rates, counted over all prompts of small environments."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from fractions import Fraction
from functools import cache

import numpy as np
import sympy as sp

from symkernel.environments.multitasking import Multitasking
from symkernel.formula import Evidence

SIZES = ((2, 2), (2, 3), (3, 2), (3, 3), (4, 2), (2, 4))
_ROUNDING = 1e-12


@cache
def environment(G: int, M: int) -> Multitasking:
    """Return an environment with numbers."""
    return Multitasking(G, M)


def on_all_sizes(holds: Callable[[int, int], bool], words: str) -> Evidence:
    """Return whether something holds for every one of the sizes."""
    failed = [f"({G}, {M})" for G, M in SIZES if not holds(G, M)]
    sizes = ", ".join(f"({G}, {M})" for G, M in SIZES)
    if failed:
        return Evidence(False, f"NOT so for (G, M) = {', '.join(failed)}: {words}")
    return Evidence(True, f"{words}, for (G, M) = {sizes}")


def at(formula: sp.Expr, symbols: Sequence[sp.Symbol], G: int, M: int) -> Fraction:
    """Return a formula's value, exactly."""
    value = sp.Rational(formula.subs(dict(zip(symbols, (G, M), strict=True))))
    return Fraction(int(value.p), int(value.q))


def tasks_of(env: Multitasking) -> np.ndarray:
    """Return the number of the task of every single-task prompt."""
    return np.array([env.single.sets[k][0] for k in env.single.set_of])


def counts_of(env: Multitasking) -> np.ndarray:
    """Return how many stimulus groups show each feature, (n_prompts, M)."""
    shown = env.single.X[:, : env.outputs].reshape(-1, env.groups, env.features)
    return shown.sum(1).astype(int)


def loss_of_best(env: Multitasking, known: Sequence[Hashable]) -> Fraction:
    """Return half the squared error of the best outputs that depend on what is known alone."""
    members: dict[Hashable, list[int]] = {}
    for k, key in enumerate(known):
        members.setdefault(key, []).append(k)
    total = Fraction(0)
    for rows in members.values():
        ones = env.single.Y[rows].sum(0).astype(int)
        total += sum((Fraction(int(n) * (len(rows) - int(n)), len(rows)) for n in ones), Fraction())
    return total / (2 * len(known))


def loss_of_best_sum(env: Multitasking) -> float:
    """Return the same for a sum of something known of the task and of the counts of features."""
    tasks, counts = np.eye(env.groups**2)[tasks_of(env)], counts_of(env)
    which = np.unique(counts, axis=0, return_inverse=True)[1].ravel()
    design = np.hstack([tasks, np.eye(which.max() + 1)[which]])
    best = np.linalg.lstsq(design, env.single.Y, rcond=None)[0]
    return float(((env.single.Y - design @ best) ** 2).sum() / (2 * len(design)))


def drive(env: Multitasking) -> np.ndarray:
    """Return M n times the mean of residual times feature at plateau 0, outputs x features."""
    residual = env.features * env.single.Y - _addressed(env)
    stimulus = env.single.X[:, : env.outputs]
    return np.rint(residual.T @ stimulus).astype(int)


def drive_of_gates(env: Multitasking) -> np.ndarray:
    """Return G n times the mean of residual times feature on prompts of one task at plateau 1.

    By task, feature that the addressed group is asked for, and feature shown.
    """
    G, M = env.groups, env.features
    shares = np.tile(counts_of(env), (1, G)) * _addressed(env)
    residual = (G * env.single.Y - shares).reshape(-1, G, M).sum(1)
    tasks = np.eye(G * G)[tasks_of(env)]
    found = np.einsum("pt,pv,px->tvx", tasks, residual, env.single.X[:, : env.outputs])
    return np.rint(found).astype(int)


def _addressed(env: Multitasking) -> np.ndarray:
    """Return 1 for the outputs of the response group that a prompt addresses."""
    written = np.array([j for _, j in env.tasks])[tasks_of(env)]
    return np.repeat(np.eye(env.groups)[written], env.features, axis=1)


def escapes_at(env: Multitasking, rate: Fraction) -> bool:
    """Return whether the pooled contrast of features, and it alone, is driven at this rate."""
    G, M, moments = env.groups, env.features, drive(env)
    by_feature = np.eye(M, dtype=int)[0] - np.eye(M, dtype=int)[1]
    by_group = np.eye(G, dtype=int)[0] - np.eye(G, dtype=int)[1]
    pooled, contrast = np.tile(by_feature, G), np.kron(by_group, by_feature)
    size = M * len(env.single.X)
    driven = [Fraction(int(a), size) for a in moments @ pooled]
    alone = np.linalg.matrix_rank(moments) == M - 1 and not (moments @ contrast).any()
    return bool(alone) and driven == [rate * int(b) for b in pooled]


def gates_at(env: Multitasking, rate: Fraction) -> bool:
    """Return whether a task is driven by contrasts of its stimulus group to the others alone."""
    G, M = env.groups, env.features
    group = np.eye(G) - 1 / G
    feature = np.eye(M) - 1 / M
    read = np.array([i for i, _ in env.tasks])
    wanted = float(rate) * np.einsum("tg,vw->tvgw", group[read], feature)
    found = drive_of_gates(env).reshape(G * G, M, G, M) / (G * len(env.single.X))
    return bool(np.abs(found - wanted).max() < _ROUNDING)
