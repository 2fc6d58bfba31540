"""Association schemes against explicit matrices, built here pair by pair."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from symkernel.errors import InvalidArgument, MissingValues
from symkernel.problem import symmetry
from symkernel.problem.symmetry import Hamming, complete
from symkernel.problem.tree_scheme import Tree

G, M, B, L = sp.symbols("G M B L", integer=True, positive=True)
SCHEMES = [Hamming(3, 2), Hamming(2, 4), Hamming(1, 5), complete(6), Tree(2, 3), Tree(3, 2),
           Hamming(2, 3) * complete(4), Tree(2, 2) * complete(3),
           Hamming(2, 2) * (complete(3) * Tree(2, 1)),
           (complete(2) * Hamming(2, 2)) * complete(3)]  # fmt: skip


def agreeing(one, other):
    return sum(a == b for a, b in zip(one, other, strict=True))


def common(one, other):
    pairs = enumerate(zip(one, other, strict=True))
    return next((k for k, (a, b) in pairs if a != b), len(one))


@pytest.mark.parametrize(
    ("scheme", "relation", "letters", "length"),
    [(Hamming(3, 3), agreeing, 3, 3), (Hamming(4, 2), agreeing, 2, 4), (Tree(3, 2), common, 3, 2),
     (Tree(2, 4), common, 2, 4)],
)  # fmt: skip
def test_spectrum_is_that_of_the_matrix_written_out(scheme, relation, letters, length):
    words = list(itertools.product(range(letters), repeat=length))
    values = np.random.default_rng(1000).standard_normal(length + 1)
    matrix = np.array([[values[relation(a, b)] for b in words] for a in words])
    found = sorted(np.linalg.eigvalsh(matrix))
    claimed = [
        (float(scheme.spectrum(lambda r: values[int(r)], e)), int(scheme.multiplicity(e)))
        for e in scheme.relations
    ]
    expected = sorted(value for value, count in claimed for _ in range(count))
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_relations_part_all_pairs_and_eigenspaces_all_vectors(scheme):
    assert scheme.check().passed
    matrices = [scheme.matrix(r) for r in scheme.relations]
    assert (sum(matrices) == 1).all()
    assert sum(scheme.multiplicity(e) for e in scheme.relations) == scheme.items
    assert sum(scheme.valency(r) for r in scheme.relations) == scheme.items
    for one, other in itertools.combinations(matrices, 2):
        assert (one @ other == other @ one).all()


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=4), st.integers(0, 2))
def test_polynomials_have_a_closed_spectrum_for_symbols(coefficients, degree):
    def values(m):
        return sum(c * m**k for k, c in enumerate(coefficients))

    closed = sp.sympify(Hamming(G, M).spectrum(values, degree))
    assert not closed.has(sp.Sum)
    for g, m in ((2, 3), (3, 2), (4, 4)):
        scheme = Hamming(g, m)
        plain = sum(values(r) * scheme.eigenvalue(r, degree) for r in scheme.relations)
        assert closed.subs({G: g, M: m}) == plain


def test_what_is_no_polynomial_stays_a_sum_that_is_right():
    total = Hamming(G, M).spectrum(lambda m: sp.exp(-m), 1)
    assert isinstance(total, sp.Sum)
    scheme = Hamming(3, 4)
    plain = sum(sp.exp(-r) * scheme.eigenvalue(r, 1) for r in scheme.relations)
    assert abs(float(total.subs({G: 3, M: 4}).doit() - plain)) < 1e-13


def test_krawtchouk_polynomials_stay_sums_for_symbols():
    m, d = sp.symbols("m d", integer=True, nonnegative=True)
    value = Hamming(G, M).eigenvalue(m, d)
    assert value.subs({G: 4, M: 3, m: 2, d: 1}).doit() == Hamming(4, 3).eigenvalue(2, 1)


@pytest.mark.parametrize("values", [lambda k: k + 1, lambda k: k**2 + 3], ids=["0 before", "not"])
def test_trees_have_a_closed_spectrum_for_symbols(values):
    level = sp.Symbol("l", integer=True, nonnegative=True)
    closed = Tree(B, L).spectrum(values, level)
    for b, deep in ((2, 3), (3, 2), (4, 1)):
        for at in range(deep + 1):
            exact = Tree(b, deep).spectrum(values, at)
            assert closed.subs({B: b, L: deep}).subs(level, at) == exact


def test_products_of_products_take_pairs_of_pairs():
    values = np.random.default_rng(1000).standard_normal((3, 2, 2))
    scheme = (Hamming(2, 3) * complete(2)) * complete(4)
    matrix = sum(values[a, b, c] * scheme.matrix(((a, b), c)) for (a, b), c in scheme.relations)
    claimed = sorted(
        float(scheme.spectrum(lambda pair, c: values[int(pair[0]), int(pair[1]), int(c)], e))
        for e in scheme.relations
        for _ in range(int(scheme.multiplicity(e)))
    )
    np.testing.assert_allclose(np.linalg.eigvalsh(matrix), claimed, atol=1e-12)


def test_schemes_of_symbols_check_themselves_at_numbers():
    both = Hamming(G, M) * complete(G**2)
    evidence = both.check()
    assert evidence.passed
    assert "H(3, 2) by H(1, 9)" in evidence.figure
    assert both.free_symbols == {G, M}
    assert both.with_values({G: 2, M: 2}) == Hamming(2, 2) * complete(4)


@pytest.mark.parametrize("name", ["eigenvalue", "multiplicity", "valency"])
@pytest.mark.parametrize("kind", [Hamming, Tree])
def test_a_slip_in_any_number_fails_the_check(monkeypatch, kind, name):
    right = getattr(kind, name)
    last = 2

    def slipped(self, *at):
        value = right(self, *at)
        return -value if at[-1] == last else value

    monkeypatch.setattr(kind, name, slipped)
    assert not kind(2, 2).check().passed


def test_a_slip_in_the_table_of_relations_fails_the_check(monkeypatch):
    right = Hamming.relation_table

    def slipped(self):
        table = right(self)
        table[0, 1] = 0
        return table

    monkeypatch.setattr(Hamming, "relation_table", slipped)
    assert not Hamming(2, 2).check().passed


@pytest.mark.parametrize("bad", [0, -1, 2.5, True, "2", None, sp.Rational(1, 2), [2]])
@pytest.mark.parametrize("build", [lambda n: Hamming(n, 2), lambda n: Tree(2, n)])
def test_sizes_must_be_integers(build, bad):
    with pytest.raises(InvalidArgument, match="must be an integer of at least 1"):
        build(bad)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: Hamming(2, 1), InvalidArgument, "'letters' .* at least 2"),
        (lambda: complete(1), InvalidArgument, "'items' .* at least 2"),
        (lambda: Tree(1, 2), InvalidArgument, "'branching' .* at least 2"),
        (lambda: Hamming(G, M).relations, MissingValues, "symbols for sizes"),
        (lambda: Hamming(G, M).matrix(0), MissingValues, "symbols for sizes"),
        (lambda: Hamming(2, 2).matrix(3), InvalidArgument, "one of 0 to 2, not 3"),
        (lambda: Hamming(13, 2).matrix(0), InvalidArgument, "at most, not 8192"),
        (lambda: Hamming(2, 2).spectrum(lambda m: m, 3), InvalidArgument, "at most 2, not 3"),
        (lambda: Hamming(G, M).spectrum(lambda m: m, G), MissingValues, "must be a number"),
    ],
)
def test_what_has_no_answer_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_large_schemes_need_no_matrices():
    assert Hamming(100, 2).eigenvalue(100, 50) == 1
    assert symmetry.Hamming(50, 3).multiplicity(2) == 4900
