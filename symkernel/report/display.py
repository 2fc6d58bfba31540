"""What notebooks show: a law in short, its steps as a list, a formula worked out in numbers."""

from __future__ import annotations

import html as markup
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sympy as sp
from sympy.printing.str import StrPrinter

from symkernel import typesetting
from symkernel.equations import LINE, width
from symkernel.errors import InvalidArgument, MissingValues, OutsideValidity, as_times
from symkernel.formula import Formula, Step
from symkernel.report.glossary import glossary
from symkernel.report.lettering import lettering

if TYPE_CHECKING:
    from symkernel.derivation import Derivation

_DIGITS = 50
_SHOWN = 5
# Letters of LaTeX that a notebook sets without a pause, and of a step's reason in the list.
_LONGEST = 8000
_REASON = 300
# Symbols of the laws of single modes, by identifier.
_KNOWN = {"t", "s", "d", "a0", "b0", "alpha", "beta", "w"}


def plain(derivation: Derivation) -> str:
    """Return law, assumptions, conventions, formulas and their symbols as text."""
    d = derivation
    lines = [f"{d.law.title} [{d.rank}]"]
    lines += [f"  {d.notice}"] if d.notice else []
    lines += [str(d.assumptions)]
    lines += [f"  {line}" for line in d.conventions]
    if len(d.problem.curriculum.phases) > 1:
        lines.append(
            f"  {d.problem.curriculum!r}: the formulas hold within each phase, from the state at "
            f"its start"
        )
    lines += [f"  {f.symbol} = {f.expression}" for f in d.formulas]
    words = [f"    {symbol}: {text}" for symbol, text in glossary(d, d.formulas)]
    lines += ["  where", *words] if words else []
    return "\n".join([*lines, f"  {d.status}"])


def html(derivation: Derivation) -> str:
    """Return the law, its assumptions and its formulas; the steps unfold, without equations."""
    law = derivation.law
    caveat = f"<p><b>{_safe(derivation.notice)}</b></p>" if derivation.notice else ""
    steps = "".join(
        f"<li><b>{_safe(step.title)}</b>: {_safe(_trimmed(step.reason))}</li>"
        for step in derivation.steps
    )
    formulas = "".join(f"<p>{_safe(text)}</p>" for text in _formulas(derivation, "$${}$$"))
    return (
        f"<div><p><b>{_safe(law.title)}</b> ({_safe(derivation.rank)}); {derivation.status}</p>"
        f"{caveat}{derivation.assumptions._repr_html_()}{formulas}"
        f"<p>{_safe(_symbols(derivation))}</p>"
        f"<details><summary>{len(derivation.steps)} steps</summary><ol>{steps}</ol></details>"
        f"</div>"
    )


def markdown(derivation: Derivation) -> str:
    """Return the law, its assumptions, its formulas and the titles of its steps as Markdown."""
    law = derivation.law
    lines = [f"**{law.title}** ({derivation.rank}); {derivation.status}", ""]
    lines += [f"**{derivation.notice}**", ""] if derivation.notice else []
    lines.append(derivation.assumptions._repr_markdown_())
    for text in _formulas(derivation, "$$\n{}\n$$"):
        lines += ["", text]
    lines += ["", _symbols(derivation)]
    lines += ["", f"{len(derivation.steps)} steps:", ""]
    lines += [f"{k}. {step.title}" for k, step in enumerate(derivation.steps, 1)]
    return "\n".join(lines)


def _formulas(derivation: Derivation, display: str) -> Iterator[str]:
    """Yield the formulas in display; one that would freeze a notebook is named alone."""
    names = lettering(derivation).law
    for k, formula in enumerate(derivation.formulas):
        text = formula.latex(names)
        long = f"{formula.name}: too long to be shown here; it is .formulas[{k}].expression"
        yield display.replace("{}", text) if len(text) <= _LONGEST else long


def _symbols(derivation: Derivation) -> str:
    """Return what the symbols of the formulas stand for, as a sentence."""
    pairs = glossary(derivation, derivation.formulas)
    told = "; ".join(f"${typesetting.latex(q)}$: {meaning}" for q, meaning in pairs)
    return ". ".join(filter(None, (told, lettering(derivation).sentence)))


