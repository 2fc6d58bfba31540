"""Networks drawn at random from every kind of node, with weights, samples and gates."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import sympy as sp
from hypothesis import assume
from hypothesis import strategies as st

import symkernel as sk
from symkernel.nodes import Apply, Gate, Input, Parameter
from symkernel.problem.nodes import Bias
from tests.oracles import forward_pass
from tests.oracles.activations import activations

RATES = (sp.Integer(1), sp.Integer(1), sp.Integer(3), sp.Rational(1, 2))
SCALES = (sp.Integer(1), sp.Rational(1, 2), sp.Integer(-1), 1 / sp.sqrt(3))


@st.composite
def problems(draw, most_nodes=9):
    """Draw a network with an inner node called "hidden" (if it has one), and numbers for it."""
    nodes = [Input(draw(st.integers(1, 4)))]
    # A trained weight to begin with: otherwise most kernels are zero.
    parameters, gates = [Parameter("W0", (draw(st.integers(1, 4)), nodes[0].size))], {}
    nodes.append(parameters[0] @ nodes[0])

    def parameter(kind, fits, shape):
        """Share a parameter that fits, or make one."""
        known = [p for p in parameters if p.kind == kind and fits(p.shape)]
        if known and draw(st.booleans()):
            return draw(st.sampled_from(known))
        name = f"{'WDb'[('dense', 'diagonal', 'bias').index(kind)]}{len(parameters)}"
        trained, scale = draw(st.integers(0, 3)) > 0, draw(st.sampled_from(SCALES))
        rate = draw(st.sampled_from(RATES))
        parameters.append(Parameter(name, shape, kind, trained, scale, rate))
        return parameters[-1]

    kinds = ("dense", "dense", "apply", "apply", "diagonal", "bias", "slice", "gate", "sum", "skip")
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=4, max_size=most_nodes)):
        # Mostly the newest node, so that networks get deep.
        child = nodes[-1] if draw(st.integers(0, 2)) else draw(st.sampled_from(nodes))
        n = child.size
        match kind:
            case "dense":
                shape = (draw(st.integers(1, 4)), n)
                node = parameter("dense", lambda s, n=n: s[1] == n, shape) @ child
            case "diagonal":
                node = parameter("diagonal", lambda s, n=n: s == (n,), (n,)) @ child
            case "bias":
                bias = parameter("bias", lambda s, n=n: s == (n,), (n,))
                node = child + bias if draw(st.booleans()) else child + Apply("tanh", Bias(bias))
            case "apply":
                node = Apply(draw(activations()), child)
            case "slice":
                start = draw(st.integers(0, n - 1))
                node = child[start : draw(st.integers(start + 1, n))]
            case "gate":
                name = draw(st.sampled_from([g for g, s in gates.items() if s == n] or ["new"]))
                name = f"g{len(gates) + 1}" if name == "new" else name
                gates[name] = n
                node = Gate(name, child)
            case _:
                node = child + draw(st.sampled_from([o for o in nodes if o.size == n]))
        nodes.append(node)
    inner = [o for o in sk.Network.build(nodes[-1]).order[:-1] if not isinstance(o, Input)]
    names = {"hidden": draw(st.sampled_from(inner))} if inner else {}
    return moderate(numbers(sk.Network.build(nodes[-1], names), draw(st.integers(0, 2**32 - 1))))


def moderate(d):
    """Return the problem, unless a node grows so large that rounding errors do too."""
    for samples, given in ((d.X, d.gates), (d.X2, d.gates2)):
        for i, x in enumerate(samples):
            gates = {name: v[i] for name, v in given.items()}
            values = forward_pass.values(d.net, x, d.weights, gates).values()
            assume(all(np.abs(v).max() < 50 for v in values))
    return d


def numbers(net, seed, samples=(2, 3)):
    """Return the network with Gaussian weights (biases too), samples and gates."""
    stream = np.random.default_rng(seed)
    weights = {p.name: stream.standard_normal(tuple(map(int, p.shape))) for p in net.parameters}
    X, X2 = (stream.standard_normal((n, int(net.inputs))) for n in samples)
    sizes = {o.name: int(o.size) for o in net.order if isinstance(o, Gate)}
    gates, gates2 = (
        {name: stream.standard_normal((n, size)) for name, size in sizes.items()} for n in samples
    )
    return SimpleNamespace(net=net, weights=weights, X=X, X2=X2, gates=gates, gates2=gates2)
