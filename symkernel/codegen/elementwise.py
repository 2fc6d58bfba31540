r"""Formulas of one mode lowered to a routine over many modes and many times."""

from __future__ import annotations

import inspect
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from symkernel.codegen.printer import source_of, variable
from symkernel.codegen.rules import Rewriting
from symkernel.equations import needed_lines
from symkernel.errors import ShapeMismatch, Unlowerable, as_real_array, as_times

# Times a job works on: its part of the output stays in the first-level cache.
_CHUNK = 2048
# Numbers of more digits are passed to a routine, not compiled into it.
_LONG = 10**6
# With fewer values than this a parallel region costs more than it saves.
_SERIAL = 8192

_BODY = """

def _body(times, parameters, out, k, start, stop):
{prelude}
    for i in range(start, stop):
        {time} = times[i]
{loop}


_body = numba.njit(error_model="numpy", fastmath={{"contract"}}, forceinline=True)(_body)
"""

_SERIAL_LOOP = """

@numba.njit("void(float64[::1], float64[:, ::1], float64[:, :, ::1])", cache=True, nogil=True,
            error_model="numpy", fastmath={"contract"})
def evaluate(times, parameters, out):
    for k in range(parameters.shape[1]):
        _body(times, parameters, out, k, 0, times.size)
"""

_PARALLEL_LOOP = f"""

@numba.njit("void(float64[::1], float64[:, ::1], float64[:, :, ::1])", cache=True, nogil=True,
            error_model="numpy", fastmath={{"contract"}}, parallel=True)
def evaluate(times, parameters, out):
    chunks = (times.size + {_CHUNK} - 1) // {_CHUNK}
    for job in numba.prange(parameters.shape[1] * chunks):
        k = job // chunks
        start = (job % chunks) * {_CHUNK}
        _body(times, parameters, out, k, start, min(start + {_CHUNK}, times.size))
"""


@dataclass(frozen=True)
class Lowered:
    """Formulas in the form in which they are compiled.

    Attributes
    ----------
    arguments : tuple of sympy.Symbol
        Parameters of a mode, in the order of the call.
    time : sympy.Symbol
    where : tuple of (symbol, expression)
        Abbreviations in order; those without time are computed once per mode.
    outputs : tuple of (name, expression)
    rewritings : tuple of Rewriting
        The rules that led here, with operation counts.
    """

    arguments: tuple[sp.Symbol, ...]
    time: sp.Symbol
    where: tuple[tuple[sp.Symbol, sp.Expr], ...]
    outputs: tuple[tuple[str, sp.Expr], ...]
    rewritings: tuple[Rewriting, ...] = ()

    def only(self, *names: str) -> Lowered:
        """Return the same with some of the outputs, and the abbreviations that they need."""
        outputs = tuple((name, e) for name, e in self.outputs if name in names)
        where = needed_lines(self.where, (q for _, e in outputs for q in e.free_symbols))
        return replace(self, where=tuple(where), outputs=outputs)


@dataclass(frozen=True)
class ElementwiseRoutine:
    """A compiled set of formulas; call it with times and one value per mode and argument.

    Attributes
    ----------
    lowered : Lowered
    source : str
        The module that is compiled; for large calls its loop runs in parallel.
    """

    lowered: Lowered

    @property
    def rewritings(self) -> tuple[Rewriting, ...]:
        """The rules that led from the derived formulas to what is compiled."""
        return self.lowered.rewritings

    @cached_property
    def _apart(self) -> tuple[Lowered, np.ndarray]:
        """What is compiled, and the numbers with which it is called besides the arguments."""
        return _numbers_apart(self.lowered)

    @cached_property
    def source(self) -> str:
        """The module that is compiled."""
        return _formulas_source(self._apart[0]) + _SERIAL_LOOP

    @cached_property
    def _serial(self) -> Any:
        from symkernel.codegen.cache import load

        return load(self.source, "modes").evaluate

    @cached_property
    def _parallel(self) -> Any:
        from symkernel.codegen.cache import load

        return load(_formulas_source(self._apart[0]) + _PARALLEL_LOOP, "modes_parallel").evaluate

    def __call__(self, times: Any, *arguments: Any) -> dict[str, np.ndarray]:
        """Return each output as an array (n_times, n_modes).

        Parameters
        ----------
        times : array_like, shape (n_times,)
            Flow times.
        *arguments : array_like, shape (n_modes,)
            One array for each argument of the formulas.
        """
        clock = as_times(times)
        names = [symbol.name for symbol in self.lowered.arguments]
        if len(arguments) != len(names):
            raise ShapeMismatch(
                f"The routine takes one array for each of {', '.join(names)} after the times, "
                f"not {len(arguments)} arrays."
            )
        columns = [as_real_array(a, n, 1) for a, n in zip(arguments, names, strict=True)]
        if len({len(c) for c in columns}) > 1:
            raise ShapeMismatch(
                f"Arguments {', '.join(names)} must hold one value per mode each, not "
                f"{', '.join(str(len(c)) for c in columns)} values."
            )
        columns += [np.full(len(columns[0]), number) for number in self._apart[1]]
        table = np.ascontiguousarray(np.stack(columns))
        out = np.empty((len(self.lowered.outputs), table.shape[1], len(clock)))
        small = clock.size * table.shape[1] < _SERIAL
        (self._serial if small else self._parallel)(clock, table, out)
        return {name: out[k].T for k, (name, _) in enumerate(self.lowered.outputs)}


