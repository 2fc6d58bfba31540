r"""Values and backward signals of a network's nodes as matrix expressions.

The backward signal of node $a$ seen from node $p$ is the Jacobian
$B^p_a(x) = \partial p / \partial a$, found by reverse accumulation over the network's expression:
$B^p_p = I$, and $B^p_a = \sum_{b} B^p_b\, \partial b/\partial a$ over the nodes $b$ that use $a$.
No derivative of a matrix symbol is taken: the local Jacobian of each kind of node is known.

A product of matrices stands for a path through the network. Where paths meet, or a path gets long,
the signal gets a name; so the size of a formula grows with the number of nodes, not of paths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

import sympy as sp

from symkernel.codegen.matrix_nodes import Diagonal, Elementwise, Rows
from symkernel.problem.activation import ARGUMENT, Activation
from symkernel.problem.network import Network
from symkernel.problem.nodes import Apply, Bias, Gate, Input, Linear, Node, Parameter, Slice, Sum
from symkernel.problem.scalars import as_sympy

__all__ = ["PRIME", "Names", "Side", "Signal", "assembled", "product_of"]

PRIME = "'"
# Longest product written out: a network of three layers of weights is, as in textbooks.
_LONGEST = 4

Factors = tuple[sp.MatrixExpr, ...]
# A sum of coefficient times product; the empty product is the identity.
Signal = dict[Factors, sp.Expr]


def is_nonlinear(node: Node) -> TypeGuard[Apply]:
    """Return whether the node applies an activation other than the identity."""
    return isinstance(node, Apply) and not node.activation.is_linear


def is_whole(node: Slice) -> bool:
    """Return whether the slice takes all of its child."""
    return node.start == 0 and as_sympy(node.stop - node.child.size) == 0


def product_of(coefficient: sp.Expr, factors: Factors, size: object) -> sp.MatrixExpr:
    """Return coefficient times product, without ones and identities; `size` is for no factor."""
    parts = factors or (sp.Identity(size),)
    if coefficient != 1:
        return sp.MatMul(coefficient, *parts)
    return parts[0] if len(parts) == 1 else sp.MatMul(*parts)


def assembled(signal: Signal, rows: object, columns: object) -> sp.MatrixExpr:
    """Return the signal as one matrix expression, its terms in the order of their finding."""
    terms = [product_of(c, factors, rows) for factors, c in signal.items() if c != 0]
    if not terms:
        return sp.ZeroMatrix(rows, columns)
    return terms[0] if len(terms) == 1 else sp.MatAdd(*terms)


@dataclass(frozen=True)
class Names:
    """Identifiers of the vectors and functions that a formula refers to.

    Attributes
    ----------
    vectors : mapping of Node to str
        Nodes whose value has a name; others are written out where they are used.
    labels : mapping of Activation to str
        Identifier of each nonlinear activation.
    """

    vectors: Mapping[Node, str]
    labels: Mapping[Activation, str]

    @classmethod
    def of(cls, net: Network) -> Names:
        """Return the names for a network: x, f, named nodes, (pre)activations, meeting points."""
        taken = {p.name for p in net.parameters} | set(net.gates)

        def fresh(wanted: str) -> str:
            while wanted in taken:
                wanted += "_"
            taken.update((wanted, wanted + PRIME))
            return wanted

        kinds = [phi for phi in net.activations if not phi.is_linear]
        labels = {phi: fresh("phi" + _index(phi, kinds)) for phi in kinds}
        vectors = {net.nodes["input"]: fresh("x"), net.output: fresh("f")}
        given = {node: name for name, node in net.nodes.items()}
        stems = {node: _stem(node, given.get(node)) for node in _nodes_to_name(net)}
        for node, stem in stems.items():
            alike = [other for other in stems if stems[other] == stem]
            number = str(alike.index(node) + 1) if len(alike) > 1 else ""
            if is_nonlinear(node) and node.child not in vectors:
                vectors[node.child] = fresh(f"a{number}" if stem == "h" else f"a_{stem}")
            if node not in vectors:
                vectors[node] = fresh(stem + number)
        if is_nonlinear(net.output) and net.output.child not in vectors:
            vectors[net.output.child] = fresh("a_f")
        return cls(vectors, labels)


def _index(phi: Activation, kinds: list[Activation]) -> str:
    """Return what tells an activation from the others: a name of one word, or a number."""
    alone = [other.name for other in kinds].count(phi.name) == 1 and phi.name.isalpha()
    return f"_{phi.name if alone else kinds.index(phi) + 1}" if len(kinds) > 1 else ""


def _stem(node: Node, name: str | None) -> str:
    """Return h for hidden activity, s for a sum or the like where paths meet, or the given name."""
    if name is not None and not name.startswith("hidden"):
        return name
    return "h" if name is not None or is_nonlinear(node) else "s"


def _nodes_to_name(net: Network) -> Iterator[Node]:
    """Yield inner nodes that are nonlinear, named, or used more than once, in forward order."""
    uses = Counter(child for node in net.order for child in node.children)
    named = set(net.nodes.values())
    for node in net.order:
        meeting = uses[node] > 1 and not isinstance(node, (Bias, Slice))
        inner = not isinstance(node, Input) and node is not net.output
        if inner and (is_nonlinear(node) or meeting or node in named):
            yield node


@dataclass
class Side:
    """The network at one sample: x (prime "") or x' (prime "'").

    Attributes
    ----------
    lines : dict of symbol to expression
        What the names met so far stand for, each after those it needs.
    jacobians : dict of str to pair of str
        The two vectors of every backward signal that has a name.
    """

    net: Network
    names: Names
    prime: str
    lines: dict[sp.MatrixSymbol, sp.MatrixExpr] = field(default_factory=dict)
    jacobians: dict[str, tuple[str, str]] = field(default_factory=dict)

    def value(self, node: Node) -> sp.MatrixExpr:
        """Return the node's value: its symbol if it has a name, otherwise written out."""
        name = self.names.vectors.get(node)
        if name is None:
            return self._written(node)
        symbol = sp.MatrixSymbol(name + self.prime, node.size, 1)
        if not isinstance(node, Input) and symbol not in self.lines:
            self.lines[symbol] = self._written(node)
        return symbol

    def _written(self, node: Node) -> sp.MatrixExpr:
        match node:
            case Linear(parameter=p, child=child) if p.kind == "dense":
                inner = self.value(child)
                inside = inner.args if isinstance(inner, sp.MatMul) else (inner,)
                scalars = [factor for factor in inside if not factor.is_Matrix]
                factors = [factor for factor in inside if factor.is_Matrix]
                return product_of(sp.Mul(p.scale, *scalars), (_symbol(p), *factors), node.size)
            case Linear(parameter=p, child=child):
                scaled = sp.HadamardProduct(_symbol(p), self.value(child))
                return product_of(p.scale, (scaled,), node.size)
            case Bias(parameter=p):
                return product_of(p.scale, (_symbol(p),), node.size)
            case Apply(activation=phi, child=child):
                return self._applied(phi, phi.expression, self.value(child), "")
            case Gate(name=name, child=child):
                return sp.HadamardProduct(self._gate(name, node), self.value(child))
            case Slice(child=child):
                inner = self.value(child)
                return inner if is_whole(node) else Rows(inner, (node.start, node.stop))
            case Sum(terms=terms):
                values = [self.value(term) for term in terms]
                flat = [v.args if isinstance(v, sp.MatAdd) else (v,) for v in values]
                return _added([term for group in flat for term in group])
        raise TypeError(f"unknown kind of node: {type(node).__name__}")

    def _applied(
        self, phi: Activation, expression: sp.Expr, vector: sp.MatrixExpr, order: str
    ) -> sp.MatrixExpr:
        if phi.is_linear:
            return vector
        label = self.names.labels[phi] + order
        return Elementwise(sp.Lambda(ARGUMENT, expression), vector, label)

    def _gate(self, name: str, node: Node) -> sp.MatrixSymbol:
        return sp.MatrixSymbol(name + self.prime, node.size, 1)

    def _local(self, node: Node) -> Iterator[tuple[Node, sp.Expr, Factors]]:
        """Yield each child with the Jacobian of `node` in it, coefficient and factors."""
        one = sp.Integer(1)
        match node:
            case Linear(parameter=p, child=child):
                symbol = _symbol(p)
                yield child, p.scale, (symbol if p.kind == "dense" else Diagonal(symbol),)
            case Apply(activation=phi, child=child) if phi.is_linear:
                yield child, one, ()
            case Apply(activation=phi, child=child):
                slope = self._applied(phi, phi.slope, self.value(child), PRIME)
                yield child, one, (Diagonal(slope),)
            case Gate(name=name, child=child):
                yield child, one, (Diagonal(self._gate(name, node)),)
            case Slice(child=child):
                rows = Rows(sp.Identity(child.size), (node.start, node.stop))
                yield child, one, (() if is_whole(node) else (rows,))
            case Sum(terms=terms):
                for term in terms:
                    yield term, one, ()

    def signals(self, top: Node) -> dict[Node, Signal]:
        """Return the backward signal of every node between `top` and a trained parameter."""
        trained = _depends_on_training(self.net.order)
        found: dict[Node, Signal] = {top: {(): sp.Integer(1)}} if top in trained else {}
        for node in reversed(self.net.order):
            if node not in found:
                continue
            found[node] = self._named(found[node], top, node)
            for child, coefficient, factors in self._local(node):
                if child in trained:
                    arriving = {f + factors: c * coefficient for f, c in found[node].items()}
                    _add(found.setdefault(child, {}), arriving.items())
        return found

    def _named(self, signal: Signal, top: Node, node: Node) -> Signal:
        """Return the signal under a name of its own where paths meet or a path gets long."""
        name = self.names.vectors.get(node)
        if isinstance(node, Bias):
            name = node.parameter.name
        if name is None or (len(signal) == 1 and max(map(len, signal)) <= _LONGEST):
            return signal
        upper = self.names.vectors[top]
        symbol = sp.MatrixSymbol(f"J_{upper}_{name}{self.prime}", top.size, node.size)
        self.jacobians[symbol.name] = upper, name
        self.lines[symbol] = assembled(signal, top.size, node.size)
        return {(symbol,): sp.Integer(1)}


def _add(signal: Signal, terms: Iterable[tuple[Factors, sp.Expr]]) -> None:
    for factors, coefficient in terms:
        signal[factors] = signal.get(factors, sp.Integer(0)) + coefficient


def _added(terms: list[sp.MatrixExpr]) -> sp.MatrixExpr:
    return terms[0] if len(terms) == 1 else sp.MatAdd(*terms)


def _symbol(parameter: Parameter) -> sp.MatrixSymbol:
    rows, columns = parameter.shape if parameter.kind == "dense" else (*parameter.shape, 1)
    return sp.MatrixSymbol(parameter.name, rows, columns)


def _depends_on_training(order: Iterable[Node]) -> set[Node]:
    """Return the nodes whose value a trained parameter enters."""
    found: set[Node] = set()
    for node in order:
        own = isinstance(node, (Linear, Bias)) and node.parameter.trained
        if own or any(child in found for child in node.children):
            found.add(node)
    return found
