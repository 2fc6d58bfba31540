"""Modes that are unlearned for long and learned again: right, or refused, and never wrong."""

from __future__ import annotations

import numpy as np
import pytest

import symkernel as sk
from symkernel.errors import OutsideValidity
from symkernel.problem.nodes import Input, Parameter
from symkernel.problem.problem import Problem
from symkernel.theory import LAWS

TWO_LAYERS = ("aligned_modes", "gram_diagonal", "deep_modes", "single_unit")
NAMES = (*TWO_LAYERS, "diagonal_network")
LAW = {law.name: law for law in LAWS}


def _diagonal() -> sk.Network:
    x = Input(1)
    w = Parameter("w", (1,), "diagonal")
    return sk.Network.build(Parameter("ones", (1, 1), trained=False) @ (w @ (w @ x)))


def posed(name: str, phases: list[tuple[float, float | None]], start: float = 0.5) -> Problem:
    """Return one mode with both sides at `start`; phases are strengths and durations."""
    tasks = [sk.Task([[1.0]], [[s]]) for s, _ in phases]
    spans = [duration for _, duration in phases]
    curriculum = sk.Curriculum([sk.Phase(t, d) for t, d in zip(tasks, spans, strict=True)])
    if name == "diagonal_network":
        network = _diagonal()
        arrays = {"w": [start], "ones": [[1.0]]}
    else:
        network = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
        arrays = {"W1": [[start]], "W2": [[start]]}
    return Problem(network, curriculum, sk.weights.from_arrays(network, arrays))


def mode(name: str, problem: Problem, times: np.ndarray) -> np.ndarray:
    assert all(verdict.holds for verdict in LAW[name].test(problem))
    found = LAW[name].trajectory(problem, times)
    return found.end_to_end[:, 0, 0]


def again(strength: float, start: float, unlearned: float, times: np.ndarray) -> np.ndarray:
    r"""Return $u$ after the task was reversed for some time.

    $\dot u = 2u(\pm s - u)$: $u/(s + u)$ shrinks, then $u/(s - u)$ grows, at the rate $2s$.
    """
    shrunk = np.log(start**2 / (strength + start**2)) - 2 * strength * unlearned
    odds = np.exp(shrunk - np.log1p(-2 * np.exp(shrunk)) + 2 * strength * times)
    return strength * odds / (1 + odds)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("unlearned", [10.0, 100.0, 160.0, 200.0, 250.0])
def test_what_was_unlearned_is_learned_again(name: str, unlearned: float) -> None:
    # The square of the shrunken side underflows from about s T = 185 on.
    speed = 2.0 if name == "diagonal_network" else 1.0
    span = unlearned / speed
    problem = posed(name, [(-1.0, span), (1.0, None)])
    after = span * np.array([0.98, 1.0, 1.01, 1.2, 1.9])
    expected = again(1.0, 0.5, unlearned, speed * after)
    np.testing.assert_allclose(mode(name, problem, span + after), expected, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("unlearned", [300.0, 340.0, 400.0, 1000.0])
def test_what_floating_point_cannot_carry_is_refused(name: str, unlearned: float) -> None:
    problem = posed(name, [(-1.0, unlearned), (1.0, None)])
    size = "(or less|below the smallest number), below"
    words = rf"Mode 0 has at the start of phase 1 .*{size}.*make the phases before it shorter"
    with pytest.raises(OutsideValidity, match=words):
        mode(name, problem, np.array([2.5 * unlearned]))
    # Nothing depends on the end of the last phase that is reached.
    assert abs(mode(name, problem, np.array([0.9 * unlearned]))[0]) < 1e-100


@pytest.mark.parametrize("name", NAMES)
def test_a_start_is_right_down_to_the_bound_and_refused_below(name: str) -> None:
    times = np.array([150.0, 270.0, 280.0, 290.0, 600.0])
    above = posed(name, [(1.0, None)], start=1e-119)
    speed = 2 if name == "diagonal_network" else 1
    expected = 1 / (1 + np.exp(-2 * (np.log(1e-119) + speed * times)))
    np.testing.assert_allclose(mode(name, above, times), expected, rtol=1e-9)
    below = posed(name, [(1.0, None)], start=1e-121)
    with pytest.raises(OutsideValidity, match=r"start of phase 0 .*start it at 1e-120 or more"):
        mode(name, below, times)


@pytest.mark.parametrize("name", NAMES)
def test_a_mode_of_exactly_nothing_stays_through_long_phases(name: str) -> None:
    problem = posed(name, [(-1.0, 1000.0), (1.0, None)], start=0.0)
    assert not mode(name, problem, np.array([500.0, 5000.0])).any()


def test_three_layers_unlearn_by_a_power_of_time() -> None:
    task, gone = sk.Task([[1.0]], [[1.0]]), sk.Task([[1.0]], [[-1.0]])
    network = sk.Network.mlp([1, 1, 1, 1], "linear")
    curriculum = sk.Curriculum([sk.Phase(gone, 1000.0), sk.Phase(task)])
    start = sk.weights.from_arrays(network, [[[0.5]]] * 3)
    found = LAW["deep_modes"].trajectory(
        Problem(network, curriculum, start), np.array([1000.0, 4000.0])
    )
    unlearned, learned = found.end_to_end[:, 0, 0]
    assert 1e-10 < unlearned < 1e-8
    assert abs(learned - 1) < 1e-12


def test_a_weak_mode_that_loses_the_race_for_the_unit_is_refused_when_its_turn_comes() -> None:
    network = sk.Network.two_layer(inputs=2, hidden=1, outputs=2)
    first, second = (sk.Task(np.eye(2) * 2**0.5, np.diag(s) * 2**0.5) for s in ([2, 1], [1, 2]))
    start = sk.weights.from_arrays(network, [[[0.3, 0.3]], [[0.3], [0.3]]])
    long, short = (
        Problem(network, sk.Curriculum([sk.Phase(first, span), sk.Phase(second)]), start)
        for span in (900.0, 20.0)
    )
    law = LAW["single_unit"]
    with pytest.raises(OutsideValidity, match="start of phase 1"):
        _ = law.trajectory(long, np.array([5000.0])).end_to_end
    found = law.trajectory(short, np.array([200.0])).end_to_end[0]
    np.testing.assert_allclose(found, np.diag([0.0, 2.0]), atol=1e-9)
