r"""The frozen law's derivation, continued: steps of gradient descent, and several phases.

Steps hold the integral $g$ of the flow as a sum; phases add their integrals, each carried to
outputs and hidden activity by the Jacobians of the initial weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.codegen.algorithms import DecayIntegral, Propagator
from symkernel.formula import Evidence, Step
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.theory.frozen_path import Clock, systems_of, through
from symkernel.theory.frozen_words import SHAPES, FrozenWords, matrix
from symkernel.theory.residual_integral import Spectrum
from symkernel.theory.words import Words

_ETA = sp.Symbol("eta", positive=True)
_K = sp.Symbol("k", integer=True, nonnegative=True)
_EIGENVALUE = sp.Symbol("l", positive=True)
_STEPS, _AGREE = 4, 1e-10
# Samples of each phase, and where in the last one, the sum over phases is tried.
_FEW, _LATE = 2, 0.5


class DescentIntegral(Propagator):
    r"""$\eta\sum_{j<k} (1 - \eta M)^j$, a polynomial in M: no inverse of M is needed."""

    @staticmethod
    def of_eigenvalue(f: Any, t: Any, exp: Any = None) -> Any:
        """Return the same function of one eigenvalue, after t steps."""
        return t * _ETA if f == 0 else (1 - (1 - _ETA * f) ** t) / f

    def _latex(self, printer: Any) -> str:
        M, k = (printer._print(arg) for arg in self.args)
        eta = printer._print(_ETA)
        return rf"{eta}\sum_{{j=0}}^{{{k}-1}} \left(1 - {eta} {M}\right)^{{j}}"

    def _sympystr(self, printer: Any) -> str:
        M, k = (printer._print(arg) for arg in self.args)
        return f"eta*Sum((1 - eta*{M})**j, (j, 0, {k} - 1))"


def _at(name: str, phase: int) -> sp.MatrixSymbol:
    """Return a matrix of a phase."""
    return sp.MatrixSymbol(f"{name}_{phase}", *SHAPES[name])


@dataclass(frozen=True)
class CourseWords(FrozenWords):
    """The derivation of the frozen law, with descent, and with phases where there are several."""

    def steps(self) -> tuple[Step, ...]:
        """Return the steps of the flow, then descent and phases."""
        phases = len(self.problem.curriculum.phases)
        return (*super().steps(), self._descent(), *([self._course()] if phases > 1 else []))

    # Descent --------------------------------------------------------------------------------------

    @cached_property
    def stepped(self) -> sp.Expr:
        """What the learning rate and k steps make of an eigenvalue."""
        return DescentIntegral.of_eigenvalue(_EIGENVALUE, _K)

    def _descent(self) -> Step:
        g, M, rho = matrix("g"), matrix("M"), matrix("rho_0")
        phi = sp.Symbol("phi_k")
        f, h = (self.solved[name].matrix(SHAPES) for name in ("f", "h"))
        return Step(
            "Gradient descent",
            "after k steps outputs and hidden activity are the same functions of g, which is a sum "
            "over the steps in place of the integral; it is stable while no eigenvalue l of M "
            "reaches 2 / (learning rate), and its limit of small steps is the flow",
            (
                sp.Eq(g, sp.MatMul(DescentIntegral(M, _K), rho), evaluate=False),
                sp.Eq(phi, self.stepped, evaluate=False),
                sp.Eq(matrix("f"), f, evaluate=False),
                sp.Eq(matrix("h"), h, evaluate=False),
            ),
            self.check_descent,
            ((_ETA, "learning rate of descent"), (_K, "steps"), (_EIGENVALUE, "an eigenvalue of M"),
             (phi, "the sum on an eigenvalue l of M")),
        )  # fmt: skip

    def check_descent(self) -> Evidence:
        """Take steps one by one on explicit matrices, and sum the steps of an eigenvalue."""
        values = _rational()
        r_0 = values["r_0"]
        values |= {"Theta": values["J"] * values["R"] * values["J"].T, "d": sp.zeros(3, 1)}
        values["K_h"] = values["J_h"] * values["R"] * values["J"].T
        M, rate = self.matrix_m.explicit(values), sp.Rational(1, 7)
        rho, g, same = values["C"] * r_0, sp.zeros(2, 1), True
        for _ in range(_STEPS):
            residual = r_0 + values["J"] * values["d"]
            moved = self.flow.explicit({**values, "r": residual})
            g, rho = g + rate * rho, rho - rate * M * rho
            values |= {"d": values["d"] + rate * moved, "g": g}
            for name, jacobian in (("f", "J"), ("h", "J_h")):
                wanted = values[f"{name}_0"] + values[jacobian] * values["d"]
                gap = (self.solved[name].explicit(values) - wanted).expand()
                same = same and gap.is_zero_matrix is True
        # One step more adds eta (1 - eta l)^k, and no step gives 0.
        power = sp.Symbol("p")
        now, then = (
            sp.expand_power_exp(self.stepped.subs(_K, k)).subs(
                (1 - _ETA * _EIGENVALUE) ** _K, power
            )
            for k in (_K, _K + 1)
        )
        same = same and sp.cancel(then - now - _ETA * power) == 0 and self.stepped.subs(_K, 0) == 0
        return Evidence.of(
            same,
            f"f and h after {_STEPS} steps taken one by one, exactly; one step more adds "
            f"eta (1 - eta l)^k",
        )

    # Phases ---------------------------------------------------------------------------------------

    def _course(self) -> Step:
        count = len(self.problem.curriculum.phases)
        starts = [sp.Symbol(f"t_{p}", nonnegative=True) for p in range(count)]
        ends = [*starts[1:], notation.t]
        lines = []
        for p in range(count):
            J, C, R = _at("J", p), _at("C", p), matrix("R")
            factor = () if 2 * self.factor == 1 else (2 * self.factor,)
            lines += [
                sp.Eq(_at("K_h", p), sp.MatMul(matrix("J_h"), R, J.T), evaluate=False),
                sp.Eq(_at("M", p), sp.MatMul(*factor, C, J, R, J.T, C), evaluate=False),
                sp.Eq(_at("g", p), sp.MatMul(DecayIntegral(_at("M", p), ends[p] - starts[p]),
                                             C, _at("r", p)), evaluate=False),
            ]  # fmt: skip
        meanings: list[tuple[Any, str]] = list(
            zip(starts, (f"flow time at which phase {p} starts" for p in range(count)), strict=True)
        )
        for p in range(count):
            meanings += [
                (_at("J", p), f"Jacobian of the outputs on the samples of phase {p}, at t = 0"),
                (_at("C", p), f"root of the weights of the samples of phase {p}"),
                (_at("r", p), f"residual on the samples of phase {p} where it starts"),
                (_at("K_h", p), f"pseudo-kernel of the node by the samples of phase {p}"),
                (_at("M", p), f"weighted tangent kernel of phase {p}"),
                (_at("g", p), f"integral of the weighted residual in phase {p}"),
            ]
        return Step(
            "Phases of the curriculum",
            "all Jacobians stay those of the initial weights, at t = 0, and phases add what they "
            "have moved, at any node, the outputs too. Here t is a flow time in the last phase; "
            "before it the sum ends with the running one. Within a phase this is what stands "
            "above, with f_0, h_0 and rho_0 where the phase starts",
            (sp.Eq(matrix("h"), self.summed(count), evaluate=False), *lines),
            self.check_course,
            tuple(meanings),
        )

    def summed(self, count: int) -> sp.MatrixExpr:
        """Return the activity of a node after so many phases."""
        moved = self.solved["h"] - Words.of("h_0")
        names, shapes, total = ("K_h", "C", "g"), dict(SHAPES), Words.of("h_0")
        for p in range(count):
            shapes |= {f"{name}_{p}": SHAPES[name] for name in names}
            total = total + moved.substituted({n: Words.of(f"{n}_{p}") for n in names})
        return total.matrix(shapes)

    def check_course(self) -> Evidence:
        """Put numbers into the sum over phases, on a few samples, and go through them in turn."""
        few = _shortened(self.problem)
        systems = systems_of(few, few.weights.arrays)
        starts = few.curriculum.starts
        clock = Clock.of(few.curriculum, [*starts[1:], starts[-1] + _LATE], None)
        flats, _ = through(few, clock, systems)
        net = few.network
        node = net.node("hidden" if "hidden" in net.nodes else "output")
        tangent = systems[0].tangent
        J_h = tangent.forward(np.eye(tangent.layout.count), node)[:, 0].T
        h_0, before = tangent.values[node][0], np.zeros(tangent.layout.count)
        values: dict[Any, Any] = {matrix("h_0"): sp.Matrix(h_0)}
        for p, system in enumerate(systems):
            # Rows of J R^(1/2), without the loss's weights and factor.
            C = np.repeat(system.gain.ravel(), system.task.Y.shape[1]) / np.sqrt(2 * system.factor)
            J = system.rows(np.diag(1 / (C * np.sqrt(2 * system.factor))))
            M = 2 * system.factor * C[:, None] * (J @ J.T) * C
            spectrum, start = Spectrum.of(M), system.residual(before) / np.sqrt(2 * system.factor)
            span = clock.times[p] - starts[p]
            g = spectrum.integral(spectrum.parts(start), np.array([span]))[0]
            values |= {_at("K_h", p): sp.Matrix(J_h @ J.T), _at("C", p): sp.Matrix(np.diag(C)),
                       _at("g", p): sp.Matrix(g)}  # fmt: skip
            before = flats[p]
        found = np.array(self.summed(len(systems)).subs(values).doit(), dtype=float).ravel()
        wanted = h_0 + tangent.forward(flats[-1], node)[0]
        gap = float(np.abs(found - wanted).max()) / max(1.0, float(np.abs(wanted).max()))
        return Evidence(gap <= _AGREE, f"the sum over {len(systems)} phases equals going through "
                        f"them in turn, on {_FEW} samples of each, to {gap:.0e}")  # fmt: skip


def _shortened(problem: Problem) -> Problem:
    """Return the problem on the first samples of each phase, phases of duration 1."""
    phases = []
    for phase in problem.curriculum.phases:
        task, few = phase.task, slice(0, _FEW)
        gates = {name: gate[few] for name, gate in task.gates.items()}
        phases.append(Phase(Task(task.X[few], task.Y[few], gates=gates), 1.0))
    return replace(problem, curriculum=Curriculum(phases))


def _rational() -> dict[str, sp.Matrix]:
    """Return small matrices of rationals: two outputs of samples, three parameters."""
    half, third = sp.Rational(1, 2), sp.Rational(1, 3)
    return {
        "J": sp.Matrix([[1, -half, 2], [third, 1, -1]]), "J_h": sp.Matrix([[2, third, -1]]),
        "C": sp.diag(half, third), "D": sp.diag(half**2, third**2), "R": sp.diag(1, 3, half),
        "r_0": sp.Matrix([2, -third]), "f_0": sp.Matrix([1, half]), "h_0": sp.Matrix([third]),
    }  # fmt: skip
