r"""Gradient flow of gated deep linear networks: an average over contexts.

In context $k$ the network is linear, $f_k = \sum W_D \cdots W_1$ over the products that are open,
and the loss is the mean over contexts of the losses inside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Step
from symkernel.problem.nodes import Gate, Linear, Node, Sum
from symkernel.problem.pathways import Path, Pathway, open_paths
from symkernel.problem.scalars import as_sympy
from symkernel.theory.gradient_flow import GradientFlow
from symkernel.theory.words import Words, derivative, still

# Sizes on which matrix identities are checked: numbers that no entry has in common.
_UNITS = 2


@dataclass(frozen=True)
class ContextFlow(GradientFlow):
    r"""The flow of a gated deep linear network in equiprobable contexts.

    The second moment of the inputs, `Sxx`, is the same in every context; `Syx0`, `Syx1`, ... are
    the cross moments inside the contexts.

    Attributes
    ----------
    contexts : tuple of mapping
        The gates of each context by name, 1 or 0.
    pathways : tuple of Pathway
    """

    contexts: tuple[Mapping[str, float], ...]
    pathways: tuple[Pathway, ...]

    @cached_property
    def outputs(self) -> tuple[Words, ...]:
        """The network's output in each context, as words that end in the input x."""
        return tuple(
            _words(open_paths(self.network, gates)) @ Words.of("x") for gates in self.contexts
        )

    @cached_property
    def expected_loss(self) -> Words:
        """The mean over contexts of the loss inside them, as the trace of words."""
        share = self.loss.factor / sp.Integer(len(self.contexts))
        total = Words({})
        for k, output in enumerate(self.outputs):
            residual = Words.of("y") - output
            moments = {
                (("y", False), ("y", True)): Words.of("Syy"),
                (("y", False), ("x", True)): Words.of(f"Syx{k}"),
                (("x", False), ("y", True)): Words.of(f"Syx{k}'"),
                (("x", False), ("x", True)): Words.of("Sxx"),
            }
            total = total + (residual @ residual.transposed()).scaled(share).reduced(moments)
        return total

    @cached_property
    def shapes(self) -> dict[str, tuple[sp.Expr, sp.Expr]]:
        """Shapes of weights and moments."""
        i, o = as_sympy(self.network.inputs), as_sympy(self.network.outputs)
        weights = {p.name: (p.shape[0], p.shape[1]) for p in self.network.parameters}
        crosses = {f"Syx{k}": (o, i) for k in range(len(self.contexts))}
        return {**weights, "Sxx": (i, i), "Syy": (o, o), **crosses, "x": (i, sp.S.One)}

    @cached_property
    def conserved(self) -> tuple[Words, ...]:
        r"""What the flow keeps: one relation for each pair of layers that meet.

        The ansatz for the weights that meet at one hidden layer of connected contexts is every
        combination of their $W W^T$ (below) and $W^T W$ (above); its null space is taken.
        """
        found: list[Words] = []
        for below, above in self.meetings():
            candidates = [Words.of(n, f"{n}'") for n in below]
            candidates += [Words.of(f"{n}'", n) for n in above]
            rates = [derivative(c, self.flow) for c in candidates]
            found += still(candidates, rates)
        return tuple(found)

    def meetings(self) -> Iterator[tuple[list[str], list[str]]]:
        """Yield the weights below and above each hidden layer, contexts that share one joined."""
        for pathway in self.pathways:
            for lower, upper in zip(pathway.layers, pathway.layers[1:], strict=False):
                for group in joined((lower, upper)):
                    below = dict.fromkeys(lower[k] for k in group)
                    above = dict.fromkeys(upper[k] for k in group)
                    yield list(below), list(above)

    def steps(self) -> tuple[Step, ...]:
        """Pathways, gradient flow and conserved quantities, each with its check."""
        f = [sp.Symbol(f"f_{k}") for k in range(len(self.contexts))]
        for k in range(len(f)):
            notation.symbol(f"Syx{k}", rf"\Sigma_{{yx,{k}}}", self._moment(k))
        outputs = tuple(
            sp.Eq(name, words.matrix(self.shapes), evaluate=False)
            for name, words in zip(f, self.outputs, strict=True)
        )
        first = Step(
            "Pathways",
            "in each context the gates leave products of weights open: "
            + "; ".join(map(str, self.pathways)),
            outputs,
            lambda: check_outputs(self),
            tuple((name, f"output in context {k}") for k, name in enumerate(f)),
        )
        # The other contexts read alike.
        shown = {name for pathway in self.pathways for name in pathway.path(0)}
        rates, kept = (step.equations for step in super().steps())
        names = list(self.flow)
        flow = Step(
            "Gradient flow",
            "each weight follows minus the gradient of the loss averaged over the contexts in "
            "which it is open; shown for the weights of context 0",
            tuple(eq for name, eq in zip(names, rates, strict=True) if name in shown),
            lambda: check_context_gradients(self),
            tuple(
                (sp.MatrixSymbol(f"Syx{k}", *self.shapes[f"Syx{k}"]), self._moment(k))
                for k in range(len(self.contexts))
            ),
        )
        used = [{part for word in words.terms for part, _ in word} for words in self.conserved]
        balance = Step(
            "Conserved quantity",
            "squared weights below a hidden layer against those above it, summed over the "
            "contexts that share one of them (null space of the product rule)",
            tuple(eq for mine, eq in zip(used, kept, strict=True) if mine & shown),
            lambda: check_kept(self),
        )
        return first, flow, balance

    @staticmethod
    def _moment(context: int) -> str:
        return f"cross moment <y x^T> in context {context}"


