from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import symkernel as sk
from symkernel.errors import InvalidArgument, MissingValues, ShapeMismatch
from symkernel.nodes import Gate, Input, Parameter
from symkernel.problem.automorphisms import Table, automorphisms, orbits

ENV = sk.environments.Multitasking(groups=3, features=3)
NET = ENV.network(hidden=4)


def brute_force(values, kinds):
    """All permutations of columns, within kinds, after which the rows are the same as a set."""
    found = []
    for permutation in itertools.permutations(range(values.shape[1])):
        moved = np.empty_like(values)
        moved[:, permutation] = values
        same = sorted(map(tuple, values)) == sorted(map(tuple, moved))
        if same and (kinds[list(permutation)] == kinds).all():
            found.append(permutation)
    return found


@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 9))
def test_the_group_is_that_of_all_permutations_tried_one_by_one(seed, columns, rows):
    stream = np.random.default_rng(seed)
    values = np.unique(stream.integers(0, 2, (rows, columns)), axis=0)
    kinds = np.sort(stream.integers(0, 2, columns))
    table = Table(values, np.zeros(len(values), dtype=int), kinds)
    every = brute_force(values, kinds)
    found = automorphisms(table)
    assert all(p in every and table.is_automorphism(np.array(p)) for p in found)
    group = sp.combinatorics.PermutationGroup(
        [sp.combinatorics.Permutation(list(p)) for p in found]
        or [sp.combinatorics.Permutation(columns - 1)]
    )
    assert group.order() == len(every)
    assert 2 ** len(found) <= max(len(every), 1)


@settings(max_examples=10)
@given(st.integers(0, 10**6))
def test_orbits_are_those_of_the_group(seed):
    stream = np.random.default_rng(seed)
    moves = [stream.permutation(12) if k else np.roll(np.arange(12), 4) for k in range(2)]
    for chosen in ([], moves[:1], moves):
        label = orbits(chosen, 12)
        joined = {frozenset({k}) for k in range(12)}
        for _ in range(12):
            for move in chosen:
                for k in range(12):
                    one, other = (next(s for s in joined if x in s) for x in (k, int(move[k])))
                    joined = (joined - {one, other}) | {one | other}
        assert {frozenset(np.flatnonzero(label == k).tolist()) for k in set(label)} == joined


@pytest.mark.parametrize(("G", "M"), [(2, 2), (2, 3), (3, 3), (4, 2), (3, 5), (5, 2)])
def test_groups_of_both_sides_and_features_are_found_and_told_apart(G, M):
    env = sk.environments.Multitasking(G, M)
    found = sk.symmetries(env.network(hidden=3), env.single.task)
    assert found.order == math.factorial(G) ** 2 * math.factorial(M)
    assert found.is_product
    orders = {name: one.order for name, one in found.factors.items()}
    assert orders == {
        "W_s": math.factorial(G), "W_t": math.factorial(M), "output": math.factorial(G)
    }  # fmt: skip
    responses = found.factors["W_s"]
    tasks = [{G * M + i * G + j for j in range(G)} for i in range(G)]
    units = [{env.inputs + j * M + v for j in range(G)} for v in range(M)]
    assert {frozenset(one) for one in responses.orbits} == {frozenset(s) for s in tasks + units}


def test_a_part_may_be_named_by_a_weight_by_numbers_or_by_a_slice():
    found = sk.symmetries(NET, ENV.single.task)
    for what in ("W_s", slice(9), range(9), np.arange(9), [0, 4, 8], ["W_s"]):
        assert found.fixing(what).order == 6
    assert found.fixing(["W_s", "output"]).order == 1
    assert found.fixing([]) is found
    # One feature of one group stays: the other groups and features may change places.
    assert found.fixing(0).order == 2 * 6 * 2
    assert "fixing 'W_s': order 6" in repr(found)
    assert "direct product" in repr(found)


