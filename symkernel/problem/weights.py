"""Initial weights: drawn, aligned with a task, balanced, or given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import sympy as sp

from symkernel.errors import (
    InvalidArgument,
    MissingValues,
    ShapeMismatch,
    as_positive,
    as_real_array,
    as_seed,
    as_values,
)
from symkernel.problem.amplitudes import Amplitudes, alignment, chain_roots, orthonormal
from symkernel.problem.network import Network
from symkernel.problem.nodes import Apply, Linear
from symkernel.problem.scalars import as_expressions
from symkernel.problem.task import Task


@dataclass(frozen=True, eq=False)
class Weights:
    """Initial values of all parameters of a network.

    Attributes
    ----------
    values : mapping of str to ndarray, or None
        By parameter name, shaped like the parameters; None while there are symbols. `arrays` is
        the same, or an error that names the symbols.
    amplitudes : Amplitudes or None
        For weights aligned with a task: the amplitudes, from which `arrays` are made.
    provenance : str
        How the weights were made, for the record.
    """

    values: Mapping[str, np.ndarray] | None
    provenance: str
    amplitudes: Amplitudes | None = None

    def __repr__(self) -> str:
        shapes = ", ".join(f"{n} {w.shape}" for n, w in (self.values or {}).items())
        return f"Weights({shapes or 'with symbols'}; {self.provenance})"

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Values by parameter name; raises `MissingValues` where they are symbols yet."""
        if self.values is None:
            symbols = self.amplitudes.free_symbols if self.amplitudes else set()
            names = ", ".join(sorted(q.name for q in symbols)) or "the symbols of the task"
            raise MissingValues(
                f"These weights have no numbers yet; give values for {names} with "
                f"compile(values={{...}})."
            )
        return self.values

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Symbols without a value."""
        return self.amplitudes.free_symbols if self.amplitudes is not None else set()

    def with_values(self, net: Network, task: Task, values: Mapping[sp.Symbol, object]) -> Weights:
        """Return the weights with numbers in place of symbols; `task` is numerical already."""
        if self.amplitudes is None or self.values is not None:
            return self
        values = as_values(values, self.free_symbols, "weights")
        a, b = (
            tuple(as_expressions([q.subs(values) for q in side], "values"))
            for side in (self.amplitudes.a, self.amplitudes.b)
        )
        sides = replace(self.amplitudes, a=a, b=b, modes=task.modes, exact=task.exact)
        return _carrying(linear_chain(net, "Aligned"), net, task, sides)


def frozen(arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Return copies that cannot be written to."""
    copies = {name: np.array(value, dtype=np.float64, order="C") for name, value in arrays.items()}
    for copy in copies.values():
        copy.setflags(write=False)
    return MappingProxyType(copies)


def require_numeric(net: Network) -> None:
    """Refuse what is no network of given sizes."""
    if not isinstance(net, Network):
        raise InvalidArgument(f"Argument 'net' must be a Network, not {net!r}.")
    if not net.is_numeric:
        raise MissingValues(
            "The sizes of the network must be integers before weights can be drawn; it has symbols."
        )


def from_arrays(net: Network, arrays: Sequence[object] | Mapping[str, object]) -> Weights:
    """Return given weights.

    Parameters
    ----------
    net : Network
    arrays : sequence or mapping of array_like
        One array for each parameter, in the order of ``net.parameters`` or by name.

    Raises
    ------
    ShapeMismatch
        If their number or shapes do not fit; the message names the parameter.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> net = sk.Network.two_layer(inputs=2, hidden=3, outputs=1)
    >>> w0 = sk.weights.from_arrays(net, [np.ones((3, 2)), np.ones((1, 3))])
    >>> assert w0.arrays["W2"].shape == (1, 3)
    """
    require_numeric(net)
    names = [p.name for p in net.parameters]
    if isinstance(arrays, Mapping):
        given = dict(arrays)
    else:
        if not isinstance(arrays, Sequence):
            raise InvalidArgument(
                f"Argument 'arrays' must be a sequence or mapping of arrays, not {arrays!r}."
            )
        if len(arrays) != len(names):
            raise ShapeMismatch(
                f"Argument 'arrays' must hold one array for each of the parameters "
                f"{', '.join(names)}, not {len(arrays)} arrays."
            )
        given = dict(zip(names, arrays, strict=True))
    if set(given) != set(names):
        raise ShapeMismatch(
            f"Argument 'arrays' must name the parameters {', '.join(names)}, "
            f"not {', '.join(map(str, given))}."
        )
    values = {}
    for p in net.parameters:
        shape = tuple(int(n) for n in p.shape)
        value = as_real_array(given[p.name], p.name, len(shape))
        if value.shape != shape:
            raise ShapeMismatch(f"Weight '{p.name}' must be of shape {shape}, not {value.shape}.")
        values[p.name] = value
    return Weights(frozen(values), "from arrays")


