r"""Rungs 4 to 6 of laws of leading order: the flow they solve, how errors fall, structure.

A law of leading order solves the flow of the linearised network exactly, or approaches that of the
network within an error that it estimates itself; its errors on true networks fall with known
slopes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from symkernel.check_report import Rung
from symkernel.errors import InvalidArgument
from symkernel.formula import Asymptotics, Family, Law
from symkernel.ladder_structure import counted, cut_in_two, kernel_defect, measured_rung
from symkernel.problem import weights as make
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.nodes import Apply, Linear
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.trajectory import Trajectory

_TITLES = {
    "linearised": "flow: against DOP853 on the linearised network",
    "network": "flow: against LSODA on the weights, within its own estimate",
}
_FLOW_BOUND, _STRUCTURE_BOUND = 1e-10, 1e-9
# The largest error in units of the law's own estimate of it, at every time; and errors that may
# be those of the integrator.
_ESTIMATE_BOUND, _JUDGED = 1.0, 1e-7
# The tolerance that is asked of a law which estimates its error: coarse, where it is hardest.
_TOLERANCE = 0.1
# Time constants that are followed in the last phase: of the fastest direction of a linearised
# network, else of the slowest that is not slower by more than a factor.
_FOLLOWED, _SLOWEST = 200.0, 100.0
# How much sooner the end is where a law refuses to go so far.
_SOONER = (1.0, 10.0, 100.0)
_SEED = 1000
# Numbers of the Jacobian of problems that are integrated.
_MOST_NUMBERS = {"linearised": 2**21, "network": 2**16}


def flow_rung(problems: list[Problem], law: Law) -> Rung:
    """Compare a law of leading order with the flow that it is about."""
    which = _asymptotics(law).flow
    if not problems:
        return Rung(4, _TITLES[which], None, "no draws were asked for")
    small = [p for p in problems if _numbers(p) <= _MOST_NUMBERS[which]]
    if not small:
        return Rung(4, _TITLES[which], None, "too large to integrate, and no draws were asked for")
    accepted = [p for p in small if all(v.holds for v in law.test(p))]
    if which == "linearised":
        worst = max((linearised_error(p, law) for p in accepted), default=np.inf)
        figure = f"worst error {worst:.1e} of weights, outputs and hidden activity relative to 1 "
        figure += f"or the largest of its kind, {counted(len(accepted))}"
        bound = _FLOW_BOUND
    else:
        tried = [estimated_error(p, law) for p in accepted]
        found = [one for one in tried if one is not None]
        worst = max((shares for shares, _ in found), default=np.inf)
        largest = max((error for _, error in found), default=np.inf)
        figure = f"worst error {worst:.2f} of the law's own estimate at any time, {largest:.1e} of "
        figure += f"outputs or of what weights and nodes move by, {counted(len(found))}"
        if len(found) < len(tried):
            figure += f", {len(tried) - len(found)} refused as out of reach of {_TOLERANCE:g}"
        accepted, bound = accepted[: len(found)], _ESTIMATE_BOUND
    if len(small) < len(problems):
        figure += f", all but {len(problems) - len(small)} too large to integrate"
    passed = worst <= bound and len(accepted) >= 3 * len(small) / 4
    return Rung(4, _TITLES[which], passed, figure, f"{bound:.0e}" if bound < 1 else f"{bound:g}")


def _numbers(problem: Problem) -> int:
    """Return how many numbers the Jacobian of the outputs on all samples has."""
    trained = sum(w.size for w in problem.weights.arrays.values())
    return trained * max(phase.task.Y.size for phase in problem.curriculum.phases)


def _asymptotics(law: Law) -> Asymptotics:
    if law.asymptotics is None:
        raise TypeError(f"the law {law.name!r} is exact")
    return law.asymptotics


def _times(problem: Problem, rate: float) -> np.ndarray:
    phase, start = problem.curriculum.phases[-1], problem.curriculum.starts[-1]
    end = _FOLLOWED / rate if rate else 1.0
    end = end if phase.duration is None else min(end, phase.duration)
    return np.concatenate([[start], start + np.geomspace(1e-3, 1.0, 9) * end])


def linearised_error(problem: Problem, law: Law) -> float:
    """Return the largest error against the integrated flow of the linearised network."""
    from symkernel.simulation.linearised import LinearisedFlow

    flow = LinearisedFlow(problem)
    times = _times(problem, flow.fastest)
    # At the very start of the last phase it is still the one before that runs.
    true, found = flow.integrated(times), law.trajectory(problem, times)
    late = slice(1, None)
    gaps = [_relative(found.weights, true.weights)]
    if "outputs" in found.available:
        seen = {name: found.node(name)[late] for name in true.nodes}
        gaps += [_gap(seen[name], value[late]) for name, value in true.nodes.items()]
    return max(gaps)


def estimated_error(problem: Problem, law: Law) -> tuple[float, float] | None:
    """Return the largest error in units of the law's own estimate at its time, and as it is.

    Of outputs relative to the largest one, of the hidden node and the weights relative to how far
    they move. Where the law refuses, as the tolerance is out of its reach, it is followed for
    shorter; None where that does not help.
    """
    from symkernel.simulation.linearised import LinearisedFlow
    from symkernel.simulation.long_flow import integrate_long

    flow = LinearisedFlow(problem)
    slow, found = max(flow.slowest, flow.fastest / _SLOWEST), None
    for sooner in _SOONER:
        times = _times(problem, sooner * slow)
        with suppress(InvalidArgument):
            found = law.trajectory(problem, times, _TOLERANCE)
            break
    if found is None:
        return None
    true, start = integrate_long(problem, times), problem.weights.arrays
    names = sorted(true)
    mine, theirs = (np.concatenate([_rows(w[n]) for n in names], axis=1)
                    for w in (found.weights, true))  # fmt: skip
    gaps = [_shares(mine, theirs, np.concatenate([start[n].ravel() for n in names]))]
    # At the very start of the last phase it is still the one before that runs.
    late = slice(1, None)
    nodes = {"output", "hidden"} & set(problem.network.nodes)
    for name in nodes if "outputs" in found.available else ():
        there = _outputs(problem, true, name)
        begun = _outputs(problem, {n: w[None] for n, w in start.items()}, name)
        origin = 0.0 if name == "output" else begun
        gaps.append(np.append(0.0, _shares(found.node(name)[late], there[late], origin)))
    error = np.maximum.reduce(gaps)
    judged = error > _JUDGED
    if not judged.any():
        return 0.0, float(error.max())
    estimate = np.maximum(found.error_estimate[judged], np.finfo(float).tiny)
    return float((error[judged] / estimate).max()), float(error.max())


def _rows(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)


def _shares(found: np.ndarray, true: np.ndarray, start: Any) -> np.ndarray:
    """Return errors at each time relative to the largest change, by entry or norm."""
    gap, change = _rows(found - true), _rows(true - start)
    one = np.abs(gap).max(axis=1) / (np.abs(change).max() or 1.0)
    lengths = np.linalg.norm(change, axis=1)
    return np.maximum(one, np.linalg.norm(gap, axis=1) / (lengths.max() or 1.0))


def _outputs(
    problem: Problem, weights: Mapping[str, np.ndarray], name: str = "output"
) -> np.ndarray:
    """Return a node of the true network on the samples of the last phase at weights."""
    from symkernel.simulation.reading import Pass
    from symkernel.simulation.setup import checked_gates

    net, task = problem.network, problem.curriculum.phases[-1].task
    gates = checked_gates(net, [task], None)[0]
    count = len(next(iter(weights.values())))
    rows = ({n: w[k] for n, w in weights.items()} for k in range(count))
    return np.stack([Pass(net, row, task.X, gates).values[net.nodes[name]] for row in rows])


def _gap(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.abs(found - true).max()) / max(1.0, float(np.abs(true).max()))


def _relative(found: Mapping[str, Any], true: Mapping[str, Any]) -> float:
    size = max(1.0, *(float(np.abs(w).max()) for w in true.values()))
    return max(float(np.abs(found[n] - w).max()) / size for n, w in true.items())


def slopes_rung(law: Law) -> Rung:
    """Fit how the law's errors on true networks fall, in every family."""
    parts, passed, bounds = [], True, []
    for family in _asymptotics(law).families:
        errors = family_errors(family, law)
        for name, (wanted, margin) in family.slopes.items():
            slope = slope_of(family.sizes, errors[name])
            passed = passed and abs(slope - wanted) <= margin
            first, last = errors[name][0], errors[name][-1]
            parts.append(
                f"{name} {slope:.2f} in the {family.title} ({family.sizes[0]} to "
                f"{family.sizes[-1]}; error {first:.1e} to {last:.1e})"
            )
            bounds.append(f"{wanted:g} +- {margin:g}")
    title = "true networks: slopes of the error"
    return Rung(5, title, passed, "; ".join(parts), ", ".join(bounds))


