r"""How expressions are set in LaTeX: the table's names, and an order that reads well."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

import sympy as sp
from sympy.core.function import AppliedUndef
from sympy.printing.latex import LatexPrinter, translate
from sympy.printing.precedence import PRECEDENCE

from symkernel import notation
from symkernel.errors import InvalidArgument

# What moves in time stands behind what does not, as in "2 s z".
_MOVING = frozenset({"t", "z", "z_q", "T", "u", "a", "b", "phi", "p", "q_out", "E", "F", "t_phase"})
# LaTeX of functions of time whose identifier in the table is that of their initial value.
_FUNCTIONS = {"w": "w"}
# Letters and a number, then parts after underscores; weights of a pathway have its letter too.
_LETTERS = r"(?P<weight>W)(?P<pathway>[b-h])|(?P<letters>[A-Za-z]+)"
_IDENTIFIER = re.compile(rf"(?:{_LETTERS})(?P<number>\d*)")
_SIGNS = {"plus": "+", "minus": "-"}
_TIMES = PRECEDENCE["Mul"]


def name_latex(identifier: str) -> str:
    r"""Return LaTeX of an identifier that is not in the table; words are set upright.

    Examples
    --------
    >>> from symkernel.typesetting import name_latex
    >>> assert name_latex("W2_0") == "W_{2,0}" and name_latex("w_plus") == "w_{+}"
    >>> assert name_latex("Wb1_0") == "W_{b1,0}"  # layer 1 of pathway b, context 0
    >>> assert name_latex("minus_ones") == r"\mathrm{minus\,ones}"
    """
    head, *parts = identifier.split("_")
    found, plain = _IDENTIFIER.fullmatch(head), "".join(parts)
    if found is None or not (plain or "0").isalnum() or not plain.isascii():
        return sp.latex(sp.Symbol(identifier))
    letters = found["weight"] or found["letters"]
    if len(letters) > 1 and translate(letters) == letters:
        return rf"\mathrm{{{identifier}}}".replace("_", r"\,")
    below = [(found["pathway"] or "") + found["number"], *map(_index, parts)]
    below = [part for part in below if part]
    return translate(letters) + (f"_{{{','.join(below)}}}" if below else "")


def _index(part: str) -> str:
    """Return LaTeX of one part of an index; words have three letters or more."""
    name = _SIGNS.get(part, translate(part))
    return rf"\mathrm{{{part}}}" if name == part and len(part) > 2 and part.isalpha() else name


class _Printer(LatexPrinter):
    """LaTeX as textbooks set it: the table's names, and an order that reads well.

    Factors: numbers, parameters, brackets, then what moves in time (``2 s z``). Terms: positive
    ones first, then by degree in what moves (``s - d a b``). A bracket of negative terms gives
    its sign to the product.
    """

    def __init__(
        self, names: Mapping[sp.Basic, str], own: Mapping[sp.Symbol, str], show_time: bool
    ) -> None:
        super().__init__(
            {"symbol_names": dict(names), "inv_trig_style": "full", "ln_notation": True}
        )
        self.show_time = show_time
        # Apart from the names of identifiers, which functions and matrices have too.
        self.own = own
        self._printed: dict[sp.Basic, str] = {}

    def _print(self, expr: object, **options: object) -> str:
        # Fractions look at their factors before they print them: without keeping what was
        # printed, the work doubles with every level.
        if options or not isinstance(expr, sp.Basic):
            return super()._print(expr, **options)
        if expr not in self._printed:
            self._printed[expr] = super()._print(expr)
        return self._printed[expr]

    def terms(self, expression: sp.Expr) -> list[tuple[str, sp.Expr]]:
        """Return the terms of a sum as they are set, in that order; negative ones as "- x"."""
        if isinstance(expression, sp.MatAdd):
            return [(self._print(term), term) for term in expression.args]
        texts = [(self._print(term), term) for term in self._as_ordered_terms(expression)]
        return sorted(texts, key=lambda pair: _place_of_term(*pair))

    def _print_Add(self, expr: sp.Add, order: str | None = None) -> str:
        first, *rest = (text for text, _ in self.terms(expr))
        return " ".join([first, *map(signed, rest)])

    def _print_Mul(self, expr: sp.Expr) -> str:
        return side_by_side(self.factors(expr))

    def factors(self, expr: sp.Expr) -> list[str]:
        """Return the parts of a product as they are set side by side; a fraction is one part."""
        literal = isinstance(expr, sp.Mul) and (
            expr.args[0] is sp.S.One or any(isinstance(f, sp.Number) for f in expr.args[1:])
        )
        if literal or not expr.is_commutative:
            return [super()._print_Mul(expr)]
        factors = expr.as_ordered_factors() if isinstance(expr, sp.Mul) else [expr]
        negative, above, below = _parts(factors)
        # Fractions inside fractions are hard to read: they stand beside the line.
        tall = [factor for factor in above if below and r"\frac" in self._print(_base(factor))]
        parts = self._set(tuple(factor for factor in above if factor not in tall))
        if below:
            above_line, below_line = side_by_side(parts), side_by_side(self._set(tuple(below)))
            parts = [rf"\frac{{{above_line}}}{{{below_line}}}"]
        if tall:
            parts += self._set((sp.S.One, *tall))[1:]
        return [f"- {parts[0]}", *parts[1:]] if negative else parts

    def _set(self, factors: tuple[sp.Expr, ...]) -> list[str]:
        """Return factors in the order in which they are set, with brackets where needed."""
        if len(factors) == 1:
            return [self._print(factors[0])]
        parts = []
        for k, factor in enumerate(sorted(factors, key=_place_of_factor)):
            part = self._print(factor)
            if self._needs_mul_brackets(factor, first=k == 0, last=k + 1 == len(factors)):
                part = rf"\left({part}\right)"
            parts.append(part)
        return parts or ["1"]

    def _print_Function(self, expr: sp.Function, exp: str | None = None) -> str:
        if not isinstance(expr, AppliedUndef):
            return super()._print_Function(expr, exp)
        power = "" if exp is None else f"^{{{exp}}}"
        name = self._deal_with_name(expr)
        if expr.args == (notation.t,) and not self.show_time:
            return name + power
        return f"{name}({', '.join(map(self._print, expr.args))}){power}"

    def _print_Heaviside(self, expr: sp.Expr, exp: str | None = None) -> str:
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"\Theta{power}\left({self._print(expr.args[0])}\right)"

    def _print_Derivative(self, expr: sp.Derivative) -> str:
        function, variable = expr.expr, expr.variables
        if variable == (notation.t,) and isinstance(function, AppliedUndef):
            letter, mark, index = self._deal_with_name(function).partition("_")
            return rf"\dot{{{letter}}}{mark}{index}"
        return super()._print_Derivative(expr)

    def _deal_with_name(self, function: sp.Function) -> str:
        name = function.func.__name__
        own = notation.entry(name)
        known = _FUNCTIONS.get(name, own.latex if own else None)
        return self._settings["symbol_names"].get(
            sp.Symbol(name), known if known is not None else name_latex(name)
        )

    def _print_Symbol(self, expr: sp.Symbol, style: str = "plain") -> str:
        named = self.own.get(expr) or self._settings["symbol_names"].get(expr)
        return named or name_latex(expr.name)

    def _print_MatrixSymbol(self, expr: sp.MatrixSymbol) -> str:
        return self._settings["symbol_names"].get(sp.Symbol(expr.name)) or name_latex(expr.name)

    def _print_MatMul(self, expr: sp.MatMul) -> str:
        number, product = expr.as_coeff_mmul()
        if not number.is_Rational or number.is_Integer:
            return super()._print_MatMul(expr)
        # SymPy puts a positive fraction, and no negative one, into brackets.
        sign, several = "- " if number < 0 else "", isinstance(product, sp.MatMul)
        matrices = super()._print_MatMul(product) if several else self.parenthesize(product, _TIMES)
        return f"{sign}{self._print(abs(number))} {matrices}"

    def _hprint_Function(self, func: str) -> str:
        known = notation.entry(func)
        if known is not None:
            return self._settings["symbol_names"].get(sp.Symbol(func), known.latex)
        return super()._hprint_Function(func)


def _parts(factors: list[sp.Expr]) -> tuple[bool, list[sp.Expr], list[sp.Expr]]:
    """Return the sign of a product, and what stands above and below its fraction line."""
    negative, above, below = False, [], []
    # Beside 1 - y, which cannot be turned, x - 1 stays as it is: - (x - 1) (1 - y).
    turned = any(_number_less(factor) for factor in factors)
    for factor in factors:
        if factor.is_Rational:
            negative ^= bool(factor < 0)
            above += [sp.Integer(abs(factor.p))] * (abs(factor.p) != 1)
            below += [sp.Integer(factor.q)] * (factor.q != 1)
            continue
        if factor.is_Number and factor.is_negative:
            negative, factor = not negative, -factor
        base, power = (factor.base, factor.exp) if factor.is_Pow else (factor, sp.S.One)
        if power.is_Integer and _mostly_negative(base):
            negative ^= bool(power % 2)
            base = -base
        elif negative and power.is_odd and _less_a_number(base) and not turned:
            negative, base = False, -base
        if power.is_Rational and power.is_negative:
            below.append(base**-power)
        else:
            above.append(factor if factor.is_Pow and base is factor.base else base**power)
    return negative, above, below


def _base(factor: sp.Expr) -> sp.Expr:
    return factor.base if factor.is_Pow else factor


def _mostly_negative(base: sp.Expr) -> bool:
    """Whether a sum has more negative terms than positive ones."""
    if not isinstance(base, sp.Add):
        return False
    negative = sum(term.could_extract_minus_sign() for term in base.args)
    return 2 * negative > len(base.args)


def _number_less(base: sp.Expr) -> bool:
    """Whether a sum is of the form 1 - x."""
    if not isinstance(base, sp.Add) or len(base.args) != 2:
        return False
    number, rest = base.args
    return number.is_positive is True and number.is_number and rest.could_extract_minus_sign()


def _less_a_number(base: sp.Expr) -> bool:
    """Whether a sum is of the form x - 1, which a minus sign turns into 1 - x."""
    return isinstance(base, sp.Add) and len(base.args) == 2 and base.args[0].is_negative is True


# Asked again and again for the same few parts of a long formula.
@lru_cache(maxsize=4096)
def _moves(expression: sp.Basic) -> bool:
    # The symbols of a matrix are its sizes.
    if expression.atoms(sp.MatrixSymbol):
        return False
    return any(symbol.name in _MOVING for symbol in expression.free_symbols) or bool(
        expression.atoms(AppliedUndef)
    )


def _place_of_factor(factor: sp.Expr) -> int:
    base = _base(factor)
    simple = base.is_Symbol or isinstance(base, (AppliedUndef, sp.Derivative))
    if not factor.free_symbols:
        return 0
    if _moves(factor):
        return 3 if simple else 4
    return 1 if simple else 2


def _place_of_term(text: str, term: sp.Expr) -> tuple[bool, float, int, int, bool]:
    factors = sp.Mul.make_args(term)
    degree = 0.0
    for factor in factors:
        power = factor.exp if factor.is_Pow else sp.S.One
        if _moves(factor):
            degree += abs(float(power)) if power.is_number and power.is_real else 1.0
    brackets = sum(isinstance(f.base if f.is_Pow else f, sp.Add) for f in factors)
    return text.startswith("-"), degree, brackets, text.count("- "), bool(term.atoms(sp.sinh))


def signed(text: str) -> str:
    """Return a term as it follows another one, after "+ " or "- "."""
    return f"- {text.lstrip('- ')}" if text.startswith("-") else f"+ {text}"


def side_by_side(parts: Sequence[str]) -> str:
    """Return a product; two numbers side by side would read as one."""
    return "".join(
        part if k == 0 else (r" \cdot " if part[0].isdigit() else " ") + part
        for k, part in enumerate(parts)
    )


def check_names(names: object) -> None:
    """Refuse names that do not map identifiers, or symbols, to LaTeX."""
    if names is None:
        return
    pairs = names.items() if isinstance(names, Mapping) else [(None, None)]
    if not all(isinstance(k, (str, sp.Symbol)) and isinstance(tex, str) for k, tex in pairs):
        raise InvalidArgument(
            "Argument 'names' must map identifiers to LaTeX, both as text, as "
            f"{{'s': r'\\sigma'}}, or symbols of the problem to theirs, not {names!r}."
        )


def printer(expression: object, names: Mapping[str, str] | None, show_time: bool) -> _Printer:
    """Return what prints an expression, with the table's names or the user's."""
    check_names(names)
    chosen: dict[sp.Basic, str] = {e.symbol: e.latex for e in notation.entries()}
    own = {symbol: tex for symbol, tex in (names or {}).items() if isinstance(symbol, sp.Symbol)}
    theirs = {name: tex for name, tex in (names or {}).items() if isinstance(name, str)}
    for identifier, tex in theirs.items():
        known = notation.entry(identifier)
        chosen[known.symbol if known is not None else sp.Symbol(identifier)] = tex
        chosen[sp.Symbol(identifier)] = tex
    if isinstance(expression, sp.Basic):
        # The same identifier with other assumptions.
        named = (q for q in expression.free_symbols if getattr(q, "name", "") in theirs)
        chosen |= {symbol: theirs[symbol.name] for symbol in named}
    return _Printer(chosen, own, show_time)


def latex(
    expression: object, names: Mapping[str, str] | None = None, show_time: bool = True
) -> str:
    r"""Return LaTeX of an expression or equation, with the table's names or the user's.

    Parameters
    ----------
    expression : SymPy object
        What to print.
    names : mapping of str to str, optional
        LaTeX for identifiers, say ``{"s": r"\sigma"}``.
    show_time : bool
        Whether functions of time are printed with their argument, as $z(t)$.

    Examples
    --------
    >>> from symkernel import notation, typesetting
    >>> assert typesetting.latex(notation.s / 2, {"s": r"\sigma"}) == r"\frac{\sigma}{2}"
    >>> assert typesetting.latex(2 * notation.z * notation.s) == "2 s z"
    """
    return printer(expression, names, show_time).doprint(expression)
