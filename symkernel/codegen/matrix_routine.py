r"""Compiled kernels: what a matrix formula of a network gives for arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from symkernel.codegen.blas import one_thread
from symkernel.codegen.matrix_module import LoweredKernel, lowered_kernel
from symkernel.codegen.matrix_printer import LEFT, NONE, RIGHT, Leaf
from symkernel.errors import InvalidArgument, MissingValues, ShapeMismatch, as_real_array
from symkernel.problem.network import Network
from symkernel.problem.nodes import Gate, Size
from symkernel.problem.scalars import as_sympy

__all__ = ["KernelRoutine", "routine"]

Sizes = dict[sp.Symbol, Any]
# What a kernel may take at most, and a part of it.
_MOST_BYTES, _BLOCK_BYTES = 2**30, 2**27


@dataclass(frozen=True)
class KernelRoutine:
    """A compiled kernel; it is compiled at the first call, once per machine.

    Attributes
    ----------
    net : Network
    lowered : LoweredKernel
    values : mapping of Symbol to number
        For symbols other than sizes.
    shape : pair of sizes
        Sizes of the nodes p and q.
    """

    net: Network
    lowered: LoweredKernel
    values: Mapping[sp.Symbol, Any]
    shape: tuple[Size, Size]

    @property
    def source(self) -> str:
        """The module that is compiled."""
        return self.lowered.source

    @cached_property
    def _kernel(self) -> Any:
        from symkernel.codegen.cache import load

        return load(self.source, "kernel").kernel

    def __call__(
        self,
        X: Any,
        X2: Any,
        weights: Any,
        gates: Mapping[str, Any] | None = None,
        gates2: Mapping[str, Any] | None = None,
    ) -> np.ndarray:
        r"""Return $K_{p,q}(x_i, x'_j)$ for all pairs of samples.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_inputs)
            The samples $x$ at which $p$ is looked at.
        X2 : array_like, shape (n_samples2, n_inputs), or None
            The samples $x'$ at which $q$ is trained; None stands for `X` with its gates.
        weights : Weights or mapping of str to array_like
            Values of the parameters by name.
        gates, gates2 : mapping of str to array_like, shape (n_samples, size), optional
            Values of the gates at the samples of `X` and of `X2`.

        Returns
        -------
        ndarray, shape (n_samples, size of p, n_samples2, size of q)

        Raises
        ------
        ShapeMismatch, InvalidArgument, MissingValues
            If an array is missing, does not fit the network, or is not made of finite numbers; and
            if the kernel would take more than 1 GiB, before it is made. `blocks` makes it in parts.
        """
        call, shape = self._prepared(X, X2, weights, gates, gates2)
        need = 8 * math.prod(shape)
        if need > _MOST_BYTES:
            raise InvalidArgument(
                f"The kernel of shape {shape} would take {need:,} bytes ({need / 2**30:.1f} GiB), "
                f"which is more than 1 GiB; make it in parts, `for rows, block in "
                f"routine.blocks(X, X2, weights)`, or use fewer samples."
            )
        return self._evaluated(call)

    def blocks(
        self,
        X: Any,
        X2: Any,
        weights: Any,
        gates: Mapping[str, Any] | None = None,
        gates2: Mapping[str, Any] | None = None,
    ) -> Iterator[tuple[slice, np.ndarray]]:
        r"""Yield the kernel some samples of `X` at a time, each part of 128 MiB or one sample.

        Parameters are those of a call.

        Yields
        ------
        (slice, ndarray)
            Which samples $x$, and $K_{p,q}$ there.

        Examples
        --------
        >>> import numpy as np, symkernel as sk
        >>> net = sk.Network.two_layer(inputs=3, hidden=5, outputs=2, activation="tanh")
        >>> w0, X = sk.weights.gaussian(net, seed=0), np.eye(3)
        >>> routine = sk.ntk(net).compile()
        >>> for rows, block in routine.blocks(X, None, w0):
        ...     assert np.allclose(block, routine(X, None, w0)[rows])
        """
        call, shape = self._prepared(X, X2, weights, gates, gates2)
        names = self.lowered.arguments
        left = [k for k, name in enumerate(names) if name == "x" or name.startswith("g_")]
        step = max(1, _BLOCK_BYTES // max(1, 8 * math.prod(shape[1:])))
        for begin in range(0, shape[0], step):
            rows = slice(begin, min(begin + step, shape[0]))
            part = [array[rows] if k in left else array for k, array in enumerate(call)]
            yield rows, self._evaluated(part)

    def _evaluated(self, call: list[Any]) -> np.ndarray:
        kernel = self._kernel
        with one_thread():
            return kernel(*call)

    def _prepared(
        self, X: Any, X2: Any, weights: Any, gates: Any, gates2: Any
    ) -> tuple[list[Any], tuple[int, int, int, int]]:
        """Return the arguments of the compiled function, checked, and the shape of the kernel."""
        sizes: Sizes = {}
        arrays = {"x": self._samples(X, "X", sizes)}
        if X2 is None:
            if gates2 is not None:
                raise InvalidArgument(
                    "Argument 'gates2' must be given together with 'X2', not alone; without 'X2' "
                    "the samples and gates of 'X' are used."
                )
            arrays["x2"], gates2 = arrays["x"], gates
        else:
            arrays["x2"] = self._samples(X2, "X2", sizes)
        arrays |= self._parameters(weights, sizes)
        arrays |= self._gates(gates, "gates", "g_", len(arrays["x"]), sizes)
        arrays |= self._gates(gates2, "gates2", "g2_", len(arrays["x2"]), sizes)
        known = {**self.values, **sizes}
        integers = np.array([_number(e, known) for e in self.lowered.sizes], dtype=np.int64)
        factors = np.array([_number(e, known) for e in self.lowered.numbers], dtype=np.float64)
        call = [arrays[name] for name in self.lowered.arguments]
        p, q = (int(_number(as_sympy(size), known)) for size in self.shape)
        return [*call, integers, factors], (len(arrays["x"]), p, len(arrays["x2"]), q)

    def _samples(self, value: Any, name: str, sizes: Sizes) -> np.ndarray:
        array = as_real_array(value, name, 2)
        _fit(array, (array.shape[0], self.net.inputs), f"Argument '{name}'", sizes)
        return array

    def _parameters(self, weights: Any, sizes: Sizes) -> dict[str, np.ndarray]:
        given = getattr(weights, "arrays", weights)
        if not isinstance(given, Mapping):
            raise InvalidArgument(
                f"Argument 'weights' must be Weights or a mapping of names to arrays, not "
                f"{type(weights).__name__}; make them with symkernel.weights.from_arrays."
            )
        parameters = {p.name: p for p in self.net.parameters}
        _same_names(given, parameters, "weights")
        arrays = {}
        for name, parameter in parameters.items():
            array = as_real_array(given[name], name, len(parameter.shape))
            _fit(array, parameter.shape, f"Weight '{name}'", sizes)
            arrays["w_" + name] = array
        return arrays

    def _gates(
        self,
        given: Mapping[str, Any] | None,
        argument: str,
        prefix: str,
        samples: int,
        sizes: Sizes,
    ) -> dict[str, np.ndarray]:
        wanted = {node.name: node.size for node in self.net.order if isinstance(node, Gate)}
        _same_names(given or {}, wanted, argument)
        arrays = {}
        for name, size in wanted.items():
            array = as_real_array((given or {})[name], name, 2)
            _fit(array, (samples, size), f"Gate '{name}' of argument '{argument}'", sizes)
            arrays[prefix + name] = array
        return arrays


def routine(
    expression: Any,
    where: Iterable[tuple[Any, Any]],
    net: Network,
    values: Mapping[sp.Symbol, Any] | None = None,
) -> KernelRoutine:
    """Return the compiled form of a matrix formula in the symbols of a network.

    Parameters
    ----------
    expression : matrix expression
        In the input ``x``, ``x'``, the parameters, the gates and the abbreviations of `where`.
    where : iterable of (symbol, expression)
        Abbreviations.
    net : Network
        Says what the symbols are.
    values : mapping of Symbol to number, optional
        For symbols other than sizes.

    Raises
    ------
    Unlowerable
        Naming the node that has no translation.
    """
    lowered = lowered_kernel(expression, where, _leaves(net), net.activations)
    return KernelRoutine(net, lowered, dict(values or {}), expression.shape)


def _leaves(net: Network) -> dict[sp.MatrixSymbol, Leaf]:
    """Return the symbols of inputs, parameters and gates in the order of the generated call."""
    taken = {p.name for p in net.parameters} | set(net.gates)
    x = "x"
    while x in taken:
        x += "_"
    leaves = {
        sp.MatrixSymbol(x, net.inputs, 1): Leaf("x", LEFT),
        sp.MatrixSymbol(x + "'", net.inputs, 1): Leaf("x2", RIGHT),
    }
    for p in net.parameters:
        rows, columns = p.shape if p.kind == "dense" else (*p.shape, 1)
        symbol = sp.MatrixSymbol(p.name, rows, columns)
        leaves[symbol] = Leaf("w_" + p.name, NONE, p.kind == "dense")
    gates = {node.name: node.size for node in net.order if isinstance(node, Gate)}
    for prime, prefix, side in (("", "g_", LEFT), ("'", "g2_", RIGHT)):
        for name, size in gates.items():
            leaves[sp.MatrixSymbol(name + prime, size, 1)] = Leaf(prefix + name, side)
    return leaves


def _same_names(given: Mapping[str, Any], wanted: Mapping[str, Any], argument: str) -> None:
    missing = [name for name in wanted if name not in given]
    unknown = [str(name) for name in given if name not in wanted]
    if missing:
        raise MissingValues(
            f"Argument '{argument}' must hold {', '.join(wanted)}, but {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing."
        )
    if unknown:
        raise InvalidArgument(
            f"Argument '{argument}' must hold {', '.join(wanted) or 'nothing'} only, not "
            f"{', '.join(unknown)}; the network has no such name."
        )


def _fit(array: np.ndarray, shape: tuple[Size, ...], subject: str, sizes: Sizes) -> None:
    """Compare an array with its shape, and learn the symbols of sizes met for the first time."""
    for size, actual in zip(shape, array.shape, strict=True):
        if isinstance(size, sp.Symbol):
            sizes.setdefault(size, actual)
    wanted = tuple(as_sympy(size).subs(sizes) for size in shape)
    if any(w.is_Integer and w != a for w, a in zip(wanted, array.shape, strict=True)):
        raise ShapeMismatch(
            f"{subject} must be of shape ({', '.join(map(str, wanted))}), not {array.shape}."
        )


def _number(expression: sp.Expr, known: Mapping[sp.Symbol, Any]) -> float:
    value = expression.subs(known)
    if value.free_symbols:
        names = ", ".join(sorted(symbol.name for symbol in value.free_symbols))
        raise MissingValues(
            f"Symbols without a number: {names}. Give their values to compile(values={{...}})."
        )
    return float(value)