def test_every_phase_counts_and_so_do_weights_of_samples_and_slices():
    both = ENV.curriculum("single, concurrent", 20.0)
    assert sk.symmetries(NET, both).order == 216
    some = ENV.prompts([(0,), (1,), (4,)]).task
    course = sk.Curriculum([sk.Phase(ENV.single.task, 1.0), sk.Phase(some)])
    assert 1 < sk.symmetries(NET, course).order < 216
    net = sk.Network.two_layer(3, 2, 3)
    assert sk.symmetries(net, sk.Task(np.eye(3), np.eye(3))).order == 6
    uneven = sk.Task(np.eye(3), np.eye(3), sample_weights=np.array([0.5, 0.25, 0.25]))
    assert sk.symmetries(net, uneven).order == 2
    # A sample given twice has twice the weight.
    twice = sk.Task(np.eye(3)[[0, 0, 1, 2]], np.eye(3)[[0, 0, 1, 2]])
    assert sk.symmetries(net, twice).order == 2
    x = Input(3)
    sliced = sk.Network.build(Parameter("A", (3, 1)) @ x[:1] + Parameter("B", (3, 2)) @ x[1:])
    assert sk.symmetries(sliced, sk.Task(np.eye(3), np.eye(3))).order == 2


def test_inputs_and_outputs_are_called_by_their_labels():
    labels = {"inputs": ["robin", "oak", "salmon"], "outputs": ["fly", "grow", "swim"]}
    task = sk.Task(np.eye(3), np.eye(3), labels)
    found = sk.symmetries(sk.Network.two_layer(3, 2, 3), task)
    assert "{robin oak salmon}, {fly grow swim}" in repr(found)
    task = sk.Task(np.eye(3), np.eye(3))
    assert "{x0 x1 x2}, {y0 y1 y2}" in repr(sk.symmetries(sk.Network.two_layer(3, 2, 3), task))


def test_named_permutations_generate_a_subgroup():
    turn = [[1, 2, 0], [1, 2, 0]]
    task = sk.Task(np.eye(3), np.eye(3))
    found = sk.symmetries(sk.Network.two_layer(3, 2, 3), task, generators=[turn])
    assert found.order == 3
    assert found.fixing(0).order == 1


def test_there_may_be_none():
    stream = np.random.default_rng(0)
    task = sk.Task(stream.standard_normal((5, 3)), stream.standard_normal((5, 2)))
    found = sk.symmetries(sk.Network.two_layer(3, 4, 2), task)
    assert found.order == 1
    assert found.orbits == ()
    assert dict(found.factors) == {}


SYMBOLIC = sk.Network.two_layer(sp.Symbol("n", integer=True, positive=True), 2, 3)
GATED = sk.Network.build(Gate("g", Parameter("A", (9, 18)) @ Input(18)))
EYE = sk.Task(np.eye(3), np.eye(3))
SMALL = sk.Network.two_layer(3, 2, 3)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: sk.symmetries("net", EYE), InvalidArgument, "'net' must be a Network"),
        (lambda: sk.symmetries(SMALL, [1]), InvalidArgument, "Task or a Curriculum"),
        (lambda: sk.symmetries(SYMBOLIC, EYE), MissingValues, "with numbers"),
        (lambda: sk.symmetries(GATED, ENV.single.task), InvalidArgument, "without gates"),
        (lambda: sk.symmetries(NET, EYE), ShapeMismatch, "must agree"),
        (
            lambda: sk.symmetries(SMALL, sk.Task.from_moments(np.eye(3), np.eye(3), np.eye(3))),
            InvalidArgument,
            "with samples",
        ),
        (
            lambda: sk.symmetries(SMALL, sk.Task.from_modes(sp.symbols("a b", positive=True))),
            InvalidArgument,
            "with samples",
        ),
        (lambda: sk.symmetries(SMALL, EYE, generators=3), InvalidArgument, "sequence of pairs"),
        (lambda: sk.symmetries(SMALL, EYE, generators=[3]), InvalidArgument, "hold pairs"),
        (
            lambda: sk.symmetries(SMALL, EYE, generators=[([0, 1, 1], [0, 1, 2])]),
            InvalidArgument,
            "permutations of 3 inputs",
        ),
        (
            lambda: sk.symmetries(SMALL, EYE, generators=[([0, 1, np.nan], [0, 1, 2])]),
            InvalidArgument,
            "must be finite",
        ),
        (
            lambda: sk.symmetries(SMALL, EYE, generators=[([1, 0, 2], [0, 1, 2])]),
            InvalidArgument,
            "entry 0 does not map the samples",
        ),
        (lambda: sk.symmetries(NET, ENV.single.task).fixing("W_2"), InvalidArgument, "W_s, W_t"),
        (lambda: sk.symmetries(NET, ENV.single.task).fixing(18), InvalidArgument, "0 to 17"),
        (lambda: sk.symmetries(NET, ENV.single.task).fixing(1.5), InvalidArgument, "not 1.5"),
        (lambda: sk.symmetries(NET, ENV.single.task).fixing([True]), InvalidArgument, "not True"),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
