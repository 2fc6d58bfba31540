"""Networks that are linear regression on features: which they are, and what is best for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from symkernel.errors import InvalidArgument, NoClosedForm
from symkernel.problem.loss import SquaredError
from symkernel.problem.nodes import Parameter
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.theory.gradient_flow import GradientFlow

# Variances and residuals below so much of the largest are rounding.
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Readout:
    """A network as linear regression on features: its one trained parameter, and what it reads.

    Attributes
    ----------
    parameter : Parameter
    features : ndarray, shape (n_features, n_inputs)
        The output is the parameter times these times the input.
    pace : float
        The rate in these features is the learning rate times this.
    """

    parameter: Parameter
    features: np.ndarray
    pace: float

    @classmethod
    def of(cls, problem: Problem) -> Readout:
        """Return how a network reads out, if it does so linearly."""
        net, loss = problem.network, problem.loss
        if not isinstance(loss, SquaredError):
            raise InvalidArgument(
                f"Argument 'loss' must be a SquaredError, not {type(loss).__name__}: of other "
                f"losses a step is not linear in the weights."
            )
        trained = [p for p in net.parameters if p.trained]
        if loss.weight_decay != 0:
            raise NoClosedForm(
                "The second-moment law is for descent without weight decay; leave it out, or "
                "simulate."
            )
        factor = float(loss.factor)
        words = GradientFlow(net, loss).output
        last = trained[0] if len(trained) == 1 and trained[0].kind == "dense" else None
        heads = [word[0] for word in words.terms]
        if last is None or any(head != (last.name, False) for head in heads):
            names = ", ".join(p.name for p in trained)
            raise NoClosedForm(
                f"The second-moment law is for networks of which the last layer alone is trained, "
                f"a dense one, but of this one {names or 'nothing'} is trained; with more layers "
                f"the moments of the weights do not close. Fix the others, as with "
                f"Parameter(..., trained=False), or simulate."
            )
        if any(name == last.name for word in words.terms for name, _ in word[1:]):
            raise NoClosedForm(
                f"The second-moment law is for networks that are linear in what is trained, but "
                f"the output has '{last.name}' more than once in a product; simulate."
            )
        arrays = problem.weights.arrays
        inputs = int(net.inputs)
        features = np.zeros((int(last.shape[1]), inputs))
        for word, coefficient in words.terms.items():
            layers = (arrays[name] for name, _ in word[1:-1])
            features += float(coefficient) * reduce(np.matmul, layers, np.eye(len(features)))
        return cls(last, features, 2 * factor * float(last.rate))

    def moment(self, task: Task) -> np.ndarray:
        """Return the second moment of the features."""
        return np.asarray(self.features @ task.Sxx @ self.features.T)

    def least_squares(self, task: Task) -> tuple[np.ndarray, np.ndarray]:
        """Return the smallest optimum, and the second moment of what it leaves of the targets."""
        if task.sample_weights is not None:
            raise InvalidArgument(
                "Argument 'task' must not have sample_weights here: samples are drawn alike."
            )
        if task.Sxx is None or task.Syx is None or task.Syy is None:
            raise NoClosedForm(
                "The second-moment law is for a set of samples, for moments and for linear "
                "teachers; this teacher is not linear. Draw samples of it, or simulate."
            )
        return regression(self.moment(task), task.Syx @ self.features.T, task.Syy)


def regression(
    H: np.ndarray, cross: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest optimum, and the second moment of what it leaves of the targets.

    Parameters
    ----------
    H : ndarray, shape (n_features, n_features)
        Second moment of the features.
    cross : ndarray, shape (n_outputs, n_features)
        That of targets and features.
    targets : ndarray, shape (n_outputs, n_outputs)
        That of the targets.
    """
    least = cross @ np.linalg.pinv(H, rcond=ROUNDING, hermitian=True)
    met = least @ cross.T
    left = targets - met - met.T + least @ H @ least.T
    # What is left of targets that are met is rounding.
    return least, left * (np.trace(left) > ROUNDING * np.trace(targets))
