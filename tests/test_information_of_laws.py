"""Information along every law of a linear layer, against weights that were integrated."""

from __future__ import annotations

import numpy as np
import pytest

import symkernel as sk
from symkernel.errors import InvalidArgument, OutsideValidity
from symkernel.simulation.flow import integrate_flow

LN2 = np.log(2)
LINEAR = (
    "aligned_modes", "gram_diagonal", "deep_modes", "single_unit", "lambda_balanced",
    "two_eigenvalues", "diagonal_network", "memoryless_gram", "reduced_flow",
)  # fmt: skip
GATED, BENT = ("gated_modes", "neural_race"), ("frozen_kernel", "relinearised")


def test_every_law_of_the_catalogue_is_here():
    assert {law.name for law in sk.catalogue()} == {*LINEAR, *GATED, *BENT}


def drawn(name, seed=0):
    """A random problem of the class, of a linear one with three inputs or more, and times."""
    law = sk.catalogue()[name]
    stream = np.random.default_rng(seed)
    problem = law.draw(stream)
    while name in LINEAR and problem.network.inputs < 3:
        problem = law.draw(stream)
    tasks = [phase.task for phase in problem.curriculum.phases]
    fastest = max(np.abs(task.Syx).max() + np.abs(task.Sxx).max() for task in tasks)
    start = max(float(np.abs(array).max()) ** 2 for array in problem.weights.arrays.values())
    times = np.array([0.0, 0.3, 1.0]) / (fastest * (1 + start))
    parts = problem.network, problem.curriculum, problem.weights
    return problem, sk.derive(*parts, law=name, loss=problem.loss), times


def maps(problem, times, layer):
    """The map from inputs to the layer, of weights that were integrated as they are."""
    weights = integrate_flow(problem, times).weights
    found = []
    for k in range(len(times)):
        held = {name: array[k] for name, array in weights.items()}
        found.append(sk.activity(problem.network, held, np.eye(problem.network.inputs), layer).T)
    return found


def left(C, W, noise, r, known):
    """Variance of input r where h and some inputs are known, and where only these are."""
    inputs = np.eye(len(C))[list(known)]
    found = []
    for rows, spread in ((inputs, 0.0), (np.concatenate([W, inputs]), noise**2)):
        quiet = len(rows) - len(inputs)
        seen = rows @ C @ rows.T + np.diag([spread] * quiet + [0.0] * len(inputs))
        cross = rows @ C[:, r]
        found.append(C[r, r] - (cross @ np.linalg.solve(seen, cross) if len(rows) else 0.0))
    return found


@pytest.mark.parametrize("name", LINEAR)
def test_information_is_that_of_the_integrated_weights(name):
    problem, law, times = drawn(name)
    layer = "output" if name == "diagonal_network" else "hidden"
    path = maps(problem, times, layer)
    noise = 0.3 * max(float(np.sqrt((path[0] ** 2).sum(0).mean())), 1e-3)
    root = np.random.default_rng(1).standard_normal((len(path[0].T),) * 2)
    C = root @ root.T / len(root) + 0.1 * np.eye(len(root))
    asked = {"relevant": 0, "irrelevant": 1, "noise": noise, "layer": layer}
    for marginal in (False, True):
        options = {**asked, "covariance": C, "marginal": marginal}
        shannon = law.information(**options)(times)
        fixed = law.information(**options, family="fixed variance", variance=0.7)(times)
        scalar = law.information(**options, family="scalar variance")(times)
        assert np.allclose(scalar.irrelevant, shannon.irrelevant, rtol=1e-10, atol=1e-10)
        for k, W in enumerate(path):
            for r, side in ((0, "relevant"), (1, "irrelevant")):
                before, after = left(C, W, noise, r, () if marginal else (1 - r,))
                bits = np.log2(before / after) / 2
                assert abs(getattr(shannon, side)[k] - bits) < 1e-8 * max(1, bits)
                used = (before - after) / (1.4 * LN2)
                assert abs(getattr(fixed, side)[k] - used) < 1e-8 * max(1, used)
    two = law.information(**asked, inputs="binary")(times)
    pairs = {**asked, "relevant": [0, 1], "irrelevant": ()}
    classes = law.information(**pairs, inputs="one-hot")(times)
    for k, W in enumerate(path):
        own = np.linalg.norm(W[:, 1]) / noise
        assert abs(two.irrelevant[k] - sk.information.binary(own)) < 1e-8
        apart = np.linalg.norm(W[:, 0] - W[:, 1]) / (2 * noise)
        assert abs(classes.relevant[k] - sk.information.binary(apart)) < 1e-8
        assert classes.irrelevant[k] == 0


