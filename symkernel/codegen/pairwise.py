r"""Kernels of pairs of samples that depend on their overlaps alone: $x \cdot x$, $x \cdot x'$.

What depends on one sample alone is found and computed once per sample; in the symmetric case only
one half of the kernel is computed, and its diagonal from the formula for $x' = x$.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import sympy as sp

from symkernel.codegen.blas import one_thread
from symkernel.codegen.printer import source_of, variable
from symkernel.equations import needed_lines
from symkernel.errors import OutsideValidity

__all__ = ["PairFormulas", "PairRoutine"]

Line = tuple[sp.Symbol, sp.Expr]

# Rows of a stripe: its part of every kernel stays in the second-level cache.
_ROWS = 32

_MODULE = """

@numba.njit("void(float64[::1], float64[::1], float64[:, ::1])", cache=True, error_model="numpy")
def samples(own, numbers, table):
{numbers}
    for k in range(own.size):
        {own} = own[k]
{samples}


@numba.njit(error_model="numpy", fastmath={{"contract"}})
def _stripe(overlaps, rows, columns, numbers, out, start, first):
{numbers}
{column}
    for i in range(overlaps.shape[0]):
        given = overlaps[i]
{row}
        for j in range(given.size):
            {overlap} = given[j]
{pair}


@numba.njit("{signature}", cache=True, parallel=True, error_model="numpy")
def kernels(X, X2, table, table2, numbers, out, same):
    n = X.shape[0]
    stripes = (n + {height} - 1) // {height}
    # A long stripe and a short one make a job, so that all jobs are alike in the symmetric case.
    for unsigned in numba.prange((stripes + 1) // 2):
        job = np.int64(unsigned)
        for side in range(2):
            stripe = job if side == 0 else stripes - 1 - job
            if side == 1 and stripe == job:
                continue
            start = {height} * stripe
            stop = min(n, start + {height})
            first = start if same else 0
            overlaps = np.dot(X[start:stop], X2[first:].T)
            _stripe(overlaps, table, table2, numbers, out, start, first)
            if not same:
                continue
            for k in range(out.shape[0]):
                for i in range(start, stop):
                    out[k, i, i] = table[table.shape[0] - out.shape[0] + k, i]
                    for j in range(i + 1, stop):
                        out[k, j, i] = out[k, i, j]
                for j in range(stop, n):
                    for i in range(start, stop):
                        out[k, j, i] = out[k, i, j]
"""

_SAMPLES, _TABLE, _NUMBERS = (
    "Array(float64, 2, 'C', readonly=True)",
    "float64[:, ::1]",
    "float64[::1]",
)
_SIGNATURE = (
    f"void({_SAMPLES}, {_SAMPLES}, {_TABLE}, {_TABLE}, {_NUMBERS}, float64[:, :, ::1], boolean)"
)


@dataclass(frozen=True)
class PairFormulas:
    """Formulas in the form in which they are compiled.

    Attributes
    ----------
    own : Symbol
        The overlap of a sample with itself.
    overlap : Symbol
        That of two samples.
    numbers : tuple of Symbol
        Constants, arguments of the routine.
    samples : tuple of (Symbol, expression)
        What is known of one sample, in `own`.
    partner : mapping of Symbol to Symbol
        From symbols of `samples` at x to those at x'.
    pairs : tuple of (Symbol, expression)
        In `overlap`, and symbols of `samples` of both sides.
    outputs : tuple of Symbol
        Of `pairs`.
    diagonal : tuple of Symbol
        Of `samples`: the outputs at x' = x.
    """

    own: sp.Symbol
    overlap: sp.Symbol
    numbers: tuple[sp.Symbol, ...]
    samples: tuple[Line, ...]
    partner: Mapping[sp.Symbol, sp.Symbol]
    pairs: tuple[Line, ...]
    outputs: tuple[sp.Symbol, ...]
    diagonal: tuple[sp.Symbol, ...]


@dataclass
class _Hoisting:
    """Finds the largest parts that depend on one sample alone, and gives them names."""

    formulas: PairFormulas
    names: dict[sp.Expr, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        constants = set(self.formulas.numbers)
        self.left = set(self.formulas.partner)
        self.right = set(self.formulas.partner.values())
        self.constants = constants
        self.back = {there: here for here, there in self.formulas.partner.items()}

    def side(self, expression: sp.Basic) -> str:
        """Return whose the expression is: constant, left, right or both."""
        symbols = expression.free_symbols - self.constants
        if not symbols:
            return "constant"
        if symbols <= self.left:
            return "left"
        return "right" if symbols <= self.right else "both"

    def lifted(self, expression: sp.Expr) -> sp.Expr:
        """Return the expression with names for those parts."""
        side = self.side(expression)
        if side == "constant":
            return expression
        if side != "both":
            return self._named(expression, side)
        if expression.is_Symbol:
            return expression
        if not isinstance(expression, (sp.Add, sp.Mul)):
            return expression.func(*map(self._lifted_argument, expression.args))
        groups: dict[str, list[sp.Expr]] = {}
        for part in expression.args:
            groups.setdefault(self.side(part), []).append(part)
        # Constants go along with a side: they are then multiplied or added once per sample.
        for side in ("left", "right"):
            if side in groups and isinstance(expression, sp.Mul):
                groups[side] += groups.pop("constant", [])
        done = [self.lifted(part) for part in groups.pop("both", [])]
        for side, parts in groups.items():
            whole = expression.func(*parts)
            done.append(whole if side == "constant" else self._named(whole, side))
        return expression.func(*done)

    def _lifted_argument(self, part: sp.Basic) -> sp.Basic:
        return self.lifted(part) if isinstance(part, sp.Expr) else part

    def _named(self, expression: sp.Expr, side: str) -> sp.Symbol:
        own = expression.xreplace(self.back) if side == "right" else expression
        k = self.names.setdefault(own, len(self.names))
        return sp.Symbol(f"{side}{k}")


@dataclass(frozen=True)
class PairRoutine:
    """Compiled kernels of pairs; compilation happens at the first call, once per machine."""

    formulas: PairFormulas

    @cached_property
    def _parts(self) -> tuple[str, int]:
        return _source(self.formulas)

    @property
    def source(self) -> str:
        """The module that is compiled."""
        return self._parts[0]

    @cached_property
    def _module(self) -> Any:
        from symkernel.codegen.cache import load

        return load(self.source, "pairs")

    def __call__(self, X: Any, X2: Any | None, numbers: Any) -> Any:
        """Return the outputs, an array (n_outputs, n_samples, n_samples2).

        Parameters
        ----------
        X, X2 : ndarray, shape (n_samples, n_inputs)
            Contiguous; X2 may be None for the symmetric case.
        numbers : ndarray
            Values of the constants.
        """
        import numpy as np

        module = self._module
        table = self._table(X, numbers)
        out = np.empty((len(self.formulas.outputs), len(X), len(X if X2 is None else X2)))
        with one_thread():
            if X2 is None:
                module.kernels(X, X, table, table, numbers, out, True)
            else:
                module.kernels(X, X2, table, self._table(X2, numbers), numbers, out, False)
        return out

    def _table(self, X: Any, numbers: Any) -> Any:
        import numpy as np

        table = np.empty((self._parts[1], len(X)))
        with np.errstate(over="ignore"):
            own = np.einsum("ij,ij->i", X, X)
        self._module.samples(own, numbers, table)
        # Overlaps of two samples, and kernels, are bounded by those of each with itself.
        bad = ~(np.isfinite(own) & np.isfinite(table).all(axis=0))
        if bad.any():
            raise OutsideValidity(
                f"The kernels leave the floating-point numbers at sample {int(bad.argmax())}, "
                f"whose squared length is {own[bad.argmax()]:g}; scale the inputs down."
            )
        return table


def _source(formulas: PairFormulas) -> tuple[str, int]:
    """Return the module, and the number of rows of the table of samples."""
    from symkernel.numerics import angles, elementary

    pairs = needed_lines(formulas.pairs, formulas.outputs)
    hoisting = _Hoisting(formulas)
    body = [(symbol, hoisting.lifted(expression)) for symbol, expression in pairs]
    lifted = [*hoisting.names, *formulas.diagonal]
    lines = needed_lines(formulas.samples, [q for e in lifted for q in e.free_symbols])
    table = [f"table[{k}, k] = {source_of(e)}" for k, e in enumerate(lifted)]
    used = set().union(*(e.free_symbols for _, e in body))
    known = range(len(hoisting.names))
    rights = [k for k in known if sp.Symbol(f"right{k}") in used]
    # Views of whole rows: an index that may be negative would keep the loop from vectorising.
    column = [f"column{k} = columns[{k}, first:]" for k in rights]
    row = [f"v_left{k} = rows[{k}, start + i]" for k in known if sp.Symbol(f"left{k}") in used]
    row += [f"out{k} = out[{k}, start + i, first:]" for k in range(len(formulas.outputs))]
    pair = [f"v_right{k} = column{k}[j]" for k in rights] + _written(body)
    pair += [f"out{k}[j] = {variable(q)}" for k, q in enumerate(formulas.outputs)]
    texts = [inspect.getsource(elementary)]
    texts.append(inspect.getsource(angles).replace("from __future__ import annotations\n", ""))
    text = _MODULE.format(
        numbers=_indented(
            [f"{variable(q)} = numbers[{k}]" for k, q in enumerate(formulas.numbers)], 4
        ),
        own=variable(formulas.own),
        overlap=variable(formulas.overlap),
        samples=_indented(_written(lines) + table, 8),
        column=_indented(column, 4),
        row=_indented(row, 8),
        pair=_indented(pair, 12),
        signature=_SIGNATURE,
        height=_ROWS,
    )
    return "\n".join([*texts, text]), len(lifted)


def _written(lines: Iterable[Line]) -> list[str]:
    # The body of numerics/angles.py vectorises.
    return [
        f"{variable(symbol)} = {source_of(expression)}".replace("math.asin(", "arcsine(")
        for symbol, expression in lines
    ]


def _indented(lines: Sequence[str], by: int) -> str:
    return "\n".join(" " * by + line for line in lines)
