"""Where a theory is said to hold: its own error, the size of the steps, and whether any learned."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import symkernel as sk
from symkernel.errors import Diverged
from symkernel.studies import cells, predictors
from symkernel.studies.bands import foreseen_bands
from symkernel.studies.comparison import contribution_means
from symkernel.studies.figures import sharing_over_scale
from symkernel.studies.inside import frozen_inside
from symkernel.studies.predictors import PREDICTORS, Case, Foreseen, predictor_of
from symkernel.studies.setting import Setting
from symkernel.studies.wide import foreseen_wide

SMALL = sk.environments.Multitasking(groups=2, features=2)
SETTING = Setting(2, 2, hidden=12, single_steps=40, concurrent_steps=30)
SCALES = [0.1, 2.0]
ORDER = "single, concurrent"


def asked(name, scale=2.0, curriculum="single", setting=SETTING):
    case = Case(setting, scale, curriculum, 1000)
    return case, predictor_of(name).run(case, np.random.default_rng(7))


@pytest.fixture(scope="module")
def study():
    return sk.studies.multitask(
        SMALL, scales=SCALES, curricula=["single"], seeds=[1000, 1001], hidden=12, steps=(40, 30)
    )


# What a theory says of itself ---------------------------------------------------------------------


def test_a_theory_holds_where_its_error_is_below_its_limit():
    def says(error, **limit):
        return Foreseen(np.zeros(1), np.zeros(1), error, "", **limit).valid

    assert says(0.2499)
    assert not says(0.25)
    assert not says(float("nan"))
    assert says(0.9, limit=1.0)
    assert not says(0.2, limit=0.1)


def tangent_kernel(w, X):
    """Return the kernel of the argument of the output, (n outputs, n outputs), by its formula."""
    a = X[:, :4] @ w["W_s"].T + X[:, 4:] @ w["W_t"].T + w["b"]
    h = 1 / (1 + np.exp(-a))
    slope = h * (1 - h)
    inner = np.einsum("oh,ih,jh,ph->iojp", w["W_2"], slope, slope, w["W_2"])
    outer = (h @ h.T + X[:, 4:] @ X[:, 4:].T)[:, None, :, None] * np.eye(4)[None, :, None, :]
    return outer + (X @ X.T)[:, None, :, None] * inner


def displaced(case):
    """Return weights after each phase of descent on what is linear inside the output."""
    w = dict(case.weights.arrays)
    names = ("W_s", "W_t", "W_2", "W_o")
    start = {name: w[name].copy() for name in names}
    a = {}
    move = {name: np.zeros_like(start[name]) for name in names}
    for phase in case.trained_on.phases:
        X, Y = np.asarray(phase.task.X), phase.task.Y
        a = X[:, :4] @ w["W_s"].T + X[:, 4:] @ w["W_t"].T + w["b"]
        h = 1 / (1 + np.exp(-a))
        slope = h * (1 - h)
        for _ in range(round(phase.duration / 20.0)):
            dh = slope * (X[:, :4] @ move["W_s"].T + X[:, 4:] @ move["W_t"].T)
            z = h @ (start["W_2"] + move["W_2"]).T + dh @ start["W_2"].T + w["c"]
            z = z + X[:, 4:] @ (start["W_o"] + move["W_o"]).T
            f = 1 / (1 + np.exp(-z))
            pull = 20.0 / len(X) * f * (1 - f) * (f - Y)
            back = slope * (pull @ start["W_2"])
            move = {
                "W_s": move["W_s"] - back.T @ X[:, :4],
                "W_t": move["W_t"] - back.T @ X[:, 4:],
                "W_2": move["W_2"] - pull.T @ h,
                "W_o": move["W_o"] - pull.T @ X[:, 4:],
            }
        yield X, {**w, **{name: start[name] + move[name] for name in names}}


@pytest.mark.parametrize("curriculum", ["single", ORDER, "concurrent, single"])
def test_the_kernel_kept_inside_the_output_says_how_far_it_moves_at_most(curriculum):
    case, found = asked("frozen_inside", 1.0, curriculum)
    start, moves = case.weights.arrays, []
    for X, now in displaced(case):
        before, after = (tangent_kernel(w, X) for w in (start, now))
        moves.append(np.linalg.norm(after - before) / np.linalg.norm(before))
    assert found.error == pytest.approx(max(moves), rel=1e-9)
    assert found.error == frozen_inside(case.setting, case.weights, case.trained_on).moved
    single = case.setting.prompts[0].X
    h = sk.activity(case.network, start, single, "hidden")
    inner = sum(
        single[:, part] @ (now[name] - start[name]).T
        for name, part in (("W_s", slice(0, 4)), ("W_t", slice(4, 8)))
    )
    np.testing.assert_allclose(found.hidden, h + h * (1 - h) * inner, rtol=1e-9)


def test_a_kernel_that_moved_and_came_back_has_moved():
    X, weights = SMALL.single.X, SETTING.weights(1.0, 1000)
    back = sk.Task(X, sk.activity(SETTING.network, weights, X))
    course = sk.Curriculum([sk.Phase(SMALL.single.task, 800.0), sk.Phase(back, 4000.0)])
    case = SimpleNamespace(weights=weights, trained_on=course)
    kernels = [tangent_kernel(w, X) for w in (weights.arrays, *(w for _, w in displaced(case)))]
    out, home = (np.linalg.norm(k - kernels[0]) / np.linalg.norm(kernels[0]) for k in kernels[1:])
    assert home < 0.9 * out
    assert frozen_inside(SETTING, weights, course).moved == pytest.approx(out, rel=1e-9)


def test_frozen_kernels_say_how_far_they_move():
    case, found = asked("frozen")
    law = sk.derive(case.network, case.trained_on, case.weights, law="frozen_kernel").compile()
    wanted = law.predict(case.setting.inputs, [case.trained_on.end / 2, case.trained_on.end])
    assert wanted.kernel_movement[0] != pytest.approx(wanted.kernel_movement[1], rel=1e-3)
    assert found.error == pytest.approx(wanted.kernel_movement[1], rel=1e-9)


@pytest.mark.parametrize("curriculum", ["single", "interleaved"])
def test_refreshed_kernels_say_what_half_of_the_refreshes_change(curriculum):
    case, found = asked("relinearised", 2.0, curriculum)
    course, single = case.curriculum, case.setting.prompts[0].X
    law = sk.derive(case.network, course, case.weights, law="relinearised").compile()
    # 16 intervals: the first ends at 1/50 of the phase, their lengths grow by one ratio.
    ratio = 50 ** (1 / 15)
    shares = 0.02 * ratio ** np.arange(15)
    fine, coarse = (
        law.predict(single, [course.end], refreshes=some).hidden[0]
        for some in (shares, shares[1::2])
    )
    start = sk.activity(case.network, case.weights, single, "hidden")
    wanted = np.sqrt(((fine - coarse) ** 2).sum() / ((fine - start) ** 2).sum())
    assert found.error == pytest.approx(wanted, rel=1e-6)
    np.testing.assert_allclose(found.hidden, fine, rtol=1e-9)


def test_the_limit_of_wide_networks_says_how_far_units_move():
    case, found = asked("infinite")
    wanted = foreseen_wide(case.setting, 2.0, case.curriculum, np.random.default_rng(7))
    assert found.error == wanted.moved
    assert (found.outputs == wanted.outputs).all()


def test_the_quotient_says_how_large_the_rest_is_and_is_trained_once(monkeypatch):
    calls = []

    def counted(*arguments, **options):
        calls.append(arguments)
        return sk.simulate_quotient(*arguments, **options)

    monkeypatch.setattr(predictors, "simulate_quotient", counted)
    setting = replace(SETTING, hidden=11)
    case, zeroth = asked("quotient", 0.5, setting=setting)
    _, first = asked("quotient_first", 0.5, setting=setting)
    assert len(calls) == 1
    course = case.trained_on
    smaller = sk.quotient(case.network, course, fixing="W_s")
    run = sk.simulate_quotient(smaller, case.weights, 20.0, record=[0.0, course.end])
    names = [p.name for p in case.network.parameters if p.trained]
    tied, whole = (run.weights_at(-1, order).arrays for order in (0, 1))
    rest = np.sqrt(sum(((whole[name] - tied[name]) ** 2).sum() for name in names))
    wanted = rest / np.sqrt(sum((tied[name] ** 2).sum() for name in names))
    for found, weights in ((zeroth, tied), (first, whole)):
        assert found.error == pytest.approx(wanted, rel=1e-9)
        hidden = sk.activity(case.network, weights, setting.prompts[0].X, "hidden")
        np.testing.assert_allclose(found.hidden, hidden, rtol=1e-12)


def test_the_path_is_judged_by_its_rounding_and_the_floor_never_holds():
    _, path = asked("path", curriculum=ORDER)
    assert 0 < path.error < path.limit <= 1e-6
    assert not asked("nothing")[1].valid


# What descent adds --------------------------------------------------------------------------------


@pytest.mark.parametrize("curriculum", ["single", ORDER, "interleaved"])
def test_steps_are_judged_by_half_the_learning_rate(curriculum):
    parameters = {name: values[0] for name, values in SETTING.axes.items()}
    found = cells.stepped(np.random.default_rng(0), 1.0, curriculum, 1000, **parameters)
    net, w0, X = SETTING.network, SETTING.weights(1.0, 1000), SETTING.prompts[0].X
    ends = []
    for rate, times in ((20.0, 1), (10.0, 2)):
        course = SMALL.curriculum(curriculum, rate, 40 * times, 30 * times)
        run = sk.simulate(net, course, w0, rate, record=[course.end])
        ends.append({name: w[-1] for name, w in run.weights.items()})
    start, coarse, fine = (sk.activity(net, w, X, "hidden") for w in (w0, *ends))
    # Linear in the rate: the flow lies as far beyond half the rate as that from the whole.
    flow = fine + (fine - coarse)
    wanted = np.linalg.norm(coarse - flow) / np.linalg.norm(fine - start)
    assert found["error"] == pytest.approx(wanted, rel=1e-9)
    trained = [SMALL.single] if curriculum == "single" else [SMALL.single, SMALL.concurrent]
    for name, w in (("before", w0), ("after", ends[0])):
        off = [((sk.activity(net, w, one.X) - one.Y) ** 2).sum(1).mean() / 2 for one in trained]
        assert found[name] == pytest.approx(np.mean(off), rel=1e-9)


def test_descent_that_diverged_is_infinitely_far(monkeypatch):
    def diverges(*arguments, **options):
        raise Diverged("too large", 3, 20.0, 1.0)

    monkeypatch.setattr(cells, "simulate", diverges)
    parameters = {name: values[0] for name, values in SETTING.axes.items()}
    found = cells.stepped(np.random.default_rng(0), 1.0, "single", 1000, **parameters)
    assert found["error"] == found["after"] == np.inf


def judged(study, **steps):
    """Return which theories hold, if all say so of themselves, with other steps of descent."""
    return {(one.name, one.scale) for one in all_valid(study, **steps).comparisons if one.holds}


def test_dead_units_do_not_move_at_any_rate():
    dead = replace(SETTING, activation="relu", bias=-50.0)
    parameters = {name: values[0] for name, values in dead.axes.items()}
    found = cells.stepped(np.random.default_rng(0), 0.1, "single", 1000, **parameters)
    assert found["error"] == 0
    assert found["after"] < found["before"]


def all_valid(study, **steps):
    """Return a study whose theories all say of themselves that they hold."""
    everywhere = study.steps.values["error"].shape
    found = {"error": 0.0, "before": 1.0, "after": 0.5} | steps
    values = {name: np.broadcast_to(value, everywhere) for name, value in found.items()}
    valid = np.ones_like(study.predictions.values["valid"])
    said = replace(study.predictions, values={**study.predictions.values, "valid": valid})
    return replace(study, predictions=said, steps=replace(study.steps, values=values))


def test_a_theory_holds_for_all_seeds_or_not(study):
    every = {(one.name, scale) for one in PREDICTORS for scale in SCALES}
    assert judged(study) == every
    valid = study.predictions.values["valid"].copy()
    valid[...] = True
    valid[..., 1] = False
    said = replace(study.predictions, values={**study.predictions.values, "valid": valid})
    assert not any(one.holds for one in replace(study, predictions=said).comparisons)
    one_seed = np.zeros_like(study.steps.values["error"])
    one_seed[..., 1] = 0.3
    assert not {name for name, _ in judged(study, error=one_seed)} & {"frozen", "relinearised"}


def test_theories_of_small_steps_do_not_hold_where_steps_are_large(study):
    small = {"frozen", "frozen_inside", "infinite", "relinearised"}
    names = {one.name for one in PREDICTORS}
    for error, wanted in ((0.249, names), (0.25, names - small), (np.nan, names - small)):
        assert {name for name, _ in judged(study, error=error)} == wanted


def test_no_theory_holds_where_descent_did_not_learn(study):
    assert judged(study, after=1.0)
    for after in (1.01, np.inf, np.nan):
        assert not judged(study, after=after)
    only = np.full_like(study.steps.values["error"], 0.5)
    only[..., SCALES.index(2.0), :, :] = 2.0  # scale, curriculum, seed are the last axes
    assert {scale for _, scale in judged(study, after=only)} == {0.1}


@pytest.mark.parametrize("activation", ["tanh", pytest.param("relu", marks=pytest.mark.slow)])
def test_a_large_learning_rate_leaves_no_theory_of_small_steps(activation):
    found = sk.studies.multitask(
        SMALL, scales=[4.0], curricula=["single"], seeds=[1000], hidden=12, steps=(60, 1),
        activation=activation, learning_rate=80.0,
        predictors=["frozen_inside", "relinearised", "path"],
    )  # fmt: skip
    assert not found.failures
    for one in found.comparisons[:2]:
        assert one.step_error[0] > 0.25
        assert not one.holds
        assert "the size of the steps matters" in one.statement or "larger loss" in one.statement
    assert found.comparisons[2].holds == bool(found.comparisons[2].learned[0])


@pytest.mark.parametrize("changed", [False, True])
def test_shaded_is_where_a_theory_holds(study, changed):
    if changed:
        error = np.zeros_like(study.steps.values["error"])
        error[..., SCALES.index(2.0), :, :] = 0.3
        study = all_valid(study, error=error)
    holds = {(one.name, one.scale): one.holds for one in study.comparisons}
    assert len(set(holds.values())) == 2
    figure = sharing_over_scale(study)
    strip = figure.axes[-1]
    names = [one.name for one in PREDICTORS]
    shaded = set()
    for bar in strip.patches:
        row = round(bar.get_y() + bar.get_height() / 2)
        left, right = bar.get_x(), bar.get_x() + bar.get_width()
        shaded |= {(names[row], scale) for scale in SCALES if left < scale < right}
    assert shaded == {place for place, held in holds.items() if held}


# Numbers beside it --------------------------------------------------------------------------------


def test_weights_move_relative_to_their_length_at_the_start():
    parameters = {name: values[0] for name, values in SETTING.axes.items()}
    found = cells.trained(np.random.default_rng(0), 0.7, ORDER, 1000, **parameters)
    course = SETTING.curriculum(ORDER)
    w0 = SETTING.weights(0.7, 1000)
    run = sk.simulate(SETTING.network, course, w0, 20.0, record=[course.end * 0.5, course.end])
    names = ("W_s", "W_t", "W_2", "W_o")
    before = np.concatenate([w0.arrays[name].ravel() for name in names])
    for record, place in ((0, 9), (1, 12)):
        after = np.concatenate([run.weights[name][record].ravel() for name in names])
        wanted = np.linalg.norm(after - before) / np.linalg.norm(before)
        assert found["move"][place] == pytest.approx(wanted, rel=1e-9)
    assert found["step"].tolist()[-1] == 70


def test_contributions_are_averaged_by_what_tasks_share():
    env = sk.environments.Multitasking(3, 2)
    worth = {(True, True): 4.0, (True, False): 3.0, (False, True): 2.0, (False, False): 1.0}
    matrix = np.array(
        [[worth[i == k, j == m] for k, m in env.tasks] for i, j in env.tasks]
    )  # fmt: skip
    noise = np.random.default_rng(0).standard_normal((2, 1, 4, 9, 9))
    noise[:, :, 1] = 2 - noise[:, :, 0]
    noise[:, :, 2:] = np.nan  # cells that failed
    values = matrix + noise
    study = SimpleNamespace(
        setting=SimpleNamespace(environment=env),
        contributions=SimpleNamespace(values={"matrix": values}),
        array=lambda name, of: values,
        axis=lambda name: (0.1, 2.0),
    )
    found = contribution_means(study)
    assert list(found) == [0.1, 2.0]
    for means in found.values():
        wanted = {"own": 5.0, "same input": 4.0, "same output": 3.0, "neither": 2.0}
        assert means == pytest.approx(wanted, abs=1e-12)


def test_bands_of_theories_are_for_the_worst_seed_on_single_tasks():
    def said(name, scale, values, curriculum="single"):
        return SimpleNamespace(
            name=name, title=name, scale=scale, curriculum=curriculum, similarities=np.array(values)
        )

    given = [
        said("relinearised", 0.3, [0.1]),
        said("relinearised", 0.5, [0.99, 0.98]),
        said("relinearised", 2.0, [0.99, 0.979]),
        said("relinearised", 2.0, [0.1], "concurrent"),
        said("relinearised", 4.0, [0.1]),
        said("frozen", 1.0, [0.1]),
        said("quotient", 0.1, [0.99, np.nan]),
        said("quotient", 0.3, [0.1]),
    ]
    found = list(foreseen_bands(given))
    assert [(band.low, band.holds) for band in found] == [
        (0.98, True), (0.98, False), (0.99, False),
    ]  # fmt: skip
    assert "scale 2, single, relinearised" in str(found[1])


def test_bands_of_theories_are_for_the_published_setting_and_any_seeds(study):
    theory = SimpleNamespace(
        name="quotient", title="", scale=0.1, curriculum="single", similarities=np.array([0.995])
    )
    for setting, count in ((Setting(), 1), (Setting(hidden=99), 0)):
        again = replace(study, setting=setting)
        again.__dict__["comparisons"] = (theory,)
        assert len(again.bands) == count