def test_deep_networks_have_a_curve_for_every_layer():
    problem, law, times = drawn("deep_modes")
    inputs = problem.network.inputs
    for layer in ("hidden1", "hidden2", "output"):
        path = maps(problem, times, layer)
        size = max(float(np.abs(path[-1]).max()), 1e-3)
        curve = law.information(
            relevant=0, irrelevant=1, noise=size, layer=layer, covariance=np.eye(inputs)
        )
        for W, bits in zip(path, curve(times).relevant, strict=True):
            before, after = left(np.eye(inputs), W, size, 0, (1,))
            assert abs(bits - np.log2(before / after) / 2) < 1e-8


@pytest.mark.parametrize("name", [*GATED, *BENT])
def test_layers_that_are_not_linear_are_refused(name):
    _, law, _ = drawn(name)
    layer = "output" if name in GATED else "hidden"
    words = "gates" if name in GATED else "activation"
    with pytest.raises(OutsideValidity, match=rf"no linear function of the inputs \({words}"):
        law.information(relevant=0, irrelevant=1, noise=0.3, layer=layer)


def test_layers_that_a_law_knows_up_to_a_rotation_are_enough_where_they_come_first():
    """No weights, but the inner products of their columns; of the output the weights are asked."""
    problem, law, times = drawn("two_eigenvalues")
    curve = law.information(
        relevant=0, irrelevant=1, noise=0.3, layer="output",
        covariance=np.eye(problem.network.inputs),
    )  # fmt: skip
    with pytest.raises(OutsideValidity, match="'weights' is not determined"):
        curve(times)


def test_biases_do_not_count():
    net = sk.Network.mlp([2, 5, 1], "linear", bias=True)
    task = sk.Task(np.array([[1.0, 0.5], [-1.0, 2.0], [0.3, 0.1]]), np.array([[1.0], [0.0], [2.0]]))
    w0 = sk.weights.gaussian(net, seed=0)
    law = sk.derive(net, task, w0, law="frozen_kernel")
    times = [0.0, 0.5, 2.0]
    found = law.information(relevant=0, irrelevant=1, noise=1.5, inputs="binary")(times)
    weights = law.compile().weights(times)
    assert np.abs(weights["W1"][-1] - weights["W1"][0]).max() > 0.05
    assert np.abs(weights["b1"][-1]).max() > 0.05
    for k in range(3):
        own = np.linalg.norm(weights["W1"][k, :, 0]) / 1.5
        assert np.isclose(found.relevant[k], sk.information.binary(own))
    assert found.relevant[-1] != pytest.approx(found.relevant[0], rel=1e-3)


# ---- classes


def one_hot(groups):
    """All combinations of one input of each group, and which of each it is."""
    labels = np.stack(np.meshgrid(*map(np.arange, groups), indexing="ij"), -1).reshape(
        -1, len(groups)
    )
    starts = np.concatenate([[0], np.cumsum(groups)])
    X = np.zeros((len(labels), starts[-1]))
    for column, start in zip(labels.T, starts, strict=False):
        X[np.arange(len(X)), start + column] = 1.0
    return X, labels


def law_of_classes():
    """Three classes and four others; first the latter are learned, then the former."""
    X, labels = one_hot([3, 4])
    net = sk.Network.two_layer(inputs=7, hidden=14, outputs=7)
    shape, colour = np.eye(7)[labels[:, 0]], np.eye(7)[3 + labels[:, 1]]
    phases = [sk.Phase(sk.Task(X, colour), 3.0), sk.Phase(sk.Task(X, shape))]
    w0 = sk.weights.semi_orthogonal(net, a=0.05, b=0.05, seed=2)
    return sk.derive(net, sk.Curriculum(phases), w0, law="memoryless_gram")


