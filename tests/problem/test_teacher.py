"""Tasks of fresh samples: what they know without a sample."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel import Network, Task
from symkernel import weights as initial
from symkernel.errors import InvalidArgument, MissingValues, ShapeMismatch
from symkernel.nodes import Apply, Gate, Input, Parameter
from symkernel.problem.problem import Problem
from symkernel.simulation.batches import labelled
from symkernel.simulation.flow import integrate_flow
from tests.oracles.networks import EXAMPLES
from tests.oracles.numpy_descent import value

C = np.array([[2.0, 0.5, 0.0, 0.0], [0.5, 1.0, 0.0, 0.0], [0, 0, 3.0, 0], [0, 0, 0, 0]])


def linear_teacher(**how):
    net = EXAMPLES["linear tree"]()
    rng = np.random.default_rng(1)
    w = initial.from_arrays(net, {p.name: rng.normal(size=p.shape) for p in net.parameters})
    return net, w, Task.from_teacher(net, w, **how)


def test_moments_of_a_linear_teacher():
    net, w, task = linear_teacher(noise=0.3, covariance=C)
    A = value(net.output, w.arrays, np.eye(4), {}).T
    np.testing.assert_allclose(task.Sxx, C)
    np.testing.assert_allclose(task.Syx, A @ C, atol=1e-12)
    np.testing.assert_allclose(task.Syy, A @ C @ A.T + 0.09 * np.eye(2), atol=1e-12)
    assert task.X is None
    assert linear_teacher()[2].Sxx.tolist() == np.eye(4).tolist()


def test_samples_have_the_moments():
    _, _, task = linear_teacher(covariance=C)
    X, Y = labelled(task.teacher, np.random.default_rng(3), 40_000)
    # Second moments of 40000 samples are within 5 standard deviations, some 5 sqrt(2 / 40000).
    for found, wanted in ((X.T @ X, task.Sxx), (Y.T @ X, task.Syx), (Y.T @ Y, task.Syy)):
        np.testing.assert_allclose(found / len(X), wanted, atol=0.036 * np.abs(task.Syy).max())
    np.testing.assert_array_equal(X[:, 3], 0)


def test_a_nonlinear_teacher_has_sizes_and_no_moments():
    net = Network.two_layer(5, 3, 2, "erf")
    task = Task.from_teacher(net, initial.gaussian(net), noise=0.5)
    assert (task.inputs, task.outputs, task.is_numeric, task.Syx) == (5, 2, True, None)
    assert task.free_symbols == set()
    (line,) = task.history
    assert "drawn anew" in line
    assert "noise 0.5" in line
    student = Network.two_layer(5, 4, 2, "erf")
    problem = Problem(student, task, initial.gaussian(student))
    assert problem.is_numeric
    assert any("drawn anew" in text for text in problem.conventions)


def test_a_linear_teacher_has_laws():
    net = Network.two_layer(3, 3, 3)
    task = Task.from_teacher(net, initial.gaussian(net, seed=4))
    w0 = initial.aligned(net, task, a=0.2, b=0.2)
    law = sk.derive(net, task, w0).compile()([0.0, 1.0])
    flow = integrate_flow(Problem(net, task, w0), [0.0, 1.0])
    np.testing.assert_allclose(law.weights["W1"], flow.weights["W1"], atol=1e-10)


def gated():
    return Network.build(Gate("g", Input(3)))


def plain():
    return Network.mlp([3, 2])


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"teacher": "net"}, InvalidArgument, "'teacher'"),
        ({"teacher": gated()}, InvalidArgument, "gates"),
        ({"teacher": Network.mlp([3, sp.Symbol("n", integer=True)])}, MissingValues, "'teacher'"),
        ({"weights": np.eye(3)}, InvalidArgument, "'weights'"),
        ({"weights": initial.gaussian(Network.mlp([3, 3]))}, ShapeMismatch, "W1"),
        ({"weights": initial.gaussian(Network.mlp([3, 2, 2]))}, ShapeMismatch, "W1"),
        ({"noise": -0.1}, InvalidArgument, "'noise'"),
        ({"noise": np.nan}, InvalidArgument, "'noise'"),
        ({"noise": np.inf}, InvalidArgument, "'noise'"),
        ({"noise": 1j}, InvalidArgument, "'noise'"),
        ({"noise": True}, InvalidArgument, "'noise'"),
        ({"noise": False}, InvalidArgument, "'noise'"),
        ({"noise": "1"}, InvalidArgument, "'noise'"),
        ({"noise": None}, InvalidArgument, "'noise'"),
        ({"covariance": np.eye(2)}, ShapeMismatch, "'covariance'"),
        ({"covariance": np.ones(3)}, ShapeMismatch, "'covariance'"),
        ({"covariance": []}, InvalidArgument, "'covariance'"),
        ({"covariance": np.diag([1, 1, -1])}, InvalidArgument, "'covariance'"),
        ({"covariance": np.triu(np.ones((3, 3)))}, InvalidArgument, "'covariance'"),
        ({"covariance": np.diag([1, 1, np.nan])}, InvalidArgument, "'covariance'"),
        ({"covariance": 1j * np.eye(3)}, InvalidArgument, "'covariance'"),
        ({"covariance": "eye"}, InvalidArgument, "'covariance'"),
    ],
)
def test_wrong_teachers(change, error, says):
    given = {"teacher": plain(), "weights": initial.gaussian(plain())}
    with pytest.raises(error, match=says):
        Task.from_teacher(**{**given, **change})


def test_weights_with_symbols_need_values():
    net = Network.two_layer(2, 2, 2)
    w = initial.aligned(net, Task.from_modes([2, 1]), a=sp.Symbol("a"), b=1)
    with pytest.raises(MissingValues):
        Task.from_teacher(net, w)


def test_fresh_samples_cannot_be_transformed():
    _, _, task = linear_teacher()
    for verb in (task.centred, task.whitened):
        with pytest.raises(InvalidArgument, match="samples"):
            verb()


def test_a_network_of_another_size_does_not_fit():
    _, _, task = linear_teacher()
    net = Network.two_layer(3, 4, 2)
    with pytest.raises(ShapeMismatch, match="4"):
        sk.simulate(net, task, initial.gaussian(net), 0.1, steps=1, batch_size=1)


def test_teacher_may_be_any_expression():
    x = Input(3)
    net = Network.build(Apply("tanh", Parameter("A", (2, 3)) @ x) + x[0:2])
    w = initial.gaussian(net, seed=2)
    X, Y = labelled(Task.from_teacher(net, w).teacher, np.random.default_rng(0), 6)
    np.testing.assert_allclose(Y, value(net.output, w.arrays, X, {}), rtol=1e-12)
