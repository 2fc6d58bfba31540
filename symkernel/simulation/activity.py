"""What a network answers to inputs of any kind, with given weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from symkernel.errors import InvalidArgument, ShapeMismatch, as_real_array
from symkernel.problem.gates import as_gates, check_columns
from symkernel.problem.network import Network
from symkernel.problem.weights import Weights, from_arrays
from symkernel.simulation.reading import Pass


def activity(
    net: Network,
    weights: Weights | Mapping[str, object] | Sequence[object],
    X: object,
    node: str = "output",
    gates: Mapping[str, object] | None = None,
) -> np.ndarray:
    """Return the activity of a node at any inputs, those of training or others.

    Parameters
    ----------
    net : Network
        With numbers.
    weights : Weights, or mapping or sequence of array_like
        For example those at one time of a trajectory, by name.
    X : array_like, shape (n_samples, n_inputs)
    node : str
        A name of ``net.nodes``.
    gates : mapping of str to array_like, shape (n_samples, size) or (n_samples, 1)
        For networks with gates.

    Returns
    -------
    ndarray, shape (n_samples, size of the node)

    Raises
    ------
    InvalidArgument, ShapeMismatch, MissingValues
        For weights, inputs or gates that do not fit the network, and nodes that it has not.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> net = sk.Network.mlp([3, 4, 2], "tanh")
    >>> task = sk.Task(np.eye(3), np.eye(3)[:, :2])
    >>> w0 = sk.weights.gaussian(net, seed=0)
    >>> run = sk.simulate(net, task, w0, learning_rate=0.1, steps=20)
    >>> last = {name: w[-1] for name, w in run.weights.items()}
    >>> assert np.allclose(sk.activity(net, last, task.X), run.outputs[-1])
    >>> assert sk.activity(net, last, np.ones((5, 3)), "hidden").shape == (5, 4)
    """
    if not isinstance(net, Network):
        raise InvalidArgument(f"Argument 'net' must be a Network, not {net!r}.")
    arrays = weights.arrays if isinstance(weights, Weights) else weights
    if isinstance(arrays, Mapping):
        _refuse_times(net, arrays)
    given = from_arrays(net, arrays)
    inputs = as_real_array(X, "X", 2)
    if inputs.shape[1] != net.inputs:
        raise ShapeMismatch(
            f"Argument 'X' must have one column for each of the {net.inputs} inputs of the "
            f"network, not {inputs.shape[1]}."
        )
    found = as_gates(gates or {}, inputs)
    for name in net.gates:
        if name not in found:
            raise InvalidArgument(
                f"Argument 'gates' must hold the gate '{name}' of the network, an array of "
                f"{len(inputs)} rows."
            )
    check_columns(found, net.gate_sizes)
    place = net.node(node)
    return np.array(Pass(net, given.arrays, inputs, found).values[place])


def _refuse_times(net: Network, weights: Mapping[str, object]) -> None:
    """Refuse the weights of a whole trajectory, which have an axis of times before their own."""
    for p in net.parameters:
        given = weights.get(p.name)
        if isinstance(given, np.ndarray) and given.ndim == len(p.shape) + 1:
            raise ShapeMismatch(
                f"Argument 'weights' must hold one array of shape {p.shape} for '{p.name}', not "
                f"{given.shape}: these are the weights at {len(given)} times; choose one, as "
                f"{{name: w[-1] for name, w in run.weights.items()}}."
            )