def test_classes_against_the_estimator_through_a_curriculum():
    law, times = law_of_classes(), [0.0, 3.0, 30.0]
    asked = {"relevant": [0, 1, 2], "irrelevant": [3, 4, 5, 6], "noise": 0.3, "inputs": "one-hot"}
    curve = law.information(**asked)
    found = curve(times)
    assert "I_{K}" in curve.latex()
    assert found.relevant[2] > 2 * found.relevant[1]
    assert found.irrelevant[1] > 1.5 * found.irrelevant[2]
    stream = np.random.default_rng(3)
    labels = np.stack([stream.integers(0, 3, 40_000), stream.integers(0, 4, 40_000)])
    X = np.hstack([np.eye(3)[labels[0]], np.eye(4)[labels[1]]])
    for k, W1 in enumerate(law.compile().weights(times)["W1"]):
        h = X @ W1.T + 0.3 * stream.standard_normal((40_000, 14))
        for label, bits in ((0, found.relevant[k]), (1, found.irrelevant[k])):
            used = sk.usable_information(h, labels[label], given=labels[1 - label])
            assert abs(used.bits - bits) < 0.02
    # From orthogonal groups, whose inner products stay 0, nothing else need be known.
    same = law.information(**asked, marginal=True)
    assert np.allclose(same([0.0]).relevant, found.relevant[0])


def test_what_is_no_integral_is_refused():
    law = law_of_classes()
    groups = {"relevant": [0, 1, 3], "irrelevant": [4, 5]}
    with pytest.raises(
        OutsideValidity, match="about 3 classes is a one-dimensional integral where"
    ):
        law.information(**groups, noise=0.3, inputs="one-hot")([0.0, 2.0])
    net = sk.Network.two_layer(inputs=4, hidden=5, outputs=1)
    task = sk.Task(np.eye(4), np.ones((4, 1)))
    mixed = sk.derive(net, task, sk.weights.gaussian(net, seed=0), law="reduced_flow")
    for inputs, one, other in (("binary", 0, 1), ("one-hot", [0, 1], [2, 3])):
        asked = {"relevant": one, "irrelevant": other, "noise": 0.3, "inputs": inputs}
        assert (mixed.information(**asked)([0.0]).relevant > 0).all()
        with pytest.raises(OutsideValidity, match="The marginal information is that of a mixture"):
            mixed.information(**asked, marginal=True)([0.0])


def test_the_marginal_of_two_values_where_others_are_orthogonal():
    net = sk.Network.two_layer(inputs=3, hidden=4, outputs=1)
    w0 = sk.weights.semi_orthogonal(net, a=0.2, b=0.2)
    law = sk.derive(net, sk.Task(np.eye(3), np.ones((3, 1))), w0)
    asked = {"relevant": 0, "irrelevant": 1, "noise": 0.3, "inputs": "binary"}
    both = [law.information(**asked, marginal=m)([0.0]).relevant for m in (False, True)]
    assert np.array_equal(*both)
    with pytest.raises(OutsideValidity, match="that of a mixture"):
        law.information(**asked, marginal=True)([0.0, 1.0])


# ---- relative noise


def test_relative_noise_is_that_of_the_estimator():
    """Its size is a share of the units' root mean square deviation, for every kind of inputs."""
    law, times = law_of_classes(), [0.0, 3.0]
    relative = sk.analysis.Noise("relative", 0.4)
    groups = {"relevant": [0, 1, 2], "irrelevant": [3, 4, 5, 6]}
    stream = np.random.default_rng(5)
    labels = np.stack([stream.integers(0, 3, 60_000), stream.integers(0, 4, 60_000)])
    shown = {
        "one-hot": (np.hstack([np.eye(3)[labels[0]], np.eye(4)[labels[1]]]), groups),
        "binary": (2.0 * stream.integers(0, 2, (60_000, 7)) - 1, {"relevant": 0, "irrelevant": 4}),
        "gaussian": (stream.standard_normal((60_000, 7)), {"relevant": 0, "irrelevant": 4}),
    }
    for inputs, (X, asked) in shown.items():
        own = {"covariance": np.eye(7)} if inputs == "gaussian" else {}
        curve = law.information(**asked, noise=relative, inputs=inputs, **own)
        assert "relative noise 0.4" in repr(curve)
        for k, W1 in enumerate(law.compile().weights(times)["W1"]):
            size = 0.4 * float(np.sqrt((X @ W1.T).var(0).mean()))
            one = law.information(**asked, noise=size, inputs=inputs, **own)(times)
            assert np.isclose(curve(times).irrelevant[k], one.irrelevant[k], rtol=0.02)
    with pytest.raises(InvalidArgument, match="'noise' must be absolute or relative"):
        law.information(**groups, noise=sk.analysis.Noise("none"))


