"""Formulas as text: what is read, what is refused, and that nothing is ever evaluated."""

from __future__ import annotations

import builtins
import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce

import mpmath
import pytest
import sympy as sp
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from symkernel.errors import InvalidArgument
from symkernel.problem.formula_nodes import FUNCTIONS, MOST_BITS
from symkernel.problem.formula_text import parse_formula

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


# ---- fuzz: no exception but ours, nothing evaluated, little work

WORK = 3_000_000
_GRAMMAR = [
    *"0123456789.xstn+-*/^(), ", "**", "exp", "log", "sqrt", "max", "min", "abs", "erf", "pi", "e",
    "n_1", "sin", "cos", "tan", "1e9", "1e-9", "-1", "exp(", "log(", "sqrt(", "max(", "(1+", "^-",
    "^(1/3)", "^0.5", "__", "lambda", ".", "[", "'", "=", "I", "oo", "999999999", "/0", "^9^9^9",
]  # fmt: skip
VALID = [
    "s/(1 + (s/0.5 - 1)*exp(-2*s*t))",
    "sqrt(5 + 2*sqrt(6)) - sqrt(2)*x^(1/3)",
    "max(x, 2*s, erf(x/sqrt(2)))^2 - abs(x*t - n_1)",
    "tanh(s*t)/cosh(x)^2 + log(s^2 + 1)/e^(-t)",
    "((3/2)^x)^(10/x)*2^(x + 10)*2^(-x) + sin(pi*n_1/7)",
    "-x^-2^-n_1 + 1e-3/.5",
]
NASTY = [
    "__import__('os').system('true')",
    "().__class__.__bases__[0].__subclasses__()",
    "exec('x=1')",
    "(lambda: 1)()",
    "[x for x in (1,)]",
    "f'{x}'",
    "x if 1 else 2",
    "open('/etc/passwd').read()",
    "sympify('1')",
    "Symbol('q')",
    "exp.__globals__",
    "9" * 2000,
    "9^" * 900 + "9",
    "(" * 1000,
    "-" * 2000,
    "max(" * 300,
    "exp(" * 39 + "x" + ")" * 39,
    "exp(" * 20 + "9" + ")" * 20,
    "log(" * 20 + "1e300" + ")" * 20,
    "sqrt(" * 30 + "2" + ")" * 30,
    "1/" * 900 + "3",
    "1e300*" * 300 + "1",
    "1e-300*" * 250 + "1",
    "(1+1e-60)^1000*" * 90 + "1",
    "0." + "0" * 1990 + "1",
    "1e99999999999999",
    "1e-99999",
    "sin(1e300)^cos(1e300)",
    "(x+s)^1000*(x+t)^1000",
    "abs((x+s)*(x+t)*(s+t)*(x-s)*(x-t)*(s-t)*(1+x)*(1+s)*(1+t))",
    "max(max(max(x,s),max(s,t)),min(min(x,t),min(t,n_1)),x*s,x*t,s*t,x+s,x+t,s+t)",
    "+".join(f"sqrt({p})" for p in (2, 3, 5, 7, 11, 13)) + "-sqrt(41)^(1/3)",
    "max(" + ",".join(f"sqrt({p})" for p in (2, 3, 5, 7, 11, 13)) + ")",
    "sin(pi/65537)+cos(pi/257)+tan(pi/17)",
    "2^(1/1e60)*3^(1/7e59)",
    "(2^(1/999)*3^(1/997)*5^(1/991))^1000",
    "123456789012345678901234567890123456789012345678901234567891^(1/3)",
    "x^" * 38 + "x",
    "\u202ex+1", "x\ufeff", "\x00", "\ud800\udfff", "١+٢", "ﬁ(x)", "x⁄2", "∞", "√2", "π", "−1",
]  # fmt: skip

_events: list[str] = []
_watching = [False]
_CODE = ("exec", "compile")
_WORLD = ("os.", "subprocess.", "socket.", "shutil.", "ctypes.", "pickle.", "tempfile.", "marshal.")
_LIBRARY = ("sympy", "mpmath", "symkernel", "<frozen")


def _hook(event: str, arguments: tuple) -> None:
    if not _watching[0] or not event.startswith((*_CODE, *_WORLD)):
        return
    code = arguments[0] if event == "exec" else None
    file = getattr(code, "co_filename", None) or (arguments[1] if event == "compile" else "")
    # Modules of SymPy that are loaded on first use.
    if event.startswith("marshal.") or any(name in str(file) for name in _LIBRARY):
        return
    if event not in ("os.listdir", "os.scandir"):
        _events.append(event)


