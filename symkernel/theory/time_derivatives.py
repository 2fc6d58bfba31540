r"""Time derivatives of small networks at the start of training, exactly, and their power series.

Along gradient flow any function $p$ of the parameters moves by its kernel with the outputs,
$\dot p = -2\kappa\sum_i c_i K_{p,f}(x_i)\, r(x_i)$. Differentiated again and again,

$$\partial_t^n p = -2\kappa \sum_i c_i \sum_{k<n} \binom{n-1}{k}\,
    \partial_t^{n-1-k} K_{p,f}(x_i)\; \partial_t^k r(x_i),$$

which is a hierarchy: residuals move by the tangent kernel, kernels by what they are made of, and
that by the residuals again. Every line of it is a polynomial in names explained before; the first
ones are the weights. Nothing is expanded.

Notes
-----
A truncated series holds for small $t$ only: the flow is analytic where activations are, with a
radius of convergence that the last coefficients hint at (`SeriesRoutine.error_estimate`,
`valid_until`), and no more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sympy as sp

from symkernel import notation
from symkernel.check_report import CheckReport
from symkernel.equations import needed_lines
from symkernel.errors import InvalidArgument, as_count
from symkernel.problem.loss import SquaredError
from symkernel.problem.network import Network
from symkernel.problem.nodes import Node
from symkernel.problem.task import Task
from symkernel.theory.time_derivatives_formula import TimeDerivative, hierarchy
from symkernel.theory.time_derivatives_jets import Jets, Quantity
from symkernel.theory.time_derivatives_network import Data, MovingNetwork
from symkernel.theory.time_derivatives_problem import (
    check_activations,
    check_size,
    data_of,
    initial_weights,
)

if TYPE_CHECKING:
    from symkernel.theory.time_derivatives_routine import SeriesRoutine

__all__ = ["TimeDerivative", "TimeDerivatives", "time_derivatives"]


@dataclass(frozen=True, eq=False)
class TimeDerivatives:
    """Time derivatives at time 0, up to some order, of what is computed at the samples.

    Attributes
    ----------
    net : Network
    data : Data
        Samples, exact: floating-point numbers stand for the fractions that they are.
    loss : SquaredError
    order : int
    of : str
        "output", another node, or "ntk".
    start : mapping of Symbol to expression
        Initial weights that are given; the others are symbols.
    """

    net: Network
    data: Data
    loss: SquaredError
    order: int
    of: str
    start: Mapping[sp.Symbol, sp.Expr]

    def __repr__(self) -> str:
        samples = len(self.data.samples)
        return f"TimeDerivatives({self.of} at {samples} samples, orders 0 to {self.order})"

    @cached_property
    def moving(self) -> MovingNetwork:
        """The quantities of the network and what moves them."""
        return MovingNetwork(self.net, self.data, self.loss)

    @cached_property
    def quantities(self) -> tuple[Quantity, ...]:
        """What is differentiated, in the order of the matrix's entries."""
        node = self._node
        places = [(node, j, i) for i in self.data.samples for j in range(int(node.size))]
        if self.of != "ntk":
            return tuple(self.moving.driven(place) for place in places)
        return tuple(self.moving.kernel(p, q) for p in places for q in places)

    @property
    def _node(self) -> Node:
        return self.net.output if self.of == "ntk" else self.net.node(self.of)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_samples, size), of kernels (n_samples, n_outputs, n_samples, n_outputs)."""
        one = (len(self.data.samples), int(self._node.size))
        return one if self.of != "ntk" else one + one

    @cached_property
    def jets(self) -> Jets:
        """All lines, up to the highest order."""
        jets = Jets()
        for order in range(self.order + 1):
            for quantity in self.quantities:
                jets(quantity, order)
        return jets

    def symbols(self, order: int) -> sp.ImmutableMatrix:
        """Return the names of a derivative's entries (a number where it is one)."""
        return self._matrix([self.jets(quantity, order) for quantity in self.quantities])

    def _matrix(self, entries: Sequence[sp.Expr]) -> sp.ImmutableMatrix:
        rows = math.prod(self.shape[: len(self.shape) // 2]) if self.of == "ntk" else self.shape[0]
        return sp.ImmutableMatrix(rows, len(entries) // rows, entries)

    @cached_property
    def orders(self) -> tuple[TimeDerivative, ...]:
        """The derivatives of order 0, 1, ...: formulas with "where" lines."""
        return tuple(self._order(n) for n in range(self.order + 1))

    def _order(self, n: int) -> TimeDerivative:
        expression = self._matrix([self.jets.expression(q, n) for q in self.quantities])
        title = f"time derivative of order {n} of {self.of}" if n else self.of
        return self._formula(title, "" if n == 0 else f"_t{n}", expression, n)

    def _formula(
        self, title: str, mark: str, expression: sp.ImmutableMatrix, n: int
    ) -> TimeDerivative:
        symbol = sp.Symbol({"ntk": "K", "output": "f"}.get(self.of, "p") + mark, real=True)
        entries = tuple(self.jets.symbol(quantity, n) for quantity in self.quantities)
        lines = [*self.start.items(), *self.jets.lines.items()]
        where = tuple(needed_lines(lines, expression.free_symbols))
        return TimeDerivative(title, symbol, expression, where, entries, self.jets.texts)

    def series(self, t: sp.Symbol = notation.t) -> TimeDerivative:
        r"""Return $\sum_n \partial_t^n p\, t^n/n!$, a polynomial in t in names of derivatives.

        It holds for small t only; see `SeriesRoutine.error_estimate`.

        Parameters
        ----------
        t : sympy.Symbol
            The flow time.
        """
        if not isinstance(t, sp.Symbol) or t in self.free_symbols or t in self.jets.lines:
            raise InvalidArgument(
                f"Argument 't' must be a SymPy symbol that means nothing else here, not {t!r}."
            )
        terms = [
            self.symbols(n).applyfunc(lambda e, n=n: e * t**n / math.factorial(n))
            for n in range(self.order + 1)
        ]
        expression = sp.ImmutableMatrix(sum(terms[1:], terms[0]))
        title = f"power series of {self.of} to order {self.order} in the flow time"
        return replace(self._formula(title, "", expression, 0), powers=(t, self.order))

    @property
    def weights(self) -> tuple[sp.Symbol, ...]:
        """Symbols of all entries of the parameters, in their order."""
        return tuple(
            sp.Symbol("_".join([p.name, *map(str, place)]), real=True)
            for p in self.net.parameters
            for place in _places(p.shape)
        )

    @cached_property
    def free_symbols(self) -> set[sp.Symbol]:
        """Symbols of data, loss, scales, rates and given weights, and weights not given."""
        given = [*self.data.X, *self.data.Y, *self.start.values(), self.loss.factor]
        given += [factor for p in self.net.parameters for factor in (p.scale, p.rate)]
        mine = set().union(*(entry.free_symbols for entry in given))
        return mine | (set(self.weights) - set(self.start))

    def latex(self, names: Mapping[str, str] | None = None) -> str:
        """Return the hierarchy in kernels as an ``aligned`` block, order by order.

        The entries, in the weights, are those of ``orders[n].latex()``.
        """
        return hierarchy(self.of, self.order, self.loss.factor, names)

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def compile(self, values: Mapping[sp.Symbol, object] | None = None) -> SeriesRoutine:
        """Return the power series as a compiled function of times and initial weights.

        Parameters
        ----------
        values : mapping of Symbol to number, optional
            For symbols of data, loss, scales, rates and given weights.

        Returns
        -------
        SeriesRoutine
            ``routine(times, weights=None)``, an array (n_times,) + `shape`.
        """
        from symkernel.theory.time_derivatives_routine import SeriesRoutine

        return SeriesRoutine(self, dict(values or {}))

    def check(self, seed: int = 0) -> CheckReport:
        """Judge the hierarchy against blind differentiation and against the integrated flow.

        Symbols without a value get rational numbers drawn from the seed.
        """
        from symkernel.theory.time_derivatives_checks import check

        return check(self, seed)


def time_derivatives(
    net: Network,
    task: Task,
    order: int = 3,
    of: str = "output",
    weights: Any = None,
    loss: SquaredError | None = None,
    *,
    most_operations: float = 30_000,
) -> TimeDerivatives:
    r"""Return the time derivatives of a small network at the start of training, exactly.

    Parameters
    ----------
    net : Network
        Of given sizes, with smooth activations.
    task : Task
        With samples: numbers, or SymPy matrices with symbols.
    order : int
        Highest order, 1 or more.
    of : str
        "output", "hidden" or another node, or "ntk" for the tangent kernel at the samples.
    weights : Weights, or mapping or sequence of arrays or SymPy matrices, optional
        Initial weights; symbols ``W1_0_2`` (row, column) and so on if not given.
    loss : SquaredError, optional
        Without weight decay.
    most_operations : number
        Refuse what is estimated to take more operations, before any work is done. SymPy writes
        some thousands of them in a second; compiling them takes longer, but is done once.

    Returns
    -------
    TimeDerivatives
        With `orders`, `series`, `latex`, `compile` and `check`.

    Raises
    ------
    InvalidArgument
        If the activation lacks a derivative that is needed, if the network is too large, for
        tasks without samples, and for weight decay.

    References
    ----------
    J. Huang, H.-T. Yau, Dynamics of deep neural networks and neural tangent hierarchy,
    arXiv:1909.08156 (2019): the hierarchy of kernels. Here its orders are derived from the
    network's expression, and kept as polynomials in activities and backward signals.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> net = sk.Network.two_layer(2, 2, 1, activation="tanh")
    >>> task = sk.Task(np.eye(2), np.array([[1.0], [-1.0]]))
    >>> w0 = sk.weights.gaussian(net, seed=0)
    >>> series = sk.time_derivatives(net, task, order=4, weights=w0).compile()
    >>> flow = sk.simulate(net, task, w0, learning_rate=1e-4, record=[0.0, 0.1])
    >>> assert np.allclose(series([0.0, 0.1]), flow.outputs, atol=1e-5)
    """
    for value, kind, name in ((net, Network, "net"), (task, Task, "task")):
        if not isinstance(value, kind):
            raise InvalidArgument(
                f"Argument '{name}' must be a {kind.__name__}, not {type(value).__name__}."
            )
    loss = SquaredError() if loss is None else loss
    if not isinstance(loss, SquaredError) or loss.weight_decay != 0:
        raise InvalidArgument(
            "Argument 'loss' must be a SquaredError without weight decay, which moves outputs "
            f"besides their kernels, not {loss!r}."
        )
    highest = as_count(order, "order")
    if not isinstance(of, str):
        raise InvalidArgument(f"Argument 'of' must be the name of a node or 'ntk', not {of!r}.")
    node = net.output if of == "ntk" else net.node(of)
    data = data_of(net, task)
    check_size(net, data, highest, node, of, most_operations)
    check_activations(net, highest + (of == "ntk"))
    found = TimeDerivatives(net, data, loss, highest, of, initial_weights(net, weights))
    _check_names(found)
    return found


def _check_names(found: TimeDerivatives) -> None:
    """Refuse symbols and parameters that are called like something of the hierarchy."""
    weights = {q.name for q in found.weights}
    lines = {q.name for q in found.jets.lines}
    others = {q.name for q in found.free_symbols - set(found.weights)}
    clashes = (others & (weights | lines | {notation.t.name})) | (weights & lines)
    if clashes:
        raise InvalidArgument(
            f"The symbol or weight '{min(clashes)}' is a name of the hierarchy too; give yours "
            f"another name."
        )


def _places(shape: tuple) -> list[tuple[int, ...]]:
    rows = range(int(shape[0]))
    if len(shape) == 1:
        return [(j,) for j in rows]
    return [(j, k) for j in rows for k in range(int(shape[1]))]
