"""Initial weights, curricula, whole problems of the laws' classes, and times to look at them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from symkernel.errors import InvalidArgument, ShapeMismatch, as_choice, as_count, as_positive
from symkernel.problem import weights as make
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.modes import common_basis
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.problem.weights import Weights
from symkernel.testing.networks import SEEDS
from symkernel.testing.tasks import commuting, orthogonal_matrices, powers
from symkernel.theory import LAWS

_Bases = tuple[np.ndarray, np.ndarray]


def gaussian_weights(net: Network) -> st.SearchStrategy[Weights]:
    """Draw independent normal weights on scales from 1e-3 to 10; biases are 0.

    Parameters
    ----------
    net : Network
        Any network without symbols.

    Examples
    --------
    >>> import symkernel as sk
    >>> from hypothesis import find
    >>> from symkernel.testing import gaussian_weights
    >>> net = sk.Network.two_layer(2, 3, 2)
    >>> w0 = find(gaussian_weights(net), lambda w0: abs(w0.arrays["W1"]).max() > 5)
    >>> assert w0.provenance.startswith("Gaussian")
    """
    if not isinstance(net, Network) or not net.is_numeric:
        raise InvalidArgument(f"Argument 'net' must be a Network without symbols, not {net!r}.")
    scales = st.sampled_from([1.0, 1e-3, 0.1, 10.0])
    return st.builds(make.gaussian, st.just(net), scale=scales, seed=SEEDS)


def aligned_weights(net: Network, curriculum: Task | Curriculum) -> st.SearchStrategy[Weights]:
    """Draw weights with parallel sides in every mode, of the class of the law `aligned_modes`.

    Amplitudes lie in [1e-4, 5], evenly in the exponent, of any signs; balanced, opposite and
    one-sided modes and modes without weights are forced often. With fewer hidden units than modes
    any of the modes get them, not the strongest ones only.

    Parameters
    ----------
    net : Network
        Two dense linear layers.
    curriculum : Task or Curriculum
        Its tasks commute (see `commuting_tasks`).

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> from hypothesis import find
    >>> from symkernel.testing import aligned_weights
    >>> net, task = sk.Network.two_layer(2, 3, 2), sk.Task.from_modes([2.0, 1.0])
    >>> w0 = find(aligned_weights(net, task), lambda w0: not w0.arrays["W1"].any())
    >>> assert w0.arrays["W2"].shape == (2, 3)
    """
    return _aligned(net, _bases_of(net, curriculum))


def gram_diagonal_weights(
    net: Network, curriculum: Task | Curriculum
) -> st.SearchStrategy[Weights]:
    """Draw weights whose modes do not overlap, of the class of the law `gram_diagonal`.

    The two sides of a mode are any two vectors of a plane of its own; what they have along each
    other and aside lies in [1e-3, 2], evenly in the exponent, of any signs, or is 0 in a quarter
    of the draws.

    Parameters
    ----------
    net : Network
        Two dense linear layers, with two hidden units for each mode.
    curriculum : Task or Curriculum
        Its tasks commute (see `commuting_tasks`).

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> from hypothesis import find
    >>> from symkernel.testing import gram_diagonal_weights
    >>> net, task = sk.Network.two_layer(1, 2, 1), sk.Task.from_modes([2.0])
    >>> w0 = find(gram_diagonal_weights(net, task), lambda w0: w0.arrays["W2"].any())
    >>> assert w0.arrays["W1"].shape == (2, 1)
    """
    bases = _bases_of(net, curriculum)
    hidden, r = int(net.node("hidden").size), min(map(len, bases))
    if hidden < 2 * r:
        raise InvalidArgument(
            f"Argument 'net' must have two hidden units for each of the {r} modes, "
            f"not {hidden} in all."
        )
    return _gram_diagonal(net, bases)


def _bases_of(net: Network, curriculum: Task | Curriculum) -> _Bases:
    chain = isinstance(net, Network) and net.is_numeric and net.is_linear
    if not chain or [p.kind for p in net.parameters] != ["dense"] * 2 or len(net.order) != 3:
        raise InvalidArgument(
            f"Argument 'net' must be a Network of two dense linear layers, not {net!r}."
        )
    tasks = [phase.task for phase in Curriculum.of(curriculum).phases]
    if not all(task.is_numeric for task in tasks):
        raise InvalidArgument("Argument 'curriculum' must have numbers for all its symbols.")
    if (net.inputs, net.outputs) != (tasks[0].inputs, tasks[0].outputs):
        raise ShapeMismatch(
            f"The network has {net.inputs} inputs and {net.outputs} outputs, the tasks have "
            f"{tasks[0].inputs} and {tasks[0].outputs}; they must agree."
        )
    basis = common_basis(tasks)
    return basis.U, basis.V


@st.composite
def _aligned(draw: st.DrawFn, net: Network, bases: _Bases) -> Weights:
    hidden, r = int(net.node("hidden").size), min(map(len, bases))
    H, stream = draw(orthogonal_matrices(hidden)), np.random.default_rng(draw(SEEDS))
    sides = np.zeros((2, hidden, r))
    place = 0
    for k in stream.permutation(r)[:hidden]:
        one, two = (powers(stream, -4, 0.7) * stream.choice([-1.0, 1.0]) for _ in range(2))
        forced = [(one, one), (one, -one), (one, 0.0), (0.0, two), (0.0, 0.0)]
        a, b = draw(st.sampled_from([*[(one, two)] * 5, *forced]))
        sides[:, :, k] = np.outer([a, b], H[:, place])
        place += a != 0 or b != 0
    return _weights(net, bases, sides)


@st.composite
def _gram_diagonal(draw: st.DrawFn, net: Network, bases: _Bases) -> Weights:
    hidden, r = int(net.node("hidden").size), min(map(len, bases))
    H, stream = draw(orthogonal_matrices(hidden)), np.random.default_rng(draw(SEEDS))
    sides = np.zeros((2, hidden, r))
    for k in range(r):
        along, across, aside = (
            draw(st.sampled_from([1, 1, 1, 0])) * powers(stream, -3, 0.3) * stream.choice([-1, 1])
            for _ in range(3)
        )
        sides[0, :, k] = H[:, k] * along
        sides[1, :, k] = H[:, k] * across + H[:, r + k] * aside
    return _weights(net, bases, sides)


def _weights(net: Network, bases: _Bases, sides: np.ndarray) -> Weights:
    (U, V), r = bases, sides.shape[2]
    return make.from_arrays(net, [sides[0] @ V[:, :r].T, U[:, :r] @ sides[1].T])


def curricula(
    inputs: int, outputs: int, most_phases: int = 3, samples: bool = False
) -> st.SearchStrategy[Curriculum]:
    r"""Draw curricula of 1 to `most_phases` tasks that commute, the last one without end.

    Every other phase lasts for $s_{\max} t$ from 0.1 to 5.

    Parameters
    ----------
    inputs, outputs : int
    most_phases : int
    samples : bool
        Whether the tasks have samples, or moments only.

    Examples
    --------
    >>> from hypothesis import find
    >>> from symkernel.testing import curricula
    >>> cur = find(curricula(2, 2), lambda cur: len(cur.phases) == 2)
    >>> assert cur.phases[0].duration > 0 and cur.phases[1].duration is None
    """
    n_in, n_out = as_count(inputs, "inputs"), as_count(outputs, "outputs")
    return _curricula(n_in, n_out, as_count(most_phases, "most_phases"), samples)


@st.composite
def _curricula(
    draw: st.DrawFn, inputs: int, outputs: int, most_phases: int, samples: bool
) -> Curriculum:
    count = draw(st.integers(1, most_phases))
    _, tasks = draw(commuting(inputs, outputs, count, samples))
    return draw(_phases(tasks))


@st.composite
def _phases(draw: st.DrawFn, tasks: Sequence[Task], stiffest: float = np.inf) -> Curriculum:
    """Draw durations; `stiffest` bounds them where the weights make the flow stiff."""
    phases = []
    for task in tasks[:-1]:
        longest = min(5.0 / max(float(np.linalg.norm(task.Syx, 2)), 1e-3), stiffest)
        phases.append(Phase(task, duration=draw(st.floats(0.02, 1.0)) * longest))
    return Curriculum([*phases, Phase(tasks[-1])])


def aligned_problems(
    most: int = 5, phases: int = 1, samples: bool = False
) -> st.SearchStrategy[Problem]:
    """Draw problems of the law `aligned_modes`: two linear layers, aligned weights.

    Every width from 1 to `most`; tasks of `commuting_tasks`; weights of `aligned_weights`.

    Parameters
    ----------
    most : int
        Units of the widest layer.
    phases : int
        Tasks of the curriculum.
    samples : bool
        Whether the tasks have samples, or moments only.

    Examples
    --------
    >>> import symkernel as sk
    >>> from hypothesis import find
    >>> from symkernel.testing import aligned_problems
    >>> problem = find(aligned_problems(), lambda problem: True)
    >>> assert sk.derive(problem.network, problem.curriculum, problem.weights)
    """
    return _aligned_problems(as_count(most, "most"), as_count(phases, "phases"), samples)


@st.composite
def _aligned_problems(draw: st.DrawFn, most: int, phases: int, samples: bool) -> Problem:
    n_in, n_hidden, n_out = (draw(st.integers(1, most)) for _ in range(3))
    net = Network.two_layer(n_in, n_hidden, n_out)
    bases, tasks = draw(commuting(n_in, n_out, phases, samples))
    return draw(_posed(net, tasks, draw(_aligned(net, bases))))


def gram_diagonal_problems(most: int = 3, samples: bool = False) -> st.SearchStrategy[Problem]:
    """Draw problems of the law `gram_diagonal`: sides that are not parallel, one or two phases.

    Up to `most` inputs and outputs, two hidden units for each mode and up to three more. Strengths
    as in `commuting_tasks`, in [1e-2, 5]; variances are all 1, or lie in [0.2, 3.2]; weights of
    `gram_diagonal_weights`.

    Parameters
    ----------
    most : int
        Largest number of inputs and of outputs.
    samples : bool
        Whether the tasks have samples, or moments only.

    Examples
    --------
    >>> import symkernel as sk
    >>> from hypothesis import find
    >>> from symkernel.testing import gram_diagonal_problems
    >>> problem = find(gram_diagonal_problems(), lambda problem: True)
    >>> law = sk.derive(
    ...     problem.network, problem.curriculum, problem.weights, law="gram_diagonal"
    ... )
    >>> assert law.law.name == "gram_diagonal"
    """
    return _gram_diagonal_problems(as_count(most, "most"), samples)


@st.composite
def _gram_diagonal_problems(draw: st.DrawFn, most: int, samples: bool) -> Problem:
    n_in, n_out = (draw(st.integers(1, most)) for _ in range(2))
    r = min(n_in, n_out)
    net = Network.two_layer(n_in, draw(st.integers(2 * r, 2 * r + 3)), n_out)
    count = draw(st.integers(1, 2))
    bases, tasks = draw(commuting(n_in, n_out, count, samples, ((-2, 0.7), (-0.7, 0.5))))
    return draw(_posed(net, tasks, draw(_gram_diagonal(net, bases))))


@st.composite
def _posed(draw: st.DrawFn, net: Network, tasks: Sequence[Task], w0: Weights) -> Problem:
    inner = max(float(np.linalg.norm(task.Sxx, 2)) for task in tasks)
    stiffest = 100.0 / max(_squares(w0) * inner, 1e-2)
    return Problem(net, draw(_phases(tasks, stiffest)), w0)


def problems(law: str, most: int = 3) -> st.SearchStrategy[Problem]:
    """Draw problems of a law's class, each of which the law accepts.

    Parameters
    ----------
    law : str
        Name of a law of `symkernel.catalogue`.
    most : int
        Units of the largest layer that is not hidden, of the two laws of single modes. The
        others draw by the seed that `sk.check` uses, which does not shrink.

    Examples
    --------
    >>> import symkernel as sk
    >>> from hypothesis import find
    >>> from symkernel.testing import problems
    >>> for law in sk.catalogue():
    ...     problem = find(problems(law.name), lambda problem: True)
    ...     assert all(verdict.holds for verdict in law.test(problem))
    """
    if law == "aligned_modes":
        return aligned_problems(most)
    if law == "gram_diagonal":
        return gram_diagonal_problems(most)
    named = {one.name: one for one in LAWS}
    found = named[as_choice(law, "law", named)]
    return SEEDS.map(lambda seed: found.draw(np.random.default_rng(seed)))


def horizon(problem: Problem, strength: float = 50.0) -> np.ndarray:
    r"""Return flow times that cover a problem: $s_{\max} t \le$ `strength` in the last phase.

    Times 0, inside and at the end of every phase but the last, and nine in the last one, evenly in
    the exponent; fewer time constants where large weights make the flow stiff.

    Parameters
    ----------
    problem : Problem
        With numbers.
    strength : float
        Time constants of the strongest mode.

    Examples
    --------
    >>> import symkernel as sk
    >>> from hypothesis import find
    >>> from symkernel.testing import aligned_problems, horizon
    >>> problem = find(aligned_problems(), lambda problem: True)
    >>> assert horizon(problem)[0] == 0
    """
    if not isinstance(problem, Problem) or not problem.is_numeric:
        raise InvalidArgument(
            f"Argument 'problem' must be a Problem with numbers, not {problem!r}."
        )
    covered = as_positive(strength, "strength")
    phases, starts = problem.curriculum.phases, problem.curriculum.starts
    task = phases[-1].task
    strongest = float(np.linalg.norm(task.Syx, 2))
    fastest = max(strongest, _squares(problem.weights) * float(np.linalg.norm(task.Sxx, 2)), 1e-300)
    end = min(covered / strongest if strongest else np.inf, 400.0 / fastest)
    if phases[-1].duration is not None:
        end = min(end, phases[-1].duration)
    inside = [t for k in starts[1:] for t in (0.5 * k, k)]
    return np.unique([0.0, *inside, *(starts[-1] + np.geomspace(1e-3, 1, 9) * end)])


def times(problem: Problem, strength: float = 50.0) -> st.SearchStrategy[np.ndarray]:
    """Draw increasing flow times of a problem, up to the end of `horizon`, 0 among them at times.

    Parameters
    ----------
    problem : Problem
        With numbers.
    strength : float
        Time constants of the strongest mode.

    Examples
    --------
    >>> import symkernel as sk
    >>> from hypothesis import find
    >>> from symkernel.testing import aligned_problems, times
    >>> problem = find(aligned_problems(), lambda problem: True)
    >>> assert find(times(problem), lambda clock: len(clock) == 1) == [0]
    """
    grid = horizon(problem, strength)
    moments = st.one_of(st.sampled_from(list(grid)), st.floats(0.0, float(grid[-1])))
    return st.lists(moments, min_size=1, max_size=6, unique=True).map(
        lambda drawn: np.array(sorted(drawn))
    )


def _squares(w0: Weights) -> float:
    return sum(float(np.linalg.norm(w, 2)) ** 2 for w in w0.arrays.values())
