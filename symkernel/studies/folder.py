"""The folder of a study: the folders of its sweeps, and what it writes."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import symkernel
from symkernel.errors import InvalidArgument, SymkernelError
from symkernel.report.files import save

_MANIFEST, _FORMAT = "symkernel_study.json", 1


def _is_left_over(path: Path) -> bool:
    """Whether a file is what a killed study left of its manifest."""
    return path.name.startswith(f".{_MANIFEST}.") and path.name.endswith(".part")


@cache
def _code() -> str:
    """Return a name of the library's code, by which what other code computed is told apart."""
    root, found = Path(symkernel.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        found.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return f"{symkernel.__version__}, {found.hexdigest()[:16]}"


@contextmanager
def kept_in(folder: str | Path | None, about: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a study's folder, or a temporary one."""
    if folder is not None:
        yield claimed(folder, about)
        return
    with tempfile.TemporaryDirectory(prefix="symkernel_") as name:
        try:
            yield Path(name)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("nothing is kept, since no folder was named") from None


def claimed(folder: object, about: Mapping[str, Any]) -> Path:
    """Return a study's folder, made if there is none.

    Parameters
    ----------
    folder : str or Path
    about : mapping of str to object
        What makes it the same study, as JSON can hold it.

    Raises
    ------
    InvalidArgument
        If it holds anything else, or a study of another setting; it is left as it is.
    """
    if not isinstance(folder, (str, Path)) or not str(folder):
        raise InvalidArgument(f"Argument 'folder' must be a folder's name, not {folder!r}.")
    root = Path(folder)
    manifest = root / _MANIFEST
    # Lists are read as what was written as tuples.
    wanted = json.loads(json.dumps({"format": _FORMAT, **about, "code": _code()}))
    if root.exists() and not root.is_dir():
        raise InvalidArgument(f"Argument 'folder' must not be the file {str(root)!r}.")
    if manifest.exists():
        try:
            found = json.loads(manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = None
        known = found if isinstance(found, dict) else {}
        gaps = [name for name, value in wanted.items() if known.get(name) != value]
        if gaps:
            shown = ", ".join(f"{name} {known.get(name)!r}, not {wanted[name]!r}" for name in gaps)
            raise InvalidArgument(
                f"Argument 'folder' must be new, empty or of the same study; {str(root)!r} holds "
                f"one of another setting or of other code ({shown}). Nothing in it was touched; "
                f"name another folder."
            )
        return root
    if root.is_dir() and not all(_is_left_over(path) for path in root.iterdir()):
        raise InvalidArgument(
            f"Argument 'folder' must be new, empty or of the same study; {str(root)!r} holds other "
            f"files. Nothing in it was touched; name another folder."
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        save(json.dumps(wanted, indent=2) + "\n", manifest)
    except OSError as error:
        raise SymkernelError(f"The folder {str(root)!r} cannot be made: {error}.") from error
    return root
