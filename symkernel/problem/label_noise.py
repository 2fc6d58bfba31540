r"""Label noise: what training sees in place of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from symkernel.errors import InvalidArgument, ShapeMismatch, as_positive
from symkernel.problem.loss import Loss, SquaredError
from symkernel.problem.task import Task


@dataclass(frozen=True)
class LabelNoise:
    r"""Noise on the labels, drawn anew at each visit of a sample or once.

    Parameters
    ----------
    probability : float, optional
        For cross-entropy: with this probability a label is redrawn uniformly over ALL classes, its
        own among them; with K classes it is wrong with probability $p (K-1)/K$.
    std : float, optional
        For squared error: the standard deviation $\sigma$ of Gaussian noise on each target.
    online : bool
        Whether a label is redrawn at each visit of its sample. Otherwise labels are corrupted
        once, and stay so: a task that several phases share keeps its corrupted labels.

    Raises
    ------
    InvalidArgument
        If not exactly one of the two is given, for a probability outside (0, 1], and for a
        standard deviation that is not positive, or whose square is not finite.

    References
    ----------
    Gaussian noise drawn anew at each step, and what it regularises: G. Blanc, N. Gupta, G. Valiant,
    P. Valiant, arXiv:1904.09080 (2019).

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> X = np.random.default_rng(0).standard_normal((200, 3))
    >>> task = sk.Task(X, sk.one_hot((X[:, 0] > 0).astype(int)))
    >>> net = sk.Network.mlp([3, 8, 2], activation="relu", bias=True)
    >>> w0 = sk.weights.gaussian(net, seed=1)
    >>> how = dict(learning_rate=0.2, steps=2000, batch_size=4, loss=sk.CrossEntropy())
    >>> noisy = sk.simulate(net, task, w0, **how, label_noise=sk.LabelNoise(probability=0.2))
    >>> assert noisy.loss[-1] > 0.3 and noisy.task_losses[-1, 0] < 0.3
    """

    probability: float | None = None
    std: float | None = None
    online: bool = True

    def __post_init__(self) -> None:
        if (self.probability is None) == (self.std is None):
            raise InvalidArgument(
                "Exactly one of the arguments 'probability' (of a redraw, for cross-entropy) and "
                "'std' (for squared error) must be given."
            )
        name = "std" if self.probability is None else "probability"
        number = as_positive(getattr(self, name), name)
        object.__setattr__(self, name, number)
        if number * number == np.inf:
            raise InvalidArgument(f"Argument '{name}' must have a finite square, not {number:g}.")
        if self.probability is not None and self.probability > 1:
            raise InvalidArgument(
                f"Argument 'probability' must be in (0, 1], not {self.probability:g}."
            )
        if not isinstance(self.online, (bool, np.bool_)):
            raise InvalidArgument(f"Argument 'online' must be a bool, not {self.online!r}.")
        object.__setattr__(self, "online", bool(self.online))

    def drawn(self, targets: np.ndarray, stream: np.random.Generator) -> np.ndarray:
        """Return targets with noise; each sample takes the same numbers from the stream."""
        if self.std is not None:
            return targets + self.std * stream.standard_normal(targets.shape)
        assert self.probability is not None
        uniform = stream.random(len(targets))
        classes = max(targets.shape[1], 2)
        # One number says whether, and where it does, to which class; a quotient may round to 1.
        found, redrawn = targets.copy(), uniform < self.probability
        label = (uniform[redrawn] / self.probability * classes).astype(np.int64)
        label = np.minimum(label, classes - 1)
        if targets.shape[1] == 1:
            found[redrawn, 0] = 2 * label - 1
        else:
            found[redrawn] = 0.0
            found[redrawn, label] = 1.0
        return found

    def corrupted(self, task: Task, stream: np.random.Generator) -> Task:
        """Return the task with noise on its labels, drawn once."""
        return replace(task, Y=self.drawn(task.Y, stream), modes=None, exact=None)

    def mean(self, targets: np.ndarray) -> np.ndarray:
        """Return the mean of the targets over draws."""
        if self.probability is None:
            return targets
        outputs = targets.shape[1]
        return (1 - self.probability) * targets + self.probability * (outputs > 1) / outputs

    def variance(self, outputs: int) -> float:
        """Return by what the mean squared error of so many outputs exceeds that at the mean."""
        return 0.0 if self.std is None else outputs * self.std**2

    def __str__(self) -> str:
        what = (
            f"Gaussian, standard deviation {self.std:g}"
            if self.probability is None
            else f"with probability {self.probability:g} redrawn uniformly over all classes"
        )
        return f"{what}, {'anew at each visit' if self.online else 'once'}"


def as_label_noise(
    value: object, tasks: Sequence[Task], loss: Loss
) -> tuple[LabelNoise | None, ...]:
    """Return the label noise of each phase; `tasks` are those of the phases."""
    given = [value] * len(tasks) if value is None or isinstance(value, LabelNoise) else value
    if not isinstance(given, Sequence) or any(
        not (one is None or isinstance(one, LabelNoise)) for one in given
    ):
        raise InvalidArgument(
            f"Argument 'label_noise' must be a LabelNoise, or a list of one or None for each "
            f"phase, not {value!r}."
        )
    if len(given) != len(tasks):
        raise ShapeMismatch(
            f"Argument 'label_noise' must hold one entry for each of the {len(tasks)} phases, not "
            f"{len(given)}."
        )
    squared = isinstance(loss, SquaredError)
    for noise, task in zip(given, tasks, strict=True):
        if noise is None:
            continue
        if (noise.std is None) == squared:
            wanted = "std, as sk.LabelNoise(std=0.3)" if squared else "probability"
            raise InvalidArgument(
                f"Argument 'label_noise' must be given by its {wanted}, with "
                f"{type(loss).__name__}: {'targets are numbers' if squared else 'classes'} here."
            )
        if task.X is None:
            raise InvalidArgument(
                "Argument 'label_noise' must be left out for a task without samples; that of a "
                "teacher is given by sk.Task.from_teacher(..., noise=...)."
            )
    return tuple(given)
