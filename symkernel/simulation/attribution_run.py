r"""Descent that keeps account: who moved the weights, and what that did to a probe's activity.

A run goes in chunks of chords of one step or more. For each chord the descent keeps the move of the
weights that each group of samples made; then these are followed on tiles of the probe's samples, in
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
from symkernel.simulation.attribution_groups import RESET
from symkernel.simulation.attribution_plan import ProbeLayout
from symkernel.simulation.attribution_program import compiled_descent, compiled_follow
from symkernel.simulation.attribution_request import Request
from symkernel.simulation.batches import Source
from symkernel.simulation.engine import Stage
from symkernel.simulation.layout import Layout, Samples, aligned
from symkernel.simulation.reading import Pass
from symkernel.simulation.schedule import Schedule

# Moves of a chunk are so many numbers, or one chord's: they are read once for each tile.
_CHUNK, _MOST_CHORDS = 2**17, 64
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
    """Chords: weights between them, moves of each group along them, and which group it is."""

    path: np.ndarray
    moves: np.ndarray
    groups: np.ndarray


def probe_layout(net: Network, request: Request) -> ProbeLayout:
    """Return the layout of a probe's samples, in tiles as equal as possible."""
    count = len(request.probe.X)
    tile = -(-count // -(-count // _TILE))
    return ProbeLayout(net, count, batch=tile, tracked=request.tracked)


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
        self.layout = probe_layout(net, request)
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

    def jump(self, before: np.ndarray, after: np.ndarray) -> None:
        """Follow a reset, one chord from before to after."""
        group = np.array([[self.request.labels.index(RESET)]])
        for job in self.jobs(
            _Chunk(np.stack([before, after]), (after - before)[None, None], group)
        ):
            job()

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


class Moves:
    """How large the moves of the weights in a chunk are, and the program that makes them.

    Parameters
    ----------
    stage : Stage
        Network, task, rate and groups.
    source : Source
        Of the batches.
    stride : int
        Steps of a chord.

    Attributes
    ----------
    layout : Layout
        Of the spans of samples.
    in_step : int
        Groups of the samples of a batch.
    in_chord : int
        Moves of the groups in the batches of a chord; that of the decay is the last.
    chords : int
        Chords in a chunk.
    """

    def __init__(self, stage: Stage, source: Source, stride: int) -> None:
        self.how = stage.form
        widest = min(source.size, _largest(stage.groups, source.size))
        block = Layout(stage.net, widest).block
        self.layout = Layout(stage.net, source.count, batch=block, **self.how)
        groups, decays = _different(stage.groups), stage.decay > 0
        self.in_step = min(source.size, groups)
        self.in_chord = min(source.size * stride, groups) + decays
        most = _CHUNK // (self.in_chord * max(self.layout.count, 1))
        self.chords = max(1, min(_MOST_CHORDS, most))

    @property
    def length(self) -> int:
        """Numbers in a chunk."""
        count = self.layout.count
        return (self.chords + 1) * count + self.chords * self.in_chord * (count + 1)

    def chunk(self) -> _Chunk:
        """Return room for a chunk."""
        return _Chunk(
            aligned(self.chords + 1, self.layout.count),
            aligned(self.chords, self.in_chord, self.layout.count),
            np.empty((self.chords, self.in_chord), dtype=np.int64),
        )


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
    step : int
        Steps taken before.
    """

    def __init__(
        self, stage: Stage, theta: np.ndarray, source: Source, probe: Probe, step: int
    ) -> None:
        self.stage, self.theta, self.source, self.probe = stage, theta[0], source, probe
        self.step, self.stride = step, probe.request.stride
        moves = Moves(stage, source, self.stride)
        self.layout, self.in_step = moves.layout, moves.in_step
        self.module = compiled_descent(self.layout)
        self.sizes = np.array(list(self.layout.sizes.values()), dtype=np.int64)
        self.work = aligned(1, self.layout.sizes["length_work"])[0]
        self.spare = aligned(2, self.layout.count)
        rates = Layout(stage.net, source.count, batch=source.size, **moves.how).rates(
            stage.rate, stage.factor, stage.decay
        )
        parts = len(stage.net.parameters)
        self.pace = self.layout.entries(rates[:parts])
        self.shrink = self.layout.entries(rates[parts:]) if stage.decay > 0 else np.empty(0)
        self.batches = source.count // source.size
        self.packed: _Packed | None = None
        self.done = self.batches
        # Two of them: one is followed while the other is filled.
        self.chunks = [moves.chunk(), moves.chunk()]

    def advance(self, steps: int) -> None:
        """Take steps, each on the next batch."""
        threads = min(numba.get_num_threads(), len(self.probe.states) + 1)
        # Leaving the block waits for what is under way, also when the run is interrupted.
        with ThreadPoolExecutor(threads) as pool:
            run = pool.map if threads > 1 else map
            waiting: list[Callable[[], None]] = []
            while steps > 0:
                chunk, count, descent = self._planned(steps)
                # The descent first: it is the longest job.
                list(run(_call, [descent, *waiting]))
                waiting = self.probe.jobs(chunk)
                steps -= count
                self.chunks.reverse()
            list(run(_call, waiting))

    def _planned(self, steps: int) -> tuple[_Chunk, int, Callable[[], None]]:
        """Return the chords of the next steps, how many steps, and the job that takes them."""
        whole = isinstance(self.source, Whole)
        if self.packed is None or (self.done == self.batches and not whole):
            self._pack()
        assert self.packed is not None
        packed, (path, moves, groups) = self.packed, self.chunks[0]
        # Chords end at multiples of the stride, so that they do not depend on the calls.
        count = min(steps, len(groups) * self.stride - self.step % self.stride)
        if whole:
            batches = np.zeros(count, dtype=np.int64)
        else:
            count = min(count, self.batches - self.done)
            batches = np.arange(self.done, self.done + count)
            self.done += count
        chords = (self.step + np.arange(count)) // self.stride - self.step // self.stride
        self.step += count
        chunk = _Chunk(path[: chords[-1] + 2], moves[: chords[-1] + 1], groups[: chords[-1] + 1])
        steered = self._places(chunk.groups, chords, batches)
        arrays = self.spare, self.work, packed.data, self.sizes
        rest = packed.begins, packed.spans, self.pace, self.shrink, batches, chords, *steered
        descent = partial(self.module.descend, self.theta, *chunk[:2], *arrays, *rest)
        return chunk, count, descent

    def _places(
        self, groups: np.ndarray, chords: np.ndarray, batches: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Write which groups move along each chord; return where each move of a step belongs.

        Also whether it is the first there, and how many groups move along each chord.
        """
        assert self.packed is not None
        places = np.zeros((len(chords), self.in_step), dtype=np.int64)
        opens = np.zeros(places.shape, dtype=bool)
        widths = np.zeros(len(groups), dtype=np.int64)
        groups[:] = -1
        if self.shrink.size:
            groups[:, -1] = self.probe.groups - 1
        known: dict[int, int] = {}
        for step, (chord, batch) in enumerate(zip(chords.tolist(), batches.tolist(), strict=True)):
            if step == 0 or chord != chords[step - 1]:
                known = {}
            for slot, group in enumerate(self.packed.groups[batch].tolist()):
                opens[step, slot] = group not in known
                place = places[step, slot] = known.setdefault(group, len(known))
                groups[chord, place] = group
            widths[chord] = len(known)
        return places, opens, widths

    def _pack(self) -> None:
        self.before = self.source.state
        self.packed = _packed(self.layout, self.source, self.stage.groups)
        self.done = 0

    def position(self) -> Any:
        """Return where the run is, for `go_to`."""
        exhausted = self.done == self.batches
        return self.source.state if exhausted else self.before, self.done, self.step

    def go_to(self, position: Any) -> None:
        """Return to an earlier position; what was followed since is not taken back."""
        self.source.state, done, self.step = position
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