@contextmanager
def watched() -> Iterator[list[str]]:
    """Gather what Python runs, compiles or asks of the system meanwhile."""
    if not getattr(sys, "_symkernel_audit", False):
        sys.addaudithook(_hook)  # cannot be taken away again: silent when not watching
        sys._symkernel_audit = True  # type: ignore[attr-defined]
    _events.clear()
    _watching[0] = True
    try:
        yield _events
    finally:
        _watching[0] = False


class TooMuchWork(BaseException):
    pass


@contextmanager
def bounded_work(most: int = WORK) -> Iterator[list[int]]:
    """Count calls of functions, Python's and C's; stop at a bound."""
    count = [0]

    def profile(_, event, __):
        if event in ("call", "c_call"):
            count[0] += 1
            if count[0] > most:
                sys.setprofile(None)
                raise TooMuchWork

    sys.setprofile(profile)
    try:
        yield count
    finally:
        sys.setprofile(None)


def test_the_monitors_notice():
    with watched() as events:
        eval("1 + 1")  # noqa: S307
    assert "compile" in events
    assert "exec" in events
    with pytest.raises(TooMuchWork), bounded_work(1000):
        sum(abs(k) for k in range(2000))
    with watched() as events:
        sp.sympify("s + 1")
    assert events


def parse_watched(text: str) -> int:
    """Parse any text: a formula within bounds, or our error; return the work."""
    with watched() as events, bounded_work() as work:
        try:
            formula = parse_formula(text, NAMES)
        except InvalidArgument as error:
            assert "position" in str(error) or "characters" in str(error)  # noqa: PT017
        else:
            assert formula.free_symbols <= set(NAMES.values())
            for number in formula.atoms(sp.Rational):
                assert max(number.p.bit_length(), number.q.bit_length()) <= MOST_BITS
            assert not formula.has(sp.zoo, sp.nan, sp.oo, sp.I)
    assert not events
    return work[0]


@pytest.mark.parametrize("text", NASTY, ids=lambda text: ascii(text[:30]))
def test_nasty_texts(text):
    parse_watched(text)


def _mutated() -> st.SearchStrategy[str]:
    """Valid formulas, cut, with parts deleted, doubled, replaced or taken from one another."""
    places = st.integers(0, 60)

    def change(drawn):
        text, other, edits, end = drawn
        for place, length, new in edits:
            text = text[:place] + new + text[place + length :]
        return (text + other[end:])[: len(text) + end]

    edit = st.tuples(places, st.integers(0, 4), st.sampled_from(["", *_GRAMMAR]))
    return st.tuples(
        st.sampled_from(VALID), st.sampled_from(VALID), st.lists(edit, max_size=4), places
    ).map(change)


def _well_formed() -> st.SearchStrategy[str]:
    """Formulas without a fault in their grammar, with extreme numbers: for the limits."""
    numbers = ["0", "1", "2", "3", "7", "1/2", "1/3", "0.1", "1e-9", "1e9", "1e300", "999", "-1"]
    leaves = st.sampled_from([*sorted(NAMES), "pi", "e", *numbers])
    templates = ["({0})+({1})", "({0})-({1})", "({0})*({1})", "({0})/({1})", "({0})^({1})"]
    templates += ["-({0})", "max({0},{1})", "min({0},{1},x)", "({0})+x-({0})", "({0})*x/({1})"]
    templates += [f"{name}({{0}})" for name in FUNCTIONS]
    return st.recursive(
        leaves,
        lambda parts: st.tuples(st.sampled_from(templates), parts, parts).map(
            lambda drawn: drawn[0].format(*drawn[1:])
        ),
        max_leaves=12,
    )


KINDS = {
    "well formed": _well_formed(),
    "near grammar": st.lists(st.sampled_from(_GRAMMAR), max_size=25).map("".join),
    "unicode": st.text(max_size=40),
    "unicode among tokens": st.lists(
        st.one_of(st.sampled_from(_GRAMMAR), st.characters()), max_size=15
    ).map("".join),
    "mutations": _mutated(),
}


def fuzz(kind: str, count: int) -> None:
    @settings(max_examples=count, database=None)
    @given(KINDS[kind])
    def run(text):
        parse_watched(text)

    run()


@pytest.mark.parametrize("kind", KINDS)
def test_fuzz(kind):
    fuzz(kind, 125)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_fuzz_ten_thousand(kind):
    fuzz(kind, 2500)
