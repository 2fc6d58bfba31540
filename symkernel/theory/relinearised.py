r"""Any network: the frozen-kernel law piece by piece, its kernels refreshed on the way.

Between two refreshes the network is linearised at the weights that the law itself has reached. The
refreshes part the way into pieces in each of which the kernel moves by the same share of itself,
as a first look along the way predicts. Their number is doubled until three numbers in a row show
that the error halves, and until what is left, with a factor 3 for safety, is within the tolerance:
of outputs relative to the largest, of inner nodes and weights relative to how far they move.

Notes
-----
A linearisation is exact in the rate at its start: a piece has an error of second order in its
length, and the whole one that falls as 1/refreshes. With many refreshes this is an integrator of
the network's flow, one that is exact for stiff linear parts, and no prediction from the initial
weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.errors import (
    InvalidArgument,
    as_count,
    as_positive,
    as_real_array,
    refuse_large,
)
from symkernel.formula import (
    Asymptotics,
    Derived,
    Evidence,
    Family,
    Formula,
    Law,
    Result,
    Step,
    Verdict,
)
from symkernel.problem.problem import Problem
from symkernel.theory.frozen_checks import draw_smooth, example, frozen_derived, wide
from symkernel.theory.frozen_domain import needs
from symkernel.theory.frozen_numbers import frozen_numbers
from symkernel.theory.frozen_path import Clock
from symkernel.theory.frozen_system import LinearSystem
from symkernel.theory.frozen_words import SHAPES, FrozenWords, matrix
from symkernel.theory.relinearised_estimate import Comparison, compared, settled
from symkernel.theory.relinearised_look import Way, ways_through
from symkernel.theory.relinearised_path import Inputs, RelinearisedPath, through_pieces
from symkernel.theory.residual_integral import ResidualIntegral
from symkernel.theory.tangent_pass import Displacements, TangentPass
from symkernel.trajectory import Trajectory

_NAME = "relinearised"
RTOL = 1e-2
_START = notation.symbol(
    "t_j", "t_j", "when the kernel was last refreshed, counted as t is", nonnegative=True
)
_REFRESHES = (8, 16, 32, 64)
_STEP, _AGREE = 1e-5, 1e-7
# Vectors of weights that are kept for each record: of three paths, at the start of its piece and
# since then.
_KEPT = 6
# What formulas relate at one time; rates are left to the steps, for a refresh is a jump of them.
_AT_ONE_TIME = ("f", "f_0", "y", "r_0", "rho_0", "J", "J_h", "h", "h_0", "D", "C", "R")


# What the frozen law says of the start holds here of the last refresh.
_REASONS = {
    "Linearisation": "outputs f on all samples and any node h at any input, to first order in the "
    "displacement d of the trained parameters since the last refresh; the Jacobians J and J_h are "
    "those at the weights reached by then",
}
_MEANINGS = {
    "f_0": "the same at the last refresh",
    "h_0": "the same at the last refresh",
    "J": "Jacobian of f by the trained parameters, at the last refresh",
    "d": "displacement of the trained parameters since the last refresh",
    "rho_0": "weighted residual at the last refresh",
    "r_0": "residual at the last refresh",
}


def _since_refresh(step: Step) -> Step:
    """Return a step of the frozen law in the words of this one."""
    known = {sp.MatrixSymbol(name, *SHAPES[name]): words for name, words in _MEANINGS.items()}
    meanings = tuple((symbol, known.get(symbol, words)) for symbol, words in step.meanings)
    return replace(step, reason=_REASONS.get(step.title, step.reason), meanings=meanings)


@dataclass(frozen=True)
class RelinearisedWords(FrozenWords):
    """The derivation: that of the frozen law, from the last refresh on."""

    @property
    def integral(self) -> ResidualIntegral:
        """The node that stands for g, counted from the last refresh."""
        return ResidualIntegral(matrix("M"), matrix("rho_0"), notation.t - _START)

    def steps(self) -> tuple[Step, ...]:
        """Return the steps of the frozen law, and the refresh."""
        linear = self.linear["f"].matrix(SHAPES)
        refresh = Step(
            "Refresh",
            "at the time t_j the network is linearised anew at the weights reached, and d starts "
            "from 0. The rate of every parameter is exact there, so that a piece is wrong in "
            "second order of its length",
            (sp.Eq(matrix("f"), linear, evaluate=False),),
            self.check_refresh,
        )
        return (*map(_since_refresh, super().steps()), refresh)

    def check_refresh(self) -> Evidence:
        """Compare the linearised rate with differences of the network's own loss."""
        problem, task = self.problem, self.problem.curriculum.phases[0].task
        arrays = problem.weights.arrays
        system = LinearSystem.of(problem, task, arrays)
        rate = -system.down(system.residual(np.zeros(system.layout.count)))
        stream, worst = np.random.default_rng(1000), 0.0
        for _ in range(3):
            along = stream.standard_normal(rate.size)
            along /= np.linalg.norm(along)
            ahead, behind = (self._loss(system, side * _STEP * along) for side in (1, -1))
            slope = (ahead - behind) / (2 * _STEP)
            worst = max(worst, abs(float(slope + rate @ along)) / (float(np.abs(rate).max()) or 1))
        return Evidence(
            worst <= _AGREE,
            f"rate of the linearised network = minus the gradient of the network's loss, by "
            f"differences, to {worst:.0e}",
        )

    def _loss(self, system: LinearSystem, flat: np.ndarray) -> float:
        tangent = system.tangent
        moved = system.layout.moved(tangent.weights, flat)
        there = TangentPass(tangent.net, moved, tangent.X, tangent.gates)
        off = there.values[tangent.net.output] - system.task.Y
        return float(((system.gain * off) ** 2).sum() / 2)

    def formulas(self) -> tuple[Formula, ...]:
        """Return output, hidden activity and loss within a piece."""
        f, h, _, loss = super().formulas()
        return f, h, loss

    def result(self) -> Result:
        """Return everything as plain SymPy."""
        f, h, loss = self.formulas()
        return Result({"output": f.plain, "hidden": h.plain, "loss": loss.plain})


