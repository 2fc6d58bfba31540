r"""Hypothesis strategies for property tests of your own theory of learning.

What is drawn has the corner cases in which theories fail: sizes of 1, bottlenecks, strengths that
are 0 or repeat, sides that are balanced, opposite or 0, inputs without variance, tasks that
separate what an earlier one repeats. Structure is drawn by hypothesis and shrinks; numbers come
from a seed that it draws.

Examples
--------
>>> import numpy as np, symkernel as sk
>>> from hypothesis import given, settings
>>> from symkernel import testing
>>> @settings(max_examples=3, deadline=None)
... @given(testing.aligned_problems(most=2))
... def test_first_output_is_that_of_the_weights(problem):
...     law = sk.derive(problem.network, problem.curriculum, problem.weights)
...     start = law.compile()([0.0]).weights
...     assert np.allclose(start["W1"][0], problem.weights.arrays["W1"])
>>> assert test_first_output_is_that_of_the_weights() is None
"""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("hypothesis") is None:
    raise ImportError(
        "symkernel.testing draws with hypothesis, which is not installed; install it with "
        "pip install 'symkernel[testing]'."
    )

from symkernel.testing.networks import (
    NumericalNetwork,
    mlps,
    networks,
    numerical,
    numerical_networks,
    two_layer_networks,
)
from symkernel.testing.pathways import gated_problems, race_problems
from symkernel.testing.problems import (
    aligned_problems,
    aligned_weights,
    curricula,
    gaussian_weights,
    gram_diagonal_problems,
    gram_diagonal_weights,
    horizon,
    problems,
    times,
)
from symkernel.testing.tasks import (
    array_tasks,
    commuting_tasks,
    exact_tasks,
    mode_tasks,
    moments_task,
    orthogonal_matrices,
    sampled_task,
)

__all__ = [
    "NumericalNetwork",
    "aligned_problems",
    "aligned_weights",
    "array_tasks",
    "commuting_tasks",
    "curricula",
    "exact_tasks",
    "gated_problems",
    "gaussian_weights",
    "gram_diagonal_problems",
    "gram_diagonal_weights",
    "horizon",
    "mlps",
    "mode_tasks",
    "moments_task",
    "networks",
    "numerical",
    "numerical_networks",
    "orthogonal_matrices",
    "problems",
    "race_problems",
    "sampled_task",
    "times",
    "two_layer_networks",
]