def gaussian(net: Network, scale: float = 1.0, seed: int = 0) -> Weights:
    r"""Return independent Gaussian weights; biases are zero.

    Entries of dense weights have standard deviation ``scale`` / sqrt(fan-in) in the standard
    parameterisation and ``scale`` where the parameter carries a scale of its own (NTK
    parameterisation), so that both give the same function.

    Parameters
    ----------
    net : Network
    scale : float
        Positive.
    seed : int
        Seed of the stream (PCG64).
    """
    require_numeric(net)
    scale = as_positive(scale, "scale")
    stream = np.random.default_rng(as_seed(seed))
    values = {}
    for p in net.parameters:
        shape = tuple(int(n) for n in p.shape)
        if p.kind == "bias":
            values[p.name] = np.zeros(shape)
        else:
            fan_in = shape[1] if p.kind == "dense" else 1
            spread = scale if p.scale != 1 else scale / np.sqrt(fan_in)
            values[p.name] = spread * stream.standard_normal(shape)
    return Weights(frozen(values), f"Gaussian, scale {scale:g}, seed {seed}")


def linear_chain(net: Network, name: str) -> list[Linear]:
    """Return the layers of a chain of dense ones; `name` says whose weights need it."""
    chain = [node for node in net.order if isinstance(node, Linear)]
    plain = len(net.order) == len(chain) + 1 and all(
        node.parameter.kind == "dense" for node in chain
    )
    if not plain or len(net.parameters) < len(chain):
        names = sorted({n.activation.name for n in net.order if isinstance(n, Apply)})
        found = f", not the activation {' and '.join(names)} of this one" if names else ""
        raise InvalidArgument(
            f"{name} weights need a network of dense linear layers in a chain, none of them "
            f"shared{found}; use gaussian or from_arrays for other networks."
        )
    return chain


def balanced(net: Network, scale: float = 1.0, seed: int = 0) -> Weights:
    r"""Return balanced weights, $W_{l+1}^T W_{l+1} = W_l W_l^T$, not aligned with any task.

    The singular values of the end-to-end map are those of a Gaussian matrix with entries of
    standard deviation ``scale`` / sqrt(n_inputs), cut to the smallest width; each layer carries
    the same root of them.

    Parameters
    ----------
    net : Network
        A chain of dense linear layers.
    scale : float
        Positive.
    seed : int
        Seed of the stream (PCG64).
    """
    require_numeric(net)
    chain = linear_chain(net, "Balanced")
    scale = as_positive(scale, "scale")
    stream = np.random.default_rng(as_seed(seed))
    n_in, n_out = int(net.inputs), int(net.outputs)
    widths = [n_in, *(int(node.size) for node in chain)]
    k = min(widths)
    draw = scale / np.sqrt(n_in) * stream.standard_normal((n_out, n_in))
    U, u, Vt = np.linalg.svd(draw, full_matrices=False)
    root = u[:k] ** (1 / len(chain))
    frames = [Vt[:k].T, *(orthonormal(stream, n, k) for n in widths[1:-1]), U[:, :k]]
    values = {
        node.parameter.name: (frames[i + 1] * root) @ frames[i].T for i, node in enumerate(chain)
    }
    return Weights(frozen(values), f"balanced, scale {scale:g}, seed {seed}")


