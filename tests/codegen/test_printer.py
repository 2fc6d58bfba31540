"""Printed source against SymPy's own values, node by node, and refusals that name the node."""

from __future__ import annotations

import keyword
import math

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st
from sympy.codegen.cfunctions import expm1, hypot

from symkernel.codegen.elementwise import Lowered, compile_elementwise
from symkernel.codegen.functions import decay, rise, sigmoid, softplus, tanhc
from symkernel.codegen.printer import source_of, variable
from symkernel.errors import ShapeMismatch, SymkernelError, Unlowerable
from tests.oracles.interpreted import interpreted

X, Y, T = sp.Symbol("x"), sp.Symbol("y"), sp.Symbol("t")

# Every node the printer knows: (expression, what it means in plain SymPy where that differs).
NODES = {
    "symbol": X,
    "integer": sp.Integer(-7) + X * 0,
    "rational": sp.Rational(22, 7) * X,
    "float": sp.Float("0.1") + X,
    "pi": sp.pi * X,
    "E": sp.E + X,
    "sum": X + Y - 3,
    "product": -2 * X * Y,
    "quotient": (X + 1) / (Y + 3) / X,
    "number over symbol": 2 / X,
    "rational factor": sp.sqrt(2) / 2 * X,
    "square": X**2,
    "cube": (X + Y) ** 3,
    "eighth power": Y**8,
    "inverse": 1 / (X + Y),
    "inverse power": (X + 2) ** -5,
    "eleventh power": X**11,
    "cube root": X ** sp.Rational(1, 3),
    "float power": X**2.3,
    "half-integer power": X ** sp.Rational(5, 2),
    "inverse half-integer power": (X + Y) ** sp.Rational(-3, 2),
    "power of a number": 3**X,
    "square root": sp.sqrt(X + Y),
    "inverse root": 1 / sp.sqrt(X * Y),
    "exp": sp.exp(-X * Y),
    "exp over": Y * sp.exp(X) / (1 + sp.exp(-Y)),
    "expm1": expm1(X / 1000),
    "tanh": sp.tanh(X - Y),
    "tanhc": tanhc(X * Y),
    "tanhc at 0": tanhc(X - X * sp.Float(1)),
    "decay": decay(X),
    "rise": rise(X / 1000),
    "erf": sp.erf(X / 2),
    "erfc": sp.erfc(X + Y),
    "abs": sp.Abs(X - Y),
    "hypot": hypot(X, Y),
    "log": sp.log(X + 2 * Y + 1),
    "sigmoid": sigmoid(X - Y),
    "softplus": softplus(X - Y),
    "sine": sp.sin(X) + sp.cos(Y) + sp.tan(X) + sp.atan(Y) + sp.asinh(X),
    "hyperbolic": sp.sinh(X) * sp.cosh(Y),
    "sign": sp.sign(X - Y),
    "step": sp.Heaviside(X - Y, 0),
    "max": sp.Max(X, Y, 1),
    "min": sp.Min(X, Y),
    "less": sp.Piecewise((X, X < Y), (Y, True)),
    "less or equal": sp.Piecewise((X, X <= 2 * Y), (Y, True)),
    "greater": sp.Piecewise((X**2, X > 1), (Y, True)),
    "greater or equal": sp.Piecewise((X**2, X >= 1), (Y, True)),
    "equal": sp.Piecewise((X, sp.Eq(X, Y)), (2 * Y, True)),
    "unequal": sp.Piecewise((X, sp.Ne(X, Y)), (2 * Y, True)),
    "and": sp.Piecewise((X, sp.And(X < 1, Y < 1)), (-Y, True)),
    "or": sp.Piecewise((X, sp.Or(X < 1, Y < 1)), (-Y, True)),
    "three branches": sp.Piecewise((X, X < 1), (-Y, Y < 1), (X * Y, True)),
    "nested": sp.Piecewise((sp.Piecewise((1 / X, Y < 1), (Y, True)), X < 1), (sp.S.Zero, True)),
    "selection in a product": 2 * X * sp.Piecewise((X, X < 1), (Y, True)) ** 2,
}
OWN = (tanhc, decay, rise, sigmoid, softplus)
DRAWS = [(0.3, 0.7), (1.7, 0.4), (2.5, 3.5), (0.9, 1.1), (1.0, 1.0)]


