"""Problems from files: what is read, and files that are changed at random."""

from __future__ import annotations

import copy
import json
import math
import tomllib

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import symkernel as sk
from symkernel import notation
from symkernel.errors import SymkernelError
from tests.problem_file.samples import BASE, X, Y


def same(one, two):
    return np.array_equal(one.X, two.X) and np.array_equal(one.Y, two.Y)


# ---- what is read


def test_symbols_values_and_options(load):
    file = load()
    s1, a = (sp.Symbol(name, positive=True) for name in ("s1", "a"))
    assert [mode.s for mode in file.problem.curriculum.phases[0].task.modes] == [s1, sp.S.Half]
    assert file.problem.weights.amplitudes.b == (a, sp.Rational(3, 10))
    assert file.problem.loss.factor == sp.Rational(1, 4)
    assert file.values == {s1: 2, a: sp.Rational(1, 10)}
    assert file.latex_names == {"s1": r"\sigma_1", "s": r"\sigma"}
    assert file.simulation["learning_rate"] == 0.01
    assert file.simulation["record"].tolist() == [0, 0.5, 1.5]
    assert [claim.observable for claim in file.claims] == [("mode", 0), "loss"]
    assert file.claims[0].formula == 2 * notation.t + sp.Rational(1, 10)
    assert file.numeric.is_numeric
    p = file.problem
    assert r"\sigma" in sk.derive(p.network, p.curriculum, p.weights).latex(names=file.latex_names)


def test_csv_and_npz_hold_the_same(load):
    weights = '{ kind = "gaussian" }'
    csv = load(task='{ X = "x.csv", Y = "y.csv" }', weights=weights).problem
    npz = load(task='{ X = "d.npz:X", Y = "d.npz:Y" }', weights=weights).problem
    one, two = csv.curriculum.phases[0].task, npz.curriculum.phases[0].task
    assert same(one, two)
    assert same(one, sk.Task(X, Y))
    assert one.labels["outputs"] == ("left", "right")


def test_steps_are_recorded(load):
    steps = '["centre", { step = "whiten", components = 1 }]'
    file = load(
        network='{ kind = "mlp", sizes = [1, 4, 4, 2], bias = true, parameterisation = "ntk" }',
        task=f'{{ X = "x.csv", Y = "y.csv", steps = {steps} }}',
        weights='{ kind = "gaussian", scale = "1/2", seed = 2 }',
    )
    expected = sk.Task(X, Y).centred().whitened(1)
    found = file.problem.curriculum.phases[0].task
    assert same(found, expected)
    assert [note.split(":")[0] for note in found.history] == ["centred", "whitened"]
    drawn = sk.weights.gaussian(file.problem.network, 0.5, 2)
    assert all(
        np.array_equal(drawn.arrays[p], file.problem.weights.arrays[p]) for p in drawn.arrays
    )


def test_moments_environments_and_arrays(load, tmp_path):
    np.savez(tmp_path / "m.npz", Sxx=np.eye(2), Syx=np.eye(2) / 2, Syy=np.eye(2))
    np.savetxt(tmp_path / "W1.csv", np.ones((3, 2)), delimiter=",")
    np.savetxt(tmp_path / "W2.csv", np.ones((2, 3)), delimiter=",")
    np.savetxt(tmp_path / "b1.csv", np.arange(3.0), delimiter=",")
    np.savetxt(tmp_path / "b2.csv", np.arange(2.0)[None], delimiter=",")
    moments = '{ Sxx = "m.npz:Sxx", Syx = "m.npz:Syx", Syy = "m.npz:Syy" }'
    file = load(
        network='{ kind = "two_layer", inputs = 2, hidden = 3, outputs = 2, bias = true }',
        task=moments,
        weights='{ kind = "arrays", W1 = "W1.csv", b1 = "b1.csv", W2 = "W2.csv", b2 = "b2.csv" }',
    )
    assert np.array_equal(file.problem.curriculum.phases[0].task.Syx, np.eye(2) / 2)
    assert file.problem.weights.arrays["b1"].tolist() == [0, 1, 2]
    tree = load(
        network='{ kind = "two_layer", inputs = 4, hidden = "2*2", outputs = 7 }',
        task='{ environment = "semantic_hierarchy", branching = 2, depth = 2, whitened = true }',
        weights='{ kind = "balanced", scale = 0.1 }',
    )
    expected = sk.environments.semantic_hierarchy(2, 2, whitened=True)
    assert same(tree.problem.curriculum.phases[0].task, expected)


