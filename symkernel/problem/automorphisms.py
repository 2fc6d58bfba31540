r"""Automorphisms of a table: permutations of its columns that map the rows onto themselves.

Columns and rows are coloured, and colours are refined until every colour tells all that rows and
columns know of each other; then columns are told apart one by one. Where two of them cannot be
told apart, a permutation that exchanges them is looked for, and found ones save the search of what
they lead to: their number stays below the logarithm of the group's order.

References
----------
The search tree of individualisation and refinement: J. L. López-Presa, L. F. Chiroque,
A. Fernández Anta, Journal of Applied Mathematics 2014, 934637.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Permutation = tuple[int, ...]

_MIXED = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))


def _hashed(values: np.ndarray) -> np.ndarray:
    """Return numbers that have nothing to do with each other, the same for the same values."""
    found = values + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in zip(_SHIFTS, _MIXED, strict=False):
        found = (found ^ (found >> shift)) * factor
    return found ^ (found >> _SHIFTS[2])


@dataclass(frozen=True, eq=False)
class Table:
    """A table whose columns may be permuted, and its rows with them.

    Attributes
    ----------
    values : ndarray of int, shape (n_rows, n_columns)
        What stands in the table, by number.
    rows : ndarray of int, shape (n_rows,)
        Kinds of rows; no two rows of one kind are alike.
    columns : ndarray of int, shape (n_columns,)
        Kinds of columns: a column is mapped to one of its kind.
    """

    values: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    @cached_property
    def _entries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row, column and hashed value of all entries but those of the most frequent value."""
        frequent = np.bincount(self.values.ravel()).argmax()
        row, column = np.nonzero(self.values != frequent)
        return row, column, _hashed(self.values[row, column].astype(np.uint64))

    @cached_property
    def _by_column(self) -> np.ndarray:
        return np.argsort(self._entries[1], kind="stable")

    def refined(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the colours refined: by what stands where, until no colour splits any more."""
        row, column, value = self._entries
        turned = self._by_column
        count = -1
        while count < (found := len(np.unique(rows)) + len(np.unique(columns))):
            count = found
            seen = _sums(row, value * columns[column], len(rows))
            rows = _hashed(rows ^ _hashed(seen))
            seen = _sums(column[turned], (value * rows[row])[turned], len(columns))
            columns = _hashed(columns ^ _hashed(seen))
        return rows, columns

    @cached_property
    def colours(self) -> tuple[np.ndarray, np.ndarray]:
        """Colours of rows and columns before any column is told apart."""
        kinds = (_hashed(kind.astype(np.uint64)) for kind in (self.rows, self.columns))
        rows, columns = kinds
        return self.refined(rows, columns)

    def is_automorphism(self, permutation: np.ndarray) -> bool:
        """Return whether moving column k to `permutation[k]` maps the rows onto themselves."""
        if (self.columns[permutation] != self.columns).any():
            return False
        moved = np.empty_like(self.values)
        moved[:, permutation] = self.values
        before, after = (self._sorted(values) for values in (self.values, moved))
        kinds = (self.rows[before] == self.rows[after]).all()
        return bool(kinds and (self.values[before] == moved[after]).all())

    def row_move(self, permutation: np.ndarray) -> np.ndarray:
        """Return where each row goes under an automorphism."""
        moved = np.empty_like(self.values)
        moved[:, permutation] = self.values
        found = np.empty(len(moved), dtype=np.intp)
        found[self._sorted(moved)] = self._sorted(self.values)
        return found

    def _sorted(self, values: np.ndarray) -> np.ndarray:
        keys = _hashed(np.arange(values.shape[1], dtype=np.uint64))
        name = (_hashed(values.astype(np.uint64)) * keys).sum(1)
        return np.argsort(name + _hashed(self.rows.astype(np.uint64)), kind="stable")


def _sums(place: np.ndarray, value: np.ndarray, count: int) -> np.ndarray:
    """Return sums of values by place, places in increasing order, modulo 2^64."""
    ends = np.searchsorted(place, np.arange(count + 1))
    total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(value, dtype=np.uint64)])
    return total[ends[1:]] - total[ends[:-1]]


Colours = tuple[np.ndarray, np.ndarray]


def automorphisms(table: Table) -> tuple[Permutation, ...]:
    """Return permutations that generate all automorphisms of a table.

    Returns
    -------
    tuple of tuple of int
        Where each column goes; none if there is no automorphism but the identity.
    """
    path = [table.colours]
    base: list[int] = []
    while (cell := _cell(path[-1][1])) is not None:
        base.append(int(cell[0]))
        path.append(_told_apart(table, path[-1], base[-1]))
    found: list[Permutation] = []
    # From the end of the path on: what is found further down fixes all that stands above it.
    for depth in reversed(range(len(base))):
        tried = {base[depth]}
        for column in _cell_of(path[depth][1], base[depth]):
            if int(column) in _orbit(tried, found):
                continue
            one = _exchange(table, base[depth], int(column)) or _first(
                table, path, base, depth, _told_apart(table, path[depth], int(column))
            )
            if one is None:
                tried.add(int(column))
            else:
                found.append(one)
    return tuple(found)


def _exchange(table: Table, one: int, other: int) -> Permutation | None:
    """Return the exchange of two columns that hold the same."""
    if (table.values[:, one] != table.values[:, other]).any():
        return None
    places = list(range(table.values.shape[1]))
    places[one], places[other] = other, one
    return tuple(places)


def _told_apart(table: Table, colours: Colours, column: int) -> Colours:
    rows, columns = colours[0], colours[1].copy()
    columns[column] = _hashed(columns[column : column + 1] ^ _MIXED[0])[0]
    return table.refined(rows, columns)


def _cell(columns: np.ndarray) -> np.ndarray | None:
    """Return the columns of the first colour that several have, None if all are told apart."""
    _, inverse, counts = np.unique(columns, return_inverse=True, return_counts=True)
    several = np.flatnonzero(counts[inverse] > 1)
    return None if len(several) == 0 else _cell_of(columns, int(several[0]))


def _cell_of(columns: np.ndarray, column: int) -> np.ndarray:
    return np.flatnonzero(columns == columns[column])


def _orbit(seeds: set[int], generators: list[Permutation]) -> set[int]:
    """Return everywhere that permutations take some columns."""
    found, new = set(seeds), set(seeds)
    while new:
        new = {one[k] for one in generators for k in new} - found
        found |= new
    return found


def _first(
    table: Table, path: list[Colours], base: list[int], depth: int, other: Colours
) -> Permutation | None:
    """Return an automorphism that takes the colours of the path to other ones at this depth."""
    mine = path[depth + 1]
    if not all(np.array_equal(np.sort(a), np.sort(b)) for a, b in zip(mine, other, strict=True)):
        return None
    if depth + 1 == len(base):
        permutation = np.empty(len(mine[1]), dtype=np.intp)
        permutation[np.argsort(mine[1])] = np.argsort(other[1])
        return tuple(permutation.tolist()) if table.is_automorphism(permutation) else None
    wanted = mine[1][base[depth + 1]]
    for column in np.flatnonzero(other[1] == wanted):
        told = _told_apart(table, other, int(column))
        found = _first(table, path, base, depth + 1, told)
        if found is not None:
            return found
    return None


def orbits(moves: Iterable[np.ndarray], count: int) -> np.ndarray:
    """Return the number of the orbit of each of so many points, in order of their first ones."""
    label, moves, changed = np.arange(count), list(moves), True
    while changed:
        before = label.copy()
        for move in moves:
            low = np.minimum(label, label[move])
            np.minimum.at(low, move, low.copy())
            label = low
        label = label[label]
        changed = bool((label != before).any())
    return np.unique(label, return_inverse=True)[1]