def test_relative_noise_of_classes_over_all_their_combinations():
    """Exactly: one input of each group is 1, which makes those of a group vary against another."""
    law, times = law_of_classes(), [0.0, 3.0]
    asked = {"relevant": [0, 1, 2], "irrelevant": [3, 4, 5, 6], "inputs": "one-hot"}
    curve = law.information(**asked, noise=sk.analysis.Noise("relative", 0.4))(times)
    X, _ = one_hot([3, 4])
    for k, W1 in enumerate(law.compile().weights(times)["W1"]):
        size = 0.4 * float(np.sqrt((X @ W1.T).var(0).mean()))
        one = law.information(**asked, noise=size)(times)
        assert curve.relevant[k] == pytest.approx(one.relevant[k], rel=1e-9)
        assert curve.irrelevant[k] == pytest.approx(one.irrelevant[k], rel=1e-9)


def test_a_layer_that_is_silent_tells_nothing_under_relative_noise():
    net = sk.Network.two_layer(inputs=2, hidden=2, outputs=1)
    w0 = sk.weights.from_arrays(net, [np.zeros((2, 2)), np.ones((1, 2))])
    law = sk.derive(net, sk.Task(np.eye(2), np.ones((2, 1))), w0, law="reduced_flow")
    noise = sk.analysis.Noise("relative", 0.3)
    found = law.information(relevant=0, irrelevant=1, noise=noise)([0.0, 1.0])
    assert found.relevant[0] == 0 < found.relevant[1]


# ---- refusals


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layer": "hidden7"}, "The network has no node 'hidden7'"),
        ({"layer": None}, "The network has no node None"),
        ({"family": "diagonal"}, "'family' must be one of"),
        ({"family": "fixed variance"}, "'variance' must be given"),
        ({"variance": 0.5}, "for no other, not 0.5"),
        ({"family": "fixed variance", "variance": -1}, "'variance' must be a finite positive"),
        ({"family": "fixed variance", "variance": np.inf}, "'variance' must be a finite positive"),
        ({"family": "fixed variance", "variance": 1j}, "'variance' must be"),
        ({"marginal": 1}, "'marginal' must be True or False, not 1"),
        ({"marginal": None}, "'marginal' must be True or False"),
        ({"inputs": "binary", "covariance": np.eye(7)}, "must be left out for binary inputs"),
        ({"inputs": "one-hot", "family": "scalar variance"}, "left out for one-hot inputs"),
        ({"inputs": "one-hot"}, "must each name two or more different inputs, 0 to 6"),
        ({"inputs": "one-hot", "relevant": [0, 0]}, "two or more different inputs"),
        ({"inputs": "one-hot", "relevant": [0, 7]}, "two or more different inputs"),
        ({"inputs": "one-hot", "relevant": [0, True]}, "two or more different inputs"),
        ({"inputs": "one-hot", "relevant": "ab"}, "two or more different inputs"),
        (
            {"inputs": "one-hot", "relevant": [0, 1], "irrelevant": [1, 3]},
            "must name different inputs, but both hold 1",
        ),
    ],
)
def test_what_is_asked_for_is_checked(options, words):
    law = law_of_classes()
    with pytest.raises(InvalidArgument, match=words):
        law.information(**{"relevant": 0, "irrelevant": 1, "noise": 0.2, **options})([0.0, 1.0])


# ---- documents


def test_a_curve_is_exported_with_the_law_that_it_follows(tmp_path):
    task = sk.Task.from_modes([2.0, 1.0])
    net = sk.Network.two_layer(inputs=2, hidden=3, outputs=2)
    law = sk.derive(net, task, sk.weights.aligned(net, task, a=0.1, b=0.3))
    asked = {"relevant": 0, "irrelevant": 1, "noise": 0.3, "family": "scalar variance"}
    path = law.information(**asked).save_latex(tmp_path / "curve.tex")
    text = path.read_text(encoding="utf-8")
    assert text.startswith(r"\documentclass")
    assert "along the law aligned\\_modes" in text
    assert "V-information, scalar variance" in text
    assert r"\operatorname{tr}" in text
    assert "all climbed rungs passed" in text
    other = sk.information.shared_readout_memory().save_latex(tmp_path / "shared.tex", {"s": "S"})
    assert r"\sinh" in other.read_text(encoding="utf-8")
    assert sk.information.shared_readout_memory().check().passed
