"""Tasks drawn at random: from samples, from modes, from exact numbers, several that commute."""

from __future__ import annotations

import numpy as np
import sympy as sp
from hypothesis import strategies as st

from symkernel.errors import as_count
from symkernel.problem.task import Task
from symkernel.testing.networks import SEEDS

_FRACTIONS = tuple(sp.Rational(p, q) for p, q in ((1, 1), (2, 1), (1, 2), (3, 1), (2, 3), (5, 4)))


def powers(stream: np.random.Generator, low: float, high: float) -> float:
    """Return a number between two powers of ten, evenly in the exponent."""
    return float(10 ** stream.uniform(low, high))


def orthogonal_matrices(size: int) -> st.SearchStrategy[np.ndarray]:
    """Draw orthogonal matrices: the identity, signs and a permutation, or a random one.

    Parameters
    ----------
    size : int

    Examples
    --------
    >>> import numpy as np
    >>> from hypothesis import find
    >>> from symkernel.testing import orthogonal_matrices
    >>> U = find(orthogonal_matrices(3), lambda U: np.abs(U).max() < 0.9)
    >>> assert np.allclose(U @ U.T, np.eye(3))
    """
    return _orthogonal(as_count(size, "size"))


@st.composite
def _orthogonal(draw: st.DrawFn, n: int) -> np.ndarray:
    kind = draw(st.sampled_from(["identity", "signs", "random"]))
    if kind == "identity":
        return np.eye(n)
    stream = np.random.default_rng(draw(SEEDS))
    if kind == "signs":
        return np.eye(n)[stream.permutation(n)] * stream.choice([-1.0, 1.0], n)
    return np.linalg.qr(stream.standard_normal((n, n)))[0]


def moments_task(U: np.ndarray, V: np.ndarray, s: np.ndarray, d: np.ndarray) -> Task:
    r"""Return the task with $\Sigma_{yx} = U S V^T$, $\Sigma_{xx} = V D V^T$, fit to be learned.

    Parameters
    ----------
    U, V : ndarray
        Orthogonal matrices of the outputs and the inputs.
    s : ndarray, shape (r,)
        Strengths of any sign, 0 where `d` is 0; r at most the number of inputs and outputs.
    d : ndarray, shape (n_inputs,)
        Input variances.

    Examples
    --------
    >>> import numpy as np
    >>> from symkernel.testing import moments_task
    >>> task = moments_task(np.eye(2), np.eye(3), np.array([2.0, 1.0]), np.ones(3))
    >>> assert np.array_equal(task.Syx, [[2, 0, 0], [0, 1, 0]])
    """
    r = len(s)
    syx, sxx = U[:, :r] * s @ V[:, :r].T, V * d @ V.T
    best = np.divide(s**2, d[:r], out=np.zeros(r), where=d[:r] > 0)
    syy = U[:, :r] * best @ U[:, :r].T
    return Task.from_moments((sxx + sxx.T) / 2, syx, (syy + syy.T) / 2)


def sampled_task(U: np.ndarray, V: np.ndarray, s: np.ndarray, d: np.ndarray) -> Task:
    """Return the task of `moments_task` by samples, one for each input direction.

    Examples
    --------
    >>> import numpy as np
    >>> from symkernel.testing import sampled_task
    >>> task = sampled_task(np.eye(2), np.eye(3), np.array([2.0, 1.0]), np.ones(3))
    >>> assert np.allclose(task.Syx, [[2, 0, 0], [0, 1, 0]])
    """
    n, r = len(d), len(s)
    X = np.sqrt(n * d)[:, None] * V.T
    slope = U[:, :r] * np.divide(s, d[:r], out=np.zeros(r), where=d[:r] > 0) @ V[:, :r].T
    return Task(X, X @ slope.T)


