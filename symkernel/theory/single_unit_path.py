r"""Numbers of one hidden unit: its sides without growing exponentials, through a curriculum.

Of each mode $e^{-\omega t} e^{Ft} x_0$ and $e^{-2\omega t} \int_0^t |e^{Fs}x_0|^2 ds$ are computed;
all their terms are bounded, and those of the integral positive. Modes are put together relative to
the one that has most of the common factor, with
$\omega_i - \omega_j = (\sigma_i^2 - \sigma_j^2)/(\omega_i + \omega_j)$.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import sympy as sp
from sympy.codegen.cfunctions import hypot

from symkernel import notation
from symkernel.codegen.elementwise import ElementwiseRoutine, Lowered, compile_elementwise
from symkernel.codegen.functions import decay, rise
from symkernel.codegen.rules import Rewriting
from symkernel.problem.modes import Basis, common_basis, singular_basis
from symkernel.problem.problem import Problem
from symkernel.theory.mode_flow import ModeFlow
from symkernel.theory.mode_state import TOLERANCE
from symkernel.theory.single_unit_flow import LAMBDA, OMEGA, Part, UnitSolution
from symkernel.theory.two_layer_path import TwoLayerPath, phases_at, refuse_faint, within_phases
from symkernel.trajectory import Field

_TIME = notation.t
_G = sp.Symbol("g_mode", real=True)
_H = sp.Symbol("H", positive=True)
_B = sp.Symbol("B", positive=True)
_UP = sp.Symbol("up", real=True)
_E, _TAU = sp.symbols("E tau_mode", nonnegative=True)
_P, _Q = sp.symbols("p_mode q_mode", real=True)
# Largest logarithm of a factor.
_LARGEST = 700.0
# Stands for |h| where it vanishes, so that the rate of a zero mode is no 0 either.
_TINY = sp.Float(1e-290)


@cache
def stable_unit() -> tuple[dict[str, sp.Expr], tuple[Rewriting, ...]]:
    """Return the stable forms for h >= 0, and the rules that lead to them from the derived ones.

    Derived once per process. Names: "p", "q" times exp(-omega t), "root", of the integral times
    exp(-2 omega t).
    """
    F = sp.Matrix([[-_H, _G], [_G, _H]])
    p, q, integral = UnitSolution.turned(sp.Matrix([_P, _Q]), F, OMEGA)
    grown = 1 / sp.sqrt(_E)
    masks = {
        sp.cosh(OMEGA * _TIME): (grown + 1 / grown) / 2,
        sp.sinh(OMEGA * _TIME): (grown - 1 / grown) / 2,
    }
    derived = {
        "p": sp.expand(p.subs(masks) * sp.sqrt(_E)),
        "q": sp.expand(q.subs(masks) * sp.sqrt(_E)),
        "integral": sp.expand(integral.subs(masks) * _E),
    }
    norm = sp.Symbol("n_mode", positive=True)
    up, down = _UP / norm, (_G * _Q - _B * _P) / norm
    stable = {
        "p": _E * _P + _TAU * (_G / _B) * _UP,
        "q": _E * _Q + _TAU * _UP,
        "integral": _TAU * (up**2 + _E * down**2),
    }
    square = ((OMEGA, _G**2 + _H**2),)
    meaning = (
        (norm, sp.sqrt(2 * OMEGA * _B)),
        (_UP, _G * _P + _B * _Q),
        (_B, OMEGA + _H),
        (_TAU, (1 - _E) / (2 * OMEGA)),
    )
    reasons = {
        "p": "what decays, and what grows, by one combination of the sides; omega - h is written "
        "g^2/(omega + h), which cancels nothing",
        "q": "the same combination: on the saddle it is 0 for both sides",
        "integral": "sum of squares over the two eigenvectors of F: all terms are positive",
    }
    log = tuple(
        Rewriting(f"without growth: {name}", reason, derived[name], stable[name],
                  meaning[::-1], square)
        for name, reason in reasons.items()
    )  # fmt: skip
    root = sp.sqrt(_TAU) * hypot(up, sp.sqrt(_E) * down)
    return {"p": stable["p"], "q": stable["q"], "root": root, "norm": norm}, log


def unit_routine(flow: ModeFlow) -> ElementwiseRoutine:
    """Compile the sides of a mode as functions of (t; s, d, lam, p, q)."""
    parts, log = stable_unit()
    first, second = sp.symbols("p_start q_start", real=True)
    half = sp.Symbol("h_raw", real=True)
    forwards = half >= 0
    where = (
        (_G, flow.sigma),
        (half, flow.delta * LAMBDA / 2),
        (_H, sp.Max(sp.Abs(half), _TINY)),
        # Turning the sign of h changes the places of the two sides.
        (_P, sp.Piecewise((first, forwards), (second, True))),
        (_Q, sp.Piecewise((second, forwards), (first, True))),
        (OMEGA, hypot(_G, _H)),
        (_B, OMEGA + _H),
        (_UP, _G * _P + _B * _Q),
        (parts["norm"], hypot(_G, _B)),
        (_E, decay(2 * OMEGA * _TIME)),
        (_TAU, rise(2 * OMEGA * _TIME) / (2 * OMEGA)),
    )
    outputs = (
        ("p", sp.Piecewise((parts["p"], forwards), (parts["q"], True))),
        ("q", sp.Piecewise((parts["q"], forwards), (parts["p"], True))),
        ("root", sp.sqrt(flow.delta) * parts["root"]),
        ("omega", OMEGA),
        ("sigma", _G),
    )
    arguments = (notation.s, notation.d, LAMBDA, first, second)
    return compile_elementwise(Lowered(arguments, _TIME, where, outputs, log))


def sides_at(
    routine: Callable[..., dict[str, np.ndarray]],
    times: np.ndarray,
    s: np.ndarray,
    d: float,
    lam: float,
    p: np.ndarray,
    q: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return both sides of all modes at all times, (n_times, n_modes) each."""
    n = len(s)
    out = routine(times, s, np.full(n, d), np.full(n, lam), p, q)
    omega, sigma, root = out["omega"][0], out["sigma"][0], out["root"]
    with np.errstate(divide="ignore"):
        weight = np.log(root) + omega * times[:, None]
    leader = weight.argmax(1)
    leads = weight.max(1) > 0
    sums = omega[leader][:, None] + omega
    apart = (sigma - sigma[leader][:, None]) * (sigma + sigma[leader][:, None]) / sums
    shift = np.where(leads[:, None], apart, omega) * times[:, None]
    # Only modes that are not there, and sides on the saddle, come to the limit.
    factor = np.exp(np.minimum(shift, _LARGEST))
    start = np.where(leads, np.exp(-omega[leader] * times), 1.0)
    rest = np.sqrt(((factor * root) ** 2).sum(1))
    common = np.hypot(start, rest)[:, None]
    return out["p"] * factor / common, out["q"] * factor / common


