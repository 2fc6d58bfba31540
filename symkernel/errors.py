"""Errors of symkernel, and the checks of array arguments that every room shares."""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

_MOST_BYTES = 2**30
_Value = TypeVar("_Value")


class SymkernelError(Exception):
    """Root of every error that symkernel raises on purpose."""


class InvalidArgument(SymkernelError, ValueError):
    """An argument has a value that cannot be used; the message says which one would do."""


class ShapeMismatch(InvalidArgument):
    """Two arguments do not fit together, or an array has the wrong dimensions."""


class MissingValues(InvalidArgument):
    """Symbols have no numerical value where numbers are needed."""


class NoClosedForm(SymkernelError):
    """No law of the catalogue covers the problem.

    Attributes
    ----------
    verdicts : sequence
        One `Verdict` for each assumption of each law that was tried, with its distance: from
        `derive` an `Assumptions`, the table that the message shows.
    """

    def __init__(self, message: str, verdicts: Sequence = ()) -> None:
        super().__init__(message)
        self.verdicts = verdicts


class OutsideValidity(SymkernelError):
    """A quantity was asked for that the law or the data do not determine."""


class Diverged(SymkernelError):
    """Gradient descent left the finite numbers.

    Attributes
    ----------
    step : int
        Step at which the loss stopped being finite or passed the bound.
    learning_rate : float
        Learning rate of the run.
    stable_limit : float
        Largest learning rate that is stable by linearisation; the message says where.
    """

    def __init__(self, message: str, step: int, learning_rate: float, stable_limit: float) -> None:
        super().__init__(message)
        self.step = step
        self.learning_rate = learning_rate
        self.stable_limit = stable_limit


class Unlowerable(SymkernelError):
    """A SymPy node has no numerical translation; the message names the node."""


def as_real_array(value: object, name: str, ndim: int) -> np.ndarray:
    """Return `value` as a C-contiguous float64 array, or say why that is impossible.

    Parameters
    ----------
    value : array_like
        Integers, booleans or floating-point numbers.
    name : str
        Name of the argument, for the message.
    ndim : int
        Number of dimensions that the array must have.

    Raises
    ------
    InvalidArgument
        For complex, object or text arrays, empty arrays, NaN or infinite entries.
    ShapeMismatch
        For a wrong number of dimensions.
    """
    if np.ma.is_masked(value):
        raise InvalidArgument(
            f"Argument '{name}' must have no masked entries; remove or impute them first."
        )
    if value is None:
        raise InvalidArgument(
            f"Argument '{name}' must be a {ndim}-dimensional array of real numbers, but is missing."
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidArgument(
            f"Argument '{name}' must be a {ndim}-dimensional array of real numbers, not nested "
            f"sequences of unequal length."
        ) from error
    if array.dtype.kind not in "biuf":
        kinds = {"c": "complex numbers", "O": "Python objects", "U": "text", "S": "bytes"}
        found = kinds.get(array.dtype.kind, f"dtype {array.dtype}")
        advice = (
            "give real and imaginary parts as columns of their own"
            if array.dtype.kind == "c"
            else "convert it with numpy.asarray(..., dtype=float) if the conversion is meant"
        )
        raise InvalidArgument(
            f"Argument '{name}' must be an array of real numbers, not of {found}; {advice}."
        )
    if array.ndim != ndim:
        shapes = {1: "give a list of numbers", 2: "give one row per sample, as x.reshape(-1, 1)"}
        raise ShapeMismatch(
            f"Argument '{name}' must be {ndim}-dimensional, not of shape {array.shape}"
            f"{'; ' + shapes[ndim] if ndim in shapes else ''}."
        )
    if array.size == 0:
        raise InvalidArgument(f"Argument '{name}' must not be empty, but has shape {array.shape}.")
    result = np.ascontiguousarray(array, dtype=np.float64)
    if not np.isfinite(result).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(result))[0])
        raise InvalidArgument(
            f"Argument '{name}' must be finite, but entry {where} is {result[where]}; give "
            f"finite numbers."
        )
    return result


def as_times(value: object, name: str = "times") -> np.ndarray:
    """Return flow times: one-dimensional, finite, not negative, in increasing order."""
    times = as_real_array(value, name, 1)
    if times[0] < 0 or (np.diff(times) < 0).any():
        position = 0 if times[0] < 0 else int(np.argmax(np.diff(times) < 0)) + 1
        raise InvalidArgument(
            f"Argument '{name}' must be non-negative and in increasing order, but entry "
            f"{position} is {times[position]:g}; sort the times, and start at 0 or later."
        )
    return times


def as_real(value: object, name: str, *, kind: str = "a real number") -> float:
    """Return a finite real number."""
    try:
        if isinstance(value, (str, bytes, bool, complex, np.complexfloating)):
            raise TypeError
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArgument(f"Argument '{name}' must be {kind}, not {value!r}.") from error
    if kind == "a real number" and not np.isfinite(number):
        raise InvalidArgument(f"Argument '{name}' must be finite, not {number:g}.")
    return number


def as_positive(value: object, name: str, *, unit: str = "") -> float:
    """Return a finite positive number."""
    number = as_real(value, name, kind="a positive number")
    if not (np.isfinite(number) and number > 0):
        raise InvalidArgument(
            f"Argument '{name}' must be a finite positive number{unit}, not {number:g}."
        )
    return number