@st.composite
def strengths(
    draw: st.DrawFn, count: int, low: float, high: float, signed: bool = False
) -> np.ndarray:
    """Draw strengths with zeros and repeats forced often, in any order."""
    stream = np.random.default_rng(draw(SEEDS))
    values = [powers(stream, low, high)]
    for _ in range(count - 1):
        fresh = powers(stream, low, high)
        values.append(draw(st.sampled_from([fresh, fresh, 0.0, values[0], values[-1]])))
    signs = st.sampled_from((1.0, -1.0) if signed else (1.0,))
    return np.array([values[k] * draw(signs) for k in stream.permutation(count)])


@st.composite
def _variances(draw: st.DrawFn, count: int, low: float, high: float) -> np.ndarray:
    white, seed = draw(st.booleans()), draw(SEEDS)
    stream = np.random.default_rng(seed)
    return np.ones(count) if white else 10 ** stream.uniform(low, high, count)


@st.composite
def commuting(
    draw: st.DrawFn,
    inputs: int,
    outputs: int,
    count: int,
    samples: bool,
    ranges: tuple[tuple[float, float], tuple[float, float]] = ((-3.0, 1.0), (-1.0, 1.0)),
) -> tuple[tuple[np.ndarray, np.ndarray], list[Task]]:
    """Draw a pair of bases, and tasks in them; only the first has strengths of one sign."""
    U, V = draw(_orthogonal(outputs)), draw(_orthogonal(inputs))
    make = sampled_task if samples else moments_task
    tasks = []
    for k in range(count):
        s = draw(strengths(min(inputs, outputs), *ranges[0], signed=k > 0))
        tasks.append(make(U, V, s, draw(_variances(inputs, *ranges[1]))))
    return (U, V), tasks


def commuting_tasks(
    inputs: int, outputs: int, count: int = 1, samples: bool = False
) -> st.SearchStrategy[list[Task]]:
    """Draw tasks that are diagonal in one pair of bases: what the mode laws ask of a curriculum.

    Strengths are 0, repeat, or lie in [1e-3, 10], evenly in the exponent; those of all tasks but
    the first have signs. Input variances are all 1, or lie in [0.1, 10]. Bases are those of
    `orthogonal_matrices`. Targets can be fitted.

    Parameters
    ----------
    inputs, outputs : int
    count : int
        How many tasks.
    samples : bool
        Whether the tasks have samples, or moments only.

    Examples
    --------
    >>> import numpy as np
    >>> from hypothesis import find
    >>> from symkernel.testing import commuting_tasks
    >>> one, two = find(commuting_tasks(2, 2, count=2), lambda tasks: True)
    >>> assert np.allclose(one.Syx.T @ two.Syx, two.Syx.T @ one.Syx)
    """
    n_in, n_out = as_count(inputs, "inputs"), as_count(outputs, "outputs")
    return commuting(n_in, n_out, as_count(count, "count"), samples).map(lambda drawn: drawn[1])


def mode_tasks(most: int = 4) -> st.SearchStrategy[Task]:
    """Draw tasks given by modes, as `Task.from_modes` takes them, with numbers.

    Strengths as in `commuting_tasks`, up to `most` of them; each occurs 1 to 3 times; variances
    are all 1, or lie in [0.1, 10].

    Parameters
    ----------
    most : int

    Examples
    --------
    >>> from hypothesis import find
    >>> from symkernel.testing import mode_tasks
    >>> task = find(mode_tasks(), lambda task: task.modes[0].multiplicity == 2)
    >>> assert task.Syx.shape == (2, 2)
    """
    return _of_modes(as_count(most, "most"))


@st.composite
def _of_modes(draw: st.DrawFn, most: int) -> Task:
    count = draw(st.integers(1, most))
    s, d = draw(strengths(count, -3, 1)), draw(_variances(count, -1, 1))
    often = draw(st.lists(st.integers(1, 3), min_size=count, max_size=count))
    return Task.from_modes(list(s), often, list(d))