def meaning(expression: sp.Expr) -> sp.Expr:
    """Return the expression in functions that SymPy evaluates by itself."""
    return (
        expression.replace(lambda e: isinstance(e, OWN), lambda e: e.definition())
        .replace(hypot, lambda a, b: sp.sqrt(a**2 + b**2))
        .replace(expm1, lambda a: sp.exp(a) - 1)
    )


def exact(expression: sp.Expr, x: float, y: float) -> float:
    if expression == NODES["tanhc at 0"]:
        return 1.0
    return float(meaning(expression).subs({X: sp.Float(x, 40), Y: sp.Float(y, 40)}).evalf(30))


def routine(outputs, where=()):
    return compile_elementwise(Lowered((X, Y), T, tuple(where), tuple(outputs)))


def one_value(module, x: float, y: float, count: int, numbers=()) -> np.ndarray:
    """Return the outputs; long rational numbers of the formulas are arguments of the module."""
    out = np.empty((count, 1, 1))
    module._body(np.zeros(1), np.array([x, y, *numbers])[:, None], out, 0, 0, 1)
    return out[:, 0, 0]


@pytest.mark.parametrize("name", NODES)
def test_each_node_has_the_value_sympy_gives_it(name: str) -> None:
    """Run by the interpreter, so that each node is judged alone."""
    module = interpreted(routine([("f", NODES[name])]).source)
    for x, y in DRAWS:
        want = exact(NODES[name], x, y)
        assert math.isclose(one_value(module, x, y, 1)[0], want, rel_tol=4e-15, abs_tol=1e-17)


def test_all_nodes_compiled_together_have_these_values() -> None:
    compiled = routine(NODES.items())
    x, y = np.array(DRAWS).T
    found = compiled([0.0], x, y)
    for name, expression in NODES.items():
        want = [exact(expression, *draw) for draw in DRAWS]
        assert np.allclose(found[name][0], want, rtol=4e-15, atol=1e-17), name


leaves = st.sampled_from([X, Y, sp.Integer(2), sp.Rational(-1, 3), sp.pi, sp.Float(0.7)])
trees = st.recursive(
    leaves,
    lambda e: st.one_of(
        st.builds(lambda a, b: a + b, e, e),
        st.builds(lambda a, b: a * b, e, e),
        st.builds(lambda a, b: a / (2 + b**2), e, e),
        st.builds(lambda a, n: a**n, e, st.sampled_from([2, 3])),
        st.builds(sp.tanh, e),
        st.builds(lambda a: sp.exp(-(a**2)), e),
        st.builds(lambda a: sp.sqrt(1 + a**2), e),
        st.builds(lambda a: 1 / sp.sqrt(1 + a**2), e),
        st.builds(lambda a: tanhc(a**2), e),
        st.builds(lambda a: rise(a**2), e),
        st.builds(lambda a, b: sp.Piecewise((a, X < Y), (b, True)), e, e),
    ),
    max_leaves=7,
)


@given(trees, st.sampled_from(DRAWS))
def test_drawn_expressions_have_the_value_sympy_gives_them(expression, draw) -> None:
    """Rounding is judged against the same expression with every argument moved by an ulp or so."""
    compiled = routine([("f", expression)])
    module = interpreted(compiled.source)
    found = one_value(module, *draw, 1, compiled._apart[1])[0]
    want = exact(expression, *draw)
    moved = [exact(expression, draw[0] * (1 + e), draw[1] * (1 + f))
             for e, f in ((1e-9, 0), (0, 1e-9))]  # fmt: skip
    condition = sum(abs(m - want) for m in moved) / 1e-9
    terms = sum(abs(exact(a, *draw)) for a in sp.Add.make_args(sp.sympify(expression)))
    assert abs(found - want) <= 1e-13 * (1 + abs(want) + condition + terms)


# --- names --------------------------------------------------------------------------------------

AWKWARD = [
    "k", "i", "out", "times", "parameters", "start", "stop", "exp", "tanh", "math", "numba", "np",
    "lambda", "def", "None", "True", "evaluate", "_body", "abs", "max", "min", "range", "v_x",
    "decay", "rise", "expm1", "inf", "nan", "λ", "E", "I", "__name__", "job", "chunks",
]  # fmt: skip


