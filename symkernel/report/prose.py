r"""From the plain text of reasons and figures to LaTeX: escaped, and letters set as mathematics.

Texts in the package are written once, to be read in a terminal: ``K_h = J_h J_f^T``. In LaTeX the
same line reads $K_h = J_h J_f^T$.
"""

from __future__ import annotations

import re
import unicodedata

_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
}  # fmt: skip
# \textquotedbl needs an encoding that the documents do not load.
_ESCAPES['"'] = "''"
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

_PIECE = re.compile(
    r"(?P<function>\b(?:exp|tanh|cosh|sinh|erf)\((?:[^()\s]+ ?)+\))"
    r"|(?P<mean><[a-z] [a-z]\^T>)"
    r"|(?P<length>\|[A-Za-z](?: [+-] [A-Za-z])?\|(?:\^2)?)"
    r"|(?P<number>(?<![\w.])\d+(?:\.\d+)?e[+-]?\d+(?!\w))"
    r"|(?P<word>\S+)|(?P<space>\s+)"
)
_GREEK = re.compile(r"\b(alpha|beta|delta|sigma|tau|phi|lambda|rho)\b")
_LETTER = re.compile(r"[A-Za-z](?:\d|_\w)?(?:\^\w)?'?")
_PRODUCT = re.compile(r"[a-z]\.[a-z]")
_OPERATOR = {"=", "+", "-", "/", "<", ">", "<=", ">=", "->", "+-"}
_OPERATORS = {"<=": r"\le", ">=": r"\ge", "->": r"\to", "+-": r"\pm"}
_CLOSING = re.compile(r"^(.*?)([,;:.)]*)$", re.DOTALL)


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


def prose(text: str) -> str:
    r"""Return plain text as LaTeX, with letters and short formulas set as mathematics.

    Examples
    --------
    >>> from symkernel.report.prose import prose
    >>> assert prose("so K_h = J_h J_f^T holds") == "so $K_h = J_h J_f^T$ holds"
    >>> assert prose("a net, error 1.5e-12") == r"a net, error $1.5 \times 10^{-12}$"
    """
    pieces = [(m.lastgroup or "", m.group()) for m in _PIECE.finditer(text)]
    words = [k for k, (kind, _) in enumerate(pieces) if kind != "space"]
    set_as = [_mathematics(*pieces[k]) for k in words]
    for position in range(len(words)):
        word = pieces[words[position]][1]
        if word in ("a", "A", "I") and not _is_a_letter(position, words, pieces, set_as):
            set_as[position] = None
    return _assembled([pieces[k][1] for k in words], set_as, text)


def _is_a_letter(
    position: int, words: list[int], pieces: list[tuple[str, str]], set_as: list[str | None]
) -> bool:
    """Whether a lone "a" is the letter and not the article: the article stands before a word."""
    before = pieces[words[position - 1]][1] if position else ""
    after = pieces[words[position + 1]][1] if position + 1 < len(words) else ""
    return before in _OPERATOR or after in _OPERATOR or after in ("", "and", "or")


def _mathematics(kind: str, piece: str) -> str | None:
    """Return the mathematics that a piece of text stands for, None for a word."""
    if kind == "function":
        name, _, inside = piece.partition("(")
        name = rf"\{name}" if name != "erf" else r"\operatorname{erf}"
        return rf"{name}({_greek(inside)}"
    if kind == "mean":
        return rf"\langle {piece[1:-1]} \rangle"
    if kind == "length":
        return piece
    if kind == "number":
        digits, _, power = piece.partition("e")
        return rf"{digits} \times 10^{{{int(power)}}}" if digits != "1" else f"10^{{{int(power)}}}"
    if piece in _OPERATOR:
        return _OPERATORS.get(piece, piece)
    if _LETTER.fullmatch(piece):
        return re.sub(r"^([A-Za-z])(\d)", r"\1_\2", piece)
    if _PRODUCT.fullmatch(piece):
        return rf"{piece[0]} \cdot {piece[2]}"
    if _GREEK.fullmatch(piece):
        return _greek(piece)
    return None


def _greek(text: str) -> str:
    return _GREEK.sub(lambda m: rf"\var{m.group()}" if m.group() == "phi" else rf"\{m.group()}", text)


def _assembled(words: list[str], set_as: list[str | None], text: str) -> str:
    """Join runs of mathematics; operators alone, without a letter beside them, stay text."""
    out: list[str] = []
    run: list[tuple[str, str]] = []

    def close() -> None:
        letters = [plain for plain, _ in run if plain not in _OPERATOR]
        body = " ".join(tex if letters else escape(plain) for plain, tex in run)
        if run:
            out.append(f"${body}$" if letters else body)
        run.clear()

    for word, tex in zip(words, set_as, strict=True):
        if tex is not None:
            run.append((word, tex))
            continue
        head, tail = _CLOSING.match(word).groups()  # type: ignore[union-attr]
        inner = _mathematics("word", head) if tail and head not in _OPERATOR else None
        if inner is not None and head:
            run.append((head, inner))
            close()
            out[-1] += escape(tail)
            continue
        close()
        out.append(escape(word))
    close()
    return " ".join(out)