def as_seed(value: object, name: str = "seed") -> int:
    """Return the seed of a random stream: a non-negative integer, so that runs can be repeated."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise InvalidArgument(f"Argument '{name}' must be a non-negative integer, not {value!r}.")
    return int(value)


def as_count(value: object, name: str, least: int = 1) -> int:
    """Return how many there are to be: an integer, `least` or more."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InvalidArgument(
            f"Argument '{name}' must be an integer of at least {least}, not {value!r}."
        )
    return int(value)


def refuse_batch(batch: int, samples: int, advice: str) -> None:
    """Refuse batches of more samples than there are."""
    if batch > samples:
        raise InvalidArgument(
            f"Argument 'batch_size' must not exceed the {samples} samples of the task, but is "
            f"{batch}; {advice}."
        )


def did_you_mean(name: object, among: Iterable[str]) -> str:
    """Return the end of a message that refuses a name: a question if one is nearly the same."""
    close = difflib.get_close_matches(name, list(among), 1) if isinstance(name, str) else []
    return f"; did you mean '{close[0]}'?" if close else "."


def as_choice(value: object, name: str, among: Iterable[str]) -> str:
    """Return one of several words."""
    words = list(among)
    if not isinstance(value, str) or value not in words:
        raise InvalidArgument(
            f"Argument '{name}' must be one of {', '.join(words)}, not {value!r}"
            f"{did_you_mean(value, words)}"
        )
    return value


def as_different(value: object, name: str, as_one: Callable[[object, str], _Value]) -> list[_Value]:
    """Return a list of one or more values, each of them once, as `as_one` makes them."""
    whole = isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, (str, bytes))
    found = [as_one(one, name) for one in value] if whole else []  # type: ignore[attr-defined]
    if not found or len(set(found)) < len(found):
        raise InvalidArgument(
            f"Argument '{name}' must be a list of one or more different values, not {value!r}."
        )
    return found


def as_names(value: object, name: str, count: int, what: str = "samples") -> tuple[str, ...]:
    """Return a name for each of so many samples, given as text or integers."""
    array = isinstance(value, np.ndarray) and value.ndim > 0
    if not array and (isinstance(value, (str, bytes)) or not isinstance(value, Sequence)):
        raise InvalidArgument(
            f"Argument '{name}' must be a sequence of labels, text or integers, not {value!r}."
        )
    given = list(value)  # type: ignore[call-overload]
    for one in given:
        if isinstance(one, bool) or not isinstance(one, (str, int, np.integer)):
            raise InvalidArgument(
                f"Argument '{name}' must hold labels that are text or integers, not {one!r}."
            )
    if len(given) != count:
        raise ShapeMismatch(
            f"Argument '{name}' must hold a label for each of the {count} {what}, not {len(given)}."
        )
    return tuple(map(str, given))


def as_classes(value: object, name: str, count: int) -> np.ndarray:
    """Return integer labels, one for each of so many samples."""
    try:
        labels = np.asarray(value)
    except ValueError:
        labels = np.empty(0, dtype=object)
    if labels.dtype.kind not in "iu" or np.ma.is_masked(value):
        raise InvalidArgument(
            f"Argument '{name}' must hold labels that are integers, not of dtype {labels.dtype}; "
            f"numpy.unique(..., return_inverse=True) numbers others."
        )
    if labels.shape != (count,):
        raise ShapeMismatch(
            f"Argument '{name}' must hold a label for each of the {count} samples, not be of shape "
            f"{labels.shape}."
        )
    return labels


def as_values(value: object, symbols: Iterable[Any], owner: str) -> Mapping[Any, Any]:
    """Return values of symbols if every one of `symbols` has one.

    Text is refused: SymPy would run it as code.
    """
    if not isinstance(value, Mapping) or not all(map(_is_value, value.values())):
        raise InvalidArgument(
            f"Argument 'values' must map symbols to numbers, as {{s: 2.0}}, not {value!r}."
        )
    missing = sorted(symbol.name for symbol in set(symbols) - set(value))
    if missing:
        raise MissingValues(
            f"Argument 'values' must give a number for every symbol of the {owner}; "
            f"{', '.join(missing)} {'has' if len(missing) == 1 else 'have'} none."
        )
    return value


def _is_value(value: object) -> bool:
    """Whether something is a number, or an expression of SymPy."""
    return isinstance(value, (int, float, np.number)) or hasattr(value, "free_symbols")


def optional_module(name: str, user: str) -> Any:
    """Return a module of a package that not everybody needs, or say who does and how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImportError(
            f"{user} needs the package {package}; install it with 'pip install {package}'."
        ) from error


def refuse_large(shape: tuple[int, ...], name: str) -> None:
    """Refuse a field of a trajectory that would take more than 1 GiB, before it is allocated."""
    size = 8 * math.prod(shape)
    if size > _MOST_BYTES:
        raise InvalidArgument(
            f"Field '{name}' of shape {shape} would take {size:,} bytes ({size / 2**30:.1f} GiB), "
            f"which is more than 1 GiB; ask for fewer times or use fewer samples."
        )
