"""Pure data: formulas, steps, laws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sympy as sp
from sympy.core.function import AppliedUndef

from symkernel import equations


@dataclass(frozen=True)
class Formula:
    r"""A named formula: symbol = expression, and what its abbreviations stand for.

    Parameters
    ----------
    name : str
        What it is, in words.
    symbol : SymPy object
        Left-hand side.
    expression : SymPy object
        Right-hand side; may use the abbreviations of `where`.
    where : tuple of (symbol, expression)
        Abbreviations, each in terms of the ones BEFORE it.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.formula import Formula
    >>> x, y = sp.symbols("x y")
    >>> assert Formula("double", y, 2 * x, where=((x, sp.Integer(3)),)).plain == 6
    """

    name: str
    symbol: Any
    expression: Any
    where: tuple[tuple[Any, Any], ...] = ()

    @property
    def pairs(self) -> tuple[tuple[Any, Any], ...]:
        """Left-hand and right-hand sides: its own, then those of its abbreviations."""
        return ((self.symbol, self.expression), *self.where)

    @property
    def plain(self) -> Any:
        """The expression with all abbreviations written out: plain SymPy."""
        expression = self.expression
        for abbreviation, meaning in reversed(self.where):
            if isinstance(abbreviation, AppliedUndef):
                # A function that is explained by its formula.
                meant = sp.Lambda(abbreviation.args, meaning)
                expression = expression.replace(abbreviation.func, meant)
            else:
                expression = expression.subs(abbreviation, meaning)
        return expression

    def latex(self, names: Mapping[str, str] | None = None) -> str:
        """Return an ``aligned`` block, the abbreviations on "where" lines."""
        return equations.block([(self.symbol, self.expression)], self.where, names)

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"


@dataclass(frozen=True)
class Evidence:
    """What a machine check found."""

    passed: bool
    figure: str

    @classmethod
    def of(cls, passed: object, words: str) -> Evidence:
        """Return the evidence for a statement, or that it is NOT so."""
        return cls(bool(passed), words if passed else f"NOT so: {words}")


# Limits and removable singularities by name, each with its check.
Limits = tuple[tuple[str, Callable[[], Evidence]], ...]


@dataclass(frozen=True, repr=False)
class Step:
    """One step of a derivation: what follows, why, and the check that it does.

    Attributes
    ----------
    meanings : tuple of (symbol, str)
        What symbols of the equations stand for, where notation's table does not say it.
    """

    title: str
    reason: str
    equations: tuple[Any, ...]
    check: Callable[[], Evidence]
    meanings: tuple[tuple[Any, str], ...] = ()

    def __repr__(self) -> str:
        return f"Step({self.title!r})"

    def latex(self, names: Mapping[str, str] | None = None) -> str:
        """Return the step's equations as an ``aligned`` block."""
        # Differential equations are written without the argument of their functions.
        explicit = not any(e.has(sp.Derivative) for e in self.equations)
        return equations.block([(e.lhs, e.rhs) for e in self.equations], (), names, explicit)

    def _repr_markdown_(self) -> str:
        from symkernel.report.display import step_markdown

        return step_markdown(self)


class Result(Mapping[str, sp.Expr]):
    """The derived expressions by name, plain SymPy; also as attributes.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.formula import Result
    >>> x = sp.Symbol("x")
    >>> assert Result({"output": x**2}).output.diff(x) == 2 * x
    """

    def __init__(self, expressions: Mapping[str, sp.Expr]) -> None:
        self._expressions = dict(expressions)

    def __getitem__(self, name: str) -> sp.Expr:
        return self._expressions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._expressions)

    def __len__(self) -> int:
        return len(self._expressions)

    def __getattr__(self, name: str) -> sp.Expr:
        try:
            return self.__dict__["_expressions"][name]
        except KeyError:
            known = ", ".join(self.__dict__.get("_expressions", {}))
            raise AttributeError(f"the law gives {known}, not {name!r}") from None

    def __repr__(self) -> str:
        return f"Result({', '.join(self)})"


