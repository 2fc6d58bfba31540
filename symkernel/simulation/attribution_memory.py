"""What an attribution takes, stated before it is taken."""

from __future__ import annotations

from collections.abc import Sequence

from symkernel.errors import InvalidArgument
from symkernel.simulation.attribution_plan import ProbeLayout
from symkernel.simulation.attribution_request import Request
from symkernel.simulation.attribution_run import Moves, Whole, probe_layout
from symkernel.simulation.batches import batches_of, streams_of
from symkernel.simulation.engine import Stage
from symkernel.simulation.schedule import Schedule

_MOST_BYTES = 2**30
# Bytes of a sample's name, and of the references to it.
_NAME = 128


def refuse_memory(
    request: Request, schedule: Schedule, stages: Sequence[Stage], batch_size: int | None
) -> None:
    """Refuse what would take more than 1 GiB, before anything is allocated.

    Parameters
    ----------
    request : Request
    schedule : Schedule
    stages : sequence of Stage
        What is descended in each phase.
    batch_size : int or None
        Samples of a mini-batch.
    """
    layout = probe_layout(stages[0].net, request)
    kept = _kept(layout, request, schedule)
    moving = max(_moving(stage, batch_size, request.stride) for stage in stages)
    size = kept + moving
    if size > _MOST_BYTES:
        times, phases = len(schedule.steps), len(schedule.ends)
        units = sum(int(node.size) for node in request.tracked)
        raise InvalidArgument(
            f"The attribution would take {size:,} bytes ({size / 2**30:.1f} GiB), more than 1 GiB: "
            f"{kept:,} for {times} records and {phases} ends of phases x {layout.samples} probe "
            f"samples x {units} units x {len(request.labels)} groups and the probe's activity, "
            f"{moving:,} for the moves of the weights and the training samples; record fewer "
            f"times, as record=[end], give fewer inputs as 'probe', fewer 'nodes', or larger "
            f"groups as 'attribute'."
        )


def _kept(layout: ProbeLayout, request: Request, schedule: Schedule) -> int:
    """Return the bytes that `Probe` holds through the run."""
    groups, sizes = len(request.labels), layout.sizes
    records = len(schedule.steps) + len(schedule.ends)
    units = sum(int(node.size) for node in request.tracked)
    sums = records * layout.samples * units * groups
    tiles = layout.blocks * (sizes["length_work"] + groups * sizes["length_totals"])
    # The probe's inputs and gates as they are given, and packed.
    numbers = sums + tiles + 2 * sizes["length_data"]
    return 8 * numbers + _NAME * layout.samples


def _moving(stage: Stage, batch_size: int | None, stride: int) -> int:
    """Return the bytes that `GroupedDescent` holds through a phase."""
    # Only its size is asked for: nothing is drawn.
    source = batches_of(stage, batch_size, streams_of(0, 1)[0])
    moves = Moves(stage, source or Whole(stage), stride)
    sizes = moves.layout.sizes
    # Drawn samples, in the order of their groups, and where they go: no more than they take packed.
    packed = 3 * sizes["length_data"]
    # Of each step of a chunk its batch, its chord, and where the moves of its groups belong.
    steps = moves.chords * stride * (16 + 9 * moves.in_step)
    numbers = 2 * moves.length + 2 * moves.layout.count + packed + sizes["length_work"]
    return 8 * numbers + steps
