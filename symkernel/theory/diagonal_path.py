"""A diagonal network on its way through a curriculum, and what is observed on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.problem.problem import Problem
from symkernel.theory.diagonal_flow import (
    BETA,
    DiagonalFlow,
    coordinate_maps,
    diagonal_flow,
    read_outs,
)
from symkernel.theory.phases import no_samples, refuse_faint, running_inputs, within_phases
from symkernel.theory.stable_modes import side_routine
from symkernel.trajectory import Field, Trajectory


@dataclass(frozen=True, eq=False)
class DiagonalPath:
    """The coordinates on their way; each observable is computed when it is asked for."""

    problem: Problem
    flow: DiagonalFlow
    clock: np.ndarray
    position: np.ndarray

    @cached_property
    def _run(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return coefficients and trained weights at all times."""
        flow, arrays = self.flow, self.problem.weights.arrays
        start = np.array([arrays[name] for name in flow.names])
        turn = np.array(flow.turn.tolist(), float)
        plus, minus = (start + turn @ start) / 2, (start - turn @ start) / 2
        # Neither is negative but by rounding.
        P0, Q0 = np.maximum(4 * self._form(plus), 0), np.maximum(-4 * self._form(minus), 0)
        w, routine = self._form(start), side_routine(flow)
        coefficients, found = [], []
        for k, local in within_phases(self.problem.curriculum, self.clock, self.position):
            for part in (plus, minus):
                refuse_faint(np.abs(part).max(0), k)
            task = self.problem.curriculum.phases[k].task
            out = routine(local, task.Syx[0], np.diag(task.Sxx), w, (P0 + Q0) / 4, P0, Q0)
            growth, inside = out["growth"], int((self.position == k).sum())
            moved = plus[:, None] * growth + minus[:, None] / growth
            coefficients.append(out["overlap"][:inside])
            found.append(moved[:, :inside])
            last = growth[-1]
            plus, minus, w = plus * last, minus / last, out["overlap"][-1]
            P0, Q0 = P0 * last**2, Q0 / last**2
        joined = np.concatenate(found, 1)
        return np.concatenate(coefficients), dict(zip(flow.names, joined, strict=True))

    def _form(self, theta: np.ndarray) -> np.ndarray:
        """Return the quadratic form; both parts of the weights make it of one sign."""
        hessian = np.array(sp.hessian(self.flow.form, self.flow.symbols).tolist(), float)
        return np.einsum("kj,kl,lj->j", theta, hessian, theta) / 2

    @property
    def modes(self) -> np.ndarray:
        """Coefficients of the inputs, (n_times, n_inputs)."""
        return self._run[0]

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """All parameters; the fixed ones stay."""
        trained, arrays = self._run[1], self.problem.weights.arrays
        shape = (len(self.clock),)
        return {
            p.name: trained[p.name]
            if p.trained
            else np.broadcast_to(arrays[p.name], shape + arrays[p.name].shape).copy()
            for p in self.problem.network.parameters
        }

    @property
    def inputs(self) -> np.ndarray:
        """Samples of the running phase."""
        return running_inputs(self.problem, self.position)

    def outputs(self) -> np.ndarray:
        """Return the outputs on the samples."""
        return (self.inputs @ self.modes[:, :, None]).copy()

    def ntk(self) -> np.ndarray:
        """Return the tangent kernel, the rates in it."""
        kernel = sp.lambdify(self.flow.symbols, self.flow.kernel(self.flow.symbols), "numpy")
        factors = kernel(*(self.weights[name] for name in self.flow.names))
        X = self.inputs
        return ((X * factors[:, None]) @ X.transpose(0, 2, 1))[:, :, None, :, None]

    def task_losses(self) -> np.ndarray:
        """Return the loss on every phase's task, from the distance to its best map."""
        found = []
        for phase in self.problem.curriculum.phases:
            s, d = phase.task.Syx[0], np.diag(phase.task.Sxx)
            best = np.divide(s, d, out=np.zeros_like(s), where=d > 0)
            rest = max(float(phase.task.Syy[0, 0]) - float((best * s).sum()), 0.0)
            found.append(rest + (d * (self.modes - best) ** 2).sum(1))
        return float(self.problem.loss.factor) * np.stack(found, 1)

    def loss(self) -> np.ndarray:
        """Return the loss on the running task."""
        return self.task_losses()[np.arange(len(self.clock)), self.position]

    def trajectory(self) -> Trajectory:
        """Return everything as fields of a trajectory."""
        reason = no_samples(self.problem)
        nodes: dict[str, Field] = {"input": lambda: self.inputs, "output": self.outputs}
        named = self._named()
        nodes |= named
        observed: dict[str, Field] = {"outputs": self.outputs, "ntk": self.ntk}
        if "hidden" in named:
            read = named["hidden"]
            observed |= {"hidden": read, "hidden_gram": lambda: _gram(read())}
        fields: dict[str, Field] = {
            "modes": lambda: self.modes,
            "weights": lambda: dict(self.weights),
            "loss": self.loss,
            "task_losses": self.task_losses,
            "end_to_end": lambda: self.modes[:, None, :].copy(),
        }
        if reason is not None:
            nodes, observed = dict.fromkeys(nodes, reason), dict.fromkeys(observed, reason)
        labels = self.problem.curriculum.phases[0].task.labels
        return Trajectory(
            self.clock, fields | observed, None, labels, "theory", nodes, self.problem.conventions,
            modes_are="coordinate",
        )  # fmt: skip

    def _named(self) -> dict[str, Callable[[], np.ndarray]]:
        """Return readers of the named nodes between input and output."""
        network = self.problem.network
        maps = coordinate_maps(network, dict(read_outs(self.problem)[0]))

        def reader(node: Any) -> Callable[[], np.ndarray]:
            kind, expression = maps[node]
            value = sp.lambdify(self.flow.symbols, expression, "numpy")

            def read() -> np.ndarray:
                factors = value(*(self.weights[name] for name in self.flow.names))
                activity = self.inputs * factors[:, None]
                return activity if kind == "each" else activity.sum(2, keepdims=True)

            return read

        named = network.nodes.items()
        return {n: reader(node) for n, node in named if n not in ("input", "output")}


def _gram(activity: np.ndarray) -> np.ndarray:
    return activity @ activity.transpose(0, 2, 1)


def diagonal_numbers(problem: Problem, seen: Trajectory, k: int) -> tuple[dict[Any, Any], ...]:
    """Return values for the symbols of every coordinate; see `Derived.numbers`."""
    task = problem.curriculum.phases[0].task
    flow = diagonal_flow(problem.network, problem.loss, read_outs(problem)[0])
    shares = np.linalg.pinv(task.X)
    rows = []
    for j, (s, d) in enumerate(zip(task.Syx[0], np.diag(task.Sxx), strict=True)):
        mode = seen.end_to_end[k, 0, j]
        moving = {name: seen.weights[name][k, j] for name in flow.names}
        starts = {
            q: problem.weights.arrays[name][j]
            for q, name in zip(flow.starts, flow.names, strict=True)
        }
        rows.append({
            notation.s: s,
            notation.d: d,
            BETA: mode,
            "output": mode,
            "ntk": shares[j] @ seen.ntk[k, :, 0, :, 0] @ shares[j],
            "loss": float(problem.loss.factor) * (s - d * mode) ** 2 / d,
            **starts,
            **moving,
            **dict(zip(flow.symbols, moving.values(), strict=True)),
        })  # fmt: skip
    return tuple(rows)