def _words(paths: Mapping[Path, sp.Expr]) -> Words:
    """Return the open products, the last layer first."""
    return sum((Words.of(*path[::-1], coefficient=c) for path, c in paths.items()), Words({}))


def joined(rows: Iterable[tuple[str, ...]]) -> list[list[int]]:
    """Return groups of contexts (positions in the rows) that have a name in common in some row."""
    groups: list[set[int]] = []
    for row in rows:
        for name in dict.fromkeys(row):
            mine = {k for k, other in enumerate(row) if other == name}
            met = [group for group in groups if group & mine]
            groups = [group for group in groups if not group & mine]
            groups.append(mine.union(*met))
    return sorted(map(sorted, groups))


# ---- checks on explicit matrices


def small_values(flow: ContextFlow) -> dict[str, sp.Matrix]:
    """Return exact rational weights and moments of two units a layer."""
    names = [*(p.name for p in flow.network.parameters), "Sxx", "Syy", "x"]
    names += [f"Syx{k}" for k in range(len(flow.contexts))]
    values = {}
    for place, name in enumerate(names):
        columns = 1 if name == "x" else _UNITS
        values[name] = sp.Matrix(
            _UNITS, columns, lambda i, j, q=place: sp.Rational(2 * i - 3 * j + q + 1, 5 + q + i)
        )
    for name in ("Sxx", "Syy"):
        values[name] = values[name] + values[name].T
    return values


def check_outputs(flow: ContextFlow) -> Evidence:
    """Evaluate the network's expression itself, gates as numbers, and compare with the words."""
    values = small_values(flow)
    for gates, words in zip(flow.contexts, flow.outputs, strict=True):
        memo: dict[Node, sp.Matrix] = {}
        for node in flow.network.order:
            if isinstance(node, Linear):
                p = node.parameter
                memo[node] = p.scale * values[p.name] * memo[node.child]
            elif isinstance(node, Gate):
                memo[node] = sp.Integer(int(gates[node.name])) * memo[node.child]
            elif isinstance(node, Sum):
                memo[node] = sum((memo[t] for t in node.terms), sp.zeros(_UNITS, 1))
            else:
                memo[node] = memo[node.children[0]] if node.children else values["x"]
        gap = memo[flow.network.output] - words.explicit(values)
        if any(sp.expand(entry) != 0 for entry in gap):
            return Evidence(False, "a context's output differs from its products of weights")
    return Evidence(True, f"outputs in {len(flow.contexts)} contexts: difference exactly 0")


def check_context_gradients(flow: ContextFlow) -> Evidence:
    """Compare the matrix flow with scalar derivatives of the loss, entry by entry."""
    values = small_values(flow)
    entries = 0
    for p in flow.network.parameters:
        letters = sp.Matrix(_UNITS, _UNITS, sp.symbols(f"z:{_UNITS**2}"))
        there = dict(zip(letters, values[p.name], strict=True))
        scalar = flow.expected_loss.explicit({**values, p.name: letters}).trace()
        rate = flow.flow[p.name].explicit(values)
        for k, letter in enumerate(letters):
            slope = sp.diff(scalar, letter).subs(there)
            if sp.expand(rate[k] + p.rate * slope) != 0:
                return Evidence(False, f"gradient of {p.name}, entry {k}, differs")
            entries += 1
    return Evidence(True, f"{entries} entries equal scalar derivatives exactly")


def check_kept(flow: ContextFlow) -> Evidence:
    """Follow the flow for an infinitesimal time: what is kept must not move."""
    values = small_values(flow)
    step = sp.Symbol("step")
    moved = {
        **values,
        **{name: values[name] + step * w.explicit(values) for name, w in flow.flow.items()},
    }
    count = 0
    for words in flow.conserved:
        for entry in words.explicit(moved):
            if sp.expand(sp.diff(entry, step).subs(step, 0)) != 0:
                return Evidence(False, "a conserved quantity moves")
            count += 1
    if not count:
        return Evidence(False, "no conserved quantity was found")
    return Evidence(True, f"{count} entries have rate of change exactly 0")
