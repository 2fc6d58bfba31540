r"""Permutation symmetries of a task and a network, found from the data.

A permutation of input units and of output units is a symmetry if it maps the samples $(x, y)$ of
every phase, with their weights, onto themselves, and if it maps every slice of the inputs that the
network reads onto itself. What acts on all units alike, activations say, respects it by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from symkernel.errors import InvalidArgument, MissingValues, ShapeMismatch, as_real_array
from symkernel.problem.automorphisms import Permutation, Table, automorphisms, orbits
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.moments import shares_of
from symkernel.problem.network import Network
from symkernel.problem.nodes import Input, Linear, Node, Slice
from symkernel.problem.task import Task

if TYPE_CHECKING:
    from sympy.combinatorics import PermutationGroup

OUTPUT = "output"
# Weights of samples that differ by less, relative to the largest, are the same.
_DIGITS = 9
_MOST_LISTED = 12


@dataclass(frozen=True, eq=False)
class Samples:
    """The different samples of all tasks of a curriculum, each once for each task.

    Attributes
    ----------
    table : Table
        A row for each.
    tasks : tuple of Task
    task : ndarray of int, shape (n_rows,)
        The task of each row.
    first : ndarray of int, shape (n_rows,)
        Position of the (first) sample that a row stands for among those of its task.
    weights : ndarray, shape (n_rows,)
        Their shares of the task's mean.
    """

    table: Table
    tasks: tuple[Task, ...]
    task: np.ndarray
    first: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, tasks: Sequence[Task], columns: np.ndarray) -> Samples:
        """Return the samples of tasks; inputs are told apart by the kinds of their columns."""
        parts = [np.hstack([task.X, task.Y]) for task in tasks]
        coded = np.unique(np.concatenate(parts), return_inverse=True)[1].reshape(-1, len(columns))
        rows, owners, firsts, shares = [], [], [], []
        start = 0
        for k, task in enumerate(tasks):
            mine = coded[start : start + len(task.X)]
            start += len(task.X)
            found, first, which = np.unique(mine, axis=0, return_index=True, return_inverse=True)
            rows.append(found)
            firsts.append(first)
            owners.append(np.full(len(found), k))
            shares.append(np.bincount(which.ravel(), shares_of(task)))
        weights, task_of = np.concatenate(shares), np.concatenate(owners)
        rounded = np.round(weights / weights.max(), _DIGITS)
        kinds = np.unique(np.stack([task_of, rounded]), axis=1, return_inverse=True)[1].ravel()
        table = Table(np.concatenate(rows), kinds, columns)
        return cls(table, tuple(tasks), task_of, np.concatenate(firsts), weights)


@dataclass(frozen=True, eq=False)
class Symmetries:
    """A group of permutations of inputs and outputs under which a problem stays the same.

    Attributes
    ----------
    inputs, outputs : int
    generators : tuple of tuple of int
        Permutations that generate the group: where every input goes, then every output; outputs
        are numbered on from the inputs.
    parts : mapping of str to tuple of int
        Inputs that each weight reads, by the weight's name, and the outputs.
    samples : Samples
    """

    inputs: int
    outputs: int
    generators: tuple[Permutation, ...]
    parts: Mapping[str, tuple[int, ...]]
    samples: Samples

    @cached_property
    def group(self) -> PermutationGroup:
        """The group, as SymPy has it."""
        from sympy.combinatorics import Permutation as Moves
        from sympy.combinatorics import PermutationGroup

        last = self.inputs + self.outputs - 1
        return PermutationGroup([Moves(list(g)) for g in self.generators] or [Moves(last)])

    @property
    def order(self) -> int:
        """Number of permutations, the identity among them."""
        return int(self.group.order())

    @cached_property
    def orbits(self) -> tuple[tuple[int, ...], ...]:
        """Inputs and outputs that are mapped to each other; those that stay are left out."""
        label = orbits(map(np.array, self.generators), self.inputs + self.outputs)
        sets = (tuple(np.flatnonzero(label == k).tolist()) for k in range(label.max() + 1))
        return tuple(one for one in sets if len(one) > 1)

    @cached_property
    def moved(self) -> frozenset[int]:
        """Inputs and outputs that some permutation moves."""
        return frozenset(k for one in self.orbits for k in one)

    def fixing(self, what: object) -> Symmetries:
        """Return the subgroup that leaves some inputs or outputs where they are.

        Parameters
        ----------
        what : str, slice, int, or sequence of them
            The name of a weight, for the inputs that it reads; "output", for all outputs; numbers
            of inputs.
        """
        stay = self._numbers(what) & self.moved
        if not stay:
            return self
        # Of strong generators relative to a base that begins with these points, those that fix
        # them generate all that fixes them.
        strong = self.group.schreier_sims_incremental(base=sorted(stay))[1]
        kept = [g for g in strong if all(g(k) == k for k in stay)]
        return replace(self, generators=tuple(tuple(g.array_form) for g in kept))

    def _numbers(self, what: object) -> set[int]:
        if isinstance(what, str):
            if what not in self.parts:
                raise InvalidArgument(
                    f"Argument 'fixing' must name a weight that reads inputs, or 'output': one of "
                    f"{', '.join(self.parts)}, not {what!r}; numbers of inputs will do too."
                )
            return set(self.parts[what])
        if isinstance(what, slice):
            return set(range(self.inputs)[what])
        if isinstance(what, (int, np.integer)) and not isinstance(what, bool):
            if not 0 <= what < self.inputs:
                raise InvalidArgument(
                    f"Argument 'fixing' must hold numbers of inputs, 0 to {self.inputs - 1}, not "
                    f"{what}."
                )
            return {int(what)}
        if isinstance(what, (Sequence, np.ndarray)):
            return set().union(*(self._numbers(one) for one in what))
        raise InvalidArgument(
            f"Argument 'fixing' must be the name of a weight, 'output', a slice or numbers of "
            f"inputs, not {what!r}."
        )

    @cached_property
    def factors(self) -> Mapping[str, Symmetries]:
        """For each part that moves: the subgroup that leaves it where it is, if there is one."""
        found: dict[tuple[int, ...], tuple[str, Symmetries]] = {}
        for name, part in self.parts.items():
            if set(part) & self.moved and part not in found:
                one = self.fixing(name)
                if one.generators:
                    found[part] = name, one
        return dict(found.values())

    @cached_property
    def is_product(self) -> bool:
        """Whether the group is the direct product of its factors."""
        groups = [one.group for one in self.factors.values()]
        commute = all(
            a * b == b * a
            for k, one in enumerate(groups)
            for other in groups[k + 1 :]
            for a in one.generators
            for b in other.generators
        )
        joint = replace(
            self, generators=tuple(g for one in self.factors.values() for g in one.generators)
        )
        orders = math.prod(one.order for one in self.factors.values())
        return commute and orders == self.order == joint.order

    def name(self, point: int) -> str:
        """Return the name of an input or output: its label, or x0 and y0."""
        first = self.inputs
        side, letter, k = (
            ("inputs", "x", point) if point < first else ("outputs", "y", point - first)
        )
        labels = self.samples.tasks[0].labels.get(side)
        return f"{letter}{k}" if labels is None else labels[k]

    def _listed(self) -> str:
        sets = ["{" + " ".join(map(self.name, one)) + "}" for one in self.orbits]
        more = len(sets) - _MOST_LISTED
        return ", ".join(sets[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")

    def __repr__(self) -> str:
        head = f"Symmetries(order {self.order}; orbits {self._listed() or 'none'})"
        lines = [
            f"  fixing {name!r}: order {one.order}; orbits {one._listed()}"
            for name, one in self.factors.items()
        ]
        last = ["  the whole group is the direct product of these"] if self.is_product else []
        return "\n".join([head, *lines, *last])


def symmetries(
    net: Network, curriculum: Task | Curriculum, generators: object = None
) -> Symmetries:
    r"""Return the permutations of inputs and outputs under which a problem stays the same.

    They map the samples of every phase onto themselves, with their weights, and every slice of
    the inputs that the network reads onto itself. Hidden units stay where they are.

    Parameters
    ----------
    net : Network
        With numbers, without gates.
    curriculum : Task or Curriculum
        Tasks with samples. Values count as the same if they are equal to the last bit.
    generators : sequence of (inputs, outputs), optional
        A subgroup, by permutations that generate it: where every input goes, and every output.
        All permutations are found from the data if not given.

    Returns
    -------
    Symmetries

    Raises
    ------
    InvalidArgument, MissingValues, ShapeMismatch
        For networks and tasks that do not fit, and generators that are no symmetries.

    Notes
    -----
    The search tells units apart by what samples hold of them, again and again, and where that does
    not tell all units apart, one by one, with backtracking: 0.01 s for 243 samples of 18 inputs.
    Tables built to mislead it may take exponentially long.

    Examples
    --------
    >>> import symkernel as sk
    >>> env = sk.environments.Multitasking(groups=3, features=3)
    >>> found = sk.symmetries(env.network(hidden=5), env.single.task)
    >>> assert found.order == 6**3 and found.is_product  # groups of both sides, and features
    >>> assert [one.order for one in found.factors.values()] == [6, 6, 6]
    """
    tasks, parts, columns = _checked(net, curriculum)
    samples = Samples.of(tasks, columns)
    inputs, outputs = int(net.inputs), int(net.outputs)
    if generators is None:
        found = automorphisms(samples.table)
    else:
        found = _as_generators(generators, inputs, outputs, samples.table)
    return Symmetries(inputs, outputs, found, parts, samples)


def inputs_of(node: Node) -> range | None:
    """Return which inputs a node hands on as they are, if it is the input or slices of it."""
    if isinstance(node, Input):
        return range(int(node.size))
    if isinstance(node, Slice):
        whole = inputs_of(node.child)
        return None if whole is None else whole[int(node.start) : int(node.stop)]
    return None


def _checked(
    net: Network, curriculum: Task | Curriculum
) -> tuple[list[Task], dict[str, tuple[int, ...]], np.ndarray]:
    """Return the different tasks, the parts of the inputs and outputs, and kinds of columns."""
    if not isinstance(net, Network):
        raise InvalidArgument(f"Argument 'net' must be a Network, not {net!r}.")
    if not net.is_numeric:
        raise MissingValues("Symmetries are found for networks with numbers; give values first.")
    if net.gates:
        raise InvalidArgument(
            "Argument 'net' must be a network without gates, whose permutations would have to be "
            "those of the samples; give gates as inputs."
        )
    tasks = list(dict.fromkeys(phase.task for phase in Curriculum.of(curriculum).phases))
    for task in tasks:
        if task.X is None or task.teacher is not None:
            raise InvalidArgument(
                "Argument 'curriculum' must hold tasks with samples and numbers, in which "
                "symmetries are found, not moments, symbols or samples drawn anew."
            )
        if (task.inputs, task.outputs) != (net.inputs, net.outputs):
            raise ShapeMismatch(
                f"The network has {net.inputs} inputs and {net.outputs} outputs, a task has "
                f"{task.inputs} and {task.outputs}; they must agree."
            )
    n, read = int(net.inputs), [r for node in net.order if (r := inputs_of(node)) is not None]
    kinds = np.array([[k in r for r in read] for k in range(n)])
    side = np.append(np.unique(kinds, axis=0, return_inverse=True)[1].ravel(), [-1] * net.outputs)
    parts = {
        node.parameter.name: tuple(r)
        for node in net.order
        if isinstance(node, Linear) and (r := inputs_of(node.child)) is not None
    }
    return tasks, parts | {OUTPUT: tuple(range(n, n + int(net.outputs)))}, side


def _as_generators(
    generators: object, inputs: int, outputs: int, table: Table
) -> tuple[Permutation, ...]:
    if not isinstance(generators, Sequence) or isinstance(generators, (str, bytes)):
        raise InvalidArgument(
            f"Argument 'generators' must be a sequence of pairs (where every input goes, where "
            f"every output goes), not {generators!r}."
        )
    found = []
    for k, pair in enumerate(generators):
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise InvalidArgument(
                f"Argument 'generators' must hold pairs (inputs, outputs), not {pair!r}."
            )
        sides = []
        for name, side, count in zip(("inputs", "outputs"), pair, (inputs, outputs), strict=True):
            places = as_real_array(side, f"generators[{k}]", 1)
            if sorted(places) != list(range(count)):
                raise InvalidArgument(
                    f"Argument 'generators' must hold permutations of {count} {name}, each number "
                    f"from 0 to {count - 1} once, not {side!r}."
                )
            sides.append(places.astype(int))
        moves = np.concatenate([sides[0], inputs + sides[1]])
        if not table.is_automorphism(moves):
            raise InvalidArgument(
                f"Argument 'generators' must hold symmetries, but entry {k} does not map the "
                f"samples of every phase, and the slices that the network reads, onto themselves."
            )
        if (moves != np.arange(len(moves))).any():
            found.append(tuple(moves.tolist()))
    return tuple(found)
