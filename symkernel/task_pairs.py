r"""A pair of tasks: A is learned, then B, then A again; forgetting, savings and transfer.

Losses $L_A, L_B$ at flow times $0$ (before), $T_A$ (after A) and $T_A + T_B$ (after B), and times
$\tau$ to learn a task, counted from the start of its phase as if that did not end:

- forgetting $L_A(T_A + T_B) - L_A(T_A)$; with the other sign it is the backward transfer,
- forward transfer $L_B(0) - L_B(T_A)$: what learning A did to B before any training on B,
- savings $1 - \tau_{A\,\mathrm{again}} / \tau_A$: the share of time saved in relearning,
- transfer savings $1 - \tau_{B\,\mathrm{after}\,A} / \tau_{B\,\mathrm{alone}}$.

Backward and forward transfer are those of Lopez-Paz & Ranzato (arXiv:1706.08840), with the fall
of a loss in place of the rise of an accuracy. Savings are Ebbinghaus's (1885), as a share: 1 if
nothing is left to relearn, 0 if relearning takes as long, negative if it takes longer. The transfer
savings are the "percentage of transfer" of psychology, (control - experimental) / control.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from symkernel.derivation import Derivation, derive
from symkernel.errors import InvalidArgument, NoClosedForm, OutsideValidity, as_positive
from symkernel.notation import t as _TIME
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.loss import SquaredError
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.problem.scalars import as_sympy
from symkernel.problem.task import Task
from symkernel.problem.values import by_symbol
from symkernel.problem.weights import Weights
from symkernel.trajectory import Trajectory

# At how many times a curve is looked at, and how often more closely between two of them.
_OF_LAW, _OF_RUN = (64, 6), (4000, 0)
# A run is followed for so many times the two phases unless a horizon is given.
_PATIENCE = 4.0


@dataclass(frozen=True)
class PairNumbers:
    """What was measured of a pair of tasks.

    Times such as `second_after_time` and `relearning_time` count from the start of their phase;
    infinity means that the level was not reached within the horizon, not that it never is.

    Attributes
    ----------
    forgetting, forward_transfer : float
        Differences of losses.
    learning_time, relearning_time, second_alone_time, second_after_time : float
        Flow times.
    """

    forgetting: float
    forward_transfer: float
    learning_time: float
    relearning_time: float
    second_alone_time: float
    second_after_time: float

    @property
    def backward_transfer(self) -> float:
        """Fall of the loss on the first task while the second one is learned."""
        return -self.forgetting

    @property
    def savings(self) -> float:
        """Share of the time that relearning the first task saves."""
        return _saved(self.learning_time, self.relearning_time)

    @property
    def transfer_savings(self) -> float:
        """Share of the time that the first task saves in learning the second one."""
        return _saved(self.second_alone_time, self.second_after_time)


def _saved(control: float, experimental: float) -> float:
    return 1 - experimental / control if 0 < control < np.inf else float("nan")


@dataclass(frozen=True, eq=False, repr=False)
class TaskPair:
    """Two tasks, learned one after the other and then the first one again.

    Attributes
    ----------
    problem : Problem
        Network, initial weights, loss and the curriculum first - second - first without end.
    law_name : str or None
        The law that was asked for.
    """

    problem: Problem
    law_name: str | None = None

    def __repr__(self) -> str:
        durations = ", ".join(str(phase.duration) for phase in self._phases[:2])
        return f"TaskPair(flow times: {durations})"

    @property
    def _phases(self) -> Sequence[Phase]:
        return self.problem.curriculum.phases

    @cached_property
    def law(self) -> Derivation:
        """The law through the three phases; of it `task_loss`, `mode` and `learning_time`."""
        return self._derived(self.problem.curriculum)

    @cached_property
    def _without_first(self) -> tuple[Derivation, sp.Dummy]:
        """The law with a symbol for the duration of the first task, which may then be 0."""
        duration = sp.Dummy("D", positive=True)
        first, second, _ = self._phases
        course = Curriculum((Phase(first.task, duration), Phase(second.task)))
        return self._derived(course), duration

    def _derived(self, course: Curriculum) -> Derivation:
        problem = self.problem
        found = derive(
            problem.network, course, problem.weights, law=self.law_name, loss=problem.loss
        )
        if found.law.asymptotics is not None and self.law_name is None:
            raise NoClosedForm(
                f"No exact law of the catalogue covers this pair; '{found.law.name}' is of "
                f"{found.law.rank}. Ask for it, law={found.law.name!r}, or use 'simulated'.",
                found.assumptions,
            )
        return found

    @cached_property
    def forgetting(self) -> sp.Expr:
        """Rise of the loss on the first task while the second one is learned."""
        return self._at(0, 1, self._switches[1]) - self._at(0, 0, self._switches[0])

    @property
    def backward_transfer(self) -> sp.Expr:
        """Fall of the loss on the first task while the second one is learned."""
        return -self.forgetting

    @cached_property
    def forward_transfer(self) -> sp.Expr:
        """Fall of the loss on the second task while the first one is learned."""
        return self._at(1, 0, sp.S.Zero) - self._at(1, 0, self._switches[0])

    @property
    def _switches(self) -> tuple[sp.Expr, sp.Expr]:
        _, one, two = self.problem.curriculum.starts
        return as_sympy(one), as_sympy(two)

    def _at(self, task: int, phase: int, time: sp.Expr) -> sp.Expr:
        return self._per_mode("task_loss").task_loss(task, phase).subs(_TIME, time)

    def _per_mode(self, what: str) -> Derivation:
        """Return the law, if it is one closed form per mode."""
        if self.law.derived.strength is None:
            raise self.law.not_per_mode(what, "pair.numbers(level=...)")
        return self.law

    def savings(self, fraction: Any, mode: int = 0) -> sp.Expr:
        """Return the share of time that a mode saves in relearning the first task.

        Parameters
        ----------
        fraction : number in (0, 1) or SymPy expression
            Of the final value, at which the mode counts as learned.
        mode : int
            Position of the mode, from 0.

        Notes
        -----
        Where the mode is still beyond that fraction there is nothing to relearn, and savings are
        1; minus infinity where it never gets there again. With symbols it is the formula for a
        mode that has to be relearned.
        """
        control = self._per_mode("savings").learning_time(fraction, mode, 0)
        return _share(control, self._time(fraction, mode, 2))

    def transfer_savings(self, fraction: Any, mode: int = 0) -> sp.Expr:
        """Return the share of time that the first task saves a mode in learning the second one.

        The arguments are those of `savings`.
        """
        self._per_mode("transfer_savings")
        alone, duration = self._without_first
        control = alone.learning_time(fraction, mode, 1).subs(duration, 0)
        return _share(control, self._time(fraction, mode, 1))

    def _time(self, fraction: Any, mode: int, phase: int) -> sp.Expr:
        """Return the time to learn a mode in a phase, 0 if it has been learned already."""
        assert self.law.derived.strength is not None
        s, d = self.law.derived.strength(mode, phase)
        reached = self.law.mode(mode, phase).output.subs(_TIME, self._switches[phase - 1])
        beyond = (reached - fraction * s / d) * s
        if s != 0 and beyond.is_number and beyond >= 0:
            return sp.S.Zero
        try:
            return self.law.learning_time(fraction, mode, phase)
        except OutsideValidity:
            return sp.oo

    def numbers(
        self,
        level: float,
        values: Mapping[Any, Any] | None = None,
        *,
        horizon: float | None = None,
    ) -> PairNumbers:
        """Return all of it in numbers, from the compiled law.

        Parameters
        ----------
        level : float
            A task counts as learned when the loss on it has fallen to this.
        values : mapping of Symbol to number, optional
            A value for every symbol of the problem.
        horizon : float, optional
            Flow time for which learning is followed in each phase; by default four times the two
            durations together.

        Notes
        -----
        Any law serves, also one that has no closed form per mode.
        """
        pair = self._with_values(values)
        curves = [pair._derived(course).compile() for course in pair._courses]
        return pair._measured(curves, level, horizon, _OF_LAW)

    def simulated(
        self,
        level: float,
        learning_rate: float,
        values: Mapping[Any, Any] | None = None,
        *,
        horizon: float | None = None,
        **options: Any,
    ) -> PairNumbers:
        """Return all of it in numbers, from gradient descent; any network will do.

        Parameters
        ----------
        level, values, horizon
            As for `numbers`.
        learning_rate : float
            Flow time of one step.
        options
            As for `symkernel.simulate`.
        """
        from symkernel.simulation import simulate

        pair = self._with_values(values)
        net, w0, loss = pair.problem.network, pair.problem.weights, pair.problem.loss

        def run(course: Curriculum) -> Callable[[Any], Trajectory]:
            return lambda times: simulate(
                net, course, w0, learning_rate, record=times, loss=loss, **options
            )

        return pair._measured([run(course) for course in pair._courses], level, horizon, _OF_RUN)

    def _with_values(self, values: Mapping[Any, Any] | None) -> TaskPair:
        if self.problem.is_numeric and not values:
            return self
        given = by_symbol(self.problem, values or {})
        return TaskPair(self.problem.with_values(given), self.law_name)

    @property
    def _courses(self) -> tuple[Curriculum, ...]:
        """First alone, second alone, second after first, first again."""
        first, second, again = self._phases
        return (
            Curriculum((again,)),
            Curriculum((Phase(second.task),)),
            Curriculum((first, Phase(second.task))),
            self.problem.curriculum,
        )

    def _measured(
        self,
        curves: Sequence[Callable[[Any], Trajectory]],
        level: float,
        horizon: float | None,
        looks: tuple[int, int],
    ) -> PairNumbers:
        level = as_positive(level, "level")
        one, two = map(float, self._switches)
        span = _PATIENCE * two if horizon is None else as_positive(horizon, "horizon")
        judged, starts = (0, 0, 1, 0), (0.0, 0.0, one, two)
        times = [
            _first_time(curve, task, start, level, span, looks)
            for curve, task, start in zip(curves, judged, starts, strict=True)
        ]
        losses = curves[3]([0.0, one, two]).task_losses
        return PairNumbers(
            float(losses[2, 0] - losses[1, 0]),
            float(losses[0, 1] - losses[1, 1]),
            learning_time=times[0],
            relearning_time=times[3],
            second_alone_time=times[1],
            second_after_time=times[2],
        )


def _share(control: sp.Expr, experimental: sp.Expr) -> sp.Expr:
    return -sp.oo if experimental == sp.oo else 1 - experimental / control


def _first_time(
    curve: Callable[[Any], Trajectory],
    task: int,
    start: float,
    level: float,
    span: float,
    looks: tuple[int, int],
) -> float:
    """Return how long after `start` the loss on a task first falls to a level."""
    points, zooms = looks
    low, high, share = 0.0, span, 0.0
    for zoom in range(zooms + 1):
        found = curve(start + np.linspace(low, high, points))
        losses, since = found.task_losses[:, task], found.times - start
        below = np.flatnonzero(losses <= level)
        # Looked at more closely, rounding may lift either end over the level.
        if not below.size:
            return high if zoom else float("inf")
        k = below[0]
        if k == 0:
            return low
        low, high = float(since[k - 1]), float(since[k])
        share = float((losses[k - 1] - level) / (losses[k - 1] - losses[k]))
    return low + share * (high - low)


def task_pair(
    network: Network,
    first: Task,
    second: Task,
    weights: Weights,
    durations: Sequence[Any],
    *,
    law: str | None = None,
    loss: SquaredError | None = None,
) -> TaskPair:
    r"""Return a pair of tasks, with its forgetting, savings and transfer.

    Parameters
    ----------
    network : Network
    first, second : Task
        The network learns the first, then the second, then the first one again.
    weights : Weights
        Initial weights.
    durations : sequence of two numbers or SymPy expressions
        Flow times for which the first and the second task are learned.
    law : str, optional
        Ask for one law of the catalogue, as in `symkernel.derive`.
    loss : SquaredError, optional
        Factor 1/2 by default.

    Returns
    -------
    TaskPair
        In closed form, of laws per mode: `forgetting`, `backward_transfer`, `forward_transfer`,
        `savings` and `transfer_savings`; `law` is the derivation through all phases. In numbers:
        `numbers` from any compiled law, `simulated` from gradient descent on any network.

    Examples
    --------
    >>> import sympy as sp, symkernel as sk
    >>> s, r, a, T, D = sp.symbols("s r a T D", positive=True)
    >>> net = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
    >>> first, second = sk.Task.from_modes(s), sk.Task.from_modes(r)
    >>> w0 = sk.weights.aligned(net, first, a=a, b=a)
    >>> pair = sk.task_pair(net, first, second, w0, durations=[T, D])
    >>> in_the_end = sp.limit(sp.limit(pair.forgetting, D, sp.oo), T, sp.oo)
    >>> assert sp.expand(in_the_end - (s - r) ** 2 / 2) == 0
    """
    given = list(durations) if isinstance(durations, (Sequence, np.ndarray)) else []
    if len(given) != 2 or isinstance(durations, str):
        raise InvalidArgument(
            f"Argument 'durations' must hold two flow times, of the first and of the second task, "
            f"not {durations!r}."
        )
    if any(duration is None for duration in given):
        raise InvalidArgument(
            "Argument 'durations' must hold flow times that end; take the limit of the result for "
            "a phase without end."
        )
    one, two = given
    course = Curriculum((Phase(first, one), Phase(second, two), Phase(first)))
    problem = Problem(network, course, weights, SquaredError() if loss is None else loss)
    return TaskPair(problem, law)
