r"""The loss on any task of a curriculum, in any of its phases, from one law per mode.

With the end-to-end map $A$ diagonal in the bases of the task, the loss $\kappa\,\mathrm{tr}\,
(\Sigma_{yy} - 2A\Sigma_{yx}^T + A\Sigma_{xx}A^T)$ is

$$L = \kappa\Big(\mathrm{tr}\,\Sigma_{yy} - \sum_k \frac{s_k^2}{d_k}\Big)
      + \kappa\sum_k d_k\Big(\frac{s_k}{d_k} - u_k(t)\Big)^2,$$

the first part being what no map removes. The task only gives $s_k, d_k$, the running phase
only $u_k(t)$, so the two need not belong together.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from symkernel.formula import Derived
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task

# Below this share of <|y|^2> a remainder is rounding.
_ROUNDING = 1e-13


def task_loss(problem: Problem, derived: Derived, task: int, phase: int) -> sp.Expr:
    """Return the loss on the task of one phase as a function of time within another.

    Parameters
    ----------
    problem : Problem
    derived : Derived
        Of a law with one closed form per mode.
    task, phase : int
        Positions of phases: the one whose task is judged, and the one that is running.
    """
    assert derived.mode is not None
    assert derived.strength is not None
    judged = problem.curriculum.phases[task].task
    parts, explained = [], []
    for k, count in enumerate(_multiplicities(problem)):
        s, d = derived.strength(k, task)
        if d == 0:
            continue
        output = derived.mode(k, phase).output
        parts.append(count * d * (s / d - output) ** 2)
        explained.append(count * s**2 / d)
    return problem.loss.factor * (_remainder(judged, sp.Add(*explained)) + sp.Add(*parts))


def _multiplicities(problem: Problem) -> list[sp.Expr]:
    """Return how often each mode occurs of which a law of the problem has one formula."""
    task = problem.curriculum.phases[0].task
    if problem.is_numeric_but_for_durations:
        return [sp.S.One] * min(task.Syx.shape)
    given = task.exact.modes if task.exact is not None else task.modes or ()
    return [mode.multiplicity for mode in given]


def _remainder(task: Task, explained: sp.Expr) -> sp.Expr:
    """Return what no linear map removes of the mean squared target."""
    if task.exact is not None and not explained.has(sp.Float):
        rest = task.exact.Syy.trace() - explained
        value = rest.xreplace(dict(task.exact.named))
    else:
        rest = value = sp.expand(_mean_square(task) - explained)
    none = value.is_number and value.evalf(30) <= _ROUNDING * abs(explained.evalf())
    return sp.S.Zero if none else rest


def _mean_square(task: Task) -> sp.Expr:
    r"""Return $\mathrm{tr}\,\Sigma_{yy}$, exactly for modes and mixtures of modes."""
    if task.reverse_of is not None:
        return _mean_square(task.reverse_of)
    if task.parts:
        return sp.Add(*(weight * _mean_square(part) for weight, part in task.parts))
    of_modes = sp.Add(*(mode.multiplicity * mode.s**2 / mode.d for mode in task.modes or ()))
    if task.Syy is None:
        return of_modes
    # A mixture of modes with numbers has more than its modes.
    whole = float(np.trace(task.Syy))
    return of_modes if abs(whole - of_modes) <= _ROUNDING * whole else sp.Float(whole)
