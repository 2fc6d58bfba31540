"""A law against the integrated flow, on one problem and on many drawn ones.

A drawn problem is known by its law and its seed: `followed(law, [1234])` replays it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from symkernel.errors import OutsideValidity
from symkernel.formula import Law
from symkernel.ladder_structure import determined, horizon, products
from symkernel.problem.problem import Problem
from symkernel.simulation.flow import integrate_flow

BOUND = 1e-8
# Forward sensitivity times 2^-52 from which on an integrator in floating point is no judge.
CERTAIN = 1e-10
# Largest share of times at which nobody judges, and of draws that a law may refuse.
UNJUDGED = 0.05
# Only of aligned_modes: beside a mode of 14 to 100 rounding of Syx blurs the directions of weak
# ones, by up to 1e-7 of what is diagonal.
REFUSED = {"aligned_modes": 0.03}


def judged(law: Law, problem: Problem, times: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the largest error, and at which times the integrator can be trusted.

    Of all weights that the law determines, and of their products, relative to 1 or the largest
    entry.
    """
    flow = integrate_flow(problem, times)
    trusted = flow.sensitivity * 2.0**-52 < CERTAIN
    assert trusted[0]
    found, gaps = determined(law.trajectory(problem, times)), []
    for true in (flow.weights, products(problem, flow.weights)):
        scale = max(1.0, *(float(np.abs(w).max()) for w in true.values())) if true else 1.0
        known = true.keys() & found.keys()
        gaps += [float(np.abs(found[n] - true[n])[trusted].max()) / scale for n in known]
    # Unlike Python's own maximum this one passes on what is no number.
    return float(np.max(gaps)), trusted


def flow_gap(law: Law, problem: Problem, times: np.ndarray | None = None) -> float:
    """Return the largest error on a problem that the law accepts."""
    verdicts = law.test(problem)
    assert all(v.holds for v in verdicts), "\n".join(map(str, verdicts))
    return judged(law, problem, horizon(problem) if times is None else times)[0]


@dataclass(frozen=True)
class Followed:
    """What came of many draws: errors by seed, seeds refused, share of times not judged."""

    errors: dict[int, float]
    refused: list[int]
    unjudged: float

    def __str__(self) -> str:
        worst = max(self.errors, key=self.errors.__getitem__)
        return (
            f"{len(self.errors)} draws, worst error {self.errors[worst]:.1e} at seed {worst}; "
            f"refused: {len(self.refused)}; times not judged: {self.unjudged:.1%}"
        )


def followed(law: Law, seeds: Iterable[int]) -> Followed:
    """Compare the law with the flow on the problem of each seed, as far as it covers it."""
    errors, refused, trusted = {}, [], []
    for seed in seeds:
        problem = law.draw(np.random.default_rng(seed))
        try:
            if not all(verdict.holds for verdict in law.test(problem)):
                raise OutsideValidity("Refused by its own test.")
            errors[seed], here = judged(law, problem, horizon(problem))
            trusted.append(here)
        except OutsideValidity:
            refused.append(seed)
        except Exception as error:
            error.add_note(f"law {law.name}, seed {seed}")
            raise
    return Followed(errors, refused, 1.0 - float(np.mean(np.concatenate(trusted))))


def follow(law: Law, seeds: Iterable[int], bound: float = BOUND) -> None:
    """Assert that the law follows the flow of all draws, and that few of them say nothing."""
    found = followed(law, seeds)
    far = {seed: error for seed, error in found.errors.items() if not error <= bound}
    assert not far, f"{law.name}, errors by seed: {far}; {found}"
    count = len(found.errors) + len(found.refused)
    allowed = REFUSED.get(law.name, 0.0) * count
    assert len(found.refused) <= allowed, f"{law.name}, refused: {found.refused}"
    assert found.unjudged <= UNJUDGED, f"{law.name}: {found}"
