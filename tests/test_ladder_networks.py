"""Structure of the laws of networks with pathways; and faults that it notices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from symkernel import testing
from symkernel.ladder_networks import conserved_gap, equivariance_gap
from symkernel.theory import gated_modes, neural_race
from symkernel.trajectory import Trajectory

LAWS = (gated_modes.LAW, neural_race.LAW)
BOUND = 1e-9


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_trajectories_keep_what_is_conserved_and_turn_with_the_problem(law):
    for seed in range(6):
        problem = law.draw(np.random.default_rng(seed))
        times = testing.horizon(problem, 10.0)
        assert conserved_gap(problem, law, times) < BOUND
        assert equivariance_gap(problem, law, times, seed) < BOUND


def damaged(law, change):
    """The law with one weight changed in time."""

    def trajectory(problem, times):
        true = law.trajectory(problem, times)
        name = problem.network.parameters[0].name
        weights = {**true.weights, name: change(true.weights[name], np.asarray(times))}
        return Trajectory(true.times, {"weights": lambda: weights})

    return replace(law, trajectory=trajectory)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_faults_are_noticed(law):
    problem, times = law.example(), np.linspace(0.0, 3.0, 4)
    grown = damaged(law, lambda w, t: w * (1 + 1e-6 * t)[:, None, None])
    assert conserved_gap(problem, grown, times) > BOUND
    assert equivariance_gap(problem, grown, times, 0) < BOUND
    axes = damaged(law, lambda w, t: w + 1e-6 * t[:, None, None] * np.eye(*w.shape[1:]))
    assert equivariance_gap(problem, axes, times, 0) > BOUND