def _numbers(problem: Problem, seen: Trajectory, k: int) -> tuple[dict[Any, Any], ...]:
    """Return values of all symbols at one time, those of its piece."""
    # The formulas hold in pieces of any length; few leave room around a time for its rates.
    path = _solved(problem, seen.times, RTOL, Plan(4), Inputs.of(problem, None, None)).path
    piece = next(piece for piece in path.pieces if k in piece.rows)
    here = piece.path(problem, path.clock.times, path.inputs)
    row = int(np.flatnonzero(piece.rows == k)[0])
    (values,) = frozen_numbers(here.problem, here.trajectory(), row)
    known = {sp.MatrixSymbol(name, *SHAPES[name]) for name in _AT_ONE_TIME}
    kept = {
        symbol: value
        for symbol, value in values.items()
        if symbol in known or not isinstance(symbol, sp.MatrixSymbol)
    }
    kept.pop("displacement")
    return ({**kept, _START: piece.start},)


def _derive(problem: Problem) -> Derived:
    return frozen_derived(RelinearisedWords(problem), _numbers)


def _test(problem: Problem) -> tuple[Verdict, ...]:
    return needs(_NAME, problem)


@dataclass(frozen=True, eq=False)
class Plan:
    """How often each phase is refreshed, and where.

    Attributes
    ----------
    pieces : int
        Of each phase.
    shares : ndarray, shape (pieces + 1,), or None
        Where they begin and end, as shares of the phase; at equal movement if not given.
    """

    pieces: int
    shares: np.ndarray | None = None

    def ways(self, problem: Problem, clock: Clock) -> Sequence[Way | Asked]:
        """Return the way through every phase that is reached."""
        if self.shares is None:
            return ways_through(problem, clock)
        phases = clock.phases(problem.curriculum)
        return [Asked(self.shares * max(float(local.max()), 0.0)) for _, local in phases]


