"""Any text as a formula: no exception but ours, nothing is evaluated, little work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from symkernel.errors import InvalidArgument
from symkernel.problem.formula_nodes import FUNCTIONS, MOST_BITS
from symkernel.problem.formula_text import parse_formula
from tests.oracles.work import TooMuchWork, bounded_work
from tests.problem.test_formula_text import NAMES

# ---- fuzz: no exception but ours, nothing evaluated, little work

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
