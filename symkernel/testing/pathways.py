"""Problems of the laws of gated networks."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from symkernel.environments.contexts import contexts
from symkernel.errors import as_count
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.testing.networks import SEEDS
from symkernel.theory.gated_draws import (
    RACES,
    TWO_LAYERS,
    Structure,
    gated_problem,
    race_problem,
)


def gated_problems(most: int = 3) -> st.SearchStrategy[Problem]:
    """Draw gated networks of two layers, of the class of the law `gated_modes`.

    Two to four contexts, layers shared by all, some or none of them, amplitudes of any sign.

    Parameters
    ----------
    most : int
        Inputs and outputs at the most.

    Examples
    --------
    >>> from hypothesis import find
    >>> from symkernel.testing import gated_problems
    >>> assert find(gated_problems(), lambda problem: True).network.gates
    """
    return _gated_problems(as_count(most, "most"))


def race_problems(most: int = 3) -> st.SearchStrategy[Problem]:
    """Draw balanced pathways in parallel, or deeper ones, of the class of the law `neural_race`.

    Parameters
    ----------
    most : int
        Inputs and outputs at the most.

    Examples
    --------
    >>> from hypothesis import find
    >>> from symkernel.testing import race_problems
    >>> assert find(race_problems(), lambda problem: True).network.gates
    """
    return _race_problems(as_count(most, "most"))


def _powers(low: float, high: float) -> st.SearchStrategy[float]:
    """Draw a number between two powers of ten, evenly in the exponent."""
    return st.floats(low, high).map(lambda exponent: float(10.0**exponent))


@st.composite
def _tasks(draw: st.DrawFn, structure: Structure, most: int) -> Task:
    K, _, same = structure
    n_in, n_out = (draw(st.integers(1, most)) for _ in range(2))
    r = min(n_in, n_out)
    s = [
        draw(_powers(-2, 1)),
        *(draw(st.one_of(st.just(0.0), _powers(-2, 1))) for _ in range(r - 1)),
    ]
    d = draw(st.one_of(st.just(1.0), st.lists(_powers(-1, 0.5), min_size=n_in, max_size=n_in)))
    seed = draw(SEEDS)
    return contexts(
        K, s, inputs=n_in, outputs=n_out, input_variance=d, same_targets=same, seed=seed
    )


@st.composite
def _gated_problems(draw: st.DrawFn, most: int) -> Problem:
    structure = draw(st.sampled_from(TWO_LAYERS))
    task = draw(_tasks(structure, most))
    modes = min(int(task.inputs), int(task.outputs))
    signed = st.builds(lambda size, sign: size * sign, _powers(-3, 0.5), st.sampled_from([1, -1]))
    sides = draw(st.lists(signed, min_size=2 * modes, max_size=2 * modes))
    hidden = modes + draw(st.integers(0, 2))
    return gated_problem(structure, task, np.reshape(sides, (2, modes)), hidden, draw(SEEDS))


@st.composite
def _race_problems(draw: st.DrawFn, most: int) -> Problem:
    structure = draw(st.sampled_from(RACES))
    task = draw(_tasks(structure, most))
    modes, count = min(int(task.inputs), int(task.outputs)), len(structure[1])
    size = _powers(-3, 0.5)
    u = np.reshape(
        draw(st.lists(size, min_size=count * modes, max_size=count * modes)), (count, -1)
    )
    hidden = modes + draw(st.integers(0, 2))
    then = draw(st.one_of(st.none(), st.floats(0.3, 2.0)))
    return race_problem(structure, task, u, hidden, draw(SEEDS), then)