def compile_elementwise(lowered: Lowered) -> ElementwiseRoutine:
    """Return the compiled routine; compilation happens at its first call, once per machine.

    Examples
    --------
    >>> import numpy as np, sympy as sp
    >>> from symkernel.codegen.elementwise import Lowered, compile_elementwise
    >>> k, t = sp.symbols("k t")
    >>> decay = compile_elementwise(Lowered((k,), t, (), (("y", sp.exp(-k * t)),)))
    >>> assert np.allclose(decay([0.0, 1.0], [2.0])["y"][:, 0], np.exp([0.0, -2.0]))
    """
    _check_names((*lowered.arguments, lowered.time, *(symbol for symbol, _ in lowered.where)))
    defined = {*lowered.arguments, lowered.time}
    for symbol, expression in (*lowered.where, *((None, e) for _, e in lowered.outputs)):
        unknown = sorted(q.name for q in expression.free_symbols - defined)
        if unknown:
            raise Unlowerable(
                f"The formula for {symbol or 'an output'} uses {', '.join(unknown)}, which is "
                f"neither an argument nor an abbreviation defined before it."
            )
        if symbol is not None:
            defined.add(symbol)
    return ElementwiseRoutine(lowered)


def _check_names(symbols: Sequence[sp.Symbol]) -> None:
    """Refuse different symbols that would be one variable of the generated source."""
    if len(symbols) < 2:
        raise Unlowerable("A routine needs one argument at least: its values count the modes.")
    names: dict[str, sp.Symbol] = {}
    for symbol in symbols:
        # Python reads identifiers in this normal form: the micro sign and the letter mu are one.
        known = names.setdefault(unicodedata.normalize("NFKC", symbol.name), symbol)
        if known != symbol:
            raise Unlowerable(
                f"Two symbols of the routine are called '{symbol.name}'; symbols of one name and "
                f"different assumptions are different to SymPy, so give one of them another name."
            )


def _numbers_apart(lowered: Lowered) -> tuple[Lowered, np.ndarray]:
    """Return formulas with arguments in place of long numbers, and the numbers.

    A rate of 0.7310585786300049 is no other law than one of 0.7310585786300048: both are compiled
    once.
    """
    expressions = [e for _, e in (*lowered.where, *lowered.outputs)]
    held = set().union(*(e.atoms(sp.Rational) for e in expressions))
    numbers = sorted(n for n in held if max(abs(n.p), n.q) > _LONG)
    named = {n: sp.Symbol(f"number_{k}", real=True) for k, n in enumerate(numbers)}
    where = tuple((symbol, e.xreplace(named)) for symbol, e in lowered.where)
    outputs = tuple((name, e.xreplace(named)) for name, e in lowered.outputs)
    arguments = (*lowered.arguments, *named.values())
    apart = replace(lowered, arguments=arguments, where=where, outputs=outputs)
    return apart, np.array([float(n) for n in numbers])


def _formulas_source(lowered: Lowered) -> str:
    from symkernel.numerics import elementary

    moving = {lowered.time}
    prelude = [f"    {variable(s)} = parameters[{k}, k]" for k, s in enumerate(lowered.arguments)]
    loop = []
    for symbol, expression in lowered.where:
        line = f"{variable(symbol)} = {source_of(expression)}"
        if expression.free_symbols & moving:
            moving.add(symbol)
            loop.append("        " + line)
        else:
            prelude.append("    " + line)
    loop += [
        f"        out[{k}, k, i] = {source_of(expression)}"
        for k, (_, expression) in enumerate(lowered.outputs)
    ]
    body = _BODY.format(
        prelude="\n".join(prelude), loop="\n".join(loop), time=variable(lowered.time)
    )
    return inspect.getsource(elementary) + body
