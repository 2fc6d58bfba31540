"""V-information of Gaussian layers: against samples, definitions and each other, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

import symkernel as sk
from symkernel.errors import InvalidArgument, ShapeMismatch
from symkernel.theory import information_families as theory
from symkernel.theory import information_layer

info = sk.information
FULL, SCALAR, FIXED = theory.FAMILIES
VARIANCE = {FULL: None, SCALAR: None, FIXED: 0.7}
LN2 = np.log(2)


def drawn(seed, inputs, hidden):
    stream = np.random.default_rng(seed)
    root = stream.standard_normal((inputs, inputs))
    W = stream.standard_normal((hidden, inputs)) * 10 ** stream.uniform(-1, 1)
    return W, root @ root.T / inputs + 0.1 * np.eye(inputs), float(10 ** stream.uniform(-1, 1))


def v(gram, C, noise, of, known, family):
    options = {"family": family, "variance": VARIANCE[family]}
    return info.v_information(gram, C, noise, of=of, given=known, **options)


def left_over(W, C, noise, R, G):
    """Covariance of what regressions on g, and on h and g, leave."""
    found = []
    for rows, spread in ((G, 0.0), (np.concatenate([W, G]), noise**2)):
        seen = rows @ C @ rows.T + np.diag([spread] * (len(rows) - len(G)) + [0.0] * len(G))
        cross = R @ C @ rows.T
        found.append(R @ C @ R.T - cross @ np.linalg.solve(seen, cross.T))
    return found


@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 7), st.data())
def test_every_family_agrees_with_regression_on_the_layer(seed, inputs, hidden, data):
    W, C, noise = drawn(seed, inputs, hidden)
    asked = data.draw(st.integers(1, inputs - 1))
    known = data.draw(st.integers(0, inputs - asked))
    rows = np.random.default_rng(seed).standard_normal((inputs, inputs))
    R, G = rows[:asked], rows[asked : asked + known]
    before, after = left_over(W, C, noise, R, G)
    expected = {
        FULL: (np.linalg.slogdet(before)[1] - np.linalg.slogdet(after)[1]) / (2 * LN2),
        SCALAR: asked * np.log2(np.trace(before) / np.trace(after)) / 2,
        FIXED: (np.trace(before) - np.trace(after)) / (2 * 0.7 * LN2),
    }
    for family, bits in expected.items():
        found = v(W.T @ W, C, noise, R, G if known else (), family)
        assert abs(found - bits) < 1e-10 * max(1, bits)


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 5))
def test_families_agree_where_they_must(seed, inputs, hidden):
    W, C, noise = drawn(seed, inputs, hidden)
    # One coordinate: one variance is a full covariance, and the best fixed one is near.
    shannon = info.gaussian(W.T @ W, C, noise, of=0)
    one = v(W.T @ W, C, noise, 0, (), SCALAR)
    assert abs(one - shannon) < 1e-10 * max(1, shannon)
    # One variance is fitted before and after: a fixed one gains no less than it costs.
    own = C[0, 0] / 4**shannon
    fixed = info.v_information(W.T @ W, C, noise, of=0, family=FIXED, variance=own)
    assert abs(fixed - (4**shannon - 1) / (2 * LN2)) < 1e-8 * max(1, fixed)
    # A layer that treats white inputs alike.
    white = [v(2 * np.eye(3), np.eye(3), noise, [0, 2], (), kind) for kind in (FULL, SCALAR)]
    assert abs(white[0] - white[1]) < 1e-10 * max(1, white[0])
    # A decoder of white inputs has nothing to gain but from the layer: none beats Shannon.
    grams = [kind(W.T @ W, np.eye(inputs), noise) for kind in (whole(FULL), whole(SCALAR))]
    assert grams[1] <= grams[0] + 1e-10 * max(1, grams[0])


def whole(family):
    return lambda A, C, noise: v(A, C, noise, list(range(len(C))), (), family)


def test_a_poor_family_may_gain_more_than_shannon():
    C = np.array([[1, 0.8], [0.8, 1]])
    assert v(np.eye(2), C, 0.5, [0, 1], (), SCALAR) > info.gaussian(np.eye(2), C, 0.5, of=[0, 1])


def fitted(r, z, family):
    """Minus the log-density of every held-out sample, in bits, decoder fitted on the others."""
    half = len(r) // 2
    guess = np.linalg.lstsq(z[:half], r[:half], rcond=None)[0] if z.shape[1] else 0
    rest = r - (z @ guess if z.shape[1] else 0)
    S = rest[:half].T @ rest[:half] / half
    k = r.shape[1]
    if family == SCALAR:
        S = np.trace(S) / k * np.eye(k)
    elif family == FIXED:
        S = VARIANCE[FIXED] * np.eye(k)
    miss = (rest[half:] @ np.linalg.inv(S) * rest[half:]).sum(1)
    return (miss + np.linalg.slogdet(2 * np.pi * S)[1]) / (2 * LN2)


@pytest.mark.parametrize("family", theory.FAMILIES)
@pytest.mark.parametrize("known", [(), [2]])
def test_every_family_against_decoders_that_were_fitted(family, known):
    W, C, _ = drawn(3, 4, 3)
    stream = np.random.default_rng(11)
    x = stream.multivariate_normal(np.zeros(4), C, 100_000)
    h = x @ W.T + 0.5 * stream.standard_normal((100_000, 3))
    g, r = x[:, list(known)], x[:, [0, 1]]
    each = fitted(r, g, family) - fitted(r, np.hstack([h, g]), family)
    error = each.std() / np.sqrt(len(each))
    assert abs(each.mean() - v(W.T @ W, C, 0.5, [0, 1], known, family)) < 4 * error
    assert error < 0.02


def test_noise_of_the_target_is_an_input_that_nothing_reads():
    """y = c x + n: the covariance of what is left has that of n on top."""
    W, C, _ = drawn(5, 2, 3)
    c, spread = np.array([[1.0, -0.5]]), 0.3
    gram = np.zeros((3, 3))
    gram[:2, :2] = W.T @ W
    wide = np.zeros((3, 3))
    wide[:2, :2], wide[2, 2] = C, spread
    found = v(gram, wide, 0.4, np.hstack([c, [[1.0]]]), (), SCALAR)
    before, after = left_over(W, C, 0.4, c, np.empty((0, 2)))
    assert abs(found - np.log2((before + spread) / (after + spread)).item() / 2) < 1e-12


def test_weak_layers_keep_their_digits_and_what_is_known_adds_nothing():
    for family, factor in ((FULL, 1.0), (SCALAR, 1.0), (FIXED, 1 / 0.7)):
        small = v(1e-14 * np.eye(2), np.eye(2), 1.0, 0, (), family)
        assert np.isclose(small, factor * 1e-14 / (2 * LN2), rtol=1e-9, atol=0)
        assert v(np.eye(2), np.eye(2), 1.0, 0, [0], family) == 0
    grams = np.eye(2) * np.array([0.0, 1.0, 1e30])[:, None, None]
    for family in theory.FAMILIES:
        bits = v(grams, np.eye(2), 1.0, 0, (), family)
        assert bits.shape == (3,)
        assert bits[0] == 0 < bits[1] < bits[2] < np.inf


def test_trap_what_mixtures_of_known_inputs_determine_adds_nothing():
    """Rounding leaves 1e-32 of its variance, of which the layer tells as of any other."""
    stream = np.random.default_rng(0)
    W, C, _ = drawn(8, 4, 5)
    G = stream.standard_normal((2, 4))
    R = np.array([[0.3, -1.7]]) @ G
    for family in theory.FAMILIES:
        assert abs(v(W.T @ W, C, 0.1, R, G, family)) < 1e-12
    layer = theory.GaussianLayer.of(W.T @ W, C, 0.1, R, G)
    root = information_layer._remaining(C, G)
    shown = R @ root
    assert (shown**2).sum() > 0
    values, vectors = np.linalg.eigh(root.T @ layer.gram @ root)
    squares = (shown @ vectors) ** 2
    naive = np.log2(squares.sum() / (squares / (1 + values)).sum()) / 2
    assert naive > 1


# ---- symbols


@pytest.mark.parametrize("family", theory.FAMILIES)
def test_steps_are_checked_and_printed(family):
    found = info.v_information_formula(family)
    for step in found.steps:
        evidence = step.check()
        assert evidence.passed, evidence.figure
        assert step.latex()
    assert "I_V(h; r" in found.latex()


def test_symbols_agree_with_numbers():
    a, r, s, spread = sp.symbols("a r sigma v", positive=True)
    C = sp.Matrix([[1, r], [r, 2]])
    values = {a: 0.3, r: 0.6, s: 0.5, spread: 0.7}
    for family in theory.FAMILIES:
        options = {"family": family, "variance": spread if family == FIXED else None}
        exact = info.v_information(sp.diag(a, 2 * a), C, s, of=[0, 1], **options)
        numbers = np.array(C.subs(values), dtype=float)
        found = v(np.diag([0.3, 0.6]), numbers, 0.5, [0, 1], (), family)
        assert abs(float(exact.subs(values)) - found) < 1e-12


@pytest.mark.parametrize(
    ("check", "claims"),
    [
        ("guess", [lambda layer: (layer.left_over()[0], 2 * layer.left_over()[1])]),
        ("guess", [lambda layer: layer.left_over()[::-1]]),
        ("entropy", [2]),
        ("full", [lambda E: 2 * E]),
        ("full", [lambda E: sp.diag(*E.diagonal())]),
        ("scalar", [theory.MISSED]),
        ("information", [SCALAR, lambda *a, **o: info.v_information(*a, **o | {"given": ()})]),
        ("information", [FIXED, lambda *a, **o: 2 * info.v_information(*a, **o)]),
        ("information", [FULL, lambda *a, **o: info.v_information(*a, **o | {"family": SCALAR})]),
    ],
)
def test_checks_of_steps_can_fail(check, claims):
    assert not getattr(theory, f"check_{check}")(*claims).passed


# ---- refusals


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"family": "diagonal"}, InvalidArgument, "'family' must be one of full covariance"),
        ({"family": None}, InvalidArgument, "'family' must be one of"),
        ({"family": FIXED}, InvalidArgument, "'variance' must be given .* but is missing"),
        ({"variance": 1.0}, InvalidArgument, "for no other, not 1.0 for 'scalar variance'"),
        ({"family": FULL, "variance": 1.0}, InvalidArgument, "not 1.0 for 'full covariance'"),
        ({"family": FIXED, "variance": 0.0}, InvalidArgument, "'variance' must be"),
        ({"family": FIXED, "variance": np.nan}, InvalidArgument, "'variance' must be"),
        ({"family": FIXED, "variance": True}, InvalidArgument, "'variance' must be"),
        ({"family": FIXED, "variance": 1j}, InvalidArgument, "'variance' must be"),
        ({"family": FIXED, "variance": "1"}, InvalidArgument, "'variance' must be"),
        ({"family": FIXED, "variance": sp.Integer(-1)}, InvalidArgument, "'variance' must be"),
        ({"gram": np.ones((2, 3))}, ShapeMismatch, "'gram' must hold square"),
        ({"noise": 0}, InvalidArgument, "'noise' must be a finite positive number"),
        ({"of": 2}, InvalidArgument, "'of' must name inputs from 0 to 1"),
        ({"gram": sp.eye(2), "given": 0}, InvalidArgument, "none of which the others determine"),
    ],
)
def test_bad_problems_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        info.v_information(
            **{"gram": np.eye(2), "covariance": np.eye(2), "noise": 0.3, "of": 0, **options}
        )


@pytest.mark.parametrize("bad", ["diagonal", None, 3])
def test_formulas_are_of_known_families(bad):
    with pytest.raises(InvalidArgument, match="'family' must be one of"):
        info.v_information_formula(bad)
