"""Pretraining: what the hidden layer keeps of an input that is needed no longer."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import symkernel as sk
from symkernel.theory import information_memory as theory
from symkernel.theory import information_shared as shared

A, c, d, t, A1, sigma = (
    theory.MEMORY,
    theory.KEPT,
    theory.VARIANCE,
    theory.t,
    theory.LEARNED,
    theory.NOISE,
)


def test_steps_are_checked_and_printed():
    found = sk.information.pretraining_memory()
    for step in found.steps:
        evidence = step.check()
        assert evidence.passed, evidence.figure
        assert step.latex()
    assert r"\text{where}" in found.latex()


a, b = theory._A, theory._B


@pytest.mark.parametrize(
    ("check", "claims"),
    [
        ("flow", [(-d * a * b, -d * a**2 * b), -2 * d * A * (A - c)]),
        ("flow", [(-d * a * b**2, -d * a**2 * b), -2 * d * A * (A + c)]),
        ("solution", [lambda kept: theory.memory(2 * kept), -2 * d * A * (A - c)]),
        ("solution", [lambda kept: 2 * theory.memory(kept), -2 * d * A * (A - c)]),
        ("balanced", [A1 / (1 + A1 * d * t)]),
        ("floor", [lambda kept: theory.memory(-kept)]),
        ("information", [sp.log(1 + A / sigma**2) / (2 * sp.log(2))]),
        ("reset", [A1 + theory.RESET**2]),
        ("reset", [A1 - 2 * theory.RESET**2]),
    ],
)
def test_checks_of_steps_can_fail(check, claims):
    assert not getattr(theory, f"check_{check}")(*claims).passed


@given(st.floats(0.05, 2), st.floats(0.05, 2), st.floats(0.2, 3), st.floats(0.1, 10))
def test_the_memory_against_the_flow_of_both_amplitudes(first, second, variance, time):
    flow = solve_ivp(
        lambda _, q: [-variance * q[0] * q[1] ** 2, -variance * q[0] ** 2 * q[1]],
        (0, time), [first, second], "DOP853", [time], rtol=1e-12, atol=1e-15,
    )  # fmt: skip
    values = {A1: first**2, d: variance, t: time}
    kept = sp.Float(first**2 - second**2, 30) if first != second else sp.S.Zero
    found = theory.memory(kept).subs(values).evalf()
    assert abs(float(found) - flow.y[0, -1] ** 2) < 1e-9


def pretrained(first, second, after, learned=2.0, s=1.5):
    """The information about the first of two inputs, which the second task does not need."""
    tasks = sk.Task.from_modes([s, 1.0]), sk.Task.from_modes([0.0, 1.0])
    net = sk.Network.two_layer(inputs=2, hidden=2, outputs=2)
    course = sk.Curriculum([sk.Phase(tasks[0], learned), sk.Phase(tasks[1])])
    w0 = sk.weights.aligned(net, tasks[0], a=first, b=second)
    law = sk.derive(net, course, w0)
    curve = law.information(relevant=1, irrelevant=0, noise=0.05**0.5)
    return law, curve([learned, *(learned + time for time in after)]).irrelevant


@pytest.mark.parametrize(("first", "second"), [(0.1, 0.1), (0.5, 0.1), (0.1, 0.5)])
def test_the_law_through_a_curriculum_keeps_to_the_formula(first, second):
    after = [0.3, 3.0, 30.0]
    law, found = pretrained(first, second, after)
    learned = law.compile()([2.0]).input_gram[0, 0, 0]
    expression = sk.information.pretraining_memory().plain
    kept = sp.Float(first**2 - second**2, 30)
    if first == second:
        expression = expression.subs(theory.memory(), theory.memory(sp.S.Zero))
    for time, bits in zip(after, found[1:], strict=True):
        values = {A1: learned, c: kept, d: 1, sigma: 0.05**0.5, t: time}
        assert abs(float(expression.subs(values)) - bits) < 1e-7


def test_balanced_memory_forgets_how_long_it_learned():
    """By 30 units of time all that is left of two or eight units of pretraining is the same."""
    rows = {T1: pretrained(0.1, 0.1, [0.3, 3.0, 30.0], T1)[1][1:] for T1 in (0.5, 2.0, 8.0)}
    assert np.allclose(rows[2.0], [1.92, 0.98, 0.205], atol=0.006)
    assert np.allclose(rows[8.0], [2.04, 1.00, 0.206], atol=0.006)
    assert np.allclose(rows[0.5], [0.445, 0.38, 0.156], atol=0.006)
    late = pretrained(0.1, 0.1, [3000.0])[1][-1]
    assert np.isclose(late, np.log2(1 + 1 / 6000 / 0.05) / 2, rtol=1e-3)


def test_a_read_out_that_is_reset_locks_the_input_in():
    tasks = sk.Task.from_modes([1.5, 1.0]), sk.Task.from_modes([0.0, 1.0])
    net = sk.Network.two_layer(inputs=2, hidden=2, outputs=2)
    first = sk.derive(net, tasks[0], sk.weights.aligned(net, tasks[0], a=0.1, b=0.1))
    W1 = first.compile().weights([0.0, 8.0])["W1"][-1]
    learned = float(W1[:, 0] @ W1[:, 0])
    sides = np.sqrt(np.diag(W1.T @ W1))
    reset = sk.weights.from_arrays(net, [W1, 0.1 * (W1 / sides).T])
    law = sk.derive(net, tasks[1], reset)
    found = law.compile()([0.0, 5.0, 500.0]).input_gram[:, 0, 0]
    assert abs(found[0] - learned) < 1e-12
    assert abs(found[2] - (learned - 0.01)) < 1e-9  # the floor, just below what was learned
    exact = theory.memory().subs({A1: learned, c: learned - 0.01, d: 1, t: 5.0})
    assert abs(found[1] - float(exact)) < 1e-9


# ---- where the form in P = (a + b)^2 is 0/0


def sides(first, second, time):
    """a^2 by P = k (1 + q) / (1 - q), k = |a^2 - b^2|, as mpmath has it with many digits."""
    with mpmath.workdps(60):
        kept = first**2 - second**2
        k, start = abs(kept), (first + second) ** 2
        q = (start - k) / (start + k) * mpmath.exp(-k * time)
        P = k * (1 + q) / (1 - q)
        return ((mpmath.sqrt(P) + kept / mpmath.sqrt(P)) / 2) ** 2


@given(st.floats(0.05, 2), st.floats(0.05, 2), st.floats(0.1, 10))
def test_the_memory_is_that_of_the_form_in_sides(first, second, time):
    first, second, time = map(mpmath.mpf, (first, second, time))
    if abs(first - second) < 1e-6:
        return
    with mpmath.workdps(60):
        numbers = {A1: first**2, c: first**2 - second**2, t: time}
        values = {q: sp.Float(x, 60) for q, x in numbers.items()}
        found = theory.memory().subs({**values, d: 1}).evalf(40)
        assert abs(found - sp.Float(sides(first, second, time), 60)) < 1e-30


@pytest.mark.parametrize("first", [0.4, -0.4])
def test_trap_balanced_and_opposite_sides_are_no_exception(first):
    """k = 0, and for opposite sides P = 0 too: the form in P is 0/0 there."""
    with pytest.raises(ZeroDivisionError):
        sides(mpmath.mpf(first), mpmath.mpf(0.4), mpmath.mpf(3))
    with mpmath.workdps(60):
        near = sides(mpmath.mpf(0.4) + mpmath.mpf(10) ** -25, mpmath.mpf(0.4), mpmath.mpf(3))
    exact = theory.memory(sp.S.Zero).subs({A1: 0.4**2, d: 1, t: 3})
    assert abs(float(exact) - float(near)) < 1e-15
    task = sk.Task.from_modes([0.0, 1.0])
    net = sk.Network.two_layer(inputs=2, hidden=2, outputs=2)
    w0 = sk.weights.from_arrays(net, [np.diag([first, 0.1]), np.diag([0.4, 0.1])])
    path = sk.derive(net, task, w0).compile()([0.0, 3.0])
    assert abs(path.input_gram[1, 0, 0] - float(exact)) < 1e-12


# ---- one read-out for both tasks


def test_steps_of_the_shared_read_out_are_checked_and_printed():
    found = sk.information.shared_readout_memory()
    for step in found.steps:
        evidence = step.check()
        assert evidence.passed, evidence.figure
        assert step.latex()
    assert r"\sinh" in found.latex()


s_, b1, z1 = shared.STRENGTH, shared.READ, shared.ALIGNED
w_d, w_c, b_ = shared._OWN, shared._OTHER, shared._READ
FLOW = {w_d: b_ * (s_ - b_ * w_d), w_c: -(b_**2) * w_c, b_: s_ * w_d - b_ * (w_d**2 + w_c**2)}
z_d, z_c = sp.Function("z_d")(t), sp.Function("z_c")(t)


@pytest.mark.parametrize(
    ("check", "claims"),
    [
        ("flow", [FLOW | {w_c: -b_ * w_c}]),
        ("flow", [FLOW | {b_: 2 * s_ * w_d - b_ * (w_d**2 + w_c**2)}]),
        ("directions", [FLOW, (s_ * (1 - z_d**2), s_ * z_d * z_c), shared.turn()]),
        ("directions", [FLOW, (s_ * (1 + z_d**2), -s_ * z_d * z_c), shared.turn()]),
        ("directions", [FLOW, (s_ * (1 - z_d**2), -s_ * z_d * z_c), sp.cosh(s_ * t)]),
        ("memory", [A1 / (1 + b1**2 * shared.SPAN), shared.span()]),
        ("memory", [shared.shared_memory(), 2 * shared.span()]),
        ("late", [A1 * sp.exp(-2 * s_ * t)]),
        ("nothing", [2 * t]),
        ("information", [sp.log(1 + 2 * A / sigma**2) / (2 * sp.log(2))]),
    ],
)
def test_checks_of_the_shared_read_out_can_fail(check, claims):
    assert not getattr(shared, f"check_{check}")(*claims).passed


def one_unit(learned, s=1.5):
    """One hidden unit, balanced: first the first input is the target, then the second one."""
    net = sk.Network.two_layer(inputs=2, hidden=1, outputs=1)
    tasks = [
        sk.Task.from_moments(np.eye(2), target, [[s**2]]) for target in ([[s, 0.0]], [[0.0, s]])
    ]
    course = sk.Curriculum([sk.Phase(tasks[0], learned), sk.Phase(tasks[1])])
    w = np.array([[0.2, 0.1]])
    w0 = sk.weights.from_arrays(net, [w, np.array([[np.linalg.norm(w)]])])
    return sk.derive(net, course, w0)


@pytest.mark.parametrize("learned", [0.5, 2.0])
def test_the_law_of_one_unit_keeps_to_the_formula(learned):
    law, s, after = one_unit(learned), 1.5, [0.5, 2.0, 6.0]
    times = [learned, *(learned + time for time in after)]
    path = law.compile()(times)
    start = path.input_gram[0]
    square = float(np.trace(start))
    turned = float(path.end_to_end[0, 0, 1]) / square
    expression = shared.shared_memory().subs(shared.SPAN, shared.span())
    values = {A1: start[0, 0], b1: np.sqrt(square), z1: turned, s_: s}
    bits = sk.information.shared_readout_memory().plain
    curve = law.information(relevant=1, irrelevant=0, noise=0.2)(times)
    for k, time in enumerate(after, 1):
        exact = float(expression.subs({**values, t: time}))
        assert abs(path.input_gram[k, 0, 0] - exact) < 1e-10
        known = float(bits.subs({**values, t: time, sigma: 0.2}))
        assert abs(curve.irrelevant[k] - known) < 1e-9


def test_the_shared_read_out_forgets_exponentially_at_twice_the_strength():
    found = one_unit(2.0).compile()([8.0, 9.0]).input_gram[:, 0, 0]
    assert np.isclose(np.log(found[0] / found[1]), 3.0, atol=2e-3)
    # With a read-out of its own it would be a power law.
    law, _ = pretrained(0.1, 0.1, [6.0, 7.0])
    own = law.compile()([8.0, 9.0]).input_gram[:, 0, 0]
    assert np.log(own[0] / own[1]) < 0.2
