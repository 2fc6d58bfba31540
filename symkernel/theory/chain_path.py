"""The modes of a chain of layers through time and through a curriculum, and what is observed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np

from symkernel.errors import refuse_large
from symkernel.theory.chain_state import ChainState
from symkernel.theory.deep_routine import deep_routine
from symkernel.theory.phases import (
    no_samples,
    phases_at,
    refuse_faint,
    running_inputs,
    within_phases,
)
from symkernel.trajectory import Field, Trajectory


def chain_trajectory(state: ChainState, times: object) -> Trajectory:
    """Return the trajectory of all modes through the curriculum.

    Parameters
    ----------
    state : ChainState
        Its assumptions hold.
    times : array_like
        Flow times, increasing.

    Raises
    ------
    OutsideValidity
        If a time is after the end of the curriculum, or a mode too small at the start of a phase.
    """
    clock, position = phases_at(state.problem.curriculum, times)
    layer, drive = np.empty((2, len(clock), state.basis.rank_bound))
    for k, values in amplitudes_of_phases(state, clock, position).items():
        layer[position == k], drive[position == k] = values
    return _ChainPath(state, clock, position, layer, drive).trajectory()


def amplitudes_of_phases(
    state: ChainState, clock: np.ndarray, position: np.ndarray
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return amplitudes and drives at the times of every phase that is reached."""
    routine = deep_routine(state.flow.depth)
    amplitude, there, found = state.amplitude, state.amplitude > 0, {}
    for k, local in within_phases(state.problem.curriculum, clock, position):
        # One layer has no saddle at 0, and deeper ones come to theirs by a power of time.
        if state.flow.depth == 2:
            refuse_faint(amplitude, k, there)
        sigma, delta = state.drive(k)
        layer, drive = routine(local, state.sign * sigma, delta, amplitude)
        inside = int((position == k).sum())
        found[k] = layer[:inside], drive[:inside] * state.sign
        amplitude = layer[-1]
    return found