def aligned(
    net: Network,
    task: Task,
    a: object = None,
    b: object = None,
    seed: int = 0,
    *,
    u: object = None,
) -> Weights:
    r"""Return weights aligned with the task's singular vectors, mode by mode.

    Two layers from their amplitudes: $W_1 = R\,\mathrm{diag}(a)\,V^T$ and
    $W_2 = U\,\mathrm{diag}(b)\,R^T$, with $\Sigma_{yx} = U S V^T$ and orthonormal columns $R$
    drawn from the seed. Any number of balanced layers from the modes u of their end-to-end map:
    $W_l = R_l\,\mathrm{diag}(|u/c|^{1/D})\,R_{l-1}^T$ with the factor c of the parameterisation;
    the last layer carries the sign. With fewer hidden units than modes the strongest get them.

    Parameters
    ----------
    net : Network
        Dense linear layers: two for a and b, any number for u.
    task : Task
        The task, or the first one of a curriculum.
    a, b : scalar or sequence
        Amplitudes of the input and the output side; any signs, numbers or symbols. A sequence
        holds one for each mode, in the order of `Task.modes` for a task given as modes (or one
        for each of their repetitions), and by falling strength for other tasks.
    seed : int
        Seed for the hidden directions $R$.
    u : scalar or sequence
        Modes of the end-to-end map, in place of a and b: numbers, symbols that are not negative.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> task = sk.Task.from_modes([2.0, 1.0])
    >>> net = sk.Network.two_layer(inputs=2, hidden=5, outputs=2)
    >>> w0 = sk.weights.aligned(net, task, a=0.1, b=0.3)
    >>> assert np.allclose(w0.arrays["W2"] @ w0.arrays["W1"], 0.03 * np.eye(2))
    >>> deep = sk.Network.mlp([2, 4, 3, 2], "linear")
    >>> W1, W2, W3 = sk.weights.aligned(deep, task, u=[0.1, -0.2]).arrays.values()
    >>> assert np.allclose(W3 @ W2 @ W1, np.diag([0.1, -0.2]))
    """
    for value, kind, name in ((net, Network, "net"), (task, Task, "task")):
        if not isinstance(value, kind):
            advice = "; pass the first phase's task" if hasattr(value, "phases") else ""
            words = f"Argument '{name}' must be a {kind.__name__}, not {value!r}{advice}."
            raise InvalidArgument(words)
    chain = linear_chain(net, "Aligned")
    if (u is None) == (a is None and b is None):
        raise InvalidArgument("Arguments 'a' and 'b', or else 'u', must be given, and not both.")
    if u is None and len(chain) != 2:
        raise InvalidArgument(
            f"Amplitudes 'a' and 'b' are defined for two layers, not {len(chain)}; give modes 'u'."
        )
    if any(mode.s.is_negative for mode in task.modes or ()):
        raise InvalidArgument(
            "Argument 'task' must not have modes of negative strength; align the weights with the "
            "task of which it is the reverse, whose directions are the same."
        )
    if u is None:
        left, right = tuple(as_expressions(a, "a")), tuple(as_expressions(b, "b"))
    else:
        left, right = chain_roots(chain, as_expressions(u, "u"))
    sides = Amplitudes(left, right, as_seed(seed), task.modes, task.exact)
    return _carrying(chain, net, task, sides if u is None else replace(sides, named=("u", "u")))


def _carrying(chain: list[Linear], net: Network, task: Task, sides: Amplitudes) -> Weights:
    """Return the weights of a chain that carry the modes with these amplitudes."""
    origin = f"aligned with the task, seed {sides.seed}"
    if sides.free_symbols or not task.is_numeric or not net.is_numeric:
        return Weights(None, origin, sides)
    if task.inputs != net.inputs or task.outputs != net.outputs:
        raise ShapeMismatch(
            f"The network has {net.inputs} inputs and {net.outputs} outputs, the task has "
            f"{task.inputs} and {task.outputs}; they must agree."
        )
    hidden = [int(node.size) for node in chain[:-1]]
    ends = int(net.inputs), int(net.outputs)
    U, V, left, right = alignment(task, sides, min([*hidden, max(ends)]))
    stream = np.random.default_rng(sides.seed)
    frames = [V, *(orthonormal(stream, n, len(left)) for n in hidden), U]
    values = {}
    for k, node in enumerate(chain):
        carried = right if k + 1 == len(chain) else left
        values[node.parameter.name] = (frames[k + 1] * carried) @ frames[k].T
    return Weights(frozen(values), origin, sides)
