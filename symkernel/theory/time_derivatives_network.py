r"""The quantities of a network under gradient flow, and by which kernels they move.

For any function $p$ of the parameters $w$, on $L = \kappa\sum_i c_i |f(x_i) - y_i|^2$,

$$\dot p = -2\kappa \sum_i c_i\, K_{p,f}(x_i)\, r(x_i), \qquad
  K_{p,f}(x_i) = \sum_w \eta_w\, \partial_w p\; \partial_w f(x_i)^T, \qquad r = f - y .$$

A kernel is a sum over the uses of the trained parameters: what enters there, $v$, times what comes
back there from the node, $B$ (at activities: $C$). These move by the same rule, so that everything
is a polynomial in weights, residuals, $v$, $B$ and derivatives of activations, and stays one when
it is differentiated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import sympy as sp

from symkernel import typesetting
from symkernel.problem.activation import ARGUMENT
from symkernel.problem.loss import SquaredError
from symkernel.problem.network import Network
from symkernel.problem.nodes import Apply, Bias, Gate, Input, Linear, Node, Parameter, Slice, Sum
from symkernel.theory.time_derivatives_jets import Quantity, Term, Terms, nonzero

__all__ = ["Data", "MovingNetwork", "Place"]

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
# A component of a node at a sample.
Place = tuple[Node, int, int]


@dataclass(frozen=True)
class Data:
    """Samples with numbers or symbols, and by what the loss weighs them.

    Attributes
    ----------
    X, Y : sympy.ImmutableMatrix
        One row for each sample.
    shares : tuple of sympy.Expr
        Weights of the samples in the mean.
    gates : mapping of str to sympy.ImmutableMatrix
    """

    X: sp.ImmutableMatrix
    Y: sp.ImmutableMatrix
    shares: tuple[sp.Expr, ...]
    gates: Mapping[str, sp.ImmutableMatrix]

    @property
    def samples(self) -> range:
        """Positions of the samples."""
        return range(self.X.rows)


@dataclass(frozen=True, eq=False)
class MovingNetwork:
    """Values, backward signals and kernels of a network as quantities that move.

    Attributes
    ----------
    net : Network
    data : Data
    loss : SquaredError
    """

    net: Network
    data: Data
    loss: SquaredError
    _made: dict[Any, Any] = field(default_factory=dict)

    @cached_property
    def _labels(self) -> dict[Node, str]:
        """Numbers of layers; where two nodes of a kind have one, letters tell them apart."""
        labels: dict[Node, str] = {}
        layer = 0
        for node in self.net.order:
            layer += isinstance(node, Linear)
            labels[node] = self._distinct(type(node).__name__, str(layer), node)
        return labels

    def _distinct(self, kind: str, label: str, node: Node) -> str:
        """Return the label, with a letter if another node of the kind has it already."""
        taken = self._made.setdefault(("label", kind, label), [])
        if node not in taken:
            taken.append(node)
        place = taken.index(node)
        return label if place == 0 else f"{label}{_LETTERS[place]}"

    @cached_property
    def _parents(self) -> dict[Node, list[Node]]:
        found: dict[Node, list[Node]] = {node: [] for node in self.net.order}
        for node in self.net.order:
            for child in dict.fromkeys(node.children):
                found[child].append(node)
        return found

    def output(self, o: int, i: int) -> Quantity:
        """Return a component of the output at a sample, which moves by the tangent kernel."""
        return self.driven((self.net.output, o, i))

    def driven(self, place: Place) -> Quantity:
        """Return a component of a node, which moves by its kernel with the outputs."""
        node, j, i = place
        letter, tex = ("f", "f") if node is self.net.output else (f"p{self._labels[node]}", "p")
        return self._quantity(
            ("driven", *place),
            f"{letter}_{j}_{i}",
            f"{tex}_{{{j}}}(x_{{{i}}})",
            lambda: self._value(node, j, i),
            lambda: self._by_kernel(place),
        )

    def _by_kernel(self, place: Place) -> Terms:
        return nonzero(
            Term.of(
                -2 * self.loss.factor * self.data.shares[k],
                self.kernel(place, (self.net.output, o, k)),
                self.residual(o, k),
            )
            for k in self.data.samples
            for o in range(int(self.net.outputs))
        )

    def residual(self, o: int, i: int) -> Quantity:
        """Return a component of f - y at a sample."""
        terms = nonzero([Term.of(sp.S.One, self.output(o, i)), Term(-self.data.Y[i, o])])
        return self._quantity(("r", o, i), f"r_{o}_{i}", f"r_{{{o}}}(x_{{{i}}})", lambda: terms)

    def kernel(self, p: Place, q: Place) -> Quantity:
        """Return the kernel of two components; that of two outputs has one name for both orders."""
        p, q = self._sorted(p, q) if p[0] is q[0] else (p, q)
        letter = "K" if p[0] is self.net.output else f"K{self._labels[p[0]]}"
        upper = "" if p[0] is self.net.output else "^{p}"
        return self._quantity(
            ("kernel", *p, *q),
            f"{letter}_{p[1]}_{p[2]}_{q[1]}_{q[2]}",
            f"K{upper}_{{{p[1]},{q[1]}}}(x_{{{p[2]}}}, x_{{{q[2]}}})",
            lambda: nonzero(self._kernel(p, q)),
        )

    def _kernel(self, p: Place, q: Place) -> Iterator[Term]:
        for parameter in self.net.parameters:
            uses = self._uses(parameter) if parameter.trained else []
            weight = parameter.rate * parameter.scale**2
            for a in uses:
                for b in uses:
                    for term in self._meeting(a, b, p, q):
                        yield term.times(weight)

    def _uses(self, parameter: Parameter) -> list[Linear | Bias]:
        return [
            node
            for node in self.net.order
            if isinstance(node, (Linear, Bias)) and node.parameter is parameter
        ]

    def _meeting(self, a: Linear | Bias, b: Linear | Bias, p: Place, q: Place) -> Iterator[Term]:
        """Yield the product of two uses of a parameter: what enters times what goes back."""
        if isinstance(a, Linear) and isinstance(b, Linear):
            if a.parameter.kind == "dense":
                yield self._overlap(a, b, p[2], q[2]) @ self._feedback(a, b, p, q)
                return
            for j in range(int(a.size)):
                sides = ((a, p), (b, q))
                one, two = (
                    self._back(s, node, j) @ self._enters(node, j, s[2]) for node, s in sides
                )
                yield one @ two
            return
        yield self._feedback(a, b, p, q)

    def _overlap(self, a: Linear, b: Linear, i: int, k: int) -> Term:
        """Return the inner product of what two uses of a weight act on."""
        if a is b:
            i, k = sorted((i, k))
        mine, theirs = self._labels[a], self._labels[b]
        return self._short(
            ("overlap", a, b, i, k),
            lambda: (
                f"G{mine}x{theirs}_{i}_{k}",
                rf"\left(v^{{({mine})}}(x_{{{i}}}) \cdot v^{{({theirs})}}(x_{{{k}}})\right)",
            ),
            lambda: nonzero(
                self._enters(a, j, i) @ self._enters(b, j, k) for j in range(int(a.child.size))
            ),
        )

    def _feedback(self, a: Linear | Bias, b: Linear | Bias, p: Place, q: Place) -> Term:
        """Return the inner product of the backward signals at two uses of a parameter."""
        if a is b and p[0] is q[0]:
            p, q = self._sorted(p, q)
        terms = nonzero(self._back(p, a, j) @ self._back(q, b, j) for j in range(int(a.size)))

        def naming() -> tuple[str, str]:
            mine, theirs = self._used(a), self._used(b)
            source = "" if p[0] is self.net.output else self._labels[p[0]]
            sides = (f"B^{{({x})}}_{{{s[1]}}}(x_{{{s[2]}}})" for x, s in ((mine, p), (theirs, q)))
            below = f"{p[1]}_{p[2]}_{q[1]}_{q[2]}"
            tex = r"\left(" + r" \cdot ".join(sides) + r"\right)"
            return f"M{source}x{mine}x{theirs}_{below}", tex

        # A bias and the weight beside it get the same signals.
        return self._short(("feedback", terms), naming, lambda: terms)

    def _used(self, node: Linear | Bias) -> str:
        return self._labels[node] + ("bias" if isinstance(node, Bias) else "")

    def _sorted(self, p: Place, q: Place) -> tuple[Place, Place]:
        return (p, q) if (p[2], p[1]) <= (q[2], q[1]) else (q, p)

    def _enters(self, node: Linear, j: int, i: int) -> Term:
        """Return a component of what a weight acts on."""
        return self._held(node.child, j, i)

    def _held(self, node: Node, j: int, i: int) -> Term:
        """Return a component of a node, as a quantity if it is a sum."""

        def naming() -> tuple[str, str]:
            label = self._distinct("v", self._labels[node], node)
            return f"v{label}_{j}_{i}", f"v^{{({label})}}_{{{j}}}(x_{{{i}}})"

        return self._short(("value", node, j, i), naming, lambda: self._value(node, j, i))

    def _value(self, node: Node, j: int, i: int) -> Terms:
        match node:
            case Input():
                return nonzero([Term(self.data.X[i, j])])
            case Slice():
                return self._value(node.child, int(node.start) + j, i)
            case Linear(parameter=p):
                columns = [(j, k) for k in range(int(p.shape[1]))] if p.kind == "dense" else [(j,)]
                return nonzero(
                    self._enters(node, place[-1], i).times(p.scale, self.weight(p, *place))
                    for place in columns
                )
            case Bias(parameter=p):
                return (Term.of(p.scale, self.weight(p, j)),)
            case Sum():
                return tuple(term for part in node.terms for term in self._value(part, j, i))
            case Gate():
                gate = self._gate(node, j, i)
                return nonzero(term.times(gate) for term in self._value(node.child, j, i))
        assert isinstance(node, Apply)
        if node.activation.is_linear:
            return self._value(node.child, j, i)
        return (Term.of(sp.S.One, self.slope(node, j, i, 0)),)

    def slope(self, node: Apply, j: int, i: int, order: int) -> Quantity:
        r"""Return $\phi^{(k)}$ at a pre-activation, whose rate is $\phi^{(k+1)} \dot a$."""
        label = self._labels[node]
        place = f"_{{{j}}}(x_{{{i}}})"
        a = self._quantity(
            ("argument", node, j, i),
            f"a{label}_{j}_{i}",
            f"a^{{({label})}}{place}",
            lambda: self._value(node.child, j, i),
        )
        expression = node.activation.expression
        body = sp.diff(expression, ARGUMENT, order) if order else expression
        marks = "'" * order if order < 4 else f"^{{({order})}}"
        key = ("slope", node, j, i, order)
        if key not in self._made:
            self._made[key] = Quantity(
                f"phi{label}_{order}_{j}_{i}" if order else f"h{label}_{j}_{i}",
                rf"\phi{marks}(a^{{({label})}}{place})" if order else f"h^{{({label})}}{place}",
                move=lambda: (Term(sp.S.One, ((self.slope(node, j, i, order + 1), 0), (a, 1))),),
                function=(body, ARGUMENT, a),
            )
        return self._made[key]

    def _back(self, source: Place, node: Node, j: int) -> Term:
        """Return the derivative of a component of one node by that of an earlier one."""
        top, c, i = source

        def naming() -> tuple[str, str]:
            letter = "C" if isinstance(node, Apply) else "B"
            mine = self._distinct(letter, self._labels[node], node)
            head = "" if top is self.net.output else f"{self._labels[top]}x"
            upper = mine if top is self.net.output else f"p,{mine}"
            tex = f"{letter}^{{({upper})}}_{{{c},{j}}}(x_{{{i}}})"
            return f"{letter}{head}{mine}_{c}_{j}_{i}", tex

        return self._short(
            ("back", *source, node, j), naming, lambda: self._signal(source, node, j)
        )

    def _signal(self, source: Place, node: Node, j: int) -> Terms:
        top, c, i = source
        if node is top:
            return (Term(sp.S.One),) if j == c else ()
        terms: list[Term] = []
        for parent in self._parents[node]:
            match parent:
                case Linear(parameter=p):
                    rows = range(int(p.shape[0])) if p.kind == "dense" else (j,)
                    terms += [
                        self._back(source, parent, m).times(
                            p.scale, self.weight(p, *((m, j) if p.kind == "dense" else (m,)))
                        )
                        for m in rows
                    ]
                case Slice(start=start, stop=stop):
                    if int(start) <= j < int(stop):
                        terms.append(self._back(source, parent, j - int(start)))
                case Apply(activation=phi) if not phi.is_linear:
                    slope = self.slope(parent, j, i, 1)
                    terms.append(self._back(source, parent, j).times(sp.S.One, slope))
                case Gate():
                    gate = self._gate(parent, j, i)
                    terms.append(self._back(source, parent, j).times(gate))
                case _:
                    times = sp.Integer(sum(child is node for child in parent.children))
                    terms.append(self._back(source, parent, j).times(times))
        return nonzero(terms)

    def weight(self, p: Parameter, *place: int) -> Quantity:
        """Return an entry of a parameter, which moves against the gradient of the loss."""
        name = "_".join([p.name, *map(str, place)])
        return self._quantity(
            ("weight", p, *place),
            name,
            typesetting.name_latex(name),
            None,
            (lambda: self._descent(p, place)) if p.trained else None,
        )

    def _descent(self, p: Parameter, place: tuple[int, ...]) -> Terms:
        pace = -2 * self.loss.factor * p.rate * p.scale
        terms = []
        for node in self._uses(p):
            for i in self.data.samples:
                term = self._error(node, place[0], i).times(pace * self.data.shares[i])
                enters = self._enters(node, place[-1], i) if isinstance(node, Linear) else None
                terms.append(term if enters is None else term @ enters)
        return nonzero(terms)

    def _error(self, node: Linear | Bias, j: int, i: int) -> Term:
        """Return what goes back of the residuals: the sum over outputs of B r."""
        terms = nonzero(
            self._back((self.net.output, o, i), node, j).times(sp.S.One, self.residual(o, i))
            for o in range(int(self.net.outputs))
        )
        label = self._used(node)
        tex = rf"\delta^{{({label})}}_{{{j}}}(x_{{{i}}})"
        return self._short(("error", terms), lambda: (f"e{label}_{j}_{i}", tex), lambda: terms)

    def _gate(self, node: Gate, j: int, i: int) -> sp.Expr:
        gate = self.data.gates[node.name]
        return gate[i, j if gate.cols > 1 else 0]

    def _short(
        self, key: tuple, naming: Callable[[], tuple[str, str]], make: Callable[[], Terms]
    ) -> Term:
        """Return a sum as one term: itself if it is a number times a quantity, else by a name."""
        if key not in self._made:
            terms = make()
            if not any(term.factors for term in terms):
                short = Term(sp.Add(*(term.coefficient for term in terms)))
            elif len(terms) == 1 and len(terms[0].factors) == 1:
                short = terms[0]
            else:
                short = Term.of(sp.S.One, Quantity(*naming(), lambda: terms))
            self._made[key] = short
        return self._made[key]

    def _quantity(
        self,
        key: tuple,
        name: str,
        tex: str,
        make: Callable[[], Terms] | None,
        move: Callable[[], Terms] | None = None,
    ) -> Quantity:
        if key not in self._made:
            self._made[key] = Quantity(name, tex, make, move)
        return self._made[key]
