r"""Two-layer linear networks with weights aligned to the task: one scalar law per mode.

$\dot a = b(\sigma - \delta ab)$, $\dot b = a(\sigma - \delta ab)$ with $\sigma = s$,
$\delta = d$ in the house's conventions; balanced, unbalanced, of any signs. Where the layers
learn at different rates this is so of $a$ and $\rho b$, with $\rho^2$ the ratio of the rates.
"""

from __future__ import annotations

from functools import cached_property

import sympy as sp

from symkernel import notation
from symkernel.formula import Citation, Derived, Evidence, Formula, Law, Result, Step, Verdict
from symkernel.identities import vanishes
from symkernel.problem import weights
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.problem.task import Task
from symkernel.theory.hyperbolic import U0, ModeSolution, Sides
from symkernel.theory.mode_checks import check_precision, draw_aligned, mode_limits
from symkernel.theory.mode_flow import ModeFlow, mode_flow
from symkernel.theory.mode_numbers import mode_numbers
from symkernel.theory.mode_observables import observable_step, observables
from symkernel.theory.mode_path import trajectory_of
from symkernel.theory.mode_phases import per_mode
from symkernel.theory.mode_state import mode_verdicts
from symkernel.theory.mode_values import ModeValues, mode_values
from symkernel.theory.solutions import written_out
from symkernel.theory.stable_modes import side_routine

_NAME = "aligned_modes"
_A, _B, _A0, _B0, _TIME = notation.a, notation.b, notation.a0, notation.b0, notation.t
SAXE2014 = Citation(
    "saxe2014",
    "Saxe, Andrew M. and McClelland, James L. and Ganguli, Surya",
    "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks",
    "International Conference on Learning Representations",
    2014,
    "section 1.1 (balanced mode)",
    "1312.6120",
)

# What a mode starts from in a later phase.
_PLUS, _MINUS = sp.symbols("a_plus_b a_minus_b", real=True)


def _test(problem: Problem) -> tuple[Verdict, ...]:
    return mode_verdicts(_NAME, problem, aligned=True)


class _Derivation:
    """The derivation for one choice of the sides at the start, p0 = a0 and q0 = rho b0."""

    def __init__(self, modes: ModeFlow, p0: sp.Expr, q0: sp.Expr) -> None:
        self.modes, self.p0, self.q0 = modes, p0, q0
        self.a0, self.b0 = p0, q0 / modes.ratio
        self.solution = ModeSolution(
            modes, Sides(sp.factor((p0 + q0) ** 2), sp.factor((p0 - q0) ** 2))
        )

    @cached_property
    def sides(self) -> tuple[sp.Expr, sp.Expr]:
        """Return a and b in terms of z."""
        even, odd, ratio = self.solution.even, self.solution.odd, self.modes.ratio
        a, b = self.p0 * even + self.q0 * odd, (self.q0 * even + self.p0 * odd) / ratio
        # Balanced or opposite sides: one of the two exponentials drops out.
        return (sp.expand(a), sp.expand(b)) if self.p0**2 == self.q0**2 else (a, b)

    def result(self) -> Result:
        """Return all mode-level laws as plain SymPy in time."""
        plain = self.solution.of_growth
        scale = self.modes.scale
        u = scale * self.solution.overlap
        textbook = self.solution.textbook
        if textbook is not None:
            output = written_out(textbook.expression, textbook.where)
            output = output.subs(U0, scale * self.p0 * self.q0)
        else:
            output = plain(u)
        a, b = (plain(side) for side in self.sides)
        return Result({"output": output, **observables(self.modes, output, a, b, self.a0)})

    def formulas(self) -> tuple[Formula, ...]:
        """Return the laws with abbreviations, as they are printed."""
        growth, textbook = self.solution.growth, self.solution.textbook
        where = (*growth.where, (notation.z, growth.expression))
        mode, abbreviations = self.modes.scale * self.solution.overlap, where
        if textbook is not None:
            start = (U0, self.modes.scale * self.p0 * self.q0)
            mode, abbreviations = textbook.expression, (start, *textbook.where)
        return (
            Formula("output mode", notation.u, mode, abbreviations),
            Formula("input side", _A, self.sides[0], where),
            Formula("output side", _B, self.sides[1], where),
        )

    def at_end(self, values: ModeValues, duration: sp.Expr) -> dict[sp.Symbol, sp.Expr]:
        r"""Return sum, difference and amplitudes of the sides at the end of a phase.

        The sum has grown by $\sqrt z$ and the difference has shrunk by it: in these the
        conserved product stays as it was.
        """
        root = values.in_law(self.solution.of_growth(sp.sqrt(notation.z)))
        root = root.xreplace({_TIME: duration})
        plus = values.in_law(self.p0 + self.q0) * root
        minus = values.in_law(self.p0 - self.q0) / root
        b0 = (plus - minus) / (2 * self.modes.ratio)
        return {_PLUS: plus, _MINUS: minus, _A0: (plus + minus) / 2, _B0: b0}

    def steps(self) -> tuple[Step, ...]:
        """Return all steps, from gradient flow to observables."""
        rotation, reduced, solved = self.solution.steps()
        steps = [
            *self.modes.system.steps(),
            self.modes.projection_step(),
            self._mode_step(),
            rotation,
            reduced,
            solved,
            self._output_step(),
            observable_step(self.modes),
        ]
        return tuple(steps)

    def _mode_step(self) -> Step:
        a, b = sp.Function("a")(_TIME), sp.Function("b")(_TIME)
        ratio = self.modes.ratio
        drive = self.modes.sigma - self.modes.delta * ratio * a * b
        scaled = "" if ratio == 1 else " times the root of the ratio of the layers' rates"
        return Step(
            "Mode equation",
            f"aligned sides p = a r, q = b r{scaled} along one hidden direction r; |p|^2 - |q|^2 "
            f"is what is left of the conserved matrix",
            (
                sp.Eq(a.diff(_TIME), ratio * b * drive, evaluate=False),
                sp.Eq(b.diff(_TIME), a / ratio * drive, evaluate=False),
                sp.Eq(a**2 - ratio**2 * b**2, self.p0**2 - self.q0**2, evaluate=False),
            ),
            self._check_mode,
        )

    def _check_mode(self) -> Evidence:
        p, q = self.sides[0], self.modes.ratio * self.sides[1]
        z = notation.z
        drive = self.modes.sigma - self.modes.delta * p * q
        rate = self.solution.reduced
        for side, other in ((p, q), (q, p)):
            if sp.expand(sp.diff(side, z) * rate - other * drive) != 0:
                return Evidence(False, "a and b do not solve the mode equation")
        if sp.expand(p**2 - q**2 - self.p0**2 + self.q0**2) != 0:
            return Evidence(False, "|p|^2 - |q|^2 is not kept")
        found = "a, b substituted into the mode equation, |p|^2 - |q|^2 kept: exactly 0"
        return Evidence(True, found)

    def _output_step(self) -> Step:
        formula = self.formulas()[0]
        eqs = [sp.Eq(formula.symbol, formula.expression, evaluate=False)]
        eqs += [sp.Eq(left, right, evaluate=False) for left, right in formula.where]
        return Step(
            "Mode of the end-to-end map",
            "the overlap of the sides, times the factor of the parameterisation",
            tuple(eqs),
            self._check_output,
        )

    def _check_output(self) -> Evidence:
        """Compare u with c a b, or the textbook's form of a balanced mode with the form in z."""
        a, b = self.sides
        scale, ratio = self.modes.scale, self.modes.ratio
        textbook = self.solution.textbook
        if textbook is None:
            same = sp.expand(scale * (ratio * a * b - self.solution.overlap)) == 0
            return Evidence.of(same, "u = c a b exactly, with the factor c of the parameterisation")
        growth = self.solution.growth
        through_z = (scale * self.solution.overlap).subs(notation.z, growth.expression)
        difference = through_z - textbook.expression.subs(U0, scale * self.p0 * self.q0)
        return Evidence.of(vanishes(difference), "textbook form = form in z exactly")


