r"""Matrix formulas of two samples as NumPy statements, one after the other.

The formula alone decides what is computed. Each of its parts belongs to one side: it depends on
the first sample ("left"), on the second ("right"), or on weights only ("none"). Parts are computed
once per sample for all samples together, as stacks (see `numerics/batched.py`); pairs of samples
meet in the inner products and in one last product per term, whose left factors must come first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sympy as sp
from sympy.matrices.expressions.diagonal import DiagMatrix
from sympy.matrices.expressions.slice import MatrixSlice

from symkernel.codegen.activations import body_of
from symkernel.codegen.matrix_nodes import Elementwise, InnerProduct
from symkernel.codegen.printer import source_of
from symkernel.errors import Unlowerable
from symkernel.problem.activation import ARGUMENT, Activation
from symkernel.problem.scalars import as_sympy

__all__ = ["LEFT", "NONE", "RIGHT", "Leaf", "Lowering"]

# Longest remark, in characters.
_REMARK = 90

NONE, LEFT, RIGHT = "none", "left", "right"


@dataclass(frozen=True)
class Leaf:
    """What a symbol of the formula is at run time.

    Attributes
    ----------
    argument : str
        Name of the argument of the generated function.
    side : {"none", "left", "right"}
        Weights have no side.
    dense : bool
        Whether it is a matrix; otherwise a vector.
    """

    argument: str
    side: str
    dense: bool = False


@dataclass(frozen=True)
class Stack:
    """A variable of the generated function: kind is "vector", "diagonal" or "dense"."""

    code: str
    side: str
    kind: str


def _is_scalar(part: sp.Basic) -> bool:
    return not getattr(part, "is_Matrix", False)


def _flat(factors: Iterable[sp.Basic]) -> list[sp.Basic]:
    """Return factors with products inside products and transposes of products written out."""
    out: list[sp.Basic] = []
    for factor in factors:
        if isinstance(factor, sp.MatMul):
            out += _flat(factor.args)
        elif isinstance(factor, sp.MatPow) and factor.exp.is_Integer and factor.exp > 0:
            out += _flat([factor.base]) * int(factor.exp)
        elif isinstance(factor, sp.Transpose) and isinstance(factor.arg, (sp.MatMul, sp.MatPow)):
            scalars = [f for f in _flat([factor.arg]) if _is_scalar(f)]
            rest = [f for f in _flat([factor.arg]) if not _is_scalar(f)]
            out += [*scalars, *_mirrored(rest)]
        elif not isinstance(factor, sp.Identity):
            out.append(factor)
    return out


def _mirrored(factors: Iterable[sp.Basic]) -> list[sp.Basic]:
    """Return the factors of the transpose of a product."""
    out = []
    for factor in reversed(list(factors)):
        if isinstance(factor, sp.Transpose):
            out.append(factor.arg)
        else:
            out.append(factor if isinstance(factor, DiagMatrix) else sp.Transpose(factor))
    return out


@dataclass
class Lowering:
    """Writes the body of one generated function; equal parts are computed once."""

    leaves: Mapping[sp.MatrixSymbol, Leaf]
    meanings: Mapping[sp.MatrixSymbol, sp.MatrixExpr]
    activations: Iterable[Activation]
    lines: list[str] = field(default_factory=list)
    functions: dict[sp.Lambda, tuple[str, str]] = field(default_factory=dict)
    sizes: list[sp.Expr] = field(default_factory=list)
    numbers: list[sp.Expr] = field(default_factory=list)
    known: dict[Any, Any] = field(default_factory=dict)
    count: int = 0

    def emit(self, code: str) -> str:
        """Write an assignment and return the new variable's name."""
        self.count += 1
        self.lines.append(f"v{self.count} = {code}")
        return f"v{self.count}"

    def size(self, value: object) -> str:
        """Return the code of a size."""
        self.sizes.append(as_sympy(value))
        return f"sizes[{len(self.sizes) - 1}]"

    def number(self, value: sp.Expr) -> str:
        """Return the code of a numerical factor."""
        self.numbers.append(value)
        return f"numbers[{len(self.numbers) - 1}]"

    def joint(self, node: sp.Basic, *parts: Stack) -> str:
        """Return the side of what is made of the parts."""
        sides = {part.side for part in parts} - {NONE}
        if len(sides) > 1:
            raise Unlowerable(
                f"The part '{node}' mixes both samples; write the formula as a sum of products "
                f"whose factors depend on x first and on x' last."
            )
        return sides.pop() if sides else NONE

    def vector(self, node: Any) -> Stack:
        """Return a column as a stack of vectors."""
        if ("vector", node) not in self.known:
            self.known["vector", node] = self._vector(node)
        return self.known["vector", node]

    def _vector(self, node: Any) -> Stack:
        match node:
            case sp.MatrixSymbol() if node in self.meanings:
                value = self.vector(self.meanings[node])
                self.lines.append(f"# {value.code} is {node}")
                return value
            case sp.MatrixSymbol() if node in self.leaves and not self.leaves[node].dense:
                leaf = self.leaves[node]
                code = leaf.argument
                if leaf.side == NONE:
                    code = self.emit(f"{code}.reshape(1, {code}.size)")
                return Stack(code, leaf.side, "vector")
            case sp.MatMul():
                return self._transformed(node)
            case sp.MatAdd():
                terms = [self.vector(term) for term in node.args]
                code = self.emit(" + ".join(term.code for term in terms))
                return Stack(code, self.joint(node, *terms), "vector")
            case sp.HadamardProduct():
                terms = [self.vector(term) for term in node.args]
                code = self.emit(" * ".join(term.code for term in terms))
                return Stack(code, self.joint(node, *terms), "vector")
            case Elementwise():
                inner = self.vector(node.argument)
                code = self.emit(f"{self.function(node)}({inner.code})")
                return Stack(code, inner.side, "vector")
            case MatrixSlice():
                inner = self.vector(node.parent)
                start, stop = map(self.size, node.rowslice[:2])
                code = self.emit(f"np.ascontiguousarray({inner.code}[:, {start}:{stop}])")
                return Stack(code, inner.side, "vector")
        raise _no_translation(node)

    def _transformed(self, node: sp.MatMul) -> Stack:
        scalars = [factor for factor in node.args if _is_scalar(factor)]
        *factors, last = _flat(factor for factor in node.args if not _is_scalar(factor))
        scalars += [factor for factor in factors if _is_scalar(factor)]
        value = self.vector(last)
        for factor in reversed([f for f in factors if not _is_scalar(f)]):
            matrix = self.matrix(factor)
            side = self.joint(node, matrix, value)
            word = "transform" if matrix.side == NONE else "transform_each"
            code = f"{word}({matrix.code}, {value.code})"
            if matrix.kind == "diagonal":
                code = f"{matrix.code} * {value.code}"
            value = Stack(self.emit(code), side, "vector")
        if (scale := sp.Mul(*scalars)) != 1:
            if scale.has(InnerProduct):
                raise _no_translation(node)
            value = Stack(self.emit(f"{self.number(scale)} * {value.code}"), value.side, "vector")
        return value

    def function(self, node: Elementwise) -> str:
        """Return the name of a compiled function of stacks."""
        if node.function not in self.functions:
            bodies = {}
            for phi in self.activations:
                for place, expression in enumerate((phi.expression, phi.slope)):
                    call = f"{body_of(phi)}({source_of(ARGUMENT)})[{place}]"
                    bodies[sp.Lambda(ARGUMENT, expression)] = call
            body = bodies.get(node.function) or source_of(node.function(ARGUMENT))
            self.functions[node.function] = (f"map{len(self.functions)}", body)
        return self.functions[node.function][0]

    def matrix(self, node: Any) -> Stack:
        """Return a matrix as a stack of matrices or of diagonals."""
        if ("matrix", node) not in self.known:
            self.known["matrix", node] = self._matrix(node)
        return self.known["matrix", node]

    def _matrix(self, node: Any) -> Stack:
        match node:
            case sp.MatrixSymbol() if node in self.meanings:
                value = self.matrix(self.meanings[node])
                self.lines.append(f"# {value.code} is {node}")
                return value
            case sp.MatrixSymbol() if node in self.leaves and self.leaves[node].dense:
                name = self.leaves[node].argument
                shape = f"1, {name}.shape[0], {name}.shape[1]"
                return Stack(self.emit(f"{name}.reshape({shape})"), NONE, "dense")
            case DiagMatrix():
                inner = self.vector(node.args[0])
                return Stack(inner.code, inner.side, "diagonal")
            case sp.Identity():
                code = self.emit(f"np.ones((1, {self.size(node.shape[0])}))")
                return Stack(code, NONE, "diagonal")
            case sp.ZeroMatrix():
                rows, columns = map(self.size, node.shape)
                return Stack(self.emit(f"np.zeros((1, {rows}, {columns}))"), NONE, "dense")
            case sp.Transpose():
                inner = self.matrix(node.arg)
                if inner.kind == "diagonal":
                    return inner
                return Stack(self.emit(f"transposed({inner.code})"), inner.side, "dense")
            case sp.MatAdd():
                terms = [self.dense(self.matrix(term)) for term in node.args]
                code = self.emit(" + ".join(term.code for term in terms))
                return Stack(code, self.joint(node, *terms), "dense")
            case sp.MatMul():
                return self._scaled_product(node)
            case sp.MatPow(exp=power) if power.is_Integer and power > 0:
                return self._scaled_product(node)
            case MatrixSlice():
                inner = self.dense(self.matrix(node.parent))
                bounds = [*node.rowslice[:2], *node.colslice[:2]]
                a, b, c, d = map(self.size, bounds)
                code = self.emit(f"np.ascontiguousarray({inner.code}[:, {a}:{b}, {c}:{d}])")
                return Stack(code, inner.side, "dense")
        raise _no_translation(node)

    def dense(self, value: Stack) -> Stack:
        """Return diagonals written out as matrices."""
        if value.kind == "dense":
            return value
        return Stack(self.emit(f"dense({value.code})"), value.side, "dense")

    def _scaled_product(self, node: sp.MatrixExpr) -> Stack:
        parts = _flat([node])
        scale = sp.Mul(*(part for part in parts if _is_scalar(part)))
        factors = tuple(part for part in parts if not _is_scalar(part))
        if scale.has(InnerProduct):
            raise _no_translation(node)
        value = self.product(factors) if factors else self.matrix(sp.Identity(node.shape[0]))
        if scale != 1:
            code = self.emit(f"{self.number(scale)} * {value.code}")
            value = Stack(code, value.side, value.kind)
        return value

    def product(self, factors: tuple[Any, ...]) -> Stack:
        """Return a product from the left; products that begin alike share their beginning."""
        if len(factors) == 1:
            return self.matrix(factors[0])
        if ("product", factors) not in self.known:
            a, b = self.product(factors[:-1]), self.matrix(factors[-1])
            side = self.joint(sp.MatMul(*factors), a, b)
            word = {
                ("dense", "dense"): "product" if b.side == NONE else "product_each",
                ("dense", "diagonal"): "scaled_columns",
                ("diagonal", "dense"): "scaled_rows",
            }.get((a.kind, b.kind))
            code = f"{word}({a.code}, {b.code})" if word else f"{a.code} * {b.code}"
            kind = "dense" if word else "diagonal"
            self.known["product", factors] = Stack(self.emit(code), side, kind)
        return self.known["product", factors]

    def coefficient(self, node: Any) -> str:
        """Return the code of a scalar for all pairs, or of a number."""
        if not node.has(InnerProduct):
            return self.number(node)
        match node:
            case InnerProduct():
                return self._gram(node)
            case sp.Add():
                return "(" + " + ".join(self.coefficient(term) for term in node.args) + ")"
            case sp.Mul():
                rest = sp.Mul(*(f for f in node.args if not f.has(InnerProduct)))
                codes = [] if rest == 1 else [self.number(rest)]
                codes += [self.coefficient(f) for f in node.args if f.has(InnerProduct)]
                return " * ".join(codes)
        raise _no_translation(node)

    def _gram(self, node: InnerProduct) -> str:
        if node not in self.known:
            u, v = (self.vector(column) for column in node.args)
            if u.side == RIGHT or v.side == LEFT:
                u, v = v, u
            if u.side == RIGHT or v.side == LEFT:
                raise Unlowerable(
                    f"The inner product '{node}' is of one sample only; it must pair a column "
                    f"at x with a column at x'."
                )
            self.known[node] = self.emit(f"np.dot({u.code}, {v.code}.T)")
        return self.known[node]

    def term(self, node: Any) -> None:
        """Add one term of the formula to the result."""
        parts = _flat([node])
        scalar = sp.Mul(*(part for part in parts if _is_scalar(part)))
        factors = tuple(part for part in parts if not _is_scalar(part))
        sides = [self.side_of(factor) for factor in factors]
        # Weights before the first factor of x' belong to x, unless nothing else does.
        cut = sides.index(RIGHT) if RIGHT in sides else len(factors)
        cut = cut if LEFT in sides[:cut] or cut == len(factors) else 0
        if RIGHT in sides[:cut] or LEFT in sides[cut:]:
            raise Unlowerable(f"The term '{node}' has a factor of x' before one of x; reorder it.")
        # Without the scalar: sizes may stand in it, and the text must not depend on them.
        self.lines.append(f"# {' '.join(map(str, factors)) or 'I'}"[:_REMARK])
        right_factors = tuple(_mirrored(factors[cut:]))
        left = self.product(factors[:cut]) if cut else None
        right = self.product(right_factors) if right_factors else None
        words = [part.kind if part else "diagonal" for part in (left, right)]
        ones = f"np.ones((1, {self.size(node.shape[1] if left else node.shape[0])}))"
        codes = [part.code if part else ones for part in (left, right)]
        pairs = self.coefficient(scalar)
        if not any(self.varies(product) for product in scalar.atoms(InnerProduct)):
            pairs = f"{pairs} * np.ones((x.shape[0], x2.shape[0]))"
        self.lines.append(f"add_{words[0]}_{words[1]}(out, {pairs}, {codes[0]}, {codes[1]})")

    def varies(self, product: InnerProduct) -> bool:
        """Return whether an inner product depends on both samples."""
        return {self.side_of(column) for column in product.args} == {LEFT, RIGHT}

    def side_of(self, node: Any) -> str:
        """Return the side of a factor without computing it."""
        sides = set()
        for symbol in node.free_symbols:
            if symbol in self.meanings:
                sides.add(self.side_of(self.meanings[symbol]))
            elif symbol in self.leaves:
                sides.add(self.leaves[symbol].side)
        return self.joint(node, *(Stack("", side, "") for side in sides))


def _no_translation(node: Any) -> Unlowerable:
    return Unlowerable(
        f"The node {type(node).__name__} in '{node}' has no numerical translation; use sums, "
        f"products, transposes, diagonals, slices and elementwise functions of known symbols."
    )
