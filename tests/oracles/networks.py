"""Small networks that use every kind of node, alone and together."""

from __future__ import annotations

import numpy as np
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from symkernel import Network, Task
from symkernel import weights as initial
from symkernel.nodes import Apply, Bias, Gate, Input, Parameter, Sum
from tests.oracles.activations import RECORDS, activations


def affine(name, rows, columns, node, **how):
    return Parameter(f"W{name}", (rows, columns), **how) @ node + Parameter(
        f"b{name}", (rows,), "bias"
    )


def skip():
    x = Input(3)
    hidden = Apply("tanh", affine(1, 5, 3, x))
    return Network.build(
        Parameter("W2", (2, 5)) @ hidden + Parameter("D", (2, 3)) @ x, {"hidden": hidden}
    )


def residual():
    x = Input(3)
    hidden = Apply("tanh", Parameter("W1", (4, 3)) @ x)
    deeper = hidden + Apply("relu", affine(2, 4, 4, hidden))
    return Network.build(Parameter("W3", (2, 4)) @ deeper, {"hidden": deeper})


def slices():
    x = Input(5)
    left = Apply("tanh", Parameter("A", (3, 2)) @ x[0:2])
    right = Apply("erf", Parameter("B", (3, 3)) @ x[2:5])
    hidden = left + right
    out = Parameter("C", (2, 2)) @ hidden[0:2] + hidden[1:3]
    return Network.build(out, {"hidden": hidden})


def gated():
    x = Input(3)
    hidden = Gate("g", Parameter("W1", (4, 3)) @ x)
    deeper = Gate("h", affine(2, 4, 4, hidden))
    return Network.build(Parameter("W3", (2, 4)) @ deeper + Gate("k", x[0:2]), {"hidden": deeper})


def shared():
    x = Input(3)
    W = Parameter("W", (3, 3))
    b = Parameter("b", (3,), "bias")
    first = Apply("tanh", W @ x + b)
    second = Apply("tanh", W @ first + b)
    return Network.build(W @ (second + x) + b, {"hidden": second})


def diagonal():
    x = Input(4)
    u, v = Parameter("u", (4,), "diagonal"), Parameter("v", (4,), "diagonal")
    hidden = Apply("erf", u @ x)
    return Network.build(v @ (u @ hidden) + u @ x[0:4], {"hidden": hidden})


def fixed():
    x = Input(3)
    hidden = Apply("relu", affine(1, 6, 3, x, trained=False))
    deeper = Apply("tanh", Parameter("W2", (4, 6), trained=False, scale=sp.Rational(1, 2)) @ hidden)
    out = Parameter("W3", (2, 4)) @ deeper + Parameter("b3", (2,), "bias", trained=False)
    return Network.build(out, {"hidden": deeper})


def first_layer_only():
    x = Input(3)
    hidden = Apply("tanh", Parameter("W1", (5, 3)) @ x)
    return Network.build(Parameter("W2", (2, 5), trained=False, scale=-2) @ hidden)


def nonlinear_output():
    x = Input(3)
    return Network.build(Apply("tanh", affine(1, 2, 3, Apply("linear", x))))


def twice():
    x = Input(3)
    hidden = Apply("tanh", Parameter("W1", (3, 3)) @ x)
    return Network.build(hidden + hidden + (hidden + x)[0:3], {"hidden": hidden})


def bias_alone():
    x = Input(2)
    hidden = Apply("tanh", Bias(Parameter("b", (3,), "bias", scale=3)))
    return Network.build(Parameter("W", (2, 3)) @ hidden + x)


def linear_tree():
    x = Input(4)
    W1 = Parameter("W1", (3, 4))
    hidden = W1 @ x
    d = Parameter("d", (3,), "diagonal", scale=2)
    out = Parameter("W2", (2, 3)) @ (d @ hidden + W1 @ x) + Parameter("S", (2, 2)) @ x[1:3]
    return Network.build(out, {"hidden": hidden})


def user_made():
    """Activations of every kind of formula, on the output too."""
    x = Input(5)
    hidden = Apply(RECORDS["softplus"], affine(1, 4, 3, x[0:3])) + Apply(
        RECORDS["elu"], affine("s", 4, 2, x[3:5])
    )
    deeper = Gate("g", Apply(RECORDS["gelu"], affine(2, 4, 4, hidden)))
    diagonal = Parameter("d", (4,), "diagonal") @ Apply(RECORDS["leaky relu"], deeper + hidden)
    deepest = Apply(RECORDS["sin"], affine(3, 4, 4, diagonal)) + Apply("sigmoid", hidden)
    out = Apply(RECORDS["cubic"], affine(4, 2, 4, deepest))
    return Network.build(out, {"hidden": deeper})


EXAMPLES = {
    "two layers": lambda: Network.two_layer(3, 5, 2),
    "two layers, tanh": lambda: Network.two_layer(3, 5, 2, "tanh"),
    "two layers, erf, bias": lambda: Network.two_layer(3, 5, 2, "erf", bias=True),
    "two layers, relu": lambda: Network.two_layer(3, 5, 2, "relu", parameterisation="ntk"),
    "deep": lambda: Network.mlp([3, 5, 4, 2], "tanh", bias=True, parameterisation="ntk"),
    "one layer": lambda: Network.mlp([3, 2]),
    "skip": skip,
    "residual": residual,
    "slices": slices,
    "gated": gated,
    "shared": shared,
    "diagonal": diagonal,
    "fixed": fixed,
    "first layer only": first_layer_only,
    "nonlinear output": nonlinear_output,
    "twice": twice,
    "bias alone": bias_alone,
    "linear tree": linear_tree,
    "user-made activations": user_made,
    "sigmoid and quadratic": lambda: Network.mlp(
        [3, 4, 4, 2], ["sigmoid", "quadratic"], bias=True, output_activation="sigmoid"
    ),
}


