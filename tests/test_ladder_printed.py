"""What is printed and returned is compared with the trajectory, and a slip in it is found."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import replace
from types import ModuleType
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel import ladder, ladder_printed
from symkernel.codegen.algorithms import at_precision
from symkernel.errors import Unlowerable
from symkernel.ladder_printed import printed_evidence
from symkernel.problem.problem import Problem
from symkernel.theory import LAWS

_LAWS = {law.name: law for law in LAWS}


def _with_slip(module: ModuleType, right: str, wrong: str) -> dict[str, Any]:
    """Return what a module holds if one place of its text is another."""
    text = inspect.getsource(module)
    assert text.count(right) == 1, f"{right!r} must stand once in {module.__name__}"
    namespace: dict[str, Any] = {"__name__": module.__name__}
    exec(compile(text.replace(right, wrong), module.__name__, "exec"), namespace)  # noqa: S102
    return namespace


@pytest.mark.parametrize("name", sorted(_LAWS))
def test_every_law_prints_what_it_computes(name: str) -> None:
    law = _LAWS[name]
    found = printed_evidence(law, law.example())
    assert found.passed, found.figure
    assert "printed = computed" in found.figure
    for what in ("output", "loss"):
        assert what in found.figure.partition("not compared")[0]


def drawn(name: str, count: int) -> list[Problem]:
    """Return drawn problems whose first task has targets, and formulas that have values."""
    law, found, seed = _LAWS[name], [], 1000
    while len(found) < count:
        problem = law.draw(np.random.default_rng(seed))
        seed += 1
        task = problem.curriculum.phases[0].task
        one_mode = np.linalg.matrix_rank(task.Syx) == 1
        if task.Syx.any() and (one_mode or name != "single_unit"):
            found.append(problem)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(_LAWS))
def test_every_law_prints_what_it_computes_on_drawn_problems(name: str) -> None:
    found = printed_evidence(_LAWS[name], *drawn(name, 3))
    assert found.passed, found.figure
    assert " in 3 problems: " in found.figure


@pytest.mark.parametrize(("name", "seed"), [("memoryless_gram", 1011), ("reduced_flow", 1000)])
def test_the_printed_loss_holds_weight_decay(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    law = _LAWS[name]
    problem = law.draw(np.random.default_rng(seed))
    assert problem.loss.weight_decay > 0
    found = printed_evidence(law, problem)
    assert found.passed, found.figure
    module = importlib.import_module(f"symkernel.theory.{name}")
    origin = importlib.import_module("symkernel.theory.gram_observables")
    slip = _with_slip(origin, "loss += decay / 2 * squares", "loss += decay * squares")
    monkeypatch.setattr(module, "gram_result", slip["gram_result"])
    assert "loss differs" in printed_evidence(law, problem).figure


def test_the_worst_of_several_problems_is_told() -> None:
    law = _LAWS["reduced_flow"]
    one, two = drawn("reduced_flow", 2)
    together = printed_evidence(law, one, two).figure
    each = [float(re.findall(r"computed to (\S+?)[: ]", printed_evidence(law, p).figure)[0])
            for p in (one, two)]  # fmt: skip
    assert f"{max(each):.0e} in 2 problems" in together


def test_samples_are_not_orthogonal_and_keep_their_moments() -> None:
    for size in (1, 2, 5):
        task = sk.Task(np.eye(size), np.arange(1.0, size + 1.0)[:, None])
        mixed = ladder_printed._mixed(task)
        np.testing.assert_allclose(mixed.Sxx, task.Sxx, atol=1e-14)
        np.testing.assert_allclose(mixed.Syx, task.Syx, atol=1e-14)
        assert abs(mixed.X[0] @ mixed.X[-1]) > 1e-3


def test_small_parts_of_a_scalar_are_no_rounding() -> None:
    x = sp.Symbol("x", positive=True)
    found = at_precision((sp.Integer(10) ** 60 * x + 1) / sp.Integer(10) ** 60 - x, {x: 1}, 0.0, 90)
    assert abs(found * mpmath.mpf(10) ** 60 - 1) < 1e-10
    with pytest.raises(Unlowerable, match="no real value"):
        at_precision(sp.sqrt(x - 2), {x: 1}, 0.0, 30)


# Module, what stands there, what would be wrong.
_SLIPS = [
    ("lambda_balanced", "[[(-half - decay)", "[[(half - decay)"),
    ("lambda_balanced", "[S, (half - decay)", "[S, (-half - decay)"),
    ("lambda_balanced", "F * G, G * F, -G * G", "F * G, G * F, G * G"),
    ("two_eigenvalues", "[[-LAM / 2 *", "[[LAM / 2 *"),
    ("two_eigenvalues", 'm["Y"], F, -K', 'm["Y"], -F, K'),
    ("two_eigenvalues", 'self.flow, m["F"], -m["K"]', 'self.flow, -m["F"], m["K"]'),
    ("two_eigenvalues", "G * F, -G * G, C2", "G * F, G * G, C2"),
    ("two_eigenvalues", "Y * K, -Y * Y", "Y * K, Y * Y"),
    ("memoryless_gram", "- lam / 2 * one", "+ lam / 2 * one"),
    ("memoryless_gram", "+ lam / 2 * two", "- lam / 2 * two"),
    ("reduced_flow", "[[A, W.T], [W, B]]", "[[A, W.T], [W, -B]]"),
    ("single_unit", "- _A0**2 - _M0**2", "+ _A0**2 - _M0**2"),
    ("single_unit", "[[-HALF_PULL, g]", "[[HALF_PULL, g]"),
    ("single_unit", "norm = 1 + flow.delta", "norm = 1 - flow.delta"),
    ("single_unit", "w**2 - 2 * w * u", "w**2 + 2 * w * u"),
    ("aligned_modes", "a, b = self.p0 * even + self.q0", "a, b = self.p0 * even - self.q0"),
    ("gram_diagonal", "(wanted - output) ** 2", "(wanted + output) ** 2"),
    ("gram_diagonal", "P_START * even + ratio", "P_START * even - ratio"),
    ("diagonal_network", "(wanted - output) ** 2", "(wanted + output) ** 2"),
    ("gated_modes", "(wanted - self.output) ** 2", "(wanted + self.output) ** 2"),
    ("neural_race", "notation.d - total) ** 2", "notation.d + total) ** 2"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "right", "wrong"), _SLIPS)
def test_slip_in_a_law_is_found(name: str, right: str, wrong: str) -> None:
    module = importlib.import_module(f"symkernel.theory.{name}")
    law = _with_slip(module, right, wrong)["LAW"]
    found = printed_evidence(law, law.example())
    assert not found.passed, found.figure
    assert "differs" in found.figure


# Law, module of the function, its name, what stands there, what would be wrong.
_SHARED = [
    ("lambda_balanced", "gram_observables", "gram_result", '- 2 * W *', '+ 2 * W *'),
    ("two_eigenvalues", "gram_observables", "gram_result",
     "kernel += second * outer**2 * unit", "kernel -= second * outer**2 * unit"),
    ("reduced_flow", "gram_observables", "gram_formulas",
     "kernel += second * outer**2 * sp.K", "kernel -= second * outer**2 * sp.K"),
    ("aligned_modes", "mode_observables", "observables", "(wanted - output)", "(wanted + output)"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "place", "function", "right", "wrong"), _SHARED)
def test_slip_in_what_laws_share_is_found(
    name: str, place: str, function: str, right: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"symkernel.theory.{name}")
    origin = importlib.import_module(f"symkernel.theory.{place}")
    monkeypatch.setattr(module, function, _with_slip(origin, right, wrong)[function])
    law = _LAWS[name]
    assert not printed_evidence(law, law.example()).passed


@pytest.mark.parametrize(
    ("place", "owner", "right", "wrong"),
    [
        ("deep_values", "DeepLaw", "notation.d - output", "notation.d + output"),
        ("deep_mode", "DeepMode", "clock.y) - integral.subs", "clock.y) + integral.subs"),
        ("deep_mode", "DeepMode", "rate, target * (target", "rate, -target * (target"),
    ],
)  # fmt: skip
def test_slip_in_deep_modes_is_found(
    place: str, owner: str, right: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from symkernel.theory import deep_linear, deep_values

    origin = importlib.import_module(f"symkernel.theory.{place}")
    user = deep_linear if owner == "DeepLaw" else deep_values
    monkeypatch.setattr(user, owner, _with_slip(origin, right, wrong)[owner])
    law = _LAWS["deep_modes"]
    assert not printed_evidence(law, law.example()).passed


def test_ladder_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    task = sk.Task.from_modes([2.0, 1.0])
    net = sk.Network.two_layer(inputs=2, hidden=2, outputs=2, parameterisation="ntk")
    found = sk.derive(net, task, sk.weights.aligned(net, task, a=0.1, b=0.3))
    limits = ladder._limits(found)
    assert limits.passed
    assert "printed = computed" in limits.figure
    monkeypatch.setattr(ladder_printed, "_BOUND", 0.0)
    limits = ladder._limits(found)
    assert limits.passed is False
    assert "differs" in limits.figure


@pytest.mark.parametrize("name", ["lambda_balanced", "two_eigenvalues"])
def test_results_can_be_had_in_all_units(name: str) -> None:
    """SymPy's Kronecker product fails on numbers inside it, which units other than 1 are."""
    example = _LAWS[name].example()
    problem = replace(example, loss=sk.SquaredError(3))
    found = printed_evidence(_LAWS[name], problem)
    assert found.passed, found.figure


