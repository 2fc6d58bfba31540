"""The ladder: what a derived law must climb. Theory and simulation meet here and in claims."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from symkernel import ladder_asymptotic as asymptotic
from symkernel.check_report import CheckReport, Rung
from symkernel.derivation import Derivation
from symkernel.errors import InvalidArgument, as_count, as_seed
from symkernel.ladder_cost import cost_rung
from symkernel.ladder_printed import printed_evidence
from symkernel.ladder_pruning import check_pruning
from symkernel.ladder_structure import (
    counted,
    determined,
    end_to_end,
    horizon,
    products,
    structure_rung,
)
from symkernel.problem.loss import SquaredError
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.theory.pruning_clock import PruningClock
from symkernel.trajectory import Trajectory

_TITLES = {
    1: "symbolic: residuals exactly 0",
    2: "limits and removable singularities",
    3: "high precision: routine against 60 digits",
    4: "flow: against DOP853 on the weights",
    5: "gradient descent: slope in the learning rate",
    6: "structure",
}
_FLOW_BOUND = 1e-9
_SENSITIVE = 1e-10
_SLOPE, _SLOPE_MARGIN = 1.0, 0.05
_HALVINGS = 4
# Errors of gradient descent below this are rounding: the weights do not move.
_ROUNDING = 1e-13


def check(
    derivation: Derivation | PruningClock,
    *,
    draws: int = 12,
    precision_draws: int = 60,
    seed: int = 1000,
    progress: bool = False,
) -> CheckReport:
    r"""Climb the ladder with a derivation.

    Parameters
    ----------
    derivation : Derivation or PruningClock
        What `derive` returned; or what `pruning_clock` did, of which the error and its slope in the
        learning rate are measured by simulation.
    draws : int
        Random problems of the law's class for rungs 4 and 6, besides the problem itself.
    precision_draws : int
        Curves for rung 3.
    seed : int
        Seed of all draws.
    progress : bool
        Show a progress bar.

    Returns
    -------
    CheckReport
        Every rung with its figure; it holds the derivation, so that ``report.latex()`` and
        ``report.derivation.latex()`` carry the table.

    Raises
    ------
    InvalidArgument
        If a number of draws is negative, or the seed is no seed.

    Examples
    --------
    >>> import symkernel as sk
    >>> task = sk.Task.from_modes([2.0, 1.0])
    >>> net = sk.Network.two_layer(inputs=2, hidden=3, outputs=2)
    >>> d = sk.derive(net, task, sk.weights.aligned(net, task, a=0.1, b=0.3))
    >>> assert sk.check(d, draws=1, precision_draws=3).passed
    """
    if isinstance(derivation, PruningClock):
        return check_pruning(derivation, as_seed(seed))
    if not isinstance(derivation, Derivation):
        raise InvalidArgument(
            f"Argument 'derivation' must be what sk.derive returns, not {derivation!r}; to judge "
            f"a formula of your own use sk.check_claim."
        )
    draws = as_count(draws, "draws", 0)
    precision_draws = as_count(precision_draws, "precision_draws", 0)
    seed = as_seed(seed)
    judged = _of_class(derivation)
    climbs: list[tuple[int, Callable[[], Rung]]] = [
        (1, lambda: _symbolic(derivation)),
        (2, lambda: _limits(derivation)),
        (3, lambda: _precision(derivation, precision_draws, seed)),
        (4, lambda: _flow(judged, draws, seed)),
        (5, lambda: _descent(judged)),
        (6, lambda: structure_rung(_problems(judged, min(draws, 3), seed), derivation.law)),
    ]
    if derivation.law.asymptotics is not None:
        climbs[3:] = _of_leading_order(judged, draws, seed)
    notes: tuple[str, ...] = derivation.assumptions.warnings
    if derivation.caveat:
        climbs.insert(4, (4, lambda: cost_rung(derivation)))
        notes = (f"{derivation.assumptions.caveat}; what passed is the law on its own class",)
    rungs = tuple(climb() for _, climb in _shown(climbs, progress))
    report = CheckReport(derivation.law.title, rungs, notes=notes)
    return replace(report, derivation=replace(derivation, report=report))


def _of_leading_order(
    derivation: Derivation, draws: int, seed: int
) -> list[tuple[int, Callable[[], Rung]]]:
    """Return rungs 4 to 6 of a law of leading order, which says itself how it is judged."""
    law = derivation.law
    return [
        (4, lambda: asymptotic.flow_rung(_problems(derivation, draws, seed), law)),
        (5, lambda: asymptotic.slopes_rung(law)),
        (6, lambda: asymptotic.structure_rung(_problems(derivation, min(draws, 3), seed), law)),
    ]


def _shown(
    climbs: list[tuple[int, Callable[[], Rung]]], progress: bool
) -> Iterable[tuple[int, Callable[[], Rung]]]:
    if not progress:
        return climbs
    from tqdm import tqdm

    return tqdm(climbs, desc="rungs", unit="rung", leave=False)


def _symbolic(derivation: Derivation) -> Rung:
    steps = [(step.title, step.check()) for step in derivation.steps]
    rules = [(r.rule, r.prove()) for r in derivation.derived.routine().rewritings]
    failed = [f"{title}: {e.figure}" for title, e in (*steps, *rules) if not e.passed]
    parts = [(len(steps), "steps"), (len(rules), "rewriting rules")]
    counts = " and ".join(f"{n} of {n} {kind}" for n, kind in parts if n)
    figure = "; ".join(failed) or f"{counts} proven"
    return Rung(1, _TITLES[1], not failed, figure, "exact")


def _limits(derivation: Derivation) -> Rung:
    found = [(title, test()) for title, test in derivation.derived.limits]
    failed = [f"{title}: {e.figure}" for title, e in found if not e.passed]
    names = ", ".join(title for title, _ in found)
    example = _in_convention(derivation.law.example(), derivation.problem)
    printed = printed_evidence(derivation.law, example)
    figure = "; ".join([*failed, printed.figure] if failed else [names, printed.figure])
    return Rung(2, _TITLES[2], not failed and printed.passed, figure, "exact")


def _precision(derivation: Derivation, draws: int, seed: int) -> Rung:
    if not draws:
        return Rung(3, _TITLES[3], None, "no draws asked for")
    evidence = derivation.derived.precision(np.random.default_rng(seed), draws)
    bound = f"{derivation.derived.precision_bound:.0e}"
    return Rung(3, _TITLES[3], evidence.passed, evidence.figure, bound)


def _problems(derivation: Derivation, draws: int, seed: int) -> list[Problem]:
    """Return the problem itself, if it has numbers, and draws of the law's class.

    Draws have the loss and the parameterisation of the problem.
    """
    own = [derivation.problem] if derivation.problem.is_numeric else []
    drawn = (derivation.law.draw(np.random.default_rng(seed + k)) for k in range(draws))
    return own + [_in_convention(problem, derivation.problem) for problem in drawn]


def _of_class(derivation: Derivation) -> Derivation:
    """Return the derivation, with the law's example in place of a problem that violates it."""
    if not derivation.caveat:
        return derivation
    example = _in_convention(derivation.law.example(), derivation.problem)
    return replace(derivation, problem=example)


