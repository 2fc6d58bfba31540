"""Networks drawn at random from every kind of node, and numbers for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sympy as sp
from hypothesis import strategies as st

from symkernel.errors import InvalidArgument, as_count, as_seed
from symkernel.problem.activation import ACTIVATIONS, Activation, activation
from symkernel.problem.network import PARAMETERISATIONS, Network
from symkernel.problem.nodes import Apply, Bias, Gate, Input, Node, Parameter

SEEDS = st.integers(0, 2**32 - 1)
_SCALES = (sp.Integer(1), sp.Rational(1, 2), sp.Integer(-1), 1 / sp.sqrt(3))
_RATES = (sp.Integer(1), sp.Integer(1), sp.Integer(3), sp.Rational(1, 2))
_ACTIVATIONS = tuple(ACTIVATIONS)
_KINDS = ("dense", "dense", "apply", "apply", "diagonal", "bias", "slice", "gate", "sum", "skip")


def two_layer_networks(
    most: int = 5, activations: Sequence[str] = ("linear",)
) -> st.SearchStrategy[Network]:
    r"""Draw $W_2\,\phi(W_1 x)$: every width from 1 to `most`, both parameterisations.

    Parameters
    ----------
    most : int
        Units of the widest layer.
    activations : sequence of str
        Names of activations to draw from.

    Examples
    --------
    >>> from hypothesis import find
    >>> from symkernel.testing import two_layer_networks
    >>> net = find(two_layer_networks(), lambda net: net.parameterisation == "ntk")
    >>> assert int(net.inputs) == int(net.outputs) == 1
    """
    widths = st.integers(1, as_count(most, "most"))
    return st.builds(
        Network.two_layer,
        inputs=widths,
        hidden=widths,
        outputs=widths,
        activation=st.sampled_from(_known(activations)),
        parameterisation=st.sampled_from(PARAMETERISATIONS),
    )


def mlps(
    most: int = 5,
    most_layers: int = 4,
    activations: Sequence[str] = _ACTIVATIONS,
) -> st.SearchStrategy[Network]:
    """Draw multilayer perceptrons of 1 to `most_layers` layers, with and without biases.

    Parameters
    ----------
    most : int
        Units of the widest layer.
    most_layers : int
        Weight matrices of the deepest network.
    activations : sequence of str
        Names of activations to draw from.

    Examples
    --------
    >>> from hypothesis import find
    >>> from symkernel.testing import mlps
    >>> net = find(mlps(), lambda net: len(net.parameters) > 3)
    >>> assert len(net.parameters) == 4
    """
    widths = st.integers(1, as_count(most, "most"))
    layers = as_count(most_layers, "most_layers")
    return st.builds(
        Network.mlp,
        st.lists(widths, min_size=2, max_size=layers + 1),
        activation=st.sampled_from(_known(activations)),
        bias=st.booleans(),
        parameterisation=st.sampled_from(PARAMETERISATIONS),
    )


def networks(
    most: int = 4,
    most_nodes: int = 9,
    activations: st.SearchStrategy[Activation] | None = None,
) -> st.SearchStrategy[Network]:
    """Draw any feed-forward expression, of every kind of node and parameter there is.

    Dense and diagonal weights and biases, trained and fixed, shared or not, with scales and
    rates; slices; gates, several of one name; activations, also on the output and of a bias
    alone; sums and skips. An inner node, if there is one, is called "hidden".

    Parameters
    ----------
    most : int
        Units of the widest layer.
    most_nodes : int
        Nodes after the first dense weight (4 at least).
    activations : strategy of Activation, optional
        By default the named ones.

    Examples
    --------
    >>> from hypothesis import find
    >>> from symkernel.testing import networks
    >>> gated = find(networks(), lambda net: net.gates)
    >>> assert gated.gates == ("g1",)
    """
    if activations is None:
        activations = st.sampled_from(list(ACTIVATIONS.values()))
    if not isinstance(activations, st.SearchStrategy):
        raise InvalidArgument(
            f"Argument 'activations' must be a strategy of activations, not {activations!r}."
        )
    nodes = as_count(most_nodes, "most_nodes", least=4)
    return _networks(as_count(most, "most"), nodes, activations)


@st.composite
def _networks(
    draw: st.DrawFn, most: int, most_nodes: int, activations: st.SearchStrategy[Activation]
) -> Network:
    x = Input(draw(st.integers(1, most)))
    # A trained weight to begin with: otherwise most kernels are zero.
    parameters = [Parameter("W0", (draw(st.integers(1, most)), x.size))]
    nodes: list[Node] = [x, parameters[0] @ x]
    for kind in draw(st.lists(st.sampled_from(_KINDS), min_size=4, max_size=most_nodes)):
        # Mostly the newest node, so that networks get deep.
        child = nodes[-1] if draw(st.integers(0, 2)) else draw(st.sampled_from(nodes))
        if kind == "apply":
            nodes.append(Apply(draw(activations), child))
        else:
            nodes.append(_node(draw, kind, child, nodes, parameters, most))
    inner = [o for o in Network.build(nodes[-1]).order[:-1] if not isinstance(o, Input)]
    names = {"hidden": draw(st.sampled_from(inner))} if inner else {}
    return Network.build(nodes[-1], names)


def _node(
    draw: st.DrawFn,
    kind: str,
    child: Node,
    nodes: list[Node],
    parameters: list[Parameter],
    most: int,
) -> Node:
    n = int(child.size)
    match kind:
        case "dense":
            return _parameter(draw, kind, (draw(st.integers(1, most)), n), parameters) @ child
        case "diagonal":
            return _parameter(draw, kind, (n,), parameters) @ child
        case "bias":
            bias = _parameter(draw, kind, (n,), parameters)
            return child + (bias if draw(st.booleans()) else Apply(activation("tanh"), Bias(bias)))
        case "slice":
            start = draw(st.integers(0, n - 1))
            return child[start : draw(st.integers(start + 1, n))]
        case "gate":
            sizes = {node.name: int(node.size) for node in nodes if isinstance(node, Gate)}
            known = [name for name, size in sizes.items() if size == n]
            return Gate(draw(st.sampled_from(known or [f"g{len(sizes) + 1}"])), child)
    return child + draw(st.sampled_from([o for o in nodes if o.size == n]))


def _parameter(
    draw: st.DrawFn, kind: str, shape: tuple[int, ...], parameters: list[Parameter]
) -> Parameter:
    """Share a parameter that fits, or make one."""
    known = [p for p in parameters if p.kind == kind and p.shape[-1] == shape[-1]]
    share: bool = draw(st.booleans()) if known else False
    if share:
        return draw(st.sampled_from(known))
    name = f"{'WDb'[('dense', 'diagonal', 'bias').index(kind)]}{len(parameters)}"
    trained, scale = draw(st.integers(0, 3)) > 0, draw(st.sampled_from(_SCALES))
    rate = draw(st.sampled_from(_RATES))
    parameters.append(Parameter(name, shape, kind, trained, scale, rate))
    return parameters[-1]


@dataclass(frozen=True, eq=False)
class NumericalNetwork:
    """A network with numbers for all it needs, on two sets of samples.

    Attributes
    ----------
    net : Network
    weights : mapping of str to ndarray
    X, X2 : ndarray, shape (n_samples, n_inputs)
    gates, gates2 : mapping of str to ndarray, shape (n_samples, size)
        For X and for X2.
    """

    net: Network
    weights: Mapping[str, np.ndarray]
    X: np.ndarray
    X2: np.ndarray
    gates: Mapping[str, np.ndarray]
    gates2: Mapping[str, np.ndarray]


def numerical(net: Network, seed: int, samples: tuple[int, int] = (2, 3)) -> NumericalNetwork:
    """Return the network with standard normal weights (biases too), samples and gates.

    Parameters
    ----------
    net : Network
    seed : int
    samples : (int, int)
        How many samples X and X2 hold.

    Examples
    --------
    >>> import symkernel as sk
    >>> from symkernel.testing import numerical
    >>> case = numerical(sk.Network.two_layer(3, 4, 2), seed=0)
    >>> assert case.X.shape == (2, 3) and case.X2.shape == (3, 3)
    """
    if not isinstance(net, Network) or not net.is_numeric:
        raise InvalidArgument(f"Argument 'net' must be a Network without symbols, not {net!r}.")
    counts = [as_count(n, "samples") for n in samples]
    stream = np.random.default_rng(as_seed(seed))
    weights = {p.name: stream.standard_normal(tuple(map(int, p.shape))) for p in net.parameters}
    X, X2 = (stream.standard_normal((n, int(net.inputs))) for n in counts)
    sizes = net.gate_sizes
    gates, gates2 = (
        {name: stream.standard_normal((n, size)) for name, size in sizes.items()} for n in counts
    )
    return NumericalNetwork(net, weights, X, X2, gates, gates2)


def numerical_networks(
    of: st.SearchStrategy[Network] | None = None,
) -> st.SearchStrategy[NumericalNetwork]:
    """Draw networks with standard normal weights, samples and gates.

    Parameters
    ----------
    of : strategy of Network, optional
        By default `networks`.

    Examples
    --------
    >>> from hypothesis import find
    >>> from symkernel.testing import mlps, numerical_networks
    >>> case = find(numerical_networks(mlps()), lambda case: len(case.weights) == 2)
    >>> assert case.X.shape == (2, 1)
    """
    if of is not None and not isinstance(of, st.SearchStrategy):
        raise InvalidArgument(f"Argument 'of' must be a strategy of networks, not {of!r}.")
    return st.builds(numerical, networks() if of is None else of, SEEDS)


def _known(activations: Sequence[str]) -> list[str]:
    if isinstance(activations, str) or not activations:
        raise InvalidArgument(
            f"Argument 'activations' must be a sequence of names, not {activations!r}."
        )
    return [activation(name).name for name in activations]
