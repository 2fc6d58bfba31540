"""The limit of infinite width in the study: kernels of all prompts, and what units do in it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import symkernel as sk
from symkernel.problem.activation import activation as find_activation
from symkernel.studies import wide
from symkernel.studies.prompt_kernels import PromptScheme
from symkernel.studies.setting import Setting

LOGISTIC = find_activation("sigmoid")


def curved(X, Y):
    """Return a positive kernel of products of inputs, the lengths of both among them."""
    lengths = [np.sqrt((some**2).sum(axis=1)) for some in (X, Y)]
    return np.exp(X @ Y.T / 5) * np.outer(*lengths) + X @ Y.T


@pytest.fixture(scope="module", params=[(2, 3), (3, 2)], ids=str)
def setting(request):
    return Setting(*request.param)


@pytest.fixture(scope="module")
def scheme(setting):
    return PromptScheme(setting.environment)


@pytest.fixture(scope="module")
def kernel(scheme):
    return scheme.kernel(scheme.values(curved))


def over_prompts(values):
    return values.reshape(-1, values.shape[-1])


# Kernels of all prompts ---------------------------------------------------------------------------


def test_blocks_stand_for_the_kernel_of_all_prompts(setting, scheme, kernel):
    X = setting.inputs
    v = np.random.default_rng(0).standard_normal((len(scheme.tasks), len(scheme.functions), 3))
    np.testing.assert_allclose(
        over_prompts(kernel @ v), curved(X, X) @ over_prompts(v), rtol=1e-11, atol=1e-10
    )


def test_parts_stand_for_the_kernel_of_some_prompts(setting, scheme, kernel):
    rows, columns = np.array([4, 1]), np.array([0, 3, 5])
    stimuli = len(scheme.functions)
    X = setting.inputs.reshape(-1, stimuli, setting.inputs.shape[1])
    v = np.random.default_rng(0).standard_normal((3, stimuli, 2))
    dense = curved(*(X[some].reshape(-1, X.shape[-1]) for some in (rows, columns)))
    found = kernel.between(rows, columns) @ v
    np.testing.assert_allclose(over_prompts(found), dense @ over_prompts(v), rtol=1e-11, atol=1e-10)


def test_the_limit_has_the_direct_path_and_the_fixed_bias(setting):
    for direct in (True, False):
        one = Setting(
            setting.groups, setting.features, direct=direct, activation="erf", bias=0.0, hidden=50
        )
        X, split = one.inputs, one.environment.outputs
        net = sk.Network.mlp([X.shape[1], 50, split], "erf")
        limit = sk.infinite_width(net, weight_variance=0.7**2).compile()
        overlap = direct * (X[:, split:] @ X[:, split:].T)
        wanted = limit(X) + np.stack([0.7**2 / one.groups**2 * overlap, overlap])
        v = np.random.default_rng(0).standard_normal((len(X), 2))
        for found, dense in zip(wide.limit_kernels(one, 0.7), wanted, strict=True):
            shaped = v.reshape(len(found.scheme.tasks), -1, 2)
            np.testing.assert_allclose(over_prompts(found @ shaped), dense @ v, rtol=1e-9)
    # A bias shifts the function that is averaged: half of the slope of a wide logistic is left.
    flat, steep = (
        wide.limit_kernels(Setting(2, 2, bias=bias, direct=False), 0.01)[0].blocks[0, 0, 0]
        for bias in (-2.0, 0.0)
    )
    squares = [1 / (1 + np.exp(-bias)) ** 2 for bias in (-2.0, 0.0)]
    assert flat / steep == pytest.approx(squares[0] / squares[1], rel=1e-3)


def test_draws_have_the_covariance(setting, kernel):
    X, count = setting.inputs, 20_000
    draws = over_prompts(kernel.drawn(np.random.default_rng(0), count))
    found, wanted = draws @ draws.T / count, curved(X, X)
    deviation = np.sqrt((np.outer(*[np.diag(wanted)] * 2) + wanted**2) / count)
    assert (abs(found - wanted) / deviation).max() < 5.5


def test_the_largest_eigenvalue_is_that_of_all_prompts(setting, kernel):
    X, shares = setting.inputs, np.arange(1.0, len(kernel.scheme.tasks) + 1)
    root = np.sqrt(np.repeat(shares, len(kernel.scheme.functions)))
    wanted = np.linalg.eigvalsh(curved(X, X) * np.outer(root, root)).max()
    assert kernel.largest(shares) == pytest.approx(wanted, rel=1e-12)


def test_sets_of_tasks_are_found_in_what_is_trained_on(setting, scheme):
    env = setting.environment
    single, every = len(env.tasks), len(scheme.tasks)
    both = sk.Task.mixture([env.concurrent.task, env.single.task], [0.5, 0.5])
    wanted = [*range(single, every), *range(single)]
    assert scheme.sets_of(both.X).tolist() == wanted
    assert scheme.sets_of(env.single.X).tolist() == wanted[-single:]


# Learning -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("duration", [0.3, 3.0, 30.0])
def test_pulls_are_the_integrals_of_the_flow(setting, scheme, kernel, duration):
    env, here = setting.environment, np.arange(setting.groups**2)
    part = kernel.between(here, here)
    shape = len(here), len(scheme.functions), env.outputs
    n = len(here) * len(scheme.functions)
    start = np.random.default_rng(0).standard_normal(shape)
    targets, dense = env.single.Y.reshape(shape), curved(env.single.X, env.single.X)

    def slope(_, flat):
        f = 1 / (1 + np.exp(-flat[: start.size].reshape(n, -1)))
        pull = (f * (1 - f) * (f - env.single.Y)) / n
        return np.concatenate([-(dense @ pull).ravel(), pull.ravel()])

    begin = np.concatenate([start.ravel(), np.zeros(start.size)])
    wanted = solve_ivp(slope, (0, duration), begin, rtol=1e-6).y[start.size :, -1].reshape(shape)
    shares = np.full(shape[:2], 1 / n)
    found = wide.integrated_pulls(LOGISTIC, part, start, targets, shares, duration)
    assert np.linalg.norm(found - wanted) < 0.03 * np.linalg.norm(wanted)


def test_units_move_as_one_step_of_descent_moves_them(monkeypatch):
    setting = Setting(2, 2, hidden=9, learning_rate=0.5, single_steps=1)
    net, task, rate = setting.network, setting.environment.single.task, 0.5
    w = setting.weights(1.3, 1000).arrays
    run = sk.simulate(net, task, setting.weights(1.3, 1000), rate, steps=1, record=[0.0, rate])
    f = sk.activity(net, w, task.X)
    pulls = rate / len(task.X) * f * (1 - f) * (f - task.Y)
    units = wide.Units(np.hstack([w["W_s"], w["W_t"]]).T, w["W_2"])
    wanted = np.hstack([run.weights[name][-1] - w[name] for name in ("W_s", "W_t")]).T
    for at_once in (2**24, 3 * len(task.X)):
        monkeypatch.setattr(wide, "_AT_ONCE", at_once)
        found = units.moved_by(LOGISTIC, setting.bias, task.X, pulls)
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", ["single, concurrent", "interleaved"])
def test_wide_networks_do_what_the_limit_foresees(name):
    setting = Setting(
        2, 2, hidden=8000, direct=False, learning_rate=0.01, single_steps=200, concurrent_steps=200,
    )  # fmt: skip
    scale, run_on = 0.7, setting.curriculum(name)
    both = sk.Task.mixture([p.task for p in setting.prompts], [0.5, 0.5])
    course = run_on if name != "interleaved" else sk.Curriculum([sk.Phase(both, run_on.end)])
    found = wide.foreseen_wide(setting, scale, course, np.random.default_rng(0))
    run = sk.simulate(
        setting.network, run_on, setting.weights(scale, 1000), 0.01, record=[0.0, run_on.end]
    )
    start, end = ({key: w[k] for key, w in run.weights.items()} for k in (0, -1))
    learned = sk.activity(setting.network, end, setting.inputs)
    change = learned - sk.activity(setting.network, start, setting.inputs)
    assert abs(change).max() > 0.2
    assert abs(found.outputs - learned).max() < 0.06 * abs(change).max()
    before, after = (
        sk.activity(setting.network, w, setting.prompts[0].X, "hidden") for w in (start, end)
    )
    spread = np.sqrt(((before - before.mean(axis=0)) ** 2).mean())
    moved = np.sqrt(((after - before) ** 2).mean()) / spread
    # The read-out grows, by more than 1/10 of itself at this width.
    assert found.moved == pytest.approx(moved, rel=0.2)
    theirs, true = (np.cov(h) for h in (found.hidden, after))
    assert np.linalg.norm(theirs - true) < 0.1 * np.linalg.norm(true)


def test_small_weights_that_learned_nothing_answer_by_the_fixed_bias():
    setting = Setting(2, 2, hidden=20, learning_rate=1e-6, single_steps=1, output_bias=-1.0)
    course = setting.curriculum("single")
    found = wide.foreseen_wide(setting, 1e-3, course, np.random.default_rng(0))
    np.testing.assert_allclose(found.outputs, 1 / (1 + np.e), rtol=1e-2)


def test_the_hidden_layer_is_where_it_started_and_how_far_it_moved():
    """Read-outs of either sign are alike: on the average over units the squares add."""
    setting, scale = Setting(2, 2, hidden=20, single_steps=60), 1.0
    course = setting.curriculum("single")
    found = wide.foreseen_wide(setting, scale, course, np.random.default_rng(0))
    many = Setting(2, 2, hidden=4096)
    start = sk.activity(
        many.network, many.weights(scale, 1000), many.prompts[0].X, "hidden"
    )  # fmt: skip
    spread = np.sqrt(((start - start.mean(axis=0)) ** 2).mean())
    assert found.moved > 1
    wanted = (start**2).mean() + (found.moved * spread) ** 2
    assert (found.hidden**2).mean() == pytest.approx(wanted, rel=0.05)
