"""A file with a problem: network, tasks, weights, and what to do with them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import sympy as sp

from symkernel import notation
from symkernel.errors import InvalidArgument, MissingValues, as_positive, as_times
from symkernel.problem.problem import Problem
from symkernel.problem.scalars import as_sympy
from symkernel.problem_file.arrays import regular_file
from symkernel.problem_file.keys import FORMULA, FORMULAS, TEXT, WHOLE, Keys, Kind
from symkernel.problem_file.notation import Symbols
from symkernel.problem_file.parts import (
    curriculum_of,
    loss_of,
    network_of,
    weights_of,
)

MOST_BYTES = 2**20
_OBSERVABLE = Kind(
    "'loss', or ['mode', k] with the number of the mode",
    lambda value: (
        value == "loss"
        or (
            isinstance(value, list)
            and len(value) == 2
            and value[0] == "mode"
            and WHOLE.holds(value[1])
            and value[1] >= 0
        )
    ),
)


@dataclass(frozen=True)
class Claim:
    """A formula of the flow time t for an observable, to be judged by `symkernel.check_claim`."""

    observable: tuple[str, int] | str
    formula: sp.Expr


@dataclass(frozen=True, eq=False)
class ProblemFile:
    """A problem from a file, and what the file says beside it.

    Attributes
    ----------
    path : Path
        The file.
    problem : Problem
        With the symbols that the file declares.
    values : mapping of Symbol to number
        The file's numbers for the symbols of the problem.
    latex_names : mapping of str to str
        LaTeX for identifiers: for the `names` of ``Derivation.latex``.
    simulation : mapping of str to Any, or None
        Arguments of `symkernel.simulate` beside the problem: learning_rate and so on.
    claims : tuple of Claim
    """

    path: Path
    problem: Problem
    values: Mapping[sp.Symbol, sp.Expr] = field(default_factory=dict)
    latex_names: Mapping[str, str] = field(default_factory=dict)
    simulation: Mapping[str, Any] | None = None
    claims: tuple[Claim, ...] = ()

    def blame(self, table: str) -> AbstractContextManager[None]:
        """Name the file and one of its tables in errors that the library raises meanwhile."""
        return Keys(self.path, table, {}).blame()

    @cached_property
    def numeric(self) -> Problem:
        """The problem with the file's numbers; `MissingValues` if a symbol has none."""
        if self.problem.is_numeric:
            return self.problem
        if not self.has_values:
            without = self.problem.free_symbols - set(self.values)
            missing = sorted(symbol.name for symbol in without)
            raise MissingValues(
                f"{self.path}: table 'values' must give a number for every symbol; "
                f"{', '.join(missing)} {'has' if len(missing) == 1 else 'have'} none."
            )
        with self.blame("values"):
            return self.problem.with_values(self.values)

    @property
    def has_values(self) -> bool:
        """Whether every symbol of the problem has a number."""
        return self.problem.free_symbols <= set(self.values)