def _trimmed(text: str) -> str:
    return textwrap.shorten(text, _REASON, placeholder=" ...")


def where_lines(derivation: Derivation) -> str:
    """Return what the abbreviations of the formulas stand for, as text, a line for each."""
    pairs = dict(pair for formula in derivation.formulas for pair in formula.where)
    lines = [f"{symbol} = {_in_line(meaning)}" for symbol, meaning in pairs.items()]
    return "\n".join(("  where " if k == 0 else "        ") + s for k, s in enumerate(lines))


def _in_line(expression: Any) -> str:
    """Return text on one line, block matrices as rows in brackets."""
    if isinstance(expression, sp.BlockMatrix):
        return str(expression.blocks.tolist())
    return str(expression)


def symbol_lines(derivation: Derivation) -> str:
    """Return what the symbols of the formulas stand for, as text, a line for each."""
    pairs = glossary(derivation, derivation.formulas)
    longest = max((len(symbol.name) for symbol, _ in pairs), default=0)
    return "\n".join(f"  {symbol.name:<{longest}}  {meaning}" for symbol, meaning in pairs)


def step_markdown(step: Step) -> str:
    """Return one step: title, reason and equations."""
    return f"**{step.title}.** {step.reason}.\n\n$$\n{step.latex()}\n$$"


def _safe(text: str) -> str:
    return markup.escape(text, quote=False)


class _InNumbers(StrPrinter):
    """Plain text with numbers in place of symbols."""

    def __init__(self, numbers: Mapping[str, str]) -> None:
        super().__init__()
        self.numbers = numbers

    def _print_Symbol(self, expr: sp.Symbol) -> str:
        return self.numbers.get(expr.name, expr.name)


@dataclass(frozen=True)
class Line:
    """One equation, worked out: symbol = formula = formula with numbers = value."""

    symbol: Any
    expression: Any
    numbers: Mapping[str, float]
    value: float

    def latex(self, names: Mapping[str, str] | None = None) -> str:
        """Return the equation as rows of an ``aligned`` block, one row if that fits a line."""
        head = typesetting.latex(self.symbol, names)
        inside = {name: _factor(value) for name, value in self.numbers.items()}
        texts = [
            typesetting.latex(self.expression, names),
            typesetting.latex(self.expression, inside),
        ]
        parts = [*dict.fromkeys(texts), _plain(self.value)]
        whole = " = ".join(parts)
        if width(f"{head} = {whole}") <= LINE:
            return f"{head} &= {whole}"
        return f"{head} &= " + " \\\\\n&= ".join(parts)

    def __str__(self) -> str:
        inside = {q: f"{v:.{_SHOWN}g}" for q, v in self.numbers.items()}
        inside = {q: f"({text})" if text.startswith("-") else text for q, text in inside.items()}
        numbers = _InNumbers(inside).doprint(self.expression)
        parts = dict.fromkeys([str(self.expression), numbers, f"{self.value:.{_SHOWN}g}"])
        return " = ".join([str(self.symbol), *parts])


@dataclass(frozen=True, repr=False)
class Worked:
    """Formulas of a law worked out for one mode and one time; the last line is the mode itself.

    Attributes
    ----------
    lines : tuple of Line
        Each uses the values of those before it.
    names : mapping of str to str, optional
        LaTeX for the identifiers of symbols.
    """

    lines: tuple[Line, ...]
    names: Mapping[str, str] | None = None

    @property
    def value(self) -> float:
        """Value of the last line."""
        return self.lines[-1].value

    def latex(self) -> str:
        """Return all lines as an ``aligned`` block."""
        rows = " \\\\\n".join(line.latex(self.names) for line in self.lines)
        return f"\\begin{{aligned}}\n{rows}\n\\end{{aligned}}"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def __str__(self) -> str:
        return "\n".join(map(str, self.lines))

    def __repr__(self) -> str:
        return str(self)


