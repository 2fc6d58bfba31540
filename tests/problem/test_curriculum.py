"""Phases and curricula: durations, order, sizes, and the clock."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from symkernel.errors import InvalidArgument, ShapeMismatch
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.task import Task

TASK = Task(np.eye(2), np.eye(2))


@pytest.mark.parametrize(
    "bad",
    [0, -1, 0.0, -0.5, np.nan, np.inf, -np.inf, 1j, "3", True, [1.0], np.ones(1), sp.oo, sp.nan,
     sp.I, sp.Symbol("T", negative=True)],
)  # fmt: skip
def test_durations_are_finite_and_positive(bad: object) -> None:
    with pytest.raises(InvalidArgument, match=r"'duration' must be (a finite )?positive"):
        Phase(TASK, duration=bad)


@pytest.mark.parametrize("good", [1, 2.5, np.float32(0.5), np.int64(3), sp.Rational(1, 2)])
def test_durations_of_any_kind_become_floats(good: object) -> None:
    phase = Phase(TASK, duration=good)
    assert type(phase.duration) is float
    assert phase.duration == float(good)


@pytest.mark.parametrize("bad", [None, np.eye(2), "task", Curriculum.of(TASK)])
def test_a_phase_is_of_a_task(bad: object) -> None:
    with pytest.raises(InvalidArgument, match="'task' must be a Task"):
        Phase(bad)


@pytest.mark.parametrize("bad", [None, [], (), 3, TASK, Phase(TASK), [TASK], [Phase(TASK), None]])
def test_a_curriculum_is_of_phases(bad: object) -> None:
    with pytest.raises(InvalidArgument, match="'phases' must be a non-empty sequence of Phase"):
        Curriculum(bad)


def test_only_the_last_phase_may_be_without_end() -> None:
    with pytest.raises(InvalidArgument, match="Phase 0 must have a duration"):
        Curriculum([Phase(TASK), Phase(TASK, 1)])
    assert Curriculum([Phase(TASK, 1), Phase(TASK)]).end == np.inf


def test_tasks_of_a_curriculum_share_their_sizes() -> None:
    other = Task(np.eye(2), np.ones((2, 3)))
    with pytest.raises(ShapeMismatch, match="same numbers of inputs and outputs"):
        Curriculum([Phase(TASK, 1), Phase(other)])


def test_a_task_is_a_curriculum_of_one_phase_without_end() -> None:
    cur = Curriculum.of(TASK)
    assert cur.starts == (0.0,)
    assert cur.end == np.inf
    assert Curriculum.of(cur) is cur
    for bad in (None, [TASK], Phase(TASK), np.eye(2)):
        with pytest.raises(InvalidArgument, match="must be a Task or a Curriculum"):
            Curriculum.of(bad)


def test_whether_all_tasks_are_numbers() -> None:
    symbolic = Task.from_modes(sp.Symbol("s"), 2)
    assert Curriculum.of(TASK).is_numeric
    assert not Curriculum([Phase(TASK, 1), Phase(symbolic)]).is_numeric


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6), st.floats(0, 1e4))
def test_the_clock_finds_the_phase_that_is_running(durations: list[float], time: float) -> None:
    cur = Curriculum([Phase(TASK, duration) for duration in durations])
    assert len(cur.starts) == len(durations)
    assert cur.end == pytest.approx(sum(durations), rel=1e-14)
    k = cur.phase_at(time)
    assert k == 0 or cur.starts[k] < time
    assert k == len(durations) - 1 or time <= cur.starts[k + 1]
    # At a switch the earlier phase still holds.
    for position, start in enumerate(cur.starts[1:]):
        assert cur.phase_at(start) == position


@pytest.mark.parametrize("bad", [-1.0, -1e-300, np.nan])
def test_the_clock_starts_at_zero(bad: float) -> None:
    with pytest.raises(InvalidArgument, match="'time' must be a flow time from 0 on"):
        Curriculum.of(TASK).phase_at(bad)


def test_phases_cannot_be_changed() -> None:
    phases = [Phase(TASK, 1), Phase(TASK)]
    cur = Curriculum(phases)
    phases.clear()
    assert len(cur.phases) == 2
    assert isinstance(cur.phases, tuple)
    with pytest.raises(AttributeError):
        cur.phases[0].duration = 5.0
    with pytest.raises(AttributeError):
        cur.phases = ()
