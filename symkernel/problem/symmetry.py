r"""Association schemes: the algebra of matrices that depend on the relation of two items alone.

Every pair of items stands in one of finitely many relations; the matrices $A_r$ of the relations
commute and span an algebra, so all of its matrices have the same eigenspaces. On eigenspace $e$,
of `multiplicity` $\mu_e$, the matrix with the entries $k(r)$ has the eigenvalue

$$\lambda_e[k] = \sum_r k(r)\, P_{r e},$$

where $P_{r e}$ is the eigenvalue of $A_r$. Sizes may be symbols: the spectrum of a kernel on a
task with such a symmetry is then one formula for all sizes.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.errors import InvalidArgument, MissingValues
from symkernel.formula import Evidence
from symkernel.problem.scalars import as_sympy

# Of sums that stay sums: over the places in which two words agree.
PLACES = notation.register(
    sp.Symbol("b_places", integer=True, nonnegative=True), "b", "number of places that agree"
)
# Sizes that symbols stand for, one after the other, in checks against explicit matrices.
_SIZES = (2, 3)
# Explicit matrices of more items would take long.
_MOST_ITEMS = 4096

Values = Callable[..., Any]


def whole(value: object, name: str, least: int) -> sp.Expr:
    """Return an integer from `least` on, or an expression that may stand for one."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        value = sp.Integer(int(value))
    fits = isinstance(value, sp.Expr) and (value.is_Integer or value.free_symbols)
    if not fits or value.is_integer is False or (value - least).is_negative:  # type: ignore
        raise InvalidArgument(
            f"Argument '{name}' must be an integer of at least {least}, or a SymPy symbol for one, "
            f"not {value!r}."
        )
    return value