def test_digits(load):
    pytest.importorskip("sklearn")
    file = load(
        network='{ kind = "two_layer", inputs = 5, hidden = 6, outputs = 10 }',
        task='{ environment = "digits", components = 5, whiten = false }',
        weights='{ kind = "aligned", a = 0.05, b = "0.1" }',
    )
    expected = sk.environments.digits(components=5, whiten=False)
    assert same(file.problem.curriculum.phases[0].task, expected)


def test_phases(load):
    phases = '[{ task = { s = ["s1", 1] }, duration = "3/s1" }, { task = { s = [1, "s1"] } }]'
    file = load(task="", phase=phases)
    assert [str(phase.duration) for phase in file.problem.curriculum.phases] == ["3/s1", "None"]
    assert [phase.duration for phase in file.numeric.curriculum.phases] == [1.5, None]


# ---- fuzz of files: keys deleted, renamed, moved, values of other types

OTHER = [
    None, True, 0, -1, 2**70, 0.5, math.nan, math.inf, "", "s1", "os.system('true')", "9^9^9^9",
    "x.csv", "d.npz:O", "../..", [], [[]], [1, "a"], {}, {"kind": "mlp"}, [{}], "loss",
]  # fmt: skip


def places(data, path=()):
    """Return the paths of all values in nested tables and lists."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in list(items):
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value) if not isinstance(value, float) else repr(value)


def changed(data, choices):
    for draw, change, value in choices:
        found = list(places(data))
        if not found:
            break
        *path, key = found[draw % len(found)]
        parent = data
        for step in path:
            parent = parent[step]
        if change == "delete" or value is None:
            del parent[key]
        elif change == "rename" and isinstance(parent, dict):
            parent[f"{key}s"] = parent.pop(key)
        else:
            parent[key] = copy.deepcopy(value)
    return data


CHANGES = st.lists(
    st.tuples(
        st.integers(0, 10**6),
        st.sampled_from(["delete", "rename", "replace", "replace"]),
        st.sampled_from(OTHER),
    ),
    min_size=1,
    max_size=3,
)
SAMPLES = """
network = { kind = "mlp", sizes = [2, 3, 2], activation = "tanh", bias = true }
task = { X = "x.csv", Y = "y.csv", steps = ["centre", { step = "whiten", components = 2 }] }
weights = { kind = "gaussian", scale = 0.5, seed = 1 }
simulate = { learning_rate = 0.1, steps = 5, batch_size = 2, seed = 1 }
"""


def fuzz(folder, count):
    np.savetxt(folder / "x.csv", X, delimiter=",")
    np.savetxt(folder / "y.csv", Y, delimiter=",")
    np.savez(folder / "d.npz", X=X, Y=Y, O=np.array([{}], dtype=object))

    @settings(max_examples=count, database=None)
    @given(st.sampled_from([BASE, SAMPLES]), CHANGES)
    def run(text, choices):
        data = changed(tomllib.loads(text), choices)
        lines = [f"{json.dumps(key)} = {toml(value)}" for key, value in data.items()]
        (folder / "f.toml").write_text("\n".join(lines))
        try:
            file = sk.load_problem(folder / "f.toml")
            assert file.numeric.is_numeric
        except SymkernelError as error:
            assert "f.toml: " in str(error)  # noqa: PT017

    run()


def test_fuzz(tmp_path):
    fuzz(tmp_path, 200)


@pytest.mark.slow
def test_fuzz_of_thousands(tmp_path):
    fuzz(tmp_path, 1500)
