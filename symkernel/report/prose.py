r"""From the plain text of reasons and figures to LaTeX: escaped, and letters set as mathematics.

Texts in the package are written once, to be read in a terminal: ``K_h = J_h J_f^T``. In LaTeX the
same line reads $K_h = J_h J_f^T$.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from symkernel.typesetting import name_latex

_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\textasciigrave{}",
    # \textquotedbl needs an encoding that the documents do not load.
    '"': "''",
}  # fmt: skip
_SIGNS = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "η": "eta",
    "θ": "theta", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi",
    "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "varphi", "χ": "chi", "ψ": "psi", "ω": "omega",
    "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Σ": "Sigma", "Φ": "Phi",
    "Ψ": "Psi", "Ω": "Omega", "≤": "le", "≥": "ge", "≠": "ne", "≈": "approx", "×": "times",
    "·": "cdot", "±": "pm", "∞": "infty", "→": "to", "∂": "partial", "√": "surd", "⟨": "langle",
    "⟩": "rangle", "∈": "in", "∘": "circ", "−": "-",
}  # fmt: skip
# Latin letters with accents and common punctuation, which LaTeX's own input encoding knows.
_KNOWN_TO_LATEX = re.compile("[\u00a1-\u017e\u2013\u2014\u2018\u2019\u201c\u201d\u2026]")

_GREEK_NAMES = (
    "alpha|beta|gamma|delta|zeta|theta|kappa|lambda|mu|nu|rho|sigma|tau|phi|omega"
    "|Theta|Lambda|Sigma|Phi"
)
_GREEK = re.compile(rf"\b({_GREEK_NAMES})\b")
_NAME = rf"(?:[A-Za-z]|{_GREEK_NAMES})(?:\d|_\w)?(?:\^\w)?'?"
_NAMES = re.compile(rf"{_NAME}(?:/{_NAME})?")
_PIECE = re.compile(
    r"(?P<function>\b(?:exp|tanh|cosh|sinh|sqrt|erf|max|min|flow)\([^()]*\))"
    rf"|(?P<call>\b(?:[A-Za-z]|{_GREEK_NAMES})(?:_\w)?\({_NAME}(?:, {_NAME})*\)(?:\^\w)?)"
    rf"|(?P<quotient>\b{_NAME}/\({_NAME}(?: [+-] {_NAME})*\))"
    r"|(?P<power>\([A-Z]{2}\)\^\d)"
    r"|(?P<mean><[a-z] [a-z](?:\^T)?>)"
    r"|(?P<length>\|[A-Za-z](?: [+-] [A-Za-z])?\|(?:\^2)?)"
    rf"|(?P<value>\b{_NAME}=-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]*\w))"
    r"|(?P<number>(?<![\w.])\d+(?:\.\d+)?e[+-]?\d+(?![\w.]*\w))"
    r"|(?P<open>[(\[]+(?=[|\w]))|(?P<space>\s+)|(?P<close>[],;:.)]+(?=\s|$))"
    r"|(?P<word>[^\s(]+?(?=[],;:.)]*(?:\s|$))|\S)"
)
_INDEX = re.compile(r"\b([A-Za-z])(\d)")
_IDENTIFIER = re.compile(r"(?<![A-Za-z\\])[A-Za-z]+\d*(?![A-Za-z\d])")
_PRODUCT = re.compile(r"(?!e\.g|i\.e)[a-z]\.[a-z]")
# A letter with a word for its index, such as a number of samples.
_WORDED = re.compile(r"[A-Za-z](?:_[a-z]{3,})(?:_\d)?")
# Two matrices side by side; beside an operator alone, for it may be an abbreviation.
_MATRICES = re.compile(r"[A-Z]{2}")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_OPERATORS = {
    "=": "=", "+": "+", "-": "-", "/": "/", "<": "<", ">": ">",
    "<=": r"\le", ">=": r"\ge", "->": r"\to", "+-": r"\pm",
}  # fmt: skip
# Transposes and powers are no letters of their own.
_RAISED = re.compile(r"\^\w")
_UPRIGHT = re.compile(r"^(erf|flow)")


def escape(text: str) -> str:
    r"""Return text with every character safe for pdflatex.

    Examples
    --------
    >>> from symkernel.report.prose import escape
    >>> assert escape("aligned_modes: 5% < τ") == r"aligned\_modes: 5\% \textless{} $\tau$"
    """
    return "".join(map(_character, unicodedata.normalize("NFC", text)))


def _character(sign: str) -> str:
    if sign in _ESCAPES:
        return _ESCAPES[sign]
    if sign in _SIGNS:
        name = _SIGNS[sign]
        return f"${name}$" if name == "-" else rf"$\{name}$"
    if sign.isascii():
        return sign if sign.isprintable() or sign in "\n\t" else " "
    if _KNOWN_TO_LATEX.match(sign):
        return sign
    return rf"\texttt{{U+{ord(sign):04X}}}"


@dataclass
class _Piece:
    """A piece of text; `tex` is the mathematics that it stands for, None for words."""

    kind: str
    plain: str
    tex: str | None

    @property
    def is_operator(self) -> bool:
        return self.plain in _OPERATORS

    @property
    def is_number(self) -> bool:
        return _NUMBER.fullmatch(self.plain) is not None


def prose(text: str, names: Mapping[str, str] | None = None) -> str:
    r"""Return plain text as LaTeX, with letters and short formulas set as mathematics.

    Parameters
    ----------
    text : str
    names : mapping of str to str, optional
        LaTeX for the identifiers of symbols.

    Examples
    --------
    >>> from symkernel.report.prose import prose
    >>> assert prose("so K_h = J_h J_f^T holds") == "so $K_h = J_h J_f^T$ holds"
    >>> assert prose("size |W| 1.5e-12") == r"size $|W|\ 1.5 \times 10^{-12}$"
    >>> assert prose("a net, error 1.5e-12") == r"a net, error $1.5 \times 10^{-12}$"
    >>> assert prose("s = a0 b0", {"s": r"\sigma"}) == r"$\sigma = a_0 b_0$"
    """
    out: list[str] = []
    run: list[_Piece] = []
    for piece in _pieces(text, names or {}):
        if piece.tex is not None or (piece.kind == "space" and run):
            run.append(piece)
            continue
        out += [_closed(run), escape(piece.plain)]
        run = []
    return "".join([*out, _closed(run)])


def letters(text: str) -> set[str]:
    """Return the identifiers in a text that are set as mathematics.

    Examples
    --------
    >>> from symkernel.report.prose import letters
    >>> assert letters("a zero mode has K = P0 Q0") == {"K", "P0", "Q0"}
    """
    formulas = (piece.plain for piece in _pieces(text, {}) if piece.tex is not None)
    found = (re.findall(r"[A-Za-z]+\d*(?:_\w+)?", _RAISED.sub("", part)) for part in formulas)
    return set().union(*found)


def _pieces(text: str, names: Mapping[str, str]) -> list[_Piece]:
    """Return words and mathematics of a text, in order, with what is between them."""
    pieces = [
        _Piece(m.lastgroup or "", m.group(), _mathematics(m.lastgroup or "", m.group(), names))
        for m in _PIECE.finditer(text)
    ]
    words = [piece for piece in pieces if piece.kind != "space"]
    for before, piece, after in _with_neighbours(words):
        _settle(before, piece, after)
    return pieces


def _with_neighbours(pieces: list[_Piece]) -> Iterator[tuple[_Piece | None, _Piece, _Piece | None]]:
    # The first list is one longer than the others, if there is anything at all.
    return zip([None, *pieces], pieces, [*pieces[1:], None], strict=False)


def _mathematics(kind: str, plain: str, names: Mapping[str, str]) -> str | None:
    """Return the mathematics that a piece of text stands for, None for a word."""
    if kind == "function":
        name, _, inside = plain.partition("(")
        if name == "sqrt":
            return rf"\sqrt{{{_letters(inside[:-1], names)}}}"
        head = rf"\operatorname{{{name}}}" if _UPRIGHT.match(name) else rf"\{name}"
        return f"{head}({_letters(inside, names)}"
    if kind == "mean":
        return rf"\langle {_letters(plain[1:-1], names)} \rangle"
    if kind in ("length", "call", "quotient", "power"):
        return _letters(plain, names)
    if kind == "value":
        name, _, value = plain.partition("=")
        return f"{_letters(name, names)} = {_number(value)}"
    if kind == "number":
        return _number(plain)
    if plain in _OPERATORS:
        return _OPERATORS[plain]
    if _PRODUCT.fullmatch(plain):
        return rf"{_letters(plain[0], names)} \cdot {_letters(plain[2], names)}"
    if _WORDED.fullmatch(plain) and plain not in names:
        return name_latex(plain)
    if _MATRICES.fullmatch(plain):
        return plain
    bare = plain.removeprefix("-")
    named = _NAMES.fullmatch(bare) or _NUMBER.fullmatch(plain) or plain in names
    return _letters(plain, names) if named else None


def _number(plain: str) -> str:
    digits, _, power = plain.partition("e")
    if float(plain) == 0 or not power:
        return "0" if float(plain) == 0 else digits
    return (rf"{digits} \times " if digits != "1" else "") + f"10^{{{int(power)}}}"


def _letters(text: str, names: Mapping[str, str]) -> str:
    def letter(found: re.Match[str]) -> str:
        plain = found.group()
        greek = _GREEK.sub(lambda m: "\\" + "var" * (m.group() == "phi") + m.group(), plain)
        return names[plain] if plain in names else _INDEX.sub(r"\1_\2", greek)

    return names[text] if text in names else _IDENTIFIER.sub(letter, text)


def _settle(before: _Piece | None, piece: _Piece, after: _Piece | None) -> None:
    """Decide whether "a" is an article, "x" a sign of multiplication."""
    beside = [p for p in (before, after) if p is not None]
    operator = any(p.is_operator for p in beside)
    letters = len(beside) == 2 and all(p.tex is not None and not p.is_number for p in beside)
    if piece.plain in ("a", "A", "I") and not operator and not letters:
        if after is not None and after.kind == "word" and after.plain not in ("and", "or", "for"):
            piece.tex = None
    elif _MATRICES.fullmatch(piece.plain) and not operator:
        piece.tex = None
    elif piece.plain == "x" and len(beside) == 2 and not operator:
        words = [p for p in beside if p.kind == "word" and p.tex is None and len(p.plain) > 3]
        if len(words) == 2:
            piece.tex = r"\times"


def _closed(run: list[_Piece]) -> str:
    """Return a run of mathematics; what is no letter at its ends stays text."""

    def is_loose(piece: _Piece) -> bool:
        return piece.kind == "space" or piece.is_operator

    first, last = 0, len(run)
    while first < last and is_loose(run[first]):
        first += 1
    while last > first and is_loose(run[last - 1]):
        last -= 1
    inner = run[first:last]
    head, tail = ("".join(map(_loose, part)) for part in (run[:first], run[last:]))
    if all(piece.is_number or is_loose(piece) for piece in inner):
        return head + "".join(map(_loose, inner)) + tail
    return f"{head}${''.join(_set(*three) for three in _with_neighbours(inner))}${tail}"


def _set(before: _Piece | None, piece: _Piece, after: _Piece | None) -> str:
    """Return a piece of a run; a number that follows something is no factor of it."""
    if piece.kind != "space":
        return str(piece.tex)
    apart = before is not None and after is not None and (after.kind == "number" or after.is_number)
    return r"\ " if apart and before is not None and not before.is_operator else " "


def _loose(piece: _Piece) -> str:
    """Return an operator or a number that stands among words."""
    signed = piece.is_number and piece.plain.startswith("-")
    if signed or (piece.is_operator and len(piece.plain) > 1):
        return f"${piece.tex}$"
    return escape(piece.plain)
