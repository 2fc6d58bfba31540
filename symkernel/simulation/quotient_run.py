r"""Training of a quotient, with the first-order response of what the quotient leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from symkernel.errors import InvalidArgument, OutsideValidity, as_positive
from symkernel.problem.loss import SquaredError
from symkernel.problem.quotient import Quotient
from symkernel.problem.weights import Weights, from_arrays
from symkernel.simulation.descent import simulate
from symkernel.trajectory import Trajectory

# The transverse part that is followed, relative to the true one: the error of the difference is of
# this order, that of rounding 1e-16 over it.
_SHARE = 1e-5
# What is followed stays of first order while it is smaller than this beside the tied weights.
_SMALL = 1e-2
# Transverse parts below this, relative to the weights, are rounding: the weights are symmetric.
_ROUNDING = 1e-13


@dataclass(frozen=True, eq=False)
class QuotientRun:
    r"""What a quotient predicts of the training of the original network.

    Attributes
    ----------
    quotient : Quotient
    trajectory : Trajectory
        Training of the smaller problem: its loss, outputs and hidden activity at one sample of
        each orbit.
    start : mapping of str to ndarray
        Initial transverse part, which the quotient leaves out.
    response : mapping of str to ndarray, (n_times,) + shape, or None
        First-order response to it: the transverse part through training.
    """

    quotient: Quotient
    trajectory: Trajectory
    start: Mapping[str, np.ndarray]
    response: Mapping[str, np.ndarray] | None

    @property
    def times(self) -> np.ndarray:
        """Flow times, shape (n_times,)."""
        return self.trajectory.times

    @cached_property
    def weights(self) -> Mapping[str, np.ndarray]:
        """Weights of the original network that the quotient predicts, (n_times,) + shape each."""
        return self.quotient.lift(self.trajectory.weights)

    def weights_at(self, record: int = -1, order: int = 0) -> Weights:
        """Return predicted weights of the original network, say for `symkernel.activity`.

        Parameters
        ----------
        record : int
            Position of the time; the last one by default.
        order : {0, 1}
            Order in the transverse part: 0 for the quotient, 1 with the response added.
        """
        if isinstance(order, bool) or order not in (0, 1):
            raise InvalidArgument(f"Argument 'order' must be 0 or 1, not {order!r}.")
        count = len(self.times)
        whole = isinstance(record, (int, np.integer)) and not isinstance(record, bool)
        if not whole or not -count <= record < count:
            raise InvalidArgument(
                f"Argument 'record' must be the position of one of {count} times, not {record!r}."
            )
        found = {name: w[record] for name, w in self.weights.items()}
        if order:
            response = self._responded()
            found = {name: w + response[name][record] for name, w in found.items()}
        return from_arrays(self.quotient.original, found)

    def _responded(self) -> Mapping[str, np.ndarray]:
        if self.response is None:
            raise OutsideValidity(
                "This run has no first-order response; run simulate_quotient with first_order=True."
            )
        if self.is_beyond_first_order:
            raise OutsideValidity(
                f"The transverse part grows so much that {_SHARE:g} of it is no longer small "
                f"beside the weights that the quotient predicts: its response is not of first "
                f"order, and the quotient says nothing of this training."
            )
        return self.response

    @cached_property
    def is_beyond_first_order(self) -> bool:
        """Whether the transverse part grows so much that no response to first order is known."""
        if self.response is None:
            return False
        followed = _SHARE * self._size(self.response)
        return not bool((followed <= _SMALL * self.tied_size).all())

    @cached_property
    def tied_size(self) -> np.ndarray:
        """Euclidean norm of all trained weights that the quotient predicts, shape (n_times,)."""
        return self._size(self.weights)

    @cached_property
    def transverse_size(self) -> np.ndarray:
        """Euclidean norm of the transverse part, to first order, shape (n_times,)."""
        return self._size(self._responded())

    @property
    def growth(self) -> float:
        """How often larger the transverse part is at the end than at the start; nan without one."""
        if not self.start_size:
            return float("nan")
        return float(self.transverse_size[-1] / self.start_size)

    @property
    def start_size(self) -> float:
        """Euclidean norm of the initial transverse part."""
        return float(self._size({name: w[None] for name, w in self.start.items()})[0])

    def _size(self, weights: Mapping[str, np.ndarray]) -> np.ndarray:
        trained = (p.name for p in self.quotient.original.parameters if p.trained)
        squares = [(w.reshape(len(w), -1) ** 2).sum(1) for w in (weights[n] for n in trained)]
        return np.sqrt(sum(squares))

    def __repr__(self) -> str:
        begin, end = (float(self.tied_size[k]) for k in (0, -1))
        last = "at the end not followed (first_order=False)"
        if self.is_beyond_first_order:
            last = f"beyond first order at the end, beside {end:.3g}"
        elif self.response is not None:
            size = float(self.transverse_size[-1])
            last = f"{size:.3g} beside {end:.3g} at the end (grown {self.growth:.3g} times)"
        return (
            f"QuotientRun({self.quotient}, {len(self.times)} times; transverse part "
            f"{self.start_size:.3g} beside {begin:.3g} at the start, {last})"
        )


def simulate_quotient(
    quotient: Quotient,
    w0: Weights,
    learning_rate: float,
    *,
    steps: int | None = None,
    record: object = None,
    loss: SquaredError | None = None,
    first_order: bool = True,
    progress: bool = False,
) -> QuotientRun:
    r"""Predict training by "project, then train the quotient", to first order in what is left out.

    Initial weights are $w = P w + R w$ with the projection $P w$ on weights that the symmetries
    leave as they are. The quotient is trained from $P w$. The response is

    $$\delta(t) = \lim_{\epsilon\to 0} R\, \Phi_t(P w + \epsilon R w)/\epsilon$$

    with the descent $\Phi_t$ of the original network: symmetry keeps first-order responses to a
    transverse part transverse.

    Parameters
    ----------
    quotient : Quotient
    w0 : Weights
        Initial weights of the original network.
    learning_rate, steps, record, loss, progress
        As for `simulate`; full batches.
    first_order : bool
        Whether to follow the transverse part too, which costs a training of the original network.

    Returns
    -------
    QuotientRun
        It shows how large the transverse part is beside the rest: there the prediction is good
        while it is small.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> env = sk.environments.Multitasking(groups=2, features=2)
    >>> net, prompts = env.network(hidden=20), env.single
    >>> w0 = env.weights(net, scale=0.01, seed=1)
    >>> quotient = sk.quotient(net, prompts.task, fixing="W_s")
    >>> run = sk.simulate_quotient(quotient, w0, learning_rate=20.0, steps=30)
    >>> true = sk.simulate(net, prompts.task, w0, learning_rate=20.0, steps=30)
    >>> last = {name: w[-1] for name, w in true.weights.items()}
    >>> def off(order):
    ...     found = run.weights_at(-1, order).arrays
    ...     return max(abs(found[name] - last[name]).max() for name in last)
    >>> assert off(order=1) < off(order=0) / 2
    """
    if not isinstance(quotient, Quotient):
        raise InvalidArgument(
            f"Argument 'quotient' must be a Quotient, see sk.quotient, not {quotient!r}."
        )
    rate = as_positive(learning_rate, "learning_rate")
    if loss is not None and not isinstance(loss, SquaredError):
        raise InvalidArgument(
            f"Argument 'loss' must be a SquaredError, not {loss!r}: the quotient of a task has "
            f"fewer outputs, which stand for several, and a softmax over these is another one."
        )
    tied = quotient.project(w0)
    start = {
        name: rest * bool(abs(rest).max() > _ROUNDING * abs(tied.arrays[name]).max())
        for name, rest in quotient.transverse(w0).items()
    }
    run = simulate(
        quotient.network, quotient.curriculum, quotient.reduce(w0), rate,
        steps=steps, record=record, loss=loss, progress=progress, on="samples",
    )  # fmt: skip
    response = None
    if first_order:
        moved = {name: w + _SHARE * start[name] for name, w in tied.arrays.items()}
        full = simulate(
            quotient.original, quotient.original_curriculum, from_arrays(quotient.original, moved),
            rate, steps=steps, record=record, loss=loss, progress=progress, on="samples",
        )  # fmt: skip
        response = {name: w / _SHARE for name, w in quotient.transverse(full.weights).items()}
    return QuotientRun(quotient, run, start, response)