def _in_convention(problem: Problem, like: Problem) -> Problem:
    """Return a problem with the loss factor and the parameterisation of another one."""
    factor = like.loss.factor
    # A factor with symbols is tried with 1 for each of them.
    factor = factor.subs(dict.fromkeys(factor.free_symbols, 1))
    loss = SquaredError(factor, weight_decay=problem.loss.weight_decay)
    if not problem.network.is_chain:
        return replace(problem, loss=loss)
    layers = problem.network.parameters
    network = Network.mlp(
        [problem.network.inputs, *(p.shape[0] for p in layers)],
        "linear",
        parameterisation=like.network.parameterisation,
        rates=[p.rate for p in layers],
    )
    return replace(problem, network=network, loss=loss)


@dataclass(frozen=True)
class _FlowError:
    error: float
    cut: bool


def flow_error(derivation: Derivation, problem: Problem) -> _FlowError:
    """Compare with the integrated flow, up to where rounding decides the flow.

    All weights are compared where the law determines them, and what it says of their products.
    """
    from symkernel.simulation.flow import integrate_flow

    times = horizon(problem)
    flow = integrate_flow(problem, times)
    found = determined(derivation.law.trajectory(problem, times))
    certain = flow.sensitivity * 2.0**-52 < _SENSITIVE
    worst = 0.0
    for true in (flow.weights, products(problem, flow.weights)):
        scale = max(1.0, *(float(np.abs(w).max()) for w in true.values())) if true else 1.0
        gaps = (np.abs(true[n] - found[n])[certain].max() for n in true if n in found)
        worst = max(worst, *(float(gap) / scale for gap in gaps), 0.0)
    return _FlowError(worst, not certain.all())