def slope_of(sizes: tuple[int, ...], errors: list[float]) -> float:
    """Return the slope of errors in sizes, by regression of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


def family_errors(family: Family, law: Law) -> dict[str, list[float]]:
    """Return relative errors by what is compared, one for each size, mean square over seeds."""
    found: dict[str, list[float]] = {name: [] for name in family.slopes}
    for size in family.sizes:
        rows = [_errors(family, law, size, seed) for seed in family.seeds]
        for name, errors in found.items():
            errors.append(float(np.sqrt(np.mean([row[name] ** 2 for row in rows]))))
    return found


def _errors(family: Family, law: Law, size: int, seed: int) -> dict[str, float]:
    problem, options = family.problem(size, seed), family.options(size)
    found = law.trajectory(problem, family.times, **options)
    true = _true(problem, family, options)
    measured = {
        "output": lambda: _share(found.outputs, _outputs(problem, true), None),
        "hidden change": lambda: _share(found.hidden, _outputs(problem, true, "hidden"), 0),
        "weights": lambda: max(_share(found.weights[n], w, 0) for n, w in true.items()),
    }
    return {name: measured[name]() for name in family.slopes}


def _true(problem: Problem, family: Family, options: Mapping[str, Any]) -> Mapping[str, np.ndarray]:
    """Return the weights of the true network, by descent or by its flow."""
    from symkernel.simulation.descent import simulate
    from symkernel.simulation.flow import integrate_flow

    if "learning_rate" not in options:
        return integrate_flow(problem, family.times).weights
    run = simulate(
        problem.network,
        problem.curriculum,
        problem.weights,
        options["learning_rate"],
        record=family.times,
        loss=problem.loss,
    )
    return run.weights


def _share(found: np.ndarray, true: np.ndarray, start: int | None) -> float:
    """Return the error relative to the true values, or to their change since a time."""
    change = true if start is None else true - true[start]
    return float(np.linalg.norm(found - true) / np.linalg.norm(change))


# Structure ----------------------------------------------------------------------------------------


def structure_rung(problems: list[Problem], law: Law) -> Rung:
    """Measure what every trajectory of a law of leading order must be like."""
    if not problems:
        return Rung(6, "structure", None, "no draws were asked for")
    problems = [p for p in problems if _numbers(p) <= _MOST_NUMBERS["linearised"]]
    if not problems:
        return Rung(6, "structure", None, "too large, and no draws were asked for")
    tests: dict[str, Callable[[Problem, Law], float | None]] = {
        "NTK symmetric, PSD": _kernel,
        "samples permuted": _samples,
        "hidden units permuted": _units,
    }
    if _asymptotics(law).flow == "linearised":
        tests["flow(t1 + t2) = flow(t2) after flow(t1)"] = _composition
        tests["one phase = no curriculum"] = _one_phase
    return measured_rung(tests, problems, law, _STRUCTURE_BOUND)


def _looked_at(problem: Problem) -> np.ndarray:
    start = problem.curriculum.starts[-1]
    end = problem.curriculum.end
    end = start + 1.0 if not np.isfinite(end) else end
    return np.concatenate([[0.0], start + np.array([0.2, 0.5, 1.0]) * (end - start)])


def _last_phase(problem: Problem) -> Problem:
    """Return the problem with its last phase alone: one set of samples."""
    return replace(problem, curriculum=Curriculum([problem.curriculum.phases[-1]]))


def _kernel(problem: Problem, law: Law) -> float:
    one = _last_phase(problem)
    return kernel_defect(law.trajectory(one, _looked_at(one)).ntk)


def _shuffled(task: Task, order: np.ndarray) -> Task:
    weights = None if task.sample_weights is None else task.sample_weights[order]
    gates = {name: gate[order] for name, gate in task.gates.items()}
    return Task(task.X[order], task.Y[order], sample_weights=weights, gates=gates)


def _samples(problem: Problem, law: Law) -> float:
    """Permute the samples: outputs are permuted, weights stay."""
    one = _last_phase(problem)
    phase = one.curriculum.phases[0]
    order = np.random.default_rng(_SEED).permutation(len(phase.task.X))
    other = replace(
        one, curriculum=Curriculum([Phase(_shuffled(phase.task, order), phase.duration)])
    )
    times = _looked_at(one)
    here, there = (law.trajectory(p, times) for p in (one, other))
    return max(_gap(here.outputs[:, order], there.outputs), _relative(here.weights, there.weights))


def _units(problem: Problem, law: Law) -> float | None:
    """Permute the units of the first hidden layer: outputs stay."""
    found = _first_layers(problem)
    if found is None:
        return None
    stream = np.random.default_rng(_SEED)
    arrays = {name: np.array(w) for name, w in problem.weights.arrays.items()}
    into, out = found
    order = stream.permutation(arrays[into[0]].shape[0])
    for name in into:
        arrays[name] = arrays[name][order]
    arrays[out] = arrays[out][:, order]
    one = _last_phase(problem)
    other = replace(one, weights=make.from_arrays(problem.network, arrays))
    times = _looked_at(one)
    here, there = (law.trajectory(p, times) for p in (one, other))
    return _gap(here.outputs, there.outputs)


def _first_layers(problem: Problem) -> tuple[list[str], str] | None:
    """Return the parameters into and out of the first hidden layer of a plain network."""
    first = [n for n in problem.network.order if isinstance(n, Apply)]
    if not first or len(problem.network.parameters) < 2:
        return None
    below = [p.name for p in problem.network.parameters]
    uses = [n for n in problem.network.order if isinstance(n, Linear) and n.child is first[0]]
    if len(uses) != 1 or uses[0].parameter.kind != "dense" or len(set(below)) != len(below):
        return None
    out = uses[0].parameter.name
    into = below[: below.index(out)]
    width = int(first[0].size)
    plain = all(int(p.shape[0]) == width for p in problem.network.parameters if p.name in into)
    return (into, out) if plain and into else None


def _composition(problem: Problem, law: Law) -> float:
    """Stop, and start again from the initial weights with the targets that then remain."""
    one = _last_phase(problem)
    task, times = one.curriculum.phases[0].task, _looked_at(one)
    middle = times[2]
    through = law.trajectory(one, [0.0, middle, times[3]])
    shifted = Task(
        task.X,
        task.Y - (through.outputs[1] - through.outputs[0]),
        sample_weights=task.sample_weights,
        gates=task.gates,
    )
    again = replace(one, curriculum=Curriculum([Phase(shifted)]))
    rest = law.trajectory(again, [0.0, times[3] - middle])
    return _composed(through, rest)


def _composed(through: Trajectory, rest: Trajectory) -> float:
    gaps = [_gap(through.outputs[2] - through.outputs[1], rest.outputs[1] - rest.outputs[0])]
    for name, w in through.weights.items():
        gaps.append(_gap(w[2] - w[1], rest.weights[name][1] - rest.weights[name][0]))
    return max(gaps)


def _one_phase(problem: Problem, law: Law) -> float:
    """Cut the last phase into two phases of the same task."""
    times = _looked_at(problem)
    here, there = (law.trajectory(p, times) for p in (problem, cut_in_two(problem, times[2])))
    return _relative(here.weights, there.weights)
