"""Path attribution in plain NumPy: one sample after another, by recursion on the expression.

Gradients are complex steps, slopes quotients: nothing in common with the compiled program.
"""

from __future__ import annotations

import os

import numpy as np
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from symkernel import Curriculum, Network, Phase, SquaredError, Task, simulate, testing
from symkernel import weights as initial
from symkernel.errors import Diverged
from symkernel.nodes import Apply, Bias, Gate, Input, Linear, Slice, Sum
from symkernel.problem.activation import ACTIVATIONS
from tests.oracles import numpy_descent
from tests.oracles.activations import FUNCTIONS, RECORDS
from tests.oracles.networks import EXAMPLES, drawn, expressions, start, two_layer_problem

DRAWS = 100 if os.environ.get("SYMKERNEL_PROFILE") == "thorough" else 40


class Step:
    """One step of gradient descent, and what each part of it does to a probe."""

    def __init__(self, net, before, parts, probe, gates, tangent=False):
        self.before, self.parts, self.probe, self.gates = before, parts, probe, gates
        self.after = {name: before[name] + sum(p[name] for p in parts) for name in before}
        self.tangent = tangent

    def value(self, node, weights):
        return numpy_descent.value(node, weights, self.probe, self.gates)

    def slope(self, node):
        """Slopes of an activation along the secants, or at the points before the step."""
        phi = FUNCTIONS[node.activation.name]
        old, new = (self.value(node.child, w) for w in (self.before, self.after))
        at = old if self.tangent else (old + new) / 2
        tangent = phi(at + 1e-30j).imag / 1e-30 * np.ones(old.shape)
        step = new - old
        far = (abs(step) > 1e-7) & (not self.tangent)
        rise = phi(new) - phi(old)
        return np.where(far, rise / np.where(far, step, 1), tangent)

    def moves(self, node):
        """What each part contributes to the movement of a node, (n_parts, n_probe, size)."""
        match node:
            case Input():
                return np.zeros((len(self.parts), *self.probe.shape))
            case Linear():
                p = node.parameter
                scale, child = float(p.scale), self.moves(node.child)
                later = self.value(node.child, self.before if self.tangent else self.after)
                if p.kind == "dense":
                    own = [later @ (scale * part[p.name]).T for part in self.parts]
                    return np.array(own) + child @ (scale * self.before[p.name]).T
                own = [later * scale * part[p.name] for part in self.parts]
                return np.array(own) + child * scale * self.before[p.name]
            case Bias():
                p = node.parameter
                ones = np.ones((len(self.probe), 1))
                return np.array([float(p.scale) * part[p.name] * ones for part in self.parts])
            case Apply():
                return self.slope(node) * self.moves(node.child)
            case Gate():
                return self.gates[node.name] * self.moves(node.child)
            case Slice():
                return self.moves(node.child)[:, :, node.start : node.stop]
            case Sum():
                return sum(self.moves(term) for term in node.terms)


def pulls(net, weights, task, gates, rate, batch, decay=0.0, factor=0.5):
    """What each sample of a batch moves the weights by, zero for the others; then the decay."""
    count = len(task.X)
    shares = np.full(count, 1 / count) if task.sample_weights is None else task.sample_weights
    found = []
    for i in range(count):
        part = {name: np.zeros(np.shape(array)) for name, array in weights.items()}
        if i in batch:
            one = slice(i, i + 1)
            mine = {name: gate[one] for name, gate in gates.items()}
            slope = numpy_descent.gradient(net, weights, task.X[one], task.Y[one], mine, factor)
            weight = shares[i] * count / len(batch)
            part = {p.name: -rate * float(p.rate) * weight * slope[p.name] for p in net.parameters}
        found.append(part)
    if decay:
        found.append(
            {
                p.name: -rate * float(p.rate) * decay * p.trained * weights[p.name]
                for p in net.parameters
            }
        )
    return found


def attribute(
    net, weights, task, gates, rate, steps, node, probe, probe_gates, decay=0.0, tangent=False,
    stride=1,
):  # fmt: skip
    """Contributions (n_probe, size, n_samples) of full-batch training; decay is the last."""
    total = 0.0
    for begin in range(0, steps, stride):
        now, parts = weights, None
        for _ in range(begin, min(begin + stride, steps)):
            new = pulls(net, now, task, gates, rate, range(len(task.X)), decay)
            now = {name: now[name] + sum(part[name] for part in new) for name in now}
            pairs = zip(parts or new, new, strict=True)
            parts = [{k: a[k] + b[k] for k in a} for a, b in pairs] if parts else new
        step = Step(net, weights, parts, probe, probe_gates, tangent)
        total = total + step.moves(node)
        weights = step.after
    return np.moveaxis(total, 0, -1), weights