@dataclass(frozen=True, eq=False)
class _ChainPath:
    """Observables from amplitudes and drives; each is computed when it is asked for."""

    state: ChainState
    clock: np.ndarray
    position: np.ndarray
    layer: np.ndarray
    drive: np.ndarray

    @cached_property
    def modes(self) -> np.ndarray:
        """The end-to-end map in the singular basis, (n_times, n_modes)."""
        flow = self.state.flow
        return float(flow.scale) * self.state.sign * self.layer**flow.depth

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """Weights by name: what they were, and what the modes have moved since."""
        state, moved = self.state, self.layer - self.state.amplitude
        last = state.flow.depth - 1
        out = {}
        for k, name in enumerate(state.flow.layers):
            before, after = state.frames[k], state.frames[k + 1]
            step = moved * state.sign if k == last else moved
            out[name] = state.problem.weights.arrays[name] + (after * step[:, None, :]) @ before.T
        return out

    @cached_property
    def scales(self) -> list[float]:
        """Factor of the parameterisation of each layer."""
        given = {p.name: float(p.scale) for p in self.state.problem.network.parameters}
        return [given[name] for name in self.state.flow.layers]

    @cached_property
    def end_to_end(self) -> np.ndarray:
        """The map from inputs to outputs, (n_times, n_outputs, n_inputs)."""
        return self._product(0, self.state.flow.depth)

    def _product(self, start: int, stop: int) -> np.ndarray:
        """Return the product of the layers from one to before another, with their factors."""
        names = self.state.flow.layers[start:stop]
        parts = [c * self.weights[n] for c, n in zip(self.scales[start:stop], names, strict=True)]
        return reduce(lambda product, part: part @ product, parts)

    @cached_property
    def task_losses(self) -> np.ndarray:
        """Loss on the task of every phase, (n_times, n_phases)."""
        phases = self.state.problem.curriculum.phases
        return np.stack([self._loss_on(k) for k in range(len(phases))], axis=1)

    def _loss_on(self, phase: int) -> np.ndarray:
        state, task = self.state, self.state.problem.curriculum.phases[phase].task
        factor, r = float(state.problem.loss.factor), state.basis.rank_bound
        s, d = state.basis.s[phase], state.basis.d[phase][:r]
        best = np.divide(s, d, out=np.zeros_like(s), where=d > 0)
        rest = max(float(np.trace(task.Syy)) - float((best * s).sum()), 0.0)
        missing = self.modes - best
        # The drive is 2 kappa c times what is missing, and loses no digits close to the target.
        here = self.position == phase
        unit = 2 * factor * float(state.flow.scale) * self._rate
        precise = np.divide(self.drive[here], unit * d, out=missing[here].copy(), where=d > 0)
        missing[here] = precise
        return factor * (rest + (d * missing**2).sum(1))

    @cached_property
    def _rate(self) -> float:
        return float(self.state.problem.network.parameters[0].rate)

    def loss(self) -> np.ndarray:
        """Return the loss on the running phase's task."""
        return self.task_losses[np.arange(len(self.clock)), self.position]

    def trajectory(self) -> Trajectory:
        """Return the trajectory."""
        state = self.state
        fields: dict[str, Field] = {
            "modes": lambda: self.modes,
            "weights": lambda: dict(self.weights),
            "end_to_end": lambda: self.end_to_end,
            "loss": self.loss,
            "task_losses": lambda: self.task_losses,
        }
        depth, reason = state.flow.depth, no_samples(state.problem)
        nodes: dict[str, Field] = {"input": lambda: self.inputs, "output": self.outputs}
        observed: dict[str, Field] = {"outputs": self.outputs, "ntk": self.ntk}
        if depth > 1:
            nodes |= {f"hidden{k}": self._activity(k) for k in range(1, depth)}
            nodes["hidden"] = observed["hidden"] = self._activity(depth - 1)
            observed["hidden_gram"] = self.hidden_gram
        if reason is not None:
            nodes, observed = dict.fromkeys(nodes, reason), dict.fromkeys(observed, reason)
        return Trajectory(
            self.clock,
            fields | observed,
            None,
            state.problem.curriculum.phases[0].task.labels,
            "theory",
            nodes,
            state.problem.conventions,
        )

    @cached_property
    def inputs(self) -> np.ndarray:
        """Samples of the phase that runs at each time, (n_times, n_samples, n_inputs)."""
        return running_inputs(self.state.problem, self.position)

    def _activity(self, layers: int) -> Field:
        return lambda: self.inputs @ self._product(0, layers).transpose(0, 2, 1)

    def outputs(self) -> np.ndarray:
        """Return the outputs on the samples."""
        return self.inputs @ self.end_to_end.transpose(0, 2, 1)

    def hidden_gram(self) -> np.ndarray:
        """Return inner products of the last hidden layer's activities."""
        last = self._product(0, self.state.flow.depth - 1)
        h = self.inputs @ last.transpose(0, 2, 1)
        return h @ h.transpose(0, 2, 1)

    def ntk(self) -> np.ndarray:
        """Return the NTK: each layer adds the similarity before it times the read-out after it."""
        n, o, depth = self.inputs.shape[1], len(self.state.basis.U), self.state.flow.depth
        refuse_large((len(self.clock), n, o, n, o), "ntk")
        total = np.zeros((len(self.clock), n, o, n, o))
        for k in range(depth):
            before = self.inputs
            if k:
                before = self.inputs @ self._product(0, k).transpose(0, 2, 1)
            after = np.broadcast_to(np.eye(o), (len(self.clock), o, o))
            if k + 1 < depth:
                after = self._product(k + 1, depth)
            similarity = before @ before.transpose(0, 2, 1)
            readout = self.scales[k] ** 2 * after @ after.transpose(0, 2, 1)
            total += similarity[:, :, None, :, None] * readout[:, None, :, None, :]
        return self._rate * total
