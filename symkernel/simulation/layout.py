r"""Where everything lies: sizes and offsets of a network's program, and its packed data.

All parameters lie in one vector, in the order of ``net.parameters``; all data of the samples in
another, part by part, each part by blocks of samples; working arrays in a third.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from symkernel.problem.loss import Misfit
from symkernel.problem.network import Network
from symkernel.problem.nodes import Gate, Node
from symkernel.simulation.plan import Plan, is_dense

# Samples in a block: activities of a block stay in the cache, and products with so many columns
# reach the speed of large ones. Wide layers reuse their weights more in larger blocks.
_BLOCK, _WIDE_BLOCK, _WIDE = 250, 500, 768
# Blocks are dealt to so many shares at most, each with a gradient of its own. A share's blocks,
# and the order in which shares are added, do not depend on the number of threads.
_SHARES = 16
# On moments, products are loops up to this size of a layer and this many multiplications.
_UNROLLED_SIZE, _UNROLLED_WORK = 16, 8192
# With mini-batches, all sizes are written out up to so many samples and entries of a weight.
_TINY_BATCH, _TINY = 8, 2048
# Inputs of so many numbers are not copied.
_MANY = 2**14
_CACHE_LINE = 8  # numbers; working arrays start on one


def aligned(*shape: int) -> np.ndarray:
    """Return zeros that start on a cache line: vector loads across lines take twice as long."""
    count = int(np.prod(shape))
    raw = np.zeros(count + _CACHE_LINE)
    skip = -(raw.ctypes.data // raw.itemsize) % _CACHE_LINE
    return raw[skip : skip + count].reshape(shape)


def padded(length: int) -> int:
    """Return the least length, not smaller, that ends where a cache line does."""
    return -(-length // _CACHE_LINE) * _CACHE_LINE


def _integers(shape: object) -> tuple[int, ...]:
    return tuple(int(n) for n in shape)  # type: ignore[attr-defined]


def is_tiny(net: Network, batch: int) -> bool:
    """Whether mini-batches of a network are so small that its program has all sizes written out."""
    shapes = [_integers(p.shape) for p in net.parameters if p.kind == "dense"]
    return batch <= _TINY_BATCH and all(rows * columns <= _TINY for rows, columns in shapes)


class Samples(NamedTuple):
    """Samples to be packed: inputs, targets, gates by name, weights of mean 1 or None, groups."""

    X: np.ndarray
    Y: np.ndarray
    gates: Mapping[str, np.ndarray]
    weights: np.ndarray | None = None
    groups: np.ndarray | int = 0


@dataclass(frozen=True, eq=False)
class Layout:
    """Sizes and offsets of the program of one network.

    Parameters
    ----------
    net : Network
        A network whose sizes are numbers.
    samples : int
        Number of samples; on moments the number of inputs.
    on_moments : bool
        See `Plan`.
    batch : int, optional
        Samples in a block; chosen by size if not given.
    is_weighted : bool
        See `Plan`.
    decays : bool
        Whether the program holds weight decay.
    misfit : {"squares", "softmax", "logistic"}
        See `Plan`.
    is_written_out : bool
        Whether the program has all sizes written out; for mini-batches, see `is_tiny`.
    """

    net: Network
    samples: int
    on_moments: bool = False
    batch: int | None = None
    is_weighted: bool = False
    decays: bool = False
    misfit: Misfit = "squares"
    is_written_out: bool = False

    @cached_property
    def plan(self) -> Plan:
        """Names and decisions."""
        return Plan(self.net, self.on_moments, self.is_weighted, self.misfit)

    @cached_property
    def block(self) -> int:
        """Samples in a block; blocks are as equal as possible."""
        if self.on_moments or self.batch is not None:
            return self.batch or self.samples
        widest = max(_integers(node.size for node in self.net.order))
        most = _WIDE_BLOCK if widest >= _WIDE else _BLOCK
        return -(-self.samples // -(-self.samples // most))

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.samples // self.block)

    @property
    def shares(self) -> int:
        """Number of shares into which the blocks are dealt."""
        return min(self.blocks, _SHARES)

    @cached_property
    def is_unrolled(self) -> bool:
        """Whether products are loops: for tiny networks on moments."""
        shapes = [_integers(p.shape) for p in self.net.parameters if p.kind == "dense"]
        if not self.on_moments or not shapes:
            return False
        n_in, n_out = _integers((self.net.inputs, self.net.outputs))
        work = n_in * (n_in * n_out + 3 * sum(rows * columns for rows, columns in shapes))
        return max(map(max, shapes)) <= _UNROLLED_SIZE and work <= _UNROLLED_WORK

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the parameters."""
        return tuple(_integers(p.shape) for p in self.net.parameters)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Position of each parameter in the vector of all; last, the length of the vector."""
        return (0, *_integers(np.cumsum([np.prod(shape, dtype=int) for shape in self.shapes])))

    @property
    def count(self) -> int:
        """Number of entries of all parameters."""
        return self.starts[-1]

    @cached_property
    def scales(self) -> np.ndarray:
        """The scale of each parameter."""
        return np.array([float(p.scale) for p in self.net.parameters])

    @cached_property
    def speeds(self) -> np.ndarray:
        """The factor of each parameter on the learning rate, 0 for those not trained."""
        return np.array([float(p.rate) if p.trained else 0.0 for p in self.net.parameters])

    def entries(self, values: np.ndarray) -> np.ndarray:
        """Return one value for each parameter as one for each of its entries."""
        return np.repeat(values, np.diff(self.starts))

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """Parts of the data (name, name of the number of rows).

        ``x`` inputs and ``y`` targets as (units, samples); ``xs`` inputs as (samples, units),
        which gradients of weights on the input want, unless `is_direct`; gates; ``omega``
        weights of samples, of mean 1. On moments: the identity, Syx, Sxx and the map of least
        squares.
        """
        if self.on_moments:
            return ("x", "n_in"), ("y", "n_out"), ("sxx", "n_in"), ("best", "n_out")
        gates = tuple((f"m{g}", f"rows_m{g}") for g in range(len(self.plan.gates)))
        weights = (("omega", "rows_omega"),) if self.is_weighted else ()
        inputs = () if self.is_direct else (("x", "n_in"), ("xs", "n_in"))
        return (*inputs, ("y", "n_out"), *gates, *weights)

    @cached_property
    def is_direct(self) -> bool:
        """Whether the inputs are read where the task has them, not from a packed copy.

        So it is where they are many, and go into products alone.
        """
        plan = self.plan
        uses = plan.consumers[self.net.nodes["input"]]
        packed = self.on_moments or self.batch is not None or not all(map(is_dense, uses))
        return not packed and self.samples * int(self.net.inputs) >= _MANY

    @property
    def rows_of_share(self) -> int:
        """Rows for the gradients of a share: a second one if it has several blocks."""
        return 1 if self.shares == self.blocks else 2

    @cached_property
    def transposes(self) -> tuple[tuple[str, Node], ...]:
        """Places for transposed values, which unrolled products need (name, node)."""
        if not (self.is_unrolled or self.is_written_out):
            return ()
        plan = self.plan
        return tuple(
            (f"u{plan.index[node]}", node.children[0]) for node in plan.stored if is_dense(node)
        )

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """All integers that the program reads, in the order in which it reads them."""
        plan = self.plan
        found = {"n": self.samples, "block": self.block, "blocks": self.blocks}
        found |= {"shares": self.shares, "count": self.count, "first": 0}
        found["width"] = self.rows_of_share
        found["n_in"], found["n_out"] = _integers((self.net.inputs, self.net.outputs))
        for node in self.net.order:
            if isinstance(node, Gate):
                found[f"rows_m{plan.gates.index(node.name)}"] = int(node.size)
        if self.is_weighted:
            found["rows_omega"] = 1
        for j, shape in enumerate(self.shapes):
            found |= {f"start_w{j}": self.starts[j], f"rows_w{j}": shape[0]}
            found[f"columns_w{j}"] = shape[-1] if len(shape) == 2 else 1
        for piece in plan.slices:
            k = plan.index[piece]
            found[f"z{k}"], found[f"end{k}"] = _integers((piece.start, piece.stop))
        place = 0
        for name, rows in self.parts:
            found[f"at_{name}"] = place
            place += padded(found[rows] * self.samples)
        found["length_data"] = place
        return found | self._working_sizes(found)

    def _working_sizes(self, known: Mapping[str, int]) -> dict[str, int]:
        plan, place = self.plan, 0
        found: dict[str, int] = {}
        for name, node in (*plan.buffers, *self.transposes):
            found |= {f"rows_{name}": int(node.size), f"at_{name}": place}
            place += padded(found[f"rows_{name}"] * self.block)
        for name in plan.columns:
            found[f"at_{name}"] = place
            place += padded(self.block)
        for parameter in plan.shared:
            j = plan.parameter_index[parameter]
            found[f"at_t{j}"] = place
            place += padded(known[f"rows_w{j}"] * known[f"columns_w{j}"])
        return found | {"length_work": place}

    def pack(self, drawn: Samples, out: np.ndarray | None = None) -> np.ndarray:
        """Return the data vector of samples, in place of that of others if it is given."""
        arrays = self._arrays(drawn)
        out = aligned(self.sizes["length_data"]) if out is None else out
        whole = self.samples // self.block * self.block
        for name, _ in self.parts:
            place, rows = self.sizes[f"at_{name}"], arrays[name]
            blocks = rows[:whole].reshape(-1, self.block, rows.shape[1])
            for part in (blocks, rows[None, whole:]):
                piece = part if name == "xs" else part.transpose(0, 2, 1)
                out[place : place + piece.size].reshape(piece.shape)[...] = piece
                place += piece.size
        return out

    def pack_spans(self, drawn: Samples, spans: np.ndarray) -> np.ndarray:
        """Return the data vector of samples in blocks of any sizes: rows (start, samples)."""
        arrays = self._arrays(drawn)
        out = aligned(self.sizes["length_data"])
        starts, widths = (np.repeat(column, spans[:, 1])[:, None] for column in spans.T)
        within = np.arange(len(drawn.X))[:, None] - starts
        for name, _ in self.parts:
            place, rows = self.sizes[f"at_{name}"], arrays[name]
            if name == "xs":
                out[place : place + rows.size] = rows.reshape(-1)
            else:
                size = rows.shape[1]
                out[place + size * starts + within + widths * np.arange(size)] = rows
        return out

    def _arrays(self, drawn: Samples) -> dict[str, np.ndarray]:
        """Return the parts of the data by name."""
        arrays = {"x": drawn.X, "y": drawn.Y, "xs": drawn.X}
        if drawn.weights is not None:
            arrays["omega"] = drawn.weights[:, None]
        gates = enumerate(self.plan.gates)
        return arrays | {f"m{g}": drawn.gates[name] for g, name in gates}

    def pack_moments(self, Sxx: np.ndarray, Syx: np.ndarray, best: np.ndarray) -> np.ndarray:
        """Return the data vector of second moments."""
        out = aligned(self.sizes["length_data"])
        arrays = {"x": np.eye(len(Sxx)), "y": Syx, "sxx": Sxx, "best": best}
        for name, array in arrays.items():
            place = self.sizes[f"at_{name}"]
            out[place : place + array.size] = array.reshape(-1)
        return out

    def vector(self, weights: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the vector of all parameters, each times its scale."""
        pieces = [
            scale * weights[p.name].reshape(-1)
            for p, scale in zip(self.net.parameters, self.scales, strict=True)
        ]
        return np.concatenate(pieces) if pieces else np.zeros(0)

    def assign(self, vectors: np.ndarray, values: Mapping[str, np.ndarray]) -> None:
        """Write parameters by name (n_vectors, ...), each times its scale, into vectors."""
        for j, (p, scale) in enumerate(zip(self.net.parameters, self.scales, strict=True)):
            if p.name in values:
                part = vectors[:, self.starts[j] : self.starts[j + 1]]
                part[...] = scale * values[p.name].reshape(part.shape)

    def weights(
        self, vectors: np.ndarray, initial: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Return the parameters, by name, from vectors (n_times, count)."""
        found = {}
        for j, (p, scale) in enumerate(zip(self.net.parameters, self.scales, strict=True)):
            part = vectors[:, self.starts[j] : self.starts[j + 1]]
            if scale != 1:
                # As a change of the initial weights: these come back to the last bit, also
                # where the scale is 0 and nothing ever moves.
                start = initial[p.name].reshape(-1)
                part = start + (part - scale * start) / (scale or 1.0)
            found[p.name] = part.reshape(len(vectors), *self.shapes[j])
        return found

    def share_of_gradient(self, factor: float) -> float:
        r"""Return what the program's gradient is to be multiplied with to be the loss's.

        The program's error is that of half the sum of misfits over samples, so that it lacks
        twice the loss's factor and the mean. On moments the mean is in the moments.
        """
        return 2 * factor / (1 if self.on_moments else self.batch or self.samples)

    def rates(self, learning_rate: float, factor: float, decay: float = 0.0) -> np.ndarray:
        """Return the rate of each parameter's gradient, and then that of its decay if it decays."""
        speeds = learning_rate * self.speeds
        rates = speeds * self.share_of_gradient(factor) * self.scales**2
        return np.concatenate([rates, speeds * decay]) if self.decays else rates
