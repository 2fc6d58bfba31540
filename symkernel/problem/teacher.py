"""Tasks without end: Gaussian inputs drawn anew for each step, labelled by a teacher network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from symkernel.errors import InvalidArgument, MissingValues, ShapeMismatch, as_positive
from symkernel.problem.moments import as_matrix, check_moment
from symkernel.problem.network import Network
from symkernel.problem.nodes import Input, Linear, Node, Slice, Sum
from symkernel.problem.task import Task
from symkernel.problem.weights import Weights, from_arrays


@dataclass(frozen=True, eq=False)
class Teacher:
    r"""What labels fresh samples: $x \sim N(0, C)$, $y = f^*(x) + \sigma\xi$.

    Attributes
    ----------
    network : Network
        Numerical, without gates.
    weights : mapping of str to ndarray
        Its weights by name.
    noise : float
        Standard deviation of the label noise of each output.
    covariance : ndarray or None
        Covariance of the inputs; None is the identity.
    """

    network: Network
    weights: Mapping[str, np.ndarray]
    noise: float
    covariance: np.ndarray | None

    @cached_property
    def root(self) -> np.ndarray | None:
        """The symmetric root of the covariance, which turns white inputs into these."""
        if self.covariance is None:
            return None
        values, vectors = np.linalg.eigh((self.covariance + self.covariance.T) / 2)
        return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def task_of(network: object, weights: object, noise: object, covariance: object) -> Task:
    """Return the task of a teacher; the face is `Task.from_teacher`."""
    if not isinstance(network, Network):
        raise InvalidArgument(
            f"Argument 'teacher' must be a Network, not {type(network).__name__}."
        )
    if not network.is_numeric:
        raise MissingValues("Argument 'teacher' must be a network with numbers; it has symbols.")
    if network.gates:
        raise InvalidArgument(
            "Argument 'teacher' must be a network without gates: these are given for each sample, "
            "and fresh samples have none."
        )
    if not isinstance(weights, Weights):
        raise InvalidArgument(
            f"Argument 'weights' must be the Weights of the teacher, not {type(weights).__name__}."
        )
    arrays = from_arrays(network, weights.arrays).arrays
    silent = isinstance(noise, (int, float)) and not isinstance(noise, bool) and noise == 0
    spread = 0.0 if silent else as_positive(noise, "noise", unit=" (or 0)")
    n_in, n_out = int(network.inputs), int(network.outputs)
    C = None if covariance is None else as_matrix(covariance, "covariance")
    if C is not None:
        if C.shape != (n_in, n_in):
            raise ShapeMismatch(
                f"Argument 'covariance' must be of shape {(n_in, n_in)}, not {C.shape}."
            )
        check_moment(C, "covariance")
        C.setflags(write=False)
    moments = {}
    if network.is_linear:
        A, Sxx = _linear_map(network, arrays), np.eye(n_in) if C is None else C
        Syy = A @ Sxx @ A.T + spread**2 * np.eye(n_out)
        moments = {"Sxx": Sxx, "Syx": A @ Sxx, "Syy": (Syy + Syy.T) / 2}
    shape = "white" if C is None else "correlated"
    note = (
        f"drawn anew for each step: {shape} Gaussian inputs, labels of a teacher with noise "
        f"{spread:g}"
    )
    return Task(teacher=Teacher(network, arrays, spread, C), history=(note,), **moments)


def _linear_map(network: Network, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the end-to-end map of a linear network."""
    maps: dict[Node, np.ndarray] = {}
    for node in network.order:
        match node:
            case Input():
                maps[node] = np.eye(int(network.inputs))
            case Linear(parameter=p, child=child):
                matrix = weights[p.name] if p.kind == "dense" else np.diag(weights[p.name])
                maps[node] = float(p.scale) * matrix @ maps[child]
            case Slice(child=child, start=start, stop=stop):
                maps[node] = maps[child][int(start) : int(stop)]
            case Sum(terms=terms):
                maps[node] = np.sum([maps[term] for term in terms], axis=0)
            case _:  # an activation that hands its child on
                maps[node] = maps[node.children[0]]
    return maps[network.output]
