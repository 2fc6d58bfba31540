"""Formulas as text: what is read, what is refused, and that the meaning is the right one."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable
from functools import reduce

import mpmath
import pytest
import sympy as sp
from hypothesis import assume, example, given
from hypothesis import strategies as st

from symkernel.errors import InvalidArgument
from symkernel.problem.formula_text import parse_formula
from tests.oracles.work import bounded_work

s = sp.Symbol("s", positive=True)
t = sp.Symbol("t", nonnegative=True)
x = sp.Symbol("x", real=True)
n = sp.Symbol("n_1", integer=True, positive=True)
NAMES = {"s": s, "t": t, "x": x, "n_1": n}
HALF = sp.Rational(1, 2)


# ---- what is read


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("2", sp.Integer(2)),
        ("0.1", sp.Rational(1, 10)),
        (".5", HALF),
        ("5.", sp.Integer(5)),
        ("1e-3", sp.Rational(1, 1000)),
        ("1.25E2", sp.Integer(125)),
        ("-2^2", sp.Integer(-4)),
        ("2^-1", HALF),
        ("2^3^2", sp.Integer(512)),
        ("2**3**2", sp.Integer(512)),
        ("--x", x),
        ("2 - 3 - 4", sp.Integer(-5)),
        ("12/3/2", sp.Integer(2)),
        ("2*-x", -2 * x),
        ("1 - -x", 1 + x),
        ("x^2^n_1", x ** (2**n)),
        ("(x + 1)*(x - 1)", (x + 1) * (x - 1)),
        ("s/(1 + (s/0.5 - 1)*exp(-2*s*t))", s / (1 + (2 * s - 1) * sp.exp(-2 * s * t))),
        ("e^(-x)", sp.exp(-x)),
        ("cos(pi)", sp.Integer(-1)),
        ("erf(x/sqrt(2))", sp.erf(x / sp.sqrt(2))),
        ("max(x, 2, s) - Min(x, t)", sp.Max(x, 2, s) - sp.Min(x, t)),
        ("abs(-3) + Abs(x)", 3 + sp.Abs(x)),
        ("sinh(x) + cosh(x)+tanh ( x )", sp.sinh(x) + sp.cosh(x) + sp.tanh(x)),
        ("sin(x)^2 + tan(x) + log(s)", sp.sin(x) ** 2 + sp.tan(x) + sp.log(s)),
        ("\n 1\t+\r\n x ", 1 + x),
        ("0^0", sp.Integer(1)),
        ("1e300", sp.Integer(10) ** 300),
    ],
)
def test_read(text, meaning):
    assert parse_formula(text, NAMES) == meaning


def test_numbers_may_stand_for_names():
    assert parse_formula("2*a^2", {"a": sp.Rational(1, 3)}) == sp.Rational(2, 9)
    assert parse_formula("a*s", {"a": sp.sqrt(2), "s": s}) == sp.sqrt(2) * s


# ---- what is refused


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", 1, "is missing"),
        ("   ", 4, "is missing"),
        ("2 +", 4, "is missing"),
        ("(x", 3, "closing parenthesis"),
        ("x)", 2, "not matched"),
        ("2x", 2, "operator"),
        ("2(x)", 2, "operator"),
        ("x 2", 3, "operator"),
        ("1.2.3", 4, "operator"),
        ("1e", 2, "operator"),
        ("0x10", 2, "operator"),
        ("x(2)", 2, "no function"),
        ("+x", 1, "cannot stand here"),
        ("x,2", 2, "cannot stand here"),
        ("exp", 1, "in parentheses"),
        ("exp + 1", 1, "in parentheses"),
        ("exp()", 5, "cannot stand here"),
        ("exp(1, 2)", 1, "one argument"),
        ("max()", 5, "cannot stand here"),
        ("f(x)", 1, "function 'f' is not known; allowed are"),
        ("y", 1, "name 'y' is not known; allowed are numbers, the names e, n_1, pi, s, t, x"),
        ("E", 1, "not known"),
        ("I*x", 1, "not known"),
        ("oo", 1, "not known"),
        ("x.real", 2, "no meaning"),
        ("x.__class__", 2, "no meaning"),
        ("__import__('os')", 1, "no meaning"),
        ("x__import__", 1, "not known"),
        ("eval('1')", 1, "function 'eval' is not known"),
        ("open(x)", 1, "function 'open' is not known"),
        ("'x'", 1, "no meaning"),
        ('"x"', 1, "no meaning"),
        ("x[0]", 2, "no meaning"),
        ("{x}", 1, "no meaning"),
        ("x = 1", 3, "no meaning"),
        ("x := 1", 3, "no meaning"),
        ("lambda x: x", 1, "not known"),
        ("x if x else s", 3, "operator"),
        ("x < 1", 3, "no meaning"),
        ("x; s", 2, "no meaning"),
        ("x # s", 3, "no meaning"),
        ("x\\s", 2, "no meaning"),
        ("x // 2", 4, "cannot stand here"),
        ("x % 2", 3, "no meaning"),
        ("x @ s", 3, "no meaning"),
        ("x!", 2, "no meaning"),
        ("ｘ + 1", 1, "no meaning"),
        ("x ＋ 1", 3, "no meaning"),
        ("х + 1", 1, "no meaning"),  # a Cyrillic letter
        ("𝟏", 1, "no meaning"),
        ("٣", 1, "no meaning"),
        ("2²", 2, "no meaning"),
        ("x\u00a0+ 1", 2, "no meaning"),
        ("x\u2062s", 2, "no meaning"),
        ("x\u202e", 2, "no meaning"),
        ("x\0", 2, "no meaning"),
        ("x\ud800", 2, "no meaning"),
    ],
)
def test_refused_with_the_position(text, position, words):
    with pytest.raises(InvalidArgument) as caught:
        parse_formula(text, NAMES)
    assert f"at position {position}," in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["1/0", "x/0", "0^-1", "x/(1 - 1)", "log(0)", "log(-2)", "log(-s)", "sqrt(-2)", "sqrt(-s)",
     "(-8)^(1/3)", "tan(pi/2)", "sqrt(-s^2)"],
)  # fmt: skip
def test_what_is_not_real_and_finite_is_refused(text):
    with pytest.raises(InvalidArgument, match=r"no finite real value|no real power"):
        parse_formula(text, NAMES)


# ---- limits: at the limit it is read, beyond it is refused


def nested(levels):
    return "(" * levels + "x" + ")" * levels


@pytest.mark.parametrize(
    ("inside", "beyond", "words"),
    [
        ("x" + " " * 1999, "x" + " " * 2000, "2000 characters"),
        (nested(39), nested(40), "40 levels"),
        ("-" * 39 + "x", "-" * 40 + "x", "40 levels"),
        ("^".join(["x"] * 40), "^".join(["x"] * 41), "40 levels"),
        ("1" * 60, "1" * 61, "60 digits"),
        ("1e300", "1e301", "1e300"),
        ("1e-300", "0.1e-300", "1e-300"),
        ("2^999*2^24", "2^999*2^25", "double"),
        ("3^600/2^900", "3^1000/3^500", "double"),
        ("(1 + 2^-12)^315", "(1 + 2^-12)^316", "4096 bits"),
        ("(1 + 2^-12)^-315", "(1 + 2^-12)^-316", "4096 bits"),
        ("(3^50*x)^50", "(3^99*x)^50", "4096 bits"),
        ("x^100", "x^101", "degree"),
        ("x^30/(s + 1)^20 + (x + 2)^20/x^10", "1/(s + 1)^20 + (x + 2)^20/x^71", "degree"),
        ("x^20 + x", "x^21 + x", "one symbol with rational"),
        ("max(x, x^20)", "max(x, x^21)", "one symbol with rational"),
        ("x^50 + s", "x^101 + s", "degree"),
        ("x^4 + pi*x", "x^5 + pi*x", "irrational"),
        ("(x + pi)^2 + 1/x", "(x + pi)^2 + 1/x^2", "irrational"),
        ("sqrt(x)^100", "sqrt(x)^202", "degree"),
        ("x^0.001", "x^0.0001", "1000"),
        ("2^0.123", "999^0.123", "4096 bits"),
        ("2^(1000*x)", "2^(1001*x)", "1000"),
        ("(s^0.5)^0.02", "(s^0.5)^0.001", "1000"),
        ("exp(1000*x*log(2))", "exp(1001*x*log(2))", "1000"),
        ("exp(-1e9*x)", "exp(1e9*x)^(log(2)/x)", "1000"),
        ("exp(709)", "exp(710)", "double"),
        ("exp(709) + exp(708)", "exp(709) + exp(709.5) + exp(709.25)", "double"),
        ("max(" + ",".join(["x"] * 20) + ")", "max(" + ",".join(["x"] * 21) + ")", "20 arg"),
        ("exp(exp(x))", "exp(exp(exp(9)))", "double"),
        ("-".join(f"{k}^x" for k in range(2, 170)),
         "-".join(f"{k}^x" for k in range(2, 240)), "1000 nodes"),
    ],
)  # fmt: skip
def test_limits(inside, beyond, words):
    parse_formula(inside, NAMES)
    with pytest.raises(InvalidArgument, match=words):
        parse_formula(beyond, NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "9^9^9^9",
        "9**9**9**9",
        "(1 + 1e-9)^(1e9)",
        "(1 + 1e-9)^(1e9 + 1/2)",
        "exp(sqrt(max(t, -1) + t^1000))",
        "exp(sqrt((t + 1)^30*(t + 2)^30*(t^9 + 3)^30 + t))",
        "exp(sqrt((t + sqrt(2))^9 + (t + log(2))^8) + t)",
        "log(sqrt((s + 0.001)^8 + (s + 3)/(sqrt(2)*s + e)) + s)",
        "max(0.001*s^33, s + 0.001) + (s - 3)*(s + 7/5)^11",
        "999^1.0000001",
        "(999*s)^1.0000001",
        "exp(10^9*log(2))",
        "e^(10^9*log(2))",
        "((3/2)^x)^(10^9/x)",
        "2^(x + 10^9)*2^(-x)",
        "exp(exp(exp(exp(9))))",
        "sqrt(5 + 2*sqrt(6)) - sqrt(2) - sqrt(3)",
        "log(sqrt(5 + 2*sqrt(6))/(sqrt(2) + sqrt(3)))",
        "max(sqrt(5 + 2*sqrt(6)), sqrt(2) + sqrt(3))",
        "exp(-700)*exp(-700)",
    ],
)
def test_what_would_hang_or_fill_memory_is_refused_at_little_work(text):
    with bounded_work(), pytest.raises(InvalidArgument, match="at position"):
        parse_formula(text, NAMES)


def test_numbers_for_symbols_are_within_the_limits_too():
    assert parse_formula("x^x^x^x", NAMES).count(sp.Pow) == 3
    with bounded_work(), pytest.raises(InvalidArgument, match=r"bits|double"):
        parse_formula("x^x^x^x", {"x": sp.Integer(9)})


@pytest.mark.parametrize("text", [None, 2, b"x", ["x"], sp.Symbol("x")])
def test_text_must_be_text(text):
    with pytest.raises(InvalidArgument, match="'text' must be"):
        parse_formula(text)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["x"], "must map names"),
        ({"x": sp.Symbol("x")}, "declared real"),
        ({"x": 2}, "real SymPy number"),
        ({"x": "2"}, "real SymPy number"),
        ({"x": sp.I}, "real SymPy number"),
        ({"x": sp.oo}, "real SymPy number"),
        ({"x": 2 * x}, "real SymPy number"),
        ({"x": sp.Integer(10) ** 400}, "1e308"),
        ({"x y": x}, "letter followed by"),
        ({"_x": x}, "letter followed by"),
        ({"x__y": x}, "letter followed by"),
        ({"é": x}, "letter followed by"),
        ({3: x}, "letter followed by"),
        ({"exp": x}, "has a meaning already"),
        ({"pi": x}, "has a meaning already"),
        ({"lambda": x}, "has a meaning already"),
    ],
)
def test_names_are_checked(names, words):
    with pytest.raises(InvalidArgument, match=words):
        parse_formula("1", names)


# ---- against an independent evaluation, and back from what SymPy prints

EXACT = {s: sp.Rational(3, 2), t: sp.Rational(1, 3), x: sp.Rational(-5, 4), n: sp.Integer(2)}
VALUES = {symbol.name: number for symbol, number in EXACT.items()}
Meant = tuple[str, Callable[[], mpmath.mpf]]


def _leaf() -> st.SearchStrategy[Meant]:
    decimals = st.decimals(0, 9, places=2).map(str)
    numbers = st.one_of(st.integers(0, 30).map(str), decimals, st.sampled_from(["1e-2", "2.5E1"]))
    return st.one_of(
        numbers.map(lambda q: (q, lambda: mpmath.mpf(q))),
        st.sampled_from(sorted(VALUES)).map(
            lambda q: (q, lambda: mpmath.mpf(int(VALUES[q].p)) / int(VALUES[q].q))
        ),
        st.just(("pi", lambda: mpmath.pi)),
    )


def _larger(parts: st.SearchStrategy[Meant]) -> st.SearchStrategy[Meant]:
    signs = {"+": operator.add, "-": operator.sub, "*": operator.mul}
    calls = {
        f: getattr(mpmath, f)
        for f in ("sin", "cos", "tanh", "erf")
    }  # fmt: skip
    guarded = {
        "sqrt(1 + abs({}))": lambda v: mpmath.sqrt(1 + abs(v)),
        "log(2 + abs({}))": lambda v: mpmath.log(2 + abs(v)),
        "exp(-abs({}))": lambda v: mpmath.exp(-abs(v)),
        "-({})": operator.neg,
        "-({})^2": lambda v: -(v**2),
        "2^-tanh({})": lambda v: mpmath.mpf(2) ** -mpmath.tanh(v),
        "1/(2 + sin({}))": lambda v: 1 / (2 + mpmath.sin(v)),
    }
    binary = st.tuples(parts, st.sampled_from(sorted(signs)), parts).map(
        lambda q: (f"({q[0][0]}) {q[1]} ({q[2][0]})", lambda: signs[q[1]](q[0][1](), q[2][1]()))
    )
    called = st.tuples(st.sampled_from(sorted(calls)), parts).map(
        lambda q: (f"{q[0]}({q[1][0]})", lambda: calls[q[0]](q[1][1]()))
    )
    kept = st.tuples(st.sampled_from(sorted(guarded)), parts).map(
        lambda q: (q[0].format(q[1][0]), lambda: guarded[q[0]](q[1][1]()))
    )
    extreme = st.tuples(st.sampled_from(["max", "min"]), parts, parts).map(
        lambda q: (
            f"{q[0]}({q[1][0]}, {q[2][0]})",
            lambda: getattr(builtins, q[0])(q[1][1](), q[2][1]()),
        )
    )
    return st.one_of(binary, called, kept, extreme)


@given(st.recursive(_leaf(), _larger, max_leaves=6))
def test_the_value_is_that_of_an_independent_evaluation(meant):
    text, value = meant
    with mpmath.workdps(60):
        expected = +value()
        try:
            formula = parse_formula(text, NAMES)
        except InvalidArgument as refusal:
            # Constants that cancel, say sin(pi): their true value is 0.
            assert "within rounding" in str(refusal)  # noqa: PT017
            return
        found = mpmath.mpf(sp.N(formula.subs(EXACT), 50))
        assert abs(found - expected) <= mpmath.mpf(10) ** -25 * max(1, abs(expected))


def _expressions() -> st.SearchStrategy[sp.Expr]:
    rationals = st.fractions(-9, 9, max_denominator=9).map(lambda q: sp.Rational(q))
    leaves = st.one_of(st.sampled_from([s, t, x, n, sp.pi]), rationals)
    functions = (sp.exp, sp.sin, sp.cosh, sp.tanh, sp.erf, sp.Abs, lambda q: sp.log(2 + sp.Abs(q)))
    return st.recursive(
        leaves,
        lambda parts: st.one_of(
            st.lists(parts, min_size=2, max_size=3).map(lambda q: sp.Add(*q)),
            st.lists(parts, min_size=2, max_size=3).map(lambda q: sp.Mul(*q)),
            st.tuples(parts, st.sampled_from([2, 3, -1, -2])).map(
                lambda q: (1 + q[0] ** 2) ** q[1]
            ),
            st.tuples(st.sampled_from(functions), parts).map(lambda q: q[0](q[1])),
            st.lists(parts, min_size=2, max_size=3).map(lambda q: reduce(sp.Max, q)),
        ),
        max_leaves=6,
    )


@given(_expressions())
@example(sp.sqrt(2) * x / 3 - x ** (-n) + sp.Abs(x * s))
def test_what_sympy_prints_is_read_back(expression):
    bare_e = any(q is sp.E for q in sp.preorder_traversal(expression))
    assume(not bare_e and not expression.has(sp.zoo, sp.nan, sp.oo))
    try:
        again = parse_formula(str(expression), NAMES)
    except InvalidArgument as refusal:
        assert any(w in str(refusal) for w in ("rounding", "double", "bits", "too close"))  # noqa: PT017
        return
    # Signs of sums may be spread otherwise: 2*(x + 1) is 2*x + 2 at once.
    assert again == expression or sp.expand(again - expression) == 0
