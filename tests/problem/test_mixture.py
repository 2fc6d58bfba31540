"""Mixtures of tasks, and samples with weights."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

import symkernel as sk
from symkernel import Task
from symkernel.errors import InvalidArgument, MissingValues, ShapeMismatch

MOMENTS = "Sxx", "Syx", "Syy"


def drawn(samples, seed, **how):
    rng = np.random.default_rng(seed)
    return Task(rng.normal(size=(samples, 3)), rng.normal(size=(samples, 2)), **how)


@st.composite
def parts(draw):
    count = draw(st.integers(1, 4))
    tasks = [drawn(draw(st.integers(1, 9)), draw(st.integers(0, 99))) for _ in range(count)]
    weights = np.random.default_rng(draw(st.integers(0, 99))).dirichlet(np.ones(count))
    return tasks, [max(float(w), 1e-3) for w in weights]


@given(parts())
def test_moments_of_a_mixture_are_the_mean_of_moments(drawn_parts):
    tasks, weights = drawn_parts
    weights = [w / sum(weights) for w in weights]
    mixed = Task.mixture(tasks, weights)
    bare = Task.mixture([Task.from_moments(t.Sxx, t.Syx, t.Syy) for t in tasks], weights)
    assert mixed.sample_weights.sum() == pytest.approx(1)
    assert bare.X is None
    for name in MOMENTS:
        wanted = sum(w * getattr(t, name) for w, t in zip(weights, tasks, strict=True))
        for found in (mixed, bare):
            np.testing.assert_allclose(getattr(found, name), wanted, rtol=1e-12, atol=1e-13)
    assert len(mixed.X) == sum(len(t.X) for t in tasks)


def test_weights_of_samples_count_like_repetitions():
    task = drawn(4, 0)
    times = np.array([1, 3, 2, 2])
    many = Task(np.repeat(task.X, times, 0), np.repeat(task.Y, times, 0))
    few = Task(task.X, task.Y, sample_weights=times / 8)
    centred = many.centred(), few.centred()
    white = many.whitened(), few.whitened()
    for one, other in ((many, few), centred, white):
        for name in MOMENTS:
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-12)
    np.testing.assert_allclose(few.sample_weights @ centred[1].X, 0, atol=1e-14)
    np.testing.assert_allclose(white[1].Sxx, np.eye(3), atol=1e-12)
    np.testing.assert_array_equal(centred[1].sample_weights, times / 8)


def test_mixture_of_mixtures():
    a, b, c = (drawn(n, n) for n in (2, 3, 5))
    inner = Task.mixture([a, b], [0.25, 0.75])
    outer = Task.mixture([inner, c], [0.4, 0.6])
    flat = Task.mixture([a, b, c], [0.1, 0.3, 0.6])
    np.testing.assert_allclose(outer.sample_weights, flat.sample_weights)
    np.testing.assert_array_equal(outer.X, flat.X)


def test_samples_with_moments_give_moments():
    a, b = drawn(4, 1), drawn(5, 2)
    mixed = Task.mixture([a, Task.from_moments(b.Sxx, b.Syx, b.Syy)], [0.5, 0.5])
    assert mixed.X is None
    np.testing.assert_allclose(mixed.Syx, (a.Syx + b.Syx) / 2)


def test_labels_and_history():
    names = {"inputs": ["p", "q", "r"], "outputs": ["u", "v"]}
    a = drawn(1, 1, labels={**names, "samples": ["one"]}).centred()
    b = drawn(2, 2, labels={**names, "outputs": ["u", "w"], "samples": ["two", "three"]})
    mixed = Task.mixture([a, b], [0.7, 0.3])
    assert dict(mixed.labels) == {
        "inputs": ("p", "q", "r"),
        "samples": ("one", "two", "three"),
        "tasks": ("task 0", "task 1", "task 1"),
    }
    assert mixed.history == (
        "of task 0: centred: means of inputs and outputs removed",
        "mixture of 2 tasks with weights 0.7, 0.3",
    )


def test_tasks_of_a_mixture_keep_their_names():
    a, b = drawn(1, 1), drawn(2, 2)
    named = drawn(2, 3, labels={"tasks": ["naming", "pointing"]})
    pair = Task.mixture([a, b], [0.5, 0.5])
    both = Task.mixture([pair, pair, named], [0.25, 0.25, 0.5])
    numbers = [0, 1, 1, 2, 3, 3]
    assert both.labels["tasks"] == (*(f"task {k}" for k in numbers), "naming", "pointing")


def test_modes_are_averaged_one_to_one():
    one = Task.from_modes([3, 1], [1, 2], [2, 1])
    other = Task.from_modes([1, 5], [1, 2], [4, 1])
    mixed = Task.mixture([one, other], [0.75, 0.25])
    assert [tuple(map(float, (m.s, m.d))) for m in mixed.modes] == [(2.5, 2.5), (2, 1)]
    assert [m.multiplicity for m in mixed.modes] == [1, 2]
    np.testing.assert_allclose(mixed.Syx, np.diag([2.5, 2, 2]), atol=1e-14)
    np.testing.assert_allclose(mixed.Sxx, np.diag([2.5, 1, 1]), atol=1e-14)
    assert Task.mixture([one, Task.from_modes([1, 5], [2, 1])], [0.5, 0.5]).modes is None
    assert Task.mixture([one, Task(np.eye(3), np.eye(3))], [0.5, 0.5]).modes is None


def test_symbols_are_kept_and_the_law_is_that_of_the_mean():
    s, w, a = sp.symbols("s w_A a", positive=True)
    t = sp.Symbol("t", nonnegative=True)
    task = Task.mixture([Task.from_modes(s), Task.from_modes(2)], [w, 1 - w])
    assert task.free_symbols == {s, w}
    (mode,) = task.modes
    assert (mode.s, mode.d) == (w * s + 2 * (1 - w), 1)
    net = sk.Network.two_layer(1, 1, 1)
    law = sk.derive(net, task, sk.weights.aligned(net, task, a=a, b=a))
    assert sp.expand(sp.limit(law.result.output.subs({s: 4, w: sp.Rational(1, 4)}), t, sp.oo)) == (
        sp.Rational(5, 2)
    )
    values = {s: 4, w: 0.25, a: 0.1}
    numeric = Task.mixture([Task.from_modes(4), Task.from_modes(2)], [0.25, 0.75])
    with_numbers = task.with_values(values)
    for name in MOMENTS:
        np.testing.assert_allclose(getattr(with_numbers, name), getattr(numeric, name))
    times = np.linspace(0, 4, 5)
    theory = law.compile(values)(times)
    w0 = sk.weights.aligned(net, numeric, a=0.1, b=0.1)
    again = sk.derive(net, numeric, w0).compile()(times)
    np.testing.assert_allclose(theory.modes, again.modes, rtol=1e-12)
    np.testing.assert_allclose(theory.loss, again.loss, rtol=1e-12)
    # What the two tasks disagree on is left: (mean of squares - square of the mean) / 2.
    assert theory.loss.min() > (0.25 * 16 + 0.75 * 4 - 2.5**2) / 2 - 1e-9
    with pytest.raises(MissingValues, match="w_A"):
        task.with_values({s: 4})
    with pytest.raises(InvalidArgument, match="positive"):
        task.with_values({s: 4, w: sp.Integer(2)})


@pytest.mark.parametrize(
    ("tasks", "weights", "error", "says"),
    [
        ([], [], InvalidArgument, "non-empty"),
        (None, [1], InvalidArgument, "'tasks'"),
        ([np.eye(2)], [1], InvalidArgument, "'tasks'"),
        ("ab", [0.5, 0.5], InvalidArgument, "'tasks'"),
        (2, [0.5, 0.4], InvalidArgument, "sum to 1"),
        (2, [1, 0], InvalidArgument, "positive"),
        (2, [1.5, -0.5], InvalidArgument, "positive"),
        (2, [np.nan, 1], InvalidArgument, "'weights'"),
        (2, [np.inf, 1], InvalidArgument, "'weights'"),
        (2, [1j, 1], InvalidArgument, "'weights'"),
        (2, ["0.5", "0.5"], InvalidArgument, "'weights'"),
        (2, [True, True], InvalidArgument, "'weights'"),
        (2, [1], ShapeMismatch, "2 tasks"),
        (2, [], InvalidArgument, "empty"),
        (2, sp.symbols("p q", positive=True), InvalidArgument, "1 minus"),
        (2, [sp.Symbol("p"), 1 - sp.Symbol("p")], InvalidArgument, "given by modes"),
    ],
)
def test_wrong_mixtures(tasks, weights, error, says):
    tasks = [drawn(3, 0), drawn(4, 1)] if tasks == 2 else tasks
    with pytest.raises(error, match=says):
        Task.mixture(tasks, weights)


def test_tasks_that_do_not_mix():
    with pytest.raises(ShapeMismatch, match="same numbers"):
        Task.mixture([drawn(3, 0), Task.from_modes([1, 1])], [0.5, 0.5])
    symbolic = Task.from_modes([sp.Symbol("s", positive=True), 1])
    for other in (Task.from_modes(1), Task.from_modes([1, 1], [1, 2]), drawn(3, 0)):
        with pytest.raises(InvalidArgument, match="given by modes"):
            Task.mixture([symbolic, other], [0.5, 0.5])
    teacher = sk.Network.mlp([3, 2])
    fresh = Task.from_teacher(teacher, sk.weights.gaussian(teacher))
    with pytest.raises(InvalidArgument, match="drawn anew"):
        Task.mixture([drawn(3, 0), fresh], [0.5, 0.5])


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ([0.5, 0.5], ShapeMismatch),
        ([[0.5, 0.25, 0.25]], ShapeMismatch),
        ([], InvalidArgument),
        ([0.5, 0.5, 0], InvalidArgument),
        ([0.5, 1, -0.5], InvalidArgument),
        ([0.5, 0.5, 0.5], InvalidArgument),
        ([0.5, 0.5, np.nan], InvalidArgument),
        ([np.inf, 0.5, 0.5], InvalidArgument),
        ([1j, 0.5, 0.5], InvalidArgument),
        (["a", "b", "c"], InvalidArgument),
        ([None, None, None], InvalidArgument),
    ],
)
def test_wrong_sample_weights(bad, error):
    with pytest.raises(error, match="sample_weights"):
        Task(np.eye(3), np.eye(3), sample_weights=bad)


def test_sample_weights_cannot_be_changed():
    weights = np.full(3, 1 / 3)
    task = Task(np.eye(3), np.eye(3), sample_weights=weights)
    weights[0] = 7
    assert task.sample_weights[0] == 1 / 3
    with pytest.raises(ValueError, match="read-only"):
        task.sample_weights[0] = 1