def worked(
    derivation: Derivation,
    mode: int | None,
    t: float | None,
    names: Mapping[str, str] | None = None,
) -> Worked:
    r"""Return the law of one mode as formula = formula with numbers = value.

    Parameters
    ----------
    derivation : Derivation
        Of a problem with numbers.
    mode : int
        Position of the mode, by falling strength.
    t : float
        Flow time, in the first phase.
    names : mapping of str to str, optional
        LaTeX for the identifiers of symbols.

    Raises
    ------
    MissingValues
        If the problem has symbols.
    InvalidArgument, OutsideValidity
        If there is no such mode, the time is outside the first phase, or the law has no modes.

    Examples
    --------
    >>> import symkernel as sk
    >>> from symkernel.report.display import worked
    >>> task = sk.Task.from_modes([2.0, 1.0])
    >>> net = sk.Network.two_layer(inputs=2, hidden=3, outputs=2)
    >>> d = sk.derive(net, task, sk.weights.aligned(net, task, a=0.1, b=0.3))
    >>> assert abs(worked(d, 0, 1.5).value - d.compile()([1.5]).modes[0, 0]) < 1e-12
    """
    typesetting.check_names(names)
    if not derivation.problem.is_numeric:
        raise MissingValues(
            "A law is worked out in numbers only: derive it for a problem without symbols."
        )
    if derivation.derived.mode is None:
        raise derivation.not_per_mode("show")
    if t is None:
        raise InvalidArgument("Argument 't' must be a flow time, not None.")
    moment = float(as_times([t], "t")[0])
    first = derivation.problem.curriculum.phases[0]
    if first.duration is not None and moment > first.duration:
        raise OutsideValidity(
            f"The law is worked out within the first phase, which ends at {first.duration:g}; "
            f"time {moment:g} is after it."
        )
    formula: Formula = derivation.formulas[0]
    needed = {q.name for q in getattr(formula.plain, "free_symbols", ())}
    if derivation.derived.equation is None or needed - _KNOWN:
        raise OutsideValidity(
            f"The law '{derivation.law.name}' is not written in the strength and amplitudes of one "
            f"mode; put numbers into the formulas of its 'mode' instead."
        )
    values: dict[str, Any] = {"t": moment, **_of_mode(derivation, mode)}
    exact = {name: sp.Rational(value) for name, value in values.items()}
    lines = []
    for symbol, expression in (*formula.where, (formula.symbol, formula.expression)):
        symbols = {q: exact[q.name] for q in expression.free_symbols}
        value = sp.N(expression.subs(symbols, simultaneous=True), _DIGITS)
        numbers = {q.name: float(exact[q.name]) for q in expression.free_symbols}
        lines.append(Line(symbol, expression, numbers, float(value)))
        exact[symbol.name] = value
    return Worked(tuple(lines), names)


def _of_mode(derivation: Derivation, index: int | None) -> Mapping[str, float]:
    """Return the values of the symbols that the mode laws are written in, by identifier."""
    from symkernel.theory.mode_state import ModeState

    state = ModeState.of(derivation.problem)
    count = state.basis.rank_bound
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
        raise InvalidArgument(
            f"Argument 'mode' must be an integer from 0 to {count - 1}, not {index!r}."
        )
    a, b = state.amplitudes()
    p, q = state.p[:, index], state.q[:, index] / float(state.modes.ratio)
    found = {
        "s": state.basis.s[0][index], "d": state.basis.d[0][index], "a0": a[index], "b0": b[index],
        "alpha": p @ p, "beta": q @ q, "w": p @ q,
    }  # fmt: skip
    return {name: float(value) for name, value in found.items()}


def _plain(value: float) -> str:
    digits, _, power = f"{value:.{_SHOWN}g}".partition("e")
    return rf"{digits} \cdot 10^{{{int(power)}}}" if power else digits


def _factor(value: float) -> str:
    """Return a number that can stand in a product or under a power."""
    text = _plain(value)
    return rf"\left({text}\right)" if value < 0 or "cdot" in text else text
