r"""Gated deep linear networks with balanced pathways: one clock for all of them.

Pathways in parallel, or deeper than two layers, obey
$\dot u_j = \rho_j u_j^{2-2/D_j}(s - d\sum_k u_k)$ with
$\rho_j = \frac{D_j}{K}(\prod_l m_{jl})^{1/D_j}$ where layer $l$ serves $m_{jl}$ of K contexts: a
race for one target, in which each pathway is a known function of one clock.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.environments.contexts import contexts
from symkernel.formula import Derived, Formula, Law, Result, Step, Verdict
from symkernel.problem import pathways
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.pathways import Pathway
from symkernel.problem.problem import Problem
from symkernel.theory.gated_checks import check_race, race_limits
from symkernel.theory.gated_draws import draw_race
from symkernel.theory.gated_modes import CITATION
from symkernel.theory.gated_path import gated_trajectory
from symkernel.theory.mode_values import as_index
from symkernel.theory.pathway_numbers import race_numbers
from symkernel.theory.pathway_state import PathwayState
from symkernel.theory.pathway_verdicts import (
    BALANCED,
    ONE_CONTEXT,
    ONE_SIDED,
    TASKS,
    pathway_verdicts,
)
from symkernel.theory.phases import phases_at, reaching, within_phases
from symkernel.theory.race_clock import RUNNING, THETA, Race, RaceRoutine
from symkernel.theory.race_time import RaceTime
from symkernel.trajectory import Trajectory

_NAME = "neural_race"
_TIME_Q = sp.Symbol("t_q", positive=True)
_PART = notation.symbol(
    "u1_q",
    r"u_{1,\rho}",
    "what the first pathway has when all together have that fraction of the final value",
    positive=True,
)


def _steps(race: Race) -> tuple[Step, ...]:
    flow = race.flow
    return (
        *flow.system.steps(),
        flow.projection_step(),
        flow.balance_step(),
        *race.steps(),
    )


def _result(race: Race) -> Result:
    """Return the law in the clock theta, and the closed equation of the first pathway."""
    parts = {f"pathway{j}": race.of_clock(j) for j in range(len(race.depths))}
    rates = {f"rate{j}": rate for j, rate in enumerate(race.rates)}
    beside = {f"invariant{j}": race.beside(j) for j in range(1, len(race.depths))}
    total = sp.Add(*parts.values())
    modes = {mode: race.of_clock(j) for j, (mode, _) in enumerate(race.symbols)}
    clock = race.drive.xreplace(modes)
    loss = race.flow.system.loss.factor * notation.d * (notation.s / notation.d - total) ** 2
    return Result(
        {
            "output": total,
            "loss": loss,
            "clock_rate": clock,
            "equation": race.equation,
            **parts,
            **rates,
            **beside,
        }
    )


def _formulas(race: Race) -> tuple[Formula, ...]:
    found = [
        Formula(f"pathway {j}, in the clock", mode, race.of_clock(j))
        for j, (mode, _) in enumerate(race.symbols)
    ]
    modes = {mode: race.of_clock(j) for j, (mode, _) in enumerate(race.symbols)}
    inverse = 1 / race.drive.xreplace(modes).xreplace({THETA: RUNNING})
    time = sp.Integral(inverse, (RUNNING, 0, THETA))
    return (*found, Formula("flow time of the clock", notation.t, time))


def _learning_time(state: PathwayState, race: Race, index: int | None, phase: int) -> Formula:
    """Return the time to a fraction of the final value: a quadrature, with numbers evaluated."""
    q = notation.fraction
    if index is None:
        mode, start = race.symbols[0]
        # Of several pathways, where they have the fraction together: the first one's part of it.
        alone = len(race.depths) == 1
        end = q * notation.s / notation.d if alone else _PART
        return Formula("learning time", _TIME_Q, sp.Integral(1 / race.equation, (mode, start, end)))
    index = as_index(index, state.s.shape[1])
    curriculum, d = reaching(state.problem, phase).curriculum, state.d[phase, index]
    begin = phases_at(curriculum, [curriculum.starts[phase]])
    modes = _modes_at(state, race, curriculum, *begin)[:, 0, index]
    # A mode below 0 is one above 0 with the opposite target.
    sign = state.signs[index]
    target = sp.Tuple(*(sp.Float(float(x)) for x in (sign * state.s[phase, index], d)))
    rows = zip(sign * modes, race.rates, race.powers, strict=True)
    runners = sp.Tuple(*(sp.Tuple(sp.Float(float(u)), rate, g) for u, rate, g in rows))
    return Formula("learning time", _TIME_Q, RaceTime(q, target, runners))


def _modes_at(
    state: PathwayState,
    race: Race,
    curriculum: Curriculum,
    clock: np.ndarray,
    position: np.ndarray,
) -> np.ndarray:
    """Return the modes of all pathways at flow times, through all phases."""
    routine = RaceRoutine(race)
    out = np.empty((len(race.depths), len(clock), state.s.shape[1]))
    start = state.modes * state.signs
    for phase, local in within_phases(curriculum, clock, position):
        found = routine(local, state.signs * state.s[phase], state.d[phase], start)
        here = position == phase
        out[:, here] = found[:, : here.sum()]
        start = found[:, -1]
    return out * state.signs


def _derive(problem: Problem) -> Derived:
    state = PathwayState.of(problem)
    race = Race(state.flow)
    closed = None
    if len(race.depths) == 1:
        (mode, _), equation = race.symbols[0], race.equation

        def closed(index: int) -> tuple[sp.Symbol, sp.Expr, sp.Expr]:
            index = as_index(index, state.s.shape[1])
            sign, u = sp.Integer(int(state.signs[index])), notation.u
            entry = {notation.s: sign * state.s[0, index], notation.d: state.d[0, index]}
            entry = {q: sp.Float(float(value)) for q, value in entry.items()}
            start = sp.Float(float(state.modes[0, index]))
            return u, sign * equation.xreplace({**entry, mode: sign * u}), start

    return Derived(
        steps=lambda: _steps(race),
        result=lambda: _result(race),
        formulas=lambda: _formulas(race),
        routine=lambda: RaceRoutine(race),
        limits=race_limits(race),
        precision=lambda stream, draws: check_race(race, stream, draws),
        learning_time=lambda index, phase, _: _learning_time(state, race, index, phase),
        equation=closed,
        numbers=race_numbers,
    )


def _structure(found: tuple[Pathway, ...]) -> str:
    if any(pathway.depth < 2 for pathway in found):
        return "every pathway must have two layers of weights or more"
    if len(found) == 1 and len(found[0].layers[0]) == 1:
        return ONE_CONTEXT
    if len(found) == 1 and found[0].depth == 2:
        return "one pathway of two layers has an explicit law, 'gated_modes'"
    return ""


def _test(problem: Problem) -> tuple[Verdict, ...]:
    return pathway_verdicts(_NAME, problem, _structure, (BALANCED, ONE_SIDED))


def _trajectory(problem: Problem, times: Any) -> Trajectory:
    state = PathwayState.of(problem)
    clock, position = phases_at(problem.curriculum, times)
    modes = _modes_at(state, Race(state.flow), problem.curriculum, clock, position)
    layers = []
    for pathway, before, start, rows in zip(
        state.pathways, state.amplitudes, state.modes, modes, strict=True
    ):
        alive = start != 0
        ratio = np.divide(rows, start, out=np.ones_like(rows), where=alive)
        layers.append(before[:, None, :] * ratio ** (1 / pathway.depth))
    return gated_trajectory(state, clock, layers, modes.sum(0))


def _example() -> Problem:
    task = contexts(4, [2.0, 1.0], inputs=3, outputs=2, seed=1000)
    net = pathways.network(3, 4, 2, contexts=4, sharing=[(4, 1), (1, 1)])
    w0 = pathways.aligned(net, task, u=[[0.02, 0.05], [0.1, 0.01]], seed=1000)
    return Problem(net, Curriculum.of(task), w0)


LAW = Law(
    name=_NAME,
    title="Gated deep linear network, balanced pathways: a race in one clock",
    rank="exact",
    assumptions=(
        "pathways of two or more trained dense layers, gates open or closed for a whole layer, "
        "squared error without weight decay",
        *TASKS,
        "weights are aligned with the modes, alike in all contexts and balanced, the pathways of "
        "a mode on one side of 0",
    ),
    outputs=("output", "loss", "weights", "learning_time"),
    citations=(CITATION,),
    test=_test,
    derive=_derive,
    trajectory=_trajectory,
    example=_example,
    draw=draw_race,
)
