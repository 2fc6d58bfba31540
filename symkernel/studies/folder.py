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
from symkernel.sweeps.folder import claimed as folder_claimed

_MANIFEST, _FORMAT = "symkernel_study.json", 1


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
    # Lists are read as what was written as tuples.
    wanted = json.loads(json.dumps({"format": _FORMAT, **about, "code": _code()}))

    def gaps(found: Mapping[str, Any]) -> str:
        names = [name for name, value in wanted.items() if found.get(name) != value]
        shown = ", ".join(f"{name} {found.get(name)!r}, not {wanted[name]!r}" for name in names)
        return f"one of another setting or of other code ({shown})" if names else ""

    return folder_claimed(folder, _MANIFEST, wanted, "study", gaps)
