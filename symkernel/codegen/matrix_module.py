r"""Matrix formulas of two samples as modules that numba compiles.

Sizes and numerical factors are arguments of the generated function, not text, so that networks
of one shape share one compiled module whatever their widths.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sympy as sp

from symkernel.codegen.activations import bodies_of
from symkernel.codegen.matrix_printer import NONE, Leaf, Lowering
from symkernel.codegen.printer import source_of
from symkernel.problem.activation import ARGUMENT, Activation

__all__ = ["LoweredKernel", "lowered_kernel"]

_MAPPED = """

@numba.njit(parallel=True, error_model="numpy", fastmath={{"contract"}})
def {name}(stack):
    out = np.empty_like(stack)
    for i in numba.prange(stack.shape[0]):
        for k in range(stack.shape[1]):
            {variable} = stack[i, k]
            out[i, k] = {body}
    return out
"""

_KERNEL = """

@numba.njit("{signature}", cache=True, error_model="numpy")
def kernel({arguments}):
{body}
    return out
"""


@dataclass(frozen=True)
class LoweredKernel:
    """A formula as source, with what its generated function is to be called with.

    Attributes
    ----------
    source : str
        A module that stands alone, with the function ``kernel``.
    arguments : tuple of str
        Names of the arrays, in the order of the call; then come `sizes` and `numbers`.
    sizes, numbers : tuple of sympy.Expr
        Values of the two last arguments.
    """

    source: str
    arguments: tuple[str, ...]
    sizes: tuple[sp.Expr, ...]
    numbers: tuple[sp.Expr, ...]


def lowered_kernel(
    expression: Any,
    where: Iterable[tuple[Any, Any]],
    leaves: Mapping[sp.MatrixSymbol, Leaf],
    activations: Iterable[Activation],
) -> LoweredKernel:
    """Return the source of the kernel of two sets of samples.

    Parameters
    ----------
    expression : matrix expression
        The kernel; terms are products whose factors of x come before those of x'.
    where : iterable of (symbol, expression)
        Abbreviations.
    leaves : mapping of MatrixSymbol to Leaf
        What the other symbols are; the inputs are called ``x`` and ``x2``.
    activations : iterable of Activation
        Functions whose value and slope have a compiled body; others are printed in place.

    Raises
    ------
    Unlowerable
        Naming the node that has no translation.
    """
    meanings = {a: b for a, b in where if isinstance(a, sp.MatrixSymbol)}
    writer = Lowering(leaves, meanings, tuple(activations))
    rows, columns = map(writer.size, expression.shape)
    writer.lines.append(f"out = np.zeros((x.shape[0], {rows}, x2.shape[0], {columns}))")
    terms = expression.args if isinstance(expression, sp.MatAdd) else (expression,)
    for term in terms:
        if not isinstance(term, sp.ZeroMatrix):
            writer.term(term)
    return _module(writer, leaves)


def _module(writer: Lowering, leaves: Mapping[sp.MatrixSymbol, Leaf]) -> LoweredKernel:
    from symkernel.numerics import batched, elementary

    texts = [inspect.getsource(elementary) + bodies_of(writer.activations)]
    texts.append(inspect.getsource(batched).replace("from __future__ import annotations\n", ""))
    for name, body in writer.functions.values():
        texts.append(_MAPPED.format(name=name, body=body, variable=source_of(ARGUMENT)))
    vectors = "Array(float64, 1, 'C', readonly=True)", "Array(float64, 2, 'C', readonly=True)"
    kinds = [vectors[leaf.dense or leaf.side != NONE] for leaf in leaves.values()]
    kinds += ["Array(int64, 1, 'C', readonly=True)", vectors[0]]
    arguments = tuple(leaf.argument for leaf in leaves.values())
    texts.append(
        _KERNEL.format(
            signature=f"float64[:, :, :, ::1]({', '.join(kinds)})",
            arguments=", ".join([*arguments, "sizes", "numbers"]),
            body="\n".join("    " + line for line in writer.lines),
        )
    )
    return LoweredKernel("\n".join(texts), arguments, tuple(writer.sizes), tuple(writer.numbers))
