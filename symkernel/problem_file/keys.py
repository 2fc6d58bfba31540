"""Typed look-ups in the tables of a file; every error names the file and the key."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from symkernel.errors import InvalidArgument, did_you_mean


class Kind(NamedTuple):
    """What a value must be, in words, and how to tell."""

    words: str
    holds: Callable[[Any], bool]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


TEXT = Kind("text in quotes", lambda value: isinstance(value, str))
BOOLEAN = Kind("true or false", lambda value: isinstance(value, bool))
WHOLE = Kind("a whole number", _whole)
LIST = Kind("a list in brackets", lambda value: isinstance(value, list))
TEXTS = Kind(
    "a list of texts",
    lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
)
TABLE = Kind("a table, as { key = value }", lambda value: isinstance(value, dict))
TABLES = Kind(
    "a table, or several tables each headed [[...]]",
    lambda value: (
        isinstance(value, dict)
        or (isinstance(value, list) and all(isinstance(one, dict) for one in value))
    ),
)
FORMULA = Kind(
    "a number, or a formula in quotes",
    lambda value: _whole(value) or isinstance(value, (Decimal, str)),
)
FORMULAS = Kind(
    "a number, a formula in quotes, or a list of these",
    lambda value: all(map(FORMULA.holds, value if isinstance(value, list) else [value])),
)
_REQUIRED = object()
# How alike two words must be for one to be a misspelling of the other; "inputs" is not "outputs".
_ALIKE = 0.7


class Keys:
    """One table of a file; keys are taken out one by one, and none may be left.

    Parameters
    ----------
    file : Path
        The file, for the messages and as the place that other paths are relative to.
    where : str
        The table's name, empty for the file itself.
    data : dict
        What the table holds.
    """

    def __init__(self, file: Path, where: str, data: dict[str, Any]) -> None:
        self.file, self.where = file, where
        self._data = dict(data)
        self._known: list[str] = []

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._data))

    def name(self, key: str) -> str:
        """Return the full name of a key."""
        return f"{self.where}.{key}" if self.where else key

    def take(self, key: str, kind: Kind, default: Any = _REQUIRED) -> Any:
        """Return the value of a key; without a default it must be there."""
        self._known.append(key)
        if key not in self._data:
            if default is not _REQUIRED:
                return default
            close = difflib.get_close_matches(key, self._data, 1, _ALIKE)
            hint = f"; is '{close[0]}' meant to be it?" if close else ""
            self.fail(key, f"is missing; it must be {kind.words}{hint}")
        value = self._data.pop(key)
        if not kind.holds(value):
            self.fail(key, f"must be {kind.words}, not {shown(value)}")
        return value

    def choice(self, key: str, among: Iterable[str], default: Any = _REQUIRED) -> str:
        """Return the value of a key that is one of several words."""
        value, words = self.take(key, TEXT, default), list(among)
        if value not in words:
            hint = did_you_mean(value, words).rstrip(".")
            self.fail(key, f"must be one of {', '.join(words)}, not {shown(value)}{hint}")
        return value

    def table(self, key: str, default: Any = _REQUIRED) -> Keys:
        """Return the table under a key; without a default it must be there."""
        return Keys(self.file, self.name(key), self.take(key, TABLE, default))

    def tables(self, key: str) -> list[Keys]:
        """Return all tables under a key: several, one, or none."""
        found = self.take(key, TABLES, [])
        if isinstance(found, dict):
            return [Keys(self.file, self.name(key), found)]
        return [Keys(self.file, f"{self.name(key)}[{k}]", one) for k, one in enumerate(found)]

    def options(self, kinds: dict[str, Kind]) -> dict[str, Any]:
        """Return those of several optional keys that are there."""
        return {key: self.take(key, kind) for key, kind in kinds.items() if self._optional(key)}

    def _optional(self, key: str) -> bool:
        self._known.append(key)
        return key in self

    def done(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self._data:
            close = difflib.get_close_matches(key, self._known, 1, _ALIKE)
            hint = f"did you mean '{close[0]}'? Known" if close else "known"
            self.fail(key, f"is not known here; {hint} are {', '.join(dict.fromkeys(self._known))}")

    def fail(self, key: str, reason: str) -> NoReturn:
        """Raise an error that names the file and the key."""
        end = "" if reason.endswith("?") else "."
        raise InvalidArgument(f"{self.file}: key '{self.name(key)}' {reason}{end}")

    @contextmanager
    def blame(self, key: str = "") -> Iterator[None]:
        """Name the file and the key (or the table) in errors that the library raises meanwhile."""
        what = f"key '{self.name(key)}'" if key else f"table '{self.where}'"
        try:
            yield
        except InvalidArgument as error:
            if str(error).startswith(f"{self.file}: "):
                raise
            raise type(error)(f"{self.file}: {what}: {error}") from error


def shown(value: object) -> str:
    """Return a value of a file as it is shown in messages, cut where it is long."""
    if isinstance(value, (bool, Decimal)):
        return str(value).lower()
    if isinstance(value, int):
        return str(value) if value.bit_length() < 1000 else "a number of hundreds of digits"
    if isinstance(value, (dict, list)):
        return f"a {'table' if isinstance(value, dict) else 'list'} of {len(value)}"
    return reprlib.repr(value)