@dataclass(frozen=True, eq=False)
class UnitState:
    """The unit at the start of a phase, in the singular basis of the phase's task.

    Attributes
    ----------
    s, p, q : ndarray, shape (max(n_inputs, n_outputs),)
        Modes, completed by directions of strength 0.
    """

    s: np.ndarray
    d: float
    p: np.ndarray
    q: np.ndarray

    @property
    def lam(self) -> float:
        """The conserved quantity; equal sides leave nothing of their rounding."""
        return math.fsum((self.q - self.p) * (self.q + self.p))

    @property
    def parts(self) -> tuple[Part, ...]:
        """All modes as numbers of SymPy."""
        rows = zip(self.s, self.p, self.q, strict=True)
        return tuple(Part(*(sp.Float(x) if x else sp.S.Zero for x in row)) for row in rows)


@dataclass(frozen=True, eq=False)
class UnitPath(TwoLayerPath):
    """Weights of a network of one hidden unit, and what is observed on them."""

    flow: ModeFlow
    routine: Any

    @classmethod
    def of(cls, problem: Problem, flow: ModeFlow, routine: Any, times: object) -> UnitPath:
        """Return the path of a problem that the law covers."""
        return cls(problem, *phases_at(problem.curriculum, times), flow, routine)

    @cached_property
    def bases(self) -> tuple[Basis, ...]:
        """One basis for all phases where their tasks commute, else one for each."""
        tasks = [phase.task for phase in self.problem.curriculum.phases]
        shared = common_basis(tasks)
        r = shared.rank_bound
        for task, s in zip(tasks, shared.s, strict=True):
            turned = shared.U.T @ task.Syx @ shared.V
            turned[np.arange(r), np.arange(r)] -= s
            if np.abs(turned).max() > TOLERANCE**1.5 * max(np.linalg.norm(task.Syx, 2), 1e-300):
                return tuple(singular_basis(task) for task in tasks)
        return tuple(
            Basis(shared.U, shared.V, shared.s[k : k + 1], shared.d[k : k + 1], shared.rounding)
            for k in range(len(tasks))
        )

    def state(self, k: int, row: np.ndarray, column: np.ndarray) -> UnitState:
        """Return the state in the basis of phase k; what is mere rounding at the start is 0."""
        basis = self.bases[k]
        n = max(len(row), len(column))
        p, q, s = np.zeros(n), np.zeros(n), np.zeros(n)
        p[: len(row)] = row @ basis.V
        q[: len(column)] = float(self.flow.ratio) * (basis.U.T @ column)
        s[: basis.rank_bound] = basis.s[0]
        if k == 0:
            noise = basis.rounding * np.hypot(np.linalg.norm(p), np.linalg.norm(q))
            gone = np.hypot(p, q) <= noise
            p[gone] = q[gone] = 0.0
        return UnitState(s, _variance(self.problem, k), p, q)

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """Both weights at all times."""
        arrays, flow = self.problem.weights.arrays, self.flow
        row, column = arrays[flow.first][0], arrays[flow.second][:, 0]
        lam = self.state(0, row, column).lam
        sizes = there = None
        rows, columns = [], []
        for k, local in within_phases(self.problem.curriculum, self.clock, self.position):
            start, basis = self.state(k, row, column), self.bases[k]
            if sizes is None:
                sizes = np.hypot(start.p, start.q)
            # In the basis of the phase that shrank them: turned into another, they may mix.
            refuse_faint(sizes, k, there)
            there = np.hypot(start.p, start.q) > 0
            p, q = sides_at(self.routine, local, start.s, start.d, lam, start.p, start.q)
            sizes = np.hypot(p[-1], q[-1])
            found = p[:, : len(row)] @ basis.V.T, q[:, : len(column)] @ basis.U.T
            row, column = found[0][-1], found[1][-1] / float(flow.ratio)
            inside = int((self.position == k).sum())
            rows.append(found[0][:inside])
            columns.append(found[1][:inside] / float(flow.ratio))
        first, second = np.concatenate(rows), np.concatenate(columns)
        return {flow.first: first[:, None, :], flow.second: second[:, :, None]}

    @cached_property
    def modes(self) -> np.ndarray:
        """The end-to-end map in the basis of the first task."""
        basis = self.bases[0]
        r = basis.rank_bound
        return np.einsum("or,toi,ir->tr", basis.U[:, :r], self.end_to_end(), basis.V[:, :r])

    def own_fields(self) -> dict[str, Field]:
        """Return weights and modes."""
        return {**super().own_fields(), "modes": lambda: self.modes}


def _variance(problem: Problem, k: int) -> float:
    """Return the variance of all inputs of a phase."""
    return float(np.trace(problem.curriculum.phases[k].task.Sxx)) / int(problem.network.inputs)
