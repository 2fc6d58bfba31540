"""What holds of every pseudo-kernel: any width, symmetry, and that gradient descent obeys it."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

import symkernel as sk
from symkernel.codegen.matrix_nodes import InnerProduct
from symkernel.nodes import Apply, Input, Parameter
from symkernel.testing import numerical
from tests.oracles import forward_pass
from tests.theory.kernels import (
    DRAWN,
    TOLERANCE,
    H,
    I,
    O,
    call,
    error,
    oracle,
    shared_net,
    two_pathways,
    without_numba,
)

# ---- sizes


@pytest.mark.parametrize("activation", ["linear", "tanh"])
@pytest.mark.parametrize("parameterisation", ["standard", "ntk"])
def test_formula_does_not_depend_on_width(activation, parameterisation):
    formulas = [
        sk.ntk(sk.Network.mlp([7, n, n + 1, 3], activation, True, parameterisation))
        for n in (8, 8192, H)
    ]
    assert len({skeleton(f.expression) for f in formulas}) == 1
    assert len({tuple((str(s), skeleton(m)) for s, m in f.where) for f in formulas}) == 1
    assert len({f.compile().source for f in formulas[:2]}) == 1
    if parameterisation == "standard":
        assert len({f.latex() for f in formulas}) == 1
        assert len({sp.count_ops(f.expression) for f in formulas[:2]}) == 1
        assert len({f.compile().source for f in formulas}) == 1


def skeleton(e):
    """Return the operations of an expression, without sizes and numbers."""
    if isinstance(e, sp.MatrixSymbol):
        return e.name
    parts = [a for a in e.args if getattr(a, "is_Matrix", False) or a.has(InnerProduct)]
    return (type(e).__name__, *map(skeleton, parts))


def test_symbolic_sizes_are_read_off_the_arrays():
    net = sk.Network.two_layer(I, H, O, "tanh", parameterisation="ntk")
    d = numerical(sk.Network.two_layer(3, 4, 2, "tanh", parameterisation="ntk"), seed=1000)
    got = sk.pseudo_kernel(net).compile()(d.X, d.X2, d.weights)
    assert error(got, oracle(d, "hidden", "output")) < TOLERANCE


def test_formula_grows_with_nodes_not_with_paths():
    """A chain of k skips has 2^k paths; formula and definitions grow in proportion to k."""

    def length(k):
        v = Input(I)
        for layer in range(k):
            v = Apply("tanh", Parameter(f"W{layer}", (I, I)) @ v) + v
        formula = sk.ntk(sk.Network.build(v))
        return len(formula.expression.args), sum(len(str(m)) for _, m in formula.where)

    terms, text = zip(*(length(k) for k in (4, 8, 16)), strict=True)
    assert terms == (4, 8, 16)
    assert text[2] < 2.5 * text[1]


# ---- structure


@given(DRAWN, st.integers(0, 2**32 - 1))
def test_ntk_is_symmetric_and_positive_semidefinite(d, seed):
    stream = np.random.default_rng(seed)
    X = stream.standard_normal((4, d.X.shape[1]))
    gates = {name: stream.standard_normal((4, v.shape[1])) for name, v in d.gates.items()}
    K = without_numba(sk.ntk(d.net))(X, None, d.weights, gates)
    matrix = K.reshape(4 * K.shape[1], -1)
    largest = max(1.0, np.abs(matrix).max())
    assert np.abs(matrix - matrix.T).max() <= 1e-13 * largest
    assert np.linalg.eigvalsh(matrix).min() >= -1e-13 * largest * len(matrix)


@given(DRAWN)
def test_exchange_of_nodes_transposes(d):
    if "hidden" not in d.net.nodes:
        return
    forward = call(without_numba(sk.pseudo_kernel(d.net, "hidden", "output")), d)
    swapped = exchanged(d)
    backward = call(without_numba(sk.pseudo_kernel(d.net, "output", "hidden")), swapped)
    assert error(forward, backward.transpose(2, 3, 0, 1)) < TOLERANCE


def exchanged(d):
    return type(d)(net=d.net, weights=d.weights, X=d.X2, X2=d.X, gates=d.gates2, gates2=d.gates)


# ---- gradient descent obeys it


@pytest.mark.parametrize(
    ("net", "of"), [(shared_net(), "hidden"), (shared_net(), "first"), (two_pathways(), "output")]
)
def test_gradient_step_moves_node_by_pseudo_kernel(net, of):
    r"""$p(\eta) - p(0) + \eta \sum_i K_{p,f} \partial L/\partial f_i$ falls as $\eta^2$."""
    d = numerical(net, seed=1001, samples=(6, 6))
    Y = np.random.default_rng(1002).standard_normal((6, int(net.outputs)))

    gates = [{name: v[i] for name, v in d.gates.items()} for i in range(6)]

    def at(weights, name):
        passes = (forward_pass.values(net, x, weights, g) for x, g in zip(d.X, gates, strict=True))
        return np.stack([found[net.nodes[name]].real for found in passes])

    complex_ = {name: w.astype(complex) for name, w in d.weights.items()}
    slope = (at(complex_, "output") - Y) / len(Y)
    gradient = {p.name: 0.0 for p in net.parameters if p.trained}
    for i, x in enumerate(d.X):
        for name, J in forward_pass.jacobians(net, net.output, x, d.weights, gates[i]).items():
            gradient[name] = gradient[name] + (slope[i] @ J).reshape(d.weights[name].shape)
    K = without_numba(sk.pseudo_kernel(net, of))(d.X, None, d.weights, d.gates)
    predicted = -np.einsum("ipjq,jq->ip", K, slope)
    rates = 10.0 ** np.arange(-5, -2.4, 0.5)
    errors = [
        np.abs(
            at({n: w - eta * gradient.get(n, 0.0) for n, w in complex_.items()}, of)
            - at(complex_, of)
            - eta * predicted
        ).max()
        for eta in rates
    ]
    order = np.polyfit(np.log(rates), np.log(errors), 1)[0]
    assert np.abs(predicted).max() > 0.01
    assert abs(order - 2) < 0.05
