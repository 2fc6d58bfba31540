r"""Contexts: groups of samples with the same gates, for which a gated network is a linear one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from symkernel.errors import InvalidArgument
from symkernel.problem.gates import check_columns
from symkernel.problem.moments import shares_of
from symkernel.problem.network import Network
from symkernel.problem.task import Task


@dataclass(frozen=True, eq=False)
class Context:
    r"""Samples with the same gates.

    Attributes
    ----------
    gates : mapping of str to float
        1 for an open gate, 0 for a closed one.
    share : float
        Weight of these samples in the loss; the shares of all contexts sum to 1.
    samples : ndarray of int
        Their positions in the task; empty for a task without samples, which is one context.
    Sxx, Syx : ndarray
        Second moments WITHIN the context.
    """

    gates: Mapping[str, float]
    share: float
    samples: np.ndarray
    Sxx: np.ndarray
    Syx: np.ndarray

    @property
    def key(self) -> tuple[float, ...]:
        """The gates as a tuple, by which contexts of different tasks are compared."""
        return tuple(self.gates.values())


def half_open(network: Network, task: Task) -> float:
    """Return how far the gates are from open or closed for a whole layer; 0 if they are.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> from symkernel.problem.contexts import half_open
    >>> task = sk.environments.contexts(2, [1.0])
    >>> assert half_open(sk.pathways.network(1, 1, 1, contexts=2), task) == 0
    """
    worst = 0.0
    for gate in _gates_of(network, task).values():
        first = np.rint(np.clip(gate[:, :1], 0.0, 1.0))
        worst = max(worst, float(np.abs(gate - first).max()))
    return worst


def contexts_of(network: Network, task: Task) -> tuple[Context, ...]:
    """Return the contexts of a task in the order in which its samples show them.

    Gates count as open from 1/2 on: whether they are open or closed is for `half_open` to say.

    Raises
    ------
    InvalidArgument
        If the network has gates that the task does not have.
    """
    gates = _gates_of(network, task)
    if not gates:
        every = np.arange(0 if task.X is None else len(task.X))
        return (Context({}, 1.0, every, task.Sxx, task.Syx),)
    table = np.stack([gate[:, 0] >= 0.5 for gate in gates.values()], axis=1)
    weights = shares_of(task)
    patterns, first, group = np.unique(table, axis=0, return_index=True, return_inverse=True)
    found = []
    for k in np.argsort(first):
        samples = np.flatnonzero(group.reshape(-1) == k)
        share = float(weights[samples].sum())
        X, Y = task.X[samples], task.Y[samples]
        inside = (weights[samples] / share)[:, None] * X
        opened = dict(zip(gates, map(float, patterns[k]), strict=True))
        found.append(Context(opened, share, samples, X.T @ inside, Y.T @ inside))
    return tuple(found)


def _gates_of(network: Network, task: Task) -> dict[str, np.ndarray]:
    sizes = network.gate_sizes
    missing = sorted(set(sizes) - set(task.gates))
    if missing:
        raise InvalidArgument(
            f"The network has the gates {', '.join(sizes)}, but the task has none called "
            f"{', '.join(missing)}; give them with Task(X, Y, gates={{...}}), one row a sample."
        )
    check_columns(task.gates, sizes)
    return {name: task.gates[name] for name in sizes}
