r"""The law of the second moment of stochastic gradient descent on a linear readout, derived.

The weights w of an output are off the optimum by v, and a step on a batch adds to v what is linear
in it, so that its second moment $S = \langle v v^T\rangle$ obeys a linear recursion, which closes:
for Gaussian inputs by their fourth moments, for a set of samples as it stands.
"""

from __future__ import annotations

import sympy as sp

from symkernel.errors import as_count
from symkernel.formula import Step
from symkernel.theory import second_moment_checks as checks
from symkernel.theory.information_derivation import DerivedFormula, eq
from symkernel.theory.second_moment_formulas import (
    BATCH,
    DIMENSION,
    ETA,
    FACTOR,
    FINAL,
    LIMIT,
    SHARE,
    SPREAD,
    START,
    STEP,
    TOTAL,
    TRACE,
    batch_square,
    direction_after,
    distinct_spread,
    fourth_moment,
    isotropic_final,
    isotropic_kick,
    isotropic_limit,
    limit_entry,
    limit_matrix,
    recursion,
    replaced_spread,
    returned,
    s_i,
    sampled_recursion,
    stationary_direction,
    stationary_trace,
    step_factor,
)

__all__ = ["isotropic_second_moment", "second_moment_formula"]


_MEAN = sp.Function("E")
_SAMPLE, _BATCHED, _ALL = sp.symbols("psi_sample psi_batch psi_mean")
_D = sp.Symbol("d_inputs", positive=True)
_H, _S, _AFTER, _FOURTH, _H_BATCH = (
    sp.MatrixSymbol(q, _D, _D) for q in ("H", "S", "S_+", "Q", "H_B")
)
_V, _MOVED, _KICK, _X = (sp.MatrixSymbol(q, _D, 1) for q in ("v", "v_+", "g_B", "x"))


def second_moment_formula() -> DerivedFormula:
    r"""Return the recursion of the second moment, its stationary state and its stability limit.

    Examples
    --------
    >>> import symkernel as sk
    >>> law = sk.noise.second_moment_formula()
    >>> assert all(step.check().passed for step in law.steps)
    """
    name = "second moment of the weights after a step"
    steps = (*_of_a_step(), *_of_the_moment(), *_of_late_times())
    return DerivedFormula(name, _AFTER, recursion(_S, _H, BATCH), steps=steps)


def _of_a_step() -> tuple[Step, ...]:
    return (
        Step(
            "One step",
            "what is left of the error e = y - w x at the optimum is label noise (of a set of "
            "samples also what no w fits): the step is linear in v, with the moments H_B of the "
            "batch and the mean g_B of noise times input",
            (eq(_MOVED, _V - ETA * _H_BATCH * _V + ETA * _KICK),),
            checks.check_step,
            (
                (_V, "weights less those of the optimum"),
                (_H_BATCH, "second moment of the inputs of the batch"),
                (_KICK, "mean of noise times input in the batch"),
                (_MOVED, "v after the step"),
            ),
        ),
        Step(
            "Batches",
            "a batch's mean scatters by a share theta of the variance of single samples: 1/B for "
            "fresh ones and for those drawn with replacement, less for different samples of a set",
            (
                eq(_MEAN(_BATCHED**2), batch_square(_MEAN(_SAMPLE**2), _ALL, SPREAD)),
                eq(SPREAD, replaced_spread()),
                eq(SPREAD, distinct_spread()),
            ),
            lambda: checks.check_batches(replaced_spread(), distinct_spread()),
            (
                (_SAMPLE, "gradient of a sample"),
                (_BATCHED, "mean gradient of a batch"),
                (_ALL, "mean over all samples"),
            ),
        ),
    )


