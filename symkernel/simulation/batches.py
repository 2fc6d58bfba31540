"""Descent on mini-batches: every sample once in an epoch, in an order drawn anew for each."""

from __future__ import annotations

from typing import Any

import numpy as np

from symkernel.simulation.engine import Stage
from symkernel.simulation.layout import Layout, aligned
from symkernel.simulation.program import compiled

# Epochs are packed together up to this many samples, so that packing is rare.
_PACKED = 4096


class Batches:
    """Descent of one network on mini-batches of one task.

    Samples that do not fill a batch at the end of an epoch are left out of that epoch.

    Parameters
    ----------
    stage : Stage
        Network, task and rate.
    theta : ndarray, shape (1, n_parameters)
        Moved in place.
    size : int
        Samples in a batch.
    stream : numpy.random.Generator
        From which the orders are drawn.
    """

    def __init__(
        self, stage: Stage, theta: np.ndarray, size: int, stream: np.random.Generator
    ) -> None:
        self.stage, self.theta, self.stream = stage, theta, stream
        self.in_epoch = len(stage.task.X) // size * size
        self.epochs = max(1, _PACKED // self.in_epoch)
        self.layout = Layout(stage.net, self.epochs * self.in_epoch, batch=size)
        self.module = compiled(self.layout, "batches")
        self.grads = aligned(2, self.layout.count)
        self.works = aligned(1, self.layout.sizes["length_work"])
        self.rates = self.layout.rates(stage.rate, stage.factor)
        self.first = list(self.layout.sizes).index("first")
        self.sizes = np.array(list(self.layout.sizes.values()), dtype=np.int64)
        self.done = self.layout.blocks
        self.before = stream.bit_generator.state

    def advance(self, steps: int) -> None:
        """Take steps, each on the next batch."""
        while steps > 0:
            if self.done == self.layout.blocks:
                self._pack()
            count = min(steps, self.layout.blocks - self.done)
            self.sizes[self.first] = self.done
            self.module.descend(
                self.theta, self.grads, self.works, self.data, self.sizes, self.rates, count
            )
            self.done += count
            steps -= count

    def _pack(self) -> None:
        self.before = self.stream.bit_generator.state
        task, gates = self.stage.task, self.stage.gates
        orders = [self.stream.permutation(len(task.X)) for _ in range(self.epochs)]
        order = np.concatenate([one[: self.in_epoch] for one in orders])
        drawn = {name: gate[order] for name, gate in gates.items()}
        self.data = self.layout.pack(task.X[order], task.Y[order], drawn)
        self.done = 0

    def position(self) -> Any:
        """Return where the run is, for `go_to`."""
        return self.before, self.done

    def go_to(self, position: Any) -> None:
        """Return to an earlier position."""
        self.stream.bit_generator.state, done = position
        if done < self.layout.blocks:
            self._pack()
        self.done = done