def check_random_expressions():
    """Compare program and oracle; meant for a process with NUMBA_DISABLE_JIT=1."""
    nets = st.one_of(expressions(), st.sampled_from(sorted(EXAMPLES)).map(lambda n: EXAMPLES[n]()))

    @settings(max_examples=DRAWS, deadline=None, derandomize=True)
    @given(
        net=nets,
        seed=st.integers(0, 1000),
        decay=st.sampled_from([0.0, 0.0, 0.3]),
        weighted=st.booleans(),
    )
    def check(net, seed, decay, weighted):
        inner = [node for node in net.order if not isinstance(node, Input)]
        rng = np.random.default_rng(seed)
        named = {} if len(inner) < 2 else {"hidden": inner[rng.integers(len(inner) - 1)]}
        net, weights, task, gates = drawn(Network.build(net.output, named), 4, seed)
        weights = {name: 0.5 * array for name, array in weights.items()}
        shares = rng.dirichlet(np.ones(4)) if weighted else None
        task = Task(task.X, task.Y, sample_weights=shares, gates=gates)
        _, _, other, probe_gates = drawn(net, 3, seed + 1)
        probe = Task(other.X, other.Y, gates=probe_gates)
        sim = simulate(
            net, task, start(net, weights), 0.01, record=[0, 0.03], attribute="sample", probe=probe,
            loss=SquaredError(weight_decay=decay),
        )  # fmt: skip
        for name in ["output", *named]:
            found = sim.attribution(node=name)
            assert found.residual < 1e-13, found.residual
            expected, _ = attribute(
                net, weights, task, gates, 0.01, 3, net.nodes[name], probe.X, probe_gates, decay
            )
            size = max(1.0, abs(expected).max(), abs(found.activity).max())
            assert abs(found.contributions[-1] - expected).max() < 1e-11 * size
            assert not found.contributions[0].any()

    check()


def check_sum_rule():
    """Sum rule on whatever can be trained; meant for a process with NUMBA_DISABLE_JIT=1."""
    kinds = st.sampled_from([*ACTIVATIONS.values(), *RECORDS.values()])
    deep = testing.mlps(most=4, most_layers=4, activations=sorted(set(ACTIVATIONS) - {"quadratic"}))
    nets = st.one_of(deep, testing.networks(most=4, activations=kinds))

    @settings(max_examples=DRAWS, deadline=None, derandomize=True)
    @given(
        case=testing.numerical_networks(nets),
        by=st.sampled_from(["sample", "task", "phase"]),
        batch=st.sampled_from([None, 1, 2, 3]),
        phases=st.integers(1, 3),
        steps=st.integers(1, 12),
        stride=st.sampled_from([1, 1, 2, 5]),
        seed=st.integers(0, 1000),
    )
    def check(case, by, batch, phases, steps, stride, seed):
        net, rng = case.net, np.random.default_rng(seed)
        tasks = []
        for k in range(2):
            size = 4 + k
            gates = {name: rng.normal(size=(size, g.shape[1])) for name, g in case.gates.items()}
            X, Y = (rng.normal(size=(size, int(n))) for n in (net.inputs, net.outputs))
            tasks.append(Task(X, Y, gates=gates))
        rate = 0.01
        course = Curriculum([Phase(tasks[k % 2], steps * rate) for k in range(phases)])
        w0 = start(net, {name: 0.5 * array for name, array in case.weights.items()})
        try:
            how = {"batch_size": batch, "seed": seed, "stride": stride}
            sim = simulate(net, course, w0, rate, attribute=by, **how)
        except Diverged:
            reject()
        for name in set(net.nodes) - {"input"}:
            found = sim.attribution(node=name)
            assert found.residual < 1e-12, found.residual
            phase = sim.attribution("phase", name)
            total = found.contributions.sum(-1)
            assert abs(phase.contributions.sum(-1) - total).max() <= 1e-12 * (1 + abs(total).max())

    check()


def check_balanced_modes():
    """h = W1 x moves by sqrt(u(T)) - sqrt(u(0)) along a mode, all of it by the mode's sample.

    In the limit of small learning rates: the distance falls with slope 1.
    """
    strengths = np.array([3.0, 1.0])
    task = Task.from_modes(strengths.tolist())
    net = Network.two_layer(2, 2, 2)
    w0 = initial.aligned(net, task, a=0.3, b=0.3)
    u = strengths / (1 + (strengths / 0.09 - 1) * np.exp(-2 * strengths))
    errors, rates = [], [0.02, 0.01, 0.005]
    for rate in rates:
        sim = simulate(net, task, w0, rate, record=[1.0], attribute="sample")
        found = sim.attribution().contributions[-1]
        own = [np.linalg.norm(found[k, :, k]) / np.linalg.norm(task.X[k]) for k in range(2)]
        assert max(abs(found[k, :, 1 - k]).max() for k in range(2)) < 1e-13
        errors.append(abs(own - (np.sqrt(u) - 0.3)).max())
    assert abs(np.polyfit(np.log(rates), np.log(errors), 1)[0] - 1) < 0.05


def check_large_groups():
    """Groups of more samples than a block holds: their blocks add up."""
    net, task, w0 = two_layer_problem(samples=600)
    labels = np.arange(600) % 2
    how = {"steps": 2, "record": [0.2], "probe": task.X[:3]}
    found = simulate(net, task, w0, 0.1, attribute=labels, **how).attribution().contributions
    parts = simulate(net, task, w0, 0.1, attribute="sample", **how).attribution().contributions
    for k in range(2):
        expected = parts[..., labels == k].sum(-1)
        np.testing.assert_allclose(found[..., k], expected, rtol=0, atol=1e-13)