def array_tasks(most: int = 5, most_samples: int = 12) -> st.SearchStrategy[Task]:
    """Draw tasks by samples that no mode law asks for: any X and Y, correlated and noisy.

    Entries are normal; inputs may be of any rank down to 1, on scales from 1e-2 to 1e2, and
    targets may be all 0. There may be fewer samples than inputs.

    Parameters
    ----------
    most : int
        Largest number of inputs and of outputs.
    most_samples : int

    Examples
    --------
    >>> import numpy as np
    >>> from hypothesis import find
    >>> from symkernel.testing import array_tasks
    >>> task = find(array_tasks(), lambda task: np.linalg.matrix_rank(task.X) < min(task.X.shape))
    >>> assert task.X.shape == (2, 2)
    """
    return _of_arrays(as_count(most, "most"), as_count(most_samples, "most_samples"))


@st.composite
def _of_arrays(draw: st.DrawFn, most: int, most_samples: int) -> Task:
    n, inputs, outputs = (draw(st.integers(1, k)) for k in (most_samples, most, most))
    rank = draw(st.integers(1, min(n, inputs)))
    scale = draw(st.sampled_from([1.0, 1e-2, 1e2]))
    stream = np.random.default_rng(draw(SEEDS))
    X = stream.standard_normal((n, rank)) @ stream.standard_normal((rank, inputs))
    Y = stream.standard_normal((n, outputs)) * draw(st.sampled_from([1.0, 0.0]))
    return Task(scale * X, Y)


def exact_tasks(most: int = 3) -> st.SearchStrategy[Task]:
    r"""Draw tasks of exact rational moments, whose modes are known exactly (`task.exact.modes`).

    Of two kinds. With rational bases: strengths and variances are small fractions, with zeros and
    repeats. With whitened inputs: $\Sigma_{yx}$ holds integers from -2 to 2, whose singular values
    are roots of polynomials up to degree `most`.

    Parameters
    ----------
    most : int
        Largest number of inputs and of outputs.

    Examples
    --------
    >>> import sympy as sp
    >>> from hypothesis import find
    >>> from symkernel.testing import exact_tasks
    >>> task = find(exact_tasks(), lambda task: task.exact.modes[0].s.has(sp.sqrt(5)))
    >>> assert len(task.exact.modes) <= 2
    """
    return _of_exact(as_count(most, "most"))


@st.composite
def _of_exact(draw: st.DrawFn, most: int) -> Task:
    inputs, outputs = (draw(st.integers(1, most)) for _ in range(2))
    if draw(st.booleans()):
        size = inputs * outputs
        entries = draw(st.lists(st.integers(-2, 2), min_size=size, max_size=size))
        Syx = sp.Matrix(outputs, inputs, entries)
        return Task.from_moments(sp.eye(inputs), Syx, Syx * Syx.T)
    U, V = draw(_rational_orthogonal(outputs)), draw(_rational_orthogonal(inputs))
    r = min(inputs, outputs)
    s = draw(st.lists(st.sampled_from((0, *_FRACTIONS)), min_size=r, max_size=r))
    d = draw(st.lists(st.sampled_from(_FRACTIONS), min_size=inputs, max_size=inputs))
    S, best = sp.zeros(outputs, inputs), sp.zeros(outputs)
    for k in range(r):
        S[k, k], best[k, k] = s[k], s[k] ** 2 / d[k]
    return Task.from_moments(V * sp.diag(*d) * V.T, U * S * V.T, U * best * U.T)


@st.composite
def _rational_orthogonal(draw: st.DrawFn, size: int) -> sp.Matrix:
    """Draw the identity, or the Cayley transform of a small skew matrix."""
    skew = sp.zeros(size)
    for i in range(size):
        for j in range(i):
            skew[i, j] = sp.Rational(draw(st.integers(-2, 2)), 2)
            skew[j, i] = -skew[i, j]
    return (sp.eye(size) - skew) * (sp.eye(size) + skew).inv()
