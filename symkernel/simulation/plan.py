r"""What the program of a network stores, what it computes in passing, and under which names.

Values are held as (units, samples) arrays of one block of samples, so that weights act in their
natural orientation, slices of units are contiguous, and elementwise loops run along samples.
Names: node k has value ``v{k}``, slope ``d{k}`` and gradient ``a{k}``; parameter j has value
``w{j}`` and gradient ``g{j}``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from symkernel.problem.loss import Misfit
from symkernel.problem.network import Network
from symkernel.problem.nodes import Apply, Bias, Input, Linear, Node, Parameter, Slice, Sum


def is_dense(node: Node) -> bool:
    """Whether a node is a product with a dense weight."""
    return isinstance(node, Linear) and node.parameter.kind == "dense"


def is_identity(node: Node) -> bool:
    """Whether a node hands its child on."""
    return isinstance(node, Apply) and node.activation.is_linear


class Plan:
    """Decisions about one network.

    Parameters
    ----------
    net : Network
        A network whose sizes are numbers.
    on_moments : bool
        Whether the input is the identity matrix, so that a dense weight on the input is its own
        value: the program then follows the end-to-end map and sees second moments alone.
    is_weighted : bool
        Whether each sample has a weight in the loss.
    misfit : {"squares", "softmax", "logistic"}
        What the loss is the mean of, see `symkernel.problem.loss`.
    """

    def __init__(
        self,
        net: Network,
        on_moments: bool = False,
        is_weighted: bool = False,
        misfit: Misfit = "squares",
    ) -> None:
        self.net = net
        self.misfit = misfit
        self.on_moments = on_moments
        self.is_weighted = is_weighted
        self.order = net.order
        self.index = {node: k for k, node in enumerate(self.order)}
        self.parameters = net.parameters
        self.parameter_index = {p: j for j, p in enumerate(self.parameters)}
        self.consumers: dict[Node, list[Node]] = {node: [] for node in self.order}
        for node in self.order:
            for child in node.children:
                self.consumers[child].append(node)

    @cached_property
    def trained(self) -> frozenset[Node]:
        """Nodes that depend on a trained parameter: those whose gradient is needed."""
        found: set[Node] = set()
        for node in self.order:
            own = isinstance(node, (Linear, Bias)) and node.parameter.trained
            if own or any(child in found for child in node.children):
                found.add(node)
        return frozenset(found)

    @cached_property
    def stored(self) -> tuple[Node, ...]:
        """Nodes that have arrays of their own, children before parents; the rest is in passing."""
        return tuple(node for node in self.order if self._is_stored(node))

    def _is_stored(self, node: Node) -> bool:
        if node is self.net.output or isinstance(node, Input) or is_dense(node):
            return True
        if isinstance(node, Apply) and not is_identity(node):
            return True
        consumers = self.consumers[node]
        return len(consumers) != 1 or is_dense(consumers[0])

    def is_stored(self, node: Node) -> bool:
        """Whether a node has an array of its own."""
        return node in self._stored_set

    @cached_property
    def _stored_set(self) -> frozenset[Node]:
        return frozenset(self.stored)

    @cached_property
    def hosts(self) -> dict[Node, Node]:
        """Dense products that share the arrays of the elementwise node they alone lead to.

        The node overwrites the product's value in place, and on the way back its own gradient
        with the product's. What is multiplied in between would need the value again.
        """
        hosts: dict[Node, Node] = {}
        for node, host in self._wanted_hosts.items():
            if host not in hosts.values():
                hosts[node] = host
        return hosts

    @cached_property
    def followers(self) -> dict[Node, Node]:
        """Other terms of the sums: their gradient is that of the one that has the host's arrays."""
        taken = self.hosts.values()
        wanted = self._wanted_hosts.items()
        return {n: host for n, host in wanted if n not in self.hosts and host in taken}

    @cached_property
    def _wanted_hosts(self) -> dict[Node, Node]:
        """Dense products with the elementwise node that they alone lead to, if there is one."""
        found = {}
        for node in self.stored:
            if is_dense(node) and node is not self.net.output and not self.is_weight(node):
                host = self._host(node)
                if host is not None:
                    found[node] = host
        return found

    def _host(self, node: Node) -> Node | None:
        while len(self.consumers[node]) == 1:
            node = self.consumers[node][0]
            if not isinstance(node, (Sum, Apply)):
                return None
            if self.is_stored(node):
                return node
        return None

    def is_weight(self, node: Node) -> bool:
        """Whether a node's value is a weight itself: a dense one on the input, on moments."""
        return self.on_moments and is_dense(node) and isinstance(node.children[0], Input)

    def is_gradient_of_weight(self, node: Node) -> bool:
        """Whether the node's gradient is written as the weight's: it is used nowhere else."""
        if not self.is_weight(node):
            return False
        parameter = node.parameter  # type: ignore[attr-defined]
        return parameter.trained and len(self.uses(parameter)) == 1

    def is_view(self, node: Node) -> bool:
        """Whether a node's value is part of a stored array."""
        return isinstance(node, Slice) and self.is_stored(node) and self.is_stored(node.child)

    def uses(self, parameter: Parameter) -> list[Node]:
        """Nodes in which a parameter occurs."""
        return [
            node
            for node in self.order
            if isinstance(node, (Linear, Bias)) and node.parameter is parameter
        ]

    def value(self, node: Node) -> str:
        """Name of the array that holds a stored node's value."""
        if isinstance(node, Input):
            return "x"
        if self.is_weight(node):
            return f"w{self.parameter_index[node.parameter]}"  # type: ignore[attr-defined]
        return f"v{self.index[self.hosts.get(node, node)]}"

    def gradient(self, node: Node) -> str:
        """Name of the array that holds the loss's gradient at a stored node."""
        if self.is_gradient_of_weight(node):
            return f"g{self.parameter_index[node.parameter]}"  # type: ignore[attr-defined]
        return f"a{self.index[self.hosts.get(node) or self.followers.get(node, node)]}"

    def accumulates(self, node: Node) -> bool:
        """Whether several parts add up to a stored node's gradient, or some of it stays zero."""
        return len(self.consumers[node]) > 1 or any(self._partial(node))

    def _partial(self, node: Node) -> Iterator[bool]:
        for consumer in self.consumers[node]:
            yield isinstance(consumer, Slice)
            if not self.is_stored(consumer):
                yield from self._partial(consumer)

    @cached_property
    def buffers(self) -> tuple[tuple[str, Node], ...]:
        """Working arrays (name, node whose size gives the rows)."""
        found: dict[str, Node] = {}
        for node in self.stored:
            k = self.index[node]
            if not (isinstance(node, Input) or self.is_weight(node) or self.is_view(node)):
                found[self.value(node)] = self.hosts.get(node, node)
            if node in self.trained and not self.is_gradient_of_weight(node):
                found[self.gradient(node)] = self.hosts.get(node, node)
            if isinstance(node, Apply) and node.child in self.trained and not is_identity(node):
                found[f"d{k}"] = node
            if is_dense(node):
                child = node.children[0]
                if child in self.trained and self.accumulates(child):
                    found[f"q{k}"] = child
        if self.net.output not in self.trained:
            found[self.gradient(self.net.output)] = self.net.output
        return tuple(found.items())

    @property
    def columns(self) -> tuple[str, ...]:
        """Working arrays of one number for each sample: largest output, sum of exponentials."""
        return ("top", "mass") if self.misfit == "softmax" else ()

    @cached_property
    def gates(self) -> tuple[str, ...]:
        """Names of the gates in the order in which their arrays are packed."""
        return self.net.gates

    @cached_property
    def slices(self) -> tuple[Slice, ...]:
        """The slices of the network."""
        return tuple(node for node in self.order if isinstance(node, Slice))

    @cached_property
    def shared(self) -> tuple[Parameter, ...]:
        """Dense trained parameters used more than once: their parts need a place each."""
        return tuple(
            p for p in self.parameters if p.kind == "dense" and p.trained and len(self.uses(p)) > 1
        )
