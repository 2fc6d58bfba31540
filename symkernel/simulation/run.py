"""A run through one phase: in short calls, watched for divergence."""

from __future__ import annotations

import time
from dataclasses import replace
from threading import Lock
from typing import Any

import numpy as np

from symkernel.errors import Diverged
from symkernel.simulation.attribution_run import GroupedDescent, Probe, Whole
from symkernel.simulation.batches import Batches, Streams, batches_of
from symkernel.simulation.engine import Engine, Stage

# A call of the compiled program lasts about so many seconds, so that Ctrl-C is heard.
_CALL = 0.1
# The loss is looked at after so many calls, and at records.
_CALLS = 16
# Members of an ensemble may diverge in threads of their own, but parallel programs must not run
# at the same time: not every threading layer of numba bears it.
_REPORTING = Lock()
# Where the curvature at the start does not explain a divergence, so many rates are tried.
_GENTLE_TRIALS, _GENTLE_STEPS = 10, 50
# The loss that counts as divergence, in units of the larger of the initial loss and the loss of
# an output that is zero.
EXPLODED = 1e10


class Run:
    """The descent of all members on one task.

    Parameters
    ----------
    stage : Stage
        Network, task and rate.
    thetas : ndarray, shape (n_members, n_parameters)
        Moved in place.
    step : int
        Steps taken before.
    batch_size : int or None
        Samples of a mini-batch.
    streams : Streams
        For the order of mini-batches, label noise and fresh samples.
    probe : Probe, optional
        Samples whose movements are attributed; for one member.
    engine : Engine, optional
        One of an earlier phase on the same task, with the same weights; made if not given.
    """

    def __init__(
        self,
        stage: Stage,
        thetas: np.ndarray,
        step: int,
        batch_size: int | None,
        streams: Streams,
        probe: Probe | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.stage, self.thetas, self.step = stage, thetas, step
        self.batch_size = batch_size
        self.engine = engine or Engine(stage, thetas)
        self.stride = 1 if probe is None else probe.request.stride
        self.batches: Batches | GroupedDescent | None = None
        source = batches_of(stage, batch_size, streams)
        if probe is not None:
            self.batches = GroupedDescent(stage, thetas, source or Whole(stage), probe, step)
        elif source is not None:
            self.batches = Batches(stage, thetas, source)
        self.bounds = [EXPLODED * max(loss, stage.zero, 1e-300) for loss in self.losses()]
        self.begin = step, thetas.copy()
        self.length, self.calls, self.fastest = 1, 0, np.inf
        self._keep()

    def losses(self) -> list[float]:
        """Return the losses of the members."""
        return [self.engine.loss(member) for member in range(len(self.thetas))]

    def go_to(self, target: int, bar: Any) -> list[float]:
        """Advance to a step and return the losses there.

        Raises
        ------
        Diverged
            Naming the step at which the loss stopped being finite or passed its bound.
        """
        while self.step < target:
            # Calls end where chords do.
            end = -(-(self.step + self.length) // self.stride) * self.stride
            count = min(end, target) - self.step
            begin = time.perf_counter()
            self._advance(count)
            seconds = time.perf_counter() - begin
            bar.update(count)
            # By the fastest call so far: on a busy machine others take longer for no fault of
            # theirs, and would get shorter and shorter until nothing but waiting is left.
            self.fastest = min(self.fastest, max(seconds, 1e-9) / count)
            self.length = max(1, min(2 * self.length, int(_CALL / self.fastest)))
            self.calls += 1
            if self.calls % _CALLS == 0 or not np.isfinite(self.thetas).all():
                self._check(self.losses())
        losses = self.losses()
        self._check(losses)
        return losses

    def _advance(self, count: int) -> None:
        (self.batches or self.engine).advance(count)
        self.step += count

    def _keep(self) -> None:
        place = self.batches.position() if self.batches else None
        self.kept = self.step, self.thetas.copy(), place

    def _restore(self) -> None:
        self.step, theta, place = self.kept
        self.thetas[:] = theta
        if self.batches:
            self.batches.go_to(place)

    def _exploded(self, losses: list[float]) -> int | None:
        """Return the first member that has diverged, None if none has."""
        for member, (loss, bound) in enumerate(zip(losses, self.bounds, strict=True)):
            if not (loss <= bound and np.isfinite(self.thetas[member]).all()):
                return member
        return None

    def _check(self, losses: list[float]) -> None:
        if self._exploded(losses) is None:
            self._keep()
            return
        # Halve the span between a sound state and a diverged one until it is one step.
        span = self.step - self.kept[0]
        self._restore()
        while span > 1:
            self._advance(span // 2)
            if self._exploded(self.losses()) is None:
                span -= span // 2
                self._keep()
            else:
                span //= 2
                self._restore()
        self._advance(1)
        raise self._report(self._exploded(self.losses()) or 0)

    def _report(self, member: int) -> Diverged:
        rate, step = self.stage.rate, self.step
        with _REPORTING:
            limit, where = self._explained(member)
        who = f" of member {member}" if len(self.thetas) > 1 else ""
        whole = "" if self.batch_size is None else " of full batches"
        return Diverged(
            f"Gradient descent{who} diverged at step {step} with learning rate {rate:g}. The "
            f"stable limit{whole} is {limit:.3g}, which is 2 / (largest eigenvalue of the loss's "
            f"Hessian) {where}; use a learning rate well below it.{self._of_batches()}",
            step,
            rate,
            limit,
        )

    def _of_batches(self) -> str:
        """Return what is known of the limit for mini-batches."""
        if self.batch_size is None:
            return ""
        net, words = self.stage.net, f" That of batches of {self.batch_size} is lower as a rule"
        trained = [p for p in net.parameters if p.trained]
        if self.stage.misfit == "squares" and net.is_linear and len(trained) == 1:
            return f"{words}: sk.noise.stability_limit gives it for linear readouts."
        return f"{words}."

    def _explained(self, member: int) -> tuple[float, str]:
        """Return the stable limit that explains the divergence, and where it is that."""
        begin, thetas = self.begin
        limit = self._stable_limit(thetas[member])
        if self.stage.rate > limit:
            return limit, f"at step {begin}"
        # The curvature has grown since.
        gentle, theta = self._gentle(thetas[member], self.bounds[member])
        where = f"where {_GENTLE_STEPS} steps with learning rate {gentle:.3g} lead"
        return self._stable_limit(theta), where

    def _stable_limit(self, theta: np.ndarray) -> float:
        engine = Engine(self.stage, theta[None].copy())
        with np.errstate(all="ignore"):
            return engine.stable_limit(theta)

    def _gentle(self, start: np.ndarray, bound: float) -> tuple[float, np.ndarray]:
        """Return a learning rate that does not diverge soon, and the weights that it leads to."""
        rate, theta = self.stage.rate, start
        for _ in range(_GENTLE_TRIALS):
            rate /= 4
            engine = Engine(replace(self.stage, rate=rate), start[None].copy())
            with np.errstate(all="ignore"):
                engine.advance(_GENTLE_STEPS)
                loss, theta = engine.loss(), engine.thetas[0]
            if np.isfinite(theta).all() and loss <= bound:
                break
        return rate, theta
