"""Laws of exact tasks: in exact numbers, in names, and in symbols."""

from __future__ import annotations

import pytest
import sympy as sp

import symkernel as sk
from symkernel.errors import (
    InvalidArgument,
    MissingValues,
    OutsideValidity,
)
from tests.problem.test_exact import GOLDEN, QUINTIC, A, B, P, Q, R, T, law_of, whitened

# Laws ---------------------------------------------------------------------------------------------


FIBONACCI = sk.Task(sp.eye(2), sp.Matrix([[2, 2], [2, 0]]))


def test_a_law_in_exact_numbers() -> None:
    law = law_of(FIBONACCI, A, A)
    u = law.mode(0).output
    assert u.free_symbols == {A, T}
    assert sp.expand(sp.limit(u, T, sp.oo) - 1 - sp.sqrt(5)) == 0
    assert sp.expand(u.subs(T, 0) - A**2) == 0
    half = law.learning_time(R(1, 2), mode=1).subs(A, R(1, 10))
    assert abs(float(law.mode(1).output.subs({T: half, A: R(1, 10)}).evalf(30))
               - float(sp.sqrt(5) - 1) / 2) < 1e-14  # fmt: skip
    assert law.mode(0).hidden_gram.has(sp.sqrt(5))


@pytest.mark.parametrize("name", ["aligned_modes", "gram_diagonal"])
@pytest.mark.parametrize(("a", "b"), [(A, B), (A, A), (A, -A), (R(1, 5), [R(1, 3), -R(1, 7)])])
def test_formulas_are_the_trajectory(a, b, name: str) -> None:
    law = law_of(FIBONACCI, a, b, law=name)
    values = {A: R(1, 10), B: R(3, 10)}
    known = {q: v for q, v in values.items() if q in law.problem.weights.free_symbols}
    found = law.compile(known)([0.0, 0.5, 4.0]).modes
    for k in range(2):
        for j, time in enumerate((0, R(1, 2), 4)):
            value = float(law.mode(k).output.subs({**values, T: time}).evalf(30))
            assert value == pytest.approx(found[j, k], rel=1e-12, abs=1e-14)


def test_a_law_with_names_compiles_by_itself() -> None:
    task = whitened(QUINTIC)
    law = law_of(task, A, A, hidden=4)
    assert law.mode(0).output.free_symbols == {A, T, task.exact.modes[0].s}
    assert law.mode(4).output == 0
    assert "s_0 = 3" in str(law)
    assert "CRootOf" in law.conventions[-1]
    found = law.compile({A: 0.1})([0.3]).modes[0]
    values = {**task.exact.named, A: R(1, 10), T: R(3, 10)}
    for k in range(5):
        assert float(law.mode(k).output.subs(values)) == pytest.approx(found[k], rel=1e-12)
    numeric = law_of(task, R(1, 10), R(1, 10))
    assert numeric.learning_time(R(1, 2), mode=0).free_symbols == {task.exact.modes[0].s}
    with pytest.raises(OutsideValidity, match="no such learning time"):
        law_of(task, 2, 2).learning_time(R(1, 2), mode=0)
    rounded = {q: sp.N(value, 40) for q, value in task.exact.named.items()}
    claim = numeric.mode(1).output.xreplace(rounded)
    assert sk.check_claim(claim, ("mode", 1), numeric.problem).passed
    with pytest.raises(InvalidArgument, match="'s_0' stands for a strength"):
        law_of(task, sp.Symbol("s_0", positive=True), A).mode(0)


def test_modes_that_repeat_keep_their_amplitudes() -> None:
    """Exact columns come in the order of the measured basis, whatever that is."""
    task = whitened(sp.diag(2, 2, 1))
    law = law_of(task, [R(1, 10), R(1, 2), R(1, 5)], [R(3, 10), R(1, 4), -R(1, 5)], hidden=5)
    found = law.compile()([0.0, 0.7]).modes
    for k in range(3):
        output = law.mode(k).output
        assert not output.atoms(sp.Float)
        for j, time in enumerate((0, R(7, 10))):
            assert float(output.subs(T, time)) == pytest.approx(found[j, k], rel=1e-12)


