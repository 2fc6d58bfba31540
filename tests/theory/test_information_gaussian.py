"""Information of Gaussian inputs: against the joint covariance, fractions and samples."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import symkernel as sk
from symkernel.errors import InvalidArgument, ShapeMismatch

info = sk.information
LN2 = np.log(2)


# ---- Gaussian inputs


def drawn(seed, inputs, hidden):
    stream = np.random.default_rng(seed)
    root = stream.standard_normal((inputs, inputs))
    W = stream.standard_normal((hidden, inputs)) * 10 ** stream.uniform(-1, 1)
    return W, root @ root.T / inputs + 0.1 * np.eye(inputs), float(10 ** stream.uniform(-1, 1))


def from_the_joint(W, C, noise, R, G):
    """Log-determinants of the joint covariance of h, r and g."""
    read = {"h": W, "r": R, "g": G}

    def size(names):
        rows = np.concatenate([read[name] for name in names])
        joint = rows @ C @ rows.T
        if "h" in names:
            joint[: len(W), : len(W)] += noise**2 * np.eye(len(W))
        return np.linalg.slogdet(joint)[1] if len(rows) else 0.0

    return (size("hg") + size("rg") - size("g") - size("hrg")) / (2 * LN2)


@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 7), st.data())
def test_gram_form_agrees_with_the_joint_covariance(seed, inputs, hidden, data):
    W, C, noise = drawn(seed, inputs, hidden)
    asked = data.draw(st.integers(1, inputs - 1))
    known = data.draw(st.integers(0, inputs - asked))
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((inputs, inputs)))[0]
    R, G = turn[:asked], turn[asked : asked + known]
    given_rows = G if known else ()
    found = info.gaussian(W.T @ W, C, noise, of=R, given=given_rows)
    assert abs(found - from_the_joint(W, C, noise, R, G)) < 1e-10 * max(1, found)
    # The chain rule.
    both = info.gaussian(W.T @ W, C, noise, of=np.concatenate([R, G]))
    first = info.gaussian(W.T @ W, C, noise, of=G) if known else 0.0
    assert abs(both - first - found) < 1e-10 * max(1, both)


@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(1, 3))
@settings(max_examples=10)
def test_numbers_agree_with_exact_fractions(seed, inputs, hidden):
    W, C, noise = drawn(seed, inputs, hidden)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((inputs, inputs)))[0]
    gram = W.T @ W
    found = info.gaussian(gram, C, noise, of=turn[:1], given=turn[1:2])
    fractions = (sp.Matrix(part).applyfunc(sp.Rational) for part in (gram, C, turn))
    A, S, rows = fractions
    exact = info.gaussian(
        A, S, sp.Rational(noise), of=rows[:1, :].tolist(), given=rows[1:2, :].tolist()
    )
    assert abs(float(exact.evalf(30)) - found) < 1e-10 * max(1, found)


@pytest.mark.parametrize("given", [(), (0,), (0, 2)])
def test_gaussian_form_against_samples(given):
    W, C, noise = drawn(3, 4, 3)
    R, G = np.eye(4)[[1]], np.eye(4)[list(given)]
    stream = np.random.default_rng(0)
    x = stream.multivariate_normal(np.zeros(4), C, 40_000)
    sample = {"h": x @ W.T + noise * stream.standard_normal((40_000, 3)), "r": x @ R.T}
    sample["g"] = x @ G.T

    def log_density(names):
        z = np.concatenate([sample[name] for name in names], axis=1)
        rows = np.concatenate([{"h": W, "r": R, "g": G}[name] for name in names])
        joint = rows @ C @ rows.T
        if "h" in names:
            joint[:3, :3] += noise**2 * np.eye(3)
        if not len(rows):
            return np.zeros(len(z))
        whitened = np.linalg.solve(np.linalg.cholesky(joint), z.T)
        return -0.5 * (whitened**2).sum(0) - 0.5 * np.linalg.slogdet(joint)[1]

    bits = log_density("hrg") + log_density("g") - log_density("hg") - log_density("rg")
    bits = bits / LN2
    found = info.gaussian(W.T @ W, C, noise, of=1, given=given)
    assert abs(bits.mean() - found) < 4 * bits.std() / np.sqrt(len(bits))


def test_what_is_known_of_an_irrelevant_input():
    """The conditional vanishes with its weight, the marginal does not."""
    rho, noise = 0.8, 0.2
    C = np.array([[1, rho], [rho, 1]])
    weights = np.array([[0.3, 0.5], [1.0, 0.0]])
    A = weights[:, :, None] * weights[:, None, :]
    conditional = info.gaussian(A, C, noise, of=1, given=0)
    assert np.allclose(conditional, np.log2(1 + weights[:, 1] ** 2 * (1 - rho**2) / 0.04) / 2)
    marginal = info.gaussian(A, C, noise, of=[1])
    assert abs(conditional[1]) < 1e-15
    assert np.isclose(marginal[1], np.log2((1 + 0.04) / (1 + 0.04 - rho**2)) / 2)


def test_inputs_that_others_fix_add_nothing():
    C = np.array([[1.0, 1, 0], [1, 1, 0], [0, 0, 2]])
    A = np.diag([1.0, 2, 3])
    assert info.gaussian(A, C, 0.5, of=1, given=0) == 0
    assert np.isclose(
        info.gaussian(A, C, 0.5, of=[0, 1]), info.gaussian(A, C, 0.5, of=1), rtol=1e-12
    )


def test_symbols_that_may_be_a_covariance_are_taken():
    a, b = sp.symbols("a b", real=True)
    weights = sp.Matrix([[a, b]])
    gram, rounded = weights.T * weights, sp.Matrix([[P, 0.1 + 0.2], [0.3, P]])
    for C in (sp.Matrix([[1, a], [a, 1]]), rounded):
        found = info.gaussian(gram, C, P, of=0)
        assert found.free_symbols >= {a, b, P}


# ---- refusals

P = sp.Symbol("P", positive=True)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"gram": np.ones((2, 3))}, ShapeMismatch, "'gram' must hold square"),
        ({"gram": np.eye(3)}, ShapeMismatch, r"'gram' must end in the shape \(2, 2\)"),
        ({"gram": [[1, 2], [0, 1]]}, InvalidArgument, "'gram' must be symmetric"),
        ({"gram": -np.eye(2)}, InvalidArgument, "the eigenvalue -1"),
        ({"gram": [[1], [1, 2]]}, InvalidArgument, "unequal length"),
        ({"gram": np.eye(2) * np.nan}, InvalidArgument, "'gram' must be finite"),
        ({"gram": np.eye(2) * 1j}, InvalidArgument, "complex"),
        ({"gram": []}, ShapeMismatch, "'gram' must be 2-dimensional"),
        ({"covariance": np.ones(2)}, ShapeMismatch, "'covariance' must be 2-dimensional"),
        ({"covariance": -np.eye(2)}, InvalidArgument, "positive semi-definite"),
        ({"noise": 0}, InvalidArgument, "'noise' must be a finite positive number"),
        ({"noise": -0.1}, InvalidArgument, "'noise' must be"),
        ({"noise": True}, InvalidArgument, "'noise' must be"),
        ({"of": 2}, InvalidArgument, "'of' must name inputs from 0 to 1"),
        ({"of": [-1]}, InvalidArgument, "'of' must name inputs"),
        ({"of": "first"}, InvalidArgument, "'of' must name inputs"),
        ({"of": True}, InvalidArgument, "'of' must name inputs"),
        ({"of": 0.5}, InvalidArgument, "'of' must name inputs"),
        ({"given": np.eye(3)}, ShapeMismatch, "'given' must have a column for each of the 2"),
        ({"given": np.full((1, 2), np.inf)}, InvalidArgument, "'given' must be finite"),
        ({"gram": sp.eye(3)}, ShapeMismatch, "square and of one shape"),
        ({"noise": sp.Integer(0)}, InvalidArgument, "'noise' must be"),
        ({"gram": sp.eye(2), "of": [["1/0", "0"]]}, InvalidArgument, "numbers or expressions"),
        ({"gram": sp.eye(2), "of": [[1, 0, 0]]}, ShapeMismatch, "a column for each of the 2"),
        ({"gram": sp.eye(2), "given": 0}, InvalidArgument, "none of which the others determine"),
        ({"gram": sp.eye(2), "covariance": [[1]]}, ShapeMismatch, "square and of one shape"),
        ({"noise": 1e-200}, InvalidArgument, "'noise' must be large enough"),
        ({"gram": sp.Matrix([[1, 2], [0, 1]])}, InvalidArgument, "'gram' must be symmetric"),
        ({"covariance": -sp.eye(2)}, InvalidArgument, "'covariance' must be symmetric"),
        ({"gram": sp.Matrix([[P, 1], [2, P]])}, InvalidArgument, "'gram' must be symmetric"),
        ({"gram": sp.Matrix([[P, 1], [1 + P, P]])}, InvalidArgument, "'gram' must be symmetric"),
        ({"gram": sp.diag(P, -1)}, InvalidArgument, "'gram' must be symmetric"),
        ({"covariance": sp.diag(1, -P)}, InvalidArgument, "'covariance' must be symmetric"),
        ({"gram": sp.Matrix([[0, P], [P, 1]])}, InvalidArgument, "'gram' must be symmetric"),
        ({"gram": sp.eye(2), "covariance": "1"}, InvalidArgument, "not of text"),
    ],
)
def test_bad_gaussian_problems_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        info.gaussian(
            **{"gram": np.eye(2), "covariance": np.eye(2), "noise": 0.3, "of": 0, **options}
        )
