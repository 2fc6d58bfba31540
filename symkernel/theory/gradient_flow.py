r"""From network and loss to gradient flow: loss as a trace, its gradients, what they conserve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from symkernel.errors import NoClosedForm
from symkernel.formula import Evidence, Step
from symkernel.problem.loss import SquaredError
from symkernel.problem.network import Network
from symkernel.problem.nodes import Apply, Input, Linear, Sum, described
from symkernel.problem.scalars import as_sympy
from symkernel.theory.words import Words, derivative, still, trace_gradient

# Small unequal sizes on which matrix identities are checked entry by entry.
_SMALL = {"inputs": 3, "hidden": 2, "outputs": 2}


@dataclass(frozen=True)
class GradientFlow:
    r"""Gradient flow of a linear network on squared error, at matrix level.

    Attributes
    ----------
    network : Network
    loss : SquaredError
    """

    network: Network
    loss: SquaredError

    @cached_property
    def output(self) -> Words:
        """The network's output as words that end in the input x."""
        memo: dict[object, Words] = {}
        for node in self.network.order:
            if isinstance(node, Input):
                memo[node] = Words.of("x")
            elif isinstance(node, Linear) and node.parameter.kind == "dense":
                head = Words.of(node.parameter.name, coefficient=node.parameter.scale)
                memo[node] = head @ memo[node.child]
            elif isinstance(node, Apply) and node.activation.is_linear:
                memo[node] = memo[node.child]
            elif isinstance(node, Sum):
                memo[node] = sum((memo[term] for term in node.terms), Words({}))
            else:
                raise NoClosedForm(
                    f"The matrix-level gradient flow covers dense linear layers and sums, but the "
                    f"network has {described(node)}; simulate it, or use its kernels."
                )
        return memo[self.network.output]

    @cached_property
    def expected_loss(self) -> Words:
        """The loss as the trace of words in the weights and the second moments."""
        residual = Words.of("y") - self.output
        squared = (residual @ residual.transposed()).scaled(self.loss.factor)
        moments = {
            (("y", False), ("y", True)): Words.of("Syy"),
            (("y", False), ("x", True)): Words.of("Syx"),
            (("x", False), ("y", True)): Words.of("Syx'"),
            (("x", False), ("x", True)): Words.of("Sxx"),
        }
        return squared.reduced(moments)

    @cached_property
    def flow(self) -> dict[str, Words]:
        """Right-hand side of the flow of each trained parameter, its own rate included."""
        return {
            p.name: _symmetric(trace_gradient(self.expected_loss, p.name)).scaled(-p.rate)
            + self.shrinking[p.name]
            for p in self.network.parameters
            if p.trained
        }

    @cached_property
    def shrinking(self) -> dict[str, Words]:
        """What weight decay adds to the flow: it shrinks each layer at that layer's own rate."""
        decay = self.loss.weight_decay
        return {
            p.name: Words.of(p.name, coefficient=-decay * p.rate)
            for p in self.network.parameters
            if p.trained
        }

    @cached_property
    def conserved(self) -> tuple[Words, ...]:
        r"""Quadratic forms C in the weights that the loss does not move, found as a null space.

        The ansatz is every combination of $W W^T$ and $W^T W$ of one shape. Weight decay shrinks
        them: as $e^{-2\gamma t}$ where all layers decay at one rate $\gamma$. Otherwise it moves
        them, each of their terms at a rate of its own, and C = 0 does not last.
        """
        groups: dict[sp.Expr, list[Words]] = {}
        for p in self.network.parameters:
            rows, columns = p.shape
            groups.setdefault(as_sympy(rows), []).append(Words.of(p.name, p.name + "'"))
            groups.setdefault(as_sympy(columns), []).append(Words.of(p.name + "'", p.name))
        found: list[Words] = []
        for candidates in groups.values():
            rates = [_symmetric(derivative(c, self.flow)) - self.fall(c) for c in candidates]
            found += still(candidates, rates)
        return tuple(found)

    @cached_property
    def shapes(self) -> dict[str, tuple[sp.Expr, sp.Expr]]:
        """Shapes of weights and moments."""
        i, o = as_sympy(self.network.inputs), as_sympy(self.network.outputs)
        weights = {p.name: (p.shape[0], p.shape[1]) for p in self.network.parameters}
        return {**weights, "Sxx": (i, i), "Syx": (o, i), "Syy": (o, o)}

    def steps(self) -> tuple[Step, ...]:
        """Gradient flow and conserved quantities, each with its check."""
        flow_equations = tuple(
            sp.Eq(rate_of(name, self.shapes), words.matrix(self.shapes), evaluate=False)
            for name, words in self.flow.items()
        )
        first = Step(
            "Gradient flow",
            "each weight follows minus the gradient of the expected loss, which depends on the "
            "data through second moments alone",
            flow_equations,
            lambda: check_gradients(self.loss, self.network),
        )
        kept = tuple(
            sp.Eq(Rate(words.matrix(self.shapes)), self._falling(words), evaluate=False)
            for words in self.conserved
        )
        falls = self._falls
        second = Step(
            "Conserved quantity",
            f"the combination of squared weights whose rate of change vanishes identically{falls} "
            f"(null space of the product rule)",
            kept,
            lambda: check_conserved(self),
        )
        return first, second

    @property
    def _falls(self) -> str:
        """Say what weight decay does to the conserved quantities."""
        if self.loss.weight_decay == 0:
            return ""
        alike = len({p.rate for p in self.network.parameters if p.trained}) == 1
        return (
            ", but for the common decay"
            if alike
            else ", but for the decay: its rates differ, so that what is balanced does not stay so"
        )

    def _falling(self, words: Words) -> sp.MatrixExpr:
        rate, shape = self.fall(words), words.matrix(self.shapes).shape
        return rate.matrix(self.shapes) if rate.terms else sp.ZeroMatrix(*shape)

    def fall(self, words: Words) -> Words:
        """Return the rate of change of a conserved quantity: what weight decay does to it."""
        return derivative(words, self.shrinking)


