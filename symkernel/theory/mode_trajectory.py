"""The modes' way through time and through a curriculum, and what is observed on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from symkernel.errors import InvalidArgument, OutsideValidity, as_times
from symkernel.theory.mode_state import ModeState
from symkernel.trajectory import Field, Trajectory, Undetermined

_MEMORY_LIMIT = 2**30
_SMALLEST = 1e-120


@dataclass(frozen=True, eq=False)
class _Stretch:
    """One phase: the sides at its start, and the modes' angles at the times inside it."""

    p: np.ndarray
    q: np.ndarray
    plus: np.ndarray
    minus: np.ndarray
    overlap: np.ndarray
    growth: np.ndarray
    odd: np.ndarray

    def sides(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        r"""Return p and q at the k-th time.

        $p_0\cosh\varphi + q_0\sinh\varphi = p_0 e^{-\varphi} + (p_0 + q_0)\sinh\varphi$: with the
        sum in place of the two large terms nothing cancels when p is nearly opposite to q.
        """
        growth, odd = self.growth[k], self.odd[k]
        up = growth >= 1.0
        keep = np.where(up, 1.0 / growth, growth)
        p = self.p * keep + np.where(up, self.plus, -self.minus) * odd
        q = self.q * keep + np.where(up, self.plus, self.minus) * odd
        return p, q


def mode_trajectory(state: ModeState, times: object, routine: object) -> Trajectory:
    """Return the trajectory of all modes through the curriculum.

    Parameters
    ----------
    state : ModeState
        Its assumptions hold.
    times : array_like
        Flow times, increasing.
    routine : callable
        (times, s, d, w, m, P0, Q0) -> {"overlap", "growth", "odd"}.

    Raises
    ------
    OutsideValidity
        If a time is after the end of the curriculum.
    """
    clock = as_times(times)
    curriculum = state.problem.curriculum
    if clock[-1] > curriculum.end * (1 + 1e-12):
        raise OutsideValidity(
            f"The curriculum ends at flow time {curriculum.end:g}, but time {clock[-1]:g} was "
            f"asked for; give its last phase a longer duration, or None for no end."
        )
    r = state.basis.rank_bound
    p, q = state.P[:, :r], state.Q[:, :r]
    plus, minus = p + q, p - q
    w = (p * q).sum(0)
    P0, Q0 = (plus**2).sum(0), (minus**2).sum(0)
    lengths = np.concatenate([np.abs(p).max(0), np.abs(q).max(0)])
    if ((lengths > 0) & (lengths < _SMALLEST)).any():
        raise OutsideValidity(
            f"A mode starts at amplitude {lengths[lengths > 0].min():.1e}, whose square is too "
            f"small for floating point; start at {_SMALLEST:.0e} or more, or at exactly 0."
        )
    position = np.array([curriculum.phase_at(time) for time in clock])
    stretches: list[_Stretch] = []
    for k, start in enumerate(curriculum.starts):
        inside = clock[position == k] - start
        duration = curriculum.phases[k].duration
        last = k + 1 == len(curriculum.phases)
        local = inside if last or duration is None else np.append(inside, duration)
        if not local.size:
            break
        s, d = state.basis.s[k], state.basis.d[k][:r]
        # Subtraction may leave a time just outside its phase.
        local = np.clip(local, 0.0, np.inf if last or duration is None else duration)
        out = routine(local, s, d, w, (P0 + Q0) / 4, P0, Q0)  # type: ignore[operator]
        stretch = _Stretch(p, q, plus, minus, out["overlap"], out["growth"], out["odd"])
        stretches.append(stretch)
        p, q = stretch.sides(-1)
        growth = stretch.growth[-1]
        plus, minus = plus * growth, minus / growth
        w, P0, Q0 = stretch.overlap[-1], P0 * growth**2, Q0 / growth**2
    return _Assembly(state, clock, position, tuple(stretches)).trajectory()


@dataclass(frozen=True, eq=False)
class _Assembly:
    """Observables from the modes; each is computed when it is asked for."""

    state: ModeState
    clock: np.ndarray
    position: np.ndarray
    stretches: tuple[_Stretch, ...]

    @cached_property
    def within(self) -> np.ndarray:
        """Position of each time inside its phase."""
        starts = np.searchsorted(self.position, np.arange(self.position[-1] + 1))
        return np.arange(len(self.clock)) - starts[self.position]

    @cached_property
    def modes(self) -> np.ndarray:
        rows = [
            self.stretches[k].overlap[j] for k, j in zip(self.position, self.within, strict=True)
        ]
        return float(self.state.modes.scale) * np.array(rows)

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        state, r = self.state, self.state.basis.rank_bound
        first = np.empty((len(self.clock), *state.P.shape))
        second = np.empty((len(self.clock), *state.Q.shape))
        first[:], second[:] = state.P, state.Q
        for i, (k, j) in enumerate(zip(self.position, self.within, strict=True)):
            first[i, :, :r], second[i, :, :r] = self.stretches[k].sides(j)
        U, V = state.basis.U, state.basis.V
        return {
            state.modes.first: first @ V.T,
            state.modes.second: np.ascontiguousarray((second @ U.T).transpose(0, 2, 1)),
        }

    @cached_property
    def task_losses(self) -> np.ndarray:
        """Loss on the task of every phase, (n_times, n_phases)."""
        state, r = self.state, self.state.basis.rank_bound
        phases = state.problem.curriculum.phases
        out = np.empty((len(self.clock), len(phases)))
        for k, phase in enumerate(phases):
            s, d = state.basis.s[k], state.basis.d[k][:r]
            best = np.divide(s, d, out=np.zeros_like(s), where=d > 0)
            rest = max(float(np.trace(phase.task.Syy)) - float((best * s).sum()), 0.0)
            out[:, k] = rest + (d * (self.modes - best) ** 2).sum(1)
        return float(state.problem.loss.factor) * out

    def loss(self) -> np.ndarray:
        return self.task_losses[np.arange(len(self.clock)), self.position]

    def trajectory(self) -> Trajectory:
        state = self.state
        fields: dict[str, Field] = {
            "modes": lambda: self.modes,
            "weights": lambda: dict(self.weights),
            "loss": self.loss,
            "task_losses": lambda: self.task_losses,
        }
        reason = self._no_samples()
        observed: dict[str, Field] = {
            "outputs": self.outputs,
            "hidden": self.hidden,
            "hidden_gram": self.hidden_gram,
            "ntk": self.ntk,
        }
        fields |= observed if reason is None else dict.fromkeys(observed, reason)
        nodes: dict[str, Field] = {
            "input": lambda: self.inputs,
            "hidden": self.hidden,
            "hidden1": self.hidden,
            "output": self.outputs,
        }
        return Trajectory(
            self.clock,
            fields,
            None,
            state.problem.curriculum.phases[0].task.labels,
            "theory",
            nodes if reason is None else dict.fromkeys(nodes, reason),
            state.problem.conventions,
        )

    def _no_samples(self) -> Undetermined | None:
        samples = [phase.task.X for phase in self.state.problem.curriculum.phases]
        if any(X is None for X in samples):
            return Undetermined("the task was given by moments and has no samples")
        if len({len(X) for X in samples}) > 1:
            return Undetermined("the tasks of the curriculum have different numbers of samples")
        return None

    @cached_property
    def inputs(self) -> np.ndarray:
        """Samples of the phase that runs at each time, (n_times, n_samples, n_inputs)."""
        samples = [phase.task.X for phase in self.state.problem.curriculum.phases]
        if len(samples) == 1:
            return np.broadcast_to(samples[0], (len(self.clock), *samples[0].shape))
        return np.stack([samples[k] for k in self.position])

    @property
    def scales(self) -> tuple[float, float]:
        """Factors of the parameterisation."""
        inner, outer = (float(p.scale) for p in self.state.problem.network.parameters)
        return inner, outer

    def hidden(self) -> np.ndarray:
        W1 = self.weights[self.state.modes.first]
        return self.scales[0] * (self.inputs @ W1.transpose(0, 2, 1))

    def outputs(self) -> np.ndarray:
        basis = self.state.basis
        turned = self.inputs @ basis.V[:, : basis.rank_bound]
        return (turned * self.modes[:, None, :]) @ basis.U[:, : basis.rank_bound].T

    def hidden_gram(self) -> np.ndarray:
        h = self.hidden()
        return h @ h.transpose(0, 2, 1)

    def ntk(self) -> np.ndarray:
        return _ntk(self.inputs, self.hidden(), self.weights[self.state.modes.second], *self.scales)


def _ntk(
    X: np.ndarray, hidden: np.ndarray, W2: np.ndarray, inner: float, outer: float
) -> np.ndarray:
    n, o, times = X.shape[1], W2.shape[1], len(W2)
    size = times * (n * o) ** 2 * 8
    if size > _MEMORY_LIMIT:
        raise InvalidArgument(
            f"The NTK of {n} samples, {o} outputs and {times} times would take "
            f"{size / 2**30:.1f} GiB; ask for fewer times, or use weights with sk.ntk(net)."
        )
    similarity = inner**2 * outer**2 * (X @ X.transpose(0, 2, 1))
    readout = W2 @ W2.transpose(0, 2, 1)
    activity = outer**2 * (hidden @ hidden.transpose(0, 2, 1))
    return (
        similarity[:, :, None, :, None] * readout[:, None, :, None, :]
        + activity[:, :, None, :, None] * np.eye(o)[None, None, :, None, :]
    )