def _general(modes: ModeFlow, problem: Problem) -> _Derivation:
    """Return the derivation in the law's symbols, special where the problem makes it so."""
    amplitudes = problem.weights.amplitudes
    if amplitudes is not None and len(amplitudes.a) == len(amplitudes.b):
        return _symbolic(modes, list(zip(amplitudes.a, amplitudes.b, strict=True)))
    return _symbolic(modes, [])


def _symbolic(modes: ModeFlow, pairs: list[tuple[sp.Expr, sp.Expr]]) -> _Derivation:
    """Return the derivation for sides that are equal or opposite if these amplitudes make them."""
    for sign in (1, -1):
        if pairs and all(sp.expand(a - sign * modes.ratio * b) == 0 for a, b in pairs):
            return _Derivation(modes, _A0, sign * _A0)
    return _Derivation(modes, _A0, modes.ratio * _B0)


def _derive(problem: Problem) -> Derived:
    modes = mode_flow(problem)
    derivation = _general(modes, problem)
    bound = per_mode(
        problem,
        modes,
        derivation,
        lambda index, phase: mode_values(problem, index, phase),
        _fitting,
    )
    tried = modes.tried
    return Derived(
        steps=derivation.steps,
        result=derivation.result,
        formulas=derivation.formulas,
        routine=lambda: side_routine(modes),
        limits=mode_limits(modes),
        precision=lambda stream, draws: check_precision(tried, side_routine(tried), stream, draws),
        **bound,
        numbers=mode_numbers,
    )


def _fitting(modes: ModeFlow, values: ModeValues) -> _Derivation:
    """Return the derivation that fits the sides: balanced, opposite and zero ones are special."""
    a, b = values[_A0], values[_B0]
    if values.are_numbers:
        return _Derivation(modes, a, modes.ratio * b)
    if a == 0 and b == 0:
        return _Derivation(modes, sp.S.Zero, sp.S.Zero)
    if _PLUS in values.entry and a not in (modes.ratio * b, -modes.ratio * b):
        return _Derivation(modes, (_PLUS + _MINUS) / 2, (_PLUS - _MINUS) / 2)
    return _symbolic(modes, [(a, b)])


def _example() -> Problem:
    task = Task.from_modes([3.0, 1.5, 0.5])
    net = Network.two_layer(inputs=3, hidden=4, outputs=3)
    w0 = weights.aligned(net, task, a=[0.05, 0.2, 0.3], b=[0.1, 0.2, -0.1])
    return Problem(net, Curriculum.of(task), w0)


LAW = Law(
    name=_NAME,
    title="Two-layer linear network, aligned weights: one law per mode",
    rank="exact",
    assumptions=(
        "two dense linear layers, both trained at rates of their own, squared error, no decay",
        "input covariance and input-output covariance are diagonal in one pair of bases",
        "different modes do not overlap in the hidden layer",
        "the two sides of each mode are parallel",
    ),
    outputs=(
        "output",
        "hidden",
        "hidden_gram",
        "ntk",
        "pseudo_kernel",
        "path_integral",
        "loss",
        "weights",
        "learning_time",
    ),
    citations=(SAXE2014,),
    test=_test,
    derive=_derive,
    trajectory=trajectory_of,
    example=_example,
    draw=draw_aligned,
)
