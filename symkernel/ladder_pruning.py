"""The pruning clock against simulations at several learning rates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from symkernel.check_report import CheckReport, Rung
from symkernel.errors import InvalidArgument, OutsideValidity
from symkernel.problem.loss import Loss
from symkernel.problem.weights import from_arrays
from symkernel.simulation import simulate_ensemble
from symkernel.theory.pruning_clock import VALID, PruningClock, pruning_clock

# The learning rate of the trajectory is halved so often at least, and at most until the excess of
# measured over predicted, which is of its first order, should be below the bound.
_HALVINGS, _MOST_HALVINGS = 2, 5
# Runs whose mean is compared: their spread is a few times the learning rate.
_MEMBERS = 200
_RECORDS = 65
# Of the slope of the error, of the ratio of rates at the smallest learning rate and of that which
# a regression finds at none.
_SLOPE_MARGIN, _SMALLEST, _INTERCEPT = 0.3, 0.05, 0.05
_MOST_STEPS = 10**8


@dataclass(frozen=True)
class Trial:
    """What runs at one learning rate found.

    Attributes
    ----------
    rate : float
    error : float
        Of the information, in bits, or of what is kept, relative to the start, if no noise is
        given: the root of the mean square over the records.
    ratio : float
        Of measured pruning to the clock.
    """

    rate: float
    error: float
    ratio: float


def check_pruning(clock: PruningClock, seed: int = 1000) -> CheckReport:
    """Check the steps of the derivation, then the law at several learning rates."""
    if not clock.is_exact:
        raise OutsideValidity(
            "The pruning clock is checked for two linear layers; of other networks it is an "
            "indication."
        )
    if not isinstance(clock.loss, Loss):
        raise InvalidArgument(
            "Argument 'derivation' must be a clock of a loss that can be simulated, not of a "
            "function; compare 'imbalance' with 'clock' on trajectories of your own."
        )
    report = clock.check()
    trials = [trial(clock, 2.0**-k, seed) for k in range(_HALVINGS + 1)]
    while _excess(trials) >= _SMALLEST and len(trials) <= _MOST_HALVINGS:
        trials.append(trial(clock, 2.0 ** -len(trials), seed))
    count = len(report.rungs)
    # At a given flow time X falls with the learning rate, and its error faster.
    error = [_error_rung(count + 1, trials, clock)] if _is_closed(clock) else []
    ratio = _ratio_rung(count + len(error) + 1, trials)
    return CheckReport(report.subject, (*report.rungs, *error, ratio))


def _is_closed(clock: PruningClock) -> bool:
    try:
        return bool(len(clock.closed_form))
    except OutsideValidity:
        return False


def trial(clock: PruningClock, part: float, seed: int) -> Trial:
    """Simulate at a part of the learning rate, as far as the clock went but not beyond 2."""
    closed = _is_closed(clock)
    known = clock.closed_form if closed else clock.clock
    late = int(np.flatnonzero(known <= VALID)[-1])
    if late == 0:
        raise OutsideValidity(f"The first step takes X beyond {VALID:g}; use smaller steps.")
    if not known[late] > 0:
        raise OutsideValidity(
            "X stays 0: in this trajectory no noise prunes, so that nothing can be measured. Give "
            "batches to the simulation, or label noise."
        )
    # Label noise takes so much of a step; without it X belongs to a flow time.
    whole = int(clock.steps[late] - clock.steps[0]) / part ** (2 if closed else 1)
    rate, steps = part * clock.learning_rate, round(whole)
    if steps * _MEMBERS > _MOST_STEPS:
        raise InvalidArgument(
            f"A check at the learning rate {rate:.3g} would take {_MEMBERS} runs of {steps:,} "
            f"steps; give a clock of a larger learning rate or of fewer steps."
        )
    start = from_arrays(clock.net, {n: w[0] for n, w in clock.trajectory.weights.items()})
    record = rate * np.linspace(0, steps, _RECORDS).round()
    sims = simulate_ensemble(
        clock.net, clock.task, [start] * _MEMBERS, rate, record=record, loss=clock.loss,
        batch_size=clock.batch_size, label_noise=clock.label_noise,
        seeds=range(seed, seed + _MEMBERS),
    )  # fmt: skip
    clocks = [
        pruning_clock(
            sim, clock.net, clock.task, irrelevant=clock.direction, batch_size=clock.batch_size,
            loss=clock.loss, label_noise=clock.label_noise, noise=clock.noise,
        )
        for sim in sims
    ]  # fmt: skip
    X = clocks[0].closed_form if closed else np.mean([c.clock for c in clocks], 0)
    kept = np.mean([c.kept for c in clocks], 0)
    imbalance = np.mean([c.imbalance for c in clocks], 0)
    told = kept[0] * np.exp(-X)
    scale = 1 / kept[0] if clock.noise is None else clock.variance / clock.noise**2
    gap = scale * (kept - told)
    if clock.noise is not None:
        gap = 0.5 * np.log2((1 + scale * kept) / (1 + scale * told))
    half = int(np.searchsorted(X, X[-1] / 2))
    ratio = -np.log(imbalance[half] / imbalance[0]) / X[half]
    return Trial(rate, float(np.sqrt((gap**2).mean())), float(ratio))


def _excess(trials: list[Trial]) -> float:
    """Return what the regression says of measured over predicted at the smallest rate, less 1.

    What it finds at no learning rate is not an excess that smaller rates would mend.
    """
    rates, ratios = np.array([(one.rate, one.ratio) for one in trials]).T
    return float(abs(np.polyfit(rates, ratios, 1)[0]) * rates[-1])


def _error_rung(number: int, trials: list[Trial], clock: PruningClock) -> Rung:
    rates, errors = np.array([(one.rate, one.error) for one in trials]).T
    slope = float(np.polyfit(np.log(rates), np.log(errors), 1)[0])
    unit = "of what is kept at first" if clock.noise is None else "bits"
    figure = (
        f"slope {slope:.2f}; mean error {errors[0]:.2g} to {errors[-1]:.2g} {unit} for learning "
        f"rates {rates[0]:.3g} to {rates[-1]:.3g}, {_MEMBERS} runs each"
    )
    title = "Error of the law: slope in the learning rate"
    passed = abs(slope - 1) <= _SLOPE_MARGIN
    return Rung(number, title, passed, figure, f"1 +- {_SLOPE_MARGIN:g}")


def _ratio_rung(number: int, trials: list[Trial]) -> Rung:
    rates, ratios = np.array([(one.rate, one.ratio) for one in trials]).T
    limit = float(np.polyfit(rates, ratios, 1)[1])
    figure = (
        f"measured over predicted {', '.join(f'{r:.3f}' for r in ratios)}; {limit:.3f} at learning "
        f"rate 0 by regression"
    )
    passed = abs(ratios[-1] - 1) <= _SMALLEST and abs(limit - 1) <= _INTERCEPT
    bound = f"{_SMALLEST:.0%} at the smallest, {_INTERCEPT:.0%} at 0"
    return Rung(number, "Pruning rate", bool(passed), figure, bound)
