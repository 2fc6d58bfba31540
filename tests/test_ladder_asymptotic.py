"""The ladder of laws of leading order: it passes for them, and fails for what is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import symkernel as sk
from symkernel import ladder_asymptotic as asymptotic
from symkernel.check_report import Rung
from symkernel.errors import InvalidArgument
from symkernel.formula import Asymptotics
from symkernel.problem.problem import Problem
from symkernel.simulation.flow import integrate_flow
from symkernel.simulation.long_flow import integrate_long
from symkernel.theory import frozen_kernel, relinearised

FROZEN, REFRESHED = frozen_kernel.LAW, relinearised.LAW
DRAWN = [FROZEN.draw(np.random.default_rng(seed)) for seed in range(3)]
FEW = tuple(replace(f, seeds=f.seeds[:4]) for f in FROZEN.asymptotics.families)


def wrong(change):
    """Return the frozen law of a changed problem, in place of the one that was posed."""

    def trajectory(problem, times, **options):
        return frozen_kernel.trajectory(change(problem), times, **options)

    return replace(FROZEN, trajectory=trajectory)


def louder(problem):
    return replace(problem, loss=sk.SquaredError(problem.loss.factor * 1.001))


def test_a_thousandth_too_fast_is_seen_on_the_linearised_network():
    assert asymptotic.flow_rung(DRAWN, FROZEN).passed
    assert not asymptotic.flow_rung(DRAWN, wrong(louder)).passed


def test_an_error_that_does_not_fall_is_seen_on_true_networks():
    few = replace(FROZEN, asymptotics=Asymptotics("linearised", FEW[1:]))
    assert asymptotic.slopes_rung(few).passed
    twice = wrong(lambda p: replace(p, loss=sk.SquaredError(1.1 * p.loss.factor)))
    slow = replace(twice, asymptotics=few.asymptotics)
    rung = asymptotic.slopes_rung(slow)
    assert not rung.passed
    assert "in the scale of the output" in rung.figure


def test_the_wrong_slope_is_seen():
    family = replace(FEW[1], slopes={"output": (-2.0, 0.1)})
    law = replace(FROZEN, asymptotics=Asymptotics("linearised", (family,)))
    assert not asymptotic.slopes_rung(law).passed


def test_structure_sees_a_law_that_depends_on_the_order_of_samples_or_on_the_curriculum():
    assert asymptotic.structure_rung(DRAWN, FROZEN).passed

    def first_counts_more(problem):
        phases = []
        for phase in problem.curriculum.phases:
            Y = np.array(phase.task.Y)
            Y[0] *= 1.01
            task = sk.Task(phase.task.X, Y, sample_weights=phase.task.sample_weights)
            phases.append(sk.Phase(task, phase.duration))
        return replace(problem, curriculum=sk.Curriculum(phases))

    def turns(problem):
        first, *others = problem.curriculum.phases
        turned = [sk.Phase(p.task.reversed(), p.duration) for p in others]
        return replace(problem, curriculum=sk.Curriculum([first, *turned]))

    assert not asymptotic.structure_rung(DRAWN, wrong(first_counts_more)).passed
    assert not asymptotic.structure_rung([FROZEN.example()], wrong(turns)).passed


def refreshed(change):
    """Return the re-linearised law with a changed trajectory."""

    def trajectory(problem, times, *tolerance, **options):
        found = relinearised.trajectory(problem, times, *tolerance, **options)
        return replace(found, fields={**found.fields, **change(found)})

    return replace(REFRESHED, trajectory=trajectory)


def test_an_estimate_that_is_too_small_is_seen():
    drawn = [REFRESHED.draw(np.random.default_rng(seed)) for seed in range(2)]
    assert asymptotic.flow_rung(drawn, REFRESHED).passed
    for share in (1 / 3, 0.0):
        law = refreshed(lambda found, s=share: {"error_estimate": lambda: s * found.error_estimate})
        assert not asymptotic.flow_rung(drawn, law).passed


def test_weights_that_are_worse_than_the_outputs_are_seen():
    drawn = [REFRESHED.draw(np.random.default_rng(seed)) for seed in range(2)]

    def half(found):
        moved = {n: (w + w[:1]) / 2 for n, w in found.weights.items()}
        return {"weights": lambda: moved}

    assert not asymptotic.flow_rung(drawn, refreshed(half)).passed


@pytest.mark.parametrize("Y", [[0.0], [1.0]])
def test_a_law_without_error_climbs_with_an_estimate_of_zero(Y):
    net = sk.Network.mlp([2, 1])
    w0 = sk.weights.from_arrays(net, [np.zeros((1, 2))])
    one = Problem(net, sk.Curriculum.of(sk.Task(np.eye(2)[:1], np.array([Y]))), w0)
    assert asymptotic.flow_rung([one], REFRESHED).passed
    shifted = refreshed(lambda found: {"weights": lambda: {"W1": found.weights["W1"] + 1e-3}})
    assert not asymptotic.flow_rung([one], shifted).passed


def test_a_law_that_refuses_most_problems_does_not_climb():
    def trajectory(problem, times, *tolerance, **options):
        raise InvalidArgument("out of reach")

    rung = asymptotic.flow_rung(DRAWN, replace(REFRESHED, trajectory=trajectory))
    assert not rung.passed
    assert "refused as out of reach" in rung.figure


def test_the_two_integrators_of_the_true_flow_agree():
    one = REFRESHED.draw(np.random.default_rng(3))
    assert len(one.curriculum.phases) == 2
    times = one.curriculum.starts[1] + np.array([0.0, 1.0, 20.0])
    true, found = integrate_flow(one, times).weights, integrate_long(one, times)
    assert max(np.abs(found[n] - w).max() for n, w in true.items()) < 1e-8


@pytest.mark.parametrize("law", [FROZEN, REFRESHED])
def test_without_draws_nothing_is_climbed_and_large_problems_are_left_out(law, monkeypatch):
    assert asymptotic.flow_rung([], law).passed is None
    assert asymptotic.structure_rung([], law).passed is None
    monkeypatch.setattr(asymptotic, "_MOST_NUMBERS", {"linearised": 0, "network": 0})
    rung = asymptotic.flow_rung(DRAWN, law)
    assert rung.passed is None
    assert "too large to integrate" in rung.figure
    assert asymptotic.structure_rung(DRAWN, law).passed is None


def test_a_check_of_a_worthless_prediction_says_so(monkeypatch):
    slopes = Rung(5, "slopes", None, "not asked for")
    monkeypatch.setattr(asymptotic, "slopes_rung", lambda law: slopes)
    net = sk.Network.mlp([2, 3, 1], "tanh")
    task = sk.Task(np.eye(2), np.ones((2, 1)))
    d = sk.derive(net, task, sk.weights.gaussian(net, scale=0.01, seed=1))
    report = sk.check(d, draws=0, precision_draws=0)
    assert any("WORTHLESS" in note for note in report.notes)
    for text in (str(d), d._repr_html_(), d._repr_markdown_(), d.latex(), d.latex(fragment=True)):
        assert "WORTHLESS" in text


def test_exact_laws_have_none_of_it():
    law = sk.catalogue()["aligned_modes"]
    with pytest.raises(TypeError, match="exact"):
        asymptotic.slopes_rung(law)
    assert isinstance(DRAWN[0], Problem)
