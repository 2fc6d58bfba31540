r"""Descent that keeps account: who moved the weights, and what that did to a probe's activity.

A run goes in chunks of steps. For each step of a chunk the descent keeps the move of the weights
that each group of samples made; then these are followed on tiles of the probe's samples, in
threads, while the descent goes on with the next chunk. No sum is taken over tiles, so that results
do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numba
import numpy as np

from symkernel.problem.network import Network
from symkernel.problem.nodes import Node
from symkernel.simulation.attribution import PathRecord
from symkernel.simulation.attribution_plan import ProbeLayout
from symkernel.simulation.attribution_program import compiled_descent, compiled_follow
from symkernel.simulation.attribution_request import Request
from symkernel.simulation.batches import Source
from symkernel.simulation.engine import Stage
from symkernel.simulation.layout import Layout, Samples, aligned
from symkernel.simulation.reading import Pass
from symkernel.simulation.schedule import Schedule

# Moves of a chunk are so many numbers, or one step's: they are read once for each tile.
_CHUNK, _MOST_STEPS = 2**17, 64
# Samples in a tile: tiles are shared out among threads, and what a step touches stays in the cache.
_TILE = 96


class Whole:
    """All samples of a task in every step, as one batch."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.size = self.count = len(stage.task.X)
        self.state: Any = None

    def draw(self) -> Samples:
        """Return the samples."""
        return self.stage.samples()


class _Chunk(NamedTuple):
    """Steps that have been taken: weights, moves of each group in a step, and which group it is."""

    path: np.ndarray
    moves: np.ndarray
    groups: np.ndarray


