r"""One task in several contexts: the same inputs, targets turned by the context."""

from __future__ import annotations

import numpy as np

from symkernel.errors import InvalidArgument, ShapeMismatch, as_count, as_real_array, as_seed
from symkernel.problem.task import Task


def contexts(
    K: int,
    s: object,
    *,
    inputs: int | None = None,
    outputs: int | None = None,
    input_variance: object = 1.0,
    same_targets: bool = False,
    seed: int = 0,
) -> Task:
    r"""Return K equiprobable contexts with targets $U_k\,\mathrm{diag}(s/d)\,V^T x$.

    Every context shows the same inputs, one sample for each input direction, with
    $\langle x x^T\rangle = V \mathrm{diag}(d) V^T$, and $\langle y x^T\rangle =
    U_k \mathrm{diag}(s) V^T$. The gates "context0", ..., one column each, are 1 in their context.

    Parameters
    ----------
    K : int
        Number of contexts.
    s : scalar or sequence
        Strengths of the modes, not negative, at least one of them positive.
    inputs, outputs : int, optional
        Numbers of inputs and outputs, at least the number of modes, which is the default.
    input_variance : scalar or sequence
        Variances d of the input directions, those of the modes first; positive.
    same_targets : bool
        Whether $U_k$ is the same in all contexts, so that output layers can be shared too.
    seed : int
        Seed of the bases $V$ and $U_k$.

    Returns
    -------
    Task
        K x inputs samples, context by context.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> task = sk.environments.contexts(3, [2.0, 1.0], outputs=4)
    >>> assert task.X.shape == (6, 2) and task.Y.shape == (6, 4)
    >>> assert np.allclose(task.Sxx, np.eye(2)) and sorted(task.gates)[0] == "context0"
    """
    count = as_count(K, "K")
    if not isinstance(same_targets, bool):
        raise InvalidArgument(
            f"Argument 'same_targets' must be True or False, not {same_targets!r}."
        )
    strengths = as_real_array(np.atleast_1d(np.asarray(s)), "s", 1)
    if strengths.min() < 0 or strengths.max() == 0:
        raise InvalidArgument(
            f"Argument 's' must hold strengths that are not negative, and one of them positive, "
            f"not {s!r}."
        )
    r = len(strengths)
    n_in = as_count(r if inputs is None else inputs, "inputs", r)
    n_out = as_count(r if outputs is None else outputs, "outputs", r)
    d = as_real_array(np.atleast_1d(np.asarray(input_variance)), "input_variance", 1)
    if len(d) not in (1, n_in):
        raise ShapeMismatch(
            f"Argument 'input_variance' must hold one variance or one for each of the {n_in} "
            f"inputs, not {len(d)}."
        )
    if d.min() <= 0:
        raise InvalidArgument(f"Argument 'input_variance' must be positive, not {d.min():g}.")
    d = np.broadcast_to(d, n_in)
    stream = np.random.default_rng(as_seed(seed))
    V = _orthogonal(stream, n_in)
    X = np.sqrt(n_in * d)[:, None] * V.T
    targets, first = [], _orthogonal(stream, n_out)[:, :r]
    for k in range(count):
        U = first if same_targets or k == 0 else _orthogonal(stream, n_out)[:, :r]
        targets.append(X @ (U * (strengths / d[:r]) @ V[:, :r].T).T)
    which = np.repeat(np.arange(count), n_in)
    return Task(
        np.tile(X, (count, 1)),
        np.concatenate(targets),
        {"samples": [f"context {k}" for k in which]},
        gates={f"context{k}": (which == k).astype(float)[:, None] for k in range(count)},
    )


def _orthogonal(stream: np.random.Generator, size: int) -> np.ndarray:
    return np.linalg.qr(stream.standard_normal((size, size)))[0]
