"""What an accepted violation of a law's assumptions costs: the law against the integrated flow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from symkernel.check_report import Rung
from symkernel.claim_values import evaluate, mode_basis
from symkernel.derivation import Derivation
from symkernel.ladder_structure import horizon
from symkernel.problem.problem import Problem
from symkernel.trajectory import Trajectory

# Times for each one of the other rungs.
_BETWEEN = 12
_TITLE = "flow: what the accepted violation costs"


def cost_rung(derivation: Derivation) -> Rung:
    """Measure how far an approximation is from the flow; there is no bound that it could pass.

    Distances are the largest over the times, relative to the largest value along the flow.
    """
    problem = derivation.problem
    if not problem.is_numeric:
        reason = "the problem has symbols; derive it with numbers to measure the cost"
        return Rung(4, _TITLE, None, reason)
    costs, end = flow_costs(derivation)
    listed = ", ".join(f"{name} {cost:.1e}" for name, cost in costs.items())
    figure = f"{listed} of the largest value, for t up to {end:.3g}"
    return Rung(4, _TITLE, None, figure, measured=True)


def flow_costs(derivation: Derivation) -> tuple[dict[str, float], float]:
    """Return the relative distance from the flow by what is compared, and the last time."""
    from symkernel.simulation.flow import integrate_flow

    problem = derivation.problem
    times = _densely(horizon(problem))
    theory = derivation.compile()(times)
    flow = _observed(problem, integrate_flow(problem, times).weights)
    known = "weights" in theory.available
    found = _observed(problem, theory.weights) if known else _maps(problem, theory)
    formulas = _formulas(derivation, times)
    if formulas is not None:
        basis = mode_basis(problem)
        U, V = basis.U[:, : basis.rank_bound], basis.V[:, : basis.rank_bound]
        flow["formulas of the modes"] = np.einsum("or,toi,ir->tr", U, flow["output map"], V)
        found["formulas of the modes"] = formulas
    tiny = np.finfo(float).tiny
    costs = {
        name: float(np.abs(value - flow[name]).max() / max(np.abs(flow[name]).max(), tiny))
        for name, value in found.items()
    }
    return costs, float(times[-1])


def _densely(times: np.ndarray) -> np.ndarray:
    """Return times with others between them: the largest distance may stand anywhere."""
    shares = np.linspace(0.0, 1.0, _BETWEEN, endpoint=False)
    between = times[:-1, None] + np.diff(times)[:, None] * shares
    return np.append(between, times[-1])


def _observed(problem: Problem, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return output map, hidden Gram matrix and weights of a chain of linear layers."""
    first, *rest = (float(p.scale) * weights[p.name] for p in problem.network.parameters)
    found, reached = {}, first
    for layer in rest:
        found["hidden Gram"] = reached.transpose(0, 2, 1) @ reached
        reached = layer @ reached
    flat = [weight.reshape(len(weight), -1) for weight in weights.values()]
    return {"output map": reached, **found, "weights": np.concatenate(flat, axis=1)}


def _formulas(derivation: Derivation, times: np.ndarray) -> np.ndarray | None:
    """Return the modes by their formulas, (n_times, n_modes), of a law that has these.

    They may use less of the initial weights than the compiled routine does.
    """
    if derivation.derived.mode is None:
        return None
    curriculum = derivation.problem.curriculum
    running = np.array([curriculum.phase_at(float(time)) for time in times])
    found = np.empty((len(times), mode_basis(derivation.problem).rank_bound))
    for phase in np.unique(running):
        here = running == phase
        for k in range(found.shape[1]):
            result = derivation.mode(k, int(phase))
            if "output" not in result:
                return None
            found[here, k] = evaluate(result["output"], times[here])
    return found


def _maps(problem: Problem, theory: Trajectory) -> dict[str, np.ndarray]:
    """Return what a law that does not determine the weights tells of the same."""
    inner = float(problem.network.parameters[0].scale)
    return {"output map": theory.end_to_end, "hidden Gram": inner**2 * theory.input_gram}
