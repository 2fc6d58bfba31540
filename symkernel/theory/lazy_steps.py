"""The derivation of the lazy law of multitasking, step by step, each with its machine check."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import sympy as sp

from symkernel import notation
from symkernel.environments.symbolic_multitasking import (
    ADDRESSED,
    AT_ONCE,
    MATCHED,
    POOLED,
    READ,
    SAME,
)
from symkernel.formula import Step
from symkernel.notation import t
from symkernel.problem.symmetry import PLACES, difference
from symkernel.theory import lazy_checks as checks
from symkernel.theory import lazy_formulas as names
from symkernel.theory.lazy_formulas import LazyFormulas

if TYPE_CHECKING:
    from symkernel.theory.lazy_multitasking import LazyMultitasking

__all__ = ["steps"]

_X = sp.Symbol("x", real=True)
_DEGREE = notation.symbol("d_degree", "d", "degree in the stimulus", integer=True, nonnegative=True)
_TARGET = notation.symbol("y_target", "y", "target of a unit at a training prompt")
_DIFFERENCE = {
    d: notation.symbol(
        f"difference_{d}", rf"\Delta^{{{d}}} k(b)", f"difference of order {d} of k at b"
    )
    for d in ("d", "0", "1")
}
_GAIN = notation.symbol("gain_of_mode", "g", "learned share of a mode over its eigenvalue")
_OVERLAPS = {
    name: notation.symbol(name, tex, meaning)
    for name, tex, meaning in (
        ("stimulus_overlap", r"x_s \cdot x_s'", "overlap of the stimulus parts of two prompts"),
        ("task_overlap", r"x_t \cdot x_t'", "overlap of their task parts"),
        ("stimulus_norm", r"|x_s|^2", "squared length of the stimulus part"),
        ("task_norm", r"|x_t|^2", "squared length of the task part"),
        ("kernel_value", "k(x, x')", "kernel of two prompts"),
    )
}
_ALL, _OWN = (sp.Function(name) for name in ("sum_all", "sum_own"))
for _name, _tex in (("sum_all", r"\sum_{\tau}"), ("sum_own", r"\sum_{\tau \in P}")):
    notation.symbol(_name, _tex, "sum over all tasks, or over those of the prompt P")


def _equal(left: Any, right: Any) -> sp.Eq:
    return sp.Eq(left, right, evaluate=False)


def steps(law: LazyMultitasking) -> tuple[Step, ...]:
    """Return the steps; the margin after training is one where the kernel does not see K."""
    found = [
        _relation(law),
        _algebra(law),
        _spectrum(law),
        _modes(law),
        _eigenvalues(law),
        _learning(law),
        _training(law),
        _sums(law),
        _response(law),
        _margin(law),
    ]
    if law.settles:
        found.append(_settled(law))
    # Checks of one law are made once.
    return tuple(replace(step, check=cache(step.check)) for step in (*found, _time(law)))


def _relation(law: LazyMultitasking) -> Step:
    G = law.environment.groups
    rows = [
        _equal(_OVERLAPS["stimulus_overlap"], MATCHED),
        _equal(_OVERLAPS["task_overlap"], SAME),
        _equal(_OVERLAPS["stimulus_norm"], G),
        _equal(_OVERLAPS["task_norm"], AT_ONCE),
    ]
    if law.kernel.expression is not None:
        rows.append(_equal(_OVERLAPS["kernel_value"], law.kernel.expression))
    return Step(
        "Relation of two prompts",
        "Isotropic initial weights have no direction: a kernel depends on the overlaps and lengths "
        "of the two parts of the inputs alone. All parts are one-hot in their groups, so these are "
        "the number of stimulus groups that agree, whether the task is among the prompt's, and how "
        "many tasks the prompt has",
        tuple(rows),
        lambda: checks.check_relation(law),
    )


def _algebra(law: LazyMultitasking) -> Step:
    M, G = law.environment.features, law.environment.groups
    P = sp.IndexedBase("P")[MATCHED, _DEGREE]
    left = sp.Sum(_X**MATCHED * P, (MATCHED, 0, G))
    right = (M - 1 + _X) ** (G - _DEGREE) * (_X - 1) ** _DEGREE
    return Step(
        "The algebra of the relations",
        "The matrix of x to the power m is a product over groups: in each it has x on the diagonal "
        "and 1 elsewhere, hence the eigenvalues M - 1 + x on constants and x - 1 on contrasts. A "
        "function of degree d is a contrast in d groups; its powers of x give the eigenvalue of "
        "every relation. Between tasks there are the same and another, with the same eigenspaces "
        "for all stimuli: means and contrasts over tasks",
        (_equal(left, right),),
        lambda: checks.check_algebra(law),
        ((sp.Symbol("P"), "eigenvalue of relation m on functions of degree d"),),
    )


def _spectrum(law: LazyMultitasking) -> Step:
    G, M = law.environment.groups, law.environment.features
    k = sp.Function("k")
    rest = G - _DEGREE
    rows = [_equal(sp.Symbol("lambda_d"), sp.Sum(
        sp.binomial(rest, PLACES) * (M - 1) ** (rest - PLACES) * _DIFFERENCE["d"],
        (PLACES, 0, rest)))]  # fmt: skip
    return Step(
        "Spectrum of a kernel",
        "The power x - 1 to the d takes differences of neighbouring values of k, d times; what "
        "is left is the binomial formula. It is M to the G - d times a mean, with a number b of "
        "agreeing groups that is binomial with G - d trials of probability 1/M; for polynomials "
        "the mean is closed",
        (*rows, *(_equal(_DIFFERENCE[str(d)], difference(k, d, PLACES)) for d in (0, 1))),
        lambda: checks.check_spectrum(law),
        ((sp.Symbol("lambda_d"), "eigenvalue of k on degree d"),),
    )


def _modes(law: LazyMultitasking) -> Step:
    env = law.environment
    return Step(
        "Modes of the targets",
        "The target is 1 in the addressed group at the feature that is read. Mean and contrast "
        "over stimuli, and over tasks, split it into four parts, each in one eigenspace; no other "
        "eigenspace is ever driven",
        (
            _equal(_TARGET, ADDRESSED / env.features + READ),
            *(_equal(sp.Symbol(f"y_{x}"), mode) for x, mode in env.modes.items()),
        ),
        lambda: checks.check_modes(env),
        tuple((sp.Symbol(f"y_{x}"), f"part {x} of the target") for x in names.MODES),
    )


def _eigenvalues(law: LazyMultitasking) -> Step:
    any_kernel = LazyFormulas.of_any_kernel(law.environment)
    rows = any_kernel.spectrum_lines((0, 1))
    if law.kernel.is_polynomial:
        rows += law.parts.spectrum_lines((0, 1))
    return Step(
        "Eigenvalues of the training kernel",
        "Contrasts between tasks see the kernel of the same task less that of another; means over "
        "tasks see all tasks",
        tuple(_equal(*row) for row in rows),
        lambda: checks.check_eigenvalues(law),
    )


def _learning(law: LazyMultitasking) -> Step:
    E = sp.Function("E")(t)
    rate = 2 * law.loss.factor * sp.Symbol("lambda") / names.PROMPTS
    return Step(
        "Learning of a mode",
        "With a constant kernel the outputs obey a linear equation, in which the mean over samples "
        "divides by their number. From 0 a mode of the target is learned by its own eigenvalue",
        (
            _equal(sp.Derivative(E, t), rate * (1 - E)),
            _equal(E, 1 - sp.exp(-rate * t)),
        ),
        lambda: checks.check_learning(law),
        (
            (sp.Symbol("E"), "share of a mode that is learned"),
            (sp.Symbol("lambda"), "eigenvalue of the mode"),
        ),
    )


def _training(law: LazyMultitasking) -> Step:
    return Step(
        "Outputs at the training prompts",
        "Every mode of the target with the share of it that is learned",
        (_equal(sp.Symbol("f_prompt"), law.parts.training),),
        lambda: checks.compared(law, 1),
    )


def _sums(law: LazyMultitasking) -> Step:
    every = names.over_all_tasks(law.environment)
    own = names.over_own_tasks(AT_ONCE)
    rows = [
        _equal(total(part), sums[part])
        for total, sums in ((_ALL, every), (_OWN, own))
        for part in (sp.S.One, ADDRESSED, READ, POOLED)
    ]
    return Step(
        "Sums over tasks",
        "The response to a prompt sums over the tasks of training, with one weight for tasks that "
        "the prompt has and one for all others. Tasks of a prompt share no response group, so one "
        "of them at most writes the unit's group",
        tuple(rows),
        lambda: checks.check_sums(law),
    )


def _response(law: LazyMultitasking) -> Step:
    response = law.parts.response(AT_ONCE)
    symbols = (names.CONSTANT, names.WRITTEN, names.SELECTED, names.SPREAD)
    total = sp.Add(*(q * part for q, part in zip(symbols, names.PARTS, strict=True)))
    rows = [_equal(sp.Symbol("f_prompt"), total)]
    rows += [_equal(q, response[part]) for q, part in zip(symbols, names.PARTS, strict=True)]
    rows += [_equal(names.DIFFERENCE[d], names.MU[d, 1] - names.MU[d, 0]) for d in (0, 1)]
    rows.append(_equal(_GAIN, sp.Symbol("E") / sp.Symbol("lambda")))
    return Step(
        "Response to a prompt of K tasks",
        "The weights of the training prompts are the modes of the target, each with its learned "
        "share over its eigenvalue. The prompt's own kernel, with its own norm, multiplies degree "
        "d by its eigenvalue there",
        tuple(rows),
        lambda: checks.compared(law),
        ((_GAIN, "learned share of a mode over its eigenvalue"),),
    )


def _margin(law: LazyMultitasking) -> Step:
    return Step(
        "Margin",
        "Of a group that is written, the right unit leads another one by b_K and by a_K times the "
        "difference of the numbers of stimulus groups that show the one feature and the other. The "
        "right feature is shown once at least, so this difference lies between 2 - G and G, and "
        "both ends occur",
        (_equal(names.MARGIN, law.parts.margin(names.SELECTED, names.SPREAD)),),
        lambda: checks.check_margin(law),
    )


def _settled(law: LazyMultitasking) -> Step:
    alike = law.parts.alike
    rows = [_equal(symbol, value) for symbol, value in alike.items() if symbol.name[-1] != "2"]
    rows.append(_equal(names.RATIO, names.LAM["1c"] / names.LAM["1m"]))
    rows.append(_equal(names.MARGIN, law.margin(AT_ONCE).expression))
    return Step(
        "Margin after training",
        "A kernel that does not see how many tasks a prompt has weighs them as in training. With "
        "all modes learned, what is left is one ratio of eigenvalues"
        + (", which is at most 1: a_K is not positive" if law.parts.mean_is_faster else ""),
        tuple(rows),
        lambda: checks.check_settled(law),
    )


def _time(law: LazyMultitasking) -> Step:
    formula = law.time(AT_ONCE)
    own = [(symbol, e) for symbol, e in formula.where if symbol in (names.RATIO, names.THRESHOLD)]
    return Step(
        "K tasks at once",
        "Features are learned long before tasks are selected: with mode 1m learned, the margin "
        "is linear in the learned share of 1c, and becomes positive at a share that falls with K. "
        "To leading order in the ratio of the two eigenvalues; for two groups the time is 0",
        (*(_equal(*pair) for pair in own), _equal(formula.symbol, formula.expression)),
        lambda: checks.check_time(law),
    )
