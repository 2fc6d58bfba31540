"""Numbers of everything that the frozen laws' derivation names, at one time of a trajectory."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from symkernel.problem.problem import Problem
from symkernel.theory.frozen_system import LinearSystem
from symkernel.theory.frozen_words import LOSS, SHAPES
from symkernel.trajectory import Trajectory


def frozen_numbers(problem: Problem, seen: Trajectory, k: int) -> tuple[dict[Any, Any], ...]:
    """Return values of all symbols at one time; h is the hidden node at the first sample."""
    task, net = problem.curriculum.phases[0].task, problem.network
    system = LinearSystem.of(problem, task, problem.weights.arrays)
    tangent, layout = system.tangent, system.layout
    unit = np.eye(layout.count)
    rates = np.concatenate([
        np.full(int(np.prod(shape)), float(p.rate))
        for p, shape in zip(layout.parameters, layout.shapes, strict=True)
    ])  # fmt: skip
    J = tangent.forward(unit, net.output).reshape(layout.count, -1).T / np.sqrt(rates)
    node = net.node("hidden" if "hidden" in net.nodes else "output")
    J_h = tangent.forward(unit, node)[:, 0].T / np.sqrt(rates)
    start = problem.weights.arrays
    moved = [(seen.weights[p.name][k] - start[p.name]).ravel() for p in layout.parameters]
    f0, y = tangent.values[net.output].reshape(-1, 1), task.Y.reshape(-1, 1)
    f = seen.outputs[k].reshape(-1, 1)
    C = np.diag((np.repeat(system.gain, task.Y.shape[1])) / np.sqrt(2 * system.factor))
    named = {
        "f": f, "f_0": f0, "y": y, "r": f - y, "r_0": f0 - y, "rho_0": C @ (f0 - y),
        "rho": C @ (f - y), "d": np.concatenate(moved)[:, None], "J": J, "J_h": J_h,
        "h": seen.node(_named(net, node))[k, 0][:, None],
        "h_0": tangent.values[node][0][:, None], "D": C @ C, "C": C, "R": np.diag(rates),
    }  # fmt: skip
    loss = float(seen.loss[k])
    return (
        {
            **{sp.MatrixSymbol(n, *SHAPES[n]): value for n, value in named.items()},
            LOSS: loss, "loss": loss, "output": f, "hidden": named["h"],
            "displacement": named["d"],
        },
    )  # fmt: skip


def _named(net: Any, node: Any) -> str:
    return next(name for name, own in net.nodes.items() if own is node)