def test_evaluator_of_matrices() -> None:
    A, B = sp.MatrixSymbol("A", 2, 2), sp.MatrixSymbol("B", 1, 2)
    k = sp.Symbol("k")
    a, b = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[3.0, -1.0]])
    values = {A: mpmath.matrix(a.tolist()), B: mpmath.matrix(b.tolist()), k: 0.25}
    root = sp.MatPow(A, sp.S.Half)
    cases = {
        sp.BlockMatrix([[A, B.T], [B, sp.ZeroMatrix(1, 1)]]): np.block([[a, b.T], [b, 0]]),
        sp.KroneckerProduct(A, B): np.kron(a, b),
        sp.MatMul(root, root): a,
        A**3: a @ a @ a,
        k * A - 2 * sp.Identity(2): a / 4 - 2 * np.eye(2),
    }
    for expression, wanted in cases.items():
        found = np.array(at_precision(expression, values, 0.0, 30).tolist(), dtype=float)
        assert np.abs(found - wanted).max() < 1e-14
    assert abs(at_precision(k * sp.Trace(A * A), values, 0.0, 30) - np.trace(a @ a) / 4) < 1e-14
    with pytest.raises(Unlowerable):
        at_precision(sp.MatPow(A, sp.Rational(1, 3)), values, 0.0, 30)


@pytest.mark.parametrize("name", ["lambda_balanced", "two_eigenvalues"])
def test_units_take_up_the_variance_of_white_inputs(name: str) -> None:
    stream = np.random.default_rng(5)
    X = np.sqrt(12 * 2.0) * np.linalg.qr(stream.standard_normal((12, 3)))[0]
    example = _LAWS[name].example()
    task = sk.Task(X, stream.standard_normal((12, 2)))
    problem = replace(example, curriculum=sk.Curriculum.of(task))
    found = printed_evidence(_LAWS[name], problem)
    assert found.passed, found.figure
    steps = sk.derive(problem.network, task, problem.weights, law=name).steps
    assert all(step.check().passed for step in steps)
