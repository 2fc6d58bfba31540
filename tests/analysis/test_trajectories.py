"""The analyses on what theory and simulation return."""

from __future__ import annotations

import numpy as np
import pytest

import symkernel as sk
from symkernel.errors import OutsideValidity

TIMES = np.linspace(0.5, 6, 12)


@pytest.fixture(scope="module")
def pair():
    task = sk.Task.from_modes([3.0, 1.5, 0.5])
    net = sk.Network.two_layer(inputs=3, hidden=4, outputs=3)
    w0 = sk.weights.aligned(net, task, a=0.05, b=0.05)
    theory = sk.derive(net, task, w0).compile()(TIMES)
    return theory, sk.simulate(net, task, w0, learning_rate=1e-3, record=TIMES)


def test_theory_and_simulation_are_aligned_at_equal_times(pair):
    alignment = sk.analysis.centred_kernel_alignment(*pair)
    assert alignment.shape == (12, 12)
    assert np.diag(alignment).min() > 1 - 1e-4
    assert alignment[0, -1] < 0.99  # and they move


def test_modes_learned_one_after_the_other_open_one_dimension_each(pair):
    # Three orthogonal inputs of which first one, then two, then three are told apart.
    theory, simulation = (sk.analysis.participation_ratio(run) for run in pair)
    assert np.allclose(theory, simulation, atol=1e-2)
    outputs = sk.analysis.Representation.of(pair[1], "output")
    shown = sk.analysis.multidimensional_scaling(outputs)
    assert shown.points.shape == (12, outputs.n_samples, 2)


def test_sharing_of_a_run_and_of_its_inner_products(pair):
    _, run = pair
    count = run.hidden.shape[1]
    read = [k % 2 for k in range(count)]
    products = sk.analysis.Representation.from_gram(run.hidden_gram, run.times)
    index = [sk.analysis.same_minus_different(source, read, "cosine") for source in (run, products)]
    assert np.allclose(*index, atol=1e-10)


def test_a_law_that_determines_inner_products_alone():
    task = sk.Task(2 * np.eye(4), np.random.default_rng(0).normal(size=(4, 3)))
    net = sk.Network.two_layer(inputs=4, hidden=3, outputs=3)
    w0 = sk.weights.lambda_balanced(net, lam=0.5, scale=0.3, seed=0)
    law = sk.derive(net, task, w0).compile()(TIMES)
    run = sk.simulate(net, task, w0, learning_rate=1e-3, record=TIMES)
    with pytest.raises(OutsideValidity, match="up to a rotation"):
        _ = law.hidden
    analysis = sk.analysis
    for of in (
        lambda source: analysis.similarity(source, "cosine").values,
        lambda source: analysis.similarity(source, "euclidean").values,
        lambda source: analysis.centred_kernel_alignment(source),
        lambda source: analysis.participation_ratio(source),
        lambda source: analysis.multidimensional_scaling(source, 3).points,
        lambda source: analysis.same_minus_different(source, [0, 0, 1, 1], "cosine"),
        lambda source: (
            analysis.sharing_index(
                source, inputs=[0, 0, 1, 1], outputs=[0, 1, 0, 1], measure="cosine"
            ).index
        ),
    ):
        assert np.allclose(of(law), of(run), atol=0.01)
    with pytest.raises(OutsideValidity, match="means over units"):
        analysis.similarity(law, "correlation")