@dataclass(frozen=True)
class Verdict:
    """Whether an assumption holds, and by how much it fails.

    Attributes
    ----------
    distance : float
        Relative distance from the assumption; 0 where it was decided symbolically.
    tolerance : float
        Largest distance that counts as holding; 0 for what holds or does not, which nobody can
        accept a little of.
    accepted : float
        Largest distance that the user accepts; 0 if none was named.
    warning : str
        Of what is no condition: why the law is worth nothing there all the same. Empty if it is.
    """

    law: str
    assumption: str
    holds: bool
    distance: float
    tolerance: float
    advice: str = ""
    accepted: float = 0.0
    warning: str = ""

    @property
    def is_violated(self) -> bool:
        """Whether it does not hold, by a distance that the user accepts."""
        return not self.holds and self.tolerance > 0 and self.distance <= self.accepted

    @property
    def stands(self) -> bool:
        """Whether it holds, or its violation is accepted."""
        return self.holds or self.is_violated

    @property
    def word(self) -> str:
        """The verdict in words."""
        if self.warning:
            return self.warning
        if self.is_violated:
            return f"violated by {self.distance:.2g}, accepted up to {self.accepted:g}"
        return "holds" if self.holds else "FAILS"

    def __str__(self) -> str:
        line = f"{self.law}: {self.assumption}: {self.word}"
        if self.tolerance or 0 < self.distance < float("inf"):
            line += f" (distance {self.distance:.2g}, tolerance {self.tolerance:.0e})"
        return line if self.stands or not self.advice else f"{line}; {self.advice}"


@dataclass(frozen=True)
class Citation:
    """A source, with the place of the formula in it."""

    key: str
    authors: str
    title: str
    venue: str
    year: int
    place: str = ""
    arxiv: str = ""

    def bibtex(self) -> str:
        """Return a BibTeX entry."""
        rows = {
            "author": self.authors,
            "title": f"{{{self.title}}}",
            "howpublished": self.venue,
            "year": str(self.year),
            "note": f"arXiv:{self.arxiv}" if self.arxiv else "",
        }
        body = ",\n".join(f"  {key} = {{{value}}}" for key, value in rows.items() if value)
        return f"@misc{{{self.key},\n{body}\n}}"

    def __str__(self) -> str:
        place = f", {self.place}" if self.place else ""
        source = f", arXiv:{self.arxiv}" if self.arxiv else ""
        return f"{self.authors} ({self.year}). {self.title}. {self.venue}{source}{place}"


@dataclass(frozen=True)
class Family:
    """True problems of growing size along which the error of a law of leading order falls.

    Attributes
    ----------
    title : str
        What grows.
    sizes : tuple of int
        Four or more.
    problem : callable
        (Size, seed) -> Problem.
    times : ndarray
        Flow times at which errors are measured.
    slopes : mapping of str to (slope, margin)
        By what is compared: "output", "hidden change" or "weights"; errors are relative.
    seeds : tuple of int
        Errors are root mean squares over them.
    options : callable
        Size -> keywords of the law's trajectory. With a learning rate among them the true
        network is trained by gradient descent with it, else its flow is integrated.
    """

    title: str
    sizes: tuple[int, ...]
    problem: Callable[[int, int], Any]
    times: Any
    slopes: Mapping[str, tuple[float, float]]
    seeds: tuple[int, ...]
    options: Callable[[int], Mapping[str, Any]]


@dataclass(frozen=True)
class Asymptotics:
    """How a law of leading order is judged.

    Attributes
    ----------
    flow : {"linearised", "network"}
        The flow that it is compared with: that of the linearised network, which it solves
        exactly, or that of the network itself, within the law's own estimate of its error.
    families : tuple of Family
    """

    flow: str
    families: tuple[Family, ...]