def load_problem(path: str | Path) -> ProblemFile:
    r"""Return the problem that a TOML file describes; no text in it is evaluated as code.

    Parameters
    ----------
    path : str or Path
        A file with the tables

        ============  ==================================================================
        [network]     kind = "two_layer" (inputs, hidden, outputs) or "mlp" (sizes);
                      activation, bias, parameterisation
        [symbols]     NAME = { positive, nonnegative, real, integer = true; latex = '...' }
        [latex]       NAME = '...' for the laws' own letters
        [values]      NAME = number, for symbols
        [task]        X, Y = "x.csv" or "data.npz:X", with labels; or s, multiplicity,
                      input_variance; or Sxx, Syx, Syy; or environment with its options;
                      steps = ["centre", "whiten", { step = "whiten", components = 3 }]
        [[phase]]     instead of [task], one for each phase: [phase.task] and duration
        [weights]     kind = "gaussian" or "balanced" (scale), "aligned" (a, b), each with
                      seed; or "arrays" with a file for each parameter
        [loss]        factor
        [simulate]    learning_rate; steps, record, batch_size, seed
        [claim]       observable = "loss" or ["mode", k]; formula of t; also as [[claim]]
        ============  ==================================================================

        A number may be given as a formula in quotes, see `symkernel.parse_formula`. Paths of
        arrays are relative to the file.

    Returns
    -------
    ProblemFile

    Raises
    ------
    InvalidArgument, ShapeMismatch, MissingValues
        Naming the file and the key, what was found there and what would do.

    Examples
    --------
    >>> import pathlib, tempfile, symkernel as sk
    >>> text = '''
    ... network = { kind = "two_layer", inputs = 1, hidden = 1, outputs = 1 }
    ... symbols = { s = { positive = true, latex = '\\sigma' } }
    ... task = { s = "s" }
    ... weights = { kind = "aligned", a = 0.1, b = 0.1 }
    ... '''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "one_mode.toml"
    ...     _ = path.write_text(text)
    ...     file = sk.load_problem(path)
    >>> p = file.problem
    >>> d = sk.derive(p.network, p.curriculum, p.weights, loss=p.loss)
    >>> assert r"\sigma" in d.latex(names=file.latex_names)
    """
    file, data = _read(path)
    keys = Keys(file, "", data)
    symbols = Symbols(keys)
    network = network_of(keys.table("network"), symbols)
    course = curriculum_of(keys, symbols)
    w0 = weights_of(keys.table("weights"), network, course.phases[0].task, symbols)
    loss = loss_of(keys.table("loss", {}), symbols)
    simulation = _simulation(keys.table("simulate"), symbols) if "simulate" in keys else None
    tables = keys.tables("claim")
    claims = tuple(_claim(one, symbols) for one in tables)
    keys.done()
    with keys.blame("network"):
        problem = Problem(network, course, w0, loss)
    for table, claim in zip(tables, claims, strict=True):
        _check_mode(table, claim, problem, symbols)
    used = problem.free_symbols
    values = {symbols.symbols[name]: number for name, number in symbols.numbers.items()}
    return ProblemFile(
        file,
        problem,
        MappingProxyType({symbol: n for symbol, n in values.items() if symbol in used}),
        MappingProxyType(symbols.latex),
        simulation,
        claims,
    )


def _read(path: str | Path) -> tuple[Path, dict[str, Any]]:
    if not isinstance(path, (str, Path)):
        raise InvalidArgument(f"Argument 'path' must be a file name, not {path!r}.")
    file = regular_file(Path(path), MOST_BYTES)
    try:
        # Decimals keep their digits, so that 0.1 can become the fraction 1/10.
        return file, tomllib.loads(file.read_text(encoding="utf-8"), parse_float=Decimal)
    except UnicodeDecodeError as error:
        raise InvalidArgument(
            f"{file}: must be text in UTF-8; byte {error.start} is not."
        ) from error
    except (ValueError, ArithmeticError) as error:
        raise InvalidArgument(f"{file}: is no TOML: {error}.") from error
    except RecursionError as error:
        raise InvalidArgument(f"{file}: is nested too deeply.") from error


def _simulation(keys: Keys, symbols: Symbols) -> Mapping[str, Any]:
    rate = symbols.number(keys, "learning_rate", keys.take("learning_rate", FORMULA))
    with keys.blame("learning_rate"):
        options: dict[str, Any] = {"learning_rate": as_positive(rate, "learning_rate")}
    options |= keys.options({"steps": _count(0), "batch_size": _count(1), "seed": _count(0)})
    if "record" in keys:
        record = keys.take("record", FORMULAS)
        times = record if isinstance(record, list) else [record]
        numbers = [float(symbols.number(keys, "record", time)) for time in times]
        with keys.blame("record"):
            options["record"] = as_times(numbers, "record")
    keys.done()
    return MappingProxyType(options)


def _count(least: int) -> Kind:
    words = f"a whole number of at least {least}"
    return Kind(words, lambda value: WHOLE.holds(value) and value >= least)


def _claim(keys: Keys, symbols: Symbols) -> Claim:
    observable = keys.take("observable", _OBSERVABLE)
    formula = symbols.function(keys, "formula", keys.take("formula", TEXT), {"t": notation.t})
    keys.done()
    return Claim(observable if observable == "loss" else tuple(observable), formula)


def _check_mode(keys: Keys, claim: Claim, problem: Problem, symbols: Symbols) -> None:
    """Refuse a mode that the task does not have; sizes may be symbols that have numbers."""
    values = {symbols.symbols[name]: number for name, number in symbols.numbers.items()}
    sizes = [as_sympy(size).xreplace(values) for size in
             (problem.network.inputs, problem.network.outputs)]  # fmt: skip
    if isinstance(claim.observable, str) or not all(size.is_Integer for size in sizes):
        return
    count, position = int(min(sizes)), claim.observable[1]
    if position >= count:
        keys.fail(
            "observable",
            f"must be 'loss' or ['mode', k] with 0 <= k < {count}, the number of modes, not "
            f"['mode', {position}]",
        )
