"""A problem with numbers whose phases last for times that are symbols yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import sympy as sp

from symkernel import derive, notation
from symkernel.derivation import Derivation
from symkernel.errors import MissingValues
from symkernel.formula import Law
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.problem import Problem
from symkernel.theory import LAWS

D = sp.Symbol("D", positive=True)
BY_NAME = {law.name: law for law in LAWS}
LASTS, TIMES = 0.7, (0.0, 0.4, 0.7, 1.5)


def of_example(law: Law, *durations: Any) -> Derivation:
    """Return a law of its example, learned in phases of these durations and one without end."""
    problem: Problem = law.example()
    phases = problem.curriculum.phases
    first = [Phase(phases[0].task, duration) for duration in durations]
    course = Curriculum([*first, Phase(phases[-1].task)])
    return derive(problem.network, course, problem.weights, law=law.name, loss=problem.loss)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping):
        return all(np.array_equal(one[name], other[name]) for name in {*one, *other})
    return np.array_equal(one, other)


@pytest.mark.parametrize("name", BY_NAME)
def test_compiled_with_a_number_it_is_the_problem_with_that_number(name: str) -> None:
    found = of_example(BY_NAME[name], D).compile({D: LASTS})(TIMES)
    expected = of_example(BY_NAME[name], LASTS).compile()(TIMES)
    assert np.ptp(found.loss) > 0
    assert found.available == expected.available
    for field in found.available:
        one, other = (getattr(path, field) for path in (found, expected))
        assert _same(one, other), field
    with pytest.raises(MissingValues, match="D"):
        of_example(BY_NAME[name], D).compile()


@pytest.mark.parametrize("name", ["single_unit", "diagonal_network", "gated_modes"])
def test_a_mode_does_not_depend_on_durations_after_it(name: str) -> None:
    for phase, durations in ((0, (D,)), (1, (LASTS, D))):
        numbers = of_example(BY_NAME[name], *(2.0 if x is D else x for x in durations))
        law = of_example(BY_NAME[name], *durations).mode(0, phase).output
        assert not law.has(D)
        gap = law - numbers.mode(0, phase).output
        assert abs(gap.subs(notation.t, 1.1).evalf()) < 1e-12


@pytest.mark.parametrize("name", ["diagonal_network", "gated_modes"])
def test_a_later_mode_holds_the_symbol(name: str) -> None:
    law = of_example(BY_NAME[name], D).mode(0, 1).output
    assert law.has(D)
    value = law.subs({D: LASTS, notation.t: 1.5}).evalf()
    numbers = of_example(BY_NAME[name], LASTS).mode(0, 1).output.subs(notation.t, 1.5)
    assert float(value) == pytest.approx(float(numbers), rel=1e-10)


def test_what_has_no_closed_form_through_a_symbolic_phase_says_so() -> None:
    unit, race = (of_example(BY_NAME[name], D, 1.0) for name in ("single_unit", "neural_race"))
    with pytest.raises(MissingValues, match="Phase 1 starts at the flow time D, and this law"):
        unit.mode(0, 1)
    with pytest.raises(MissingValues, match=r"Phase 2 starts at the flow time D \+ 1.0"):
        race.learning_time(0.5, 0, 2)
    numbers = of_example(BY_NAME["neural_race"], 3.0, 1.0)
    assert race.learning_time(0.5, 0, 0) == numbers.learning_time(0.5, 0, 0)


def test_the_movement_of_a_kernel_is_predicted_when_the_duration_is_known() -> None:
    law = BY_NAME["frozen_kernel"]
    problem = of_example(law, D).problem
    before, after = law.test(problem), law.test(problem.with_values({D: LASTS}))
    assert [v.assumption for v in before] == [v.assumption for v in after[:-1]]
    assert "the kernel moves little" in after[-1].assumption