@dataclass(frozen=True, repr=False)
class Law:
    """A family of closed forms: when it holds, what it gives, where it comes from.

    Attributes
    ----------
    name : str
        Identifier for the command line and `derive(law=...)`.
    rank : str
        "exact", "exact ODE", or "leading order in ...".
    assumptions : tuple of str
        In words, in the order in which `test` reports them.
    outputs : tuple of str
        What the law gives.
    test : callable
        Problem -> tuple of Verdict. A test that ends before all is known ends at a verdict with
        tolerance 0, which nobody can accept.
    derive : callable
        Problem -> Derived.
    trajectory : callable
        (Problem with numbers, times) -> Trajectory.
    example : callable
        () -> Problem, the law's canonical problem.
    draw : callable
        Generator -> Problem, a random problem of the class, for the ladder.
    weights : callable, optional
        (Problem with numbers, times, relative tolerance) -> weights by name: of laws that know the
        hidden layer up to a rotation, which obeys an exact linear equation.
    rtol : float, optional
        Of laws that are integrated: the relative tolerance, which `trajectory` then takes as a
        third argument.
    asymptotics : Asymptotics, optional
        Of laws of leading order: what they solve, and how their errors fall.
    options : tuple of str
        Keywords that `trajectory` takes besides: "learning_rate" of gradient descent, "at" inputs
        of one's own with their "gates", "refreshes".
    remark : str
        What is said under the table of assumptions when the law is in use.
    """

    name: str
    title: str
    rank: str
    assumptions: tuple[str, ...]
    outputs: tuple[str, ...]
    citations: tuple[Citation, ...]
    test: Callable[[Any], tuple[Verdict, ...]]
    derive: Callable[[Any], Derived]
    trajectory: Callable[..., Any]
    example: Callable[[], Any]
    draw: Callable[[Any], Any]
    weights: Callable[[Any, Any, float], Any] | None = None
    rtol: float | None = None
    asymptotics: Asymptotics | None = None
    options: tuple[str, ...] = ()
    remark: str = ""

    def __repr__(self) -> str:
        return f"Law({self.name!r}, {self.rank})"


@dataclass(frozen=True)
class Derived:
    """What the derivation of a law produces; each part is worked out when it is asked for.

    Attributes
    ----------
    steps : callable
        () -> tuple of Step.
    result : callable
        () -> Result, plain SymPy in the law's own symbols.
    formulas : callable
        () -> tuple of Formula, the same with abbreviations, in the order of printing.
    routine : callable
        () -> compiled routine of the law, with its source and its rewriting rules.
    limits : tuple of (title, callable)
        Limits and removable singularities, each with a check that returns Evidence.
    precision : callable
        (Generator, number of draws) -> Evidence: the routine against 60 digits.
    precision_bound : float
        Largest relative error that it allows.
    mode : callable, optional
        (Position of a mode, of a phase) -> Result with the problem's own strengths and
        amplitudes; of laws that have one closed form per mode.
    learning_time : callable, optional
        (Position of a mode, or None for the law's own symbols, of a phase, whether to take the
        asymptotic form for small initial weights) -> Formula: the flow time at which a mode
        reaches a fraction of its final value.
    equation : callable, optional
        Position of a mode -> (u, right-hand side of u' = f(u), initial value): the closed
        equation of the end-to-end mode, against which conjectures are judged.
    strength : callable, optional
        (Position of a mode, of a phase) -> strength and input variance of the mode in the task of
        that phase.
    numbers : callable, optional
        (Problem with numbers and one phase, its trajectory, position of a time) -> for each mode,
        or once for a law of matrices, what the law's symbols and the names of its result stand for
        at that time: the ladder compares what is printed and returned with it.
    """

    steps: Callable[[], tuple[Step, ...]]
    result: Callable[[], Result]
    formulas: Callable[[], tuple[Formula, ...]]
    routine: Callable[[], Any]
    limits: Limits
    precision: Callable[[Any, int], Evidence]
    precision_bound: float = 1e-12
    mode: Callable[[int, int], Result] | None = None
    learning_time: Callable[[int | None, int, bool], Formula] | None = None
    equation: Callable[[int], tuple[sp.Symbol, sp.Expr, sp.Expr]] | None = None
    strength: Callable[[int, int], tuple[sp.Expr, sp.Expr]] | None = None
    numbers: Callable[[Any, Any, int], tuple[Mapping[Any, Any], ...]] | None = None