def test_weights_of_another_task_are_measured() -> None:
    other = whitened(sp.diag(3, 1))
    net = sk.Network.two_layer(2, 2, 2)
    task = whitened(sp.diag(2, 1))
    law = sk.derive(net, task, sk.weights.aligned(net, other, a=0.1, b=0.1))
    assert law.mode(0).output.atoms(sp.Float)
    with pytest.raises(InvalidArgument, match="aligned with another task"):
        sk.derive(net, task, sk.weights.aligned(net, other, a=A, b=A))


def test_a_claim_in_exact_numbers_is_judged_exactly() -> None:
    law = law_of(FIBONACCI, R(1, 10), R(1, 10))
    report = sk.check_claim(law.mode(0).output, ("mode", 0), law.problem)
    assert report.passed
    assert "reduces to 0 exactly" in report.rungs[0].figure


# Symbols ------------------------------------------------------------------------------------------


def test_a_correlation_as_a_symbol() -> None:
    task = sk.Task(sp.Matrix([[1, P], [P, 1]]), sp.eye(2), labels={"outputs": ["l", "r"]})
    assert task.free_symbols == {P}
    assert (task.inputs, task.outputs, task.is_numeric) == (2, 2, False)
    assert [m.s for m in task.exact.modes] == [sp.Abs(P + 1) / 2, sp.Abs(P - 1) / 2]
    assert [sp.expand(m.d - 2 * m.s**2) for m in task.exact.modes] == [0, 0]
    law = law_of(task, A, A)
    assert law.learning_time(R(1, 2), mode=1).free_symbols == {P, A}
    values = {P: R(3, 10), A: R(1, 10)}
    compiled = law.compile(values)
    found = compiled([0.0, 2.0]).modes[1]
    for k in range(2):
        value = float(law.mode(k).output.subs({**values, T: 2}).evalf(30))
        assert value == pytest.approx(found[k], rel=1e-12)
    task = compiled.problem.curriculum.phases[0].task
    assert task.exact.modes[0].s == R(13, 20)
    assert task.labels["outputs"] == ("l", "r")
    assert law.compile({P: 0.3, A: 0.1})([2.0]).modes[0] == pytest.approx(found)
    with pytest.raises(MissingValues, match="p has none"):
        law.compile({A: 0.1})
    with pytest.raises(InvalidArgument, match="order of the strengths"):
        law_of(task=whitened_moments(sp.diag(P, Q)), a=[A, B], b=A).mode(0)
    with pytest.raises(InvalidArgument, match="order of the strengths"):
        law_of(task=whitened_moments(sp.diag(P, Q)), a=A, b=A, hidden=1).mode(0)


def whitened_moments(Syx: sp.Matrix) -> sk.Task:
    return sk.Task.from_moments(sp.eye(Syx.cols), Syx, Syx * Syx.T)


def test_symbols_in_moments() -> None:
    q = sp.symbols("q0:12", positive=True)
    task = whitened_moments(sp.diag(*q))
    assert {m.s for m in task.exact.modes} == set(q)
    block = whitened_moments(sp.diag(sp.Matrix([[P, 1], [1, 0]]), Q))
    assert len(block.exact.modes) == 3
    numeric = block.with_values({P: 1, Q: R(1, 3)})
    assert [m.s for m in numeric.exact.modes] == [GOLDEN, GOLDEN - 1, R(1, 3)]
    equal = sk.Task.from_moments(sp.diag(P, P), sp.eye(2), 9 * sp.eye(2))
    assert equal.exact.distance == 0
    with pytest.raises(InvalidArgument, match="'Sxx' must be symmetric and positive semi-definite"):
        equal.with_values({P: -1})
    with pytest.raises(OutsideValidity, match="input directions without a target"):
        _ = sk.Task.from_moments(sp.diag(1, P, Q), sp.Matrix([[1, 0, 0], [0, 0, 0]]),
                                 sp.eye(2)).exact.modes  # fmt: skip


def test_symbols_without_radicals_say_what_to_give() -> None:
    cubic = sp.Matrix([[P, 1, 0], [1, 3, 1], [0, 1, 1]])
    with pytest.raises(MissingValues, match=r"degree 3 .* give values for p"):
        _ = whitened_moments(cubic).exact.modes
    wide = sp.Matrix(5, 5, lambda i, j: P ** abs(i - j))
    with pytest.raises(MissingValues, match=r"couples 5 inputs .* give values for p"):
        _ = whitened_moments(wide).exact.modes
    assert len(whitened_moments(cubic).with_values({P: 2}).exact.named) == 3