class Rate(sp.MatrixExpr):
    """Time derivative of a matrix expression, for display."""

    @property
    def shape(self) -> tuple[sp.Expr, sp.Expr]:
        """Shape of the matrix."""
        return self.args[0].shape

    def _latex(self, printer: object) -> str:
        body = printer._print(self.args[0])  # type: ignore[attr-defined]
        if isinstance(self.args[0], sp.MatrixSymbol):
            letter, _, index = body.partition("_")
            return rf"\dot{{{letter}}}_{index}" if index else rf"\dot{{{body}}}"
        return rf"\frac{{d}}{{dt}}\left({body}\right)"

    def _sympystr(self, printer: object) -> str:
        return f"d/dt({printer._print(self.args[0])})"  # type: ignore[attr-defined]


def rate_of(name: str, shapes: Mapping[str, tuple[sp.Expr, sp.Expr]]) -> sp.MatrixExpr:
    """Return the time derivative of a named matrix, for display."""
    return Rate(sp.MatrixSymbol(name, *shapes[name]))


def _symmetric(words: Words) -> Words:
    """Return the words with the transposes of symmetric moments removed."""
    return Words.collect(
        (tuple((n, f and n not in ("Sxx", "Syy")) for n, f in word), c)
        for word, c in words.terms.items()
    )


def _small_values(network: Network) -> dict[str, sp.Matrix]:
    """Return weights and moments of the chain at small sizes, with symbolic entries."""
    sizes = [_SMALL["inputs"]]
    depth = len(network.parameters)
    sizes += [_SMALL["hidden"]] * (depth - 1) + [_SMALL["outputs"]]
    entries = {
        p.name: sp.Matrix(
            sizes[k + 1], sizes[k], lambda i, j, q=p.name: sp.Symbol(f"{q}_{i}{j}", real=True)
        )
        for k, p in enumerate(network.parameters)
    }
    i, o = sizes[0], sizes[-1]
    for name, (rows, columns) in {"Sxx": (i, i), "Syx": (o, i), "Syy": (o, o)}.items():
        symmetric = rows == columns
        entries[name] = sp.Matrix(
            rows,
            columns,
            lambda r, c, q=name, z=symmetric: sp.Symbol(
                f"{q}_{min(r, c)}{max(r, c)}" if z else f"{q}_{r}{c}", real=True
            ),
        )
    return entries


def check_gradients(loss: SquaredError, network: Network) -> Evidence:
    """Compare the matrix gradients with SymPy's scalar derivatives, entry by entry."""
    system = GradientFlow(network, loss)
    values = _small_values(network)
    scalar = system.expected_loss.explicit(values).trace()
    rates = {p.name: p.rate for p in network.parameters}
    squares = sum(entry**2 for name in system.flow for entry in values[name])
    scalar += loss.weight_decay / 2 * squares
    entries = 0
    for name, words in system.flow.items():
        matrix = words.explicit(values)
        for k, variable in enumerate(values[name]):
            if sp.expand(matrix[k] + rates[name] * sp.diff(scalar, variable)) != 0:
                return Evidence(False, f"gradient of {name}, entry {k}, differs")
            entries += 1
    return Evidence(True, f"{entries} entries equal scalar derivatives exactly")


def check_conserved(system: GradientFlow) -> Evidence:
    """Differentiate the conserved quantities along the flow on explicit matrices."""
    values = _small_values(system.network)
    rates = {name: words.explicit(values) for name, words in system.flow.items()}
    entries = 0
    for words in system.conserved:
        body, fall = words.explicit(values), system.fall(words)
        fallen = fall.explicit(values) if fall.terms else sp.zeros(*body.shape)
        for entry, known in zip(body, fallen, strict=True):
            rate = -known + sum(
                sp.diff(entry, variable) * rates[name][k]
                for name in rates
                for k, variable in enumerate(values[name])
            )
            if sp.expand(rate) != 0:
                return Evidence(False, "a conserved quantity moves")
            entries += 1
    if not entries:
        return Evidence(False, "no conserved quantity was found")
    return Evidence(True, f"{entries} entries have rate of change exactly 0")
