r"""Differential equations of matrices given as words: right-hand side and Jacobian, for numba.

Every occurrence of a moving matrix X in a word, $\dots = L X R$, is an entry $L \otimes R^T$ of
the Jacobian in row-major order; where X stands transposed, with the columns permuted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from symkernel.formula import Evidence
from symkernel.theory.words import Factor, Word, Words

Shapes = Mapping[str, tuple[str, str]]

_HEAD = '''"""Right-hand side and Jacobian of a flow of matrices, generated from its words."""

import numba
import numpy as np


@numba.njit(error_model="numpy")
def add_product(jacobian, row, column, left, right, flipped, coefficient):
    p, q = left.shape[1], right.shape[0]
    for a in range(left.shape[0]):
        for b in range(right.shape[1]):
            for c in range(p):
                for d in range(q):
                    place = d * p + c if flipped else c * q + d
                    jacobian[row + a * right.shape[1] + b, column + place] += (
                        coefficient * left[a, c] * right[d, b]
                    )
'''
_DECORATOR = '\n\n@numba.njit("{}", cache=True, nogil=True, error_model="numpy")\n'


@dataclass(frozen=True)
class WordFlow:
    r"""The flow $\dot X = $ sum of products, for some matrices X.

    Attributes
    ----------
    rates : mapping of str to Words
        Right-hand side of every moving matrix, in the order in which they are stored.
    shapes : mapping of str to (rows, columns)
        Of the moving and of the constant matrices; letters stand for sizes.
    given : mapping of str to Words
        Abbreviations, each in moving and constant matrices and those before it.
    scalars : tuple of str
        Symbols in the coefficients.

    Examples
    --------
    >>> import numpy as np
    >>> from symkernel.theory.word_flow import WordFlow
    >>> from symkernel.theory.words import Words
    >>> flow = WordFlow({"X": -Words.of("X", "X")}, {"X": ("n", "n")})
    >>> bound = flow.bind({"n": 1}, {})
    >>> assert bound.rate(0.0, np.array([3.0])) == -9 and bound.jacobian(0.0, np.array([3.0])) == -6
    """

    rates: Mapping[str, Words]
    shapes: Shapes
    given: Mapping[str, Words] = field(default_factory=dict)
    scalars: tuple[str, ...] = ()
    rewritings: tuple[Any, ...] = ()

    @property
    def sizes(self) -> tuple[str, ...]:
        """Letters of the sizes."""
        return tuple(dict.fromkeys(letter for shape in self.shapes.values() for letter in shape))

    @property
    def constants(self) -> tuple[str, ...]:
        """Matrices that do not move."""
        return tuple(name for name in self.shapes if name not in self.rates)

    @cached_property
    def expanded(self) -> dict[str, Words]:
        """The rates without abbreviations."""
        found = dict(self.rates)
        for name in reversed(list(self.given)):
            meaning = {name: self.given[name]}
            found = {block: words.substituted(meaning) for block, words in found.items()}
        return found

    def derivatives(self, name: str) -> Iterator[tuple[Factor, Word, Word, sp.Expr]]:
        """Yield, for every moving factor in the rate of a matrix, what stands around it."""
        for word, coefficient in self.expanded[name].terms.items():
            for i, factor in enumerate(word):
                if factor[0] in self.rates:
                    yield factor, word[:i], word[i + 1 :], coefficient

    @cached_property
    def source(self) -> str:
        """The module that is compiled: `rate` and `jacobian` write into their last argument."""
        return _HEAD + self._rate_source() + self._jacobian_source()

    def _signature(self, out: str) -> str:
        parts = ["float64[::1]"] + ["int64"] * len(self.sizes)
        parts += ["float64[:, ::1]"] * len(self.constants) + ["float64"] * len(self.scalars)
        return f"void({', '.join([*parts, out])})"

    def _opening(self, name: str, out: str) -> list[str]:
        """Return the head of a routine, up to the moving matrices."""
        arguments = ["y", *map(_size, self.sizes), *self.constants, *self.scalars, "out"]
        lines = [_DECORATOR.format(self._signature(out)) + f"def {name}({', '.join(arguments)}):"]
        lines.append("    at_0 = 0")
        for k, moving in enumerate(self.rates):
            rows, columns = map(_size, self.shapes[moving])
            lines.append(f"    at_{k + 1} = at_{k} + {rows} * {columns}")
            lines.append(f"    {moving} = y[at_{k} : at_{k + 1}].reshape(({rows}, {columns}))")
        return lines

    def _rate_source(self) -> str:
        lines = self._opening("rate", "float64[::1]")
        lines += [f"    {name} = {printed(words)}" for name, words in self.given.items()]
        for k, words in enumerate(self.rates.values()):
            lines.append(f"    out[at_{k} : at_{k + 1}] = ({printed(words)}).ravel()")
        return "\n".join(lines) + "\n"

    def _jacobian_source(self) -> str:
        lines = [*self._opening("jacobian", "float64[:, ::1]"), "    out[:] = 0.0"]
        moving = list(self.rates)
        for row, name in enumerate(moving):
            rows, columns = map(_size, self.shapes[name])
            for (factor, flipped), before, after, coefficient in self.derivatives(name):
                parts = (
                    f"at_{row}",
                    f"at_{moving.index(factor)}",
                    f"np.ascontiguousarray({_product(before)})" if before else f"np.eye({rows})",
                    f"np.ascontiguousarray({_product(after)})" if after else f"np.eye({columns})",
                    str(flipped),
                    f"float({_number(coefficient)})",
                )
                lines.append(f"    add_product(out, {', '.join(parts)})")
        return "\n".join(lines) + "\n"

    def bind(self, sizes: Mapping[str, int], values: Mapping[str, Any]) -> BoundFlow:
        """Return the flow with numbers for its sizes, its constant matrices and its scalars."""
        from symkernel.codegen.cache import load

        matrices = (np.ascontiguousarray(values[name], dtype=float) for name in self.constants)
        scalars = (float(values[name]) for name in self.scalars)
        lengths = (sizes[letter] for letter in self.sizes)
        return BoundFlow(load(self.source, "word_flow"), (*lengths, *matrices, *scalars))

    def check_jacobian(self) -> Evidence:
        """Compare with SymPy's derivatives of every entry, at small sizes, exactly."""
        sizes = {letter: 2 + k % 2 for k, letter in enumerate(self.sizes)}
        entries = {
            name: _symbols(name, sizes[rows], sizes[columns])
            for name, (rows, columns) in self.shapes.items()
        }
        count = 0
        for name in self.rates:
            rate = self.expanded[name].explicit(entries)
            found = {moving: sp.zeros(len(rate), len(entries[moving])) for moving in self.rates}
            for (factor, flipped), before, after, coefficient in self.derivatives(name):
                left = _explicit(before, entries, rate.rows)
                right = _explicit(after, entries, rate.cols)
                block = coefficient * sp.kronecker_product(left, right.T)
                if flipped:
                    p, q = left.cols, right.rows
                    order = [(k % p) * q + k // p for k in range(p * q)]
                    block = block.extract(list(range(block.rows)), order)
                found[factor] += block
            for moving, block in found.items():
                true = sp.Matrix(list(rate)).jacobian(list(entries[moving]))
                if (block - true).expand() != sp.zeros(*true.shape):
                    return Evidence(False, f"the derivative of the rate of {name} differs")
                count += len(block)
        return Evidence(True, f"{count} entries of the Jacobian equal scalar derivatives exactly")


@dataclass(frozen=True, eq=False)
class BoundFlow:
    """A compiled flow with its numbers, as integrators want it."""

    module: Any
    arguments: tuple[Any, ...]

    def rate(self, _: float, y: np.ndarray) -> np.ndarray:
        """Return the right-hand side."""
        out = np.empty_like(y)
        self.module.rate(np.ascontiguousarray(y), *self.arguments, out)
        return out

    def jacobian(self, _: float, y: np.ndarray) -> np.ndarray:
        """Return the derivative of the right-hand side."""
        out = np.empty((len(y), len(y)))
        self.module.jacobian(np.ascontiguousarray(y), *self.arguments, out)
        return out


def _size(letter: str) -> str:
    return f"n_{letter}"


def _number(coefficient: sp.Expr) -> str:
    return sp.pycode(coefficient, fully_qualified_modules=False)


def _product(word: Word) -> str:
    factors = [f"{name}.T" if flipped else name for name, flipped in word]
    product = factors[0]
    for factor in factors[1:]:
        product = f"np.dot({product}, {factor})"
    return product


def printed(words: Words) -> str:
    """Return a sum of products as NumPy code."""
    terms = (
        _product(word) if c == 1 else f"({_number(c)}) * {_product(word)}"
        for word, c in words.terms.items()
    )
    return " + ".join(terms)


def _symbols(name: str, rows: int, columns: int) -> sp.Matrix:
    return sp.Matrix(rows, columns, sp.symbols(f"{name}_:{rows * columns}", real=True))


def _explicit(word: Word, entries: Mapping[str, sp.Matrix], size: int) -> sp.Matrix:
    return Words({word: sp.S.One}).explicit(entries) if word else sp.eye(size)
