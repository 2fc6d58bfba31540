"""The lazy law of multitasking: what is refused, and with which words."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel.environments import Multitasking
from symkernel.errors import InvalidArgument, MissingValues, OutsideValidity, ShapeMismatch
from symkernel.theory import lazy_checks

G, M, K = sp.symbols("G M K", integer=True, positive=True)
ALPHA, BETA, GAMMA = sp.symbols("alpha beta gamma", positive=True)
ENV = Multitasking(G, M)
OVERLAP = ENV.matched + ENV.same
QUADRATIC = ALPHA + BETA * OVERLAP + GAMMA * OVERLAP**2
NUMBERS = {ALPHA: 0.3, BETA: 1.0, GAMMA: 0.5}
LAW = sk.lazy_multitasking(ENV, QUADRATIC)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: sk.lazy_multitasking(None, QUADRATIC), InvalidArgument, "'environment'"),
        (lambda: sk.lazy_multitasking(ENV, "m + t"), InvalidArgument, "'kernel' .* not str"),
        (lambda: sk.lazy_multitasking(ENV, ALPHA), InvalidArgument, "must depend on"),
        (lambda: sk.lazy_multitasking(ENV, [[1, 2]]), MissingValues, "numbers for G and M"),
        (lambda: sk.lazy_multitasking(Multitasking(2, 2), [[1, 2]]), ShapeMismatch, r"\(3, 2\)"),
        (lambda: sk.lazy_multitasking(Multitasking(2, 2), np.full((3, 2), np.nan)),
         InvalidArgument, "finite"),
        (lambda: sk.lazy_multitasking(Multitasking(2, 2), np.ones((3, 2), complex)),
         InvalidArgument, "complex"),
        (lambda: sk.lazy_multitasking(ENV, QUADRATIC, direct=-1), InvalidArgument, "'direct'"),
        (lambda: sk.lazy_multitasking(ENV, QUADRATIC, stimulus=2), InvalidArgument, "'stimulus'"),
        (lambda: sk.lazy_multitasking(ENV, QUADRATIC, task=0), InvalidArgument, "'task'"),
        (lambda: sk.lazy_multitasking(ENV, QUADRATIC, loss=1), InvalidArgument, "'loss'"),
        (lambda: sk.lazy_multitasking(ENV, QUADRATIC, loss=sk.SquaredError(weight_decay=0.1)),
         InvalidArgument, "weight decay"),
        (lambda: sk.lazy_multitasking(ENV, QUADRATIC, tolerance=0), InvalidArgument, "tolerance"),
        (lambda: sk.lazy_multitasking(ENV, sp.Symbol("t") * OVERLAP), InvalidArgument,
         "'t' stands for something else"),
        (lambda: LAW.margin(0), InvalidArgument, "'K'"),
        (lambda: LAW.with_values({G: 3}).margin(4), InvalidArgument, "at most the number"),
        (lambda: LAW.compile({G: 3, M: 3}), MissingValues, "alpha, beta, gamma have none"),
        (lambda: LAW.compile({G: 3, M: 1, **NUMBERS}), InvalidArgument, "'features'"),
        (lambda: LAW.compile({G: 3, M: 3, ALPHA: 1, BETA: 1, GAMMA: -1}), InvalidArgument,
         "positive semi-definite, but its eigenvalue"),
    ],
)  # fmt: skip
def test_bad_laws_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_kernel_that_sees_the_number_of_tasks_and_never_selects_has_no_end():
    law = sk.lazy_multitasking(ENV, BETA * OVERLAP + ENV.matched * ENV.tasks_at_once)
    with pytest.raises(OutsideValidity, match="grow without end"):
        law.margin(2)
    assert law.margin(2, 3).plain.subs({G: 3, M: 2, BETA: 1}).is_number


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda law: law([1.0, 0.5]), InvalidArgument, "'times'"),
        (lambda law: law([np.nan]), InvalidArgument, "'times'"),
        (lambda law: law([1.0], Multitasking(2, 2).single), InvalidArgument, "'prompts'"),
        (lambda law: law([1.0], np.eye(3)), InvalidArgument, "'prompts'"),
        (lambda law: law([1.0], learning_rate=0), InvalidArgument, "'learning_rate'"),
        (lambda law: law([1.0], learning_rate=1e3), OutsideValidity, "half the stable limit"),
        (lambda law: law(np.zeros(10**6)), InvalidArgument, "1 GiB"),
        (lambda law: law.margin([1.0], 4), InvalidArgument, "at most the number of groups"),
        (lambda law: law.margin([1.0], K), InvalidArgument, "'K'"),
        (lambda law: law.time(0), InvalidArgument, "'K'"),
    ],
)
def test_bad_numbers_are_refused(call, error, words):
    law = LAW.compile({G: 3, M: 2, **NUMBERS})
    with pytest.raises(error, match=words):
        call(law)


def test_explicit_algebra_that_would_take_minutes_is_refused():
    law = sk.lazy_multitasking(Multitasking(5, 4), QUADRATIC.subs(NUMBERS))
    with pytest.raises(OutsideValidity, match="symbols for G and M instead"):
        lazy_checks.check_eigenvalues(law)
    assert law.compile().margin([1e4], 5)[0] > 0


def test_a_kernel_that_diverges_is_refused():
    env = sk.environments.Multitasking(3, 3)
    x = env.symbolic.matched + env.symbolic.same
    law = sk.lazy_multitasking(env, x - sp.Rational(1, 20) * x**2)
    for ask in (lambda: law.margin(2), law.output, lambda: law.concurrent(2), lambda: law.time(2)):
        with pytest.raises(OutsideValidity, match="no negative eigenvalue"):
            ask()
    down = sp.Symbol("gamma", negative=True)
    with pytest.raises(OutsideValidity, match="1c"):
        sk.lazy_multitasking(env, x + down * x**2).margin(2)
    with pytest.raises(InvalidArgument, match="0 everywhere"):
        sk.lazy_multitasking(env, np.zeros((4, 2)))
