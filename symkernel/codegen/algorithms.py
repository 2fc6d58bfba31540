r"""Nodes whose mathematics is shown and whose number an algorithm computes.

A node class states its `definition` (what LaTeX prints), its `equation` (the differential equation
it solves, and where it starts) and the module in `numerics/` whose text is put into the compiled
module. `solves_its_equation` and `at_precision` hold the three together.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add, mul
from types import ModuleType
from typing import Any, ClassVar

import mpmath
import sympy as sp
from sympy.printing.precedence import PRECEDENCE

from symkernel.errors import Unlowerable
from symkernel.problem.scalars import as_sympy


class Propagator(sp.MatrixExpr):
    r"""$e^{Ft}$ of a symmetric matrix.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.codegen.algorithms import Propagator
    >>> assert Propagator(sp.MatrixSymbol("F", 2, 2), sp.Symbol("t")).shape == (2, 2)
    """

    def __new__(cls, generator: sp.MatrixExpr, time: sp.Expr) -> Propagator:
        """Return the function of a generator and a time."""
        return super().__new__(cls, generator, as_sympy(time))

    @property
    def shape(self) -> tuple[sp.Expr, sp.Expr]:
        """Shape of the generator."""
        return self.args[0].shape

    def _eval_transpose(self) -> Propagator:
        return self

    @staticmethod
    def of_eigenvalue(f: Any, t: Any, exp: Any) -> Any:
        """Return the same function of one eigenvalue."""
        return exp(f * t)

    def _latex(self, printer: Any) -> str:
        return rf"e^{{{printer._print(self.args[0])} {printer._print(self.args[1])}}}"

    def _sympystr(self, printer: Any) -> str:
        return f"exp({printer._print(self.args[0])}*{printer._print(self.args[1])})"


class PropagatorIntegral(Propagator):
    r"""$\int_0^t e^{2Fs} ds$, entire in F: no inverse of F is needed."""

    # In a product it stands in brackets, or its factors would seem to be integrated over.
    precedence = PRECEDENCE["Add"]
    _coefficient: ClassVar[str] = "2*"

    @staticmethod
    def of_eigenvalue(f: Any, t: Any, exp: Any) -> Any:
        """Return the same function of one eigenvalue."""
        return t if f == 0 else (exp(2 * f * t) - 1) / (2 * f)

    def _latex(self, printer: Any) -> str:
        F, t = (printer._print(arg) for arg in self.args)
        return rf"\int_0^{{{t}}} e^{{{self._coefficient.rstrip('*')} {F} \tau}}\,d\tau"

    def _sympystr(self, printer: Any) -> str:
        F, t = (printer._print(arg) for arg in self.args)
        return f"integral(exp({self._coefficient}{F}*tau), (tau, 0, {t}))"


class DecayIntegral(PropagatorIntegral):
    r"""$\int_0^t e^{-Ms} ds$, entire in M: no inverse of M is needed."""

    _coefficient = "-"

    @staticmethod
    def of_eigenvalue(f: Any, t: Any, exp: Any) -> Any:
        """Return the same function of one eigenvalue."""
        return t if f == 0 else (1 - exp(-f * t)) / f


class AlgorithmNode(sp.MatrixExpr):
    """A matrix function of time that an algorithm computes.

    Attributes
    ----------
    algorithm : module
        In `numerics/`; it stands alone.
    entry : str
        Definition of the compiled entry point `evaluate` with its signature.
    """

    algorithm: ClassVar[ModuleType]
    entry: ClassVar[str]

    @abstractmethod
    def definition(self) -> sp.MatrixExpr:
        """Return the mathematics."""

    @abstractmethod
    def equation(self, value: sp.MatrixExpr) -> tuple[sp.MatrixExpr, sp.MatrixExpr]:
        """Return (rate of a value, initial value)."""

    def _latex(self, printer: Any) -> str:
        return printer._print(self.definition())


@dataclass(frozen=True)
class AlgorithmRoutine:
    """The compiled algorithm of a node class.

    Attributes
    ----------
    node : type
    rewritings : tuple
        Empty: no formula is rewritten, the algorithm is judged against the definition.
    """

    node: type[AlgorithmNode]
    rewritings: tuple[Any, ...] = ()

    @cached_property
    def source(self) -> str:
        """The module that is compiled."""
        return inspect.getsource(self.node.algorithm) + self.node.entry

    @cached_property
    def evaluate(self) -> Any:
        """The entry point."""
        from symkernel.codegen.cache import load

        return load(self.source, self.node.__name__.lower()).evaluate


def compile_algorithm(node: type) -> AlgorithmRoutine:
    """Return the routine of a node class.

    Raises
    ------
    Unlowerable
        If the class lacks a definition, an equation or an algorithm.
    """
    wanted = ("definition", "equation", "algorithm", "entry")
    lacking = [
        name
        for name in wanted
        if getattr(getattr(node, name, None), "__isabstractmethod__", False)
        or not hasattr(node, name)
    ]
    if lacking:
        raise Unlowerable(f"The node {node.__name__} cannot be compiled: no {', '.join(lacking)}.")
    return AlgorithmRoutine(node)


Pair = tuple[sp.Matrix, sp.Matrix]
_RULES = (sp.Transpose, sp.Inverse, sp.MatAdd, sp.MatMul)


def exact(
    expression: sp.MatrixExpr,
    values: Mapping[Any, sp.Matrix],
    spectrum: tuple[sp.Matrix, list[sp.Expr]],
    time: sp.Symbol,
    at: sp.Expr,
) -> Pair:
    """Return value and time derivative of a matrix expression, in rational arithmetic.

    Parameters
    ----------
    values : mapping
        From matrix symbols, which do not move, to matrices.
    spectrum : (eigenvectors, eigenvalues)
        Of the generator of all propagators; rational, the eigenvalues integers.
    time : sympy.Symbol
    at : sympy.Expr
        Rational time. $e^t$ there is taken for 3: as good as any number, because every entry is a
        rational function of $t$ and $e^t$, which are independent. At t = 0 it is 1.
    """
    vectors, eigenvalues = spectrum
    base = sp.Integer(3) if at != 0 else sp.S.One

    def number(function: sp.Expr) -> sp.Expr:
        powers = function.replace(sp.exp, lambda x: base ** sp.expand(x / time))
        return powers.subs(time, at)

    def walk(node: Any) -> Pair:
        if node in values:
            return values[node], sp.zeros(*values[node].shape)
        if isinstance(node, Propagator):
            own = node.args[1]
            functions = [node.of_eigenvalue(f, own, sp.exp) for f in eigenvalues]
            value, rate = (
                vectors * sp.diag(*map(number, entries)) * vectors.T
                for entries in (functions, [f.diff(time) for f in functions])
            )
            return value, rate
        if isinstance(node, sp.Identity):
            return sp.eye(int(node.shape[0])), sp.zeros(int(node.shape[0]))
        if isinstance(node, sp.ZeroMatrix):
            nothing = sp.zeros(*map(int, node.shape))
            return nothing, nothing
        if isinstance(node, sp.MatPow) and node.exp == 2:
            return walk(sp.MatMul(node.base, node.base, evaluate=False))
        if not isinstance(node, _RULES):
            raise Unlowerable(f"The node {type(node).__name__} has no exact value.")
        parts = [walk(arg) for arg in node.args if isinstance(arg, sp.MatrixExpr)]
        value, rate = parts[0]
        if isinstance(node, sp.Transpose):
            return value.T, rate.T
        if isinstance(node, sp.Inverse):
            inverse = value.inv()
            return inverse, -inverse * rate * inverse
        for other, moved in parts[1:]:
            if isinstance(node, sp.MatAdd):
                value, rate = value + other, rate + moved
            else:
                value, rate = value * other, rate * other + value * moved
        scalar = sp.Mul(*(arg for arg in node.args if not isinstance(arg, sp.MatrixExpr)))
        return scalar * value, scalar * rate

    return walk(expression)


def at_precision(expression: Any, values: Mapping[Any, Any], time: float, digits: int) -> Any:
    """Return a matrix expression, or a scalar that may hold traces, evaluated by mpmath.

    Parameters
    ----------
    values : mapping
        From matrix symbols to mpmath matrices, and from symbols to numbers.
    digits : int
        Decimal digits of the arithmetic.
    """
    with mpmath.workdps(digits):
        return _evaluated(expression, values, mpmath.mpf(time))


def _evaluated(node: Any, values: Mapping[Any, Any], t: mpmath.mpf) -> Any:
    if node in values:
        return values[node]
    if isinstance(node, AlgorithmNode):
        return _evaluated(node.definition(), values, t)
    if isinstance(node, Propagator):
        symbols = sorted(node.args[1].free_symbols, key=str)
        # A symbol without a value is the time.
        own = sp.lambdify(symbols, node.args[1], "mpmath")(*(values.get(q, t) for q in symbols))
        generator = _evaluated(node.args[0], values, t)
        return _spectral(generator, lambda f: node.of_eigenvalue(f, own, mpmath.exp))
    if isinstance(node, (sp.Identity, sp.ZeroMatrix)):
        make = mpmath.eye if isinstance(node, sp.Identity) else mpmath.zeros
        return make(*map(int, node.shape[: 1 if isinstance(node, sp.Identity) else 2]))
    if isinstance(node, sp.BlockMatrix):
        return _stacked([[_evaluated(b, values, t) for b in row] for row in node.blocks.tolist()])
    if not isinstance(node, sp.MatrixExpr):
        return _number(node, values, t)
    parts = [_evaluated(arg, values, t) for arg in node.args if isinstance(arg, sp.MatrixExpr)]
    if isinstance(node, sp.Transpose):
        return parts[0].T
    if isinstance(node, sp.Inverse):
        return mpmath.inverse(parts[0])
    if isinstance(node, sp.MatPow) and node.exp == sp.S.Half:
        return _spectral(parts[0], mpmath.sqrt)
    if isinstance(node, sp.MatPow) and node.exp.is_Integer:
        return parts[0] ** int(node.exp)
    if isinstance(node, sp.KroneckerProduct):
        return reduce(_kronecker, parts)
    if isinstance(node, (sp.MatMul, sp.MatAdd)):
        total = reduce(mul if isinstance(node, sp.MatMul) else add, parts)
        scalar = sp.Mul(*(arg for arg in node.args if not isinstance(arg, sp.MatrixExpr)))
        return total if scalar == 1 else total * _number(scalar, values, t)
    raise Unlowerable(f"The node {type(node).__name__} has no value at high precision.")


def _spectral(matrix: mpmath.matrix, function: Callable[[Any], Any]) -> mpmath.matrix:
    """Return a function of a symmetric matrix, whose eigenvalues next to 0 are taken for 0."""
    eigenvalues, vectors = mpmath.eigsy(matrix)
    floor = mpmath.mpf(10) ** (-mpmath.mp.dps // 2) * (1 + max(map(abs, eigenvalues)))
    entries = [function(f if abs(f) > floor else mpmath.mpf(0)) for f in eigenvalues]
    return vectors * mpmath.diag(entries) * vectors.T


def _stacked(blocks: list[list[mpmath.matrix]]) -> mpmath.matrix:
    return mpmath.matrix(
        [
            [entry for block in row for entry in block[i, :].tolist()[0]]
            for row in blocks
            for i in range(row[0].rows)
        ]
    )


def _kronecker(left: mpmath.matrix, right: mpmath.matrix) -> mpmath.matrix:
    return _stacked([[left[i, j] * right for j in range(left.cols)] for i in range(left.rows)])


# Numerators and denominators up to here are exact at high precision.
_LONGEST = 10**6


def _number(scalar: sp.Expr, values: Mapping[Any, Any], t: mpmath.mpf) -> mpmath.mpf:
    """Return a scalar, in which traces and symbols with values have these in their place."""
    entry = {q: values[q] for q in scalar.atoms(sp.Symbol) if q in values}
    for trace in scalar.atoms(sp.Trace):
        matrix = _evaluated(trace.arg, values, t)
        entry[trace] = mpmath.fsum(matrix[i, i] for i in range(matrix.rows))
    digits = mpmath.mp.dps
    known = {q: sp.Float(value, digits) for q, value in entry.items()}
    # Exact arithmetic with long fractions, of decimals that were given, is slow.
    long = (q for q in scalar.atoms(sp.Rational) if max(abs(q.p), q.q) > _LONGEST)
    known |= {q: sp.Float(q, 2 * digits) for q in long}
    # Nothing is chopped: small parts of a formula with large coefficients are not rounding.
    found, turned = sp.N(scalar.xreplace(known), digits).as_real_imag()
    if (
        not found.is_Number
        or not found.is_finite
        or abs(turned) > abs(found) * 10 ** -(digits // 2)
    ):
        raise Unlowerable(f"The scalar {scalar} has no real value.")
    return mpmath.mpf(str(found))


def solves_its_equation(
    node: AlgorithmNode,
    definition: sp.MatrixExpr,
    values: Mapping[Any, sp.Matrix],
    spectrum: tuple[sp.Matrix, list[sp.Expr]],
    time: sp.Symbol,
    at: sp.Expr,
) -> bool:
    """Whether a definition solves the node's equation, exactly; arguments are those of `exact`."""
    marker = sp.MatrixSymbol("value", *node.shape)
    rate, start = node.equation(marker)
    value, moved = exact(definition, values, spectrum, time, at)
    wanted, _ = exact(rate, {**values, marker: value}, spectrum, time, at)
    first, _ = exact(definition, values, spectrum, time, sp.S.Zero)
    given, _ = exact(start, values, spectrum, time, sp.S.Zero)
    return moved == wanted and first == given