class Probe:
    """Samples whose movements are followed through the whole run, and what moved them.

    Parameters
    ----------
    net : Network
        Numerical.
    request : Request
        Samples, nodes and groups.
    schedule : Schedule
        Of the run.
    theta : ndarray, shape (n_parameters,)
        Where the run starts.

    Attributes
    ----------
    records, ends : dict of Node to ndarray
        Contributions (n_times or n_phases, n_samples, n_units, n_groups) at records and at the
        ends of phases.
    """

    def __init__(
        self, net: Network, request: Request, schedule: Schedule, theta: np.ndarray
    ) -> None:
        self.request, self.schedule = request, schedule
        self.groups, count = len(request.labels), len(request.probe.X)
        tile = -(-count // -(-count // _TILE))
        self.layout = ProbeLayout(net, count, batch=tile, tracked=request.tracked)
        self.sizes = np.array(list(self.layout.sizes.values()), dtype=np.int64)
        self.data = self.layout.pack(request.probe)
        tiles = self.layout.blocks
        self.states = aligned(tiles, self.layout.sizes["length_work"])
        self.totals = aligned(tiles, self.groups, self.layout.sizes["length_totals"])
        self.module = compiled_follow(self.layout)
        for tile, state in enumerate(self.states):
            self.module.start(theta, state, self.data, self.sizes, tile)
        self.records, self.ends = (
            {
                node: np.zeros((times, count, int(node.size), self.groups))
                for node in request.tracked
            }
            for times in (len(schedule.steps), len(schedule.ends))
        )

    def jobs(self, chunk: _Chunk) -> list[Callable[[], None]]:
        """Return the jobs, one for each tile, that take the steps of a chunk."""
        arrays = chunk.path, chunk.moves, chunk.groups
        return [
            partial(self.module.follow, *arrays, state, totals, self.data, self.sizes, tile)
            for tile, (state, totals) in enumerate(zip(self.states, self.totals, strict=True))
        ]

    def keep(self, place: dict[Node, np.ndarray], k: int) -> None:
        """Copy what each group has contributed so far to entry k of `records` or `ends`."""
        count, block = self.layout.samples, self.layout.block
        for node in self.layout.plan.tracked:
            units, begin = int(node.size), self.layout.total_at(node)
            for tile, totals in enumerate(self.totals):
                rows = slice(tile * block, min((tile + 1) * block, count))
                width = rows.stop - rows.start
                part = totals[:, begin : begin + units * width].reshape(-1, units, width)
                place[node][k, rows] = part.transpose(2, 1, 0)

    def path(
        self, weights: Mapping[str, np.ndarray], start: Mapping[str, np.ndarray]
    ) -> PathRecord:
        """Return the record of the run, by its recorded weights and those at its start."""
        net, probe = self.layout.net, self.request.probe

        def activity(name: str) -> np.ndarray:
            now = [{p: w[k] for p, w in weights.items()} for k in range(len(self.schedule.steps))]
            node = self.request.names[name]
            return np.stack([Pass(net, w, probe.X, probe.gates).values[node] for w in now])

        def initial(name: str) -> np.ndarray:
            node = self.request.names[name]
            return Pass(net, start, probe.X, probe.gates).values[node]

        return PathRecord(
            self.request, self.schedule,
            {name: self.records[node] for name, node in self.request.names.items()},
            {name: self.ends[node] for name, node in self.request.names.items()},
            activity, initial,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Packed:
    """Batches packed by groups.

    Attributes
    ----------
    data : ndarray
        As the program reads it.
    begins : ndarray of int, shape (n_batches + 1,)
        First span of each batch.
    spans : ndarray of int, shape (n_spans, 3)
        First sample, number of samples, and the position of their group in the batch.
    groups : list of ndarray of int
        Groups of each batch.
    """

    data: np.ndarray
    begins: np.ndarray
    spans: np.ndarray
    groups: list[np.ndarray]


class GroupedDescent:
    """Descent of one network on one task, with the moves of each group followed on a probe.

    Parameters
    ----------
    stage : Stage
        Network, task, rate and groups.
    theta : ndarray, shape (1, n_parameters)
        Moved in place.
    source : Source
        Of the batches.
    probe : Probe
        Follows.
    """

    def __init__(self, stage: Stage, theta: np.ndarray, source: Source, probe: Probe) -> None:
        self.stage, self.theta, self.source, self.probe = stage, theta[0], source, probe
        how = {"is_weighted": stage.is_weighted, "decays": stage.decay > 0}
        widest = min(source.size, _largest(stage.groups, source.size))
        block = Layout(stage.net, widest).block
        self.layout = Layout(stage.net, source.count, batch=block, **how)
        self.module = compiled_descent(self.layout)
        self.sizes = np.array(list(self.layout.sizes.values()), dtype=np.int64)
        self.work = aligned(1, self.layout.sizes["length_work"])[0]
        self.spare = aligned(1, self.layout.count)[0]
        rates = Layout(stage.net, source.count, batch=source.size, **how).rates(
            stage.rate, stage.factor, stage.decay
        )
        parts = len(stage.net.parameters)
        self.pace = self.layout.entries(rates[:parts])
        self.shrink = self.layout.entries(rates[parts:]) if stage.decay > 0 else np.empty(0)
        # The moves of a group's samples, and that of the decay.
        self.slots = min(source.size, _different(stage.groups)) + (stage.decay > 0)
        self.batches = source.count // source.size
        self.packed: _Packed | None = None
        self.done = self.batches
        chunk = max(1, min(_MOST_STEPS, _CHUNK // (self.slots * max(self.layout.count, 1))))
        # Two of them: one is followed while the other is filled.
        self.chunks = [
            _Chunk(
                aligned(chunk + 1, self.layout.count),
                aligned(chunk, self.slots, self.layout.count),
                np.empty((chunk, self.slots), dtype=np.int64),
            )
            for _ in range(2)
        ]

    def advance(self, steps: int) -> None:
        """Take steps, each on the next batch."""
        threads = min(numba.get_num_threads(), len(self.probe.states) + 1)
        # Leaving the block waits for what is under way, also when the run is interrupted.
        with ThreadPoolExecutor(threads) as pool:
            run = pool.map if threads > 1 else map
            waiting: list[Callable[[], None]] = []
            while steps > 0:
                chunk, descent = self._planned(steps)
                # The descent first: it is the longest job.
                list(run(_call, [descent, *waiting]))
                waiting = self.probe.jobs(chunk)
                steps -= len(chunk.groups)
                self.chunks.reverse()
            list(run(_call, waiting))

    def _planned(self, steps: int) -> tuple[_Chunk, Callable[[], None]]:
        """Return the next steps, at most so many, and the job that takes them."""
        whole = isinstance(self.source, Whole)
        if self.packed is None or (self.done == self.batches and not whole):
            self._pack()
        assert self.packed is not None
        packed, (path, moves, groups) = self.packed, self.chunks[0]
        count = min(steps, len(moves))
        if whole:
            batches = np.zeros(count, dtype=np.int64)
        else:
            count = min(count, self.batches - self.done)
            batches = np.arange(self.done, self.done + count)
            self.done += count
        chunk = _Chunk(path[: count + 1], moves[:count], groups[:count])
        chunk.groups[:] = -1
        for row, batch in zip(chunk.groups, batches, strict=True):
            present = packed.groups[batch]
            row[: len(present)] = present
            if self.shrink.size:
                row[len(present)] = self.probe.groups - 1
        arrays = self.spare, self.work, packed.data, self.sizes, packed.begins, packed.spans
        rates = self.pace, self.shrink, batches
        return chunk, partial(self.module.descend, self.theta, *chunk[:2], *arrays, *rates)

    def _pack(self) -> None:
        self.before = self.source.state
        self.packed = _packed(self.layout, self.source, self.stage.groups)
        self.done = 0

    def position(self) -> Any:
        """Return where the run is, for `go_to`."""
        exhausted = self.done == self.batches
        return self.source.state if exhausted else self.before, self.done

    def go_to(self, position: Any) -> None:
        """Return to an earlier position; what was followed since is not taken back."""
        self.source.state, done = position
        if done < self.batches:
            self._pack()
        self.done = done


def _call(job: Callable[[], None]) -> None:
    job()


def _different(groups: np.ndarray | int) -> int:
    return 1 if isinstance(groups, int) else len(np.unique(groups))


def _largest(groups: np.ndarray | int, size: int) -> int:
    return size if isinstance(groups, int) else int(np.unique(groups, return_counts=True)[1].max())


def _packed(layout: Layout, source: Source, known: np.ndarray | int) -> _Packed:
    """Return the next batches, the samples of each in the order of their groups."""
    drawn = source.draw()
    count = len(drawn.X)
    # Fresh samples are all of one group.
    labels = np.broadcast_to(known if isinstance(known, int) else drawn.groups, count)
    batch = np.arange(count) // source.size
    order = np.lexsort((labels, batch))
    labels = labels[order]
    groups, begins, spans = [], [0], []
    for first in range(0, count, source.size):
        present, sizes = np.unique(labels[first : first + source.size], return_counts=True)
        groups.append(present)
        start = first
        for slot, size in enumerate(sizes.tolist()):
            pieces = -(-size // layout.block)
            cuts = np.linspace(0, size, pieces + 1).round().astype(np.int64)
            spans += [(start + a, b - a, slot) for a, b in pairwise(cuts.tolist())]
            start += size
        begins.append(len(spans))
    weights = None if drawn.weights is None else drawn.weights[order]
    gates = {name: gate[order] for name, gate in drawn.gates.items()}
    samples = Samples(drawn.X[order], drawn.Y[order], gates, weights)
    table = np.array(spans, dtype=np.int64)
    data = layout.pack_spans(samples, table[:, :2])
    return _Packed(data, np.array(begins, dtype=np.int64), table, groups)
