r"""Any network: the frozen-kernel law piece by piece, its kernels refreshed on the way.

Between two refreshes the network is linearised at the weights that the law itself has reached. The
refreshes part the way into pieces in each of which the kernel moves by the same share of itself,
as a first look along the way predicts; their number is doubled until halving it changes no output
by more than the tolerance, and that change is the law's own estimate of its error.

Notes
-----
A linearisation is exact in the rate at its start: a piece has an error of second order in its
length, and the whole one that falls as 1/refreshes. With many refreshes this is an integrator of
the network's flow, one that is exact for stiff linear parts, and no prediction from the initial
weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.errors import InvalidArgument, as_count, as_positive
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
from symkernel.theory.frozen_path import Clock, View
from symkernel.theory.frozen_system import LinearSystem
from symkernel.theory.frozen_words import SHAPES, FrozenWords, matrix
from symkernel.theory.relinearised_path import (
    RelinearisedPath,
    difference,
    settled,
    through_pieces,
    ways_through,
)
from symkernel.theory.residual_integral import ResidualIntegral
from symkernel.theory.tangent_pass import TangentPass
from symkernel.trajectory import Trajectory

_NAME = "relinearised"
RTOL = 1e-2
_START = notation.register(
    sp.Symbol("t_j", nonnegative=True), "t_j", "flow time of the last refresh of the kernel"
)
_REFRESHES = (8, 16, 32, 64)
_STEP, _AGREE = 1e-5, 1e-7
# What formulas relate at one time; rates are left to the steps, for a refresh is a jump of them.
_AT_ONE_TIME = ("f", "f_0", "y", "r_0", "rho_0", "J", "J_h", "h", "h_0", "D", "C", "R")


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
            "at the time t_j the network is linearised anew at the weights reached: f_0, h_0, J "
            "and J_h are those of that moment. The rate of every parameter is exact there, so that "
            "a piece is wrong in second order of its length",
            (sp.Eq(matrix("f"), linear, evaluate=False),),
            self.check_refresh,
        )
        return (*super().steps(), refresh)

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
    path, _, _ = _solved(problem, seen.times, None, None, None, None)
    piece = next(piece for piece in path.pieces if k in piece.rows)
    here, row = piece.path, int(np.flatnonzero(piece.rows == k)[0])
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


def _solved(
    problem: Problem,
    times: Any,
    rtol: float | None,
    refreshes: int | None,
    at: Any,
    gates: Mapping[str, Any] | None,
) -> tuple[RelinearisedPath, np.ndarray, int]:
    """Return the path, the estimate of its error at each time, and the refreshes it took."""
    clock = Clock.of(problem.curriculum, times, None)
    View.of(problem, at, gates)
    ways = ways_through(problem, clock)
    probe = partial(View.of, at=at, gates=gates)

    def run(pieces: int) -> RelinearisedPath:
        cuts = [way.refreshes(pieces) for way in ways]
        return RelinearisedPath(problem, clock, through_pieces(problem, clock, cuts, probe))

    if refreshes is None:
        return settled(run, RTOL if rtol is None else rtol)
    fine, coarse = run(refreshes), run(refreshes // 2)
    return fine, difference(fine, coarse), refreshes


def trajectory(
    problem: Problem,
    times: Any,
    rtol: Any = None,
    *,
    refreshes: Any = None,
    at: Any = None,
    gates: Any = None,
) -> Trajectory:
    """Return the trajectory to a relative tolerance of the outputs, or with so many refreshes.

    Parameters
    ----------
    problem : Problem
        With numbers.
    times : array_like
        Flow times.
    rtol : float, optional
        Largest estimated error of an output, relative to the largest output; 1e-2 by default.
    refreshes : int, optional
        Pieces of each phase, 2 or more, in place of as many as `rtol` needs.
    at, gates : optional
        Inputs at which activities are looked at, and their gates.
    """
    if rtol is not None and refreshes is not None:
        raise InvalidArgument(
            "Arguments 'rtol' and 'refreshes' must not both be given: the tolerance decides how "
            "often the kernel is refreshed."
        )
    wanted = None if rtol is None else as_positive(rtol, "rtol")
    count = None if refreshes is None else as_count(refreshes, "refreshes", 2)
    path, estimate, pieces = _solved(problem, times, wanted, count, at, gates)
    note = (
        f"kernel refreshed {pieces} times in each phase, at equal predicted movement; estimated "
        f"error {estimate.max(initial=0.0):.1e} of the largest output, by halving"
    )
    return path.trajectory(estimate, (note,), at is not None)


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