def _flow(derivation: Derivation, draws: int, seed: int) -> Rung:
    problems = _problems(derivation, draws, seed)
    if not problems:
        return Rung(4, _TITLES[4], None, "the problem has symbols and no draws were asked for")
    accepted = [p for p in problems if all(v.holds for v in derivation.law.test(p))]
    found = [flow_error(derivation, p) for p in accepted]
    worst = max((f.error for f in found), default=np.inf)
    cut = sum(f.cut for f in found)
    refused = len(problems) - len(accepted)
    figure = f"worst error {worst:.1e} relative to 1 or the largest entry, {counted(len(found))}"
    if cut:
        figure += f", {cut} of them up to the time where rounding decides the flow"
    if refused:
        figure += f", {refused} draws refused by the law's own test"
    passed = worst <= _FLOW_BOUND and refused <= len(problems) / 4
    return Rung(4, _TITLES[4], passed, figure, f"{_FLOW_BOUND:.0e}")


def _descent(derivation: Derivation) -> Rung:
    problem = derivation.problem
    if not problem.is_numeric:
        problem = _in_convention(derivation.law.example(), problem)
    rates, errors = descent_errors(derivation, problem)
    if not errors.max() > _ROUNDING:
        return Rung(5, _TITLES[5], None, "nothing moves, there is no error to fit")
    slope = float(np.polyfit(np.log(rates), np.log(errors), 1)[0])
    passed = abs(slope - _SLOPE) <= _SLOPE_MARGIN
    figure = (
        f"slope {slope:.3f}; error {errors[0]:.1e} to {errors[-1]:.1e} of the largest mode for "
        f"learning rates {rates[0]:.2g} to {rates[-1]:.2g}"
    )
    return Rung(5, _TITLES[5], passed, figure, f"{_SLOPE:.0f} +- {_SLOPE_MARGIN}")


def descent_errors(derivation: Derivation, problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Return learning rates, halved each time, and the largest error of the end-to-end map."""
    from symkernel.simulation import simulate

    task = problem.curriculum.phases[-1].task
    squares = sum(float(np.linalg.norm(w, 2)) ** 2 for w in problem.weights.arrays.values())
    strongest = float(np.linalg.norm(task.Syx, 2))
    fastest = 2 * strongest + squares * float(np.linalg.norm(task.Sxx, 2))
    start = _round_down(0.04 / fastest)
    durations = [phase.duration for phase in problem.curriculum.phases[:-1]]
    end = (sum(d for d in durations if d) + 8.0 / strongest) if strongest else 1.0
    end = min(end, problem.curriculum.end)
    rates = _compatible(start, durations) * 0.5 ** np.arange(_HALVINGS)
    times = np.unique(np.floor(np.linspace(0.0, end, 17) / rates[0])) * rates[0]
    exact = _map(problem, derivation.law.trajectory(problem, times))
    errors = []
    for rate in rates:
        run = simulate(
            problem.network,
            problem.curriculum,
            problem.weights,
            learning_rate=float(rate),
            record=times,
            loss=problem.loss,
        )
        gap = np.abs(_map(problem, run) - exact).max()
        errors.append(float(gap / (np.abs(exact).max() or 1.0)))
    return rates, np.array(errors)


def _map(problem: Problem, found: Trajectory) -> np.ndarray:
    """Return the end-to-end map, or for other networks than chains all weights."""
    if "end_to_end" in found.available:
        return found.end_to_end
    if problem.network.is_chain:
        return end_to_end(problem, found.weights)
    flat = (found.weights[name].reshape(len(found.times), -1) for name in sorted(found.weights))
    return np.concatenate(list(flat), axis=1)


def _round_down(value: float) -> float:
    """Return the next smaller power of two, so that multiples of it are exact."""
    return float(2.0 ** np.floor(np.log2(value)))


def _compatible(rate: float, durations: list[float | None]) -> float:
    """Return a rate of which the first duration is a whole multiple."""
    first = next((d for d in durations if d), None)
    return rate if first is None else first / np.ceil(first / rate)
