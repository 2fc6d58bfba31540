r"""Pathways of gated deep linear networks: the products of weights that are open in each context.

In one context a network of linear layers, sums and gates is a sum of products
$W_D \cdots W_1$. Products that play the same part in different contexts, layer by layer in equally
many of them, are one pathway: shared where one matrix serves several contexts, private where it
serves one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sympy as sp

from symkernel.errors import (
    InvalidArgument,
    NoClosedForm,
    ShapeMismatch,
    as_count,
    as_real_array,
    as_seed,
)
from symkernel.problem.contexts import Context, contexts_of, half_open
from symkernel.problem.modes import Basis, common_basis
from symkernel.problem.network import Network
from symkernel.problem.nodes import Apply, Gate, Input, Linear, Node, Parameter, Sum, described
from symkernel.problem.task import Task
from symkernel.problem.weights import Weights, from_arrays

Path = tuple[str, ...]
# Strengths below this share of the largest one count as zero.
_NOTHING = 1e-12


@dataclass(frozen=True)
class Pathway:
    """What plays the same part in all contexts.

    Attributes
    ----------
    layers : tuple of tuple of str
        ``layers[l][k]`` is the weight of layer l, from the input on, in context k.
    serves : tuple of int
        In how many contexts each weight of a layer is used.
    scale : sympy.Expr
        Product of the parameterisation's factors.
    """

    layers: tuple[tuple[str, ...], ...]
    serves: tuple[int, ...]
    scale: sp.Expr

    @property
    def depth(self) -> int:
        """Number of layers of weights."""
        return len(self.layers)

    def path(self, context: int) -> Path:
        """Return the weights that are open in a context, from the input on."""
        return tuple(layer[context] for layer in self.layers)

    def __str__(self) -> str:
        shared = ", ".join(map(str, self.serves))
        return f"{self.depth} layers whose weights serve {shared} of {len(self.layers[0])} contexts"


def open_paths(network: Network, gates: Mapping[str, float]) -> dict[Path, sp.Expr]:
    """Return the products of weights that lead to the output with these gates, and their factors.

    Raises
    ------
    NoClosedForm
        If the network has other nodes than trained dense layers, sums and gates.
    """
    memo: dict[Node, dict[Path, sp.Expr]] = {}
    for node in network.order:
        match node:
            case Input():
                memo[node] = {(): sp.S.One}
            case Linear() if node.parameter.kind == "dense" and node.parameter.trained:
                p = node.parameter
                memo[node] = {(*path, p.name): c * p.scale for path, c in memo[node.child].items()}
            case Gate():
                memo[node] = memo[node.child] if gates[node.name] else {}
            case Sum():
                total: dict[Path, sp.Expr] = {}
                for term in node.terms:
                    for path, c in memo[term].items():
                        total[path] = total.get(path, sp.S.Zero) + c
                memo[node] = total
            case Apply() if node.activation.is_linear:
                memo[node] = memo[node.child]
            case _:
                raise NoClosedForm(
                    f"Pathways are products of trained dense layers behind gates, but the network "
                    f"has {described(node)}."
                )
    return memo[network.output]


def pathways_of(network: Network, patterns: Sequence[Mapping[str, float]]) -> tuple[Pathway, ...]:
    """Return the pathways of a network in contexts with these gates.

    Raises
    ------
    NoClosedForm
        If the products that are open do not correspond to each other from context to context, or
        a weight belongs to two pathways.

    Examples
    --------
    >>> import symkernel as sk
    >>> from symkernel.problem.pathways import pathways_of
    >>> net = sk.pathways.network(2, 3, 2, contexts=2)
    >>> gates = [{"context0": 1, "context1": 0}, {"context0": 0, "context1": 1}]
    >>> (found,) = pathways_of(net, gates)
    >>> assert found.serves == (2, 1) and found.layers == (("W1", "W1"), ("W2_0", "W2_1"))
    """
    opened = [open_paths(network, gates) for gates in patterns]
    serves: dict[str, set[int]] = {}
    for k, paths in enumerate(opened):
        for path in paths:
            if len(set(path)) < len(path):
                raise NoClosedForm(f"The weight is used twice on one path: {' '.join(path)}.")
            for name in path:
                serves.setdefault(name, set()).add(k)
    place = {p.name: k for k, p in enumerate(network.parameters)}
    found: list[dict[tuple, Path]] = []
    for paths in opened:
        kinds: dict[tuple, Path] = {}
        for path in sorted(paths, key=lambda path: [place[name] for name in path]):
            kind = (tuple(len(serves[name]) for name in path), paths[path])
            twin = sum(key[:2] == kind for key in kinds)
            kinds[(*kind, twin)] = path
        found.append(kinds)
    for k, kinds in enumerate(found):
        if not kinds or set(kinds) != set(found[0]):
            raise NoClosedForm(
                f"Context {k} opens {_counted(kinds)}, context 0 opens {_counted(found[0])}: every "
                f"context must open the same pathways."
            )
    pathways = tuple(
        Pathway(tuple(zip(*(kinds[key] for kinds in found), strict=True)), key[0], key[1])
        for key in found[0]
    )
    owner: dict[str, tuple[int, int]] = {}
    for j, pathway in enumerate(pathways):
        for depth, layer in enumerate(pathway.layers):
            for name in layer:
                if owner.setdefault(name, (j, depth)) != (j, depth):
                    raise NoClosedForm(f"The weight '{name}' belongs to two pathways.")
    return pathways


def _counted(kinds: Iterable[tuple]) -> str:
    listed = [f"({', '.join(map(str, key[0]))})" for key in kinds]
    return f"pathways whose layers serve {' and '.join(listed)} contexts" if listed else "nothing"


def network(
    inputs: int,
    hidden: int,
    outputs: int,
    *,
    contexts: int,
    sharing: Sequence[int] | Sequence[Sequence[int]] = (),
) -> Network:
    r"""Return a gated deep linear network whose pathways share their layers as wanted.

    Weights of layer $l$ of a pathway serve groups of ``sharing[l]`` consecutive contexts; the
    gates "context0", "context1", ... open the products of their context, as
    `environments.contexts` gives them.

    Parameters
    ----------
    inputs, hidden, outputs : int
        Units of the input, of every hidden layer and of the output.
    contexts : int
        Number of contexts, K.
    sharing : sequence of int, or a sequence of such
        For each layer of weights, from the input on, how many contexts a weight serves; a divisor
        of K. By default a shared input layer and private outputs, ``(K, 1)``. Several sequences
        are several pathways in parallel, as in the race ``[(K, 1), (1, 1)]``.

    Examples
    --------
    >>> import symkernel as sk
    >>> net = sk.pathways.network(3, 4, 2, contexts=2, sharing=(2, 1))
    >>> assert [p.name for p in net.parameters] == ["W1", "W2_0", "W2_1"]
    >>> race = sk.pathways.network(3, 4, 2, contexts=2, sharing=[(2, 1), (1, 1)])
    >>> assert len(race.parameters) == 3 + 4 and race.gates == ("context0", "context1")
    """
    count = as_count(contexts, "contexts")
    widths = [as_count(n, name) for n, name in ((inputs, "inputs"), (hidden, "hidden"))]
    n_out = as_count(outputs, "outputs")
    x = Input(widths[0])
    weights: dict[str, Parameter] = {}
    nodes: dict[tuple, Node] = {}
    terms: list[list[Node]] = [[] for _ in range(count)]
    for j, layers in enumerate(_as_sharing(sharing, count)):
        letter = "W" if j == 0 else f"W{'abcdefgh'[j]}"
        sizes = [widths[0], *[widths[1]] * (len(layers) - 1), n_out]
        for k in range(count):
            node: Node = x
            route: tuple[str, ...] = ()
            for depth, serves in enumerate(layers):
                name = f"{letter}{depth + 1}" + (f"_{k // serves}" if serves < count else "")
                shape = (sizes[depth + 1], sizes[depth])
                weight = weights.setdefault(name, Parameter(name, shape))
                route = (*route, name)
                # What contexts have in common from the input on is one node.
                node = nodes.setdefault(route, weight @ node)
            terms[k].append(node)
    gated: list[Node] = []
    for k, parts in enumerate(terms):
        gated.append(Gate(f"context{k}", parts[0] if len(parts) == 1 else Sum(tuple(parts))))
    return Network.build(gated[0] if count == 1 else Sum(tuple(gated)))


def _as_sharing(sharing: object, contexts: int) -> list[list[int]]:
    if isinstance(sharing, str) or not isinstance(sharing, Sequence):
        raise InvalidArgument(
            f"Argument 'sharing' must be a sequence with the number of contexts that a weight of "
            f"each layer serves, such as ({contexts}, 1), or several of them, not {sharing!r}."
        )
    rows = list(sharing) or [contexts, 1]
    if not any(isinstance(row, Sequence) for row in rows):
        rows = [rows]
    found = []
    for row in rows:
        if not isinstance(row, Sequence) or isinstance(row, str) or len(row) < 2:
            raise InvalidArgument(
                f"Argument 'sharing' must give two layers of weights or more for each pathway, "
                f"not {row!r}."
            )
        layers = [as_count(serves, "sharing") for serves in row]
        for serves in layers:
            if contexts % serves:
                raise InvalidArgument(
                    f"Argument 'sharing' must hold divisors of the {contexts} contexts, not "
                    f"{serves}."
                )
        found.append(layers)
    if len(found) > 8:
        raise InvalidArgument(
            f"Argument 'sharing' must give 8 pathways at most, not {len(found)}; build larger "
            f"networks with sk.Network.build."
        )
    return found


def stacked_basis(tasks: Sequence[Sequence[Context]], *sides: np.ndarray | None) -> Basis:
    """Return the singular basis of the targets of all contexts, one under the other.

    `sides` are the two weights of the network that maps the input to all contexts' outputs.
    """
    stacked = []
    for contexts in tasks:
        sxx = np.mean([context.Sxx for context in contexts], axis=0)
        syx = np.concatenate([context.Syx for context in contexts])
        sxx = (sxx + sxx.T) / 2
        syy = syx @ np.linalg.pinv(sxx, rcond=1e-12, hermitian=True) @ syx.T
        stacked.append(Task(Sxx=sxx, Syx=syx, Syy=(syy + syy.T) / 2))
    return common_basis(stacked, *sides)


def aligned(net: Network, task: Task, u: object, *, seed: int = 0) -> Weights:
    r"""Return balanced weights whose pathways are aligned with the modes of a task of contexts.

    With targets $U_k\,\mathrm{diag}(s)\,V^T$ in context k, each pathway starts as
    $U_k\,\mathrm{diag}(u)\,V^T$: layer $l$ carries amplitudes
    $a_l \propto \sqrt{m_l r_l}$ where it serves $m_l$ contexts and learns at the rate $r_l$, the
    balance that gradient flow keeps.

    Parameters
    ----------
    net : Network
        A gated deep linear network, say of `pathways.network`.
    task : Task
        With the gates of the network, say of `environments.contexts`.
    u : scalar, sequence or sequence of sequences
        Initial size of the modes, not negative: one for all; one for each pathway, or for each
        mode if there is one pathway; or for each pathway one for each mode, strongest first. Modes
        beyond the smallest hidden layer start at 0, and so do modes without strength.
    seed : int
        Seed of the hidden directions.

    Examples
    --------
    >>> import symkernel as sk
    >>> task = sk.environments.contexts(4, [2.0, 1.0], seed=1)
    >>> net = sk.pathways.network(2, 3, 2, contexts=4)
    >>> w0 = sk.pathways.aligned(net, task, u=0.01)
    >>> ratio = (w0.arrays["W1"] ** 2).sum() / (w0.arrays["W2_0"] ** 2).sum()
    >>> assert abs(ratio - 4) < 1e-12  # |shared|^2 = K |private|^2
    """
    for value, kind, name in ((net, Network, "net"), (task, Task, "task")):
        if not isinstance(value, kind):
            raise InvalidArgument(f"Argument '{name}' must be a {kind.__name__}, not {value!r}.")
    stream = np.random.default_rng(as_seed(seed))
    if half_open(net, task):
        raise InvalidArgument(
            f"Argument 'task' must have gates that are 0 or 1 for a whole layer, but one is "
            f"{half_open(net, task):.2g} away from that; open or close it, or use gaussian weights."
        )
    contexts = contexts_of(net, task)
    pathways = pathways_of(net, [context.gates for context in contexts])
    basis = stacked_basis([contexts])
    shapes = {p.name: (int(p.shape[0]), int(p.shape[1])) for p in net.parameters}
    rates = {p.name: float(p.rate) for p in net.parameters}
    modes = int((basis.s[0] > _NOTHING * max(basis.s[0][0], 1e-300)).sum())
    V = basis.V[:, :modes]
    sizes = _as_sizes(u, len(pathways), modes)
    arrays = {name: np.zeros(shape) for name, shape in shapes.items()}
    for pathway, start in zip(pathways, sizes, strict=True):
        widths = [shapes[layer[0]][0] for layer in pathway.layers[:-1]]
        used = min([modes, *widths])
        frames = [np.linalg.qr(stream.standard_normal((n, used)))[0] for n in widths]
        amplitudes = balanced_amplitudes(pathway, rates, start[:used])
        for k, context in enumerate(contexts):
            U = context.Syx @ V[:, :used]
            U = U / np.linalg.norm(U, axis=0)
            sides = [V[:, :used], *frames, U]
            for depth, name in enumerate(pathway.path(k)):
                arrays[name] = (sides[depth + 1] * amplitudes[depth]) @ sides[depth].T
    return from_arrays(net, arrays)


def balanced_amplitudes(pathway: Pathway, rates: dict[str, float], u: np.ndarray) -> np.ndarray:
    """Return the amplitudes of the layers, (depth, n_modes), at which flow is balanced."""
    roots = np.sqrt(
        [m * rates[layer[0]] for m, layer in zip(pathway.serves, pathway.layers, strict=True)]
    )
    return roots[:, None] * (u / (abs(float(pathway.scale)) * roots.prod())) ** (1 / pathway.depth)


def _as_sizes(u: object, pathways: int, modes: int) -> np.ndarray:
    dimensions = 2 if np.ndim(u) == 2 else 1  # type: ignore[arg-type]
    given = as_real_array([u] if np.ndim(u) == 0 else u, "u", dimensions)  # type: ignore[arg-type]
    if dimensions == 1:
        given = given[None, :] if pathways == 1 else given[:, None]
    if len(given) not in (1, pathways) or given.shape[1] not in (1, modes):
        raise ShapeMismatch(
            f"Argument 'u' must hold one number, one for each of the {pathways} pathways, or for "
            f"each of them one for each of the {modes} modes, not shape {given.shape}."
        )
    if given.min() < 0:
        raise InvalidArgument(f"Argument 'u' must not be negative, but holds {given.min():g}.")
    return np.broadcast_to(given, (pathways, modes))
