r"""Deep linear networks of any depth, aligned and balanced weights: one law per mode.

$\dot u = D u^{2-2/D}(s - d\,u)$ in the house's conventions. The flow time is an explicit function
of the mode on every branch; the mode is its inverse.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sympy as sp

from symkernel import notation
from symkernel.formula import Citation, Derived, Evidence, Formula, Law, Step, Verdict
from symkernel.problem import weights
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.theory.aligned_modes import SAXE2014
from symkernel.theory.chain_flow import ChainFlow, chain_flow
from symkernel.theory.chain_path import chain_trajectory
from symkernel.theory.chain_state import ChainState, chain_verdicts
from symkernel.theory.deep_checks import check_observables, check_precision, deep_limits, draw_deep
from symkernel.theory.deep_mode import DeepMode
from symkernel.theory.deep_numbers import deep_numbers
from symkernel.theory.deep_routine import deep_routine
from symkernel.theory.deep_values import DeepLaw, observables
from symkernel.trajectory import Trajectory

_NAME = "deep_modes"
_A, _U, _TIME = notation.a, notation.u, notation.t


def _mode_step(flow: ChainFlow, mode: DeepMode) -> Step:
    """Go from the amplitude that all layers share to the end-to-end mode."""
    amplitude, u = sp.Function("a")(_TIME), sp.Function("u")(_TIME)
    D = flow.depth
    drive = flow.sigma - flow.delta * amplitude**D
    return Step(
        "Mode equation",
        "every layer gives the same equation for a, the amplitude of the mode; the end-to-end mode "
        "is its power",
        (
            sp.Eq(amplitude.diff(_TIME), amplitude ** (D - 1) * drive, evaluate=False),
            sp.Eq(u, flow.scale * amplitude**D, evaluate=False),
            mode.equation,
        ),
        lambda: _check_mode(flow, mode),
        ((_A, "amplitude of the mode, the same in every layer"),),
    )


def _check_mode(flow: ChainFlow, mode: DeepMode) -> Evidence:
    D, a = flow.depth, sp.Symbol("a", positive=True)
    rate = a ** (D - 1) * (flow.sigma - flow.delta * a**D)
    chained = flow.scale * D * a ** (D - 1) * rate
    claimed = mode.rate.subs(_U, flow.scale * a**D)
    gap = sp.expand(sp.powdenest(sp.expand(chained - claimed, power_base=True), force=True))
    return Evidence.of(gap == 0, "chain rule: difference exactly 0")


def _solution_steps(mode: DeepMode) -> tuple[Step, ...]:
    """Return the steps from the mode's equation to its solution, proven by substitution."""
    if mode.depth in (1, 2):
        reason = "stated, and proven by substitution"
        return (Step("Solution", reason, _equations((mode.output,)), mode.prove),)
    *positive, dying_time = mode.times
    return (
        Step(
            "Separation",
            "the equation is separable: the flow time is an integral over the mode, proven by "
            "differentiation; the mode is its inverse, which the compiled law computes",
            _equations(tuple(positive)),
            mode.prove,
        ),
        Step(
            "Negative strength",
            "a mode whose start and strength differ in sign falls to the saddle at 0; its "
            "amplitude is taken over the size of the final value that it does not reach",
            _equations((dying_time,)),
            mode.prove,
        ),
    )


def _equations(formulas: tuple[Formula, ...]) -> tuple[sp.Eq, ...]:
    """Return formulas that share their abbreviations, and these."""
    pairs = [(f.symbol, f.expression) for f in formulas] + list(formulas[0].where)
    return tuple(sp.Eq(left, right, evaluate=False) for left, right in pairs)


def _observable_step(flow: ChainFlow) -> Step:
    u = sp.Function("u")(_TIME)
    found = observables(flow, u)
    names = {"amplitude": "a", "hidden1": "h_1", "ntk": "K", "loss": "L_mode"}
    eqs = tuple(
        sp.Eq(sp.Symbol(names[name]), expression, evaluate=False)
        for name, expression in found.items()
        if name in names
    )
    return Step(
        "Observables",
        "entries of one mode: amplitude of each layer, activity of the first hidden layer, NTK "
        "(a sum over layers, all with the same term), and its part of the loss",
        eqs,
        lambda: check_observables(flow),
        (
            (sp.Symbol("h_1"), "activity of the first hidden layer"),
            (sp.Symbol("K"), "neural tangent kernel"),
            (sp.Symbol("L_mode"), "part of the loss"),
        ),
    )


def _formulas(flow: ChainFlow, mode: DeepMode) -> tuple[Formula, ...]:
    amplitude = Formula(
        "amplitude of each layer", _A, (_U / flow.scale) ** sp.Rational(1, flow.depth)
    )
    if mode.is_explicit:
        return mode.output, amplitude
    return *mode.times, amplitude


def _derive(problem: Problem) -> Derived:
    flow = chain_flow(problem)
    law = DeepLaw(problem, flow)
    mode = law.general
    return Derived(
        steps=lambda: (
            *flow.steps(),
            _mode_step(flow, mode),
            *_solution_steps(mode),
            _observable_step(flow),
        ),
        result=law.result,
        formulas=lambda: _formulas(flow, mode),
        routine=lambda: deep_routine(flow.depth),
        limits=deep_limits(mode),
        precision=lambda stream, draws: check_precision(flow.depth, stream, draws),
        mode=law.mode,
        learning_time=law.learning_time,
        equation=law.equation,
        strength=law.strength,
        numbers=deep_numbers,
    )


def _test(problem: Problem) -> tuple[Verdict, ...]:
    return chain_verdicts(_NAME, problem)


def _trajectory(problem: Problem, times: Any) -> Trajectory:
    return chain_trajectory(ChainState.of(problem), times)


def _example() -> Problem:
    """Return four layers that learn a task and then one with weaker and stronger modes."""
    first, second = Task.from_modes([2.0, 1.5, 1.0]), Task.from_modes([1.0, 2.0, 0.5])
    net = Network.mlp([3, 4, 5, 4, 3], "linear")
    w0 = weights.aligned(net, first, u=[0.05, 0.1, 0.2])
    return Problem(net, Curriculum([Phase(first, duration=3.0), Phase(second)]), w0)


LAW = Law(
    name=_NAME,
    title="Deep linear network, aligned and balanced weights: one law per mode at any depth",
    rank="exact",
    assumptions=(
        "a chain of dense linear layers of any depth, all trained at one rate, squared error "
        "without weight decay",
        "all tasks of the curriculum are diagonal in one pair of bases",
        "every layer carries each mode along one direction",
        "all layers carry a mode with the same amplitude",
    ),
    outputs=(
        "output",
        "hidden",
        "hidden_gram",
        "ntk",
        "loss",
        "weights",
        "learning_time",
    ),
    citations=(
        replace(
            SAXE2014, place="the mode equation of deep networks; its solution was derived here"
        ),
        Citation(
            "arora2018",
            "Arora, Sanjeev and Cohen, Nadav and Hazan, Elad",
            "On the Optimization of Deep Networks: Implicit Acceleration by Overparameterization",
            "International Conference on Machine Learning",
            2018,
            "end-to-end dynamics of balanced layers",
            "1802.06509",
        ),
    ),
    test=_test,
    derive=_derive,
    trajectory=_trajectory,
    example=_example,
    draw=draw_deep,
)
