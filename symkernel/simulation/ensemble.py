"""Many networks of one structure at once: the same task, each from its own initial weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from threadpoolctl import threadpool_limits

from symkernel.errors import Diverged, InvalidArgument, ShapeMismatch, as_count
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.label_noise import LabelNoise
from symkernel.problem.loss import Loss
from symkernel.problem.network import Network
from symkernel.problem.task import Task
from symkernel.problem.weights import Weights
from symkernel.simulation.descent import simulate, train
from symkernel.simulation.setup import Gates, prepare
from symkernel.trajectory import Trajectory


def simulate_ensemble(
    net: Network,
    curriculum: Task | Curriculum,
    members: Sequence[Weights],
    learning_rate: float,
    *,
    steps: int | None = None,
    record: object = None,
    batch_size: int | None = None,
    seeds: Sequence[int] | None = None,
    loss: Loss | None = None,
    label_noise: LabelNoise | Sequence[LabelNoise | None] | None = None,
    reset: Sequence[Mapping[str, np.ndarray] | None] | None = None,
    on: str = "auto",
    gates: Gates | Sequence[Gates] | None = None,
    progress: bool = False,
) -> tuple[Trajectory, ...]:
    r"""Train many networks by gradient descent, in parallel.

    All but the following parameters are those of `simulate`.

    Parameters
    ----------
    members : sequence of Weights
        Initial weights of each member.
    seeds : sequence of int, optional
        Seed of each member's order of mini-batches, fresh samples and label noise; its position if
        not given.
    reset : sequence of mappings or None, optional
        As for `simulate`; an array may have an axis more, in front, for values of each member.

    Returns
    -------
    tuple of Trajectory
        One for each member, the same to the last bit for any number of threads, and the same as
        from `simulate`.

    Raises
    ------
    Diverged
        If a member diverges; the message names it.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> net = sk.Network.two_layer(inputs=3, hidden=4, outputs=2, activation="tanh")
    >>> task = sk.Task(np.eye(3), np.eye(3)[:, :2])
    >>> w0 = [sk.weights.gaussian(net, seed=k) for k in range(4)]
    >>> sims = sk.simulate_ensemble(net, task, w0, learning_rate=0.1, steps=100)
    >>> assert len(sims) == 4 and all(sim.loss[-1] < sim.loss[0] for sim in sims)
    """
    if isinstance(members, Weights) or not isinstance(members, Sequence) or not members:
        raise InvalidArgument(
            f"Argument 'members' must be a non-empty sequence of Weights, one for each member, not "
            f"{members!r}."
        )
    setup = prepare(
        net, curriculum, members, learning_rate, steps, record, batch_size, loss, on, gates,
        label_noise, reset,
    )  # fmt: skip
    several = isinstance(seeds, (Sequence, np.ndarray)) and np.ndim(seeds) == 1
    if seeds is not None and not (several and len(seeds) == len(members)):
        raise ShapeMismatch(
            f"Argument 'seeds' must hold one seed for each of the {len(members)} members, not "
            f"{len(seeds) if several else repr(seeds)}."
        )
    streams = [as_count(s, "seeds", 0) for s in (range(len(members)) if seeds is None else seeds)]
    if batch_size is None and not any(setup.noise):
        return train(setup, 0, progress)

    # Each member has an order of its own, so that no block of data is common to two.
    def one(member: int) -> Trajectory:
        own = [{name: w[member] for name, w in new.items()} for new in setup.resets]
        try:
            return simulate(
                net, curriculum, members[member], learning_rate, steps=steps, record=record,
                batch_size=batch_size, seed=streams[member], loss=loss, label_noise=label_noise,
                reset=own, on=on, gates=gates, progress=progress and member == 0,
            )  # fmt: skip
        except Diverged as error:
            words = f"Member {member}: {error}"
            raise Diverged(words, error.step, error.learning_rate, error.stable_limit) from None

    # The limit is set here too, since the first member to finish lifts the one it has set.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(numba.get_num_threads()) as pool:
        return tuple(pool.map(one, range(len(members))))
