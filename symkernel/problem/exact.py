r"""Exact moments of a task, and its modes as exact numbers.

$\Sigma_{yx}^T\Sigma_{yx}$ and $\Sigma_{xx}$ are diagonal in one basis if and only if they commute,
which is decided in the field of their entries. Strengths are square roots of the eigenvalues of
the first, found by factoring its characteristic polynomial; input variances are the eigenvalues
of the second inside each eigenspace of the first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import sympy as sp
from sympy.polys.constructor import construct_domain
from sympy.polys.matrices import DomainMatrix

from symkernel.errors import InvalidArgument, MissingValues, OutsideValidity, ShapeMismatch
from symkernel.problem.mode import Mode
from symkernel.problem.radicals import DIGITS, Root, factors, roots, square_roots

# Characteristic polynomials up to here are factored in seconds; beyond it floating point serves.
MOST_UNITS = 12
MOST_SAMPLES = 1000
_MOST_BITS = 1024
# Degree of the field that the radicals of the entries span.
_MOST_DEGREE = 4
# A block with symbols: polynomials in several of them grow fast.
_MOST_SYMBOLIC = 4
_X = sp.Symbol("x")
_ZERO = Root(sp.S.Zero, sp.S.Zero)


@dataclass(frozen=True)
class ExactMoments:
    r"""Second moments as exact numbers or rational functions of symbols, beside the floats.

    Attributes
    ----------
    Sxx, Syx, Syy : sympy.ImmutableMatrix
        $\langle x x^T\rangle$, $\langle y x^T\rangle$, $\langle y y^T\rangle$.
    X, Y : sympy.ImmutableMatrix or None
        The samples, if the task was given by samples.

    Examples
    --------
    >>> import sympy as sp, symkernel as sk
    >>> task = sk.Task(sp.eye(2), sp.Matrix([[2, 2], [2, 0]]))
    >>> assert task.exact.modes[0].s == sp.Rational(1, 2) + sp.sqrt(5) / 2
    >>> assert task.exact.modes[1].d == sp.Rational(1, 2)
    """

    Sxx: sp.ImmutableMatrix
    Syx: sp.ImmutableMatrix
    Syy: sp.ImmutableMatrix
    X: sp.ImmutableMatrix | None = None
    Y: sp.ImmutableMatrix | None = None

    @cached_property
    def free_symbols(self) -> frozenset[sp.Symbol]:
        """Symbols without a value."""
        given = (part for part in (self.Sxx, self.Syx, self.Syy, self.X, self.Y) if part)
        return frozenset().union(*(part.free_symbols for part in given))

    def at(self, values: Mapping[sp.Symbol, object]) -> dict[str, sp.ImmutableMatrix]:
        """Return what the task was given by, samples or moments, with values of symbols."""
        names = ("Sxx", "Syx", "Syy") if self.X is None else ("X", "Y")
        return {name: getattr(self, name).subs(values) for name in names}

    @cached_property
    def distance(self) -> float:
        r"""How far from diagonal in one pair of bases; 0 if and only if there is one.

        The norm of the commutator of $\Sigma_{xx}$ and $\Sigma_{yx}^T\Sigma_{yx}$ over the product
        of their norms; infinite where symbols keep it from vanishing.
        """
        if all(block.commutes for block in self._blocks):
            return 0.0
        if self.free_symbols:
            return float("inf")
        A, N = self.Sxx, self.Syx.T * self.Syx
        commutator, *sizes = (m.evalf(DIGITS).norm() for m in (A * N - N * A, A, N))
        return float(commutator / (sizes[0] * sizes[1]))

    @property
    def modes(self) -> tuple[Mode, ...]:
        r"""Exact strength and input variance of every mode, min(inputs, outputs) of them.

        Strongest first, and by falling variance where strengths repeat; with symbols, whose order
        is open, in the order of the factors. Radicals stand for roots of degree 2 in $s^2$ or
        less that print in 60 characters; the others are symbols whose values are in `named`.

        Raises
        ------
        OutsideValidity
            If no pair of bases makes both moments diagonal, with the distance from it.
        MissingValues
            If symbols leave no radicals: polynomials of degree 3 and more.
        """
        return self._spectrum[0]

    @property
    def named(self) -> Mapping[sp.Symbol, sp.Expr]:
        """Values of the symbols that stand for strengths and variances without short radicals.

        To any number of digits, by ``evalf``; empty where there are no exact modes at all.
        """
        try:
            return self._spectrum[1]
        except (OutsideValidity, MissingValues):
            return {}

    @cached_property
    def _spectrum(self) -> tuple[tuple[Mode, ...], dict[sp.Symbol, sp.Expr]]:
        if self.distance:
            raise OutsideValidity(
                f"The task has no exact modes: Sxx does not commute with Syx^T Syx (relative "
                f"distance {self.distance:.2g}), so that no pair of bases makes both diagonal; "
                f"whiten the inputs, which changes the dynamics, or simulate."
            )
        pairs = [pair for block in self._blocks for pair in block.pairs()]
        if not self.free_symbols:
            pairs.sort(key=lambda pair: pair.values, reverse=True)
        zeros = [pair for pair in pairs if pair.strength.value == 0]
        kept = [pair for pair in pairs if pair.strength.value != 0]
        missing = min(self.Syx.shape) - len(kept)
        if (
            self.free_symbols
            and len({pair.variance for pair in zeros}) > 1
            and missing < len(zeros)
        ):
            raise OutsideValidity(
                "The task has more input directions without a target than modes without strength, "
                "of different variances; give values, so that these can be ordered."
            )
        return _named([*kept, *zeros[:missing]])

    @cached_property
    def _blocks(self) -> list[_Block]:
        """Parts of the task that share neither inputs nor outputs."""
        O, I = self.Syx.shape
        links = [(i, j) for i in range(I) for j in range(i) if self.Sxx[i, j] != 0]
        links += [(i, I + o) for i in range(I) for o in range(O) if self.Syx[o, i] != 0]
        groups = [{node} for node in range(I + O)]
        for i, j in links:
            one, two = (next(g for g in groups if node in g) for node in (i, j))
            if one is not two:
                groups.remove(two)
                one |= two
        blocks = []
        for group in groups:
            inputs = sorted(node for node in group if node < I)
            outputs = sorted(node - I for node in group if node >= I)
            if inputs:
                cross, inner = self.Syx.extract(outputs, inputs), self.Sxx.extract(inputs, inputs)
                blocks.append(_Block.of(cross, inner))
        return blocks


class _Pair(NamedTuple):
    r"""A strength and its variance; the latter also as coefficients of a polynomial in $s^2$."""

    strength: Root
    variance: Root | tuple[sp.Expr, ...]

    @property
    def values(self) -> tuple[sp.Float, sp.Float]:
        value = self.strength.value
        d = self.variance
        variance = d.value if isinstance(d, Root) else _polynomial(d, value)
        return value.evalf(DIGITS), variance.evalf(DIGITS)


def _polynomial(coefficients: tuple[sp.Expr, ...], s: sp.Expr) -> sp.Expr:
    return sp.expand(sum(c * sp.expand(s**2) ** k for k, c in enumerate(coefficients)))


class _Block(NamedTuple):
    """Syx^T Syx and Sxx of one part of a task, over the field of their entries."""

    N: DomainMatrix
    A: DomainMatrix

    @classmethod
    def of(cls, cross: sp.Matrix, inner: sp.Matrix) -> _Block:
        # Radicals often leave the product: the field is that of what remains.
        N = cross.T * cross if cross.rows else sp.zeros(inner.rows)
        return cls(*_over_field(N.applyfunc(sp.expand), inner))

    @property
    def commutes(self) -> bool:
        return (self.A * self.N - self.N * self.A).is_zero_matrix

    def pairs(self) -> list[_Pair]:
        """Return strengths and variances, repeated as often as they occur."""
        size, field = self.N.shape[0], self.N.domain
        if field.is_FractionField and size > _MOST_SYMBOLIC:
            raise MissingValues(
                f"A part of the task that couples {size} inputs holds symbols; exact modes are "
                f"worked out for {_MOST_SYMBOLIC} at the most: give values for "
                f"{', '.join(sorted(map(str, field.gens)))}."
            )
        found = []
        for factor, _ in factors(_charpoly(self.N)):
            zero = factor.degree() == 1 and not factor.eval(0)
            strengths = [_ZERO] if zero else square_roots(factor)
            space = self._kernel(self.N, factor)
            for inner, _ in factors(_charpoly(space.A)):
                part = space._kernel(space.A, inner)
                found += part._joint(factor.degree(), strengths, inner)
        return found

    def _kernel(self, which: DomainMatrix, factor: sp.Poly) -> _Block:
        """Return both matrices on the kernel of a polynomial of one of them."""
        one = DomainMatrix.eye(which.shape, which.domain)
        value = one * 0
        for c in factor.rep.to_list():
            value = value * which + one.scalarmul(c)
        B = value.nullspace()
        inverse = (B * B.transpose()).inv()
        return _Block(*(B * m * B.transpose() * inverse for m in self))

    def _joint(self, degree: int, strengths: list[Root], inner: sp.Poly) -> list[_Pair]:
        """Return the pairs of a part whose strengths, and whose variances, are conjugate."""
        size = self.N.shape[0]
        coefficients = self._in_powers(degree)
        if coefficients is not None:
            return [_Pair(s, coefficients) for s in strengths for _ in range(size // degree)]
        if degree == 1:
            count = size // inner.degree()
            return [_Pair(strengths[0], d) for d in roots(inner) for _ in range(count)]
        raise OutsideValidity(
            f"The task has no exact modes here: strengths whose squares have degree {degree} "
            f"repeat with input variances that are not in their field; use floating point."
        )

    def _in_powers(self, degree: int) -> tuple[sp.Expr, ...] | None:
        r"""Return c with $A = \sum_k c_k N^k$, k below the degree, if there is one."""
        field = self.N.domain
        rows = [(self.N**k).to_list_flat() for k in range(degree)] + [self.A.to_list_flat()]
        columns = DomainMatrix(rows, (len(rows), len(rows[0])), field).transpose()
        for *powers, last in columns.nullspace().to_list():
            if last:
                return tuple(field.to_sympy(-c / last) for c in powers)
        return None


def _charpoly(matrix: DomainMatrix) -> sp.Poly:
    return sp.Poly(matrix.charpoly(), _X, domain=matrix.domain)


def _over_field(*matrices: sp.Matrix) -> list[DomainMatrix]:
    """Return matrices over the smallest field that holds all their entries."""
    field, entries = construct_domain(
        [entry for m in matrices for entry in m], field=True, extension=True
    )
    found, entries = [], iter(entries)
    for m in matrices:
        rows = [[next(entries) for _ in range(m.cols)] for _ in range(m.rows)]
        found.append(DomainMatrix(rows, m.shape, field))
    return found


def _named(pairs: list[_Pair]) -> tuple[tuple[Mode, ...], dict[sp.Symbol, sp.Expr]]:
    """Return modes, and symbols by mode for what has no radical, each value under one name."""
    named: dict[sp.Symbol, sp.Expr] = {}
    names: dict[sp.Expr, sp.Symbol] = {}

    def called(letter: str, k: int, value: sp.Expr) -> sp.Symbol:
        fresh = sp.Symbol(f"{letter}_{k}", positive=True)
        symbol = names.setdefault(value, fresh)
        named[symbol] = value
        return symbol

    modes = []
    for k, (strength, variance) in enumerate(pairs):
        s = strength.radical
        s = called("s", k, strength.value) if s is None else s
        if isinstance(variance, tuple):
            d = _polynomial(variance, s)
        else:
            d = variance.radical
            d = called("d", k, variance.value) if d is None else d
        modes.append(Mode(s, d, sp.S.One))
    return tuple(modes), named


def exact_moments(**given: object) -> tuple[ExactMoments | None, tuple[str, ...]]:
    """Return the exact moments of X and Y, or of Sxx, Syx and Syy, or a line on why not.

    Nothing is returned for anything but SymPy matrices. Whether numbers make a task is asked where
    they are turned into floating point.

    Raises
    ------
    InvalidArgument, ShapeMismatch
        For matrices with symbols that cannot be kept exactly.
    """
    if not all(isinstance(m, sp.MatrixBase) and len(m) for m in given.values()):
        return None, ()
    matrices = {name: sp.ImmutableMatrix(m) for name, m in given.items()}
    check_shapes(**matrices)
    reason = _obstacle(matrices)
    if not reason:
        found = _from_samples(**matrices) if "X" in matrices else ExactMoments(**matrices)
        bits = max(_bits(m) for m in (found.Sxx, found.Syx.T * found.Syx))
        if bits <= _MOST_BITS:
            return found, ()
        reason = f"the moments have numbers of {bits} bits, more than {_MOST_BITS}"
    if any(m.free_symbols for m in matrices.values()):
        raise InvalidArgument(
            f"Arguments {', '.join(map(repr, matrices))} with symbols must hold exact numbers and "
            f"rational functions of the symbols, but {reason}."
        )
    return None, (f"in floating point alone: {reason}",)


def check_shapes(**given: Any) -> None:
    """Refuse samples X and Y, or moments Sxx, Syx and Syy, whose shapes do not fit."""
    shapes = {name: value.shape for name, value in given.items()}
    if "X" in shapes and shapes["X"][0] != shapes["Y"][0]:
        raise ShapeMismatch(
            f"Arguments 'X' and 'Y' must have the same number of samples (rows), "
            f"not {shapes['X'][0]} and {shapes['Y'][0]}."
        )
    if "Syx" in shapes:
        outputs, inputs = shapes["Syx"]
        if shapes["Sxx"] != (inputs, inputs) or shapes["Syy"] != (outputs, outputs):
            raise ShapeMismatch(
                f"Arguments 'Sxx' and 'Syy' must be of shape {(inputs, inputs)} and "
                f"{(outputs, outputs)} to fit 'Syx', not {shapes['Sxx']} and {shapes['Syy']}."
            )


def _obstacle(matrices: Mapping[str, sp.ImmutableMatrix]) -> str:
    """Return why these matrices are not kept exactly, if they are not."""
    for name, matrix in matrices.items():
        limit = MOST_SAMPLES if name in "XY" else MOST_UNITS
        if matrix.rows > limit or matrix.cols > MOST_UNITS:
            return (
                f"'{name}' of shape {matrix.shape} is larger than {limit} x {MOST_UNITS}, where "
                f"exact arithmetic ends"
            )
        for place, entry in enumerate(matrix):
            fault = _fault(entry)
            if fault:
                return f"entry {divmod(place, matrix.cols)} of '{name}' is {entry}, {fault}"
        if name in ("Sxx", "Syy") and matrix != matrix.T:
            return f"'{name}' is not symmetric"
    powers = set().union(*(m.atoms(sp.Pow) for m in matrices.values()))
    radicals = {power for power in powers if not power.exp.is_Integer}
    degree = math.prod(power.exp.q for power in radicals)
    if degree > _MOST_DEGREE:
        return f"the {len(radicals)} radicals span a field of degree {degree} (> {_MOST_DEGREE})"
    if radicals and any(m.free_symbols for m in matrices.values()):
        return f"there are radicals beside the symbols, as {min(radicals, key=str)}"
    return ""


def _fault(entry: sp.Expr) -> str:
    if entry.has(sp.nan, sp.oo, sp.zoo, sp.I) or entry.is_real is False or entry.is_finite is False:
        return "which is not real and finite"
    for part in sp.preorder_traversal(entry):
        if part.is_Float:
            return "in floating point"
        if not (part.is_Rational or part.is_Symbol or part.is_Add or part.is_Mul or part.is_Pow):
            return "which is no rational number, radical or symbol"
    return ""


def _from_samples(X: sp.ImmutableMatrix, Y: sp.ImmutableMatrix) -> ExactMoments:
    x, y = _over_field(X, Y)
    moments = (x.transpose() * x, y.transpose() * x, y.transpose() * y)
    Sxx, Syx, Syy = (sp.ImmutableMatrix(m.to_Matrix() / X.rows) for m in moments)
    return ExactMoments(Sxx, Syx, Syy, X, Y)


def _bits(matrix: sp.Matrix) -> int:
    numbers = matrix.atoms(sp.Rational)
    return max((max(abs(q.p), q.q).bit_length() for q in numbers), default=0)
