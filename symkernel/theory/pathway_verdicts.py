"""What the laws of gated networks assume, measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from symkernel.errors import InvalidArgument, NoClosedForm
from symkernel.formula import Verdict
from symkernel.problem.contexts import contexts_of, half_open
from symkernel.problem.nodes import Sum
from symkernel.problem.pathways import Pathway, pathways_of
from symkernel.problem.problem import Problem
from symkernel.theory.mode_state import TOLERANCE, decay_verdict
from symkernel.theory.pathway_state import PathwayState

_UNGATED = (
    "without gates the laws 'aligned_modes', 'gram_diagonal' and 'deep_modes' cover dense linear "
    "layers, 'diagonal_network' diagonal ones"
)


class Assumption(NamedTuple):
    """What is assumed, the attribute of the state that measures it, and what to do without it."""

    words: str
    attribute: str
    advice: str
    tolerance: float = TOLERANCE


_OF_TASKS = (
    Assumption(
        "contexts are equally frequent", "uneven", "weight the samples of the contexts alike"
    ),
    Assumption(
        "inputs have one covariance in all contexts, diagonal in the modes",
        "coloured",
        "whiten the inputs of each context, which changes the dynamics, or simulate",
    ),
    Assumption(
        "targets of all contexts have the same input directions and strengths",
        "misaligned",
        "simulate",
    ),
)
_OF_WEIGHTS = (
    Assumption(
        "weights are diagonal in frames that match from layer to layer",
        "skew",
        "start from sk.pathways.aligned(net, task, ...) or simulate",
    ),
    Assumption(
        "a layer has the same amplitudes in all contexts", "apart", "start all contexts alike"
    ),
)
# What every law of gated networks says of its tasks.
TASKS = tuple(one.words for one in _OF_TASKS)
BALANCED = Assumption(
    "the layers of each pathway are balanced",
    "unbalanced",
    "start from sk.pathways.aligned(net, task, ...); two layers alone need no balance",
)
ONE_SIDED = Assumption(
    "the pathways of each mode start on one side of 0",
    "opposed",
    "change the sign of the last layer of one of them",
    # However small, a pathway on the other side grows, and at a rate of its own.
    tolerance=0.0,
)


ONE_CONTEXT = (
    "one pathway in one context is a network without gates: build the same layers by "
    "sk.Network.two_layer(...) or sk.Network.mlp(...), and leave the gates out of the task"
)


def pathway_verdicts(
    law: str,
    problem: Problem,
    structure: Callable[[tuple[Pathway, ...]], str],
    further: tuple[Assumption, ...] = (),
) -> tuple[Verdict, ...]:
    """Test the assumptions of a law of gated networks, with distances and advice.

    Parameters
    ----------
    structure : callable
        Pathways -> what is wrong with them for the law, or "".
    further : tuple of Assumption
        Assumptions of this law alone.
    """
    first = _structure_verdicts(law, problem, structure)
    if not all(verdict.holds for verdict in first):
        return first
    try:
        state = PathwayState.of(problem)
    except NoClosedForm as error:
        words = "weights of one layer learn alike, in the same contexts in all phases"
        return (*first, Verdict(law, words, False, np.inf, 0.0, str(error)))
    measured = []
    for words, name, advice, tolerance in (*_OF_TASKS, *_OF_WEIGHTS, *further):
        far = float(getattr(state, name))
        measured.append(Verdict(law, words, far <= tolerance, far, tolerance, advice))
    return (*first, *measured)


def _structure_verdicts(
    law: str, problem: Problem, structure: Callable[[tuple[Pathway, ...]], str]
) -> tuple[Verdict, ...]:
    """Test what does not depend on the weights."""

    def refused(words: str, advice: str) -> tuple[Verdict, ...]:
        return (Verdict(law, words, False, np.inf, 0.0, advice),)

    network, tasks = problem.network, [phase.task for phase in problem.curriculum.phases]
    if not network.gates and not any(isinstance(node, Sum) for node in network.order):
        return refused("the network has gates or parallel pathways", _UNGATED)
    if not problem.is_numeric_but_for_durations:
        return refused("the problem has numbers", "give numbers; the law itself is in symbols")
    if any(task.Syx is None for task in tasks):
        return refused("the tasks' second moments are known", "give samples, or simulate")
    words = "in every context the network is a sum of products of trained weights"
    try:
        ajar = max(half_open(network, task) for task in tasks)
        pathways = pathways_of(network, [c.gates for c in contexts_of(network, tasks[0])])
    except (NoClosedForm, InvalidArgument) as error:
        return refused(words, str(error))
    text = "every gate is open or closed for a whole layer"
    gates = Verdict(law, text, ajar <= TOLERANCE, ajar, TOLERANCE, "simulate")
    found, wrong = "; ".join(map(str, pathways)), structure(pathways)
    far = np.inf if wrong else 0.0
    return (
        gates,
        Verdict(law, f"{words}: {found}", not wrong, far, 0.0, wrong),
        *decay_verdict(law, problem),
    )
