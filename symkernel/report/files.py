"""Files that are either whole or not there."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from symkernel.errors import InvalidArgument


def checked_path(path: str | Path) -> Path:
    """Return the path of a file that can be written: in a folder, no folder or device itself."""
    if not isinstance(path, (str, Path)) or not str(path):
        raise InvalidArgument(f"Argument 'path' must be a file name, not {path!r}.")
    target = Path(path)
    if not target.parent.is_dir():
        raise InvalidArgument(
            f"Argument 'path' must lie in an existing folder, not in {str(target.parent)!r}; make "
            f"the folder first."
        )
    # Moved into place, a file would replace a device such as /dev/stdout.
    if target.exists() and not target.is_file():
        kind = "folder" if target.is_dir() else "device or pipe"
        raise InvalidArgument(f"Argument 'path' must be a file, not the {kind} {str(target)!r}.")
    return target


def write_atomically(path: str | Path, write: Callable[[BinaryIO], object]) -> Path:
    """Write a file under a temporary name in its folder, then move it into place.

    Parameters
    ----------
    path : str or Path
        The file; its folder must exist.
    write : callable
        Is given the open binary file.

    Returns
    -------
    Path
        The file's path.

    Raises
    ------
    InvalidArgument
        If the folder does not exist or cannot be written to.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from symkernel.report.files import write_atomically
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_atomically(pathlib.Path(folder) / "a.txt", lambda f: f.write(b"whole"))
    ...     assert path.read_bytes() == b"whole" and len(list(path.parent.iterdir())) == 1
    """
    target = checked_path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    try:
        file = temporary.open("xb")
    except OSError as error:
        raise InvalidArgument(
            f"Argument 'path' must lie in a folder that can be written to; "
            f"{str(target.parent)!r} cannot: {error.strerror}."
        ) from error
    try:
        with file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return target


def save(text: str, path: str | Path) -> Path:
    """Write text to a file, whole or not at all, in UTF-8; see `write_atomically`."""
    return write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def replace_block(path: str | Path, name: str, block: str) -> Path:
    """Write lines between the comments ``<!-- NAME: ... -->`` and ``<!-- end of NAME -->``.

    Raises
    ------
    InvalidArgument
        If the file does not hold each comment once, in this order.
    """
    target = checked_path(path)
    try:
        text = target.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(
            f"Argument 'path' must be a file of text in UTF-8, not {str(target)!r}."
        ) from error
    return save(with_block(text, name, block), target)


def with_block(text: str, name: str, block: str) -> str:
    r"""Return a text with other lines between two comments.

    Examples
    --------
    >>> from symkernel.report.files import with_block
    >>> text = "<!-- laws: made -->\n\nold\n\n<!-- end of laws -->\n"
    >>> assert with_block(text, "laws", "new") == text.replace("old", "new")
    """
    found = re.findall(rf"<!-- {name}: [^\n]* -->\n|<!-- end of {name} -->", text)
    begin, end = found if len(found) == 2 else ("", "")
    if not begin.startswith(f"<!-- {name}:") or not end.startswith("<!-- end"):
        raise InvalidArgument(
            f"Argument 'path' must be a file with a line '<!-- {name}: ... -->' and after it a "
            f"line '<!-- end of {name} -->', each once."
        )
    head, rest = text.split(begin)
    return f"{head}{begin}\n{block}\n\n{end}{rest.split(end)[1]}"
