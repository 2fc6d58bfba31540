r"""Nodes of a feed-forward expression: what a `Network` is built from.

An expression starts at an `Input`, and every further node names its children. Parameters may be
dense, diagonal or biases, trained or fixed, and used in several places (shared). Sizes are
integers or SymPy symbols.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import TypeAlias

import sympy as sp

from symkernel.errors import InvalidArgument, ShapeMismatch
from symkernel.problem.activation import Activation, activation
from symkernel.problem.scalars import as_expression, as_expressions, as_sympy

Size: TypeAlias = int | sp.Expr


def as_size(value: object, name: str) -> Size:
    """Return a positive integer or a SymPy expression that stands for one."""
    if isinstance(value, sp.Expr) and not value.is_Integer:
        plain = not value.free_symbols
        if plain or value.is_integer is False or value.is_positive is False:
            raise InvalidArgument(
                f"Argument '{name}' must stand for a positive integer, not {value}."
            )
        return value
    try:
        if isinstance(value, bool):
            raise TypeError
        size = operator.index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise InvalidArgument(
            f"Argument '{name}' must be a positive integer or a SymPy symbol, not {value!r}."
        ) from error
    if size < 1:
        raise InvalidArgument(f"Argument '{name}' must be a positive integer, not {size}.")
    return size


@dataclass(frozen=True, eq=False)
class Parameter:
    r"""A weight or bias.

    Parameters
    ----------
    name : str
        Identifier, unique in the network.
    shape : tuple of sizes
        (rows, columns) of a dense weight; (size,) of a diagonal weight or a bias.
    kind : {"dense", "diagonal", "bias"}
        How it acts: $W v$, $w \circ v$, or as a constant added.
    trained : bool
        Whether gradient descent moves it.
    scale : number or SymPy expression
        Factor of the parameterisation, multiplied where the parameter is used
        ($1/\sqrt{\text{fan-in}}$ in the NTK parameterisation).
    rate : number or SymPy expression
        Factor on the learning rate of this parameter, positive; what shall not move is not trained.
    """

    name: str
    shape: tuple[Size, ...]
    kind: str = "dense"
    trained: bool = True
    scale: sp.Expr = sp.S.One
    rate: sp.Expr = sp.S.One

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise InvalidArgument(
                f"Argument 'name' must be an identifier such as 'W1', not {self.name!r}."
            )
        if not isinstance(self.kind, str) or self.kind not in ("dense", "diagonal", "bias"):
            raise InvalidArgument(
                f"Argument 'kind' must be 'dense', 'diagonal' or 'bias', not {self.kind!r}."
            )
        wanted = 2 if self.kind == "dense" else 1
        shape = self.shape if isinstance(self.shape, tuple) else (self.shape,)
        if len(shape) != wanted:
            raise ShapeMismatch(
                f"Argument 'shape' of the {self.kind} parameter '{self.name}' must have "
                f"{wanted} entr{'ies' if wanted == 2 else 'y'}, not {len(shape)}."
            )
        object.__setattr__(self, "shape", tuple(as_size(n, "shape") for n in shape))
        object.__setattr__(self, "scale", as_expressions((self.scale,), "scale")[0])
        object.__setattr__(self, "rate", self._as_rate())

    def _as_rate(self) -> sp.Expr:
        if isinstance(self.rate, (int, float, sp.Expr)) and self.rate == 0:
            raise InvalidArgument(
                f"Argument 'rate' of the parameter '{self.name}' must be positive, not 0; use "
                f"trained=False for a parameter that does not move."
            )
        rate = as_expression(self.rate, "rate")
        return sp.S.One if rate == 1 else rate

    def __matmul__(self, node: Node) -> Linear:
        return Linear(self, node)


@dataclass(frozen=True, eq=False)
class Node:
    """A value that the network computes for each sample; `size` is its number of units."""

    size: Size = field(init=False)

    @property
    def children(self) -> tuple[Node, ...]:
        """Nodes that it is computed from: its child, if it has one."""
        child = getattr(self, "child", None)
        return () if child is None else (child,)

    def __add__(self, other: Node | Parameter) -> Sum:
        addend = Bias(other) if isinstance(other, Parameter) else other
        mine = self.terms if isinstance(self, Sum) else (self,)
        return Sum((*mine, addend))

    def __getitem__(self, span: slice) -> Slice:
        if not isinstance(span, slice) or span.step not in (None, 1):
            raise InvalidArgument(
                f"Argument 'span' must be a slice start:stop without a step, not {span!r}."
            )
        return Slice(self, span.start or 0, self.size if span.stop is None else span.stop)


def _set_size(node: Node, size: Size) -> None:
    object.__setattr__(node, "size", size)


def _size_of(child: object) -> Size:
    if not isinstance(child, Node):
        raise InvalidArgument(
            f"Argument 'child' must be a node of symkernel.nodes, such as Input(3), not {child!r}."
        )
    return child.size


def _check_parameter(parameter: object) -> None:
    if not isinstance(parameter, Parameter):
        raise InvalidArgument(
            f"Argument 'parameter' must be a Parameter of symkernel.nodes, not {parameter!r}."
        )


@dataclass(frozen=True, eq=False)
class Input(Node):
    """The input vector of a sample."""

    width: Size

    def __post_init__(self) -> None:
        _set_size(self, as_size(self.width, "width"))


@dataclass(frozen=True, eq=False)
class Slice(Node):
    """Entries start to stop (excluded) of its child."""

    child: Node
    start: Size
    stop: Size

    def __post_init__(self) -> None:
        start = 0 if self.start == 0 else as_size(self.start, "start")
        stop = as_size(self.stop, "stop")
        size, whole = stop - start, _size_of(self.child)
        fits = as_sympy(stop) <= as_sympy(whole)
        if fits == sp.false or as_sympy(size).is_positive is False:
            raise ShapeMismatch(
                f"A slice must lie within its node of size {whole}, not {self.start}:{self.stop}."
            )
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "stop", stop)
        _set_size(self, size)


@dataclass(frozen=True, eq=False)
class Linear(Node):
    r"""$c\,W v$ for a dense, $c\,w \circ v$ for a diagonal parameter, $c$ its scale."""

    parameter: Parameter
    child: Node

    def __post_init__(self) -> None:
        _check_parameter(self.parameter)
        if self.parameter.kind == "bias":
            raise InvalidArgument(
                f"Parameter '{self.parameter.name}' is a bias and cannot be applied with @; "
                f"add it with +."
            )
        if as_sympy(self.parameter.shape[-1] - _size_of(self.child)) != 0:
            raise ShapeMismatch(
                f"Parameter '{self.parameter.name}' of shape {self.parameter.shape} cannot act "
                f"on a node of size {self.child.size}."
            )
        _set_size(self, self.parameter.shape[0])


@dataclass(frozen=True, eq=False)
class Bias(Node):
    """A bias vector, the same for each sample."""

    parameter: Parameter

    def __post_init__(self) -> None:
        _check_parameter(self.parameter)
        if self.parameter.kind != "bias":
            raise InvalidArgument(
                f"Parameter '{self.parameter.name}' must be of kind 'bias' to be added, "
                f"not {self.parameter.kind!r}."
            )
        _set_size(self, self.parameter.shape[0])


@dataclass(frozen=True, eq=False)
class Apply(Node):
    """An activation applied to each entry of its child: a name, an expression, or a record."""

    activation: Activation
    child: Node

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", activation(self.activation))
        _set_size(self, _size_of(self.child))


@dataclass(frozen=True, eq=False)
class Gate(Node):
    r"""$g \circ v$ with a gate $g$ given for each sample as an array (n_samples, size)."""

    name: str
    child: Node

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise InvalidArgument(
                f"Argument 'name' of a gate must be an identifier, not {self.name!r}."
            )
        _set_size(self, _size_of(self.child))


@dataclass(frozen=True, eq=False)
class Sum(Node):
    """The sum of its terms; a skip connection is a sum in which an early node occurs."""

    terms: tuple[Node, ...]

    def __post_init__(self) -> None:
        whole = isinstance(self.terms, (tuple, list))
        if not whole or not all(isinstance(term, Node) for term in self.terms):
            raise InvalidArgument(
                f"A sum must be of nodes and bias parameters, not {self.terms!r}."
            )
        sizes = {as_sympy(term.size) for term in self.terms}
        if len(sizes) != 1:
            raise ShapeMismatch(
                f"The terms of a sum must have one size, not {sorted(sizes, key=str)}."
            )
        _set_size(self, self.terms[0].size)

    @property
    def children(self) -> tuple[Node, ...]:
        """Nodes that it is computed from."""
        return self.terms


def described(node: Node) -> str:
    """Return what a node is called by those who draw networks."""
    match node:
        case Apply():
            return f"the activation {node.activation.name}"
        case Bias():
            return f"the bias '{node.parameter.name}'"
        case Linear():
            fixed = "" if node.parameter.trained else "fixed "
            diagonal = "diagonal " if node.parameter.kind == "diagonal" else ""
            return f"the {fixed}{diagonal}weight '{node.parameter.name}'"
        case Gate():
            return f"the gate '{node.name}'"
        case Slice():
            return "a slice of the units of a layer"
    return f"a node of kind {type(node).__name__}"
