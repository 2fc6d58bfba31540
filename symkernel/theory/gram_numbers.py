r"""What the symbols of the laws of $G = QQ^T$ stand for, read off a trajectory."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.problem.problem import Problem
from symkernel.theory.gram_observables import DOT, block_symbols, stacked
from symkernel.theory.gram_state import GramState
from symkernel.theory.lax import C2, LAM, fitted_class
from symkernel.trajectory import Trajectory

# The two samples at which kernels are read.
_LEFT, _RIGHT = 0, -1


def white_numbers(problem: Problem, seen: Trajectory, k: int) -> tuple[dict[Any, Any], ...]:
    """Return the same for a law of white inputs, whose variance the units take up."""
    return gram_numbers(problem, seen, k, isotropic=True)


def gram_numbers(
    problem: Problem, seen: Trajectory, k: int, isotropic: bool = False
) -> tuple[dict[Any, Any], ...]:
    """Return values for all symbols of a law of G at one time; see `Derived.numbers`.

    Observables come from the trajectory, initial values and targets from the problem, and products
    in canonical units from the units of the weights.
    """
    state = GramState.of(problem, isotropic=isotropic)
    form, factor, task = state.form, state.factor, problem.curriculum.phases[0].task
    first, second = state.units
    W = seen.end_to_end[k] / (float(form.scale) * first * second)
    A, B = seen.input_gram[k] / first**2, seen.readout_gram[k] / second**2
    gram = np.block([[A, W.T], [W, B]])
    start = factor @ factor.T
    lam, c2, _ = fitted_class(start, state.n_inputs)
    X, S = task.X, state.targets[0]
    named = {
        "S": S, "E": S - W @ state.inputs[0], "G_0": start, "x": X[[_LEFT]].T, "x'": X[[_RIGHT]].T,
        "Sxx": task.Sxx, "Syx": task.Syx, "Syy": task.Syy,
        "f": seen.outputs[k, [_LEFT]].T, "K_f": seen.ntk[k, _LEFT, :, _RIGHT],
        "k_h": seen.hidden_gram[k, [[_LEFT]], [[_RIGHT]]],
    }  # fmt: skip
    own = stacked(form)
    return (
        {
            LAM: lam,
            notation.d: state.variance,
            C2: c2,
            DOT: X[_LEFT] @ X[_RIGHT],
            own["G"]: gram,
            own["Q_0"]: factor,
            **dict(zip(block_symbols(form), (A, W, B), strict=True)),
            **{sp.MatrixSymbol(n, *value.shape): value for n, value in named.items()},
            "gram": gram,
            "end_to_end": W,
            "output": seen.end_to_end[k],
            "input_gram": seen.input_gram[k],
            "readout_gram": seen.readout_gram[k],
            "hidden_gram": named["k_h"],
            "ntk": named["K_f"],
            "loss": seen.loss[k],
        },
    )
