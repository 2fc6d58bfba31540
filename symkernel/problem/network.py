r"""The network: one expression, from which both the derivation and the simulation are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from types import MappingProxyType
from typing import TypeAlias

import sympy as sp

from symkernel.errors import InvalidArgument, ShapeMismatch, did_you_mean
from symkernel.problem.activation import Activation
from symkernel.problem.activation import activation as find_activation
from symkernel.problem.nodes import (
    Apply,
    Bias,
    Gate,
    Input,
    Linear,
    Node,
    Parameter,
    Size,
    Slice,
    Sum,
    as_size,
)
from symkernel.problem.scalars import as_expression, as_expressions, as_sympy

PARAMETERISATIONS = ("standard", "ntk")
ActivationLike: TypeAlias = str | sp.Expr | Activation
# The node classes that theory and simulation know what to do with.
_KINDS = (Apply, Bias, Gate, Input, Linear, Slice, Sum)


@dataclass(frozen=True, eq=False)
class Network:
    """A feed-forward expression of one input, with names for the nodes that matter.

    Use `two_layer`, `mlp` or `build`.

    Attributes
    ----------
    output : Node
        The last node.
    nodes : mapping of str to Node
        Named nodes; "input" and "output" are always there, "hidden" is the last hidden one.
    parameterisation : {"standard", "ntk"}
        Printed with every result; the scales themselves are in the parameters.

    Examples
    --------
    >>> import symkernel as sk
    >>> net = sk.Network.two_layer(inputs=8, hidden=16, outputs=4)
    >>> assert [p.shape for p in net.parameters] == [(16, 8), (4, 16)] and net.is_linear
    """

    output: Node
    nodes: Mapping[str, Node]
    parameterisation: str = "standard"

    def __post_init__(self) -> None:
        strange = [type(node).__name__ for node in self.order if not isinstance(node, _KINDS)]
        if strange:
            raise InvalidArgument(
                f"A network must be made of the nodes of symkernel.nodes, not of {strange[0]!r}."
            )
        inputs = [node for node in self.order if isinstance(node, Input)]
        if len(inputs) != 1:
            raise InvalidArgument(
                f"A network must have exactly one Input node, not {len(inputs)}; build parts of "
                f"the input with slices, as x[0:3]."
            )
        unknown = [name for name, node in self.nodes.items() if node not in self.order]
        if unknown:
            raise InvalidArgument(
                f"Argument 'names' must name nodes that lead to the output, but {unknown[0]!r} "
                f"does not."
            )
        own = {"input": inputs[0], "output": self.output}
        for name, node in own.items():
            if self.nodes.get(name, node) is not node:
                raise InvalidArgument(f"The name {name!r} is taken; choose another one.")
        named = {**self.nodes, **own}
        object.__setattr__(self, "nodes", MappingProxyType(named))
        seen: dict[str, Parameter] = {}
        for parameter in self.parameters:
            if seen.setdefault(parameter.name, parameter) is not parameter:
                raise InvalidArgument(
                    f"Two different parameters are called {parameter.name!r}; use one Parameter "
                    f"object to share it, or give them different names."
                )

    def __repr__(self) -> str:
        kinds = dict.fromkeys(n.activation.name for n in self.order if isinstance(n, Apply))
        shapes = ", ".join(f"{p.name} {tuple(p.shape)}" for p in self.parameters)
        return f"Network({shapes}; {', '.join(kinds) or 'linear'}; {self.parameterisation})"

    @cached_property
    def order(self) -> tuple[Node, ...]:
        """All nodes, children before parents."""
        done: dict[Node, None] = {}

        def visit(node: Node) -> None:
            if node not in done:
                for child in node.children:
                    visit(child)
                done[node] = None

        visit(self.output)
        return tuple(done)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Parameters in the order in which the forward pass meets them."""
        found: dict[Parameter, None] = {}
        for node in self.order:
            if isinstance(node, (Linear, Bias)):
                found[node.parameter] = None
        return tuple(found)

    @property
    def inputs(self) -> Size:
        """Number of inputs."""
        return self.nodes["input"].size

    @property
    def outputs(self) -> Size:
        """Number of outputs."""
        return self.output.size

    @property
    def gates(self) -> tuple[str, ...]:
        """Names of the gates, each to be given per sample."""
        return tuple(dict.fromkeys(n.name for n in self.order if isinstance(n, Gate)))

    @property
    def gate_sizes(self) -> dict[str, int]:
        """Number of units of each gate's layer, of a network whose sizes are numbers."""
        return {n.name: int(n.size) for n in self.order if isinstance(n, Gate)}

    @cached_property
    def is_linear(self) -> bool:
        """Whether no node but "linear" activations is nonlinear, and there is no gate or bias."""
        return not any(
            (isinstance(node, Apply) and not node.activation.is_linear)
            or isinstance(node, (Bias, Gate))
            for node in self.order
        )

    @cached_property
    def is_chain(self) -> bool:
        """Whether it is a product of different dense trained layers and nothing else."""
        layers = [node.parameter for node in self.order if isinstance(node, Linear)]
        plain = all(p.kind == "dense" and p.trained for p in layers)
        return plain and len(self.order) == len(layers) + 1 == len(set(layers)) + 1

    @property
    def activations(self) -> tuple[Activation, ...]:
        """Activations in the order in which the forward pass meets them, each once."""
        return tuple(dict.fromkeys(n.activation for n in self.order if isinstance(n, Apply)))

    @cached_property
    def free_symbols(self) -> set[sp.Symbol]:
        """Symbols in sizes, scales and rates."""
        sizes = (as_sympy(node.size) for node in self.order)
        factors = (factor for p in self.parameters for factor in (p.scale, p.rate))
        return set().union(*(e.free_symbols for e in (*sizes, *factors)))

    @property
    def is_diagonal(self) -> bool:
        """Whether some weights are diagonal: what learns is then a coordinate, not a mode."""
        return any(p.kind == "diagonal" for p in self.parameters)

    @property
    def is_numeric(self) -> bool:
        """Whether all sizes, scales and rates are numbers."""
        return not self.free_symbols

    def with_values(self, values: Mapping[sp.Symbol, object]) -> Network:
        """Return the network with numbers in place of symbols."""

        def sized(size: Size) -> Size:
            number = as_sympy(size).subs(values)
            return int(number) if number.is_number else number

        moved = {
            p: replace(
                p,
                shape=tuple(map(sized, p.shape)),
                scale=p.scale.subs(values),
                rate=p.rate.subs(values),
            )
            for p in self.parameters
        }
        done: dict[Node, Node] = {}
        for node in self.order:
            match node:
                case Input():
                    done[node] = Input(sized(node.width))
                case Slice():
                    done[node] = Slice(done[node.child], sized(node.start), sized(node.stop))
                case Linear():
                    done[node] = Linear(moved[node.parameter], done[node.child])
                case Bias():
                    done[node] = Bias(moved[node.parameter])
                case Sum():
                    done[node] = Sum(tuple(done[term] for term in node.terms))
                case Apply() | Gate():
                    done[node] = replace(node, child=done[node.child])
        names = {name: done[node] for name, node in self.nodes.items()}
        return Network(done[self.output], names, self.parameterisation)

    def node(self, name: str) -> Node:
        """Return a named node.

        Raises
        ------
        InvalidArgument
            If the network has no node of that name; the message lists the names.
        """
        try:
            return self.nodes[name]
        except (KeyError, TypeError):
            raise InvalidArgument(
                f"The network has no node {name!r}, its nodes are {', '.join(self.nodes)}"
                f"{did_you_mean(name, self.nodes)}"
            ) from None

    @classmethod
    def build(
        cls,
        output: Node,
        names: Mapping[str, Node] | None = None,
        parameterisation: str = "standard",
    ) -> Network:
        """Return the network of any feed-forward expression.

        Parameters
        ----------
        output : Node
            The expression, see `symkernel.nodes`.
        names : mapping of str to Node, optional
            Nodes to be referred to, say {"hidden": h}.
        parameterisation : str
            A word for the conventions block.

        Examples
        --------
        >>> import symkernel as sk
        >>> from symkernel.nodes import Apply, Input, Parameter
        >>> x = Input(3)
        >>> h = Apply("tanh", Parameter("W1", (5, 3)) @ x + Parameter("b1", (5,), "bias"))
        >>> net = sk.Network.build(Parameter("W2", (2, 5)) @ h + Parameter("D", (2, 3)) @ x,
        ...                        names={"hidden": h})
        >>> assert net.outputs == 2
        """
        if not isinstance(output, Node):
            raise InvalidArgument(
                f"Argument 'output' must be a node of symkernel.nodes, not {output!r}."
            )
        if names is not None and not isinstance(names, Mapping):
            raise InvalidArgument(
                f"Argument 'names' must map names to nodes, as {{'hidden': h}}, not {names!r}."
            )
        return cls(output, dict(names or {}), parameterisation)

    @classmethod
    def mlp(
        cls,
        sizes: Sequence[Size],
        activation: ActivationLike | Sequence[ActivationLike] = "tanh",
        bias: bool = False,
        parameterisation: str = "standard",
        output_activation: ActivationLike = "linear",
        rates: Sequence[object] | None = None,
    ) -> Network:
        r"""Return a multilayer perceptron.

        Parameters
        ----------
        sizes : sequence of int or symbols
            Units of input, hidden layers and output.
        activation : str, sympy.Expr or Activation, or a sequence of them
            Name of the activation of every hidden layer, or any SymPy expression of one real
            symbol, or one for each hidden layer.
        bias : bool
            Whether each layer has a trained bias.
        parameterisation : {"standard", "ntk"}
            With "ntk" each dense weight is multiplied by $1/\sqrt{\text{fan-in}}$ where used.
        output_activation : str, sympy.Expr or Activation
            The output nonlinearity.
        rates : sequence of numbers or symbols, optional
            Factor on the learning rate of each dense layer; its bias has the same.

        Examples
        --------
        >>> import sympy as sp, symkernel as sk
        >>> net = sk.Network.mlp([20, 64, 64, 10], activation="tanh", bias=True)
        >>> assert set(net.nodes) == {"input", "hidden1", "hidden2", "hidden", "output"}
        >>> z = sp.Symbol("z")
        >>> net = sk.Network.mlp([5, 8, 8, 1], ["relu", sp.sin(z)], output_activation="sigmoid")
        >>> assert [phi.name for phi in net.activations] == ["relu", "sin(z)", "sigmoid"]
        """
        if not isinstance(sizes, Sequence) or len(sizes) < 2:
            raise ShapeMismatch(
                f"Argument 'sizes' must hold at least inputs and outputs, not {sizes!r}."
            )
        if not isinstance(parameterisation, str) or parameterisation not in PARAMETERISATIONS:
            raise InvalidArgument(
                f"Argument 'parameterisation' must be {' or '.join(map(repr, PARAMETERISATIONS))}, "
                f"not {parameterisation!r}."
            )
        widths = [as_size(n, "sizes") for n in sizes]
        kinds = [*_one_per_layer(activation, len(widths) - 2), find_activation(output_activation)]
        factors = _as_rates(rates, len(widths) - 1)
        node: Node = Input(widths[0])
        names: dict[str, Node] = {}
        for layer, (fan_in, fan_out) in enumerate(pairwise(widths), 1):
            scale = 1 / sp.sqrt(fan_in) if parameterisation == "ntk" else sp.Integer(1)
            rate = factors[layer - 1]
            node = Parameter(f"W{layer}", (fan_out, fan_in), scale=scale, rate=rate) @ node
            if bias:
                node = node + Parameter(f"b{layer}", (fan_out,), "bias", rate=rate)
            if not kinds[layer - 1].is_linear:
                node = Apply(kinds[layer - 1], node)
            if layer < len(widths) - 1:
                names[f"hidden{layer}"] = node
        if names:
            names["hidden"] = names[f"hidden{len(widths) - 2}"]
        return cls(node, names, parameterisation)

    @classmethod
    def two_layer(
        cls,
        inputs: Size,
        hidden: Size,
        outputs: Size,
        activation: ActivationLike = "linear",
        bias: bool = False,
        parameterisation: str = "standard",
        rates: Sequence[object] | None = None,
    ) -> Network:
        r"""Return $f = W_2\,\phi(W_1 x)$: one hidden layer.

        Parameters
        ----------
        inputs, hidden, outputs : int or symbols
            Units of the three layers.
        activation, bias, parameterisation, rates
            As in `mlp`.

        Examples
        --------
        >>> import symkernel as sk
        >>> net = sk.Network.two_layer(inputs=2, hidden=3, outputs=1, rates=[2, 0.5])
        >>> assert [p.rate for p in net.parameters] == [2, 0.5]
        """
        sizes = [
            as_size(inputs, "inputs"),
            as_size(hidden, "hidden"),
            as_size(outputs, "outputs"),
        ]
        return cls.mlp(sizes, activation, bias, parameterisation, rates=rates)


def _one_per_layer(
    given: ActivationLike | Sequence[ActivationLike], layers: int
) -> list[Activation]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        return [find_activation(given)] * layers
    if len(given) != layers:
        raise ShapeMismatch(
            f"Argument 'activation' must hold one activation for each of the {layers} hidden "
            f"layers, not {len(given)}."
        )
    return [find_activation(one) for one in given]


def _as_rates(rates: object, layers: int) -> list[sp.Expr]:
    if rates is None:
        return [sp.S.One] * layers
    found = [as_expression(rate, "rates") for rate in as_expressions(rates, "rates")]
    if len(found) != layers:
        raise ShapeMismatch(
            f"Argument 'rates' must hold one rate for each of the {layers} dense layers, not "
            f"{len(found)}."
        )
    return found
