"""A network evaluated node by node, and its Jacobians without any rule of differentiation.

Plain NumPy on arrays of any type: floats, complex numbers, SymPy objects. Written from the
definition of the nodes; knows nothing of backward signals.
"""

from __future__ import annotations

import numpy as np

from symkernel.problem.nodes import Apply, Bias, Gate, Input, Linear, Slice, Sum
from tests.oracles.activations import FUNCTIONS

STEP = 1e-30  # of the complex step: its square is lost in rounding, so the derivative is exact


def values(net, x, weights, gates=None, functions=FUNCTIONS, scale=float):
    """Return the value of every node for one sample."""
    found = {}
    for node in net.order:
        match node:
            case Input():
                found[node] = x
            case Linear(parameter=p, child=child) if p.kind == "dense":
                found[node] = scale(p.scale) * (weights[p.name] @ found[child])
            case Linear(parameter=p, child=child):
                found[node] = scale(p.scale) * weights[p.name] * found[child]
            case Bias(parameter=p):
                found[node] = scale(p.scale) * weights[p.name]
            case Apply(activation=phi, child=child):
                found[node] = functions[phi.name](found[child])
            case Gate(name=name, child=child):
                found[node] = gates[name] * found[child]
            case Slice(child=child, start=start, stop=stop):
                found[node] = found[child][start:stop]
            case Sum(terms=terms):
                found[node] = sum(found[term] for term in terms)
    return found


def jacobians(net, node, x, weights, gates=None):
    """Return the Jacobian of a node in every trained parameter, by complex steps."""
    found = {}
    for p in net.parameters:
        if not p.trained:
            continue
        columns = []
        for place in np.ndindex(weights[p.name].shape):
            moved = {name: np.array(w, dtype=complex) for name, w in weights.items()}
            moved[p.name][place] += 1j * STEP
            columns.append(values(net, x, moved, gates)[node].imag / STEP)
        found[p.name] = np.stack(columns, axis=1)
    return found


def kernel(net, of, by, X, X2, weights, gates=None, gates2=None):
    """Return the sum over parameters of rate x product of Jacobians, (n, |p|, m, |q|)."""
    rates = {p.name: float(p.rate) for p in net.parameters}

    def at(samples, name, some):
        return [
            jacobians(net, net.nodes[name], x, weights, {g: v[i] for g, v in (some or {}).items()})
            for i, x in enumerate(samples)
        ]

    left, right = at(X, of, gates), at(X2, by, gates2)
    shape = (len(X), int(net.nodes[of].size), len(X2), int(net.nodes[by].size))
    out = np.zeros(shape)
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            out[i, :, j, :] = sum(
                (rates[name] * a[name] @ b[name].T for name in a), np.zeros(shape[1::2])
            )
    return out


def is_moderate(case):
    """Whether no node grows so large that rounding errors do too."""
    for samples, given in ((case.X, case.gates), (case.X2, case.gates2)):
        for i, x in enumerate(samples):
            gates = {name: v[i] for name, v in given.items()}
            if any(
                np.abs(v).max() >= 50 for v in values(case.net, x, case.weights, gates).values()
            ):
                return False
    return True