def test_names_of_symbols_do_not_meet_names_of_the_module() -> None:
    """All of them in one routine, as arguments, as time, and as abbreviations."""
    symbols = [sp.Symbol(name) for name in AWKWARD]
    abbreviations = [sp.Symbol(name + "_") for name in AWKWARD]
    where = tuple(zip(abbreviations, [2 * q for q in symbols], strict=True))
    total = sp.Add(*(n * q for n, q in enumerate(abbreviations, 1)), sp.exp(-symbols[0]))
    clock = sp.Symbol("evaluate_parallel")
    compiled = compile_elementwise(Lowered(tuple(symbols), clock, where, (("y", total + clock),)))
    values = np.linspace(0.1, 1.0, len(symbols))
    want = 2 * (np.arange(1, len(symbols) + 1) * values).sum() + math.exp(-values[0])
    found = compiled([0.0, 3.0], *values[:, None])["y"][:, 0]
    assert np.allclose(found, [want, want + 3.0], rtol=1e-14)
    assert any(keyword.iskeyword(name) for name in AWKWARD)


@pytest.mark.parametrize("name", ["x'", "s 1", "1x", "a-b", r"\sigma", "x\ny", "x;y", ""])
def test_names_that_are_no_identifiers_are_refused(name: str) -> None:
    with pytest.raises(Unlowerable, match="cannot be a variable of a compiled routine"):
        variable(sp.Symbol(name))


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ((X, sp.Symbol("x", real=True)), ()),
        ((X, sp.Symbol("t", nonnegative=True)), ()),
        ((X, Y), ((sp.Symbol("x", real=True), 2 * Y),)),
        ((X, Y), ((sp.Symbol("z"), X), (sp.Symbol("z", real=True), Y))),
        ((sp.Symbol("\u00b5"), sp.Symbol("\u03bc")), ()),  # micro sign, mu: one name to Python
    ],
)  # fmt: skip
def test_two_symbols_of_one_name_are_refused(arguments, where) -> None:
    """They would be one variable, and the last one would silently win."""
    with pytest.raises(Unlowerable, match="Two symbols of the routine are called"):
        compile_elementwise(Lowered(arguments, T, where, (("y", arguments[0] + arguments[1]),)))


# --- refusals -----------------------------------------------------------------------------------

