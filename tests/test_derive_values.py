"""What `derive` returns agrees with the trajectory, and what it cannot say it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel.errors import InvalidArgument, MissingValues, NoClosedForm, OutsideValidity
from symkernel.theory import aligned_modes, mode_observables

T = sp.Symbol("t", nonnegative=True)
S, A = sp.symbols("s a", positive=True)


def one(s: object, a: object, b: object, **options: object) -> sk.Derivation:
    task = sk.Task.from_modes(s)
    net = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
    return sk.derive(net, task, sk.weights.aligned(net, task, a=a, b=b), **options)


CASES = {
    "unbalanced": ([2, 1], [0.1, 0.2], [0.3, 0.2], 2, 1),
    "opposite and zero": ([2, 0, 1], [0.1, 0.2, 0.0], [-0.1, 0.3, 0.0], 5, 1),
    "repeated": ([2, 2, 1], [0.1, 0.2, 0.3], [0.3, 0.2, 0.1], 3, 1),
    "bottleneck": ([3, 2, 1], 0.1, 0.2, 2, 1),
    "input variance": ([2, 1], [0.1, 0.2], [0.3, 0.2], 4, [0.5, 3]),
}


@pytest.mark.parametrize("name", CASES)
def test_modes_as_formulas_are_the_modes_of_the_trajectory(name: str) -> None:
    s, a, b, hidden, d = CASES[name]
    task = sk.Task.from_modes(s, input_variance=d)
    net = sk.Network.two_layer(inputs=len(s), hidden=hidden, outputs=len(s))
    w0 = sk.weights.aligned(net, task, a=a, b=b)
    for law in ("aligned_modes", "gram_diagonal"):
        derivation = sk.derive(net, task, w0, law=law)
        trajectory = derivation.compile()([0.0, 0.7, 3.0])
        total = 0.0
        for k in range(len(s)):
            mode = derivation.mode(k)
            assert mode.output.free_symbols <= {T}
            assert mode.loss.free_symbols <= {T}
            for j, time in enumerate(trajectory.times):
                value = float(mode.output.subs(T, sp.Float(time, 40)).evalf(30))
                assert value == pytest.approx(trajectory.modes[j, k], rel=1e-11, abs=1e-14)
            total += float(mode.loss.subs(T, sp.Float(3.0, 40)).evalf(30))
        assert total == pytest.approx(trajectory.loss[-1], rel=1e-9, abs=1e-15)


def test_weights_aligned_with_another_task_are_measured() -> None:
    X = np.sqrt(2) * np.eye(2)
    other = sk.Task(X, X @ np.diag([1.0, 2.0]))
    task = sk.Task.from_modes([3, 1])
    net = sk.Network.two_layer(inputs=2, hidden=2, outputs=2)
    law = sk.derive(net, task, sk.weights.aligned(net, other, a=[0.1, 0.5], b=[0.1, 0.5]))
    found = law.compile()([1.0]).modes[0]
    for k in range(2):
        assert float(law.mode(k).output.subs(T, 1)) == pytest.approx(found[k], rel=1e-10)
    with pytest.raises(InvalidArgument, match="aligned with another task"):
        sk.derive(net, task, sk.weights.aligned(net, other, a=[A, A], b=[A, A]))


def test_a_mode_of_a_curriculum_is_refused_and_the_trajectory_is_not() -> None:
    forth, back = sk.Task.from_modes([2, 1]), sk.Task.from_modes([1, 2])
    net = sk.Network.two_layer(inputs=2, hidden=2, outputs=2)
    cur = sk.Curriculum([sk.Phase(forth, duration=1), sk.Phase(back)])
    law = sk.derive(net, cur, sk.weights.aligned(net, forth, a=0.1, b=0.2))
    for ask in (lambda: law.mode(0), lambda: law.learning_time(0.5, mode=0)):
        with pytest.raises(OutsideValidity, match="changes with the phase"):
            ask()
    for phase in (2, -1, 0.5, True, "x"):
        with pytest.raises(InvalidArgument, match="'phase' must be a phase between 0 and 1"):
            law.mode(0, phase=phase)
    assert law.compile()([0.5, 3.0]).modes.shape == (2, 2)


D1, D2, R, B = sp.symbols("D1 D2 r b", positive=True)
NUMBERS = {S: sp.Rational(2), R: sp.Rational(1, 2), A: sp.Rational(1, 10), B: sp.Rational(3, 10),
           D1: sp.Rational(3, 2), D2: sp.Rational(5, 4)}  # fmt: skip


@pytest.mark.parametrize("law", ["aligned_modes", "gram_diagonal"])
@pytest.mark.parametrize("sides", [(A, A), (A, -A), (A, B), (0, B), (0, 0)], ids=str)
@pytest.mark.parametrize(
    "strengths",
    [(S, R, S), (S, 0, R), pytest.param((S, S, S), marks=pytest.mark.slow)],
    ids=str,
)
def test_symbolic_curricula_are_the_compiled_law_in_every_phase(law, sides, strengths) -> None:
    """Durations, strengths and amplitudes as symbols; the modes go from phase to phase exactly."""
    tasks = [sk.Task.from_modes(s) for s in strengths]
    net = sk.Network.two_layer(inputs=1, hidden=2, outputs=1)
    phases = [sk.Phase(tasks[0], D1), sk.Phase(tasks[1], D2), sk.Phase(tasks[2])]
    w0 = sk.weights.aligned(net, tasks[0], a=sides[0], b=sides[1])
    d = sk.derive(net, sk.Curriculum(phases), w0, law=law)
    used = {q: NUMBERS[q] for q in d.problem.free_symbols}
    times = [sp.Rational(k, 8) for k in (6, 15, 30)]
    found = d.compile(used)([float(time) for time in times])
    for phase, time in enumerate(times):
        mode = d.mode(0, phase=phase)
        assert mode.output.free_symbols <= {T, S, R, A, B, D1, D2}
        at = {**used, T: time}
        assert float(mode.output.subs(at)) == pytest.approx(found.modes[phase, 0], rel=1e-11)
        assert float(mode.loss.subs(at)) == pytest.approx(found.loss[phase], rel=1e-10, abs=1e-14)


def test_a_learning_time_in_a_later_phase_counts_from_its_start() -> None:
    """Savings: what phase 1 has left makes the mode learn its new strength sooner."""
    task = sk.Task.from_modes(S)
    net = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
    w0 = sk.weights.aligned(net, task, a=A, b=A)
    cur = sk.Curriculum([sk.Phase(task, D1), sk.Phase(sk.Task.from_modes(R))])
    law = sk.derive(net, cur, w0)
    half = sp.Rational(1, 2)
    time = law.learning_time(half, mode=0, phase=1)
    reached = law.mode(0, phase=1).output.subs(T, D1 + time)
    values = {**NUMBERS, D1: sp.Rational(1, 4)}
    assert float(reached.subs(values)) == pytest.approx(float(NUMBERS[R]) / 2, rel=1e-12)
    values = {**NUMBERS, D1: sp.Rational(1, 100)}
    weaker = cur.phases[1].task
    alone = sk.derive(net, weaker, sk.weights.aligned(net, weaker, a=A, b=A))
    assert 0 < time.subs(values) < alone.learning_time(half, mode=0).subs(values)


@pytest.mark.parametrize("law", ["aligned_modes", "gram_diagonal"])
@pytest.mark.parametrize("sides", [(A, A), (A, B), (A, 0), (-A, B)], ids=str)
def test_from_small_weights_the_learning_time_is_a_logarithm(law: str, sides) -> None:
    """The asymptotic form misses the exact time by O(scale^2)."""
    d = one(S, *sides, law=law)
    third = sp.Rational(1, 3)
    short = d.learning_time(third, mode=0, small_scale=True)
    plus = sp.expand((sides[0] + sides[1]) ** 2)
    assert sp.cancel(sp.exp(2 * S * short) * plus / S) == 2  # 4 q / (1 - q)
    exact = d.learning_time(third, mode=0)
    scales = [sp.Rational(1, 10**k) for k in (1, 2, 3)]
    at = [{S: sp.Rational(7, 5), A: scale, B: 3 * scale} for scale in scales]
    gaps = [abs(float((short - exact).subs(v).evalf(40))) for v in at]
    slopes = np.diff(np.log10(gaps))
    assert slopes == pytest.approx([-2, -2], abs=0.05)


def test_a_mode_that_cannot_be_learned_has_no_small_scale_time() -> None:
    for s, a, b in ((2, A, -A), (0, A, B), (2, 0, 0)):
        with pytest.raises(OutsideValidity, match="no such learning time"):
            one(s, a, b).learning_time(0.5, mode=0, small_scale=True)


def test_modes_are_learned_strongest_first_but_for_a_head_start() -> None:
    task = sk.Task.from_modes([3.0, 1.0, 0.0])
    net = sk.Network.two_layer(inputs=3, hidden=3, outputs=3)
    for head, order in ((0.01, [0, 1, 2]), (0.3, [1, 0, 2])):
        amplitudes = [0.01, head, 0.1]
        d = sk.derive(net, task, sk.weights.aligned(net, task, a=amplitudes, b=amplitudes))
        found = d.learning_order()
        assert [mode for mode, _ in found] == order
        assert found[2][1] == sp.oo
        assert found[0][1] == d.learning_time(sp.Rational(1, 2), mode=order[0])
    weaker = sk.Task.from_modes([S, R])
    small = sk.Network.two_layer(inputs=2, hidden=2, outputs=2)
    d = sk.derive(small, weaker, sk.weights.aligned(small, weaker, a=A, b=A))
    with pytest.raises(MissingValues, match="depends on a, r, s"):
        d.learning_order()


def test_amplitudes_whose_squares_vanish_are_refused() -> None:
    assert one(2, 1e-100, 1e-100).compile()([200.0]).modes[0, 0] == pytest.approx(2, rel=1e-12)
    with pytest.raises(
        OutsideValidity, match="below the 1e-120 down to which its growth is computed"
    ):
        one(2, 1e-150, 1e-150).compile()([200.0])


@pytest.mark.parametrize("duration", [-D1, sp.I * D1, 0, -1.0, np.nan, "T", True], ids=str)
def test_durations_that_are_none_are_refused(duration: object) -> None:
    with pytest.raises(InvalidArgument, match="'duration' must be"):
        sk.Phase(sk.Task.from_modes(S), duration)


def test_symbols_that_mean_something_in_the_laws_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="stands for something else"):
        one(2, A, A, loss=sk.SquaredError(S / 2))
    for clock in (T, sp.Symbol("t"), sp.Symbol("t", positive=True)):
        with pytest.raises(InvalidArgument, match="is the flow time"):
            one(clock, A, A)
    assert one(sp.Symbol("q", positive=True), A, A).learning_time(sp.Rational(1, 2)).has(A)


def test_symbolic_modes_need_a_hidden_unit_each() -> None:
    s1, s2 = sp.symbols("s1 s2", positive=True)
    task = sk.Task.from_modes([s1, s2])
    net = sk.Network.two_layer(inputs=2, hidden=1, outputs=2)
    law = sk.derive(net, task, sk.weights.aligned(net, task, a=A, b=A))
    with pytest.raises(InvalidArgument, match="depends on the order"):
        law.mode(0)


@pytest.mark.parametrize(
    ("s", "a", "b"), [(1, 2, 2), (1, 2, 1.5), (1, 0.9, 0.9), (0, 0.1, 0.2), (1, 0.3, -0.3)]
)
def test_a_learning_time_that_does_not_exist_is_refused(s: float, a: float, b: float) -> None:
    with pytest.raises(OutsideValidity, match="no such learning time"):
        one(s, a, b).learning_time(0.5, mode=0)


@pytest.mark.parametrize("name", ["ntk", "loss", "hidden_gram", "pseudo_kernel", "path_integral"])
def test_a_wrong_observable_fails_its_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    true = mode_observables.observables

    def wrong(*arguments: object) -> dict[str, sp.Expr]:
        return {**true(*arguments), name: sp.Integer(42)}

    monkeypatch.setattr(mode_observables, "observables", wrong)
    monkeypatch.setattr(aligned_modes, "observables", wrong)
    evidence = one(2, 0.1, 0.2).steps[-1].check()
    assert not evidence.passed
    assert name in evidence.figure


def test_the_source_that_is_shown_is_the_one_that_runs() -> None:
    law = one(2, 0.1, 0.2).compile()
    from symkernel.theory.stable_modes import side_routine

    assert law.source == side_routine(aligned_modes.mode_flow(law.problem)).source
    assert "prange" not in law.source
    assert all(rule.prove().passed for rule in law.rewritings)


@pytest.mark.parametrize("law", ["aligned_modes", "gram_diagonal"])
@pytest.mark.parametrize("name", ["R", "z", "T", "P0", "sigma", "u"])
def test_symbols_called_like_an_abbreviation_stay_the_users(law: str, name: str) -> None:
    mine = sp.Symbol(name, positive=True)
    wanted = one(S, A, B, law=law).learning_time(sp.Rational(1, 2), mode=0)
    values = {S: 2, A: sp.Rational(1, 10), B: sp.Rational(3, 10)}
    value = float(wanted.subs(values).evalf(30))
    as_strength = one(mine, A, B, law=law).learning_time(sp.Rational(1, 2), mode=0)
    assert float(as_strength.subs({**values, mine: 2}).evalf(30)) == pytest.approx(value)
    as_side = one(S, mine, 3 * mine, law=law).learning_time(sp.Rational(1, 2), mode=0)
    assert float(as_side.subs({S: 2, mine: values[A]}).evalf(30)) == pytest.approx(value)


def test_both_laws_count_modes_alike_where_durations_are_symbols() -> None:
    first, then = sk.Task.from_modes([1.0, 2.0]), sk.Task.from_modes([1.5, 2.5])
    net = sk.Network.two_layer(inputs=2, hidden=2, outputs=2)
    cur = sk.Curriculum([sk.Phase(first, D1), sk.Phase(then)])
    w0 = sk.weights.aligned(net, first, a=0.1, b=0.2)
    at = {T: sp.Rational(5, 2), D1: 1}
    found = [
        [float(sk.derive(net, cur, w0, law=law).mode(k, phase=1).output.subs(at)) for k in (0, 1)]
        for law in ("aligned_modes", "gram_diagonal")
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_the_order_of_exact_modes_whose_strengths_have_names() -> None:
    task = sk.Task(sp.eye(3), sp.Matrix([[2, 1, 0], [1, 3, 1], [1, 0, 1]]))
    net = sk.Network.two_layer(inputs=3, hidden=3, outputs=3)
    w0 = sk.weights.aligned(net, task, a=sp.Rational(1, 10), b=sp.Rational(1, 10))
    assert [mode for mode, _ in sk.derive(net, task, w0).learning_order()] == [0, 1, 2]
    law = sk.derive(net, task, w0)
    assert sk.check_claim(law.mode(0).output, ("mode", 0), (net, task, w0)).passed
    taken = sp.Symbol("s_0", positive=True)
    with pytest.raises(InvalidArgument, match="give yours another name"):
        sk.derive(net, task, w0, loss=sk.SquaredError(taken)).mode(0)


def test_exact_tasks_that_do_not_commute_with_each_other_are_refused() -> None:
    one_task = sk.Task(sp.eye(2), sp.Matrix([[2 * S, 0], [0, 1]]))
    other = sk.Task(sp.eye(2), sp.Matrix([[1, 2], [2, 5]]))
    net = sk.Network.two_layer(inputs=2, hidden=2, outputs=2)
    cur = sk.Curriculum([sk.Phase(one_task, 1), sk.Phase(other)])
    with pytest.raises(NoClosedForm, match=r"diagonal in one pair of bases .*FAILS"):
        sk.derive(net, cur, sk.weights.aligned(net, one_task, a=A, b=A))
