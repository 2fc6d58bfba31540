"""Laws that compute by an algorithm of their own: it, its mathematics and its equation agree.

Matrix nodes have the same test in tests/theory/test_riccati.py; what is integrated states nothing
but its equation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
import pytest
import sympy as sp

from symkernel import notation
from symkernel.codegen.algorithms import AlgorithmRoutine
from symkernel.formula import Evidence
from symkernel.theory import LAWS
from symkernel.theory.deep_checks import check_precision
from symkernel.theory.deep_mode import DeepMode
from symkernel.theory.deep_routine import DeepRoutine, deep_routine
from symkernel.theory.gated_checks import check_race
from symkernel.theory.hyperbolic import U0
from symkernel.theory.pathway_state import PathwayState
from symkernel.theory.race_clock import THETA, Race, RaceRoutine

_DIGITS = 40
_NOTHING = 1e-30


class Case(ABC):
    """One routine: its definition, wrong ones, its precision and its composition in time."""

    @abstractmethod
    def definitions(self) -> list[sp.Expr]:
        """Return what is printed."""

    @abstractmethod
    def residual(self, k: int, definition: sp.Expr) -> float:
        """Return how far definition k is from its equation and its start, in numbers."""

    @abstractmethod
    def mutations(self, definition: sp.Expr) -> list[sp.Expr]:
        """Return the definition with one sign or one factor changed."""

    @abstractmethod
    def precision(self, stream: np.random.Generator) -> Evidence:
        """Compare the algorithm with the definition at many digits."""

    @abstractmethod
    def composed(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the state after both times, at once and one after the other."""


def size(expression: sp.Expr, values: dict[sp.Symbol, sp.Expr]) -> float:
    return float(abs(sp.N(expression.subs(values), _DIGITS)))


class Deep(Case):
    """The flow time of a rising and of a falling mode, and their inverse."""

    def __init__(self, depth: int) -> None:
        self.depth, self.mode = depth, DeepMode(sp.Integer(depth))

    def definitions(self) -> list[sp.Expr]:
        return [formula.plain for formula in self.mode.times[:2]]

    def residual(self, k: int, definition: sp.Expr) -> float:
        u = notation.u
        values = {notation.s: sp.Rational(5, 4), notation.d: sp.Rational(2, 3)}
        start = sp.Rational(1, 7) if k == 0 else sp.Rational(9, 2)
        there = {**values, U0: start, u: sp.Rational(3, 4) if k == 0 else sp.Rational(5, 2)}
        speed = sp.diff(definition, u) * self.mode.rate - 1
        return max(size(speed, there), size(definition, {**values, U0: start, u: start}))

    def mutations(self, definition: sp.Expr) -> list[sp.Expr]:
        flow_time = sp.expand(definition)
        signs = [flow_time - 2 * term for term in flow_time.args]
        return [*signs, 2 * definition, definition + sp.Rational(1, 100)]

    def precision(self, stream: np.random.Generator) -> Evidence:
        return check_precision(self.depth, stream, 6)

    def composed(self) -> tuple[np.ndarray, np.ndarray]:
        routine = deep_routine(self.depth)
        A, B, w = np.array([1.3, 0.8, -0.7]), np.array([1.0, 0.4, 2.0]), np.array([0.2, 1.9, 0.6])
        at_once = routine(np.array([2.1]), A, B, w)[0][0]
        first = routine(np.array([0.9]), A, B, w)[0][0]
        return at_once, routine(np.array([1.2]), A, B, first)[0][0]


class Racing(Case):
    """The modes of all pathways in one clock, and the clock's time inverted."""

    @cached_property
    def race(self) -> Race:
        law = next(law for law in LAWS if law.name == "neural_race")
        return Race(PathwayState.of(law.draw(np.random.default_rng(1004))).flow)

    def definitions(self) -> list[sp.Expr]:
        return [self.race.of_clock(j) for j in range(len(self.race.depths))]

    def residual(self, k: int, definition: sp.Expr) -> float:
        mode, start = self.race.symbols[k]
        values = {start: sp.Rational(2, 5)}
        moved = sp.diff(definition, THETA) - self.race.gain(k).subs(mode, definition)
        begun = definition.subs(THETA, 0) - start
        return max(size(moved, {**values, THETA: sp.Rational(1, 9)}), size(begun, values))

    def mutations(self, definition: sp.Expr) -> list[sp.Expr]:
        return [definition.subs(THETA, -THETA), definition.subs(THETA, 2 * THETA), 2 * definition]

    def precision(self, stream: np.random.Generator) -> Evidence:
        return check_race(self.race, stream, 8)

    def composed(self) -> tuple[np.ndarray, np.ndarray]:
        routine, count = RaceRoutine(self.race), len(self.race.depths)
        s, d = np.array([1.5, 0.7]), np.array([1.0, 2.0])
        start = np.linspace(0.05, 0.4, 2 * count).reshape(count, 2)
        at_once = routine(np.array([0.0, 2.0]), s, d, start)[:, 1]
        first = routine(np.array([0.0, 0.8]), s, d, start)[:, 1]
        return at_once, routine(np.array([0.0, 1.2]), s, d, first)[:, 1]


CASES = {"deep, 3 layers": Deep(3), "deep, 4 layers": Deep(4), "race": Racing()}
CASES_OF = {DeepRoutine: Deep, RaceRoutine: Racing}


@pytest.mark.parametrize("name", sorted(law.name for law in LAWS))
def test_every_law_without_rewriting_rules_has_a_case(name: str) -> None:
    law = next(law for law in LAWS if law.name == name)
    routine = law.derive(law.example()).routine()
    integrated = law.rtol is not None
    assert routine.rewritings or integrated or type(routine) in {AlgorithmRoutine, *CASES_OF}


@pytest.mark.parametrize("name", CASES)
def test_definition_solves_its_equation(name: str) -> None:
    case = CASES[name]
    for k, definition in enumerate(case.definitions()):
        assert case.residual(k, definition) < _NOTHING


@pytest.mark.parametrize("name", CASES)
def test_a_definition_with_one_change_does_not(name: str) -> None:
    case = CASES[name]
    for k, definition in enumerate(case.definitions()):
        for wrong in case.mutations(definition):
            assert case.residual(k, wrong) > 1e-6


@pytest.mark.parametrize("name", CASES)
def test_algorithm_is_the_definition_at_many_digits(name: str) -> None:
    found = CASES[name].precision(np.random.default_rng(7))
    assert found.passed, found.figure


@pytest.mark.parametrize("name", CASES)
def test_algorithm_composes_in_time(name: str) -> None:
    at_once, after = CASES[name].composed()
    assert not np.allclose(at_once, 0.0)
    np.testing.assert_allclose(after, at_once, rtol=1e-12)
