"""Algebra on stacks against einsum, for every mixture of stacks of length 1 and n."""

from __future__ import annotations

import numpy as np
import pytest

from symkernel.numerics import batched

RNG = np.random.default_rng(1000)
N, M, P, K, Q = 4, 3, 2, 5, 3


def stack(n, *shape):
    return RNG.standard_normal((n, *shape))


# One matrix for all samples has a function of its own: what is a stack has N entries.
COUNTS = [(1, 1), (1, N), (N, N), (N, 1)]
STACKS = [
    *((batched.transform_each, (P, K), (K,), "npk,nk->np", N, b) for b in (1, N)),
    *((batched.product_each, (P, K), (K, Q), "npk,nkq->npq", a, N) for a in (1, N)),
    *((batched.scaled_columns, (P, K), (K,), "npk,nk->npk", a, b) for a, b in COUNTS),
    *((batched.scaled_rows, (P,), (P, K), "np,npk->npk", a, b) for a, b in COUNTS),
]


@pytest.mark.parametrize(("function", "left", "right", "rule", "a", "b"), STACKS)
def test_products_of_stacks(function, left, right, rule, a, b):
    A, B = stack(a, *left), stack(b, *right)
    n = max(a, b)
    want = np.einsum(rule, np.repeat(A, n // a, 0), np.repeat(B, n // b, 0))
    np.testing.assert_allclose(function(A, B), want, rtol=1e-13, atol=1e-14)


def test_one_matrix_for_all_samples():
    A, B, v = stack(N, P, K), stack(1, K, Q), stack(N, Q)
    np.testing.assert_allclose(batched.product(A, B), A @ B[0], rtol=1e-13)
    np.testing.assert_allclose(batched.transform(B, v), v @ B[0].T, rtol=1e-13)


def test_dense_and_transposed():
    d, A = stack(N, K), stack(N, P, K)
    assert np.array_equal(batched.dense(d), d[:, :, None] * np.eye(K))
    turned = batched.transposed(A)
    assert turned.flags.c_contiguous
    assert np.array_equal(turned, A.transpose(0, 2, 1))


@pytest.mark.parametrize(("a", "b"), [(1, 1), (1, M), (N, M), (N, 1)])
@pytest.mark.parametrize("first", ["dense", "diagonal"])
@pytest.mark.parametrize("second", ["dense", "diagonal"])
def test_terms_are_added(first, second, a, b):
    p, q = (P, Q) if first == second == "dense" else (K, K)
    left = stack(a, p, K) if first == "dense" else stack(a, K)
    right = stack(b, q, K) if second == "dense" else stack(b, K)
    c, out = stack(N, M), stack(N, p, M, q)
    L = np.repeat(left if first == "dense" else batched.dense(left), N // a, 0)
    R = np.repeat(right if second == "dense" else batched.dense(right), M // b, 0)
    want = out + np.einsum("ij,ipk,jqk->ipjq", c, L, R)
    getattr(batched, f"add_{first}_{second}")(out, c, left, right)
    np.testing.assert_allclose(out, want, rtol=1e-12, atol=1e-13)
