r"""What the symbols of the laws of single modes stand for, read off a trajectory."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.problem.modes import common_basis
from symkernel.problem.problem import Problem
from symkernel.trajectory import Trajectory

# Weaker modes are left out: their strength is rounding.
_WEAK = 1e-9
# Share of the hidden activity by which it must have moved for the movement to be a number.
_RESOLVED = 1e-5


def mode_numbers(problem: Problem, seen: Trajectory, k: int) -> tuple[dict[Any, Any], ...]:
    """Return values for all symbols of a law of single modes; see `Derived.numbers`.

    Amplitudes are those of the weights along a mode's hidden direction, and observables those of
    the trajectory at the mode's input and output.
    """
    task = problem.curriculum.phases[0].task
    start = [problem.weights.arrays[p.name] for p in problem.network.parameters]
    basis = common_basis([task], *start)
    strengths = basis.s[0]
    active = [i for i, s in enumerate(strengths) if s > _WEAK * strengths.max()]
    return tuple(_one_mode(problem, seen, k, basis.U[:, i], basis.V[:, i]) for i in active)


def _one_mode(
    problem: Problem, seen: Trajectory, k: int, u: np.ndarray, v: np.ndarray
) -> dict[Any, Any]:
    task = problem.curriculum.phases[0].task
    first, second = problem.network.parameters
    inner, outer = float(first.scale), float(second.scale)
    W1, W2 = seen.weights[first.name][k], seen.weights[second.name][k]
    arrays = problem.weights.arrays
    p0, q0 = arrays[first.name] @ v, arrays[second.name].T @ u
    p, q = W1 @ v, W2.T @ u
    longer = p0 if p0 @ p0 >= q0 @ q0 else q0
    r = longer / np.linalg.norm(longer)
    # The mode's input as a combination of samples.
    share = np.linalg.pinv(task.X).T @ v
    # Both sides turn into each other, all hidden units alike.
    factor = np.sqrt(float(first.rate / second.rate))
    turned = np.stack([p0, factor * q0], axis=1)
    (even, odd), *_ = np.linalg.lstsq(turned, p, rcond=None)
    missed = u @ (task.Syx - seen.end_to_end[k] @ task.Sxx) @ v
    d = v @ task.Sxx @ v
    real = {n: sp.Symbol(n, real=True) for n in ("p", "q_out", "p0", "q0")}
    hidden = share @ seen.hidden[k] @ r
    moved = hidden - inner * (p0 @ r)
    # What is left of a difference of nearly equal numbers is no measure of the law.
    resolved = {"path_integral": moved} if abs(moved) > _RESOLVED * abs(hidden) else {}
    return {
        **resolved,
        notation.s: u @ task.Syx @ v,
        notation.d: d,
        notation.a0: p0 @ r,
        notation.b0: q0 @ r,
        notation.w: p0 @ q0,
        sp.Symbol("alpha", nonnegative=True): p0 @ p0,
        sp.Symbol("beta", nonnegative=True): q0 @ q0,
        sp.Symbol("m0", nonnegative=True): _rest(arrays[first.name], p0),
        sp.Symbol("n0", nonnegative=True): _rest(arrays[second.name], q0),
        notation.u: u @ seen.end_to_end[k] @ v,
        notation.a: p @ r,
        notation.b: q @ r,
        real["p0"]: p0[0],
        real["q0"]: q0[0],
        real["p"]: p[0],
        real["q_out"]: q[0],
        "output": u @ seen.end_to_end[k] @ v,
        "input_side": p @ r,
        "output_side": q @ r,
        "even": even,
        "odd": odd,
        "hidden": hidden,
        "hidden_gram": share @ seen.hidden_gram[k] @ share,
        "readout_gram": u @ seen.readout_gram[k] @ u,
        "ntk": np.einsum("i,a,iajb,j,b", share, u, seen.ntk[k], share, u),
        "pseudo_kernel": float(first.rate) * inner**2 * outer * (q @ r),
        "loss": float(problem.loss.factor) * missed**2 / d,
    }


def _rest(weights: np.ndarray, along: np.ndarray) -> float:
    return float(np.sqrt(max((weights**2).sum() - along @ along, 0.0)))


def unit_numbers(problem: Problem, seen: Trajectory, k: int) -> tuple[dict[Any, Any], ...]:
    """Return the same for one hidden unit, whose loss is that of all directions.

    Its formulas are those of a task of one mode: there are no values for others.
    """
    first = problem.curriculum.phases[0].task
    if np.linalg.matrix_rank(first.Syx) > 1:
        return ()
    return tuple({**row, "loss": seen.loss[k]} for row in mode_numbers(problem, seen, k))
