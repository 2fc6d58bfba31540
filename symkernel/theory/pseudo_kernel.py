r"""The pseudo-kernel and the neural tangent kernel of any feed-forward network, at matrix level.

Gradient flow on a loss $L$ of the outputs moves a node $p$ by
$\dot p(x) = -\sum_i K_{p,f}(x, x_i)\, \partial L/\partial f(x_i)$ with

$$K_{p,q}(x, x') = \sum_W \sum_{a, a'} r_W c_W^2\,
    \bigl(v_a(x) \cdot v_{a'}(x')\bigr)\, B^p_a(x)\, B^q_{a'}(x')^T .$$

The first sum runs over the trained weights, the second over pairs of places where one weight is
used: $v_a$ is the vector it acts on there, $c_W$ its factor of the parameterisation, $r_W$ its
factor on the learning rate, and
$B^p_a = \partial p/\partial a$ the backward signal. A diagonal weight gives
$c^2 B^p_a \operatorname{diag}(v_a)\operatorname{diag}(v'_{a'}) {B'}^{q\,T}_{a'}$, a bias
$c^2 B^p_a {B'}^{q\,T}_{a'}$. Everything is read off the network's expression, whatever its sizes.

Notes
-----
A ReLU has slope 0 at 0. Where some pre-activation is exactly 0 the kernel is the one-sided one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import sympy as sp
from sympy.core.function import AppliedUndef

from symkernel import typesetting
from symkernel.codegen.matrix_nodes import Diagonal, Elementwise, InnerProduct
from symkernel.errors import InvalidArgument
from symkernel.formula import Formula
from symkernel.problem.activation import ARGUMENT
from symkernel.problem.network import Network
from symkernel.problem.nodes import Bias, Linear, Node
from symkernel.theory.jacobian import PRIME, Factors, Names, Side, Signal, assembled

# Characters of the plain text of a formula that still fit on one printed line.
_LONG_LINE = 100

if TYPE_CHECKING:
    from symkernel.codegen.matrix_routine import KernelRoutine

__all__ = ["KernelFormula", "ntk", "pseudo_kernel"]


@dataclass(frozen=True)
class KernelFormula(Formula):
    r"""A kernel of two nodes as matrix expression; $x'$ and everything made from it is primed.

    Attributes
    ----------
    net : Network
        What it was derived from.
    names : mapping of str to str
        LaTeX of the identifiers, where it differs from what the identifier itself gives.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> net = sk.Network.two_layer(inputs=3, hidden=5, outputs=2, activation="tanh")
    >>> w0 = sk.weights.gaussian(net, scale=1.0, seed=0)
    >>> X = np.eye(3)[:2]
    >>> K = sk.pseudo_kernel(net, of="hidden", by="output").compile()(X, np.eye(3), w0)
    >>> assert K.shape == (2, 5, 3, 2) and np.all(K[0, :, 1] == 0)
    """

    net: Network = field(kw_only=True, repr=False, compare=False)
    names: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def latex(self, names: Mapping[str, str] | None = None) -> str:
        """Return an ``aligned`` block; the values at both samples share a line.

        Parameters
        ----------
        names : mapping of str to str, optional
            LaTeX for identifiers, say ``{"W1": "A"}``; what is given for ``h`` serves ``h'`` too.
        """
        chosen = dict(self.names)
        for identifier, tex in (names or {}).items():
            chosen[identifier] = tex
            chosen[identifier + PRIME] = (names or {}).get(identifier + PRIME, tex + PRIME)
        left = typesetting.latex(self.symbol, chosen)
        rows = [" \\\\\n&\\quad ".join(_split(f"{left} &= ", self.expression, chosen))]
        for k, (first, *others) in enumerate(_paired(self.where)):
            lead = r"\text{where}\quad " if k == 0 else ""
            head, *rest = (_equation(a, b, chosen) for a, b in (first, *others))
            body = r",\qquad ".join([head, *(text.replace("&=", "=", 1) for text in rest)])
            rows.append(lead + body)
        text = " \\\\\n".join(rows)
        return f"\\begin{{aligned}}\n{text}\n\\end{{aligned}}"

    def compile(self, values: Mapping[sp.Symbol, object] | None = None) -> KernelRoutine:
        """Return the compiled kernel, a function of samples and weights.

        Parameters
        ----------
        values : mapping of Symbol to number, optional
            Numbers for symbols in the factors of the parameterisation and in the rates. Sizes
            need none: they are read off the arrays.

        Returns
        -------
        KernelRoutine
            ``routine(X, X2, weights, gates=None, gates2=None)``, an array
            (n_samples, size of p, n_samples2, size of q); it keeps its ``source``.

        Raises
        ------
        Unlowerable
            If the expression was replaced by one with a node that has no translation.
        """
        from symkernel.codegen.matrix_routine import routine

        return routine(self.expression, self.where, self.net, values)


def pseudo_kernel(net: Network, of: str = "hidden", by: str = "output") -> KernelFormula:
    r"""Return $K_{p,q}(x, x')$: how a gradient step for node $q$ at $x'$ moves node $p$ at $x$.

    Parameters
    ----------
    net : Network
        Any network; sizes may be symbols.
    of, by : str
        Names of the nodes $p$ and $q$.

    Returns
    -------
    KernelFormula
        Matrix-level formula of shape (size of p, size of q), with ``latex`` and ``compile``.

    Raises
    ------
    InvalidArgument
        If the network has no node of that name.

    Notes
    -----
    Exact for gradient flow on any loss of the node $q$. Where $q$ does not depend on any trained
    parameter that $p$ depends on, the kernel is the zero matrix. The loss's mean over samples is
    not part of the kernel. Layer-wise learning rates are, so that the kernel drives learning as
    it stands; weight decay is not, it moves the weights besides.

    Examples
    --------
    >>> import sympy as sp, symkernel as sk
    >>> I, H, O = sp.symbols("I H O", integer=True, positive=True)
    >>> K = sk.pseudo_kernel(sk.Network.two_layer(I, H, O), of="hidden", by="output")
    >>> assert str(K.expression) == "(x . x')*W2.T" and K.expression.shape == (H, O)
    """
    if not isinstance(net, Network):
        raise InvalidArgument(
            f"Argument 'net' must be a Network, not {type(net).__name__}; make one with "
            f"Network.two_layer, Network.mlp or Network.build."
        )
    p, q = net.node(of), net.node(by)
    names = Names.of(net)
    here, there = Side(net, names, ""), Side(net, names, PRIME)
    expression = assembled(_contributions(net, p, q, here, there), p.size, q.size)
    upper, lower = names.vectors[p], names.vectors[q]
    symbol = sp.MatrixSymbol(f"K_{upper}_{lower}", p.size, q.size)
    where = tuple(_needed(expression, [*_interleaved(here, there), *_functions(names)]))
    title = f"pseudo-kernel of {of} by {by}" if p is not q else f"tangent kernel of {of}"
    jacobians = {symbol.name: (upper, lower), **here.jacobians, **there.jacobians}
    texts = _texts(names, jacobians, (expression, *(part for line in where for part in line)))
    return KernelFormula(title, symbol, expression, where, net=net, names=MappingProxyType(texts))


def ntk(net: Network, of: str = "output", by: str = "output") -> KernelFormula:
    r"""Return the neural tangent kernel $K_{f,f}(x, x')$: the pseudo-kernel of output by output.

    Parameters
    ----------
    net : Network
        Any network; sizes may be symbols.
    of, by : str
        Names of the nodes.

    Examples
    --------
    >>> import symkernel as sk
    >>> K = sk.ntk(sk.Network.two_layer(4, 8, 2, activation="tanh"))
    >>> assert str(K.expression) == (
    ...     "(h . h')*I + (x . x')*W2*diag(phi'(a))*diag(phi'(a'))*W2.T")
    """
    return pseudo_kernel(net, of, by)


def _contributions(net: Network, p: Node, q: Node, here: Side, there: Side) -> Signal:
    """Return the sum over parameters and pairs of places, like products collected."""
    above, below = here.signals(p), there.signals(q)
    total: Signal = {}
    for parameter in net.parameters:
        if not parameter.trained:
            continue
        uses = [
            node
            for node in net.order
            if isinstance(node, (Linear, Bias)) and node.parameter is parameter
        ]
        for a in (node for node in uses if node in above):
            for b in (node for node in uses if node in below):
                weight, middle = _meeting(a, b, here, there)
                for left, c in above[a].items():
                    for right, d in below[b].items():
                        factors = (*left, *middle, *_transposed(right))
                        term = parameter.rate * parameter.scale**2 * c * d * weight
                        total[factors] = total.get(factors, sp.Integer(0)) + term
    return total


def _meeting(a: Node, b: Node, here: Side, there: Side) -> tuple[sp.Expr, Factors]:
    """Return what stands between the backward signals of two uses of one parameter."""
    if not (isinstance(a, Linear) and isinstance(b, Linear)):
        return sp.Integer(1), ()
    left, right = here.value(a.child), there.value(b.child)
    if a.parameter.kind == "diagonal":
        return sp.Integer(1), (Diagonal(left), Diagonal(right))
    return InnerProduct(left, right), ()


def _transposed(factors: Factors) -> Factors:
    return tuple(f if isinstance(f, Diagonal) else sp.Transpose(f) for f in reversed(factors))


def _interleaved(here: Side, there: Side) -> Iterator[tuple[Any, Any]]:
    """Yield the definitions at x and x', a pair at a time, each after those it needs."""
    primed = {symbol.name: (symbol, meaning) for symbol, meaning in there.lines.items()}
    for symbol, meaning in here.lines.items():
        yield symbol, meaning
        if symbol.name + PRIME in primed:
            yield primed.pop(symbol.name + PRIME)
    yield from primed.values()


def _functions(names: Names) -> Iterator[tuple[Any, Any]]:
    """Yield phi(z) and phi'(z) of every nonlinear activation."""
    for phi, label in names.labels.items():
        yield sp.Function(label)(ARGUMENT), phi.expression
        yield sp.Function(label + PRIME)(ARGUMENT), phi.slope


def _needed(expression: Any, lines: list[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """Yield the lines that the expression needs, directly or through others."""
    functions = {s.func.__name__: s for s, _ in lines if isinstance(s, AppliedUndef)}
    meanings, queue = dict(lines), [expression]
    wanted: set[Any] = set()
    while queue:
        part = queue.pop()
        found = {s for s in part.free_symbols if s in meanings}
        found |= {functions[e.label] for e in part.atoms(Elementwise)}
        queue += [meanings[s] for s in found - wanted]
        wanted |= found
    yield from (line for line in lines if line[0] in wanted)


def _texts(
    names: Names, pairs: Mapping[str, tuple[str, str]], parts: tuple[Any, ...]
) -> dict[str, str]:
    """Return LaTeX of functions, of the kernel and Jacobians (`pairs`), and of primed vectors."""
    texts = {}
    for label in names.labels.values():
        _, _, kind = label.rstrip("_").partition("_")
        texts[label] = rf"\phi_{{\mathrm{{{kind}}}}}" if kind else r"\phi"
        texts[label + PRIME] = texts[label].replace(r"\phi", r"\phi'", 1)
    for name, (upper, lower) in pairs.items():
        letter = name[0]
        texts[name] = f"{letter}_{{{_vector(upper)}, {_vector(lower)}}}"
        texts[name] += PRIME * name.endswith(PRIME) + "(x, x')" * (letter == "K")
    for symbol in set().union(*(part.free_symbols for part in parts)):
        if isinstance(symbol, sp.MatrixSymbol) and symbol.name not in texts:
            base = symbol.name.removesuffix(PRIME)
            texts[symbol.name] = _vector(base) + PRIME * (base != symbol.name)
    return texts


def _vector(name: str) -> str:
    tex = typesetting.latex(sp.MatrixSymbol(name, 1, 1))
    return re.sub("^[A-Za-z]{2,}", lambda word: rf"\mathrm{{{word[0]}}}", tex)


def _split(left: str, expression: Any, names: Mapping[str, str]) -> list[str]:
    """Return left-hand side and terms, in their own order, a line for each if they are long."""
    terms = expression.args if isinstance(expression, sp.MatAdd) else (expression,)
    texts = [typesetting.latex(term, names) for term in terms]
    signed = [t if k == 0 or t.startswith("-") else f"+ {t}" for k, t in enumerate(texts)]
    if len(str(expression)) < _LONG_LINE:
        return [left + " ".join(signed)]
    return [left + signed[0], *signed[1:]]


def _equation(left: Any, right: Any, names: Mapping[str, str]) -> str:
    if isinstance(left, AppliedUndef):
        name = left.func.__name__
        meaning = right.rewrite(sp.Piecewise) if isinstance(right, sp.Heaviside) else right
        # SymPy moves roots out of denominators; textbooks write z over root 2.
        root = sp.Pow(sp.sqrt(2), -1, evaluate=False)
        written = sp.Mul(ARGUMENT, root, evaluate=False)
        meaning = meaning.xreplace({ARGUMENT / sp.sqrt(2): written})
        return (
            f"{names[name]}({typesetting.latex(ARGUMENT)}) &= {typesetting.latex(meaning, names)}"
        )
    return " ".join(_split(f"{typesetting.latex(left, names)} &= ", right, names))


def _paired(where: tuple[tuple[Any, Any], ...]) -> Iterator[list[tuple[Any, Any]]]:
    """Yield lines, together with the following one where that is the same at x'."""
    group: list[tuple[Any, Any]] = []
    for line in where:
        if group and _identifier(line[0]) == _identifier(group[0][0]) + PRIME:
            yield [*group, line]
            group = []
        else:
            if group:
                yield group
            group = [line]
    if group:
        yield group


def _identifier(symbol: Any) -> str:
    return symbol.func.__name__ if isinstance(symbol, AppliedUndef) else symbol.name
