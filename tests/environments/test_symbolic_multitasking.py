"""The multitasking environment for symbols against the one that lists everything."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import sympy as sp

from symkernel.environments import Multitasking, SymbolicMultitasking
from symkernel.environments.symbolic_multitasking import ADDRESSED, POOLED, READ
from symkernel.errors import InvalidArgument, MissingValues

G, M, K = sp.symbols("G M K", integer=True, positive=True)
ENV = Multitasking(G, M)
SIZES = [(2, 2), (2, 4), (3, 3), (3, 2)]


def test_symbols_give_closed_forms_and_numbers_arrays():
    assert isinstance(ENV, SymbolicMultitasking)
    assert isinstance(Multitasking(2, M), SymbolicMultitasking)
    assert isinstance(Multitasking(groups=G, features=3), SymbolicMultitasking)
    assert isinstance(Multitasking(3, 3), Multitasking)
    assert ENV.with_values({G: 3, M: 2}) == Multitasking(3, 2)
    for one in (ENV, Multitasking(3, 3)):
        assert copy.copy(one) == copy.deepcopy(one) == one


@pytest.mark.parametrize(("g", "m"), SIZES)
def test_counts_are_those_of_the_lists(g, m):
    numbers, values = Multitasking(g, m), {G: g, M: m}
    assert ENV.inputs.subs(values) == numbers.inputs
    assert ENV.outputs.subs(values) == numbers.outputs
    assert ENV.task_count.subs(values) == len(numbers.tasks)
    for k in range(1, g + 1):
        sets = numbers.task_sets(k)
        assert ENV.set_count(K).subs({**values, K: k}) == len(sets)
        assert ENV.prompt_count(K).subs({**values, K: k}) == len(numbers.prompts(sets).X)


@pytest.mark.parametrize(("g", "m"), SIZES)
def test_modes_are_the_parts_of_the_targets_in_the_eigenspaces(g, m):
    prompts = Multitasking(g, m).single
    target = prompts.Y.reshape(-1, g, m)
    written = target.any(-1, keepdims=True) + np.zeros(m)
    shown = np.eye(m)[prompts.stimuli]
    arrays = {ADDRESSED: written, READ: written * (target - 1 / m),
              POOLED: (shown - 1 / m).sum(1)[:, None] + np.zeros((g, 1))}  # fmt: skip
    parts = {}
    for name, mode in ENV.modes.items():
        at = sp.lambdify(list(arrays), mode.subs({G: g, M: m}))
        parts[name] = at(*arrays.values()) + np.zeros(target.shape)
    np.testing.assert_allclose(sum(parts.values()), target, atol=1e-14)
    # Means over tasks (axis 0) and over stimuli (axis 1) tell the modes apart.
    table = {name: part.reshape(g * g, -1, g, m) for name, part in parts.items()}
    for name, part in table.items():
        over_tasks, over_stimuli = part.mean(0), part.mean(1)
        assert np.allclose(over_tasks, 0, atol=1e-14) == (name[1] == "c")
        assert np.allclose(over_stimuli, 0, atol=1e-14) == (name[0] == "1")


@pytest.mark.parametrize(("g", "m"), SIZES)
def test_the_scheme_counts_related_prompts(g, m):
    X, scheme = Multitasking(g, m).single.X, ENV.scheme.with_values({G: g, M: m})
    agree, same = X[:, : g * m] @ X[:, : g * m].T, X[:, g * m :] @ X[:, g * m :].T
    for a, d in scheme.relations:
        assert (((agree == a) & (same == d)).sum(1) == scheme.valency((a, d))).all()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: Multitasking(G, 1), InvalidArgument, "'features' .* at least 2"),
        (lambda: Multitasking(1, M), InvalidArgument, "'groups' .* at least 2"),
        (lambda: Multitasking(G, 2.5), InvalidArgument, "'features'"),
        (lambda: Multitasking(G, True), InvalidArgument, "'features'"),
        (lambda: Multitasking(sp.Symbol("x", negative=True), 2), InvalidArgument, "'groups'"),
        (lambda: Multitasking(sp.Symbol("x", integer=False), 2), InvalidArgument, "'groups'"),
        (lambda: Multitasking(3, M).at_once(4), InvalidArgument, "at most the number of groups, 3"),
        (lambda: ENV.at_once(G + 1), InvalidArgument, "more tasks would share"),
        (lambda: ENV.set_count(0), InvalidArgument, "'K' .* at least 1"),
        (lambda: ENV.prompt_count("2"), InvalidArgument, "'K'"),
        (lambda: ENV.with_values({G: 3}), MissingValues, "M has none"),
        (lambda: ENV.with_values({G: 3, M: sp.Rational(5, 2)}), MissingValues, "integers"),
        (lambda: ENV.with_values({G: 3, M: 1}), InvalidArgument, "'features'"),
        (lambda: ENV.with_values([3, 3]), InvalidArgument, "must map symbols"),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_relations_have_symbols_of_their_own():
    assert {q.name for q in (ENV.matched, ENV.same, ENV.tasks_at_once)} == {
        "m_matched", "same_task", "K_at_once"
    }  # fmt: skip
    assert ENV.at_once(K) == K
    assert Multitasking(3, 3).symbolic.scheme.items == 243
    assert Multitasking(3, 3).symbolic.matched == ENV.matched
