r"""What a program that follows movements stores: values, secant slopes and contributions.

Names: node k has value ``v{k}``, argument of its activation ``p{k}``, slope ``d{k}``, secant slope
``s{k}`` and the contribution of one group ``c{k}``; tracked nodes have sums ``total{k}``. Parameter
j has value ``w{j}``, value before the step ``o{j}``, and move by one group ``h{j}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from symkernel.problem.network import Network
from symkernel.problem.nodes import Apply, Input, Node
from symkernel.simulation.layout import Layout, padded
from symkernel.simulation.plan import Plan, is_dense, is_identity


def is_curved(node: Node) -> bool:
    """Whether a node applies an activation that is not the identity."""
    return isinstance(node, Apply) and not is_identity(node)


class ProbePlan(Plan):
    """Decisions about a network whose movements are followed.

    Parameters
    ----------
    net : Network
        A network whose sizes are numbers.
    tracked : tuple of Node
        Nodes whose contributions are summed up; each has arrays of its own.
    """

    def __init__(self, net: Network, tracked: tuple[Node, ...]) -> None:
        super().__init__(net)
        self.tracked = tuple(node for node in tracked if node in self.trained)
        # What no tracked node depends on is not computed.
        self.needed = self._with_ancestors(self.tracked)

    def _with_ancestors(self, nodes: tuple[Node, ...]) -> frozenset[Node]:
        found = set(nodes)
        for node in reversed(self.order):
            if node in found:
                found |= set(node.children)
        return frozenset(found)

    @cached_property
    def stored(self) -> tuple[Node, ...]:
        """Nodes that have arrays of their own, of those that a tracked node depends on."""
        return tuple(node for node in super().stored if node in self.needed)

    def moves_on(self, node: Node) -> bool:
        """Whether what moves a node moves another one that is followed."""
        return any(consumer in self.needed for consumer in self.consumers[node])

    def _is_stored(self, node: Node) -> bool:
        return node in self.tracked or super()._is_stored(node)

    @cached_property
    def hosts(self) -> dict[Node, Node]:
        """None: values before a step are needed after it."""
        return {}

    @cached_property
    def buffers(self) -> tuple[tuple[str, Node], ...]:
        """Working arrays (name, node whose size gives the rows)."""
        found: dict[str, Node] = {}
        for node in self.stored:
            k = self.index[node]
            if isinstance(node, Input) or self.is_view(node):
                continue
            letters = "v"
            if node in self.trained:
                letters += "pds" if is_curved(node) else ""
                letters += "c" if is_dense(node) or self.moves_on(node) else ""
                both = is_dense(node) and node.parameter.trained  # type: ignore[attr-defined]
                letters += "q" if both and node.children[0] in self.trained else ""
            found |= {f"{letter}{k}": node for letter in letters}
        return tuple(found.items())


@dataclass(frozen=True, eq=False)
class ProbeLayout(Layout):
    """Sizes and offsets of a program that follows movements; its samples are the probe's.

    Parameters
    ----------
    tracked : tuple of Node
        See `ProbePlan`.
    """

    tracked: tuple[Node, ...] = ()

    @cached_property
    def plan(self) -> ProbePlan:
        """Names and decisions."""
        return ProbePlan(self.net, self.tracked)

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """Parts of the data: inputs, and gates."""
        return (("x", "n_in"), *((f"m{g}", f"rows_m{g}") for g in range(len(self.plan.gates))))

    def total_at(self, node: Node) -> int:
        """Return where the sums of a tracked node begin among those of a group."""
        return self.sizes[f"at_total{self.plan.index[node]}"]

    def _working_sizes(self, known: Mapping[str, int]) -> dict[str, int]:
        found, place = super()._working_sizes(known), 0
        for node in self.plan.tracked:
            k = self.plan.index[node]
            found |= {f"rows_total{k}": int(node.size), f"at_total{k}": place}
            place += padded(int(node.size) * self.block)
        return found | {"length_totals": place}