REFUSED = {
    "zeta": (sp.zeta(X), "node zeta"),
    "step at 0": (sp.Heaviside(X), "node Heaviside"),
    "gamma": (1 + sp.gamma(X) ** 2, "node gamma"),
    "unknown function": (sp.Function("f")(X), "node f"),
    "derivative": (sp.Derivative(sp.Function("f")(X), X), "node Derivative"),
    "integral": (sp.Integral(X**X, X), "node Integral"),
    "matrix element": (sp.MatrixSymbol("M", 2, 2)[0, 1], "node MatrixElement"),
    "imaginary": (sp.I * X, "node ImaginaryUnit"),
    "infinite": (sp.oo, "Infinity"),
    "nan": (sp.nan, "NaN"),
    "symbolic power": (X**Y, r"power 'x\*\*y'"),
    "imaginary power": (X**sp.I, r"power 'x\*\*I'"),
    "power of a negative number": ((-sp.pi) ** X, "power"),
    "no otherwise": (sp.Piecewise((X, X < 1)), "must end in an 'otherwise' branch"),
    "not": (sp.Piecewise((X, sp.Xor(X < 1, Y < 1)), (Y, True)), "node Xor"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_node_without_translation_is_refused_by_name(name: str) -> None:
    expression, words = REFUSED[name]
    with pytest.raises(Unlowerable, match=words):
        source_of(expression)
    assert issubclass(Unlowerable, SymkernelError)


@pytest.mark.parametrize("number", [sp.oo, -sp.oo, sp.zoo, sp.nan])
def test_infinity_and_nan_cannot_become_numbers(number) -> None:
    for expression in (number, sp.Mul(X, number, evaluate=False)):
        with pytest.raises(Unlowerable, match="has no numerical translation"):
            source_of(expression)


def test_symbols_without_meaning_are_named() -> None:
    z = sp.Symbol("z")
    with pytest.raises(Unlowerable, match="The formula for an output uses q, z, which is neither"):
        routine([("f", X + z + sp.Symbol("q"))])
    with pytest.raises(Unlowerable, match="The formula for z uses z"):
        routine([("f", X)], [(z, z + 1)])
    late = [(z, sp.Symbol("w")), (sp.Symbol("w"), X)]
    with pytest.raises(Unlowerable, match="The formula for z uses w"):
        routine([("f", z)], late)


def test_a_routine_without_arguments_is_refused() -> None:
    with pytest.raises(Unlowerable, match="needs one argument at least"):
        compile_elementwise(Lowered((), T, (), (("f", T),)))


# --- calls --------------------------------------------------------------------------------------

SUM = routine([("f", X + Y * T)])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (([0.0], [1.0]), ShapeMismatch, "one array for each of x, y after the times, not 1"),
        (([0.0], [1.0], [2.0], [3.0]), ShapeMismatch, "not 3 arrays"),
        (([0.0], [1.0, 2.0], [2.0]), ShapeMismatch, "one value per mode each, not 2, 1 values"),
        (([0.0], 1.0, [2.0]), ShapeMismatch, "'x' must be 1-dimensional"),
        (([1.0, 0.0], [1.0], [2.0]), ValueError, "'times' must be non-negative and in increasing"),
        (([0.0], [np.nan], [2.0]), ValueError, "'x' must be finite"),
        (([0.0], [1.0], [2j]), ValueError, "'y' must be an array of real numbers"),
        (([], [1.0], [2.0]), ValueError, "'times' must not be empty"),
    ],
)
def test_calls_with_arguments_that_do_not_fit_are_refused(arguments, error, words) -> None:
    with pytest.raises(error, match=words):
        SUM(*arguments)


def test_shape_of_the_result_is_times_by_modes() -> None:
    found = SUM([0.0, 1.0, 2.0], [1.0, 2.0], [10.0, 20.0])["f"]
    assert found.tolist() == [[1.0, 2.0], [11.0, 22.0], [21.0, 42.0]]


def test_what_does_not_move_is_computed_once_per_mode() -> None:
    z, w = sp.symbols("z w")
    source = routine([("f", w)], [(z, sp.exp(X)), (w, z * T)]).source
    prelude, loop = source.split("for i in range(start, stop):")
    assert "v_z = exp(v_x)" in prelude
    assert "v_z =" not in loop
    assert "v_w = " in loop


def test_routines_that_differ_in_long_numbers_only_are_compiled_once() -> None:
    def routine(rate: sp.Rational):
        where = ((sp.Symbol("half", real=True), sp.sqrt(rate) * X / 2),)
        return compile_elementwise(Lowered((X, Y), T, where, (("y", where[0][0] - rate * T * Y),)))

    rates = [sp.Rational(text) for text in ("0.7310585786300049", "0.2689414213699951")]
    one, two = map(routine, rates)
    assert one.source == two.source
    for rate, compiled in zip(map(float, rates), (one, two), strict=True):
        found = compiled([0.0, 2.0], [3.0, 1.0], [1.0, -4.0])["y"]
        want = np.sqrt(rate) * np.array([1.5, 0.5]) - rate * np.outer([0, 2], [1, -4])
        np.testing.assert_allclose(found, want, rtol=1e-15)
    assert routine(sp.Rational(3, 10)).source != routine(sp.Rational(7, 10)).source


def test_only_keeps_the_abbreviations_that_are_needed() -> None:
    z, w, v = sp.symbols("z w v")
    lowered = routine([("f", w), ("g", v)], [(z, X), (w, z * T), (v, Y)]).lowered
    some = lowered.only("f")
    assert [q.name for q, _ in some.where] == ["z", "w"]
    assert [name for name, _ in some.outputs] == ["f"]
    assert lowered.only("f", "g") == lowered


def test_functions_of_our_own_are_what_they_say() -> None:
    assert tanhc(0) == 1
    for function in OWN:
        value = function(X).subs(X, sp.Float("0.37", 30))
        assert abs(value.evalf(30) - function(X).definition().subs(X, sp.Float("0.37", 30))) < 1e-28
