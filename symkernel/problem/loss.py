r"""The losses: squared error or cross-entropy, mean over samples, and weight decay.

A simulation knows a loss by its misfit, of which the error of the backward pass is half the
gradient by the outputs: the squared error, or twice the cross-entropy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import sympy as sp

from symkernel.errors import InvalidArgument
from symkernel.problem.scalars import as_expression

if TYPE_CHECKING:
    from symkernel.problem.task import Task

Misfit = Literal["squares", "softmax", "logistic"]

# Rows of targets that sum to 1 up to this are distributions.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class SquaredError:
    r"""Squared error, mean over samples, and weight decay if it is wanted.

    $$L = \kappa\, \langle |y - f(x)|^2 \rangle + \frac{\gamma}{2} \sum_W |W|^2$$

    Parameters
    ----------
    factor : number or SymPy expression
        The factor $\kappa$; 1/2 in the house convention. For "mean over outputs too" use
        1/(2 n_outputs), for "sum over samples" use n_samples/2.
    weight_decay : number or SymPy expression
        The strength $\gamma$ of weight decay. The sum runs over all trained parameters, biases
        included, as they are: a scale of the parameterisation is not multiplied in.

    Raises
    ------
    InvalidArgument
        If the factor is a number and not positive, or the weight decay one and negative.

    References
    ----------
    Weight decay, in linear networks and beyond: A. Krogh, J. A. Hertz, A simple weight decay can
    improve generalization, Advances in Neural Information Processing Systems 4, 950 (1991).

    Examples
    --------
    >>> from symkernel.problem.loss import SquaredError
    >>> assert SquaredError().factor * 2 == 1
    """

    factor: sp.Expr = sp.S.Half
    weight_decay: sp.Expr = sp.S.Zero

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Symbols without a value."""
        return self.factor.free_symbols | self.weight_decay.free_symbols

    def with_values(self, values: Mapping[sp.Symbol, object]) -> SquaredError:
        """Return the loss with numbers in place of symbols."""
        return SquaredError(self.factor.subs(values), self.weight_decay.subs(values))

    @property
    def convention(self) -> str:
        """The line that the conventions of a result have on it."""
        return (
            "L = factor x mean over samples of the squared error summed over outputs (factor 1/2 "
            "unless said otherwise)"
        )

    @property
    def misfit_factor(self) -> float:
        """What the mean of the misfit, here the squared error, is multiplied with."""
        return float(self.factor)

    def misfit(self, outputs: int) -> Misfit:
        """Return the name of the misfit for so many outputs."""
        return "squares"

    def values(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the loss of each sample, shape (n_samples,), without weight decay."""
        return self.misfit_factor * ((outputs - targets) ** 2).sum(1)

    def refuse(self, task: Task) -> None:
        """Refuse tasks that the loss does not suit: there are none."""

    def __post_init__(self) -> None:
        decay = as_expression(self.weight_decay, "weight_decay", "non-negative")
        object.__setattr__(self, "factor", as_expression(self.factor, "factor"))
        object.__setattr__(self, "weight_decay", sp.S.Zero if decay.is_zero else decay)


@dataclass(frozen=True)
class CrossEntropy:
    r"""Cross-entropy in nats, mean over samples, and weight decay if it is wanted.

    $$L = -\Big\langle \sum_c y_c \ln \frac{e^{f_c(x)}}{\sum_{c'} e^{f_{c'}(x)}} \Big\rangle
    + \frac{\gamma}{2} \sum_W |W|^2$$

    for targets that are distributions over the outputs, one-hot rows as a rule (`sk.one_hot`):
    without decay ``torch.nn.CrossEntropyLoss`` of the same outputs, for probabilities as targets.
    With a single output the loss is logistic, $\langle \ln(1 + e^{-y f(x)}) \rangle$, for targets
    -1 and +1.

    Parameters
    ----------
    weight_decay : number or SymPy expression
        The strength $\gamma$ of weight decay; see `SquaredError`.

    Raises
    ------
    InvalidArgument
        If the weight decay is a number and negative.

    Notes
    -----
    The laws of the catalogue are for squared error and refuse it by name.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> X = np.array([[1.0, 0], [0.8, 0.1], [0, 1], [0.1, 0.9]])
    >>> task = sk.Task(X, sk.one_hot([0, 0, 1, 1]))
    >>> net = sk.Network.mlp([2, 5, 2], activation="relu", bias=True)
    >>> w0 = sk.weights.gaussian(net, seed=1)
    >>> sim = sk.simulate(net, task, w0, 0.5, steps=400, loss=sk.CrossEntropy())
    >>> assert sim.loss[-1] < 0.05 and (sim.outputs[-1].argmax(1) == [0, 0, 1, 1]).all()
    """

    weight_decay: sp.Expr = sp.S.Zero

    def __post_init__(self) -> None:
        decay = as_expression(self.weight_decay, "weight_decay", "non-negative")
        object.__setattr__(self, "weight_decay", sp.S.Zero if decay.is_zero else decay)

    @property
    def factor(self) -> sp.Expr:
        """None: laws read the factor of a squared error here, and have to stop."""
        raise InvalidArgument(
            "Argument 'loss' must be a SquaredError here, not CrossEntropy: the result is for "
            "squared error alone. Use sk.simulate, which takes both."
        )

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Symbols without a value."""
        return self.weight_decay.free_symbols

    def with_values(self, values: Mapping[sp.Symbol, object]) -> CrossEntropy:
        """Return the loss with numbers in place of symbols."""
        return CrossEntropy(self.weight_decay.subs(values))

    @property
    def convention(self) -> str:
        """The line that the conventions of a result have on it."""
        return (
            "L = mean over samples of the cross-entropy in nats of the softmax of the outputs (of "
            "the logistic function of one output, with targets -1 and +1)"
        )

    @property
    def misfit_factor(self) -> float:
        """What the mean of the misfit, here twice the cross-entropy, is multiplied with."""
        return 0.5

    def misfit(self, outputs: int) -> Misfit:
        """Return the name of the misfit for so many outputs."""
        return "logistic" if outputs == 1 else "softmax"

    def values(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the loss of each sample, shape (n_samples,), without weight decay."""
        if outputs.shape[1] == 1:
            sides = (1 + targets) / 2, (1 - targets) / 2
            found = sides[0] * np.logaddexp(0, -outputs) + sides[1] * np.logaddexp(0, outputs)
            return found[:, 0]
        mass = np.logaddexp.reduce(outputs, axis=1, keepdims=True)
        return (targets * (mass - outputs)).sum(1)

    def refuse(self, task: Task) -> None:
        """Refuse a task whose targets are not classes."""
        if not task.is_numeric:
            return
        if task.X is None:
            raise InvalidArgument(
                "Argument 'loss' must be a SquaredError for a task without samples, given by "
                "moments, by modes or by a teacher: cross-entropy needs the class of each sample."
            )
        targets = task.Y
        if targets.shape[1] == 1:
            wrong = ~np.isin(targets[:, 0], (-1.0, 1.0))
            wanted, present = "-1 or +1, since the network has one output", len(np.unique(targets))
        else:
            wrong = (targets < 0).any(1) | (abs(targets.sum(1) - 1) > _ROUNDING)
            wanted = "a distribution over the outputs, as the rows of sk.one_hot(labels)"
            present = int((targets != 0).any(0).sum())
        if wrong.any():
            k = int(np.argmax(wrong))
            raise InvalidArgument(
                f"With CrossEntropy the targets 'Y' must each be {wanted}, but sample {k} has "
                f"{targets[k].tolist()}."
            )
        if present < 2:
            raise InvalidArgument(
                "With CrossEntropy the targets 'Y' must hold at least two classes, but all samples "
                "are of one: there is nothing to tell apart."
            )


Loss = SquaredError | CrossEntropy
