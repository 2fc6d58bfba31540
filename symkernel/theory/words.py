r"""Sums of matrix products, and the matrix-gradient rules built on them.

A word is a product of named matrices, some transposed; a `Words` is a sum of words with scalar
coefficients. SymPy's own derivative of a sum of traces with respect to a matrix symbol returns 0
(sympy/sympy#27406), so the two rules that are needed stand here:
$\nabla_W \mathrm{tr}(A W B) = A^T B^T$ and $\nabla_W \mathrm{tr}(A W^T B) = B A$.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import mul
from typing import Any

import sympy as sp
from sympy.polys.matrices import DomainMatrix
from sympy.polys.matrices.exceptions import DMShapeError

Factor = tuple[str, bool]
Word = tuple[Factor, ...]


@dataclass(frozen=True)
class Words:
    """A sum of products of matrices: mapping from word to scalar coefficient."""

    terms: Mapping[Word, sp.Expr]

    @classmethod
    def of(cls, *names: str, coefficient: sp.Expr = sp.S.One) -> Words:
        """Return one word; a trailing "'" transposes a factor.

        Examples
        --------
        >>> from symkernel.theory.words import Words
        >>> assert Words.of("A", "B'").transposed() == Words.of("B", "A'")
        """
        return cls({tuple((n.rstrip("'"), n.endswith("'")) for n in names): coefficient})

    @classmethod
    def collect(cls, items: Iterable[tuple[Word, sp.Expr]]) -> Words:
        """Return the sum of the items, like words collected and zeros dropped."""
        total: dict[Word, sp.Expr] = {}
        for word, coefficient in items:
            total[word] = total.get(word, sp.S.Zero) + coefficient
        return cls({w: c for w, c in total.items() if sp.expand(c) != 0})

    def __add__(self, other: Words) -> Words:
        return Words.collect([*self.terms.items(), *other.terms.items()])

    def __matmul__(self, other: Words) -> Words:
        return Words.collect(
            (left + right, c * k)
            for left, c in self.terms.items()
            for right, k in other.terms.items()
        )

    def scaled(self, factor: sp.Expr) -> Words:
        """Return the sum times a scalar."""
        return Words({word: factor * c for word, c in self.terms.items()})

    def __neg__(self) -> Words:
        return self.scaled(sp.S.NegativeOne)

    def __sub__(self, other: Words) -> Words:
        return self + -other

    def transposed(self) -> Words:
        """Return the transpose of the sum."""
        return Words.collect((_transposed(word), c) for word, c in self.terms.items())

    def substituted(self, meaning: Mapping[str, Words]) -> Words:
        """Return the sum with named matrices replaced by sums of products."""
        total = Words({})
        for word, coefficient in self.terms.items():
            product = Words({(): coefficient})
            for name, flipped in word:
                part = meaning.get(name, Words({((name, False),): sp.S.One}))
                product = product @ (part.transposed() if flipped else part)
            total = total + product
        return total

    def reduced(self, rules: Mapping[Any, Words]) -> Words:
        r"""Return the sum with pairs of neighbours rewritten, until none is left.

        Rules are, for example, $V^T V \to 1$ or $Q^T P \to \mathrm{diag}(w)$.
        """
        current = self
        while True:
            items: list[tuple[Word, sp.Expr]] = []
            changed = False
            for word, coefficient in current.terms.items():
                hit = next((i for i in range(len(word) - 1) if word[i : i + 2] in rules), None)
                if hit is None:
                    items.append((word, coefficient))
                    continue
                changed = True
                for middle, k in rules[word[hit : hit + 2]].terms.items():
                    items.append((word[:hit] + middle + word[hit + 2 :], coefficient * k))
            current = Words.collect(items)
            if not changed:
                return current

    def matrix(self, shapes: Mapping[str, tuple[sp.Expr, sp.Expr]]) -> sp.MatrixExpr:
        """Return the sum as a SymPy matrix expression."""
        parts = []
        for word, coefficient in self.terms.items():
            factors = [_symbol(name, shapes, flipped) for name, flipped in word]
            parts.append(
                sp.MatMul(coefficient, *factors)
                if coefficient != 1
                else (sp.MatMul(*factors) if len(factors) > 1 else factors[0])
            )
        return sp.MatAdd(*parts) if len(parts) > 1 else parts[0]

    def explicit(self, values: Mapping[str, sp.MatrixBase]) -> sp.MatrixBase:
        """Return the sum evaluated on explicit matrices, for checks."""
        if not self.terms or () in self.terms:
            raise ValueError("an empty sum and an empty product have no shape")
        names = sorted({name for word in self.terms for name, _ in word})
        given = [*(values[name] for name in names), sp.Matrix([list(self.terms.values())])]
        *made, scalars = DomainMatrix.unify(*(DomainMatrix.from_Matrix(m) for m in given))
        domain = scalars.domain
        if not (domain.is_ZZ or domain.is_QQ or domain.is_PolynomialRing):
            return self._summed(values, self.terms)
        # Polynomials in one ring: ten times faster than SymPy's sums of products.
        coefficients = dict(zip(self.terms, scalars.to_list_flat(), strict=True))
        try:
            found = self._summed(dict(zip(names, made, strict=True)), coefficients)
        except DMShapeError as error:
            raise sp.ShapeError(str(error)) from error
        return found.to_Matrix()

    @staticmethod
    def _summed(values: Mapping[str, Any], terms: Mapping[Word, Any]) -> Any:
        """Return the sum of products, of matrices of any kind."""
        total = None
        for word, coefficient in terms.items():
            factors = (values[n].transpose() if flipped else values[n] for n, flipped in word)
            part = reduce(mul, factors) * coefficient
            total = part if total is None else total + part
        return total


def _symbol(
    name: str, shapes: Mapping[str, tuple[sp.Expr, sp.Expr]], flipped: bool
) -> sp.MatrixExpr:
    matrix = sp.MatrixSymbol(name, *shapes[name])
    return matrix.T if flipped else matrix


def _transposed(word: Word) -> Word:
    return tuple((name, not flipped) for name, flipped in reversed(word))


def trace_gradient(traced: Words, name: str) -> Words:
    r"""Return $\nabla_W$ of the trace of a sum of products.

    Parameters
    ----------
    traced : Words
        The sum under the trace.
    name : str
        The matrix $W$.

    Examples
    --------
    >>> from symkernel.theory.words import Words, trace_gradient
    >>> assert trace_gradient(Words.of("A", "W", "B"), "W") == Words.of("A'", "B'")
    >>> assert trace_gradient(Words.of("A", "W'", "B"), "W") == Words.of("B", "A")
    """
    items = []
    for word, coefficient in traced.terms.items():
        for i, (factor, flipped) in enumerate(word):
            if factor != name:
                continue
            around = word[i + 1 :] + word[:i]
            items.append((around if flipped else _transposed(around), coefficient))
    return Words.collect(items)


def derivative(words: Words, flow: Mapping[str, Words]) -> Words:
    """Return the time derivative of a sum of products by the product rule."""
    total = Words({})
    for word, coefficient in words.terms.items():
        for i, (name, flipped) in enumerate(word):
            if name in flow:
                inner = flow[name].transposed() if flipped else flow[name]
                before, after = Words({word[:i]: coefficient}), Words({word[i + 1 :]: sp.S.One})
                total = total + before @ inner @ after
    return total


def still(candidates: list[Words], rates: list[Words]) -> list[Words]:
    """Return a basis of the combinations that do not move, each with first coefficient 1.

    Parameters
    ----------
    candidates : list of Words
    rates : list of Words
        Their time derivatives.

    Examples
    --------
    >>> from symkernel.theory.words import Words, still
    >>> A, B, C = map(Words.of, "ABC")
    >>> assert still([A, B], [C, -C]) == [A + B]
    """
    words = sorted({word for rate in rates for word in rate.terms})
    table = sp.Matrix([[rate.terms.get(word, sp.S.Zero) for rate in rates] for word in words])
    found = []
    for vector in table.nullspace():
        pivot = next(v for v in vector if v != 0)
        parts = (c.scaled(v / pivot) for c, v in zip(candidates, vector, strict=True))
        found.append(sum(parts, Words({})))
    return found
