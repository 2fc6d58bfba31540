"""Stochastic gradient descent in plain NumPy: batches, label noise and resets, one step at a time.

Losses by their definitions, gradients by complex steps; orders of samples and noise are drawn one
sample at a time from streams of the seed.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles.numpy_descent import value

# Samples whose order is drawn together: the next phase's order begins behind them.
PACKED = 4096


def cross_entropy(outputs, Y):
    """Cross-entropy of each sample in nats; complex outputs too."""
    if Y.shape[1] == 1:
        sides = [np.log(1 + np.exp(-side * outputs[:, 0])) for side in (1, -1)]
        return (1 + Y[:, 0]) / 2 * sides[0] + (1 - Y[:, 0]) / 2 * sides[1]
    shifted = outputs - outputs.real.max(1, keepdims=True)
    return np.log(np.exp(shifted).sum(1)) - (Y * shifted).sum(1)


def squares(outputs, Y):
    """Half the squared error of each sample."""
    return ((outputs - Y) ** 2).sum(1) / 2


def loss(net, weights, X, Y, gates, of, decay=0.0, shares=None):
    """Mean of the loss `of` each sample, and weight decay."""
    shares = np.full(len(X), 1 / len(X)) if shares is None else shares
    decayed = sum((weights[p.name] ** 2).sum() for p in net.parameters if p.trained)
    return shares @ of(value(net.output, weights, X, gates), Y) + decay / 2 * decayed


def gradient(net, weights, *how):
    """Gradient by each trained parameter, zero for the others."""
    found = {p.name: np.zeros(weights[p.name].shape) for p in net.parameters}
    for p in net.parameters:
        for place in np.ndindex(found[p.name].shape) if p.trained else ():
            shifted = {name: array.astype(complex) for name, array in weights.items()}
            shifted[p.name][place] += 1e-30j
            found[p.name][place] = loss(net, shifted, *how).imag / 1e-30
    return found


def step(net, weights, rate, *how):
    slope = gradient(net, weights, *how)
    return {p.name: weights[p.name] - rate * float(p.rate) * slope[p.name] for p in net.parameters}


def visits(count, size, stream):
    """Return the samples of each of the batches that are packed together, through whole epochs."""
    found = []
    while len(found) < PACKED // size:
        order = stream.permutation(count)
        found += [order[first : first + size] for first in range(0, count - size + 1, size)]
    return found


def redrawn(y, probability, stream):
    """A label, or another one: the first part of the unit interval is shared by the classes."""
    u, classes = stream.random(), max(len(y), 2)
    if u >= probability:
        return y
    label = int(u / probability * classes)
    return np.array([2.0 * label - 1]) if len(y) == 1 else np.eye(classes)[label]


def train(net, weights, phases, rate, size, seed, of, decay=0.0):
    """Weights after every step; phases are (X, Y, steps, noise, reset), noise of each visit."""
    stream, path = np.random.default_rng(seed), [weights]
    for phase, (X, Y, steps, noise, reset) in enumerate(phases):
        weights = {**weights, **reset}
        key = np.random.SeedSequence(seed, spawn_key=(2 * phase,))
        own = None if noise is None else np.random.default_rng(key)
        whole = size is None and noise is None
        every = [np.arange(len(X))] * steps
        for here in every if whole else visits(len(X), size or len(X), stream)[:steps]:
            targets = Y[here] if own is None else np.array([noise(y, own) for y in Y[here]])
            weights = step(net, weights, rate, X[here], targets, {}, of, decay)
            path.append(weights)
    return path


def classes(samples, outputs, stream):
    """Targets of random classes, two of them at least."""
    labels = np.arange(samples) % max(outputs, 2)
    stream.shuffle(labels)
    return 2.0 * labels[:, None] - 1 if outputs == 1 else np.eye(outputs)[labels]


def check_random_expressions():
    """Compare programs and oracle; meant for a process with NUMBA_DISABLE_JIT=1."""
    from symkernel import Task
    from symkernel.simulation.batches import Batches, Epochs, streams_of
    from symkernel.simulation.engine import Engine, Stage
    from symkernel.simulation.layout import Layout, aligned
    from tests.oracles.networks import drawn, expressions

    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(
        net=expressions(),
        seed=st.integers(0, 1000),
        decay=st.sampled_from([0.0, 0.3]),
        weighted=st.booleans(),
        by_class=st.sampled_from([True, True, False]),
        size=st.sampled_from([1, 2, 5, 9]),
    )
    def check(net, seed, decay, weighted, by_class, size):
        net, weights, task, gates = drawn(net, 10, seed)
        stream, outputs = np.random.default_rng(seed), int(net.outputs)
        shares = stream.dirichlet(np.ones(10)) if weighted else None
        Y = classes(10, outputs, stream) if by_class else task.Y
        task = Task(task.X, Y, sample_weights=shares)
        misfit = ("logistic" if outputs == 1 else "softmax") if by_class else "squares"
        of = cross_entropy if by_class else squares
        stage = Stage(net, task, gates, 0.1, 0.5, False, decay, misfit=misfit)
        layout = Layout(net, 10)
        thetas = aligned(1, layout.count)
        thetas[0] = layout.vector(weights)
        engine = Engine(stage, thetas)
        how = task.X, Y, gates, of, decay, shares
        expected = gradient(net, weights, *how)
        flat = [expected[p.name].reshape(-1) / float(p.scale) for p in net.parameters]
        reference = np.concatenate(flat) if flat else np.zeros(0)
        bound = 1e-12 * max(1.0, np.abs(reference).max(initial=0))
        np.testing.assert_allclose(engine.gradient(thetas[0].copy()), reference, rtol=0, atol=bound)
        np.testing.assert_allclose(engine.loss(), loss(net, weights, *how), rtol=1e-11, atol=1e-15)
        Batches(stage, thetas, Epochs(stage, size, streams_of(seed, 1)[0])).advance(1)
        here = visits(10, size, np.random.default_rng(seed))[0]
        part = None if shares is None else shares[here] * 10 / size
        gates = {name: gate[here] for name, gate in gates.items()}
        moved = step(net, weights, 0.1, task.X[here], Y[here], gates, of, decay, part)
        bound = 1e-12 * max(1.0, np.abs(layout.vector(moved)).max(initial=0))
        np.testing.assert_allclose(thetas[0], layout.vector(moved), rtol=0, atol=bound)

    check()