def _of_the_moment() -> tuple[Step, ...]:
    return (
        Step(
            "Fourth moments",
            "of Gaussian inputs, pair by pair; of a set of samples its mean stands as it is",
            (eq(_MEAN(_X * _X.T * _S * _X * _X.T), fourth_moment(_S, _H)),),
            lambda: checks.check_fourth(fourth_moment),
            ((_X, "an input"), (_H, "second moment of the inputs"), (_S, "second moment of v")),
        ),
        Step(
            "Second moment",
            "the square of the step, averaged: closed, and exact at every learning rate",
            (eq(_AFTER, recursion(_S, _H, BATCH)),),
            lambda: checks.check_recursion(recursion),
            ((_AFTER, "second moment of v after the step"),),
        ),
        Step(
            "A set of samples",
            "the same for samples drawn from a set: the mean of e^2 x x^T over the set and over v, "
            "less that of its mean, by the share theta; noise that is drawn anew at every visit by "
            "1/B",
            (eq(_AFTER, sampled_recursion(_S, _H, _FOURTH, SPREAD, BATCH)),),
            lambda: checks.check_sampled(sampled_recursion),
            ((_FOURTH, "mean of e^2 x x^T"),),
        ),
    )


def _of_late_times() -> tuple[Step, ...]:
    return (
        Step(
            "Stationary state",
            "along the eigendirections of H, which the trace alone couples; the noise of the "
            "gradient returns a share kappa of itself",
            (
                eq(s_i, stationary_direction()),
                eq(TRACE, stationary_trace()),
                eq(SHARE, sp.Sum(returned(), (sp.Symbol("i"), 1, DIMENSION))),
            ),
            lambda: checks.check_stationary(direction_after()),
        ),
        Step(
            "Stability",
            "the operator of a step maps second moments to second moments, so that its largest "
            "eigenvalue decides; it is 1 where 2B/eta is the largest eigenvalue of the matrix with "
            "(B + 1) h_i on the diagonal and the products of roots of h_i and h_j added",
            (eq(LIMIT, 2 * BATCH / sp.Function("lambda_max")(limit_entry())),),
            lambda: checks.check_stability(limit_matrix),
        ),
    )


def isotropic_second_moment(dimension: sp.Expr | int = DIMENSION) -> DerivedFormula:
    r"""Return the mean squared length of v after k steps, for uncorrelated inputs all alike.

    Parameters
    ----------
    dimension : SymPy expression or int
        Number of inputs; 1 is linear regression on one input.

    Examples
    --------
    >>> import sympy as sp, symkernel as sk
    >>> law = sk.noise.isotropic_second_moment(1)
    >>> assert all(step.check().passed for step in law.steps)
    >>> k = next(q for q in law.plain.free_symbols if q.name == "k_step")
    >>> S0 = next(q for q in law.plain.free_symbols if q.name == "S_start")
    >>> assert law.plain.subs(k, 0).equals(S0)
    """
    at = {DIMENSION: _as_dimension(dimension)}
    factor, final = step_factor().subs(at), isotropic_final().subs(at)
    solution = FINAL + FACTOR**STEP * (START - FINAL)
    later = sp.Symbol("S_next")
    steps = (
        Step(
            "Mean squared length",
            "the trace of the recursion, which closes",
            (eq(later, FACTOR * TOTAL + isotropic_kick().subs(at)), eq(FACTOR, factor)),
            lambda: checks.check_trace(step_factor(), isotropic_kick()),
            ((later, "mean squared length after one step more"),),
        ),
        Step(
            "Solution",
            "a geometric approach to the stationary value",
            (eq(TOTAL, solution), eq(FINAL, final)),
            lambda: checks.check_solution(solution, step_factor(), isotropic_final()),
        ),
        Step(
            "Stability",
            "the factor of a step is 1 at the limit, and the stationary value diverges there",
            (eq(LIMIT, isotropic_limit().subs(at)),),
            lambda: checks.check_limit(isotropic_limit()),
        ),
    )
    where = ((FACTOR, factor), (FINAL, final))
    name = "mean squared length of the weights' error, inputs all alike"
    return DerivedFormula(name, TOTAL, solution, where, steps=steps)


def _as_dimension(value: sp.Expr | int) -> sp.Expr:
    return value if isinstance(value, sp.Expr) else sp.Integer(as_count(value, "dimension"))