class Scheme(ABC):
    """A commutative association scheme, of numbers or symbols.

    Relations and eigenspaces are counted from 0, those of a `Product` by a pair of numbers.
    """

    @property
    @abstractmethod
    def items(self) -> sp.Expr:
        """Number of items."""

    @abstractmethod
    def valency(self, relation: Any) -> sp.Expr:
        """Return how many items stand in a relation to a given one."""

    @abstractmethod
    def multiplicity(self, eigenspace: Any) -> sp.Expr:
        """Return the dimension of an eigenspace."""

    @abstractmethod
    def eigenvalue(self, relation: Any, eigenspace: Any) -> sp.Expr:
        """Return the eigenvalue of the matrix of a relation."""

    @abstractmethod
    def relation_table(self) -> np.ndarray:
        """Return the relation of all pairs of items, of a product as one number."""

    @property
    @abstractmethod
    def relations(self) -> tuple[Any, ...]:
        """All relations, and so all eigenspaces, of a scheme whose sizes are numbers."""

    def _counted(self, last: sp.Expr) -> tuple[int, ...]:
        """Return the numbers of relations up to the last one."""
        if not last.is_Integer:
            raise MissingValues(
                f"The scheme {self} has symbols for sizes: its relations cannot be listed. Give "
                f"numbers with with_values({{...}})."
            )
        return tuple(range(int(last) + 1))

    def spectrum(self, values: Values, eigenspace: Any) -> sp.Expr:
        """Return the eigenvalue of the matrix whose entry is values(relation).

        Parameters
        ----------
        values : callable
            Of a relation, a number or a symbol; of the two numbers of a `Product`.
        eigenspace : int, symbol or pair
        """
        return sp.Add(*(_at(values, r) * self.eigenvalue(r, eigenspace) for r in self.relations))

    def matrix(self, relation: Any) -> np.ndarray:
        """Return which pairs of items stand in a relation, as zeros and ones.

        Parameters
        ----------
        relation : int or pair
            Of a scheme whose sizes are numbers.
        """
        relations = self.relations
        if relation not in relations:
            raise InvalidArgument(
                f"Argument 'relation' must be one of {relations[0]} to {relations[-1]}, not "
                f"{relation!r}."
            )
        if self.items > _MOST_ITEMS:
            raise InvalidArgument(
                f"Explicit matrices are for {_MOST_ITEMS} items at most, not {self.items}."
            )
        return (self.relation_table() == relations.index(relation)).astype(np.int64)

    def with_values(self, values: dict[sp.Symbol, Any]) -> Any:
        """Return the scheme with numbers in place of symbols."""
        given = (getattr(self, one.name) for one in fields(self))  # type: ignore[arg-type]
        return type(self)(
            *(v.with_values(values) if isinstance(v, Scheme) else v.subs(values) for v in given)
        )

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Symbols of its sizes."""
        return set().union(*(getattr(self, one.name).free_symbols for one in fields(self)))  # type: ignore[arg-type]

    def check(self) -> Evidence:
        r"""Compare everything with explicit matrices, in exact integers.

        Symbols stand for 2 and 3. On eigenspace e the projector is
        $\sum_r \mu_e P_{re} A_r / (n v_r)$, with the valencies $v_r$.
        """
        symbols = sorted(self.free_symbols, key=str)
        choices = itertools.product(_SIZES, repeat=len(symbols))
        tried = [self.with_values(dict(zip(symbols, c, strict=True))) for c in choices]
        passed = all(_is_explicit(scheme) for scheme in tried)
        names = ", ".join(map(str, tried))
        return Evidence.of(
            passed, f"eigenvalues and multiplicities exact on explicit matrices: {names}"
        )

    def __mul__(self, other: Scheme) -> Product:
        return Product(self, other)


def _at(values: Values, relation: Any) -> Any:
    return values(*relation) if isinstance(relation, tuple) else values(relation)


def _is_explicit(scheme: Scheme) -> bool:
    """Compare a scheme of numbers with its matrices: integers as floats, below 2^53."""
    relations, n = scheme.relations, int(scheme.items)
    matrices = [scheme.matrix(r).astype(float) for r in relations]
    valencies = [scheme.valency(r) for r in relations]
    if any((A.sum(1) != float(v)).any() for A, v in zip(matrices, valencies, strict=True)):
        return False
    common = int(sp.ilcm(1, *valencies))
    total = np.zeros((n, n))
    for e in relations:
        row = [scheme.eigenvalue(r, e) for r in relations]
        count = scheme.multiplicity(e)
        shares = [count * p * common / v for p, v in zip(row, valencies, strict=True)]
        projector = sum(float(q) * A for q, A in zip(shares, matrices, strict=True))
        total += projector
        if np.trace(projector) != float(n * common * count) or any(
            (A @ projector != float(p) * projector).any()
            for p, A in zip(row, matrices, strict=True)
        ):
            return False
    return bool((total == n * common * np.eye(n)).all())


@dataclass(frozen=True)
class Hamming(Scheme):
    r"""Words of $G$ letters out of $M$; the relation is the number $m$ of places that agree.

    Eigenspaces are counted by the degree $d$: functions of $d$ places, of mean zero over each. In
    place after place the matrix with the entries $x^m$ is $J + (x - 1) I$, so its eigenvalue is
    $(M - 1 + x)^{G-d} (x - 1)^d$. Hence, with the forward difference
    $\Delta k(b) = k(b + 1) - k(b)$,

    $$\lambda_d[k] = \sum_b \binom{G-d}{b} (M-1)^{G-d-b}\, \Delta^d k(b)
        = M^{G-d}\, \langle \Delta^d k(b) \rangle, \qquad b \sim
        \operatorname{Binomial}(G - d, 1/M).$$

    Parameters
    ----------
    length : int or SymPy expression
        G, at least 1.
    letters : int or SymPy expression
        M, at least 2.

    References
    ----------
    P. Delsarte, V. I. Levenshtein, IEEE Transactions on Information Theory 44, 2477 (1998).

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.problem.symmetry import Hamming
    >>> G, M = sp.symbols("G M", integer=True, positive=True)
    >>> assert Hamming(G, M).spectrum(lambda m: m, 1) == M ** (G - 1)
    >>> cube = Hamming(3, 2)
    >>> assert [cube.eigenvalue(2, d) for d in range(4)] == [3, 1, -1, -3]
    >>> assert cube.check().passed
    """

    length: sp.Expr
    letters: sp.Expr

    def __post_init__(self) -> None:
        object.__setattr__(self, "length", whole(self.length, "length", 1))
        object.__setattr__(self, "letters", whole(self.letters, "letters", 2))

    @property
    def items(self) -> sp.Expr:
        """Number of words."""
        return self.letters**self.length

    @property
    def relations(self) -> tuple[int, ...]:
        """From no place that agrees to all."""
        return self._counted(self.length)

    def valency(self, relation: Any) -> sp.Expr:
        """Return how many words agree with a given one in so many places."""
        m = as_sympy(relation)
        return sp.binomial(self.length, m) * (self.letters - 1) ** (self.length - m)

    def multiplicity(self, eigenspace: Any) -> sp.Expr:
        """Return the dimension of the functions of a degree."""
        d = as_sympy(eigenspace)
        return sp.binomial(self.length, d) * (self.letters - 1) ** d

    def eigenvalue(self, relation: Any, eigenspace: Any) -> sp.Expr:
        """Return a Krawtchouk polynomial, as a sum where relation or degree is a symbol."""
        m, d = as_sympy(relation), as_sympy(eigenspace)
        j = sp.Symbol("j", integer=True, nonnegative=True)
        rest = self.length - m - j
        term = (
            (-1) ** j
            * (self.letters - 1) ** rest
            * sp.binomial(d, j)
            * sp.binomial(self.length - d, rest)
        )
        total = sp.Sum(term, (j, 0, d))
        return sp.expand(total.doit()) if d.is_Integer and rest.subs(j, 0).is_Integer else total

    def spectrum(self, values: Values, eigenspace: Any) -> sp.Expr:
        r"""Return the eigenvalue of the matrix with the entries values(m).

        A polynomial in m gives a closed form for symbols too, by Newton's series: the mean of
        $\binom{b}{q}$ is $\binom{n}{q} M^{-q}$. What is no polynomial stays a sum if the length
        is a symbol.

        Parameters
        ----------
        values : callable
            Of the number of places that agree.
        eigenspace : int
            The degree; a symbol has no closed form.
        """
        d = as_sympy(eigenspace)
        if not d.is_Integer:
            raise MissingValues(f"The degree must be a number here, not {eigenspace!r}.")
        rest, M = self.length - d, self.letters
        if rest.is_negative:
            raise InvalidArgument(f"Argument 'eigenspace' must be at most {self.length}, not {d}.")
        if rest.is_Integer:
            return sp.Add(
                *(
                    sp.binomial(rest, b) * (M - 1) ** (rest - b) * difference(values, d, b)
                    for b in map(sp.Integer, range(int(rest) + 1))
                )
            )
        step = sp.expand(difference(values, d, PLACES))
        if not step.is_polynomial(PLACES):
            term = sp.binomial(rest, PLACES) * (M - 1) ** (rest - PLACES) * step
            return sp.Sum(term, (PLACES, 0, rest))
        degree = sp.Poly(step, PLACES).degree() if step.has(PLACES) else 0
        at = sp.Lambda(PLACES, step)
        return sp.Add(
            *(
                difference(at, q, sp.S.Zero) * sp.ff(rest, q) / sp.factorial(q) * M ** (rest - q)
                for q in range(degree + 1)
            )
        )

    def relation_table(self) -> np.ndarray:
        """Return in how many places words agree, all words in lexical order."""
        G, M = int(self.length), int(self.letters)
        words = np.array(list(itertools.product(range(M), repeat=G)))
        return (words[:, None] == words[None]).sum(-1)

    def __str__(self) -> str:
        return f"H({self.length}, {self.letters})"


def difference(values: Values, order: Any, at: Any) -> sp.Expr:
    r"""Return the forward difference $\Delta^d k$ of a function of integers."""
    d = int(order)
    return sp.Add(*((-1) ** (d - i) * sp.binomial(d, i) * values(at + i) for i in range(d + 1)))


def complete(items: int | sp.Expr) -> Hamming:
    """Return the scheme of items that are the same (relation 1) or not (relation 0).

    It is that of words of one letter. Eigenspace 0 are constants, 1 contrasts.

    Parameters
    ----------
    items : int or SymPy expression
        At least 2.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.problem.symmetry import complete
    >>> n, a, b = sp.symbols("n a b", positive=True, integer=True)
    >>> k = [b, a]  # b between different items, a on the diagonal
    >>> assert complete(n).spectrum(lambda r: k[r], 1) == a - b
    """
    return Hamming(sp.S.One, whole(items, "items", 2))


def _relation(relation: tuple[Any, ...]) -> Any:
    """Return what a function was given for one relation: a pair if it is that of a product."""
    return relation[0] if len(relation) == 1 else relation


@dataclass(frozen=True)
class Product(Scheme):
    r"""Pairs of items of two schemes; relations and eigenspaces are pairs too.

    Eigenvalues, valencies and multiplicities are products. Two schemes are multiplied by ``*``.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.problem.symmetry import Hamming, complete
    >>> G, M = sp.symbols("G M", integer=True, positive=True)
    >>> both = Hamming(G, M) * complete(G**2)
    >>> assert both.spectrum(lambda m, same: m * same, (1, 1)) == M ** (G - 1)
    """

    first: Scheme
    second: Scheme

    @property
    def items(self) -> sp.Expr:
        """Number of pairs."""
        return self.first.items * self.second.items

    @property
    def relations(self) -> tuple[Any, ...]:
        """All pairs of relations."""
        return tuple(itertools.product(self.first.relations, self.second.relations))

    def valency(self, relation: Any) -> sp.Expr:
        """Return how many pairs stand in a pair of relations to a given one."""
        return self.first.valency(relation[0]) * self.second.valency(relation[1])

    def multiplicity(self, eigenspace: Any) -> sp.Expr:
        """Return the dimension of a product of eigenspaces."""
        d, e = eigenspace
        return self.first.multiplicity(d) * self.second.multiplicity(e)

    def eigenvalue(self, relation: Any, eigenspace: Any) -> sp.Expr:
        """Return the eigenvalue of a pair of relations on a pair of eigenspaces."""
        pairs = zip((self.first, self.second), relation, eigenspace, strict=True)
        return sp.Mul(*(scheme.eigenvalue(r, e) for scheme, r, e in pairs))

    def spectrum(self, values: Values, eigenspace: Any) -> sp.Expr:
        """Return the eigenvalue of the matrix with the entries values(relation, relation)."""
        d, e = eigenspace
        return self.first.spectrum(
            lambda *r: self.second.spectrum(lambda *s: values(_relation(r), _relation(s)), e), d
        )

    def relation_table(self) -> np.ndarray:
        """Return the pairs of relations as one number, the second scheme's counted fastest."""
        outer, inner = self.first.relation_table(), self.second.relation_table()
        count = len(self.second.relations)
        pairs = outer[:, None, :, None] * count + inner[None, :, None, :]
        return pairs.reshape(len(outer) * len(inner), -1)

    def __str__(self) -> str:
        return f"{self.first} by {self.second}"