def drawn_problem(name, samples, seed):
    """A network of the examples with drawn weights, task and gates."""
    return drawn(EXAMPLES[name](), samples, seed)


def drawn(net, samples, seed):
    rng = np.random.default_rng(seed)
    weights = {p.name: 0.7 * rng.normal(size=p.shape) for p in net.parameters}
    task = Task(rng.normal(size=(samples, net.inputs)), rng.normal(size=(samples, net.outputs)))
    sizes = {node.name: node.size for node in net.order if isinstance(node, Gate)}
    gates = {gate: rng.normal(size=(samples, size)) for gate, size in sizes.items()}
    return net, weights, task, gates


def start(net, arrays):
    return initial.from_arrays(net, arrays)


def two_layer_problem(samples=12, seed=0, activation="tanh"):
    net = Network.two_layer(3, 5, 2, activation)
    rng = np.random.default_rng(seed)
    task = Task(rng.normal(size=(samples, 3)), rng.normal(size=(samples, 2)))
    return net, task, initial.gaussian(net, seed=seed)


@st.composite
def expressions(draw):
    """Any expression: nodes are made from the latest ones, the last one is the output."""
    nodes = [Input(draw(st.integers(1, 3)))]
    parameters = []

    def parameter(shape, kind):
        fitting = [p for p in parameters if p.shape == shape and p.kind == kind]
        if fitting and draw(st.booleans()):
            return draw(st.sampled_from(fitting))
        trained = draw(st.sampled_from([True, True, False]))
        scale = draw(st.sampled_from([1, 1, 2, sp.Rational(-1, 2)]))
        rate = draw(st.sampled_from([1, 1, 3, sp.Rational(1, 2)]))
        parameters.append(Parameter(f"P{len(parameters)}", shape, kind, trained, scale, rate))
        return parameters[-1]

    kinds = ["dense", "dense", "dense", "diagonal", "bias", "apply", "gate", "slice", "sum", "sum"]
    for _ in range(draw(st.integers(4, 14))):
        child = draw(st.sampled_from(nodes[-3:]))
        kind = draw(st.sampled_from(kinds))
        if kind == "dense":
            node = parameter((draw(st.sampled_from([child.size, 2, 3])), child.size), kind) @ child
        elif kind == "diagonal":
            node = parameter((child.size,), kind) @ child
        elif kind == "bias":
            node = child + parameter((child.size,), kind)
        elif kind == "apply":
            node = Apply(draw(activations()), child)
        elif kind == "gate":
            node = Gate(f"gate{child.size}", child)
        elif kind == "slice":
            start = draw(st.integers(0, child.size - 1))
            node = child[start : draw(st.integers(start + 1, child.size))]
        else:
            others = [n for n in nodes if n.size == child.size]
            node = Sum((child, *draw(st.lists(st.sampled_from(others), min_size=1, max_size=2))))
        nodes.append(node)
    return Network.build(nodes[-1])


def check_random_expressions():
    """Compare program and oracle; meant for a process with NUMBA_DISABLE_JIT=1."""
    from symkernel.simulation.engine import Engine, Stage
    from symkernel.simulation.layout import Layout, aligned
    from symkernel.simulation.moments import why_not
    from symkernel.simulation.reading import Pass
    from tests.oracles import numpy_descent as oracle

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(
        net=expressions(),
        seed=st.integers(0, 1000),
        decay=st.sampled_from([0.0, 0.0, 0.3]),
        weighted=st.booleans(),
    )
    def check(net, seed, decay, weighted):
        net, weights, task, gates = drawn(net, 5, seed)
        shares = np.random.default_rng(seed).dirichlet(np.ones(5)) if weighted else None
        task = Task(task.X, task.Y, sample_weights=shares)
        how = 0.5, decay, shares
        expected = oracle.gradient(net, weights, task.X, task.Y, gates, *how)
        flat = [expected[p.name].reshape(-1) / float(p.scale) for p in net.parameters]
        for on_moments in {False, why_not(net) is None}:
            layout = Layout(net, 5)
            thetas = aligned(1, layout.count)
            thetas[0] = layout.vector(weights)
            engine = Engine(Stage(net, task, gates, 0.1, 0.5, on_moments, decay), thetas)
            slope = engine.gradient(thetas[0].copy())
            reference = np.concatenate(flat) if flat else np.zeros(0)
            size = max(1.0, np.abs(reference).max(initial=0))
            np.testing.assert_allclose(slope, reference, rtol=0, atol=1e-12 * size)
            loss = oracle.loss(net, weights, task.X, task.Y, gates, *how)
            np.testing.assert_allclose(engine.loss(), loss, rtol=1e-11)
            engine.advance(1)
            moved = {
                p.name: weights[p.name] - 0.1 * float(p.rate) * expected[p.name]
                for p in net.parameters
            }
            bound = 1e-12 * max(1.0, size)
            np.testing.assert_allclose(thetas[0], layout.vector(moved), rtol=0, atol=bound)
        one = Pass(net, weights, task.X, gates)
        expected = oracle.value(net.output, weights, task.X, gates)
        np.testing.assert_allclose(one.values[net.output], expected, rtol=1e-12, atol=1e-13)

    check()