@dataclass(frozen=True, eq=False)
class Asked:
    """Refreshes of a phase at times that were asked for, its start and end included."""

    times: np.ndarray

    def refreshes(self, pieces: int) -> np.ndarray:
        """Return every so manieth of them."""
        return self.times[:: (len(self.times) - 1) // pieces]


@dataclass(frozen=True, eq=False)
class _Solution:
    """A path, what its coarser ones say of its error, and its refreshes in each phase."""

    path: RelinearisedPath
    comparison: Comparison
    refreshes: int


def _solved(
    problem: Problem, times: Any, rtol: float, plan: Plan | None, inputs: Inputs
) -> _Solution:
    clock = Clock.of(problem.curriculum, times, None)
    ways = ways_through(problem, clock) if plan is None else plan.ways(problem, clock)
    whole = _with_quarters(problem, clock, ways)
    refuse_large(
        (_KEPT, len(whole.times), Displacements.of(problem.network).count),
        "weights of three numbers of refreshes",
    )

    def run(pieces: int) -> RelinearisedPath:
        cuts = [way.refreshes(pieces) for way in ways]
        found = through_pieces(problem, whole, cuts)
        return RelinearisedPath(problem, whole, found, inputs, len(clock.times))

    if plan is None:
        return _Solution(*settled(run, rtol))
    paths = [run(plan.pieces // part) for part in (1, 2, 4)]
    return _Solution(paths[0], compared(*paths), plan.pieces)


def _with_quarters(problem: Problem, clock: Clock, ways: Sequence[Way | Asked]) -> Clock:
    """Return the clock with the quarters of the movement in each phase as records behind it.

    The estimate is taken there too: records where all is over would not see how it came about.
    """
    starts = problem.curriculum.starts
    times = [start + way.refreshes(4)[1:] for start, way in zip(starts, ways, strict=False)]
    phases = np.repeat(np.arange(len(ways)), 4)
    return Clock(np.concatenate([clock.times, *times]), np.concatenate([clock.position, phases]))


def trajectory(
    problem: Problem,
    times: Any,
    rtol: Any = None,
    *,
    refreshes: Any = None,
    at: Any = None,
    gates: Any = None,
) -> Trajectory:
    """Return the trajectory to a relative tolerance, or with so many refreshes.

    Parameters
    ----------
    problem : Problem
        With numbers.
    times : array_like
        Flow times.
    rtol : float, optional
        Largest estimated error, 1e-2 by default: of outputs relative to the largest one, of inner
        nodes and weights relative to how far they move.
    refreshes : int or array_like, optional
        Pieces of each phase, a multiple of 4, in place of as many as `rtol` needs; or where to
        part each phase into so many, as increasing shares of it between 0 and 1.
    at, gates : optional
        Inputs at which activities are looked at, and their gates.
    """
    if rtol is not None and refreshes is not None:
        raise InvalidArgument(
            "Arguments 'rtol' and 'refreshes' must not both be given: the tolerance decides how "
            "often the kernel is refreshed."
        )
    wanted = RTOL if rtol is None else as_positive(rtol, "rtol")
    plan = None if refreshes is None else _as_refreshes(refreshes)
    found = _solved(problem, times, wanted, plan, Inputs.of(problem, at, gates))
    path, comparison = found.path, found.comparison
    spacing = "at equal predicted movement" if plan is None or plan.shares is None else "as asked"
    note = (
        f"kernel refreshed {found.refreshes} times in each phase, {spacing}; "
        f"estimated error {comparison.words()}, from a half and a quarter of the refreshes"
    )
    if not comparison.halves(0.0):
        note += "; the differences between them do not halve, so take it for a rough one"
    estimate = comparison.estimate[: path.count].max(axis=1)
    return path.trajectory(estimate, found.refreshes, (note,))


def _as_refreshes(value: Any) -> Plan:
    if np.ndim(value) == 0:
        return Plan(_as_pieces(as_count(value, "refreshes", 4)))
    shares = np.concatenate([[0.0], as_real_array(value, "refreshes", 1), [1.0]])
    if (np.diff(shares) <= 0).any():
        raise InvalidArgument(
            f"Argument 'refreshes' must be a number, or increasing shares of each phase between 0 "
            f"and 1, not {value!r}."
        )
    return Plan(_as_pieces(len(shares) - 1), shares)


def _as_pieces(count: int) -> int:
    if count % 4:
        raise InvalidArgument(
            f"Argument 'refreshes' must part each phase into a multiple of 4 pieces, not {count}: "
            f"the error is estimated from a half and a quarter of them."
        )
    return count


def _at_width(_: int, seed: int) -> Problem:
    return wide(8, seed)


LAW = Law(
    name=_NAME,
    title="Any network: the frozen kernel refreshed on the way, to a requested accuracy",
    rank="leading order in 1/refreshes",
    assumptions=(
        "any feed-forward network with numbers; tasks given by samples",
        "squared error without weight decay",
    ),
    outputs=("output", "hidden", "weights", "loss"),
    citations=(),
    test=_test,
    derive=_derive,
    trajectory=trajectory,
    example=example,
    draw=draw_smooth,
    rtol=RTOL,
    asymptotics=Asymptotics(
        "network",
        (
            Family(
                "refreshes",
                _REFRESHES,
                _at_width,
                np.linspace(0.0, 8.0, 5),
                {"weights": (-1.0, 0.15)},
                (1000, 1001, 1002),
                lambda refreshes: {"refreshes": refreshes},
            ),
        ),
    ),
    options=("refreshes", "at", "gates"),
    remark=(
        "an integrator rather than a prediction where it needs many refreshes; "
        "law='frozen_kernel' predicts from the initial weights alone"
    ),
)
