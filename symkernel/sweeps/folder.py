r"""The folder of a sweep: one file a cell, each whole or not there.

`sweep.json` says whose cells they are; `cells/<hash of the parameters>.npz` holds what a cell gave,
`.json` what went wrong in it. Files are written to a temporary name and moved. Nothing read from
them is evaluated or unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from symkernel.errors import InvalidArgument, SymkernelError
from symkernel.report.files import save, write_atomically

_MANIFEST, _CELLS, _FORMAT = "sweep.json", "cells", 1
_RECORD = "record"
# What a killed sweep was writing is removed after so many seconds; another one may be at work now.
_LEFT_BEHIND = 24 * 3600.0


def claimed(
    folder: object,
    manifest: str,
    wanted: Mapping[str, Any],
    what: str,
    gaps: Callable[[Mapping[str, Any]], str],
) -> Path:
    """Return the folder of a sweep or a study, made, with its manifest, if there is none.

    What it is found to hold instead is left as it is; `gaps` says it of another manifest.
    """
    if not isinstance(folder, (str, Path)) or not str(folder):
        raise InvalidArgument(f"Argument 'folder' must be a folder's name, not {folder!r}.")
    root = Path(folder)
    file = root / manifest
    if root.exists() and not root.is_dir():
        raise InvalidArgument(f"Argument 'folder' must not be the file {str(root)!r}.")
    other = ""
    if file.exists():
        other = gaps(_read_json(file))
    elif root.is_dir() and not all(_is_begun(path, manifest) for path in root.iterdir()):
        other = "other files"
    if other:
        raise InvalidArgument(
            f"Argument 'folder' must be new, empty or of the same {what}; {str(root)!r} holds "
            f"{other}. Nothing in it was touched; name another folder."
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            save(json.dumps(wanted, indent=2) + "\n", file)
    except OSError as error:
        raise SymkernelError(f"The folder {str(root)!r} cannot be made: {error}.") from error
    return root


def _is_begun(path: Path, manifest: str) -> bool:
    """Whether something is what is left by who was killed before the manifest was written."""
    if path.name == _CELLS:
        return path.is_dir() and not any(path.iterdir())
    return path.name.startswith(f".{manifest}.") and path.name.endswith(".part")


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: named arrays, or an error in words and its traceback."""

    parameters: Mapping[str, Any]
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""
    traceback: str = ""


@dataclass(frozen=True)
class Folder:
    """A folder that belongs to one sweep.

    Attributes
    ----------
    path : Path
    """

    path: Path

    @classmethod
    def of(cls, path: str | Path, identity: Mapping[str, Any]) -> Folder:
        """Return the folder of the sweep with this identity, made if there is none.

        Raises
        ------
        InvalidArgument
            If the folder holds another sweep or something else; it is left as it is.
        """
        wanted = {"symkernel_sweep": _FORMAT, **identity}
        root = claimed(path, _MANIFEST, wanted, "sweep", lambda found: _gaps(found, wanted))
        try:
            (root / _CELLS).mkdir(exist_ok=True)
        except OSError as error:
            raise SymkernelError(f"The folder {str(root)!r} cannot be made: {error}.") from error
        for unfinished in (root / _CELLS).glob(".*.part"):
            with contextlib.suppress(OSError):
                if time.time() - unfinished.stat().st_mtime > _LEFT_BEHIND:
                    unfinished.unlink()
        return cls(root)

    @staticmethod
    def key(parameters: Mapping[str, Any]) -> str:
        """Return the name of a cell's files."""
        text = json.dumps(parameters, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def _file(self, parameters: Mapping[str, Any], ending: str) -> Path:
        return self.path / _CELLS / f"{self.key(parameters)}.{ending}"

    def write(self, outcome: Outcome) -> None:
        """Put a cell's outcome on disk.

        Raises
        ------
        SymkernelError
            If it cannot be written; what was there before stays.
        """
        about = {"parameters": dict(outcome.parameters), "seconds": outcome.seconds}
        good, bad = self._file(outcome.parameters, "npz"), self._file(outcome.parameters, "json")
        try:
            if outcome.error:
                about |= {"error": outcome.error, "traceback": outcome.traceback}
                save(json.dumps(about, indent=2) + "\n", bad)
                return
            arrays: Any = {f"value_{name}": value for name, value in outcome.values.items()}
            arrays[_RECORD] = np.array(json.dumps(about))
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **arrays)
            write_atomically(good, lambda file: file.write(buffer.getbuffer()))
            bad.unlink(missing_ok=True)
        except (OSError, InvalidArgument) as error:
            raise SymkernelError(
                f"The result of the cell {dict(outcome.parameters)} cannot be written to "
                f"{str(self.path)!r}: {error}. All cells before it are there; make room or give "
                f"the folder back its rights, and call again to go on."
            ) from error

    def read(self, parameters: Mapping[str, Any]) -> Outcome | None:
        """Return a cell's outcome, or None if it is to be computed yet."""
        good, bad = self._file(parameters, "npz"), self._file(parameters, "json")
        if good.exists():
            # A damaged file is as good as none: the cell is computed again.
            try:
                with np.load(io.BytesIO(good.read_bytes()), allow_pickle=False) as file:
                    about = json.loads(str(file[_RECORD]))
                    values = {n.removeprefix("value_"): file[n] for n in file if n != _RECORD}
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                return None
            return Outcome(dict(parameters), values, float(about["seconds"]))
        if bad.exists():
            about = _read_json(bad)
            words, lines = str(about.get("error", "unknown")), str(about.get("traceback", ""))
            return Outcome(dict(parameters), {}, float(about.get("seconds", 0)), words, lines)
        return None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    return found if isinstance(found, dict) else {}


def _gaps(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return which other sweep a folder is of, and in what that differs; nothing if it is not."""
    names = {
        "symkernel_sweep": "the format",
        "cell": "the function",
        "source": "the function's source",
        "parameters": "the parameters",
        "seed": "the seed",
    }
    gaps = [words for name, words in names.items() if found.get(name) != wanted[name]]
    shown = {name: found.get(name) for name in ("cell", "parameters", "seed")}
    ending = "s" if len(gaps) == 1 else ""
    return f"another one ({shown}): {', '.join(gaps)} differ{ending}" if gaps else ""
