"""Task weights: derived from the pseudo-kernel, against sums over all prompts; slips are caught."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import symkernel as sk
from symkernel.errors import InvalidArgument, ShapeMismatch
from symkernel.theory import task_weights_checks as checks
from symkernel.theory import task_weights_steps as steps
from symkernel.theory.pseudo_kernel import pseudo_kernel

G, M = sp.symbols("G M", integer=True, positive=True)
FACTORS = {"0m": 0.3, "0c": 0.7, "1m": 1.1, "1c": 2.0}


def law(groups: int = 3, features: int = 3, **kinds: object) -> sk.theory.task_weights.TaskWeights:
    return sk.task_weights(sk.environments.Multitasking(groups, features), **kinds)


def weights(
    groups: int, features: int, hidden: int = 7, seed: int = 0, spread: float = 1.0
) -> dict[str, np.ndarray]:
    stream = np.random.default_rng(seed)
    units = groups * features
    shapes = {"W_s": (hidden, units), "W_t": (hidden, groups**2), "W_2": (units, hidden)}
    found = {name: spread * stream.standard_normal(shape) for name, shape in shapes.items()}
    return found | {"b": stream.uniform(-3.0, 1.0, hidden)}


def signal(groups: int, features: int) -> np.ndarray:
    """Return what the prompts ask for in the lazy regime, written out prompt by prompt."""
    prompts = sk.environments.Multitasking(groups, features).single
    found = np.zeros((len(prompts.X), groups, features))
    for k, (task, s) in enumerate(zip(prompts.set_of, prompts.stimuli, strict=True)):
        i, j = divmod(int(task), groups)
        e = np.eye(features)[s] - 1 / features
        same = (np.arange(groups) == j).astype(float)[:, None]
        pooled = e.sum(0)[None] / groups**2
        found[k] = FACTORS["0m"] / (groups * features) + FACTORS["1m"] * pooled
        found[k] += FACTORS["0c"] * (same - 1 / groups) / features
        found[k] += FACTORS["1c"] * (same * e[i][None] - pooled)
    return found.reshape(len(found), -1)


@pytest.mark.parametrize("number", range(8))
def test_every_step_is_proven(number):
    step = law().steps[number]
    evidence = step.check()
    assert evidence.passed, f"{step.title}: {evidence.figure}"
    assert r"\begin{aligned}" in step.latex()


def test_there_are_no_more_steps():
    report = law().check()
    assert report.passed
    assert len(report.rungs) == len(law().steps) == 8


LAZY = steps.lazy_signal(G, M)
SLIPS = {
    "kernel of the whole hidden layer": lambda: checks.kernel_evidence(
        lambda net: pseudo_kernel(net, of="hidden")
    ),
    "features that are independent of each other": lambda: checks.features_evidence(
        (sp.S.Zero, (1 - 1 / M) / M, sp.S.Zero), M
    ),
    "one eigenspace for another": lambda: checks.signal_evidence(
        LAZY.subs(
            dict(zip(map(steps.LAZY_FACTORS.get, ("0c", "1c")),
                     map(steps.LAZY_FACTORS.get, ("1c", "0c")), strict=True)),
            simultaneous=True,
        ),
        steps.TERMS, steps.LAZY_FACTORS, (G, M),
    ),
    "a factor M": lambda: checks.product_evidence(
        LAZY, steps.TERMS, M * steps.movement_of(LAZY, G, M), steps.UNIT, (G, M)
    ),
    "no term of the mean over tasks": lambda: checks.product_evidence(
        LAZY, steps.TERMS, steps.movement_of(LAZY, G, M).subs(steps.LAZY_FACTORS["1m"], 0),
        steps.UNIT, (G, M),
    ),
    "the mean over tasks left in": lambda: checks.correlation_evidence(
        (steps.ALIGNMENT, sp.S.Zero, sp.S.Zero), steps.ALIGNMENT, steps.POOLED, G
    ),
    "G for T": lambda: checks.lazy_evidence([-1 / (G - 1)] * 3, [1, *[-1 / (G - 1)] * 2], G),
    "no repulsion of stimulus groups": lambda: checks.selection_evidence(
        (steps.ALIGNMENT, sp.S.Zero, sp.S.Zero), steps.ALIGNMENT, G
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(SLIPS))
def test_a_slip_is_caught(name):
    evidence = SLIPS[name]()
    assert not evidence.passed
    assert evidence.figure.startswith("NOT so")


@pytest.mark.parametrize(("groups", "features"), [(2, 2), (2, 4), (3, 2), (3, 3), (4, 2)])
def test_movement_is_the_pseudo_kernel_summed_over_all_prompts(groups, features):
    # z + z^2/3 has a slope that is linear in z, so that nothing is truncated.
    z = sp.Symbol("z")
    found = law(groups, features, activation=z + z**2 / 3)
    w = weights(groups, features, hidden=100)
    env = found.environment
    tasks = np.hstack([np.zeros((groups**2, env.outputs)), np.eye(groups**2)])
    everything = {**w, "W_o": np.zeros((env.outputs, groups**2)), "c": np.zeros(env.outputs)}
    kernel = found.kernel.compile()(tasks, env.single.X, everything)
    summed = np.einsum("khno,no->hk", kernel, signal(groups, features))
    gap = np.abs(found.predict(w, FACTORS) - summed).max()
    assert gap < 1e-12 * np.abs(summed).max()


def test_for_a_sigmoid_the_error_falls_with_the_weights():
    found, prompts, gaps = law(), law().environment.single, []
    for spread in (0.05, 0.2, 0.8):
        w = weights(3, 3, hidden=100, spread=spread)
        w["b"][:] = -2.0
        inner = prompts.X @ np.hstack([w["W_s"], w["W_t"]]).T - 2.0
        drive = (signal(3, 3) @ w["W_2"]) / (2 + 2 * np.cosh(inner))
        summed = np.array([drive[prompts.set_of == k].sum(0) for k in range(9)]).T
        gap = np.linalg.norm(found.predict(w, FACTORS) - summed) / np.linalg.norm(summed)
        gaps.append(float(gap))
    assert gaps[0] < 0.01 < gaps[2]
    assert np.diff(np.log(gaps)).min() > 0.9 * np.log(4)


entries = st.floats(-2, 2, width=32)


@given(st.integers(2, 4), st.integers(2, 4), st.data())
def test_alignment_does_not_see_means_over_features_nor_the_order_of_units(groups, features, data):
    found, units = law(groups, features), groups * features
    draw = lambda *shape: data.draw(arrays(float, shape, elements=entries))  # noqa: E731
    a, w = draw(3, units), draw(units, 3)
    plain = found.alignment({"W_s": a, "W_2": w})
    # A mean over features, and what all units have in another order.
    lifted = a + np.repeat(draw(3, groups), features, axis=1)
    assert np.allclose(found.alignment({"W_s": lifted, "W_2": w}), plain)
    order = [2, 0, 1]
    assert np.allclose(found.alignment({"W_s": a[order], "W_2": w[:, order]}), plain[order])
    # Written out for one task.
    i, j = groups - 1, 0
    left = a.reshape(3, groups, features)[:, i]
    right = w.T.reshape(3, groups, features)[:, j]
    by_hand = [np.cov(p, q, bias=True)[0, 1] * features for p, q in zip(left, right, strict=True)]
    assert np.allclose(plain[:, i * groups + j], by_hand)


@given(st.integers(2, 4), st.integers(2, 4), st.integers(0, 99))
def test_the_movement_is_linear_in_the_readout(groups, features, seed):
    found = law(groups, features)
    one, two = (weights(groups, features, seed=s) for s in (seed, seed + 100))
    both = {**one, "W_2": one["W_2"] - 2 * two["W_2"]}
    second = {**one, "W_2": two["W_2"]}
    gap = found.predict(both, FACTORS)
    gap -= found.predict(one, FACTORS) - 2 * found.predict(second, FACTORS)
    assert np.abs(gap).max() < 1e-9 * (1 + np.abs(found.predict(one, FACTORS)).max())


def test_linear_units_tell_tasks_of_one_response_group_not_apart():
    moved = law(activation="linear").predict(weights(3, 3), FACTORS).reshape(-1, 3, 3)
    assert np.ptp(moved, axis=1).max() < 1e-12 < np.ptp(moved, axis=2).max()


@pytest.mark.parametrize(("pooled", "nu"), [(sp.Integer(0), 0.0), (-sp.Rational(1, 3), -1 / 3)])
@pytest.mark.parametrize("rho", [0.0, 0.4, 1.0])
def test_correlations_are_those_of_drawn_units(rho, pooled, nu):
    stream, units = np.random.default_rng(0), 40_000
    a = stream.standard_normal((units, 3, 3))
    common, own = stream.standard_normal((units, 1, 3)), stream.standard_normal((units, 3, 3))
    w = np.sqrt(rho) * common + np.sqrt(1 - rho) * own
    a, w = (part - part.mean(-1, keepdims=True) for part in (a, w))
    drawn = np.einsum("hiv,hjv->hij", a + nu * a.sum(1, keepdims=True), w).reshape(units, 9)
    drawn -= drawn.mean(1, keepdims=True)
    pairs = sk.analysis.sharing_index(
        drawn.T, inputs=np.repeat(range(3), 3).tolist(), outputs=[0, 1, 2] * 3
    )
    measured = [pairs.same_input[0], pairs.same_output[0], pairs.neither[0]]
    found = [
        float(f.expression.subs({steps.ALIGNMENT: rho, law().sizes[0]: 3}))
        for f in law().correlations(pooled)
    ]
    assert np.allclose(measured, found, atol=0.02)


def test_other_signals_give_other_movements():
    plain = steps.movement_of(steps.SAME * steps.FEATURE, G, M)
    assert plain == M ** (G - 1) * steps.C2 * steps.ALIGNED_IJ
    constant = steps.movement_of(steps.SAME, G, M)
    assert sp.expand(constant - M**G * (steps.C1 + steps.C2 * steps.LEVEL) * steps.READ_J) == 0


def test_symbols_of_an_environment_are_those_of_the_formulas():
    mine = sp.symbols("g m", integer=True, positive=True)
    found = sk.task_weights(SimpleNamespace(groups=mine[0], features=mine[1]))
    assert set(mine) <= found.movement.expression.free_symbols
    assert "m^{g - 1}" in found._repr_latex_()
    with pytest.raises(InvalidArgument, match="has symbols"):
        found.alignment(weights(3, 3))


def test_document(tmp_path):
    path = law().save_latex(tmp_path / "law.tex", names={"task_readout_alignment": r"\varrho"})
    text = path.read_text()
    assert text.count("Check passed") == 8
    assert r"\varrho" in text
    assert r"\rho_w" not in text.split("Result")[1].split("Checks")[0]
    assert r"\gamma_{1c}" in law()._repr_latex_()


def test_readout_alignment():
    w = weights(3, 3)
    same = np.tile(w["W_2"].reshape(3, 3, -1)[:1], (3, 1, 1))
    assert law().readout_alignment({"W_2": same.reshape(9, -1)}) == pytest.approx(1.0)
    w0 = law().environment.weights(law().environment.network(), 1.0)
    assert abs(law().readout_alignment(w0)) < 0.1
    flat = w["W_2"].copy()
    flat[3:6] = flat[3]
    with pytest.raises(InvalidArgument, match="group 1 does not"):
        law().readout_alignment({"W_2": flat})


BAD = {
    "no environment": (lambda: sk.task_weights(3), "must be sk.environments.Multitasking"),
    "unknown activation": (lambda: law(activation="tangent"), "activation"),
    "sigmoid output": (
        lambda: law(output_activation="sigmoid").predict(weights(3, 3), FACTORS), "linear output"),
    "a kink": (lambda: law(activation="relu").predict(weights(3, 3), FACTORS), "without jumps"),
    "missing factor": (lambda: law().predict(weights(3, 3), {"0m": 1.0}), "must map 0m, 0c"),
    "text for a factor": (
        lambda: law().predict(weights(3, 3), {**FACTORS, "1c": "2"}), "must be a real number"),
    "infinite factor": (
        lambda: law().predict(weights(3, 3), {**FACTORS, "1c": np.inf}), "must be finite"),
    "no weights": (lambda: law().alignment(None), "mapping with an array 'W_s'"),
    "missing weights": (lambda: law().alignment({"W_s": np.ones((2, 9))}), "array 'W_2'"),
    "NaN": (lambda: law().readout_alignment({"W_2": np.full((9, 2), np.nan)}), "must be finite"),
    "complex": (lambda: law().readout_alignment({"W_2": np.full((9, 2), 1j)}), "real numbers"),
    "pooled": (lambda: law().correlations("x"), "must be a real number"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BAD))
def test_bad_input_is_refused(name):
    call, words = BAD[name]
    with pytest.raises(InvalidArgument, match=words):
        call()


def test_weights_of_another_environment_are_refused():
    with pytest.raises(ShapeMismatch, match="'W_s' for 3 x 3 features"):
        law().alignment(weights(2, 3))
    with pytest.raises(ShapeMismatch, match="one number of hidden units"):
        law().predict({**weights(3, 3), "b": np.ones(6)}, FACTORS)
